package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"activationd/control"
	"activationd/internal/fault"
	"activationd/internal/terminal"
	"activationd/internal/timetext"
)

// sentences are the names of values that terminals show in lines that fit. Commands, which
// people copy, are not broken.
var sentences = []string{"reason", "last end", "rolling"}

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
			text := printable(strings.TrimSuffix(l, "\n"))
			if slices.Contains(sentences, p[0]) {
				text = hanging(text, widest+2, terminal.Width(out))
			}
			if name == "state" && hasColours(out) {
				text = colour(text)
			}
			line := fmt.Sprintf("%-*s  %s", widest, name, text)
			if _, err := fmt.Fprintln(out, strings.TrimRight(line, " ")); err != nil {
				return err
			}
			name = ""
		}
	}
	return nil
}

// shorten returns at most n runes of s. If it cuts s, the last rune is an ellipsis.
func shorten(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// printable makes text from others harmless for a terminal and a table.
func printable(s string) string {
	bad := func(r rune) bool { return !unicode.IsPrint(r) }
	if strings.IndexFunc(s, bad) < 0 && utf8.ValidString(s) {
		return s
	}
	quoted := strconv.Quote(s)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// A clock formats times for people: in the zone of the daemon, which runs things by it.
type clock struct {
	loc   *time.Location
	zone  string        // its name, or its offset from UTC if it has none
	ahead time.Duration // of this machine's clock
}

// clock asks the daemon for its clock, once.
func (a *app) clock(ctx context.Context) (*clock, error) {
	if a.times != nil {
		return a.times, nil
	}
	out, err := call[control.Clock](ctx, a, "clock", nil)
	if errors.Is(err, fault.Invalid) && strings.HasPrefix(err.Error(), "no command") { // an older daemon
		now := time.Now()
		out = control.Clock{Now: now, Offset: now.Format("-07:00")}
		err = a.made.Close() // such a daemon has closed the connection
	}
	if err != nil {
		return nil, err
	}
	a.times = newClock(out)
	return a.times, nil
}

func newClock(c control.Clock) *clock {
	loc, err := time.LoadLocation(c.Zone)
	if c.Zone == "" || err != nil { // a name that only the daemon's machine knows
		c.Zone = "UTC" + c.Offset
		at, err := timetext.Instant("2099-01-01T00:00:00"+c.Offset, nil)
		if err != nil {
			at = c.Now
		}
		_, offset := at.Zone()
		loc = time.FixedZone(c.Zone, offset)
	}
	return &clock{loc: loc, zone: c.Zone, ahead: time.Until(c.Now)}
}

// now is the time in the daemon's zone, by the daemon's clock.
func (c *clock) now() time.Time { return c.in(time.Now().Add(c.ahead)) }

// in returns t in the daemon's zone.
func (c *clock) in(t time.Time) time.Time { return t.In(c.loc) }

// A timeForm says how much of a time is shown.
type timeForm int

const (
	withDistance timeForm = iota // 2099-12-21 10:00:00 (in 5m)
	dateAndTime                  // 2099-12-21 10:00:00
	short                        // as ls does: only the time of day if that is today, no time of day if it is in another year
)

// format returns t in the daemon's zone, or "" for the zero time.
func (c *clock) format(t time.Time, form timeForm) string {
	if t.IsZero() {
		return ""
	}
	now := c.now()
	t = c.in(t)
	switch {
	case form == withDistance:
		return t.Format(time.DateTime) + " (" + relative(t.Sub(now)) + ")"
	case form == dateAndTime:
		return t.Format(time.DateTime)
	case t.Format(time.DateOnly) == now.Format(time.DateOnly):
		return t.Format(time.TimeOnly)
	case t.Year() == now.Year():
		return t.Format("Jan _2 15:04")
	}
	return t.Format("Jan _2  2006")
}

// titled returns the title of a column of times, with the zone.
func (c *clock) titled(title string, form timeForm) string {
	zone := c.zone
	switch {
	case zone == "":
		return title
	case form == short:
		zone = path.Base(zone) // Prague
	}
	return title + " (" + zone + ")"
}

// unnamed returns a clock whose times are printed below the name of its zone.
func (c *clock) unnamed() *clock {
	u := *c
	u.zone = ""
	return &u
}

// both returns t in the daemon's zone, with its distance from now.
func (c *clock) both(t time.Time) string { return c.format(t, withDistance) }

// time returns t in the daemon's zone.
func (c *clock) time(t time.Time) string { return c.format(t, dateAndTime) }

// full returns t with the zone, and with its distance from now.
func (c *clock) full(t time.Time) string {
	return c.time(t) + " " + c.zone + " (" + relative(t.Sub(c.now())) + ")"
}

// nowIs says what has become of an activation: "7 is running", "8 has failed".
func nowIs(act *control.Activation) string {
	switch act.Outcome {
	case "":
		return act.ID + " is " + control.Status(act.Kind, act.State, "")
	case "succeeded", "failed":
		return act.ID + " has " + act.Outcome
	case "timed_out":
		return act.ID + " has timed out"
	}
	return act.ID + " was " + act.Outcome // cancelled, missed, lost
}

// relative returns a distance from now in its two largest units.
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

// span returns a duration that is not negative in its two largest units.
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

// lasted returns how long something took.
func lasted(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	}
	return span(d)
}

// isTerminal reports whether f is a terminal.
func isTerminal(f any) bool { return terminal.Width(f) > 0 }
