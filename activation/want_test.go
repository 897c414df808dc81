package activation

import (
	"testing"

	"pgregory.net/rapid"
)

func TestParseWant(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want want
	}{
		{"sw1", want{name: "sw1"}},
		{"a:b", want{name: "a:b"}},
		{"topology:shared", want{name: "topology", shared: true}},
		{"net=1/4", want{name: "net", units: 1, of: 4}},
	} {
		got, err := parseWant(tt.in)
		if err != nil || got != tt.want || got.String() != tt.in {
			t.Errorf("%q: %+v, %v, %q", tt.in, got, err, got)
		}
	}
	for _, in := range []string{"", "=1/2", "a b", "a/b", "net=", "net=1", "net=0/4", "net=5/4", "net=-1/4", "net=1/9999999", ":shared", "net=1/4:shared", "=slot",
		"x:shared:shared", "x:shared=1/2", "net=01/4", "net=+1/4"} {
		if got, err := parseWant(in); err == nil {
			t.Errorf("%q: %+v", in, got)
		}
	}
}

// TestFits checks that it does not matter in which order wants are taken, and
// what they must not do together.
func TestFits(t *testing.T) {
	some := rapid.Custom(func(t *rapid.T) want {
		w := want{name: "a"}
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
		var held []want
		for range 6 {
			if w := some.Draw(rt, "want"); w.fits(held) {
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
			others := append(append([]want{}, held[:i]...), held[i+1:]...)
			if !w.fits(others) {
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
			return &Record{
				Priority: rapid.IntRange(-MaxPriority, MaxPriority).Draw(rt, name+"'s priority"),
				Line:     rapid.Uint64Range(0, 1<<59).Draw(rt, name+"'s line"),
			}
		}
		a, b := one("a"), one("b")
		first := a.Priority > b.Priority || a.Priority == b.Priority && a.Line > 0 && (b.Line == 0 || a.Line < b.Line)
		if first != (a.position() < b.position()) {
			rt.Fatalf("%q, %q", a.position(), b.position())
		}
	})
}
