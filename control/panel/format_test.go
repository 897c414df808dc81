package panel

import (
	"testing"
	"time"
	_ "time/tzdata" // the tests' zones are there wherever they run
)

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 s", 400 * time.Millisecond: "0 s", 41 * time.Second: "41 s", 72 * time.Second: "1 min 12 s", time.Hour: "1 h",
		74 * time.Minute: "1 h 14 min", time.Hour + 5*time.Second: "1 h", 26*time.Hour + 30*time.Minute: "1 d 2 h", 59*time.Second + 900*time.Millisecond: "59 s",
	} {
		if got := span(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}

// Times are written as people read them: what is the same as now is left out, and a day is a day of
// the zone, also where a day has 23 hours.
func TestClock(t *testing.T) {
	prague, err := time.LoadLocation("Europe/Prague")
	if err != nil {
		t.Fatal(err)
	}
	v := &view{Zone: prague, Now: time.Date(2099, 3, 29, 1, 30, 0, 0, prague)} // the night in which an hour is skipped
	for _, tt := range []struct {
		at   time.Time
		want string
	}{
		{v.Now, "01:30"}, {v.Now.Add(time.Hour), "03:30"}, {time.Date(2099, 3, 28, 23, 59, 0, 0, prague), "Sat 23:59"},
		{time.Date(2099, 3, 29, 23, 59, 0, 0, prague), "23:59"}, {time.Date(2099, 3, 30, 0, 0, 0, 0, prague), "Mon 00:00"},
		{time.Date(2099, 4, 5, 0, 0, 0, 0, prague), "5 Apr 00:00"}, {time.Date(2100, 1, 1, 0, 0, 0, 0, prague), "1 Jan 2100 00:00"},
	} {
		if got := v.Clock(tt.at.UTC()); got != tt.want {
			t.Errorf("%v is %q, want %q", tt.at, got, tt.want)
		}
	}
}

func TestSentence(t *testing.T) {
	for text, want := range map[string]string{"": "", "c2 is down": "c2 is down.", "no login": "No login.", "über": "Über.", "it waits…": "It waits…", "Done.": "Done."} {
		if got := sentence(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

// Texts that have the daemon's zone and full names are shown as the page writes them.
func TestTold(t *testing.T) {
	local := time.Local
	time.Local = time.UTC
	t.Cleanup(func() { time.Local = local })
	prague, err := time.LoadLocation("Europe/Prague")
	if err != nil {
		t.Fatal(err)
	}
	v := &view{Zone: prague, Now: time.Date(2099, 12, 1, 9, 0, 0, 0, prague)}
	for text, want := range map[string]string{
		"2@x has r2 from 2099-12-01 10:00:00 to 2099-12-01 12:00:00": "2@x has r2 from 11:00 to 13:00",
		"2@x has r2 from 2099-12-02 22:00:00 to 2099-12-02 23:30:00": "2@x has r2 from Wed 23:00 to Thu 00:30",
		"until 2099-12-24 10:00:00 UTC, or later":                    "until 24 Dec 11:00, or later",
		"announced by source /srv/lab/exams.json, load 1":            "announced by source exams.json, load 1",
		"every 1h0m0s, for 5m0s; 10m30s; 1h30m0s":                    "every 1h, for 5m; 10m30s; 1h30m",
		"2099-13-99 10:00:00 is no time, nor is source of it":        "2099-13-99 10:00:00 is no time, nor is source of it",
	} {
		if got := v.Told(text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
}
