package lab

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A cliModel is a device with a command line of modes, as far as its configuration goes.
// It is as strict as the real ones: hardware can't be removed and is shown when it is
// empty, of some commands there is one, "no" wants what was given, and what is always on
// is shown when it is off.
type cliModel struct {
	root     *cliNode
	at       []*cliNode
	modes    map[string]bool // lines that lead into a mode
	hardware *regexp.Regexp
	single   []*regexp.Regexp // the first group is what there is one of
	lists    []string         // commands that are shown as one line with all their values
	takes    *regexp.Regexp   // a line that, negated, takes all with it that begins with its first group
	on       map[string]bool  // commands that hold unless they are negated
	off      map[string]bool  // commands that are shown as "no ..." in hardware when they are not given
	refuse   func(path, line string) string
	watch    func(line string) // called after each line
}

type cliNode struct {
	line  string
	under []*cliNode
}

func newCLI(modes ...string) *cliModel {
	m := &cliModel{root: &cliNode{}, modes: map[string]bool{}, on: map[string]bool{}, off: map[string]bool{}, hardware: regexp.MustCompile(`^interface (Ethernet|Management)[\d/]+$`)}
	m.at = []*cliNode{m.root}
	m.learn(modes...)
	return m
}

// learn takes from configurations which lines lead into a mode.
func (m *cliModel) learn(configs ...string) {
	for _, config := range configs {
		walk(parseConfig(config, nil), "", func(b *block, _ string) {
			if len(b.under) > 0 || b.leaves {
				m.modes[b.line] = true
			}
		})
	}
}

// load makes a configuration as it is shown the device's own.
func (m *cliModel) load(config string) {
	var into func(n *cliNode, bs []*block)
	into = func(n *cliNode, bs []*block) {
		for _, b := range bs {
			for _, l := range m.each(b.line) {
				c := &cliNode{line: l}
				n.under = append(n.under, c)
				into(c, b.under)
			}
		}
	}
	into(m.root, parseConfig(config, nil))
}

func (m *cliModel) do(line string) (said string) {
	line = strings.TrimSpace(line)
	in := m.at[len(m.at)-1]
	if m.watch != nil {
		defer func() { m.watch(line) }()
	}
	switch {
	case line == "end":
		m.at = m.at[:1]
		return ""
	case line == "exit":
		m.at = m.at[:max(1, len(m.at)-1)]
		return ""
	}
	if m.refuse != nil {
		var path []string
		for _, n := range m.at[1:] {
			path = append(path, n.line)
		}
		if said := m.refuse(strings.Join(path, " / "), line); said != "" {
			return said
		}
	}
	if std, ok := strings.CutPrefix(line, "default "); ok {
		in.drop(func(l string) bool { return startsWith(l, std) })
		return ""
	}
	if all := m.each(line); len(all) > 1 {
		for _, l := range all {
			m.do(l)
		}
		return ""
	}
	if not, ok := strings.CutPrefix(line, "no "); ok {
		return m.negate(in, not)
	}
	if i := slices.IndexFunc(in.under, func(c *cliNode) bool { return c.line == line }); i >= 0 {
		m.enter(in.under[i])
		return ""
	}
	if m.on[line] {
		in.drop(func(l string) bool { return l == "no "+line })
		return ""
	}
	fresh := &cliNode{line: line}
	if key := m.key(line); key != "" {
		in.drop(func(l string) bool { return l == "no "+key })
		if i := slices.IndexFunc(in.under, func(c *cliNode) bool { return m.key(c.line) == key }); i >= 0 {
			in.under[i] = fresh
			return ""
		}
	}
	in.under = append(in.under, fresh)
	m.enter(fresh)
	return ""
}

func (m *cliModel) negate(in *cliNode, not string) string {
	if m.hardware.MatchString(not) {
		return "% Removal of physical interfaces is not permitted"
	}
	if m.takes != nil {
		if g := m.takes.FindStringSubmatch(not); g != nil {
			in.drop(func(l string) bool { return startsWith(l, g[1]) })
		}
	}
	before := len(in.under)
	in.drop(func(l string) bool { return l == not })
	if len(in.under) == before {
		in.drop(func(l string) bool { return strings.HasPrefix(l, not+" ") })
	}
	if m.on[not] && !slices.ContainsFunc(in.under, func(c *cliNode) bool { return c.line == "no "+not }) {
		in.under = append(in.under, &cliNode{line: "no " + not})
	}
	for key := range m.off {
		if startsWith(not, key) && m.hardware.MatchString(in.line) && !slices.ContainsFunc(in.under, func(c *cliNode) bool { return m.key(c.line) == key || c.line == "no "+key }) {
			in.under = append(in.under, &cliNode{line: "no " + key})
		}
	}
	return ""
}

func (m *cliModel) enter(n *cliNode) {
	if m.modes[n.line] {
		m.at = append(m.at, n)
	}
}

func (m *cliModel) key(line string) string {
	for _, re := range m.single {
		if g := re.FindStringSubmatch(line); g != nil {
			return strings.Join(g[1:], " ")
		}
	}
	return ""
}

func (n *cliNode) drop(which func(string) bool) {
	n.under = slices.DeleteFunc(n.under, func(c *cliNode) bool { return which(c.line) })
}

// each returns the lines that one with several values stands for.
func (m *cliModel) each(line string) []string {
	for _, head := range m.lists {
		if values, ok := strings.CutPrefix(withoutNo(line), head+" "); ok {
			var all []string
			for _, v := range strings.FieldsFunc(values, func(c rune) bool { return c == ',' || c == ' ' }) {
				r, err := parseRange(v)
				for id := r.First; err == nil && id <= r.Last; id++ {
					all = append(all, line[:len(line)-len(values)]+strconv.Itoa(id))
				}
				if err != nil {
					all = append(all, line[:len(line)-len(values)]+v)
				}
			}
			return all
		}
	}
	return []string{line}
}

func (m *cliModel) String() string {
	var out strings.Builder
	var show func(n *cliNode, depth int)
	show = func(n *cliNode, depth int) {
		last := ""
		for _, c := range n.under {
			i := slices.IndexFunc(m.lists, func(head string) bool { return strings.HasPrefix(c.line, head+" ") && len(c.under) == 0 })
			if i >= 0 && m.lists[i] == last { // all its values are shown in one line
				text := strings.TrimSuffix(out.String(), "\n")
				out.Reset()
				out.WriteString(text + ifElse(last == "vlan", ",", " ") + strings.TrimPrefix(c.line, last+" ") + "\n")
				continue
			}
			last = ""
			if i >= 0 {
				last = m.lists[i]
			}
			out.WriteString(strings.Repeat(" ", depth) + c.line + "\n")
			show(c, depth+1)
		}
	}
	show(m.root, 0)
	return out.String() + "end\n"
}

// paths are all lines that the device shows, with those that lead to them.
func (m *cliModel) paths() map[string]bool {
	all := map[string]bool{}
	var into func(n *cliNode, path string)
	into = func(n *cliNode, path string) { // each value by itself
		for _, c := range n.under {
			all[join(path, c.line)] = true
			into(c, join(path, c.line))
		}
	}
	into(m.root, "")
	return all
}
