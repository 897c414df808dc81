package main

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"activationd/control"
	"activationd/internal/display"
)

// TestTable prints the same list to a file, and to terminals of several widths.
func TestTable(t *testing.T) {
	now := time.Date(2099, 11, 30, 17, 0, 0, 0, time.UTC) // 18:00 in Prague
	rows := [][]any{
		{"1042@ostrava", "active", now.Add(-2 * time.Hour), now.Add(2 * time.Hour), "", "", "group7", "ospf-triangle", ""},
		{"7", "succeeded", now.Add(-time.Hour), now.Add(-time.Minute), "59m", "0", "ada", "čtvrtletní zpráva o stavu", ""},
		{"8", "failed", now.Add(-30 * time.Hour), now.Add(-29 * time.Hour), "1h", "3", "ada", "make -C /srv/lab check", "activate attempt 1 exited with status 3"},
		{"9", "cancelled", time.Time{}, now, "", "", "bob", "x", "cancelled by ada: " + strings.Repeat("not today, ", 14) + "please"},
	}
	tests := []struct {
		name     string
		width    int
		from, to int
		want     string
	}{
		{"in a file nothing is cut, and a long label does not widen its column", 0, 0, 3, `
ID            STATE      START (Europe/Prague)  END                  TOOK  EXIT  OWNER   LABEL            REASON
1042@ostrava  active     2099-11-30 16:00:00    2099-11-30 20:00:00              group7  ospf-triangle
7             succeeded  2099-11-30 17:00:00    2099-11-30 17:59:00  59m   0     ada     čtvrtletní zpráva o stavu
8             failed     2099-11-29 12:00:00    2099-11-29 13:00:00  1h    3     ada     make -C /srv/lab check  activate attempt 1 exited with status 3
`},
		{"a wide terminal", 200, 0, 4, `
ID            STATE      START (Europe/Prague)           END                             TOOK  EXIT  OWNER   LABEL            REASON
1042@ostrava  active     2099-11-30 16:00:00 (2h ago)    2099-11-30 20:00:00 (in 2h)                 group7  ospf-triangle
7             succeeded  2099-11-30 17:00:00 (1h ago)    2099-11-30 17:59:00 (1m ago)    59m   0     ada     čtvrtletní zpr…
8             failed     2099-11-29 12:00:00 (1d6h ago)  2099-11-29 13:00:00 (1d5h ago)  1h    3     ada     make -C /srv/l…  activate attempt 1 exited with status 3
9             cancelled                                  2099-11-30 18:00:00 (now)                   bob     x
    cancelled by ada: not today, not today, not today, not today, not today, not today, not today, not today, not today, not today, not today, not today, not today, not today, please
`},
		{"times become shorter", 120, 0, 2, `
ID            STATE      START (Europe/Prague)  END                  TOOK  EXIT  OWNER   LABEL            REASON
1042@ostrava  active     2099-11-30 16:00:00    2099-11-30 20:00:00              group7  ospf-triangle
7             succeeded  2099-11-30 17:00:00    2099-11-30 17:59:00  59m   0     ada     čtvrtletní zpr…
`},
		{"80 columns", 80, 0, 4, `
ID            STATE      START (Prague)  END           TOOK  EXIT  LABEL
1042@ostrava  active     16:00:00        20:00:00                  ospf-triangle
7             succeeded  17:00:00        17:59:00      59m   0     čtvrtletní z…
8             failed     Nov 29 12:00    Nov 29 13:00  1h    3     make -C /srv…
    activate attempt 1 exited with status 3
9             cancelled                  18:00:00                  x
    cancelled by ada: not today, not today, not today, not today, not today, not
    today, not today, not today, not today, not today, not today, not today, not
    today, not today, please
`},
		{"empty columns are left out", 80, 0, 1, `
ID            STATE   START (Prague)  END       OWNER   LABEL
1042@ostrava  active  16:00:00        20:00:00  group7  ospf-triangle
`},
		{"a narrow terminal", 60, 0, 4, `
ID            STATE      START (Prague)  END           TOOK
1042@ostrava  active     16:00:00        20:00:00
7             succeeded  17:00:00        17:59:00      59m
8             failed     Nov 29 12:00    Nov 29 13:00  1h
    activate attempt 1 exited with status 3
9             cancelled                  18:00:00
    cancelled by ada: not today, not today, not today, not
    today, not today, not today, not today, not today, not
    today, not today, not today, not today, not today, not
    today, please
`},
		{"the zone is in the heading, whichever column is left out", 80, 3, 4, `
ID  STATE      END (Prague)  OWNER  LABEL
9   cancelled  18:00:00      bob    x
    cancelled by ada: not today, not today, not today, not today, not today, not
    today, not today, not today, not today, not today, not today, not today, not
    today, not today, please
`},
		{"no rows", 80, 0, 0, `
ID  STATE  START  END  TOOK  EXIT  OWNER  LABEL  REASON
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out strings.Builder
				tab := newTable(&out, column{"ID", 0}, column{"STATE", 0}, column{"START", 0}, column{"END", 0}, column{"TOOK", 0},
					column{"EXIT", 0}, column{"OWNER", 16}, column{"LABEL", 15}, column{"REASON", 0})
				tab.width, tab.times, tab.spare = tt.width, display.NewClock(control.Clock{Now: now, Zone: "Europe/Prague"}), []string{"OWNER"}
				for _, r := range rows[tt.from:tt.to] {
					if err := tab.row(r...); err != nil {
						t.Fatal(err)
					}
				}
				if err := tab.flush(); err != nil {
					t.Fatal(err)
				}
				if got := "\n" + out.String(); got != tt.want {
					t.Errorf("got%swant%s", got, tt.want)
				}
				for line := range strings.Lines(out.String()) {
					if n := len([]rune(strings.TrimSuffix(line, "\n"))); tt.width > 0 && n > tt.width {
						t.Errorf("a line of %d characters: %s", n, line)
					}
				}
			})
		})
	}
}

// TestTableStreams checks that a table does not hold back rows when it knows its widths.
func TestTableStreams(t *testing.T) {
	var out strings.Builder
	tab := newTable(&out, column{"ID", 0})
	for range sizedBy + 1 {
		if err := tab.row("1"); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Count(out.String(), "\n"); got != sizedBy+2 {
		t.Errorf("%d lines after %d rows and no flush, want %d", got, sizedBy+1, sizedBy+2)
	}
}
