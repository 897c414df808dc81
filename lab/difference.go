package lab

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// tries is how often each difference was worked on, by the lines that lead to it.
type tries map[string]int

// A comparison goes through two configurations and finds the lines that lead from one to
// the other. Whoever has sent them reads the device again and compares again: what is
// still different then is tried in another way, as often as there is one.
type comparison struct {
	d       *dialect
	tried   tries
	now     []*block // the whole
	before  []*block
	above   []*block // of before: the blocks that the one which is compared stands in
	late    []string // to be sent last
	anew    bool     // something is removed and made again
	differs []string // in words
}

// difference returns the lines that make of the configuration now the one from before,
// and in words all in which they differ. A difference for which no line is known any more
// is in the second list only, so that no lines and equality are not the same. First goes
// what is too much, the last line first, then comes what lacks. Anew says that among the
// lines are some that remove something in order to make it again.
func (d *dialect) difference(now, before []*block, tried tries) (lines, differences []string, anew bool) {
	c := &comparison{d: d, tried: tried, now: now, before: before}
	lines = c.change(&block{under: now}, &block{under: before}, "", 0)
	return append(lines, c.late...), c.differs, c.anew
}

func (c *comparison) differ(format string, args ...any) {
	c.differs = append(c.differs, fmt.Sprintf(format, args...))
}

// turn counts an attempt.
func (c *comparison) turn(what string) int {
	n := c.tried[what]
	c.tried[what]++
	return n
}

// change compares what stands under a block.
func (c *comparison) change(now, was *block, path string, depth int) (out []string) {
	done := map[string]bool{} // objects of several lines that are dealt with as one
	for _, b := range slices.Backward(now.under) {
		at := join(path, b.line)
		o, name := c.d.orderOf(b.line)
		if o != nil && !o.blocks {
			if !done[name] {
				done[name] = true
				out = append(out, c.flat(o, name, now, was, path, depth)...)
			}
			continue
		}
		w := find(was.under, b.line)
		switch {
		case w == nil:
			lines := c.extra(b, now, was, at, depth)
			if o != nil { // it may be in use until the rest is done
				c.late = append(c.late, lines...)
			} else {
				out = append(out, lines...)
			}
		case o != nil && outOfOrder(b.under, w.under):
			out = append(out, c.rewrite(o, name, b, w, path)...)
		default:
			c.above = append(c.above, was)
			under := c.change(b, w, at, depth+1)
			c.above = c.above[:len(c.above)-1]
			if len(under) > 0 {
				out = append(out, c.d.inside(b.line, under, depth, true)...)
			}
		}
	}
	for _, w := range was.under {
		if o, name := c.d.orderOf(w.line); o != nil && !o.blocks && done[name] {
			continue
		}
		if find(now.under, w.line) == nil {
			out = append(out, c.lacking(w, path, depth)...)
		}
	}
	return out
}

// mostSent is how often a line that lacks is sent.
const mostSent = 3

func (c *comparison) lacking(w *block, path string, depth int) []string {
	at := join(path, w.line)
	switch n := c.turn("+" + at); {
	case hasText(w):
		c.differ("%.200q was there, and can't be sent: it has a text of several lines", at)
		return nil
	case n >= mostSent:
		c.differ("%q was there, and is not taken again", at)
		return nil
	}
	c.differ("%q was there", at)
	return c.d.render([]*block{w}, depth)
}

func hasText(b *block) bool { return b.open || slices.ContainsFunc(b.under, hasText) }

// extra undoes what was not there before.
func (c *comparison) extra(b, now, was *block, at string, depth int) []string {
	rule, match := c.d.rule(b.line, now.line)
	if rule != nil && rule.keep {
		under := c.change(b, &block{line: b.line}, at, depth+1)
		if len(under) == 0 {
			return nil // it is always there, shown or not
		}
		return c.d.inside(b.line, under, depth, true)
	}
	ways := c.ways(b, rule, match, now, was, depth)
	if len(ways) > 0 { // it may have been in use by what is gone then
		ways = append(ways, ways[0])
	}
	if c.d.overwritten(b, now, was) { // what comes in its place makes it go
		ways = append([][]string{nil}, ways...)
	}
	n := c.turn("-" + at)
	if n >= len(ways) {
		c.differ("%q was not there; no command is known that undoes it", at)
		return nil
	}
	c.differ("%q was not there", at)
	return ways[n]
}

// rule returns the inverse for a line under another, and where its groups are.
func (d *dialect) rule(line, in string) (*inverse, []int) {
	for i := range d.inverse {
		r := &d.inverse[i]
		if m := r.line.FindStringSubmatchIndex(line); m != nil && (r.in == nil || r.in.MatchString(in)) {
			return r, m
		}
	}
	return nil, nil
}

// ways returns what might undo a block that was not there before, the best first.
func (c *comparison) ways(b *block, rule *inverse, match []int, now, was *block, depth int) (all [][]string) {
	d := c.d
	in := strings.Repeat(" ", depth)
	add := func(lines ...string) {
		if !slices.ContainsFunc(all, func(w []string) bool { return slices.Equal(w, lines) }) {
			all = append(all, lines)
		}
	}
	// stays says whether something begins with words that was there before, and is.
	stays := func(words string) bool {
		return slices.ContainsFunc(now.under, func(o *block) bool { return o != b && startsWith(o.line, words) && find(was.under, o.line) != nil })
	}
	if rule != nil && len(rule.undo) > 0 {
		var lines []string
		for _, u := range rule.undo {
			lines = append(lines, in+string(rule.line.ExpandString(nil, u, b.line, match)))
		}
		// A form with fewer words would undo others that begin like it, too.
		short, no := strings.CutPrefix(strings.TrimSpace(lines[0]), "no ")
		if !no || len(lines) > 1 || !startsWith(b.line, short) || !stays(short) {
			add(lines...)
		}
	}
	header, _, _ := strings.Cut(b.line, "\n")
	positive, negated := strings.CutPrefix(header, "no ")
	if negated {
		add(in + positive)
	} else {
		add(in + "no " + header)
	}
	if d.standard {
		add(in + "default " + positive)
	}
	if negated {
		return all
	}
	if len(b.under) > 0 {
		// What can't be removed as a whole may be when nothing is in it.
		inner := (&comparison{d: d, tried: tries{}}).change(b, &block{line: b.line}, "", depth+1)
		if len(inner) > 0 {
			add(append(d.inside(b.line, inner, depth, true), in+"no "+header)...)
		}
	}
	// Some commands are undone by their first words alone. That would undo others that
	// begin with the same words, too, also above: what FRR does not know in a block it takes
	// for a command of the block around it.
	words := strings.Fields(header)
	for n := len(words) - 1; n >= max(1, min(2, len(words)-2), len(words)-3); n-- {
		short := strings.Join(words[:n], " ")
		if begins(was.under, short) || stays(short) || slices.ContainsFunc(c.above, func(a *block) bool { return begins(a.under, short) }) {
			break
		}
		add(in + "no " + short)
	}
	return all
}

func begins(bs []*block, words string) bool {
	return slices.ContainsFunc(bs, func(b *block) bool { return startsWith(b.line, words) })
}

// startsWith says whether a line, or what it negates, begins with whole words.
func startsWith(line, words string) bool {
	line = positive(line)
	return line == words || strings.HasPrefix(line, words+" ")
}

// overwritten says whether a line that lacks will replace b: the same command, of which
// there is only one, with another value or negated.
func (d *dialect) overwritten(b, now, was *block) bool {
	key := d.key(b.line)
	return slices.ContainsFunc(was.under, func(w *block) bool { return d.key(w.line) == key && find(now.under, w.line) == nil })
}

// positive is a line without what makes it the opposite, or the default.
func positive(line string) string {
	return strings.TrimPrefix(strings.TrimPrefix(line, "no "), "default ")
}

// key is what two lines have in common that can't be there both.
func (d *dialect) key(line string) string {
	line = positive(line)
	for _, re := range d.single {
		if m := re.FindStringSubmatch(line); m != nil {
			return strings.Join(m[1:], " ")
		}
	}
	return line
}

// An ordered object is one of which the lines' order counts, as in an access list.
type ordered struct {
	// line matches its header (blocks), or each of its lines. The first group is the
	// object as it is removed, the second its name.
	line   *regexp.Regexp
	blocks bool
	// spare is the header of another object of the kind that takes its place meanwhile,
	// and references match the lines which say that it is used; {name} is the name.
	spare      string
	references []string
}

// orderOf returns what a line is of whose order counts, and that object.
func (d *dialect) orderOf(line string) (*ordered, string) {
	for i := range d.ordered {
		if m := d.ordered[i].line.FindStringSubmatch(line); m != nil {
			return &d.ordered[i], m[1]
		}
	}
	return nil, ""
}

func (o *ordered) notice(line, where string) string {
	object := o.line.FindStringSubmatch(line)[1]
	how := "it is removed and made again"
	if o.spare != "" {
		how = "another takes its place where it is used, until it is made again"
	}
	return fmt.Sprintf("%s: the order of the lines of %q counts: if the device has it already, and its lines come into another order, undoing replaces it as a whole: %s", where, object, how)
}

// numbered matches a line that says itself where it stands.
var numbered = regexp.MustCompile(`^(no )?(\d+ |.*\b(seq|sequence) \d+\b)`)

// outOfOrder says whether removing what is too much and adding what lacks, at the end,
// gives another order than before.
func outOfOrder(now, before []*block) bool {
	var become []string
	for _, b := range now {
		if find(before, b.line) != nil {
			become = append(become, b.line)
		}
	}
	for _, w := range before {
		if find(now, w.line) == nil {
			become = append(become, w.line)
		}
	}
	return !slices.EqualFunc(become, before, func(l string, w *block) bool { return l == w.line }) &&
		!slices.ContainsFunc(before, func(w *block) bool { return numbered.MatchString(w.line) })
}

// flat compares an object that has no block: all its lines begin alike.
func (c *comparison) flat(o *ordered, name string, now, was *block, path string, depth int) (out []string) {
	of := func(bs []*block) *block {
		all := &block{line: name}
		for _, b := range bs {
			if _, n := c.d.orderOf(b.line); n == name {
				all.under = append(all.under, b)
			}
		}
		return all
	}
	has, had := of(now.under), of(was.under)
	switch {
	case len(had.under) == 0 && c.turn("-"+join(path, name)) == 0:
		c.differ("%q was not there", join(path, name))
		return []string{strings.Repeat(" ", depth) + "no " + name}
	case outOfOrder(has.under, had.under):
		return c.rewrite(o, name, has, had, path)
	}
	for _, b := range slices.Backward(has.under) {
		if find(had.under, b.line) == nil {
			out = append(out, c.extra(b, now, was, join(path, b.line), depth)...)
		}
	}
	for _, w := range had.under {
		if find(has.under, w.line) == nil {
			out = append(out, c.lacking(w, path, depth)...)
		}
	}
	return out
}

// rewrite makes an ordered object anew. Where it is used, a copy of what it was takes its
// place until that is done.
func (c *comparison) rewrite(o *ordered, name string, now, was *block, path string) (out []string) {
	at := join(path, name)
	if c.turn("="+at) >= mostSent {
		c.differ("the lines of %q are not in the order in which they were, and don't take it again", at)
		return nil
	}
	c.differ("the lines of %q are not in the order in which they were", at)
	again := c.d.render(was.under, 0)
	if o.blocks {
		again = c.d.render([]*block{was}, 0)
	}
	again = append([]string{"no " + name}, again...)
	c.anew = true
	uses := c.uses(o, name)
	if len(uses) == 0 {
		return again
	}
	from := was.line
	if !o.blocks {
		from = was.under[0].line // had none there would be nothing out of order
	}
	match := o.line.FindStringSubmatchIndex(from)
	spare := string(o.line.ExpandString(nil, o.spare, from, match))
	named, short := spare[strings.LastIndex(spare, " ")+1:], from[match[4]:match[5]]
	out = append(out, spare)
	for _, w := range was.under {
		out = append(out, " "+strings.TrimPrefix(strings.TrimPrefix(w.text, name), " "))
	}
	out = append(out, " exit")
	point := func(old, fresh string) {
		for _, u := range uses {
			line := strings.Replace(" "+u[1]+" ", " "+old+" ", " "+fresh+" ", 1)
			out = append(out, u[0], strings.TrimRight(line, " "), " exit")
		}
	}
	point(short, named)
	out = append(out, again...)
	point(short, short)
	return append(out, "no "+spare)
}

// uses returns the blocks, and the lines in them, which say that an ordered object is
// used, now as it was before.
func (c *comparison) uses(o *ordered, name string) (all [][2]string) {
	if o.spare == "" {
		return nil
	}
	short := name[strings.LastIndex(name, " ")+1:]
	for _, b := range c.now {
		w := find(c.before, b.line)
		if w == nil {
			continue
		}
		for _, l := range b.under {
			used := slices.ContainsFunc(o.references, func(r string) bool {
				re, err := wholeLine(strings.ReplaceAll(r, "{name}", regexp.QuoteMeta(short)))
				return err == nil && re.MatchString(l.line)
			})
			if used && find(w.under, l.line) != nil {
				all = append(all, [2]string{b.line, l.line})
			}
		}
	}
	return all
}
