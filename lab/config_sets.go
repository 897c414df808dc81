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

// A setNode is a word of a configuration in lines of "set". All lines that begin with the same
// words go through the same node. The nodes under it are in the order in which the device
// shows them.
type setNode struct {
	word, text          string // without quotes, and as it is shown
	up                  *setNode
	under               []*setNode
	byWord              map[string]*setNode
	line                string // the line that ends here, or ""
	inactive, protected bool
	list                bool // its values were shown in one line, as in [ a b ]
}

// A setTree is a configuration in lines of "set".
type setTree struct {
	*setSyntax
	root  *setNode
	ends  []*setNode // the nodes at which the lines end, in the order of the lines
	other []string   // lines of unknown kinds
}

// The verbs of lines: those that a device shows, and those that undo them.
const (
	verbSet        = "set"
	verbDelete     = "delete"
	verbDeactivate = "deactivate"
	verbActivate   = "activate"
	verbProtect    = "protect"
	verbUnprotect  = "unprotect"
)

// A setSyntax has what differs between the platforms of this style.
type setSyntax struct {
	root      string         // the text before the path in each line, such as "/"
	marks     bool           // the device knows deactivate and protect
	shell     bool           // the lines are a shell's: words with special characters are in single quotes
	lists     bool           // the device shows several values in one line, as in [ a b ]
	braces    bool           // the form with braces may be written, too
	move      string         // the line that moves an object; "": the object is deleted and set again
	iface     *regexp.Regexp // matches the path of an interface
	group     *regexp.Regexp // matches the part of a path that names a group, whose lines are used elsewhere
	named     map[string]bool
	mayName   map[string]bool
	wordy     map[string]int
	objects   map[string]bool // words whose objects are in an order that counts
	sequences map[string]bool // words whose values are in an order that counts
}

// command returns the line of a verb and a path.
func (f *setSyntax) command(verb, path string) string {
	if f.root != "" && path != "" {
		path = f.root + " " + path
	}
	return strings.TrimRight(verb+" "+path, " ")
}

// split returns the verb of a line and its path. The root before a path may be missing, be a
// word of its own, or be joined with the first word.
func (f *setSyntax) split(words []string) (verb string, path []string) {
	verb, path = words[0], slices.Clone(words[1:])
	if f.root != "" && strings.HasPrefix(verb, f.root) {
		verb, path = verbSet, slices.Clone(words)
	}
	if len(path) > 0 && f.root != "" {
		if path[0] = strings.TrimPrefix(path[0], f.root); path[0] == "" {
			path = path[1:]
		}
	}
	for i := range path {
		path[i] = f.quoted(path[i])
	}
	return verb, path
}

// plainWord matches a word that has no special meaning in a shell.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9._:/,@%+=-]+$`)

// quoted returns a word in the form in which a shell takes it literally. A word in double
// quotes means the text between them.
func (f *setSyntax) quoted(text string) string {
	if !f.shell || text[0] != '"' && plainWord.MatchString(text) {
		return text
	}
	word := unquoted(text)
	if text[0] == '"' {
		word = strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(word)
	}
	return "'" + word + "'"
}

// undoes returns the verb that undoes the lines of a verb, or "" if there is none.
func (f *setSyntax) undoes(verb string) string {
	switch {
	case verb == verbSet:
		return verbDelete
	case verb == verbDeactivate && f.marks:
		return verbActivate
	case verb == verbProtect && f.marks:
		return verbUnprotect
	}
	return ""
}

// hiddenSecret matches what a device shows in place of a secret to users who may not see it.
var hiddenSecret = regexp.MustCompile(`/\* SECRET-DATA \*/|<SECRET-DATA>`)

// parseSets reads what a device shows, without comments and the like.
func (d *dialect) parseSets(text string) *setTree {
	t := &setTree{setSyntax: &d.sets, root: &setNode{}}
	for raw := range strings.Lines(text) {
		line := strings.TrimSpace(raw)
		if line == "" || line[0] == '#' || matches(d.volatile, line) {
			continue
		}
		words, err := setWords(line)
		if err != nil || len(words) < 2 {
			t.other = append(t.other, line)
			continue
		}
		verb, path := d.sets.split(words)
		if len(path) == 0 || d.sets.undoes(verb) == "" {
			t.other = append(t.other, line)
			continue
		}
		head, values := setValues(path)
		if len(values) == 0 {
			t.add(verb, head)
			continue
		}
		for _, v := range values {
			t.add(verb, append(slices.Clone(head), v)).up.list = true
		}
	}
	return t
}

// add adds a line, and returns the node at which the line ends.
func (t *setTree) add(verb string, path []string) *setNode {
	n := t.root
	for _, text := range path {
		n = n.child(text)
	}
	switch verb {
	case verbSet:
		if n.line == "" {
			n.line = t.command(verbSet, n.path())
			t.ends = append(t.ends, n)
		}
	case verbDeactivate:
		n.inactive = true
	case verbProtect:
		n.protected = true
	}
	return n
}

func (n *setNode) child(text string) *setNode {
	word := unquoted(text)
	if c := n.byWord[word]; c != nil {
		return c
	}
	c := &setNode{word: word, text: text, up: n}
	if n.byWord == nil {
		n.byWord = map[string]*setNode{}
	}
	n.byWord[word] = c
	n.under = append(n.under, c)
	return c
}

// path returns the words that lead to a node, as the device shows them.
func (n *setNode) path() string {
	if n.up == nil || n.up.up == nil {
		return n.text
	}
	return n.up.path() + " " + n.text
}

// at returns the node of this tree at the path of another tree's node, or nil.
func (n *setNode) at(other *setNode) *setNode {
	if other.up == nil {
		return n
	}
	if p := n.at(other.up); p != nil {
		return p.byWord[other.word]
	}
	return nil
}

// depth returns the number of words that lead to a node.
func (n *setNode) depth() (d int) {
	for ; n.up != nil; n = n.up {
		d++
	}
	return d
}

// within reports whether the path of a node, of this tree or another one, is the path of the
// other node or begins with it.
func (n *setNode) within(other *setNode) bool {
	for d := n.depth() - other.depth(); d > 0; d-- {
		n = n.up
	}
	for n.up != nil && other.up != nil && n.word == other.word {
		n, other = n.up, other.up
	}
	return n.up == nil && other.up == nil
}

// each calls do for a node and, if that returns true, for the nodes under it, in order.
func (n *setNode) each(do func(*setNode) bool) {
	if do(n) {
		for _, c := range n.under {
			c.each(do)
		}
	}
}

// lines returns the lines of "set" of a node and of the nodes under it.
func (n *setNode) lines() (all []string) {
	n.each(func(c *setNode) bool {
		if c.line != "" {
			all = append(all, c.line)
		}
		return true
	})
	return all
}

var setWord = regexp.MustCompile(`^(?:"(?:[^"\\]|\\.)*"|'[^']*'|[^\s"'][^\s"]*)+`)

// setWords returns the words of a line, with their quotes. Words behind "##" are remarks of
// the device, and are left out.
func setWords(line string) (words []string, err error) {
	for rest := strings.TrimSpace(line); rest != "" && !strings.HasPrefix(rest, "##"); rest = strings.TrimLeft(rest, " \t") {
		w := setWord.FindString(rest)
		if w == "" {
			return nil, errors.New("has a quote without an end")
		}
		words = append(words, w)
		rest = rest[len(w):]
	}
	return words, nil
}

func unquoted(text string) string {
	if len(text) >= 2 && (text[0] == '"' || text[0] == '\'') && text[len(text)-1] == text[0] {
		return text[1 : len(text)-1]
	}
	return text
}

// setValues divides a path with several values, as in "members [ a b ]", into the words before
// the values and the values. Of another path it returns all words.
func setValues(path []string) (head, values []string) {
	open := slices.Index(path, "[")
	if open < 1 || open > len(path)-3 || path[len(path)-1] != "]" {
		return path, nil
	}
	return path[:open], path[open+1 : len(path)-1]
}

// planSets makes a plan for a startup-config in lines of "set".
func (d *dialect) planSets(n *topology.Node, where func(int) string) (p nodePlan, err error) {
	lines := strings.Split(n.Config, "\n")
	if first := strings.TrimSpace(n.Config); strings.HasPrefix(first, "{") || strings.HasPrefix(first, "[") {
		return p, fmt.Errorf("%s: is JSON, which no command line accepts; write lines of set, as %q shows them", where(1), d.running)
	}
	if d.sets.braces {
		if lines, err = flattened(lines, d.sets.command(verbSet, "")); err != nil {
			return p, fmt.Errorf("%s: %w", where(len(lines)), err)
		}
	}
	var errs []error
	for i, raw := range lines {
		for line := range strings.Lines(raw) {
			if err := d.planSet(&p, strings.TrimSpace(line)); err != nil {
				errs = append(errs, fmt.Errorf("%s: %.80q: %w", where(i+1), strings.TrimSpace(line), err))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nodePlan{}, err
	}
	if d.sets.lists {
		p.undo = d.deletesOfAll(p.apply)
	}
	p.unverified = d.unverifiedSets(p.apply)
	p.notices = d.orderNotices(n.Name, p.apply)
	return p, nil
}

// deletesOfAll returns the lines that delete each line, beginning with the last one. A word
// with one value is deleted without the value.
func (d *dialect) deletesOfAll(lines []string) (all []string) {
	for _, n := range slices.Backward(d.parseSets(strings.Join(lines, "\n")).ends) {
		isValue := len(n.under) == 0 && n.up.up != nil && !d.sets.isName(n) && !d.sets.isName(n.up)
		if isValue && !n.up.list {
			n = n.up
		}
		if l := d.sets.command(verbDelete, n.path()); !slices.Contains(all, l) {
			all = append(all, l)
		}
	}
	return all
}

// planSet adds a line to a plan.
func (d *dialect) planSet(p *nodePlan, line string) error {
	if line == "" || line[0] == '#' || matches(d.volatile, line) {
		return nil
	}
	words, err := setWords(line)
	if err == nil {
		err = d.setRefused(words)
	}
	if err != nil {
		return err
	}
	verb, path := d.sets.split(words)
	paths := []string{strings.Join(path, " ")}
	if head, values := setValues(path); len(values) > 0 && !d.sets.lists {
		paths = nil
		for _, v := range values {
			paths = append(paths, strings.Join(head, " ")+" "+v)
		}
	}
	for _, path := range paths {
		if l := d.sets.command(verb, path); !slices.Contains(p.apply, l) {
			p.apply = append(p.apply, l)
			p.undo = append([]string{d.sets.command(d.sets.undoes(verb), path)}, p.undo...)
		}
	}
	return nil
}

// flattened turns the form with braces into lines of "set". Each element of the result is the
// text for one line of the input, so that faults name its number.
func flattened(lines []string, set string) ([]string, error) {
	out := slices.Clone(lines)
	type level struct {
		path  string
		empty bool
		list  bool // it is in brackets, and has values
	}
	var in []level
	for i, raw := range lines {
		line := strings.TrimSuffix(strings.TrimSpace(raw), ";")
		open := strings.HasSuffix(line, " {")
		switch {
		case len(in) == 0 && !open: // already a line of "set"
			continue
		case line == "" || line[0] == '#':
			out[i] = ""
			continue
		case line == "}" || line == "]":
			last := in[len(in)-1]
			if last.list != (line == "]") {
				return lines[:i+1], fmt.Errorf("%s closes a block that is not open", line)
			}
			in = in[:len(in)-1]
			out[i] = ifElse(last.empty && !last.list, set+last.path, "")
			continue
		}
		path := ""
		if len(in) > 0 {
			in[len(in)-1].empty = false
			path = in[len(in)-1].path
		}
		if open || strings.HasSuffix(line, " [") {
			in = append(in, level{path + " " + strings.TrimSpace(line[:len(line)-2]), true, !open})
			out[i] = ""
			continue
		}
		out[i] = set + path + " " + line
	}
	if len(in) > 0 {
		return lines, errors.New("has a brace or a bracket that is not closed")
	}
	return out, nil
}

// maxNamed is how many objects a notice names.
const maxNamed = 5

// orderNotices returns notices of the objects in a startup-config whose order counts.
func (d *dialect) orderNotices(node string, lines []string) (notices []string) {
	var moved, replaced []string
	d.parseSets(strings.Join(lines, "\n")).root.each(func(n *setNode) bool {
		if d.sets.orderCounts(n) {
			if d.sets.objects[n.word] && d.sets.move != "" {
				moved = append(moved, n.path())
			} else {
				replaced = append(replaced, n.path())
			}
		}
		return true
	})
	say := func(paths []string, how string) {
		if len(paths) > 0 {
			more := ifElse(len(paths) > maxNamed, fmt.Sprintf(" and %d more", len(paths)-maxNamed), "")
			notices = append(notices, fmt.Sprintf("%s: startup-config: the order of what is under %q%s counts: if the device has it already, and it comes into another order, erasing %s, in one commit",
				node, paths[:min(len(paths), maxNamed)], more, how))
		}
	}
	say(moved, "moves it back")
	say(replaced, "deletes it and sets it again")
	return notices
}

func firstWord(l string) string {
	first, _, _ := strings.Cut(l, " ")
	return first
}

func afterWord(l string) string {
	_, rest, _ := strings.Cut(l, " ")
	return rest
}

// edits are verbs that change an existing configuration.
var edits = setOf("delete activate unprotect insert rename replace copy wildcard load rollback")

// setRefused returns why a line of a startup-config is refused.
func (d *dialect) setRefused(words []string) error {
	line := strings.Join(words, " ")
	verb, path := d.sets.split(words)
	for _, r := range d.refused {
		if r.line.MatchString(line) {
			return errors.New(r.why)
		}
	}
	if _, err := setWords(strings.Join(path, " ")); err != nil { // the root was joined with a quote
		return err
	}
	form := fmt.Sprintf("%s ...", d.sets.command(verbSet, "system"))
	if d.sets.marks {
		form += ", deactivate ... or protect ..."
	}
	switch {
	case strings.HasSuffix(line, "{"), strings.HasSuffix(line, ";"), strings.HasSuffix(line, "}"), strings.HasPrefix(line, "/*"):
		return fmt.Errorf("is in the form with braces; write lines as in %s, as %q shows them", form, d.running)
	case edits[verb]:
		return fmt.Errorf("a startup-config only adds to a device's configuration; %s is not supported. Lines are as in %s, as %q shows them", verb, form, d.running)
	case d.sets.undoes(verb) == "" || len(path) == 0:
		return fmt.Errorf("is not a line as in %s; write it as %q shows it", form, d.running)
	case hiddenSecret.MatchString(line):
		return errors.New("has no secret: it was shown to a user who may not see secrets")
	case d.sets.shell && slices.ContainsFunc(path, func(w string) bool { return strings.Contains(strings.Trim(w, "'"), "'") }):
		return errors.New("has a single quote in a value, which the device does not accept")
	case slices.Contains(words, "|"):
		return errors.New("has a | that is not in quotes: the device would take what follows for a filter of its answer")
	}
	return nil
}

// missingSets returns the lines that a running configuration does not have. A line is missing
// if the configuration has no line that begins with it; if the line there is inactive, itself
// or by a node above it, and the wanted one is not; or if it is in a list whose order counts,
// and the order differs. If a device encrypts a secret in its own way, only the words before
// the secret are compared.
func (d *dialect) missingSets(lines []string, running string) (lacking []string) {
	want, has := d.parseSets(strings.Join(lines, "\n")), d.parseSets(running)
	want.root.each(func(w *setNode) bool {
		n := has.root.at(w)
		seen := n // the part of the line that is compared
		if matches(d.unshown, w.line) {
			if seen = has.root.at(w.up); seen != nil && len(seen.under) == 0 {
				seen = nil
			}
		}
		switch {
		case w.line == "":
		case seen == nil:
			lacking = append(lacking, w.line)
		case w.turnedOff() == nil && seen.turnedOff() != nil:
			lacking = append(lacking, fmt.Sprintf("%s (it is inactive: deactivate %s)", w.line, seen.turnedOff().path()))
		}
		if w.inactive && (n == nil || !n.inactive) {
			lacking = append(lacking, verbDeactivate+" "+w.path())
		}
		if w.protected && (n == nil || !n.protected) {
			lacking = append(lacking, verbProtect+" "+w.path())
		}
		if n != nil && d.sets.orderCounts(w) && !slices.Equal(common(w, n), common(n, w)) {
			lacking = append(lacking, fmt.Sprintf("%s %s, as in the startup-config", w.path(), strings.Join(common(w, n), ", ")))
		}
		return true
	})
	return append(lacking, want.other...)
}

// common returns the words that are under both nodes, in the order of the first.
func common(n, other *setNode) (words []string) {
	for _, c := range n.under {
		if other.byWord[c.word] != nil {
			words = append(words, c.word)
		}
	}
	return words
}

// turnedOff returns the inactive node at or above a node, or nil.
func (n *setNode) turnedOff() *setNode {
	for ; n != nil; n = n.up {
		if n.inactive {
			return n
		}
	}
	return nil
}

// unverifiedSets returns the lines whose last word the device shows in another form, so that
// it can't be compared.
func (d *dialect) unverifiedSets(lines []string) (all []string) {
	for _, l := range lines {
		if matches(d.unshown, l) {
			all = append(all, l)
		}
	}
	return all
}

// deletesAgain reports whether a line deletes what another line sets again. If that line is
// refused, nothing may be deleted.
func deletesAgain(line, set string) bool {
	return firstWord(line) == "delete" && firstWord(set) == verbSet && strings.HasPrefix(afterWord(set)+" ", afterWord(line)+" ")
}

// anySets matches a line that every device has.
var anySets = regexp.MustCompile(`(?m)^\s*set \S`)

// restorableSets returns an error if the device does not show enough of its configuration to
// restore it after a plan.
func (d *dialect) restorableSets(plan *DevicePlan, running string) error {
	if !anySets.MatchString(running) {
		return fmt.Errorf("%s: %q shows no configuration; its user needs the permission to see it: %w", plan.Name, d.running, fault.Conflict)
	}
	changes := d.parseSets(strings.Join(plan.Apply, "\n"))
	for _, n := range d.parseSets(running).ends {
		if !hiddenSecret.MatchString(n.line) {
			continue
		}
		for !strings.HasPrefix(n.word, "/*") && !strings.HasPrefix(n.word, "<") {
			n = n.up
		}
		if c := changes.root.at(n.up); c != nil && len(c.lines()) > 0 {
			return fmt.Errorf("%s: has a secret that it does not show to its user, which the startup-config would change by %q, and which could not be set again; leave that line out, or give the user the permission to see secrets: %w",
				plan.Name, c.lines()[0], fault.Conflict)
		}
	}
	return nil
}
