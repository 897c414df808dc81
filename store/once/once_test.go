package once_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"activationd/internal/fault"
	"activationd/store"
	"activationd/store/memstore"
	"activationd/store/once"
)

// at is when the tests begin.
var at = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func clock() time.Time { return at }

// increase is the effect of a request: it adds one to a number.
func increase(ctx context.Context, db store.Store) error {
	return once.Update(ctx, db, func(tx store.Tx) error {
		n, _ := strconv.Atoi(string(tx.Get("n")))
		once.Known(ctx, fmt.Sprintf("n is %d", n+1))
		return tx.Put("n", []byte(strconv.Itoa(n+1)))
	})
}

func number(t *testing.T, db store.Store) (n string, keys int) {
	t.Helper()
	err := db.View(t.Context(), func(tx store.Tx) error {
		n, keys = string(tx.Get("n")), 0
		for range tx.Scan("io/", "") {
			keys++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n, keys
}

// TestConcurrent sends one request 64 times at once, to two daemons that share a store: it is
// carried out once, and all who get an answer get the same.
func TestConcurrent(t *testing.T) {
	db := memstore.Strict(7)
	keepers := []*once.Keeper{once.New(clock, db), once.New(clock, db)}
	var all sync.WaitGroup
	var mu sync.Mutex
	answers := make(map[string]int)
	for i := range 64 {
		all.Go(func() {
			for {
				ctx, use, err := keepers[i%2].Begin(t.Context(), "ann", "key", "digest")
				body := ""
				if err == nil {
					if err = increase(ctx, db); err == nil {
						body = strconv.Itoa(i)
						err = use.End(ctx, &once.Answer{Status: 201, Body: []byte(body)}, true)
					} else if e := use.End(ctx, nil, false); e != nil {
						t.Error(e)
					}
				}
				var done *once.DoneError
				switch {
				case errors.As(err, &done) && done.Answer != nil:
					body = string(done.Answer.Body)
				case fault.Of(err) == fault.Conflict: // in progress
					continue
				case err != nil:
					t.Error(err)
					return
				}
				mu.Lock()
				answers[body]++
				mu.Unlock()
				return
			}
		})
	}
	all.Wait()
	if n, _ := number(t, db); n != "1" || len(answers) != 1 {
		t.Errorf("64 requests with one key did it %s times, with the answers %v; want one", n, answers)
	}
}

// TestUse checks which requests can be made again under a key.
func TestUse(t *testing.T) {
	db, other := memstore.New(), memstore.New()
	k := once.New(clock, db, other)
	fail := func(ctx context.Context) error {
		return once.Update(ctx, db, func(store.Tx) error { return errors.New("no") })
	}
	for _, tt := range []struct {
		name                string
		caller, key, digest string
		do                  func(context.Context) error
		answer              *once.Answer
		effect              bool
		want                string
		n                   string // afterwards
	}{
		{"one that fails leaves no key", "ann", "a", "1", fail, &once.Answer{Status: 400}, false, "", ""},
		{"it is tried again", "ann", "a", "2", func(ctx context.Context) error { return increase(ctx, db) }, &once.Answer{Status: 201, Body: []byte("x")}, true, "", "1"},
		{"now it is done", "ann", "a", "2", nil, nil, true, "answered 201 x", "1"},
		{"another request", "ann", "a", "3", nil, nil, true, once.ErrOther.Error(), "1"},
		{"another caller", "bob", "a", "3", func(ctx context.Context) error { return increase(ctx, db) }, &once.Answer{Status: 200}, true, "", "2"},
		{"in the other store, with an answer that is lost", "ann", "b", "1", func(ctx context.Context) error { return increase(ctx, other) }, nil, true, "", "2"},
		{"it was carried out", "ann", "b", "1", nil, nil, true, "was carried out at 2026-05-01T12:00:00Z (n is 1), but its answer was not kept", "2"},
		{"an answer that is too large", "ann", "c", "1", func(ctx context.Context) error { return increase(ctx, db) }, &once.Answer{Status: 200, Body: make([]byte, once.MaxAnswer+1)}, true, "", "3"},
		{"it is not kept", "ann", "c", "1", nil, nil, true, "(n is 3), but its answer was not kept", "3"},
		{"two transactions", "ann", "d", "1", func(ctx context.Context) error {
			return errors.Join(increase(ctx, db), increase(ctx, db))
		}, &once.Answer{Status: 200}, true, "", "5"},
		{"no transaction, and it failed", "ann", "e", "1", func(context.Context) error { return nil }, &once.Answer{Status: 503}, false, "", "5"},
		{"no transaction", "ann", "e", "2", func(context.Context) error { return nil }, &once.Answer{Status: 200}, true, "", "5"},
		{"no transaction again", "ann", "e", "2", nil, nil, true, "answered 200", "5"},
		{"before the effect", "ann", "f", "1", func(ctx context.Context) error {
			return errors.Join(increase(once.Without(ctx), db), fail(ctx))
		}, &once.Answer{Status: 409}, false, "", "6"},
		{"only what preceded it was done", "ann", "f", "2", func(ctx context.Context) error { return increase(once.Carry(t.Context(), ctx), db) }, &once.Answer{Status: 200}, true, "", "7"},
		{"in a goroutine", "ann", "f", "2", nil, nil, true, "answered 200", "7"},
	} {
		ctx, use, err := k.Begin(t.Context(), tt.caller, tt.key, tt.digest)
		var done *once.DoneError
		got := ""
		switch {
		case errors.As(err, &done) && done.Answer != nil:
			got = fmt.Sprintf("answered %d %s", done.Answer.Status, done.Answer.Body)
		case err != nil:
			got = err.Error()
		case tt.do == nil:
			got = "it would be carried out"
		default:
			if _, _, err := k.Begin(t.Context(), tt.caller, tt.key, tt.digest); !errors.Is(err, once.ErrBusy) {
				t.Errorf("%s: meanwhile: %v, want %v", tt.name, err, once.ErrBusy)
			}
			_ = tt.do(ctx)
		}
		if err == nil {
			if err := use.End(t.Context(), tt.answer, tt.effect); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
		}
		if n, _ := number(t, db); !strings.Contains(got, tt.want) || tt.want == "" && got != "" || n != tt.n {
			t.Errorf("%s: %q, and n is %s; want %q and %s", tt.name, got, n, tt.want, tt.n)
		}
	}
}

func TestPrune(t *testing.T) {
	db := memstore.New()
	now := at
	k := once.New(func() time.Time { return now }, db)
	for i := range 120 {
		now = at.Add(time.Duration(i) * time.Minute)
		ctx, use, err := k.Begin(t.Context(), "ann", strconv.Itoa(i), "1")
		if err = errors.Join(err, increase(ctx, db), use.End(ctx, &once.Answer{Status: 200}, true)); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.Prune(t.Context(), at.Add(110*time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, keys := number(t, db); keys != 20 {
		t.Errorf("%d entries are left, want 20: two for each of 10 keys", keys)
	}
	if _, _, err := k.Begin(t.Context(), "ann", "0", "2"); err != nil {
		t.Errorf("a key that was removed: %v", err)
	}
	if _, _, err := k.Begin(t.Context(), "ann", "119", "2"); !errors.Is(err, once.ErrOther) {
		t.Errorf("a key that was not removed: %v, want %v", err, once.ErrOther)
	}
}
