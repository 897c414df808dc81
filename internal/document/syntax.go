package document

import (
	"bytes"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A place says where a fault is.
type place int

const (
	said    place = iota // on the line in the library's message
	stop                 // where the library stops reading; the message has the line where a mapping or a list begins
	nearEnd              // there, or a few lines before, as the library reads on for the end of a text
)

// A meaning is what a message of the YAML library means to the writer of the file.
type meaning struct {
	message, text string
	place         place
}

const openQuote = "begins a text in quotes that does not end"

var meanings = []meaning{
	{"mapping values are not allowed in this context",
		`has a colon where none is expected: indent all keys of a mapping equally, write "key: value" with the blank, and put a text that has ": " in quotes`, said},
	{"could not find expected ':'", `has a word without a colon; write "key: value"`, said},
	{"did not find expected key", "does not continue the mapping above it: begin all keys of a mapping in the same column, and write nothing after a text in quotes", nearEnd},
	{"did not find expected '-' indicator", `does not continue the list above it: begin all entries of a list in the same column with "- "`, nearEnd},
	{"block sequence entries are not allowed in this context", `has "- " where no list can begin; begin the list on a line of its own`, said},
	{"did not find expected ',' or ']'", "has no comma or ] to continue or end the list that begins with [ above", stop},
	{"did not find expected ',' or '}'", "has no comma or } to continue or end the mapping that begins with { above", stop},
	{"did not find expected node content", "has no value where one is expected, or a bracket or a comma too many", stop},
	{"found character that cannot start any token", "has a value that begins with @, ` or %; put it in quotes", said},
	{"found unexpected end of stream", openQuote, said},
	{"found unexpected document indicator", openQuote, said},
	{"found unknown escape character", `has a backslash that means nothing in double quotes; write \\, or put the text in single quotes`, said},
	{"did not find expected alphabetic or numeric character", "has a value that begins with * or &; put it in quotes", said},
	{"did not find expected comment or line break", "has something behind | or >; begin the text on the next line", said},
	{"did not find expected <document start>", "is behind the end of the document; one file is one document", stop},
	{"control characters are not allowed", "has a control character", said},
	{"exceeded max depth", "is nested too deeply", stop},
}

var unknownAnchor = regexp.MustCompile(`^unknown anchor '(.+)' referenced$`)

// syntax puts the library's message into words that name what to correct.
func syntax(err error, data []byte, above int) *Error {
	text, line := strings.TrimPrefix(err.Error(), "yaml: "), 1
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if digits, what, ok := strings.Cut(rest, ": "); ok {
			if n, err := strconv.Atoi(digits); err == nil {
				line, text = n, what
			}
		}
	}
	lines := bytes.Split(data, []byte("\n"))
	last := min(stopped(data), len(lines))
	for l := line; l <= last; l++ {
		if strings.Contains(text, "tab character") || strings.HasPrefix(text, "found character") {
			if content := bytes.TrimLeft(lines[l-1], " \t"); bytes.ContainsRune(lines[l-1][:len(lines[l-1])-len(content)], '\t') {
				return wrong(above+l, "is indented with a tab; indent it with blanks")
			}
		}
	}
	if m := unknownAnchor.FindStringSubmatch(text); m != nil {
		if at := regexp.MustCompile(`\*` + regexp.QuoteMeta(m[1]) + `(?:[^\w-]|$)`).FindIndex(data); at != nil {
			line = 1 + bytes.Count(data[:at[0]], []byte("\n"))
		}
		return wrong(above+line, "*%[1]s stands for what &%[1]s marks, and that is nowhere above; put a text that begins with * in quotes", m[1])
	}
	for _, m := range meanings {
		if !strings.HasPrefix(text, m.message) {
			continue
		}
		if m.place != said {
			line = last
		}
		for range 10 {
			if m.place == nearEnd && line > 1 && fails(bytes.Join(lines[:line-1], []byte("\n")), text) {
				line--
			}
		}
		if m.message == "control characters are not allowed" { // the library has no line for it
			if at := bytes.IndexFunc(data, func(c rune) bool { return c < ' ' && !strings.ContainsRune("\t\r\n", c) || c == 0x7f }); at >= 0 {
				line = 1 + bytes.Count(data[:at], []byte("\n"))
			}
		}
		if m.text == openQuote && line >= len(lines) && !bytes.ContainsAny(lines[len(lines)-1], `"'`) {
			line = 1 // the library has the line of a quote, unless it is the first
		}
		return wrong(above+min(line, len(lines)), "%s", m.text)
	}
	return wrong(above+line, "is not YAML: %s", text)
}

// NotJSON puts a message of package json into words that name what to correct.
func NotJSON(err error) string {
	text, ok := strings.CutPrefix(err.Error(), "invalid character ")
	if !ok {
		return "is not JSON: " + err.Error()
	}
	for _, m := range []struct{ context, want string }{
		{"looking for beginning of value", "a value begins with a double quote, a digit, -, [ or {, or is true, false or null"},
		{"looking for beginning of object key string", "a key begins with a double quote; nothing but a key follows a comma in { }"},
		{"after object key:value pair", "want a comma or }"},
		{"after object key", "want a colon"},
		{"after array element", "want a comma or ]"},
		{"after top-level value", "the document ends before it"},
		{"in string literal", `write control characters in a text like \n or \u0007`},
		{"in string escape code", `write \\ for a backslash`},
	} {
		if char, ok := strings.CutSuffix(text, " "+m.context); ok {
			return char + " is not expected here: " + m.want
		}
	}
	char, context, _ := strings.Cut(text, " in ")
	return char + " is not expected in a " + context
}

// stopped returns the line at which the library stops reading a faulty text.
func stopped(data []byte) int {
	r := lineReader{data: data}
	dec := yaml.NewDecoder(&r)
	for {
		var n yaml.Node
		if err := dec.Decode(&n); err != nil {
			return max(r.lines, 1)
		}
	}
}

// fails reports whether a text has a fault for which the library has the same message, perhaps
// with another line.
func fails(data []byte, message string) bool {
	var n yaml.Node
	err := yaml.Unmarshal(data, &n)
	return err != nil && strings.HasSuffix(err.Error(), message)
}

// A lineReader returns one line at a time, and counts them.
type lineReader struct {
	data  []byte
	lines int  // of which a part was returned
	ended bool // the last of them
}

func (r *lineReader) Read(p []byte) (int, error) {
	if len(r.data) == 0 {
		return 0, io.EOF
	}
	if end := bytes.IndexByte(r.data, '\n') + 1; end > 0 && end <= len(p) {
		p = p[:end]
	}
	n := copy(p, r.data)
	if r.lines == 0 || r.ended {
		r.lines++
	}
	r.ended = r.data[n-1] == '\n'
	r.data = r.data[n:]
	return n, nil
}
