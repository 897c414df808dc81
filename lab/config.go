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

// A block is a line of an indented configuration, with the lines that stand under it.
type block struct {
	line   string // blanks as single spaces
	text   string // as it was written: in a password or a description blanks count
	number int    // in the text, from 1
	mode   bool   // it leads somewhere, and something leads out again, though nothing is in it
	open   bool   // a text of several lines, all of them in line
	under  []*block
}

// leaves matches what ends a block, or is part of the dialog, and says nothing.
var leaves = regexp.MustCompile(`^(exit|exit-[a-z0-9-]+|end|quit|configure terminal|conf(igure)? t(erm)?)$`)

// parseConfig makes blocks of lines by their indentation. Comments, and what skip
// matches, are left out. Blocks that are there twice become one.
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
		if length == 0 && leaves.MatchString(words) {
			for stack[len(stack)-1].indent > indent {
				stack = stack[:len(stack)-1]
			}
			// An indented "exit" may lead out of the block that it stands in.
			if top := stack[len(stack)-1]; strings.HasPrefix(words, "exit-") || words == "exit" && (indent == 0 || top.indent < indent) {
				top.of.mode = true
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

// child returns the line under b, which it makes unless it is there.
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

// parse reads a configuration, as it is compared: a line that lists several values is one
// line for each, because they come and go one by one.
func (d *dialect) parse(text string) []*block { return d.spread(d.blocks(text)) }

// blocks reads a configuration as it is written. Only interfaces have the names which the
// device shows, whatever they are called.
func (d *dialect) blocks(text string) []*block {
	bs := parseConfig(text, d.volatile)
	for _, b := range bs {
		b.line = d.names.header(b.line)
	}
	return bs
}

func (d *dialect) spread(bs []*block) (all []*block) {
	for _, b := range bs {
		under := d.spread(b.under)
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

// mostValues is how many values a line may have and be compared by each.
const mostValues = 5000

// values returns a line for each value that a line lists.
func (d *dialect) values(line string) (all []string) {
	for _, re := range d.lists {
		m := re.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		head, tail := m[1]+" ", strings.Join(m[3:], "")
		for _, v := range strings.FieldsFunc(m[2], func(c rune) bool { return c == ',' || c == ' ' }) {
			if r, err := parseRange(v); err == nil {
				for id := r.First; id <= r.Last && len(all) < mostValues; id++ {
					all = append(all, head+strconv.Itoa(id)+tail)
				}
				continue
			}
			values := []string{v}
			if ports, err := spread(v); err == nil && re.SubexpIndex("ports") == 2 && len(ports) > 1 {
				values = ports[1:] // the first is the range itself
			}
			for _, v := range values {
				all = append(all, head+v+tail)
			}
		}
		return all
	}
	return []string{line}
}

// A dialect says how a platform's configuration is written, shown and undone.
type dialect struct {
	style    style
	names    *interfaceNames
	running  string           // the command that shows it
	complete *regexp.Regexp   // the last line of its answer, if that can be told
	exit     string           // leaves a block; "": nothing is needed
	modes    []*regexp.Regexp // lines that lead into one though nothing is shown in it
	standard bool             // it knows "default LINE", which makes a line what it is at first
	volatile []*regexp.Regexp
	unshown  []*regexp.Regexp
	shown    []shown
	lists    []*regexp.Regexp // before the values, the values, behind them
	single   []*regexp.Regexp
	ordered  []ordered
	refused  []refusal
	access   []access
	inverse  []inverse
	commands []command
	sets     setSyntax
	defaults []defaults
}

// A refusal is a line that can't be undone, or not be seen, and why.
type refusal struct {
	line *regexp.Regexp
	why  string
}

// A style is how a configuration is written.
type style string

const (
	indented style = "indented" // blocks; "no LINE" undoes a line
	setStyle style = "set"      // "set X", undone by "delete X"
	menus    style = "menus"    // entries and settings of menus, as RouterOS has them
	commands style = "commands" // a shell's; each kind has to be known
)

// An inverse says how a line, and what is under it, is undone.
type inverse struct {
	line *regexp.Regexp
	in   *regexp.Regexp // the line that it stands under; nil: any, or none
	keep bool           // the block is always there: what is in it is undone, line by line
	undo []string       // $1 ... are the pattern's groups
}

// render writes blocks as they are sent. What leaves a block is indented like what is
// in it, so that whoever goes on in the middle enters the block first.
func (d *dialect) render(bs []*block, depth int) []string {
	var out []string
	for _, b := range bs {
		out = append(out, d.inside(b.text, d.render(b.under, depth+1), depth, b.mode || depth > 0 && matches(d.modes, b.line))...)
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

// A nodePlan is what a startup-config becomes.
type nodePlan struct {
	apply, undo    []string
	applied, clean []Check
	notices        []string // what its users should know, each with its line
	unverified     []string // lines that can't be seen, or not as they were written
}

// plan makes a plan of a node's startup-config. Faults name its lines: of the
// topology's file, or of the configuration's own.
func (d *dialect) plan(n *topology.Node) (p nodePlan, err error) {
	where := func(number int) string {
		return fmt.Sprintf("%s: startup-config, line %d", n.Name, max(n.ConfigLine, 1)+number-1)
	}
	if i := slices.IndexFunc(strings.Split(n.Config, "\n"), odd); i >= 0 {
		return p, fmt.Errorf("%s: has a character that no command line takes", where(i+1))
	}
	switch d.style {
	case indented:
		return d.planBlocks(n, where)
	case setStyle:
		return d.planSets(n, where)
	case menus:
		return d.planItems(n, where)
	default:
		return d.planCommands(n, where)
	}
}

func odd(line string) bool {
	return strings.ContainsFunc(strings.TrimRight(line, "\r"), func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f })
}

// planBlocks makes a plan of a startup-config of indented blocks.
func (d *dialect) planBlocks(n *topology.Node, where func(int) string) (p nodePlan, err error) {
	bs := d.blocks(n.Config)
	var errs []error
	walk(bs, "", func(b *block, path string) {
		if b.open {
			header, _, _ := strings.Cut(b.line, "\n")
			errs = append(errs, fmt.Errorf("%s: %.80q begins a text of several lines, in which a device shows no prompt; end it on its line, or leave it out", where(b.number), header))
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
	p.undo, _, _ = d.difference(d.spread(bs), nil, tries{})
	p.unverified = d.unverifiable(bs)
	p.notices = slices.Compact(p.notices)
	return p, nil
}

// walk calls do with every block and the lines that lead to it, as in "a / b".
func walk(bs []*block, path string, do func(b *block, path string)) {
	for _, b := range bs {
		at := join(path, b.line)
		do(b, at)
		walk(b.under, at, do)
	}
}

func join(path, line string) string { return strings.TrimPrefix(path+" / "+line, " / ") }

// missing returns what of the lines is not in a running configuration.
func (d *dialect) missing(lines []string, running string) []string {
	want := strings.Join(lines, "\n")
	switch d.style {
	case indented:
		return d.lacks(d.parse(want), d.parse(running))
	case menus:
		return d.missingItems(lines, running)
	}
	return d.missingSets(lines, running)
}

// between returns the lines that lead from one running configuration to another, as far
// as it knows some that were not tried before, and every difference of the two in words.
// Whole says that something is made anew, so that the lines should become valid at once.
func (d *dialect) between(now, before string, tried tries) (lines, differences []string, whole bool) {
	if d.style == indented {
		return d.difference(d.parse(now), d.parse(before), tried)
	}
	if d.style == menus {
		if why := d.incompleteItems(now); why != "" {
			return nil, []string{why}, false
		}
		lines, differences = d.differenceOfItems(now, before, tried)
		return lines, differences, false
	}
	lines, differences = d.differenceOfSets(now, before, tried)
	return lines, differences, false
}
