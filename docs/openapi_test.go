package docs

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"reflect"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"activationd/control/ops"
	"activationd/control/web/describe"
)

// comments are the comments beside the declarations of package control: of types, by their
// names, and of fields, by TYPE.FIELD.
type comments map[string]string

func (c comments) Type(t reflect.Type) string { return c[t.Name()] }

func (c comments) Field(t reflect.Type, field string) string { return c[t.Name()+"."+field] }

// readComments reads the comments in a directory.
func readComments(t *testing.T, dir string) comments {
	t.Helper()
	files, err := fs.Glob(os.DirFS(dir), "*.go")
	if err != nil {
		t.Fatal(err)
	}
	c := make(comments)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path.Join(dir, name), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			gen, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range gen.Specs {
				typ, ok := spec.(*ast.TypeSpec)
				if !ok {
					continue
				}
				c[typ.Name.Name] = gen.Doc.Text()
				s, ok := typ.Type.(*ast.StructType)
				if !ok {
					continue
				}
				for _, f := range s.Fields.List {
					for _, n := range f.Names {
						text := f.Comment.Text()
						if text == "" && f.Doc.Text() != "" && len(f.Names) == 1 && !strings.HasSuffix(strings.TrimSpace(f.Doc.Text()), ":") {
							text = f.Doc.Text()
						}
						c[typ.Name.Name+"."+n.Name] = text
					}
				}
			}
		}
	}
	return c
}

// TestOpenAPI checks that openapi.json and reference.html are what the declarations of the
// operations say. With -update it makes them so.
func TestOpenAPI(t *testing.T) {
	registry, texts := ops.Registry(ops.Daemon{}), readComments(t, "../control")
	doc, err := describe.Document(registry, texts)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(doc); err != nil {
		t.Fatal(err)
	}
	page, err := describe.Page(registry, texts)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []struct {
		name      string
		have, now []byte
	}{{"openapi.json", OpenAPI(), b.Bytes()}, {"reference.html", Reference(), page}} {
		switch {
		case *update:
			if err := os.WriteFile(f.name, f.now, 0o644); err != nil {
				t.Fatal(err)
			}
		case !bytes.Equal(f.have, f.now):
			t.Errorf("%s is not what the declarations say: run go test ./docs -update", f.name)
		}
	}
	read, err := openapi3.NewLoader().LoadFromData(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if err := read.Validate(t.Context()); err != nil {
		t.Error(err)
	}
	// What is a duration or a time says so, as it is a text for programs.
	forms := map[string]string{
		"in": "duration", "timeout": "duration", "grace": "duration", "backoff": "duration", "jitter": "duration", "delay": "duration",
		"unique-for": "duration", "for": "duration", "at": "time", "deadline": "time", "since": "time", "start": "time", "end": "time",
	}
	say := func(where, name, text string) {
		switch {
		case text == "":
			t.Errorf("%s: %s has no comment in package control, which would be its description", where, name)
		case !strings.Contains(text, forms[name]):
			t.Errorf("%s: %s is a %s: its comment in package control should say so; it says %q", where, name, forms[name], text)
		}
	}
	for p, item := range read.Paths.Map() {
		for method, o := range item.Operations() {
			if doc.Tags.Get(o.Tags[0]) == nil {
				t.Errorf("%s %s belongs to no group: add its first word to the table of tags in package describe", method, p)
			}
			for _, a := range o.Parameters {
				say(method+" "+p, a.Value.Name, a.Value.Description)
			}
			if o.RequestBody == nil {
				continue
			}
			for name, s := range o.RequestBody.Value.Content["application/json"].Schema.Value.Properties {
				say(method+" "+p, name, s.Value.Description)
			}
		}
	}
}
