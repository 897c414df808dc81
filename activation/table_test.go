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

var update = flag.Bool("update", false, "write the golden files anew")

// allFacts are the facts in the order in which the golden file names them, and
// what each is called when it is true, or false.
var allFacts = []struct {
	yes, no string
	set     func(*facts)
}{
	{"slot", "job", func(f *facts) { f.slot = true }},
	{"dirty", "clean", func(f *facts) { f.dirty = true }},
	{"ending", "goes on", func(f *facts) { f.ended = true }},
	{"serve again", "done with", func(f *facts) { f.fresh = true }},
	{"armed", "running", func(f *facts) { f.armed = true }},
	{"to be held", "not held", func(f *facts) { f.pause = true }},
	{"unverified", "verified", func(f *facts) { f.hangs = true }},
}

func makeFacts(mask int) (f facts) {
	for i, fact := range allFacts {
		if mask&(1<<i) != 0 {
			fact.set(&f)
		}
	}
	return f
}

// possible reports whether facts can be true together in a state: a job has no
// slot to be served again and leaves nothing to undo; Renew and Pause are about
// attempts that run, or their undoing.
func possible(s State, f facts) bool {
	switch {
	case !f.slot && (f.dirty || f.fresh):
		return false
	case f.hangs && (f.armed || s != Activating && s != Deactivating):
		return false
	case f.armed && s != Activating, f.pause && s != Activating:
		return false
	case f.ended && slices.Contains([]State{Scheduled, Held, Waiting, Active, Finished}, s):
		return false
	case f.fresh && !f.dirty && slices.Contains([]State{Scheduled, Held}, s):
		return false
	case f.fresh && s == Activating && !f.ended, f.pause && f.fresh:
		return false
	case !f.slot && slices.Contains([]State{Active, Deactivating, Stuck}, s):
		return false
	case f.dirty && s == Finished, !f.dirty && slices.Contains([]State{Active, Deactivating, Stuck}, s):
		return false
	}
	return true
}

// happens reports whether e can happen to what is in s with f: a job has no
// source, and no slot; what ran for a slot left something to be undone.
func happens(s State, e Event, f facts) bool {
	if !f.slot && slices.Contains([]Event{Over, Remove, Reboot}, e) {
		return false
	}
	if s == Activating && f.slot && !f.dirty && slices.Contains([]Event{OK, Again, Spent}, e) {
		return false
	}
	return true
}

// lines writes what e does in s: a line for each set of facts that makes a
// difference, and as few lines as there can be.
func lines(s State, e Event, fixed []string, masks []int, used int) (best []string) {
	outcome := func(mask int) string {
		if to, ok := next(s, e, makeFacts(mask)); ok {
			return string(to)
		}
		return "-"
	}
	differs := func(m int) bool { return outcome(m) != outcome(masks[0]) }
	if !slices.ContainsFunc(masks, differs) {
		if len(masks) == 0 || outcome(masks[0]) == "-" {
			return nil
		}
		return []string{strings.TrimRight(fmt.Sprintf("%-12s  %-8s -> %-12s  %s", s, e, outcome(masks[0]), strings.Join(fixed, ", ")), " ")}
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
		some := append(lines(s, e, append(slices.Clone(fixed), fact.no), no, used|1<<i),
			lines(s, e, append(slices.Clone(fixed), fact.yes), yes, used|1<<i)...)
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

const legend = `# What an event does to an activation. Where it depends on more than the state:
#
#   slot, job                 a reservation, with a slot's end; or a job, which has none
#   dirty, clean              an attempt ran that is to be undone; or none did
#   ending, goes on           it is to end as soon as its attempt has: cancelled, removed, its slot is over
#   serve again, done with    its slot is to be served (again): moved, announced again, undone after a reboot
#   armed, running            its attempt still waits for its instant
#   to be held, not held      it was held while it was armed
#   unverified, verified      its attempt has ended but for a process that hangs in the kernel; or there is none
#
# state       event       next state    when
`

// TestTransitions compares the whole table with the file that readers are shown.
func TestTransitions(t *testing.T) {
	var b strings.Builder
	b.WriteString(legend)
	for _, s := range States {
		b.WriteString("\n")
		for _, e := range Events {
			var masks []int
			for _, m := range masksOf(s) {
				if happens(s, e, makeFacts(m)) {
					masks = append(masks, m)
				}
			}
			for _, l := range lines(s, e, nil, masks, 0) {
				b.WriteString(l + "\n")
			}
		}
	}
	golden(t, "transitions.golden", b.String())
}

// TestDiagram draws the states and what leads from one to another.
func TestDiagram(t *testing.T) {
	var b strings.Builder
	b.WriteString("stateDiagram-v2\n    [*] --> scheduled\n")
	for _, s := range States {
		for _, to := range States {
			var by []string
			for _, e := range Events {
				for _, m := range masksOf(s) {
					f := makeFacts(m)
					if got, ok := next(s, e, f); ok && happens(s, e, f) && got == to && to != s && !slices.Contains(by, string(e)) {
						by = append(by, string(e))
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
		t.Errorf("%s differs (-update writes it anew):\n%s", file, got)
	}
}

// TestCancelLeadsToTheEnd proves that whatever the state, cancel (where it has a
// meaning), forgive, and the ends of attempts lead to finished or stuck.
func TestCancelLeadsToTheEnd(t *testing.T) {
	for _, s := range States {
		for _, m := range masksOf(s) {
			f := makeFacts(m)
			at := s
			if to, ok := next(at, Cancel, f); ok {
				at = to
				f.ended, f.fresh, f.pause = true, false, false // as Cancel leaves them
			} else if at != Deactivating && at != Stuck && at != Finished {
				t.Errorf("%s %+v: cancel has no meaning", s, f)
			}
			f.fresh = false
			for _, end := range []Event{Again, Void, Spent, OK} { // however the attempt ends
				to := at
				for range len(States) {
					if to == Finished || to == Stuck {
						break
					}
					ev := end
					if to == Deactivating && end != OK { // tries are spent one day
						ev = Spent
					}
					if ev == OK && !f.slot && to != Activating {
						break
					}
					next, ok := next(to, ev, f)
					if !ok {
						t.Errorf("%s %+v: in %s %s has no meaning", s, f, to, ev)
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

// TestEveryStateHasAWayOut proves that finished can be reached from every state
// with any facts, by events that are not another admin's whim.
func TestEveryStateHasAWayOut(t *testing.T) {
	for _, s := range States {
		for _, m := range masksOf(s) {
			seen := map[State]bool{s: true}
			todo := []State{s}
			for len(todo) > 0 {
				at := todo[0]
				todo = todo[1:]
				for _, e := range Events {
					for _, m2 := range masksOf(at) {
						if f := makeFacts(m2); f.slot == makeFacts(m).slot {
							if to, ok := next(at, e, f); ok && !seen[to] {
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

// TestStatesAreKnown proves that no event leads out of the table.
func TestStatesAreKnown(t *testing.T) {
	for _, s := range States {
		for _, e := range Events {
			for m := range 1 << len(allFacts) {
				to, ok := next(s, e, makeFacts(m))
				if !slices.Contains(States[:], to) || !ok && to != s {
					t.Errorf("next(%s, %s, %+v) = %s, %t", s, e, makeFacts(m), to, ok)
				}
			}
			for _, slot := range []bool{false, true} {
				if text := refusal(s, e, slot); text == "" || strings.Contains(text, "slot") && !slot {
					t.Errorf("refusal(%s, %s, %t) is %q", s, e, slot, text)
				}
			}
		}
	}
}
