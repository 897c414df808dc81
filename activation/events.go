package activation

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"activationd/event"
	"activationd/internal/trace"
	"activationd/supervisor/wrapper"
)

// Emit notes an event of this transaction, with the transaction's time, host and actor.
// It is in the log if, and only if, the transaction commits. If nobody requested the
// transaction, the event is not an act.
func (t *Txn) Emit(ev event.Event) {
	ev.Time, ev.Host, ev.Actor = t.Now, t.host, cmp.Or(ev.Actor, t.actor)
	if ev.Actor == nil {
		ev.Action = ""
	}
	t.events = append(t.events, &ev)
}

// happened notes an event of an activation, which is already in its new state and has not
// been saved yet: an act is noted in the record, too.
func (t *Txn) happened(r *Record, what string, ev event.Event) {
	ev.What, ev.State = what, string(r.State)
	concern(&ev, r)
	t.Emit(ev)
	r.noteAct(t.events[len(t.events)-1])
}

// concern makes an event one about an activation.
func concern(ev *event.Event, r *Record) {
	ev.ID, ev.Kind, ev.Owner, ev.Label = r.ID, string(r.Kind), r.Owner, r.Label
	if t := r.Env[trace.Variable]; trace.Valid(t) {
		ev.Trace = t
	}
	if r.User != nil {
		uid := r.User.UID // the record may change
		ev.OwnerUID = &uid
	}
}

// concernHolder has an event with the id of a holder be about the activation of that id,
// if it is one. A job whose record was removed was somebody's, which nobody knows any more.
func (t *Txn) concernHolder(ev *event.Event) {
	if r, err := t.Record(ev.ID); err == nil {
		concern(ev, r)
	} else if isJob(ev.ID) {
		ev.Kind = string(Job)
	}
}

// ended returns an event about the end of an attempt; said is the same in words.
func (a *Attempt) ended(said string) event.Event {
	res := &a.Result
	ev := event.Event{
		Reason: said, Phase: a.Phase, Attempt: a.N, Result: res.Reason, Signal: res.SignalName(),
		Failed: res.Exit != 0 && res.Reason != wrapper.Disarmed,
	}
	if status, ok := res.ExitStatus(); ok {
		ev.Exit = &status
	}
	return ev
}

// finish writes what the transaction has gathered: tallies, sums and events. It must be the
// transaction's last step.
func (t *Txn) finish() (err error) {
	if err := errors.Join(t.putTallies(), t.putSums()); err != nil {
		return err
	}
	t.unjudged = t.mustJudge()
	t.written, err = event.Append(t, t.events...)
	return err
}

// mostAbout bounds how many ids [Txn.about] names.
const mostAbout = 8

// about returns what the transaction did, for people: the ids that its events are about. It
// looks at no more events than it needs, because a load has one for each reservation.
func (t *Txn) about() string {
	var ids []string
	for _, ev := range t.events {
		if ev.ID == "" || slices.Contains(ids, ev.ID) {
			continue
		}
		if len(ids) == mostAbout {
			ids = append(ids, "...")
			break
		}
		ids = append(ids, ev.ID)
	}
	return strings.Join(ids, ", ")
}

// Events returns the log of events.
func (e *Engine) Events() *event.Log { return e.events }

// Follow hands each event with a number greater than after to fn, in order, until
// ctx is done or fn fails. If some were pruned before they could be read, fn gets an
// [event.Gap] in their place. An event must not be changed.
func (e *Engine) Follow(ctx context.Context, after uint64, fn func(*event.Event) error) error {
	return e.events.Follow(ctx, after, fn)
}

// Concerns makes a function for [Engine.Follow] that calls fn when something about an
// activation may have changed: after each event with its id, and after a gap, in which
// there may have been one.
func Concerns(id string, fn func() error) func(*event.Event) error {
	return func(ev *event.Event) error {
		if ev.ID != id && ev.What != event.Gap {
			return nil
		}
		return fn()
	}
}

// Newest returns a number to follow from: all later events have greater ones.
func (e *Engine) Newest(ctx context.Context) (uint64, error) { return e.events.Newest(ctx) }

// NoteStop writes an event that an actor stops the daemon. If the store cannot write, it
// only logs that: the daemon must stop all the same.
func (e *Engine) NoteStop(ctx context.Context, by Actor, drain bool) {
	ev := event.Event{Topic: event.Topic("daemon", "stopping"), What: "daemon.stopping", Action: "stop", Reason: "stopped by " + by.Name}
	if drain {
		ev.Reason = "drained by " + by.Name + ": the daemon stops when nothing runs any more"
	}
	err := e.UpdateBy(ctx, by, func(t *Txn) error {
		t.Emit(ev)
		return nil
	})
	if err != nil {
		e.parts.Log.Warn("cannot write an event", "event", ev.What, "reason", ev.Reason, "err", err)
	}
}

// maxEventPause bounds the time between two removals of old events.
const maxEventPause = 24 * time.Hour

// pruneEvents removes events, and sums of what was used, that have been kept long enough,
// until ctx is done. It has a goroutine of its own.
func (e *Engine) pruneEvents(ctx context.Context) {
	for {
		oldest, err := e.pruneEventsNow(ctx)
		if err != nil && ctx.Err() == nil {
			e.parts.Log.Error("cannot remove old events; trying again later", "err", err)
		}
		if err := e.pruneSums(ctx); err != nil && ctx.Err() == nil {
			e.parts.Log.Error("cannot remove old sums of what was used; trying again later", "err", err)
		}
		pause := maxEventPause // acts are kept up to so much longer
		if age := e.settings.Load().EventsAge; age > 0 {
			left := age // until the oldest event is too old; if there is none, an event that comes now
			if !oldest.IsZero() {
				left -= e.parts.Clock.Now().Sub(oldest)
			}
			// Not as soon as each is too old: some are kept a little longer.
			pause = min(max(left, age/16, time.Minute), maxEventPause)
		}
		select {
		case <-ctx.Done():
			return
		case <-e.events.Full():
		case <-e.pruneNow:
		case <-time.After(pause):
		}
	}
}

func (e *Engine) pruneEventsNow(ctx context.Context) (oldest time.Time, err error) {
	set := e.settings.Load()
	var now Moment
	err = e.View(ctx, func(t *Txn) error {
		now = t.Moment
		return nil
	})
	if err != nil {
		return time.Time{}, err
	}
	keep := event.Retention{Count: set.EventsCount}
	if !now.Doubt { // a clock that is ahead would prune all of them
		keep.Acts = now.Now.Add(-set.HistoryAge)
		if set.EventsAge > 0 {
			keep.Since = now.Now.Add(-set.EventsAge)
		}
	}
	return e.events.Prune(ctx, keep)
}
