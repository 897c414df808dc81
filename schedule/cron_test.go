package schedule

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"activationd/internal/timetext"
)

func TestCron(t *testing.T) {
	const prague, york = "Europe/Prague", "America/New_York"
	tests := []struct{ name, text, zone, from, want string }{
		{"every weekday", "30 4 * * 1-5", "UTC", "2026-11-20 12:00", "2026-11-23 04:30:00 +0000"},
		{"names", "0 0 1 jan,JUL *", "UTC", "2026-11-20 12:00", "2027-01-01 00:00:00 +0000, 2027-07-01 00:00:00 +0000"},
		{"Sunday is 7, too", "0 0 * * 6-7", "UTC", "2026-11-20 12:00", "2026-11-21 00:00:00 +0000, 2026-11-22 00:00:00 +0000, 2026-11-28 00:00:00 +0000"},
		{"Sunday to Sunday is no week", "0 0 * * sun-sun", "UTC", "2026-11-20 12:00", "2026-11-22 00:00:00 +0000, 2026-11-29 00:00:00 +0000"},
		{"Saturday to Sunday", "0 0 * * SAT-Sun", "UTC", "2026-11-20 12:00", "2026-11-21 00:00:00 +0000, 2026-11-22 00:00:00 +0000, 2026-11-28 00:00:00 +0000"},
		{"day or weekday", "0 0 13 * fri", "UTC", "2026-11-01 12:00", "2026-11-06 00:00:00 +0000, 2026-11-13 00:00:00 +0000, 2026-11-20 00:00:00 +0000"},
		{"day and weekday", "0 0 */2 * fri", "UTC", "2026-11-01 12:00", "2026-11-13 00:00:00 +0000, 2026-11-27 00:00:00 +0000"},
		{"seconds", "*/20 59 23 31 12 *", "UTC", "2026-11-01 12:00", "2026-12-31 23:59:00 +0000, 2026-12-31 23:59:20 +0000"},
		{"leap days", "0 0 29 2 *", "UTC", "2096-11-01 12:00", "2104-02-29 00:00:00 +0000"},
		{"nickname", "@weekly", "UTC", "2026-11-01 12:00", "2026-11-08 00:00:00 +0000"},
		{"its own zone", "CRON_TZ=America/New_York 0 9 * * *", "UTC", "2026-07-01 12:00", "2026-07-01 13:00:00 +0000"},

		{"a skipped time comes right after", "30 2 * * *", prague, "2026-03-28 12:00", "2026-03-29 03:00:00 +0200, 2026-03-30 02:30:00 +0200"},
		{"several skipped ones come as one", "15,45 2,3 * * *", prague, "2026-03-28 12:00", "2026-03-29 03:00:00 +0200, 2026-03-29 03:15:00 +0200"},
		{"at the change itself, once", "0 2,3 * * *", prague, "2026-03-28 12:00", "2026-03-29 03:00:00 +0200, 2026-03-30 02:00:00 +0200"},
		{"a doubled time comes once", "30 2 * * *", prague, "2026-10-24 12:00", "2026-10-25 02:30:00 +0200, 2026-10-26 02:30:00 +0100"},
		{"asked in the second of the two", "30 2 * * *", prague, "2026-10-25 02:31", "2026-10-26 02:30:00 +0100"},
		{"hours are elapsed time", "30 * * * *", prague, "2026-10-25 01:00", "2026-10-25 01:30:00 +0200, 2026-10-25 02:30:00 +0200, 2026-10-25 02:30:00 +0100, 2026-10-25 03:30:00 +0100"},
		{"a step is a wildcard", "*/30 2 * * *", prague, "2026-10-25 01:59", "2026-10-25 02:00:00 +0200, 2026-10-25 02:30:00 +0200, 2026-10-25 02:00:00 +0100, 2026-10-25 02:30:00 +0100"},
		{"a wildcard is not made up for", "*/30 2 * * *", prague, "2026-03-28 12:00", "2026-03-30 02:00:00 +0200"},
		{"hourly over the gap", "@hourly", york, "2026-03-08 00:30", "2026-03-08 01:00:00 -0500, 2026-03-08 03:00:00 -0400"},
		{"midnight is skipped", "30 0 * * *", "America/Sao_Paulo", "2018-11-03 12:00", "2018-11-04 01:00:00 -0200, 2018-11-05 00:30:00 -0200"},
		{"half an hour is skipped", "15 2 * * *", "Australia/Lord_Howe", "2026-10-03 12:00", "2026-10-04 02:30:00 +1100, 2026-10-05 02:15:00 +1100"},
		{"half an hour is doubled", "45 1 * * *", "Australia/Lord_Howe", "2026-04-04 12:00", "2026-04-05 01:45:00 +1100, 2026-04-06 01:45:00 +1030"},
		{"a day that was skipped is a correction", "0 12 * * *", "Pacific/Apia", "2011-12-29 11:00", "2011-12-29 12:00:00 -1000, 2011-12-31 12:00:00 +1400"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			loc := zone(t, tt.zone)
			from, err := time.ParseInLocation("2006-01-02 15:04", tt.from, loc)
			if err != nil {
				t.Fatal(err)
			}
			r, err := ParseCron(tt.text, loc)
			if err != nil {
				t.Fatal(err)
			}
			n := strings.Count(tt.want, ", ") + 1
			if got := stamps(occurrences(r, from, n), loc); got != tt.want {
				t.Errorf("%q after %s:\n      %s\nwant  %s", tt.text, tt.from, got, tt.want)
			}
		})
	}
}

func TestNoCron(t *testing.T) {
	for _, text := range []string{"", "* * * *", "* * * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 13 *", "* * * * 8",
		"*/0 * * * *", "5-1 * * * *", "a * * * *", "* * * * fri-mon", "* * L * *", "* * * * 1#2", "0 0 30 2 *", "@fortnightly", "1,,2 * * * *",
		", * * * *", "- * * * *", "? * * * *", "*5 * * * *", "CRON_TZ=Nowhere/Land * * * * *", "CRON_TZ= * * * * *", "TZ= @daily", "+1 * * * *", "* * * * 1-", "1/ * * * *"} {
		if r, err := ParseCron(text, time.UTC); err == nil {
			t.Errorf("ParseCron(%q) is %v, want an error", text, r)
		}
	}
}

// randomCron makes an expression of five fields.
func randomCron(r *rand.Rand) string {
	field := func(low, high, star int) string {
		if r.IntN(10) < star {
			if r.IntN(4) == 0 {
				return fmt.Sprintf("*/%d", 1+r.IntN((high-low)/2))
			}
			return "*"
		}
		var parts []string
		for range 1 + r.IntN(3) {
			v := low + r.IntN(high-low+1)
			part := fmt.Sprint(v)
			if r.IntN(4) == 0 {
				part += fmt.Sprintf("-%d", v+r.IntN(high-v+1))
				if r.IntN(2) == 0 {
					part += fmt.Sprintf("/%d", 1+r.IntN(5))
				}
			}
			parts = append(parts, part)
		}
		return strings.Join(parts, ",")
	}
	hours := field(0, 23, 3)
	if r.IntN(2) == 0 {
		hours = field(0, 4, 1)
	}
	return strings.Join([]string{field(0, 59, 2), hours, field(1, 31, 7), field(1, 12, 9), field(0, 7, 7)}, " ")
}

// A cronModel does what the main loop of Debian's cron does: each minute it
// compares the local time with the one that it has come to, and catches up, or
// waits, by what kind of change it takes the difference for. Of several runs in
// one minute it notes one.
type cronModel struct {
	minute, hour, dom, month, dow map[int]bool
	fixed, domStar, dowStar       bool
}

func newCronModel(t *testing.T, text string) cronModel {
	fields := strings.Fields(text)
	m := cronModel{
		fixed:   fields[0][0] != '*' && fields[1][0] != '*',
		domStar: fields[2][0] == '*', dowStar: fields[4][0] == '*',
	}
	for i, bound := range []struct {
		into      *map[int]bool
		low, high int
	}{{&m.minute, 0, 59}, {&m.hour, 0, 23}, {&m.dom, 1, 31}, {&m.month, 1, 12}, {&m.dow, 0, 7}} {
		*bound.into = map[int]bool{}
		for part := range strings.SplitSeq(fields[i], ",") {
			low, high, step := bound.low, bound.high, 1
			values, by, stepped := strings.Cut(part, "/")
			if stepped {
				fmt.Sscan(by, &step)
			}
			if values != "*" {
				if n, _ := fmt.Sscanf(values, "%d-%d", &low, &high); n == 1 {
					high = low
				}
			}
			for v := low; v <= high; v += step {
				(*bound.into)[v] = true
			}
		}
	}
	m.dow[0] = m.dow[0] || m.dow[7]
	return m
}

func (m cronModel) matches(wall time.Time) bool {
	dom, dow := m.dom[wall.Day()], m.dow[int(wall.Weekday())]
	day := dom || dow
	if m.domStar || m.dowStar {
		day = dom && dow
	}
	return day && m.minute[wall.Minute()] && m.hour[wall.Hour()] && m.month[int(wall.Month())]
}

// runs lists the minutes in which it runs, of those after from up to until.
func (m cronModel) runs(from, until time.Time) (at []time.Time) {
	local := func(t time.Time) time.Time {
		_, offset := t.Zone()
		return wall(t, offset)
	}
	virtual := local(from) // the local minute that it has come to
	for t := from.Add(time.Minute); !t.After(until); t = t.Add(time.Minute) {
		now := local(t)
		var run bool
		switch ahead := now.Sub(virtual); {
		case ahead == time.Minute:
			virtual = now
			run = m.matches(now)
		case ahead > 0 && ahead < 3*time.Hour: // wildcards by the new time, and fixed times for each minute that is missed
			run = !m.fixed && m.matches(now)
			for virtual.Before(now) {
				virtual = virtual.Add(time.Minute)
				run = run || m.fixed && m.matches(virtual)
			}
		case ahead <= 0 && ahead > -3*time.Hour: // fixed times wait until local time has caught up
			run = !m.fixed && m.matches(now)
		default: // a correction
			virtual = now
			run = m.matches(now)
		}
		if run {
			at = append(at, t)
		}
	}
	return at
}

func TestCronAsDebians(t *testing.T) {
	changes := []struct{ zone, at string }{
		{"Europe/Prague", "2026-03-29 01:00"}, {"Europe/Prague", "2026-10-25 01:00"}, {"America/New_York", "2026-03-08 07:00"},
		{"America/New_York", "2026-11-01 06:00"}, {"Australia/Lord_Howe", "2026-04-04 15:00"}, {"Australia/Lord_Howe", "2026-10-03 15:30"},
		{"America/Sao_Paulo", "2018-11-04 03:00"}, {"America/Sao_Paulo", "2018-02-18 02:00"}, {"Europe/Dublin", "2026-03-29 01:00"},
		{"Europe/Dublin", "2026-10-25 01:00"}, {"Asia/Beirut", "2026-03-28 22:00"}, {"Pacific/Chatham", "2026-04-04 14:00"},
		{"Africa/Casablanca", "2026-02-15 02:00"}, {"Africa/Casablanca", "2026-03-22 02:00"}, {"Pacific/Apia", "2011-12-30 10:00"},
		{"Antarctica/Troll", "2026-03-29 01:00"}, {"Antarctica/Troll", "2026-10-25 01:00"}, // by two hours
	}
	random := rand.New(rand.NewPCG(3, 9)) //nolint:gosec // reproducible on purpose
	runs := 0
	for range 4000 {
		change := changes[random.IntN(len(changes))]
		loc := zone(t, change.zone)
		at, err := time.Parse("2006-01-02 15:04", change.at)
		if err != nil {
			t.Fatal(err)
		}
		from, until := at.Add(-20*time.Hour).In(loc), at.Add(20*time.Hour)
		text := randomCron(random)
		r, err := ParseCron(text, loc)
		if err != nil {
			if strings.Contains(err.Error(), "no such day") {
				continue
			}
			t.Fatal(err)
		}
		var got []time.Time
		for next := r.Next(from); !next.IsZero() && !next.After(until); next = r.Next(next) {
			got = append(got, next)
		}
		want := newCronModel(t, text).runs(from, until)
		runs += len(want)
		if !slices.EqualFunc(got, want, time.Time.Equal) {
			t.Fatalf("%s %q:\n      %s\nwant  %s", change.zone, text, stamps(got, loc), stamps(want, loc))
		}
	}
	t.Logf("%d runs", runs)
}

// randomRecurrence draws any, sound ones only.
func randomRecurrence(t *rapid.T) (Recurrence, string) {
	seed := rapid.Uint64().Draw(t, "seed")
	random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // rapid's
	loc, err := time.LoadLocation(rapid.SampledFrom(calendarZones).Draw(t, "zone"))
	if err != nil {
		t.Fatal(err)
	}
	for {
		text := randomCron(random)
		if r, err := ParseCron(text, loc); err == nil && rapid.Bool().Draw(t, "cron") {
			return r, text
		}
		text = randomCalendar(random)
		if r, err := ParseCalendar(text, loc); err == nil {
			return r, text
		}
	}
}

func TestNextIsSound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, text := randomRecurrence(t)
		from := time.Unix(rapid.Int64Range(0, last.Unix()).Draw(t, "from"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns"))
		next := r.Next(from)
		if next.IsZero() {
			if later := r.Next(from.Add(time.Hour)); !later.IsZero() {
				t.Fatalf("%q has nothing after %v, and %v an hour later", text, from, later)
			}
			return
		}
		if !next.After(from) || !next.Before(last) {
			t.Fatalf("%q after %v is %v", text, from, next)
		}
		// The same from anywhere before it, and never the same again.
		within := from.Add(time.Duration(rapid.Int64Range(0, int64(next.Sub(from))-1).Draw(t, "within")))
		if again := r.Next(within); !again.Equal(next) {
			t.Fatalf("%q after %v is %v, but after %v it is %v", text, from, next, within, again)
		}
		if after := r.Next(next); !after.IsZero() && !after.After(next) {
			t.Fatalf("%q after %v is %v", text, next, after)
		}
	})
}

func TestEvery(t *testing.T) {
	anchor := time.Date(2026, 3, 28, 12, 0, 0, 5, time.UTC)
	e := Every{Anchor: anchor, Interval: 90 * time.Second}
	for _, tt := range []struct{ after, want time.Duration }{
		{-time.Hour, 0}, {-1, 0}, {0, 90 * time.Second}, {1, 90 * time.Second}, {90*time.Second - 1, 90 * time.Second}, {90 * time.Second, 180 * time.Second},
		{100 * 24 * time.Hour, 100*24*time.Hour + 90*time.Second},
	} {
		if got := e.Next(anchor.Add(tt.after)); !got.Equal(anchor.Add(tt.want)) {
			t.Errorf("after %v: %v, want %v", tt.after, got.Sub(anchor), tt.want)
		}
	}
	for text, want := range map[string]time.Duration{"90s": 90 * time.Second, "every 5m": 5 * time.Minute, "@every 1h30m": 90 * time.Minute, " 1d ": 24 * time.Hour} {
		if d, err := ParseInterval(text); err != nil || d != want {
			t.Errorf("ParseInterval(%q) = %v, %v, want %v", text, d, err, want)
		}
	}
	for _, text := range []string{"", "0s", "500ms", "every", "-5m", "5", "@5m", "4000d"} {
		if d, err := ParseInterval(text); err == nil {
			t.Errorf("ParseInterval(%q) = %v, want an error", text, d)
		}
	}
}

// The last day of a leap year is one on which the standard library says of
// offsets that they end at once.
func TestLastDayOfALeapYear(t *testing.T) {
	loc := zone(t, "Europe/Prague")
	r, err := ParseCron("0 12 31 12 *", loc)
	if err != nil {
		t.Fatal(err)
	}
	for year := 2028; year < 2200; year += 4 {
		want := time.Date(year, 12, 31, 12, 0, 0, 0, loc)
		if got := r.Next(want.Add(-time.Hour)); !got.Equal(want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if got, err := timetext.Typed(want.Format("2006-01-02 15:04"), first, loc); err != nil || !got.Equal(want) {
			t.Errorf("Typed gives %v, %v, want %v", got, err, want)
		}
	}
}

func FuzzParseCron(f *testing.F) {
	for _, s := range []string{"* * * * *", "*/5 1-3,7 1 jan-MAR 5-7", "0 30 2 * * *", "CRON_TZ=Europe/Prague @daily", "@reboot", "5/15 * ? * sat-sun", "0 0 29 2 1"} {
		f.Add(s)
	}
	fuzzParse(f, ParseCron)
}

func FuzzParseCalendar(f *testing.F) {
	for _, s := range []string{"Mon..Fri 08:00", "*-*-01 04:00:00", "Sat,Sun 12:05", "quarterly", "2026-*~03", "*:0/15:00.5/29.25 UTC", "@1800000000", "Mon *-05~07/1",
		"1,2/3..9-1..3/2 Europe/Prague", "Fri,", "*~28"} {
		f.Add(s)
	}
	fuzzParse(f, ParseCalendar)
}

func fuzzParse(f *testing.F, parse func(string, *time.Location) (Recurrence, error)) {
	from := time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC)
	loc := zone(f, "Europe/Prague")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parse(text, loc)
		if err != nil {
			return
		}
		at := from
		for range 3 {
			next := r.Next(at)
			if next.IsZero() {
				return
			}
			if !next.After(at) {
				t.Fatalf("%q after %v is %v", text, at, next)
			}
			at = next
		}
	})
}
