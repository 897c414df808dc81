package prose

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// A code is what a text can name: the packages of the module with their
// declarations, as a set of "Name", "package.Name", "Type.Member" and
// "package.Type.Member", and the prefixes of keys in the store, such as "at/q/".
type code map[string]bool

func (c code) add(pkg string, names ...string) {
	name := strings.Join(names, ".")
	c[name], c[pkg+"."+name] = true, true
	c[names[len(names)-1]] = true
}

// fields adds what a struct or an interface has.
func (c code) fields(pkg, typ string, list *ast.FieldList) {
	for _, f := range list.List {
		for _, n := range f.Names {
			c.add(pkg, typ, n.Name)
		}
	}
}

func (c code) declared(pkg string, decl ast.Decl) {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil {
			c.add(pkg, d.Name.Name)
			return
		}
		recv := d.Recv.List[0].Type
		if star, ok := recv.(*ast.StarExpr); ok {
			recv = star.X
		}
		if generic, ok := recv.(*ast.IndexExpr); ok {
			recv = generic.X
		}
		c.add(pkg, recv.(*ast.Ident).Name, d.Name.Name)
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				c.add(pkg, s.Name.Name)
				switch t := s.Type.(type) {
				case *ast.StructType:
					c.fields(pkg, s.Name.Name, t.Fields)
				case *ast.InterfaceType:
					c.fields(pkg, s.Name.Name, t.Methods)
				}
			case *ast.ValueSpec:
				for _, n := range s.Names {
					c.add(pkg, n.Name)
				}
			}
		}
	}
}

// readCode reads all Go files of the module, tests included.
func readCode(t *testing.T) code {
	t.Helper()
	c := code{}
	fset := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "testdata" || d.Name() == "bin" || d.Name() == "dist"):
			return filepath.SkipDir
		case filepath.Ext(path) != ".go":
			return nil
		}
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		pkg := strings.TrimSuffix(file.Name.Name, "_test")
		c[pkg] = true
		for _, decl := range file.Decls {
			c.declared(pkg, decl)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if s, err := strconv.Unquote(lit.Value); err == nil && strings.HasSuffix(s, "/") {
					c[s] = true
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// notGo lists words that ARCHITECTURE.md quotes and that are no names of Go code:
// commands, states, keys of the configuration.
var notGo = strings.Fields(`at atq batch cron lost stuck arm_ahead history.keep waits_for n/loading`)

var (
	quoted   = regexp.MustCompile("`([^`\n]+)`")
	goName   = regexp.MustCompile(`^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$`)
	fileName = regexp.MustCompile(`^(\.\./)?[\w.-]+(/[\w.-]+)*/?$`)
)

// TestNamesInArchitecture holds ARCHITECTURE.md to the code: each quoted name of a
// declaration, a package or a file exists. What looks like none of these, such as a
// command with arguments or a key of the store, is not looked at.
func TestNamesInArchitecture(t *testing.T) {
	c := readCode(t)
	for _, w := range notGo {
		c[w] = true
	}
	text, err := os.ReadFile(filepath.Join(root, "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	// Blocks that are indented are drawings and listings.
	for n, line := range strings.Split(string(text), "\n") {
		if strings.HasPrefix(line, "    ") {
			continue
		}
		for _, m := range quoted.FindAllStringSubmatch(line, -1) {
			name := m[1]
			if strings.HasPrefix(name, "STATE/") || strings.HasPrefix(name, "RUNTIME/") {
				continue // of the daemon's directories, not of the project
			}
			exists := c[strings.TrimSuffix(name, "()")]
			if !exists && fileName.MatchString(name) {
				_, err := os.Stat(filepath.Join(root, filepath.FromSlash(name)))
				exists = err == nil
			}
			if exists {
				found++
				continue
			}
			if goName.MatchString(name) || strings.Contains(name, "/") && fileName.MatchString(name) {
				t.Errorf("ARCHITECTURE.md:%d: there is no %s", n+1, name)
			}
		}
	}
	if found < 50 {
		t.Errorf("only %d names were found: the test reads ARCHITECTURE.md wrongly", found)
	}
}
