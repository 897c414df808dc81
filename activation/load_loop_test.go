package activation_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	. "activationd/activation"
	"activationd/activation/announce"
	"activationd/activation/recurring"

	"activationd/event"
	"activationd/internal/fault"
	"activationd/reservation"
)

// TestManyAskForLoads lets several clients request loads as fast as they can, while loads
// run as fast as they can. A request between a load's token and its round once led to a
// round that did not exist, and ended the daemon.
func TestManyAskForLoads(t *testing.T) {
	e := New(Parts{DB: newMemStore(t), Log: slog.New(slog.DiscardHandler)}, Settings{})
	loader := announce.NewLoader(e, announce.Configuration{}, fakeNodes, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = loader.Run(ctx, func(context.Context) (announce.Configuration, error) { return announce.Configuration{}, nil })
	}()
	var askers sync.WaitGroup
	for range 4 {
		askers.Go(func() {
			for i := range 20_000 {
				loader.Ask()
				if i%100 == 0 {
					if _, err := loader.Load(ctx, announce.LoadOptions{}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	askers.Wait()
	cancel()
	<-done
}

// TestWatchAgain has a source that cannot be watched at first, for example because its
// directory is made later. It is watched once that is possible, without a request.
func TestWatchAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rig := newRig(t, nil)
		s := &fakeSource{name: "late", late: true, watchErr: errors.New("its directory is missing")}
		s.says()
		rig.srcs = append(rig.srcs, announce.Source{Source: s, Missed: MissedRun})
		rig.configure()
		rig.load(announce.LoadOptions{})
		s.says(slot("1@x", time.Hour, 2*time.Hour, "r1"))
		time.Sleep(time.Minute)
		synctest.Wait()
		if s.watches < 3 {
			t.Fatalf("watched %d times in a minute, want again and again", s.watches)
		}
		s.mu.Lock()
		s.watchErr = nil
		s.mu.Unlock()
		time.Sleep(10*time.Second + time.Second)
		synctest.Wait()
		if _, err := rig.e.Get(t.Context(), "1@x"); err != nil {
			t.Errorf("after the source could be watched: %v", err)
		}
		before := s.watches
		time.Sleep(time.Minute)
		if s.watches != before {
			t.Errorf("watched %d times more while it was watched", s.watches-before)
		}
	})
}

// TestSourcesAreNotReadForDeclarations checks that a load for a change of what the configuration
// declares reads no source again, except one that failed, and that its reservations stay.
func TestSourcesAreNotReadForDeclarations(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		good, bad := rig.source("good"), rig.source("bad")
		good.says(slot("1@x", time.Hour, 2*time.Hour, "r1"))
		bad.says(slot("2@x", time.Hour, 2*time.Hour, "r2"))
		rig.load(announce.LoadOptions{})
		bad.mu.Lock()
		bad.err = fault.Unavailable
		bad.mu.Unlock()
		rig.load(announce.LoadOptions{})
		was := []int{good.read, bad.read}
		rig.loader.AskDeclared()
		synctest.Wait()
		if good.read != was[0] || bad.read != was[1]+1 {
			t.Errorf("the good source was read %d times more, the bad one %d times, want 0 and 1", good.read-was[0], bad.read-was[1])
		}
		for _, id := range []string{"1@x", "2@x"} {
			if v, err := rig.e.Get(t.Context(), id); err != nil || v.State != Scheduled {
				t.Errorf("%s is %+v, %v", id, v, err)
			}
		}
		was = []int{good.read, bad.read}
		rig.loader.AskDeclared()
		rig.loader.Ask() // who joins wants all
		synctest.Wait()
		if good.read != was[0]+1 || bad.read != was[1]+1 {
			t.Errorf("the sources were read %d and %d times more, want once", good.read-was[0], bad.read-was[1])
		}
	})
}

// TestConfigurationIsNotReadForDeclarations checks that such a load does not put in force what
// somebody has written into the configuration and not loaded yet, unless the one before could
// not be read.
func TestConfigurationIsNotReadForDeclarations(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		var broken error
		reads := 0
		loader := announce.NewLoader(rig.e, announce.Configuration{Settings: rig.set}, fakeNodes, slog.New(slog.DiscardHandler))
		go func() {
			_ = loader.Run(ctx, func(context.Context) (announce.Configuration, error) {
				reads++
				return announce.Configuration{Settings: rig.set}, broken
			})
		}()
		for _, step := range []struct {
			what string
			ask  func()
			err  error
			want int // reads so far
		}{
			{"the first load", loader.AskDeclared, nil, 1},
			{"a declaration", loader.AskDeclared, nil, 1},
			{"a reload", loader.Ask, nil, 2},
			{"a reload of a bad configuration", loader.Ask, fault.Invalid, 3},
			{"a declaration, after a bad configuration", loader.AskDeclared, nil, 4},
			{"a declaration, after a good one", loader.AskDeclared, nil, 4},
		} {
			broken = step.err
			step.ask()
			if synctest.Wait(); reads != step.want {
				t.Errorf("after %s, the configuration was read %d times, want %d", step.what, reads, step.want)
			}
		}
	})
}

// TestRejectsAreTold checks that a follower of events learns of each rejected
// reservation, and why, once, although no client waits for the loads.
func TestRejectsAreTold(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		told := func(since uint64) (told []string) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = rig.e.Follow(ctx, since, func(ev *event.Event) error {
				if ev.What == "rejected" || ev.What == "notice" {
					told = append(told, ev.ID+"|"+ev.Reason)
				}
				return nil
			})
			return told
		}
		s := rig.source("src")
		load := func(rejects ...reservation.Reject) []string {
			since := rig.newest()
			s.mu.Lock()
			s.set.Rejects = rejects
			s.set.Fingerprint += "+"
			s.mu.Unlock()
			rig.loader.Ask()
			return told(since)
		}
		one := reservation.Reject{Where: "r.yml:3", ID: "C", Text: "start: is no time"}
		two := reservation.Reject{Where: "r.yml:9", Text: "id: missing"}
		if got, want := load(one), []string{"C|src: r.yml:3: start: is no time"}; !slices.Equal(got, want) {
			t.Errorf("events %q, want %q", got, want)
		}
		if got, want := load(one, two), []string{"|src: r.yml:9: id: missing"}; !slices.Equal(got, want) {
			t.Errorf("then events %q, want %q", got, want)
		}
		s.mu.Lock()
		s.set.Notices = []string{"look here"}
		s.mu.Unlock()
		if got, want := load(one, two), []string{"|src: look here"}; !slices.Equal(got, want) {
			t.Errorf("events %q of a notice, want %q", got, want)
		}
		since := rig.newest()
		rig.loader.Ask() // without a change
		if got := told(since); len(got) != 0 {
			t.Errorf("the same events again: %q", got)
		}
		load()
		if got := load(one); len(got) != 1 {
			t.Errorf("events %q of a source that was fixed and is broken again", got)
		}
		var many []reservation.Reject
		for i := range 100 {
			many = append(many, reservation.Reject{Where: fmt.Sprintf("r.yml:%d", i), Text: "id: missing"})
		}
		got := load(many...)
		if len(got) != 20+1 || !strings.Contains(got[20], "80 more") {
			t.Errorf("events %q of a hundred rejections", got)
		}
	})
}

// The error of a source begins with its name once, also if it has a line there.
func TestReportNamesSourceOnce(t *testing.T) {
	for text, want := range map[string]string{
		"r.yml:1: is empty":  "r.yml:1: is empty",
		"connection refused": "r.yml: connection refused",
	} {
		var rep Report
		rep.Fail("r.yml", errors.New(text))
		if rep.Err.Error() != want {
			t.Errorf("%v, want %s", rep.Err, want)
		}
	}
}

// TestConfigurationOfALoad checks that each load puts in force the whole configuration
// that it reads, and that a configuration that cannot be read changes nothing and is
// reported.
func TestConfigurationOfALoad(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		one, two := &fakeSource{name: "one"}, &fakeSource{name: "two"}
		one.says(slot("1@x", hour, 2*hour, "r1"))
		two.says(slot("2@x", hour, 2*hour, "r2"))
		conf := announce.Configuration{
			Settings: *rig.e.Settings(), Sources: []announce.Source{{Source: one, Missed: MissedRun}}, Notices: []string{"look here"},
			Declare: declares(rig.book, []recurring.Rule{{Name: "nightly", Every: hour, Job: NewJob{Order: Order{Argv: []string{"true"}}}}}),
		}
		conf.Settings.MaxParallel = 7
		var broken error
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		loader := announce.NewLoader(rig.e, announce.Configuration{Settings: rig.set}, fakeNodes, slog.New(slog.DiscardHandler))
		go func() {
			_ = loader.Run(ctx, func(context.Context) (announce.Configuration, error) { return conf, broken })
		}()
		load := func(want string) Report {
			t.Helper()
			rep, err := loader.Load(ctx, announce.LoadOptions{})
			if err != nil || rep.Summary() != want {
				t.Fatalf("%s, %v; want %s", rep.Summary(), err, want)
			}
			return rep
		}
		rep := load("generation=1 added=2 changed=0 removed=0 rejected=0 over=0")
		if want := (ReportLine{What: "notice", Source: "configuration", Text: "look here"}); !slices.Contains(rep.Lines, want) {
			t.Errorf("the report is %+v, want %+v in it", rep.Lines, want)
		}
		if got := rig.e.Settings().MaxParallel; got != 7 {
			t.Errorf("at most %d in parallel, want 7", got)
		}
		synctest.Wait()
		watches := one.watches
		load("generation=2 added=0 changed=0 removed=0 rejected=0 over=0")
		if synctest.Wait(); one.watches != watches {
			t.Error("the watch of an unchanged source was started again")
		}

		conf = announce.Configuration{}
		broken = errors.New("d.yaml:3: jobs: unknown key")
		rep = load("generation=3 added=0 changed=0 removed=0 rejected=0 over=0")
		if rep.Err == nil || rep.Err.Error() != "configuration: d.yaml:3: jobs: unknown key" {
			t.Errorf("the report's error is %v", rep.Err)
		}
		if got := rig.e.Settings().MaxParallel; got != 7 {
			t.Errorf("at most %d in parallel, want 7 still", got)
		}

		conf = announce.Configuration{Settings: *rig.e.Settings(), Sources: []announce.Source{{Source: two, Missed: MissedRun}}, Declare: declares(rig.book, nil)}
		broken = nil
		load("generation=4 added=1 changed=0 removed=2 rejected=0 over=0")
		if synctest.Wait(); two.watches != 1 {
			t.Errorf("the new source is watched %d times, want once", two.watches)
		}
	})
}

// TestWhoForcedALoad: of the clients that share a load, its event names one who forced it.
func TestWhoForcedALoad(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		since := rig.newest()
		loader := announce.NewLoader(rig.e, announce.Configuration{Settings: rig.set}, fakeNodes, slog.New(outside{}))
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		for _, o := range []announce.LoadOptions{{By: Actor{Name: "ada"}}, {By: Actor{Name: "bob"}, Force: true}, {By: Actor{Name: "eve"}}} {
			go func() { _, _ = loader.Load(ctx, o) }()
			synctest.Wait()
		}
		go func() {
			_ = loader.Run(ctx, func(context.Context) (announce.Configuration, error) {
				return announce.Configuration{Settings: rig.set}, nil
			})
		}()
		synctest.Wait()
		for _, ev := range rig.eventsAfter(since) {
			if ev.What == "load" && ev.Actor != nil && ev.Actor.Name == "bob" {
				return
			}
		}
		t.Errorf("no load of bob's: %q", rig.happened(since))
	})
}
