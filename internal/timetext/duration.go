package timetext

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

var (
	errDuration = errors.New("is not a duration: write it like 90s, 5m, 1h30m, 2d or PT1H30M")
	errTooLong  = errors.New("is too long: a duration is less than 290 years")
)

// Duration reads a duration. Each setting checks its own range.
func Duration(text string) (time.Duration, error) {
	d, err := duration(strings.TrimSpace(text))
	if err != nil {
		return 0, fmt.Errorf("%.60q %w", text, err)
	}
	return d, nil
}

func duration(text string) (time.Duration, error) {
	if strings.Contains(text, "-") {
		return 0, errors.New("has a minus sign: a duration is not negative")
	}
	text, _ = strings.CutPrefix(text, "@ ") // PostgreSQL, in many words
	c := cursor{text}
	_ = c.take('+')
	var s sum
	var err error
	if c.take('P') || c.take('p') {
		err = s.iso(&c)
	} else {
		err = s.parts(&c)
	}
	switch {
	case err != nil:
		return 0, err
	case s.over:
		return 0, errTooLong
	}
	return s.d, nil
}

// A sum adds up a duration; over: it is too long.
type sum struct {
	d    time.Duration
	over bool
}

// A quantity is a number with a fraction.
type quantity struct {
	whole uint64
	nano  int
}

// quantity reads a number.
func (s *sum) quantity(c *cursor) (q quantity, ok bool) {
	n := c.digits()
	if n == 0 && c.at(0) != '.' {
		return q, false
	}
	if n > 0 {
		var err error
		q.whole, err = strconv.ParseUint(c.rest[:n], 10, 64)
		s.over = s.over || err != nil
		c.rest = c.rest[n:]
	}
	if c.at(0) == '.' || c.at(0) == ',' && '0' <= c.at(1) && c.at(1) <= '9' {
		bare := n > 0 && c.rest[0] == '.' && (c.at(1) < '0' || c.at(1) > '9') // 1.h, as Go takes it
		if bare {
			c.rest = c.rest[1:]
			return q, true
		}
		q.nano, ok = c.fraction()
		return q, ok
	}
	return q, true
}

// add adds a quantity of units.
func (s *sum) add(q quantity, unit time.Duration) {
	hi, lo := bits.Mul64(q.whole, uint64(unit))
	fhi, flo := bits.Mul64(uint64(q.nano), uint64(unit))
	part, _ := bits.Div64(fhi, flo, uint64(time.Second)) // less than a unit
	total, carry := bits.Add64(lo, part, 0)
	total, more := bits.Add64(total, uint64(s.d), 0)
	if hi+carry+more > 0 || total > math.MaxInt64 {
		s.over = true
		return
	}
	s.d = time.Duration(total)
}

const day = 24 * time.Hour

// unit returns the length of a unit; no: it has no fixed length.
func unit(word string) (d time.Duration, no bool) {
	if word != "M" { // minutes to some, months to others
		word = strings.ToLower(word)
	}
	switch word {
	case "w", "week", "weeks":
		return 7 * day, false
	case "d", "day", "days":
		return day, false
	case "h", "hr", "hrs", "hour", "hours":
		return time.Hour, false
	case "m", "min", "mins", "minute", "minutes":
		return time.Minute, false
	case "s", "sec", "secs", "second", "seconds":
		return time.Second, false
	case "ms", "msec", "millisecond", "milliseconds":
		return time.Millisecond, false
	case "us", "usec", "microsecond", "microseconds":
		return time.Microsecond, false
	case "ns", "nsec", "nanosecond", "nanoseconds":
		return time.Nanosecond, false
	case "M", "mo", "mon", "mons", "month", "months", "y", "year", "years":
		return 0, true
	}
	return 0, false
}

// parts reads numbers with units, and a time of day at the end, as in 1 day 02:00:00.
func (s *sum) parts(c *cursor) error {
	if strings.Trim(c.rest, "0") == "" && c.rest != "" {
		return nil
	}
	for first := true; ; first = false {
		_ = !first && c.take('+')
		text := c.rest
		q, ok := s.quantity(c)
		if !ok {
			return errDuration
		}
		if q.nano == 0 && c.at(0) == ':' {
			*c = cursor{text}
			return s.clock(c)
		}
		spaces := c.spaces()
		for _, micro := range []string{"µs", "μs"} {
			if rest, ok := strings.CutPrefix(c.rest, micro); ok {
				c.rest = "us" + rest
			}
		}
		word := c.word()
		d, no := unit(word)
		switch {
		case word == "M":
			return errors.New("has the unit M, which may mean minutes or months: write m for minutes")
		case no:
			return fmt.Errorf("has a unit of no fixed length, %s: write days", word)
		case d > 0:
		case word == "" && c.rest == "":
			return fmt.Errorf("has no unit: write %.30ss for seconds, %.30sm for minutes", text, text)
		case word == "" && first && spaces > 0 && q.nano == 0: // 1 02:00:00
			d = day
			if rest := (cursor{c.rest}); rest.at(rest.digits()) != ':' {
				return errDuration
			}
		default:
			return errDuration
		}
		s.add(q, d)
		_ = word != "" && c.take(',')
		if c.spaces(); c.rest == "" {
			return nil
		}
	}
}

// clock reads hours, minutes and seconds with colons, to the end.
func (s *sum) clock(c *cursor) error {
	hours, _ := s.quantity(c)
	_ = c.take(':')
	minutes, n := c.number(1, 2)
	if n > 0 && c.rest == "" {
		return fmt.Errorf("is hours and minutes, or minutes and seconds: write %dh%dm or %dm%ds", hours.whole, minutes, hours.whole, minutes)
	}
	if n != 2 || !c.take(':') {
		return errDuration
	}
	seconds, n := c.number(2, 2)
	nano, ok := c.fraction()
	if n == 0 || !ok || c.rest != "" {
		return errDuration
	}
	if minutes > 59 || seconds > 59 {
		return errors.New("has more than 59 minutes or seconds in a form with colons")
	}
	s.add(hours, time.Hour)
	s.add(quantity{whole: uint64(minutes)}, time.Minute)
	s.add(quantity{uint64(seconds), nano}, time.Second)
	return nil
}

// iso reads ISO 8601 from behind the P.
func (s *sum) iso(c *cursor) error {
	order := "YMWD"
	clock := false
	for some := false; ; some = true {
		if !clock && (c.take('T') || c.take('t')) {
			clock, order, some = true, "HMS", false
		}
		if c.rest == "" {
			if !some {
				return errDuration
			}
			return nil
		}
		q, ok := s.quantity(c)
		letter := c.at(0) &^ 0x20
		i := strings.IndexByte(order, letter)
		if !ok || c.rest == "" || i < 0 {
			return errDuration
		}
		c.rest, order = c.rest[1:], order[i+1:]
		switch {
		case clock:
			s.add(q, map[byte]time.Duration{'H': time.Hour, 'M': time.Minute, 'S': time.Second}[letter])
		case letter == 'W':
			s.add(q, 7*day)
		case letter == 'D':
			s.add(q, day)
		case q != quantity{}:
			return errors.New("has years or months, which have no fixed length: write days")
		}
	}
}
