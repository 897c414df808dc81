package activation

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"activationd/event"
	"activationd/internal/fault"
	"activationd/store"
	"activationd/supervisor"
)

// A Txn is one transaction on the records. It gathers effects outside of the store, which
// are carried out once it is durable. A function that is given a Txn may run again, so it
// must have no other effects.
type Txn struct {
	store.Tx
	Moment
	Began     time.Time // when this daemon began
	host      string    // this host
	Boot      string
	Settings  *Settings
	parts     *Parts
	producers producers
	actor     *event.Actor     // the client that requested it; nil: none
	loadAvg   loadAverage      // this host's, in a View and a turn
	states    map[State]int64  // how many more records are in each state than before
	live      map[string]int64 // how many more reservations of each source are live than before
	sums      usages           // with what this transaction forgets
	scratch   [1 << 10]byte    // for encoding records
	effects
	rejudge    int  // judgeNothing, judgeMarked or judgeAll
	unfinished bool // work on many records must continue in the next turn
}

// Log logs a line once the transaction is durable.
func (t *Txn) Log(level slog.Level, msg string, args ...any) {
	t.lines = append(t.lines, logLine{level, msg, args})
}

// Later makes the engine look at records once the transaction is durable, or later in
// this turn.
func (t *Txn) Later(ids ...string) { t.later = append(t.later, ids...) }

// has reports whether there is a key with a prefix.
func (t *Txn) has(prefix string) bool {
	for range t.Scan(prefix, "") {
		return true
	}
	return false
}

// Record reads a record. The error is of kind fault.NotFound when there is none.
func (t *Txn) Record(id string) (*Record, error) {
	data := t.Get(key(id))
	if data == nil { // lists show the instances of shop/web as shop/web@1
		data = t.Get(key(strings.ReplaceAll(id, "/", "_")))
	}
	r, err := decode(id, data)
	if err == nil {
		err = t.readStdin(r)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Save writes r and its index entries; old is the record before, nil if r is new.
func (t *Txn) Save(old, r *Record) error {
	if err := t.saveStdin(old, r); err != nil {
		return err
	}
	data, err := r.withoutStdin().encode(t.scratch[:0])
	if err != nil {
		return fmt.Errorf("record of %s: %w", r.ID, err)
	}
	var was []entry
	if old != nil {
		was = old.index()
		t.leave(old, r)
	} else {
		at, _ := r.due()
		t.next = earliest(t.next, at)
		t.entered++
	}
	t.noteCalendar(old, r)
	t.tally(old, r)
	if err := t.tellProducer(old, r); err != nil {
		return err
	}
	if err := t.tallyBytes(old, r); err != nil {
		return err
	}
	if r.inCalendar() {
		if err := noteSpan(t, r.End.Sub(r.occupiedFrom())); err != nil {
			return err
		}
	}
	if err := t.reindex(was, r.index()); err != nil {
		return err
	}
	return t.Put(key(r.ID), data)
}

// tally counts the records in each state, and the reservations of each source that are live. A nil
// record stands for none.
func (t *Txn) tally(old, r *Record) {
	t.tallyLive(old, -1)
	t.tallyLive(r, +1)
	if t.states == nil {
		t.states = make(map[State]int64, 2)
	}
	if old != nil {
		t.states[old.State]--
	}
	if r != nil {
		t.states[r.State]++
	}
}

func (t *Txn) tallyLive(r *Record, by int64) {
	if r == nil || r.Source == "" || r.State == Finished {
		return
	}
	if t.live == nil {
		t.live = make(map[string]int64, 1)
	}
	t.live[r.Source] += by
}

// putTallies adds what was tallied to the numbers in the store.
func (t *Txn) putTallies() error {
	for state, by := range t.states {
		if err := t.addTo(ofHost(stateNumber, t.host)+string(state), by); err != nil {
			return err
		}
	}
	for source, by := range t.live {
		if err := t.addTo(ofHost(liveNumber, t.host)+source, by); err != nil {
			return err
		}
	}
	return nil
}

// addTo adds to a number, which may be negative: others have counted, too.
func (t *Txn) addTo(k string, by int64) error {
	if by == 0 {
		return nil
	}
	return putNumber(t, k, uint64(int64(number(t, k))+by))
}

// reindex replaces the index entries of a record. There are few, so comparing all is
// cheap.
func (t *Txn) reindex(was, is []entry) error {
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

// leave notes the locks and the places in queues that old had and r no longer has.
func (t *Txn) leave(old, r *Record) {
	for i, spec := range old.LocksHeld {
		if !slices.Contains(r.LocksHeld, spec) {
			t.freed = append(t.freed, old.lockRequestsOf(old.LocksHeld)[i].name)
		}
	}
	if old.Queued == 0 {
		return
	}
	is := r.lockRequests()
	for _, w := range old.lockRequests() {
		if r.Queued == 0 || r.Priority < old.Priority || !slices.Contains(is, w) {
			t.freed = append(t.freed, w.name)
		}
	}
}

// drain returns the ids that must be looked at, and those that are first in the queues
// for freed locks, and empties both lists.
func (t *Txn) drain() []string {
	ids := t.later
	for _, lock := range t.freed {
		if _, id := t.firstInQueue(lock); id != "" {
			ids = append(ids, id)
		}
	}
	t.freed, t.later = nil, nil
	return ids
}

// firstInQueue returns the activation that is first in the queue for a lock, and its
// place.
func (t *Txn) firstInQueue(lock string) (place, id string) {
	prefix := queueKey + lock + "/"
	for k := range t.Scan(prefix, "") {
		if place, id, ok := strings.Cut(strings.TrimPrefix(k, prefix), "/"); ok {
			return place, id
		}
	}
	return "", ""
}

// Apply changes r's state by the table, and sets the fields that depend on the new state.
// It does not save. If the trigger is not valid in r's state, the error is of kind
// fault.Conflict and says what can be done instead.
func (t *Txn) Apply(r *Record, on Trigger, why string) error { return t.apply(r, on, why, "") }

// apply is Apply, for a trigger that somebody requested: the event is an act with that
// action, unless it is empty.
func (t *Txn) apply(r *Record, on Trigger, why, action string) error {
	to, ok := next(r.State, on, r.facts(t.Moment))
	if !ok {
		return t.refuse(r, on)
	}
	from, was := r.State, r.Reason
	r.Reason = why
	if o := r.outcomeBy(on); o != "" && (o != r.PendingOutcome || r.PendingReason == "") {
		r.PendingOutcome, r.PendingReason = o, why
	}
	switch on {
	case Cancel:
		r.Comeback, r.HoldNext = neverAgain, false
	case Remove:
		r.serveNoMore()
		r.HoldNext = false
	case Hold:
		r.HoldNext = to != Held
	case Release:
		r.HoldNext = false
	}
	if r.Serving != nil {
		t.boundStop(r)
	}
	if to != from {
		r.State, r.Since = to, t.Now
		t.enter(r, from, on)
		if err := t.giveBack(r, from); err != nil {
			return err
		}
	} else if on == RunNow {
		if r.WaitsOn == waitsOnPause {
			r.Until, r.PausedBy = time.Time{}, ""
		}
		r.RetryAt, r.Urgency, r.WaitsOn = time.Time{}, AtOnce, waitsOnRetry
	}
	ev := event.Event{Reason: r.Reason, Outcome: string(r.Outcome), Action: action}
	if to != from || action != "" || why != "" && why != was && on != Grant && on != Move && !t.told(r) {
		t.happened(r, event.State, ev)
	}
	return nil
}

// refuse returns the error for a trigger that is not valid in r's state.
func (t *Txn) refuse(r *Record, on Trigger) error {
	return fmt.Errorf("%s: %s: %w", r.ID, refusal(r, on, t.Moment), fault.Conflict)
}

// told reports whether an event of this transaction has told the state and the reason of r.
// The next attempt of a phase, and a new plan, have events of their own.
func (t *Txn) told(r *Record) bool {
	for _, ev := range slices.Backward(t.events) {
		if ev.ID == r.ID {
			return ev.State == string(r.State) && ev.Reason == r.Reason
		}
	}
	return false
}

// outcomeBy is the outcome that r will have because of a trigger; empty: the trigger does
// not decide that.
func (r *Record) outcomeBy(on Trigger) Outcome {
	switch on {
	case Cancel, Remove:
		if r.PendingOutcome == "" || r.Comeback == serveAgain || r.State == Active {
			return Cancelled
		}
	case Move:
		if r.Comeback == serveAgain && (r.State == Activating || r.State == Active || r.NeedsUndo && r.State == Waiting) {
			return cmp.Or(r.PendingOutcome, Cancelled)
		}
	case Miss:
		return Missed
	case Unmet:
		return Cancelled
	case Expire:
		return cmp.Or(r.PendingOutcome, Failed)
	case Over:
		switch {
		case r.State == Active:
			return cmp.Or(r.PendingOutcome, Succeeded)
		case !r.NeedsUndo && (r.State == Scheduled || r.State == Held || r.WaitsOn == waitsOnPause || r.WaitsOn == waitsOnConflict):
			return cmp.Or(r.PendingOutcome, Missed)
		}
		return cmp.Or(r.PendingOutcome, Failed)
	}
	return ""
}

// enter sets the fields that depend on the new state.
func (t *Txn) enter(r *Record, from State, on Trigger) {
	if r.policy().serves {
		t.enterInstance(r)
		return
	}
	r.queue, r.Until, r.HoldNext, r.Outcome = queue{}, time.Time{}, false, ""
	switch r.State {
	case Scheduled, Held:
		if from != Held && r.State == Scheduled {
			for i := range r.Attempts {
				r.Attempts[i].Past = true
			}
		}
		if from == Deactivating { // verified
			r.NeedsUndo = false
			r.Reason = "was undone, to be served again: " + r.PendingReason
		}
		if on == Forgive {
			r.NeedsUndo = false
			r.Reason += "; to be served again in its new slot"
		}
		if !r.NeedsUndo {
			r.LocksHeld = nil
		}
		r.serveNoMore()
		r.ending, r.retry, r.Stopped, r.Urgency = ending{}, retry{}, false, OnTime
		if on != Move && !r.activateAt().After(t.Now) {
			r.Urgency = Anyway // it was held until now, so it is not missed
		}
	case Waiting:
		if on == RunNow {
			r.Urgency = AtOnce
		}
		if on != Again && on != Void {
			r.RetryAt = time.Time{}
		}
		if !r.NeedsUndo {
			r.LocksHeld = nil
		}
	case Deactivating:
		r.retry = retry{}
		r.PendingReason = cmp.Or(r.PendingReason, r.Reason)
		r.Reason = r.PendingReason
	case Active:
		r.retry, r.Reason = retry{}, ""
	case Finished:
		switch on {
		case OK, Again, Spent, Void: // the outcome says how it ended
			r.Reason = cmp.Or(r.PendingReason, r.Reason)
		}
		r.Outcome = cmp.Or(r.PendingOutcome, Failed)
		r.serveNoMore()
		r.ending, r.NeedsUndo, r.LocksHeld = ending{}, false, nil
		r.Conflicts, r.ConflictSince = nil, time.Time{}
		r.Until = t.Now.Add(t.Settings.HistoryAge)
		t.Later(t.dependents(r.ID)...)
	}
}

// put writes r, or removes it if its history has been kept long enough; old is the record
// before.
func (t *Txn) put(old, r *Record) error {
	if r.State == "" {
		return t.forget(old)
	}
	return t.Save(old, r)
}

// forget removes a record and all its index entries. Its run directories are removed once
// that is durable.
func (t *Txn) forget(old *Record) error {
	if err := t.reindex(old.index(), nil); err != nil {
		return err
	}
	t.tally(old, nil)
	if err := t.tallyBytes(old, nil); err != nil {
		return err
	}
	if err := t.sumUp(old); err != nil {
		return err
	}
	if err := t.dropTopologies(old.ID); err != nil {
		return err
	}
	if err := t.dropStdin(old.ID, 0); err != nil {
		return err
	}
	return t.Delete(key(old.ID))
}

// removeRunDir notes that an attempt's host must remove its directory.
func (t *Txn) removeRunDir(id string, a *Attempt) error {
	t.sweep = true
	k := supervisor.Key{ID: id, Phase: a.Phase, N: a.N}
	return t.Put(ofHost(removalKey, t.hostOf(a))+k.String(), []byte{})
}
