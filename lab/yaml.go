package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"activationd/internal/diag"
)

// maxFile is how many bytes an inventory or a topology may have.
const maxFile = 16 << 20

// A reader reads a file's YAML, node by node, and notes every fault with its line.
type reader struct {
	faults diag.List
	found  int  // how many there are
	kept   bool // it is the platform of a plan that is kept
	left   int  // nodes that may yet be visited: aliases can make a small file large
}

func (r *reader) add(line int, format string, args ...any) {
	r.found++
	r.faults.Add(line, format, args...)
}

func (r *reader) fault(n *yaml.Node, format string, args ...any) {
	line := 1
	if n != nil {
		line = max(n.Line, 1)
	}
	r.add(line, format, args...)
}

// root parses the only document of a file; nil if there is none.
func (r *reader) root(data []byte) (root *yaml.Node) {
	defer func() {
		if p := recover(); p != nil { // the library's, on input that it did not foresee
			r.add(1, "cannot be parsed (%v)", p)
			root = nil
		}
	}()
	switch {
	case len(data) > maxFile:
		r.add(1, "has %d bytes, more than %d", len(data), maxFile)
		return nil
	case !utf8.Valid(data):
		r.add(1, "is not UTF-8")
		return nil
	}
	r.left = 10_000 + len(data)
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		r.add(1, "is empty")
		return nil
	} else if err != nil {
		r.syntax(err)
		return nil
	}
	if err := dec.Decode(&second); err == nil {
		r.fault(&second, "a second document begins; one file is one document")
	} else if !errors.Is(err, io.EOF) {
		r.syntax(err)
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		r.add(1, "is not a YAML document")
		return nil
	}
	return doc.Content[0]
}

// syntax notes the library's error, whose line is in its text.
func (r *reader) syntax(err error) {
	text, line := strings.TrimPrefix(err.Error(), "yaml: "), 1
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if digits, what, ok := strings.Cut(rest, ": "); ok {
			if n, err := strconv.Atoi(digits); err == nil {
				line, text = n, what
			}
		}
	}
	r.add(line, "%s", text)
}

// visit follows an alias and counts; an alias never leads to another.
func (r *reader) visit(n *yaml.Node) *yaml.Node {
	if r.left--; r.left == 0 {
		r.fault(n, "its aliases (*name) make it far larger than it is; write less of them")
	}
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// mapping calls each for the keys of a mapping in their order. Nothing at all is an
// empty one.
func (r *reader) mapping(n *yaml.Node, what string, each func(key, value *yaml.Node)) {
	at := n
	if n = r.visit(n); isNull(n) || r.left < 0 {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.fault(at, "%s: is not a mapping (name: value)", what)
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content) && r.left > 0; i += 2 {
		k := r.visit(n.Content[i])
		switch {
		case k.ShortTag() == "!!merge":
			r.fault(n.Content[i], "%s: << is not read here; write the keys themselves", what)
		case k.Kind != yaml.ScalarNode || isNull(k):
			r.fault(n.Content[i], "%s: a key is a plain word", what)
		case seen[k.Value]:
			r.fault(n.Content[i], "%s: %.80s is there twice", what, k.Value)
		default:
			seen[k.Value] = true
			each(&yaml.Node{Kind: yaml.ScalarNode, Value: k.Value, Line: n.Content[i].Line}, n.Content[i+1])
		}
	}
}

// list returns the entries of a list.
func (r *reader) list(n *yaml.Node, what string) []*yaml.Node {
	at := n
	if n = r.visit(n); isNull(n) || r.left < 0 {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		r.fault(at, "%s: is not a list ([...])", what)
		return nil
	}
	return n.Content
}

// text returns a scalar as it is written.
func (r *reader) text(n *yaml.Node, what string) string {
	at := n
	if n = r.visit(n); n.Kind != yaml.ScalarNode || isNull(n) {
		r.fault(at, "%s: is not a plain text", what)
		return ""
	}
	return n.Value
}

// word is text that a check accepts.
func (r *reader) word(n *yaml.Node, what string, check func(string) error) string {
	known := r.found
	s := r.text(n, what)
	if r.found > known {
		return ""
	}
	if err := check(s); err != nil {
		r.fault(n, "%s: %v", what, err)
		return ""
	}
	return s
}

func (r *reader) boolean(n *yaml.Node, what string) (b bool) {
	if v := r.visit(n); v.ShortTag() != "!!bool" || v.Decode(&b) != nil {
		r.fault(n, "%s: must be true or false", what)
	}
	return b
}

func (r *reader) number(n *yaml.Node, what string, low, high int) int {
	v, err := strconv.Atoi(r.visit(n).Value)
	if err != nil || v < low || v > high {
		r.fault(n, "%s: must be a number from %d to %d", what, low, high)
		return low
	}
	return v
}

func (r *reader) duration(n *yaml.Node, what string, most time.Duration) time.Duration {
	v, err := time.ParseDuration(r.visit(n).Value)
	if err != nil || v < 0 || v > most {
		r.fault(n, "%s: must be a time from 0s to %v, as in 20ms", what, most)
		return 0
	}
	return v
}

func (r *reader) unknown(key *yaml.Node, where string, known string) {
	r.fault(key, "%s%.80s: unknown key; there are %s", where, key.Value, known)
}

// checkName says what is wrong with the name of a device, pool, node or domain: it
// is part of files' names, and of what is shown.
func checkName(s string) error {
	const most = 64
	if s == "" || len(s) > most {
		return fmt.Errorf("a name has 1 to %d letters", most)
	}
	for i, c := range []byte(s) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && (i == 0 || !strings.ContainsRune("._-", rune(c))) {
			return fmt.Errorf("%.80q: a name has letters, digits, and inside also . _ -", s)
		}
	}
	return nil
}

// checkPort says what is wrong with the name of a port or an interface: nothing that
// means something to a shell or to a command line may be in it.
func checkPort(s string) error {
	const most = 64
	if s == "" || len(s) > most {
		return fmt.Errorf("an interface's name has 1 to %d letters", most)
	}
	for i, c := range []byte(s) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && (i == 0 || !strings.ContainsRune("._-/:@", rune(c))) {
			return fmt.Errorf("%.80q: an interface's name has letters, digits, and inside also . _ - / : @", s)
		}
	}
	return nil
}
