package panel

import (
	"errors"
	"net/url"
	"slices"
	"time"

	"activationd/control"
	"activationd/internal/fault"
)

// timelineGaps is to how many free stretches a page has links.
const timelineGaps = 400

// A gap is a stretch of a row in which a device is free and can be booked.
type gap struct {
	X, Width string
	Address  string
	Says     string
}

// booking asks what the reader may book; nil: nothing.
func (v *view) booking() (*control.BookQuota, error) {
	if !v.May("book add") {
		return nil, nil
	}
	q, err := one[control.BookQuota](v.r.Context(), v.panel, v.Caller, "book quota", &control.BookQuotaIn{})
	if errors.Is(err, fault.Conflict) || err == nil && q.Refused != "" && !q.Others {
		return nil, nil
	}
	return &q, err
}

// gaps returns the stretches from now on in which nobody has the device of a row. What is too narrow to
// be pressed is left out.
func (v *view) gaps(d *timelineData, name string, pause *control.Pause, lines []slot) (all []gap) {
	type span struct{ from, to time.Time }
	var taken []span
	for i := range lines {
		l := &lines[i]
		to := l.To
		if l.Open {
			to = d.To
		}
		if !over(&l.CalendarLine) {
			taken = append(taken, span{l.From, to})
		}
	}
	if pause != nil {
		until := d.To
		if !pause.Until.IsZero() {
			until = pause.Until.Time
		}
		taken = append(taken, span{pause.Since, until})
	}
	slices.SortFunc(taken, func(a, b span) int { return a.from.Compare(b.from) })
	at := clamp(v.Now, d.From, d.To)
	for _, s := range append(taken, span{d.To, d.To}) {
		if until := clamp(s.from, at, d.To); until.Sub(at) >= max(5*time.Minute, d.To.Sub(d.From)/80) {
			all = append(all, v.gap(d, name, at, until))
		}
		if s.to.After(at) {
			at = s.to
		}
	}
	return all
}

// gap makes the link of a free stretch.
func (v *view) gap(d *timelineData, name string, from, to time.Time) gap {
	length := min(to.Sub(from).Truncate(5*time.Minute), 2*time.Hour)
	q := url.Values{"devices": {name}, "for": {length.String()}}
	says := "Book " + short(name, 60) + " from now"
	if from.After(v.Now) {
		q.Set("from", from.In(v.Zone).Format(time.RFC3339))
		says = "Book " + short(name, 60) + " from " + v.Clock(from)
	}
	if to.Before(d.To) {
		says += ", free until " + v.Clock(to)
	}
	return gap{X: d.percent(from), Width: d.width(from, to), Address: v.panel.base + "/book?" + q.Encode(), Says: says}
}

// A band is a day that is shaded.
type band struct{ X, Width string }

// weekends returns the Saturdays and Sundays of a window. Days are those of the zone, of 23 to 25 hours.
func weekends(from, to time.Time) (all []band) {
	for day := midnight(from); day.Before(to); day = day.AddDate(0, 0, 1) {
		if day.Weekday() != time.Saturday && day.Weekday() != time.Sunday {
			continue
		}
		begins, ends := clamp(day, from, to), clamp(day.AddDate(0, 0, 1), from, to)
		all = append(all, band{percent(begins.Sub(from), to.Sub(from)), percent(ends.Sub(begins), to.Sub(from))})
	}
	return all
}
