package config

import "reflect"

// ChangedKeys returns the keys whose values differ between two configurations,
// lists and tables as wholes, in the order of the example.
func ChangedKeys(before, after *Config) []string {
	return changed(reflect.ValueOf(before).Elem(), reflect.ValueOf(after).Elem(), "")
}

func changed(before, after reflect.Value, key string) []string {
	var keys []string
	for i := range before.NumField() {
		name, _ := tagOf(before.Type().Field(i))
		if name == "" {
			continue
		}
		b, a, full := before.Field(i), after.Field(i), prefix(key, ".")+name
		switch {
		case b.Kind() == reflect.Struct:
			keys = append(keys, changed(b, a, full)...)
		case !reflect.DeepEqual(b.Interface(), a.Interface()):
			keys = append(keys, full)
		}
	}
	return keys
}
