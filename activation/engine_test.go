package activation_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	. "activationd/activation"

	"activationd/internal/fault"
	"activationd/store/bolt"
)

// bubble runs a scenario in a bubble, and checks at the end that the state is sound.
func bubble(t *testing.T, set func(*Settings), fn func(rig *testRig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		rig := newRig(t, set)
		fn(rig)
		synctest.Wait()
		rig.sound()
	})
}

var (
	fails = script{lasts: time.Second, exit: 1}
	hangs = script{hangs: true, onStop: time.Second}
	long  = script{lasts: hour}
	quick = script{lasts: time.Second}
)

func TestJobRunsAtItsInstant(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		at := time.Now().Add(3*hour + 7*time.Nanosecond)
		id := rig.add(NewJob{At: at})
		rig.is(id, "scheduled")
		rig.because(id, "")
		rig.sleep(4 * hour)
		rig.is(id, "succeeded")
		if began := rig.beganAt(id, Activate, 1); !began.Equal(at) {
			rig.t.Errorf("it began at %v, want %v", began, at)
		}
		if rig.alarm.rings > 1 {
			rig.t.Errorf("the alarm rang %d times for one job", rig.alarm.rings)
		}
	})
}

func TestJobOnARealStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, err := bolt.Open(t.TempDir() + "/state.db")
		if err != nil {
			t.Fatal(err)
		}
		rig := &testRig{t: t, db: db, w: newWorld(), boot: "boot1", set: testSettings()}
		rig.start()
		src := rig.source("lab")
		src.says(slot("r1", minute, hour, "sw1"))
		rig.loads(1, 0, 0, 0)
		id := rig.add(NewJob{Order: Order{Locks: []string{"sw1"}}, At: time.Now().Add(2 * minute)})
		rig.sleep(90 * time.Second)
		rig.restart()
		rig.is("r1", "active")
		rig.sleep(hour)
		rig.is("r1", "succeeded")
		rig.is(id, "succeeded")
		rig.ran("r1.activate.1 r1.deactivate.1 1.activate.1")
		rig.sound()
		rig.shutDown()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestImmediateJob(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		id := rig.add(NewJob{})
		rig.is(id, "activating")
		rig.sleep(time.Second)
		rig.is(id, "succeeded")
		rig.because(id, "exited with status 0")
	})
}

// A job may be added after the end of a turn's transaction but before the turn sets the
// alarm. If it is due before that time, the turn has not seen it.
func TestAddWhileTheAlarmIsBeingSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rig := &testRig{t: t, mem: newMemStore(t), w: newWorld(), boot: "boot1", set: testSettings()}
		rig.db = rig.mem
		var armed atomic.Bool
		id := ""
		rig.after = func() {
			if armed.CompareAndSwap(true, false) {
				done := make(chan struct{})
				go func() {
					defer close(done)
					added, err := rig.e.Add(context.Background(), admin, []NewJob{{Order: Order{Argv: []string{"true"}}, At: time.Now().Add(minute)}})
					if err != nil {
						t.Error(err)
						return
					}
					id = added[0].ID
				}()
				<-done
			}
		}
		rig.start()
		defer rig.shutDown()
		first := rig.add(NewJob{At: time.Now().Add(time.Second)})
		rig.add(NewJob{At: time.Now().Add(24 * hour)})
		time.Sleep(time.Second - time.Nanosecond)
		synctest.Wait()
		armed.Store(true) // the next transaction is the turn that starts the first
		rig.sleep(2 * minute)
		rig.is(first, "succeeded")
		rig.is(id, "succeeded")
		rig.sound()
	})
}

func TestRetriesAndBackoff(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.script("1", Activate, fails, fails, quick)
		id := rig.add(NewJob{Order: Order{Retries: new(3)}})
		rig.sleep(time.Second)
		rig.is(id, "waiting")
		rig.because(id, "exited with status 1; the next try is due at "+TimeText(time.Now().Add(10*time.Second)))
		rig.sleep(hour)
		rig.is(id, "succeeded")
		first := rig.beganAt(id, Activate, 1)
		for n, want := range map[int]time.Duration{2: 11 * time.Second, 3: 32 * time.Second} { // after 10 s, then 20 s
			if got := rig.beganAt(id, Activate, n).Sub(first); got != want {
				rig.t.Errorf("attempt %d began after %v, want %v", n, got, want)
			}
		}
	})
}

func TestNoTryIsLeft(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.script("1", Activate, fails)
		id := rig.add(NewJob{Order: Order{Retries: new(1)}})
		rig.sleep(hour)
		rig.is(id, "failed")
		rig.because(id, "attempt 2 exited with status 1")
		rig.ran("1.activate.1 1.activate.2")
	})
}

func TestTimeout(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.script("1", Activate, hangs)
		id := rig.add(NewJob{Order: Order{Timeout: new(minute)}})
		rig.sleep(minute)
		rig.is(id, "timed_out")
	})
}

func TestCancel(t *testing.T) {
	t.Run("scheduled", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			id := rig.add(NewJob{At: time.Now().Add(minute)})
			rig.do(Cancel, id)
			rig.is(id, "cancelled")
			rig.sleep(hour)
			rig.ran("")
		})
	})
	t.Run("waiting", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			rig.script("1", Activate, long)
			rig.add(NewJob{Order: Order{Locks: []string{"a"}}})
			second := rig.add(NewJob{Order: Order{Locks: []string{"a", "b"}}})
			third := rig.add(NewJob{Order: Order{Locks: []string{"b"}}})
			rig.is(third, "waiting")
			rig.because(third, "waits for lock b, next for 2")
			rig.do(Cancel, second)
			rig.is(second, "cancelled")
			rig.is(third, "activating") // it was behind the second, not behind the first
		})
	})
	t.Run("activating", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			rig.script("1", Activate, hangs)
			id := rig.add(NewJob{})
			rig.do(Cancel, id)
			rig.is(id, "activating")
			rig.do(Cancel, id) // a second time
			rig.sleep(time.Second)
			rig.is(id, "cancelled")
			rig.because(id, "cancelled by root")
			rig.ran("1.activate.1")
		})
	})
	t.Run("what succeeds all the same has succeeded", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			rig.script("1", Activate, script{lasts: minute, ignores: true})
			id := rig.add(NewJob{})
			rig.do(Cancel, id)
			rig.sleep(minute)
			rig.is(id, "succeeded")
		})
	})
	t.Run("finished", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			id := rig.add(NewJob{})
			rig.sleep(minute)
			if _, err := rig.e.Do(context.Background(), admin, id, Cancel, ""); !errors.Is(err, fault.Conflict) {
				rig.t.Errorf("Do(Cancel) of a finished job: %v, want a conflict", err)
			}
		})
	})
}

func TestOnlyOwn(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		id := rig.add(NewJob{At: time.Now().Add(minute), Order: Order{Owner: "ada"}})
		for name, want := range map[string]error{"bob": fault.Denied, "ada": nil} {
			if _, err := rig.e.Do(context.Background(), Actor{Name: name, OnlyOwn: true}, id, Hold, ""); !errors.Is(err, want) {
				rig.t.Errorf("Do(Hold) by %s: %v, want %v", name, err, want)
			}
		}
		if _, err := rig.e.Do(context.Background(), admin, "77", Hold, ""); !errors.Is(err, fault.NotFound) {
			rig.t.Errorf("Do of an unknown id: %v", err)
		}
	})
}

func TestRetryAJob(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.script("1", Activate, fails, quick)
		at := time.Now().Add(minute)
		id := rig.add(NewJob{At: at, Order: Order{Missed: MissedSkip}})
		rig.sleep(10 * hour)
		rig.is(id, "failed")
		rig.do(Retry, id)
		rig.sleep(minute)
		rig.is(id, "succeeded")
		if got := rig.get(id).Start; !got.Equal(at) {
			rig.t.Errorf("Start has become %v, was %v", got, at)
		}
		rig.do(Retry, id)
		rig.sleep(minute)
		rig.is(id, "succeeded")
		if n := len(rig.get(id).Attempts); n != 3 { // it keeps its attempts
			rig.t.Errorf("%d attempts are kept, want 3", n)
		}
	})
}

// TestRetryStartsAtOnce: also if the job ended before its planned time.
func TestRetryStartsAtOnce(t *testing.T) {
	for _, tt := range []struct {
		ended Trigger
		want  string // how it ended
	}{{RunNow, "failed"}, {Cancel, "cancelled"}} {
		bubble(t, nil, func(rig *testRig) {
			rig.script("1", Activate, fails, quick)
			id := rig.add(NewJob{At: time.Now().Add(10 * hour)})
			rig.do(tt.ended, id)
			rig.sleep(minute)
			rig.is(id, tt.want)
			rig.do(Retry, id)
			rig.sleep(minute)
			if r := rig.get(id); len(r.Attempts) == 0 || r.State != Finished {
				rig.t.Errorf("a minute after retry, the job that was %s is %s with %d attempts, want it to have run", tt.want, r.State, len(r.Attempts))
			}
		})
	}
}

func TestMissed(t *testing.T) {
	tests := []struct {
		name   string
		missed string
		down   time.Duration // over a start that is a minute away
		want   string
	}{
		{"within the grace", MissedRun, hour, "succeeded"},
		{"beyond the grace", MissedRun, 2*hour + minute, "missed"},
		{"to be skipped", MissedSkip, hour, "missed"},
		{"to be skipped, but in time", MissedSkip, minute + 30*time.Second, "succeeded"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, nil, func(rig *testRig) {
				id := rig.add(NewJob{At: time.Now().Add(minute), Order: Order{Missed: tt.missed}})
				rig.shutDown()
				rig.sleep(tt.down)
				rig.start()
				rig.sleep(minute)
				rig.is(id, tt.want)
			})
		})
	}
}
