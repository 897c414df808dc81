package activation

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files again")

// allFacts are the facts in the order of the golden file, with the words for true and
// false.
var allFacts = []struct {
	yes, no string
	set     func(*facts)
}{
	{"slot", "job", func(f *facts) { f.slot = true }},
	{"dirty", "clean", func(f *facts) { f.needsUndo = true }},
	{"ending", "goes on", func(f *facts) { f.pendingEnd = true }},
	{"serve again", "done with", func(f *facts) { f.serveAgain = true }},
	{"armed", "running", func(f *facts) { f.armed = true }},
	{"to be held", "not held", func(f *facts) { f.pause = true }},
	{"unverified", "verified", func(f *facts) { f.hangs = true }},
	{"early", "about to begin", func(f *facts) { f.early = true }},
}

func makeFacts(mask int) (f facts) {
	for i, fact := range allFacts {
		if mask&(1<<i) != 0 {
			fact.set(&f)
		}
	}
	return f
}

// possible reports whether facts can be true together in a state. A job has no slot to be
// served again, and leaves nothing to undo. ServeAgain and Pause are about running
// attempts, or about undoing them.
func possible(s State, f facts) bool {
	switch {
	case !f.slot && (f.needsUndo || f.serveAgain):
		return false
	case f.hangs && (f.armed || s != Activating && s != Deactivating):
		return false
	case f.early && (!f.armed || f.pendingEnd || f.pause):
		return false
	case f.armed && s != Activating, f.pause && s != Activating:
		return false
	case f.pendingEnd && slices.Contains([]State{Scheduled, Held, Waiting, Active, Finished}, s):
		return false
	case f.serveAgain && !f.needsUndo && slices.Contains([]State{Scheduled, Held}, s):
		return false
	case f.serveAgain && s == Activating && !f.pendingEnd, f.pause && f.serveAgain:
		return false
	case !f.slot && slices.Contains([]State{Active, Deactivating, Stuck}, s):
		return false
	case f.needsUndo && s == Finished, !f.needsUndo && slices.Contains([]State{Active, Deactivating, Stuck}, s):
		return false
	}
	return true
}

// happens reports whether a trigger can happen in state s with facts f. A job has no
// source and no slot; an attempt of a reservation left something to undo.
func happens(s State, on Trigger, f facts) bool {
	if !f.slot && slices.Contains([]Trigger{Over, Remove, Reboot}, on) {
		return false
	}
	if s == Activating && f.slot && !f.needsUndo && slices.Contains([]Trigger{OK, Again, Spent}, on) {
		return false
	}
	return true
}

// lines lists the effects of a trigger in state s: a line for each set of facts that
// makes a difference, as few lines as possible.
func lines(s State, on Trigger, fixed []string, masks []int, used int) (best []string) {
	outcome := func(mask int) string {
		if to, ok := next(s, on, makeFacts(mask)); ok {
			return string(to)
		}
		return "-"
	}
	differs := func(m int) bool { return outcome(m) != outcome(masks[0]) }
	if !slices.ContainsFunc(masks, differs) {
		if len(masks) == 0 || outcome(masks[0]) == "-" {
			return nil
		}
		return []string{strings.TrimRight(fmt.Sprintf("%-12s  %-8s -> %-12s  %s", s, on, outcome(masks[0]), strings.Join(fixed, ", ")), " ")}
	}
	for i, fact := range allFacts {
		var yes, no []int
		for _, m := range masks {
			if m&(1<<i) != 0 {
				yes = append(yes, m)
			} else {
				no = append(no, m)
			}
		}
		if used&(1<<i) != 0 || len(yes) == 0 || len(no) == 0 {
			continue
		}
		some := append(lines(s, on, append(slices.Clone(fixed), fact.no), no, used|1<<i),
			lines(s, on, append(slices.Clone(fixed), fact.yes), yes, used|1<<i)...)
		if best == nil || len(some) < len(best) {
			best = some
		}
	}
	return best
}

func masksOf(s State) (masks []int) {
	for m := range 1 << len(allFacts) {
		if possible(s, makeFacts(m)) {
			masks = append(masks, m)
		}
	}
	return masks
}

const legend = `# The transitions of an activation. Where the next state depends on more than state and trigger:
#
#   slot, job                 a reservation, which has a slot; or a job, which has none
#   dirty, clean              an attempt ran that must be undone; or none did
#   ending, goes on           it will end with its attempt: it was cancelled or removed, or its slot is over
#   serve again, done with    its slot will be served (again): it was moved, announced again, or undone after a reboot
#   armed, running            its attempt still waits for its start time
#   to be held, not held      it was held while it was armed
#   unverified, verified      a process of its attempt hangs in the kernel, and all others have ended; or none hangs
#   early, about to begin     its start time is far enough away for the attempt to be taken back
#
# state       trigger     next state    when
`

// TestTransitions compares the whole table with the golden file, which is its
// documentation.
func TestTransitions(t *testing.T) {
	var b strings.Builder
	b.WriteString(legend)
	for _, s := range States {
		b.WriteString("\n")
		for _, on := range Triggers {
			var masks []int
			for _, m := range masksOf(s) {
				if happens(s, on, makeFacts(m)) {
					masks = append(masks, m)
				}
			}
			for _, l := range lines(s, on, nil, masks, 0) {
				b.WriteString(l + "\n")
			}
		}
	}
	golden(t, "transitions.golden", b.String())
}

// TestDiagram draws the states and the transitions between them.
func TestDiagram(t *testing.T) {
	var b strings.Builder
	b.WriteString("stateDiagram-v2\n    [*] --> scheduled\n")
	for _, s := range States {
		for _, to := range States {
			var by []string
			for _, on := range Triggers {
				for _, m := range masksOf(s) {
					f := makeFacts(m)
					if got, ok := next(s, on, f); ok && happens(s, on, f) && got == to && to != s && !slices.Contains(by, string(on)) {
						by = append(by, string(on))
					}
				}
			}
			if len(by) > 0 {
				fmt.Fprintf(&b, "    %s --> %s: %s\n", s, to, strings.Join(by, ", "))
			}
		}
	}
	b.WriteString("    finished --> [*]\n")
	golden(t, "diagram.golden", b.String())
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (-update writes it again):\n%s", file, got)
	}
}

// TestCancelLeadsToTheEnd checks that in every state cancel (where it is valid), forgive
// and the ends of attempts lead to finished or stuck.
func TestCancelLeadsToTheEnd(t *testing.T) {
	for _, s := range States {
		for _, m := range masksOf(s) {
			f := makeFacts(m)
			at := s
			if to, ok := next(at, Cancel, f); ok {
				at = to
				f.pendingEnd, f.serveAgain, f.pause = true, false, false // as Cancel leaves them
			} else if at != Deactivating && at != Stuck && at != Finished {
				t.Errorf("%s %+v: cancel has no meaning", s, f)
			}
			f.serveAgain = false
			for _, end := range []Trigger{Again, Void, Spent, OK} { // however the attempt ends
				to := at
				for range len(States) {
					if to == Finished || to == Stuck {
						break
					}
					on := end
					if to == Deactivating && end != OK { // the tries are used up at some time
						on = Spent
					}
					if on == OK && !f.slot && to != Activating {
						break
					}
					next, ok := next(to, on, f)
					if !ok {
						t.Errorf("%s %+v: in %s %s has no meaning", s, f, to, on)
						break
					}
					to = next
				}
				if to != Finished && to != Stuck {
					t.Errorf("%s %+v: cancel and %s lead to %s", s, f, end, to)
				}
			}
		}
	}
}

// TestEveryStateHasAWayOut checks that finished can be reached from every state with any
// facts, without further requests of an operator.
func TestEveryStateHasAWayOut(t *testing.T) {
	for _, s := range States {
		for _, m := range masksOf(s) {
			seen := map[State]bool{s: true}
			todo := []State{s}
			for len(todo) > 0 {
				at := todo[0]
				todo = todo[1:]
				for _, on := range Triggers {
					for _, m2 := range masksOf(at) {
						if f := makeFacts(m2); f.slot == makeFacts(m).slot {
							if to, ok := next(at, on, f); ok && !seen[to] {
								seen[to] = true
								todo = append(todo, to)
							}
						}
					}
				}
			}
			if !seen[Finished] {
				t.Errorf("from %s with %+v finished cannot be reached", s, makeFacts(m))
			}
		}
	}
}

// TestStatesAreKnown checks that no trigger leads out of the table.
func TestStatesAreKnown(t *testing.T) {
	for _, s := range States {
		for _, on := range Triggers {
			for m := range 1 << len(allFacts) {
				to, ok := next(s, on, makeFacts(m))
				if !slices.Contains(States[:], to) || !ok && to != s {
					t.Errorf("next(%s, %s, %+v) = %s, %t", s, on, makeFacts(m), to, ok)
				}
			}
		}
	}
}
