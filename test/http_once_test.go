package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"activationd/control"
)

// httpConfig has the daemon answer over HTTP at a socket.
const httpConfig = "\nlisten_http: [\"unix:DIR/http.sock\"]\n"

// A webReply is a reply over HTTP.
type webReply struct {
	status int
	header http.Header
	body   string
}

// web returns a client of the daemon over HTTP, for any number of goroutines.
func (d *daemon) web() *http.Client {
	client, _ := d.overHTTP()
	return client
}

// ask makes a request over HTTP, with headers "NAME: VALUE".
func (d *daemon) ask(c *http.Client, method, path, body string, headers ...string) (r webReply, err error) {
	req, err := http.NewRequestWithContext(d.t.Context(), method, "http://daemon"+path, strings.NewReader(body))
	if err != nil {
		return r, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	resp, err := c.Do(req)
	if err != nil {
		return r, err
	}
	data, err := io.ReadAll(resp.Body)
	if e := resp.Body.Close(); err == nil {
		err = e
	}
	return webReply{resp.StatusCode, resp.Header, string(data)}, err
}

// asked is ask for a request that must be answered.
func (d *daemon) asked(c *http.Client, method, path, body string, headers ...string) webReply {
	d.t.Helper()
	r, err := d.ask(c, method, path, body, headers...)
	if err != nil {
		d.t.Fatalf("%s %s: %v", method, path, err)
	}
	return r
}

// jobs returns how many jobs there are.
func (d *daemon) jobs() int {
	d.t.Helper()
	return strings.Count(d.must("list", "--all", "--json"), `"id":`)
}

// TestHTTPOnce has 64 clients post one job with one key: there is one job.
func TestHTTPOnce(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, httpConfig)
	d.Start()
	c := d.web()
	var all sync.WaitGroup
	var mu sync.Mutex
	bodies := make(map[string]int)
	replayed := 0
	const job = `{"arg": ["true"], "hold": true}`
	for range 64 {
		all.Go(func() {
			for {
				r, err := d.ask(c, "POST", "/api/v1/activations", job, "Idempotency-Key: k1")
				if err != nil {
					t.Error(err)
					return
				}
				if r.status == http.StatusConflict && r.header.Get("Retry-After") != "" { // in progress
					continue
				}
				mu.Lock()
				defer mu.Unlock()
				bodies[fmt.Sprint(r.status, r.header.Get("Content-Type"), r.body)]++
				if r.header.Get("Idempotency-Replayed") == "true" {
					replayed++
				}
				return
			}
		})
	}
	all.Wait()
	if n := d.jobs(); n != 1 || len(bodies) != 1 || replayed != 63 {
		t.Errorf("64 posts with one key: %d jobs, %d replayed, with the replies %v; want 1 job, 63 and one reply", n, replayed, bodies)
	}
	for _, tt := range []struct {
		method, path, body, key string
		status                  int
		want                    string
	}{
		{"POST", "/api/v1/activations", `{"arg": ["false"]}`, "k1", 422, "this key was used for another request already"},
		{"POST", "/api/v1/activations/1/cancel", "", "k1", 422, "this key was used"},
		{"POST", "/api/v1/activations", `{"arg": [""]}`, "k2", 400, "there is no command to run"},
		{"POST", "/api/v1/activations", job, "k2", 201, `"id":"2"`}, // a request that failed keeps no key
		{"GET", "/api/v1/status", "", "k3", 400, "can be repeated without a key"},
		{"POST", "/api/v1/vlans/section", `{"vlansection": "x"}`, "k3", 400, "replies as long as it is connected"},
		{"POST", "/api/v1/activations/1/release", "", "k4", 200, `"id":"1"`},
		{"POST", "/api/v1/activations/1/release", "", "k4", 200, `"id":"1"`}, // without the key, it would fail
		{"POST", "/api/v1/activations/1/release", "", "", 409, ""},
		{"POST", "/api/v1/reload", "", "k5", 200, ""},
		{"POST", "/api/v1/reload", "", "k5", 200, ""},
		{"POST", "/api/v1/queues", `{"name": ["q"]}`, "k6", 201, `"created":1`},
		{"POST", "/api/v1/queues", `{"name": ["q"]}`, "k6", 201, `"created":1`},
		{"POST", "/api/v1/queues/q/messages", `{"body": ["x"]}`, "k7", 201, `"id":`},
		{"POST", "/api/v1/queues/q/messages", `{"body": ["x"]}`, "k7", 201, `"id":`},
		{"GET", "/api/v1/queues/q/messages", "", "", 200, `"body":"x"`},
		{"POST", "/api/v1/queues/made/messages", `{"body": ["x"]}`, "", 404, "there is no queue"},
		{"POST", "/api/v1/queues/made/messages", `{"body": ["x"], "create": true}`, "k10", 201, `"id":`},
		{"POST", "/api/v1/queues/made/messages", `{"body": ["x"], "create": true}`, "k10", 201, `"id":`},
		{"POST", "/api/v1/queues/made/purge", "", "", 200, `"count":1`},
		{"POST", "/api/v1/queues/q/purge", "", "k8", 200, `"count":1`},
		{"POST", "/api/v1/queues/q/purge", "", "k8", 200, `"count":1`},
	} {
		var headers []string
		if tt.key != "" {
			headers = []string{"Idempotency-Key: " + tt.key}
		}
		r := d.asked(c, tt.method, tt.path, tt.body, headers...)
		if r.status != tt.status || !strings.Contains(r.body, tt.want) {
			t.Errorf("%s %s %s with the key %s: %d %s, want %d %s", tt.method, tt.path, tt.body, tt.key, r.status, r.body, tt.status, tt.want)
		}
	}
}

// TestHTTPOnceRoles has a user with two tokens use one key with both: each role has keys of its own,
// so neither gets the other's reply, and a role that was taken away gets none.
func TestHTTPOnceRoles(t *testing.T) {
	t.Parallel()
	needRoot(t) // the daemon runs jobs as root
	d := newDaemon(t, httpConfig+"tokens: DIR/tokens\n")
	const operator, admin = "Authorization: Bearer 0123456789abcdef", "Authorization: Bearer fedcba9876543210"
	d.write("tokens", "one operator 0123456789abcdef root\ntwo admin fedcba9876543210 root\n", 0o600)
	d.Start()
	c := d.web()
	for _, tt := range []struct {
		who, id, replayed string
	}{{operator, "1", ""}, {admin, "2", ""}, {operator, "1", "true"}, {admin, "2", "true"}} {
		r := d.asked(c, "POST", "/api/v1/activations", `{"arg": ["true"], "hold": true}`, "Idempotency-Key: k", tt.who)
		if r.status != 201 || !strings.Contains(r.body, `"id":"`+tt.id+`"`) || r.header.Get("Idempotency-Replayed") != tt.replayed {
			t.Errorf("%s: %d %s, replayed %q, want job %s and %q", tt.who, r.status, r.body, r.header.Get("Idempotency-Replayed"), tt.id, tt.replayed)
		}
	}
	d.write("tokens", "one viewer 0123456789abcdef root\ntwo admin fedcba9876543210 root\n", 0o600)
	d.must("reload")
	if r := d.asked(c, "POST", "/api/v1/activations", `{"arg": ["true"], "hold": true}`, "Idempotency-Key: k", operator); r.status != 403 {
		t.Errorf("without the role: %d %s", r.status, r.body)
	}
	if n := d.jobs(); n != 2 {
		t.Errorf("%d jobs, want 2", n)
	}
}

// TestHTTPOnceKilled kills the daemon while clients post jobs with keys. Repeated, each is there
// once: its reply is the first one, or says which job it made.
func TestHTTPOnceKilled(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, httpConfig)
	d.Start()
	const clients, each = 16, 8
	first := make([]sync.Map, clients) // by the client's request: the reply before the daemon was killed
	var answered atomic.Int32
	enough := make(chan struct{})
	post := func(c *http.Client, client, n int) (webReply, error) {
		return d.ask(c, "POST", "/api/v1/activations", fmt.Sprintf(`{"arg": ["true"], "hold": true, "label": "%d-%d"}`, client, n), fmt.Sprintf("Idempotency-Key: %d-%d", client, n))
	}
	var all sync.WaitGroup
	c := d.web()
	for client := range clients {
		all.Go(func() {
			for n := range each {
				r, err := post(c, client, n)
				if err != nil {
					return // the daemon was killed
				}
				first[client].Store(n, r.body)
				if answered.Add(1) == clients*each/3 {
					close(enough)
				}
			}
		})
	}
	<-enough
	d.Kill()
	all.Wait()
	d.Start()
	c = d.web()
	ids := make(map[string]bool)
	unknown := 0
	for client := range clients {
		for n := range each {
			r, err := post(c, client, n)
			if err != nil {
				t.Fatal(err)
			}
			was, _ := first[client].Load(n)
			var out struct{ ID, Detail string }
			if err := json.NewDecoder(bytes.NewBufferString(r.body)).Decode(&out); err != nil {
				t.Fatalf("%s: %v", r.body, err)
			}
			switch {
			case r.status == http.StatusConflict && was == nil:
				unknown++
				_, rest, _ := strings.Cut(out.Detail, "(")
				out.ID, _, _ = strings.Cut(rest, ")")
			case r.status/100 != 2 || was != nil && r.body != was:
				t.Errorf("request %d-%d: %d %s; it was answered %v before", client, n, r.status, r.body, was)
			}
			if got := d.labelOf(out.ID); got != fmt.Sprintf("%d-%d", client, n) || ids[out.ID] {
				t.Errorf("request %d-%d made job %q, with the label %q", client, n, out.ID, got)
			}
			ids[out.ID] = true
		}
	}
	if n := d.jobs(); n != clients*each {
		t.Errorf("%d requests made %d jobs", clients*each, n)
	}
	t.Logf("%d were answered before the daemon was killed; of %d, only the job was known", answered.Load(), unknown)
}

// labelOf returns the label of a job.
func (d *daemon) labelOf(id string) string {
	d.t.Helper()
	var out control.Detail
	if err := json.Unmarshal([]byte(d.asked(d.web(), "GET", "/api/v1/activations/"+id, "").body), &out); err != nil {
		d.t.Fatal(err)
	}
	return out.Label
}

// TestHTTPVersions changes activations only if they are as they were read.
func TestHTTPVersions(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, httpConfig)
	d.Start()
	c := d.web()
	created := d.asked(c, "POST", "/api/v1/activations", `{"arg": ["true"], "in": "1h"}`)
	path := created.header.Get("Location")
	if created.status != http.StatusCreated || path != "/api/v1/activations/1" {
		t.Fatalf("a new job: %d, at %q, want 201 and its path", created.status, path)
	}
	first := d.asked(c, "GET", path, "").header.Get("ETag")
	if r := d.asked(c, "GET", path, "", "If-None-Match: W/"+first); r.status != http.StatusNotModified || r.body != "" || r.header.Get("ETag") != first {
		t.Errorf("the same reply again: %d %s, with the tag %s; want 304 and %s", r.status, r.body, r.header.Get("ETag"), first)
	}
	held := d.asked(c, "POST", path+"/hold", "", "If-Match: "+first)
	second := held.header.Get("ETag")
	if held.status != http.StatusOK || second == first || second == "" {
		t.Errorf("the hold of what was read: %d %s, tag %s", held.status, held.body, second)
	}
	for _, tt := range []struct {
		method, path, body, match string
		status                    int
		want                      string
	}{
		{"POST", path + "/release", "", first, 412, "1 has changed since it was read; it is held now"},
		{"PATCH", path, `{"label": "x"}`, first, 412, `"type":"urn:activationd:problem:changed"`},
		{"POST", path + "/cancel", "", `"other"`, 400, "is not the ETag of something that has a version"},
		{"GET", "/api/v1/status", "", first, 400, "If-Match: status cannot depend on a version"},
		{"PATCH", path, `{"label": "x"}`, first + ", " + second, 200, `"label":"x"`},
		{"POST", path + "/release", "", second, 412, ""},
		{"POST", path + "/release", "", "*", 200, ""},
	} {
		r := d.asked(c, tt.method, tt.path, tt.body, "If-Match: "+tt.match)
		if r.status != tt.status || !strings.Contains(r.body, tt.want) {
			t.Errorf("%s %s if it is %s: %d %s, want %d %s", tt.method, tt.path, tt.match, r.status, r.body, tt.status, tt.want)
		}
	}
	if r := d.asked(c, "GET", path, "", "If-None-Match: "+first); r.status != http.StatusOK {
		t.Errorf("after a change: %d, want 200", r.status)
	}

	// What is created has a path.
	d.asked(c, "POST", "/api/v1/queues", `{"name": ["q"]}`)
	for _, tt := range []struct{ path, body, location string }{
		{"/api/v1/recurrences", `{"name": "r", "cron": "0 3 * * *", "arg": ["true"]}`, "/api/v1/recurrences/r"},
		{"/api/v1/recurrences/r/run", "", "/api/v1/activations/2"},
		{"/api/v1/queues/q/messages", `{"body": ["x"], "key": "k"}`, "/api/v1/queues/q/messages/"},
	} {
		r := d.asked(c, "POST", tt.path, tt.body)
		if at := r.header.Get("Location"); r.status != http.StatusCreated || !strings.HasPrefix(at, tt.location) {
			t.Errorf("POST %s %s: %d %s, at %q; want 201 and %s", tt.path, tt.body, r.status, r.body, at, tt.location)
		} else if got := d.asked(c, "GET", at, ""); got.status != http.StatusOK {
			t.Errorf("GET %s: %d %s", at, got.status, got.body)
		}
	}
	if r := d.asked(c, "POST", "/api/v1/queues/q/messages", `{"body": ["x"], "key": "k", "on-duplicate": "ignore"}`); r.status != http.StatusOK {
		t.Errorf("a message that was there already: %d %s, want 200", r.status, r.body)
	}
}

// TestHTTPVersionsOfPlans changes bookings and recurrences only if they are as they were read. Of many
// who read the same, one can change it.
func TestHTTPVersionsOfPlans(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, httpConfig+"booking: {devices: ['r*'], activate: ['true'], deactivate: ['true']}\n")
	d.Start()
	c := d.web()
	const recurrence = `{"name": "r", "every": "1s", "overlap": "parallel", "arg": ["true"]}`
	for _, tt := range []struct {
		path, body string // what creates it
		read       string // where it is read
		at         string // where it is changed
		last       string // METHOD PATH of the last change
	}{
		{"/bookings", `{"devices": ["r1"], "from": "2098-01-01T10:00:00Z", "for": "1h"}`, "/activations/1@book", "/bookings/1@book", "POST /bookings/1@book/end"},
		{"/recurrences", recurrence, "/recurrences/r", "/recurrences/r", "DELETE /recurrences/r"},
	} {
		const api = "/api/v1"
		created := d.asked(c, "POST", api+tt.path, tt.body)
		read := d.asked(c, "GET", api+tt.read, "")
		version := func(r webReply) string {
			v, _, _ := strings.Cut(r.header.Get("ETag"), ".")
			return v + `.x"`
		}
		if created.status != http.StatusCreated || len(version(read)) != len(`"0123456789abcdef.x"`) || version(created) != version(read) {
			t.Fatalf("POST %s: %d %s with the version %s, and GET %s has %s", tt.path, created.status, created.body, version(created), tt.read, version(read))
		}
		if tt.read == "/recurrences/r" { // its occurrences are no change
			d.events(0, 1, "activation.1.#")
		}
		var all sync.WaitGroup
		var done, refused atomic.Int32
		for i := range 8 {
			all.Go(func() {
				r, err := d.ask(c, "PATCH", api+tt.at, fmt.Sprintf(`{"label": "%d"}`, i), "If-Match: "+version(read))
				switch {
				case err != nil:
					t.Error(err)
				case r.status == http.StatusOK:
					done.Add(1)
				case r.status == http.StatusPreconditionFailed && strings.Contains(r.body, "has changed since it was read; it is "):
					refused.Add(1)
				default:
					t.Errorf("PATCH %s: %d %s", tt.at, r.status, r.body)
				}
			})
		}
		all.Wait()
		if done.Load() != 1 || refused.Load() != 7 {
			t.Errorf("PATCH %s: of eight who read the same, %d changed it and %d got 412", tt.at, done.Load(), refused.Load())
		}
		if tt.read == "/recurrences/r" { // what is as it was before was changed all the same
			before := version(d.asked(c, "GET", api+tt.read, ""))
			d.asked(c, "POST", api+tt.at+"/hold", "{}")
			d.asked(c, "POST", api+tt.at+"/release", "{}")
			if r := d.asked(c, "PATCH", api+tt.at, `{"label": "late"}`, "If-Match: "+before); r.status != http.StatusPreconditionFailed {
				t.Errorf("after hold and release: %d %s, want 412", r.status, r.body)
			}
		}
		now := version(d.asked(c, "GET", api+tt.read, ""))
		method, path, _ := strings.Cut(tt.last, " ")
		if r := d.asked(c, method, api+path, "", "If-Match: "+version(read)); r.status != http.StatusPreconditionFailed {
			t.Errorf("%s with the first version: %d %s, want 412", tt.last, r.status, r.body)
		}
		edited := d.asked(c, "PATCH", api+tt.at, `{"label": "z"}`, "If-Match: "+now)
		if edited.status != http.StatusOK {
			t.Errorf("PATCH %s with the present version: %d %s", tt.at, edited.status, edited.body)
		}
		if r := d.asked(c, method, api+path, "", "If-Match: "+version(edited)); r.status != http.StatusOK {
			t.Errorf("%s with the version of the last reply: %d %s", tt.last, r.status, r.body)
		}
	}
}

// TestHTTPPages walks through the list of jobs and the messages of a queue while both change.
func TestHTTPPages(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, httpConfig)
	d.Start()
	c := d.web()
	d.asked(c, "POST", "/api/v1/queues", `{"name": ["q"]}`)
	add := func(i int) {
		d.asked(c, "POST", "/api/v1/activations", `{"arg": ["true"], "hold": true}`)
		d.asked(c, "POST", "/api/v1/queues/q/messages", fmt.Sprintf(`{"body": ["x"], "priority": %d}`, i%3))
	}
	const count = 40
	for i := range count {
		add(i)
	}
	for _, path := range []string{"/api/v1/activations", "/api/v1/queues/q/messages", "/api/v1/audit?action=add", "/api/v1/events?topic=activation.*.held"} {
		var ids []uint64
		path, filter, _ := strings.Cut(path, "?")
		filter = "?" + filter + "&limit=7"
		query := filter
		for pages := 0; ; pages++ {
			var out struct {
				Items []struct{ ID json.Number }
				Next  string
			}
			r := d.asked(c, "GET", path+query, "", "Accept: application/json")
			if err := json.Unmarshal([]byte(r.body), &out); err != nil || r.status != http.StatusOK {
				t.Fatalf("GET %s%s: %d %s", path, query, r.status, r.body)
			}
			for _, item := range out.Items {
				id, err := strconv.ParseUint(strings.Trim(item.ID.String(), `"`), 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				ids = append(ids, id)
			}
			if out.Next == "" || pages > 3*count {
				break
			}
			if pages == 2 { // the place itself goes away, unless it is an event
				of := "/api/v1/activations"
				if strings.HasSuffix(path, "messages") {
					of = path
				}
				d.asked(c, "POST", fmt.Sprintf("%s/%d/cancel", of, ids[len(ids)-1]), "")
				add(0)
			}
			query = filter + "&after=" + out.Next
		}
		if n := len(ids); n < count || n > count+8 || slices.Max(timesOf(ids)) != 1 {
			t.Errorf("GET %s, page by page: %d of %d: %v", path, n, count, ids)
		}
	}
}

// TestHTTPPagesOfStreams reads acts and events as lines and as pages.
func TestHTTPPagesOfStreams(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, httpConfig)
	d.Start()
	c := d.web()
	for range 5 {
		d.asked(c, "POST", "/api/v1/activations", `{"arg": ["true"], "hold": true}`)
	}
	next := ""
	for _, tt := range []struct {
		query, accept string
		status        int
		want          string // the ids of the items or lines, or a part of the problem
		next          bool
	}{
		{"/audit?action=add&limit=2", "application/json", 200, "1 2", true},
		{"/audit?action=add&limit=2&after=NEXT", "application/json", 200, "3 4", true},
		{"/audit?action=add&limit=2&after=NEXT", "application/json", 200, "5", false},
		{"/audit?action=add&n=2", "application/json", 200, "4 5", false},
		{"/audit?action=add&n=3&limit=2", "application/json", 200, "4 5", false},
		{"/audit?action=add", "application/jsonl", 200, "1 2 3 4 5", false},
		{"/audit?action=add&limit=3", "application/jsonl", 200, "1 2 3", false},
		{"/events?topic=activation.*.held", "application/json", 200, "1 2 3 4 5", false},
		{"/events?topic=activation.*.held&limit=4", "application/jsonl", 200, "1 2 3 4", false},
		{"/events?topic=activation.*.held&limit=1&since=0", "application/json", 200, "1", true},
		{"/events?topic=activation.*.held&since=1h&limit=9&after=NEXT", "application/jsonl", 200, "2 3 4 5", false},
		{"/audit?limit=0", "application/json", 400, "limit: want 1 to 1000", false},
		{"/audit?limit=1001", "application/jsonl", 400, "limit: want 1 to 1000", false},
		{"/audit?after=7", "application/json", 400, "after: ", false},
		{"/audit?after=eA", "application/json", 400, "after: ", false},
		{"/audit?n=1&after=NEXT", "application/json", 400, "a list in another order cannot be continued; leave out n", false},
	} {
		r := d.asked(c, "GET", "/api/v1"+strings.ReplaceAll(tt.query, "NEXT", next), "", "Accept: "+tt.accept)
		got := r.body
		if r.status == http.StatusOK {
			var ids []string
			for _, m := range regexp.MustCompile(`"id":"(\d+)"`).FindAllStringSubmatch(r.body, -1) {
				ids = append(ids, m[1])
			}
			got = strings.Join(ids, " ")
		}
		cursor := regexp.MustCompile(`"next":"(.*)"`).FindStringSubmatch(r.body)
		if r.status != tt.status || r.status == 200 && got != tt.want || !strings.Contains(got, tt.want) || (cursor != nil) != tt.next {
			t.Errorf("GET %s as %s: %d %s, want %d %s, and next: %t", tt.query, tt.accept, r.status, r.body, tt.status, tt.want, tt.next)
		}
		if cursor != nil {
			next = cursor[1]
		}
	}
}

// TestHTTPEventsOfTheFuture follows events from a number that no event has.
func TestHTTPEventsOfTheFuture(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, httpConfig)
	d.Start()
	c := d.web()
	d.asked(c, "POST", "/api/v1/activations", `{"arg": ["true"], "hold": true}`)
	const gap = `"what":"gap","topic":"gap","reset":true}`
	for _, header := range []string{"Accept: application/json", "Accept: text/event-stream"} {
		r := d.asked(c, "GET", "/events?limit=2&topic=activation.%23", "", "Last-Event-ID: 999999999", header)
		first, rest, _ := strings.Cut(r.body, gap)
		if r.status != http.StatusOK || strings.Contains(first, `"from"`) || !strings.Contains(rest, `"id":"1"`) {
			t.Errorf("%s: %d %s, want a gap with reset and without from, and then the event about job 1", header, r.status, r.body)
		}
		if strings.HasSuffix(header, "event-stream") && !strings.HasPrefix(r.body, "event: gap\nid: 0\ndata: {") {
			t.Errorf("the stream begins with %.100q", r.body)
		}
	}
}

// timesOf returns how often each of ids occurs.
func timesOf(ids []uint64) (times []int) {
	n := make(map[uint64]int)
	for _, id := range ids {
		n[id]++
	}
	return slices.Collect(maps.Values(n))
}
