package describe_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"activationd/control"
	"activationd/control/ops"
	"activationd/control/web/describe"
)

// noTexts says nothing of anything.
type noTexts struct{}

func (noTexts) Type(reflect.Type) string          { return "" }
func (noTexts) Field(reflect.Type, string) string { return "" }

// document returns the document of the daemon's operations, as clients read it.
func document(t *testing.T, registry *control.Registry) *openapi3.T {
	t.Helper()
	doc, err := describe.Document(registry, noTexts{})
	if err != nil {
		t.Fatal(err)
	}
	data, err := doc.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	if doc, err = openapi3.NewLoader().LoadFromData(data); err != nil {
		t.Fatal(err)
	}
	return doc
}

// fill sets everything in v to something that is not empty.
func fill(v reflect.Value, depth int) {
	if v.Type() == reflect.TypeFor[json.RawMessage]() {
		v.SetBytes([]byte(`{"id": "x"}`))
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if depth > 6 {
			return
		}
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), depth+1)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Date(2099, 12, 21, 10, 0, 0, 5, time.UTC)))
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), depth+1)
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), depth+1)
	case reflect.Map:
		value := reflect.New(v.Type().Elem()).Elem()
		fill(value, depth+1)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("x").Convert(v.Type().Key()), value)
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(-7)
	case reflect.Uint64, reflect.Uint8:
		v.SetUint(7)
	case reflect.Float64:
		v.SetFloat(1.5)
	default:
		panic(v.Type())
	}
}

// TestSchemasOfOutputs marshals the zero value and a full value of whatever operations send, and
// checks that the schema allows both, that what is required is what is always there, that it has
// every field, and that other types and missing fields are refused.
func TestSchemasOfOutputs(t *testing.T) {
	registry := ops.Registry(ops.Daemon{})
	doc := document(t, registry)
	compile := validators(t, doc)
	seen := make(map[reflect.Type]bool)
	lists := 0 // that are empty in a zero value
	for _, op := range registry.Ops() {
		if op.Out == reflect.TypeFor[control.Nothing]() || seen[op.Out] {
			continue
		}
		seen[op.Out] = true
		ref := doc.Components.Schemas[op.Out.Name()]
		if ref == nil {
			t.Errorf("there is no schema %s", op.Out.Name())
			continue
		}
		s := ref.Value
		valid := compile("/components/schemas/" + op.Out.Name()).Validate
		zero, full := reflect.New(op.Out).Elem(), reflect.New(op.Out).Elem()
		fill(full, 0)
		op.Settle(zero.Addr())
		op.Settle(full.Addr())
		least, most := object(t, zero), object(t, full)
		for _, o := range []map[string]any{least, most} {
			for name, value := range o {
				if f := fieldOf(op.Out, name); value == nil && f.Kind() != reflect.Pointer && f != reflect.TypeFor[control.Instant]() {
					t.Errorf("%s.%s is null, although a %v need not be", op.Out.Name(), name, f)
				}
			}
			if err := valid(o); err != nil {
				t.Errorf("%s: %v: %v", op.Out.Name(), o, err)
			}
		}
		if got, want := slices.Sorted(slices.Values(s.Required)), slices.Sorted(maps.Keys(least)); !slices.Equal(got, want) {
			t.Errorf("%s requires %v, want what the zero value has: %v", op.Out.Name(), got, want)
		}
		if got, want := slices.Sorted(maps.Keys(s.Properties)), slices.Sorted(maps.Keys(most)); !slices.Equal(got, want) {
			t.Errorf("%s has %v, want what a full value has: %v", op.Out.Name(), got, want)
		}
		most["a-new-field"] = true
		if err := valid(most); err != nil {
			t.Errorf("%s: a new field is refused: %v", op.Out.Name(), err)
		}
		for name, value := range most {
			if name == "a-new-field" {
				continue
			}
			most[name] = json.Number("1")
			if _, ok := value.(float64); ok {
				most[name] = "1"
			}
			if valid(most) == nil {
				t.Errorf("%s: %s can be of another type", op.Out.Name(), name)
			}
			most[name] = value
			_, always := least[name]
			if list, ok := least[name].([]any); ok && len(list) == 0 {
				most[name] = nil
				if valid(most) == nil {
					t.Errorf("%s: %s can be null", op.Out.Name(), name)
				}
				most[name], lists = value, lists+1
			}
			if always {
				delete(most, name)
				if valid(most) == nil {
					t.Errorf("%s: %s can be missing", op.Out.Name(), name)
				}
				most[name] = value
			} else {
				most[name] = nil
				if valid(most) == nil {
					t.Errorf("%s: %s can be null, and is left out instead", op.Out.Name(), name)
				}
				most[name] = value
			}
		}
	}
	if len(seen) < 40 || lists < 10 {
		t.Errorf("only %d types and %d lists were tried", len(seen), lists)
	}
}

// fieldOf returns the type of a field of a struct by its name in JSON.
func fieldOf(t reflect.Type, name string) reflect.Type {
	for _, f := range reflect.VisibleFields(t) {
		if tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); tag == name {
			return f.Type
		}
	}
	return t
}

func object(t *testing.T, v reflect.Value) (o map[string]any) {
	t.Helper()
	data, err := json.Marshal(v.Interface())
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &o); err != nil {
		t.Fatal(err)
	}
	return o
}

// validators returns a function that returns what validates a part of a document, which a
// pointer names.
func validators(t *testing.T, doc *openapi3.T) func(pointer string) *jsonschema.Schema {
	t.Helper()
	data, err := doc.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("document", value); err != nil {
		t.Fatal(err)
	}
	return func(pointer string) *jsonschema.Schema {
		s, err := c.Compile("document#" + pointer)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

// TestInputsAreClosed checks that no operation's body may have other arguments, or null.
func TestInputsAreClosed(t *testing.T) {
	doc := document(t, ops.Registry(ops.Daemon{}))
	compile := validators(t, doc)
	tried := 0
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			if op.RequestBody == nil || op.RequestBody.Value.Content["application/json"] == nil {
				continue
			}
			s := op.RequestBody.Value.Content["application/json"].Schema.Value
			valid := compile("/paths/" + strings.ReplaceAll(path, "/", "~1") + "/" + strings.ToLower(method) + "/requestBody/content/application~1json/schema").Validate
			body := make(map[string]any)
			for _, name := range s.Required {
				body[name] = map[string]any{"integer": 1, "boolean": true, "string": "x", "array": []any{"x"}}[(*s.Properties[name].Value.Type)[0]]
				if items := s.Properties[name].Value.Items; items != nil && items.Value.Type.Is("object") {
					body[name] = []any{map[string]any{}}
				}
			}
			if err := valid(body); err != nil {
				t.Errorf("%s %s: %v is refused: %v", method, path, body, err)
			}
			body["a-new-argument"] = "x"
			if valid(body) == nil {
				t.Errorf("%s %s takes an argument that it does not have", method, path)
			}
			delete(body, "a-new-argument")
			for name := range s.Properties {
				body[name] = nil
				if valid(body) == nil {
					t.Errorf("%s %s: %s can be null", method, path, name)
				}
				delete(body, name)
			}
			tried++
		}
	}
	if tried < 30 {
		t.Errorf("only %d bodies were tried", tried)
	}
}

// sameTexts say the same of each field.
type sameTexts string

func (sameTexts) Type(reflect.Type) string            { return "" }
func (s sameTexts) Field(reflect.Type, string) string { return string(s) }

// TestNamesInTexts checks that texts name other fields as clients do.
func TestNamesInTexts(t *testing.T) {
	for text, want := range map[string]string{
		"up to Seq; then it has no From":              "Up to seq; then it has no from.",
		"chooses nothing: Can says on which":          "Chooses nothing: can says on which.",
		"those in Env, see [ListIn.Verb]. Text comes": "Those in env, see verb. Text comes.",
		"in Europe/Prague, May 1, KILL":               "In Europe/Prague, May 1, KILL.",
		"Seq is the number":                           "It is the number.",
	} {
		doc, err := describe.Document(ops.Registry(ops.Daemon{}), sameTexts(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := doc.Components.Schemas["Event"].Value.Properties["seq"].Value.Description; got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

// A stranger marshals itself.
type stranger struct{}

func (stranger) MarshalText() ([]byte, error) { return []byte("x"), nil }

// TestTypesThatCannotBeDescribed checks that no document is made if a schema would be a guess.
func TestTypesThatCannotBeDescribed(t *testing.T) {
	type odd struct {
		S stranger `json:"s"`
	}
	type nameless struct{ X int }
	for _, tt := range []struct {
		op   control.Op
		want string
	}{
		{control.Declare[control.Nothing, odd]("x", control.Viewer, "x", nil), "marshals itself"},
		{control.Declare[control.Nothing, nameless]("x", control.Viewer, "x", nil), "has no name in JSON"},
		{control.Declare[control.Nothing, struct{}]("x", control.Viewer, "x", nil), "needs a name"},
	} {
		if _, err := describe.Document(control.NewRegistry(tt.op), noTexts{}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("the document of %v: %v, want %s", tt.op.Out, err, tt.want)
		}
	}
}
