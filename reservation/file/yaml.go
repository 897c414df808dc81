package file

import (
	"bytes"
	"errors"
	"path/filepath"
	"runtime"
	"sync"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"activationd/internal/document"
)

const noKey = "has no reservations key; write \"reservations: []\" if there are none"

// errTopology is the error for a file that is a topology and has no reservations key.
var errTopology = errors.New("is a topology")

// parse reads the reservations of the page. The error is about the page as a whole.
func (p *page) parse(files *topologyDir) ([]item, error) {
	if len(bytes.TrimSpace(p.data)) == 0 {
		return nil, p.fault(1, "is empty; write \"reservations: []\" if there are none")
	}
	json := filepath.Ext(p.name) == ".json"
	if at := oddAt(p.data, json); at >= 0 {
		return nil, p.fault(p.lineAt(at), "is not UTF-8, or has a control character")
	}
	if json {
		p.data = bytes.TrimPrefix(p.data, []byte("\ufeff")) // the YAML parser does that itself
		return p.parseJSON(files)
	}
	items, ok := p.parseParts(files, partSize)
	if !ok {
		var err error
		if items, err = p.parseYAML(files); err != nil {
			return nil, err
		}
	}
	if p.cutOff(items) {
		return nil, p.fault(p.lineAt(len(p.data)), "ends within a reservation, without a newline: it seems to be incomplete")
	}
	return items, nil
}

// cutOff reports whether the page seems to be incomplete, because it is still being written.
// YAML has no end mark. But a complete file usually ends with a newline, and has a valid last
// reservation.
func (p *page) cutOff(items []item) bool {
	return len(items) > 0 && items[len(items)-1].fault != "" && !bytes.HasSuffix(p.data, []byte("\n"))
}

// oddAt returns the offset of the first byte that is not UTF-8 or not allowed in YAML, or -1.
// JSON has its own rules for control characters.
func oddAt(data []byte, json bool) int {
	for i := 0; i < len(data); {
		c := data[i]
		if ' ' <= c && c < 0x7f || c == '\n' || c == '\t' || c == '\r' {
			i++
			continue
		}
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 ||
			!json && (r < ' ' || 0x7f <= r && r < 0xa0 && r != 0x85 || r == 0xfffe || r == 0xffff) {
			return i
		}
		i += n
	}
	return -1
}

// parseYAML reads the page as one document.
func (p *page) parseYAML(files *topologyDir) ([]item, error) {
	root, wrong := p.yamlRoot(0)
	if wrong != nil {
		return nil, p.fault(wrong.Line, "%s", wrong.Text)
	}
	if root.Kind != yaml.MappingNode {
		return nil, p.fault(root.Line, noKey)
	}
	var list *yaml.Node
	isTopology := false
	var unknown *yaml.Node
	for i := 0; i+1 < len(root.Content); i += 2 {
		switch k := root.Content[i]; {
		case k.Value == "reservations" && list != nil:
			return nil, p.fault(k.Line, "reservations: occurs twice")
		case k.Value == "reservations":
			list = root.Content[i+1]
		case k.Value == "topology":
			isTopology = true
			fallthrough
		case unknown == nil:
			unknown = k
		}
	}
	switch {
	case list == nil && isTopology:
		return nil, errTopology
	case list == nil:
		return nil, p.fault(root.Line, noKey)
	case unknown != nil:
		return nil, p.fault(unknown.Line, unknownTop, unknown.Value)
	case list.Kind != yaml.SequenceNode:
		return nil, p.fault(list.Line, notList)
	}
	return p.items(list, budgetFor(len(p.data)), files)
}

const (
	unknownTop = "%.80s: unknown key; the only key is reservations"
	notList    = "reservations: is not a list; write \"reservations: []\" if there are none"
)

// items reads the entries of the list.
func (p *page) items(list *yaml.Node, b *budget, files *topologyDir) ([]item, error) {
	items := make([]item, 0, len(list.Content))
	for _, n := range list.Content {
		items = append(items, itemOf(n, p.name, b, files))
		if b.left < 0 {
			return nil, p.fault(n.Line, "its aliases (*name) make it far larger than the file; use fewer of them")
		}
	}
	return items, nil
}

// yamlRoot parses the only document of the page; above is the number of lines before the page.
func (p *page) yamlRoot(above int) (*yaml.Node, *document.Error) {
	root, err := document.Parse(p.data, above)
	if err == nil && root == nil {
		err = &document.Error{Line: 1, Text: "has nothing but comments; write \"reservations: []\" if there are none"}
	}
	return root, err
}

// partSize is how much of a large file is parsed at a time: enough that cutting costs little,
// and so little that the parsed form, which is about twenty times larger than the text, is
// never in memory as a whole.
const partSize = 256 << 10

// A part is the text of some complete entries of the list.
type part struct {
	text  []byte
	above int // lines before it
}

// parseParts cuts the page between reservations and parses the parts at the same time. That
// is possible if the page has only a list of block mappings under "reservations:". If it is
// not possible, or if any part has an error, ok is false, and the page is then parsed as a
// whole.
//
// The parts mean the same as the whole because each cut is before a line that begins an
// entry. If something were open there (a quoted text, a bracket), the part before would end
// inside it, which is an error; an alias to something that another part defines is an error,
// too.
func (p *page) parseParts(files *topologyDir, size int) (items []item, ok bool) {
	parts := p.parts(size)
	if parts == nil {
		return nil, false
	}
	results := make([][]item, len(parts))
	failed := false
	var mu sync.Mutex
	next := 0
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(parts)) {
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				stop := failed || i >= len(parts)
				mu.Unlock()
				if stop {
					return
				}
				list, ok := p.parsePart(parts[i], files)
				mu.Lock()
				results[i] = list
				failed = failed || !ok
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if failed {
		return nil, false
	}
	n := 0
	for _, l := range results {
		n += len(l)
	}
	items = make([]item, 0, n)
	for _, l := range results {
		items = append(items, l...)
	}
	return items, true
}

func (p *page) parsePart(part part, files *topologyDir) ([]item, bool) {
	q := page{path: p.path, name: p.name, data: part.text}
	list, wrong := q.yamlRoot(part.above)
	if wrong != nil || list.Kind != yaml.SequenceNode {
		return nil, false
	}
	items, err := q.items(list, budgetFor(len(part.text)), files)
	return items, err == nil
}

// parts cuts the page, or returns nil if the page does not have the required form.
func (p *page) parts(size int) []part {
	if bytes.Count(p.data, []byte("\r")) != bytes.Count(p.data, []byte("\r\n")) {
		return nil // in YAML, a CR alone ends a line, as these characters do:
	}
	for _, end := range []string{"\u0085", "\u2028", "\u2029"} {
		if bytes.Contains(p.data, []byte(end)) {
			return nil
		}
	}
	var parts []part
	var from, fromLine int // of the current part
	indent := -1           // of the entries' dashes; -1 before the first
	head := false          // "reservations:" was seen
	offset, number := 0, 0
	for line := range bytes.Lines(p.data) {
		at := offset
		offset += len(line)
		number++
		text := bytes.TrimLeft(line, " ")
		in := len(line) - len(text)
		text = bytes.TrimRight(text, " \t\r\n")
		switch {
		case len(text) == 0 || text[0] == '#':
		case !head:
			if in != 0 || !bytes.HasPrefix(text, []byte("reservations:")) {
				return nil
			}
			if rest := bytes.TrimLeft(text[len("reservations:"):], " "); len(rest) > 0 && rest[0] != '#' {
				return nil
			}
			head = true
		case indent < 0 && !bytes.HasPrefix(text, []byte("- ")):
			return nil
		case indent < 0:
			indent, from, fromLine = in, at, number
		case in > indent:
		case in == indent && bytes.HasPrefix(text, []byte("- ")):
			if at-from >= size {
				parts = append(parts, part{p.data[from:at], fromLine - 1})
				from, fromLine = at, number
			}
		default:
			return nil
		}
	}
	if indent < 0 {
		return nil
	}
	return append(parts, part{p.data[from:], fromLine - 1})
}
