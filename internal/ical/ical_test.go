package ical

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestWrite(t *testing.T) {
	at := func(hour int) time.Time { return time.Date(2026, 12, 1, hour, 0, 0, 0, time.FixedZone("", 3600)) }
	var out bytes.Buffer
	if err := Write(&out, []Event{{
		UID: "1042@ostrava", Sequence: 7, Created: at(8), Modified: at(9), Start: at(10), End: at(12), Status: Confirmed,
		Summary: "BGP, for beginners; part 1\\2", Location: "r1, r2", Description: "owner: ada\n" + strings.Repeat("é", 70), Resources: []string{"r1", "r2"},
	}}); err != nil {
		t.Fatal(err)
	}
	want := strings.ReplaceAll(`BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//activationd//calendar//EN
BEGIN:VEVENT
UID:1042@ostrava
SEQUENCE:7
DTSTAMP:20261201T080000Z
LAST-MODIFIED:20261201T080000Z
CREATED:20261201T070000Z
DTSTART:20261201T090000Z
DTEND:20261201T110000Z
STATUS:CONFIRMED
SUMMARY:BGP\, for beginners\; part 1\\2
LOCATION:r1\, r2
DESCRIPTION:owner: ada\nééééééééééééééééééééééééé
 ééééééééééééééééééééééééééééééééééééé
 éééééééé
RESOURCES:r1,r2
END:VEVENT
END:VCALENDAR
`, "\n", "\r\n")
	if out.String() != want {
		t.Errorf("Write = %s\nwant %s", out.String(), want)
	}
}

// parts is what may be in texts.
var parts = []string{"a", "Z", "0", " ", ",", ";", ":", `\`, `\n`, `"`, "'", "\n", "\r", "\r\n", "\t", "\x00", "\x1b", "\xff", "é", "日", "🖧",
	"BEGIN:VEVENT", "END:VEVENT", "^n", "%"}

// anyEvents returns events with any texts of parts.
func anyEvents(r *rand.Rand, n int, parts []string) (all []Event) {
	text := func() string {
		var b strings.Builder
		b.WriteByte('x') // readers may cut blanks at the ends
		for range r.IntN(60) {
			b.WriteString(parts[r.IntN(len(parts))])
		}
		b.WriteByte('x')
		return b.String()
	}
	for i := range n {
		start := time.Unix(1790000000+r.Int64N(1e8), r.Int64N(1e9))
		e := Event{
			UID: fmt.Sprintf("%d%s", i, text()), Sequence: r.Uint64N(1 << 31), Created: start, Modified: start.Add(time.Hour),
			Start: start, End: start.Add(time.Duration(r.Int64N(int64(time.Hour)))), Status: []Status{Confirmed, Tentative, Cancelled}[r.IntN(3)],
			Summary: text(), Location: text(), Description: text(),
		}
		for range r.IntN(3) {
			e.Resources = append(e.Resources, text())
		}
		all = append(all, e)
	}
	return all
}

// plain returns what readers find in a text: other line ends are \n, and what cannot be written
// is gone.
func plain(s string) string {
	s = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(strings.ToValidUTF8(s, "\uFFFD"))
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, s)
}

// properties returns what readers should find of an event.
func properties(e *Event) map[string]string {
	instant := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	end := e.End.Truncate(time.Second)
	if end.Before(e.End) {
		end = end.Add(time.Second)
	}
	if start := e.Start.Truncate(time.Second); end.Equal(start) {
		end = start.Add(time.Second)
	}
	return map[string]string{
		"UID": plain(e.UID), "SEQUENCE": fmt.Sprint(e.Sequence), "STATUS": string(e.Status),
		"CREATED": instant(e.Created), "DTSTAMP": instant(e.Modified), "LAST-MODIFIED": instant(e.Modified),
		"DTSTART": instant(e.Start.Truncate(time.Second)), "DTEND": instant(end),
		"SUMMARY": plain(e.Summary), "LOCATION": plain(e.Location), "DESCRIPTION": plain(e.Description),
		"RESOURCES": plain(strings.Join(e.Resources, ",")),
	}
}

// TestReadBack writes any events, and has two programs read them that are not ours.
func TestReadBack(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	// python3-icalendar does not read backslashes right: it takes \\n for one before a new line.
	without := slices.DeleteFunc(slices.Clone(parts), func(s string) bool { return strings.Contains(s, `\`) })
	readers := []struct {
		name  string
		read  func(*testing.T, string) []map[string]string
		parts []string
	}{
		{"python3-icalendar", readPython, without},
		{"libical", readLibical, parts},
	}
	for _, reader := range readers {
		t.Run(reader.name, func(t *testing.T) {
			events := anyEvents(r, 150, reader.parts)
			file := filepath.Join(t.TempDir(), "calendar.ics")
			var out bytes.Buffer
			if err := Write(&out, events); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, out.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			for l := range strings.SplitSeq(strings.TrimSuffix(out.String(), "\r\n"), "\r\n") {
				if len(l) > 75 || !utf8.ValidString(l) || strings.ContainsAny(l, "\r\n") {
					t.Fatalf("the line %q is not valid", l)
				}
			}
			got := reader.read(t, file)
			if len(got) != len(events) {
				t.Fatalf("%d events were read, want %d", len(got), len(events))
			}
			for i := range events {
				want := properties(&events[i])
				if want["RESOURCES"] == "" {
					delete(want, "RESOURCES")
				}
				if !maps.Equal(got[i], want) {
					t.Fatalf("event %d is\n%q, want\n%q", i, got[i], want)
				}
			}
		})
	}
}

func readPython(t *testing.T, file string) (events []map[string]string) {
	t.Helper()
	const python = "/usr/bin/python3" // another one does not find Debian's packages
	if err := exec.Command(python, "-c", "import icalendar").Run(); err != nil {
		t.Skip("python3-icalendar is not installed")
	}
	for line := range strings.Lines(run(t, python, "testdata/read.py", file)) {
		var e map[string]string
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}

func readLibical(t *testing.T, file string) (events []map[string]string) {
	t.Helper()
	if _, err := os.Stat("/usr/include/libical/ical.h"); err != nil {
		t.Skip("libical-dev is not installed")
	}
	reader := filepath.Join(t.TempDir(), "read")
	run(t, "gcc", "-Wall", "-Werror", "-o", reader, "testdata/read.c", "-lical")
	e := make(map[string]string)
	for line := range strings.Lines(run(t, reader, file)) {
		name, code, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		value, err := hex.DecodeString(code)
		if err != nil {
			t.Fatal(err)
		}
		switch name {
		case "end":
			events = append(events, e)
			e = make(map[string]string)
			continue
		case "CREATED", "DTSTAMP", "LAST-MODIFIED", "DTSTART", "DTEND":
			at, err := time.Parse("20060102T150405Z", string(value))
			if err != nil {
				t.Fatal(err)
			}
			value = []byte(at.Format(time.RFC3339))
		}
		if had, ok := e[name]; ok { // it makes a property of each resource
			value = []byte(had + "," + string(value))
		}
		e[name] = string(value)
	}
	return events
}

// run runs a program and returns its output.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	var out, said bytes.Buffer
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v: %s", name, err, said.String())
	}
	return out.String()
}
