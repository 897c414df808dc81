package lab

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"activationd/topology"
)

// A block is a line of an indented configuration, with the lines under it.
type block struct {
	line   string // with single spaces for blanks
	text   string // as it was written: in passwords and descriptions blanks count
	number int    // in the text, from 1
	leaves bool   // the line begins a block that must be left again, though nothing is in it
	open   bool   // a text of several lines, which are all in line
	under  []*block
}

// blockEnd matches lines that end a block or belong to the dialog, and configure nothing.
var blockEnd = regexp.MustCompile(`^(exit|exit-[a-z0-9-]+|end|quit|configure terminal|conf(igure)? t(erm)?)$`)

// parseConfig divides lines into blocks by their indentation. It leaves out comments and the
// lines that skip matches. Blocks with the same line are merged.
func parseConfig(text string, skip []*regexp.Regexp) []*block {
	type level struct {
		indent int
		of     *block
	}
	root := &block{}
	stack := []level{{-1, root}}
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		number := i + 1
		raw := strings.TrimRight(lines[i], " \t\r")
		words := strings.Join(strings.Fields(raw), " ")
		if words == "" || words[0] == '!' || words[0] == '#' || matches(skip, words) {
			continue
		}
		indent := len(raw) - len(strings.TrimLeft(raw, " \t"))
		written, length, open := readText(lines[i:])
		if length == 0 && blockEnd.MatchString(words) {
			for stack[len(stack)-1].indent > indent {
				stack = stack[:len(stack)-1]
			}
			// An indented "exit" may leave the block that it is in.
			if top := stack[len(stack)-1]; strings.HasPrefix(words, "exit-") || words == "exit" && (indent == 0 || top.indent < indent) {
				top.of.leaves = true
			}
			continue
		}
		for stack[len(stack)-1].indent >= indent {
			stack = stack[:len(stack)-1]
		}
		if length > 0 {
			words = written
			i += length - 1
		}
		b := stack[len(stack)-1].of.child(words, number)
		b.text, b.open = strings.TrimSpace(raw), open
		stack = append(stack, level{indent, b})
	}
	return root.under
}

// child returns the line under b. If it does not exist, child adds it.
func (b *block) child(line string, number int) *block {
	if c := find(b.under, line); c != nil {
		return c
	}
	c := &block{line: line, number: number}
	b.under = append(b.under, c)
	return c
}

func find(bs []*block, line string) *block {
	if i := slices.IndexFunc(bs, func(b *block) bool { return b.line == line }); i >= 0 {
		return bs[i]
	}
	return nil
}

func matches(res []*regexp.Regexp, line string) bool {
	return slices.ContainsFunc(res, func(re *regexp.Regexp) bool { return re.MatchString(line) })
}

// parse reads a configuration for comparison. A line that lists several values becomes one
// line for each value, because values are added and removed one by one.
func (d *dialect) parse(text string) []*block { return d.splitLists(d.blocks(text)) }

// blocks reads a configuration as it is written. The names of interfaces are replaced by those
// that the device shows.
func (d *dialect) blocks(text string) []*block {
	bs := parseConfig(text, d.volatile)
	for _, b := range bs {
		b.line = d.names.header(b.line)
	}
	return bs
}

func (d *dialect) splitLists(bs []*block) (all []*block) {
	for _, b := range bs {
		under := d.splitLists(b.under)
		for _, line := range d.values(b.line) {
			c := find(all, line)
			if c == nil {
				fresh := *b
				fresh.line, fresh.under = line, nil
				if line != b.line {
					fresh.text = line
				}
				c = &fresh
				all = append(all, c)
			}
			for _, u := range under {
				if find(c.under, u.line) == nil {
					c.under = append(c.under, u)
				}
			}
		}
	}
	return all
}

// A line with more than maxValues values is not compared value by value.
const maxValues = 5000

// values returns one line for each value that a line lists.
func (d *dialect) values(line string) (all []string) {
	for _, re := range d.lists {
		m := re.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		head, tail := m[1]+" ", strings.Join(m[3:], "")
		for _, v := range strings.FieldsFunc(m[2], func(c rune) bool { return c == ',' || c == ' ' }) {
			if r, err := parseRange(v); err == nil {
				for id := r.First; id <= r.Last && len(all) < maxValues; id++ {
					all = append(all, head+strconv.Itoa(id)+tail)
				}
				continue
			}
			values := []string{v}
			if ports, err := expandPorts(v); err == nil && re.SubexpIndex("ports") == 2 && len(ports) > 1 {
				values = ports[1:] // without the range itself, which is the first
			}
			for _, v := range values {
				all = append(all, head+v+tail)
			}
		}
		return all
	}
	return []string{line}
}

// render writes blocks as they are sent. The line that leaves a block is indented like the
// lines in it, so that sending can start in the middle: the block is entered first.
func (d *dialect) render(bs []*block, depth int) []string {
	var out []string
	for _, b := range bs {
		out = append(out, d.inside(b.text, d.render(b.under, depth+1), depth, b.leaves || depth > 0 && matches(d.modes, b.line))...)
	}
	return out
}

func (d *dialect) inside(header string, under []string, depth int, mode bool) []string {
	out := append([]string{strings.Repeat(" ", depth) + header}, under...)
	if (len(under) > 0 || mode) && d.exit != "" {
		out = append(out, strings.Repeat(" ", depth+1)+d.exit)
	}
	return out
}

// planBlocks makes a plan for a startup-config of indented blocks.
func (d *dialect) planBlocks(n *topology.Node, where func(int) string) (p nodePlan, err error) {
	bs := d.blocks(n.Config)
	var errs []error
	walk(bs, "", func(b *block, path string) {
		if b.open {
			header, _, _ := strings.Cut(b.line, "\n")
			errs = append(errs, fmt.Errorf("%s: %.80q begins a text of several lines, in which a device shows no prompt; end it on the same line, or leave it out", where(b.number), header))
		}
		for _, r := range d.refused {
			if r.line.MatchString(b.line) {
				errs = append(errs, fmt.Errorf("%s: %.80q is not supported: %s", where(b.number), b.line, r.why))
			}
		}
		if i := slices.IndexFunc(d.ordered, func(o ordered) bool { return o.line.MatchString(b.line) }); i >= 0 {
			p.notices = append(p.notices, d.ordered[i].notice(b.line, where(b.number)))
		}
	})
	if err := errors.Join(errs...); err != nil {
		return p, err
	}
	p.apply = d.render(bs, 0)
	p.undo, _, _ = d.difference(d.splitLists(bs), nil, attempts{})
	p.unverified = d.unverifiable(bs)
	p.notices = slices.Compact(p.notices)
	return p, nil
}

// walk calls do for every block, with the lines that lead to it, as in "a / b".
func walk(bs []*block, path string, do func(b *block, path string)) {
	for _, b := range bs {
		at := join(path, b.line)
		do(b, at)
		walk(b.under, at, do)
	}
}

func join(path, line string) string { return strings.TrimPrefix(path+" / "+line, " / ") }
