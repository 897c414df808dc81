package activation

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"activationd/event"
	"activationd/internal/fault"
	"activationd/supervisor"
)

// An Actor is a client that requests something, with the limits of what it may see and
// touch.
type Actor struct {
	Kind    string // how it was identified: "uid", "token", "certificate", "address"
	Name    string
	Role    string
	UID     int  // -1: not known
	OnlyOwn bool // its own jobs only
	NoJobs  bool // any reservation, but no jobs of others: the client is unidentified
	// NoInputs is set if it may not read the scripts, inputs and variables of others.
	NoInputs bool
	// As is the user as whom the actor's own jobs run; nil: unknown.
	As *Identity
}

// Event returns the actor as events have it; nil for the zero Actor.
func (a Actor) Event() *event.Actor {
	if a == (Actor{}) {
		return nil
	}
	return &event.Actor{Kind: a.Kind, Name: a.Name, Role: a.Role}
}

// UpdateBy is [Engine.Update] on behalf of an actor, whom the events name.
func (e *Engine) UpdateBy(ctx context.Context, by Actor, fn func(*Txn) error) error {
	return e.Update(ctx, func(t *Txn) error {
		t.actor = by.Event()
		return fn(t)
	})
}

// owns reports whether r is a's own job. Neither the name nor the user id is enough
// alone: a token may have the same name, and a user may have been deleted and created
// again.
func (a Actor) owns(r *Record) bool {
	return r.policy().private && r.Owner == a.Name && (r.User == nil || r.User.UID == a.UID)
}

// sees reports whether a may see and touch r.
func (a Actor) sees(r *Record) bool {
	return a.owns(r) || !a.OnlyOwn && !(a.NoJobs && r.policy().private)
}

// check returns an error of kind fault.Denied unless a may see and touch r.
func (a Actor) check(r *Record) error {
	switch {
	case a.sees(r):
	case r.BookedFor(a):
		return fmt.Errorf("%s is a booking of %s's own: it can be cancelled, and changed with atctl book edit, extend and end; "+
			"anything else needs the role operator: %w", r.ID, a.Name, fault.Denied)
	case a.OnlyOwn:
		return fmt.Errorf("%s belongs to %s, not to %s: %w", r.ID, cmp.Or(r.Owner, "nobody"), a.Name, fault.Denied)
	default:
		return fmt.Errorf("%s is a job, and only its owner and identified clients may see it: "+
			"use the Unix socket, or give a token: %w", r.ID, fault.Denied)
	}
	return nil
}

// mayDo returns an error of kind fault.Denied unless a may carry out a verb on r. Bookings are not
// their owners' to touch as jobs are, but can be cancelled.
func (a Actor) mayDo(r *Record, on Trigger) error {
	if on == Cancel && r.BookedFor(a) {
		return nil
	}
	return a.check(r)
}

// checkScript is like check, for requests that a script of r makes. It also allows by if
// by has the user id as which r's scripts run, whoever owns r.
func (t *Txn) checkScript(by Actor, r *Record) error {
	if user := t.Settings.userOf(r); user != nil && user.UID == by.UID {
		return nil
	}
	return by.check(r)
}

// ChangeRun checks that a may change what runs from o to n, and returns as whom n runs. Only the
// user as whom o runs may, who could run the same command, or root. Name is that of the job or
// recurrence, for the error, which is fault.Denied.
func (a Actor) ChangeRun(name string, o, n *Order) (*Identity, error) {
	if slices.Equal(o.Argv, n.Argv) && bytes.Equal(o.Stdin, n.Stdin) && o.Dir == n.Dir && maps.Equal(o.Env, n.Env) {
		return o.User, nil
	}
	if a.UID != 0 && o.User != nil && o.User.UID != a.UID {
		return nil, fmt.Errorf("%s runs as %s: only that user or root may change its command, input, directory and environment: %w", name, o.Owner, fault.Denied)
	}
	return o.User.under(a.As), nil
}

// under returns u with the limits of b added, if both are the same user. So a user who
// changes an existing job gets no more from it than from a new one.
func (u *Identity) under(b *Identity) *Identity {
	if u == nil || b == nil || u.UID != b.UID {
		return u
	}
	both := *u
	both.Limits, both.NoNewPrivs = supervisor.Lower(u.Limits, b.Limits), u.NoNewPrivs || b.NoNewPrivs
	return &both
}

// SeesInputs reports whether a may read a script, an input and variables, which are its
// own or not.
func (a Actor) SeesInputs(own bool) bool { return own || !a.NoInputs }

// For returns what by may see of v. For jobs of other owners these are existence, owner,
// state, times, locks and the outcomes of the attempts, but not the command nor any text
// that the owner or the job's processes wrote. For reservations it is everything except
// commands, files and topology.
func (v View) For(by Actor) View {
	if v.Hidden, v.Inputs = v.Record.hide(by); v.Hidden {
		v.Topology = ""
	}
	return v
}

// hide removes from r what by may not see. It reports whether it removed more than the inputs,
// and whether by may see these: the standard input and the variables.
func (r *Record) hide(by Actor) (hidden, inputs bool) {
	if by.sees(r) {
		if inputs = by.SeesInputs(by.owns(r)); !inputs {
			r.Stdin, r.Env = nil, nil
		}
		return false, inputs
	}
	r.Argv, r.Undo, r.Stdin, r.Script, r.Dir, r.Env, r.User, r.TopologyName = nil, nil, nil, "", "", nil, nil, ""
	if !r.policy().private {
		return true, false
	}
	r.Label, r.Tags, r.Progress, r.Acts = "", nil, nil, nil
	if r.State != Waiting || r.WaitsOn == waitsOnRetry { // others may know what it waits for
		r.Reason = ""
	}
	r.Attempts = slices.Clone(r.Attempts)
	for i := range r.Attempts {
		r.Attempts[i].Result.Text = "" // it names the command
	}
	return true, false
}

// FollowFor is [Engine.Follow] for a client that may not see everything. It gets all
// events, but those about jobs of other owners do not say who requested what, and have no
// label and no reason.
func (e *Engine) FollowFor(ctx context.Context, by Actor, after uint64, w event.Wish, fn func(*event.Event) error) error {
	return e.events.FollowWish(ctx, after, w, by.seeing(fn))
}

// StoredFor hands the stored events after a number to fn, as [Engine.FollowFor] does, until there
// are no more or fn fails.
func (e *Engine) StoredFor(ctx context.Context, by Actor, after uint64, fn func(*event.Event) error) error {
	for {
		page, err := e.events.Read(ctx, after)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, ev := range page {
			if err := fn(by.seen(ev)); err != nil {
				return err
			}
		}
		after = page[len(page)-1].Seq
	}
}

// seeing returns a function that hands events to fn as a may see them.
func (a Actor) seeing(fn func(*event.Event) error) func(*event.Event) error {
	return func(ev *event.Event) error { return fn(a.seen(ev)) }
}

// seen returns an event as a may see it.
func (a Actor) seen(ev *event.Event) *event.Event {
	if a.mayRead(ev) {
		return ev
	}
	public := *ev
	public.Actor, public.Action, public.Changes, public.Label = nil, "", nil, ""
	if ev.WaitsFor == "" { // others may know what it waits for
		public.Reason = ""
	}
	return &public
}

// mayRead reports whether a may see all of an event: it is not about a job of another
// owner, or a may see such jobs. What changed in a recurrence is about its job.
func (a Actor) mayRead(ev *event.Event) bool {
	private := ev.Kind != "" && Kind(ev.Kind).policy().private || len(ev.Changes) > 0 && strings.HasPrefix(ev.What, "recurrence.")
	if !private || !a.OnlyOwn && !a.NoJobs {
		return true
	}
	return ev.Owner == a.Name && (ev.OwnerUID == nil || *ev.OwnerUID == a.UID)
}
