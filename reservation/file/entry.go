package file

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"activationd/internal/document"
	"activationd/reservation"
)

// An item is an entry of the list: a reservation, or its errors. If it has errors, only ID and
// Where of the reservation are of use.
type item struct {
	r     reservation.Reservation
	fault string
}

// A budget limits how much aliases can make of a small file. Without aliases, a file of n bytes
// needs less than 16 n.
type budget struct{ left int }

func budgetFor(size int) *budget { return &budget{16*size + 32<<20} }

// use resolves an alias and charges the node to the budget.
func (b *budget) use(n *yaml.Node) *yaml.Node {
	n = document.Deref(n)
	b.left -= 16 + len(n.Value)
	return n
}

// An entry is a reservation while it is read.
type entry struct {
	r      reservation.Reservation
	name   string // the file's
	line   int
	lines  [len(reservation.Fields)]int // of the fields that are there; 0 for the others
	nodes  []string                     // of an inline topology
	faults []lineFault
	budget *budget
	files  *topologyDir
}

type lineFault struct {
	line int
	text string
}

// at returns the line of a key, or that of the reservation if the key is missing.
func (e *entry) at(key string) int {
	if i := reservation.FieldIndex(key); i >= 0 {
		return cmp.Or(e.lines[i], e.line)
	}
	return e.line
}

func (e *entry) add(line int, format string, args ...any) {
	e.faults = append(e.faults, lineFault{line, strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; ")})
}

// itemOf reads an entry of the list.
func itemOf(n *yaml.Node, name string, b *budget, files *topologyDir) item {
	e := entry{name: name, line: n.Line, budget: b, files: files}
	if n = b.use(n); n.Kind != yaml.MappingNode {
		e.r.Where = fmt.Sprintf("%s:%d", name, e.line)
		return item{e.r, "is not a mapping; a reservation begins like \"- id: 1042@ostrava\""}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := b.use(n.Content[i]), n.Content[i+1]
		line := n.Content[i].Line
		switch at := reservation.FieldIndex(k.Value); {
		case k.Kind != yaml.ScalarNode || at < 0:
			e.add(line, "%.80s: unknown key; %s", cmp.Or(k.Value, "(nothing)"), meant(k.Value))
		case e.lines[at] != 0:
			e.add(line, "%s: occurs twice, also in line %d", k.Value, e.lines[at])
		default:
			e.lines[at] = line
			e.set(&reservation.Fields[at], v)
		}
	}
	return e.finish()
}

// meant names the key that the writer of an unknown one may have meant, or else all keys.
func meant(key string) string {
	names := reservation.FieldNames()
	near := document.Nearest(key, names)
	for _, n := range names {
		if near == "" && strings.HasPrefix(key, n) { // environment
			near = n
		}
	}
	if near != "" {
		return "did you mean " + near + "?"
	}
	return "there are " + strings.Join(names, ", ")
}

func (e *entry) set(f *reservation.Field, v *yaml.Node) {
	line := v.Line
	if v = e.budget.use(v); v.Kind == yaml.ScalarNode && v.ShortTag() == "!!null" {
		e.add(line, "%s: is empty; leave it out or give it a value", f.Name)
		return
	}
	f.Set(&e.r, &value{e, f.Name, v, line})
}

// finish reads the topology's file, checks the whole, and makes an item of it.
func (e *entry) finish() item {
	e.r.Where = e.name + ":" + strconv.Itoa(e.line)
	if problem := complete(&e.r, e.nodes, e.files); problem != "" {
		e.add(e.at("topology"), "%s", problem)
	}
	reported := func(key string) bool { // a value that could not be read needs no further errors
		return key != "devices" && key != "env" && slices.ContainsFunc(e.faults, func(f lineFault) bool { return strings.HasPrefix(f.text, key+":") })
	}
	for _, f := range reservation.Faults(&e.r) {
		if !reported(f.Key) {
			e.add(e.at(f.Key), "%s", f.Error())
		}
	}
	if len(e.faults) == 0 {
		return item{r: e.r}
	}
	slices.SortStableFunc(e.faults, func(a, b lineFault) int { return cmp.Compare(a.line, b.line) })
	first := e.faults[0]
	text := first.text
	for _, f := range e.faults[1:] {
		text += "\n"
		if f.line != first.line {
			text += fmt.Sprintf("line %d: ", f.line)
		}
		text += f.text
	}
	e.r.Where = e.name + ":" + strconv.Itoa(first.line)
	return item{e.r, text}
}

// complete adds the text of the topology file that r names, and its nodes as devices if there
// are none.
func complete(r *reservation.Reservation, nodes []string, files *topologyDir) (problem string) {
	if r.TopologyName != "" {
		t := files.get(r.TopologyName)
		if t.fault != "" {
			return fmt.Sprintf("topology: %s: %s", r.TopologyName, t.fault)
		}
		r.Topology, nodes = t.text, t.nodes
	}
	if len(r.Devices) == 0 {
		r.Devices = nodes
	}
	return ""
}
