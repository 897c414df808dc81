package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"activationd/internal/fault"
	"activationd/store"
)

// entries returns a log's numbers and values, in the order of a scan.
func entries(t *testing.T, tx store.Tx, log string, from uint64) (numbers []uint64, vals []string) {
	for k, v := range tx.Scan(log, store.EntryKey(log, from)) {
		n, ok := store.EntryNumber(log, k)
		if !ok || store.EntryKey(log, n) != k {
			t.Errorf("the key of an entry is %q", k)
		}
		numbers, vals = append(numbers, n), append(vals, string(v))
	}
	return numbers, vals
}

// appendAll appends words to a log.
func appendAll(tx store.Tx, log string, words ...string) error {
	for _, w := range words {
		if err := tx.Append(log, []byte(w), 1); err != nil {
			return err
		}
	}
	return nil
}

func log(t *testing.T, s store.Store) {
	has := func(log, want string) (numbers []uint64) {
		t.Helper()
		view(t, s, func(tx store.Tx) {
			var vals []string
			numbers, vals = entries(t, tx, log, 0)
			if got := strings.Join(vals, " "); got != want {
				t.Errorf("log %s has %q, want %q", log, got, want)
			}
			if !rises(numbers) {
				t.Errorf("the numbers of log %s are %d", log, numbers)
			}
			for i, n := range numbers {
				if got, rest := entries(t, tx, log, n+1); len(got) != len(rest) || len(got) != len(numbers)-i-1 {
					t.Errorf("after number %d there are %d", n, got)
				}
			}
		})
		return numbers
	}
	update(t, s, func(tx store.Tx) error {
		return errors.Join(appendAll(tx, "a/", "1", "2"), appendAll(tx, "b/", "1"), tx.Append("b/", nil, 1), put(tx, "a", "x", "a0", "x"))
	})
	update(t, s, func(tx store.Tx) error {
		if err := appendAll(tx, "a/", "3"); err != nil {
			return err
		}
		if numbers, _ := entries(t, tx, "a/", 0); len(numbers) != 2 {
			t.Errorf("a transaction sees what it appends: %d", numbers)
		}
		return appendAll(tx, "a/", "4")
	})
	old := has("a/", "1 2 3 4")
	has("b/", "1 ")

	// A function that fails leaves no entry, and one that panics does not either.
	err := s.Update(t.Context(), func(tx store.Tx) error { return errors.Join(appendAll(tx, "a/", "no"), errFail) })
	if !errors.Is(err, errFail) {
		t.Errorf("Update = %v, want %v", err, errFail)
	}
	func() {
		defer func() { _ = recover() }()
		_ = s.Update(t.Context(), func(tx store.Tx) error { _ = appendAll(tx, "a/", "no"); panic("ouch") })
	}()
	has("a/", "1 2 3 4")

	// The number of a deleted entry is not used again.
	update(t, s, func(tx store.Tx) error {
		for k := range tx.Scan("a/", "") {
			if err := tx.Delete(k); err != nil {
				return err
			}
		}
		return nil
	})
	has("a/", "")
	update(t, s, func(tx store.Tx) error { return appendAll(tx, "a/", "5") })
	if numbers := has("a/", "5"); len(numbers) == 1 && numbers[0] <= slices.Max(old) {
		t.Errorf("number %d comes again, after %d", numbers[0], old)
	}

	// An entry has the number of its last part, and the numbers of the others are free.
	last := has("a/", "5")[0]
	update(t, s, func(tx store.Tx) error {
		return errors.Join(tx.Append("a/", []byte("three"), 3), tx.Append("a/", []byte("many"), store.MaxParts), appendAll(tx, "a/", "one"))
	})
	if numbers := has("a/", "5 three many one"); len(numbers) == 4 &&
		(numbers[1] < last+3 || numbers[2] < numbers[1]+store.MaxParts || numbers[3] <= numbers[2]) {
		t.Errorf("entries of 3, %d and 1 parts have the numbers %d, after %d", store.MaxParts, numbers[1:], last)
	}
	for _, n := range []int{-1, 0, store.MaxParts + 1} {
		if err := s.Update(t.Context(), func(tx store.Tx) error { return tx.Append("a/", nil, n) }); fault.Of(err) != fault.Invalid {
			t.Errorf("an entry of %d parts: %v", n, err)
		}
	}
	view(t, s, func(tx store.Tx) {
		if tx.Append("a/", nil, 1) == nil || tx.Raise(1<<20) == nil {
			t.Error("a View wrote")
		}
	})
}

// rises reports whether each number is greater than the one before it.
func rises(numbers []uint64) bool {
	for i, n := range numbers {
		if n > store.MaxNumber || i > 0 && n <= numbers[i-1] {
			return false
		}
	}
	return true
}

// logReader lets many callers append, some of which fail, and a reader that continues
// from its last number: it misses nothing and reads each entry once.
func logReader(t *testing.T, s store.Store) {
	const callers, rounds = 8, 25
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range rounds {
				func() {
					defer func() { _ = recover() }()
					err := s.Update(t.Context(), func(tx store.Tx) error {
						if err := appendAll(tx, "log/", fmt.Sprintf("%d %d", c, i), "second"); err != nil {
							return err
						}
						switch (c + i) % 5 {
						case 0:
							return errFail
						case 1:
							panic("ouch")
						}
						return nil
					})
					if err != nil && !errors.Is(err, errFail) {
						t.Errorf("Update = %v", err)
					}
				}()
			}
		})
	}
	ended := make(chan struct{})
	go func() { wg.Wait(); close(ended) }()
	var numbers []uint64
	var vals []string
	for last := false; !last; {
		select {
		case <-ended:
			last = true
		default:
		}
		view(t, s, func(tx store.Tx) {
			from := uint64(0)
			if len(numbers) > 0 {
				from = numbers[len(numbers)-1] + 1
			}
			newNumbers, newVals := entries(t, tx, "log/", from)
			numbers, vals = append(numbers, newNumbers...), append(vals, newVals...)
			if n := len(numbers); n > 0 && tx.Stamp() < numbers[n-1] {
				t.Errorf("Stamp of a View is %d, and there is an entry %d", tx.Stamp(), numbers[n-1])
			}
		})
	}
	if want := callers * rounds * 3 / 5 * 2; len(vals) != want || !rises(numbers) {
		t.Errorf("%d entries were read, want %d; the numbers are %d", len(vals), want, numbers)
	}
	next := map[int]int{} // of each caller, which of its entries may be next
	for at, val := range vals {
		if at%2 == 1 {
			if val != "second" {
				t.Errorf("the entries of a transaction are parted: %q", val)
			}
			continue
		}
		var c, i int
		if _, err := fmt.Sscan(val, &c, &i); err != nil || i < next[c] {
			t.Errorf("entry %q comes after %d", val, next[c])
		}
		next[c] = i + 1
	}
}

// stamps lets several callers at once take stamps, some of which fail.
func stamps(t *testing.T, s store.Store) {
	var wg sync.WaitGroup
	for c := range 8 {
		wg.Go(func() {
			for i := range 25 {
				err := s.Update(t.Context(), func(tx store.Tx) error {
					last, _ := entryAt(tx.Get("last"))
					one, two := tx.Stamp(), tx.Stamp()
					if one <= last || two <= one {
						t.Errorf("stamps %d and %d were given out after %d", one, two, last)
					}
					if err := errors.Join(tx.Put("last", []byte(store.EntryKey("", two))), tx.Append("log/", nil, 1)); err != nil {
						return err
					}
					if (c+i)%5 == 0 {
						return errFail
					}
					return nil
				})
				if err != nil && !errors.Is(err, errFail) {
					t.Errorf("Update = %v", err)
				}
			}
		})
	}
	wg.Wait()
	view(t, s, func(tx store.Tx) {
		numbers, _ := entries(t, tx, "log/", 0)
		last, _ := entryAt(tx.Get("last"))
		if newest := tx.Stamp(); newest < last || newest < numbers[len(numbers)-1] {
			t.Errorf("Stamp of a View is %d; the last one was %d, the last entry is %d", newest, last, numbers[len(numbers)-1])
		}
		if one, two := tx.Stamp(), tx.Stamp(); one != two {
			t.Errorf("a View returns %d and %d", one, two)
		}
	})
}

func entryAt(text []byte) (uint64, bool) { return store.EntryNumber("", string(text)) }

func raised(t *testing.T, s store.Store) {
	const floor = 1 << 40
	next := func() (n uint64) {
		update(t, s, func(tx store.Tx) error { n = tx.Stamp(); return nil })
		return n
	}
	update(t, s, func(tx store.Tx) error { return tx.Raise(floor) })
	first := next()
	if first <= floor {
		t.Errorf("after Raise(%d) comes %d", uint64(floor), first)
	}
	update(t, s, func(tx store.Tx) error { return tx.Raise(7) }) // lowers nothing
	if second := next(); second <= first {
		t.Errorf("after %d comes %d", first, second)
	}
	for _, fail := range []bool{true, false} {
		err := s.Update(t.Context(), func(tx store.Tx) error {
			err := tx.Raise(store.MaxNumber + 1)
			if !errors.Is(err, fault.Invalid) {
				t.Errorf("Raise beyond all numbers = %v, want %v", err, fault.Invalid)
			}
			if fail {
				return errors.Join(tx.Raise(1<<50), errFail)
			}
			return nil
		})
		if fail != errors.Is(err, errFail) {
			t.Errorf("Update = %v", err)
		}
	}
	if n := next(); n > 1<<50 {
		t.Errorf("a function that failed raised the numbers to %d", n)
	}
}
