package lab

import (
	"fmt"
	"slices"
	"strings"
)

// parseSets reads a configuration of "set ..." lines.
func (d *dialect) parseSets(text string) (lines []string) {
	for raw := range strings.Lines(text) {
		l := strings.TrimSpace(raw)
		if l != "" && l[0] != '#' && !matches(d.volatile, l) && !slices.Contains(lines, l) {
			lines = append(lines, l)
		}
	}
	return lines
}

// changeSets returns what leads from one configuration of "set" lines to another.
func changeSets(from, to []string) []string {
	var out []string
	for _, l := range slices.Backward(from) {
		if !slices.Contains(to, l) {
			out = append(out, "delete "+afterWord(l))
		}
	}
	for _, l := range to {
		if !slices.Contains(from, l) {
			out = append(out, l)
		}
	}
	return out
}

func afterWord(l string) string {
	_, rest, _ := strings.Cut(l, " ")
	return rest
}

// planSets makes a plan of a startup-config of "set" lines.
func (d *dialect) planSets(n *Node) (p nodePlan, err error) {
	sets := d.parseSets(n.Config)
	for _, l := range sets {
		if !strings.HasPrefix(l, "set ") {
			return p, fmt.Errorf("%s: startup-config: %.80q: is not a line as in set system ...; write it as \"show configuration | display set\" does", n.Name, l)
		}
	}
	return nodePlan{apply: sets, undo: changeSets(sets, nil)}, nil
}

// missingSets returns which "set" lines are not in a running configuration.
func (d *dialect) missingSets(want, running string) []string {
	has := d.parseSets(running)
	return slices.DeleteFunc(d.parseSets(want), func(l string) bool { return slices.Contains(has, l) || matches(d.unshown, l) })
}
