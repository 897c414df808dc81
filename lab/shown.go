package lab

import (
	"regexp"
	"slices"
	"strings"
)

// A shown line is one that a device shows in another form, or in another place, than it
// is written; or, when it says what holds anyway, not at all.
type shown struct {
	line, in *regexp.Regexp
	// as are patterns, any of which is shown; $1 ... are the groups of line, $0 is all of
	// it. "a / b" is b in the block a; with a "/" before it a is at the top. None: the line
	// is a default. Its first group is what another value of it would begin with.
	as []string
}

// A verification looks for lines in a running configuration.
type verification struct {
	*dialect
	running []*block
}

// lacks returns what of want is not in a running configuration, each as the blocks'
// lines that lead to it. What can't be seen is not in it: see unverifiable.
func (d *dialect) lacks(want, running []*block) []string {
	return verification{d, running}.lacks(want, running, "", "")
}

func (v verification) lacks(want, running []*block, in, path string) []string {
	var out []string
	for _, b := range want {
		at := join(path, b.line)
		c := v.seen(b.line, in, running)
		switch {
		case c != nil:
			out = append(out, v.lacks(b.under, c.under, b.line, at)...)
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

// seen returns the line of a configuration that shows another one.
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

// follow goes down a path of patterns.
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

// absent says whether what is not shown proves a line.
func (v verification) absent(b *block, in string, running []*block) bool {
	if not := positive(b.line); not != b.line {
		return find(running, not) == nil
	}
	if len(b.under) > 0 {
		// A block of which nothing is to be seen needn't be seen.
		return len(v.lacks(b.under, nil, b.line, "")) == 0
	}
	if rule, _ := v.rule(b.line, in); rule != nil && rule.keep {
		return true // it is always there
	}
	for _, s := range v.shown {
		if m := s.match(b.line, in); m != nil && len(s.as) == 0 {
			return !begins(running, m[min(1, len(m)-1)]) // another value would be shown
		}
	}
	return false
}

// unseen says whether a line is one that can't be compared, and is there as far as it
// can be seen: a pattern's group must be the beginning of a line.
func (v verification) unseen(line string, running []*block) bool {
	for _, re := range v.unshown {
		if m := re.FindStringSubmatch(line); m != nil {
			return len(m) < 2 || slices.ContainsFunc(running, func(r *block) bool { return r.line == m[1] || strings.HasPrefix(r.line, m[1]+" ") })
		}
	}
	return false
}

// unverifiable returns the lines that are not to be seen, or not as they were written:
// whether the device has taken them as they are nobody can tell.
func (d *dialect) unverifiable(bs []*block) (lines []string) {
	walk(bs, "", func(b *block, path string) {
		if matches(d.unshown, b.line) {
			lines = append(lines, path)
		}
	})
	return lines
}
