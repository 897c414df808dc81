package panel

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"activationd/control"
)

// TestLockTree checks that each activation is in the tree once, below one that it waits for if that
// is possible, whoever waits for whom.
func TestLockTree(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 300 {
		n := 1 + r.IntN(12)
		var all []control.Lock
		for i := range n {
			l := control.Lock{ID: fmt.Sprint(i), Lock: "l", Want: "l", What: "holds"}
			for range r.IntN(3) {
				l.What, l.For = "waits", append(l.For, fmt.Sprint(r.IntN(n+2)))
			}
			all = append(all, l)
		}
		roots := lockTree(lockGraph(all))
		var seen []string
		var walk func(n *lockNode)
		walk = func(n *lockNode) {
			seen = append(seen, n.ID)
			for _, w := range n.Waiting {
				if !slices.Contains(w.before, n.ID) {
					t.Errorf("%s is below %s, for which it does not wait: %+v", w.ID, n.ID, all)
				}
				walk(w)
			}
		}
		for _, root := range roots {
			walk(root)
		}
		slices.Sort(seen)
		if len(seen) != n || len(slices.Compact(seen)) != n {
			t.Errorf("%d activations, and %v in the tree: %+v", n, seen, all)
		}
		for _, root := range roots {
			if len(root.before) == 1 && root.before[0] != root.ID && slices.Contains(seen, root.before[0]) && !cyclic(all, root.ID) {
				t.Errorf("%s waits for %s, and is not below it: %+v", root.ID, root.before[0], all)
			}
		}
	}
}

// cyclic reports whether an activation waits for itself, perhaps by way of others.
func cyclic(all []control.Lock, id string) bool {
	seen, todo := map[string]bool{}, []string{id}
	for len(todo) > 0 {
		at := todo[0]
		todo = todo[1:]
		for i := range all {
			if all[i].ID != at {
				continue
			}
			for _, next := range all[i].For {
				if next == id {
					return true
				}
				if !seen[next] {
					seen[next], todo = true, append(todo, next)
				}
			}
		}
	}
	return false
}

// TestGrid draws a pool: each id of it once, in its state.
func TestGrid(t *testing.T) {
	g := grid(control.VLANPool{Domain: "d", Ranges: "98-101,4000,x-y", Exclude: "100"}, []control.VLANLease{
		{Domain: "d", ID: 99, State: "leased"}, {Domain: "d", ID: 4000, State: "quarantined"}, {Domain: "other", ID: 98, State: "leased"},
	})
	if free, held, closed := strings.Count(g.FreeSquares, "z"), strings.Count(g.Held, "z"), strings.Count(g.Closed, "z"); free != 2 || held != 1 || closed != 1 {
		t.Errorf("%d free, %d leased, %d quarantined", free, held, closed)
	}
	if want := "M730 0h11v11h-11z"; g.Held != want {
		t.Errorf("99 is drawn as %s, want %s", g.Held, want)
	}
	if len(g.Labels) != 3 || g.Labels[1].ID != 100 || g.Labels[2].ID != 4000 || g.Height != 3*gridStep {
		t.Errorf("the lines are %+v, and the height is %d", g.Labels, g.Height)
	}
	if g = grid(control.VLANPool{Ranges: "1-4094,5000-9000"}, nil); !g.Cut || strings.Count(g.FreeSquares, "z") != gridIDs {
		t.Errorf("of a large pool %d ids are drawn", strings.Count(g.FreeSquares, "z"))
	}
}

// TestPlain removes what only terminals understand.
func TestPlain(t *testing.T) {
	for text, want := range map[string]string{
		"\x1b[31mred\x1b[0m": "red", "a\x1b]0;title\x07b": "ab", "tab\tline\nend": "tab\tline\nend", "bell\x07\x00": "bell", "\x1b[?25lx\x1b(": "x", "ß€": "ß€",
	} {
		if got := plain(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}
