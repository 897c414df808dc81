package describe

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"reflect"
	"slices"
	"strings"

	"activationd/control"
	"activationd/control/web"
)

// Page returns the reference page of the operations, in HTML.
func Page(registry *control.Registry, texts Texts) ([]byte, error) {
	texts = newTexts(texts, registry)
	out := &output{texts: texts, schemas: nil, types: nil}
	type argument struct{ Name, Type, Text string }
	type operation struct {
		ID, Name, Method, Path, Help, Role string
		Reply, Of, Either                  string // Of is the name of the type that the reply has
		Args                               []argument
	}
	type group struct {
		Name, Text string
		Ops        []operation
	}
	byName := make(map[string]*group)
	types := make(map[string]reflect.Type)
	for _, op := range registry.Ops() {
		name := tagOf(op.Path)
		if byName[name] == nil {
			byName[name] = new(group)
		}
		inPath, others := out.arguments(op)
		o := operation{
			ID: ID(op), Name: op.Name, Method: op.Method, Path: web.Prefix + op.Path, Help: sentence(op.Help),
			Role: op.Role.String(), Reply: "a list", Either: strings.Join(eitherOf(others), ", "),
		}
		switch {
		case op.One:
			o.Reply = "an object"
		case op.Streams():
			o.Reply = "a stream"
		}
		if op.Out != reflect.TypeFor[control.Nothing]() {
			o.Of = op.Out.Name()
			structs(types, op.Out)
		}
		for _, a := range append(inPath, others...) {
			kind := map[string]string{"int": "integer", "uint64": "integer", "bool": "boolean"}[a.Type]
			if kind == "" {
				kind = "text"
			}
			if a.Repeated {
				kind = "texts"
			}
			if a.Bytes {
				kind += ", or " + a.Name + ".base64"
			}
			if a.Required {
				kind += ", required"
			}
			o.Args = append(o.Args, argument{a.Name, kind, a.text})
		}
		byName[name].Ops = append(byName[name].Ops, o)
	}
	var groups []group
	for _, t := range tags {
		if g := byName[t.name]; g != nil {
			g.Name, g.Text = t.name, t.text
			groups = append(groups, *g)
		}
	}
	type field struct {
		Name, Type, Of, Text string // Of is the name of the type that is described, or of whose values it has several
		Absent, Null         bool   // it can be
	}
	type object struct {
		Name, Text string
		Fields     []field
	}
	var objects []object
	for _, typeName := range slices.Sorted(maps.Keys(types)) {
		t := types[typeName]
		o := object{Name: typeName, Text: sentence(texts.Type(t))}
		for _, f := range reflect.VisibleFields(t) {
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "" {
				continue
			}
			kind, of := kindOf(f.Type)
			absent := strings.Contains(options, "omit")
			null := f.Type == reflect.TypeFor[control.Instant]() || !absent && f.Type.Kind() == reflect.Pointer
			o.Fields = append(o.Fields, field{name, kind, of, sentence(texts.Field(declarer(t, f), f.Name)), absent, null})
		}
		objects = append(objects, o)
	}
	var b bytes.Buffer
	if err := layout.Execute(&b, map[string]any{"Groups": groups, "Objects": objects, "Plain": plain}); err != nil {
		return nil, fmt.Errorf("the reference page: %w", err)
	}
	return b.Bytes(), nil
}

// structs adds the struct types that values of a type have, by their names.
func structs(all map[string]reflect.Type, t reflect.Type) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		structs(all, t.Elem())
	case reflect.Struct:
		if own[t] != nil || all[t.Name()] != nil {
			return
		}
		all[t.Name()] = t
		for _, f := range reflect.VisibleFields(t) {
			if !f.Anonymous && f.IsExported() {
				structs(all, f.Type)
			}
		}
	}
}

// kindOf names the type of a field for people. The name of a struct type is in of.
func kindOf(t reflect.Type) (kind, of string) {
	switch {
	case t == reflect.TypeFor[json.RawMessage]():
		return "object", ""
	case own[t] != nil:
		return "time", ""
	}
	switch t.Kind() {
	case reflect.Pointer:
		return kindOf(t.Elem())
	case reflect.String:
		return "text", ""
	case reflect.Bool:
		return "boolean", ""
	case reflect.Float64:
		return "number", ""
	case reflect.Struct:
		return "", t.Name()
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "base64", ""
		}
		kind, of = kindOf(t.Elem())
		return "list of " + kind, of
	case reflect.Map:
		kind, of = kindOf(t.Elem())
		return "object of " + kind, of
	}
	return "integer", ""
}

var layout = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>activationd: HTTP interface</title>
<style>
:root{color-scheme:light dark}
body{font:16px/1.5 sans-serif;margin:0 auto;max-width:60em;padding:1em}
h2{border-bottom:1px solid;margin-top:2em}
h3{margin:1.5em 0 0}
code,h3{font-family:monospace}
table{border-collapse:collapse;margin:.5em 0}
td{padding:.1em 1em .1em 0;vertical-align:top}
td:first-child{white-space:nowrap}
p{margin:.3em 0}
small{opacity:.75}
@media(max-width:40em){td{display:block;padding-left:1em}td:first-child{padding-left:0}}
</style>
</head>
<body>
<h1>The HTTP interface of activationd</h1>
<p>Arguments of a GET or a DELETE are in the query, those of other methods in a JSON object in the body. Times and durations are texts:
2099-12-21T10:00:00+01:00, 90s, 1h30m. Where a description says “none: …”, that is what holds if the argument is left out. Errors are
objects of the type application/problem+json. Replies can get new fields at any time. <a href="openapi.json">The same for programs.</a></p>
<nav><ul>{{range .Groups}}
<li><a href="#{{.Name}}">{{.Name}}</a>: {{range $i, $o := .Ops}}{{if $i}}, {{end}}<a href="#op-{{$o.ID}}">{{$o.Name}}</a>{{end}}{{end}}
<li><a href="#others">other paths</a>
<li><a href="#objects">what replies have</a></ul></nav>
{{range .Groups}}
<h2 id="{{.Name}}">{{.Name}}</h2>
<p>{{.Text}}</p>
{{range .Ops}}
<h3 id="op-{{.ID}}">{{.Method}} {{.Path}}</h3>
<p>{{.Help}}</p>
<p><small>{{.Name}} · role {{.Role}} · returns {{.Reply}}{{if .Of}} of <a href="#{{.Of}}">{{.Of}}</a>{{end}}{{if .Either}} · needs one of {{.Either}}{{end}}</small></p>
{{if .Args}}<table>{{range .Args}}
<tr><td><code>{{.Name}}</code><td><small>{{.Type}}</small><td>{{.Text}}{{end}}</table>
{{end}}{{end}}{{end}}
<h2 id="others">Other paths</h2>
<table>{{range .Plain}}
<tr><td><code>GET {{.Path}}</code><td>{{.Text}}{{end}}</table>
<h2 id="objects">What replies have</h2>
{{range .Objects}}
<h3 id="{{.Name}}">{{.Name}}</h3>
<p>{{.Text}}</p>
<table>{{range .Fields}}
<tr><td><code>{{.Name}}</code><td><small>{{.Type}}{{if .Of}}<a href="#{{.Of}}">{{.Of}}</a>{{end}}{{if .Absent}}, or absent{{end}}{{if .Null}}, or null{{end}}</small><td>{{.Text}}{{end}}</table>
{{end}}
</body>
</html>
`))
