package lab

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A command is a kind of line that a shell may be given, and how it is undone.
// $1 ... are the pattern's groups.
type command struct {
	line           *regexp.Regexp
	apply, undo    []string
	show           string
	applied, clean []string // patterns
	cleanNot       []string
}

// planCommands makes a plan of a configuration that is a shell's commands. Only known
// kinds are taken: the others' inverse isn't known, and a shell can do anything.
func (d *dialect) planCommands(n *Node, where func(int) string) (p nodePlan, err error) {
	number := 0
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
		p.apply = append(p.apply, expand(c.apply, m, false)...)
		p.undo = append(expand(c.undo, m, false), p.undo...)
		if c.show == "" {
			continue
		}
		show := expand([]string{c.show}, m, false)[0]
		p.applied = append(p.applied, Check{About: n.Name, Show: show, Lines: expand(c.applied, m, true)})
		p.clean = append(p.clean, Check{About: n.Name, Show: show, Lines: expand(c.clean, m, true), None: expand(c.cleanNot, m, true)})
	}
	return p, nil
}

var group = regexp.MustCompile(`\$[0-9]`)

// expand puts a match's groups in, quoted where they become part of a pattern.
func expand(texts, match []string, pattern bool) []string {
	var out []string
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
