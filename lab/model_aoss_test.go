package lab

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// An aossModel is a ProCurve as far as its configuration goes. A port has one untagged
// VLAN, and is in one VLAN at least: what is given another leaves the first, and what is
// in none falls back into VLAN 1. Ports of a trunk are in no VLAN, the trunk is. The
// commands of a VLAN and of a port are known in it only, and those of the top there only.
type aossModel struct {
	ports  map[string]*aossPort
	vlans  map[int]*aossVLAN
	trunks map[string]string // "23-24": "Trk1 lacp"
	lines  []string          // others of the top
	host   string
	in     string // "vlan 100", "interface 5" or ""
}

type aossPort struct {
	trunk string // that it is a part of
	down  bool
	lines []string
}

type aossVLAN struct {
	name             string
	tagged, untagged map[string]bool
	lines            []string
}

func newAOSS(ports ...string) *aossModel {
	m := &aossModel{ports: map[string]*aossPort{}, vlans: map[int]*aossVLAN{}, trunks: map[string]string{}, host: "HP-2920-24G"}
	m.vlan(1).name = "DEFAULT_VLAN"
	m.vlan(4094)
	for _, p := range ports {
		m.solder(p)
	}
	return m
}

func (m *aossModel) solder(port string) {
	m.ports[port] = &aossPort{}
	m.vlans[1].untagged[port] = true
}

func (m *aossModel) vlan(id int) *aossVLAN {
	if m.vlans[id] == nil {
		m.vlans[id] = &aossVLAN{name: "VLAN" + strconv.Itoa(id), tagged: map[string]bool{}, untagged: map[string]bool{}}
	}
	return m.vlans[id]
}

func (m *aossModel) leave() { m.in = "" }

func (m *aossModel) do(line string) string {
	line = strings.Join(strings.Fields(line), " ")
	switch {
	case line == "exit" || line == "end":
		m.in = ""
		return ""
	case m.in == "":
		return m.top(line)
	case strings.HasPrefix(m.in, "vlan "):
		id, _ := strconv.Atoi(m.in[len("vlan "):])
		return m.inVLAN(id, line)
	}
	return m.inPort(m.ports[m.in[len("interface "):]], line)
}

var (
	aossTop  = regexp.MustCompile(`^(ip default-gateway|snmp-server community|spanning-tree|ntp server|timesync|ip route|logging)( \S+)*$`)
	aossNeed = regexp.MustCompile(`^(ip address|ip igmp|voice|jumbo|name|ip helper-address)\b`)
)

func (m *aossModel) top(line string) string {
	f := strings.Fields(line)
	not, negated := strings.CutPrefix(line, "no ")
	switch {
	case f[0] == "vlan" && len(f) == 2:
		id, err := strconv.Atoi(f[1])
		if err != nil || id < 1 || id > 4094 {
			return "Invalid input: " + f[1]
		}
		m.vlan(id)
		m.in = line
	case negated && f[1] == "vlan" && len(f) == 3:
		return m.drop(f[2])
	case f[0] == "interface" && len(f) == 2:
		if m.ports[f[1]] == nil {
			return "Module not present for port or invalid port: " + f[1]
		}
		m.in = line
	case f[0] == "hostname" && len(f) == 2:
		m.host = strings.Trim(f[1], `"`)
	case f[0] == "trunk" && len(f) == 4:
		return m.join(f[1], strings.ToUpper(f[2][:1])+f[2][1:], f[3])
	case negated && f[1] == "trunk" && len(f) == 3:
		return m.part(f[2])
	case negated && aossTop.MatchString(not):
		m.lines = slices.DeleteFunc(m.lines, func(l string) bool { return l == not })
	case aossTop.MatchString(line):
		if f[0] == "ip" && f[1] == "default-gateway" {
			m.lines = slices.DeleteFunc(m.lines, func(l string) bool { return strings.HasPrefix(l, "ip default-gateway ") })
		}
		if !slices.Contains(m.lines, line) {
			m.lines = append(m.lines, line)
		}
	default:
		return "Invalid input: " + f[0]
	}
	return ""
}

// drop removes a VLAN; its question is answered with yes.
func (m *aossModel) drop(id string) string {
	n, _ := strconv.Atoi(id)
	switch {
	case n == 1:
		return "VLAN 1 cannot be deleted."
	case m.vlans[n] == nil:
		return "Invalid input: " + id
	}
	delete(m.vlans, n)
	m.fallBack()
	return ""
}

// fallBack puts what is in no VLAN into VLAN 1.
func (m *aossModel) fallBack() {
	for name, p := range m.ports {
		if p.trunk == "" && !slices.ContainsFunc(slices.Collect(maps.Values(m.vlans)), func(v *aossVLAN) bool { return v.tagged[name] || v.untagged[name] }) {
			m.vlans[1].untagged[name] = true
		}
	}
}

func (m *aossModel) join(list, trunk, kind string) string {
	for _, p := range aossPorts(list) {
		if m.ports[p] == nil {
			return "Module not present for port or invalid port: " + p
		}
	}
	for _, p := range aossPorts(list) {
		m.ports[p].trunk = trunk
		for _, v := range m.vlans {
			delete(v.tagged, p)
			delete(v.untagged, p)
		}
	}
	m.trunks[list] = trunk + " " + kind
	if m.ports[trunk] == nil {
		m.solder(trunk)
	}
	return ""
}

func (m *aossModel) part(list string) string {
	f := strings.Fields(m.trunks[list])
	if f == nil {
		return "Invalid input: " + list
	}
	delete(m.trunks, list)
	for _, p := range aossPorts(list) {
		m.ports[p].trunk = ""
	}
	delete(m.ports, f[0])
	for _, v := range m.vlans {
		delete(v.tagged, f[0])
		delete(v.untagged, f[0])
	}
	m.fallBack()
	return ""
}

// aossPorts are the ports of a list such as 1-4,A1-A4,Trk1.
func aossPorts(list string) (all []string) {
	for _, part := range strings.Split(list, ",") {
		first, last, ranged := strings.Cut(part, "-")
		if !ranged {
			all = append(all, part)
			continue
		}
		prefix := strings.TrimRight(first, "0123456789")
		from, _ := strconv.Atoi(first[len(prefix):])
		to, _ := strconv.Atoi(strings.TrimPrefix(last, prefix))
		for n := from; n <= to; n++ {
			all = append(all, prefix+strconv.Itoa(n))
		}
	}
	return all
}

func (m *aossModel) inVLAN(id int, line string) string {
	v := m.vlans[id]
	not, negated := strings.CutPrefix(line, "no ")
	f := strings.Fields(not)
	switch {
	case (f[0] == "untagged" || f[0] == "tagged") && len(f) == 2:
		for _, p := range aossPorts(f[1]) {
			if m.ports[p] == nil || m.ports[p].trunk != "" {
				return "Module not present for port or invalid port: " + p
			}
		}
		for _, p := range aossPorts(f[1]) {
			m.member(v, p, f[0], negated)
		}
		m.fallBack()
	case f[0] == "name" && negated:
		v.name = "VLAN" + strconv.Itoa(id)
	case f[0] == "name" && len(f) > 1:
		v.name = strings.Trim(not[len("name "):], `"`)
	case !aossNeed.MatchString(not):
		return "Invalid input: " + f[0]
	case negated:
		v.lines = slices.DeleteFunc(v.lines, func(l string) bool { return l == not })
	default:
		if f[0] == "ip" && f[1] == "address" {
			v.lines = slices.DeleteFunc(v.lines, func(l string) bool { return strings.HasPrefix(l, "ip address ") })
		}
		if !slices.Contains(v.lines, line) {
			v.lines = append(v.lines, line)
			slices.Sort(v.lines)
		}
	}
	return ""
}

func (m *aossModel) member(v *aossVLAN, port, how string, negated bool) {
	of := v.tagged
	if how == "untagged" {
		of = v.untagged
	}
	switch {
	case negated:
		delete(of, port)
		return
	case how == "untagged":
		for _, other := range m.vlans {
			delete(other.untagged, port)
		}
		delete(v.tagged, port)
	default:
		delete(v.untagged, port)
	}
	of[port] = true
}

func (m *aossModel) inPort(p *aossPort, line string) string {
	not, negated := strings.CutPrefix(line, "no ")
	f := strings.Fields(not)
	switch {
	case line == "disable" || line == "enable":
		p.down = line == "disable"
	case f[0] != "name" && f[0] != "flow-control" && f[0] != "speed-duplex":
		return "Invalid input: " + f[0]
	default:
		p.lines = slices.DeleteFunc(p.lines, func(l string) bool { return strings.HasPrefix(l, f[0]) })
		if !negated {
			p.lines = append(p.lines, line)
			slices.Sort(p.lines)
		}
	}
	return ""
}

// aossList shows ports as these devices do: 1-4,A1-A4,Trk1.
func aossList(ports map[string]bool) string {
	by := map[string]map[int]bool{}
	for p := range ports {
		prefix := strings.TrimRight(p, "0123456789")
		if by[prefix] == nil {
			by[prefix] = map[int]bool{}
		}
		n, _ := strconv.Atoi(p[len(prefix):])
		by[prefix][n] = true
	}
	var out []string
	for _, prefix := range slices.Sorted(maps.Keys(by)) {
		for _, part := range strings.Split(list(by[prefix]), ",") {
			out = append(out, prefix+strings.Replace(part, "-", "-"+prefix, 1))
		}
	}
	return strings.Join(out, ",")
}

func (m *aossModel) show(command string) string {
	port, one := strings.CutPrefix(command, "show running-config interface ")
	switch {
	case command == "show running-config":
		return m.String()
	case command == "show vlans":
		return m.showVLANs()
	case !one:
		return "Invalid input: " + strings.TrimPrefix(command, "show ") + "\n"
	case m.ports[port] == nil:
		return "Module not present for port or invalid port: " + port + "\n"
	}
	out := "\nRunning configuration:\n\ninterface " + port + "\n"
	tagged := map[int]bool{}
	for _, l := range m.ports[port].shown() {
		out += "   " + l + "\n"
	}
	for id, v := range m.vlans {
		if v.untagged[port] {
			out += "   untagged vlan " + strconv.Itoa(id) + "\n"
		}
		if v.tagged[port] {
			tagged[id] = true
		}
	}
	if len(tagged) > 0 {
		out += "   tagged vlan " + list(tagged) + "\n"
	}
	return out + "   exit\n"
}

func (p *aossPort) shown() []string {
	if p.down {
		return append([]string{"disable"}, p.lines...)
	}
	return p.lines
}

func (m *aossModel) showVLANs() string {
	out := " Status and Counters - VLAN Information\n\n  Maximum VLANs to support : 256                  \n  Primary VLAN : DEFAULT_VLAN\n  Management VLAN :             \n\n" +
		"  VLAN ID Name                             | Status     Voice Jumbo\n  ------- -------------------------------- + ---------- ----- -----\n"
	for _, id := range slices.Sorted(maps.Keys(m.vlans)) {
		out += fmt.Sprintf("  %-7d %-32s | %-10s %-5s %-5s\n", id, m.vlans[id].name, "Port-based", "No", "No")
	}
	return out + "\n"
}

func (m *aossModel) String() string {
	var out strings.Builder
	out.WriteString("\nRunning configuration:\n\n; J9726A Configuration Editor; Created on release #WB.16.10.0010\n; Ver #14:01.4f.f8.1d.9b:05\n\nhostname \"" + m.host + "\"\nmodule 1 type j9726a\n")
	for _, ports := range slices.Sorted(maps.Keys(m.trunks)) {
		out.WriteString("trunk " + ports + " " + strings.ToLower(m.trunks[ports]) + "\n")
	}
	for _, l := range slices.Sorted(slices.Values(m.lines)) {
		out.WriteString(l + "\n")
	}
	for _, name := range slices.Sorted(maps.Keys(m.ports)) {
		if shown := m.ports[name].shown(); len(shown) > 0 {
			out.WriteString("interface " + name + "\n   " + strings.Join(shown, "\n   ") + "\n   exit\n")
		}
	}
	for _, id := range slices.Sorted(maps.Keys(m.vlans)) {
		v := m.vlans[id]
		fmt.Fprintf(&out, "vlan %d\n   name %q\n", id, v.name)
		away := map[string]bool{}
		for name, p := range m.ports {
			away[name] = id == 1 && !v.untagged[name] && p.trunk == ""
		}
		maps.DeleteFunc(away, func(_ string, yes bool) bool { return !yes })
		for _, ports := range []struct {
			how string
			of  map[string]bool
		}{{"no untagged", away}, {"untagged", v.untagged}, {"tagged", v.tagged}} {
			if len(ports.of) > 0 {
				out.WriteString("   " + ports.how + " " + aossList(ports.of) + "\n")
			}
		}
		for _, l := range v.lines {
			out.WriteString("   " + l + "\n")
		}
		if !slices.ContainsFunc(v.lines, func(l string) bool { return strings.HasPrefix(l, "ip address ") }) {
			out.WriteString("   no ip address\n")
		}
		out.WriteString("   exit\n")
	}
	return out.String()
}
