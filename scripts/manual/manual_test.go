package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"activationd/control/ops"
)

// printed prints the pages, and returns their directory and that of the programs that they
// are about.
func printed(t *testing.T) (dir, bin string) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds the programs")
	}
	dir, bin = t.TempDir(), t.TempDir()
	build := []string{"build", "-o", bin, "../../cmd/activationd", "../../cmd/atctl", "../../cmd/atctl-lab", "../../cmd/atctl-top"}
	if out, err := exec.CommandContext(t.Context(), "go", build...).CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	b := book{doc: "/usr/share/doc/activationd", share: "/usr/share/activationd", texts: "../../docs"}
	if err := b.print(t.Context(), dir, bin, "1000000000"); err != nil {
		t.Fatal(err)
	}
	return dir, bin
}

// file returns where the page is below dir.
func (s *spec) file(dir string) string {
	if s.name == "at" {
		dir += "/at"
	}
	return fmt.Sprintf("%s/man%d/%s.%d", dir, s.section, s.name, s.section)
}

// TestManual checks the pages with two formatters, each of which must have nothing to say, and
// looks at what a terminal of 80 columns shows.
func TestManual(t *testing.T) {
	for _, program := range []string{"man", "mandoc"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	dir, bin := printed(t)
	t.Run("commands", func(t *testing.T) { checkCommands(t, dir, bin) })
	t.Run("names", func(t *testing.T) { checkNames(t, dir) })
	wants := map[string][]string{
		"atctl":                    {"SYNOPSIS", "COMMANDS", "OPTIONS OF ALL COMMANDS", "EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES"},
		"atctl-queue":              {"SYNOPSIS", "COMMANDS"},
		"activationd":              {"SYNOPSIS", "OPTIONS", "SIGNALS", "EXIT STATUS", "FILES", "EXAMPLES"},
		"activationd.yaml":         {"FILES"},
		"activationd-reservations": {"KEYS", "FILES"},
		"activationd-inventory":    {"THE INVENTORY", "EXAMPLE", "FILES"},
		"activationd-protocol":     {"REQUESTS", "INDEX OF COMMANDS", "FILES"},
		"at":                       {"SYNOPSIS", "OPTIONS", "DIFFERENCES FROM AT"},
	}
	for _, s := range specs {
		t.Run(s.name, func(t *testing.T) {
			file := s.file(dir)
			if out, err := exec.CommandContext(t.Context(), "mandoc", "-T", "lint", file).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("mandoc: %v\n%s", err, out)
			}
			var warnings strings.Builder
			cmd := exec.CommandContext(t.Context(), "man", "--warnings", "-l", file)
			cmd.Env = append(os.Environ(), "MANWIDTH=80", "LC_ALL=C.UTF-8")
			cmd.Stderr = &warnings
			shown, err := cmd.Output()
			if err != nil || warnings.Len() > 0 {
				t.Errorf("man: %v\n%s", err, warnings.String())
			}
			readable(t, string(shown))
			for _, section := range append(wants[s.name], "NAME", "DESCRIPTION", "SEE ALSO") {
				if n := strings.Count(string(shown), "\n"+section+"\n"); n != 1 {
					t.Errorf("it has %d sections %s", n, section)
				}
			}
		})
	}
}

// lastLine is the last line of a page: a version, a date, and the name.
var lastLine = regexp.MustCompile(`^.*\S {2,}\d{4}-\d\d-\d\d {2,}\S+\(\d\)$`)

// readable checks that no line is wider than a terminal, unless it is one word, and that
// neither Markdown nor the language of pages shows.
func readable(t *testing.T, shown string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(shown), "\n")
	if last := lines[len(lines)-1]; !lastLine.MatchString(last) {
		t.Errorf("the last line has no room for its parts: %q", last)
	}
	if regexp.MustCompile(`(?i)see (this page|below \()|\(this page\)|: this page`).MatchString(strings.Join(strings.Fields(shown), " ")) {
		t.Error("it refers to itself instead of a section")
	}
	signs := regexp.MustCompile("\\]\\(|\\*\\*[a-z]|^ *\\|.*\\||```|\\\\f[BIR]|\\\\\\((?:aq|dq|ha|ti)|^\\.[A-Z]{2}")
	for line := range strings.Lines(shown) {
		line = strings.TrimSpace(strings.TrimRight(line, "\n"))
		if sign := signs.FindString(line); sign != "" {
			t.Errorf("%q shows in %q", sign, line)
		}
	}
	for line := range strings.Lines(shown) {
		if len([]rune(line)) > 81 && strings.Contains(strings.TrimSpace(line), " ") {
			t.Errorf("wider than 80 columns: %s", line)
		}
	}
}

// checkCommands checks that each command of atctl is described on one page, with the flags
// that its help lists, and that the index of atctl(1) leads to this page.
func checkCommands(t *testing.T, dir, bin string) {
	root, _, err := commands(t.Context(), bin)
	if err != nil {
		t.Fatal(err)
	}
	flags := regexp.MustCompile(`(?m)^  (?:-., |    )(--[a-z-]+)`)
	index := sections(t, dir+"/man1/atctl.1", "SS")
	described := make(map[string]map[string]string) // by page
	for _, s := range specs {
		if s.section == 1 && s.name != "at" {
			described[s.name] = sections(t, s.file(dir), "SS")
		}
	}
	seen := 0
	for _, leaf := range leaves(root) {
		var pages []string
		text := ""
		for page, subs := range described {
			if sub, ok := subs[leaf.Path]; ok {
				pages, text = append(pages, page), sub
			}
		}
		if len(pages) != 1 {
			t.Errorf("%s is on the pages %q, want one", leaf.Path, pages)
			continue
		}
		listed := 0
		for heading, entries := range index {
			if strings.HasPrefix(heading, pages[0]+"(1): ") {
				listed += strings.Count(entries, "\n"+name(leaf)+"\n"+leaf.Short+"\n") + wrappedIn(entries, name(leaf), leaf.Short)
			}
		}
		if listed != 1 {
			t.Errorf("the index has %s %d times below %s(1)", name(leaf), listed, pages[0])
		}
		out, err := exec.CommandContext(t.Context(), bin+"/atctl", append(strings.Fields(name(leaf)), "--help")...).Output()
		if err != nil {
			t.Fatalf("%s --help: %v", leaf.Path, err)
		}
		own, _, _ := strings.Cut(string(out), "\nFlags of all commands:")
		for _, m := range flags.FindAllStringSubmatch(own, -1) {
			if seen++; m[1] != "--help" && !regexp.MustCompile(`(?m)^(-., )?`+m[1]+`( |$)`).MatchString(text) {
				t.Errorf("%s(1) lacks %s of %s", pages[0], m[1], leaf.Path)
			}
		}
	}
	if seen < 200 {
		t.Errorf("only %d flags were seen", seen)
	}
	operations := strings.Split(sections(t, dir+"/man7/activationd-protocol.7", "SH")["INDEX OF COMMANDS"], "\n")
	for _, op := range ops.Registry(ops.Daemon{}).Ops() {
		if n := len(slices.DeleteFunc(slices.Clone(operations), func(s string) bool { return s != op.Name+" ("+op.Role.String()+")" })); n != 1 {
			t.Errorf("activationd-protocol(7) has %s %d times in its index", op.Name, n)
		}
	}
}

// wrappedIn counts an entry of the index whose text has more than a line.
func wrappedIn(entries, name, short string) int {
	_, text, found := strings.Cut(entries, "\n"+name+"\n")
	text, _, _ = strings.Cut(text, "\n.")
	if found && strings.Contains(text, "\n") && strings.Join(strings.Fields(text), " ") == short {
		return 1
	}
	return 0
}

// sections returns the sections that a page's macro begins, without the characters that only
// its language needs.
func sections(t *testing.T, file, macro string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	for _, part := range strings.Split(shown.Replace(string(data)), "\n."+macro+" ")[1:] {
		heading, text, _ := strings.Cut(part, "\n")
		if macro == "SS" {
			text, _, _ = strings.Cut(text, "\n.SH")
		}
		found[strings.Trim(heading, `"`)] = "\n" + text
	}
	return found
}

// checkNames checks that man finds the pages of commands, as people ask for them.
func checkNames(t *testing.T, dir string) {
	for _, names := range [][]string{{"atctl"}, {"atctl-queue"}, {"atctl", "queue"}, {"atctl", "hold"}, {"atctl-import-cron"}, {"activationd.yaml"}} {
		cmd := exec.CommandContext(t.Context(), "man", append([]string{"-M", dir, "-P", "cat"}, names...)...)
		out, err := cmd.Output()
		_, named, _ := strings.Cut(string(out), "NAME\n")
		named, _, _ = strings.Cut(named, " - ")
		if err != nil || !slices.Contains(strings.Split(strings.Join(strings.Fields(named), " "), ", "), strings.Join(names, "-")) {
			t.Errorf("man %v: %v, NAME has %q", names, err, named)
		}
	}
	for _, s := range specs {
		for _, other := range others(s) {
			link := filepath.Join(filepath.Dir(s.file(dir)), fmt.Sprintf("%s.%d", other, s.section))
			if to, err := os.Readlink(link); err != nil || to != filepath.Base(s.file(dir)) {
				t.Errorf("%s: %q, %v", link, to, err)
			}
		}
	}
}

// TestSections checks that of texts that are divided, each section is on one page.
func TestSections(t *testing.T) {
	pages := make(map[string]int)
	divided := make(map[string]bool)
	for _, s := range specs {
		for _, text := range s.texts {
			for _, section := range text.sections {
				pages[text.file+": "+section]++
				divided[text.file] = true
			}
		}
	}
	if len(divided) == 0 {
		t.Error("no text is divided")
	}
	for file := range divided {
		data, err := os.ReadFile("../../docs/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range parse(data)[1:] {
			if section := file + ": " + title(part[0]); pages[section] != 1 {
				t.Errorf("%q is on %d pages, want one", section, pages[section])
			}
		}
	}
}

func TestNarrowed(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"what fits stays", "ls -l   # list", "ls -l   # list"},
		{"comments go before", "cp a b   # a comment\nls -l   # list", "# a comment\ncp a b\n# list\nls -l"},
		{"a comment is filled", "# one two threes\n# four\ncp", "# one two\n# threes four\ncp"},
		{"only if one of its lines is too wide", "# one\n# two\n\ncp one two three four", "# one\n# two\n\ncp one two\n    three four"},
		{"indented", "  # one two three\n  ls", "  # one two\n  # three\n  ls"},
		{"JSON", `{"a":"b","c":"d","e":1}`, "{\"a\":\"b\",\n    \"c\":\"d\",\n    \"e\":1}"},
		{"a command line", `atctl x 'a b c d e' -y`, "atctl x \\\n    'a b c d e' \\\n    -y"},
		{"the form of a command line", "atctl x [--flag NAME]", "atctl x [--flag\n    NAME]"},
		{"a word that is too wide", "123456789012345678901234567890", "123456789012345678901234567890"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := strings.Join(narrowed(strings.Split(tt.in, "\n"), 15), "\n"); got != tt.want {
				t.Errorf("narrowed gives\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"a-b": `a\-b`, `a\b`: `a\eb`, "it's": `it\(aqs`, "~/x^2": `\(ti/x\(ha2`, "é…": `\[u00E9]\[u2026]`, `"`: `\(dq`,
	} {
		if got := escape(in); got != want {
			t.Errorf("escape(%q) = %q, want %q", in, got, want)
		}
	}
	var r roff
	r.fill(".SH is no macro here. 'nor this, and this sentence is longer than what fits into one line of the source")
	for line := range strings.Lines(r.String()) {
		if line[0] == '.' || line[0] == '\'' || len(line) > source+1 {
			t.Errorf("fill gives the line %q", line)
		}
	}
}

// TestShort checks that a version leaves room in the last line of a page.
func TestShort(t *testing.T) {
	for in, want := range map[string]string{
		"activationd 1.2": "activationd 1.2",
		"activationd 1.0~git20261202.011912.0518fd2":            "activationd 1.0~git20261202",
		"activationd 1.0~git20261202.011912.0518fd2.dirty":      "activationd 1.0~git20261202",
		"activationd 1.0~something.that.has.no.room":            "1.0~something.that.has.no.room",
		"activationd 1.0~something.that.has.no.room.for.a.page": "1.0~something.that.has.no.room",
	} {
		if got := short(in); got != want {
			t.Errorf("short(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestSectionOf checks that references to the page itself name the section that they mean.
func TestSectionOf(t *testing.T) {
	for _, tt := range []struct{ page, dest, words, want string }{
		{"atctl-queue", "queues.md", "queues.md", "DESCRIPTION"},
		{"atctl-queue", "queues.md#what-is-promised", "queues.md", "WHAT IS PROMISED"},
		{"atctl-book", "conflicts.md#who-keeps-the-device", "conflicts.md", "Who keeps the device"},
		{"atctl-book", "conflicts.md", "conflicts.md", "CONFLICTS BETWEEN RESERVATIONS"},
		{"activationd-inventory", "lab.example.yaml", "lab.example.yaml", "EXAMPLE"},
	} {
		i := slices.IndexFunc(specs, func(s spec) bool { return s.name == tt.page })
		p := page{book: &book{texts: "../../docs"}, spec: specs[i]}
		if got := p.link(tt.dest, tt.words); got != tt.want {
			t.Errorf("%s: the link to %s is %q, want %q", tt.page, tt.dest, got, tt.want)
		}
	}
	p := page{book: &book{texts: "../../docs"}, spec: specs[0], file: "atctl.md"}
	if got := p.link("#one-command-for-many", "below"); got != `\fBatctl\-cancel\fR(1)` {
		t.Errorf("a link to a part of the text on another page is %q", got)
	}
}

// TestTermsWrap checks that lines of a list in --help go on where their texts begin.
func TestTermsWrap(t *testing.T) {
	p := page{document: document{roff: &roff{}}}
	p.prose("  0  well\n  2  the state file is\n     damaged")
	if got := p.String(); strings.Contains(got, ".EX") || !strings.Contains(got, "the state file is damaged\n") {
		t.Errorf("the page has\n%s", got)
	}
}
