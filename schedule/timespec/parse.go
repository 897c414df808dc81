package timespec

import (
	"fmt"
	"time"
)

// A parser reads a timespec from left to right, with one lexeme of lookahead.
type parser struct {
	text      string
	tok       lexeme
	spec      timespec
	dateFirst bool // a date may also be before the time of day
}

// next moves on to the next lexeme.
func (p *parser) next() { p.tok = lex(p.text, p.tok.end) }

// peek returns the kind of the lexeme after the current one.
func (p *parser) peek() token { return lex(p.text, p.tok.end).kind }

// accept moves on if the current lexeme is of a kind.
func (p *parser) accept(kind token) bool {
	if p.tok.kind != kind {
		return false
	}
	p.next()
	return true
}

// unexpected returns the error for the current lexeme if want was expected.
func (p *parser) unexpected(want string) error {
	at := "at its end"
	if p.tok.kind != endOfText {
		at = fmt.Sprintf("before %.20q", p.text[p.tok.start:])
	}
	return fmt.Errorf("%s is missing %s: %w", want, at, errForms)
}

// timespec reads the whole text.
func (p *parser) timespec() error {
	if err := p.base(); err != nil {
		return err
	}
	if err := p.change(); err != nil {
		return err
	}
	if p.tok.kind == endOfText {
		return nil
	}
	if isDate(p.tok.kind) || isTime(p.tok.kind) {
		return fmt.Errorf("%.20q is too much: a time of day comes first, then one date, then one + or -: %w",
			p.text[p.tok.start:], errForms)
	}
	return fmt.Errorf("%.20q is not understood: %w", p.text[p.tok.start:], errForms)
}

func isDate(k token) bool {
	return k == month || k == weekday || k == todayWord || k == tomorrowWord || k == nextWord ||
		k == dotted || k == hyphened || k == fiveToEight || k == oneOrTwo
}

func isTime(k token) bool {
	return k == hourMinute || k == four || k == noonWord || k == midnightWord || k == teatimeWord
}

// base reads the word now, a date, a time, or a time and a date.
func (p *parser) base() error {
	if p.tok.kind == nowWord {
		p.spec.isNow = true
		p.next()
		return nil
	}
	after := p.peek()
	switch {
	case p.tok.kind >= oneOrTwo && p.tok.kind <= digits && after >= minuteWord && after <= yearWord:
		return p.fromNow()
	case p.atTime():
	case p.tok.kind == oneOrTwo && after != month && p.afterNumber() != '/':
		p.next()
		return p.unexpected(`am, pm, a month or /`)
	case isDate(p.tok.kind):
		if err := p.date(); err != nil || !p.dateFirst || !p.atTime() {
			return err
		}
		return p.timeOfDay()
	default:
		return p.unexpected("a time")
	}
	if err := p.timeOfDay(); err != nil {
		return err
	}
	if isDate(p.tok.kind) {
		return p.date()
	}
	p.spec.timed = true
	return nil
}

// atTime reports whether a time of day comes next.
func (p *parser) atTime() bool {
	after := p.peek()
	return isTime(p.tok.kind) || p.tok.kind == oneOrTwo && (after == amWord || after == pmWord)
}

// timeOfDay reads a time of day, and whether it is UTC.
func (p *parser) timeOfDay() error {
	if err := p.time(); err != nil {
		return err
	}
	if p.accept(utcWord) {
		p.spec.utc, p.spec.loc = true, time.UTC
	}
	return nil
}

// afterNumber returns the first character of the next lexeme.
func (p *parser) afterNumber() byte {
	if l := lex(p.text, p.tok.end); l.kind == other {
		return l.text[0]
	}
	return 0
}

// fromNow reads "5 minutes from now".
func (p *parser) fromNow() error {
	if err := p.amount(+1); err != nil {
		return err
	}
	if !p.accept(fromWord) {
		return p.unexpected(`"from now"`)
	}
	if !p.accept(nowWord) {
		return p.unexpected(`"now"`)
	}
	p.spec.isNow = true
	return nil
}

// change reads "+ 5 minutes".
func (p *parser) change() error {
	sign := 0
	if p.tok.kind == other {
		sign = map[string]int{"+": +1, "-": -1}[p.tok.text]
	}
	if sign == 0 {
		return nil
	}
	p.next()
	return p.amount(sign)
}

// amount reads a number and a unit.
func (p *parser) amount(sign int) error {
	if p.tok.kind < oneOrTwo || p.tok.kind > digits {
		return p.unexpected("a number")
	}
	n, ok := value(p.tok.text)
	if !ok {
		return fmt.Errorf("%s is too much: %w", p.tok.text, errTooFar)
	}
	p.next()
	unit := p.tok.kind
	if unit < minuteWord || unit > yearWord {
		return p.unexpected("minutes, hours, days, weeks, months or years")
	}
	p.next()
	p.spec.shifts = append(p.spec.shifts, shift{sign * n, unit})
	return nil
}

// value returns the value of digits, if at most 100,000,000.
func value(digits string) (int, bool) {
	n := 0
	for _, c := range digits {
		if n = n*10 + int(c-'0'); n > 100_000_000 {
			return 0, false
		}
	}
	return n, true
}

// time reads a time of day, with am or pm.
func (p *parser) time() error {
	s, kind, text := &p.spec, p.tok.kind, p.tok.text
	p.next()
	switch kind {
	case noonWord:
		s.hour = 12
	case midnightWord:
		s.hour = 0
	case teatimeWord:
		s.hour = 16
	default:
		cut := span(text)
		if kind == four {
			cut = 2
		}
		s.hour, s.minute = number(text[:cut]), number(text[max(cut, len(text)-2):])
		if kind == oneOrTwo {
			s.minute = 0
		}
		if s.minute > 59 {
			return fmt.Errorf("%q has a minute that is not 00 to 59", text)
		}
		if s.hour > 24 {
			return fmt.Errorf("%q has an hour that is not 0 to 24", text)
		}
	}
	if half := p.tok.kind; (half == amWord || half == pmWord) && (kind == hourMinute || kind == oneOrTwo) {
		p.next()
		if s.hour > 12 {
			return fmt.Errorf("%q has an hour that is not 0 to 12, as it must be with am and pm", text)
		}
		s.hour %= 12
		if half == pmWord {
			s.hour += 12
		}
	}
	return nil
}

// date reads a date.
func (p *parser) date() error {
	s, l := &p.spec, p.tok
	switch l.kind {
	case oneOrTwo:
		return p.dayMonth()
	case month:
		return p.monthDay()
	case nextWord:
		return p.nextUnit()
	case todayWord:
	case tomorrowWord:
		s.d++
	case weekday:
		s.d += daysUntil(l.value, s.now)
	case hyphened:
		y, m, d := three(l.text)
		return p.digital(year(y), number(m), number(d))
	case dotted:
		d, m, y := three(l.text)
		return p.digital(year(y), number(m), number(d))
	case fiveToEight:
		cut := 2 - len(l.text)%2
		return p.digital(year(l.text[cut+2:]), number(l.text[:cut]), number(l.text[cut:cut+2]))
	}
	p.next()
	return nil
}

// daysUntil returns the days until the next such weekday, 1 to 7.
func daysUntil(weekday int, now time.Time) int {
	return (6+weekday-int(now.Weekday()))%7 + 1
}

// nextUnit reads "next week" or "next monday".
func (p *parser) nextUnit() error {
	p.next()
	switch {
	case p.tok.kind == weekday:
		p.spec.d += daysUntil(p.tok.value, p.spec.now)
	case p.tok.kind >= minuteWord && p.tok.kind <= yearWord:
		p.spec.shifts = append(p.spec.shifts, shift{1, p.tok.kind})
	default:
		return p.unexpected("a weekday, minute, hour, day, week, month or year")
	}
	p.next()
	return nil
}

// dayMonth reads "31 Jul", "31 Jul 2027" or "07/31/2027".
func (p *parser) dayMonth() error {
	first := p.tok
	p.next()
	if p.tok.kind == month {
		p.spec.m, p.spec.d = time.Month(p.tok.value), number(first.text)
		p.next()
		return p.year(false)
	}
	if p.tok.text != "/" {
		return p.unexpected("a month")
	}
	p.next()
	day := p.tok
	if !p.accept(oneOrTwo) {
		return p.unexpected("a day of the month")
	}
	if p.tok.text != "/" {
		return p.unexpected("/ and a year")
	}
	p.next()
	p.spec.d = number(day.text)
	if err := p.setMonth(number(first.text)); err != nil {
		return err
	}
	return p.year(true)
}

// monthDay reads "Jul 31", "Jul 31 2027" or "Jul 31, 2027".
func (p *parser) monthDay() error {
	p.spec.m = time.Month(p.tok.value)
	p.next()
	if n := span(p.tok.text); p.tok.kind == hourMinute && p.tok.text[n] == ',' {
		p.tok.kind, p.tok.text, p.tok.end = oneOrTwo, p.tok.text[:n], p.tok.start+n // "21,2027" is not a time here
	}
	p.spec.d = number(p.tok.text[:span(p.tok.text)])
	if !p.accept(oneOrTwo) {
		return p.unexpected("a day of the month")
	}
	if p.tok.text == "," {
		p.next()
		return p.year(true)
	}
	return p.year(false)
}

// year reads a year, which is optional unless must is set.
func (p *parser) year(must bool) error {
	p.spec.monthy = true
	if p.tok.kind != four && (p.tok.kind != oneOrTwo || len(p.tok.text) != 2) {
		if must {
			return p.unexpected("a year of two or four digits")
		}
		// The day is checked in a leap year, so that the error does not depend on today's
		// year.
		return checkDay(2000, p.spec.m, p.spec.d)
	}
	p.spec.y, p.spec.yearly = year(p.tok.text), true
	p.next()
	return nil
}

// digital reads a date that is one lexeme.
func (p *parser) digital(y, m, d int) error {
	p.next()
	p.spec.y, p.spec.d, p.spec.monthy, p.spec.yearly = y, d, true, true
	return p.setMonth(m)
}

func (p *parser) setMonth(m int) error {
	if m < 1 || m > 12 {
		return fmt.Errorf("%d is not a month; months are 1 to 12, and dates MM/DD/YYYY, DD.MM.YYYY, MMDDYYYY or YYYY-MM-DD", m)
	}
	p.spec.m = time.Month(m)
	return nil
}

// three divides a date at the characters that are not digits.
func three(text string) (a, b, c string) {
	i := span(text)
	j := i + 1 + span(text[i+1:])
	return text[:i], text[i+1 : j], text[j+1:]
}

// year returns the year that two to four digits mean. As in at, 0034 is 34, and so 2034.
func year(text string) int {
	y := number(text)
	switch {
	case y > 99:
		return y
	case y < 70:
		return 2000 + y
	}
	return 1900 + y
}
