package lab

import (
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"
)

// junosSchemaText is a small part of what Junos knows. A word is a container; "!" one
// that is shown when it is empty; "=" a value; "." a word alone, of those with the same
// letter only one; "*" values, whose order is kept; "#" objects with names behind the
// word, "#3" with three words as names; "@" objects with names alone. Those with an "s"
// are shown sorted, all others as they came.
const junosSchemaText = `
groups
  name @
    system
      location =
    interfaces
      name @
        mtu =
apply-groups *
system
  host-name =
  time-zone =
  authentication-order *
  root-authentication
    encrypted-password =
  name-server *
  login
    user #
      class =
      authentication
        encrypted-password =
  services
    ssh !
      root-login =
    telnet !
    netconf
      ssh !
interfaces
  name @s
    disable .
    description =
    mtu =
    unit #
      description =
      family
        inet !
          mtu =
          filter
            input =
          address #
            primary .
        inet6 !
          address #
        ethernet-switching !
          interface-mode =
          vlan
            members *
policy-options
  prefix-list #s
    name @s
  policy-statement #s
    term #
      from
        protocol *
        route-filter #2
      then
        metric =
        accept .a
        reject .a
firewall
  family
    inet
      filter #
        term #
          from
            protocol *
            source-address #
          then
            count =
            accept .a
            discard .a
protocols
  bgp
    group #
      type =
      import *
      neighbor #
        peer-as =
        authentication-key =
  ospf
    area #
      interface #
        metric =
        disable .
security
  policies
    from-zone #3
      policy #
        match
          source-address *
        then
          permit .a
          deny .a
  nat
    source
      rule-set #
        rule #
          match
            source-address *
          then
            source-nat
              interface .
vlans
  name @s
    vlan-id =
    description =
`

type junosSchema struct {
	word, kind, choice string
	names, place       int
	sorted             bool
	under              []*junosSchema
}

func junosSchemaOf(text string) *junosSchema {
	root := &junosSchema{}
	stack := []*junosSchema{root}
	for l := range strings.Lines(text) {
		f := strings.Fields(l)
		if len(f) == 0 {
			continue
		}
		depth := indentOf(l) / 2
		s := &junosSchema{word: f[0]}
		if len(f) > 1 {
			s.kind, s.choice = f[1][:1], strings.Trim(f[1][1:], "s23")
			s.sorted = strings.HasSuffix(f[1], "s")
			s.names = 1
			if n := strings.Trim(f[1][1:], "sa"); n != "" {
				s.names = int(n[0] - '0')
			}
		}
		up := stack[depth]
		s.place = len(up.under)
		up.under = append(up.under, s)
		stack = append(stack[:depth+1], s)
	}
	return root
}

// A junosNode is a statement: a container, an object with its name, or a value.
type junosNode struct {
	s                   *junosSchema
	name                string // of an object, or one of several values
	value               string
	under               []*junosNode
	inactive, protected bool
}

func (n *junosNode) clone() *junosNode {
	c := *n
	c.under = nil
	for _, u := range n.under {
		c.under = append(c.under, u.clone())
	}
	return &c
}

// A junosTree is a Junos as far as its configuration goes: what is typed changes a
// candidate, of which nothing is valid before it is committed.
type junosTree struct {
	candidate, committed *junosNode
}

var junosRoot = junosSchemaOf(junosSchemaText)

func newJunosTree() *junosTree {
	return &junosTree{candidate: &junosNode{s: junosRoot}, committed: &junosNode{s: junosRoot}}
}

const (
	junosSyntax    = "syntax error."
	junosMissing   = "missing argument."
	junosNotFound  = "warning: statement not found"
	junosProtected = "warning: it is protected, and was not changed"
)

// A junosStep is one of those that lead to a statement.
type junosStep struct {
	s           *junosSchema
	name, value string
	bare        bool // the word alone, without a name or a value
}

func junosPath(s *junosSchema, words []string) (steps []junosStep, said string) {
	for i := 0; i < len(words); {
		at := slices.IndexFunc(s.under, func(u *junosSchema) bool { return u.kind != "@" && u.word == words[i] })
		if at < 0 {
			at = slices.IndexFunc(s.under, func(u *junosSchema) bool { return u.kind == "@" })
			if at < 0 {
				return nil, junosSyntax
			}
			i-- // the name is no second word
		}
		s = s.under[at]
		i++
		step := junosStep{s: s}
		switch s.kind {
		case "", "!", ".":
		default:
			switch left := len(words) - i; {
			case left == 0:
				step.bare = true
			case left < s.names:
				return nil, junosMissing
			case s.kind == "=":
				step.value = unquoted(words[i])
				i++
			default:
				step.name = strings.Join(words[i:i+s.names], " ")
				i += s.names
			}
		}
		steps = append(steps, step)
	}
	return steps, ""
}

func (n *junosNode) find(s *junosSchema, name string) *junosNode {
	i := slices.IndexFunc(n.under, func(u *junosNode) bool { return u.s == s && u.name == name })
	if i < 0 {
		return nil
	}
	return n.under[i]
}

// guarded reports whether something on the way is protected.
func (n *junosNode) guarded(steps []junosStep) bool {
	for _, st := range steps {
		if n = n.find(st.s, st.name); n == nil {
			return false
		}
		if n.protected {
			return true
		}
	}
	return false
}

// do takes a line in configuration mode and returns what the device says to it.
func (m *junosTree) do(line string) string {
	words, err := setWords(line)
	if err != nil || len(words) == 0 {
		return junosSyntax
	}
	verb, rest := words[0], words[1:]
	switch verb {
	case "commit":
		return m.commit()
	case "rollback":
		m.candidate = m.committed.clone()
		return ""
	case "insert":
		return m.insert(rest)
	}
	steps, said := junosPath(junosRoot, rest)
	if said != "" {
		return said
	}
	if len(steps) == 0 {
		return junosMissing
	}
	last := steps[len(steps)-1]
	switch verb {
	case "set":
		return m.set(steps)
	case "delete":
		return m.remove(steps)
	case "deactivate", "activate", "protect", "unprotect":
		if last.value != "" {
			return junosSyntax
		}
		if last.bare && last.s.kind != "=" {
			return junosMissing
		}
		n := m.at(steps)
		if n == nil {
			return junosNotFound
		}
		if m.candidate.guarded(steps[:len(steps)-1]) || verb != "unprotect" && n.protected {
			return junosProtected
		}
		switch verb {
		case "deactivate", "activate":
			n.inactive = verb == "deactivate"
		default:
			n.protected = verb == "protect"
		}
		return ""
	}
	return "unknown command."
}

func (m *junosTree) at(steps []junosStep) *junosNode {
	n := m.candidate
	for _, st := range steps {
		if n = n.find(st.s, st.name); n == nil {
			return nil
		}
	}
	return n
}

func (m *junosTree) set(steps []junosStep) string {
	last := steps[len(steps)-1]
	switch {
	case last.bare:
		return junosMissing
	case last.s.kind == "":
		return junosSyntax // there is nothing to be shown of it
	case m.candidate.guarded(steps):
		return junosProtected
	}
	n := m.candidate
	for _, st := range steps {
		c := n.find(st.s, st.name)
		if c == nil {
			if st.s.choice != "" {
				n.under = slices.DeleteFunc(n.under, func(u *junosNode) bool { return u.s.choice == st.s.choice })
			}
			c = &junosNode{s: st.s, name: st.name}
			n.under = append(n.under, c)
			slices.SortStableFunc(n.under, func(a, b *junosNode) int {
				if a.s == b.s && a.s.sorted {
					return strings.Compare(a.name, b.name)
				}
				return a.s.place - b.s.place
			})
		}
		n = c
	}
	n.value = last.value
	return ""
}

func (m *junosTree) remove(steps []junosStep) string {
	last := steps[len(steps)-1]
	switch {
	case last.value != "":
		return junosSyntax // a value has no name of its own
	case last.bare && last.s.kind == "#":
		return junosMissing
	case m.candidate.guarded(steps):
		return junosProtected
	}
	found := false
	var prune func(n *junosNode, steps []junosStep)
	prune = func(n *junosNode, steps []junosStep) {
		n.under = slices.DeleteFunc(n.under, func(u *junosNode) bool {
			if u.s != steps[0].s || u.name != steps[0].name && !steps[0].bare {
				return false
			}
			if len(steps) == 1 {
				found = true
				return u.empty()
			}
			prune(u, steps[1:])
			return u.s.kind == "" && len(u.under) == 0
		})
	}
	prune(m.candidate, steps)
	return ifElse(found, "", junosNotFound)
}

// empty takes out what is not protected, nor under what is, and reports whether nothing
// is left.
func (n *junosNode) empty() bool {
	if n.protected {
		return false
	}
	n.under = slices.DeleteFunc(n.under, (*junosNode).empty)
	return len(n.under) == 0
}

func (m *junosTree) insert(words []string) string {
	at := slices.IndexFunc(words, func(w string) bool { return w == "before" || w == "after" })
	if at < 0 {
		return junosMissing
	}
	steps, said := junosPath(junosRoot, words[:at])
	if said != "" {
		return said
	}
	last := steps[len(steps)-1]
	if last.bare || last.s.kind != "#" || last.s.sorted || len(words) != at+2+last.s.names || words[at+1] != last.s.word {
		return junosSyntax
	}
	up := m.at(steps[:len(steps)-1])
	if up == nil {
		return junosNotFound
	}
	n, other := up.find(last.s, last.name), up.find(last.s, strings.Join(words[at+2:], " "))
	if n == nil || other == nil || n == other {
		return "error: statement not found"
	}
	if m.candidate.guarded(steps) {
		return junosProtected
	}
	up.under = slices.DeleteFunc(up.under, func(u *junosNode) bool { return u == n })
	i := slices.Index(up.under, other)
	up.under = slices.Insert(up.under, i+len(ifElse(words[at] == "after", "x", "")), n)
	return ""
}

// commit makes the candidate valid, if all that it names is there.
func (m *junosTree) commit() string {
	lines := strings.Split(shownSets(m.candidate, true), "\n")
	for _, l := range lines {
		f := strings.Fields(l)
		i := slices.Index(f, "input")
		if i < 0 || !strings.Contains(l, "filter input") {
			continue
		}
		if !slices.ContainsFunc(lines, func(o string) bool {
			return o == "set firewall family inet filter "+f[i+1] || strings.HasPrefix(o, "set firewall family inet filter "+f[i+1]+" ")
		}) {
			return "error: configuration check-out failed"
		}
	}
	m.committed = m.candidate.clone()
	return "commit complete"
}

// show is "show configuration | display set".
func (m *junosTree) show() string { return "set version 23.2R2.21\n" + shownSets(m.committed, false) }

func shownSets(root *junosNode, active bool) string {
	var out strings.Builder
	var walk func(n *junosNode, path string)
	walk = func(n *junosNode, path string) {
		if active && n.inactive {
			return
		}
		if n.s != root.s {
			path += ifElse(n.s.kind == "@", "", " "+n.s.word)
			path += ifElse(n.name == "", "", " "+n.name)
		}
		if len(n.under) == 0 && n.s.kind != "" {
			quoted := ifElse(strings.ContainsAny(n.value, " $") || n.s.kind == "=" && n.value == "", `"`+n.value+`"`, n.value)
			fmt.Fprintln(&out, "set"+path+ifElse(n.s.kind == "=", " "+quoted, ""))
		}
		for _, u := range n.under {
			walk(u, path)
		}
		if n.inactive && !active {
			fmt.Fprintln(&out, "deactivate"+path)
		}
		if n.protected && !active {
			fmt.Fprintln(&out, "protect"+path)
		}
	}
	walk(root, "")
	return out.String()
}

// drawJunosLine draws a line of "set".
func drawJunosLine(t *rapid.T) string {
	line := "set"
	for s := junosRoot; ; {
		var most []*junosSchema
		for _, u := range s.under { // those under which there is more are drawn more often
			for range 1 + min(3, len(u.under)) {
				most = append(most, u)
			}
		}
		s = rapid.SampledFrom(most).Draw(t, "word")
		if s.kind != "@" {
			line += " " + s.word
		}
		pick := func(all ...string) { line += " " + rapid.SampledFrom(all).Draw(t, "name") }
		switch {
		case s.word == "from-zone":
			pick("a to-zone b", "a to-zone c", "b to-zone a")
		case s.word == "route-filter":
			pick("10.0.0.0/8 exact", "10.0.0.0/8 orlonger", "11.0.0.0/8 exact")
		case s.word == "input":
			pick("f1", "f2")
		case s.word == "filter" && s.kind == "#":
			pick("f1", "f2")
		case s.kind == "=":
			pick("1", "2", `"with blanks"`, `"$9$abc"`)
		case s.kind == "*", s.kind == "#", s.kind == "@":
			pick("n1", "n2", "n3", "n4")
		}
		if len(s.under) == 0 || s.kind != "" && rapid.IntRange(0, 5).Draw(t, "stop") == 0 {
			return line
		}
	}
}

// drawJunosMess draws lines that do something to a configuration.
func drawJunosMess(t *rapid.T, m *junosTree, verbs []string, most int) (lines []string) {
	shown := strings.Split(strings.TrimSpace(shownSets(m.candidate, false)), "\n")
	for range rapid.IntRange(0, most).Draw(t, "changes") {
		verb := rapid.SampledFrom(verbs).Draw(t, "verb")
		if verb == "set" {
			lines = append(lines, drawJunosLine(t))
			continue
		}
		words := strings.Fields(rapid.SampledFrom(shown).Draw(t, "line"))
		if len(words) < 2 {
			continue
		}
		upTo := rapid.IntRange(2, len(words)).Draw(t, "words")
		line := verb + " " + strings.Join(words[1:upTo], " ")
		if verb == "insert" && upTo >= 3 {
			other := rapid.SampledFrom([]string{"n1", "n2", "n3", "f1", "f2"}).Draw(t, "other")
			line += rapid.SampledFrom([]string{" before ", " after "}).Draw(t, "where") + words[upTo-2] + " " + other
		}
		lines = append(lines, line)
	}
	return lines
}
