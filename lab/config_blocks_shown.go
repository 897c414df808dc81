package lab

import (
	"regexp"
	"slices"
	"strings"
)

// A shown line is one that a device shows in another form or another place than it was
// written, or not at all because it is a default.
type shown struct {
	line, in *regexp.Regexp
	// as are patterns of which the device shows at least one. $1 ... are the groups of line,
	// $0 is the whole line. "a / b" is b in the block a; "/" before it means that a is at the
	// top. If there are none, the line is a default, and its first group is the beginning of
	// the line that another value would be shown as.
	as []string
}

// A verification looks for lines in a running configuration.
type verification struct {
	*dialect
	running []*block
}

// missingBlocks returns the lines of want that a running configuration does not have, each
// with the lines of the blocks that lead to it. Lines that the device never shows are passed
// over: see unverifiable.
func (d *dialect) missingBlocks(want, running []*block) []string {
	return verification{d, running}.missing(want, running, "", "")
}

func (v verification) missing(want, running []*block, in, path string) []string {
	var out []string
	for _, b := range want {
		at := join(path, b.line)
		c := v.seen(b.line, in, running)
		switch {
		case c != nil:
			out = append(out, v.missing(b.under, c.under, b.line, at)...)
		case v.absent(b, in, running), v.unseen(b.line, running):
		default:
			out = append(out, at)
		}
	}
	return out
}

// match returns the groups of a shown line, or nil.
func (s shown) match(line, in string) []string {
	if s.in != nil && !s.in.MatchString(in) {
		return nil
	}
	return s.line.FindStringSubmatch(line)
}

// seen returns the line of a configuration that shows the given line, or nil.
func (v verification) seen(line, in string, running []*block) *block {
	if c := find(running, line); c != nil {
		return c
	}
	for _, s := range v.shown {
		for _, as := range expand(s.as, s.match(line, in), true) {
			at := running
			if rest, top := strings.CutPrefix(as, "/"); top {
				at, as = v.running, rest
			}
			if c := follow(at, strings.Split(as, " / ")); c != nil {
				return c
			}
		}
	}
	return nil
}

// follow finds the block to which a path of patterns leads.
func follow(bs []*block, path []string) *block {
	re, err := wholeLine(path[0])
	if err != nil {
		return nil
	}
	for _, b := range bs {
		if !re.MatchString(b.line) {
			continue
		}
		if len(path) == 1 {
			return b
		}
		if c := follow(b.under, path[1:]); c != nil {
			return c
		}
	}
	return nil
}

// absent reports whether a line is in force because nothing is shown that contradicts it.
func (v verification) absent(b *block, in string, running []*block) bool {
	if not := withoutNo(b.line); not != b.line {
		return find(running, not) == nil
	}
	if len(b.under) > 0 {
		// A block may be missing if every line in it may be.
		return len(v.missing(b.under, nil, b.line, "")) == 0
	}
	if rule, _ := v.rule(b.line, in); rule != nil && rule.keep {
		return true // the block always exists
	}
	for _, s := range v.shown {
		if m := s.match(b.line, in); m != nil && len(s.as) == 0 {
			return !begins(running, m[min(1, len(m)-1)]) // another value would be shown
		}
	}
	return false
}

// unseen reports whether a line can't be compared, but is there as far as the device shows: if
// its pattern has a group, that must be the beginning of a line.
func (v verification) unseen(line string, running []*block) bool {
	for _, re := range v.unshown {
		if m := re.FindStringSubmatch(line); m != nil {
			return len(m) < 2 || slices.ContainsFunc(running, func(r *block) bool { return r.line == m[1] || strings.HasPrefix(r.line, m[1]+" ") })
		}
	}
	return false
}

// unverifiable returns the lines that the device does not show, or shows in another form.
// Whether they are in force can't be verified.
func (d *dialect) unverifiable(bs []*block) (lines []string) {
	walk(bs, "", func(b *block, path string) {
		if matches(d.unshown, b.line) {
			lines = append(lines, path)
		}
	})
	return lines
}
