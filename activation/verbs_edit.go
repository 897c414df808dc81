package activation

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"activationd/event"
	"activationd/internal/fault"
)

// edit is the verb of [Engine.Edit]. Unlike other verbs it is no trigger.
const edit = "edit"

// editable reports whether r has not begun.
func (r *Record) editable(m Moment) bool {
	return r.State == Scheduled || r.State == Held || r.State == Waiting || r.recallable(m.Now)
}

// Edit changes a job that has not begun: it is scheduled, held or waiting. Change gets
// the request for the job and the job's start; if it returns an error, nothing is
// changed. It may be called several times. The result is checked as in [Engine.Add]. If
// the time or the locks change, the job loses its place in queues. The activations that a
// job comes after cannot be changed.
func (e *Engine) Edit(ctx context.Context, by Actor, id string, change func(j *NewJob, start time.Time) error) (*Record, error) {
	return e.EditIf(ctx, by, id, nil, change)
}

// EditIf is to [Engine.Edit] as [Engine.DoIf] is to [Engine.Do].
func (e *Engine) EditIf(ctx context.Context, by Actor, id string, ok func(*Record) error, change func(j *NewJob, start time.Time) error) (*Record, error) {
	var r *Record
	err := e.UpdateBy(ctx, by, func(t *Txn) (err error) {
		if r, err = t.Record(id); err != nil {
			return err
		}
		if err := by.check(r); err != nil {
			return err
		}
		if ok != nil {
			if err := ok(r); err != nil {
				return err
			}
		}
		switch {
		case r.policy().announced:
			return fmt.Errorf("%s is a reservation: change it where it is booked: %w", id, fault.Conflict)
		case !r.editable(t.Moment):
			return fmt.Errorf("%s: cannot edit: it %s; only a job that has not begun can be edited: %w", id, r.is(), fault.Conflict)
		}
		old := r.clone()
		j := NewJob{Order: r.Order}
		j.Locks = slices.DeleteFunc(slices.Clone(r.Locks), func(l string) bool { return strings.HasPrefix(l, ownLocks) })
		j.AtJob = nil // only at submission may its time be past
		if err := change(&j, r.Start); err != nil {
			return err
		}
		moved := !j.At.IsZero() && !j.At.Equal(r.Start)
		if err := j.Check(t.Now); err != nil {
			return err
		}
		if at := r.Start; !moved && !j.Deadline.IsZero() && !j.Deadline.After(at) {
			return fmt.Errorf("deadline: %s is not after the job's start: %w", TimeText(j.Deadline), fault.Invalid)
		}
		n := j.record(id, t.Now, t.Settings)
		if own := OwnLock(r.From); r.From != "" && slices.Contains(r.Locks, own) {
			n.Locks = sortedSet(append(n.Locks, own)) // the lock is the recurrence's, not the job's
		}
		if r.policy().atd && !(slices.Equal(r.Argv, n.Argv) && bytes.Equal(r.Stdin, n.Stdin)) {
			return fmt.Errorf("%s is an at job, whose script cannot be changed; cancel it and submit another one: %w", id, fault.Conflict)
		}
		if r.User, err = by.ChangeRun(id, &r.Order, &n.Order); err != nil {
			return err
		}
		if moved {
			r.Start, r.Urgency = n.Start, OnTime
		}
		requeued := moved || !slices.Equal(r.Locks, n.Locks)
		n.Owner, n.User, n.After, n.AtJob = r.Owner, r.User, r.After, r.AtJob // these cannot be changed
		r.Order = n.Order
		t.happened(r, "edited", event.Event{Action: edit, Reason: "by " + by.Name, Changes: changesOf(old, r)})
		if r.State == Activating { // it is claimed again as it is now
			r.Recalled = "edited by " + by.Name
		} else if requeued {
			if err := t.Apply(r, Move, "edited by "+by.Name); err != nil {
				return err
			}
		}
		t.Later(id)
		if err := t.fits(r); err != nil {
			return err
		}
		return t.Save(old, r)
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}
