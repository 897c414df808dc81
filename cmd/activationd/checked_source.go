package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
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
// then, and a script may read a topology in its own way. It also fills in how many VLANs a
// topology needs, for reservations that do not say so. It can be compared.
type checkedSource struct {
	reservation.Source
	file      string // of the inventory
	inventory string // its content as it was when the configuration was read
}

// checked returns the source of a configuration, checked against the inventory if there is
// one.
func checked(source reservation.Source, conf *configuration) reservation.Source {
	if conf.Lab.Inventory == "" {
		return source
	}
	data, err := os.ReadFile(conf.Lab.Inventory)
	if err != nil {
		return source // it was there just now; the next reload reports it
	}
	return checkedSource{source, conf.Lab.Inventory, string(data)}
}

// maxChecked bounds how many different topologies one load checks: each takes about a
// millisecond.
const maxChecked = 500

func (s checkedSource) Load(ctx context.Context) (reservation.Set, error) {
	set, _, err := s.LoadIfChanged(ctx, "")
	return set, err
}

// LoadIfChanged takes a source as changed if the inventory has changed.
func (s checkedSource) LoadIfChanged(ctx context.Context, fingerprint string) (reservation.Set, bool, error) {
	read, of, _ := strings.Cut(fingerprint, "+")
	hash := sha256.Sum256([]byte(s.inventory))
	now := hex.EncodeToString(hash[:8])
	if of != now {
		read = ""
	}
	set, unchanged, err := s.Source.LoadIfChanged(ctx, read)
	if set.Fingerprint != "" {
		set.Fingerprint += "+" + now
	}
	s.check(&set)
	return set, unchanged, err
}

// check adds a notice for each topology that does not fit, and fills in the VLANs. It leaves
// out reservations that have scripts of their own. Those whose slot has ended come last, and
// get no notices, but keep their VLANs, as otherwise they would seem to be changed.
func (s checkedSource) check(set *reservation.Set) {
	var live, over []*reservation.Reservation
	for i := range set.Reservations {
		switch r := &set.Reservations[i]; {
		case r.Topology == "" || len(r.Activate) > 0:
		case r.End.Before(time.Now()):
			over = append(over, r)
		default:
			live = append(live, r)
		}
	}
	if len(live)+len(over) == 0 {
		return
	}
	inv, err := lab.ParseInventory(s.file, []byte(s.inventory))
	if err != nil {
		return // the check of the configuration reports it
	}
	platforms, err := inv.Platforms()
	if err != nil {
		set.Notices = append(set.Notices, "no topology was checked against the inventory: "+strings.ReplaceAll(fault.Text(err), "\n", "; "))
		return
	}
	f := fitter{inv: inv, platforms: platforms, known: make(map[string]fit)}
	for i, r := range slices.Concat(live, over) {
		fit, ok := f.fit(r)
		if r.VLANs == nil {
			r.VLANs = fit.vlans
		}
		switch {
		case i >= len(live):
		case !ok && !f.said:
			f.said = true
			set.Notices = append(set.Notices, fmt.Sprintf("only the first %d topologies were checked against the inventory", maxChecked))
		case fit.wrong != "":
			set.Notices = append(set.Notices, fmt.Sprintf("%s: its topology does not fit the laboratory, and atctl lab will refuse it: %s", r.ID, fit.wrong))
		}
	}
}

// A fit is how a topology fits the laboratory.
type fit struct {
	wrong string         // why atctl lab could not build it; empty if it could
	vlans map[string]int // how many VLANs it would lease, by domain; nil: none, or not known
}

// A fitter fits topologies into the laboratory, each of them once.
type fitter struct {
	inv       *lab.Inventory
	platforms map[string]*lab.Platform
	known     map[string]fit // by devices and topology
	said      bool           // that there are too many
}

// fit returns false if there are too many topologies.
func (f *fitter) fit(r *reservation.Reservation) (fit, bool) {
	what := strings.Join(r.Devices, " ") + "\n" + r.Topology
	x, known := f.known[what]
	if !known {
		if len(f.known) == maxChecked {
			return x, false
		}
		links, err := f.route(r)
		switch {
		case errors.Is(err, fault.Invalid):
			x.wrong = strings.ReplaceAll(fault.Text(err), "\n", "; ")
		case err == nil && len(links) > 0:
			x.vlans = make(map[string]int)
			for _, l := range links { // atctl lab leases one for each
				x.vlans[l.Domain]++
			}
		}
		f.known[what] = x
	}
	return x, true
}

// route returns the links of a reservation's topology, as atctl lab makes them.
func (f *fitter) route(r *reservation.Reservation) ([]lab.PlannedLink, error) {
	topo, err := topology.Parse(cmp.Or(r.TopologyName, "its topology"), []byte(r.Topology), func(string) ([]byte, error) { return nil, fs.ErrNotExist })
	if err != nil {
		return nil, err
	}
	devices := r.Devices
	if len(devices) == 0 {
		devices = nil // the nodes are the devices
	}
	m, err := lab.Map(f.inv, f.platforms, topo, devices)
	if err != nil {
		return nil, err
	}
	return lab.Route(f.inv, topo, m)
}
