package test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"activationd/control"
)

// pushed reads the reply to a push over HTTP.
func pushed(t *testing.T, r webReply) (out control.QueuePushOut) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.body), &out); err != nil || out.ID == 0 {
		t.Fatalf("%d %s: %v", r.status, r.body, err)
	}
	return out
}

// TestPushAndWait waits for messages with the request that pushes them: until they are over, for
// too short a time, with a client that hangs up, and until the daemon stops.
func TestPushAndWait(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, httpConfig+`
queues: {routes: [{path: "/{queue}/push", queue: "{queue}"}]}
listeners:
- {queues: ["mail*"], command: [DIR/work], attempts: 1, instances: 4}
`)
	b := d.beacon()
	gate := d.dir + "/gate-slow"
	for _, path := range []string{gate, d.dir + "/gate-slower"} {
		if err := syscall.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d.script("work", `read word
case $word in slow*) echo $word >`+b.path+`; read go <`+d.dir+`/gate-$word;; bad) echo no >&2; exit 65;; esac
echo "did $word"
`)
	d.Start()
	d.must("queue", "create", "mails", "idle")
	web := d.web()
	const path = "/api/v1/queues/mails/messages"

	for _, tt := range []struct {
		body, outcome, result string
		status                int
	}{
		{`{"body":["good"],"wait":"1m"}`, "done", "did good\n", 201},
		{`{"body":["bad"],"wait":"1m"}`, "dead", "", 201},
	} {
		r := d.asked(web, "POST", path, tt.body)
		out := pushed(t, r)
		if r.status != tt.status || out.Result == nil || out.Result.Outcome != tt.outcome || out.Result.Body != tt.result || r.header.Get("Location") != fmt.Sprint(path, "/", out.ID) {
			t.Errorf("%s: %d %s %+v, want %d %s %q", tt.body, r.status, r.body, out.Result, tt.status, tt.outcome, tt.result)
		}
	}
	if r := d.asked(web, "POST", path, `{"wait":"soon"}`); r.status != 400 || !strings.Contains(r.body, `"field":"wait"`) {
		t.Errorf("no duration: %d %s", r.status, r.body)
	}
	if r := d.asked(d.plainWeb(), "POST", "/mails/push?wait=1m", "good"); r.status != 201 || pushed(t, r).Result.Body != "did good\n" {
		t.Errorf("at a path of the configuration: %d %s", r.status, r.body)
	}
	// Nobody handles it: the reply comes when the time is over, with its place.
	began := time.Now()
	r := d.asked(web, "POST", "/api/v1/queues/idle/messages", `{"body":["x"],"wait":"50ms","key":"k"}`)
	if out := pushed(t, r); r.status != 202 || !out.Pending() || r.header.Get("Location") == "" || time.Since(began) < 50*time.Millisecond {
		t.Errorf("a message of an idle queue: %d %s after %v", r.status, r.body, time.Since(began))
	}
	if r := d.asked(web, "POST", "/api/v1/queues/idle/messages", `{"wait":"1ms","key":"k","on-duplicate":"ignore"}`); r.status != 202 || !pushed(t, r).Duplicate {
		t.Errorf("its duplicate: %d %s", r.status, r.body)
	}
	// Of one that is removed, nothing more becomes known.
	removed := make(chan webReply, 1)
	go func() {
		r, _ := d.ask(web, "POST", "/api/v1/queues/idle/messages", `{"wait":"1h","keep":"1h"}`)
		removed <- r
	}()
	for d.queueOf("idle").Ready < 2 {
		time.Sleep(time.Millisecond)
	}
	d.must("queue", "purge", "idle")
	if r := <-removed; r.status != 201 || pushed(t, r).Result.Outcome != "unknown" {
		t.Errorf("a message that was removed: %d %s", r.status, r.body)
	}
	// The line protocol has the same argument.
	_, out, err := control.Call[control.QueuePushOut](t.Context(), &d.Client, "queue push", control.QueuePushIn{Name: "mails", Body: []string{"good"}, Wait: "1m"})
	if err != nil || len(out) != 1 || out[0].Result == nil || out[0].Result.Body != "did good\n" {
		t.Errorf("over the line protocol: %+v, %v", out, err)
	}

	if got := d.must("queue", "push", "mails", "--body", "good", "--wait-for", "1m"); got != "did good" {
		t.Errorf("atctl prints %q", got)
	}
	if o := d.atctl("queue", "push", "new", "--body", "x", "--create", "--wait-for", "1ms"); o.status != 4 || d.queueOf("new").Ready != 1 {
		t.Errorf("atctl, for a queue that was not there: %+v", o)
	}

	// A client that hangs up cancels nothing, and with the same key it learns of its message.
	ctx, hangUp := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		req, err := http.NewRequestWithContext(ctx, "POST", "http://daemon"+path, strings.NewReader(`{"body":["slow"],"wait":"1h"}`))
		if err == nil {
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Idempotency-Key", "k")
			var resp *http.Response
			if resp, err = web.Do(req); err == nil {
				_ = resp.Body.Close()
			}
		}
		gone <- err
	}()
	if got := b.next(); got != "slow" {
		t.Fatalf("the listener has %q", got)
	}
	hangUp()
	if err := <-gone; err == nil {
		t.Error("the client that hung up has a reply")
	}
	var known webReply
	for {
		if known = d.asked(web, "POST", path, `{"body":["slow"],"wait":"1h"}`, "Idempotency-Key: k"); known.status != 409 { // the daemon has not noticed yet
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if known.status != 202 || known.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("the same request again: %d %s", known.status, known.body)
	}
	d.open(gate, "go")
	if got := d.must("queue", "result", "mails", fmt.Sprint(pushed(t, known).ID), "--wait"); got != "did slow" {
		t.Errorf("its result is %q", got)
	}

	// A daemon that stops replies first.
	type answer struct {
		webReply
		err error
	}
	answered := make(chan answer, 1)
	lines := make(chan []control.QueuePushOut, 1)
	go func() {
		r, err := d.ask(web, "POST", path, `{"body":["slow"],"wait":"1h"}`)
		answered <- answer{r, err}
	}()
	b.next()
	go func() {
		_, out, err := control.Call[control.QueuePushOut](t.Context(), &d.Client, "queue push", control.QueuePushIn{Name: "mails", Body: []string{"slower"}, Wait: "1h"})
		if err != nil {
			t.Error(err)
		}
		lines <- out
	}()
	b.next()
	d.stop()
	a := <-answered
	if a.err != nil || a.status != 202 {
		t.Fatalf("when the daemon stopped: %+v", a)
	}
	if out := <-lines; len(out) != 1 || !out[0].Pending() {
		t.Fatalf("when the daemon stopped, over the line protocol: %+v", out)
	}
	d.Start()
	d.open(gate, "go")
	d.open(d.dir+"/gate-slower", "go")
	if got := d.must("queue", "result", "mails", fmt.Sprint(pushed(t, a.webReply).ID), "--wait"); got != "did slow" {
		t.Errorf("its result is %q", got)
	}
}

// TestQueuesOverHTTP creates queues: one has a place where it can be read.
func TestQueuesOverHTTP(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, httpConfig)
	d.Start()
	web := d.web()
	for _, tt := range []struct {
		body, location string
		status         int
	}{
		{`{"name":["a"]}`, "/api/v1/queues/a", 201},
		{`{"name":["a"]}`, "/api/v1/queues/a", 200},
		{`{"name":["a","b"]}`, "", 201},
		{`{"name":["a","b"]}`, "", 200},
	} {
		r := d.asked(web, "POST", "/api/v1/queues", tt.body)
		if location := r.header.Get("Location"); r.status != tt.status || location != tt.location {
			t.Errorf("%s: %d, Location %q, want %d and %q", tt.body, r.status, location, tt.status, tt.location)
		}
	}
	r := d.asked(web, "GET", "/api/v1/queues/a", "")
	var q control.Queue
	if err := json.Unmarshal([]byte(r.body), &q); err != nil || r.status != 200 || q.Name != "a" {
		t.Errorf("queue a: %d %s, %v", r.status, r.body, err)
	}
	for path, status := range map[string]int{"/api/v1/queues/c": 404, "/api/v1/queues/%2A": 400} {
		if r := d.asked(web, "GET", path, ""); r.status != status {
			t.Errorf("%s: %d %s, want %d", path, r.status, r.body, status)
		}
	}
}
