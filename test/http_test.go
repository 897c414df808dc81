package test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"activationd/control"
	"activationd/control/ops"
	"activationd/control/web/describe"
	"activationd/control/web/webtest"
	"activationd/docs"
)

// overHTTP returns a client for the daemon's socket DIR/http.sock, which checks what it sends
// and gets against the OpenAPI document.
func (d *daemon) overHTTP() (*http.Client, *webtest.Transport) {
	d.t.Helper()
	checked, err := webtest.New(docs.OpenAPI(), "", d.plainWeb().Transport, func(err error) { d.t.Error(err) })
	if err != nil {
		d.t.Fatal(err)
	}
	return &http.Client{Transport: checked}, checked
}

// plainWeb returns a client for that socket that checks nothing: not all paths are in the document.
func (d *daemon) plainWeb() *http.Client {
	d.t.Helper()
	plain := &http.Transport{MaxIdleConnsPerHost: 64, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", d.dir+"/http.sock")
	}}
	d.t.Cleanup(plain.CloseIdleConnections)
	return &http.Client{Transport: plain}
}

// everythingConfig has something for every operation to be about.
const everythingConfig = `
listen_http: ["unix:DIR/http.sock"]
lab: {inventory: DIR/inventory.yaml}
reservations: {activate: ['true'], deactivate: ['true']}
sources: [{files: DIR/res.yaml}, {http: portal}]
booking: {devices: ['r*'], activate: ['true'], deactivate: ['true']}
services: {web: {command: [sleep, infinity], ready: {log: nothing}}}
at: {deny: /dev/null, sendmail: /bin/true}
`

// newEverything starts a daemon that has something for every operation to be about.
func newEverything(t *testing.T) *daemon {
	t.Helper()
	d := newDaemon(t, everythingConfig)
	d.write("inventory.yaml", vlanInventory+"devices:\n  r1: {platform: frr, connect: telnet://127.0.0.1:1}\n", 0o644)
	now := time.Now().UTC()
	d.write("res.yaml", fmt.Sprintf(`reservations:
- {id: 1@x, owner: ada, start: %s, end: %s, devices: [r1], label: now}
- {id: 2@x, owner: ada, start: 2099-12-21T10:00:00Z, end: 2099-12-21T12:00:00Z, devices: [r1, r2]}
- {id: 3@x, owner: bob, start: 2099-12-21T11:00:00Z, end: 2099-12-21T13:00:00Z, devices: [r2]}
`, now.Add(-time.Hour).Format(time.RFC3339), now.Add(time.Hour).Format(time.RFC3339)), 0o644)
	d.Start()
	d.InState("1@x", "active")
	return d
}

// A step is a request of TestHTTPWhole. In path and body, {NAME} stands for the id in the reply
// of the step with that name.
type step struct {
	name, request, body string
	status              int // 0: it is carried out
}

// wholeSteps calls every operation, so that each has something to do.
var wholeSteps = []step{
	{"job", "POST /activations", `{"arg":["sh","-c","echo out; echo +vlan >$ACTIVATION_CONFIG_DIR/r1.diff; exit 3"],"label":"first","env":["A=b"]}`, 0},
	{"", "GET /activations/{job}/end", "", 0},
	{"", "GET /activations/{job}", "", 0},
	{"", "GET /activations/{job}/why", "", 0},
	{"", "GET /activations/{job}/log", "", 0},
	{"", "GET /activations/{job}/files", "", 0},
	{"", "GET /activations/{job}/file?name=r1.diff", "", 0},
	{"", "POST /activations/{job}/retry", `{"was":["failed"]}`, 0},
	{"script", "POST /activations", `{"script":"cat >&2","in":"1h","tag":["x","y"],"lock":["l"],"after":["{job}"],"deadline":"2h"}`, 0},
	{"", "GET /inputs?id={script}", "", 0},
	{"", "PATCH /activations/{script}", `{"label":"second","priority":"7"}`, 0},
	{"", "POST /activations/{script}/hold", "", 0},
	{"", "POST /activations/{script}/release", "{}", 0},
	{"", "POST /activations/{script}/run", "", 0},
	{"", "POST /activations/{script}/forgive", "", 409},
	{"long", "POST /activations", `{"arg":["sleep","1000"],"lock":["l2"]}`, 0},
	{"", "POST /activations/{long}/progress", `{"percent":"50","text":"half"}`, 0},
	{"", "GET /locks", "", 0},
	{"", "POST /activations/{long}/cancel", `{"reason":"enough"}`, 0},
	{"", "GET /activations?state=all&sort=id&reverse=true&limit=10&failed=false", "", 0},
	{"", "GET /activations?state=active&device=r1", "", 0},
	{"", "GET /activations/1@x", "", 0},
	{"", "GET /activations/nothing", "", 404},
	{"", "PUT /sources/portal/reservations", `{"dry-run":true,"reservations":[{"id":"9@x","start":"2098-03-01T10:00:00Z","end":"2098-03-01T11:00:00Z","devices":["r1"]}]}`, 0},
	{"", "GET /sources/portal/reservations", "", 0},
	{"", "PUT /activations/1@x/plan", `{"fence":1,"base64":"eA=="}`, 409},
	{"", "GET /activations/1@x/plan", "", 404},
	{"", "PUT /activations/2@x/topology", `{"topology":"{\"topology\":{\"nodes\":{\"r1\":{},\"r2\":{}}}}"}`, 0},
	{"", "DELETE /activations/2@x/topology", "", 0},
	{"", "POST /recurrences", `{"name":"nightly","cron":"0 4 * * *","arg":["true"]}`, 0},
	{"", "GET /recurrences", "", 0},
	{"", "PATCH /recurrences/nightly", `{"cron":"0 5 * * *"}`, 0},
	{"", "POST /recurrences/nightly/run", "", 0},
	{"", "POST /recurrences/nightly/hold", "", 0},
	{"", "POST /recurrences/nightly/release", "", 0},
	{"", "GET /recurrences/nightly", "", 0},
	{"", "GET /occurrences?name=nightly&n=2", "", 0},
	{"", "DELETE /recurrences/nightly", "", 0},
	{"book", "POST /bookings", `{"devices":["r9"],"from":"2098-01-01T10:00:00Z","for":"1h","label":"b"}`, 0},
	{"", "POST /bookings/{book}/extend", `{"by":"30m"}`, 0},
	{"", "PATCH /bookings/{book}", `{"label":"c"}`, 0},
	{"", "GET /bookings", "", 0},
	{"", "GET /bookings/quota", "", 0},
	{"", "POST /bookings/{book}/end", "", 0},
	{"", "GET /calendar?from=2099-12-21T00:00:00Z&to=2099-12-22T00:00:00Z&idle=true", "", 0},
	{"", "GET /free?for=1h&devices=r1", "", 0},
	{"", "POST /queues", `{"name":["mail"]}`, 0},
	{"", "POST /queues", `{"name":["mail"]}`, 0},
	{"message", "POST /queues/mail/messages", `{"body":["hello"],"header":["to=ada"],"delay":"1h","priority":9}`, 0},
	{"", "POST /queues/mail/messages", `{"body.base64":["/w=="]}`, 0},
	{"", "GET /queues", "", 0},
	{"", "GET /queues/mail", "", 0},
	{"", "GET /queues/mial", "", 404},
	{"", "GET /queues/mail/messages?state=all&body=all", "", 0},
	{"", "GET /queues/mail/messages/{message}", "", 0},
	{"", "POST /queues/mail/messages/{message}/cancel", "", 0},
	{"", "POST /queues/mail/purge", "", 0},
	{"", "GET /queues/mail/dead", "", 0},
	{"", "POST /queues/mail/retry", "", 0},
	{"", "POST /queues/pause", `{"name":["mail"],"reason":"x","until":"1h"}`, 0},
	{"", "POST /queues/resume", `{"name":["mail"]}`, 0},
	{"", "POST /queues/restart", `{"name":["mail"]}`, 0},
	{"", "POST /queues/answer", `{"session":"x","id":1,"attempt":1,"done":true}`, 0},
	{"", "POST /allowed-queues", `{"name":["mail"]}`, 409},
	{"", "DELETE /allowed-queues?name=mail", "", 409},
	{"", "GET /allowed-queues", "", 0},
	{"", "DELETE /queues/mail?discard=true", "", 0},
	{"", "GET /services", "", 0},
	{"", "GET /services/env?name=web", "", 0},
	{"", "GET /services/places", "", 0},
	{"", "POST /services/web/scale", `{"instances":2}`, 0},
	{"", "POST /services/restart", `{"name":["web"]}`, 0},
	{"", "POST /services/stop", `{"name":["web"]}`, 0},
	{"", "POST /services/start", `{"name":["web"]}`, 0},
	{"", "GET /vlans/pools", "", 0},
	{"", "POST /vlans", `{"holder":"1@x","link":["a"],"domain":["ostrava"]}`, 0},
	{"", "GET /vlans", "", 0},
	{"", "POST /vlans/release", `{"domain":"ostrava","id":100,"force":true}`, 0},
	{"", "POST /vlans/quarantine", `{"domain":"ostrava","id":101,"reason":"x"}`, 0},
	{"", "POST /vlans/free", `{"domain":"ostrava","id":101}`, 0},
	{"", "GET /vlans/sections", "", 0},
	{"", "POST /logins/try", `{"step":"refused","device":"r1","what":"password","digest":"DIGEST"}`, 0},
	{"", "GET /logins", "", 0},
	{"", "POST /logins/retry", `{"device":"r1"}`, 0},
	{"at", "POST /at", `{"script":["true\n"],"when":4000000000}`, 0},
	{"", "GET /at", "", 0},
	{"", "GET /at/scripts?id={at}", "", 0},
	{"", "POST /at/remove", `{"id":["{at}","77777"]}`, 0},
	{"", "POST /at/import", `{"script":["true\n"],"when":4000000000,"user":"0:0","spool":"a0001"}`, 0},
	{"", "POST /pauses", `{"what":"device","name":"r1","until":"1h","reason":"x"}`, 0},
	{"", "GET /pauses", "", 0},
	{"", "DELETE /pauses?what=device&name=r1", "", 0},
	{"", "POST /events", `{"topic":"lab.note","text":"hello"}`, 0},
	{"", "GET /audit?n=10", "", 0},
	{"", "GET /report?by=owner", "", 0},
	{"", "GET /clock", "", 0},
	{"", "GET /status", "", 0},
	{"", "GET /backup", "", 0},
	{"", "POST /reload", `{"dry-run":true}`, 0},
	{"", "POST /kill", `{"kill":10}`, 0},
	{"", "POST /kill", `{"kill":11}`, 400},
}

// TestHTTPWhole calls every operation of a daemon over HTTP, and checks each request and each
// reply against the OpenAPI document.
func TestHTTPWhole(t *testing.T) {
	t.Parallel()
	needRoot(t) // at import and the plans of reservations are for root
	d := newEverything(t)
	client, checked := d.overHTTP()
	ids := map[string]string{"DIGEST": strings.Repeat("a", 64)}
	do := func(s step) {
		t.Helper()
		expand := func(text string) string {
			for name, id := range ids {
				text = strings.NewReplacer("{"+name+"}", id, "DIGEST", ids["DIGEST"]).Replace(text)
			}
			return text
		}
		method, path, _ := strings.Cut(s.request, " ")
		body := expand(s.body)
		req, err := http.NewRequestWithContext(t.Context(), method, "http://x/api/v1"+expand(path), strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if body != "" {
			req.Header.Set("Content-Type", "application/json")
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatalf("%s: %v", s.request, err)
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		if want := max(s.status, 200); err != nil || want == 200 && resp.StatusCode/100 != 2 || s.status != 0 && resp.StatusCode != s.status {
			t.Errorf("%s %s: %d %.300s, %v; want %d", s.request, body, resp.StatusCode, data, err, want)
		}
		if s.name != "" {
			var named struct{ ID json.RawMessage }
			if err := json.Unmarshal(data, &named); err != nil {
				t.Fatalf("%s: %v in %s", s.request, err, data)
			}
			ids[s.name] = strings.Trim(string(named.ID), `"`)
		}
	}
	for _, s := range wholeSteps {
		do(s)
	}
	// These go on until the client leaves.
	for _, s := range []struct {
		request, accept string
		lines           int
	}{
		{"GET /events?since=0", "application/jsonl", 20},
		{"GET /events?since=0&topic=activation.%23", "text/event-stream", 20},
		{"POST /vlans/section", "application/jsonl", 1},
		{"POST /queues/listen", "application/jsonl", 1},
	} {
		method, path, _ := strings.Cut(s.request, " ")
		body := ""
		if strings.HasSuffix(path, "listen") {
			do(step{"", "POST /queues", `{"name":["stream"]}`, 0})
			body = `{"name":["stream"]}`
		}
		req, err := http.NewRequestWithContext(t.Context(), method, "http://x/api/v1"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", s.accept)
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		in := bufio.NewScanner(resp.Body)
		for n := 0; n < s.lines; {
			if !in.Scan() {
				t.Fatalf("%s ended: %v", s.request, in.Err())
			}
			if strings.Contains(in.Text(), "{") {
				n++
			}
		}
		resp.Body.Close()
	}
	for _, path := range []string{"/", "/docs", "/openapi.json", "/healthz", "/readyz", "/version", "/metrics"} {
		resp, err := client.Get("http://x" + path)
		if err != nil {
			t.Fatal(err)
		}
		if data, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 || len(data) == 0 {
			t.Errorf("GET %s: %d, %v", path, resp.StatusCode, err)
		}
		resp.Body.Close()
	}
	do(step{"", "POST /stop", `{"drain":false}`, 0})
	// These have nothing to succeed with here; tests of their own call them.
	failed := []string{"forgive", "plan-keep", "plan-show", "queue-allow", "queue-deny"}
	for _, op := range ops.Registry(ops.Daemon{}).Ops() {
		id := describe.ID(op)
		if checked.Called(id) == 0 && !slices.Contains(failed, id) {
			t.Errorf("%s was not called", op.Name)
		}
	}
}

// TestFacesAreWhole checks that no face lacks an operation: the line protocol, HTTP, the OpenAPI
// document, the reference page, and the table of roles.
func TestFacesAreWhole(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, `listen_http: ["unix:DIR/http.sock"]`+"\n")
	d.Start()
	type command struct {
		Arguments []string
		Role      string
	}
	commands := make(map[string]command)
	conn, err := net.Dial("unix", d.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "help\nquit\n"); err != nil {
		t.Fatal(err)
	}
	for in := bufio.NewScanner(conn); in.Scan(); {
		if strings.HasPrefix(in.Text(), "{") {
			var c struct {
				Command string
				command
			}
			c.command = parse[command](t, in.Text())
			c.Command = parse[struct{ Command string }](t, in.Text()).Command
			commands[c.Command] = c.command
		}
	}
	client, _ := d.overHTTP()
	get := func(path string) string {
		t.Helper()
		resp, err := client.Get("http://x" + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("GET %s: %d, %v", path, resp.StatusCode, err)
		}
		return string(data)
	}
	var document struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
			Name        string `json:"x-name"`
			Role        string `json:"x-role"`
		}
	}
	if err := json.Unmarshal([]byte(get("/openapi.json")), &document); err != nil {
		t.Fatal(err)
	}
	type place struct{ method, path, role string }
	described := make(map[string]place)
	for path, item := range document.Paths {
		for method, o := range item {
			described[o.Name] = place{strings.ToUpper(method), path, o.Role}
		}
	}
	page := get("/docs")
	data, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	roles := make(map[string]string) // the rows of the table
	for _, m := range regexp.MustCompile(`(?m)^\| (viewer|submitter|operator|admin) \| (.*) \|$`).FindAllStringSubmatch(string(data), -1) {
		roles[m[1]] = m[2]
	}
	placeholder := regexp.MustCompile(`\{[^}]*\}`)
	all := ops.Registry(ops.Daemon{}).Ops()
	for _, op := range all {
		role := op.Role.String()
		if c, ok := commands[op.Name]; !ok || c.Role != role || len(c.Arguments) != len(op.Args()) {
			t.Errorf("the line protocol has not %s, with the role %s and %d arguments: %+v", op.Name, role, len(op.Args()), c)
		}
		p := described[op.Name]
		if p.method != op.Method || placeholder.ReplaceAllString(p.path, "x") != "/api/v1"+placeholder.ReplaceAllString(op.Path, "x") || p.role != role {
			t.Errorf("the document has %s as %+v, want %s %s for %s", op.Name, p, op.Method, op.Path, role)
		}
		for _, want := range []string{
			fmt.Sprintf(`<h3 id="op-%s">%s /api/v1%s</h3>`, describe.ID(op), op.Method, op.Path),
			fmt.Sprintf(`<small>%s · role %s ·`, op.Name, role),
		} {
			if !strings.Contains(page, want) {
				t.Errorf("the reference page does not have %s", want)
			}
		}
		// A method that no operation has is refused, with those that there are.
		req, err := http.NewRequestWithContext(t.Context(), "PROBE", "http://x/api/v1"+placeholder.ReplaceAllString(op.Path, "x"), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if allow := strings.Split(resp.Header.Get("Allow"), ", "); resp.StatusCode != http.StatusMethodNotAllowed || !slices.Contains(allow, op.Method) {
			t.Errorf("HTTP has at the path of %s %v, want %s", op.Name, allow, op.Method)
		}
		if op.Role == control.NoRole {
			role = "viewer"
		}
		if !inTable(roles[role], op.Name) {
			t.Errorf("docs/protocol.md does not say in its table of roles that %s is for the role %s", op.Name, role)
		}
	}
	if own := 3; len(commands) != len(all)+own { // help, token, quit
		t.Errorf("the line protocol has %d commands, want %d", len(commands), len(all)+own)
	}
}

// inTable reports whether a row of the table of roles names an operation.
func inTable(row, name string) bool {
	if strings.HasPrefix(name, "queue ") && strings.Contains(row, "the other commands about queues") {
		return true
	}
	for _, m := range regexp.MustCompile("`([^`]*)`").FindAllStringSubmatch(row, -1) {
		if m[1] == name || slices.Contains(strings.Fields(m[1]), name) {
			return true
		}
	}
	return name == "kill" && strings.Contains(row, "kill:10")
}
