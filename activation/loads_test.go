package activation

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"
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
