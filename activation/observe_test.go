package activation_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	. "activationd/activation"

	"activationd/supervisor"
)

// An observed is what an [Observer] learns, in words.
type observed struct {
	mu  sync.Mutex
	due map[string]time.Time
	all []string
}

func (o *observed) Claimed(key supervisor.Key, _ Kind, due time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.due[key.String()] = due
}

func (o *observed) Ended(e End) {
	o.mu.Lock()
	defer o.mu.Unlock()
	late := "no time"
	if due := o.due[e.Key.String()]; !due.IsZero() {
		late = e.Started.Sub(due).String() + " late"
	}
	o.all = append(o.all, fmt.Sprintf("%s %v: %s, %s, %v", e.Kind, e.Key, late, e.Outcome, e.Ended.Sub(e.Started)))
}

func (o *observed) want(t testing.TB, want ...string) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if !slices.Equal(o.all, want) {
		t.Errorf("observed:\n%s\nwant\n%s", strings.Join(o.all, "\n"), strings.Join(want, "\n"))
	}
	o.all = nil
}

// TestObserver checks what counts as late: the time for which an activation had to wait for others
// does not, and the time for which there was no daemon does.
func TestObserver(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		o := &observed{due: make(map[string]time.Time)}
		rig.observer = o
		rig.restart()

		rig.script("1", Activate, script{lasts: 5 * minute})
		rig.script("2", Activate, script{lasts: time.Second, exit: 3})
		rig.add(NewJob{Order: Order{Locks: []string{"a"}}})
		rig.add(NewJob{Order: Order{Locks: []string{"a"}}})
		rig.sleep(10 * minute)
		o.want(t,
			"job 1.activate.1: 0s late, succeeded, 5m0s",
			"job 2.activate.1: 0s late, failed, 1s")

		rig.add(NewJob{At: time.Now().Add(minute)})
		rig.sleep(2 * minute)
		o.want(t, "job 3.activate.1: 0s late, succeeded, 1s")

		rig.add(NewJob{At: time.Now().Add(minute)})
		rig.shutDown()
		rig.sleep(3 * minute)
		rig.start()
		rig.sleep(minute)
		o.want(t, "job 4.activate.1: 2m0s late, succeeded, 1s")

		rig.pause(PauseDaemon, "", 0, "")
		rig.add(NewJob{})
		rig.sleep(minute)
		rig.resume(PauseDaemon, "")
		rig.sleep(minute)
		o.want(t, "job 5.activate.1: 0s late, succeeded, 1s")
	})
}

// TestBacklog has activations that wait, and a daemon that does not do what is due.
func TestBacklog(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		backlog := func(want Backlog) {
			t.Helper()
			b, err := rig.e.Backlog(context.Background())
			if err != nil || b != want {
				t.Errorf("Backlog = %+v, %v, want %+v", b, err, want)
			}
		}
		backlog(Backlog{})
		rig.script("1", Activate, long)
		rig.script("2", Activate, long)
		rig.add(NewJob{Order: Order{Locks: []string{"a"}}})
		rig.add(NewJob{Order: Order{Locks: []string{"b"}}})
		rig.sleep(minute)
		rig.add(NewJob{Order: Order{Locks: []string{"a"}}})
		rig.sleep(minute)
		rig.add(NewJob{Order: Order{Locks: []string{"a"}}})
		rig.add(NewJob{Order: Order{Locks: []string{"b"}}})
		rig.sleep(minute)
		backlog(Backlog{Queued: 3, Waits: 2 * minute})

		rig.add(NewJob{At: time.Now().Add(minute)})
		rig.shutDown()
		rig.sleep(4 * minute)
		backlog(Backlog{Queued: 3, Waits: 6 * minute, Overdue: 3 * minute})
	})
}
