package activation_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	. "activationd/activation"

	"activationd/internal/fault"
	"activationd/store"
	"activationd/supervisor"
)

func TestLostRun(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.script("1", Activate, long)
		rig.script("2", Activate, long)
		once, twice := rig.add(NewJob{}), rig.add(NewJob{Order: Order{Retries: new(1)}})
		rig.w.kill(supervisor.Key{ID: once, Phase: Activate, N: 1})
		rig.w.kill(supervisor.Key{ID: twice, Phase: Activate, N: 1})
		synctest.Wait()
		rig.is(once, "lost")
		rig.is(twice, "waiting")
		rig.sleep(2 * hour)
		rig.is(twice, "succeeded")
	})
}

func TestDaemonDies(t *testing.T) {
	t.Run("a run goes on and is adopted", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			rig.script("1", Activate, long)
			id := rig.add(NewJob{})
			rig.restart()
			rig.is(id, "activating")
			rig.sleep(hour)
			rig.is(id, "succeeded")
			rig.ran("1.activate.1")
		})
	})
	t.Run("a run that ended meanwhile is recorded", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			id := rig.add(NewJob{})
			rig.shutDown()
			rig.sleep(minute)
			rig.start()
			rig.is(id, "succeeded")
		})
	})
	t.Run("it is not clear at first what has become of a run", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			rig.script("1", Activate, long)
			id := rig.add(NewJob{})
			rig.shutDown()
			rig.w.unclear = 3
			rig.start()
			other := rig.add(NewJob{}) // and other jobs are not affected
			rig.sleep(10 * time.Second)
			rig.is(id, "activating")
			rig.is(other, "succeeded")
			rig.sleep(hour)
			rig.is(id, "succeeded")
			rig.ran("1.activate.1 2.activate.1")
		})
	})
	t.Run("it is cancelled while it is not clear what has become of it", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			rig.script("1", Activate, hangs)
			id := rig.add(NewJob{})
			rig.shutDown()
			rig.w.unclear = 8
			rig.start()
			rig.do(Cancel, id)
			rig.sleep(10 * time.Second)
			rig.is(id, "cancelled")
		})
	})
	t.Run("many are adopted", func(t *testing.T) {
		bubble(t, func(s *Settings) { s.MaxParallel = 1000 }, func(rig *testRig) {
			rig.w.scripts = func(k supervisor.Key) script { return long }
			for range 300 {
				rig.add(NewJob{})
			}
			rig.shutDown()
			rig.sleep(2 * minute)
			rig.w.kill(supervisor.Key{ID: "7", Phase: Activate, N: 1})
			rig.start()
			rig.is("7", "lost")
			rig.is("300", "activating")
			rig.sound()
			rig.sleep(hour)
			rig.is("300", "succeeded")
		})
	})
	// An instance that is due meanwhile gets the socket of another one, which is adopted first.
	t.Run("many are adopted, and one has a socket", func(t *testing.T) {
		bubble(t, func(s *Settings) { s.MaxParallel = 1000 }, func(rig *testRig) {
			rig.w.scripts = func(k supervisor.Key) script {
				if k.ID == "web@2" && k.N == 1 {
					return script{lasts: time.Second, exit: 1}
				}
				return long
			}
			for range 300 {
				rig.add(NewJob{})
			}
			one, two := serving("web", 1), serving("web", 2)
			one.Listen, two.Listen, two.BackoffFirst = []string{"/run/web"}, []string{"/run/web"}, minute
			rig.setInstances(one, two)
			rig.sleep(2 * time.Second)
			rig.shutDown()
			rig.sleep(2 * minute)
			rig.start()
			rig.sleep(time.Millisecond)
			if v, err := rig.e.Get(context.Background(), "web@2"); err != nil || v.LastN[0] != 2 || !v.Ready() {
				rig.t.Errorf("%+v, %v, want that its second run is ready", v.Record, err)
			}
			rig.sound()
		})
	})
	// Whatever call it dies in, before or after it, the job runs exactly once.
	for calls := range 16 {
		t.Run("after "+itoa(calls)+" calls", func(t *testing.T) {
			bubble(t, func(s *Settings) { s.HistoryAge = MinHistoryAge }, func(rig *testRig) {
				rig.add(NewJob{At: time.Now().Add(minute)})
				rig.m.dieAfter(calls)
				rig.sleep(minute + time.Second)
				rig.restart()
				rig.sleep(30 * time.Second)
				rig.is("1", "succeeded")
				if len(rig.w.order) != 1 {
					rig.t.Errorf("began: %v", rig.w.order)
				}
				rig.m.dieAfter(calls)
				rig.sleep(hour) // its history is pruned
				rig.restart()
				rig.sleep(hour)
				if len(rig.w.runs) != 0 {
					rig.t.Errorf("evidence is left: %v", rig.w.runs)
				}
				if _, err := rig.e.Get(context.Background(), "1"); !errors.Is(err, fault.NotFound) {
					rig.t.Errorf("Get of a pruned job: %v", err)
				}
			})
		})
	}
}

func TestCancelIsNotForgottenByACrash(t *testing.T) {
	for calls := range 5 {
		t.Run(itoa(calls), func(t *testing.T) {
			bubble(t, nil, func(rig *testRig) {
				rig.script("1", Activate, hangs)
				id := rig.add(NewJob{})
				_, _ = rig.e.Do(context.Background(), admin, id, Cancel, "")
				rig.m.dieAfter(calls) // in the turn that stops it
				synctest.Wait()
				rig.restart()
				if v := rig.get(id); v.PendingOutcome == "" && v.State != Finished {
					rig.do(Cancel, id)
				}
				rig.sleep(minute)
				rig.is(id, "cancelled")
			})
		})
	}
}

func TestFullDisk(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.script("1", Activate, script{lasts: 2 * minute})
		running := rig.add(NewJob{})
		soon := rig.add(NewJob{At: time.Now().Add(minute)})
		rig.mem.SetFull(true)
		if _, err := rig.e.Add(context.Background(), admin, []NewJob{{Order: Order{Argv: []string{"true"}}}}); !errors.Is(err, fault.Unavailable) {
			rig.t.Errorf("Add on a full disk: %v, want unavailable", err)
		}
		rig.sleep(10 * minute) // one is due, one ends
		rig.is(running, "activating")
		rig.is(soon, "scheduled")
		rig.ran("1.activate.1") // nothing is started whose claim was not written
		rig.restart()           // a daemon that starts now continues, too, when there is space
		rig.sleep(minute)
		rig.mem.SetFull(false)
		rig.sleep(10 * time.Second)
		rig.is(running, "succeeded")
		rig.is(soon, "succeeded")
	})
}

func TestDrain(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.script("1", Activate, script{lasts: 10 * minute})
		running, later := rig.add(NewJob{}), rig.add(NewJob{At: time.Now().Add(minute)})
		idle := rig.e.Drain()
		if _, err := rig.e.Add(context.Background(), admin, []NewJob{{Order: Order{Argv: []string{"true"}}}}); !errors.Is(err, fault.Unavailable) {
			rig.t.Errorf("Add while draining: %v, want unavailable", err)
		}
		rig.sleep(2 * minute)
		rig.is(later, "waiting")
		rig.because(later, "waits for the daemon's next start: it is being drained")
		select {
		case <-idle:
			rig.t.Error("drained although a run runs")
		default:
		}
		rig.sleep(8 * minute)
		<-idle
		rig.is(running, "succeeded")
		rig.sound()
		rig.restart()
		rig.is(later, "activating")
		rig.sleep(minute)
		rig.is(later, "succeeded")
	})
}

func TestDrainOfAnIdleDaemon(t *testing.T) {
	bubble(t, nil, func(rig *testRig) { <-rig.e.Drain() })
}

func TestPrune(t *testing.T) {
	bubble(t, func(s *Settings) { s.HistoryAge = hour }, func(rig *testRig) {
		rig.script("1", Activate, fails, fails, quick)
		since := rig.newest()
		id := rig.add(NewJob{Order: Order{Retries: new(2)}})
		rig.sleep(hour)
		rig.is(id, "succeeded")
		rig.sleep(hour)
		if _, err := rig.e.Get(context.Background(), id); !errors.Is(err, fault.NotFound) {
			rig.t.Errorf("Get after its history was kept: %v", err)
		}
		if len(rig.w.removed) != 3 {
			rig.t.Errorf("removed %v, want the evidence of three attempts", rig.w.removed)
		}
		if events := rig.happened(since); !slices.Contains(events, "pruned "+id) {
			rig.t.Errorf("happened: %q", events)
		}
		for _, k := range rig.mem.Keys("") {
			if k[:2] != "n/" && k[:2] != "v/" && k[:2] != "u/" { // the sums of reports stay
				rig.t.Errorf("%s is left", k)
			}
		}
	})
}

func TestManyAttempts(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.script("1", Activate, fails)
		id := rig.add(NewJob{Order: Order{Retries: new(100)}})
		rig.sleep(100 * hour)
		rig.is(id, "failed")
		if n := len(rig.get(id).Attempts); n != KeepAttempts {
			rig.t.Errorf("%d attempts are kept, want %d", n, KeepAttempts)
		}
		if n := len(rig.w.runs); n != KeepAttempts {
			rig.t.Errorf("the evidence of %d attempts is kept, want %d", n, KeepAttempts)
		}
	})
}

// A record that cannot be read is left alone, and others are not affected.
func TestBrokenRecord(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		broken := rig.add(NewJob{At: time.Now().Add(minute)})
		sound := rig.add(NewJob{At: time.Now().Add(minute)})
		whole := rig.mem.Value(Key(broken))
		rig.mem.Set(Key(broken), []byte(`{"v":99}`))
		rig.sleep(2 * minute)
		rig.is(sound, "succeeded")
		n := 0
		if err := rig.e.List(context.Background(), Filter{Finished: true}, func(View) error { n++; return nil }); err != nil || n != 1 {
			rig.t.Errorf("List: %d, %v, want the other one", n, err)
		}
		if rings := rig.alarm.rings; rings > 2 {
			rig.t.Errorf("the alarm rang %d times", rings)
		}
		rig.mem.Set(Key(broken), whole)
		rig.do(RunNow, broken)
		rig.sleep(minute)
		rig.is(broken, "succeeded")
	})
}

// A record that cannot be read and is first in a queue keeps nothing from those behind it.
func TestBrokenRecordInQueue(t *testing.T) {
	for _, tt := range []struct {
		name  string
		slots int
		job   NewJob
	}{
		{"for a slot", 1, NewJob{}},
		{"for a lock", 3, NewJob{Order: Order{Locks: []string{"a"}}}},
		{"for a load average", 3, inQueue("b")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(s *Settings) { batchSettings(s); s.MaxParallel = tt.slots }, func(rig *testRig) {
				rig.script("1", Activate, script{lasts: minute})
				rig.loadAvg.Store(9.0)
				rig.add(NewJob{Order: Order{Locks: tt.job.Locks}})
				broken, behind := rig.add(tt.job), rig.add(tt.job)
				rig.sleep(30 * time.Second)
				whole := rig.mem.Value(Key(broken))
				rig.mem.Set(Key(broken), []byte(`{"v":99}`))
				rig.loadAvg.Store(0.0)
				rig.sleep(3 * minute)
				rig.is(behind, "succeeded")
				if turns := rig.alarm.rung(); turns > 10 {
					t.Errorf("the alarm rang %d times", turns)
				}
				rig.mem.Set(Key(broken), whole)
				rig.do(RunNow, broken)
				rig.sleep(minute)
				rig.is(broken, "succeeded")
			})
		})
	}
}

// TestMissingRecord: with a store that lacks records, no engine runs.
func TestMissingRecord(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		id := rig.add(NewJob{At: time.Now().Add(hour)})
		rig.shutDown()
		var record []byte
		change := func(fn func(store.Tx) error) {
			if err := rig.db.Update(context.Background(), fn); err != nil {
				rig.t.Fatal(err)
			}
		}
		change(func(tx store.Tx) error {
			record = slices.Clone(tx.Get(Key(id)))
			return tx.Delete(Key(id))
		})
		e := New(rig.e.Parts(), rig.set)
		if err := e.Run(context.Background()); !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "has 0 activations, and should have 1") {
			rig.t.Errorf("Run = %v", err)
		}
		change(func(tx store.Tx) error { return tx.Put(Key(id), record) })
		rig.start()
	})
}
