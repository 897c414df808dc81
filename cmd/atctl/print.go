package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"
	"unsafe"
)

// A column is a column of a table.
type column struct {
	title string
	most  int // widest on a terminal; 0: as wide as its longest cell
}

// sizedBy is how many rows a table holds back to find its columns' widths;
// later rows are printed as they come, so that a list without end needs no
// memory without end.
const sizedBy = 1000

// A table prints rows in aligned columns, and on a terminal no wider than it.
type table struct {
	out     io.Writer
	width   int // the terminal's; 0: no limit
	columns []column
	held    [][]string
	widths  []int // nil until known
}

func newTable(out io.Writer, columns ...column) *table {
	return &table{out: out, width: terminalWidth(out), columns: columns}
}

// row adds a row; cells that are missing at its end are empty.
func (t *table) row(cells ...string) error {
	for i := range cells {
		cells[i] = printable(cells[i])
		if most := t.columns[i].most; most > 0 && t.width > 0 {
			cells[i] = cut(cells[i], most)
		}
	}
	if t.widths != nil {
		return t.print(cells)
	}
	t.held = append(t.held, cells)
	if len(t.held) == sizedBy {
		return t.flush()
	}
	return nil
}

// flush prints what is held back. A table without rows prints nothing.
func (t *table) flush() error {
	if t.widths != nil || len(t.held) == 0 {
		return nil
	}
	titles := make([]string, len(t.columns))
	t.widths = make([]int, len(t.columns))
	for i, c := range t.columns {
		titles[i] = c.title
		t.widths[i] = len(c.title)
		for _, r := range t.held {
			if i < len(r) {
				t.widths[i] = max(t.widths[i], utf8.RuneCountInString(r[i]))
			}
		}
	}
	for _, r := range append([][]string{titles}, t.held...) {
		if err := t.print(r); err != nil {
			return err
		}
	}
	t.held = nil
	return nil
}

func (t *table) print(cells []string) error {
	var line strings.Builder
	for i, c := range cells {
		line.WriteString(c)
		if pad := t.widths[i] - utf8.RuneCountInString(c); pad > 0 {
			line.WriteString(strings.Repeat(" ", pad))
		}
		line.WriteString("  ")
	}
	text := strings.TrimRight(line.String(), " ")
	if t.width > 0 {
		text = cut(text, t.width)
	}
	_, err := fmt.Fprintln(t.out, text)
	return err
}

// fields prints name and value pairs, aligned, leaving out empty values. A
// value of several lines is indented as a whole.
func fields(out io.Writer, pairs ...[2]string) error {
	widest := 0
	for _, p := range pairs {
		if p[1] != "" {
			widest = max(widest, len(p[0]))
		}
	}
	for _, p := range pairs {
		name := p[0]
		for l := range strings.Lines(p[1]) {
			line := fmt.Sprintf("%-*s  %s", widest, name, printable(strings.TrimSuffix(l, "\n")))
			if _, err := fmt.Fprintln(out, strings.TrimRight(line, " ")); err != nil {
				return err
			}
			name = ""
		}
	}
	return nil
}

// cut shortens s to n runes, with an ellipsis to say so.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// printable makes what others wrote harmless to a terminal and to a table.
func printable(s string) string {
	bad := func(r rune) bool { return !unicode.IsPrint(r) }
	if strings.IndexFunc(s, bad) < 0 && utf8.ValidString(s) {
		return s
	}
	quoted := strconv.Quote(s)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// instant tells a time in the caller's zone, and how far it is from now.
func instant(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05") + " (" + relative(t.Sub(now)) + ")"
}

// relative tells a distance in time in its two largest units.
func relative(d time.Duration) string {
	text := span(d.Abs())
	switch {
	case text == "0s":
		return "now"
	case d < 0:
		return text + " ago"
	}
	return "in " + text
}

// span tells a duration that is not negative in its two largest units.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	two := func(a int64, unit string, b int64, small string) string {
		if b == 0 {
			return fmt.Sprintf("%d%s", a, unit)
		}
		return fmt.Sprintf("%d%s%d%s", a, unit, b, small)
	}
	d = d.Round(time.Second)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return two(int64(d/time.Minute), "m", int64(d%time.Minute/time.Second), "s")
	case d < day:
		return two(int64(d/time.Hour), "h", int64(d%time.Hour/time.Minute), "m")
	case d >= 10*day:
		return fmt.Sprintf("%dd", d/day)
	}
	return two(int64(d/day), "d", int64(d%day/time.Hour), "h")
}

// terminalWidth is the width of the terminal that out is, or 0 if it is none.
func terminalWidth(out io.Writer) int {
	f, ok := out.(*os.File)
	if !ok {
		return 0
	}
	var size struct{ rows, columns, x, y uint16 }
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), syscall.TIOCGWINSZ, uintptr(unsafe.Pointer(&size)))
	switch {
	case errno != 0:
		return 0
	case size.columns == 0: // a terminal that does not know its size
		return 80
	}
	return int(size.columns)
}

// isTerminal reports whether f is one.
func isTerminal(f any) bool {
	w, ok := f.(*os.File)
	return ok && terminalWidth(w) > 0
}
