package lab

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"activationd/internal/fault"
)

const (
	// holeAnyForm stands, in a pattern, for the name of a port in any form that the device may
	// show.
	holeAnyForm = "port.any"
	// holePorts and holeAccessPorts stand for all ports of the link on this switch.
	holePorts       = "ports"
	holeAccessPorts = "access_ports"
)

// isList reports whether a hole stands for a list, which may be empty.
func isList(hole string) bool { return hole == "{"+holePorts+"}" || hole == "{"+holeAccessPorts+"}" }

// listsPorts reports whether the part puts the VLAN on several ports with one line.
func (p part) listsPorts() bool {
	return slices.ContainsFunc(p.apply, func(line string) bool { return slices.ContainsFunc(holes.FindAllString(line, -1), isList) })
}

var letteredPort = regexp.MustCompile(`^([A-Za-z][A-Za-z-]*?) ?([0-9].*)$`)

// anyFormOf returns a pattern for the name of a port in which the word may be shortened to two
// letters, or written out: Gi0/1 is GigabitEthernet0/1.
func anyFormOf(port string) string {
	m := letteredPort.FindStringSubmatch(port)
	if m == nil {
		return regexp.QuoteMeta(port)
	}
	word, few := m[1], min(2, len(m[1]))
	rest := "[a-z-]*"
	for i := len(word) - 1; i >= few; i-- {
		rest = "(?:" + word[i:i+1] + rest + ")?"
	}
	return "(?i:" + word[:few] + rest + ") ?" + regexp.QuoteMeta(m[2])
}

// anyFormOf returns a pattern for all names of a port: one of its names with its short forms,
// and the aliases that are not among those.
func (n *interfaceNames) anyFormOf(port string) string {
	var all []string
	for _, name := range n.forms(port) {
		if known, err := wholeLine(strings.Join(all, "|")); err != nil || len(all) == 0 || !known.MatchString(name) {
			all = append(all, anyFormOf(name))
		}
	}
	if len(all) == 1 {
		return all[0]
	}
	return "(?:" + strings.Join(all, "|") + ")"
}

// A filler replaces the holes of templates by values.
type filler struct {
	values map[string]string
	names  *interfaceNames
	err    error
}

// lines returns the lines to send. A line with lists is left out if all of them are empty.
func (f *filler) lines(texts []string) (out []string) {
	for _, t := range texts {
		lists, some := false, false
		for _, hole := range holes.FindAllString(t, -1) {
			if isList(hole) {
				lists, some = true, some || f.values[strings.Trim(hole, "{}")] != ""
			}
		}
		if !lists || some {
			out = append(out, f.fill([]string{t}, false)...)
		}
	}
	return out
}

func (f *filler) fill(texts []string, pattern bool) []string {
	var out []string
	for _, t := range texts {
		if !strings.Contains(t, "{") {
			out = append(out, t)
			continue
		}
		var b strings.Builder
		end := 0
		for _, m := range holes.FindAllStringIndex(t, -1) {
			b.WriteString(t[end:m[0]])
			end = m[1]
			hole := t[m[0]:m[1]]
			name := strings.Trim(hole, "{}")
			v, ok := f.values[name]
			if strings.HasPrefix(hole, "{{") { // {{word}} is the text {word}
				name, v, ok = "", "{"+name+"}", true
			}
			if !ok {
				f.err = fmt.Errorf("%s: is unknown; settings of the device are given in the inventory, and {%s} stands for the text itself: %w", hole, hole, fault.Invalid)
			}
			switch {
			case pattern && name == holeAnyForm:
				b.WriteString(f.names.anyFormOf(v))
			case pattern:
				b.WriteString(regexp.QuoteMeta(v))
			default:
				b.WriteString(v)
			}
		}
		b.WriteString(t[end:])
		out = append(out, b.String())
	}
	return out
}

// A portStyle says how a platform's commands list the ports of a VLAN: how each port is
// written, and what separates two of them.
type portStyle struct{ trunk, access, separator string }

// ports returns the names of the link's ports on a switch, sorted.
func (l PlannedLink) ports(on string) (trunks, access []string) {
	for _, p := range l.TrunkPorts {
		if p.Device == on {
			trunks = append(trunks, p.Name)
		}
	}
	for _, p := range l.AccessPorts {
		if p.Device == on {
			access = append(access, p.Name)
		}
	}
	slices.Sort(trunks)
	slices.Sort(access)
	return trunks, access
}

func (s portStyle) list(ports []string, form string) string {
	written := make([]string, len(ports))
	for i, p := range ports {
		written[i] = strings.ReplaceAll(form, "{port}", p)
	}
	return strings.Join(written, s.separator)
}
