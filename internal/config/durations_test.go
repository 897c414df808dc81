package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"activationd/internal/timetext/timeforms"
)

// TestDurations tries every setting that is a duration with every form of one.
func TestDurations(t *testing.T) {
	tried := 0
	walkSettings(reflect.TypeFor[Config](), nil, func(path []string, typ reflect.Type) {
		if typ != reflect.TypeFor[time.Duration]() {
			return
		}
		tried++
		key := strings.Join(path, ".")
		for _, f := range timeforms.Durations() {
			said, value := trySetting(path, f.Text)
			if f.Text != "" && f.Why != "" && !strings.Contains(said, f.Why) {
				t.Errorf("%s: %s: the error for %q is %q, want %q in it", key, f.Name, f.Text, said, f.Why)
			}
			if f.Why == "" && (value != f.Want.String() || strings.Contains(said, "duration")) {
				t.Errorf("%s: %s: %q is %s, %s, want %v", key, f.Name, f.Text, value, said, f.Want)
			}
		}
	})
	if tried < 20 {
		t.Errorf("only %d durations were tried", tried)
	}
}

// walkSettings calls fn for every value that a configuration can have.
func walkSettings(typ reflect.Type, path []string, fn func(path []string, typ reflect.Type)) {
	switch {
	case typ.Kind() == reflect.Map && typ.Elem().Kind() == reflect.Pointer:
		walkSettings(typ.Elem(), append(path[:len(path):len(path)], "web"), fn)
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

// trySetting returns the error for a setting, and its value.
func trySetting(path []string, text string) (said, value string) {
	yaml := strconv.Quote(text)
	for i := len(path) - 1; i >= 0; i-- {
		yaml = fmt.Sprintf("{%s: %s}", path[i], yaml)
		if i == 1 && slices.Contains([]string{"recurrences", "sources", "discover", "listeners", "hooks"}, path[0]) {
			yaml = "[" + yaml + "]"
		}
	}
	c, err := Parse("c", []byte(yaml+"\n"))
	v := reflect.ValueOf(c).Elem()
	for _, name := range path {
		for v.Kind() == reflect.Pointer || v.Kind() == reflect.Slice {
			if v.Kind() == reflect.Slice {
				v = v.Index(0)
			} else if v = v.Elem(); !v.IsValid() {
				return fmt.Sprint(err), ""
			}
		}
		if v.Kind() == reflect.Map {
			v = v.MapIndex(reflect.ValueOf(name))
			continue
		}
		v = fieldOf(v, name)
	}
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	return fmt.Sprint(err), fmt.Sprint(v.Interface())
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
