package activation

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"activationd/internal/fault"
)

// A workdirs knows which work directories must be removed. A work directory is removed
// when its reservation is finished: its deactivation is verified or forgiven then. It is
// also removed when the reservation is forgiven and served again.
type workdirs struct {
	mu        sync.Mutex // held while a directory is made, but not while one is removed, which may take long
	removable map[string]bool
	removed   map[string]chan struct{} // by id, for directories that are being removed; closed afterwards
}

// removeWorkdirs notes that the work directories of reservations must be removed. It does
// not wait.
func (e *Engine) removeWorkdirs(ids []string) {
	if len(ids) == 0 {
		return
	}
	e.workdirs.mu.Lock()
	defer e.workdirs.mu.Unlock()
	if e.workdirs.removable == nil {
		e.workdirs.removable = map[string]bool{}
	}
	for _, id := range ids {
		e.workdirs.removable[id] = true
	}
	token(e.sweepNow)
}

// workdirPatience is how long the start of an attempt waits for the removal of an earlier
// work directory. Other starts wait with it. After that the start fails, and is tried
// again.
const workdirPatience = 5 * time.Second

// workdir returns the work directory of a reservation whose attempt is about to start. It
// first removes an earlier one, if that must be removed.
func (e *Engine) workdir(id string, uid, gid int) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), workdirPatience)
	defer cancel()
	if err := e.removeWorkdir(ctx, id); err != nil {
		return "", err
	}
	e.workdirs.mu.Lock()
	defer e.workdirs.mu.Unlock()
	return e.parts.Runs.Workdir(id, uid, gid)
}

// removeWorkdir removes a work directory if that is noted, or waits for its removal,
// until ctx is done.
func (e *Engine) removeWorkdir(ctx context.Context, id string) error {
	k := &e.workdirs
	k.mu.Lock()
	if removed := k.removed[id]; removed != nil {
		k.mu.Unlock()
		select {
		case <-ctx.Done():
			return fmt.Errorf("its earlier work directory is being removed: %w: %w", context.Cause(ctx), fault.Unavailable)
		case <-removed:
			return e.removeWorkdir(ctx, id) // in case the removal failed
		}
	}
	defer k.mu.Unlock()
	if !k.removable[id] {
		return nil
	}
	if k.removed == nil {
		k.removed = map[string]chan struct{}{}
	}
	removed := make(chan struct{})
	k.removed[id] = removed
	k.mu.Unlock()
	err := e.parts.Runs.RemoveWorkdir(ctx, id)
	k.mu.Lock()
	if err == nil {
		delete(k.removable, id)
	}
	delete(k.removed, id)
	close(removed)
	return err
}

// sweepWorkdirs removes the work directories that are noted. Those that fail stay noted.
func (e *Engine) sweepWorkdirs(ctx context.Context) {
	e.workdirs.mu.Lock()
	ids := slices.Collect(maps.Keys(e.workdirs.removable))
	e.workdirs.mu.Unlock()
	for _, id := range ids {
		if err := e.removePlan(ctx, id); err != nil && ctx.Err() == nil {
			e.parts.Log.Error("cannot remove an undo plan; trying again at the next start", "id", id, "err", err)
		}
		if err := sweepOne(ctx, func(ctx context.Context) error { return e.removeWorkdir(ctx, id) }); err != nil && ctx.Err() == nil {
			e.parts.Log.Error("cannot remove a work directory; trying again later", "id", id, "err", err)
		}
	}
}

// findWorkdirs notes the work directories that an earlier daemon should have removed.
func (e *Engine) findWorkdirs(ctx context.Context) {
	ids, err := e.parts.Runs.Workdirs()
	var over []string
	if err == nil {
		err = e.View(ctx, func(t *Txn) error {
			over = t.plannedAndUndone()
			for _, id := range ids {
				if r, err := t.Record(id); undone(r, err) {
					over = append(over, id)
				}
			}
			return nil
		})
	}
	if err != nil {
		e.parts.Log.Error("cannot list the work directories; trying again at the next start", "err", err)
	}
	e.removeWorkdirs(over)
}
