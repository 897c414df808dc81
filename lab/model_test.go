package lab

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A model is a device as far as a plan changes it. It shows what the real one shows, with
// what that leaves out: a model that is kinder than the device hides faults.
type model interface {
	do(line string) string // what it says is an error
	show(command string) string
	String() string
}

func modelOf(platform string) model {
	switch platform {
	case "openvswitch":
		return &ovsModel{ports: map[string]*ovsPort{}}
	case "juniper_junos":
		return &junosModel{}
	case "cisco_nxos":
		return newNXOS()
	case "aruba_aoss":
		return newAOSS()
	case "nokia_srlinux":
		m := srlModel{newSRLTree()}
		m.do("set / network-instance mgmt type ip-vrf")
		return m
	case "linux_bridge":
		return &bridgeModel{filtering: true, ports: map[string]*bridgePort{}}
	case "mikrotik_routeros":
		return newRosModel()
	case "vyos":
		return vyosSwitch{newVyOSModel()}
	}
	return &iosModel{platform: platform, blocks: map[string][]string{}}
}

// prepare makes a port what docs/lab.md wants a laboratory's switch to have.
func prepare(m model, port string, trunk bool) {
	switch m := m.(type) {
	case *bridgeModel:
		m.ports[port] = &bridgePort{up: true, cable: true, vlans: map[int]string{}}
	case *ovsModel:
		m.ports[port] = &ovsPort{mode: ifElse(trunk, "trunk", "access"), protected: !trunk, trunks: map[int]bool{}}
		if trunk {
			m.ports[port].trunks[4095] = true
		}
	case *iosModel:
		m.blocks["interface "+port] = []string{} // it is soldered in
		lines := []string{"switchport mode access", "shutdown"}
		if trunk {
			lines = []string{"switchport mode trunk", allowedVLANs + "4094"}
		}
		m.do("interface " + port)
		for _, l := range lines {
			m.do(l)
		}
		m.in = ""
	case srlModel:
		lines := []string{"admin-state disable", "vlan-tagging false", "subinterface 0 type bridged", "subinterface 0 admin-state disable"}
		if trunk {
			lines = []string{"admin-state enable", "vlan-tagging true", "subinterface 4094 type bridged", "subinterface 4094 vlan encap single-tagged vlan-id 4094"}
		}
		for _, l := range lines {
			m.do("set / interface " + port + " " + l)
		}
	case vyosSwitch:
		m.do("set interfaces bridge br0 enable-vlan")
		m.do("set interfaces bridge br0 member interface " + port + ifElse(trunk, " allowed-vlan 4094", ""))
		m.do("set interfaces ethernet " + port + ifElse(trunk, " hw-id 00:53:00:00:aa:01", " disable"))
	case *rosModel:
		if m.row("/interface bridge", "name", "bridge") == nil {
			m.do("/interface bridge add name=bridge vlan-filtering=yes")
		}
		m.rows["/interface ethernet"] = append(m.rows["/interface ethernet"], &rosRow{disabled: !trunk, values: map[string]string{"name": port, "default-name": port}})
		m.do("/interface bridge port add bridge=bridge interface=" + port + " frame-types=" + ifElse(trunk, "admit-only-vlan-tagged", "admit-only-untagged-and-priority-tagged"))
		if spare := m.row("/interface bridge vlan", "vlan-ids", "4094"); trunk && spare == nil {
			m.do("/interface bridge vlan add bridge=bridge vlan-ids=4094 tagged=" + port)
		} else if trunk {
			spare.values["tagged"] += "," + port
		}
	case *junosModel:
		const family = " unit 0 family ethernet-switching "
		m.do("set interfaces " + port + family + "interface-mode " + ifElse(trunk, "trunk", "access"))
		m.do("set interfaces " + port + ifElse(trunk, family+"vlan members placeholder", " disable"))
	case *nxosModel:
		m.solder(port)
		m.do("interface " + port)
		for _, l := range strings.Split(ifElse(trunk, "switchport mode trunk/"+allowedVLANs+"none", "shutdown"), "/") {
			m.do(l)
		}
		m.leave()
	case *aossModel:
		m.solder(port)
		for _, l := range strings.Split("vlan 4094/untagged "+port+"/exit"+ifElse(trunk, "", "/interface "+port+"/disable/exit"), "/") {
			m.do(l)
		}
	}
}

type ovsPort struct {
	mode, tag string // "": []
	protected bool
	trunks    map[int]bool
}

type ovsModel struct{ ports map[string]*ovsPort }

func (m *ovsModel) do(line string) string {
	rest, ok := strings.CutPrefix(line, "ovs-vsctl ")
	if !ok {
		return "not found: " + line
	}
	for _, command := range strings.Split(rest, " -- ") {
		f := strings.Fields(command)
		if len(f) < 4 || f[1] != "Port" || m.ports[f[2]] == nil {
			return "no row: " + command
		}
		p := m.ports[f[2]]
		switch {
		case f[0] == "set":
			for _, s := range f[3:] {
				k, v, _ := strings.Cut(s, "=")
				switch k {
				case "tag":
					p.tag = v
				case "vlan_mode":
					p.mode = v
				case "protected":
					p.protected = v == "true"
				default:
					return "unknown column: " + k
				}
			}
		case f[0] == "clear" && f[3] == "tag":
			p.tag = ""
		case f[0] == "clear" && f[3] == "vlan_mode":
			p.mode = ""
		case (f[0] == "add" || f[0] == "remove") && f[3] == "trunks" && len(f) == 5:
			id, err := strconv.Atoi(f[4])
			if err != nil {
				return err.Error()
			}
			if delete(p.trunks, id); f[0] == "add" {
				p.trunks[id] = true
			}
		default:
			return "unknown command: " + command
		}
	}
	return ""
}

func (m *ovsModel) show(command string) string {
	f := strings.Fields(command)
	p := m.ports[f[3]]
	if p == nil {
		return fmt.Sprintf("ovs-vsctl: no row %q in table Port\n", f[3])
	}
	var out strings.Builder
	for _, column := range f[4:] {
		switch column {
		case "name":
			fmt.Fprintln(&out, f[3])
		case "vlan_mode":
			out.WriteString(ifElse(p.mode == "", "[]", p.mode) + "\n")
		case "tag":
			out.WriteString(ifElse(p.tag == "", "[]", p.tag) + "\n")
		case "protected":
			fmt.Fprintln(&out, p.protected)
		case "trunks":
			out.WriteString("[" + strings.Trim(strings.ReplaceAll(fmt.Sprint(slices.Sorted(maps.Keys(p.trunks))), " ", ", "), "[]") + "]\n")
		}
	}
	return out.String()
}

func (m *ovsModel) String() string {
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(m.ports)) {
		fmt.Fprintln(&out, name, m.show("ovs-vsctl get Port "+name+" vlan_mode tag protected trunks"))
	}
	return out.String()
}

// An iosModel has blocks of lines, in the manner of IOS, EOS and FRR.
type iosModel struct {
	platform string
	blocks   map[string][]string
	in       string // the block that was entered
	vtp      string // of IOS: server, client, or "" for transparent
}

const allowedVLANs = "switchport trunk allowed vlan "

// hardware is an interface that is neither made nor removed by configuring it.
func (m *iosModel) hardware(block string) bool {
	name, ok := strings.CutPrefix(block, "interface ")
	virtual := regexp.MustCompile(`(?i)^(loopback|vlan|tunnel|port-channel|dialer|vxlan|.*\.\d+$)`)
	return ok && (m.platform == "cisco_ios" || m.platform == "arista_eos") && !virtual.MatchString(name)
}

func (m *iosModel) do(line string) string {
	line = strings.TrimSpace(line)
	word, rest, _ := strings.Cut(line, " ")
	switch {
	case word == "exit" || word == "end":
		m.in = ""
	case m.vtp == "client" && strings.HasPrefix(strings.TrimPrefix(line, "no "), "vlan "):
		return "%VTP VLAN configuration not allowed when device is in CLIENT mode."
	case word == "interface" || word == "vlan" || word == "router":
		if m.blocks[line] == nil && m.hardware(line) {
			return "% Invalid input detected at '^' marker."
		}
		m.in = line
		if m.blocks[line] == nil {
			m.blocks[line] = []string{}
		}
	case word == "no" && m.blocks[rest] != nil && m.hardware(rest):
		return "% Removal of physical interfaces is not permitted"
	case word == "no" && m.blocks[rest] != nil:
		delete(m.blocks, rest)
		m.in = ""
	case m.in == "":
		return "% Invalid input detected at '^' marker."
	case strings.HasPrefix(line, allowedVLANs):
		m.blocks[m.in] = allow(m.blocks[m.in], strings.TrimPrefix(line, allowedVLANs))
	case line == "switchport":
		m.drop("no switchport")
	case word == "no" && line != "no switchport":
		m.drop(rest)
	case line == "switchport mode access" && m.platform == "arista_eos":
		m.drop("switchport mode") // the default, of which nothing is seen
	default:
		key := line
		for _, single := range []string{"switchport mode", "switchport access vlan", "description", "ip ospf hello-interval"} {
			if strings.HasPrefix(line, single+" ") {
				key = single
			}
		}
		ls := m.blocks[m.in]
		if i := slices.IndexFunc(ls, func(l string) bool { return l == key || key != line && strings.HasPrefix(l, key+" ") }); i >= 0 {
			ls[i] = line
		} else {
			m.blocks[m.in] = append(ls, line)
		}
		slices.Sort(m.blocks[m.in])
	}
	return ""
}

// leave is what a session does at its end.
func (m *iosModel) leave() { m.in = "" }

// drop removes the lines that begin with words.
func (m *iosModel) drop(words string) {
	m.blocks[m.in] = slices.DeleteFunc(m.blocks[m.in], func(l string) bool { return l == words || strings.HasPrefix(l, words+" ") })
}

// value returns what follows words in a block, or def.
func (m *iosModel) value(block, words, def string) string {
	for _, l := range m.blocks[block] {
		if v, ok := strings.CutPrefix(l, words+" "); ok || l == words {
			return v
		}
	}
	return def
}

// allow is what "add 100" or "remove 100" makes of a trunk's list.
func allow(lines []string, change string) []string {
	ids := map[string]bool{}
	at := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, allowedVLANs) })
	switch {
	case at < 0 && !strings.Contains(change, " "):
		return append(lines, allowedVLANs+change)
	case at < 0:
		return lines // it carries all, and goes on doing so
	}
	for _, id := range strings.Split(strings.TrimPrefix(lines[at], allowedVLANs), ",") {
		ids[id] = true
	}
	verb, id, _ := strings.Cut(change, " ")
	if delete(ids, id); verb == "add" {
		ids[id] = true
	}
	delete(ids, "none")
	lines[at] = allowedVLANs + ifElse(len(ids) == 0, "none", strings.Join(slices.Sorted(maps.Keys(ids)), ","))
	return lines
}

// show gives what the device says to commands that only look.
func (m *iosModel) show(command string) string {
	f := strings.Fields(command)
	switch {
	case len(f) > 1 && f[1] == "vlan":
		return m.showVLAN(f[len(f)-1])
	case len(f) == 4 && f[1] == "interfaces" && m.blocks["interface "+f[2]] == nil:
		return "% Invalid input detected at '^' marker.\n"
	case len(f) == 4 && f[1] == "interfaces" && f[3] == "switchport":
		return m.showSwitchport("interface "+f[2], f[2])
	case len(f) == 4 && f[1] == "interfaces" && f[3] == "status":
		return m.showStatus("interface "+f[2], f[2])
	case len(f) == 4 && strings.HasPrefix(f[2], "interface"):
		return m.running("interface " + f[3])
	case command == "show running-config":
		return m.running("")
	}
	return "% Invalid input detected at '^' marker.\n"
}

func (m *iosModel) showVLAN(id string) string {
	var out strings.Builder
	for _, b := range slices.Sorted(maps.Keys(m.blocks)) {
		one, ok := strings.CutPrefix(b, "vlan ")
		if !ok || id != "vlan" && id != "brief" && id != one {
			continue
		}
		state := "active"
		if slices.Contains(m.blocks[b], "state suspend") {
			state = "suspended"
		} else if slices.Contains(m.blocks[b], "shutdown") {
			state = "act/lshut"
		}
		fmt.Fprintf(&out, "%-4s %-32s %-9s \n", one, "VLAN"+one, state)
	}
	if out.Len() == 0 {
		return ifElse(m.platform == "arista_eos", "% VLAN ", "VLAN id ") + id + " not found in current VLAN database\n"
	}
	return "\nVLAN Name                             Status    Ports\n---- -------------------------------- --------- -------------------------------\n" + out.String()
}

// short is a port's name as these devices shorten it.
func short(port string) string {
	at := strings.IndexAny(port, "0123456789")
	return port[:min(2, at)] + port[at:]
}

func (m *iosModel) showSwitchport(block, port string) string {
	if slices.Contains(m.blocks[block], "no switchport") {
		return "Name: " + short(port) + "\nSwitchport: Disabled\n"
	}
	mode := m.value(block, "switchport mode", ifElse(m.platform == "arista_eos", "access", "dynamic auto"))
	list := m.value(block, "switchport trunk allowed vlan", "ALL")
	return "Name: " + short(port) + "\nSwitchport: Enabled\n" +
		"Administrative Mode: " + strings.Replace(mode, "access", "static access", 1) + "\nOperational Mode: down\n" +
		"Access Mode VLAN: " + m.value(block, "switchport access vlan", "1") + " (a name)\nTrunking Native Mode VLAN: 1 (default)\n" +
		"Trunking VLANs Enabled: " + ifElse(list == "none", "NONE", list) + "\n" +
		ifElse(m.platform == "arista_eos", "Static Trunk Groups:\nDynamic Trunk Groups:\n", "Pruning VLANs Enabled: 2-1001\n")
}

func (m *iosModel) showStatus(block, port string) string {
	vlan := m.value(block, "switchport access vlan", "1")
	switch {
	case slices.Contains(m.blocks[block], "no switchport"):
		vlan = "routed"
	case m.value(block, "switchport mode", "") == "trunk":
		vlan = "trunk"
	}
	status := ifElse(slices.Contains(m.blocks[block], "shutdown"), "disabled", "notconnect")
	return "Port       Name   Status       Vlan     Duplex Speed  Type\n" +
		fmt.Sprintf("%-10s %-6.6s %-12s %-8s %-6s %-6s %s\n", short(port), m.value(block, "description", ""), status, vlan, "auto", "auto", "Not Present")
}

// running shows the configuration, or that of one interface.
func (m *iosModel) running(one string) string {
	var out strings.Builder
	ofEOS := m.platform == "arista_eos" && one != ""
	if !ofEOS {
		out.WriteString("Building configuration...\n\nCurrent configuration : 77 bytes\n!\n")
	}
	if one != "" && m.blocks[one] == nil {
		return "% Invalid input detected at '^' marker.\n"
	}
	for _, b := range slices.Sorted(maps.Keys(m.blocks)) {
		switch {
		case one != "" && one != b,
			m.vtp != "" && strings.HasPrefix(b, "vlan "), // it has them in another file
			m.platform == "" && strings.HasPrefix(b, "interface") && len(m.blocks[b]) == 0:
			continue
		}
		fmt.Fprintln(&out, b)
		for _, l := range m.blocks[b] {
			fmt.Fprintln(&out, " "+l)
		}
		if !ofEOS {
			out.WriteString("!\n")
		}
	}
	if !ofEOS {
		out.WriteString("end\n")
	}
	return out.String()
}

// String is all that it has, also what it does not show.
func (m *iosModel) String() string {
	shown := *m
	shown.vtp = ""
	return shown.running("")
}

// A junosModel has lines of "set", marks of what is deactivated, and groups that all
// interfaces inherit from.
type junosModel struct {
	sets, inactive, inherited []string
}

func under(path, line string) bool {
	return path == "" || line == path || strings.HasPrefix(line, path+" ")
}

func (m *junosModel) do(line string) string {
	word, rest, _ := strings.Cut(line, " ")
	switch {
	case word == "delete":
		gone := func(l string) bool { return under(rest, l) }
		m.sets, m.inactive = slices.DeleteFunc(m.sets, gone), slices.DeleteFunc(m.inactive, gone)
	case word == "deactivate":
		m.inactive = append(m.inactive, rest)
	case word == "activate":
		m.inactive = slices.DeleteFunc(m.inactive, func(l string) bool { return l == rest })
	case word != "set":
		return "unknown command."
	case !slices.Contains(m.sets, rest):
		m.sets = append(m.sets, rest)
		slices.Sort(m.sets)
	}
	return ""
}

// show knows "show configuration PATH", with what is inherited and as "set" lines, or as
// XML.
func (m *junosModel) show(command string) string {
	path, pipes, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(command, "show configuration"), " "), "| ")
	path = strings.TrimSpace(path)
	sets := slices.Clone(m.sets)
	if strings.Contains(pipes, "inheritance") {
		sets = append(sets, m.inherited...)
		slices.Sort(sets)
	}
	sets = slices.DeleteFunc(sets, func(l string) bool { return !under(path, l) })
	if strings.Contains(pipes, "display xml") {
		return m.xml(sets)
	}
	var out strings.Builder
	for _, l := range sets {
		fmt.Fprintln(&out, "set "+l)
	}
	for _, l := range m.inactive {
		if under(path, l) {
			fmt.Fprintln(&out, "deactivate "+l)
		}
	}
	return out.String()
}

// xml shows lines of an interface or a VLAN.
func (m *junosModel) xml(sets []string) string {
	var out strings.Builder
	open := []string{} // the elements, by the paths that they stand for
	tag := func(path string) string {
		f := strings.Fields(path)
		name := f[len(f)-1]
		switch {
		case len(f) == 2:
			name = strings.TrimSuffix(f[0], "s") // interfaces p1
		case len(f) == 4 && f[2] == "unit":
			name = f[2]
		}
		return name + ifElse(slices.Contains(m.inactive, path), ` inactive="inactive"`, "")
	}
	shut := func(to int) {
		for ; len(open) > to; open = open[:len(open)-1] {
			out.WriteString("</" + strings.Fields(tag(open[len(open)-1]))[0] + ">\n")
		}
	}
	out.WriteString("<rpc-reply xmlns:junos=\"http://xml.juniper.net/junos/21.4R0/junos\">\n<configuration>\n")
	for _, l := range sets {
		f := strings.Fields(l)
		levels := []int{1, 2}
		if f[0] == "interfaces" && len(f) > 4 {
			levels = []int{1, 2, 4}
			for n := 6; n < len(f)-1; n++ {
				levels = append(levels, n)
			}
		}
		for i, n := range levels {
			path := strings.Join(f[:n], " ")
			if i < len(open) && open[i] == path {
				continue
			}
			shut(i)
			open = append(open, path)
			out.WriteString("<" + tag(path) + ">\n")
			if n == 2 || n == 4 {
				out.WriteString("<name>" + f[n-1] + "</name>\n")
			}
		}
		off := ifElse(slices.Contains(m.inactive, l), ` inactive="inactive"`, "")
		if at := levels[len(levels)-1]; at == len(f)-1 {
			out.WriteString("<" + f[at] + off + "/>\n")
		} else {
			out.WriteString("<" + f[len(f)-2] + off + ">" + f[len(f)-1] + "</" + f[len(f)-2] + ">\n")
		}
	}
	shut(0)
	return out.String() + "</configuration>\n<cli>\n<banner>{master:0}</banner>\n</cli>\n</rpc-reply>\n"
}

func (m *junosModel) String() string { return m.show("show configuration") }
