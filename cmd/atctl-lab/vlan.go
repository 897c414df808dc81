package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"activationd/control"
	"activationd/internal/fault"
	"activationd/lab"
)

// lend has the daemon lend the activation an id for each link. What was lent by that and
// not before is given back by giveBack, which takes the error that it is for.
func (a *app) lend(ctx context.Context, links []lab.PlannedLink) (giveBack func(error) error, err error) {
	giveBack = func(err error) error { return err }
	in := control.VLANAllocIn{Holder: a.activation}
	for _, l := range links {
		in.Link, in.Domain = append(in.Link, l.Name), append(in.Domain, l.Domain)
	}
	if len(slices.Compact(slices.Clone(in.Domain))) == 1 {
		in.Domain = in.Domain[:1] // stands for all
	}
	c, err := a.client()
	if err != nil {
		return giveBack, err
	}
	own := control.VLANListIn{Holder: a.activation}
	_, before, err := control.Call[control.VLANLease](ctx, c, "vlan list", own)
	if err != nil {
		return giveBack, err
	}
	giveBack = func(why error) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		_, now, err := control.Call[control.VLANLease](ctx, c, "vlan list", own)
		for _, l := range now {
			had := slices.ContainsFunc(before, func(b control.VLANLease) bool { return b.Domain == l.Domain && b.ID == l.ID })
			if had || err != nil {
				continue
			}
			_, _, err = control.Call[control.VLANLease](ctx, c, "vlan release", control.VLANReleaseIn{Domain: l.Domain, ID: l.ID})
		}
		if err != nil {
			err = fmt.Errorf("what was lent to %s for it could not be given back: %w", a.activation, err)
		}
		return errors.Join(why, err)
	}
	_, leases, err := control.Call[control.VLANLease](ctx, c, "vlan alloc", in)
	if err != nil {
		return giveBack, err
	}
	ids := map[[2]string]int{}
	for _, l := range leases {
		ids[[2]string{l.Domain, l.Link}] = l.ID
	}
	for i := range links {
		if links[i].VLAN = ids[[2]string{links[i].Domain, links[i].Name}]; links[i].VLAN == 0 {
			return giveBack, fmt.Errorf("the daemon has lent no VLAN for %s: %w", links[i].Name, fault.Internal)
		}
	}
	return giveBack, nil
}

// leases asks for all ids that are not free.
func (a *app) leases(ctx context.Context) ([]control.VLANLease, error) {
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	_, leases, err := control.Call[control.VLANLease](ctx, c, "vlan list", nil)
	return leases, err
}
