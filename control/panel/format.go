package panel

import (
	"fmt"
	"html/template"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// funcs returns the functions of the templates.
func (p *Panel) funcs() template.FuncMap {
	return template.FuncMap{
		"span": span, "sentence": sentence, "word": word, "join": strings.Join,
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

// sentenceStart gives a text a capital letter first.
func sentenceStart(text string) string {
	first, n := utf8.DecodeRuneInString(text)
	if n == 0 {
		return ""
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
