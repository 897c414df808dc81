package timetext

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Instants lie between these, because their readers print years with four digits and
// count nanoseconds in 64 bits.
var (
	First = time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)
	Last  = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC) // the first after them
)

// ErrForm is the kind of the error for a text that has none of the forms.
var ErrForm = errors.New("is not a time: write it like 2099-12-21T10:00:00+01:00, or 2099-12-21T09:00:00Z for UTC")

// Instant reads an instant. For a time without a zone it calls local with that time as if it
// were UTC; nil refuses such times.
func Instant(text string, local func(wall time.Time) (time.Time, error)) (time.Time, error) {
	t, err := instant(strings.TrimSpace(text), local)
	if err == nil && (t.Before(First) || !t.Before(Last)) {
		err = errors.New("is not in the years 1970 to 2199")
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("%.60q %w", text, err)
	}
	return t, nil
}

func instant(text string, local func(time.Time) (time.Time, error)) (time.Time, error) {
	if seconds, ok := strings.CutPrefix(text, "@"); ok {
		return epoch(seconds)
	}
	var r reading
	if err := r.read(text); err != nil {
		return time.Time{}, err
	}
	if err := r.check(); err != nil {
		return time.Time{}, err
	}
	wall := time.Date(r.year, time.Month(r.month), r.day, r.hour, r.minute, r.second, r.nano, time.UTC)
	switch {
	case r.zoned && r.offset == 0:
		return wall, nil
	case r.zoned:
		return wall.Add(-time.Duration(r.offset) * time.Second).In(time.FixedZone("", r.offset)), nil
	case local == nil:
		return time.Time{}, errors.New("has no zone: " + r.right())
	}
	return local(wall)
}

// epoch reads seconds since 1970.
func epoch(text string) (time.Time, error) {
	c := cursor{text}
	sec, n := c.number(1, 12)
	nano, ok := c.fraction()
	if n == 0 || !ok || c.rest != "" {
		return time.Time{}, ErrForm
	}
	return time.Unix(int64(sec), int64(nano)).UTC(), nil
}

// A reading has the parts of a time that a text gives.
type reading struct {
	year, month, day           int
	hour, minute, second, nano int
	weekday                    string // of three letters; empty: it does not say
	zoned                      bool
	offset                     int // from UTC, in seconds
}

// right returns how to write the same time with a zone.
func (r *reading) right() string {
	shown := fmt.Sprintf("%04d-%02d-%02dT%02d:%02d:%02d", r.year, r.month, r.day, r.hour, r.minute, r.second)
	if r.nano > 0 {
		shown += strings.TrimRight(fmt.Sprintf(".%09d", r.nano), "0")
	}
	return fmt.Sprintf("write it with its offset from UTC, like %s+01:00, or %sZ if it is UTC", shown, shown)
}

// read reads all forms but seconds since 1970.
func (r *reading) read(text string) error {
	c := cursor{text}
	if w := c.word(); weekday(w) >= 0 {
		r.weekday = w
		_ = c.take(',')
		if c.spaces(); c.digits() == 4 {
			return r.iso(&c)
		}
	}
	c = cursor{text}
	switch n := c.digits(); {
	case n == 4 && (c.at(4) == '-' || c.at(4) == '/'), n == 8, n == 14:
		return r.iso(&c)
	case n == len(text) && n > 0, n > 4 && c.at(n) == '.':
		return numeric(text)
	}
	return r.words(text)
}

// numeric returns an error with what a number without a unit may mean.
func numeric(text string) error {
	seconds := text
	if c := (cursor{text}); c.digits() == len(text) && len(text) == 13 {
		seconds = text[:10] + "." + text[10:]
	}
	return fmt.Errorf("is a number: write @%s for seconds since 1970", seconds)
}

// iso reads a date that begins with the year, a time of day, and a zone.
func (r *reading) iso(c *cursor) error {
	basic := c.digits() > 4
	r.year, _ = c.number(4, 4)
	ok := true
	if basic {
		r.month, _ = c.number(2, 2)
		r.day, _ = c.number(2, 2)
	} else {
		var n, k int
		sep := c.at(0)
		_ = c.take(sep)
		r.month, n = c.number(1, 2)
		ok = (sep == '-' || sep == '/') && c.take(sep)
		r.day, k = c.number(1, 2)
		ok = ok && n > 0 && k > 0
	}
	if !ok {
		return ErrForm
	}
	if c.rest == "" {
		return errors.New("has no time of day: " + r.right())
	}
	strict := c.take('T') || c.take('t') || c.digits() == 6 && basic // no spaces
	if !strict && (c.spaces() == 0 || basic) {
		return ErrForm
	}
	short, ok := r.clock(c)
	if !ok || short && !strict {
		return ErrForm
	}
	if err := r.zone(c.rest); err != nil {
		return err
	}
	if short && !r.zoned {
		return ErrForm
	}
	return nil
}

// clock reads a time of day; short: it is an hour alone.
func (r *reading) clock(c *cursor) (short, ok bool) {
	var n int
	if c.digits() > 2 { // without colons
		r.hour, _ = c.number(2, 2)
		if r.minute, n = c.number(2, 2); n == 0 {
			return false, false
		}
		if r.second, n = c.number(2, 2); n == 0 {
			return false, c.digits() == 0
		}
		r.nano, ok = c.fraction()
		return false, ok
	}
	if r.hour, n = c.number(1, 2); n == 0 {
		return false, false
	}
	if !c.take(':') {
		return true, n == 2
	}
	if r.minute, n = c.number(2, 2); n == 0 {
		return false, false
	}
	if !c.take(':') {
		return false, c.digits() == 0
	}
	if r.second, n = c.number(2, 2); n == 0 {
		return false, false
	}
	r.nano, ok = c.fraction()
	return false, ok
}

// zone reads the rest after a time of day: nothing, or a zone, perhaps followed by a
// repetition of it that some programs write.
func (r *reading) zone(text string) error {
	c := cursor{text}
	_ = c.spaces()
	if c.rest == "" {
		return nil
	}
	unknown := func() error {
		return fmt.Errorf("ends in %.30q, which says no offset from UTC: %s", strings.TrimSpace(text), r.right())
	}
	name := c.word()
	switch {
	case strings.EqualFold(name, "Z"):
		r.zoned = true
	case isUTC(name):
		r.zoned = true
		if c.sign() == 0 {
			break
		}
		// JavaScript writes GMT+0100. UTC+1 is ambiguous: in TZ it is west.
		if behind := (&cursor{c.rest[1:]}); behind.digits() < 4 && behind.at(2) != ':' {
			return unknown()
		}
		fallthrough
	case name == "":
		var ok bool
		if r.offset, ok = c.offset(); !ok {
			return unknown()
		}
		r.zoned = true
	default:
		return unknown()
	}
	if r.offset >= 24*3600 || r.offset <= -24*3600 {
		return errors.New("has an offset from UTC that is not -23:59 to +23:59")
	}
	if !c.repeats(r.offset) {
		return unknown()
	}
	return nil
}

func isUTC(word string) bool {
	return strings.EqualFold(word, "UTC") || strings.EqualFold(word, "GMT") || strings.EqualFold(word, "UT")
}

// repeats reads what may follow an offset: a zone's name in brackets, or a word in
// parentheses, or an abbreviation as Go writes it, with a reading of the monotonic clock.
// They are ignored, unless they are plainly another offset.
func (c *cursor) repeats(offset int) bool {
	for c.take('[') {
		_, rest, ok := strings.Cut(c.rest, "]")
		if c.rest = rest; !ok {
			return false
		}
	}
	if c.rest == "" {
		return true
	}
	if c.spaces() == 0 {
		return false
	}
	if c.take('(') {
		return strings.IndexByte(c.rest, ')') == len(c.rest)-1
	}
	if !strings.HasPrefix(c.rest, "m=") {
		var other int
		var ok bool
		if c.sign() != 0 {
			other, ok = c.offset()
		} else {
			name := c.word()
			ok = len(name) >= 3 && len(name) <= 6 // BC and PM are none
			if !isUTC(name) {
				other = offset
			}
		}
		if !ok || other != offset {
			return false
		}
		if c.rest == "" {
			return true
		}
		if c.spaces() == 0 {
			return false
		}
	}
	rest, ok := strings.CutPrefix(c.rest, "m=")
	return ok && strings.Trim(rest, "+-.0123456789") == ""
}

// offset reads +01, +0100, +01:00, the same with seconds, and YAML's +1.
func (c *cursor) offset() (seconds int, ok bool) {
	sign := c.sign()
	if sign == 0 {
		return 0, false
	}
	c.rest = c.rest[1:]
	colons := c.digits() <= 2
	unit := 3600
	for i := range 3 {
		least := 2
		if i == 0 && colons {
			least = 1
		}
		n, k := c.number(least, 2)
		if k == 0 || i > 0 && n > 59 {
			return 0, false
		}
		seconds += n * unit
		unit /= 60
		if colons && !c.take(':') || !colons && c.digits() == 0 {
			return sign * seconds, c.digits() == 0
		}
	}
	return 0, false
}

// orders are those of the words of a date and a time that programs write: the weekday,
// the day, the month, the year, the time of day and the zone.
var orders = []string{
	"wdmytz", "dmytz", // RFC 5322, HTTP
	"wmdtyz", "wmdtzy", "wmdytz", // git, date and Ruby, JavaScript
	"wdmtyz", "wdmtzy", "mdytz", // the same where the day comes before the month, or with a comma
	"wdmyt", "dmyt", "wmdty", "wmdyt", "wdmty", "mdyt", // without a zone
}

// words reads a date with the name of a month.
func (r *reading) words(text string) error {
	text, comment, commented := strings.Cut(text, " (")
	fields := apart(strings.Fields(text))
	if len(fields) < 4 || len(fields) > len(orders[0])+1 {
		return ErrForm
	}
	order, zone := "", ""
	for i, f := range fields {
		c := cursor{f}
		n := c.digits()
		switch {
		case weekday(strings.TrimSuffix(f, ",")) >= 0 && i == 0:
			r.weekday = f[:3]
			order += "w"
		case month(f) > 0 && i < 3:
			r.month = month(f)
			order += "m"
		case strings.HasSuffix(order, "t") && (strings.EqualFold(f, "AM") || strings.EqualFold(f, "PM")):
			if r.hour < 1 || r.hour > 12 {
				return ErrForm
			}
			if r.hour %= 12; f[0]|0x20 == 'p' {
				r.hour += 12
			}
			order += "a"
		case n == 4 && len(f) == 4:
			r.year, _ = c.number(4, 4)
			order += "y"
		case n > 0 && n <= 2 && len(strings.TrimSuffix(f, ",")) == n:
			r.day, _ = c.number(1, 2)
			order += "d"
		case n > 0 && n <= 2 && c.at(n) == ':':
			if short, ok := r.clock(&c); short || !ok || c.rest != "" {
				return ErrForm
			}
			order += "t"
		default:
			zone = " " + f
			order += "z"
		}
	}
	if !slices.Contains(orders, strings.Replace(order, "ta", "t", 1)) {
		return ErrForm
	}
	if commented {
		zone += " (" + comment
	}
	return r.zone(zone)
}

// apart takes dates apart that are one word: 21-Dec-2099, 21/Dec/2099:10:00:00.
func apart(fields []string) (all []string) {
	for _, f := range fields {
		for _, sep := range []string{"-", "/"} {
			if p := strings.SplitN(f, sep, 3); len(p) == 3 && month(p[1]) > 0 {
				year, clock, found := strings.Cut(p[2], ":")
				all = append(all, p[0], p[1])
				if f = year; found {
					all, f = append(all, year), clock
				}
			}
		}
		all = append(all, f)
	}
	return all
}

// check returns an error if there is no such time.
func (r *reading) check() error {
	date := time.Date(r.year, time.Month(r.month), r.day, 0, 0, 0, 0, time.UTC)
	switch {
	case date.Year() != r.year || date.Month() != time.Month(r.month) || date.Day() != r.day:
		return errors.New("names a day that does not exist")
	case r.weekday != "" && date.Weekday() != time.Weekday(weekday(r.weekday)):
		return fmt.Errorf("names a weekday, but that day is a %v", date.Weekday())
	case r.hour == 24 && r.minute == 0 && r.second == 0 && r.nano == 0:
		return fmt.Errorf("has a time of day that is not 00:00:00 to 23:59:59: the end of that day is %sT00:00:00", date.AddDate(0, 0, 1).Format(time.DateOnly))
	case r.hour > 23 || r.minute > 59 || r.second > 59:
		return errors.New("has a time of day that is not 00:00:00 to 23:59:59")
	}
	return nil
}

// weekday is the number of a day by its name or the first three letters of that, as
// package time has it, or -1.
func weekday(word string) int {
	for d := time.Sunday; d <= time.Saturday; d++ {
		if named(word, d.String()) {
			return int(d)
		}
	}
	return -1
}

// month is the number of a month by its name or the first three letters of that, or 0.
func month(word string) int {
	for m := time.January; m <= time.December; m++ {
		if named(word, m.String()) {
			return int(m)
		}
	}
	return 0
}

func named(word, name string) bool {
	return strings.EqualFold(word, name) || strings.EqualFold(word, name[:3])
}
