package activation_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	. "activationd/activation"
	"activationd/activation/announce"
	"activationd/activation/recurring"
)

// zoneFile is a file of a time zone that has one rule for all times, as TZ has it.
func zoneFile(rule string) []byte {
	head := func(types, chars byte) []byte {
		h := append([]byte("TZif2"), make([]byte, 15+6*4)...)
		h[39], h[43] = types, chars
		return h
	}
	data := append(head(1, 4), "\x00\x00\x00\x00\x00\x00LMT\x00"...)
	data = append(data, head(1, 4)...)
	return append(data, "\x00\x00\x00\x00\x00\x00LMT\x00\n"+rule+"\n"...)
}

// useRules sets the daemon's zone to one with a rule, and returns a function that changes
// it.
func useRules(t *testing.T, rule string) (change func(rule string)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "zone")
	change = func(rule string) {
		if err := os.WriteFile(path, zoneFile(rule), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	change(rule)
	loc, err := time.LoadLocationFromTZData(path, zoneFile(rule))
	if err != nil {
		t.Fatal(err)
	}
	local := time.Local
	time.Local = loc
	t.Cleanup(func() { time.Local = local })
	return change
}

// TestZoneRulesChange changes the rules of a zone under a daemon that runs, one that is
// reloaded, and one that is down. It begins at 01:00 local time, which is midnight UTC.
func TestZoneRulesChange(t *testing.T) {
	cron := func(expr string) recurring.Rule { return recurring.Rule{Cron: expr} }
	tests := []struct {
		name      string
		rule      recurring.Rule
		after     time.Duration // when the rules change
		to        string        // from LAB-1, an hour east
		want      string        // all occurrences until 12:00 UTC of the second day
		skipped   uint64
		nextAfter string // the next occurrence, right after the change
	}{
		{"comes earlier", cron("0 6 * * *"), time.Hour, "LAB-2", "04:00:00 succeeded, 04:00:00 succeeded", 0, "04:00"},
		{"comes later", cron("0 6 * * *"), time.Hour, "LAB0", "06:00:00 succeeded, 06:00:00 succeeded", 0, "06:00"},
		{"has come, and does not again", cron("0 2 * * *"), 70 * time.Minute, "LAB0", "01:00:00 succeeded, 02:00:00 succeeded", 0, "02:00"},
		{"a calendar's, too", recurring.Rule{Calendar: "02:00"}, 70 * time.Minute, "LAB0", "01:00:00 succeeded, 02:00:00 succeeded", 0, "02:00"},
		{"now lies in the past", cron("30 2 * * *"), 70 * time.Minute, "LAB-2", "00:30:00 succeeded", 1, "00:30"},
		{"now lies in the past, and is caught up", recurring.Rule{Cron: "30 2 * * *", CatchUp: 1}, 70 * time.Minute, "LAB-2", "00:30:00 succeeded, 00:30:00 succeeded", 0, "00:30"},
		{"several now lie in the past", recurring.Rule{Cron: "15,30,45 2 * * *", CatchUp: 2}, 70 * time.Minute, "LAB-2",
			"00:30:00 succeeded, 00:45:00 succeeded, 00:15:00 succeeded, 00:30:00 succeeded, 00:45:00 succeeded", 1, "00:15"},
		{"time that passes is as it was", cron("0 */6 * * *"), time.Hour, "LAB-2",
			"04:00:00 succeeded, 10:00:00 succeeded, 16:00:00 succeeded, 22:00:00 succeeded, 04:00:00 succeeded, 10:00:00 succeeded", 0, "04:00"},
		{"an interval", recurring.Rule{Every: 10 * time.Hour}, time.Hour, "LAB-2", "10:00:00 succeeded, 20:00:00 succeeded, 06:00:00 succeeded", 0, "10:00"},
		{"summer time is given up on its night", cron("30 2 * * *"), 50 * time.Minute, "LAB-1", "01:30:00 succeeded, 01:30:00 succeeded", 0, "01:30"},
		{"another zone, by name", recurring.Rule{Cron: "0 6 * * *", Zone: "UTC"}, time.Hour, "LAB-2", "06:00:00 succeeded, 06:00:00 succeeded", 0, "06:00"},
	}
	for _, how := range []string{"running", "reloaded", "down"} {
		for _, tt := range tests {
			t.Run(how+"/"+tt.name, func(t *testing.T) {
				from := "LAB-1"
				if strings.HasPrefix(tt.name, "summer time") {
					from = "LAB-1LST,J1/2,J200" // the clocks go forward at 02:00 on January 1
				}
				change := useRules(t, from)
				synctest.Test(t, func(t *testing.T) {
					rig := newRig(t, nil)
					rule := tt.rule
					rule.Name = "x"
					rig.every(rule)
					rig.sleep(tt.after)
					switch how {
					case "running":
						change(tt.to)
						rig.sleep(minute + time.Second)
					case "reloaded":
						change(tt.to)
						if _, err := rig.loader.Load(context.Background(), announce.LoadOptions{}); err != nil {
							t.Fatal(err)
						}
						rig.sleep(time.Second)
					case "down":
						rig.shutDown()
						change(tt.to)
						rig.start()
						rig.sleep(time.Second)
					}
					v := rig.view("x")
					coming, err := v.Upcoming(v.Next.Add(-1), v.Created, 1)
					if got := v.Next.UTC().Format("15:04"); err != nil || got != tt.nextAfter || len(coming) == 0 || !coming[0].Occurrence.Equal(v.Next) {
						t.Errorf("after the change the next is at %s, %v, want %s; by the rule it is %v", got, err, tt.nextAfter, coming)
					}
					rig.sleep(time.Until(time.Date(2000, 1, 2, 12, 0, 1, 0, time.UTC)))
					if got := rig.occurrencesOf("x"); got != tt.want {
						t.Errorf("occurred: %s\nwant %s", got, tt.want)
					}
					if y := rig.view("x").Tally; y.Skipped != tt.skipped {
						t.Errorf("%d were skipped, want %d", y.Skipped, tt.skipped)
					}
				})
			})
		}
	}
}

// TestZoneRulesBeforeTheMinute: between two checks of the zones no occurrence comes by
// the old rules, and the shown times are those of the new ones.
func TestZoneRulesBeforeTheMinute(t *testing.T) {
	change := useRules(t, "LAB-1")
	synctest.Test(t, func(t *testing.T) {
		rig := newRig(t, nil)
		rig.every(recurring.Rule{Name: "x", Cron: "0 2 * * *"})
		rig.sleep(time.Hour - 20*time.Second)
		change("LAB0")
		if got := rig.view("x").Next.UTC().Format("15:04"); got != "02:00" {
			t.Errorf("the next is shown at %s, want 02:00", got)
		}
		all, err := rig.book.List(context.Background(), "")
		if err != nil || len(all) != 1 || all[0].Next.UTC().Format("15:04") != "02:00" {
			t.Errorf("the next is listed as %v, %v, want 02:00", all, err)
		}
		rig.sleep(20*time.Second + time.Millisecond)
		if got := rig.occurrencesOf("x"); got != "" {
			t.Errorf("occurred: %s, want nothing yet", got)
		}
		rig.sleep(time.Hour + time.Minute)
		if got := rig.occurrencesOf("x"); got != "02:00:00 succeeded" {
			t.Errorf("occurred: %s, want it at 02:00", got)
		}
	})
}

// TestZoneRulesWhileHeld: the occurrences that were skipped while a recurrence was held
// are counted by the rules in force at its release, and do not come afterwards.
func TestZoneRulesWhileHeld(t *testing.T) {
	for _, tt := range []struct {
		name, to string
		skipped  uint64
		want     string // until noon, UTC
	}{
		{"comes later, after the release", "LAB0", 0, "02:00:00 succeeded"},
		{"came earlier, while it was held", "LAB-2", 1, ""},
		{"came while it was held", "LAB-1", 1, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			change := useRules(t, "LAB-1")
			synctest.Test(t, func(t *testing.T) {
				rig := newRig(t, nil)
				r := rig.every(recurring.Rule{Name: "x", Cron: "0 2 * * *"})
				by := Actor{Name: r.Owner, UID: -1}
				if _, err := rig.book.Hold(context.Background(), by, "x"); err != nil {
					t.Fatal(err)
				}
				change(tt.to)
				at := 70 * time.Minute
				if tt.to == "LAB-2" {
					at = 30 * time.Minute
				}
				rig.sleep(at)
				if _, err := rig.book.Release(context.Background(), by, "x"); err != nil {
					t.Fatal(err)
				}
				rig.sleep(12*time.Hour - at)
				rig.tallied("x", uint64(strings.Count(tt.want, "succeeded")), tt.skipped)
				if got := rig.occurrencesOf("x"); got != tt.want {
					t.Errorf("occurred: %q, want %q", got, tt.want)
				}
			})
		})
	}
}
