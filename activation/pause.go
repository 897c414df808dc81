package activation

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"activationd/event"
	"activationd/internal/fault"
)

// While something is paused, no job or reservation that it concerns begins: what would be
// claimed for phase activate waits for the end of the pause instead. What runs goes on, and
// what is to be undone is undone.
//
// An activation that waits for a pause is in no queue, so it keeps no others from running. An
// index has it under what is paused. When the pause ends, an entry in the index of instants
// under the same name makes the engine look at the waiting ones, as many in each turn as fit,
// until there are none.

// What can be paused, besides queues, whose pauses package queue has.
const (
	PauseDaemon = "daemon" // everything
	PauseSource = "source" // the reservations of a source
	PauseDevice = "device" // what has the device, or a lock of its name
)

// A Pause says that nothing begins that it concerns.
type Pause struct {
	What   string    `json:"what"`           // PauseDaemon, PauseSource or PauseDevice
	Name   string    `json:"name,omitempty"` // of the source or the device
	Until  time.Time `json:"until,omitzero"` // zero: until somebody resumes it
	Reason string    `json:"reason,omitempty"`
	By     string    `json:"by,omitempty"`
	Since  time.Time `json:"since"`
}

// maxPauseReason bounds the reason for a pause: each activation that waits has a copy.
const maxPauseReason = 300

// pauseMark begins the names of pauses in the index of instants, after producerMark.
const pauseMark = "pause" + kindMark

// paused is the name of a pause in keys.
func paused(what, name string) string {
	switch what {
	case PauseDaemon:
		return what
	case PauseSource:
		name = SourceKey(name)
	}
	return what + "/" + name
}

func (p *Pause) key() string { return paused(p.What, p.Name) }

// Of names what is paused: "the daemon", "device sw1".
func (p *Pause) Of() string {
	if p.What == PauseDaemon {
		return "the daemon"
	}
	return p.What + " " + p.Name
}

// String says what is paused, by whom, until when and why.
func (p *Pause) String() string {
	return fmt.Sprintf("%s, which %s has paused%s", p.Of(), cmp.Or(p.By, "somebody"), p.terms())
}

// terms says until when something is paused, and why.
func (p *Pause) terms() string {
	until := ""
	if !p.Until.IsZero() {
		until = " until " + TimeText(p.Until)
	}
	return until + reasonAfter(p.Reason)
}

// WayOut is the command that ends the pause.
func (p *Pause) WayOut() string {
	if p.What == PauseDaemon {
		return "atctl resume daemon"
	}
	return "atctl resume " + p.What + " " + p.Name
}

// over reports whether the pause has ended by its time. Its record is removed in a turn.
func (p *Pause) over(m Moment) bool { return !p.Until.IsZero() && m.Come(p.Until) }

// decodePause decodes the pause of a name in keys. One that cannot be decoded stays a pause:
// somebody had a reason for it.
func decodePause(name string, data []byte) *Pause {
	p := new(Pause)
	if err := json.Unmarshal(data, p); err != nil || p.key() != name {
		p = &Pause{Reason: "its record cannot be read"}
		p.What, p.Name, _ = strings.Cut(name, "/")
		if p.What == PauseSource {
			p.Name = SourceName(p.Name)
		}
	}
	return p
}

// pause returns the pause of a name in keys that is in force, or nil.
func (t *Txn) pause(name string) *Pause {
	data := t.Get(pauseKey + name)
	if data == nil {
		return nil
	}
	if p := decodePause(name, data); !p.over(t.Moment) {
		return p
	}
	return nil
}

// PauseOfDevice returns the pause of a device that is in force, or nil.
func (t *Txn) PauseOfDevice(device string) *Pause { return t.pause(PauseDevice + "/" + device) }

// pauseOf returns a pause for whose end r waits, or nil.
func (t *Txn) pauseOf(r *Record) *Pause {
	if r.policy().serves {
		return nil
	}
	if !t.has(pauseKey) { // as nearly always
		return nil
	}
	names := []string{PauseDaemon}
	if r.Source != "" {
		names = append(names, PauseSource+"/"+r.Source)
	}
	for _, w := range r.lockRequests() {
		names = append(names, PauseDevice+"/"+w.name)
	}
	for _, name := range names {
		if p := t.pause(name); p != nil {
			return p
		}
	}
	return nil
}

// pauses lists all pauses that are in force.
func (t *Txn) pauses() (all []*Pause) {
	for k, data := range t.Scan(pauseKey, "") {
		if p := decodePause(strings.TrimPrefix(k, pauseKey), data); !p.over(t.Moment) {
			all = append(all, p)
		}
	}
	return all
}

// awaitResume makes r wait for the end of a pause.
func (t *turn) awaitResume(r *Record, p *Pause) (changed bool) {
	name := p.key()
	switch {
	case r.WaitsOn != waitsOnPause:
		r.Until = time.Time{} // a pause does not count as waiting for locks
		if limit := r.lateLimit(t.Settings.MissedGrace); limit > 0 && r.Urgency == OnTime && !r.mayHaveRun() {
			began := r.activateAt()
			if began.Before(t.Now) {
				began = t.Now // it may have waited for locks before
			}
			r.Until = began.Add(limit)
		}
	case r.PausedBy == name:
		return false // Engine.Get says what the pause is now
	}
	r.Queued, r.PausedBy = 0, name
	t.wait(r, waitsOnPause, p.String())
	return true
}

// pauseEntry is the entry of a pause in the index of instants. It comes before all others of
// its instant.
func pauseEntry(name string, at time.Time) []entry {
	if at.IsZero() {
		return nil
	}
	return []entry{{instantKey + Instant(at) + "/" + producerMark + pauseMark + name, []byte(" ")}}
}

// pausedEntry is the entry of r, which waits for a pause. It sorts by priority, and then by the
// time at which r was due.
func (r *Record) pausedEntry() entry {
	return entry{pausedKey + r.PausedBy + "/" + priorityPrefix(r.Priority) + Instant(r.activateAt()) + "/" + r.ID, []byte{}}
}

// awaitsResume lists those that wait for the end of a pause, at most so many.
func (t *Txn) awaitsResume(name string, most int) (ids []string) {
	prefix := pausedKey + name + "/"
	for k := range t.Scan(prefix, "") {
		if len(ids) == most {
			break
		}
		_, id, _ := strings.Cut(strings.TrimPrefix(k, prefix), "/")
		ids = append(ids, id)
	}
	return ids
}

// Pause pauses something, or replaces the end and the reason of its pause. The errors are of
// kind fault.Invalid for a pause that cannot be, and fault.NotFound for an unknown source.
func (e *Engine) Pause(ctx context.Context, by Actor, p Pause) (now Pause, err error) {
	err = e.UpdateBy(ctx, by, func(t *Txn) error {
		now = p
		if err := t.checkPause(&now); err != nil {
			return err
		}
		name, was := now.key(), time.Time{}
		now.By, now.Since = by.Name, t.Now
		if data := t.Get(pauseKey + name); data != nil {
			old := decodePause(name, data)
			was = old.Until
			if !old.over(t.Moment) && !old.Since.IsZero() {
				now.Since = old.Since
			}
		}
		data, err := json.Marshal(&now)
		if err != nil {
			return err
		}
		if err := t.Put(pauseKey+name, data); err != nil {
			return err
		}
		t.rearm = true
		if err := t.reindex(append(pauseEntry(name, was), pauseEntry(name, atOnce)...), pauseEntry(name, now.Until)); err != nil {
			return err
		}
		t.pauseHappened(&now, "paused", "pause", now.Of()+now.terms())
		t.Later(t.queuedFor(&now)...)
		t.Later(t.running()...) // their attempts may be armed
		return nil
	})
	return now, err
}

// checkPause returns an error if a pause cannot be.
func (t *Txn) checkPause(p *Pause) error {
	switch {
	case len(p.Reason) > maxPauseReason:
		return fmt.Errorf("reason: it has %d bytes, at most %d are possible: %w", len(p.Reason), maxPauseReason, fault.Invalid)
	case !p.Until.IsZero() && !p.Until.After(t.Now):
		return fmt.Errorf("until: %s is in the past: %w", TimeText(p.Until), fault.Invalid)
	case p.Until.Year() > 2200:
		return fmt.Errorf("until: %s is too far away; without until the pause lasts until it is resumed: %w", TimeText(p.Until), fault.Invalid)
	}
	return t.checkPaused(p.What, p.Name)
}

// checkPaused returns an error if there is nothing of a name that can be paused.
func (t *Txn) checkPaused(what, name string) error {
	switch what {
	case PauseDaemon:
		if name != "" {
			return fmt.Errorf("the daemon has no name here, such as %q: %w", name, fault.Invalid)
		}
	case PauseSource:
		return t.checkSource(name)
	case PauseDevice:
		if !ValidName(name) {
			return fmt.Errorf("device: %q is not a name: want up to 64 letters, digits and ._@:+- that begin with a letter, a digit or _: %w", name, fault.Invalid)
		}
	default:
		return fmt.Errorf("%q cannot be paused: want daemon, source NAME, queue NAME or device NAME: %w", what, fault.Invalid)
	}
	return nil
}

// checkSource returns an error if there is no source of a name.
func (t *Txn) checkSource(name string) error {
	if _, ok := t.Settings.Sources[SourceKey(name)]; ok && name != "" {
		return nil
	}
	known := slices.Sorted(maps.Keys(t.Settings.Sources))
	for i, key := range known {
		known[i] = SourceName(key)
	}
	if len(known) == 0 {
		return fmt.Errorf("there is no source %q: the configuration has none: %w", name, fault.NotFound)
	}
	return fmt.Errorf("there is no source %q: the configuration has %s: %w", name, strings.Join(known, ", "), fault.NotFound)
}

// queuedFor lists those in queues that a pause concerns, because they must leave these:
// otherwise they would keep others from the locks for which they are first. While the daemon is
// paused nothing else begins either, so they may stay until their turn comes.
func (t *Txn) queuedFor(p *Pause) (ids []string) {
	prefix := queueKey
	switch p.What {
	case PauseDaemon:
		return nil
	case PauseDevice:
		prefix += p.Name + "/"
	}
	seen := make(map[string]bool)
	for k := range t.Scan(prefix, "") {
		if id := k[strings.LastIndexByte(k, '/')+1:]; !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	return ids
}

// queuedThoughPaused lists those in queues that the pauses in force may concern. A daemon that
// died may not have looked at them.
func (t *Txn) queuedThoughPaused() (ids []string) {
	for _, p := range t.pauses() {
		ids = append(ids, t.queuedFor(p)...)
	}
	return sortedSet(ids)
}

// running lists the activations with an open attempt on this host.
func (t *Txn) running() (ids []string) {
	prefix := ofHost(runKey, t.host)
	for k := range t.Scan(prefix, "") {
		ids = append(ids, strings.TrimPrefix(k, prefix))
	}
	return ids
}

// disarm takes back an attempt that waits for its start time, if a pause concerns it.
func (t *turn) disarm(r *Record) (changed bool) {
	a := r.openAttempt()
	if !r.armed(t.Now) || r.Stopped || r.Recalled != "" || !t.here(a) {
		return false
	}
	p := t.pauseOf(r)
	if p == nil {
		return false
	}
	r.Recalled = "taken back because of " + p.String()
	return true
}

// Resume ends a pause, and returns it, with the number of those that waited. If there is none, the error is of kind fault.Conflict,
// and says what is paused.
func (e *Engine) Resume(ctx context.Context, by Actor, what, name string) (was PauseInForce, err error) {
	err = e.UpdateBy(ctx, by, func(t *Txn) error {
		p := t.pause(paused(what, name))
		if p == nil {
			return t.notPaused(&Pause{What: what, Name: name})
		}
		was = PauseInForce{*p, len(t.awaitsResume(p.key(), maxPausedCount))}
		t.rearm = true
		return t.endPause(p, "resume", fmt.Sprintf("%s, which %s had paused%s", p.Of(), cmp.Or(p.By, "somebody"), p.terms()))
	})
	return was, err
}

// notPaused is the error for the resumption of what is not paused.
func (t *Txn) notPaused(p *Pause) error {
	const most = 10
	var names []string
	all := t.pauses()
	for i, other := range all {
		if i == most {
			names = append(names, fmt.Sprintf("%d more", len(all)-most))
			break
		}
		names = append(names, other.Of())
	}
	if len(names) == 0 {
		if err := t.checkPaused(p.What, p.Name); err != nil {
			return err
		}
		return fmt.Errorf("%s is not paused, and neither is anything else: %w", p.Of(), fault.Conflict)
	}
	return fmt.Errorf("%s is not paused; what is paused: %s: %w", p.Of(), strings.Join(names, ", "), fault.Conflict)
}

// endPause removes a pause. The engine then looks at those that wait for its end.
func (t *Txn) endPause(p *Pause, action, why string) error {
	name, next := p.key(), time.Time{}
	if len(t.awaitsResume(name, 1)) > 0 {
		next = atOnce
	}
	if err := t.Delete(pauseKey + name); err != nil {
		return err
	}
	t.pauseHappened(p, "resumed", action, why)
	return t.reindex(pauseEntry(name, p.Until), pauseEntry(name, next))
}

// pauseHappened notes that a pause began, or ended.
func (t *Txn) pauseHappened(p *Pause, what, action, why string) {
	if p.What != PauseDaemon { // it changes who gets what
		t.Rejudge()
	}
	topic := event.Topic("daemon", what)
	switch p.What {
	case PauseSource:
		topic = event.Topic("source", p.Name, what)
	case PauseDevice:
		topic = event.Topic("device", p.Name, what)
	}
	t.pausing = t.pausing || p.What == PauseDaemon
	t.Emit(event.Event{Topic: topic, What: p.What + "." + what, Action: action, Reason: why})
}

// pauseDue ends a pause whose time has come, and looks at those that wait for the end of one
// that is over.
func (t *turn) pauseDue(name string) (changed bool, err error) {
	if data := t.Get(pauseKey + name); data != nil {
		p := decodePause(name, data)
		if !p.over(t.Moment) {
			return false, t.unschedule(producerMark + pauseMark + name)
		}
		if err := t.endPause(p, "", p.Of()+": its pause has ended"); err != nil {
			return false, err
		}
	}
	for _, id := range t.awaitsResume(name, maxTurn) {
		if t.full() {
			break
		}
		if err := t.resumed(id); err != nil {
			return false, err
		}
	}
	if len(t.awaitsResume(name, 1)) > 0 { // more than fit
		t.more = true
		return true, nil
	}
	return true, t.reindex(pauseEntry(name, atOnce), nil)
}

// resumed takes the steps that are due for a record that waits for a pause that is over.
func (t *turn) resumed(id string) error {
	t.looked, t.last = t.looked+1, id
	r, err := t.Record(id)
	if err == nil && t.size.alone[id] {
		err = errTooMuch
	}
	if err != nil {
		t.Log(slog.LevelError, "a record cannot be read; it is left alone", "id", id, "err", err)
		return t.forgetPaused(id)
	}
	old := r.clone()
	if _, err := t.advance(r); err != nil {
		return err
	}
	return t.put(old, r)
}

// forgetPaused removes an id that has no usable record from the index of those that wait for a
// pause. The engine would look at it forever.
func (t *Txn) forgetPaused(id string) error {
	var keys []string
	for k := range t.Scan(pausedKey, "") {
		if strings.HasSuffix(k, "/"+id) {
			keys = append(keys, k)
		}
	}
	for _, k := range keys {
		if err := t.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// tellPaused reports whether the daemon is paused to Parts.Paused.
func (e *Engine) tellPaused(ctx context.Context) {
	if e.parts.Paused == nil {
		return
	}
	e.telling.Lock()
	defer e.telling.Unlock()
	paused := false
	err := e.View(ctx, func(t *Txn) error {
		paused = t.pause(PauseDaemon) != nil
		return nil
	})
	if err != nil {
		e.parts.Log.Error("cannot read whether the daemon is paused", "err", err)
		return
	}
	e.parts.Paused(paused)
}

// NamesDevice reports whether a reservation that is not finished has a device, or something
// holds a lock of that name, or waits for it.
func (e *Engine) NamesDevice(ctx context.Context, name string) (named bool, err error) {
	err = e.View(ctx, func(t *Txn) error {
		named = t.Get(holderKey+name) != nil
		for _, prefix := range []string{calendarKey, holderKey, queueKey, pausedKey + PauseDevice + "/"} {
			named = named || t.has(prefix+name+"/")
		}
		return nil
	})
	return named, err
}

// A PauseInForce is a pause with the number of activations that wait for its end.
type PauseInForce struct {
	Pause
	Waiting int
}

// maxPausedCount bounds how many waiting activations are counted.
const maxPausedCount = 100_000

// Pauses returns the pauses that are in force: of the daemon, of devices, and of sources, by name.
func (e *Engine) Pauses(ctx context.Context) (all []PauseInForce, err error) {
	err = e.View(ctx, func(t *Txn) error {
		all = nil
		for _, p := range t.pauses() {
			all = append(all, PauseInForce{*p, len(t.awaitsResume(p.key(), maxPausedCount))})
		}
		return nil
	})
	return all, err
}
