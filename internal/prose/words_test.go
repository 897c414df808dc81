package prose

import (
	"flag"
	"fmt"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"
)

var hints = flag.Bool("hints", false, "list the places that meet a hint, too; they fail nothing")

// A rule is one line of words.tsv.
type rule struct {
	hint    bool
	pattern *regexp.Regexp
	instead string
	phrases []string // see [phrases]
}

// readTable returns the lines of a file, each cut at its tabs into n fields.
// Empty lines and those that begin with # say nothing.
func readTable(t *testing.T, name string, n int) [][]string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]string
	for i, line := range strings.Split(string(data), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		fields := strings.Split(line, "\t")
		if len(fields) != n || slices.Contains(fields, "") {
			t.Fatalf("%s:%d: want %d fields between tabs, none of them empty", name, i+1, n)
		}
		rows = append(rows, fields)
	}
	return rows
}

// readRules compiles words.tsv. A blank in a pattern matches a line break as well,
// because a sentence is not bound to its lines.
func readRules(t *testing.T) []rule {
	t.Helper()
	var rules []rule
	for _, row := range readTable(t, "words.tsv", 3) {
		pattern, err := regexp.Compile(`(?im)` + strings.ReplaceAll(row[1], " ", `\s+`))
		if err != nil {
			t.Fatalf("words.tsv: %v", err)
		}
		parsed, err := syntax.Parse(pattern.String(), syntax.Perl)
		if err != nil {
			t.Fatalf("words.tsv: %v", err)
		}
		rules = append(rules, rule{row[0] == "hint", pattern, row[2], phrases(parsed)})
	}
	return rules
}

// A passage is text that people read, and the line of its file on which it begins.
type passage struct {
	text string
	line int
}

// passages returns what people read of a file: of Go code the comments and the
// texts, of any other file all of it.
func passages(name string, data []byte) []passage {
	if filepath.Ext(name) != ".go" {
		return []passage{{string(data), 1}}
	}
	fset := token.NewFileSet()
	file := fset.AddFile(name, -1, len(data))
	var s scanner.Scanner
	s.Init(file, data, nil, scanner.ScanComments)
	var ps []passage
	for {
		pos, tok, lit := s.Scan()
		line := file.Line(pos)
		switch tok {
		case token.EOF:
			return ps
		case token.COMMENT:
			lit = strings.Replace(lit, "//", "  ", 1)
			// The lines of one comment are one passage.
			if n := len(ps) - 1; n >= 0 && strings.HasPrefix(ps[n].text, "  ") && ps[n].line+strings.Count(ps[n].text, "\n")+1 == line {
				ps[n].text += "\n" + lit
				continue
			}
			ps = append(ps, passage{lit, line})
		case token.STRING:
			ps = append(ps, passage{lit, line})
		}
	}
}

// read reports whether a file is one that people read.
func read(path string) bool {
	switch filepath.Ext(path) {
	case ".md", ".go", ".yaml", ".yml", ".txtar":
		return true
	}
	return false
}

// An exception is a place where a wording is right.
type exception struct {
	file, text string
	used       bool
}

func TestPlainWords(t *testing.T) {
	rules := readRules(t)
	var exceptions []*exception
	for _, row := range readTable(t, "exceptions.tsv", 3) {
		exceptions = append(exceptions, &exception{file: row[0], text: row[1]})
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := filepath.ToSlash(strings.TrimPrefix(path, root+string(filepath.Separator)))
		if d.IsDir() {
			if name == ".git" || name == "bin" || name == "dist" || name == "internal/prose" {
				return filepath.SkipDir
			}
			return nil
		}
		if !read(path) || !d.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		lines := strings.Split(string(data), "\n")
		for _, p := range passages(name, data) {
			text := plainText(p.text)
			for _, r := range rules {
				if r.hint && !*hints || !r.meets(text) {
					continue
				}
				for _, at := range r.pattern.FindAllStringIndex(p.text, -1) {
					n := p.line + strings.Count(p.text[:at[0]], "\n")
					line := strings.TrimSpace(lines[n-1])
					where := fmt.Sprintf("%s:%d: %q: write %q\n\t%s", name, n, p.text[at[0]:at[1]], r.instead, line)
					switch {
					case r.hint:
						t.Log("hint: " + where)
					case !excepted(exceptions, name, line):
						t.Error(where)
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range exceptions {
		if !e.used {
			t.Errorf("exceptions.tsv: no rule is met in %s by a line with %q: take the exception out", e.file, e.text)
		}
	}
}

// TestPassages holds that a wording is found over the end of a line, in comments and
// in texts, and not in code.
func TestPassages(t *testing.T) {
	const code = "package p\n\n// It is\n// red.\nvar red = `was\nred`\n\nvar s = \"is red\" // no more\n"
	red := regexp.MustCompile(`(?i)\b(is|was)\s+red\b`)
	var lines []int
	for _, p := range passages("p.go", []byte(code)) {
		for _, at := range red.FindAllStringIndex(p.text, -1) {
			lines = append(lines, p.line+strings.Count(p.text[:at[0]], "\n"))
		}
	}
	if want := []int{3, 5, 8}; !slices.Equal(lines, want) {
		t.Errorf("found on lines %v, want %v", lines, want)
	}
}
