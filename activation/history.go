package activation

import (
	"strings"
	"time"

	"activationd/supervisor"
)

// The history is the finished activations that are kept. An activation leaves it when it
// is older than HistoryAge. If the history has more than HistoryCount activations or
// HistoryBytes bytes, the oldest leave it earlier. Each is kept for a minute at least.

// removableFrom is the time from which r, which is finished, may be removed to make room
// for others.
func (r *Record) removableFrom() time.Time {
	if known := r.knownUntil(); known.After(r.Since) {
		return known
	}
	return r.Since
}

// A remainder says what a run that has ended left on disk.
type remainder struct {
	bytes  int64
	output bool
}

// remainders reads what runs that have ended left on disk.
func (e *Engine) remainders(exits []supervisor.Exit) map[supervisor.Key]remainder {
	left := make(map[supervisor.Key]remainder, len(exits))
	for _, x := range exits {
		left[x.Key] = remainder{e.parts.Runs.Size(x.Key), wrote(e.parts.Runs, x.Key)}
	}
	return left
}

// tallyBytes updates the number of bytes of the history's run directories. A nil record
// stands for none.
func (t *Txn) tallyBytes(old, r *Record) error {
	by := make(map[string]int64) // by host
	for _, step := range []struct {
		r    *Record
		sign int64
	}{{old, -1}, {r, +1}} {
		if step.r == nil || step.r.State != Finished {
			continue
		}
		for i := range step.r.Attempts {
			a := &step.r.Attempts[i]
			by[t.hostOf(a)] += step.sign * a.Bytes
		}
	}
	for host, n := range by {
		if n == 0 {
			continue
		}
		k := finishedBytes + host
		if err := putNumber(t, k, uint64(max(0, int64(number(t, k))+n))); err != nil {
			return err
		}
	}
	return nil
}

// pruneOld removes the oldest activations of a history that is too large.
func (t *turn) pruneOld() error {
	t.pruneAt = time.Time{}
	tooMuch := func() bool {
		return t.Settings.HistoryCount > 0 && t.stateCounts()[Finished] > t.Settings.HistoryCount ||
			t.Settings.HistoryBytes > 0 && number(t, finishedBytes+t.host) > uint64(t.Settings.HistoryBytes)
	}
	if !tooMuch() || t.Doubt {
		return nil
	}
	var ids []string
	kept := 0 // of the activations that could be removed
	for k := range t.Scan(finishedKey, "") {
		at, id, err := parseInstant(strings.TrimPrefix(k, finishedKey))
		if err != nil {
			return err
		}
		if at = at.Add(minHistoryAge); at.After(t.Now) {
			t.pruneAt = at
			break
		}
		if len(ids) == maxTurn {
			t.pruneAt = t.Now // more must be removed
			break
		}
		if kept == maxTurn {
			break
		}
		if t.awaitedBy(id) {
			kept++
			continue
		}
		ids = append(ids, id)
	}
	for _, id := range ids {
		if !tooMuch() {
			t.pruneAt = time.Time{}
			return nil
		}
		if t.full() {
			t.pruneAt = t.Now
			return nil
		}
		t.looked, t.last = t.looked+1, id
		r, err := t.Record(id)
		if err != nil {
			return err
		}
		old := r.clone()
		if err := t.prune(r); err != nil {
			return err
		}
		if err := t.put(old, r); err != nil {
			return err
		}
	}
	if !tooMuch() {
		t.pruneAt = time.Time{}
	}
	return nil
}
