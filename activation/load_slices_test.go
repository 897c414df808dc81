package activation_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	. "activationd/activation"
	"activationd/activation/announce"
	"activationd/activation/recurring"

	"activationd/reservation"
	"activationd/store/memstore"
)

// many returns n reservations with one start.
func many(n int, start time.Duration) (rs []reservation.Reservation) {
	for i := range n {
		rs = append(rs, slot(fmt.Sprintf("r%d", i), start, start+hour, fmt.Sprintf("sw%d", i)))
	}
	return rs
}

// inSlices runs fn in a bubble, with a daemon whose store takes few writes at a time.
func inSlices(t *testing.T, fn func(*testRig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		rig := &testRig{t: t, mem: memstore.Strict(1), w: newWorld(), boot: "boot1", set: testSettings()}
		rig.set.MaxRemoval = 1
		rig.db = rig.mem
		rig.start()
		defer rig.shutDown()
		fn(rig)
	})
}

// TestLoadInSlices has a load write more than the store takes in one transaction.
func TestLoadInSlices(t *testing.T) {
	inSlices(t, func(rig *testRig) {
		const n = 200
		a, b := rig.source("a"), rig.source("b")
		a.says(many(n, 10*hour)...)
		b.says(slot("r7", 5*hour, 6*hour, "x"), slot("own", 5*hour, 6*hour, "y"))
		if rep := rig.load(announce.LoadOptions{DryRun: true}); rep.Added != 0 { // the sources are not in force yet
			t.Errorf("a dry run: %s", rep.Summary())
		}
		commits := rig.mem.Commits()
		rig.loads(n+1, 0, 0, 1) // r7 belongs to source a
		if n := rig.mem.Commits() - commits; n < 3 {
			t.Errorf("it took %d transactions, want several", n)
		}
		rig.sourceIs("r7", "a")

		b.says(many(n, 20*hour)...) // they move to another source, and to another time
		a.says()
		dry := rig.load(announce.LoadOptions{DryRun: true})
		rep := rig.loads(0, n, 1, 0)
		if dry.Added != rep.Added || dry.Changed != rep.Changed || dry.Removed != rep.Removed || dry.Rejected != rep.Rejected {
			t.Errorf("a dry run says %s, the load %s", dry.Summary(), rep.Summary())
		}
		rig.sourceIs("r7", "b")
		if rig.mem.Value("n/loading") != nil {
			t.Error("the mark is left")
		}
	})
}

// TestDeclareInSlices declares more recurrences in a configuration than the store takes
// in one transaction.
func TestDeclareInSlices(t *testing.T) {
	inSlices(t, func(rig *testRig) {
		var rules []recurring.Rule
		for i := range 200 {
			rules = append(rules, recurring.Rule{
				Name: fmt.Sprintf("e%d", i), Every: hour, Job: NewJob{Order: Order{Owner: "ada", Argv: []string{"true"}}},
			})
		}
		rig.declare(rules...)
		rig.loads(len(rules), 0, 0, 0)
		rig.declare()
		rig.loads(0, 0, len(rules), 0)
	})
}

func (rig *testRig) sourceIs(id, want string) {
	rig.t.Helper()
	if got := rig.sourceOf(id); got != want {
		rig.t.Errorf("%s is announced by %q, want %q", id, got, want)
	}
}

// TestCrashWithinALoad lets a daemon die at every transaction of a load. By the next load the
// source has its earlier content again, and the applied part of the interrupted load must not
// stay.
func TestCrashWithinALoad(t *testing.T) {
	const n = 60
	for calls := 1; ; calls++ {
		finished := false
		inSlices(t, func(rig *testRig) {
			s := rig.source("src")
			before := many(n, 10*hour)
			s.says(before...)
			rig.loads(n, 0, 0, 0)
			s.says(many(n+5, 20*hour)[3:]...)
			rig.m.dieAfter(calls)
			_, err := rig.loader.Load(context.Background(), announce.LoadOptions{})
			synctest.Wait()
			finished = err == nil && !rig.m.isDead()
			if !finished && err == nil {
				return // it died after everything was written
			}
			s.says(before...)
			rig.restart()
			rig.load(announce.LoadOptions{})
			if got := rig.ids(); len(got) != n {
				t.Errorf("died after %d calls: there are %d reservations, want %d: %v", calls, len(got), n, got)
			}
			for i := range n {
				v, err := rig.e.Get(context.Background(), fmt.Sprintf("r%d", i))
				if err != nil || !v.Start.Equal(before[i].Start) {
					t.Fatalf("died after %d calls: r%d starts at %v, %v; want %v", calls, i, v.Start, err, before[i].Start)
				}
			}
			if rig.mem.Value("n/loading") != nil {
				t.Errorf("died after %d calls: the mark is left", calls)
			}
			rig.sound()
		})
		if finished || t.Failed() {
			break
		}
		if calls == 200 {
			t.Fatal("the load has no end")
		}
	}
}

// TestCrashWithinTheFirstLoad lets a daemon die in the first load of a source. Then the source
// is removed from the configuration.
func TestCrashWithinTheFirstLoad(t *testing.T) {
	const n = 200
	partly := 0
	for calls := 1; calls <= 8; calls++ {
		inSlices(t, func(rig *testRig) {
			s := rig.source("src")
			s.says(many(n, 10*hour)...)
			rig.m.dieAfter(calls)
			_, _ = rig.loader.Load(context.Background(), announce.LoadOptions{})
			synctest.Wait()
			if got := len(rig.ids()); got > 0 && got < n {
				partly++
			}
			rig.srcs = nil
			rig.restart()
			rig.load(announce.LoadOptions{})
			if got := rig.ids(); len(got) > 0 {
				t.Errorf("died after %d calls: %v are left", calls, got)
			}
			rig.sound()
		})
	}
	if partly == 0 {
		t.Error("no daemon died within the load")
	}
}

// ids lists the reservations that are not finished.
func (rig *testRig) ids() (ids []string) {
	rig.t.Helper()
	err := rig.e.List(context.Background(), Filter{}, func(v View) error {
		if v.State != Finished {
			ids = append(ids, v.ID)
		}
		return nil
	})
	if err != nil {
		rig.t.Fatal(err)
	}
	slices.Sort(ids)
	return ids
}
