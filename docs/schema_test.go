package docs

import (
	"bytes"
	"encoding"
	"encoding/json"
	"flag"
	"log/slog"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"activationd/internal/config"
	"activationd/reservation"
)

var update = flag.Bool("update", false, "rewrite the schemas")

// An object is a JSON object.
type object = map[string]any

// TestSchemas makes the schemas and compares them with the files, which `go test ./docs
// -update` rewrites.
func TestSchemas(t *testing.T) {
	for name, schema := range map[string]object{"reservations": reservationsSchema(t), "config": configSchema(t)} {
		schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(schema); err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(name+suffix, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		} else if !bytes.Equal(Schema(name), b.Bytes()) {
			t.Errorf("%s is not what the declarations say: run go test ./docs -update", name+suffix)
		}
	}
}

// A probe is a [reservation.Value] that notes as what type a field reads it.
type probe struct {
	kind string
	most int
}

func (p *probe) Text() string                 { p.kind = "text"; return "" }
func (p *probe) Word() string                 { p.kind = "word"; return "" }
func (p *probe) Instant() (t time.Time)       { p.kind = "time"; return t }
func (p *probe) Duration() *time.Duration     { p.kind = "duration"; return nil }
func (p *probe) Number() *int                 { p.kind = "number"; return nil }
func (p *probe) List(most int) []string       { p.kind, p.most = "list", most; return nil }
func (p *probe) Variables() map[string]string { p.kind = "variables"; return nil }
func (p *probe) Numbers() map[string]int      { p.kind = "numbers"; return nil }
func (p *probe) Topology() (_, _ string)      { p.kind = "topology"; return "", "" }

// A name as devices have it, and an id.
const (
	deviceName = `^[A-Za-z0-9_][A-Za-z0-9._@:+-]{0,63}$`
	idName     = `^[A-Za-z0-9][A-Za-z0-9._@:+-]{0,63}$`
	domainName = `^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`
)

func not(pattern string) object { return object{"not": object{"pattern": pattern}} }

// reservationsSchema describes a reservations file: the keys and the types of their values
// as the reader declares them, the limits of package reservation, and the texts of
// reservations.md.
func reservationsSchema(t *testing.T) object {
	plain := func() object { return object{"type": []string{"string", "number", "boolean"}} }
	keys := documentedKeys(t)
	properties := object{}
	for i := range reservation.Fields {
		f := &reservation.Fields[i]
		var p probe
		f.Set(&reservation.Reservation{}, &p)
		var s object
		switch p.kind {
		case "text":
			s = plain()
			s["maxLength"] = reservation.MaxText
			if f.Name == "id" {
				s = object{"type": "string", "pattern": idName, "allOf": []any{not(`\.\.`), not(`^[0-9]+$`)}}
			}
		case "word":
			s = object{"enum": []string{"run", "skip"}}
		case "time":
			// A schema does not know all forms of times. It knows those without a zone.
			s = object{"type": "string", "minLength": 1, "allOf": []any{not(`^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ][0-9:.,]*)?$`), not(`^[^0-9]*$`), not(`^[0-9:]*$`)}}
		case "duration":
			s = duration()
			if f.Name == "timeout" {
				s = object{"allOf": []any{s, not(`^0+(\.0+)?[a-z]*$`), object{"not": object{"const": 0}}}}
			}
		case "number":
			s = number(0, reservation.MaxRetries)
		case "list":
			s = object{"type": "array", "maxItems": p.most, "items": plain()}
			if f.Name == "devices" {
				s["items"] = object{"type": []string{"string", "integer"}, "pattern": deviceName}
			} else {
				s["minItems"] = 1
			}
		case "variables":
			s = object{
				"type": "object", "maxProperties": reservation.MaxEnv, "additionalProperties": plain(),
				"propertyNames": object{"pattern": `^[A-Za-z_][A-Za-z0-9_]*$`, "not": object{"pattern": "^ACTIVATION"}},
			}
		case "numbers":
			s = object{
				"type": "object", "maxProperties": reservation.MaxDomains, "additionalProperties": number(1, reservation.MaxVLANs),
				"propertyNames": object{"pattern": domainName},
			}
		case "topology":
			s = object{"anyOf": []any{
				object{"type": "string", "pattern": `^[^\n{]+$`, "not": object{"pattern": `^(/|\.\.(/|$))`}},
				object{"type": "object", "required": []string{"topology"}},
			}}
		default:
			t.Fatalf("%s is read as %q, which is new here", f.Name, p.kind)
		}
		k := keys[f.Name]
		s["description"] = k.text + "\n\nType: " + k.rows["type"] + ".\nDefault: " + k.rows["default"] + "."
		properties[f.Name] = s
	}
	return object{
		"title": "Reservations of activationd", "type": "object", "additionalProperties": false,
		"required": []string{"reservations"},
		"properties": object{"reservations": object{
			"type": "array", "description": "The bookings that activationd is to activate.",
			"items": object{"$ref": "#/$defs/reservation"},
		}},
		"$defs": object{"reservation": object{
			"type": "object", "additionalProperties": false, "required": []string{"id", "start", "end"}, "properties": properties,
		}},
	}
}

func duration() object {
	return object{"anyOf": []any{object{"type": "string", "allOf": []any{not(`^[^0-9]*$`), not(`^0*[1-9][0-9.]*$`), not(`^-`), not(`^[0-9]+:[0-9]+$`)}}, object{"const": 0}}}
}

func number(low, high int64) object {
	return object{"anyOf": []any{
		object{"type": "integer", "minimum": low, "maximum": high},
		object{"type": "string", "pattern": `^[+-]?[0-9]+$`},
	}}
}

// configSchema describes the configuration: the keys and the types of their values as
// package config declares them, and the texts of the example.
func configSchema(t *testing.T) object {
	texts := exampleTexts(t)
	s := settings(t, reflect.TypeFor[config.Config](), "", texts)
	s["title"] = "Configuration of activationd"
	delete(s, "description")
	return s
}

// settings describes the values of a type; key is the name of what has it.
func settings(t *testing.T, typ reflect.Type, key string, texts map[string]string) object {
	var s object
	switch reflect.New(typ).Interface().(type) {
	case *time.Duration:
		s = duration()
		s["anyOf"] = append(s["anyOf"].([]any), object{"type": "null"})
	case *slog.Level:
		s = object{"anyOf": []any{object{"enum": []string{"debug", "info", "warn", "error"}}, object{"type": []string{"string", "null"}}}}
	case *config.Listen:
		s = object{"anyOf": []any{object{"type": "string"}, mapping(t, typ, key, texts)}}
	case *config.Backoff:
		s = object{"anyOf": append(duration()["anyOf"].([]any), mapping(t, typ, key, texts))}
	case *config.Check:
		s = object{"anyOf": []any{object{"const": "notify"}, mapping(t, typ, key, texts)}}
	case encoding.TextUnmarshaler, *string:
		s = object{"type": []string{"string", "number", "boolean", "null"}}
	case *int:
		s = object{"type": []string{"integer", "string", "null"}}
	case *bool:
		s = object{"enum": []any{true, false, "yes", "no", "on", "off", nil}}
	default:
		switch typ.Kind() {
		case reflect.Pointer:
			return settings(t, typ.Elem(), key, texts)
		case reflect.Struct:
			s = mapping(t, typ, key, texts)
		case reflect.Slice:
			s = object{"type": []string{"array", "null"}, "items": settings(t, typ.Elem(), key+"[]", texts)}
		case reflect.Map:
			s = object{"type": []string{"object", "null"}, "additionalProperties": settings(t, typ.Elem(), key+".*", texts)}
		default:
			t.Fatalf("%s is %v, which is new here", key, typ)
		}
	}
	if text := textOf(key, texts); text != "" {
		s["description"] = text
	}
	return s
}

// textOf returns the text about a key. The settings of a source and of jobs are explained
// with those of reservations, the settings of a recurrence with those of jobs, those of a
// service's key alive with those of ready, those of discovered services with those of
// others, and those of booking with those of reservations.
func textOf(key string, texts map[string]string) string {
	for _, from := range []struct{ group, like string }{
		{"sources[].", "reservations."}, {"recurrences[].", "jobs."}, {"jobs.", "reservations."}, {"services.*.alive.", "services.*.ready."},
		{"discover[].", "services.*."}, {"booking.", "reservations."},
	} {
		if rest, ok := strings.CutPrefix(key, from.group); ok && texts[key] == "" {
			text := textOf(from.like+rest, texts)
			if from.group == "jobs." {
				text, _, _ = strings.Cut(text, " Default:") // it has its own
			}
			return text
		}
	}
	return texts[key]
}

func mapping(t *testing.T, typ reflect.Type, key string, texts map[string]string) object {
	properties := object{}
	var required []string
	for f := range typ.Fields() {
		name, option, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case !f.IsExported() || name == "-":
			continue
		case option == "inline":
			maps.Copy(properties, mapping(t, f.Type, key, texts)["properties"].(object))
			continue
		}
		full := strings.TrimPrefix(key+"."+name, ".")
		s := settings(t, f.Type, full, texts)
		if words := strings.Fields(f.Tag.Get("words")); len(words) > 0 {
			values := []any{nil}
			for _, w := range words {
				values = append(values, w)
			}
			delete(s, "type")
			s["enum"] = values
		}
		if least, most, ok := strings.Cut(f.Tag.Get("range"), " "); ok {
			low, _ := strconv.ParseInt(least, 10, 64)
			high, _ := strconv.ParseInt(most, 10, 64)
			delete(s, "type")
			s["anyOf"] = append(number(low, high)["anyOf"].([]any), object{"type": "null"})
		}
		properties[name] = s
		if was := f.Tag.Get("was"); was != "" {
			properties[was] = object{"deprecated": true, "description": "The former name of " + name + "."}
		}
		if f.Tag.Get("required") != "" {
			required = append(required, name)
		}
	}
	s := object{"type": []string{"object", "null"}, "additionalProperties": false, "properties": properties}
	if required != nil {
		s["required"] = required
	}
	return s
}

// Lines of the example: a key, which is commented out, and a text, which explains the key
// above it or, if it stands in the first column, the key below it.
var (
	exampleKey  = regexp.MustCompile(`^#( *)(- )?([a-z_]+):(.*)$`)
	exampleText = regexp.MustCompile(`^( *)# (\S.*)$`)
)

// lists are the keys with lists of keys and values.
var lists = []string{"listen", "sources", "recurrences", "discover", "listeners", "hooks"}

// exampleTexts returns what activationd.example.yaml says of each key, by its full name.
func exampleTexts(t *testing.T) map[string]string {
	data, err := os.ReadFile("activationd.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	texts, values := make(map[string]string), make(map[string]string)
	var (
		path   = map[int]string{} // by their indent, the keys around the next one
		before []string           // the text above the next key
		last   string             // the key above
		others []string           // those above it, without a text, whose names are like its
	)
	for line := range strings.SplitSeq(string(data), "\n") {
		k, text := exampleKey.FindStringSubmatch(line), exampleText.FindStringSubmatch(line)
		switch {
		case len(k) > 0 && len(k[1]) != 1:
			indent := len(k[1]) + len(k[2])
			parent := ""
			for _, i := range slices.Sorted(maps.Keys(path)) {
				if i < indent {
					parent = path[i] + "."
				} else {
					delete(path, i)
				}
			}
			if list := strings.TrimSuffix(parent, "."); slices.Contains(lists, list) {
				parent = list + "[]."
			}
			if rest, ok := strings.CutPrefix(parent, "booking.owners.ada."); ok {
				parent = "booking.owners.*." + rest
			}
			if rest, ok := strings.CutPrefix(parent, "services.web."); ok {
				parent = "services.*." + rest
			}
			if name := parent + k[3]; texts[last] == "" && last != "" && alike(last, name) {
				others, last = []string{last}, name
			} else {
				others, last = nil, name
			}
			path[indent], values[last] = last, strings.TrimSpace(k[4])
			texts[last], before = strings.Join(before, " "), nil
		case len(text) > 0 && text[1] == "":
			before = append(before, text[2])
		case len(text) > 0:
			for _, key := range append(others, last) {
				texts[key] = strings.TrimSpace(texts[key] + " " + text[2])
			}
		default:
			before = nil
		}
	}
	for key := range texts {
		if strings.HasPrefix(key, "services.") && !strings.HasPrefix(key, "services.*.") {
			delete(texts, key) // names of services
		}
	}
	// One key stands for all of those of reservations, and one text is about several keys.
	delete(texts, "sources[].lead")
	delete(texts, "recurrences[].missed")
	delete(texts, "discover[].log")
	for key, text := range texts {
		example := slices.ContainsFunc(lists, func(list string) bool { return strings.HasPrefix(key, list) }) || strings.HasPrefix(key, "services") || strings.HasPrefix(key, "booking") ||
			strings.Contains(text, "Example.") || strings.Contains(text, "Default:") || strings.Contains(text, "by default")
		text = strings.Join(strings.Fields(strings.ReplaceAll(text, "Example.", "")), " ")
		if v := values[key]; !example && v != "" {
			text = strings.TrimSpace(text + " Default: " + v)
		}
		texts[key] = text
		if text == "" {
			delete(texts, key)
		}
	}
	if len(texts) < 80 {
		t.Errorf("only %d keys are explained: %v", len(texts), slices.Sorted(maps.Keys(texts)))
	}
	return texts
}

// alike reports whether two keys of one mapping, such as timeout and deactivate_timeout, are
// explained together.
func alike(a, b string) bool {
	i, j := strings.LastIndexByte(a, '.')+1, strings.LastIndexByte(b, '.')+1
	return a[:i] == b[:j] && (strings.HasSuffix(b, a[i:]) || strings.HasPrefix(b[j:], a[i:]))
}

// A documented key is a section of reservations.md about a key.
type documented struct {
	text string
	rows map[string]string
}

var span = regexp.MustCompile("`([^`]+)`")

// documentedKeys reads the sections of reservations.md, in the order of the reader's fields.
func documentedKeys(t *testing.T) map[string]documented {
	data, err := os.ReadFile("reservations.md")
	if err != nil {
		t.Fatal(err)
	}
	keys := make(map[string]documented)
	var names []string
	link := regexp.MustCompile(`\[([^]]*)\]\([^)]*\)`)
	for section := range strings.SplitSeq(string(data), "\n### ") {
		head, body, _ := strings.Cut(section, "\n")
		m := span.FindStringSubmatch(head)
		if len(m) == 0 || head != m[0] {
			continue
		}
		body, _, _ = strings.Cut(body, "\n## ")
		text, table, _ := strings.Cut(body, "\n| | |\n|---|---|\n")
		k := documented{text: link.ReplaceAllString(strings.Join(strings.Fields(text), " "), "$1"), rows: map[string]string{}}
		for line := range strings.Lines(strings.TrimSpace(table)) {
			if cells := strings.SplitN(strings.Trim(strings.TrimSpace(line), "|"), "|", 2); len(cells) == 2 {
				k.rows[strings.TrimSpace(cells[0])] = strings.TrimSpace(cells[1])
			}
		}
		for _, row := range []string{"type", "default", "example", "refused"} {
			if k.rows[row] == "" {
				t.Errorf("reservations.md: %s has no row %s", m[1], row)
			}
		}
		keys[m[1]] = k
		names = append(names, m[1])
	}
	if want := reservation.FieldNames(); !slices.Equal(names, want) {
		t.Errorf("reservations.md has sections about\n%v, want\n%v", names, want)
	}
	return keys
}
