package activation

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"activationd/calendar"
	"activationd/event"
	"activationd/internal/fault"
	"activationd/store"
)

// The calendar is an index of the reservations that are not finished: each has an entry for
// each of its devices. Its keys sort by device and by the end of the span, so the uses of a
// device from some time on are found without reading the earlier ones.

// noDevice stands for the device in the entry of a reservation that has none.
const noDevice = "="

// calendarEntries are the entries of r in the calendar.
func (r *Record) calendarEntries() (es []entry) {
	if !r.inCalendar() {
		return nil
	}
	devices := r.DevicesInForce()
	if len(devices) == 0 {
		devices = []string{noDevice}
	}
	val := binary.BigEndian.AppendUint64(nil, uint64(r.occupiedFrom().UnixNano()))
	val = append(val, byte(r.Priority+MaxPriority), r.standing())
	val = binary.BigEndian.AppendUint64(val, r.Announced)
	if len(r.VLANs) > 0 {
		vlans, _ := json.Marshal(r.VLANs) // numbers by text: it cannot fail
		val = append(val, vlans...)
	}
	for _, d := range devices {
		es = append(es, entry{calendarKey + d + "/" + Instant(r.End) + "/" + r.ID, val})
	}
	return es
}

// calendarHead is the length of an entry's value before the VLANs.
const calendarHead = 8 + 1 + 1 + 8

// What an entry of the calendar says of a reservation besides its slot.
const (
	stands byte = iota // as it was announced
	idle               // it is held
	leaves             // it is being ended, and is not served again
)

// standing is what the entries of r say besides its slot.
func (r *Record) standing() byte {
	switch {
	case r.State == Held:
		return idle
	case r.PendingOutcome != "" && r.Comeback != serveAgain:
		return leaves
	}
	return stands
}

// occupiedFrom is when r begins to occupy its devices, or began. If somebody has run it, that is
// before its time. If it is being ended, its entries are those of its slot.
func (r *Record) occupiedFrom() time.Time {
	if began := r.stretch().began; r.NeedsUndo && r.PendingOutcome == "" && r.Comeback != serveAgain && !began.IsZero() && began.Before(r.activateAt()) {
		return began
	}
	return r.activateAt()
}

// noteSpan keeps how long the longest span is that was ever in the calendar: so who wants those that
// begin before some time need not read all that end after it.
func noteSpan(tx store.Tx, span time.Duration) error {
	if uint64(max(0, span)) <= number(tx, longestSpan) {
		return nil
	}
	return putNumber(tx, longestSpan, uint64(span))
}

// parseCalendarEntry decodes an entry of the calendar. The devices are not in the use.
func parseCalendarEntry(key string, val []byte) (device string, u calendar.Use, ok bool) {
	device, rest, _ := strings.Cut(strings.TrimPrefix(key, calendarKey), "/")
	to, id, err := parseInstant(rest)
	if err != nil || len(val) < calendarHead {
		return "", u, false
	}
	u = calendar.Use{
		ID: id, From: time.Unix(0, int64(binary.BigEndian.Uint64(val))).UTC(), To: to.UTC(),
		Priority: int(val[8]) - MaxPriority, Announced: binary.BigEndian.Uint64(val[10:]),
		Idle: val[9] == idle, Leaves: val[9] == leaves,
	}
	if len(val) > calendarHead && json.Unmarshal(val[calendarHead:], &u.VLANs) != nil {
		return "", u, false
	}
	return device, u, true
}

// Uses returns what all reservations occupy that are not finished.
func (t *Txn) Uses() []calendar.Use {
	n := t.liveReservations()
	uses := make([]calendar.Use, 0, n)
	at := make(map[string]int, n) // where each id is in uses
	for k, v := range t.Scan(calendarKey, "") {
		device, u, ok := parseCalendarEntry(k, v)
		if !ok {
			t.Log(slog.LevelError, "an entry of the calendar cannot be read", "key", k)
			continue
		}
		i, known := at[u.ID]
		if !known {
			i = len(uses)
			at[u.ID] = i
			uses = append(uses, u)
		}
		if device != noDevice {
			uses[i].Devices = append(uses[i].Devices, device)
		}
	}
	for _, id := range t.Scan(holderKey, "") {
		if i, ok := at[string(id)]; ok {
			uses[i].Holds = true
		}
	}
	for _, p := range t.pauses() {
		if p.What != PauseSource {
			continue
		}
		prefix := sourceKey + SourceKey(p.Name) + "/"
		for k := range t.Scan(prefix, "") {
			if i, ok := at[strings.TrimPrefix(k, prefix)]; ok && (p.Until.IsZero() || uses[i].From.Before(p.Until)) {
				uses[i].Idle = true
			}
		}
	}
	return uses
}

// UsesOf returns the uses of a device that overlap with a span, by their ends. A zero time
// is no limit. Each has only that device.
func (t *Txn) UsesOf(device string, from, to time.Time) (uses []calendar.Use) {
	prefix := calendarKey + device + "/"
	begin := ""
	if !from.IsZero() {
		begin = prefix + Instant(from)
	}
	holder := string(t.Get(holderKey + device))
	for k, v := range t.Scan(prefix, begin) {
		_, u, ok := parseCalendarEntry(k, v)
		if !ok || !from.IsZero() && !u.To.After(from) || !to.IsZero() && !u.From.Before(to) {
			continue
		}
		u.Devices, u.Holds = []string{device}, u.ID == holder
		uses = append(uses, u)
	}
	return uses
}

// PausedDevices returns the devices that are paused.
func (t *Txn) PausedDevices() map[string]calendar.Pause {
	paused := make(map[string]calendar.Pause)
	for _, p := range t.pauses() {
		if p.What == PauseDevice {
			paused[p.Name] = calendar.Pause{Until: p.Until, Reason: p.Reason}
		}
	}
	return paused
}

// limits are what all reservations share.
func (t *Txn) limits() calendar.Limits {
	l := calendar.Limits{Now: t.Now, Runs: t.Settings.MaxParallel, VLANs: make(map[string]int), Paused: t.PausedDevices()}
	for domain, pool := range t.Settings.Pools {
		l.VLANs[domain] = pool.Size()
	}
	return l
}

// conflictEntry is the index entry of a reservation that is marked as conflicting. Its value
// has the conflicts, so that those which have not changed cost little.
func (r *Record) conflictEntry() entry {
	val, _ := json.Marshal(r.Conflicts) // texts, numbers and times: it cannot fail
	return entry{conflictKey + r.ID, val}
}

// conflictsIn is the inverse of the value of [Record.conflictEntry]; nil for one that cannot be read.
func conflictsIn(val []byte) (conflicts []calendar.Conflict) {
	if json.Unmarshal(val, &conflicts) != nil {
		return nil
	}
	return conflicts
}

// maxJudged bounds how many conflicting reservations a [Judgement] names.
const maxJudged = 100

// A Judgement says which reservations are marked as conflicting.
type Judgement struct {
	Conflicting int
	Lines       []ReportLine // about the first of them
}

// Judged returns the marks, as [Txn.Judge] left them.
func (t *Txn) Judged() (j Judgement) {
	for k, v := range t.Scan(conflictKey, "") {
		if j.Conflicting++; len(j.Lines) == maxJudged {
			continue
		}
		l := ReportLine{What: "conflict", ID: strings.TrimPrefix(k, conflictKey)}
		l.Text = strings.ReplaceAll(ConflictsText(conflictsIn(v)), "; ", "\n")
		if r, err := t.Record(l.ID); err == nil {
			l.Source = r.SourceName()
		}
		j.Lines = append(j.Lines, l)
	}
	return j
}

// Judge looks for conflicts in the whole calendar. It marks the reservations that lose by
// them, and removes the marks of those that do not any more; see package calendar. If the
// store limits transactions and this one is full, another one goes on.
func (t *Txn) Judge() error {
	found := calendar.Judge(t.Uses(), t.limits())
	t.rejudge, t.judged = judgeNothing, true
	marks := make(map[string][]byte)
	for k, v := range t.Scan(conflictKey, "") {
		marks[strings.TrimPrefix(k, conflictKey)] = v
	}
	for _, id := range slices.Sorted(maps.Keys(found)) {
		e := (&Record{ID: id, Life: Life{Conflicts: found[id]}}).conflictEntry()
		if string(marks[id]) != string(e.val) {
			if err := t.mark(id, found[id]); err != nil {
				return err
			}
		}
		delete(marks, id)
	}
	for _, id := range slices.Sorted(maps.Keys(marks)) {
		if err := t.mark(id, nil); err != nil {
			return err
		}
	}
	return nil
}

// mark sets the conflicts of a reservation.
func (t *Txn) mark(id string, conflicts []calendar.Conflict) error {
	if t.Full() {
		t.rejudge = judgeAll
		return nil
	}
	r, err := t.Record(id)
	switch {
	case errors.Is(err, fault.NotFound):
		return t.Delete(conflictKey + id)
	case err != nil:
		t.Log(slog.LevelError, "a record cannot be read; it is left alone", "id", id, "err", err)
		return nil
	}
	old := r.clone()
	r.Conflicts = conflicts
	if len(old.Conflicts) == 0 {
		r.ConflictSince = t.Now
	}
	text := ConflictsText(conflicts)
	differs := ConflictsText(old.Conflicts) != text
	switch {
	case len(conflicts) == 0:
		r.ConflictSince = time.Time{}
		t.happened(r, "conflict.over", event.Event{Reason: "it conflicts with nothing any more"})
	case differs:
		t.happened(r, "conflict", event.Event{Reason: text, Failed: true})
	}
	if differs {
		r.Marks = marks{r.Marks.N + 1, t.Now}
	}
	if r.WaitsOn == waitsOnConflict && r.conflict() == "" {
		r.WaitsOn, r.Reason = waitsOnRetry, "" // it is due at once, also if this daemon dies now
		t.Later(id)
	}
	return t.Save(old, r)
}

// ConflictsText says what the conflicts are, in one line.
func ConflictsText(conflicts []calendar.Conflict) string {
	var all []string
	for _, c := range conflicts {
		all = append(all, c.String())
	}
	return strings.Join(all, "; ")
}

// conflict says why r may not start although it is due: another reservation is to have one
// of its devices. Empty: nothing keeps it from starting. If an operator runs r, that counts
// more than the order in which the reservations were announced.
func (r *Record) conflict() string {
	if r.Urgency == AtOnce || r.NeedsUndo {
		return ""
	}
	for _, c := range r.Conflicts {
		if c.Kind == calendar.Device {
			return "the end of a conflict: " + c.String()
		}
	}
	return ""
}

// What must be judged again once a transaction is durable.
const (
	judgeNothing = iota
	judgeMarked  // those that are marked: something is free now
	judgeAll
)

// noteCalendar notes what a change of a record means for conflicts.
func (t *Txn) noteCalendar(old, r *Record) {
	was, is := old != nil && old.inCalendar(), r.inCalendar()
	switch {
	case is && (!was || !old.occupies(r)):
		t.rejudge = judgeAll
	case was && (!is || len(old.LocksHeld) != len(r.LocksHeld)):
		t.rejudge = max(t.rejudge, judgeMarked)
	}
}

// inCalendar reports whether r has entries in the calendar.
func (r *Record) inCalendar() bool { return r.policy().devices && r.State != Finished }

// occupies reports whether r has the same entries in the calendar as o.
func (r *Record) occupies(o *Record) bool {
	return r.occupiedFrom().Equal(o.occupiedFrom()) && r.standing() == o.standing() && r.End.Equal(o.End) && slices.Equal(r.DevicesInForce(), o.DevicesInForce()) &&
		r.Priority == o.Priority && r.Announced == o.Announced && maps.Equal(r.VLANs, o.VLANs)
}

// Rejudge has all conflicts judged again once the transaction is durable.
func (t *Txn) Rejudge() { t.rejudge = judgeAll }

// mustJudge reports whether conflicts must be judged again.
func (t *Txn) mustJudge() bool {
	return t.rejudge == judgeAll || t.rejudge == judgeMarked && t.has(conflictKey)
}

// Unjudged returns a channel that receives a value when conflicts must be judged again. Its
// reader then calls [Engine.Judge].
func (e *Engine) Unjudged() <-chan struct{} { return e.judgeNow }

// Judge looks for conflicts: see [Txn.Judge].
func (e *Engine) Judge(ctx context.Context) error {
	return e.Update(ctx, (*Txn).Judge)
}

// A CalendarEntry says that a reservation is to have a device, or has it.
type CalendarEntry struct {
	Device   string    // empty: it has none
	From, To time.Time // its span; if that is over and the reservation is not, it goes on a little longer
	View     View
}

// A CalendarFilter chooses entries of the calendar.
type CalendarFilter struct {
	Devices  []string  // empty: all
	From, To time.Time // entries that overlap with this span; zero: no limit
	By       Actor     // what the actor may not see is left out of the views
}

// calendarPage is how many entries one transaction reads.
const calendarPage = 500

// Calendar hands the entries that match to fn, by device and by the end of their spans. It
// stops at an error of fn and returns that. It is not a snapshot.
func (e *Engine) Calendar(ctx context.Context, f CalendarFilter, fn func(CalendarEntry) error) error {
	if len(f.Devices) == 0 {
		var err error
		if f.Devices, err = e.calendarDevices(ctx); err != nil {
			return err
		}
	}
	for _, d := range f.Devices {
		for from := ""; ; {
			var page []CalendarEntry
			if err := e.View(ctx, func(t *Txn) error {
				page, from = t.calendarPage(&f, d, from)
				return nil
			}); err != nil {
				return err
			}
			for _, ce := range page {
				if err := fn(ce); err != nil {
					return err
				}
			}
			if from == "" {
				break
			}
		}
	}
	return nil
}

// calendarPage returns entries of a device, and the key of the first that is left; empty:
// none is.
func (t *Txn) calendarPage(f *CalendarFilter, device, from string) (page []CalendarEntry, next string) {
	prefix := calendarKey + device + "/"
	if from == "" && f.From.After(t.Now.Add(overdue)) {
		from = prefix + Instant(f.From)
	}
	longest := time.Duration(number(t, longestSpan))
	for k, v := range t.Scan(prefix, from) {
		if len(page) == calendarPage {
			return page, k
		}
		_, u, ok := parseCalendarEntry(k, v)
		if ok && !f.To.IsZero() && !u.To.Add(-longest).Before(f.To) {
			break // neither this one nor those that end later have begun by then
		}
		if !u.To.After(t.Now) {
			u.To = t.Now.Add(overdue)
		}
		if !ok || !f.From.IsZero() && !u.To.After(f.From) || !f.To.IsZero() && !u.From.Before(f.To) {
			continue
		}
		r, err := t.Record(u.ID)
		if err != nil {
			continue // a turn that reads it logs the error
		}
		ce := CalendarEntry{Device: device, From: u.From, To: u.To, View: t.view(r).For(f.By)}
		if device == noDevice {
			ce.Device = ""
		}
		page = append(page, ce)
	}
	return page, ""
}

// BookedDevices returns the devices of reservations that are not finished, whenever they are.
func (e *Engine) BookedDevices(ctx context.Context) ([]string, error) {
	devices, err := e.calendarDevices(ctx)
	return slices.DeleteFunc(devices, func(name string) bool { return name == noDevice }), err
}

// calendarDevices returns the devices that are in the calendar, noDevice included. It skips
// from one to the next.
func (e *Engine) calendarDevices(ctx context.Context) (devices []string, err error) {
	err = e.View(ctx, func(t *Txn) error {
		devices = nil
		for from := ""; ; {
			device := ""
			for k := range t.Scan(calendarKey, from) {
				device, _, _ = strings.Cut(strings.TrimPrefix(k, calendarKey), "/")
				break
			}
			if device == "" {
				return nil
			}
			devices = append(devices, device)
			from = calendarKey + device + "0" // the first key behind those of the device: 0 follows the slash
		}
	})
	return devices, err
}

// conflicting returns the reservations with conflicts that need a person, with at most a
// number of examples, those first whose ids come first.
func (t *Txn) conflicting(by Actor, most int) (s Sample) {
	for k, v := range t.Scan(conflictKey, "") {
		if conflicts := conflictsIn(v); conflicts != nil && !slices.ContainsFunc(conflicts, needsPerson) {
			continue
		}
		s.All++
		if len(s.Views) < most {
			if r, err := t.Record(strings.TrimPrefix(k, conflictKey)); err == nil {
				s.Views = append(s.Views, t.view(r).For(by))
			}
		}
	}
	return s
}

// needsPerson reports whether only a person can end a conflict. A reservation that conflicts
// with the number of runs begins a little later, and who has paused a device knows of it.
func needsPerson(c calendar.Conflict) bool {
	return c.Kind == calendar.Device || c.Kind == calendar.VLANs
}

// A Dispute is about a device that two reservations want at the same time.
type Dispute struct {
	Device        string
	Winner, Loser calendar.Use // each has only that device
}

// Disputes returns those in which a reservation takes part. It either wins all of them or
// loses all of them: one that lacks one of its devices keeps none from others.
func (e *Engine) Disputes(ctx context.Context, id string) (ds []Dispute, err error) {
	err = e.View(ctx, func(t *Txn) error {
		ds = nil
		r, err := t.Record(id)
		if err != nil || !r.inCalendar() {
			return err
		}
		loses := t.lost(r.ID, "")
		for _, d := range r.DevicesInForce() {
			uses := t.UsesOf(d, r.occupiedFrom(), r.End)
			me := slices.IndexFunc(uses, func(u calendar.Use) bool { return u.ID == r.ID })
			if me < 0 || loses && !t.lost(r.ID, d) {
				continue
			}
			for i := range uses {
				uses[i].Idle = uses[i].Idle || t.kept(&uses[i])
			}
			for i, u := range uses {
				switch {
				case i == me:
				case u.Leaves:
				case loses && !t.lost(u.ID, ""):
					ds = append(ds, Dispute{d, u, uses[me]})
				case !loses && t.lost(u.ID, d):
					ds = append(ds, Dispute{d, uses[me], u})
				}
			}
		}
		return nil
	})
	return ds, err
}

// kept reports whether a pause of its source or of a device keeps a use from beginning.
func (t *Txn) kept(u *calendar.Use) bool {
	if r, err := t.Record(u.ID); err == nil {
		all := *u
		all.Devices = r.DevicesInForce()
		if limits := (calendar.Limits{Paused: t.PausedDevices()}); limits.Shut(&all) {
			return true
		}
	}
	return slices.ContainsFunc(t.pauses(), func(p *Pause) bool {
		return p.What == PauseSource && (p.Until.IsZero() || u.From.Before(p.Until)) &&
			t.Get(sourceKey+SourceKey(p.Name)+"/"+u.ID) != nil
	})
}

// A Loss is a conflict of a reservation about something of which several have a part: VLANs, or
// room to run.
type Loss struct {
	ID       string
	Conflict calendar.Conflict
}

// Losses returns the conflicts that name a reservation among those that have what is wanted.
// Those that want a device of it are in [Engine.Disputes].
func (e *Engine) Losses(ctx context.Context, id string) (ls []Loss, err error) {
	named, _ := json.Marshal(id) // it is a text
	err = e.View(ctx, func(t *Txn) error {
		ls = nil
		for k, v := range t.Scan(conflictKey, "") {
			if !bytes.Contains(v, named) { // the cheap look first: there may be many
				continue
			}
			for _, c := range conflictsIn(v) {
				if c.Kind != calendar.Device && slices.Contains(c.With, id) {
					ls = append(ls, Loss{strings.TrimPrefix(k, conflictKey), c})
				}
			}
		}
		return nil
	})
	return ls, err
}

// lost reports whether a reservation is marked because another one has a device; empty: any
// of its devices.
func (t *Txn) lost(id, device string) bool {
	return slices.ContainsFunc(conflictsIn(t.Get(conflictKey+id)), func(c calendar.Conflict) bool {
		return c.Kind == calendar.Device && (device == "" || c.Name == device)
	})
}

// indexCalendar makes the calendar in a store of a version that had none.
func indexCalendar(ctx context.Context, db store.Store) error {
	return indexLater(ctx, db, calendarMade, sourceKey, func(tx store.Tx, k string, v []byte) []entry {
		if _, live := parseMark(v); !live {
			return nil
		}
		id := k[strings.LastIndexByte(k, '/')+1:]
		r, err := decode(id, tx.Get(key(id)))
		if err != nil {
			return nil // a turn that reads it logs the error
		}
		return r.calendarEntries()
	})
}
