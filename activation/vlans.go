package activation

import (
	"context"
	"errors"
	"fmt"

	"activationd/internal/fault"
	"activationd/store"
	"activationd/vlanstore"
)

// giveBack does to r's VLANs what follows from its new state. They are given
// back in the transaction that says that its deactivation is proved, and never
// before; what nobody has proved goes to quarantine.
func (t *txn) giveBack(r *Record, from State) error {
	if r.slot() && (r.State == Finished || from == Stuck && r.State == Scheduled) {
		t.over = append(t.over, r.ID)
	}
	switch {
	case r.State == Stuck, r.State == Finished && !r.slot() && r.Outcome != Succeeded && r.Ns[0] > 0:
		_, err := vlanstore.QuarantineAll(t, r.ID, orElse(r.Reason, string(r.Outcome)), t.now)
		return err
	case from == Stuck: // forgiven, or tried again: there they stay until there is a proof
		return nil
	case r.State == Finished, from == Deactivating:
		_, err := vlanstore.ReleaseAll(t, r.ID)
		return err
	}
	return nil
}

// Lease leases VLANs for an activation, or for a holder of another name, which
// no activation's end will release: that is for those who may touch everything.
// It is fault.Conflict for an activation that is over, or whose deactivation
// nobody has proved. For the rest see [vlanstore.Alloc].
func (e *Engine) Lease(ctx context.Context, by By, holder string, wants []vlanstore.Want) (ls []vlanstore.Lease, err error) {
	err = e.update(ctx, func(t *txn) error {
		if err := t.mayHold(by, holder); err != nil {
			return err
		}
		ls, err = vlanstore.Alloc(t, t.set.Pools, holder, "leased by "+by.Name, wants, t.now)
		return err
	})
	return ls, err
}

func (t *txn) mayHold(by By, holder string) error {
	r, err := t.get(holder)
	switch {
	case errors.Is(err, fault.NotFound) && (by.OnlyOwn || isJob(holder)):
		return fmt.Errorf("there is no activation %s: %w", holder, fault.NotFound)
	case errors.Is(err, fault.NotFound):
		return nil
	case err != nil:
		return err
	case r.State == Finished || r.State == Stuck:
		return fmt.Errorf("%s is %s and cannot have VLANs any more: %w", holder, r.State, fault.Conflict)
	}
	if u := t.set.userOf(r); u != nil && by.UID > 0 && by.UID == u.UID {
		return nil // a script of r's, or one of the same user's
	}
	return by.check(r)
}

// inUse says why what a holder has is not to be given back: he is an activation
// that will do so itself when nothing of it is on the switches any more.
func (t *txn) inUse(holder string) error {
	r, err := t.get(holder)
	switch {
	case errors.Is(err, fault.NotFound):
		return nil
	case err != nil:
		return err
	case r.State != Finished && (r.Dirty || r.State == Activating):
		return fmt.Errorf("%s is %s: its VLANs may be on the switches, and come back when it has been deactivated; force takes them all the same: %w", holder, r.State, fault.Conflict)
	}
	return nil
}

// ReleaseVLAN gives back one id on the word of by, but not of who uses it, unless
// it is forced. See [vlanstore.Release].
func (e *Engine) ReleaseVLAN(ctx context.Context, by By, domain string, id int, force bool) (vlanstore.Lease, error) {
	return e.editVLAN(ctx, "released", by, func(t *txn) (l vlanstore.Lease, err error) {
		if l, err = vlanstore.Release(t, domain, id); err == nil && !force {
			err = t.inUse(l.Holder)
		}
		return l, err
	})
}

// QuarantineVLAN lets nobody have an id. See [vlanstore.Quarantine].
func (e *Engine) QuarantineVLAN(ctx context.Context, by By, domain string, id int, reason string) (vlanstore.Lease, error) {
	return e.editVLAN(ctx, "put into quarantine", by, func(t *txn) (vlanstore.Lease, error) {
		return vlanstore.Quarantine(t, t.set.Pools, domain, id, fmt.Sprintf("%s (%s)", reason, by.Name), t.now)
	})
}

// FreeVLAN takes an id out of quarantine. See [vlanstore.Free].
func (e *Engine) FreeVLAN(ctx context.Context, by By, domain string, id int) (vlanstore.Lease, error) {
	return e.editVLAN(ctx, "taken out of quarantine", by, func(t *txn) (vlanstore.Lease, error) {
		l, err := vlanstore.Free(t, domain, id)
		if err != nil {
			return l, err
		}
		if r, err := t.get(l.Holder); err == nil && r.Running() || err == nil && r.State == Active {
			return l, fmt.Errorf("%s is %s and may have it on the switches; free it when it has ended: %w", l.Holder, r.State, fault.Conflict)
		}
		return l, nil
	})
}

func (e *Engine) editVLAN(ctx context.Context, what string, by By, edit func(*txn) (vlanstore.Lease, error)) (l vlanstore.Lease, err error) {
	err = e.update(ctx, func(t *txn) (err error) {
		l, err = edit(t)
		return err
	})
	if err == nil {
		e.parts.Log.Info("VLAN "+what, "domain", l.Domain, "vlan", l.ID, "holder", l.Holder, "by", by.Name)
	}
	return l, err
}

// VLANs returns the leases that f chooses, by domain and id.
func (e *Engine) VLANs(ctx context.Context, f vlanstore.Filter) (ls []vlanstore.Lease, err error) {
	err = e.parts.DB.View(ctx, func(tx store.Tx) error {
		ls, err = vlanstore.List(tx, f)
		return err
	})
	return ls, err
}

// Pools returns the use of each pool.
func (e *Engine) Pools(ctx context.Context) (us []vlanstore.Use, err error) {
	err = e.parts.DB.View(ctx, func(tx store.Tx) error {
		us, err = vlanstore.Uses(tx, e.set.Load().Pools)
		return err
	})
	return us, err
}

// ReleaseVLANs gives back all that holder has, or what he has for one link, on
// the word of by, but not of who uses it, unless it is forced. It returns what was
// given back.
func (e *Engine) ReleaseVLANs(ctx context.Context, by By, holder, link string, force bool) (freed []vlanstore.Lease, err error) {
	err = e.update(ctx, func(t *txn) (err error) {
		if !force {
			if err := t.inUse(holder); err != nil {
				return err
			}
		}
		freed, err = vlanstore.ReleaseLeased(t, holder, link)
		return err
	})
	if err == nil {
		e.parts.Log.Info("VLANs released", "holder", holder, "link", link, "number", len(freed), "by", by.Name)
	}
	return freed, err
}
