package activation_test

import (
	"context"
	"log/slog"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"

	. "activationd/activation"

	"activationd/event"
	"activationd/store"
	"activationd/store/memstore"
)

// A slowDisk has no limits, and lets a write end only when the test allows it.
type slowDisk struct {
	store.Store
	slow    atomic.Bool
	writes  atomic.Int32
	allowed chan struct{}
}

func (s *slowDisk) Update(ctx context.Context, fn func(store.Tx) error) error {
	if s.slow.Load() {
		s.writes.Add(1)
		<-s.allowed
	}
	return s.Store.Update(ctx, fn)
}

// Jobs that come while others are written are written together, but only those of one
// actor, and each call gets the answers for its own jobs.
func TestAddGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := &slowDisk{Store: memstore.New(), allowed: make(chan struct{})}
		e := New(Parts{DB: db, Boot: "boot", Nodes: fakeNodes, Log: slog.New(slog.DiscardHandler)}, Settings{})
		if err := e.Update(t.Context(), func(*Txn) error { return nil }); err != nil { // the first one writes more
			t.Fatal(err)
		}
		db.slow.Store(true)
		ended := make(chan string, 100)
		call := func(who string, n int) {
			jobs := make([]NewJob, n)
			for i := range jobs {
				jobs[i].Order = Order{Argv: []string{"true"}, Owner: who, Label: who + strconv.Itoa(i)}
			}
			jobs[n-1].Priority = 1000 // is refused
			added, err := e.Add(t.Context(), Actor{Kind: event.ByUser, Name: who, UID: -1}, jobs)
			if err != nil || len(added) != n {
				t.Errorf("%s got %d answers, and %v", who, len(added), err)
			}
			for i, a := range added {
				if refused := i == n-1; (a.Err != nil) != refused || (a.ID == "") != refused {
					t.Errorf("the answer for job %d of %d: %+v", i, n, a)
				}
				if a.ID == "" {
					continue
				}
				err := e.View(t.Context(), func(tx *Txn) error {
					r, err := tx.Record(a.ID)
					if err == nil && (r.Owner != who || r.Label != who+strconv.Itoa(i)) {
						t.Errorf("%s's job %d has the id of %s of %s", who, i, r.Label, r.Owner)
					}
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
			ended <- who
		}
		wait := func(calls, writes int) {
			t.Helper()
			synctest.Wait()
			if len(ended) != calls || int(db.writes.Load()) != writes {
				t.Fatalf("%d calls have ended and %d writes have begun, want %d and %d", len(ended), db.writes.Load(), calls, writes)
			}
		}
		go call("ada", 2)
		wait(0, 1)
		for n := range 5 {
			go call("ada", n+2)
		}
		go call("bob", 2) // whose events must not name ada
		wait(0, 2)
		db.allowed <- struct{}{}
		db.allowed <- struct{}{}
		wait(2, 3)
		db.allowed <- struct{}{}
		wait(7, 3)
		if n := e.Adding(); n != 0 {
			t.Errorf("%d actors are kept", n)
		}
		events, err := e.Events().Read(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(events) != 1+1+1+2+3+4+5 {
			t.Errorf("%d events", len(events))
		}
		for _, ev := range events {
			if ev.Actor == nil || ev.Actor.Name != ev.Owner {
				t.Errorf("the event about %s of %s names %v", ev.ID, ev.Owner, ev.Actor)
			}
		}

		for range 3 {
			go call("ada", GatherMost)
		}
		wait(7, 4)
		close(db.allowed)
		wait(10, 6) // no two of them together
	})
}
