package calendar_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	. "activationd/calendar"
)

var day = time.Date(2026, 12, 1, 0, 0, 0, 0, time.Local)

// at returns a time of the day, in hours.
func at(h float64) time.Time { return day.Add(time.Duration(h * float64(time.Hour))) }

// use reads "ID FROM-TO DEVICES", with hours.
func use(n int, text string) Use {
	var u Use
	var from, to float64
	var devices string
	if _, err := fmt.Sscanf(text, "%s %g-%g %s", &u.ID, &from, &to, &devices); err != nil {
		panic(text)
	}
	u.From, u.To, u.Devices, u.Announced = at(from), at(to), strings.Split(devices, ","), uint64(n)
	return u
}

func uses(texts ...string) (us []Use) {
	for i, s := range texts {
		us = append(us, use(i, s))
	}
	return us
}

func TestJudgeDevices(t *testing.T) {
	for name, c := range map[string]struct {
		uses []Use
		want string // "LOSER:DEVICE>WINNERS"
	}{
		"apart":                 {uses("a 10-12 r1", "b 10-12 r2"), ""},
		"one after the other":   {uses("a 10-12 r1", "b 12-13 r1"), ""},
		"the first one keeps":   {uses("a 10-12 r1", "b 11-13 r1"), "b:r1>a"},
		"also if it is later":   {uses("a 11-13 r1", "b 10-12 r1"), "b:r1>a"},
		"inside":                {uses("a 10-14 r1", "b 11-12 r1"), "b:r1>a"},
		"around":                {uses("a 11-12 r1", "b 10-14 r1"), "b:r1>a"},
		"a loser keeps nothing": {uses("a 10-12 r1", "b 11-13 r1,r2", "c 12-14 r2"), "b:r1>a"},
		"two devices":           {uses("a 10-12 r1", "b 10-12 r2", "c 11-13 r1,r2"), "c:r1>a c:r2>b"},
		"two winners":           {uses("b 12-13 r1", "a 10-11 r1", "c 9-14 r1"), "c:r1>a c:r1>b"},
		"over already":          {uses("a 2-4 r1", "b 3-4 r1"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			found := Judge(c.uses, Limits{Now: at(5)})
			for id, cs := range found {
				for _, c := range cs {
					got = append(got, fmt.Sprintf("%s:%s>%s", id, c.Name, strings.Join(c.With, "+")))
				}
			}
			slices.Sort(got)
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("conflicts %q, want %q", s, c.want)
			}
		})
	}
}

func TestJudgeRank(t *testing.T) {
	us := uses("a 10-12 r1", "b 10-12 r1", "c 10-12 r1")
	us[2].Priority = 1
	if got := Judge(us, Limits{}); len(got) != 2 || got["c"] != nil {
		t.Errorf("with a higher priority c keeps the device, but %v", got)
	}
	us[2].Idle = true
	if got := Judge(us, Limits{}); len(got) != 2 || got["a"] != nil {
		t.Errorf("c is held, so a keeps the device, but %v", got)
	}
	us[1].Holds = true
	if got := Judge(us, Limits{}); len(got) != 2 || got["b"] != nil {
		t.Errorf("b has the device, but %v", got)
	}
	us[1].Leaves = true
	if got := Judge(us, Limits{}); len(got) != 1 || got["c"] == nil {
		t.Errorf("b leaves, so a keeps the device, but %v", got)
	}
}

// TestJudgeShut checks that a use which cannot begin, because one of its devices is paused until it
// is over, keeps its other devices from nobody.
func TestJudgeShut(t *testing.T) {
	for _, tt := range []struct {
		until time.Time
		holds bool
		want  string // who loses r1
	}{
		{time.Time{}, false, "a"},
		{at(12), false, "a"},
		{at(11), false, "b"}, // then it begins late
		{time.Time{}, true, "b"},
	} {
		us := uses("a 10-12 r1,r2", "b 10-12 r1")
		us[0].Holds = tt.holds
		got := Judge(us, Limits{Paused: map[string]Pause{"r2": {Until: tt.until}}})
		lost := ""
		for id, cs := range got {
			if slices.ContainsFunc(cs, func(c Conflict) bool { return c.Kind == Device }) {
				lost += id
			}
		}
		if lost != tt.want || us[0].Idle {
			t.Errorf("r2 is paused until %v, holds %t: %q loses, want %q", tt.until, tt.holds, lost, tt.want)
		}
	}
}

func TestJudgeLimits(t *testing.T) {
	us := uses("a 10-12 r1", "b 10-13 r2", "c 10-11 r3", "d 11-12 r4")
	for i := range us {
		us[i].VLANs = map[string]int{"lab": 2}
	}
	for name, c := range map[string]struct {
		limits Limits
		want   string
	}{
		"runs":            {Limits{Runs: 2, VLANs: map[string]int{"lab": 8}}, "c: 3 activations begin at 2026-12-01 10:00:00, and only 2 may run at once"},
		"enough":          {Limits{Runs: 3, VLANs: map[string]int{"lab": 6}}, ""},
		"pool":            {Limits{VLANs: map[string]int{"lab": 5}}, "c: 6 VLANs of lab are needed at 2026-12-01 10:00:00, and it has 5; d: 6 VLANs of lab are needed at 2026-12-01 11:00:00, and it has 5"},
		"no pool":         {Limits{VLANs: map[string]int{"lab": 0}}, "a: it needs 2 VLANs of lab, which has none; b: it needs 2 VLANs of lab, which has none; c: it needs 2 VLANs of lab, which has none; d: it needs 2 VLANs of lab, which has none"},
		"paused until":    {Limits{VLANs: map[string]int{"lab": 8}, Paused: map[string]Pause{"r4": {Until: at(11.5), Reason: "broken"}, "r3": {Until: at(10)}}}, "d: r4 is paused until 2026-12-01 11:30:00: broken"},
		"paused for good": {Limits{VLANs: map[string]int{"lab": 8}, Paused: map[string]Pause{"r1": {}}}, "a: r1 is paused"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for id, cs := range Judge(us, c.limits) {
				for _, c := range cs {
					got = append(got, id+": "+c.String())
				}
			}
			slices.Sort(got)
			if s := strings.Join(got, "; "); s != c.want {
				t.Errorf("conflicts %q,\nwant %q", s, c.want)
			}
		})
	}
}

// TestJudgeModel compares with a model that looks at all pairs.
func TestJudgeModel(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for round := range 300 {
		var us []Use
		for i := range r.IntN(40) {
			from := r.IntN(24)
			u := Use{
				ID: fmt.Sprint(i), From: at(float64(from)), To: at(float64(from + 1 + r.IntN(6))), Priority: r.IntN(2), Announced: uint64(r.IntN(10)),
				VLANs: map[string]int{"x": r.IntN(4)},
			}
			for d := range 3 {
				if r.IntN(3) == 0 {
					u.Devices = append(u.Devices, fmt.Sprintf("r%d", d))
				}
			}
			us = append(us, u)
		}
		limits := Limits{VLANs: map[string]int{"x": 3 + r.IntN(6)}}
		order := slices.Clone(us)
		slices.SortStableFunc(order, func(a, b Use) int {
			switch {
			case a.Priority != b.Priority:
				return b.Priority - a.Priority
			case a.Announced != b.Announced:
				return int(a.Announced) - int(b.Announced)
			}
			return strings.Compare(a.ID, b.ID)
		})
		want := make(map[string][]Kind)
		var have, wired []Use
		for _, u := range order {
			lost := false
			for _, d := range u.Devices {
				n := 0
				for _, o := range have {
					if slices.Contains(o.Devices, d) && o.From.Before(u.To) && u.From.Before(o.To) && n < MaxWith {
						n++
						want[u.ID] = append(want[u.ID], Device)
						lost = true
					}
				}
			}
			if lost {
				continue
			}
			have = append(have, u)
			if u.VLANs["x"] == 0 {
				continue
			}
			for h := u.From; h.Before(u.To); h = h.Add(time.Hour) {
				n := u.VLANs["x"]
				for _, o := range wired {
					if !o.From.After(h) && o.To.After(h) {
						n += o.VLANs["x"]
					}
				}
				if n > limits.VLANs["x"] {
					want[u.ID] = append(want[u.ID], VLANs)
					lost = true
					break
				}
			}
			if !lost {
				wired = append(wired, u)
			}
		}
		got := make(map[string][]Kind)
		for id, cs := range Judge(us, limits) {
			for _, c := range cs {
				got[id] = append(got[id], c.Kind)
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d, round %d: conflicts %v, want %v, of %+v", seed, round, got, want, us)
		}
	}
}

// BenchmarkJudge judges the reservations of a large laboratory.
func BenchmarkJudge(b *testing.B) {
	var us []Use
	for i := range 100_000 {
		from := at(float64(i) / 60)
		us = append(us, Use{
			ID: fmt.Sprintf("%d@bench", i), From: from, To: from.Add(2 * time.Hour), Announced: uint64(i),
			Devices: []string{fmt.Sprintf("r%d", i%500), fmt.Sprintf("r%d", (i*7+1)%500)},
		})
	}
	for b.Loop() {
		Judge(us, Limits{Runs: 100})
	}
}
