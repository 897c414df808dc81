package announce

import (
	"fmt"
	"time"

	"activationd/reservation"
)

// A Source is a source of reservations, with the defaults for them.
type Source struct {
	reservation.Source
	Lead, Tail time.Duration
	Missed     string
	Priority   int // of its reservations, where they conflict with those of other sources
}

// fill sets the fields that a reservation leaves open. So a changed default counts as a
// change of the reservation.
func (s *Source) fill(r *reservation.Reservation) {
	if r.Lead == nil {
		r.Lead = &s.Lead
	}
	if r.Tail == nil {
		r.Tail = &s.Tail
	}
	if r.Missed == "" {
		r.Missed = s.Missed
	}
	r.Priority = s.Priority
}

// fingerprint returns the fingerprint of the source together with that of its defaults. The
// word "over" has every source read again that was last read by a version that did not
// remember the reservations that it passed over.
func (s *Source) fingerprint(read string) string {
	text := fmt.Sprintf("%s over %d %d %s", read, s.Lead, s.Tail, s.Missed)
	if s.Priority != 0 {
		text += fmt.Sprintf(" priority %d", s.Priority)
	}
	return text
}

// Settle fills the reservations of the source. It rejects a reservation whose slot is too
// short for the defaults.
func (s *Source) Settle(set *reservation.Set) {
	sound := set.Reservations[:0]
	for _, r := range set.Reservations {
		s.fill(&r)
		if *r.Tail >= r.End.Sub(r.Start) {
			set.Rejects = append(set.Rejects, reservation.Reject{Where: r.Where, ID: r.ID, Text: fmt.Sprintf(
				"tail: the default of %v is not shorter than the slot; set its own tail", *r.Tail)})
			continue
		}
		sound = append(sound, r)
	}
	set.Reservations = sound
}

// A goneSource stands for a source that is no longer configured. It is never read.
type goneSource struct {
	reservation.Source
	name string
}

// Name is the name of the former source.
func (g goneSource) Name() string { return g.name }
