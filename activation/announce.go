package activation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"activationd/internal/fault"
	"activationd/reservation"
)

// A plan is what a source said, compared with what is known.
type plan struct {
	*reading
	diff    reservation.Diff
	live    map[string]bool
	refused error
	// leaving has, for all sources, what is announced by them no more and may
	// be taken over by another: the source, by id.
	leaving map[string]string

	// What is to be kept of this load.
	fingerprint string
	rejects     []reservation.Reject
}

// plans compares what the sources said with what is known.
func (t *txn) plans(readings []*reading, o LoadOptions) []*plan {
	var plans []*plan
	leaving := make(map[string]string)
	announced := announcements(readings)
	for _, r := range readings {
		p := &plan{reading: r, leaving: leaving, refused: r.err}
		if p.refused != nil || r.unchanged {
			plans = append(plans, p)
			continue
		}
		var known map[string][16]byte
		known, p.live = t.known(r.name())
		p.diff = reservation.Compare(known, r.set)
		goingLive := 0
		for _, id := range p.diff.Removed {
			if p.live[id] && !announced[id] { // else it goes to another source, and stays
				goingLive++
			}
		}
		if err := reservation.Guard(len(p.live), goingLive, t.set.MaxRemoval); err != nil && !o.Force {
			p.refused = err
		} else {
			for _, id := range p.diff.Removed {
				leaving[id] = r.name()
			}
		}
		plans = append(plans, p)
	}
	return plans
}

// announcements has the ids of all that is announced by sources that have
// changed, if there are several.
func announcements(readings []*reading) map[string]bool {
	if len(readings) < 2 {
		return nil
	}
	ids := make(map[string]bool)
	for _, r := range readings {
		for i := range r.set.Reservations {
			ids[r.set.Reservations[i].ID] = true
		}
	}
	return ids
}

// isRefused reports whether nothing of the plan is to be applied.
func (p *plan) isRefused() bool { return p.refused != nil }

// applyPlan applies what one source announces. Its error is of the store.
func (e *Engine) applyPlan(t *txn, p *plan, gen uint64) (rep Report, err error) {
	if p.isRefused() { // which is for the report, and not for the transaction
		why := p.refused
		if errors.Is(why, fault.Invalid) { // half-written, perhaps: who asks again later may be lucky
			why = fmt.Errorf("%s: %w", fault.Text(why), fault.Unavailable)
		}
		rep.fail(p.Name(), why)
		return rep, nil
	}
	if p.unchanged {
		rep.Unchanged = p.last.Count
		rep.tell(p.Name(), p.last.Rejects, p.last.Notices)
		return rep, nil
	}
	p.rejects = slices.Clone(p.set.Rejects)
	for _, id := range p.diff.Kept {
		rep.add(ReportLine{"kept", id, p.Name(), "rejected now; its earlier version stays in force"})
	}
	rep.Unchanged = p.diff.Unchanged
	p.fingerprint = p.Source.fingerprint(p.set.Fingerprint)
	for _, res := range slices.Concat(p.diff.Added, p.diff.Changed) {
		what, err := e.announce(t, p, &res, gen)
		if errors.Is(err, errForeign) || errors.Is(err, errUnreadable) {
			p.rejects = append(p.rejects, reservation.Reject{Where: res.Where, ID: res.ID, Text: fault.Text(err)})
			p.fingerprint = "" // to be read again though it has not changed
			continue
		}
		if err != nil {
			return rep, err
		}
		rep.count(what, res.ID, p.Name())
		if what == "changed" && t.runsOtherwise(&res) {
			rep.add(ReportLine{"notice", res.ID, p.Name(), "it runs with the devices that it was activated with"})
		}
	}
	rep.tell(p.Name(), p.rejects, p.set.Notices)
	return rep, nil
}

// finishPlan ends what a source announces no more, once it is known what others
// have taken over, and keeps how the load went. Its error is of the store.
func (t *txn) finishPlan(p *plan) (rep Report, err error) {
	if p.isRefused() || p.unchanged {
		return rep, nil
	}
	for _, id := range p.diff.Removed {
		gone, err := t.withdraw(id, p)
		if err != nil {
			return rep, err
		}
		if gone && p.live[id] {
			rep.count("removed", id, p.Name())
		}
	}
	if p.gone {
		return rep, t.Delete(loadKey + p.name())
	}
	data, err := json.Marshal(lastLoad{
		Fingerprint: p.fingerprint, Read: t.now, Count: len(p.set.Reservations),
		Rejects: p.rejects, Notices: p.set.Notices,
	})
	if err != nil {
		return rep, err
	}
	return rep, t.Put(loadKey+p.name(), data)
}

var (
	errForeign    = errors.New("another source announces this id already")
	errUnreadable = errors.New("its record cannot be read, and is left alone")
)

// runsOtherwise reports whether a reservation is up with other devices than it is
// announced with now.
func (t *txn) runsOtherwise(res *reservation.Reservation) bool {
	r, err := t.get(res.ID)
	return err == nil && r.Dirty && !r.Renew && !slices.Equal(r.Held, r.Devices)
}

// known lists what a source announces by its last load, and what of that is live.
func (t *txn) known(source string) (hashes map[string][16]byte, live map[string]bool) {
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

// announce makes so what a source says of one reservation. It returns how it
// counts: added, changed, or not at all.
func (e *Engine) announce(t *txn, p *plan, res *reservation.Reservation, gen uint64) (what string, err error) {
	r, err := t.get(res.ID)
	switch {
	case errors.Is(err, fault.NotFound):
		r = &Record{ID: res.ID, Kind: Reservation, State: Scheduled, Created: t.now, Since: t.now}
		if err := r.announced(e, t, p.reading, res, gen); err != nil {
			return "", err
		}
		if r.over(t.moment) { // its slot was over before it was heard of
			return "", t.dropTopology(r.ID, "source")
		}
		t.news = append(t.news, Happening{Time: t.now, What: "state", ID: r.ID, State: string(r.State)})
		return "added", t.save(nil, r)
	case err != nil:
		e.parts.Log.Error("a record cannot be read", "id", res.ID, "err", err)
		return "", errUnreadable
	case r.Source != "" && r.Source != p.name() && p.leaving[r.ID] != r.Source:
		return "", errForeign
	}
	old := r.clone()
	what = "changed"
	if r.Source == "" {
		what = "added"
		r.Quit = false
	}
	if err := r.announced(e, t, p.reading, res, gen); err != nil {
		return "", err
	}
	if old.State == Finished && r.over(t.moment) {
		what = ""
	}
	if err := t.move(old, r); err != nil {
		return "", err
	}
	t.later = append(t.later, r.ID)
	return what, t.save(old, r)
}

// move takes r, which was old before, through what follows from what its source
// says now.
func (t *txn) move(old, r *Record) error {
	const why = "its reservation was changed"
	at := r.activateAt()
	later := at.After(t.now) && !at.Equal(old.activateAt())
	again := old.Source == ""
	switch r.State {
	case Scheduled, Held: // the index follows
		r.Late = r.Late && !later
		r.Renew = r.Dirty && (r.Renew || later || !slices.Equal(old.Devices, r.Devices))
		return nil
	case Waiting:
		if !later && slices.Equal(old.Devices, r.Devices) {
			return nil
		}
		r.Renew = r.Dirty
	case Activating, Active:
		if r.Ending != "" { // it is being stopped
			r.Renew = !r.Quit && (again || later || r.Renew || t.slotMoved(old, r))
			return nil
		}
		if !later { // only its end is another, which the index follows
			return nil
		}
		r.Renew = true
	case Deactivating, Stuck:
		r.Renew = !r.Quit && (again || later || r.Renew || t.slotMoved(old, r))
		return nil
	case Finished:
		if r.Quit || r.over(t.moment) || !again && !t.slotMoved(old, r) {
			return nil
		}
		r.Renew = true
	}
	return t.apply(r, Move, why)
}

// slotMoved reports whether what r had is another slot than what it has now.
func (t *txn) slotMoved(old, r *Record) bool {
	return !old.activateAt().Equal(r.activateAt()) || !old.deactivateAt().Equal(r.deactivateAt()) || !slices.Equal(old.Devices, r.Devices)
}

// announced sets what the source says.
func (r *Record) announced(e *Engine, t *txn, src *reading, res *reservation.Reservation, gen uint64) error {
	hash := res.Hash()
	r.Source, r.Hash, r.Generation = src.name(), hash[:], gen
	r.Owner, r.Label, r.Start, r.End = res.Owner, res.Label, res.Start.Round(0), res.End.Round(0)
	r.Lead, r.Tail, r.Missed = *res.Lead, *res.Tail, res.Missed
	r.Devices, r.Linked = res.Devices, false
	r.Argv, r.Undo, r.Env = res.Activate, res.Deactivate, res.Env
	r.Timeout, r.Grace, r.Retries = res.Timeout, res.Grace, res.Retries
	r.TopologyName = res.TopologyName
	if res.Topology != "" && r.TopologyName == "" {
		r.TopologyName = "inline"
	}
	if now := t.topology(r.ID, "source"); res.Topology == "" && now != nil {
		if err := t.dropTopology(r.ID, "source"); err != nil {
			return err
		}
	} else if res.Topology != "" && !bytes.Equal(now, []byte(res.Topology)) {
		if err := t.Put(topologyOf(r.ID, "source"), []byte(res.Topology)); err != nil {
			return err
		}
	}
	e.devicesOf(t, r)
	return nil
}

// devicesOf gives r, whose source names no devices but the nodes of its topology, if
// it has one, the nodes of the topology that is in force: that which linkconf attached
// to it comes first.
func (e *Engine) devicesOf(t *txn, r *Record) {
	own := e.nodesOf(t, r, "source")
	if len(r.Devices) > 0 && !r.Linked && !slices.Equal(slices.Sorted(slices.Values(r.Devices)), own) {
		return
	}
	r.Devices, r.Linked = own, t.topology(r.ID, "link") != nil
	if r.Linked {
		r.Devices = e.nodesOf(t, r, "link")
	}
}

// nodesOf returns the names of a topology's nodes, sorted; nil if r has none such.
func (e *Engine) nodesOf(t *txn, r *Record, which string) []string {
	text := t.topology(r.ID, which)
	if text == nil {
		return nil
	}
	nodes, err := e.parts.Nodes(string(text))
	if err != nil { // it was sound when it came
		t.log.Error("a topology cannot be read", "id", r.ID, "which", which, "err", err)
	}
	return slices.Compact(slices.Sorted(slices.Values(nodes)))
}

// withdraw ends a reservation that its source announces no more, unless another
// has taken it over.
func (t *txn) withdraw(id string, p *plan) (gone bool, err error) {
	r, err := t.get(id)
	if err != nil {
		t.log.Error("leaving a record alone that cannot be read", "id", id, "err", err)
		return false, nil
	}
	if r.Source != p.name() {
		return false, nil
	}
	old := r.clone()
	r.Source, r.Hash = "", nil
	why := "its source announces it no more"
	if p.gone {
		why = "its source is not configured any more"
	}
	if _, ok := next(r.State, Remove, r.facts(t.moment)); ok {
		if err := t.apply(r, Remove, why); err != nil {
			return false, err
		}
	}
	t.later = append(t.later, id)
	return true, t.save(old, r)
}
