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

// A Mapping says which device serves as which node, sorted by node.
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

// serves reports whether devices of the platform are of the kind that a node asks for: the
// platform's name, or a kind that its file lists. In containerlab a router or host that runs
// as a Linux container is of kind linux, and its image says what it is.
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

// Kinds returns the devices that users can have, which are all but the switches, with their
// kinds: the names that a topology may give these.
func (inv *Inventory) Kinds() (map[string][]string, error) {
	platforms, err := inv.Platforms()
	if err != nil {
		return nil, err
	}
	kinds := make(map[string][]string)
	for name, d := range inv.Devices {
		if d.IsSwitch() {
			continue
		}
		kinds[name] = []string{strings.ToLower(d.Platform)}
		for _, k := range platforms[d.Platform].Kinds {
			if k = strings.ToLower(k); !slices.Contains(kinds[name], k) {
				kinds[name] = append(kinds[name], k)
			}
		}
	}
	return kinds, nil
}

// images are the platforms that a Linux container may run. The name of its image contains the
// platform's.
var images = []string{"frr", "vyos"}

// ofImage returns the platform that a Linux container runs, by the name of its image, or "".
func ofImage(n *topology.Node) string {
	i := slices.IndexFunc(images, func(word string) bool { return strings.Contains(n.Image, word) })
	if n.Kind != "linux" || i < 0 {
		return ""
	}
	return images[i]
}

// askedKind returns the kind of device that a node asks for, in words.
func askedKind(n *topology.Node) string {
	if system := ofImage(n); system != "" {
		return n.Kind + " with an image of " + system
	}
	return ifElse(n.Kind == "", "any", n.Kind)
}

// A mapper finds a device for each node.
type mapper struct {
	inv       *Inventory
	platforms map[string]*Platform
	devices   []string            // that may be chosen
	needs     map[string][]string // the interfaces that a node's links name
}

// serves reports whether a device is of the kind that a node asks for. A node of kind linux
// that does not name the device gets one of the platform of its image, or else one of platform
// linux, but no router.
func (m mapper) serves(n *topology.Node, device string, named bool) bool {
	p := m.platforms[m.inv.Devices[device].Platform]
	if p == nil || !p.serves(n) {
		return false
	}
	return named || n.Kind != "linux" || p.Name == cmp.Or(ofImage(n), "linux")
}

// Map finds a device for each node: the device of the same name, or else a free one of the
// right kind that has the interfaces which the node's links name. Only the given devices may
// be chosen; nil means all of the inventory. Equal input gives equal output: in the order of
// their names, the nodes take the first device each, as long as every node gets one. The kind
// of its error is [fault.Invalid].
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
	may := map[string][]string{}  // the devices that a node without a device of its name may get
	why := map[string]string{}    // why there are none
	var abstract []*topology.Node // the nodes without a device of their names
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
			errs = append(errs, fmt.Errorf("the node %s (line %d): the inventory has no device of that name, and of the devices %s none of kind %s with its interfaces is free%s: %w",
				n.Name, n.Line, orNone(devices), askedKind(n), why[n.Name], fault.Invalid))
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

// named returns why a node can't get the device of its name.
func (m mapper) named(n *topology.Node) error {
	switch d := m.inv.Devices[n.Name]; {
	case d.IsSwitch():
		return errors.New("is a switch, which all labs share")
	case !slices.Contains(m.devices, n.Name):
		return fmt.Errorf("is not one of the reserved devices (%s)", orNone(m.devices))
	case !m.serves(n, n.Name, true):
		return fmt.Errorf("is of kind %s, and the device of that name is %s, which is for the kinds %s; give the node another name to get any free device of its kind",
			askedKind(n), d.Platform, m.kinds(d.Platform))
	}
	return nil
}

// kinds returns the kinds that a platform serves.
func (m mapper) kinds(platform string) string {
	all := []string{platform}
	if p := m.platforms[platform]; p != nil {
		all = append(all, slices.DeleteFunc(slices.Clone(p.Kinds), func(k string) bool { return k == platform })...)
	}
	return strings.Join(all, ", ")
}

// candidates returns the devices that a node without a device of its name may get, or why
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

// augment gives a device to the node. If need be, the node that had it gets another one.
func augment(node string, may map[string][]string, taken map[string]string, tried map[string]bool) bool {
	for _, dev := range may[node] { // first a free one, which there nearly always is
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
