package activation_test

import (
	"context"
	"fmt"
	"slices"
	"strings"

	. "activationd/activation"

	"activationd/event"
	"activationd/store"
)

// sound checks the invariants.
func (rig *testRig) sound() {
	rig.t.Helper()
	for _, f := range rig.unsound() {
		rig.t.Error(f)
	}
}

// unsound lists violated invariants.
func (rig *testRig) unsound() (faults []string) {
	rig.w.mu.Lock()
	faults = append(faults, rig.w.faults...)
	rig.w.mu.Unlock()
	running := false
	_ = rig.db.View(context.Background(), func(tx store.Tx) error {
		running = false
		faults = append(faults, CheckStore(tx)...)
		faults = append(faults, checkVLANs(tx)...)
		if rig.stop != nil && !rig.m.isDead() && (rig.mem == nil || !rig.mem.Full()) {
			faults = append(faults, rig.checkRest(tx)...)
			faults = append(faults, rig.checkKept(tx)...)
			running = true
		}
		return nil
	})
	if running { // what is read here of Run's own state must not race with Run
		_ = rig.e.Alive(context.Background())
	}
	return append(faults, rig.checkEvents()...)
}

// checkEvents checks that the log of events agrees with the records. It has all events,
// unless the test's settings prune some.
func (rig *testRig) checkEvents() (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	if rig.told.read(rig.eventsAfter(rig.told.last), fault) {
		return faults
	}
	state, run, acts := rig.told.state, rig.told.run, rig.told.acts
	there := make(map[string]bool)
	_ = rig.db.View(context.Background(), func(tx store.Tx) error {
		for k, data := range tx.Scan(RecordKey, "") {
			r, err := Decode(k, data)
			if err != nil {
				continue // checkStore reports it
			}
			there[r.ID] = true
			if rig.older && state[r.ID] == nil {
				continue
			}
			if ev := state[r.ID]; ev == nil || ev.State != string(r.State) || ev.Outcome != string(r.Outcome) {
				fault("%s is %s %s, and its newest event is %+v", r.ID, r.State, r.Outcome, ev)
			}
			if got := r.Acts; r.ActsDropped == 0 && !slices.EqualFunc(got, acts[r.ID], func(a Act, ev *event.Event) bool {
				return a.At.Equal(ev.Time) && a.Action == ev.Action && a.By == *ev.Actor && slices.Equal(a.Changes, ev.Changes)
			}) {
				fault("%s has the acts %+v, and the events say %v", r.ID, got, acts[r.ID])
			}
			if n := len(r.Attempts); n > 0 && (run[r.ID] != nil || !rig.older) {
				a, ev := r.Attempts[n-1], run[r.ID]
				if ev == nil || ev.Phase != a.Phase || ev.Attempt != a.N || (ev.What == "attempt.started") != a.Open {
					fault("%s has attempt %+v, and the newest event of one is %+v", r.ID, a, ev)
				}
			}
		}
		return nil
	})
	for id, ev := range state {
		if !there[id] {
			fault("%s is not there, and its newest event is %+v", id, ev)
		}
	}
	return faults
}

// A told has what the events that were read so far say of each activation that is kept: the
// newest event about its state, and the newest about an attempt of it.
type told struct {
	last       uint64
	state, run map[string]*event.Event
	acts       map[string][]*event.Event // but not those that a record need not keep
	pruned     bool                      // some were pruned before they were read: the rest says too little
}

// read adds events, whose numbers must rise. It reports whether some were pruned.
func (e *told) read(events []*event.Event, fault func(string, ...any)) (pruned bool) {
	if e.state == nil {
		e.state, e.run, e.acts = make(map[string]*event.Event), make(map[string]*event.Event), make(map[string][]*event.Event)
	}
	for _, ev := range events {
		if ev.Seq <= e.last {
			fault("event %d comes after event %d", ev.Seq, e.last)
		}
		e.last = ev.Seq
		known := e.state[ev.ID] != nil || ev.What == event.State // linkconf may come earlier
		submitted := ev.Action == "add" && ev.Actor.Kind == event.ByUser && ev.Actor.Name == ev.Owner
		if ev.Action != "" && strings.HasPrefix(ev.Topic, "activation.") && known && !submitted {
			e.acts[ev.ID] = append(e.acts[ev.ID], ev)
		}
		switch ev.What {
		case event.Gap:
			e.pruned = true
		case "state":
			if was := e.state[ev.ID]; was != nil && ev.Action == "" && was.State == ev.State && was.Reason == ev.Reason {
				fault("two events report the same change of %s: %+v", ev.ID, ev)
			}
			e.state[ev.ID] = ev
		case "attempt.started", "attempt.ended":
			e.run[ev.ID] = ev
		case "pruned":
			delete(e.state, ev.ID)
			delete(e.run, ev.ID)
			delete(e.acts, ev.ID)
		}
	}
	return e.pruned
}

// checkRest checks that an idle daemon has nothing to do.
func (rig *testRig) checkRest(tx store.Tx) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	faults, open := CheckRest(rig.e, tx, rig.alarm.wanted())
	for _, k := range rig.w.live() {
		if !open[k] && !rig.w.run(k).ended() { // a run that hangs may have been forgiven
			fault("%v runs, and no record knows", k)
		}
	}
	for k := range open {
		if r := rig.w.run(k); r == nil || r.over() {
			fault("%v is open, but does not run", k)
		}
	}
	return faults
}
