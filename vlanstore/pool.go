// Package vlanstore records which VLAN ids are leased: pools of ids by domain, the leases of
// activations, and the ids in quarantine, for which nobody has verified that no switch uses
// them any more. Each id has at most one holder at any time.
//
// Its functions write through a [store.Tx], so that a lease ends in the same transaction as
// its activation. A holder is a string to this package.
//
// It also has [Sections]: mutexes for scripts, in memory.
package vlanstore

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"activationd/internal/fault"
)

// The valid ids of VLANs (IEEE 802.1Q, 9.6): 0 and 4095 are reserved.
const (
	FirstID = 1
	LastID  = 4094
)

// A Range is the ids from First to Last, both included.
type Range struct{ First, Last int }

// A Pool has the ids that may be leased in one domain. A domain is the set of switches within
// which an id means the same VLAN.
type Pool struct {
	Domain  string // see [CheckDomain]
	Ranges  []Range
	Exclude []Range
}

// Has reports whether the pool has an id.
func (p Pool) Has(id int) bool {
	in := func(r Range) bool { return r.First <= id && id <= r.Last }
	return slices.ContainsFunc(p.Ranges, in) && !slices.ContainsFunc(p.Exclude, in)
}

// Size returns how many ids the pool has.
func (p Pool) Size() (n int) {
	for id := FirstID; id <= LastID; id++ {
		if p.Has(id) {
			n++
		}
	}
	return n
}

// String returns the pool in the form of an inventory: "100-199,300 but 150".
func (p Pool) String() string {
	if len(p.Exclude) > 0 {
		return Text(p.Ranges) + " but " + Text(p.Exclude)
	}
	return Text(p.Ranges)
}

// Text returns ranges in the form of an inventory: "100-199,300".
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
			return fmt.Errorf("pool %s: %d-%d is not a range of VLAN ids, which go from %d to %d: %w", p.Domain, r.First, r.Last, FirstID, LastID, fault.Invalid)
		}
	}
	return nil
}

// CheckDomain returns an error of kind fault.Invalid unless name can be the name of a domain:
// 1 to 64 letters, digits and, after the first character, . _ -
func CheckDomain(name string) error { return checkName("domain", name) }

func checkName(what, name string) error {
	for i, c := range name {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case i > 0 && strings.ContainsRune("._-", c):
		default:
			return fmt.Errorf("%.80q is not a valid name of a %s: it may have letters, digits and, after the first character, . _ -: %w", name, what, fault.Invalid)
		}
	}
	if name == "" || len(name) > 64 {
		return fmt.Errorf("%.80q is not a valid name of a %s: it must have 1 to 64 characters: %w", name, what, fault.Invalid)
	}
	return nil
}

// Pools are pools by their domains.
type Pools map[string]Pool

// Domains returns the domains, sorted.
func (ps Pools) Domains() []string { return slices.Sorted(maps.Keys(ps)) }

// missing returns the error for a domain without a pool.
func (ps Pools) missing(domain string) error {
	return fmt.Errorf("there is no pool for domain %q; the pools are for: %s: %w", domain, cmp.Or(strings.Join(ps.Domains(), ", "), "none"), fault.NotFound)
}
