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

// A Lease is a VLAN id that is not free.
type Lease struct {
	Domain, Link, Holder string
	ID                   int
	// Doubtful is one in quarantine: it may be on its ports, or not.
	Doubtful bool
}

// A Drift is a port that is not as it should be.
type Drift struct {
	Port Port   `json:"port"`
	Want string `json:"want"` // what should be there, in words
	Is   string `json:"is"`   // what is there instead
}

// Drift compares every port of every switch with what should be there, by the leases:
// ports that are wired to devices, and trunks. Only ids of the pools are looked at. The
// switches that can't be asked are in the error, as are leases for what is not wired any
// more; the other ports are compared all the same.
func (w *Work) Drift(ctx context.Context, inv *Inventory, platforms map[string]*Platform, leases []Lease) ([]Drift, error) {
	want, unwired := inv.expected(leases)
	plan := &Plan{}
	for _, d := range inv.Devices {
		if d.IsSwitch() && len(want[d.Name]) > 0 {
			plan.Devices = append(plan.Devices, DevicePlan{Name: d.Name, Platform: d.Platform, Way: inv.way(d)})
		}
	}
	slices.SortFunc(plan.Devices, func(a, b DevicePlan) int { return strings.Compare(a.Name, b.Name) })
	var mu sync.Mutex
	found := map[string][]Drift{}
	err := w.each(ctx, plan, func(ctx context.Context, d *DevicePlan) error {
		t, err := w.talker(d, platforms)
		if err != nil {
			return err
		}
		err = t.session(ctx, func(s *device.Session) error {
			some, err := inv.drifts(ctx, s, inv.Devices[d.Name], platforms[d.Platform], want[d.Name])
			mu.Lock()
			defer mu.Unlock()
			found[d.Name] = some
			return err
		})
		return errors.Join(err, t.close())
	})
	var all []Drift
	for _, d := range plan.Devices {
		all = append(all, found[d.Name]...)
	}
	return all, errors.Join(unwired, err)
}

// An expectation is what a switch's port should have.
type expectation struct {
	port  Port
	trunk bool
	ids   map[int]Lease
}

// expected returns the ports of each switch, sorted, and an error of the leases that no
// ports can be told for.
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
			errs = append(errs, fmt.Errorf("VLAN %d of %s, lent to %s for %q: %w", l.ID, l.Domain, l.Holder, l.Link, err))
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
	if err != nil { // somebody lent it by hand, for something else
		return nil //nolint:nilerr // which is no port of ours
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
	for _, p := range slices.Concat(link.Access, link.Trunks) {
		ports[p].ids[l.ID] = l
	}
	return nil
}

// drifts looks at all ports of one switch.
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

// words say what should be there.
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

// portChecks are a port's: of an access port that it has its VLAN or is free, and of a
// trunk that it has those of the pool that it should have, and no others. A port is free
// when it is free of each id of the pool: a template may ask for one id at a time. A lease
// in doubt proves nothing. All are the switch's expectations: of those a VLAN's ports are
// known.
func (inv *Inventory) portChecks(d *Device, p *Platform, e *expectation, all []*expectation) []Check {
	one := func(what string, id int) DevicePlan {
		link := PlannedLink{VLAN: id, Domain: d.Domain}
		for _, other := range all {
			switch _, has := other.ids[id]; {
			case has && other.trunk:
				link.Trunks = append(link.Trunks, other.port)
			case has:
				link.Access = append(link.Access, other.port)
			}
		}
		g := &generator{Input: Input{Inventory: inv, Platforms: map[string]*Platform{d.Platform: p}}, devices: map[string]*DevicePlan{}, undo: map[string][][]string{}}
		g.put(what, link, e.port)
		return *g.device(d.Name)
	}
	what := ifElse(e.trunk, "trunk", "access")
	if !e.trunk && len(e.ids) > 0 {
		for _, id := range slices.Sorted(maps.Keys(e.ids)) {
			if !e.ids[id].Doubtful { // whatever is in doubt beside it must be gone
				return one(what, id).Applied
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
			checks = append(checks, one(what, id).Applied...)
		default:
			free := one(what, id).Clean
			if !e.trunk && reflect.DeepEqual(free, checks) {
				return checks // it asks the same for every id
			}
			checks = append(checks, free...)
		}
	}
	return checks
}
