package timespec_test

import (
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the tests' zones are there wherever they run

	"activationd/internal/timetext"
	"activationd/internal/timetext/timeforms"
	"activationd/schedule/timespec"
)

func TestTyped(t *testing.T) {
	prague, err := time.LoadLocation("Europe/Prague")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 30, 10, 0, 50, 5, prague) // a Monday
	tests := []struct{ text, want string }{
		{"now", "2026-11-30 10:00:50"},
		{"12:00:30", "2026-11-30 12:00:30"},
		{"tomorrow 10:00", "2026-12-01 10:00:00"},
		{"2099-07-21 10:00", "2099-07-21 10:00:00"},

		{"noon", "2026-11-30 12:00:00"},
		{"teatime", "2026-11-30 16:00:00"},
		{"midnight", "2026-12-01 00:00:00"},
		{"10am", "2026-12-01 10:00:00"},
		{"10 pm", "2026-11-30 22:00:00"},
		{"1730", "2026-11-30 17:30:00"},
		{"NOW + 5 minutes", "2026-11-30 10:05:00"}, // from the minute, as at has it
		{"now+1h", ""},
		{"5 minutes from now", "2026-11-30 10:05:00"},
		{"next week", "2026-12-07 10:00:00"},
		{"2099-12-21", "2099-12-21 10:00:00"},
		{"21.12.2099", "2099-12-21 10:00:00"},
		{"10:00 21.12.2099", "2099-12-21 10:00:00"},
		{"yesterday", ""},
		{"today 09:00", "2026-11-30 09:00:00"}, // its reader decides whether it may be past

		{"monday 10:00", "2026-12-07 10:00:00"},
		{"monday at 10:00", "2026-12-07 10:00:00"},
		{"tomorrow 10am", "2026-12-01 10:00:00"},
		{"tomorrow at noon", "2026-12-01 12:00:00"},
		{"next week 8:30", "2026-12-07 08:30:00"},
		{"21.12.2099 10:00", "2099-12-21 10:00:00"},
		{"12/21/2099 10pm", "2099-12-21 22:00:00"},
		{"Dec 24 18:00", "2026-12-24 18:00:00"},
		{"24 Dec noon", "2026-12-24 12:00:00"},
		{"2099-12-21 teatime", "2099-12-21 16:00:00"},
		{"friday 10:00 + 1 week", "2026-12-11 10:00:00"},
		{"tomorrow 10:00 utc", "2026-12-01 11:00:00"},
	}
	for _, tt := range tests {
		got, err := timespec.Typed(tt.text, now, prague)
		switch {
		case tt.want == "" && err == nil:
			t.Errorf("Typed(%q) = %v, want an error", tt.text, got)
		case tt.want != "" && (err != nil || got.In(prague).Format(time.DateTime) != tt.want):
			t.Errorf("Typed(%q) = %v, %v, want %s", tt.text, got, err, tt.want)
		}
	}

	for text, want := range map[string]string{
		"half past ten":        `"half past ten" is not a time: write it like "2099-12-21 10:00", "10:00", "noon tomorrow", `,
		"":                     `"" is not a time: `,
		"soon":                 `"soon" is not a time: `,
		"13pm":                 `"13pm": "13" has an hour that is not 0 to 12`,
		"30 Feb":               `"30 Feb": February 2000 has 29 days`,
		"10:00 monday tuesday": `"10:00 monday tuesday" is not a time: `,
		"1797843600":           `write @1797843600 for seconds since 1970`,
		"2099-02-30 10:00":     `names a day that does not exist`,
		"2099-12-21 10:00 CET": `ends in "CET", which says no offset from UTC`,
		"tomorrow 25:00":       `has a time of day that is not 00:00:00 to 23:59:59`,
		"noon 2250-01-01":      "after the year 2199",
		"noon 1.1.1950":        "is before 1970",
	} {
		if got, err := timespec.Typed(text, now, prague); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Typed(%q) = %v, %v, want an error with %s", text, got, err, want)
		}
	}
}

// What timetext reads, Typed reads in the same way.
func TestTypedReadsWhatProgramsWrite(t *testing.T) {
	now := time.Date(2026, 11, 30, 10, 0, 0, 0, time.UTC)
	for _, f := range append(timeforms.Instants(), timeforms.Local()...) {
		want, err := timetext.Typed(f.Text, now, time.UTC)
		if err != nil {
			continue
		}
		if got, err := timespec.Typed(f.Text, now, time.UTC); err != nil || !got.Equal(want) {
			t.Errorf("%s: Typed(%q) = %v, %v, want %v", f.Name, f.Text, got, err, want)
		}
	}
}

// TestTypedEnd: a time of day alone is after the start, everything else is as for Typed.
func TestTypedEnd(t *testing.T) {
	now := time.Date(2026, 11, 30, 10, 0, 0, 0, time.UTC)
	start := time.Date(2099, 12, 21, 14, 0, 0, 0, time.UTC)
	for _, tt := range []struct{ text, want string }{
		{"15:30", "2099-12-21 15:30:00"},
		{"9:30", "2099-12-22 09:30:00"},
		{" 4pm ", "2099-12-21 16:00:00"},
		{"10 AM", "2099-12-22 10:00:00"},
		{"Midnight", "2099-12-22 00:00:00"},
		{"tomorrow 15:30", "2026-12-01 15:30:00"},
		{"now + 2 hours", "2026-11-30 12:00:00"},
		{"2099-12-21 16:00", "2099-12-21 16:00:00"},
	} {
		if got, err := timespec.TypedEnd(tt.text, start, now, time.UTC); err != nil || got.Format(time.DateTime) != tt.want {
			t.Errorf("TypedEnd(%q) = %v, %v, want %s", tt.text, got, err, tt.want)
		}
	}
}

// Parse accepts no more than at does.
func TestParseRefusesWhatAtRefuses(t *testing.T) {
	for _, text := range []string{"monday 10:00", "tomorrow 10am", "21.12.2099 10:00", "tomorrow at noon"} {
		if got, err := timespec.Parse(strings.Fields(text), time.Now(), time.UTC); err == nil {
			t.Errorf("Parse(%q) = %v, want an error", text, got)
		}
	}
}
