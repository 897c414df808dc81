package lab

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A block is a line of an indented configuration, with the lines that stand under it.
type block struct {
	line   string // blanks as single spaces
	text   string // as it was written: in a password or a description blanks count
	number int    // in the text, from 1
	mode   bool   // it leads somewhere, and something leads out again, though nothing is in it
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
	number := 0
	for raw := range strings.Lines(text) {
		number++
		raw = strings.TrimRight(raw, " \t\r\n")
		words := strings.Join(strings.Fields(raw), " ")
		if words == "" || words[0] == '!' || words[0] == '#' || matches(skip, words) {
			continue
		}
		indent := len(raw) - len(strings.TrimLeft(raw, " \t"))
		if leaves.MatchString(words) {
			for stack[len(stack)-1].indent > indent {
				stack = stack[:len(stack)-1]
			}
			// An indented "exit" may lead out of the block that it stands in.
			if strings.HasPrefix(words, "exit-") || words == "exit" && indent == 0 {
				stack[len(stack)-1].of.mode = true
			}
			continue
		}
		for stack[len(stack)-1].indent >= indent {
			stack = stack[:len(stack)-1]
		}
		b := stack[len(stack)-1].of.child(words, number)
		b.text = strings.TrimSpace(raw)
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

// A dialect says how a platform's configuration is written and undone.
type dialect struct {
	style    style
	running  string // the command that shows it
	exit     string // leaves a block; "": nothing is needed
	volatile []*regexp.Regexp
	unshown  []*regexp.Regexp
	inverse  []inverse
	commands []command
}

// A style is how a configuration is written.
type style string

const (
	indented style = "indented" // blocks; "no LINE" undoes a line
	setStyle style = "set"      // "set X", undone by "delete X"
	commands style = "commands" // a shell's; each kind has to be known
)

// An inverse says how a line, and what is under it, is undone.
type inverse struct {
	line *regexp.Regexp
	keep bool     // the block can't be removed: enter it and undo what is in it
	undo []string // $1 ... are the pattern's groups
}

// render writes blocks as they are sent. What leaves a block is indented like what is
// in it, so that whoever goes on in the middle enters the block first.
func (d *dialect) render(bs []*block, depth int) []string {
	var out []string
	for _, b := range bs {
		out = append(out, d.inside(b.text, d.render(b.under, depth+1), depth, b.mode)...)
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

// undo returns the lines that undo blocks, the last one first.
func (d *dialect) undo(bs []*block, depth int) []string {
	var out []string
	for _, b := range slices.Backward(bs) {
		out = append(out, d.undoOne(b, depth)...)
	}
	return out
}

func (d *dialect) undoOne(b *block, depth int) []string {
	in := strings.Repeat(" ", depth)
	for _, rule := range d.inverse {
		m := rule.line.FindStringSubmatchIndex(b.line)
		switch {
		case m == nil:
		case rule.keep && len(b.under) == 0:
			return nil
		case rule.keep:
			if under := d.undo(b.under, depth+1); len(under) > 0 {
				return d.inside(b.line, under, depth, true)
			}
			return nil
		default:
			var out []string
			for _, u := range rule.undo {
				out = append(out, in+string(rule.line.ExpandString(nil, u, b.line, m)))
			}
			return out
		}
	}
	if was, ok := strings.CutPrefix(b.line, "no "); ok {
		return []string{in + was}
	}
	return []string{in + "no " + b.line}
}

// change returns the lines that lead from one configuration to another: first what
// is too much, the last one first, then what lacks.
func (d *dialect) change(from, to []*block, depth int) []string {
	var out []string
	for _, b := range slices.Backward(from) {
		c := find(to, b.line)
		if c == nil {
			out = append(out, d.undoOne(b, depth)...)
		} else if under := d.change(b.under, c.under, depth+1); len(under) > 0 {
			out = append(out, d.inside(b.line, under, depth, true)...)
		}
	}
	for _, c := range to {
		if find(from, c.line) == nil {
			out = append(out, d.render([]*block{c}, depth)...)
		}
	}
	return out
}

// lacks returns what of want is not in a running configuration, each as the blocks'
// lines that lead to it.
func (d *dialect) lacks(want, running []*block, path string) []string {
	var out []string
	for _, b := range want {
		at := strings.TrimPrefix(path+" / "+b.line, " / ")
		if matches(d.unshown, b.line) {
			continue
		}
		if not, ok := strings.CutPrefix(b.line, "no "); ok {
			if find(running, not) != nil {
				out = append(out, at)
			}
			continue
		}
		c := find(running, b.line)
		if c == nil {
			if len(b.under) > 0 && len(d.lacks(b.under, nil, "")) == 0 {
				continue // a block of which nothing is to be seen needn't be seen
			}
			out = append(out, at)
			continue
		}
		out = append(out, d.lacks(b.under, c.under, at)...)
	}
	return out
}

// A nodePlan is what a startup-config becomes.
type nodePlan struct {
	apply, undo    []string
	applied, clean []Check
}

// plan makes a plan of a node's startup-config. Faults name its lines: of the
// topology's file, or of the configuration's own.
func (d *dialect) plan(n *Node) (p nodePlan, err error) {
	where := func(number int) string {
		return fmt.Sprintf("%s: startup-config, line %d", n.Name, max(n.ConfigLine, 1)+number-1)
	}
	if i := slices.IndexFunc(strings.Split(n.Config, "\n"), odd); i >= 0 {
		return p, fmt.Errorf("%s: has a character that no command line takes", where(i+1))
	}
	switch d.style {
	case indented:
		if number := openBanner(n.Config); number > 0 {
			return p, fmt.Errorf("%s: a banner of several lines is not supported; end it on its line", where(number))
		}
		bs := parseConfig(n.Config, d.volatile)
		return nodePlan{apply: d.render(bs, 0), undo: d.undo(bs, 0)}, nil
	case setStyle:
		return d.planSets(n)
	default:
		return d.planCommands(n, where)
	}
}

func odd(line string) bool {
	return strings.ContainsFunc(strings.TrimRight(line, "\r"), func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f })
}

var banner = regexp.MustCompile(`^\s*banner( \S+)? (\^.|[^\sA-Za-z0-9])(.*)$`)

// openEnded is what some take as the beginning of lines that end with one that says
// EOF, in which nothing answers.
var openEnded = regexp.MustCompile(`^\s*banner \S+$`)

// openBanner returns the number of a line that begins a banner and does not end it.
func openBanner(text string) int {
	number := 0
	for l := range strings.Lines(text) {
		number++
		l = strings.TrimRight(l, " \t\r\n")
		if openEnded.MatchString(l) {
			return number
		}
		m := banner.FindStringSubmatch(l)
		if len(m) == 4 && !strings.Contains(m[3], m[2]) {
			return number
		}
	}
	return 0
}

// missing returns what of the lines is not in a running configuration.
func (d *dialect) missing(lines []string, running string) []string {
	want := strings.Join(lines, "\n")
	if d.style == indented {
		return d.lacks(parseConfig(want, nil), parseConfig(running, d.volatile), "")
	}
	return d.missingSets(want, running)
}

// between returns the lines that lead from one running configuration to another.
func (d *dialect) between(from, to string) []string {
	if d.style == indented {
		return d.change(parseConfig(from, d.volatile), parseConfig(to, d.volatile), 0)
	}
	return changeSets(d.parseSets(from), d.parseSets(to))
}
