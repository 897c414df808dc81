package activation_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	. "activationd/activation"

	"activationd/activation/announce"
	"activationd/internal/fault"
	"activationd/reservation"
	"activationd/store"
)

// conflicts checks what a reservation conflicts with: the ids of those that have its
// devices.
func (rig *testRig) conflicts(id string, with ...string) {
	rig.t.Helper()
	var got []string
	for _, c := range rig.get(id).Conflicts {
		got = append(got, c.With...)
	}
	if len(got) != len(with) || len(got) > 0 && got[0] != with[0] {
		rig.t.Errorf("%s conflicts with %v, want %v", id, got, with)
	}
}

// TestConflictLoserWaits has a reservation that begins before the one that keeps its
// device. It waits, and is missed.
func TestConflictLoserWaits(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		src := rig.source("lab")
		first, second := slot("first", 2*hour, 4*hour, "sw1"), slot("second", hour, 3*hour, "sw1")
		src.says(first)
		rig.loads(1, 0, 0, 0)
		src.says(second, first)
		if rep := rig.load(announce.LoadOptions{DryRun: true}); rep.Conflicting != 1 {
			t.Errorf("a dry run reports %s", rep.Summary())
		}
		rig.conflicts("first")
		if rep := rig.loads(1, 0, 0, 0); rep.Conflicting != 1 {
			t.Errorf("a load reports %s", rep.Summary())
		}
		rig.conflicts("first")
		rig.conflicts("second", "first")
		rig.sleep(hour + hour/2)
		rig.is("second", "waiting")
		rig.sleep(hour)
		rig.is("first", "active")
		rig.sleep(hour)
		rig.is("second", "missed")
		rig.sleep(hour)
		rig.is("first", "succeeded")
	})
}

// TestConflictEnds has the one that keeps the device go, so that the other one has it.
func TestConflictEnds(t *testing.T) {
	for name, end := range map[string]func(rig *testRig, src *fakeSource){
		"cancelled": func(rig *testRig, _ *fakeSource) { rig.do(Cancel, "first") },
		"withdrawn": func(rig *testRig, src *fakeSource) {
			src.says(slot("second", hour, 3*hour, "sw1"))
			rig.loads(0, 0, 1, 0)
		},
		"moved": func(rig *testRig, src *fakeSource) {
			src.says(slot("first", 5*hour, 6*hour, "sw1"), slot("second", hour, 3*hour, "sw1"))
			rig.loads(0, 1, 0, 0)
		},
		"run": func(rig *testRig, _ *fakeSource) { rig.do(RunNow, "second") },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, nil, func(rig *testRig) {
				src := rig.source("lab")
				src.says(slot("first", hour, 4*hour, "sw1"), slot("second", hour, 3*hour, "sw1"))
				rig.loads(2, 0, 0, 0)
				rig.conflicts("second", "first")
				end(rig, src)
				rig.sleep(hour / 60)
				rig.conflicts("second")
				if name == "run" {
					rig.conflicts("first", "second")
				}
				rig.sleep(2 * hour)
				rig.is("second", "active")
			})
		})
	}
}

// TestCalendarOfAnOlderStore has a store of a version that had no calendar.
func TestCalendarOfAnOlderStore(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		src := rig.source("lab")
		first, second := slot("first", hour, 4*hour, "sw1", "sw2"), slot("second", 2*hour, 3*hour, "sw1")
		src.says(first)
		rig.loads(1, 0, 0, 0)
		rig.shutDown()
		if err := rig.db.Update(t.Context(), func(tx store.Tx) error {
			keys := []string{"n/calendar"}
			for k := range tx.Scan("dv/", "") {
				keys = append(keys, k)
			}
			if len(keys) != 3 {
				t.Errorf("the calendar has the keys %v, want one for each device", keys)
			}
			for _, k := range keys {
				if err := tx.Delete(k); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		rig.start()
		rig.sound() // the calendar has what the records say
		src.says(first, second)
		rig.loads(1, 0, 0, 0)
		rig.conflicts("second", "first")
	})
}

// TestMarksFollow moves, withdraws, cancels and runs reservations of two sources at random. After
// each step the marks must be what the records say: see CheckRest.
func TestMarksFollow(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		inBubble(t, func(t *testing.T) {
			rig := &testRig{t: t, mem: newMemStore(t), w: newWorld(), boot: "boot1", set: testSettings()}
			rig.db = rig.mem
			rig.start()
			defer rig.shutDown()
			sources := []*fakeSource{rig.source("one"), rig.source("two")}
			ids := []string{"r1", "r2", "r3", "r4", "r5", "r6"}
			has := make([]map[string]reservation.Reservation, 2) // by id, what each source has
			has[0], has[1] = make(map[string]reservation.Reservation), make(map[string]reservation.Reservation)
			for range rapid.IntRange(5, 15).Draw(rt, "steps") {
				i := rapid.IntRange(0, len(ids)-1).Draw(rt, "i")
				id, mine := ids[i], has[i%2]
				switch rapid.SampledFrom([]string{"announce", "announce", "announce", "withdraw", "cancel", "run", "sleep"}).Draw(rt, "step") {
				case "announce":
					from := time.Duration(rapid.IntRange(1, 6).Draw(rt, "from")) * hour
					r := slot(id, from, from+time.Duration(rapid.IntRange(1, 4).Draw(rt, "lasts"))*hour, subset(rt, []string{"a", "b", "c"}, "devices")...)
					r.Priority = rapid.IntRange(0, 1).Draw(rt, "priority")
					mine[id] = r
				case "withdraw":
					delete(mine, id)
				case "cancel":
					_, _ = rig.e.Do(t.Context(), admin, id, Cancel, "") // if there is one
				case "run":
					_, _ = rig.e.Do(t.Context(), admin, id, RunNow, "")
				case "sleep":
					time.Sleep(hour / 2)
				}
				for n, src := range sources {
					src.says(slices.Collect(maps.Values(has[n]))...)
				}
				rig.load(announce.LoadOptions{Force: true})
				synctest.Wait()
				if faults := rig.unsound(); len(faults) > 0 {
					rt.Fatalf("%s", strings.Join(faults, "\n"))
				}
			}
		})
	})
}

// TestConflictOfRun has a reservation that somebody runs before its slot: it has the device
// from then on.
func TestConflictOfRun(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		src := rig.source("lab")
		src.says(slot("early", 5*hour, 6*hour, "sw1"))
		rig.loads(1, 0, 0, 0)
		rig.do(RunNow, "early")
		rig.sleep(hour / 60)
		rig.is("early", "active")
		src.says(slot("early", 5*hour-hour/60, 6*hour-hour/60, "sw1"), slot("between", hour, 2*hour, "sw1"))
		rig.loads(1, 0, 0, 0)
		rig.conflicts("between", "early")
	})
}

// TestConflictOfIdle has a winner that does not begin because somebody has held it, or paused
// its source. It keeps nothing from the other one.
func TestConflictOfIdle(t *testing.T) {
	for name, idle := range map[string]struct{ begin, end func(rig *testRig) error }{
		"held": {
			func(rig *testRig) error { rig.do(Hold, "first"); return nil },
			func(rig *testRig) error { rig.do(Release, "first"); return nil },
		},
		"paused": {
			func(rig *testRig) error {
				_, err := rig.e.Pause(context.Background(), admin, Pause{What: PauseSource, Name: "one"})
				return err
			},
			func(rig *testRig) error {
				_, err := rig.e.Resume(context.Background(), admin, PauseSource, "one")
				return err
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(s *Settings) { withSources(s, "one", "two") }, func(rig *testRig) {
				rig.source("one").says(slot("first", hour, 4*hour, "sw1"))
				rig.source("two").says(slot("second", hour, 2*hour, "sw1"))
				rig.loads(2, 0, 0, 0)
				rig.conflicts("second", "first")
				if err := idle.begin(rig); err != nil {
					t.Fatal(err)
				}
				rig.sleep(hour / 60)
				rig.conflicts("second")
				rig.conflicts("first", "second")
				if err := idle.end(rig); err != nil {
					t.Fatal(err)
				}
				rig.sleep(hour / 60)
				rig.conflicts("second", "first")
				if err := idle.begin(rig); err != nil {
					t.Fatal(err)
				}
				rig.sleep(hour + hour/2)
				rig.is("second", "active")
				if err := idle.end(rig); err != nil {
					t.Fatal(err)
				}
				rig.sleep(hour)
				rig.is("first", "active")
			})
		})
	}
}

// TestConflictWithOneThatLeaves has a winner withdrawn while it is active. The load that
// withdraws it reports no conflict with it.
func TestConflictWithOneThatLeaves(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		src := rig.source("lab")
		first, second := slot("first", 0, 4*hour, "sw1"), slot("second", hour, 2*hour, "sw1")
		src.says(first, second)
		rig.loads(2, 0, 0, 0)
		rig.sleep(hour + hour/2)
		rig.is("first", "active")
		rig.is("second", "waiting")
		src.says(second)
		if rep := rig.load(announce.LoadOptions{Force: true}); rep.Conflicting != 0 {
			t.Errorf("the load reports %s", rep.Summary())
		}
		rig.sleep(hour / 60)
		rig.is("second", "active")
	})
}

// TestConflictEndsAndDaemonDies has the daemon die when the mark of a waiting reservation is
// gone, and before the engine has looked at the reservation. The next daemon serves it.
func TestConflictEndsAndDaemonDies(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		src := rig.source("lab")
		src.says(slot("first", hour, 2*hour, "sw1"), slot("second", hour, 5*hour, "sw1"))
		rig.loads(2, 0, 0, 0)
		rig.sleep(hour + hour/2)
		rig.is("second", "waiting")
		rig.shutDown()
		rig.sleep(hour)
		if err := rig.e.Judge(context.Background()); err != nil {
			t.Fatal(err)
		}
		rig.conflicts("second")
		rig.start()
		rig.sleep(hour / 2)
		rig.is("second", "active")
	})
}

// TestManyConflictsAreCounted has more conflicts than a report names.
func TestManyConflictsAreCounted(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		src := rig.source("lab")
		all := []reservation.Reservation{slot("0", hour, 4*hour, "sw1")}
		for i := range 102 {
			all = append(all, slot(fmt.Sprintf("1%03d", i), 2*hour, 3*hour, "sw1"))
		}
		src.says(all...)
		rig.loads(len(all), 0, 0, 0)
		rep := rig.loads(0, 0, 0, 0) // if the store limits transactions, the first load ends before all are marked
		var lines []ReportLine
		for _, l := range rep.Lines {
			if l.What == "conflict" {
				lines = append(lines, l)
			}
		}
		want := ReportLine{What: "conflict", Text: "and 2 more; atctl list --state conflicting lists them"}
		if rep.Conflicting != 102 || len(lines) != 101 || lines[100] != want {
			t.Errorf("%d conflict, %d lines, the last one %+v; want 102, 101 and %+v", rep.Conflicting, len(lines), lines[len(lines)-1], want)
		}
	})
}

// A refusingStore refuses, once it is set to, the next transaction that removes a mark of a
// conflict.
type refusingStore struct {
	store.Store
	refuse atomic.Bool
}

// Limits implements [store.Limiter].
func (s *refusingStore) Limits() (ops, bytes int) { return store.Limits(s.Store) }

func (s *refusingStore) Update(ctx context.Context, fn func(store.Tx) error) error {
	return s.Store.Update(ctx, func(tx store.Tx) error { return fn(refusingTx{tx, s}) })
}

type refusingTx struct {
	store.Tx
	s *refusingStore
}

func (tx refusingTx) Delete(key string) error {
	if strings.HasPrefix(key, "cf/") && tx.s.refuse.CompareAndSwap(true, false) {
		return fmt.Errorf("the disk is full: %w", fault.Unavailable)
	}
	return tx.Tx.Delete(key)
}

// TestJudgesAgain has the store refuse what the loader finds when it looks for conflicts. It looks
// again, although nothing else changes.
func TestJudgesAgain(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.shutDown()
		db := &refusingStore{Store: rig.db}
		rig.db = db
		rig.start()
		rig.source("lab").says(slot("first", hour, 4*hour, "sw1"), slot("second", hour, 3*hour, "sw1"))
		rig.loads(2, 0, 0, 0)
		rig.conflicts("second", "first")
		db.refuse.Store(true)
		rig.do(Cancel, "first")
		if rig.conflicts("second", "first"); db.refuse.Load() {
			t.Error("nothing was refused")
		}
		rig.sleep(time.Second)
		rig.conflicts("second")
	})
}
