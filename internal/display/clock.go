package display

import (
	"fmt"
	"path"
	"time"

	"activationd/control"
	"activationd/internal/timetext"
)

// A Clock formats times for people: in the zone of the daemon, which runs things by it.
type Clock struct {
	loc   *time.Location
	Zone  string        // its name, or its offset from UTC if it has none
	ahead time.Duration // of this machine's clock
}

// NewClock returns the clock that a daemon has described.
func NewClock(c control.Clock) *Clock {
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
	return &Clock{loc: loc, Zone: c.Zone, ahead: time.Until(c.Now)}
}

// Now is the time in the daemon's zone, by the daemon's clock.
func (c *Clock) Now() time.Time { return c.In(time.Now().Add(c.ahead)) }

// In returns t in the daemon's zone.
func (c *Clock) In(t time.Time) time.Time { return t.In(c.loc) }

// A Form says how much of a time is shown.
type Form int

// The forms.
const (
	WithDistance Form = iota // 2099-12-21 10:00:00 (in 5m)
	DateAndTime              // 2099-12-21 10:00:00
	Short                    // as ls does: only the time of day if that is today, no time of day if it is in another year
)

// Format returns t in the daemon's zone, or "" for the zero time.
func (c *Clock) Format(t time.Time, form Form) string {
	if t.IsZero() {
		return ""
	}
	now := c.Now()
	t = c.In(t)
	switch {
	case form == WithDistance:
		return t.Format(time.DateTime) + " (" + Relative(t.Sub(now)) + ")"
	case form == DateAndTime:
		return t.Format(time.DateTime)
	case t.Format(time.DateOnly) == now.Format(time.DateOnly):
		return t.Format(time.TimeOnly)
	case t.Year() == now.Year():
		return t.Format("Jan _2 15:04")
	}
	return t.Format("Jan _2  2006")
}

// Titled returns the title of a column of times, with the zone.
func (c *Clock) Titled(title string, form Form) string {
	zone := c.Zone
	switch {
	case zone == "":
		return title
	case form == Short:
		zone = path.Base(zone) // Prague
	}
	return title + " (" + zone + ")"
}

// Unnamed returns a clock whose times are printed below the name of its zone.
func (c *Clock) Unnamed() *Clock {
	u := *c
	u.Zone = ""
	return &u
}

// Both returns t in the daemon's zone, with its distance from now.
func (c *Clock) Both(t time.Time) string { return c.Format(t, WithDistance) }

// Time returns t in the daemon's zone.
func (c *Clock) Time(t time.Time) string { return c.Format(t, DateAndTime) }

// Full returns t with the zone, and with its distance from now.
func (c *Clock) Full(t time.Time) string {
	return c.Time(t) + " " + c.Zone + " (" + Relative(t.Sub(c.Now())) + ")"
}

// Relative returns a distance from now in its two largest units.
func Relative(d time.Duration) string {
	text := Span(d.Abs())
	switch {
	case text == "0s":
		return "now"
	case d < 0:
		return text + " ago"
	}
	return "in " + text
}

// Span returns a duration that is not negative in its two largest units.
func Span(d time.Duration) string {
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

// Lasted returns how long something took.
func Lasted(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	}
	return Span(d)
}
