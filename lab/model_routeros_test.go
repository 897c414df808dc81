package lab

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"pgregory.net/rapid"
)

// rosSchemaText is a small part of what RouterOS has, by its menus in the order of
// /export. A property may have a default; "!" is one without which nothing is added, and
// "@" one that names an interface. A menu that is "one" has no entries, one that is
// "fixed" has those that the hardware has, and of one that is "ordered" the order counts.
const rosSchemaText = `
/interface bridge: name! mtu=auto arp=enabled protocol-mode=rstp vlan-filtering=no ether-type=0x8100 pvid=1 frame-types=admit-all
/interface ethernet (fixed): name default-name mtu=1500 arp=enabled disable-running-check=yes
/interface vlan: name! mtu=1500 arp=enabled vlan-id=1 @interface!
/interface list: name!
/routing ospf instance: name! router-id=main version=2
/routing ospf area: name! instance! area-id=0.0.0.0
/interface bridge port: @interface! bridge! priority=0x80 edge=auto hw=yes pvid=1 frame-types=admit-all ingress-filtering=yes tag-stacking=no bpdu-guard=no trusted=no
/interface bridge vlan: bridge! vlan-ids! tagged= untagged=
/interface list member: @interface! list!
/ip address: address! @interface! network
/ip dns (one): servers= allow-remote-requests=no
/ip firewall filter (ordered): action chain! src-address= dst-address= protocol= dst-port=
/ip route: dst-address=0.0.0.0/0 gateway= distance=1 scope=30 target-scope=10 routing-table=main
/ip service (fixed): name port address=
/routing ospf interface-template: area! interfaces= cost=1 auth= auth-key=
/snmp (one): enabled=no contact= location= trap-version=1
/system identity (one): name=MikroTik
/system ntp client (one): enabled=no
`

type rosMenu struct {
	path, kind string
	props      []rosProp
}

type rosProp struct {
	key, usual      string
	hasUsual, needs bool
	isInterface     bool
}

type rosRow struct {
	values            map[string]string
	disabled, dynamic bool
	comment           string
}

// A rosModel is RouterOS as far as its configuration goes. Each line takes effect and
// is saved at once. It knows the commands in one of their spellings, and the few forms of
// its scripts that are typed here.
type rosModel struct {
	menus []*rosMenu
	rows  map[string][]*rosRow
	hides bool // secrets, as RouterOS 7 does
	sick  bool // it can't export one of its menus
	cut   bool // what it shows ends before its end
}

func newRosModel(ports ...string) *rosModel {
	m := &rosModel{rows: map[string][]*rosRow{}, hides: true}
	for l := range strings.Lines(strings.TrimSpace(rosSchemaText)) {
		head, props, _ := strings.Cut(strings.TrimSpace(l), ":")
		path, kind, _ := strings.Cut(head, " (")
		menu := &rosMenu{path: path, kind: strings.TrimSuffix(kind, ")")}
		for _, w := range strings.Fields(props) {
			var p rosProp
			p.isInterface, p.needs = w[0] == '@', strings.HasSuffix(w, "!")
			p.key, p.usual, p.hasUsual = strings.Cut(strings.Trim(w, "@!"), "=")
			menu.props = append(menu.props, p)
		}
		m.menus = append(m.menus, menu)
		if menu.kind == "one" {
			m.rows[path] = []*rosRow{{values: map[string]string{}}}
		}
	}
	for _, p := range ports {
		m.rows["/interface ethernet"] = append(m.rows["/interface ethernet"], &rosRow{values: map[string]string{"name": p, "default-name": p}})
	}
	for i, s := range []string{"telnet", "ssh", "winbox"} {
		m.rows["/ip service"] = append(m.rows["/ip service"], &rosRow{values: map[string]string{"name": s, "port": strconv.Itoa(22 + i)}})
	}
	return m
}

func (m *rosModel) menu(path string) *rosMenu {
	i := slices.IndexFunc(m.menus, func(x *rosMenu) bool { return x.path == path })
	if i < 0 {
		return nil
	}
	return m.menus[i]
}

// interfaces are the rows of all menus that make some.
func (m *rosModel) interfaces() (all []*rosRow) {
	return slices.Concat(m.rows["/interface ethernet"], m.rows["/interface bridge"], m.rows["/interface vlan"])
}

func (m *rosModel) of(path string) []*rosRow {
	switch path {
	case "/interface":
		return m.interfaces()
	case "/interface bridge vlan":
		return append(slices.Clone(m.rows[path]), m.dynamicVLANs()...)
	}
	return m.rows[path]
}

// get is a property of a row, with its default.
func (m *rosModel) get(path string, r *rosRow, key string) string {
	switch key {
	case "comment":
		return r.comment
	case "disabled":
		return ifElse(r.disabled, "yes", "no")
	case "dynamic":
		return ifElse(r.dynamic, "yes", "no")
	}
	if v, ok := r.values[key]; ok {
		return v
	}
	if menu := m.menu(path); menu != nil {
		for _, p := range menu.props {
			if p.key == key {
				return p.usual
			}
		}
	}
	return ""
}

// dynamicVLANs are those of the ports' PVIDs for which there is no row.
func (m *rosModel) dynamicVLANs() (all []*rosRow) {
	untagged := map[string][]string{}
	for _, p := range m.rows["/interface bridge port"] {
		if id := m.get("/interface bridge port", p, "pvid"); m.untags(p) && m.row("/interface bridge vlan", "vlan-ids", id) == nil {
			untagged[id] = append(untagged[id], p.values["interface"])
		}
	}
	for id := range 4095 {
		if ports := untagged[strconv.Itoa(id)]; ports != nil {
			all = append(all, &rosRow{dynamic: true, values: map[string]string{"bridge": "bridge", "vlan-ids": strconv.Itoa(id), "current-untagged": strings.Join(ports, ",")}})
		}
	}
	return all
}

// untags reports whether a port is an untagged member of the VLAN of its PVID, with a link.
func (m *rosModel) untags(p *rosRow) bool {
	i := slices.IndexFunc(m.interfaces(), func(r *rosRow) bool { return r.values["name"] == p.values["interface"] })
	return i >= 0 && !m.interfaces()[i].disabled && !p.disabled && m.get("/interface bridge port", p, "frame-types") != "admit-only-vlan-tagged"
}

func (m *rosModel) row(path, key, value string) *rosRow {
	for _, r := range m.rows[path] {
		if m.get(path, r, key) == value {
			return r
		}
	}
	return nil
}

var (
	rosIf   = regexp.MustCompile(`^:if \(\[:len \[(.*?)\]\] = (\d+)\) do=\{(.*)\}$`)
	rosPick = regexp.MustCompile(`^\[:pick \[(/.*) (find .*)\] (\d+)\]$`)
	rosFind = regexp.MustCompile(`^(/.*) (find(?: .*)?)$`)
)

// find returns the rows that an expression as "find where a=b and c="d"" means.
func (m *rosModel) find(path, expr string) (rows []*rosRow, said string) {
	words, err := menuWords(expr)
	if err != nil || words[0] != "find" {
		return nil, "syntax error (line 1 column 1)"
	}
	rows = slices.Clone(m.of(path))
	for _, w := range words[1:] {
		if w == "where" || w == "and" {
			continue
		}
		key, text, ok := strings.Cut(w, "=")
		if !ok || !m.knows(path, key) {
			return nil, "syntax error (line 1 column 9)"
		}
		if text[0] != '"' && !bareValue.MatchString(text) {
			return nil, "" // / and : are operators in an expression
		}
		rows = slices.DeleteFunc(rows, func(r *rosRow) bool { return m.get(path, r, key) != plainValue(text) })
	}
	return rows, ""
}

func (m *rosModel) knows(path, key string) bool {
	if path == "/interface" {
		path = "/interface ethernet"
	}
	return key == "comment" || key == "disabled" || key == "dynamic" || m.menu(path) != nil && slices.ContainsFunc(m.menu(path).props, func(p rosProp) bool { return p.key == key })
}

// do takes a line, and returns what is said to it: nothing, when all is well.
func (m *rosModel) do(line string) string {
	if f := rosIf.FindStringSubmatch(line); f != nil {
		at := rosFind.FindStringSubmatch(f[1])
		rows, said := m.find(at[1], at[2])
		if said != "" || strconv.Itoa(len(rows)) != f[2] {
			return said
		}
		return m.do(f[3])
	}
	words, err := menuWords(line)
	if err != nil {
		return "syntax error (line 1 column 1)"
	}
	if words[0][0] != '/' {
		return "bad command name " + words[0] + " (line 1 column 1)"
	}
	n := slices.IndexFunc(words, func(w string) bool { return slices.Contains([]string{"add", "set", "remove", "move"}, w) })
	if n < 0 {
		return "bad command name " + words[0][1:] + " (line 1 column 2)"
	}
	path, verb, rest := strings.Join(words[:n], " "), words[n], words[n+1:]
	if m.menu(path) == nil && path != "/interface" {
		return "bad command name " + words[n-1] + " (line 1 column 2)"
	}
	switch verb {
	case "add":
		return m.add(path, rest)
	case "set":
		return m.set(path, rest)
	case "remove":
		rows, said := m.these(path, rest[0])
		for _, r := range rows {
			if r.dynamic || m.menu(path).kind != "" && m.menu(path).kind != "ordered" {
				return "failure: can not remove it"
			}
			m.rows[path] = slices.DeleteFunc(m.rows[path], func(o *rosRow) bool { return o == r })
		}
		return said
	}
	rows, said := m.these(path, rest[0])
	to, said2 := m.these(path, strings.TrimPrefix(rest[1], "destination="))
	if said+said2 != "" || len(rows) != 1 || len(to) != 1 {
		return "no such item" + said + said2
	}
	all := slices.DeleteFunc(m.rows[path], func(o *rosRow) bool { return o == rows[0] })
	m.rows[path] = slices.Insert(all, slices.Index(all, to[0]), rows[0])
	return ""
}

// these are the rows that a word means.
func (m *rosModel) these(path, word string) (rows []*rosRow, said string) {
	if f := rosPick.FindStringSubmatch(word); f != nil {
		rows, said = m.find(f[1], f[2])
		if n, _ := strconv.Atoi(f[3]); n < len(rows) {
			return rows[n : n+1], said
		}
		return nil, said
	}
	if inner, ok := strings.CutPrefix(word, "["); ok {
		return m.find(path, strings.TrimSpace(strings.TrimSuffix(inner, "]")))
	}
	if r := m.row(path, "name", word); r != nil {
		return []*rosRow{r}, ""
	}
	return nil, "no such item (4)"
}

// give sets properties of a row.
func (m *rosModel) give(path string, r *rosRow, words []string) (said string) {
	menu := m.menu(ifElse(path == "/interface", "/interface ethernet", path))
	for _, w := range words {
		key, text, ok := strings.Cut(w, "=")
		value := plainValue(text)
		i := slices.IndexFunc(menu.props, func(p rosProp) bool { return p.key == key })
		switch {
		case !ok || i < 0 && key != "comment" && key != "disabled":
			return "expected end of command (line 1 column 9)"
		case key == "comment":
			r.comment = value
		case key == "disabled":
			r.disabled = value == "yes"
		case menu.props[i].isInterface && !slices.ContainsFunc(m.interfaces(), func(o *rosRow) bool { return o.values["name"] == value }):
			return "input does not match any value of interface"
		case menu.props[i].hasUsual && value == menu.props[i].usual:
			delete(r.values, key)
		default:
			r.values[key] = value
		}
	}
	return ""
}

func (m *rosModel) add(path string, words []string) string {
	menu := m.menu(path)
	if menu == nil || menu.kind == "fixed" || menu.kind == "one" {
		return "bad command name add (line 1 column 2)"
	}
	var before []*rosRow
	for i, w := range words {
		if where, ok := strings.CutPrefix(w, "place-before="); ok {
			var said string
			if before, said = m.these(path, where); said != "" || len(before) != 1 {
				return "no such item" + said
			}
			words = slices.Delete(slices.Clone(words), i, i+1)
		}
	}
	r := &rosRow{values: map[string]string{}}
	if said := m.give(path, r, words); said != "" {
		return said
	}
	for _, p := range menu.props {
		if p.needs && r.values[p.key] == "" {
			return "missing value(s) of argument(s) " + p.key
		}
	}
	has := func(keys ...string) bool {
		return slices.ContainsFunc(m.rows[path], func(o *rosRow) bool {
			return !slices.ContainsFunc(keys, func(k string) bool { return o.values[k] != r.values[k] })
		})
	}
	switch {
	case path == "/ip firewall filter" && r.values["action"] == "": // which is shown
		r.values["action"] = "accept"
	case path == "/ip address":
		a, err := netip.ParsePrefix(r.values["address"])
		if err != nil {
			return "invalid value for argument address"
		}
		if r.values["network"] = a.Masked().Addr().String(); has("address", "interface") {
			return "failure: already have such address"
		}
	case path == "/interface bridge vlan" && has("bridge", "vlan-ids"):
		return "failure: vlan already added"
	case path == "/interface bridge port" && has("interface"):
		return "failure: device already added as bridge port"
	case strings.HasPrefix(path, "/interface ") && r.values["name"] != "" && path != "/interface list" &&
		slices.ContainsFunc(m.interfaces(), func(o *rosRow) bool { return o.values["name"] == r.values["name"] }):
		return "failure: already have interface with such name"
	case r.values["name"] != "" && has("name"):
		return "failure: item with such name already exists"
	}
	at := len(m.rows[path])
	if before != nil {
		at = slices.Index(m.rows[path], before[0])
	}
	m.rows[path] = slices.Insert(m.rows[path], at, r)
	return ""
}

func (m *rosModel) set(path string, words []string) string {
	if menu := m.menu(path); menu != nil && menu.kind == "one" {
		return m.give(path, m.rows[path][0], words)
	}
	rows, said := m.these(path, words[0])
	for _, r := range rows {
		if r.dynamic {
			return "failure: can not change dynamic"
		}
		if said := m.give(path, r, words[1:]); said != "" {
			return said
		}
	}
	return said
}

// show knows "print terse" and "export terse", with the text that follows them.
func (m *rosModel) show(command string) string {
	if command == `/export terse; :put "# end"` {
		return m.export()
	}
	looking, ends := strings.CutSuffix(command, `; :put "# end"`)
	path, where, ok := strings.Cut(looking, " print terse without-paging")
	if !ok || m.menu(path) == nil && path != "/interface" {
		return "bad command name (line 1 column 2)\n"
	}
	rows, said := m.find(path, "find"+where)
	if said != "" {
		return said + "\n"
	}
	var out strings.Builder
	for i, r := range rows {
		m.print(&out, path, i, r)
	}
	return out.String() + ifElse(ends, "# end\n", "")
}

func (m *rosModel) print(out *strings.Builder, path string, i int, r *rosRow) {
	flags := ifElse(r.disabled, "X", "") + ifElse(r.dynamic, "D", "")
	kind := path
	var extra string
	switch path {
	case "/interface":
		up := ifElse(r.disabled, "X", "R")
		flags = up + ifElse(m.row("/interface bridge port", "interface", r.values["name"]) != nil, "S", "")
		kind, extra = "/interface ethernet", " type=ether link-downs=0"
	case "/interface bridge":
		flags, extra = ifElse(r.disabled, "X", "R"), " dhcp-snooping=no"
	case "/interface bridge port":
		flags += ifElse(!r.disabled, " H", "")
	case "/interface bridge vlan":
		current := r.values["current-untagged"]
		for _, p := range m.rows["/interface bridge port"] {
			if !r.dynamic && m.untags(p) && m.get("/interface bridge port", p, "pvid") == r.values["vlan-ids"] {
				current = strings.TrimPrefix(current+","+p.values["interface"], ",")
			}
		}
		extra = fmt.Sprintf(" current-tagged=%q current-untagged=%s", "", ifElse(current == "", `""`, current))
	}
	fmt.Fprintf(out, "%2d %-4s", i, flags)
	if r.comment != "" {
		out.WriteString("comment=" + r.comment + " ")
	}
	var all []string
	for _, p := range m.menu(kind).props {
		v := m.get(kind, r, p.key)
		all = append(all, p.key+"="+ifElse(v == "", `""`, v))
	}
	out.WriteString(strings.Join(all, " ") + extra + "\n")
}

// export shows what is not as usual, the properties by their names.
func (m *rosModel) export() string {
	var out strings.Builder
	out.WriteString("# 2026-11-30 05:40:00 by RouterOS 7.15.3\n# software id = \n#\n")
	for _, menu := range m.menus {
		if m.sick && menu.path == "/ip dns" {
			out.WriteString("#error exporting \"/ip/dns\" (timeout)\n")
			continue
		}
		for _, r := range m.rows[menu.path] {
			values := map[string]string{}
			for k, v := range r.values {
				values[k] = v
			}
			if r.comment != "" {
				values["comment"] = r.comment
			}
			if r.disabled {
				values["disabled"] = "yes"
			}
			if m.hides {
				delete(values, "auth-key")
			}
			verb := "add"
			switch menu.path {
			case "/interface ethernet":
				verb = "set [ find default-name=" + values["default-name"] + " ]"
				if values["name"] == values["default-name"] {
					delete(values, "name")
				}
				delete(values, "default-name")
			case "/ip service":
				verb = "set " + values["name"]
				delete(values, "name")
				delete(values, "port")
			}
			if menu.kind == "one" {
				verb = "set"
			}
			var props []string
			for k, v := range values {
				props = append(props, " "+k+"="+ifElse(v == "" || strings.Contains(v, " "), `"`+v+`"`, v))
			}
			if slices.Sort(props); len(props) > 0 {
				out.WriteString(menu.path + " " + verb + strings.Join(props, "") + "\n")
			}
		}
	}
	if m.cut {
		return out.String()
	}
	return out.String() + "# end\n"
}

// String is all that it has; where the order does not count, in one order.
func (m *rosModel) String() string { return strings.Join(sorted(m.export()), "") }

// drawRosLine draws a line of a configuration.
func drawRosLine(t *rapid.T) string {
	pick := func(all ...string) string { return rapid.SampledFrom(all).Draw(t, "value") }
	port := func() string { return pick("ether1", "ether2", "ether3") }
	maybe := func(text string) string { return ifElse(rapid.Bool().Draw(t, "has"), text, "") }
	switch rapid.IntRange(0, 14).Draw(t, "line") {
	case 0:
		return "/interface bridge add name=" + pick("br1", "br2") + maybe(" vlan-filtering=yes") + maybe(" mtu=9000") + maybe(` comment="of the lab"`)
	case 1:
		return "/interface vlan add name=" + pick("v10", "v20") + " vlan-id=" + pick("10", "20") + " interface=" + port()
	case 2:
		return "/interface bridge port add bridge=br1 interface=" + port() + maybe(" pvid=10")
	case 3:
		return "/interface bridge vlan add bridge=br1 vlan-ids=" + pick("10", "20", "30-40") + " tagged=" + pick("ether1", "ether1,ether2")
	case 4, 5:
		return "/ip address add address=" + pick("10.0.0.1/24", "10.0.1.1/24", "10.0.2.1/30") + " interface=" + port() + maybe(" disabled=yes") + maybe(" comment=x")
	case 6, 7:
		return "/ip route add dst-address=" + pick("10.9.0.0/16", "10.8.0.0/16") + " gateway=10.0.0.2" + maybe(" distance=5")
	case 8, 9, 10:
		return "/ip firewall filter add chain=" + pick("forward", "lab") + " action=" + pick("accept", "drop") + maybe(" src-address=10.0.0.0/8") + maybe(" protocol=tcp")
	case 11:
		return "/interface ethernet set [ find default-name=" + port() + " ]" + pick(" mtu=9000", " disabled=yes", " disabled=no", ` comment="to the left"`)
	case 12:
		return "/system identity set name=" + pick("edge", "core")
	case 13:
		return "/ip dns set servers=" + pick("10.0.0.5", "10.0.0.5,10.0.0.6") + maybe(" allow-remote-requests=yes")
	}
	return "/routing ospf instance add name=" + pick("one", "two") + maybe(" router-id=10.0.0.1")
}

// drawRosMess draws lines that change what is there.
func drawRosMess(t *rapid.T, m *rosModel, most int) (lines []string) {
	for range rapid.IntRange(0, most).Draw(t, "changes") {
		if rapid.Bool().Draw(t, "new") {
			lines = append(lines, drawRosLine(t))
			continue
		}
		path := rapid.SampledFrom([]string{"/ip address", "/ip route", "/ip firewall filter", "/interface bridge", "/interface vlan"}).Draw(t, "menu")
		if rows := m.rows[path]; len(rows) > 0 {
			i := rapid.IntRange(0, len(rows)-1).Draw(t, "row")
			switch j := rapid.IntRange(0, len(rows)-1).Draw(t, "to"); {
			case path == "/ip firewall filter" && i != j:
				r := rows[i]
				m.rows[path] = slices.Insert(slices.Delete(rows, i, i+1), j, r)
			case rapid.Bool().Draw(t, "off"):
				rows[i].disabled = !rows[i].disabled
			default:
				m.rows[path] = slices.Delete(rows, i, i+1)
			}
		}
	}
	return lines
}
