package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	// source is the width of lines of text in a page's source.
	source = 78
	// screen is the width of a line that stays as it is, on a terminal of 80 columns.
	screen = 68
)

// A roff is the source of a page, in the language of man(7). Its methods take text that
// [escape] or [bold] has made.
type roff struct {
	strings.Builder
	begun bool // a section has just begun, so the first paragraph needs no space before it
}

// special are characters that roff would show in another form, or that mean something to it.
var special = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, `"`, `\(dq`)

// escape returns text in which no character means anything to roff.
func escape(text string) string {
	var b strings.Builder
	for _, r := range special.Replace(text) {
		if r < utf8.RuneSelf {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\[u%04X]`, r)
		}
	}
	return b.String()
}

// bold returns text in bold. A word that is nearly as wide as the screen may be divided after
// its commas.
func bold(text string) string {
	for word := range strings.FieldsSeq(text) {
		if len(word) > screen-8 {
			return `\fB` + strings.ReplaceAll(escape(text), ",", `,\:`) + `\fR`
		}
	}
	return `\fB` + escape(text) + `\fR`
}

func italic(text string) string { return `\fI` + escape(text) + `\fR` }

// macro writes a request with arguments.
func (r *roff) macro(name string, args ...string) {
	r.WriteString("." + name)
	for _, a := range args {
		r.WriteString(` "` + a + `"`)
	}
	r.WriteString("\n")
}

// heading begins a section. Its text is not escaped.
func (r *roff) heading(text string) {
	r.macro("SH", escape(strings.ToUpper(text)))
	r.begun = true
}

// sub begins a part of a section.
func (r *roff) sub(text string) {
	r.macro("SS", text)
	r.begun = true
}

// apart begins a paragraph.
func (r *roff) apart() {
	if !r.begun {
		r.macro("PP")
	}
	r.begun = false
}

// fill writes text, which the formatter fills. Each sentence begins a line, so that those
// that begin one by chance have no other space before them.
func (r *roff) fill(text string) {
	line := ""
	flush := func() {
		if line != "" && (line[0] == '.' || line[0] == '\'') {
			line = `\&` + line
		}
		if line != "" {
			r.WriteString(line + "\n")
		}
		line = ""
	}
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > source {
			flush()
		}
		if line != "" {
			line += " "
		}
		line += word
		if sentence.MatchString(shown.Replace(word)) {
			flush()
		}
	}
	flush()
}

var sentence = regexp.MustCompile(`[^.][.?!][)"]*$`)

func (r *roff) para(text string) {
	r.apart()
	r.fill(text)
}

// tag writes an entry of a list of terms.
func (r *roff) tag(term string, texts ...string) {
	term = strings.Join(strings.Fields(term), " ")
	long := seen(term) > screen || len(term) > source // it would be wider than a line
	if long {
		r.para(term)
		r.WriteString(".RS 7\n")
	} else {
		r.begun = false
		r.macro("TP", "7")
		r.WriteString(term + "\n")
	}
	for i, text := range texts {
		if i > 0 {
			r.WriteString(".br\n")
		}
		r.fill(text)
	}
	if long {
		r.WriteString(".RE\n")
	}
}

// code writes lines that stay as they are, if a terminal of 80 columns has room for them.
func (r *roff) code(lines []string) {
	r.apart()
	r.WriteString(".RS 4\n.EX\n")
	for i, line := range lines {
		lines[i] = strings.ReplaceAll(line, "\t", "        ")
	}
	for _, line := range narrowed(lines, screen) {
		line = escape(line)
		if strings.HasPrefix(line, ".") {
			line = `\&` + line
		}
		r.WriteString(line + "\n")
	}
	r.WriteString(".EE\n.RE\n")
}

var (
	comment = regexp.MustCompile(`^( *)(\S.*?) {2,}(# .*)$`)
	near    = regexp.MustCompile(`^( *)(\S.*?) (# .*)$`) // a comment that may be part of something else
	remark  = regexp.MustCompile(`^( *# )(\S.*)$`)
)

// narrowed makes lines fit into width. Comments behind what is too wide come before it;
// comments on lines of their own are filled, and what is still too wide goes on in a line
// that is indented.
func narrowed(lines []string, width int) []string {
	wide := false
	for _, line := range lines {
		wide = wide || len([]rune(line)) > width
	}
	if !wide {
		return lines
	}
	var out, comments []string
	before := ""
	flush := func() {
		out = append(out, wrapped(comments, before, before, width)...)
		comments = nil
	}
	for _, line := range lines {
		if m := remark.FindStringSubmatch(line); m != nil {
			if m[1] != before {
				flush()
			}
			before = m[1]
			comments = append(comments, m[2])
			continue
		}
		flush()
		m := comment.FindStringSubmatch(line)
		if m == nil && len([]rune(line)) > width {
			m = near.FindStringSubmatch(line)
		}
		if m != nil {
			indent := m[1] + "# "
			out = append(out, wrapped([]string{m[3][2:]}, indent, indent, width)...)
			line = m[1] + m[2]
		}
		if len([]rune(line)) <= width {
			out = append(out, line)
			continue
		}
		rest := strings.TrimLeft(line, " ")
		first := line[:len(line)-len(rest)]
		if shell.MatchString(line) && !strings.Contains(line, "...") {
			out = append(out, folded(word.FindAllString(rest, -1), first, first+"    ", ` \`, width)...)
		} else {
			out = append(out, wrapped([]string{rest}, first, first+"    ", width)...)
		}
	}
	flush()
	return out
}

// wrapped divides texts into lines. If none of them is too wide, they are the lines.
func wrapped(texts []string, first, rest string, width int) []string {
	var out []string
	fits := true
	for _, text := range texts {
		out = append(out, first+text)
		fits = fits && len([]rune(first+text)) <= width
	}
	if fits {
		return out
	}
	return folded(pieces(strings.Join(texts, " "), width-len(rest)), first, rest, "", width)
}

// folded puts words, each with the blank behind it, into lines, the first after first and the
// others after rest. Each line but the last ends with end.
func folded(words []string, first, rest, end string, width int) []string {
	var out []string
	line, fresh := first, true
	for _, word := range words {
		if !fresh && len([]rune(strings.TrimRight(line+word, " ")+end)) > width {
			out = append(out, strings.TrimRight(line, " ")+end)
			line = rest
		}
		line, fresh = line+word, false
	}
	return append(out, strings.TrimRight(line, " "))
}

var (
	// shell is a command line, and not the form of one.
	shell = regexp.MustCompile(`^ *(?:\$ )?(?:[^ ]+ .*\| )?(?:atctl|activationd|at) [^\[{]*$`)
	word  = regexp.MustCompile(`(?:--[a-z][a-z-]* )?(?:[^ '"]|'[^']*'|"[^"]*")+ *`)
)

// pieces divides a line where another can begin: after blanks, and, in words that are wider
// than a line, after commas.
func pieces(text string, width int) []string {
	var out []string
	for _, word := range strings.SplitAfter(text, " ") {
		if len(word) <= width {
			out = append(out, word)
			continue
		}
		out = append(out, strings.SplitAfter(word, ",")...)
	}
	return slices.DeleteFunc(out, func(s string) bool { return s == "" })
}
