package file

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"activationd/internal/document"
	"activationd/internal/timetext"
	"activationd/reservation"
	"activationd/topology"
)

// A value is the value of one key of an entry; it is a [reservation.Value].
type value struct {
	*entry
	key  string
	node *yaml.Node // never an alias
	line int        // of the value, or of the alias
}

func (v *value) problem(line int, text string) {
	if text != "" {
		v.add(line, "%s: %s", v.key, text)
	}
}

// Text returns the text that stands in the file, so 007 stays 007.
func (v *value) Text() string {
	switch {
	case v.node.Kind != yaml.ScalarNode:
		v.problem(v.line, "is not a single value")
		return ""
	case v.key == "id" && v.node.ShortTag() != "!!str" && strings.Trim(v.node.Value, "0123456789") != "":
		v.problem(v.line, fmt.Sprintf("%.80s is not text to YAML; write '%.80s'", v.node.Value, v.node.Value))
	}
	return v.node.Value
}

// scalar reads the text by a function that returns what is wrong with it.
func scalar[T any](v *value, read func(string) (T, string)) (t T) {
	if v.node.Kind != yaml.ScalarNode {
		v.problem(v.line, "is not a single value")
		return t
	}
	t, problem := read(v.node.Value)
	v.problem(v.line, problem)
	return t
}

func (v *value) Word() string             { return scalar(v, word) }
func (v *value) Instant() time.Time       { return scalar(v, instant) }
func (v *value) Duration() *time.Duration { return scalar(v, duration) }
func (v *value) Number() *int             { return scalar(v, number) }

func (v *value) List(most int) []string {
	if v.node.Kind != yaml.SequenceNode {
		v.problem(v.at(v.key), "is not a list; write [one, two]")
		return nil
	}
	if n := len(v.node.Content); n > most {
		v.problem(v.at(v.key), fmt.Sprintf("has %d values, more than %d", n, most))
		return nil
	}
	l := make([]string, 0, len(v.node.Content))
	for _, n := range v.node.Content {
		line := n.Line
		if n = v.budget.use(n); n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" {
			v.problem(line, "a value of the list is not plain text")
			continue
		}
		l = append(l, n.Value)
	}
	return l
}

func (v *value) Variables() map[string]string {
	return mapping(v, "{NAME: value}", "is not plain text; write '' for an empty one", reservation.MaxEnv, func(s string) (string, string) { return s, "" })
}

func (v *value) Numbers() map[string]int {
	return mapping(v, "{DOMAIN: 2}", "is not a whole number", reservation.MaxDomains, func(s string) (int, string) {
		n, problem := number(s)
		if n == nil {
			return 0, problem
		}
		return *n, ""
	})
}

// mapping reads a mapping of names, at most as many as given, to values that read
// understands. Like is how to write one, and odd what is wrong with something else than a
// scalar.
func mapping[T any](v *value, like, odd string, most int, read func(string) (T, string)) map[string]T {
	if v.node.Kind != yaml.MappingNode {
		v.problem(v.at(v.key), "is not a mapping; write "+like)
		return nil
	}
	pairs := v.node.Content
	if n := len(pairs) / 2; n > most {
		v.problem(v.at(v.key), fmt.Sprintf("has %d names, more than %d", n, most))
		return nil
	}
	all := make(map[string]T, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		line := pairs[i].Line
		name, x := v.budget.use(pairs[i]), v.budget.use(pairs[i+1])
		if name.Kind != yaml.ScalarNode || x.Kind != yaml.ScalarNode || x.ShortTag() == "!!null" {
			v.problem(line, fmt.Sprintf("%.80s: %s", name.Value, odd))
			continue
		}
		if _, twice := all[name.Value]; twice {
			v.problem(line, fmt.Sprintf("%.80s: occurs twice", name.Value))
			continue
		}
		value, problem := read(x.Value)
		if problem != "" {
			v.problem(line, fmt.Sprintf("%.80s: %s", name.Value, problem))
			continue
		}
		all[name.Value] = value
	}
	return all
}

// Topology returns the text of an inline topology, whose nodes it keeps, or the name of
// a file.
func (v *value) Topology() (text, name string) {
	if v.node.Kind != yaml.MappingNode {
		return "", scalar(v, topologyName)
	}
	text, nodes, err := topology.Inline(v.node, &v.budget.left, v.files.config("."))
	if err != nil {
		line, text := v.at(v.key), plain(err)
		if at, ok := errors.AsType[*document.Error](err); ok {
			line, text = at.Line, at.Text
		}
		v.problem(line, text)
	}
	v.nodes = nodes
	return text, ""
}

// These read a text, and return what is wrong with it, or nothing.

func word(s string) (string, string) {
	if s == "" {
		return "", "is neither run nor skip"
	}
	return s, ""
}

// instant reads a time, which must have a zone.
func instant(s string) (time.Time, string) {
	t, err := timetext.Instant(s, nil)
	return t, problemOf(err)
}

func duration(s string) (*time.Duration, string) {
	d, err := timetext.Duration(s)
	if err != nil {
		return nil, err.Error()
	}
	return &d, ""
}

func number(s string) (*int, string) {
	n, err := strconv.Atoi(s)
	if err != nil {
		return nil, fmt.Sprintf("%.80q is not a whole number", s)
	}
	return &n, ""
}

func topologyName(s string) (string, string) {
	switch {
	case strings.ContainsAny(s, "\n{"):
		return "", "write it as a mapping, not as text, or name a file"
	case !filepath.IsLocal(filepath.FromSlash(s)) || s == "." || strings.ContainsRune(s, 0):
		return "", fmt.Sprintf("%.80q is not the name of a file beside this one", s)
	}
	return s, ""
}

func problemOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
