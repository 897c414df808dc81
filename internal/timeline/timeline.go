// Package timeline draws who has what when: a row for each device, with bars under an axis of
// local times. It is pure: it knows no terminal, no clock and no daemon.
package timeline

import (
	"cmp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// A Bar is a time in which somebody has something, or wants it.
type Bar struct {
	Row, ID, Owner, State string
	From, Start, To       time.Time // from From to Start it is prepared
	Conflict              bool      // it cannot have it
}

// A Chart is what is drawn. Its times have the zone of the axis.
type Chart struct {
	From, To, Now time.Time
	Zone          string   // its name
	Rows          []string // in their order; rows without bars are drawn, too
	Bars          []Bar    // of these rows
	Width         int      // of a line
	ASCII         bool     // the terminal does not know other characters
	// Paint colours a part of a line as a state; nil: no colours.
	Paint func(text, state string) string
}

const (
	leastCells = 20 // how narrow the bars' part may become
	mostName   = 20 // how wide the names of rows may become
	leastText  = 4  // a shorter part of an id helps nobody
)

// glyphs are the characters of a chart.
type glyphs struct {
	left, right, body, conflict, lead, single, several, before, after, tick, now, arrow, cut rune
}

var (
	ascii = glyphs{'[', ']', '=', '~', '.', '=', '#', '<', '>', ':', '|', 'v', '~'}
	lines = glyphs{'┣', '┫', '━', '╍', '┄', '■', '▓', '◀', '▶', '┊', '│', '▼', '…'}
)

// Draw returns the chart as text, and how many bars had no room for their id.
func (c *Chart) Draw() (text string, unnamed int) {
	d := drawing{Chart: c, glyphs: lines}
	if c.ASCII {
		d.glyphs = ascii
	}
	for _, row := range c.Rows {
		d.gutter = max(d.gutter, utf8.RuneCountInString(row))
	}
	d.gutter = min(max(d.gutter, len(title)), mostName, max(c.Width/4, len(title)))
	d.cells = max(c.Width-d.gutter-gap, leastCells)
	d.axis()
	bars := make(map[string][]Bar)
	for _, b := range c.Bars {
		bars[b.Row] = append(bars[b.Row], b)
	}
	for _, row := range c.Rows {
		d.row(row, bars[row])
	}
	return d.out.String(), d.unnamed
}

const (
	title = "DEVICE"
	gap   = 2 // between a name and the bars: a blank, and the mark of a conflict
)

// A drawing is a chart that is being drawn.
type drawing struct {
	*Chart
	glyphs
	gutter, cells int
	ticks         []int // their cells
	now           int   // its cell; -1: none
	out           strings.Builder
	unnamed       int
}

// x returns the cell in which t is, or that follows the last one.
func (d *drawing) x(t time.Time) int {
	switch {
	case !t.After(d.From):
		return 0
	case !t.Before(d.To):
		return d.cells
	}
	return int(float64(t.Sub(d.From))/float64(d.To.Sub(d.From))*float64(d.cells) + 0.5)
}

// A cell is a character of a line and the state that gives it its colour.
type cell struct {
	r     rune
	state string
}

// line prints a line: what is left of the bars, and the bars.
func (d *drawing) line(name string, mark rune, cells []cell) {
	for len(cells) > 0 && cells[len(cells)-1].r == ' ' {
		cells = cells[:len(cells)-1]
	}
	name = d.shorten(name, d.gutter)
	name += strings.Repeat(" ", d.gutter-utf8.RuneCountInString(name)+1) + string(mark)
	if len(cells) == 0 {
		name = strings.TrimRight(name, " ")
	}
	d.out.WriteString(name)
	for len(cells) > 0 {
		n := slices.IndexFunc(cells, func(c cell) bool { return c.state != cells[0].state })
		if n < 0 {
			n = len(cells)
		}
		var part strings.Builder
		for _, c := range cells[:n] {
			part.WriteRune(c.r)
		}
		text := part.String()
		if state := cells[0].state; state != "" && d.Paint != nil {
			text = d.Paint(text, state)
		}
		d.out.WriteString(text)
		cells = cells[n:]
	}
	d.out.WriteByte('\n')
}

// shorten returns at most n characters of a text.
func (d *drawing) shorten(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + string(d.cut)
}

// blank returns an empty line of cells.
func (d *drawing) blank() []cell {
	cells := make([]cell, d.cells)
	for i := range cells {
		cells[i].r = ' '
	}
	return cells
}

// row draws a row: what is in force, and below it what conflicts with it.
func (d *drawing) row(name string, bars []Bar) {
	slices.SortStableFunc(bars, func(a, b Bar) int { return cmp.Or(a.From.Compare(b.From), a.To.Compare(b.To), cmp.Compare(a.ID, b.ID)) })
	var inForce, conflicting []Bar
	for _, b := range bars {
		switch {
		case !b.From.Before(d.To) || !b.To.After(d.From):
		case b.Conflict:
			conflicting = append(conflicting, b)
		default:
			inForce = append(inForce, b)
		}
	}
	drawn, first := false, name
	for i, group := range [][]Bar{inForce, conflicting} {
		mark := ' '
		if i == 1 {
			mark = '!'
		}
		for _, lane := range lanes(group) {
			d.line(first, mark, d.lane(lane))
			drawn, first = true, ""
		}
	}
	if !drawn {
		d.line(name, ' ', d.lane(nil))
	}
}

// lanes divides bars that are sorted into lines in which none overlap.
func lanes(bars []Bar) (all [][]Bar) {
	for _, b := range bars {
		i := slices.IndexFunc(all, func(lane []Bar) bool { return !lane[len(lane)-1].To.After(b.From) })
		if i < 0 {
			i = len(all)
			all = append(all, nil)
		}
		all[i] = append(all[i], b)
	}
	return all
}

// lane draws bars that do not overlap.
func (d *drawing) lane(bars []Bar) []cell {
	cells := d.blank()
	for _, i := range d.ticks {
		cells[i].r = d.tick
	}
	if d.now >= 0 {
		cells[d.now].r = d.glyphs.now
	}
	end := 0 // of the bar before
	for _, b := range bars {
		from, to := d.x(b.From), d.x(b.To)
		if from == to { // too short for a cell
			from = min(from, d.cells-1)
			to = from + 1
		}
		if from = max(from, end); from >= to {
			cells[end-1] = cell{d.several, b.State}
			d.unnamed++
			continue
		}
		end = to
		d.bar(cells[from:to], min(max(d.x(b.Start)-from, 0), to-from), &b)
	}
	return cells
}

// bar draws a bar into all its cells; lead is how many of them come before its start.
func (d *drawing) bar(cells []cell, lead int, b *Bar) {
	for i := range cells {
		cells[i] = cell{d.body, b.State}
		switch {
		case i < lead && lead < len(cells):
			cells[i].r = d.lead
		case b.Conflict:
			cells[i].r = d.conflict
		}
	}
	if lead < len(cells) {
		cells = cells[lead:]
	}
	if len(cells) == 1 {
		cells[0].r = d.single
		d.unnamed++
		return
	}
	cells[0].r, cells[len(cells)-1].r = d.left, d.right
	if b.Start.Before(d.From) {
		cells[0].r = d.before
	}
	if b.To.After(d.To) {
		cells[len(cells)-1].r = d.after
	}
	inner := cells[1 : len(cells)-1]
	id := b.ID
	if b.Conflict {
		id = "!" + id
	}
	text := strings.TrimRight(id+" "+b.Owner, " ")
	for _, t := range []string{" " + text + " ", text, " " + id + " ", id} {
		if text = t; utf8.RuneCountInString(t) <= len(inner) {
			break
		}
	}
	if utf8.RuneCountInString(text) > len(inner) {
		d.unnamed++
		if len(inner) < leastText {
			return
		}
		text = d.shorten(text, len(inner))
	}
	for i, r := range []rune(text) {
		inner[i].r = r
	}
}

// ByNumber compares names so that r2 comes before r10.
func ByNumber(a, b string) int {
	x, y := a, b
	for x != "" && y != "" {
		n, m := digits(x), digits(y)
		if n > 0 && m > 0 {
			p, q := strings.TrimLeft(x[:n], "0"), strings.TrimLeft(y[:m], "0")
			if c := cmp.Or(cmp.Compare(len(p), len(q)), strings.Compare(p, q)); c != 0 {
				return c
			}
			x, y = x[n:], y[m:]
			continue
		}
		if x[0] != y[0] {
			return cmp.Compare(x[0], y[0])
		}
		x, y = x[1:], y[1:]
	}
	return cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(a, b))
}

// digits returns how many digits s begins with.
func digits(s string) int { return len(s) - len(strings.TrimLeft(s, "0123456789")) }
