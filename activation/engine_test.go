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
