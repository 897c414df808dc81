package timetext

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Typed reads an instant as people type it: the forms of [Instant], where a time without a
// zone is local time in loc, and
//
//	now
//	10:00[:05]            the next such time of day, today or tomorrow
//	tomorrow 10:00[:05]
//
// [Local] decides what a local time means.
func Typed(text string, now time.Time, loc *time.Location) (time.Time, error) {
	trimmed := strings.Join(strings.Fields(text), " ")
	if trimmed == "now" {
		return now.Round(0).In(loc), nil
	}
	clock, tomorrow := strings.CutPrefix(trimmed, "tomorrow ")
	c, r := cursor{clock}, reading{}
	if n := c.digits(); tomorrow || n > 0 && n <= 2 && c.at(n) == ':' {
		if short, ok := r.clock(&c); short || !ok || c.rest != "" || r.nano > 0 {
			return time.Time{}, fmt.Errorf("%.60q %w", text, errTyped)
		}
		y, m, d := now.In(loc).Date()
		r.year, r.month, r.day = y, int(m), d
		if err := r.check(); err != nil {
			return time.Time{}, fmt.Errorf("%.60q %w", text, err)
		}
		on := func(day int) time.Time { return Local(y, m, day, r.hour, r.minute, r.second, 0, loc) }
		if t := on(d); !tomorrow && t.After(now) {
			return t, nil
		}
		return on(d + 1), nil
	}
	t, err := Instant(text, func(w time.Time) (time.Time, error) { return In(w, loc), nil })
	if errors.Is(err, ErrForm) {
		err = fmt.Errorf("%.60q %w", text, errTyped)
	}
	return t, err
}

// errTyped is ErrForm for typed times.
var errTyped = fmt.Errorf(`%w; or "2099-12-21 10:00", "10:00", "tomorrow 10:00", "now"`, ErrForm)

// In is [Local] for a local time that is given as if it were UTC.
func In(wall time.Time, loc *time.Location) time.Time {
	y, m, d := wall.Date()
	hour, minute, sec := wall.Clock()
	return Local(y, m, d, hour, minute, sec, wall.Nanosecond(), loc)
}

// Local returns the instant of a local time. A time that a change of the clocks skips is as
// far after the gap as it is into it: 02:30 is 03:30 if the clocks go from 02:00 to 03:00. Of
// a time that occurs twice it returns the first. It does not leave the choice to time.Date,
// which promises neither.
func Local(y int, m time.Month, d, hour, minute, sec, ns int, loc *time.Location) time.Time {
	wall := time.Date(y, m, d, hour, minute, sec, ns, time.UTC) // as if it were UTC
	const most = 26 * time.Hour                                 // more than any offset from UTC
	// Look at the offsets in force around that time, one after the other.
	t := wall.Add(-most).In(loc)
	for {
		_, offset := t.Zone()
		_, end := t.ZoneBounds()
		if !end.IsZero() && !end.After(t) { // on December 31 of a leap year after 2037 it is that day's beginning
			end = t.Add(time.Hour)
		}
		at := wall.Add(-time.Duration(offset) * time.Second).In(loc)
		// It is the first offset under which it comes before the offset ends.
		// If it also comes before the offset begins, it is in the gap, and what
		// it means is reckoned with the offset before.
		if end.IsZero() || at.Before(end) {
			return at
		}
		_, next := end.Zone()
		if gap := wall.Add(-time.Duration(next) * time.Second); gap.Before(end) {
			return at
		}
		t = end
	}
}

// Skipped reports whether a local time in loc, which was read as t, is one that a change of the
// clocks skips: [Local] made it later. The function read reads the same text in another zone.
func Skipped(t time.Time, loc *time.Location, read func(*time.Location) (time.Time, error)) bool {
	begin, _ := t.In(loc).ZoneBounds()
	if begin.IsZero() {
		return false
	}
	_, before := begin.Add(-1).In(loc).Zone()
	_, now := t.In(loc).Zone()
	if t.Sub(begin) >= time.Duration(now-before)*time.Second {
		return false
	}
	is := func(offset int) bool {
		other, err := read(time.FixedZone("", offset))
		return err == nil && other.Equal(t)
	}
	return is(before) && !is(now) // what has its own zone, or counts from now, is the same with both
}
