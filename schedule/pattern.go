package schedule

import "time"

// A span is some of the values of one part of a time: start, start+step, ... up
// to stop. A step of 0 is start alone.
type span struct{ start, stop, step int }

// A set is a union of spans; nil is every value.
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

// unbounded is the stop of a span that goes on as far as its unit does.
const unbounded = 1 << 30

const secondMicros = 1_000_000

// A pattern is a set of dates and times of day, in no zone.
type pattern struct {
	years, months, days, hours, minutes set
	micros                              set   // of a minute
	weekdays                            uint8 // bit 0 is Sunday; 0: every one
	either                              bool  // a day's number or its weekday is enough; otherwise both
	fromEnd                             bool  // days count from the month's end: 1 is its last
}

// next returns the first time of the pattern that is not before w, which is a
// UTC time standing for what a clock shows. It is the zero time if there is
// none before 2200.
func (p *pattern) next(w time.Time) time.Time {
	year, month, day := w.Year(), int(w.Month()), w.Day()
	hour, minute := w.Hour(), w.Minute()
	micro := w.Second()*secondMicros + (w.Nanosecond()+999)/1000
	// Each part moves to its next value, and those below it to their first.
	// Where it has none, the part above it goes one on.
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

// nextDay returns the first day of a month that is not before day; 0: none.
func (p *pattern) nextDay(year, month, day int) int {
	end := time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC)
	weekday := int(end.Weekday()) - end.Day() // of the day 0, but for whole weeks
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

// mirror turns days that are counted from a month's end into its days. A step
// goes towards the end, from the earliest day on.
func (s set) mirror(days int) set {
	if s == nil {
		return nil
	}
	m := make(set, len(s))
	for i, p := range s {
		m[i] = span{days + 1 - p.start, days, p.step}
		if p.stop != unbounded && p.step > 0 { // the farthest from the end comes first
			m[i].start, m[i].stop = days+1-p.stop, days+1-p.start
		}
	}
	return m
}
