package lab

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"activationd/internal/fault"
	"activationd/topology"
)

// An item is what a line of a configuration in menus says, as RouterOS has them: "add"
// makes an entry of a menu, and "set" changes what is always there.
type item struct {
	menu   string // as in "/ip address"
	verb   string // add or set
	which  string // of set: the entry, as in "[ find default-name=ether1 ]"; "" where there is only one
	values []property
	number int // of its line, from 1
}

// A property is a key with its value, as it was written and as it counts.
type property struct{ key, text, value string }

// A menuFault is a line that makes no item.
type menuFault struct {
	number    int
	line, why string
}

const (
	verbAdd = "add"
	noVerb  = "" // of the name of a menu
)

// menuVerbs are words that end the name of a menu.
var menuVerbs = setOf("add set remove unset reset enable disable move comment edit find get print export import run monitor")

// menuFlags are properties of an entry that RouterOS shows without a value.
var menuFlags = setOf("blackhole fib no-summaries passive ptp")

// parseItems reads the lines of /export, in its long or its terse form. A line that ends
// with \ goes on in the next one.
func parseItems(text string) (items []*item, faults []menuFault) {
	menu, begun, number := "", "", 0
	lines := strings.Split(text, "\n")
	for i, raw := range lines {
		raw = strings.TrimRight(raw, "\r")
		line := begun + strings.TrimLeft(raw, " \t")
		if begun == "" {
			number = i + 1
		}
		if rest, more := strings.CutSuffix(line, `\`); more && i+1 < len(lines) {
			begun = rest
			continue
		}
		begun = ""
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		one, at, err := parseItem(line, menu)
		switch {
		case err != nil:
			faults = append(faults, menuFault{number, line, err.Error()})
		case one.verb == noVerb:
			menu = at
		default:
			one.number = number
			items = append(items, one)
			if line[0] != '/' {
				menu = at
			}
		}
	}
	return items, faults
}

// parseItem reads a line in a menu. A line that is the name of a menu has no verb.
func parseItem(line, menu string) (*item, string, error) {
	words, err := menuWords(line)
	if err != nil {
		return nil, "", err
	}
	var path []string
	if words[0][0] == '/' {
		words[0] = words[0][1:]
	} else if menu != "" {
		path = strings.Fields(strings.TrimPrefix(menu, "/"))
	}
	it := &item{}
	for len(words) > 0 && it.verb == noVerb && !strings.ContainsAny(words[0], `="[({:$`) {
		for _, w := range strings.FieldsFunc(words[0], func(c rune) bool { return c == '/' }) {
			if it.verb != noVerb {
				return nil, "", fmt.Errorf("has something behind %s that is no property", it.verb)
			}
			if menuVerbs[w] {
				it.verb = w
			} else {
				path = append(path, w)
			}
		}
		words = words[1:]
	}
	it.menu = "/" + strings.Join(path, " ")
	if it.verb == noVerb && len(words) > 0 || len(path) == 0 && it.verb != noVerb {
		return nil, "", errors.New("is not a line as in /ip address add address=..., which /export shows")
	}
	prefix := ""
	for i, w := range words {
		key, text, has := cutProperty(w)
		switch {
		case !has && i == 0 && it.verb != verbAdd && w[0] != '!':
			it.which = which(w)
			continue
		case !has && w[0] == '!': // a property that there shall not be
			key = w
		case !has && it.verb == verbAdd && menuFlags[w]:
			key = w
		case !has:
			return nil, "", fmt.Errorf("has %q, which is no property", w)
		}
		if strings.HasPrefix(key, ".") { // as the one before, but for its last word
			key = prefix + key
		}
		if at := strings.LastIndexByte(key, '.'); at > 0 {
			prefix = strings.TrimPrefix(key[:at], "!")
		} else {
			prefix = strings.TrimPrefix(key, "!")
		}
		it.values = append(it.values, property{key, text, plainValue(text)})
	}
	return it, it.menu, nil
}

// menuWords divides a line. What is in quotes or brackets is one word.
func menuWords(line string) (words []string, err error) {
	var open []byte
	from := -1
	for i := 0; i < len(line); i++ {
		c := line[i]
		quoted := len(open) > 0 && open[len(open)-1] == '"'
		if from < 0 && c != ' ' {
			from = i
		}
		switch {
		case c == ' ' && len(open) == 0:
			if from >= 0 {
				words = append(words, line[from:i])
			}
			from = -1
			continue
		case quoted && c == '\\':
			i++
		case quoted && c == '"', !quoted && len(open) > 0 && strings.IndexByte("])}", c) >= 0 && strings.IndexByte("[({", open[len(open)-1]) == strings.IndexByte("])}", c):
			open = open[:len(open)-1]
		case !quoted && strings.IndexByte(`"[({`, c) >= 0:
			open = append(open, c)
		case c == ';' && !quoted:
			return nil, errors.New("has a ; that is not in quotes: write each command on its line")
		}
	}
	if len(open) > 0 {
		return nil, errors.New("has a quote or a bracket without an end")
	}
	if from >= 0 {
		words = append(words, line[from:])
	}
	return words, nil
}

var propertyName = regexp.MustCompile(`^[.a-zA-Z0-9][a-zA-Z0-9.-]*$`)

func cutProperty(word string) (key, text string, ok bool) {
	key, text, ok = strings.Cut(word, "=")
	return key, text, ok && propertyName.MatchString(key)
}

// which is how a set names an entry, in one form.
func which(word string) string {
	inner, ok := strings.CutPrefix(word, "[")
	if !ok {
		return word
	}
	words, err := menuWords(strings.TrimSpace(strings.TrimSuffix(inner, "]")))
	if err != nil {
		return word
	}
	for i, w := range words {
		if key, text, ok := cutProperty(w); ok {
			words[i] = key + "=" + quoteValue(plainValue(text))
		}
	}
	return "[ " + strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "where" }), " ") + " ]"
}

// plainValue is a value without its quotes.
func plainValue(text string) string {
	if len(text) < 2 || text[0] != '"' || text[len(text)-1] != '"' {
		return text
	}
	var b strings.Builder
	for i := 1; i < len(text)-1; i++ {
		if text[i] == '\\' && strings.IndexByte(`"\$?_`, text[i+1]) >= 0 {
			i++
			if text[i] == '_' { // a blank, where a long line was folded
				b.WriteByte(' ')
				continue
			}
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

var bareValue = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

func quoteValue(value string) string {
	if bareValue.MatchString(value) {
		return value
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`).Replace(value) + `"`
}

// head is a line without its properties.
func (it *item) head() string {
	return strings.TrimRight(it.menu+" "+it.verb+" "+it.which, " ")
}

func (it *item) line() string {
	line := it.head()
	for _, p := range it.values {
		line += " " + p.key + ifElse(p.key[0] == '!' || menuFlags[p.key] && p.text == "", "", "="+p.text)
	}
	return line
}

func (it *item) value(key string) (string, bool) {
	i := slices.IndexFunc(it.values, func(p property) bool { return p.key == key })
	if i < 0 {
		return "", false
	}
	return it.values[i].value, true
}

// same is equal for lines that say the same.
func (it *item) same() string {
	var all []string
	for _, p := range it.values {
		all = append(all, p.key+"="+p.value)
	}
	slices.Sort(all)
	return it.head() + "\n" + strings.Join(all, "\n")
}

// A defaults are the values that properties have, in lines that begin with something,
// where nothing is shown.
type defaults struct {
	line   *regexp.Regexp // of the line without its properties
	values map[string]string
}

// usual returns what a property is where it is not shown, if that is known.
func (d *dialect) usual(it *item, key string) (string, bool) {
	for _, u := range d.defaults {
		if v, ok := u.values[key]; ok && u.line.MatchString(it.head()) {
			return v, true
		}
	}
	return "", false
}

// has says whether an item has a property with a value, shown or by default.
func (d *dialect) has(it *item, p property) bool {
	if v, ok := it.value(p.key); ok {
		return v == p.value
	}
	v, ok := d.usual(it, p.key)
	return ok && v == p.value
}

// planItems makes a plan of a startup-config in menus.
func (d *dialect) planItems(n *topology.Node, where func(int) string) (p nodePlan, err error) {
	items, faults := parseItems(n.Config)
	var errs []error
	refuse := func(number int, line, why string) {
		errs = append(errs, fmt.Errorf("%s: %.80q: %s", where(number), line, why))
	}
	for _, f := range faults {
		refuse(f.number, f.line, f.why)
	}
	for _, it := range items {
		l := it.line()
		if why := d.itemRefused(it); why != "" {
			refuse(it.number, l, why)
			continue
		}
		if len(it.values) == 0 && it.verb != verbAdd || slices.Contains(p.apply, l) && d.flatOf(it) == "" {
			continue
		}
		p.apply = append(p.apply, l)
		if o := d.flatOf(it); o != "" {
			p.notices = append(p.notices, fmt.Sprintf("%s: startup-config: the order of the entries of %s counts: if the device has some already, those of the startup-config come last", n.Name, o))
		}
		if slices.ContainsFunc(it.values, func(p property) bool { return matches(d.unshown, p.key) }) {
			p.unverified = append(p.unverified, l)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nodePlan{}, err
	}
	p.undo, _ = d.differenceOfItems(strings.Join(p.apply, "\n"), "", tries{})
	slices.Sort(p.notices)
	p.notices = slices.Compact(p.notices)
	return p, nil
}

// itemRefused says why a line of a startup-config can't be taken, or "".
func (d *dialect) itemRefused(it *item) string {
	for _, r := range d.refused {
		if r.line.MatchString(it.line()) {
			return r.why
		}
	}
	switch {
	case it.verb != verbAdd && it.verb != verbSet:
		return fmt.Sprintf("a startup-config says what is added to a device's configuration, by add and set, as %q shows it; %s is not supported", d.running, it.verb)
	case strings.Contains(strings.ReplaceAll(it.line(), `\$`, ""), "$"):
		return `has a $, which the device would take for a variable; write \$ in quotes`
	case it.verb == verbAdd:
		return ""
	}
	for _, p := range it.values {
		if _, ok := d.usual(it, p.key); !ok {
			return fmt.Sprintf("what %s was before may not be shown by the device, and could not be restored", p.key)
		}
	}
	return ""
}

// flatOf returns the menu of an item if the order of its entries counts.
func (d *dialect) flatOf(it *item) string {
	if it.verb != verbAdd {
		return ""
	}
	_, name := d.orderOf(it.line())
	return name
}

// missingItems returns what of the lines is not in a running configuration. An entry may
// have more properties than were asked for, as the device shows some of its own.
func (d *dialect) missingItems(lines []string, running string) (lacking []string) {
	want, _ := parseItems(strings.Join(lines, "\n"))
	shown, _ := parseItems(running)
	for _, w := range want {
		var have []*item
		for _, it := range shown {
			if it.head() == w.head() {
				have = append(have, it)
			}
		}
		if w.verb == verbSet {
			have = append(have, &item{menu: w.menu, verb: w.verb, which: w.which}) // all is as usual
		}
		seen := func(it *item) bool {
			off, _ := it.value("disabled")
			if _, said := w.value("disabled"); off == "yes" && !said && w.verb == verbAdd {
				return false
			}
			return !slices.ContainsFunc(w.values, func(p property) bool { return !matches(d.unshown, p.key) && !d.has(it, p) })
		}
		if w.verb == verbSet && len(have) > 1 {
			have = have[:1] // what is shown counts
		}
		if !slices.ContainsFunc(have, seen) {
			lacking = append(lacking, w.line())
		}
	}
	return lacking
}

// unexported is what a device says in the midst of its configuration when it does not show
// all of it.
var unexported = regexp.MustCompile(`(?m)^\s*#\s*error exporting.*$`)

// incompleteItems says why what a device shows is not its configuration, or "".
func (d *dialect) incompleteItems(running string) string {
	_, faults := parseItems(running)
	lines := strings.Split(strings.TrimSpace(running), "\n")
	switch last := strings.TrimSpace(lines[len(lines)-1]); {
	case unexported.MatchString(running):
		return "the device says: " + strings.TrimSpace(unexported.FindString(running))
	case len(faults) > 0:
		return fmt.Sprintf("the device shows %.120q: %s", faults[0].line, faults[0].why)
	case last == "" || d.complete != nil && !d.complete.MatchString(last):
		return "the device showed no configuration"
	}
	return ""
}

// An itemComparison finds the lines that lead from one configuration in menus to another.
type itemComparison struct {
	*dialect
	now, before []*item
	tried       tries
	differs     []string

	removes, sets, adds, moves []string
}

func (c *itemComparison) differ(format string, args ...any) {
	c.differs = append(c.differs, fmt.Sprintf(format, args...))
}

func (c *itemComparison) turn(what string) int {
	n := c.tried[what]
	c.tried[what]++
	return n
}

// differenceOfItems returns the lines that make of the configuration now the one from
// before, and in words all in which they differ: see differenceOfSets. Entries go, the last
// one first; then comes what is set; then what lacks.
func (d *dialect) differenceOfItems(now, before string, tried tries) (lines, differences []string) {
	c := &itemComparison{dialect: d, tried: tried}
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
	for _, w := range slices.Backward(lacking) { // each before the one that comes next
		c.add(w)
	}
	slices.Reverse(c.adds)
	if len(c.differs) == 0 {
		c.order()
	}
	return slices.Concat(c.removes, c.sets, c.adds, c.moves), c.differs
}

// unmatched returns the entries of one list that are not in another one, or fewer times.
func unmatched(all, others []*item, verb string) (rest []*item) {
	count := map[string]int{}
	for _, it := range others {
		count[it.same()]++
	}
	for _, it := range all {
		if it.verb != verb {
			continue
		}
		if count[it.same()]--; count[it.same()] < 0 {
			rest = append(rest, it)
		}
	}
	return rest
}

// named returns the entry of the same menu and name.
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

// change makes an entry what another of its name was: others may refer to it.
func (c *itemComparison) change(it, was *item) {
	name, _ := it.value("name")
	set := &item{menu: it.menu, verb: verbSet, which: "[ find name=" + quoteValue(name) + " ]"}
	for _, p := range was.values {
		if v, ok := it.value(p.key); !ok || v != p.value {
			set.values = append(set.values, p)
		}
	}
	for _, p := range it.values {
		if _, ok := was.value(p.key); ok {
			continue
		}
		if v, ok := c.usual(was, p.key); ok {
			set.values = append(set.values, property{p.key, quoteValue(v), v})
		} else {
			c.differ("%q has %s=%s, which it had not; no command is known that undoes it", was.line(), p.key, p.text)
		}
	}
	c.put(set, was.line(), &c.sets)
}

// mostPut is how often the same line is sent.
const mostPut = 2

func (c *itemComparison) put(it *item, what string, into *[]string) {
	if len(it.values) == 0 {
		return
	}
	if c.turn("+"+it.line()) >= mostPut {
		c.differ("%q was there, and is not taken again", what)
		return
	}
	c.differ("%q was there", what)
	*into = append(*into, it.line())
}

// remove takes an entry off that was not there before. It is found by its properties; what
// else they would find stays.
func (c *itemComparison) remove(it *item, extra []*item) {
	what := it.line()
	find := c.find(it)
	same, others := 0, 0
	for _, o := range c.now {
		switch {
		case o.verb != verbAdd || o.menu != it.menu || slices.Contains(extra, o):
		case o.same() == it.same():
			same++
		case c.finds(it, o):
			others++
		}
	}
	switch {
	case find == "" || others > 0:
		c.differ("%q was not there; no command is known that removes it and nothing else", what)
		return
	case c.turn("-"+what) >= mostPut*len(extra):
		c.differ("%q was not there, and can't be removed", what)
		return
	}
	c.differ("%q was not there", what)
	line := fmt.Sprintf("%s remove [find where %s]", it.menu, find)
	if same > 0 { // the like of it was there before: of those the last one goes
		line = fmt.Sprintf("%s remove [:pick [%s find where %s] %d]", it.menu, it.menu, find, same)
	}
	if same > 0 || !slices.Contains(c.removes, line) {
		c.removes = append(c.removes, line)
	}
}

// sought are the properties by which an entry is found: those with one value, which is no
// secret.
func (c *itemComparison) sought(it *item) (all []property) {
	for _, p := range it.values {
		if p.key[0] != '!' && p.value != "" && !strings.ContainsAny(p.value, ",;") && !matches(c.unshown, p.key) && !strings.Contains(p.key, ".") {
			all = append(all, p)
		}
	}
	return all
}

func (c *itemComparison) find(it *item) string {
	var all []string
	for _, p := range c.sought(it) {
		all = append(all, p.key+"="+quoteValue(p.value))
	}
	return strings.Join(all, " and ")
}

// finds says whether what an entry is found by may find another one, too.
func (c *itemComparison) finds(it, other *item) bool {
	return !slices.ContainsFunc(c.sought(it), func(p property) bool {
		if v, ok := other.value(p.key); ok {
			return v != p.value
		}
		v, ok := c.usual(other, p.key)
		return !ok || v != p.value
	})
}

// settings compares what is always there.
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
		for _, p := range was.values {
			if v, ok := it.value(p.key); !ok || v != p.value {
				set.values = append(set.values, p)
			}
		}
		for _, p := range it.values {
			if _, ok := was.value(p.key); ok {
				continue
			}
			v, ok := c.usual(it, p.key)
			switch {
			case !ok:
				c.differ("%q was not there; what it was instead is not known", h+" "+p.key+"="+p.text)
			case v != p.value:
				set.values = append(set.values, property{p.key, quoteValue(v), v})
			}
		}
		c.put(set, set.line(), &c.sets)
	}
}

// add makes an entry again, in its place.
func (c *itemComparison) add(w *item) {
	again := *w
	if c.flatOf(w) != "" {
		if next := c.next(w); next != "" {
			again.values = append(slices.Clone(w.values), property{"place-before", "[find where " + next + "]", ""})
		}
	}
	c.put(&again, w.line(), &c.adds)
}

// next finds the entry that stands behind another one, of those that are there.
func (c *itemComparison) next(w *item) string {
	at := slices.Index(c.before, w)
	for _, o := range c.before[at+1:] {
		if o.menu != w.menu || o.verb != verbAdd {
			continue
		}
		if find := c.find(o); find != "" && c.only(o) && slices.ContainsFunc(c.now, func(n *item) bool { return n.same() == o.same() }) {
			return find
		}
	}
	return ""
}

// only says whether what an entry is found by finds no other one.
func (c *itemComparison) only(it *item) bool {
	n := 0
	for _, o := range c.now {
		if o.menu == it.menu && o.verb == verbAdd && c.finds(it, o) {
			n++
		}
	}
	return n <= 1
}

// order moves entries to their places, where nothing else differs any more.
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
			if len(has) != len(had) || has[i].same() == had[i].same() {
				continue
			}
			j := slices.IndexFunc(has[i:], func(o *item) bool { return o.same() == had[i].same() }) + i
			mine, other := c.find(has[j]), c.find(has[i])
			c.differ("the entries of %s are not in the order in which they were", m)
			if mine == "" || other == "" || !c.only(has[j]) || !c.only(has[i]) || c.turn("="+m+has[j].same()) >= mostPut {
				return
			}
			c.moves = append(c.moves, fmt.Sprintf("%s move [find where %s] destination=[find where %s]", has[j].menu, mine, other))
			moved := has[j]
			has = slices.Insert(slices.Delete(has, j, j+1), i, moved)
		}
	}
}

// accessItems is accessPath of a configuration in menus.
func (d *dialect) accessItems(config string, w Way) (lines []string) {
	items, _ := parseItems(config)
	mine := interfacesOf(items, w.address())
	for _, it := range items {
		if d.accessLine(it.line(), w, false) || it.concerns(mine) {
			lines = append(lines, it.line())
		}
	}
	return lines
}

// interfacesOf returns the interfaces that have an address.
func interfacesOf(items []*item, host netip.Addr) (names []string) {
	for _, it := range items {
		text, _ := it.value("address")
		word, _, _ := strings.Cut(text, "/")
		a, err := netip.ParseAddr(word)
		name, ok := it.value("interface")
		if host.IsValid() && err == nil && a == host && ok {
			names = append(names, name)
		}
	}
	return names
}

// concerns says whether a line is about one of some interfaces.
func (it *item) concerns(interfaces []string) bool {
	return slices.ContainsFunc(interfaces, func(name string) bool {
		return slices.ContainsFunc(it.values, func(p property) bool {
			return slices.Contains(strings.Split(p.value, ","), name) && (strings.Contains(p.key, "interface") || p.key == "name" || strings.Contains(p.key, "tagged"))
		}) || regexp.MustCompile(`[= ]"?`+regexp.QuoteMeta(name)+`"?( |$)`).MatchString(it.which)
	})
}

// changedItem is changedBlock of a configuration in menus.
func (d *dialect) changedItem(apply []string, running string, host netip.Addr) string {
	shown, _ := parseItems(running)
	mine := interfacesOf(shown, host)
	for _, l := range apply {
		items, _ := parseItems(l)
		if len(items) == 1 && items[0].concerns(mine) && len(d.missingItems([]string{l}, running)) > 0 {
			return l
		}
	}
	return ""
}

// restorableItems says why what a device shows of itself does not suffice.
func (d *dialect) restorableItems(plan *DevicePlan, running string) error {
	if why := d.incompleteItems(running); why != "" {
		return fmt.Errorf("%s: %s: %w", plan.Name, why, fault.Conflict)
	}
	return nil
}
