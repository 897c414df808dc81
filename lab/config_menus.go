package lab

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"activationd/internal/fault"
	"activationd/topology"
)

// An item is a line of a configuration in menus, as RouterOS has them: "add" makes an entry of
// a menu, and "set" changes an entry or a setting that always exists.
type item struct {
	menu   string // as in "/ip address"
	verb   string // add or set
	which  string // for set: the entry, as in "[ find default-name=ether1 ]"; "" if there is only one
	values []property
	number int // of the line, from 1
}

// A property is a key with its value, as it was written and as it is compared.
type property struct{ key, text, value string }

// A menuFault is a line that can't be read as an item.
type menuFault struct {
	number    int
	line, why string
}

const (
	verbAdd = "add"
	noVerb  = "" // the verb of a line that only names a menu
)

// menuVerbs are the words that can follow the name of a menu.
var menuVerbs = setOf("add set remove unset reset enable disable move comment edit find get print export import run monitor")

// menuFlags are properties that RouterOS shows without a value.
var menuFlags = setOf("blackhole fib no-summaries passive ptp")

// parseItems reads the lines of /export, in the long or the terse form. A line that ends with
// \ continues in the next one.
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

// parseItem reads a line in a menu. A line that only names a menu has no verb.
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
				return nil, "", fmt.Errorf("has something other than properties behind %s", it.verb)
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
		case !has && w[0] == '!': // the property must not exist
			key = w
		case !has && it.verb == verbAdd && menuFlags[w]:
			key = w
		case !has:
			return nil, "", fmt.Errorf("has %q, which is not a property", w)
		}
		if strings.HasPrefix(key, ".") { // the previous key with another last word
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

// menuWords divides a line into words. Text in quotes or brackets is part of a word.
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
			return nil, errors.New("has a ; that is not in quotes: write each command on a line of its own")
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

// which returns the entry that a set names, in one form.
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

// plainValue returns a value without its quotes.
func plainValue(text string) string {
	if len(text) < 2 || text[0] != '"' || text[len(text)-1] != '"' {
		return text
	}
	var b strings.Builder
	for i := 1; i < len(text)-1; i++ {
		if text[i] == '\\' && strings.IndexByte(`"\$?_`, text[i+1]) >= 0 {
			i++
			if text[i] == '_' { // a blank where a long line was folded
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

// head returns a line without its properties.
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

// identity returns the same text for lines with the same meaning.
func (it *item) identity() string {
	var all []string
	for _, p := range it.values {
		all = append(all, p.key+"="+p.value)
	}
	slices.Sort(all)
	return it.head() + "\n" + strings.Join(all, "\n")
}

// defaults are the values of properties that the device does not show.
type defaults struct {
	line   *regexp.Regexp // matches a line without its properties
	values map[string]string
}

// usual returns the value of a property that is not shown, if that is known.
func (d *dialect) usual(it *item, key string) (string, bool) {
	for _, u := range d.defaults {
		if v, ok := u.values[key]; ok && u.line.MatchString(it.head()) {
			return v, true
		}
	}
	return "", false
}

// has reports whether an item has a property with a value, shown or by default.
func (d *dialect) has(it *item, p property) bool {
	if v, ok := it.value(p.key); ok {
		return v == p.value
	}
	v, ok := d.usual(it, p.key)
	return ok && v == p.value
}

// planItems makes a plan for a startup-config in menus.
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
	p.undo, _ = d.differenceOfItems(strings.Join(p.apply, "\n"), "", attempts{})
	slices.Sort(p.notices)
	p.notices = slices.Compact(p.notices)
	return p, nil
}

// itemRefused returns why a line of a startup-config is refused, or "".
func (d *dialect) itemRefused(it *item) string {
	for _, r := range d.refused {
		if r.line.MatchString(it.line()) {
			return r.why
		}
	}
	switch {
	case it.verb != verbAdd && it.verb != verbSet:
		return fmt.Sprintf("a startup-config only adds to a device's configuration, by add and set, as %q shows it; %s is not supported", d.running, it.verb)
	case strings.Contains(strings.ReplaceAll(it.line(), `\$`, ""), "$"):
		return `has a $, which the device would take for a variable; write \$ in quotes`
	case it.verb == verbAdd:
		return ""
	}
	for _, p := range it.values {
		if _, ok := d.usual(it, p.key); !ok {
			return fmt.Sprintf("the device may not show the previous value of %s, so it could not be restored", p.key)
		}
	}
	return ""
}

// flatOf returns the menu of an item if the order of the menu's entries counts.
func (d *dialect) flatOf(it *item) string {
	if it.verb != verbAdd {
		return ""
	}
	_, name := d.orderOf(it.line())
	return name
}

// missingItems returns the lines that a running configuration does not have. An entry there
// may have more properties, as the device shows some of its own.
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
			have = append(have, &item{menu: w.menu, verb: w.verb, which: w.which}) // every property has its default
		}
		seen := func(it *item) bool {
			off, _ := it.value("disabled")
			if _, said := w.value("disabled"); off == "yes" && !said && w.verb == verbAdd {
				return false
			}
			return !slices.ContainsFunc(w.values, func(p property) bool { return !matches(d.unshown, p.key) && !d.has(it, p) })
		}
		if w.verb == verbSet && len(have) > 1 {
			have = have[:1] // the shown one counts
		}
		if !slices.ContainsFunc(have, seen) {
			lacking = append(lacking, w.line())
		}
	}
	return lacking
}

// unexported matches the line by which a device says, in the middle of its configuration, that
// a part is missing.
var unexported = regexp.MustCompile(`(?m)^\s*#\s*error exporting.*$`)

// incompleteItems returns why what a device shows is not its whole configuration, or "".
func (d *dialect) incompleteItems(running string) string {
	_, faults := parseItems(running)
	lines := strings.Split(strings.TrimSpace(running), "\n")
	switch last := strings.TrimSpace(lines[len(lines)-1]); {
	case unexported.MatchString(running):
		return "the device says: " + strings.TrimSpace(unexported.FindString(running))
	case len(faults) > 0:
		return fmt.Sprintf("the device shows %.120q: %s", faults[0].line, faults[0].why)
	case last == "" || d.lastLine != nil && !d.lastLine.MatchString(last):
		return "the device showed no configuration"
	}
	return ""
}

// restorableItems returns an error if the device does not show its whole configuration.
func (d *dialect) restorableItems(plan *DevicePlan, running string) error {
	if why := d.incompleteItems(running); why != "" {
		return fmt.Errorf("%s: %s: %w", plan.Name, why, fault.Conflict)
	}
	return nil
}
