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

// isName says whether a word is a name, and not a word of the device's own.
func (f *setSyntax) isName(n *setNode) bool { return n.up != nil && f.isNamed(n.up) }

// isNamed says whether names stand under a word.
func (f *setSyntax) isNamed(n *setNode) bool {
	return f.named[n.word] && !f.isName(n) ||
		f.mayName[n.word] && slices.ContainsFunc(n.under, func(u *setNode) bool { return len(u.under) > 0 }) && !f.isName(n)
}

// orderCounts says whether what stands under a node does something else in another order.
func (f *setSyntax) orderCounts(n *setNode) bool {
	return len(n.under) > 1 && (f.objects[n.word] || f.sequences[n.word]) && !f.isName(n)
}

// A setComparison finds the lines that lead from one configuration to another. All of
// them are one commit.
type setComparison struct {
	*dialect
	now, before *setTree
	tried       map[string]int
	differs     []string // in words

	unprotect, activate, deactivate, protect []*setNode
	deletes, inserts                         []string
	touched                                  []*setNode        // of now or before: where something is changed
	again                                    []*setNode        // of before: deleted, and set again in their order
	set                                      map[*setNode]bool // of before: lines that are to be set
}

// differenceOfSets returns the lines that make of the configuration now the one from
// before, and in words all in which they differ. A difference for which no line is known
// any more is in the second list only. tried counts how often each difference was worked
// on: it is for the caller to keep, who sends the lines, reads the device again and
// compares again, until there are no lines.
//
// Nothing that was there before is deleted, but for what is in another order and can't
// be moved: that is deleted and set again in the same commit.
func (d *dialect) differenceOfSets(now, before string, tried map[string]int) (lines, differences []string) {
	for _, text := range []string{now, before} {
		if !anySets.MatchString(text) { // a device always has some: this is no answer, or none to this user
			return nil, []string{"the device showed no configuration"}
		}
	}
	c := &setComparison{dialect: d, now: d.parseSets(now), before: d.parseSets(before), tried: tried, set: map[*setNode]bool{}}
	c.order(c.before.root)
	c.extra(c.now.root)
	c.lacking()
	if len(c.differs) == 0 {
		c.sequence()
	}
	c.flags()
	return c.lines(), append(c.differs, c.others()...)
}

func (c *setComparison) differ(format string, args ...any) {
	c.differs = append(c.differs, fmt.Sprintf(format, args...))
}

// turn counts an attempt.
func (c *setComparison) turn(kind string, n *setNode) int {
	what := kind + n.path()
	c.tried[what]++
	return c.tried[what] - 1
}

// mostTurns is how often the same is tried.
const mostTurns = 3

// lines puts them in an order in which they can be given: what is protected can't be
// changed, nor what stands under it.
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
			// Whether values are added to those that are there, or replace them, all are there
			// then.
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

// texts are the words under a node, as they are shown.
func (n *setNode) texts() (all []string) {
	for _, u := range n.under {
		all = append(all, u.text)
	}
	return all
}

// order finds what stands in another order than before, or would when what lacks is set,
// as that comes last.
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
	// Where the order does not count a device may have one of its own.
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
		c.differ("%q: was in another order: %s", b.path(), strings.Join(wanted, ", "))
	}
	turn := c.turn("=", b)
	switch {
	case turn >= mostTurns:
		return
	case turn == 0 && c.sets.move != "" && c.sets.objects[b.word] && !c.sets.isName(b):
		c.move(b, become, wanted)
		return
	}
	// What is set comes last: what stands first in the right order can stay.
	stay := 0
	for i := 0; stay < len(wanted) && i < len(become); i++ {
		if become[i] == wanted[stay] && n.byWord[wanted[stay]] != nil {
			stay++
		}
	}
	c.replace(b.under[stay:])
}

// move brings objects to their places, but for the most that can stay.
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

// moves is the line that moves an object.
func (f *setSyntax) moves(n *setNode, where string, other *setNode) string {
	return strings.NewReplacer("{path}", n.path(), "{where}", where, "{word}", n.up.text, "{other}", other.text).Replace(f.move)
}

// longestInOrder returns the most words of a list that are in the order of another one,
// which has the same words.
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

// replace deletes objects from before and sets them again, in one commit.
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

// isReplaced says whether a node, of now or before, is deleted and set again.
func (c *setComparison) isReplaced(n *setNode) bool {
	return slices.ContainsFunc(c.again, n.within)
}

// extra deletes what was not there before: each time the highest node of which nothing
// was there, so that nothing else goes and nothing empty is left.
func (c *setComparison) extra(now *setNode) {
	for _, n := range now.under {
		b := c.before.root.at(n)
		switch {
		case c.isReplaced(n):
		case b != nil:
			if n.line != "" && b.line == "" && !slices.ContainsFunc(b.under, func(w *setNode) bool { return n.byWord[w.word] == nil }) {
				c.differ("%q was not there; no command is known that undoes it", n.line)
			}
			c.extra(n)
		default:
			c.deletes = append(c.deletes, c.deletesExtra(n)...)
		}
	}
}

func (c *setComparison) deletesExtra(n *setNode) []string {
	at := c.sets.command(verbSet, n.path())
	turn := c.turn("-", n)
	if c.overwritten(n) {
		if turn == 0 {
			c.differ("%q was not there", at)
			return nil
		}
		turn--
	}
	if turn >= mostTurns {
		c.differ("%q was not there; no command is known that undoes it", at)
		return nil
	}
	c.differ("%q was not there", at)
	n.each(func(o *setNode) bool {
		c.touched = append(c.touched, o)
		return true
	})
	if turn == 0 {
		return c.deletesOf(n)
	}
	// Its words are of another kind than they look like.
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

// overwritten says whether a node is a value where there was another one, and only one:
// when that is set again, there may be no place for both. If there is, the next
// comparison shows it.
func (c *setComparison) overwritten(n *setNode) bool {
	b := c.before.root.at(n.up)
	return n.up.up != nil && len(n.under) == 0 && len(n.up.under) == 1 && len(b.under) == 1 && len(b.under[0].under) == 0 && c.now.root.at(b.under[0]) == nil
}

// deletesOf returns what deletes a node and all that is under it.
func (c *setComparison) deletesOf(n *setNode) (lines []string) {
	if undo, known := c.inverseOf(n.line); known {
		return undo
	}
	partial := false // the node's words name no object, or do not undo all: those under it do
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

// inverseOf returns what the platform says undoes a line.
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

// lacking sets the lines that were there before.
func (c *setComparison) lacking() {
	for _, b := range c.before.ends {
		n := c.now.root.at(b)
		if n != nil && n.line != "" {
			continue
		}
		if n != nil && slices.ContainsFunc(n.under, func(o *setNode) bool { return b.byWord[o.word] == nil }) {
			// It was empty, and is not: what is in it was told already.
			if c.turn("+", b) < mostTurns {
				c.put(b)
			}
			continue
		}
		switch {
		case c.set[b]:
			c.differ("%q was there", b.line)
		case hiddenSecret.MatchString(b.line):
			c.differ("%q was there; it can't be set again, as the device does not show the secret to its user", b.line)
		case c.turn("+", b) >= mostTurns:
			c.differ("%q was there, and is not taken again", b.line)
		default:
			c.differ("%q was there", b.line)
			c.put(b)
		}
	}
}

func (c *setComparison) put(b *setNode) {
	c.set[b] = true
	c.touched = append(c.touched, b)
}

// sequence finds lines that are all there, in another order that is none of what stands
// under one node: of objects with several words in their names.
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
	c.differ("%q: was in another order", top.path())
	if top.up == nil || c.turn("#", top) > 0 {
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

// flags finds what is inactive or protected and was not, or the other way round.
func (c *setComparison) flags() {
	// flag notes a difference, unless the node is set again for another reason.
	flag := func(b *setNode, verb, line, was string, nodes *[]*setNode) {
		if !c.isReplaced(b) {
			turn := c.turn(verb, b)
			c.differ("%q %s%s", line+" "+b.path(), was, ifElse(turn < mostTurns, "", ", and can't be made so again"))
			if turn >= mostTurns {
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
			flag(b, verbDeactivate, verbDeactivate, "was there", &c.deactivate)
		}
		if !b.inactive && has.inactive {
			flag(b, verbActivate, verbDeactivate, "was not there", &c.activate)
		}
		if b.protected && !has.protected {
			flag(b, verbProtect, verbProtect, "was there", &c.protect)
		}
		if !b.protected && has.protected {
			flag(b, verbUnprotect, verbProtect, "was not there", &c.unprotect)
		}
		return true
	})
	// Nothing can be changed under what is protected.
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

// others are the lines of unknown kinds that are only in one of the configurations.
func (c *setComparison) others() (all []string) {
	for _, l := range c.now.other {
		if !slices.Contains(c.before.other, l) {
			all = append(all, fmt.Sprintf("%q was not there; no command is known that undoes it", l))
		}
	}
	for _, l := range c.before.other {
		if !slices.Contains(c.now.other, l) {
			all = append(all, fmt.Sprintf("%q was there; no command is known that makes it", l))
		}
	}
	return all
}
