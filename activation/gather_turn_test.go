package activation_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	. "activationd/activation"

	"activationd/event"
	"activationd/internal/fault"
	"activationd/store"
)

// A job that is due at once is added and claimed in one transaction, if the engine has nothing else to do.
func TestAddInTurn(t *testing.T) {
	tests := []struct {
		name    string
		job     NewJob
		set     func(*Settings)
		commits int
		state   State
	}{
		{"at once", NewJob{}, nil, 1, Activating},
		{"later", NewJob{At: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)}, nil, 1, Scheduled},
		{"on hold", NewJob{Hold: true}, nil, 1, Held},
		{"without a slot", NewJob{}, func(s *Settings) { s.MaxParallel = 1 }, 1, Waiting},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, tt.set, func(rig *testRig) {
				rig.script("1", Activate, long)
				rig.script("2", Activate, long)
				rig.add(NewJob{})
				commits := rig.mem.Commits()
				id := rig.add(tt.job)
				if got := rig.mem.Commits() - commits; got != tt.commits {
					t.Errorf("it took %d transactions, want %d", got, tt.commits)
				}
				rig.is(id, string(tt.state))
			})
		})
	}
}

// The events of such a transaction have the actors that they would have otherwise.
func TestActorsOfAddInTurn(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.script("1", Activate, long)
		ctx, cancel := context.WithCancel(context.Background())
		var said []string
		following := make(chan struct{})
		go func() {
			defer close(following)
			_ = rig.e.Follow(ctx, 0, func(ev *event.Event) error {
				who := "nobody"
				if ev.Actor != nil {
					who = ev.Actor.Name
				}
				if ev.ID == "1" {
					said = append(said, fmt.Sprint(ev.What, ev.Action, " by ", who))
				}
				return nil
			})
		}()
		rig.add(NewJob{})
		cancel()
		<-following
		if got, want := strings.Join(said, ", "), "stateadd by "+admin.Name+", state by nobody, state by nobody, attempt.started by nobody"; got != want {
			t.Errorf("%s; want %s", got, want)
		}
	})
}

// A jobStore refuses, while it is set to, to add jobs.
type jobStore struct {
	store.Store
	refuse atomic.Bool
}

// Limits implements [store.Limiter].
func (s *jobStore) Limits() (ops, bytes int) { return store.Limits(s.Store) }

func (s *jobStore) Update(ctx context.Context, fn func(store.Tx) error) error {
	return s.Store.Update(ctx, func(tx store.Tx) error { return fn(jobTx{tx, s}) })
}

type jobTx struct {
	store.Tx
	s *jobStore
}

func (tx jobTx) Put(key string, value []byte) error {
	if tx.s.refuse.Load() && strings.HasPrefix(key, "a/") {
		return fmt.Errorf("the disk is full: %w", fault.Unavailable)
	}
	return tx.Tx.Put(key, value)
}

// A job that cannot be added in the engine's turn is not added, its client learns that, and the engine goes on.
func TestRefusedAddInTurn(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.shutDown()
		db := &jobStore{Store: rig.db}
		rig.db = db
		rig.start()
		synctest.Wait()
		db.refuse.Store(true)
		for range 3 {
			if _, err := rig.e.Add(context.Background(), admin, []NewJob{{Order: Order{Argv: []string{"true"}}}}); !errors.Is(err, fault.Unavailable) {
				t.Errorf("Add: %v, want unavailable", err)
			}
			synctest.Wait()
		}
		db.refuse.Store(false)
		rig.script("1", Activate, long)
		if id := rig.add(NewJob{}); id != "1" {
			t.Errorf("added as %s, want 1: those before were not added", id)
		}
		rig.is("1", "activating")
	})
}

// Jobs that are not valid keep no others from being added, and are not added.
func TestInvalidAddInTurn(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		jobs := []NewJob{{Order: Order{Argv: []string{"true"}}}, {}, {Order: Order{Argv: []string{"true"}}}}
		added, err := rig.e.Add(context.Background(), admin, jobs)
		if err != nil || added[0].ID != "1" || !errors.Is(added[1].Err, fault.Invalid) || added[2].ID != "2" {
			t.Errorf("Add: %+v, %v", added, err)
		}
	})
}

// Each of many concurrent calls is answered, whether the engine is busy or not, and while it ends.
func TestManyAddsInTurn(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		const n = 300
		answers := make(chan error, n)
		for i := range n {
			go func() {
				time.Sleep(time.Duration(i%7) * time.Millisecond)
				added, err := rig.e.Add(context.Background(), Actor{Name: fmt.Sprint("user", i%5), UID: i % 5}, []NewJob{{Order: Order{Argv: []string{"true"}, Owner: "ada"}}})
				if err == nil {
					err = added[0].Err
				}
				answers <- err
			}()
		}
		rig.sleep(time.Minute)
		ids := 0
		for range n {
			if err := <-answers; err != nil {
				t.Error(err)
			}
			ids++
		}
		for i := range ids {
			rig.is(fmt.Sprint(i+1), "succeeded")
		}
	})
}

// A daemon that is being drained adds no job, even if the engine took it over before.
func TestAddInTurnWhileDraining(t *testing.T) {
	bubble(t, nil, func(rig *testRig) {
		rig.onTurn.Store(sync.OnceFunc(func() { rig.e.Drain() }))
		_, err := rig.e.Add(context.Background(), admin, []NewJob{{Order: Order{Argv: []string{"true"}}}})
		synctest.Wait()
		if !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "drained") {
			t.Errorf("Add: %v", err)
		}
		if _, err := rig.e.Get(context.Background(), "1"); !errors.Is(err, fault.NotFound) {
			t.Errorf("Get: %v", err)
		}
	})
}
