package activation_test

import (
	"fmt"
	"testing"
	"time"

	. "activationd/activation"
	"activationd/internal/fault"
)

// facts checks when an activation began and ended, as times after base; -1 is never.
func (rig *testRig) facts(base time.Time, id string, started, ended time.Duration) {
	rig.t.Helper()
	v := rig.get(id)
	after := func(at time.Time) time.Duration {
		if at.IsZero() {
			return -1
		}
		return at.Sub(base)
	}
	if s, e := after(v.Started()), after(v.Ended()); s != started || e != ended {
		rig.t.Errorf("%s, which is %s: started %v, ended %v, want %v, %v", id, v.State, s, e, started, ended)
	}
}

// The facts of what happened are apart from the plan, whatever happens: an activation has
// begun when its first script has, and ended when it is finished.
func TestStartedAndEnded(t *testing.T) {
	const never = time.Duration(-1)
	job := func(in time.Duration, o Order) NewJob { return NewJob{Order: o, At: time.Now().Add(in)} }
	tests := []struct {
		name string
		fn   func(rig *testRig, base time.Time)
	}{
		{"run earlier than planned", func(rig *testRig, base time.Time) {
			rig.script("1", Activate, script{lasts: minute})
			id := rig.add(job(hour, Order{}))
			rig.facts(base, id, never, never)
			rig.sleep(minute)
			rig.do(RunNow, id)
			rig.facts(base, id, minute, never)
			rig.sleep(minute)
			rig.facts(base, id, minute, 2*minute)
			if at := rig.get(id).Start.Sub(base); at != hour {
				rig.t.Errorf("planned %v, want 1h", at)
			}
		}},
		{"cancelled before its time", func(rig *testRig, base time.Time) {
			id := rig.add(job(hour, Order{}))
			rig.sleep(minute)
			rig.do(Cancel, id)
			rig.facts(base, id, never, minute)
		}},
		{"the command cannot be started", func(rig *testRig, base time.Time) {
			rig.script("1", Activate, script{noStart: fmt.Errorf("nosuch: not found: %w", fault.Invalid)})
			id := rig.add(job(minute, Order{}))
			rig.sleep(minute)
			rig.is(id, "failed")
			rig.facts(base, id, never, minute)
		}},
		{"further attempts", func(rig *testRig, base time.Time) {
			rig.script("1", Activate, script{lasts: minute, exit: 1}, script{lasts: hour})
			id := rig.add(job(0, Order{Retries: new(1)}))
			rig.facts(base, id, 0, never)
			rig.sleep(minute)
			rig.is(id, "waiting")
			rig.facts(base, id, 0, never)
			rig.sleep(2 * hour)
			rig.facts(base, id, 0, minute+10*time.Second+hour)
		}},
		{"cancelled between two attempts", func(rig *testRig, base time.Time) {
			rig.script("1", Activate, script{lasts: minute, exit: 1})
			id := rig.add(job(0, Order{Retries: new(1), Backoff: new(time.Hour)}))
			rig.sleep(2 * minute)
			rig.do(Cancel, id)
			rig.facts(base, id, 0, 2*minute)
		}},
		{"retried", func(rig *testRig, base time.Time) {
			rig.script("1", Activate, script{lasts: minute, exit: 1}, script{lasts: minute})
			id := rig.add(job(0, Order{Locks: []string{"sw1"}}))
			rig.sleep(5 * minute)
			rig.facts(base, id, 0, minute)
			rig.script("2", Activate, script{lasts: hour})
			rig.add(job(0, Order{Locks: []string{"sw1"}}))
			rig.do(Retry, id)
			rig.is(id, "waiting")
			rig.facts(base, id, never, never)
			rig.do(Cancel, id)
			rig.facts(base, id, never, 5*minute)
			rig.do(Retry, id)
			rig.sleep(2 * hour)
			rig.facts(base, id, 5*minute+hour, 6*minute+hour)
		}},
		{"ended while the daemon was down", func(rig *testRig, base time.Time) {
			rig.script("1", Activate, script{lasts: minute})
			id := rig.add(job(0, Order{}))
			rig.shutDown()
			rig.sleep(hour)
			rig.start()
			rig.facts(base, id, 0, minute)
		}},
		{"more attempts than are kept", func(rig *testRig, base time.Time) {
			rig.set.Jobs.BackoffFirst = time.Second
			rig.set.Jobs.BackoffMax = time.Second
			rig.restart()
			rig.script("1", Activate, script{lasts: minute, exit: 1})
			id := rig.add(job(0, Order{Retries: new(200)}))
			rig.sleep(201 * (minute + time.Second))
			rig.is(id, "failed")
			rig.facts(base, id, 0, 201*minute+200*time.Second)
			if n := len(rig.get(id).Attempts); n != 64 {
				rig.t.Errorf("%d attempts are kept, want 64", n)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, nil, func(rig *testRig) { tt.fn(rig, time.Now()) })
		})
	}
	t.Run("a reservation that is served again", func(t *testing.T) {
		announced(t, nil, one(hour, 10*hour), func(rig *testRig, _ *fakeSource) {
			base := time.Now()
			rig.script("r1", Activate, script{lasts: minute})
			rig.script("r1", Deactivate, script{lasts: minute})
			rig.sleep(90 * minute)
			rig.facts(base, "r1", hour, never)
			rig.shutDown()
			rig.w.powerLoss()
			rig.boot = "boot2"
			rig.sleep(30 * minute)
			rig.start()
			rig.is("r1", "deactivating")
			rig.facts(base, "r1", hour, never)
			rig.sleep(minute)
			rig.is("r1", "activating")
			rig.facts(base, "r1", 121*minute, never)
			rig.sleep(10 * hour)
			rig.is("r1", "succeeded")
			rig.facts(base, "r1", 121*minute, 10*hour+minute)
		})
	})
}
