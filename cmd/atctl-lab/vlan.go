package main

import (
	"context"
	"fmt"
	"slices"

	"activationd/control"
	"activationd/internal/fault"
	"activationd/lab"
)

// lend has the daemon lend the activation an id for each link.
func (a *app) lend(ctx context.Context, links []lab.PlannedLink) error {
	if len(links) == 0 {
		return nil
	}
	in := control.VLANAllocIn{Holder: a.activation}
	for _, l := range links {
		in.Link, in.Domain = append(in.Link, l.Name), append(in.Domain, l.Domain)
	}
	if len(slices.Compact(slices.Clone(in.Domain))) == 1 {
		in.Domain = in.Domain[:1] // stands for all
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	_, leases, err := control.Call[control.VLANLease](ctx, c, "vlan alloc", in)
	if err != nil {
		return err
	}
	ids := map[[2]string]int{}
	for _, l := range leases {
		ids[[2]string{l.Domain, l.Link}] = l.ID
	}
	for i := range links {
		if links[i].VLAN = ids[[2]string{links[i].Domain, links[i].Name}]; links[i].VLAN == 0 {
			return fmt.Errorf("the daemon has lent no VLAN for %s: %w", links[i].Name, fault.Internal)
		}
	}
	return nil
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
