package schedule

import (
	"fmt"
	"strings"
	"time"

	"activationd/internal/timetext"
)

// Occurrences lie between these times.
var first, last = timetext.First, timetext.Last

// A Recurrence says when something occurs repeatedly. It is a pure function of time: it has no
// state, and can be asked about any time.
type Recurrence interface {
	// Next returns the first occurrence after a time, or the zero time if there is none before
	// the year 2200.
	Next(after time.Time) time.Time
}

// Resume returns the first occurrence of r after those up to done. The rules of r's zone may
// have changed since done was computed. So a local time counts as done if it is not after the
// local time of done, by the offset that done has, wherever it lies now. Then no local time
// occurs twice because the rules changed, and none is left out, though it may lie in the past
// now. Recurrences by elapsed time continue by elapsed time.
func Resume(r Recurrence, done time.Time) time.Time {
	c, ok := r.(*civil)
	if !ok || c.again {
		return r.Next(done)
	}
	_, offset := done.Zone()
	floor := wall(done, offset).Truncate(c.grain).Add(c.grain)
	const maxOffset = 26 * time.Hour // more than any offset from UTC
	return c.nextFrom(floor.Add(-maxOffset), floor)
}

// An Every occurs at a time and then at even intervals of elapsed time. Neither a change of
// the clocks nor a restart moves it.
type Every struct {
	Anchor   time.Time
	Interval time.Duration
}

// The shortest interval is the shortest that a calendar expression can have.
const (
	minInterval = time.Second
	maxInterval = 3660 * 24 * time.Hour
)

// ParseInterval reads an interval such as 90s, 5m or 1d12h, also with "every "
// before it. It is a second or more, and at most 3660 days.
func ParseInterval(text string) (time.Duration, error) {
	rest := strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(text), "@every "), "every ")
	d, err := timetext.Duration(rest)
	switch {
	case err != nil:
	case d < minInterval:
		err = fmt.Errorf("%.60q is less than a second", text)
	case d > maxInterval:
		err = fmt.Errorf("%.60q is more than 3660 days", text)
	}
	return d, err
}

// Next implements [Recurrence]. The anchor itself is the first occurrence.
func (e Every) Next(after time.Time) time.Time {
	next := e.Anchor
	if !next.After(after) {
		next = next.Add((after.Sub(e.Anchor)/e.Interval + 1) * e.Interval)
	}
	return bounded(next.Round(0))
}

// AtBoot never occurs by the clock, but only when the machine has started.
type AtBoot struct{}

// Next implements [Recurrence].
func (AtBoot) Next(time.Time) time.Time { return time.Time{} }

func bounded(t time.Time) time.Time {
	if !t.Before(last) {
		return time.Time{}
	}
	return t
}
