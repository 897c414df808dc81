package activation

import (
	"context"
	"errors"
	"fmt"

	"activationd/internal/fault"
	"activationd/store"
)

// A store may limit how much one transaction writes. Code that changes many records calls
// [Txn.Full] after each of them, and leaves the rest to later transactions.

// A meter counts the writes of a transaction into a store with limits.
type meter struct {
	store.Tx
	maxOps, maxBytes int
	keys             map[string]int // the keys written, with the bytes of each
	bytes            int
	appended         int
}

// measured returns tx. If the store has limits, its writes are counted.
func (e *Engine) measured(tx store.Tx) store.Tx {
	ops, bytes := store.Limits(e.parts.DB)
	if ops == store.NoLimit && bytes == store.NoLimit {
		return tx
	}
	return &meter{Tx: tx, maxOps: ops, maxBytes: bytes, keys: make(map[string]int)}
}

func (m *meter) Put(key string, val []byte) error {
	m.note(key, len(key)+len(val))
	return m.Tx.Put(key, val)
}

func (m *meter) Delete(key string) error {
	m.note(key, len(key))
	return m.Tx.Delete(key)
}

func (m *meter) Append(log string, val []byte, n int) error {
	m.appended++
	m.bytes += len(store.EntryKey(log, 0)) + len(val)
	return m.Tx.Append(log, val, n)
}

func (m *meter) note(key string, n int) {
	m.bytes += n - m.keys[key]
	m.keys[key] = n
}

// eventBytes is more than most events take.
const eventBytes = 500

// Full reports whether the transaction has written so much that further records should be
// left to the next one.
func (t *Txn) Full() bool {
	m, ok := t.Tx.(*meter)
	return ok && (len(m.keys)+len(t.sums)+len(t.events) > m.maxOps/2 || m.bytes+t.sums.size()+eventBytes*len(t.events) > m.maxBytes/2)
}

// errTooMuch is why a transaction is not committed: the store would refuse it.
var errTooMuch = fmt.Errorf("it would write more than the store takes in one transaction: %w", fault.Invalid)

// tooMuch returns errTooMuch if the transaction exceeds the limits. It is called after
// the last write.
func (t *Txn) tooMuch() error {
	m, ok := t.Tx.(*meter)
	if ok && (len(m.keys)+m.appended > m.maxOps || m.bytes > m.maxBytes) {
		return errTooMuch
	}
	return nil
}

// otherWrites bounds the keys that the steps of a record write, besides those of its
// locks and of the activations that it comes after.
const otherWrites = 32

// fits returns an error of kind fault.Invalid if the steps of r would exceed what a
// transaction may write.
func (t *Txn) fits(r *Record) error {
	m, ok := t.Tx.(*meter)
	if !ok {
		return nil
	}
	// A claim removes the record from the queue of each lock and makes it a holder.
	if n, most := 2*len(r.lockRequests())+len(r.After), m.maxOps-otherWrites; n > most {
		return fmt.Errorf("it has %d locks or devices and comes after %d others: with this store, twice the first number plus the second is at most %d: %w",
			len(r.lockRequests()), len(r.After), most, fault.Invalid)
	}
	data, err := r.withoutStdin().encode(nil)
	if err != nil {
		return err
	}
	size := len(data)
	for _, part := range t.missingStdin(r) {
		size += len(part.val)
	}
	if most := m.maxBytes / 2; size > most {
		return fmt.Errorf("it has %d bytes; with this store at most %d are possible: %w", size, most, fault.Invalid)
	}
	return nil
}

// Slices calls each with the numbers from 0 to n-1, as many in one transaction as the
// store takes. It stops at an error; done is how many are durable then.
func (e *Engine) Slices(n int, update func(func(*Txn) error) error, each func(t *Txn, i int) error) (done int, err error) {
	for most := n; done < n; {
		at := done
		err := update(func(t *Txn) error {
			for at = done; at < n && at-done < most && (at == done || !t.Full()); at++ {
				if err := each(t, at); err != nil {
					return err
				}
			}
			return nil
		})
		switch {
		case errors.Is(err, errTooMuch) && at-done > 1:
			most = 1
			continue
		case err != nil:
			return done, err
		}
		done, most = at, n
	}
	return done, nil
}

// A turnSize is how many records a turn may look at. It is lower after a turn that would
// have written too much.
type turnSize struct {
	most  int
	alone map[string]bool // records that cannot be changed: even a turn for one alone would write too much
}

// turn takes one turn, with as many records as the store takes at once.
func (e *Engine) turn(ctx context.Context, w *work) (more bool, err error) {
	size := turnSize{most: 4 * maxTurn}
	for {
		last, more, err := e.tryTurn(ctx, w, size)
		switch {
		case err != nil && w.add != nil: // perhaps because of them
			w.answer(err)
		case !errors.Is(err, errTooMuch):
			return more, err
		case size.most > 1:
			size.most = (size.most + 7) / 8
		case last == "" || size.alone[last]:
			return false, err
		default:
			e.parts.Log.Error("a record is left alone: its next step would write too much", "id", last)
			if size.alone == nil {
				size.alone = make(map[string]bool)
			}
			size.alone[last] = true
		}
	}
}
