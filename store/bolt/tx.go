package bolt

import (
	"cmp"
	"fmt"
	"iter"
	"strings"

	"go.etcd.io/bbolt"

	"activationd/internal/fault"
	"activationd/store"
)

// A tx is a [store.Tx]: a bucket, and in Update what was written on top of it.
type tx struct {
	d      *DB
	b      *bbolt.Bucket
	patch  *patch // nil if it is read-only
	cur    *bbolt.Cursor
	buf    []byte // a key for cur
	closed bool   // the function has returned
	reads  uint64 // values that were handed out

	number   uint64 // the newest number of a stamp or an entry
	appended []appended
}

// An appended entry has no number yet.
type appended struct {
	log   string
	val   []byte
	parts int // how many numbers it takes
}

// end makes every later call panic.
func (t *tx) end() {
	t.closed = true
	t.d.reads.Add(t.reads)
	t.reads = 0
}

// Get implements [store.Tx].
func (t *tx) Get(key string) []byte {
	t.check()
	t.reads++
	if t.patch != nil {
		if e, ok := t.patch.get(key); ok {
			return e.val
		}
	}
	if t.cur == nil {
		t.cur = t.b.Cursor()
	}
	t.buf = append(t.buf[:0], key...)
	k, v := t.seek(t.cur, t.buf)
	if string(k) != key || k == nil {
		return nil
	}
	return filled(v)
}

// Put implements [store.Tx].
func (t *tx) Put(key string, val []byte) error { return t.set(entry{key, filled(val)}) }

// Delete implements [store.Tx].
func (t *tx) Delete(key string) error { return t.set(entry{key, nil}) }

// Append implements [store.Tx]. The entry gets its number when the function has
// returned. Functions of one batch run one after the other, so numbers rise.
func (t *tx) Append(log string, val []byte, n int) error {
	if err := cmp.Or(store.CheckParts(n), t.checkEntry(entry{store.EntryKey(log, 0), filled(val)})); err != nil {
		return err
	}
	t.appended = append(t.appended, appended{log, filled(val), n})
	return nil
}

// Stamp implements [store.Tx].
func (t *tx) Stamp() uint64 {
	t.check()
	if t.patch != nil {
		t.number++
	}
	return t.number
}

// Raise implements [store.Tx].
func (t *tx) Raise(n uint64) error {
	if err := t.checkEntry(entry{key: "number"}); err != nil {
		return err
	}
	if n > store.MaxNumber {
		return fmt.Errorf("store: the number %d is too large: %w", n, fault.Invalid)
	}
	t.number = max(t.number, n)
	return nil
}

// numberEntries numbers the appended entries and puts them into the patch.
func (t *tx) numberEntries() error {
	for _, e := range t.appended {
		t.number += uint64(e.parts)
		t.patch.set(entry{store.EntryKey(e.log, t.number), e.val})
	}
	if t.number > store.MaxNumber {
		return fmt.Errorf("store: it has no more numbers: %w", fault.Internal)
	}
	return nil
}

func (t *tx) set(e entry) error {
	if err := t.checkEntry(e); err != nil {
		return err
	}
	t.patch.set(e)
	return nil
}

// checkEntry returns why e cannot be written.
func (t *tx) checkEntry(e entry) error {
	t.check()
	switch {
	case t.patch == nil:
		return fmt.Errorf("store: write of %.80q in a View: %w", e.key, fault.Internal)
	case e.key == "":
		return fmt.Errorf("store: an empty key: %w", fault.Invalid)
	case len(e.key) > bbolt.MaxKeySize:
		return fmt.Errorf("store: key %.80q... has %d bytes, at most %d are possible: %w",
			e.key, len(e.key), bbolt.MaxKeySize, fault.Invalid)
	case len(e.val) > bbolt.MaxValueSize:
		return fmt.Errorf("store: a value of %d bytes for %.80q is too large: %w", len(e.val), e.key, fault.Invalid)
	}
	return nil
}

// Scan implements [store.Tx]. The bucket below the patch does not change while the
// function runs, so only the position in the patch is looked up again, if the loop's body
// has written.
func (t *tx) Scan(prefix, from string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		t.check()
		at := max(prefix, from)
		cur := t.b.Cursor()
		k, v := t.seek(cur, []byte(at))
		var ahead place
		for {
			below := strings.HasPrefix(string(k), prefix) && k != nil
			var e entry
			var above bool
			if t.patch != nil {
				e, above = ahead.seek(t.patch, at)
				above = above && strings.HasPrefix(e.key, prefix)
			}
			switch {
			case above && (!below || e.key <= string(k)):
				if below && e.key == string(k) {
					k, v = t.next(cur)
				}
				t.reads++
				if e.val != nil && !yield(e.key, e.val) {
					return
				}
				at = e.key + "\x00" // the next possible key
			case below:
				key, val := string(k), filled(v)
				k, v = t.next(cur)
				t.reads++
				if !yield(key, val) {
					return
				}
				at = key + "\x00"
			default:
				return
			}
			t.check()
		}
	}
}

func (t *tx) check() {
	if t.closed {
		panic("store: a transaction is used after its function returned")
	}
}

func (t *tx) seek(c *bbolt.Cursor, key []byte) (k, v []byte) {
	defer asDamage()
	t.touch()
	return c.Seek(key)
}

func (t *tx) next(c *bbolt.Cursor) (k, v []byte) {
	defer asDamage()
	t.touch()
	return c.Next()
}

func (t *tx) touch() {
	if t.d.touches.Add(1)%64 == 0 {
		t.d.relax(t.b.Tx())
	}
}

// asDamage marks a panic as one of bbolt's.
func asDamage() {
	if p := recover(); p != nil {
		panic(damage{p})
	}
}

// filled returns v, or an empty value that is not nil.
func filled(v []byte) []byte {
	if v == nil {
		return []byte{}
	}
	return v
}
