package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"

	"activationd/device"
	"activationd/internal/fault"
)

// A Lease is a VLAN id that is leased or in quarantine.
type Lease struct {
	Domain, Link, Holder string
	ID                   int
	// Doubtful is set in quarantine: the VLAN may still be on its ports.
	Doubtful bool
}

// A Drift is a port that differs from what the leases say.
type Drift struct {
	Port Port   `json:"port"`
	Want string `json:"want"` // what should be there, in words
	Is   string `json:"is"`   // what is there instead
}

// Drift compares the ports of all switches with what they should have according to the leases:
// ports into which devices are plugged, and ports of trunks. Only ids of the pools are
// compared. The error has the switches that could not be asked, and the leases whose
// interfaces are not wired any more; all other ports are compared nevertheless.
func (w *Work) Drift(ctx context.Context, inv *Inventory, platforms map[string]*Platform, leases []Lease) ([]Drift, error) {
	want, unwired := inv.expected(leases)
	plan := &Plan{}
	for _, d := range inv.Devices {
		if d.IsSwitch() && len(want[d.Name]) > 0 {
			plan.Devices = append(plan.Devices, DevicePlan{Name: d.Name, Platform: d.Platform, Access: inv.access(d)})
		}
	}
	slices.SortFunc(plan.Devices, func(a, b DevicePlan) int { return strings.Compare(a.Name, b.Name) })
	var mu sync.Mutex
	found := map[string][]Drift{}
	err := w.each(ctx, plan, platforms, func(ctx context.Context, t *deviceSession, d *DevicePlan, p *Platform) error {
		return t.do(ctx, func(s *device.Session) error {
			some, err := inv.drifts(ctx, s, inv.Devices[d.Name], p, want[d.Name])
			mu.Lock()
			defer mu.Unlock()
			found[d.Name] = some
			return err
		})
	})
	var all []Drift
	for _, d := range plan.Devices {
		all = append(all, found[d.Name]...)
	}
	return all, errors.Join(unwired, err)
}

// An expectation is what a port of a switch should have.
type expectation struct {
	port  Port
	trunk bool
	ids   map[int]Lease
}

// expected returns the ports of each switch, sorted, and an error with the leases for which
// there are no ports.
func (inv *Inventory) expected(leases []Lease) (map[string][]*expectation, error) {
	ports := map[Port]*expectation{}
	for _, w := range inv.Wiring {
		ports[w.B] = &expectation{port: w.B, ids: map[int]Lease{}}
	}
	for _, t := range inv.Trunks {
		for _, p := range []Port{t.A, t.B} {
			ports[p] = &expectation{port: p, trunk: true, ids: map[int]Lease{}}
		}
	}
	var errs []error
	neighbours := inv.neighbours()
	for _, l := range leases {
		if err := inv.expect(l, neighbours, ports); err != nil {
			errs = append(errs, fmt.Errorf("VLAN %d of %s, leased to %s for %q: %w", l.ID, l.Domain, l.Holder, l.Link, err))
		}
	}
	all := map[string][]*expectation{}
	for _, e := range ports {
		all[e.port.Device] = append(all[e.port.Device], e)
	}
	for _, es := range all {
		slices.SortFunc(es, func(a, b *expectation) int { return strings.Compare(a.port.Name, b.port.Name) })
	}
	return all, errors.Join(errs...)
}

func (inv *Inventory) expect(l Lease, neighbours map[string][]hop, ports map[Port]*expectation) error {
	ends, err := parsePorts(l.Link)
	if err != nil { // leased by hand for another purpose
		return nil //nolint:nilerr // the link names no ports
	}
	var wires []Wire
	for _, p := range ends {
		w, ok := inv.wire("", p)
		if !ok {
			return fmt.Errorf("is on interfaces that are not in the inventory any more: %w", fault.Conflict)
		}
		wires = append(wires, w)
	}
	link, wrong := inv.join(neighbours, wires)
	if len(wrong) > 0 {
		return fmt.Errorf("can't be there any more: %s: %w", strings.Join(wrong, "; "), fault.Conflict)
	}
	for _, p := range slices.Concat(link.AccessPorts, link.TrunkPorts) {
		ports[p].ids[l.ID] = l
	}
	return nil
}

// drifts compares all ports of one switch.
func (inv *Inventory) drifts(ctx context.Context, s *device.Session, d *Device, p *Platform, want []*expectation) ([]Drift, error) {
	var all []Drift
	said := map[string]string{}
	for _, e := range want {
		for _, c := range inv.portChecks(d, p, e, want) {
			answer, ok := said[c.Show]
			if !ok {
				var err error
				answer, err = s.Show(ctx, c.Show)
				if refused, isLine := errors.AsType[*device.LineError](err); isLine {
					answer = refused.Said
				} else if err != nil {
					return all, err
				}
				said[c.Show] = answer
			}
			if why := c.Failed(answer); why != "" {
				all = append(all, Drift{e.port, e.words(), why})
				break
			}
		}
	}
	return all, nil
}

// words returns in words what the port should have.
func (e *expectation) words() string {
	var ids []string
	for id, l := range e.ids {
		ids = append(ids, fmt.Sprintf("VLAN %d of %s", id, l.Holder))
	}
	slices.Sort(ids)
	if len(ids) == 0 {
		return ifElse(e.trunk, "none of the pool's VLANs", "free")
	}
	return strings.Join(ids, ", ")
}

// portChecks returns the checks of a port. An access port must have its VLAN, or be free. A
// trunk must have those VLANs of the pool that it should have, and no others of the pool. A
// port is free if it is free of each id of the pool, as a template may ask for one id at a
// time. A doubtful lease is not checked. All are the expectations of the whole switch, by
// which the ports of each VLAN are known.
func (inv *Inventory) portChecks(d *Device, p *Platform, e *expectation, all []*expectation) []Check {
	one := func(part string, id int) DevicePlan {
		link := PlannedLink{VLAN: id, Domain: d.Domain}
		for _, other := range all {
			switch _, has := other.ids[id]; {
			case has && other.trunk:
				link.TrunkPorts = append(link.TrunkPorts, other.port)
			case has:
				link.AccessPorts = append(link.AccessPorts, other.port)
			}
		}
		g := &generator{Input: Input{Inventory: inv, Platforms: map[string]*Platform{d.Platform: p}}, devices: map[string]*DevicePlan{}, undo: map[string][][]string{}}
		g.put(part, link, e.port)
		return *g.device(d.Name)
	}
	part := ifElse(e.trunk, partTrunk, partAccess)
	if !e.trunk && len(e.ids) > 0 {
		for _, id := range slices.Sorted(maps.Keys(e.ids)) {
			if !e.ids[id].Doubtful { // beside a lease, a doubtful VLAN must be gone
				return one(part, id).Applied
			}
		}
		return nil
	}
	var checks []Check
	for id := 1; id <= 4094; id++ {
		l, leased := e.ids[id]
		switch {
		case leased && l.Doubtful || !leased && !inv.Pools[d.Domain].Has(id):
		case leased:
			checks = append(checks, one(part, id).Applied...)
		default:
			free := one(part, id).Clean
			if !e.trunk && reflect.DeepEqual(free, checks) {
				return checks // the template asks the same for every id
			}
			checks = append(checks, free...)
		}
	}
	return checks
}
