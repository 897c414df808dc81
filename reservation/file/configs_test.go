package file

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestStartupConfigs checks that the file of a startup-config is part of the reservation, and
// that a change of the file changes the reservation.
func TestStartupConfigs(t *testing.T) {
	const configA, configB = "hostname \"a\"\n# ü\t<b>\n", "one line"
	for _, tt := range []struct {
		name, reservations, topology string
		want                         []string // node, config; or the text of the reject
	}{
		{"plain", "t.clab.yml", "topology:\n  nodes:\n    r1: {startup-config: sub/a.cfg}\n    r2:\n      startup-config: b.cfg  # ours\n",
			[]string{"r1", configA, "r2", configB + "\n"}},
		{"quoted", "t.clab.yml", "topology: {nodes: {r1: {labels: {a: ü}, startup-config: 'sub/a.cfg'}, r2: {startup-config: \"b\\u002ecfg\"}}}",
			[]string{"r1", configA, "r2", configB + "\n"}},
		{"JSON", "t.clab.yml", "{\"topology\":\n{\"nodes\": {\"r1\": {\"startup-config\": \"sub/a.cfg\"}}}}", []string{"r1", configA}},
		{"inline", "{topology: {nodes: {r1: {startup-config: sub/a.cfg}}}}", "", []string{"r1", configA}},
		{"in a directory", "sub/t.clab.yml", "topology: {nodes: {r1: {startup-config: a.cfg}}}", []string{"r1", configA}},
		{"the configuration itself", "t.clab.yml", "topology:\n  nodes:\n    r1:\n      startup-config: |\n        hostname r1\n", []string{"r1", "hostname r1\n"}},
		{"missing", "t.clab.yml", "topology:\n  nodes:\n    r1: {startup-config: c.cfg}\n", []string{"line 3: startup-config: c.cfg cannot be read"}},
		{"missing, of a kind", "t.clab.yml", "topology: {kinds: {frr: {startup-config: c.cfg}}, nodes: {r1: {kind: frr}}}", []string{"startup-config: c.cfg cannot be read"}},
		{"inline, missing", "{topology: {nodes: {r1: {startup-config: c.cfg}}}}", "", []string{"startup-config: c.cfg cannot be read"}},
		{"from elsewhere", "t.clab.yml", "topology: {nodes: {r1: {startup-config: ../../etc/hostname}}}", []string{"startup-config: ../../etc/hostname cannot be read"}},
		{"with an anchor", "t.clab.yml", "topology: {nodes: {r1: {startup-config: &a b.cfg}, r2: {startup-config: *a}}}", []string{"r1", configB + "\n", "r2", configB + "\n"}},
		{"by the node's name", "t.clab.yml", "topology: {defaults: {startup-config: sub/__clabNodeName__.cfg}, nodes: {a: }}", []string{"a", configA}},
		{"inline, by the node's name", "{topology: {defaults: {startup-config: sub/__clabNodeName__.cfg}, nodes: {a: }}}", "", []string{"a", configA}},
		{"a bridge needs none", "t.clab.yml", "topology: {defaults: {startup-config: b.cfg}, nodes: {a: {startup-config: sub/a.cfg}, x: {kind: bridge, startup-config: c.cfg}}}", []string{"a", configA}},
		{"a directory", "t.clab.yml", "topology: {nodes: {r1: {startup-config: sub}}}", []string{"is not a regular file"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			put := func(name, text string) {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			put("sub/a.cfg", configA)
			put("b.cfg", configB)
			if tt.topology != "" {
				put(tt.reservations, tt.topology)
			}
			put("lab.yml", "reservations: [{id: 1@x, owner: o, start: 2030-01-01T00:00:00Z, end: 2030-01-01T01:00:00Z, topology: "+tt.reservations+"}]\n")
			src := New(filepath.Join(dir, "lab.yml"))
			set, err := src.Load(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if len(tt.want) == 1 {
				if len(set.Rejects) != 1 || !strings.Contains(set.Rejects[0].Text, tt.want[0]) {
					t.Errorf("rejects %+v, want %q", set.Rejects, tt.want[0])
				}
				return
			}
			if len(set.Reservations) != 1 {
				t.Fatalf("rejects %+v", set.Rejects)
			}
			for i := 0; i < len(tt.want); i += 2 {
				if got := configOf(t, set.Reservations[0].Topology, tt.want[i]); got != tt.want[i+1] {
					t.Errorf("%s: %q, want %q", tt.want[i], got, tt.want[i+1])
				}
			}
			if tt.name == "the configuration itself" {
				return
			}
			before := set.Reservations[0].Hash()
			put("sub/a.cfg", "another\n")
			put("b.cfg", "another\n")
			set, unchanged, err := src.LoadIfChanged(context.Background(), set.Fingerprint)
			if err != nil || unchanged || set.Reservations[0].Hash() == before {
				t.Errorf("another configuration: unchanged %v, %v", unchanged, err)
			}
		})
	}
}

func configOf(t *testing.T, topology, node string) string {
	var f struct {
		Topology struct {
			Nodes map[string]struct {
				Config string `yaml:"startup-config"`
			}
		}
	}
	if err := yaml.Unmarshal([]byte(topology), &f); err != nil {
		t.Fatal(err)
	}
	return f.Topology.Nodes[node].Config
}
