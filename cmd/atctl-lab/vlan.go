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

// lease leases an id for each link from the daemon, for the activation. If the ids cannot be
// used, release ends the leases that did not exist before; it takes the reason, an error, and
// adds its own to it.
func (a *app) lease(ctx context.Context, links []lab.PlannedLink) (release func(error) error, err error) {
	release = func(err error) error { return err }
	in := control.VLANAllocIn{Holder: a.activation}
	for _, l := range links {
		in.Link, in.Domain = append(in.Link, l.Name), append(in.Domain, l.Domain)
	}
	if len(slices.Compact(slices.Clone(in.Domain))) == 1 {
		in.Domain = in.Domain[:1] // a single domain is for all links
	}
	c, err := a.client()
	if err != nil {
		return release, err
	}
	own := control.VLANListIn{Holder: a.activation}
	_, before, err := control.Call[control.VLANLease](ctx, c, "vlan list", own)
	if err != nil {
		return release, err
	}
	release = func(why error) error {
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
			err = fmt.Errorf("the VLANs that %s has leased for it could not be released: %w", a.activation, err)
		}
		return errors.Join(why, err)
	}
	_, leases, err := control.Call[control.VLANLease](ctx, c, "vlan alloc", in)
	if err != nil {
		return release, err
	}
	ids := map[[2]string]int{}
	for _, l := range leases {
		ids[[2]string{l.Domain, l.Link}] = l.ID
	}
	for i := range links {
		if links[i].VLAN = ids[[2]string{links[i].Domain, links[i].Name}]; links[i].VLAN == 0 {
			return release, fmt.Errorf("the daemon has not leased a VLAN for %s: %w", links[i].Name, fault.Internal)
		}
	}
	return release, nil
}

// leases returns all ids that are not free.
func (a *app) leases(ctx context.Context) ([]control.VLANLease, error) {
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	_, leases, err := control.Call[control.VLANLease](ctx, c, "vlan list", nil)
	return leases, err
}
