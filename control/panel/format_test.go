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
	for text, want := range map[string]string{"": "", "c2 is down": "C2 is down.", "über": "Über.", "it waits…": "It waits…", "Done.": "Done."} {
		if got := sentence(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}
