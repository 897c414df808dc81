package lab

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

func setOf(words string) map[string]bool {
	all := map[string]bool{}
	for _, w := range strings.Fields(words) {
		all[w] = true
	}
	return all
}

// isName reports whether a word is a name that users choose, and not a keyword of the device.
func (f *setSyntax) isName(n *setNode) bool { return n.up != nil && f.isNamed(n.up) }

// isNamed reports whether the words under a word are names.
func (f *setSyntax) isNamed(n *setNode) bool {
	return f.named[n.word] && !f.isName(n) ||
		f.mayName[n.word] && slices.ContainsFunc(n.under, func(u *setNode) bool { return len(u.under) > 0 }) && !f.isName(n)
}

// orderCounts reports whether the order of the nodes under a node has a meaning.
func (f *setSyntax) orderCounts(n *setNode) bool {
	return len(n.under) > 1 && (f.objects[n.word] || f.sequences[n.word]) && !f.isName(n)
}

// A setComparison finds the lines that lead from one configuration to another. All of them are
// sent in one commit.
type setComparison struct {
	*dialect
	now, before *setTree
	attempted   map[string]int
	differs     []string // in words

	unprotect, activate, deactivate, protect []*setNode
	deletes, inserts                         []string
	touched                                  []*setNode        // of now or before: nodes with changes
	again                                    []*setNode        // of before: nodes that are deleted, and set again in their order
	set                                      map[*setNode]bool // of before: lines to be set
}

// differenceOfSets returns the lines that change the configuration now into the one from
// before, and all their differences in words. If no more lines are known for a difference,
// only the second list has it. attempted counts how often each difference was worked on. The
// caller keeps it, sends the lines, reads the device and compares again, until there are no
// lines.
//
// Nothing that was there before is deleted, except objects that are in another order and can't
// be moved: they are deleted and set again in the same commit.
func (d *dialect) differenceOfSets(now, before string, tried map[string]int) (lines, differences []string) {
	for _, text := range []string{now, before} {
		if !anySets.MatchString(text) { // a device always has some lines: this is not an answer, or its user may not see any
			return nil, []string{"the device showed no configuration"}
		}
	}
	c := &setComparison{dialect: d, now: d.parseSets(now), before: d.parseSets(before), attempted: tried, set: map[*setNode]bool{}}
	c.order(c.before.root)
	c.extra(c.now.root)
	c.restore()
	if len(c.differs) == 0 {
		c.sequence()
	}
	c.flags()
	return c.lines(), append(c.differs, c.others()...)
}

func (c *setComparison) differ(format string, args ...any) {
	c.differs = append(c.differs, fmt.Sprintf(format, args...))
}

// attempt returns how often it was called for a difference before.
func (c *setComparison) attempt(kind string, n *setNode) int {
	what := kind + n.path()
	c.attempted[what]++
	return c.attempted[what] - 1
}

// maxSetTries is how often the same difference is worked on.
const maxSetTries = 3

// lines puts the lines in an order in which the device accepts them: a protected node can't be
// changed, nor the nodes under it.
func (c *setComparison) lines() (out []string) {
	add := func(verb string, nodes []*setNode) {
		for _, n := range nodes {
			out = append(out, c.sets.command(verb, n.path()))
		}
	}
	add(verbUnprotect, c.unprotect)
	add(verbActivate, c.activate)
	out = append(out, c.deletes...)
	for _, n := range c.before.ends {
		switch {
		case !c.set[n]:
		case n.up.list:
			// Whether the device adds the values or replaces the old ones, it has all of them
			// afterwards.
			if l := c.sets.command(verbSet, n.up.path()+" [ "+strings.Join(n.up.texts(), " ")+" ]"); !slices.Contains(out, l) {
				out = append(out, l)
			}
		default:
			out = append(out, n.line)
		}
	}
	out = append(out, c.inserts...)
	add(verbDeactivate, c.deactivate)
	slices.SortStableFunc(c.protect, func(a, b *setNode) int { return cmp.Compare(b.depth(), a.depth()) })
	add(verbProtect, c.protect)
	return out
}

// texts returns the words under a node as they are shown.
func (n *setNode) texts() (all []string) {
	for _, u := range n.under {
		all = append(all, u.text)
	}
	return all
}

// order finds nodes that are in another order than before, or would be after missing lines are
// set at the end.
func (c *setComparison) order(b *setNode) {
	n := c.now.root.at(b)
	if n == nil {
		return
	}
	has, had := common(n, b), common(b, n)
	become := slices.Clone(has)
	for _, w := range b.under {
		if n.byWord[w.word] == nil {
			become = append(become, w.word)
		}
	}
	var wanted []string
	for _, w := range b.under {
		wanted = append(wanted, w.word)
	}
	// If the order does not count, the device may have an order of its own.
	if !slices.Equal(has, had) || c.sets.orderCounts(b) && !slices.Equal(become, wanted) {
		c.reorder(b, n, become, wanted)
	}
	for _, w := range b.under {
		if !slices.Contains(c.again, w) {
			c.order(w)
		}
	}
}

func (c *setComparison) reorder(b, n *setNode, become, wanted []string) {
	if !slices.Equal(common(n, b), common(b, n)) {
		c.differ("%q: was in another order before: %s", b.path(), strings.Join(wanted, ", "))
	}
	turn := c.attempt("=", b)
	switch {
	case turn >= maxSetTries:
		return
	case turn == 0 && c.sets.move != "" && c.sets.objects[b.word] && !c.sets.isName(b):
		c.move(b, become, wanted)
		return
	}
	// Lines that are set come last, so the nodes at the beginning that are in the right order
	// stay.
	stay := 0
	for i := 0; stay < len(wanted) && i < len(become); i++ {
		if become[i] == wanted[stay] && n.byWord[wanted[stay]] != nil {
			stay++
		}
	}
	c.replace(b.under[stay:])
}

// move brings objects to their places. As many as possible stay where they are.
func (c *setComparison) move(b *setNode, become, wanted []string) {
	stay := longestInOrder(become, wanted)
	c.touched = append(c.touched, b)
	for i, w := range b.under {
		switch {
		case stay[w.word]:
		case i == 0:
			c.inserts = append(c.inserts, c.sets.moves(w, "before", b.byWord[become[0]]))
		default:
			c.inserts = append(c.inserts, c.sets.moves(w, "after", b.under[i-1]))
		}
	}
}

// moves returns the line that moves an object.
func (f *setSyntax) moves(n *setNode, where string, other *setNode) string {
	return strings.NewReplacer("{path}", n.path(), "{where}", where, "{word}", n.up.text, "{other}", other.text).Replace(f.move)
}

// longestInOrder returns the largest set of words of a list that are in the order of another
// list, which has the same words.
func longestInOrder(list, order []string) map[string]bool {
	place := map[string]int{}
	for i, w := range order {
		place[w] = i
	}
	length, from := make([]int, len(list)), make([]int, len(list))
	best := -1
	for i, w := range list {
		length[i], from[i] = 1, -1
		for j := range i {
			if place[list[j]] < place[w] && length[j] >= length[i] {
				length[i], from[i] = length[j]+1, j
			}
		}
		if best < 0 || length[i] > length[best] {
			best = i
		}
	}
	stay := map[string]bool{}
	for i := best; i >= 0; i = from[i] {
		stay[list[i]] = true
	}
	return stay
}

// replace deletes objects and sets them again as they were before, in one commit.
func (c *setComparison) replace(nodes []*setNode) {
	for _, b := range nodes {
		if i := slices.IndexFunc(b.lines(), hiddenSecret.MatchString); i >= 0 {
			c.differ("%q can't be set again: it has secrets that the device does not show to its user", b.path())
			return
		}
	}
	for _, b := range nodes {
		c.again = append(c.again, b)
		c.touched = append(c.touched, b)
		if n := c.now.root.at(b); n != nil {
			c.deletes = append(c.deletes, c.deletesOf(n)...)
			n.each(func(o *setNode) bool {
				c.touched = append(c.touched, o)
				return true
			})
		}
		b.each(func(o *setNode) bool {
			if o.line != "" {
				c.set[o] = true
			}
			return true
		})
	}
}

// isReplaced reports whether a node, of now or before, is deleted and set again.
func (c *setComparison) isReplaced(n *setNode) bool {
	return slices.ContainsFunc(c.again, n.within)
}

// extra deletes nodes that were not there before. Each time it deletes the highest node of
// which nothing was there, so that nothing else is deleted and no empty node remains.
func (c *setComparison) extra(now *setNode) {
	for _, n := range now.under {
		b := c.before.root.at(n)
		switch {
		case c.isReplaced(n):
		case b != nil:
			if n.line != "" && b.line == "" && !slices.ContainsFunc(b.under, func(w *setNode) bool { return n.byWord[w.word] == nil }) {
				c.differ("%q was not there before; no command is known that undoes it", n.line)
			}
			c.extra(n)
		default:
			c.deletes = append(c.deletes, c.deletesExtra(n)...)
		}
	}
}

func (c *setComparison) deletesExtra(n *setNode) []string {
	at := c.sets.command(verbSet, n.path())
	turn := c.attempt("-", n)
	if c.overwritten(n) {
		if turn == 0 {
			c.differ("%q was not there before", at)
			return nil
		}
		turn--
	}
	if turn >= maxSetTries {
		c.differ("%q was not there before; no command is known that undoes it", at)
		return nil
	}
	c.differ("%q was not there before", at)
	n.each(func(o *setNode) bool {
		c.touched = append(c.touched, o)
		return true
	})
	if turn == 0 {
		return c.deletesOf(n)
	}
	// The words are of another kind than they seem to be.
	var lines []string
	for _, l := range n.lines() {
		lines = append(lines, verbDelete+" "+afterWord(l))
	}
	for _, u := range n.under {
		lines = append(lines, c.sets.command(verbDelete, u.path()))
	}
	slices.Sort(lines)
	lines = slices.Compact(lines)
	slices.Reverse(lines)
	return append(lines, c.sets.command(verbDelete, n.path()))
}

// overwritten reports whether a node is the value of a word that had another value before.
// Setting that again may replace this value. If it does not, the next comparison shows both.
func (c *setComparison) overwritten(n *setNode) bool {
	b := c.before.root.at(n.up)
	return n.up.up != nil && len(n.under) == 0 && len(n.up.under) == 1 && len(b.under) == 1 && len(b.under[0].under) == 0 && c.now.root.at(b.under[0]) == nil
}

// deletesOf returns the lines that delete a node and everything under it.
func (c *setComparison) deletesOf(n *setNode) (lines []string) {
	if undo, known := c.inverseOf(n.line); known {
		return undo
	}
	partial := false // the node does not name an object, or does not undo everything: the nodes under it are deleted
	if len(n.under) > 0 {
		partial = c.sets.isNamed(n) || slices.ContainsFunc(n.lines(), func(l string) bool { _, known := c.inverseOf(l); return known })
		depth := 0
		for o := n; o.up != nil; o, depth = o.up, depth+1 {
			if length := c.sets.wordy[o.word]; length > depth && !c.sets.isName(o) {
				partial = true
			}
		}
	}
	if !partial {
		return []string{c.sets.command(verbDelete, n.path())}
	}
	for _, u := range n.under {
		lines = append(lines, c.deletesOf(u)...)
	}
	return lines
}

// inverseOf returns the lines that undo a line according to the platform's file.
func (c *setComparison) inverseOf(line string) (undo []string, known bool) {
	rule, match := c.rule(line, "")
	if line == "" || rule == nil {
		return nil, false
	}
	for _, u := range rule.undo {
		undo = append(undo, string(rule.line.ExpandString(nil, u, line, match)))
	}
	return undo, true
}

// restore sets the lines that were there before.
func (c *setComparison) restore() {
	for _, b := range c.before.ends {
		n := c.now.root.at(b)
		if n != nil && n.line != "" {
			continue
		}
		if n != nil && slices.ContainsFunc(n.under, func(o *setNode) bool { return b.byWord[o.word] == nil }) {
			// The node was empty before, and is not empty now. The nodes in it were reported
			// already.
			if c.attempt("+", b) < maxSetTries {
				c.restoreLine(b)
			}
			continue
		}
		switch {
		case c.set[b]:
			c.differ("%q was there before", b.line)
		case hiddenSecret.MatchString(b.line):
			c.differ("%q was there before; it can't be set again, as the device does not show the secret to its user", b.line)
		case c.attempt("+", b) >= maxSetTries:
			c.differ("%q was there before, and the device does not accept it again", b.line)
		default:
			c.differ("%q was there before", b.line)
			c.restoreLine(b)
		}
	}
}

func (c *setComparison) restoreLine(b *setNode) {
	c.set[b] = true
	c.touched = append(c.touched, b)
}

// sequence finds lines that all exist, but in another order that is not the order under one
// node: those of objects with several words in their names.
func (c *setComparison) sequence() {
	first, last := -1, -1
	for i, b := range c.before.ends {
		if i >= len(c.now.ends) || c.now.ends[i] != c.now.root.at(b) {
			if first < 0 {
				first = i
			}
			last = i
		}
	}
	if first < 0 {
		return
	}
	top := c.before.ends[first].up
	for _, b := range c.before.ends[first : last+1] {
		for !b.within(top) {
			top = top.up
		}
	}
	c.differ("%q: was in another order before", top.path())
	if top.up == nil || c.attempt("#", top) > 0 {
		return
	}
	var nodes []*setNode
	for _, b := range c.before.ends[first : last+1] {
		for b.up != top {
			b = b.up
		}
		if !slices.Contains(nodes, b) {
			nodes = append(nodes, b)
		}
	}
	c.replace(nodes)
}

// flags finds nodes that became inactive or protected, or are no longer so.
func (c *setComparison) flags() {
	// flag notes a difference, unless the node is set again for another reason.
	flag := func(b *setNode, verb, line, was string, nodes *[]*setNode) {
		if !c.isReplaced(b) {
			turn := c.attempt(verb, b)
			c.differ("%q %s%s", line+" "+b.path(), was, ifElse(turn < maxSetTries, "", ", and can't be made so again"))
			if turn >= maxSetTries {
				return
			}
		}
		c.touched = append(c.touched, b)
		*nodes = append(*nodes, b)
	}
	c.before.root.each(func(b *setNode) bool {
		has := c.now.root.at(b)
		if has == nil || c.isReplaced(b) {
			has = &setNode{}
		}
		if b.inactive && !has.inactive {
			flag(b, verbDeactivate, verbDeactivate, "was there before", &c.deactivate)
		}
		if !b.inactive && has.inactive {
			flag(b, verbActivate, verbDeactivate, "was not there before", &c.activate)
		}
		if b.protected && !has.protected {
			flag(b, verbProtect, verbProtect, "was there before", &c.protect)
		}
		if !b.protected && has.protected {
			flag(b, verbUnprotect, verbProtect, "was not there before", &c.unprotect)
		}
		return true
	})
	// Nothing can be changed under a protected node.
	c.now.root.each(func(n *setNode) bool {
		if !n.protected || !slices.ContainsFunc(c.touched, func(t *setNode) bool { return t.within(n) }) {
			return true
		}
		b := c.before.root.at(n)
		if !slices.ContainsFunc(c.unprotect, func(o *setNode) bool { return o.path() == n.path() }) {
			c.unprotect = append(c.unprotect, n)
		}
		if b != nil && b.protected && !slices.Contains(c.protect, b) {
			c.protect = append(c.protect, b)
		}
		return true
	})
	slices.SortStableFunc(c.unprotect, func(a, b *setNode) int { return cmp.Compare(a.depth(), b.depth()) })
}

// others returns the differences in lines of unknown kinds.
func (c *setComparison) others() (all []string) {
	for _, l := range c.now.other {
		if !slices.Contains(c.before.other, l) {
			all = append(all, fmt.Sprintf("%q was not there before; no command is known that undoes it", l))
		}
	}
	for _, l := range c.before.other {
		if !slices.Contains(c.now.other, l) {
			all = append(all, fmt.Sprintf("%q was there before; no command is known that restores it", l))
		}
	}
	return all
}
