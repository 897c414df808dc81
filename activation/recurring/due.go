package recurring

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"activationd/activation"
	"activationd/internal/fault"
	"activationd/schedule"
)

// fireDue makes jobs of a recurrence's due occurrences, or skips them. One transaction
// writes the jobs, the records of skipped occurrences, and the recurrence's next due
// time. So no occurrence is lost or made twice, whenever the daemon dies and however the
// clock is set.
func (b *Book) fireDue(t *activation.Txn, name string) (changed bool, err error) {
	r, err := get(t, name)
	if err != nil {
		if !errors.Is(err, fault.NotFound) {
			t.Log(slog.LevelError, "a recurrence cannot be read; it is left alone", "name", name, "err", err)
		}
		return false, fault.NotFound
	}
	if r.HoldReason != "" || r.Due.IsZero() || !t.Come(r.Due.Add(-t.Settings.ArmAhead)) {
		return false, nil
	}
	old := *r
	if err := b.fireOccurrences(t, r); err != nil {
		return false, err
	}
	return true, save(t, &old, r)
}

// fireOccurrences makes jobs of the due occurrences, or skips them. It does not save r.
func (b *Book) fireOccurrences(t *activation.Txn, r *Recurrence) error {
	s, err := b.times(r)
	if err != nil { // it was valid when it was added: its zone's file is gone
		r.HoldReason, r.HeldAt = "its times cannot be computed: "+err.Error(), t.Now
		t.Log(slog.LevelError, "a recurrence is held", "name", r.Name, "err", err)
		return nil
	}
	rezone(t, r, s)
	if t.Doubt {
		if err := fireByOldClock(t, r, s); err != nil {
			return err
		}
		if t.PassedOver(r.Due.Add(-t.Settings.ArmAhead)) { // fixClockJump will decide it
			return nil
		}
	}
	return fireUntil(t, r, s, t.Now)
}

// fireByOldClock decides the occurrences that are due by both clocks: the one in doubt,
// and the one before it was set.
func fireByOldClock(t *activation.Txn, r *Recurrence, s schedule.Recurrence) error {
	both := t.Old
	if t.Now.Before(both) {
		both = t.Now
	}
	if r.Due.IsZero() || r.Due.After(both.Add(t.Settings.ArmAhead)) {
		return nil
	}
	return fireUntil(t, r, s, both)
}

// fireUntil decides the occurrences that are due at now.
func fireUntil(t *activation.Txn, r *Recurrence, s schedule.Recurrence, now time.Time) error {
	// Occurrences that were due while nothing could run come first.
	if r.Due.Before(now.Add(-activation.MissedAfter)) || r.Due.Before(t.Began) {
		if err := catchUp(t, r, s, now); err != nil {
			return err
		}
	}
	for !r.Due.IsZero() && !r.Due.After(now.Add(t.Settings.ArmAhead)) && !t.Full() { // the rest is still due
		if err := fire(t, r, r.Next, r.Due, false); err != nil {
			return err
		}
		r.advance(s, r.Next, r.next(s, r.Next))
	}
	return nil
}

// advance notes that all occurrences up to done are decided, and that next is the first
// one after them.
func (r *Recurrence) advance(s schedule.Recurrence, done, next time.Time) {
	r.Done, r.Next, r.Due = done, next, r.due(s, next)
}

// times returns the times of r by its zone's current rules, and lets Run watch these
// rules.
func (b *Book) times(r *Recurrence) (schedule.Recurrence, error) {
	s, err := r.times(r.Created)
	if err == nil {
		b.zones.note(schedule.ZoneOf(s))
	}
	return s, err
}

// rezone schedules the next occurrence again if the rules of r's zone have changed since
// it was scheduled, for example after an update of the time zones. It does not save r.
func rezone(t *activation.Txn, r *Recurrence, s schedule.Recurrence) {
	was := r.Next
	if !r.rezone(s) {
		return
	}
	const form = "2006-01-02 15:04:05 -07:00"
	why := fmt.Sprintf("the rules of its time zone changed: the occurrence of %s is now at %s", was.Format(form), r.Next.Format(form))
	t.Log(slog.LevelInfo, "a recurrence is scheduled again", "name", r.Name, "why", why)
	t.Emit(r.happened("changed", "", why))
}

// rezone reports whether the next occurrence differs by the zone's current rules. A local
// time that is decided does not occur again; one that is now in the past was missed.
func (r *Recurrence) rezone(s schedule.Recurrence) (changed bool) {
	zone := schedule.ZoneOf(s)
	if zone == nil || !r.Passed.IsZero() { // occurrences that were passed over are decided first
		return false
	}
	done := r.Done
	if done.IsZero() { // written by an earlier version: all before the next are decided
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

// maxCounted is how many missed occurrences are counted one by one.
const maxCounted = 10_000

// catchUp decides the occurrences that were due by now while nothing could run. The
// newest run late, as many as the rule allows; the others are skipped. If the rule allows
// none, the newest still runs if it is not late enough to be missed, so that a restart
// never costs a nightly job.
func catchUp(t *activation.Txn, r *Recurrence, s schedule.Recurrence, now time.Time) error {
	most := max(1, r.CatchUp)
	newest, next := r.missedSince(s, now, most+1)
	run := newest[max(0, len(newest)-most):]
	if r.CatchUp == 0 && len(run) > 0 && t.Late(r.due(s, run[0])) > activation.MissedAfter {
		run = nil
	}
	if rest := newest[:len(newest)-len(run)]; len(rest) > 0 {
		skip := Skip{From: r.Next, To: rest[len(rest)-1], Reason: "nothing could run at its time: the daemon was down, or the clock was set forward, or its time zone was changed"}
		skip.Count, skip.More = r.count(s, skip.From, skip.To)
		if err := noteSkip(t, r, skip); err != nil {
			return err
		}
	}
	for i, at := range run {
		if i > 0 && t.Full() { // the rest is still due
			r.advance(s, run[i-1], at)
			return nil
		}
		if err := fire(t, r, at, r.due(s, at), r.CatchUp > 0); err != nil {
			return err
		}
	}
	r.advance(s, r.newest(newest), next)
	return nil
}

// newest returns the last of the occurrences that are being decided. If there are none,
// it returns the newest one that was decided before.
func (r *Recurrence) newest(some []time.Time) time.Time {
	if len(some) == 0 {
		return r.Done
	}
	return some[len(some)-1]
}

// skipHeld records as skipped the occurrences that came while r was held.
func (b *Book) skipHeld(t *activation.Txn, r *Recurrence) error {
	s, err := b.times(r)
	if err != nil {
		return fmt.Errorf("%s: %w: %w", r.Name, err, fault.Invalid)
	}
	rezone(t, r, s)
	if r.Due.IsZero() || r.Due.After(t.Now) {
		return nil
	}
	skip := Skip{From: r.Next, To: r.Next, Reason: r.HoldReason}
	newest, next := r.missedSince(s, t.Now, 1)
	if len(newest) > 0 {
		skip.To = newest[0]
	}
	skip.Count, skip.More = r.count(s, skip.From, skip.To)
	r.advance(s, r.newest(newest), next)
	return noteSkip(t, r, skip)
}

// missedSince returns the newest occurrences from r.Next on that were due by now, at most
// as many as most says, and the first one after them. It computes only a few, however
// many there were.
func (r *Recurrence) missedSince(s schedule.Recurrence, now time.Time, most int) (newest []time.Time, next time.Time) {
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

// count counts the occurrences from one to another. It counts more than maxCounted only if
// it can compute the number.
func (r *Recurrence) count(s schedule.Recurrence, from, to time.Time) (n uint64, more bool) {
	if e, ok := s.(schedule.Every); ok {
		return uint64(to.Sub(from)/e.Interval) + 1, false
	}
	for n = 1; from.Before(to); n++ {
		if n == maxCounted {
			return n, true
		}
		from = r.next(s, from)
	}
	return n, false
}

// fire makes an activation of an occurrence, or skips it. If earlier ones are unfinished,
// the rule's overlap decides. A missed occurrence is not skipped for them and does not
// replace them: it waits for them, unless the rule lets them run in parallel.
func fire(t *activation.Txn, r *Recurrence, at, due time.Time, missed bool) error {
	r.Last = at
	members := t.Members(r.Name, maxMembers)
	skip := func(format string, args ...any) error {
		return noteSkip(t, r, Skip{From: at, To: at, Count: 1, Reason: fmt.Sprintf(format, args...)})
	}
	switch {
	case len(members) >= maxMembers:
		return skip("%d earlier jobs have not ended", maxMembers)
	case missed:
	case r.Overlap == OverlapSkip && len(members) > 0:
		return skip("the earlier job %s has not ended", members[0])
	case r.Overlap == OverlapReplace:
		if err := t.Cancel(members, fmt.Sprintf("replaced by the next occurrence of %s", r.Name)); err != nil {
			return err
		}
	}
	id, err := startOccurrence(t, r, func(a *activation.Record) {
		a.Start, a.Occurrence = due, at
		if missed {
			a.Urgency = activation.Anyway
		}
	})
	if err != nil {
		return err
	}
	y := tallyOf(t, r.Name)
	y.Begun++
	y.LastID, y.Span = id, time.Time{}
	return putJSON(t, tallyKey+r.Name, y)
}

// startOccurrence adds an activation of a recurrence; the engine looks at it in this
// turn.
func startOccurrence(t *activation.Txn, r *Recurrence, fill func(*activation.Record)) (id string, err error) {
	return t.Add(&r.Job, r.Name, "of the recurrence "+r.Name, func(a *activation.Record) {
		a.Owner, a.Label = r.Owner, cmp.Or(a.Label, r.Name)
		if r.Overlap != OverlapParallel {
			a.Locks = append(slices.Clone(a.Locks), activation.OwnLock(r.Name))
			slices.Sort(a.Locks)
		}
		fill(a)
	})
}

// noteSkip records skipped occurrences. Successive ones with the same reason share a
// record.
func noteSkip(t *activation.Txn, r *Recurrence, s Skip) error {
	r.Last = s.To
	y := tallyOf(t, r.Name)
	y.Skipped += s.Count
	y.More = y.More || s.More
	t.Emit(r.happened("skipped", "", s.String()))
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
	dropped, err := dropSkips(t, r.Name, y.Spans)
	if err != nil {
		return err
	}
	y.Spans -= dropped
	if err := putJSON(t, skipEntry(r.Name, s.From), s); err != nil {
		return err
	}
	return putJSON(t, tallyKey+r.Name, y)
}

func skipEntry(name string, from time.Time) string {
	return skipKey + name + "/" + activation.Instant(from)
}

// dropAtOnce bounds how many records of skipped occurrences are removed when one is
// added.
const dropAtOnce = 16

// dropSkips removes records of skipped occurrences: those that have been kept long
// enough, and the oldest ones if there are too many. Spans is how many there are.
func dropSkips(t *activation.Txn, name string, spans int) (dropped int, err error) {
	if t.Doubt {
		return 0, nil
	}
	kept := t.Now.Add(-t.Settings.HistoryAge)
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

// String says what was skipped and why.
func (s Skip) String() string {
	if s.Count == 1 {
		return fmt.Sprintf("the occurrence of %s was skipped: %s", activation.TimeText(s.From), s.Reason)
	}
	more := ""
	if s.More {
		more = "more than "
	}
	return fmt.Sprintf("%s%d occurrences from %s to %s were skipped: %s", more, s.Count, activation.TimeText(s.From), activation.TimeText(s.To), s.Reason)
}

// wrongClock is how far ahead of the clock a recurrence must be to show that the clock
// was wrong before. Nobody sets a correct clock back so far.
const wrongClock = 24 * time.Hour

// fixClockJump adjusts the recurrences to a clock that was set, or is trusted again.
func (b *Book) fixClockJump(t *activation.Txn) error {
	var all []*Recurrence
	for k, data := range t.Scan(recurrenceKey, "") {
		if r, err := decode(strings.TrimPrefix(k, recurrenceKey), data); err == nil {
			all = append(all, r)
		}
	}
	for _, r := range all {
		if t.Full() {
			t.Unfinished()
			return nil
		}
		old := *r
		if err := b.followClock(t, r); err != nil {
			return err
		}
		if r.progress() == old.progress() {
			continue
		}
		if err := save(t, &old, r); err != nil {
			return err
		}
	}
	return nil
}

// progress returns the fields that say how far r has come, for comparison.
func (r *Recurrence) progress() [7]time.Time {
	return [...]time.Time{r.Next, r.Due, r.Last, r.Passed, r.PassedTo, r.Come, r.Done}
}

// followClock adjusts one recurrence to the clock. It does not save r.
func (b *Book) followClock(t *activation.Txn, r *Recurrence) error {
	s, err := b.times(r)
	if err != nil { // it will be held when it is due
		t.Log(slog.LevelError, "a recurrence is left alone: its times cannot be computed", "name", r.Name, "err", err)
		return nil
	}
	if !r.Passed.IsZero() && t.Now.Before(r.PassedTo) { // the clock was set back: nothing has changed
		r.advance(s, r.Passed.Add(-1), r.Passed)
		r.Passed, r.PassedTo = time.Time{}, time.Time{}
		if err := forgetAhead(t, r); err != nil {
			return err
		}
	}
	if !r.Passed.IsZero() && !t.Doubt {
		if err := decidePassed(t, r, s); err != nil {
			return err
		}
	}
	if !r.Come.IsZero() && !t.Now.Before(r.Come) { // the clock has reached that time again
		r.advance(s, r.Come.Add(-1), r.next(s, r.Come.Add(-1)))
		r.Come = time.Time{}
		if err := closeSpan(t, r.Name); err != nil {
			return err
		}
	}
	switch {
	case r.HoldReason != "":
		return nil
	case t.Doubt:
		return passOver(t, r, s)
	case r.Last.Sub(t.Now) <= wrongClock:
		rezone(t, r, s)
		return nil
	}
	// It came far ahead under a clock that was wrong, and would wait for years. The
	// occurrences of that time and the next ones are different occurrences.
	why := "the clock was set back: the recurrence had already come to " + activation.TimeText(r.Last)
	t.Log(slog.LevelWarn, "a recurrence is scheduled again", "name", r.Name, "why", why)
	t.Emit(r.happened("changed", "", why))
	come := r.Next
	err = b.restart(t, r)
	r.Come = come
	return err
}

// passOver continues r after the occurrences that a clock in doubt has passed over, and
// leaves those undecided. If earlier ones are still undecided because the clock was set
// before, it changes nothing.
func passOver(t *activation.Txn, r *Recurrence, s schedule.Recurrence) error {
	if r.Due.IsZero() || !r.Passed.IsZero() {
		return nil
	}
	if err := fireByOldClock(t, r, s); err != nil {
		return err
	}
	if !t.PassedOver(r.Due.Add(-t.Settings.ArmAhead)) {
		return nil
	}
	r.Passed, r.PassedTo = r.Next, t.SetTo.Add(t.Settings.ArmAhead)
	newest, next := r.missedSince(s, r.PassedTo.Add(-1), 1)
	r.advance(s, r.newest(newest), next)
	return nil
}

// decidePassed decides the occurrences that the clock passed over when it was set, now
// that the clock is trusted.
func decidePassed(t *activation.Txn, r *Recurrence, s schedule.Recurrence) error {
	done, next, last, to := r.Done, r.Next, r.Last, r.PassedTo
	if err := closeSpan(t, r.Name); err != nil {
		return err
	}
	r.advance(s, r.Passed.Add(-1), r.next(s, r.Passed.Add(-1)))
	r.Passed, r.PassedTo = time.Time{}, time.Time{}
	if !r.Due.IsZero() && r.Due.Before(to) {
		if err := catchUp(t, r, s, to.Add(-1)); err != nil {
			return err
		}
	}
	r.advance(s, done, next)
	if last.After(r.Last) {
		r.Last = last
	}
	return closeSpan(t, r.Name)
}

// closeSpan lets the next skipped occurrence begin a new record.
func closeSpan(t *activation.Txn, name string) error {
	y := tallyOf(t, name)
	y.Span = time.Time{}
	return putJSON(t, tallyKey+name, y)
}

// forgetAhead sets the newest decided occurrence back to now, if it is later.
func forgetAhead(t *activation.Txn, r *Recurrence) error {
	if !r.Last.After(t.Now) {
		return nil
	}
	r.Last = t.Now
	return closeSpan(t, r.Name)
}

// restart schedules the next occurrence from now, whatever was decided before.
func (b *Book) restart(t *activation.Txn, r *Recurrence) error {
	if err := forgetAhead(t, r); err != nil {
		return err
	}
	r.Come = time.Time{}
	return b.schedule(t, r)
}

// atBoot fires the recurrences that occur when the machine has started.
func (b *Book) atBoot(t *activation.Txn) error {
	var names []string
	for k := range t.Scan(recurrenceKey, "") {
		names = append(names, strings.TrimPrefix(k, recurrenceKey))
	}
	for _, name := range names {
		if t.Full() {
			t.Unfinished()
			return nil
		}
		r, err := get(t, name)
		if err != nil {
			t.Log(slog.LevelError, "a recurrence cannot be read; it is left alone", "name", name, "err", err)
			continue
		}
		s, err := b.times(r)
		if _, boots := s.(schedule.AtBoot); err != nil || !boots || r.HoldReason != "" {
			continue
		}
		if t.Now.Before(r.Start) || !r.End.IsZero() && !t.Now.Before(r.End) || r.Boot == t.Boot {
			continue
		}
		old := *r
		r.Boot = t.Boot
		if err := fire(t, r, t.Now, r.due(s, t.Now), false); err != nil {
			return err
		}
		if err := save(t, &old, r); err != nil {
			return err
		}
	}
	return nil
}
