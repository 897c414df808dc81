package activation

import (
	"strings"
	"time"

	"activationd/supervisor"
)

// History is what is kept of what is finished: nothing longer than its age, and
// of the rest the oldest goes first when there is more than count or bytes say.
// What has just finished is kept a minute in any case.

// mayGo is from when on r, which is finished, may be forgotten to make room for
// others: not while its source announces it for a slot that is not over.
func (r *Record) mayGo() time.Time {
	if end := r.deactivateAt(); r.Source != "" && end.After(r.Since) {
		return end
	}
	return r.Since
}

// evidence is how many bytes r's attempts have left on disk.
func (r *Record) evidence() (n int64) {
	for _, a := range r.Attempts {
		n += a.Bytes
	}
	return n
}

// sizes measures what the runs that have ended left on disk.
func (e *Engine) sizes(exits []supervisor.Exit) map[supervisor.Key]int64 {
	sizes := make(map[supervisor.Key]int64, len(exits))
	for _, x := range exits {
		sizes[x.Key] = e.parts.Runs.Size(x.Key)
	}
	return sizes
}

// weigh keeps the number of bytes of what is finished. Nil stands for no record.
func (t *txn) weigh(old, r *Record) error {
	var by int64
	if r != nil && r.State == Finished {
		by += r.evidence()
	}
	if old != nil && old.State == Finished {
		by -= old.evidence()
	}
	if by == 0 {
		return nil
	}
	return putNumber(t, oldBytes, uint64(max(0, int64(number(t, oldBytes))+by)))
}

// pruneOld forgets as much of the oldest history as there is too much of.
func (t *turn) pruneOld() error {
	t.pruneAt = time.Time{}
	over := func() bool {
		return t.set.KeepCount > 0 && number(t, stateNumber+string(Finished)) > uint64(t.set.KeepCount) ||
			t.set.KeepBytes > 0 && number(t, oldBytes) > uint64(t.set.KeepBytes)
	}
	if !over() || t.doubt {
		return nil
	}
	var ids []string
	kept := 0 // of those that could go
	for k := range t.Scan(oldKey, "") {
		at, id, err := parseInstant(strings.TrimPrefix(k, oldKey))
		if err != nil {
			return err
		}
		if at = at.Add(minKeep); at.After(t.now) {
			t.pruneAt = at
			break
		}
		if len(ids) == maxTurn {
			t.pruneAt = t.now // there is more to do
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
		if !over() {
			t.pruneAt = time.Time{}
			return nil
		}
		r, err := t.get(id)
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
	if !over() {
		t.pruneAt = time.Time{}
	}
	return nil
}
