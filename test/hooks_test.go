package test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"activationd/control"
	"activationd/hook"
)

// A receiver is a server to which hooks post.
type receiver struct {
	*httptest.Server
	t *testing.T

	mu     sync.Mutex
	secret string // of the hook
	status int    // of its answers
	got    []control.Event
	tries  int
}

// hookSecret signs what is posted.
const hookSecret = "0123456789abcdef-of-tests"

func newReceiver(t *testing.T) *receiver {
	r := &receiver{t: t, secret: hookSecret, status: http.StatusOK}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	var e control.Event
	if err != nil || json.Unmarshal(body, &e) != nil {
		r.t.Errorf("posted: %q, %v", body, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if want := "sha256=" + hook.Sign([]byte(r.secret), req.Header.Get("X-Timestamp"), body); req.Header.Get("X-Signature") != want {
		r.t.Errorf("the signature is %q, want %q", req.Header.Get("X-Signature"), want)
	}
	if id := req.Header.Get("X-Event-ID"); id != strconv.FormatUint(e.Seq, 10) {
		r.t.Errorf("X-Event-ID is %q, of event %d", id, e.Seq)
	}
	if r.tries++; r.status < 300 {
		r.got = append(r.got, e)
	}
	w.WriteHeader(r.status)
}

func (r *receiver) answer(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = status
}

// texts returns what the receiver has got: topics, or what was published.
func (r *receiver) texts() (all []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.got {
		if e.Text != "" {
			all = append(all, e.Text)
		} else {
			all = append(all, e.Topic)
		}
	}
	return all
}

// TestHooks has a service that fails for good, one that is ready and unready again, and a job
// that fails. A command, a server and a mail get the events that they are for.
func TestHooks(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	d := newDaemon(t, `
services:
  web: {command: ["false"], ready: {delay: 20s}, start_limit: {count: 2, window: 1h}, fatal_retry: 0s, backoff: {first: 10ms, max: 10ms}}
  db: {command: [sleep, "1000"], ready: {exec: [test, -e, DIR/shared/up], interval: 30ms, failures: 1}}
hooks:
  - {name: log, on: [fatal, ready, unready, failed, published], command: [./hook]}
  - {name: oncall, on: [fatal, failed], post: "`+r.URL+`/in", secret_file: secret, allow_private: yes}
  - {name: admin, on: ["activation.*.finished"], mail: root}
at: {sendmail: DIR/sendmail}
`)
	d.write("secret", hookSecret+"\n", 0o600)
	d.script("hook", `read event
printf '%s %s %s\n' "$EVENT_ID" "$EVENT_TOPIC" "$event" >>`+d.shared("log")+"\n")
	d.script("sendmail", `{ echo "$@"; cat; } >>`+d.shared("mail")+"\n")
	d.Start()
	logged := func() (topics []string) {
		last := uint64(0)
		for line := range strings.Lines(d.read(d.shared("log"))) {
			id, rest, _ := strings.Cut(line, " ")
			topic, text, _ := strings.Cut(rest, " ")
			e := parse[control.Event](t, text)
			if strconv.FormatUint(e.Seq, 10) != id || e.Topic != topic || e.Seq <= last {
				t.Errorf("after event %d: %s", last, line)
			}
			last = e.Seq
			topics = append(topics, topic)
		}
		return topics
	}
	has := func(topics ...string) {
		t.Helper()
		d.await("the hook to log "+strings.Join(topics, ", "), func() bool {
			all := logged()
			return !slices.ContainsFunc(topics, func(topic string) bool { return !slices.Contains(all, topic) })
		})
	}
	has("activation.web@1.stuck")
	d.write("shared/up", "", 0o644)
	has("activation.db@1.active")
	d.unlink("up")
	has("activation.db@1.unready")
	d.write("shared/up", "", 0o644)
	has("activation.db@1.ready")
	id := d.add("--", "sh", "-c", "exit 3")
	d.must("publish", "build.1", "the last")
	has("activation."+id+".finished", "build.1")
	if all := logged(); len(all) != 6 {
		t.Errorf("the hook has logged %q", all)
	}
	want := []string{"activation.web@1.stuck", "activation." + id + ".finished"}
	d.await("both failures to be posted", func() bool { return len(r.texts()) >= 2 })
	if got := r.texts(); !slices.Equal(got, want) {
		t.Errorf("posted: %q, want %q", got, want)
	}
	d.await("a mail", func() bool { return strings.Contains(d.read(d.shared("mail")), "This mail is from the hook admin") })
	mail := d.read(d.shared("mail"))
	for _, want := range []string{"-i root\nTo: root\nSubject: [activationd] job " + id + " has ended: failed", "\nMessage-ID: <event-", "See: atctl why " + id} {
		if !strings.Contains(mail, want) {
			t.Errorf("the mail lacks %q:\n%s", want, mail)
		}
	}
	if o := d.atctl("status", "--check"); strings.Contains(o.out, "hook") {
		t.Errorf("status --check: %s", o.out)
	}
}

// TestHooksKeepEvents kills the daemon while a receiver does not take events. It gets all of
// them later, in order. What it never takes becomes a dead letter, which status shows.
func TestHooksKeepEvents(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	r.answer(http.StatusInternalServerError)
	config := func(attempts int) string {
		return `
hooks:
  - {name: builds, on: ["build.#"], post: "` + r.URL + `", secret_file: secret, allow_private: yes, attempts: ` + strconv.Itoa(attempts) + `, backoff: {first: 10ms, max: 50ms}}
`
	}
	d := newDaemon(t, config(1000))
	d.write("secret", hookSecret, 0o600)
	d.Start()
	d.must("publish", "build.1", "a")
	d.await("attempts", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.tries > 3
	})
	check := func(want string) {
		t.Helper()
		d.await("status to show "+want, func() bool { return strings.Contains(d.atctl("status", "--check").out, want) })
	}
	check("500 Internal Server Error; 1 event waits")
	d.must("publish", "build.2", "b")
	d.must("publish", "other.2", "x")
	d.Kill()
	d.Start()
	d.must("publish", "build.3", "c")
	if got := r.texts(); len(got) > 0 {
		t.Errorf("it has got %q", got)
	}
	r.answer(http.StatusOK)
	d.await("all to be posted", func() bool { return len(r.texts()) >= 3 })
	if got := r.texts(); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("posted: %q", got)
	}
	d.await("status to be quiet", func() bool { return !strings.Contains(d.atctl("status", "--check").out, "hook") })

	// A reload puts another secret in force, though its file has the same name.
	d.write("secret", "another-"+hookSecret, 0o600)
	d.must("reload")
	r.mu.Lock()
	r.secret = "another-" + hookSecret
	r.mu.Unlock()
	d.must("publish", "build.4", "signed")
	d.await("it to be posted", func() bool { return len(r.texts()) == 4 })
	d.configure(config(2))
	d.must("reload")
	r.answer(http.StatusBadRequest)
	d.must("publish", "build.5", "d")
	check("builds, ")
	if out := d.must("queue", "dead", "hook/builds", "retry"); out == "" {
		t.Error("no dead letter was retried")
	}
	for _, args := range [][]string{{"queue", "push", "hook/builds", "--body", "{}"}, {"queue", "delete", "hook/builds", "--discard"}} {
		if o := d.atctl(args...); o.status != 5 || !strings.Contains(o.err, "the daemon's own") {
			t.Errorf("atctl %q: %+v", args, o)
		}
	}
	check("an event could not be delivered: 400 Bad Request")
	d.configure("hooks: []\n")
	d.must("reload")
	d.await("status to be quiet", func() bool { return !strings.Contains(d.atctl("status", "--check").out, "hook") })
}

// TestHookCommands kills the daemon while the command of a hook runs: it is run once. A command
// that does not exist pauses its hook, and status says so.
func TestHookCommands(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, `
hooks:
  - {name: slow, on: ["build.#"], command: [./slow], environment: {GREETING: hello}}
  - {name: none, on: ["build.#"], command: [./none]}
`)
	b := d.beacon()
	gate := d.shared("gate")
	d.script("slow", `read event
echo "$EVENT_ID $EVENT_TOPIC $GREETING" >`+b.path+`
until test -e `+gate+`; do sleep 0.01; done
echo "end $EVENT_ID" >`+b.path+"\n")
	d.Start()
	d.must("publish", "build.1", "a")
	first := b.next()
	d.must("publish", "build.2", "b")
	d.Kill()
	d.Start()
	d.must("publish", "build.3", "c")
	d.write("shared/gate", "", 0o644)
	var got []string
	for range 5 {
		got = append(got, b.next())
	}
	id, _, _ := strings.Cut(first, " ")
	if !strings.HasSuffix(first, " build.1 hello") || got[0] != "end "+id || !strings.HasSuffix(got[1], " build.2 hello") || !strings.HasSuffix(got[3], " build.3 hello") {
		t.Errorf("first %q, then %q", first, got)
	}
	if o := d.atctl("queue", "list", "hook/slow"); o.status != 0 || !strings.Contains(o.out, "hook/slow") {
		t.Errorf("queue list: %+v", o)
	}
	d.await("status to show the hook that is paused", func() bool {
		out := d.atctl("status", "--check").out
		return strings.Contains(out, "none, ") && strings.Contains(out, "is paused: ") && strings.Contains(out, "; 3 events wait; try: atctl queue resume hook/none")
	})
	d.script("none", "cat >>"+d.shared("none")+"\n")
	d.must("queue", "resume", "hook/none")
	d.await("the events that waited", func() bool { return strings.Count(d.read(d.shared("none")), "\n") == 3 })
}
