package topology

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"activationd/internal/fault"
)

// named returns the name of a file as its content; one file is missing.
func named(name string) ([]byte, error) {
	if name == "missing.cfg" {
		return nil, fs.ErrNotExist
	}
	return []byte(name + "\n"), nil
}

// wanted is what a comment in a form says of its line, or of the whole.
var wanted = regexp.MustCompile(`# (notice|fault|node|link): (.*)$`)

// TestForms: each form of a topology is in a file of its own. Comments in it have the expected
// nodes and links, and, in the lines that cause them, all notices and faults. Several in one
// line are separated by bars.
func TestForms(t *testing.T) {
	files, err := filepath.Glob("testdata/forms/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string][]string{}
			n := 0
			for line := range strings.Lines(string(data)) {
				n++
				m := wanted.FindStringSubmatch(strings.TrimSpace(line))
				if m == nil {
					continue
				}
				for _, text := range strings.Split(m[2], " | ") {
					switch m[1] {
					case "notice":
						text = fmt.Sprintf("line %d: %s", n, text)
					case "fault":
						text = fmt.Sprintf("t:%d: %s", n, text)
					}
					want[m[1]] = append(want[m[1]], text)
				}
			}
			topo, err := Parse("t", data, named)
			if err != nil {
				if !errors.Is(err, fault.Invalid) {
					t.Errorf("the kind of %v is %v", err, fault.Of(err))
				}
				compare(t, "fault", strings.Split(err.Error(), "\n"), want["fault"], true)
				return
			}
			compare(t, "fault", nil, want["fault"], true)
			compare(t, "notice", topo.Notices, want["notice"], true)
			nodes, links := described(topo)
			compare(t, "node", nodes, want["node"], want["node"] != nil)
			compare(t, "link", links, want["link"], want["link"] != nil || len(want["node"]) > 0)
			names, err := Devices(string(data))
			if strings.Contains(string(data), ".cfg") || strings.Contains(string(data), "one line") {
				return // they must be filled in first
			}
			var own []string
			for _, n := range topo.Nodes {
				own = append(own, n.Name)
			}
			if err != nil || !slices.Equal(names, own) {
				t.Errorf("Devices() = %q, %v, want %q", names, err, own)
			}
		})
	}
}

// compare checks that each text of want is the beginning of one of got and, if whole is set,
// that there are as many.
func compare(t *testing.T, what string, got, want []string, whole bool) {
	t.Helper()
	for _, w := range want {
		if !slices.ContainsFunc(got, func(g string) bool { return strings.HasPrefix(g, w) }) {
			t.Errorf("no %s %q", what, w)
		}
	}
	if t.Failed() || whole && len(got) != len(want) {
		t.Errorf("%d are %ss, want %d:\n%s", len(got), what, len(want), strings.Join(got, "\n"))
	}
}

func described(topo *Topology) (nodes, links []string) {
	for _, n := range topo.Nodes {
		s := n.Name
		for _, f := range [][2]string{{"kind", n.Kind}, {"image", n.Image}, {"config", strings.TrimSpace(n.Config)}} {
			if f[1] != "" {
				s += " " + f[0] + "=" + f[1]
			}
		}
		nodes = append(nodes, s)
	}
	for _, l := range topo.Links {
		var ends []string
		for _, e := range l.Ends {
			ends = append(ends, e.String())
		}
		s := strings.Join(ends, " -- ")
		if l.Bridges != nil {
			s = "LAN " + strings.Join(l.Bridges, ", ") + ": " + s
		}
		links = append(links, s)
	}
	return nodes, links
}

// TestInheritance is a table of definitions and the resulting node, as in containerlab's
// types/topology.go.
func TestInheritance(t *testing.T) {
	for _, tt := range []struct{ name, defaults, kinds, groups, node, want string }{
		{"nothing", "", "", "", "", ""},
		{"the node's own", "kind: k0, image: i0", "", "g: {kind: k1, image: i1}", "kind: k2, image: i2, group: g", "k2 i2"},
		{"its group before its kind", "image: i0", "k: {image: ik}", "g: {image: ig}", "kind: k, group: g", "k ig"},
		{"its kind before the defaults", "image: i0", "k: {image: ik}", "", "kind: k", "k ik"},
		{"the defaults", "kind: k0, image: i0", "", "", "", "k0 i0"},
		{"a kind by its group", "kind: k0", "k1: {image: ik1}", "g: {kind: k1}", "group: g", "k1 ik1"},
		{"a kind by the defaults' group, before the defaults", "kind: k0, group: g", "", "g: {kind: k1, image: i1}", "", "k1 i1"},
		{"a kind by the defaults' group, though the node has another group", "group: g", "", "g: {kind: k1, image: i1}, h: {image: ih}", "group: h", "k1 ih"},
		{"a group by its kind", "", "k: {group: g}", "g: {image: ig}", "kind: k", "k ig"},
		{"a group by its kind gives no kind", "", "k: {group: g}", "g: {kind: other, image: ig}", "kind: k", "k ig"},
		{"a group by its kind, before the defaults'", "group: d", "k: {group: g}", "g: {image: ig}, d: {image: id}", "kind: k", "k ig"},
		{"a group by the defaults", "group: d, kind: k", "", "d: {image: id}", "", "k id"},
		{"its own group before its kind's", "", "k: {group: g}", "g: {image: ig}, h: {}", "kind: k, group: h", "k"},
		{"a group that is not there hides others", "group: d", "k: {group: g}", "g: {image: ig}, d: {image: id}", "kind: k, group: 'x, y'", "k"},
		{"groups have no groups", "", "", "g: {group: h}, h: {image: ih}", "group: g, kind: k", "k"},
		{"an empty value says nothing", "image: i0, kind: k0", "", "g: {image: ''}", "group: g, image: , kind: ''", "k0 i0"},
		{"kinds are looked up as they are written", "", "K: {image: i1}, k: {image: i2}", "", "kind: K", "k i1"},
		{"network-mode, too", "", "k: {group: g}", "g: {network-mode: 'container:n'}", "kind: k", "fault"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := fmt.Sprintf("topology:\n  defaults: {%s}\n  kinds: {%s}\n  groups: {%s}\n  nodes: {n: {%s}}\n", tt.defaults, tt.kinds, tt.groups, tt.node)
			topo, err := Parse("t", []byte(text), nil)
			if err != nil {
				if tt.want != "fault" {
					t.Error(err)
				}
				return
			}
			if got := strings.TrimSpace(topo.Nodes[0].Kind + " " + topo.Nodes[0].Image); got != tt.want {
				t.Errorf("%sthe node has %q, want %q", text, got, tt.want)
			}
		})
	}
}

// TestConfigInheritance: a startup-config is inherited in the same way.
func TestConfigInheritance(t *testing.T) {
	topo, err := Parse("t", []byte(`topology:
  kinds: {linux: {group: hosts, startup-config: kind.cfg}}
  groups: {hosts: {startup-config: group.cfg}}
  nodes: {a: {kind: linux}, b: {kind: linux, group: none}, c: {kind: linux, startup-config: own.cfg}}
`), named)
	if err != nil {
		t.Fatal(err)
	}
	nodes, _ := described(topo)
	if got, want := strings.Join(nodes, "; "), "a kind=linux config=group.cfg; b kind=linux config=kind.cfg; c kind=linux config=own.cfg"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestLines: a fault in merged text is reported with the line of that text, and a configuration knows
// its first line.
func TestLines(t *testing.T) {
	text := "topology:\n  defaults: &d\n    colour: red\n  nodes:\n    a:\n      <<: *d\n"
	if _, err := Parse("t", []byte(text), nil); err == nil || !strings.Contains(err.Error(), "t:3: nodes: a: colour: ") {
		t.Errorf("the error is %v", err)
	}
	topo, err := Parse("t", []byte("topology:\n  groups:\n    g:\n      startup-config: |\n        one\n        two\n  nodes: {a: {group: g}}\n"), nil)
	if err != nil || topo.Nodes[0].ConfigLine != 5 || topo.Nodes[0].Config != "one\ntwo\n" {
		t.Errorf("%+v, %v", topo, err)
	}
}

func TestJSON(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"{\"topology\": {\"nodes\": {\"r1\": {\"kind\": \"linux\"}, \"r2\": null},\n\"links\": [{\"endpoints\": [\"r1:eth1\", \"r2:eth1\"]}]}}", "r1 kind=linux; r2; r1:eth1 -- r2:eth1"},
		{"{\"topology\": {\"nodes\": {\"r1\":\n {\"colour\": 1}}}}", "t:2: nodes: r1: colour: containerlab has no such key"},
		{`{"topology": {"nodes": {"<<": {}}}}`, `t:1: nodes: <<: "<<": a name has letters`},
	} {
		topo, err := Parse("t", []byte(tt.text), nil)
		got := fmt.Sprint(err)
		if err == nil {
			nodes, links := described(topo)
			got = strings.Join(append(nodes, links...), "; ")
		}
		if !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.text, got, tt.want)
		}
	}
}

// TestBombs has small files that expand to huge ones. Reading them must end soon, with an
// error.
func TestBombs(t *testing.T) {
	var aliases, merges strings.Builder
	aliases.WriteString("topology:\n  nodes:\n    a0: &a0 {exec: [x]}\n")
	merges.WriteString("topology:\n  nodes:\n    a0: &a0 {}\n")
	for i := 1; i < 30; i++ {
		fmt.Fprintf(&aliases, "    a%d: &a%d {exec: [*a%d, *a%d, *a%d, *a%d]}\n", i, i, i-1, i-1, i-1, i-1)
	}
	for i := 1; i < 3000; i++ {
		fmt.Fprintf(&merges, "    a%d: &a%d {<<: *a%d, k%d: }\n", i, i, i-1, i)
	}
	if _, err := Parse("t", []byte(merges.String()), nil); err == nil || !strings.Contains(err.Error(), "its merge keys (<<) make it far larger") {
		t.Errorf("merges: %.300v", err)
	}
	left := 1 << 20
	root := newReader("t").text([]byte(aliases.String()))
	if _, _, err := Inline(root, &left, named); err == nil || !strings.Contains(err.Error(), "has more than 1048576 bytes") {
		t.Errorf("aliases: %.300v", err)
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	put("own.cfg", "interface eth1\n")
	topo, err := Read(put("t.clab.yml", "topology: {defaults: {startup-config: own.cfg}, nodes: {a: , b: }}"))
	if err != nil || topo.Nodes[1].Config != "interface eth1\n" {
		t.Errorf("%+v, %v", topo, err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"../../../../etc/hostname": "cannot be read", "fifo": "is not a file", "none.cfg": "cannot be read",
	} {
		_, err = Read(put("bad.clab.yml", "topology: {nodes: {a: {startup-config: "+file+"}}}\n"))
		if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", file, err)
		}
	}
	if _, err := Read(filepath.Join(dir, "none.clab.yml")); fault.Of(err) != fault.Invalid {
		t.Errorf("a file that is not there: %v", err)
	}
}

// FuzzParse checks that links join two or more interfaces of devices in the topology, each
// interface once, and that both readers find the same devices.
func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/forms/*.yml")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		topo, err := Parse("t", data, named)
		if err != nil {
			if strings.TrimSpace(err.Error()) == "" || !errors.Is(err, fault.Invalid) {
				t.Errorf("the error is %q", err)
			}
			return
		}
		var names []string
		for _, n := range topo.Nodes {
			names = append(names, n.Name)
		}
		seen := map[End]bool{}
		for _, l := range topo.Links {
			if len(l.Ends) < 2 {
				t.Errorf("%s joins nothing", l)
			}
			for _, e := range l.Ends {
				if seen[e] || !slices.Contains(names, e.Node) {
					t.Errorf("%s has %s, which it can't", l, e)
				}
				seen[e] = true
			}
		}
		filled, err := Fill(string(data), named)
		if err != nil {
			return // it is too large
		}
		if again, err := Devices(filled); err != nil || !slices.Equal(again, names) {
			t.Errorf("%q became %q, with the devices %q, %v; they were %q", data, filled, again, err, names)
		}
	})
}
