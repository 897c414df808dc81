package lab

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"activationd/topology"
)

// takenOff applies a startup-config to a model and undoes it by comparing, reading the device
// again after each turn. It returns what was sent, and the differences that remain.
func takenOff(t rapid.TB, platform string, m model, config string) (sent, left []string) {
	t.Helper()
	p, err := LoadPlatform("", platform)
	if err != nil {
		t.Fatal(err)
	}
	d := &p.dialect
	leave := func() { m.(interface{ leave() }).leave() }
	made, err := d.plan(&topology.Node{Name: "n1", Config: config, ConfigLine: 1})
	if err != nil {
		t.Fatal(err)
	}
	was := m.String()
	for _, l := range made.apply {
		if said := m.do(l); said != "" {
			t.Fatalf("%q: %s\nin\n%s", l, said, m)
		}
	}
	leave()
	if lacks := d.missing(made.apply, m.String()); lacks != nil {
		t.Errorf("applied, %q lacks in\n%s", lacks, m)
	}
	tried := attempts{}
	for range 20 {
		lines, differs, _ := d.between(m.String(), was, tried)
		left = differs
		if len(lines) == 0 {
			break
		}
		for _, l := range lines {
			_ = m.do(l) // what is refused is tried in another way, or is gone
			sent = append(sent, strings.TrimSpace(l))
		}
		leave()
	}
	if is := m.String(); left == nil && is != was {
		t.Errorf("it is\n%s\nwas\n%s\nsent was %q", is, was, sent)
	}
	return sent, left
}

// newNexus and newProCurve return devices to which some lines were applied.
func newNexus(t rapid.TB, lines ...string) *nxosModel {
	m := newNXOS()
	m.solder("Ethernet1/1", "Ethernet1/2", "mgmt0")
	feed(t, m, lines)
	return m
}

func newProCurve(t rapid.TB, lines ...string) *aossModel {
	m := newAOSS("1", "2", "3", "4", "A1", "A2", "A3")
	feed(t, m, lines)
	return m
}

func feed(t rapid.TB, m model, lines []string) {
	t.Helper()
	for _, l := range lines {
		if said := m.do(l); said != "" {
			t.Fatalf("%q: %s", l, said)
		}
	}
	m.(interface{ leave() }).leave()
}

// TestTakenOffNXOS: what a Nexus does by itself, when a feature is turned on or off, a port
// becomes a router's port, or a user is added, is undone too. What was there before stays.
func TestTakenOffNXOS(t *testing.T) {
	for _, tt := range []struct{ name, before, config, sent, left string }{
		{"a port of the switch for a router's", "interface Ethernet1/1/switchport access vlan 20/description spare", "interface Ethernet1/1\n  no switchport\n  ip address 10.0.0.1/24\n  no shutdown\n",
			"interface Ethernet1/1/no ip address 10.0.0.1/24/shutdown/switchport/switchport access vlan 20/exit/interface Ethernet1/1/no shutdown/exit", ""},
		{"a feature, and what needs it", "", "feature ospf\nfeature interface-vlan\ninterface Vlan10\n  ip address 10.0.0.1/24\nrouter ospf 1\n  router-id 1.1.1.1\n",
			"no router ospf 1/no interface Vlan10/no feature ospf/no feature interface-vlan", ""},
		{"a feature that was there before", "feature ospf/router ospf 1/router-id 1.1.1.1", "feature ospf\nrouter ospf 1\n  router-id 2.2.2.2\n", "router ospf 1/router-id 1.1.1.1/exit", ""},
		{"a user, and SNMP's", "", "username ada password 5 $5$y role network-operator\n",
			"no snmp-server user ada network-operator auth md5 0x616461 priv 0x616461 localizedkey/no username ada", ""},
		{"VLANs", "vlan 10,20-22", "vlan 10,21-23\nvlan 23\n  name left\n", "no vlan 23", ""},
		{"a trunk's list", "interface Ethernet1/1/switchport trunk allowed vlan 10,20", "interface Ethernet1/1\n  switchport mode trunk\n  switchport trunk allowed vlan 10,20-30\n",
			"interface Ethernet1/1/no switchport mode trunk/switchport trunk allowed vlan 10,20/exit", ""},
		{"a list by its numbers", "ip access-list EDGE/10 permit tcp any any eq 22/30 deny ip any any", "ip access-list EDGE\n  10 permit tcp any any eq 23\n  20 permit icmp any any\n",
			"ip access-list EDGE/no 20/no 10/10 permit tcp any any eq 22/exit", ""},
		{"modes with nothing in them", "feature bgp", "router bgp 65001\n  vrf RED\n    neighbor 10.0.0.1\n      remote-as 2\n      address-family ipv4 unicast\n  neighbor 10.9.9.9\n    address-family ipv4 unicast\n    remote-as 3\n",
			"no router bgp 65001", ""},
		{"a name", "hostname sw1", "hostname lab-a\n", "hostname sw1", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var before []string
			if tt.before != "" {
				before = strings.Split(strings.ReplaceAll(strings.ReplaceAll(tt.before, "Ethernet1/", "Ethernet1\x00"), "/", "\n"), "\n")
			}
			for i, l := range before {
				before[i] = strings.ReplaceAll(l, "\x00", "/")
			}
			sent, left := takenOff(t, "cisco_nxos", newNexus(t, before...), tt.config)
			if got := strings.Join(sent, "/"); got != tt.sent || strings.Join(left, "; ") != tt.left {
				t.Errorf("sent is\n%s, want\n%s; left is %q", got, tt.sent, left)
			}
		})
	}
}

// TestTakenOffAOSS: a ProCurve's ports return to the VLANs in which they were.
func TestTakenOffAOSS(t *testing.T) {
	for _, tt := range []struct{ name, before, config, sent string }{
		{"ports of the default VLAN", "", "vlan 1\n   name \"DEFAULT_VLAN\"\n   no untagged 2-3\n   untagged 1,4,A1-A3\n   exit\nvlan 100\n   name \"left\"\n   untagged 2-3\n   tagged A1-A2\n   exit\n", "no vlan 100/vlan 1/untagged 2/untagged 3/exit"},
		{"a port of another VLAN", "vlan 200;untagged 2-3,A1;exit", "vlan 100\n   untagged 3,A1\n   exit\nvlan 200\n   tagged A1\n   exit\n",
			"vlan 200/no tagged A1/untagged 3/untagged A1/exit/no vlan 100"},
		{"a port that is up", "interface 2;disable;name old;exit", "interface 2\n   name \"new\"\n   exit\n", "interface 2/name old/exit"},
		{"a port that is down", "", "interface 2\n   disable\n   name \"new\"\n   exit\n", "interface 2/no name/enable/exit"},
		{"an address", "vlan 200;ip address 10.0.0.1 255.255.255.0;exit", "vlan 200\n   ip address 10.0.0.2 255.255.255.0\n   exit\n", "vlan 200/ip address 10.0.0.1 255.255.255.0/exit"},
		{"a trunk", "vlan 200;untagged 2;exit", "trunk 3-4 trk1 lacp\nvlan 200\n   tagged Trk1\n   exit\n", "vlan 200/no tagged Trk1/exit/vlan 1/no untagged Trk1/untagged 3/untagged 4/exit/no trunk 3-4"},
		{"a name and the rest", "ip default-gateway 10.0.0.254", "hostname \"lab-a\"\nip default-gateway 10.0.0.253\nspanning-tree\n", `no spanning-tree/hostname "HP-2920-24G"/ip default-gateway 10.0.0.254`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var before []string
			if tt.before != "" {
				before = strings.Split(tt.before, ";")
			}
			sent, left := takenOff(t, "aruba_aoss", newProCurve(t, before...), tt.config)
			if got := strings.Join(sent, "/"); got != tt.sent || left != nil {
				t.Errorf("sent is\n%s, want\n%s; left is %q", got, tt.sent, left)
			}
		})
	}
}

// drawBlocks draws lines of some of the blocks. The first lines of a block are its header and
// the lines that it always has.
func drawBlocks(t *rapid.T, what string, blocks map[string][]string) (lines []string) {
	for _, header := range rapid.SliceOfNDistinct(rapid.SampledFrom(sortedKeys(blocks)), 0, 5, rapid.ID[string]).Draw(t, what) {
		lines = append(lines, strings.Split(header, "/")...)
		if some := blocks[header]; len(some) > 0 {
			for _, l := range rapid.SliceOfNDistinct(rapid.SampledFrom(some), 0, len(some), rapid.ID[string]).Draw(t, header) {
				lines = append(lines, "  "+l)
			}
			lines = append(lines, "  exit")
		}
	}
	return lines
}

func sortedKeys(m map[string][]string) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// TestNXOSComesBack: whatever a Nexus had, and whatever was applied, undoing restores the
// previous state.
func TestNXOSComesBack(t *testing.T) {
	features := []string{"feature ospf", "feature bgp", "feature interface-vlan"}
	blocks := func(k int) map[string][]string {
		n := fmt.Sprint(k)
		return map[string][]string{
			"interface Ethernet1|1":  {"description d" + n, "mtu " + n + "000", "switchport mode trunk", "switchport access vlan " + n, "switchport trunk allowed vlan " + n + "-20"},
			"interface Ethernet1|2":  {"no switchport", "description d" + n, "no shutdown"},
			"interface loopback" + n: {"ip address 10.255.0." + n + "|32", "description d"},
			"interface loopback9":    {"ip address 10.255.1." + n + "|32", "description d" + n},
			"interface Vlan10":       {"ip address 10.10." + n + ".1|24"},
			"router ospf 1":          {"router-id " + n + ".1.1.1", "passive-interface default"},
			"router bgp 65001":       {"router-id " + n + ".1.1.1"},
			"vlan 1" + n:             {"name n" + n, "state suspend"},
			"vlan 30":                {"name n" + n},
			"ip access-list A":       {n + "0 permit ip any any", "15 remark r" + n, "statistics per-entry"},
			"username ada password 5 $" + n + " role network-operator": nil,
			"ip route 10." + n + ".0.0|16 10.0.0.2":                    nil,
			"hostname h" + n:                                           nil,
		}
	}
	slash := func(lines []string) (out []string) {
		for _, l := range lines {
			out = append(out, strings.ReplaceAll(l, "|", "/"))
		}
		return out
	}
	rapid.Check(t, func(t *rapid.T) {
		m := newNexus(t, append(slices.Clone(features), slash(drawBlocks(t, "before", blocks(1)))...)...)
		config := append(rapid.SliceOfDistinct(rapid.SampledFrom(features), rapid.ID[string]).Draw(t, "features"), slash(drawBlocks(t, "config", blocks(2)))...)
		if _, left := takenOff(t, "cisco_nxos", m, strings.Join(config, "\n")+"\n"); left != nil {
			t.Errorf("%q are left", left)
		}
	})
}

// TestAOSSComesBack is TestNXOSComesBack for a ProCurve.
func TestAOSSComesBack(t *testing.T) {
	blocks := func(k int) map[string][]string {
		n := fmt.Sprint(k)
		all := map[string][]string{
			"interface 1":                    {"disable", "name \"p" + n + "\"", "flow-control"},
			"interface A1":                   {"disable", "name \"p" + n + "\"", "speed-duplex auto-1000"},
			"vlan 1":                         {"ip address 10.1." + n + ".1 255.255.255.0", "untagged A3"},
			"ip default-gateway 10.0.0." + n: nil,
			"hostname h" + n:                 nil,
			"spanning-tree":                  nil,
		}
		for _, vlan := range []string{"10", "2" + n, "30"} {
			all["vlan "+vlan] = []string{"name \"v" + n + "\"", "untagged 1-2,A1", "untagged 4", "tagged 3,A2-A3", "tagged A1", "ip address 10.2." + n + ".1 255.255.255.0", "voice", "jumbo"}
		}
		return all
	}
	rapid.Check(t, func(t *rapid.T) {
		m := newProCurve(t, drawBlocks(t, "before", blocks(1))...)
		// No device shows a port that is untagged in two VLANs.
		config, seen := drawBlocks(t, "config", blocks(2)), map[string]bool{}
		config = slices.DeleteFunc(config, func(l string) bool {
			tag := strings.Contains(l, "tagged ")
			again := seen[l] && tag || tag && (strings.Contains(l, "tagged A1") && seen["  untagged 1-2,A1"] || strings.Contains(l, "A1") && seen["  tagged A1"] || strings.Contains(l, "A3") && (seen["  untagged A3"] || seen["  tagged 3,A2-A3"]))
			seen[l] = true
			return again
		})
		if _, left := takenOff(t, "aruba_aoss", m, strings.Join(config, "\n")+"\n"); left != nil {
			t.Errorf("%q are left", left)
		}
	})
}

// TestRefusedLines: a line that would ask a question, would restart the device or is shown in
// another form is refused, and lines that every device shows by itself are not sent.
func TestRefusedLines(t *testing.T) {
	for _, tt := range []struct{ platform, config, why string }{
		{"cisco_nxos", "interface Ethernet1/1-2\n  shutdown\n", "write one block for each interface"},
		{"cisco_nxos", "interface breakout module 1 port 1 map 10g-4x\n", ""},
		{"cisco_nxos", "interface port-channel1\n  shutdown\n", ""},
		{"cisco_nxos", "hardware access-list tcam region racl 512\n", "only after a restart"},
		{"cisco_nxos", "vdc a id 1\n  allocate interface Ethernet1/1\n", "do not belong to a lab"},
		{"cisco_nxos", "banner motd ^Chello\n^C\n", "begins a text of several lines"},
		{"aruba_aoss", "interface 1-4\n   disable\n   exit\n", "write one block for each interface"},
		{"aruba_aoss", "interface 5 disable\n", "write it as a block"},
		{"aruba_aoss", "vlan 20 untagged 5\n", "write it as a block"},
		{"aruba_aoss", "interface 5\n   untagged vlan 20\n   exit\n", "write the ports in the VLAN"},
		{"aruba_aoss", "password manager\n", "asks a question"},
		{"aruba_aoss", "max-vlans 512\n", "only after a restart"},
		{"aruba_aoss", "banner motd #\nhello\n#\n", "begins a text of several lines"},
		{"aruba_aoss", "interface A1\n   exit\ntrunk 1-2 trk1 lacp\n", ""},
	} {
		_, err := planOf(t, tt.platform, tt.config)
		if (tt.why == "") != (err == nil) || err != nil && (!strings.Contains(err.Error(), tt.why) || !strings.Contains(err.Error(), "line ")) {
			t.Errorf("%s: %q: %v, want %q", tt.platform, tt.config, err, tt.why)
		}
	}
	for platform, config := range map[string]string{
		"cisco_nxos": "!Command: show running-config\nversion 9.3(8) Bios:version\nvdc sw id 1\n  limit-resource vlan minimum 16 maximum 4094\nboot nxos bootflash:/nxos.9.3.8.bin\n",
		"aruba_aoss": "\nRunning configuration:\n\n; J9726A Configuration Editor; Created on release #WB.16.10.0010\n; Ver #14:01:05\nmodule 1 type j9726a\n",
	} {
		if made, err := planOf(t, platform, config); err != nil || made.apply != nil {
			t.Errorf("%s is sent %q, %v", platform, made.apply, err)
		}
	}
}
