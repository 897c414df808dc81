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

// TestWeekends: a week has its days where they are, also those of 23 and 25 hours.
func TestWeekends(t *testing.T) {
	prague, err := time.LoadLocation("Europe/Prague")
	if err != nil {
		t.Fatal(err)
	}
	week := windows[len(windows)-1]
	for _, tt := range []struct {
		name     string
		from     time.Time
		days     string // where they begin, in hours
		weekends string // where they begin, and how many hours they have
	}{
		{"all days have 24 hours", time.Date(2099, 11, 30, 0, 0, 0, 0, prague), "Mon 30 0, Tue 1 24, Wed 2 48, Thu 3 72, Fri 4 96, Sat 5 120, Sun 6 144", "120+24 144+24"},
		{"the Sunday has 23", time.Date(2099, 3, 26, 0, 0, 0, 0, prague), "Thu 26 0, Fri 27 24, Sat 28 48, Sun 29 72, Mon 30 95, Tue 31 119, Wed 1 143", "48+24 72+23"},
		{"the Sunday has 25", time.Date(2099, 10, 22, 0, 0, 0, 0, prague), "Thu 22 0, Fri 23 24, Sat 24 48, Sun 25 72, Mon 26 97, Tue 27 121, Wed 28 145", "48+24 72+25"},
		{"it begins on that Sunday", time.Date(2099, 3, 29, 0, 0, 0, 0, prague), "Sun 29 0, Mon 30 23, Tue 31 47, Wed 1 71, Thu 2 95, Fri 3 119, Sat 4 143", "0+23 143+24"},
		{"it begins at noon", time.Date(2099, 10, 25, 12, 0, 0, 0, prague), "Mon 26 12, Tue 27 36, Wed 28 60, Thu 29 84, Fri 30 108, Sat 31 132, Sun 1 156", "0+12 132+24 156+12"},
	} {
		to := week.end(tt.from)
		hours := func(x string) float64 {
			var percent float64
			if _, err := fmt.Sscanf(x, "%f%%", &percent); err != nil {
				t.Fatal(err)
			}
			return percent / 100 * to.Sub(tt.from).Hours()
		}
		var days, ends []string
		for _, tick := range ticks(tt.from, to, time.Time{}, week.tick) {
			if !tick.Day || !tick.Edge {
				t.Errorf("%s: %+v is not the heading of a day", tt.name, tick)
			}
			days = append(days, fmt.Sprintf("%s %.0f", tick.Text, hours(tick.X)))
		}
		for _, b := range weekends(tt.from, to) {
			ends = append(ends, fmt.Sprintf("%.0f+%.0f", hours(b.X), hours(b.Width)))
		}
		if got := strings.Join(days, ", "); got != tt.days {
			t.Errorf("%s: the days are %s, want %s", tt.name, got, tt.days)
		}
		if got := strings.Join(ends, " "); got != tt.weekends {
			t.Errorf("%s: the weekend is %s, want %s", tt.name, got, tt.weekends)
		}
	}
}

// TestGaps: where a device is free from now on.
func TestGaps(t *testing.T) {
	base := time.Date(2099, 12, 1, 0, 0, 0, 0, time.UTC)
	at := func(hour float64) time.Time { return base.Add(time.Duration(hour * float64(time.Hour))) }
	type taken struct {
		from, to float64
		state    string
	}
	for _, tt := range []struct {
		name  string
		pause *control.Pause
		taken []taken
		want  string // from and to in hours, and what the link says
	}{
		{"all day", nil, nil, "12-24 Book r1 from now"},
		{"between two slots", nil, []taken{{16, 18, "scheduled"}, {10, 14, "active"}}, "14-16 Book r1 from 14:00, free until 16:00; 18-24 Book r1 from 18:00"},
		{"slots that overlap", nil, []taken{{10, 20, "active"}, {13, 14, "waiting"}}, "20-24 Book r1 from 20:00"},
		{"what is over", nil, []taken{{10, 20, "finished"}}, "12-24 Book r1 from now"},
		{"no end is known", nil, []taken{{10, 13, "stuck"}}, ""},
		{"too short to press", nil, []taken{{11, 13, "active"}, {13.2, 23.8, "scheduled"}}, ""},
		{"a pause", &control.Pause{Since: at(11), Until: control.Instant{Time: at(15)}}, nil, "15-24 Book r1 from 15:00"},
		{"a pause without an end", &control.Pause{Since: at(11)}, nil, ""},
	} {
		v := &view{panel: &Panel{}, Zone: time.UTC, Now: at(12)}
		d := &timelineData{From: at(0), To: at(24)}
		var lines []slot
		for _, s := range tt.taken {
			lines = append(lines, slot{Open: s.state == "stuck", CalendarLine: control.CalendarLine{ID: "1", From: at(s.from), To: at(s.to), State: s.state}})
		}
		var got []string
		for _, g := range v.gaps(d, "r1", tt.pause, lines) {
			var x, width float64
			if _, err := fmt.Sscanf(g.X+" "+g.Width, "%f%% %f%%", &x, &width); err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%.0f-%.0f %s", x*.24, (x+width)*.24, g.Says))
		}
		if all := strings.Join(got, "; "); all != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, all, tt.want)
		}
	}
}
