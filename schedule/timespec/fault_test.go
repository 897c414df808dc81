package timespec_test

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"

	"activationd/schedule/timespec"
)

// A difference is a timespec of which at and ours do not think the same.
type difference struct {
	text string
	now  time.Time
	ours time.Time
	err  error
	at   atAnswer
}

var (
	oldYear  = regexp.MustCompile(`(?:^|\D|\d[0-3]\d)(0\d\d\d|1[0-8]\d\d|1900)(?:\D|$)`)
	elapsing = regexp.MustCompile(`(?i)min|hour`)
	moving   = regexp.MustCompile(`(?i)tomorrow|next|day|week|sun|mon|tue|wed|thu|fri|sat`)
)

// fault returns which of at's faults explains the difference, "" if none does.
func (d difference) fault() string {
	switch {
	case d.err != nil && d.at.OK:
		return d.refusedByUs()
	case d.err == nil && !d.at.OK:
		return d.refusedByAt()
	case d.err == nil && d.at.OK:
		return d.another()
	}
	return ""
}

func (d difference) refusedByUs() string {
	at, why := time.Unix(d.at.At, 0).In(d.now.Location()), d.err.Error()
	past := errors.Is(d.err, timespec.ErrPast)
	switch {
	case strings.Contains(why, "days; name one of these"):
		return "no such day"
	case strings.Contains(why, "minute that is not") && strings.Contains(d.text, "60"):
		return "minute 60"
	case strings.Contains(why, "after the year 2199"):
		if at.Year() > 2199 || regexp.MustCompile(`[1-9]\d{8}`).MatchString(d.text) {
			return "too far or too large"
		}
	case strings.IndexFunc(d.text, func(r rune) bool { return r > 127 }) > 0:
		return "not ASCII"
	case past && d.addsTo(at.Year()):
		return "1900 added to a year"
	case past && strings.Contains(d.text, "-") && at.AddDate(-1, 0, 0).Before(d.now):
		return "subtracted into next year"
	case past && strings.Contains(d.text, "-") && at.AddDate(-1, 0, -1).Before(d.now) && d.now.YearDay() > 57 && d.now.YearDay() < 64:
		return "subtracted into next year" // and by a day more, as its February is another
	case past && elapsing.MatchString(d.text) && at.Sub(d.now) < 3*time.Hour && d.changes(d.now.Add(-24*time.Hour), d.now):
		return "minutes or hours over a change of the clocks"
	}
	return ""
}

// addsTo reports whether the text has a year to which at adds 1900 to get year.
func (d difference) addsTo(year int) bool {
	m := oldYear.FindStringSubmatch(d.text)
	if m == nil {
		return false
	}
	old, _ := strconv.Atoi(m[1])
	n := year - 1900 - old
	return n >= -1 && n <= 1
}

func (d difference) refusedByAt() string {
	past := strings.Contains(d.at.Stderr, timespec.ErrPast.Error())
	switch {
	case strings.Contains(strings.ToLower(d.text), "from now"), strings.Contains(strings.ToLower(d.text), "fromnow"):
		return "from now"
	case regexp.MustCompile(`Last token seen: \d+,\d\d\n`).MatchString(d.at.Stderr):
		return "comma"
	case past && d.utc():
		return "utc"
	case past && d.ours.Sub(d.now) < 3*time.Hour && d.changes(d.now.Add(-24*time.Hour), d.ours.Add(3*time.Hour)):
		return "change of the clocks close to now"
	case past && elapsing.MatchString(d.text) && d.ours.Sub(d.now) <= 24*time.Hour && d.changes(d.now.Add(-3*time.Hour), d.ours):
		return "over today, with hours and a change of the clocks"
	case past && d.special() && d.ours.Sub(d.now) < time.Hour && d.changes(d.now.Add(-365*24*time.Hour), d.ours):
		return "days over a change of the clocks that is special"
	}
	return ""
}

func (d difference) utc() bool { return strings.Contains(strings.ToLower(d.text), "utc") }

func (d difference) another() string {
	at := time.Unix(d.at.At, 0).In(d.now.Location())
	by := at.Sub(d.ours).Abs()
	otherYear := d.ours.Year() != d.now.Year()
	const day, slack = 24 * time.Hour, 2 * time.Hour
	aDay := by >= day-slack && by <= day+slack
	switch {
	case by == day && d.utc():
		return "utc"
	case strings.Contains(d.text, "-") && at.AddDate(-1, 0, 0).Equal(d.ours):
		return "subtracted into next year"
	case by <= 3*day && otherYear && d.ours.Month() <= time.March && strings.Contains(strings.ToLower(d.text), "month"):
		return "another year's February"
	case aDay && elapsing.MatchString(d.text) && d.ours.Day() == d.now.Day() && d.ours.Sub(d.now) > day:
		return "hours to the same day of another month"
	case aDay && otherYear && d.ours.Month() <= time.March:
		return "another year's February"
	case aDay && otherYear && strings.ContainsAny(d.text, "+-"):
		return "another year's February, and on"
	case aDay && elapsing.MatchString(d.text) && d.changes(d.now.Add(-slack), d.now.Add(day)):
		return "minutes or hours over a change of the clocks"
	case by > slack:
		return ""
	}
	from, to := d.now, d.ours
	if at.After(to) {
		to = at
	}
	y, m, dd := d.now.Date()
	today := time.Date(y, m, dd, d.ours.Hour(), d.ours.Minute(), 0, 0, d.now.Location())
	switch {
	case elapsing.MatchString(d.text) && d.changes(from.Add(-90*day), to.Add(90*day)): // the base may be elsewhere
		return "minutes or hours over a change of the clocks"
	case d.special() && d.changes(from.Add(-365*day), to): // so may this one's
		return "days over a change of the clocks that is special"
	case d.changes(d.ours.Add(-slack), d.ours.Add(slack)), d.changes(at.Add(-slack), at.Add(slack)):
		return "skipped or doubled"
	case d.changes(today.Add(-slack), today.Add(slack)):
		return "skipped or doubled today"
	case moving.MatchString(d.text) && strings.ContainsAny(d.text, "+-") && d.onTheWay():
		return "skipped or doubled on the way"
	case otherYear && strings.ContainsAny(d.text, "+-"):
		return "another year's summer time"
	}
	return ""
}

// special reports whether days are moved in a zone whose summer time is not an hour more.
func (d difference) special() bool {
	zone := d.now.Location().String()
	return (zone == "Europe/Dublin" || zone == "Australia/Lord_Howe") && moving.MatchString(d.text)
}

// changes reports whether the clocks change between a and b.
func (d difference) changes(a, b time.Time) bool {
	_, end := a.In(d.now.Location()).ZoneBounds()
	return !end.IsZero() && !end.After(b)
}

// onTheWay reports whether ours is a time of day at about which clocks change in
// the week from now: where "tomorrow + 9 days" comes by.
func (d difference) onTheWay() bool {
	_, end := d.now.In(d.now.Location()).ZoneBounds()
	if end.IsZero() || end.Sub(d.now) > 8*24*time.Hour {
		return false
	}
	y, m, dd := end.Date()
	at := time.Date(y, m, dd, d.ours.Hour(), d.ours.Minute(), 0, 0, d.now.Location())
	return at.Sub(end).Abs() <= 2*time.Hour
}
