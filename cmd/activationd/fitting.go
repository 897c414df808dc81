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

// A fitting source tries its reservations' topologies on the laboratory's inventory, so
// that what cannot be built is told when it is announced and not when it begins. It
// rejects nothing: the inventory may be another one by then, and a script may read a
// topology in its own way.
type fitting struct {
	reservation.Source
	inventory string // its file
}

// maxFittings bounds how many different topologies one load tries: each takes about a
// millisecond.
const maxFittings = 500

func (f fitting) Load(ctx context.Context) (reservation.Set, error) {
	set, err := f.Source.Load(ctx)
	f.try(&set)
	return set, err
}

func (f fitting) LoadIfChanged(ctx context.Context, fingerprint string) (reservation.Set, bool, error) {
	set, unchanged, err := f.Source.LoadIfChanged(ctx, fingerprint)
	f.try(&set)
	return set, unchanged, err
}

// try adds a notice for each topology that does not fit. Reservations that bring their
// own scripts, and those that are over, are left out.
func (f fitting) try(set *reservation.Set) {
	var inv *lab.Inventory
	var platforms map[string]*lab.Platform
	tried := map[string]string{} // what is wrong, by topology and devices
	for i := range set.Reservations {
		r := &set.Reservations[i]
		if r.Topology == "" || len(r.Activate) > 0 || r.End.Before(time.Now()) {
			continue
		}
		what := strings.Join(r.Devices, " ") + "\n" + r.Topology
		wrong, known := tried[what]
		if !known {
			if len(tried) == maxFittings {
				set.Notices = append(set.Notices, fmt.Sprintf("only the first %d topologies were tried on the inventory", maxFittings))
				return
			}
			if inv == nil {
				var err error
				if inv, err = lab.ReadInventory(f.inventory); err != nil {
					return // that is told where the pools are read
				}
				if platforms, err = inv.Platforms(); err != nil {
					set.Notices = append(set.Notices, "no topology was tried on the inventory: "+strings.ReplaceAll(fault.Text(err), "\n", "; "))
					return
				}
			}
			wrong = unfit(inv, platforms, r)
			tried[what] = wrong
		}
		if wrong != "" {
			set.Notices = append(set.Notices, fmt.Sprintf("%s: its topology does not fit the laboratory, and atctl lab will refuse it: %s", r.ID, wrong))
		}
	}
}

// unfit says why a reservation's topology cannot be built, as atctl lab would; empty: it
// can.
func unfit(inv *lab.Inventory, platforms map[string]*lab.Platform, r *reservation.Reservation) string {
	name := r.TopologyName
	if name == "" {
		name = "its topology"
	}
	topo, err := topology.Parse(name, []byte(r.Topology), func(string) ([]byte, error) { return nil, fs.ErrNotExist })
	if err == nil {
		devices := r.Devices
		if len(devices) == 0 {
			devices = nil // all, as its nodes are their names
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
