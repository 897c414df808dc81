package activation

import (
	"encoding/json"
	"fmt"
	"iter"
	"net/url"
	"strings"
	"time"

	"activationd/event"
	"activationd/internal/fault"
)

// BookingSource is the source of the reservations that are booked at the daemon itself. They
// are nowhere but in the store, so no load reads, counts or withdraws them; see package
// booking.
const BookingSource = "book"

// A Booked is what only a booking has.
type Booked struct {
	// UID is the user whose booking it is; -1: its owner is no user of this machine.
	UID int `json:"uid"`
	// Devices are those that were asked for; none: the nodes of the topology.
	Devices []string `json:"devices,omitempty"`
	// Key is the client's name for the request, under which it is not booked again.
	Key string `json:"key,omitempty"`
}

// A BookedPart is what a booking takes of its owner's quota: so many devices in its slot, or
// in the part of it that was used.
type BookedPart struct {
	ID       string    `json:"-"`
	From, To time.Time // half-open; both zero: nothing
	Devices  int
}

// BookedPart returns what r takes of its owner's quota, if it is a booking. A booking that is
// over takes the time until then, and nothing if none of its scripts has run.
func (r *Record) BookedPart() BookedPart {
	p := BookedPart{ID: r.ID, From: r.Start.UTC(), To: r.End.UTC(), Devices: len(r.Devices)}
	if r.State == Finished {
		if ended := r.Ended(); ended.Before(p.To) {
			p.To = ended.UTC()
		}
		if !r.mayHaveRun() || !p.From.Before(p.To) {
			p.From, p.To = time.Time{}, time.Time{}
		}
	}
	return p
}

// BookedFor reports whether a booking is a's own, so that a may change it. Neither the name
// nor the user id is enough alone; see [Actor].
func (r *Record) BookedFor(a Actor) bool {
	return r.Source == BookingSource && r.Owner == a.Name && !a.NoJobs && (r.Booked == nil || r.Booked.UID == a.UID)
}

// bookingKept is how long a booking is known after its end, whatever the limits of the history:
// at least until the end of the calendar week, in which it counts for its owner's quota.
const bookingKept = 8 * 24 * time.Hour

// bookingEntries returns the index entries of a booking.
func (r *Record) bookingEntries() (es []entry) {
	if p := r.BookedPart(); !p.From.IsZero() {
		if data, err := json.Marshal(p); err == nil { // always: there are only times and a number
			es = append(es, entry{bookingsOf(r.Owner) + Instant(p.To) + "/" + r.ID, data})
		}
	}
	if r.Booked != nil && r.Booked.Key != "" && r.State != Finished {
		es = append(es, entry{bookedAs(r.Owner, r.Booked.Key) + r.ID, []byte{}})
	}
	return es
}

func bookingsOf(owner string) string { return bookingKey + url.PathEscape(owner) + "/" }

func bookedAs(owner, key string) string {
	return requestKey + url.PathEscape(owner) + "/" + url.PathEscape(key) + "/"
}

// BookedParts returns what the bookings of an owner take of its quota, except those that ended
// before since, in the order of their ends.
func (t *Txn) BookedParts(owner string, since time.Time) (all []BookedPart, err error) {
	prefix := bookingsOf(owner)
	for k, v := range t.Scan(prefix, prefix+Instant(since)) {
		_, id, err := parseInstant(strings.TrimPrefix(k, prefix))
		if err != nil {
			return nil, err
		}
		p := BookedPart{ID: id}
		if err := json.Unmarshal(v, &p); err != nil {
			return nil, fmt.Errorf("index of bookings, %s: %w", k, err)
		}
		all = append(all, p)
	}
	return all, nil
}

// BookedAs returns the id of the unfinished booking that an owner made with a key; empty: there
// is none.
func (t *Txn) BookedAs(owner, key string) string {
	prefix := bookedAs(owner, key)
	for k := range t.Scan(prefix, "") {
		return strings.TrimPrefix(k, prefix)
	}
	return ""
}

// NextBooking returns the id of the next booking.
func (t *Txn) NextBooking() (string, error) {
	for {
		n, err := count(t, bookingNumber)
		if err != nil {
			return "", err
		}
		id := fmt.Sprintf("%d@%s", n, BookingSource)
		if t.Get(key(id)) == nil { // a source may have announced one with that id
			return id, nil
		}
	}
}

// Bookings returns the ids of all bookings that are known, and whether each is live.
func (t *Txn) Bookings() iter.Seq2[string, bool] {
	return func(yield func(string, bool) bool) {
		prefix := sourceKey + BookingSource + "/"
		for k, v := range t.Scan(prefix, "") {
			if _, live := parseMark(v); !yield(strings.TrimPrefix(k, prefix), live) {
				return
			}
		}
	}
}

// EndBooking ends a booking: one that is active has its slot end now, so it is deactivated; any
// other is cancelled. The error is of kind fault.Conflict if it is over, or is being
// deactivated.
func (t *Txn) EndBooking(r *Record, why string) error {
	const action = "book end"
	old := r.clone()
	if r.State == Active && t.Now.After(r.Start) && r.PendingOutcome == "" {
		r.End = t.Now
		if r.Tail >= r.End.Sub(r.Start) {
			r.Tail = 0
		}
		t.happened(r, "changed", event.Event{Action: action, Reason: why, Changes: changesOf(old, r)})
	} else if err := t.apply(r, Cancel, why, action); err != nil {
		return err
	}
	t.Later(r.ID)
	return t.Save(old, r)
}

// Booking returns the record of a booking. The error is of kind fault.NotFound if there is no
// such activation, and fault.Conflict if it is no booking.
func (t *Txn) Booking(id string) (*Record, error) {
	r, err := t.Record(id)
	if err == nil && r.Source != BookingSource {
		return nil, fmt.Errorf("%s was not booked at this daemon: change it where it was: %w", id, fault.Conflict)
	}
	return r, err
}

// stillFree returns an error of kind fault.Conflict if r is a booking that is over, and somebody
// else has got one of its devices: bookings displace nobody.
func (t *Txn) stillFree(r *Record) error {
	if r.Source != BookingSource {
		return nil
	}
	from := r.activateAt()
	if from.Before(t.Now) {
		from = t.Now
	}
	for _, dev := range r.Devices {
		for _, u := range t.UsesOf(dev, from, r.End) {
			if u.ID != r.ID {
				return fmt.Errorf("%s cannot have its slot again: %s has %s from %s to %s: %w", r.ID, u.ID, dev, TimeText(u.From), TimeText(u.To), fault.Conflict)
			}
		}
	}
	return nil
}

// Reannounce returns the announcement of a booking as it is now, and the nodes of its topology.
func (t *Txn) Reannounce(r *Record) (a *Announcement, nodes []string) {
	a = &Announcement{ID: r.ID, Start: r.Start, Slot: r.Slot, Order: r.Order, Topology: string(t.topology(r.ID, "source"))}
	a.Linked = false
	if r.Booked != nil {
		a.Devices = r.Booked.Devices
	}
	if a.Topology == "" {
		a.TopologyName = ""
	}
	return a, t.nodesOf(r, "source")
}
