package ops

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"activationd/activation"
	"activationd/control"
	"activationd/event"
	"activationd/internal/fault"
	"activationd/queue"
	"activationd/queue/pools"
)

// Pools decides which queues are served.
type Pools interface {
	// Rules returns the rules that are in force.
	Rules() pools.Rules
	// Err returns why the list could not be read last, or nil.
	Err() error
	// Change replaces the list by what change makes of it, and puts it in force.
	Change(ctx context.Context, change func(*pools.List) *pools.List) error
}

// poolOps returns the operations on the list of the queues that are served.
func (d Daemon) poolOps() []control.Op {
	return []control.Op{
		control.Declare("queue allow", control.Operator, "add queues to the list of those that are served", d.queueAllow).At("POST /allowed-queues"),
		control.Declare("queue deny", control.Operator, "remove queues from the list of those that are served", d.queueDeny).At("DELETE /allowed-queues"),
		control.Declare("queue allowed", control.Viewer, "list which queues may be served", d.queueAllowed).At("GET /allowed-queues"),
	}
}

func (d Daemon) queueAllow(ctx context.Context, c control.Caller, in control.QueueAllowIn) (reply control.Reply[control.QueueAllowed], err error) {
	return d.changePools(ctx, c, "allowed", "queue allow", in.Name, func(list *pools.List) *pools.List {
		if in.Only {
			return pools.Only(in.Name...)
		}
		for _, name := range in.Name {
			list = list.Allow(name)
		}
		return list
	})
}

func (d Daemon) queueDeny(ctx context.Context, c control.Caller, in control.QueueAllowIn) (reply control.Reply[control.QueueAllowed], err error) {
	if in.Only {
		return reply, fmt.Errorf("only has a meaning with queue allow: %w", fault.Invalid)
	}
	return d.changePools(ctx, c, "denied", "queue deny", in.Name, func(list *pools.List) *pools.List {
		for _, name := range in.Name {
			list = list.Deny(name)
		}
		return list
	})
}

func (d Daemon) changePools(ctx context.Context, c control.Caller, what, action string, names []string, change func(*pools.List) *pools.List) (reply control.Reply[control.QueueAllowed], err error) {
	for _, name := range names {
		if !isPattern(name) {
			err = queue.CheckName(name)
		} else if _, wrong := path.Match(name, ""); wrong != nil {
			err = fmt.Errorf("%.80q is not a pattern: %w", name, fault.Invalid)
		}
		if err != nil {
			return reply, err
		}
	}
	if err := d.Pools.Change(ctx, change); err != nil {
		return reply, err
	}
	err = d.Engine.UpdateBy(ctx, actor(c), func(t *activation.Txn) error {
		for _, name := range names {
			t.Emit(event.Event{Topic: event.Topic("queue", name, what), What: "queue." + what, Kind: "queue", ID: name, Action: action})
		}
		return nil
	})
	if err != nil {
		return reply, fmt.Errorf("the list was changed, but the event about it was not written: %w", err)
	}
	return d.allowed(ctx, names)
}

func isPattern(name string) bool { return strings.ContainsAny(name, `*?[\`) }

func (d Daemon) queueAllowed(ctx context.Context, _ control.Caller, in control.QueueListIn) (reply control.Reply[control.QueueAllowed], err error) {
	return d.allowed(ctx, in.Name)
}

// allowed says for queues, and for names, whether they may be served. A pattern stands for the
// queues that match it. Without names it is about all queues, and about what the list names
// besides.
func (d Daemon) allowed(ctx context.Context, names []string) (reply control.Reply[control.QueueAllowed], err error) {
	all, err := d.Queues.Queues(ctx)
	if err != nil {
		return reply, err
	}
	rules := d.Pools.Rules()
	chosen, served := make(map[string]bool), 0
	add := func(name string, exists bool) {
		if chosen[name] {
			return
		}
		chosen[name] = true
		ok, why := rules.Allows(name)
		if ok {
			served++
		}
		reply.Lines = append(reply.Lines, control.QueueAllowed{Name: name, Exists: exists, Allowed: ok, Reason: why})
	}
	for i := range all {
		name := all[i].Name
		if !all[i].Builtin && (len(names) == 0 || slices.ContainsFunc(names, func(p string) bool { ok, _ := path.Match(p, name); return ok })) {
			add(name, true)
		}
	}
	others := names
	if len(names) == 0 {
		others = rules.List.Entries()
	}
	for _, name := range others {
		if name = strings.TrimPrefix(name, "!"); !isPattern(name) {
			add(name, false)
		}
	}
	slices.SortFunc(reply.Lines, func(a, b control.QueueAllowed) int { return strings.Compare(a.Name, b.Name) })
	reply.Summary = fmt.Sprintf("queues=%d allowed=%d", len(reply.Lines), served)
	return reply, nil
}
