package lab

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"activationd/topology"
)

// formsPlatform writes lines in forms that Junos does not have.
const formsPlatform = `
dialog: juniper_junos
style: set
running: info flat
complete: '= end'
volatile: ['= end', 'enter candidate']
sets:
  root: /
  lists: true
  braces: true
  move: 'insert / {path} {where} {other}'
  interface: 'interface \S+'
  named: interface subinterface statement
  names: {pair: 2}
  ordered: statement
  ordered_values: policy
inverse:
  - {line: 'set / clock zone (\S+)', undo: ['set / clock zone utc', 'set / clock was $1']}
access_path: [{by: network, line: 'set / ssh( .*)?'}]
`

func formsDialect(t *testing.T, more string) *dialect {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "own.yaml"), []byte(formsPlatform+more), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := LoadPlatform(dir, "own")
	if err != nil {
		t.Fatal(err)
	}
	return &p.dialect
}

// TestSetsForms: a platform says how its lines begin, how it shows several values, how it
// moves an object, and what undoes a line that delete does not undo.
func TestSetsForms(t *testing.T) {
	const p = "set / policy p statement "
	tests := []struct {
		name        string
		now, before []string
		want        []string
	}{
		{"what is new goes by its name", []string{"set / interface e1 mtu 1500", "set / interface e1 subinterface 7 mtu 9000"}, []string{"set / interface e1 mtu 1500"},
			[]string{"delete / interface e1 subinterface 7"}},
		{"the root is no difference", []string{"set /interface e1 mtu 1500", "/ interface e2 mtu 1500"}, []string{"set / interface e1 mtu 1500", "set interface e2 mtu 1500"}, nil},
		{"a value of several is lost", []string{"set / system server [ a c ]"}, []string{"set / system server [ a b c ]"}, []string{"set / system server [ a b c ]"}},
		{"a value of several is new", []string{"set / system server [ a b ]"}, []string{"set / system server [ a ]"}, []string{"delete / system server b"}},
		{"values in another order", []string{"set / policy [ b a ]"}, []string{"set / policy [ a b ]"}, []string{"delete / policy b", "set / policy [ a b ]"}},
		{"an object in another order", []string{p + "b", p + "a"}, []string{p + "a", p + "b"}, []string{"insert / policy p statement a before b"}},
		{"an object with two words", []string{"set / pair a b x", "set / pair a c x"}, []string{"set / pair a b x"}, []string{"delete / pair a c"}},
		{"what its inverse undoes", []string{"set / clock zone cet", "set / clock mode x"}, nil, []string{"set / clock zone utc", "set / clock was cet", "delete / clock mode"}},
		{"deactivate is no word of it", []string{"deactivate / interface e1"}, []string{"set / interface e1"}, []string{"set / interface e1"}},
	}
	d := formsDialect(t, "")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			always := "\nset / always there\n= end\n"
			got, _ := d.differenceOfSets(strings.Join(tt.now, "\n")+always, strings.Join(tt.before, "\n")+always, map[string]int{})
			if !slices.Equal(got, tt.want) {
				t.Errorf("it sends\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

// TestSetsFormsPlan: which lines are accepted in these forms, and which are refused with their
// numbers.
func TestSetsFormsPlan(t *testing.T) {
	d := formsDialect(t, "")
	for _, tt := range []struct {
		name, config string
		want         []string
	}{
		{"the root, with and without", "set / a b\nset /c d\n/e f\n/ g h\nset i j", []string{"set / a b", "set / c d", "set / e f", "set / g h", "set / i j"}},
		{"the dialog's own", "enter candidate\nset / a b", []string{"set / a b"}},
		{"several values", "set / a [ b c ]", []string{"set / a [ b c ]"}},
		{"braces", "a b {\n  c d\n  e {\n  }\n  # no\n  f {\n    g [\n      x\n      y\n    ]\n  }\n}\nset / h i\n", []string{"set / a b c d", "set / a b e", "set / a b f g x", "set / a b f g y", "set / h i"}},
	} {
		made, err := d.plan(&topology.Node{Name: "r1", Config: tt.config})
		if err != nil || !slices.Equal(made.apply, tt.want) {
			t.Errorf("%s: it applies %q, %v; want %q", tt.name, made.apply, err, tt.want)
		}
	}
	for _, tt := range []struct{ config, want string }{
		{"\n{\n \"a\": 1\n}", "is JSON"},
		{"set / a b\ncommit now", "line 2: \"commit now\": is not a line as in set / system"},
		{"set / a b\ndeactivate / a", "line 2: \"deactivate / a\": is not a line"},
		{"delete / a", "delete is not supported"},
		{"set /", "is not a line"},
		{"a {\n b c\n", "is not closed"},
		{"a {\n b c\n]\n", "line 3: ] closes a block that is not open"},
	} {
		_, err := d.plan(&topology.Node{Name: "r1", Config: tt.config})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v; want %q", tt.config, err, tt.want)
		}
	}
}

// TestSetsFormsAccess: the interface by which a device is reached is found by the
// platform's pattern.
func TestSetsFormsAccess(t *testing.T) {
	d := formsDialect(t, "")
	way := Access{Connect: "ssh://192.0.2.1"}
	got := d.accessPath("set / interface e1 subinterface 0 address 192.0.2.1/24\nset / interface e1 mtu 1500\nset / interface e2 mtu 1500\nset / ssh off\n", way)
	if want := []string{"set / interface e1 subinterface 0 address 192.0.2.1/24", "set / interface e1 mtu 1500", "set / ssh off"}; !slices.Equal(got, want) {
		t.Errorf("the way is changed by %q, want %q", got, want)
	}
	err := d.reachable(&DevicePlan{Name: "r1", Access: way, Apply: []string{"set / interface e1 mtu 1400"}}, "set / interface e1 subinterface 0 address 192.0.2.1/24\n= end")
	if err == nil || !strings.Contains(err.Error(), "set / interface e1 mtu 1400") {
		t.Errorf("a change of the interface with the address: %v", err)
	}
}
