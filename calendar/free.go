package calendar

import (
	"cmp"
	"slices"
	"time"
)

// A Span is a part of time: From is in it, and To is not. The zero To is open: it has no end.
type Span struct{ From, To time.Time }

// A Need is some of several devices.
type Need struct {
	Devices []string
	N       int // how many of them; 0: all
}

// A Slot is a time in which devices are free together.
type Slot struct {
	From, To time.Time // as long as all of them are free
	Devices  []string  // in the order of the needs
}

// Free returns the first n slots between from and to in which all needs are met for at least
// d; 0: all of them. Busy has the spans in which each device is not free, in any order.
//
// Each slot begins later than the one before it, and lasts longer: there is none that begins
// no later and ends no earlier. If a need leaves a choice, a slot has the devices that are
// free longest, and of those that are free equally long the first. A device that several
// needs have in common may be chosen for each of them.
func Free(busy map[string][]Span, needs []Need, d time.Duration, from, to time.Time, n int) []Slot {
	var lists [][]*vacancies
	var starts []time.Time
	known := make(map[string]*vacancies)
	for _, need := range needs {
		var list []*vacancies
		for _, device := range need.Devices {
			v := known[device]
			if v == nil {
				v = &vacancies{device: device, spans: gaps(busy[device], from, to)}
				known[device] = v
				for _, s := range v.spans {
					if s.To.Sub(s.From) >= d {
						starts = append(starts, s.From)
					}
				}
			}
			list = append(list, v)
		}
		lists = append(lists, list)
	}
	slices.SortFunc(starts, time.Time.Compare)
	starts = slices.CompactFunc(starts, time.Time.Equal)

	var slots []Slot
	var last time.Time // the end of the newest slot
	for _, at := range starts {
		slot := Slot{From: at, To: to}
		for i, need := range needs {
			chosen := longest(lists[i], cmp.Or(need.N, len(need.Devices)), at)
			if chosen == nil {
				slot.To = at
				break
			}
			for _, v := range chosen {
				slot.Devices = append(slot.Devices, v.device)
				if end := v.until(at); end.Before(slot.To) {
					slot.To = end
				}
			}
		}
		if slot.To.Sub(at) < d || !slot.To.After(last) || !slot.To.After(at) {
			continue
		}
		last = slot.To
		if slots = append(slots, slot); len(slots) == n {
			break
		}
	}
	return slots
}

// vacancies are when a device is free.
type vacancies struct {
	device string
	spans  []Span // in order, with something between them
}

// until returns until when the device is free without a break from at on; at itself if it is
// not free then. The calls are in the order of time: what is over is dropped.
func (v *vacancies) until(at time.Time) time.Time {
	for len(v.spans) > 0 && !v.spans[0].To.After(at) {
		v.spans = v.spans[1:]
	}
	if len(v.spans) == 0 || v.spans[0].From.After(at) {
		return at
	}
	return v.spans[0].To
}

// longest returns the n of all that are free longest from at on, in their order; nil if fewer
// are free.
func longest(all []*vacancies, n int, at time.Time) []*vacancies {
	var free []*vacancies
	for _, v := range all {
		if v.until(at).After(at) {
			free = append(free, v)
		}
	}
	if len(free) < n {
		return nil
	}
	byEnd := slices.SortedStableFunc(slices.Values(free), func(a, b *vacancies) int { return b.until(at).Compare(a.until(at)) })
	return slices.DeleteFunc(free, func(v *vacancies) bool { return !slices.Contains(byEnd[:n], v) })
}

// gaps returns what the spans leave of the time between from and to.
func gaps(busy []Span, from, to time.Time) (free []Span) {
	busy = slices.SortedFunc(slices.Values(busy), func(a, b Span) int { return a.From.Compare(b.From) })
	for _, b := range busy {
		if !b.From.Before(to) {
			break
		}
		if !b.To.IsZero() && !b.To.After(b.From) {
			continue // it is empty
		}
		if b.From.After(from) {
			free = append(free, Span{From: from, To: b.From})
		}
		if b.To.IsZero() {
			return free
		}
		if b.To.After(from) {
			from = b.To
		}
	}
	if from.Before(to) {
		free = append(free, Span{From: from, To: to})
	}
	return free
}
