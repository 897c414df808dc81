package booking

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"activationd/activation"
	"activationd/activation/announce"
	"activationd/internal/fault"
	"activationd/reservation"
)

// Rules say who may book what.
type Rules struct {
	// Submitters reports whether clients below operators may book for themselves, and Topologies
	// whether they may book with a topology.
	Submitters, Topologies bool
	Devices                []string // patterns of the devices that can be booked, as of [path.Match]
	Variables              []string // that a booking may set
	Max                    time.Duration
	Quota                  Quota
	Owners                 map[string]Quota // of those for whom Quota does not hold

	Lead, Tail time.Duration
	Missed     string
}

// quotaOf returns the quota of an owner.
func (r *Rules) quotaOf(owner string) Quota {
	if q, ok := r.Owners[owner]; ok {
		return q
	}
	return r.Quota
}

// A Desk books. Its methods may be called from any goroutine.
type Desk struct {
	engine *activation.Engine
	nodes  func(topology string) ([]string, error)
	rules  atomic.Pointer[Rules]
}

// New returns a desk where nothing can be booked until [Desk.Configure] is called. Nodes
// returns the names of a topology's nodes, as in [activation.Parts].
func New(e *activation.Engine, nodes func(topology string) ([]string, error)) *Desk {
	return &Desk{engine: e, nodes: nodes}
}

// Configure puts rules in force; nil: nothing can be booked. What is booked already stays.
func (d *Desk) Configure(rules *Rules) { d.rules.Store(rules) }

// Lead returns how long before their slots bookings are activated, and whether there can be any.
func (d *Desk) Lead() (lead time.Duration, on bool) {
	if rules := d.rules.Load(); rules != nil {
		return rules.Lead, true
	}
	return 0, false
}

// Bookable reports whether a device can be booked; all can if nothing can be booked at all.
func (d *Desk) Bookable(device string) bool {
	rules := d.rules.Load()
	return rules == nil || rules.opens(device)
}

// inForce returns the rules, if by may book for an owner by them.
func (d *Desk) inForce(by activation.Actor, owner string, uid int) (*Rules, error) {
	rules := d.rules.Load()
	switch {
	case rules == nil:
		return nil, fmt.Errorf("nothing can be booked at this daemon: its configuration has no key booking: %w", fault.Conflict)
	case d.engine.Draining():
		return nil, fmt.Errorf("the daemon is being drained and takes no new work: %w", fault.Unavailable)
	case by.NoJobs && uid < 0 && owner == by.Name:
		return nil, fmt.Errorf("owner: the booking would have none, as the client is known by its address only: name one: %w", fault.Invalid)
	case !by.OnlyOwn:
		return rules, nil
	case !rules.Submitters:
		return nil, fmt.Errorf("booking needs the role operator, and %s is %s; booking.role in the configuration can allow it: %w", by.Name, by.Role, fault.Denied)
	case owner != by.Name || uid != by.UID:
		return nil, fmt.Errorf("only operators can book for others, and %s is %s: %w", by.Name, by.Role, fault.Denied)
	case by.NoJobs:
		return nil, fmt.Errorf("the booking would have no owner: use the Unix socket, or give a token: %w", fault.Denied)
	}
	return rules, nil
}

// A Request asks for a booking.
type Request struct {
	Owner     string
	UID       int // the owner's user id; -1: none
	From, To  time.Time
	Devices   []string // none: the nodes of the topology
	Topology  string   // the text; empty: none
	Label     string
	Env       map[string]string
	Key       string // not empty: the request is not booked again while its booking is not over
	OverQuota bool   // the owner may exceed its quota; for operators
}

// minSlot is the length of the shortest slot. Slots begin and end with whole seconds.
const minSlot = time.Minute

// maxKey is the length in bytes of the longest key.
const maxKey = 128

// Add books. If the owner has an unfinished booking with the same key already, Add returns that
// and known. The error is of kind fault.Conflict if somebody else has a device in that slot, or
// if the quota is exceeded.
func (d *Desk) Add(ctx context.Context, by activation.Actor, req Request) (r *activation.Record, known bool, err error) {
	req.From, req.To = req.From.Truncate(time.Second), req.To.Truncate(time.Second)
	rules, err := d.inForce(by, req.Owner, req.UID)
	if err != nil {
		return nil, false, err
	}
	if err := rules.allow(by, &req); err != nil {
		return nil, false, err
	}
	var nodes []string
	if req.Topology != "" {
		if nodes, err = d.nodes(req.Topology); err != nil {
			return nil, false, fmt.Errorf("topology: %w", err)
		}
	}
	err = d.engine.UpdateBy(ctx, by, func(t *activation.Txn) error {
		known = false
		if req.Key != "" {
			if id := t.BookedAs(req.Owner, req.Key); id != "" {
				known = true
				r, err = t.Booking(id)
				return err
			}
		}
		id, err := t.NextBooking()
		if err != nil {
			return err
		}
		from, now := req.From, t.Now.Truncate(time.Second)
		if from.Before(now) && !from.Before(now.Add(-activation.MissedAfter)) {
			from = now
		}
		a, err := rules.announcement(now, id, from, &req)
		if err != nil {
			return err
		}
		a.Nodes, a.Action = nodes, "book add"
		r, err = rules.put(t, new(activation.Record), a, req.OverQuota)
		return err
	})
	if err != nil {
		return nil, false, err
	}
	return r, known, nil
}

// allow refuses what by may not request.
func (r *Rules) allow(by activation.Actor, req *Request) error {
	switch {
	case by.OnlyOwn && req.OverQuota:
		return fmt.Errorf("only operators can exceed a quota: %w", fault.Denied)
	case by.OnlyOwn && req.Topology != "" && !r.Topologies:
		return fmt.Errorf("booking with a topology needs the role operator, as a topology configures devices: %w", fault.Denied)
	case len(req.Key) > maxKey:
		return fmt.Errorf("key: has %d bytes, more than %d: %w", len(req.Key), maxKey, fault.Invalid)
	case len(req.Devices) == 0 && req.Topology == "":
		return fmt.Errorf("devices: name at least one, or give a topology: %w", fault.Invalid)
	case tooShort(req.From, req.To):
		return errShort(req.From, req.To)
	}
	for _, name := range slices.Sorted(maps.Keys(req.Env)) {
		if !slices.Contains(r.Variables, name) {
			return fmt.Errorf("env: %s cannot be set by a booking; %s: %w", name, r.settable(), fault.Denied)
		}
	}
	return nil
}

// tooShort reports whether nobody can book a slot.
func tooShort(from, to time.Time) bool { return !to.Before(from) && to.Sub(from) < minSlot }

func errShort(from, to time.Time) error {
	return fmt.Errorf("a slot lasts at least %s, and this is %s: %w", hours(minSlot), hours(to.Sub(from)), fault.Invalid)
}

func (r *Rules) settable() string {
	if len(r.Variables) == 0 {
		return "booking.variables in the configuration lists none"
	}
	return "those in booking.variables of the configuration can: " + strings.Join(r.Variables, ", ")
}

// announcement makes the announcement of a new booking.
func (r *Rules) announcement(now time.Time, id string, from time.Time, req *Request) (*activation.Announcement, error) {
	res := reservation.Reservation{
		ID: id, Owner: req.Owner, Start: from, End: req.To, Devices: req.Devices, Topology: req.Topology,
		Label: req.Label, Lead: &r.Lead, Tail: &r.Tail, Missed: r.Missed, Env: req.Env,
	}
	if req.Topology != "" {
		res.TopologyName = "inline"
	}
	if err := sound(&res, now); err != nil {
		return nil, err
	}
	hash := res.Hash()
	a := announce.Announcement(&res, hash[:], activation.BookingSource, 0)
	a.Booked = &activation.Booked{UID: req.UID, Devices: res.Devices, Key: req.Key}
	return &a, nil
}

// sound checks what can be wrong with a booking, whoever requests it.
func sound(res *reservation.Reservation, now time.Time) error {
	if err := reservation.Validate(res); err != nil {
		return err
	}
	switch {
	case res.Start.Before(now):
		return fmt.Errorf("from: %s is in the past; without from, the slot begins now: %w", clock(res.Start), fault.Invalid)
	case !res.End.After(now):
		return fmt.Errorf("to: %s is in the past: %w", clock(res.End), fault.Invalid)
	}
	return nil
}

// put announces a booking, and then looks whether it can be: an error undoes the whole
// transaction. Was is the record before, which is empty for a new booking: what was booked already
// is not refused.
func (r *Rules) put(t *activation.Txn, was *activation.Record, a *activation.Announcement, overQuota bool) (*activation.Record, error) {
	if _, err := t.Announce(a); err != nil {
		return nil, err
	}
	is, err := t.Record(a.ID)
	if err != nil {
		return nil, err
	}
	if err := r.bookable(was, is); err != nil {
		return nil, err
	}
	if err := free(t, was, is); err != nil {
		return nil, err
	}
	if overQuota {
		return is, nil
	}
	others, err := t.BookedParts(is.Owner, weekOf(is.Start, time.Local))
	if err != nil {
		return nil, err
	}
	others = slices.DeleteFunc(others, func(p Part) bool { return p.ID == is.ID })
	return is, r.quotaOf(is.Owner).check(is.Owner, was.BookedPart(), is.BookedPart(), others, t.Now, time.Local)
}

// bookable checks the devices and the length of a slot.
func (r *Rules) bookable(was, is *activation.Record) error {
	if len(is.Devices) == 0 {
		return fmt.Errorf("topology: has no nodes to book; name the devices: %w", fault.Invalid)
	}
	for _, dev := range is.Devices {
		if slices.Contains(was.Devices, dev) {
			continue
		}
		if !r.opens(dev) {
			return fmt.Errorf("devices: %s cannot be booked; these can: %s: %w", dev, few(r.Devices, ", "), fault.Invalid)
		}
	}
	length, before := is.End.Sub(is.Start), was.End.Sub(was.Start)
	if r.Max > 0 && length > r.Max && length > before {
		return fmt.Errorf("a slot can last at most %s, and this is %s: %w", hours(r.Max), hours(length), fault.Invalid)
	}
	return nil
}

// opens reports whether the rules let a device be booked.
func (r *Rules) opens(device string) bool {
	return slices.ContainsFunc(r.Devices, func(pattern string) bool {
		ok, err := path.Match(pattern, device)
		return ok && err == nil
	})
}

// A Condition is met by a booking unless it returns an error, which refuses the change.
type Condition func(*activation.Record) error

// own returns a booking that by may change, if it meets all conditions.
func own(t *activation.Txn, by activation.Actor, id string, only ...Condition) (*activation.Record, error) {
	r, err := t.Booking(id)
	if err != nil {
		return nil, err
	}
	if by.OnlyOwn && !r.BookedFor(by) {
		return nil, fmt.Errorf("%s belongs to %s, not to %s: %w", id, r.Owner, by.Name, fault.Denied)
	}
	for _, met := range only {
		if err := met(r); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// A Change says how a booking is to be changed. What is zero stays.
type Change struct {
	From, To  time.Time
	By        time.Duration // later than it ends now
	Devices   []string
	Label     *string
	OverQuota bool
	Action    string // of the act
	Longer    bool   // it must end later than before
	Only      []Condition
}

// Change changes a booking. The error is of kind fault.Conflict if it is over or has begun, so
// that this cannot be changed any more, or as of Add.
func (d *Desk) Change(ctx context.Context, by activation.Actor, id string, c Change) (r *activation.Record, err error) {
	err = d.engine.UpdateBy(ctx, by, func(t *activation.Txn) error {
		old, err := own(t, by, id, c.Only...)
		if err != nil {
			return err
		}
		rules, err := d.inForce(by, old.Owner, by.UID)
		if err != nil {
			return err
		}
		if by.OnlyOwn && c.OverQuota {
			return fmt.Errorf("only operators can exceed a quota: %w", fault.Denied)
		}
		a, err := c.announcement(t, old)
		if err != nil {
			return err
		}
		r, err = rules.put(t, old, a, c.OverQuota)
		return err
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// announcement makes the announcement of a changed booking.
func (c *Change) announcement(t *activation.Txn, old *activation.Record) (*activation.Announcement, error) {
	begun := old.NeedsUndo || !slices.Contains([]activation.State{activation.Scheduled, activation.Held, activation.Waiting}, old.State)
	switch {
	case old.State == activation.Finished:
		return nil, fmt.Errorf("%s is over (%s); book again: %w", old.ID, old.Outcome, fault.Conflict)
	case old.State == activation.Deactivating || old.State == activation.Stuck || old.PendingOutcome != "":
		return nil, fmt.Errorf("%s is being deactivated and cannot be changed any more; book again: %w", old.ID, fault.Conflict)
	case begun && (!c.From.IsZero() || c.Devices != nil):
		return nil, fmt.Errorf("%s has begun, so only its end and its label can be changed: %w", old.ID, fault.Conflict)
	}
	a, nodes := t.Reannounce(old)
	a.Nodes, a.Action, a.Generation = nodes, c.Action, 0
	if !c.From.IsZero() {
		a.Start = c.From
		if c.To.IsZero() && c.By == 0 {
			a.End = a.Start.Add(old.End.Sub(old.Start)) // it is moved
		}
	}
	if !c.To.IsZero() {
		a.End = c.To
	}
	a.End = a.End.Add(c.By)
	if !a.Start.Equal(old.Start) {
		a.Start = a.Start.Truncate(time.Second)
	}
	if !a.End.Equal(old.End) {
		a.End = a.End.Truncate(time.Second)
	}
	if c.Longer && !a.End.After(old.End) {
		return nil, fmt.Errorf("to: %s is not after the end, which is %s; to shorten a booking: atctl book edit %s --to: %w",
			clock(a.End), clock(old.End), old.ID, fault.Invalid)
	}
	if c.Devices != nil {
		booked := activation.Booked{UID: -1}
		if a.Booked != nil {
			booked = *a.Booked
		}
		a.Devices = slices.Compact(slices.Sorted(slices.Values(c.Devices)))
		booked.Devices = a.Devices
		a.Booked = &booked
	}
	if c.Label != nil {
		a.Order.Label = *c.Label
	}
	res := reservation.Reservation{
		ID: a.ID, Owner: a.Order.Owner, Start: a.Start, End: a.End, Devices: a.Devices, Label: a.Order.Label,
		Lead: &a.Lead, Tail: &a.Tail, Missed: a.Order.Missed,
	}
	now := t.Now.Truncate(time.Second)
	if c.From.IsZero() {
		now = earlier(now, old.Start)
	}
	if err := sound(&res, now); err != nil {
		return nil, err
	}
	if !a.End.After(t.Now) {
		return nil, fmt.Errorf("to: %s is in the past; to end it now: atctl book end %s: %w", clock(a.End), old.ID, fault.Invalid)
	}
	if tooShort(a.Start, a.End) && a.End.Sub(a.Start) < old.End.Sub(old.Start) {
		return nil, errShort(a.Start, a.End)
	}
	hash := res.Hash()
	a.Hash = hash[:]
	return a, nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// End ends a booking: it is deactivated now if it is active, and otherwise cancelled.
func (d *Desk) End(ctx context.Context, by activation.Actor, id string, only ...Condition) (r *activation.Record, err error) {
	err = d.engine.UpdateBy(ctx, by, func(t *activation.Txn) error {
		if r, err = own(t, by, id, only...); err != nil {
			return err
		}
		if r.State == activation.Finished {
			return fmt.Errorf("%s is over (%s): %w", id, r.Outcome, fault.Conflict)
		}
		return t.EndBooking(r, "ended by "+by.Name)
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// List returns the bookings, the earliest first: those of an owner, unless it is empty, and also
// those that are over if all is set.
func (d *Desk) List(ctx context.Context, owner string, all bool) (rs []*activation.Record, err error) {
	err = d.engine.View(ctx, func(t *activation.Txn) error {
		rs = nil
		for id, live := range t.Bookings() {
			if !live && !all {
				continue
			}
			r, err := t.Record(id)
			if errors.Is(err, fault.NotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if owner == "" || r.Owner == owner {
				rs = append(rs, r)
			}
		}
		return nil
	})
	slices.SortStableFunc(rs, func(a, b *activation.Record) int { return a.Start.Compare(b.Start) })
	return rs, err
}
