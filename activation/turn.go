package activation

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"activationd/internal/fault"
	"activationd/store"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// maxTurn bounds how many due records one transaction looks at.
const maxTurn = 256

// A work is what Run has to do: what is not done stays in it.
type work struct {
	recovered bool             // what an earlier daemon left has been found
	steady    bool             // recurrences have been seen to since the clock was set, a zone's rules changed, or the daemon started
	adopt     []supervisor.Key // attempts of which it is not known whether they run
	exits     []supervisor.Exit
	ids       []string
}

// A turn is one transaction of Run's, and what is to be done once it is durable.
type turn struct {
	*txn
	free     int // slots for phase activate
	started  int // attempts of phase activate that this turn claimed, less those it closed
	opened   int // the same of both phases
	starts   []start
	stops    []supervisor.Key
	swept    bool                     // there is evidence to be removed
	sizes    map[supervisor.Key]int64 // of the evidence of the runs that have ended
	pruneAt  time.Time                // when more of the history may go than may now; zero: none has to
	looked   time.Time                // when the load average was looked at for a batch job
	draining bool
	rebooted bool // the machine was started anew since the last daemon's last turn
}

// A start is an attempt that has been claimed.
type start struct {
	key  supervisor.Key
	spec wrapper.Spec
	kept bool      // it has a directory that is kept from attempt to attempt
	mail string    // the run whose output is to be added to what it reads
	user *Identity // as whom it runs, as far as is known yet; nil: the daemon's own
}

// turns takes turns until nothing is left to do now.
func (e *Engine) turns(ctx context.Context, w *work) error {
	for {
		more, err := e.turn(ctx, w)
		if err != nil {
			return err
		}
		if !more && len(w.exits) == 0 && len(w.ids) == 0 {
			return nil
		}
		w.exits = e.moreExits(w.exits)
		w.ids = append(w.ids, e.takeTouched()...)
	}
}

// turn takes one turn, and sets the alarm for the next instant.
func (e *Engine) turn(ctx context.Context, w *work) (more bool, err error) {
	// What is added from here on may not be seen by this turn: until the alarm
	// is set again, each Add wakes Run. See nudge.
	e.wakeAt.Store(math.MaxInt64)
	ids := w.ids[:min(len(w.ids), maxTurn)]
	var t *turn
	var next time.Time
	var known mark
	sizes := e.sizes(w.exits)
	err = e.parts.DB.Update(ctx, func(tx store.Tx) error {
		t = &turn{txn: e.begin(tx), draining: e.Draining(), rebooted: e.rebooted, sizes: sizes, looked: e.looked}
		t.free = t.set.MaxParallel - int(e.running.Load())
		if known, err = e.watch.write(tx, markEvery); err != nil {
			return err
		}
		if e.newBoot {
			if err := t.boot(e.parts.Boot); err != nil {
				return err
			}
		}
		if !w.steady || t.doubt != e.doubted {
			if err := errors.Join(t.shorten(), t.correct()); err != nil {
				return err
			}
		}
		var due int
		if due, err = t.all(w.exits, ids); err != nil {
			return err
		}
		more = due >= maxTurn
		next = earliest(t.nextInstant(), t.nextLook())
		return nil
	})
	if err != nil {
		return false, err
	}
	w.exits, w.ids = nil, w.ids[len(ids):]
	e.watch.wrote(known)
	e.tellDoubt(t.moment)
	e.newBoot, e.rebooted, w.steady = false, false, true
	e.running.Add(int64(t.started))
	e.open += t.opened
	e.looked = t.looked
	e.sleepUntil(earliest(next, t.again()), t.set.ArmAhead)
	e.hub.publish(t.news)
	e.unkeep(t.over)
	for _, k := range t.stops {
		e.stop(k)
	}
	if t.swept {
		token(e.evidence)
	}
	w.exits = e.start(t.starts)
	return more, nil
}

func (e *Engine) stop(k supervisor.Key) {
	if err := e.parts.Runs.Stop(k); err != nil {
		e.parts.Log.Error("cannot stop a run", "run", k, "err", err)
	}
}

// sleepUntil sets the alarm. Never is the zero time.
func (e *Engine) sleepUntil(next time.Time, arm time.Duration) {
	e.parts.Alarm.Set(next)
	if !next.IsZero() { // what is due within arm of it is looked at then, too
		e.wakeAt.Store(next.Add(arm).UnixNano())
	}
}

// all does one turn's work within its transaction. It returns how many records
// were due.
func (t *turn) all(exits []supervisor.Exit, ids []string) (due int, err error) {
	for _, x := range exits {
		if err := t.ended(x); err != nil {
			return 0, err
		}
	}
	now, err := t.dueNow()
	if err != nil {
		return 0, err
	}
	for _, some := range [][]string{now, ids} {
		for _, id := range some {
			if _, err := t.look(id); err != nil {
				return 0, err
			}
		}
	}
	if err := t.settle(); err != nil {
		return 0, err
	}
	return len(now), t.pruneOld()
}

// settle hands what was freed to those who are first in line for it, until
// nobody moves any more: that may free more.
func (t *turn) settle() error {
	for {
		ids := append(append(t.heads(), t.inLineForSlot()...), t.inLineForLoad()...)
		moved := false
		for _, id := range ids {
			changed, err := t.look(id)
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

// tellDoubt logs that the clock is in doubt, or is so no more.
func (e *Engine) tellDoubt(m moment) {
	switch {
	case m.doubt && !e.doubted:
		e.parts.Log.Warn("the clock is not trusted yet", "why", m.why())
	case !m.doubt && e.doubted:
		e.parts.Log.Info("the clock is trusted again", "now", stamp(m.now))
	}
	e.doubted = m.doubt
}

// dueNow lists records whose instant has come, at most maxTurn: those that a
// run may be armed for a little ahead of it.
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
			due = append(due, one{string(place) + notInLine, id})
		}
	}
	slices.SortStableFunc(due, func(a, b one) int { return strings.Compare(a.place, b.place) })
	ids := make([]string, len(due))
	for i, d := range due {
		ids[i] = d.id
	}
	return ids, nil
}

// A span is a part of an index of instants: all from a key on that have come until
// an instant of the index, which is ahead of the clock by so much.
type span struct {
	prefix, from string
	until        time.Time
	ahead        time.Duration // of the clock
}

// instants are the parts of the indexes in which the instants are that have come,
// each up to now. What the clock passed over while it is in doubt is left out; up to
// old the time goes on there, too. Nothing is forgotten then.
func (t *turn) instants() (all []span) {
	for _, index := range []struct {
		prefix string
		arm    time.Duration
	}{{instantKey, 0}, {startKey, t.set.ArmAhead}, {forgetKey, 0}} {
		switch {
		case !t.doubt || t.jump < 0 && index.prefix != forgetKey:
			all = append(all, span{index.prefix, "", t.now.Add(index.arm), index.arm})
		case index.prefix != forgetKey:
			all = append(all,
				span{index.prefix, "", t.old.Add(index.arm), index.arm - t.jump},
				span{index.prefix, index.prefix + instant(t.setTo.Add(index.arm)), t.now.Add(index.arm), index.arm})
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

// inLineForSlot lists as many of those who wait for nothing but a slot as there
// are free ones.
func (t *turn) inLineForSlot() []string {
	if t.free <= 0 || t.draining {
		return nil
	}
	var ids []string
	for _, id := range t.slotLine() {
		if len(ids) == t.free {
			break
		}
		ids = append(ids, id)
	}
	return ids
}

// look takes the record through all the steps that are due for it. A record
// that cannot be read, or does not come to rest, is left alone and told of: the
// others go on.
func (t *turn) look(id string) (changed bool, err error) {
	if name, ok := strings.CutPrefix(id, recurrenceMark); ok {
		return t.recurs(name)
	}
	r, err := t.get(id)
	if err != nil {
		if !errors.Is(err, fault.NotFound) { // one that is gone was touched before it went
			t.log.Error("leaving a record alone that cannot be read", "id", id, "err", err)
		}
		return false, t.unschedule(id)
	}
	old := r.clone()
	changed, err = t.advance(r)
	if errors.Is(err, errRestless) {
		t.log.Error("leaving a record alone", "id", id, "err", err)
		return false, t.unschedule(id)
	}
	if err != nil || !changed {
		return false, err
	}
	return true, t.put(old, r)
}

// unschedule removes what the indexes of instants hold of an id that has no
// usable record, or the engine would find it due for ever.
func (t *txn) unschedule(id string) error {
	for _, prefix := range []string{instantKey, startKey, forgetKey} {
		for k := range t.Scan(prefix, "") {
			at, other, err := parseInstant(strings.TrimPrefix(k, prefix))
			if err == nil && at.After(t.now.Add(t.set.ArmAhead)) {
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

// maxSteps bounds the steps that one look can take; every one leads forward, so
// no record needs that many.
const maxSteps = 16

// errRestless says that a record's steps do not end.
var errRestless = fmt.Errorf("it does not come to rest: %w", fault.Internal)

// advance takes steps until none is due. It does not save.
func (t *turn) advance(r *Record) (changed bool, err error) {
	for range maxSteps {
		switch ev := r.decide(t.set.look(r, t.moment)); ev {
		case noEvent:
			return changed, nil
		case Grant:
			if why := t.unmet(r); why != "" {
				if err := t.apply(r, Unmet, why); err != nil {
					return changed, err
				}
				break
			}
			claimed, moved, err := t.grant(r)
			if err != nil || !claimed {
				return changed || moved, err
			}
		case stopAgain:
			a := r.open()
			r.Stopped = true
			t.stops = append(t.stops, supervisor.Key{ID: r.ID, Phase: a.Phase, N: a.N})
		case letGo:
			a := r.open()
			res := a.Result
			res.Hung, res.Text = nil, res.Text+"; "+a.Forgiven
			if err := t.close(r, a, res); err != nil {
				return changed, err
			}
		case Prune:
			return true, t.prune(r)
		default:
			now := r
			if ev == Miss { // what it waits for now, not what it waited for when it came
				r.RetryAt = time.Time{} // there is no next try
				v := t.view(r)
				now = &v.Record
			}
			if err := t.apply(r, ev, because(now, ev, t.moment)); err != nil {
				return changed, err
			}
		}
		changed = true
	}
	return changed, fmt.Errorf("state %s: %w", r.State, errRestless)
}

// keepForOthers is how much longer what is finished is kept while somebody is to
// come after it, before that is looked at again.
const keepForOthers = 24 * time.Hour

// prune ends a record's history, unless somebody has yet to be told of it.
func (t *turn) prune(r *Record) error {
	if t.awaitedBy(r.ID) {
		r.Until = t.now.Add(keepForOthers)
		return nil
	}
	for _, a := range r.Attempts {
		if err := t.discard(supervisor.Key{ID: r.ID, Phase: a.Phase, N: a.N}); err != nil {
			return err
		}
	}
	t.swept = t.swept || len(r.Attempts) > 0
	t.news = append(t.news, Happening{Time: t.now, What: "pruned", ID: r.ID})
	r.State = ""
	return nil
}

// because says in words why an event of the clock happens to r.
func because(r *Record, e Event, m moment) string {
	switch e {
	case Over:
		switch {
		case r.State == Active:
			return "the slot has ended"
		case r.State == Scheduled:
			return "its slot was over before anything could run"
		case r.State == Held && !r.Dirty:
			return "its slot ended while it was held"
		case r.Reason != "":
			return "the slot ended before it was active: " + r.Reason
		}
		return "the slot ended before it was active"
	case Miss:
		if r.State != Scheduled || r.tooLate(m) {
			return fmt.Sprintf("its deadline passed at %s, and it had not begun: it was %s%s", stamp(r.Deadline), r.State, reasonAfter(r.Reason))
		}
		return fmt.Sprintf("due at %s, but nothing could run until %s", stamp(r.activateAt()), stamp(m.now))
	case Expire:
		if r.tooLate(m) {
			return "its deadline passed before its next attempt: " + r.Reason
		}
		return "it waited longer than it may: " + r.Reason
	case OK: // nothing to deactivate with
		return orElse(r.Cause, "there is no command to deactivate it with")
	case Due:
		return ""
	}
	return r.Reason
}

func reasonAfter(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

// stamp writes an instant for people.
func stamp(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05 MST") }
