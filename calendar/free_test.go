package calendar

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// minute returns an instant on the tests' day.
func minute(n int) time.Time { return time.Date(2026, 12, 1, 0, n, 0, 0, time.UTC) }

// slotText writes slots in minutes: "10-20 r1 r2; 30-90 r1".
func slotText(slots []Slot) string {
	var all []string
	for _, s := range slots {
		all = append(all, fmt.Sprintf("%g-%g %s", s.From.Sub(minute(0)).Minutes(), s.To.Sub(minute(0)).Minutes(), strings.Join(s.Devices, " ")))
	}
	return strings.Join(all, "; ")
}

func TestFree(t *testing.T) {
	span := func(from, to int) Span { return Span{From: minute(from), To: minute(to)} }
	forever := func(from int) Span { return Span{From: minute(from)} }
	tests := []struct {
		name  string
		busy  map[string][]Span
		needs []Need
		d, n  int
		want  string
	}{
		{"nobody has it", nil, []Need{{Devices: []string{"r1"}}}, 10, 0, "0-100 r1"},
		{"between two", map[string][]Span{"r1": {span(50, 100), span(0, 20)}}, []Need{{Devices: []string{"r1"}}}, 10, 0, "20-50 r1"},
		{"exactly as long", map[string][]Span{"r1": {span(10, 20), span(30, 100)}}, []Need{{Devices: []string{"r1"}}}, 10, 0, "0-10 r1; 20-30 r1"},
		{"too short", map[string][]Span{"r1": {span(9, 91)}}, []Need{{Devices: []string{"r1"}}}, 10, 0, ""},
		{"back to back leaves nothing between", map[string][]Span{"r1": {span(0, 20), span(20, 60)}}, []Need{{Devices: []string{"r1"}}}, 1, 0, "60-100 r1"},
		{"those that overlap", map[string][]Span{"r1": {span(0, 60), span(10, 20)}}, []Need{{Devices: []string{"r1"}}}, 1, 0, "60-100 r1"},
		{"an empty span", map[string][]Span{"r1": {span(50, 50)}}, []Need{{Devices: []string{"r1"}}}, 1, 0, "0-100 r1"},
		{"both", map[string][]Span{"r1": {span(0, 40)}, "r2": {span(60, 100)}}, []Need{{Devices: []string{"r1", "r2"}}}, 20, 0, "40-60 r1 r2"},
		{"for good", map[string][]Span{"r1": {forever(30), span(40, 50)}}, []Need{{Devices: []string{"r1"}}}, 10, 0, "0-30 r1"},
		{"the first ones", map[string][]Span{"r1": {span(10, 20), span(30, 40)}}, []Need{{Devices: []string{"r1"}}}, 10, 2, "0-10 r1; 20-30 r1"},
		{"one of two", map[string][]Span{"r1": {span(30, 100)}, "r2": {span(0, 20)}}, []Need{{Devices: []string{"r1", "r2"}, N: 1}}, 10, 0, "0-30 r1; 20-100 r2"},
		{"a device and one of others", map[string][]Span{"r1": {span(0, 10)}, "r2": {span(0, 50)}},
			[]Need{{Devices: []string{"r1"}}, {Devices: []string{"r2", "r3"}, N: 1}}, 20, 0, "10-100 r1 r3"},
		{"more than there are", nil, []Need{{Devices: []string{"r1"}, N: 2}}, 10, 0, ""},
		{"longer than the time", nil, []Need{{Devices: []string{"r1"}}}, 101, 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := slotText(Free(tt.busy, tt.needs, time.Duration(tt.d)*time.Minute, minute(0), minute(100), tt.n))
			if got != tt.want {
				t.Errorf("Free = %q, want %q", got, tt.want)
			}
		})
	}
}

// TestFreeModel compares with a model that looks at each minute and at each choice of devices.
func TestFreeModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	const most = 60 // minutes
	for range 3000 {
		names := []string{"a", "b", "c", "d", "e"}[:1+r.IntN(5)]
		busy := make(map[string][]Span)
		taken := make(map[string][most + 1]bool) // the last minute is never free
		for _, name := range names {
			minutes := taken[name]
			minutes[most] = true
			for range r.IntN(5) {
				from := r.IntN(most+20) - 10
				to := from + r.IntN(20)
				s := Span{From: minute(from), To: minute(to)}
				if r.IntN(20) == 0 {
					to, s.To = most, time.Time{}
				}
				busy[name] = append(busy[name], s)
				for m := max(0, from); m < min(to, most); m++ {
					minutes[m] = true
				}
			}
			taken[name] = minutes
		}
		cut := r.IntN(len(names) + 1)
		var needs []Need
		for _, devices := range [][]string{names[:cut], names[cut:]} {
			if len(devices) > 0 {
				needs = append(needs, Need{Devices: devices, N: r.IntN(len(devices) + 1)})
			}
		}
		d := 1 + r.IntN(12)

		// until is how long a set of devices is free together.
		until := func(devices []string, at int) int {
			m := at
			for !slices.ContainsFunc(devices, func(name string) bool { return taken[name][m] }) {
				m++
			}
			return m
		}
		// best is how long needs can be met.
		var best func(needs []Need, at int) int
		best = func(needs []Need, at int) int {
			if len(needs) == 0 {
				return most
			}
			found := at
			all := needs[0].Devices
			for set := range 1 << len(all) {
				var some []string
				for i, name := range all {
					if set&(1<<i) != 0 {
						some = append(some, name)
					}
				}
				if len(some) == cmp.Or(needs[0].N, len(all)) {
					found = max(found, min(until(some, at), best(needs[1:], at)))
				}
			}
			return found
		}
		var want []Slot
		last := -1
		for at := range most {
			if end := best(needs, at); end-at >= d && end > last {
				want, last = append(want, Slot{From: minute(at), To: minute(end)}), end
			}
		}
		got := Free(busy, needs, time.Duration(d)*time.Minute, minute(0), minute(most), 0)
		same := len(got) == len(want)
		for i := range min(len(got), len(want)) {
			at := int(got[i].From.Sub(minute(0)).Minutes())
			same = same && got[i].From.Equal(want[i].From) && got[i].To.Equal(want[i].To) &&
				until(got[i].Devices, at) == int(got[i].To.Sub(minute(0)).Minutes())
			rest := got[i].Devices
			for _, need := range needs {
				n := cmp.Or(need.N, len(need.Devices))
				same = same && len(rest) >= n && !slices.ContainsFunc(rest[:min(n, len(rest))], func(d string) bool { return !slices.Contains(need.Devices, d) })
				rest = rest[min(n, len(rest)):]
			}
			same = same && len(rest) == 0
		}
		if !same {
			t.Fatalf("seed %d: busy %v, needs %v, at least %d minutes: Free = %s, the model has %s", seed, busy, needs, d, slotText(got), slotText(want))
		}
	}
}
