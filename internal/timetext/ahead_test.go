package timetext_test

import (
	"strings"
	"testing"
	"time"

	"activationd/internal/timetext"
	"activationd/internal/timetext/timeforms"
)

func TestAhead(t *testing.T) {
	const monday = "2026-11-02 09:00:00 +01:00"
	tests := []struct {
		name, after, text, want string
	}{
		{"a duration", "", "90m", "2026-11-02 10:30:00 +01:00"},
		{"a duration with a sign", "", "+7d", "2026-11-09 09:00:00 +01:00"},
		{"a duration after another time", "2026-11-03 00:00:00 +01:00", "+1d", "2026-11-04 00:00:00 +01:00"},
		{"now", "", "now", monday},
		{"today", "", " Today ", "2026-11-02 00:00:00 +01:00"},
		{"today at a time", "", "today 08:00", "2026-11-02 08:00:00 +01:00"},
		{"yesterday", "", "yesterday", "2026-11-01 00:00:00 +01:00"},
		{"tomorrow at a time", "", "tomorrow 10:00:05", "2026-11-03 10:00:05 +01:00"},
		{"today's weekday", "", "monday", "2026-11-02 00:00:00 +01:00"},
		{"today's weekday, at a time that is over", "", "Mon 08:00", "2026-11-09 08:00:00 +01:00"},
		{"today's weekday, at a time to come", "", "Mon 10:00", "2026-11-02 10:00:00 +01:00"},
		{"another weekday", "", "fri", "2026-11-06 00:00:00 +01:00"},
		{"the weekday before", "", "sunday", "2026-11-08 00:00:00 +01:00"},
		{"a weekday after another time", "2026-11-06 00:00:00 +01:00", "friday", "2026-11-06 00:00:00 +01:00"},
		{"a weekday after a time on it", "2026-11-06 12:00:00 +01:00", "friday", "2026-11-13 00:00:00 +01:00"},
		{"a time of day", "", "10:00", "2026-11-02 10:00:00 +01:00"},
		{"a time of day that is over", "", "08:00", "2026-11-03 08:00:00 +01:00"},
		{"a time of day after another time", "2026-11-05 12:00:00 +01:00", "10:00", "2026-11-06 10:00:00 +01:00"},
		{"a day", "", "2026-11-21", "2026-11-21 00:00:00 +01:00"},
		{"a day in words", "", "21 Nov 2026", "2026-11-21 00:00:00 +01:00"},
		{"a date", "2027-01-01 00:00:00 +01:00", "2026-10-21 10:00", "2026-10-21 10:00:00 +02:00"},
		{"a date with its weekday", "", "Mon, 21 Dec 2099 10:00:00 +0100", "2099-12-21 10:00:00 +01:00"},
		{"RFC 3339", "", "2026-10-21T10:00:00Z", "2026-10-21 10:00:00 +00:00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			now, err := time.Parse(layout, monday)
			if err != nil {
				t.Fatal(err)
			}
			after := now
			if tt.after != "" {
				if after, err = time.Parse(layout, tt.after); err != nil {
					t.Fatal(err)
				}
			}
			got, err := timetext.Ahead(tt.text, now, after, zone(t, "Europe/Berlin"))
			if err != nil || got.Format(layout) != tt.want {
				t.Errorf("Ahead(%q) after %q = %s, %v, want %s", tt.text, tt.after, got.Format(layout), err, tt.want)
			}
		})
	}
}

func TestAheadErrors(t *testing.T) {
	now := time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"":               "+7d for seven days later",
		"soon":           "+7d for seven days later",
		"today soon":     "+7d for seven days later",
		"monday soon":    "+7d for seven days later",
		"mondays":        "+7d for seven days later",
		"-7d":            "+7d for seven days later",
		"tomorrow 25:00": "00:00:00 to 23:59:59",
		"10":             "is a number",
		"200y":           "+7d for seven days later",
		"100000d":        "is after 2199",
		"2026-02-30":     "30",
	} {
		if got, err := timetext.Ahead(text, now, now, time.UTC); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Ahead(%q) = %v, %v, want an error with %q", text, got, err, want)
		}
	}
}

// TestAheadForms checks that it reads each form of instants.
func TestAheadForms(t *testing.T) {
	now := time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)
	for _, f := range timeforms.Instants() {
		got, err := timetext.Ahead(f.Text, now, now, time.UTC)
		if f.Why == "" && (err != nil || !got.Equal(f.Want)) {
			t.Errorf("%s: Ahead(%q) = %v, %v, want %v", f.Name, f.Text, got, err, f.Want)
		}
	}
}
