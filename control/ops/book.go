package ops

import (
	"context"
	"fmt"
	"slices"
	"time"

	"activationd/activation"
	"activationd/activation/booking"
	"activationd/control"
	"activationd/internal/fault"
	"activationd/schedule/timespec"
)

// bookOps returns the operations on bookings. Who may book, the configuration decides.
func (d Daemon) bookOps() []control.Op {
	return []control.Op{
		control.Declare("book add", control.Submitter, "book devices", d.bookAdd).At("POST /bookings").Single().Creates("/activations/{id}"),
		control.Declare("book extend", control.Submitter, "have a booking end later", d.bookExtend).At("POST /bookings/{id}/extend").Single(),
		control.Declare("book edit", control.Submitter, "move a booking, or change its devices", d.bookEdit).At("PATCH /bookings/{id}").Single(),
		control.Declare("book end", control.Submitter, "end a booking: cancel it, or deactivate it now", d.bookEnd).At("POST /bookings/{id}/end").Single(),
		control.Declare("book list", control.Viewer, "list bookings", d.bookList).At("GET /bookings"),
		control.Declare("book quota", control.Viewer, "show what an owner can book, and has booked", d.bookQuota).At("GET /bookings/quota").Single(),
	}
}

func (d Daemon) bookAdd(ctx context.Context, c control.Caller, in control.BookAddIn) (reply control.Reply[control.Booking], err error) {
	now := time.Now()
	req := booking.Request{
		Devices: commas(in.Devices), Topology: in.Topology, Label: in.Label, Key: in.Key, OverQuota: in.OverQuota,
	}
	req.Owner, req.UID = d.bookedFor(c, in.Owner)
	if req.From, req.To, err = slot(in.From, in.To, in.For, now, now); err != nil {
		return reply, err
	}
	if len(in.Env) > 0 {
		req.Env = make(map[string]string, len(in.Env))
	}
	if err := setEnv(req.Env, in.Env); err != nil {
		return reply, err
	}
	r, known, err := d.Bookings.Add(ctx, actor(c), req)
	if err != nil {
		return reply, err
	}
	if reply, err = oneBooking(r); err != nil {
		return reply, err
	}
	reply.Lines[0].Known = known
	reply.Lines[0].Notices, err = d.pausesOf(ctx, r)
	return reply, err
}

// bookedFor returns whose booking it is if a caller names an owner, or none.
func (d Daemon) bookedFor(c control.Caller, owner string) (name string, uid int) {
	if owner == "" || owner == c.Name {
		return c.Name, c.UID
	}
	if uid, ok := d.UserID(owner); ok {
		return owner, uid
	}
	return owner, -1
}

// pausesOf says which pauses of the daemon and of the source book a booking waits for.
func (d Daemon) pausesOf(ctx context.Context, r *activation.Record) (notices []string, err error) {
	all, err := d.Engine.Pauses(ctx)
	for i := range all {
		p := &all[i].Pause
		ours := p.What == activation.PauseDaemon || p.What == activation.PauseSource && p.Name == activation.BookingSource
		if ours && (p.Until.IsZero() || p.Until.After(r.Start.Add(-r.Lead))) {
			notices = append(notices, fmt.Sprintf("%s waits for the end of the pause of %s; to end it: %s", r.ID, p, p.WayOut()))
		}
	}
	return notices, err
}

// slot reads the times of a slot. Without from it begins at start; without to and length, its
// end is the zero time.
func slot(fromText, toText, length string, start, now time.Time) (from, to time.Time, err error) {
	if toText != "" && length != "" {
		return from, to, fmt.Errorf("to and for exclude each other: use one of them: %w", fault.Invalid)
	}
	if from = start; fromText != "" {
		if from, err = timespec.TypedStart(fromText, now, time.Local); err != nil {
			return from, to, fmt.Errorf("from: %w: %w", err, fault.Invalid)
		}
	}
	switch {
	case toText != "":
		if to, err = timespec.TypedEnd(toText, from, now, time.Local); err != nil {
			return from, to, fmt.Errorf("to: %w: %w", err, fault.Invalid)
		}
	case length != "":
		var d time.Duration
		d, err = pause("for", length)
		to = from.Add(d)
	}
	return from, to, err
}

func (d Daemon) bookExtend(ctx context.Context, c control.Caller, in control.BookExtendIn) (reply control.Reply[control.Booking], err error) {
	change := booking.Change{OverQuota: in.OverQuota, Action: "book extend", Longer: true, Only: bookingIs(in.Version)}
	switch {
	case in.By != "" && in.To != "":
		return reply, fmt.Errorf("by and to exclude each other: use one of them: %w", fault.Invalid)
	case in.By != "":
		if change.By, err = pause("by", in.By); err != nil {
			return reply, err
		}
	default:
		if change.To, err = d.endOf(ctx, in.ID, in.To); err != nil {
			return reply, d.notAnID(ctx, "book extend", in.ID, err)
		}
	}
	return d.bookChange(ctx, c, in.ID, change)
}

// endOf reads a new end of a booking.
func (d Daemon) endOf(ctx context.Context, id, text string) (time.Time, error) {
	v, err := d.Engine.Get(ctx, id)
	if err != nil {
		return time.Time{}, err
	}
	_, to, err := slot("", text, "", v.Start, time.Now())
	return to, err
}

func (d Daemon) bookEdit(ctx context.Context, c control.Caller, in control.BookEditIn) (reply control.Reply[control.Booking], err error) {
	v, err := d.Engine.Get(ctx, in.ID)
	if err != nil {
		return reply, d.notAnID(ctx, "book edit", in.ID, err)
	}
	change := booking.Change{OverQuota: in.OverQuota, Action: "book edit", Only: bookingIs(in.Version)}
	if change.From, change.To, err = slot(in.From, in.To, in.For, v.Start, time.Now()); err != nil {
		return reply, err
	}
	if in.From == "" {
		change.From = time.Time{}
	}
	if len(in.Devices) > 0 {
		change.Devices = commas(in.Devices)
	}
	for _, name := range commas(in.Clear) {
		switch {
		case name != "label":
			return reply, fmt.Errorf("clear: want label, have %q: %w", name, fault.Invalid)
		case in.Label != "":
			return reply, fmt.Errorf("label and clear exclude each other: use one of them: %w", fault.Invalid)
		}
		change.Label = &in.Label
	}
	if in.Label != "" {
		change.Label = &in.Label
	}
	return d.bookChange(ctx, c, in.ID, change)
}

func (d Daemon) bookChange(ctx context.Context, c control.Caller, id string, change booking.Change) (reply control.Reply[control.Booking], err error) {
	r, err := d.Bookings.Change(ctx, actor(c), id, change)
	if err != nil {
		return reply, d.notAnID(ctx, change.Action, id, err)
	}
	if reply, err = oneBooking(r); err == nil && change.Action == "book edit" {
		reply.Lines[0].Notices, err = d.pausesOf(ctx, r)
	}
	return reply, err
}

func (d Daemon) bookEnd(ctx context.Context, c control.Caller, in control.BookEndIn) (reply control.Reply[control.Booking], err error) {
	r, err := d.Bookings.End(ctx, actor(c), in.ID, bookingIs(in.Version)...)
	if err != nil {
		return reply, d.notAnID(ctx, "book end", in.ID, err)
	}
	return oneBooking(r)
}

func (d Daemon) bookList(ctx context.Context, _ control.Caller, in control.BookListIn) (reply control.Reply[control.Booking], err error) {
	all, err := d.Bookings.List(ctx, in.Owner, in.All)
	for _, r := range all {
		reply.Lines = append(reply.Lines, wireBooking(r))
	}
	return reply, err
}

func (d Daemon) bookQuota(ctx context.Context, c control.Caller, in control.BookQuotaIn) (reply control.Reply[control.BookQuota], err error) {
	owner, uid := d.bookedFor(c, in.Owner)
	by := actor(c)
	s, err := d.Bookings.Standing(ctx, by, owner, uid)
	if err != nil {
		return reply, err
	}
	q := control.BookQuota{
		Owner: owner, HoursPerWeek: s.Quota.PerWeek.Hours(), Devices: s.Quota.Devices, DaysAhead: s.Quota.DaysAhead, MaxHours: s.Rules.Max.Hours(),
		DevicesNow: s.Now, Bookable: s.Rules.Devices, Variables: s.Rules.Variables, Topology: !by.OnlyOwn || s.Rules.Topologies, Others: !by.OnlyOwn,
	}
	for _, w := range s.Weeks {
		q.Weeks = append(q.Weeks, control.BookedWeek{Begins: control.Instant{Time: w.Begins}, Hours: w.Booked.Hours()})
	}
	if s.Refused != nil {
		q.Refused = fault.Text(s.Refused)
	}
	return control.Reply[control.BookQuota]{Lines: []control.BookQuota{q}}, nil
}

// bookingIs returns the condition that a booking still has one of these versions; none: there is no
// condition.
func bookingIs(versions []string) []booking.Condition {
	if len(versions) == 0 {
		return nil
	}
	return []booking.Condition{func(r *activation.Record) error {
		is, err := r.Version()
		if err == nil && !slices.Contains(versions, is) {
			err = hasChanged(r.ID, status(r))
		}
		return err
	}}
}

func oneBooking(r *activation.Record) (reply control.Reply[control.Booking], err error) {
	b := wireBooking(r)
	if b.Version, err = r.Version(); err != nil {
		return reply, err
	}
	return control.Reply[control.Booking]{Summary: fmt.Sprintf("id=%s state=%s", b.ID, b.State), Lines: []control.Booking{b}}, nil
}

func wireBooking(r *activation.Record) control.Booking {
	return control.Booking{
		ID: r.ID, Owner: r.Owner, State: string(r.State), Status: status(r), Outcome: string(r.Outcome),
		Start: control.Instant{Time: r.Start}, End: control.Instant{Time: r.End}, Devices: r.Devices, Label: r.Label, Reason: r.Reason,
	}
}
