package activation_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	. "activationd/activation"

	"activationd/internal/fault"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

func TestHoldAndRelease(t *testing.T) {
	t.Run("before its instant", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			at := time.Now().Add(hour)
			id := rig.add(NewJob{At: at})
			rig.do(Hold, id)
			rig.is(id, "held")
			rig.do(Release, id)
			rig.is(id, "scheduled")
			rig.sleep(2 * hour)
			if began := rig.beganAt(id, Activate, 1); !began.Equal(at) {
				rig.t.Errorf("it began at %v, want %v", began, at)
			}
		})
	})
	for _, missed := range []string{MissedRun, MissedSkip} {
		t.Run("past its instant, missed="+missed, func(t *testing.T) {
			bubble(t, nil, func(rig *testRig) {
				id := rig.add(NewJob{At: time.Now().Add(hour), Hold: true, Order: Order{Missed: missed}})
				rig.sleep(100 * hour)
				rig.is(id, "held")
				rig.do(Release, id)
				rig.is(id, "activating") // an operator who releases it wants it to run
			})
		})
	}
	t.Run("what waits is held and loses its place", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			rig.script("1", Activate, long)
			rig.add(NewJob{Order: Order{Locks: []string{"a"}}})
			second, third := rig.add(NewJob{Order: Order{Locks: []string{"a"}}}), rig.add(NewJob{Order: Order{Locks: []string{"a"}}})
			rig.do(Hold, second)
			rig.sleep(hour)
			rig.is(second, "held")
			rig.is(third, "activating")
		})
	})
	t.Run("what runs cannot be held", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			id := rig.add(NewJob{})
			if _, err := rig.e.Do(context.Background(), admin, id, Hold, ""); !errors.Is(err, fault.Conflict) {
				rig.t.Errorf("Do(Hold) of a running job: %v, want a conflict", err)
			}
		})
	})
}

func TestRunNow(t *testing.T) {
	arm := func(s *Settings) { s.ArmAhead = 50 * time.Millisecond }
	t.Run("scheduled", func(t *testing.T) {
		bubble(t, arm, func(rig *testRig) {
			id := rig.add(NewJob{At: time.Now().Add(hour)})
			now := time.Now()
			rig.do(RunNow, id)
			rig.is(id, "activating")
			if began := rig.beganAt(id, Activate, 1); !began.Equal(now) {
				rig.t.Errorf("it began at %v, want %v", began, now)
			}
		})
	})
	t.Run("a moment before its instant", func(t *testing.T) {
		bubble(t, func(s *Settings) { s.ArmAhead = time.Second }, func(rig *testRig) {
			rig.script("1", Activate, hangs)
			rig.add(NewJob{Order: Order{Locks: []string{"a"}}})
			id := rig.add(NewJob{At: time.Now().Add(hour), Order: Order{Locks: []string{"a"}}})
			rig.sleep(hour - 500*time.Millisecond) // in line, and not late yet
			rig.do(RunNow, id)
			rig.because(id, "waits for lock a, held by 1")
			rig.do(Cancel, "1")
			rig.sleep(minute)
			rig.is(id, "succeeded")
		})
	})
	t.Run("held", func(t *testing.T) {
		bubble(t, arm, func(rig *testRig) {
			id := rig.add(NewJob{At: time.Now().Add(hour), Hold: true})
			rig.do(RunNow, id)
			rig.is(id, "activating")
		})
	})
	t.Run("between two tries", func(t *testing.T) {
		bubble(t, arm, func(rig *testRig) {
			rig.script("1", Activate, fails, quick)
			id := rig.add(NewJob{Order: Order{Retries: new(1)}})
			rig.sleep(2 * time.Second)
			rig.is(id, "waiting")
			rig.do(RunNow, id)
			rig.is(id, "activating")
		})
	})
}

func TestWhatDoesNotStart(t *testing.T) {
	t.Run("uses up no try, and backs off", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			no := script{noStart: errors.New("no more processes")}
			rig.script("1", Activate, no, no, no, fails, quick)
			id := rig.add(NewJob{Order: Order{Retries: new(1)}})
			rig.is(id, "waiting") // the second a second later, the third after two more
			rig.because(id, "did not start: no more processes; the next try is due at "+TimeText(time.Now().Add(time.Second)))
			rig.sleep(7 * time.Second)
			rig.is(id, "activating")
			rig.sleep(minute)
			rig.is(id, "succeeded")
			rig.ran("1.activate.4 1.activate.5")
		})
	})
	t.Run("and never can, is no more tried than what fails", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			rig.script("1", Activate, script{noStart: fault.Invalid})
			id := rig.add(NewJob{})
			rig.is(id, "failed")
			if a := rig.get(id).Attempts[0]; a.Result.Reason != wrapper.Failed || a.Result.Exit != 126 {
				rig.t.Errorf("result %+v, want failed with 126", a.Result)
			}
		})
	})
	// The settings' pauses do not apply, and only the deadline or the slot ends the
	// tries.
	t.Run("is tried after 1, 2, 4 and at most 60 s, until the deadline", func(t *testing.T) {
		bubble(t, func(s *Settings) { s.Jobs.BackoffFirst, s.Jobs.BackoffMax = hour, 0 }, func(rig *testRig) {
			rig.script("1", Activate, script{noStart: errors.New("no space left on device")})
			began := time.Now()
			var tried []time.Duration
			rig.w.starts = func(supervisor.Key) error { tried = append(tried, time.Since(began)); return nil }
			id := rig.add(NewJob{Order: Order{Retries: new(0), Deadline: began.Add(5 * minute)}})
			rig.sleep(4*minute + 30*time.Second)
			rig.is(id, "waiting")
			rig.because(id, "attempt 10 did not start: no space left on device; the next try is due at "+TimeText(began.Add(303*time.Second)))
			rig.sleep(minute)
			rig.is(id, "missed") // it has not begun
			rig.because(id, "its deadline passed at "+TimeText(began.Add(5*minute))+", and it had not begun: it was waiting: attempt 10 did not start: no space left on device")
			const s = time.Second
			if want := []time.Duration{0, 1 * s, 3 * s, 7 * s, 15 * s, 31 * s, 63 * s, 123 * s, 183 * s, 243 * s}; !slices.Equal(tried, want) {
				rig.t.Errorf("tried after %v, want %v", tried, want)
			}
			if a := rig.get(id).Attempts; len(a) != 1 {
				rig.t.Errorf("%d attempts that did not start are kept, want the last: %+v", len(a), a)
			}
		})
	})
	t.Run("is tried until the slot's end, and leaves nothing to be undone", func(t *testing.T) {
		announced(t, nil, one(minute, hour, "sw1"), func(rig *testRig, _ *fakeSource) {
			rig.script("r1", Activate, script{noStart: errors.New("no space left on device")})
			other := func() string { return rig.add(NewJob{Order: Order{Locks: []string{"sw1"}}}) }
			rig.sleep(10*minute + 500*time.Millisecond)
			rig.is("r1", "waiting")
			rig.sound()
			id := other() // meanwhile its devices are free
			rig.sleep(10 * minute)
			rig.is(id, "succeeded")
			rig.sleep(hour)
			rig.is("r1", "failed")
			rig.ran(id + ".activate.1")
		})
	})
	t.Run("is tried again for a deactivation, which never gets stuck of it", func(t *testing.T) {
		announced(t, nil, one(0, hour, "sw1"), func(rig *testRig, _ *fakeSource) {
			no := script{noStart: errors.New("no space left on device")}
			rig.script("r1", Deactivate, slices.Repeat([]script{no}, 100)...)
			rig.sleep(2 * hour)
			rig.is("r1", "deactivating")
			rig.script("r1", Deactivate, quick)
			rig.sleep(minute)
			rig.is("r1", "succeeded")
		})
	})
	t.Run("does not have what failed before forgotten", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			no := script{noStart: errors.New("no more processes")}
			rig.script("1", Activate, fails, no, no, fails, no, fails)
			id := rig.add(NewJob{Order: Order{Retries: new(1)}})
			rig.sleep(hour)
			rig.is(id, "failed")
			rig.ran("1.activate.1 1.activate.4")
		})
	})
	t.Run("for want of a backoff does not spin", func(t *testing.T) {
		bubble(t, func(s *Settings) { s.Jobs.BackoffFirst = 0 }, func(rig *testRig) {
			rig.script("1", Activate, script{noStart: errors.New("no more processes")})
			id := rig.add(NewJob{})
			rig.sleep(minute)
			if n := rig.get(id).LastN[0]; n > 65 {
				rig.t.Errorf("%d attempts in a minute", n)
			}
			rig.do(Cancel, id)
		})
	})
}

// TestVoid runs scripts that remove all traces of their start. They are started three
// more times at most; then the attempt is lost, which costs a try.
func TestVoid(t *testing.T) {
	void := script{reason: wrapper.Void, exit: -1, lasts: time.Second}
	t.Run("a job without retries", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			rig.script("1", Activate, void)
			id := rig.add(NewJob{Order: Order{Retries: new(0)}})
			rig.sleep(hour)
			rig.is(id, "lost")
			rig.ran("1.activate.1 1.activate.2 1.activate.3 1.activate.4")
			if a := rig.get(id).Attempts[3].Result; a.Reason != wrapper.Lost {
				rig.t.Errorf("the last attempt is %+v, want lost", a)
			}
		})
	})
	t.Run("a job with a retry", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			rig.script("1", Activate, void)
			id := rig.add(NewJob{Order: Order{Retries: new(1)}})
			rig.sleep(10 * hour)
			rig.is(id, "lost")
			if n := len(rig.w.order); n != 8 {
				rig.t.Errorf("it ran %d times, want 8", n)
			}
		})
	})
	t.Run("with starts that fail between", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			no := script{noStart: errors.New("no more processes")}
			rig.script("1", Activate, void, no, void, no, no, void, no, void, quick)
			id := rig.add(NewJob{Order: Order{Retries: new(0)}})
			rig.sleep(hour)
			rig.is(id, "lost")
		})
	})
	t.Run("one that goes well in the end", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			rig.script("1", Activate, void, void, void, quick)
			id := rig.add(NewJob{Order: Order{Retries: new(0)}})
			rig.sleep(hour)
			rig.is(id, "succeeded")
		})
	})
	t.Run("a reservation is undone: that nothing shows a start is no proof that there was none", func(t *testing.T) {
		announced(t, func(s *Settings) { s.Reservations.Retries = 0 }, one(0, hour, "sw1"), func(rig *testRig, _ *fakeSource) {
			rig.script("r1", Activate, void)
			rig.sleep(2 * time.Second)
			rig.do(Cancel, "r1")
			rig.sleep(hour)
			rig.is("r1", "cancelled")
			if last := rig.w.order[len(rig.w.order)-1]; last.Phase != Deactivate {
				rig.t.Errorf("%v ran, the last of them must be a deactivation", rig.w.order)
			}
		})
	})
	t.Run("a deactivation gets stuck", func(t *testing.T) {
		announced(t, func(s *Settings) { s.Reservations.UndoRetries = 0 }, one(0, hour, "sw1"), func(rig *testRig, _ *fakeSource) {
			rig.script("r1", Deactivate, void)
			rig.sleep(3 * hour)
			rig.is("r1", "stuck")
			if n := rig.get("r1").LastN[1]; n != 4 {
				rig.t.Errorf("%d attempts to undo it, want 4", n)
			}
		})
	})
}

func TestArmedStart(t *testing.T) {
	arm := func(s *Settings) { s.ArmAhead = time.Second }
	armed := func(t *testing.T, missed string, fn func(rig *testRig, id string, at time.Time)) {
		t.Helper()
		bubble(t, arm, func(rig *testRig) {
			at := time.Now().Add(hour)
			id := rig.add(NewJob{At: at, Order: Order{Missed: missed}})
			rig.sleep(hour - time.Second)
			rig.is(id, "activating")
			rig.ran("")
			fn(rig, id, at)
		})
	}
	t.Run("begins at its instant", func(t *testing.T) {
		armed(t, "", func(rig *testRig, id string, at time.Time) {
			rig.sleep(time.Second)
			if began := rig.beganAt(id, Activate, 1); !began.Equal(at) {
				rig.t.Errorf("it began at %v, want %v", began, at)
			}
		})
	})
	t.Run("is disarmed by cancel", func(t *testing.T) {
		armed(t, "", func(rig *testRig, id string, at time.Time) {
			rig.do(Cancel, id)
			rig.is(id, "cancelled")
			rig.sleep(hour)
			rig.ran("")
		})
	})
	t.Run("is disarmed by hold", func(t *testing.T) {
		armed(t, MissedSkip, func(rig *testRig, id string, at time.Time) {
			rig.do(Hold, id)
			rig.is(id, "held")
			rig.sleep(hour)
			rig.ran("")
			rig.do(Release, id)
			rig.sleep(hour)
			rig.is(id, "succeeded")
		})
	})
	t.Run("is held at the last moment", func(t *testing.T) {
		bubble(t, arm, func(rig *testRig) {
			rig.script("1", Activate, script{late: true, lasts: minute}, quick)
			id := rig.add(NewJob{At: time.Now().Add(hour)})
			rig.sleep(hour - time.Second)
			rig.do(Hold, id)
			rig.sleep(hour)
			rig.is(id, "held") // though it has no second try
			rig.do(Release, id)
			rig.sleep(minute)
			rig.is(id, "succeeded")
		})
	})
	t.Run("is disarmed when the clock is set back", func(t *testing.T) {
		bubble(t, arm, func(rig *testRig) {
			// The bubble's clock cannot be set. So this test acts as if it had been set
			// back by half an hour when the wrapper reports that.
			at := time.Now().Add(hour)
			id := rig.add(NewJob{At: at})
			rig.sleep(hour - time.Second)
			rig.set.ArmAhead = 0
			rig.e.Configure(rig.set) // a second is more than the time to arm now
			rig.w.mu.Lock()
			rig.w.end(rig.w.runs[supervisor.Key{ID: id, Phase: Activate, N: 1}], wrapper.Disarmed, -1)
			rig.w.mu.Unlock()
			synctest.Wait()
			rig.is(id, "scheduled")
			rig.sleep(hour)
			rig.is(id, "succeeded")
			rig.ran("1.activate.2")
			if began := rig.beganAt(id, Activate, 2); !began.Equal(at) {
				rig.t.Errorf("it began at %v, want %v", began, at)
			}
		})
	})
}
