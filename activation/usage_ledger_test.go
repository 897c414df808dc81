package activation

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"activationd/store"
	"activationd/store/memstore"
)

// sumsOf returns what the sums will have of a record.
func sumsOf(r *Record) map[string]string {
	sums := make(usages)
	sums.count(r.use(r.Since))
	return sums.texts()
}

// usedBy is sumsOf, as a report reads it.
func usedBy(t *Txn, k string, data []byte) map[string]string {
	sums := make(usages)
	var u use
	if counts, err := t.readUse(k, data, &u); counts && err == nil {
		sums.count(u)
	}
	return sums.texts()
}

func (us usages) count(u use) {
	for _, part := range u.shares(nil, time.UTC, time.Time{}) {
		of := sumOf{part.Month, u.owner}
		if us[of] == nil {
			us[of] = new(ownerUsage)
		}
		us[of].add(&part.Usage, u.devices, u.tags)
	}
}

func (us usages) texts() map[string]string {
	all := make(map[string]string)
	for of, o := range us {
		data, err := json.Marshal(o)
		if err != nil {
			panic(err)
		}
		all[of.month.String()+" "+of.owner] = string(data)
	}
	return all
}

// A Ledger counts itself what the sums of a store must have: it sees each finished record that a
// commit removes, in the order of the commits.
type Ledger struct {
	db   *memstore.Store
	mu   sync.Mutex
	sums usages
}

// NewLedger makes a ledger of what is removed from now on.
func NewLedger(db *memstore.Store) *Ledger {
	l := &Ledger{db: db, sums: make(usages)}
	db.OnCommit(l.committed)
	return l
}

func (l *Ledger) committed(key string, was, is []byte) {
	if !strings.HasPrefix(key, recordKey) || stateIn(was) != Finished {
		return
	}
	before, err := decode(key, was)
	if err != nil {
		return
	}
	if after, err := decode(key, is); is != nil && err == nil && after.Created.Equal(before.Created) { // not another one with its id
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sums.count(before.use(before.Since))
}

// Faults lists where the sums in the store are not what was forgotten.
func (l *Ledger) Faults() (faults []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var is usages
	_ = l.db.View(context.Background(), func(tx store.Tx) error {
		is = make(usages)
		for k, data := range tx.Scan(usageKey, "") {
			of, ok := parseSumKey(k)
			o := new(ownerUsage)
			if err := json.Unmarshal(data, o); err != nil || !ok {
				faults = append(faults, fmt.Sprintf("%s=%s: %v", k, data, err))
			}
			is[of] = o
		}
		return nil
	})
	want, got := l.sums.texts(), is.texts()
	for of, sum := range want {
		if got[of] != sum {
			faults = append(faults, fmt.Sprintf("the sums of %s are %s, want %s", of, got[of], sum))
		}
		delete(got, of)
	}
	for of, sum := range got {
		faults = append(faults, fmt.Sprintf("the sums of %s are %s, and nothing was forgotten", of, sum))
	}
	return faults
}
