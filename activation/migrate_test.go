package activation_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	. "activationd/activation"

	"activationd/internal/fault"
	"activationd/store"
	"activationd/store/bolt"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// layout1 is the state that a daemon of layout 1 left when it ended at 01:40:01, on a
// machine that was started at 00:00: a key and a value in each line. Three runs are still
// running.
func layout1(t testing.TB) [][2]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "layout1.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var state [][2]string
	for line := range strings.Lines(string(text)) {
		k, err := strconv.QuotedPrefix(line)
		if err != nil {
			t.Fatal(err)
		}
		v := strings.TrimSpace(line[len(k):])
		if k, err = strconv.Unquote(k); err != nil {
			t.Fatal(err)
		}
		if v, err = strconv.Unquote(v); err != nil {
			t.Fatal(err)
		}
		state = append(state, [2]string{k, v})
	}
	return state
}

// put writes a state, in transactions as large as the store takes.
func put(t testing.TB, db store.Store, state [][2]string) {
	t.Helper()
	for len(state) > 0 {
		some := state[:min(100, len(state))]
		state = state[len(some):]
		err := db.Update(t.Context(), func(tx store.Tx) error {
			for _, kv := range some {
				if err := tx.Put(kv[0], []byte(kv[1])); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// oldState has a rig with the state of layout 1 and its runs, at the time when the daemon
// ended.
func oldState(t testing.TB, db store.Store) *testRig {
	rig := &testRig{t: t, db: db, w: newWorld(), boot: "boot1", set: testSettings(), older: true}
	rig.set.MaxParallel = 4
	withPool(&rig.set)
	rig.clock = &fakeClock{started: time.Now(), synced: true}
	put(t, db, layout1(t))
	time.Sleep(100*minute + time.Second)
	rig.script("3", Activate, script{lasts: 2 * hour})
	rig.script("9", Activate, script{remains: 10 * hour})
	rig.script("r2", Activate, script{lasts: hour})
	rig.w.kept["r1"], rig.w.kept["r2"], rig.w.kept["r3"] = true, true, true
	for _, id := range []string{"3", "9", "r2"} {
		if err := rig.w.start(supervisor.Key{ID: id, Phase: Activate, N: 1}, wrapper.Spec{}); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Wait()
	return rig
}

// TestLayout1 opens a state of layout 1 while runs go on.
func TestLayout1(t *testing.T) {
	check := func(rig *testRig) {
		t := rig.t
		t.Helper()
		for id, want := range map[string]string{
			"1": "succeeded", "2": "failed", "3": "activating", "4": "waiting", "5": "scheduled", "6": "held", "7": "waiting", "8": "scheduled",
			"9": "activating", "r1": "active", "r2": "activating", "r3": "stuck", "r4": "scheduled", "r5": "succeeded",
		} {
			rig.is(id, want)
		}
		rig.sound()
		for _, id := range []string{"3", "9", "r1", "r2"} {
			for _, a := range rig.get(id).Attempts {
				if a.Host != "lab1" || a.Boot != "boot1" {
					t.Errorf("%s: attempt on %q since boot %q", id, a.Host, a.Boot)
				}
			}
		}
		for _, old := range []string{OldRunKey, OldActiveKey, OldRemovalKey, OldFence, OldQueueNumber, "n/boot", "n/clock", "n/old-bytes"} {
			err := rig.db.View(t.Context(), func(tx store.Tx) error {
				for k := range tx.Scan(old, "") {
					if k == old || strings.HasSuffix(old, "/") {
						t.Errorf("%s is left", k)
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		}
		s, err := rig.e.Status(t.Context())
		if err != nil || s.Running != 2 || s.Hanging != 1 || s.States[Finished] != 6 || s.States[Activating] != 3 {
			t.Errorf("status: %+v, %v", s, err)
		}
	}
	after := func(rig *testRig) {
		rig.t.Helper()
		id := rig.add(NewJob{})
		if a := rig.get(id).Attempts; len(a) != 1 || a[0].Fence <= 0x11 {
			rig.t.Errorf("the fence after 17: %+v", a)
		}
		rig.sleep(2*hour + minute)
		rig.is("3", "succeeded")
		rig.is("4", "succeeded")
		rig.is("7", "succeeded")
		rig.is("r2", "active")
		rig.sleep(20 * hour)
		rig.is("r1", "succeeded")
		rig.is("9", "succeeded")
		rig.sound()
	}
	t.Run("in memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			mem := newMemStore(t)
			rig := oldState(t, mem)
			rig.mem = mem
			rig.start()
			check(rig)
			rig.restart()
			check(rig)
			after(rig)
			rig.shutDown()
		})
	})
	t.Run("in a file", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			db, err := bolt.Open(filepath.Join(t.TempDir(), "state.db"))
			if err != nil {
				t.Fatal(err)
			}
			rig := oldState(t, db)
			rig.start()
			check(rig)
			after(rig)
			rig.shutDown()
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("the daemon dies", func(t *testing.T) {
		for calls := range 8 {
			synctest.Test(t, func(t *testing.T) {
				mem := newMemStore(t)
				rig := oldState(t, mem)
				rig.mem, rig.dieAtOnce = mem, calls
				rig.start()
				rig.restart()
				check(rig)
				rig.shutDown()
			})
		}
	})
	t.Run("the machine was started again", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			mem := newMemStore(t)
			rig := oldState(t, mem)
			rig.mem, rig.boot = mem, "boot2"
			for _, k := range rig.w.live() {
				rig.w.kill(k)
			}
			rig.start()
			rig.is("3", "lost")
			rig.sleep(minute)
			rig.is("r1", "active")
			rig.sound()
			if n := len(rig.get("r1").Attempts); n != 3 { // it was undone, and activated again
				t.Errorf("r1 has %d attempts, want 3", n)
			}
			rig.shutDown()
		})
	})
}

// TestManyOfLayout1 migrates more records than one transaction takes.
func TestManyOfLayout1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := newMemStore(t)
		const n = 1000
		var state [][2]string
		for i := range n {
			r := &Record{ID: "r" + strconv.Itoa(i), Kind: Reservation, Start: time.Now().Add(-hour), Slot: Slot{End: time.Now().Add(hour)},
				Life: Life{State: Active, NeedsUndo: true, Attempts: []Attempt{{Phase: Activate, N: 1}}}}
			data, err := r.Encode()
			if err != nil {
				t.Fatal(err)
			}
			state = append(state, [2]string{Key(r.ID), string(data)}, [2]string{OldActiveKey + r.ID, ""})
			for k, v := range r.Index() {
				if !strings.HasPrefix(k, ActiveKey) {
					state = append(state, [2]string{k, v})
				}
			}
		}
		state = append(state, [2]string{"n/state/active", "\x00\x00\x00\x00\x00\x00\x03\xe8"}, [2]string{"n/boot", "boot1"})
		put(t, mem, state)
		before := mem.Commits()
		rig := &testRig{t: t, db: mem, mem: mem, w: newWorld(), boot: "boot1", set: testSettings(), older: true}
		rig.start()
		defer rig.shutDown()
		if commits := mem.Commits() - before; commits > 2*n/MigrateRecords+5 {
			t.Errorf("it took %d transactions", commits)
		}
		rig.sound()
		rig.is("r999", "active")
	})
}

// TestNewerLayout: a daemon leaves the state of a newer daemon alone.
func TestNewerLayout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := newMemStore(t)
		put(t, mem, [][2]string{{LayoutMark, "3"}})
		rig := &testRig{t: t, db: mem, mem: mem, w: newWorld(), boot: "boot1", set: testSettings()}
		rig.start()
		defer rig.shutDown()
		if !errors.Is(rig.err, fault.Conflict) || !strings.Contains(rig.err.Error(), "layout 3") {
			t.Errorf("Run = %v, want a conflict", rig.err)
		}
		if _, err := rig.e.Get(context.Background(), "1"); !errors.Is(err, fault.Conflict) {
			t.Errorf("Get = %v, want a conflict", err)
		}
	})
}
