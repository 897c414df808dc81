package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"activationd/internal/display"
	"activationd/internal/terminal"
)

// A column is a column of a table.
type column struct {
	title string
	most  int // longer cells are cut on a terminal, and do not widen the column elsewhere; 0: no limit
}

const (
	columnGap = "  "
	indent    = "    " // of lines below a row
	leastCut  = 10     // how narrow a column with a limit may become
	leastLast = 40     // how wide the last column is at least, unless all its cells are shorter
)

// sizedBy is how many rows a table holds back to find the widths of its columns. Later
// rows are printed as they come, so that a long list needs little memory.
const sizedBy = 1000

// A table prints rows in aligned columns.
//
// On a terminal, no line is wider than the terminal. If there is not enough room, times
// become shorter, empty columns are left out, the last column moves to lines of its own
// below the rows, and then other columns become narrower. The last column is never cut.
type table struct {
	out     io.Writer
	width   int // the terminal's; 0: no limit
	colours bool
	columns []column
	times   *clock   // formats cells that are times; the title of the first column of times that is shown names the zone
	last    int      // how wide the last column is at least, if not leastLast: longer cells are below their rows
	spare   []string // the titles of columns that are left out, one by one, if nothing else helps
	held    [][]any
	sized   bool
	layout
}

// A layout says how the rows of a table are printed.
type layout struct {
	form   display.Form
	hidden []bool // columns that are left out
	below  bool   // the last column has lines of its own
	titles []string
	widths []int
}

func newTable(out io.Writer, columns ...column) *table {
	return &table{out: out, width: terminal.Width(out), colours: hasColours(out), columns: columns}
}

// row adds a row. A cell is a string or a time. Cells that are missing at its end are
// empty.
func (t *table) row(cells ...any) error {
	row := make([]any, len(t.columns))
	copy(row, cells)
	for i, cell := range row {
		if text, ok := cell.(string); ok {
			row[i] = printable(text)
		}
	}
	if t.sized {
		return t.print(row)
	}
	t.held = append(t.held, row)
	if len(t.held) == sizedBy {
		return t.flush()
	}
	return nil
}

// flush prints the heading and the rows that are held back.
func (t *table) flush() error {
	if t.sized {
		return nil
	}
	t.choose()
	t.sized = true
	titles := make([]any, len(t.titles))
	for i, title := range t.titles {
		titles[i] = title
	}
	if last := len(titles) - 1; t.below {
		titles[last] = nil
	}
	if err := t.print(titles); err != nil {
		return err
	}
	for _, r := range t.held {
		if err := t.print(r); err != nil {
			return err
		}
	}
	t.held = nil
	return nil
}

// end prints what is held back. Err is the failure after which no more rows come, or nil.
// The rows before a failure are useful, but not a heading alone.
func (t *table) end(err error) error {
	if err != nil && len(t.held) == 0 {
		return err
	}
	return errors.Join(err, t.flush())
}

// choose chooses the layout.
func (t *table) choose() {
	if t.width == 0 {
		t.measure(layout{form: display.DateAndTime})
		return
	}
	empty := make([]bool, len(t.columns))
	if n := len(t.held); n > 0 && n < sizedBy { // no more rows will come
		for i := range empty {
			empty[i] = !slices.ContainsFunc(t.held, func(r []any) bool { return t.text(r[i], display.Short) != "" })
		}
	}
	for _, l := range []layout{
		{form: display.WithDistance},
		{form: display.DateAndTime},
		{form: display.DateAndTime, hidden: empty},
		{form: display.Short, hidden: empty},
		{form: display.Short, hidden: empty, below: true},
	} {
		if t.measure(l); t.total() <= t.width {
			return
		}
	}
	for _, title := range append([]string{""}, t.spare...) {
		if i := slices.IndexFunc(t.columns, func(c column) bool { return c.title == title }); i >= 0 {
			t.hidden[i] = true
			t.measure(t.layout)
		}
		for t.total() > t.width && t.narrow() {
		}
	}
}

// measure takes a layout, and finds its titles and widths.
func (t *table) measure(l layout) {
	t.layout = l
	t.titles, t.widths = nil, nil
	if t.hidden == nil {
		t.hidden = make([]bool, len(t.columns))
	}
	zoned := t.times == nil
	for i, c := range t.columns {
		title, width := c.title, 0
		for _, r := range t.held {
			if _, ok := r[i].(time.Time); ok && !zoned && !t.hidden[i] {
				title, zoned = t.times.Titled(title, t.form), true
			}
			width = max(width, utf8.RuneCountInString(t.text(r[i], t.form)))
		}
		if c.most > 0 {
			width = min(width, c.most)
		}
		t.titles = append(t.titles, title)
		t.widths = append(t.widths, max(width, utf8.RuneCountInString(title)))
	}
}

// total returns the width of the rows.
func (t *table) total() int {
	n := -len(columnGap)
	for i, w := range t.widths {
		switch last := i == len(t.widths)-1; {
		case t.hidden[i], last && t.below:
			continue
		case last:
			w = min(w, cmp.Or(t.last, leastLast))
		}
		n += w + len(columnGap)
	}
	return n
}

// narrow makes the widest column that has a limit narrower by one, and reports whether
// there is one.
func (t *table) narrow() bool {
	widest := -1
	for i, c := range t.columns {
		can := c.most > 0 && !t.hidden[i] && t.widths[i] > leastCut
		if can && (widest < 0 || t.widths[i] > t.widths[widest]) {
			widest = i
		}
	}
	if widest >= 0 {
		t.widths[widest]--
	}
	return widest >= 0
}

// text returns a cell as text.
func (t *table) text(cell any, form display.Form) string {
	if at, ok := cell.(time.Time); ok {
		return t.times.Format(at, form)
	}
	text, _ := cell.(string)
	return text
}

// print prints a row.
func (t *table) print(row []any) error {
	var line strings.Builder
	room, under := t.width, ""
	for i, cell := range row {
		c := t.text(cell, t.form)
		n := utf8.RuneCountInString(c)
		switch {
		case t.hidden[i]:
			continue
		case t.width == 0:
		case i == len(row)-1 && (t.below || n > room):
			under = c
			continue
		case room <= 0:
			continue
		case t.columns[i].most > 0 || n > room:
			c = display.Shorten(c, min(t.widths[i], room))
			n = utf8.RuneCountInString(c)
		}
		pad := max(0, t.widths[i]-n)
		room -= n + pad + len(columnGap)
		if title := t.columns[i].title; t.colours && (title == "STATE" || title == "LAST") {
			c = display.Colour(c)
		}
		line.WriteString(c + strings.Repeat(" ", pad) + columnGap)
	}
	if _, err := fmt.Fprintln(t.out, strings.TrimRight(line.String(), " ")); err != nil {
		return err
	}
	for _, l := range display.Wrap(under, t.width-len(indent)) {
		if _, err := fmt.Fprintln(t.out, indent+l); err != nil {
			return err
		}
	}
	return nil
}

// hasColours reports whether out is a terminal that has colours, and the user wants them.
func hasColours(out io.Writer) bool {
	term := os.Getenv("TERM")
	return os.Getenv("NO_COLOR") == "" && term != "" && term != "dumb" && isTerminal(out)
}
