package lab

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"activationd/internal/fault"
	"activationd/topology"
)

// A PlannedLink is a link of the topology as it runs over switches.
type PlannedLink struct {
	// Name is what its VLAN is lent for: the devices' interfaces that it joins, two or,
	// in a LAN, more. [Work.Drift] finds its ports by it.
	Name   string `json:"name"`
	Domain string `json:"domain"`
	VLAN   int    `json:"vlan"` // 0: not known yet
	// Access are the switch ports that the devices are plugged into, and Trunks the
	// trunks' ports between the switches, two and two.
	Access []Port `json:"access"`
	Trunks []Port `json:"trunks,omitempty"`
}

// MarshalText writes a port as in r1:eth1.
func (p Port) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads it.
func (p *Port) UnmarshalText(text []byte) (err error) {
	*p, err = parsePort(string(text))
	return err
}

// maxLink is how many bytes a link's name may have: as many as the daemon takes for what
// a VLAN is lent for.
const maxLink = 4096

// Route finds the links' ways over the switches, the shortest each, in the topology's
// order. The kind of its error is [fault.Invalid]; each link that can't be made is
// named, with all that is wrong with it.
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

// join makes a link of devices' wires: from the first one on, each is led by the shortest
// way to what is joined already, so that the way is a tree. It says what is wrong.
func (inv *Inventory) join(neighbours map[string][]hop, wires []Wire) (planned PlannedLink, wrong []string) {
	var ends []Port
	domains := map[string][]string{} // ends by domain
	for _, w := range wires {
		ends = append(ends, w.A)
		planned.Access = append(planned.Access, w.B)
		planned.Domain = inv.Devices[w.B.Device].Domain
		domains[planned.Domain] = append(domains[planned.Domain], fmt.Sprintf("%s (on %s)", w.A, w.B.Device))
	}
	planned.Name = portList(ends)
	if len(domains) > 1 {
		var parts []string
		for _, d := range slices.Sorted(maps.Keys(domains)) {
			parts = append(parts, d+" has "+strings.Join(domains[d], ", "))
		}
		return planned, append(wrong, "its ends are in several domains, and a VLAN is of one: "+strings.Join(parts, "; "))
	}
	var joined []string // switches
	for _, w := range wires {
		if joined == nil {
			joined = []string{w.B.Device}
		}
		way, ok := shortest(neighbours, joined, w.B.Device)
		if !ok {
			wrong = append(wrong, fmt.Sprintf("no trunks lead from %s to %s, where %s is", joined[0], w.B.Device, w.A))
			continue
		}
		planned.Trunks = append(planned.Trunks, way...)
		for _, t := range way {
			if !slices.Contains(joined, t.Device) {
				joined = append(joined, t.Device)
			}
		}
	}
	return planned, wrong
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

// shortest returns the trunks' ports on the shortest way from one of some switches to
// another; of several the one by the switches that come first in the alphabet.
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

// serves reports whether a device of the platform is what a node's kind asks for: its
// name, or a kind that its file lists. A router or a host that is a container of Linux is
// of kind linux in containerlab, and told by its image.
func (p *Platform) serves(n *topology.Node) bool {
	system := ofImage(n)
	switch {
	case system != "":
		other := p.Name == "linux" || slices.Contains(images, p.Name)
		return p.Name == system || !other && slices.Contains(p.Kinds, n.Kind)
	case n.Kind == "" || n.Kind == strings.ToLower(p.Name):
		return true
	}
	return slices.Contains(p.Kinds, n.Kind)
}

// images are the platforms that a Linux container may be, by a word in its image's name.
var images = []string{"frr", "vyos"}

// ofImage is the platform that a Linux container is by its image, or "".
func ofImage(n *topology.Node) string {
	i := slices.IndexFunc(images, func(word string) bool { return strings.Contains(n.Image, word) })
	if n.Kind != "linux" || i < 0 {
		return ""
	}
	return images[i]
}

// asked is the kind of device that a node is to be, in words.
func asked(n *topology.Node) string {
	if system := ofImage(n); system != "" {
		return n.Kind + " with an image of " + system
	}
	return ifElse(n.Kind == "", "any", n.Kind)
}

// A mapper finds a device for each node.
type mapper struct {
	inv       *Inventory
	platforms map[string]*Platform
	devices   []string            // that may be used
	needs     map[string][]string // a node's interfaces
}

// serves reports whether a device is what a node asks for. If the node has not the device's
// name, a Linux is of the platform that its image tells, or else of linux: it is no FRR.
func (m mapper) serves(n *topology.Node, device string, named bool) bool {
	p := m.platforms[m.inv.Devices[device].Platform]
	if p == nil || !p.serves(n) {
		return false
	}
	return named || n.Kind != "linux" || p.Name == cmp.Or(ofImage(n), "linux")
}

// Map finds a device for each node: the one of its name, or else a free one of the
// right kind that has the interfaces which its links name. Devices are those that may
// be used; nil: all of the inventory. Equal input gives an equal answer: the nodes in
// the order of their names take the first device each, as long as all get one. The
// kind of its error is [fault.Invalid].
func Map(inv *Inventory, platforms map[string]*Platform, topo *topology.Topology, devices []string) (Mapping, error) {
	if devices == nil {
		devices = slices.Sorted(maps.Keys(inv.Devices))
	}
	m := mapper{inv, platforms, devices, map[string][]string{}}
	for _, l := range topo.Links {
		for _, e := range l.Ends {
			m.needs[e.Node] = append(m.needs[e.Node], e.Interface)
		}
	}
	var errs []error
	taken := map[string]string{}  // device -> node
	may := map[string][]string{}  // node without a device -> candidates
	why := map[string]string{}    // and why it has none
	var abstract []*topology.Node // those nodes
	for _, n := range topo.Nodes {
		if inv.Devices[n.Name] == nil {
			abstract = append(abstract, n)
		} else if err := m.named(n); err != nil {
			errs = append(errs, fmt.Errorf("the node %s (line %d): %w: %w", n.Name, n.Line, err, fault.Invalid))
		} else {
			taken[n.Name] = n.Name
		}
	}
	for _, n := range abstract {
		may[n.Name], why[n.Name] = m.candidates(n, taken)
	}
	for _, n := range abstract {
		if !augment(n.Name, may, taken, map[string]bool{}) {
			errs = append(errs, fmt.Errorf("the node %s (line %d): is no device of the inventory, and of the devices %s none of kind %s with its interfaces is free%s: %w",
				n.Name, n.Line, orNone(devices), asked(n), why[n.Name], fault.Invalid))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	var mapping Mapping
	for dev, node := range taken {
		mapping = append(mapping, Mapped{node, dev, inv.Devices[dev].Platform})
	}
	slices.SortFunc(mapping, func(a, b Mapped) int { return strings.Compare(a.Node, b.Node) })
	return mapping, nil
}

// named says why a node can't be the device of its name.
func (m mapper) named(n *topology.Node) error {
	switch d := m.inv.Devices[n.Name]; {
	case d.IsSwitch():
		return errors.New("is a switch, which all labs share")
	case !slices.Contains(m.devices, n.Name):
		return fmt.Errorf("is not one of the reserved devices (%s)", orNone(m.devices))
	case !m.serves(n, n.Name, true):
		return fmt.Errorf("is of kind %s, and the device of that name is %s, which is for the kinds %s; give the node another name to get any free device of its kind",
			asked(n), d.Platform, m.kinds(d.Platform))
	}
	return nil
}

// kinds are those that a platform is for.
func (m mapper) kinds(platform string) string {
	all := []string{platform}
	if p := m.platforms[platform]; p != nil {
		all = append(all, slices.DeleteFunc(slices.Clone(p.Kinds), func(k string) bool { return k == platform })...)
	}
	return strings.Join(all, ", ")
}

// candidates are the devices that a node may have which is none by its name, or why
// there are none.
func (m mapper) candidates(n *topology.Node, taken map[string]string) (may []string, why string) {
	var lacks []string
	served := false
	for _, name := range slices.Sorted(slices.Values(m.devices)) {
		d := m.inv.Devices[name]
		if d == nil || !m.serves(n, name, false) {
			continue
		}
		served = true
		if d.IsSwitch() || taken[name] != "" {
			continue
		}
		lack := slices.DeleteFunc(slices.Clone(m.needs[n.Name]), func(i string) bool {
			_, wired := m.inv.wire(n.Kind, Port{name, i})
			return wired
		})
		if len(lack) > 0 {
			lacks = append(lacks, fmt.Sprintf("%s has no %s", name, strings.Join(lack, ", ")))
			continue
		}
		may = append(may, name)
	}
	switch {
	case len(lacks) > 0:
		why = " (" + strings.Join(lacks, "; ") + ")"
	case !served:
		var known []string
		for _, name := range m.devices {
			if d := m.inv.Devices[name]; d != nil && !d.IsSwitch() {
				known = append(known, m.kinds(d.Platform))
			}
		}
		slices.Sort(known)
		why = fmt.Sprintf(" (their kinds are: %s)", strings.Join(slices.Compact(known), "; "))
	}
	return may, why
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
