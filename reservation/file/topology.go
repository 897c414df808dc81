package file

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"

	"activationd/internal/fault"
	"activationd/reservation"
)

// Nodes returns the names of a topology's nodes, sorted. The topology is in
// containerlab's format, in YAML or JSON:
//
//	topology:
//	  nodes:
//	    r1: {kind: linux}
//
// A topology that cannot be parsed or has no nodes is an error of kind
// fault.Invalid that has the line, and so is a startup-config that is a file's name:
// see [Fill]. Nothing else is looked at.
func Nodes(topology string) ([]string, error) {
	if len(topology) > reservation.MaxTopology {
		return nil, fmt.Errorf("has %d bytes, more than %d: %w", len(topology), reservation.MaxTopology, fault.Invalid)
	}
	root, line, err := parseTopology([]byte(topology))
	var nodes []string
	if err == nil {
		nodes, line, err = nodesOf(root)
	}
	if err == nil {
		_, line, err = readConfigs(configFiles(root), func(string) ([]byte, error) { return nil, errNoDirectory })
	}
	if err != nil {
		return nil, fmt.Errorf("line %d: %w: %w", line, err, fault.Invalid)
	}
	return nodes, nil
}

// parseTopology parses JSON or YAML, or tells the line of what is wrong.
func parseTopology(data []byte) (root *yaml.Node, line int, err error) {
	if bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) && json.Valid(data) {
		return jsonNode(data, 1), 0, nil
	}
	p := page{data: data}
	return p.yamlRoot()
}

// nodesOf finds the names in a parsed topology, or the line of what is wrong.
func nodesOf(root *yaml.Node) (names []string, line int, err error) {
	n := root
	for _, key := range []string{"topology", "nodes"} {
		if n = deref(n); n == nil || n.Kind != yaml.MappingNode {
			return nil, lineOf(n), fmt.Errorf("is not a mapping that has %s", key)
		}
		in := n
		n = nil
		for i := 0; i+1 < len(in.Content); i += 2 {
			if k := deref(in.Content[i]); k.Kind == yaml.ScalarNode && k.Value == key {
				n = in.Content[i+1]
			}
		}
		if n == nil {
			return nil, lineOf(in), fmt.Errorf("has no %s", key)
		}
	}
	line = lineOf(n)
	if n = deref(n); n.Kind != yaml.MappingNode || len(n.Content) == 0 {
		return nil, line, errors.New("nodes: there are none")
	}
	if len(n.Content)/2 > reservation.MaxDevices {
		return nil, line, fmt.Errorf("nodes: are %d, more than %d", len(n.Content)/2, reservation.MaxDevices)
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := deref(n.Content[i])
		if k.Kind != yaml.ScalarNode || k.ShortTag() == "!!null" || k.ShortTag() == "!!merge" {
			return nil, lineOf(n.Content[i]), errors.New("nodes: a node's name is a plain word")
		}
		names = append(names, k.Value)
	}
	slices.Sort(names)
	for i := 1; i < len(names); i++ {
		if names[i] == names[i-1] {
			return nil, line, fmt.Errorf("nodes: %.80s is there twice", names[i])
		}
	}
	return names, 0, nil
}

// deref follows an alias; an alias never leads to another.
func deref(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func lineOf(n *yaml.Node) int {
	if n == nil {
		return 1
	}
	return max(n.Line, 1)
}

// number is what JSON calls one.
var number = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)

// An inliner writes a topology that stands inside a reservations file as JSON,
// with aliases resolved, because aliases may lead out of it. Its output is
// bounded, whatever the aliases do.
type inliner struct {
	buf     bytes.Buffer
	b       *budget
	configs map[*yaml.Node]string // what to write instead of these: see Fill
}

func (w *inliner) write(n *yaml.Node, depth int) error {
	line := n.Line
	n = w.b.use(n)
	if depth > 64 {
		return fmt.Errorf("line %d: is nested too deep", line)
	}
	if w.buf.Len() > reservation.MaxTopology || w.b.left < 0 {
		return fmt.Errorf("has more than %d bytes", reservation.MaxTopology)
	}
	switch n.Kind {
	case yaml.MappingNode:
		w.buf.WriteByte('{')
		seen := make(map[string]bool, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := w.b.use(n.Content[i])
			switch {
			case k.Kind != yaml.ScalarNode:
				return fmt.Errorf("line %d: a key is a plain word", n.Content[i].Line)
			case k.ShortTag() == "!!merge":
				return fmt.Errorf("line %d: << is not read here; put the topology into a file of its own", n.Content[i].Line)
			case seen[k.Value]:
				return fmt.Errorf("line %d: %.80s is there twice", n.Content[i].Line, k.Value)
			}
			seen[k.Value] = true
			if i > 0 {
				w.buf.WriteByte(',')
			}
			w.text(k.Value)
			w.buf.WriteByte(':')
			if err := w.write(n.Content[i+1], depth+1); err != nil {
				return err
			}
		}
		w.buf.WriteByte('}')
	case yaml.SequenceNode:
		w.buf.WriteByte('[')
		for i, e := range n.Content {
			if i > 0 {
				w.buf.WriteByte(',')
			}
			if err := w.write(e, depth+1); err != nil {
				return err
			}
		}
		w.buf.WriteByte(']')
	default:
		w.scalar(n)
	}
	return nil
}

func (w *inliner) scalar(n *yaml.Node) {
	if text, ok := w.configs[n]; ok {
		w.text(text)
		return
	}
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
		var i int64
		if number.MatchString(n.Value) {
			w.buf.WriteString(n.Value)
			return
		} else if n.ShortTag() == "!!int" && n.Decode(&i) == nil { // 0x1f, 1_000
			w.buf.WriteString(strconv.FormatInt(i, 10))
			return
		}
	}
	w.text(n.Value)
}

func (w *inliner) text(s string) {
	b, _ := json.Marshal(s) // a string always can be
	w.buf.Write(b)
}
