package memstore

import (
	"bytes"
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"

	"activationd/internal/fault"
	"activationd/store"
)

// A tx is a [store.Tx]. It writes into its own snapshot.
type tx struct {
	s        *Store
	base     *snapshot // the snapshot with which the transaction began
	at       snapshot  // the base with the transaction's writes
	readOnly bool
	writes   map[string]int // the bytes written, by key
	appended []entry
	lent     []loan
	failed   error // the error of a read; nothing that fn does afterwards counts
	closed   bool
}

// An entry was appended to a log.
type entry struct {
	log   string
	val   []byte
	parts int // how many numbers it takes
}

// A failedRead is the panic that ends a function whose read fails.
type failedRead struct{}

// A loan is a slice that fn got, and the contents that it must still have when fn
// returns.
type loan struct{ lent, val []byte }

func (s *Store) begin(readOnly bool) *tx {
	base := s.now.Load()
	return &tx{s: s, base: base, at: *base, readOnly: readOnly, writes: make(map[string]int)}
}

// run runs fn. A read that fails ends it.
func (t *tx) run(fn func(store.Tx) error) (err error) {
	defer func() {
		t.closed = true
		t.takeBack()
		if t.failed == nil {
			return
		}
		if p := recover(); p != nil && p != any(failedRead{}) {
			panic(p)
		}
		err = t.failed
	}()
	return fn(t)
}

// takeBack overwrites the slices that fn got.
func (t *tx) takeBack() {
	for _, l := range t.lent {
		if !bytes.Equal(l.lent, l.val) {
			panic(fmt.Sprintf("memstore: a value that was read was modified: %.80q", l.val))
		}
		for i := range l.lent {
			l.lent[i] = 0xDB
		}
	}
	t.lent = nil
}

// lend returns a copy of val for fn, which must not modify it.
func (t *tx) lend(val []byte) []byte {
	if !t.s.strict || val == nil {
		return val
	}
	l := loan{slices.Clone(val), val}
	t.lent = append(t.lent, l)
	return l.lent
}

// read is called before each read.
func (t *tx) read() {
	t.check()
	if t.s.failRead.Load() > 0 && t.s.failRead.Add(-1) == 0 {
		t.failed = fmt.Errorf("a read from the store has failed: %w", fault.Unavailable)
		panic(failedRead{})
	}
}

func (t *tx) check() {
	if t.closed {
		panic("store: a transaction is used after its function returned")
	}
}

// Get implements [store.Tx].
func (t *tx) Get(key string) []byte {
	t.read()
	return t.lend(t.at.root.get(key))
}

// Scan implements [store.Tx].
func (t *tx) Scan(prefix, from string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		t.read()
		n := t.at.root.seek(max(prefix, from))
		for n != nil && strings.HasPrefix(n.key, prefix) {
			if !yield(n.key, t.lend(n.val)) {
				return
			}
			t.read()
			n = t.at.root.seek(n.key + "\x00") // the next possible key
		}
	}
}

// Put implements [store.Tx].
func (t *tx) Put(key string, val []byte) error {
	if err := t.mayWrite(key); err != nil {
		return err
	}
	t.put(key, append([]byte{}, val...))
	return nil
}

func (t *tx) put(key string, val []byte) {
	t.writes[key] = len(key) + len(val)
	t.at.root = t.at.root.put(key, val)
}

// Delete implements [store.Tx].
func (t *tx) Delete(key string) error {
	if err := t.mayWrite(key); err != nil {
		return err
	}
	t.writes[key] = len(key)
	t.at.root = t.at.root.remove(key)
	return nil
}

// mayWrite returns why a key cannot be written.
func (t *tx) mayWrite(key string) error {
	t.check()
	switch {
	case t.readOnly:
		return fmt.Errorf("store: write of %.80q in a View: %w", key, fault.Internal)
	case key == "":
		return fmt.Errorf("store: an empty key: %w", fault.Invalid)
	}
	return nil
}

// Append implements [store.Tx].
func (t *tx) Append(log string, val []byte, n int) error {
	if err := cmp.Or(store.CheckParts(n), t.mayWrite(store.EntryKey(log, 0))); err != nil {
		return err
	}
	t.appended = append(t.appended, entry{log, append([]byte{}, val...), n})
	return nil
}

// number numbers the appended entries.
func (t *tx) number() {
	for _, e := range t.appended {
		t.at.number += uint64(e.parts)
		t.put(store.EntryKey(e.log, t.at.number), e.val)
	}
}

// ops returns how many writes count against the limit.
func (t *tx) ops() int {
	logs := make(map[string]bool)
	for _, e := range t.appended {
		logs[e.log] = true
	}
	return len(t.writes) - len(t.appended) + len(logs)
}

// Stamp implements [store.Tx].
func (t *tx) Stamp() uint64 {
	t.check()
	if !t.readOnly {
		t.at.number++
	}
	return t.at.number
}

// Raise implements [store.Tx].
func (t *tx) Raise(n uint64) error {
	if err := t.mayWrite("number"); err != nil {
		return err
	}
	if n > store.MaxNumber {
		return fmt.Errorf("store: the number %d is too large: %w", n, fault.Invalid)
	}
	t.at.number = max(t.at.number, n)
	return nil
}

// tooLarge returns an error if the transaction exceeds the limits.
func (t *tx) tooLarge() error {
	ops, most := t.s.Limits()
	size := 0
	for _, n := range t.writes {
		size += n
	}
	if n := t.ops(); n > ops || size > most {
		return fmt.Errorf("store: a transaction of %d writes and %d bytes, of at most %d and %d: %w",
			n, size, ops, most, fault.Invalid)
	}
	return nil
}
