package bolt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/bbolt"

	"activationd/internal/fault"
	"activationd/store"
)

// A batch is the transaction of the callers that share one commit.
type batch struct {
	tx      *bbolt.Tx
	bucket  *bbolt.Bucket
	callers int
	dirty   bool
	done    chan struct{} // closed when the commit has succeeded or failed
	err     error         // set before done is closed
}

// Update implements [store.Store]. It runs fn at most once, and not at all if
// ctx is done before its turn. When fn has run, Update waits for the commit.
//
// If fn fails after others of its batch have written, Update waits as well, because
// fn may have seen what they wrote: if that could not be committed, Update returns
// the error of the commit.
func (d *DB) Update(ctx context.Context, fn func(store.Tx) error) error {
	select {
	case d.turn <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	b, crowded, err := d.join(ctx, fn)
	if b == nil {
		return err
	}
	if crowded {
		runtime.Gosched() // callers that waited for the last commit call again: let them join this one
	}
	// Callers that were waiting for the turn get it first, and join this batch.
	select {
	case d.turn <- struct{}{}:
		if d.batch == b {
			d.commit()
		}
		<-d.turn
	case <-b.done:
	}
	<-b.done
	if b.err != nil {
		return b.err
	}
	return err
}

// join runs fn in the batch and gives up the turn. It returns the batch to wait
// for, or nil if there is nothing to commit.
func (d *DB) join(ctx context.Context, fn func(store.Tx) error) (_ *batch, crowded bool, err error) {
	defer func() { <-d.turn }() // deferred, because fn may panic
	if err := d.usable(ctx); err != nil {
		return nil, false, err
	}
	if d.batch == nil {
		b, err := d.begin(true)
		if err != nil {
			return nil, false, err
		}
		d.batch = &batch{tx: b, bucket: b.Bucket(dataBucket), done: make(chan struct{})}
		d.batch.bucket.FillPercent = fill
	}
	b := d.batch
	defer func() {
		if !b.dirty {
			_ = b.tx.Rollback()
			d.batch = nil
		}
	}()

	before := b.bucket.Sequence()
	t := &tx{d: d, b: b.bucket, patch: new(patch), number: before}
	defer t.end()
	err = d.guard(func() error { return fn(t) })
	if err == nil {
		err = t.numberEntries()
	}
	if err == nil && (!t.patch.empty() || t.number != before) {
		b.dirty = true
		err = d.guard(func() error {
			if t.number != before {
				if err := b.bucket.SetSequence(t.number); err != nil {
					return err
				}
			}
			return t.patch.apply(b.bucket, t.touch)
		})
		if err != nil {
			err = d.fail(err) // half of it is in the transaction
		}
	}
	if !b.dirty {
		return nil, false, err
	}
	b.callers++
	return b, d.crowded, err
}

// commit ends the batch. Its caller has the turn.
func (d *DB) commit() {
	b := d.batch
	d.batch = nil
	d.crowded = b.callers > 1
	if err := d.Err(); err != nil {
		_ = b.tx.Rollback()
		b.err = err
	} else if err := d.write(b.tx); err != nil {
		b.err = err
	}
	close(b.done)
}

// write commits, and decides what a failure means.
func (d *DB) write(tx *bbolt.Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			d.wedged.Store(true)
			err = d.fail(damage{p})
		}
	}()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	id, began := tx.ID(), time.Now()
	err = tx.Commit()
	if err == nil {
		d.durable.reach(id)
		if fn := d.committed.Load(); fn != nil {
			(*fn)(time.Since(began))
		}
		return nil
	}
	// Pages are written first, to places that nothing refers to yet. If there is no
	// space, the commit fails there and bbolt has rolled back. Only if the meta page
	// is still the old one is it certain that nothing was written.
	if noSpace(err) && d.lastID() == id-1 {
		return fmt.Errorf("%s: nothing was written, make space: %v: %w", d.path, err, fault.Unavailable)
	}
	return d.fail(fmt.Errorf("whether it was written is not known: %w", err))
}

// lastID returns the number of the last transaction that the file has, or -1.
func (d *DB) lastID() int {
	b, err := d.bolt.Begin(false)
	if err != nil {
		return -1
	}
	defer func() { _ = b.Rollback() }()
	return b.ID()
}

// noSpace reports whether err comes from a write, or an enlargement of the
// file, that was refused because there is no space. An error of a sync is not
// wrapped, so it is neither.
func noSpace(err error) bool {
	full := []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG}
	if e, ok := errors.AsType[*fs.PathError](err); ok && e.Op == "write" {
		for _, errno := range full {
			if errors.Is(e, errno) {
				return true
			}
		}
	}
	text, ok := strings.CutPrefix(err.Error(), "file resize error: ") // bbolt keeps only the text
	if ok {
		for _, errno := range full {
			if strings.HasSuffix(text, errno.Error()) {
				return true
			}
		}
	}
	return false
}
