package activation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"activationd/internal/fault"
	"activationd/store"
	"activationd/supervisor"
)

// A By says who asks for something, and what of others' is his to see and touch.
type By struct {
	Name    string
	UID     int  // -1: not known
	OnlyOwn bool // his own jobs only
	NoJobs  bool // any reservation, but of jobs only his own: who he is nobody knows
	// As is as whom his own jobs run; nil: nobody knows.
	As *Identity
}

// owns reports whether r is b's own job. A name alone is not enough: it may be a
// token's, or of a user who was deleted and made anew; nor is a number.
func (b By) owns(r *Record) bool {
	return r.Kind == Job && r.Owner == b.Name && (r.User == nil || r.User.UID == b.UID)
}

// check returns an error of kind fault.Denied unless r is b's to see and touch.
func (b By) check(r *Record) error {
	switch {
	case b.owns(r):
	case b.OnlyOwn:
		return fmt.Errorf("%s belongs to %s, not to %s: %w", r.ID, orElse(r.Owner, "nobody"), b.Name, fault.Denied)
	case b.NoJobs && r.Kind == Job:
		return fmt.Errorf("%s is a job, and jobs are for their owners and for those who show who they are: "+
			"use the Unix socket, or give a token: %w", r.ID, fault.Denied)
	}
	return nil
}

// runsAs reports whether b may say what r runs: he could run it as himself.
func (b By) runsAs(r *Record) bool {
	return b.UID == 0 || r.User == nil || r.User.UID == b.UID
}

// sameRun reports whether two records of a job run the same in the same way.
func sameRun(r, n *Record) bool {
	return slices.Equal(r.Argv, n.Argv) && bytes.Equal(r.Stdin, n.Stdin) && r.Dir == n.Dir && maps.Equal(r.Env, n.Env)
}

// under is a user with what b's process was under, too, if both are one: what he makes
// of a job that is there already shall get him no more than a new one would.
func (u *Identity) under(b *Identity) *Identity {
	if u == nil || b == nil || u.UID != b.UID {
		return u
	}
	both := *u
	both.Limits, both.NoNewPrivs = supervisor.Lower(u.Limits, b.Limits), u.NoNewPrivs || b.NoNewPrivs
	return &both
}

// For returns of v what by may see of it. Of others' jobs that is that they are
// there, whose they are, their state, times and locks, and how their attempts
// ended, but not what they run and nothing that its owner or its processes
// wrote. Of reservations all is public but their commands, files and topology.
func (v View) For(by By) View {
	if by.check(&v.Record) == nil {
		return v
	}
	v.Hidden = true
	v.Argv, v.Undo, v.Stdin, v.Dir, v.Env, v.User, v.Topology, v.TopologyName = nil, nil, nil, "", nil, nil, "", ""
	if v.Kind != Job {
		return v
	}
	v.Label, v.Tags, v.Progress, v.Reason = "", nil, nil, publicReason(v.Reason)
	v.Attempts = slices.Clone(v.Attempts)
	for i := range v.Attempts {
		v.Attempts[i].Result.Text = "" // it names the command, for one
	}
	return v
}

// publicReason is as much of the reason for the state of somebody else's job as
// everybody may know: what it waits for is others' affair too.
func publicReason(reason string) string {
	if strings.HasPrefix(reason, waitsFor) {
		return reason
	}
	return ""
}

// FollowFor is [Engine.Follow] for one who may not see everything: he gets all
// happenings, but of others' jobs not what was said about them.
func (e *Engine) FollowFor(ctx context.Context, by By, since uint64, fn func(Happening) error) error {
	if by.OnlyOwn || by.NoJobs {
		fn = e.discreet(ctx, by, fn)
	}
	return e.Follow(ctx, since, fn)
}

// maxKnown bounds of how many jobs it is remembered whose they are.
const maxKnown = 10_000

func (e *Engine) discreet(ctx context.Context, by By, fn func(Happening) error) func(Happening) error {
	known := make(map[string]bool)
	return func(h Happening) error {
		if reason := publicReason(h.Reason); isJob(h.ID) && reason != h.Reason {
			sees, ok := known[h.ID]
			if !ok {
				var err error
				if sees, err = e.sees(ctx, by, h.ID); err != nil {
					return err
				}
				if len(known) == maxKnown {
					clear(known)
				}
				known[h.ID] = sees
			}
			if !sees {
				h.Reason = reason
			}
		}
		return fn(h)
	}
}

// sees reports whether an activation that is there is by's to see.
func (e *Engine) sees(ctx context.Context, by By, id string) (sees bool, err error) {
	err = e.parts.DB.View(ctx, func(tx store.Tx) error {
		r, err := e.begin(tx).get(id)
		sees = err == nil && by.check(r) == nil
		if errors.Is(err, fault.NotFound) {
			return nil
		}
		return err
	})
	return sees, err
}
