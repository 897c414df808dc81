package lab

import (
	"regexp"
	"slices"
	"strings"
)

// A shown line is one that a device shows in another form than it is written, or, when
// it says what holds anyway, not at all.
type shown struct {
	line, in *regexp.Regexp
	as       []string // any of these; $1 ... are the pattern's groups. None: it is a default
}

// lacks returns what of want is not in a running configuration, each as the blocks'
// lines that lead to it. What can't be seen is not in it: see unverifiable.
func (d *dialect) lacks(want, running []*block, path string) []string {
	return d.lacksIn(want, running, "", path)
}

func (d *dialect) lacksIn(want, running []*block, in, path string) []string {
	var out []string
	for _, b := range want {
		at := join(path, b.line)
		c := d.seen(b.line, in, running)
		switch {
		case c != nil:
			out = append(out, d.lacksIn(b.under, c.under, b.line, at)...)
		case d.absent(b, in, running), d.unseen(b.line, running):
		default:
			out = append(out, at)
		}
	}
	return out
}

// seen returns the line of a configuration that shows another one.
func (d *dialect) seen(line, in string, running []*block) *block {
	if c := find(running, line); c != nil {
		return c
	}
	for _, s := range d.shown {
		m := s.line.FindStringSubmatchIndex(line)
		if m == nil || s.in != nil && !s.in.MatchString(in) {
			continue
		}
		for _, as := range s.as {
			if c := find(running, string(s.line.ExpandString(nil, as, line, m))); c != nil {
				return c
			}
		}
	}
	return nil
}

// absent says whether what is not shown proves a line.
func (d *dialect) absent(b *block, in string, running []*block) bool {
	if not := positive(b.line); not != b.line {
		return find(running, not) == nil
	}
	if len(b.under) > 0 {
		return len(d.lacksIn(b.under, nil, b.line, "")) == 0 // a block of which nothing is to be seen needn't be seen
	}
	if rule, _ := d.rule(b.line, in); rule != nil && rule.keep {
		return true // it is always there
	}
	for _, s := range d.shown {
		if len(s.as) == 0 && s.line.MatchString(b.line) && (s.in == nil || s.in.MatchString(in)) {
			// Another value of the same command would be shown.
			key := d.key(b.line)
			if key == b.line {
				key = b.line[:max(0, strings.LastIndex(b.line, " "))]
			}
			return !slices.ContainsFunc(running, func(r *block) bool {
				return d.key(r.line) == key || startsWith(r.line, key)
			})
		}
	}
	return false
}

// unseen says whether a line is one that can't be compared, and is there as far as it
// can be seen: a pattern's group must be the beginning of a line.
func (d *dialect) unseen(line string, running []*block) bool {
	for _, re := range d.unshown {
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
