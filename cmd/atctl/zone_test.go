package main

import (
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestPosixZone compares with date(1), before and after changes of the clocks.
func TestPosixZone(t *testing.T) {
	for _, tz := range []string{
		"CET-1CEST,M3.5.0,M10.5.0/3", "EST5EDT4,M3.2.0,M11.1.0", "<-03>3<-02>,M3.5.0/-2,M10.5.0/-1", "JST-9",
		"NZST-12NZDT,M9.5.0,M4.1.0/3", ":IST-5:30", "AAA1:02:03", "UTC0",
	} {
		loc := posixZone(tz)
		if loc == nil {
			t.Errorf("%s is not understood", tz)
			continue
		}
		for _, at := range []time.Time{
			time.Date(2026, 3, 29, 0, 59, 59, 0, time.UTC), time.Date(2026, 3, 29, 1, 0, 0, 0, time.UTC), time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC),
			time.Date(2031, 10, 26, 0, 59, 59, 0, time.UTC), time.Date(2031, 10, 26, 1, 0, 0, 0, time.UTC), time.Date(2040, 12, 31, 12, 0, 0, 0, time.UTC),
		} {
			cmd := exec.CommandContext(t.Context(), "date", "-d", at.Format(time.RFC3339), "+%Y-%m-%d %H:%M:%S %Z")
			cmd.Env = append(cmd.Environ(), "TZ="+tz, "LC_ALL=C")
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			if got, want := at.In(loc).Format("2006-01-02 15:04:05 MST"), strings.TrimSpace(string(out)); got != want {
				t.Errorf("TZ=%s: %s, date says %s", tz, got, want)
			}
		}
	}
	for _, tz := range []string{"Nowhere/City", "Etc/GMT+25", "1", "CET", "CET-1CEST,nonsense", "-3", "\n"} {
		if loc := posixZone(tz); loc != nil {
			t.Errorf("TZ=%s is understood: %v", tz, time.Now().In(loc))
		}
	}
}
