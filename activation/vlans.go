package activation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"activationd/event"
	"activationd/internal/fault"
	"activationd/vlanstore"
)

// giveBack changes r's VLAN leases as its new state requires. The transaction that
// records a verified deactivation releases them, and none earlier. If the deactivation is
// not verified, they go to quarantine.
func (t *Txn) giveBack(r *Record, from State) error {
	if r.policy().undoes && (r.State == Finished || from == Stuck && r.State == Scheduled) {
		t.finished = append(t.finished, r.ID)
	}
	switch {
	case r.State == Stuck, r.State == Finished && !r.policy().undoes && r.Outcome != Succeeded && r.LastN[0] > 0:
		ls, err := vlanstore.QuarantineAll(t, r.ID, cmp.Or(r.Reason, string(r.Outcome)), t.Now)
		t.vlansHappened("quarantined", "", ls...)
		return err
	case from == Stuck: // forgiven or retried: they stay in quarantine until verified
		return nil
	case r.State == Finished, from == Deactivating:
		ls, err := vlanstore.ReleaseAll(t, r.ID)
		t.vlansHappened("released", "", ls...)
		return err
	}
	return nil
}

// vlansHappened notes an event for each id: leased, released, quarantined, freed. An empty
// action means that this follows from something else.
func (t *Txn) vlansHappened(what, action string, ls ...vlanstore.Lease) {
	for _, l := range ls {
		ev := event.Event{
			Topic: event.Topic("vlan", l.Domain, strconv.Itoa(l.ID), what), What: "vlan." + what, ID: l.Holder, Action: action,
			Reason: fmt.Sprintf("VLAN %d of %s", l.ID, l.Domain),
		}
		if what == "quarantined" {
			ev.Reason += ": " + l.Reason
		}
		t.concernHolder(&ev)
		t.Emit(ev)
	}
}

// Lease leases VLANs for an activation, or for a holder with another name. Only clients
// that may touch everything can do the latter: no activation's end releases such leases.
// The error is fault.Conflict for an activation that is over, or whose deactivation was
// not verified. For other errors see [vlanstore.Alloc].
func (e *Engine) Lease(ctx context.Context, by Actor, holder string, wants []vlanstore.Want) (ls []vlanstore.Lease, err error) {
	err = e.UpdateBy(ctx, by, func(t *Txn) error {
		action := "vlan alloc"
		if script, err := t.mayHold(by, holder); err != nil {
			return err
		} else if script {
			action = ""
		}
		ls, err = vlanstore.Alloc(t, t.Settings.Pools, vlanstore.LimitsOf(e.parts.DB), holder, "leased by "+by.Name, wants, t.Now)
		had := func(l vlanstore.Lease) bool { return l.Since.Before(t.Now) }
		t.vlansHappened("leased", action, slices.DeleteFunc(slices.Clone(ls), had)...)
		return err
	})
	return ls, err
}

// mayHold returns an error unless by may lease VLANs for a holder. Script reports whether
// the holder is an activation whose script runs, which is then taken for the client: what
// scripts do for their activation follows from it, and is no act.
func (t *Txn) mayHold(by Actor, holder string) (script bool, err error) {
	r, err := t.Record(holder)
	switch {
	case errors.Is(err, fault.NotFound) && (by.OnlyOwn || isJob(holder)):
		return false, unknown(holder)
	case errors.Is(err, fault.NotFound):
		return false, nil
	case err != nil:
		return false, err
	case r.State == Finished || r.State == Stuck:
		return false, fmt.Errorf("%s is %s and cannot have VLANs any more: %w", holder, r.State, fault.Conflict)
	}
	script = r.Running()
	if u := t.Settings.userOf(r); u != nil && by.UID > 0 && by.UID == u.UID {
		return script, nil // a script of r's, or another of the same user
	}
	return script, by.check(r)
}

// inUse returns why the VLANs of a holder may not be released: it is an activation, which
// releases them itself once its deactivation is verified.
func (t *Txn) inUse(holder string) error {
	r, err := t.Record(holder)
	switch {
	case errors.Is(err, fault.NotFound):
		return nil
	case err != nil:
		return err
	case r.State != Finished && (r.NeedsUndo || r.State == Activating):
		return fmt.Errorf("%s is %s: its VLANs may be on the switches, and are released when it has been deactivated; force releases them now: %w", holder, r.State, fault.Conflict)
	}
	return nil
}

// ReleaseVLAN releases one id. Unless force is set, the error is of kind fault.Conflict
// if an activation uses the id. For other errors see [vlanstore.Release].
func (e *Engine) ReleaseVLAN(ctx context.Context, by Actor, domain string, id int, force bool) (vlanstore.Lease, error) {
	return e.editVLAN(ctx, "released", "vlan release", "VLAN released", by, func(t *Txn) (l vlanstore.Lease, err error) {
		if l, err = vlanstore.Release(t, domain, id); err == nil && !force {
			err = t.inUse(l.Holder)
		}
		return l, err
	})
}

// QuarantineVLAN puts an id into quarantine, so that nobody leases it. See
// [vlanstore.Quarantine].
func (e *Engine) QuarantineVLAN(ctx context.Context, by Actor, domain string, id int, reason string) (vlanstore.Lease, error) {
	return e.editVLAN(ctx, "quarantined", "vlan quarantine", "VLAN put into quarantine", by, func(t *Txn) (vlanstore.Lease, error) {
		return vlanstore.Quarantine(t, t.Settings.Pools, domain, id, fmt.Sprintf("%s (%s)", reason, by.Name), t.Now)
	})
}

// FreeVLAN takes an id out of quarantine. The error is of kind fault.Conflict if its last
// holder is active or runs. For other errors see [vlanstore.Free].
func (e *Engine) FreeVLAN(ctx context.Context, by Actor, domain string, id int) (vlanstore.Lease, error) {
	return e.editVLAN(ctx, "freed", "vlan free", "VLAN taken out of quarantine", by, func(t *Txn) (vlanstore.Lease, error) {
		l, err := vlanstore.Free(t, domain, id)
		if err != nil {
			return l, err
		}
		if r, err := t.Record(l.Holder); err == nil && r.Running() || err == nil && r.State == Active {
			return l, fmt.Errorf("%s is %s and may have it on the switches; free it when it has ended: %w", l.Holder, r.State, fault.Conflict)
		}
		return l, nil
	})
}

func (e *Engine) editVLAN(ctx context.Context, what, action, said string, by Actor, edit func(*Txn) (vlanstore.Lease, error)) (l vlanstore.Lease, err error) {
	err = e.UpdateBy(ctx, by, func(t *Txn) (err error) {
		if l, err = edit(t); err == nil {
			t.vlansHappened(what, action, l)
		}
		return err
	})
	if err == nil {
		e.parts.Log.Info(said, "domain", l.Domain, "vlan", l.ID, "holder", l.Holder, "by", by.Name)
	}
	return l, err
}

// VLANs returns the leases that the filter chooses, by domain and id.
func (e *Engine) VLANs(ctx context.Context, f vlanstore.Filter) (ls []vlanstore.Lease, err error) {
	err = e.View(ctx, func(t *Txn) error {
		ls, err = vlanstore.List(t, f)
		return err
	})
	return ls, err
}

// Pools returns the use of each pool.
func (e *Engine) Pools(ctx context.Context) (us []vlanstore.Use, err error) {
	err = e.View(ctx, func(t *Txn) error {
		us, err = vlanstore.Uses(t, e.settings.Load().Pools)
		return err
	})
	return us, err
}

// ReleaseVLANs releases the leased ids of a holder, or only the one for a link. It
// returns the released leases. Unless force is set, the error is of kind fault.Conflict
// if the holder is an activation. It is fault.NotFound if there is nothing to release.
func (e *Engine) ReleaseVLANs(ctx context.Context, by Actor, holder, link string, force bool) (freed []vlanstore.Lease, err error) {
	err = e.UpdateBy(ctx, by, func(t *Txn) (err error) {
		if !force {
			if err := t.inUse(holder); err != nil {
				return err
			}
		}
		freed, err = vlanstore.ReleaseLeased(t, holder, link)
		t.vlansHappened("released", "vlan release", freed...)
		return err
	})
	if err == nil {
		e.parts.Log.Info("VLANs released", "holder", holder, "link", link, "number", len(freed), "by", by.Name)
	}
	return freed, err
}
