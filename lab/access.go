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

// An access is a line that changes how a device is reached: its patterns are for the
// lines that lead to one, as in "line vty 0 4 / transport input ssh".
type access struct {
	by     string // accessSSH ...
	line   string // {user} is the one who logs in
	except []*regexp.Regexp
	// ifNew says that every device of the kind may show the line: it changes something only
	// where it does not, which the device itself can tell.
	ifNew bool
}

// How a device may be reached.
const (
	accessSSH     = "ssh"
	accessTelnet  = "telnet"
	accessNetwork = "network" // either of both
	accessConsole = "console"
	accessAny     = "any"
)

var accesses = []string{accessSSH, accessTelnet, accessNetwork, accessConsole, accessAny}

// reached says whether a way is of a kind.
func (w Way) reached(by string) bool {
	u, err := url.Parse(w.Connect)
	if err != nil {
		return by == accessAny
	}
	network := u.Scheme == accessSSH || u.Scheme == accessTelnet
	switch by {
	case accessNetwork:
		return network
	case accessConsole:
		return !network
	}
	return by == accessAny || by == u.Scheme
}

// accessPath returns the lines of a configuration, as paths, that change the interface,
// the user or the service by which a device is reached.
func (d *dialect) accessPath(config string, w Way) (lines []string) {
	switch d.style {
	case setStyle:
		return d.accessSets(config, w)
	case menus:
		return d.accessItems(config, w)
	}
	host := w.address()
	for _, top := range d.blocks(config) {
		mine := hasHost(top, host)
		walk([]*block{top}, "", func(b *block, path string) {
			if len(b.under) == 0 && (mine || d.accessLine(path, w, false)) {
				lines = append(lines, path)
			}
		})
	}
	return lines
}

// address is the one by which a device is reached, if that is known.
func (w Way) address() (a netip.Addr) {
	if u, err := url.Parse(w.Connect); err == nil && w.reached(accessNetwork) {
		a, _ = netip.ParseAddr(u.Hostname()) // it may be a name
	}
	return a
}

// hasHost says whether an interface has an address.
func hasHost(b *block, host netip.Addr) (has bool) {
	walk([]*block{b}, "", func(b *block, _ string) { has = has || hasAddress(b.line, host) })
	return has
}

// reachable is an error if a plan changes the way by which a device is reached, as far as
// only the device itself can tell: which interface has the address, and what is new.
func (d *dialect) reachable(plan *DevicePlan, running string) error {
	if plan.Way.AllowAccessPath {
		return nil
	}
	if line := d.newOnTheWay(plan, running); line != "" {
		return fmt.Errorf("%s: %.120q changes how it is reached, as it does not show that yet, and may cut that off; leave it out, or write \"allow: access-path\" for it into the inventory: %w",
			plan.Name, line, fault.Conflict)
	}
	host := plan.Way.address()
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
	return fmt.Errorf("%s: %.120q changes the interface by which it is reached, as it has the address %v, and may cut that off; leave it out, or write \"allow: access-path\" for it into the inventory: %w",
		plan.Name, line, host, fault.Conflict)
}

// newOnTheWay returns a line that changes the way where it is new.
func (d *dialect) newOnTheWay(plan *DevicePlan, running string) (line string) {
	if d.style != indented {
		return ""
	}
	shown := map[string]bool{}
	walk(d.parse(running), "", func(_ *block, path string) { shown[path] = true })
	walk(d.parse(strings.Join(plan.Apply, "\n")), "", func(_ *block, path string) {
		if line == "" && d.accessLine(path, plan.Way, true) && !shown[path] {
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
		form := regexp.QuoteMeta(has.line) // as of a VLAN, where that has the address
		if name, ok := strings.CutPrefix(has.line, "interface "); ok {
			form = "(?i:int[a-z]*) " + anyFormOf(name)
		}
		header := regexp.MustCompile("^(?:no |default )?" + form + "$")
		for _, b := range want {
			switch {
			case !header.MatchString(b.line):
			case positive(b.line) != b.line:
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

// changedSet is changedBlock of lines of "set".
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

// above says whether one of the interfaces stands under a node.
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

// interfaceOf returns the interface that a node stands under, or nil.
func (f *setSyntax) interfaceOf(n *setNode) *setNode {
	for ; n != nil && n.up != nil && f.iface != nil; n = n.up {
		if f.iface.MatchString(f.used(n.path())) {
			return n
		}
	}
	return nil
}

// used is a path as it counts where its group is used.
func (f *setSyntax) used(path string) string {
	if f.group != nil {
		if at := f.group.FindStringIndex(path); at != nil {
			return path[at[1]:]
		}
	}
	return path
}

// accessSets is accessPath of lines of "set". A line of a group counts as if it stood
// where the group is used.
func (d *dialect) accessSets(config string, w Way) (lines []string) {
	sets := d.parseSets(config)
	mine := map[string]bool{}
	for _, n := range interfacesWith(sets, w.address()) {
		mine[d.sets.used(n.path())] = true
	}
	for _, n := range sets.ends {
		l := d.sets.command(verbSet, d.sets.used(n.path()))
		if i := d.sets.interfaceOf(n); d.accessLine(l, w, false) || i != nil && mine[d.sets.used(i.path())] {
			lines = append(lines, n.line)
		}
	}
	sets.root.each(func(n *setNode) bool {
		// What is inactive takes all with it that stands under it.
		if l := d.sets.command(verbSet, n.path()); n.inactive && slices.ContainsFunc(d.access, func(a access) bool { return d.accessLine(l, w, false) || w.reached(a.by) && a.begins(l, w) }) {
			lines = append(lines, d.sets.command(verbDeactivate, n.path()))
		}
		return true
	})
	return lines
}

// begins says whether lines that an access matches begin with words.
func (a access) begins(words string, w Way) bool {
	re, err := regexp.Compile(strings.ReplaceAll(a.line, "{user}", regexp.QuoteMeta(w.User)))
	if err != nil {
		return false
	}
	first, _ := re.LiteralPrefix()
	return strings.HasPrefix(first, words+" ") || re.MatchString(words+" x")
}

// hasAddress says whether a line gives an interface an address.
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

// accessLine says whether a line is one of those that change the way, for certain or, with
// ifNew, unless the device shows it.
func (d *dialect) accessLine(path string, w Way, ifNew bool) bool {
	return slices.ContainsFunc(d.access, func(a access) bool {
		if a.ifNew != ifNew || !w.reached(a.by) || strings.Contains(a.line, "{user}") && w.User == "" || matches(a.except, path) {
			return false
		}
		re, err := wholeLine(strings.ReplaceAll(a.line, "{user}", regexp.QuoteMeta(w.User)))
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

// full is a path with words that may have been shortened, or are in another case, as an
// access has them: of each line the first two. What is set to its default, or an interface
// that is removed, is as good as negated.
func (a access) full(path string) string {
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
		bare := positive(line)
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
