package schedule

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestResume: what was done under other rules counts by the local time that the clock
// showed then.
func TestResume(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	const layout = "2006-01-02 15:04 -07:00"
	tests := []struct{ name, cron, done, want string }{
		{"the same rules", "30 3 * * *", "2026-11-21 03:30 +01:00", "2026-11-22 03:30 +01:00"},
		{"an hour later now: not again", "30 3 * * *", "2026-11-21 03:30 +02:00", "2026-11-22 03:30 +01:00"},
		{"an hour earlier now: the next of that day is not lost", "30 3,4 * * *", "2026-11-21 03:30 +00:00", "2026-11-21 04:30 +01:00"},
		{"time that passes", "*/30 * * * *", "2026-11-21 03:30 +02:00", "2026-11-21 03:00 +01:00"},
		{"in a gap that was none: right after it", "45 2 29 3 *", "2026-03-29 02:30 +01:00", "2026-03-29 03:00 +02:00"},
		{"in a gap, and done", "30 2 * * *", "2026-03-29 02:30 +01:00", "2026-03-30 02:30 +02:00"},
		{"no gap any more: not lost", "30 2 * * *", "2026-11-20 02:30 +01:00", "2026-11-21 02:30 +01:00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := ParseCron(tt.cron, berlin)
			if err != nil {
				t.Fatal(err)
			}
			done, err := time.Parse(layout, tt.done)
			if err != nil {
				t.Fatal(err)
			}
			if got := Resume(r, done).Format(layout); got != tt.want {
				t.Errorf("Resume(%s, %s) = %s, want %s", tt.cron, tt.done, got, tt.want)
			}
		})
	}
}

// TestResumeIsNext: by the same rules it is what comes next after an occurrence.
func TestResumeIsNext(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		loc, err := time.LoadLocation(rapid.SampledFrom(calendarZones).Draw(t, "zone"))
		if err != nil {
			t.Fatal(err)
		}
		expr := fmt.Sprintf("%d %d,%d * * *", rapid.IntRange(0, 59).Draw(t, "minute"), rapid.IntRange(0, 23).Draw(t, "hour"), rapid.IntRange(0, 23).Draw(t, "other"))
		r, err := ParseCron(expr, loc)
		if err != nil {
			t.Fatal(err)
		}
		at := time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "from"), 0)
		for range 400 {
			done := r.Next(at)
			next := r.Next(done)
			if got := Resume(r, done); !got.Equal(next) {
				_, offset := done.Zone()
				if _, before := done.Add(-1).Zone(); before == offset { // one that stands for skipped ones comes with the change
					t.Fatalf("%s after %v: Resume = %v, Next = %v", expr, done, got, next)
				}
			}
			at = done
		}
	})
}

// The name of the local zone is that of its file.
func TestLocalName(t *testing.T) {
	tests := []struct{ local, want string }{
		{"UTC", "UTC"},
		{"Europe/Prague", "Europe/Prague"},
		{"/usr/share/zoneinfo/Europe/Prague", "Europe/Prague"},
		{"/usr/share/zoneinfo/Etc/UTC", "UTC"},
		{"/etc/my-zone", ""},
	}
	before := time.Local
	defer func() { time.Local = before }()
	for _, tt := range tests {
		time.Local = time.FixedZone(tt.local, 0)
		if got := LocalName(); got != tt.want {
			t.Errorf("LocalName() of %s = %q, want %q", tt.local, got, tt.want)
		}
	}
}
