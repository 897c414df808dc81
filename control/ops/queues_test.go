package ops

import (
	"strings"
	"testing"

	"activationd/control"
	"activationd/queue"
	"activationd/queue/broker"
)

// TestQueueStatus is what a list says serves a queue.
func TestQueueStatus(t *testing.T) {
	hands := []control.QueueByHand{{User: "ada"}, {User: "bob"}}
	for _, tt := range []struct {
		q    control.Queue
		want string
	}{
		{control.Queue{Listener: "model", Per: "message", Processes: 2, Instances: 4}, "2/4 message"},
		{control.Queue{Listener: "io", Per: "stream", Processes: 1, Instances: 1, Shared: true}, "1/1 stream shared"},
		{control.Queue{Listener: "io", Per: "stream", Instances: 1, ByHand: hands}, "0/1 stream, by hand 2"},
		{control.Queue{Listener: "io", Per: "stream", Instances: 1, Reason: "no memory"}, "0/1 stream: no memory"},
		{control.Queue{ByHand: hands, Reason: "no entry of listeners matches"}, "by hand 2"},
		{control.Queue{Reason: "denied by pools.json line 3"}, "no listener: denied by pools.json line 3"},
		{control.Queue{Listener: "model", Per: "message", Instances: 4, Paused: &control.QueueAct{By: "ada"}}, "paused by ada"},
		{control.Queue{Listener: "model", Per: "message", Paused: &control.QueueAct{By: "ada", Reason: "broken"}}, "paused: broken"},
		{control.Queue{Listener: "model", Per: "message", Work: 1, Deleting: &control.QueueAct{}}, "being deleted, 1 in work"},
		{control.Queue{Builtin: true, Listener: "hook", Per: "message"}, "the daemon"},
	} {
		if got := queueStatus(&tt.q); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.q, got, tt.want)
		}
	}
}

// TestQueueNeeds says which queues need a person.
func TestQueueNeeds(t *testing.T) {
	for _, tt := range []struct {
		s    broker.Status
		want string
	}{
		{broker.Status{}, ""},
		{broker.Status{Why: "not in pools.json", Ready: 7}, ""},
		{broker.Status{Queue: queue.Queue{Paused: &queue.Paused{By: "ada"}}}, ""},
		{broker.Status{Queue: queue.Queue{Paused: &queue.Paused{Fault: true, Reason: "no such\nfile"}}, Counts: queue.Counts{Dead: 1}},
			"paused, as its listener cannot run: no such; file; when it is fixed: atctl queue resume "},
		{broker.Status{Queue: queue.Queue{Paused: &queue.Paused{Fault: true, Reason: "its listener cannot run: no file"}}},
			"paused, as its listener cannot run: no file; when it is fixed: atctl queue resume "},
		{broker.Status{Fault: "no memory"}, "its listener cannot be started: no memory; atctl queue list"},
		{broker.Status{Counts: queue.Counts{Dead: 1}}, "1 dead letter; atctl queue dead "},
		{broker.Status{Counts: queue.Counts{Dead: 2}}, "2 dead letters; atctl queue dead "},
	} {
		a := queueNeeds(&tt.s)
		if got := strings.TrimPrefix(a.Text+"; "+a.Try, "; "); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.s, got, tt.want)
		}
	}
}

// TestOwn says whose a message is: neither the name nor the user id is enough alone.
func TestOwn(t *testing.T) {
	for _, tt := range []struct {
		what string
		c    control.Caller
		by   string
		uid  *int
		want bool
	}{
		{"a user's", control.Caller{Kind: control.ByUID, Name: "ada", UID: 1000}, "ada", new(1000), true},
		{"another's", control.Caller{Kind: control.ByUID, Name: "ada", UID: 1000}, "bob", new(1001), false},
		{"of a user who has been created again", control.Caller{Kind: control.ByUID, Name: "ada", UID: 1002}, "ada", new(1000), false},
		{"of the user with a token's name", control.Caller{Kind: control.ByToken, Name: "ada", UID: -1}, "ada", new(1000), false},
		{"of the token with a user's name", control.Caller{Kind: control.ByUID, Name: "ada", UID: 1000}, "ada", nil, false},
		{"a token's", control.Caller{Kind: control.ByToken, Name: "shop", UID: -1}, "shop", nil, true},
		{"of somebody of whom the address is known", control.Caller{Kind: control.ByAddress, Name: "127.0.0.1", UID: -1}, "127.0.0.1", nil, false},
	} {
		if got := own(tt.c, tt.by, tt.uid); got != tt.want {
			t.Errorf("%s: %t", tt.what, got)
		}
	}
}
