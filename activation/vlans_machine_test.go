package activation_test

import (
	"context"
	"errors"
	"fmt"
	"slices"

	. "activationd/activation"

	"pgregory.net/rapid"

	"activationd/internal/fault"
	"activationd/store"
	"activationd/vlanstore"
)

// A promise is a lease that an activation got. Until the activation is over, or its
// deactivation has begun, the lease must not be taken away.
type promise struct {
	lease  vlanstore.Lease
	undone int  // attempts of phase deactivate by then
	begun  bool // its script had begun
	tries  int  // the tries at the last check
}

// lease leases VLANs for an activation.
func (m *machine) lease(rt *rapid.T) {
	id := rapid.SampledFrom(m.ids()).Draw(rt, "id")
	var wants []vlanstore.Want
	for _, link := range subset(rt, []string{"l1", "l2", "l3"}, "links") {
		wants = append(wants, vlanstore.Want{Domain: "x", Link: link})
	}
	if _, err := m.l.e.Get(context.Background(), id); err != nil || len(wants) == 0 {
		return // an unknown holder keeps its leases forever
	}
	ls, err := m.l.e.Lease(context.Background(), admin, id, wants)
	m.mind(rt, err)
	if err != nil {
		return
	}
	_ = m.l.mem.View(context.Background(), func(tx store.Tx) error {
		r, err := (&Txn{Tx: tx}).Record(id)
		if err == nil {
			for _, l := range ls {
				m.promises = append(m.promises, promise{l, r.LastN[1], r.Begun(), r.LastN[0]})
			}
		}
		return nil
	})
}

// broken lists the promises that were not kept, and removes those that are over.
func (m *machine) broken() (faults []string) {
	var still []promise
	_ = m.l.mem.View(context.Background(), func(tx store.Tx) error {
		still, faults = nil, nil
		for _, p := range m.promises {
			r, err := (&Txn{Tx: tx}).Record(p.lease.Holder)
			if err != nil || r.State == Finished || r.LastN[1] != p.undone || p.begun && r.Undoes() && !r.Begun() {
				continue
			}
			if p.begun && slices.ContainsFunc(r.Attempts, func(a Attempt) bool { return a.Phase == Activate && a.First && a.N > p.tries }) {
				continue // it was undone and has begun again since the last check
			}
			p.begun, p.tries = r.Begun(), r.LastN[0]
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

// checkVLANs checks the invariants of VLANs.
func checkVLANs(tx store.Tx) (faults []string) {
	if err := vlanstore.Verify(tx); err != nil {
		return []string{err.Error()}
	}
	ls, err := vlanstore.List(tx, vlanstore.Filter{State: vlanstore.Leased})
	if err != nil {
		return []string{err.Error()}
	}
	for _, l := range ls {
		r, err := (&Txn{Tx: tx}).Record(l.Holder)
		if err == nil && (r.State == Finished || r.State == Stuck) {
			faults = append(faults, fmt.Sprintf("%s is %s and has VLAN %d", r.ID, r.State, l.ID))
		}
	}
	return faults
}

// checkKept checks that a running activation has a work directory, and that a finished
// one has none.
func (rig *testRig) checkKept(tx store.Tx) (faults []string) {
	t := &Txn{Tx: tx}
	rig.w.mu.Lock()
	defer rig.w.mu.Unlock()
	for id := range rig.w.kept {
		r, err := t.Record(id)
		if errors.Is(err, fault.NotFound) || err == nil && r.State == Finished {
			faults = append(faults, "the directory of "+id+" is kept, which has finished")
		}
	}
	for k, run := range rig.w.runs {
		if r, err := t.Record(k.ID); err == nil && r.Undoes() && !run.ended() && !rig.w.kept[k.ID] {
			faults = append(faults, fmt.Sprintf("%v runs without its directory", k))
		}
	}
	return faults
}

// freeVLANs frees the VLANs in quarantine of activations that were forgiven or failed. No
// other VLAN may be left.
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
