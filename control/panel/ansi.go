package panel

import (
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A logSpan is a part of a line in one colour.
type logSpan struct{ Class, Text string }

// A pen is how text that follows is to look: what escape sequences have set.
type pen struct {
	bold, italic, under, inverse bool
	fore, back                   int // 1 to 16; 0: the usual one
}

// class returns the names of the pen's classes: panel.css says how they look.
func (p pen) class() string {
	fore, back := p.fore, p.back
	var names []string
	if p.inverse {
		if fore, back = back, fore; fore == 0 && back == 0 {
			names = append(names, "inverse")
		}
	}
	for _, c := range []struct {
		is   bool
		name string
	}{{p.bold, "bold"}, {p.italic, "italic"}, {p.under, "under"}} {
		if c.is {
			names = append(names, c.name)
		}
	}
	if fore > 0 {
		names = append(names, "f"+strconv.Itoa(fore-1))
	}
	if back > 0 {
		names = append(names, "b"+strconv.Itoa(back-1))
	}
	return strings.Join(names, " ")
}

// code returns the parameters by which set makes such a pen.
func (p pen) code() string {
	all := []string{"0"}
	for _, c := range []struct {
		is   bool
		code string
	}{
		{p.bold, "1"}, {p.italic, "3"}, {p.under, "4"}, {p.inverse, "7"},
		{p.fore > 0, "38;5;" + strconv.Itoa(p.fore-1)}, {p.back > 0, "48;5;" + strconv.Itoa(p.back-1)},
	} {
		if c.is {
			all = append(all, c.code)
		}
	}
	return strings.Join(all, ";")
}

// set does what "ESC [ parameters m" says.
func (p *pen) set(parameters string) {
	all := strings.FieldsFunc(parameters+";", func(r rune) bool { return r == ';' || r == ':' })
	if len(all) == 0 {
		all = []string{"0"}
	}
	number := func(i int) int {
		if i < len(all) {
			if n, err := strconv.Atoi(all[i]); err == nil {
				return n
			}
		}
		return 0
	}
	for i := 0; i < len(all); i++ {
		switch n := number(i); {
		case n == 0:
			*p = pen{}
		case n == 1:
			p.bold = true
		case n == 3:
			p.italic = true
		case n == 4:
			p.under = true
		case n == 7:
			p.inverse = true
		case n == 22:
			p.bold = false
		case n == 23:
			p.italic = false
		case n == 24:
			p.under = false
		case n == 27:
			p.inverse = false
		case n >= 30 && n <= 37:
			p.fore = n - 29
		case n == 39:
			p.fore = 0
		case n >= 40 && n <= 47:
			p.back = n - 39
		case n == 49:
			p.back = 0
		case n >= 90 && n <= 97:
			p.fore = n - 81
		case n >= 100 && n <= 107:
			p.back = n - 91
		case n == 38 || n == 48:
			colour := 0
			switch number(i + 1) {
			case 5:
				colour = ofTable(number(i + 2))
				i += 2
			case 2:
				colour = nearest(number(i+2), number(i+3), number(i+4))
				i += 4
			}
			if n == 38 {
				p.fore = colour
			} else {
				p.back = colour
			}
		}
	}
}

// ofTable returns the nearest of the 16 colours to one of the 256.
func ofTable(n int) int {
	switch {
	case n < 16:
		return n + 1
	case n >= 232:
		return nearest(8+10*(n-232), 8+10*(n-232), 8+10*(n-232))
	}
	n -= 16
	return nearest(n/36*51, n/6%6*51, n%6*51)
}

// nearest returns the nearest of the 16 colours to red, green and blue.
func nearest(r, g, b int) int {
	most := max(r, g, b)
	if most < 64 {
		return 1
	}
	n := 0
	for bit, c := range []int{r, g, b} {
		if 2*c > most {
			n |= 1 << bit
		}
	}
	switch {
	case n == 7 && most < 160:
		return 9 // grey
	case most >= 208:
		return n + 9
	}
	return n + 1
}

// escape returns how long the escape sequence at the beginning of a text is, and the parameters if
// it sets the pen. A sequence without an end is as long as the text.
func escape(s string) (n int, parameters string, sets bool) {
	if len(s) < 2 {
		return len(s), "", false
	}
	switch s[1] {
	case '[':
		for i := 2; i < len(s); i++ {
			if s[i] >= 0x40 && s[i] <= 0x7e {
				return i + 1, s[2:i], s[i] == 'm' && strings.Trim(s[2:i], "0123456789;:") == ""
			}
			if s[i] < 0x20 { // it was none
				return i, "", false
			}
		}
		return len(s), "", false
	case ']', 'P', '_', '^', 'X': // a text for the terminal, such as the title of its window
		for i := 2; i < len(s); i++ {
			if s[i] == 7 {
				return i + 1, "", false
			}
			if s[i] == 27 && i+1 < len(s) && s[i+1] == '\\' {
				return i + 2, "", false
			}
		}
		return len(s), "", false
	case '(', ')', '#', ' ', '%':
		return min(3, len(s)), "", false
	}
	return 2, "", false
}

// lineRunes is how many characters of a line are shown.
const lineRunes = 2000

// paint returns a line as spans. What overwrites a line from its beginning, as meters do, replaces
// it.
func (p *pen) paint(line string) (spans []logSpan) {
	line = strings.TrimRight(line, "\r")
	shown := 0
	var text strings.Builder
	class := p.class()
	flush := func() {
		if text.Len() > 0 {
			spans = append(spans, logSpan{class, text.String()})
			text.Reset()
		}
		class = p.class()
	}
	for i := 0; i < len(line); {
		r, n := utf8.DecodeRuneInString(line[i:])
		switch {
		case r == 27:
			skip, parameters, sets := escape(line[i:])
			if i += skip; sets {
				p.set(parameters)
				if p.class() != class {
					flush()
				}
			}
			continue
		case r == '\r':
			text.Reset()
			spans, shown = nil, 0
		case shown >= lineRunes:
			shown++
		case r == '\b':
		case r < 0x20 && r != '\t':
			text.WriteString("^" + string('@'+r))
			shown++
		case r == 0x7f:
			text.WriteString("^?")
			shown++
		default:
			text.WriteRune(r) // also U+FFFD for what is not UTF-8
			shown++
		}
		i += n
	}
	flush()
	if shown > lineRunes {
		spans = append(spans, logSpan{"quiet", " … " + plural(shown-lineRunes, "more character", "more characters")})
	}
	return spans
}

// paintLines returns the lines of a text that begins at a place, with what is known of its first line: its number,
// or 0, and the pen. It returns the same of the line that comes after them.
func paintLines(data []byte, at int64, n int, p pen) (lines []logLine, after logLine) {
	for line := range strings.Lines(string(data)) {
		l := logLine{At: at, N: n, pen: p}
		text := strings.TrimSuffix(line, "\n")
		if l.Gap = gapIn(text); l.Gap == "" {
			l.Spans = p.paint(text)
		}
		lines = append(lines, l)
		at += int64(len(line))
		switch {
		case l.Gap != "": // nobody knows how many lines it had
			n, p = 0, pen{}
		case n > 0:
			n++
		}
	}
	return lines, logLine{At: at, N: n, pen: p}
}

// gaps are the lines by which the daemon says that output is not there.
var gaps = regexp.MustCompile(`^\[activationd: (\d+) bytes of output (left out here|are missing here: they were rotated away)\]$`)

// gapIn returns a sentence about the output that is missing where a line stands; empty: it says no such thing.
func gapIn(line string) string {
	found := gaps.FindStringSubmatch(line)
	if found == nil {
		return ""
	}
	n, _ := strconv.ParseInt(found[1], 10, 64)
	if found[2] == "left out here" {
		return amount(n) + " of output were not kept, because of runs.output in the configuration."
	}
	return amount(n) + " of output were removed when the log was rotated."
}

// stripped returns the text of a line as paint shows it, without colours.
func stripped(line string) string {
	var p pen
	var b strings.Builder
	for _, s := range p.paint(line) {
		b.WriteString(s.Text)
	}
	return b.String()
}

// marked returns a text with the places marked at which it has another one, whatever its case.
func marked(text, want string) (spans []logSpan) {
	low := strings.ToLower(text)
	if want = strings.ToLower(want); len(low) != len(text) || want == "" { // some letters have another length
		return []logSpan{{"", text}}
	}
	for {
		i := strings.Index(low, want)
		if i < 0 {
			return append(spans, logSpan{"", text})
		}
		spans = append(spans, logSpan{"", text[:i]}, logSpan{"hit", text[i : i+len(want)]})
		text, low = text[i+len(want):], low[i+len(want):]
	}
}
