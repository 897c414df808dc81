package scripts

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestProgramsForArm64: the types of all programs are right on arm64, where some of the kernel's structures differ. It
// takes a tenth of the time that a build takes; `make test-arm64` builds them.
func TestProgramsForArm64(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Dir,GoFiles,ImportMap", "../cmd/...")
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	known := map[string]*types.Package{"unsafe": types.Unsafe}
	for list := json.NewDecoder(strings.NewReader(string(out))); ; { // what a package imports is before it
		var p goPackage
		if err := list.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if p.ImportPath == "unsafe" {
			continue
		}
		if known[p.ImportPath], err = p.check(known); err != nil {
			t.Errorf("for arm64: %v", err)
		}
	}
	if known["activationd/cmd/activationd"] == nil {
		t.Error("the daemon's package was not checked")
	}
}

// goPackage is what `go list` says of a package.
type goPackage struct {
	ImportPath, Dir string
	GoFiles         []string
	ImportMap       map[string]string
}

// check checks the types of a package, and inside functions if the package is ours.
func (p *goPackage) check(known map[string]*types.Package) (*types.Package, error) {
	files := token.NewFileSet()
	var parsed []*ast.File
	for _, name := range p.GoFiles {
		f, err := parser.ParseFile(files, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, f)
	}
	c := types.Config{Sizes: types.SizesFor("gc", "arm64"), FakeImportC: true, IgnoreFuncBodies: !strings.HasPrefix(p.ImportPath, "activationd/")}
	c.Importer = importer(func(path string) (*types.Package, error) {
		if mapped, ok := p.ImportMap[path]; ok {
			path = mapped
		}
		if known[path] == nil {
			return nil, fmt.Errorf("%s imports %s, which `go list` does not have before it", p.ImportPath, path)
		}
		return known[path], nil
	})
	return c.Check(p.ImportPath, files, parsed, nil)
}

type importer func(path string) (*types.Package, error)

func (i importer) Import(path string) (*types.Package, error) { return i(path) }
