package config

import (
	"path/filepath"
	"reflect"
	"strings"
)

// ResolvePaths makes relative paths start at dir, the directory of the file.
func (c *Config) ResolvePaths(dir string) { resolvePaths(reflect.ValueOf(c).Elem(), dir) }

func resolvePaths(v reflect.Value, dir string) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			resolvePaths(v.Elem(), dir)
		}
	case reflect.Slice:
		for i := range v.Len() {
			resolvePaths(v.Index(i), dir)
		}
	case reflect.Map:
		for _, entry := range v.Seq2() {
			resolvePaths(entry, dir)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Field(i)
			switch name, option := tagOf(v.Type().Field(i)); {
			case option == "path":
				if p := field.String(); p != "" && !filepath.IsAbs(p) {
					field.SetString(filepath.Join(dir, p))
				}
			case option == "command":
				// A command without a slash is looked for in PATH.
				command, _ := reflect.TypeAssert[[]string](field)
				if len(command) > 0 && strings.Contains(command[0], "/") && !filepath.IsAbs(command[0]) {
					command[0] = filepath.Join(dir, command[0])
				}
			case name != "" || option == "inline":
				resolvePaths(field, dir)
			}
		}
	}
}
