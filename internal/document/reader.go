package document

import (
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"activationd/internal/diag"
)

// MaxFile is the greatest size, in bytes, of a file for a Reader.
const MaxFile = 16 << 20

// A Reader reads a document node by node, and notes every fault with its line.
type Reader struct {
	Faults diag.List
	Found  int // how many there are
	left   int // nodes that may yet be visited: aliases can make a small file large
}

// Add notes a fault.
func (r *Reader) Add(line int, format string, args ...any) {
	r.Found++
	r.Faults.Add(line, format, args...)
}

// Fault notes a fault of node n.
func (r *Reader) Fault(n *yaml.Node, format string, args ...any) {
	line := 1
	if n != nil {
		line = max(n.Line, 1)
	}
	r.Add(line, format, args...)
}

// Root parses a file's only document; it is nil, and a fault is noted, if there is none.
func (r *Reader) Root(data []byte) *yaml.Node {
	switch {
	case len(data) > MaxFile:
		r.Add(1, "has %d bytes, more than %d", len(data), MaxFile)
		return nil
	case !utf8.Valid(data):
		r.Add(1, "is not UTF-8")
		return nil
	}
	root, err := Parse(data, 0)
	switch {
	case err != nil:
		r.Add(err.Line, "%s", err.Text)
	case root == nil:
		r.Add(1, "is empty")
	}
	r.Bound(len(data))
	return root
}

// Bound sets the size of the document.
func (r *Reader) Bound(size int) { r.left = 10_000 + size }

// Visit follows an alias and counts; an alias never leads to another.
func (r *Reader) Visit(n *yaml.Node) *yaml.Node {
	if r.left--; r.left == 0 {
		r.Fault(n, "its aliases (*name) make it far larger than it is; write less of them")
	}
	return Deref(n)
}

// Mapping calls each for the keys of a mapping, in their order. A null is an empty mapping.
func (r *Reader) Mapping(n *yaml.Node, what string, each func(key, value *yaml.Node)) {
	at := n
	if n = r.Visit(n); IsNull(n) || r.left < 0 {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.Fault(at, "%s: is not a mapping (name: value)", what)
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content) && r.left > 0; i += 2 {
		k := r.Visit(n.Content[i])
		switch {
		case k.Kind != yaml.ScalarNode || IsNull(k):
			r.Fault(n.Content[i], "%s: a key is a plain word", what)
		case seen[k.Value]:
			r.Fault(n.Content[i], "%s: %.80s is there twice", what, k.Value)
		default:
			seen[k.Value] = true
			each(&yaml.Node{Kind: yaml.ScalarNode, Value: k.Value, Line: n.Content[i].Line}, n.Content[i+1])
		}
	}
}

// List returns the entries of a list.
func (r *Reader) List(n *yaml.Node, what string) []*yaml.Node {
	at := n
	if n = r.Visit(n); IsNull(n) || r.left < 0 {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		r.Fault(at, "%s: is not a list ([...])", what)
		return nil
	}
	return n.Content
}

// Text returns a scalar as it is written.
func (r *Reader) Text(n *yaml.Node, what string) string {
	at := n
	if n = r.Visit(n); n.Kind != yaml.ScalarNode || IsNull(n) {
		r.Fault(at, "%s: is not a plain text", what)
		return ""
	}
	return n.Value
}

// Word is text that a check accepts.
func (r *Reader) Word(n *yaml.Node, what string, check func(string) error) string {
	known := r.Found
	s := r.Text(n, what)
	if r.Found > known {
		return ""
	}
	if err := check(s); err != nil {
		r.Fault(n, "%s: %v", what, err)
		return ""
	}
	return s
}
