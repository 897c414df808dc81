// Package storetest tests the contract of [store.Store]. Each implementation calls it in
// its own test.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"activationd/store"
)

// Run tests the stores that open returns. Each must be empty. Open must close them when
// the test ends. Run tests the optional interfaces of stores that have them.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	type test struct {
		name string
		fn   func(*testing.T, store.Store)
	}
	tests := []test{
		{"values", values},
		{"scan", scan},
		{"scan while writing", scanWhileWriting},
		{"failing writes nothing", failing},
		{"panic", panicking},
		{"goexit", exiting},
		{"cancelled", cancelled},
		{"used after its function", usedAfter},
		{"view is one moment", viewIsOneMoment},
		{"view cannot write", viewCannotWrite},
		{"counters", counters},
		{"log", log},
		{"log's reader", logReader},
		{"stamps", stamps},
		{"numbers are raised", raised},
		{"model", model},
		{"large", large},
	}
	s := open(t)
	if ops, _ := store.Limits(s); ops < store.NoLimit {
		tests = append(tests, test{"limits", limits})
	}
	if own, ok := s.(store.Session); ok {
		t.Run("session", func(t *testing.T) { session(t, own) })
	}
	if w, ok := s.(store.Watcher); ok {
		t.Run("watch", func(t *testing.T) { watch(t, s, w) })
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.fn(t, open(t)) })
	}
}

func update(t *testing.T, s store.Store, fn func(store.Tx) error) {
	t.Helper()
	if err := s.Update(t.Context(), fn); err != nil {
		t.Fatalf("Update: %v", err)
	}
}

func view(t *testing.T, s store.Store, fn func(store.Tx)) {
	t.Helper()
	if err := s.View(t.Context(), func(tx store.Tx) error { fn(tx); return nil }); err != nil {
		t.Fatalf("View: %v", err)
	}
}

// put writes words as keys and values in turn.
func put(tx store.Tx, words ...string) error {
	for kv := range slices.Chunk(words, 2) {
		if err := tx.Put(kv[0], []byte(kv[1])); err != nil {
			return err
		}
	}
	return nil
}

// list returns what a scan yields, as "k=v k=v".
func list(tx store.Tx, prefix, from string) string {
	var out []string
	for k, v := range tx.Scan(prefix, from) {
		out = append(out, k+"="+string(v))
	}
	return strings.Join(out, " ")
}

func all(t *testing.T, s store.Store) (out string) {
	t.Helper()
	view(t, s, func(tx store.Tx) { out = list(tx, "", "") })
	return out
}

// usedAfter checks that a transaction cannot be used after its function has returned:
// it panics, because it would read or write at no defined moment.
func usedAfter(t *testing.T, s store.Store) {
	var read, written store.Tx
	view(t, s, func(tx store.Tx) { read = tx })
	update(t, s, func(tx store.Tx) error { written = tx; return put(tx, "a", "1") })
	for name, use := range map[string]func(){
		"Get of a View":    func() { read.Get("a") },
		"Get of an Update": func() { written.Get("a") },
		"Put":              func() { _ = written.Put("a", []byte("2")) },
		"Delete":           func() { _ = written.Delete("a") },
		"Scan":             func() { list(written, "", "") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s after the function has returned does not panic", name)
				}
			}()
			use()
		}()
	}
	if got, want := all(t, s), "a=1"; got != want {
		t.Errorf("after that it has %q, want %q", got, want)
	}
}

func values(t *testing.T, s store.Store) {
	check := func(tx store.Tx) error {
		if got := tx.Get("empty"); got == nil || len(got) != 0 {
			t.Errorf("Get of an empty value = %#v, want empty and not nil", got)
		}
		if got := tx.Get("a"); string(got) != "2" {
			t.Errorf("Get(a) = %q, want 2", got)
		}
		for _, key := range []string{"none", "b", "", "aa", "\xff\xff"} {
			if got := tx.Get(key); got != nil {
				t.Errorf("Get(%q) = %q, want nil", key, got)
			}
		}
		return nil
	}
	update(t, s, func(tx store.Tx) error {
		if err := put(tx, "a", "1", "b", "1", "a", "2", "bin\x00\xff", "x\x00"); err != nil {
			return err
		}
		return errors.Join(tx.Put("empty", nil), tx.Delete("b"), tx.Delete("none"), check(tx))
	})
	view(t, s, func(tx store.Tx) { _ = check(tx) })
	if got, want := all(t, s), "a=2 bin\x00\xff=x\x00 empty="; got != want {
		t.Errorf("all = %q, want %q", got, want)
	}
	update(t, s, func(tx store.Tx) error {
		if err := tx.Put("", []byte("x")); err == nil {
			t.Error("Put of an empty key succeeded")
		}
		return nil
	})
}

func scan(t *testing.T, s store.Store) {
	words := []string{"a", "1", "a/", "2", "a/b", "3", "a/c", "4", "a0", "5", "b", "6"}
	update(t, s, func(tx store.Tx) error { return put(tx, words...) })
	tests := []struct{ prefix, from, want string }{
		{"", "", "a=1 a/=2 a/b=3 a/c=4 a0=5 b=6"},
		{"a/", "", "a/=2 a/b=3 a/c=4"},
		{"a/", "a/", "a/=2 a/b=3 a/c=4"},
		{"a/", "a/b", "a/b=3 a/c=4"},
		{"a/", "a/bb", "a/c=4"},
		{"a/", "a/d", ""},
		{"a/", "b", ""},
		{"a/", "a", "a/=2 a/b=3 a/c=4"},
		{"", "a0", "a0=5 b=6"},
		{"c", "", ""},
		{"a/b", "", "a/b=3"},
	}
	for _, tt := range tests {
		view(t, s, func(tx store.Tx) {
			if got := list(tx, tt.prefix, tt.from); got != tt.want {
				t.Errorf("Scan(%q, %q) = %q, want %q", tt.prefix, tt.from, got, tt.want)
			}
		})
	}
	view(t, s, func(tx store.Tx) {
		for k := range tx.Scan("a", "") {
			if k == "a/b" {
				break // leaves the transaction usable, and scans may be nested
			}
			if got, want := list(tx, "b", ""), "b=6"; got != want {
				t.Errorf("nested Scan = %q, want %q", got, want)
			}
		}
		if got := string(tx.Get("a0")); got != "5" {
			t.Errorf("Get after a scan = %q, want 5", got)
		}
	})
}

func scanWhileWriting(t *testing.T, s store.Store) {
	update(t, s, func(tx store.Tx) error { return put(tx, "a", "1", "b", "1", "c", "1", "d", "1", "e", "1") })
	update(t, s, func(tx store.Tx) error {
		if err := put(tx, "b", "2", "bb", "2", "f", "2"); err != nil {
			return err
		}
		if err := tx.Delete("d"); err != nil {
			return err
		}
		if got, want := list(tx, "", ""), "a=1 b=2 bb=2 c=1 e=1 f=2"; got != want {
			t.Errorf("Scan over own writes = %q, want %q", got, want)
		}
		var seen string
		for k, v := range tx.Scan("", "") {
			seen += k + string(v)
			switch k {
			case "a":
				if err := errors.Join(tx.Delete("a"), tx.Delete("c"), tx.Delete("bb"), put(tx, "e", "3")); err != nil {
					return err
				}
			case "e":
				if err := put(tx, "a", "3", "e", "4"); err != nil { // behind it, and under it
					return err
				}
			}
		}
		if want := "a1b2e3f2"; seen != want {
			t.Errorf("Scan while writing saw %q, want %q", seen, want)
		}
		return nil
	})
	if got, want := all(t, s), "a=3 b=2 e=4 f=2"; got != want {
		t.Errorf("all = %q, want %q", got, want)
	}
	ops, _ := store.Limits(s)
	many := min(1000, ops)
	update(t, s, func(tx store.Tx) error { // empties a range that it walks
		for i := range many {
			if err := put(tx, fmt.Sprintf("r/%04d", i), "x"); err != nil {
				return err
			}
		}
		return nil
	})
	update(t, s, func(tx store.Tx) error {
		n := 0
		for k := range tx.Scan("r/", "") {
			n++
			if err := tx.Delete(k); err != nil {
				return err
			}
		}
		if n != many {
			t.Errorf("a scan that deletes saw %d keys, want %d", n, many)
		}
		return nil
	})
	if got, want := all(t, s), "a=3 b=2 e=4 f=2"; got != want {
		t.Errorf("all = %q, want %q", got, want)
	}
}

var errFail = errors.New("no")

func failing(t *testing.T, s store.Store) {
	update(t, s, func(tx store.Tx) error { return put(tx, "a", "1") })
	err := s.Update(t.Context(), func(tx store.Tx) error {
		return errors.Join(put(tx, "a", "2", "b", "2"), errFail)
	})
	if !errors.Is(err, errFail) {
		t.Errorf("Update = %v, want %v", err, errFail)
	}
	if err := s.View(t.Context(), func(store.Tx) error { return errFail }); !errors.Is(err, errFail) {
		t.Errorf("View = %v, want %v", err, errFail)
	}
	if got, want := all(t, s), "a=1"; got != want {
		t.Errorf("all = %q, want %q", got, want)
	}
}

func panicking(t *testing.T, s store.Store) {
	for _, f := range []func(context.Context, func(store.Tx) error) error{s.Update, s.View} {
		func() {
			defer func() {
				if p := recover(); p != "ouch" {
					t.Errorf("panic = %v, want ouch", p)
				}
			}()
			_ = f(t.Context(), func(tx store.Tx) error {
				_ = tx.Put("a", nil)
				panic("ouch")
			})
		}()
	}
	update(t, s, func(tx store.Tx) error { return put(tx, "b", "1") })
	if got, want := all(t, s), "b=1"; got != want {
		t.Errorf("all = %q, want %q", got, want)
	}
}

// A function may end its goroutine, as a failing test does.
func exiting(t *testing.T, s store.Store) {
	for _, f := range []func(context.Context, func(store.Tx) error) error{s.Update, s.View} {
		var wg sync.WaitGroup
		wg.Go(func() {
			_ = f(t.Context(), func(tx store.Tx) error {
				_ = tx.Put("a", nil)
				runtime.Goexit()
				return nil
			})
		})
		wg.Wait()
	}
	update(t, s, func(tx store.Tx) error { return put(tx, "b", "1") })
	if got, want := all(t, s), "b=1"; got != want {
		t.Errorf("all = %q, want %q", got, want)
	}
}

func cancelled(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	// Once it has run, it is not withdrawn.
	err := s.Update(ctx, func(tx store.Tx) error { cancel(); return put(tx, "a", "1") })
	if err != nil {
		t.Errorf("Update whose context ended meanwhile = %v", err)
	}
	for _, f := range []func(context.Context, func(store.Tx) error) error{s.Update, s.View} {
		err := f(ctx, func(store.Tx) error { t.Error("ran with a context that is done"); return nil })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("with a context that is done = %v, want %v", err, context.Canceled)
		}
	}
	// An Update that waits for its turn gives up, and does not run later.
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	var once sync.Once
	update(t, s, func(tx store.Tx) error {
		once.Do(func() { wg.Go(func() { waits(ctx, t, s) }) })
		cancel()
		return nil
	})
	wg.Wait()
}

// waits checks an Update that may have to wait for another one until ctx is done.
func waits(ctx context.Context, t *testing.T, s store.Store) {
	err := s.Update(ctx, func(tx store.Tx) error { return put(tx, "b", "1") })
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("waiting Update = %v, want nil or %v", err, context.Canceled)
	}
	if got := all(t, s); (err == nil) != strings.Contains(got, "b=1") {
		t.Errorf("waiting Update = %v, and all = %q", err, got)
	}
}

func viewIsOneMoment(t *testing.T, s store.Store) {
	update(t, s, func(tx store.Tx) error { return put(tx, "a", "1", "b", "1") })
	entered, written := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(written)
		<-entered
		for i := range 100 { // enough for pages to be used again, if they could be
			update(t, s, func(tx store.Tx) error { return put(tx, "a", strconv.Itoa(i), "b", "2", "c", "2") })
		}
	})
	calls := 0
	view(t, s, func(tx store.Tx) {
		before := tx.Get("a")
		want := "a=1 b=1"
		if calls++; calls == 1 {
			close(entered)
		} else {
			want = "a=99 b=2 c=2" // it may see a newer moment when it runs again
		}
		<-written
		if got := list(tx, "", ""); got != want || !strings.HasPrefix(want, "a="+string(before)+" ") {
			t.Errorf("a View during writes = %q and %q, want %q", got, before, want)
		}
	})
	wg.Wait()
	if got, want := all(t, s), "a=99 b=2 c=2"; got != want {
		t.Errorf("all = %q, want %q", got, want)
	}
}

func viewCannotWrite(t *testing.T, s store.Store) {
	view(t, s, func(tx store.Tx) {
		if tx.Put("a", nil) == nil || tx.Delete("a") == nil {
			t.Error("a View wrote")
		}
	})
}

// Concurrent callers do not lose each other's writes, and callers that fail or panic in
// between do not harm the others.
func counters(t *testing.T, s store.Store) {
	const callers, rounds = 16, 25
	add := func(tx store.Tx, key string) error {
		n, _ := strconv.Atoi(string(tx.Get(key)))
		return tx.Put(key, strconv.AppendInt(nil, int64(n+1), 10))
	}
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range rounds {
				func() {
					defer func() { _ = recover() }()
					err := s.Update(t.Context(), func(tx store.Tx) error {
						if err := errors.Join(add(tx, "all"), add(tx, fmt.Sprintf("of/%02d", c))); err != nil {
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
	wg.Wait()
	want := []string{"all=" + strconv.Itoa(callers*rounds*3/5)}
	for c := range callers {
		want = append(want, fmt.Sprintf("of/%02d=%d", c, rounds*3/5))
	}
	slices.Sort(want)
	if got := all(t, s); got != strings.Join(want, " ") {
		t.Errorf("all = %q, want %q", got, want)
	}
}

// large writes far more than a page, in one transaction if the limits allow it, in
// random order, and reads its own writes meanwhile.
func large(t *testing.T, s store.Store) {
	const n = 20_000
	val := bytes.Repeat([]byte("x"), 100)
	key := func(i int) string { return fmt.Sprintf("k/%08d", i*7919%n) } // each once
	ops, size := store.Limits(s)
	slice := min(ops, size/200)
	for from := 0; from < n; from += min(slice, n) {
		update(t, s, func(tx store.Tx) error {
			for i := from; i < n && i-from < slice; i++ {
				if err := tx.Put(key(i), val); err != nil {
					return err
				}
				if i%1000 == 0 {
					if tx.Get(key(i)) == nil || tx.Get(key(i+1)) != nil {
						t.Errorf("after %d writes: own writes are not read", i)
					}
				}
			}
			return nil
		})
	}
	view(t, s, func(tx store.Tx) {
		i := 0
		for k, v := range tx.Scan("k/", "") {
			if want := fmt.Sprintf("k/%08d", i); k != want || len(v) != len(val) {
				t.Fatalf("key %d is %q of %d bytes, want %q", i, k, len(v), want)
			}
			i++
		}
		if i != n {
			t.Errorf("%d keys, want %d", i, n)
		}
	})
}
