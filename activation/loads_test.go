package activation

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

	"activationd/reservation"
)

// TestManyAskForLoads has several ask for loads as fast as they can, while loads
// are done as fast as they can be. A request that came between a load's token and
// its round once led to a round that was not there, and ended the daemon.
func TestManyAskForLoads(t *testing.T) {
	e := New(Parts{DB: newMemStore(), Log: slog.New(slog.DiscardHandler)}, Settings{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = e.RunLoads(ctx)
	}()
	var askers sync.WaitGroup
	for range 4 {
		askers.Go(func() {
			for i := range 20_000 {
				e.AskLoad()
				if i%100 == 0 {
					if _, err := e.Load(ctx, LoadOptions{}); err != nil {
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

// TestWatchAgain has a source that cannot be watched at first: its directory is
// made later, say. From then on it is watched, and nobody has to ask.
func TestWatchAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil)
		s := &fakeSource{name: "late", late: true, watchErr: errors.New("its directory is missing")}
		s.says(slot("1@x", time.Hour, 2*time.Hour, "r1"))
		s.read = 0
		l.srcs = append(l.srcs, Source{Source: s, Missed: MissedRun})
		l.e.SetSources(l.srcs)
		time.Sleep(time.Minute)
		synctest.Wait()
		if s.watches < 3 {
			t.Fatalf("watched %d times in a minute, want again and again", s.watches)
		}
		s.mu.Lock()
		s.watchErr = nil
		s.mu.Unlock()
		time.Sleep(watchAgain + time.Second)
		synctest.Wait()
		if _, err := l.e.Get(t.Context(), "1@x"); err != nil {
			t.Errorf("after the source could be watched: %v", err)
		}
		before := s.watches
		time.Sleep(time.Minute)
		if s.watches != before {
			t.Errorf("watched %d times more while it was watched", s.watches-before)
		}
	})
}

// TestRejectsAreTold has loads that nobody waits for reject reservations: whoever
// follows along hears which and why, once.
func TestRejectsAreTold(t *testing.T) {
	bubble(t, nil, func(l *lab) {
		told := func(since uint64) (told []string) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = l.e.Follow(ctx, since, func(h Happening) error {
				if h.What == "rejected" || h.What == "notice" {
					told = append(told, h.ID+"|"+h.Reason)
				}
				return nil
			})
			return told
		}
		s := l.source("src")
		load := func(rejects ...reservation.Reject) []string {
			since := l.e.Newest()
			s.mu.Lock()
			s.set.Rejects = rejects
			s.set.Fingerprint += "+"
			s.mu.Unlock()
			l.e.AskLoad()
			return told(since)
		}
		one := reservation.Reject{Where: "r.yml:3", ID: "C", Text: "start: is no time"}
		two := reservation.Reject{Where: "r.yml:9", Text: "id: missing"}
		if got, want := load(one), []string{"C|src: r.yml:3: start: is no time"}; !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
		if got, want := load(one, two), []string{"|src: r.yml:9: id: missing"}; !slices.Equal(got, want) {
			t.Errorf("then told %q, want %q", got, want)
		}
		s.mu.Lock()
		s.set.Notices = []string{"look here"}
		s.mu.Unlock()
		if got, want := load(one, two), []string{"|src: look here"}; !slices.Equal(got, want) {
			t.Errorf("told %q of a notice, want %q", got, want)
		}
		since := l.e.Newest()
		l.e.AskLoad() // and nothing has changed
		if got := told(since); len(got) != 0 {
			t.Errorf("told again: %q", got)
		}
		load()
		if got := load(one); len(got) != 1 {
			t.Errorf("told %q of what was mended and is broken again", got)
		}
		var many []reservation.Reject
		for i := range 100 {
			many = append(many, reservation.Reject{Where: fmt.Sprintf("r.yml:%d", i), Text: "id: missing"})
		}
		got := load(many...)
		if len(got) != maxTold+1 || !strings.Contains(got[maxTold], "80 more") {
			t.Errorf("of a hundred, told %q", got)
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
		rep.fail("r.yml", errors.New(text))
		if rep.Err.Error() != want {
			t.Errorf("%v, want %s", rep.Err, want)
		}
	}
}
