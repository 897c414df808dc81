package lab

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"activationd/internal/fault"
)

// A setNode is a word of a configuration that is shown as lines of "set": all lines that
// begin with the same words go through it. What stands under a node is in the order in
// which the device shows it.
type setNode struct {
	word, text          string // without its quotes, and as it is shown
	up                  *setNode
	under               []*setNode
	byWord              map[string]*setNode
	line                string // the line that ends here, or ""
	inactive, protected bool
}

// A setTree is such a configuration.
type setTree struct {
	root  *setNode
	ends  []*setNode // where its lines of "set" end, in their order
	other []string   // lines that are of no known kind
}

// setVerbs are the kinds of lines that a device shows.
const (
	verbSet        = "set"
	verbDeactivate = "deactivate"
	verbProtect    = "protect"
)

// hiddenSecret is what is shown instead of a secret to users who may not see it.
var hiddenSecret = regexp.MustCompile(`/\* SECRET-DATA \*/|<SECRET-DATA>`)

// parseSets reads what a device shows, without the lines that say nothing.
func (d *dialect) parseSets(text string) *setTree {
	t := &setTree{root: &setNode{}}
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
		for _, path := range setPaths(words[1:]) {
			if !t.add(words[0], path) {
				t.other = append(t.other, line)
			}
		}
	}
	return t
}

// add takes a line in. It reports whether its verb is known.
func (t *setTree) add(verb string, path []string) bool {
	if verb != verbSet && verb != verbDeactivate && verb != verbProtect {
		return false
	}
	n := t.root
	for _, text := range path {
		n = n.child(text)
	}
	switch verb {
	case verbSet:
		if n.line == "" {
			n.line = verbSet + " " + n.path()
			t.ends = append(t.ends, n)
		}
	case verbDeactivate:
		n.inactive = true
	case verbProtect:
		n.protected = true
	}
	return true
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

// path are the words that lead to a node, as the device shows them.
func (n *setNode) path() string {
	if n.up == nil || n.up.up == nil {
		return n.text
	}
	return n.up.path() + " " + n.text
}

// at returns the node at which another tree's node would be, or nil.
func (n *setNode) at(other *setNode) *setNode {
	if other.up == nil {
		return n
	}
	if p := n.at(other.up); p != nil {
		return p.byWord[other.word]
	}
	return nil
}

// depth is how many words lead to a node.
func (n *setNode) depth() (d int) {
	for ; n.up != nil; n = n.up {
		d++
	}
	return d
}

// within says whether the words that lead to a node, of the same tree or another one, are
// those of an other node, or begin with them.
func (n *setNode) within(other *setNode) bool {
	for d := n.depth() - other.depth(); d > 0; d-- {
		n = n.up
	}
	for n.up != nil && other.up != nil && n.word == other.word {
		n, other = n.up, other.up
	}
	return n.up == nil && other.up == nil
}

// each calls do with a node and all under it, in order, but for those under a node for
// which it returns false.
func (n *setNode) each(do func(*setNode) bool) {
	if do(n) {
		for _, c := range n.under {
			c.each(do)
		}
	}
}

// lines returns the lines of "set" of a node and of what is under it.
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

// setWords returns the words of a line, with their quotes. What the device says about
// the line behind "##" is none.
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

// setPaths returns the lines' words of a line that gives several values at once, as in
// "members [ a b ]": a device shows a line for each.
func setPaths(words []string) [][]string {
	open := slices.Index(words, "[")
	if open < 0 || words[len(words)-1] != "]" {
		return [][]string{words}
	}
	var all [][]string
	for _, w := range words[open+1 : len(words)-1] {
		all = append(all, append(slices.Clone(words[:open]), w))
	}
	return all
}

// planSets makes a plan of a startup-config of "set" lines.
func (d *dialect) planSets(n *Node, where func(int) string) (p nodePlan, err error) {
	var errs []error
	number := 0
	for raw := range strings.Lines(n.Config) {
		number++
		line := strings.TrimSpace(raw)
		if line == "" || line[0] == '#' || matches(d.volatile, line) {
			continue
		}
		words, err := setWords(line)
		if err == nil {
			err = setRefused(words)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %.80q: %w", where(number), line, err))
			continue
		}
		for _, path := range setPaths(words[1:]) {
			if l := words[0] + " " + strings.Join(path, " "); !slices.Contains(p.apply, l) {
				p.apply = append(p.apply, l)
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nodePlan{}, err
	}
	for _, l := range slices.Backward(p.apply) {
		p.undo = append(p.undo, setInverses[firstWord(l)]+" "+afterWord(l))
	}
	p.unverified = d.unverifiedSets(p.apply)
	p.notices = d.orderNotices(n.Name, p.apply)
	return p, nil
}

// mostNamed is how many objects a notice names.
const mostNamed = 5

// orderNotices says of what in a startup-config the order counts.
func (d *dialect) orderNotices(node string, lines []string) (notices []string) {
	var moved, replaced []string
	d.parseSets(strings.Join(lines, "\n")).root.each(func(n *setNode) bool {
		if orderCounts(n) {
			if orderedObjects[n.word] {
				moved = append(moved, n.path())
			} else {
				replaced = append(replaced, n.path())
			}
		}
		return true
	})
	say := func(paths []string, how string) {
		if len(paths) > 0 {
			more := ifElse(len(paths) > mostNamed, fmt.Sprintf(" and %d more", len(paths)-mostNamed), "")
			notices = append(notices, fmt.Sprintf("%s: startup-config: the order of what stands under %q%s counts: if the device has it already, and it comes into another order, undoing %s, in one commit",
				node, paths[:min(len(paths), mostNamed)], more, how))
		}
	}
	say(moved, "moves it back by \"insert\"")
	say(replaced, "deletes it and sets it again")
	return notices
}

// setInverses are what undoes each kind of line, if it did anything.
var setInverses = map[string]string{verbSet: "delete", verbDeactivate: "activate", verbProtect: "unprotect"}

func firstWord(l string) string {
	first, _, _ := strings.Cut(l, " ")
	return first
}

func afterWord(l string) string {
	_, rest, _ := strings.Cut(l, " ")
	return rest
}

// setRefused says why a line of a startup-config can't be taken.
func setRefused(words []string) error {
	line := strings.Join(words, " ")
	last := words[len(words)-1]
	switch {
	case strings.HasSuffix(line, "{"), strings.HasSuffix(line, ";"), strings.HasSuffix(line, "}"), strings.HasPrefix(line, "/*"):
		return errors.New(`is of the form with braces; write lines of set, deactivate and protect, as "show configuration | display set" does`)
	case slices.Contains([]string{"delete", "activate", "unprotect", "insert", "rename", "replace", "copy", "wildcard", "load", "rollback"}, words[0]):
		return fmt.Errorf(`a startup-config says what is added to a device's configuration; %s is not supported. Lines are set ..., deactivate ... or protect ..., as in "show configuration | display set"`, words[0])
	case setInverses[words[0]] == "" || len(words) < 2:
		return errors.New(`is not a line as in set system ..., deactivate ... or protect ...; write it as "show configuration | display set" does`)
	case hiddenSecret.MatchString(line):
		return errors.New("has no secret in it: it was shown to a user who may not see secrets")
	case last == "plain-text-password":
		return errors.New(`lets the device ask for a password; write encrypted-password "$6$..." as the device shows it`)
	case slices.Contains(words, "plain-text-password-value"):
		return errors.New(`is shown by the device as encrypted-password, with salt, and can't be verified; write encrypted-password "$6$..." as the device shows it`)
	case slices.Contains(words, "load-key-file"):
		return errors.New("lets the device read another file, and is not shown by it; write the keys as the device shows them")
	case slices.Contains(words, "|"):
		return errors.New("has a | that is not in quotes: the device would take what follows for a filter of its answer")
	}
	return nil
}

// missingSets returns what of the lines is not in a running configuration: lines of
// which it shows neither the words nor more that begins with them; lines that are
// inactive, or stand under what is, unless they say so themselves; and the lists of
// which the order counts and is another one. Of secrets that a device encrypts in its own
// way only the words before them are compared.
func (d *dialect) missingSets(lines []string, running string) (lacking []string) {
	want, has := d.parseSets(strings.Join(lines, "\n")), d.parseSets(running)
	want.root.each(func(w *setNode) bool {
		n := has.root.at(w)
		seen := n // what of the line is compared
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
		if n != nil && orderCounts(w) && !slices.Equal(common(w, n), common(n, w)) {
			lacking = append(lacking, fmt.Sprintf("%s %s, as in the startup-config", w.path(), strings.Join(common(w, n), ", ")))
		}
		return true
	})
	return append(lacking, want.other...)
}

// common returns the words under one node that are under the other, too, in its order.
func common(n, other *setNode) (words []string) {
	for _, c := range n.under {
		if other.byWord[c.word] != nil {
			words = append(words, c.word)
		}
	}
	return words
}

// turnedOff returns the node that makes another one inactive, which may be itself.
func (n *setNode) turnedOff() *setNode {
	for ; n != nil; n = n.up {
		if n.inactive {
			return n
		}
	}
	return nil
}

// unverifiedSets returns the lines of which the device shows the last word in another
// form than it was given, so that it can't be compared.
func (d *dialect) unverifiedSets(lines []string) (all []string) {
	for _, l := range lines {
		if matches(d.unshown, l) {
			all = append(all, l)
		}
	}
	return all
}

// deletesAgain says whether a line deletes what another one sets again: if that one is
// refused, nothing may be deleted either.
func deletesAgain(line, set string) bool {
	return firstWord(line) == "delete" && firstWord(set) == verbSet && strings.HasPrefix(afterWord(set)+" ", afterWord(line)+" ")
}

// anySets matches a line that every device has.
var anySets = regexp.MustCompile(`(?m)^\s*set \S`)

// restorableSets says why what a device shows of itself does not suffice to make it the
// same again after a plan.
func (d *dialect) restorableSets(plan *DevicePlan, running string) error {
	if !anySets.MatchString(running) {
		return fmt.Errorf("%s: %q shows no configuration; its user needs the right to see it: %w", plan.Name, d.running, fault.Conflict)
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
			return fmt.Errorf("%s: has a secret which it does not show to its user, which the startup-config would change by %q, and which could not be set again; leave that line out, or give the user the permission to see secrets: %w",
				plan.Name, c.lines()[0], fault.Conflict)
		}
	}
	return nil
}
