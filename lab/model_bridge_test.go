package lab

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

type bridgePort struct {
	up, cable bool
	vlans     map[int]string // with what is shown behind the id
}

// A bridgeModel is a Linux host with a bridge.
type bridgeModel struct {
	filtering bool
	ports     map[string]*bridgePort
}

func (m *bridgeModel) do(line string) string {
	f := strings.Fields(line)
	switch {
	case line == "filtering off": // what somebody does by hand, in other words
		m.filtering = false
		return ""
	case len(f) == 2 && f[0] == "down" && m.ports[f[1]] != nil:
		m.ports[f[1]].up = false
		return ""
	case len(f) < 7 || f[0] != "bridge" || f[1] != "vlan" || f[3] != "dev" || f[5] != "vid":
		return "Command line is not complete."
	}
	p := m.ports[f[4]]
	if p == nil {
		return fmt.Sprintf("Cannot find bridge device %q", f[4])
	}
	first, last, isRange := strings.Cut(f[6], "-")
	from, err := strconv.Atoi(first)
	to := from
	if isRange && err == nil {
		to, err = strconv.Atoi(last)
	}
	if err != nil || from < 1 || to > 4094 {
		return fmt.Sprintf("Invalid VLAN ID %q", f[6])
	}
	pvid, untagged := slices.Contains(f[7:], "pvid"), slices.Contains(f[7:], "untagged")
	for id := from; id <= to; id++ {
		if f[2] == "del" {
			delete(p.vlans, id)
			continue
		}
		if pvid {
			for other, flags := range p.vlans {
				p.vlans[other] = strings.Replace(flags, " PVID", "", 1)
			}
		}
		p.vlans[id] = ifElse(pvid, " PVID", "") + ifElse(untagged, " Egress Untagged", "")
	}
	return ""
}

func (m *bridgeModel) show(command string) string {
	name := command[strings.LastIndexByte(command, ' ')+1:]
	p := m.ports[name]
	if p == nil {
		return fmt.Sprintf("Cannot find device %q\n", name)
	}
	flags, state := "BROADCAST,MULTICAST", "disabled"
	switch {
	case p.up && p.cable:
		flags, state = flags+",UP,LOWER_UP", "forwarding"
	case p.up:
		flags = "NO-CARRIER," + flags + ",UP"
	}
	var out strings.Builder
	fmt.Fprintf(&out, "4: %s@if3: <%s> mtu 1500 master br0 state %s priority 32 cost 2 \n    hairpin off guard off vlan_tunnel off isolated off locked off \n", name, flags, state)
	fmt.Fprintf(&out, "/sys/class/net/%s/master/bridge/vlan_filtering:%d\nport              vlan-id  \n", name, ifElse(m.filtering, 1, 0))
	for i, id := range slices.Sorted(maps.Keys(p.vlans)) {
		fmt.Fprintf(&out, "%-16s  %d%s\n", ifElse(i == 0, name, ""), id, p.vlans[id])
	}
	return out.String() + "= " + name + "\n"
}

func (m *bridgeModel) String() string {
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(m.ports)) {
		fmt.Fprintln(&out, m.show("echo = "+name))
	}
	return out.String()
}

// bridgeCases are for [TestChecksAreNotContent], in the forms of iproute2 6.1 and 4.20.
func bridgeCases() []checkCase {
	const bridge = "bridge -d link show dev p7 && grep -H . /sys/class/net/p7/master/bridge/vlan_filtering && bridge vlan show dev p7 && echo = p7"
	bridgeErrors := []string{"Cannot find device \"p7\"\n", "bash: bridge: command not found\n", "grep: /sys/class/net/p7/master/bridge/vlan_filtering: No such file or directory\n"}
	bridged := func(vlans ...string) answers {
		said := "4: p7@if3: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 master br0 state forwarding priority 32 cost 2 \n" +
			"    hairpin off guard off root_block off fastleave off learning on flood on mcast_flood on bcast_flood on mcast_router 1 mcast_to_unicast off neigh_suppress off vlan_tunnel off isolated off locked off \n" +
			"/sys/class/net/p7/master/bridge/vlan_filtering:1\nport              vlan-id  \n"
		for i, v := range vlans {
			said += fmt.Sprintf("%-16s  %s\n", ifElse(i == 0, "p7", ""), v)
		}
		return answers{bridge: said + "= p7\n"}
	}
	oldBridge := func(vlans string) answers { // before iproute2 5.7
		return answers{bridge: "4: p7: <NO-CARRIER,BROADCAST,MULTICAST,UP> mtu 1500 master br0 state disabled priority 32 cost 100 \n" +
			"    hairpin off guard off root_block off fastleave off learning on flood on mcast_flood on vlan_tunnel off isolated off \n" +
			"/sys/class/net/p7/master/bridge/vlan_filtering:1\nport\tvlan ids\n" + vlans + "\n= p7\n"}
	}
	bridgeWrongs := []wrong{
		{"a bridge that ignores VLANs", "bridge", "filtering:1", "filtering:0"},
		{"of no bridge", "bridge", " master br0 state forwarding", ""},
	}
	bridgeDown := append(slices.Clone(bridgeWrongs),
		wrong{"down", "bridge", ",UP,LOWER_UP>", ">"}, wrong{"down by its state", "bridge", "state forwarding", "state disabled"},
		wrong{"blocked", "bridge", "state forwarding", "state blocking"}, wrong{"isolated", "bridge", "isolated off", "isolated on"},
		wrong{"locked", "bridge", "locked off", "locked on"}, wrong{"a tunnel", "bridge", "vlan_tunnel off", "vlan_tunnel on"})
	return []checkCase{
		{
			platform: "linux_bridge", part: "access", port: "p7", errors: bridgeErrors, otherName: "p7", otherPortName: "p17",
			applied: bridged("117 PVID Egress Untagged"), clean: bridged(),
			notApplied: append([]wrong{
				{"tagged", "bridge", " PVID Egress Untagged", ""},
				{"goes out tagged", "bridge", " Egress Untagged", ""},
				{"comes in by no VLAN", "bridge", " PVID", ""},
				{"other VLAN", "bridge", "117 PVID", "1170 PVID"},
				{"another VLAN, too", "bridge", "Untagged\n", "Untagged\n                  118\n"},
				{"another VLAN goes out", "bridge", "117 PVID", "1 Egress Untagged\n                  117 PVID"},
				{"a range of VLANs, too", "bridge", "Untagged\n", "Untagged\n                  200-300 Egress Untagged\n"},
				{"no VLAN", "bridge", "p7                117 PVID Egress Untagged\n", ""},
			}, bridgeDown...),
			notClean: append([]wrong{
				{"the VLAN of all ports", "bridge", "= p7", "p7                1 PVID Egress Untagged\n= p7"},
				{"a tagged VLAN", "bridge", "= p7", "p7                117\n= p7"},
				{"a range", "bridge", "= p7", "p7                117-120\n= p7"},
			}, bridgeWrongs...),
		},
		{
			platform: "linux_bridge", part: "trunk", port: "p7", errors: bridgeErrors, otherName: "p7", otherPortName: "p17",
			applied: bridged("1 PVID Egress Untagged", "117", "118"), clean: bridged("1 PVID Egress Untagged", "116", "118"),
			notApplied: append([]wrong{
				{"others", "bridge", "                  117\n", ""}, {"untagged", "bridge", "117\n", "117 PVID Egress Untagged\n"}, {"goes out untagged", "bridge", "117\n", "117 Egress Untagged\n"},
			}, bridgeDown...),
			notClean: append([]wrong{
				{"carried", "bridge", "116\n", "117\n"}, {"in a range", "bridge", "116\n", "116-120\n"}, {"untagged", "bridge", "116\n", "117 PVID Egress Untagged\n"}, {"first", "bridge", "p7                1 ", "p7                117 "},
			}, bridgeWrongs...),
		},
		{
			platform: "linux_bridge", part: "access", port: "p7", errors: bridgeErrors, otherName: "p7", otherPortName: "p17",
			applied: oldBridge("p7\t 117 PVID Egress Untagged\n"), clean: oldBridge("p7\tNone\n"),
			notApplied: []wrong{{"another VLAN, too", "bridge", "Untagged\n", "Untagged\n\t 118\n"}, {"other VLAN", "bridge", "117", "118"}},
			notClean:   []wrong{{"a VLAN", "bridge", "None", " 118"}, bridgeWrongs[0], {"of no bridge", "bridge", " master br0 state disabled", ""}},
		},
		{
			platform: "linux_bridge", part: "trunk", port: "p7", errors: bridgeErrors, otherName: "p7", otherPortName: "p17",
			applied: oldBridge("p7\t 116\n\t 117\n"), clean: oldBridge("p7\t None\n"),
			notApplied: []wrong{{"other VLAN", "bridge", "117", "118"}},
			notClean:   []wrong{{"a VLAN", "bridge", "None", "117"}},
		},
	}
}
