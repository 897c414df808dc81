package activation

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"activationd/internal/fault"
	"activationd/store"
	"activationd/supervisor"
)

// A txn is one transaction on the records. What it gathers beside them (orders,
// happenings) is carried out by its maker once it is durable.
type txn struct {
	store.Tx
	moment
	began time.Time // of this daemon
	set   *Settings
	log   *slog.Logger
	parts *Parts
	zones *zones
	// freed are locks that somebody may be waiting for, later are ids that a
	// turn is to look at.
	freed []string
	later []string
	// over are reservations that have finished.
	over []string
	news []Happening
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
		switch {
		case armable:
			prefix = startKey
		case r.State == Finished:
			prefix = forgetKey
		}
		es = append(es, entry{prefix + instant(at) + "/" + r.ID, []byte(place(r.Priority))})
	}
	if r.open() != nil {
		mark := []byte{}
		if r.hangs() != nil {
			mark = []byte(hangsMark)
		}
		es = append(es, entry{runKey + r.ID, mark})
	}
	if r.State == Active {
		es = append(es, entry{activeKey + r.ID, []byte{}})
	}
	for _, w := range r.wantsOf(r.Held) {
		es = append(es, r.holding(w))
	}
	if r.Line > 0 {
		for _, w := range r.wants() {
			es = append(es, r.queueEntry(w.name))
		}
		if r.ForSlot {
			es = append(es, r.queueEntry(slotQueue))
		}
		if r.ForLoad {
			es = append(es, r.queueEntry(loadQueue))
		}
	}
	if r.AtJob != nil && r.State != Finished {
		es = append(es, r.atEntry())
	}
	if r.Recurrence != "" && r.State != Finished {
		es = append(es, entry{member(r.Recurrence, r.ID), []byte{}})
	}
	if len(r.After) > 0 && (r.State == Scheduled || r.State == Held || r.State == Waiting) {
		for _, a := range r.after() {
			es = append(es, entry{afterKey + a.id + "/" + r.ID, []byte{}})
		}
	}
	if r.State == Finished {
		es = append(es, entry{oldKey + instant(r.mayGo()) + "/" + r.ID, []byte{}})
	}
	if r.Source != "" {
		es = append(es, entry{sourceKey + r.Source + "/" + r.ID, sourceMark(r.Hash, r.State != Finished)})
	}
	return es
}

// hangsMark is what the index of open attempts holds for one that hangs.
const hangsMark = "hangs"

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
	if r.Recurrence != "" {
		if err := t.tallyEnd(old, r); err != nil {
			return err
		}
	}
	if err := t.weigh(old, r); err != nil {
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
	for i, spec := range old.Held {
		if !slices.Contains(r.Held, spec) {
			t.freed = append(t.freed, old.wantsOf(old.Held)[i].name)
		}
	}
	if old.Line == 0 {
		return
	}
	is := r.wants()
	for _, w := range old.wants() {
		if r.Line == 0 || r.Priority < old.Priority || !slices.Contains(is, w) {
			t.freed = append(t.freed, w.name)
		}
	}
}

// heads lists, once, the ids that are first in line for what was freed, and
// those that are to be looked at later.
func (t *txn) heads() []string {
	ids := t.later
	for _, lock := range t.freed {
		if _, id := t.head(lock); id != "" {
			ids = append(ids, id)
		}
	}
	t.freed, t.later = nil, nil
	return ids
}

// head returns who is first in line for a lock, and its place there.
func (t *txn) head(lock string) (place, id string) {
	prefix := queueKey + lock + "/"
	for k := range t.Scan(prefix, "") {
		if place, id, ok := strings.Cut(strings.TrimPrefix(k, prefix), "/"); ok {
			return place, id
		}
	}
	return "", ""
}

// apply takes r through the table by e and sets what goes with the new state.
// It does not save. An event without a meaning in r's state is a
// fault.Conflict that says so.
func (t *txn) apply(r *Record, e Event, why string) error {
	to, ok := next(r.State, e, r.facts(t.moment))
	if !ok {
		return fmt.Errorf("%s: %s: %w", r.ID, refusal(r.State, e, r.slot()), fault.Conflict)
	}
	from := r.State
	r.Reason = why
	if o := r.endingBy(e); o != "" && (o != r.Ending || r.Cause == "") {
		r.Ending, r.Cause = o, why
	}
	switch e {
	case Cancel, Remove:
		r.Renew, r.Pause = false, false
	case Hold:
		r.Pause = to == Activating
	case Release:
		r.Pause = false
	}
	if to != from {
		r.State, r.Since = to, t.now
		t.enter(r, from, e)
		if err := t.giveBack(r, from); err != nil {
			return err
		}
	} else if e == RunNow {
		r.RetryAt, r.Late, r.Forced = time.Time{}, true, true
	}
	if to != from || why != "" { // the next attempt of a phase is told as an attempt
		t.news = append(t.news, Happening{Time: t.now, What: "state", ID: r.ID, State: string(r.State), Reason: r.Reason, Outcome: r.Outcome})
	}
	return nil
}

// endingBy is how r shall end that e happens to; empty: e does not decide that.
func (r *Record) endingBy(e Event) Outcome {
	switch e {
	case Cancel, Remove:
		if r.Ending == "" || r.Renew || r.State == Active {
			return Cancelled
		}
	case Move:
		if r.Renew && (r.State == Activating || r.State == Active || r.Dirty && r.State == Waiting) {
			return orElse(r.Ending, Cancelled)
		}
	case Miss:
		return Missed
	case Unmet:
		return Cancelled
	case Expire:
		return orElse(r.Ending, Failed)
	case Over:
		switch {
		case r.State == Active:
			return orElse(r.Ending, Succeeded)
		case !r.Dirty && (r.State == Scheduled || r.State == Held):
			return orElse(r.Ending, Missed)
		}
		return orElse(r.Ending, Failed)
	}
	return ""
}

func orElse[T comparable](o, other T) T {
	var none T
	if o != none {
		return o
	}
	return other
}

// enter sets what goes with coming from one state into another.
func (t *txn) enter(r *Record, from State, e Event) {
	r.Line, r.ForSlot, r.ForLoad, r.Awaits, r.Until, r.Pause = 0, false, false, false, time.Time{}, false
	r.Outcome = ""
	switch r.State {
	case Scheduled, Held:
		if from == Deactivating { // proved
			r.Dirty = false
			r.Reason = "was undone, to be served again: " + r.Cause
		}
		if e == Forgive {
			r.Dirty = false
			r.Reason += "; to be served again in its new slot"
		}
		if !r.Dirty {
			r.Held = nil
		}
		r.Ending, r.Cause, r.Renew, r.Stopped = "", "", false, false
		r.Tries, r.Voids, r.NoStarts, r.RetryAt = 0, 0, 0, time.Time{}
		// What comes back for any reason but its source's is not missed: it was
		// somebody who kept it until now.
		r.Late = e != Move && !r.activateAt().After(t.now)
		r.Forced = false
	case Waiting:
		if e == RunNow {
			r.Late, r.Forced = true, true
		}
		if e != Again && e != Void {
			r.RetryAt = time.Time{}
		}
		if !r.Dirty {
			r.Held = nil
		}
	case Deactivating:
		r.Tries, r.Voids, r.NoStarts, r.RetryAt = 0, 0, 0, time.Time{}
		r.Cause = orElse(r.Cause, r.Reason)
	case Active:
		r.Tries, r.Voids, r.NoStarts = 0, 0, 0
		r.Reason = ""
	case Finished:
		switch e {
		case OK, Again, Spent, Void: // the end of an attempt is not why it ended
			r.Reason = orElse(r.Cause, r.Reason)
		}
		r.Outcome = orElse(r.Ending, Failed)
		r.Ending, r.Cause, r.Renew, r.Dirty, r.Held = "", "", false, false, nil
		r.Until = t.now.Add(t.set.Keep)
		t.later = append(t.later, t.dependents(r.ID)...)
	}
}

// put writes r, which was old before, or forgets it if its history has been
// kept long enough.
func (t *txn) put(old, r *Record) error {
	if r.State == "" {
		return t.forget(old)
	}
	return t.save(old, r)
}

// forget removes a record and all that the indexes hold because of it. Its
// evidence is removed once that is durable.
func (t *txn) forget(old *Record) error {
	if err := t.reindex(old.index(), nil); err != nil {
		return err
	}
	if err := t.tally(old, nil); err != nil {
		return err
	}
	if err := t.weigh(old, nil); err != nil {
		return err
	}
	if err := t.dropTopologies(old.ID); err != nil {
		return err
	}
	return t.Delete(key(old.ID))
}

// discard notes that the evidence of an attempt is to be removed.
func (t *txn) discard(k supervisor.Key) error { return t.Put(evidenceKey+k.String(), []byte{}) }

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
