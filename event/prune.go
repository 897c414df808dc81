package event

import (
	"context"
	"encoding/binary"
	"iter"
	"math"
	"time"

	"activationd/store"
)

// pruneAtOnce bounds how many entries one transaction removes, so that it does not delay
// other transactions, and stays within the limits of a store. CountAtOnce bounds how many
// are counted in one view.
const (
	pruneAtOnce = 1000
	countAtOnce = 10_000
)

// A Retention says what [Log.Prune] leaves.
type Retention struct {
	Count int       // the newest events, and the newest acts among the older ones; 0: any number
	Since time.Time // events from then on
	Acts  time.Time // acts from then on
}

// Prune removes the oldest events, those that keep does not keep. Of the events that are
// too old or too many, it leaves the acts, which have a Retention of their own; followers
// do not read these any more, see [Log.Acts]. An event stays as long as another one of its
// entry. Prune returns the time of the oldest event that followers can read, or the zero
// time if there is none. It may be stopped at any point and called again.
//
// Prune counts the events each time: a stored counter would be a key that every
// transaction writes. So it should be called when [Log.Full] has a token, not often.
func (l *Log) Prune(ctx context.Context, keep Retention) (oldest time.Time, err error) {
	l.mu.Lock()
	l.grown, l.limit = 0, 0
	if keep.Count > 0 {
		l.limit = max(1, keep.Count/8)
	}
	l.mu.Unlock()
	ops, _ := store.Limits(l.db)
	most := min(pruneAtOnce, ops/2)
	if oldest, err = l.pruneBy(ctx, rule{count: keep.Count, before: keep.Since, most: most}); err == nil {
		_, err = l.pruneBy(ctx, rule{acts: true, count: keep.Count, before: keep.Acts, most: most})
	}
	return oldest, err
}

// pruneBy removes entries by a rule, and returns the time of the oldest that is left.
func (l *Log) pruneBy(ctx context.Context, r rule) (oldest time.Time, err error) {
	if r.count > 0 {
		n, err := l.atMost(ctx, r)
		if err == nil && n > r.count { // if not, they need not be counted
			n, _, err = l.walk(ctx, r, math.MaxInt)
		}
		if err == nil && n > r.count {
			_, r.upTo, err = l.walk(ctx, r, n-r.count)
		}
		if err != nil {
			return time.Time{}, err
		}
	}
	for {
		var old bool
		var pruned uint64
		err := l.db.View(ctx, func(tx store.Tx) error {
			oldest, old, pruned = time.Time{}, false, prunedUpTo(tx)
			for _, en := range r.entries(tx, 0) {
				oldest, old = r.old(en)
				break
			}
			return nil
		})
		if err != nil {
			return oldest, err
		}
		l.tail.forget(pruned)
		if !old {
			return oldest, nil
		}
		if err := l.db.Update(ctx, r.prune); err != nil {
			return oldest, err
		}
	}
}

// Full has a token when Prune should be called again: the events appended since the last
// call are an eighth of the number that it was to keep.
func (l *Log) Full() <-chan struct{} { return l.prune }

// walk goes through the oldest entries that a rule is for, as long as they have at most so
// many events. It returns how many events they have, and the number of the last one.
func (l *Log) walk(ctx context.Context, r rule, most int) (found int, last uint64, err error) {
	for {
		var some int
		end := last
		err := l.db.View(ctx, func(tx store.Tx) error {
			some, end = 0, last
			seen := 0
			for _, en := range r.entries(tx, last+1) {
				n := en.count()
				if seen == countAtOnce || found+some+n > most {
					break
				}
				seen, some, end = seen+1, some+n, en.n
			}
			return nil
		})
		if err != nil || end == last {
			return found, last, err
		}
		found, last = found+some, end
	}
}

// atMost returns a number of events that those of a rule do not exceed, from the numbers
// of the first and the last.
func (l *Log) atMost(ctx context.Context, r rule) (n int, err error) {
	err = l.db.View(ctx, func(tx store.Tx) error {
		pruned := prunedUpTo(tx)
		if n = int(pruned); !r.acts {
			n = int(tx.Stamp() - pruned)
		}
		return nil
	})
	return n, err
}

// A rule says which entries must be removed: of the entries that followers can read, or of
// the acts before these, those up to a number and those from before a time.
type rule struct {
	acts   bool
	count  int // how many events are kept; 0: any number
	upTo   uint64
	before time.Time
	most   int // at once
}

// entries yields the entries that the rule is for, from a number on.
func (r rule) entries(tx store.Tx, from uint64) iter.Seq2[string, entry] {
	pruned := prunedUpTo(tx)
	if !r.acts {
		return entries(tx, max(from, pruned+1))
	}
	return func(yield func(string, entry) bool) {
		for k, en := range entries(tx, from) {
			if en.n > pruned || !yield(k, en) {
				return
			}
		}
	}
}

// old reports whether an entry must be removed, and returns its time. One that cannot be
// read must be.
func (r rule) old(en entry) (time.Time, bool) {
	h, err := en.head()
	if err != nil {
		return time.Time{}, true
	}
	at := time.Unix(0, h.Time)
	return at, en.n <= r.upTo || at.Before(r.before)
}

// prune removes some of the oldest entries. Of those that followers can read it leaves the
// acts, and it stores the number of the newest that they can no longer read.
func (r rule) prune(tx store.Tx) error {
	removed, seen, last := 0, 0, uint64(0)
	for k, en := range r.entries(tx, 0) {
		if _, old := r.old(en); !old || removed == r.most || seen == countAtOnce {
			break
		}
		if r.acts || !en.isAct() {
			if err := tx.Delete(k); err != nil {
				return err
			}
			removed++
		}
		seen, last = seen+1, en.n
	}
	if r.acts || seen == 0 { // another call may have removed them
		return nil
	}
	return tx.Put(prunedKey, binary.BigEndian.AppendUint64(nil, last))
}
