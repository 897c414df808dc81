package activation

import (
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"path/filepath"
	"strings"
	"testing"
)

// What the core does differently for kinds of activations is in the policies. No other
// file may ask for the kind, or whether a job is an at job.
func TestOnlyPoliciesKnowKinds(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	set := gotoken.NewFileSet()
	asks := func(e ast.Expr) bool {
		switch e := e.(type) {
		case *ast.Ident:
			return e.Name == "Job" || e.Name == "Reservation"
		case *ast.CallExpr: // a conversion
			return len(e.Args) == 1 && isKind(e.Args[0])
		case *ast.SelectorExpr:
			return e.Sel.Name == "AtJob"
		}
		return false
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") || name == "policy.go" {
			continue
		}
		f, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BinaryExpr:
				if (n.Op == gotoken.EQL || n.Op == gotoken.NEQ) && (asks(n.X) || asks(n.Y)) {
					t.Errorf("%v: a policy can say this", set.Position(n.Pos()))
				}
			case *ast.CaseClause:
				for _, e := range n.List {
					if isKind(e) {
						t.Errorf("%v: a policy can say this", set.Position(e.Pos()))
					}
				}
			}
			return true
		})
	}
}

func isKind(e ast.Expr) bool {
	i, ok := e.(*ast.Ident)
	return ok && (i.Name == "Job" || i.Name == "Reservation")
}
