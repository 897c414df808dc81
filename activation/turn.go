package activation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"time"

	"activationd/event"
	"activationd/internal/fault"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// maxTurn bounds how many due records one transaction looks at.
const maxTurn = 256

// A work is what Run has to do. Run removes from it what is done.
type work struct {
	recovered bool      // the runs of an earlier daemon have been found
	adopted   bool      // they have been adopted
	steady    bool      // producers were woken since the clock was set, Engine.Wake was called, or the daemon started
	adopt     []openRun // attempts of this host whose state is not known yet
	exits     []supervisor.Exit
	begins    []supervisor.Key // runs of services whose processes exist since
	ids       []string
	add       *addition // jobs to add; nil: none
}

// A turn is one transaction of Run's, with its effects once it is durable.
type turn struct {
	*Txn
	budget
	starts   []start
	left     map[supervisor.Key]remainder // of the runs that have ended
	mails    bool                         // the program that sends mails is installed
	pruneAt  time.Time                    // when more of the history may be removed, if it is too large now; zero: it is not
	draining bool
	size     turnSize
	looked   int               // the number of records that it looked at
	last     string            // the record that it looked at last
	exits    []supervisor.Exit // left to the next turn, as the next two
	begins   []supervisor.Key
	ids      []string
	more     bool          // the next turn is due at once
	early    early         // what is claimed early
	cost     time.Duration // what a start takes
	armed    int           // how many starts were claimed early
	nextArm  time.Time     // when more is claimed early; zero: nothing is
	touched  []string      // records that may have changed since the last turn
	unlocked []string      // locks that were freed in this turn
}

// A budget counts the attempts that run, and limits how many more may start.
type budget struct {
	slots    int // for attempts of phase activate
	activate int // attempts of phase activate that run
	open     int // attempts of both phases that run
	// loadAvgRead is when the load average was last read for a batch job. One batch job
	// may start for each reading.
	loadAvgRead time.Time
}

// free is the number of free slots; negative if a new configuration has fewer than are
// used.
func (b *budget) free() int { return b.slots - b.activate }

func (b *budget) take(phase string) { b.count(phase, 1) }

// give returns the slot of an attempt to the budget, if the attempt was this host's.
func (t *turn) give(a *Attempt) {
	if t.here(a) {
		t.budget.count(a.Phase, -1)
	}
}

func (b *budget) count(phase string, n int) {
	switch phase {
	case Serve: // it takes no slot, and goes on when the daemon is drained
		return
	case Activate:
		b.activate += n
	}
	b.open += n
}

// A start is an attempt that has been claimed.
type start struct {
	key     supervisor.Key
	spec    wrapper.Spec
	workdir bool      // it has a work directory
	mail    string    // the run whose output is added to its standard input; empty: none
	user    *Identity // the user as whom it runs, before the look-up at the start; nil: the daemon's own
}

// turns takes turns until nothing more is due now.
func (e *Engine) turns(ctx context.Context, w *work) error {
	for {
		more, err := e.turn(ctx, w)
		if err != nil {
			return err
		}
		if !more && len(w.exits) == 0 && len(w.begins) == 0 && len(w.ids) == 0 {
			return nil
		}
		e.more(w)
	}
}

// full reports whether the rest of the records is left to the next turn.
func (t *turn) full() bool { return t.looked >= t.size.most || t.Full() }

// tryTurn takes one turn, and sets the alarm for the next due time. It returns the record
// that it looked at last, and whether the next turn is due at once.
func (e *Engine) tryTurn(ctx context.Context, w *work, size turnSize) (last string, more bool, err error) {
	// This turn may not see records that are added from here on: until the alarm is set
	// again, each Add wakes Run. See nudge.
	e.wakeAt.Store(math.MaxInt64)
	e.entered.Store(0)
	began, cost := time.Now(), time.Duration(e.cost.Load())
	left, mails, loadAvg := e.remainders(w.exits), e.mails(), e.loadAverage()
	var t *turn
	var next time.Time
	var known mark
	var newBoot bool
	err = e.commit(ctx, func(txn *Txn) error {
		t = &turn{Txn: txn, budget: e.budget, draining: e.Draining(), left: left, mails: mails, size: size, early: e.early, cost: cost, touched: w.ids}
		t.loadAvg = loadAvg
		t.slots = t.Settings.MaxParallel
		if known, err = e.watch.write(t, t.host, markEvery); err != nil {
			return err
		}
		if e.newBoot {
			if err := t.boot(); err != nil {
				return err
			}
		}
		newBoot = t.unfinished
		t.unfinished = false
		if !w.steady || t.Doubt != e.doubted {
			if err := errors.Join(t.shorten(), t.wake(Resumed)); err != nil {
				return err
			}
		}
		if err := t.add(w.add); err != nil {
			return err
		}
		if err := t.all(w); err != nil {
			return err
		}
		next = earliest(earliest(t.nextInstant(), t.nextArm), t.nextLoadAvg())
		return nil
	}, func(*Txn) {
		w.answer(nil)
		w.exits, w.begins, w.ids = t.exits, t.begins, t.ids
		e.watch.wrote(known)
		e.tellDoubt(t.Moment)
		e.newBoot, w.steady = newBoot, !t.unfinished
		e.budget, e.early = t.budget, t.early
		e.sleepUntil(earliest(next, t.again()), t.Settings.ArmAhead)
	})
	if err != nil {
		if t != nil {
			last = t.last
		}
		return last, false, err
	}
	w.exits = append(w.exits, e.start(t.starts)...)
	e.cost.Store(int64(costAfter(cost, t.armed, time.Since(began))))
	for _, s := range t.starts {
		e.awaitStart(s.key, w)
	}
	return "", t.more || newBoot || !w.steady, nil
}

func (e *Engine) kill(k supervisor.Key) {
	if err := e.parts.Runs.Kill(k); err != nil {
		e.parts.Log.Error("cannot kill a run", "run", k, "err", err)
	}
}

func (e *Engine) stop(k supervisor.Key) {
	if err := e.parts.Runs.Stop(k); err != nil {
		e.parts.Log.Error("cannot stop a run", "run", k, "err", err)
	}
}

// sleepUntil sets the alarm. The zero time means never.
func (e *Engine) sleepUntil(next time.Time, arm time.Duration) {
	e.parts.Alarm.Set(next)
	if !next.IsZero() { // that turn also looks at what is due within arm
		e.wakeAt.Store(next.Add(arm).UnixNano())
	}
}

// all does the work of one turn in its transaction, as much as fits into one.
func (t *turn) all(w *work) error {
	for t.exits = w.exits; len(t.exits) > 0 && !t.full(); t.exits = t.exits[1:] {
		t.looked, t.last = t.looked+1, ""
		if err := t.ended(t.exits[0]); err != nil {
			return err
		}
	}
	for t.begins = w.begins; len(t.begins) > 0 && !t.full(); t.begins = t.begins[1:] {
		t.looked, t.last = t.looked+1, ""
		if err := t.begun(t.begins[0]); err != nil {
			return err
		}
	}
	due, err := t.dueNow()
	if err != nil {
		return err
	}
	t.more = len(due) >= maxTurn
	if due, err = t.reconcileAll(due); err != nil {
		return err
	}
	t.more = t.more || len(due) > 0 // they are still due then
	some := w.ids[:min(len(w.ids), maxTurn)]
	if t.ids, err = t.reconcileAll(some); err != nil {
		return err
	}
	t.ids = append(t.ids[:len(t.ids):len(t.ids)], w.ids[len(some):]...)
	if err := t.settle(); err != nil {
		return err
	}
	if err := t.makeRoom(); err != nil {
		return err
	}
	if t.nextArm, err = t.armEarly(); err != nil {
		return err
	}
	if err := t.pruneOld(); err != nil {
		return err
	}
	t.more = t.more || t.full()
	return nil
}

// reconcileAll reconciles records one after the other, and returns those that are left to
// the next turn.
func (t *turn) reconcileAll(ids []string) (left []string, err error) {
	for ; len(ids) > 0 && !t.full(); ids = ids[1:] {
		if _, err := t.reconcile(ids[0]); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// settle reconciles the records that are first in the queues for freed locks and slots,
// until nothing changes any more: each may free more.
func (t *turn) settle() error {
	for {
		t.unlocked = append(t.unlocked, t.freed...)
		ids := append(append(t.drain(), t.nextForSlots()...), t.nextForLoadAvg()...)
		moved := false
		for i, id := range ids {
			if t.full() {
				t.Later(ids[i:]...)
				return nil
			}
			changed, err := t.reconcile(id)
			if err != nil {
				return err
			}
			moved = moved || changed
		}
		if !moved {
			return nil
		}
	}
}

// tellDoubt logs when the clock comes into doubt, and when it is trusted again.
func (e *Engine) tellDoubt(m Moment) {
	switch {
	case m.Doubt && !e.doubted:
		e.parts.Log.Warn("the clock is not trusted yet", "why", m.why())
	case !m.Doubt && e.doubted:
		e.parts.Log.Info("the clock is trusted again", "now", TimeText(m.Now))
	}
	e.doubted = m.Doubt
}

// dueNow lists the records that are due, at most maxTurn. A start is due earlier by as
// much as runs are armed ahead.
func (t *turn) dueNow() ([]string, error) {
	type one struct{ place, id string }
	var due []one
	for _, index := range t.instants() {
		for k, place := range t.Scan(index.prefix, index.from) {
			at, id, err := parseInstant(strings.TrimPrefix(k, index.prefix))
			if err != nil {
				return nil, err
			}
			if at.After(index.until) || len(due) == maxTurn {
				break
			}
			due = append(due, one{string(place) + notQueued, id})
		}
	}
	slices.SortStableFunc(due, func(a, b one) int { return strings.Compare(a.place, b.place) })
	ids := make([]string, len(due))
	for i, d := range due {
		ids[i] = d.id
	}
	return ids, nil
}

// A span is a part of an index of instants: from a key on, up to a time in the index.
// That time may be ahead of the clock.
type span struct {
	prefix, from string
	until        time.Time
	ahead        time.Duration // how far until is ahead of the clock
}

// instants are the spans of due times that have come. While the clock is in doubt, the
// times that it passed over are left out, and no history is removed.
func (t *Txn) instants() (all []span) {
	for _, index := range []struct {
		prefix string
		arm    time.Duration
	}{{instantKey, 0}, {startKey, t.Settings.ArmAhead}, {forgetKey, 0}} {
		switch {
		case !t.Doubt || t.jump < 0 && index.prefix != forgetKey:
			all = append(all, span{index.prefix, "", t.Now.Add(index.arm), index.arm})
		case index.prefix != forgetKey:
			all = append(all,
				span{index.prefix, "", t.Old.Add(index.arm), index.arm - t.jump},
				span{index.prefix, index.prefix + Instant(t.SetTo.Add(index.arm)), t.Now.Add(index.arm), index.arm})
		}
	}
	return all
}

// nextInstant is when the next record is due.
func (t *turn) nextInstant() (next time.Time) {
	for _, index := range t.instants() {
		if at := firstFrom(t, index.prefix, index.from); !at.IsZero() {
			next = earliest(next, at.Add(-index.ahead))
		}
	}
	return earliest(next, t.pruneAt)
}

// nextForSlots lists records that wait for a slot only, in their order, at most as many
// as there are free slots.
func (t *turn) nextForSlots() []string {
	if t.free() <= 0 || t.draining {
		return nil
	}
	var ids []string
	for _, id := range t.queuedForSlot() {
		if len(ids) == t.free() {
			break
		}
		ids = append(ids, id)
	}
	return ids
}

// reconcile takes all steps that are due for a record. A record that cannot be read, or
// whose steps do not end, is left alone and logged; the others continue.
func (t *turn) reconcile(id string) (changed bool, err error) {
	t.looked, t.last = t.looked+1, id
	if t.size.alone[id] {
		return t.setAside(id)
	}
	if name, ok := strings.CutPrefix(id, producerMark); ok {
		if pause, ok := strings.CutPrefix(name, pauseMark); ok {
			return t.pauseDue(pause)
		}
		return t.due(name)
	}
	r, err := t.Record(id)
	switch {
	case errors.Is(err, fault.NotFound): // it was touched before it was removed
		return false, t.unschedule(id)
	case err != nil:
		t.Log(slog.LevelError, "a record cannot be read; it is left alone", "id", id, "err", err)
		return t.setAside(id)
	}
	old := r.clone()
	changed, err = t.advance(r)
	if errors.Is(err, errRestless) {
		t.Log(slog.LevelError, "a record is left alone", "id", id, "err", err)
		return t.setAside(id)
	}
	if err != nil || !changed {
		return false, err
	}
	return true, t.put(old, r)
}

// setAside removes the due times of an id that has no usable record, and its places in queues.
// Those behind it would never get the locks and the slot for which it is first.
func (t *turn) setAside(id string) (changed bool, err error) {
	var keys []string
	for k := range t.Scan(queueKey, "") {
		if strings.HasSuffix(k, "/"+id) {
			keys = append(keys, k)
		}
	}
	for _, k := range keys {
		if err := t.Delete(k); err != nil {
			return false, err
		}
		lock, _, _ := strings.Cut(strings.TrimPrefix(k, queueKey), "/")
		t.freed = append(t.freed, lock)
	}
	return len(keys) > 0, t.unschedule(id)
}

// unschedule removes the due times of an id that has no usable record. The engine would
// find it due forever.
func (t *Txn) unschedule(id string) error {
	for _, index := range t.instants() {
		for k := range t.Scan(index.prefix, index.from) {
			at, other, err := parseInstant(strings.TrimPrefix(k, index.prefix))
			if err == nil && at.After(index.until) {
				break
			}
			if err == nil && other == id {
				if err := t.Delete(k); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// maxSteps bounds the steps in one look at a record. Each step leads forward, so no
// record needs that many.
const maxSteps = 16

// errRestless says that a record's steps do not end.
var errRestless = fmt.Errorf("its steps do not end: %w", fault.Internal)

// advance takes steps until none is due. It does not save.
func (t *turn) advance(r *Record) (changed bool, err error) {
	for range maxSteps {
		switch on := r.decide(t.Settings.inputsOf(r, t.Moment)); on {
		case noTrigger:
			if !t.disarm(r) {
				return changed, nil
			}
		case Grant:
			if why := t.unmet(r); why != "" {
				if err := t.Apply(r, Unmet, why); err != nil {
					return changed, err
				}
				break
			}
			claimed, moved, err := t.grant(r)
			if err != nil || !claimed {
				return changed || moved, err
			}
		case killRun:
			a := r.openAttempt()
			if !t.here(a) {
				return changed, nil
			}
			t.kill(r, a)
		case stopRun:
			a := r.openAttempt()
			if t.stopsLater(r) || !t.here(a) { // its own host does that: see runMark
				return changed, nil
			}
			r.Stopped = true
			t.stops = append(t.stops, supervisor.Key{ID: r.ID, Phase: a.Phase, N: a.N})
		case drainRun:
			if t.stopsLater(r) {
				return changed, nil
			}
			r.Serving.DrainUntil = t.Now.Add(r.Serving.Drain)
			t.happened(r, "draining", event.Event{Reason: r.Reason})
		case letGo:
			a := r.openAttempt()
			res := a.Result
			res.Hung, res.Text = nil, res.Text+"; "+a.Forgiven
			if err := t.close(r, a, res); err != nil {
				return changed, err
			}
		case Prune:
			return true, t.prune(r)
		default:
			now := r
			if on == Miss || on == Over && r.WaitsOn == waitsOnPause { // what it waits for now, not what it waited for first
				r.RetryAt = time.Time{} // there is no next try
				v := t.view(r)
				now = &v.Record
			}
			if err := t.Apply(r, on, because(now, on, t.Moment)); err != nil {
				return changed, err
			}
		}
		changed = true
	}
	return changed, fmt.Errorf("state %s: %w", r.State, errRestless)
}

// keepForOthers is how long a finished activation is kept further while a job is to run
// after it. Then the engine looks again.
const keepForOthers = 24 * time.Hour

// prune ends a record's history, unless another activation waits for its end.
func (t *turn) prune(r *Record) error {
	if t.awaitedBy(r.ID) {
		r.Until = t.Now.Add(keepForOthers)
		return nil
	}
	for i := range r.Attempts {
		if err := t.removeRunDir(r.ID, &r.Attempts[i]); err != nil {
			return err
		}
	}
	r.State = ""
	t.happened(r, "pruned", event.Event{})
	return nil
}
