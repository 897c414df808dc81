package timetext_test

import (
	"strings"
	"testing"
	"time"

	"activationd/internal/timetext"
	"activationd/internal/timetext/timeforms"
)

func TestPast(t *testing.T) {
	const morning, early = "2026-11-02 09:00:00 +01:00", "2026-11-02 05:00:00 +01:00"
	tests := []struct {
		name, now, after, text, want string
	}{
		{"a duration is ago", morning, "", "90m", "2026-11-02 07:30:00 +01:00"},
		{"the same in words", morning, "", "1 day", "2026-11-01 09:00:00 +01:00"},
		{"no time ago", morning, "", "0", morning},
		{"now", morning, "", "now", morning},
		{"yesterday", morning, "", "yesterday", "2026-11-01 00:00:00 +01:00"},
		{"yesterday at a time", morning, "", "yesterday 22:00", "2026-11-01 22:00:00 +01:00"},
		{"today", morning, "", " today ", "2026-11-02 00:00:00 +01:00"},
		{"today at a time to come", morning, "", "today 22:00", "2026-11-02 22:00:00 +01:00"},
		{"tomorrow", morning, "", "tomorrow", "2026-11-03 00:00:00 +01:00"},
		{"tomorrow at a time", morning, "", "tomorrow 10:00", "2026-11-03 10:00:00 +01:00"},
		{"a day", morning, "", "2026-10-21", "2026-10-21 00:00:00 +02:00"},
		{"a day in words", morning, "", "21 Oct 2026", "2026-10-21 00:00:00 +02:00"},
		{"a date", morning, "", "2026-10-21 10:00", "2026-10-21 10:00:00 +02:00"},
		{"RFC 3339", morning, "", "2026-10-21T10:00:00Z", "2026-10-21 10:00:00 +00:00"},
		{"earlier today", morning, "", "08:59:59", "2026-11-02 08:59:59 +01:00"},
		{"now is not in the future", morning, "", "09:00", morning},
		{"later than now was yesterday", morning, "", "22:00", "2026-11-01 22:00:00 +01:00"},
		{"a time of day is no duration", morning, "", "10:00:00", "2026-11-01 10:00:00 +01:00"},
		{"after an evening", morning, "2026-11-01 22:00:00 +01:00", "06:00", "2026-11-02 06:00:00 +01:00"},
		{"after an evening, while it is night", early, "2026-11-01 22:00:00 +01:00", "06:00", "2026-11-02 06:00:00 +01:00"},
		{"after the same time", early, "2026-11-01 06:00:00 +01:00", "06:00", "2026-11-01 06:00:00 +01:00"},
		{"a date is not moved", morning, "2026-11-01 22:00:00 +01:00", "2026-10-21 10:00", "2026-10-21 10:00:00 +02:00"},
		{"the clocks went back in between", "2026-10-25 12:00:00 +01:00", "", "yesterday 12:00", "2026-10-24 12:00:00 +02:00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			now, err := time.Parse(layout, tt.now)
			if err != nil {
				t.Fatal(err)
			}
			var after time.Time
			if tt.after != "" {
				if after, err = time.Parse(layout, tt.after); err != nil {
					t.Fatal(err)
				}
			}
			got, err := timetext.Past(tt.text, now, after, zone(t, "Europe/Berlin"))
			if err != nil || got.Format(layout) != tt.want {
				t.Errorf("Past(%q) at %s after %q = %s, %v, want %s", tt.text, tt.now, tt.after, got.Format(layout), err, tt.want)
			}
		})
	}
}

func TestPastErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                              "2h for two hours ago",
		"soon":                          "2h for two hours ago",
		"today soon":                    "2h for two hours ago",
		"yesterday 10":                  "2h for two hours ago",
		"yesterday 25:00":               "00:00:00 to 23:59:59",
		"25:00":                         "00:00:00 to 23:59:59",
		"10":                            "is a number",
		"10M":                           "2h for two hours ago",
		"2026-02-30":                    "does not exist",
		"2026-11-21 10:00 CET":          "says no offset",
		"30000d":                        "before 1970",
		strings.Repeat("very ", 10_000): "is not a time",
	} {
		got, err := timetext.Past(text, time.Now(), time.Time{}, time.UTC)
		if err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 400 {
			t.Errorf("Past(%.40q) = %v, %v, want an error that says %q", text, got, err, want)
		}
	}
}

// Past reads all forms with a zone, and all durations.
func TestPastForms(t *testing.T) {
	now := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	for _, f := range timeforms.Instants() {
		got, err := timetext.Past(f.Text, now, time.Time{}, time.UTC)
		if f.Why == "" && (err != nil || !got.Equal(f.Want)) {
			t.Errorf("%s: Past(%q) = %v, %v, want %v", f.Name, f.Text, got, err, f.Want)
		}
	}
	for _, f := range timeforms.Durations() {
		if strings.Contains(f.Text, ":") {
			continue // it may be a time of day
		}
		got, err := timetext.Past(f.Text, now, time.Time{}, time.UTC)
		if f.Why == "" && (err != nil || !got.Equal(now.Add(-f.Want))) {
			t.Errorf("%s: Past(%q) = %v, %v, want %v", f.Name, f.Text, got, err, now.Add(-f.Want))
		}
	}
}
