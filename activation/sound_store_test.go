package activation

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"activationd/calendar"
	"activationd/store"
	"activationd/supervisor"
)

// CheckStore checks the invariants of the records and their indexes. They hold at any
// time, also when no daemon runs.
func CheckStore(tx store.Tx) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	entries := make(map[string]string)
	states, live := make(map[State]int), make(map[string]int)
	holders := make(map[string][]lockRequest)
	bytes := int64(0)
	for k, data := range tx.Scan(recordKey, "") {
		r, err := decode(k, data)
		if err != nil {
			fault("%v", err)
			continue
		}
		states[r.State]++
		if r.Source != "" && r.State != Finished {
			live[r.Source]++
		}
		for _, en := range r.index() {
			entries[en.key] = string(en.val)
		}
		for _, w := range r.lockRequestsOf(r.LocksHeld) {
			if others := holders[w.name]; !w.compatible(others) {
				fault("%s is held as %v, and by %s as %s", w.name, others, r.ID, w)
			}
			holders[w.name] = append(holders[w.name], w)
		}
		if r.State == Finished {
			if fromHead, whole := usedBy(&Txn{Tx: tx}, k, data), sumsOf(r); !reflect.DeepEqual(fromHead, whole) {
				fault("of %s a report reads %v, and its record says %v", r.ID, fromHead, whole)
			}
			for _, a := range r.Attempts {
				bytes += a.Bytes
			}
		}
		if says := strings.HasPrefix(r.Reason, waitsFor); r.State == Waiting && says != (r.WaitsOn != waitsOnRetry) || r.State != Waiting && r.WaitsOn != waitsOnRetry {
			fault("%s is %s, waits on %q, and its reason is %q", r.ID, r.State, r.WaitsOn, r.Reason)
		}
		if (r.WaitsOn == waitsOnPause) != (r.PausedBy != "") {
			fault("%s waits on %q, for pause %q", r.ID, r.WaitsOn, r.PausedBy)
		}
		if (r.WaitsOn == waitsOnEnd || r.WaitsOn == waitsOnPause) && (r.State != Waiting || r.Queued > 0) {
			fault("%s is %s in place %d of the line, and awaits others", r.ID, r.State, r.Queued)
		}
		if r.WaitsOn == waitsOnPause && tx.Get(pauseKey+r.PausedBy) == nil {
			en := pauseEntry(r.PausedBy, atOnce)[0]
			entries[en.key] = string(en.val)
		}
		busy := slices.Contains([]State{Activating, Active, Deactivating, Stuck}, r.State)
		if len(r.LocksHeld) > 0 && !busy && !r.NeedsUndo {
			fault("%s is %s and holds %v", r.ID, r.State, r.LocksHeld)
		}
		if (r.State == Finished) != (r.Outcome != "") {
			fault("%s is %s with outcome %q", r.ID, r.State, r.Outcome)
		}
		if open := r.openAttempt() != nil; r.Kind == Service {
			if open != (r.State == Activating || r.State == Active) {
				fault("%s is %s, with an open run: %v", r.ID, r.State, open)
			}
		} else if open && r.State != Activating && r.State != Deactivating {
			fault("%s is %s with an open attempt", r.ID, r.State)
		}
		if r.openAttempt() == nil && r.State == Activating {
			fault("%s is activating without an attempt", r.ID)
		}
		if r.Queued > 0 && r.State != Waiting {
			fault("%s is in line and %s", r.ID, r.State)
		}
	}
	for k, data := range tx.Scan(pauseKey, "") {
		name := strings.TrimPrefix(k, pauseKey)
		for _, en := range pauseEntry(name, decodePause(name, data).Until) {
			entries[en.key] = string(en.val)
		}
	}
	for _, prefix := range []string{startKey, instantKey, forgetKey, runKey, activeKey, holderKey, queueKey, afterKey, finishedKey, sourceKey, bookingKey, requestKey, memberKey, atKey, pausedKey, calendarKey, conflictKey, statusKey, slotEndKey, failedKey} {
		for k, v := range tx.Scan(prefix, "") {
			if prefix == startKey && strings.Contains(k, "/"+producerMark) { // producers' tests check their own
				continue
			}
			old := prefix == finishedKey // earlier versions wrote other values
			if val, ok := entries[k]; !ok || val != string(v) && !old {
				fault("index: %s=%q is of no record", k, v)
			}
			delete(entries, k)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(entries)) {
		fault("index: %s is missing", k)
	}
	n := uint64(0)
	for _, v := range tx.Scan(finishedBytes, "") {
		n += decodeNumber(v)
	}
	if n != uint64(bytes) {
		fault("what is finished has left %d bytes, counted %d", bytes, n)
	}
	counts := stateCounts(tx)
	for _, s := range States {
		if n := counts[s]; n != states[s] {
			fault("%d are %s, counted %d", states[s], s, n)
		}
	}
	got := counted[string](tx, liveNumber)
	maps.DeleteFunc(got, func(_ string, n int) bool { return n == 0 })
	if !maps.Equal(live, got) {
		fault("of the sources are live %v, counted %v", live, got)
	}
	return faults
}

// comes is when a time of r comes; zero: never, because nothing is removed while the
// clock is in doubt.
func (t *Txn) comes(r *Record, at time.Time) time.Time {
	switch {
	case t.Doubt && r != nil && r.State == Finished:
		return time.Time{}
	case t.PassedOver(at):
		return at.Add(t.jump)
	}
	return at
}

// CheckRest checks that an idle engine that has set its alarm has nothing to do. It
// returns the open attempts.
func CheckRest(e *Engine, tx store.Tx, alarm time.Time) (faults []string, open map[supervisor.Key]bool) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	t := e.newTxn(tx, e.watch.read())
	open = make(map[supervisor.Key]bool)
	running, uncounted := 0, 0
	var next time.Time
	for k, data := range tx.Scan(recordKey, "") {
		r, err := decode(k, data)
		if err != nil {
			continue
		}
		if a := r.openAttempt(); a != nil {
			open[supervisor.Key{ID: r.ID, Phase: a.Phase, N: a.N}] = true
			switch {
			case a.Hangs(), a.Phase == Serve:
				uncounted++
			case a.Phase == Activate:
				running++
			}
		}
		at, armable := r.due()
		if armable {
			at = at.Add(-t.Settings.ArmAhead)
		}
		next = earliest(next, t.comes(r, at))
	}
	for k := range tx.Scan(startKey, "") {
		if at, id, err := parseInstant(strings.TrimPrefix(k, startKey)); err == nil && strings.HasPrefix(id, producerMark) {
			next = earliest(next, t.comes(nil, at.Add(-t.Settings.ArmAhead)))
		}
	}
	for _, p := range t.pauses() {
		next = earliest(next, t.comes(nil, p.Until))
	}
	next = earliest(next, (&turn{Txn: t, budget: e.budget}).nextLoadAvg())
	next = earliest(next, t.again())
	if at := alarm; t.Doubt && !at.After(next) && at.After(t.Now) {
		// The engine wakes more often to ask whether the clock is synchronised.
	} else if !at.Equal(next) && !(at.IsZero() && next.IsZero()) && !t.isEarly(e, at, next) {
		fault("the alarm is set for %v, the next instant is %v", at, next)
	}
	if !next.IsZero() && !next.After(t.Now) {
		fault("the next instant is %v, and it is %v: it would spin", next, t.Now)
	}
	if e.budget.activate != running || e.budget.open != len(open)-uncounted {
		fault("%d attempts are open, %d of activate; the engine counts %d, %d", len(open), running, e.budget.open, e.budget.activate)
	}
	free := t.Settings.MaxParallel - running
	for k, data := range tx.Scan(recordKey, "") {
		r, err := decode(k, data)
		if err != nil {
			continue
		}
		on := r.decide(t.Settings.inputsOf(r, t.Moment))
		waits := r.Queued > 0 && (t.blocker(r) != "" || free <= 0 || r.WaitsOn == waitsOnLoadAvg || e.Draining()) || r.WaitsOn == waitsOnEnd && t.awaited(r) != "" && t.unmet(r) == "" ||
			t.pauseOf(r) != nil || r.WaitsOn == waitsOnConflict && r.conflict() != "" ||
			r.mayBeOver(t.Moment) || // it waits for a trusted clock, or is queued
			r.Kind == Service && (r.WaitsOn == waitsOnEnd && t.needs(r) != "" || r.WaitsOn == waitsOnStart && e.Draining())
		if on != noTrigger && (on != Grant || !waits) {
			fault("%s is %s at rest, but %s is due; %q", r.ID, r.State, on, r.Reason)
		}
	}
	if !e.behind.Load() {
		faults = append(faults, t.wrongMarks()...)
	}
	return faults, open
}

// isEarly reports whether an alarm is before the next instant because of starts that are due
// together, or may be: those that are far away are not counted. The last few that were added may
// not count yet.
func (t *Txn) isEarly(e *Engine, alarm, next time.Time) bool {
	u := &turn{Txn: t, budget: e.budget, early: e.early, cost: time.Duration(e.cost.Load())}
	all, err := u.candidates()
	all = all[:min(len(all), u.room())]
	first := next
	if len(all) > 1 && u.far(all) {
		first = earliest(first, u.begin(u.room(), all[0].at))
	}
	for n, c := range all {
		first = earliest(first, u.begin(n, c.at))
	}
	return err == nil && !alarm.IsZero() && alarm.After(t.Now) && alarm.Before(next) && !alarm.Before(first) && alarm.Sub(first) <= t.Settings.ArmAhead
}

// wrongMarks compares the marks of conflicts with what [calendar.Judge] says of the records
// themselves. It leaves out what time alone ends: the conflicts with the number of runs, and all
// others while a reservation lasts longer than its slot.
func (t *Txn) wrongMarks() (faults []string) {
	var uses []calendar.Use
	marks, want := make(map[string]string), make(map[string]string)
	text := func(conflicts []calendar.Conflict) string {
		data, _ := json.Marshal(slices.DeleteFunc(slices.Clone(conflicts), func(c calendar.Conflict) bool { return c.Kind == calendar.Runs }))
		return string(data)
	}
	for k, data := range t.Scan(recordKey, "") {
		r, err := decode(k, data)
		if err != nil || r.Kind != Reservation || r.State == Finished {
			continue
		}
		if !r.End.After(t.Now) {
			return nil
		}
		marks[r.ID] = text(r.Conflicts)
		u := calendar.Use{ID: r.ID, From: r.occupiedFrom(), To: r.End, Devices: r.DevicesInForce(), VLANs: r.VLANs, Priority: r.Priority, Announced: r.Announced}
		u.Holds = len(r.LocksHeld) > 0
		u.Leaves = r.PendingOutcome != "" && r.Comeback != serveAgain
		u.Idle = r.State == Held || slices.ContainsFunc(t.pauses(), func(p *Pause) bool {
			return p.What == PauseSource && SourceKey(p.Name) == r.Source && (p.Until.IsZero() || u.From.Before(p.Until))
		})
		slices.Sort(u.Devices)
		uses = append(uses, u)
	}
	found := calendar.Judge(uses, t.limits())
	for id := range marks {
		want[id] = text(found[id])
	}
	for _, id := range slices.Sorted(maps.Keys(marks)) {
		if marks[id] != want[id] {
			faults = append(faults, fmt.Sprintf("%s has the conflicts %s, and should have %s", id, marks[id], want[id]))
		}
	}
	return faults
}
