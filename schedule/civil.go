package schedule

import (
	"time"
)

// A civil is a pattern of local times, and the zone in which they are read. Readers of such
// patterns differ in what becomes of local times that a change of the clocks skips or doubles,
// so each of them sets it here.
type civil struct {
	pattern
	loc   *time.Location
	grain time.Duration // occurrences are whole multiples of it
	// late: a local time that is skipped occurs right after the change;
	// otherwise it does not occur.
	late bool
	// again: a local time that comes twice occurs twice; otherwise only the first time.
	again bool
	// correction: a change by this much or more is not a seasonal change but a correction.
	// Local times that it skips do not occur, and those that it doubles occur again. 0: no
	// change is a correction.
	correction time.Duration
}

// Next implements [Recurrence].
func (c *civil) Next(after time.Time) time.Time { return c.nextFrom(after, time.Time{}) }

// nextFrom is Next without the local times before floor. It goes from one change of the offset
// to the next: between two changes, local time runs like elapsed time.
func (c *civil) nextFrom(after, floor time.Time) time.Time {
	if after.Before(first) {
		after = first.Add(-1)
	}
	at := after.Truncate(c.grain).Add(c.grain).In(c.loc)
	for {
		begin, end := zoneBounds(at)
		_, offset := at.Zone()
		from := wall(at, offset)
		if !begin.IsZero() {
			_, before := begin.Add(-1).Zone()
			skipped := time.Duration(offset-before) * time.Second
			old := wall(begin, before) // what the clocks would have shown without the change
			switch {
			case c.correction > 0 && skipped.Abs() >= c.correction:
			case skipped > 0 && c.late && at.Equal(begin):
				if w := c.next(later(old, floor)); !w.IsZero() && w.Before(from) {
					return begin
				}
			case skipped < 0 && !c.again && from.Before(old):
				from = old
			}
		}
		w := c.next(later(from, floor))
		if w.IsZero() {
			return time.Time{}
		}
		next := w.Add(-time.Duration(offset) * time.Second)
		if end.IsZero() || next.Before(end) {
			return bounded(next.In(c.loc))
		}
		at = end
	}
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// zoneBounds is t.ZoneBounds without one fault of that method: on the last day of a leap
// year beyond the zone's table, it says that the offset ends at t itself. A loop from one
// end to the next would never finish. The end that zoneBounds then returns may be too
// early, which does no harm.
func zoneBounds(t time.Time) (begin, end time.Time) {
	begin, end = t.ZoneBounds()
	if !end.IsZero() && !end.After(t) {
		end = t.Add(24 * time.Hour)
	}
	return begin, end
}

// wall returns what clocks with an offset show at t, as if it were UTC.
func wall(t time.Time, offset int) time.Time {
	return t.Add(time.Duration(offset) * time.Second).UTC()
}
