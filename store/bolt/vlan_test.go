package bolt_test

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"activationd/store"
	"activationd/store/bolt"
	"activationd/vlanstore"
)

// vlanPools are large enough for all callers at once.
var vlanPools = vlanstore.Pools{
	"a": {Domain: "a", Ranges: []vlanstore.Range{{First: 100, Last: 140}}, Exclude: []vlanstore.Range{{First: 110, Last: 112}}},
	"b": {Domain: "b", Ranges: []vlanstore.Range{{First: 1, Last: 40}}},
}

// vlanHolds is how many VLANs a caller has after its i-th transaction, and how
// many of them are in quarantine: it leases some, then some more, may lose them
// to the quarantine, and releases all.
func vlanHolds(c, i int) (all, quarantined int) {
	switch n := 1 + (c+i/4)%4; i % 4 {
	case 1:
		return n, 0
	case 2:
		return 2 * n, 0
	case 3:
		if (c+i)%2 == 0 {
			return 2 * n, 2 * n
		}
		return 2 * n, 0
	}
	return 0, 0
}

func vlanHolder(c int) string { return fmt.Sprintf("caller %d@test", c) }

// vlanStep is a caller's i-th transaction.
func vlanStep(tx store.Tx, c, i int) error {
	n, quarantined := vlanHolds(c, i)
	var err error
	switch {
	case n == 0:
		_, err = vlanstore.ReleaseAll(tx, vlanHolder(c))
	case quarantined > 0:
		_, err = vlanstore.QuarantineAll(tx, vlanHolder(c), "a test", time.Unix(1, 0))
	default:
		var wants []vlanstore.Want
		for k := range n {
			wants = append(wants, vlanstore.Want{Domain: string("ab"[k%2]), Link: strconv.Itoa(k)})
		}
		_, err = vlanstore.Alloc(tx, vlanPools, vlanstore.Limits{}, vlanHolder(c), "a test", wants, time.Unix(1, 0))
	}
	return err
}

// vlans is a child process whose callers lease VLANs and release them, and print each
// acknowledgement.
func vlans(path string) error {
	db, err := bolt.Open(path)
	if err != nil {
		return err
	}
	errs := make([]error, crashCallers)
	var wg sync.WaitGroup
	for c := range crashCallers {
		wg.Go(func() {
			for i := 1; i <= crashUpdates && errs[c] == nil; i++ {
				errs[c] = db.Update(context.Background(), func(tx store.Tx) error { return vlanStep(tx, c, i) })
				fmt.Printf("%d %d\n", c, i)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return db.Close()
}

// TestVLANsCrash cuts the power while VLANs are leased and released: whatever is on
// the disk then, no id is lost or leased twice, and each caller holds the VLANs
// that its last acknowledged transaction left it with.
func TestVLANsCrash(t *testing.T) {
	crash(t, "vlans", func(h *history) {
		h.more = func(at int, tx store.Tx) error {
			if err := vlanstore.Verify(tx); err != nil {
				return err
			}
			_, err := vlanstore.Alloc(tx, vlanPools, vlanstore.Limits{}, "another", "", []vlanstore.Want{{Domain: "a", Link: "x"}}, time.Unix(2, 0))
			return err
		}
		h.compare = func(at int, got map[string]string) {
			tx := frozen(got)
			if err := vlanstore.Verify(tx); err != nil {
				t.Errorf("operation %d: %v", at, err)
			}
			for c, acked := range h.acked {
				ls, err := vlanstore.Of(tx, vlanHolder(c))
				if err != nil {
					t.Errorf("operation %d: %v", at, err)
				}
				quarantined := 0
				for _, l := range ls {
					if l.State == vlanstore.Quarantined {
						quarantined++
					}
				}
				all, q := vlanHolds(c, acked)
				nextAll, nextQ := vlanHolds(c, acked+1)
				if (len(ls) != all || quarantined != q) && (len(ls) != nextAll || quarantined != nextQ) {
					t.Errorf("operation %d: caller %d has %d VLANs, %d of them in quarantine; acknowledged were %d, %d", at, c, len(ls), quarantined, all, q)
				}
			}
		}
	})
}

// A frozen is the content of a file, as a read-only transaction.
type frozen map[string]string

func (f frozen) Get(key string) []byte {
	if v, ok := f[key]; ok {
		return []byte(v)
	}
	return nil
}

func (f frozen) Put(string, []byte) error { panic("it is frozen") }
func (f frozen) Delete(string) error      { panic("it is frozen") }

func (f frozen) Append(string, []byte, int) error { panic("it is frozen") }
func (f frozen) Stamp() uint64                    { panic("it is frozen") }
func (f frozen) Raise(uint64) error               { panic("it is frozen") }

func (f frozen) Scan(prefix, from string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for _, k := range slices.Sorted(maps.Keys(f)) {
			if k >= from && len(k) >= len(prefix) && k[:len(prefix)] == prefix && !yield(k, []byte(f[k])) {
				return
			}
		}
	}
}
