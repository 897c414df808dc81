package timespec_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// A generator makes timespecs, most of them right, and instants to say them at,
// many of them close to a change of the clocks.
type generator struct{ *rand.Rand }

func (g generator) pick(of ...string) string { return of[g.IntN(len(of))] }

// within returns a number from -n to n.
func (g generator) within(n int) int { return g.IntN(2*n+1) - n }

// now returns an instant in the years 2025 to 2032.
func (g generator) now(loc *time.Location) time.Time {
	t := time.Date(2025, 1, 1, 0, 0, g.IntN(8*366*86400), 0, time.UTC).In(loc)
	_, end := t.ZoneBounds()
	switch g.IntN(6) {
	case 0, 1:
		if !end.IsZero() {
			t = end.Add(time.Duration(g.within(3*86400)) * time.Second)
		}
	case 2:
		if !end.IsZero() {
			t = end.Add(time.Duration(g.within(7200)) * time.Second)
		}
	case 3: // an end of a month, often February's
		t = time.Date(t.Year(), time.Month(2+g.IntN(3)/2*g.IntN(11)), 0, t.Hour(), t.Minute(), t.Second(), 0, loc).AddDate(0, 1, g.within(1))
	}
	return t
}

// timespec returns one that somebody might type at now.
func (g generator) timespec(now time.Time) string {
	var text string
	switch g.IntN(10) {
	case 0:
		text = "now"
	case 1, 2:
		text = g.date(now)
	case 3, 4, 5:
		text = g.time(now)
	default:
		text = g.time(now) + " " + g.date(now)
	}
	if strings.HasPrefix(text, "now") || g.IntN(3) == 0 {
		text += " " + g.pick("+", "+", "+", "-") + " " + g.amount()
	}
	switch g.IntN(12) {
	case 0:
		text = g.spoil(text)
	case 1:
		text = strings.ReplaceAll(text, " ", "")
	}
	if g.IntN(8) == 0 {
		text = strings.ToUpper(text)
	}
	return text
}

func (g generator) time(now time.Time) string {
	hour, minute := g.IntN(24), g.IntN(60)
	switch g.IntN(4) {
	case 0, 1:
		t := now.Add(time.Duration(g.within(150)) * time.Minute)
		hour, minute = t.Hour(), t.Minute()
	case 2:
		hour, minute = g.IntN(5), g.IntN(2)*30
	}
	if g.IntN(60) == 0 {
		hour = 24 + g.IntN(2)
	}
	if g.IntN(60) == 0 {
		minute = 59 + g.IntN(3)
	}
	var text string
	switch g.IntN(9) {
	case 0:
		text = fmt.Sprintf("%02d%02d", hour, minute)
	case 1, 2, 3:
		text = fmt.Sprintf("%d:%02d", hour, minute)
	case 4:
		text = fmt.Sprintf("%02d%s%02d", hour, g.pick(".", ",", "'", "h"), minute)
	case 5:
		text = fmt.Sprintf("%d%s%s", hour%13, g.pick("", " "), g.pick("am", "pm"))
	case 6:
		text = fmt.Sprintf("%d:%02d%s%s", hour%13, minute, g.pick("", " "), g.pick("am", "pm"))
	default:
		text = g.pick("noon", "midnight", "teatime")
	}
	if g.IntN(12) == 0 {
		text += " utc"
	}
	return text
}

func (g generator) date(now time.Time) string {
	t := now.AddDate(0, 0, g.within(3))
	if g.IntN(2) == 0 {
		t = now.AddDate(0, 0, g.within(400))
	}
	y, m, d := t.Date()
	name := m.String()
	if g.IntN(3) > 0 {
		name = name[:3]
	}
	if g.IntN(25) == 0 {
		d = g.IntN(33)
	}
	year := fmt.Sprint(y)
	if g.IntN(3) == 0 {
		year = fmt.Sprintf("%02d", y%100)
	}
	switch g.IntN(16) {
	case 0, 1:
		return fmt.Sprintf("%s %d", name, d)
	case 2:
		return fmt.Sprintf("%s %02d %s", name, d, year)
	case 3:
		return fmt.Sprintf("%s %d%s %s", name, d, g.pick(",", " ,"), year)
	case 4:
		return fmt.Sprintf("%d %s", d, name)
	case 5:
		return fmt.Sprintf("%d %s %s", d, name, year)
	case 6:
		return fmt.Sprintf("%d/%d/%s", m, d, year)
	case 7:
		return fmt.Sprintf("%02d/%02d/%s", m, d, year)
	case 8:
		return fmt.Sprintf("%d.%d.%s", d, m, year)
	case 9:
		return fmt.Sprintf("%s-%d-%02d", year, m, d)
	case 10:
		return fmt.Sprintf("%02d%02d%s", m, d, year)
	case 11:
		return fmt.Sprintf("%d%02d%s", m, d, year)
	case 12:
		return g.pick("next ", "") + g.weekday()
	case 13:
		return "next " + g.pick("minute", "hour", "day", "week", "month", "year")
	default:
		return g.pick("today", "tomorrow", "tomorrow")
	}
}

func (g generator) weekday() string {
	day := time.Weekday(g.IntN(7)).String()
	return g.pick(day, day[:3])
}

func (g generator) amount() string {
	n := g.IntN(6)
	switch g.IntN(8) {
	case 0, 1:
		n = g.IntN(100)
	case 2:
		n = g.IntN(2000)
	}
	unit := g.pick("minute", "minute", "hour", "hour", "day", "day", "week", "month", "year")
	return fmt.Sprintf("%d %s%s", n, unit, g.pick("", "s"))
}

// spoil makes a timespec wrong, as a rule.
func (g generator) spoil(text string) string {
	words := strings.Fields(text)
	i, j := g.IntN(len(words)), g.IntN(len(words))
	switch g.IntN(5) {
	case 0:
		words[i], words[j] = words[j], words[i]
	case 1:
		words = append(words[:i], words[i+1:]...)
	case 2:
		words[i] += " " + words[j]
	case 3:
		words[i] += g.pick("s", "th", ",", ":", "0", "7", "-", "é", " of", " from now", " pm", " utc")
	case 4:
		at := g.IntN(len(words[i]))
		words[i] = words[i][:at] + words[i][at+1:]
	}
	return strings.Join(words, " ")
}

// words cuts text as a shell would, or not at all.
func (g generator) words(text string) []string {
	if g.IntN(4) == 0 {
		return []string{text}
	}
	return strings.Split(text, " ")
}
