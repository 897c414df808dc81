package device

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A terminal turns the bytes of a device into the lines that a reader would see: it applies
// carriage returns, backspaces and the escape sequences of ECMA-48. Its rows have no end, so
// nothing wraps. A line has ended when the device goes to the next one, or writes into another
// row of the screen than before. Moving the cursor alone, there and back, ends no line.
type terminal struct {
	rows    []string // lines that have ended since the last take
	above   string   // the last line that has ended
	drop    bool     // the current line is not added to rows when it ends
	echo    []byte   // the characters printed since the last newline
	unknown string   // the first escape sequence that is not supported

	screen      []*row
	cur         *row // the row that was written last
	x, y        int  // the cursor; x counts characters
	top, bottom int  // the region that scrolls
	placed      bool // y is known from the device, not guessed
	whole       bool // the device has said how many rows there are
	saved       [2]int
	last        byte

	escape escapeState
	params []byte
}

// A row is a row of the screen. At its end it has only blanks that were written.
type row struct {
	text  []byte
	cells int  // characters in text
	wide  bool // some characters have several bytes
	ended bool // it has ended since its last change
}

type escapeState byte

const (
	text    escapeState = iota
	escaped             // after ESC
	control             // after ESC [
	charset             // after ESC ( and the like: one more byte
	osc                 // after ESC ]: until BEL or ESC \
	oscEnd
)

// widest is how far escape sequences can move the cursor. Tallest is the largest number of
// rows, and usual the number that a device assumes by default.
const (
	widest  = 4096
	tallest = 512
	usual   = 24
)

func (t *terminal) feed(data []byte) {
	if t.screen == nil {
		t.resize(usual)
		t.y = usual - 1 // the cursor of a terminal that has scrolled
	}
	for _, c := range data {
		switch t.escape {
		case text:
			t.put(c)
		case escaped:
			t.escapedBy(c)
		case control:
			if c >= 0x40 && c <= 0x7e {
				t.escape = text
				t.control(c)
			} else if len(t.params) < 32 {
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
	t.escape = text
	switch c {
	case '[':
		t.escape, t.params = control, t.params[:0]
	case ']', 'P', '^', '_', 'X':
		t.escape = osc
	case '(', ')', '*', '+', '-', '.', '/', '#', '%', ' ':
		t.escape = charset
	case 'E', 'D':
		t.newline()
	case 'M':
		t.place()
		if t.y == t.top {
			t.insert(t.top, 1)
		} else {
			t.y = max(0, t.y-1)
		}
	case '7':
		t.saved = [2]int{t.x, t.y}
	case '8':
		t.x, t.y = t.saved[0], min(t.saved[1], len(t.screen)-1)
	case 'c':
		t.clear()
		t.x, t.y = 0, 0
	case '=', '>', '<', 'H', 'N', 'O', '\\', '}', '|', '~', 'n', 'o':
	default:
		t.unsupported("ESC " + strconv.QuoteToASCII(string(rune(c))))
	}
}

// unsupported records an escape sequence that is not supported.
func (t *terminal) unsupported(sequence string) {
	if t.unknown == "" {
		t.unknown = sequence
	}
}

func (t *terminal) put(c byte) {
	switch {
	case c == 0x1b:
		t.escape = escaped
	case c == '\n', c == '\v', c == '\f':
		t.newline()
	case c == '\r':
		// A line editor that knows the width writes a space and returns, to move the cursor to
		// the next line of the screen. Our rows have no end, so that is left out.
		if n := len(t.echo); n > 0 && t.echo[n-1] == ' ' {
			t.echo = t.echo[:n-1]
		}
		t.x = 0
	case c == '\b':
		t.x = max(0, t.x-1)
	case c == '\t':
		t.write(' ')
		for t.x%8 != 0 {
			t.write(' ')
		}
	case c >= 0x20 && c != 0x7f:
		t.write(c)
		t.echo = append(t.echo, c)
		t.last = c
	case c != 0 && c != 0x07 && c != 0x11 && c != 0x13:
		// A control key whose quoting key was lost is shown as text. In a line that is typed
		// it must be visible. In an answer it is not.
		t.write(strangeKey)
		t.echo = append(t.echo, strangeKey)
	}
}

// strangeKey stands for a control character.
const strangeKey = 0x7f

// cell returns how many bytes the first character of b has, of those that have arrived.
func cell(b []byte) int {
	n, i := 1, 1
	switch c := b[0]; {
	case c >= 0xf8:
	case c >= 0xf0:
		n = 4
	case c >= 0xe0:
		n = 3
	case c >= 0xc0:
		n = 2
	}
	for i < n && i < len(b) && b[i]&0xc0 == 0x80 {
		i++
	}
	return i
}

// offset returns the position in text of the character at x, or where it would be behind the
// end.
func (r *row) offset(x int) int {
	switch {
	case x >= r.cells:
		return len(r.text) + x - r.cells
	case !r.wide:
		return x
	}
	at := 0
	for range x {
		at += cell(r.text[at:])
	}
	return at
}

// pad extends the row to x.
func (r *row) pad(x int) {
	for r.cells < x {
		r.text = append(r.text, ' ')
		r.cells++
	}
}

// cut removes n characters from the row, beginning with x.
func (r *row) cut(x, n int) {
	if x >= r.cells {
		return
	}
	n = min(n, r.cells-x)
	r.text = slices.Delete(r.text, r.offset(x), r.offset(x+n))
	r.cells -= n
	r.ended = false
	r.count()
}

// count counts the characters again, after bytes of characters were inserted or removed.
func (r *row) count() {
	if !r.wide {
		return
	}
	r.cells = 0
	for at := 0; at < len(r.text); at += cell(r.text[at:]) {
		r.cells++
	}
}

func (r *row) set(x int, c byte) {
	r.pad(x)
	r.ended = false
	if x == r.cells {
		r.text = append(r.text, c)
		r.cells++
	} else if at := r.offset(x); r.wide {
		r.text = slices.Replace(r.text, at, at+cell(r.text[at:]), c)
		r.count()
	} else {
		r.text[at] = c
	}
	r.wide = r.wide || c >= 0x80
}

func (r *row) blank() bool { return len(bytes.TrimSpace(r.text)) == 0 }

func (t *terminal) write(c byte) {
	r := t.touch()
	if c&0xc0 == 0x80 && t.x > 0 && t.x <= r.cells {
		// It may belong to the character before.
		from, to := r.offset(t.x-1), r.offset(t.x)
		if more := append(slices.Clone(r.text[from:to]), c); cell(more) == len(more) {
			r.text = slices.Insert(r.text, to, c)
			return
		}
	}
	r.set(t.x, c)
	t.x++
}

// touch returns the row at the cursor for a change. If another row was changed before, that
// one has ended.
func (t *terminal) touch() *row {
	r := t.screen[t.y]
	if r != t.cur {
		t.leave()
		t.cur = r
	}
	return r
}

func (t *terminal) leave() {
	if t.cur != nil && !t.cur.ended && !t.cur.blank() {
		t.endRow()
	}
}

// endRow ends the row that was written last.
func (t *terminal) endRow() {
	t.above = string(bytes.TrimRight(bytes.ReplaceAll(t.cur.text, []byte{strangeKey}, nil), " "))
	if !t.drop {
		t.rows = append(t.rows, t.above)
	}
	t.drop, t.cur.ended = false, true
}

func (t *terminal) newline() {
	if t.touch(); !t.cur.ended {
		t.endRow()
	}
	t.echo, t.x = t.echo[:0], 0
	switch {
	case t.y == t.bottom:
		t.remove(t.top, 1)
	case t.y < len(t.screen)-1:
		t.y++
	}
	t.cur = t.screen[t.y]
}

// remove removes n rows from the region that scrolls, and insert inserts new ones.
func (t *terminal) remove(at, n int) {
	if at < t.top || at > t.bottom {
		return
	}
	for range min(n, t.bottom-at+1) {
		r := t.screen[at]
		copy(t.screen[at:t.bottom], t.screen[at+1:t.bottom+1])
		t.screen[t.bottom] = t.fresh(r)
	}
}

func (t *terminal) insert(at, n int) {
	if at < t.top || at > t.bottom {
		return
	}
	for range min(n, t.bottom-at+1) {
		r := t.screen[t.bottom]
		copy(t.screen[at+1:t.bottom+1], t.screen[at:t.bottom])
		t.screen[at] = t.fresh(r)
	}
}

// fresh returns an empty row. It reuses a row that is no longer on the screen.
func (t *terminal) fresh(r *row) *row {
	if r == t.cur {
		return &row{} // it has not ended
	}
	*r = row{text: r.text[:0]}
	return r
}

// clear ends the row that was written last, and clears the screen.
func (t *terminal) clear() {
	t.leave()
	t.cur = nil
	for i := range t.screen {
		t.screen[i] = &row{}
	}
}

// resize gives the screen a number of rows, all of which scroll.
func (t *terminal) resize(rows int) {
	for len(t.screen) < rows {
		t.screen = append(t.screen, &row{})
	}
	t.screen = t.screen[:rows]
	t.top, t.bottom = 0, rows-1
	t.y = min(t.y, rows-1)
}

// place is called before the cursor goes to a row by number. Before the first call, the row of
// the cursor is not known.
func (t *terminal) place() {
	if !t.placed {
		t.placed = true
		t.clear()
	}
}

// goTo moves to a row by its number, from 1.
func (t *terminal) goTo(number int) {
	t.place()
	number = min(max(number, 1), tallest)
	if number > len(t.screen) {
		if !t.whole || number == len(t.screen)+1 { // one more row may be for the status
			top, bottom, all := t.top, t.bottom, t.bottom == len(t.screen)-1
			t.resize(number)
			if t.whole || !all {
				t.top, t.bottom = top, bottom
			}
		}
		number = min(number, len(t.screen)) // a number beyond the end means the last row
	}
	t.y = number - 1
}

// down moves within the screen, up if n < 0.
func (t *terminal) down(n int) { t.y = min(max(t.y+n, 0), len(t.screen)-1) }

// parameter returns a number of the escape sequence, or none if it is missing.
func (t *terminal) parameter(i, none int) int {
	fields := bytes.Split(t.params, []byte{';'})
	if i >= len(fields) {
		return none
	}
	n := 0
	for _, d := range fields[i] {
		if d < '0' || d > '9' {
			break
		}
		n = min(widest, n*10+int(d-'0'))
	}
	if n == 0 {
		return none
	}
	return n
}

func (t *terminal) control(c byte) {
	if len(t.params) > 0 && t.params[0] >= '<' && t.params[0] <= '?' || bytes.ContainsAny(t.params, " !\"#$%&'()*+,-./") {
		if strings.IndexByte("hlmpqrsuJK", c) < 0 { // modes, colours and shapes; and erasing except protected characters
			t.unsupported(fmt.Sprintf("ESC [%s%c", t.params, c))
		}
		return
	}
	n := t.parameter(0, 1)
	switch c {
	case 'A', 'k':
		t.down(-n)
	case 'B', 'e':
		t.down(n)
	case 'E':
		t.down(n)
		t.x = 0
	case 'F':
		t.down(-n)
		t.x = 0
	case 'C', 'a':
		t.x = min(widest, t.x+n)
	case 'D', 'j':
		t.x = max(0, t.x-n)
	case 'G', '`':
		t.x = n - 1
	case 'H', 'f':
		t.goTo(n)
		t.x = t.parameter(1, 1) - 1
	case 'd':
		t.goTo(n)
	case 'I':
		t.x = min(widest, (t.x/8+n)*8)
	case 'Z':
		t.x = max(0, ((t.x+7)/8-n)*8)
	case 'J':
		t.eraseScreen(t.parameter(0, 0))
	case 'K':
		t.eraseLine(t.parameter(0, 0))
	case '@':
		if r := t.touch(); t.x < r.cells {
			at := r.offset(t.x)
			r.text = slices.Insert(r.text, at, bytes.Repeat([]byte{' '}, n)...)
			r.cells, r.ended = r.cells+n, false
			r.count()
		}
	case 'P':
		t.touch().cut(t.x, n)
	case 'X':
		t.eraseCells(t.x, n)
	case 'L':
		t.place()
		t.insert(t.y, n)
	case 'M':
		t.place()
		t.remove(t.y, n)
	case 'S':
		t.remove(t.top, n)
	case 'T':
		t.insert(t.top, n)
	case 'b':
		for range n {
			t.write(max(t.last, ' '))
		}
	case 'r':
		t.scrollRegion()
	case 's':
		t.saved = [2]int{t.x, t.y}
	case 'u':
		t.x, t.y = t.saved[0], min(t.saved[1], len(t.screen)-1)
	case 'h', 'l':
		if bytes.Equal(t.params, []byte("4")) && c == 'h' {
			t.unsupported("ESC [4h")
		}
	case 'm', 'g', 'q', 't', 'i':
	default: // among them questions, which the device may expect to be answered
		t.unsupported(fmt.Sprintf("ESC [%s%c", t.params, c))
	}
}

func (t *terminal) scrollRegion() {
	t.place()
	top := t.parameter(0, 1)
	bottom := min(t.parameter(1, len(t.screen)), tallest)
	if top >= bottom {
		return
	}
	if top == 1 {
		t.resize(bottom)
		t.whole = true
	} else {
		t.resize(max(bottom, len(t.screen)))
		t.top, t.bottom = top-1, bottom-1
	}
	t.x, t.y = 0, 0
}

func (t *terminal) eraseLine(what int) {
	switch r := t.touch(); what {
	case 0:
		r.cut(t.x, r.cells)
	case 1:
		t.eraseCells(0, t.x+1)
	default:
		r.cut(0, r.cells)
	}
}

// eraseCells replaces existing characters by blanks.
func (t *terminal) eraseCells(from, n int) {
	r := t.touch()
	for x := from; x < min(from+n, r.cells); x++ {
		r.set(x, ' ')
	}
}

func (t *terminal) eraseScreen(what int) {
	from, to := 0, len(t.screen)
	switch what {
	case 0:
		t.eraseLine(0)
		from = t.y + 1
	case 1:
		t.eraseLine(1)
		to = t.y
	default:
		t.clear()
		return
	}
	for i := from; i < to; i++ {
		t.screen[i] = t.fresh(t.screen[i])
	}
}

// line returns the line at the cursor. Blanks before the cursor count, even if the cursor only
// moved over them. Blanks behind it do not.
func (t *terminal) line() string {
	if t.screen == nil {
		return ""
	}
	r := t.screen[t.y]
	end := max(len(bytes.TrimRight(r.text, " ")), r.offset(t.x))
	if more := end - len(r.text); more > 0 {
		return string(r.text) + strings.Repeat(" ", more)
	}
	return string(r.text[:end])
}

// col returns the number of bytes of the line before the cursor.
func (t *terminal) col() int {
	if t.screen == nil {
		return 0
	}
	return t.screen[t.y].offset(t.x)
}

// take returns the ended lines and forgets them.
func (t *terminal) take() []string {
	rows := t.rows
	t.rows = nil
	return rows
}

// shown returns the last lines since the last take, for messages. Secrets are not masked.
func (t *terminal) shown() string {
	return strings.TrimSpace(strings.Join(append(t.rows[max(0, len(t.rows)-8):len(t.rows):len(t.rows)], t.line()), "\n"))
}
