package activation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"activationd/event"
	"activationd/internal/fault"
)

// topologyOf is the key of one of the three topologies that a reservation may have:
// "source" is announced, "link" is attached by linkconf and takes precedence, and
// "applied" is the one in force since the newest activation was claimed, which has to be
// undone.
func topologyOf(id, which string) string { return topologyKey + id + "/" + which }

func (t *Txn) topology(id, which string) []byte { return t.Get(topologyOf(id, which)) }

// fixTopology copies the topology that takes precedence to the one that is applied.
func (t *Txn) fixTopology(id string) error {
	text := t.topology(id, "link")
	if text == nil {
		text = t.topology(id, "source")
	}
	switch old := t.topology(id, "applied"); {
	case text == nil && old == nil:
		return nil
	case text == nil:
		return t.Delete(topologyOf(id, "applied"))
	}
	return t.Put(topologyOf(id, "applied"), slices.Clone(text))
}

func (t *Txn) dropTopology(id, which string) error {
	if t.topology(id, which) == nil {
		return nil
	}
	return t.Delete(topologyOf(id, which))
}

func (t *Txn) dropTopologies(id string) error {
	for _, which := range []string{"link", "source", "applied"} {
		if err := t.dropTopology(id, which); err != nil {
			return err
		}
	}
	return nil
}

// Link attaches a topology to a reservation, which need not be announced yet. It takes
// precedence over the one that the source announces. The error is fault.Conflict if the
// reservation has been activated: its topology is fixed.
func (e *Engine) Link(ctx context.Context, by Actor, id string, text []byte) error {
	if _, err := e.parts.Nodes(string(text)); err != nil {
		return fmt.Errorf("topology: %w", err)
	}
	return e.relink(ctx, by, id, "linkconf", "attached", func(t *Txn) error { return t.Put(topologyOf(id, "link"), text) })
}

// Unlink removes the topology that [Engine.Link] attached. The error is fault.NotFound
// when none is attached.
func (e *Engine) Unlink(ctx context.Context, by Actor, id string) error {
	return e.relink(ctx, by, id, "dellinkconf", "removed", func(t *Txn) error {
		if t.topology(id, "link") == nil {
			return fmt.Errorf("no topology is attached to %s: %w", id, fault.NotFound)
		}
		return t.Delete(topologyOf(id, "link"))
	})
}

func (e *Engine) relink(ctx context.Context, by Actor, id, action, what string, change func(*Txn) error) error {
	if isJob(id) || !ValidName(id) {
		return fmt.Errorf("%q is not a reservation's id: %w", id, fault.Invalid)
	}
	return e.UpdateBy(ctx, by, func(t *Txn) error {
		r, err := t.Record(id)
		if err == nil && (r.NeedsUndo || slices.Contains([]State{Activating, Active, Deactivating, Stuck}, r.State)) {
			return fmt.Errorf("%s is %s: its topology is fixed until it has been deactivated: %w", id, r.State, fault.Conflict)
		}
		if err := change(t); err != nil {
			return err
		}
		what, ev := "topology."+what, event.Event{Action: action, Reason: "a topology was " + what + " by " + by.Name}
		switch {
		case errors.Is(err, fault.NotFound): // not announced yet
			ev.What, ev.ID, ev.Kind = what, id, string(Reservation)
			t.Emit(ev)
			return nil
		case err != nil:
			return err
		}
		old := r.clone()
		t.happened(r, what, ev)
		t.devicesOf(r, t.nodesOf(r, "source"))
		if r.State == Waiting && !slices.Equal(old.Devices, r.Devices) { // its place in the queue is for the old devices
			if err := t.Apply(r, Move, "its topology was changed"); err != nil {
				return err
			}
		}
		t.Later(id)
		return t.Save(old, r)
	})
}

// devicesOf sets r's devices to the nodes of its topology, if its source names no
// devices. A topology that linkconf attached takes precedence. Own are the nodes of the
// topology that the source announces, sorted.
func (t *Txn) devicesOf(r *Record, own []string) {
	if len(r.Devices) > 0 && !r.Linked && !slices.Equal(slices.Sorted(slices.Values(r.Devices)), own) {
		return
	}
	r.Devices, r.Linked = own, t.topology(r.ID, "link") != nil
	if r.Linked {
		r.Devices = t.nodesOf(r, "link")
	}
}

// nodesOf returns the sorted names of a topology's nodes; nil if r has no such topology.
func (t *Txn) nodesOf(r *Record, which string) []string {
	text := t.topology(r.ID, which)
	if text == nil {
		return nil
	}
	nodes, err := t.parts.Nodes(string(text))
	if err != nil { // it was valid when it was stored
		t.Log(slog.LevelError, "a topology cannot be read", "id", r.ID, "which", which, "err", err)
	}
	return sortedNames(nodes)
}

func sortedNames(names []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(names)))
}
