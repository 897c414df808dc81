package activation

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"activationd/event"
	"activationd/internal/fault"
)

// An Instance is what an instance's record says, as it follows from a declaration.
type Instance struct {
	Order
	AsDeclared
	Down bool // it is not started, unless it runs already
}

// SetInstance makes an instance as it is declared: it makes its record, or changes it. Its
// run is replaced if its hash has changed. What says what was done: added, changed (another run
// follows), live (the run goes on), or nothing. The reason is for the event.
func (t *Txn) SetInstance(i Instance, why string) (what string, err error) {
	id := InstanceID(i.Service, i.N)
	r, err := t.Record(id)
	switch {
	case fault.Of(err) == fault.NotFound:
		return "added", t.newInstance(id, i, why)
	case err != nil:
		return "", err
	case r.Kind != Service:
		return "", fmt.Errorf("%s is the id of a %s: rename it, or the service: %w", id, r.Kind, fault.Conflict)
	}
	old := r.clone()
	was := old.Serving
	if !slices.Equal(was.Listen, i.Listen) {
		t.sockets = true
		if r.openAttempt() != nil {
			r.Serving.Before = slices.Concat(was.Before, was.Listen)
		}
	}
	r.Order, r.Serving.AsDeclared = i.Order, i.AsDeclared
	switch {
	case r.State == Finished:
		what, r.Comeback = "added", serveAgain
		r.afresh()
		if err = t.Apply(r, Retry, why); err == nil && i.Down {
			err = t.Apply(r, Hold, why)
		}
	case r.PendingOutcome != "": // it is being removed
		what, r.ending, r.Serving.Stop, r.Serving.StopBy = "added", ending{}, &ServiceStop{Why: why}, time.Time{}
		t.stopWith(r)
		r.afresh()
	case !bytes.Equal(was.Hash, i.Hash):
		what = "changed"
		r.afresh()
		if r.openAttempt() != nil && !r.leaving() {
			r.Serving.Stop = &ServiceStop{Why: why}
		}
		if _, ok := next(r.State, Move, r.facts(t.Moment)); ok {
			err = t.Apply(r, Move, why)
		}
	case !bytes.Equal(was.Live, i.Live):
		if what = "live"; r.State == Stuck {
			r.Until = r.fatalUntil()
		}
	}
	if err != nil || what == "" {
		return "", err
	}
	t.Later(id)
	return what, t.Save(old, r)
}

func (t *Txn) newInstance(id string, i Instance, why string) error {
	r := &Record{
		ID: id, Kind: Service, Start: t.Now, From: ServiceFrom(i.Service), Order: i.Order, Serving: &Serving{AsDeclared: i.AsDeclared},
		Life: Life{State: Scheduled, Created: t.Now, Since: t.Now, Reason: why},
	}
	if i.Down {
		r.State = Held
	}
	t.happened(r, event.State, event.Event{Reason: why})
	t.Later(id)
	return t.Save(nil, r)
}

// RemoveInstance ends an instance for good.
func (t *Txn) RemoveInstance(id, why string) error {
	r, err := t.Record(id)
	if err != nil {
		return err
	}
	if r.PendingOutcome != "" || r.State == Finished {
		return nil
	}
	old := r.clone()
	if err := t.Apply(r, Remove, why); err != nil {
		return err
	}
	t.Later(id)
	return t.Save(old, r)
}
