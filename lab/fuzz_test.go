package lab

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"activationd/topology"
)

// seed adds valid files.
func seed(f *testing.F, patterns ...string) {
	for _, p := range patterns {
		names, _ := filepath.Glob(p)
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
}

func FuzzInventory(f *testing.F) {
	f.Add([]byte(inventoryBase))
	f.Add([]byte(mapInventory))
	seed(f, "../examples/labs/inventory.yaml")
	f.Fuzz(func(t *testing.T, data []byte) {
		inv, err := ParseInventory("i", data)
		if (inv == nil) != (err != nil) {
			t.Fatalf("%v and %v", inv, err)
		}
		if err != nil {
			return
		}
		for _, w := range append(inv.Wiring, inv.Trunks...) {
			if inv.Devices[w.A.Device] == nil || inv.Devices[w.B.Device] == nil {
				t.Errorf("%s leads nowhere", w)
			}
		}
		if _, err := inv.expected(nil); err != nil {
			t.Error(err)
		}
	})
}

func FuzzTopology(f *testing.F) {
	f.Add([]byte("topology: {nodes: {x: {kind: bridge}, r1: , r2: }, links: [{endpoints: ['r1:eth1', 'x:a']}, {endpoints: ['r1:eth2', 'x:b']}]}"))
	f.Add([]byte(benchTopology))
	seed(f, "../examples/labs/*.clab.yml")
	inv, err := ParseInventory("i", []byte(mapInventory))
	if err != nil {
		f.Fatal(err)
	}
	platforms, err := inv.Platforms()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		topo, err := topology.Parse("t", data, func(string) ([]byte, error) { return nil, fs.ErrNotExist })
		if err != nil {
			return
		}
		m, err := Map(inv, platforms, topo, nil)
		if err != nil {
			return
		}
		links, err := Route(inv, topo, m)
		if err != nil {
			return
		}
		for i := range links {
			links[i].VLAN = 100
		}
		p, err := Generate(Input{Inventory: inv, Platforms: platforms, Topology: topo, Mapping: m, Links: links})
		if err != nil {
			return
		}
		for _, d := range p.Devices {
			for _, l := range append(d.Apply, d.Undo...) {
				if hasControl(l) {
					t.Errorf("%s is sent %q", d.Name, l)
				}
			}
		}
	})
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"format": 1, "devices": [{"name": "a", "platform": "frr", "way": {"connect": "tcp://h:1"}}], "files": {"a.conf": "00", "platforms/frr.yaml": ""}}`))
	f.Add([]byte(`{"format": 1, "links": [{"name": "a:e -- b:e", "access": ["s:p", "s:q"], "vlan": 3}], "files": {}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parseManifest("manifest.json", data)
		if err != nil {
			return
		}
		for name := range m.Files {
			if !filepath.IsLocal(name) {
				t.Errorf("%q leads out of the directory", name)
			}
		}
		if _, err := parsePlan("dir", map[string][]byte{manifestName: data}); err == nil && len(m.Files) > 0 {
			t.Error("files that are not there are as the manifest says")
		}
	})
}

// FuzzSets plans startup-configs in lines of set, or in braces. Planning the lines of a plan
// again gives the same lines, and no device lacks what it shows.
func FuzzSets(f *testing.F) {
	for _, text := range []string{configs["nokia_srlinux"], configs["juniper_junos"], "a b {\n c [\n d\n e\n ]\n}\n", "set / a [ b \"c d\" ]\n/e 'f'", "deactivate a\nprotect b c", "{\"a\": 1}", "set /'0"} {
		f.Add(text)
	}
	var dialects []*dialect
	for _, name := range []string{"nokia_srlinux", "juniper_junos"} {
		p, err := LoadPlatform("", name)
		if err != nil {
			f.Fatal(err)
		}
		dialects = append(dialects, &p.dialect)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, d := range dialects {
			made, err := d.plan(&topology.Node{Name: "r1", Config: text})
			if err != nil {
				continue
			}
			config := strings.Join(made.apply, "\n")
			again, err := d.plan(&topology.Node{Name: "r1", Config: config})
			if err != nil || !slices.Equal(again.apply, made.apply) {
				t.Errorf("%q becomes %q, and that %q, %v", text, made.apply, again.apply, err)
			}
			if lacking := d.missing(made.apply, config); len(lacking) > 0 && !strings.Contains(config, verbDeactivate) && !strings.Contains(config, verbProtect) {
				t.Errorf("%q lacks %q of itself", made.apply, lacking)
			}
		}
	})
}
