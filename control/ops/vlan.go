package ops

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"activationd/control"
	"activationd/internal/fault"
	"activationd/vlanstore"
)

// vlanOps returns the operations on VLANs and on the sections of scripts.
func (d Daemon) vlanOps() []control.Op {
	return []control.Op{
		control.Declare("vlan pools", control.Viewer, "list the pools of VLANs, with their free ids", d.vlanPools).At("GET /vlans/pools"),
		control.Declare("vlan list", control.Viewer, "list leased and quarantined VLANs", d.vlanList).At("GET /vlans"),
		control.Declare("vlan alloc", control.Submitter, "lease VLANs for your own activation, all or none; as operator, for any", d.vlanAlloc).At("POST /vlans"),
		control.Declare("vlan release", control.Admin, "end leases of VLANs that no switch has any more", d.vlanRelease).At("POST /vlans/release"),
		control.Declare("vlan quarantine", control.Admin, "keep a VLAN from being leased", d.vlanQuarantine).At("POST /vlans/quarantine"),
		control.Declare("vlan free", control.Admin, "remove a VLAN from quarantine", d.vlanFree).At("POST /vlans/free"),
		control.DeclareStream("vlan section", control.Submitter, "enter a section until you hang up", d.section).At("POST /vlans/section"),
		control.Declare("vlan sections", control.Viewer, "list sections, with who is inside and who waits", d.sections).At("GET /vlans/sections"),
	}
}

func (d Daemon) vlanPools(ctx context.Context, _ control.Caller, _ control.Nothing) (reply control.Reply[control.VLANPool], err error) {
	uses, err := d.Engine.Pools(ctx)
	for _, u := range uses {
		reply.Lines = append(reply.Lines, control.VLANPool{
			Domain: u.Domain, Ranges: vlanstore.Text(u.Ranges), Exclude: vlanstore.Text(u.Exclude),
			Size: u.Size, Free: u.Free, Leased: u.Leased, Quarantined: u.Quarantined, Outside: u.Outside,
		})
	}
	return reply, err
}

func (d Daemon) vlanList(ctx context.Context, _ control.Caller, in control.VLANListIn) (control.Reply[control.VLANLease], error) {
	f := vlanstore.Filter{Domain: in.Domain, Holder: in.Holder, State: vlanstore.State(in.State)}
	switch f.State {
	case "", vlanstore.Leased, vlanstore.Quarantined:
	default:
		return control.Reply[control.VLANLease]{}, fmt.Errorf("state: want leased or quarantined, have %q: %w", in.State, fault.Invalid)
	}
	ls, err := d.Engine.VLANs(ctx, f)
	return leases(ls...), err
}

func leases(ls ...vlanstore.Lease) (reply control.Reply[control.VLANLease]) {
	for _, l := range ls {
		reply.Lines = append(reply.Lines, control.VLANLease{
			Domain: l.Domain, ID: l.ID, State: string(l.State), Holder: l.Holder, Link: l.Link, Since: l.Since, Reason: l.Reason,
		})
	}
	return reply
}

func (d Daemon) vlanAlloc(ctx context.Context, c control.Caller, in control.VLANAllocIn) (control.Reply[control.VLANLease], error) {
	wants, err := wanted(in)
	if err != nil {
		return control.Reply[control.VLANLease]{}, err
	}
	ls, err := d.Engine.Lease(ctx, actor(c), in.Holder, wants)
	return leases(ls...), err
}

// wanted combines the three lists of a request.
func wanted(in control.VLANAllocIn) ([]vlanstore.Want, error) {
	n := len(in.Link)
	if len(in.Domain) != n && len(in.Domain) != 1 {
		return nil, fmt.Errorf("domain: there must be one for each of %d links, or one for all: %w", n, fault.Invalid)
	}
	if len(in.ID) != n && len(in.ID) != 0 {
		return nil, fmt.Errorf("id: there must be one for each of %d links (0: any), or none: %w", n, fault.Invalid)
	}
	wants := make([]vlanstore.Want, n)
	for i := range wants {
		wants[i] = vlanstore.Want{Domain: in.Domain[min(i, len(in.Domain)-1)], Link: in.Link[i]}
		if len(in.ID) > 0 {
			id, err := strconv.Atoi(in.ID[i])
			if err != nil {
				return nil, fmt.Errorf("id: %.40q is not a whole number: %w", in.ID[i], fault.Invalid)
			}
			wants[i].ID = id
		}
	}
	return wants, nil
}

func (d Daemon) vlanRelease(ctx context.Context, c control.Caller, in control.VLANReleaseIn) (control.Reply[control.VLANLease], error) {
	id, all := in.Domain != "" && in.ID != 0, in.Holder != ""
	if id == all || (in.Domain != "" || in.ID != 0) && !id || in.Link != "" && !all {
		return control.Reply[control.VLANLease]{}, fmt.Errorf("vlan release needs either domain and id, or a holder; add a link to release only the holder's id for that link: %w", fault.Invalid)
	}
	if all {
		ls, err := d.Engine.ReleaseVLANs(ctx, actor(c), in.Holder, in.Link, in.Force)
		return leases(ls...), err
	}
	return one(d.Engine.ReleaseVLAN(ctx, actor(c), in.Domain, in.ID, in.Force))
}

func (d Daemon) vlanQuarantine(ctx context.Context, c control.Caller, in control.VLANQuarantineIn) (control.Reply[control.VLANLease], error) {
	return one(d.Engine.QuarantineVLAN(ctx, actor(c), in.Domain, in.ID, control.OneLine(in.Reason)))
}

func (d Daemon) vlanFree(ctx context.Context, c control.Caller, in control.VLANIn) (control.Reply[control.VLANLease], error) {
	return one(d.Engine.FreeVLAN(ctx, actor(c), in.Domain, in.ID))
}

// one returns the reply with one lease.
func one(l vlanstore.Lease, err error) (control.Reply[control.VLANLease], error) {
	if err != nil {
		return control.Reply[control.VLANLease]{}, err
	}
	return leases(l), nil
}

// Defaults for the time to wait for a section and to hold it, and the most for both.
const (
	sectionWait = 30 * time.Second
	sectionHold = time.Minute
	sectionMost = 24*time.Hour + time.Minute // a day, and the time that atctl adds to end its command
)

// section lets the caller into a section, in which the caller stays until it hangs up.
func (d Daemon) section(ctx context.Context, c control.Caller, in control.SectionIn, send func(control.SectionLine) error) error {
	if in.Name == "" {
		in.Name = "vlan"
	}
	wait, err := bounded("wait", in.Wait, sectionWait, 0)
	if err != nil {
		return err
	}
	hold, err := bounded("hold", in.Hold, sectionHold, time.Millisecond)
	if err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	leave, err := d.Sections.Enter(waiting, in.Name, c.Name, fmt.Sprintf("%s (%s)", c.Name, c.Via), func(inside string) error {
		return send(control.SectionLine{What: "waiting", For: inside})
	})
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	defer leave()
	over := time.NewTimer(hold)
	defer over.Stop()
	if err := send(control.SectionLine{What: "inside"}); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-over.C:
		return fmt.Errorf("section %s: it was held for %v, as long as hold allows; set hold to more if the work takes longer: %w", in.Name, hold, fault.Conflict)
	}
}

// bounded reads an optional duration.
func bounded(name, text string, standard, least time.Duration) (time.Duration, error) {
	if text == "" {
		return standard, nil
	}
	d, err := duration(name, text)
	if err != nil {
		return 0, err
	}
	if *d < least || *d > sectionMost {
		return 0, fmt.Errorf("%s: want from %v to %v, have %v: %w", name, least, sectionMost, *d, fault.Invalid)
	}
	return *d, nil
}

func (d Daemon) sections(_ context.Context, _ control.Caller, _ control.Nothing) (reply control.Reply[control.SectionVisit], err error) {
	for _, v := range d.Sections.List() {
		what := "waiting"
		if v.Inside {
			what = "inside"
		}
		reply.Lines = append(reply.Lines, control.SectionVisit{Name: v.Section, Who: v.Who, What: what, Since: v.Since})
	}
	return reply, nil
}
