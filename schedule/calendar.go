package schedule

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

const calendarForms = `must be a calendar expression, such as "Mon..Fri 08:00", "*-*-01 04:00:00", "Sat,Sun 12:05", "quarterly" or "*:0/15 Europe/Prague"`

// shorthands are systemd's names for some expressions.
var shorthands = map[string]string{
	"minutely": "*-*-* *:*:00", "hourly": "*-*-* *:00:00", "daily": "*-*-* 00:00:00", "weekly": "Mon *-*-* 00:00:00",
	"monthly": "*-*-01 00:00:00", "quarterly": "*-01,04,07,10-01 00:00:00",
	"yearly": "*-01-01 00:00:00", "annually": "*-01-01 00:00:00", "anually": "*-01-01 00:00:00",
	"biannually": "*-01,07-01 00:00:00", "bi-annually": "*-01,07-01 00:00:00",
	"semiannually": "*-01,07-01 00:00:00", "semi-annually": "*-01,07-01 00:00:00",
}

// ParseCalendar reads a calendar expression in the format of systemd.time(7). It is local time
// in loc, unless it ends with the name of a zone or UTC:
//
//	[WEEKDAYS] [[YEARS-]MONTHS-DAYS | [YEARS-]MONTHS~DAYS] [HOURS:MINUTES[:SECONDS]] [ZONE]
//
// Days after a ~ count from the end of the month; ~01 is its last day. The expression means
// what it means to systemd, also for changes of the clocks: a time that is skipped does not
// occur, and one that comes twice occurs only the first time. Abbreviations of zones, such as
// CEST, are refused.
func ParseCalendar(text string, loc *time.Location) (Recurrence, error) {
	c, err := parseCalendar(text, loc)
	if err == nil && c.Next(first.Add(-1)).IsZero() {
		err = fmt.Errorf("there is no such time")
	}
	if err != nil {
		return nil, fmt.Errorf("%.60q: %w", text, err)
	}
	return c, nil
}

func parseCalendar(text string, loc *time.Location) (*civil, error) {
	c := &civil{loc: loc, grain: time.Microsecond}
	head, zone := text, ""
	if i := strings.LastIndexByte(text, ' '); i >= 0 {
		head, zone = text[:i], text[i+1:]
	}
	switch {
	case strings.EqualFold(zone, "UTC"):
		c.loc, text = time.UTC, head
	case zone != "" && strings.Contains("ABCDEFGHIJKLMNOPQRSTUVWXYZ", strings.ToUpper(zone[:1])) && zone != "Local":
		if l, err := time.LoadLocation(zone); err == nil {
			c.loc, text = l, head
		}
	}
	if full, ok := shorthands[strings.ToLower(text)]; ok {
		text = full
	}
	p := &calendarParser{rest: text, pattern: &c.pattern}
	if err := p.parse(); err != nil {
		return nil, err
	}
	if p.instant { // seconds since 1970
		c.loc = time.UTC
	}
	return c, nil
}

// A calendarParser reads an expression from left to right.
type calendarParser struct {
	rest    string
	instant bool
	*pattern
}

var errCalendar = fmt.Errorf("is not a calendar expression: %s", calendarForms)

func (p *calendarParser) parse() error {
	if p.rest == "" {
		return errCalendar
	}
	if err := p.parseWeekdays(); err != nil {
		return err
	}
	if seconds, ok := strings.CutPrefix(p.rest, "@"); ok {
		return p.parseInstant(seconds)
	}
	if err := p.parseDate(); err != nil {
		return err
	}
	return p.parseTime()
}

// parseInstant reads seconds since 1970.
func (p *calendarParser) parseInstant(text string) error {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || text[0] < '0' || text[0] > '9' || n >= last.Unix() {
		return fmt.Errorf("@%.40s is not a time before 2200", text)
	}
	one := func(v int) set { return set{{v, v, 0}} }
	t := time.Unix(n, 0).UTC()
	p.years, p.months, p.days = one(t.Year()), one(int(t.Month())), one(t.Day())
	p.hours, p.minutes, p.micros = one(t.Hour()), one(t.Minute()), one(t.Second()*secondMicros)
	p.instant = true
	return nil
}

var weekdayNames = []string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}

// parseWeekdays reads Mon..Wed,Fri and the blanks behind it, if there are weekdays.
func (p *calendarParser) parseWeekdays() error {
	from := -1 // the first day of an open range; Monday is 0
	for begun := false; ; begun = true {
		day := p.weekday()
		if day < 0 {
			if begun {
				return errCalendar
			}
			return nil
		}
		if from > day {
			return fmt.Errorf("a range of weekdays ends before it begins; write it as two")
		}
		for d := max(from, 0); d < day && from >= 0; d++ {
			p.weekdays |= 1 << ((d + 1) % 7)
		}
		p.weekdays |= 1 << ((day + 1) % 7)
		open := false
		for _, sep := range []string{"..", "-"} {
			if rest, ok := strings.CutPrefix(p.rest, sep); ok {
				if from >= 0 {
					return errCalendar
				}
				p.rest, open = rest, true
				break
			}
		}
		if open {
			from = day
		} else {
			from = -1
			var comma bool
			if p.rest, comma = strings.CutPrefix(p.rest, ","); !comma && p.rest != "" && p.rest[0] != ' ' {
				return errCalendar
			}
		}
		if p.rest == "" || p.rest[0] == ' ' { // the list may end with a comma
			p.rest = strings.TrimLeft(p.rest, " ")
			if open {
				return errCalendar
			}
			if p.weekdays == 1<<7-1 {
				p.weekdays = 0
			}
			return nil
		}
	}
}

// weekday reads the name of a weekday, and returns its number from Monday as 0, or -1.
func (p *calendarParser) weekday() int {
	n := 0
	for n < len(p.rest) && (p.rest[n]|0x20) >= 'a' && (p.rest[n]|0x20) <= 'z' {
		n++
	}
	word := strings.ToLower(p.rest[:n])
	for i, name := range weekdayNames {
		if word == name || word == name[:3] {
			p.rest = p.rest[n:]
			return (i + 6) % 7
		}
	}
	return -1
}

// parseDate reads a date, if there is one.
func (p *calendarParser) parseDate() error {
	if p.rest == "" {
		return nil
	}
	begin := p.rest
	var parts []set
	for {
		s, err := p.chain(1)
		if err != nil {
			return err
		}
		parts = append(parts, s)
		switch {
		case len(parts) == 1 && (p.rest == "" || p.rest[0] == ':'): // the number was the hour
			p.rest = begin
			return nil
		case len(parts) > 1 && (p.rest == "" || p.rest[0] == ' '):
			p.rest = strings.TrimLeft(p.rest, " ")
			if len(parts) == 2 {
				parts = append([]set{nil}, parts...)
			}
			return p.setDate(parts)
		case p.fromEnd || len(parts) == 3 || p.rest == "":
			return errCalendar
		case p.rest[0] == '~':
			p.fromEnd = true
		case p.rest[0] != '-':
			return errCalendar
		}
		p.rest = p.rest[1:]
	}
}

func (p *calendarParser) setDate(parts []set) (err error) {
	for i, y := range parts[0] {
		parts[0][i].start = fullYear(y.start)
		if y.stop != unbounded {
			parts[0][i].stop = fullYear(y.stop)
		}
	}
	if parts[2] == nil {
		p.fromEnd = false
	}
	days := 31
	if p.fromEnd {
		days = 28 // every month has at least these
	}
	if p.years, err = checked("year", parts[0], first.Year(), last.Year()-1, false); err != nil {
		return err
	}
	if p.months, err = checked("month", parts[1], 1, 12, false); err != nil {
		return err
	}
	p.days, err = checked("day", parts[2], 1, days, p.fromEnd)
	return err
}

// fullYear returns the year that two digits mean: 1970 to 2069.
func fullYear(y int) int {
	switch {
	case y < 70:
		return y + 2000
	case y < 100:
		return y + 1900
	}
	return y
}

// parseTime reads a time of day up to the end of the text. An empty text is midnight.
func (p *calendarParser) parseTime() (err error) {
	zero := func() set { return set{{0, 0, 0}} }
	if p.rest == "" {
		p.hours, p.minutes, p.micros = zero(), zero(), zero()
		return nil
	}
	parts := []set{nil, nil, zero()}
	for i, unit := range []int{1, 1, secondMicros} {
		if i == 2 && p.rest == "" {
			break
		}
		if i > 0 {
			if p.rest == "" || p.rest[0] != ':' {
				return errCalendar
			}
			p.rest = p.rest[1:]
		}
		if parts[i], err = p.chain(unit); err != nil {
			return err
		}
	}
	if p.rest != "" {
		return errCalendar
	}
	if p.hours, err = checked("hour", parts[0], 0, 23, false); err != nil {
		return err
	}
	if p.minutes, err = checked("minute", parts[1], 0, 59, false); err != nil {
		return err
	}
	if p.micros, err = checked("second", parts[2], 0, 60*secondMicros-1, false); err != nil {
		return err
	}
	return apart(p.micros)
}

// apart returns an error if two values are less than a second apart. systemd accepts a million
// of them in a second, and then runs a timer only as often as AccuracySec= says. Nobody means
// to run a job so often.
func apart(micros set) error {
	errDense := fmt.Errorf("second: occurs more than once within a second")
	var all []int
	for _, p := range micros {
		if p.step > 0 && p.step < secondMicros {
			return errDense
		}
		for v := p.start; v <= min(p.stop, 60*secondMicros-1); v += max(p.step, secondMicros) {
			all = append(all, v)
		}
	}
	slices.Sort(all)
	all = slices.Compact(all) // equal values count once
	for i := range all[min(1, len(all)):] {
		if all[i+1]-all[i] < secondMicros {
			return errDense
		}
	}
	return nil
}

// maxSpans bounds a list, as systemd does.
const maxSpans = 240

// chain reads * or a list of values, ranges and steps. Values are counted in parts, of
// which unit make one whole; if unit is more than 1, fractions are allowed.
func (p *calendarParser) chain(unit int) (set, error) {
	if rest, ok := strings.CutPrefix(p.rest, "*"); ok {
		p.rest = rest
		if unit > 1 {
			return set{{0, unbounded, unit}}, nil
		}
		return nil, nil
	}
	var s set
	for {
		sp, err := p.span(unit)
		if err != nil {
			return nil, err
		}
		if s = append(s, sp); len(s) > maxSpans {
			return nil, fmt.Errorf("has a list of more than %d", maxSpans)
		}
		rest, more := strings.CutPrefix(p.rest, ",")
		if !more {
			return s, nil
		}
		p.rest = rest
	}
}

// span reads N, N..M, N/STEP or N..M/STEP. With a step, a missing stop is unbounded.
func (p *calendarParser) span(unit int) (sp span, err error) {
	if sp.start, err = p.number(unit); err != nil {
		return sp, err
	}
	sp.stop = sp.start
	ranged := strings.HasPrefix(p.rest, "..")
	if ranged {
		p.rest = p.rest[2:]
		if sp.stop, err = p.number(unit); err != nil {
			return sp, err
		}
		sp.step = unit
	}
	if rest, ok := strings.CutPrefix(p.rest, "/"); ok {
		p.rest = rest
		if sp.step, err = p.number(unit); err != nil {
			return sp, err
		}
		if sp.step == 0 {
			return sp, fmt.Errorf("has a step of 0")
		}
		if !ranged {
			sp.stop = unbounded
		}
	} else if ranged && unit > 1 && sp.start+unit > sp.stop {
		return sp, fmt.Errorf("has a range shorter than a second; give it a step")
	}
	if p.rest != "" && !strings.Contains(" ,-~:", p.rest[:1]) {
		return sp, errCalendar
	}
	return sp, nil
}

// number reads digits and, if a unit has fractions, a point and up to six more digits.
func (p *calendarParser) number(unit int) (int, error) {
	n := digits(p.rest)
	if n == 0 || n > 9 {
		return 0, errCalendar
	}
	v, err := strconv.Atoi(p.rest[:n])
	p.rest = p.rest[n:]
	if err != nil || v > unbounded/unit {
		return 0, errCalendar
	}
	v *= unit
	if unit > 1 && strings.HasPrefix(p.rest, ".") && !strings.HasPrefix(p.rest, "..") {
		n := digits(p.rest[1:])
		if n == 0 || n > 6 {
			return 0, errCalendar
		}
		v += micros(p.rest[1 : 1+n])
		p.rest = p.rest[1+n:]
	}
	return v, nil
}

// micros returns the millionths that up to six digits after a point mean.
func micros(digits string) int {
	n, _ := strconv.Atoi((digits + "000000")[:6]) // these are digits
	return n
}

// digits returns the number of digits at the beginning of s.
func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

// checked returns the meaning of a list of values, after checking that its spans are within
// bounds.
func checked(name string, s set, low, high int, fromEnd bool) (set, error) {
	for i, p := range s {
		bounded := p.stop != unbounded
		if bounded && p.step > 0 && p.stop > p.start {
			p.stop -= (p.stop - p.start) % p.step
			s[i].stop = max(p.stop, p.start)
		}
		switch {
		case p.start < low || p.start > high || bounded && (p.stop < low || p.stop > high):
			return nil, fmt.Errorf("%s: is out of range", name)
		case p.step == 0:
		case bounded && p.start == p.stop: // one value
			s[i].step = 0
		case bounded && p.stop < p.start:
			return nil, fmt.Errorf("%s: a range ends before it begins", name)
		case bounded:
		case fromEnd && p.start-p.step < low || !fromEnd && p.start+p.step > high:
			return nil, fmt.Errorf("%s: has too large a step", name)
		}
	}
	return s, nil
}
