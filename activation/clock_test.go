package activation_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	. "activationd/activation"
	"activationd/activation/recurring"

	"activationd/internal/fault"
)

// doubtful makes a rig whose clock is not synchronised.
func doubtful(t *testing.T, set func(*Settings), fn func(rig *testRig)) {
	bubble(t, set, func(rig *testRig) {
		rig.clock.mu.Lock()
		rig.clock.synced = false
		rig.clock.mu.Unlock()
		fn(rig)
	})
}

// A clock that was far ahead for a moment must not prune the history, mark future jobs,
// occurrences and reservations as missed, or take labs down.
func TestClockFarAheadForAMoment(t *testing.T) {
	for name, ahead := range map[string]time.Duration{"hours": 90 * minute, "years": 30000 * hour} {
		t.Run(name, func(t *testing.T) {
			doubtful(t, nil, func(rig *testRig) {
				src := rig.source("src")
				up, later, added := slot("up@x", -minute, hour, "r1"), slot("later@x", 40*minute, hour, "r2"), slot("new@x", 50*minute, hour, "r3")
				src.says(up, later)
				rig.loads(2, 0, 0, 0)
				old := rig.add(NewJob{})
				soon := rig.add(NewJob{At: time.Now().Add(hour)})
				late := rig.add(NewJob{At: time.Now().Add(hour), Order: Order{Deadline: time.Now().Add(80 * minute)}})
				rig.every(recurring.Rule{Name: "m", Cron: "*/20 * * * *", Zone: "UTC"})
				rig.sleep(30 * minute)
				rig.script("w", Activate, long)
				before := rig.view("m")
				rig.tallied("m", 1, 0)
				rig.setClock(ahead)
				rig.sleep(5 * minute)
				src.says(up, later, added)
				rig.loads(1, 0, 0, 0)
				rig.setClock(-ahead)
				rig.sleep(time.Second)
				rig.is(old, "succeeded") // and has not been pruned
				rig.is(soon, "scheduled")
				rig.is(late, "scheduled")
				rig.is("up@x", "active")
				rig.is("later@x", "scheduled")
				rig.is("new@x", "scheduled")
				if after := rig.view("m"); !after.Next.Equal(before.Next) || !after.Passed.IsZero() {
					t.Errorf("the next occurrence is %v, and was %v", after.Next, before.Next)
				}
				rig.sleep(25 * minute) // to 01:00:01
				rig.is(soon, "succeeded")
				rig.is(late, "succeeded")
				rig.is("up@x", "succeeded")
				rig.sleep(hour)
				rig.is("later@x", "succeeded")
			})
		})
	}
}

// A clock that keeps the time it was set to is trusted after ten minutes, or at once if
// the kernel says that it is synchronised. Then the times that it passed over are
// decided.
func TestClockSetForward(t *testing.T) {
	for name, wait := range map[string]time.Duration{"synchronised": AskKernel, "ten minutes": Patience} {
		t.Run(name, func(t *testing.T) {
			doubtful(t, func(s *Settings) { s.HistoryAge = 100 * hour; s.MissedGrace = 3 * hour }, func(rig *testRig) {
				src := rig.source("src")
				src.says(slot("up@x", -minute, hour, "r1"), slot("over@x", hour, 90*minute, "r2"), slot("on@x", hour, 300*hour, "r3"))
				rig.loads(3, 0, 0, 0)
				old := rig.add(NewJob{})
				missed := rig.add(NewJob{At: time.Now().Add(hour)})
				run := rig.add(NewJob{At: time.Now().Add(198 * hour)})                                             // two hours late, then
				ontime := rig.add(NewJob{At: time.Now().Add(200*hour + minute), Order: Order{Missed: MissedSkip}}) // half a minute late, then
				soon := rig.add(NewJob{At: time.Now().Add(200*hour + 2*minute)})
				rig.every(recurring.Rule{Name: "m", Cron: "*/10 * * * *", Zone: "UTC", CatchUp: 3})
				rig.sleep(90 * time.Second)
				rig.setClock(200 * hour) // and it is 00:01:30 again
				rig.sleep(time.Second)
				rig.is(ontime, "scheduled")
				rig.is(missed, "scheduled")
				rig.is(run, "scheduled")
				if why := rig.get(run).Reason; !strings.HasPrefix(why, "its time was passed over when the clock was set") {
					t.Errorf("reason %q", why)
				}
				rig.is("up@x", "active")
				if s, err := rig.e.Status(context.Background()); err != nil || !strings.Contains(s.Doubt, "went forward by 200h0m0s") {
					t.Errorf("status: %q, %v", s.Doubt, err)
				}
				now := rig.add(NewJob{})
				rig.is(now, "activating")
				if name == "synchronised" {
					rig.clock.mu.Lock()
					rig.clock.synced = true
					rig.clock.mu.Unlock()
				} else {
					rig.sleep(wait - 2*time.Second)
					rig.is(now, "succeeded")
					rig.is(soon, "succeeded")
					rig.tallied("m", 1, 0) // at 00:10
					rig.is(missed, "scheduled")
					rig.is("over@x", "scheduled")
					rig.is(old, "succeeded")
				}
				rig.sleep(minute)
				rig.is(missed, "missed")
				rig.is(run, "succeeded")
				rig.is(ontime, "succeeded")
				rig.is("up@x", "succeeded")
				rig.is("over@x", "missed")
				rig.is("on@x", "active")
				if _, err := rig.e.Get(context.Background(), old); !errors.Is(err, fault.NotFound) {
					t.Errorf("the history is still there: %v", err)
				}
				rig.tallied("m", 3+uint64(wait/Patience), 200*6-3)
				if s, err := rig.e.Status(context.Background()); err != nil || s.Doubt != "" {
					t.Errorf("status: %q, %v", s.Doubt, err)
				}
			})
		})
	}
}

// An activation that is over only by a clock in doubt neither ends nor starts.
func TestWaitingPastItsEnd(t *testing.T) {
	doubtful(t, nil, func(rig *testRig) {
		rig.script("1", Activate, script{lasts: 5 * minute})
		rig.add(NewJob{Order: Order{Locks: []string{"a"}}})
		dead := rig.add(NewJob{Order: Order{Locks: []string{"a"}, Deadline: time.Now().Add(hour)}})
		behind := rig.add(NewJob{Order: Order{Locks: []string{"a"}}})
		rig.setClock(2 * hour)
		rig.sleep(5 * minute)
		rig.is("1", "succeeded")
		rig.is(dead, "waiting")
		if why := rig.get(dead).Reason; why != WaitsFor+TrustedClock {
			t.Errorf("reason %q", why)
		}
		rig.is(behind, "waiting")
		rig.sleep(6 * minute)
		rig.is(dead, "missed")
		rig.is(behind, "succeeded")
	})
}

// An activation that waits for a trusted clock must not keep others from a slot, although
// it is first in the queue and cannot use the slot.
func TestWaitingPastItsEndForASlot(t *testing.T) {
	doubtful(t, func(s *Settings) { s.MaxParallel = 1 }, func(rig *testRig) {
		rig.script("1", Activate, script{lasts: minute})
		rig.add(NewJob{})
		dead := rig.add(NewJob{Order: Order{Deadline: time.Now().Add(hour)}})
		behind := rig.add(NewJob{})
		rig.setClock(2 * hour)
		rig.sleep(2 * minute)
		rig.is(dead, "waiting")
		rig.is(behind, "succeeded")
		rig.setClock(-2 * hour)
		rig.sleep(2 * time.Second)
		rig.is(dead, "succeeded")
	})
}

// A daemon that starts must see that the clock was set while it was down, and that the
// machine has a flat battery or a wrong clock.
func TestClockIsWrongAtTheStart(t *testing.T) {
	for name, tt := range map[string]struct {
		down, set time.Duration
		boot      bool
		doubt     bool
	}{
		"the daemon was down for long":                {10 * hour, 0, false, false},
		"the clock was set meanwhile":                 {minute, 2 * hour, false, true},
		"the clock was set back meanwhile":            {10 * hour, -2 * hour, false, true},
		"the machine was off for an hour":             {20 * minute, 0, true, false},
		"it was off for a day, or its clock is wrong": {24 * hour, 0, true, true},
		"its clock is years ahead":                    {minute, 20000 * hour, true, true},
		"its clock begins again":                      {minute, -20000 * hour, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			doubtful(t, func(s *Settings) { s.HistoryAge = hour }, func(rig *testRig) {
				old := rig.add(NewJob{})
				rig.sleep(10 * minute)
				rig.shutDown()
				time.Sleep(tt.down)
				rig.setClock(tt.set)
				if tt.boot {
					rig.boot = "boot2"
					rig.clock.mu.Lock()
					rig.clock.started = time.Now()
					rig.clock.mu.Unlock()
				}
				rig.start()
				s, err := rig.e.Status(context.Background())
				if doubt := s.Doubt != ""; err != nil || doubt != tt.doubt {
					t.Errorf("in doubt: %q, %v, want %v", s.Doubt, err, tt.doubt)
				}
				_, err = rig.e.Get(context.Background(), old)
				if pruned := errors.Is(err, fault.NotFound); pruned != (!tt.doubt && tt.down > hour) {
					t.Errorf("the history is pruned: %v", pruned)
				}
				rig.sleep(Patience)
				if s, err := rig.e.Status(context.Background()); err != nil || s.Doubt != "" {
					t.Errorf("in doubt after ten minutes: %q, %v", s.Doubt, err)
				}
			})
		})
	}
}

// On a machine with a flat battery time begins in 1970 at each start. Recurrences neither
// begin again then, nor repeat occurrences when the clock is set: they continue.
func TestClockBeginsAnew(t *testing.T) {
	for name, long := range map[string]time.Duration{"for a minute": minute, "for an hour": hour} {
		t.Run(name, func(t *testing.T) {
			doubtful(t, func(s *Settings) { s.MaxParallel = 1 }, func(rig *testRig) {
				rig.every(recurring.Rule{Name: "m", Cron: "*/10 * * * *", Zone: "UTC", CatchUp: recurring.MaxCatchUp, Overlap: recurring.OverlapParallel})
				soon := rig.add(NewJob{At: time.Now().Add(35 * minute)})
				rig.sleep(25 * minute)
				rig.shutDown()
				rig.boot = "boot2"
				years := rig.now().Sub(time.Unix(0, 0))
				rig.setClock(-years)
				rig.clock.mu.Lock()
				rig.clock.started = time.Now()
				rig.clock.mu.Unlock()
				rig.start()
				rig.sleep(long)
				begun := rig.view("m").Tally.Begun
				if long < Patience && begun != 2 {
					t.Errorf("%d occurrences before the clock was set, want those 2 of before", begun)
				}
				rig.is(soon, "scheduled")
				rig.setClock(years + 10*minute)
				rig.sleep(Patience + minute)
				rig.is(soon, "succeeded")
				now := uint64(time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))+10*minute) / uint64(10*minute)
				if y := rig.view("m").Tally; y.Begun != now+begun-2 || y.Skipped != 0 {
					t.Errorf("begun %d, %d of them in 1970, skipped %d; want %d, each once", y.Begun, begun-2, y.Skipped, now+begun-2)
				}
			})
		})
	}
}

// A machine that sleeps wakes to a later time, which is not in doubt.
func TestSleepIsNoStep(t *testing.T) {
	doubtful(t, nil, func(rig *testRig) {
		missed := rig.add(NewJob{At: time.Now().Add(hour)})
		run := rig.add(NewJob{At: time.Now().Add(7*hour + 30*minute)})
		rig.clock.mu.Lock()
		rig.clock.shift += 8 * hour // the bubble's own time stands still in it
		rig.clock.started = rig.clock.started.Add(-8 * hour)
		rig.clock.mu.Unlock()
		rig.alarm.stepped()
		synctest.Wait()
		rig.sleep(2 * time.Second)
		rig.is(missed, "missed")
		rig.is(run, "succeeded")
	})
}

// A try that is due at once is made although a clock in doubt has passed over the time
// since which it is due.
func TestAtOnceInDoubt(t *testing.T) {
	doubtful(t, nil, func(rig *testRig) {
		rig.script("1", Activate, fails, quick)
		id := rig.add(NewJob{Order: Order{Retries: new(1)}})
		rig.sleep(3 * time.Second)
		rig.m.dieAfter(0) // before it records the time
		rig.shutDown()
		rig.prepare() // an engine that takes no turn
		if _, err := rig.e.Do(context.Background(), admin, id, RunNow, ""); err != nil {
			t.Fatal(err)
		}
		rig.boot = "boot2"
		rig.setClock(2 * hour)
		rig.start()
		rig.is(id, "activating")
	})
}

// A job whose pause before the next try is over waits for a slot. Whatever the clock shows later,
// it keeps the slot neither from itself nor from others.
func TestPauseIsOverForGood(t *testing.T) {
	for name, happens := range map[string]func(rig *testRig){
		"the machine was off for a day": func(rig *testRig) {
			rig.m.dieAfter(0) // before it records the time
			rig.shutDown()
			rig.w.powerLoss()
			time.Sleep(24 * hour)
			rig.boot = "boot2"
			rig.clock.mu.Lock()
			rig.clock.started = time.Now()
			rig.clock.mu.Unlock()
			rig.start()
		},
		"the clock was set back": func(rig *testRig) { rig.setClock(-30 * minute) },
	} {
		t.Run(name, func(t *testing.T) {
			doubtful(t, func(s *Settings) { s.MaxParallel = 1 }, func(rig *testRig) {
				rig.script("1", Activate, fails, quick)
				rig.script("2", Activate, script{lasts: 20 * time.Second})
				again := rig.add(NewJob{Order: Order{Retries: new(1)}})
				rig.sleep(2 * time.Second)
				rig.add(NewJob{}) // it has the slot
				rig.sleep(15 * time.Second)
				rig.is(again, "waiting") // its pause ended after 11 s
				behind := rig.add(NewJob{})
				happens(rig)
				rig.sleep(8 * time.Second)
				rig.is(again, "succeeded")
				rig.is(behind, "succeeded")
			})
		})
	}
}
