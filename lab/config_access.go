package lab

import (
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"activationd/internal/fault"
)

// An accessRule matches lines that change how a device is reached: its patterns match the path
// of a line, as in "line vty 0 4 / transport input ssh".
type accessRule struct {
	by     string // bySSH ...
	line   string // {user} is the user of the login
	except []*regexp.Regexp
	// ifNew says that every device of the kind may show the line already. Only if it does not,
	// the line changes something, and only the device itself shows that.
	ifNew bool
}

// The kinds of access.
const (
	bySSH     = "ssh"
	byTelnet  = "telnet"
	byNetwork = "network" // SSH or telnet
	byConsole = "console"
	byAny     = "any"
)

var accessKinds = []string{bySSH, byTelnet, byNetwork, byConsole, byAny}

// uses reports whether an access is of a kind.
func (via Access) uses(by string) bool {
	u, err := url.Parse(via.Connect)
	if err != nil {
		return by == byAny
	}
	network := u.Scheme == bySSH || u.Scheme == byTelnet
	switch by {
	case byNetwork:
		return network
	case byConsole:
		return !network
	}
	return by == byAny || by == u.Scheme
}

// accessPath returns the lines of a configuration, as paths, that change the interface, the
// user or the service by which a device is reached.
func (d *dialect) accessPath(config string, via Access) (lines []string) {
	switch d.style {
	case setStyle:
		return d.accessSets(config, via)
	case menus:
		return d.accessItems(config, via)
	}
	host := via.address()
	for _, top := range d.blocks(config) {
		mine := hasHost(top, host)
		walk([]*block{top}, "", func(b *block, path string) {
			if len(b.under) == 0 && (mine || d.accessLine(path, via, false)) {
				lines = append(lines, path)
			}
		})
	}
	return lines
}

// address returns the address by which a device is reached, if that is known.
func (via Access) address() (a netip.Addr) {
	if u, err := url.Parse(via.Connect); err == nil && via.uses(byNetwork) {
		a, _ = netip.ParseAddr(u.Hostname()) // the URL may have a name
	}
	return a
}

// hasHost reports whether an interface has an address.
func hasHost(b *block, host netip.Addr) (has bool) {
	walk([]*block{b}, "", func(b *block, _ string) { has = has || hasAddress(b.line, host) })
	return has
}

// reachable returns an error if a plan changes how the device is reached in a way that only
// the device itself shows: which interface has the address, and which lines are new.
func (d *dialect) reachable(plan *DevicePlan, running string) error {
	if plan.Access.AllowAccessPath {
		return nil
	}
	if line := d.newAccessLine(plan, running); line != "" {
		return fmt.Errorf("%s: %.120q is not in its configuration yet, changes how it is reached, and may cut that off; leave it out, or write \"allow: access-path\" for it into the inventory: %w",
			plan.Name, line, fault.Conflict)
	}
	host := plan.Access.address()
	if !host.IsValid() {
		return nil
	}
	var line string
	switch d.style {
	case indented:
		line = d.changedBlock(plan.Apply, running, host)
	case setStyle:
		line = d.changedSet(plan.Apply, running, host)
	case menus:
		line = d.changedItem(plan.Apply, running, host)
	}
	if line == "" {
		return nil
	}
	return fmt.Errorf("%s: %.120q changes the interface by which it is reached, as that has the address %v, and may cut that off; leave it out, or write \"allow: access-path\" for it into the inventory: %w",
		plan.Name, line, host, fault.Conflict)
}

// newAccessLine returns a line that changes the access and that the device does not have yet.
func (d *dialect) newAccessLine(plan *DevicePlan, running string) (line string) {
	if d.style != indented {
		return ""
	}
	shown := map[string]bool{}
	walk(d.parse(running), "", func(_ *block, path string) { shown[path] = true })
	walk(d.parse(strings.Join(plan.Apply, "\n")), "", func(_ *block, path string) {
		if line == "" && d.accessLine(path, plan.Access, true) && !shown[path] {
			line = path
		}
	})
	return line
}

// changedBlock returns the first line that changes the interface with an address.
func (d *dialect) changedBlock(apply []string, running string, host netip.Addr) (changed string) {
	want := d.parse(strings.Join(apply, "\n"))
	for _, has := range d.parse(running) {
		if !hasHost(has, host) {
			continue
		}
		form := regexp.QuoteMeta(has.line) // the block of a VLAN, if that has the address
		if name, ok := strings.CutPrefix(has.line, "interface "); ok {
			form = "(?i:int[a-z]*) " + anyFormOf(name)
		}
		header := regexp.MustCompile("^(?:no |default )?" + form + "$")
		for _, b := range want {
			switch {
			case !header.MatchString(b.line):
			case withoutNo(b.line) != b.line:
				return b.line
			}
			if header.MatchString(b.line) {
				walk(b.under, b.line, func(l *block, path string) {
					if changed == "" && len(l.under) == 0 && find(has.under, l.line) == nil {
						changed = path
					}
				})
			}
		}
	}
	return changed
}

// changedSet is changedBlock for lines of "set".
func (d *dialect) changedSet(apply []string, running string, host netip.Addr) string {
	has, want := d.parseSets(running), d.parseSets(strings.Join(apply, "\n"))
	mine := map[string]bool{}
	for _, n := range interfacesWith(has, host) {
		mine[d.sets.used(n.path())] = true
	}
	changed := ""
	want.root.each(func(n *setNode) bool {
		switch i := d.sets.interfaceOf(n); {
		case changed != "":
		case n.inactive && (i != nil && mine[d.sets.used(i.path())] || d.sets.above(n, mine)):
			changed = d.sets.command(verbDeactivate, n.path())
		case n.line != "" && has.root.at(n) == nil && i != nil && mine[d.sets.used(i.path())]:
			changed = n.line
		}
		return changed == ""
	})
	return changed
}

// above reports whether one of the interfaces is under a node.
func (f *setSyntax) above(n *setNode, interfaces map[string]bool) bool {
	for path := range interfaces {
		if strings.HasPrefix(path, f.used(n.path())+" ") {
			return true
		}
	}
	return false
}

// interfacesWith returns the interfaces that have an address.
func interfacesWith(sets *setTree, host netip.Addr) (all []*setNode) {
	for _, n := range sets.ends {
		if !hasAddress(n.line, host) {
			continue
		}
		if i := sets.interfaceOf(n); i != nil && !slices.Contains(all, i) {
			all = append(all, i)
		}
	}
	return all
}

// interfaceOf returns the interface to which a node belongs, or nil.
func (f *setSyntax) interfaceOf(n *setNode) *setNode {
	for ; n != nil && n.up != nil && f.iface != nil; n = n.up {
		if f.iface.MatchString(f.used(n.path())) {
			return n
		}
	}
	return nil
}

// used returns a path as it would be where its group is used.
func (f *setSyntax) used(path string) string {
	if f.group != nil {
		if at := f.group.FindStringIndex(path); at != nil {
			return path[at[1]:]
		}
	}
	return path
}

// accessSets is accessPath for lines of "set". A line of a group counts as if it stood where
// the group is used.
func (d *dialect) accessSets(config string, via Access) (lines []string) {
	sets := d.parseSets(config)
	mine := map[string]bool{}
	for _, n := range interfacesWith(sets, via.address()) {
		mine[d.sets.used(n.path())] = true
	}
	for _, n := range sets.ends {
		l := d.sets.command(verbSet, d.sets.used(n.path()))
		if i := d.sets.interfaceOf(n); d.accessLine(l, via, false) || i != nil && mine[d.sets.used(i.path())] {
			lines = append(lines, n.line)
		}
	}
	sets.root.each(func(n *setNode) bool {
		// An inactive node makes everything under it inactive.
		if l := d.sets.command(verbSet, n.path()); n.inactive && slices.ContainsFunc(d.accessRules, func(a accessRule) bool { return d.accessLine(l, via, false) || via.uses(a.by) && a.begins(l, via) }) {
			lines = append(lines, d.sets.command(verbDeactivate, n.path()))
		}
		return true
	})
	return lines
}

// begins reports whether the lines that a rule matches begin with words.
func (a accessRule) begins(words string, via Access) bool {
	re, err := regexp.Compile(strings.ReplaceAll(a.line, "{user}", regexp.QuoteMeta(via.User)))
	if err != nil {
		return false
	}
	first, _ := re.LiteralPrefix()
	return strings.HasPrefix(first, words+" ") || re.MatchString(words+" x")
}

// hasAddress reports whether a line gives an interface an address.
func hasAddress(line string, host netip.Addr) bool {
	words := strings.Fields(line)
	i := slices.IndexFunc(words, func(w string) bool { return len(w) > 1 && strings.HasPrefix("address", w) })
	if !host.IsValid() || i < 1 || i+1 >= len(words) {
		return false
	}
	word, _, _ := strings.Cut(unquoted(words[i+1]), "/")
	a, err := netip.ParseAddr(word)
	return err == nil && a == host
}

// accessLine reports whether a line changes the access: for certain, or, with ifNew, unless
// the device shows the line already.
func (d *dialect) accessLine(path string, via Access, ifNew bool) bool {
	return slices.ContainsFunc(d.accessRules, func(a accessRule) bool {
		if a.ifNew != ifNew || !via.uses(a.by) || strings.Contains(a.line, "{user}") && via.User == "" || matches(a.except, path) {
			return false
		}
		re, err := wholeLine(strings.ReplaceAll(a.line, "{user}", regexp.QuoteMeta(via.User)))
		if err != nil {
			return false
		}
		full := a.full(path)
		return re.MatchString(path) || re.MatchString(full) && !matches(a.except, full)
	})
}

var (
	literals  = regexp.MustCompile(`[A-Za-z][A-Za-z-]{2,}`)
	wordStart = regexp.MustCompile(`^[A-Za-z-]{2,}`)
)

// full returns a path in the words of the rule: the first two words of each line may be
// shortened, or in another case. A line that is set to its default counts as negated, as does
// the removal of an interface.
func (a accessRule) full(path string) string {
	known := literals.FindAllString(strings.ReplaceAll(a.line, "{user}", ""), -1)
	long := func(word string) string {
		short := wordStart.FindString(word)
		for _, l := range known {
			if short != "" && len(short) <= len(l) && strings.EqualFold(l[:len(short)], short) {
				return l + word[len(short):]
			}
		}
		return word
	}
	lines := strings.Split(path, " / ")
	for i, line := range lines {
		bare := withoutNo(line)
		words := strings.SplitN(bare, " ", 3)
		for j := range words[:min(2, len(words))] {
			words[j] = long(words[j])
		}
		lines[i] = ifElse(bare == line, "", "no ") + strings.Join(words, " ")
	}
	if what, negated := strings.CutPrefix(lines[0], "no "); negated && strings.HasPrefix(what, "interface ") {
		lines[0] = what + " / no"
	}
	return strings.Join(lines, " / ")
}

// accessItems is accessPath for a configuration in menus.
func (d *dialect) accessItems(config string, via Access) (lines []string) {
	items, _ := parseItems(config)
	mine := interfacesOf(items, via.address())
	for _, it := range items {
		if d.accessLine(it.line(), via, false) || it.concerns(mine) {
			lines = append(lines, it.line())
		}
	}
	return lines
}

// interfacesOf returns the interfaces that have an address.
func interfacesOf(items []*item, host netip.Addr) (names []string) {
	for _, it := range items {
		text, _ := it.value("address")
		word, _, _ := strings.Cut(text, "/")
		a, err := netip.ParseAddr(word)
		name, ok := it.value("interface")
		if host.IsValid() && err == nil && a == host && ok {
			names = append(names, name)
		}
	}
	return names
}

// concerns reports whether a line is about one of some interfaces.
func (it *item) concerns(interfaces []string) bool {
	return slices.ContainsFunc(interfaces, func(name string) bool {
		return slices.ContainsFunc(it.values, func(p property) bool {
			return slices.Contains(strings.Split(p.value, ","), name) && (strings.Contains(p.key, "interface") || p.key == "name" || strings.Contains(p.key, "tagged"))
		}) || regexp.MustCompile(`[= ]"?`+regexp.QuoteMeta(name)+`"?( |$)`).MatchString(it.which)
	})
}

// changedItem is changedBlock for a configuration in menus.
func (d *dialect) changedItem(apply []string, running string, host netip.Addr) string {
	shown, _ := parseItems(running)
	mine := interfacesOf(shown, host)
	for _, l := range apply {
		items, _ := parseItems(l)
		if len(items) == 1 && items[0].concerns(mine) && len(d.missingItems([]string{l}, running)) > 0 {
			return l
		}
	}
	return ""
}
