package web_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"activationd/control"
	"activationd/control/access"
	"activationd/control/web"
	"activationd/control/web/describe"
	"activationd/control/web/webtest"
	"activationd/internal/fault"
)

// A thing is what the operations of these tests are about.
type thing struct {
	ID   string   `json:"id"`
	N    int      `json:"n"`
	List []string `json:"list,omitempty"`
	Yes  bool     `json:"yes,omitempty"`
}

type thingIn struct {
	ID   string   `arg:"id,required" bytes:"yes"`
	N    int      `arg:"n"`
	List []string `arg:"list"`
	Yes  bool     `arg:"yes"`
}

// registry has an operation of each form.
func registry() *control.Registry {
	type reply = control.Reply[thing]
	echo := func(_ context.Context, _ control.Caller, in thingIn) (reply, error) {
		return reply{Summary: fmt.Sprintf("n=%d word=%s", in.N, in.ID), Lines: []thing{{in.ID, in.N, in.List, in.Yes}}}, nil
	}
	return control.NewRegistry(
		control.Declare("thing show", control.Viewer, "show a thing", echo).At("GET /things/{id}").Single(),
		control.Declare("thing list", control.Viewer, "list things", echo).At("GET /things"),
		control.Declare("page", control.Viewer, "list numbered things", func(_ context.Context, _ control.Caller, in struct {
			Sort  string `arg:"sort"`
			Limit int    `arg:"limit"`
			After string `arg:"after"`
		}) (r reply, err error) {
			for i := range 250 { // in the order of the ids; after a thing of the same n
				t := thing{ID: fmt.Sprintf("%03d", i), N: i % 7}
				if len(r.Lines) < in.Limit && fmt.Sprintf("%s/%d", t.ID, t.N) > in.After {
					r.Lines = append(r.Lines, t)
				}
			}
			return r, nil
		}).At("GET /pages").Pages(control.Paging{After: []string{"id", "n"}, Order: map[string]string{"sort": "id"}}),
		control.Declare("thing add", control.Operator, "add a thing", echo).At("POST /things").Single(),
		control.Declare("thing drop", control.Admin, "drop a thing", echo).At("DELETE /things/{id}"),
		control.Declare("thing replace", control.Operator, "replace all things", func(_ context.Context, _ control.Caller, in struct {
			Things string `arg:"things,required" objects:"yes"`
		}) (reply, error) {
			var things []thing
			err := json.Unmarshal([]byte(in.Things), &things)
			return reply{Lines: things}, err
		}).At("PUT /things"),
		control.Declare("fail", control.Viewer, "fail", func(_ context.Context, _ control.Caller, in struct {
			Kind string `arg:"kind,required"`
		}) (reply, error) {
			return reply{}, fmt.Errorf("kind: it is so: %w", fault.Kind(in.Kind))
		}),
		control.DeclareStream("thing follow", control.Viewer, "follow things", func(_ context.Context, _ control.Caller, in struct {
			N int `arg:"n"`
		}, send func(thing) error) error {
			for i := range in.N {
				if err := send(thing{ID: "x", N: i}); err != nil {
					return err
				}
			}
			return fmt.Errorf("no more: %w", fault.Unavailable)
		}).At("GET /things/follow"),
	)
}

// serve serves the registry for operators, and returns the address.
func serve(t *testing.T, s *web.Server) string {
	t.Helper()
	address, _ := serveRegistry(t, s, registry())
	return address
}

// serveOps serves some operations for operators.
func serveOps(t *testing.T, s *web.Server, ops ...control.Op) string {
	t.Helper()
	address, _ := serveRegistry(t, s, control.NewRegistry(ops...))
	return address
}

// serveUntil serves some operations until stop is called.
func serveUntil(t *testing.T, s *web.Server, ops ...control.Op) (address string, stop func()) {
	t.Helper()
	return serveRegistry(t, s, control.NewRegistry(ops...))
}

func serveRegistry(t *testing.T, s *web.Server, ops *control.Registry) (address string, stop func()) {
	t.Helper()
	return serveAs(t, s, control.Operator, ops)
}

// serveAs serves operations for everybody with a role.
func serveAs(t *testing.T, s *web.Server, role control.Role, ops *control.Registry) (address string, stop func()) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return "http://" + ln.Addr().String(), serveOn(t, s, role, ops, ln)
}

// serveOn serves operations on a listener.
func serveOn(t *testing.T, s *web.Server, role control.Role, ops *control.Registry, ln net.Listener) (stop func()) {
	t.Helper()
	s.Registry, s.Log = ops, cmp.Or(s.Log, slog.New(slog.DiscardHandler))
	s.Gate = &access.Gate{Log: s.Log, Token: func(secret string) (control.Caller, bool) {
		return control.Caller{Name: "boss", Kind: control.ByToken, Role: control.Admin}, secret == "0123456789abcdef"
	}}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() {
		done <- s.Serve(ctx, ln, func(net.Conn) (control.Caller, error) {
			return control.Caller{Kind: control.ByAddress, Name: "loopback", Role: role}, nil
		})
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// checked returns a client that checks what it sends and gets against the document of operations.
func checked(t *testing.T, ops *control.Registry, base string) *http.Client {
	t.Helper()
	doc, err := describe.Document(ops, noTexts{})
	if err != nil {
		t.Fatal(err)
	}
	data, err := doc.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	transport, err := webtest.New(data, base, http.DefaultTransport, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Transport: transport}
}

// noTexts says nothing of anything.
type noTexts struct{}

func (noTexts) Type(reflect.Type) string          { return "" }
func (noTexts) Field(reflect.Type, string) string { return "" }

// TestRequests checks how requests become inputs, and replies and faults become replies of HTTP.
func TestRequests(t *testing.T) {
	base := serve(t, &web.Server{
		Base: "/lab", Hosts: []string{"lab.example"}, Version: "1.2", Description: []byte(`{"openapi":"3.1.0"}`), Reference: []byte("<title>"),
	})
	usual := checked(t, registry(), "/lab")
	for _, tt := range []struct {
		method, path, body string
		header             string // NAME: VALUE
		code               int
		want               string
	}{
		{"GET", "/api/v1/things/a@b", "", "", 200, `{"id":"a@b","n":0}`},
		{"GET", "/lab/api/v1/things/a%2Fb%20c", "", "", 200, `{"id":"a/b c","n":0}`},
		{"GET", "/api/v1/things?id=a&n=3&list=x&list=y&yes=true", "", "", 200, `{"summary":{"n":3,"word":"a"},"items":[{"id":"a","n":3,"list":["x","y"],"yes":true}]}`},
		{"GET", "/api/v1/things?id=%22a", "", "", 200, `{"summary":{"n":0,"word":"\"a"},"items":[{"id":"\"a","n":0}]}`},
		{"GET", "/api/v1/things", "", "", 400, `thing list needs id`},
		{"GET", "/api/v1/things?id=a&id=b", "", "", 400, `id: given twice`},
		{"GET", "/api/v1/things?id=a&x=1", "", "", 400, `thing list: no argument "x"; it takes id, n, list, yes`},
		{"GET", "/api/v1/things?id=a&n=x", "", "", 400, `n: "x" is not a whole number`},
		{"GET", "/api/v1/things/a?id=b", "", "", 400, `id: it is in the path already; leave it out here`},
		{"POST", "/api/v1/things", `{"id":"a","n":3,"list":["x"],"yes":true}`, "", 200, `{"id":"a","n":3,"list":["x"],"yes":true}`},
		{"POST", "/api/v1/things", `{"id.base64":"YQ=="}`, "", 200, `{"id":"a","n":0}`},
		{"POST", "/api/v1/things", `{"id":7}`, "", 400, `id: want a text, have "7"`},
		{"POST", "/api/v1/things", `{"id":"a","n":"3"}`, "", 400, `n: want a whole number, have "3"`},
		{"POST", "/api/v1/things", `{"id":"a","n":1.5}`, "", 400, `n: "1.5" is not a whole number`},
		{"POST", "/api/v1/things", `{"id":"a","n":null}`, "", 400, `n: want a whole number, have null; leave out what is not to be set`},
		{"POST", "/api/v1/things", `{"id":["a"]}`, "", 400, `id: want a text, have a list`},
		{"POST", "/api/v1/things", `{"id":"a","id":"b"}`, "", 400, `id: given twice`},
		{"POST", "/api/v1/things", `{"id":"a","extra":1}`, "", 400, `no argument "extra"`},
		{"POST", "/api/v1/things", `{"id":"a"} x`, "", 400, `something follows the JSON object`},
		{"POST", "/api/v1/things", `{"id":"a"`, "", 400, `the body is no JSON object: unexpected EOF`},
		{"POST", "/api/v1/things", `["a"]`, "", 400, `the body must be a JSON object`},
		{"PUT", "/api/v1/things", `{"things":[{"id":"a","n":1}]}`, "", 200, `"items":[{"id":"a","n":1}]`},
		{"PUT", "/api/v1/things", `{"things":[]}`, "", 200, `"items":[]`},
		{"PUT", "/api/v1/things", `{}`, "", 400, `thing replace needs things`},
		{"PUT", "/api/v1/things", `{"things":null}`, "", 400, `things: want a list of objects`},
		{"PUT", "/api/v1/things", `{"things":{"id":"a"}}`, "", 400, `things: want a list of objects`},
		{"PUT", "/api/v1/things", `{"things":"[]"}`, "", 400, `things: want a list of objects`},
		{"PUT", "/api/v1/things", `{"things":[{"id":"a"},7]}`, "", 400, `things: want a list of objects`},
		{"PUT", "/api/v1/things", `{"things":[null]}`, "", 400, `things: want a list of objects`},
		{"PUT", "/api/v1/things", `{"things":[ [] ]}`, "", 400, `things: want a list of objects`},
		{"PUT", "/api/v1/things", `{"things":[],"things":[{"id":"a"}]}`, "", 400, `things: given twice`},
		{"POST", "/api/v1/things?id=a", ``, "", 400, `takes its arguments from a JSON object in the body`},
		{"POST", "/api/v1/things", `{"id":"a"}`, "Content-Type: text/plain", 415, `Content-Type: application/json`},
		{"POST", "/api/v1/things", `{"id":"a"}`, "Content-Encoding: gzip", 415, `Content-Encoding: "gzip" is not understood; send the body as it is, without Content-Encoding`},
		{"POST", "/api/v1/things", `{"id":"a"}`, "Content-Encoding: identity", 200, `{"id":"a","n":0}`},
		{"POST", "/api/v1/things", `{"id":"` + strings.Repeat("x", 5<<20) + `"}`, "", 413, `larger than 4194304 bytes`},
		{"DELETE", "/api/v1/things/a", "", "", 403, `thing drop needs the role admin`},
		{"DELETE", "/api/v1/things/a", "", "Authorization: Bearer 0123456789abcdef", 200, `"items":[{"id":"a","n":0}]`},
		{"DELETE", "/api/v1/things/a", "", "Authorization: Bearer wrong", 401, `this token is not known`},
		{"DELETE", "/api/v1/things/a", "", "Authorization: Basic eDp5", 401, `only Bearer`},
		{"POST", "/api/v1/things", `{"id":"a"}`, "Sec-Fetch-Site: cross-site", 403, `a page of another site`},
		{"PATCH", "/api/v1/things", "", "", 405, `"PATCH" is not possible here; use GET, HEAD, POST, PUT`},
		{"POST", "/api/v1/things", `{"id":"a"}`, "Host: evil.example", 403, `the host "evil.example" is not known here`},
		{"GET", "/healthz", "", "Host: LocalHost:80", 200, "ok"},
		{"GET", "/healthz", "", "Host: lab.example", 200, "ok"},
		{"POST", "/api/v1/things", "{\"id\":\"caf\xe9\"}", "", 400, `the body is not UTF-8`},
		{"POST", "/api/v1/things", `{"id":"a"}`, "If-Match: ", 400, `If-Match`},
		{"GET", "/api/v2/things", "", "", 404, `there is nothing at \"/lab/api/v2/things\"; /lab/openapi.json describes`},
		{"POST", "/api/v1/fail", `{"kind":"conflict"}`, "", 409, `"detail":"kind: it is so","field":"kind"`},
		{"POST", "/api/v1/fail", `{"kind":"unavailable"}`, "", 503, `"retry_after":1`},
		{"POST", "/api/v1/fail", `{"kind":"internal"}`, "", 500, `internal error; the daemon's log has the details`},
		{"GET", "/healthz", "", "", 200, "ok"},
		{"GET", "/lab/readyz", "", "", 200, "ok"},
		{"GET", "/version", "", "", 200, `"version":"1.2"`},
		{"GET", "/openapi.json", "", "", 200, `{"openapi":"3.1.0"}`},
		{"GET", "/lab/docs", "", "", 200, `<title>`},
		{"GET", "/lab", "", "", 200, `<a href="docs">`},
		{"GET", "/%6cab/healthz", "", "", 200, "ok"},
		{"GET", "/%6cab/api/v1/things/a%2Fb", "", "", 200, `{"id":"a/b","n":0}`},
		{"GET", "/lab%2fhealthz", "", "", 404, `there is nothing at \"/lab/lab/healthz\"`},
		{"GET", "/labor/healthz", "", "", 404, `there is nothing at`},
		{"GET", "/", "", "", 200, `<a href="docs">`},
		{"GET", "/api/v1/things/follow?n=2", "", "", 200, `{"id":"x","n":1}` + "\n" + `{"error":{"type":"urn:activationd:problem:unavailable"`},
		{"GET", "/api/v1/things/follow?n=1", "", "Accept: text/event-stream", 200, `data: {"id":"x","n":0}` + "\n\nevent: problem\ndata: {"},
		{"GET", "/api/v1/things/follow", "", "", 503, `no more`},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tt.method, base+tt.path, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		client := usual
		if strings.Contains(tt.body, `"id":7`) { // the document promises less than what is accepted
			client = http.DefaultClient
		}
		if tt.body != "" {
			req.Header.Set("Content-Type", "application/json")
		}
		if name, value, ok := strings.Cut(tt.header, ": "); name == "Host" {
			req.Host = value
		} else if ok {
			req.Header.Set(name, value)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatalf("%s %s: %v", tt.method, tt.path, err)
		}
		got, err := io.ReadAll(resp.Body)
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
		if err != nil {
			t.Error(err)
		}
		text := string(got)
		if !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
			text = strings.NewReplacer("\n,", ",", "\n]", "]", `\"`, `"`).Replace(text)
		}
		want := strings.ReplaceAll(tt.want, `\"`, `"`)
		if resp.StatusCode != tt.code || !strings.Contains(text, want) {
			t.Errorf("%s %.60s %.60s %s: %d %.300s, want %d %s", tt.method, tt.path, tt.body, tt.header, resp.StatusCode, text, tt.code, want)
		}
		if kind := resp.Header.Get("Content-Type"); tt.code >= 400 {
			var p struct{ Status int }
			if err := json.Unmarshal(got, &p); kind != "application/problem+json" || err != nil || p.Status != tt.code {
				t.Errorf("%s %.60s: %s, status %d, %v", tt.method, tt.path, kind, p.Status, err)
			}
		}
	}
}

// TestPages walks through a list.
func TestPages(t *testing.T) {
	base := serve(t, &web.Server{})
	get := func(query string) (status int, ids []string, next, detail string) {
		t.Helper()
		var out struct {
			Items  []thing
			Next   string
			Detail string
		}
		resp, err := http.Get(base + "/api/v1/pages" + query) //nolint:noctx // a test
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(json.NewDecoder(resp.Body).Decode(&out), resp.Body.Close())
		if err != nil {
			t.Fatal(err)
		}
		for _, th := range out.Items {
			ids = append(ids, th.ID)
		}
		return resp.StatusCode, ids, out.Next, out.Detail
	}
	var all []string
	var sizes []int
	for query := "?"; ; {
		_, ids, next, _ := get(query)
		all, sizes = append(all, ids...), append(sizes, len(ids))
		if next == "" {
			break
		}
		query = "?limit=60&after=" + next
	}
	if len(all) != 250 || !slices.IsSorted(all) || !slices.Equal(sizes, []int{100, 60, 60, 30}) {
		t.Errorf("pages of %d, with %d things, want 100, 60, 60 and 30, in order: %v", sizes, len(all), all)
	}
	for _, tt := range []struct {
		query  string
		status int
		want   string
	}{
		{"?limit=0", 400, "limit: want 1 to 1000"},
		{"?limit=1001", 400, "limit: want 1 to 1000"},
		{"?limit=x", 400, "limit: want 1 to 1000"},
		{"?after=!", 400, `after: "!" is not the next of an earlier reply`},
		{"?after=", 400, `after: "" is not the next`},
		{"?after=MTA&sort=n", 400, "after: a list in another order cannot be continued; leave out sort"},
	} {
		if status, _, _, detail := get(tt.query); status != tt.status || !strings.Contains(detail, tt.want) {
			t.Errorf("%s: %d %s, want %d %s", tt.query, status, detail, tt.status, tt.want)
		}
	}
	if _, ids, next, _ := get("?sort=n&limit=3"); len(ids) != 3 || next != "" {
		t.Errorf("in another order: %v, next %q", ids, next)
	}
	if _, ids, next, _ := get("?sort=id&limit=3"); len(ids) != 3 || next == "" {
		t.Errorf("in its order: %v, next %q", ids, next)
	}
}

// TestRedirects checks where paths lead that are not in their shortest form.
func TestRedirects(t *testing.T) {
	for _, tt := range []struct {
		base, path, want string
		post             int // the status of a POST: who does not follow a redirect would take it for success
	}{
		{"/lab", "/lab", "/lab/", 405},
		{"/lab", "/lab?x=1", "/lab/?x=1", 405},
		{"/lab", "/%6cab?x=1", "/lab/?x=1", 405},
		{"/lab", "/%6Cab//healthz", "/%6Cab/healthz", 400},
		{"/lab", "/lab//api/v1/things?id=a&n=1", "/lab/api/v1/things?id=a&n=1", 400},
		{"/lab", "/lab/api/v1/../v1/things/a%2Fb", "/lab/api/v1/things/a%2Fb", 400},
		{"/lab", "//lab/./api/v1/things", "/lab/api/v1/things", 400},
		{"/lab", "//api/v1/things", "/lab/api/v1/things", 400}, // the front server has removed /lab
		{"/lab", "/lab/../..//things/", "/lab/things/", 400},
		{"/lab", "//elsewhere.example/..//elsewhere.example", "/lab/elsewhere.example", 400},
		{"", "//elsewhere.example", "/elsewhere.example", 400},
		{"", "/api//v1/things/%2E%2E", "/api/v1/things/%2E%2E", 400},
	} {
		base := serve(t, &web.Server{Base: tt.base})
		client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			req, err := http.NewRequestWithContext(t.Context(), method, base+tt.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if err := resp.Body.Close(); err != nil {
				t.Error(err)
			}
			if method == http.MethodPost {
				if resp.StatusCode != tt.post {
					t.Errorf("%s %s below %q: %d, want %d", method, tt.path, tt.base, resp.StatusCode, tt.post)
				}
				continue
			}
			if got := resp.Header.Get("Location"); resp.StatusCode != http.StatusTemporaryRedirect || got != tt.want {
				t.Errorf("%s %s below %q: %d %s, want %s", method, tt.path, tt.base, resp.StatusCode, got, tt.want)
			}
		}
	}
}

// TestHead checks that a HEAD has the status and the headers of a GET.
func TestHead(t *testing.T) {
	waits := control.DeclareStream("wait", control.Viewer, "wait", func(ctx context.Context, _ control.Caller, in struct {
		ID string `arg:"id,required"`
	}, _ func(thing) error) error {
		if in.ID == "999" {
			return fmt.Errorf("no activation %s: %w", in.ID, fault.NotFound)
		}
		<-ctx.Done()
		return ctx.Err()
	}).At("GET /activations/{id}/end").Single()
	follows := control.DeclareStream("events", control.Viewer, "follow", func(_ context.Context, _ control.Caller, in control.EventsIn, send func(thing) error) error {
		if in.Since == "wrong" {
			return fmt.Errorf("since: it is wrong: %w", fault.Invalid)
		}
		return send(thing{ID: "a"})
	}).At("GET /events")
	show := control.Declare("thing show", control.Viewer, "show a thing", func(_ context.Context, _ control.Caller, in struct {
		ID string `arg:"id,required"`
	}) (control.Reply[thing], error) {
		return control.Reply[thing]{Lines: []thing{{ID: in.ID}}}, nil
	}).At("GET /things/{id}").Single()
	base := serveOps(t, &web.Server{}, waits, follows, show)
	head := func(path, tag string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodHead, base+web.Prefix+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("If-None-Match", tag)
		resp, err := (&http.Client{Timeout: hang}).Do(req)
		if err != nil {
			t.Fatalf("HEAD %s: %v", path, err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
		return resp
	}
	for _, tt := range []struct {
		path string
		code int
		kind string
	}{
		{"/activations/999/end", 404, "application/problem+json"},
		{"/activations/1/end", 200, "application/json"}, // it does not wait
		{"/events", 200, "application/jsonl"},
		{"/events?since=wrong", 400, "application/problem+json"},
	} {
		if resp := head(tt.path, ""); resp.StatusCode != tt.code || resp.Header.Get("Content-Type") != tt.kind {
			t.Errorf("HEAD %s: %d %s, want %d %s", tt.path, resp.StatusCode, resp.Header.Get("Content-Type"), tt.code, tt.kind)
		}
	}
	tag := head("/things/a", "").Header.Get("ETag")
	if tag == "" {
		t.Fatal("HEAD of a thing: no ETag")
	}
	if resp := head("/things/a", tag); resp.StatusCode != http.StatusNotModified {
		t.Errorf("HEAD with If-None-Match: %d, want 304", resp.StatusCode)
	}
}
