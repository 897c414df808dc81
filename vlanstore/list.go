package vlanstore

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"activationd/store"
)

// A Filter chooses leases. An empty field chooses all.
type Filter struct {
	Domain, Holder string
	State          State
}

// List returns the leases that a filter chooses, by domain and id.
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

// A Use counts the ids of a pool by their state.
type Use struct {
	Pool
	Size, Free, Leased, Quarantined int
	Outside                         int // leased or in quarantine, but not (or no longer) in the pool
}

// Uses returns the use of each pool, and of each domain without a pool that has leases.
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

// Of returns what a holder has leased, and what it had last that is in quarantine.
func Of(tx store.Tx, holder string) ([]Lease, error) {
	var ls []Lease
	prefix := holderPrefix(holder)
	for key, val := range tx.Scan(prefix, "") {
		domain, _, _ := strings.Cut(strings.TrimPrefix(key, prefix), "/")
		id, err := strconv.Atoi(string(val))
		if err != nil {
			return nil, fmt.Errorf("the state's entry %s: %w; restore a backup", key, err)
		}
		l, err := read(tx, domain, id)
		if err != nil {
			return nil, fmt.Errorf("the state's entry %s: %w; restore a backup", key, err)
		}
		ls = append(ls, l)
	}
	return ls, nil
}
