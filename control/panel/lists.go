package panel

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

// keep returns the arguments of the address that a form keeps: all but those of these names.
func (v *view) keep(not ...string) (all []pair) {
	for name, values := range v.r.URL.Query() {
		if slices.Contains(not, name) {
			continue
		}
		for _, value := range values {
			all = append(all, pair{name, value})
		}
	}
	slices.SortFunc(all, func(a, b pair) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Value, b.Value)) })
	return all
}

// chips returns the filters of these names that are in force.
func (v *view) chips(names ...string) (all []chip) {
	q := v.r.URL.Query()
	for _, name := range names {
		for _, value := range q[name] {
			if value != "" {
				all = append(all, chip{name, value, v.without(name, value)})
			}
		}
	}
	return all
}

// tabs returns links to the values that an argument of the address can have. The first one is the
// value of a page whose address has none; what else is given is left out of the links.
func (v *view) tabs(arg string, leave []string, values ...pair) (all []link) {
	have := cmp.Or(v.arg(arg), values[0].Value)
	for i, value := range values {
		set := []string{arg, value.Value}
		if i == 0 {
			set[1] = ""
		}
		for _, name := range leave {
			set = append(set, name, "")
		}
		all = append(all, link{Address: v.With(set...), Text: value.Name, Here: value.Value == have})
	}
	return all
}

// contains reports whether one of the texts has another one in it, in upper or lower case.
func contains(part string, texts ...string) bool {
	part = strings.ToLower(part)
	return part == "" || slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(strings.ToLower(text), part) })
}

// terminal are the sequences with which programs colour their output.
var terminal = regexp.MustCompile(`\x1b(\[[0-9;?]*[\x20-\x2f]*[\x40-\x7e]|\][^\x07\x1b]*(\x07|\x1b\\)|.)|[\x00-\x08\x0b-\x1f\x7f]`)

// plain returns a text without what only a terminal understands.
func plain(text string) string { return terminal.ReplaceAllString(text, "") }
