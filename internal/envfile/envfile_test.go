package envfile

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the table in docs/env-files.md")

// A row is a line, or several, and what readers make of it: the variables as NAME=VALUE, with
// " & " between them, or refused, or ignored.
type row struct {
	text, want string
	others     [4]string // systemd, docker compose, godotenv, envparse; "" is the same as want
}

const (
	refused = "refused" // an error, and no variables
	ignored = "ignored" // no error, and no variables
)

var same [4]string

// The table has what the real programs did, of the versions that the documentation names:
// systemd's EnvironmentFile= in a unit that ran env, and the three libraries in a program. $B
// was not set.
var table = []struct {
	title string
	rows  []row
}{
	{"Names and lines", []row{
		{`A=1`, `A=1`, same},
		{`  A = 1  `, `A=1`, same},
		{`A=`, `A=`, same},
		{`A='' `, `A=`, same},
		{`A=a=b`, `A=a=b`, same},
		{`A=1 2`, `A=1 2`, same},
		{`# text`, `ignored`, same},
		{"# text\\\nA=1", `A=1`, [4]string{`ignored`}},
		{"A=1\nA=2", `A=2`, same},
		{`export A=1`, `A=1`, [4]string{`ignored`}},
		{"export\tA=1", `A=1`, [4]string{`ignored`, "", "", `refused`}},
		{`export  A=1`, `A=1`, [4]string{`ignored`, "", "", `refused`}},
		{`export=1`, `export=1`, same},
		{`export =1`, `refused`, [4]string{`export=1`, `=1`, `=1`, `export=1`}},
		{`A.B=1`, `A.B=1`, [4]string{`ignored`}},
		{`A-B=1`, `refused`, [4]string{`ignored`, `A-B=1`}},
		{`1A=1`, `refused`, [4]string{`ignored`, `1A=1`, `1A=1`}},
		{`A B=1`, `refused`, [4]string{`ignored`, "", `A B=1`}},
		{"\u00c9=1", `refused`, [4]string{`ignored`, "\u00c9=1"}},
		{`=1`, `refused`, [4]string{`ignored`, `=1`, `=1`}},
		{`A`, `refused`, [4]string{`ignored`, `=A`, `=A`}},
		{`export A`, `refused`, [4]string{`ignored`, `=A`, `=A`}},
		{`A: 1`, `refused`, [4]string{`ignored`, `A=1`, `A=1`}},
		{`A+=1`, `refused`, [4]string{`ignored`}},
		{`;A=1`, `refused`, [4]string{`ignored`}},
		{"\ufeffA=1", `A=1`, [4]string{`ignored`, `refused`, `refused`, `refused`}},
		{"A=1\r\nB=2\r\n", `A=1 & B=2`, same},
		{"A=1\rB=2", `refused`, [4]string{`A=1 & B=2`, "A=1\rB=2", `A=1 & B=2`}},
		{"A=\u00e9", "A=\u00e9", same},
		{"A=a\tb", "A=a\tb", [4]string{"", "", "", `refused`}},
		{"A=\u00a0a", "A=\u00a0a", [4]string{"", `A=a`, `A=a`, `A=a`}},
	}},
	{"Values without quotes", []row{
		{`A=a #b`, `A=a`, [4]string{`A=a #b`}},
		{"A=a\t#b", `A=a`, [4]string{"A=a\t#b", "A=a\t#b", "", `refused`}},
		{`A=a#b`, `A=a#b`, [4]string{"", "", "", `A=a`}},
		{`A=#b`, `A=#b`, [4]string{"", "", "", `A=`}},
		{`A= #b`, `A=`, [4]string{`A=#b`, `A=#b`, `A=#b`}},
		{`A=it's`, `A=it's`, [4]string{"", "", "", `refused`}},
		{`A=a"b"`, `A=a"b"`, [4]string{"", "", "", `A=ab`}},
		{`A=C:\dir`, `A=C:\dir`, [4]string{`A=C:dir`}},
		{`A=a\nb`, `A=a\nb`, [4]string{`A=anb`}},
		{`A=a\$B`, `A=a\$B`, [4]string{`A=a$B`, `A=a\`, `A=a$B`}},
		{"A=a\\\nB=2", `A=a\ & B=2`, [4]string{`A=aB=2`}},
		{`A=$B`, `A=$B`, [4]string{"", `A=`, `A=`}},
		{`A=${B}`, `A=${B}`, [4]string{"", `A=`, `A=`}},
		{`A=${B:-c}`, `A=${B:-c}`, [4]string{"", `A=c`, `A=:-c}`}},
		{`A=cost$5`, `A=cost$5`, [4]string{"", "", `A=cost`}},
		{`A=cost$b`, `A=cost$b`, [4]string{"", `A=cost`}},
		{`A=a$$b`, `A=a$$b`, [4]string{"", `A=a$b`}},
		{`A=a$`, `A=a$`, same},
		{`A=$(date)`, `A=$(date)`, same},
		{"A=`date`", "A=`date`", same},
	}},
	{"Values in single quotes", []row{
		{`A='a #b'`, `A=a #b`, same},
		{`A='a"b'`, `A=a"b`, same},
		{`A='$B'`, `A=$B`, same},
		{`A='a\nb'`, `A=a\nb`, same},
		{`A='a\'`, `A=a\`, [4]string{"", `refused`, `refused`}},
		{`A='a\'b'`, `refused`, [4]string{`A=a\b'`, `A=a'b`, `A=a\'b`}},
		{"A='a\nb'", "A=a\nb", [4]string{"", "", "", `refused`}},
		{"A='a\r\nb'", "A=a\nb", [4]string{"A=a\r\nb", "A=a\r\nb", "", `refused`}},
		{`A='a' #b`, `A=a`, [4]string{`A=a#b`}},
		{`A='a'#b`, `refused`, [4]string{`A=a#b`, `A=a`, `A=a`, `A=a`}},
		{`A='a'b`, `refused`, [4]string{`A=ab`, `=b & A=a`, `=b & A=a`, `A=ab`}},
		{`A='it''s'`, `refused`, [4]string{`A=its`, "", "", `A=its`}},
		{`A='a'b"c"`, `refused`, [4]string{`A=ab"c"`, "", "", `A=abc`}},
		{`A='a' 'b'`, `refused`, [4]string{`A=ab`, "", "", `A=a b`}},
		{`A='a`, `refused`, [4]string{`A=a`}},
	}},
	{"Values in double quotes", []row{
		{`A="a #b"`, `A=a #b`, same},
		{`A="it's"`, `A=it's`, same},
		{`A="a\nb"`, "A=a\nb", [4]string{`A=a\nb`}},
		{`A="a\rb"`, "A=a\rb", [4]string{`A=a\rb`}},
		{`A="a\tb"`, "A=a\tb", [4]string{`A=a\tb`, "", `A=atb`}},
		{`A="a\"b"`, `A=a"b`, same},
		{`A="a\\b"`, `A=a\b`, same},
		{`A="a\\"`, `A=a\`, [4]string{"", "", `refused`}},
		{`A="a\""`, `A=a"`, [4]string{"", "", `A=a\`}},
		{`A="a\$B"`, `A=a$B`, [4]string{"", "", "", `refused`}},
		{`A="a\\$B"`, `A=a\$B`, [4]string{"", `A=a\`, `A=a$B`}},
		{"A=\"a\\`b\"", "A=a\\`b", [4]string{"A=a`b", "", "A=a`b", `refused`}},
		{`A="a\qb"`, `A=a\qb`, [4]string{"", "", `A=aqb`, `refused`}},
		{`A="a\u0041"`, `A=a\u0041`, [4]string{"", "", `A=au0041`, `A=aA`}},
		{"A=\"a\\\nb\"", `refused`, [4]string{`A=ab`, "A=a\\\nb", "A=a\nb"}},
		{`A="$B"`, `A=$B`, [4]string{"", `A=`, `A=`}},
		{`A="${B}"`, `A=${B}`, [4]string{"", `A=`, `A=`}},
		{`A="a$$b"`, `A=a$$b`, [4]string{"", `A=a$b`}},
		{`A="$(date)"`, `A=$(date)`, same},
		{"A=\"a\nb\"", "A=a\nb", [4]string{"", "", "", `refused`}},
		{"A=\"a\r\nb\"", "A=a\nb", [4]string{"A=a\r\nb", "A=a\r\nb", "", `refused`}},
		{`A="a" #b`, `A=a`, [4]string{`A=a#b`}},
		{`A="a"#b`, `refused`, [4]string{`A=a#b`, `A=a`, `A=a`, `A=a`}},
		{`A="a"b`, `refused`, [4]string{`A=ab`, `=b & A=a`, `=b & A=a`, `A=ab`}},
		{"A=\"a\nB=2", `refused`, [4]string{"A=a\nB=2"}},
	}},
}

func render(vars []Var) string {
	if len(vars) == 0 {
		return ignored
	}
	var all []string
	for _, v := range vars {
		all = append(all, v.Name+"="+v.Value)
	}
	return strings.Join(all, " & ")
}

func TestParse(t *testing.T) {
	for _, group := range table {
		for _, row := range group.rows {
			vars, warnings, err := Parse("app/.env", []byte(row.text))
			got := render(vars)
			if err != nil {
				got = refused
			}
			if got != row.want {
				t.Errorf("Parse(%q) = %q, %v; want %q", row.text, got, err, row.want)
			}
			// A refused line needs no warning: there is an error.
			if row.want != refused && row.others != same && len(warnings) == 0 {
				t.Errorf("Parse(%q) warns of nothing, although others read %q", row.text, row.others)
			}
			if row.others == same && len(warnings) > 0 && !strings.Contains(warnings[0].Text, "already set") {
				t.Errorf("Parse(%q) warns of %v, although all readers agree", row.text, warnings)
			}
		}
	}
}

// TestDocumentation compares the table with the one in the documentation, which
// `go test ./internal/envfile -update` rewrites.
func TestDocumentation(t *testing.T) {
	const file, begin = "../../docs/env-files.md", "## The table\n"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, _, ok := strings.Cut(string(data), begin)
	if !ok {
		t.Fatalf("%s has no %q", file, begin)
	}
	want := before + begin + markdown()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if string(data) != want {
		t.Errorf("%s does not have the table of this test: run go test ./internal/envfile -update", file)
	}
}

func markdown() string {
	signs := strings.NewReplacer("\r\n", "␍⏎", "\n", "⏎", "\r", "␍", "\t", "␉", "\ufeff", "[BOM]", "\u00a0", "[NBSP]")
	code := func(text string) string {
		text = signs.Replace(text)
		if strings.Contains(text, "`") {
			return "`` " + text + " ``"
		}
		return "`" + text + "`"
	}
	cell := func(text string) string {
		if text == "" || text == refused || text == ignored {
			return text
		}
		var all []string
		for v := range strings.SplitSeq(text, " & ") {
			all = append(all, code(v))
		}
		return strings.Join(all, " and ")
	}
	var b strings.Builder
	for _, group := range table {
		fmt.Fprintf(&b, "\n### %s\n\n| in the file | activationd | systemd | docker compose | godotenv | envparse |\n|---|---|---|---|---|---|\n", group.title)
		for _, r := range group.rows {
			cells := []string{code(r.text), cell(r.want)}
			for _, other := range r.others {
				cells = append(cells, cell(other))
			}
			b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
		}
	}
	return b.String()
}

func TestLines(t *testing.T) {
	vars, warnings, err := Parse("app/.env", []byte("# settings\r\n\r\nA='1\n2'\nB=\"x\r\ny\"\nC=$D\nexport A=3"))
	if err != nil {
		t.Fatal(err)
	}
	if want := []Var{{"B", "x\ny", 5}, {"C", "$D", 7}, {"A", "3", 8}}; !slices.Equal(vars, want) {
		t.Errorf("variables: %v, want %v", vars, want)
	}
	var lines []int
	for _, w := range warnings {
		lines = append(lines, w.Line)
	}
	// 3: a line break in quotes; 5: that, and a CR; 8: export, and A once more.
	if want := []int{3, 5, 5, 7, 8, 8}; !slices.Equal(lines, want) {
		t.Errorf("lines of warnings: %v, want %v: %v", lines, want, warnings)
	}
}

func TestErrors(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"every line", "A\nB=1\nC-D=2\n\nE='x'y\n", `app/.env:1: "A" is not of the form NAME=VALUE
app/.env:3: "C-D" is not a name: it may have letters (A-Z, a-z), digits, _ and dots, and begins with a letter or _
app/.env:5: "y" stands after the closing quote; only a blank and a comment may follow it`},
		{"the line where the quote opens", "A=1\nB=\"x\nC=2\n", `app/.env:2: the quote " is not closed`},
		{"NUL", "A=1\nB=\x00", "app/.env:2: a variable cannot contain the byte NUL"},
		{"not UTF-8", "A=\xff\n", "app/.env:1: the line is not UTF-8 text"},
		{"CR alone", "A=1\rB=2", `app/.env:1: a carriage return (CR) without a line feed (LF) after it; write "\r" in double quotes if the value contains one`},
		{"too large", strings.Repeat("#", MaxSize+1), "app/.env:0: the file has more than 65536 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			vars, _, err := Parse("app/.env", []byte(tt.text))
			if err == nil || err.Error() != tt.want || vars != nil {
				t.Errorf("Parse(%.40q) = %v, %v; want the error %s", tt.text, vars, err, tt.want)
			}
		})
	}
	if _, _, err := Parse("app/.env", []byte(strings.Repeat("#", MaxSize))); err != nil {
		t.Errorf("a file of the greatest size: %v", err)
	}
}

// FuzzParse checks that what Parse accepts can be an environment, and that its lines are lines
// of the file.
func FuzzParse(f *testing.F) {
	for _, group := range table {
		for _, row := range group.rows {
			f.Add([]byte(row.text))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		vars, warnings, err := Parse("app/.env", data)
		if err != nil && vars != nil {
			t.Errorf("variables %v with the error %v", vars, err)
		}
		lines := strings.Count(string(data), "\n") + 1
		seen := map[string]bool{}
		last := 0
		for _, v := range vars {
			if v.Name == "" || strings.ContainsAny(v.Name, "=\x00 \n") || strings.Contains(v.Value, "\x00") || seen[v.Name] {
				t.Errorf("the variable %+v cannot be in an environment", v)
			}
			if v.Line <= last || v.Line > lines {
				t.Errorf("line %d of %d, after line %d", v.Line, lines, last)
			}
			seen[v.Name], last = true, v.Line
		}
		for _, w := range warnings {
			if w.Line < 1 || w.Line > lines || w.Text == "" {
				t.Errorf("the warning %+v is about none of %d lines", w, lines)
			}
		}
	})
}
