package ops

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"activationd/activation"
	"activationd/calendar"
	"activationd/control"
	"activationd/internal/fault"
	"activationd/internal/timetext"
)

func (d Daemon) calendarOps() []control.Op {
	return []control.Op{
		control.Declare("calendar", control.Viewer, "list who has which device when", d.calendar).At("GET /calendar"),
		control.Declare("free", control.Viewer, "list when devices are free", d.free).At("GET /free"),
	}
}

const (
	// calendarDays is how long a calendar may be.
	calendarDays = 3660
	// slotsIn is where slots are looked for, and slots how many, unless the request says it.
	slotsIn = 4 * 7 * 24 * time.Hour
	slots   = 10
)

// lookAhead reads the times of a calendar.
func lookAhead(from, to string, now time.Time, length time.Duration) (begin, end time.Time, err error) {
	begin = now
	if from != "" {
		if begin, err = timetext.Ahead(from, now, now, time.Local); err != nil {
			return begin, end, fmt.Errorf("from: %w: %w", err, fault.Invalid)
		}
	}
	end = begin.Add(length)
	if to != "" {
		if end, err = timetext.Ahead(to, now, begin, time.Local); err != nil {
			return begin, end, fmt.Errorf("to: %w: %w", err, fault.Invalid)
		}
	}
	switch {
	case !end.After(begin):
		err = fmt.Errorf("to: %s is not after from, %s: %w", timeText(end), timeText(begin), fault.Invalid)
	case end.Sub(begin) > calendarDays*24*time.Hour:
		err = fmt.Errorf("to: %s is more than %d days after from, %s: %w", timeText(end), calendarDays, timeText(begin), fault.Invalid)
	}
	return begin, end, err
}

func (d Daemon) calendar(ctx context.Context, c control.Caller, in control.CalendarIn) (reply control.Reply[control.CalendarLine], err error) {
	from, to, err := lookAhead(in.From, in.To, time.Now(), 24*time.Hour)
	if err != nil {
		return reply, err
	}
	var known map[string][]string
	if len(in.Device) > 0 || in.Idle {
		if known, err = d.inventory(); err != nil {
			return reply, err
		}
	}
	devices := commas(in.Device)
	var booked []string
	if in.Idle && len(devices) == 0 {
		if booked, err = d.Engine.BookedDevices(ctx); err != nil {
			return reply, err
		}
	}
	notice, err := d.unknownDevices(ctx, activation.Filter{Devices: devices, Kind: activation.Reservation, Finished: in.All, By: actor(c)})
	if err != nil {
		return reply, err
	}
	return control.Reply[control.CalendarLine]{Summary: control.Noticed(notice), Each: func(yield func(control.CalendarLine, error) bool) {
		errEnough := errors.New("enough")
		idle := make(map[string]bool)
		for _, name := range devices {
			idle[name] = true
		}
		if len(devices) == 0 {
			for name := range known {
				idle[name] = true
			}
			for _, name := range booked {
				idle[name] = true
			}
		}
		line := func(l control.CalendarLine) error {
			if in.Owner != "" && l.Owner != in.Owner {
				return nil
			}
			delete(idle, l.Device)
			if in.Idle {
				l.Kinds = known[l.Device]
			}
			if !yield(l, nil) {
				return errEnough
			}
			return nil
		}
		f := activation.CalendarFilter{Devices: devices, From: from, To: to, By: actor(c)}
		err := d.Engine.Calendar(ctx, f, func(e activation.CalendarEntry) error {
			return line(calendarLine(e.Device, e.From, e.To, &e.View))
		})
		if err == nil && in.All {
			err = d.finished(ctx, f, line)
		}
		if in.Idle {
			for _, name := range slices.Sorted(maps.Keys(idle)) {
				if err == nil && !yield(control.CalendarLine{Device: name, Kinds: known[name]}, nil) {
					return
				}
			}
		}
		if err != nil && !errors.Is(err, errEnough) {
			yield(control.CalendarLine{}, err)
		}
	}}, nil
}

// finished hands on the lines of finished reservations whose slots are in the calendar.
func (d Daemon) finished(ctx context.Context, f activation.CalendarFilter, line func(control.CalendarLine) error) error {
	over := activation.Filter{
		Kind: activation.Reservation, In: [][]activation.Condition{{{State: activation.Finished}}}, Finished: true, By: f.By, Sort: "planned", EndsAfter: f.From,
	}
	return d.Engine.List(ctx, over, func(v activation.View) error {
		if !v.Start.Add(-v.Lead).Before(f.To) {
			return nil
		}
		to := v.End
		if ended := v.Ended(); ended.Before(to) && ended.After(v.Start) {
			to = ended
		}
		devices := v.DevicesInForce()
		if len(devices) == 0 {
			devices = []string{""}
		}
		for _, name := range devices {
			if len(f.Devices) > 0 && !slices.Contains(f.Devices, name) {
				continue
			}
			if err := line(calendarLine(name, v.Start.Add(-v.Lead), to, &v)); err != nil {
				return err
			}
		}
		return nil
	})
}

func calendarLine(device string, from, to time.Time, v *activation.View) control.CalendarLine {
	l := control.CalendarLine{
		Device: device, From: from, Start: v.Start, End: v.End, To: to,
		ID: v.ID, Owner: v.Owner, Label: v.Label, Source: v.SourceName(), State: string(v.State), Status: status(&v.Record), Reason: v.Reason,
		Devices: v.DevicesInForce(), Created: v.Created, Conflicts: conflictLines(v.Conflicts),
	}
	l.Revision, l.Changed = v.Revision()
	return l
}

func conflictLines(conflicts []calendar.Conflict) (lines []control.ConflictLine) {
	for _, c := range conflicts {
		lines = append(lines, control.ConflictLine{
			Kind: string(c.Kind), Name: c.Name, Text: c.String(), With: c.With, More: c.More,
			From: control.Instant{Time: c.From}, To: control.Instant{Time: c.To},
		})
	}
	return lines
}

// inventory returns the devices that users can have, with their kinds; none if the daemon has
// no inventory.
func (d Daemon) inventory() (map[string][]string, error) {
	if d.Inventory == nil {
		return nil, nil
	}
	return d.Inventory()
}

func (d Daemon) free(ctx context.Context, _ control.Caller, in control.FreeIn) (reply control.Reply[control.FreeOut], err error) {
	length, err := freeFor(in.For)
	switch {
	case err != nil:
		return reply, err
	case length == 0:
		return reply, fmt.Errorf("for: want more than 0: %w", fault.Invalid)
	case in.Limit < 0:
		return reply, fmt.Errorf("limit: want 0 or more, have %d: %w", in.Limit, fault.Invalid)
	case in.Limit == 0:
		in.Limit = slots
	}
	from, to, err := lookAhead(in.From, in.To, time.Now(), slotsIn)
	if err != nil {
		return reply, err
	}
	if in.From == "" { // nobody books seconds
		from = from.Add(time.Minute - 1).Truncate(time.Minute)
	}
	known, err := d.inventory()
	if err != nil {
		return reply, err
	}
	needs, err := needed(in.Devices, in.Kind, known, d.Bookings.Bookable)
	if err != nil {
		return reply, err
	}
	// What is booked is prepared before its slot begins.
	lead, on := d.Bookings.Lead()
	if !on {
		lead = d.Engine.Settings().Reservations.Lead
	}
	if now := time.Now(); in.From != "" && from.After(now) {
		from = from.Add(-lead)
		if from.Before(now) {
			from = now.Add(time.Minute - 1).Truncate(time.Minute)
		}
	}
	v, err := d.Engine.Free(ctx, needs, lead+length, from, to, in.Limit)
	if err != nil {
		return reply, err
	}
	for _, s := range v.Slots {
		begin := s.From.Add(lead)
		reply.Lines = append(reply.Lines, control.FreeOut{From: begin, To: begin.Add(length), Until: s.To, Devices: s.Devices})
	}
	for _, device := range slices.Sorted(maps.Keys(v.Never)) {
		reply.Lines = append(reply.Lines, control.FreeOut{Text: v.Never[device]})
	}
	return reply, nil
}

// freeFor reads how long devices are wanted.
func freeFor(text string) (time.Duration, error) {
	d, err := timetext.Duration(text)
	if err != nil {
		return 0, fmt.Errorf("for: %w: %w", err, fault.Invalid)
	}
	return d, nil
}

// needed reads what devices are needed: some by name, and some of kinds, of which only those are
// chosen that can be booked.
func needed(devices, kinds []string, known map[string][]string, bookable func(string) bool) (needs []calendar.Need, err error) {
	var names []string
	for _, name := range commas(devices) {
		switch {
		case name == "" || slices.Contains(names, name):
			continue
		case known != nil && known[name] == nil:
			return nil, fmt.Errorf("devices: the inventory has no device %q: %w", name, fault.NotFound)
		}
		names = append(names, name)
	}
	if len(names) > 0 {
		needs = append(needs, calendar.Need{Devices: names})
	}
	taken := make(map[string]string) // the kind for which a device may be chosen
	for _, text := range commas(kinds) {
		kind, count, counted := strings.Cut(strings.ToLower(text), ":")
		n := 1
		if counted {
			if n, err = strconv.Atoi(count); err != nil || n < 1 {
				return nil, fmt.Errorf("kind: want a kind and how many devices of it, as frr:3, have %q: %w", text, fault.Invalid)
			}
		}
		if known == nil {
			return nil, fmt.Errorf("kind: the daemon does not know what kinds its devices have, because its configuration has no lab.inventory; name them with devices: %w", fault.Invalid)
		}
		var of, named []string // the latter are no others of the kind
		closed := 0            // of the kind, but cannot be booked
		for _, name := range slices.Sorted(maps.Keys(known)) {
			switch {
			case !slices.Contains(known[name], kind):
				continue
			case slices.Contains(names, name):
				named = append(named, name)
				continue
			case !bookable(name):
				closed++
				continue
			}
			if other := taken[name]; other != "" {
				return nil, fmt.Errorf("kind: %s is of both kinds, %s and %s; ask for one of them: %w", name, other, kind, fault.Invalid)
			}
			taken[name] = kind
			of = append(of, name)
		}
		switch {
		case len(of) < n && named != nil:
			return nil, fmt.Errorf("kind: %d devices of kind %s are wanted besides %s, which devices names, and the inventory has %d others: %w",
				n, kind, strings.Join(named, ", "), len(of), fault.NotFound)
		case len(of) < n && closed > 0:
			return nil, fmt.Errorf("kind: %d devices of kind %s are wanted, and %d can be booked, of %d in the inventory: %w", n, kind, len(of), len(of)+closed, fault.NotFound)
		case len(of) < n:
			return nil, fmt.Errorf("kind: %d devices of kind %s are wanted, and the inventory has %d (its kinds are %s): %w",
				n, kind, len(of), kindWords(known), fault.NotFound)
		}
		needs = append(needs, calendar.Need{Devices: of, N: n})
	}
	if len(needs) == 0 {
		return nil, fmt.Errorf("devices: is empty: %w", fault.Invalid)
	}
	return needs, nil
}

// kindWords names the kinds of all devices.
func kindWords(known map[string][]string) string {
	kinds := make(map[string]bool)
	for _, of := range known {
		for _, kind := range of {
			kinds[kind] = true
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(kinds)), ", ")
}
