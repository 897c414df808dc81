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
	"activationd/reservation"
	"activationd/supervisor"
)

// announced runs a scenario with one source, which announces rs.
func announced(t *testing.T, set func(*Settings), rs func() []reservation.Reservation, fn func(rig *testRig, src *fakeSource)) {
	t.Helper()
	bubble(t, set, func(rig *testRig) {
		src := rig.source("lab")
		some := rs()
		src.says(some...)
		rig.loads(len(some), 0, 0, 0)
		fn(rig, src)
	})
}

func one(from, to time.Duration, devices ...string) func() []reservation.Reservation {
	return func() []reservation.Reservation { return []reservation.Reservation{slot("r1", from, to, devices...)} }
}

func TestReservation(t *testing.T) {
	t.Run("a whole life", func(t *testing.T) {
		announced(t, nil, one(hour, 3*hour, "sw1"), func(rig *testRig, src *fakeSource) {
			start := time.Now().Add(hour)
			rig.is("r1", "scheduled")
			rig.sleep(hour)
			rig.is("r1", "activating")
			rig.sleep(minute)
			rig.is("r1", "active")
			rig.because("r1", "")
			rig.sleep(2 * hour)
			rig.is("r1", "succeeded")
			rig.because("r1", "the slot has ended")
			rig.ran("r1.activate.1 r1.deactivate.1")
			if at := rig.beganAt("r1", Activate, 1); !at.Equal(start) {
				rig.t.Errorf("activated at %v, want %v", at, start)
			}
			if at := rig.beganAt("r1", Deactivate, 1); !at.Equal(start.Add(2 * hour)) {
				rig.t.Errorf("deactivated at %v, want %v", at, start.Add(2*hour))
			}
		})
	})
	t.Run("lead and tail", func(t *testing.T) {
		rs := func() []reservation.Reservation {
			r := slot("r1", hour, 3*hour)
			r.Lead, r.Tail = new(10*minute), new(5*minute)
			return []reservation.Reservation{r}
		}
		announced(t, nil, rs, func(rig *testRig, src *fakeSource) {
			now := time.Now()
			rig.sleep(4 * hour)
			rig.is("r1", "succeeded")
			if got := rig.beganAt("r1", Activate, 1).Sub(now); got != 50*minute {
				rig.t.Errorf("activated after %v, want 50m", got)
			}
			if got := rig.beganAt("r1", Deactivate, 1).Sub(now); got != 175*minute {
				rig.t.Errorf("deactivated after %v, want 2h55m", got)
			}
		})
	})
	t.Run("its slot runs already", func(t *testing.T) {
		announced(t, nil, one(-hour, hour), func(rig *testRig, src *fakeSource) {
			rig.is("r1", "activating")
			rig.sleep(2 * hour)
			rig.is("r1", "succeeded")
		})
	})
	t.Run("its slot is over", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			rig.source("lab").says(slot("r1", -2*hour, -hour))
			rig.loads(0, 0, 0, 0)
			if _, err := rig.e.Get(context.Background(), "r1"); !errors.Is(err, fault.NotFound) {
				rig.t.Errorf("Get: %v", err)
			}
		})
	})
	t.Run("the slot ends while it is activated", func(t *testing.T) {
		announced(t, nil, one(0, minute, "sw1"), func(rig *testRig, src *fakeSource) {
			rig.script("r1", Activate, script{hangs: true, onStop: 3 * time.Second})
			// announced() started it with the earlier script: again, with another one.
			rig.sleep(2 * minute)
			src.says(slot("r1", minute, 2*minute, "sw1"))
			rig.loads(0, 1, 0, 0)
			rig.sleep(2 * minute)
			rig.is("r1", "activating")
			rig.because("r1", "the slot ended before it was active")
			rig.sleep(3 * time.Second)
			rig.is("r1", "deactivating")
			rig.sleep(minute)
			rig.is("r1", "failed")
			rig.because("r1", "the slot ended before it was active")
			rig.ran("r1.activate.1 r1.deactivate.1 r1.activate.2 r1.deactivate.2")
		})
	})
	t.Run("the slot ends while it waits", func(t *testing.T) {
		announced(t, nil, one(hour, 2*hour, "sw1"), func(rig *testRig, src *fakeSource) {
			rig.script("1", Activate, script{lasts: 10 * hour})
			rig.add(NewJob{Order: Order{Locks: []string{"sw1"}}})
			rig.sleep(2*hour - 1)
			rig.is("r1", "waiting")
			rig.sleep(1)
			rig.is("r1", "failed")
			rig.because("r1", "the slot ended before it was active: waits for lock sw1, held by 1")
			rig.sleep(10 * hour)
			rig.ran("1.activate.1")
		})
	})
	t.Run("the slot ends while it is held", func(t *testing.T) {
		announced(t, nil, one(hour, 2*hour), func(rig *testRig, src *fakeSource) {
			rig.do(Hold, "r1")
			rig.sleep(2 * hour)
			rig.is("r1", "missed")
		})
	})
	t.Run("activation fails for good", func(t *testing.T) {
		announced(t, nil, one(hour, 3*hour, "sw1"), func(rig *testRig, src *fakeSource) {
			rig.script("r1", Activate, fails)
			rig.sleep(hour + 12*time.Second) // the second of two tries has just failed
			rig.is("r1", "deactivating")
			rig.sleep(time.Second)
			rig.is("r1", "failed")
			rig.because("r1", "activate attempt 2 exited with status 1")
			rig.ran("r1.activate.1 r1.activate.2 r1.deactivate.1")
		})
	})
	t.Run("it holds its devices between two tries", func(t *testing.T) {
		announced(t, nil, one(0, hour, "sw1"), func(rig *testRig, src *fakeSource) {
			rig.sleep(2 * hour)
			rig.script("r2", Activate, fails, quick)
			src.says(slot("r2", 0, hour, "sw1"))
			rig.loads(1, 0, 0, 0)
			rig.sleep(2 * time.Second)
			rig.is("r2", "waiting")
			job := rig.add(NewJob{Order: Order{Locks: []string{"sw1"}}})
			rig.because(job, "waits for lock sw1, held by r2")
			rig.sleep(minute)
			rig.is("r2", "active")
			rig.sleep(hour)
			rig.is(job, "succeeded")
		})
	})
	t.Run("missed is skipped", func(t *testing.T) {
		rs := func() []reservation.Reservation {
			r := slot("r1", hour, 3*hour)
			r.Missed = MissedSkip
			return []reservation.Reservation{r}
		}
		announced(t, nil, rs, func(rig *testRig, src *fakeSource) {
			rig.shutDown()
			rig.sleep(hour + 2*minute)
			rig.start()
			rig.is("r1", "missed")
			rig.do(Retry, "r1") // an admin decides otherwise
			rig.sleep(minute)
			rig.is("r1", "active")
		})
	})
	t.Run("missed as a whole", func(t *testing.T) {
		announced(t, nil, one(hour, 2*hour), func(rig *testRig, src *fakeSource) {
			rig.shutDown()
			rig.sleep(3 * hour)
			rig.start()
			rig.is("r1", "missed")
			rig.because("r1", "its slot ended before anything could run")
			rig.ran("")
		})
	})
	t.Run("run early", func(t *testing.T) {
		announced(t, nil, one(hour, 2*hour), func(rig *testRig, src *fakeSource) {
			rig.do(RunNow, "r1")
			rig.sleep(minute)
			rig.is("r1", "active")
			r := slot("r1", 59*minute, 3*hour) // only its end changes
			src.says(r)
			rig.loads(0, 1, 0, 0)
			rig.is("r1", "active")
			rig.sleep(4 * hour)
			rig.is("r1", "succeeded")
			rig.ran("r1.activate.1 r1.deactivate.1")
		})
	})
	t.Run("no command to undo with", func(t *testing.T) {
		announced(t, func(s *Settings) { s.Reservations.Deactivate = nil }, one(0, hour), func(rig *testRig, src *fakeSource) {
			rig.sleep(hour)
			rig.is("r1", "succeeded")
			rig.ran("r1.activate.1")
		})
	})
}

func TestStuck(t *testing.T) {
	stuck := func(t *testing.T, fn func(rig *testRig)) {
		t.Helper()
		announced(t, nil, one(0, hour, "sw1"), func(rig *testRig, src *fakeSource) {
			rig.script("r1", Deactivate, fails, fails, fails, quick)
			rig.sleep(2 * hour)
			rig.is("r1", "stuck")
			rig.because("r1", "deactivate attempt 3 exited with status 1")
			job := rig.add(NewJob{Order: Order{Locks: []string{"sw1"}}})
			rig.is(job, "waiting")
			fn(rig)
			rig.sleep(minute)
			rig.is(job, "succeeded")
		})
	}
	t.Run("retry", func(t *testing.T) {
		stuck(t, func(rig *testRig) {
			rig.do(Retry, "r1")
			rig.is("r1", "deactivating")
			rig.sleep(time.Second)
			rig.is("r1", "succeeded")
			rig.ran("r1.activate.1 r1.deactivate.1 r1.deactivate.2 r1.deactivate.3 r1.deactivate.4 1.activate.1")
		})
	})
	t.Run("forgive", func(t *testing.T) {
		stuck(t, func(rig *testRig) {
			rig.do(Forgive, "r1")
			rig.is("r1", "succeeded")
			rig.because("r1", "forgiven by root")
		})
	})
	t.Run("forgive what was moved", func(t *testing.T) {
		stuck(t, func(rig *testRig) {
			rig.srcs[0].Source.(*fakeSource).says(slot("r1", 5*hour, 6*hour, "sw1")) //nolint:forcetypeassert // announced makes it
			rig.loads(0, 1, 0, 0)
			rig.is("r1", "stuck")
			rig.do(Forgive, "r1")
			rig.is("r1", "scheduled")
			rig.because("r1", "forgiven by root; to be served again in its new slot")
			rig.sleep(10 * hour)
			rig.is("r1", "succeeded")
		})
	})
	t.Run("forgive, and the daemon dies before it tells who waits", func(t *testing.T) {
		stuck(t, func(rig *testRig) {
			rig.m.dieAfter(1)
			_, _ = rig.e.Do(context.Background(), admin, "r1", Forgive, "")
			synctest.Wait()
			rig.restart()
		})
	})
}

func TestTwoReservationsOfOneDevice(t *testing.T) {
	rs := func() []reservation.Reservation {
		return []reservation.Reservation{slot("r1", 0, hour, "sw1", "sw2"), slot("r2", hour, 2*hour, "sw2", "sw3"), slot("r3", hour, 2*hour, "sw4")}
	}
	announced(t, nil, rs, func(rig *testRig, src *fakeSource) {
		rig.script("r1", Deactivate, script{lasts: 9 * minute})
		rig.sleep(hour)
		rig.is("r1", "deactivating")
		rig.is("r2", "waiting")
		if got, want := rig.get("r2").WaitsFor, []string{"lock sw2, held by r1"}; !slices.Equal(got, want) {
			rig.t.Errorf("r2 waits for %q, want %q", got, want)
		}
		rig.is("r3", "activating")
		rig.sleep(9 * minute)
		rig.is("r1", "succeeded")
		end, start := rig.w.run(supervisor.Key{ID: "r1", Phase: Deactivate, N: 1}).result.Ended, rig.beganAt("r2", Activate, 1)
		if !start.Equal(end) {
			rig.t.Errorf("the second began at %v, the first was verified as undone at %v", start, end)
		}
	})
}
