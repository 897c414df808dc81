package activation

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

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
	case a.OnlyOwn:
		return fmt.Errorf("%s belongs to %s, not to %s: %w", r.ID, cmp.Or(r.Owner, "nobody"), a.Name, fault.Denied)
	default:
		return fmt.Errorf("%s is a job, and only its owner and identified clients may see it: "+
			"use the Unix socket, or give a token: %w", r.ID, fault.Denied)
	}
	return nil
}

// checkScript is like check, for requests that a script of r makes. It also allows by if
// by has the user id as which r's scripts run, whoever owns r.
func (t *Txn) checkScript(by Actor, r *Record) error {
	if user := t.Settings.userOf(r); user != nil && user.UID == by.UID {
		return nil
	}
	return by.check(r)
}

// runsAs reports whether a may change what r runs, because a could run the same command
// itself.
func (a Actor) runsAs(r *Record) bool {
	return a.UID == 0 || r.User == nil || r.User.UID == a.UID
}

// sameRun reports whether two records of a job run the same command in the same way.
func sameRun(r, n *Record) bool {
	return slices.Equal(r.Argv, n.Argv) && bytes.Equal(r.Stdin, n.Stdin) && r.Dir == n.Dir && maps.Equal(r.Env, n.Env)
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
func (e *Engine) FollowFor(ctx context.Context, by Actor, after uint64, fn func(*event.Event) error) error {
	return e.Follow(ctx, after, func(ev *event.Event) error {
		if !by.mayRead(ev) {
			public := *ev
			public.Actor, public.Action, public.Changes, public.Label = nil, "", nil, ""
			if ev.WaitsFor == "" { // others may know what it waits for
				public.Reason = ""
			}
			ev = &public
		}
		return fn(ev)
	})
}

// mayRead reports whether a may see all of an event: it is not about a job of another
// owner, or a may see such jobs.
func (a Actor) mayRead(ev *event.Event) bool {
	if ev.Kind == "" || !Kind(ev.Kind).policy().private || !a.OnlyOwn && !a.NoJobs {
		return true
	}
	return ev.Owner == a.Name && (ev.OwnerUID == nil || *ev.OwnerUID == a.UID)
}
