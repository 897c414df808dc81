package panel

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"activationd/control"
	"activationd/internal/fault"
	"activationd/internal/timeline"
)

// Bounds of the page: to how many devices it has boxes to tick, and how many of a kind one can choose.
// Others are typed.
const (
	bookBoxes = 100
	bookKinds = 16
)

// bookData is what the page of bookings shows.
type bookData struct {
	Quota   control.BookQuota
	Closed  string // why the reader can book nothing; empty: there is a form
	Refused string // why what was asked for cannot be booked, or looked for
	Tried   bool   // it was to be booked

	For, From, Owner, Label string
	Named                   string // devices that have no box
	Topology, Env           string
	OverQuota               bool
	Kinds                   []bookKind
	Groups                  []boxGroup
	Chosen                  int  // devices that are named or ticked
	Typed                   bool // there is a field for names: not all devices that can be booked have boxes

	Asked  bool // the form was sent
	Looked bool // free slots were looked for
	Slots  []freeSlot
	Late   string // why the first slot is later than what was asked for
	Notes  []string
	Later  string // the address at which later slots are

	Of, OtherOf string // whose bookings are listed: mine or all, if the address says it; the address of the others
	All         bool   // of all owners
	Over        bool   // with those that are over
	OtherOver   string
	Rows        []bookingRow
	More        int // bookings that are not shown
}

// A bookKind is a kind of device of which one can have any.
type bookKind struct {
	Name   string
	Chosen int
	Counts []int
}

// A boxGroup is devices of a kind, to be ticked.
type boxGroup struct {
	Name  string
	Boxes []box
}

type box struct {
	Name   string
	Ticked bool
}

// A freeSlot is a slot that can be booked.
type freeSlot struct {
	control.FreeOut
	Value string // of its button
	Open  bool   // nobody has the devices as far as was looked
}

// A bookingRow is a booking.
type bookingRow struct {
	control.Booking
	Shown   string // the state
	Why     string
	Buttons []*button
}

func (p *Panel) fillBook(v *view) error {
	d := bookData{
		For: v.arg("for"), From: v.arg("from"), Label: v.arg("label"), Topology: v.arg("topology"), Env: v.arg("env"), OverQuota: v.arg("over-quota") != "",
	}
	if d.For == "" {
		d.For = "2h"
	}
	if err := v.bookable(&d); err != nil {
		return err
	}
	if d.Closed == "" {
		if err := v.bookForm(&d); err != nil {
			return err
		}
		if err := v.freeSlots(&d); err != nil {
			return err
		}
	}
	if err := v.bookings(&d); err != nil {
		return err
	}
	v.Data = &d
	return nil
}

// bookable asks what the reader may book.
func (v *view) bookable(d *bookData) (err error) {
	ctx, p := v.r.Context(), v.panel
	d.Quota, err = one[control.BookQuota](ctx, p, v.Caller, "book quota", &control.BookQuotaIn{})
	switch {
	case errors.Is(err, fault.Conflict): // nobody can book anything
		d.Closed = fault.Text(err)
		return nil
	case err != nil:
		return err
	case !v.May("book add"):
		d.Closed = fault.Text(v.Caller.May("book add", p.registry.Lookup("book add").Role))
	case !d.Quota.Others:
		d.Closed = d.Quota.Refused
	}
	if d.Owner = v.arg("owner"); d.Closed == "" && d.Quota.Others && d.Owner != "" {
		d.Quota, err = one[control.BookQuota](ctx, p, v.Caller, "book quota", &control.BookQuotaIn{Owner: d.Owner})
	}
	return err
}

// canBook reports whether a device is one of those that can be booked.
func canBook(q *control.BookQuota, device string) bool {
	return slices.ContainsFunc(q.Bookable, func(pattern string) bool {
		ok, err := path.Match(pattern, device)
		return ok && err == nil
	})
}

// bookForm fills the form with the devices that there are and what was chosen of them.
func (v *view) bookForm(d *bookData) error {
	now := &control.CalendarIn{From: v.Now.Format(time.RFC3339Nano), To: v.Now.Add(time.Second).Format(time.RFC3339Nano), Idle: true}
	lines, err := get[control.CalendarLine](v.r.Context(), v.panel, v.Caller, "calendar", now)
	if err != nil {
		return err
	}
	kinds, all := make(map[string][]string), make(map[string]string) // the devices of each kind, and the group of each device
	for i := range lines {
		l := &lines[i]
		if _, known := all[l.Device]; known || l.Device == "" || !canBook(&d.Quota, l.Device) {
			continue
		}
		all[l.Device] = groupOf(l.Device)
		if len(l.Kinds) > 0 {
			all[l.Device] = l.Kinds[0]
		}
		for _, kind := range l.Kinds {
			kinds[kind] = append(kinds[kind], l.Device)
		}
	}
	chosen := v.wanted("devices")
	d.Chosen = len(chosen)
	groups := make(map[string][]box)
	for _, name := range slices.SortedFunc(maps.Keys(all), timeline.ByNumber) {
		if len(all) <= bookBoxes {
			groups[all[name]] = append(groups[all[name]], box{name, slices.Contains(chosen, name)})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		d.Groups = append(d.Groups, boxGroup{name, groups[name]})
	}
	d.Named = strings.Join(slices.DeleteFunc(chosen, func(name string) bool { return len(all) <= bookBoxes && all[name] != "" }), ", ")
	d.Typed = d.Named != "" || d.Groups == nil || slices.ContainsFunc(d.Quota.Bookable, func(name string) bool { return all[name] == "" })
	counts := make(map[string]int)
	for _, text := range v.wanted("kind") {
		kind, n, _ := strings.Cut(text, ":")
		counts[kind], _ = strconv.Atoi(n) // free says what is wrong with it
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		k := bookKind{Name: kind, Chosen: counts[kind]}
		for n := range min(len(kinds[kind]), bookKinds) {
			k.Counts = append(k.Counts, n+1)
		}
		d.Kinds = append(d.Kinds, k)
	}
	return nil
}

// wanted returns the values of an argument that may have several, each once.
func (v *view) wanted(arg string) (all []string) {
	for _, value := range v.r.URL.Query()[arg] {
		for text := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == ',' || r == ' ' }) {
			if !slices.Contains(all, text) {
				all = append(all, text)
			}
		}
	}
	return all
}

// freeSlots looks when what was asked for is free.
func (v *view) freeSlots(d *bookData) error {
	in := &control.FreeIn{For: d.For, Devices: v.wanted("devices"), Kind: v.wanted("kind")}
	if d.Asked = v.arg("for") != "" || len(in.Devices)+len(in.Kind) > 0; !d.Asked {
		return nil
	}
	from, err := v.bookFrom(d.From)
	if err == nil && len(in.Devices)+len(in.Kind) == 0 {
		err = fmt.Errorf("tick a device, type its name, or choose how many of a kind: %w", fault.Invalid)
	}
	var lines []control.FreeOut
	if err == nil {
		if !from.IsZero() {
			in.From = from.UTC().Format(time.RFC3339)
		}
		lines, err = get[control.FreeOut](v.r.Context(), v.panel, v.Caller, "free", in)
	}
	if errors.Is(err, fault.Invalid) || errors.Is(err, fault.NotFound) || errors.Is(err, fault.Conflict) {
		d.Refused = cmp.Or(d.Refused, fault.Text(err))
		return nil
	}
	d.Looked = true
	key := rand.Text() // who presses a button twice books once
	for _, l := range lines {
		if l.Text != "" {
			d.Notes = append(d.Notes, l.Text)
			continue
		}
		value := strings.Join([]string{key + strconv.Itoa(len(d.Slots)), l.From.UTC().Format(time.RFC3339), l.To.UTC().Format(time.RFC3339), strings.Join(l.Devices, ",")}, "/")
		d.Slots = append(d.Slots, freeSlot{FreeOut: l, Value: value, Open: l.Until.Sub(v.Now) > 20*day})
	}
	if n := len(d.Slots); n > 0 {
		d.Later = v.With("from", d.Slots[n-1].From.Add(time.Minute).In(v.Zone).Format(time.RFC3339))
		if first := d.Slots[0].From; !from.IsZero() && first.After(from) {
			d.Late = v.Clock(from)
		}
	}
	return err
}

// bookFrom reads from when on slots are wanted; the zero time: from now on.
func (v *view) bookFrom(text string) (from time.Time, err error) {
	if text == "" || text == "now" {
		return from, nil
	}
	if from, err = v.instant(text); err != nil || !from.After(v.Now) {
		return time.Time{}, err
	}
	return from.Add(time.Minute - 1).Truncate(time.Minute), nil // nobody books seconds
}

// bookings lists the bookings of the page.
func (v *view) bookings(d *bookData) error {
	ctx, p := v.r.Context(), v.panel
	d.Of, d.Over = v.arg("of"), v.arg("over") != ""
	d.All = d.Of == "all" || d.Of == "" && v.Caller.Role >= control.Operator
	in := &control.BookListIn{All: d.Over}
	if d.OtherOf = v.With("of", "mine"); !d.All {
		in.Owner = v.Caller.Name
		d.OtherOf = v.With("of", "all")
	}
	if d.OtherOver = v.With("over", "yes"); d.Over {
		d.OtherOver = v.With("over", "")
	}
	all, err := get[control.Booking](ctx, p, v.Caller, "book list", in)
	if err != nil {
		return err
	}
	now, err := get[control.Activation](ctx, p, v.Caller, "list", &control.ListIn{ID: "*@" + control.BookingSource})
	if err != nil {
		return err
	}
	conflicts := make(map[string]*control.ConflictLine)
	for i := range now {
		if len(now[i].Conflicts) > 0 {
			conflicts[now[i].ID] = &now[i].Conflicts[0]
		}
	}
	if in.All { // the newest first
		slices.Reverse(all)
	}
	for i := range all {
		if len(d.Rows) == pageRows {
			d.More = len(all) - pageRows
			break
		}
		b := &all[i]
		row := bookingRow{Booking: *b, Shown: b.Status, Why: v.Told(b.Reason)}
		if c := conflicts[b.ID]; c != nil && b.Outcome == "" {
			row.Shown, row.Why = "conflicting", v.conflict(c)
		}
		row.Buttons = v.bookingButtons(b.ID, b.Owner, b.State)
		d.Rows = append(d.Rows, row)
	}
	return nil
}

// bookingButtons returns what the reader can do with a booking.
func (v *view) bookingButtons(id, owner, state string) (all []*button) {
	if v.Caller.Role < control.Operator && owner != v.Caller.Name || slices.Contains([]string{"finished", "deactivating", "stuck"}, state) {
		return nil
	}
	for _, op := range []string{"book extend", "book end"} {
		if b := v.Button(op, "id", id); b != nil {
			all = append(all, b)
		}
	}
	return all
}

// book books the slot whose button was pressed. If that is refused, the page says why, with what was
// typed and the slots that are free now.
func (p *Panel) book(w http.ResponseWriter, r *http.Request, c Client) {
	pg := page{pattern: "/book", title: "Book", name: "book", fill: p.fillBook} // no topics: it is a reply, and does not follow the daemon
	if err := r.ParseForm(); err != nil {
		p.fail(w, r, c, pg, fmt.Errorf("the form cannot be read: %w: %w", err, fault.Invalid))
		return
	}
	typed := r.PostForm
	slot := typed.Get("slot")
	typed.Del("slot")
	for name, values := range typed {
		if typed[name] = slices.DeleteFunc(values, func(s string) bool { return s == "" }); len(typed[name]) == 0 {
			delete(typed, name)
		}
	}
	r = r.Clone(r.Context())
	r.URL.RawQuery = typed.Encode()
	said, err := p.bookSlot(r, c.Caller, slot, typed)
	if err == nil {
		for _, name := range []string{"label", "topology", "env", "over-quota"} {
			typed.Del(name)
		}
		say(w, p.base, said)
		http.Redirect(w, r, p.base+"/book?"+typed.Encode(), http.StatusSeeOther)
		return
	}
	code := control.Code(err)
	if code >= 500 || c.Caller.Role < control.Viewer {
		p.fail(w, r, c, pg, err)
		return
	}
	v, verr := p.newView(w, r, c, pg)
	if verr == nil {
		verr = p.fillBook(v)
	}
	if verr != nil {
		p.fail(w, r, c, pg, verr)
		return
	}
	if d, ok := v.Data.(*bookData); ok {
		d.Refused, d.Tried = fault.Text(err), true
	}
	p.send(w, r, code, "book", v)
}

// bookSlot books a slot, as the value of a button has it, and says what was booked.
func (p *Panel) bookSlot(r *http.Request, c control.Caller, slot string, typed url.Values) (said string, err error) {
	if err := c.May("book add", p.registry.Lookup("book add").Role); err != nil {
		return "", err
	}
	parts := strings.SplitN(slot, "/", 4)
	if len(parts) != 4 {
		return "", fmt.Errorf("choose one of the free slots: %w", fault.Invalid)
	}
	in := &control.BookAddIn{
		Key: parts[0], From: parts[1], To: parts[2], Devices: []string{parts[3]}, Label: typed.Get("label"), Owner: typed.Get("owner"),
		Topology: typed.Get("topology"), OverQuota: typed.Get("over-quota") != "",
	}
	for line := range strings.Lines(typed.Get("env")) {
		if line = strings.TrimSpace(line); line != "" {
			in.Env = append(in.Env, line)
		}
	}
	b, err := one[control.Booking](r.Context(), p, c, "book add", in)
	if err != nil {
		return "", err
	}
	said = b.ID + " is booked"
	if b.Known {
		said = b.ID + " was booked before"
	}
	return strings.Join(append([]string{said + ": " + strings.Join(b.Devices, ", ")}, b.Notices...), ". "), nil
}

// ZoneArg is the zone that the address names.
func (v *view) ZoneArg() string { return v.arg("zone") }

// Hours writes a number of hours.
func (v *view) Hours(h float64) string {
	return strconv.FormatFloat(math.Round(h*100)/100, 'f', -1, 64)
}

// Share is a part of a whole in percent, at most 100.
func (v *view) Share(part, whole float64) int { return int(min(100, 100*part/whole)) }

// WeekName says which week begins at a time.
func (v *view) WeekName(t time.Time) string {
	if t.After(v.Now) {
		return "Week from " + t.In(v.Zone).Format("Mon 2 Jan")
	}
	return "This week"
}
