// Package memstore is a [store.Store] in memory, for tests.
//
// The store that [New] returns behaves like package bolt: it runs one function after the
// other, and each of them once. The store that [Strict] returns does everything that the
// contract allows and package bolt never does: it runs functions at the same time and
// repeatedly, refuses large transactions, and overwrites the slices that it returned.
// Code that passes its tests on both relies on the contract alone.
//
// Both can be made to fail: see [Store.SetFull] and [Store.FailRead].
package memstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"activationd/internal/fault"
	"activationd/store"
)

// The limits of a transaction of a strict store are those of etcd's default
// settings.
const (
	StrictOps   = 128
	StrictBytes = 1 << 20
)

// A Store is a store in memory.
type Store struct {
	turn   sync.Mutex // held while a function of Update runs, unless the store is strict
	strict bool

	now atomic.Pointer[snapshot]

	mu        sync.Mutex // guards the rest, and is held to set now
	conflicts *rand.Rand // nil: none by chance
	watchers  []*watcher
	committed func(key string, was, is []byte)
	commits   int

	full     atomic.Bool
	failRead atomic.Int64 // the number of reads until one fails; 0: none does
}

// A snapshot is the contents of the store at one moment.
type snapshot struct {
	root   *node
	number uint64 // the newest number of a stamp or an entry
}

// New returns an empty store.
func New() *Store {
	s := new(Store)
	s.now.Store(new(snapshot))
	return s
}

// Strict returns an empty store that runs each function at least twice. It also runs a
// function again after a conflict: with another transaction, or one that the seed
// determines. It takes no transaction of more than [StrictOps] writes or [StrictBytes]
// bytes. When a function has returned, the store overwrites the slices that the function
// got; it panics if the function modified one.
func Strict(seed uint64) *Store {
	s := New()
	s.strict, s.conflicts = true, rand.New(rand.NewPCG(seed, 0))
	return s
}

// Limits implements [store.Limiter].
func (s *Store) Limits() (ops, bytes int) {
	if s.strict {
		return StrictOps, StrictBytes
	}
	return store.NoLimit, store.NoLimit
}

// SetFull makes each Update that writes fail after its function ran, as if there was no
// space left. False ends that.
func (s *Store) SetFull(full bool) { s.full.Store(full) }

// Full reports whether the store was made full by [Store.SetFull].
func (s *Store) Full() bool { return s.full.Load() }

// FailRead makes the n-th read from now on fail; a read is a Get or a step of a Scan.
// Zero ends that.
func (s *Store) FailRead(n int) { s.failRead.Store(int64(n)) }

// OnCommit sets a function that is called after each commit with each key that it
// changed. A nil value means that the key did not exist before, or does not exist now.
func (s *Store) OnCommit(fn func(key string, was, is []byte)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.committed = fn
}

// Commits returns the number of transactions that have written something.
func (s *Store) Commits() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.commits
}

// Keys returns the keys that have a prefix, in order.
func (s *Store) Keys(prefix string) (keys []string) {
	root := s.now.Load().root
	for n := root.seek(prefix); n != nil && strings.HasPrefix(n.key, prefix); n = root.seek(n.key + "\x00") {
		keys = append(keys, n.key)
	}
	return keys
}

// Value returns a copy of a key's value, or nil if there is none.
func (s *Store) Value(key string) []byte { return slices.Clone(s.now.Load().root.get(key)) }

// Set sets a key's value outside of all transactions; nil removes the key. It is for
// tests that damage stored data.
func (s *Store) Set(key string, val []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := *s.now.Load()
	if val == nil {
		next.root = next.root.remove(key)
	} else {
		next.root = next.root.put(key, slices.Clone(val))
	}
	s.now.Store(&next)
}

// View implements [store.Store].
func (s *Store) View(ctx context.Context, fn func(store.Tx) error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	err := s.begin(true).run(fn)
	if err == nil && s.strict {
		err = s.begin(true).run(fn)
	}
	return err
}

// Update implements [store.Store].
func (s *Store) Update(ctx context.Context, fn func(store.Tx) error) error {
	if !s.strict {
		s.turn.Lock()
		defer s.turn.Unlock()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for again := s.strict; ; again = false {
		t := s.begin(false)
		if err := t.run(fn); err != nil {
			return err
		}
		if again {
			continue
		}
		if committed, err := s.commit(t); committed || err != nil {
			return err
		}
	}
}

// commit makes the writes of t the contents of the store, unless another transaction has
// written since t began.
func (s *Store) commit(t *tx) (committed bool, err error) {
	t.number()
	if len(t.writes) == 0 && t.at.number == t.base.number {
		return true, nil
	}
	if err := t.tooLarge(); err != nil {
		return false, err
	}
	if s.full.Load() {
		return false, fmt.Errorf("no space left: %w", fault.Unavailable)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.Load() != t.base || s.conflicts != nil && s.conflicts.IntN(4) == 0 {
		return false, nil
	}
	s.now.Store(&t.at)
	s.commits++
	for key := range t.writes {
		for _, w := range s.watchers {
			w.tell(key)
		}
		if s.committed != nil {
			s.committed(key, t.base.root.get(key), t.at.root.get(key))
		}
	}
	return true, nil
}

// A watcher waits for changes of keys with a prefix.
type watcher struct {
	prefix string
	more   chan struct{}
}

func (w *watcher) tell(key string) {
	if !strings.HasPrefix(key, w.prefix) {
		return
	}
	select {
	case w.more <- struct{}{}:
	default: // one is there already
	}
}

// Watch implements [store.Watcher].
func (s *Store) Watch(ctx context.Context, prefix string) <-chan struct{} {
	w := &watcher{prefix, make(chan struct{}, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers = append(s.watchers, w)
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.watchers = slices.DeleteFunc(s.watchers, func(other *watcher) bool { return other == w })
		close(w.more)
	})
	return w.more
}

// A Session is the store as seen by one of several daemons that share it.
type Session struct {
	*Store
	id   string
	once sync.Once
	done chan struct{}
}

// Session returns the store as seen by one daemon, whose session has that id.
func (s *Store) Session(id string) *Session {
	return &Session{Store: s, id: id, done: make(chan struct{})}
}

// ID implements [store.Session].
func (s *Session) ID() string { return s.id }

// Done implements [store.Session].
func (s *Session) Done() <-chan struct{} { return s.done }

// End ends the session, as if the daemon had not renewed it in time.
func (s *Session) End() { s.once.Do(func() { close(s.done) }) }

var errEnded = fmt.Errorf("the session with the store has ended: %w", fault.Unavailable)

// Update implements [store.Store]. What a daemon writes is refused once its
// session has ended.
func (s *Session) Update(ctx context.Context, fn func(store.Tx) error) error {
	return s.Store.Update(ctx, func(tx store.Tx) error {
		err := fn(tx)
		select {
		case <-s.done:
			return errors.Join(errEnded, err)
		default:
			return err
		}
	})
}
