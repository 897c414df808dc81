package activation

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"activationd/internal/fault"
	"activationd/store/bolt"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// bubble runs a scenario in a bubble, and checks in the end that all is sound.
func bubble(t *testing.T, set func(*Settings), fn func(l *lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, set)
		fn(l)
		synctest.Wait()
		l.sound()
	})
}

var (
	fails = script{lasts: time.Second, exit: 1}
	hangs = script{hangs: true, onStop: time.Second}
	long  = script{lasts: hour}
	quick = script{lasts: time.Second}
)

func TestJobRunsAtItsInstant(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		at := time.Now().Add(3*hour + 7*time.Nanosecond)
		id := l.add(NewJob{At: at})
		l.is(id, "scheduled")
		l.because(id, "")
		l.sleep(4 * hour)
		l.is(id, "succeeded")
		if began := l.beganAt(id, Activate, 1); !began.Equal(at) {
			l.t.Errorf("it began at %v, want %v", began, at)
		}
		if l.alarm.rings > 1 {
			l.t.Errorf("the alarm rang %d times for one job", l.alarm.rings)
		}
	})
}

func TestJobOnARealStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, err := bolt.Open(t.TempDir() + "/state.db")
		if err != nil {
			t.Fatal(err)
		}
		l := &lab{t: t, db: db, w: newWorld(), boot: "boot1", set: testSettings()}
		l.start()
		src := l.source("lab")
		src.says(slot("r1", minute, hour, "sw1"))
		l.loads(1, 0, 0, 0)
		id := l.add(NewJob{Locks: []string{"sw1"}, At: time.Now().Add(2 * minute)})
		l.sleep(90 * time.Second)
		l.restart()
		l.is("r1", "active")
		l.sleep(hour)
		l.is("r1", "succeeded")
		l.is(id, "succeeded")
		l.ran("r1.activate.1 r1.deactivate.1 1.activate.1")
		l.sound()
		l.shutDown()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestImmediateJob(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		id := l.add(NewJob{})
		l.is(id, "activating")
		l.sleep(time.Second)
		l.is(id, "succeeded")
		l.because(id, "activate attempt 1 exited with status 0")
	})
}

// Between the end of a turn's transaction and its setting of the alarm a job
// may be added that is due before that: the turn has not seen it.
func TestAddWhileTheAlarmIsBeingSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lab{t: t, mem: newMemStore(), w: newWorld(), boot: "boot1", set: testSettings()}
		l.db = l.mem
		var armed atomic.Bool
		id := ""
		l.after = func() {
			if armed.CompareAndSwap(true, false) {
				done := make(chan struct{})
				go func() {
					defer close(done)
					added, err := l.e.Add(context.Background(), []NewJob{{Argv: []string{"true"}, At: time.Now().Add(minute)}})
					if err != nil {
						t.Error(err)
						return
					}
					id = added[0].ID
				}()
				<-done
			}
		}
		l.start()
		defer l.shutDown()
		first := l.add(NewJob{At: time.Now().Add(time.Second)})
		l.add(NewJob{At: time.Now().Add(24 * hour)})
		time.Sleep(time.Second - time.Nanosecond)
		synctest.Wait()
		armed.Store(true) // the next transaction is the turn that starts the first
		l.sleep(2 * minute)
		l.is(first, "succeeded")
		l.is(id, "succeeded")
		l.sound()
	})
}

func TestRetriesAndBackoff(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		l.script("1", Activate, fails, fails, quick)
		id := l.add(NewJob{Retries: new(3)})
		l.sleep(time.Second)
		l.is(id, "waiting")
		l.because(id, "activate attempt 1 exited with status 1; the next try is due at "+stamp(time.Now().Add(10*time.Second)))
		l.sleep(hour)
		l.is(id, "succeeded")
		first := l.beganAt(id, Activate, 1)
		for n, want := range map[int]time.Duration{2: 11 * time.Second, 3: 32 * time.Second} { // after 10 s, then 20 s
			if got := l.beganAt(id, Activate, n).Sub(first); got != want {
				l.t.Errorf("attempt %d began after %v, want %v", n, got, want)
			}
		}
	})
}

func TestNoTryIsLeft(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		l.script("1", Activate, fails)
		id := l.add(NewJob{Retries: new(1)})
		l.sleep(hour)
		l.is(id, "failed")
		l.because(id, "activate attempt 2 exited with status 1")
		l.ran("1.activate.1 1.activate.2")
	})
}

func TestTimeout(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		l.script("1", Activate, hangs)
		id := l.add(NewJob{Timeout: new(minute)})
		l.sleep(minute)
		l.is(id, "timed_out")
	})
}

func TestCancel(t *testing.T) {
	t.Run("scheduled", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			id := l.add(NewJob{At: time.Now().Add(minute)})
			l.do(Cancel, id)
			l.is(id, "cancelled")
			l.sleep(hour)
			l.ran("")
		})
	})
	t.Run("waiting", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			l.script("1", Activate, long)
			l.add(NewJob{Locks: []string{"a"}})
			second := l.add(NewJob{Locks: []string{"a", "b"}})
			third := l.add(NewJob{Locks: []string{"b"}})
			l.is(third, "waiting")
			l.because(third, "waits for lock b, next for 2")
			l.do(Cancel, second)
			l.is(second, "cancelled")
			l.is(third, "activating") // it was behind the second, not behind the first
		})
	})
	t.Run("activating", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			l.script("1", Activate, hangs)
			id := l.add(NewJob{})
			l.do(Cancel, id)
			l.is(id, "activating")
			l.do(Cancel, id) // again
			l.sleep(time.Second)
			l.is(id, "cancelled")
			l.because(id, "cancelled by root")
			l.ran("1.activate.1")
		})
	})
	t.Run("what succeeds all the same has succeeded", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			l.script("1", Activate, script{lasts: minute, ignores: true})
			id := l.add(NewJob{})
			l.do(Cancel, id)
			l.sleep(minute)
			l.is(id, "succeeded")
		})
	})
	t.Run("finished", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			id := l.add(NewJob{})
			l.sleep(minute)
			if _, err := l.e.Do(context.Background(), admin, id, Cancel, ""); !errors.Is(err, fault.Conflict) {
				l.t.Errorf("Do(Cancel) of what is finished: %v, want a conflict", err)
			}
		})
	})
}

func TestOnlyOwn(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		id := l.add(NewJob{At: time.Now().Add(minute), Owner: "ada"})
		for name, want := range map[string]error{"bob": fault.Denied, "ada": nil} {
			if _, err := l.e.Do(context.Background(), By{Name: name, OnlyOwn: true}, id, Hold, ""); !errors.Is(err, want) {
				l.t.Errorf("Do(Hold) by %s: %v, want %v", name, err, want)
			}
		}
		if _, err := l.e.Do(context.Background(), admin, "77", Hold, ""); !errors.Is(err, fault.NotFound) {
			l.t.Errorf("Do of what is not there: %v", err)
		}
	})
}

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

func TestRetryAJob(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		l.script("1", Activate, fails, quick)
		at := time.Now().Add(minute)
		id := l.add(NewJob{At: at, Missed: MissedSkip})
		l.sleep(10 * hour)
		l.is(id, "failed")
		l.do(Retry, id)
		l.sleep(minute)
		l.is(id, "succeeded")
		if got := l.get(id).Start; !got.Equal(at) {
			l.t.Errorf("Start has become %v, was %v", got, at)
		}
		if _, err := l.e.Do(context.Background(), admin, id, Retry, ""); !errors.Is(err, fault.Conflict) {
			l.t.Errorf("Retry of what succeeded: %v, want a conflict", err)
		}
	})
}

func TestMissed(t *testing.T) {
	tests := []struct {
		name   string
		missed string
		down   time.Duration // over an instant that is a minute away
		want   string
	}{
		{"within the grace", MissedRun, hour, "succeeded"},
		{"beyond the grace", MissedRun, 2*hour + minute, "missed"},
		{"to be skipped", MissedSkip, hour, "missed"},
		{"to be skipped, but in time", MissedSkip, minute + 30*time.Second, "succeeded"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, nil, func(l *lab) {
				id := l.add(NewJob{At: time.Now().Add(minute), Missed: tt.missed})
				l.shutDown()
				l.sleep(tt.down)
				l.start()
				l.sleep(minute)
				l.is(id, tt.want)
			})
		})
	}
}

func TestWaitLimit(t *testing.T) {
	bubble(t, func(s *Settings) { s.Jobs.WaitLimit = 10 * minute }, func(l *lab) {
		l.script("1", Activate, long)
		l.add(NewJob{Locks: []string{"a"}})
		id := l.add(NewJob{Locks: []string{"a"}})
		l.sleep(10*minute - 1)
		l.is(id, "waiting")
		l.sleep(1)
		l.is(id, "failed")
		l.because(id, "it waited longer than it may: waits for lock a, held by 1")
	})
}

func TestMaxParallel(t *testing.T) {
	bubble(t, func(s *Settings) { s.MaxParallel = 2 }, func(l *lab) {
		for range 6 {
			l.add(NewJob{})
			l.sleep(time.Millisecond)
		}
		l.is("2", "activating")
		l.is("3", "waiting")
		l.because("3", "waits for a free slot: 2 run")
		l.sleep(minute)
		l.ran("1.activate.1 2.activate.1 3.activate.1 4.activate.1 5.activate.1 6.activate.1")
		for n := 2; n < 6; n++ {
			first, next := l.beganAt("1", Activate, 1), l.beganAt(string(rune('1'+n)), Activate, 1)
			if next.Sub(first) < time.Duration(n/2)*time.Second {
				l.t.Errorf("%d began at %v: more than two at once", n+1, next.Sub(first))
			}
		}
	})
}

// Who becomes due at the instant at which a slot becomes free is behind those in
// line.
func TestNobodyOvertakes(t *testing.T) {
	bubble(t, func(s *Settings) { s.MaxParallel = 1 }, func(l *lab) {
		l.add(NewJob{})
		l.add(NewJob{At: time.Now().Add(time.Second)})
		l.add(NewJob{})
		l.sleep(minute)
		l.ran("1.activate.1 3.activate.1 2.activate.1")
	})
}

// Who is in line for a slot may go away without having it: the next one's turn
// has come then.
func TestFirstInLineGoes(t *testing.T) {
	bubble(t, func(s *Settings) { s.MaxParallel = 1; s.Jobs.WaitLimit = time.Second }, func(l *lab) {
		l.script("1", Activate, quick)
		l.add(NewJob{})
		second := l.add(NewJob{Locks: []string{"a"}})
		l.sleep(500 * time.Millisecond)
		third := l.add(NewJob{Locks: []string{"a"}})
		l.sleep(500 * time.Millisecond) // the slot is free at the instant at which the second expires
		l.is(third, "activating")
		l.is(second, "failed")
	})
}

func TestLocksAreFirstComeFirstServed(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		for range 5 { // each wants what the others want, in all orders
			l.add(NewJob{Locks: []string{"a", "b", "c"}})
			l.add(NewJob{Locks: []string{"c", "a"}})
			l.add(NewJob{Locks: []string{"b", "c"}})
		}
		l.sleep(minute)
		want := "1.activate.1"
		for n := 2; n <= 15; n++ {
			want += " " + supervisor.Key{ID: l.get(itoa(n)).ID, Phase: Activate, N: 1}.String()
		}
		l.ran(want)
	})
}

func TestBigJobDoesNotStarve(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		l.w.scripts = func(supervisor.Key) script { return script{lasts: 10 * time.Second} }
		l.add(NewJob{Locks: []string{"a"}})
		l.sleep(5 * time.Second)
		l.add(NewJob{Locks: []string{"b"}})
		big := l.add(NewJob{Locks: []string{"a", "b"}})
		for range 20 { // they come and come
			l.add(NewJob{Locks: []string{"a"}})
			l.add(NewJob{Locks: []string{"b"}})
			l.sleep(time.Second)
		}
		if began := l.beganAt(big, Activate, 1).Sub(l.beganAt("1", Activate, 1)); began != 15*time.Second {
			l.t.Errorf("it began after %v, want 15 s", began)
		}
		l.sleep(1000 * time.Second)
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

func TestLostRun(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		l.script("1", Activate, long)
		l.script("2", Activate, long)
		once, twice := l.add(NewJob{}), l.add(NewJob{Retries: new(1)})
		l.w.kill(supervisor.Key{ID: once, Phase: Activate, N: 1})
		l.w.kill(supervisor.Key{ID: twice, Phase: Activate, N: 1})
		synctest.Wait()
		l.is(once, "lost")
		l.is(twice, "waiting")
		l.sleep(2 * hour)
		l.is(twice, "succeeded")
	})
}

func TestDaemonDies(t *testing.T) {
	t.Run("a run goes on and is adopted", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			l.script("1", Activate, long)
			id := l.add(NewJob{})
			l.restart()
			l.is(id, "activating")
			l.sleep(hour)
			l.is(id, "succeeded")
			l.ran("1.activate.1")
		})
	})
	t.Run("a run that ended meanwhile is recorded", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			id := l.add(NewJob{})
			l.shutDown()
			l.sleep(minute)
			l.start()
			l.is(id, "succeeded")
		})
	})
	// Whatever call it dies in, before or after it: the job runs, and runs once.
	for calls := range 16 {
		t.Run("after "+itoa(calls)+" calls", func(t *testing.T) {
			bubble(t, func(s *Settings) { s.Keep = minKeep }, func(l *lab) {
				l.add(NewJob{At: time.Now().Add(minute)})
				l.m.dieAfter(calls)
				l.sleep(minute + time.Second)
				l.restart()
				l.sleep(30 * time.Second)
				l.is("1", "succeeded")
				if len(l.w.order) != 1 {
					l.t.Errorf("began: %v", l.w.order)
				}
				l.m.dieAfter(calls)
				l.sleep(hour) // its history is pruned
				l.restart()
				l.sleep(hour)
				if len(l.w.runs) != 0 {
					l.t.Errorf("evidence is left: %v", l.w.runs)
				}
				if _, err := l.e.Get(context.Background(), "1"); !errors.Is(err, fault.NotFound) {
					l.t.Errorf("Get of what was pruned: %v", err)
				}
			})
		})
	}
}

func TestCancelIsNotForgottenByACrash(t *testing.T) {
	for calls := range 5 {
		t.Run(itoa(calls), func(t *testing.T) {
			bubble(t, nil, func(l *lab) {
				l.script("1", Activate, hangs)
				id := l.add(NewJob{})
				_, _ = l.e.Do(context.Background(), admin, id, Cancel, "")
				l.m.dieAfter(calls) // in the turn that stops it
				synctest.Wait()
				l.restart()
				if v := l.get(id); v.Ending == "" && v.State != Finished {
					l.do(Cancel, id)
				}
				l.sleep(minute)
				l.is(id, "cancelled")
			})
		})
	}
}

func TestFullDisk(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		l.script("1", Activate, script{lasts: 2 * minute})
		running := l.add(NewJob{})
		soon := l.add(NewJob{At: time.Now().Add(minute)})
		l.mem.full.Store(true)
		if _, err := l.e.Add(context.Background(), []NewJob{{Argv: []string{"true"}}}); !errors.Is(err, fault.Unavailable) {
			l.t.Errorf("Add on a full disk: %v, want unavailable", err)
		}
		l.sleep(10 * minute) // one is due, one ends
		l.is(running, "activating")
		l.is(soon, "scheduled")
		l.ran("1.activate.1") // nothing is started that was not written
		l.restart()           // also a daemon that starts now goes on when there is space
		l.sleep(minute)
		l.mem.full.Store(false)
		l.sleep(10 * time.Second)
		l.is(running, "succeeded")
		l.is(soon, "succeeded")
	})
}

func TestDrain(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		l.script("1", Activate, script{lasts: 10 * minute})
		running, later := l.add(NewJob{}), l.add(NewJob{At: time.Now().Add(minute)})
		idle := l.e.Drain()
		if _, err := l.e.Add(context.Background(), []NewJob{{Argv: []string{"true"}}}); !errors.Is(err, fault.Unavailable) {
			l.t.Errorf("Add while draining: %v, want unavailable", err)
		}
		l.sleep(2 * minute)
		l.is(later, "waiting")
		l.because(later, "waits for the daemon's next start: it is being drained")
		select {
		case <-idle:
			l.t.Error("drained while one runs")
		default:
		}
		l.sleep(8 * minute)
		<-idle
		l.is(running, "succeeded")
		l.sound()
		l.restart()
		l.is(later, "activating")
		l.sleep(minute)
		l.is(later, "succeeded")
	})
}

func TestDrainOfAnIdleDaemon(t *testing.T) {
	bubble(t, nil, func(l *lab) { <-l.e.Drain() })
}

func TestPrune(t *testing.T) {
	bubble(t, func(s *Settings) { s.Keep = hour }, func(l *lab) {
		l.script("1", Activate, fails, fails, quick)
		id := l.add(NewJob{Retries: new(2)})
		l.sleep(hour)
		l.is(id, "succeeded")
		l.sleep(hour)
		if _, err := l.e.Get(context.Background(), id); !errors.Is(err, fault.NotFound) {
			l.t.Errorf("Get after its history was kept: %v", err)
		}
		if len(l.w.removed) != 3 {
			l.t.Errorf("removed %v, want the evidence of three attempts", l.w.removed)
		}
		for _, k := range l.mem.sorted("") {
			if k[:2] != "n/" {
				l.t.Errorf("%s is left", k)
			}
		}
	})
}

func TestManyAttempts(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		l.script("1", Activate, fails)
		id := l.add(NewJob{Retries: new(100)})
		l.sleep(100 * hour)
		l.is(id, "failed")
		if n := len(l.get(id).Attempts); n != keepAttempts {
			l.t.Errorf("%d attempts are kept, want %d", n, keepAttempts)
		}
		if n := len(l.w.runs); n != keepAttempts {
			l.t.Errorf("the evidence of %d attempts is kept, want %d", n, keepAttempts)
		}
	})
}

// A record that cannot be read is left alone, and hurts nobody.
func TestBrokenRecord(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		broken := l.add(NewJob{At: time.Now().Add(minute)})
		sound := l.add(NewJob{At: time.Now().Add(minute)})
		var whole []byte
		l.mem.with(func(data map[string][]byte) {
			whole = data[key(broken)]
			data[key(broken)] = []byte(`{"v":99}`)
		})
		l.sleep(2 * minute)
		l.is(sound, "succeeded")
		n := 0
		if err := l.e.List(context.Background(), Filter{Finished: true}, func(View) error { n++; return nil }); err != nil || n != 1 {
			l.t.Errorf("List: %d, %v, want the other one", n, err)
		}
		if rings := l.alarm.rings; rings > 2 {
			l.t.Errorf("the alarm rang %d times", rings)
		}
		l.mem.with(func(data map[string][]byte) { data[key(broken)] = whole })
		l.do(RunNow, broken)
		l.sleep(minute)
		l.is(broken, "succeeded")
	})
}

func TestWait(t *testing.T) {
	wait := func(l *lab, id string) chan View {
		got := make(chan View, 1)
		go func() {
			v, err := l.e.Wait(context.Background(), id)
			if err != nil {
				l.t.Error(err)
			}
			got <- v
		}()
		synctest.Wait()
		return got
	}
	t.Run("for the end", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			id := l.add(NewJob{At: time.Now().Add(hour)})
			got := wait(l, id)
			l.sleep(2 * hour)
			if v := <-got; v.Outcome != Succeeded {
				l.t.Errorf("Wait: %s", v.Outcome)
			}
			if v := <-wait(l, id); v.Outcome != Succeeded {
				l.t.Errorf("Wait for what is finished: %s", v.Outcome)
			}
		})
	})
	// The end may be among the happenings that one was too slow to see.
	t.Run("and misses it", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			id := l.add(NewJob{At: time.Now().Add(hour)})
			got := wait(l, id)
			l.e.hub.mu.Lock()
			l.e.hub.seq += 10 // those fell out of the ring
			l.e.hub.mu.Unlock()
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			err := l.e.update(ctx, func(t *txn) error {
				r, err := t.get(id)
				if err != nil {
					return err
				}
				old := r.clone()
				if err := t.apply(r, Cancel, ""); err != nil {
					return err
				}
				t.news = []Happening{{ID: "another"}}
				return t.save(old, r)
			})
			if err != nil {
				l.t.Fatal(err)
			}
			l.e.poke()
			synctest.Wait()
			if v := <-got; v.Outcome != Cancelled {
				l.t.Errorf("Wait: %s", v.Outcome)
			}
		})
	})
}

func TestEvents(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		since := l.e.Newest()
		id := l.add(NewJob{})
		l.sleep(minute)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		var got []string
		_ = l.e.Follow(ctx, since, func(h Happening) error {
			if h.ID == id {
				got = append(got, h.What+" "+h.State)
			}
			return nil
		})
		want := []string{"state scheduled", "state waiting", "state activating", "attempt.started activating",
			"attempt.ended activating", "state finished"}
		if len(got) != len(want) {
			l.t.Fatalf("happened: %q, want %q", got, want)
		}
		for i := range want {
			if got[i] != want[i] {
				l.t.Errorf("%d: %q, want %q", i, got[i], want[i])
			}
		}
	})
}
