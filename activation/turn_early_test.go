package activation_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	. "activationd/activation"

	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

const (
	arm   = 50 * time.Millisecond
	usual = 4 * time.Millisecond // what a start takes, before it was measured
)

// together makes a rig with n jobs that are due together in an hour, and lets time pass until so
// long before. Each but the first makes them begin earlier.
func together(t *testing.T, n int, before time.Duration, fn func(rig *testRig, at time.Time)) {
	t.Helper()
	bubble(t, func(s *Settings) { s.ArmAhead, s.MaxParallel = arm, 1000 }, func(rig *testRig) {
		at := time.Now().Add(hour)
		jobs := make([]NewJob, n)
		for i := range jobs {
			jobs[i] = NewJob{At: at, Order: Order{Argv: []string{"true"}, Priority: i % 2}}
		}
		if _, err := rig.e.Add(context.Background(), admin, jobs); err != nil {
			t.Fatal(err)
		}
		rig.sleep(time.Until(at) - before)
		fn(rig, at)
		rig.sound()
	})
}

// armed counts the attempts that wait for their start time.
func (rig *testRig) armed() (n int) {
	for _, k := range rig.w.live() {
		r := rig.w.run(k)
		rig.w.mu.Lock()
		if r.started.IsZero() {
			n++
		}
		rig.w.mu.Unlock()
	}
	return n
}

func TestManyDueTogether(t *testing.T) {
	const n = 600
	lead := arm + (n-1)*usual
	together(t, n, lead+time.Millisecond, func(rig *testRig, at time.Time) {
		if got := rig.armed(); got != 0 {
			t.Errorf("%d are armed before their time", got)
		}
		rig.sleep(time.Millisecond)
		if got := rig.armed(); got != n {
			t.Errorf("%d are armed, want %d", got, n)
		}
		rig.ran("")
		rig.sound()
		rig.sleep(lead)
		for id := 1; id <= n; id++ {
			if began := rig.beganAt(fmt.Sprint(id), Activate, 1); !began.Equal(at) {
				t.Fatalf("%d began at %v, want %v", id, began, at)
			}
		}
		rig.sleep(minute)
		rig.is("1", "succeeded")
	})
}

// A machine that is slow arms earlier the next time.
func TestEarlyOnASlowMachine(t *testing.T) {
	const n = 300
	bubble(t, func(s *Settings) { s.ArmAhead, s.MaxParallel = arm, 1000 }, func(rig *testRig) {
		rig.w.slow.Store(int64(12 * time.Millisecond)) // and four at once
		late := func() (late int) {
			at := time.Now().Add(hour)
			var ids []string
			for range n {
				ids = append(ids, rig.add(NewJob{At: at}))
			}
			rig.sleep(2 * hour)
			for _, id := range ids {
				if rig.beganAt(id, Activate, 1).After(at) {
					late++
				}
			}
			return late
		}
		if got := late(); got != 0 {
			t.Errorf("%d began late, and %v is what each takes", got, usual)
		}
		rig.w.slow.Store(int64(18 * time.Millisecond))
		if got := late(); got != 0 {
			t.Errorf("%d began late, although the machine was known to be slow", got)
		}
	})
}

// Those with a higher priority are claimed first, across the turns.
func TestEarlyInOrderOfPriority(t *testing.T) {
	var order []string
	bubble(t, func(s *Settings) { s.ArmAhead, s.MaxParallel = arm, 1000 }, func(rig *testRig) {
		rig.w.starts = func(k supervisor.Key) error { order = append(order, k.ID); return nil }
		at := time.Now().Add(hour)
		for i := range 40 {
			rig.add(NewJob{At: at, Order: Order{Priority: i % 2}})
		}
		rig.sleep(hour)
	})
	if len(order) != 40 {
		t.Fatalf("started: %v", order)
	}
	if !slices.ContainsFunc(order[:32], func(id string) bool { return id == "40" }) {
		t.Errorf("started: %v, and 40 has the higher priority", order)
	}
}

// What is far away costs a turn nothing, however many there are, and a start that is alone costs
// one wake-up.
func TestEarlyIsCheapWhenIdle(t *testing.T) {
	set := func(s *Settings) { s.ArmAhead, s.MaxParallel = arm, 1000 }
	t.Run("reads", func(t *testing.T) {
		bubble(t, set, func(rig *testRig) {
			var read atomic.Int64
			rig.db = countingStore{rig.db, &read}
			rig.restart()
			turn := func() int64 {
				rig.e.Configure(rig.set)
				rig.sleep(0)
				return read.Swap(0)
			}
			pend := func(n int) int64 {
				jobs := make([]NewJob, n)
				for i := range jobs {
					jobs[i] = NewJob{At: time.Now().Add(48 * hour), Order: Order{Argv: []string{"true"}}}
				}
				if _, err := rig.e.Add(context.Background(), admin, jobs); err != nil {
					t.Fatal(err)
				}
				turn()
				return turn()
			}
			if few, many := pend(2), pend(3000); many > few {
				t.Errorf("a turn reads %d keys if 2 are pending, and %d if 3002 are", few, many)
			}
		})
	})
	for _, tt := range []struct {
		name  string
		after []time.Duration // an hour
		rings int
	}{
		{"one start", []time.Duration{0}, 1},
		{"starts far from each other", []time.Duration{0, minute, 2 * minute}, 3},
		{"two together", []time.Duration{0, 0}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, set, func(rig *testRig) {
				at := time.Now().Add(hour)
				for _, after := range tt.after {
					rig.add(NewJob{At: at.Add(after)})
				}
				rig.e.Configure(rig.set) // so that it has seen all of them
				rig.sleep(0)
				before := rig.alarm.rung()
				rig.sleep(2 * hour)
				if got := rig.alarm.rung() - before; got != tt.rings {
					t.Errorf("%d wake-ups, want %d", got, tt.rings)
				}
			})
		})
	}
}

func TestEarlyTakenBack(t *testing.T) {
	const before = time.Second
	t.Run("by cancel and hold", func(t *testing.T) {
		together(t, 600, before, func(rig *testRig, at time.Time) {
			rig.do(Cancel, "7")
			rig.is("7", "cancelled")
			rig.do(Hold, "8")
			rig.is("8", "held")
			rig.sleep(hour)
			if r := rig.w.run(supervisor.Key{ID: "7", Phase: Activate, N: 1}); !r.started.IsZero() {
				t.Error("a cancelled job ran")
			}
			rig.is("8", "held")
			rig.do(Release, "8")
			rig.sleep(minute)
			rig.is("8", "succeeded")
		})
	})
	t.Run("by hold and release", func(t *testing.T) {
		together(t, 600, before, func(rig *testRig, at time.Time) {
			disarmed := rig.w.run(supervisor.Key{ID: "8", Phase: Activate, N: 1})
			released := false
			rig.onTurn.Store(func() { // before the engine knows of the end of the attempt
				rig.w.mu.Lock()
				ended := disarmed.ended()
				rig.w.mu.Unlock()
				if !ended || released {
					return
				}
				released = true
				if _, err := rig.e.Do(context.Background(), admin, "8", Release, ""); err != nil {
					t.Error(err)
				}
			})
			rig.do(Hold, "8")
			rig.onTurn.Store(func() {})
			rig.is("8", "scheduled")
			rig.because("8", "released by root")
			rig.sleep(minute)
			if began := rig.beganAt("8", Activate, 2); !began.Equal(at) {
				t.Errorf("it began at %v, want %v", began, at)
			}
		})
	})
	t.Run("by an edit", func(t *testing.T) {
		together(t, 600, before, func(rig *testRig, at time.Time) {
			later := at.Add(hour)
			edit := func(id string, fn func(j *NewJob)) {
				if _, err := rig.e.Edit(context.Background(), admin, id, func(j *NewJob, _ time.Time) error { fn(j); return nil }); err != nil {
					t.Fatal(err)
				}
				rig.sleep(0)
			}
			edit("7", func(j *NewJob) { j.At = later })
			edit("8", func(j *NewJob) { j.Argv = []string{"other"} })
			rig.is("7", "scheduled")
			rig.is("8", "scheduled")
			rig.sleep(2 * hour)
			if began := rig.beganAt("7", Activate, 2); !began.Equal(later) {
				t.Errorf("it began at %v, want %v", began, later)
			}
			r := rig.w.run(supervisor.Key{ID: "8", Phase: Activate, N: 2})
			if r == nil || !r.started.Equal(at) || r.spec.Argv[0] != "other" {
				t.Errorf("the edited job ran as %+v", r)
			}
		})
	})
	t.Run("by run", func(t *testing.T) {
		together(t, 600, before, func(rig *testRig, _ time.Time) {
			now := time.Now()
			rig.do(RunNow, "7")
			if began := rig.beganAt("7", Activate, 2); !began.Equal(now) {
				t.Errorf("it began at %v, want %v", began, now)
			}
		})
	})
	t.Run("by a pause", func(t *testing.T) {
		together(t, 600, before, func(rig *testRig, _ time.Time) {
			if _, err := rig.e.Pause(context.Background(), admin, Pause{What: PauseDaemon}); err != nil {
				t.Fatal(err)
			}
			rig.sleep(minute)
			rig.ran("")
		})
	})
	t.Run("by nothing at a restart", func(t *testing.T) {
		together(t, 600, before, func(rig *testRig, at time.Time) {
			rig.restart()
			rig.sleep(before)
			if began := rig.beganAt("600", Activate, 1); !began.Equal(at) {
				t.Errorf("it began at %v, want %v", began, at)
			}
			rig.sleep(minute)
			rig.is("600", "succeeded")
		})
	})
}

// When the clock is set back, the wrappers report that they do not wait any longer. Their starts
// are scheduled again, and nothing else is claimed early because of them.
func TestEarlyWhenTheClockIsSetBack(t *testing.T) {
	for _, by := range []time.Duration{4 * time.Second, 30 * minute} {
		t.Run(by.String(), func(t *testing.T) {
			const n, before = 600, time.Second
			together(t, n, before, func(rig *testRig, at time.Time) {
				rig.setClock(-by)
				rig.w.mu.Lock()
				for _, r := range rig.w.runs {
					rig.w.end(r, wrapper.Disarmed, -1)
				}
				rig.w.mu.Unlock()
				rig.sleep(0)
				early := at.Add(-by / 2)
				rig.add(NewJob{At: early})
				rig.add(NewJob{At: early})
				rig.sleep(by + 2*minute)
				for id := 1; id <= n; id++ {
					all := rig.get(fmt.Sprint(id)).Attempts
					if len(all) != 2 {
						t.Fatalf("%d: %d attempts, want 2", id, len(all))
					}
					if before := at.Sub(all[1].Claimed); before < arm || before > 5*time.Second {
						t.Fatalf("%d was claimed again %v before its time", id, before)
					}
				}
			})
		})
	}
}

// What is claimed early leaves slots and locks to what is due before it.
func TestEarlyMakesWay(t *testing.T) {
	bubble(t, func(s *Settings) { s.ArmAhead, s.MaxParallel = arm, 320 }, func(rig *testRig) {
		at := time.Now().Add(hour)
		locked := rig.add(NewJob{At: at, Order: Order{Locks: []string{"a"}, Priority: 9}})
		for range 310 {
			rig.add(NewJob{At: at})
		}
		rig.sleep(hour - 300*time.Millisecond)
		if got := rig.armed(); got != 300 {
			t.Errorf("%d are armed, want 300 of 320 slots", got)
		}
		rig.is(locked, "activating")
		now := time.Now()
		rival := rig.add(NewJob{Order: Order{Locks: []string{"a"}}})
		if began := rig.beganAt(rival, Activate, 1); !began.Equal(now) {
			t.Errorf("it began at %v, want %v", began, now)
		}
		rig.because(locked, "made way for "+rival+", which needs lock a before")
		var others []string
		for range 30 { // more than were left
			others = append(others, rig.add(NewJob{}))
		}
		for _, id := range others {
			if began := rig.beganAt(id, Activate, 1); !began.Equal(now) {
				t.Errorf("%s began at %v, want %v", id, began, now)
			}
		}
		rig.sleep(minute)
		rig.is(locked, "succeeded")
	})
}

// A job that is run before its time needs its lock now.
func TestEarlyMakesWayForRun(t *testing.T) {
	together(t, 300, 5*minute, func(rig *testRig, at time.Time) {
		locked := rig.add(NewJob{At: at, Order: Order{Locks: []string{"a"}, Priority: 9}})
		rival := rig.add(NewJob{At: at.Add(hour), Order: Order{Locks: []string{"a"}}})
		rig.sleep(time.Until(at) - 300*time.Millisecond)
		rig.is(locked, "activating")
		now := time.Now()
		rig.do(RunNow, rival)
		if began := rig.beganAt(rival, Activate, 1); !began.Equal(now) {
			t.Errorf("it began at %v, want %v", began, now)
		}
		rig.sleep(minute)
		rig.is(locked, "succeeded")
	})
}

// A daemon that is drained starts nothing else, so nothing makes way: what is armed runs.
func TestEarlyMakesNoWayWhileDraining(t *testing.T) {
	together(t, 300, 5*minute, func(rig *testRig, at time.Time) {
		locked := rig.add(NewJob{At: at, Order: Order{Locks: []string{"a"}, Priority: 9}})
		rival := rig.add(NewJob{Hold: true, Order: Order{Locks: []string{"a"}}})
		rig.sleep(time.Until(at) - 300*time.Millisecond)
		rig.is(locked, "activating")
		rig.e.Drain()
		rig.do(Release, rival)
		rig.sleep(minute)
		if began := rig.beganAt(locked, Activate, 1); !began.Equal(at) {
			t.Errorf("it began at %v, want %v", began, at)
		}
		rig.is(rival, "waiting")
	})
}

// What is armed as usual is not taken back for others. With the higher priority it would be claimed
// again at once, and taken back again, until its time.
func TestArmedAsUsualStays(t *testing.T) {
	bubble(t, func(s *Settings) { s.ArmAhead, s.MaxParallel = 2*time.Second, 20 }, func(rig *testRig) {
		rig.w.starts = func(k supervisor.Key) error {
			if k.N > 5 {
				return errors.New("again and again")
			}
			return nil
		}
		at := time.Now().Add(hour)
		var high []string
		for range 19 {
			high = append(high, rig.add(NewJob{At: at, Order: Order{Priority: 9}}))
		}
		high[0] = rig.add(NewJob{At: at, Order: Order{Locks: []string{"a"}, Priority: 9}})
		rig.do(Cancel, "1")
		rig.sleep(hour - time.Second)
		rig.add(NewJob{}) // it has the last slot
		low := []string{rig.add(NewJob{Order: Order{Locks: []string{"a"}}}), rig.add(NewJob{})}
		rig.sleep(minute)
		for _, id := range high {
			if r := rig.get(id); len(r.Attempts) != 1 || !rig.beganAt(id, Activate, 1).Equal(at) {
				t.Errorf("%s has %d attempts, want one, which began at %v", id, len(r.Attempts), at)
			}
		}
		for _, id := range low {
			rig.is(id, "succeeded")
		}
	})
}

// A run that was stopped and hangs in the kernel takes no slot, so those that wait for one need
// another.
func TestEarlyMakesRoomBesideAHangingRun(t *testing.T) {
	bubble(t, func(s *Settings) { s.ArmAhead, s.MaxParallel = arm, 20 }, func(rig *testRig) {
		rig.script("1", Activate, script{hangs: true, remains: 2 * hour})
		hung := rig.add(NewJob{})
		rig.do(Cancel, hung)
		rig.is(hung, "activating")
		at := time.Now().Add(hour)
		for range 25 {
			rig.add(NewJob{At: at})
		}
		rig.sleep(hour - 2*arm)
		if got := rig.armed(); got != 19 {
			t.Errorf("%d are armed, want 19 of 20 slots", got)
		}
		rig.add(NewJob{}) // it has the last slot
		now := time.Now()
		id := rig.add(NewJob{})
		if began := rig.beganAt(id, Activate, 1); !began.Equal(now) {
			t.Errorf("it began at %v, want %v", began, now)
		}
		rig.sleep(3 * hour)
		rig.is(hung, "cancelled")
	})
}

// A lock that is held is not waited for early, and jobs that are added count.
func TestEarlyLeavesContendedLocks(t *testing.T) {
	together(t, 10, 5*minute, func(rig *testRig, at time.Time) {
		rig.script("11", Activate, long)
		rig.add(NewJob{Order: Order{Locks: []string{"a"}}})
		waits := rig.add(NewJob{At: at, Order: Order{Locks: []string{"a"}}})
		for range 300 {
			rig.add(NewJob{At: at})
		}
		rig.sleep(time.Until(at) - 300*usual) // the last few that were added count for up to arm
		if got := rig.armed(); got < 300 {
			t.Errorf("%d are armed, want all that were added", got)
		}
		rig.is(waits, "scheduled")
		rig.sleep(time.Until(at))
		if v := rig.get(waits); v.State != Waiting || !strings.Contains(v.Reason, "lock a") {
			t.Errorf("it is %s: %s", v.State, v.Reason)
		}
	})
}

// What was claimed early makes way for others after a restart of the daemon, too.
func TestEarlyMakesWayAfterRestart(t *testing.T) {
	bubble(t, func(s *Settings) { s.ArmAhead, s.MaxParallel = arm, 320 }, func(rig *testRig) {
		at := time.Now().Add(hour)
		for range 310 {
			rig.add(NewJob{At: at})
		}
		rig.sleep(hour - 300*time.Millisecond)
		if got := rig.armed(); got != 300 {
			t.Errorf("%d are armed, want 300 of 320 slots", got)
		}
		rig.restart()
		var others []string
		for range 30 { // more than were left
			others = append(others, rig.add(NewJob{}))
		}
		for _, id := range others {
			if r := rig.get(id); r.State != Activating {
				t.Errorf("%s %s: %s", id, r.State, r.Reason)
			}
		}
		rig.sleep(minute)
	})
}

// A record that cannot be read and waits for a slot keeps no others from being claimed early, and
// does not end the engine.
func TestEarlyBesideADamagedRecord(t *testing.T) {
	bubble(t, func(s *Settings) { s.ArmAhead, s.MaxParallel = arm, 3 }, func(rig *testRig) {
		for _, id := range []string{"1", "2", "3"} {
			rig.script(id, Activate, script{lasts: 10 * minute})
			rig.add(NewJob{})
		}
		damaged := rig.add(NewJob{})
		rig.is(damaged, "waiting")
		whole := rig.mem.Value(Key(damaged))
		rig.mem.Set(Key(damaged), []byte(`{"v":99}`))
		at := time.Now().Add(hour)
		for range 4 {
			rig.add(NewJob{At: at})
		}
		rig.sleep(2 * hour)
		if rig.err != nil {
			t.Errorf("Run: %v", rig.err)
		}
		for _, id := range []string{"5", "6"} {
			rig.is(id, "succeeded")
		}
		rig.mem.Set(Key(damaged), whole)
		rig.do(Cancel, damaged)
	})
}
