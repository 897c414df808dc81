package timespec

import (
	"strconv"
	"time"
)

// instants lie between these, because their readers print years with four digits.
var (
	first = time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)
	last  = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
)

// Local returns the instant that a local time means. It does not leave the
// choice in a gap or an overlap to time.Date, which promises neither.
func Local(y int, m time.Month, d, hour, minute, sec, ns int, loc *time.Location) time.Time {
	wall := time.Date(y, m, d, hour, minute, sec, ns, time.UTC) // as if it were UTC
	const most = 26 * time.Hour                                 // more than any offset from UTC
	// Look at the offsets in force around that time, one after the other.
	t := wall.Add(-most).In(loc)
	for {
		_, offset := t.Zone()
		_, end := t.ZoneBounds()
		if !end.IsZero() && !end.After(t) { // on December 31 of a leap year after 2037 it is that day's beginning
			end = t.Add(time.Hour)
		}
		at := wall.Add(-time.Duration(offset) * time.Second).In(loc)
		// It is the first offset under which it comes before the offset ends.
		// If it also comes before the offset begins, it is in the gap, and what
		// it means is reckoned with the offset before.
		if end.IsZero() || at.Before(end) {
			return at
		}
		_, next := end.Zone()
		if gap := wall.Add(-time.Duration(next) * time.Second); gap.Before(end) {
			return at
		}
		t = end
	}
}

// number returns the value of at most nine digits; of none, 0.
func number(digits string) int {
	n, _ := strconv.Atoi(digits) // the caller has looked
	return n
}
