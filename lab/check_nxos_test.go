package lab

import (
	"strings"
)

// nxosCases and aossCases have answers in the forms of the real devices, like checkCases.
func nxosCases() []checkCase {
	vlan := "\nVLAN Name                             Status    Ports\n---- -------------------------------- --------- -------------------------------\n" +
		"117  VLAN0117                         active    Eth1/7, Eth1/8, Eth1/9, Eth1/10\n                                                Eth1/11\n\nVLAN Type         Vlan-mode\n---- -----        ----------\n117  enet         CE\n\n" +
		"Remote SPAN VLAN\n----------------\nDisabled\n\nPrimary  Secondary  Type             Ports\n-------  ---------  ---------------  -------------------------------------------\n"
	const none = "VLAN 117 not found in current VLAN database\n"
	switchport := func(mode, vlan, list string) string {
		return "Name: Ethernet1/7\n  Switchport: Enabled\n  Switchport Monitor: Not enabled \n  Operational Mode: " + mode + "\n  Access Mode VLAN: " + vlan + "\n  Trunking Native Mode VLAN: 1 (default)\n" +
			"  Trunking VLANs Allowed: " + list + "\n  Voice VLAN: none\n  Extended Trust State : not trusted [COS = 0]\n  Administrative private-vlan primary host-association: none\n" +
			"  Administrative private-vlan trunk encapsulation: dot1q\n  Operational private-vlan: none\n  Unknown unicast blocked: disabled\n"
	}
	state := func(link, admin string) string {
		return "Ethernet1/7 is " + link + "\nadmin state is " + admin + ", Dedicated Interface\n  Hardware: 100/1000/10000 Ethernet, address: 0200.0000.0007 (bia 0200.0000.0007)\n" +
			"  Description: admin state is what it is\n  MTU 1500 bytes, BW 10000000 Kbit, DLY 10 usec\n  reliability 255/255, txload 1/255, rxload 1/255\n"
	}
	errors := []string{"                     ^\nInvalid interface format at '^' marker.\n", "                   ^\n% Invalid command at '^' marker.\n", "% Permission denied for the role\n", "Syntax error while parsing 'show interface Ethernet1/7 switchport'\n\n"}
	const asksPort, asksState = "show interface Ethernet1/7 switchport", "show interface Ethernet1/7"
	return []checkCase{
		{
			platform: "cisco_nxos", part: "vlan", errors: errors,
			enough:     map[string]string{"show vlan id 117": " active"},
			applied:    answers{"show vlan id 117": vlan},
			clean:      answers{"show vlan id 117": none},
			notApplied: []wrong{{"suspended", "vlan", "active   ", "suspended"}, {"shut down", "vlan", "active   ", "act/lshut"}, {"missing", "vlan", vlan, none}},
			notClean:   []wrong{{"there", "vlan", none, vlan}},
		},
		{
			platform: "cisco_nxos", part: "access", port: "Ethernet1/7", errors: errors, otherName: "Ethernet1/7", otherPortName: "Ethernet1/17",
			enough:  map[string]string{asksPort: "Extended Trust State", asksState: "admin state is "},
			applied: answers{asksPort: switchport("access", "117 (VLAN0117)", "1-4094"), asksState: state("down (Link not connected)", "up")},
			clean:   answers{asksPort: switchport("access", "1 (default)", "1-4094"), asksState: state("down (XCVR not inserted)", "down")},
			notApplied: []wrong{
				{"trunk", asksPort, "Mode: access", "Mode: trunk"},
				{"fabric", asksPort, "Mode: access", "Mode: fex-fabric"},
				{"private", asksPort, "Mode: access", "Mode: Private-vlan host"},
				{"routed", asksPort, switchport("access", "117 (VLAN0117)", "1-4094"), "Name: Ethernet1/7\n  Switchport: Disabled\n"},
				{"other VLAN", asksPort, "117 (VLAN0117)", "1170 (VLAN1170)"},
				{"VLAN missing", asksPort, "117 (VLAN0117)", "117 (Vlan not created)"},
				{"a VLAN for telephones", asksPort, "Voice VLAN: none", "Voice VLAN: 118 (VLAN0118)"},
				{"shows others' frames", asksPort, "Monitor: Not enabled", "Monitor: Enabled"},
				{"shut down", asksState, "state is up", "state is down"},
			},
			notClean: []wrong{
				{"trunk that is shut down", asksPort, "Mode: access", "Mode: trunk"},
				{"a VLAN", asksPort, "1 (default)\n  Trunking Native", "117 (VLAN0117)\n  Trunking Native"},
				{"routed", asksPort, "Switchport: Enabled", "Switchport: Disabled"},
				{"up, without a transceiver", asksState, "state is down", "state is up"},
			},
		},
		{
			platform: "cisco_nxos", part: "trunk", port: "Ethernet1/7", errors: errors, otherName: "Ethernet1/7", otherPortName: "Ethernet1/17",
			enough:  map[string]string{asksPort: "Extended Trust State", asksState: "admin state is "},
			applied: answers{asksPort: switchport("trunk", "1 (default)", "90,100-110,116-118"), asksState: state("up", "up")},
			clean:   answers{asksPort: switchport("trunk", "1 (default)", "90,100-110,116,118")},
			notApplied: []wrong{
				{"access", asksPort, "Mode: trunk", "Mode: access"},
				{"routed", asksPort, "Switchport: Enabled", "Switchport: Disabled"},
				{"others", asksPort, "116-118", "116,118"},
				{"none", asksPort, "90,100-110,116-118", "none"},
				{"untagged", asksPort, "Native Mode VLAN: 1 (default)", "Native Mode VLAN: 117 (VLAN0117)"},
				{"shut down", asksState, "state is up", "state is down"},
			},
			notClean: []wrong{
				{"in a range", asksPort, "116,118", "116-118"},
				{"all", asksPort, "90,100-110,116,118", "1-4094"},
				{"without a list", asksPort, "  Trunking VLANs Allowed: 90,100-110,116,118\n", ""},
				{"on a later line", asksPort, "116,118\n", "116,118,\n    117,119\n"},
			},
		},
	}
}

func aossCases() []checkCase {
	row := func(id, name string) string {
		return "  " + id + strings.Repeat(" ", 8-len(id)) + name + strings.Repeat(" ", 33-len(name)) + "| Port-based No    No   \n"
	}
	head := " Status and Counters - VLAN Information\n\n  Maximum VLANs to support : 256                  \n  Primary VLAN : DEFAULT_VLAN\n  Management VLAN :             \n\n" +
		"  VLAN ID Name                             | Status     Voice Jumbo\n  ------- -------------------------------- + ---------- ----- -----\n" + row("1", "DEFAULT_VLAN") + row("66", "sixty-six")
	parked := row("4094", "VLAN4094")
	port := func(lines ...string) string {
		return "\nRunning configuration:\n\ninterface 7\n   name \"to the left\"\n   " + strings.Join(lines, "\n   ") + "\n   exit\n"
	}
	errors := []string{"Invalid input: vlans\n", "Incomplete input: interface\n", "Ambiguous input: s\n", "Module not present for port or invalid port: 7\n"}
	const asksPort = "show running-config interface 7"
	return []checkCase{
		{
			platform: "aruba_aoss", part: "vlan", errors: errors,
			enough:  map[string]string{"show vlans": "  4094    VLAN4094                         | Port-based "},
			applied: answers{"show vlans": head + row("117", "the left one") + parked},
			clean:   answers{"show vlans": head + row("118", "left | Port-based") + parked},
			notApplied: []wrong{
				{"missing", "vlans", row("117", "the left one"), ""},
				{"of a protocol", "vlans", "the left one                     | Port-based", "the left one                     | Dynamic   "},
			},
			notClean: []wrong{{"there", "vlans", parked, row("117", "") + parked}, {"there, in an older form", "vlans", parked, "  117            left         Port-based   No    No   \n" + parked}},
		},
		{
			platform: "aruba_aoss", part: "access", port: "7", errors: errors, otherName: "interface 7\n", otherPortName: "interface 17\n",
			applied: answers{asksPort: port("untagged vlan 117")},
			clean:   answers{asksPort: port("disable", "untagged vlan 4094")},
			notApplied: []wrong{
				{"disabled", "running", "   untagged", "   disable\n   untagged"},
				{"other VLAN", "running", "vlan 117", "vlan 1170"},
				{"no VLAN", "running", "   untagged vlan 117\n", "   no untagged vlan\n"},
				{"another VLAN beside it", "running", "vlan 117\n", "vlan 117\n   tagged vlan 118\n"},
				{"tagged", "running", "   untagged vlan 117\n", "   tagged vlan 117\n"},
				{"a name of these words", "running", "   untagged vlan 117\n", "   name \"untagged vlan 117\"\n"},
			},
			notClean: []wrong{
				{"enabled", "running", "   disable\n", ""},
				{"a VLAN", "running", "vlan 4094", "vlan 117"},
				{"in the default VLAN", "running", "vlan 4094", "vlan 1"},
				{"a tagged VLAN", "running", "vlan 4094\n", "vlan 4094\n   tagged vlan 10-20,117\n"},
			},
		},
		{
			platform: "aruba_aoss", part: "trunk", port: "7", errors: errors, otherName: "interface 7\n", otherPortName: "interface 17\n",
			applied:    answers{asksPort: port("untagged vlan 4094", "tagged vlan 90,100-110,116-118")},
			clean:      answers{asksPort: port("untagged vlan 4094", "tagged vlan 90,100-110,116,118")},
			notApplied: []wrong{{"others", "running", "116-118", "116,118"}, {"disabled", "running", "   untagged", "   disable\n   untagged"}, {"none", "running", "   tagged vlan 90,100-110,116-118\n", ""}, {"untagged", "running", "vlan 4094", "vlan 117"}},
			notClean:   []wrong{{"in a range", "running", "116,118", "116-118"}, {"untagged", "running", "vlan 4094", "vlan 117"}},
		},
	}
}
