package file

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"activationd/internal/fault"
	"activationd/reservation"
)

// Fill returns the topology with the startup-configs in it that are files' names (one
// line of text, where a configuration has several): what runs is then what was there
// when the reservation was loaded, and needs no directory. Lines stay where they are. A
// file that read cannot read is an error of kind fault.Invalid that has the line.
func Fill(text string, read func(name string) ([]byte, error)) (string, error) {
	root, line, err := parseTopology([]byte(text))
	if err != nil {
		return text, fmt.Errorf("line %d: %w: %w", line, err, fault.Invalid)
	}
	configs := configFiles(root)
	if len(configs) == 0 {
		return text, nil
	}
	texts, line, err := readConfigs(configs, read)
	if err != nil {
		return text, fmt.Errorf("line %d: %w: %w", line, err, fault.Invalid)
	}
	if configs[0].Column == 0 { // JSON
		w := inliner{b: budgetFor(len(text)), configs: texts}
		if err := w.write(root, 0); err != nil {
			return text, fmt.Errorf("%w: %w", err, fault.Invalid)
		}
		return w.buf.String(), nil
	}
	// From the end to the beginning, so that places stay where they are.
	slices.SortFunc(configs, func(a, b *yaml.Node) int { return (b.Line-a.Line)*1_000_000 + b.Column - a.Column })
	for _, n := range configs {
		from, to, ok := span(text, n)
		if !ok {
			return text, fmt.Errorf("line %d: startup-config: a file's name stands alone, without an anchor or a tag: %w", n.Line, fault.Invalid)
		}
		text = text[:from] + quoted(texts[n]) + text[to:]
		if len(text) > reservation.MaxTopology {
			return text, fmt.Errorf("has more than %d bytes with its startup-configs: %w", reservation.MaxTopology, fault.Invalid)
		}
	}
	return text, nil
}

// quoted writes a text as YAML on one line, in printable ASCII.
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

// readConfigs reads what the nodes name, each once.
func readConfigs(configs []*yaml.Node, read func(name string) ([]byte, error)) (map[*yaml.Node]string, int, error) {
	texts := make(map[*yaml.Node]string, len(configs))
	for _, n := range configs {
		data, err := read(n.Value)
		switch {
		case err != nil:
			return nil, n.Line, fmt.Errorf("startup-config: %.200s cannot be read from the topology's directory (%s); put that file there, or the configuration itself here, under \"startup-config: |\"", n.Value, plain(err))
		case !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0:
			return nil, n.Line, fmt.Errorf("startup-config: %.200s is not plain text", n.Value)
		}
		text := string(data)
		if !strings.Contains(text, "\n") {
			text += "\n" // or it would be taken for a name again
		}
		texts[n] = text
	}
	return texts, 0, nil
}

// configFiles lists the startup-configs that are files' names, each once.
func configFiles(root *yaml.Node) (found []*yaml.Node) {
	take := func(attributes *yaml.Node) {
		n := deref(child(attributes, "startup-config"))
		if n != nil && n.Kind == yaml.ScalarNode && n.ShortTag() != "!!null" && n.Value != "" &&
			!strings.Contains(n.Value, "\n") && !slices.Contains(found, n) {
			found = append(found, n)
		}
	}
	top := child(root, "topology")
	take(child(top, "defaults"))
	for _, key := range []string{"kinds", "groups", "nodes"} {
		if m := deref(child(top, key)); m != nil && m.Kind == yaml.MappingNode {
			for i := 1; i < len(m.Content); i += 2 {
				take(m.Content[i])
			}
		}
	}
	return found
}

// child is the value of a mapping's key, or nil.
func child(n *yaml.Node, key string) *yaml.Node {
	if n = deref(n); n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if k := deref(n.Content[i]); k.Kind == yaml.ScalarNode && k.Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// span finds where in the text a scalar of one line stands.
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
	for end := 1; end <= len(rest); end++ { // what reads as the same value, and as nothing more
		switch {
		case n.Style == 0:
			if strings.HasPrefix(rest, n.Value) {
				return from, from + len(n.Value), true
			}
			return 0, 0, false
		case n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) == 0:
			return 0, 0, false
		}
		var value string
		if rest[end-1] == rest[0] && end > 1 && yaml.Unmarshal([]byte(rest[:end]), &value) == nil && value == n.Value {
			return from, from + end, true
		}
	}
	return 0, 0, false
}

var errNoDirectory = errors.New("there is no directory that it could be read from")
