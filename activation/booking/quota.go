package booking

import (
	"context"
	"fmt"
	"strings"
	"time"

	"activationd/activation"
	"activationd/internal/fault"
)

// A Quota bounds what one owner can book. 0 is no bound.
type Quota struct {
	PerWeek   time.Duration // the slots, each as long as it is, whatever the number of its devices; in one calendar week
	Devices   int           // at once
	DaysAhead int           // from now to the start of a slot
}

// A Part is what a booking takes of its owner's quota.
type Part = activation.BookedPart

// check returns an error of kind fault.Conflict if the owner's other bookings leave no room for
// is, which replaces was. What was booked already is not refused: a quota that was lowered
// since does not keep an owner from giving back a part. Weeks are those of loc.
func (q Quota) check(owner string, was, is Part, others []Part, now time.Time, loc *time.Location) error {
	var faults []string
	for _, f := range []string{q.ahead(was, is, now, loc), q.atOnce(was, is, others), q.perWeek(was, is, others, loc)} {
		if f != "" {
			faults = append(faults, f)
		}
	}
	if faults == nil {
		return nil
	}
	return fmt.Errorf("the quota of %s: %s: %w", owner, strings.Join(faults, "; "), fault.Conflict)
}

// ahead says that the slot begins too far ahead; empty: it does not.
func (q Quota) ahead(was, is Part, now time.Time, loc *time.Location) string {
	latest := now.In(loc).AddDate(0, 0, q.DaysAhead)
	if q.DaysAhead == 0 || !is.From.After(latest) || !was.From.IsZero() && !is.From.After(was.From) {
		return ""
	}
	return fmt.Sprintf("days ahead: at most %d, so a slot must begin until %s", q.DaysAhead, clock(latest))
}

// atOnce says that the owner would have too many devices at the same moment; empty: it would
// not.
func (q Quota) atOnce(was, is Part, others []Part) string {
	if q.Devices == 0 || is.Devices <= was.Devices && !is.From.Before(was.From) && !is.To.After(was.To) {
		return ""
	}
	most, at := 0, is.From
	for _, at2 := range starts(is, others) {
		n := 0
		for _, o := range others {
			if !o.From.After(at2) && o.To.After(at2) {
				n += o.Devices
			}
		}
		if n > most {
			most, at = n, at2
		}
	}
	if most+is.Devices <= q.Devices {
		return ""
	}
	return fmt.Sprintf("devices at once: at most %d (already booked at %s: %d, still possible: %d, wanted: %d)",
		q.Devices, clock(at), most, max(0, q.Devices-most), is.Devices)
}

// starts returns the moments in a slot at which the number of devices of others can be
// greatest.
func starts(is Part, others []Part) []time.Time {
	at := []time.Time{is.From}
	for _, o := range others {
		if o.From.After(is.From) && o.From.Before(is.To) {
			at = append(at, o.From)
		}
	}
	return at
}

// perWeek says in which week the owner would have too many hours; empty: in none.
func (q Quota) perWeek(was, is Part, others []Part, loc *time.Location) string {
	if q.PerWeek == 0 {
		return ""
	}
	for week := weekOf(is.From, loc); week.Before(is.To); week = week.AddDate(0, 0, 7) {
		next := week.AddDate(0, 0, 7)
		wants := overlap(is, week, next)
		if wants <= overlap(was, week, next) {
			continue
		}
		var used time.Duration
		for _, o := range others {
			used += overlap(o, week, next)
		}
		if used+wants > q.PerWeek {
			return fmt.Sprintf("hours in a week: at most %s (already booked in the week from Monday %s: %s, still possible: %s, wanted: %s)",
				hours(q.PerWeek), week.Format(time.DateOnly), hours(used), hours(max(0, q.PerWeek-used)), hours(wants))
		}
	}
	return ""
}

// A Standing is what an owner can book, and has booked.
type Standing struct {
	Rules *Rules
	Quota Quota
	Weeks []Week // the present one, and later ones in which there are bookings
	Now   int    // how many devices the owner has booked for this moment
	// Refused says why the client can book nothing for the owner; nil: it can.
	Refused error
}

// A Week is how much of a calendar week is booked.
type Week struct {
	Begins time.Time
	Booked time.Duration
}

// Standing returns what an owner can book, if by asks for it, and has booked. The error is of kind
// fault.Conflict if nothing can be booked at all.
func (d *Desk) Standing(ctx context.Context, by activation.Actor, owner string, uid int) (s Standing, err error) {
	_, s.Refused = d.inForce(by, owner, uid)
	if s.Rules = d.rules.Load(); s.Rules == nil {
		return s, s.Refused
	}
	s.Quota = s.Rules.quotaOf(owner)
	err = d.engine.View(ctx, func(t *activation.Txn) error {
		week := weekOf(t.Now, time.Local)
		parts, err := t.BookedParts(owner, week)
		s.Weeks, s.Now = weeksOf(parts, week), 0
		for _, p := range parts {
			if !p.From.After(t.Now) && p.To.After(t.Now) {
				s.Now += p.Devices
			}
		}
		return err
	})
	return s, err
}

// weeksOf returns how much of a week is booked, and of later ones in which something is.
func weeksOf(parts []Part, week time.Time) (all []Week) {
	var last time.Time
	for _, p := range parts {
		if p.To.After(last) {
			last = p.To
		}
	}
	for first := true; first || week.Before(last); first = false {
		next := week.AddDate(0, 0, 7)
		w := Week{Begins: week}
		for _, p := range parts {
			w.Booked += overlap(p, week, next)
		}
		if first || w.Booked > 0 {
			all = append(all, w)
		}
		week = next
	}
	return all
}

// weekOf returns the beginning of the calendar week of t, which is a Monday.
func weekOf(t time.Time, loc *time.Location) time.Time {
	t = t.In(loc)
	monday := t.Day() - (int(t.Weekday())+6)%7
	return time.Date(t.Year(), t.Month(), monday, 0, 0, 0, 0, loc)
}

// overlap returns how much of a slot is within a time.
func overlap(p Part, from, to time.Time) time.Duration {
	if p.From.After(from) {
		from = p.From
	}
	if p.To.Before(to) {
		to = p.To
	}
	return max(0, to.Sub(from))
}

// hours returns a duration without parts that are 0.
func hours(d time.Duration) string {
	text := d.Round(time.Second).String()
	if h, ok := strings.CutSuffix(text, "h0m0s"); ok {
		return h + "h"
	}
	if m, ok := strings.CutSuffix(text, "m0s"); ok {
		return m + "m"
	}
	return text
}

func clock(t time.Time) string { return activation.TimeText(t) }
