package activation

import (
	"slices"
	"testing"
)

// instanceFacts are the facts that an instance in state s can have.
func instanceFacts(s State) (all []facts) {
	for m := range 1 << 4 {
		f := facts{pendingEnd: m&1 != 0, pause: m&2 != 0, hangs: m&4 != 0, serveAgain: m&8 != 0}
		open := s == Activating || s == Active
		if !open && (f.pendingEnd || f.pause || f.hangs) || f.serveAgain && s != Finished {
			continue
		}
		all = append(all, f)
	}
	return all
}

// TestInstanceTable walks the table of instances: no trigger leads out of its states, whoever
// stops or removes an instance gets there however its run ends, and every state can be left.
func TestInstanceTable(t *testing.T) {
	states := []State{Scheduled, Held, Waiting, Activating, Active, Stuck, Finished}
	ends := []Trigger{Again, Void, Spent, OK}
	for _, s := range states {
		for _, f := range instanceFacts(s) {
			left := false
			for _, on := range Triggers {
				to, ok := nextInstance(s, on, f)
				if ok && !slices.Contains(states, to) {
					t.Errorf("%s, %s %+v: leads to %s, %t", s, on, f, to, ok)
				}
				left = left || ok && to != s
			}
			if !left && (s != Finished || f.serveAgain) {
				t.Errorf("%s %+v cannot be left", s, f)
			}
			for on, want := range map[Trigger]State{Hold: Held, Remove: Finished} {
				to, ok := nextInstance(s, on, f)
				if !ok && s != want && s != Finished && !f.pendingEnd {
					t.Errorf("%s %+v: %s has no meaning", s, f, on)
				}
				if !ok || to == want {
					continue
				}
				after := f // as the trigger leaves them
				after.pause, after.pendingEnd = on == Hold || f.pause, on == Remove || f.pendingEnd
				for _, end := range ends {
					if got, _ := nextInstance(to, end, after); got != want && !f.pendingEnd {
						t.Errorf("%s %+v: %s and %s lead to %s, want %s", s, f, on, end, got, want)
					}
				}
			}
		}
	}
}
