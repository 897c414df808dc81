// Package vlanstore keeps who has which VLAN ids: pools of them by domain, the
// leases of activations, and the ids in quarantine, of which nobody has proved
// that no switch has them any more. Each id has at most one holder, ever.
//
// What is here writes through a [store.Tx], so that a lease ends in the same
// transaction as what it was for. To this package a holder is a string.
//
// It keeps also [Sections]: mutexes for scripts, in memory.
package vlanstore

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"activationd/internal/fault"
)

// The ids that a VLAN can have (IEEE 802.1Q, 9.6): 0 and 4095 are reserved.
const (
	FirstID = 1
	LastID  = 4094
)

// A Range is the ids from First to Last, both included.
type Range struct{ First, Last int }

// A Pool has the ids that may be lent in one domain: the switches within which
// an id means the same VLAN.
type Pool struct {
	Domain  string // see [CheckDomain]
	Ranges  []Range
	Exclude []Range
}

// Has reports whether id is one of the pool's.
func (p Pool) Has(id int) bool {
	in := func(r Range) bool { return r.First <= id && id <= r.Last }
	return slices.ContainsFunc(p.Ranges, in) && !slices.ContainsFunc(p.Exclude, in)
}

// String is the pool as an inventory has it: "100-199,300 but 150".
func (p Pool) String() string {
	if len(p.Exclude) > 0 {
		return Text(p.Ranges) + " but " + Text(p.Exclude)
	}
	return Text(p.Ranges)
}

// Text is ranges as an inventory has them: "100-199,300".
func Text(rs []Range) string {
	var parts []string
	for _, r := range rs {
		if r.First == r.Last {
			parts = append(parts, strconv.Itoa(r.First))
			continue
		}
		parts = append(parts, fmt.Sprintf("%d-%d", r.First, r.Last))
	}
	return strings.Join(parts, ",")
}

// Check returns what is wrong with the pool, of kind fault.Invalid.
func (p Pool) Check() error {
	if err := CheckDomain(p.Domain); err != nil {
		return err
	}
	for _, r := range slices.Concat(p.Ranges, p.Exclude) {
		if r.First < FirstID || r.Last > LastID || r.First > r.Last {
			return fmt.Errorf("pool %s: %d-%d is no range of VLAN ids, which go from %d to %d: %w", p.Domain, r.First, r.Last, FirstID, LastID, fault.Invalid)
		}
	}
	return nil
}

// CheckDomain reports whether name can be a domain's: letters, digits, and . _ -
// after the first; at most 64 of them. The error is of kind fault.Invalid.
func CheckDomain(name string) error { return checkName("domain", name) }

func checkName(what, name string) error {
	for i, c := range name {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case i > 0 && strings.ContainsRune("._-", c):
		default:
			return fmt.Errorf("%.80q is no %s's name: letters, digits, and after the first also . _ -: %w", name, what, fault.Invalid)
		}
	}
	if name == "" || len(name) > 64 {
		return fmt.Errorf("%.80q is no %s's name: it has 1 to 64 characters: %w", name, what, fault.Invalid)
	}
	return nil
}
