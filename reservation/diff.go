package reservation

import (
	"fmt"
	"slices"

	"activationd/internal/fault"
)

// A Diff has the changes of a load.
type Diff struct {
	Added        []int    // where they are in the set, rising
	Changed      []int    // the same
	Removed      []string // ids, sorted
	StillInForce []string // ids, sorted: known, and rejected in this set, so that the old version stays in force
	Unchanged    int
}

// Empty reports whether there are no changes.
func (d Diff) Empty() bool { return len(d.Added)+len(d.Changed)+len(d.Removed) == 0 }

// Compare compares set, whose [Hashes] are given, with the known reservations, which are given
// by id and hash. If a known id is in the set only as a reject, it is not removed, but in
// StillInForce.
func Compare(known map[string][16]byte, set Set, hashes [][16]byte) Diff {
	var d Diff
	if n := len(set.Reservations) - len(known); n > 0 {
		d.Added = make([]int, 0, n) // at least so many are new
	}
	for i := range set.Reservations {
		switch hash, ok := known[set.Reservations[i].ID]; {
		case !ok:
			d.Added = append(d.Added, i)
		case hash != hashes[i]:
			d.Changed = append(d.Changed, i)
		default:
			d.Unchanged++
		}
	}
	if len(d.Changed)+d.Unchanged == len(known) { // none is missing
		return d
	}
	present := make(map[string]struct{}, len(set.Reservations))
	for i := range set.Reservations {
		present[set.Reservations[i].ID] = struct{}{}
	}
	rejected := make(map[string]struct{}, len(set.Rejects))
	for _, r := range set.Rejects {
		rejected[r.ID] = struct{}{}
	}
	for id := range known {
		if _, ok := present[id]; ok {
			continue
		}
		if _, ok := rejected[id]; ok {
			d.StillInForce = append(d.StillInForce, id)
		} else {
			d.Removed = append(d.Removed, id)
		}
	}
	slices.Sort(d.Removed)
	slices.Sort(d.StillInForce)
	return d
}

// Guard refuses a load that would remove too many reservations: two or more, and more than a
// share (0 to 1) of the live ones. The error is of kind fault.Conflict and says how to
// override it. A single reservation may always be removed, because otherwise the last one
// could not be cancelled.
func Guard(live, removed int, share float64) error {
	const rounding = 1e-9 // 0.29 of 100 is 28.999999999999996 in floating point
	if removed < 2 || float64(removed) <= share*float64(live)+rounding {
		return nil
	}
	return fmt.Errorf("the load would remove %d of %d live reservations, and more than %.4g %% at once needs the argument force; "+
		"nothing was changed; if they are really gone, reload with force: %w",
		removed, live, share*100, fault.Conflict)
}
