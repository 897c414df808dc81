package activation

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"activationd/internal/fault"
	"activationd/store"
	"activationd/supervisor"
)

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
	t.Run("it is not clear at first what has become of a run", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			l.script("1", Activate, long)
			id := l.add(NewJob{})
			l.shutDown()
			l.w.unclear = 3
			l.start()
			other := l.add(NewJob{}) // which hurts nobody
			l.sleep(10 * time.Second)
			l.is(id, "activating")
			l.is(other, "succeeded")
			l.sleep(hour)
			l.is(id, "succeeded")
			l.ran("1.activate.1 2.activate.1")
		})
	})
	t.Run("it is cancelled while it is not clear what has become of it", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			l.script("1", Activate, hangs)
			id := l.add(NewJob{})
			l.shutDown()
			l.w.unclear = 8
			l.start()
			l.do(Cancel, id)
			l.sleep(10 * time.Second)
			l.is(id, "cancelled")
		})
	})
	t.Run("many are adopted", func(t *testing.T) {
		bubble(t, func(s *Settings) { s.MaxParallel = 1000 }, func(l *lab) {
			l.w.scripts = func(k supervisor.Key) script { return long }
			for range 300 {
				l.add(NewJob{})
			}
			l.shutDown()
			l.sleep(2 * minute)
			l.w.kill(supervisor.Key{ID: "7", Phase: Activate, N: 1})
			l.start()
			l.is("7", "lost")
			l.is("300", "activating")
			l.sound()
			l.sleep(hour)
			l.is("300", "succeeded")
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
		since := l.e.Newest()
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
		if news := l.happened(since); !slices.Contains(news, "pruned "+id) {
			l.t.Errorf("happened: %q", news)
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

// TestMissingRecord: of a store that has fewer records than it should, nothing runs.
func TestMissingRecord(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		id := l.add(NewJob{At: time.Now().Add(hour)})
		l.shutDown()
		var record []byte
		change := func(fn func(store.Tx) error) {
			if err := l.db.Update(context.Background(), fn); err != nil {
				l.t.Fatal(err)
			}
		}
		change(func(tx store.Tx) error {
			record = slices.Clone(tx.Get(key(id)))
			return tx.Delete(key(id))
		})
		e := New(l.e.parts, l.set)
		if err := e.Run(context.Background()); !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "has 0 activations, and should have 1") {
			l.t.Errorf("Run = %v", err)
		}
		change(func(tx store.Tx) error { return tx.Put(key(id), record) })
		l.start()
	})
}
