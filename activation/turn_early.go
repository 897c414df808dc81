package activation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A start is claimed, and its wrapper started, Settings.ArmAhead before its time. If many starts
// are due together, only the first ones would be ready in time then. So the first of such a group
// is claimed earlier, by the time that starting all of them takes. Until ArmAhead before its time, an
// attempt that was claimed so early is in nobody's way: it takes neither the last slots nor a lock
// for which somebody waits, and it is taken back if work that is due before it needs its slot or
// its locks. Later it is not taken back for others: with a higher priority than theirs it would be
// claimed again at once, and so on until its time.

const (
	// maxLead bounds how long before its time a start is claimed because others are due with it.
	maxLead = 5 * time.Second
	// usualCost is how long a start is thought to take until its wrapper waits, until this was
	// measured. leastCost and mostCost bound the measured time.
	usualCost = 4 * time.Millisecond
	leastCost = time.Millisecond
	mostCost  = 20 * time.Millisecond
	// tellsCost is how many starts a turn must have to count as a measurement: the time of a
	// turn with fewer depends mostly on the disk.
	tellsCost = 8
	// aheadAtOnce bounds the starts that one turn claims so early, because the next turn has to
	// wait until their wrappers are started.
	aheadAtOnce = 32
	// One slot in sparedShare is left free for work that comes meanwhile.
	sparedShare = 16
	// lastMoment is until how long before its start an attempt can certainly be taken back.
	lastMoment = 50 * time.Millisecond
)

// An early is what Run knows of the starts that are claimed early.
type early struct {
	until time.Time         // the time of a group that was begun: starts up to then are claimed now
	last  time.Time         // the latest start that was claimed early
	left  map[string]string // ids that cannot be claimed early, with the lock that they lack; empty: they lack no lock but something else
}

// A candidate is a start that may be claimed early.
type candidate struct {
	at        time.Time
	place, id string
}

// costAfter is the new estimate of how long a start takes. Cost is the estimate before, and took
// the time of a turn that claimed n starts early and started their wrappers. That time is doubled,
// because the wrappers are not ready when the turn ends, and because other turns come between. One
// turn changes the estimate by only a quarter of the difference. Starts whose time has come do not
// count, because then the programs themselves run as well.
func costAfter(cost time.Duration, n int, took time.Duration) time.Duration {
	if n < tellsCost {
		return cost
	}
	one := min(max(2*took/time.Duration(n), leastCost), mostCost)
	return cost + (one-cost)/4
}

// lead is how long before the time of a group its first start has to be claimed, so that the n
// other starts of the group are claimed in time, too.
func (t *turn) lead(n int) time.Duration {
	ahead := t.Settings.ArmAhead
	return min(ahead+time.Duration(n)*t.cost, max(maxLead, ahead))
}

// begin is when n starts that are due by some time must begin to be claimed, so that the start at
// this time is claimed in time, too.
func (t *turn) begin(n int, at time.Time) time.Time { return at.Add(-t.lead(n)) }

// candidates lists the next starts, in the order in which they are to be claimed. It lists no more
// than can make the first of them begin early. If even a group of the largest size would not begin
// yet, it stops at the second start, because there may be a million. It leaves out starts that were
// tried already, unless a lock that they lacked was freed since or they were changed.
func (t *turn) candidates() (all []candidate, err error) {
	room := t.room()
	if t.Settings.ArmAhead <= 0 || t.Doubt || t.draining || room == 0 {
		return nil, nil
	}
	most := int(maxLead / t.cost)
	left, last := make(map[string]string), t.Now
	from, looked := t.Now.Add(t.Settings.ArmAhead), 0
	for k, place := range t.Scan(startKey, startKey+Instant(from.Add(1))) {
		at, id, err := parseInstant(strings.TrimPrefix(k, startKey))
		if err != nil {
			return nil, err
		}
		if looked++; len(all) == most || looked > 4*most || at.After(last) && len(all) > 0 {
			break
		}
		if lock, ok := t.early.left[id]; ok && !slices.Contains(t.unlocked, lock) && !slices.Contains(t.touched, id) {
			left[id] = lock
			continue
		}
		if strings.HasPrefix(id, producerMark) { // what it makes can still change
			continue
		}
		if all = append(all, candidate{at, string(place) + notQueued, id}); len(all) == 1 {
			last = at.Add(t.lead(room))
		} else if len(all) == 2 && t.far(all) {
			break
		}
	}
	t.early.left = left
	slices.SortStableFunc(all, func(a, b candidate) int {
		return cmp.Or(a.at.Compare(b.at), strings.Compare(a.place, b.place))
	})
	return all, nil
}

// far reports whether it is too early for all, even if they were the first of as many starts as
// there is room for.
func (t *turn) far(all []candidate) bool {
	at := all[0].at
	return at.After(t.early.until) && t.begin(t.room(), at).After(t.Now)
}

// room is how many more slots may be taken by starts that are claimed early.
func (t *turn) room() int { return max(0, t.free()-t.slots/sparedShare) }

// armEarly claims starts that must begin now because many are due together. It returns when the
// next starts must begin, or when it must look at them again. If it returns zero, they are claimed
// as usual, ArmAhead before their time. So a start that is alone costs no turn of its own.
func (t *turn) armEarly() (next time.Time, err error) {
	if t.early.until.After(t.Now.Add(maxLead)) { // the clock was set back
		t.early.until = time.Time{}
	}
	all, err := t.candidates()
	if err != nil {
		return next, err
	}
	all = all[:min(len(all), t.room())]
	if len(all) > 1 && t.far(all) {
		return t.begin(t.room(), all[0].at), nil
	}
	for n, c := range all {
		if !t.begin(n, c.at).After(t.Now) && c.at.After(t.early.until) {
			t.early.until = c.at
		}
	}
	for ; len(all) > 0 && !all[0].at.After(t.early.until) && t.room() > 0; all = all[1:] {
		if t.armed == aheadAtOnce || t.full() {
			t.more = true
			return next, nil
		}
		claimed, err := t.armOne(all[0])
		if err != nil {
			return next, err
		}
		if claimed {
			t.armed++
			if t.early.last.Before(all[0].at) {
				t.early.last = all[0].at
			}
		}
	}
	for n, c := range all {
		next = earliest(next, t.begin(n, c.at))
	}
	return next, nil
}

// armOne claims a start early, if it is in nobody's way.
func (t *turn) armOne(c candidate) (claimed bool, err error) {
	t.looked, t.last = t.looked+1, c.id
	r, err := t.Record(c.id)
	if err != nil || t.size.alone[c.id] || !t.armable(r) || t.ahead(r) >= t.free() { // those ahead cannot be read
		t.early.left[c.id] = ""
		return false, nil //nolint:nilerr // the error is logged when the start is due
	}
	if lock := t.contended(r); lock != "" {
		t.early.left[c.id] = lock
		return false, nil
	}
	old := r.clone()
	if err := t.Apply(r, Due, ""); err != nil {
		return false, err
	}
	if claimed, _, err := t.grant(r); err != nil || !claimed {
		return false, cmp.Or(err, fmt.Errorf("%s cannot be claimed early: %s", r.ID, r.Reason))
	}
	return true, t.put(old, r)
}

// armable reports whether r may be claimed long before its time. Locks and slots are checked elsewhere.
func (t *turn) armable(r *Record) bool {
	in := t.Settings.inputsOf(r, t.Moment)
	in.arm = r.activateAt().Sub(t.Now)
	return r.State == Scheduled && r.Urgency == OnTime && !r.NeedsUndo && !r.AtJob.Batch() && !r.wasRecalled(t.Now) &&
		r.decide(in) == Due && t.unmet(r) == "" && t.awaited(r) == "" && t.pauseOf(r) == nil && r.conflict() == ""
}

// wasRecalled reports whether r was taken back a moment ago. Then it is not claimed early again,
// unless the clock was set back since it was claimed.
func (r *Record) wasRecalled(now time.Time) bool {
	n := len(r.Attempts)
	if n == 0 || !r.Attempts[n-1].neverRan() {
		return false
	}
	ago := now.Sub(r.Attempts[n-1].Claimed)
	return ago >= 0 && ago < 2*maxLead
}

// contended names a lock of r that others hold or wait for; empty: there is none.
func (t *turn) contended(r *Record) string {
	for _, w := range r.lockRequests() {
		if _, first := t.firstInQueue(w.name); first != "" || !w.compatible(requests(t.holders(w.name, r.ID))) {
			return w.name
		}
	}
	return ""
}

// recallable reports whether r's attempt can still be taken back: it waits for its start time, and
// that is far enough away.
func (r *Record) recallable(now time.Time) bool {
	a := r.openAttempt()
	return a != nil && r.State == Activating && a.NotBefore.After(now.Add(lastMoment)) &&
		!r.Stopped && r.Recalled == "" && r.PendingOutcome == "" && !r.HoldNext
}

// givesWay reports whether r's attempt can be taken back for others: r would be scheduled again.
func (t *turn) givesWay(r *Record) bool {
	return r.recallable(t.Now) && t.Now.Add(t.Settings.ArmAhead).Before(r.activateAt())
}

// recall takes back an attempt that gives way. Its activation is scheduled again.
func (t *turn) recall(r *Record, why string) error {
	old := r.clone()
	r.Recalled = why
	t.Later(r.ID)
	return t.Save(old, r)
}

// makeWay takes back starts that were claimed early and hold a lock that r, which is due, needs.
func (t *turn) makeWay(r *Record) error {
	for _, w := range r.lockRequests() {
		for _, h := range t.holders(w.name, r.ID) {
			other, err := t.Record(h.id)
			if err != nil || w.compatible([]lockRequest{h.request}) || !t.givesWay(other) {
				continue
			}
			if err := t.recall(other, fmt.Sprintf("made way for %s, which needs lock %s before", r.ID, w.name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// makeRoom takes back starts that were claimed early, the last ones first, if others wait for a slot.
func (t *turn) makeRoom() error {
	if t.draining || t.free() > 0 || !t.early.last.After(t.Now.Add(lastMoment)) {
		return nil
	}
	need := 0
	for range t.queuedForSlot() {
		if need++; need == t.slots {
			break
		}
	}
	if need == 0 {
		return nil
	}
	var armed []*Record
	for _, id := range t.running() {
		switch r, err := t.Record(id); {
		case err != nil || !r.takesSlot():
		case r.Stopped || r.Recalled != "": // its slot is about to be free
			need--
		case t.givesWay(r):
			armed = append(armed, r)
		}
	}
	slices.SortFunc(armed, func(a, b *Record) int {
		return cmp.Or(b.activateAt().Compare(a.activateAt()), cmp.Compare(a.Priority, b.Priority), strings.Compare(b.ID, a.ID))
	})
	for _, r := range armed[:max(0, min(need, len(armed)))] {
		if err := t.recall(r, "made way for others, which needed its slot before"); err != nil {
			return err
		}
	}
	return nil
}
