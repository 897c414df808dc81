package activation

import (
	"context"
	"strings"
	"time"

	"activationd/supervisor"
)

// sweepAtOnce is how many run directories are removed before the removals are recorded.
const sweepAtOnce = 64

// sweepPatience is how long the sweeper spends on one directory: users may make it huge,
// or still add to it. It continues the next time.
const sweepPatience = time.Minute

func sweepOne(ctx context.Context, remove func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, sweepPatience)
	defer cancel()
	return remove(ctx)
}

// sweep removes old run directories, and the work directories of finished reservations,
// until ctx is done. It has a goroutine of its own. The run directories to remove are in
// the store, so none is forgotten.
func (e *Engine) sweep(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.sweepNow:
		}
		e.sweepWorkdirs(ctx)
		for from := ofHost(removalKey, e.home.host); from != "" && ctx.Err() == nil; {
			var err error
			if from, err = e.sweepSome(ctx, from); err != nil && ctx.Err() == nil {
				e.parts.Log.Error("cannot record that run directories were removed; trying again later", "err", err)
				break
			}
		}
	}
}

// sweepSome removes the directories of some runs, beginning at a key. It returns the key
// to continue from, or "" after the last.
func (e *Engine) sweepSome(ctx context.Context, from string) (next string, err error) {
	var keys []string
	err = e.View(ctx, func(t *Txn) error {
		keys, next = nil, ""
		for k := range t.Scan(ofHost(removalKey, t.host), from) {
			if len(keys) == sweepAtOnce {
				next = k
				break
			}
			keys = append(keys, k)
		}
		return nil
	})
	if err != nil || len(keys) == 0 {
		return "", err
	}
	gone := keys[:0]
	for _, k := range keys {
		if ctx.Err() != nil {
			break
		}
		run, ok := supervisor.ParseKey(strings.TrimPrefix(k, ofHost(removalKey, e.home.host)))
		if !ok {
			e.parts.Log.Error("not the name of a run", "key", k)
			continue
		}
		if err := sweepOne(ctx, func(ctx context.Context) error { return e.parts.Runs.Remove(ctx, run) }); err != nil {
			if ctx.Err() != nil {
				break
			}
			e.parts.Log.Error("cannot remove a run directory; trying again later", "run", run, "err", err)
			continue
		}
		gone = append(gone, k)
	}
	if len(gone) == 0 {
		return next, nil
	}
	return next, e.Update(ctx, func(t *Txn) error {
		for _, k := range gone {
			if err := t.Delete(k); err != nil {
				return err
			}
		}
		return nil
	})
}
