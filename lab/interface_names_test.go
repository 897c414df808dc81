package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"activationd/internal/fault"
	"activationd/topology"
)

// TestOneInterface: the names in each line mean one interface, and names in different lines
// mean different ones. The text behind an @ is the kind of the topology's node that uses the
// name.
func TestOneInterface(t *testing.T) {
	for _, tt := range []struct {
		platform string
		same     []string
	}{
		{"cisco_ios", []string{
			"Gi0/2 gi0/2 GigabitEthernet0/2 gigabitethernet0/2 GIG0/2 g0/2 Gi0/02 Gi0/2@cisco_iol",
			"GigabitEthernet0/20 Gi0/20",
			"Gi1/0/2 GigabitEthernet1/0/2 eth2@cisco_cat9kv Gi1/0/2@cisco_cat9kv",
			"Gi2 GigabitEthernet2 eth1@cisco_csr1000v eth1@vr-csr eth1@vr-cisco_csr1000v eth1@cisco_c8000v eth3@cisco_vios Gi2@cisco_csr1000v",
			"Gi0 GigabitEthernet0 eth1@cisco_vios",
			"Et0/1 Ethernet0/1 e0/1 eth1@cisco_iol e0/1@cisco_iol Ethernet0/1@cisco_iol",
			"Ethernet1/0 eth4@cisco_iol",
			"Fa0/1 FastEthernet0/1 f0/1",
			"Tw1/0/1 TwoGigabitEthernet1/0/1 twog1/0/1",
			"Twe1/0/1 TwentyFiveGigE1/0/1",
			"Fi1/0/1 FiveGigabitEthernet1/0/1",
			"Fif1/0/1 FiftyGigE1/0/1",
			"Fo1/0/1 FortyGigabitEthernet1/0/1",
			"Fou1/0/1 FourHundredGigE1/0/1",
			"Te1/0/1 TenGigabitEthernet1/0/1 Ten1/0/1",
			"Hu1/0/1 HundredGigE1/0/1",
			"Ap1/0/1 AppGigabitEthernet1/0/1",
			"Po1 Port-channel1 port-channel1 PO1",
			"Gi0/2.100 GigabitEthernet0/2.100",
			"Se0/0/0 Serial0/0/0 s0/0/0",
			"T1/0/1", // it may be any of three
			"SM1/1 sm1/1",
			"eth0@cisco_vios", // computes to less than nothing
		}},
		{"arista_eos", []string{
			"Et1 et1 eth1 Ethernet1 ETHERNET1 eth1@arista_ceos et1@ceos Ethernet1@arista_veos",
			"Et1/1 Ethernet1/1 eth1_1 et1_1 eth1_1@ceos eth1@arista_veos eth1@vr-veos eth1@vr-arista_veos",
			"Et1/1/1 Ethernet1/1/1 eth1_1_1",
			"Ma1 Management1",
			"Po1 Port-Channel1 port-channel1",
			"Et1.1 Ethernet1.1",
		}},
		{"nokia_srlinux", []string{
			"ethernet-1/1 e1-1 e1-1@nokia_srlinux ethernet-1/1@srl",
			"ethernet-1/1/1 e1-1-1 e1-1-1@srl",
			"ethernet-2/11 e2-11",
			"mgmt0 mgmt0@srl",
		}},
		{"cisco_nxos", []string{
			"Eth1/1 Et1/1 Ethernet1/1 ethernet1/1 eth1@cisco_n9kv eth1@vr-n9kv eth1@vr-cisco_n9kv Et1/1@cisco_n9kv",
			"Eth1/1/1 Ethernet1/1/1",
			"Eth101/1/1 Ethernet101/1/1",
			"Po1 port-channel1 Port-Channel1",
			"Eth1/1.10 Ethernet1/1.10",
			"mgmt0 Mgmt0",
			"Lo1 loopback1",
		}},
		{"aruba_aoss", []string{"A1 a1", "1", "11", "1/1", "1/A1 1/a1", "Trk1 trk1", "Trk11"}},
		{"juniper_junos", []string{
			"ge-0/0/1 xe-0/0/1 et-0/0/1 ge-0/0/1.0 eth2@juniper_vmx xe-0/0/1@juniper_vmx eth2@vr-vqfx eth2@juniper_vsrx eth2@juniper_csrx eth2@juniper_vjunosrouter eth2@juniper_vjunosswitch eth2@juniper_vjunosevolved eth5@cjunosevolved",
			"ge-0/0/11",
			"GE-0/0/1", // Junos takes small letters only
			"xe-0/0/1:2 et-0/0/1:2.0",
			"ge-0/0/1.100",
			"eth2 eth2@juniper_crpd eth2@crpd",
			"ae0 ae0.0",
			"eth0@juniper_vmx",
		}},
		{"cisco_nxos", []string{
			"Eth1/1 Et1/1 Ethernet1/1 ethernet1/1 e1/1 eth1@cisco_n9kv eth1@vr-n9kv eth1@vr-cisco_n9kv",
			"Eth1/1/1 Et1/1/1 Ethernet1/1/1",
			"Po10 port-channel10 Port-channel10",
			"mgmt0 Mgmt0",
		}},
		{"aruba_aoss", []string{"A1 a1", "Trk1 trk1", "1", "1/1", "1/11", "1/A1 1/a1"}},
		{"nokia_srlinux", []string{
			"ethernet-1/1 e1-1 e1-1@nokia_srlinux ethernet-1/1@srl",
			"ethernet-1/1/2 e1-1-2 e1-1-2@srl",
			"ethernet-1/11 e1-11",
			"Ethernet-1/1",
			"lag1",
			"mgmt0",
		}},
		{"frr", []string{"eth1 eth1@linux", "Eth1", "eth01", "et1", "eth1.1"}},
		{"linux", []string{"eth1", "eth10", "ETH1"}},
		{"openvswitch", []string{"p1", "P1"}},
		{"embedded", []string{"eth1", "Eth1"}},
	} {
		n := readInterfaces("", tt.platform)
		is := map[string]string{} // by identity, the first name of it
		for _, names := range tt.same {
			first, _, _ := strings.Cut(names, " ")
			want := ""
			for _, name := range strings.Fields(names) {
				name, kind, _ := strings.Cut(name, "@")
				got := n.identity(kind, name)
				if want == "" {
					want = got
				}
				if got != want {
					t.Errorf("%s: %s of kind %q is %s, and %s is %s", tt.platform, name, kind, got, first, want)
				}
			}
			if other, ok := is[want]; ok {
				t.Errorf("%s: %s and %s are one", tt.platform, other, first)
			}
			is[want] = first
		}
	}
}

// TestAbbreviations: the beginning of a word means the word if no other word begins with it.
// Otherwise, or if it is unknown, it is a name of its own. The name that another one stands
// for stands for itself.
func TestAbbreviations(t *testing.T) {
	for _, platform := range BuiltInPlatforms() {
		p, err := LoadPlatform("", platform)
		if err != nil {
			t.Fatal(err)
		}
		n := p.dialect.names
		if n == nil {
			continue
		}
		for _, a := range n.aliases {
			for _, k := range a.kinds {
				if !slices.Contains(p.Kinds, k) {
					t.Errorf("%s: an alias is of kind %s, which it does not serve", platform, k)
				}
			}
		}
		for _, w := range n.words {
			for i := 2; i <= len(w); i++ {
				short := w[:i] + "1/2"
				var words []string
				for _, o := range n.words {
					if strings.HasPrefix(strings.ToLower(o), strings.ToLower(w[:i])) {
						words = append(words, o)
					}
				}
				want := short
				switch {
				case len(words) == 1 || i == len(w):
					want = w + "1/2"
				case n.alias("", short) != short: // as the devices show it
					want = n.alias("", short)
				}
				if got := n.identity("", short); got != ifElse(n.ignoreCase, strings.ToLower(want), want) {
					t.Errorf("%s: %s is %s, want %s", platform, short, got, want)
				}
				if may := n.ambiguous(short); (may != "") != (want == short && i < len(w)) {
					t.Errorf("%s: %s may be %q", platform, short, may)
				}
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		platform := rapid.SampledFrom(BuiltInPlatforms()).Draw(t, "platform")
		n := readInterfaces("", platform)
		kinds := []string{""}
		parts := []string{"eth", "et", "e", "Gi", "ge-", "xe-", "ethernet-", ".", "/", "-", "_", ":", " ", "0", "00", "7", "12"}
		if n != nil {
			parts = append(parts, n.words...)
			for _, a := range n.aliases {
				kinds = append(kinds, a.kinds...)
			}
		}
		kind := rapid.SampledFrom(kinds).Draw(t, "kind")
		name := strings.Join(rapid.SliceOfN(rapid.SampledFrom(parts), 1, 6).Draw(t, "name"), "")
		if one := n.identity(kind, name); n.identity("", one) != one {
			t.Errorf("%s, kind %s: %s is %s, and that is %s", platform, kind, name, one, n.identity("", one))
		}
	})
}

// TestZerosInNames: a device shows a port's name without leading zeros, however the
// inventory writes it.
func TestZerosInNames(t *testing.T) {
	for platform, names := range map[string][2]string{
		"cisco_ios": {"Gi0/02", "GigabitEthernet0/2"}, "cisco_nxos": {"Eth1/02", "Ethernet1/2"}, "arista_eos": {"Et02", "Et2"}, "aruba_aoss": {"02", "02"},
	} {
		n := readInterfaces("", platform)
		form, err := wholeLine(n.anyFormOf(names[0]))
		if err != nil {
			t.Fatal(err)
		}
		for _, shown := range names {
			if !form.MatchString(shown) {
				t.Errorf("%s: the checks of %s do not find %s", platform, names[0], shown)
			}
		}
		for _, other := range []string{names[1] + "0", names[1] + "2", names[0] + "0"} {
			if form.MatchString(other) {
				t.Errorf("%s: the checks of %s take %s for it", platform, names[0], other)
			}
		}
	}
}

// twoNames is an inventory with wires on a switch of a platform, from line 9 on.
func twoNames(dir, platform string, wiring ...string) []byte {
	return fmt.Appendf(nil, `pools: {d: {ranges: [100-199]}}
templates: %s
devices:
  sw: {platform: %s, domain: d, connect: 'tcp://192.0.2.1:1'}
  tw: {platform: openvswitch, domain: d, connect: 'tcp://192.0.2.1:2'}
  r1: {platform: arista_eos}
  h1: {platform: linux}
wiring:
  - %s
`, dir, platform, strings.Join(wiring, "\n  - "))
}

// TestOnePortTwice: an interface that the inventory has twice, under any names, is refused
// with both lines.
func TestOnePortTwice(t *testing.T) {
	own := t.TempDir()
	for name, text := range map[string]string{"silent": "dialog: cisco_ios\n", "doubtful": "dialog: cisco_ios\ninterfaces: {words: [GigEthernet, GigaEthernet]}\n"} {
		if err := os.WriteFile(filepath.Join(own, name+".yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name, platform string
		wires          []string
		want           string
	}{
		{"wired twice", "cisco_ios", []string{"h1:eth1 -- sw:Gi0/2", "h1:eth2 -- sw:GigabitEthernet0/2"}, `i:10: sw:GigabitEthernet0/2: is in use by "h1:eth1 -- sw:Gi0/2", on line 9`},
		{"small letters", "cisco_ios", []string{"h1:eth1 -- sw:GigabitEthernet0/2", "h1:eth2 -- sw:gigabitethernet0/2"}, `i:10: sw:gigabitethernet0/2: is in use by`},
		{"wired, and a trunk", "arista_eos", []string{"h1:eth1 -- sw:Et1", "h1:eth2 -- sw:Et2\ntrunks:\n  - sw:eth1 -- tw:p1"}, `i:12: sw:eth1: is in use by "h1:eth1 -- sw:Et1", on line 9`},
		{"two trunks", "juniper_junos", []string{"h1:eth1 -- sw:ge-0/0/1\ntrunks:", "sw:ge-0/0/2 -- tw:p1", "sw:xe-0/0/2.0 -- tw:p2"}, "i:12: sw:xe-0/0/2.0: is in use by"},
		{"a device's interface", "openvswitch", []string{"r1:Et1 -- sw:p1", "r1:Ethernet1 -- sw:p2"}, `i:10: r1:Ethernet1: is in use by "r1:Et1 -- sw:p1", on line 9`},
		{"other ports", "cisco_ios", []string{"h1:eth1 -- sw:Gi0/2", "h1:eth2 -- sw:Gi0/20", "h1:Eth1 -- sw:Te0/2", "r1:Et1 -- sw:Tw0/2", "r1:Et2 -- sw:Twe0/2"}, ""},
		{"a platform that says nothing", "silent", []string{"h1:eth1 -- sw:Gi0/2", "h1:eth2 -- sw:GigabitEthernet0/2"}, ""},
		{"one of several", "doubtful", []string{"h1:eth1 -- sw:Gi1"}, "i:9: sw:Gi1: may be GigEthernet1 or GigaEthernet1; write more of the name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseInventory("i", twoNames(own, tt.platform, tt.wires...))
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("it is %v, want %q", err, tt.want)
			}
		})
	}
}

// TestForeignNames: a foreign name in the inventory is not sent to the device.
func TestForeignNames(t *testing.T) {
	for _, tt := range []struct{ platform, name, want string }{
		{"nokia_srlinux", "e1-1", "ethernet-1/1"},
		{"nokia_srlinux", "e1-1-2", "ethernet-1/1/2"},
		{"arista_eos", "eth1_2", "Ethernet1/2"},
		{"arista_eos", "ET1_2_3", "Ethernet1/2/3"},
		{"arista_eos", "et1", "et1"},
		{"juniper_junos", "xe-0/0/1.0", "xe-0/0/1"},
		{"juniper_junos", "et-0/0/1:2.0", "et-0/0/1:2"},
		{"juniper_junos", "xe-0/0/1.100", "xe-0/0/1.100"},
		{"cisco_ios", "gi0/1", "gi0/1"},
	} {
		inv, err := ParseInventory("i", twoNames("x", tt.platform, "h1:eth1 -- sw:"+tt.name, "h1:eth2 -- sw:p2\ntrunks:\n  - tw:t1 -- sw:p3"))
		if err != nil {
			t.Errorf("%s: %v", tt.platform, err)
		} else if got := inv.Wiring[0].B.Name; got != tt.want {
			t.Errorf("%s is sent %s for %s, want %s", tt.platform, got, tt.name, tt.want)
		}
	}
}

// TestInterfacesOfTopologies: one inventory serves topologies that have other names for its
// interfaces. The plan has the names of the inventory.
func TestInterfacesOfTopologies(t *testing.T) {
	inv, err := ParseInventory("i", []byte(`
pools: {d: {ranges: [100-199]}}
devices:
  sw: {platform: openvswitch, domain: d, connect: 'tcp://192.0.2.1:1'}
  e1: {platform: arista_eos}
  c1: {platform: cisco_ios}
  j1: {platform: juniper_junos}
  l1: {platform: frr}
wiring: ['e1:Ethernet1 -- sw:p1', 'e1:Ethernet1/2 -- sw:p2', 'c1:Gi2 -- sw:p3', 'c1:Ethernet0/1 -- sw:p8', 'c1:Ethernet0/2 -- sw:p4', 'c1:eth3 -- sw:p5', 'j1:xe-0/0/1 -- sw:p6', 'l1:eth1 -- sw:p7']
`))
	if err != nil {
		t.Fatal(err)
	}
	platforms, err := inv.Platforms()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, kinds, links, want string }{
		{"as cEOS calls them", "e1: {kind: ceos}", "[e1:eth1, l1:eth1]", "e1:Ethernet1 -- l1:eth1"},
		{"by a node's own name", "x: {kind: arista_ceos}", "[x:et1_2, l1:eth1]", "e1:Ethernet1/2 -- l1:eth1"},
		{"of a kind with slots", "x: {kind: arista_veos}", "[l1:eth1, x:eth2]", "l1:eth1 -- e1:Ethernet1/2"},
		{"counted from the second", "c1: {kind: cisco_csr1000v}", "[c1:eth1, l1:eth1]", "c1:Gi2 -- l1:eth1"},
		{"four to a slot", "c1: {kind: cisco_iol}", "[c1:eth2, l1:eth1]", "c1:Ethernet0/2 -- l1:eth1"},
		{"a name that the inventory has, before all else", "c1: {kind: cisco_csr1000v}", "[c1:eth3, l1:eth1]", "c1:eth3 -- l1:eth1"},
		{"of another speed", "j1: {kind: juniper_vmx}", "[j1:ge-0/0/1, l1:eth1]", "j1:xe-0/0/1 -- l1:eth1"},
		{"counted from nought", "j1: {kind: juniper_vmx}", "[j1:eth2, l1:eth1]", "j1:xe-0/0/1 -- l1:eth1"},
		{"of no kind, if one comes into question", "j1: ", "[j1:eth2, l1:eth1]", "j1:xe-0/0/1 -- l1:eth1"},
		{"of no kind, if one of several is there", "c1: ", "[c1:eth2, l1:eth1]", "c1:Ethernet0/2 -- l1:eth1"},
		{"of no kind, if two are there", "c1: ", "[c1:eth1, l1:eth1]", "c1:eth1 is plugged into no switch; its wired interfaces are: Ethernet0/1, Ethernet0/2, Gi2, eth3"},
		{"not there", "e1: {kind: ceos}", "[e1:eth7, l1:eth1]", "e1:eth7 is plugged into no switch; its wired interfaces are: Ethernet1, Ethernet1/2"},
		{"not there, of a kind", "j1: {kind: juniper_crpd}", "[j1:eth2, l1:eth1]", "j1:eth2 is plugged into no switch"},
		{"one twice", "e1: {kind: ceos}", "[e1:eth1, l1:eth1]}, {endpoints: [e1:Et1, e1:eth1_2]", "the link e1:Et1 -- e1:eth1_2 (line 3): e1:Et1 is e1:Ethernet1, which has a link already, on line 3"},
		{"one with itself", "e1: {kind: ceos}", "[e1:eth1, e1:Et1]", "e1:Et1 is e1:Ethernet1, which has a link already, on line 3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := "topology:\n  nodes: {" + tt.kinds + ", l1: {kind: linux}}\n  links: [{endpoints: " + tt.links + "}]\n"
			topo, err := topology.Parse("t", []byte(text), nil)
			if err != nil {
				t.Fatal(err)
			}
			m, err := Map(inv, platforms, topo, nil)
			if err != nil {
				t.Fatal(err)
			}
			links, err := Route(inv, topo, m)
			switch {
			case errors.Is(err, fault.Invalid) && strings.Contains(err.Error(), tt.want):
			case err != nil || len(links) != 1 || links[0].Name != tt.want:
				t.Errorf("it is %v, %v, want %q", links, err, tt.want)
			}
		})
	}
}

// TestLeaseOfOldNames: a lease for interfaces whose names in the inventory have changed is
// found on their ports.
func TestLeaseOfOldNames(t *testing.T) {
	inv, err := ParseInventory("i", twoNames(t.TempDir(), "cisco_ios", "r1:Ethernet1 -- sw:Gi0/1", "h1:eth1 -- sw:Gi0/2"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := inv.expected([]Lease{{Domain: "d", Link: "r1:eth1 -- h1:eth1", Holder: "1@a", ID: 100}})
	if err != nil || len(want["sw"]) != 2 || len(want["sw"][0].ids) != 1 || len(want["sw"][1].ids) != 1 {
		t.Errorf("there should be %v, %v", want["sw"], err)
	}
}

// TestInterfacesFaults: faults of a platform's names are reported with their lines.
func TestInterfacesFaults(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"wrods: []", "wrods: unknown key"},
		{"words: [eth1]", `"eth1": must be letters`},
		{"aliases: [{name: 'ge-{n}'}]", "must have name and also"},
		{"aliases: [{name: 'ge-{m}', also: ['eth{n}']}]", "{m}: is not in eth{n}"},
		{"aliases: [{name: 'ge-{n}', also: ['eth{n+1}']}]", "also: eth{n+1}: the numbers in it are {a} to {z}"},
		{"aliases: [{name: 'ge-{n}', also: ['eth{n}/{n}']}]", "each once"},
		{"aliases: [{name: 'ge-{n}', also: ['xe-{n}']}, {name: 'xe-{n}', also: ['et-{n}']}]", "xe-{n} is an alias itself"},
		{"aliases: [{name: 'ge-{n}', also: ['xe-{n}'], kinds: [a b]}]", "a name has letters"},
		{"aliases: [{name: 'ge-{n}', also: ['xe-{n}'], kinds: [ab], foreign: true}]", "forms with kinds are always foreign"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "mine.yaml"), []byte("dialog: cisco_ios\ninterfaces:\n  "+tt.text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadPlatform(dir, "mine"); !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "mine.yaml:") || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: it is %v, want %q", tt.text, err, tt.want)
		}
	}
}

// TestInterfacesOfConfigurations: a startup-config may have another name for an interface than
// the device shows. The interface is found, undone and protected all the same.
func TestInterfacesOfConfigurations(t *testing.T) {
	for _, tt := range []struct{ platform, config, running, undo, access string }{
		{"cisco_ios", "int gi 0/1\n ip address 10.0.0.1 255.255.255.0\n", "interface GigabitEthernet0/1\n ip address 10.0.0.1 255.255.255.0\nend\n", "interface GigabitEthernet0/1\n no ip address 10.0.0.1 255.255.255.0\n exit", ""},
		{"cisco_ios", "interface lo7\n description x\n", "interface Loopback7\n description x\nend\n", "no interface Loopback7", ""},
		{"cisco_ios", "interface g0\n shutdown\n", "interface GigabitEthernet0\n shutdown\nend\n", "interface GigabitEthernet0\n no shutdown\n exit", "interface GigabitEthernet0 / shutdown"},
		{"arista_eos", "interface ma1\n shutdown\n", "interface Management1\n   shutdown\nend\n", "interface Management1\n no shutdown\n exit", "interface Management1 / shutdown"},
		{"arista_eos", "interface Vlan 10\n shutdown\n", "interface Vlan10\n   shutdown\nend\n", "no interface Vlan10", ""},
		{"frr", "interface Eth1\n description x\n", "interface Eth1\n description x\nend\n", "interface Eth1\n no description\n exit", ""},
	} {
		p, err := LoadPlatform("", tt.platform)
		if err != nil {
			t.Fatal(err)
		}
		made, err := p.dialect.plan(&topology.Node{Name: "r1", Config: tt.config})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(made.undo, "\n"); got != tt.undo {
			t.Errorf("%s: %q is undone by %q, want %q", tt.platform, tt.config, got, tt.undo)
		}
		if lack := p.dialect.missing(made.apply, tt.running); lack != nil {
			t.Errorf("%s: of %q there is no %q in %q", tt.platform, tt.config, lack, tt.running)
		}
		if got := strings.Join(p.dialect.accessPath(tt.config, Access{Connect: "ssh://host"}), "\n"); got != tt.access {
			t.Errorf("%s: %q changes the way by %q, want %q", tt.platform, tt.config, got, tt.access)
		}
	}
	p, err := LoadPlatform("", "cisco_ios")
	if err != nil {
		t.Fatal(err)
	}
	err = p.dialect.reachable(&DevicePlan{Name: "r1", Apply: []string{"interface g0/1", " shutdown"}, Access: Access{Connect: "ssh://192.0.2.7"}},
		"interface GigabitEthernet0/1\n ip address 192.0.2.7 255.255.255.0\nend\n")
	if !errors.Is(err, fault.Conflict) {
		t.Errorf("what changes the interface with the address is %v", err)
	}
}

// FuzzInterfaces: the names of a platform are read or refused, and the case of letters does
// not count if the platform says so.
func FuzzInterfaces(f *testing.F) {
	f.Add([]byte("ignore_case: true\nwords: [Ethernet]\naliases: [{name: 'ge-{a}/{b}', also: ['x{a}_{b}', 'e{a}{*}'], kinds: [k]}]"), "e1/2")
	f.Add([]byte("aliases: [{name: 'ge-{a/4}/{a%4}', also: ['x{a}']}]"), "x17")
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		r := &reader{}
		root := r.Root(data)
		if root == nil {
			return
		}
		n := r.interfaces(root)
		if checkPort(name) != nil {
			return
		}
		for _, kind := range []string{"", "k"} {
			if a, b := n.identity(kind, name), n.identity(kind, strings.ToUpper(name)); a != b && n.ignoreCase {
				t.Errorf("%q is %q, and in capital letters %q", name, a, b)
			}
		}
		n.ambiguous(name)
		n.header("interface " + name)
	})
}
