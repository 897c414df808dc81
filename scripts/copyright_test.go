package scripts

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const copyrightHead = `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: activationd
Comment:
 The programs are linked statically, so the package contains other modules of Go besides
 activationd, and the library and the runtime of Go itself. The source contains none of
 them; they are named here by the places that "go mod vendor" gives them. The library and
 the runtime of Go have the same authors and the same license as golang.org/x/sys.
 .
 A test of the project makes this file of the modules that the programs consist of.

Files: *
Copyright: the authors of activationd
License: Apache-2.0
`

const copyrightTail = `
License: Apache-2.0
 Debian has the text in /usr/share/common-licenses/Apache-2.0.

License: MPL-2.0
 Debian has the text in /usr/share/common-licenses/MPL-2.0.
`

// TestCopyright checks that debian/copyright has the license of each module that is linked
// into one of the programs: who gets the package gets all of them.
func TestCopyright(t *testing.T) {
	want := copyrightHead
	stanzas := map[string]*licensed{}
	for path, dir := range linkedModules(t) {
		l := readLicense(t, path, dir)
		key := l.name + l.text + l.notice
		if s, ok := stanzas[key]; ok {
			l.modules, l.holders = append(l.modules, s.modules...), append(l.holders, s.holders...)
		}
		stanzas[key] = l
	}
	for _, s := range slices.SortedFunc(maps.Values(stanzas), func(a, b *licensed) int {
		return strings.Compare(a.name+slices.Min(a.modules), b.name+slices.Min(b.modules))
	}) {
		want += s.stanza()
	}
	want += copyrightTail

	const file = "../debian/copyright"
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil { //nolint:gosec // everybody may read it
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s does not have the licenses of the linked modules; after a look at what is new, run\n\tgo test ./scripts -run TestCopyright -update\nIt has to be\n%s", file, want)
	}
}

// linkedModules returns the directories of the modules that the programs consist of, by
// their paths.
func linkedModules(t *testing.T) map[string]string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags=idle,early", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}\t{{.Dir}}{{end}}{{end}}", "../cmd/...")
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	modules := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if path, dir, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok {
			modules[path] = dir
		}
	}
	if len(modules) < 20 {
		t.Fatalf("only these modules are linked: %v", modules)
	}
	return modules
}

// licensed are modules with the same license.
type licensed struct {
	name    string // as Debian names it
	text    string // unless Debian has it in /usr/share/common-licenses
	notice  string // which the Apache license wants to be handed on
	modules []string
	holders []string
}

var (
	copyrightLine = regexp.MustCompile(`(?m)^Copyright (?:\([cC]\) |© )?(\S.*)\n`)
	titleLine     = regexp.MustCompile(`\A\s*(?:The )?MIT License(?: \(MIT\))?\n`)
	reserved      = regexp.MustCompile(`[.,]? All rights reserved\.?$`)
)

// readLicense reads the license of a module.
func readLicense(t *testing.T, path, dir string) *licensed {
	t.Helper()
	files, err := filepath.Glob(dir + "/LICENSE*")
	if err != nil || len(files) != 1 {
		t.Fatalf("%s has the licenses %v: say in this test which is right (%v)", path, files, err)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(data), "\r\n", "\n")
	notice, err := os.ReadFile(dir + "/NOTICE")
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	l := &licensed{modules: []string{path}, notice: string(notice)}
	for _, m := range copyrightLine.FindAllStringSubmatch(text+string(notice), -1) {
		l.holders = append(l.holders, fmt.Sprintf("%s (%s)", strings.TrimSuffix(reserved.ReplaceAllString(m[1], ""), "."), path))
	}
	for _, kind := range []struct{ name, sign string }{
		{"Expat and Apache-2.0", "covered by two different licenses: MIT and Apache"},
		{"Apache-2.0", "Apache License\n"},
		{"MPL-2.0", "Mozilla Public License Version 2.0\n"},
		{"Expat", "Permission is hereby granted, free of charge,"},
		{"ISC", "Permission to use, copy, modify, and distribute this software for any\npurpose"},
		{"BSD-3-clause", "Neither the name of"},
	} {
		if l.name == "" && strings.Contains(text, kind.sign) {
			l.name = kind.name
		}
	}
	switch l.name {
	case "":
		t.Fatalf("%s has a license that this test does not know:\n%s", path, text)
	case "Apache-2.0", "MPL-2.0":
		if len(l.holders) == 0 {
			l.holders = []string{fmt.Sprintf("the authors of %s", path)}
		}
	case "Expat and Apache-2.0": // it says which file has which
		l.text = text
	default:
		l.text = strings.Join(strings.Fields(copyrightLine.ReplaceAllString(titleLine.ReplaceAllString(text, ""), "")), " ")
		l.text = strings.TrimPrefix(l.text, "All rights reserved. ")
	}
	return l
}

// stanza returns the modules' part of the file.
func (l *licensed) stanza() string {
	slices.Sort(l.modules)
	slices.Sort(l.holders)
	var files []string
	for _, path := range l.modules {
		files = append(files, "vendor/"+path+"/*")
	}
	out := fmt.Sprintf("\nFiles:\n %s\nCopyright:\n %s\nLicense: %s\n", strings.Join(files, "\n "), strings.Join(l.holders, "\n "), l.name)
	if l.text != "" {
		out += field(l.text)
	}
	if l.notice != "" {
		out += "Comment:\n" + field(l.notice)
	}
	return out
}

// field returns a text as lines of a field.
func field(text string) string {
	var out strings.Builder
	for line := range strings.Lines(strings.TrimSpace(text) + "\n") {
		if line = strings.TrimRight(line, " \t\n"); line == "" {
			line = "."
		}
		for len(line) > 100 { // one paragraph on one line, as spaces were normalised
			cut := strings.LastIndexByte(line[:100], ' ')
			if cut < 0 {
				break
			}
			out.WriteString(" " + line[:cut] + "\n")
			line = line[cut+1:]
		}
		out.WriteString(" " + line + "\n")
	}
	return out.String()
}
