package activation_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	. "activationd/activation"
	"activationd/activation/announce"

	"activationd/internal/fault"
)

func TestReload(t *testing.T) {
	t.Run("nothing changed", func(t *testing.T) {
		announced(t, nil, one(hour, 2*hour), func(rig *testRig, src *fakeSource) {
			rep := rig.loads(0, 0, 0, 0)
			if rep.Unchanged != 1 || rep.Generation != 2 {
				rig.t.Errorf("%s, %d unchanged", rep.Summary(), rep.Unchanged)
			}
		})
	})
	t.Run("removed before it starts", func(t *testing.T) {
		announced(t, nil, one(hour, 2*hour), func(rig *testRig, src *fakeSource) {
			src.says()
			rig.loads(0, 0, 1, 0)
			rig.is("r1", "cancelled")
			rig.because("r1", "its source no longer announces it")
		})
	})
	t.Run("removed while active", func(t *testing.T) {
		announced(t, nil, one(0, hour), func(rig *testRig, src *fakeSource) {
			rig.sleep(minute)
			src.says()
			rig.loads(0, 0, 1, 0)
			rig.is("r1", "deactivating")
			rig.sleep(minute)
			rig.is("r1", "cancelled")
			rig.because("r1", "its source no longer announces it")
		})
	})
	t.Run("removed while it is undone to be served again", func(t *testing.T) {
		announced(t, nil, one(0, hour), func(rig *testRig, src *fakeSource) {
			rig.sleep(minute)
			src.says(slot("r1", minute, hour))
			rig.loads(0, 1, 0, 0)
			rig.is("r1", "deactivating")
			src.says()
			rig.loads(0, 0, 1, 0)
			rig.sleep(hour)
			rig.is("r1", "cancelled")
			rig.ran("r1.activate.1 r1.deactivate.1")
		})
	})
	t.Run("cancelled while it is undone to be served again", func(t *testing.T) {
		announced(t, nil, one(0, hour), func(rig *testRig, src *fakeSource) {
			rig.sleep(minute)
			src.says(slot("r1", minute, hour))
			rig.loads(0, 1, 0, 0)
			rig.do(Cancel, "r1")
			rig.sleep(hour)
			rig.is("r1", "cancelled")
			rig.ran("r1.activate.1 r1.deactivate.1")
		})
	})
	t.Run("announced again after it was removed", func(t *testing.T) {
		announced(t, nil, one(0, 2*hour), func(rig *testRig, src *fakeSource) {
			r := slot("r1", 0, 2*hour)
			rig.sleep(minute)
			src.says()
			rig.loads(0, 0, 1, 0)
			src.says(r)
			rig.loads(1, 0, 0, 0) // while it is being undone
			rig.sleep(minute)
			rig.is("r1", "active")
			rig.ran("r1.activate.1 r1.deactivate.1 r1.activate.2")
			src.says()
			rig.loads(0, 0, 1, 0)
			rig.sleep(minute)
			rig.is("r1", "cancelled")
			src.says(r)
			rig.loads(1, 0, 0, 0) // when it had been undone
			rig.sleep(minute)
			rig.is("r1", "active")
		})
	})
	t.Run("what an admin cancelled stays so", func(t *testing.T) {
		announced(t, func(s *Settings) { s.HistoryAge = 2 * minute }, one(hour, 3*hour), func(rig *testRig, src *fakeSource) {
			rig.do(Cancel, "r1")
			r := slot("r1", hour, 4*hour)
			src.says(r)
			rig.loads(0, 1, 0, 0)
			rig.is("r1", "cancelled")
			rig.sleep(10 * minute) // longer than it would be kept after its slot
			r.Label = "another"
			src.says(r)
			rig.loads(0, 1, 0, 0)
			rig.is("r1", "cancelled")
			rig.sleep(5 * hour)
			rig.ran("")
			if _, err := rig.e.Get(context.Background(), "r1"); !errors.Is(err, fault.NotFound) {
				rig.t.Errorf("Get after its slot: %v", err)
			}
		})
	})
	t.Run("what an admin holds stays so", func(t *testing.T) {
		announced(t, nil, one(hour, 3*hour), func(rig *testRig, src *fakeSource) {
			rig.do(Hold, "r1")
			src.says(slot("r1", 2*hour, 4*hour))
			rig.loads(0, 1, 0, 0)
			rig.is("r1", "held")
			rig.because("r1", "held by root")
		})
	})
	t.Run("what failed is served again when it is moved", func(t *testing.T) {
		announced(t, nil, one(hour, 3*hour), func(rig *testRig, src *fakeSource) {
			rig.script("r1", Activate, fails, fails, quick)
			rig.sleep(2 * hour)
			rig.is("r1", "failed")
			r := slot("r1", hour, 2*hour)
			src.says(r)
			rig.loads(0, 1, 0, 0)
			rig.is("r1", "scheduled")
			rig.sleep(90 * minute)
			rig.is("r1", "active")
		})
	})
	t.Run("what failed is not tried again for a label", func(t *testing.T) {
		announced(t, nil, one(0, 3*hour), func(rig *testRig, src *fakeSource) {
			rig.do(Cancel, "r1")
			rig.script("r2", Activate, fails)
			r := slot("r2", 0, 3*hour)
			src.says(r)
			rig.load(announce.LoadOptions{})
			rig.sleep(hour)
			rig.is("r2", "failed")
			r.Label = "another"
			src.says(r)
			rig.loads(0, 1, 0, 0)
			rig.is("r2", "failed")
		})
	})
}

func TestGuardAndForce(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		src := rig.source("lab")
		src.says(slot("r1", hour, 2*hour), slot("r2", hour, 2*hour), slot("r3", hour, 2*hour))
		rig.loads(3, 0, 0, 0)
		src.says(slot("r1", hour, 2*hour))
		rep := rig.loads(0, 0, 0, 0)
		if !errors.Is(rep.Err, fault.Conflict) {
			rig.t.Errorf("a load that removes two of three: %v, want a conflict", rep.Err)
		}
		rig.is("r2", "scheduled")
		if got := rig.status("lab").Error; got == "" {
			rig.t.Error("the status does not say that a source was not loaded")
		}
		rep = rig.load(announce.LoadOptions{DryRun: true, Force: true})
		if rep.Removed != 2 || rep.Generation != 1 {
			rig.t.Errorf("dry run: %s", rep.Summary())
		}
		rig.is("r2", "scheduled")
		rep = rig.load(announce.LoadOptions{Force: true})
		if rep.Removed != 2 || rep.Err != nil {
			rig.t.Errorf("forced: %s, %v", rep.Summary(), rep.Err)
		}
		rig.is("r2", "cancelled")
		if got := rig.status("lab"); got.Error != "" || got.Live != 1 {
			rig.t.Errorf("status %+v, want one live and no error", got)
		}
	})
}

func (rig *testRig) status(source string) announce.SourceStatus {
	rig.t.Helper()
	all, err := rig.loader.Sources(context.Background())
	if err != nil {
		rig.t.Fatal(err)
	}
	for _, src := range all {
		if src.Name == source {
			return src
		}
	}
	rig.t.Fatalf("no source %s in %+v", source, all)
	return announce.SourceStatus{}
}

func (rig *testRig) sourceOf(id string) string {
	rig.t.Helper()
	v := rig.get(id)
	return v.SourceName()
}

func TestSeveralSources(t *testing.T) {
	t.Run("one fails, the other is loaded", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			a, b := rig.source("a"), rig.source("b")
			a.says(slot("r1", hour, 2*hour))
			b.says(slot("r2", hour, 2*hour))
			rig.loads(2, 0, 0, 0)
			a.err = errors.New("connection refused")
			b.says(slot("r2", hour, 2*hour), slot("r3", hour, 2*hour))
			rep := rig.loads(1, 0, 0, 0)
			if rep.Err == nil {
				rig.t.Error("the load does not say that a source failed")
			}
			rig.is("r1", "scheduled")
			rig.is("r3", "scheduled")
		})
	})
	t.Run("the same id in both", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			a, b := rig.source("a"), rig.source("b")
			a.says(slot("r1", hour, 2*hour))
			b.says(slot("r1", 3*hour, 4*hour))
			rig.loads(1, 0, 0, 1)
			if got := rig.sourceOf("r1"); got != "a" {
				rig.t.Errorf("it is of source %q, want the first", got)
			}
			rig.loads(0, 0, 0, 1) // it is still rejected
			a.says()
			rig.loads(0, 1, 0, 0) // now the other source's counts, though it has not changed
			if got := rig.sourceOf("r1"); got != "b" {
				rig.t.Errorf("it is of source %q, want b", got)
			}
		})
	})
	t.Run("an active one changes its source and goes on", func(t *testing.T) {
		for _, names := range [][2]string{{"a", "b"}, {"b", "a"}} {
			bubble(t, nil, func(rig *testRig) {
				rig.source("a")
				rig.source("b")
				from, to := rig.srcs[0].Source.(*fakeSource), rig.srcs[1].Source.(*fakeSource)
				if names[0] == "b" {
					from, to = to, from
				}
				r := slot("r1", 0, 2*hour)
				from.says(r)
				rig.loads(1, 0, 0, 0)
				rig.sleep(minute)
				from.says()
				to.says(r)
				rig.loads(0, 1, 0, 0)
				rig.is("r1", "active")
				if got := rig.sourceOf("r1"); got != to.name {
					rig.t.Errorf("it is of source %q, want %q", got, to.name)
				}
			})
		}
	})
	t.Run("one is no longer configured", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			rig.source("a").says(slot("r1", hour, 2*hour))
			rig.source("with/slash").says(slot("r2", hour, 2*hour))
			rig.loads(2, 0, 0, 0)
			rig.srcs = rig.srcs[:1]
			rig.configure()
			rig.loads(0, 0, 1, 0)
			rig.is("r1", "scheduled")
			rig.is("r2", "cancelled")
			rig.because("r2", "its source is no longer configured")
			if n := len(rig.mem.Keys("f/")); n != 1 {
				rig.t.Errorf("%d sources are remembered, want 1", n)
			}
		})
	})
	t.Run("other defaults are another reservation", func(t *testing.T) {
		announced(t, nil, one(hour, 2*hour), func(rig *testRig, src *fakeSource) {
			rig.srcs = []announce.Source{{Source: src, Lead: 10 * minute, Missed: MissedRun}}
			rig.configure()
			rig.loads(0, 1, 0, 0)
			rig.sleep(50 * minute)
			rig.is("r1", "activating")
		})
	})
	t.Run("a default tail that is longer than the slot", func(t *testing.T) {
		bubble(t, nil, func(rig *testRig) {
			src := rig.source("a")
			rig.srcs[0].Tail = hour
			rig.configure()
			src.says(slot("r1", hour, 2*hour), slot("r2", hour, 3*hour))
			rig.loads(1, 0, 0, 1)
		})
	})
}

// A request during a load is answered by a load that begins after the request. All
// requests during one load share the next one.
func TestLoadsAreMerged(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		src := rig.source("lab")
		gate := make(chan struct{})
		src.gate = gate
		type answer struct {
			rep  Report
			live int
		}
		answers := make(chan answer, 10)
		ask := func() {
			rep, err := rig.loader.Load(context.Background(), announce.LoadOptions{})
			if err != nil {
				rig.t.Error(err)
			}
			answers <- answer{rep, rep.Added}
		}
		go ask()
		synctest.Wait() // the first load reads
		src.says(slot("r1", hour, 2*hour))
		for range 5 {
			go ask()
		}
		rig.loader.Ask()
		synctest.Wait()
		gate <- struct{}{}
		if a := <-answers; a.rep.Generation != 1 || a.rep.Added != 0 {
			rig.t.Errorf("the first load: %s", a.rep.Summary())
		}
		gate <- struct{}{}
		for range 5 {
			if a := <-answers; a.rep.Generation != 2 || a.rep.Added != 1 {
				rig.t.Errorf("a load that was requested meanwhile: %s", a.rep.Summary())
			}
		}
		synctest.Wait()
		if src.read != 2 {
			rig.t.Errorf("it was read %d times, want 2", src.read)
		}
		src.gate = nil
	})
}

func TestLoadWhenTheDaemonStops(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		src := rig.source("lab")
		src.gate = make(chan struct{})
		errs := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := rig.loader.Load(context.Background(), announce.LoadOptions{})
				errs <- err
			}()
			synctest.Wait()
		}
		rig.shutDown()
		for range 2 {
			if err := <-errs; err == nil {
				rig.t.Error("a load that was not made has no error")
			}
		}
	})
}
