package ops_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"activationd/control"
	"activationd/internal/fault"
	"activationd/queue"
	"activationd/queue/broker"
)

var (
	ada = control.Caller{Kind: control.ByUID, Role: control.Submitter, Name: "ada", UID: 1001}
	eve = control.Caller{Kind: control.ByUID, Role: control.Submitter, Name: "eve", UID: 1002}
)

// lines calls an operation, and returns its lines.
func lines[Out any](d *audited, c control.Caller, name string, in any) (all []Out, err error) {
	d.t.Helper()
	op := d.Lookup(name)
	take := func(out any) error {
		switch out := out.(type) {
		case *Out:
			all = append(all, *out)
		case Out:
			all = append(all, out)
		default:
			d.t.Fatalf("%s sent %T", name, out)
		}
		return nil
	}
	if op.Streams() {
		err := op.Stream(d.t.Context(), c, in, take)
		return all, err
	}
	answer := op.Call(d.t.Context(), c, in)[0]
	if answer.Lines != nil {
		for out, err := range answer.Lines {
			if err != nil {
				return all, err
			}
			_ = take(out)
		}
	}
	return all, answer.Err
}

// TestMessagesOfOthers: a submitter sees that messages of others are there, and nothing of
// what is in them, and may not touch them.
func TestMessagesOfOthers(t *testing.T) {
	d := auditDaemon(t)
	if err := d.call(admin, "queue create", &control.QueueCreateIn{Name: []string{"mails"}}); err != nil {
		t.Fatal(err)
	}
	d.deadLetter() // of root
	pushed, err := lines[control.QueuePushOut](d, ada, "queue push", &control.QueuePushIn{
		Name: "mails", Body: []string{"hel", "lo"}, Header: []string{"to=bob"}, Key: "k", Keep: "1h",
	})
	if err != nil || len(pushed) != 1 {
		t.Fatal(pushed, err)
	}
	id := pushed[0].ID
	for _, tt := range []struct {
		c    control.Caller
		want []string // of each message: its body, key, headers and output
	}{
		{ada, []string{` "" map[] ""`, `hello "k" map[to:bob] ""`}},
		{eve, []string{` "" map[] ""`, ` "" map[] ""`}},
		{admin, []string{`secret "" map[] "secret, too"`, `hello "k" map[to:bob] ""`}},
	} {
		all, err := lines[control.QueueMessage](d, tt.c, "queue peek", &control.QueuePeekIn{Name: "mails", State: "all"})
		var got []string
		for _, m := range all {
			output := ""
			if m.Last != nil {
				output = m.Last.Output
			}
			got = append(got, fmt.Sprintf("%s %q %v %q", m.Body, m.Key, m.Headers, output))
			if m.Hidden != (m.Body == "") || m.Size == 0 {
				t.Errorf("%s: %+v", tt.c.Name, m)
			}
		}
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s sees %q, %v, want %q", tt.c.Name, got, err, tt.want)
		}
	}
	cancel := &control.QueueMessageIn{Name: "mails", ID: id}
	if err := d.call(eve, "queue cancel", cancel); fault.Of(err) != fault.Denied || !strings.Contains(err.Error(), "is of ada") {
		t.Errorf("eve cancels a message of ada: %v", err)
	}
	if r, err := lines[control.QueueResult](d, ada, "queue result", &control.QueueResultIn{Name: "mails", ID: id}); err != nil || r[0].Outcome != "" {
		t.Errorf("the result of a message that is not over: %+v, %v", r, err)
	}
	if err := d.call(ada, "queue cancel", cancel); err != nil {
		t.Errorf("ada cancels her own message: %v", err)
	}
	result := &control.QueueResultIn{Name: "mails", ID: id, Wait: true}
	if r, err := lines[control.QueueResult](d, ada, "queue result", result); err != nil || r[0].Outcome != "cancelled" || r[0].Last.Reason != "cancelled by ada" {
		t.Errorf("its result: %+v, %v", r, err)
	}
	if _, err := lines[control.QueueResult](d, eve, "queue result", result); fault.Of(err) != fault.Denied {
		t.Errorf("eve sees the result of a message of ada: %v", err)
	}
	if _, err := lines[control.QueueResult](d, ada, "queue result", &control.QueueResultIn{Name: "mails", ID: id + 1000, Wait: true}); fault.Of(err) != fault.NotFound {
		t.Errorf("the result of no message: %v", err)
	}
}

// TestPushesTogether: of requests that are done together, those that are refused do not keep
// the others from being pushed.
func TestPushesTogether(t *testing.T) {
	d := auditDaemon(t)
	d.queues.Configure(broker.Settings{
		Listeners: []broker.Listener{{Name: "full", Queues: []string{"full"}, Limits: queue.Limits{Messages: 1}, Instances: 1}},
		Limits:    queue.Limits{AllMessages: 4},
	})
	if err := d.call(admin, "queue create", &control.QueueCreateIn{Name: []string{"mails", "full"}}); err != nil {
		t.Fatal(err)
	}
	if err := d.call(admin, "queue pause", &control.QueuePauseIn{Name: []string{"full"}}); err != nil {
		t.Fatal(err)
	}
	var ins []any
	want := []struct {
		in   control.QueuePushIn
		code int
		text string
	}{
		{control.QueuePushIn{Name: "mails", Key: "k"}, 200, ""},
		{control.QueuePushIn{Name: "mails", Key: "k"}, 409, `has the key "k" already`},
		{control.QueuePushIn{Name: "mials"}, 404, "the most similar name is mails"},
		{control.QueuePushIn{Name: "full"}, 200, ""},
		{control.QueuePushIn{Name: "full"}, 429, "queue full has 1 of at most 1 messages"},
		{control.QueuePushIn{Name: "mails", Priority: 10}, 400, "the priority is 10"},
		{control.QueuePushIn{Name: "mails", Header: []string{"to"}}, 400, "want NAME=VALUE"},
		{control.QueuePushIn{Name: "mails", Key: "k", OnDuplicate: "ignore"}, 200, ""},
		{control.QueuePushIn{Name: "mails"}, 200, ""},
		{control.QueuePushIn{Name: "mails"}, 200, ""},
		{control.QueuePushIn{Name: "mails"}, 507, "the queues together have 4 of at most 4 messages"},
	}
	for i := range want {
		ins = append(ins, &want[i].in)
	}
	answers := d.Lookup("queue push").Call(t.Context(), ada, ins...)
	for i, a := range answers {
		if code := control.Code(a.Err); code != want[i].code || a.Err != nil && !strings.Contains(a.Err.Error(), want[i].text) {
			t.Errorf("push %d: %d %v, want %d %s", i, code, a.Err, want[i].code, want[i].text)
		}
		if a.Err == nil && !strings.HasPrefix(a.Summary, "id=") {
			t.Errorf("push %d: %s", i, a.Summary)
		}
	}
	if answers[0].Summary != answers[7].Summary {
		t.Errorf("the duplicate is %s, want %s", answers[7].Summary, answers[0].Summary)
	}
	all, err := lines[control.Queue](d, ada, "queue list", new(control.QueueListIn))
	if err != nil || len(all) != 2 || all[0].Ready != 1 || all[1].Ready != 3 || all[0].Status != "paused by root" || all[1].Status != "no listener: no entry of listeners matches" {
		t.Errorf("the queues are %+v, %v", all, err)
	}
}

// TestPages peeks at more messages than are read at once, and goes on after one.
func TestPages(t *testing.T) {
	d := auditDaemon(t)
	if err := d.call(admin, "queue create", &control.QueueCreateIn{Name: []string{"mails"}}); err != nil {
		t.Fatal(err)
	}
	const count = 250
	for i := range count {
		if err := d.call(ada, "queue push", &control.QueuePushIn{Name: "mails", Priority: i % 2, Body: []string{strings.Repeat("ž", 200)}}); err != nil {
			t.Fatal(err)
		}
	}
	peek := func(in control.QueuePeekIn) []control.QueueMessage {
		t.Helper()
		in.Name = "mails"
		all, err := lines[control.QueueMessage](d, ada, "queue peek", &in)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	all := peek(control.QueuePeekIn{Limit: 1000})
	if len(all) != count || !slices.IsSortedFunc(all, func(a, b control.QueueMessage) int { return b.Priority - a.Priority }) {
		t.Errorf("%d messages, want %d in the order of delivery", len(all), count)
	}
	if few := peek(control.QueuePeekIn{}); len(few) != 20 || few[19].ID != all[19].ID {
		t.Errorf("%d messages without a limit", len(few))
	}
	var got []uint64
	for after := ""; ; {
		page := peek(control.QueuePeekIn{After: after, Limit: 99})
		for _, m := range page {
			got, after = append(got, m.ID), fmt.Sprintf("%d/%d", m.ID, m.Priority)
		}
		if len(page) < 99 {
			break
		}
	}
	if len(got) != count || got[count-1] != all[count-1].ID {
		t.Errorf("page by page there are %d messages", len(got))
	}
	if m := all[0]; m.Body != strings.Repeat("ž", 100) || !m.Cut || m.Size != 400 {
		t.Errorf("a cut body: %q, %t, %d", m.Body, m.Cut, m.Size)
	}
	if m := peek(control.QueuePeekIn{ID: all[0].ID, Body: "all"})[0]; m.Body != strings.Repeat("ž", 200) || m.Cut {
		t.Errorf("a whole body: %q, %t", m.Body, m.Cut)
	}
}

// TestQueuesOfTheDaemon: what is in the queue of a hook is taken for an event, so nobody but
// the daemon pushes into it, not even an admin, moves messages to it, or deletes it.
func TestQueuesOfTheDaemon(t *testing.T) {
	d := auditDaemon(t)
	hook, _, err := d.queues.Create(t.Context(), queue.Queue{Name: "hook/log", Builtin: true, Ordered: true}, queue.Actor{Name: "configuration"})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.call(admin, "queue create", &control.QueueCreateIn{Name: []string{"mails"}}); err != nil {
		t.Fatal(err)
	}
	for _, in := range []*control.QueuePushIn{
		{Name: "hook/log", Body: []string{"{}"}},
		{Name: "hook/log", Body: []string{"{}"}, Key: "k", OnDuplicate: queue.DuplicateReplace},
	} {
		if _, err := lines[control.QueuePushOut](d, admin, "queue push", in); fault.Of(err) != fault.Denied {
			t.Errorf("push %+v: %v, want denied", in, err)
		}
	}
	for _, in := range []*control.QueueDeleteIn{{Name: "hook/log"}, {Name: "hook/log", Discard: true, Now: true}} {
		if err := d.call(admin, "queue delete", in); fault.Of(err) != fault.Denied {
			t.Errorf("delete %+v: %v, want denied", in, err)
		}
	}
	if err := d.call(admin, "queue delete", &control.QueueDeleteIn{Name: "mails", Keep: "hook/log"}); fault.Of(err) == "" {
		t.Error("the messages of a queue are moved to a hook")
	}
	if all, err := d.queues.Queues(t.Context(), "hook/*"); err != nil || len(all) != 1 || all[0].N != hook.N || all[0].Pushed != 0 {
		t.Errorf("in the end there are %+v, %v", all, err)
	}
}

// TestPushCreates: operators create a queue by a push. Others do so only if the configuration
// names the queues that may be made.
func TestPushCreates(t *testing.T) {
	for _, tt := range []struct {
		name  string
		c     control.Caller
		allow []string
		queue string
		kind  fault.Kind // empty: it is pushed
	}{
		{"an operator", admin, nil, "mails", ""},
		{"a submitter, and all queues are served", ada, nil, "mails", fault.Denied},
		{"a submitter, and it is named", ada, []string{"m*"}, "mails", ""},
		{"a submitter, and another one is named", ada, []string{"m*"}, "news", fault.Denied},
	} {
		d := auditDaemon(t)
		d.pools.Configure(filepath.Join(t.TempDir(), "pools.json"), tt.allow, nil)
		in := &control.QueuePushIn{Name: tt.queue, Body: []string{"x"}, Create: true}
		for range 2 { // the second time it is there, if it can be
			err := d.call(tt.c, "queue push", in)
			if tt.kind == "" && err != nil || tt.kind != "" && fault.Of(err) != tt.kind {
				t.Errorf("%s: %v, want %q", tt.name, err, tt.kind)
			}
		}
		in.Create, in.Name = false, "other"
		if err := d.call(tt.c, "queue push", in); fault.Of(err) != fault.NotFound {
			t.Errorf("%s, without create: %v", tt.name, err)
		}
	}
}
