package lab

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A model is a device as far as a plan changes it.
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
	}
	return &iosModel{platform: platform, blocks: map[string][]string{}}
}

// prepare makes a port what docs/lab.md wants a laboratory's switch to have.
func prepare(m model, port string, trunk bool) {
	switch m := m.(type) {
	case *ovsModel:
		m.ports[port] = &ovsPort{protected: !trunk, trunks: map[int]bool{}}
		if trunk {
			m.ports[port].trunks[4095] = true
		}
	case *iosModel:
		m.blocks["interface "+port] = []string{"shutdown", "switchport mode access"}
		if trunk {
			m.blocks["interface "+port] = []string{"switchport mode trunk", allowedVLANs + "4094"}
		}
	case *junosModel:
		const family = " unit 0 family ethernet-switching "
		m.do("set interfaces " + port + family + "interface-mode " + ifElse(trunk, "trunk", "access"))
		m.do("set interfaces " + port + ifElse(trunk, family+"vlan members placeholder", " disable"))
	}
}

type ovsPort struct {
	tag       string
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
				case "protected":
					p.protected = v == "true"
				default:
					return "unknown column: " + k
				}
			}
		case f[0] == "clear" && f[3] == "tag":
			p.tag = ""
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
	var out strings.Builder
	for _, column := range f[4:] {
		switch column {
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
		fmt.Fprintln(&out, name, m.show("ovs-vsctl get Port "+name+" tag protected trunks"))
	}
	return out.String()
}

// An iosModel has blocks of lines, in the manner of IOS, EOS and FRR.
type iosModel struct {
	platform string
	blocks   map[string][]string
	in       string // the block that was entered
}

const allowedVLANs = "switchport trunk allowed vlan "

func (m *iosModel) do(line string) string {
	line = strings.TrimSpace(line)
	word, rest, _ := strings.Cut(line, " ")
	switch {
	case word == "exit" || word == "end":
		m.in = ""
	case word == "interface" || word == "vlan" || word == "router":
		m.in = line
		if m.blocks[line] == nil {
			m.blocks[line] = []string{}
		}
	case word == "no" && m.blocks[rest] != nil:
		delete(m.blocks, rest)
		m.in = ""
	case m.in == "":
		return "% Invalid input detected at '^' marker."
	case strings.HasPrefix(line, allowedVLANs):
		m.blocks[m.in] = allow(m.blocks[m.in], strings.TrimPrefix(line, allowedVLANs))
	case word == "no":
		m.blocks[m.in] = slices.DeleteFunc(m.blocks[m.in], func(l string) bool { return l == rest || strings.HasPrefix(l, rest+" ") })
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

// allow is what "add 100" or "remove 100" makes of a trunk's list.
func allow(lines []string, change string) []string {
	ids := map[string]bool{}
	at := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, allowedVLANs) })
	if at < 0 {
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

func (m *iosModel) show(command string) string {
	what := strings.TrimPrefix(strings.TrimPrefix(command, "show running-config"), " ")
	what = strings.Replace(what, "interfaces ", "interface ", 1)
	var out strings.Builder
	if command == "show vlan" {
		for _, b := range slices.Sorted(maps.Keys(m.blocks)) {
			if id, ok := strings.CutPrefix(b, "vlan "); ok {
				fmt.Fprintf(&out, "%-5s VLAN%s  active\n", id, id)
			}
		}
		return out.String()
	}
	out.WriteString("Building configuration...\n\nCurrent configuration : 77 bytes\n!\n")
	for _, b := range slices.Sorted(maps.Keys(m.blocks)) {
		if what != "" && what != b {
			continue
		}
		if strings.HasPrefix(b, "interface") && len(m.blocks[b]) == 0 && what == "" {
			continue // of an interface with nothing nothing is seen
		}
		fmt.Fprintln(&out, b)
		for _, l := range m.blocks[b] {
			fmt.Fprintln(&out, " "+l)
		}
		out.WriteString("!\n")
	}
	out.WriteString("end\n")
	return out.String()
}

func (m *iosModel) String() string { return m.show("show running-config") }

// A junosModel has lines of "set".
type junosModel struct{ sets []string }

func (m *junosModel) do(line string) string {
	word, rest, _ := strings.Cut(line, " ")
	switch {
	case word == "delete":
		m.sets = slices.DeleteFunc(m.sets, func(l string) bool { return l == rest || strings.HasPrefix(l, rest+" ") })
	case word != "set":
		return "unknown command."
	case !slices.Contains(m.sets, rest):
		m.sets = append(m.sets, rest)
		slices.Sort(m.sets)
	}
	return ""
}

func (m *junosModel) show(command string) string {
	path := strings.TrimPrefix(strings.TrimSuffix(command, " | display set"), "show configuration")
	path = strings.TrimPrefix(path, " ")
	var out strings.Builder
	for _, l := range m.sets {
		if path == "" || strings.HasPrefix(l, path+" ") {
			fmt.Fprintln(&out, "set "+l)
		}
	}
	return out.String()
}

func (m *junosModel) String() string { return m.show("show configuration") }
