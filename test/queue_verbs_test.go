package test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"activationd/control"
)

// untilQueue waits until a queue is as it should be.
func (d *daemon) untilQueue(name, what string, ok func(q *control.Queue) bool) {
	d.t.Helper()
	var q *control.Queue
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if q = d.queueOf(name); ok(q) {
			return
		}
	}
	d.t.Fatalf("queue %s is not %s: %+v\n%s", name, what, q, d.Logged())
}

// TestQueueVerbs tries what the commands say of dead letters and of the list of the queues that
// are served, and what the audit says of the commands.
func TestQueueVerbs(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, `
queues: {pools: DIR/pools.json}
listeners:
- {queues: ["mail*"], command: [DIR/work], backoff: 1ms, attempts: 2}
`)
	b := d.beacon()
	d.script("work", `read word
echo $word $MESSAGE_ATTEMPT >`+b.path+`
echo did $word
case $word in exit*) exit ${word#exit};; esac
`)
	d.Start()
	d.must("queue", "create", "mails")
	if q := d.queueOf("mails"); q.Status != "0/1 message" || q.Listener != "mail" {
		t.Errorf("the new queue is %+v", q)
	}

	for _, tt := range []struct {
		body   string
		status int
		err    string
		tries  []string
	}{
		{"exit65", 65, "exited with status 65", []string{"exit65 1"}},
		{"exit3", 65, "exited with status 3", []string{"exit3 1", "exit3 2"}},
		{"fine", 0, "", []string{"fine 1"}},
	} {
		o := d.atctl("queue", "push", "mails", "--body", tt.body, "--wait")
		if o.status != tt.status || !strings.Contains(o.err, tt.err) {
			t.Errorf("%s: %+v, want %d %s", tt.body, o, tt.status, tt.err)
		}
		for _, want := range tt.tries {
			if got := b.next(); got != want {
				t.Errorf("%s: %s, want %s", tt.body, got, want)
			}
		}
	}
	dead := strings.Split(d.must("queue", "dead", "mails", "export"), "\n")
	if m := parse[control.QueueMessage](t, dead[1]); len(dead) != 2 || m.Body != "exit3" || m.Last.Output != "did exit3\n" || *m.Last.Exit != 3 || m.Attempts != 2 {
		t.Errorf("the dead letters are %s", dead)
	}
	if got := needs(d.status()); !slices.Equal(got, []string{"queue mails"}) {
		t.Errorf("what needs attention: %q", got)
	}
	if got := d.must("queue", "dead", "mails", "retry"); got != "2" {
		t.Errorf("%s dead letters are tried again", got)
	}
	for range 3 { // one again once, the other twice
		b.next()
	}
	d.untilQueue("mails", "with dead letters again", func(q *control.Queue) bool { return q.Dead == 2 })
	if got := d.must("queue", "dead", "mails", "purge"); got != "2" {
		t.Errorf("%s dead letters are purged", got)
	}

	// The list of the queues that are served, as a program writes it, and as commands do.
	d.write("pools.json", `["other"]`, 0o644)
	d.untilQueue("mails", "without a listener", func(q *control.Queue) bool { return q.Status == "no listener: not in pools.json" })
	d.must("queue", "push", "mails", "--body", "two")
	d.must("queue", "push", "mails", "--body", "three", "--priority", "5")
	b.quiet()
	d.write("pools.json", `["other"`, 0o644)
	if ev := d.events(0, 1, "daemon.pools.failed")[0]; !strings.Contains(ev.Reason, "pools.json:1: the list has no end") {
		t.Errorf("the event is %+v", ev)
	}
	if got := needs(d.status()); !slices.Equal(got, []string{"queue"}) {
		t.Errorf("with a broken file, what needs attention: %q", got)
	}
	if o := d.atctl("queue", "allow", "mails"); o.status != 2 || !strings.Contains(o.err, "repair the file first") {
		t.Errorf("allow with a broken file: %+v", o)
	}
	d.write("pools.json", `["other"]`, 0o644)
	d.events(0, 1, "daemon.pools.read")
	d.must("queue", "allow", "mails")
	for _, want := range []string{"three 1", "two 1"} {
		if got := b.next(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	d.untilQueue("mails", "empty", func(q *control.Queue) bool { return q.Work == 0 && q.Ready == 0 })

	d.must("queue", "delete", "mails")
	var acts []string
	for line := range strings.Lines(d.must("audit", "--json", "--match", "mails")) {
		acts = append(acts, parse[control.Event](t, line).Action)
	}
	if got, want := strings.Join(acts, ", "), "queue create, queue retry, queue purge, queue allow, queue delete"; got != want {
		t.Errorf("the acts are %s, want %s", got, want)
	}
}
