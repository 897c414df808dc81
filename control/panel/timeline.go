package panel

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"activationd/control"
	"activationd/internal/fault"
	"activationd/internal/timeline"
	"activationd/internal/timetext"
)

// Bounds of what one page of the timeline has: browsers become slow with many thousand elements.
const (
	timelineRows   = 60
	timelineGroups = 30  // to which there are links
	timelineSlots  = 100 // of an agenda below a chart, which only narrow screens show
	timelineLanes  = 5   // of one row
)

// timelineBars is how many slots a page has, by its form: a line of a table has more elements than
// a bar.
var timelineBars = map[string]int{"": 400, "chart": 400, "agenda": 300, "table": 200}

// A span of time that the timeline can show.
type window struct {
	name  string
	long  time.Duration
	past  time.Duration // how much of it is before now
	tick  time.Duration
	shift time.Duration // by how much its links move it
}

// windows are the choices, and the third one is what is shown if the address has none.
var windows = []window{
	{"6h", 6 * time.Hour, 30 * time.Minute, 30 * time.Minute, 3 * time.Hour},
	{"12h", 12 * time.Hour, time.Hour, time.Hour, 6 * time.Hour},
	{"24h", day, 2 * time.Hour, 2 * time.Hour, 12 * time.Hour},
	{"7d", 7 * day, 12 * time.Hour, day, 7 * day},
}

const day = 24 * time.Hour

// timelineData is what the timeline shows.
type timelineData struct {
	View       string // chart | agenda | table; empty: the chart, or the agenda if the screen is narrow
	Views      []link
	Windows    []link
	Before     string // the address of the window before
	After      string
	Today      string // the address of the window that moves with the time; empty: it is shown
	From, To   time.Time
	Match      string
	Keep       []pair // the arguments that a search keeps
	Chips      []chip
	Groups     []link // to one group of rows
	Ticks      []tick
	Week       bool // it has days
	Weekends   []band
	NowX       string // where now is; empty: outside
	Rows       string // devices | services | queues | vlans
	Kinds      []link // of rows
	What       string // a row is: "Device"
	Use        string // what a row is that counts: "in use"
	Lede       string
	Clashing   int // reservations of the page that conflict
	Paused     []control.Pause
	Parts      []part
	Slots      []slot // of all rows, each once, in the order of their time
	Agenda     []slot // of these, the first
	Next       string
	Paged      bool
	Unfiltered string // the address without filters

	groups map[string]string  // of the rows
	quota  *control.BookQuota // what the reader may book; nil: nothing
	free   int                // how many free stretches there are so far
}

// A tick is a time on the axis.
type tick struct {
	X    string
	Text string
	Day  bool // a day begins
	Edge bool // its text goes to the right: it stands at the beginning, or is the heading of a day
}

// A part is a group of rows.
type part struct {
	Name  string
	Used  int
	All   int // of its rows, those of other pages included
	Lines []row
}

// A row is a device, or whatever else the address asks for.
type row struct {
	Name    string
	Address string
	Noun    string // what its bars are
	Height  int
	Bars    []bar
	Gaps    []gap
	More    int // bars that have no room
	Pause   *control.Pause
	PauseX  string
	PauseW  string
}

// Says is what the row says to who does not see it.
func (r row) Says() string {
	text := r.Name + ": " + plural(len(r.Bars)+r.More, r.Noun, r.Noun+"s")
	if len(r.Bars) == 0 {
		text = r.Name + ": none"
		if r.Noun == "slot" {
			text = r.Name + ": free"
		}
	}
	if r.Pause != nil {
		text += ", paused"
	}
	return text
}

// A slot is a reservation in the window, or what else a row has bars of.
type slot struct {
	control.CalendarLine
	Key     string // of all slots of a row, only this one has it
	Address string
	Shown   string // the state
	Name    string // the id, without the name of the only source
	For     string // for whom it waits, or what it conflicts with
	Open    bool   // nobody knows how long it goes on
}

// A bar is a slot in a row.
type bar struct {
	slot
	Y            int
	X, Width     string // in percent
	Lead, LeadTo string // when it is prepared; empty: not in the window
	Tail, TailW  string // when it should be over, and is not
	On           string // from where on nobody knows how long it goes on; empty: it is known
	Hatch        []hatch
	Text, Owner  string // what there is room for
	Beside       string // where For stands; empty: there is no room
	Reads        string // what there is room for of it
	Says         string
}

// A hatch is a time in which a bar conflicts with another.
type hatch struct{ X, Width string }

// TextY is where the text of a bar stands.
func (b bar) TextY() int { return b.Y + 14 }

// LineY is the middle of a bar.
func (b bar) LineY() int { return b.Y + 10 }

func (p *Panel) fillTimeline(v *view) error {
	d := timelineData{View: v.arg("view"), Rows: cmp.Or(v.arg("rows"), "devices"), groups: make(map[string]string), Match: v.arg("match"), Unfiltered: v.With("match", "", "device", "", "group", "", "after", "")}
	if timelineBars[d.View] == 0 {
		return fmt.Errorf("view: want chart, agenda or table, have %.40q: %w", d.View, fault.Invalid)
	}
	w, err := v.window(&d)
	if err != nil {
		return err
	}
	v.choices(&d, w)
	now := v.Now
	if d.Week = w.long > day; d.Week {
		d.Weekends = weekends(d.From, d.To)
		now = time.Time{} // its clock has no room beside the names of the days
	}
	d.Ticks = ticks(d.From, d.To, now, w.tick)
	if !v.Now.Before(d.From) && v.Now.Before(d.To) {
		d.NowX = d.percent(v.Now)
	}
	ctx := v.r.Context()
	if d.Paused, err = get[control.Pause](ctx, p, v.Caller, "pauses", &control.Nothing{}); err != nil {
		return err
	}
	if d.Rows == rowKinds[0].name {
		if d.quota, err = v.booking(); err != nil {
			return err
		}
	}
	if err := v.rows(&d); err != nil {
		return err
	}
	v.Data = &d
	return nil
}

// window reads which time is shown.
func (v *view) window(d *timelineData) (w window, err error) {
	w = windows[2]
	if name := v.arg("window"); name != "" {
		i := slices.IndexFunc(windows, func(w window) bool { return w.name == name })
		if i < 0 {
			return w, fmt.Errorf("window: want 6h, 12h, 24h or 7d, have %.40q: %w", name, fault.Invalid)
		}
		w = windows[i]
	}
	past := w.past
	if d.Rows != rowKinds[0].name { // nothing is known of what comes
		past = w.long - past
	}
	d.From = v.Now.Add(-past).Truncate(time.Minute)
	if text := v.arg("from"); text != "" {
		if d.From, err = v.instant(text); err != nil {
			return w, err
		}
		d.Today = v.With("from", "", "after", "")
	} else if w.long > day {
		d.From = midnight(v.Now.Add(w.past - past))
	}
	d.From = d.From.In(v.Zone)
	d.To = w.end(d.From)
	return w, nil
}

// end returns when a window ends that begins at a time: days are those of the zone, of 23 to 25
// hours.
func (w window) end(from time.Time) time.Time {
	if w.long > day {
		return from.AddDate(0, 0, int(w.long/day))
	}
	return from.Add(w.long)
}

// instant reads a time of the address, in the zone of the page if it has none of its own.
func (v *view) instant(text string) (time.Time, error) {
	t, err := timetext.Ahead(text, v.Now, v.Now, v.Zone)
	if err == nil && (t.Year() < 1970 || t.Year() > 9990) {
		err = fmt.Errorf("%.40q is too far away", text)
	}
	if err != nil {
		return t, fmt.Errorf("from: %w: %w", err, fault.Invalid)
	}
	return t, nil
}

// midnight returns when the day of t begins.
func midnight(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, t.Location())
}

// choices makes the links to other windows, forms and filters.
func (v *view) choices(d *timelineData, w window) {
	at := func(t time.Time) string { return v.With("from", t.UTC().Format(time.RFC3339), "after", "") }
	if w.long > day {
		days := int(w.shift / day)
		d.Before, d.After = at(d.From.AddDate(0, 0, -days)), at(d.From.AddDate(0, 0, days))
	} else {
		d.Before, d.After = at(d.From.Add(-w.shift)), at(d.From.Add(w.shift))
	}
	for _, other := range windows {
		name := other.name
		if name == windows[2].name {
			name = ""
		}
		d.Windows = append(d.Windows, link{Address: v.With("window", name, "after", ""), Text: other.name, Here: other.name == w.name})
	}
	for _, kind := range rowKinds {
		name := kind.name
		if kind.name == rowKinds[0].name {
			name = ""
		}
		address := v.With("rows", name, "after", "", "match", "", "device", "", "group", "")
		d.Kinds = append(d.Kinds, link{Address: address, Text: kind.title, Here: d.Rows == kind.name})
	}
	for _, other := range []string{"chart", "agenda", "table"} {
		d.Views = append(d.Views, link{Address: v.With("view", other), Text: strings.ToUpper(other[:1]) + other[1:], Here: cmp.Or(d.View, "chart") == other})
	}
	q := v.r.URL.Query()
	for _, name := range []string{"match", "device", "group"} {
		for _, value := range q[name] {
			if value != "" {
				d.Chips = append(d.Chips, chip{name, value, v.without(name, value)})
			}
		}
	}
	for _, name := range []string{"from", "window", "view", "rows", "zone"} {
		if value := q.Get(name); value != "" {
			d.Keep = append(d.Keep, pair{name, value})
		}
	}
}

// deviceRows returns a row for each device.
func (v *view) deviceRows(d *timelineData) (*rowSet, error) {
	ctx, p := v.r.Context(), v.panel
	now := &control.CalendarIn{From: v.Now.Format(time.RFC3339Nano), To: v.Now.Add(time.Second).Format(time.RFC3339Nano), Idle: true}
	lines, err := get[control.CalendarLine](ctx, p, v.Caller, "calendar", now)
	if err != nil {
		return nil, err
	}
	set := &rowSet{what: "Device", noun: "slot", use: "in use", used: make(map[string]bool), slots: func(names []string) (map[string][]slot, error) { return v.deviceSlots(d, names) }}
	for i := range lines {
		name := lines[i].Device
		if lines[i].ID != "" && name != "" {
			set.used[name] = true
		}
		group := ""
		if len(lines[i].Kinds) > 0 {
			group = lines[i].Kinds[0]
		}
		set.add(d, name, cmp.Or(group, groupOf(name)))
	}
	set.lede = "No device is known."
	if n := len(set.names); n > 0 {
		set.lede = fmt.Sprintf("%d of %s in use now.", len(set.used), plural(n, "device", "devices"))
	}
	set.with = func(text string) (map[string]bool, error) {
		with := make(map[string]bool)
		lines, err := get[control.CalendarLine](ctx, p, v.Caller, "calendar", d.calendar(nil))
		for i := range lines {
			if l := &lines[i]; l.ID != "" && matches(l, text) {
				with[l.Device] = true
			}
		}
		return with, err
	}
	return set, nil
}

// deviceSlots returns the slots of devices.
func (v *view) deviceSlots(d *timelineData, names []string) (map[string][]slot, error) {
	lines, err := get[control.CalendarLine](v.r.Context(), v.panel, v.Caller, "calendar", d.calendar(names))
	if err != nil {
		return nil, err
	}
	sources := make(map[string]bool)
	lines = slices.DeleteFunc(lines, func(l control.CalendarLine) bool { return !l.To.After(d.From) }) // it was over before its slot's end
	for _, l := range lines {
		_, source, _ := strings.Cut(l.ID, "@")
		sources[source] = true
	}
	of := make(map[string][]slot)
	for i := range lines {
		of[lines[i].Device] = append(of[lines[i].Device], v.reserved(&lines[i], len(sources) == 1))
	}
	return of, nil
}

// reserved returns the slot of a reservation.
func (v *view) reserved(l *control.CalendarLine, oneSource bool) slot {
	s := slot{CalendarLine: *l, Key: l.ID, Address: v.At(l.ID), Shown: l.Status, Name: l.ID, Open: l.State == "stuck"}
	if oneSource {
		s.Name, _, _ = strings.Cut(l.ID, "@")
	}
	if len(l.Conflicts) > 0 && !over(l) {
		s.Shown = "conflicting"
		if l.State == "waiting" {
			s.Shown = l.State
		}
		s.For = v.conflict(&l.Conflicts[0])
	} else if !over(l) && l.State != "scheduled" && l.State != "active" {
		s.For = v.Told(l.Reason)
	}
	return s
}

// filter returns those that keep says yes to.
func filter(all []string, keep func(string) bool) (some []string) {
	for _, s := range all {
		if keep(s) {
			some = append(some, s)
		}
	}
	return some
}

// matches reports whether what people call a reservation contains a text in lower case.
func matches(l *control.CalendarLine, text string) bool {
	return slices.ContainsFunc([]string{l.ID, l.Owner, l.Label}, func(s string) bool { return strings.Contains(strings.ToLower(s), text) })
}

// calendar asks who has devices in the window.
func (d *timelineData) calendar(devices []string) *control.CalendarIn {
	return &control.CalendarIn{Device: devices, From: d.From.Format(time.RFC3339Nano), To: d.To.Format(time.RFC3339Nano), All: true}
}

// rows draws the rows of the page.
func (v *view) rows(d *timelineData) error {
	i := slices.IndexFunc(rowKinds, func(k rowKind) bool { return k.name == d.Rows })
	if i < 0 {
		return fmt.Errorf("rows: want devices, services, queues or vlans, have %.40q: %w", d.Rows, fault.Invalid)
	}
	set, err := rowKinds[i].rows(v, d)
	if err != nil {
		return err
	}
	d.What, d.Use, d.Lede = set.what, set.use, set.lede
	if err := v.filterRows(d, set); err != nil {
		return err
	}
	names, used := set.names, set.used
	groups := make(map[string]*part)
	for _, name := range names {
		g := d.groups[name]
		if groups[g] == nil {
			groups[g] = &part{Name: g}
			d.Groups = append(d.Groups, link{Address: v.With("group", g, "after", ""), Text: g, Here: v.arg("group") == g})
		}
		groups[g].All++
		if used[name] {
			groups[g].Used++
		}
	}
	if after := v.arg("after"); after != "" {
		names = slices.DeleteFunc(names, func(name string) bool { return d.compare(name, after) <= 0 })
		d.Paged = true
	}
	more := len(names) > timelineRows
	names = names[:min(len(names), timelineRows)]
	if len(names) == 0 {
		return nil
	}
	of, err := set.slots(names)
	if err != nil {
		return err
	}
	bars, ids := 0, make(map[string]bool)
	for i, name := range names {
		if bars += len(of[name]); i > 0 && bars > timelineBars[d.View] {
			more, names = true, names[:i]
			break
		}
		r := v.drawRow(d, name, set, of[name])
		for _, b := range r.Bars {
			if key := b.ID + "/" + b.Key; !ids[key] {
				ids[key] = true
				d.Slots = append(d.Slots, b.slot)
				if b.Shown == "conflicting" {
					d.Clashing++
				}
			}
		}
		g := groups[d.groups[name]]
		g.Lines = append(g.Lines, r)
	}
	for _, g := range d.Groups {
		if all := groups[g.Text]; len(all.Lines) > 0 {
			d.Parts = append(d.Parts, *all)
		}
	}
	d.Groups = d.Groups[:min(len(d.Groups), timelineGroups)]
	if more {
		d.Next = v.With("after", names[len(names)-1])
	}
	slices.SortStableFunc(d.Slots, func(a, b slot) int { return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(a.ID, b.ID)) })
	if d.Agenda = d.Slots; d.View == "" && len(d.Slots) > timelineSlots {
		d.Agenda = d.Slots[:timelineSlots]
	}
	return nil
}

// loses reports whether a reservation cannot have a device in its slot.
func loses(l *control.CalendarLine) bool {
	return slices.ContainsFunc(l.Conflicts, func(c control.ConflictLine) bool {
		return c.Name == l.Device && (c.Kind == "device" || c.Kind == "paused")
	})
}

// over reports whether a reservation is finished.
func over(l *control.CalendarLine) bool { return l.State == "finished" }

// drawRow draws a row with its slots.
func (v *view) drawRow(d *timelineData, name string, set *rowSet, lines []slot) row {
	r := row{Name: name, Noun: set.noun, Address: v.With("device", name, "window", "7d", "after", "", "match", "", "group", "")}
	pause := set.paused[name]
	for i := range d.Paused {
		if p := &d.Paused[i]; d.Rows == "devices" && p.What == "device" && p.Name == name {
			pause = p
		}
	}
	if pause != nil && pause.Since.Before(d.To) && (pause.Until.IsZero() || pause.Until.After(d.From)) {
		r.Pause, r.PauseX = pause, d.percent(pause.Since)
		until := d.To
		if !pause.Until.IsZero() {
			until = pause.Until.Time
		}
		r.PauseW = d.width(pause.Since, until)
	}
	if d.quota != nil && d.free < timelineGaps && canBook(d.quota, name) {
		r.Gaps = v.gaps(d, name, pause, lines)
		d.free += len(r.Gaps)
	}
	// What loses a conflict stands below what wins it.
	rank := func(s *slot) int {
		if loses(&s.CalendarLine) {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(lines, func(a, b slot) int {
		return cmp.Or(cmp.Compare(rank(&a), rank(&b)), a.From.Compare(b.From), a.To.Compare(b.To), cmp.Compare(a.ID, b.ID))
	})
	var lanes []time.Time // until when each has a bar
	for i := range lines {
		l := &lines[i]
		at := slices.IndexFunc(lanes, func(until time.Time) bool { return !until.After(l.From) })
		if at < 0 {
			if at = len(lanes); at == timelineLanes {
				r.More++
				continue
			}
			lanes = append(lanes, time.Time{})
		}
		lanes[at] = l.To
		b := v.drawBar(d, l)
		b.Y = 4 + 24*at
		r.Bars = append(r.Bars, b)
	}
	d.explain(r.Bars)
	slices.SortStableFunc(r.Bars, func(a, b bar) int { return a.From.Compare(b.From) }) // the order of the keys
	r.Height = 28 + 24*max(0, len(lanes)-1)
	return r
}

// drawBar draws a slot.
func (v *view) drawBar(d *timelineData, s *slot) bar {
	b := bar{slot: *s}
	l := &s.CalendarLine
	end := l.End
	if over(l) || l.To.Before(end) {
		end = l.To
	}
	b.X, b.Width = d.percent(l.Start), d.width(l.Start, end)
	if shown := clamp(end, d.From, d.To).Sub(clamp(l.Start, d.From, d.To)); shown < d.To.Sub(d.From)/400 { // it would hardly be seen
		b.Width = percent(1, 400)
	}
	if l.From.Before(l.Start) && l.Start.After(d.From) && l.From.Before(d.To) {
		b.Lead, b.LeadTo = d.percent(l.From), d.percent(l.Start)
	}
	if l.To.After(end) && l.To.After(d.From) && end.Before(d.To) {
		b.Tail, b.TailW = d.percent(end), d.width(end, l.To)
	}
	if s.Open && l.To.Before(d.To) {
		b.On = d.percent(l.To)
	}
	if !over(l) {
		for _, c := range l.Conflicts {
			if c.Kind != "device" || c.Name != l.Device || c.From.IsZero() || c.To.IsZero() {
				continue
			}
			from, to := clamp(c.From.Time, l.Start, end), clamp(c.To.Time, l.Start, end)
			if !to.After(d.From) || !from.Before(d.To) {
				continue
			}
			b.Hatch = append(b.Hatch, hatch{d.percent(from), d.width(from, to)})
		}
	}
	room := d.room(l.Start, end)
	owner, name := short(l.Owner, 40), short(b.Name, 24)
	own, _, _ := strings.Cut(name, "@")
	switch {
	case len([]rune(name))+1+len([]rune(owner)) <= room:
		b.Text, b.Owner = name, isolate(owner) // as in the label, which has to begin with what is seen
	case len([]rune(name)) <= room:
		b.Text = name
	case len([]rune(own)) <= room:
		b.Text = own
	}
	b.Says = v.tell(&b.slot)
	return b
}

// room returns how many characters have room in a span: one takes about 6.5 of the 1,040 pixels that
// a window has.
func (d *timelineData) room(from, to time.Time) int {
	return int(clamp(to, d.From, d.To).Sub(clamp(from, d.From, d.To)).Seconds()/d.To.Sub(d.From).Seconds()*1040/6.5) - 2
}

// explain writes beside those bars of a row that wait, conflict or are stuck why that is, up to the
// next bar of the same lane. In a long window it leaves out what is still to come.
func (d *timelineData) explain(bars []bar) {
	for i := range bars {
		b := &bars[i]
		if b.For == "" || over(&b.CalendarLine) || d.To.Sub(d.From) > 26*time.Hour && b.State == "scheduled" {
			continue
		}
		until := d.To
		for j := range bars {
			if next := &bars[j]; next.Y == b.Y && next.From.After(b.From) && next.From.Before(until) {
				until = next.From
			}
		}
		if room := d.room(b.To, until); room > 12 {
			b.Beside, b.Reads = d.percent(b.To), short(b.For, room)
		}
	}
}

// tell tells a slot in words; they begin with those that are in its bar.
func (v *view) tell(s *slot) string {
	text := short(s.Name, 60)
	if !strings.HasPrefix(s.ID, s.Name) {
		text += " of " + short(s.ID, 60)
	}
	if s.Owner != "" {
		text += " " + isolate(short(s.Owner, 60))
	}
	text += ", " + word(s.Shown) + ", " + v.between(s.Start, s.End)
	if devices := s.Devices; len(devices) > 0 {
		verb := ", has "
		if s.Shown == "conflicting" {
			verb = ", wants "
		}
		text += verb + strings.Join(devices[:min(len(devices), 8)], " ")
		if n := len(devices) - 8; n > 0 {
			text += fmt.Sprintf(" and %d more", n)
		}
	}
	if s.Label != "" {
		text += ", " + isolate(short(s.Label, 80))
	}
	if s.For != "" {
		text += ". " + sentence(short(s.For, 200))
	}
	return text
}

// isolate keeps the direction of a text from others' around it, where there is no <bdi>.
func isolate(text string) string { return "\u2068" + text + "\u2069" }

// short cuts a text, and removes what would make it more than one line.
func short(text string, most int) string {
	out := make([]rune, 0, most)
	for _, r := range text {
		if unicode.IsControl(r) {
			r = ' '
		}
		if len(out) == most {
			return string(out[:most-1]) + "…"
		}
		out = append(out, r)
	}
	return string(out)
}

// clamp returns t, or the end of the span that it is outside of.
func clamp(t, from, to time.Time) time.Time {
	switch {
	case t.Before(from):
		return from
	case t.After(to):
		return to
	}
	return t
}

// percent says where a time is in the window.
func (d *timelineData) percent(t time.Time) string {
	return percent(clamp(t, d.From, d.To).Sub(d.From), d.To.Sub(d.From))
}

// width says how wide a span is in the window.
func (d *timelineData) width(from, to time.Time) string {
	return percent(max(0, clamp(to, d.From, d.To).Sub(clamp(from, d.From, d.To))), d.To.Sub(d.From))
}

func percent(part, whole time.Duration) string {
	return strconv.FormatFloat(float64(part)/float64(whole)*100, 'f', 3, 64) + "%"
}

// ticks returns the times on an axis: where a day of the zone begins, and where its clocks show a
// multiple of step. They follow the clocks when these change.
func ticks(from, to, now time.Time, step time.Duration) (all []tick) {
	whole := to.Sub(from)
	add := func(t time.Time, text string, day bool) {
		// There is room for about 40 words, and now has a wide one, too.
		room := whole / 40
		if t.Sub(from) < room && !day || to.Sub(t) < room || t.Sub(now).Abs() < whole/26 {
			text = ""
		}
		all = append(all, tick{X: percent(t.Sub(from), whole), Text: text, Day: day, Edge: t.Sub(from) < room || step >= 24*time.Hour})
	}
	// All zones of today differ from UTC by a number of quarters of an hour. Between two of these there
	// is no change of the clocks.
	const quarter = 15 * time.Minute
	for t := from.Truncate(quarter); t.Before(to); t = t.Add(quarter) {
		hour, minute, _ := t.Clock()
		clock := time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute
		_, _, before := t.Add(-quarter).Date()
		switch begins := t.Day() != before; {
		case t.Before(from):
		case begins:
			add(t, t.Format("Mon 2"), true)
		case clock%step == 0:
			add(t, t.Format("15:04"), false)
		}
	}
	return all
}

// compare orders rows: by their groups, and then as people number devices.
func (d *timelineData) compare(a, b string) int {
	group := func(name string) string { return cmp.Or(d.groups[name], groupOf(name)) } // one that has gone since the page before
	return cmp.Or(cmp.Compare(group(a), group(b)), timeline.ByNumber(a, b))
}

// groupOf returns the group of a device of which no kind is known: the letters that its name
// begins with.
func groupOf(name string) string {
	if i := strings.IndexFunc(name, func(r rune) bool { return !unicode.IsLetter(r) }); i > 0 {
		return name[:i]
	}
	return name
}

// MayBook reports whether the reader may book devices.
func (d *timelineData) MayBook() bool { return d.quota != nil }

// Legend are the states that the page has, in their order in the life of a slot.
func (d *timelineData) Legend() (states []string) {
	for _, s := range []string{"scheduled", "held", "waiting", "conflicting", "activating", "active", "deactivating", "stuck", "succeeded", "failed", "cancelled", "missed",
		"ready", "unready", "starting", "draining", "stopping", "backoff", "fatal", "exited", "leased", "quarantined"} {
		if slices.ContainsFunc(d.Slots, func(slot slot) bool { return slot.Shown == s }) {
			states = append(states, s)
		}
	}
	return states
}

// At is the address of an activation.
func (v *view) At(id string) string { return v.panel.base + "/activations/" + segment(id) }
