package activation

import (
	"context"
	"strconv"
	"strings"
	"time"

	"activationd/store"
	"activationd/supervisor"
)

// sweepAtOnce is how many runs' evidence is removed before that is written down.
const sweepAtOnce = 64

// sweepPatience is how long the sweeper is at one directory: what a run's user made
// of it may be huge, or still grow. It goes on with it the next time.
const sweepPatience = time.Minute

func sweepOne(ctx context.Context, remove func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, sweepPatience)
	defer cancel()
	return remove(ctx)
}

// sweep removes evidence that has been kept long enough, and the directories of
// reservations that have finished, beside Run, until ctx
// is done. What is to be removed is in the store, so that none of it is
// forgotten.
func (e *Engine) sweep(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.evidence:
		}
		e.sweepKept(ctx)
		for from := evidenceKey; from != "" && ctx.Err() == nil; {
			var err error
			if from, err = e.sweepSome(ctx, from); err != nil && ctx.Err() == nil {
				e.parts.Log.Error("cannot write that evidence was removed; it is tried again later", "err", err)
				break
			}
		}
	}
}

// sweepSome removes the evidence of some runs, from a key on. It returns where
// to go on, or the empty string.
func (e *Engine) sweepSome(ctx context.Context, from string) (next string, err error) {
	var keys []string
	err = e.parts.DB.View(ctx, func(tx store.Tx) error {
		keys, next = nil, ""
		for k := range tx.Scan(evidenceKey, from) {
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
		run, ok := parseRun(strings.TrimPrefix(k, evidenceKey))
		if !ok {
			e.parts.Log.Error("not the name of a run", "key", k)
			continue
		}
		if err := sweepOne(ctx, func(ctx context.Context) error { return e.parts.Runs.Remove(ctx, run) }); err != nil {
			if ctx.Err() != nil {
				break
			}
			e.parts.Log.Error("cannot remove the evidence of a run; it is tried again later", "run", run, "err", err)
			continue
		}
		gone = append(gone, k)
	}
	if len(gone) == 0 {
		return next, nil
	}
	return next, e.parts.DB.Update(ctx, func(tx store.Tx) error {
		for _, k := range gone {
			if err := tx.Delete(k); err != nil {
				return err
			}
		}
		return nil
	})
}

// parseRun reads what [supervisor.Key.String] wrote.
func parseRun(s string) (k supervisor.Key, ok bool) {
	s, n, ok1 := cutLast(s, ".")
	id, phase, ok2 := cutLast(s, ".")
	number, err := strconv.Atoi(n)
	return supervisor.Key{ID: id, Phase: phase, N: number}, ok1 && ok2 && err == nil
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
