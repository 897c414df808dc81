package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"activationd/control"
)

// routesConfig has paths at which messages are pushed, for an operator and for a submitter.
const routesConfig = `
listen_http: ["unix:DIR/http.sock", {address: '127.0.0.1:PORT', role: submitter}]
tokens: DIR/tokens
queues:
  max_messages: 20
  allow: ["pool-*", "lab-*"]
  routes:
  - {path: "/{service}-{queue}/{model}/{method}", queue: "{service}-{queue}", headers: {Model: "{model}", Method: "{method}"}, forward: [Content-Type, X-Who, X-None], create: yes}
  - {path: "/closed/{queue}", queue: "{queue}"}
`

// message returns a message that was pushed.
func (d *daemon) message(queue, id string) (m control.QueueMessage) {
	d.t.Helper()
	all := strings.Split(strings.TrimSpace(d.must("queue", "peek", queue, "--state", "all", "--body", "all", "--json")), "\n")
	for _, line := range all {
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			d.t.Fatalf("%v in %s", err, line)
		}
		if fmt.Sprint(m.ID) == id {
			return m
		}
	}
	d.t.Fatalf("no message %s in %s", id, all)
	return m
}

// TestHTTPRoutes pushes messages at paths of the configuration.
func TestHTTPRoutes(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	d := newDaemon(t, strings.ReplaceAll(routesConfig, "PORT", fmt.Sprint(port)))
	d.write("tokens", "sue submitter 0123456789abcdef0123456789abcdef\nvera viewer abcdef0123456789abcdef0123456789\n", 0o600)
	d.Start()
	unix := d.plainWeb()
	ask := func(method, path, body string, headers ...string) webReply {
		t.Helper()
		return d.asked(unix, method, path, body, headers...)
	}
	idOf := func(r webReply) string {
		t.Helper()
		var out control.QueuePushOut
		if err := json.Unmarshal([]byte(r.body), &out); err != nil || out.ID == 0 {
			t.Fatalf("%d %s: %v", r.status, r.body, err)
		}
		return fmt.Sprint(out.ID)
	}

	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	odd := "a\x00\xff{\n"
	r := ask("POST", "/pool-a-b/Device%20x/re%2Fset?priority=7&key=k", odd, "Content-Type: text/odd", "X-Who: ada", "X-Who: bob", "X-Other: y", "Traceparent: "+trace)
	id := idOf(r)
	if want := "/api/v1/queues/pool-a-b/messages/" + id; r.status != 201 || r.header.Get("Location") != want {
		t.Fatalf("%d, Location %q, want 201 and %s", r.status, r.header.Get("Location"), want)
	}
	if read := ask("GET", r.header.Get("Location"), ""); read.status != 200 {
		t.Errorf("GET %s: %d %s", r.header.Get("Location"), read.status, read.body)
	}
	m := d.message("pool-a-b", id)
	want := map[string]string{"Model": "Device x", "Method": "re/set", "Content-Type": "application/json, text/odd", "X-Who": "ada, bob", "traceparent": trace}
	if m.Base64 != "YQD/ewo=" || m.Priority != 7 || m.Key != "k" || fmt.Sprint(m.Headers) != fmt.Sprint(want) {
		t.Errorf("the message is %+v, want headers %v", m, want)
	}
	// What the path and the forwarded headers say belongs to a request with a key.
	for i, other := range [][]string{{"/pool-a/x%2Fy/z", "/pool-a/x/y%2Fz", "", ""}, {"/pool-a/x/y", "/pool-a/x/y", "X-Who: ada", "X-Who: bob"}} {
		key := fmt.Sprintf("Idempotency-Key: other%d", i)
		one, two := []string{key}, []string{key}
		if other[2] != "" {
			one, two = append(one, other[2]), append(two, other[3])
		}
		if r := ask("POST", other[0], "one", one...); r.status != 201 {
			t.Errorf("POST %s: %d %s", other[0], r.status, r.body)
		}
		if r := ask("POST", other[1], "one", two...); r.status != 422 {
			t.Errorf("POST %s with the key of another request: %d %s", other[1], r.status, r.body)
		}
	}
	// A variable that is empty makes no other request.
	if r := ask("POST", "/pool-a//y", "one"); r.status != 400 || !strings.Contains(r.body, "empty segment") {
		t.Errorf("with an empty segment: %d %s", r.status, r.body)
	}
	// The same key of a request pushes once; the body belongs to the request.
	first := ask("POST", "/pool-a/x/y", "one", "Idempotency-Key: k1")
	again := ask("POST", "/pool-a/x/y", "one", "Idempotency-Key: k1")
	if idOf(first) != idOf(again) || again.header.Get("Idempotency-Replayed") != "true" || again.status != 201 {
		t.Errorf("repeated: %+v, %+v", first, again)
	}
	big := strings.Repeat("x", 4<<20+1)
	sue := "Authorization: Bearer 0123456789abcdef0123456789abcdef"
	for _, tt := range []struct {
		what, method, path, body string
		headers                  []string
		status                   int
		text                     string
	}{
		{"another body with the key", "POST", "/pool-a/x/y", "two", []string{"Idempotency-Key: k1"}, 422, "Idempotency-Key"},
		{"a method", "GET", "/pool-a/x/y", "", nil, 405, "use POST"},
		{"what the path says", "POST", "/pool-a/x/y?header=a%3Db", "", nil, 400, "leave it out"},
		{"no argument", "POST", "/pool-a/x/y?prio=1", "", nil, 400, "no argument"},
		{"a header of two lines", "POST", "/pool-a/x/y%0Az", "", nil, 400, "header Method"},
		{"no name of a queue", "POST", "/pool-a%20b/x/y", "", nil, 400, "name"},
		{"a large body", "POST", "/pool-a/x/y", big, nil, 413, "larger than"},
		{"no queue", "POST", "/closed/pool-z", "", nil, 404, "no queue"},
		{"no route", "POST", "/pool-a/x", "", nil, 404, "there is nothing at"},
		{"the daemon's own", "POST", "/healthz", "", nil, 405, "use GET, HEAD"},
		{"a version", "POST", "/pool-a/x/y", "", []string{`If-Match: "x"`}, 400, "If-Match"},
		{"another site", "POST", "/pool-a/x/y", "", []string{"Origin: http://evil.example"}, 403, "another site"},
		{"a viewer", "POST", "/pool-a/x/y", "", []string{"Authorization: Bearer abcdef0123456789abcdef0123456789"}, 403, "submitter"},
		{"a token", "POST", "/lab-sue/x/y", "", []string{sue}, 201, `"id":`},
		{"a queue that may not be made", "POST", "/other-sue/x/y", "", []string{sue}, 403, "queues.allow"},
	} {
		if r := ask(tt.method, tt.path, tt.body, tt.headers...); r.status != tt.status || !strings.Contains(r.body, tt.text) {
			t.Errorf("%s: %d %.300s, want %d and %q", tt.what, r.status, r.body, tt.status, tt.text)
		} else if r.status == 405 && r.header.Get("Allow") == "" {
			t.Errorf("%s: no Allow", tt.what)
		}
	}
	resp, err := http.Post(fmt.Sprintf("http://127.0.0.1:%d/pool-a/x/y", port), "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 201 {
		t.Errorf("a submitter: %s", resp.Status)
	}
	for range 20 {
		r = ask("POST", "/pool-a/x/y", "")
	}
	if r.status != 507 || !strings.Contains(r.body, "of at most 20 messages") {
		t.Errorf("full: %d %s", r.status, r.body)
	}
	// Routes are read again with the configuration.
	d.configure(strings.Replace(strings.ReplaceAll(routesConfig, "PORT", fmt.Sprint(port)), `"/closed/{queue}"`, `"/open/{queue}"`, 1))
	d.must("reload")
	if a, b := ask("POST", "/closed/pool-a", ""), ask("POST", "/open/pool-a", ""); a.status != 404 || b.status != 507 {
		t.Errorf("after a reload: %d, %d", a.status, b.status)
	}
}
