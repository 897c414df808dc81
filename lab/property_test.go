package lab

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"activationd/topology"
)

// switchPlatforms are the platforms with templates for the ports of a switch.
var switchPlatforms = []string{"openvswitch", "cisco_ios", "arista_eos", "juniper_junos", "nokia_srlinux", "cisco_nxos", "aruba_aoss", "linux_bridge", "mikrotik_routeros", "vyos"}

// A world is an inventory, its platforms, and models of its switches.
type world struct {
	inv       *Inventory
	platforms map[string]*Platform
	hosts     []string
}

// drawWorld draws switches that are joined by trunks, with hosts.
func drawWorld(t *rapid.T) *world {
	var s strings.Builder
	s.WriteString("pools: {d: {ranges: [100-199]}}\ndevices:\n")
	n := rapid.IntRange(1, 5).Draw(t, "switches")
	for i := range n {
		fmt.Fprintf(&s, "  sw%d: {platform: %s, domain: d, connect: 'tcp://192.0.2.1:%d'}\n", i, rapid.SampledFrom(switchPlatforms).Draw(t, "platform"), 1000+i)
	}
	hosts := 2 * rapid.IntRange(1, 6).Draw(t, "pairs")
	var wiring, trunks []string
	for i := range hosts {
		fmt.Fprintf(&s, "  h%d: {platform: linux}\n", i)
		wiring = append(wiring, fmt.Sprintf("'h%d:eth1 -- sw%d:p%d'", i, rapid.IntRange(0, n-1).Draw(t, "switch"), i))
	}
	for i := 1; i < n; i++ {
		trunks = append(trunks, fmt.Sprintf("'sw%d:t%d -- sw%d:u%d'", rapid.IntRange(0, i-1).Draw(t, "parent"), i, i, i))
	}
	for k := range rapid.IntRange(0, 3).Draw(t, "rings") {
		if a, b := rapid.IntRange(0, n-1).Draw(t, "a"), rapid.IntRange(0, n-1).Draw(t, "b"); a != b {
			trunks = append(trunks, fmt.Sprintf("'sw%d:x%d -- sw%d:y%d'", a, k, b, k))
		}
	}
	fmt.Fprintf(&s, "wiring: [%s]\ntrunks: [%s]\n", strings.Join(wiring, ", "), strings.Join(trunks, ", "))
	inv, err := ParseInventory("inventory.yaml", []byte(s.String()))
	if err != nil {
		t.Fatalf("%v\n%s", err, &s)
	}
	w := &world{inv: inv}
	if w.platforms, err = inv.Platforms(); err != nil {
		t.Fatal(err)
	}
	for i := range hosts {
		w.hosts = append(w.hosts, fmt.Sprintf("h%d", i))
	}
	w.hosts = rapid.Permutation(w.hosts).Draw(t, "hosts")
	return w
}

func (w *world) switches() map[string]model {
	all := map[string]model{}
	for _, d := range w.inv.Devices {
		if d.IsSwitch() {
			all[d.Name] = modelOf(d.Platform)
		}
	}
	for _, wire := range w.inv.Wiring {
		prepare(all[wire.B.Device], wire.B.Name, false)
	}
	for _, wire := range w.inv.Trunks {
		prepare(all[wire.A.Device], wire.A.Name, true)
		prepare(all[wire.B.Device], wire.B.Name, true)
	}
	return all
}

// plan makes a plan that joins two or more of the hosts at a time, with ids from first on.
func (w *world) plan(t *rapid.T, hosts []string, first int) *Plan {
	topo := &topology.Topology{}
	for len(hosts) > 0 {
		n := rapid.IntRange(2, min(4, len(hosts))).Draw(t, "ends")
		if len(hosts)-n == 1 {
			n++
		}
		var link topology.Link
		for _, h := range hosts[:n] {
			topo.Nodes = append(topo.Nodes, &topology.Node{Name: h, Kind: "linux"})
			link.Ends = append(link.Ends, topology.End{Node: h, Interface: "eth1"})
		}
		topo.Links, hosts = append(topo.Links, link), hosts[n:]
	}
	m, err := Map(w.inv, w.platforms, topo, nil)
	if err != nil {
		t.Fatal(err)
	}
	links, err := Route(w.inv, topo, m)
	if err != nil {
		t.Fatal(err)
	}
	for i := range links {
		links[i].VLAN = first + i
	}
	p, err := Generate(Input{Inventory: w.inv, Platforms: w.platforms, Topology: topo, Mapping: m, Links: links})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func give(t *rapid.T, all map[string]model, p *Plan, lines func(DevicePlan) []string) {
	for _, d := range p.Devices {
		for _, l := range lines(d) {
			if said := all[d.Name].do(l); said != "" {
				t.Fatalf("%s (%s), %q: %s", d.Name, d.Platform, l, said)
			}
		}
		if m, ok := all[d.Name].(interface{ leave() }); ok {
			m.leave()
		}
	}
}

func apply(d DevicePlan) []string { return d.Apply }
func undo(d DevicePlan) []string  { return d.Undo }

// wants compares what the devices show with checks.
func wants(t *rapid.T, when string, all map[string]model, p *Plan, checks func(DevicePlan) []Check, ok bool) {
	for _, d := range p.Devices {
		for _, c := range checks(d) {
			if why := c.Failed(all[d.Name].show(c.Show)); (why == "") != ok {
				t.Errorf("%s: %s (%s): %+v: %q, want success: %v\n%s", when, d.Name, d.Platform, c, why, ok, all[d.Name].show(c.Show))
			}
		}
	}
}

func applied(d DevicePlan) []Check { return d.Applied }
func clean(d DevicePlan) []Check   { return d.Clean }

func states(all map[string]model) string {
	var names []string
	for n := range all {
		names = append(names, n)
	}
	slices.Sort(names)
	var s strings.Builder
	for _, n := range names {
		fmt.Fprintf(&s, "%s\n%v\n", n, all[n])
	}
	return s.String()
}

// TestPlansOnModels applies and undoes the plans of two labs on models of switches.
func TestPlansOnModels(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		half := len(w.hosts) / 4 * 2
		a, b := w.plan(t, w.hosts[:half], 100), w.plan(t, w.hosts[half:], 150)

		one, two := w.switches(), w.switches()
		was := states(one)
		wants(t, "at first", one, b, clean, true)
		give(t, one, a, apply)
		give(t, one, b, apply)
		give(t, two, b, apply)
		onlyB := states(two)
		give(t, two, a, apply)
		if states(one) != states(two) {
			t.Fatalf("a and b do not commute:\n%s\nb and a:\n%s", states(one), states(two))
		}
		wants(t, "applied", one, a, applied, true)
		wants(t, "applied", one, b, applied, true)
		give(t, one, a, apply) // again: a line may be sent twice
		give(t, one, a, undo)
		if got := states(one); got != onlyB {
			t.Fatalf("with a undone it is\n%s\nwant\n%s", got, onlyB)
		}
		wants(t, "a undone", one, a, clean, true)
		wants(t, "a undone", one, b, applied, true)
		give(t, one, b, undo)
		if got := states(one); got != was {
			t.Fatalf("at last it is\n%s\nwant\n%s", got, was)
		}
	})
}

// content returns what the checks are about of which none fails.
func content(m model, checks []Check) (about []string) {
	failed := map[string]bool{}
	for _, c := range checks {
		if c.Failed(m.show(c.Show)) != "" {
			failed[c.About] = true
		}
	}
	for _, c := range checks {
		if !failed[c.About] {
			about = append(about, c.About)
		}
	}
	return about
}

// TestChecksFail: if any part of a plan is missing on the switches, or left there, a check
// fails.
func TestChecksFail(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		p := w.plan(t, w.hosts[:2], 100)
		all := w.switches()
		for _, d := range p.Devices {
			if about := content(all[d.Name], d.Applied); about != nil {
				t.Errorf("%s (%s): nothing was applied, and the checks are content with %q in\n%s", d.Name, d.Platform, about, all[d.Name])
			}
		}
		give(t, all, p, apply)
		for _, d := range p.Devices {
			if about := content(all[d.Name], d.Clean); about != nil {
				t.Errorf("%s (%s): all is applied, and the checks are content with %q in\n%s", d.Name, d.Platform, about, all[d.Name])
			}
		}
	})
}

// TestChange: the lines that lead from one configuration to another do so, and undoing
// restores the first.
func TestChange(t *testing.T) {
	t.Parallel()
	p, err := LoadPlatform("", "frr")
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		from, to := drawConfig(t, "from"), drawConfig(t, "to")
		m := &iosModel{blocks: map[string][]string{}}
		feed := func(lines []string) {
			for _, l := range lines {
				if said := m.do(l); said != "" {
					t.Fatalf("%q: %s", l, said)
				}
			}
		}
		d := p.dialect
		feed(d.render(parseConfig(from, nil), 0))
		before := m.String()
		made, err := d.plan(&topology.Node{Name: "r1", Config: to})
		if err != nil {
			t.Fatal(err)
		}
		feed(made.apply)
		if lacks := d.missing(made.apply, m.String()); lacks != nil {
			t.Fatalf("applied, %q lacks in\n%s", lacks, m)
		}
		lines, _, _ := d.between(m.String(), before, attempts{})
		feed(lines)
		if got := m.String(); got != before {
			t.Fatalf("it is\n%s\nwant\n%s", got, before)
		}
	})
}

func drawConfig(t *rapid.T, what string) string {
	var s strings.Builder
	for _, header := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"interface eth1", "interface eth2", "router ospf", "router bgp 1"}), 0, 4, rapid.ID[string]).Draw(t, what) {
		s.WriteString(header + "\n")
		lines := []string{"ip address 10.0.0.1/24", "ip address 10.0.1.1/24", "description x"}
		if header[0] == 'r' {
			lines = []string{"network 10.0.0.0/8 area 0", "network 11.0.0.0/8 area 1"}
		}
		for _, l := range rapid.SliceOfNDistinct(rapid.SampledFrom(lines), 1, 3, rapid.ID[string]).Draw(t, header) {
			s.WriteString(" " + l + "\n")
		}
		s.WriteString("exit\n!\n")
	}
	return s.String()
}
