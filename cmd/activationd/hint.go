package main

import (
	"reflect"
	"strings"
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
		return []string{key, key + ".*"}
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

// hint tells what the writer of an unknown key may have meant: a key of the
// same mapping that looks like it, or one of its name in another.
func (d *decoder) hint(name, key string, t reflect.Type) string {
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
			if n := distance(word, c); c != "" && n < at && n < len(c) {
				best, at = c, n
			}
		}
	}
	if best != "" && at <= 1 {
		return "; did you mean " + best + "?"
	}
	for _, full := range d.schema {
		parent, last := "", full
		if i := strings.LastIndex(full, "."); i >= 0 {
			parent, last = full[:i], full[i+1:]
		}
		if last == word && parent != key {
			return "; did you mean " + full + "?"
		}
	}
	if best != "" {
		return "; did you mean " + best + "?"
	}
	return ""
}

// distance is the number of letters to add, drop, change or swap with their
// neighbour to make b of a.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a) // no key is as long
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
