package activation

import (
	"testing"

	"pgregory.net/rapid"
)

func TestParseLock(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want lockRequest
	}{
		{"sw1", lockRequest{name: "sw1"}},
		{"a:b", lockRequest{name: "a:b"}},
		{"topology:shared", lockRequest{name: "topology", shared: true}},
		{"net=1/4", lockRequest{name: "net", units: 1, of: 4}},
	} {
		got, err := parseLock(tt.in)
		if err != nil || got != tt.want || got.String() != tt.in {
			t.Errorf("%q: %+v, %v, %q", tt.in, got, err, got)
		}
	}
	for _, in := range []string{"", "=1/2", "a b", "a/b", "net=", "net=1", "net=0/4", "net=5/4", "net=-1/4", "net=1/9999999", ":shared", "net=1/4:shared", "=slot",
		"x:shared:shared", "x:shared=1/2", "net=01/4", "net=+1/4"} {
		if got, err := parseLock(in); err == nil {
			t.Errorf("%q: %+v", in, got)
		}
	}
}

// TestCompatible checks that the order in which requests are granted does not matter, and
// which of them exclude each other.
func TestCompatible(t *testing.T) {
	some := rapid.Custom(func(t *rapid.T) lockRequest {
		w := lockRequest{name: "a"}
		switch rapid.IntRange(0, 3).Draw(t, "how") {
		case 0:
			w.shared = true
		case 1, 2:
			w.of = rapid.IntRange(1, 4).Draw(t, "of")
			w.units = rapid.IntRange(1, w.of).Draw(t, "units")
		}
		return w
	})
	rapid.Check(t, func(rt *rapid.T) {
		var held []lockRequest
		for range 6 {
			if w := some.Draw(rt, "want"); w.compatible(held) {
				held = append(held, w)
			}
		}
		units, exclusive, shared := 0, 0, 0
		for i, w := range held {
			if w.shared {
				shared++
			}
			if w.exclusive() {
				exclusive++
			}
			units += w.units
			others := append(append([]lockRequest{}, held[:i]...), held[i+1:]...)
			if !w.compatible(others) {
				rt.Fatalf("%v is held with %v, but does not fit", w, others)
			}
		}
		for _, w := range held {
			if w.of > 0 && units > w.of {
				rt.Fatalf("%d units of %d: %v", units, w.of, held)
			}
		}
		if exclusive > 0 && len(held) > 1 || shared > 0 && shared < len(held) || len(held) == 0 {
			rt.Fatalf("together: %v", held)
		}
	})
}

// TestPlace checks that places sort by priority, and then by arrival.
func TestPlace(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		one := func(name string) *Record {
			var r Record
			r.Priority = rapid.IntRange(-MaxPriority, MaxPriority).Draw(rt, name+"'s priority")
			r.Queued = rapid.Uint64Range(0, 1<<59).Draw(rt, name+"'s line")
			return &r
		}
		a, b := one("a"), one("b")
		first := a.Priority > b.Priority || a.Priority == b.Priority && a.Queued > 0 && (b.Queued == 0 || a.Queued < b.Queued)
		if first != (a.queuePosition() < b.queuePosition()) {
			rt.Fatalf("%q, %q", a.queuePosition(), b.queuePosition())
		}
	})
}
