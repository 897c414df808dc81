package vlanstore

import (
	"fmt"
	"time"

	"activationd/internal/fault"
	"activationd/store"
)

// QuarantineAll puts everything that a holder has leased into quarantine, and returns it. Ids
// that were there already stay as they are.
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

// Unquarantine leases to the holder again the ids that [QuarantineAll] put into
// quarantine for the given reason. Why is the reason of the new leases.
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

// Free ends the quarantine of an id. The errors are of kind fault.NotFound if the id is free
// and fault.Conflict if it is leased.
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

// Quarantine puts one id into quarantine, whether it is leased or free. A free id must be of a
// domain with a pool; otherwise the error is of kind fault.NotFound.
func Quarantine(tx store.Tx, pools Pools, domain string, id int, reason string, now time.Time) (Lease, error) {
	if err := CheckDomain(domain); err != nil {
		return Lease{}, err
	}
	if id < FirstID || id > LastID {
		return Lease{}, fmt.Errorf("%d is not a VLAN id; they go from %d to %d: %w", id, FirstID, LastID, fault.Invalid)
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
