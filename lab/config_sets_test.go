package lab

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"activationd/topology"
)

func junosDialect(t testing.TB) *dialect {
	t.Helper()
	p, err := LoadPlatform("", "juniper_junos")
	if err != nil {
		t.Fatal(err)
	}
	return &p.dialect
}

type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// undoJunos restores the previous state of a device, as Erase does: it sends lines, reads and
// compares again until it knows no more. It fails if a line is removed that was there before
// and is still there.
func undoJunos(t failer, d *dialect, m *junosTree, before string) (rounds int, differs []string) {
	t.Helper()
	tried := map[string]int{}
	for ; ; rounds++ {
		lines, differs := d.differenceOfSets(m.show(), before, tried)
		if len(lines) == 0 {
			return rounds, differs
		}
		if rounds > 30 {
			t.Fatalf("it sends without an end: %q", lines)
		}
		was := m.show()
		for _, l := range lines {
			m.do(l) // what is refused is left out, and the next round sees it
		}
		said := m.do("commit")
		if said != "commit complete" {
			m.do("rollback 0")
		}
		for l := range strings.Lines(before) {
			if has := strings.Contains("\n"+m.show(), "\n"+l); strings.HasPrefix(l, "set") && !has && strings.Contains("\n"+was, "\n"+l) && !isParent(m, l) {
				t.Fatalf("%q is gone after\n%s\nof\n%s", l, strings.Join(lines, "\n"), was)
			}
		}
	}
}

// isParent reports whether a line was that of an empty object which has something in it now.
func isParent(m *junosTree, line string) bool {
	return strings.Contains("\n"+m.show(), "\n"+strings.TrimSpace(line)+" ")
}

// configureJunos sends lines and commits those that are accepted, or nothing.
func configureJunos(m *junosTree, lines []string) {
	for _, l := range lines {
		m.do(l)
	}
	if m.do("commit") != "commit complete" {
		m.do("rollback 0")
	}
}

// TestUndoIsDifferenceOnJunos: whatever a device had before, whatever a startup-config said,
// and whatever somebody changed in between, the device comes back as it was, in its order and
// with inactive and protected statements. Nothing that was there before is removed meanwhile,
// not even for one commit.
func TestUndoIsDifferenceOnJunos(t *testing.T) {
	d := junosDialect(t)
	rapid.Check(t, func(t *rapid.T) {
		m := newJunosTree()
		configureJunos(m, drawJunosMess(t, m, []string{"set"}, 25))
		configureJunos(m, drawJunosMess(t, m, []string{"deactivate", "protect", "insert", "delete"}, 4))
		before := m.show()

		other := newJunosTree()
		configureJunos(other, drawJunosMess(t, other, []string{"set"}, 15))
		configureJunos(other, drawJunosMess(t, other, []string{"deactivate", "protect"}, 2))
		made, err := d.plan(&topology.Node{Name: "r1", Config: other.show()})
		if err != nil {
			t.Fatal(err)
		}
		configureJunos(m, made.apply)
		configureJunos(m, drawJunosMess(t, m, []string{"set", "delete", "insert", "activate", "deactivate", "protect", "unprotect"}, 6))
		changed := m.show()
		rounds, differs := undoJunos(t, d, m, before)
		if m.show() != before || len(differs) > 0 {
			t.Fatalf("after %d rounds it is\n%swant\n%sfrom\n%sdiffers: %q", rounds, m.show(), before, changed, slices.Clip(differs))
		}
		if rounds > 4 {
			t.Fatalf("it needed %d rounds from\n%s\nto\n%s", rounds, changed, before)
		}
	})
}

// TestMissingOnJunos: verify finds the lines of a startup-config that are not in force, and
// nothing else, whatever somebody changed on the device.
func TestMissingOnJunos(t *testing.T) {
	d := junosDialect(t)
	rapid.Check(t, func(t *rapid.T) {
		wanted, m := newJunosTree(), newJunosTree()
		configureJunos(wanted, drawJunosMess(t, wanted, []string{"set"}, 15))
		configureJunos(wanted, drawJunosMess(t, wanted, []string{"deactivate", "protect"}, 2))
		made, err := d.plan(&topology.Node{Name: "r1", Config: wanted.show()})
		if err != nil {
			t.Fatal(err)
		}
		configureJunos(m, made.apply)
		if m.show() != wanted.show() {
			t.Fatalf("the plan makes\n%s\nof\n%s", m.show(), wanted.show())
		}
		configureJunos(m, drawJunosMess(t, m, []string{"set", "delete", "deactivate", "activate", "protect", "unprotect"}, 3))
		ok := true
		for _, active := range []bool{true, false} {
			has := "\n" + shownSets(m.committed, active)
			for l := range strings.Lines(shownSets(wanted.committed, active)) {
				l = strings.TrimSpace(l)
				if len(d.unverifiedSets([]string{l})) > 0 {
					l = l[:strings.LastIndexByte(strings.Replace(l, "with blanks", "with-blanks", 1), ' ')]
				}
				ok = ok && (strings.Contains(has, "\n"+l+"\n") || strings.HasPrefix(l, "set ") && strings.Contains(has, "\n"+l+" "))
			}
		}
		lacking := d.missing(made.apply, m.show())
		if len(lacking) > 0 && !slices.ContainsFunc(lacking, func(l string) bool { return !strings.HasSuffix(l, "as in the startup-config") }) {
			return // set again, it came last
		}
		if (len(lacking) == 0) != ok {
			t.Fatalf("missing %q, want ok %v: of\n%s\nthere is\n%s", lacking, ok, wanted.show(), m.show())
		}
	})
}

const version = "set version 23.2R2.21\n"

// TestSetsDifference has the lines that lead back in one commit, one idea a row.
func TestSetsDifference(t *testing.T) {
	const filter = "firewall family inet filter f term "
	tests := []struct {
		name        string
		now, before []string
		want        []string
	}{
		{"what was there stays, also if the startup-config says it again",
			[]string{"set interfaces fxp0 unit 0 family inet address 192.0.2.1/24", "set system login user a class operator", "set system services ssh", "set interfaces ge-0/0/1 mtu 9000"},
			[]string{"set interfaces fxp0 unit 0 family inet address 192.0.2.1/24", "set system login user a class operator", "set system services ssh"},
			[]string{"delete interfaces ge-0/0/1"}},
		{"a value is overwritten", []string{"set system host-name b"}, []string{"set system host-name a"}, []string{"set system host-name a"}},
		{"a new value goes with its word", []string{"set system host-name a", "set system time-zone UTC"}, []string{"set system host-name a"},
			[]string{"delete system time-zone"}},
		{"an object goes by its name",
			[]string{"set interfaces ge-0/0/1 mtu 9000", "set interfaces ge-0/0/1 unit 0 family inet", "set interfaces ge-0/0/1 unit 7"},
			[]string{"set interfaces ge-0/0/1 mtu 9000"},
			[]string{"delete interfaces ge-0/0/1 unit 0", "delete interfaces ge-0/0/1 unit 7"}},
		{"an object with three words",
			[]string{"set vlans v vlan-id 7", "set security policies from-zone a to-zone b policy p then permit", "set security policies from-zone a to-zone c policy p then permit"},
			[]string{"set vlans v vlan-id 7", "set security policies from-zone a to-zone b policy p then permit"},
			[]string{"delete security policies from-zone a to-zone c"}},
		{"inactive and was not", []string{"set system services telnet", "deactivate system services telnet"}, []string{"set system services telnet"},
			[]string{"activate system services telnet"}},
		{"was inactive", []string{"set system services telnet"}, []string{"set system services telnet", "deactivate system services telnet"},
			[]string{"deactivate system services telnet"}},
		{"was inactive, and is gone", []string{"set system services ssh"}, []string{"set system services ssh", "set system services telnet", "deactivate system services telnet"},
			[]string{"set system services telnet", "deactivate system services telnet"}},
		{"protected and was not", []string{"set system services telnet", "protect system services"}, []string{"set system services telnet"},
			[]string{"unprotect system services"}},
		{"a change under what is protected",
			[]string{"set system services ssh", "set system services telnet", "protect system", "protect system services"},
			[]string{"set system services ssh", "protect system", "protect system services"},
			[]string{"unprotect system", "unprotect system services", "delete system services telnet", "protect system services", "protect system"}},
		{"protected and new", []string{"set system services ssh", "set vlans v vlan-id 7", "protect vlans v"}, []string{"set system services ssh"},
			[]string{"unprotect vlans v", "delete vlans"}},
		{"a term in the middle is lost", []string{"set " + filter + "a then accept", "set " + filter + "c then accept"},
			[]string{"set " + filter + "a then accept", "set " + filter + "b then accept", "set " + filter + "c then accept"},
			[]string{"set " + filter + "b then accept", "insert " + filter + "b after term a"}},
		{"the first term is lost", []string{"set " + filter + "b then accept"}, []string{"set " + filter + "a then accept", "set " + filter + "b then accept"},
			[]string{"set " + filter + "a then accept", "insert " + filter + "a before term b"}},
		{"terms in another order", []string{"set " + filter + "c then accept", "set " + filter + "a then accept", "set " + filter + "b then accept"},
			[]string{"set " + filter + "a then accept", "set " + filter + "b then accept", "set " + filter + "c then accept"},
			[]string{"insert " + filter + "c after term b"}},
		{"values in another order", []string{"set system name-server 192.0.2.2", "set system name-server 192.0.2.1"},
			[]string{"set system name-server 192.0.2.1", "set system name-server 192.0.2.2"},
			[]string{"delete system name-server 192.0.2.2", "set system name-server 192.0.2.2"}},
		{"a value in the middle is lost, where the order counts", []string{"set protocols bgp group g import p", "set protocols bgp group g import r"},
			[]string{"set protocols bgp group g import p", "set protocols bgp group g import q", "set protocols bgp group g import r"},
			[]string{"delete protocols bgp group g import r", "set protocols bgp group g import q", "set protocols bgp group g import r"}},
		{"objects with several words in another order",
			[]string{"set security policies from-zone a to-zone b", "set security policies from-zone a to-zone c", "set security policies from-zone b to-zone a"},
			[]string{"set security policies from-zone a to-zone b", "set security policies from-zone b to-zone a", "set security policies from-zone a to-zone c"},
			[]string{"delete security policies from-zone b to-zone a", "delete security policies from-zone a to-zone b", "delete security policies from-zone a to-zone c",
				"set security policies from-zone a to-zone b", "set security policies from-zone b to-zone a", "set security policies from-zone a to-zone c"}},
		{"quotes are no difference", []string{`set system host-name "r1"`}, []string{"set system host-name r1"}, nil},
		{"what the device says about a line is none", []string{`set system root-authentication encrypted-password "$6$a" ## SECRET-DATA`},
			[]string{`set system root-authentication encrypted-password "$6$a"`}, nil},
	}
	d := junosDialect(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, differs := d.differenceOfSets(version+strings.Join(tt.now, "\n"), version+strings.Join(tt.before, "\n"), map[string]int{})
			if !slices.Equal(got, tt.want) {
				t.Errorf("it sends\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
			if (len(got) > 0) != (len(differs) > 0) {
				t.Errorf("lines %q, but differences %q", got, differs)
			}
		})
	}
}

// TestSetsNoCommand: a difference for which no line is known is reported, and not taken for
// equality. The number of attempts is limited.
func TestSetsNoCommand(t *testing.T) {
	tests := []struct{ name, now, before, want string }{
		{"a line of an unknown kind", "set system services ssh\nannotate system \"x\"", "set system services ssh", `"annotate system \"x\"" was not there before`},
		{"one that was there before", "set system services ssh", "set system services ssh\nquarantine x", `"quarantine x" was there before`},
		{"a secret that is not shown", "set system services ssh", "set system services ssh\nset system root-authentication encrypted-password /* SECRET-DATA */", "can't be set again"},
		{"nothing shown before", "set system services ssh", "", "the device showed no configuration"},
		{"nothing shown now", "error: could not open", version, "the device showed no configuration"},
		{"what is not taken", "set system services ssh", "set system services ssh\nset system services telnet", "does not accept it again"},
		{"what does not go", "set system services ssh\nset vlans v vlan-id 1", "set system services ssh", "no command is known"},
		{"what stays inactive", "set system services ssh\ndeactivate system services ssh", "set system services ssh", "can't be made so again"},
		{"an order that stays", "set a term b\nset a term a", "set a term a\nset a term b", "was in another order"},
	}
	d := junosDialect(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tried := map[string]int{}
			for range 10 {
				lines, differs := d.differenceOfSets(tt.now, tt.before, tried)
				if len(lines) > 0 {
					continue // a device that does nothing
				}
				if !strings.Contains(strings.Join(differs, "\n"), tt.want) {
					t.Errorf("differences are %q, want one with %q", differs, tt.want)
				}
				return
			}
			t.Error("it sends lines without an end")
		})
	}
}

// TestSetsPlan: which lines are accepted in a startup-config, and which are refused with their
// numbers.
func TestSetsPlan(t *testing.T) {
	d := junosDialect(t)
	made, err := d.plan(&topology.Node{Name: "r1", Config: "set version 23.2\n# a\nset system host-name r1 ## said\nset  protocols bgp group g import [ p q ]\n" +
		"deactivate protocols bgp group g\nprotect system\nset system host-name r1\nset system login message \"a  b; {c}\"\n"})
	want := []string{"set system host-name r1", "set protocols bgp group g import p", "set protocols bgp group g import q", "deactivate protocols bgp group g", "protect system", `set system login message "a  b; {c}"`}
	if err != nil || !slices.Equal(made.apply, want) {
		t.Errorf("it applies %q, %v; want %q", made.apply, err, want)
	}
	for _, tt := range []struct{ line, want string }{
		{"system {", "form with braces"},
		{"host-name r1;", "form with braces"},
		{"delete system services telnet", "delete is not supported"},
		{"activate system services telnet", "activate is not supported"},
		{"annotate system x", "is not a line as in set system"},
		{"edit system", "is not a line as in set system"},
		{"set", "is not a line as in set system"},
		{`set system host-name "r1`, "has a quote without an end"},
		{"set system root-authentication plain-text-password", "lets the device ask for a password"},
		{"set system login user a authentication plain-text-password-value x", "can't be verified"},
		{"set system root-authentication load-key-file /tmp/x", "lets the device read another file"},
		{"set system root-authentication encrypted-password /* SECRET-DATA */", "has no secret"},
		{"set policy-options as-path a 1 | 2", "has a | that is not in quotes"},
	} {
		_, err := d.plan(&topology.Node{Name: "r1", Config: "set system host-name a\n" + tt.line, ConfigLine: 5})
		if err == nil || !strings.Contains(err.Error(), "line 6") || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v; want line 6 and %q", tt.line, err, tt.want)
		}
	}
}

// TestSetsMissing: what verify reports as missing. A line under an inactive statement has no
// effect, terms in another order have another effect, and in lines that only look like secrets
// all words count.
func TestSetsMissing(t *testing.T) {
	tests := []struct {
		name, line, running string
		ok                  bool
	}{
		{"there", "set system host-name r1", "set system host-name r1", true},
		{"another value", "set system host-name r1", "set system host-name r2", false},
		{"quotes", `set system host-name "r1"`, "set system host-name r1", true},
		{"an object in which something is", "set interfaces ge-0/0/1", "set interfaces ge-0/0/1 mtu 9000", true},
		{"it is inactive", "set system services ssh", "set system services ssh\ndeactivate system services ssh", false},
		{"what it stands under is inactive", "set interfaces ge-0/0/1 disable", "set interfaces ge-0/0/1 disable\ndeactivate interfaces ge-0/0/1", false},
		{"as it says itself", "set system services ssh\ndeactivate system services ssh", "set system services ssh\ndeactivate system services ssh", true},
		{"not inactive", "deactivate system services ssh", "set system services ssh", false},
		{"not protected", "protect system", "set system services ssh", false},
		{"protected", "protect system", "set system services ssh\nprotect system", true},
		{"a secret in another form", `set system tacplus-server 192.0.2.1 secret abc`, `set system tacplus-server 192.0.2.1 secret "$9$xyz"`, true},
		{"a secret that is not there", `set system tacplus-server 192.0.2.1 secret abc`, "set system tacplus-server 192.0.2.1 port 49", false},
		{"another server's secret", `set system tacplus-server 192.0.2.1 secret abc`, `set system tacplus-server 192.0.2.2 secret "$9$xyz"`, false},
		{"another hash", `set system root-authentication encrypted-password "$6$a"`, `set system root-authentication encrypted-password "$6$b"`, false},
		{"key in a tunnel", "set interfaces gr-0/0/0 unit 0 tunnel key 42", "set interfaces gr-0/0/0 unit 0 tunnel key 43", false},
		{"key in a description", "set interfaces ge-0/0/0 description \"key customer\"", "set interfaces ge-0/0/0 description \"key of others\"", false},
		{"a trusted key", "set system ntp trusted-key 1", "set system ntp trusted-key 2", false},
		{"terms in another order", "set firewall filter f term a\nset firewall filter f term b", "set firewall filter f term b\nset firewall filter f term a", false},
		{"terms among others", "set firewall filter f term a\nset firewall filter f term b", "set firewall filter f term a\nset firewall filter f term x\nset firewall filter f term b", true},
	}
	d := junosDialect(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if lacking := d.missing(strings.Split(tt.line, "\n"), version+tt.running); (len(lacking) == 0) != tt.ok {
				t.Errorf("missing %q in %q, want ok %v", lacking, tt.running, tt.ok)
			}
		})
	}
}

// TestSetsNotices: a plan has notices of objects whose order counts, and of lines that can't
// be compared with what the device shows.
func TestSetsNotices(t *testing.T) {
	made, err := junosDialect(t).plan(&topology.Node{Name: "r1", Config: `set firewall family inet filter f term a then accept
set firewall family inet filter f term b then accept
set firewall family inet filter g term a then accept
set system name-server 192.0.2.1
set system name-server 192.0.2.2
set interfaces ge-0/0/1 unit 0 family inet
set interfaces ge-0/0/1 unit 1 family inet
set system ntp authentication-key 1 value "a b"
set system ntp trusted-key 1
set interfaces gr-0/0/0 unit 0 tunnel key 42
set system root-authentication encrypted-password "$6$a"
set protocols ospf area 0 interface ge-0/0/1.0 authentication md5 1 key geheim
set security ike policy p pre-shared-key ascii-text "$9$a"
set system login user a class operator
set system login password minimum-length 8
`})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(made.notices, "\n"); len(made.notices) != 2 || !strings.Contains(got, `"firewall family inet filter f term"] counts`) || !strings.Contains(got, `"system name-server"] counts`) {
		t.Errorf("the notices are %q", made.notices)
	}
	want := []string{`set system ntp authentication-key 1 value "a b"`, "set protocols ospf area 0 interface ge-0/0/1.0 authentication md5 1 key geheim", `set security ike policy p pre-shared-key ascii-text "$9$a"`}
	if !slices.Equal(made.unverified, want) {
		t.Errorf("unverified are %q, want %q", made.unverified, want)
	}
}

// TestSetsRestorable: a plan is not applied to a device that does not show everything that
// would have to be restored.
func TestSetsRestorable(t *testing.T) {
	for _, tt := range []struct {
		name, line, running string
		ok                  bool
	}{
		{"all is shown", "set system root-authentication encrypted-password x", `set system root-authentication encrypted-password "$6$a"`, true},
		{"a secret is not", "set system root-authentication encrypted-password x", "set system root-authentication encrypted-password /* SECRET-DATA */", false},
		{"it goes with what it is in", "deactivate system services\nset system tacplus-server 192.0.2.1 secret x", "set system tacplus-server 192.0.2.1 secret <SECRET-DATA>", false},
		{"another one's", "set system tacplus-server 192.0.2.2 secret x", "set system tacplus-server 192.0.2.1 secret /* SECRET-DATA */", true},
		{"nothing is shown", "set system host-name x", "error: permission denied", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := junosDialect(t).restorable(&DevicePlan{Name: "r1", Apply: strings.Split(tt.line, "\n")}, tt.running)
			if (err == nil) != tt.ok {
				t.Errorf("it says %v, want ok %v", err, tt.ok)
			}
		})
	}
}
