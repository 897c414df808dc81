package booking

import (
	"errors"
	"strings"
	"testing"
	"time"

	"activationd/internal/fault"
)

func prague(t *testing.T) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation("Europe/Prague")
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

// part reads "2099-12-21 10:00 +2h r2": two hours with two devices.
func part(t *testing.T, text string, loc *time.Location) (p Part) {
	t.Helper()
	if text == "" {
		return p
	}
	words := strings.Fields(text)
	from, err := time.ParseInLocation("2006-01-02 15:04", words[0]+" "+words[1], loc)
	if err != nil {
		t.Fatal(err)
	}
	d, err := time.ParseDuration(words[2][1:])
	if err != nil {
		t.Fatal(err)
	}
	return Part{From: from, To: from.Add(d), Devices: int(words[3][1] - '0')}
}

// TestQuota tries each limit at its edges. 2099-12-21 is a Monday.
func TestQuota(t *testing.T) {
	week, devices, days := Quota{PerWeek: 10 * time.Hour}, Quota{Devices: 3}, Quota{DaysAhead: 2}
	for _, tt := range []struct {
		name   string
		quota  Quota
		was    string // before a change; empty: it is new
		is     string
		others string // separated by commas
		want   string // a part of the refusal; empty: it is accepted
	}{
		{"no limits", Quota{}, "", "2099-12-21 10:00 +500h r9", "2099-12-21 10:00 +500h r9", ""},

		{"all hours of a week", week, "", "2099-12-21 00:00 +4h r3", "2099-12-27 18:00 +6h r3", ""},
		{"a minute more", week, "", "2099-12-21 00:00 +4h1m r1", "2099-12-27 18:00 +6h r1",
			"hours in a week: at most 10h (already booked in the week from Monday 2099-12-21: 6h, still possible: 4h, wanted: 4h1m)"},
		{"the week before", week, "", "2099-12-21 00:00 +10h r1", "2099-12-20 14:00 +10h r1", ""},
		{"over the end of a week", week, "", "2099-12-27 14:00 +20h r1", "", ""},
		{"the first week is full", week, "", "2099-12-27 14:00 +20h r1", "2099-12-21 00:00 +1m r1", "from Monday 2099-12-21: 1m, still possible: 9h59m"},
		{"the second week is full", week, "", "2099-12-27 14:00 +20h r1", "2099-12-28 20:00 +1m r1", "from Monday 2099-12-28: 1m"},
		{"a part of another slot", week, "", "2099-12-28 10:00 +8h r1", "2099-12-27 20:00 +6h r1", ""},
		{"at the same time", week, "", "2099-12-21 10:00 +6h r1", "2099-12-21 10:00 +6h r1", "6h, still possible: 4h"},
		{"less than was booked under another quota", week, "2099-12-21 10:00 +20h r1", "2099-12-21 10:00 +19h r1", "2099-12-22 10:00 +20h r1", ""},
		{"more than that", week, "2099-12-21 10:00 +20h r1", "2099-12-21 10:00 +21h r1", "", "0s, still possible: 10h, wanted: 21h"},
		{"moved to a full week", week, "2099-12-21 10:00 +4h r1", "2099-12-28 10:00 +4h r1", "2099-12-28 00:00 +8h r1", "still possible: 2h"},
		{"the week with 167 hours", Quota{PerWeek: 167 * time.Hour}, "", "2099-03-23 00:00 +168h r1", "", ""},
		{"and not one more", Quota{PerWeek: time.Hour}, "", "2099-03-29 23:00 +2h r1", "2099-03-29 01:59 +1m r1", "from Monday 2099-03-23: 1m"},

		{"all devices", devices, "", "2099-12-21 10:00 +1h r1", "2099-12-21 09:30 +1h r2", ""},
		{"one more", devices, "", "2099-12-21 10:00 +1h r2", "2099-12-21 09:30 +1h r2",
			"devices at once: at most 3 (already booked at 2099-12-21 10:00:00 CET: 2, still possible: 1, wanted: 2)"},
		{"too many in one booking", devices, "", "2099-12-21 10:00 +1h r4", "", "already booked at 2099-12-21 10:00:00 CET: 0, still possible: 3, wanted: 4"},
		{"one after the other", devices, "", "2099-12-21 10:00 +1h r3", "2099-12-21 09:00 +1h r3,2099-12-21 11:00 +1h r3", ""},
		{"two that do not overlap", devices, "", "2099-12-21 10:00 +2h r1", "2099-12-21 10:00 +1h r2,2099-12-21 11:00 +1h r2", ""},
		{"two that overlap", devices, "", "2099-12-21 10:00 +2h r1", "2099-12-21 10:00 +1h r1,2099-12-21 10:30 +1h r2", "at 2099-12-21 10:30:00 CET: 3, still possible: 0"},
		{"fewer than were booked under another quota", devices, "2099-12-21 10:00 +1h r5", "2099-12-21 10:00 +1h r4", "", ""},
		{"fewer, but longer", devices, "2099-12-21 10:00 +1h r5", "2099-12-21 10:00 +2h r4", "", "wanted: 4"},

		{"as far ahead as possible", days, "", "2099-12-20 12:00 +1h r1", "", ""},
		{"a minute further", days, "", "2099-12-20 12:01 +1h r1", "", "days ahead: at most 2, so a slot must begin until 2099-12-20 12:00:00 CET"},
		{"further, but nearer than before", days, "2099-12-25 12:00 +1h r1", "2099-12-24 12:00 +1h r1", "", ""},
		{"moved away", days, "2099-12-19 12:00 +1h r1", "2099-12-24 12:00 +1h r1", "", "days ahead: at most 2"},

		{"two limits", Quota{Devices: 1, DaysAhead: 1}, "", "2099-12-24 12:00 +1h r2", "", "begin until 2099-12-19 12:00:00 CET; devices at once: at most 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			loc := prague(t)
			old := time.Local
			time.Local = loc // the texts are in the daemon's zone
			defer func() { time.Local = old }()
			now := time.Date(2099, 12, 18, 12, 0, 0, 0, loc)
			var others []Part
			for text := range strings.SplitSeq(tt.others, ",") {
				if text != "" {
					others = append(others, part(t, text, loc))
				}
			}
			err := tt.quota.check("ada", part(t, tt.was, loc), part(t, tt.is, loc), others, now, loc)
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("it is refused: %v", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "the quota of ada: ")):
				t.Errorf("got %v, want %q", err, tt.want)
			case tt.want != "" && !errors.Is(err, fault.Conflict):
				t.Errorf("%v is of another kind", err)
			}
		})
	}
}

// TestWeeksOf: the hours of a slot are in the weeks in which they are, and the present week is always
// there. The last Sunday of March has 23 hours.
func TestWeeksOf(t *testing.T) {
	loc := prague(t)
	for _, tt := range []struct{ name, parts, want string }{
		{"nothing", "", "03-23 0s"},
		{"in this week", "2099-03-24 10:00 +2h r1,2099-03-24 11:00 +3h r9", "03-23 5h0m0s"},
		{"it began before", "2099-03-22 23:00 +2h r1", "03-23 1h0m0s"},
		{"across the end of the week", "2099-03-29 00:00 +24h r1", "03-23 23h0m0s, 03-30 1h0m0s"},
		{"a week without bookings between", "2099-04-08 10:00 +1h r1", "03-23 0s, 04-06 1h0m0s"},
		{"until the end of the week", "2099-03-29 20:00 +4h r1", "03-23 4h0m0s"},
	} {
		var parts []Part
		for text := range strings.SplitSeq(tt.parts, ",") {
			if text != "" {
				parts = append(parts, part(t, text, loc))
			}
		}
		var got []string
		for _, w := range weeksOf(parts, time.Date(2099, 3, 23, 0, 0, 0, 0, loc)) {
			got = append(got, w.Begins.Format("01-02 ")+w.Booked.String())
		}
		if all := strings.Join(got, ", "); all != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, all, tt.want)
		}
	}
}
