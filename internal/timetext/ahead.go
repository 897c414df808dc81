package timetext

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Ahead reads an instant at which a look at a calendar begins or ends, as people type it: the
// forms of [Typed], and
//
//	today, tomorrow, yesterday    the beginning of that day
//	monday                        the beginning of the first Monday
//	monday 10:00[:05]
//	2099-11-21                    the beginning of that day
//	7d, +7d                       a duration: seven days after after
//
// A time of day alone, and a weekday, are the first such time from after on. If after is now,
// the present day counts as a whole: monday is today if today is Monday.
func Ahead(text string, now, after time.Time, loc *time.Location) (time.Time, error) {
	trimmed := strings.ToLower(strings.Join(strings.Fields(text), " "))
	if trimmed == "" {
		return time.Time{}, fmt.Errorf("%.60q %w", text, errAhead)
	}
	base, days := now.In(loc), 0
	word, clock, _ := strings.Cut(trimmed, " ")
	week := weekday(word)
	switch {
	case word == "today":
	case word == "tomorrow":
		days = 1
	case word == "yesterday":
		days = -1
	case week >= 0:
		base = after.In(loc)
		days = (week - int(base.Weekday()) + 7) % 7
	default:
		word, clock = "", trimmed
	}
	var r reading
	c := cursor{clock}
	if n := c.digits(); word != "" && clock != "" || n > 0 && n <= 2 && c.at(n) == ':' {
		if short, ok := r.clock(&c); short || !ok || c.rest != "" || r.nano > 0 {
			if word != "" && week >= 0 { // Mon, 21 Dec 2026 10:00
				return typedAhead(trimmed, text, now, after, loc)
			}
			return time.Time{}, fmt.Errorf("%.60q %w", text, errAhead)
		}
		r.year, r.month, r.day = base.Year(), int(base.Month()), base.Day()
		if err := r.check(); err != nil {
			return time.Time{}, fmt.Errorf("%.60q %w", text, err)
		}
	}
	if word == "" && r.year == 0 {
		return typedAhead(trimmed, text, now, after, loc)
	}
	if word == "" {
		base = after.In(loc)
	}
	y, m, d := base.Date()
	on := func(days int) time.Time { return Local(y, m, d+days, r.hour, r.minute, r.second, 0, loc) }
	t := on(days)
	switch {
	case word == "" && t.Before(after):
		t = on(days + 1)
	case week >= 0 && t.Before(after) && !(after.Equal(now) && clock == ""):
		t = on(days + 7)
	}
	return t, nil
}

// typedAhead reads what has no word for a day.
func typedAhead(trimmed, text string, now, after time.Time, loc *time.Location) (time.Time, error) {
	t, err := Typed(text, now, loc)
	if err == nil {
		return t, nil
	}
	if t, dayErr := Typed(text+" 00:00", now, loc); !errors.Is(dayErr, ErrForm) { // a day
		return t, dayErr
	}
	if t, notLater := Later(trimmed, after); !errors.Is(notLater, ErrForm) {
		return t, notLater
	}
	if errors.Is(err, ErrForm) {
		err = fmt.Errorf("%.60q %w", text, errAhead)
	}
	return time.Time{}, err
}

// Later reads a duration as the instant so long after start. The error for a text that is no
// duration wraps [ErrForm].
func Later(text string, start time.Time) (time.Time, error) {
	d, err := Duration(text)
	switch {
	case err != nil:
		return time.Time{}, fmt.Errorf("%w; it %w", err, ErrForm)
	case d >= Last.Sub(start):
		return time.Time{}, fmt.Errorf("%.60q is after 2199", text)
	}
	return start.Add(d).Round(0), nil
}

// errAhead is ErrForm for such times.
var errAhead = errors.New(`is not a time: write it like "2099-11-21 10:00", 2099-11-21, 10:00, today, monday, "monday 10:00", or +7d for seven days later`)
