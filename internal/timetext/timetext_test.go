package timetext_test

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"activationd/internal/timetext"
	"activationd/internal/timetext/timeforms"
)

func TestInstant(t *testing.T) {
	for _, f := range timeforms.Instants() {
		got, err := timetext.Instant(f.Text, nil)
		if f.Why == "" && (err != nil || !got.Equal(f.Want)) {
			t.Errorf("%s: Instant(%q) = %v, %v, want %v", f.Name, f.Text, got, err, f.Want)
		}
		if f.Why != "" && (err == nil || !strings.Contains(err.Error(), f.Why)) {
			t.Errorf("%s: Instant(%q) = %v, %v, want an error that says %q", f.Name, f.Text, got, err, f.Why)
		}
	}
	for _, f := range timeforms.Local() {
		if got, err := timetext.Instant(f.Text, nil); err == nil || !strings.Contains(err.Error(), f.Why) {
			t.Errorf("%s: Instant(%q) = %v, %v, want an error that says %q", f.Name, f.Text, got, err, f.Why)
		}
		got, err := timetext.Instant(f.Text, func(wall time.Time) (time.Time, error) { return wall, nil })
		if err != nil || !got.Equal(f.Want) {
			t.Errorf("%s: the clock of Instant(%q) is %v, %v, want %v", f.Name, f.Text, got, err, f.Want)
		}
	}
	no := errors.New("is never shown")
	if _, err := timetext.Instant("2099-12-21 10:00", func(time.Time) (time.Time, error) { return time.Time{}, no }); !errors.Is(err, no) {
		t.Errorf("the error is %v, want that of the clock's owner", err)
	}
}

func TestDuration(t *testing.T) {
	for _, f := range timeforms.Durations() {
		got, err := timetext.Duration(f.Text)
		if f.Why == "" && (err != nil || got != f.Want) {
			t.Errorf("%s: Duration(%q) = %v, %v, want %v", f.Name, f.Text, got, err, f.Want)
		}
		if f.Why != "" && (err == nil || !strings.Contains(err.Error(), f.Why) || len(err.Error()) > 300) {
			t.Errorf("%s: Duration(%q) = %v, %v, want an error that says %q", f.Name, f.Text, got, err, f.Why)
		}
	}
	for text, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "00:00:00": 0, "PT0S": 0, "0.1ns": 0, "838:59:59": 839*time.Hour - time.Second, "1µs": time.Microsecond, "1μs": time.Microsecond,
		"12h1d": 36 * time.Hour, "0.5w": 84 * time.Hour, "1.h": time.Hour, "9223372036854775807ns": 1<<63 - 1,
	} {
		if got, err := timetext.Duration(text); err != nil || got != want {
			t.Errorf("Duration(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"9223372036854775808ns", "1ns9223372036854775807ns", "106752d"} {
		if got, err := timetext.Duration(text); err == nil {
			t.Errorf("Duration(%q) = %v, want an error", text, got)
		}
	}
}

// TestList: what docs/times.md shows in its tables is taken, and what it says of it holds.
func TestList(t *testing.T) {
	text, err := os.ReadFile("../../docs/times.md")
	if err != nil {
		t.Fatal(err)
	}
	instants, durations, ok := strings.Cut(string(text), "\n## Durations\n")
	durations, past, more := strings.Cut(durations, "\n## Times of the past\n")
	past, ahead, calendar := strings.Cut(past, "\n## Times of a calendar\n")
	ahead, _, _ = strings.Cut(ahead, "\n## ") // of the rest there is a test where it is read
	if !ok || !more || !calendar {
		t.Fatal("there is no list of durations, or none of times of the past or of a calendar")
	}
	shown := regexp.MustCompile("`([^`]+)`")
	inColumn := func(column int, section string) (all []string) {
		for line := range strings.Lines(section) {
			if cells := strings.Split(line, "|"); len(cells) == 4 {
				for _, m := range shown.FindAllStringSubmatch(cells[column], -1) {
					all = append(all, m[1])
				}
			}
		}
		return all
	}
	examples := func(section string) []string { return inColumn(2, section) }
	for _, text := range examples(instants) {
		if got, err := timetext.Instant(text, nil); err != nil || got.Sub(timeforms.At).Abs() > time.Second {
			t.Errorf("Instant(%q) = %v, %v, want %v", text, got, err, timeforms.At)
		}
	}
	for _, text := range examples(durations) {
		if got, err := timetext.Duration(text); err != nil || got <= 0 {
			t.Errorf("Duration(%q) = %v, %v", text, got, err)
		}
	}
	for _, text := range inColumn(1, past) {
		if _, err := timetext.Typed(text, time.Now(), time.UTC); err == nil && !strings.Contains(text, ":") {
			t.Errorf("%q is also accepted elsewhere", text)
		}
		if _, err := timetext.Past(text, time.Now(), time.Time{}, time.UTC); err != nil {
			t.Errorf("Past(%q): %v", text, err)
		}
	}
	for _, text := range inColumn(1, ahead) {
		if _, err := timetext.Ahead(text, time.Now(), time.Now(), time.UTC); err != nil {
			t.Errorf("Ahead(%q): %v", text, err)
		}
	}
	if n, m, k := len(examples(instants)), len(examples(durations)), len(inColumn(1, past)); n < 20 || m < 15 || k < 8 {
		t.Errorf("the list has %d instants, %d durations and %d times of the past", n, m, k)
	}
}

// layouts are those in which other programs write an instant to the nanosecond, and
// those to the second.
var layouts = []string{
	time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.000000000-07:00", "2006-01-02T15:04:05,000000000-0700",
	"20060102T150405.000000000-0700", "2006-01-02 15:04:05.999999999 -0700 MST", "2006-01-02T15:04:05.999999999-07:00[Some/Zone]",
	time.RFC1123Z, "Mon, 2 Jan 2006 15:04:05 -0700 (MST)", "Mon Jan _2 15:04:05 2006 -0700", time.RubyDate, "Mon 2006-01-02 15:04:05 -0700",
	"Mon Jan 02 2006 15:04:05 GMT-0700 (A Long Name)", "20060102150405Z0700", time.RFC3339,
}

// TestPrintedIsReadBack: whatever is written in one of the layouts is that instant again.
func TestPrintedIsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sec := rapid.Int64Range(86400, timetext.Last.Unix()-86400).Draw(t, "sec")
		nano := rapid.Int64Range(0, 999_999_999).Draw(t, "nano")
		offset := rapid.IntRange(-15*60, 15*60).Draw(t, "offset") * 60
		layout := rapid.SampledFrom(layouts).Draw(t, "layout")
		want := time.Unix(sec, nano).In(time.FixedZone("", offset))
		text := want.Format(layout)
		if !strings.ContainsAny(layout, ".,") || strings.HasPrefix(layout, "Mon,") {
			want = want.Truncate(time.Second)
		}
		if strings.HasSuffix(layout, "MST") { // of a zone without a name Go repeats the offset
			text = want.String()
		}
		if got, err := timetext.Instant(text, nil); err != nil || !got.Equal(want) {
			t.Fatalf("Instant(%q) = %v, %v, want %v", text, got, err, want)
		}
	})
}

func TestPrintedDurationIsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := time.Duration(rapid.Int64Range(0, 1<<63-1).Draw(t, "d"))
		days, rest := want/(24*time.Hour), want%(24*time.Hour)
		h, m, s := rest/time.Hour, rest/time.Minute%60, (rest % time.Minute).Seconds()
		clock := fmt.Sprintf("%02d:%02d:%012.9f", h, m, s)
		for _, text := range []string{
			want.String(), fmt.Sprintf("%dd%v", days, rest), fmt.Sprintf("P%dDT%dH%dM%.9fS", days, h, m, s), fmt.Sprintf("%d days %s", days, clock),
			fmt.Sprintf("%d %s", days, clock), fmt.Sprintf("%dns", want),
		} {
			if got, err := timetext.Duration(text); err != nil || got != want {
				t.Fatalf("Duration(%q) = %v, %v, want %v", text, got, err, want)
			}
		}
	})
}

// FuzzInstant wants no panic, and of what is read that it is within the years, and that
// it is read again from what is written of it.
func FuzzInstant(f *testing.F) {
	for _, form := range append(timeforms.Instants(), timeforms.Local()...) {
		f.Add(form.Text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := timetext.Instant(text, nil)
		if err != nil {
			if !got.IsZero() || len(err.Error()) > 600 {
				t.Errorf("Instant(%q) = %v with %v", text, got, err)
			}
			return
		}
		again, err := timetext.Instant(got.UTC().Format(time.RFC3339Nano), nil)
		if err != nil || !again.Equal(got) || got.Before(timetext.First) || !got.Before(timetext.Last) {
			t.Errorf("Instant(%q) = %v, which is read as %v, %v", text, got, again, err)
		}
		if want, goErr := time.Parse(time.RFC3339Nano, text); goErr == nil && !want.Equal(got) {
			t.Errorf("Instant(%q) = %v, want %v", text, got, want)
		}
	})
}

// FuzzDuration wants no panic, and what package time reads in the same sense.
func FuzzDuration(f *testing.F) {
	for _, form := range timeforms.Durations() {
		f.Add(form.Text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := timetext.Duration(text)
		if d < 0 || err != nil && (d != 0 || len(err.Error()) > 600) {
			t.Errorf("Duration(%q) = %v, %v", text, d, err)
		}
		if err != nil {
			return
		}
		if again, err := timetext.Duration(d.String()); err != nil || again != d {
			t.Errorf("Duration(%q) = %v, which is read as %v, %v", text, d, again, err)
		}
		if want, err := time.ParseDuration(text); err == nil && (want-d).Abs() > time.Microsecond {
			t.Errorf("Duration(%q) = %v, want %v", text, d, want)
		}
	})
}
