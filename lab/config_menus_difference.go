package lab

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// An itemComparison finds the lines that lead from one configuration in menus to another.
type itemComparison struct {
	*dialect
	now, before []*item
	attempted   attempts
	differs     []string

	removes, sets, adds, moves []string
}

func (c *itemComparison) differ(format string, args ...any) {
	c.differs = append(c.differs, fmt.Sprintf(format, args...))
}

func (c *itemComparison) attempt(what string) int {
	n := c.attempted[what]
	c.attempted[what]++
	return n
}

// differenceOfItems returns the lines that change the configuration now into the one from
// before, and all their differences in words, as differenceOfSets does. First entries are
// removed, beginning with the last one, then settings are changed, then missing entries are
// added.
func (d *dialect) differenceOfItems(now, before string, tried attempts) (lines, differences []string) {
	c := &itemComparison{dialect: d, attempted: tried}
	c.now, _ = parseItems(now)
	c.before, _ = parseItems(before)
	extra, lacking := unmatched(c.now, c.before, verbAdd), unmatched(c.before, c.now, verbAdd)
	for _, it := range slices.Clone(extra) {
		if w := named(lacking, it); w != nil {
			c.change(it, w)
			extra = slices.DeleteFunc(extra, func(o *item) bool { return o == it })
			lacking = slices.DeleteFunc(lacking, func(o *item) bool { return o == w })
		}
	}
	for _, it := range slices.Backward(extra) {
		c.remove(it, extra)
	}
	c.settings()
	for _, w := range slices.Backward(lacking) { // each is placed before the next one, which must exist
		c.add(w)
	}
	slices.Reverse(c.adds)
	if len(c.differs) == 0 {
		c.order()
	}
	return slices.Concat(c.removes, c.sets, c.adds, c.moves), c.differs
}

// unmatched returns the entries of a list that another list does not have, or has fewer times.
func unmatched(all, others []*item, verb string) (rest []*item) {
	count := map[string]int{}
	for _, it := range others {
		count[it.identity()]++
	}
	for _, it := range all {
		if it.verb != verb {
			continue
		}
		if count[it.identity()]--; count[it.identity()] < 0 {
			rest = append(rest, it)
		}
	}
	return rest
}

// named returns the entry with the same menu and name, or nil.
func named(all []*item, it *item) *item {
	name, ok := it.value("name")
	i := slices.IndexFunc(all, func(o *item) bool {
		n, has := o.value("name")
		return ok && has && n == name && o.menu == it.menu
	})
	if i < 0 {
		return nil
	}
	return all[i]
}

// change restores the properties of an entry that kept its name, as other entries may refer to
// it.
func (c *itemComparison) change(it, was *item) {
	name, _ := it.value("name")
	set := &item{menu: it.menu, verb: verbSet, which: "[ find name=" + quoteValue(name) + " ]"}
	set.values = changed(it, was)
	for _, p := range it.values {
		if _, ok := was.value(p.key); ok {
			continue
		}
		if v, ok := c.usual(was, p.key); ok {
			set.values = append(set.values, property{p.key, quoteValue(v), v})
		} else {
			c.differ("%q has %s=%s, which it did not have before; no command is known that undoes it", was.line(), p.key, p.text)
		}
	}
	c.send(set, was.line(), &c.sets)
}

// changed returns the properties of was that it lacks, or has with another value.
func changed(it, was *item) (all []property) {
	for _, p := range was.values {
		if v, ok := it.value(p.key); !ok || v != p.value {
			all = append(all, p)
		}
	}
	return all
}

// maxItemSends is how often the same line is sent.
const maxItemSends = 2

func (c *itemComparison) send(it *item, what string, into *[]string) {
	if len(it.values) == 0 {
		return
	}
	if c.attempt("+"+it.line()) >= maxItemSends {
		c.differ("%q was there before, and the device does not accept it again", what)
		return
	}
	c.differ("%q was there before", what)
	*into = append(*into, it.line())
}

// remove removes an entry that was not there before. The entry is found by its properties. If
// these also find an entry that was there before, nothing is removed.
func (c *itemComparison) remove(it *item, extra []*item) {
	what := it.line()
	find := c.find(it)
	same, others := 0, 0
	for _, o := range c.now {
		switch {
		case o.verb != verbAdd || o.menu != it.menu || slices.Contains(extra, o):
		case o.identity() == it.identity():
			same++
		case c.finds(it, o):
			others++
		}
	}
	switch {
	case find == "" || others > 0:
		c.differ("%q was not there before; no command is known that removes it and nothing else", what)
		return
	case c.attempt("-"+what) >= maxItemSends*len(extra):
		c.differ("%q was not there before, and can't be removed", what)
		return
	}
	c.differ("%q was not there before", what)
	line := fmt.Sprintf("%s remove [find where %s]", it.menu, find)
	if same > 0 { // equal entries were there before: the last one is removed
		line = fmt.Sprintf("%s remove [:pick [%s find where %s] %d]", it.menu, it.menu, find, same)
	}
	if same > 0 || !slices.Contains(c.removes, line) {
		c.removes = append(c.removes, line)
	}
}

// findKeys returns the properties by which an entry can be found: those with one value that is
// not a secret.
func (c *itemComparison) findKeys(it *item) (all []property) {
	for _, p := range it.values {
		if p.key[0] != '!' && p.value != "" && !strings.ContainsAny(p.value, ",;") && !matches(c.unshown, p.key) && !strings.Contains(p.key, ".") {
			all = append(all, p)
		}
	}
	return all
}

func (c *itemComparison) find(it *item) string {
	var all []string
	for _, p := range c.findKeys(it) {
		all = append(all, p.key+"="+quoteValue(p.value))
	}
	return strings.Join(all, " and ")
}

// finds reports whether the properties by which an entry is found may also find another entry.
func (c *itemComparison) finds(it, other *item) bool {
	return !slices.ContainsFunc(c.findKeys(it), func(p property) bool {
		if v, ok := other.value(p.key); ok {
			return v != p.value
		}
		v, ok := c.usual(other, p.key)
		return !ok || v != p.value
	})
}

// settings compares what always exists.
func (c *itemComparison) settings() {
	merged := func(items []*item) (heads []string, all map[string]*item) {
		all = map[string]*item{}
		for _, it := range items {
			if it.verb != verbSet {
				continue
			}
			if all[it.head()] == nil {
				heads = append(heads, it.head())
				all[it.head()] = &item{menu: it.menu, verb: it.verb, which: it.which}
			}
			for _, p := range it.values {
				m := all[it.head()]
				m.values = append(slices.DeleteFunc(m.values, func(o property) bool { return o.key == p.key }), p)
			}
		}
		return heads, all
	}
	heads, now := merged(c.now)
	more, before := merged(c.before)
	for _, h := range more {
		if now[h] == nil {
			heads = append(heads, h)
		}
	}
	for _, h := range heads {
		it, was := now[h], before[h]
		if it == nil {
			it = &item{menu: was.menu, verb: was.verb, which: was.which}
		}
		if was == nil {
			was = &item{menu: it.menu, verb: it.verb, which: it.which}
		}
		set := &item{menu: it.menu, verb: it.verb, which: it.which}
		set.values = changed(it, was)
		for _, p := range it.values {
			if _, ok := was.value(p.key); ok {
				continue
			}
			v, ok := c.usual(it, p.key)
			switch {
			case !ok:
				c.differ("%q was not there before; its previous value is not known", h+" "+p.key+"="+p.text)
			case v != p.value:
				set.values = append(set.values, property{p.key, quoteValue(v), v})
			}
		}
		c.send(set, set.line(), &c.sets)
	}
}

// add adds an entry again, in its place.
func (c *itemComparison) add(w *item) {
	again := *w
	if c.flatOf(w) != "" {
		if next := c.next(w); next != "" {
			again.values = append(slices.Clone(w.values), property{"place-before", "[find where " + next + "]", ""})
		}
	}
	c.send(&again, w.line(), &c.adds)
}

// next returns how to find the first existing entry behind another one, or "".
func (c *itemComparison) next(w *item) string {
	at := slices.Index(c.before, w)
	for _, o := range c.before[at+1:] {
		if o.menu != w.menu || o.verb != verbAdd {
			continue
		}
		if find := c.find(o); find != "" && c.findsOne(o) && slices.ContainsFunc(c.now, func(n *item) bool { return n.identity() == o.identity() }) {
			return find
		}
	}
	return ""
}

// findsOne reports whether the properties by which an entry is found find no other entry.
func (c *itemComparison) findsOne(it *item) bool {
	n := 0
	for _, o := range c.now {
		if o.menu == it.menu && o.verb == verbAdd && c.finds(it, o) {
			n++
		}
	}
	return n <= 1
}

// order moves entries to their places, after everything else is equal.
func (c *itemComparison) order() {
	lists := func(items []*item) map[string][]*item {
		all := map[string][]*item{}
		for _, it := range items {
			if m := c.flatOf(it); m != "" {
				all[m] = append(all[m], it)
			}
		}
		return all
	}
	now, before := lists(c.now), lists(c.before)
	for _, m := range slices.Sorted(maps.Keys(before)) {
		has, had := slices.Clone(now[m]), before[m]
		for i := range had {
			if len(has) != len(had) || has[i].identity() == had[i].identity() {
				continue
			}
			j := slices.IndexFunc(has[i:], func(o *item) bool { return o.identity() == had[i].identity() }) + i
			mine, other := c.find(has[j]), c.find(has[i])
			c.differ("the entries of %s are not in the order in which they were before", m)
			if mine == "" || other == "" || !c.findsOne(has[j]) || !c.findsOne(has[i]) || c.attempt("="+m+has[j].identity()) >= maxItemSends {
				return
			}
			c.moves = append(c.moves, fmt.Sprintf("%s move [find where %s] destination=[find where %s]", has[j].menu, mine, other))
			moved := has[j]
			has = slices.Insert(slices.Delete(has, j, j+1), i, moved)
		}
	}
}
