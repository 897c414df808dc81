package booking

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"activationd/activation"
	"activationd/calendar"
	"activationd/internal/fault"
)

// free returns an error of kind fault.Conflict if somebody else has a device of a booking in its
// slot or in the time before it in which it is activated, or if a device is paused then at first. It does not look again at what was
// booked already: a reservation of a higher priority may have got it since.
func free(t *activation.Txn, was, is *activation.Record) error {
	from, to := is.Start.Add(-is.Lead), is.End
	less := !from.Before(was.Start.Add(-was.Lead)) && !to.After(was.End)
	if from.Before(t.Now) {
		from = t.Now
	}
	var taken []string
	for _, dev := range is.Devices {
		if less && slices.Contains(was.Devices, dev) {
			continue
		}
		if text := use(t, is.ID, dev, from, to); text != "" {
			taken = append(taken, text)
			continue
		}
		if is.Start.Equal(was.Start) && slices.Contains(was.Devices, dev) { // it only ends at another time
			continue
		}
		if p := t.PauseOfDevice(dev); p != nil && (p.Until.IsZero() || p.Until.After(from)) {
			taken = append(taken, fmt.Sprintf("the slot cannot begin with %s; to end the pause: %s", p, p.WayOut()))
		}
	}
	if taken == nil {
		return nil
	}
	text := few(taken, "; ")
	if !is.Start.Equal(was.Start) {
		if at := nextFree(t, is, from); !at.IsZero() {
			text += fmt.Sprintf("; all of it is free for %s from %s on", hours(is.End.Sub(is.Start)), clock(at))
		}
	}
	return fmt.Errorf("%s: %w", text, fault.Conflict)
}

// use says which reservation other than id has a device at a time; empty: none has. One that is
// stuck has its device also after its slot, and nobody knows how long.
func use(t *activation.Txn, id, dev string, from, to time.Time) string {
	for _, u := range t.UsesOf(dev, time.Time{}, to) {
		switch {
		case u.ID == id:
		case u.To.After(from):
			return fmt.Sprintf("%s has %s from %s to %s", whose(t, u.ID), dev, clock(u.From), clock(u.To))
		case u.Holds && from.Equal(t.Now):
			if r, err := t.Record(u.ID); err == nil && r.State == activation.Stuck {
				return fmt.Sprintf("%s still has %s, because it is stuck", whose(t, u.ID), dev)
			}
		}
	}
	return ""
}

// looksAhead is how far ahead a refusal looks for another slot.
const looksAhead = 31 * 24 * time.Hour

// nextFree returns the next start of a slot of the same length, from a time on, in which all
// devices of a booking are free, by what atctl free says; zero: there is none in the time that is
// looked at. Nobody books seconds, so what is before it ends with a whole minute.
func nextFree(t *activation.Txn, is *activation.Record, from time.Time) time.Time {
	from = minuteUp(from)
	to := from.Add(looksAhead)
	busy := make(map[string][]calendar.Span, len(is.Devices))
	for _, dev := range is.Devices {
		spans, _ := t.Busy(dev, is.ID, from, to)
		for i := range spans {
			if !spans[i].To.IsZero() {
				spans[i].To = minuteUp(spans[i].To)
			}
		}
		busy[dev] = spans
	}
	slots := calendar.Free(busy, []calendar.Need{{Devices: is.Devices}}, is.Lead+is.End.Sub(is.Start), from, to, 1)
	if slots == nil {
		return time.Time{}
	}
	return slots[0].From.Add(is.Lead)
}

// minuteUp returns the first whole minute that is not before a time.
func minuteUp(t time.Time) time.Time { return t.Add(time.Minute - 1).Truncate(time.Minute) }

// whose names a reservation and its owner, as lists do.
func whose(t *activation.Txn, id string) string {
	if r, err := t.Record(id); err == nil && r.Owner != "" {
		return id + " of " + r.Owner
	}
	return id
}

// few lists some of all.
func few(all []string, sep string) string {
	const most = 10
	if len(all) <= most {
		return strings.Join(all, sep)
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:most], sep), len(all)-most)
}
