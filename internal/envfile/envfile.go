// Package envfile reads .env files: lines of NAME=VALUE that describe an environment.
//
// Each reader of such files has its own rules. docs/env-files.md has the rules of this one,
// and a table of lines that others read differently; the test makes that table. For each of
// these lines, [Parse] returns a warning, so nobody has to find out the difference from a
// program that behaves strangely.
//
// A line whose meaning is not certain is refused, not guessed. The package opens no file and
// looks at no environment: nothing is expanded.
package envfile

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"

	"activationd/internal/diag"
)

// MaxSize is the size of the largest file that [Parse] accepts.
const MaxSize = 64 << 10

// A Var is a variable, and the line on which it begins.
type Var struct {
	Name, Value string
	Line        int
}

// A Warning says how another reader would understand a line.
type Warning struct {
	Line int
	Text string
}

// Parse returns the variables of a file in the order of their lines. If a name occurs more than
// once, its last value counts. The error has every line that cannot be read, each with the
// name of the file; there are no variables then.
func Parse(file string, data []byte) ([]Var, []Warning, error) {
	p := parser{line: 1, last: map[string]int{}, faults: diag.List{File: file}}
	if len(data) > MaxSize {
		p.faults.Add(0, "the file has more than %d bytes", MaxSize)
		return nil, nil, p.faults.Err()
	}
	data, bom := bytes.CutPrefix(data, []byte("\ufeff"))
	if bom {
		p.warn("the file begins with a byte order mark: docker compose, godotenv and envparse refuse it, and systemd ignores the line")
	}
	p.checkBytes(data)
	if err := p.faults.Err(); err != nil {
		return nil, nil, err
	}
	p.src = string(data)
	for p.src != "" {
		p.at = p.line
		p.statement()
	}
	if err := p.faults.Err(); err != nil {
		return nil, p.warnings, err
	}
	vars := p.vars[:0]
	for i, v := range p.vars {
		if p.last[v.Name] == i {
			vars = append(vars, v)
		}
	}
	return vars, p.warnings, nil
}

type parser struct {
	src  string // what has not been read yet
	line int    // of the first byte of src
	at   int    // the line on which the statement begins

	vars     []Var
	last     map[string]int // the index of a name's last value in vars
	warnings []Warning
	faults   diag.List
}

// warn notes a warning about the statement, once.
func (p *parser) warn(text string) {
	for i := len(p.warnings) - 1; i >= 0 && p.warnings[i].Line == p.at; i-- {
		if p.warnings[i].Text == text {
			return
		}
	}
	p.warnings = append(p.warnings, Warning{max(p.at, 1), text})
}

func (p *parser) warnIf(is bool, text string) {
	if is {
		p.warn(text)
	}
}

func (p *parser) refuse(format string, args ...any) { p.faults.Add(p.at, format, args...) }

// checkBytes refuses bytes that cannot be in a value, or that some readers take for the end
// of a line.
func (p *parser) checkBytes(data []byte) {
	for i, line := range bytes.Split(data, []byte("\n")) {
		p.at = i + 1
		switch line = bytes.TrimSuffix(line, []byte("\r")); {
		case bytes.IndexByte(line, 0) >= 0:
			p.refuse("a variable cannot contain the byte NUL")
		case bytes.IndexByte(line, '\r') >= 0:
			p.refuse(`a carriage return (CR) without a line feed (LF) after it; write "\r" in double quotes if the value contains one`)
		case !utf8.Valid(line):
			p.refuse("the line is not UTF-8 text")
		}
	}
	p.at = 0
}

// restOfLine takes the rest of the line, and returns it without the line's end.
func (p *parser) restOfLine() string {
	line, rest, _ := strings.Cut(p.src, "\n")
	p.src = rest
	p.line++
	return strings.TrimSuffix(line, "\r")
}

const blanks = " \t"

func (p *parser) statement() {
	line, _, _ := strings.Cut(p.src, "\n")
	text := strings.TrimLeft(strings.TrimSuffix(line, "\r"), blanks)
	if text == "" || text[0] == '#' {
		if strings.HasSuffix(text, `\`) {
			p.warn("systemd 252 reads the next line as a part of this comment")
		}
		p.restOfLine()
		return
	}
	head, _, ok := strings.Cut(text, "=")
	if !ok {
		p.refuse("%q is not of the form NAME=VALUE", text)
		p.restOfLine()
		return
	}
	name, good := p.name(head)
	p.src = p.src[strings.IndexByte(p.src, '=')+1:]
	value, ok := p.value()
	if !good || !ok {
		return
	}
	if i, ok := p.last[name]; ok {
		p.warn(name + " is already set in line " + strconv.Itoa(p.vars[i].Line) + "; this value replaces it")
	}
	p.last[name] = len(p.vars)
	p.vars = append(p.vars, Var{name, value, p.at})
}

// name returns the variable's name, given what stands before the equals sign.
func (p *parser) name(head string) (name string, ok bool) {
	name = strings.TrimRight(head, blanks)
	if rest, ok := strings.CutPrefix(name, "export"); ok && strings.TrimLeft(rest, blanks) != rest {
		name = strings.TrimLeft(rest, blanks)
		p.warn("systemd ignores a line that begins with export")
		p.warnIf(rest != " "+name, "envparse refuses more than one blank, or a tab, after export")
	} else if name == "export" && head != name {
		p.refuse("there is no name after export")
		return "", false
	}
	for i, c := range []byte(name) {
		switch {
		case c == '_' || isAlnum(c) && (i > 0 || c > '9'):
		case i > 0 && c == '.':
			p.warn("a name with a dot: systemd ignores the line, and some shells (dash) do not pass the variable on")
		default:
			p.refuse("%q is not a name: it may have letters (A-Z, a-z), digits, _ and dots, and begins with a letter or _", name)
			return "", false
		}
	}
	if name == "" {
		p.refuse("there is no name before the equals sign")
	}
	return name, name != ""
}

// value takes what stands after the equals sign, and the rest of its last line.
func (p *parser) value() (value string, ok bool) {
	text := strings.TrimLeft(p.src, blanks)
	if text == "" || text[0] != '\'' && text[0] != '"' {
		return p.plain(p.restOfLine()), true
	}
	value, length := p.quoted(text)
	if length == 0 {
		p.refuse("the quote %c is not closed", text[0])
		p.src = ""
		return "", false
	}
	p.line += strings.Count(text[:length], "\n")
	p.src = text[length:]
	rest := p.restOfLine()
	after := strings.TrimLeft(rest, blanks)
	if after == "" {
		return value, true
	}
	if after == rest || after[0] != '#' {
		p.refuse("%q stands after the closing quote; only a blank and a comment may follow it", after)
		return "", false
	}
	p.warn("systemd reads the comment as a part of the value; put it on a line of its own")
	return value, true
}

// plain returns the value of a text without quotes.
func (p *parser) plain(text string) string {
	value := text
	for i, c := range []byte(text) {
		if c != '#' {
			continue
		}
		if i == 0 || !strings.ContainsRune(blanks, rune(text[i-1])) {
			p.warn("envparse reads # and what follows as a comment; put the value in quotes")
			continue
		}
		value = text[:i]
		p.warn("systemd reads the comment as a part of the value; put it on a line of its own")
		if text[i-1] == '\t' {
			p.warn("docker compose reads a comment after a tab as a part of the value")
		}
		break
	}
	trimmed := strings.Trim(value, blanks)
	if trimmed == "" && value != text {
		p.warn("docker compose and godotenv read the comment as the value")
	}
	value = trimmed
	for i, c := range []byte(value) {
		switch {
		case c == '$':
			p.dollar(value[i+1:])
		case c == '\\':
			p.warn(`systemd removes a backslash outside quotes, and joins the next line if it is the last character; put the value in single quotes`)
			p.warnIf(strings.HasPrefix(value[i+1:], "$"), `godotenv reads \$ as $`)
		case c == '"' || c == '\'':
			p.warn("envparse removes quotes inside a value, or refuses the line; put the whole value in quotes")
		case c < ' ':
			p.warn("envparse refuses a control character")
		}
	}
	p.warnIf(strings.TrimSpace(value) != value, "docker compose, godotenv and envparse remove every kind of white space around a value; put it in quotes")
	return value
}

// quoted returns the value of a text that begins with a quote, and the length of what stands
// in quotes, with them. The length is 0 if the quote is not closed.
func (p *parser) quoted(text string) (value string, length int) {
	quote := text[0]
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		c := text[i]
		switch {
		case c == quote:
			return b.String(), i + 1
		case c == '\\' && quote == '"':
			b.WriteString(p.escape(text[i+1:]))
			i++
			continue
		case c == '\r': // of a line's end
			p.warn("docker compose and systemd keep the carriage return of a line break in quotes")
			continue
		case c == '\n':
			p.warn(`envparse refuses a line break in quotes`)
		case c < ' ':
			p.warn("envparse refuses a control character")
		case c == '$' && quote == '"':
			p.dollar(text[i+1:])
		case c == '\\':
			p.warnIf(strings.HasPrefix(text[i+1:], "'"), "docker compose and godotenv do not close a single quote that a backslash precedes")
		}
		b.WriteByte(c)
	}
	return "", 0
}

// escape returns the meaning, in double quotes, of a backslash and the first byte of rest.
func (p *parser) escape(rest string) string {
	c, rest := rest[:min(1, len(rest))], rest[min(1, len(rest)):]
	switch c {
	case `"`, `\`:
		p.warnIf(strings.HasPrefix(rest, `"`), `godotenv reads \\ and \" wrongly at the end of a value`)
		p.warnIf(c == `\` && strings.HasPrefix(rest, "$"), `godotenv reads \\$ as $`)
	case "$":
		p.warn(`envparse refuses \$`)
	case "n", "r", "t":
		p.warn(`systemd keeps the backslash of \n, \r and \t, and godotenv reads \t as t`)
		return map[string]string{"n": "\n", "r": "\r", "t": "\t"}[c]
	case "\n", "\r":
		p.refuse(`a backslash at the end of a line; write \\ for a backslash, or \n for a line break`)
	default:
		p.warn("readers differ about a backslash before " + c + `, which is kept here; write \\ for a backslash`)
		return `\` + c
	}
	return c
}

// dollar warns if a reader expands the dollar sign before rest.
func (p *parser) dollar(rest string) {
	if rest != "" && (strings.ContainsRune("_{$", rune(rest[0])) || isAlnum(rest[0])) {
		p.warn("docker compose and godotenv replace $ and what follows; nothing is replaced here. Put the value in single quotes")
	}
}

func isAlnum(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' }
