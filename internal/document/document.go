// Package document reads a file of one YAML document, or JSON, as nodes that have their
// lines. Merge keys (<<) are resolved: the reader of the nodes does not see them.
package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// An Error is a fault of a document, and its line.
type Error struct {
	Line int
	Text string
}

func (e *Error) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Text) }

func wrong(line int, format string, args ...any) *Error {
	return &Error{max(line, 1), fmt.Sprintf(format, args...)}
}

// Parse returns the only document of a text, or nil if there is none. Above is the number of
// lines before it, if the text is a part of a larger one. Merge keys are resolved; aliases
// are not: a reader that follows them must count, because they can make a small text large,
// and can lead back to their own place.
func Parse(data []byte, above int) (root *yaml.Node, wrongAt *Error) {
	defer func() {
		if p := recover(); p != nil { // the library's, on input that it did not foresee
			root, wrongAt = nil, wrong(above+1, "cannot be parsed (%v)", p)
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, syntax(err, data, above)
	}
	if err := dec.Decode(&second); err == nil {
		return nil, wrong(above+second.Line, "a second document begins; one file is one document")
	} else if !errors.Is(err, io.EOF) {
		return nil, syntax(err, data, above)
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return nil, wrong(above+1, "is not a YAML document")
	}
	root = doc.Content[0]
	if above > 0 {
		shift(root, above)
	}
	if bytes.Contains(data, []byte("<<")) {
		m := merger{left: 10_000 + len(data), state: map[*yaml.Node]int{}}
		if err := m.walk(root); err != nil {
			return nil, err
		}
	}
	return root, nil
}

func shift(n *yaml.Node, lines int) {
	n.Line += lines
	for _, c := range n.Content {
		shift(c, lines)
	}
}

// HasList reports whether a text is a mapping in which a key has a list.
func HasList(data []byte, key string) bool {
	root, _ := Parse(data, 0)
	for i := 0; root != nil && root.Kind == yaml.MappingNode && i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value == key {
			return Deref(root.Content[i+1]).Kind == yaml.SequenceNode
		}
	}
	return false
}

// Deref follows an alias; an alias never leads to another.
func Deref(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// IsNull reports whether a node is null.
func IsNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// A merger puts into each mapping the keys of the mappings that its merge keys name. The
// mapping's own keys have precedence, in any order; of several merged mappings the earlier
// one has.
type merger struct {
	left  int // keys that may yet be merged: a chain of merges can make a small text large
	state map[*yaml.Node]int
}

const (
	begun = iota + 1
	done
)

func (m *merger) walk(n *yaml.Node) *Error {
	if n.Kind == yaml.ScalarNode || n.Kind == yaml.AliasNode || m.state[n] == done {
		return nil
	}
	m.state[n] = begun
	for _, c := range n.Content {
		if err := m.walk(c); err != nil {
			return err
		}
	}
	if n.Kind == yaml.MappingNode {
		if err := m.merge(n); err != nil {
			return err
		}
	}
	m.state[n] = done
	return nil
}

func isMerge(key *yaml.Node) bool {
	return key.Kind == yaml.ScalarNode && key.ShortTag() == "!!merge"
}

func (m *merger) merge(n *yaml.Node) *Error {
	var own, from []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if !isMerge(k) {
			own = append(own, k, v)
			continue
		}
		sources := []*yaml.Node{v}
		if list := Deref(v); list.Kind == yaml.SequenceNode {
			sources = list.Content
		}
		for _, s := range sources {
			at := s.Line
			if s = Deref(s); s.Kind != yaml.MappingNode {
				return wrong(at, "<<: takes in a mapping, as in \"<<: *name\", or a list of mappings")
			}
			if m.state[s] == begun {
				return wrong(at, "<<: leads back to itself")
			}
			if err := m.walk(s); err != nil {
				return err
			}
			from = append(from, s)
		}
	}
	if len(own) == len(n.Content) {
		return nil
	}
	has := map[string]bool{}
	for i := 0; i < len(own); i += 2 {
		has[Deref(own[i]).Value] = true
	}
	for _, s := range from {
		for i := 0; i+1 < len(s.Content); i += 2 {
			if m.left--; m.left < 0 {
				return wrong(n.Line, "its merge keys (<<) make it far larger than it is; write less of them")
			}
			if k := Deref(s.Content[i]); k.Kind != yaml.ScalarNode || !has[k.Value] {
				own = append(own, s.Content[i], s.Content[i+1])
				has[k.Value] = true
			}
		}
	}
	n.Content = own
	return nil
}

// JSON makes nodes of sound JSON that begins in the given line. They have no columns.
func JSON(raw []byte, line int) *yaml.Node {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	counted := 0
	var value func() *yaml.Node
	value = func() *yaml.Node {
		t, err := dec.Token()
		if err != nil { // it is sound, so there is none
			return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: line}
		}
		end := int(dec.InputOffset())
		line += bytes.Count(raw[counted:end], []byte{'\n'})
		counted = end
		n := &yaml.Node{Kind: yaml.ScalarNode, Line: line}
		switch t := t.(type) {
		case json.Delim:
			n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
			if t == '{' {
				n.Kind, n.Tag = yaml.MappingNode, "!!map"
			}
			for dec.More() {
				n.Content = append(n.Content, value())
			}
			_, _ = dec.Token()
		case string:
			n.Tag, n.Value = "!!str", t
		case json.Number:
			n.Tag, n.Value = "!!float", t.String()
			if _, err := t.Int64(); err == nil {
				n.Tag = "!!int"
			}
		case bool:
			n.Tag, n.Value = "!!bool", strconv.FormatBool(t)
		default:
			n.Tag, n.Value = "!!null", "null"
		}
		return n
	}
	return value()
}
