package vlanstore

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"activationd/internal/fault"
	"activationd/store"
)

// The keys. The key of an id has its lease. The key of a holder, made of holder, domain and
// link, has the id. The key of a domain has a set of bits, one for each id that is not free.
// All three change together.
const (
	idKeys     = "vlan/id/"
	holderKeys = "vlan/holder/"
	usedKeys   = "vlan/used/"
)

// idKey has four digits, so that the order of the keys is the order of the ids.
func idKey(domain string, id int) string {
	digits := strconv.Itoa(10_000 + id)
	return idKeys + domain + "/" + digits[1:]
}

func holderPrefix(holder string) string { return holderKeys + url.PathEscape(holder) + "/" }

func holderKey(l Lease) string {
	return holderPrefix(l.Holder) + l.Domain + "/" + url.PathEscape(l.Link)
}

// used is the set of the ids of a domain that are not free.
type used [(LastID + 1 + 7) / 8]byte

func readUsed(tx store.Tx, domain string) (u used) {
	copy(u[:], tx.Get(usedKeys+domain))
	return u
}

func (u *used) set(id int, on bool) {
	u[id/8] &^= 1 << (id % 8)
	if on {
		u[id/8] |= 1 << (id % 8)
	}
}

func (u *used) has(id int) bool { return u[id/8]&(1<<(id%8)) != 0 }

// lowest returns the lowest free id of p that is not below from, or 0 if there is none.
func (u *used) lowest(p Pool, from int) int {
	for id := max(from, FirstID); id <= LastID; id++ {
		if u[id/8] == 0xff { // whole bytes at once, as most of a busy pool is used
			id |= 7
			continue
		}
		if !u.has(id) && p.Has(id) {
			return id
		}
	}
	return 0
}

func encode(l Lease) ([]byte, error) { return json.Marshal(l) }

func write(tx store.Tx, l Lease) error {
	data, err := encode(l)
	if err != nil {
		return err
	}
	if err := tx.Put(idKey(l.Domain, l.ID), data); err != nil {
		return err
	}
	if l.Holder == "" {
		return nil
	}
	return tx.Put(holderKey(l), []byte(strconv.Itoa(l.ID)))
}

func read(tx store.Tx, domain string, id int) (Lease, error) {
	data := tx.Get(idKey(domain, id))
	if data == nil {
		return Lease{}, fmt.Errorf("VLAN %d of %s is free: %w", id, domain, fault.NotFound)
	}
	return decode(idKey(domain, id), data)
}

func decode(key string, data []byte) (Lease, error) {
	var l Lease
	if err := json.Unmarshal(data, &l); err != nil {
		return l, fmt.Errorf("the state's entry %s: %w; restore a backup", key, err)
	}
	return l, nil
}

// erase frees the ids of leases.
func erase(tx store.Tx, ls ...Lease) error {
	sets := map[string]*used{}
	for _, l := range ls {
		if err := tx.Delete(idKey(l.Domain, l.ID)); err != nil {
			return err
		}
		if l.Holder != "" {
			if err := tx.Delete(holderKey(l)); err != nil {
				return err
			}
		}
		mark(tx, sets, l, false)
	}
	return putUsed(tx, sets)
}

func mark(tx store.Tx, sets map[string]*used, l Lease, on bool) {
	u := sets[l.Domain]
	if u == nil {
		read := readUsed(tx, l.Domain)
		u = &read
		sets[l.Domain] = u
	}
	u.set(l.ID, on)
}

func putUsed(tx store.Tx, sets map[string]*used) error {
	for domain, u := range sets {
		if err := tx.Put(usedKeys+domain, slices.Clone(u[:])); err != nil {
			return err
		}
	}
	return nil
}

// Verify returns an error if the records of VLANs contradict each other, which should never
// happen.
func Verify(tx store.Tx) error {
	sets := map[string]*used{}
	ofHolders := 0
	for key, val := range tx.Scan(idKeys, "") {
		l, err := decode(key, val)
		switch {
		case err != nil:
			return err
		case key != idKey(l.Domain, l.ID) || l.State != Leased && l.State != Quarantined || l.State == Leased && l.Holder == "":
			return fmt.Errorf("the state's entry %s has the lease %+v: %w", key, l, fault.Internal)
		case l.Holder != "" && string(tx.Get(holderKey(l))) != strconv.Itoa(l.ID):
			return fmt.Errorf("VLAN %d of %s belongs to %s, which has %q for %s: %w", l.ID, l.Domain, l.Holder, tx.Get(holderKey(l)), l.Link, fault.Internal)
		case l.Holder != "":
			ofHolders++
		}
		if sets[l.Domain] == nil {
			sets[l.Domain] = new(used)
		}
		sets[l.Domain].set(l.ID, true)
	}
	for range tx.Scan(holderKeys, "") {
		ofHolders--
	}
	if ofHolders != 0 {
		return fmt.Errorf("%d of the holders' entries for VLANs have no lease: %w", -ofHolders, fault.Internal)
	}
	for key := range tx.Scan(usedKeys, "") {
		domain := strings.TrimPrefix(key, usedKeys)
		if sets[domain] == nil {
			sets[domain] = new(used)
		}
	}
	for domain, u := range sets {
		if *u != readUsed(tx, domain) {
			return fmt.Errorf("the set of used VLANs of %s differs from the leases: %w", domain, fault.Internal)
		}
	}
	return nil
}
