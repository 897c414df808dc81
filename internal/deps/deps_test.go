// Package deps holds the project's import policy and nothing else.
package deps

import (
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "activationd/"

// policy says which packages of the module each may import. It is a statement
// of design: change it in a commit of its own, and say why.
var policy = map[string]string{
	"internal/fault":  "",
	"internal/diag":   "internal/fault",
	"schedule":        "",
	"supervisor":      "",
	"store":           "",
	"store/bolt":      "store",
	"vlanstore":       "store internal/fault",
	"control":         "internal/fault",
	"control/line":    "control internal/fault",
	"cmd/atctl":       "control internal/fault",
	"cmd/activationd": "*",
	"internal/deps":   "",
}

// foreign says which packages may import what is not in the standard library.
var foreign = map[string]string{
	"go.etcd.io/bbolt":       "store/bolt",
	"github.com/spf13/cobra": "cmd/atctl",
	"go.yaml.in/yaml/v3":     "cmd/activationd",
}

func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		pkg := strings.TrimPrefix(words[0], module)
		allowed, ok := policy[pkg]
		if !ok {
			t.Errorf("%s is not in the policy", pkg)
		}
		for _, imp := range words[1:] {
			local, isLocal := strings.CutPrefix(imp, module)
			switch {
			case isLocal:
				if allowed != "*" && !slices.Contains(strings.Fields(allowed), local) {
					t.Errorf("%s may not import %s", pkg, local)
				}
			case strings.Contains(path.Dir(imp+"/x"), "."): // has a host name: not the standard library
				if !slices.Contains(strings.Fields(foreign[imp]), pkg) {
					t.Errorf("%s may not import %s", pkg, imp)
				}
			}
		}
	}
}

// TestPackageDocs checks that each package says what it is.
func TestPackageDocs(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{if not .Doc}}{{.ImportPath}}{{end}}", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, pkg := range strings.Fields(string(out)) {
		if pkg != module+"internal/deps" { // has only tests
			t.Errorf("%s has no package doc", pkg)
		}
	}
}
