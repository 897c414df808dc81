package scripts

import (
	"debug/elf"
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

	"activationd/test/harness"
)

// TestProgramsForArm64: the types of all programs are right on arm64, where some of the kernel's structures differ. It
// takes a tenth of the time that a build takes; `make test-arm64` builds them.
func TestProgramsForArm64(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags=idle,early", "-json=ImportPath,Dir,GoFiles,ImportMap", "../cmd/...")
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

// TestPackageForArm64 builds the packages for arm64. Building everything for another machine takes long.
func TestPackageForArm64(t *testing.T) {
	if !harness.All() {
		return // TestPackage builds them for this machine
	}
	for _, program := range []string{"dh", "lintian"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed: run scripts/install-deps deb", program)
		}
	}
	t.Parallel()
	debs := buildPackages(t, "..", "022", "GOARCH=arm64")
	dir := t.TempDir()
	for _, deb := range debs {
		if arch := run(t, "dpkg-deb", "--field", deb, "Architecture"); arch != "arm64\n" {
			t.Errorf("%s is for %s", deb, arch)
		}
		run(t, "dpkg-deb", "--extract", deb, dir)
	}
	programs, err := filepath.Glob(dir + "/usr/libexec/activationd/*")
	if err != nil || len(programs) != 4 {
		t.Errorf("programs %v, %v; want 4", programs, err)
	}
	for _, program := range append(programs, dir+"/usr/bin/activationd", dir+"/usr/bin/atctl") {
		f, err := elf.Open(program)
		if err != nil {
			t.Error(err)
			continue
		}
		if f.Machine != elf.EM_AARCH64 {
			t.Errorf("%s is for %v", program, f.Machine)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if page, err := filepath.Glob(dir + "/usr/share/man/man1/atctl-queue.1*"); err != nil || len(page) != 1 {
		t.Errorf("manual pages %v, %v; the programs of this machine describe themselves", page, err)
	}
	checkLintian(t, debs)
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
