package lab

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// An nxosModel is a Nexus as far as its configuration goes. Commands of a feature that is
// off are unknown, and what they made goes with the feature. What a port shows depends on
// whether it is a switch's port, which is up unless it says otherwise, or a router's, which
// is down unless it says otherwise; a port that changes sides loses what it had on the
// first. A user brings a user of SNMP. A line that is not known is refused.
type nxosModel struct {
	root  *nxosNode
	at    []*nxosNode
	ports map[string]*nxosPort
	vlans map[int]bool // that are defined
}

type nxosNode struct {
	line  string
	rule  *nxosRule
	under []*nxosNode
}

type nxosPort struct {
	routed, down bool
	mode         string // "": access
	access       string // "": 1
	trunks       map[int]bool
	pruned       bool // trunks is the list; without one it carries all
}

// An nxosRule is a command of a mode. Its first group is what there is one of.
type nxosRule struct {
	in, line *regexp.Regexp
	single   bool
	block    bool
	feature  string // without which it is unknown
	side     string // of ports: "switch" or "router"
	fixed    bool   // the block is always there
}

var nxosRules = sync.OnceValue(func() (all []*nxosRule) {
	const port, loop = `interface (Ethernet[\d/]+|[ptuxy]\d+|mgmt0)`, `interface (loopback\d+|port-channel\d+|Vlan\d+)`
	anyPort := `(?:` + port + `|` + loop + `)`
	rule := func(in, line, flags string) {
		r := &nxosRule{in: regexp.MustCompile(`^(?:` + in + `)$`), line: regexp.MustCompile(`^(?:` + line + `)$`)}
		for _, f := range strings.Fields(flags) {
			switch key, v, _ := strings.Cut(f, "="); key {
			case "single":
				r.single = true
			case "block":
				r.block = true
			case "fixed":
				r.block, r.fixed = true, true
			case "needs":
				r.feature = v
			case "side":
				r.side = v
			}
		}
		all = append(all, r)
	}
	rule(``, `(hostname) \S+`, "single")
	rule(``, `feature (?:ospf|bgp|interface-vlan|lacp)`, "")
	rule(``, `(username \S+ password) 5 \S+ role \S+`, "single")
	rule(``, `snmp-server user \S+ \S+ auth md5 \S+ priv \S+ localizedkey`, "")
	rule(``, `(banner motd) \^.*\^`, "single")
	rule(``, `ip route \S+ \S+|ntp server \S+|ip prefix-list \S+ seq \d+ (?:permit|deny) \S+`, "")
	rule(``, `vlan (\d+)`, "block")
	rule(`vlan \d+`, `(name) \S+`, "single")
	rule(`vlan \d+`, `(state) (?:active|suspend)`, "single")
	rule(``, `ip access-list \S+`, "block")
	rule(`ip access-list \S+`, `\d+ (?:permit|deny) .+|\d+ remark .+|statistics per-entry`, "")
	rule(``, `route-map \S+ (?:permit|deny) \d+`, "block")
	rule(`route-map .*`, `match ip address prefix-list \S+`, "")
	rule(``, `vrf context management`, "fixed")
	rule(``, `vrf context \S+`, "block")
	rule(`vrf context .*`, `ip route \S+ \S+`, "")
	rule(``, port, "fixed")
	rule(``, `interface (?:loopback\d+|port-channel\d+)`, "block")
	rule(``, `interface Vlan\d+`, "block needs=interface-vlan")
	rule(anyPort, `(description) .+`, "single")
	rule(anyPort, `(mtu) \d+`, "single")
	rule(port, `(ip address) \S+`, "single side=router")
	rule(port, `ip router ospf \S+ area \S+`, "side=router needs=ospf")
	rule(port, `(?:ip access-group) \S+ (?:in|out)`, "side=router")
	rule(loop, `(ip address) \S+`, "single")
	rule(loop, `ip router ospf \S+ area \S+`, "needs=ospf")
	rule(``, `router ospf \S+`, "block needs=ospf")
	rule(`router ospf \S+`, `(router-id) \S+`, "single")
	rule(`router ospf \S+`, `passive-interface default`, "")
	rule(``, `router bgp \d+`, "block needs=bgp")
	rule(`router bgp \d+`, `(router-id) \S+`, "single")
	rule(`router bgp \d+`, `vrf \S+`, "block")
	rule(`router bgp \d+|vrf \S+`, `neighbor \S+`, "block")
	rule(`neighbor \S+`, `(remote-as) \d+`, "single")
	rule(`neighbor \S+`, `address-family ipv4 unicast`, "block")
	rule(`address-family .*`, `route-map \S+ (?:in|out)`, "")
	rule(``, `line (?:vty|console)`, "fixed")
	rule(`line .*`, `(exec-timeout) \d+`, "single")
	return all
})

const nxosUnknown = "                  ^\n% Invalid command at '^' marker."

func newNXOS() *nxosModel {
	m := &nxosModel{root: &nxosNode{}, ports: map[string]*nxosPort{}, vlans: map[int]bool{1: true}}
	m.at = []*nxosNode{m.root}
	for _, l := range []string{"hostname switch", "username admin password 5 $5$x role network-admin", "vlan 1", "vrf context management", "line console", "line vty"} {
		m.at = m.at[:1]
		m.do(l)
	}
	m.leave()
	return m
}

// solder adds a port.
func (m *nxosModel) solder(names ...string) {
	for _, name := range names {
		m.ports[name] = &nxosPort{trunks: map[int]bool{}, routed: name == "mgmt0"}
		m.at = m.at[:1]
		m.do("interface " + name)
	}
	m.leave()
}

func (m *nxosModel) leave() { m.at = m.at[:1] }

func (m *nxosModel) port() *nxosPort {
	return m.ports[strings.TrimPrefix(m.at[len(m.at)-1].line, "interface ")]
}

func (m *nxosModel) do(line string) (said string) {
	line = strings.Join(strings.Fields(line), " ")
	switch {
	case line == "end":
		m.leave()
		return ""
	case line == "exit":
		m.at = m.at[:max(1, len(m.at)-1)]
		return ""
	}
	if p := m.port(); p != nil {
		if known, said := m.onPort(p, line); known {
			return said
		}
	}
	not, negated := strings.CutPrefix(line, "no ")
	if ids, ok := strings.CutPrefix(strings.TrimPrefix(line, "no "), "vlan "); ok && strings.ContainsAny(ids, ",-") {
		for _, id := range idsOf(ids) {
			m.do(line[:len(line)-len(ids)] + strconv.Itoa(id))
		}
		return ""
	}
	// From inside of a block those of the blocks around it are known, too.
	for depth := len(m.at); depth > 0; depth-- {
		in := m.at[depth-1]
		if r := m.rule(in.line, strings.TrimPrefix(line, "no ")); r != nil || negated && m.begins(in, not) {
			m.at = m.at[:depth]
			if negated {
				return m.negate(in, not)
			}
			return m.add(in, r, line)
		}
	}
	return nxosUnknown
}

func idsOf(list string) (ids []int) {
	for _, part := range strings.Split(list, ",") {
		if r, err := parseRange(part); err == nil {
			for id := r.First; id <= r.Last; id++ {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

func (m *nxosModel) rule(in, line string) *nxosRule {
	p := m.ports[strings.TrimPrefix(in, "interface ")]
	for _, r := range nxosRules() {
		if !r.in.MatchString(in) || !r.line.MatchString(line) || r.feature != "" && m.find(m.root, "feature "+r.feature) < 0 {
			continue
		}
		if name, ok := strings.CutPrefix(line, "interface "); ok && r.fixed && m.ports[name] == nil {
			continue
		}
		if p != nil && r.side != "" && p.routed != (r.side == "router") {
			continue
		}
		return r
	}
	return nil
}

// begins reports whether "no WORDS" takes away a command of which there is one.
func (m *nxosModel) begins(in *nxosNode, words string) bool {
	return slices.ContainsFunc(in.under, func(n *nxosNode) bool { return n.isRemovedBy(words) })
}

// nxosKey is what a line is removed by.
var nxosKey = regexp.MustCompile(`^(\d+|username \S+|snmp-server user \S+)(?: permit| deny| remark| \S+)`)

// isRemovedBy reports whether "no WORDS" takes a command away.
func (n *nxosNode) isRemovedBy(words string) bool {
	g := nxosKey.FindStringSubmatch(n.line)
	return n.line == words || n.rule.key(n.line) == words || len(g) > 1 && g[1] == words
}

func (r *nxosRule) key(line string) string {
	if g := r.line.FindStringSubmatch(line); r.single && g != nil {
		return g[1]
	}
	if g := nxosKey.FindStringSubmatch(line); g != nil {
		return g[1]
	}
	return line
}

func (m *nxosModel) find(in *nxosNode, line string) int {
	return slices.IndexFunc(in.under, func(n *nxosNode) bool { return n.line == line })
}

func (m *nxosModel) add(in *nxosNode, r *nxosRule, line string) string {
	if i := m.find(in, line); i >= 0 {
		if r.block {
			m.at = append(m.at, in.under[i])
		}
		return ""
	}
	fresh := &nxosNode{line: line, rule: r}
	key := r.key(line)
	if i := slices.IndexFunc(in.under, func(n *nxosNode) bool { return key != line && n.rule.key(n.line) == key }); i >= 0 {
		in.under[i] = fresh
	} else {
		in.under = append(in.under, fresh)
	}
	if strings.HasPrefix(in.line, "ip access-list ") {
		number := func(n *nxosNode) int { i, _ := strconv.Atoi(strings.Fields(n.line)[0]); return i }
		slices.SortStableFunc(in.under, func(a, b *nxosNode) int { return number(a) - number(b) })
	}
	if r.block {
		m.at = append(m.at, fresh)
	}
	if id, ok := strings.CutPrefix(line, "vlan "); ok {
		n, _ := strconv.Atoi(id)
		m.vlans[n] = true
	}
	if line == "feature interface-vlan" {
		in.under = append(in.under, &nxosNode{line: "interface Vlan1", rule: m.rule("", "interface Vlan1")})
	}
	if f := strings.Fields(line); f[0] == "username" && f[2] == "password" && !slices.ContainsFunc(in.under, func(n *nxosNode) bool { return strings.HasPrefix(n.line, "snmp-server user "+f[1]+" ") }) {
		m.do(fmt.Sprintf("snmp-server user %s %s auth md5 0x%x priv 0x%x localizedkey", f[1], f[6], f[1], f[1]))
	}
	if line == "state active" { // the default
		in.under = in.under[:len(in.under)-1]
	}
	return ""
}

func (m *nxosModel) negate(in *nxosNode, not string) string {
	i := slices.IndexFunc(in.under, func(n *nxosNode) bool { return n.isRemovedBy(not) })
	if i < 0 {
		return ""
	}
	gone := in.under[i]
	switch {
	case gone.rule.fixed, gone.line == "vlan 1", gone.line == "hostname switch":
		return "ERROR: Cannot remove it"
	case gone.line == "interface Vlan1":
		return "ERROR: Vlan1 can't be deleted"
	case strings.HasPrefix(gone.line, "hostname "):
		gone.line = "hostname switch"
		return ""
	}
	in.under = slices.Delete(in.under, i, i+1)
	if id, ok := strings.CutPrefix(gone.line, "vlan "); ok {
		n, _ := strconv.Atoi(id)
		delete(m.vlans, n)
	}
	if name, ok := strings.CutPrefix(gone.line, "feature "); ok {
		m.without(m.root, name)
	}
	if f := strings.Fields(gone.line); f[0] == "username" {
		m.negate(in, "snmp-server user "+f[1])
	}
	return ""
}

// without removes what is a feature's.
func (m *nxosModel) without(in *nxosNode, feature string) {
	in.under = slices.DeleteFunc(in.under, func(n *nxosNode) bool { return n.rule.feature == feature })
	for _, n := range in.under {
		m.without(n, feature)
	}
}

// onPort knows what is a port's own.
func (m *nxosModel) onPort(p *nxosPort, line string) (known bool, said string) {
	f := strings.Fields(line)
	n := m.at[len(m.at)-1]
	change := func(routed, down bool) {
		if p.routed != routed {
			*p = nxosPort{routed: routed, down: down, trunks: map[int]bool{}}
			n.under = slices.DeleteFunc(n.under, func(l *nxosNode) bool { return l.rule.side != "" })
		}
	}
	switch {
	case line == "shutdown":
		p.down = true
	case line == "no shutdown":
		p.down = false
	case line == "switchport":
		change(false, p.down)
	case line == "no switchport":
		change(true, true)
	case f[0] != "switchport" && !strings.HasPrefix(line, "no switchport "):
		return false, ""
	case p.routed:
		return true, "ERROR: Ethernet: requested config not allowed on a routed port"
	case strings.HasPrefix(line, "switchport mode ") && len(f) == 3:
		p.mode = strings.TrimPrefix(f[2], "access")
	case strings.HasPrefix(line, "no switchport mode"):
		p.mode = ""
	case strings.HasPrefix(line, "switchport access vlan ") && len(f) == 4:
		p.access = f[3]
	case strings.HasPrefix(line, "no switchport access vlan"):
		p.access = ""
	case strings.HasPrefix(line, "no "+strings.TrimSpace(allowedVLANs)) && len(f) == 5:
		p.pruned, p.trunks = false, map[int]bool{}
	case strings.HasPrefix(line, allowedVLANs+"add ") && len(f) == 6:
		for _, id := range idsOf(f[5]) {
			p.trunks[id] = true
		}
	case strings.HasPrefix(line, allowedVLANs+"remove ") && len(f) == 6:
		for _, id := range idsOf(f[5]) {
			delete(p.trunks, id)
		}
	case strings.HasPrefix(line, allowedVLANs) && len(f) == 5:
		p.pruned, p.trunks = true, map[int]bool{}
		for _, id := range idsOf(f[4]) {
			p.trunks[id] = true
		}
	default:
		return true, nxosUnknown
	}
	return true, ""
}

// list shows ids as these devices do, with ranges.
func list(ids map[int]bool) string {
	var out []string
	all := slices.Sorted(maps.Keys(ids))
	for i := 0; i < len(all); i++ {
		first := all[i]
		for i+1 < len(all) && all[i+1] == all[i]+1 {
			i++
		}
		out = append(out, strconv.Itoa(first)+ifElse(all[i] == first, "", "-"+strconv.Itoa(all[i])))
	}
	return strings.Join(out, ",")
}

func (p *nxosPort) lines() (out []string) {
	add := func(yes bool, line string) {
		if yes {
			out = append(out, line)
		}
	}
	add(p.routed, "no switchport")
	add(p.mode != "", "switchport mode "+p.mode)
	add(p.access != "" && p.access != "1", "switchport access vlan "+p.access)
	add(p.pruned, allowedVLANs+ifElse(len(p.trunks) == 0, "none", list(p.trunks)))
	add(p.routed && !p.down, "no shutdown")
	add(!p.routed && p.down, "shutdown")
	return out
}

func (m *nxosModel) show(command string) string {
	f := strings.Fields(command)
	switch {
	case command == "show running-config":
		return m.String()
	case len(f) == 4 && f[1] == "vlan" && f[2] == "id":
		return m.showVLAN(f[3])
	case len(f) < 3 || f[1] != "interface" || m.ports[f[2]] == nil:
		return nxosUnknown + "\n"
	case len(f) == 4 && f[3] == "switchport":
		return m.ports[f[2]].switchport(f[2])
	case len(f) == 3:
		p := m.ports[f[2]]
		return fmt.Sprintf("%s is down (%s)\nadmin state is %s, Dedicated Interface\n  Hardware: 100/1000/10000 Ethernet, address: 0200.0000.0007 (bia 0200.0000.0007)\n  MTU 1500 bytes, BW 10000000 Kbit, DLY 10 usec\n  Port mode is %s\n",
			f[2], ifElse(p.down, "Administratively down", "XCVR not inserted"), ifElse(p.down, "down", "up"), ifElse(p.routed, "routed", ifElse(p.mode == "", "access", p.mode)))
	}
	return nxosUnknown + "\n"
}

func (p *nxosPort) switchport(name string) string {
	if p.routed {
		return "Name: " + name + "\n  Switchport: Disabled\n"
	}
	carried := "1-4094"
	if p.pruned {
		carried = ifElse(len(p.trunks) == 0, "none", list(p.trunks))
	}
	return "Name: " + name + "\n  Switchport: Enabled\n  Switchport Monitor: Not enabled\n  Operational Mode: " + ifElse(p.mode == "", "access", p.mode) +
		"\n  Access Mode VLAN: " + ifElse(p.access == "", "1", p.access) + " (a name)\n  Trunking Native Mode VLAN: 1 (default)\n  Trunking VLANs Allowed: " + carried +
		"\n  Voice VLAN: none\n  Extended Trust State : not trusted [COS = 0]\n  Operational private-vlan: none\n"
}

func (m *nxosModel) showVLAN(id string) string {
	i := m.find(m.root, "vlan "+id)
	if i < 0 {
		return "VLAN " + id + " not found in current VLAN database\n"
	}
	state := ifElse(m.find(m.root.under[i], "state suspend") >= 0, "suspended", "active")
	return "\nVLAN Name                             Status    Ports\n---- -------------------------------- --------- -------------------------------\n" +
		fmt.Sprintf("%-4s %-32s %-9s \n\nVLAN Type         Vlan-mode\n---- -----        ----------\n%-4s enet         CE     \n", id, "VLAN"+id, state, id)
}

func (m *nxosModel) String() string {
	var out strings.Builder
	out.WriteString("\n!Command: show running-config\n!Time: Mon Nov 30 05:00:00 2026\n\nversion 9.3(8) Bios:version\n")
	name := m.root.under[m.find2("hostname ")].line[len("hostname "):]
	out.WriteString("vdc " + name + " id 1\n  limit-resource vlan minimum 16 maximum 4094\n\n")
	var into func(n *nxosNode, depth int)
	in := strings.Repeat("  ", 1)
	into = func(n *nxosNode, depth int) {
		out.WriteString(strings.Repeat(in, depth) + n.line + "\n")
		if p := m.ports[strings.TrimPrefix(n.line, "interface ")]; p != nil && depth == 0 {
			for _, l := range p.lines() {
				out.WriteString(in + l + "\n")
			}
		}
		for _, u := range n.under {
			into(u, depth+1)
		}
		if n.rule.block && depth == 0 {
			out.WriteString("\n")
		}
	}
	// First all VLANs in one line, then those that have something.
	out.WriteString("vlan " + list(m.vlans) + "\n")
	for _, rank := range []string{"hostname", "feature", "username", "snmp-server", "banner", "ip route", "ip prefix-list", "ntp", "ip access-list", "route-map", "vlan", "vrf", "interface", "router", "line"} {
		nodes := slices.Clone(m.root.under)
		slices.SortStableFunc(nodes, func(a, b *nxosNode) int { return strings.Compare(a.line, b.line) })
		for _, n := range nodes {
			if strings.HasPrefix(n.line, rank+" ") && (rank != "vlan" || len(n.under) > 0) {
				into(n, 0)
			}
		}
	}
	return out.String()
}

func (m *nxosModel) find2(prefix string) int {
	return slices.IndexFunc(m.root.under, func(n *nxosNode) bool { return strings.HasPrefix(n.line, prefix) })
}
