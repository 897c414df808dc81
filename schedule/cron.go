package schedule

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

const cronForms = `must be minute, hour, day of the month, month and day of the week, such as "30 4 * * 1-5", optionally with seconds before them, or one of @hourly, @daily, @weekly, @monthly, @yearly, @reboot`

// nicknames are abbreviations of expressions. @reboot is none of them.
var nicknames = map[string]string{
	"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
	"@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}

// A cronField is one field of a cron expression.
type cronField struct {
	name      string
	low, high int
	words     []string // names for low and the numbers after it
}

var cronFields = []cronField{
	{"second", 0, 59, nil},
	{"minute", 0, 59, nil},
	{"hour", 0, 23, nil},
	{"day of the month", 1, 31, nil},
	{"month", 1, 12, []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}},
	{"day of the week", 0, 7, []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}},
}

// ParseCron reads a cron expression. It is local time in loc, unless it begins with
// CRON_TZ=ZONE or TZ=ZONE. It has the five fields of crontab(5), or six, of which the first is
// the second:
//
//	second  0-59                * is all; lists with commas, ranges with -,
//	minute  0-59                steps with /: */15, 10-40/10, and 5/15 for
//	hour    0-23                5-59/15
//	day     1-31
//	month   1-12 or names
//	weekday 0-7 or names        0 and 7 are Sunday
//
// As in crontab(5), if neither the day nor the weekday begins with *, one of them is enough.
// Changes of the clocks are handled as in cron(8). Times of day (neither the minute nor the
// hour begins with *) that are skipped occur right after the change, all together once; those
// that come twice occur only the first time. All other expressions go by elapsed time. Changes
// by three hours or more are corrections: the new time holds at once.
//
// @reboot is [AtBoot].
func ParseCron(text string, loc *time.Location) (Recurrence, error) {
	fields := strings.Fields(text)
	for _, prefix := range []string{"CRON_TZ=", "TZ="} {
		if len(fields) > 0 && strings.HasPrefix(fields[0], prefix) {
			name := fields[0][len(prefix):]
			if name == "" { // an empty name would be the daemon's zone
				return nil, fmt.Errorf("%.60q: %s must be followed by a time zone", text, prefix)
			}
			var err error
			if loc, err = LoadZone(name); err != nil {
				return nil, fmt.Errorf("%.60q: %w", text, err)
			}
			fields = fields[1:]
			break
		}
	}
	if len(fields) == 1 {
		switch nick := strings.ToLower(fields[0]); {
		case nick == "@reboot":
			return AtBoot{}, nil
		case nicknames[nick] != "":
			fields = strings.Fields(nicknames[nick])
		}
	}
	if len(fields) != 5 && len(fields) != 6 {
		return nil, fmt.Errorf("%.60q is not a cron expression: %s", text, cronForms)
	}
	if len(fields) == 5 {
		fields = slices.Insert(fields, 0, "0")
	}
	sets := make([]set, len(fields))
	for i, f := range fields {
		var err error
		if sets[i], err = cronFields[i].parse(f); err != nil {
			return nil, fmt.Errorf("%.60q: %s: %w", text, cronFields[i].name, err)
		}
	}
	star := func(i int) bool { return fields[i][0] == '*' || fields[i] == "?" }
	wild := star(1) || star(2)
	c := &civil{
		pattern: pattern{
			minutes: sets[1], hours: sets[2], days: sets[3], months: sets[4],
			either: !star(3) && !star(5),
		},
		loc: loc, grain: time.Second, late: !wild, again: wild, correction: 3 * time.Hour,
	}
	for _, s := range sets[0] {
		c.micros = append(c.micros, span{s.start * secondMicros, s.stop * secondMicros, s.step * secondMicros})
	}
	for day := 0; day <= 7; day++ {
		if sets[5].has(day) {
			c.weekdays |= 1 << (day % 7)
		}
	}
	if c.Next(first).IsZero() {
		return nil, fmt.Errorf("%.60q: there is no such day", text)
	}
	return c, nil
}

// parse reads a list of ranges.
func (f *cronField) parse(text string) (set, error) {
	var s set
	if text == "?" && (f.high == 31 || f.high == 7) { // other programs write it for *
		text = "*"
	}
	for part := range strings.SplitSeq(text, ",") {
		values, step, stepped := strings.Cut(part, "/")
		p := span{step: 1}
		if stepped {
			n, err := strconv.ParseUint(step, 10, 16)
			if err != nil || n == 0 {
				return nil, fmt.Errorf("%q: want a step of 1 or more, have %q", part, step)
			}
			p.step = int(n)
		}
		low, high, ranged := strings.Cut(values, "-")
		var err error
		switch {
		case values == "*":
			p.start, p.stop = f.low, f.high
		case ranged:
			if p.start, err = f.value(low); err == nil {
				p.stop, err = f.value(high)
			}
			if f.words != nil && f.low == 0 && p.start > 0 && strings.EqualFold(high, f.words[0]) {
				p.stop = f.high // sat-sun, but not sun-sun
			}
			if err == nil && p.stop < p.start {
				err = fmt.Errorf("%q ends before it begins; write it as two", part)
			}
		case stepped:
			p.start, err = f.value(low)
			p.stop = f.high
		default:
			p.start, err = f.value(low)
			p.stop = p.start
		}
		if err != nil {
			return nil, err
		}
		s = append(s, p)
	}
	return s, nil
}

func (f *cronField) value(text string) (int, error) {
	if i := slices.Index(f.words, strings.ToLower(text)); i >= 0 {
		return f.low + i, nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || int(n) < f.low || int(n) > f.high {
		names := ""
		if f.words != nil {
			names = ", or a name such as " + f.words[1]
		}
		return 0, fmt.Errorf("want %d to %d%s, have %q", f.low, f.high, names, text)
	}
	return int(n), nil
}
