package vlanstore_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"activationd/internal/fault"
	"activationd/store"
	"activationd/store/bolt"
	"activationd/store/memstore"
	"activationd/vlanstore"
)

var now = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)

func newStore(t testing.TB) store.Store {
	t.Helper()
	db, err := bolt.Open(t.TempDir() + "/state.db")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func pool(domain string, first, last int, exclude ...vlanstore.Range) vlanstore.Pool {
	return vlanstore.Pool{Domain: domain, Ranges: []vlanstore.Range{{First: first, Last: last}}, Exclude: exclude}
}

// do runs fn in a transaction and returns its error.
func do(t testing.TB, db store.Store, fn func(store.Tx) error) error {
	t.Helper()
	return db.Update(context.Background(), fn)
}

func ids(ls []vlanstore.Lease) []int {
	var all []int
	for _, l := range ls {
		all = append(all, l.ID)
	}
	return all
}

// TestLongLink: the name of a large LAN fits into a key, however it is quoted there.
func TestLongLink(t *testing.T) {
	db, pools := newStore(t), vlanstore.Pools{"ostrava": pool("ostrava", 100, 104)}
	for size, want := range map[int]error{4096: nil, 4097: fault.Invalid} {
		err := do(t, db, func(tx store.Tx) error {
			_, err := vlanstore.Alloc(tx, pools, vlanstore.Limits{}, strings.Repeat("/", 256), "a test", []vlanstore.Want{{Domain: "ostrava", Link: strings.Repeat("/", size)}}, now)
			return err
		})
		if !errors.Is(err, want) {
			t.Errorf("a link of %d bytes: %v, want %v", size, err, want)
		}
	}
}

// TestLimits: in a store with limits, a holder gets no more ids than can be freed, or put
// into quarantine, in one transaction with something else.
func TestLimits(t *testing.T) {
	db, pools := memstore.Strict(1), vlanstore.Pools{"x": pool("x", 1, 4094), "y": pool("y", 1, 4094)}
	lease := func(holder string, from, n int, link string) error {
		var wants []vlanstore.Want
		for i := range n {
			wants = append(wants, vlanstore.Want{Domain: string("xy"[i%2]), Link: fmt.Sprint(link, from+i)})
		}
		return do(t, db, func(tx store.Tx) error {
			_, err := vlanstore.Alloc(tx, pools, vlanstore.LimitsOf(db), holder, "a test", wants, now)
			return err
		})
	}
	for _, tt := range []struct {
		name, holder string
		from, n      int
		link         string
		kind         error
	}{
		{"too many at once", "a", 0, 32, "", fault.Invalid},
		{"as many as fit", "a", 0, 30, "", nil},
		{"the same again", "a", 0, 30, "", nil},
		{"more in another request", "a", 30, 2, "", fault.Invalid},
		{"those of another holder", "b", 0, 30, "", nil},
		{"long links", "c", 0, 30, strings.Repeat(`"`, 4000), fault.Invalid},
	} {
		if err := lease(tt.holder, tt.from, tt.n, tt.link); !errors.Is(err, tt.kind) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.kind)
		}
	}
	if err := do(t, db, func(tx store.Tx) error {
		_, err := vlanstore.QuarantineAll(tx, "a", "a test", now)
		return err
	}); err != nil {
		t.Errorf("quarantine: %v", err)
	}
	for _, holder := range []string{"a", "b"} {
		err := do(t, db, func(tx store.Tx) error {
			for i := range 60 {
				if err := tx.Put(fmt.Sprint("other", i), nil); err != nil {
					return err
				}
			}
			_, err := vlanstore.ReleaseAll(tx, holder)
			return err
		})
		if err != nil {
			t.Errorf("release of %s: %v", holder, err)
		}
	}
}

func TestAlloc(t *testing.T) {
	db := newStore(t)
	pools := vlanstore.Pools{
		"ostrava": pool("ostrava", 100, 104, vlanstore.Range{First: 102, Last: 102}),
		"praha":   pool("praha", 100, 100),
	}
	type want = vlanstore.Want
	alloc := func(holder string, wants ...want) ([]int, error) {
		var got []vlanstore.Lease
		err := do(t, db, func(tx store.Tx) (err error) {
			got, err = vlanstore.Alloc(tx, pools, vlanstore.Limits{}, holder, "a test", wants, now)
			return err
		})
		return ids(got), err
	}
	for _, tt := range []struct {
		name, holder string
		wants        []want
		ids          []int
		kind         error
		says         string
	}{
		{"the lowest ones", "a", []want{{"ostrava", "l1", 0}, {"praha", "l1", 0}, {"ostrava", "l2", 0}}, []int{100, 100, 101}, nil, ""},
		{"the same again", "a", []want{{"ostrava", "l2", 0}, {"ostrava", "l1", 0}}, []int{101, 100}, nil, ""},
		{"by their number", "a", []want{{"ostrava", "l2", 101}}, []int{101}, nil, ""},
		{"another number for a link", "a", []want{{"ostrava", "l2", 104}}, nil, fault.Conflict, "a already has VLAN 101 of ostrava for l2"},
		{"over what is excluded", "b", []want{{"ostrava", "l1", 0}}, []int{103}, nil, ""},
		{"all or nothing", "c", []want{{"ostrava", "l1", 0}, {"praha", "l1", 0}}, nil, fault.Conflict, "pool praha (100) is 1 short for c; its ids are held by: a 1"},
		{"nothing was left of that", "d", []want{{"ostrava", "l1", 104}}, []int{104}, nil, ""},
		{"too few", "e", []want{{"ostrava", "l1", 0}, {"ostrava", "l2", 0}}, nil, fault.Conflict, "pool ostrava (100-104 but 102) is 2 short for e; its ids are held by: a 2, b 1, d 1"},
		{"one that is not free", "e", []want{{"ostrava", "l1", 103}}, nil, fault.Conflict, "b has it for l1"},
		{"one that is excluded", "e", []want{{"ostrava", "l1", 102}}, nil, fault.Invalid, "not in the pool of ostrava, which is 100-104 but 102"},
		{"one that is none", "e", []want{{"ostrava", "l1", 4095}}, nil, fault.Invalid, "not a VLAN id"},
		{"no such domain", "e", []want{{"brno", "l1", 0}}, nil, fault.NotFound, "the pools are for: ostrava, praha"},
		{"a name that is none", "e", []want{{"a/b", "l1", 0}}, nil, fault.Invalid, "not a valid name of a domain"},
		{"twice", "e", []want{{"ostrava", "l1", 0}, {"ostrava", "l1", 0}}, nil, fault.Invalid, "l1 is requested twice"},
		{"one id twice", "e", []want{{"ostrava", "l1", 101}, {"ostrava", "l2", 101}}, nil, fault.Invalid, "101 is requested twice"},
		{"nothing", "e", nil, nil, fault.Invalid, "no VLAN is requested"},
		{"a link of two lines", "e", []want{{"ostrava", "l1\nl2", 0}}, nil, fault.Invalid, "not a line of text"},
		{"a holder who is no text", "\xff", []want{{"ostrava", "l1", 0}}, nil, fault.Invalid, "must be a line of text"},
		{"nobody", "", []want{{"ostrava", "l1", 0}}, nil, fault.Invalid, "a holder has 1 to"},
	} {
		got, err := alloc(tt.holder, tt.wants...)
		if !errors.Is(err, tt.kind) || err != nil && !strings.Contains(err.Error(), tt.says) || err == nil && !slices.Equal(got, tt.ids) {
			t.Errorf("%s: got %v, %v; want %v, %v %q", tt.name, got, err, tt.ids, tt.kind, tt.says)
		}
	}
}

func TestQuarantine(t *testing.T) {
	db := newStore(t)
	pools := vlanstore.Pools{"x": pool("x", 1, 2)}
	alloc := func(tx store.Tx, holder string) error {
		_, err := vlanstore.Alloc(tx, pools, vlanstore.Limits{}, holder, "", []vlanstore.Want{{Domain: "x", Link: "l"}}, now)
		return err
	}
	steps := []struct {
		name string
		do   func(store.Tx) error
		kind error
		left string
	}{
		{"a lease", func(tx store.Tx) error { return alloc(tx, "a") }, nil, "1 leased a"},
		{"unproved", func(tx store.Tx) error {
			_, err := vlanstore.QuarantineAll(tx, "a", "erase failed", now)
			return err
		}, nil, "1 quarantined a"},
		{"not again", func(tx store.Tx) error { return alloc(tx, "a") }, fault.Conflict, "1 quarantined a"},
		{"nor by hand", func(tx store.Tx) error { _, err := vlanstore.Release(tx, "x", 1); return err }, fault.Conflict, "1 quarantined a"},
		{"another gets another", func(tx store.Tx) error { return alloc(tx, "b") }, nil, "1 quarantined a, 2 leased b"},
		{"a lease is not freed so", func(tx store.Tx) error { _, err := vlanstore.Free(tx, "x", 2); return err }, fault.Conflict, "1 quarantined a, 2 leased b"},
		{"proved later", func(tx store.Tx) error { _, err := vlanstore.ReleaseAll(tx, "a"); return err }, nil, "2 leased b"},
		{"out of service", func(tx store.Tx) error { _, err := vlanstore.Quarantine(tx, pools, "x", 1, "broken", now); return err }, nil, "1 quarantined , 2 leased b"},
		{"of no pool", func(tx store.Tx) error { _, err := vlanstore.Quarantine(tx, pools, "xx", 3, "broken", now); return err }, fault.NotFound, "1 quarantined , 2 leased b"},
		{"too few", func(tx store.Tx) error { return alloc(tx, "c") }, fault.Conflict, "1 quarantined , 2 leased b"},
		{"freed by an admin", func(tx store.Tx) error { _, err := vlanstore.Free(tx, "x", 1); return err }, nil, "2 leased b"},
		{"what is free cannot be", func(tx store.Tx) error { _, err := vlanstore.Free(tx, "x", 1); return err }, fault.NotFound, "2 leased b"},
		{"taken from its holder", func(tx store.Tx) error { _, err := vlanstore.Quarantine(tx, nil, "x", 2, "odd", now); return err }, nil, "2 quarantined b"},
		{"who loses it in quarantine only", func(tx store.Tx) error { _, err := vlanstore.ReleaseAll(tx, "b"); return err }, nil, ""},
	}
	for _, s := range steps {
		if err := do(t, db, s.do); !errors.Is(err, s.kind) {
			t.Errorf("%s: %v, want %v", s.name, err, s.kind)
		}
		if got := leftOf(t, db); got != s.left {
			t.Errorf("%s: left %q, want %q", s.name, got, s.left)
		}
	}
}

func leftOf(t testing.TB, db store.Store) string {
	t.Helper()
	var parts []string
	err := db.View(context.Background(), func(tx store.Tx) error {
		parts = nil
		ls, err := vlanstore.List(tx, vlanstore.Filter{})
		for _, l := range ls {
			parts = append(parts, fmt.Sprintf("%d %s %s", l.ID, l.State, l.Holder))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(parts, ", ")
}

// TestPoolShrinks keeps leases that are outside of their pool now until they
// are released.
func TestPoolShrinks(t *testing.T) {
	db := newStore(t)
	wide, narrow := vlanstore.Pools{"x": pool("x", 1, 10)}, vlanstore.Pools{"x": pool("x", 1, 1)}
	err := do(t, db, func(tx store.Tx) error {
		if _, err := vlanstore.Alloc(tx, wide, vlanstore.Limits{}, "a", "", []vlanstore.Want{{Domain: "x", Link: "l", ID: 7}}, now); err != nil {
			return err
		}
		again, err := vlanstore.Alloc(tx, narrow, vlanstore.Limits{}, "a", "", []vlanstore.Want{{Domain: "x", Link: "l"}}, now)
		if err != nil || again[0].ID != 7 {
			t.Errorf("again: %v, %v", again, err)
		}
		us, err := vlanstore.Uses(tx, narrow)
		if err != nil || len(us) != 1 || us[0].Size != 1 || us[0].Free != 1 || us[0].Outside != 1 || us[0].Leased != 0 {
			t.Errorf("Uses = %+v, %v", us, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestInvariants does random things and compares with a model: one holder per
// id, all or nothing, the same again, lowest first, and in the end nothing left.
func TestInvariants(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir := t.TempDir()
		db, err := bolt.Open(dir + "/" + fmt.Sprint(time.Now().UnixNano()) + ".db")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		pools := vlanstore.Pools{"a": pool("a", 5, 12, vlanstore.Range{First: 7, Last: 7}), "b": pool("b", 1, 3)}
		model := map[string]string{} // "domain/id" -> "holder/link", in quarantine with ! before it
		holders := []string{"1@x", "2/../x", "3 %41"}
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			holder := rapid.SampledFrom(holders).Draw(rt, "holder")
			switch rapid.SampledFrom([]string{"alloc", "alloc", "alloc", "release", "quarantine"}).Draw(rt, "do") {
			case "alloc":
				wants := rapid.SliceOfNDistinct(rapid.Custom(func(rt *rapid.T) vlanstore.Want {
					return vlanstore.Want{Domain: rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "domain"), Link: rapid.SampledFrom([]string{"l1", "l2/x", "l3"}).Draw(rt, "link")}
				}), 1, 4, func(w vlanstore.Want) string { return w.Domain + w.Link }).Draw(rt, "wants")
				var got []vlanstore.Lease
				err := do(t, db, func(tx store.Tx) (err error) {
					got, err = vlanstore.Alloc(tx, pools, vlanstore.Limits{}, holder, "", wants, now)
					return err
				})
				expect, can := allocModel(model, pools, holder, wants)
				if (err == nil) != can {
					rt.Fatalf("alloc %v %v = %v, want it possible: %v; model %v", holder, wants, err, can, model)
				}
				if err == nil && !slices.Equal(ids(got), expect) {
					rt.Fatalf("alloc %v %v = %v, want %v", holder, wants, ids(got), expect)
				}
			case "release":
				if err := do(t, db, func(tx store.Tx) error { _, err := vlanstore.ReleaseAll(tx, holder); return err }); err != nil {
					rt.Fatal(err)
				}
				for k, v := range model {
					if strings.HasPrefix(strings.TrimPrefix(v, "!"), holder+"\x00") {
						delete(model, k)
					}
				}
			case "quarantine":
				if err := do(t, db, func(tx store.Tx) error { _, err := vlanstore.QuarantineAll(tx, holder, "", now); return err }); err != nil {
					rt.Fatal(err)
				}
				for k, v := range model {
					if strings.HasPrefix(v, holder+"\x00") {
						model[k] = "!" + v
					}
				}
			}
			is := map[string]string{}
			err := db.View(context.Background(), func(tx store.Tx) error {
				if err := vlanstore.Verify(tx); err != nil {
					return err
				}
				ls, err := vlanstore.List(tx, vlanstore.Filter{})
				for _, l := range ls {
					v := l.Holder + "\x00" + l.Link
					if l.State == vlanstore.Quarantined {
						v = "!" + v
					}
					is[fmt.Sprintf("%s/%d", l.Domain, l.ID)] = v
				}
				return err
			})
			if err != nil || fmt.Sprint(is) != fmt.Sprint(model) {
				rt.Fatalf("is %q, %v, want %q", is, err, model)
			}
		}
		for _, h := range holders {
			if err := do(t, db, func(tx store.Tx) error { _, err := vlanstore.ReleaseAll(tx, h); return err }); err != nil {
				rt.Fatal(err)
			}
		}
		err = db.View(context.Background(), func(tx store.Tx) error {
			for key, val := range tx.Scan("vlan/", "") {
				if !strings.HasPrefix(key, "vlan/used/") || strings.Trim(string(val), "\x00") != "" {
					rt.Errorf("left in the end: %q = %q", key, val)
				}
			}
			return nil
		})
		if err != nil {
			rt.Fatal(err)
		}
	})
}

// allocModel is Alloc in a few lines, for wants without numbers.
func allocModel(model map[string]string, pools vlanstore.Pools, holder string, wants []vlanstore.Want) ([]int, bool) {
	next := map[string]string{}
	var got []int
	for _, w := range wants {
		v, found := holder+"\x00"+w.Link, 0
		for id := 1; id < 20; id++ {
			switch model[fmt.Sprintf("%s/%d", w.Domain, id)] {
			case v:
				found = id
			case "!" + v:
				return nil, false
			}
		}
		for id := 1; id < 20 && found == 0; id++ {
			k := fmt.Sprintf("%s/%d", w.Domain, id)
			if pools[w.Domain].Has(id) && model[k] == "" && next[k] == "" {
				next[k], found = v, id
			}
		}
		if found == 0 {
			return nil, false
		}
		got = append(got, found)
	}
	for k, v := range next {
		model[k] = v
	}
	return got, true
}

// BenchmarkPairs is 64 callers who each allocate and release 8 ids.
func BenchmarkPairs(b *testing.B) {
	db := newStore(b)
	pools := vlanstore.Pools{"x": pool("x", 1, 4000)}
	var wants []vlanstore.Want
	for i := range 8 {
		wants = append(wants, vlanstore.Want{Domain: "x", Link: fmt.Sprint("link", i)})
	}
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		holder := fmt.Sprintf("%p", pb)
		for pb.Next() {
			if err := do(b, db, func(tx store.Tx) error {
				_, err := vlanstore.Alloc(tx, pools, vlanstore.Limits{}, holder, "", wants, now)
				return err
			}); err != nil {
				b.Error(err)
			}
			if err := do(b, db, func(tx store.Tx) error { _, err := vlanstore.ReleaseAll(tx, holder); return err }); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pairs/s")
}

// A failing is a transaction in which the n-th write fails.
type failing struct {
	store.Tx
	n *int
}

var errFull = fmt.Errorf("the disk is full: %w", fault.Unavailable)

func (f failing) Put(key string, val []byte) error {
	if *f.n--; *f.n == 0 {
		return errFull
	}
	return f.Tx.Put(key, val)
}

func (f failing) Delete(key string) error {
	if *f.n--; *f.n == 0 {
		return errFull
	}
	return f.Tx.Delete(key)
}

// TestFailedWrites has each write of each change fail in turn: the error comes
// out, and nothing has changed.
func TestFailedWrites(t *testing.T) {
	db := newStore(t)
	pools := vlanstore.Pools{"x": pool("x", 1, 9), "y": pool("y", 1, 9)}
	three := []vlanstore.Want{{Domain: "x", Link: "l"}, {Domain: "y", Link: "l"}, {Domain: "x", Link: "m"}}
	for _, c := range []struct {
		name string
		do   func(store.Tx) error
	}{
		{"Alloc", func(tx store.Tx) error {
			_, err := vlanstore.Alloc(tx, pools, vlanstore.Limits{}, "a", "", three, now)
			return err
		}},
		{"QuarantineAll", func(tx store.Tx) error { _, err := vlanstore.QuarantineAll(tx, "a", "", now); return err }},
		{"Free", func(tx store.Tx) error { _, err := vlanstore.Free(tx, "x", 1); return err }},
		{"Quarantine", func(tx store.Tx) error { _, err := vlanstore.Quarantine(tx, pools, "x", 9, "", now); return err }},
		{"ReleaseAll", func(tx store.Tx) error { _, err := vlanstore.ReleaseAll(tx, "a"); return err }},
	} {
		for n := 1; ; n++ {
			before, left := leftOf(t, db), n
			err := do(t, db, func(tx store.Tx) error {
				left = n // it may run again
				return c.do(failing{tx, &left})
			})
			if err == nil && left > 0 { // there are fewer writes
				if n < 3 {
					t.Errorf("%s writes only %d times", c.name, n-1)
				}
				break
			}
			if !errors.Is(err, errFull) {
				t.Fatalf("%s, write %d: %v", c.name, n, err)
			}
			if after := leftOf(t, db); after != before {
				t.Fatalf("%s, write %d: has %q after it, %q before", c.name, n, after, before)
			}
			if err := db.View(context.Background(), vlanstore.Verify); err != nil {
				t.Fatalf("%s, write %d: %v", c.name, n, err)
			}
		}
	}
}

// FuzzHolders leases under any names: each holder finds its own, and
// nothing else.
func FuzzHolders(f *testing.F) {
	for _, names := range [][3]string{
		{"1042@ostrava", "1042@ostrava/x", "r1:eth1 -- r2:eth1"}, {"a", "a%2F", "/"}, {"x/a", "x", "a/"}, {"\xff", "\xfe", "\x00"}, {"", "b", "l"}, {"..", ".", ".."},
	} {
		f.Add(names[0], names[1], names[2])
	}
	db := newStore(f)
	f.Fuzz(func(t *testing.T, a, b, link string) {
		pools := vlanstore.Pools{"x": pool("x", 1, 4)}
		errUndo := errors.New("undo")
		err := do(t, db, func(tx store.Tx) error {
			for _, holder := range []string{a, b} {
				ls, err := vlanstore.Alloc(tx, pools, vlanstore.Limits{}, holder, "", []vlanstore.Want{{Domain: "x", Link: link}, {Domain: "x", Link: link + "'"}}, now)
				if err != nil {
					if !errors.Is(err, fault.Invalid) {
						t.Errorf("Alloc for %q, %q: %v", holder, link, err)
					}
					return errUndo
				}
				if got, err := vlanstore.Of(tx, holder); err != nil || len(got) != 2 || got[0].Holder != holder || got[0].ID != ls[0].ID && got[0].ID != ls[1].ID {
					t.Errorf("Of(%q) = %+v, %v, want %+v", holder, got, err, ls)
				}
			}
			if err := vlanstore.Verify(tx); err != nil {
				t.Error(err)
			}
			if _, err := vlanstore.ReleaseAll(tx, a); err != nil {
				t.Error(err)
			}
			if got, err := vlanstore.Of(tx, b); a != b && (err != nil || len(got) != 2) {
				t.Errorf("%q releases its ids, and %q has %+v, %v", a, b, got, err)
			}
			return errUndo
		})
		if !errors.Is(err, errUndo) {
			t.Error(err)
		}
	})
}
