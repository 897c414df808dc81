package activation

import (
	"context"
	"log/slog"
	"sync"
	"testing"
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
