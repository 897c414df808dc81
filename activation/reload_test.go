package activation

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"activationd/internal/fault"
)

func TestReload(t *testing.T) {
	t.Run("nothing changed", func(t *testing.T) {
		announced(t, nil, one(hour, 2*hour), func(l *lab, src *fakeSource) {
			rep := l.loads(0, 0, 0, 0)
			if rep.Unchanged != 1 || rep.Generation != 2 {
				l.t.Errorf("%s, %d unchanged", rep.Summary(), rep.Unchanged)
			}
		})
	})
	t.Run("removed before it starts", func(t *testing.T) {
		announced(t, nil, one(hour, 2*hour), func(l *lab, src *fakeSource) {
			src.says()
			l.loads(0, 0, 1, 0)
			l.is("r1", "cancelled")
			l.because("r1", "its source announces it no more")
		})
	})
	t.Run("removed while active", func(t *testing.T) {
		announced(t, nil, one(0, hour), func(l *lab, src *fakeSource) {
			l.sleep(minute)
			src.says()
			l.loads(0, 0, 1, 0)
			l.is("r1", "deactivating")
			l.sleep(minute)
			l.is("r1", "cancelled")
			l.because("r1", "its source announces it no more")
		})
	})
	t.Run("removed while it is undone to be served again", func(t *testing.T) {
		announced(t, nil, one(0, hour), func(l *lab, src *fakeSource) {
			l.sleep(minute)
			src.says(slot("r1", minute, hour))
			l.loads(0, 1, 0, 0)
			l.is("r1", "deactivating")
			src.says()
			l.loads(0, 0, 1, 0)
			l.sleep(hour)
			l.is("r1", "cancelled")
			l.ran("r1.activate.1 r1.deactivate.1")
		})
	})
	t.Run("cancelled while it is undone to be served again", func(t *testing.T) {
		announced(t, nil, one(0, hour), func(l *lab, src *fakeSource) {
			l.sleep(minute)
			src.says(slot("r1", minute, hour))
			l.loads(0, 1, 0, 0)
			l.do(Cancel, "r1")
			l.sleep(hour)
			l.is("r1", "cancelled")
			l.ran("r1.activate.1 r1.deactivate.1")
		})
	})
	t.Run("announced again after it was removed", func(t *testing.T) {
		announced(t, nil, one(0, 2*hour), func(l *lab, src *fakeSource) {
			r := slot("r1", 0, 2*hour)
			l.sleep(minute)
			src.says()
			l.loads(0, 0, 1, 0)
			src.says(r)
			l.loads(1, 0, 0, 0) // while it is being undone
			l.sleep(minute)
			l.is("r1", "active")
			l.ran("r1.activate.1 r1.deactivate.1 r1.activate.2")
			src.says()
			l.loads(0, 0, 1, 0)
			l.sleep(minute)
			l.is("r1", "cancelled")
			src.says(r)
			l.loads(1, 0, 0, 0) // when it had been undone
			l.sleep(minute)
			l.is("r1", "active")
		})
	})
	t.Run("what an admin cancelled stays so", func(t *testing.T) {
		announced(t, func(s *Settings) { s.Keep = 2 * minute }, one(hour, 3*hour), func(l *lab, src *fakeSource) {
			l.do(Cancel, "r1")
			r := slot("r1", hour, 4*hour)
			src.says(r)
			l.loads(0, 1, 0, 0)
			l.is("r1", "cancelled")
			l.sleep(10 * minute) // longer than it would be kept if its slot were over
			r.Label = "another"
			src.says(r)
			l.loads(0, 1, 0, 0)
			l.is("r1", "cancelled")
			l.sleep(5 * hour)
			l.ran("")
			if _, err := l.e.Get(context.Background(), "r1"); !errors.Is(err, fault.NotFound) {
				l.t.Errorf("Get after its slot: %v", err)
			}
		})
	})
	t.Run("what an admin holds stays so", func(t *testing.T) {
		announced(t, nil, one(hour, 3*hour), func(l *lab, src *fakeSource) {
			l.do(Hold, "r1")
			src.says(slot("r1", 2*hour, 4*hour))
			l.loads(0, 1, 0, 0)
			l.is("r1", "held")
			l.because("r1", "held by root")
		})
	})
	t.Run("what failed is served again when it is moved", func(t *testing.T) {
		announced(t, nil, one(hour, 3*hour), func(l *lab, src *fakeSource) {
			l.script("r1", Activate, fails, fails, quick)
			l.sleep(2 * hour)
			l.is("r1", "failed")
			r := slot("r1", hour, 2*hour)
			src.says(r)
			l.loads(0, 1, 0, 0)
			l.is("r1", "scheduled")
			l.sleep(90 * minute)
			l.is("r1", "active")
		})
	})
	t.Run("what failed is not tried again for a label", func(t *testing.T) {
		announced(t, nil, one(0, 3*hour), func(l *lab, src *fakeSource) {
			l.do(Cancel, "r1")
			l.script("r2", Activate, fails)
			r := slot("r2", 0, 3*hour)
			src.says(r)
			l.load(LoadOptions{})
			l.sleep(hour)
			l.is("r2", "failed")
			r.Label = "another"
			src.says(r)
			l.loads(0, 1, 0, 0)
			l.is("r2", "failed")
		})
	})
}

func TestGuardAndForce(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		src := l.source("lab")
		src.says(slot("r1", hour, 2*hour), slot("r2", hour, 2*hour), slot("r3", hour, 2*hour))
		l.loads(3, 0, 0, 0)
		src.says(slot("r1", hour, 2*hour))
		rep := l.loads(0, 0, 0, 0)
		if !errors.Is(rep.Err, fault.Conflict) {
			l.t.Errorf("a load that removes two of three: %v, want a conflict", rep.Err)
		}
		l.is("r2", "scheduled")
		if got := l.status("lab").Error; got == "" {
			l.t.Error("the status does not say that a source was not loaded")
		}
		rep = l.load(LoadOptions{DryRun: true, Force: true})
		if rep.Removed != 2 || rep.Generation != 1 {
			l.t.Errorf("dry run: %s", rep.Summary())
		}
		l.is("r2", "scheduled")
		rep = l.load(LoadOptions{Force: true})
		if rep.Removed != 2 || rep.Err != nil {
			l.t.Errorf("forced: %s, %v", rep.Summary(), rep.Err)
		}
		l.is("r2", "cancelled")
		if got := l.status("lab"); got.Error != "" || got.Live != 1 {
			l.t.Errorf("status %+v, want one live and no error", got)
		}
	})
}

func (l *lab) status(source string) SourceStatus {
	l.t.Helper()
	s, err := l.e.Status(context.Background())
	if err != nil {
		l.t.Fatal(err)
	}
	for _, src := range s.Sources {
		if src.Name == source {
			return src
		}
	}
	l.t.Fatalf("no source %s in %+v", source, s.Sources)
	return SourceStatus{}
}

func (l *lab) sourceOf(id string) string {
	l.t.Helper()
	v := l.get(id)
	return v.SourceName()
}

func TestSeveralSources(t *testing.T) {
	t.Run("one fails, the other is loaded", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			a, b := l.source("a"), l.source("b")
			a.says(slot("r1", hour, 2*hour))
			b.says(slot("r2", hour, 2*hour))
			l.loads(2, 0, 0, 0)
			a.err = errors.New("connection refused")
			b.says(slot("r2", hour, 2*hour), slot("r3", hour, 2*hour))
			rep := l.loads(1, 0, 0, 0)
			if rep.Err == nil {
				l.t.Error("the load does not say that a source failed")
			}
			l.is("r1", "scheduled")
			l.is("r3", "scheduled")
		})
	})
	t.Run("the same id in both", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			a, b := l.source("a"), l.source("b")
			a.says(slot("r1", hour, 2*hour))
			b.says(slot("r1", 3*hour, 4*hour))
			l.loads(1, 0, 0, 1)
			if got := l.sourceOf("r1"); got != "a" {
				l.t.Errorf("it is of source %q, want the first", got)
			}
			l.loads(0, 0, 0, 1) // it is still there
			a.says()
			l.loads(0, 1, 0, 0) // the other one's counts now, though that has not changed
			if got := l.sourceOf("r1"); got != "b" {
				l.t.Errorf("it is of source %q, want b", got)
			}
		})
	})
	t.Run("an active one changes its source and goes on", func(t *testing.T) {
		for _, names := range [][2]string{{"a", "b"}, {"b", "a"}} {
			bubble(t, nil, func(l *lab) {
				l.source("a")
				l.source("b")
				from, to := l.srcs[0].Source.(*fakeSource), l.srcs[1].Source.(*fakeSource)
				if names[0] == "b" {
					from, to = to, from
				}
				r := slot("r1", 0, 2*hour)
				from.says(r)
				l.loads(1, 0, 0, 0)
				l.sleep(minute)
				from.says()
				to.says(r)
				l.loads(0, 1, 0, 0)
				l.is("r1", "active")
				if got := l.sourceOf("r1"); got != to.name {
					l.t.Errorf("it is of source %q, want %q", got, to.name)
				}
			})
		}
	})
	t.Run("one is not configured any more", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			l.source("a").says(slot("r1", hour, 2*hour))
			l.source("with/slash").says(slot("r2", hour, 2*hour))
			l.loads(2, 0, 0, 0)
			l.srcs = l.srcs[:1]
			l.e.SetSources(l.srcs)
			l.loads(0, 0, 1, 0)
			l.is("r1", "scheduled")
			l.is("r2", "cancelled")
			l.because("r2", "its source is not configured any more")
			if n := len(l.mem.sorted(loadKey)); n != 1 {
				l.t.Errorf("%d sources are remembered, want 1", n)
			}
		})
	})
	t.Run("other defaults are another reservation", func(t *testing.T) {
		announced(t, nil, one(hour, 2*hour), func(l *lab, src *fakeSource) {
			l.srcs = []Source{{Source: src, Lead: 10 * minute, Missed: MissedRun}}
			l.e.SetSources(l.srcs)
			l.loads(0, 1, 0, 0)
			l.sleep(50 * minute)
			l.is("r1", "activating")
		})
	})
	t.Run("a default tail that is longer than the slot", func(t *testing.T) {
		bubble(t, nil, func(l *lab) {
			src := l.source("a")
			l.srcs[0].Tail = hour
			l.e.SetSources(l.srcs)
			src.says(slot("r1", hour, 2*hour), slot("r2", hour, 3*hour))
			l.loads(1, 0, 0, 1)
		})
	})
}

// Who asks while a load runs is answered by one that began after he asked, and
// all of them by the same.
func TestLoadsAreMerged(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		src := l.source("lab")
		gate := make(chan struct{})
		src.gate = gate
		type answer struct {
			rep  Report
			live int
		}
		answers := make(chan answer, 10)
		ask := func() {
			rep, err := l.e.Load(context.Background(), LoadOptions{})
			if err != nil {
				l.t.Error(err)
			}
			answers <- answer{rep, rep.Added}
		}
		go ask()
		synctest.Wait() // the first load reads
		src.says(slot("r1", hour, 2*hour))
		for range 5 {
			go ask()
		}
		l.e.AskLoad()
		synctest.Wait()
		gate <- struct{}{}
		if a := <-answers; a.rep.Generation != 1 || a.rep.Added != 0 {
			l.t.Errorf("the first load: %s", a.rep.Summary())
		}
		gate <- struct{}{}
		for range 5 {
			if a := <-answers; a.rep.Generation != 2 || a.rep.Added != 1 {
				l.t.Errorf("a load that was asked for meanwhile: %s", a.rep.Summary())
			}
		}
		synctest.Wait()
		if src.read != 2 {
			l.t.Errorf("it was read %d times, want 2", src.read)
		}
		src.gate = nil
	})
}

func TestLoadWhenTheDaemonStops(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		src := l.source("lab")
		src.gate = make(chan struct{})
		errs := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := l.e.Load(context.Background(), LoadOptions{})
				errs <- err
			}()
			synctest.Wait()
		}
		l.shutDown()
		for range 2 {
			if err := <-errs; err == nil {
				l.t.Error("a load that was not done has no error")
			}
		}
	})
}
