package ops_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"activationd/control"
	"activationd/internal/fault"
	"activationd/queue/broker"
)

// TestQueuesOfPushes bounds how many queues one client creates by pushes.
func TestQueuesOfPushes(t *testing.T) {
	d := auditDaemon(t)
	d.queues.Configure(broker.Settings{Created: 3})
	operator := control.Caller{Role: control.Operator, Name: "ada", UID: -1}
	push := func(c control.Caller, name string) error {
		return d.call(c, "queue push", &control.QueuePushIn{Name: name, Create: true})
	}
	full := func(c control.Caller, name string) {
		t.Helper()
		err := push(c, name)
		if fault.Of(err) != fault.Conflict || !strings.Contains(err.Error(), "queues.max_created") || !strings.Contains(err.Error(), fmt.Sprintf("%q has created 3 queues", c.Name)) {
			t.Errorf("%s pushes into %s: %v, want a refusal", c.Name, name, err)
		}
		if _, err := lines[control.Queue](d, admin, "queue list", &control.QueueListIn{Name: []string{name}}); fault.Of(err) != fault.NotFound {
			t.Errorf("queue %s: %v, want none", name, err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	// Of many at once, as many succeed as may.
	var all sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		all.Go(func() { errs[i] = push(operator, fmt.Sprint("q", i)) })
	}
	all.Wait()
	made := ""
	for i, err := range errs {
		if err == nil {
			made += fmt.Sprint(" q", i)
		}
	}
	names := strings.Fields(made)
	if len(names) != 3 {
		t.Fatalf("queues%s were created, want 3 of them", made)
	}
	full(operator, "other")
	must(push(operator, names[0]))                                               // it is there
	must(push(control.Caller{Role: control.Operator, Name: "bob"}, "of-a-user")) // another client
	// What is deleted, or wanted by somebody, does not count any more.
	must(d.call(admin, "queue delete", &control.QueueDeleteIn{Name: names[0], Discard: true}))
	must(push(operator, names[0]))
	full(operator, "other")
	must(d.call(admin, "queue create", &control.QueueCreateIn{Name: []string{names[1]}}))
	must(push(operator, "other"))
	full(operator, "more")
	queues, err := lines[control.Queue](d, admin, "queue list", &control.QueueListIn{})
	must(err)
	for _, q := range queues {
		if want := q.Name != names[1] && !q.Builtin; q.Auto != want {
			t.Errorf("queue %s: auto is %t, want %t", q.Name, q.Auto, want)
		}
	}
	d.queues.Configure(broker.Settings{})
	must(push(operator, "more"))
}
