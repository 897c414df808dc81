package activation

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"pgregory.net/rapid"

	"activationd/internal/fault"
	"activationd/store"
	"activationd/vlanstore"
)

// A promise is a lease that an activation got: until it is over, or its
// deactivation has begun, nobody may take it away.
type promise struct {
	lease  vlanstore.Lease
	undone int  // attempts of phase deactivate by then
	begun  bool // its script had begun
	tries  int  // how often, the last time we looked
}

// lease has an activation ask for VLANs.
func (m *machine) lease(rt *rapid.T) {
	id := rapid.SampledFrom(m.ids()).Draw(rt, "id")
	var wants []vlanstore.Want
	for _, link := range subset(rt, []string{"l1", "l2", "l3"}, "links") {
		wants = append(wants, vlanstore.Want{Domain: "x", Link: link})
	}
	if _, err := m.l.e.Get(context.Background(), id); err != nil || len(wants) == 0 {
		return // who is unknown has what he has for ever
	}
	ls, err := m.l.e.Lease(context.Background(), admin, id, wants)
	m.mind(rt, err)
	if err != nil {
		return
	}
	_ = m.l.db.View(context.Background(), func(tx store.Tx) error {
		r, err := (&txn{Tx: tx}).get(id)
		if err == nil {
			for _, l := range ls {
				m.promises = append(m.promises, promise{l, r.Ns[1], r.begun(), r.Ns[0]})
			}
		}
		return nil
	})
}

// begun reports whether something of r runs or ran that has not been undone.
func (r *Record) begun() bool { return r.State == Activating || r.slot() && r.Dirty }

// broken lists the promises that were not kept, and forgets those that are over.
func (m *machine) broken() (faults []string) {
	var still []promise
	_ = m.l.db.View(context.Background(), func(tx store.Tx) error {
		for _, p := range m.promises {
			r, err := (&txn{Tx: tx}).get(p.lease.Holder)
			if err != nil || r.State == Finished || r.Ns[1] != p.undone || p.begun && r.slot() && !r.begun() {
				continue
			}
			if p.begun && slices.ContainsFunc(r.Attempts, func(a Attempt) bool { return a.Phase == Activate && a.First && a.N > p.tries }) {
				continue // it was undone, and has begun anew since we looked
			}
			p.begun, p.tries = r.begun(), r.Ns[0]
			still = append(still, p)
			ls, err := vlanstore.Of(tx, p.lease.Holder)
			found := false
			for _, l := range ls {
				found = found || l.ID == p.lease.ID && l.Link == p.lease.Link
			}
			if err != nil || !found {
				faults = append(faults, fmt.Sprintf("%s has lost VLAN %d, and nothing was proved: it has %+v, %v", r.ID, p.lease.ID, ls, err))
			}
		}
		return nil
	})
	m.promises = still
	return faults
}

// checkVLANs checks what must hold of VLANs at any time.
func checkVLANs(tx store.Tx) (faults []string) {
	if err := vlanstore.Verify(tx); err != nil {
		return []string{err.Error()}
	}
	ls, err := vlanstore.List(tx, vlanstore.Filter{State: vlanstore.Leased})
	if err != nil {
		return []string{err.Error()}
	}
	for _, l := range ls {
		r, err := (&txn{Tx: tx}).get(l.Holder)
		if err == nil && (r.State == Finished || r.State == Stuck) {
			faults = append(faults, fmt.Sprintf("%s is %s and has VLAN %d", r.ID, r.State, l.ID))
		}
	}
	return faults
}

// checkKept checks that a directory is kept for who runs, and for nobody who has
// finished.
func (l *lab) checkKept(tx store.Tx) (faults []string) {
	t := &txn{Tx: tx}
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	for id := range l.w.kept {
		r, err := t.get(id)
		if errors.Is(err, fault.NotFound) || err == nil && r.State == Finished {
			faults = append(faults, "the directory of "+id+" is kept, which has finished")
		}
	}
	for k, run := range l.w.runs {
		if r, err := t.get(k.ID); err == nil && r.slot() && !run.ended() && !l.w.kept[k.ID] {
			faults = append(faults, fmt.Sprintf("%v runs without its directory", k))
		}
	}
	return faults
}

// freeVLANs takes out of quarantine what was forgiven and failed. Nothing else
// may be left.
func (m *machine) freeVLANs(rt *rapid.T) {
	ls, err := m.l.e.VLANs(context.Background(), vlanstore.Filter{})
	if err != nil {
		rt.Fatal(err)
	}
	for _, l := range ls {
		if _, err := m.l.e.FreeVLAN(context.Background(), admin, l.Domain, l.ID); err != nil {
			rt.Fatalf("in the end %+v is left: %v", l, err)
		}
	}
}
