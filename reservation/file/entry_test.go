package file

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"activationd/internal/fault"
	"activationd/reservation"
	"activationd/topology"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestMessages reads files with many errors and compares the messages with golden files, which
// `go test -update` rewrites.
func TestMessages(t *testing.T) {
	for _, name := range []string{"faults.yml", "faults.json"} {
		t.Run(name, func(t *testing.T) {
			// Beside the file are topologies, and a link that leads out of the directory.
			dir := t.TempDir()
			data, err := os.ReadFile(filepath.Join("testdata", name))
			if err != nil {
				t.Fatal(err)
			}
			outside := filepath.Join(t.TempDir(), "secret.yml")
			put(t, dir, map[string]string{
				name: string(data), "triangle.clab.yml": triangle, "out.clab.yml": "-> " + outside,
				"none.clab.yml": "name: x\ntopology:\n  nodes: {}\n", "broken.clab.yml": "a: b\nc: [\n", "sub/x": "",
			})
			put(t, filepath.Dir(outside), map[string]string{"secret.yml": triangle})
			set := load(t, filepath.Join(dir, name))
			var b strings.Builder
			for _, r := range set.Rejects {
				fmt.Fprintf(&b, "(%s)\n%s\n", r.ID, strings.Join(r.Faults(), "\n"))
			}
			fmt.Fprintf(&b, "valid: %s\n", ids(set))
			golden := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if b.String() != string(want) {
				t.Errorf("said\n%s\nwant\n%s", b.String(), want)
			}
		})
	}
}

func TestInlineTopology(t *testing.T) {
	const head = "\n    start: 2026-11-21T10:00:00Z\n    end: 2026-11-21T12:00:00Z\n"
	tests := []struct{ name, yaml, topology, devices string }{
		{"plain", "  - id: a" + head + "    topology:\n      name: x # comment\n      topology: {nodes: {r2: , r1: {mtu: 0x10, on: true, v: '1'}}}\n",
			`{"name":"x","topology":{"nodes":{"r2":null,"r1":{"mtu":"0x10","on":true,"v":"1"}}}}`, "r1 r2"},
		{"own devices", "  - id: a" + head + "    devices: [sw1]\n    topology: {topology: {nodes: {r1: {}}}}\n",
			`{"topology":{"nodes":{"r1":{}}}}`, "sw1"},
		{"no devices said", "  - id: a" + head + "    topology: {topology: {nodes: {r1: {}}}}\n    devices: []\n",
			`{"topology":{"nodes":{"r1":{}}}}`, "r1"},
		{"aliases", "  - id: a" + head + "    topology: {x: &x {k: linux}, topology: {nodes: {r1: *x, r2: *x}}}\n",
			`{"x":{"k":"linux"},"topology":{"nodes":{"r1":{"k":"linux"},"r2":{"k":"linux"}}}}`, "r1 r2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, dir, map[string]string{"lab.yml": "reservations:\n" + tt.yaml})
			set := load(t, filepath.Join(dir, "lab.yml"))
			if len(set.Reservations) != 1 {
				t.Fatalf("rejects %+v", set.Rejects)
			}
			r := set.Reservations[0]
			if r.Topology != tt.topology || strings.Join(r.Devices, " ") != tt.devices {
				t.Errorf("topology %s, devices %v, want %s, %s", r.Topology, r.Devices, tt.topology, tt.devices)
			}
			if nodes, err := topology.Devices(r.Topology); err != nil || len(nodes) == 0 {
				t.Errorf("Devices of it = %v, %v", nodes, err)
			}
		})
	}
}

// TestMergeKeys checks that a reservation may have the keys of another one, and that an error
// in these is reported with their line.
func TestMergeKeys(t *testing.T) {
	const text = `reservations:
  - &base
    id: a
    owner: o
    start: 2026-11-21T10:00:00Z
    end: 2026-11-21T12:00:00Z
    devices: [r1]
    env: &env {A: '1', B: '2'}
  - <<: *base
    id: b
    env: {C: '3', <<: *env, B: '4'}
  - {<<: [{owner: p, lead: 5}, *base], id: c}
  - id: d
    <<: *base
    topology: {topology: {nodes: {r1: &n {kind: frr}, r2: {<<: *n}, br: {kind: bridge}}}}
    devices: []
`
	dir := t.TempDir()
	put(t, dir, map[string]string{"lab.yml": text})
	set := load(t, filepath.Join(dir, "lab.yml"))
	if len(set.Reservations) != 3 || len(set.Rejects) != 1 {
		t.Fatalf("reservations %+v, rejects %+v", set.Reservations, set.Rejects)
	}
	b, d := set.Reservations[1], set.Reservations[2]
	if b.Owner != "o" || b.Where != "lab.yml:9" || !maps.Equal(b.Env, map[string]string{"A": "1", "B": "4", "C": "3"}) {
		t.Errorf("b is %+v", b)
	}
	if want := `{"topology":{"nodes":{"r1":{"kind":"frr"},"r2":{"kind":"frr"},"br":{"kind":"bridge"}}}}`; d.Topology != want || !slices.Equal(d.Devices, []string{"r1", "r2"}) {
		t.Errorf("d has the devices %v and the topology %s", d.Devices, d.Topology)
	}
	if r := set.Rejects[0]; r.ID != "c" || r.Where != "lab.yml:12" || !strings.HasPrefix(r.Text, "lead: ") {
		t.Errorf("the reject is %+v", r)
	}
}

func TestInlineTopologyIsTheSameInJSON(t *testing.T) {
	dir := t.TempDir()
	item := `{"id": "a", "start": "2026-11-21T10:00:00Z", "end": "2026-11-21T12:00:00Z",
	  "topology": {"topology": {"nodes": {"r1": {"label": "\ud83d\ude00 <&>", "n": 1.5e3}}}}}`
	put(t, dir, map[string]string{"lab.json": "\ufeff" + `{"reservations": [` + item + `]}`})
	r := load(t, filepath.Join(dir, "lab.json")).Reservations
	if len(r) != 1 || !slices.Equal(r[0].Devices, []string{"r1"}) {
		t.Fatalf("reservations %+v", r)
	}
	if nodes, err := topology.Devices(r[0].Topology); err != nil || !slices.Equal(nodes, []string{"r1"}) {
		t.Errorf("Devices(%s) = %v, %v", r[0].Topology, nodes, err)
	}
}

// TestBombs loads small files that mean something huge. Each must end soon, with an error or a
// reject.
func TestBombs(t *testing.T) {
	slot := "start: 2026-11-21T10:00:00Z, end: 2026-11-21T12:00:00Z"
	var laughs strings.Builder
	laughs.WriteString("reservations:\n- {id: a, " + slot + ", topology: {x: [&l0 {a: b}")
	for i := range 30 {
		fmt.Fprintf(&laughs, ", &l%d [*l%d, *l%d, *l%d]", i+1, i, i, i)
	}
	laughs.WriteString("], topology: {nodes: {r1: *l30}}}}\n")

	var lists strings.Builder // the list is used 20,000 times
	fmt.Fprintf(&lists, "reservations:\n- {id: x, %s, devices: &d [%s d]}\n", slot, strings.Repeat("dddddddddddddddd, ", 1023))
	for i := range 20_000 {
		fmt.Fprintf(&lists, "- {id: x%d, %s, devices: *d}\n", i, slot)
	}
	tests := []struct{ name, file, want string }{
		{"a billion laughs", laughs.String(), "topology: has more than 1048576 bytes"},
		{"an anchor in itself", "reservations:\n- {id: a, " + slot + ", topology: &t {topology: {nodes: {a: *t}}}}\n", "is nested too deep"},
		{"a long list, often", lists.String(), "its aliases (*name) make it far larger than the file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "lab.yml")
			put(t, filepath.Dir(path), map[string]string{"lab.yml": tt.file})
			set, err := New(path).Load(t.Context())
			got := fmt.Sprint(err, set.Rejects)
			if !strings.Contains(got, tt.want) {
				t.Errorf("Load() = %.300s, want %s", got, tt.want)
			}
		})
	}
}

// FuzzFile checks that there is no panic, that all reservations are valid, that everything has
// a position, and that a file gives the same result in parts and as a whole.
func FuzzFile(f *testing.F) {
	for _, name := range []string{"faults.yml", "faults.json"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, strings.HasSuffix(name, "json"))
	}
	f.Add([]byte(fullYAML), false)
	f.Add([]byte(fullJSON), true)
	f.Add([]byte("reservations:\n- id: a\n  owner: &x b\n- id: *x\n"), false)
	f.Add([]byte("reservations:\n- id: \"a\n- b\"\n- c\n"), false)
	dir := f.TempDir()
	put(f, dir, map[string]string{"triangle.clab.yml": triangle})
	f.Add([]byte("reservations:\n- &a {id: a, end: 2026-11-21T10:00:00Z}\n- <<: *a\n  id: b\n- {<<: [*a], x: }\n"), false)
	f.Fuzz(func(t *testing.T, data []byte, isJSON bool) {
		files, err := openTopologyDir(dir, func(string) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		defer files.close()
		p := page{path: "x.yml", name: "x.yml", data: data}
		if isJSON {
			p.path, p.name = "x.json", "x.json"
		}
		items, err := p.parse(files)
		if err != nil {
			if !errors.Is(err, errTopology) && (fault.Of(err) != fault.Invalid || !strings.HasPrefix(err.Error(), p.path+":")) {
				t.Errorf("error without a place or kind: %v", err)
			}
			return
		}
		for _, it := range items {
			if !strings.HasPrefix(it.r.Where, p.name+":") {
				t.Errorf("Where = %q", it.r.Where)
			}
			if it.fault != "" {
				continue
			}
			if err := reservation.Validate(&it.r); err != nil {
				t.Errorf("unsound: %v", err)
			}
		}
		if isJSON {
			return
		}
		whole, err := p.parseYAML(files)
		if parts, ok := p.parseParts(files, 1); ok && (err != nil || !slices.EqualFunc(parts, whole, sameItem)) {
			t.Errorf("in parts %+v\nas a whole %+v, %v", parts, whole, err)
		}
	})
}
