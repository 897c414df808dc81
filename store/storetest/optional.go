package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"activationd/internal/fault"
	"activationd/store"
)

// limits tests that a store takes transactions within its limits, and writes nothing of a
// larger one.
func limits(t *testing.T, s store.Store) {
	ops, size := store.Limits(s)
	writes := func(n int) error {
		return s.Update(t.Context(), func(tx store.Tx) error {
			for i := range n {
				for range 2 { // a key that is written twice counts once
					if err := put(tx, fmt.Sprintf("key/%d", i), "x"); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	if err := writes(ops); err != nil {
		t.Errorf("Update of %d keys = %v", ops, err)
	}
	// Entries of one log count as one write.
	err := s.Update(t.Context(), func(tx store.Tx) error {
		for range 2 * ops {
			if err := tx.Append("log/", nil, 1); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Errorf("Update of %d entries = %v", 2*ops, err)
	}
	before := all(t, s)
	if err := writes(ops + 1); !errors.Is(err, fault.Invalid) {
		t.Errorf("Update of %d keys = %v, want %v", ops+1, err, fault.Invalid)
	}
	if err := s.Update(t.Context(), func(tx store.Tx) error { return tx.Put("k", make([]byte, size-1)) }); err != nil {
		t.Errorf("Update of %d bytes = %v", size, err)
	}
	update(t, s, func(tx store.Tx) error { return tx.Delete("k") })
	if err := s.Update(t.Context(), func(tx store.Tx) error { return tx.Put("k", make([]byte, size)) }); !errors.Is(err, fault.Invalid) {
		t.Errorf("Update of %d bytes = %v, want %v", size+1, err, fault.Invalid)
	}
	if all(t, s) != before {
		t.Error("an Update that exceeds the limits was written in part")
	}
}

func session(t *testing.T, own store.Session) {
	if own.ID() == "" {
		t.Error("a session has no id")
	}
	select {
	case <-own.Done():
		t.Error("a new session has ended")
	default:
	}
}

func watch(t *testing.T, s store.Store, w store.Watcher) {
	ctx, cancel := context.WithCancel(t.Context())
	more, other := w.Watch(ctx, "a/"), w.Watch(ctx, "b/")
	for range 3 {
		update(t, s, func(tx store.Tx) error { return put(tx, "a/1", "x", "a", "x", "c", "x") })
	}
	<-more
	select {
	case <-more:
		t.Error("several changes are reported more than once")
	case <-other:
		t.Error("a change of other keys is reported")
	default:
	}
	update(t, s, func(tx store.Tx) error { return errors.Join(tx.Delete("a/1"), tx.Append("b/", nil, 1)) })
	<-more
	<-other
	cancel()
	if _, open := <-more; open {
		t.Error("a change is reported that was not made")
	}
}

// RunFailing tests that a read that fails ends its function. Open returns an empty store,
// and a function that makes the n-th read from then on fail.
func RunFailing(t *testing.T, open func(t *testing.T) (s store.Store, failRead func(n int))) {
	reads := map[string]func(store.Tx){
		"get":  func(tx store.Tx) { tx.Get("a") },
		"scan": func(tx store.Tx) { list(tx, "", "") },
		"scan goes on": func(tx store.Tx) {
			for k := range tx.Scan("", "") {
				if k == "b" {
					return
				}
			}
		},
	}
	for name, read := range reads {
		t.Run("a failing read/"+name, func(t *testing.T) {
			s, failRead := open(t)
			update(t, s, func(tx store.Tx) error { return put(tx, "a", "1", "b", "1") })
			for what, f := range map[string]func(context.Context, func(store.Tx) error) error{"Update": s.Update, "View": s.View} {
				n := 1
				if name == "scan goes on" {
					n = 2
				}
				failRead(n)
				returned, deferred := false, false
				err := f(t.Context(), func(tx store.Tx) error {
					defer func() {
						deferred = true
						_ = put(tx, "c", "1") // is not written
					}()
					_ = put(tx, "a", "2")
					_ = tx.Append("log/", nil, 1)
					read(tx)
					returned = true
					return nil
				})
				if !errors.Is(err, fault.Unavailable) || returned || !deferred {
					t.Errorf("%s whose read fails = %v; it returned: %v; deferred functions ran: %v", what, err, returned, deferred)
				}
				failRead(0)
				if got, want := all(t, s), "a=1 b=1"; got != want {
					t.Errorf("after %s whose read failed: %q, want %q", what, got, want)
				}
			}
		})
	}
}
