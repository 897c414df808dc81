package activation_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	. "activationd/activation"
	"activationd/activation/announce"
	"activationd/activation/booking"
	"activationd/internal/fault"
	"activationd/reservation"
	"activationd/test/harness"
)

// quarter is the unit of all times of the tests of bookings, so that a model can count quarters
// of an hour.
const quarter = 15 * time.Minute

var bookingRules = booking.Rules{
	Submitters: true, Devices: []string{"d*"}, Max: 6 * hour, Lead: quarter, Missed: MissedRun,
	Quota:  booking.Quota{PerWeek: 12 * hour, Devices: 2, DaysAhead: 3},
	Owners: map[string]booking.Quota{"eve": {PerWeek: 5 * hour, Devices: 3}},
}

// TestRandomBookings books, extends, changes and ends bookings of several owners at random,
// beside a source whose reservations come and go, while time passes and the daemon dies. A
// simple model says which requests must be accepted. No two bookings of a device ever overlap,
// and no owner ever exceeds its quota.
//
// When it fails it prints a seed. Use -rapid.checks and -rapid.steps to try more.
func TestRandomBookings(t *testing.T) {
	for range harness.Size(1, 4) {
		rapid.Check(t, func(rt *rapid.T) {
			inBubble(t, func(t *testing.T) { bookings(t, rt) })
		})
	}
}

func bookings(t *testing.T, rt *rapid.T) {
	rig := newRig(t, nil)
	defer rig.shutDown()
	src := &fakeSource{name: "x"}
	rig.srcs = []announce.Source{{Source: src, Missed: MissedRun}}
	m := &bookingMachine{rig: rig, src: src}
	m.restart()
	rt.Repeat(map[string]func(*rapid.T){
		"":         m.check,
		"add":      m.add,
		"add2":     m.add,
		"extend":   m.extend,
		"edit":     m.edit,
		"end":      m.end,
		"cancel":   m.cancel,
		"retry":    m.retry,
		"announce": m.announce,
		"sleep":    func(rt *rapid.T) { rig.sleep(time.Duration(rapid.IntRange(1, 100).Draw(rt, "quarters")) * quarter) },
		"die":      m.die,
	})
}

// A bookingMachine does random things at a desk.
type bookingMachine struct {
	rig   *testRig
	src   *fakeSource
	desk  *booking.Desk
	keys  int
	steps int
}

// restart starts another daemon, at a whole quarter.
func (m *bookingMachine) restart() {
	m.rig.restart()
	if now := time.Now(); !now.Equal(now.Truncate(quarter)) {
		m.rig.sleep(quarter - now.Sub(now.Truncate(quarter)))
	}
	m.desk = booking.New(m.rig.e, fakeNodes)
	m.desk.Configure(&bookingRules)
}

// all returns the bookings, and what the source has announced.
func (m *bookingMachine) all() (rs []*Record) {
	rs, err := m.desk.List(context.Background(), "", true)
	if err != nil {
		m.rig.t.Fatal(err)
	}
	if v, err := m.rig.e.Get(context.Background(), "r1"); err == nil {
		rs = append(rs, &v.Record)
	}
	return rs
}

// has reports whether r occupies a quarter of an hour, with the time in which it is activated.
func has(r *Record, at time.Time, lead time.Duration) bool {
	if r.State == Finished {
		p := r.BookedPart()
		return lead == 0 && !at.Before(p.From) && at.Before(p.To)
	}
	return !at.Before(r.Start.Add(-lead)) && at.Before(r.End)
}

// monday returns the day on which the week of at begins.
func monday(at time.Time) string {
	for at.Weekday() != time.Monday {
		at = at.Add(-24 * hour)
	}
	return at.Format(time.DateOnly)
}

// exceeds says which limit the owner of some bookings exceeds; empty: none.
func exceeds(owner string, rs []*Record) string {
	q := bookingRules.Quota
	if own, ok := bookingRules.Owners[owner]; ok {
		q = own
	}
	weeks := make(map[string]time.Duration)
	devices := make(map[time.Time]int)
	for _, r := range rs {
		if r.Owner != owner || r.Source != BookingSource {
			continue
		}
		for at := r.Start.UTC(); at.Before(r.End); at = at.Add(quarter) {
			if has(r, at, 0) {
				weeks[monday(at)] += min(quarter, r.BookedPart().To.Sub(at)) // its deactivation may have ended at any time
				devices[at] += len(r.Devices)
			}
		}
	}
	for week, hours := range weeks {
		if hours > q.PerWeek {
			return fmt.Sprintf("%v in the week of %s", hours, week)
		}
	}
	for at, n := range devices {
		if n > q.Devices {
			return fmt.Sprintf("%d devices at %v", n, at)
		}
	}
	return ""
}

// check checks what must hold at any time.
func (m *bookingMachine) check(rt *rapid.T) {
	synctest.Wait()
	if m.rig.m.isDead() {
		m.restart()
	}
	if m.steps++; m.steps%8 == 0 { // it takes long
		if faults := m.rig.unsound(); len(faults) > 0 {
			rt.Fatalf("%s", strings.Join(faults, "\n"))
		}
	}
	rs := m.unlimited(rt)
	for _, r := range rs {
		if s := exceeds(r.Owner, rs); s != "" {
			rt.Fatalf("%s exceeds its quota: %s", r.Owner, s)
		}
	}
}

// unlimited checks what must hold whatever the quotas are. It returns all reservations.
func (m *bookingMachine) unlimited(rt *rapid.T) []*Record {
	rs := m.all()
	for i, r := range rs {
		for _, o := range rs[:i] {
			if r.Source == BookingSource && o.Source == BookingSource && overlap(r, o) {
				rt.Fatalf("%s %v and %s %v overlap", r.ID, r.Devices, o.ID, o.Devices)
			}
		}
	}
	return rs
}

// overlap reports whether the slots of two reservations that are not over have a device at the
// same time.
func overlap(r, o *Record) bool {
	return r.State != Finished && o.State != Finished && r.Start.Before(o.End) && o.Start.Before(r.End) &&
		slices.ContainsFunc(r.Devices, func(d string) bool { return slices.Contains(o.Devices, d) })
}

// mayBe reports whether a booking may become is; was is what it is now, or nil.
func (m *bookingMachine) mayBe(was, is *Record) (why string) {
	now := time.Now()
	others := slices.DeleteFunc(m.all(), func(r *Record) bool { return r.ID == is.ID })
	q := bookingRules.Quota
	if own, ok := bookingRules.Owners[is.Owner]; ok {
		q = own
	}
	if is.End.Sub(is.Start) > bookingRules.Max {
		return "it is too long"
	}
	if q.DaysAhead > 0 && is.Start.After(now.AddDate(0, 0, q.DaysAhead)) {
		return "it is too far ahead"
	}
	from := is.Start.Add(-bookingRules.Lead)
	grows := was == nil || is.Start.Before(was.Start) || is.End.After(was.End)
	for _, o := range others {
		if o.State == Finished {
			continue
		}
		for _, d := range is.Devices {
			if slices.Contains(o.DevicesInForce(), d) && (grows || !slices.Contains(was.Devices, d)) &&
				o.Start.Add(-o.Lead).Before(is.End) && o.End.After(from) && o.End.After(now) {
				return "it conflicts with " + o.ID
			}
		}
	}
	return exceeds(is.Owner, append(others, is))
}

// expect compares the result of a request with what the model says. The daemon may have died.
func (m *bookingMachine) expect(rt *rapid.T, err error, why string) {
	switch {
	case errors.Is(err, errDead):
		m.restart()
	case (err == nil) != (why == ""):
		rt.Fatalf("the desk says %v, the model %q", err, why)
	case err != nil && fault.Of(err) != fault.Conflict && fault.Of(err) != fault.Invalid:
		rt.Fatalf("%v is of another kind", err)
	}
}

func quarters(rt *rapid.T, least, most int, label string) time.Duration {
	return time.Duration(rapid.IntRange(least, most).Draw(rt, label)) * quarter
}

func devices(rt *rapid.T) []string {
	some := subset(rt, []string{"d1", "d2", "d3"}, "devices")
	if some == nil {
		some = []string{"d1"}
	}
	return some
}

func (m *bookingMachine) add(rt *rapid.T) {
	owner := rapid.SampledFrom([]string{"ada", "bob", "eve"}).Draw(rt, "owner")
	from := time.Now().Add(quarters(rt, 0, 4*24*4, "from"))
	req := booking.Request{Owner: owner, UID: 1, From: from, To: from.Add(quarters(rt, 1, 26, "length")), Devices: devices(rt), Key: fmt.Sprint(m.keys)}
	m.keys++
	is := &Record{Kind: Reservation, Start: req.From, Slot: Slot{End: req.To, Devices: req.Devices, Source: BookingSource}, Order: Order{Owner: owner}, Life: Life{State: Scheduled}}
	why := m.mayBe(nil, is)
	_, known, err := m.desk.Add(context.Background(), Actor{Name: owner, UID: 1, OnlyOwn: true}, req)
	if known {
		rt.Fatal("the key is new")
	}
	m.expect(rt, err, why)
	if errors.Is(err, errDead) { // the client cannot know whether it has booked: it asks again
		why = m.mayBe(nil, is)
		id := ""
		for _, r := range m.all() {
			if r.Booked != nil && r.Booked.Key == req.Key {
				id, why = r.ID, ""
			}
		}
		r, known, err := m.desk.Add(context.Background(), Actor{Name: owner, UID: 1, OnlyOwn: true}, req)
		m.expect(rt, err, why)
		if err == nil && (known != (id != "") || known && r.ID != id) {
			rt.Fatalf("asked again: %s, known: %v; it was booked as %q", r.ID, known, id)
		}
	}
}

// one draws a booking that is not over; nil: there is none.
func (m *bookingMachine) one(rt *rapid.T) *Record {
	live := slices.DeleteFunc(m.all(), func(r *Record) bool { return r.State == Finished || r.Source != BookingSource })
	if len(live) == 0 {
		return nil
	}
	return rapid.SampledFrom(live).Draw(rt, "booking")
}

// change requests a change of a booking by its owner.
func (m *bookingMachine) change(rt *rapid.T, r *Record, c booking.Change) {
	is := *r
	if !c.From.IsZero() {
		is.Start, is.End = c.From, c.From.Add(r.End.Sub(r.Start))
	}
	if !c.To.IsZero() {
		is.End = c.To
	}
	is.End = is.End.Add(c.By)
	if c.Devices != nil {
		is.Devices = c.Devices
	}
	why := m.mayBe(r, &is)
	begun := r.NeedsUndo || r.State != Scheduled && r.State != Waiting
	switch {
	case r.State == Deactivating || r.State == Stuck || r.PendingOutcome != "":
		why = "it is being deactivated"
	case begun && (!c.From.IsZero() || c.Devices != nil):
		why = "it has begun"
	case !is.End.After(time.Now()) || !is.End.After(is.Start):
		why = "it would end before now"
	}
	_, err := m.desk.Change(context.Background(), Actor{Name: r.Owner, UID: 1, OnlyOwn: true}, r.ID, c)
	m.expect(rt, err, why)
}

func (m *bookingMachine) extend(rt *rapid.T) {
	if r := m.one(rt); r != nil {
		m.change(rt, r, booking.Change{By: quarters(rt, 1, 10, "by"), Longer: true, Action: "book extend"})
	}
}

func (m *bookingMachine) edit(rt *rapid.T) {
	r := m.one(rt)
	if r == nil {
		return
	}
	c := booking.Change{Action: "book edit"}
	if rapid.Bool().Draw(rt, "moved") {
		c.From = time.Now().Add(quarters(rt, 0, 4*24*4, "from"))
	}
	if rapid.Bool().Draw(rt, "other end") {
		c.To = r.Start.Add(quarters(rt, 1, 26, "length"))
		if !c.From.IsZero() {
			c.To = c.From.Add(c.To.Sub(r.Start))
		}
	}
	if rapid.Bool().Draw(rt, "other devices") {
		c.Devices = devices(rt)
	}
	m.change(rt, r, c)
}

func (m *bookingMachine) end(rt *rapid.T) {
	r := m.one(rt)
	if r == nil {
		return
	}
	why := ""
	if r.State == Deactivating || r.State == Stuck {
		why = "it is being deactivated"
	}
	_, err := m.desk.End(context.Background(), Actor{Name: r.Owner, UID: 1, OnlyOwn: true}, r.ID)
	m.expect(rt, err, why)
}

func (m *bookingMachine) cancel(rt *rapid.T) {
	r := m.one(rt)
	if r == nil {
		return
	}
	if _, err := m.rig.e.Do(context.Background(), admin, r.ID, Cancel, ""); errors.Is(err, errDead) {
		m.restart()
	}
}

// retry has an operator run a booking again whose slot and lead have not begun. That can exceed a
// quota, so it is cancelled again at once, before it has anything to undo.
func (m *bookingMachine) retry(rt *rapid.T) {
	over := slices.DeleteFunc(m.all(), func(r *Record) bool {
		return r.State != Finished || r.Source != BookingSource || !r.Start.Add(-bookingRules.Lead).After(time.Now())
	})
	if len(over) == 0 {
		return
	}
	r := rapid.SampledFrom(over).Draw(rt, "over")
	for _, on := range []Trigger{Retry, Cancel} {
		_, _ = m.rig.e.Do(context.Background(), admin, r.ID, on, "")
		synctest.Wait()
		if m.rig.m.isDead() {
			m.restart()
			if on == Cancel { // it may have been lost
				_, _ = m.rig.e.Do(context.Background(), admin, r.ID, on, "")
			}
		}
		m.unlimited(rt)
	}
}

// announce has the source announce a reservation, or none.
func (m *bookingMachine) announce(rt *rapid.T) {
	var rs []reservation.Reservation
	if rapid.IntRange(0, 3).Draw(rt, "none") > 0 {
		from := time.Now().Add(quarters(rt, 0, 4*24*4, "from"))
		rs = append(rs, reservation.Reservation{ID: "r1", Start: from, End: from.Add(quarters(rt, 1, 26, "length")), Devices: devices(rt)})
	}
	m.src.says(rs...)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, err := m.rig.loader.Load(ctx, announce.LoadOptions{Force: true}); err != nil { // the daemon has died
		m.restart()
	}
}

// die has the daemon die soon.
func (m *bookingMachine) die(rt *rapid.T) {
	m.rig.m.dieAfter(rapid.IntRange(0, 5).Draw(rt, "calls"))
}

// TestBookingUse: what a booking that is over counts for its owner's quota.
func TestBookingUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rig := newRig(t, nil)
		m := &bookingMachine{rig: rig}
		m.restart()
		now := time.Now()
		book := func(from, to time.Time, dev string) string {
			t.Helper()
			r, _, err := m.desk.Add(t.Context(), admin, booking.Request{Owner: "root", From: from, To: to, Devices: []string{dev}, OverQuota: true})
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			return r.ID
		}
		end := func(id string) {
			t.Helper()
			if _, err := m.desk.End(t.Context(), admin, id); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		short := book(now, now.Add(2*hour), "d1")
		future := book(now.Add(3*hour), now.Add(5*hour), "d1")
		whole := book(now, now.Add(2*hour), "d2")
		rig.script("4@book", Activate, script{lasts: time.Second, exit: 1})
		failed := book(now, now.Add(2*hour), "d3")
		rig.sleep(hour)
		end(short)
		end(future)
		rig.sleep(2 * hour)
		for _, tt := range []struct {
			id, outcome string
			want        time.Duration
		}{
			{short, "succeeded", hour},
			{future, "cancelled", 0},
			{whole, "succeeded", 2 * hour},
			{failed, "failed", 13 * time.Second}, // two attempts with a pause of 10 s, and the deactivation
		} {
			rig.is(tt.id, tt.outcome)
			v := rig.get(tt.id)
			if p := v.BookedPart(); p.To.Sub(p.From).Truncate(time.Second) != tt.want {
				t.Errorf("%s counts %v, want %v", tt.id, p.To.Sub(p.From), tt.want)
			}
		}
		if v := rig.get(short); !v.End.Equal(now.Add(hour)) {
			t.Errorf("the slot ends at %v, want an hour after %v", v.End, now)
		}

		// The history is short, but what counts is known until the end of the week.
		set := *rig.e.Settings()
		set.HistoryAge = minute
		rig.e.Configure(set)
		rig.sleep(7 * 24 * hour)
		if _, err := rig.e.Get(t.Context(), whole); err != nil {
			t.Errorf("after a week: %v", err)
		}
	})
}

// TestBookingsStay: no load withdraws bookings, whether the source book is configured or not,
// and no source can take an id of theirs. What was cancelled does not come back.
func TestBookingsStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rig := newRig(t, nil)
		src := &fakeSource{name: "x"}
		rig.srcs = []announce.Source{{Source: src, Missed: MissedRun}}
		m := &bookingMachine{rig: rig, src: src}
		m.restart()
		now := time.Now()
		for _, dev := range []string{"d1", "d2"} {
			if _, _, err := m.desk.Add(t.Context(), admin, booking.Request{Owner: "root", From: now.Add(hour), To: now.Add(2 * hour), Devices: []string{dev}}); err != nil {
				t.Fatal(err)
			}
		}
		rig.do(Cancel, "2@book")
		src.says(reservation.Reservation{ID: "1@book", Start: now.Add(3 * hour), End: now.Add(4 * hour), Devices: []string{"d1"}})
		load := func() Report {
			t.Helper()
			rep, err := rig.loader.Load(t.Context(), announce.LoadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			return rep
		}
		if rep := load(); rep.Rejected != 1 || rep.Removed != 0 {
			t.Errorf("the load is %+v, want the id rejected", rep)
		}
		src.says()
		load()
		m.restart()
		rig.srcs = nil
		rig.configure()
		load()
		rig.is("1@book", "scheduled")
		rig.is("2@book", "cancelled")
		rig.sleep(90 * minute)
		rig.is("1@book", "active")
		rig.ran("1@book.activate.1")
		sources, err := rig.loader.Sources(t.Context())
		if err != nil || len(sources) != 1 || sources[0].Name != BookingSource || sources[0].Live != 1 {
			t.Errorf("the sources are %+v, %v", sources, err)
		}
	})
}

// TestOwnBooking: a submitter may cancel its own booking; the refusal of another verb says what else it may do.
func TestOwnBooking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rig := newRig(t, nil)
		defer rig.shutDown()
		m := &bookingMachine{rig: rig}
		m.restart()
		ada, bob := Actor{Name: "ada", UID: 7, Role: "submitter", OnlyOwn: true}, Actor{Name: "bob", UID: 8, Role: "submitter", OnlyOwn: true}
		from := time.Now().Add(hour)
		r, _, err := m.desk.Add(t.Context(), ada, booking.Request{Owner: "ada", UID: 7, From: from.Add(999), To: from.Add(hour + 998), Devices: []string{"d1"}})
		if err != nil {
			t.Fatal(err)
		}
		if !r.Start.Equal(from) || !r.End.Equal(from.Add(hour)) {
			t.Errorf("the slot is from %v to %v", r.Start, r.End)
		}
		for _, tt := range []struct {
			by   Actor
			on   Trigger
			want string
		}{
			{ada, Hold, "1@book is a booking of ada's own: it can be cancelled, and changed with atctl book edit, extend and end"},
			{bob, Cancel, "1@book belongs to ada, not to bob"},
			{ada, Cancel, ""},
		} {
			_, err := rig.e.Do(t.Context(), tt.by, "1@book", tt.on, "")
			if (err == nil) != (tt.want == "") || err != nil && (fault.Of(err) != fault.Denied || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%s by %s: %v, want %q", tt.on, tt.by.Name, err, tt.want)
			}
		}
		synctest.Wait()
		rig.is("1@book", "cancelled")
	})
}

// TestWhoMayBook: the kind of each refusal, and words of it.
func TestWhoMayBook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rig := newRig(t, nil)
		desk := booking.New(rig.e, fakeNodes)
		own, others := bookingRules, bookingRules
		own.Submitters, own.Variables = false, []string{"A", "B"}
		others.Topologies = true
		ada := Actor{Name: "ada", UID: 7, Role: "submitter", OnlyOwn: true}
		operator := Actor{Name: "op", UID: 8, Role: "operator"}
		address := Actor{Kind: "address", Name: "127.0.0.1", UID: -1, Role: "operator", NoJobs: true}
		hour1 := time.Now().Add(hour)
		ask := func(by Actor, change func(*booking.Request)) (Actor, booking.Request) {
			req := booking.Request{Owner: by.Name, UID: by.UID, From: hour1, To: hour1.Add(hour), Devices: []string{"d1"}}
			if change != nil {
				change(&req)
			}
			return by, req
		}
		for _, tt := range []struct {
			name   string
			rules  *booking.Rules
			by     Actor
			change func(*booking.Request)
			kind   fault.Kind
			want   string
		}{
			{"nothing can be booked", nil, operator, nil, fault.Conflict, "its configuration has no key booking"},
			{"a submitter, where only operators may", &own, ada, nil, fault.Denied, "booking needs the role operator, and ada is submitter"},
			{"for somebody else", &others, ada, func(r *booking.Request) { r.Owner = "bob" }, fault.Denied, "only operators can book for others"},
			{"as another user of the same name", &others, ada, func(r *booking.Request) { r.UID = 9 }, fault.Denied, "only operators can book for others"},
			{"an address alone", &others, address, nil, fault.Invalid, "owner: the booking would have none"},
			{"a variable", &own, operator, func(r *booking.Request) { r.Env = map[string]string{"PATH": "/tmp"} }, fault.Denied, "PATH cannot be set by a booking; those in booking.variables of the configuration can: A, B"},
			{"more than the quota", &others, ada, func(r *booking.Request) { r.OverQuota = true }, fault.Denied, "only operators can exceed a quota"},
			{"a topology", &bookingRules, ada, func(r *booking.Request) { r.Topology = "d1" }, fault.Denied, "booking with a topology needs the role operator"},
			{"a topology that may be", &others, ada, func(r *booking.Request) { r.Topology, r.Devices = "d2", nil }, "", ""},
			{"no devices", &others, operator, func(r *booking.Request) { r.Devices = nil }, fault.Invalid, "devices: name at least one"},
			{"a long key", &others, operator, func(r *booking.Request) { r.Key = strings.Repeat("k", 129) }, fault.Invalid, "key: has 129 bytes, more than 128"},
			{"for somebody by address", &others, address, func(r *booking.Request) { r.Owner = "ada" }, "", ""},
		} {
			desk.Configure(tt.rules)
			by, req := ask(tt.by, tt.change)
			r, _, err := desk.Add(t.Context(), by, req)
			switch {
			case tt.kind == "" && err != nil:
				t.Errorf("%s: %v", tt.name, err)
			case tt.kind == "":
				if _, err := desk.End(t.Context(), operator, r.ID); err != nil {
					t.Errorf("%s: %v", tt.name, err)
				}
			case err == nil || fault.Of(err) != tt.kind || !strings.Contains(err.Error(), tt.want):
				t.Errorf("%s: got %v, want %s, %q", tt.name, err, tt.kind, tt.want)
			}
		}
		rig.e.Drain()
		by, req := ask(operator, nil)
		if _, _, err := desk.Add(t.Context(), by, req); fault.Of(err) != fault.Unavailable {
			t.Errorf("while the daemon is drained: %v", err)
		}
	})
}

// TestBookingIsDisplaced: a booking keeps its device from reservations that are announced later,
// except those of a source with a higher priority.
func TestBookingIsDisplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rig := newRig(t, nil)
		equal, higher := &fakeSource{name: "x"}, &fakeSource{name: "y"}
		rig.srcs = []announce.Source{{Source: equal, Missed: MissedRun}, {Source: higher, Missed: MissedRun, Priority: 5}}
		m := &bookingMachine{rig: rig}
		m.restart()
		now := time.Now()
		if _, _, err := m.desk.Add(t.Context(), admin, booking.Request{Owner: "root", From: now.Add(hour), To: now.Add(4 * hour), Devices: []string{"d1"}}); err != nil {
			t.Fatal(err)
		}
		load := func() {
			t.Helper()
			if _, err := rig.loader.Load(t.Context(), announce.LoadOptions{Force: true}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		marked := func(id string, want bool) {
			t.Helper()
			if v := rig.get(id); (len(v.Conflicts) > 0) != want {
				t.Errorf("the conflicts of %s are %v", id, v.Conflicts)
			}
		}
		equal.says(slot("r1", 2*hour, 3*hour, "d1"))
		load()
		marked("1@book", false)
		marked("r1", true)
		higher.says(slot("r2", 2*hour, 3*hour, "d1"))
		load()
		marked("1@book", true)
		marked("r2", false)

		// To book or to lengthen what is in conflict is refused; to shorten it is not.
		change := func(c booking.Change) error {
			c.Action = "book edit"
			_, err := m.desk.Change(t.Context(), admin, "1@book", c)
			synctest.Wait()
			return err
		}
		if err := change(booking.Change{By: hour}); fault.Of(err) != fault.Conflict {
			t.Errorf("to extend it: %v", err)
		}
		if err := change(booking.Change{To: now.Add(2*hour + quarter)}); err != nil {
			t.Errorf("to shorten it: %v", err)
		}
		if err := change(booking.Change{To: now.Add(2 * hour)}); err != nil {
			t.Errorf("to shorten it further: %v", err)
		}
		marked("1@book", false)
		rig.sleep(time.Hour + minute)
		rig.is("1@book", "active")
	})
}

// TestBookingOfStuckDevice: a device whose deactivation has failed cannot be booked from now on, but
// later.
func TestBookingOfStuckDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rig := newRig(t, nil)
		m := &bookingMachine{rig: rig}
		m.restart()
		rig.script("1@book", Deactivate, script{exit: 1})
		add := func(from time.Time) error {
			_, _, err := m.desk.Add(t.Context(), admin, booking.Request{Owner: "root", From: from, To: from.Add(hour), Devices: []string{"d1"}})
			synctest.Wait()
			return err
		}
		if err := add(time.Now()); err != nil {
			t.Fatal(err)
		}
		rig.sleep(2 * hour)
		rig.is("1@book", "stuck")
		if err := add(time.Now()); fault.Of(err) != fault.Conflict || !strings.Contains(err.Error(), "1@book of root still has d1, because it is stuck") {
			t.Errorf("from now on: %v", err)
		}
		if err := add(time.Now().Add(3 * hour)); err != nil {
			t.Errorf("later: %v", err)
		}
		rig.do(Forgive, "1@book")
		if err := add(time.Now().Add(-time.Second)); err != nil {
			t.Errorf("when it is forgiven: %v", err)
		}
	})
}
