package test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"activationd/control"
)

// A posted is what a hook posted.
type posted struct{ what, id, topic, trace string }

// TestTraces follows traces of HTTP requests to a job's script, to a listener of each form, and to what hooks post
// about the job and about a text that was published.
func TestTraces(t *testing.T) {
	t.Parallel()
	all := make(chan posted, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var e control.Event
		body, err := io.ReadAll(r.Body)
		if err != nil || json.Unmarshal(body, &e) != nil {
			t.Errorf("posted: %q, %v", body, err)
		}
		all <- posted{e.What, e.ID, e.Topic, r.Header.Get("traceparent")}
	}))
	t.Cleanup(receiver.Close)
	d := newDaemon(t, `
listen_http: ["unix:DIR/http.sock"]
hooks: [{name: watch, on: ["activation.*.finished", "build.#"], post: "`+receiver.URL+`", allow_private: yes}]
listeners:
  - {name: each, queues: ["each"], command: [DIR/each]}
  - {name: stream, queues: ["stream"], per: stream, command: [DIR/stream]}
`)
	b := d.beacon()
	d.script("each", `echo "message ${TRACEPARENT-none} $HEADER_TRACEPARENT" >`+b.path+"\n")
	d.script("stream", "while read -r line; do echo \"$line\" >"+b.path+`; id=${line#*:}; echo "{\"id\":${id%%,*},\"outcome\":\"done\"}"; done`+"\n")
	d.Start()
	for _, name := range []string{"each", "stream"} {
		d.must("queue", "create", name)
	}
	c := d.overUnix()
	post := func(path, body string, traces ...string) string {
		t.Helper()
		req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://localhost/api/v1"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header["Traceparent"] = traces
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode >= 300 {
			t.Fatalf("POST %s: %s, %v: %s", path, resp.Status, err, text)
		}
		return string(text)
	}
	const trace, other = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203332-00"
	tell := `"script": "echo job ${TRACEPARENT-none} >` + b.path + `"`
	next := func(want string) {
		t.Helper()
		if got := b.next(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	about := func(want string) {
		t.Helper()
		if p := <-all; p.trace != want {
			t.Errorf("the hook posted %+v, want the trace %q", p, want)
		}
	}
	for _, tt := range []struct {
		name, body string
		traces     []string
		want       string
	}{
		{"a trace", "{" + tell + "}", []string{trace}, trace},
		{"none", "{" + tell + "}", nil, "none"},
		{"not valid", "{" + tell + "}", []string{trace + "\t;x"}, "none"},
		{"two", "{" + tell + "}", []string{trace, other}, "none"},
		{"the job's own", "{" + tell + `, "env": ["TRACEPARENT=` + other + `"]}`, []string{trace}, other},
	} {
		t.Log(tt.name)
		post("/activations", tt.body, tt.traces...)
		next("job " + tt.want)
		about(strings.TrimSuffix(tt.want, "none"))
	}
	post("/queues/each/messages", `{"body": ["x"]}`, trace)
	next("message " + trace + " " + trace)
	post("/queues/each/messages", `{"body": ["x"], "header": ["traceparent=no"]}`, trace)
	next("message none no")
	post("/queues/stream/messages", `{"body": ["x"]}`, trace)
	if line := b.next(); !strings.Contains(line, `"headers":{"traceparent":"`+trace+`"}`) {
		t.Errorf("the listener reads %s", line)
	}
	post("/events", `{"topic": "build.1", "text": "ready"}`, other)
	about(other)
}
