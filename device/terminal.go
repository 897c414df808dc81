package device

import (
	"bytes"
	"strings"
)

// A terminal turns what a device sends into the lines that a reader would see:
// carriage returns, backspaces and escape sequences applied. Its lines have no end,
// so that nothing wraps; what moves up or clears the screen begins a new line.
type terminal struct {
	rows   []string // ended by a newline, since the last take
	row    []byte   // the one that the cursor is on
	col    int
	escape escapeState
	params []byte
	drop   bool // the row shall not be among rows when it ends
	echo   []byte
}

type escapeState byte

const (
	text    escapeState = iota
	escaped             // after ESC
	control             // after ESC [
	charset             // after ESC ( and its like: one more byte
	osc                 // after ESC ]: until BEL or ESC \
	oscEnd
)

// widest is how far escape sequences may move the cursor.
const widest = 4096

func (t *terminal) feed(data []byte) {
	for _, c := range data {
		switch t.escape {
		case text:
			t.put(c)
		case escaped:
			t.escapedBy(c)
		case control:
			if c >= 0x40 && c <= 0x7e {
				t.control(c)
				t.escape = text
			} else if len(t.params) < 16 {
				t.params = append(t.params, c)
			}
		case charset:
			t.escape = text
		case osc:
			switch c {
			case 0x07:
				t.escape = text
			case 0x1b:
				t.escape = oscEnd
			}
		case oscEnd:
			t.escape = text
		}
	}
}

func (t *terminal) escapedBy(c byte) {
	switch c {
	case '[':
		t.escape, t.params = control, t.params[:0]
	case ']', 'P', '^', '_':
		t.escape = osc
	case '(', ')', '*', '+', '#', '%':
		t.escape = charset
	case 'E':
		t.escape = text
		t.newline()
	default:
		t.escape = text
	}
}

func (t *terminal) put(c byte) {
	switch {
	case c == 0x1b:
		t.escape = escaped
	case c == '\n':
		t.newline()
	case c == '\r':
		// A line editor that knows the width writes a space and returns, to get the
		// cursor into the next line of the screen. There is none here.
		if n := len(t.echo); n > 0 && t.echo[n-1] == ' ' {
			t.echo = t.echo[:n-1]
		}
		t.col = 0
	case c == '\b':
		t.col = max(0, t.col-1)
	case c == '\t':
		t.write(' ')
		for t.col%8 != 0 {
			t.write(' ')
		}
	case c >= 0x20 && c != 0x7f:
		t.write(c)
		t.echo = append(t.echo, c)
	case c != 0 && c != 0x07 && c != 0x11 && c != 0x13:
		// A key that became text, behind a lost one that was quoted: it must not be
		// invisible in a line that is typed. In an answer it is.
		t.write(odd)
		t.echo = append(t.echo, odd)
	}
}

// odd stands for a control character.
const odd = 0x7f

func (t *terminal) write(c byte) {
	for len(t.row) < t.col {
		t.row = append(t.row, ' ')
	}
	if t.col < len(t.row) {
		t.row[t.col] = c
	} else {
		t.row = append(t.row, c)
	}
	t.col++
}

func (t *terminal) newline() {
	if !t.drop {
		t.rows = append(t.rows, string(bytes.TrimRight(bytes.ReplaceAll(t.row, []byte{odd}, nil), " ")))
	}
	t.row, t.col, t.drop = t.row[:0], 0, false
	t.echo = t.echo[:0]
}

func (t *terminal) control(c byte) {
	n := 0
	for _, d := range t.params {
		if d < '0' || d > '9' {
			break
		}
		n = min(widest, n*10+int(d-'0'))
	}
	switch c {
	case 'C':
		t.col = min(widest, t.col+max(1, n))
	case 'D':
		t.col = max(0, t.col-max(1, n))
	case 'G':
		t.col = max(0, n-1)
	case 'K':
		switch {
		case n == 0 && t.col < len(t.row):
			t.row = t.row[:t.col]
		case n == 1:
			for i := range min(t.col+1, len(t.row)) {
				t.row[i] = ' '
			}
		case n == 2:
			t.row = t.row[:0]
		}
	case 'P':
		if t.col < len(t.row) {
			t.row = append(t.row[:t.col], t.row[min(len(t.row), t.col+max(1, n)):]...)
		}
	case 'H', 'f':
		t.newline()
	case 'J':
		if n >= 2 {
			t.newline()
		} else if t.col < len(t.row) {
			t.row = t.row[:t.col]
		}
	}
}

// line returns the line that the cursor is on. Blanks behind the cursor don't count.
func (t *terminal) line() string {
	end := len(bytes.TrimRight(t.row, " "))
	return string(t.row[:max(end, min(t.col, len(t.row)))])
}

// take returns the ended lines and forgets them.
func (t *terminal) take() []string {
	rows := t.rows
	t.rows = nil
	return rows
}

// shown returns the last lines since the last take, for messages, secrets and all.
func (t *terminal) shown() string {
	return strings.TrimSpace(strings.Join(append(t.rows[max(0, len(t.rows)-8):len(t.rows):len(t.rows)], t.line()), "\n"))
}
