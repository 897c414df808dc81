package topology

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"activationd/internal/document"
)

// maxText is how many bytes the text of a topology may have: as many as in a reservation.
const maxText = 1 << 20

// A draft is a topology of which only the nodes were read.
type draft struct {
	*reader
	root *yaml.Node
}

func parseDraft(data []byte) (*draft, error) {
	if len(data) > maxText {
		return nil, invalid(1, "has %d bytes, more than %d", len(data), maxText)
	}
	r := newReader("")
	d := &draft{r, r.text(data)}
	return d.read(data)
}

func (d *draft) read(data []byte) (*draft, error) {
	d.draft = true
	if d.root != nil {
		d.document(d.root)
	}
	if d.err(data) == nil {
		return d, nil
	}
	if line := templateLine(data); line > 0 && d.template {
		return nil, invalid(line, "%s", aTemplate)
	}
	line, text := d.Faults.First()
	return nil, invalid(line, "%s", text)
}

// devices returns the nodes that are neither bridges nor containerlab's own machine, nor parts
// of other nodes.
func (d *draft) devices() (names []string) {
	for _, name := range slices.Sorted(maps.Keys(d.nodes)) {
		owner, _ := d.owner(name)
		if kind := d.resolve(d.nodes[name]).kind; owner == name && kind != hostKind && !slices.Contains(bridgeKinds, kind) {
			names = append(names, name)
		}
	}
	return names
}

// A fill is a text to insert as a node's startup-config.
type fill struct {
	node string
	at   *yaml.Node // the scalar with the file's name
	own  bool       // the file's name contains the node's name
	text string
}

// configs reads the startup-configs that are files, of all devices.
func (d *draft) configs(read func(name string) ([]byte, error)) (all []fill, err error) {
	texts, seen, total := map[string]string{}, map[*yaml.Node]bool{}, 0
	for _, name := range d.devices() {
		def := d.resolve(d.nodes[name])
		c := d.config(name, def)
		if c == nil || c.inline != "" {
			continue
		}
		text, ok := texts[c.file]
		if !ok {
			if text, err = c.text(read); err != nil {
				return nil, invalid(def.config.Line, "%v", err)
			}
			texts[c.file] = text
		}
		at := document.Deref(def.config)
		if c.own || !seen[at] {
			total += len(text)
		}
		if seen[at] = true; total > maxText {
			return nil, invalid(def.config.Line, "has more than %d bytes with its startup-configs", maxText)
		}
		all = append(all, fill{name, at, c.own, text})
	}
	return all, nil
}

// Fill returns the topology with the text of startup-configs that are names of files. (A name
// is one line of text; a configuration has several.) So the configurations are those of the
// moment when the reservation was loaded, and no directory is needed later. Lines keep their
// numbers. An error is of kind [fault.Invalid] and has the line.
func Fill(text string, read func(name string) ([]byte, error)) (string, error) {
	d, err := parseDraft([]byte(text))
	if err != nil {
		return text, err
	}
	fills, err := d.configs(read)
	if err != nil || len(fills) == 0 {
		return text, err
	}
	if filled, ok := inPlace(text, fills); ok {
		if len(filled) > maxText {
			return text, invalid(1, "has more than %d bytes with its startup-configs", maxText)
		}
		return filled, nil
	}
	left := 16*len(text) + 32<<20
	return write(d.put(fills), fills, 1, &left)
}

// Inline returns a topology that is part of another document as a text of its own, in JSON,
// with its startup-configs, and the names of its devices. Its aliases may refer to other parts
// of the document. Left is how many bytes may still be written for the document, with 16 more
// for each node; Inline subtracts what it writes.
func Inline(n *yaml.Node, left *int, read func(name string) ([]byte, error)) (text string, devices []string, err error) {
	r := newReader("")
	r.Bound(*left / 16)
	d, err := (&draft{r, n}).read(nil)
	if err != nil {
		return "", nil, err
	}
	fills, err := d.configs(read)
	if err != nil {
		return "", nil, err
	}
	text, err = write(d.put(fills), fills, 0, left)
	return text, d.devices(), err
}

// put returns the topology with the configurations of single nodes. It changes copies, because
// other topologies may contain the same parts by aliases.
func (d *draft) put(fills []fill) *yaml.Node {
	own := map[string]string{}
	for _, f := range fills {
		if f.own {
			own[f.node] = f.text
		}
	}
	return with(d.root, func(key string, body *yaml.Node) *yaml.Node {
		if key != "topology" {
			return body
		}
		return with(body, func(key string, nodes *yaml.Node) *yaml.Node {
			if key != "nodes" {
				return nodes
			}
			return with(nodes, func(name string, node *yaml.Node) *yaml.Node {
				if text, ok := own[name]; ok {
					return configured(node, text)
				}
				return node
			})
		})
	})
}

// with returns a copy of a mapping with other values.
func with(n *yaml.Node, value func(key string, old *yaml.Node) *yaml.Node) *yaml.Node {
	changed := *document.Deref(n)
	changed.Line = n.Line
	changed.Content = slices.Clone(changed.Content)
	for i := 0; i+1 < len(changed.Content); i += 2 {
		changed.Content[i+1] = value(document.Deref(changed.Content[i]).Value, changed.Content[i+1])
	}
	return &changed
}

// configured returns a copy of a node with a startup-config.
func configured(n *yaml.Node, text string) *yaml.Node {
	old := document.Deref(n)
	node := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: n.Line}
	for i := 0; i+1 < len(old.Content); i += 2 {
		if document.Deref(old.Content[i]).Value != "startup-config" {
			node.Content = append(node.Content, old.Content[i], old.Content[i+1])
		}
	}
	node.Content = append(node.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: "startup-config", Line: n.Line},
		&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text, Line: n.Line})
	return node
}

// inPlace inserts the configurations into the text, if that is possible for all of them: where
// the file's name is alone on its line and means the same file for all nodes.
func inPlace(text string, fills []fill) (string, bool) {
	// From the end to the beginning, so that earlier positions stay valid.
	fills = slices.Clone(fills)
	slices.SortStableFunc(fills, func(a, b fill) int { return (b.at.Line-a.at.Line)*1_000_000 + b.at.Column - a.at.Column })
	var last *yaml.Node
	for _, f := range fills {
		if f.at == last {
			continue
		}
		last = f.at
		from, to, ok := span(text, f.at)
		if f.own || f.at.Column == 0 || !ok { // JSON has no columns
			return text, false
		}
		if text = text[:from] + quoted(f.text) + text[to:]; len(text) > maxText {
			return text, true
		}
	}
	return text, true
}

// quoted returns a text as YAML on one line, in printable ASCII.
func quoted(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case ' ' <= r && r < 0x7f:
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// span returns the position of a scalar of one line in the text.
func span(text string, n *yaml.Node) (from, to int, ok bool) {
	for line := 1; line < n.Line; line++ {
		i := strings.IndexByte(text[from:], '\n')
		if i < 0 {
			return 0, 0, false
		}
		from += i + 1
	}
	for column := 1; column < n.Column && from < len(text); column++ {
		_, size := utf8.DecodeRuneInString(text[from:])
		from += size
	}
	rest := text[from:]
	if line, _, cut := strings.Cut(rest, "\n"); cut {
		rest = line
	}
	switch {
	case n.Style == 0:
		return from, from + len(n.Value), strings.HasPrefix(rest, n.Value)
	case n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) == 0:
		return 0, 0, false
	case rest == "" || rest[0] != '"' && rest[0] != '\'': // the scalar has an anchor, or the file a byte order mark
		return 0, 0, false
	}
	for end := 1; end <= len(rest); end++ { // the shortest text that is read as the same value and nothing more
		var value string
		if rest[end-1] == rest[0] && end > 1 && yaml.Unmarshal([]byte(rest[:end]), &value) == nil && value == n.Value {
			return from, from + end, true
		}
	}
	return 0, 0, false
}

// number matches numbers of JSON.
var number = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)

// A writer writes nodes as JSON, each on its line as far as possible: the targets of aliases
// and merge keys come from other lines. The output is bounded, whatever the aliases do.
type writer struct {
	buf  bytes.Buffer
	line int // the line of the next byte
	left *int
	// texts are configurations, by the scalars with the files' names.
	texts map[*yaml.Node]string
}

// write writes nodes beginning on a line, or everything on one line if line is 0. It inserts
// the configurations for all nodes that have the name.
func write(root *yaml.Node, fills []fill, line int, left *int) (string, error) {
	w := &writer{line: ifElse(line == 0, math.MaxInt, line), left: left, texts: map[*yaml.Node]string{}}
	for _, f := range fills {
		if !f.own {
			w.texts[f.at] = f.text
		}
	}
	if err := w.node(root, 0); err != nil {
		return "", err
	}
	return w.buf.String(), nil
}

func (w *writer) node(n *yaml.Node, depth int) error {
	line := n.Line
	for ; w.line < line; w.line++ {
		w.buf.WriteByte('\n')
	}
	n = document.Deref(n)
	text, filled := w.texts[n]
	*w.left -= 16 + len(n.Value) + len(text)
	switch {
	case depth > 64:
		return invalid(line, "is nested too deep")
	case w.buf.Len() > maxText || *w.left < 0:
		return invalid(line, "has more than %d bytes", maxText)
	}
	switch {
	case filled:
		w.text(text)
	case n.Kind == yaml.MappingNode:
		return w.mapping(n, depth)
	case n.Kind == yaml.SequenceNode:
		w.buf.WriteByte('[')
		for i, e := range n.Content {
			if i > 0 {
				w.buf.WriteByte(',')
			}
			if err := w.node(e, depth+1); err != nil {
				return err
			}
		}
		w.buf.WriteByte(']')
	default:
		w.scalar(n)
	}
	return nil
}

func (w *writer) mapping(n *yaml.Node, depth int) error {
	w.buf.WriteByte('{')
	seen := make(map[string]bool, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		at := n.Content[i].Line
		switch k := document.Deref(n.Content[i]); {
		case k.Kind != yaml.ScalarNode:
			return invalid(at, "a key must be a plain word")
		case seen[k.Value]:
			return invalid(at, "%.80s is there twice", k.Value)
		default:
			seen[k.Value] = true
			*w.left -= 16 + len(k.Value)
			if i > 0 {
				w.buf.WriteByte(',')
			}
			for ; w.line < at; w.line++ {
				w.buf.WriteByte('\n')
			}
			w.text(k.Value)
			w.buf.WriteByte(':')
		}
		if err := w.node(n.Content[i+1], depth+1); err != nil {
			return err
		}
	}
	w.buf.WriteByte('}')
	return nil
}

func (w *writer) scalar(n *yaml.Node) {
	switch n.ShortTag() {
	case "!!null":
		w.buf.WriteString("null")
		return
	case "!!bool":
		var b bool
		if n.Decode(&b) == nil {
			w.buf.WriteString(strconv.FormatBool(b))
			return
		}
	case "!!int", "!!float":
		// A number in a form that JSON does not have (007, 0x1f) stays as it is written: it
		// may be the name of an interface.
		if number.MatchString(n.Value) {
			w.buf.WriteString(n.Value)
			return
		}
	}
	w.text(n.Value)
}

func (w *writer) text(s string) {
	b, _ := json.Marshal(s) // this never fails for a string
	w.buf.Write(b)
}

var errNoDirectory = errors.New("there is no directory from which it could be read")
