package lab

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"activationd/topology"
)

// A command is a kind of line that may be given to a shell, and how it is undone. $1 ... are
// replaced by the groups of line.
type command struct {
	line           *regexp.Regexp
	apply, undo    []string
	stays          bool // a state that existed before is not undone
	show           string
	applied, clean []string // patterns
	cleanNot       []string
}

// planCommands makes a plan for a startup-config of shell commands. It accepts only the kinds
// that it knows how to undo, as a shell can do anything.
func (d *dialect) planCommands(n *topology.Node, where func(int) string) (p nodePlan, err error) {
	number, done := 0, map[string]bool{}
	for raw := range strings.Lines(n.Config) {
		number++
		line := strings.Join(strings.Fields(raw), " ")
		if line == "" || line[0] == '#' {
			continue
		}
		i := slices.IndexFunc(d.commands, func(c command) bool { return c.line.MatchString(line) })
		if i < 0 {
			return p, fmt.Errorf("%s: %.80q: is not a command that can be undone", where(number), line)
		}
		c := d.commands[i]
		m := c.line.FindStringSubmatch(line)
		for i := range m[1:] {
			if m[1+i], err = canonical(m[1+i]); err != nil {
				return p, fmt.Errorf("%s: %w", where(number), err)
			}
		}
		apply, undo := expand(c.apply, m, false), expand(c.undo, m, false)
		once := strings.Join(apply, "\n")
		if done[once] {
			continue
		}
		done[once] = true
		p.apply = append(p.apply, apply...)
		p.undo = append(slices.Clone(undo), p.undo...)
		if c.show == "" {
			continue
		}
		show := expand([]string{c.show}, m, false)[0]
		p.applied = append(p.applied, Check{About: n.Name, Show: show, Lines: expand(c.applied, m, true)}.unlessEmpty()...)
		clean := Check{About: n.Name, Show: show, Lines: expand(c.clean, m, true), None: expand(c.cleanNot, m, true)}
		if c.stays {
			clean.Undo = undo
		}
		p.clean = append(p.clean, clean.unlessEmpty()...)
	}
	return p, nil
}

// canonical returns an address or a network in the form in which hosts show it. It returns
// other words unchanged.
func canonical(word string) (string, error) {
	switch {
	case addressed.MatchString(word) && strings.Contains(word, "/"):
		p, err := netip.ParsePrefix(word)
		if err != nil {
			return "", fmt.Errorf("%q is not an address with a prefix length", word)
		}
		return p.String(), nil
	case addressed.MatchString(word) && strings.ContainsAny(word, ".:"):
		a, err := netip.ParseAddr(word)
		if err != nil {
			return "", fmt.Errorf("%q is not an address", word)
		}
		return a.String(), nil
	}
	return word, nil
}

// addressed matches words that can only be meant as addresses.
var addressed = regexp.MustCompile(`^([0-9.]+|[0-9a-f.]*:[0-9a-f:.]*)(/[0-9]+)?$`)

var group = regexp.MustCompile(`\$[0-9]`)

// expand inserts the groups of a match, quoted if they become part of a pattern. Without a
// match it returns nothing.
func expand(texts, match []string, pattern bool) []string {
	var out []string
	if match == nil {
		return nil
	}
	for _, t := range texts {
		out = append(out, group.ReplaceAllStringFunc(t, func(g string) string {
			n := int(g[1] - '0')
			switch {
			case n >= len(match):
				return ""
			case pattern:
				return regexp.QuoteMeta(match[n])
			}
			return match[n]
		}))
	}
	return out
}
