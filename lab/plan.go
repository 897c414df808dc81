package lab

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"activationd/internal/fault"
	"activationd/topology"
)

// A Plan is everything that a reservation needs of the devices.
type Plan struct {
	Activation string
	Lab        string // the name of the topology
	Mapping    Mapping
	Links      []PlannedLink
	Devices    []DevicePlan // sorted by name
	Notices    []string     // what the user should know, such as parts of the topology that are ignored
}

// A DevicePlan is what one device is sent, and what it must show afterwards.
type DevicePlan struct {
	Name, Platform string
	// Apply is sent to configure the device, and Undo to restore its previous state.
	Apply, Undo []string
	// Applied must hold after Apply, and Clean after Undo.
	Applied, Clean []Check
	// Comparable says that the whole device is leased and that it shows its configuration. All
	// of Apply must be in that, and erasing restores the configuration that was there before.
	Comparable bool
	// MustBeClean says that the whole device is leased, but shows no configuration that could
	// be compared. Undo restores its previous state only if the device was clean before.
	MustBeClean bool
	// Unverified are lines of Apply that the device does not show, or shows in another form.
	Unverified []string
	// Duration is the least time that sending Apply takes, by the pace of the device.
	Duration time.Duration
	// Access says how the device is reached.
	Access Access

	verified bool // by the session that has sent Apply
}

// An Input is everything from which a plan is made.
type Input struct {
	Activation string
	Inventory  *Inventory
	Platforms  map[string]*Platform
	Topology   *topology.Topology
	Mapping    Mapping
	Links      []PlannedLink // from Route, with their VLANs
}

// Generate makes a plan. It is a pure function. The kind of its error is [fault.Invalid].
func Generate(in Input) (*Plan, error) {
	g := &generator{Input: in, devices: map[string]*DevicePlan{}, undo: map[string][][]string{}}
	plan := &Plan{Activation: in.Activation, Lab: in.Topology.Name, Mapping: in.Mapping, Links: in.Links, Notices: slices.Clone(in.Topology.Notices)}
	for _, l := range in.Links {
		g.link(l)
	}
	names := in.Mapping.devices()
	for _, n := range in.Topology.Nodes {
		if n.Config == "" {
			continue
		}
		name := names[n.Name]
		if in.Inventory.Devices[name].Connect == "" {
			plan.Notices = append(plan.Notices, fmt.Sprintf("%s: has a startup-config, but the inventory has no way to reach %s; it is ignored", n.Name, name))
			continue
		}
		plan.Notices = append(plan.Notices, g.node(n, name)...)
	}
	for _, name := range slices.Sorted(maps.Keys(g.devices)) {
		d := g.devices[name]
		for _, lines := range slices.Backward(g.undo[name]) {
			d.Undo = append(d.Undo, lines...)
		}
		d.finish(in.Inventory, in.Platforms[d.Platform])
		plan.Devices = append(plan.Devices, *d)
	}
	return plan, errors.Join(g.errs...)
}

type generator struct {
	Input
	devices map[string]*DevicePlan
	undo    map[string][][]string // the lines that undo each part, in the order of Apply
	errs    []error
}

func (g *generator) device(name string) *DevicePlan {
	if g.devices[name] == nil {
		g.devices[name] = &DevicePlan{Name: name, Platform: g.Inventory.Devices[name].Platform}
	}
	return g.devices[name]
}

// link plans a VLAN on all switches of its path. The VLAN is defined first, then put on the
// trunks, then on the ports of the devices. Undoing goes the other way.
func (g *generator) link(l PlannedLink) {
	if l.VLAN < 1 || l.VLAN > 4094 {
		g.errs = append(g.errs, fmt.Errorf("the link %s has no VLAN: %w", l.Name, fault.Invalid))
		return
	}
	defined := map[string]bool{}
	define := func(port Port) {
		if !defined[port.Device] {
			defined[port.Device] = true
			g.put(partVLAN, l, Port{Device: port.Device})
		}
	}
	for _, p := range l.TrunkPorts {
		define(p)
		g.put(partTrunk, l, p)
	}
	for _, p := range l.AccessPorts {
		define(p)
		g.put(partAccess, l, p)
	}
}

// put adds one part of the work for a link to the plan of a switch.
func (g *generator) put(name string, l PlannedLink, port Port) {
	dev := g.Inventory.Devices[port.Device]
	p := g.Platforms[dev.Platform]
	if p == nil {
		g.errs = append(g.errs, fmt.Errorf("platform %s: is not loaded: %w", dev.Platform, fault.Invalid))
		return
	}
	one := p.parts[name]
	if one.empty() {
		if name != partVLAN { // some switches need no definition of a VLAN
			g.errs = append(g.errs, fmt.Errorf("%s: the platform %s has no template for %s ports: %w", port, dev.Platform, name, fault.Invalid))
		}
		return
	}
	values := map[string]string{"vlan": strconv.Itoa(l.VLAN), "port": port.Name, holeAnyForm: port.Name, "link": l.Name, "domain": l.Domain}
	trunks, access := l.ports(port.Device)
	values[holePorts] = p.ports.list(trunks, p.ports.trunk)
	values[holeAccessPorts] = p.ports.list(access, p.ports.access)
	maps.Copy(values, p.settings)
	maps.Copy(values, dev.Settings)
	f := filler{values: values, names: p.dialect.names}
	d := g.device(port.Device)
	d.Apply = append(d.Apply, f.lines(one.apply)...)
	undo := f.lines(one.undo)
	g.undo[d.Name] = append(g.undo[d.Name], undo)
	about := ifElse(port.Name == "", port.Device, port.String())
	for _, c := range one.checks {
		show := f.fill([]string{c.show}, false)[0]
		applied := Check{About: about, Show: show, Lines: f.fill(c.applied, true), None: f.fill(c.appliedNot, true)}
		clean := Check{About: about, Show: show, Lines: f.fill(c.clean, true), None: f.fill(c.cleanNot, true)}
		if len(c.ids) > 0 {
			ids := f.fill(c.ids, true)[0]
			applied.IDs, applied.Has = ids, l.VLAN
			clean.IDs, clean.Not = ids, l.VLAN
		}
		if len(c.ports) > 0 {
			list, form := f.fill(c.ports, true)[0], f.names.anyFormOf(port.Name)
			applied.Ports, applied.HasPort = list, form
			clean.Ports, clean.NotPort = list, form
		}
		if name == partVLAN && !one.listsPorts() { // a switch may have all VLANs of a pool defined for good
			clean.Undo = undo
		}
		d.Applied, d.Clean = append(d.Applied, applied.unlessEmpty()...), append(d.Clean, clean.unlessEmpty()...)
	}
	if f.err != nil {
		g.errs = append(g.errs, fmt.Errorf("%s: platform %s: %s: %w", port.Device, dev.Platform, name, f.err))
	}
}

// node plans a startup-config. It returns notices for the user.
func (g *generator) node(n *topology.Node, name string) (notices []string) {
	dev := g.Inventory.Devices[name]
	p := g.Platforms[dev.Platform]
	if p == nil {
		g.errs = append(g.errs, fmt.Errorf("platform %s: is not loaded: %w", dev.Platform, fault.Invalid))
		return nil
	}
	made, err := p.dialect.plan(n)
	if err != nil {
		g.errs = append(g.errs, fmt.Errorf("%w: %w", err, fault.Invalid))
		return nil
	}
	if len(made.apply) == 0 {
		return nil
	}
	notices = made.notices
	for _, l := range p.dialect.accessPath(n.Config, g.Inventory.access(dev)) {
		if dev.AllowAccessPath {
			notices = append(notices, fmt.Sprintf("%s: %.120q changes how %s is reached, as the inventory allows", n.Name, l, name))
		} else {
			g.errs = append(g.errs, fmt.Errorf("%s: %.120q changes how %s is reached, and may cut that off; leave it out, or write \"allow: access-path\" for %s into the inventory: %w",
				n.Name, l, name, name, fault.Invalid))
		}
	}
	for _, l := range made.unverified {
		notices = append(notices, fmt.Sprintf("%s: %.120q can't be read back from %s as it was written, so verify does not check it", n.Name, l, name))
	}
	d := g.device(name)
	d.Apply, d.Undo, d.Applied, d.Clean = made.apply, made.undo, made.applied, made.clean
	d.Unverified = made.unverified
	d.Comparable = p.dialect.running != ""
	d.MustBeClean = !d.Comparable
	return notices
}

func (d *DevicePlan) finish(inv *Inventory, p *Platform) {
	d.Access = inv.access(inv.Devices[d.Name])
	t := d.Access.target(d.Name)
	if p != nil {
		t.Platform = p.Dialog
	}
	d.Duration = t.Duration(d.Apply)
}

// Lines returns how many lines are sent, to all devices together.
func (p *Plan) Lines() (n int) {
	for _, d := range p.Devices {
		n += len(d.Apply)
	}
	return n
}

// Duration returns the time of the slowest device, as all devices are configured at once.
func (p *Plan) Duration() time.Duration {
	if len(p.Devices) == 0 {
		return 0
	}
	return slices.MaxFunc(p.Devices, func(a, b DevicePlan) int { return cmp.Compare(a.Duration, b.Duration) }).Duration
}

// UndoDuration returns the least time that undoing the plan takes: the time of the slowest
// device, by its pace.
func (p *Plan) UndoDuration(platforms map[string]*Platform) (longest time.Duration) {
	for _, d := range p.Devices {
		t := d.Access.target(d.Name)
		if platform := platforms[d.Platform]; platform != nil {
			t.Platform = platform.Dialog
		}
		longest = max(longest, t.Duration(d.Undo))
	}
	return longest
}
