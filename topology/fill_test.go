package topology

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"activationd/internal/document"
	"activationd/internal/fault"
)

func TestDevices(t *testing.T) {
	for _, tt := range []struct{ name, topology, want string }{
		{"YAML", "topology:\n  nodes:\n    r2:\n    r1: {kind: linux}\n", "r1 r2"},
		{"JSON in one line", `{"topology":{"nodes":{"b":{},"a":null},"links":[]}}`, "a b"},
		{"JSON with a pair of surrogates", `{"name":"\ud83d\ude00","topology":{"nodes":{"a":null}}}`, "a"},
		{"YAML like JSON", `{topology: {nodes: {a: }}}`, "a"},
		{"without bridges", "topology: {groups: {g: {kind: bridge}}, nodes: {a: , b: {kind: bridge}, c: {kind: OVS-bridge}, d: {group: g}, e: {kind: host}}}", "a"},
		{"what it does not know it leaves alone", "colour: red\ntopology:\n  wires: [a]\n  links: 3\n  kinds: 4\n  nodes: {'a b': {kind: [x], colour: 3}, b: 7}\n", "a b b"},
		{"merged nodes", "x: &x {a: }\ntopology:\n  nodes:\n    <<: *x\n", "a"},
		{"empty", "", "line 1: is empty"},
		{"not a mapping", "- a", "line 1: the topology: is not a mapping"},
		{"no topology", "\nname: x", "line 2: has no topology: invalid"},
		{"nothing in it", "topology:\n", "line 1: has no nodes: invalid"},
		{"no nodes", "topology:\n  links: []\n", "line 2: has no nodes: invalid"},
		{"empty nodes", "topology:\n  nodes:\n    {}\n", "line 3: nodes: there are none: invalid"},
		{"nodes are a list", "topology:\n  nodes: [a]\n", "line 2: nodes: is not a mapping"},
		{"a node twice", `{"topology":{"nodes":{"a":1,"a":2}}}`, "line 1: nodes: a is there twice: invalid"},
		{"broken", "a: b\nc: [", "line 2: "},
		{"a template", "topology:\n  nodes:\n{{ range . }}\n    a:\n", "line 3: {{ begins a Go template"},
		{"a configuration that is a file", "topology:\n  nodes:\n    a: {startup-config: x}\n", "line 3: startup-config: x cannot be read"},
		{"too large", strings.Repeat("#", maxText+1), "line 1: has 1048577 bytes, more than 1048576: invalid"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			names, err := Devices(tt.topology)
			got := strings.Join(names, " ")
			if err != nil {
				got = err.Error()
				if fault.Of(err) != fault.Invalid {
					t.Errorf("the kind is %v", fault.Of(err))
				}
			}
			if got != tt.want && !(err != nil && strings.HasPrefix(got, tt.want)) {
				t.Errorf("Devices() = %q, want %q", got, tt.want)
			}
		})
	}
}

// TestFill: each node has its own configuration inserted, and all other lines keep their
// numbers.
func TestFill(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"nothing to do", "topology: {nodes: {a: {startup-config: \"x\\n\"}}}", "topology: {nodes: {a: {startup-config: \"x\\n\"}}}"},
		{"in place", "topology:\n  nodes:\n    a: {startup-config: x} # ours\n    b: {startup-config: 'y'}\n",
			"topology:\n  nodes:\n    a: {startup-config: \"x\\n\"} # ours\n    b: {startup-config: \"y\\n\"}\n"},
		{"one for two", "topology:\n  kinds: {k: {startup-config: x}}\n  nodes: {a: {kind: k}, b: {kind: k}}\n",
			"topology:\n  kinds: {k: {startup-config: \"x\\n\"}}\n  nodes: {a: {kind: k}, b: {kind: k}}\n"},
		{"that no node has", "topology: {kinds: {k: {startup-config: x}}, nodes: {a: }}", "topology: {kinds: {k: {startup-config: x}}, nodes: {a: }}"},
		{"each its own", "topology:\n  kinds: {k: {startup-config: __clabNodeName__}}\n  nodes:\n    a: {kind: k}\n    b: &b\n      kind: k\n    c: *b\n",
			"{\"topology\":\n{\"kinds\":{\"k\":{\"startup-config\":\"__clabNodeName__\"}},\n\"nodes\":\n{\"a\":{\"kind\":\"k\",\"startup-config\":\"a\\n\"},\n\"b\":{\n\"kind\":\"k\",\"startup-config\":\"b\\n\"},\n\"c\":{\"kind\":\"k\",\"startup-config\":\"c\\n\"}}}}"},
		{"JSON", "{\"topology\":\n{\"nodes\": {\"a\": {\"startup-config\":\n\"x\"}, \"b\": null}}}", "{\"topology\":\n{\"nodes\":{\"a\":{\"startup-config\":\n\"x\\n\"},\"b\":null}}}"},
		{"an anchor", "topology: {nodes: {a: {startup-config: &a x}, b: {startup-config: *a}}}", `{"topology":{"nodes":{"a":{"startup-config":"x\n"},"b":{"startup-config":"x\n"}}}}`},
		{"merged", "topology:\n  defaults: &d {startup-config: x, n: 0x10}\n  nodes: {a: {<<: *d}}\n", "topology:\n  defaults: &d {startup-config: \"x\\n\", n: 0x10}\n  nodes: {a: {<<: *d}}\n"},
		{"numbers as they are written", "topology:\n  nodes: {a: {startup-config: __clabNodeName__, group: 010}}\n  links: [{type: veth, endpoints: [{node: a, interface: 007}, {node: a, interface: 1}]}]\n",
			"{\"topology\":\n{\"nodes\":{\"a\":{\"group\":\"010\",\"startup-config\":\"a\\n\"}},\n\"links\":[{\"type\":\"veth\",\"endpoints\":[{\"node\":\"a\",\"interface\":\"007\"},{\"node\":\"a\",\"interface\":1}]}]}}"},
		{"a byte order mark", "\ufefftopology: {nodes: {a: {startup-config: 'x' }}}\n", `{"topology":{"nodes":{"a":{"startup-config":"x\n"}}}}`},
		{"a file that is not there", "topology:\n  nodes:\n    a: {startup-config: missing.cfg}\n", "line 3: startup-config: missing.cfg cannot be read"},
		{"a variable", "topology:\n  nodes:\n    a: {startup-config: '${X}'}\n", "line 3: startup-config: ${X}: ${X} is an environment variable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Fill(tt.text, named)
			if err != nil {
				got = err.Error()
				if !errors.Is(err, fault.Invalid) || !strings.HasPrefix(got, tt.want) {
					t.Errorf("Fill() = %v, want %q", err, tt.want)
				}
				return
			}
			if got != tt.want {
				t.Fatalf("Fill() =\n%s\nwant\n%s", got, tt.want)
			}
			if again, err := Fill(got, nil); err != nil || again != got {
				t.Errorf("filled again: %q, %v", again, err)
			}
		})
	}
}

func TestFillIsBounded(t *testing.T) {
	var nodes strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&nodes, "    n%d:\n", i)
	}
	for _, config := range []string{"x", "__clabNodeName__"} {
		text := "topology:\n  defaults: {startup-config: " + config + "}\n  nodes:\n" + nodes.String()
		_, err := Fill(text, func(string) ([]byte, error) { return letters(maxText / 2000), nil })
		if config != "x" && (err == nil || !strings.Contains(err.Error(), "has more than 1048576 bytes")) {
			t.Errorf("%s: %v", config, err)
		}
		_, err = Fill(text, func(string) ([]byte, error) { return letters(2 * maxText), nil })
		if err == nil || !strings.Contains(err.Error(), "has more than 1048576 bytes") {
			t.Errorf("%s: %v", config, err)
		}
	}
}

func letters(size int) []byte { return []byte(strings.Repeat("x", size) + "\n") }

// TestInlineLeavesOthers: topologies may share parts by aliases, and still have different
// configurations.
func TestInlineLeavesOthers(t *testing.T) {
	root, wrong := document.Parse([]byte(`
- topology: {kinds: {k: {startup-config: one-__clabNodeName__}}, nodes: &n {a: {kind: k}}}
- topology: {kinds: {k: {startup-config: two-__clabNodeName__}}, nodes: *n}
`), 0)
	if wrong != nil {
		t.Fatal(wrong)
	}
	left := 1 << 20
	for i, want := range []string{`"startup-config":"one-a\n"`, `"startup-config":"two-a\n"`} {
		text, _, err := Inline(root.Content[i], &left, named)
		if err != nil || !strings.Contains(text, want) {
			t.Errorf("it is %s, %v, want %s", text, err, want)
		}
	}
}
