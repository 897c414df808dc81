package activation

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"activationd/internal/fault"
	"activationd/store"
)

// A memStore is a store in memory. It runs each function given to Update twice
// and drops what the first run wrote, as a store with conflicts would.
type memStore struct {
	mu     sync.Mutex
	data   map[string][]byte
	full   atomic.Bool // Update fails with fault.Unavailable, after fn has run
	writes int
	// committed is called after each commit with what it changed; nil was or is: none.
	committed func(key string, was, is []byte)
}

func newMemStore() *memStore { return &memStore{data: make(map[string][]byte)} }

// with has fn look at, or change, what the store holds.
func (s *memStore) with(fn func(data map[string][]byte)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn(s.data)
}

// sorted returns the keys with a prefix.
func (s *memStore) sorted(prefix string) (keys []string) {
	s.with(func(data map[string][]byte) {
		for k := range data {
			if strings.HasPrefix(k, prefix) {
				keys = append(keys, k)
			}
		}
	})
	slices.Sort(keys)
	return keys
}

func (s *memStore) View(ctx context.Context, fn func(store.Tx) error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return fn(&memTx{base: s.data, keys: slices.Sorted(maps.Keys(s.data))})
}

func (s *memStore) Update(ctx context.Context, fn func(store.Tx) error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var tx *memTx
	keys := slices.Sorted(maps.Keys(s.data))
	for range 2 {
		tx = &memTx{base: s.data, keys: slices.Clone(keys), patch: make(map[string][]byte)}
		if err := fn(tx); err != nil {
			return err
		}
	}
	if s.full.Load() && len(tx.patch) > 0 {
		return fmt.Errorf("no space left: %w", fault.Unavailable)
	}
	was := make(map[string][]byte)
	for k, v := range tx.patch {
		was[k] = s.data[k]
		if v == nil {
			delete(s.data, k)
		} else {
			s.data[k] = slices.Clone(v)
		}
	}
	if len(tx.patch) > 0 {
		s.writes++
	}
	if s.committed != nil {
		for k, v := range tx.patch {
			s.committed(k, was[k], v)
		}
	}
	return nil
}

// A memTx is what was there, and what has been written on top of it: nil for
// what was deleted.
type memTx struct {
	base  map[string][]byte
	keys  []string // sorted
	patch map[string][]byte
}

func (t *memTx) Get(key string) []byte {
	if v, ok := t.patch[key]; ok {
		return v
	}
	return t.base[key]
}

func (t *memTx) Put(key string, val []byte) error {
	if key == "" || t.patch == nil {
		return fmt.Errorf("a key that is empty, or a write in a View: %w", fault.Invalid)
	}
	if val == nil {
		val = []byte{}
	}
	t.patch[key] = val
	if i, ok := slices.BinarySearch(t.keys, key); !ok {
		t.keys = slices.Insert(t.keys, i, key)
	}
	return nil
}

func (t *memTx) Delete(key string) error {
	t.patch[key] = nil
	if i, ok := slices.BinarySearch(t.keys, key); ok {
		t.keys = slices.Delete(t.keys, i, i+1)
	}
	return nil
}

func (t *memTx) Scan(prefix, from string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		at := max(prefix, from)
		for {
			i, _ := slices.BinarySearch(t.keys, at)
			if i == len(t.keys) || !strings.HasPrefix(t.keys[i], prefix) {
				return
			}
			k := t.keys[i]
			if !yield(k, t.Get(k)) {
				return
			}
			at = k + "\x00"
		}
	}
}
