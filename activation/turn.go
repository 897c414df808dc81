package activation

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"activationd/internal/fault"
	"activationd/store"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// maxTurn bounds how many due records one transaction looks at.
const maxTurn = 256

// startersAtOnce is how many wrappers are started side by side.
const startersAtOnce = 4

// A work is what Run has to do: what is not done stays in it.
type work struct {
	exits []supervisor.Exit
	ids   []string
}

// A turn is one transaction of Run's, and what is to be done once it is durable.
type turn struct {
	*txn
	e        *Engine
	free     int // slots for phase activate
	started  int // attempts of phase activate that this turn claimed, less those it closed
	opened   int // the same of both phases
	seen     map[string]bool
	starts   []start
	stops    []supervisor.Key
	prunes   []supervisor.Key
	draining bool
}

// A start is an attempt that has been claimed.
type start struct {
	key  supervisor.Key
	spec wrapper.Spec
}

// turns takes turns until nothing is left to do now, and sets the alarm for the
// next instant.
func (e *Engine) turns(ctx context.Context, w *work) error {
	for {
		more, err := e.turn(ctx, w)
		if err != nil {
			return err
		}
		if !more && len(w.exits) == 0 {
			return nil
		}
		w.exits = e.moreExits(w.exits)
		w.ids = append(w.ids, e.takeTouched()...)
	}
}

func (e *Engine) turn(ctx context.Context, w *work) (more bool, err error) {
	var t *turn
	var next time.Time
	err = e.parts.DB.Update(ctx, func(tx store.Tx) error {
		t = &turn{txn: e.begin(tx), e: e, seen: make(map[string]bool), draining: e.Draining()}
		t.free = t.set.MaxParallel - int(e.running.Load())
		var due int
		if due, err = t.all(w); err != nil {
			return err
		}
		more = due >= maxTurn
		next = t.nextInstant()
		return nil
	})
	if err != nil {
		return false, err
	}
	w.exits, w.ids = nil, nil
	e.rebooted = false
	e.running.Add(int64(t.started))
	e.open += t.opened
	e.sleepUntil(next)
	e.hub.publish(t.news)
	for _, k := range t.stops {
		if err := e.parts.Runs.Stop(k); err != nil {
			e.parts.Log.Error("cannot stop a run", "run", k, "err", err)
		}
	}
	for _, k := range t.prunes {
		if err := e.parts.Runs.Remove(k); err != nil {
			e.parts.Log.Error("cannot remove the evidence of a run", "run", k, "err", err)
		}
	}
	w.exits = e.start(t.starts)
	return more, nil
}

// sleepUntil sets the alarm. Never is the zero time.
func (e *Engine) sleepUntil(next time.Time) {
	e.parts.Alarm.Set(next)
	if next.IsZero() {
		e.wakeAt.Store(math.MaxInt64)
		return
	}
	// What is due within ArmAhead of it is looked at then, too.
	e.wakeAt.Store(next.Add(e.set.Load().ArmAhead).UnixNano())
}

// all does one turn's work within its transaction.
func (t *turn) all(w *work) (due int, err error) {
	for _, x := range w.exits {
		if err := t.ended(x); err != nil {
			return 0, err
		}
	}
	ids, err := t.dueNow()
	if err != nil {
		return 0, err
	}
	due = len(ids)
	for _, id := range append(ids, w.ids...) {
		if err := t.look(id); err != nil {
			return 0, err
		}
	}
	// What was freed goes to those who were first in line; that may free more.
	for {
		heads := t.heads()
		for _, id := range heads {
			if err := t.look(id); err != nil {
				return 0, err
			}
		}
		if len(heads) == 0 {
			break
		}
	}
	for _, id := range t.inLineForSlot() {
		if err := t.look(id); err != nil {
			return 0, err
		}
	}
	return due, nil
}

// dueNow lists records whose instant has come, at most maxTurn: those that a
// run may be armed for a little ahead of it.
func (t *turn) dueNow() ([]string, error) {
	var ids []string
	for _, index := range []struct {
		prefix string
		until  time.Time
	}{{instantKey, t.now}, {startKey, t.now.Add(t.set.ArmAhead)}} {
		for k := range t.Scan(index.prefix, "") {
			at, id, err := parseInstant(strings.TrimPrefix(k, index.prefix))
			if err != nil {
				return nil, err
			}
			if at.After(index.until) || len(ids) == maxTurn {
				break
			}
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// nextInstant is when the next record is due.
func (t *turn) nextInstant() time.Time {
	starts := first(t, startKey)
	if !starts.IsZero() {
		starts = starts.Add(-t.set.ArmAhead)
	}
	return earliest(starts, first(t, instantKey))
}

// inLineForSlot lists as many of those who wait for nothing but a slot as there
// are free ones.
func (t *turn) inLineForSlot() []string {
	if t.free <= 0 || t.draining {
		return nil
	}
	var ids []string
	prefix := queueKey + slotQueue + "/"
	for k := range t.Scan(prefix, "") {
		if len(ids) == t.free {
			break
		}
		_, id, _ := strings.Cut(strings.TrimPrefix(k, prefix), "/")
		ids = append(ids, id)
	}
	return ids
}

// look takes the record through all the steps that are due for it. A record
// that cannot be read is left alone and told of: the others go on.
func (t *turn) look(id string) error {
	r, err := t.get(id)
	if err != nil {
		if !errors.Is(err, fault.NotFound) { // one that is gone was touched before it went
			t.log.Error("skipping a record", "id", id, "err", err)
			return t.unschedule(id)
		}
		return t.unschedule(id)
	}
	old := r.clone()
	changed, err := t.advance(r)
	if err != nil || !changed {
		return err
	}
	if r.State == "" { // pruned
		return t.forget(old)
	}
	return t.save(old, r)
}

// unschedule removes what the indexes of instants hold of an id that has no
// usable record, or the engine would find it due for ever.
func (t *turn) unschedule(id string) error {
	for _, prefix := range []string{instantKey, startKey} {
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

// advance takes steps until none is due. It does not save.
func (t *turn) advance(r *Record) (changed bool, err error) {
	for range maxSteps {
		switch ev := r.decide(t.set.look(r, t.now)); ev {
		case noEvent:
			return changed, nil
		case Grant:
			claimed, moved, err := t.grant(r)
			if err != nil || !claimed {
				return changed || moved, err
			}
		case stopAgain:
			t.stop(r)
		case Prune:
			t.prune(r)
			return true, nil
		default:
			if err := t.apply(r, ev, t.because(r, ev)); err != nil {
				return changed, err
			}
		}
		changed = true
	}
	return changed, fmt.Errorf("%s does not come to rest in state %s", r.ID, r.State)
}

// because says in words why an event of the clock happened to r.
func (t *turn) because(r *Record, e Event) string {
	switch e {
	case Over:
		switch {
		case r.State == Active:
			return "the slot has ended"
		case r.State == Scheduled:
			return "its slot was over before anything could run"
		case r.State == Held:
			return "its slot ended while it was held"
		case r.Dirty:
			return "the slot ended before it was active; " + r.Reason
		}
		return "the slot ended while it waited: " + r.Reason
	case Miss:
		return fmt.Sprintf("due at %s, but nothing could run until %s", stamp(r.activateAt()), stamp(t.now))
	case Expire:
		return "it waited longer than it may: " + r.Reason
	case OK: // nothing to deactivate with
		return "there is no command to deactivate it with"
	case Due:
		return ""
	}
	return r.Reason
}

// stamp writes an instant for people.
func stamp(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05 MST") }

// grant claims r's next attempt, or puts r in line for what it lacks.
func (t *turn) grant(r *Record) (claimed, changed bool, err error) {
	if r.State == Deactivating {
		return true, true, t.claim(r, Deactivate)
	}
	lacks := t.blocker(r)
	forSlot := false
	switch {
	case lacks != "":
	case t.draining:
		lacks, forSlot = "the daemon's next start: it is being drained", true
	case t.free <= 0:
		lacks, forSlot = fmt.Sprintf("a free slot: %d run", t.set.MaxParallel-t.free), true
	default:
		if h := t.head(slotQueue); h != "" && h != r.ID && t.ahead(h, r) >= t.free {
			lacks, forSlot = "a free slot", true
		}
	}
	if lacks == "" {
		return true, true, t.claim(r, Activate)
	}
	if r.Line > 0 && r.ForSlot == forSlot {
		return false, false, nil
	}
	if r.Line == 0 {
		if r.Line, err = count(t, lineNumber); err != nil {
			return false, false, err
		}
		if limit := t.set.Of(r).WaitLimit; limit > 0 {
			r.Until = t.now.Add(limit)
		}
	}
	r.ForSlot, r.Reason = forSlot, "waits for "+lacks
	return false, true, nil
}

// ahead counts those in line for a slot who came before r, the first of whom is
// h; it counts no further than there are free slots.
func (t *turn) ahead(h string, r *Record) int {
	n := 0
	prefix := queueKey + slotQueue + "/"
	for k := range t.Scan(prefix, "") {
		_, id, _ := strings.Cut(strings.TrimPrefix(k, prefix), "/")
		if id == r.ID || n == t.free {
			break
		}
		n++
	}
	return n
}

// claim opens r's next attempt of a phase. The transaction that it is in is the
// one durable write on the way to the start.
func (t *turn) claim(r *Record, phase string) error {
	n, err := count(t, fence)
	if err != nil {
		return err
	}
	if phase == Activate {
		for _, lock := range r.wants() {
			if !slices.Contains(r.Held, lock) {
				r.Held = append(r.Held, lock)
			}
		}
		if err := t.fixTopology(r.ID); err != nil {
			return err
		}
		r.Dirty = r.slot()
		t.free--
		t.started++
	}
	t.opened++
	i := phaseIndex(phase)
	r.Ns[i]++
	if len(r.Attempts) == keepAttempts {
		t.prunes = append(t.prunes, supervisor.Key{ID: r.ID, Phase: r.Attempts[0].Phase, N: r.Attempts[0].N})
		r.Attempts = append(r.Attempts[:0], r.Attempts[1:]...)
	}
	r.Stopped = false
	r.Attempts = append(r.Attempts, Attempt{Phase: phase, N: r.Ns[i], Claimed: t.now, Open: true})
	if err := t.apply(r, Grant, ""); err != nil {
		return err
	}
	spec := t.spec(r, phase, n)
	t.starts = append(t.starts, start{supervisor.Key{ID: r.ID, Phase: phase, N: r.Ns[i]}, spec})
	t.news = append(t.news, Happening{Time: t.now, What: "attempt.started", ID: r.ID, State: string(r.State),
		Reason: fmt.Sprintf("%s attempt %d", phase, r.Ns[i])})
	return nil
}

func phaseIndex(phase string) int {
	if phase == Deactivate {
		return 1
	}
	return 0
}

// stop has r's open attempt stopped.
func (t *turn) stop(r *Record) {
	a := r.open()
	r.Stopped = true
	t.stops = append(t.stops, supervisor.Key{ID: r.ID, Phase: a.Phase, N: a.N})
}

// prune ends a record's history.
func (t *turn) prune(r *Record) {
	for _, a := range r.Attempts {
		t.prunes = append(t.prunes, supervisor.Key{ID: r.ID, Phase: a.Phase, N: a.N})
	}
	r.State = ""
}

// forget removes a record and all that the indexes hold because of it.
func (t *txn) forget(old *Record) error {
	if err := t.reindex(old.index(), nil); err != nil {
		return err
	}
	if err := t.tally(old, nil); err != nil {
		return err
	}
	if err := t.dropTopologies(old.ID); err != nil {
		return err
	}
	return t.Delete(key(old.ID))
}

// start starts what has been claimed, several at once, and returns an exit for
// each that could not be.
func (e *Engine) start(starts []start) (failed []supervisor.Exit) {
	if len(starts) == 0 {
		return nil
	}
	errs := make([]error, len(starts))
	todo := make(chan int)
	var wg sync.WaitGroup
	for range min(startersAtOnce, len(starts)) {
		wg.Go(func() {
			for i := range todo {
				errs[i] = e.parts.Runs.Start(starts[i].key, starts[i].spec)
			}
		})
	}
	for i := range starts {
		todo <- i
	}
	close(todo)
	wg.Wait()
	now := time.Now().Round(0)
	for i, err := range errs {
		if err != nil {
			e.parts.Log.Error("cannot start a run", "run", starts[i].key, "err", err)
			failed = append(failed, supervisor.Exit{Key: starts[i].key, Result: wrapper.Result{
				Reason: wrapper.NotStarted, Text: err.Error(), Exit: -1, Ended: now,
			}})
		}
	}
	return failed
}
