package describe

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"activationd/control"
	"activationd/control/web"
)

// own has the schemas of the types that marshal themselves.
var own = map[reflect.Type]func() *openapi3.Schema{
	reflect.TypeFor[time.Time]():       func() *openapi3.Schema { return typed("string").WithFormat("date-time") },
	reflect.TypeFor[control.Instant](): func() *openapi3.Schema { return nullable(typed("string").WithFormat("date-time")) },
	reflect.TypeFor[json.RawMessage](): func() *openapi3.Schema { return typed("object") },
}

func typed(name string) *openapi3.Schema { return &openapi3.Schema{Type: &openapi3.Types{name}} }

func nullable(s *openapi3.Schema) *openapi3.Schema {
	s.Type = &openapi3.Types{(*s.Type)[0], "null"}
	return s
}

// An output makes the schemas of what operations send, each named type once.
type output struct {
	texts   Texts
	schemas openapi3.Schemas
	types   map[string]reflect.Type
}

// ref returns a reference to the schema of a struct type, which it makes if there is none yet.
func (o *output) ref(t reflect.Type) (*openapi3.SchemaRef, error) {
	name := t.Name()
	if name == "" {
		return nil, fmt.Errorf("%v: a type of an output needs a name", t)
	}
	switch other := o.types[name]; other {
	case nil:
		o.types[name] = t
		s, err := o.object(t)
		if err != nil {
			return nil, err
		}
		o.schemas[name] = s.NewRef()
	case t:
	default:
		return nil, fmt.Errorf("%v and %v have the same name", t, other)
	}
	return openapi3.NewSchemaRef("#/components/schemas/"+name, nil), nil
}

// object returns the schema of a struct type.
func (o *output) object(t reflect.Type) (*openapi3.Schema, error) {
	s := typed("object")
	s.Description = sentence(o.texts.Type(t))
	s.Properties = make(openapi3.Schemas)
	for _, f := range reflect.VisibleFields(t) {
		tag, tagged := f.Tag.Lookup("json")
		name, options, _ := strings.Cut(tag, ",")
		switch {
		case f.Anonymous && !tagged, !f.IsExported(), name == "-":
			continue
		case name == "":
			return nil, fmt.Errorf("%v.%s: it has no name in JSON", t, f.Name)
		}
		if s.Properties[name] != nil {
			return nil, fmt.Errorf("%v: two fields are %q in JSON", t, name)
		}
		omitted := strings.Contains(options, "omit")
		p, err := o.value(f.Type, omitted)
		if err != nil {
			return nil, fmt.Errorf("%v.%s: %w", t, f.Name, err)
		}
		text := sentence(o.texts.Field(declarer(t, f), f.Name))
		if p.Ref == "" {
			p.Value.Description = text
		} else if text != "" {
			p = (&openapi3.Schema{AllOf: openapi3.SchemaRefs{p}, Description: text}).NewRef()
		}
		s.Properties[name] = p
		if !omitted {
			s.Required = append(s.Required, name)
		}
	}
	return s, nil
}

// declarer returns the struct in which a visible field of t is declared.
func declarer(t reflect.Type, f reflect.StructField) reflect.Type {
	for _, i := range f.Index[:len(f.Index)-1] {
		t = t.Field(i).Type
	}
	return t
}

// value returns the schema of a field's type. If the field is omitted when it is empty, it is
// never null.
func (o *output) value(t reflect.Type, omitted bool) (*openapi3.SchemaRef, error) {
	if s := own[t]; s != nil {
		return s().NewRef(), nil
	}
	for _, marshals := range []reflect.Type{reflect.TypeFor[json.Marshaler](), reflect.TypeFor[encoding.TextMarshaler]()} {
		if t.Implements(marshals) || reflect.PointerTo(t).Implements(marshals) {
			return nil, fmt.Errorf("%v marshals itself: say in package describe what it looks like", t)
		}
	}
	var s *openapi3.Schema
	switch t.Kind() {
	case reflect.String:
		s = typed("string")
	case reflect.Bool:
		s = typed("boolean")
	case reflect.Int, reflect.Int64:
		s = typed("integer").WithFormat("int64")
	case reflect.Uint64:
		s = typed("integer").WithFormat("int64").WithMin(0)
	case reflect.Float64:
		s = typed("number").WithFormat("double")
	case reflect.Struct:
		return o.ref(t)
	case reflect.Pointer:
		elem, err := o.value(t.Elem(), true)
		if err != nil || omitted {
			return elem, err
		}
		if elem.Ref != "" {
			return (&openapi3.Schema{AnyOf: openapi3.SchemaRefs{elem, typed("null").NewRef()}}).NewRef(), nil
		}
		return nullable(elem.Value).NewRef(), nil
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			s = typed("string")
			s.ContentEncoding = "base64"
			break
		}
		items, err := o.value(t.Elem(), true)
		if err != nil {
			return nil, err
		}
		s = typed("array")
		s.Items = items
	case reflect.Map:
		values, err := o.value(t.Elem(), true)
		if err != nil {
			return nil, err
		}
		s = typed("object")
		s.AdditionalProperties = openapi3.AdditionalProperties{Schema: values}
	default:
		return nil, fmt.Errorf("an output cannot have a %v", t)
	}
	return s.NewRef(), nil
}

// argument returns the schema of an argument.
func argument(a *control.Arg) *openapi3.Schema {
	var s *openapi3.Schema
	switch a.Type {
	case "int":
		s = typed("integer").WithFormat("int64")
	case "uint64":
		s = typed("integer").WithFormat("int64").WithMin(0)
	case "bool":
		s = typed("boolean")
	default:
		s = typed("string")
	}
	if a.Objects {
		s = typed("array")
		s.Items = typed("object").NewRef()
	}
	if a.Repeated {
		list := typed("array")
		list.Items = s.NewRef()
		return list
	}
	return s
}

// encodedArgument returns the schema of an argument in base64.
func encodedArgument(a *control.Arg) *openapi3.Schema {
	s := argument(a)
	one := s
	if a.Repeated {
		one = s.Items.Value
	}
	one.ContentEncoding = "base64"
	s.Description = "Like " + a.Name + ", but in base64: for bytes that are not UTF-8."
	return s
}

// arguments returns the arguments of an operation with their texts, those in the path first.
func (o *output) arguments(op *control.Op) (inPath, others []argumentOf) {
	fields := make(map[string]string)
	for _, f := range reflect.VisibleFields(op.In) {
		if name, _, _ := strings.Cut(f.Tag.Get("arg"), ","); name != "" {
			fields[name] = sentence(o.texts.Field(declarer(op.In, f), f.Name))
		}
	}
	for _, a := range op.Args() {
		arg := argumentOf{Arg: a, text: fields[a.Name]}
		if text := pagedText(op, a.Name); text != "" {
			arg.text = text
		}
		if strings.Contains(op.Path, "{"+a.Name+"}") {
			inPath = append(inPath, arg)
		} else {
			others = append(others, arg)
		}
	}
	slices.SortFunc(inPath, func(a, b argumentOf) int {
		return strings.Index(op.Path, "{"+a.Name+"}") - strings.Index(op.Path, "{"+b.Name+"}")
	})
	return inPath, others
}

// pagedText says what an argument of a list with pages means over HTTP; empty: what it always means.
func pagedText(op *control.Op, name string) string {
	switch {
	case op.Paging == nil:
	case name == "after":
		return "The next of an earlier reply: only what follows."
	case name == "limit" && op.Streams():
		return fmt.Sprintf("How many items or lines the reply has at most, up to %d; as application/json %d if it is not given. New ones are not waited for.", web.MostItems, web.ItemsOfPage)
	case name == "limit":
		return fmt.Sprintf("How many items the reply has at most, up to %d; none: %d.", web.MostItems, web.ItemsOfPage)
	}
	return ""
}

// An argumentOf is an argument and what it means.
type argumentOf struct {
	control.Arg
	text string
}

var (
	docLink = regexp.MustCompile(`\[([A-Z]\w*(?:\.\w+)?)\]`)
	words   = regexp.MustCompile(`^[a-z][\w-]*(?: \([^)]*\))?(?: \| [a-z][\w-]*)+`)
)

// sentence makes a sentence of a comment in Go.
func sentence(comment string) string {
	text := docLink.ReplaceAllString(strings.Join(strings.Fields(comment), " "), "$1")
	switch {
	case text == "":
		return ""
	case words.MatchString(text):
		text = "One of " + text
	}
	text = strings.ToUpper(text[:1]) + text[1:]
	if !strings.ContainsAny(text[len(text)-1:], ".!?") {
		text += "."
	}
	return text
}
