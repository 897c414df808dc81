package lab

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"activationd/internal/fault"
	"activationd/topology"
)

// lanInventory has five switches: sw1 to sw4 in a ring with a chord, and sw5 in another
// domain.
const lanInventory = `
pools: {d: {ranges: [100-199]}, e: {ranges: [100-199]}}
devices:
  sw1: {platform: cisco_ios, domain: d, connect: 'tcp://192.0.2.1:1'}
  sw2: {platform: cisco_ios, domain: d, connect: 'tcp://192.0.2.1:2'}
  sw3: {platform: cisco_ios, domain: d, connect: 'tcp://192.0.2.1:3'}
  sw4: {platform: cisco_ios, domain: d, connect: 'tcp://192.0.2.1:4'}
  sw5: {platform: cisco_ios, domain: e, connect: 'tcp://192.0.2.1:5'}
  r1: {platform: frr}
  r2: {platform: frr}
  r3: {platform: frr}
  r4: {platform: frr}
  r5: {platform: frr}
wiring:
  - r1:eth1 -- sw1:Gi0/1
  - r1:eth2 -- sw1:Gi0/2
  - r2:eth1 -- sw2:Gi0/1
  - r3:eth1 -- sw3:Gi0/1
  - r3:eth2 -- sw3:Gi0/2
  - r4:eth1 -- sw4:Gi0/1
  - r5:eth1 -- sw5:Gi0/1
trunks: ['sw1:Gi0/8 -- sw2:Gi0/8', 'sw2:Gi0/9 -- sw3:Gi0/9', 'sw3:Gi0/8 -- sw4:Gi0/8', 'sw4:Gi0/9 -- sw1:Gi0/9', 'sw2:Gi0/7 -- sw4:Gi0/7']
`

// lanPlan makes a plan of a LAN with some ends.
func lanPlan(t *testing.T, ends ...string) (*Inventory, map[string]*Platform, *Plan, error) {
	t.Helper()
	inv, err := ParseInventory("i", []byte(lanInventory))
	if err != nil {
		t.Fatal(err)
	}
	platforms, err := inv.Platforms()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	text.WriteString("topology:\n  nodes: {r1: , r2: , r3: , r4: , r5: , lan: {kind: bridge}, more: {kind: bridge}}\n  links:\n  - endpoints: ['lan:x', 'more:x']\n")
	for i, e := range ends {
		fmt.Fprintf(&text, "  - endpoints: ['%s', '%s:p%d']\n", e, []string{"lan", "more"}[i%2], i)
	}
	topo, err := topology.Parse("t", []byte(text.String()), nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Map(inv, platforms, topo, nil)
	if err != nil {
		t.Fatal(err)
	}
	links, err := Route(inv, topo, m)
	if err != nil {
		return nil, nil, nil, err
	}
	for i := range links {
		links[i].VLAN = 117
	}
	p, err := Generate(Input{Inventory: inv, Platforms: platforms, Topology: topo, Mapping: m, Links: links})
	if err != nil {
		t.Fatal(err)
	}
	return inv, platforms, p, nil
}

// TestLAN: one VLAN for all ports of a LAN, on a tree of trunks.
func TestLAN(t *testing.T) {
	for _, tt := range []struct {
		name, ends, trunks, switches string
	}{
		{"on one switch", "r1:eth1 r1:eth2", "", "sw1"},
		{"two", "r1:eth1 r2:eth1", "sw1:Gi0/8 sw2:Gi0/8", "sw1 sw2"},
		{"three in a row", "r1:eth1 r3:eth1 r2:eth1", "sw1:Gi0/8 sw2:Gi0/8 sw2:Gi0/9 sw3:Gi0/9", "sw1 sw2 sw3"},
		{"two on the same", "r3:eth1 r2:eth1 r3:eth2", "sw3:Gi0/9 sw2:Gi0/9", "sw2 sw3"},
		{"the whole ring, which stays open", "r1:eth1 r2:eth1 r3:eth1 r4:eth1", "sw1:Gi0/8 sw2:Gi0/8 sw2:Gi0/9 sw3:Gi0/9 sw1:Gi0/9 sw4:Gi0/9", "sw1 sw2 sw3 sw4"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ends := strings.Fields(tt.ends)
			inv, platforms, p, err := lanPlan(t, ends...)
			if err != nil {
				t.Fatal(err)
			}
			if len(p.Links) != 1 || p.Links[0].Name != strings.Join(ends, " -- ") || len(p.Links[0].AccessPorts) != len(ends) {
				t.Fatalf("the links are %+v", p.Links)
			}
			var trunks, switches []string
			for _, port := range p.Links[0].TrunkPorts {
				trunks = append(trunks, port.String())
			}
			for _, d := range p.Devices {
				switches = append(switches, d.Name)
				if n := strings.Count(strings.Join(d.Apply, "\n")+"\n", "vlan 117\n name"); n > 1 {
					t.Errorf("%s defines it %d times: %q", d.Name, n, d.Apply)
				}
				define := slices.Index(d.Apply, "vlan 117")
				remove := slices.Index(d.Undo, "no vlan 117")
				if define != 0 || remove != len(d.Undo)-1 {
					t.Errorf("%s: the definition is line %d of %q, its undoing line %d of %q", d.Name, define, d.Apply, remove, d.Undo)
				}
			}
			if got := strings.Join(trunks, " "); got != tt.trunks {
				t.Errorf("the trunks are %s, want %s", got, tt.trunks)
			}
			if got := strings.Join(switches, " "); got != tt.switches {
				t.Errorf("the switches are %s, want %s", got, tt.switches)
			}
			// The lease names the ends: drift expects the VLAN on the same ports, and on no
			// others.
			want, err := inv.expected([]Lease{{Domain: "d", ID: 117, Link: p.Links[0].Name, Holder: "1@a"}})
			if err != nil {
				t.Fatal(err)
			}
			var found []Port
			for _, es := range want {
				for _, e := range es {
					if len(e.ids) > 0 {
						found = append(found, e.port)
					}
				}
			}
			if ports := slices.Concat(p.Links[0].AccessPorts, p.Links[0].TrunkPorts); len(found) != len(ports) || slices.ContainsFunc(ports, func(p Port) bool { return !slices.Contains(found, p) }) {
				t.Errorf("drift wants it on %v, want %v", found, ports)
			}
			// A kept plan has all of it.
			dir := t.TempDir()
			if err := WritePlan(dir, p, platforms); err != nil {
				t.Fatal(err)
			}
			kept, _, err := ReadPlan(dir)
			if err != nil || len(kept.Links) != 1 || !slices.Equal(kept.Links[0].AccessPorts, p.Links[0].AccessPorts) {
				t.Errorf("kept is %+v, %v", kept, err)
			}
		})
	}
}

// TestLANFaults: a LAN that is not possible is one message, with its ends.
func TestLANFaults(t *testing.T) {
	for _, tt := range []struct {
		ends []string
		want string
	}{
		{[]string{"r1:eth1", "r5:eth1", "r2:eth1"}, "the LAN lan, more (line 2): its ends are in several domains, but a VLAN belongs to one: d has r1:eth1 (on sw1), r2:eth1 (on sw2); e has r5:eth1 (on sw5): invalid"},
		{[]string{"r1:eth1", "r1:eth8", "r2:eth9"}, "the LAN lan, more (line 2): r1:eth8 is plugged into no switch; its wired interfaces are: eth1, eth2; r2:eth9 is plugged into no switch; its wired interfaces are: eth1: invalid"},
	} {
		if _, _, _, err := lanPlan(t, tt.ends...); !errors.Is(err, fault.Invalid) || err.Error() != tt.want {
			t.Errorf("%v: %v, want %s", tt.ends, err, tt.want)
		}
	}
}

// TestLANTooLarge: the daemon must accept the name for which a LAN's VLAN is leased.
func TestLANTooLarge(t *testing.T) {
	var devices, wiring, links strings.Builder
	for i := range 300 {
		fmt.Fprintf(&devices, "  router-%d: {platform: frr}\n", i)
		fmt.Fprintf(&wiring, "  - router-%d:eth1 -- sw:p%d\n", i, i)
		fmt.Fprintf(&links, "    - endpoints: ['router-%d:eth1', 'lan:p%d']\n", i, i)
	}
	inv, err := ParseInventory("i", []byte("pools: {d: {ranges: [2-9]}}\ndevices:\n  sw: {platform: openvswitch, domain: d, connect: 'tcp://192.0.2.1:1'}\n"+devices.String()+"wiring:\n"+wiring.String()))
	if err != nil {
		t.Fatal(err)
	}
	platforms, err := inv.Platforms()
	if err != nil {
		t.Fatal(err)
	}
	topo, err := topology.Parse("t", []byte("topology:\n  nodes:\n    lan: {kind: bridge}\n"+strings.ReplaceAll(strings.ReplaceAll(devices.String(), "  router", "    router"), "{platform: frr}", "")+"  links:\n"+links.String()), nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Map(inv, platforms, topo, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Route(inv, topo, m); !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "the LAN lan (line 3): has 300 interfaces, and their names together have more than 4096 bytes") {
		t.Errorf("it is %.300v", err)
	}
}
