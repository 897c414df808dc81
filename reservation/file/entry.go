package file

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"activationd/internal/document"
	"activationd/internal/timetext"
	"activationd/reservation"
	"activationd/topology"
)

// An item is one entry of the list: a reservation, or what is wrong with it. Of a
// bad one only ID and Where are of use.
type item struct {
	r     reservation.Reservation
	fault string
}

// A budget bounds what aliases can make of a small file. Without aliases a file
// of n bytes needs less than 16 n.
type budget struct{ left int }

func budgetFor(size int) *budget { return &budget{16*size + 32<<20} }

// use resolves an alias and pays for the node.
func (b *budget) use(n *yaml.Node) *yaml.Node {
	n = document.Deref(n)
	b.left -= 16 + len(n.Value)
	return n
}

// keys are those that a reservation may have.
var keys = [...]string{
	"id", "owner", "start", "end", "devices", "topology", "activate", "deactivate", "label",
	"lead", "tail", "timeout", "grace", "retries", "missed", "env",
}

// An entry is a reservation while it is read.
type entry struct {
	r      reservation.Reservation
	name   string // the file's
	line   int
	lines  [len(keys)]int // of the keys that are there, in the order of keys
	nodes  []string       // of a topology that stands inline
	faults []lineFault
	budget *budget
	beside *beside
}

type lineFault struct {
	line int
	text string
}

// at is the line of a key, or the reservation's own if the key is not there.
func (e *entry) at(key string) int {
	if i := slices.Index(keys[:], key); i >= 0 {
		return cmp.Or(e.lines[i], e.line)
	}
	return e.line
}

func (e *entry) add(line int, format string, args ...any) {
	e.faults = append(e.faults, lineFault{line, fmt.Sprintf(format, args...)})
}

// itemOf reads one entry of the list.
func itemOf(n *yaml.Node, name string, b *budget, files *beside) item {
	e := entry{name: name, line: n.Line, budget: b, beside: files}
	if n = b.use(n); n.Kind != yaml.MappingNode {
		e.r.Where = fmt.Sprintf("%s:%d", name, e.line)
		return item{e.r, "is not a mapping; a reservation begins like \"- id: 1042@ostrava\""}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := b.use(n.Content[i]), n.Content[i+1]
		line := n.Content[i].Line
		switch at := slices.Index(keys[:], k.Value); {
		case k.Kind != yaml.ScalarNode || at < 0:
			e.add(line, "%.80s: unknown key; there are %s", cmp.Or(k.Value, "(nothing)"), strings.Join(keys[:], ", "))
		case e.lines[at] != 0:
			e.add(line, "%s: is there twice, also in line %d", k.Value, e.lines[at])
		default:
			e.lines[at] = line
			e.set(k.Value, v)
		}
	}
	return e.finish()
}

func (e *entry) set(key string, v *yaml.Node) {
	line := v.Line
	if v = e.budget.use(v); v.Kind == yaml.ScalarNode && v.ShortTag() == "!!null" {
		e.add(line, "%s: is empty; leave it out or give it a value", key)
		return
	}
	switch key {
	case "devices":
		e.r.Devices = e.list(key, v, reservation.MaxDevices)
	case "activate":
		e.r.Activate = e.list(key, v, reservation.MaxArgs)
	case "deactivate":
		e.r.Deactivate = e.list(key, v, reservation.MaxArgs)
	case "env":
		e.env(v)
	case "topology":
		if v.Kind == yaml.MappingNode {
			e.inline(v)
			return
		}
		fallthrough
	default:
		switch {
		case v.Kind != yaml.ScalarNode:
			e.add(line, "%s: is not a single value", key)
		case key == "id" && v.ShortTag() != "!!str" && strings.Trim(v.Value, "0123456789") != "":
			e.r.ID = v.Value
			e.add(line, "id: %.80s is not text to YAML; write '%.80s'", v.Value, v.Value)
		default:
			if problem := setText(&e.r, key, v.Value); problem != "" {
				e.add(line, "%s: %s", key, problem)
			}
		}
	}
}

// setText sets what is written as one value and returns what is wrong with it.
// The text is what stands in the file, so 007 stays 007.
func setText(r *reservation.Reservation, key, s string) (problem string) {
	switch key {
	case "id":
		r.ID = s
	case "owner":
		r.Owner = s
	case "label":
		r.Label = s
	case "start":
		r.Start, problem = instant(s)
	case "end":
		r.End, problem = instant(s)
	case "lead":
		r.Lead, problem = duration(s)
	case "tail":
		r.Tail, problem = duration(s)
	case "timeout":
		r.Timeout, problem = duration(s)
	case "grace":
		r.Grace, problem = duration(s)
	case "retries":
		n, err := strconv.Atoi(s)
		if err != nil {
			return fmt.Sprintf("%.80q is not a number", s)
		}
		r.Retries = &n
	case "missed":
		if r.Missed = s; s == "" {
			return "is neither run nor skip"
		}
	case "topology":
		switch {
		case strings.ContainsAny(s, "\n{"):
			return "write it as a mapping, not as text, or name a file"
		case !filepath.IsLocal(filepath.FromSlash(s)) || s == "." || strings.ContainsRune(s, 0):
			return fmt.Sprintf("%.80q is not the name of a file beside this one", s)
		}
		r.TopologyName = s
	}
	return problem
}

// instant reads a time, which must have a zone.
func instant(s string) (time.Time, string) {
	t, err := timetext.Instant(s, nil)
	return t, said(err)
}

func duration(s string) (*time.Duration, string) {
	d, err := timetext.Duration(s)
	return &d, said(err)
}

func said(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (e *entry) list(key string, v *yaml.Node, most int) []string {
	if v.Kind != yaml.SequenceNode {
		e.add(e.at(key), "%s: is not a list; write [one, two]", key)
		return nil
	}
	if len(v.Content) > most {
		e.add(e.at(key), "%s: has %d values, more than %d", key, len(v.Content), most)
		return nil
	}
	l := make([]string, 0, len(v.Content))
	for _, n := range v.Content {
		line := n.Line
		if n = e.budget.use(n); n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" {
			e.add(line, "%s: a value of the list is not plain text", key)
			continue
		}
		l = append(l, n.Value)
	}
	return l
}

func (e *entry) env(v *yaml.Node) {
	if v.Kind != yaml.MappingNode {
		e.add(e.at("env"), "env: is not a mapping; write {NAME: value}")
		return
	}
	if len(v.Content)/2 > reservation.MaxEnv {
		e.add(e.at("env"), "env: has %d variables, more than %d", len(v.Content)/2, reservation.MaxEnv)
		return
	}
	e.r.Env = make(map[string]string, len(v.Content)/2)
	for i := 0; i+1 < len(v.Content); i += 2 {
		line := v.Content[i].Line
		k, x := e.budget.use(v.Content[i]), e.budget.use(v.Content[i+1])
		_, twice := e.r.Env[k.Value]
		switch {
		case k.Kind != yaml.ScalarNode || x.Kind != yaml.ScalarNode || x.ShortTag() == "!!null":
			e.add(line, "env: %.80s: is not plain text; write '' for an empty one", k.Value)
		case twice:
			e.add(line, "env: %.80s: is there twice", k.Value)
		default:
			e.r.Env[k.Value] = x.Value
		}
	}
}

func (e *entry) inline(v *yaml.Node) {
	var err error
	if e.r.Topology, e.nodes, err = topology.Inline(v, &e.budget.left, e.beside.config(".")); err != nil {
		line, text := e.at("topology"), plain(err)
		if at, ok := errors.AsType[*document.Error](err); ok {
			line, text = at.Line, at.Text
		}
		e.add(line, "topology: %s", text)
	}
}

// finish reads the topology's file, checks the whole, and makes an item of it.
func (e *entry) finish() item {
	e.r.Where = e.name + ":" + strconv.Itoa(e.line)
	if problem := complete(&e.r, e.nodes, e.beside); problem != "" {
		e.add(e.at("topology"), "%s", problem)
	}
	told := func(key string) bool { // of a value that could not be read nothing more is to be said
		return key != "devices" && key != "env" && slices.ContainsFunc(e.faults, func(f lineFault) bool { return strings.HasPrefix(f.text, key+":") })
	}
	for _, f := range reservation.Faults(&e.r) {
		if !told(f.Key) {
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
		text += "; "
		if f.line != first.line {
			text += fmt.Sprintf("line %d: ", f.line)
		}
		text += f.text
	}
	e.r.Where = e.name + ":" + strconv.Itoa(first.line)
	return item{e.r, text}
}

// complete adds the text of the topology's file that r names, and its nodes as
// devices if there are none.
func complete(r *reservation.Reservation, nodes []string, files *beside) (problem string) {
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
