package activation

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"activationd/internal/fault"
	"activationd/reservation"
	"activationd/supervisor"
)

// announced runs a scenario with one source, which announces rs.
func announced(t *testing.T, set func(*Settings), rs func() []reservation.Reservation, fn func(l *lab, src *fakeSource)) {
	t.Helper()
	bubble(t, set, func(l *lab) {
		src := l.source("lab")
		some := rs()
		src.says(some...)
		l.loads(len(some), 0, 0, 0)
		fn(l, src)
	})
}

func one(from, to time.Duration, devices ...string) func() []reservation.Reservation {
	return func() []reservation.Reservation { return []reservation.Reservation{slot("r1", from, to, devices...)} }
}

func TestReservation(t *testing.T) {
	t.Run("a whole life", func(t *testing.T) {
		announced(t, nil, one(hour, 3*hour, "sw1"), func(l *lab, src *fakeSource) {
			start := time.Now().Add(hour)
			l.is("r1", "scheduled")
			l.sleep(hour)
			l.is("r1", "activating")
			l.sleep(minute)
			l.is("r1", "active")
			l.because("r1", "")
			l.sleep(2 * hour)
			l.is("r1", "succeeded")
			l.because("r1", "the slot has ended")
			l.ran("r1.activate.1 r1.deactivate.1")
			if at := l.beganAt("r1", Activate, 1); !at.Equal(start) {
				l.t.Errorf("activated at %v, want %v", at, start)
			}
			if at := l.beganAt("r1", Deactivate, 1); !at.Equal(start.Add(2 * hour)) {
				l.t.Errorf("deactivated at %v, want %v", at, start.Add(2*hour))
			}
		})
	})
	t.Run("lead and tail", func(t *testing.T) {
		rs := func() []reservation.Reservation {
			r := slot("r1", hour, 3*hour)
			r.Lead, r.Tail = new(10*minute), new(5*minute)
			return []reservation.Reservation{r}
		}
		announced(t, nil, rs, func(l *lab, src *fakeSource) {
			now := time.Now()
			l.sleep(4 * hour)
			l.is("r1", "succeeded")
			if got := l.beganAt("r1", Activate, 1).Sub(now); got != 50*minute {
				l.t.Errorf("activated after %v, want 50m", got)
			}
			if got := l.beganAt("r1", Deactivate, 1).Sub(now); got != 175*minute {
				l.t.Errorf("deactivated after %v, want 2h55m", got)
			}
		})
	})
	t.Run("its slot runs already", func(t *testing.T) {
		announced(t, nil, one(-hour, hour), func(l *lab, src *fakeSource) {
			l.is("r1", "activating")
			l.sleep(2 * hour)
			l.is("r1", "succeeded")
		})
	})
	t.Run("its slot is over", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			l.source("lab").says(slot("r1", -2*hour, -hour))
			l.loads(0, 0, 0, 0)
			if _, err := l.e.Get(context.Background(), "r1"); !errors.Is(err, fault.NotFound) {
				l.t.Errorf("Get: %v", err)
			}
		})
	})
	t.Run("the slot ends while it is activated", func(t *testing.T) {
		announced(t, nil, one(0, minute, "sw1"), func(l *lab, src *fakeSource) {
			l.script("r1", Activate, script{hangs: true, onStop: 3 * time.Second})
			// announced() has started it with the script of before: again, with another.
			l.sleep(2 * minute)
			src.says(slot("r1", minute, 2*minute, "sw1"))
			l.loads(0, 1, 0, 0)
			l.sleep(2 * minute)
			l.is("r1", "activating")
			l.because("r1", "the slot ended before it was active")
			l.sleep(3 * time.Second)
			l.is("r1", "deactivating")
			l.sleep(minute)
			l.is("r1", "failed")
			l.because("r1", "the slot ended before it was active")
			l.ran("r1.activate.1 r1.deactivate.1 r1.activate.2 r1.deactivate.2")
		})
	})
	t.Run("the slot ends while it waits", func(t *testing.T) {
		announced(t, nil, one(hour, 2*hour, "sw1"), func(l *lab, src *fakeSource) {
			l.script("1", Activate, script{lasts: 10 * hour})
			l.add(NewJob{Locks: []string{"sw1"}})
			l.sleep(2*hour - 1)
			l.is("r1", "waiting")
			l.sleep(1)
			l.is("r1", "failed")
			l.because("r1", "the slot ended before it was active: waits for lock sw1, held by 1")
			l.sleep(10 * hour)
			l.ran("1.activate.1")
		})
	})
	t.Run("the slot ends while it is held", func(t *testing.T) {
		announced(t, nil, one(hour, 2*hour), func(l *lab, src *fakeSource) {
			l.do(Hold, "r1")
			l.sleep(2 * hour)
			l.is("r1", "missed")
		})
	})
	t.Run("activation fails for good", func(t *testing.T) {
		announced(t, nil, one(hour, 3*hour, "sw1"), func(l *lab, src *fakeSource) {
			l.script("r1", Activate, fails)
			l.sleep(hour + 12*time.Second) // the second of two tries has just failed
			l.is("r1", "deactivating")
			l.sleep(time.Second)
			l.is("r1", "failed")
			l.because("r1", "activate attempt 2 exited with status 1")
			l.ran("r1.activate.1 r1.activate.2 r1.deactivate.1")
		})
	})
	t.Run("it holds its devices between two tries", func(t *testing.T) {
		announced(t, nil, one(0, hour, "sw1"), func(l *lab, src *fakeSource) {
			l.sleep(2 * hour)
			l.script("r2", Activate, fails, quick)
			src.says(slot("r2", 0, hour, "sw1"))
			l.loads(1, 0, 0, 0)
			l.sleep(2 * time.Second)
			l.is("r2", "waiting")
			job := l.add(NewJob{Locks: []string{"sw1"}})
			l.because(job, "waits for lock sw1, held by r2")
			l.sleep(minute)
			l.is("r2", "active")
			l.sleep(hour)
			l.is(job, "succeeded")
		})
	})
	t.Run("missed is skipped", func(t *testing.T) {
		rs := func() []reservation.Reservation {
			r := slot("r1", hour, 3*hour)
			r.Missed = MissedSkip
			return []reservation.Reservation{r}
		}
		announced(t, nil, rs, func(l *lab, src *fakeSource) {
			l.shutDown()
			l.sleep(hour + 2*minute)
			l.start()
			l.is("r1", "missed")
			l.do(Retry, "r1") // an admin decides otherwise
			l.sleep(minute)
			l.is("r1", "active")
		})
	})
	t.Run("missed as a whole", func(t *testing.T) {
		announced(t, nil, one(hour, 2*hour), func(l *lab, src *fakeSource) {
			l.shutDown()
			l.sleep(3 * hour)
			l.start()
			l.is("r1", "missed")
			l.because("r1", "its slot was over before anything could run")
			l.ran("")
		})
	})
	t.Run("run early", func(t *testing.T) {
		announced(t, nil, one(hour, 2*hour), func(l *lab, src *fakeSource) {
			l.do(RunNow, "r1")
			l.sleep(minute)
			l.is("r1", "active")
			r := slot("r1", 59*minute, 3*hour) // only its end is another
			src.says(r)
			l.loads(0, 1, 0, 0)
			l.is("r1", "active")
			l.sleep(4 * hour)
			l.is("r1", "succeeded")
			l.ran("r1.activate.1 r1.deactivate.1")
		})
	})
	t.Run("no command to undo with", func(t *testing.T) {
		announced(t, func(s *Settings) { s.Reservations.Deactivate = nil }, one(0, hour), func(l *lab, src *fakeSource) {
			l.sleep(hour)
			l.is("r1", "succeeded")
			l.ran("r1.activate.1")
		})
	})
}

func TestStuck(t *testing.T) {
	stuck := func(t *testing.T, fn func(l *lab)) {
		t.Helper()
		announced(t, nil, one(0, hour, "sw1"), func(l *lab, src *fakeSource) {
			l.script("r1", Deactivate, fails, fails, fails, quick)
			l.sleep(2 * hour)
			l.is("r1", "stuck")
			l.because("r1", "deactivate attempt 3 exited with status 1")
			job := l.add(NewJob{Locks: []string{"sw1"}})
			l.is(job, "waiting")
			fn(l)
			l.sleep(minute)
			l.is(job, "succeeded")
		})
	}
	t.Run("retry", func(t *testing.T) {
		stuck(t, func(l *lab) {
			l.do(Retry, "r1")
			l.is("r1", "deactivating")
			l.sleep(time.Second)
			l.is("r1", "succeeded")
			l.ran("r1.activate.1 r1.deactivate.1 r1.deactivate.2 r1.deactivate.3 r1.deactivate.4 1.activate.1")
		})
	})
	t.Run("forgive", func(t *testing.T) {
		stuck(t, func(l *lab) {
			l.do(Forgive, "r1")
			l.is("r1", "succeeded")
			l.because("r1", "forgiven by root")
		})
	})
	t.Run("forgive what was moved", func(t *testing.T) {
		stuck(t, func(l *lab) {
			l.srcs[0].Source.(*fakeSource).says(slot("r1", 5*hour, 6*hour, "sw1")) //nolint:forcetypeassert // announced makes it
			l.loads(0, 1, 0, 0)
			l.is("r1", "stuck")
			l.do(Forgive, "r1")
			l.is("r1", "scheduled")
			l.because("r1", "forgiven by root; to be served again in its new slot")
			l.sleep(10 * hour)
			l.is("r1", "succeeded")
		})
	})
	t.Run("forgive, and the daemon dies before it tells who waits", func(t *testing.T) {
		stuck(t, func(l *lab) {
			l.m.dieAfter(1)
			_, _ = l.e.Do(context.Background(), admin, "r1", Forgive, "")
			synctest.Wait()
			l.restart()
		})
	})
}

func TestTwoReservationsOfOneDevice(t *testing.T) {
	rs := func() []reservation.Reservation {
		return []reservation.Reservation{slot("r1", 0, hour, "sw1", "sw2"), slot("r2", hour, 2*hour, "sw2", "sw3"), slot("r3", hour, 2*hour, "sw4")}
	}
	announced(t, nil, rs, func(l *lab, src *fakeSource) {
		l.script("r1", Deactivate, script{lasts: 9 * minute})
		l.sleep(hour)
		l.is("r1", "deactivating")
		l.is("r2", "waiting")
		if got, want := l.get("r2").WaitsFor, []string{"lock sw2, held by r1"}; !slices.Equal(got, want) {
			l.t.Errorf("r2 waits for %q, want %q", got, want)
		}
		l.is("r3", "activating")
		l.sleep(9 * minute)
		l.is("r1", "succeeded")
		end, start := l.w.run(supervisor.Key{ID: "r1", Phase: Deactivate, N: 1}).result.Ended, l.beganAt("r2", Activate, 1)
		if !start.Equal(end) {
			l.t.Errorf("the second began at %v, the first was proved undone at %v", start, end)
		}
	})
}
