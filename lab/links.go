package lab

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"activationd/internal/fault"
)

// A PlannedLink is a link of the topology as it runs over switches.
type PlannedLink struct {
	// Name is what its VLAN is lent for: the two devices' interfaces.
	Name   string `json:"name"`
	Domain string `json:"domain"`
	VLAN   int    `json:"vlan"` // 0: not known yet
	// Access are the two switch ports that the devices are plugged into, and Trunks the
	// trunks' ports on the way, two and two.
	Access [2]Port `json:"access"`
	Trunks []Port  `json:"trunks,omitempty"`
}

// MarshalText writes a port as in r1:eth1.
func (p Port) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads it.
func (p *Port) UnmarshalText(text []byte) (err error) {
	*p, err = parsePort(string(text))
	return err
}

// Route finds the links' ways over the switches, the shortest each, in the topology's
// order. The kind of its error is [fault.Invalid]; each link that can't be made is
// named.
func Route(inv *Inventory, topo *Topology, m Mapping) ([]PlannedLink, error) {
	neighbours := inv.neighbours()
	names, kinds := m.devices(), topo.kinds()
	used := map[Port]Link{}
	var all []PlannedLink
	var errs []error
	bad := func(l Link, format string, args ...any) {
		errs = append(errs, fmt.Errorf("the link %s -- %s (line %d): %s: %w", l.A, l.B, l.Line, fmt.Sprintf(format, args...), fault.Invalid))
	}
	for _, l := range topo.Links {
		var planned PlannedLink
		var ends [2]string
		ok := true
		for i, end := range []Port{l.A, l.B} {
			e := Port{names[end.Device], end.Name}
			w, wired := inv.wire(kinds[end.Device], e)
			before, twice := used[w.A]
			switch {
			case !wired:
				bad(l, "%s is plugged into no switch; its wired interfaces are: %s", e, orNone(inv.interfaces(e.Device)))
				ok = false
			case twice:
				bad(l, "%s is %s, which has a link already, on line %d", e, w.A, before.Line)
				ok = false
			}
			used[w.A] = l
			ends[i], planned.Access[i] = w.A.String(), w.B
		}
		planned.Name = ends[0] + " -- " + ends[1]
		if !ok {
			continue
		}
		a, b := planned.Access[0].Device, planned.Access[1].Device
		planned.Domain = inv.Devices[a].Domain
		if planned.Trunks, ok = shortest(neighbours, a, b); !ok {
			da, db := planned.Domain, inv.Devices[b].Domain
			if da != db {
				bad(l, "its ends are on %s and %s, in the domains %s and %s, and a VLAN is of one domain", a, b, da, db)
			} else {
				bad(l, "no trunks lead from %s to %s", a, b)
			}
			continue
		}
		all = append(all, planned)
	}
	return all, errors.Join(errs...)
}

func orNone(names []string) string { return ifElse(len(names) == 0, "none", strings.Join(names, ", ")) }

// interfaces returns a device's wired ones, sorted.
func (inv *Inventory) interfaces(dev string) (names []string) {
	for _, w := range inv.wired {
		if w.A.Device == dev {
			names = append(names, w.A.Name)
		}
	}
	slices.Sort(names)
	return names
}

// A hop leads over a trunk: out of a port, into a port.
type hop struct{ out, in Port }

// neighbours returns the hops from each switch, in one order whatever the file's is.
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

// shortest returns the trunks' ports on the shortest way between two switches; of
// several the one by the switches that come first in the alphabet.
func shortest(neighbours map[string][]hop, from, to string) ([]Port, bool) {
	came := map[string]hop{from: {}}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if at == to {
			var ports []Port
			for at != from {
				h := came[at]
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

// A Mapping is which node is which device, sorted by node.
type Mapping []Mapped

// A Mapped is one node of a Mapping.
type Mapped struct {
	Node     string `json:"node"`
	Device   string `json:"device"`
	Platform string `json:"platform"`
}

func (m Mapping) devices() map[string]string {
	all := make(map[string]string, len(m))
	for _, one := range m {
		all[one.Node] = one.Device
	}
	return all
}

// kinds returns those of the nodes, by name.
func (t *Topology) kinds() map[string]string {
	all := make(map[string]string, len(t.Nodes))
	for _, n := range t.Nodes {
		all[n.Name] = n.Kind
	}
	return all
}

// kinds says which platforms a containerlab kind may be, by the beginning of its name.
// Others are a platform's name themselves.
var kinds = []struct{ prefix, platform string }{
	{"arista_", "arista_eos"}, {"ceos", "arista_eos"}, {"vr-veos", "arista_eos"}, {"vr-arista", "arista_eos"},
	{"cisco_", "cisco_ios"}, {"vr-csr", "cisco_ios"}, {"vr-cisco", "cisco_ios"},
	{"juniper_", "juniper_junos"}, {"crpd", "juniper_junos"}, {"vr-vmx", "juniper_junos"}, {"vr-juniper", "juniper_junos"},
}

// platform returns the one that a node's kind and image ask for; "": any.
func (n *Node) platform() string {
	if n.Kind == "linux" && strings.Contains(n.Image, "frr") {
		return "frr"
	}
	for _, k := range kinds {
		if n.Kind != k.platform && strings.HasPrefix(n.Kind, k.prefix) {
			return k.platform
		}
	}
	return n.Kind
}

// mayBe tells whether a device of the platform is what the node's kind asks for. In
// containerlab a router that is a container of Linux is of kind linux, too.
func (n *Node) mayBe(platform string) bool {
	want := n.platform()
	return want == "" || want == platform || n.Kind == "linux" && platform == "frr"
}

// Map finds a device for each node: the one of its name, or else a free one of the
// right kind that has the interfaces which its links name. Devices are those that may
// be used; nil: all of the inventory. Equal input gives an equal answer: the nodes in
// the order of their names take the first device each, as long as all get one. The
// kind of its error is [fault.Invalid].
func Map(inv *Inventory, topo *Topology, devices []string) (Mapping, error) {
	if devices == nil {
		devices = slices.Sorted(maps.Keys(inv.Devices))
	}
	var errs []error
	taken := map[string]string{}    // device -> node
	may := map[string][]string{}    // node without a device -> candidates
	needs := map[string][]string{}  // node -> interfaces
	byName := map[string][]string{} // node -> what it was told instead of an error
	for _, l := range topo.Links {
		for _, p := range []Port{l.A, l.B} {
			needs[p.Device] = append(needs[p.Device], p.Name)
		}
	}
	for _, n := range topo.Nodes {
		d := inv.Devices[n.Name]
		switch {
		case d == nil:
			may[n.Name] = nil
		case d.IsSwitch():
			errs = append(errs, fmt.Errorf("the node %s (line %d): is a switch, which all labs share: %w", n.Name, n.Line, fault.Invalid))
		case !slices.Contains(devices, n.Name):
			errs = append(errs, fmt.Errorf("the node %s (line %d): is not one of the reserved devices (%s): %w", n.Name, n.Line, orNone(devices), fault.Invalid))
		case !n.mayBe(d.Platform):
			errs = append(errs, fmt.Errorf("the node %s (line %d): is of kind %s, and the device of that name is %s; give the node another name to get any free device of its kind: %w",
				n.Name, n.Line, n.Kind, d.Platform, fault.Invalid))
		default:
			taken[n.Name] = n.Name
		}
	}
	free := slices.DeleteFunc(slices.Clone(devices), func(name string) bool {
		d := inv.Devices[name]
		return d == nil || d.IsSwitch() || taken[name] != ""
	})
	slices.Sort(free)
	for _, n := range topo.Nodes {
		if _, abstract := may[n.Name]; !abstract {
			continue
		}
		for _, name := range free {
			want := n.platform()
			if want != "" && inv.Devices[name].Platform != want {
				continue
			}
			if lack := slices.DeleteFunc(slices.Clone(needs[n.Name]), func(i string) bool {
				_, wired := inv.wire(n.Kind, Port{name, i})
				return wired
			}); len(lack) > 0 {
				byName[n.Name] = append(byName[n.Name], fmt.Sprintf("%s has no %s", name, strings.Join(lack, ", ")))
				continue
			}
			may[n.Name] = append(may[n.Name], name)
		}
	}
	for _, node := range slices.Sorted(maps.Keys(may)) {
		if !augment(node, may, taken, map[string]bool{}) {
			n := topo.Nodes[slices.IndexFunc(topo.Nodes, func(n *Node) bool { return n.Name == node })]
			why := ""
			if byName[node] != nil {
				why = " (" + strings.Join(byName[node], "; ") + ")"
			}
			errs = append(errs, fmt.Errorf("the node %s (line %d): is no device of the inventory, and of the devices %s none of kind %s with its interfaces is free%s: %w",
				node, n.Line, orNone(devices), ifElse(n.platform() == "", "any", n.platform()), why, fault.Invalid))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	var m Mapping
	for dev, node := range taken {
		m = append(m, Mapped{node, dev, inv.Devices[dev].Platform})
	}
	slices.SortFunc(m, func(a, b Mapped) int { return strings.Compare(a.Node, b.Node) })
	return m, nil
}

// augment gives node a device, and another one to who had it, if need be.
func augment(node string, may map[string][]string, taken map[string]string, tried map[string]bool) bool {
	for _, dev := range may[node] { // first one that nobody has: mostly there is one
		if _, ok := taken[dev]; !ok && !tried[dev] {
			taken[dev] = node
			return true
		}
	}
	for _, dev := range may[node] {
		if tried[dev] {
			continue
		}
		tried[dev] = true
		if owner, ok := taken[dev]; !ok || owner != dev && augment(owner, may, taken, tried) {
			taken[dev] = node
			return true
		}
	}
	return false
}
