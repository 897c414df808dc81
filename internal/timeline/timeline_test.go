package timeline

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

// lab returns a chart of some devices, from ten o'clock on for as many hours.
func lab(t *testing.T, hours int) *Chart {
	t.Helper()
	ten := time.Date(2026, 12, 1, 10, 0, 0, 0, zone(t, "Europe/Prague"))
	at := func(hours float64) time.Time { return ten.Add(time.Duration(hours * float64(time.Hour))) }
	bar := func(row, id, owner, state string, from, start, to float64) Bar {
		return Bar{Row: row, ID: id, Owner: owner, State: state, From: at(from), Start: at(start), To: at(to)}
	}
	loser := bar("r1", "1043@ostrava", "grace", "scheduled", 3, 3, 7)
	loser.Conflict = true
	return &Chart{
		From: ten, To: at(float64(hours)), Now: at(0.75), Zone: "Europe/Prague", Width: 80,
		Rows: []string{"r1", "r2", "sw1", "console-server-in-rack-7"},
		Bars: []Bar{
			loser,
			bar("r1", "1042@ostrava", "ada", "active", -0.5, 0, 4),
			bar("r1", "1044@ostrava", "grace", "scheduled", 4, 5, 11),
			bar("r2", "1044@ostrava", "grace", "scheduled", 4, 5, 11),
			bar("r2", "1045@ostrava", "eva", "scheduled", 11, 11, 40),
			bar("sw1", "1@b", "eva", "scheduled", 10, 10, 10.1),
			bar("sw1", "2@b", "eva", "scheduled", 10.1, 10.1, 10.2),
			bar("sw1", "3@b", "eva", "scheduled", 20, 20, 20.5),
		},
	}
}

func TestDraw(t *testing.T) {
	tests := []struct {
		name    string
		hours   int
		set     func(*Chart)
		unnamed int
		want    string
	}{
		{"a day", 24, func(*Chart) {}, 5, `
Tue 2026-12-01 10:00 to Wed 2026-12-02 10:00 (Europe/Prague)
                      Tue 1 Dec                         Wed 2 Dec
DEVICE                     12:00  15:00  18:00   21:00  00:00  03:00  06:00
                        ▼ now
r1                    ┣1042@os…┫┄┄┣1044@ostrava━┫┊      ┊      ┊      ┊       ┊
                     !  │  ┊ ┣!1043@o…┫  ┊       ┊      ┊      ┊      ┊       ┊
r2                      │  ┊    ┄┄┣1044@ostrava━┫┣ 1045@ostrava eva ━━━━━━━━━━━▶
sw1                     │  ┊      ┊      ┊    ▓  ┊      ┊      ┊      ┣┫      ┊
console-server-in-r…    │  ┊      ┊      ┊       ┊      ┊      ┊      ┊       ┊
`},
		{"without other characters, and without a now", 24, func(c *Chart) { c.ASCII, c.Now = true, c.To }, 5, `
Tue 2026-12-01 10:00 to Wed 2026-12-02 10:00 (Europe/Prague)
                      Tue 1 Dec                         Wed 2 Dec
DEVICE                     12:00  15:00  18:00   21:00  00:00  03:00  06:00
r1                    [1042@os~]..[1044@ostrava=]:      :      :      :       :
                     !     : [!1043@o~]  :       :      :      :      :       :
r2                         :    ..[1044@ostrava=][ 1045@ostrava eva ===========>
sw1                        :      :      :    #  :      :      :      []      :
console-server-in-r~       :      :      :       :      :      :      :       :
`},
		{"a wide terminal", 24, func(c *Chart) { c.Width = 130; c.Rows = c.Rows[:2]; c.Now = c.To.Add(-time.Hour) }, 0, `
Tue 2026-12-01 10:00 to Wed 2026-12-02 10:00 (Europe/Prague)
        Tue 1 Dec                                                              Wed 2 Dec
DEVICE  10:00     12:00     14:00      16:00     18:00     20:00     22:00     00:00     02:00      04:00     06:00     08:00
                                                                                                                             ▼ now
r1      ┣ 1042@ostrava ada ┫┄┄┄┄┄┣ 1044@ostrava grace ━━━━━━━━━┫     ┊         ┊         ┊          ┊         ┊         ┊    │
       !┊         ┊    ┣!1043@ostrava grace┫     ┊         ┊         ┊         ┊         ┊          ┊         ┊         ┊    │
r2      ┊         ┊         ┄┄┄┄┄┣ 1044@ostrava grace ━━━━━━━━━┫┣ 1045@ostrava eva ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━▶
`},
		{"what began before", 6, func(c *Chart) { c.From = c.From.Add(time.Hour); c.Rows = c.Rows[:1] }, 0, `
Tue 2026-12-01 11:00 to Tue 2026-12-01 16:00 (Europe/Prague)
        Tue 1 Dec
DEVICE  11:00  11:30  12:00   12:30  13:00  13:30  14:00  14:30   15:00  15:30
r1      ◀ 1042@ostrava ada ━━━━━━━━━━━━━━━━━━━━━━━┫┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┣1044@ostrava▶
       !┊      ┊      ┊       ┊      ┣ !1043@ostrava grace ╍╍╍╍╍╍╍╍╍╍╍╍╍╍╍╍╍╍╍╍▶
`},
		{"a week", 7 * 24, func(c *Chart) { c.Rows = c.Rows[:3] }, 8, `
Tue 2026-12-01 10:00 to Tue 2026-12-08 10:00 (Europe/Prague)
        December
DEVICE        Wed 2     Thu 3      Fri 4     Sat 5     Sun 6     Mon 7
        ▼ now
r1      ┣┫┣━┫ ┊         ┊          ┊         ┊         ┊         ┊          ┊
       !│┣┫   ┊         ┊          ┊         ┊         ┊         ┊          ┊
r2      │ ┣━┫┣1045@ostr…┫          ┊         ┊         ┊         ┊          ┊
sw1     │   ▓ ┊  ■      ┊          ┊         ┊         ┊         ┊          ┊
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := lab(t, tt.hours)
			tt.set(c)
			got, unnamed := c.Draw()
			if got != strings.TrimPrefix(tt.want, "\n") || unnamed != tt.unnamed {
				t.Errorf("Draw = %d and\n%swant %d and%s", unnamed, got, tt.unnamed, tt.want)
			}
		})
	}
}

// TestTicks checks the labels where the clocks change: each hour of such a day has the same
// width, an hour that is skipped has no tick, and an hour that occurs twice has two.
func TestTicks(t *testing.T) {
	tests := []struct {
		name, zone, from, to string
		width                int
		want                 string
	}{
		{"clocks go back", "Europe/Prague", "2026-10-25T00:00:00+02:00", "2026-10-25T06:00:00+01:00", 78, "00:00 01:00 02:00 02:00 03:00 04:00 05:00"},
		{"clocks go forward", "Europe/Prague", "2026-03-29T00:00:00+01:00", "2026-03-29T06:00:00+02:00", 55, "00:00 01:00 03:00 04:00 05:00"},
		{"by half an hour", "Australia/Lord_Howe", "2026-04-05T00:00:00+11:00", "2026-04-05T04:00:00+10:30", 98, "00:00 00:30 01:00 01:30 01:30 02:00 02:30 03:00 03:30"},
		{"a day has 25 hours", "Europe/Prague", "2026-10-24T00:00:00+02:00", "2026-10-27T00:00:00+01:00", 80, "00:00 12:00 00:00 12:00 00:00 12:00"},
		{"midnight is skipped", "America/Santiago", "2026-09-05T00:00:00-04:00", "2026-09-09T00:00:00-03:00", 60, "Sat 5 Sun 6 Mon 7 Tue 8"},
		{"not a whole hour from UTC", "Asia/Kathmandu", "2026-12-01T00:00:00+05:45", "2026-12-01T03:00:00+05:45", 40, "00:00 01:00 02:00"},
		{"minutes", "UTC", "2026-12-01T10:00:30Z", "2026-12-01T10:05:30Z", 60, "10:01 10:02 10:03 10:04 10:05"},
		{"weeks", "UTC", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z", 60, "Mon 7 Mon 14 Mon 21 Mon 28"},
		{"months", "UTC", "2026-12-01T00:00:00Z", "2027-04-15T00:00:00Z", 60, "Dec Jan Feb Mar Apr"},
		{"quarters", "UTC", "2026-12-01T00:00:00Z", "2028-12-15T00:00:00Z", 60, "Jan Apr Jul Oct Jan Apr Jul Oct"},
		{"years", "UTC", "2026-12-01T00:00:00Z", "2036-06-01T00:00:00Z", 100, "2027 2028 2029 2030 2031 2032 2033 2034 2035 2036"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			at := func(s string) time.Time {
				when, err := time.Parse(time.RFC3339, s)
				if err != nil {
					t.Fatal(err)
				}
				return when.In(zone(t, tt.zone))
			}
			c := Chart{From: at(tt.from), To: at(tt.to), Zone: tt.zone, Width: tt.width}
			text, _ := c.Draw()
			got := strings.Join(strings.Fields(strings.Split(text, "\n")[2])[1:], " ")
			if got != tt.want {
				t.Errorf("the labels are %q, want %q in\n%s", got, tt.want, text)
			}
		})
	}
}

// TestTickPlaces checks that the ticks of hours are equally far from each other also where the
// clocks change.
func TestTickPlaces(t *testing.T) {
	from := time.Date(2026, 10, 25, 0, 0, 0, 0, zone(t, "Europe/Prague"))
	c := Chart{From: from, To: from.Add(7 * time.Hour), Width: 7*8 + len(title) + gap, Rows: []string{""}}
	text, _ := c.Draw()
	row := strings.Split(text, "\n")[3]
	for i, r := range []rune(row[len(title)+gap:]) {
		if (r == '┊') != (i%8 == 0) {
			t.Fatalf("the ticks are not at each eighth place of %q", row)
		}
	}
}

func TestPaint(t *testing.T) {
	c := lab(t, 24)
	c.Rows = c.Rows[:1]
	plain, _ := c.Draw()
	c.Paint = func(text, state string) string { return "<" + state + ":" + text + ">" }
	text, _ := c.Draw()
	if want := "<active:┣1042@ostr…┫>"; !strings.Contains(text, want) {
		t.Errorf("%s is not in\n%s", want, text)
	}
	for _, state := range []string{"active", "scheduled"} {
		text = strings.ReplaceAll(text, "<"+state+":", "")
	}
	if text = strings.ReplaceAll(text, ">", ""); text != plain {
		t.Errorf("with colours it is\n%swithout them\n%s", text, plain)
	}
}

// TestDrawAny checks for any bars that no line is too wide, that each bar is somewhere, and
// that bars that overlap are in different lines.
func TestDrawAny(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	zones := []*time.Location{time.UTC, zone(t, "Europe/Prague"), zone(t, "America/Santiago")}
	for range 2000 {
		c := Chart{Width: 30 + r.IntN(170), ASCII: r.IntN(2) == 0, Rows: []string{"r1", strings.Repeat("é", 1+r.IntN(30))}}
		length := time.Duration(1 + r.Int64N(int64(time.Minute)<<r.IntN(20)))
		c.From = time.Unix(1790000000+r.Int64N(1e8), 0).In(zones[r.IntN(len(zones))])
		c.To = c.From.Add(length + time.Second)
		c.Now = c.From.Add(time.Duration(r.Int64N(int64(2 * length))))
		for i := range r.IntN(8) {
			from := c.From.Add(time.Duration(r.Int64N(int64(2*length)) - int64(length)/2))
			to := from.Add(1 + time.Duration(r.Int64N(int64(length))))
			c.Bars = append(c.Bars, Bar{
				Row: c.Rows[r.IntN(2)], ID: fmt.Sprintf("%d@ostrava", i), Owner: "ada", State: "scheduled",
				From: from, Start: from.Add(time.Duration(r.Int64N(int64(to.Sub(from))))), To: to, Conflict: r.IntN(3) == 0,
			})
		}
		text, unnamed := c.Draw()
		for l := range strings.Lines(text) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(l, "\n")); n > c.Width || strings.HasSuffix(l, " \n") {
				t.Fatalf("seed %d: a line has %d characters of %d in\n%s", seed, n, c.Width, text)
			}
		}
		visible := 0
		for _, b := range c.Bars {
			if b.To.After(c.From) && b.From.Before(c.To) {
				visible++
				if strings.Contains(text, b.ID) {
					unnamed++
				}
			}
		}
		if unnamed != visible {
			t.Fatalf("seed %d: of %d bars, %d are named or counted in\n%s", seed, visible, unnamed, text)
		}
	}
}
