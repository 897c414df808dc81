package timetext

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Past reads an instant of the past as people type it: the forms of [Typed], and
//
//	today, yesterday      the beginning of that day
//	today 10:00[:05]
//	2026-11-21            the beginning of that day
//	2h                    a duration: two hours ago
//
// A time of day alone is the last such time, unless that is before after: then it is the
// first such time from then on. So 22:00 and 06:00 are last night, also at five o'clock. A
// zero after does not matter.
func Past(text string, now, after time.Time, loc *time.Location) (time.Time, error) {
	trimmed := strings.Join(strings.Fields(text), " ")
	y, m, d := now.In(loc).Date()
	day, clock, _ := strings.Cut(trimmed, " ")
	switch day {
	case "today":
	case "yesterday":
		d--
	default:
		day, clock = "", trimmed
	}
	var r reading
	c := cursor{clock}
	if n := c.digits(); day != "" && clock != "" || n > 0 && n <= 2 && c.at(n) == ':' {
		if short, ok := r.clock(&c); short || !ok || c.rest != "" || r.nano > 0 {
			return time.Time{}, fmt.Errorf("%.60q %w", text, errPast)
		}
		r.year, r.month, r.day = y, int(m), now.In(loc).Day()
		if err := r.check(); err != nil {
			return time.Time{}, fmt.Errorf("%.60q %w", text, err)
		}
	}
	on := func(day int) time.Time { return Local(y, m, day, r.hour, r.minute, r.second, 0, loc) }
	if day != "" {
		return on(d), nil
	}
	if r.year > 0 {
		t := on(d)
		if t.After(now) {
			t = on(d - 1)
		}
		if t.Before(after) {
			y, m, d = after.In(loc).Date()
			if t = on(d); t.Before(after) {
				t = on(d + 1)
			}
		}
		return t, nil
	}
	t, err := Typed(trimmed, now, loc)
	if err != nil && trimmed != "" {
		if t, dayErr := Typed(trimmed+" 00:00", now, loc); !errors.Is(dayErr, ErrForm) { // a day
			return t, dayErr
		}
	}
	if err == nil {
		return t, nil
	}
	ago, notDuration := Duration(trimmed)
	switch {
	case notDuration == nil && now.Add(-ago).Before(First):
		return time.Time{}, fmt.Errorf("%.60q is before 1970", text)
	case notDuration == nil:
		return now.Add(-ago).Round(0), nil
	case errors.Is(err, ErrForm):
		err = fmt.Errorf("%.60q %w", text, errPast)
	}
	return time.Time{}, err
}

// errPast is ErrForm for times of the past.
var errPast = errors.New(`is not a time: write it like "2026-11-21 10:00", 2026-11-21, 10:00, "yesterday 10:00", today, or 2h for two hours ago`)
