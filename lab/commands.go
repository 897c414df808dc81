package lab

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"activationd/topology"
)

// A command is a kind of line that a shell may be given, and how it is undone.
// $1 ... are the pattern's groups.
type command struct {
	line           *regexp.Regexp
	apply, undo    []string
	stays          bool // what was so before is not undone
	show           string
	applied, clean []string // patterns
	cleanNot       []string
}

// planCommands makes a plan of a configuration that is a shell's commands. Only known
// kinds are taken: the others' inverse isn't known, and a shell can do anything.
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
			return p, fmt.Errorf("%s: %.80q: is no command of which this knows how to undo it", where(number), line)
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
		p.applied = append(p.applied, Check{About: n.Name, Show: show, Lines: expand(c.applied, m, true)}.some()...)
		clean := Check{About: n.Name, Show: show, Lines: expand(c.clean, m, true), None: expand(c.cleanNot, m, true)}
		if c.stays {
			clean.Undo = undo
		}
		p.clean = append(p.clean, clean.some()...)
	}
	return p, nil
}

// canonical returns an address, or a network, as hosts show it: they know no other
// form of what they are asked. Other words stay as they are.
func canonical(word string) (string, error) {
	switch {
	case addressed.MatchString(word) && strings.Contains(word, "/"):
		p, err := netip.ParsePrefix(word)
		if err != nil {
			return "", fmt.Errorf("%q is no address with the length of its network", word)
		}
		return p.String(), nil
	case addressed.MatchString(word) && strings.ContainsAny(word, ".:"):
		a, err := netip.ParseAddr(word)
		if err != nil {
			return "", fmt.Errorf("%q is no address", word)
		}
		return a.String(), nil
	}
	return word, nil
}

// addressed matches what can only be meant as an address.
var addressed = regexp.MustCompile(`^([0-9.]+|[0-9a-f.]*:[0-9a-f:.]*)(/[0-9]+)?$`)

var group = regexp.MustCompile(`\$[0-9]`)

// expand puts a match's groups in, quoted where they become part of a pattern. Of no
// match it makes nothing.
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
