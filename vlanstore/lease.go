package vlanstore

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"activationd/internal/fault"
	"activationd/store"
)

// A State is the state of an id that is not free.
type State string

// The states.
const (
	Leased      State = "leased"
	Quarantined State = "quarantined" // not available until it is freed or quarantine ends otherwise
)

// A Lease is an id that is not free: leased or in quarantine.
type Lease struct {
	Domain string    `json:"domain"`
	ID     int       `json:"id"`
	State  State     `json:"state"`
	Holder string    `json:"holder,omitempty"` // in quarantine the last one, who may be ""
	Link   string    `json:"link,omitempty"`   // what the holder uses the id for
	Since  time.Time `json:"since"`            // when it came into this state
	Reason string    `json:"reason,omitempty"` // why it is in this state
}

// A Want is a request for one id.
type Want struct {
	Domain string
	Link   string // what the id is for: the same holder, link and domain get the same id again
	ID     int    // the id; 0: the lowest free one of the domain's pool
}

// The limits of a request.
const (
	maxHolder = 256
	maxLink   = 4096 // the link of a LAN names all its interfaces
	maxReason = 1024
	maxWants  = 4096
)

// Alloc leases everything that a holder wants, or nothing. An id that the holder already has
// for the same link and domain is returned again, so that a script that died half-way can be
// run again. The leases are in the order of wants.
//
// The errors are of kind fault.Invalid for an invalid request, fault.NotFound for a domain
// without a pool, and fault.Conflict if too few ids are free or a requested one is not.
//
// All ids of a holder are freed in one transaction, when its activation ends. So the error is
// also of kind fault.Invalid if the holder would have more than fits into the limits.
func Alloc(tx store.Tx, pools Pools, limits Limits, holder, reason string, wants []Want, now time.Time) ([]Lease, error) {
	if err := checkRequest(holder, reason, wants); err != nil {
		return nil, err
	}
	leases := make([]Lease, len(wants))
	sets := map[string]*used{}
	short := map[string]int{}
	from := map[string]int{}
	var taken []int // indexes into wants of the new leases
	// Requests that name an id come first, so that no other request gets it.
	order := make([]int, len(wants))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(wants[b].ID, wants[a].ID) })
	for _, i := range order {
		w := wants[i]
		pool, ok := pools[w.Domain]
		if !ok {
			return nil, pools.missing(w.Domain)
		}
		l := Lease{Domain: w.Domain, ID: w.ID, State: Leased, Holder: holder, Link: w.Link, Since: now, Reason: reason}
		had, err := hadBefore(tx, l, w.ID)
		if err != nil {
			return nil, err
		}
		if had != nil {
			leases[i] = *had
			continue
		}
		if sets[w.Domain] == nil {
			u := readUsed(tx, w.Domain)
			sets[w.Domain] = &u
		}
		u := sets[w.Domain]
		switch {
		case w.ID != 0 && !pool.Has(w.ID):
			return nil, fmt.Errorf("VLAN %d is not in the pool of %s, which is %s: %w", w.ID, w.Domain, pool, fault.Invalid)
		case w.ID != 0 && u.has(w.ID):
			return nil, notFree(tx, w)
		case w.ID == 0:
			if l.ID = u.lowest(pool, from[w.Domain]); l.ID == 0 {
				from[w.Domain] = LastID + 1
				short[w.Domain]++
				continue
			}
			from[w.Domain] = l.ID + 1
		}
		u.set(l.ID, true)
		leases[i] = l
		taken = append(taken, i)
	}
	if len(short) > 0 {
		return nil, tooFew(tx, pools, holder, short)
	}
	for _, i := range taken {
		if err := write(tx, leases[i]); err != nil {
			return nil, err
		}
	}
	if len(taken) == 0 {
		return leases, nil
	}
	if err := putUsed(tx, sets); err != nil {
		return nil, err
	}
	return leases, limits.check(tx, holder)
}

// Limits are how much one transaction may write. A zero is no limit.
type Limits struct{ Ops, Bytes int }

// LimitsOf returns the limits of a store.
func LimitsOf(s store.Store) Limits {
	ops, bytes := store.Limits(s)
	if ops == store.NoLimit && bytes == store.NoLimit {
		return Limits{}
	}
	return Limits{ops, bytes}
}

// check returns an error if freeing what a holder has would write more than half of the
// limits. The other half is for the rest of the transaction.
func (l Limits) check(tx store.Tx, holder string) error {
	if l == (Limits{}) {
		return nil
	}
	ls, err := Of(tx, holder)
	if err != nil {
		return err
	}
	ops, bytes := 0, 0
	domains := map[string]bool{}
	for _, lease := range ls {
		data, err := encode(lease)
		if err != nil {
			return err
		}
		id, owner := idKey(lease.Domain, lease.ID), holderKey(lease)
		ops += 2
		bytes += len(id) + len(data) + len(owner) + len(strconv.Itoa(lease.ID))
		if !domains[lease.Domain] {
			domains[lease.Domain] = true
			ops++
			bytes += len(usedKeys) + len(lease.Domain) + len(used{})
		}
	}
	if ops > l.Ops/2 || bytes > l.Bytes/2 {
		return fmt.Errorf("%s would have %d VLANs, and the store can't free so many at once; request fewer: %w", holder, len(ls), fault.Invalid)
	}
	return nil
}

func checkRequest(holder, reason string, wants []Want) error {
	invalid := func(format string, args ...any) error {
		return fmt.Errorf(format+": %w", append(args, fault.Invalid)...)
	}
	switch {
	case holder == "" || len(holder) > maxHolder:
		return invalid("a holder has 1 to %d bytes, but this one has %d", maxHolder, len(holder))
	case !isLine(holder), !isLine(reason):
		return invalid("%.80q, %.80q: each must be a line of text", holder, reason)
	case len(reason) > maxReason:
		return invalid("a reason has at most %d bytes, but this one has %d", maxReason, len(reason))
	case len(wants) == 0:
		return invalid("no VLAN is requested")
	case len(wants) > maxWants:
		return invalid("%d VLANs are requested at once, but at most %d are allowed", len(wants), maxWants)
	}
	seen := map[Want]bool{}
	for _, w := range wants {
		if err := CheckDomain(w.Domain); err != nil {
			return err
		}
		if w.Link == "" || len(w.Link) > maxLink {
			return invalid("a link has 1 to %d bytes, but %.40q has %d", maxLink, w.Link, len(w.Link))
		}
		if !isLine(w.Link) {
			return invalid("the link %.80q is not a line of text", w.Link)
		}
		if w.ID != 0 && (w.ID < FirstID || w.ID > LastID) {
			return invalid("%d is not a VLAN id; they go from %d to %d", w.ID, FirstID, LastID)
		}
		for _, k := range []Want{{Domain: w.Domain, Link: w.Link}, {Domain: w.Domain, ID: w.ID}} {
			if (k.Link != "" || k.ID != 0) && seen[k] {
				return invalid("%s %s is requested twice", w.Domain, cmp.Or(k.Link, fmt.Sprint(k.ID)))
			}
			seen[k] = true
		}
	}
	return nil
}

// isLine reports whether s is text in UTF-8 without control characters.
func isLine(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// hadBefore returns the lease that l's holder already has for the same link and domain. If
// that is in quarantine, it returns an error, as nobody knows what a switch does with it.
func hadBefore(tx store.Tx, l Lease, id int) (*Lease, error) {
	val := tx.Get(holderKey(l))
	if val == nil {
		return nil, nil
	}
	n := 0
	if _, err := fmt.Sscan(string(val), &n); err != nil {
		return nil, fmt.Errorf("the state's entry %s: %w; restore a backup", holderKey(l), err)
	}
	had, err := read(tx, l.Domain, n)
	switch {
	case err != nil:
		return nil, err
	case had.State == Quarantined:
		return nil, fmt.Errorf("VLAN %d of %s, which %s had for %s, is in quarantine since %s: %s; free it when no switch uses it any more (atctl vlan free %s %d): %w",
			n, l.Domain, l.Holder, l.Link, had.Since.Format(time.DateTime), had.Reason, l.Domain, n, fault.Conflict)
	case id != 0 && id != n:
		return nil, fmt.Errorf("%s already has VLAN %d of %s for %s, and can't get %d: %w", l.Holder, n, l.Domain, l.Link, id, fault.Conflict)
	}
	return &had, nil
}

func notFree(tx store.Tx, w Want) error {
	l, err := read(tx, w.Domain, w.ID)
	if err != nil { // this request wants the id for another link, too
		return fmt.Errorf("VLAN %d of %s is not free: %w", w.ID, w.Domain, fault.Conflict)
	}
	return fmt.Errorf("VLAN %d of %s is not free: %s: %w", w.ID, w.Domain, l.what(), fault.Conflict)
}

func (l Lease) what() string {
	if l.State == Quarantined {
		return fmt.Sprintf("in quarantine since %s (%s)", l.Since.Format(time.DateTime), l.Reason)
	}
	return fmt.Sprintf("%s has it for %s", l.Holder, l.Link)
}

// tooFew returns the error for domains with too few free ids.
func tooFew(tx store.Tx, pools Pools, holder string, short map[string]int) error {
	var parts []string
	for _, domain := range slices.Sorted(maps.Keys(short)) {
		held := map[string]int{}
		for key, val := range tx.Scan(idKeys+domain+"/", "") {
			l, err := decode(key, val)
			if err != nil {
				return err
			}
			if !pools[domain].Has(l.ID) {
				continue
			}
			if l.State == Quarantined {
				held["the quarantine"]++
			} else {
				held[l.Holder]++
			}
		}
		holders := slices.SortedFunc(maps.Keys(held), func(a, b string) int {
			return cmp.Or(cmp.Compare(held[b], held[a]), cmp.Compare(a, b))
		})
		const most = 5
		var who []string
		for _, h := range holders[:min(most, len(holders))] {
			who = append(who, fmt.Sprintf("%s %d", h, held[h]))
		}
		if more := len(holders) - most; more > 0 {
			who = append(who, fmt.Sprintf("%d others the rest", more))
		}
		parts = append(parts, fmt.Sprintf("pool %s (%s) is %d short for %s; its ids are held by: %s", domain, pools[domain], short[domain], holder, cmp.Or(strings.Join(who, ", "), "nobody, the pool is too small")))
	}
	return fmt.Errorf("nothing is allocated: %s: %w", strings.Join(parts, "; "), fault.Conflict)
}

// ReleaseAll frees everything that a holder has, in quarantine or not, after the deactivation
// was verified. It returns what it freed.
func ReleaseAll(tx store.Tx, holder string) ([]Lease, error) {
	ls, err := Of(tx, holder)
	if err != nil || len(ls) == 0 {
		return nil, err
	}
	return ls, erase(tx, ls...)
}

// ReleaseLeased frees what a holder has leased for a link, or for any link if that is "". It
// leaves ids in quarantine alone. It returns what it freed, or an error of kind fault.NotFound
// if that is nothing.
func ReleaseLeased(tx store.Tx, holder, link string) ([]Lease, error) {
	ls, err := Of(tx, holder)
	if err != nil {
		return nil, err
	}
	ls = slices.DeleteFunc(ls, func(l Lease) bool { return l.State != Leased || link != "" && l.Link != link })
	if len(ls) == 0 {
		return nil, fmt.Errorf("%s: %w", strings.TrimSpace(holder+" has no VLAN "+link), fault.NotFound)
	}
	return ls, erase(tx, ls...)
}

// Release frees one leased id, whoever has it. The errors are of kind fault.NotFound if it is
// free and fault.Conflict if it is in quarantine: see [Free].
func Release(tx store.Tx, domain string, id int) (Lease, error) {
	l, err := read(tx, domain, id)
	if err != nil {
		return l, err
	}
	if l.State == Quarantined {
		return l, fmt.Errorf("VLAN %d of %s is %s; use free to end the quarantine: %w", id, domain, l.what(), fault.Conflict)
	}
	return l, erase(tx, l)
}
