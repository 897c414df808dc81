package describe

import (
	"reflect"
	"regexp"
	"strings"

	"activationd/control"
)

// inJSON are texts in which other fields have their names in JSON, or as arguments, instead of those
// in Go: "see list: Can says" is "see list: can says".
type inJSON struct {
	Texts
	names map[string]string // by the name in Go
}

// goName is the name of a field in Go within a sentence, perhaps with its type. A word at the
// beginning of a sentence is none.
var goName = regexp.MustCompile(`([^.!?\s] )(?:[A-Z]\w*\.)?([A-Z][a-z]\w*)`)

func newTexts(texts Texts, registry *control.Registry) inJSON {
	j := inJSON{texts, make(map[string]string)}
	types := make(map[string]reflect.Type)
	for _, op := range registry.Ops() {
		structs(types, op.In)
		structs(types, op.Out)
	}
	for _, t := range types {
		for _, f := range reflect.VisibleFields(t) {
			tag := f.Tag.Get("json")
			if tag == "" {
				tag = f.Tag.Get("arg")
			}
			name, _, _ := strings.Cut(tag, ",")
			switch was, twice := j.names[f.Name]; {
			case twice && was != name: // it depends on the type, so the text has to say more
				j.names[f.Name] = ""
			case !twice:
				j.names[f.Name] = name
			}
		}
	}
	return j
}

// Field implements [Texts].
func (j inJSON) Field(t reflect.Type, field string) string {
	text := docLink.ReplaceAllString(j.Texts.Field(t, field), "$1")
	if rest, ok := strings.CutPrefix(text, field+" is "); ok && strings.ToUpper(field[1:2]) != field[1:2] {
		text = "it is " + rest
	}
	return goName.ReplaceAllStringFunc(text, func(found string) string {
		parts := goName.FindStringSubmatch(found)
		if name := j.names[parts[2]]; name != "" {
			return parts[1] + name
		}
		return found
	})
}
