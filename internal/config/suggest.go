package config

import (
	"reflect"
	"slices"
	"strings"

	"activationd/internal/document"
)

// schemaOf lists every key of a struct by its full name: a list's elements as
// "[]", a table's as "*".
func schemaOf(t reflect.Type, key string) []string {
	switch {
	case t.Kind() == reflect.Pointer:
		return schemaOf(t.Elem(), key)
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		return schemaOf(t.Elem(), key+"[]")
	case t.Kind() == reflect.Map:
		return append([]string{key}, schemaOf(t.Elem(), key+".*")...)
	case t.Kind() != reflect.Struct || t == reflect.TypeFor[Rlimit]():
		return []string{key}
	}
	var keys []string
	for i := range t.NumField() {
		name, option := tagOf(t.Field(i))
		switch {
		case option == "inline":
			keys = append(keys, schemaOf(t.Field(i).Type, key)...)
		case name != "":
			keys = append(keys, schemaOf(t.Field(i).Type, prefix(key, ".")+name)...)
		}
	}
	return keys
}

// suggest asks whether the writer of an unknown key meant another one: a key of the same
// mapping that looks like it, or one of the same name in another mapping.
func (d *decoder) suggest(name, key string, t reflect.Type) string {
	best, at := "", len(name)/3+2
	word := strings.ReplaceAll(strings.ToLower(name), "-", "_")
	for i := range t.NumField() {
		field, option := tagOf(t.Field(i))
		candidates := []string{field}
		if option == "inline" {
			candidates = nil
			for f := range t.Field(i).Type.NumField() {
				inner, _ := tagOf(t.Field(i).Type.Field(f))
				candidates = append(candidates, inner)
			}
		}
		for _, c := range candidates {
			if n := document.Distance(word, c); c != "" && n < at && n < len(c) {
				best, at = c, n
			}
			if len(word) >= 3 && strings.HasPrefix(c, word) { // env
				best, at = c, 0
			}
		}
	}
	if best != "" && at <= 1 {
		return "; did you mean " + best + "?"
	}
	if strings.HasPrefix(key, "discover[") && strings.HasSuffix(key, "]") && slices.Contains(d.schema, "services.*."+word) {
		return ": it follows from the .env file"
	}
	for _, full := range d.schema {
		parent, last := "", full
		if i := strings.LastIndex(full, "."); i >= 0 {
			parent, last = full[:i], full[i+1:]
		}
		if last == word && parent != key {
			return "; did you mean " + strings.ReplaceAll(full, ".*", ".NAME") + "?"
		}
	}
	if best != "" {
		return "; did you mean " + best + "?"
	}
	return ""
}
