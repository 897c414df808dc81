package activation

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"activationd/store"
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

// A Ledger is a store that counts itself what the sums must have: after each transaction it
// looks which finished records it no longer has.
type Ledger struct {
	store.Store
	mu       sync.Mutex
	finished map[string]string // the records
	sums     usages
}

// Limits implements [store.Limiter].
func (l *Ledger) Limits() (ops, bytes int) { return store.Limits(l.Store) }

// Update implements [store.Store].
func (l *Ledger) Update(ctx context.Context, fn func(store.Tx) error) error {
	err := l.Store.Update(ctx, fn)
	if err == nil {
		l.look()
	}
	return err
}

func (l *Ledger) look() {
	l.mu.Lock()
	defer l.mu.Unlock()
	var is map[string]string
	var created map[string]time.Time
	_ = l.View(context.Background(), func(tx store.Tx) error {
		is, created = make(map[string]string), make(map[string]time.Time)
		for k, data := range tx.Scan(recordKey, "") {
			if stateIn(data) == Finished {
				is[k] = string(data)
			}
			if r, err := decode(k, data); err == nil {
				created[k] = r.Created
			}
		}
		return nil
	})
	if l.sums == nil {
		l.sums = make(usages)
	}
	for k, data := range l.finished {
		r, err := decode(k, []byte(data))
		if at, ok := created[k]; err == nil && (!ok || !at.Equal(r.Created)) { // another one may have its id
			l.sums.count(r.use(r.Since))
		}
	}
	l.finished = is
}

// Faults lists where the sums in the store are not what was forgotten.
func (l *Ledger) Faults() (faults []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var is usages
	_ = l.View(context.Background(), func(tx store.Tx) error {
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
