package lab

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A Check is a command for a device, and what its answer must be. Patterns are regular
// expressions that match whole lines, without the blanks around them.
type Check struct {
	About string   `json:"about"` // what the check verifies: a port, a node
	Show  string   `json:"show"`
	Lines []string `json:"lines,omitempty"` // each has to match a line
	None  []string `json:"none,omitempty"`  // none may match a line
	// IDs has a group that matches a list of VLAN ids. At least one line must match. The lists
	// must contain the id Has, or must not contain the id Not.
	IDs string `json:"ids,omitempty"`
	Has int    `json:"has,omitempty"`
	Not int    `json:"not,omitempty"`
	// Ports has a group that matches a list of ports. At least one line must match. HasPort is
	// a pattern that one of the ports must match, or NotPort is one that none may match.
	Ports   string `json:"ports,omitempty"`
	HasPort string `json:"has_port,omitempty"`
	NotPort string `json:"not_port,omitempty"`
	// Undo are the lines whose effect a clean check verifies. They are set for a part that
	// stays if the device had it before.
	Undo []string `json:"undo,omitempty"`
}

// unlessEmpty returns the check, or nothing if the check would accept any answer.
func (c Check) unlessEmpty() []Check {
	if len(c.Lines) == 0 && len(c.None) == 0 && c.IDs == "" && c.Ports == "" {
		return nil
	}
	return []Check{c}
}

// Failed returns what is wrong with an answer, or "".
func (c Check) Failed(answer string) string {
	var lines []string
	for l := range strings.Lines(answer) {
		lines = append(lines, strings.TrimSpace(l))
	}
	some := func(expr string) (string, bool) {
		re, err := wholeLine(expr)
		if err != nil {
			return err.Error(), false
		}
		i := slices.IndexFunc(lines, re.MatchString)
		if i < 0 {
			return "", false
		}
		return lines[i], true
	}
	for _, expr := range c.Lines {
		if _, ok := some(expr); !ok {
			return fmt.Sprintf("%q shows no line %q%s", c.Show, plainPattern(expr), onlyShown(lines))
		}
	}
	for _, expr := range c.None {
		if line, ok := some(expr); ok {
			return fmt.Sprintf("%q shows %q", c.Show, line)
		}
	}
	if why := c.failedPorts(lines); why != "" {
		return why
	}
	return c.failedIDs(lines)
}

func (c Check) failedIDs(lines []string) string {
	re, err := wholeLine(c.IDs)
	if c.IDs == "" {
		return ""
	}
	if err != nil || re.NumSubexp() < 1 {
		return fmt.Sprintf("%q: must be a pattern with a group", c.IDs)
	}
	found, has := false, map[int]bool{}
	for _, l := range lines {
		if m := re.FindStringSubmatch(l); m != nil {
			found = true
			if !listed(m[1], has) {
				return fmt.Sprintf("%q shows %q, a list of VLANs with a range that has no beginning or no end", c.Show, l)
			}
		}
	}
	switch {
	case !found:
		return fmt.Sprintf("%q shows no list of VLANs, and without one it may carry every VLAN%s", c.Show, onlyShown(lines))
	case c.Has > 0 && !has[c.Has]:
		return fmt.Sprintf("%q shows no VLAN %d", c.Show, c.Has)
	case c.Not > 0 && has[c.Not]:
		return fmt.Sprintf("%q shows VLAN %d", c.Show, c.Not)
	}
	return ""
}

var (
	idRanges = regexp.MustCompile(`(?i)([0-9]) *(?:-| to ) *([0-9])`)
	idRange  = regexp.MustCompile(`^([0-9]{1,9})(?:-([0-9]{1,9}))?$`)
	halfOf   = regexp.MustCompile(`(?i)(^|[ ,])([0-9]+-|-[0-9]+)($|[ ,])|^to [0-9]| to$`)
)

// listed adds the ids of a list, as a device writes it, to a set: 1-4,7 or 1 to 4 7, all,
// 1(default vlan). Words are names of VLANs and are passed over. It reports false if a range
// has only one end.
func listed(list string, has map[int]bool) bool {
	list = idRanges.ReplaceAllString(brackets.ReplaceAllString(list, " "), "$1-$2")
	if halfOf.MatchString(strings.TrimSpace(list)) {
		return false
	}
	for _, part := range strings.FieldsFunc(list, func(c rune) bool { return strings.ContainsRune(", \t", c) }) {
		if strings.EqualFold(part, "all") {
			part = "1-4094"
		}
		m := idRange.FindStringSubmatch(part)
		if m == nil {
			continue
		}
		first, _ := strconv.Atoi(m[1]) // a few digits
		last, _ := strconv.Atoi(ifElse(m[2] == "", m[1], m[2]))
		for id := max(first, 1); id <= min(last, 4094); id++ {
			has[id] = true
		}
	}
	return true
}

// onlyShown describes an answer of at most one line.
func onlyShown(lines []string) string {
	lines = slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return l == "" })
	switch len(lines) {
	case 0:
		return " (it shows nothing)"
	case 1:
		return fmt.Sprintf(" (it shows only %.100q)", lines[0])
	}
	return ""
}

var (
	quoted     = regexp.MustCompile(`\\([^A-Za-z0-9])`)
	formsOf    = regexp.MustCompile(`\(\?i:(.*?)\) \?`)
	formsParts = strings.NewReplacer("(?:", "", ")?", "", "[a-z-]*", "")
)

// plainPattern returns a pattern for messages: without the quoting, and without the forms of
// ports' names.
func plainPattern(expr string) string {
	expr = formsOf.ReplaceAllStringFunc(expr, func(f string) string { return formsParts.Replace(formsOf.FindStringSubmatch(f)[1]) })
	return quoted.ReplaceAllString(expr, "$1")
}
