package config

import (
	"encoding"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"activationd/internal/diag"
	"activationd/internal/timetext"
)

// places has the place of each value that was in the file, by the address of the field
// that holds it.
type places map[any]Place

// A decoder lays a file's nodes over a Config that has the defaults, and goes
// on after each fault, so that one reading finds them all.
type decoder struct {
	faults diag.List
	places places
	schema []string // every key there is, to suggest where a misplaced one belongs
	config *Config  // what has been read so far
}

// value lays node n over v, whose name is key.
func (d *decoder) value(n *yaml.Node, key string, v reflect.Value) {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Tag == "!!null" {
		return // "key:" with nothing behind it leaves the default
	}
	d.places[v.Addr().Interface()] = Place{key, n.Line}
	switch p := v.Addr().Interface().(type) {
	case *time.Duration:
		scalar(d, n, key, p, timetext.Duration)
	case *slog.Level:
		scalar(d, n, key, p, parseLevel)
	case encoding.TextUnmarshaler:
		if text, ok := d.text(n, key); ok {
			if err := p.UnmarshalText([]byte(text)); err != nil {
				d.faults.Add(n.Line, "%s: %v", key, err)
			}
		}
	case *Listen:
		if n.Kind == yaml.ScalarNode { // HOST:PORT is short for {address: HOST:PORT}
			p.Address = n.Value
			d.places[&p.Address] = Place{key, n.Line}
			return
		}
		d.mapping(n, key, v)
	case *Backoff:
		if n.Kind == yaml.ScalarNode { // 5s is short for {first: 5s}
			scalar(d, n, key, &p.First, timetext.Duration)
			d.places[&p.First] = Place{key, n.Line}
			return
		}
		d.mapping(n, key, v)
	case *Check:
		if n.Kind == yaml.ScalarNode && n.Value == "notify" { // it is short for {notify: true}
			p.Notify = true
			return
		}
		d.mapping(n, key, v)
	case *string:
		if text, ok := d.text(n, key); ok {
			*p = text
		}
	case *int:
		scalar(d, n, key, p, func(s string) (int, error) {
			i, err := strconv.Atoi(s)
			if err != nil {
				return 0, fmt.Errorf("want a whole number, have %q", s)
			}
			return i, nil
		})
	case *bool:
		scalar(d, n, key, p, parseBool)
	default:
		d.container(n, key, v)
	}
}

func (d *decoder) container(n *yaml.Node, key string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		if b, ok := v.Interface().(*Booking); ok {
			*b = defaultBooking(&d.config.Reservations)
		}
		d.value(n, key, v.Elem())
	case reflect.Struct:
		d.mapping(n, key, v)
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			d.faults.Add(n.Line, "%s: want a list, such as [a, b], have %s", key, kindOf(n))
			return
		}
		// Made at full length first: places knows elements by their address.
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
		for i, item := range n.Content {
			switch item := v.Index(i).Addr().Interface().(type) {
			case *Source:
				item.Reservations = d.config.Reservations.clone()
			case *Listener:
				*item = defaultListener()
			case *Hook:
				*item = defaultHook()
			}
			if item.Tag == "!!null" {
				if v.Type().Elem().Kind() == reflect.Struct { // the check reports the missing keys
					d.places[v.Index(i).Addr().Interface()] = Place{fmt.Sprintf("%s[%d]", key, i), item.Line}
				} else {
					d.faults.Add(item.Line, "%s[%d]: is empty", key, i)
				}
				continue
			}
			d.value(item, fmt.Sprintf("%s[%d]", key, i), v.Index(i))
		}
	case reflect.Map:
		d.table(n, key, v)
	default:
		panic("config: no reader for " + v.Type().String()) // a fault of ours, found by any test
	}
}

// mapping lays a mapping over a struct, in the order of its fields.
func (d *decoder) mapping(n *yaml.Node, key string, v reflect.Value) {
	entries := d.entries(n, key)
	d.fields(entries, key, v)
	for _, e := range entries {
		if !e.used {
			d.faults.Add(e.line, "%sunknown key %q%s", prefix(key, ": "), e.name, d.suggest(e.name, key, v.Type()))
		}
	}
}

func (d *decoder) fields(entries []*entry, key string, v reflect.Value) {
	for i := range v.NumField() {
		name, option := tagOf(v.Type().Field(i))
		d.former(entries, key, name, v.Type().Field(i).Tag.Get("was"))
		switch {
		case option == "inline":
			d.fields(entries, key, v.Field(i))
			continue
		case name == "":
			continue
		}
		for _, e := range entries {
			if e.name == name && !e.used {
				e.used = true
				d.value(e.value, prefix(key, ".")+name, v.Field(i))
				d.bounds(v.Field(i), v.Type().Field(i).Tag)
			}
		}
	}
}

// bounds checks a value that was read by the tags words and range of its field. A value with
// a fault is removed, so that it has no second fault.
func (d *decoder) bounds(v reflect.Value, tag reflect.StructTag) {
	at := d.places[v.Addr().Interface()]
	value := reflect.Indirect(v) // not valid if there is none
	if words := strings.Fields(tag.Get("words")); len(words) > 0 && (value.String() != "" || tag.Get("required") != "") && !slices.Contains(words, value.String()) {
		last := len(words) - 1
		d.faults.Add(at.Line, "%s: want %s or %s, have %q", at.Key, strings.Join(words[:last], ", "), words[last], value)
		v.SetZero()
	}
	if least, most, ok := strings.Cut(tag.Get("range"), " "); ok && value.IsValid() {
		low, _ := strconv.ParseInt(least, 10, 64)
		high, _ := strconv.ParseInt(most, 10, 64)
		if n := value.Int(); n < low || n > high {
			d.faults.Add(at.Line, "%s: must be from %d to %d, is %d", at.Key, low, high, n)
			v.SetZero()
		}
	}
}

// former reads a key that has its former name in the file, and adds a notice. A former
// name is accepted for one release.
func (d *decoder) former(entries []*entry, key, name, was string) {
	named := func(name string) *entry {
		i := slices.IndexFunc(entries, func(e *entry) bool { return e.name == name })
		if i < 0 {
			return nil
		}
		return entries[i]
	}
	old := named(was)
	switch now := named(name); {
	case was == "" || old == nil:
	case now != nil:
		old.used = true
		d.faults.Add(old.line, "%s%s: is the former name of %s, which is set on line %d; remove one of them", prefix(key, "."), was, name, now.line)
	default:
		old.name = name
		d.config.Notices = append(d.config.Notices, fmt.Sprintf("%s:%d: %s%s: this key is called %s now; the next release does not accept the former name",
			d.faults.File, old.line, prefix(key, "."), was, name))
	}
}

// table lays a mapping over a map. What the map had before stays where the mapping does not
// name it.
func (d *decoder) table(n *yaml.Node, key string, v reflect.Value) {
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	for _, e := range d.entries(n, key) {
		elem := reflect.New(v.Type().Elem()).Elem()
		if elem.Kind() == reflect.Pointer {
			elem.Set(reflect.New(elem.Type().Elem())) // if it is empty, the check reports the missing keys
		}
		d.value(e.value, prefix(key, ".")+e.name, reflect.Indirect(elem))
		v.SetMapIndex(reflect.ValueOf(e.name), elem)
		d.places[mapKey{v.Pointer(), e.name}] = Place{key + "." + e.name, e.line}
	}
}

// A mapKey names an entry of a map in places; it has no address of its own.
type mapKey struct {
	table uintptr
	name  string
}

type entry struct {
	name  string
	line  int
	value *yaml.Node
	used  bool
}

// entries returns the pairs of a mapping, the first of each name.
func (d *decoder) entries(n *yaml.Node, key string) []*entry {
	if n.Kind != yaml.MappingNode {
		d.faults.Add(n.Line, "%swant keys and values, have %s", prefix(key, ": "), kindOf(n))
		return nil
	}
	var list []*entry
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if k.Kind != yaml.ScalarNode {
			d.faults.Add(k.Line, "%sa key must be a word, this is %s", prefix(key, ": "), kindOf(k))
			continue
		}
		if line, twice := first[k.Value]; twice {
			d.faults.Add(k.Line, "%s%s: is already there on line %d", prefix(key, "."), k.Value, line)
			continue
		}
		first[k.Value] = k.Line
		list = append(list, &entry{name: k.Value, line: k.Line, value: n.Content[i+1]})
	}
	return list
}

// scalar reads one word by parse.
func scalar[T any](d *decoder, n *yaml.Node, key string, into *T, parse func(string) (T, error)) {
	text, ok := d.text(n, key)
	if !ok {
		return
	}
	v, err := parse(text)
	if err != nil {
		d.faults.Add(n.Line, "%s: %v", key, err)
		return
	}
	*into = v
}

// text returns the word as it stands in the file: 022 is no decimal number
// here, and a user named 1000 needs no quotes.
func (d *decoder) text(n *yaml.Node, key string) (string, bool) {
	if n.Kind != yaml.ScalarNode {
		d.faults.Add(n.Line, "%s: want a single value, have %s", key, kindOf(n))
		return "", false
	}
	return n.Value, true
}

func parseBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "true", "yes", "on":
		return true, nil
	case "false", "no", "off":
		return false, nil
	}
	return false, fmt.Errorf("want true or false, have %q", s)
}

func parseLevel(s string) (l slog.Level, err error) {
	if l.UnmarshalText([]byte(s)) != nil {
		return l, fmt.Errorf("want debug, info, warn or error, have %q", s)
	}
	return l, nil
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys and values"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		return fmt.Sprintf("%q", n.Value)
	default:
		return "something else"
	}
}

func prefix(key, sep string) string {
	if key == "" {
		return ""
	}
	return key + sep
}

// tagOf returns a field's name in the file, empty if it has none, and how it
// is to be treated: path, command, inline or nothing.
func tagOf(f reflect.StructField) (name, option string) {
	name, option, _ = strings.Cut(f.Tag.Get("yaml"), ",")
	if name == "-" {
		return "", ""
	}
	return name, option
}
