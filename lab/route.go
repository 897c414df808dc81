package lab

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"activationd/internal/fault"
	"activationd/topology"
)

// A PlannedLink is a link of the topology with its path over the switches.
type PlannedLink struct {
	// Name is the link for which its VLAN is leased: the interfaces that it joins, two of them
	// or, in a LAN, more. [Work.Drift] finds the ports of a lease by it.
	Name   string `json:"name"`
	Domain string `json:"domain"`
	VLAN   int    `json:"vlan"` // 0: not leased yet
	// AccessPorts are the switch ports into which the devices are plugged. TrunkPorts are the
	// ports of the trunks between the switches, in pairs.
	AccessPorts []Port `json:"access"`
	TrunkPorts  []Port `json:"trunks,omitempty"`
}

// MarshalText writes a port as in r1:eth1.
func (p Port) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads a port as MarshalText writes it.
func (p *Port) UnmarshalText(text []byte) (err error) {
	*p, err = parsePort(string(text))
	return err
}

// maxLink is how many bytes the name of a link may have. The daemon takes no longer names for
// leases.
const maxLink = 4096

// Route finds the shortest path over the switches for each link, in the order of the topology.
// The kind of its error is [fault.Invalid]. The error names each link that is not possible,
// with everything that is wrong with it.
func Route(inv *Inventory, topo *topology.Topology, m Mapping) ([]PlannedLink, error) {
	neighbours := inv.neighbours()
	names, kinds := m.devices(), map[string]string{}
	for _, n := range topo.Nodes {
		kinds[n.Name] = n.Kind
	}
	used := map[Port]topology.Link{}
	var all []PlannedLink
	var errs []error
	for _, l := range topo.Links {
		var wires []Wire
		var wrong []string
		for _, end := range l.Ends {
			e := Port{names[end.Node], end.Interface}
			w, wired := inv.wire(kinds[end.Node], e)
			before, twice := used[w.A]
			switch {
			case !wired:
				wrong = append(wrong, fmt.Sprintf("%s is plugged into no switch; its wired interfaces are: %s", e, orNone(inv.interfaces(e.Device))))
			case twice:
				wrong = append(wrong, fmt.Sprintf("%s is %s, which has a link already, on line %d", e, w.A, before.Line))
			default:
				used[w.A] = l
				wires = append(wires, w)
			}
		}
		planned, more := inv.join(neighbours, wires)
		if wrong = append(wrong, more...); len(wrong) == 0 && len(planned.Name) > maxLink {
			wrong = append(wrong, fmt.Sprintf("has %d interfaces, and their names together have more than %d bytes", len(wires), maxLink))
		}
		if len(wrong) > 0 {
			errs = append(errs, fmt.Errorf("%s (line %d): %s: %w", l, l.Line, strings.Join(wrong, "; "), fault.Invalid))
			continue
		}
		all = append(all, planned)
	}
	return all, errors.Join(errs...)
}

// join makes a link of the wires of its devices. From the first wire on, each is joined by the
// shortest path to the switches that are joined already, so that the paths form a tree. It
// returns what is wrong.
func (inv *Inventory) join(neighbours map[string][]hop, wires []Wire) (planned PlannedLink, wrong []string) {
	var ends []Port
	domains := map[string][]string{} // ends by domain
	for _, w := range wires {
		ends = append(ends, w.A)
		planned.AccessPorts = append(planned.AccessPorts, w.B)
		planned.Domain = inv.Devices[w.B.Device].Domain
		domains[planned.Domain] = append(domains[planned.Domain], fmt.Sprintf("%s (on %s)", w.A, w.B.Device))
	}
	planned.Name = portList(ends)
	if len(domains) > 1 {
		var parts []string
		for _, d := range slices.Sorted(maps.Keys(domains)) {
			parts = append(parts, d+" has "+strings.Join(domains[d], ", "))
		}
		return planned, append(wrong, "its ends are in several domains, but a VLAN belongs to one: "+strings.Join(parts, "; "))
	}
	var joined []string // switches
	for _, w := range wires {
		if joined == nil {
			joined = []string{w.B.Device}
		}
		way, ok := shortest(neighbours, joined, w.B.Device)
		if !ok {
			wrong = append(wrong, fmt.Sprintf("no trunks lead from %s to %s, into which %s is plugged", joined[0], w.B.Device, w.A))
			continue
		}
		planned.TrunkPorts = append(planned.TrunkPorts, way...)
		for _, t := range way {
			if !slices.Contains(joined, t.Device) {
				joined = append(joined, t.Device)
			}
		}
	}
	return planned, wrong
}

func orNone(names []string) string { return ifElse(len(names) == 0, "none", strings.Join(names, ", ")) }

// interfaces returns the wired interfaces of a device, sorted.
func (inv *Inventory) interfaces(dev string) (names []string) {
	for _, w := range inv.wired {
		if w.A.Device == dev {
			names = append(names, w.A.Name)
		}
	}
	slices.Sort(names)
	return names
}

// A hop is a step over a trunk: out of one port, into another.
type hop struct{ out, in Port }

// neighbours returns the hops from each switch. Their order does not depend on the file.
func (inv *Inventory) neighbours() map[string][]hop {
	all := map[string][]hop{}
	for _, t := range inv.Trunks {
		all[t.A.Device] = append(all[t.A.Device], hop{t.A, t.B})
		all[t.B.Device] = append(all[t.B.Device], hop{t.B, t.A})
	}
	for _, hops := range all {
		slices.SortFunc(hops, func(a, b hop) int {
			return strings.Compare(a.in.String()+" "+a.out.String(), b.in.String()+" "+b.out.String())
		})
	}
	return all
}

// shortest returns the ports of the trunks on the shortest path from one of several switches
// to another switch. Among paths of one length it takes the one whose switches come first in
// the alphabet.
func shortest(neighbours map[string][]hop, from []string, to string) ([]Port, bool) {
	came := map[string]hop{}
	for _, s := range from {
		came[s] = hop{}
	}
	for queue := slices.Clone(from); len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if at == to {
			var ports []Port
			for h := came[at]; h != (hop{}); h = came[at] {
				ports = append(ports, h.in, h.out)
				at = h.out.Device
			}
			slices.Reverse(ports)
			return ports, true
		}
		for _, h := range neighbours[at] {
			if _, been := came[h.in.Device]; !been {
				came[h.in.Device] = h
				queue = append(queue, h.in.Device)
			}
		}
	}
	return nil, false
}
