package timeline

import (
	"strings"
	"time"
	"unicode/utf8"

	"activationd/internal/timetext"
)

const day = 24 * time.Hour

// A scale says where an axis has ticks, and what is written there.
type scale struct {
	step  time.Duration
	cells int    // the least distance of two ticks
	label string // of a tick
	above string // where the part of time begins that the labels do not have
}

const (
	minutes = "15:04"
	aDay    = "Mon _2 Jan"
)

// scales are in the order in which the first that fits is chosen. The last always does.
var scales = []scale{
	{time.Minute, 7, minutes, aDay},
	{2 * time.Minute, 7, minutes, aDay},
	{5 * time.Minute, 7, minutes, aDay},
	{10 * time.Minute, 7, minutes, aDay},
	{15 * time.Minute, 7, minutes, aDay},
	{30 * time.Minute, 7, minutes, aDay},
	{time.Hour, 7, minutes, aDay},
	{2 * time.Hour, 7, minutes, aDay},
	{3 * time.Hour, 7, minutes, aDay},
	{6 * time.Hour, 7, minutes, aDay},
	{12 * time.Hour, 7, minutes, aDay},
	{day, 8, "Mon _2", "January"},
	{7 * day, 8, "Mon _2", "January"},
	{30 * day, 4, "Jan", "2006"},
	{91 * day, 4, "Jan", "2006"},
	{365 * day, 6, "2006", ""},
}

// at returns the times of the ticks between two times, both in the zone of the axis.
func (s *scale) at(from, to time.Time) (ticks []time.Time) {
	if s.step < day {
		// All zones of today differ from UTC by a number of quarters of an hour. Between two of
		// these there is no change of the clocks, so an hour that occurs twice has two ticks.
		quantum := min(s.step, 15*time.Minute)
		for t := from.Truncate(quantum); t.Before(to); t = t.Add(quantum) {
			hour, minute, _ := t.Clock()
			clock := time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute
			if clock%s.step == 0 && !t.Before(from) {
				ticks = append(ticks, t)
			}
		}
		return ticks
	}
	y, m, d := from.Date()
	for {
		t := timetext.Local(y, m, d, 0, 0, 0, 0, from.Location())
		if !t.Before(to) {
			return ticks
		}
		switch d++; {
		case t.Before(from), s.step == 7*day && t.Weekday() != time.Monday, s.step > 7*day && t.Day() != 1,
			s.step == 91*day && t.Month()%3 != 1, s.step == 365*day && t.Month() != time.January:
		default:
			ticks = append(ticks, t)
		}
	}
}

// begins reports whether the part of time begins at t that is written above the labels.
func (s *scale) begins(t time.Time) bool {
	switch {
	case s.step < day:
		before := t.Add(-time.Nanosecond)
		return before.Day() != t.Day()
	case s.step < 30*day:
		return t.Day() == 1
	}
	return t.YearDay() == 1
}

// heading says what time the chart is about, and in which zone.
func (d *drawing) heading() (text string) {
	for _, form := range []string{"Mon 2006-01-02 15:04", "2006-01-02 15:04"} {
		text = d.From.Format(form) + " to " + d.To.Format(form)
		if d.Zone != "" {
			text += " (" + d.Zone + ")"
		}
		if utf8.RuneCountInString(text) <= d.Width {
			return text
		}
	}
	return d.shorten(text, d.Width)
}

// axis draws the axis.
func (d *drawing) axis() {
	d.now = -1
	d.out.WriteString(d.heading() + "\n")
	s := d.scale()
	above, below := d.blank(), d.blank()
	// The days and months begin where there may be no tick.
	units := *s
	switch {
	case s.step < day:
		units = scale{step: day}
	case s.step < 30*day:
		units = scale{step: 30 * day}
	}
	var begins []time.Time
	for _, t := range units.at(d.From, d.To) {
		if s.above != "" && s.begins(t) {
			begins = append(begins, t)
		}
	}
	free := 0
	// The first part of the time has begun before. If there is no room for it, it is left out.
	if first := clean(d.From.Format(s.above)); len(begins) == 0 || d.x(begins[0]) > utf8.RuneCountInString(first) {
		free = d.label(above, 0, 0, first)
	}
	for _, t := range begins {
		free = d.label(above, d.x(t), free, clean(t.Format(s.above)))
	}
	free = 0
	for _, t := range s.at(d.From, d.To) {
		at := d.x(t)
		if at < d.cells {
			d.ticks = append(d.ticks, at)
			free = d.label(below, at, free, clean(t.Format(s.label)))
		}
	}
	d.line("", ' ', above)
	d.line(title, ' ', below)
	if d.Now.Before(d.From) || !d.Now.Before(d.To) {
		return
	}
	d.now = min(d.x(d.Now), d.cells-1)
	marks := d.blank()
	text := string(d.arrow) + " now"
	at := d.now
	if n := utf8.RuneCountInString(text); at+n > d.cells {
		text = "now " + string(d.arrow)
		at -= n - 1
	}
	d.label(marks, at, 0, text)
	d.line("", ' ', marks)
}

// clean removes the second of two blanks.
func clean(s string) string { return strings.Join(strings.Fields(s), " ") }

// scale chooses the scale.
func (d *drawing) scale() *scale {
	for i := range scales {
		if s := &scales[i]; float64(s.step)/float64(d.To.Sub(d.From))*float64(d.cells) >= float64(s.cells) {
			return s
		}
	}
	return &scales[len(scales)-1]
}

// label writes text from a cell on, if there is room behind the cells that are taken, and
// returns the first cell that is free then.
func (d *drawing) label(cells []cell, at, free int, text string) int {
	n := utf8.RuneCountInString(text)
	if at < free || at+n > len(cells) {
		return free
	}
	for i, r := range []rune(text) {
		cells[at+i].r = r
	}
	return at + n + 1
}
