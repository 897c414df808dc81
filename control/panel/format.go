package panel

import (
	"fmt"
	"html/template"
	"path"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"activationd/control"
)

// funcs returns the functions of the templates.
func (p *Panel) funcs() template.FuncMap {
	return template.FuncMap{
		"span": span, "sentence": sentence, "begin": sentenceStart, "word": word, "base": base, "join": strings.Join,
		"amount": amount, "plain": plain, "number": number, "plural": plural, "shape": shape, "args": func(all ...any) []any { return all },
	}
}

// Clock writes a time as people read it: "10:46" today, "Mon 16:20" within six days, "24 Nov 10:46"
// else, with the year if it is another one.
func (v *view) Clock(t time.Time) string {
	t = t.In(v.Zone)
	days := func(t time.Time) int {
		return int(time.Date(t.Year(), t.Month(), t.Day(), 12, 0, 0, 0, time.UTC).Unix() / 86400)
	}
	switch d := days(t) - days(v.Now); {
	case d == 0:
		return t.Format("15:04")
	case d > -7 && d < 7:
		return t.Format("Mon 15:04")
	case t.Year() == v.Now.Year():
		return t.Format("2 Jan 15:04")
	}
	return t.Format("2 Jan 2006 15:04")
}

// Time writes a time as an element with the exact one in it.
func (v *view) Time(t time.Time) template.HTML {
	if t.IsZero() {
		return ""
	}
	//nolint:gosec // made of digits and letters of formats
	return template.HTML(`<time datetime="` + t.In(v.Zone).Format(time.RFC3339) + `" title="` + t.In(v.Zone).Format("Mon 2 Jan 2006 15:04:05 -07:00") + `">` + v.Clock(t) + `</time>`)
}

// between writes two times, with the day of the second one only if it is another.
func (v *view) between(from, to time.Time) string {
	from, to = from.In(v.Zone), to.In(v.Zone)
	if from.YearDay() == to.YearDay() && from.Year() == to.Year() {
		return v.Clock(from) + " to " + to.Format("15:04")
	}
	return v.Clock(from) + " to " + v.Clock(to)
}

// What the daemon's texts have that a page writes in another way: times in the daemon's zone, of
// which some name the zone, durations with zeros, and sources that are files.
var (
	told     = regexp.MustCompile(toldTime + ` to ` + toldTime + `|` + toldTime + `|\b(?:\d+h)?\d+m0s\b|\bsource "?/[^\s":,;]+"?`)
	toldZone = regexp.MustCompile(` [A-Z]{3,5}$`)
)

const toldTime = `\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?: [A-Z]{3,5}\b)?`

// Told writes a text of the daemon as the page writes it: times in the page's zone, as [view.Clock]
// does, and sources by their short names.
func (v *view) Told(text string) string {
	return told.ReplaceAllStringFunc(text, func(part string) string {
		if _, name, ok := strings.Cut(part, "source "); ok {
			return "source " + base(strings.Trim(name, `"`))
		}
		if strings.HasSuffix(part, "m0s") {
			part = strings.TrimSuffix(part, "0s")
			if hours, ok := strings.CutSuffix(part, "h0m"); ok {
				part = hours + "h"
			}
			return part
		}
		first, second, two := strings.Cut(part, " to ")
		from, to := toldAt(first), toldAt(second)
		switch {
		case from.IsZero() || two && to.IsZero():
			return part
		case two:
			return v.between(from, to)
		}
		return v.Clock(from)
	})
}

// toldAt reads a time of a text; zero: it is none.
func toldAt(text string) time.Time {
	form := time.DateTime
	if toldZone.MatchString(text) {
		form += " MST"
	}
	t, err := time.ParseInLocation(form, text, time.Local)
	if err != nil {
		return time.Time{}
	}
	return t
}

// conflict says what a reservation cannot have, with times in the page's zone.
func (v *view) conflict(c *control.ConflictLine) string {
	if c.Kind != "device" || len(c.With) == 0 || c.From.IsZero() || c.To.IsZero() {
		return v.Told(c.Text)
	}
	text := strings.Join(c.With, ", ")
	if c.More > 0 {
		text += fmt.Sprintf(" and %d more", c.More)
	}
	have := "has"
	if len(c.With)+c.More > 1 {
		have = "have"
	}
	return fmt.Sprintf("%s %s %s, %s", text, have, c.Name, v.between(c.From.Time, c.To.Time))
}

// base is the short name of a source: that of its file.
func base(source string) string {
	if strings.HasPrefix(source, "/") {
		return path.Base(source)
	}
	return source
}

// Away says how far a time is from now: "in 14 min", "2 h 3 min ago".
func (v *view) Away(t time.Time) string {
	switch d := t.Sub(v.Now); {
	case d <= -time.Second:
		return roughly(-d) + " ago"
	case d >= time.Second:
		return "in " + roughly(d)
	}
	return "now"
}

// Since says how long an activation has run; nothing, if its run is only about to begin.
func (v *view) Since(a control.Activation) string {
	if a.Started.IsZero() {
		return ""
	}
	return "for " + roughly(v.Now.Sub(a.Started.Time))
}

// Left says how long it is until a time: "1 h 14 min", or "over".
func (v *view) Left(t time.Time) string {
	if d := t.Sub(v.Now); d > 0 {
		return roughly(d)
	}
	return "over"
}

// roughly is span without the seconds of what is longer than a few minutes.
func roughly(d time.Duration) string {
	if d >= 10*time.Minute {
		d = d.Truncate(time.Minute)
	}
	return span(d)
}

// span writes a duration with two units at most: "41 s", "1 min 12 s", "1 h 14 min", "3 days 2 h".
func span(d time.Duration) string {
	units := []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}}
	d = d.Truncate(time.Second)
	for i, u := range units {
		n := d / u.of
		if n == 0 {
			continue
		}
		text := fmt.Sprintf("%d %s", n, u.name)
		if i+1 < len(units) {
			if next := units[i+1]; (d-n*u.of)/next.of > 0 {
				text += fmt.Sprintf(" %d %s", (d-n*u.of)/next.of, next.name)
			}
		}
		return text
	}
	return "0 s"
}

// sentence makes a sentence of a text: a capital letter first, a full stop at its end.
func sentence(text string) string {
	text = sentenceStart(text)
	if last, _ := utf8.DecodeLastRuneInString(text); unicode.IsLetter(last) || unicode.IsDigit(last) || last == ')' || last == '"' {
		text += "."
	}
	return text
}

// sentenceStart gives a text a capital letter first, unless it begins with a name: those of devices
// and activations have digits, and such.
func sentenceStart(text string) string {
	first, n := utf8.DecodeRuneInString(text)
	if word, _, _ := strings.Cut(text, " "); n == 0 || strings.ContainsAny(word, "0123456789@/_") {
		return text
	}
	return string(unicode.ToUpper(first)) + text[n:]
}

// word writes a word of the protocol for people: timed_out is "timed out".
func word(text string) string {
	switch text {
	case "unready":
		return "not ready"
	case "backoff":
		return "backing off"
	case "unserved":
		return "no listener"
	}
	return strings.ReplaceAll(text, "_", " ")
}

// plural writes a number of things.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// shapes are the states that have a symbol of their own in the frame.
var shapes = map[string]string{
	"scheduled": "ring", "held": "strokes", "waiting": "hourglass", "activating": "up", "active": "disc", "running": "right",
	"deactivating": "fall", "stuck": "alarm", "succeeded": "tick", "failed": "cross", "timed_out": "clock", "cancelled": "struck",
	"missed": "arrows", "lost": "question", "conflict": "warning", "conflicting": "warning", "rejected": "warning", "fatal": "alarm",
	"quarantined": "square", "login": "square", "source": "plug", "queue": "letter", "hook": "letter", "disk": "alarm", "clock": "alarm",
	"unverified": "question", "paused": "strokes", "ready": "disc", "served": "disc", "holds": "disc", "waits": "hourglass", "unserved": "ring", "unready": "warning", "starting": "up", "draining": "fall",
	"stopping": "fall", "backoff": "hourglass", "down": "ring", "leased": "disc", "free": "ring", "dead": "letter",
	"interrupted": "question", "timeout": "clock", "exited": "tick", "stopped": "struck",
}

// shape returns the symbol of a state.
func shape(state string) string {
	if s, ok := shapes[state]; ok {
		return s
	}
	return "ring"
}
