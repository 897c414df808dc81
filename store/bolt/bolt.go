// Package bolt is a [store.Store] in one file, for one process at a time.
//
// # Writing
//
// Callers of [DB.Update] take turns. The first one opens a transaction of the
// file, each runs its function in its own goroutine on top of it, and whoever
// finds nobody waiting any more commits for all. So a lone caller pays for one
// commit, as many callers do together, and there is no goroutine to look after.
// What a function writes is kept aside in a [patch] until it returns nil: one
// that fails or panics leaves nothing behind for the others.
//
// # Failing
//
// Where it is certain that nothing was written (no space left), Update returns
// an error of kind fault.Unavailable and the store goes on. After any other
// failure nobody knows what is on the disk: [DB.Failed] is closed, every call
// fails, and the process must end and open the file again. A failed fsync is
// never tried again, because the kernel reports it only once and may have
// dropped the pages that it could not write.
//
// # Settings
//
// The list of free pages is written with each commit. Otherwise each Open would
// read the whole file to find it, and have it in memory: for a million records,
// 300 ms and a gigabyte. It is kept as a sorted array, whose lowest pages are
// used first, so that the file's busy part stays small. After a hundred thousand
// pages became free at once, a commit takes 0.8 ms with it; with the hash map,
// which picks pages at random and sorts them all each time, 6 ms.
//
// The mapping is larger than the file will become, because a writer that has to
// enlarge it waits for every reader. [DB.Trim] tells why it does not fill the
// memory.
package bolt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"go.etcd.io/bbolt"

	"activationd/internal/fault"
	"activationd/store"
)

// A DB is an open file. Its methods may be called by many goroutines at once,
// but not from inside a function given to View or Update.
type DB struct {
	path string
	bolt *bbolt.DB

	// turn has one place: who sent into it may run a function and commit. The
	// runtime serves blocked senders in their order.
	turn    chan struct{}
	batch   *batch // guarded by turn; nil if no transaction is open
	crowded bool   // guarded by turn; the last commit was for more than one caller
	closed  bool   // guarded by turn

	closing chan struct{} // closed when Close begins
	readers sync.RWMutex  // held to read; bbolt's Close would make readers wait for each other
	failed  chan struct{}
	failure atomic.Pointer[error] // why failed is closed
	wedged  atomic.Bool           // a panic left locks of bbolt behind

	touches atomic.Uint32 // pages looked at, roughly; see relax
}

// View implements [store.Store]. It does not wait for writers, but what it
// holds open cannot be used again for new pages, so fn should be quick.
func (d *DB) View(ctx context.Context, fn func(store.Tx) error) error {
	if err := d.usable(ctx); err != nil {
		return err
	}
	d.readers.RLock()
	defer d.readers.RUnlock()
	b, err := d.begin(false)
	if err != nil {
		return err
	}
	defer func() { _ = b.Rollback() }() // of a reader, it cannot fail
	t := &tx{d: d, b: b.Bucket(dataBucket)}
	defer t.end()
	return d.guard(func() error { return fn(t) })
}

// Backup writes a copy of the store as it is now to w, while others go on
// reading and writing. The copy is a file that [Open] and [Check] accept. Until
// it is written, pages that are freed meanwhile are not used again, so the file
// grows if w is slow.
func (d *DB) Backup(ctx context.Context, w io.Writer) error {
	if err := d.usable(ctx); err != nil {
		return err
	}
	d.readers.RLock()
	defer d.readers.RUnlock()
	b, err := d.begin(false)
	if err != nil {
		return err
	}
	defer func() { _ = b.Rollback() }()
	to := &stoppable{ctx: ctx, closing: d.closing, w: w}
	if _, err := b.WriteTo(to); err != nil {
		if to.err != nil {
			err = to.err // of which bbolt keeps only the text
		}
		return fmt.Errorf("backup of %s: %w", d.path, err)
	}
	return nil
}

// stoppable ends a long copy when its asker gives up, or the store is closed.
type stoppable struct {
	ctx     context.Context
	closing <-chan struct{}
	w       io.Writer
	err     error // the first of w's, or why it was stopped
}

func (s *stoppable) Write(p []byte) (n int, err error) {
	select {
	case <-s.ctx.Done():
		err = context.Cause(s.ctx)
	case <-s.closing:
		err = errClosed
	default:
		n, err = s.w.Write(p)
	}
	if s.err == nil {
		s.err = err
	}
	return n, err
}

// Failed returns a channel that is closed when the store cannot know any more
// what is on the disk. The process must end then; [DB.Err] tells why.
func (d *DB) Failed() <-chan struct{} { return d.failed }

// Err returns the error that closed Failed, or nil.
func (d *DB) Err() error {
	if err := d.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// Close commits what is waiting to be committed, waits for readers (a [DB.Backup]
// ends at its next write) and closes the file. Calls that come later fail. It may be called more than once.
func (d *DB) Close() error {
	d.turn <- struct{}{}
	defer func() { <-d.turn }()
	if d.closed {
		return nil
	}
	d.closed = true
	close(d.closing)
	if d.batch != nil {
		d.commit()
	}
	if d.wedged.Load() {
		return d.Err() // bbolt's Close would wait for ever
	}
	d.readers.Lock()
	defer d.readers.Unlock()
	if err := d.bolt.Close(); err != nil {
		return fmt.Errorf("close %s: %w", d.path, err)
	}
	return nil
}

var errClosed = fmt.Errorf("the store is closed: %w", fault.Unavailable)

// usable tells why a call cannot begin.
func (d *DB) usable(ctx context.Context) error {
	if err := d.Err(); err != nil {
		return err
	}
	select {
	case <-d.closing:
		return errClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	default:
		return nil
	}
}

func (d *DB) begin(writable bool) (b *bbolt.Tx, err error) {
	defer func() {
		if p := recover(); p != nil {
			d.wedged.Store(true)
			err = d.fail(damage{p})
		}
	}()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	b, err = d.bolt.Begin(writable)
	if err == nil {
		return b, nil
	}
	select {
	case <-d.closing:
		return nil, errClosed
	default:
		return nil, d.fail(err)
	}
}

// fail makes the store fail for good and returns the error that says so.
func (d *DB) fail(cause error) error {
	err := fmt.Errorf("%s: %w: activationd must be restarted: %w", d.path, cause, fault.Internal)
	if dmg, ok := errors.AsType[damage](cause); ok {
		err = damaged(d.path, dmg.Error())
	}
	if d.failure.CompareAndSwap(nil, &err) {
		close(d.failed)
	}
	return d.Err()
}

// A damage is a panic of bbolt's, or a fault on its mapping, which are how it
// tells that the file does not hold what it should.
type damage struct{ what any }

func (d damage) Error() string { return fmt.Sprint(d.what) }

// guard runs fn and turns what tells of a damaged file into an error. Other
// panics are passed on.
func (d *DB) guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if dmg, ok := p.(damage); ok {
			err = d.fail(dmg)
			return
		}
		// A page that cannot be read from the disk faults where it is looked at,
		// which may be in the caller's function.
		if f, ok := p.(interface{ Addr() uintptr }); ok {
			err = d.fail(damage{fmt.Sprintf("a page cannot be read (address %#x)", f.Addr())})
			return
		}
		panic(p)
	}()
	return fn()
}
