package lab

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A portStyle is how a platform's commands want the ports of a VLAN listed: how each one
// is written, and what stands between two.
type portStyle struct{ trunk, access, separator string }

// ports returns the names of the link's ports on a switch, sorted.
func (l PlannedLink) ports(on string) (trunks, access []string) {
	for _, p := range l.Trunks {
		if p.Device == on {
			trunks = append(trunks, p.Name)
		}
	}
	for _, p := range l.Access {
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

var (
	spaced   = regexp.MustCompile(`([A-Za-z]) +([0-9]+/)`)                             // Te 0/1
	brackets = regexp.MustCompile(`\([^()]*\)`)                                        // GE1/0/1(U), 3(to the left)
	marks    = regexp.MustCompile(`^[*!+]+|[*!+]+$`)                                   // *1
	letter   = regexp.MustCompile(`^(.*[0-9])[A-Za-z]$`)                               // 3b
	through  = regexp.MustCompile(`(?i)([0-9]) *(?:-| to ) *([A-Za-z]*[0-9])`)         // 1 to 4, GE1/0/1 to GE1/0/4
	span     = regexp.MustCompile(`^(|.*[^0-9])([0-9]{1,9})-(|.*[^0-9])([0-9]{1,9})$`) // 1-4, A1-A4, Eth1/1-3
	numbers  = regexp.MustCompile(`^[0-9]+(-[0-9]+)?$`)
	module   = regexp.MustCompile(`^(?:[A-Za-z]?|[A-Za-z-]*(?:[0-9]+[/:])+)$`) // what stands before a port's number
	words    = regexp.MustCompile(`^[A-Za-z-]*`)
	apart    = func(c rune) bool { return strings.ContainsRune(", \t;\u00a0", c) } // what stands between two ports
)

// mostPorts are in no range.
const mostPorts = 4096

// spread returns the ports of a list as a device writes it, with those in its ranges. An
// error is that there is a range of which nobody knows which ports are in it.
func spread(list string) (ports []string, err error) {
	unit := "" // Te0/ in "Te 0/1-3,5"
	list = through.ReplaceAllString(brackets.ReplaceAllString(list, " "), "$1-$2")
	for _, item := range strings.FieldsFunc(spaced.ReplaceAllString(list, "$1$2"), apart) {
		item = marks.ReplaceAllString(item, "")
		if unit != "" && numbers.MatchString(item) {
			item = unit + item
		}
		ports = append(ports, item)
		m := span.FindStringSubmatch(item)
		if m == nil {
			if slash := strings.LastIndexByte(item, '/'); slash > 0 {
				unit = item[:slash+1]
			}
			continue
		}
		if unit = ""; strings.HasSuffix(m[1], "/") {
			unit = m[1]
		}
		first, _ := strconv.Atoi(m[2]) // digits, and few
		last, _ := strconv.Atoi(m[4])
		switch {
		case m[3] != "" && !strings.EqualFold(m[1], m[3]) && m[3] != words.ReplaceAllString(m[1], ""):
			if module.MatchString(m[1]) && module.MatchString(m[3]) {
				return nil, fmt.Errorf("%q is a range over several parts of the switch", item)
			}
			continue // a name with a hyphen in it
		case last < first || last-first >= mostPorts:
			return nil, fmt.Errorf("%q is no range of ports", item)
		}
		for n := first; n <= last; n++ {
			ports = append(ports, fmt.Sprintf("%s%0*d", m[1], ifElse(m[2][0] == '0', len(m[2]), 0), n))
		}
	}
	return ports, nil
}

// failedPorts says what is wrong with the lists of ports in an answer.
func (c Check) failedPorts(lines []string) string {
	if c.Ports == "" {
		return ""
	}
	re, err := wholeLine(c.Ports)
	if err != nil || re.NumSubexp() != 1 {
		return fmt.Sprintf("%q: is no pattern with a group", c.Ports)
	}
	port, err := wholeLine(c.HasPort + c.NotPort) // one of them is ""
	if err != nil {
		return err.Error()
	}
	found, has := false, false
	for _, l := range lines {
		m := re.FindStringSubmatch(l)
		if m == nil {
			continue
		}
		found = true
		ports, err := spread(m[1])
		if err != nil {
			return fmt.Sprintf("%q shows %q: %v", c.Show, l, err)
		}
		for _, p := range ports {
			has = has || port.MatchString(p) || port.MatchString(letter.ReplaceAllString(p, "$1"))
		}
	}
	switch {
	case !found:
		return fmt.Sprintf("%q shows no list of ports%s", c.Show, only(lines))
	case c.HasPort != "" && !has:
		return fmt.Sprintf("%q shows no port %s", c.Show, plainPattern(c.HasPort))
	case c.NotPort != "" && has:
		return fmt.Sprintf("%q shows the port %s", c.Show, plainPattern(c.NotPort))
	}
	return ""
}
