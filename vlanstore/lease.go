package vlanstore

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"activationd/internal/fault"
	"activationd/store"
)

// A State is what an id is that is not free.
type State string

// The states.
const (
	Leased      State = "leased"
	Quarantined State = "quarantined" // nobody may have it until somebody says that it is clean
)

// A Lease is an id that is not free.
type Lease struct {
	Domain string    `json:"domain"`
	ID     int       `json:"id"`
	State  State     `json:"state"`
	Holder string    `json:"holder,omitempty"` // who has it, or had it last; may be empty in quarantine
	Link   string    `json:"link,omitempty"`   // what the holder has it for
	Since  time.Time `json:"since"`            // in this state
	Reason string    `json:"reason,omitempty"` // why it is in this state
}

// A Want is one id that somebody wants.
type Want struct {
	Domain string
	Link   string // what for: the same holder, link and domain get the same id again
	ID     int    // this one; 0: the lowest free one of the domain's pool
}

// What a holder may say and want at most.
const (
	maxHolder = 256
	maxLink   = 4096 // that of a LAN names all its interfaces
	maxReason = 1024
	maxWants  = 4096
)

// Keys. An id's key has its lease; a holder's key, made of holder, domain and
// link, has the id; a domain's key has a set of bits, one for each id that is
// not free. All three change together.
const (
	idKeys     = "vlan/id/"
	holderKeys = "vlan/holder/"
	usedKeys   = "vlan/used/"
)

// idKey has four digits, so that the keys are in the order of the ids.
func idKey(domain string, id int) string {
	digits := strconv.Itoa(10_000 + id)
	return idKeys + domain + "/" + digits[1:]
}

func holderPrefix(holder string) string { return holderKeys + url.PathEscape(holder) + "/" }

func holderKey(l Lease) string {
	return holderPrefix(l.Holder) + l.Domain + "/" + url.PathEscape(l.Link)
}

// used is the set of a domain's ids that are not free.
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

// lowest returns the lowest id of p, from on, that is free; 0: none.
func (u *used) lowest(p Pool, from int) int {
	for id := max(from, FirstID); id <= LastID; id++ {
		if u[id/8] == 0xff { // whole bytes at once: a busy pool is mostly these
			id |= 7
			continue
		}
		if !u.has(id) && p.Has(id) {
			return id
		}
	}
	return 0
}

func write(tx store.Tx, l Lease) error {
	data, err := json.Marshal(l)
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

// erase makes the ids of ls free.
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

// Of returns what holder has, and what he had last that is in quarantine.
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

// Verify returns what of what the store has of VLANs is at odds with the rest of
// it: nothing ever should be.
func Verify(tx store.Tx) error {
	sets := map[string]*used{}
	ofHolders := 0
	for key, val := range tx.Scan(idKeys, "") {
		l, err := decode(key, val)
		switch {
		case err != nil:
			return err
		case key != idKey(l.Domain, l.ID) || l.State != Leased && l.State != Quarantined || l.State == Leased && l.Holder == "":
			return fmt.Errorf("the state's entry %s is of %+v: %w", key, l, fault.Internal)
		case l.Holder != "" && string(tx.Get(holderKey(l))) != strconv.Itoa(l.ID):
			return fmt.Errorf("VLAN %d of %s is %s's, who has %q for %s: %w", l.ID, l.Domain, l.Holder, tx.Get(holderKey(l)), l.Link, fault.Internal)
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
			return fmt.Errorf("the set of VLANs of %s that are not free is another than that of those which are lent: %w", domain, fault.Internal)
		}
	}
	return nil
}
