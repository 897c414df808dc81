package reservation

import (
	"fmt"
	"slices"

	"activationd/internal/fault"
)

// A Diff is what a load changes.
type Diff struct {
	Added     []Reservation // in the source's order
	Changed   []Reservation // in the source's order
	Removed   []string      // ids, sorted
	Kept      []string      // ids, sorted: known, but rejected in this set, so that their old version stays in force
	Unchanged int
}

// Empty reports whether applying it would change nothing.
func (d Diff) Empty() bool { return len(d.Added)+len(d.Changed)+len(d.Removed) == 0 }

// Compare says how set differs from what is known, a [Reservation.Hash] by id.
// An id that is known and in this set only as a reject is not removed: it is in
// Kept.
func Compare(known map[string][16]byte, set Set) Diff {
	var d Diff
	said := make(map[string]struct{}, len(set.Reservations))
	for _, r := range set.Reservations {
		said[r.ID] = struct{}{}
		switch hash, ok := known[r.ID]; {
		case !ok:
			d.Added = append(d.Added, r)
		case hash != r.Hash():
			d.Changed = append(d.Changed, r)
		default:
			d.Unchanged++
		}
	}
	rejected := make(map[string]struct{}, len(set.Rejects))
	for _, r := range set.Rejects {
		rejected[r.ID] = struct{}{}
	}
	for id := range known {
		if _, ok := said[id]; ok {
			continue
		}
		if _, ok := rejected[id]; ok {
			d.Kept = append(d.Kept, id)
		} else {
			d.Removed = append(d.Removed, id)
		}
	}
	slices.Sort(d.Removed)
	slices.Sort(d.Kept)
	return d
}

// Guard refuses a load that would remove too much: two or more, and more than
// share (0 to 1) of what is live. The error is of kind fault.Conflict and says how
// to override it. One reservation may always go, or nobody could cancel the only
// one.
func Guard(live, removed int, share float64) error {
	const rounding = 1e-9 // 0.29 of 100 is 28.999999999999996 in floating point
	if removed < 2 || float64(removed) <= share*float64(live)+rounding {
		return nil
	}
	return fmt.Errorf("the load would remove %d of %d live reservations, and more than %.4g %% at once needs force:yes; "+
		"nothing was changed; if they are really gone, reload with force:yes: %w",
		removed, live, share*100, fault.Conflict)
}
