package document

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// flat writes a node as YAML in one line, each key with its line.
func flat(n *yaml.Node) string {
	n = Deref(n)
	var parts []string
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			parts = append(parts, fmt.Sprintf("%s@%d: %s", Deref(n.Content[i]).Value, n.Content[i].Line, flat(n.Content[i+1])))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case yaml.SequenceNode:
		for _, c := range n.Content {
			parts = append(parts, flat(c))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return n.Value
}

func TestMergeKeys(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"one", "a: &a {x: 1}\nb:\n  <<: *a\n  y: 2", "{a@1: {x@1: 1}, b@2: {y@4: 2, x@1: 1}}"},
		{"own keys win, before", "a: &a {x: 1}\nb:\n  x: 2\n  <<: *a", "{a@1: {x@1: 1}, b@2: {x@3: 2}}"},
		{"own keys win, behind", "a: &a {x: 1}\nb:\n  <<: *a\n  x: 2", "{a@1: {x@1: 1}, b@2: {x@4: 2}}"},
		{"earlier ones win", "a: &a {x: 1}\nb: &b {x: 2, y: 3}\nc: {<<: [*a, *b]}", "{a@1: {x@1: 1}, b@2: {x@2: 2, y@2: 3}, c@3: {x@1: 1, y@2: 3}}"},
		{"of a mapping itself", "a: {<<: {x: 1}, y: 2}", "{a@1: {y@1: 2, x@1: 1}}"},
		{"a list of one", "a: {<<: [{x: 1}]}", "{a@1: {x@1: 1}}"},
		{"several keys", "a: {<<: {x: 1}, <<: {x: 2, y: 3}}", "{a@1: {x@1: 1, y@1: 3}}"},
		{"merged again", "a: &a {x: 1}\nb: &b {<<: *a, y: 2}\nc: {<<: *b}", "{a@1: {x@1: 1}, b@2: {y@2: 2, x@1: 1}, c@3: {y@2: 2, x@1: 1}}"},
		{"deep", "a: &a {x: {z: 1}}\nb: [{<<: *a}]", "{a@1: {x@1: {z@1: 1}}, b@2: [{x@1: {z@1: 1}}]}"},
		{"what is merged is not merged with", "a: &a {x: {z: 1}}\nb: {<<: *a, x: {y: 2}}", "{a@1: {x@1: {z@1: 1}}, b@2: {x@2: {y@2: 2}}}"},
		{"at the top", "<<: {x: 1}\ny: 2", "{y@2: 2, x@1: 1}"},
		{"in quotes it is a key", `a: {"<<": {x: 1}}`, "{a@1: {<<@1: {x@1: 1}}}"},
		{"a key twice stays twice", "a: {<<: {x: 1}, y: 1, y: 2}", "{a@1: {y@1: 1, y@1: 2, x@1: 1}}"},
		{"of nothing", "a:\n  <<:", "line 2: <<: takes in a mapping"},
		{"of a word", "a:\n  <<: b", "line 2: <<: takes in a mapping"},
		{"of a list with a word", "a:\n  <<: [{}, b]", "line 2: <<: takes in a mapping"},
		{"of itself", "a: &a\n  <<: *a", "line 2: <<: leads back to itself"},
		{"of what it stands in", "a: &a\n  b:\n    <<: *a", "line 3: <<: leads back to itself"},
		{"in a circle", "a: &a\n  b: &b\n    <<: *a\n  <<: *b", "line 3: <<: leads back to itself"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root, err := Parse([]byte(tt.text), 0)
			var got string
			if err != nil {
				got = err.Error()
			} else {
				got = flat(root)
			}
			if got != tt.want && (err == nil || !strings.HasPrefix(got, tt.want)) {
				t.Errorf("%s\nis %s, want %s", tt.text, got, tt.want)
			}
		})
	}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		above      int
		want       string
	}{
		{"nothing", "# a comment\n", 0, "nothing"},
		{"lines above", "a: 1\nb: &b {<<: {c: 2}}\nd: *b", 10, "{a@11: 1, b@12: {c@12: 2}, d@13: {c@12: 2}}"},
		{"a fault below lines above", "a: 1\nb: [", 10, "line 12: "},
		{"two documents", "a: 1\n---\nb: 2", 0, "line 2: a second document begins"},
		{"an anchor that is not there", "a: &cc 1\nd: *cc\nb: *c\n", 10, "line 13: *c stands for what &c marks"},
		{"a control character", "a: 1\nb: \x01\n", 0, "line 2: has a control character"},
		{"a bomb of merges", "a0: &a0 {}\n" + chain(4000), 0, "line "},
	} {
		root, err := Parse([]byte(tt.text), tt.above)
		got := "nothing"
		if err != nil {
			got = err.Error()
		} else if root != nil {
			got = flat(root)
		}
		if !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// TestSyntax tries faults that people make. The messages name the line to correct, and use
// no word of a parser's.
func TestSyntax(t *testing.T) {
	const mapping, list, colon = "does not continue the mapping", "does not continue the list", "has a colon where none is expected"
	for _, tt := range []struct {
		text string
		line int
		want string
	}{
		{"a:\n\tb: 1\n", 2, "is indented with a tab"},
		{"r:\n  - id: 1\n\t start: x\n", 3, "is indented with a tab"},
		{"r:\n  - id: 1\n    x: 2\n  \t- id: 3\n", 4, "is indented with a tab"},
		{"a: |\n\tb\n", 2, "is indented with a tab"},
		{"a: 1\n\t# x\nb: 2\n", 2, "is indented with a tab"},
		{"a:\n  b: 1\n c: 2\n", 3, mapping},
		{"z: 1\na:\n  - b\n c\n", 4, mapping},
		{"z: 1\na: 1\n- b\n", 3, mapping},
		{"a: 1\nb: 'it''s' c\nd: 1\n", 2, mapping},
		{"r:\n  - id: 1\n   owner: g\n", 3, list},
		{"r:\n  - id: 1\n    b: 2\n   c: 3\n", 4, list},
		{"z: 1\na: b: c\n", 2, colon},
		{"r:\n  - id: 1\n     owner: g\n", 3, colon},
		{"r:\n  - id:1\n    owner: g\n", 3, colon},
		{"a: 1\nb\nc: 2\n", 2, "has a word without a colon"},
		{"z: 1\na: [1, 2\nb: 3\n", 3, "has no comma or ]"},
		{"z: 1\na: {x: 1\nb: 3\n", 3, "has no comma or }"},
		{"z: 1\na: [b, c, }\n", 2, "has no value where one is expected"},
		{"z: 1\na: - b\n", 2, "has \"- \" where no list can begin"},
		{"a: \"abc\nb: 1\n", 1, openQuote},
		{"z: 1\na: 'abc\nb: 1\n", 2, openQuote},
		{"z: 1\na: 'abc", 2, openQuote},
		{"z: 1\na: @x\nb: 2\n", 2, "has a value that begins with @"},
		{"z: 1\na: *\nb: 2\n", 2, "has a value that begins with *"},
		{"z: 1\na: \"\\q\"\nb: 2\n", 2, "has a backslash that means nothing"},
		{"z: 1\na: |x\n  b\n", 2, "has something behind |"},
		{"a: 1\n...\nb\n", 3, "is behind the end of the document"},
		{"z: 1\na: " + strings.Repeat("[", 20000) + "\n", 2, "is nested too deeply"},
	} {
		_, err := Parse([]byte(tt.text), 0)
		if err == nil || err.Line != tt.line || !strings.HasPrefix(err.Text, tt.want) {
			t.Errorf("%.60q: %v, want line %d: %s", tt.text, err, tt.line, tt.want)
		}
	}
}

func TestNotJSON(t *testing.T) {
	for text, want := range map[string]string{
		`{"a": b}`:     "'b' is not expected here: a value begins with",
		`{"a": 1,}`:    "'}' is not expected here: a key begins with",
		`{"a" 1}`:      "'1' is not expected here: want a colon",
		`{"a": 1 "b"}`: "'\"' is not expected here: want a comma or }",
		`[1 2]`:        "'2' is not expected here: want a comma or ]",
		"[\"a\nb\"]":   `'\n' is not expected here: write control characters`,
		`["\q"]`:       "'q' is not expected here: write \\\\ for a backslash",
		`[tru]`:        "']' is not expected in a literal true",
		`[1.]`:         "']' after decimal point is not expected in a numeric literal",
	} {
		var v any
		err := json.Unmarshal([]byte(text), &v)
		if err == nil {
			t.Fatalf("%s is JSON", text)
		}
		if got := NotJSON(err); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func chain(n int) string {
	var b strings.Builder
	for i := 1; i < n; i++ {
		fmt.Fprintf(&b, "a%d: &a%d {<<: *a%d, k%d: }\n", i, i, i-1, i)
	}
	return b.String()
}

func TestNearest(t *testing.T) {
	words := strings.Fields("security-opts pid-mode image links")
	for word, want := range map[string]string{"security-opt": "security-opts", "Image": "image", "link": "links", "x": "", "something-else": ""} {
		if got := Nearest(word, words); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

// FuzzParse wants no panic, no merge key left, and an end.
func FuzzParse(f *testing.F) {
	f.Add([]byte("a: &a {x: 1}\nb: {<<: [*a, {y: 2}], z: *a}\n"))
	f.Add([]byte("a: &a\n  b: {<<: *a}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		root, err := Parse(data, 0)
		if err != nil && err.Line < 1 {
			t.Errorf("%v", err)
		}
		if root == nil {
			return
		}
		seen := map[*yaml.Node]bool{}
		var look func(n *yaml.Node)
		look = func(n *yaml.Node) {
			if seen[n] {
				return
			}
			seen[n] = true
			for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
				if isMerge(n.Content[i]) {
					t.Errorf("%q has a merge key yet", data)
				}
			}
			for _, c := range n.Content {
				look(c)
			}
		}
		look(root)
	})
}
