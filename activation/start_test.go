package activation

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"activationd/internal/fault"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

func TestHoldAndRelease(t *testing.T) {
	t.Run("before its instant", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			at := time.Now().Add(hour)
			id := l.add(NewJob{At: at})
			l.do(Hold, id)
			l.is(id, "held")
			l.do(Release, id)
			l.is(id, "scheduled")
			l.sleep(2 * hour)
			if began := l.beganAt(id, Activate, 1); !began.Equal(at) {
				l.t.Errorf("it began at %v, want %v", began, at)
			}
		})
	})
	for _, missed := range []string{MissedRun, MissedSkip} {
		t.Run("past its instant, missed="+missed, func(t *testing.T) {
			bubble(t, nil, func(l *lab) {
				id := l.add(NewJob{At: time.Now().Add(hour), Missed: missed, Hold: true})
				l.sleep(100 * hour)
				l.is(id, "held")
				l.do(Release, id)
				l.is(id, "activating") // whoever releases it wants it to run
			})
		})
	}
	t.Run("what waits is held and loses its place", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			l.script("1", Activate, long)
			l.add(NewJob{Locks: []string{"a"}})
			second, third := l.add(NewJob{Locks: []string{"a"}}), l.add(NewJob{Locks: []string{"a"}})
			l.do(Hold, second)
			l.sleep(hour)
			l.is(second, "held")
			l.is(third, "activating")
		})
	})
	t.Run("what runs cannot be held", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			id := l.add(NewJob{})
			if _, err := l.e.Do(context.Background(), admin, id, Hold, ""); !errors.Is(err, fault.Conflict) {
				l.t.Errorf("Do(Hold) of what runs: %v, want a conflict", err)
			}
		})
	})
}

func TestRunNow(t *testing.T) {
	arm := func(s *Settings) { s.ArmAhead = 50 * time.Millisecond }
	t.Run("scheduled", func(t *testing.T) {
		bubble(t, arm, func(l *lab) {
			id := l.add(NewJob{At: time.Now().Add(hour)})
			now := time.Now()
			l.do(RunNow, id)
			l.is(id, "activating")
			if began := l.beganAt(id, Activate, 1); !began.Equal(now) {
				l.t.Errorf("it began at %v, want %v", began, now)
			}
		})
	})
	t.Run("a moment before its instant", func(t *testing.T) {
		bubble(t, func(s *Settings) { s.ArmAhead = time.Second }, func(l *lab) {
			l.script("1", Activate, hangs)
			l.add(NewJob{Locks: []string{"a"}})
			id := l.add(NewJob{At: time.Now().Add(hour), Locks: []string{"a"}})
			l.sleep(hour - 500*time.Millisecond) // in line, and not late yet
			l.do(RunNow, id)
			l.because(id, "waits for lock a, held by 1")
			l.do(Cancel, "1")
			l.sleep(minute)
			l.is(id, "succeeded")
		})
	})
	t.Run("held", func(t *testing.T) {
		bubble(t, arm, func(l *lab) {
			id := l.add(NewJob{At: time.Now().Add(hour), Hold: true})
			l.do(RunNow, id)
			l.is(id, "activating")
		})
	})
	t.Run("between two tries", func(t *testing.T) {
		bubble(t, arm, func(l *lab) {
			l.script("1", Activate, fails, quick)
			id := l.add(NewJob{Retries: new(1)})
			l.sleep(2 * time.Second)
			l.is(id, "waiting")
			l.do(RunNow, id)
			l.is(id, "activating")
		})
	})
}

func TestWhatDoesNotStart(t *testing.T) {
	t.Run("uses up no try, and backs off", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			no := script{noStart: errors.New("no more processes")}
			l.script("1", Activate, no, no, no, fails, quick)
			id := l.add(NewJob{Retries: new(1)})
			l.is(id, "waiting") // the second a second later, the third after two more
			l.because(id, "activate attempt 1 did not start: no more processes; the next try is due at "+stamp(time.Now().Add(time.Second)))
			l.sleep(7 * time.Second)
			l.is(id, "activating")
			l.sleep(minute)
			l.is(id, "succeeded")
			l.ran("1.activate.4 1.activate.5")
		})
	})
	t.Run("and never can, is no more tried than what fails", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			l.script("1", Activate, script{noStart: fault.Invalid})
			id := l.add(NewJob{})
			l.is(id, "failed")
			if a := l.get(id).Attempts[0]; a.Result.Reason != wrapper.Failed || a.Result.Exit != 126 {
				l.t.Errorf("result %+v, want failed with 126", a.Result)
			}
		})
	})
	// The settings' own pauses have no part in it, and there is no end of it but the
	// deadline's or the slot's.
	t.Run("is tried after 1, 2, 4 and at most 60 s, until the deadline", func(t *testing.T) {
		bubble(t, func(s *Settings) { s.Jobs.BackoffFirst, s.Jobs.BackoffMax = hour, 0 }, func(l *lab) {
			l.script("1", Activate, script{noStart: errors.New("no space left on device")})
			began := time.Now()
			var tried []time.Duration
			l.w.starts = func(supervisor.Key) error { tried = append(tried, time.Since(began)); return nil }
			id := l.add(NewJob{Retries: new(0), Deadline: began.Add(5 * minute)})
			l.sleep(4*minute + 30*time.Second)
			l.is(id, "waiting")
			l.because(id, "activate attempt 10 did not start: no space left on device; the next try is due at "+stamp(began.Add(303*time.Second)))
			l.sleep(minute)
			l.is(id, "missed") // it has not begun
			l.because(id, "its deadline passed at "+stamp(began.Add(5*minute))+", and it had not begun: it was waiting: activate attempt 10 did not start: no space left on device")
			const s = time.Second
			if want := []time.Duration{0, 1 * s, 3 * s, 7 * s, 15 * s, 31 * s, 63 * s, 123 * s, 183 * s, 243 * s}; !slices.Equal(tried, want) {
				l.t.Errorf("tried after %v, want %v", tried, want)
			}
			if a := l.get(id).Attempts; len(a) != 1 {
				l.t.Errorf("%d attempts are kept of those that did not start, want the last: %+v", len(a), a)
			}
		})
	})
	t.Run("is tried until the slot's end, and leaves nothing to be undone", func(t *testing.T) {
		announced(t, nil, one(minute, hour, "sw1"), func(l *lab, _ *fakeSource) {
			l.script("r1", Activate, script{noStart: errors.New("no space left on device")})
			other := func() string { return l.add(NewJob{Locks: []string{"sw1"}}) }
			l.sleep(10*minute + 500*time.Millisecond)
			l.is("r1", "waiting")
			l.sound()
			id := other() // meanwhile its devices are free
			l.sleep(10 * minute)
			l.is(id, "succeeded")
			l.sleep(hour)
			l.is("r1", "failed")
			l.ran(id + ".activate.1")
		})
	})
	t.Run("is tried again for a deactivation, which never gets stuck of it", func(t *testing.T) {
		announced(t, nil, one(0, hour, "sw1"), func(l *lab, _ *fakeSource) {
			no := script{noStart: errors.New("no space left on device")}
			l.script("r1", Deactivate, slices.Repeat([]script{no}, 100)...)
			l.sleep(2 * hour)
			l.is("r1", "deactivating")
			l.script("r1", Deactivate, quick)
			l.sleep(minute)
			l.is("r1", "succeeded")
		})
	})
	t.Run("does not have what failed before forgotten", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			no := script{noStart: errors.New("no more processes")}
			l.script("1", Activate, fails, no, no, fails, no, fails)
			id := l.add(NewJob{Retries: new(1)})
			l.sleep(hour)
			l.is(id, "failed")
			l.ran("1.activate.1 1.activate.4")
		})
	})
	t.Run("for want of a backoff does not spin", func(t *testing.T) {
		bubble(t, func(s *Settings) { s.Jobs.BackoffFirst = 0 }, func(l *lab) {
			l.script("1", Activate, script{noStart: errors.New("no more processes")})
			id := l.add(NewJob{})
			l.sleep(minute)
			if n := l.get(id).Ns[0]; n > 65 {
				l.t.Errorf("%d attempts in a minute", n)
			}
			l.do(Cancel, id)
		})
	})
}

// TestVoid has scripts run of which nothing tells afterwards: they remove what would.
// They are not started again and again: three more times, and then the attempt is lost,
// which costs a try.
func TestVoid(t *testing.T) {
	void := script{reason: wrapper.Void, exit: -1, lasts: time.Second}
	t.Run("a job without retries", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			l.script("1", Activate, void)
			id := l.add(NewJob{Retries: new(0)})
			l.sleep(hour)
			l.is(id, "lost")
			l.ran("1.activate.1 1.activate.2 1.activate.3 1.activate.4")
			if a := l.get(id).Attempts[3].Result; a.Reason != wrapper.Lost {
				l.t.Errorf("the last attempt is %+v, want lost", a)
			}
		})
	})
	t.Run("a job with a retry", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			l.script("1", Activate, void)
			id := l.add(NewJob{Retries: new(1)})
			l.sleep(10 * hour)
			l.is(id, "lost")
			if n := len(l.w.order); n != 8 {
				l.t.Errorf("it ran %d times, want 8", n)
			}
		})
	})
	t.Run("with starts that fail between", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			no := script{noStart: errors.New("no more processes")}
			l.script("1", Activate, void, no, void, no, no, void, no, void, quick)
			id := l.add(NewJob{Retries: new(0)})
			l.sleep(hour)
			l.is(id, "lost")
		})
	})
	t.Run("one that goes well in the end", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			l.script("1", Activate, void, void, void, quick)
			id := l.add(NewJob{Retries: new(0)})
			l.sleep(hour)
			l.is(id, "succeeded")
		})
	})
	t.Run("a reservation is undone: that nothing shows a start is no proof that there was none", func(t *testing.T) {
		announced(t, func(s *Settings) { s.Reservations.Retries = 0 }, one(0, hour, "sw1"), func(l *lab, _ *fakeSource) {
			l.script("r1", Activate, void)
			l.sleep(2 * time.Second)
			l.do(Cancel, "r1")
			l.sleep(hour)
			l.is("r1", "cancelled")
			if last := l.w.order[len(l.w.order)-1]; last.Phase != Deactivate {
				l.t.Errorf("%v ran, the last of them is to be a deactivation", l.w.order)
			}
		})
	})
	t.Run("a deactivation gets stuck", func(t *testing.T) {
		announced(t, func(s *Settings) { s.Reservations.UndoRetries = 0 }, one(0, hour, "sw1"), func(l *lab, _ *fakeSource) {
			l.script("r1", Deactivate, void)
			l.sleep(3 * hour)
			l.is("r1", "stuck")
			if n := l.get("r1").Ns[1]; n != 4 {
				l.t.Errorf("%d attempts to undo it, want 4", n)
			}
		})
	})
}

func TestArmedStart(t *testing.T) {
	arm := func(s *Settings) { s.ArmAhead = time.Second }
	armed := func(t *testing.T, missed string, fn func(l *lab, id string, at time.Time)) {
		t.Helper()
		bubble(t, arm, func(l *lab) {
			at := time.Now().Add(hour)
			id := l.add(NewJob{At: at, Missed: missed})
			l.sleep(hour - time.Second)
			l.is(id, "activating")
			l.ran("")
			fn(l, id, at)
		})
	}
	t.Run("begins at its instant", func(t *testing.T) {
		armed(t, "", func(l *lab, id string, at time.Time) {
			l.sleep(time.Second)
			if began := l.beganAt(id, Activate, 1); !began.Equal(at) {
				l.t.Errorf("it began at %v, want %v", began, at)
			}
		})
	})
	t.Run("is disarmed by cancel", func(t *testing.T) {
		armed(t, "", func(l *lab, id string, at time.Time) {
			l.do(Cancel, id)
			l.is(id, "cancelled")
			l.sleep(hour)
			l.ran("")
		})
	})
	t.Run("is disarmed by hold", func(t *testing.T) {
		armed(t, MissedSkip, func(l *lab, id string, at time.Time) {
			l.do(Hold, id)
			l.is(id, "held")
			l.sleep(hour)
			l.ran("")
			l.do(Release, id)
			l.sleep(hour)
			l.is(id, "succeeded")
		})
	})
	t.Run("is held at the last moment", func(t *testing.T) {
		bubble(t, arm, func(l *lab) {
			l.script("1", Activate, script{late: true, lasts: minute}, quick)
			id := l.add(NewJob{At: time.Now().Add(hour)})
			l.sleep(hour - time.Second)
			l.do(Hold, id)
			l.sleep(hour)
			l.is(id, "held") // though it has no second try
			l.do(Release, id)
			l.sleep(minute)
			l.is(id, "succeeded")
		})
	})
	t.Run("is disarmed when the clock is set back", func(t *testing.T) {
		bubble(t, arm, func(l *lab) {
			// The bubble's clock cannot be set: it is as if this one had been, by
			// half an hour, when the wrapper says so.
			at := time.Now().Add(hour)
			id := l.add(NewJob{At: at})
			l.sleep(hour - time.Second)
			l.set.ArmAhead = 0
			l.e.Configure(l.set) // a second is more than the time to arm now
			l.w.mu.Lock()
			l.w.end(l.w.runs[supervisor.Key{ID: id, Phase: Activate, N: 1}], wrapper.Disarmed, -1)
			l.w.mu.Unlock()
			synctest.Wait()
			l.is(id, "scheduled")
			l.sleep(hour)
			l.is(id, "succeeded")
			l.ran("1.activate.2")
			if began := l.beganAt(id, Activate, 2); !began.Equal(at) {
				l.t.Errorf("it began at %v, want %v", began, at)
			}
		})
	})
}
