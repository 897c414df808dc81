package schedule

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"activationd/schedule/timespec"
)

// instants lie between these, because their readers print years with four
// digits and count nanoseconds in 64 bits.
var (
	first = time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)
	last  = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
)

// maxIn is the longest duration from now.
const maxIn = 3660 * 24 * time.Hour

const (
	instantForms = `a time is wanted, such as "2026-11-21 10:00", "2026-11-21T10:00:05+01:00", "10:00", "tomorrow 10:00", "now" or "@1763715600"`
	inForms      = `a duration is wanted, such as "90s", "5m", "2d12h" or "1w"`
)

var (
	clockForm = regexp.MustCompile(`^(\d{1,2}):(\d\d)(?::(\d\d))?$`)
	dateForm  = regexp.MustCompile(`^(\d{4})-(\d\d)-(\d\d)(?:[Tt]| +)(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?([Zz]|[+-]\d\d:\d\d)?$`)
	epochForm = regexp.MustCompile(`^@(\d{1,12})(?:\.(\d{1,9}))?$`)
	partForm  = regexp.MustCompile(`^(\d{1,12}(?:\.\d{1,9})?)(w|d|h|ms|m|s|us|µs|ns)`)
)

// ParseInstant reads an instant as people type it; now and loc are what it is
// relative to. It may lie in the past, but not before 1970 nor after 2199.
//
//	now
//	@1763715600.25                       seconds since 1970, UTC
//	2026-11-21 10:00[:05[.25]][+01:00]   also with T, and Z for UTC: so RFC 3339, too
//	10:00[:05]                           the next such time of day, today or tomorrow
//	tomorrow 10:00[:05]
//
// A local time that a change of the clocks skips means the instant as far after
// the gap as it is into it: 02:30 is 03:30 if the clocks go from 02:00 to 03:00.
// One that comes twice means the first.
func ParseInstant(text string, now time.Time, loc *time.Location) (time.Time, error) {
	t, err := parseInstant(strings.TrimSpace(text), now, loc)
	if err == nil && (t.Before(first) || !t.Before(last)) {
		err = fmt.Errorf("is not in the years 1970 to 2199")
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("%.60q %w", text, err)
	}
	return t, nil
}

func parseInstant(text string, now time.Time, loc *time.Location) (time.Time, error) {
	if text == "now" {
		return now.Round(0).In(loc), nil
	}
	if m := epochForm.FindStringSubmatch(text); m != nil {
		sec, _ := strconv.ParseInt(m[1], 10, 64) // twelve digits
		return time.Unix(sec, int64(fraction(m[2]))).In(loc), nil
	}
	if m := dateForm.FindStringSubmatch(text); m != nil {
		return parseDate(m, loc)
	}
	day, clock := 0, text
	if rest, ok := strings.CutPrefix(text, "tomorrow "); ok {
		day, clock = 1, strings.TrimLeft(rest, " ")
	}
	m := clockForm.FindStringSubmatch(clock)
	if m == nil {
		return time.Time{}, fmt.Errorf("is not a time: %s", instantForms)
	}
	hour, minute, sec := number(m[1]), number(m[2]), number(m[3])
	if err := checkClock(hour, minute, sec); err != nil {
		return time.Time{}, err
	}
	y, mon, d := now.In(loc).Date()
	t := local(y, mon, d+day, hour, minute, sec, 0, loc)
	if day == 0 && !t.After(now) {
		t = local(y, mon, d+1, hour, minute, sec, 0, loc)
	}
	return t, nil
}

// parseDate reads a match of dateForm.
func parseDate(m []string, loc *time.Location) (time.Time, error) {
	year, month, day := number(m[1]), number(m[2]), number(m[3])
	hour, minute, sec, ns := number(m[4]), number(m[5]), number(m[6]), fraction(m[7])
	if err := checkClock(hour, minute, sec); err != nil {
		return time.Time{}, err
	}
	date := time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
	if date.Month() != time.Month(month) || date.Day() != day {
		return time.Time{}, fmt.Errorf("names a day that does not exist")
	}
	switch zone := m[8]; zone {
	case "":
		return local(year, time.Month(month), day, hour, minute, sec, ns, loc), nil
	case "Z", "z":
		return time.Date(year, time.Month(month), day, hour, minute, sec, ns, time.UTC), nil
	default:
		hours, minutes := number(zone[1:3]), number(zone[4:6])
		if hours > 23 || minutes > 59 {
			return time.Time{}, fmt.Errorf("has an offset from UTC that is not -23:59 to +23:59")
		}
		offset := hours*3600 + minutes*60
		if zone[0] == '-' {
			offset = -offset
		}
		return time.Date(year, time.Month(month), day, hour, minute, sec, ns, time.FixedZone("", offset)), nil
	}
}

func checkClock(hour, minute, sec int) error {
	if hour > 23 || minute > 59 || sec > 59 {
		return fmt.Errorf("has a time of day that is not 00:00:00 to 23:59:59")
	}
	return nil
}

// local returns the instant that a local time means.
func local(y int, m time.Month, d, hour, minute, sec, ns int, loc *time.Location) time.Time {
	return timespec.Local(y, m, d, hour, minute, sec, ns, loc)
}

// ParseIn reads a duration from now: like Go's durations, but also with days
// (d, 24 hours) and weeks (w), without a sign, more than nothing and at most
// 3660 days.
func ParseIn(text string) (time.Duration, error) {
	rest := strings.TrimSpace(text)
	var sum time.Duration
	for {
		m := partForm.FindStringSubmatch(rest)
		if m == nil {
			return 0, fmt.Errorf("%.60q is not a duration: %s", text, inForms)
		}
		d, err := part(m[1], m[2])
		if err != nil || d > maxIn-sum {
			return 0, fmt.Errorf("%.60q is more than 3660 days", text)
		}
		sum += d
		if rest = rest[len(m[0]):]; rest == "" {
			break
		}
	}
	if sum <= 0 {
		return 0, fmt.Errorf("%.60q is no time at all: %s", text, inForms)
	}
	return sum, nil
}

// part returns a number of units, at most a little more than maxIn.
func part(n, unit string) (time.Duration, error) {
	hours := map[string]time.Duration{"w": 7 * 24, "d": 24}[unit]
	if hours == 0 {
		return time.ParseDuration(n + unit)
	}
	d, err := time.ParseDuration(n + "h")
	if err != nil || d > maxIn/hours {
		return maxIn + 1, err
	}
	return d * hours, nil
}

// number returns the value of at most nine digits; of none, 0.
func number(digits string) int {
	n, _ := strconv.Atoi(digits) // they were matched by an expression
	return n
}

// fraction returns the nanoseconds that the digits after a point mean.
func fraction(digits string) int {
	return number((digits + "000000000")[:9])
}
