package activation

import (
	"context"
	"iter"
	"slices"
	"strings"

	"activationd/store"
)

// A list reads few records that it does not show. What it may show is found in indexes:
//
//   - by kind and status, in the order of the records. The status of a finished activation is its
//     outcome.
//   - the reservations of devices that are not finished, in the calendar
//   - finished reservations whose slots end after a time
//   - failures by when they ended, which is not when that was noticed: the daemon may have been down
//   - scheduled activations by when they are due

// status is r's place in the index of kinds and statuses.
func (r *Record) status() string {
	if r.State == Finished {
		return string(r.Outcome)
	}
	return string(r.State)
}

// listEntries are the entries of r in the indexes for lists.
func (r *Record) listEntries() []entry {
	es := []entry{{statusPrefix(r.Kind, r.status()) + strings.TrimPrefix(key(r.ID), recordKey), []byte{}}}
	if r.State != Finished {
		return es
	}
	if r.policy().ends {
		es = append(es, entry{slotEndKey + Instant(r.End) + "/" + r.ID, []byte{}})
	}
	if r.failed() {
		es = append(es, entry{failedKey + Instant(r.Ended()) + "/" + r.ID, []byte{}})
	}
	return es
}

func statusPrefix(k Kind, status string) string { return statusKey + string(k) + "/" + status + "/" }

// indexStatuses makes the indexes for lists in a store of a version that had none, and counts what
// is live. The calendar has been made before.
func indexStatuses(ctx context.Context, db store.Store, host string) error {
	if err := db.Update(ctx, func(tx store.Tx) error {
		if tx.Get(statusesMade) != nil {
			return nil
		}
		for k, v := range tx.Scan(calendarKey, "") {
			if _, u, ok := parseCalendarEntry(k, v); ok {
				if err := noteSpan(tx, u.To.Sub(u.From)); err != nil {
					return err
				}
			}
		}
		counts := make(map[string]uint64)
		for k, v := range tx.Scan(sourceKey, "") {
			if _, live := parseMark(v); live {
				source, _, _ := strings.Cut(strings.TrimPrefix(k, sourceKey), "/")
				counts[source]++
			}
		}
		for source, n := range counts {
			if err := putNumber(tx, ofHost(liveNumber, host)+source, n); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	return indexLater(ctx, db, statusesMade, recordKey, func(_ store.Tx, k string, v []byte) []entry {
		r, err := decode(k, v)
		if err != nil {
			return nil // a turn that reads it logs the error
		}
		return r.listEntries()
	})
}

// candidates yields the records, in their order and from a key on, among which are all that f
// chooses.
func (t *Txn) candidates(f *Filter, from string) iter.Seq2[string, []byte] {
	var keys iter.Seq[string]
	if picked, ok := t.pick(f); ok {
		keys = func(yield func(string) bool) {
			i, _ := slices.BinarySearch(picked, from)
			for _, k := range picked[i:] {
				if !yield(k) {
					return
				}
			}
		}
	} else if prefixes := f.statuses(); prefixes != nil {
		keys = t.merged(prefixes, from)
	} else {
		return t.Scan(recordKey, from)
	}
	return func(yield func(string, []byte) bool) {
		for k := range keys {
			if data := t.Get(k); data != nil && !yield(k, data) {
				return
			}
		}
	}
}

// narrow reports whether f chooses by more than kind, state and outcome.
func (f *Filter) narrow() bool {
	return f.Owner != "" || f.Label != "" || f.ID != "" || f.From != "" || len(f.Tags) > 0 || len(f.Devices) > 0 || f.Text != "" ||
		!f.Since.IsZero() || !f.Until.IsZero() || !f.EndsAfter.IsZero()
}

// pick returns the keys of the records, sorted, among which are all that f chooses, if one of the
// indexes has these alone.
func (t *Txn) pick(f *Filter) (keys []string, ok bool) {
	add := func(id string) { keys = append(keys, key(id)) }
	switch over := f.states(Finished); {
	case f.Kind.policy().devices && !over && len(f.Devices) > 0:
		for _, d := range f.Devices {
			prefix := calendarKey + d + "/"
			for k := range t.Scan(prefix, "") {
				if _, id, err := parseInstant(strings.TrimPrefix(k, prefix)); err == nil {
					add(id)
				}
			}
		}
		for _, id := range t.Scan(holderKey, "") { // the calendar has only the devices in force of those that have some
			if id := string(id); id != "" && !isJob(id) {
				add(id)
			}
		}
	case !over && slices.ContainsFunc(f.In, conflictingOnly):
		for k := range t.Scan(conflictKey, "") {
			add(strings.TrimPrefix(k, conflictKey))
		}
	case f.Kind.policy().ends && !f.EndsAfter.IsZero() && over && !slices.ContainsFunc(States[:len(States)-1], f.states):
		for k := range t.Scan(slotEndKey, slotEndKey+Instant(f.EndsAfter)) {
			if _, id, err := parseInstant(strings.TrimPrefix(k, slotEndKey)); err == nil {
				add(id)
			}
		}
	case !f.Since.IsZero() && over && !f.may(&Record{Kind: f.Kind, Life: Life{State: Finished, Outcome: Succeeded}}) && !f.may(&Record{Kind: f.Kind, Life: Life{State: Finished, Outcome: Cancelled}}):
		for k := range t.Scan(failedKey, failedKey+Instant(f.Since)) {
			if _, id, err := parseInstant(strings.TrimPrefix(k, failedKey)); err == nil {
				add(id)
			}
		}
		for k := range t.merged(f.unfinished(), "") {
			keys = append(keys, k)
		}
	case f.Sort == "due" && !f.Reverse && f.Limit > 0 && !f.narrow() && f.only(Scheduled) && !f.Kind.policy().serves:
		last := ""
		for k := range t.Scan(startKey, "") {
			_, id, err := parseInstant(strings.TrimPrefix(k, startKey))
			if err != nil || strings.HasPrefix(id, producerMark) || f.Kind != "" && f.Kind.policy().private != isJob(id) {
				continue
			}
			at, _, _ := strings.Cut(strings.TrimPrefix(k, startKey), "/")
			if len(keys) >= f.Limit && at != last { // those of the same time have another order in the list
				break
			}
			add(id)
			last = at
		}
	default:
		return nil, false
	}
	slices.Sort(keys)
	return slices.Compact(keys), true
}

// conflictingOnly reports whether all conditions choose what conflicts.
func conflictingOnly(list []Condition) bool {
	return !slices.ContainsFunc(list, func(c Condition) bool { return !c.Conflicting })
}

// only reports whether f chooses all activations of a state, and no others.
func (f *Filter) only(s State) bool {
	return len(f.In) == 1 && slices.Equal(f.In[0], []Condition{{State: s}})
}

// statuses returns the prefixes of the index of kinds and statuses that have all that f chooses;
// nil: so many records are chosen, or must be looked at, that reading all of them in their order is
// faster.
func (f *Filter) statuses() (prefixes []string) {
	if f.states(Finished) && (!f.byID() || f.Limit == 0 || f.narrow() || f.Kind == "" && f.Finished && len(f.In) == 0) {
		return nil
	}
	for _, k := range f.kinds() {
		for _, o := range Outcomes {
			if f.may(&Record{Kind: k, Life: Life{State: Finished, Outcome: o}}) {
				prefixes = append(prefixes, statusPrefix(k, string(o)))
			}
		}
	}
	return append(f.unfinished(), prefixes...)
}

// unfinished returns those prefixes for activations that are not finished.
func (f *Filter) unfinished() []string {
	prefixes := []string{}
	for _, k := range f.kinds() {
		for _, s := range States {
			if s != Finished && f.may(&Record{Kind: k, Life: Life{State: s}}) {
				prefixes = append(prefixes, statusPrefix(k, string(s)))
			}
		}
	}
	return prefixes
}

// kinds are the kinds of activations that a list may have.
func (f *Filter) kinds() []Kind {
	if f.Kind != "" {
		return []Kind{f.Kind}
	}
	return []Kind{Job, Reservation}
}

// may reports whether f may choose activations with the kind, the state and the outcome of r.
func (f *Filter) may(r *Record) bool {
	for _, list := range f.In {
		if !slices.ContainsFunc(list, func(c Condition) bool { c.Conflicting = false; return c.Met(r) }) {
			return false
		}
	}
	return f.states(r.State)
}

// Of an index, so many keys are read at once: few first, as many lists end soon.
const (
	fewKeys  = 8
	manyKeys = 512
)

// merged yields the keys of the records in parts of the index of kinds and statuses, in the order
// of the records and from a key on.
func (t *Txn) merged(prefixes []string, from string) iter.Seq[string] {
	type part struct {
		prefix string
		keys   []string // of records, that were read and not yielded
		next   string   // where to go on in the index
		size   int
		done   bool
	}
	fill := func(p *part) {
		p.done = true
		for k := range t.Scan(p.prefix, p.next) {
			if len(p.keys) == p.size {
				p.next, p.size, p.done = k, min(2*p.size, manyKeys), false
				return
			}
			p.keys = append(p.keys, recordKey+strings.TrimPrefix(k, p.prefix))
		}
	}
	return func(yield func(string) bool) {
		parts := make([]*part, len(prefixes))
		for i, prefix := range prefixes {
			parts[i] = &part{prefix: prefix, size: fewKeys, next: prefix + strings.TrimPrefix(from, recordKey)}
			fill(parts[i])
		}
		for {
			var least *part
			for _, p := range parts {
				if len(p.keys) == 0 && !p.done {
					fill(p)
				}
				if len(p.keys) > 0 && (least == nil || p.keys[0] < least.keys[0]) {
					least = p
				}
			}
			if least == nil || !yield(least.keys[0]) {
				return
			}
			if least.keys = least.keys[1:]; len(least.keys) == 0 {
				least.keys = nil
			}
		}
	}
}
