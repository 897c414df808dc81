package activation

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"activationd/internal/fault"
)

// A lockRequest is a request for a lock: exclusive, shared with all others who share it,
// or for some of its units.
type lockRequest struct {
	name   string
	shared bool
	units  int // of capacity
	of     int // the capacity; 0: not counted
}

// maxUnits bounds a lock's capacity.
const maxUnits = 1_000_000

// sharedSuffix marks a lock that is shared.
const sharedSuffix = ":shared"

// parseLock reads a lock as a job requests it: NAME, NAME:shared or NAME=UNITS/CAPACITY.
func parseLock(s string) (lockRequest, error) {
	var w lockRequest
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
		return w, fmt.Errorf("lock: %q: a lock is either shared or counted: %w", s, fault.Invalid)
	case ValidName(w.name) && w.String() != s:
		return w, fmt.Errorf("lock: %q: write it as %s: %w", s, w, fault.Invalid)
	}
	if !ValidName(w.name) {
		return w, fmt.Errorf("lock: %q is not a name: want up to 64 letters, digits and ._@:+- that begin with a letter, a digit or _: %w", w.name, fault.Invalid)
	}
	return w, nil
}

// String is the form that parseLock reads.
func (w lockRequest) String() string {
	switch {
	case w.shared:
		return w.name + sharedSuffix
	case w.of > 0:
		return fmt.Sprintf("%s=%d/%d", w.name, w.units, w.of)
	}
	return w.name
}

// exclusive reports whether no other activation may hold the lock at the same time.
func (w lockRequest) exclusive() bool { return !w.shared && w.of == 0 }

// compatible reports whether w can be granted while others hold the lock. The capacity is
// not configured: if requests name different ones, the lowest counts.
func (w lockRequest) compatible(others []lockRequest) bool {
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

// checkLocks returns an error if a job's lock requests are invalid.
func checkLocks(specs []string) error {
	if len(specs) > maxLocks {
		return fmt.Errorf("lock: at most %d locks are possible: %w", maxLocks, fault.Invalid)
	}
	seen := make(map[string]string)
	for _, s := range specs {
		w, err := parseLock(s)
		if err != nil {
			return err
		}
		if strings.HasPrefix(w.name, ownLocks) {
			return fmt.Errorf("lock: %s: names that begin with %s are reserved for recurrences: %w", s, ownLocks, fault.Invalid)
		}
		if other, ok := seen[w.name]; ok && other != s {
			return fmt.Errorf("lock: %s and %s name the same lock: name it once: %w", other, s, fault.Invalid)
		}
		seen[w.name] = s
	}
	return nil
}

// lockRequest reads one of r's locks or devices. A device is always exclusive.
func (r *Record) lockRequest(spec string) lockRequest {
	if r.policy().devices || strings.HasPrefix(spec, ownLocks) {
		return lockRequest{name: spec}
	}
	w, err := parseLock(spec)
	if err != nil { // checked when the job was added
		return lockRequest{name: spec}
	}
	return w
}

// lockRequests lists the locks that the activation needs while it runs. While something
// must be undone these are the locks with which it began, whatever its source announces
// now.
func (r *Record) lockRequests() []lockRequest { return r.lockRequestsOf(r.neededLocks()) }

func (r *Record) neededLocks() []string {
	switch {
	case !r.policy().devices:
		return r.Locks
	case r.NeedsUndo:
		return r.LocksHeld
	}
	return r.Devices
}

// DevicesInForce returns the devices of a reservation. While something must be undone
// these are the devices that it was activated with; its source may announce others by
// now.
func (r *Record) DevicesInForce() []string {
	if !r.policy().devices {
		return nil
	}
	return r.neededLocks()
}

func (r *Record) lockRequestsOf(specs []string) []lockRequest {
	ws := make([]lockRequest, len(specs))
	for i, s := range specs {
		ws[i] = r.lockRequest(s)
	}
	return ws
}

// holding is the index entry of a lock that r holds.
func (r *Record) holding(w lockRequest) entry {
	if w.exclusive() {
		return entry{holderKey + w.name, []byte(r.ID)}
	}
	return entry{holderKey + w.name + "/" + r.ID, []byte(w.String())}
}

// A holder is an activation that holds a lock, and its request.
type holder struct {
	id      string
	request lockRequest
}

// holders lists the holders of a lock except id, in the order of their ids.
func (t *Txn) holders(lock, id string) (hs []holder) {
	if h := string(t.Get(holderKey + lock)); h != "" && h != id {
		hs = append(hs, holder{h, lockRequest{name: lock}})
	}
	prefix := holderKey + lock + "/"
	for k, v := range t.Scan(prefix, "") {
		if h := strings.TrimPrefix(k, prefix); h != id {
			if w, err := parseLock(string(v)); err == nil {
				hs = append(hs, holder{h, w})
			}
		}
	}
	return hs
}

// blocker says what keeps r from running: a lock that another activation holds, or one
// for which another is ahead in the queue. Empty: no lock does.
func (t *Txn) blocker(r *Record) string {
	for _, w := range r.lockRequests() {
		if slices.Contains(r.LocksHeld, w.String()) {
			continue
		}
		others := t.holders(w.name, r.ID)
		if !w.compatible(requests(others)) {
			return fmt.Sprintf("lock %s, held by %s", w, names(others))
		}
		if pos, h := t.firstInQueue(w.name); h != "" && h != r.ID && pos < r.queuePosition() {
			return fmt.Sprintf("lock %s, next for %s", w, h)
		}
	}
	return ""
}

func requests(hs []holder) []lockRequest {
	ws := make([]lockRequest, len(hs))
	for i, h := range hs {
		ws[i] = h.request
	}
	return ws
}

// names lists the ids of a lock's holders; if there are many, it lists some and the
// number of the others.
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

// MaxPriority bounds the priority of a job: it is from -MaxPriority to MaxPriority.
const MaxPriority = 99

// enqueue gives r its number in the queues, and limits how long it may wait.
func (t *Txn) enqueue(r *Record) {
	r.Queued = t.Stamp()
	if limit := t.Settings.Of(r).WaitLimit; limit > 0 && r.policy().waitLimit {
		r.Until = t.Now.Add(limit)
	}
}

// queuePosition is r's place in a queue. It sorts by priority, the highest first, and
// then by arrival. An activation that is not queued sorts behind all of its priority.
func (r *Record) queuePosition() string {
	if r.Queued == 0 {
		return priorityPrefix(r.Priority) + notQueued
	}
	return priorityPrefix(r.Priority) + fmt.Sprintf("%016x", r.Queued)
}

// notQueued stands for the number of an activation that is not queued. It sorts behind
// all numbers, and before the places of any lower priority.
const notQueued = "g"

// priorityPrefix sorts before the digits for a high priority, and after them for a low one.
func priorityPrefix(priority int) string {
	switch {
	case priority > 0:
		return fmt.Sprintf("!%02d", MaxPriority-priority)
	case priority < 0:
		return fmt.Sprintf("~%02d", -priority)
	}
	return ""
}

// A LockUse says that an activation holds a lock or waits for it.
type LockUse struct {
	Lock     string
	ID       string
	Request  string // as the job requested it: NAME, NAME:shared, NAME=1/4
	Waiting  bool
	WaitsFor []string // the ids of the holders, or of the one ahead in the queue with which it cannot share; none: it waits for something else
}

// Locks lists the uses of all locks that are held or queued for, sorted by lock. The
// holders of a lock come first, then the queue in its order.
func (e *Engine) Locks(ctx context.Context) (uses []LockUse, err error) {
	err = e.View(ctx, func(t *Txn) error {
		uses = nil
		names := make(map[string]bool)
		for k := range t.Scan(holderKey, "") {
			name, _, _ := strings.Cut(strings.TrimPrefix(k, holderKey), "/")
			names[name] = true
		}
		for k := range t.Scan(queueKey, "") {
			name, _, _ := strings.Cut(strings.TrimPrefix(k, queueKey), "/")
			names[name] = name != slotQueue
		}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			if names[name] {
				uses = append(uses, t.lockUses(name)...)
			}
		}
		return nil
	})
	return uses, err
}

// lockUses lists the holders of a lock and its queue.
func (t *Txn) lockUses(lock string) (gs []LockUse) {
	var before LockUse // the one ahead in the queue
	for _, h := range t.holders(lock, "") {
		gs = append(gs, LockUse{Lock: lock, ID: h.id, Request: h.request.String()})
	}
	prefix := queueKey + lock + "/"
	for k := range t.Scan(prefix, "") {
		_, id, _ := strings.Cut(strings.TrimPrefix(k, prefix), "/")
		r, err := t.Record(id)
		if err != nil {
			continue // a turn that reads it logs the error
		}
		for _, w := range r.lockRequests() {
			if w.name != lock || slices.Contains(r.LocksHeld, w.String()) {
				continue
			}
			g := LockUse{Lock: lock, ID: id, Request: w.String(), Waiting: true}
			if others := t.holders(lock, id); !w.compatible(requests(others)) {
				for _, h := range others {
					g.WaitsFor = append(g.WaitsFor, h.id)
				}
			} else if w.shared && before.Request == g.Request { // both will be granted together
				g.WaitsFor = before.WaitsFor
			} else if before.ID != "" {
				g.WaitsFor = []string{before.ID}
			}
			gs = append(gs, g)
			before = g
		}
	}
	return gs
}
