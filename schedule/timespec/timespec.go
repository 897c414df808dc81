// Package timespec reads times in the format of at(1). It is a package of its own, without
// regular expressions and timers, because clients read such times too, and must start fast:
// shell loops run them.
package timespec

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"activationd/internal/timetext"
)

// ErrPast is the kind of the error for a time in the past.
var ErrPast = errors.New("refusing to create job destined in the past")

// errForms is for a text that is no time.
var errForms = errors.New(`must be a time, such as "now + 5 minutes", "10:30", "4pm tomorrow", "noon Jul 31", "9am next week" or "10:00 2099-12-21"`)

// ParsePOSIX reads a time in the form of at -t and touch -t: [[CC]YY]MMDDhhmm[.ss]. Without a
// year it is the current year; years of two digits up to 68 are in this century. The time may
// be in the past.
//
// A local time that the clocks skip is refused, as by at. Of one that comes twice, the first
// is meant, or the second if the first is over.
func ParsePOSIX(text string, now time.Time, loc *time.Location) (time.Time, error) {
	s := timespec{now: now, loc: loc}
	digits, seconds, dot := strings.Cut(text, ".")
	n := len(digits)
	if n != 8 && n != 10 && n != 12 || span(digits) != n || dot && (len(seconds) != 2 || span(seconds) != 2) {
		return time.Time{}, fmt.Errorf("%.60q is not a time: must be [[CC]YY]MMDDhhmm[.ss], such as 202611211030", text)
	}
	y := now.In(loc).Year()
	switch n {
	case 10:
		if y = 1900 + number(digits[:2]); y < 1969 {
			y += 100
		}
	case 12:
		y = number(digits[:4])
	}
	md := digits[n-8:]
	month, day, hour, minute, sec := number(md[:2]), number(md[2:4]), number(md[4:6]), number(md[6:8]), number(seconds)
	clock := time.Date(y, time.Month(month), day, hour, minute, sec, 0, time.UTC)
	if month < 1 || month > 12 || clock.Day() != day || clock.Hour() != hour || clock.Minute() != minute || clock.Second() != sec {
		return time.Time{}, fmt.Errorf("%.60q names a day or a time of day that does not exist", text)
	}
	t := s.means(wall{clock: clock})
	switch {
	case !s.wallOf(t).clock.Equal(clock):
		return time.Time{}, fmt.Errorf("%.60q does not exist: the clocks skip it; name a time before or after", text)
	case t.Before(timetext.First) || !t.Before(timetext.Last):
		return time.Time{}, fmt.Errorf("%.60q is not in the years 1970 to 2199", text)
	}
	return t, nil
}

// A wall is the date and time that a clock shows, as if it were UTC, and the exact time if
// that is known.
type wall struct {
	clock time.Time
	exact time.Time // zero if the exact time is the one that clock means
}

// A shift is "+ 5 minutes" or "next week".
type shift struct {
	n    int
	unit token
}

func (s shift) elapses() bool { return s.unit == minuteWord || s.unit == hourWord }

// A timespec is the parsed text: a day, a time of day, and what to add.
type timespec struct {
	now    time.Time // to the minute
	loc    *time.Location
	y, d   int
	m      time.Month
	hour   int // -1: the current hour
	minute int
	isNow  bool
	utc    bool
	timed  bool // no day was named
	monthy bool // a month and its day were named
	yearly bool // and a year, as in every form that is all digits
	shifts []shift
}

// Parse reads the arguments of at(1) for a time: words, as the shell divides them, in the
// grammar of Debian's at 3.2. It returns the time that at would choose, to the minute,
// relative to now and to loc, the caller's zone. A time in the past is an error that wraps
// [ErrPast], except the current minute, which is what "now" means.
//
//	timespec:  (DATE | TIME | TIME DATE | now) [+ N UNIT | - N UNIT]
//	           N UNIT from now
//	TIME:      (HHMM | H:MM | H:MM am | H am | H:MM pm | H pm | noon | midnight | teatime) [utc]
//	DATE:      MONTH DAY [[,] YEAR] | DAY MONTH [YEAR] | MM/DD/YEAR | DD.MM.YEAR | YEAR-MM-DD
//	           MMDDYEAR | WEEKDAY | today | tomorrow | next UNIT | next WEEKDAY
//	UNIT:      min, minute, minutes, hour, hours, day, days, week, weeks, month, months, year, years
//
// Between hour and minute there may be one of : . , ' h. A year has two digits
// (70 to 99 are in the last century) or four. Words may be written in any case
// and may touch numbers. A time alone is the next such time. A weekday is never
// today, with next or without. A month and a day without a year are the next such
// day. A month added to the 31st may overflow into the month after.
//
// # Where it differs from at
//
// Each of these is a fault of at. A test tries examples of each, which are in
// testdata/at-differences.txt, with the real at.
//
//   - Minutes and hours are elapsed time, even if the clocks change meanwhile (daylight saving). at keeps the time of day.
//   - Days and weeks keep the time of day, however the clocks change. at assumes that they are one hour ahead in summer.
//   - A local time that the clocks skip becomes a time after the change: 02:30, half an hour into the skipped hour, becomes 03:30. at may take 01:30.
//   - If today's clock change skips the given time of day, only today is affected. at takes the changed time of day tomorrow, too.
//   - A local time that comes twice means the first time, or the second if the first is over. at may take the second, or the one that is over.
//   - A time of day that is over today means tomorrow, also when minutes are added and the clocks change. at is an hour off.
//   - A time with utc and without a date means the next such time. at takes the day from the local calendar.
//   - A day that its month does not have is refused. at takes a day of the month before or after.
//   - Minute 60 is refused. at takes the next hour.
//   - A year of four digits means that year. at adds 1900 to years up to 1900.
//   - If subtracted days lead into the past, the time is refused. at takes the same day of next year.
//   - Added hours can lead to the same day of another month, such as from January 15 to February 15. at then adds one more day.
//   - If added months lead into another year, February has that year's length. at takes this year's.
//   - If a date means next year because it is over this year, next year's February and daylight saving count. at takes this year's.
//   - A number that is too large is refused. at takes some other number.
//   - Years from 2200 on are refused.
//   - A comma and the year after it need no blank between them. at takes the day and the century for a time of day.
//   - Characters that are not ASCII are refused. at ignores the text from there on.
//   - "5 minutes from now" is accepted. at refuses it.
func Parse(words []string, now time.Time, loc *time.Location) (time.Time, error) {
	text := strings.Join(words, " ")
	t, err := parse(text, now, loc, false)
	if err == nil && t.Before(toMinute(now.In(loc))) {
		err = fmt.Errorf("%s is over: %w", t.Format("2006-01-02 15:04"), ErrPast)
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("%.60q: %w", text, err)
	}
	return t, nil
}

// parse reads a time, which may be in the past. If dateFirst is set, the date may also be
// before the time of day.
func parse(text string, now time.Time, loc *time.Location, dateFirst bool) (time.Time, error) {
	now = toMinute(now.In(loc))
	p := parser{text: strings.ToLower(text), spec: timespec{now: now, loc: loc, hour: -1}, dateFirst: dateFirst}
	p.spec.y, p.spec.m, p.spec.d = now.Date()
	p.next()
	if err := p.timespec(); err != nil {
		return time.Time{}, err
	}
	t, err := p.spec.choose()
	if err == nil && !t.Before(timetext.Last) {
		err = errTooFar
	}
	return t, err
}

func toMinute(t time.Time) time.Time {
	return t.Add(-time.Duration(t.Second())*time.Second - time.Duration(t.Nanosecond())).Round(0)
}

var errTooFar = errors.New("that is after the year 2199; name an earlier time")

// choose chooses the day if none was given, and adds the shifts.
func (s *timespec) choose() (time.Time, error) {
	if s.isNow {
		return s.end(s.wallOf(s.now)), nil
	}
	switch {
	case s.timed && !s.grows():
		if s.utc {
			s.y, s.m, s.d = s.now.In(s.loc).Date()
		}
		w := s.reach(s.on(s.y, s.d))
		if now := s.wallOf(s.now).clock; sameDay(w.clock, now) && !w.clock.After(now) {
			return s.end(s.on(s.y, s.d+1)), nil
		}
		return s.means(w), nil
	case s.monthy && !s.yearly:
		return s.nextYear()
	case s.monthy:
		if err := checkDay(s.y, s.m, s.d); err != nil {
			return time.Time{}, err
		}
	}
	return s.end(s.on(s.y, s.d)), nil
}

// nextYear returns the first such day that is not before today.
func (s *timespec) nextYear() (time.Time, error) {
	y, m, d := s.now.Date()
	today := time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	over := time.Date(s.y, s.m, s.d, 0, 0, 0, 0, time.UTC).Before(today)
	if len(s.shifts) > 0 {
		end := s.end(s.on(s.y, s.d))
		ey, em, ed := end.Date()
		over = ey == y && time.Date(ey, em, ed, 0, 0, 0, 0, time.UTC).Before(today)
	}
	if over {
		s.y++
	}
	if err := checkDay(s.y, s.m, s.d); err != nil {
		return time.Time{}, err
	}
	return s.end(s.on(s.y, s.d)), nil
}

// grows reports whether days or more are added.
func (s *timespec) grows() bool {
	return len(s.shifts) > 0 && !s.shifts[0].elapses()
}

func checkDay(y int, m time.Month, d int) error {
	if n := time.Date(y, m+1, 0, 0, 0, 0, 0, time.UTC).Day(); d < 1 || d > n {
		return fmt.Errorf("%s %d has %d days; name one of these", m, y, n)
	}
	return nil
}

func sameDay(a, b time.Time) bool {
	return a.Year() == b.Year() && a.YearDay() == b.YearDay()
}

// on returns the time of day, on the day d of the month, in the year y.
func (s *timespec) on(y, d int) wall {
	if s.hour < 0 {
		w := s.wallOf(s.now)
		if ny, nm, nd := s.now.Date(); ny == y && nm == s.m && nd == d {
			return w
		}
		return wall{clock: time.Date(y, s.m, d, w.clock.Hour(), w.clock.Minute(), 0, 0, time.UTC)}
	}
	return wall{clock: time.Date(y, s.m, d, s.hour, s.minute, 0, 0, time.UTC)}
}

// wallOf returns what the clock shows at t.
func (s *timespec) wallOf(t time.Time) wall {
	t = t.In(s.loc)
	y, m, d := t.Date()
	return wall{time.Date(y, m, d, t.Hour(), t.Minute(), t.Second(), 0, time.UTC), t}
}

// end returns the time that is all shifts away from w.
func (s *timespec) end(w wall) time.Time { return s.means(s.reach(w)) }

func (s *timespec) reach(w wall) wall {
	beyond := max(0, s.hour-23) // "24:45" belongs to the day before
	for _, sh := range s.shifts {
		y, m, d := w.clock.AddDate(0, 0, -beyond).Date()
		switch sh.unit {
		case minuteWord:
			w = s.wallOf(time.Unix(s.means(w).Unix()+60*int64(sh.n), 0))
		case hourWord:
			w = s.wallOf(time.Unix(s.means(w).Unix()+3600*int64(sh.n), 0))
		case dayWord:
			w = wall{clock: w.clock.AddDate(0, 0, sh.n)}
		case weekWord:
			w = wall{clock: w.clock.AddDate(0, 0, 7*sh.n)}
		case monthWord:
			w = wall{clock: time.Date(y, m+time.Month(sh.n), d+beyond, w.clock.Hour(), w.clock.Minute(), 0, 0, time.UTC)}
		case yearWord:
			w = wall{clock: time.Date(y+sh.n, m, d+beyond, w.clock.Hour(), w.clock.Minute(), 0, 0, time.UTC)}
		}
	}
	return w
}

// means returns the time that w means: of two, the first, or the second if the first is over.
func (s *timespec) means(w wall) time.Time {
	if !w.exact.IsZero() {
		return w.exact
	}
	y, m, d := w.clock.Date()
	if y < timetext.First.Year()-1 || y > timetext.Last.Year() {
		return w.clock // it will be refused, and zones have no rules for any year
	}
	t := timetext.Local(y, m, d, w.clock.Hour(), w.clock.Minute(), w.clock.Second(), 0, s.loc)
	if _, end := t.ZoneBounds(); t.Before(s.now) && !end.IsZero() {
		_, before := t.Zone()
		_, after := end.Zone()
		again := t.Add(time.Duration(before-after) * time.Second)
		if !again.Before(end) && s.wallOf(again).clock.Equal(w.clock) {
			return again
		}
	}
	return t
}

// number returns the value of at most nine digits; of none, 0.
func number(digits string) int {
	n, _ := strconv.Atoi(digits) // the caller has looked
	return n
}
