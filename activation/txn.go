package activation

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"activationd/internal/fault"
	"activationd/store"
)

// A txn is one transaction on the records. What it gathers beside them (orders,
// happenings) is carried out by its maker once it is durable.
type txn struct {
	store.Tx
	now time.Time
	set *Settings
	log *slog.Logger
	// freed are locks that somebody may be waiting for, later are ids that a
	// turn is to look at.
	freed []string
	later []string
	news  []Happening
}

// get reads a record. Its error is of kind fault.NotFound when there is none.
func (t *txn) get(id string) (*Record, error) { return decode(id, t.Get(key(id))) }

// An entry is one key of an index, with its value.
type entry struct {
	key string
	val []byte
}

// index returns all that the indexes hold because of r, and nothing else may
// be in them. So an index cannot go stale: a change of a record is saved
// together with the difference of its entries.
func (r *Record) index() []entry {
	var es []entry
	if at, armable := r.due(); !at.IsZero() {
		prefix := instantKey
		if armable {
			prefix = startKey
		}
		es = append(es, entry{prefix + instant(at) + "/" + r.ID, []byte{}})
	}
	if r.open() != nil {
		es = append(es, entry{runKey + r.ID, []byte{}})
	}
	if r.State == Active {
		es = append(es, entry{activeKey + r.ID, []byte{}})
	}
	for _, lock := range r.Held {
		es = append(es, entry{holderKey + lock, []byte(r.ID)})
	}
	if r.Line > 0 {
		for _, lock := range r.wants() {
			es = append(es, entry{queueEntry(lock, r.Line, r.ID), []byte{}})
		}
		if r.ForSlot {
			es = append(es, entry{queueEntry(slotQueue, r.Line, r.ID), []byte{}})
		}
	}
	if r.Source != "" {
		es = append(es, entry{sourceKey + r.Source + "/" + r.ID, sourceMark(r.Hash, r.State != Finished)})
	}
	return es
}

// save writes r, which was old before (nil: it is new), and its index entries.
func (t *txn) save(old, r *Record) error {
	data, err := r.encode()
	if err != nil {
		return fmt.Errorf("record of %s: %w", r.ID, err)
	}
	var was []entry
	if old != nil {
		was = old.index()
		t.leave(old, r)
	}
	if err := t.tally(old, r); err != nil {
		return err
	}
	if err := t.reindex(was, r.index()); err != nil {
		return err
	}
	return t.Put(key(r.ID), data)
}

// tally keeps the number of records in each state. Nil stands for no record.
func (t *txn) tally(old, r *Record) error {
	if old != nil && r != nil && old.State == r.State {
		return nil
	}
	for _, step := range []struct {
		r  *Record
		by int64
	}{{old, -1}, {r, +1}} {
		if step.r == nil {
			continue
		}
		k := stateNumber + string(step.r.State)
		n := int64(number(t, k)) + step.by
		if err := putNumber(t, k, uint64(max(0, n))); err != nil {
			return err
		}
	}
	return nil
}

// reindex replaces the entries of a record. Few are there: a scan is cheap.
func (t *txn) reindex(was, is []entry) error {
	for _, e := range was {
		if !slices.ContainsFunc(is, func(f entry) bool { return f.key == e.key }) {
			if err := t.Delete(e.key); err != nil {
				return err
			}
		}
	}
	for _, e := range is {
		if !slices.ContainsFunc(was, func(f entry) bool { return f.key == e.key && string(f.val) == string(e.val) }) {
			if err := t.Put(e.key, e.val); err != nil {
				return err
			}
		}
	}
	return nil
}

// leave notes what old had and r has no more: a lock, or a place in line.
func (t *txn) leave(old, r *Record) {
	for _, lock := range old.Held {
		if !slices.Contains(r.Held, lock) {
			t.freed = append(t.freed, lock)
		}
	}
	if old.Line > 0 && r.Line == 0 {
		t.freed = append(t.freed, old.wants()...)
	}
}

// heads lists, once, the ids that are first in line for what was freed, and
// those that are to be looked at later.
func (t *txn) heads() []string {
	ids := t.later
	for _, lock := range t.freed {
		if id := t.head(lock); id != "" {
			ids = append(ids, id)
		}
	}
	t.freed, t.later = nil, nil
	return ids
}

// head returns who is first in line for a lock, or for a slot.
func (t *txn) head(lock string) string {
	prefix := queueKey + lock + "/"
	for k := range t.Scan(prefix, "") {
		if _, id, ok := strings.Cut(strings.TrimPrefix(k, prefix), "/"); ok {
			return id
		}
	}
	return ""
}

// holder returns who holds a lock, or the empty string.
func (t *txn) holder(lock string) string { return string(t.Get(holderKey + lock)) }

// blocker says what keeps r from running: a lock that another holds, or one
// that another who came earlier waits for. Empty: no lock does.
func (t *txn) blocker(r *Record) string {
	for _, lock := range r.wants() {
		if h := t.holder(lock); h != "" && h != r.ID {
			return fmt.Sprintf("lock %s, held by %s", lock, h)
		}
		if h := t.head(lock); h != "" && h != r.ID && !slices.Contains(r.Held, lock) {
			return fmt.Sprintf("lock %s, next for %s", lock, h)
		}
	}
	return ""
}

// apply takes r through the table by e and sets what goes with the new state.
// It does not save. An event without a meaning in r's state is a
// fault.Conflict that says so.
func (t *txn) apply(r *Record, e Event, why string) error {
	to, ok := next(r.State, e, r.facts(t.now))
	if !ok {
		return fmt.Errorf("%s: %s: %w", r.ID, refusal(r.State, e), fault.Conflict)
	}
	from := r.State
	r.Reason = why
	if o := ending(from, e, r.Ending); o != "" {
		r.Ending = o
	}
	if to != from {
		r.State, r.Since = to, t.now
		t.enter(r, from, e)
	}
	t.news = append(t.news, Happening{Time: t.now, What: "state", ID: r.ID, State: string(r.State), Reason: why})
	return nil
}

// ending is how an activation shall end that e happens to in s, given what was
// decided before; empty: not decided by that.
func ending(s State, e Event, before Outcome) Outcome {
	switch e {
	case Cancel, Remove:
		if before == "" || s == Active {
			return Cancelled
		}
	case Miss:
		return Missed
	case Expire:
		return orElse(before, Failed)
	case Over:
		switch s {
		case Active:
			return orElse(before, Succeeded)
		case Scheduled, Held:
			return orElse(before, Missed)
		}
		return orElse(before, Failed)
	}
	return ""
}

func orElse(o, other Outcome) Outcome {
	if o != "" {
		return o
	}
	return other
}

// enter sets what goes with coming from one state into another.
func (t *txn) enter(r *Record, from State, e Event) {
	r.Line, r.ForSlot, r.Until = 0, false, time.Time{}
	r.Outcome = ""
	switch r.State {
	case Scheduled, Held:
		r.Ending, r.Renew, r.Late, r.Stopped = "", false, false, false
		r.Tries, r.Voids, r.RetryAt = 0, 0, time.Time{}
		if from == Deactivating { // proved
			r.Dirty = false
		}
		if !r.Dirty {
			r.Held = nil
		}
	case Waiting:
		if e == RunNow {
			r.Late = true
		}
		if e != Again && e != Void {
			r.RetryAt = time.Time{}
		}
		if !r.Dirty {
			r.Held = nil
		}
	case Deactivating:
		r.Tries, r.Voids, r.RetryAt = 0, 0, time.Time{}
	case Active:
		r.Tries, r.Voids = 0, 0
	case Finished:
		r.Outcome = orElse(r.Ending, Failed)
		r.Ending, r.Renew, r.Dirty, r.Held = "", false, false, nil
		r.Until = t.now.Add(t.set.Keep)
	}
}

// sourceMark is what the index of a source holds for each id: the hash of what
// the source said, and whether the activation is live.
func sourceMark(hash []byte, live bool) []byte {
	flag := byte('f')
	if live {
		flag = 'l'
	}
	return append(slices.Clone(hash), flag)
}

// parseMark reads what [sourceMark] wrote.
func parseMark(b []byte) (hash [16]byte, live bool) {
	if len(b) == len(hash)+1 {
		copy(hash[:], b)
		live = b[len(hash)] == 'l'
	}
	return hash, live
}
