package activation

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"activationd/event"
	"activationd/internal/fault"
)

// An Announcement is a reservation as a source announces it.
type Announcement struct {
	ID    string
	Start time.Time
	// Slot has the source, as [SourceKey] names it, the hash of the announcement, and the
	// number of the load. If it has no devices, they are the topology's nodes.
	Slot
	Order    Order
	Topology string   // the text; empty: none
	Nodes    []string // the names of the topology's nodes
	From     string   // a source that no longer announces it, so that this one may take it over; empty: none
	Action   string   // of the act, if a client requested it; empty: the announcement is the source's
}

// Announce applies an announcement. It returns how the load counts it: "added", "changed",
// "over" if the reservation was not known and its slot has ended, or "" for none of these.
// An error of kind fault.Conflict or fault.Invalid means that the reservation is rejected
// and that nothing was written: another source announces it, its record cannot be read, or
// it is too large for the store. Any other error is the store's.
func (t *Txn) Announce(a *Announcement) (what string, err error) {
	if t.Get(key(a.ID)) == nil {
		return t.add(a)
	}
	r, err := t.Record(a.ID)
	switch {
	case err != nil:
		t.Log(slog.LevelError, "a record cannot be read", "id", a.ID, "err", err)
		return "", fmt.Errorf("its record cannot be read, and is left alone: %w", fault.Conflict)
	case r.Source != "" && r.Source != a.Source && a.From != r.Source:
		return "", fmt.Errorf("another source announces this id already: %w", fault.Conflict)
	}
	old, was := r.clone(), t.topology(a.ID, "source")
	what = "changed"
	if r.Source == "" {
		what = "added"
		r.Comeback = ifAnnounced
	}
	if err := t.accept(r, a); err != nil {
		return "", err
	}
	if old.State == Finished && r.slotEnded(t.Moment) {
		what = ""
	}
	standard := "change"
	if old.Source == "" {
		standard = "announce"
	}
	ev := a.act(standard, r)
	ev.Changes = changesOf(old, r)
	if old.TopologyName == r.TopologyName && string(was) != a.Topology {
		ev.Changes = append(ev.Changes, event.Change{Field: "topology"})
	}
	if old.Source == "" || len(ev.Changes) > 0 { // a load that was interrupted is applied again
		t.happened(r, "changed", ev)
	}
	if err := t.move(old, r); err != nil {
		return "", err
	}
	t.Later(r.ID)
	return what, t.Save(old, r)
}

// add makes the record of an announcement whose id is not known.
func (t *Txn) add(a *Announcement) (what string, err error) {
	r := &Record{ID: a.ID, Kind: Reservation, Life: Life{State: Scheduled, Created: t.Now, Since: t.Now}}
	if err := t.accept(r, a); err != nil {
		return "", err
	}
	if r.slotEnded(t.Moment) { // it was announced too late
		return "over", t.dropTopology(r.ID, "source")
	}
	t.happened(r, event.State, a.act("announce", r))
	return "added", t.Save(nil, r)
}

// act returns the event of the announcement of r. The act is the client's, if one requested it,
// or else the source's.
func (a *Announcement) act(standard string, r *Record) event.Event {
	if a.Action != "" {
		return event.Event{Action: a.Action}
	}
	return event.Event{Action: standard, Source: r.SourceName(), Load: a.Generation}
}

// accept sets in r what its source announces.
func (t *Txn) accept(r *Record, a *Announcement) error {
	was := *r
	r.Start, r.Slot, r.Order = a.Start, a.Slot, a.Order
	if a.Topology != "" && r.TopologyName == "" {
		r.TopologyName = "inline"
	}
	t.devicesOf(r, sortedNames(a.Nodes))
	if r.Announced = was.Announced; was.Source == "" || r.wantsMoreThan(&was) {
		r.Announced = t.Stamp()
	}
	if err := t.fits(r); err != nil {
		return err
	}
	switch now := t.topology(r.ID, "source"); {
	case a.Topology == "" && now == nil:
		return nil
	case a.Topology == "":
		return t.Delete(topologyOf(r.ID, "source"))
	case !bytes.Equal(now, []byte(a.Topology)):
		return t.Put(topologyOf(r.ID, "source"), []byte(a.Topology))
	}
	return nil
}

// wantsMoreThan reports whether r occupies something that it did not occupy as it was
// announced before. Others may have been promised that since.
func (r *Record) wantsMoreThan(was *Record) bool {
	more := func(n int, domain string) bool { return n > was.VLANs[domain] }
	for domain, n := range r.VLANs {
		if more(n, domain) {
			return true
		}
	}
	return r.activateAt().Before(was.activateAt()) || r.End.After(was.End) ||
		slices.ContainsFunc(r.Devices, func(d string) bool { return !slices.Contains(was.Devices, d) })
}

// move applies the trigger, if any, that follows when an announcement changed the record
// old to r.
func (t *Txn) move(old, r *Record) error {
	const why = "its reservation was changed"
	at := r.activateAt()
	later := at.After(t.Now) && !at.Equal(old.activateAt())
	again := old.Source == ""
	switch r.State {
	case Scheduled, Held: // the index follows
		if later {
			r.Urgency = OnTime
		}
		r.serveAgainIf(r.NeedsUndo && (later || !slices.Equal(old.Devices, r.Devices)))
		return nil
	case Waiting:
		if !later && slices.Equal(old.Devices, r.Devices) {
			return nil
		}
		r.serveAgainIf(r.NeedsUndo)
	case Activating, Active:
		if r.PendingOutcome != "" { // it is being stopped
			r.serveAgainIf(again || later || t.slotMoved(old, r))
			return nil
		}
		if !later { // only its end changed, which the index follows
			return nil
		}
		r.Comeback = serveAgain
	case Deactivating, Stuck:
		r.serveAgainIf(again || later || t.slotMoved(old, r))
		return nil
	case Finished:
		if r.Comeback == neverAgain || r.slotEnded(t.Moment) || !again && !t.slotMoved(old, r) {
			return nil
		}
		r.Comeback = serveAgain
	}
	return t.Apply(r, Move, why)
}

// slotMoved reports whether the slot or the devices of r differ from those of old.
func (t *Txn) slotMoved(old, r *Record) bool {
	return !old.activateAt().Equal(r.activateAt()) || !old.deactivateAt().Equal(r.deactivateAt()) || !slices.Equal(old.Devices, r.Devices)
}

// Withdraw ends a reservation that its source no longer announces, unless another source
// has taken it over. Gone reports whether it was still the source's. Load is the number of
// the load.
func (t *Txn) Withdraw(id, source, why string, load uint64) (gone bool, err error) {
	r, err := t.Record(id)
	if err != nil {
		t.Log(slog.LevelError, "a record cannot be read; it is left alone", "id", id, "err", err)
		return false, nil
	}
	if r.Source != source || r.Booked != nil { // a booking is in no source that could lack it
		return false, nil
	}
	old := r.clone()
	r.Source, r.Hash = "", nil
	if r.State != Finished {
		t.happened(r, "withdrawn", event.Event{Action: "remove", Source: old.SourceName(), Load: load, Reason: why})
	}
	if _, ok := next(r.State, Remove, r.facts(t.Moment)); ok {
		if err := t.Apply(r, Remove, why); err != nil {
			return false, err
		}
	}
	t.Later(id)
	return true, t.Save(old, r)
}

// Announced returns the hashes of all reservations that a source has announced, by id,
// and the ids of those that are live.
func (t *Txn) Announced(source string) (hashes map[string][16]byte, live map[string]bool) {
	hashes, live = make(map[string][16]byte), make(map[string]bool)
	prefix := sourceKey + source + "/"
	for k, v := range t.Scan(prefix, "") {
		id := strings.TrimPrefix(k, prefix)
		h, l := parseMark(v)
		hashes[id] = h
		if l {
			live[id] = true
		}
	}
	return hashes, live
}

// RunsOtherwise reports whether a reservation is active with other devices than it is now
// announced with.
func (t *Txn) RunsOtherwise(id string) bool {
	r, err := t.Record(id)
	return err == nil && r.NeedsUndo && r.Comeback != serveAgain && !slices.Equal(r.LocksHeld, r.Devices)
}

// Generation returns the number of the newest load.
func (t *Txn) Generation() uint64 { return number(t, generation) }

// NextGeneration raises the number of the newest load by one and returns it.
func (t *Txn) NextGeneration() (uint64, error) { return count(t, generation) }
