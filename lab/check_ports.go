package lab

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var (
	portWithBlank = regexp.MustCompile(`([A-Za-z]) +([0-9]+/)`)                             // Te 0/1
	brackets      = regexp.MustCompile(`\([^()]*\)`)                                        // GE1/0/1(U), 3(to the left)
	marksAround   = regexp.MustCompile(`^[*!+]+|[*!+]+$`)                                   // *1
	letterAtEnd   = regexp.MustCompile(`^(.*[0-9])[A-Za-z]$`)                               // 3b
	portRange     = regexp.MustCompile(`(?i)([0-9]) *(?:-| to ) *([A-Za-z]*[0-9])`)         // 1 to 4, GE1/0/1 to GE1/0/4
	numberRange   = regexp.MustCompile(`^(|.*[^0-9])([0-9]{1,9})-(|.*[^0-9])([0-9]{1,9})$`) // 1-4, A1-A4, Eth1/1-3
	numbers       = regexp.MustCompile(`^[0-9]+(-[0-9]+)?$`)
	module        = regexp.MustCompile(`^(?:[A-Za-z]?|[A-Za-z-]*(?:[0-9]+[/:])+)$`) // what may precede the number of a port
	wordAtStart   = regexp.MustCompile(`^[A-Za-z-]*`)
	portSeparator = func(c rune) bool { return strings.ContainsRune(", \t;\u00a0", c) } // what separates two ports
)

// A range of maxRange ports or more is taken for a mistake.
const maxRange = 4096

// expandPorts returns the ports of a list as a device writes it, and the ports of its ranges.
// It returns an error if it is not known which ports are in a range.
func expandPorts(list string) (ports []string, err error) {
	unit := "" // Te0/ in "Te 0/1-3,5"
	list = portRange.ReplaceAllString(brackets.ReplaceAllString(list, " "), "$1-$2")
	for _, item := range strings.FieldsFunc(portWithBlank.ReplaceAllString(list, "$1$2"), portSeparator) {
		item = marksAround.ReplaceAllString(item, "")
		if unit != "" && numbers.MatchString(item) {
			item = unit + item
		}
		ports = append(ports, item)
		m := numberRange.FindStringSubmatch(item)
		if m == nil {
			if slash := strings.LastIndexByte(item, '/'); slash > 0 {
				unit = item[:slash+1]
			}
			continue
		}
		if unit = ""; strings.HasSuffix(m[1], "/") {
			unit = m[1]
		}
		first, _ := strconv.Atoi(m[2]) // a few digits
		last, _ := strconv.Atoi(m[4])
		switch {
		case m[3] != "" && !strings.EqualFold(m[1], m[3]) && m[3] != wordAtStart.ReplaceAllString(m[1], ""):
			if module.MatchString(m[1]) && module.MatchString(m[3]) {
				return nil, fmt.Errorf("%q is a range that spans several modules of the switch", item)
			}
			continue // a name with a hyphen in it
		case last < first || last-first >= maxRange:
			return nil, fmt.Errorf("%q is not a range of ports", item)
		}
		for n := first; n <= last; n++ {
			ports = append(ports, fmt.Sprintf("%s%0*d", m[1], ifElse(m[2][0] == '0', len(m[2]), 0), n))
		}
	}
	return ports, nil
}

// failedPorts returns what is wrong with the lists of ports in an answer, or "".
func (c Check) failedPorts(lines []string) string {
	if c.Ports == "" {
		return ""
	}
	re, err := wholeLine(c.Ports)
	if err != nil || re.NumSubexp() != 1 {
		return fmt.Sprintf("%q: must be a pattern with one group", c.Ports)
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
		ports, err := expandPorts(m[1])
		if err != nil {
			return fmt.Sprintf("%q shows %q: %v", c.Show, l, err)
		}
		for _, p := range ports {
			has = has || port.MatchString(p) || port.MatchString(letterAtEnd.ReplaceAllString(p, "$1"))
		}
	}
	switch {
	case !found:
		return fmt.Sprintf("%q shows no list of ports%s", c.Show, onlyShown(lines))
	case c.HasPort != "" && !has:
		return fmt.Sprintf("%q shows no port %s", c.Show, plainPattern(c.HasPort))
	case c.NotPort != "" && has:
		return fmt.Sprintf("%q shows the port %s", c.Show, plainPattern(c.NotPort))
	}
	return ""
}
