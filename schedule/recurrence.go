package schedule

import (
	"fmt"
	"os"
	"strings"
	"time"

	"activationd/internal/timetext"
)

// What occurs lies between these.
var first, last = timetext.First, timetext.Last

// A Recurrence says when something occurs again and again. It is a pure
// function of the instant: it keeps nothing and may be asked about any time.
type Recurrence interface {
	// Next returns the first occurrence after an instant, or the zero time if
	// there is none before the year 2200.
	Next(after time.Time) time.Time
}

// LoadZone returns a time zone by its name, such as Europe/Prague; none is the
// local one. It has the rules that the machine has for it now: they may be others than
// those of a moment ago, if an update of the time zones came between.
func LoadZone(name string) (*time.Location, error) {
	if name == "" {
		return localZone(), nil
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("%.60q is no time zone: write one such as Europe/Prague, or UTC", name)
	}
	return loc, nil
}

// localZone is time.Local, but as its file is now. That is read only once, when the
// program starts; by the name that the zone was given then it is found again.
func localZone() *time.Location {
	name := time.Local.String()
	loc, err := time.Local, error(nil)
	switch {
	case name == "UTC":
	case name == "Local":
		loc, err = readZone(name, "/etc/localtime")
	case strings.HasPrefix(name, "/"): // by TZ
		loc, err = readZone(name, name)
	default:
		loc, err = time.LoadLocation(name)
	}
	if err != nil { // what held until now is better than nothing
		return time.Local
	}
	return loc
}

func readZone(name, path string) (*time.Location, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return time.LoadLocationFromTZData(name, data)
}

// ZoneOf returns the zone whose local times a recurrence goes by; nil: none.
func ZoneOf(r Recurrence) *time.Location {
	if c, ok := r.(*civil); ok {
		return c.loc
	}
	return nil
}

// Resume returns the first occurrence of r after those up to done. That may have been
// reckoned when r's zone had other rules: then a local time counts as done if the clock
// has shown it by the offset that done has, wherever it is now. So no local time occurs
// twice because the rules have changed, and none that has not occurred is left out,
// though it may have come to lie in the past. What goes by elapsed time goes on by that.
func Resume(r Recurrence, done time.Time) time.Time {
	c, ok := r.(*civil)
	if !ok || c.again {
		return r.Next(done)
	}
	_, offset := done.Zone()
	floor := wall(done, offset).Truncate(c.grain).Add(c.grain)
	const most = 26 * time.Hour // more than any offset from UTC
	return c.nextFrom(floor.Add(-most), floor)
}

// An Every occurs at an instant and then at even intervals, in elapsed time:
// neither a change of the clocks nor a restart moves it.
type Every struct {
	Anchor   time.Time
	Interval time.Duration
}

// minInterval is the shortest interval: as often as a calendar can say.
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

// AtBoot never occurs by the clock: only when the machine has been started.
type AtBoot struct{}

// Next implements [Recurrence].
func (AtBoot) Next(time.Time) time.Time { return time.Time{} }

func bounded(t time.Time) time.Time {
	if !t.Before(last) {
		return time.Time{}
	}
	return t
}

// A civil is a pattern of local times, and the zone in which it is read. What
// becomes of local times that a change of the clocks skips or doubles, the
// standard library's readers of such patterns do not agree upon; so it is said
// here, for each by itself.
type civil struct {
	pattern
	loc   *time.Location
	grain time.Duration // occurrences are whole multiples of it
	// late: a local time that is skipped occurs right after the change;
	// otherwise it does not occur.
	late bool
	// again: a local time that comes twice occurs twice; otherwise the first
	// time only.
	again bool
	// correction: a change by so much or more is no change of season but a
	// correction. What it skips does not occur and what it doubles does, again.
	// 0: there are none.
	correction time.Duration
}

// Next implements [Recurrence].
func (c *civil) Next(after time.Time) time.Time { return c.nextFrom(after, time.Time{}) }

// nextFrom is Next without the local times before floor. It goes from one change of
// the offset to the next: between two of them local time runs as time does.
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
			old := wall(begin, before) // what the clocks would have shown
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

// zoneBounds is t.ZoneBounds, but for its fault on the last day of a leap year
// beyond the zone's table: there it says that the offset ends at t itself, and
// who goes from one end to the next never comes to another. An end that is too
// early does no harm.
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
