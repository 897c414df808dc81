package lab

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// attempts counts how often each difference was worked on. Its keys are the lines that lead to
// the difference.
type attempts map[string]int

// A comparison finds the lines that lead from one configuration to another. After sending
// them, its caller reads the device again and compares again. A difference that remains is
// then tried in another way, as long as there is one.
type comparison struct {
	d         *dialect
	attempted attempts
	now       []*block // the whole configuration
	before    []*block
	above     []*block // the blocks of before around the one that is compared
	last      []string // lines to be sent last
	rebuilds  bool     // something is removed and made again
	differs   []string // in words
}

// difference returns the lines that change the configuration now into the one from before, and
// all their differences in words. If no more lines are known for a difference, only the second
// list has it: no lines does not mean that the configurations are equal. First come the lines
// that remove, beginning at the end of the configuration, then those that restore. Rebuilds
// says that some lines remove something in order to make it again.
func (d *dialect) difference(now, before []*block, tried attempts) (lines, differences []string, rebuilds bool) {
	c := &comparison{d: d, attempted: tried, now: now, before: before}
	lines = c.change(&block{under: now}, &block{under: before}, "", 0)
	return append(lines, c.last...), c.differs, c.rebuilds
}

func (c *comparison) differ(format string, args ...any) {
	c.differs = append(c.differs, fmt.Sprintf(format, args...))
}

// attempt returns how often it was called for a difference before.
func (c *comparison) attempt(what string) int {
	n := c.attempted[what]
	c.attempted[what]++
	return n
}

// change compares the lines under a block.
func (c *comparison) change(now, was *block, path string, depth int) (out []string) {
	done := map[string]bool{} // objects of several lines that are compared as one
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
			if o != nil { // the object may be in use until the rest is done
				c.last = append(c.last, lines...)
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
			out = append(out, c.restore(w, path, depth)...)
		}
	}
	return out
}

// maxSends is how often a missing line is sent.
const maxSends = 3

func (c *comparison) restore(w *block, path string, depth int) []string {
	at := join(path, w.line)
	switch n := c.attempt("+" + at); {
	case hasText(w):
		c.differ("%.200q was there before, and can't be sent: it has a text of several lines", at)
		return nil
	case n >= maxSends:
		c.differ("%q was there before, and the device does not accept it again", at)
		return nil
	}
	c.differ("%q was there before", at)
	return c.d.render([]*block{w}, depth)
}

func hasText(b *block) bool { return b.open || slices.ContainsFunc(b.under, hasText) }

// extra undoes a line that was not there before.
func (c *comparison) extra(b, now, was *block, at string, depth int) []string {
	rule, match := c.d.rule(b.line, now.line)
	if rule != nil && rule.keep {
		under := c.change(b, &block{line: b.line}, at, depth+1)
		if len(under) == 0 {
			return nil // the block always exists, whether it is shown or not
		}
		return c.d.inside(b.line, under, depth, true)
	}
	ways := c.ways(b, rule, match, now, was, depth)
	if len(ways) > 0 { // once more, as an object that used the line may have been removed since
		ways = append(ways, ways[0])
	}
	if c.d.overwritten(b, now, was) { // the line that is restored replaces it
		ways = append([][]string{nil}, ways...)
	}
	n := c.attempt("-" + at)
	if n >= len(ways) {
		c.differ("%q was not there before; no command is known that undoes it", at)
		return nil
	}
	c.differ("%q was not there before", at)
	return ways[n]
}

// rule returns the inverse of a line under another line, and the positions of its groups.
func (d *dialect) rule(line, in string) (*inverse, []int) {
	for i := range d.inverse {
		r := &d.inverse[i]
		if m := r.line.FindStringSubmatchIndex(line); m != nil && (r.in == nil || r.in.MatchString(in)) {
			return r, m
		}
	}
	return nil, nil
}

// ways returns the lines that may undo a block which was not there before, the most likely
// ones first.
func (c *comparison) ways(b *block, rule *inverse, match []int, now, was *block, depth int) (all [][]string) {
	d := c.d
	in := strings.Repeat(" ", depth)
	add := func(lines ...string) {
		if !slices.ContainsFunc(all, func(w []string) bool { return slices.Equal(w, lines) }) {
			all = append(all, lines)
		}
	}
	// stays reports whether a line that was there before, and still is, begins with words.
	stays := func(words string) bool {
		return slices.ContainsFunc(now.under, func(o *block) bool { return o != b && startsWith(o.line, words) && find(was.under, o.line) != nil })
	}
	if rule != nil && len(rule.undo) > 0 {
		var lines []string
		for _, u := range rule.undo {
			lines = append(lines, in+string(rule.line.ExpandString(nil, u, b.line, match)))
		}
		// A shorter form would also undo other lines that begin with it.
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
	if d.hasDefault {
		add(in + "default " + positive)
	}
	if negated {
		return all
	}
	if len(b.under) > 0 {
		// A block that can't be removed as a whole may be removed when it is empty.
		inner := (&comparison{d: d, attempted: attempts{}}).change(b, &block{line: b.line}, "", depth+1)
		if len(inner) > 0 {
			add(append(d.inside(b.line, inner, depth, true), in+"no "+header)...)
		}
	}
	// Some commands are undone by their first words alone. That would also undo other lines
	// that begin with the same words, here or in the blocks above: FRR takes a command that it
	// does not know in a block for a command of the block around it.
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

// startsWith reports whether a line, or the line that it negates, begins with whole words.
func startsWith(line, words string) bool {
	line = withoutNo(line)
	return line == words || strings.HasPrefix(line, words+" ")
}

// overwritten reports whether a line that is restored will replace b: the same command, which
// can exist only once, with another value or negated.
func (d *dialect) overwritten(b, now, was *block) bool {
	key := d.key(b.line)
	return slices.ContainsFunc(was.under, func(w *block) bool { return d.key(w.line) == key && find(now.under, w.line) == nil })
}

// withoutNo returns a line without the "no" or "default" before it.
func withoutNo(line string) string {
	return strings.TrimPrefix(strings.TrimPrefix(line, "no "), "default ")
}

// key returns what is the same in two lines that exclude each other.
func (d *dialect) key(line string) string {
	line = withoutNo(line)
	for _, re := range d.single {
		if m := re.FindStringSubmatch(line); m != nil {
			return strings.Join(m[1:], " ")
		}
	}
	return line
}

// An ordered object is one in which the order of the lines counts, such as an access list.
type ordered struct {
	// line matches the header of the object (blocks) or each of its lines. Its first group is
	// the object as it is removed, the second the object's name.
	line   *regexp.Regexp
	blocks bool
	// spare is the header of a second object of the kind, which is used in its place
	// meanwhile. References match the lines that use the object; {name} is its name.
	spare      string
	references []string
}

// orderOf returns the kind of the ordered object to which a line belongs, and the object.
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
		how = "a copy is used in its place until it is made again"
	}
	return fmt.Sprintf("%s: the order of the lines of %q counts: if the device has it already, and its lines come into another order, erasing replaces it as a whole: %s", where, object, how)
}

// numbered matches a line that contains its own position.
var numbered = regexp.MustCompile(`^(no )?(\d+ |.*\b(seq|sequence) \d+\b)`)

// outOfOrder reports whether the order differs from before after extra lines were removed and
// missing ones were added at the end.
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

// flat compares an object without a block, all of whose lines begin alike.
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
	case len(had.under) == 0 && c.attempt("-"+join(path, name)) == 0:
		c.differ("%q was not there before", join(path, name))
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
			out = append(out, c.restore(w, path, depth)...)
		}
	}
	return out
}

// rewrite makes an ordered object again. Where the object is used, a copy takes its place
// until that is done.
func (c *comparison) rewrite(o *ordered, name string, now, was *block, path string) (out []string) {
	at := join(path, name)
	if c.attempt("="+at) >= maxSends {
		c.differ("the lines of %q are not in the order in which they were before, and the device does not accept that order again", at)
		return nil
	}
	c.differ("the lines of %q are not in the order in which they were before", at)
	again := c.d.render(was.under, 0)
	if o.blocks {
		again = c.d.render([]*block{was}, 0)
	}
	again = append([]string{"no " + name}, again...)
	c.rebuilds = true
	uses := c.uses(o, name)
	if len(uses) == 0 {
		return again
	}
	from := was.line
	if !o.blocks {
		from = was.under[0].line // it has lines, or nothing would be out of order
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

// uses returns the blocks and the lines in them that use an ordered object, both now and
// before.
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
