package activation

import (
	"context"
	"errors"
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
			l.is(id, "waiting") // the second at once, the third 10 s later
			l.because(id, "activate attempt 2 did not start: no more processes; the next try is due at "+stamp(time.Now().Add(10*time.Second)))
			l.sleep(30 * time.Second)
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
