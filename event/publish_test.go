package event

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"activationd/internal/fault"
)

func TestPublish(t *testing.T) {
	for _, tt := range []struct{ name, topic, text, wrong string }{
		{"words", "build.42.done", "3 warnings", ""},
		{"one word, no text", "lunch", "", ""},
		{"an escaped dot, other letters", "labor.süd%2E1", "zwei\nZeilen", ""},
		{"the longest", strings.Repeat("x", MaxTopic), strings.Repeat("y", MaxText), ""},
		{"a word that only begins like one of ours", "activations.x", "", ""},
		{"ours", "activation.7.finished", "", "of activationd itself"},
		{"ours, alone", "load", "", "of activationd itself"},
		{"a gap", "gap", "", "of activationd itself"},
		{"empty", "", "x", "is empty"},
		{"a pattern", "build.*", "", "patterns"},
		{"a pattern", "a#b", "", "patterns"},
		{"two dots", "build..done", "", "empty word"},
		{"a dot at the end", "build.", "", "empty word"},
		{"a blank", "build done", "", "a blank"},
		{"a newline", "build\ndone", "", "cannot be printed"},
		{"an escape", "a\x1bb", "", "cannot be printed"},
		{"not UTF-8", "a\xff", "", "cannot be printed"},
		{"too long", strings.Repeat("x", MaxTopic+1), "", "at most 255"},
		{"text too long", "x", strings.Repeat("y", MaxText+1), "at most 4096"},
		{"text not UTF-8", "x", "\xff", "not UTF-8"},
	} {
		ev, err := Publish(tt.topic, tt.text)
		switch {
		case tt.wrong == "" && (err != nil || ev.Topic != tt.topic || ev.Text != tt.text || ev.What != Published):
			t.Errorf("%s: Publish(%.20q, %.20q) = %+v, %v", tt.name, tt.topic, tt.text, ev, err)
		case tt.wrong != "" && (!errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), tt.wrong) || len(err.Error()) > 250):
			t.Errorf("%s: Publish(%.20q, %.20q) is refused with %v, want %q", tt.name, tt.topic, tt.text, err, tt.wrong)
		}
	}
}

// TestPublishedIsStored reads a published event by a log that did not write it.
func TestPublishedIsStored(t *testing.T) {
	l := newTestLog(t)
	ev, err := Publish("build.42", strings.Repeat("é", MaxText/2))
	if err != nil {
		t.Fatal(err)
	}
	want := ev.Text
	ev.Time, ev.Actor = start, &Actor{Kind: ByUser, Name: "ada"}
	l.append(&ev)
	l.restart()
	page, err := l.Read(t.Context(), 0)
	if err != nil || len(page) != 1 {
		t.Fatalf("read %d events, %v", len(page), err)
	}
	if got := page[0]; got.Topic != "build.42" || got.What != Published || got.Text != want || got.Actor.Name != "ada" {
		t.Errorf("read %+v", got)
	}
}

// TestOwnTopics checks in the source that the first word of every topic of activationd's own
// events is one that clients cannot publish.
func TestOwnTopics(t *testing.T) {
	found := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != "..":
			return filepath.SkipDir
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			fn, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || fn.Sel.Name != "Topic" {
				return true
			}
			if pkg, ok := fn.X.(*ast.Ident); !ok || pkg.Name != "event" {
				return true
			}
			found++
			text := ""
			if lit, ok := call.Args[0].(*ast.BasicLit); ok {
				text, _ = strconv.Unquote(lit.Value)
			}
			if !slices.Contains(own, text) {
				t.Errorf("%s: a topic begins with %q, which is not a word of ours: clients could publish it", path, text)
			}
			return true
		})
		return nil
	})
	if err != nil || found < 5 {
		t.Errorf("found %d topics: %v", found, err)
	}
}
