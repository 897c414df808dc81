package announce

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"activationd/activation"
	"activationd/internal/fault"
	"activationd/reservation"
)

// A sourceDiff is the difference between what a source announces now and what it
// announced before.
type sourceDiff struct {
	*reading
	diff    reservation.Diff
	live    map[string]bool
	refused error // why none of it is applied; nil: it is applied

	changes  []int      // added and changed: where they are in the set
	nodes    [][]string // the nodes of the changes' topologies
	outcomes []outcome  // one for each of changes
	// withdrawn reports, for each removed reservation, whether it was live until then.
	withdrawn []bool
}

// An outcome is the result of announcing one changed reservation.
type outcome struct {
	what      string // added, changed, or empty: neither
	refused   string // why it was rejected; empty: it was not
	over      string // why it was passed over; empty: it was not
	otherwise bool   // it runs with other devices than it is now announced with
}

// compare compares what the sources announce now with what they announced before.
func (p *pass) compare(t *activation.Txn, readings []*reading) {
	p.diffs, p.leaving, p.announced = nil, make(map[string]string), make(map[string]string)
	p.newest = t.Generation()
	p.number = p.newest
	elsewhere := announcements(readings)
	for _, r := range readings {
		d := &sourceDiff{reading: r, refused: r.err}
		p.diffs = append(p.diffs, d)
		if !d.applies() {
			continue
		}
		var known map[string][16]byte
		known, d.live = t.Announced(r.name())
		d.diff = reservation.Compare(known, r.set, r.hashes)
		goingLive := 0
		for _, id := range d.diff.Removed {
			if d.live[id] && !elsewhere[id] { // otherwise it moves to another source, and stays
				goingLive++
			}
		}
		if err := reservation.Guard(len(d.live), goingLive, t.Settings.MaxRemoval); err != nil && !p.o.Force && !r.put.Force {
			d.refused, d.diff = err, reservation.Diff{}
			continue
		}
		for _, id := range d.diff.Removed {
			p.leaving[id] = r.name()
		}
		d.changes = slices.Concat(d.diff.Added, d.diff.Changed)
		d.nodes, d.outcomes = make([][]string, len(d.changes)), make([]outcome, len(d.changes))
		d.withdrawn = make([]bool, len(d.diff.Removed))
	}
}

// announcements returns the ids of all reservations of sources that have changed. With a
// single source it returns none: no reservation can move.
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

// change returns one of the changes.
func (d *sourceDiff) change(i int) *reservation.Reservation { return &d.set.Reservations[d.changes[i]] }

// applies reports whether the source was read, has changed, and is not refused.
func (d *sourceDiff) applies() bool { return d.refused == nil && !d.unchanged }

// readNodes reads the topologies of the changes, outside of transactions.
func (l *Loader) readNodes(d *sourceDiff) {
	for i := range d.changes {
		if text := d.change(i).Topology; text != "" {
			var err error
			if d.nodes[i], err = l.nodes(text); err != nil { // the source has checked it before
				l.log.Error("a topology cannot be read", "id", d.change(i).ID, "err", err)
			}
		}
	}
}

// unused returns the reservations that the source itself rejected, those that could not be
// announced, and those that were announced too late.
func (d *sourceDiff) unused() (u unused) {
	for _, x := range d.set.Rejects {
		u.reject(x)
	}
	for i, out := range d.outcomes {
		x := reservation.Reject{Where: d.change(i).Where, ID: d.change(i).ID, Text: out.refused + out.over}
		switch {
		case out.refused != "":
			u.reject(x)
		case out.over != "":
			u.passOver(x)
		}
	}
	return u
}

// keep stores the result of the source's load.
func (d *sourceDiff) keep(t *activation.Txn) error {
	if d.gone {
		return errors.Join(t.Delete(loadKey+d.name()), t.Delete(contentKey+d.name()))
	}
	if d.put.Content != nil {
		if err := t.Put(contentKey+d.name(), d.put.Content); err != nil {
			return err
		}
	}
	last := lastLoad{
		Fingerprint: d.fingerprint(d.set.Fingerprint), Read: t.Now, Count: len(d.set.Reservations), unused: d.unused(), Notices: d.set.Notices,
	}
	if last.Rejected > len(d.set.Rejects) { // so that the source is read again although it has not changed
		last.Fingerprint = ""
	}
	data, err := json.Marshal(last)
	if err != nil {
		return err
	}
	return t.Put(loadKey+d.name(), data)
}

// present returns the error of content that cannot be read as one of kind fault.Conflict: the load
// was requested in the right way, and is at odds with what is there now.
func present(err error) error {
	if errors.Is(err, fault.Invalid) {
		return fmt.Errorf("%s: %w", fault.Text(err), fault.Conflict)
	}
	return err
}

// reportChanges reports the reservations that were added, changed or rejected.
func (d *sourceDiff) reportChanges(rep *activation.Report) {
	switch {
	case d.refused != nil:
		rep.Fail(d.Name(), present(d.refused))
		return
	case d.unchanged:
		rep.Unchanged += d.last.Count
		addSaid(rep, d.Name(), d.last.unused, d.last.Notices)
		return
	}
	for _, id := range d.diff.StillInForce {
		rep.Add(activation.ReportLine{What: "kept", ID: id, Source: d.Name(), Text: "rejected now; its earlier version stays in force"})
	}
	rep.Unchanged += d.diff.Unchanged
	for i, out := range d.outcomes {
		rep.Count(out.what, d.change(i).ID, d.Name())
		if out.otherwise {
			rep.Add(activation.ReportLine{What: "notice", ID: d.change(i).ID, Source: d.Name(), Text: "it runs with the devices that it was activated with"})
		}
	}
	addSaid(rep, d.Name(), d.unused(), d.set.Notices)
}
