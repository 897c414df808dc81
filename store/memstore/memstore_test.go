package memstore_test

import (
	"errors"
	"strings"
	"testing"

	"activationd/internal/fault"
	"activationd/store"
	"activationd/store/memstore"
	"activationd/store/storetest"
)

func TestConformance(t *testing.T) {
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) store.Store { return open() })
			storetest.RunFailing(t, func(t *testing.T) (store.Store, func(int)) {
				s := open()
				return s, s.FailRead
			})
		})
	}
}

var stores = map[string]func() *memstore.Store{
	"plain":  memstore.New,
	"strict": func() *memstore.Store { return memstore.Strict(1) },
}

// TestStrict tests that a strict store finds what the contract forbids.
func TestStrict(t *testing.T) {
	s := memstore.Strict(1)
	calls := 0
	var kept []byte
	for range 20 {
		err := s.Update(t.Context(), func(tx store.Tx) error {
			calls++
			kept = tx.Get("a")
			return tx.Put("a", []byte("value"))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if calls <= 40 {
		t.Errorf("20 functions were called %d times: there were no conflicts", calls)
	}
	if string(kept) == "value" {
		t.Error("a slice is still of use after its transaction")
	}
	defer func() {
		if p, _ := recover().(string); !strings.Contains(p, "was modified") {
			t.Errorf("a function that modifies a value: panic %q", p)
		}
	}()
	_ = s.View(t.Context(), func(tx store.Tx) error { tx.Get("a")[0] = 'x'; return nil })
}

func TestFull(t *testing.T) {
	s := memstore.New()
	put := func() error { return s.Update(t.Context(), func(tx store.Tx) error { return tx.Put("a", nil) }) }
	s.SetFull(true)
	if err := put(); !errors.Is(err, fault.Unavailable) || s.Value("a") != nil {
		t.Errorf("Update of a full store = %v", err)
	}
	s.SetFull(false)
	if err := put(); err != nil || s.Value("a") == nil || s.Commits() != 1 {
		t.Errorf("Update after that = %v, %d commits", err, s.Commits())
	}
}

// TestSession tests that nothing is written once a session has ended, and that
// other sessions remain.
func TestSession(t *testing.T) {
	s := memstore.New()
	one, two := s.Session("one"), s.Session("two")
	storetest.Run(t, func(*testing.T) store.Store { return memstore.New().Session("one") })
	put := func(s store.Store, key string) error {
		return s.Update(t.Context(), func(tx store.Tx) error { return tx.Put(key, nil) })
	}
	if err := errors.Join(put(one, "a"), put(two, "b")); err != nil {
		t.Fatal(err)
	}
	one.End()
	<-one.Done()
	if err := put(one, "c"); !errors.Is(err, fault.Unavailable) {
		t.Errorf("Update after the session's end = %v, want %v", err, fault.Unavailable)
	}
	if err := put(two, "d"); err != nil {
		t.Errorf("Update of another session = %v", err)
	}
	if got := strings.Join(s.Keys(""), " "); got != "a b d" {
		t.Errorf("the store has %s, want a b d", got)
	}
}
