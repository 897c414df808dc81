package broker

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"activationd/internal/fault"
	"activationd/queue"
	"activationd/store"
)

// A fullStore takes no changes while it is full.
type fullStore struct {
	store.Store
	full    atomic.Bool
	refused chan bool // capacity one
}

// Update implements [store.Store].
func (f *fullStore) Update(ctx context.Context, fn func(store.Tx) error) error {
	if !f.full.Load() {
		return f.Store.Update(ctx, fn)
	}
	select {
	case f.refused <- true:
	default:
	}
	return fault.Unavailable
}

// TestFullStore checks that a broker can be asked for what it has while the ends of messages
// cannot be written, and that these are written when there is room.
func TestFullStore(t *testing.T) {
	file := filepath.Join(t.TempDir(), "go")
	p := newPlace(t, per("q", "sh", "-c", `while ! [ -e "$0" ]; do sleep 0.01; done`, file))
	db := &fullStore{refused: make(chan bool, 1)}
	p.db = func(s store.Store) store.Store {
		db.Store = s
		return db
	}
	r := p.start()
	r.create("q")
	id := r.push("q", "x")
	db.full.Store(true)
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	<-db.refused
	if list, err := r.Queues(t.Context()); err != nil || len(list) != 1 || list[0].InWork != 1 {
		t.Errorf("queues: %+v, %v; want one message in work", list, err)
	}
	if m, err := r.Message(t.Context(), "q", id); err != nil || !m.InWork {
		t.Errorf("the message: %+v, %v; want it in work", m, err)
	}
	if got := r.Push(t.Context(), []NewMessage{{Queue: "q"}}); !errors.Is(got[0].Err, fault.Unavailable) {
		t.Errorf("a push: %v, want one of kind %v", got[0].Err, fault.Unavailable)
	}
	if err := r.Cancel(t.Context(), "q", id, queue.Actor{}); !errors.Is(err, fault.Unavailable) {
		t.Errorf("a cancel: %v, want one of kind %v", err, fault.Unavailable)
	}
	over := make(chan error, 1)
	go func() { over <- r.Await(t.Context(), "q", id) }()
	db.full.Store(false)
	if err := <-over; err != nil {
		t.Error(err)
	}
	if res := r.result("q", id); res == nil || res.Outcome != queue.OutcomeDone {
		t.Errorf("the result: %+v", res)
	}
}
