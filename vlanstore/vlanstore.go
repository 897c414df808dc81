package vlanstore

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"activationd/internal/fault"
	"activationd/store"
)

// Pools are the pools, by their domains.
type Pools map[string]Pool

// Domains lists them, sorted.
func (ps Pools) Domains() []string { return slices.Sorted(maps.Keys(ps)) }

// Alloc leases what holder wants: all of it, or nothing. What he has already
// for the same link and domain he keeps, and gets it again, so that a script
// which died half-way can be run again. The leases are in the order of wants.
//
// Its errors are of kind fault.Invalid for what cannot be wanted,
// fault.NotFound for a domain without a pool, and fault.Conflict if too few ids
// are free or one that was named is not.
func Alloc(tx store.Tx, pools Pools, holder, reason string, wants []Want, now time.Time) ([]Lease, error) {
	if err := checkRequest(holder, reason, wants); err != nil {
		return nil, err
	}
	leases := make([]Lease, len(wants))
	sets := map[string]*used{}
	short := map[string]int{}
	from := map[string]int{}
	var taken []int // indexes into wants of what is new
	// First those that name an id, so that no other gets it.
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
	return leases, putUsed(tx, sets)
}

func checkRequest(holder, reason string, wants []Want) error {
	invalid := func(format string, args ...any) error {
		return fmt.Errorf(format+": %w", append(args, fault.Invalid)...)
	}
	switch {
	case holder == "" || len(holder) > maxHolder:
		return invalid("a holder has 1 to %d bytes; this one has %d", maxHolder, len(holder))
	case !isLine(holder), !isLine(reason):
		return invalid("%.80q, %.80q: must be a line of text each", holder, reason)
	case len(reason) > maxReason:
		return invalid("a reason has at most %d bytes; this one has %d", maxReason, len(reason))
	case len(wants) == 0:
		return invalid("no VLAN is asked for")
	case len(wants) > maxWants:
		return invalid("%d VLANs are asked for at once, and %d are allowed", len(wants), maxWants)
	}
	seen := map[Want]bool{}
	for _, w := range wants {
		if err := CheckDomain(w.Domain); err != nil {
			return err
		}
		if w.Link == "" || len(w.Link) > maxLink {
			return invalid("a link has 1 to %d bytes; %.40q has %d", maxLink, w.Link, len(w.Link))
		}
		if !isLine(w.Link) {
			return invalid("the link %.80q is not a line of text", w.Link)
		}
		if w.ID != 0 && (w.ID < FirstID || w.ID > LastID) {
			return invalid("%d is no VLAN id; they go from %d to %d", w.ID, FirstID, LastID)
		}
		for _, k := range []Want{{Domain: w.Domain, Link: w.Link}, {Domain: w.Domain, ID: w.ID}} {
			if (k.Link != "" || k.ID != 0) && seen[k] {
				return invalid("%s %s is asked for twice", w.Domain, cmp.Or(k.Link, fmt.Sprint(k.ID)))
			}
			seen[k] = true
		}
	}
	return nil
}

// isLine reports whether s is text in UTF-8, without a line's end or the like.
func isLine(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// hadBefore returns the lease that l's holder has for the same link and
// domain. One in quarantine he cannot have again: nobody knows what a switch
// does with it.
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
		return nil, fmt.Errorf("VLAN %d of %s, which %s had for %s, is in quarantine since %s: %s; free it when no switch has it any more (atctl vlan free %s %d): %w",
			n, l.Domain, l.Holder, l.Link, had.Since.Format(time.DateTime), had.Reason, l.Domain, n, fault.Conflict)
	case id != 0 && id != n:
		return nil, fmt.Errorf("%s has VLAN %d of %s for %s already, and not %d: %w", l.Holder, n, l.Domain, l.Link, id, fault.Conflict)
	}
	return &had, nil
}

func notFree(tx store.Tx, w Want) error {
	l, err := read(tx, w.Domain, w.ID)
	if err != nil { // this request itself has named it for another link
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

// tooFew is the error for domains that have so many ids too few.
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
		parts = append(parts, fmt.Sprintf("pool %s (%s) is %d short for %s; who has its ids: %s", domain, pools[domain], short[domain], holder, cmp.Or(strings.Join(who, ", "), "nobody, it is too small")))
	}
	return fmt.Errorf("nothing is allocated: %s: %w", strings.Join(parts, "; "), fault.Conflict)
}

// ReleaseAll frees what holder has, in quarantine or not: for one who has proved
// that no switch has it any more. It returns what it freed.
func ReleaseAll(tx store.Tx, holder string) ([]Lease, error) {
	ls, err := Of(tx, holder)
	if err != nil || len(ls) == 0 {
		return nil, err
	}
	return ls, erase(tx, ls...)
}

// ReleaseLeased frees what holder has for a link, or for any if that is empty,
// and that is not in quarantine. It returns what it freed, or an error of kind
// fault.NotFound if that is nothing.
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

// QuarantineAll puts what holder has into quarantine, and returns it. What is
// there already stays as it is.
func QuarantineAll(tx store.Tx, holder, reason string, now time.Time) ([]Lease, error) {
	ls, err := Of(tx, holder)
	if err != nil {
		return nil, err
	}
	var moved []Lease
	for _, l := range ls {
		if l.State == Quarantined {
			continue
		}
		l.State, l.Since, l.Reason = Quarantined, now, reason
		if err := write(tx, l); err != nil {
			return nil, err
		}
		moved = append(moved, l)
	}
	return moved, nil
}

// Unquarantine leases to holder again what he had when [QuarantineAll] put it into
// quarantine for that reason: it was in doubt, and is so no more.
func Unquarantine(tx store.Tx, holder, reason, why string, now time.Time) error {
	ls, err := Of(tx, holder)
	if err != nil {
		return err
	}
	for _, l := range ls {
		if l.State != Quarantined || l.Reason != reason {
			continue
		}
		l.State, l.Since, l.Reason = Leased, now, why
		if err := write(tx, l); err != nil {
			return err
		}
	}
	return nil
}

// Release frees one id that somebody has, on the word of whoever calls. The
// errors are of kind fault.NotFound if it is free and fault.Conflict if it is in
// quarantine: see [Free].
func Release(tx store.Tx, domain string, id int) (Lease, error) {
	l, err := read(tx, domain, id)
	if err != nil {
		return l, err
	}
	if l.State == Quarantined {
		return l, fmt.Errorf("VLAN %d of %s is %s; free takes it out: %w", id, domain, l.what(), fault.Conflict)
	}
	return l, erase(tx, l)
}

// Free takes an id out of quarantine. The errors are of kind fault.NotFound if
// it is free and fault.Conflict if somebody has it.
func Free(tx store.Tx, domain string, id int) (Lease, error) {
	l, err := read(tx, domain, id)
	if err != nil {
		return l, err
	}
	if l.State != Quarantined {
		return l, fmt.Errorf("VLAN %d of %s is not in quarantine: %s: %w", id, domain, l.what(), fault.Conflict)
	}
	return l, erase(tx, l)
}

// missing is the error of who names a domain that has no pool.
func (ps Pools) missing(domain string) error {
	return fmt.Errorf("there is no pool for domain %q; the pools are for: %s: %w", domain, cmp.Or(strings.Join(ps.Domains(), ", "), "none"), fault.NotFound)
}

// Quarantine puts one id into quarantine, whoever has it, or nobody. An id that
// nobody has must be of a pool's domain; else it is fault.NotFound.
func Quarantine(tx store.Tx, pools Pools, domain string, id int, reason string, now time.Time) (Lease, error) {
	if err := CheckDomain(domain); err != nil {
		return Lease{}, err
	}
	if id < FirstID || id > LastID {
		return Lease{}, fmt.Errorf("%d is no VLAN id; they go from %d to %d: %w", id, FirstID, LastID, fault.Invalid)
	}
	l := Lease{Domain: domain, ID: id}
	if data := tx.Get(idKey(domain, id)); data != nil {
		var err error
		if l, err = decode(idKey(domain, id), data); err != nil {
			return l, err
		}
	} else if _, ok := pools[domain]; !ok {
		return l, pools.missing(domain)
	}
	l.State, l.Since, l.Reason = Quarantined, now, reason
	if err := write(tx, l); err != nil {
		return l, err
	}
	sets := map[string]*used{}
	mark(tx, sets, l, true)
	return l, putUsed(tx, sets)
}

// A Filter chooses leases; what is empty chooses all.
type Filter struct {
	Domain, Holder string
	State          State
}

// List returns the leases of f, by domain and id.
func List(tx store.Tx, f Filter) ([]Lease, error) {
	prefix := idKeys
	if f.Domain != "" {
		prefix += f.Domain + "/"
	}
	var ls []Lease
	for key, val := range tx.Scan(prefix, "") {
		l, err := decode(key, val)
		if err != nil {
			return nil, err
		}
		if (f.Holder == "" || f.Holder == l.Holder) && (f.State == "" || f.State == l.State) {
			ls = append(ls, l)
		}
	}
	return ls, nil
}

// A Use is what has become of a pool's ids.
type Use struct {
	Pool
	Size, Free, Leased, Quarantined int
	Outside                         int // leased or in quarantine, and not of the pool (any more)
}

// Uses returns the use of each pool, and of each domain that has leases only.
func Uses(tx store.Tx, pools Pools) ([]Use, error) {
	uses := map[string]*Use{}
	for domain, p := range pools {
		u := &Use{Pool: p}
		for id := FirstID; id <= LastID; id++ {
			if p.Has(id) {
				u.Size++
			}
		}
		u.Free = u.Size
		uses[domain] = u
	}
	ls, err := List(tx, Filter{})
	if err != nil {
		return nil, err
	}
	for _, l := range ls {
		u := uses[l.Domain]
		if u == nil {
			u = &Use{Pool: Pool{Domain: l.Domain}}
			uses[l.Domain] = u
		}
		switch {
		case !u.Has(l.ID):
			u.Outside++
			continue
		case l.State == Leased:
			u.Leased++
		default:
			u.Quarantined++
		}
		u.Free--
	}
	var all []Use
	for _, domain := range slices.Sorted(maps.Keys(uses)) {
		all = append(all, *uses[domain])
	}
	return all, nil
}
