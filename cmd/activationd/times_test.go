package main

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"activationd/internal/timetext/timeforms"
)

// TestTimesOfSettings tries every setting that is a duration or a time with every form.
func TestTimesOfSettings(t *testing.T) {
	texts := map[string]string{ // settings that are read as text
		"recurrences.every": "duration", "recurrences.jitter": "duration", "recurrences.start": "instant", "recurrences.end": "instant",
	}
	tried := 0
	walkSettings(reflect.TypeFor[Config](), nil, func(path []string, typ reflect.Type) {
		key := strings.Join(path, ".")
		if typ == reflect.TypeFor[time.Duration]() {
			tried++
			for _, f := range timeforms.Durations() {
				said, value := trySetting(path, f.Text)
				if f.Text != "" && f.Why != "" && !strings.Contains(said, f.Why) {
					t.Errorf("%s: %s: of %q is said %q, want that it %s", key, f.Name, f.Text, said, f.Why)
				}
				if f.Why == "" && (value != f.Want.String() || strings.Contains(said, "duration")) {
					t.Errorf("%s: %s: %q is %s, %s, want %v", key, f.Name, f.Text, value, said, f.Want)
				}
			}
		}
		switch texts[key] {
		case "duration":
			delete(texts, key)
			for _, f := range timeforms.Durations() {
				said, _ := trySetting(path, f.Text)
				if f.Text != "" && (f.Why == "" && strings.Contains(said, path[1]+": ") || !strings.Contains(said, f.Why)) {
					t.Errorf("%s: %s: of %q is said %q, want %s", key, f.Name, f.Text, said, f.Why)
				}
			}
		case "instant":
			delete(texts, key)
			for _, f := range timeforms.Instants() {
				said, _ := trySetting(path, f.Text)
				early := f.Want.Year() < 1972 || f.Want.Before(time.Now()) // a rule's own range
				if f.Why == "" && !early && strings.Contains(said, path[1]+": ") || !strings.Contains(said, f.Why) {
					t.Errorf("%s: %s: of %q is said %q, want %s", key, f.Name, f.Text, said, f.Why)
				}
			}
			for _, f := range timeforms.Local() {
				if said, _ := trySetting(path, f.Text); strings.Contains(said, path[1]+": ") {
					t.Errorf("%s: %s: of %q is said %q, want nothing", key, f.Name, f.Text, said)
				}
			}
		}
	})
	if tried < 20 || len(texts) > 0 {
		t.Errorf("%d durations were tried, and not %v", tried, texts)
	}
}

// walkSettings calls fn for every value that a configuration can have.
func walkSettings(typ reflect.Type, path []string, fn func(path []string, typ reflect.Type)) {
	switch {
	case typ.Kind() == reflect.Pointer, typ.Kind() == reflect.Slice && typ.Elem().Kind() == reflect.Struct:
		walkSettings(typ.Elem(), path, fn)
	case typ.Kind() == reflect.Struct:
		for i := range typ.NumField() {
			name, option := tagOf(typ.Field(i))
			switch {
			case option == "inline":
				walkSettings(typ.Field(i).Type, path, fn)
			case name != "":
				walkSettings(typ.Field(i).Type, append(path[:len(path):len(path)], name), fn)
			}
		}
	default:
		fn(path, typ)
	}
}

// trySetting returns what is said of a setting, and its value.
func trySetting(path []string, text string) (said, value string) {
	yaml := strconv.Quote(text)
	for i := len(path) - 1; i >= 0; i-- {
		rest := ""
		if path[0] == "recurrences" && i == 1 {
			rest = ", name: x, command: [true]"
			if path[1] != "every" {
				rest += ", every: 1h"
			}
		}
		yaml = fmt.Sprintf("{%s: %s%s}", path[i], yaml, rest)
		if i == 1 && (path[0] == "recurrences" || path[0] == "sources") {
			yaml = "[" + yaml + "]"
		}
	}
	c, faults := parseConfig("c", []byte(yaml+"\n"), defaultConfig())
	v := reflect.ValueOf(c).Elem()
	for _, name := range path {
		for v.Kind() == reflect.Pointer || v.Kind() == reflect.Slice {
			if v.Kind() == reflect.Slice {
				v = v.Index(0)
			} else if v = v.Elem(); !v.IsValid() {
				return fmt.Sprint(faults.Err()), ""
			}
		}
		v = fieldOf(v, name)
	}
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	return fmt.Sprint(faults.Err()), fmt.Sprint(v.Interface())
}

func fieldOf(v reflect.Value, key string) reflect.Value {
	for i := range v.NumField() {
		name, option := tagOf(v.Type().Field(i))
		if name == key {
			return v.Field(i)
		}
		if option == "inline" {
			if f := fieldOf(v.Field(i), key); f.IsValid() {
				return f
			}
		}
	}
	return reflect.Value{}
}
