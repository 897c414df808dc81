package activation

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"activationd/internal/fault"
	"activationd/store"
)

// A want is a lock as somebody wants it: for itself alone, shared with all who
// share it too, or some of a number of units of it.
type want struct {
	name   string
	shared bool
	units  int // of capacity
	of     int // the capacity; 0: not counted
}

// maxUnits bounds a lock's capacity.
const maxUnits = 1_000_000

// sharedSuffix marks a lock that is shared.
const sharedSuffix = ":shared"

// parseWant reads a lock as a job names it: NAME, NAME:shared or NAME=UNITS/CAPACITY.
func parseWant(s string) (want, error) {
	var w want
	name, counted, isCounted := strings.Cut(s, "=")
	if w.name = name; isCounted {
		units, capacity, _ := strings.Cut(counted, "/")
		var err1, err2 error
		w.units, err1 = strconv.Atoi(units)
		w.of, err2 = strconv.Atoi(capacity)
		if err1 != nil || err2 != nil || w.units < 1 || w.units > w.of || w.of > maxUnits {
			return w, fmt.Errorf("lock: %q: want NAME=UNITS/CAPACITY, such as net=1/4, with 1 to CAPACITY units and at most %d: %w", s, maxUnits, fault.Invalid)
		}
	} else {
		w.name, w.shared = strings.CutSuffix(s, sharedSuffix)
	}
	switch {
	case strings.HasSuffix(w.name, sharedSuffix):
		return w, fmt.Errorf("lock: %q: want it shared or counted, and that once: %w", s, fault.Invalid)
	case validName(w.name) && w.String() != s:
		return w, fmt.Errorf("lock: %q: want it as %s: %w", s, w, fault.Invalid)
	}
	if !validName(w.name) {
		return w, fmt.Errorf("lock: %q is not a name: want up to 64 letters, digits and ._@:+- that begin with a letter, a digit or _: %w", w.name, fault.Invalid)
	}
	return w, nil
}

// String is what parseWant reads.
func (w want) String() string {
	switch {
	case w.shared:
		return w.name + sharedSuffix
	case w.of > 0:
		return fmt.Sprintf("%s=%d/%d", w.name, w.units, w.of)
	}
	return w.name
}

// exclusive reports whether nobody else may hold the lock meanwhile.
func (w want) exclusive() bool { return !w.shared && w.of == 0 }

// fits reports whether the lock can be had as w wants it while others hold it.
// Nothing is configured: of several capacities that are named, the least holds.
func (w want) fits(others []want) bool {
	units, of := w.units, w.of
	for _, o := range others {
		if o.shared != w.shared || o.exclusive() || w.exclusive() {
			return false
		}
		units += o.units
		of = min(of, o.of)
	}
	return units <= of
}

// checkWants returns what is wrong with a job's locks.
func checkWants(specs []string) error {
	if len(specs) > maxLocks {
		return fmt.Errorf("lock: at most %d are possible: %w", maxLocks, fault.Invalid)
	}
	seen := make(map[string]string)
	for _, s := range specs {
		w, err := parseWant(s)
		if err != nil {
			return err
		}
		if strings.HasPrefix(w.name, recurrenceLocks) {
			return fmt.Errorf("lock: %s: names that begin with %s are the recurrences' own: %w", s, recurrenceLocks, fault.Invalid)
		}
		if other, ok := seen[w.name]; ok && other != s {
			return fmt.Errorf("lock: %s and %s are the same lock; want it in one way: %w", other, s, fault.Invalid)
		}
		seen[w.name] = s
	}
	return nil
}

// want reads one of r's own locks, or devices: a device is always for one alone.
func (r *Record) want(spec string) want {
	if r.slot() {
		return want{name: spec}
	}
	w, err := parseWant(spec)
	if err != nil { // it was checked when the job was added
		return want{name: spec}
	}
	return w
}

// wants lists the locks that the activation needs while it runs. As long as
// something is to be undone these are the ones that it was begun with, whatever
// its source says now.
func (r *Record) wants() []want { return r.wantsOf(r.needs()) }

func (r *Record) needs() []string {
	switch {
	case !r.slot():
		return r.Locks
	case r.Dirty:
		return r.Held
	}
	return r.Devices
}

// DevicesInForce returns the devices of a reservation: as long as something is to
// be undone those that it was activated with, which its source may have changed.
func (r *Record) DevicesInForce() []string {
	if !r.slot() {
		return nil
	}
	return r.needs()
}

func (r *Record) wantsOf(specs []string) []want {
	ws := make([]want, len(specs))
	for i, s := range specs {
		ws[i] = r.want(s)
	}
	return ws
}

// holding is the entry of a lock that r holds.
func (r *Record) holding(w want) entry {
	if w.exclusive() {
		return entry{holderKey + w.name, []byte(r.ID)}
	}
	return entry{holderKey + w.name + "/" + r.ID, []byte(w.String())}
}

// A holder is somebody who holds a lock, and how.
type holder struct {
	id   string
	want want
}

// holders lists who holds a lock but for id, in the order of their ids.
func (t *txn) holders(lock, id string) (hs []holder) {
	if h := string(t.Get(holderKey + lock)); h != "" && h != id {
		hs = append(hs, holder{h, want{name: lock}})
	}
	prefix := holderKey + lock + "/"
	for k, v := range t.Scan(prefix, "") {
		if h := strings.TrimPrefix(k, prefix); h != id {
			if w, err := parseWant(string(v)); err == nil {
				hs = append(hs, holder{h, w})
			}
		}
	}
	return hs
}

// blocker says what keeps r from running: a lock that another holds, or one
// that another who comes first waits for. Empty: no lock does.
func (t *txn) blocker(r *Record) string {
	for _, w := range r.wants() {
		if slices.Contains(r.Held, w.String()) {
			continue
		}
		others := t.holders(w.name, r.ID)
		if !w.fits(wantsHeld(others)) {
			return fmt.Sprintf("lock %s, held by %s", w, names(others))
		}
		if pos, h := t.head(w.name); h != "" && h != r.ID && pos < r.position() {
			return fmt.Sprintf("lock %s, next for %s", w, h)
		}
	}
	return ""
}

func wantsHeld(hs []holder) []want {
	ws := make([]want, len(hs))
	for i, h := range hs {
		ws[i] = h.want
	}
	return ws
}

// names tells who holds a lock: all, or some of many.
func names(hs []holder) string {
	const most = 5
	var ids []string
	for i, h := range hs {
		if i == most {
			ids = append(ids, fmt.Sprintf("%d more", len(hs)-most))
			break
		}
		ids = append(ids, h.id)
	}
	return strings.Join(ids, ", ")
}

// MaxPriority bounds the priority of a job, in both directions.
const MaxPriority = 99

// position is r's place among those who wait for the same: it sorts by
// priority, the highest first, and then by arrival. One who has not come into
// line comes after all of its priority.
func (r *Record) position() string {
	if r.Line == 0 {
		return place(r.Priority) + notInLine
	}
	return place(r.Priority) + fmt.Sprintf("%016x", r.Line)
}

// notInLine stands for the number of one who is not in line, and sorts after all
// such numbers, and before the place of any lower priority.
const notInLine = "g"

// place sorts before the digits for a high priority, and after them for a low one.
func place(priority int) string {
	switch {
	case priority > 0:
		return fmt.Sprintf("!%02d", MaxPriority-priority)
	case priority < 0:
		return fmt.Sprintf("~%02d", -priority)
	}
	return ""
}

// A Grip is one activation's use of one lock, or its wait for it.
type Grip struct {
	Lock    string
	ID      string
	Want    string // as the job asked for it: NAME, NAME:shared, NAME=1/4
	Waiting bool
	For     []string // the ids of those who hold it, or of the one before in line with whom it cannot share; none: it waits for something else
}

// Locks lists all locks that somebody holds or is in line for, by name: first
// who holds each, then who waits, in the order of the line.
func (e *Engine) Locks(ctx context.Context) (grips []Grip, err error) {
	err = e.parts.DB.View(ctx, func(tx store.Tx) error {
		t := e.begin(tx)
		grips = nil
		names := make(map[string]bool)
		for k := range tx.Scan(holderKey, "") {
			name, _, _ := strings.Cut(strings.TrimPrefix(k, holderKey), "/")
			names[name] = true
		}
		for k := range tx.Scan(queueKey, "") {
			name, _, _ := strings.Cut(strings.TrimPrefix(k, queueKey), "/")
			names[name] = name != slotQueue
		}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			if names[name] {
				grips = append(grips, t.grips(name)...)
			}
		}
		return nil
	})
	return grips, err
}

// grips lists who holds a lock, and who waits for it.
func (t *txn) grips(lock string) (gs []Grip) {
	var before Grip // the one before, in line
	for _, h := range t.holders(lock, "") {
		gs = append(gs, Grip{Lock: lock, ID: h.id, Want: h.want.String()})
	}
	prefix := queueKey + lock + "/"
	for k := range t.Scan(prefix, "") {
		_, id, _ := strings.Cut(strings.TrimPrefix(k, prefix), "/")
		r, err := t.get(id)
		if err != nil {
			continue // it is told of by those who look at it
		}
		for _, w := range r.wants() {
			if w.name != lock || slices.Contains(r.Held, w.String()) {
				continue
			}
			g := Grip{Lock: lock, ID: id, Want: w.String(), Waiting: true}
			if others := t.holders(lock, id); !w.fits(wantsHeld(others)) {
				for _, h := range others {
					g.For = append(g.For, h.id)
				}
			} else if w.shared && before.Want == g.Want { // they will go together
				g.For = before.For
			} else if before.ID != "" {
				g.For = []string{before.ID}
			}
			gs = append(gs, g)
			before = g
		}
	}
	return gs
}
