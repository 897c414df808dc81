package activation

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"activationd/internal/fault"
	"activationd/schedule"
)

// recurs makes of a recurrence's occurrences that are due what is to become of
// them. The records that say so and the recurrence's next instant are written
// together: so none is lost and none comes twice, whenever the daemon dies and
// wherever the clock is set.
func (t *txn) recurs(name string) (changed bool, err error) {
	r, err := t.recurrence(name)
	if err != nil {
		if !errors.Is(err, fault.NotFound) { // one that is gone was touched before it went
			t.log.Error("leaving a recurrence alone that cannot be read", "name", name, "err", err)
		}
		return false, t.unschedule(recurrenceMark + name)
	}
	if r.Held != "" || r.Due.IsZero() || !t.come(r.Due.Add(-t.set.ArmAhead)) {
		return false, nil
	}
	old := *r
	if err := t.occurrences(r); err != nil {
		return false, err
	}
	return true, t.saveRecurrence(&old, r)
}

// occurrences decides what becomes of those that are due. It does not save r.
func (t *txn) occurrences(r *Recurrence) error {
	s, err := t.times(r)
	if err != nil { // it was sound when it was added: its zone's file is gone
		r.Held, r.HeldAt = "it cannot be told when it occurs: "+err.Error(), t.now
		t.log.Error("a recurrence is held", "name", r.Name, "err", err)
		return nil
	}
	t.rezone(r, s)
	if t.doubt {
		if err := t.occurByOld(r, s); err != nil {
			return err
		}
		if t.passedOver(r.Due.Add(-t.set.ArmAhead)) { // correct comes to it
			return nil
		}
	}
	return t.occurUntil(r, s, t.now)
}

// occurByOld decides what becomes of those that are due by the clock that is in
// doubt and by the one from before, too.
func (t *txn) occurByOld(r *Recurrence, s schedule.Recurrence) error {
	both := earliest(t.old, t.now)
	if r.Due.IsZero() || r.Due.After(both.Add(t.set.ArmAhead)) {
		return nil
	}
	return t.occurUntil(r, s, both)
}

// occurUntil decides what becomes of those that are due by now.
func (t *txn) occurUntil(r *Recurrence, s schedule.Recurrence, now time.Time) error {
	// Those that nothing could be done about at their time come first.
	if r.Due.Before(now.Add(-missedAfter)) || r.Due.Before(t.began) {
		if err := t.catchUp(r, s, now); err != nil {
			return err
		}
	}
	for !r.Due.IsZero() && !r.Due.After(now.Add(t.set.ArmAhead)) {
		if err := t.occur(r, r.Next, r.Due, false); err != nil {
			return err
		}
		r.advance(s, r.Next, r.next(s, r.Next))
	}
	return nil
}

// advance says that something has become of all occurrences up to done, and that next
// is the first after them.
func (r *Recurrence) advance(s schedule.Recurrence, done, next time.Time) {
	r.Done, r.Next, r.Due = done, next, r.due(s, next)
}

// times returns when r occurs, by the rules that its zone has now, and has the engine
// watch these.
func (t *txn) times(r *Recurrence) (schedule.Recurrence, error) {
	s, err := r.times(r.Created)
	if err == nil {
		t.zones.note(schedule.ZoneOf(s))
	}
	return s, err
}

// rezone reckons the next occurrence again if the rules of r's zone are others than
// when it was reckoned, as after an update of the time zones. It does not save r.
func (t *txn) rezone(r *Recurrence, s schedule.Recurrence) {
	was := r.Next
	if !r.rezone(s) {
		return
	}
	const form = "2006-01-02 15:04:05 -07:00"
	why := fmt.Sprintf("the rules of its time zone changed: what was to come at %s comes at %s", was.Format(form), r.Next.Format(form))
	t.log.Info("a recurrence is reckoned anew", "name", r.Name, "why", why)
	t.news = append(t.news, Happening{Time: t.now, What: "recurrence.changed", ID: r.Name, Reason: why})
}

// rezone reports whether the next occurrence is another by the rules that the zone has
// now. A local time of which something has become does not come again; one that has come
// to lie in the past was missed.
func (r *Recurrence) rezone(s schedule.Recurrence) (changed bool) {
	zone := schedule.ZoneOf(s)
	if zone == nil || !r.Passed.IsZero() { // what is passed over is decided first
		return false
	}
	done := r.Done
	if done.IsZero() { // of an earlier version: all before the next
		if done = r.Next.Add(-1); r.Next.IsZero() {
			return false
		}
	}
	same := func(at time.Time) bool { // the clock shows the same there as then
		_, then := at.Zone()
		_, now := at.In(zone).Zone()
		return then == now
	}
	if next := r.next(s, done); next.Equal(r.Next) && same(r.Next) && (r.Done.IsZero() || same(done)) {
		return false
	}
	next := r.resume(s, done)
	changed = !next.Equal(r.Next)
	r.advance(s, done, next)
	return changed
}

// countMost is how many missed occurrences are counted one by one.
const countMost = 10_000

// catchUp decides what becomes of the occurrences that came due by now while
// nothing could run: the newest run late, as many as the rule says, the others are
// skipped. Where none is to run late, the newest runs that is not missed yet, so
// that no restart costs one that the night hangs on.
func (t *txn) catchUp(r *Recurrence, s schedule.Recurrence, now time.Time) error {
	most := max(1, r.CatchUp)
	newest, next := r.came(s, now, most+1)
	run := newest[max(0, len(newest)-most):]
	if r.CatchUp == 0 && len(run) > 0 && t.late(r.due(s, run[0])) > missedAfter {
		run = nil
	}
	if rest := newest[:len(newest)-len(run)]; len(rest) > 0 {
		skip := Skip{From: r.Next, To: rest[len(rest)-1], Reason: "nothing could run at its time: the daemon was down, or the clock was set forward, or its time zone was changed"}
		skip.Count, skip.More = r.count(s, skip.From, skip.To)
		if err := t.skip(r, skip); err != nil {
			return err
		}
	}
	for _, at := range run {
		if err := t.occur(r, at, r.due(s, at), r.CatchUp > 0); err != nil {
			return err
		}
	}
	r.advance(s, r.newest(newest), next)
	return nil
}

// newest is the newest of some that something has become of; of none, what was before.
func (r *Recurrence) newest(some []time.Time) time.Time {
	if len(some) == 0 {
		return r.Done
	}
	return some[len(some)-1]
}

// skipHeld records that those which would have occurred while r was held do not.
func (t *txn) skipHeld(r *Recurrence) error {
	s, err := t.times(r)
	if err != nil {
		return fmt.Errorf("%s: %w: %w", r.Name, err, fault.Invalid)
	}
	t.rezone(r, s)
	if r.Due.IsZero() || r.Due.After(t.now) {
		return nil
	}
	skip := Skip{From: r.Next, To: r.Next, Reason: r.Held}
	newest, next := r.came(s, t.now, 1)
	if len(newest) > 0 {
		skip.To = newest[0]
	}
	skip.Count, skip.More = r.count(s, skip.From, skip.To)
	r.advance(s, r.newest(newest), next)
	return t.skip(r, skip)
}

// came returns the newest occurrences from r.Next on that were due until now, at most so
// many, and the first that is to come. It looks at few, however many there were.
func (r *Recurrence) came(s schedule.Recurrence, now time.Time, most int) (newest []time.Time, next time.Time) {
	for window := time.Minute; ; window *= 4 {
		from := now.Add(-window)
		all := !from.After(r.Next)
		if all {
			from = r.Next.Add(-1)
		}
		newest = newest[:0]
		for next = r.next(s, from); !next.IsZero() && !r.due(s, next).After(now); next = r.next(s, next) {
			if len(newest) == most {
				newest = slices.Delete(newest, 0, 1)
			}
			newest = append(newest, next)
		}
		if all || len(newest) == most {
			return newest, next
		}
	}
}

// count counts the occurrences from one to another; more than countMost only
// if that is reckoned.
func (r *Recurrence) count(s schedule.Recurrence, from, to time.Time) (n uint64, more bool) {
	if e, ok := s.(schedule.Every); ok {
		return uint64(to.Sub(from)/e.Interval) + 1, false
	}
	for n = 1; from.Before(to); n++ {
		if n == countMost {
			return n, true
		}
		from = r.next(s, from)
	}
	return n, false
}

// occur makes of one occurrence an activation, or skips it, by what the rule
// says of those before it that have not ended. One that is late was missed: it
// waits for them, whatever the rule says.
func (t *txn) occur(r *Recurrence, at, due time.Time, late bool) error {
	r.Last = at
	members := t.members(r.Name)
	skip := func(format string, args ...any) error {
		return t.skip(r, Skip{From: at, To: at, Count: 1, Reason: fmt.Sprintf(format, args...)})
	}
	switch {
	case len(members) >= maxMembers:
		return skip("%d before it have not ended", maxMembers)
	case late:
	case r.Overlap == OverlapSkip && len(members) > 0:
		return skip("%s, which is before it, has not ended", members[0])
	case r.Overlap == OverlapReplace:
		if err := t.replace(members, fmt.Sprintf("replaced by the next occurrence of %s", r.Name)); err != nil {
			return err
		}
	}
	id, err := t.begin(r, func(a *Record) {
		a.Start, a.Occurrence, a.Late = due, at, late
	})
	if err != nil {
		return err
	}
	y := t.tallyOf(r.Name)
	y.Begun++
	y.LastID, y.Span = id, time.Time{}
	return t.putJSON(tallyKey+r.Name, y)
}

// begin makes an activation of a recurrence, to be looked at in this turn.
func (t *txn) begin(r *Recurrence, fill func(*Record)) (id string, err error) {
	n, err := count(t, jobNumber)
	if err != nil {
		return "", err
	}
	a := r.Job.record(strconv.FormatUint(n, 10), t.now, t.set)
	a.Owner, a.Recurrence, a.Label = r.Owner, r.Name, orElse(a.Label, r.Name)
	if r.Overlap != OverlapParallel {
		a.Locks = append(slices.Clone(a.Locks), recurrenceLock(r.Name))
		slices.Sort(a.Locks)
	}
	fill(a)
	t.later = append(t.later, a.ID)
	t.news = append(t.news, Happening{Time: t.now, What: "state", ID: a.ID, State: string(a.State), Reason: "of the recurrence " + r.Name})
	return a.ID, t.save(nil, a)
}

// replace cancels activations.
func (t *txn) replace(ids []string, why string) error {
	for _, id := range ids {
		a, err := t.get(id)
		if err != nil {
			t.log.Error("leaving a record alone that cannot be read", "id", id, "err", err)
			continue
		}
		if a.Ending != "" { // it is being stopped
			continue
		}
		old := a.clone()
		a.Quit = true
		if err := t.apply(a, Cancel, why); err != nil {
			return err
		}
		t.later = append(t.later, id)
		if err := t.save(old, a); err != nil {
			return err
		}
	}
	return nil
}

// skip records occurrences of which nothing becomes. Those that follow each
// other for one reason share a record.
func (t *txn) skip(r *Recurrence, s Skip) error {
	r.Last = s.To
	y := t.tallyOf(r.Name)
	y.Skipped += s.Count
	y.More = y.More || s.More
	t.news = append(t.news, Happening{Time: t.now, What: "recurrence.skipped", ID: r.Name, Reason: s.String()})
	if !y.Span.IsZero() {
		var open Skip
		if data := t.Get(skipEntry(r.Name, y.Span)); data != nil && json.Unmarshal(data, &open) == nil && open.Reason == s.Reason {
			open.To, open.Count, open.More = s.To, open.Count+s.Count, open.More || s.More
			s = open
		}
	}
	if s.From.After(y.Span) {
		y.Span = s.From
		y.Spans++
	}
	dropped, err := t.dropSkips(r.Name, y.Spans)
	if err != nil {
		return err
	}
	y.Spans -= dropped
	if err := t.putJSON(skipEntry(r.Name, s.From), s); err != nil {
		return err
	}
	return t.putJSON(tallyKey+r.Name, y)
}

func skipEntry(name string, from time.Time) string { return skipKey + name + "/" + instant(from) }

// dropAtOnce bounds how many records of skipped occurrences go when one comes.
const dropAtOnce = 16

// dropSkips removes the oldest records of what was skipped, of so many: those
// whose history has been kept long enough, and those that are too many.
func (t *txn) dropSkips(name string, spans int) (dropped int, err error) {
	if t.doubt {
		return 0, nil
	}
	kept := t.now.Add(-t.set.Keep)
	for k, data := range t.Scan(skipKey+name+"/", "") {
		var s Skip
		if dropped == dropAtOnce || json.Unmarshal(data, &s) == nil && spans-dropped <= maxSpans && !s.To.Before(kept) {
			break
		}
		if err := t.Delete(k); err != nil {
			return dropped, err
		}
		dropped++
	}
	return dropped, nil
}

// String tells what was skipped and why.
func (s Skip) String() string {
	if s.Count == 1 {
		return fmt.Sprintf("the occurrence of %s was skipped: %s", stamp(s.From), s.Reason)
	}
	more := ""
	if s.More {
		more = "more than "
	}
	return fmt.Sprintf("%s%d occurrences from %s to %s were skipped: %s", more, s.Count, stamp(s.From), stamp(s.To), s.Reason)
}

// wrongClock is how far ahead of the clock a recurrence must have come to show
// that the clock was wrong then. Nobody sets a clock that is right back so far.
const wrongClock = 24 * time.Hour

// correct has recurrences follow the clock, which was set, or is trusted again.
func (t *txn) correct() error {
	var all []*Recurrence
	for k, data := range t.Scan(recurrenceKey, "") {
		if r, err := decodeRecurrence(strings.TrimPrefix(k, recurrenceKey), data); err == nil {
			all = append(all, r)
		}
	}
	for _, r := range all {
		old := *r
		if err := t.follow(r); err != nil {
			return err
		}
		if r.progress() == old.progress() {
			continue
		}
		if err := t.saveRecurrence(&old, r); err != nil {
			return err
		}
	}
	return nil
}

// progress is how far r has come, to be compared.
func (r *Recurrence) progress() [7]time.Time {
	return [...]time.Time{r.Next, r.Due, r.Last, r.Passed, r.PassedTo, r.Come, r.Done}
}

// follow has one recurrence follow the clock. It does not save r.
func (t *txn) follow(r *Recurrence) error {
	s, err := t.times(r)
	if err != nil { // it is held when it comes to occur
		t.log.Error("leaving a recurrence alone whose times cannot be told", "name", r.Name, "err", err)
		return nil
	}
	if !r.Passed.IsZero() && t.now.Before(r.PassedTo) { // the clock is back: all is as it was
		r.advance(s, r.Passed.Add(-1), r.Passed)
		r.Passed, r.PassedTo = time.Time{}, time.Time{}
		if err := t.forgetAhead(r); err != nil {
			return err
		}
	}
	if !r.Passed.IsZero() && !t.doubt {
		if err := t.decidePassed(r, s); err != nil {
			return err
		}
	}
	if !r.Come.IsZero() && !t.now.Before(r.Come) { // it is no earlier now than it was once
		r.advance(s, r.Come.Add(-1), r.next(s, r.Come.Add(-1)))
		r.Come = time.Time{}
		if err := t.closeSpan(r.Name); err != nil {
			return err
		}
	}
	switch {
	case r.Held != "":
		return nil
	case t.doubt:
		return t.passOver(r, s)
	case r.Last.Sub(t.now) <= wrongClock:
		t.rezone(r, s)
		return nil
	}
	// It came far ahead under a clock that was wrong, and would wait for years. What
	// occurred then, and is to come now, are different occurrences.
	why := "the clock was set back: it had come to " + stamp(r.Last)
	t.log.Warn("a recurrence is reckoned anew", "name", r.Name, "why", why)
	t.news = append(t.news, Happening{Time: t.now, What: "recurrence.changed", ID: r.Name, Reason: why})
	come := r.Next
	err = t.beginAnew(r)
	r.Come = come
	return err
}

// passOver leaves undecided what the clock, which is in doubt, has passed over, and
// has r go on under the clock as it is. If something is undecided already, from an
// earlier step, r waits as a whole.
func (t *txn) passOver(r *Recurrence, s schedule.Recurrence) error {
	if r.Due.IsZero() || !r.Passed.IsZero() {
		return nil
	}
	if err := t.occurByOld(r, s); err != nil {
		return err
	}
	if !t.passedOver(r.Due.Add(-t.set.ArmAhead)) {
		return nil
	}
	r.Passed, r.PassedTo = r.Next, t.setTo.Add(t.set.ArmAhead)
	newest, next := r.came(s, r.PassedTo.Add(-1), 1)
	r.advance(s, r.newest(newest), next)
	return nil
}

// decidePassed decides what becomes of what the clock passed over when it was set:
// the clock is right.
func (t *txn) decidePassed(r *Recurrence, s schedule.Recurrence) error {
	done, next, last, to := r.Done, r.Next, r.Last, r.PassedTo
	if err := t.closeSpan(r.Name); err != nil {
		return err
	}
	r.advance(s, r.Passed.Add(-1), r.next(s, r.Passed.Add(-1)))
	r.Passed, r.PassedTo = time.Time{}, time.Time{}
	if !r.Due.IsZero() && r.Due.Before(to) {
		if err := t.catchUp(r, s, to.Add(-1)); err != nil {
			return err
		}
	}
	r.advance(s, done, next)
	if last.After(r.Last) {
		r.Last = last
	}
	return t.closeSpan(r.Name)
}

// closeSpan has the next row of what was skipped be one of its own.
func (t *txn) closeSpan(name string) error {
	y := t.tallyOf(name)
	y.Span = time.Time{}
	return t.putJSON(tallyKey+name, y)
}

// forgetAhead has r not have come further than now.
func (t *txn) forgetAhead(r *Recurrence) error {
	if !r.Last.After(t.now) {
		return nil
	}
	r.Last = t.now
	return t.closeSpan(r.Name)
}

// beginAnew reckons the next occurrence from now, whatever has been.
func (t *txn) beginAnew(r *Recurrence) error {
	if err := t.forgetAhead(r); err != nil {
		return err
	}
	r.Come = time.Time{}
	return t.reckon(r)
}

// atBoot has those occur that do when the machine has been started.
func (t *txn) atBoot() error {
	var names []string
	for k := range t.Scan(recurrenceKey, "") {
		names = append(names, strings.TrimPrefix(k, recurrenceKey))
	}
	for _, name := range names {
		r, err := t.recurrence(name)
		if err != nil {
			t.log.Error("leaving a recurrence alone that cannot be read", "name", name, "err", err)
			continue
		}
		s, err := t.times(r)
		if _, boots := s.(schedule.AtBoot); err != nil || !boots || r.Held != "" {
			continue
		}
		if t.now.Before(r.Start) || !r.End.IsZero() && !t.now.Before(r.End) {
			continue
		}
		old := *r
		if err := t.occur(r, t.now, r.due(s, t.now), false); err != nil {
			return err
		}
		if err := t.saveRecurrence(&old, r); err != nil {
			return err
		}
	}
	return nil
}
