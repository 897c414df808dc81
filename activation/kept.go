package activation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"activationd/internal/fault"
	"activationd/store"
)

// A keeper knows which of the directories that reservations keep from attempt
// to attempt are to go. Such a one goes when its reservation is finished: its
// deactivation is proved then, or forgiven; also when it is forgiven to be served again.
type keeper struct {
	mu      sync.Mutex // held also while a directory is made, and not while one is removed, which may take long
	over    map[string]bool
	removed map[string]chan struct{} // closed when it is; of those that are being removed
}

// unkeep notes that reservations have finished. It does not wait.
func (e *Engine) unkeep(ids []string) {
	if len(ids) == 0 {
		return
	}
	e.kept.mu.Lock()
	defer e.kept.mu.Unlock()
	if e.kept.over == nil {
		e.kept.over = map[string]bool{}
	}
	for _, id := range ids {
		e.kept.over[id] = true
	}
	token(e.evidence)
}

// keepPatience is how long the start of an attempt waits until what an earlier life
// of its reservation left is gone. Others wait with it, and it is tried again.
const keepPatience = 5 * time.Second

// keep returns the directory of a reservation whose attempt is about to start.
// What is left of an earlier life of it goes first.
func (e *Engine) keep(id string, uid, gid int) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), keepPatience)
	defer cancel()
	if err := e.removeKept(ctx, id); err != nil {
		return "", err
	}
	e.kept.mu.Lock()
	defer e.kept.mu.Unlock()
	return e.parts.Runs.Keep(id, uid, gid)
}

// removeKept removes a directory if that is noted, or waits for who does, until ctx
// is done.
func (e *Engine) removeKept(ctx context.Context, id string) error {
	k := &e.kept
	k.mu.Lock()
	if removed := k.removed[id]; removed != nil {
		k.mu.Unlock()
		select {
		case <-ctx.Done():
			return fmt.Errorf("what it kept before is being removed: %w: %w", context.Cause(ctx), fault.Unavailable)
		case <-removed:
			return e.removeKept(ctx, id) // in case it failed
		}
	}
	defer k.mu.Unlock()
	if !k.over[id] {
		return nil
	}
	if k.removed == nil {
		k.removed = map[string]chan struct{}{}
	}
	removed := make(chan struct{})
	k.removed[id] = removed
	k.mu.Unlock()
	err := e.parts.Runs.Unkeep(ctx, id)
	k.mu.Lock()
	if err == nil {
		delete(k.over, id)
	}
	delete(k.removed, id)
	close(removed)
	return err
}

// sweepKept removes what is noted. What cannot be removed stays noted.
func (e *Engine) sweepKept(ctx context.Context) {
	e.kept.mu.Lock()
	ids := slices.Collect(maps.Keys(e.kept.over))
	e.kept.mu.Unlock()
	for _, id := range ids {
		if err := sweepOne(ctx, func(ctx context.Context) error { return e.removeKept(ctx, id) }); err != nil && ctx.Err() == nil {
			e.parts.Log.Error("cannot remove what a reservation kept; it is tried again later", "id", id, "err", err)
		}
	}
}

// findKept notes what an earlier daemon did not come to remove.
func (e *Engine) findKept(ctx context.Context) {
	ids, err := e.parts.Runs.Kept()
	var over []string
	if err == nil {
		err = e.parts.DB.View(ctx, func(tx store.Tx) error {
			over = nil
			t := e.begin(tx)
			for _, id := range ids {
				r, err := t.get(id)
				if errors.Is(err, fault.NotFound) || err == nil && (r.State == Finished || r.State == Scheduled && !r.Dirty) {
					over = append(over, id)
				}
			}
			return nil
		})
	}
	if err != nil {
		e.parts.Log.Error("cannot look what reservations have kept; it is tried again at the next start", "err", err)
	}
	e.unkeep(over)
}
