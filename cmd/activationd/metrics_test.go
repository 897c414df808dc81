package main

import (
	"strings"
	"testing"

	"activationd/internal/config"
	"activationd/queue"
	"activationd/queue/broker"
)

// TestQueuesOfPushesAreLast: of too many queues, those that pushes have created lack series first.
func TestQueuesOfPushesAreLast(t *testing.T) {
	var all []broker.Status
	for _, q := range []queue.Queue{{Name: "a", For: "uid ada"}, {Name: "b"}, {Name: "c", For: "uid ada"}, {Name: "d", For: "uid ada"}, {Name: "hook/e", Builtin: true}} {
		all = append(all, broker.Status{Queue: q})
	}
	createdLast(all, []config.Listener{{Queues: []string{"x*", "c"}}, {Queues: []string{"*"}}})
	got := ""
	for i := range all {
		got += all[i].Name + " "
	}
	if want := "b c hook/e a d"; strings.TrimSpace(got) != want {
		t.Errorf("the order is %s, want %s", got, want)
	}
}
