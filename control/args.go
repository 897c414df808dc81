package control

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"activationd/internal/fault"
)

// An Arg is one argument that an operation takes.
type Arg struct {
	Name     string
	Type     string // string, int, uint64, bool
	Required bool
	Either   bool // of the arguments with Either, at least one is required
	Repeated bool
	Objects  bool // the value is the JSON of a list of objects
	Bytes    bool // the value need not be text: NAME.base64 takes it in base64
}

// JSONType says what a JSON value of the argument must be.
func (a *Arg) JSONType() string {
	switch {
	case a.Repeated:
		return "a list of texts"
	case a.Objects:
		return "a list of objects"
	case a.Type == "int", a.Type == "uint64":
		return "a whole number"
	case a.Type == "bool":
		return "true or false"
	}
	return "a text"
}

// encoded is the ending of the name of an argument whose value is in base64.
const encoded = ".base64"

// An argSpec says how the fields of a struct are read and written as arguments.
type argSpec struct {
	args     []Arg
	index    [][]int // of the field, for each argument
	byName   map[string]int
	required uint64 // a bit for each required argument
	either   uint64 // a bit for each of the arguments of which at least one is required
}

func newArgSpec(t reflect.Type) (*argSpec, error) {
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("the input %v is not a struct", t)
	}
	spec := &argSpec{byName: make(map[string]int)}
	for _, f := range reflect.VisibleFields(t) {
		tag, ok := f.Tag.Lookup("arg")
		if f.Anonymous && !ok && f.Type.Kind() == reflect.Struct {
			continue // VisibleFields has its fields, too
		}
		name, option, _ := strings.Cut(tag, ",")
		a := Arg{Name: name, Type: f.Type.Kind().String(), Required: option == "required", Either: option == "either", Bytes: f.Tag.Get("bytes") != "", Objects: f.Tag.Get("objects") != ""}
		switch f.Type {
		case reflect.TypeFor[string](), reflect.TypeFor[int](), reflect.TypeFor[uint64](), reflect.TypeFor[bool]():
		case reflect.TypeFor[[]string]():
			a.Type, a.Repeated = "string", true
		default:
			return nil, fmt.Errorf("%v.%s: no argument can be a %v", t, f.Name, f.Type)
		}
		switch i := len(spec.args); {
		case name == "" || !f.IsExported() || option != "" && option != "either" && !a.Required:
			return nil, fmt.Errorf("%v.%s: the tag arg:%q is not valid", t, f.Name, tag)
		case name != strings.ToLower(name) || strings.ContainsAny(name, ": \t\r\n\""):
			return nil, fmt.Errorf("%v.%s: %q is not a name for an argument", t, f.Name, name)
		case i == 64:
			return nil, fmt.Errorf("%v: more than 64 arguments", t)
		default:
			if _, twice := spec.byName[name]; twice {
				return nil, fmt.Errorf("%v: two arguments %s", t, name)
			}
			spec.byName[name] = i
			switch option {
			case "required":
				spec.required |= 1 << i
			case "either":
				spec.either |= 1 << i
			}
		}
		spec.args = append(spec.args, a)
		spec.index = append(spec.index, f.Index)
	}
	return spec, nil
}

// A Decoder makes an operation's input out of arguments.
type Decoder struct {
	op   *Op
	in   reflect.Value
	seen uint64
}

// Decoder returns a decoder for one request.
func (op *Op) Decoder() Decoder { return Decoder{op: op, in: reflect.New(op.In)} }

// Takes reports whether op has an argument of that name, which is in lower case.
func (op *Op) Takes(name []byte) bool {
	_, _, ok := op.spec.find(name)
	return ok
}

// find returns the argument of that name, and reports whether its value is in base64.
func (spec *argSpec) find(name []byte) (i int, base64 bool, ok bool) {
	plain, base64 := bytes.CutSuffix(name, []byte(encoded))
	i, ok = spec.byName[string(plain)]
	return i, base64, ok && (!base64 || spec.args[i].Bytes)
}

// Complete reports whether all required arguments were set.
func (d *Decoder) Complete() bool {
	spec := d.op.spec
	return spec.required&^d.seen == 0 && (spec.either == 0 || spec.either&d.seen != 0)
}

// Set sets an argument; name is in lower case. A value that starts with a double quote is
// a JSON string. An error is of kind fault.Invalid and says what would be right.
func (d *Decoder) Set(name, value []byte) error {
	s, err := Unquote(value)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return d.SetText(name, s)
}

// SetText is Set for a value without quotes.
func (d *Decoder) SetText(name []byte, s string) error {
	spec := d.op.spec
	i, inBase64, ok := spec.find(name)
	if !ok {
		return fmt.Errorf("%s: no argument %.40q%s: %w", d.op.Name, name, spec.names(), fault.Invalid)
	}
	a, bit := &spec.args[i], uint64(1)<<i
	if d.seen&bit != 0 && !a.Repeated {
		return fmt.Errorf("%s: given twice: %w", a.Name, fault.Invalid)
	}
	if inBase64 {
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return fmt.Errorf("%s: %.40q is not base64: %w", name, s, fault.Invalid)
		}
		s = string(b)
	}
	if s != "" || !a.Required {
		d.seen |= bit
	}
	field := d.in.Elem().FieldByIndex(spec.index[i])
	switch a.Type {
	case "int":
		n, err := strconv.Atoi(s)
		if err != nil {
			return fmt.Errorf("%s: %.40q is not a whole number: %w", a.Name, s, fault.Invalid)
		}
		field.SetInt(int64(n))
	case "uint64":
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return fmt.Errorf("%s: %.40q is not a whole number of 0 or more: %w", a.Name, s, fault.Invalid)
		}
		field.SetUint(n)
	case "bool":
		b, ok := parseBool(s)
		if !ok {
			return fmt.Errorf("%s: %.40q is neither yes nor no: %w", a.Name, s, fault.Invalid)
		}
		field.SetBool(b)
	default:
		if a.Repeated {
			field.Set(reflect.Append(field, reflect.ValueOf(s)))
		} else {
			field.SetString(s)
		}
	}
	return nil
}

// Input returns a pointer to the input, for Call and Stream, or an error of kind
// fault.Invalid that names the missing arguments.
func (d *Decoder) Input() (any, error) {
	spec := d.op.spec
	missing, and := spec.required&^d.seen, " and "
	if missing == 0 && !d.Complete() {
		missing, and = spec.either, " or "
	}
	if missing != 0 {
		var names []string
		for i, a := range spec.args {
			if missing&(1<<i) != 0 {
				names = append(names, a.Name)
			}
		}
		return nil, fmt.Errorf("%s needs %s: %w", d.op.Name, strings.Join(names, and), fault.Invalid)
	}
	return d.in.Interface(), nil
}

func (spec *argSpec) names() string {
	if len(spec.args) == 0 {
		return "; it takes none"
	}
	names := make([]string, len(spec.args))
	for i, a := range spec.args {
		names[i] = a.Name
	}
	return "; it takes " + strings.Join(names, ", ")
}

func parseBool(s string) (value, ok bool) {
	switch strings.ToLower(s) {
	case "yes", "true", "1":
		return true, true
	case "no", "false", "0":
		return false, true
	}
	return false, false
}

// Unquote returns the value of an argument. Text that starts with a double quote is a JSON
// string; if it is not one, the error is of kind fault.Invalid.
func Unquote(value []byte) (string, error) {
	if len(value) == 0 || value[0] != '"' {
		return string(value), nil
	}
	var s string
	if err := json.Unmarshal(value, &s); err != nil {
		return "", fmt.Errorf("%.40q starts with a double quote, and is not a whole JSON string: %w", value, fault.Invalid)
	}
	return s, nil
}

// appendArgs writes in's fields as lines "name:value". It leaves out zero values.
func appendArgs(b []byte, in any) ([]byte, error) {
	v := reflect.Indirect(reflect.ValueOf(in))
	if !v.IsValid() {
		return b, nil
	}
	spec, err := newArgSpec(v.Type())
	if err != nil {
		return nil, err
	}
	for i, a := range spec.args {
		field := v.FieldByIndex(spec.index[i])
		if field.IsZero() {
			continue
		}
		values := []string{""}
		switch a.Type {
		case "int":
			values[0] = strconv.FormatInt(field.Int(), 10)
		case "uint64":
			values[0] = strconv.FormatUint(field.Uint(), 10)
		case "bool":
			values[0] = "yes"
		default:
			if a.Repeated {
				values = values[:0]
				for _, s := range field.Seq2() {
					values = append(values, s.String())
				}
			} else {
				values[0] = field.String()
			}
		}
		for _, s := range values {
			if a.Bytes && !utf8.ValidString(s) {
				b = append(append(append(b, a.Name...), encoded...), ':')
				b = append(base64.StdEncoding.AppendEncode(b, []byte(s)), '\n')
				continue
			}
			b = append(append(b, a.Name...), ':')
			if b, err = appendValue(b, s, "\n\r\x00"); err != nil {
				return nil, fmt.Errorf("%s: %w", a.Name, err)
			}
			b = append(b, '\n')
		}
	}
	return b, nil
}

// appendValue writes s as it is, or as a JSON string when it contains one of
// special or starts with a double quote.
func appendValue(b []byte, s, special string) ([]byte, error) {
	if !utf8.ValidString(s) {
		return nil, fmt.Errorf("%.40q is not UTF-8: %w", s, fault.Invalid)
	}
	if !strings.HasPrefix(s, `"`) && !strings.ContainsAny(s, special) {
		return append(b, s...), nil
	}
	quoted, err := json.Marshal(s)
	return append(b, quoted...), err
}
