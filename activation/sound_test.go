package activation

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"activationd/store"
	"activationd/supervisor"
)

// sound checks what must hold at any time, whatever happened.
func (l *lab) sound() {
	l.t.Helper()
	for _, f := range l.unsound() {
		l.t.Error(f)
	}
}

// unsound lists what is not as it must be.
func (l *lab) unsound() (faults []string) {
	l.w.mu.Lock()
	faults = append(faults, l.w.faults...)
	l.w.mu.Unlock()
	_ = l.db.View(context.Background(), func(tx store.Tx) error {
		faults = append(faults, checkStore(tx)...)
		faults = append(faults, checkVLANs(tx)...)
		if l.stop != nil && !l.m.isDead() && (l.mem == nil || !l.mem.full.Load()) {
			faults = append(faults, l.checkRest(tx)...)
			faults = append(faults, l.checkKept(tx)...)
		}
		return nil
	})
	return faults
}

// checkStore checks what must hold of the records and their indexes at any
// time, also when no daemon runs.
func checkStore(tx store.Tx) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	entries := make(map[string]string)
	states := make(map[State]uint64)
	holders := make(map[string][]want)
	bytes := int64(0)
	for k, data := range tx.Scan(recordKey, "") {
		r, err := decode(k, data)
		if err != nil {
			fault("%v", err)
			continue
		}
		states[r.State]++
		for _, en := range r.index() {
			entries[en.key] = string(en.val)
		}
		for _, w := range r.wantsOf(r.Held) {
			if others := holders[w.name]; !w.fits(others) {
				fault("%s is held as %v, and by %s as %s", w.name, others, r.ID, w)
			}
			holders[w.name] = append(holders[w.name], w)
		}
		if r.State == Finished {
			bytes += r.evidence()
		}
		if r.Awaits && (r.State != Waiting || r.Line > 0) {
			fault("%s is %s in place %d of the line, and awaits others", r.ID, r.State, r.Line)
		}
		busy := slices.Contains([]State{Activating, Active, Deactivating, Stuck}, r.State)
		if len(r.Held) > 0 && !busy && !r.Dirty {
			fault("%s is %s and holds %v", r.ID, r.State, r.Held)
		}
		if (r.State == Finished) != (r.Outcome != "") {
			fault("%s is %s with outcome %q", r.ID, r.State, r.Outcome)
		}
		if r.open() != nil && r.State != Activating && r.State != Deactivating {
			fault("%s is %s with an open attempt", r.ID, r.State)
		}
		if r.open() == nil && r.State == Activating {
			fault("%s is activating without an attempt", r.ID)
		}
		if r.Line > 0 && r.State != Waiting {
			fault("%s is in line and %s", r.ID, r.State)
		}
	}
	for k, data := range tx.Scan(recurrenceKey, "") {
		r, err := decodeRecurrence(k, data)
		if err != nil {
			fault("%v", err)
			continue
		}
		for _, en := range r.index() {
			entries[en.key] = string(en.val)
		}
	}
	for _, prefix := range []string{startKey, instantKey, forgetKey, runKey, activeKey, holderKey, queueKey, afterKey, oldKey, sourceKey, memberKey, atKey} {
		for k, v := range tx.Scan(prefix, "") {
			if val, ok := entries[k]; !ok || val != string(v) {
				fault("index: %s=%q is of no record", k, v)
			}
			delete(entries, k)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(entries)) {
		fault("index: %s is missing", k)
	}
	if n := number(tx, oldBytes); n != uint64(bytes) {
		fault("what is finished has left %d bytes, counted %d", bytes, n)
	}
	for _, s := range States {
		if n := number(tx, stateNumber+string(s)); n != states[s] {
			fault("%d are %s, counted %d", states[s], s, n)
		}
	}
	return faults
}

// checkRest checks that a daemon which is at rest has nothing to do.
func (l *lab) checkRest(tx store.Tx) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	t := l.e.begin(tx)
	open := make(map[supervisor.Key]bool)
	running, hung := 0, 0
	var next time.Time
	for k, data := range tx.Scan(recordKey, "") {
		r, err := decode(k, data)
		if err != nil {
			continue
		}
		if a := r.open(); a != nil {
			open[supervisor.Key{ID: r.ID, Phase: a.Phase, N: a.N}] = true
			switch {
			case a.Hangs():
				hung++
			case a.Phase == Activate:
				running++
			}
		}
		at, armable := r.due()
		if armable {
			at = at.Add(-t.set.ArmAhead)
		}
		next = earliest(next, t.comes(r, at))
	}
	for k, data := range tx.Scan(recurrenceKey, "") {
		if r, err := decodeRecurrence(k, data); err == nil && r.Held == "" && !r.Due.IsZero() {
			next = earliest(next, t.comes(nil, r.Due.Add(-t.set.ArmAhead)))
		}
	}
	next = earliest(next, (&turn{txn: t, looked: l.e.looked}).nextLook())
	next = earliest(next, t.again())
	if at := l.alarm.wanted(); t.doubt && !at.After(next) && at.After(t.now) {
		// It is looked more often whether the clock is synchronised.
	} else if !at.Equal(next) && !(at.IsZero() && next.IsZero()) {
		fault("the alarm is set for %v, the next instant is %v", at, next)
	}
	if !next.IsZero() && !next.After(t.now) {
		fault("the next instant is %v, and it is %v: it would spin", next, t.now)
	}
	if int(l.e.running.Load()) != running || l.e.open != len(open)-hung {
		fault("%d attempts are open, %d of activate; the engine counts %d, %d", len(open), running, l.e.open, l.e.running.Load())
	}
	free := t.set.MaxParallel - running
	for k, data := range tx.Scan(recordKey, "") {
		r, err := decode(k, data)
		if err != nil {
			continue
		}
		ev := r.decide(t.set.look(r, t.moment))
		waits := r.Line > 0 && (t.blocker(r) != "" || free <= 0 || r.ForLoad || l.e.Draining()) || r.Awaits && t.awaited(r) != "" && t.unmet(r) == "" ||
			r.mayBeOver(t.moment) // looked at when it is trusted, or in line
		if ev != noEvent && (ev != Grant || !waits) {
			fault("%s is %s at rest, but %s is due; %q", r.ID, r.State, ev, r.Reason)
		}
	}
	for _, k := range l.w.live() {
		if !open[k] && !l.w.run(k).ended() { // what hangs may have been forgiven
			fault("%v runs, and no record knows", k)
		}
	}
	for k := range open {
		if r := l.w.run(k); r == nil || r.over() {
			fault("%v is open, but does not run", k)
		}
	}
	return faults
}

// comes is when an instant of r's comes; zero: it does not, as nothing is forgotten
// while the clock is in doubt.
func (t *txn) comes(r *Record, at time.Time) time.Time {
	switch {
	case t.doubt && r != nil && r.State == Finished:
		return time.Time{}
	case t.passedOver(at):
		return at.Add(t.jump)
	}
	return at
}
