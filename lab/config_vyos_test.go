package lab

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"activationd/internal/fault"
	"activationd/topology"
)

// vyosSchemaText is a small part of what VyOS has, in the form of junosSchemaText: "=" has
// a value, "*" several, in their order, "." none, and "#" objects with names, shown sorted.
const vyosSchemaText = `
firewall
  ipv4
    name #
      rule #
        action =
        source
          address =
interfaces
  bridge #
    address *
    disable .
    enable-vlan .
    member
      interface #
        allowed-vlan *
        isolated .
        native-vlan =
  ethernet #
    address *
    description =
    disable .
    hw-id =
    mtu =
    vif #
      address *
      description =
  loopback #
    address *
protocols
  bgp
    neighbor #
      password =
      remote-as =
    system-as =
  ospf
    area #
      network *
    parameters
      router-id =
  static
    route #
      next-hop #
        distance =
service
  ssh
    disable-password-authentication .
    port *
system
  host-name =
  login
    user #
      authentication
        encrypted-password =
  name-server *
`

var vyosRoot = junosSchemaOf(vyosSchemaText)

// A vyosModel is VyOS as far as its configuration goes. Lines change a candidate. Empty nodes
// stay. Setting a line that is set already, and deleting one that does not exist, are not
// errors.
type vyosModel struct{ candidate, committed *junosNode }

func newVyOSModel() *vyosModel {
	return &vyosModel{&junosNode{s: vyosRoot}, &junosNode{s: vyosRoot}}
}

// vyosWords returns the words that the shell makes of a line.
func vyosWords(line string) (words []string, said string) {
	all, err := setWords(line)
	if err != nil {
		return nil, "> "
	}
	for _, w := range all {
		if w[0] != '\'' && strings.ContainsAny(w, "$`\\!*?;&|<>(){}#\"") {
			return nil, "bash: " + w
		}
		words = append(words, unquoted(w))
	}
	return words, ""
}

func (m *vyosModel) do(line string) string {
	words, said := vyosWords(line)
	switch {
	case said != "":
		return said
	case line == "commit":
		m.committed = m.candidate.clone()
		return ""
	case line == "discard":
		m.candidate = m.committed.clone()
		return ""
	case words[0] == "set" && len(words) > 1:
		return m.set(m.candidate, words[1:], words[1:])
	case words[0] == "delete" && len(words) > 1:
		return m.remove(m.candidate, words[1:], words[1:])
	}
	return "Invalid command: [" + words[0] + "]"
}

func vyosInvalid(all []string, rest int) string {
	at := len(all) - rest
	return "Configuration path: " + strings.TrimSpace(strings.Join(all[:at], " ")+" ["+all[at]+"]") + " is not valid\nSet failed"
}

func (m *vyosModel) set(n *junosNode, words, all []string) string {
	i := slices.IndexFunc(n.s.under, func(u *junosSchema) bool { return u.word == words[0] })
	if i < 0 {
		return vyosInvalid(all, len(words))
	}
	s := n.s.under[i]
	name, rest := "", words[1:]
	switch {
	case (s.kind == "=" || s.kind == "*" || s.kind == "#") && len(rest) == 0:
		return "The specified configuration node is not complete\nSet failed"
	case s.kind == "*" || s.kind == "#":
		name, rest = rest[0], rest[1:]
	}
	if (s.kind == "=" && len(rest) != 1) || (s.kind == "*" || s.kind == ".") && len(rest) > 0 {
		return vyosInvalid(all, len(rest))
	}
	c := n.find(s, name)
	fresh := c == nil
	if fresh {
		c = &junosNode{s: s, name: name}
	}
	said := ""
	switch {
	case s.kind == "=":
		fresh = fresh || c.value != rest[0]
		c.value = rest[0]
	case len(rest) > 0:
		said = m.set(c, rest, all)
		if strings.Contains(said, "failed") {
			return said
		}
	}
	if !fresh && (len(rest) == 0 || s.kind == "=") {
		return "" // "Configuration path: [...] already exists", which is no error
	}
	if n.find(s, name) == nil {
		n.under = append(n.under, c)
		slices.SortStableFunc(n.under, func(a, b *junosNode) int {
			if a.s != b.s {
				return strings.Compare(a.s.word, b.s.word)
			}
			if a.s.kind == "#" {
				return strings.Compare(fmt.Sprintf("%8s", a.name), fmt.Sprintf("%8s", b.name))
			}
			return 0
		})
	}
	return said
}

func (m *vyosModel) remove(n *junosNode, words, all []string) string {
	i := slices.IndexFunc(n.s.under, func(u *junosSchema) bool { return u.word == words[0] })
	if i < 0 {
		return strings.Replace(vyosInvalid(all, len(words)), "Set", "Delete", 1)
	}
	s, rest := n.s.under[i], words[1:]
	gone := func(u *junosNode) bool { return u.s == s }
	switch {
	case len(rest) == 0:
	case s.kind == "=":
		gone = func(u *junosNode) bool { return u.s == s && u.value == rest[0] }
	case s.kind == "*", s.kind == "#" && len(rest) == 1:
		gone = func(u *junosNode) bool { return u.s == s && u.name == rest[0] }
	default:
		name := ""
		if s.kind == "#" {
			name, rest = rest[0], rest[1:]
		}
		if c := n.find(s, name); c != nil {
			return m.remove(c, rest, all)
		}
	}
	n.under = slices.DeleteFunc(n.under, gone) // "Nothing to delete (the specified node does not exist)" is no error
	return ""
}

func (m *vyosModel) show(command string) string {
	looking, ends := strings.CutSuffix(command, "; echo '# end'")
	what, filter, _ := strings.Cut(looking, " | grep -E ")
	if what != "show configuration commands" {
		return "Invalid command: [" + command + "]\n"
	}
	re := regexp.MustCompile(unquoted(filter))
	var out strings.Builder
	var walk func(n *junosNode, path string)
	walk = func(n *junosNode, path string) {
		if n.s != vyosRoot {
			path += " " + n.s.word
			switch {
			case n.s.kind == "=":
				path += " '" + n.value + "'"
			case n.s.kind == "*":
				path += " '" + n.name + "'"
			case n.name != "":
				path += " " + n.name
			}
		}
		if len(n.under) == 0 && n.s != vyosRoot && re.MatchString(path) {
			fmt.Fprintln(&out, path)
		}
		for _, u := range n.under {
			walk(u, path)
		}
	}
	walk(m.committed, "set")
	return out.String() + ifElse(ends, "# end\n", "")
}

// String returns the whole configuration.
func (m *vyosModel) String() string { return m.show("show configuration commands") }

// A vyosSwitch commits each line, as the lines of a plan are one commit.
type vyosSwitch struct{ *vyosModel }

func (m vyosSwitch) do(line string) string {
	said := m.vyosModel.do(line)
	m.vyosModel.do("commit")
	return said
}

// String has the VLANs of a port in a fixed order, as their order does not count.
func (m vyosSwitch) String() string {
	lines := slices.Sorted(strings.Lines(m.vyosModel.String()))
	return strings.Join(lines, "")
}

func vyosDialect(t testing.TB) *dialect {
	t.Helper()
	p, err := LoadPlatform("", "vyos")
	if err != nil {
		t.Fatal(err)
	}
	return &p.dialect
}

func drawVyOSLine(t *rapid.T) string {
	line := "set"
	for s := vyosRoot; ; {
		s = rapid.SampledFrom(s.under).Draw(t, "word")
		line += " " + s.word
		switch s.kind {
		case "=":
			line += " " + rapid.SampledFrom([]string{"'1'", "2", "'with blanks'", "'$6$abc'", "'to the \"left\"'"}).Draw(t, "value")
		case "*", "#":
			line += " " + rapid.SampledFrom([]string{"n1", "n2", "n3", "10.0.0.1/24"}).Draw(t, "name")
		}
		if len(s.under) == 0 || rapid.IntRange(0, 5).Draw(t, "stop") == 0 {
			return line
		}
	}
}

// mess changes a configuration and commits it.
func (m *vyosModel) mess(t *rapid.T, verbs []string, most int) {
	for range rapid.IntRange(0, most).Draw(t, "changes") {
		if rapid.SampledFrom(verbs).Draw(t, "verb") == "set" {
			m.do(drawVyOSLine(t))
			continue
		}
		if lines := strings.Split(strings.TrimSpace(m.String()), "\n"); lines[0] != "" {
			words, _ := setWords(rapid.SampledFrom(lines).Draw(t, "line"))
			m.do("delete " + strings.Join(words[1:rapid.IntRange(2, len(words)).Draw(t, "words")], " "))
		}
	}
	m.do("commit")
}

// TestUndoIsDifferenceOnVyOS: whatever a device had before, whatever a startup-config said,
// and whatever somebody changed in between, the device comes back as it was, the order of
// values included.
func TestUndoIsDifferenceOnVyOS(t *testing.T) {
	d := vyosDialect(t)
	rapid.Check(t, func(t *rapid.T) {
		m := newVyOSModel()
		m.do("set system host-name vyos")
		m.mess(t, []string{"set", "set", "set", "delete"}, 25)
		if m.String() == "" {
			return
		}
		before := m.show(d.running)
		other := newVyOSModel()
		other.mess(t, []string{"set"}, 15)
		made, err := d.plan(&topology.Node{Name: "r1", Config: regexp.MustCompile(`(?m)^.* hw-id .*\n`).ReplaceAllString(other.String(), "")})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range made.apply {
			if said := m.do(l); said != "" {
				t.Fatalf("%q: %s", l, said)
			}
		}
		m.do("commit")
		for _, l := range d.missing(made.apply, m.show(d.running)) {
			if !strings.HasSuffix(l, "as in the startup-config") {
				t.Fatalf("%q lacks in\n%s", l, m)
			}
		}
		m.mess(t, []string{"set", "delete"}, 6)
		if m.String() == "" { // nobody has nothing
			m.do("set system host-name bare")
			m.do("commit")
		}
		changed := m.show(d.running)
		tried := attempts{}
		for rounds := 0; ; rounds++ {
			lines, differs, _ := d.between(m.show(d.running), before, tried)
			if len(lines) == 0 {
				if m.show(d.running) != before || len(differs) > 0 {
					t.Fatalf("it is\n%swant\n%sfrom\n%sdiffers: %q", m, before, changed, differs)
				}
				return
			}
			if rounds > 4 {
				t.Fatalf("it needs more than %d rounds, and sends %q from\n%s\nto\n%s", rounds, lines, changed, before)
			}
			for _, l := range lines {
				m.do(l)
			}
			m.do("commit")
		}
	})
}

// TestVyOSRead: a startup-config is lines of set, or a config.boot. Values reach the device as
// they were written, whatever special characters its shell has.
func TestVyOSRead(t *testing.T) {
	want := `set interfaces ethernet eth1 address '10.0.0.1/24'
set interfaces ethernet eth1 description 'to the "left" $HOME; what?'
set interfaces loopback lo
set protocols static route 0.0.0.0/0 next-hop 10.0.0.2
set system login user lab authentication encrypted-password '$6$salt$x'`
	boot := `interfaces {
    ethernet eth1 {
        address "10.0.0.1/24"
        description "to the \"left\" $HOME; what?"
    }
    loopback lo {
    }
}
protocols {
    static {
        route 0.0.0.0/0 {
            next-hop 10.0.0.2 {
            }
        }
    }
}
system {
    login {
        user lab {
            authentication {
                encrypted-password "$6$salt$x"
            }
        }
    }
}

// Warning: Do not remove the following line.
// vyos-config-version: "bgp@5:broadcast-relay@1"
// Release version: 1.5
`
	for name, config := range map[string]string{
		"as shown": want, "double quotes": strings.NewReplacer(`\"`, `\"`, `"left"`, `\"left\"`, `'`, `"`).Replace(want), "config.boot": boot, "read to its end": want + "\n# end\n",
	} {
		p, err := planOf(t, "vyos", config)
		if got := strings.Join(p.apply, "\n"); err != nil || got != want {
			t.Errorf("%s: %v\n%s\nwant\n%s", name, err, got, want)
		}
	}
	for line, says := range map[string]string{
		"delete interfaces ethernet eth1 address":                       "delete is not supported",
		"set system login user lab authentication plaintext-password x": "encrypted-password",
		"load /config/x":   "load is not supported",
		"run show version": "is not a line as in",
		"commit":           "is not a line as in",
		"set interfaces ethernet eth1 description 'it's":        "single quote",
		`set interfaces ethernet eth1 description "it's"`:       "single quote",
		"set container name x image y":                          "does more than configure",
		"set interfaces ethernet eth1 description 'a' | grep x": "has a |",
		"set interfaces ethernet eth1 address '10.0.0.1/24'":    "",
	} {
		_, err := planOf(t, "vyos", line)
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", line, err, says)
		}
	}
}

// TestVyOSReached: a line that changes the interface with the address, the user or the service
// by which the device is reached is refused.
func TestVyOSReached(t *testing.T) {
	d := vyosDialect(t)
	via := Access{Connect: "ssh://192.0.2.5", User: "lab"}
	for line, want := range map[string]bool{
		"set interfaces ethernet eth0 address 192.0.2.5/24":                  true,
		"set interfaces ethernet eth1 address 10.0.0.1/24":                   false,
		"set service ssh port 2222":                                          true,
		"set system login user lab authentication encrypted-password '$6$x'": true,
		"set firewall ipv4 input filter default-action drop":                 true,
		"set firewall ipv4 name lab rule 10 action accept":                   false,
	} {
		if got := d.accessPath(line, via); (len(got) > 0) != want {
			t.Errorf("%s: %q, want %v", line, got, want)
		}
	}
	running := "set interfaces ethernet eth0 address '192.0.2.5/24'\nset interfaces ethernet eth0 hw-id '00:53:00:00:aa:01'\n# end\n"
	for line, want := range map[string]bool{
		"set interfaces ethernet eth0 disable": true, "set interfaces ethernet eth0 vif 10 address 10.0.0.1/24": true,
		"set interfaces ethernet eth0 address 192.0.2.5/24": false, "set interfaces ethernet eth00 disable": false,
	} {
		err := d.reachable(&DevicePlan{Name: "r1", Apply: []string{line}, Access: via}, running)
		if (err != nil) != want || err != nil && !errors.Is(err, fault.Conflict) {
			t.Errorf("%s: %v, want %v", line, err, want)
		}
	}
}

const vyosTopology = `
name: bench
topology:
  nodes:
    r1:
      kind: vyosnetworks_vyos
      startup-config: |
        set interfaces ethernet eth1 address '10.0.0.1/24'
        set interfaces ethernet eth1 description "what? a customer"
        set interfaces ethernet eth0 address '192.0.2.7/24'
        set protocols static route 10.9.0.0/16 next-hop 10.0.0.2
        set system host-name 'lab-r1'
        set system name-server 10.0.0.9
`

// TestVyOSUploadVerifyErase applies a startup-config to a device that has a configuration, and
// erases it after somebody has changed more. Each is one commit.
func TestVyOSUploadVerifyErase(t *testing.T) {
	t.Parallel()
	m := newVyOSModel()
	for _, l := range []string{
		"set interfaces ethernet eth0 address 192.0.2.7/24", "set interfaces ethernet eth1 description spare", "set interfaces ethernet eth1 disable", "set service ssh port 22",
		"set system host-name edge", "set system name-server 10.0.0.5", "set system login user lab authentication encrypted-password '$6$x$y'", "commit",
	} {
		if said := m.do(l); said != "" {
			t.Fatalf("%q: %s", l, said)
		}
	}
	before := m.String()
	configuring, commits := false, 0
	s := newPromptSim(t, func(line string) (string, string) {
		said := ""
		switch {
		case line == "", strings.HasPrefix(line, "set terminal"):
		case line == "configure", line == "exit discard":
			configuring = line == "configure"
		case line == "top", line == "save":
		case !configuring:
			said = m.show(line)
		default:
			if said = m.do(line); said != "" {
				said = "\n  " + said + "\n\n"
			}
			if line == "commit" {
				commits++
			}
		}
		host := "edge"
		for l := range strings.Lines(m.String()) {
			if name, ok := strings.CutPrefix(l, "set system host-name '"); ok {
				host = strings.TrimSuffix(strings.TrimSpace(name), "'")
			}
		}
		return said + ifElse(configuring, "[edit]\n", ""), "lab@" + host + ifElse(configuring, "# ", ":~$ ")
	})
	b := newBenchOf(t, "vyos", s.ln, vyosTopology)
	if err := b.upload(); err != nil {
		t.Fatal(err)
	}
	if err := b.verify(); err != nil {
		t.Errorf("verify: %v", err)
	}
	change := func(lines ...string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, l := range append(lines, "commit") {
			if said := m.do(l); said != "" {
				t.Fatalf("%q: %s", l, said)
			}
		}
	}
	change("delete protocols static route 10.9.0.0/16", "set interfaces ethernet eth2 mtu 9000", "delete interfaces ethernet eth1 disable")
	if err := b.verify(); !errors.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "10.9.0.0/16") {
		t.Errorf("verify: %v, want the route to be missing", err)
	}
	s.heard()
	commits = 0
	if err := b.erase(); err != nil {
		t.Fatal(err)
	}
	if got := m.String(); got != before || commits != 1 {
		t.Errorf("in %d commits it became\n%s\nwas\n%s", commits, got, before)
	}
	if all := s.heard(); strings.Contains(all, "eth0") || strings.Contains(all, "login") {
		t.Errorf("it was sent\n%s", all)
	}
}
