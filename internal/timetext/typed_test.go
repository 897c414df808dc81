package timetext_test

import (
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the tests' zones are there wherever they run

	"activationd/internal/timetext"
)

const layout = "2006-01-02 15:04:05.999999999 -07:00"

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func TestTyped(t *testing.T) {
	const (
		berlin, newYork, lordHowe = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"
		chatham, casablanca       = "Pacific/Chatham", "Africa/Casablanca"
		santiago, apia            = "America/Santiago", "Pacific/Apia"
	)
	tests := []struct {
		name, zone, now, text, want string
	}{
		{"date", berlin, "2026-11-01 12:00:00 +01:00", "2026-11-21 10:00", "2026-11-21 10:00:00 +01:00"},
		{"date in summer", berlin, "2026-11-01 12:00:00 +01:00", "2026-07-21 10:00:05", "2026-07-21 10:00:05 +02:00"},
		{"with T", berlin, "2026-11-01 12:00:00 +01:00", "2026-11-21T10:00", "2026-11-21 10:00:00 +01:00"},
		{"fraction", berlin, "2026-11-01 12:00:00 +01:00", "2026-11-21 10:00:05.25", "2026-11-21 10:00:05.25 +01:00"},
		{"RFC 3339", berlin, "2026-11-01 12:00:00 +01:00", "2026-11-21T10:00:05.123456789-05:00", "2026-11-21 10:00:05.123456789 -05:00"},
		{"RFC 3339, UTC", berlin, "2026-11-01 12:00:00 +01:00", "2026-11-21T10:00:05Z", "2026-11-21 10:00:05 +00:00"},
		{"offset without T", berlin, "2026-11-01 12:00:00 +01:00", "2026-11-21 10:00+05:45", "2026-11-21 10:00:00 +05:45"},
		{"leap day", berlin, "2026-11-01 12:00:00 +01:00", "2028-02-29 10:00", "2028-02-29 10:00:00 +01:00"},
		{"past", berlin, "2026-11-01 12:00:00 +01:00", "1999-12-31 23:59", "1999-12-31 23:59:00 +01:00"},
		{"spaces around", berlin, "2026-11-01 12:00:00 +01:00", "  2026-11-21  10:00\n", "2026-11-21 10:00:00 +01:00"},
		{"now", berlin, "2026-11-01 12:00:00.5 +01:00", "now", "2026-11-01 12:00:00.5 +01:00"},
		{"epoch", berlin, "2026-11-01 12:00:00 +01:00", "@1763715600", "2025-11-21 09:00:00 +00:00"},
		{"epoch with a fraction", berlin, "2026-11-01 12:00:00 +01:00", "@1763715600.000000001", "2025-11-21 09:00:00.000000001 +00:00"},
		{"later today", berlin, "2026-11-01 12:00:00 +01:00", "12:01", "2026-11-01 12:01:00 +01:00"},
		{"exactly now is not next", berlin, "2026-11-01 12:00:00 +01:00", "12:00", "2026-11-02 12:00:00 +01:00"},
		{"earlier is tomorrow", berlin, "2026-11-01 12:00:00 +01:00", "9:30:15", "2026-11-02 09:30:15 +01:00"},
		{"end of the year", berlin, "2026-12-31 12:00:00 +01:00", "00:00", "2027-01-01 00:00:00 +01:00"},
		{"tomorrow", berlin, "2026-12-31 12:00:00 +01:00", "tomorrow 23:00", "2027-01-01 23:00:00 +01:00"},
		{"today is where one is", newYork, "2026-11-02 02:00:00 +00:00", "22:00", "2026-11-01 22:00:00 -05:00"},
		{"tomorrow is where one is", newYork, "2026-11-02 02:00:00 +00:00", "tomorrow 08:00", "2026-11-02 08:00:00 -05:00"},

		{"last day of a leap year", berlin, "2026-11-01 12:00:00 +01:00", "2040-12-31 12:00", "2040-12-31 12:00:00 +01:00"},
		{"last day of a leap year in summer", lordHowe, "2026-11-01 12:00:00 +11:00", "2040-12-31 12:00", "2040-12-31 12:00:00 +11:00"},
		{"first day after a leap year", santiago, "2026-11-01 12:00:00 -03:00", "2041-01-01 00:00", "2041-01-01 00:00:00 -03:00"},
		{"gap", berlin, "2026-03-01 12:00:00 +01:00", "2026-03-29 02:30", "2026-03-29 03:30:00 +02:00"},
		{"gap's first", berlin, "2026-03-01 12:00:00 +01:00", "2026-03-29 02:00", "2026-03-29 03:00:00 +02:00"},
		{"before a gap", berlin, "2026-03-01 12:00:00 +01:00", "2026-03-29 01:59:59.9", "2026-03-29 01:59:59.9 +01:00"},
		{"after a gap", berlin, "2026-03-01 12:00:00 +01:00", "2026-03-29 03:00", "2026-03-29 03:00:00 +02:00"},
		{"doubled: first", berlin, "2026-03-01 12:00:00 +01:00", "2026-10-25 02:30", "2026-10-25 02:30:00 +02:00"},
		{"doubled's first", berlin, "2026-03-01 12:00:00 +01:00", "2026-10-25 02:00", "2026-10-25 02:00:00 +02:00"},
		{"after a doubled hour", berlin, "2026-03-01 12:00:00 +01:00", "2026-10-25 03:00", "2026-10-25 03:00:00 +01:00"},
		{"doubled, the second by its offset", berlin, "2026-03-01 12:00:00 +01:00", "2026-10-25 02:30+01:00", "2026-10-25 02:30:00 +01:00"},
		{"next in a gap", newYork, "2026-03-07 12:00:00 -05:00", "02:30", "2026-03-08 03:30:00 -04:00"},
		{"doubled hour, not again", newYork, "2026-11-01 01:30:00 -04:00", "01:30", "2026-11-02 01:30:00 -05:00"},
		{"tomorrow in a gap", newYork, "2026-03-07 12:00:00 -05:00", "tomorrow 02:00", "2026-03-08 03:00:00 -04:00"},
		{"half an hour's gap", lordHowe, "2026-01-01 12:00:00 +11:00", "2026-10-04 02:15", "2026-10-04 02:45:00 +11:00"},
		{"half an hour doubled", lordHowe, "2026-01-01 12:00:00 +11:00", "2026-04-05 01:45", "2026-04-05 01:45:00 +11:00"},
		{"after half an hour doubled", lordHowe, "2026-01-01 12:00:00 +11:00", "2026-04-05 02:00", "2026-04-05 02:00:00 +10:30"},
		{"gap at a quarter to three", chatham, "2026-01-01 12:00:00 +13:45", "2026-09-27 03:00", "2026-09-27 04:00:00 +13:45"},
		{"before that gap", chatham, "2026-01-01 12:00:00 +13:45", "2026-09-27 02:44", "2026-09-27 02:44:00 +12:45"},
		{"doubled at a quarter to three", chatham, "2026-01-01 12:00:00 +13:45", "2026-04-05 03:00", "2026-04-05 03:00:00 +13:45"},
		{"before Ramadan", casablanca, "2026-01-01 12:00:00 +01:00", "2026-02-15 02:30", "2026-02-15 02:30:00 +01:00"},
		{"after Ramadan", casablanca, "2026-01-01 12:00:00 +01:00", "2026-03-22 02:30", "2026-03-22 03:30:00 +01:00"},
		{"a gap at midnight", santiago, "2026-09-05 12:00:00 -04:00", "tomorrow 00:30", "2026-09-06 01:30:00 -03:00"},
		{"doubled before midnight", santiago, "2026-01-01 12:00:00 -03:00", "2026-04-04 23:30", "2026-04-04 23:30:00 -03:00"},
		{"a day that was not", apia, "2011-01-01 12:00:00 -11:00", "2011-12-30 10:00", "2011-12-31 10:00:00 +14:00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			now, err := time.Parse(layout, tt.now)
			if err != nil {
				t.Fatal(err)
			}
			got, err := timetext.Typed(tt.text, now, zone(t, tt.zone))
			if err != nil || got.Format(layout) != tt.want {
				t.Errorf("Typed(%q) in %s at %s = %s, %v, want %s", tt.text, tt.zone, tt.now, got.Format(layout), err, tt.want)
			}
		})
	}
}

func TestTypedErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                              `"10:00", "tomorrow 10:00", "now"`,
		"soon":                          `"tomorrow 10:00"`,
		"2026-11-21":                    "has no time of day",
		"tomorrow":                      "is not a time",
		"tomorrow soon":                 "is not a time",
		"tomorrow now":                  "is not a time",
		"10":                            "is a number",
		"10:00:00.5":                    "is not a time",
		"10:00Z":                        "is not a time",
		"25:00":                         "00:00:00 to 23:59:59",
		"tomorrow 24:00":                "00:00:00 to 23:59:59",
		"10:60":                         "00:00:00 to 23:59:59",
		"10:00:60":                      "00:00:00 to 23:59:59",
		"2026-11-21 10:00 CET":          "says no offset",
		"2026-02-29 10:00":              "does not exist",
		"1969-12-31 10:00":              "1970 to 2199",
		"2200-01-02 10:00":              "1970 to 2199",
		strings.Repeat("very ", 10_000): "is not a time",
	} {
		got, err := timetext.Typed(text, time.Now(), time.UTC)
		if err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 400 {
			t.Errorf("Typed(%.40q) = %v, %v, want an error that says %q", text, got, err, want)
		}
	}
}

// Each wall time of the hours around each change of the clocks is what the rule
// says, reckoned the other way round: by walking through the instants.
func TestLocalTimesAroundChanges(t *testing.T) {
	for _, name := range []string{
		"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Chatham",
		"Africa/Casablanca", "America/Santiago", "Antarctica/Troll", "Pacific/Apia", "UTC",
	} {
		loc := zone(t, name)
		at := time.Date(2026, 1, 1, 0, 0, 0, 0, loc)
		for range 4 {
			_, change := at.ZoneBounds()
			if change.IsZero() || change.Year() > 2030 {
				break
			}
			around(t, name, loc, change)
			at = change
		}
	}
}

func around(t *testing.T, name string, loc *time.Location, change time.Time) {
	t.Helper()
	const wallForm = "2006-01-02 15:04"
	firsts := map[string]time.Time{} // of each wall time, the first instant
	for at := change.Add(-6 * time.Hour); at.Before(change.Add(6 * time.Hour)); at = at.Add(5 * time.Minute) {
		wall := at.In(loc).Format(wallForm)
		if _, ok := firsts[wall]; !ok {
			firsts[wall] = at
		}
	}
	_, before := change.Add(-time.Second).In(loc).Zone()
	for w := -2 * time.Hour; w < 2*time.Hour; w += 5 * time.Minute {
		wall := change.UTC().Add(time.Duration(before)*time.Second + w) // as if the clocks were not changed
		text := wall.Format(wallForm)
		want, ok := firsts[text]
		if !ok { // in the gap: so long after the change
			want = change.Add(w)
		}
		got, err := timetext.Typed(text, change, loc)
		if err != nil || !got.Equal(want) {
			t.Errorf("%s: %s = %v, %v, want %v", name, text, got, err, want.In(loc))
		}
	}
}

func FuzzTyped(f *testing.F) {
	for _, text := range []string{"now", "@1763715600.25", "2026-11-21 10:00", "2026-03-29T02:30:05.5+01:00", "tomorrow 10:00", "02:30:00"} {
		f.Add(text, int64(1763715600))
	}
	locs := []*time.Location{time.UTC, zone(f, "Europe/Berlin"), zone(f, "Australia/Lord_Howe"), zone(f, "America/Santiago")}
	f.Fuzz(func(t *testing.T, text string, sec int64) {
		now := time.Unix(sec%7e9, 0)
		for _, loc := range locs {
			got, err := timetext.Typed(text, now, loc)
			if err != nil {
				if !got.IsZero() || len(err.Error()) > 600 {
					t.Errorf("Typed(%q) = %v with %v", text, got, err)
				}
				continue
			}
			// What it means can be written down and read again.
			again, err := timetext.Typed(got.Format(time.RFC3339Nano), now, time.UTC)
			if _, offset := got.Zone(); offset%60 != 0 {
				continue // before 1972 some were
			}
			if err != nil || !again.Equal(got) {
				t.Errorf("Typed(%q) = %v, which is read as %v, %v", text, got, again, err)
			}
			if strings.Count(text, ":") > 0 && len(strings.TrimSpace(text)) < 9 && !got.After(now) {
				t.Errorf("the next %q after %v is %v", text, now, got)
			}
		}
	})
}

// TestSkipped: a time is skipped if the clocks show it on no other reading.
func TestSkipped(t *testing.T) {
	tests := []struct {
		name, zone, now, text string
		want                  bool
	}{
		{"the first that is skipped", "Europe/Prague", "2026-03-28 23:30:00 +01:00", "tomorrow 02:00", true},
		{"the last one", "Europe/Prague", "2026-01-01 00:00:00 +01:00", "2026-03-29 02:59:59", true},
		{"the one before", "Europe/Prague", "2026-01-01 00:00:00 +01:00", "2026-03-29 01:59:59", false},
		{"what 02:30 becomes", "Europe/Prague", "2026-03-28 23:30:00 +01:00", "tomorrow 03:30", false},
		{"the hour after", "Europe/Prague", "2026-01-01 00:00:00 +01:00", "2026-03-29 04:00", false},
		{"in summer, of next year", "Europe/Prague", "2026-08-01 23:30:00 +02:00", "2027-03-28 02:30", true},
		{"an instant", "Europe/Prague", "2026-01-01 00:00:00 +01:00", "2026-03-29T01:30:00Z", false},
		{"now", "Europe/Prague", "2026-03-29 03:30:00 +02:00", "now", false},
		{"one that comes twice", "Europe/Prague", "2026-01-01 00:00:00 +01:00", "2026-10-25 02:30", false},
		{"half an hour", "Australia/Lord_Howe", "2026-01-01 00:00:00 +11:00", "2026-10-04 02:15", true},
		{"after half an hour", "Australia/Lord_Howe", "2026-01-01 00:00:00 +11:00", "2026-10-04 02:30", false},
		{"no changes", "UTC", "2026-01-01 00:00:00 +00:00", "2026-03-29 02:30", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			loc := zone(t, tt.zone)
			now, err := time.Parse(layout, tt.now)
			if err != nil {
				t.Fatal(err)
			}
			read := func(loc *time.Location) (time.Time, error) { return timetext.Typed(tt.text, now, loc) }
			at, err := read(loc)
			if err != nil {
				t.Fatal(err)
			}
			if got := timetext.Skipped(at, loc, read); got != tt.want {
				t.Errorf("%q, which is %v, is skipped: %v, want %v", tt.text, at, got, tt.want)
			}
		})
	}
}
