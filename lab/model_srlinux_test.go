package lab

import (
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"
)

// srlSchemaText is a small part of what SR Linux knows, in the form of junosSchemaText. Of
// "#3" the second of the three words is the name of the second key.
const srlSchemaText = `
acl
  acl-filter #3s
    entry #s
      description =
      match
        ipv4
          protocol =
      action
        accept !a
        drop !a
interface #s
  description =
  admin-state =
  mtu =
  vlan-tagging =
  subinterface #s
    type =
    description =
    admin-state =
    ipv4
      admin-state =
      address #s
        primary !
      dhcp-client !
    acl
      input
        acl-filter #3
    vlan
      encap
        single-tagged !
          vlan-id =
        single-tagged-range !
          low-vlan-id #s
            high-vlan-id =
        untagged !
system
  name
    host-name =
  aaa
    authentication
      user #s
        password =
        role *
  ssh-server #s
    admin-state =
    network-instance =
  dns
    server-list *
  information
    location =
routing-policy
  prefix-set #s
    prefix #3s
  policy #s
    default-action
      policy-result =
    statement #
      match
        protocol =
        prefix
          prefix-set =
      action
        policy-result =
network-instance #s
  type =
  admin-state =
  description =
  interface #s
  protocols
    bgp !
      autonomous-system =
      group #s
        peer-as =
        export-policy *
      neighbor #s
        peer-group =
        admin-state =
    isis
      instance #s
        net *
  static-routes
    route #s
      next-hop-group =
`

var srlRoot = junosSchemaOf(srlSchemaText)

// An srlTree is an SR Linux as far as its configuration goes.
type srlTree struct {
	candidate, committed *junosNode
	replaces             bool // several values that are set take the place of those that were there
}

func newSRLTree() *srlTree {
	return &srlTree{candidate: &junosNode{s: srlRoot}, committed: &junosNode{s: srlRoot}}
}

const (
	srlParsing = "Parsing error: Unknown token"
	srlMissing = "Error: Path does not specify any existing objects"
	srlDone    = "All changes have been committed. Leaving candidate mode."
)

// do takes a line in the candidate and returns what the device says to it.
func (m *srlTree) do(line string) string {
	words, err := setWords(line)
	if err != nil || len(words) == 0 {
		return srlParsing
	}
	switch line {
	case "commit now":
		return m.commit()
	case "discard now":
		m.candidate = m.committed.clone()
		return ""
	}
	verb, rest := words[0], words[1:]
	if len(rest) < 2 || rest[0] != "/" {
		return srlParsing
	}
	rest = rest[1:]
	if verb == "insert" {
		return m.insert(rest)
	}
	head, values := setValues(rest)
	if len(values) == 0 {
		values = []string{""}
	}
	for i, v := range values {
		path := head
		if v != "" {
			path = append(slices.Clone(head), v)
		}
		steps, said := junosPath(srlRoot, path)
		if said != "" || len(steps) == 0 || v != "" && steps[len(steps)-1].s.kind != "*" {
			return srlParsing
		}
		switch verb {
		case "set":
			said = m.set(steps, steps[len(steps)-1].s.kind == "*" && i == 0 && m.replaces)
		case "delete":
			said = m.remove(steps)
		default:
			said = srlParsing
		}
		if said != "" {
			return said
		}
	}
	return ""
}

func (m *srlTree) set(steps []junosStep, replace bool) string {
	last := steps[len(steps)-1]
	if last.bare {
		return srlParsing
	}
	n := m.candidate
	for _, st := range steps {
		c := n.find(st.s, st.name)
		if c == nil {
			n.under = slices.DeleteFunc(n.under, func(u *junosNode) bool {
				return u.s.choice != "" && u.s.choice == st.s.choice || replace && st.s == last.s && u.s == st.s
			})
			c = &junosNode{s: st.s, name: st.name}
			n.under = append(n.under, c)
			slices.SortStableFunc(n.under, func(a, b *junosNode) int {
				if a.s == b.s && a.s.sorted {
					return strings.Compare(a.name, b.name)
				}
				return a.s.place - b.s.place
			})
		} else if replace && st.s == last.s {
			n.under = slices.DeleteFunc(n.under, func(u *junosNode) bool { return u.s == st.s && u != c })
		}
		n = c
	}
	n.value = last.value
	return ""
}

func (m *srlTree) remove(steps []junosStep) string {
	last := steps[len(steps)-1]
	switch {
	case last.value != "":
		return srlParsing // a leaf is deleted without its value
	case last.bare && last.s.kind == "#":
		return "Parsing error: Missing key"
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
				return true
			}
			prune(u, steps[1:])
			return u.s.kind == "" && len(u.under) == 0
		})
	}
	prune(m.candidate, steps)
	return ifElse(found, "", srlMissing)
}

func (m *srlTree) insert(words []string) string {
	at := slices.IndexFunc(words, func(w string) bool { return w == "before" || w == "after" })
	if at < 0 || at+2 != len(words) {
		return srlParsing
	}
	steps, said := junosPath(srlRoot, words[:at])
	if said != "" || len(steps) == 0 {
		return srlParsing
	}
	last := steps[len(steps)-1]
	if last.bare || last.s.kind != "#" || last.s.sorted {
		return srlParsing
	}
	up := m.candidate
	for _, st := range steps[:len(steps)-1] {
		if up = up.find(st.s, st.name); up == nil {
			return srlMissing
		}
	}
	n, other := up.find(last.s, last.name), up.find(last.s, words[at+1])
	if n == nil || other == nil || n == other {
		return srlMissing
	}
	up.under = slices.DeleteFunc(up.under, func(u *junosNode) bool { return u == n })
	i := slices.Index(up.under, other)
	up.under = slices.Insert(up.under, i+len(ifElse(words[at] == "after", "x", "")), n)
	return ""
}

// commit makes the candidate valid, if all that it names is there.
func (m *srlTree) commit() string {
	shown := m.lines(m.candidate)
	for _, l := range shown {
		f := strings.Fields(l)
		if i := slices.Index(f, "peer-group"); i > 0 && !slices.ContainsFunc(shown, func(o string) bool {
			return strings.HasPrefix(o+" ", "set / network-instance "+f[3]+" protocols bgp group "+f[i+1]+" ")
		}) {
			return "Error: Error in path: .network-instance\n    [FailedPrecondition] the group is not there"
		}
	}
	m.committed = m.candidate.clone()
	return srlDone
}

// show is "info flat from running /".
func (m *srlTree) show() string { return strings.Join(append(m.lines(m.committed), ""), "\n") }

func (m *srlTree) lines(root *junosNode) (out []string) {
	var walk func(n *junosNode, path string)
	walk = func(n *junosNode, path string) {
		for i, u := range n.under {
			at := path + " " + u.s.word
			if u.s.kind == "*" {
				if i == 0 || n.under[i-1].s != u.s {
					var all []string
					for _, v := range n.under {
						if v.s == u.s {
							all = append(all, v.name)
						}
					}
					out = append(out, "set /"+at+" [ "+strings.Join(all, " ")+" ]")
				}
				continue
			}
			at += ifElse(u.name == "", "", " "+u.name)
			if len(u.under) == 0 && u.s.kind != "" {
				value := ifElse(strings.ContainsAny(u.value, " $") || u.value == "", `"`+u.value+`"`, u.value)
				out = append(out, "set /"+at+ifElse(u.s.kind == "=", " "+value, ""))
			}
			walk(u, at)
		}
	}
	walk(root, "")
	return out
}

// drawSRLLine draws a line of "set".
func drawSRLLine(t *rapid.T) string {
	line := "set /"
	for s := srlRoot; ; {
		var most []*junosSchema
		for _, u := range s.under { // those under which there is more are drawn more often
			for range 1 + min(3, len(u.under)) {
				most = append(most, u)
			}
		}
		s = rapid.SampledFrom(most).Draw(t, "word")
		line += " " + s.word
		pick := func(all ...string) { line += " " + rapid.SampledFrom(all).Draw(t, "name") }
		switch {
		case s.word == "acl-filter":
			pick("f1 type ipv4", "f1 type ipv6", "f2 type ipv4")
		case s.word == "prefix" && s.kind == "#":
			pick("10.0.0.0/8 mask-length-range 8..8", "10.0.0.0/8 mask-length-range 8..24", "11.0.0.0/8 mask-length-range exact")
		case s.word == "peer-group", s.word == "group":
			pick("g1", "g2")
		case s.kind == "=":
			pick("1", "2", `"with blanks"`, `"$y$j9T$abc"`)
		case s.kind == "*":
			pick("n1", "[ n1 n2 ]", "[ n3 n1 ]", "[ n2 n3 n4 ]")
		case s.kind == "#":
			pick("n1", "n2", "n3", "n4")
		}
		if len(s.under) == 0 || s.kind != "" && rapid.IntRange(0, 5).Draw(t, "stop") == 0 {
			return line
		}
	}
}

// drawSRLMess draws lines that do something to a configuration.
func drawSRLMess(t *rapid.T, m *srlTree, verbs []string, most int) (lines []string) {
	shown := m.lines(m.candidate)
	for range rapid.IntRange(0, most).Draw(t, "changes") {
		verb := rapid.SampledFrom(verbs).Draw(t, "verb")
		switch {
		case verb == "set":
			lines = append(lines, drawSRLLine(t))
		case verb == "insert":
			name := rapid.SampledFrom([]string{"n1", "n2", "n3"})
			lines = append(lines, fmt.Sprintf("insert / routing-policy policy %s statement %s %s %s", name.Draw(t, "policy"), name.Draw(t, "one"),
				rapid.SampledFrom([]string{"before", "after"}).Draw(t, "where"), name.Draw(t, "other")))
		case len(shown) > 0:
			words := strings.Fields(rapid.SampledFrom(shown).Draw(t, "line"))
			lines = append(lines, verb+" "+strings.Join(words[1:rapid.IntRange(2, len(words)).Draw(t, "words")], " "))
		}
	}
	return lines
}

// An srlModel is an srlTree as a switch, of which every line is a commit.
type srlModel struct{ *srlTree }

func (m srlModel) do(line string) string {
	said := m.srlTree.do(line)
	m.committed = m.candidate.clone()
	return said
}

func (m srlModel) show(command string) string {
	path, ok := strings.CutPrefix(command, "info flat from running / ")
	if !ok {
		return srlParsing + " 'show'.\n"
	}
	want := strings.Fields(path)
	var out strings.Builder
	for _, l := range m.lines(m.committed) {
		words := strings.Fields(l)[2:]
		if len(words) >= len(want) && slices.EqualFunc(want, words[:len(want)], func(a, b string) bool { return a == b || a == "*" }) {
			fmt.Fprintln(&out, l)
		}
	}
	if out.Len() == 0 {
		return "Error: Path '" + path + "' does not specify any existing objects\n"
	}
	return out.String()
}

func (m srlModel) String() string { return m.srlTree.show() }
