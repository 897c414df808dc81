// Package ical writes calendars in the iCalendar format (RFC 5545), which mail programs and
// telephones read. It is pure.
//
// All times are in UTC: what readers make of a time zone differs from one to the next.
package ical

import (
	"bufio"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A Status says whether an event takes place.
type Status string

// The statuses.
const (
	Confirmed Status = "CONFIRMED"
	Tentative Status = "TENTATIVE"
	Cancelled Status = "CANCELLED"
)

// An Event is an entry of a calendar.
type Event struct {
	UID               string // the same each time that the event is written, and nowhere else
	Sequence          uint64 // rises with each change; programs ignore an event with a lower one than they have
	Created, Modified time.Time
	Start, End        time.Time
	Status            Status
	Summary           string
	Location          string
	Description       string // may have several lines
	Resources         []string
}

// Write writes a calendar. Whatever is in the texts of the events, the result is valid.
func Write(w io.Writer, events []Event) error {
	out := writer{bufio.NewWriter(w)}
	out.line("BEGIN", "VCALENDAR")
	out.line("VERSION", "2.0")
	out.line("PRODID", "-//activationd//calendar//EN")
	for i := range events {
		out.event(&events[i])
	}
	out.line("END", "VCALENDAR")
	return out.Flush()
}

// A writer keeps the first error until Flush.
type writer struct{ *bufio.Writer }

func (w writer) event(e *Event) {
	w.line("BEGIN", "VEVENT")
	w.line("UID", text(e.UID))
	w.line("SEQUENCE", strconv.FormatUint(e.Sequence, 10))
	// Without a METHOD, both are the time of the last change. So what has not changed is the
	// same text again.
	w.line("DTSTAMP", instant(e.Modified))
	w.line("LAST-MODIFIED", instant(e.Modified))
	w.line("CREATED", instant(e.Created))
	start, end := e.Start.Truncate(time.Second), e.End.Add(time.Second-1).Truncate(time.Second)
	if !end.After(start) { // some programs make an hour of no time, and others refuse it
		end = start.Add(time.Second)
	}
	w.line("DTSTART", instant(start))
	w.line("DTEND", instant(end))
	w.line("STATUS", string(e.Status))
	w.line("SUMMARY", text(e.Summary))
	for _, t := range []struct{ name, text string }{{"LOCATION", e.Location}, {"DESCRIPTION", e.Description}} {
		if t.text != "" {
			w.line(t.name, text(t.text))
		}
	}
	if len(e.Resources) > 0 {
		all := make([]string, len(e.Resources))
		for i, r := range e.Resources {
			all[i] = text(r)
		}
		w.line("RESOURCES", strings.Join(all, ","))
	}
	w.line("END", "VEVENT")
}

// foldAt is how many bytes a line may have, its end not counted.
const foldAt = 75

// line writes a property. A long one is divided between characters; its further lines begin
// with a blank, which is no part of it.
func (w writer) line(name, value string) {
	rest, room := name+":"+value, foldAt
	for len(rest) > room {
		n := room
		for !utf8.RuneStart(rest[n]) {
			n--
		}
		_, _ = w.WriteString(rest[:n] + "\r\n ") // Flush returns the error
		rest, room = rest[n:], foldAt-1
	}
	_, _ = w.WriteString(rest + "\r\n")
}

func instant(t time.Time) string { return t.UTC().Format("20060102T150405Z") }

var escapes = strings.NewReplacer(`\`, `\\`, ";", `\;`, ",", `\,`, "\r\n", `\n`, "\n", `\n`, "\r", `\n`)

// text returns a text as it is written: valid, and without characters that have a meaning.
func text(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f {
			return -1
		}
		return r
	}, escapes.Replace(strings.ToValidUTF8(s, "\uFFFD")))
}
