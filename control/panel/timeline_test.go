package panel

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"activationd/control"
)

// TestTicks: the axis has the times of the zone's clocks, also in the nights in which they change.
func TestTicks(t *testing.T) {
	prague, err := time.LoadLocation("Europe/Prague")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name       string
		from       time.Time
		long, step time.Duration
		want       string
	}{
		{"six hours", time.Date(2099, 12, 1, 21, 10, 0, 0, prague), 6 * time.Hour, time.Hour, "22:00 13.9, 23:00 30.6, Wed 2 47.2, 01:00 63.9, 02:00 80.6, 03:00 97.2"},
		{"an hour is missing", time.Date(2099, 3, 29, 0, 0, 0, 0, prague), 5 * time.Hour, time.Hour, "Sun 29 0.0, 01:00 20.0, 03:00 40.0, 04:00 60.0, 05:00 80.0"},
		{"an hour is there twice", time.Date(2099, 10, 25, 0, 0, 0, 0, prague), 5 * time.Hour, time.Hour, "Sun 25 0.0, 01:00 20.0, 02:00 40.0, 02:00 60.0, 03:00 80.0"},
		{"a zone with half an hour", time.Date(2099, 12, 1, 0, 0, 0, 0, time.FixedZone("x", 5*3600+1800)), 4 * time.Hour, 2 * time.Hour, "Tue 1 0.0, 02:00 50.0"},
		{"days", time.Date(2099, 12, 1, 12, 0, 0, 0, prague), 2 * day, day, "Wed 2 25.0, Thu 3 75.0"},
	} {
		var got []string
		for _, tick := range ticks(tt.from, tt.from.Add(tt.long), time.Time{}, tt.step) {
			var x float64
			if _, err := fmt.Sscanf(tick.X, "%f%%", &x); err != nil {
				t.Fatal(err)
			}
			text := tick.Text
			if text == "" {
				text = "-"
			}
			got = append(got, fmt.Sprintf("%s %.1f", text, x))
		}
		if all := strings.Join(got, ", "); all != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, all, tt.want)
		}
	}
}

// A week has as many hours as its days: 167 or 169 if the clocks change in it.
func TestWeekOfTheZone(t *testing.T) {
	prague, err := time.LoadLocation("Europe/Prague")
	if err != nil {
		t.Fatal(err)
	}
	week := windows[len(windows)-1]
	for from, hours := range map[time.Time]float64{
		time.Date(2099, 3, 27, 0, 0, 0, 0, prague): 167, time.Date(2099, 10, 23, 0, 0, 0, 0, prague): 169, time.Date(2099, 12, 1, 0, 0, 0, 0, prague): 168,
	} {
		if got := week.end(from).Sub(from).Hours(); got != hours {
			t.Errorf("the week from %v has %v hours, want %v", from, got, hours)
		}
	}
}

// TestBars: what a slot looks like in its window.
func TestBars(t *testing.T) {
	base := time.Date(2099, 12, 1, 0, 0, 0, 0, time.UTC)
	at := func(hour float64) time.Time { return base.Add(time.Duration(hour * float64(time.Hour))) }
	v := &view{Zone: time.UTC, Now: at(12)}
	d := &timelineData{From: at(0), To: at(24)}
	for _, tt := range []struct {
		name                 string
		from, start, end, to float64
		state                string
		open                 bool
		want                 string // body, lead, tail, on
	}{
		{"as announced", 6, 6, 12, 12, "active", false, "25.000%+25.000% | | |"},
		{"with its preparation", 5, 6, 12, 12, "scheduled", false, "25.000%+25.000% | 20.833%-25.000% | |"},
		{"it begins before the window", -3, -2, 6, 6, "active", false, "0.000%+25.000% | | |"},
		{"it goes on behind the window", 18, 18, 30, 30, "scheduled", false, "75.000%+25.000% | | |"},
		{"only its preparation is in the window", 23, 25, 30, 30, "scheduled", false, "100.000%+0.250% | 95.833%-100.000% | |"},
		{"it should be over", 6, 6, 11, 12, "deactivating", false, "25.000%+20.833% | | 45.833%+4.167% |"},
		{"it ended early", 6, 6, 12, 9, "finished", false, "25.000%+12.500% | | |"},
		{"it is stuck", 6, 6, 12, 12, "stuck", true, "25.000%+25.000% | | | 50.000%"},
	} {
		b := v.drawBar(d, &slot{Open: tt.open, CalendarLine: control.CalendarLine{
			ID: "1", From: at(tt.from), Start: at(tt.start), End: at(tt.end), To: at(tt.to), State: tt.state,
		}})
		join := func(a, sign, b string) string {
			if a == "" {
				return ""
			}
			return " " + a + sign + b
		}
		got := strings.TrimSuffix(fmt.Sprintf("%s+%s |%s |%s | %s", b.X, b.Width, join(b.Lead, "-", b.LeadTo), join(b.Tail, "+", b.TailW), b.On), " ")
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}
