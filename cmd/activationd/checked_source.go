package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"activationd/internal/fault"
	"activationd/lab"
	"activationd/reservation"
	"activationd/topology"
)

// A checkedSource checks its reservations' topologies against the laboratory's inventory, so
// that a topology that cannot be built is reported when its reservation is announced, and not
// only when it starts. It adds notices and rejects nothing: the inventory may have changed by
// then, and a script may read a topology in its own way.
type checkedSource struct {
	reservation.Source
	inventory string // its file
}

// maxChecked bounds how many different topologies one load checks: each takes about a
// millisecond.
const maxChecked = 500

func (s checkedSource) Load(ctx context.Context) (reservation.Set, error) {
	set, err := s.Source.Load(ctx)
	s.check(&set)
	return set, err
}

func (s checkedSource) LoadIfChanged(ctx context.Context, fingerprint string) (reservation.Set, bool, error) {
	set, unchanged, err := s.Source.LoadIfChanged(ctx, fingerprint)
	s.check(&set)
	return set, unchanged, err
}

// check adds a notice for each topology that does not fit. It leaves out reservations that
// have scripts of their own, and those whose slot has ended.
func (s checkedSource) check(set *reservation.Set) {
	var inv *lab.Inventory
	var platforms map[string]*lab.Platform
	checked := map[string]string{} // misfits, by devices and topology
	for i := range set.Reservations {
		r := &set.Reservations[i]
		if r.Topology == "" || len(r.Activate) > 0 || r.End.Before(time.Now()) {
			continue
		}
		what := strings.Join(r.Devices, " ") + "\n" + r.Topology
		wrong, known := checked[what]
		if !known {
			if len(checked) == maxChecked {
				set.Notices = append(set.Notices, fmt.Sprintf("only the first %d topologies were checked against the inventory", maxChecked))
				return
			}
			if inv == nil {
				var err error
				if inv, err = lab.ReadInventory(s.inventory); err != nil {
					return // the check of the configuration reports it
				}
				if platforms, err = inv.Platforms(); err != nil {
					set.Notices = append(set.Notices, "no topology was checked against the inventory: "+strings.ReplaceAll(fault.Text(err), "\n", "; "))
					return
				}
			}
			wrong = misfit(inv, platforms, r)
			checked[what] = wrong
		}
		if wrong != "" {
			set.Notices = append(set.Notices, fmt.Sprintf("%s: its topology does not fit the laboratory, and atctl lab will refuse it: %s", r.ID, wrong))
		}
	}
}

// misfit returns why atctl lab could not build a reservation's topology; empty if it could.
func misfit(inv *lab.Inventory, platforms map[string]*lab.Platform, r *reservation.Reservation) string {
	name := r.TopologyName
	if name == "" {
		name = "its topology"
	}
	topo, err := topology.Parse(name, []byte(r.Topology), func(string) ([]byte, error) { return nil, fs.ErrNotExist })
	if err == nil {
		devices := r.Devices
		if len(devices) == 0 {
			devices = nil // the nodes are the devices
		}
		var m lab.Mapping
		if m, err = lab.Map(inv, platforms, topo, devices); err == nil {
			_, err = lab.Route(inv, topo, m)
		}
	}
	if !errors.Is(err, fault.Invalid) {
		return ""
	}
	return strings.ReplaceAll(fault.Text(err), "\n", "; ")
}
