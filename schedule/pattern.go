package schedule

import "time"

// A span is some of the values of one part of a time: start, start+step, ... up to stop. With
// a step of 0 it is only start.
type span struct{ start, stop, step int }

// A set is a union of spans. A nil set has every value.
type set []span

// next returns the first value of s that is not less than v.
func (s set) next(v int) (n int, ok bool) {
	if s == nil {
		return v, true
	}
	for _, p := range s {
		k := p.start
		if k < v {
			if p.step == 0 {
				continue
			}
			k += (v - k + p.step - 1) / p.step * p.step
			if k > p.stop {
				continue
			}
		}
		if !ok || k < n {
			n, ok = k, true
		}
	}
	return n, ok
}

func (s set) has(v int) bool {
	n, ok := s.next(v)
	return ok && n == v
}

// unbounded is the stop of a span that goes to the end of its unit.
const unbounded = 1 << 30

const secondMicros = 1_000_000

// A pattern is a set of dates and times of day, without a zone.
type pattern struct {
	years, months, days, hours, minutes set
	micros                              set   // within a minute
	weekdays                            uint8 // bit 0 is Sunday; 0 means every day
	either                              bool  // the day or the weekday must match; otherwise both must
	fromEnd                             bool  // days count from the end of the month: 1 is the last day
}

// next returns the first time of the pattern that is not before w, or the zero time if there
// is none before 2200. Times that clocks show are written as UTC.
func (p *pattern) next(w time.Time) time.Time {
	year, month, day := w.Year(), int(w.Month()), w.Day()
	hour, minute := w.Hour(), w.Minute()
	micro := w.Second()*secondMicros + (w.Nanosecond()+999)/1000
	// Each part moves to its next value, and the parts below it to their first. If a part has
	// no next value, the part above it moves on.
	for {
		n, ok := p.years.next(year)
		if !ok || n >= last.Year() {
			return time.Time{}
		}
		if n > year {
			year, month, day, hour, minute, micro = n, 1, 1, 0, 0, 0
		}
		if n, ok = p.months.next(month); !ok || n > 12 {
			year, month, day, hour, minute, micro = year+1, 1, 1, 0, 0, 0
			continue
		}
		if n > month {
			month, day, hour, minute, micro = n, 1, 0, 0, 0
		}
		if n = p.nextDay(year, month, day); n == 0 {
			month, day, hour, minute, micro = month+1, 1, 0, 0, 0
			continue
		}
		if n > day {
			day, hour, minute, micro = n, 0, 0, 0
		}
		if n, ok = p.hours.next(hour); !ok || n > 23 {
			day, hour, minute, micro = day+1, 0, 0, 0
			continue
		}
		if n > hour {
			hour, minute, micro = n, 0, 0
		}
		if n, ok = p.minutes.next(minute); !ok || n > 59 {
			hour, minute, micro = hour+1, 0, 0
			continue
		}
		if n > minute {
			minute, micro = n, 0
		}
		if n, ok = p.micros.next(micro); !ok || n >= 60*secondMicros {
			minute, micro = minute+1, 0
			continue
		}
		return time.Date(year, time.Month(month), day, hour, minute, n/secondMicros, n%secondMicros*1000, time.UTC)
	}
}

// nextDay returns the first day of a month that is not before day, or 0 if there is none.
func (p *pattern) nextDay(year, month, day int) int {
	end := time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC)
	weekday := int(end.Weekday()) - end.Day() // of day 0, modulo 7
	days := p.days
	if p.fromEnd {
		days = p.days.mirror(end.Day())
	}
	for ; day <= end.Day(); day++ {
		inWeek := p.weekdays == 0 || p.weekdays&(1<<((weekday+day+35)%7)) != 0
		inMonth := days.has(day)
		if inWeek && inMonth || p.either && (inWeek || inMonth) {
			return day
		}
	}
	return 0
}

// mirror converts days that are counted from the end of a month into days of the month. A step
// goes towards the end, from the earliest day on.
func (s set) mirror(days int) set {
	if s == nil {
		return nil
	}
	m := make(set, len(s))
	for i, p := range s {
		m[i] = span{days + 1 - p.start, days, p.step}
		if p.stop != unbounded && p.step > 0 { // the day farthest from the end comes first
			m[i].start, m[i].stop = days+1-p.stop, days+1-p.start
		}
	}
	return m
}
