package file

import (
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"activationd/internal/timetext/timeforms"
	"activationd/reservation"
)

// TestTimes tries every key that is a time or a duration with every form.
func TestTimes(t *testing.T) {
	tried := 0
	for i := range reservation.Fields {
		key := reservation.Fields[i].Name
		set := func(r *reservation.Reservation, text string) (problem string) {
			e := entry{budget: budgetFor(len(text))}
			e.set(&reservation.Fields[i], &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text})
			*r = e.r
			if len(e.faults) > 0 {
				problem = e.faults[0].text
			}
			return problem
		}
		field := func(r *reservation.Reservation) reflect.Value {
			return reflect.ValueOf(r).Elem().FieldByNameFunc(func(n string) bool { return strings.EqualFold(n, key) })
		}
		switch field(new(reservation.Reservation)).Interface().(type) {
		case time.Time:
			tried++
			for _, f := range append(timeforms.Instants(), timeforms.Local()...) { // a time without a zone is refused
				var r reservation.Reservation
				problem := set(&r, f.Text)
				if at, _ := reflect.TypeAssert[time.Time](field(&r)); f.Why == "" && (problem != "" || !at.Equal(f.Want)) {
					t.Errorf("%s: %s: %q is %v, %s, want %v", key, f.Name, f.Text, at, problem, f.Want)
				}
				if f.Why != "" && !strings.Contains(problem, f.Why) {
					t.Errorf("%s: %s: of %q is said %s, want that it %s", key, f.Name, f.Text, problem, f.Why)
				}
			}
		case *time.Duration:
			tried++
			for _, f := range timeforms.Durations() {
				var r reservation.Reservation
				problem := set(&r, f.Text)
				if d, _ := reflect.TypeAssert[*time.Duration](field(&r)); f.Why == "" && (problem != "" || d == nil || *d != f.Want) {
					t.Errorf("%s: %s: %q is %v, %s, want %v", key, f.Name, f.Text, d, problem, f.Want)
				}
				if f.Why != "" && !strings.Contains(problem, f.Why) {
					t.Errorf("%s: %s: of %q is said %s, want that it %s", key, f.Name, f.Text, problem, f.Why)
				}
			}
		}
	}
	if tried != 6 {
		t.Errorf("%d keys were tried, want start, end, lead, tail, timeout and grace", tried)
	}
}

// TestTimesAsTheyStand checks that YAML and JSON do not change the text of times.
func TestTimesAsTheyStand(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, map[string]string{"a.yml": `reservations:
- {id: a@x, start: 2099-12-21 10:00:00+01:00, end: 2099-12-22 9:00:00 Z, timeout: 1d, lead: 01:30:00, tail: PT1H, grace: 90s}
- {id: b@x, start: "Mon, 21 Dec 2099 10:00:00 +0100", end: "@4101613200", timeout: 24h, lead: 1 hour 30 minutes, tail: 1 h, grace: 1m30s}
- {id: c@x, start: 20991221T090000Z, end: 20991222T090000Z, timeout: 90}
`, "b.json": `{"reservations": [{"id": "d@x", "start": "2099-12-21T10:00+01:00[Europe/Prague]", "end": "2099-12-22T09:00:00Z", "timeout": "P1D",
 "lead": "1h30m", "tail": "01:00:00", "grace": "90s"}]}`})
	set := load(t, filepath.Join(dir, "a.yml"))
	set2 := load(t, filepath.Join(dir, "b.json"))
	all := slices.Concat(set.Reservations, set2.Reservations)
	if len(all) != 3 || len(set.Rejects) != 1 || !strings.Contains(set.Rejects[0].Text, `"90" has no unit: write 90s`) {
		t.Fatalf("loaded %+v, rejected %+v %+v", all, set.Rejects, set2.Rejects)
	}
	for _, r := range all {
		if !r.Start.Equal(timeforms.At) || !r.End.Equal(timeforms.At.Add(24*time.Hour)) || *r.Timeout != 24*time.Hour ||
			*r.Lead != 90*time.Minute || *r.Tail != time.Hour || *r.Grace != 90*time.Second {
			t.Errorf("%s is %v to %v, %v %v %v %v", r.ID, r.Start, r.End, r.Timeout, r.Lead, r.Tail, r.Grace)
		}
	}
}
