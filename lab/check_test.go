package lab

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"activationd/topology"
)

// answers are the answers of a device, by command.
type answers map[string]string

// A wrong is a state that every check must refuse: a part of the right answer to the command
// that has these words, and what a device in the wrong state says instead.
type wrong struct{ name, command, right, is string }

// A checkCase has the checks for a part of a platform, the answers of a device in the right
// state, and wrong states.
type checkCase struct {
	platform, part, port string
	// enough is the part of an answer that verifies everything that its command is for. The
	// default is the whole answer.
	enough map[string]string

	applied, clean           answers
	notApplied, notClean     []wrong
	errors                   []string // what it says when it does not understand, or the port is not there
	otherName, otherPortName string   // another port, where it is named; "": no answer has names
}

const checkedVLAN = 117

// checkCases have answers in the forms of the real devices.
func checkCases() []checkCase {
	iosVLAN := "\nVLAN Name                             Status    Ports\n---- -------------------------------- --------- -------------------------------\n" +
		"117  VLAN0117                         active    Gi1/0/7, Gi1/0/8\n\n" +
		"VLAN Type  SAID       MTU   Parent RingNo BridgeNo Stp  BrdgMode Trans1 Trans2\n---- ----- ---------- ----- ------ ------ -------- ---- -------- ------ ------\n" +
		"117  enet  100117     1500  -      -      -        -    -        0      0   \n\nRemote SPAN VLAN\n----------------\nDisabled\n"
	iosPort := func(lines ...string) string {
		return "Building configuration...\n\nCurrent configuration : 141 bytes\n!\ninterface GigabitEthernet1/0/7\n " + strings.Join(lines, "\n ") + "\nend\n"
	}
	iosErrors := []string{"                                 ^\n% Invalid input detected at '^' marker.\n", "% Ambiguous command:  \"show\"\n", "Command authorization failed.\n"}
	eosVLAN := "VLAN  Name                             Status    Ports\n----- -------------------------------- --------- -------------------------------\n117   VLAN0117                         active    Cpu, Et7, Et48\n"
	eosPort := func(mode, vlan, list string) string {
		return "Name: Et7\nSwitchport: Enabled\nAdministrative Mode: " + mode + "\nOperational Mode: " + mode + "\nMAC Address Learning: enabled\n" +
			"Dot1q ethertype/TPID: 0x8100 (active)\nDot1q VLAN Tag: Allowed\nAccess Mode VLAN: " + vlan + "\nTrunking Native Mode VLAN: 1 (default)\n" +
			"Administrative Native VLAN tagging: disabled\nTrunking VLANs Enabled: " + list + "\nStatic Trunk Groups:\nDynamic Trunk Groups:\nSource interface filtering: enabled\n"
	}
	eosStatus := func(status, vlan string) string {
		return "Port       Name                   Status       Vlan        Duplex Speed  Type            Flags Encapsulation\n" +
			fmt.Sprintf("Et7        to the left 1          %-12s %-11s full   10G    10GBASE-SR                   \n", status, vlan)
	}
	eosErrors := []string{"% Invalid input (at token 2: 'Ethernet7')\n", "% Interface does not exist\n", "% Incomplete command\n"}
	junosErrors := []string{"                          ^\nsyntax error.\n", "error: permission denied: interfaces\n", "unknown command.\n"}
	const (
		junosVLAN = "show configuration vlans lab-117 | display inheritance | display xml"
		junosPort = "show configuration interfaces ge-0/0/7 | display inheritance | display xml"
		junosSets = "show configuration interfaces ge-0/0/7 | display inheritance no-comments | display set"
	)
	junos := func(in ...string) string {
		return "<rpc-reply xmlns:junos=\"http://xml.juniper.net/junos/21.4R0/junos\">\n    <configuration junos:commit-seconds=\"1796000000\" junos:commit-localtime=\"2026-11-30 01:00:00 UTC\" junos:commit-user=\"lab\">\n" +
			strings.Join(append(in, ""), "\n") + "    </configuration>\n    <cli>\n        <banner>{master:0}</banner>\n    </cli>\n</rpc-reply>\n"
	}
	junosHas := func(mode, disable string, members ...string) string {
		in := []string{"            <interfaces>", "                <interface>", "                    <name>ge-0/0/7</name>", "                    <description>to the left</description>" + disable}
		in = append(in, "                    <unit>", "                        <name>0</name>", "                        <family>", "                            <ethernet-switching>",
			"                                <interface-mode>"+mode+"</interface-mode>", "                                <vlan>")
		for _, m := range members {
			in = append(in, "                                    <members>"+m+"</members>")
		}
		return junos(append(in, "                                </vlan>", "                            </ethernet-switching>", "                        </family>", "                    </unit>", "                </interface>", "            </interfaces>")...)
	}
	const disable = "\n                    <disable/>"
	junosVLANHas := junos("            <vlans>", "                <vlan>", "                    <name>lab-117</name>", "                    <vlan-id>117</vlan-id>", "                </vlan>", "            </vlans>")
	junosFree := strings.NewReplacer("                                <vlan>\n", "", "                                </vlan>\n", "").Replace(junosHas("access", disable))
	const setsFree = "set interfaces ge-0/0/7 description \"to the left\"\nset interfaces ge-0/0/7 disable\nset interfaces ge-0/0/7 unit 0 family ethernet-switching interface-mode access\n"
	const (
		srlVLAN  = "info flat from running / network-instance lab-117"
		srlTypes = "info flat from running / network-instance * type"
		srlPort  = "info flat from running / interface ethernet-1/7"

		srlVLANHas  = "set / network-instance lab-117 type mac-vrf\nset / network-instance lab-117 admin-state enable\nset / network-instance lab-117 interface ethernet-1/7.0\n"
		srlTypesHas = "set / network-instance default type default\nset / network-instance lab-118 type mac-vrf\nset / network-instance mgmt type ip-vrf\n"
	)
	srlErrors := []string{"Parsing error: Unknown token 'info'.\nOptions are ['#', '..', '/', '>', '|', '}']\n", "Error: No authorization to execute command\n",
		"Error: Path '.interface{.name==ethernet-1/7}' does not specify any existing objects\n"}
	srlHas := func(state, tagging string, more ...string) string {
		const line = "set / interface ethernet-1/7 "
		return line + "description \"to the left\"\n" + line + "admin-state " + state + "\n" + line + "vlan-tagging " + tagging + "\n" + line + strings.Join(more, "\n"+line) + "\n"
	}
	srlCarries := func(id string) (lines []string) {
		for _, id := range []string{"90", id, "4094"} {
			lines = append(lines, "subinterface "+id+" type bridged", "subinterface "+id+" admin-state enable", "subinterface "+id+" vlan encap single-tagged vlan-id "+id)
		}
		return lines
	}
	const ovs = "ovs-vsctl get Port p7 name "
	ovsErrors := []string{"ovs-vsctl: no row \"p7\" in table Port\n", "ovs-vsctl: unix:/run/openvswitch/db.sock: database connection failed (No such file or directory)\n", "bash: ovs-vsctl: command not found\n"}
	const (
		rosPort      = `/interface bridge port print terse without-paging where interface="ether7"; :put "# end"`
		rosUp        = `/interface print terse without-paging where name="ether7"; :put "# end"`
		rosBridge    = `/interface bridge print terse without-paging where name="bridge"; :put "# end"`
		rosVLANs     = `/interface bridge vlan print terse without-paging where bridge="bridge"; :put "# end"`
		rosFiltering = "name=bridge mtu=auto arp=enabled protocol-mode=rstp vlan-filtering=yes ether-type=0x8100 pvid=1 frame-types=admit-all ingress-filtering=yes dhcp-snooping=no\n"
		rosVLANsHas  = " 0 D  bridge=bridge vlan-ids=1 tagged=\"\" untagged=\"\" current-tagged=\"\" current-untagged=bridge\n" +
			" 1    comment=spare bridge=bridge vlan-ids=300-310,4094 tagged=ether7 untagged=\"\" current-tagged=ether7 current-untagged=\"\"\n" +
			" 2    bridge=bridge vlan-ids=118 tagged=ether3 untagged=ether9 current-tagged=ether3 current-untagged=\"\"\n"
	)
	rosMember := func(flags, pvid, frames string) string {
		return fmt.Sprintf(" 4 %-4sinterface=ether7 bridge=bridge priority=0x80 edge=auto hw=yes pvid=%s frame-types=%s ingress-filtering=yes tag-stacking=no bpdu-guard=no\n", flags, pvid, frames)
	}
	rosErrors := []string{"bad command name vlan (line 1 column 19)\n", "expected end of command (line 1 column 40)\n", "syntax error (line 1 column 60)\n", "not enough permissions (9)\n", "# end\n"}
	const vyosPort = "show configuration commands | grep -E '^set interfaces (bridge|ethernet eth7)( |$)'; echo '# end'"
	vyosErrors := []string{"\n  Invalid command: [show]\n\n", "bash: grep: command not found\n# end\n", "# end\n"}
	vyosShows := func(lines ...string) string {
		out := "set interfaces bridge br0 enable-vlan\n"
		for _, l := range lines {
			if l == "disable" {
				out += "set interfaces ethernet eth7 disable\n"
			} else {
				out += "set interfaces bridge br0 " + l + "\n"
			}
		}
		return out + "set interfaces ethernet eth7 hw-id '00:53:00:00:aa:07'\n# end\n"
	}
	return []checkCase{
		{
			platform: "cisco_ios", part: "vlan", errors: iosErrors,
			enough:  map[string]string{"show vlan id 117": " active"},
			applied: answers{"show vlan id 117": iosVLAN},
			clean:   answers{"show vlan id 117": "VLAN id 117 not found in current VLAN database\n"},
			notApplied: []wrong{
				{"suspended", "vlan", "active   ", "suspended"},
				{"shut down", "vlan", "active   ", "act/lshut"},
				{"of another medium", "vlan", "active   ", "act/unsup"},
				{"missing", "vlan", iosVLAN, "VLAN id 117 not found in current VLAN database\n"},
			},
			notClean: []wrong{{"there", "vlan", "VLAN id 117 not found in current VLAN database\n", iosVLAN}},
		},
		{
			platform: "cisco_ios", part: "access", port: "Gi1/0/7", errors: iosErrors, otherName: "GigabitEthernet1/0/7", otherPortName: "GigabitEthernet1/0/17",
			applied: answers{"show running-config interface Gi1/0/7": iosPort("description to the left", "switchport access vlan 117", "switchport mode access", "spanning-tree portfast")},
			clean:   answers{"show running-config interface Gi1/0/7": iosPort("description to the left", "switchport mode access", "shutdown")},
			notApplied: []wrong{
				{"trunk", "running", "mode access", "mode trunk"},
				{"tunnel", "running", "mode access", "mode dot1q-tunnel"},
				{"negotiated", "running", "mode access", "mode dynamic desirable"},
				{"negotiated by default", "running", " switchport mode access\n", ""},
				{"routed", "running", " spanning", " no switchport\n spanning"},
				{"shut down", "running", " spanning", " shutdown\n spanning"},
				{"other VLAN", "running", "vlan 117", "vlan 1170"},
				{"no VLAN", "running", " switchport access vlan 117\n", ""},
				{"a telephone's VLAN beside it", "running", " spanning", " switchport voice vlan 200\n spanning"},
				{"a description of these words", "running", " switchport mode access\n", " description switchport mode access\n"},
			},
			notClean: []wrong{
				{"up", "running", " shutdown\n", ""},
				{"trunk", "running", "mode access", "mode trunk"},
				{"negotiated by default", "running", " switchport mode access\n", ""},
				{"routed", "running", " shutdown", " no switchport\n shutdown"},
				{"a VLAN", "running", " shutdown", " switchport access vlan 117\n shutdown"},
				{"a VLAN, shown last", "running", " shutdown\n", " shutdown\n switchport access vlan 117\n"},
			},
		},
		{
			platform: "cisco_ios", part: "trunk", port: "Gi1/0/7", errors: iosErrors, otherName: "GigabitEthernet1/0/7", otherPortName: "GigabitEthernet1/0/17",
			applied: answers{"show running-config interface Gi1/0/7": iosPort("switchport trunk allowed vlan 90,100-110", "switchport trunk allowed vlan add 116-118,4094", "switchport mode trunk")},
			clean:   answers{"show running-config interface Gi1/0/7": iosPort("switchport trunk allowed vlan 90,100-110", "switchport trunk allowed vlan add 116,118,4094", "switchport mode trunk")},
			notApplied: []wrong{
				{"access", "running", "mode trunk", "mode access"},
				{"negotiated", "running", "mode trunk", "mode dynamic auto"},
				{"shut down", "running", " switchport mode trunk", " switchport mode trunk\n shutdown"},
				{"routed", "running", " switchport mode trunk", " switchport mode trunk\n no switchport"},
				{"others", "running", "116-118", "116,118"},
				{"none", "running", "vlan add 116-118,4094", "vlan none"},
				{"untagged", "running", " switchport mode trunk", " switchport mode trunk\n switchport trunk native vlan 117"},
			},
			notClean: []wrong{
				{"in a range", "running", "100-110", "100-120"},
				{"on a later line", "running", "116,118", "116-118"},
				{"all", "running", "vlan 90,100-110", "vlan all"},
				{"without a list", "running", " switchport trunk allowed vlan 90,100-110\n switchport trunk allowed vlan add 116,118,4094\n", ""},
			},
		},
		{
			platform: "arista_eos", part: "vlan", errors: eosErrors,
			enough:  map[string]string{"show vlan 117": " active"},
			applied: answers{"show vlan 117": eosVLAN},
			clean:   answers{"show vlan 117": "% VLAN 117 not found in current VLAN database\n"},
			notApplied: []wrong{
				{"suspended", "vlan", "active   ", "suspended"},
				{"missing", "vlan", eosVLAN, "% VLAN 117 not found in current VLAN database\n"},
			},
			notClean: []wrong{{"there", "vlan", "% VLAN 117 not found in current VLAN database\n", eosVLAN}},
		},
		{
			platform: "arista_eos", part: "access", port: "Ethernet7", errors: eosErrors, otherName: "Et7", otherPortName: "Et17",
			enough: map[string]string{"show interfaces Ethernet7 switchport": "Trunk Groups:", "show interfaces Ethernet7 status": "full   1"},
			applied: answers{
				"show interfaces Ethernet7 switchport": eosPort("static access", "117 (VLAN0117)", "ALL"),
				"show interfaces Ethernet7 status":     eosStatus("connected", "117"),
			},
			clean: answers{
				"show interfaces Ethernet7 switchport": strings.Replace(eosPort("static access", "1 (default)", "ALL"), "Operational Mode: static access", "Operational Mode: down", 1),
				"show interfaces Ethernet7 status":     eosStatus("disabled", "1"),
			},
			notApplied: []wrong{
				{"trunk", "switchport", "Administrative Mode: static access", "Administrative Mode: trunk"},
				{"tunnel", "switchport", "Administrative Mode: static access", "Administrative Mode: dot1q-tunnel"},
				{"routed", "switchport", "Switchport: Enabled", "Switchport: Disabled"},
				{"routed, without more", "switchport", eosPort("static access", "117 (VLAN0117)", "ALL"), "Name: Et7\nSwitchport: Disabled\n"},
				{"other VLAN", "switchport", "117 (VLAN0117)", "1170 (VLAN1170)"},
				{"VLAN missing", "switchport", "117 (VLAN0117)", "117 (Inactive)"},
				{"shut down", "status", "connected ", "disabled  "},
				{"broken down", "status", "connected   ", "errdisabled "},
				{"trunk, by its state", "status", " 117   ", " trunk "},
				{"other VLAN, by its state", "status", " 117   ", " 1170  "},
				{"shut down, and described as connected", "status", "to the left 1          connected ", "connected 117 full 10G disabled  "},
			},
			notClean: []wrong{
				{"trunk that is shut down", "switchport", "Administrative Mode: static access", "Administrative Mode: trunk"},
				{"a VLAN", "switchport", "1 (default)\nTrunking Native", "117 (VLAN0117)\nTrunking Native"},
				{"routed", "switchport", "Switchport: Enabled", "Switchport: Disabled"},
				{"up", "status", "disabled    ", "connected   "},
				{"without a cable", "status", "disabled    ", "notconnect  "},
				{"broken down", "status", "disabled    ", "errdisabled "},
				{"up, and described as disabled", "status", "to the left 1          disabled    ", "disabled 1 full 10G    notconnect  "},
			},
		},
		{
			platform: "arista_eos", part: "trunk", port: "Ethernet7", errors: eosErrors, otherName: "Et7", otherPortName: "Et17",
			enough:  map[string]string{"show interfaces Ethernet7 switchport": "Trunk Groups:", "show interfaces Ethernet7 status": "full   1"},
			applied: answers{"show interfaces Ethernet7 switchport": eosPort("trunk", "1 (default)", "90,100-110,116-118,4094"), "show interfaces Ethernet7 status": eosStatus("connected", "trunk")},
			clean:   answers{"show interfaces Ethernet7 switchport": eosPort("trunk", "1 (default)", "90,100-110,116,118,4094")},
			notApplied: []wrong{
				{"access", "switchport", "Administrative Mode: trunk", "Administrative Mode: static access"},
				{"routed", "switchport", "Switchport: Enabled", "Switchport: Disabled"},
				{"others", "switchport", "116-118", "116,118"},
				{"none", "switchport", "90,100-110,116-118,4094", "NONE"},
				{"untagged", "switchport", "Native Mode VLAN: 1 (default)", "Native Mode VLAN: 117 (VLAN0117)"},
				{"shut down", "status", "connected ", "disabled  "},
			},
			notClean: []wrong{
				{"in a range", "switchport", "116,118", "116-118"},
				{"all", "switchport", "90,100-110,116,118,4094", "ALL"},
				{"without a list", "switchport", "Trunking VLANs Enabled: 90,100-110,116,118,4094\n", ""},
				{"on a later line", "switchport", "116,118,4094\n", "116,118,\n    117,4094\n"},
			},
		},
		{
			platform: "juniper_junos", part: "vlan", errors: junosErrors,
			applied: answers{junosVLAN: junosVLANHas},
			clean:   answers{junosVLAN: junos()},
			notApplied: []wrong{
				{"other VLAN", "vlans", "<vlan-id>117", "<vlan-id>1170"},
				{"other name", "vlans", "<name>lab-117", "<name>lab-1170"},
				{"deactivated", "vlans", "<vlan>", `<vlan inactive="inactive">`},
				{"deactivated with all others", "vlans", "<vlans>", `<vlans inactive="inactive">`},
				{"missing", "vlans", junosVLANHas, junos()},
			},
			notClean: []wrong{{"there", "vlans", junos(), junosVLANHas}},
		},
		{
			platform: "juniper_junos", part: "access", port: "ge-0/0/7", errors: junosErrors, otherName: "ge-0/0/7", otherPortName: "ge-0/0/17",
			enough:  map[string]string{junosSets: "ge-0/0/7 disable"},
			applied: answers{junosPort: junosHas("access", "", "lab-117")},
			clean:   answers{junosPort: junosFree, junosSets: setsFree},
			notApplied: []wrong{
				{"trunk", "xml", ">access<", ">trunk<"},
				{"other VLAN", "xml", "lab-117", "lab-118"},
				{"no VLAN", "xml", "                                    <members>lab-117</members>\n", ""},
				{"disabled", "xml", "left</description>", "left</description>" + disable},
				{"unit disabled", "xml", "<name>0</name>", "<name>0</name>\n<disable/>"},
				{"disabled by a group", "xml", "left</description>", `left</description>` + "\n" + `<disable junos:group="off"/>`},
				{"deactivated", "xml", "<interface>", `<interface inactive="inactive">`},
				{"unit deactivated", "xml", "<unit>", `<unit inactive="inactive">`},
				{"member deactivated", "xml", "<members>", `<members inactive="inactive">`},
				{"all ports deactivated", "xml", "<interfaces>", `<interfaces inactive="inactive">`},
				{"nothing", "xml", junosHas("access", "", "lab-117"), junos()},
			},
			notClean: []wrong{
				{"trunk that is disabled", "xml", ">access<", ">trunk<"},
				{"the disabling is deactivated", "xml", "<disable/>", `<disable inactive="inactive"/>`},
				{"the port is deactivated", "xml", "<interface>", `<interface inactive="inactive">`},
				{"a VLAN", "xml", "</interface-mode>", "</interface-mode>\n<members>lab-118</members>"},
				{"a VLAN of a group", "xml", "</interface-mode>", "</interface-mode>\n" + `<members junos:group="g">blue</members>`},
				{"nothing", "xml", junosFree, junos()},
				{"enabled", "set", "set interfaces ge-0/0/7 disable\n", ""},
				{"only its unit is disabled", "set", "ge-0/0/7 disable", "ge-0/0/7 unit 0 disable"},
				{"another port is disabled", "set", "ge-0/0/7 disable", "ge-0/0/17 disable"},
			},
		},
		{
			platform: "juniper_junos", part: "trunk", port: "ge-0/0/7", errors: junosErrors, otherName: "ge-0/0/7", otherPortName: "ge-0/0/17",
			applied: answers{junosPort: junosHas("trunk", "", "placeholder", "90", "lab-117", "lab-118")},
			clean:   answers{junosPort: junosHas("trunk", "", "placeholder", "90", "lab-116", "118-199")},
			notApplied: []wrong{
				{"access", "xml", ">trunk<", ">access<"},
				{"other VLAN", "xml", "lab-117", "lab-116"},
				{"disabled", "xml", "left</description>", "left</description>" + disable},
				{"deactivated", "xml", "<members>lab-117", `<members inactive="inactive">lab-117`},
				{"unit deactivated", "xml", "<unit>", `<unit inactive="inactive">`},
				{"untagged", "xml", "<unit>", "<native-vlan-id>117</native-vlan-id>\n<unit>"},
			},
			notClean: []wrong{
				{"by its name", "xml", "lab-116", "lab-117"},
				{"by its number", "xml", "<members>90", "<members>117"},
				{"in a range", "xml", "118-199", "100-199"},
				{"with all", "xml", "lab-116", "all"},
				{"of a group", "xml", "<members>lab-116", `<members junos:group="g">110-120`},
				{"nothing", "xml", junosHas("trunk", "", "placeholder", "90", "lab-116", "118-199"), junos()},
			},
		},
		{
			platform: "nokia_srlinux", part: "vlan", errors: srlErrors,
			enough:  map[string]string{srlVLAN: "lab-117 admin-state enable"},
			applied: answers{srlVLAN: srlVLANHas},
			clean:   answers{srlTypes: srlTypesHas},
			notApplied: []wrong{
				{"of another type", srlVLAN, "type mac-vrf", "type ip-vrf"},
				{"shut down", srlVLAN, "admin-state enable", "admin-state disable"},
				{"another", srlVLAN, "lab-117 type", "lab-1170 type"},
			},
			notClean: []wrong{{"there", srlTypes, "set / network-instance mgmt", "set / network-instance lab-117 type mac-vrf\nset / network-instance mgmt"}},
		},
		{
			platform: "nokia_srlinux", part: "access", port: "ethernet-1/7", errors: srlErrors, otherName: "ethernet-1/7", otherPortName: "ethernet-1/17",
			enough:  map[string]string{srlVLAN: "ethernet-1/7.0"},
			applied: answers{srlPort: srlHas("enable", "false", "subinterface 0 type bridged", "subinterface 0 admin-state enable"), srlVLAN: srlVLANHas},
			clean:   answers{srlPort: srlHas("disable", "false", "subinterface 0 type bridged", "subinterface 0 admin-state disable")},
			notApplied: []wrong{
				{"trunk", srlPort, "vlan-tagging false", "vlan-tagging true"},
				{"routed", srlPort, "type bridged", "type routed"},
				{"shut down", srlPort, "1/7 admin-state enable", "1/7 admin-state disable"},
				{"its subinterface is shut down", srlPort, "subinterface 0 admin-state enable", "subinterface 0 admin-state disable"},
				{"another subinterface", srlPort, "left\"", "left\"\nset / interface ethernet-1/7 subinterface 12 type bridged"},
				{"another port in the VLAN", srlVLAN, "ethernet-1/7.0", "ethernet-1/17.0"},
				{"a subinterface of another number in the VLAN", srlVLAN, "ethernet-1/7.0", "ethernet-1/7.01"},
				{"not in the VLAN", srlVLAN, "set / network-instance lab-117 interface ethernet-1/7.0\n", ""},
			},
			notClean: []wrong{
				{"up", srlPort, "1/7 admin-state disable", "1/7 admin-state enable"},
				{"trunk that is shut down", srlPort, "vlan-tagging false", "vlan-tagging true"},
				{"routed", srlPort, "type bridged", "type routed"},
				{"another subinterface", srlPort, "left\"", "left\"\nset / interface ethernet-1/7 subinterface 1 type bridged"},
				{"its subinterface is up", srlPort, "subinterface 0 admin-state disable", "subinterface 0 admin-state enable"},
			},
		},
		{
			platform: "nokia_srlinux", part: "trunk", port: "ethernet-1/7", errors: srlErrors, otherName: "ethernet-1/7", otherPortName: "ethernet-1/17",
			enough:  map[string]string{srlVLAN: "ethernet-1/7.117", srlPort: "vlan-id 4094"},
			applied: answers{srlPort: srlHas("enable", "true", srlCarries("117")...), srlVLAN: strings.Replace(srlVLANHas, "1/7.0", "1/7.117", 1)},
			clean:   answers{srlPort: srlHas("enable", "true", srlCarries("118")...)},
			notApplied: []wrong{
				{"access", srlPort, "vlan-tagging true", "vlan-tagging false"},
				{"shut down", srlPort, "1/7 admin-state enable", "1/7 admin-state disable"},
				{"others", srlPort, "vlan-id 117", "vlan-id 118"},
				{"routed", srlPort, "subinterface 117 type bridged", "subinterface 117 type routed"},
				{"its subinterface is shut down", srlPort, "117 admin-state enable", "117 admin-state disable"},
				{"not in the VLAN", srlVLAN, "set / network-instance lab-117 interface ethernet-1/7.117\n", ""},
				{"all others, too", srlPort, "left\"", "left\"\nset / interface ethernet-1/7 subinterface 12 vlan encap single-tagged vlan-id any"},
			},
			notClean: []wrong{
				{"carried", srlPort, "vlan-id 118", "vlan-id 117"},
				{"in a range", srlPort, "left\"", "left\"\nset / interface ethernet-1/7 subinterface 12 vlan encap single-tagged-range low-vlan-id 100 high-vlan-id 120"},
				{"any", srlPort, "left\"", "left\"\nset / interface ethernet-1/7 subinterface 12 vlan encap single-tagged vlan-id any"},
				{"untagged", srlPort, "left\"", "left\"\nset / interface ethernet-1/7 subinterface 12 vlan encap untagged"},
			},
		},
		{
			platform: "mikrotik_routeros", part: "access", port: "ether7", errors: rosErrors, otherName: "ether7", otherPortName: "ether17",
			applied: answers{
				rosPort:   rosMember("H", "117", "admit-only-untagged-and-priority-tagged") + "# end\n",
				rosUp:     " 6 RS comment=to the left name=ether7 default-name=ether7 type=ether mtu=1500 last-link-up-time=2026-11-30 05:19:12 link-downs=0\n# end\n",
				rosBridge: " 0 R  comment=of the lab " + rosFiltering + "# end\n",
				rosVLANs:  strings.ReplaceAll(rosVLANsHas, "ether7", "ether3") + " 3    comment=lab-117 bridge=bridge vlan-ids=117 tagged=ether3 untagged=\"\" current-tagged=ether3 current-untagged=\"\"\n# end\n",
			},
			clean: answers{
				rosPort:   rosMember("I H", "1", "admit-only-untagged-and-priority-tagged") + "# end\n",
				rosUp:     " 6 XS comment=to the left name=ether7 default-name=ether7 type=ether mtu=1500 link-downs=0\n# end\n",
				rosBridge: " 0 R  " + rosFiltering + "# end\n",
			},
			notApplied: []wrong{
				{"trunk", "port", "admit-only-untagged-and-priority-tagged", "admit-only-vlan-tagged"},
				{"all frames", "port", "admit-only-untagged-and-priority-tagged", "admit-all"},
				{"other VLAN", "port", "pvid=117", "pvid=1170"},
				{"no VLAN", "port", "pvid=117", "pvid=1"},
				{"tags within tags", "port", "tag-stacking=no", "tag-stacking=yes"},
				{"disabled in the bridge", "port", "H   ", "X   "},
				{"in another bridge", "port", "bridge=bridge ", "bridge=bridge2 "},
				{"in no bridge", "port", rosMember("H", "117", "admit-only-untagged-and-priority-tagged"), ""},
				{"a comment of these words", "port", "H   interface=ether7 bridge=bridge", "H   comment=interface=ether7 bridge=bridge pvid=117 frame-types=admit-only-untagged-and-priority-tagged tag-stacking=no interface=ether7 bridge=other"},
				{"disabled", "/interface print", " 6 RS", " 6 XS"},
				{"untagged in another VLAN", "vlan print", "untagged=ether9", "untagged=ether9,ether7"},
				{"tagged in another VLAN", "vlan print", "4094 tagged=ether3", "4094 tagged=ether7,ether3"},
				{"the bridge does not filter", "/interface bridge print", "vlan-filtering=yes", "vlan-filtering=no"},
				{"the bridge is disabled", "/interface bridge print", " 0 R ", " 0 X "},
			},
			notClean: []wrong{
				{"up", "/interface print", " 6 XS", " 6 RS"},
				{"up, without a link", "/interface print", " 6 XS", " 6  S"},
				{"a VLAN", "port", "pvid=1 ", "pvid=117 "},
				{"trunk that is disabled", "port", "admit-only-untagged-and-priority-tagged", "admit-only-vlan-tagged"},
				{"in no bridge", "port", rosMember("I H", "1", "admit-only-untagged-and-priority-tagged"), ""},
				{"the bridge does not filter", "/interface bridge print", "vlan-filtering=yes", "vlan-filtering=no"},
			},
		},
		{
			platform: "mikrotik_routeros", part: "trunk", port: "ether7", errors: rosErrors, otherName: "ether7", otherPortName: "ether17",
			applied: answers{
				rosPort:   rosMember("H", "1", "admit-only-vlan-tagged") + "# end\n",
				rosUp:     " 6 RS name=ether7 default-name=ether7 type=ether mtu=1500 link-downs=0\n# end\n",
				rosBridge: " 0 R  " + rosFiltering + "# end\n",
				rosVLANs:  rosVLANsHas + " 3    comment=lab-117 bridge=bridge vlan-ids=117 tagged=ether7 untagged=\"\" current-tagged=ether7 current-untagged=ether5\n# end\n",
			},
			clean: answers{
				rosPort:   rosMember("H", "1", "admit-only-vlan-tagged") + "# end\n",
				rosBridge: " 0 R  " + rosFiltering + "# end\n",
				rosVLANs:  rosVLANsHas + "# end\n",
			},
			notApplied: []wrong{
				{"its row is disabled", "vlan print", " 3    ", " 3 X  "},
				{"other ports", "vlan print", "vlan-ids=117 tagged=ether7 ", "vlan-ids=117 tagged=ether70 "},
				{"untagged", "vlan print", "vlan-ids=117 tagged=ether7 untagged=\"\"", "vlan-ids=117 tagged=\"\" untagged=ether7"},
				{"other VLAN", "vlan print", "vlan-ids=117", "vlan-ids=1170"},
				{"access", "port", "admit-only-vlan-tagged", "admit-only-untagged-and-priority-tagged"},
				{"disabled", "/interface print", " 6 RS", " 6 X "},
				{"disabled in the bridge", "port", "H   ", "X   "},
				{"takes frames of every VLAN", "port", "ingress-filtering=yes", "ingress-filtering=no"},
				{"the bridge does not filter", "/interface bridge print", "vlan-filtering=yes", "vlan-filtering=no"},
			},
			notClean: []wrong{
				{"in a range", "vlan print", "300-310", "100-199"},
				{"in a list", "vlan print", "300-310", "90,117,300"},
				{"untagged", "vlan print", "vlan-ids=118 tagged=ether3 untagged=ether9", "vlan-ids=117 tagged=ether3 untagged=ether7"},
				{"dynamic", "vlan print", "vlan-ids=118 tagged=ether3 untagged=ether9", "vlan-ids=117 tagged=\"\" untagged=\"\" current-tagged=ether3,ether7"},
				{"all frames", "port", "admit-only-vlan-tagged", "admit-all"},
				{"the bridge does not filter", "/interface bridge print", "vlan-filtering=yes", "vlan-filtering=no"},
				{"in no row", "vlan print", "tagged=ether7 untagged=\"\" current-tagged=ether7", "tagged=\"\" untagged=\"\" current-tagged=\"\""},
			},
		},
		{
			platform: "vyos", part: "access", port: "eth7", errors: vyosErrors, otherName: "eth7", otherPortName: "eth17",
			applied: answers{vyosPort: vyosShows("member interface eth7 native-vlan '117'", "member interface eth8 native-vlan '118'")},
			clean:   answers{vyosPort: vyosShows("member interface eth7", "member interface eth8 native-vlan '117'", "disable")},
			notApplied: []wrong{
				{"disabled", "config", "eth7 hw-id", "eth7 disable\nset interfaces ethernet eth7 hw-id"},
				{"trunk", "config", "eth7 native-vlan '117'", "eth7 native-vlan '117'\nset interfaces bridge br0 member interface eth7 allowed-vlan '118'"},
				{"isolated", "config", "eth7 native-vlan '117'", "eth7 isolated\nset interfaces bridge br0 member interface eth7 native-vlan '117'"},
				{"other VLAN", "config", "'117'", "'1170'"},
				{"no VLAN", "config", " native-vlan '117'", ""},
				{"the bridge knows no VLANs", "config", "set interfaces bridge br0 enable-vlan\n", ""},
				{"the bridge is disabled", "config", "bridge br0 enable-vlan", "bridge br0 disable\nset interfaces bridge br0 enable-vlan"},
				{"another bridge", "config", "br0 member interface eth7", "br1 member interface eth7"},
			},
			notClean: []wrong{
				{"up", "config", "set interfaces ethernet eth7 disable\n", ""},
				{"a VLAN", "config", "eth7\n", "eth7 native-vlan '118'\n"},
				{"trunk", "config", "eth7\n", "eth7 allowed-vlan '118'\n"},
				{"in no bridge", "config", "set interfaces bridge br0 member interface eth7\n", ""},
				{"the bridge knows no VLANs", "config", "set interfaces bridge br0 enable-vlan\n", ""},
			},
		},
		{
			platform: "vyos", part: "trunk", port: "eth7", errors: vyosErrors, otherName: "eth7", otherPortName: "eth17",
			applied: answers{vyosPort: vyosShows("member interface eth7 allowed-vlan '117'", "member interface eth7 allowed-vlan '4094'")},
			clean:   answers{vyosPort: vyosShows("member interface eth7 allowed-vlan '118-120'", "member interface eth7 allowed-vlan '4094'")},
			notApplied: []wrong{
				{"disabled", "config", "eth7 hw-id", "eth7 disable\nset interfaces ethernet eth7 hw-id"},
				{"others", "config", "'117'", "'118'"},
				{"untagged", "config", "allowed-vlan '117'", "native-vlan '117'"},
				{"the bridge knows no VLANs", "config", "set interfaces bridge br0 enable-vlan\n", ""},
			},
			notClean: []wrong{
				{"in a range", "config", "118-120", "100-120"},
				{"untagged", "config", "allowed-vlan '118-120'", "native-vlan '117'"},
				{"the bridge knows no VLANs", "config", "set interfaces bridge br0 enable-vlan\n", ""},
			},
		},
		{
			platform: "openvswitch", part: "access", port: "p7", errors: ovsErrors, otherName: "p7", otherPortName: "p17",
			applied: answers{ovs + "vlan_mode tag protected": "p7\naccess\n117\nfalse\n"},
			clean:   answers{ovs + "vlan_mode tag protected": "p7\naccess\n[]\ntrue\n"},
			notApplied: []wrong{
				{"trunk", "get", "access", "trunk"},
				{"native tagged", "get", "access", "native-tagged"},
				{"native untagged", "get", "access", "native-untagged"},
				{"tunnel", "get", "access", "dot1q-tunnel"},
				{"no mode, so that its trunks count", "get", "access", "[]"},
				{"other VLAN", "get", "117", "1170"},
				{"no VLAN", "get", "117", "[]"},
				{"protected", "get", "false", "true"},
			},
			notClean: []wrong{
				{"trunk", "get", "access", "trunk"},
				{"no mode", "get", "access", "[]"},
				{"no mode, and a VLAN", "get", "access\n[]", "[]\n117"},
				{"a VLAN", "get", "[]", "117"},
				{"not protected", "get", "true", "false"},
			},
		},
		{
			platform: "openvswitch", part: "trunk", port: "p7", errors: ovsErrors, otherName: "p7", otherPortName: "p17",
			applied:    answers{ovs + "vlan_mode trunks": "p7\ntrunk\n[90, 117, 4095]\n"},
			clean:      answers{ovs + "vlan_mode trunks": "p7\ntrunk\n[90, 118, 4095]\n"},
			notApplied: []wrong{{"access", "get", "trunk", "access"}, {"native", "get", "trunk", "native-untagged"}, {"others", "get", "117", "118"}, {"none, which is all", "get", "[90, 117, 4095]", "[]"}},
			notClean:   []wrong{{"carried", "get", "118", "117"}, {"none, which is all", "get", "[90, 118, 4095]", "[]"}},
		},
	}
}

// hostCases are about the commands of a host's shell.
func hostCases() []checkCase {
	errors := []string{"Cannot find device \"eth7\"\n", "sh: 1: ip: not found\n", "Error: inet prefix is expected rather than \"x\".\n"}
	const address = "ip -o address show dev eth7 && echo = eth7"
	other := "7: eth7    inet 10.8.0.1/24 scope global eth7\\       valid_lft forever preferred_lft forever\n"
	route := func(family, to string) string {
		return "ip " + family + " -o route show to exact " + to + " && echo = " + to
	}
	routed := func(family, to, via string) checkCase {
		command, shown, end := route(family, to), to+" via "+via+" dev eth7 \n", "= "+to+"\n"
		line := "ip route add " + to + " via " + via
		if !strings.Contains(to, "/") && to != "default" {
			line = strings.Replace(line, " via", "/32 via", 1)
		}
		return checkCase{
			platform: "linux", part: line, errors: errors, otherName: to, otherPortName: "10.99.0.0/16",
			enough:     map[string]string{command: shown[:len(shown)-len("dev eth7 \n")]},
			applied:    answers{command: shown + end},
			clean:      answers{command: end},
			notApplied: []wrong{{"by another", "route", via, via + "2"}, {"none", "route", shown, ""}},
			notClean:   []wrong{{"there", "route", end, shown + end}, {"another", "route", end, "unreachable " + to + "\n" + end}},
		}
	}
	return []checkCase{
		{
			platform: "linux", part: "ip address add 10.0.0.1/24 dev eth7", errors: errors, otherName: "eth7", otherPortName: "eth17",
			enough:     map[string]string{address: "inet 10.0.0.1/24 "},
			applied:    answers{address: other + strings.Replace(other, "10.8.0.1", "10.0.0.1", 1) + "= eth7\n"},
			clean:      answers{address: other + "= eth7\n"},
			notApplied: []wrong{{"another address", "ip", "10.0.0.1", "10.0.0.11"}, {"another length", "ip", "10.0.0.1/24", "10.0.0.1/25"}},
			notClean:   []wrong{{"there", "ip", "10.8.0.1", "10.0.0.1"}},
		},
		routed("-4", "10.9.0.0/16", "10.0.0.2"),
		routed("-4", "10.9.0.7", "10.0.0.2"),
		routed("-4", "default", "10.0.0.2"),
		routed("-6", "fd00:9::/32", "fd00::2"),
		{
			platform: "linux", part: "ip link set dev eth7 up", errors: errors, otherName: "eth7", otherPortName: "eth17",
			enough:     map[string]string{"ip -o link show dev eth7": "> m"},
			applied:    answers{"ip -o link show dev eth7": "7: eth7@if3: <BROADCAST,MULTICAST,UP> mtu 1500 qdisc noqueue state UP mode DEFAULT group default qlen 1000\\    link/ether 02:00:00:00:00:07 brd ff:ff:ff:ff:ff:ff\n"},
			clean:      answers{"ip -o link show dev eth7": "7: eth7@if3: <BROADCAST,MULTICAST> mtu 1500 qdisc noqueue state DOWN mode DEFAULT group default qlen 1000\\    link/ether 02:00:00:00:00:07 brd ff:ff:ff:ff:ff:ff\n"},
			notClean:   []wrong{{"up", "ip", "MULTICAST>", "MULTICAST,UP>"}, {"up, without a carrier", "ip", "<BROADCAST", "<NO-CARRIER,BROADCAST,UP"}},
			notApplied: []wrong{{"down", "ip", ",UP>", ">"}, {"only its lower half", "ip", ",UP>", ",LOWER_UP>"}},
		},
	}
}

// checks returns the checks of a case.
func (c checkCase) checks(t *testing.T) (applied, clean []Check) {
	t.Helper()
	p, err := LoadPlatform("", c.platform)
	if err != nil {
		t.Fatal(err)
	}
	if c.platform == "linux" {
		made, err := p.dialect.plan(&topology.Node{Name: "h1", Config: c.part + "\n"})
		if err != nil {
			t.Fatal(err)
		}
		return made.applied, made.clean
	}
	inv := &Inventory{Devices: map[string]*Device{"sw": {Name: "sw", Platform: c.platform, Domain: "d"}}}
	g := &generator{Input: Input{Inventory: inv, Platforms: map[string]*Platform{c.platform: p}}, devices: map[string]*DevicePlan{}, undo: map[string][][]string{}}
	g.put(c.part, PlannedLink{VLAN: checkedVLAN, Domain: "d"}, Port{"sw", c.port})
	if g.errs != nil {
		t.Fatal(g.errs)
	}
	return g.devices["sw"].Applied, g.devices["sw"].Clean
}

// failed returns why checks fail, or "".
func (a answers) failed(checks []Check) (why string) {
	for _, c := range checks {
		why += c.Failed(a[c.Show])
	}
	return why
}

// with returns answers in which one answer is replaced.
func (a answers) with(command, said string) answers {
	b := maps.Clone(a)
	b[command] = said
	return b
}

// TestChecksAreNotContent: a check accepts the right answer and nothing else: not the answer
// about a port that is in another mode, shut down, in another VLAN or another port, not an
// error or an empty answer, and not an answer that was cut where the rest could say something
// else. The test rules out checks that only list forbidden lines, which an empty or
// misunderstood answer satisfies.
func TestChecksAreNotContent(t *testing.T) {
	for _, c := range slices.Concat(checkCases(), bridgeCases(), hostCases(), nxosCases(), aossCases()) {
		applied, clean := c.checks(t)
		for _, phase := range []struct {
			name   string
			checks []Check
			right  answers
			wrong  []wrong
		}{{"applied", applied, c.applied, c.notApplied}, {"clean", clean, c.clean, c.notClean}} {
			t.Run(c.platform+" "+c.part+" "+phase.name, func(t *testing.T) {
				var asked []string
				for _, k := range phase.checks {
					asked = append(asked, k.Show)
				}
				slices.Sort(asked)
				if known := slices.Sorted(maps.Keys(phase.right)); !slices.Equal(slices.Compact(asked), known) {
					t.Fatalf("the checks ask\n%q\nand known are the answers to\n%q", asked, known)
				}
				if why := phase.right.failed(phase.checks); why != "" {
					t.Fatalf("the right answers: %s", why)
				}
				c.tryNonsense(t, phase.checks, phase.right)
				for _, w := range phase.wrong {
					c.tryWrong(t, phase.checks, phase.right, w)
				}
			})
		}
	}
}

// tryNonsense answers each command with nothing, with errors, with the answer about another
// port, and with the beginning of the right answer.
func (c checkCase) tryNonsense(t *testing.T, checks []Check, right answers) {
	t.Helper()
	for command, said := range right {
		for _, nonsense := range append([]string{"", "\n", "\n\n"}, c.errors...) {
			if right.with(command, nonsense).failed(checks) == "" {
				t.Errorf("%q: content with %q", command, nonsense)
			}
		}
		others := strings.ReplaceAll(said, c.otherName, c.otherPortName)
		if c.otherName == "" {
			others = strings.ReplaceAll(said, "117", "118")
		}
		if others != said && right.with(command, others).failed(checks) == "" {
			t.Errorf("%q: content with another's answer:\n%s", command, others)
		}
		whole := len(strings.TrimSpace(said)) + strings.Index(said, strings.TrimSpace(said))
		if enough := c.enough[command]; enough != "" && strings.Contains(said, enough) {
			whole = strings.Index(said, enough) + len(strings.TrimSpace(enough))
		}
		for cut := range whole {
			if right.with(command, said[:cut]).failed(checks) == "" {
				t.Errorf("%q: content with what ends in the middle:\n%s", command, said[:cut])
			}
		}
	}
}

// tryWrong answers one command wrongly, also with an answer that is cut at the end of a line.
func (c checkCase) tryWrong(t *testing.T, checks []Check, right answers, w wrong) {
	t.Helper()
	for command, said := range right {
		if command != w.command && (w.command == "" || !strings.Contains(command, w.command) || right[w.command] != "") {
			continue
		}
		if !strings.Contains(said, w.right) {
			continue
		}
		is := strings.Replace(said, w.right, w.is, 1)
		if right.with(command, is).failed(checks) == "" {
			t.Errorf("%s: content with %q saying\n%s", w.name, command, is)
		}
		for cut := range is {
			if is[cut] == '\n' && right.with(command, is[:cut]).failed(checks) == "" {
				t.Errorf("%s: content with %q saying, before it was cut,\n%s", w.name, command, is[:cut])
			}
		}
		return
	}
	t.Errorf("%s: no command that has %q is answered with %q", w.name, w.command, w.right)
}

// TestWrongStates: a change that somebody made on a switch by hand, before or after a plan was
// applied, is found in the switch's answers. The test rules out checks of lines that a device
// does not show, or also shows in other states.
func TestWrongStates(t *testing.T) {
	type state struct {
		name, part string
		lines      []string
	}
	in := func(lines ...string) []string { return append([]string{"interface p7"}, lines...) }
	const rosP7, rosNone = `/interface bridge port set [find where interface="p7"] `, `/interface bridge set [find where name="bridge"] vlan-filtering=no`
	const vyosP7 = "set interfaces bridge br0 member interface p7"
	const unit = "interfaces p7 unit 0 family ethernet-switching "
	trunks := func(ids string) []string { return []string{"set " + unit + "vlan members " + ids} }
	for platform, tt := range map[string]struct{ applied, clean []state }{
		"arista_eos": {
			applied: []state{
				{"trunk", "access", in("switchport mode trunk")}, {"tunnel", "access", in("switchport mode dot1q-tunnel")}, {"routed", "access", in("no switchport")},
				{"shut down", "access", in("shutdown")}, {"other VLAN", "access", in("switchport access vlan 118")}, {"suspended", "vlan", []string{"vlan 117", "state suspend"}},
				{"access", "trunk", in("switchport mode access")}, {"shut down", "trunk", in("shutdown")},
			},
			clean: []state{{"trunk that is shut down", "access", in("switchport mode trunk")}, {"up", "access", in("no shutdown")}, {"without a list", "trunk", in("no switchport trunk allowed vlan")}},
		},
		"cisco_ios": {
			applied: []state{
				{"trunk", "access", in("switchport mode trunk")}, {"negotiated", "access", in("no switchport mode")}, {"routed", "access", in("no switchport")},
				{"shut down", "access", in("shutdown")}, {"other VLAN", "access", in("switchport access vlan 118")}, {"suspended", "vlan", []string{"vlan 117", "state suspend"}},
				{"VLAN shut down", "vlan", []string{"vlan 117", "shutdown"}}, {"access", "trunk", in("switchport mode access")}, {"shut down", "trunk", in("shutdown")},
			},
			clean: []state{{"trunk that is shut down", "access", in("switchport mode trunk")}, {"negotiated", "access", in("no switchport mode")}, {"without a list", "trunk", in("no switchport trunk allowed vlan")}},
		},
		"cisco_nxos": {
			applied: []state{
				{"trunk", "access", in("switchport mode trunk")}, {"routed", "access", in("no switchport")}, {"shut down", "access", in("shutdown")},
				{"other VLAN", "access", in("switchport access vlan 118")}, {"suspended", "vlan", []string{"vlan 117", "state suspend"}},
				{"access", "trunk", in("switchport mode access")}, {"shut down", "trunk", in("shutdown")}, {"routed", "trunk", in("no switchport")},
			},
			clean: []state{{"trunk that is shut down", "access", in("switchport mode trunk")}, {"up", "access", in("no shutdown")}, {"routed", "access", in("no switchport")}, {"without a list", "trunk", in("no switchport trunk allowed vlan")}},
		},
		"aruba_aoss": {
			applied: []state{
				{"other VLAN", "access", []string{"vlan 118", "untagged p7", "exit"}}, {"another VLAN beside it", "access", []string{"vlan 118", "tagged p7", "exit"}}, {"tagged", "access", []string{"vlan 117", "tagged p7", "exit"}},
				{"disabled", "access", in("disable", "exit")}, {"missing", "vlan", []string{"no vlan 117"}}, {"untagged", "trunk", []string{"vlan 117", "untagged p7", "exit"}}, {"disabled", "trunk", in("disable", "exit")},
			},
			clean: []state{
				{"enabled", "access", in("enable", "exit")}, {"in the default VLAN", "access", []string{"vlan 1", "untagged p7", "exit"}}, {"tagged", "access", []string{"vlan 118", "tagged p7", "exit"}},
				{"there", "vlan", []string{"vlan 117", "exit"}}, {"no list that is whole", "vlan", []string{"no vlan 4094"}}, {"untagged", "trunk", []string{"vlan 117", "untagged p7", "exit"}},
			},
		},
		"juniper_junos": {
			applied: []state{
				{"trunk", "access", []string{"delete " + unit + "interface-mode", "set " + unit + "interface-mode trunk"}}, {"disabled", "access", []string{"set interfaces p7 disable"}},
				{"unit deactivated", "access", []string{"deactivate interfaces p7 unit 0"}}, {"port deactivated", "access", []string{"deactivate interfaces p7"}},
				{"VLAN deactivated", "vlan", []string{"deactivate vlans lab-117"}}, {"disabled", "trunk", []string{"set interfaces p7 disable"}},
			},
			clean: []state{
				{"the disabling is deactivated", "access", []string{"deactivate interfaces p7 disable"}}, {"the port is deactivated", "access", []string{"deactivate interfaces p7"}},
				{"a range", "trunk", trunks("100-199")}, {"a number", "trunk", trunks("117")}, {"all", "trunk", trunks("all")}, {"inherited", "trunk", []string{"inherit " + unit + "vlan members 110-120"}},
			},
		},
		"nokia_srlinux": {
			applied: []state{
				{"trunk", "access", []string{"set / interface p7 vlan-tagging true"}}, {"shut down", "access", []string{"set / interface p7 admin-state disable"}},
				{"routed", "access", []string{"set / interface p7 subinterface 0 type routed"}}, {"another subinterface", "access", []string{"set / interface p7 subinterface 3 type bridged"}},
				{"in no VLAN", "access", []string{"delete / network-instance lab-117 interface p7.0"}}, {"VLAN shut down", "vlan", []string{"set / network-instance lab-117 admin-state disable"}},
				{"shut down", "trunk", []string{"set / interface p7 admin-state disable"}}, {"access", "trunk", []string{"set / interface p7 vlan-tagging false"}},
				{"in no VLAN", "trunk", []string{"delete / network-instance lab-117 interface p7.117"}}, {"gone", "trunk", []string{"delete / interface p7 subinterface 117"}},
			},
			clean: []state{
				{"up", "access", []string{"set / interface p7 admin-state enable"}}, {"trunk that is shut down", "access", []string{"set / interface p7 vlan-tagging true"}},
				{"there", "vlan", []string{"set / network-instance lab-117 type mac-vrf"}}, {"by another number", "trunk", []string{"set / interface p7 subinterface 5 vlan encap single-tagged vlan-id 117"}},
				{"a range", "trunk", []string{"set / interface p7 subinterface 5 vlan encap single-tagged-range low-vlan-id 100 high-vlan-id 120"}},
				{"any", "trunk", []string{"set / interface p7 subinterface 5 vlan encap single-tagged vlan-id any"}}, {"without a list", "trunk", []string{"delete / interface p7 subinterface 4094"}},
			},
		},
		"linux_bridge": {
			applied: []state{
				{"tagged", "access", []string{"bridge vlan add dev p7 vid 117"}}, {"another VLAN, too", "access", []string{"bridge vlan add dev p7 vid 118"}},
				{"no VLAN", "access", []string{"bridge vlan del dev p7 vid 117"}}, {"a bridge that ignores VLANs", "access", []string{"filtering off"}},
				{"untagged", "trunk", []string{"bridge vlan add dev p7 vid 117 pvid untagged"}}, {"a bridge that ignores VLANs", "trunk", []string{"filtering off"}},
				{"down", "trunk", []string{"down p7"}},
			},
			clean: []state{
				{"VLAN 1", "access", []string{"bridge vlan add dev p7 vid 1 pvid untagged"}}, {"a bridge that ignores VLANs", "access", []string{"filtering off"}},
				{"a range", "trunk", []string{"bridge vlan add dev p7 vid 100-199"}}, {"a bridge that ignores VLANs", "trunk", []string{"filtering off"}},
			},
		},
		"mikrotik_routeros": {
			applied: []state{
				{"trunk", "access", []string{rosP7 + "frame-types=admit-only-vlan-tagged"}}, {"all frames", "access", []string{rosP7 + "frame-types=admit-all"}},
				{"disabled", "access", []string{`/interface set [find where name="p7"] disabled=yes`}}, {"other VLAN", "access", []string{rosP7 + "pvid=118"}},
				{"tags within tags", "access", []string{rosP7 + "tag-stacking=yes"}}, {"disabled in the bridge", "access", []string{rosP7 + "disabled=yes"}},
				{"in no bridge", "access", []string{`/interface bridge port remove [find where interface="p7"]`}}, {"the bridge does not filter", "access", []string{rosNone}},
				{"row disabled", "trunk", []string{`/interface bridge vlan set [find where comment="lab-117"] disabled=yes`}}, {"not in the row", "trunk", []string{`/interface bridge vlan set [find where comment="lab-117"] tagged=p8`}},
				{"access", "trunk", []string{rosP7 + "frame-types=admit-only-untagged-and-priority-tagged"}}, {"disabled", "trunk", []string{`/interface set [find where name="p7"] disabled=yes`}},
				{"the bridge does not filter", "trunk", []string{rosNone}},
			},
			clean: []state{
				{"up", "access", []string{`/interface set [find where name="p7"] disabled=no`}}, {"a VLAN", "access", []string{rosP7 + "pvid=117"}}, {"all frames", "access", []string{rosP7 + "frame-types=admit-all"}},
				{"the bridge does not filter", "access", []string{rosNone}}, {"a range", "trunk", []string{"/interface bridge vlan add bridge=bridge vlan-ids=100-199 tagged=p9,p7"}},
				{"untagged", "trunk", []string{"/interface bridge vlan add bridge=bridge vlan-ids=117 untagged=p7"}}, {"by its PVID", "trunk", []string{rosP7 + "frame-types=admit-all pvid=117"}},
				{"the bridge does not filter", "trunk", []string{rosNone}}, {"no spare VLAN", "trunk", []string{`/interface bridge vlan remove [find where vlan-ids=4094]`}},
			},
		},
		"vyos": {
			applied: []state{
				{"trunk", "access", []string{vyosP7 + " allowed-vlan 118"}}, {"disabled", "access", []string{"set interfaces ethernet p7 disable"}}, {"other VLAN", "access", []string{vyosP7 + " native-vlan 118"}},
				{"isolated", "access", []string{vyosP7 + " isolated"}}, {"no VLANs", "access", []string{"delete interfaces bridge br0 enable-vlan"}}, {"bridge disabled", "access", []string{"set interfaces bridge br0 disable"}},
				{"untagged", "trunk", []string{vyosP7 + " native-vlan 117"}}, {"disabled", "trunk", []string{"set interfaces ethernet p7 disable"}}, {"no VLANs", "trunk", []string{"delete interfaces bridge br0 enable-vlan"}},
			},
			clean: []state{
				{"up", "access", []string{"delete interfaces ethernet p7 disable"}}, {"a VLAN", "access", []string{vyosP7 + " native-vlan 117"}}, {"trunk", "access", []string{vyosP7 + " allowed-vlan 117"}},
				{"in no bridge", "access", []string{"delete interfaces bridge br0 member interface p7"}}, {"a range", "trunk", []string{vyosP7 + " allowed-vlan 100-199"}},
				{"untagged", "trunk", []string{vyosP7 + " native-vlan 117"}}, {"no VLAN at all", "trunk", []string{"delete interfaces bridge br0 member interface p7 allowed-vlan"}},
			},
		},
		"openvswitch": {
			applied: []state{{"trunk", "access", []string{"ovs-vsctl set Port p7 vlan_mode=trunk"}}, {"no mode", "access", []string{"ovs-vsctl clear Port p7 vlan_mode"}}, {"access", "trunk", []string{"ovs-vsctl set Port p7 vlan_mode=access"}}},
			clean:   []state{{"trunk", "access", []string{"ovs-vsctl set Port p7 vlan_mode=trunk"}}, {"all", "trunk", []string{"ovs-vsctl remove Port p7 trunks 4095"}}},
		},
	} {
		try := func(s state, phase string) {
			t.Run(platform+" "+s.part+" "+phase+" "+s.name, func(t *testing.T) {
				p, err := LoadPlatform("", platform)
				if err != nil {
					t.Fatal(err)
				}
				inv := &Inventory{Devices: map[string]*Device{"sw": {Name: "sw", Platform: platform, Domain: "d"}}}
				g := &generator{Input: Input{Inventory: inv, Platforms: map[string]*Platform{platform: p}}, devices: map[string]*DevicePlan{}, undo: map[string][][]string{}}
				port := Port{"sw", "p7"}
				if s.part == partVLAN {
					port.Name = ""
				}
				link := PlannedLink{VLAN: checkedVLAN, Domain: "d"}
				if s.part == partTrunk {
					link.TrunkPorts = []Port{port}
				}
				g.put(s.part, link, port)
				d, m := *g.device("sw"), modelOf(platform)
				prepare(m, "p7", s.part == partTrunk)
				do := func(lines []string) {
					for _, l := range lines {
						if group, ok := strings.CutPrefix(l, "inherit "); ok {
							m.(*junosModel).inherited = append(m.(*junosModel).inherited, group)
						} else if said := m.do(l); said != "" {
							t.Fatalf("%q: %s", l, said)
						}
					}
				}
				checks := d.Clean
				if phase == "applied" {
					do(d.Apply)
					checks = d.Applied
				}
				if got := content(m, checks); got == nil {
					t.Fatalf("the right state is not right:\n%s", m)
				}
				do(s.lines)
				if got := content(m, checks); got != nil {
					t.Errorf("content with\n%s", m)
				}
			})
		}
		for _, s := range tt.applied {
			try(s, "applied")
		}
		for _, s := range tt.clean {
			try(s, "clean")
		}
	}
}

// TestVLANsElsewhere: an IOS switch that is a VTP server has VLANs that its configuration does
// not show.
func TestVLANsElsewhere(t *testing.T) {
	p, err := LoadPlatform("", "cisco_ios")
	if err != nil {
		t.Fatal(err)
	}
	inv := &Inventory{Devices: map[string]*Device{"sw": {Name: "sw", Platform: "cisco_ios", Domain: "d"}}}
	g := &generator{Input: Input{Inventory: inv, Platforms: map[string]*Platform{"cisco_ios": p}}, devices: map[string]*DevicePlan{}, undo: map[string][][]string{}}
	g.put(partVLAN, PlannedLink{VLAN: checkedVLAN, Domain: "d"}, Port{Device: "sw"})
	d, m := *g.device("sw"), &iosModel{platform: "cisco_ios", vtp: "server", blocks: map[string][]string{}}
	if got := content(m, d.Clean); got == nil {
		t.Error("without the VLAN it is not clean")
	}
	if got := content(m, d.Applied); got != nil {
		t.Error("without the VLAN it is applied")
	}
	m.do("vlan 117")
	if strings.Contains(m.show("show running-config"), "vlan 117") {
		t.Fatal("the model shows its VLANs")
	}
	if got := content(m, d.Applied); got == nil {
		t.Error("with the VLAN it is not applied")
	}
	if got := content(m, d.Clean); got != nil {
		t.Error("with the VLAN it is clean")
	}
}
