// Package bolt is a [store.Store] in one file, for one process at a time.
//
// # Writing
//
// Callers of [DB.Update] take turns. The first caller opens a transaction of the
// file. Each caller runs its function in its own goroutine on top of that
// transaction, and a caller that finds nobody waiting commits for all of them. So
// many callers together pay for one commit, as a single caller does, and the
// package has no goroutine of its own. What a function writes is kept in a [patch]
// until the function returns nil: a function that fails or panics leaves nothing
// behind for the others.
//
// # Failing
//
// If it is certain that nothing was written (no space left), Update returns an
// error of kind fault.Unavailable and the store remains usable. After any other
// failure it is not known what is on the disk: [DB.Failed] is closed, every call
// fails, and the process must end and open the file again. A failed fsync is
// never tried again, because the kernel reports it only once and may have
// dropped the pages that it could not write.
//
// # Settings
//
// The list of free pages is written with each commit. Without it, each Open would
// have to read the whole file into memory to find the free pages: for a million
// records, 300 ms and a gigabyte. The list is a sorted array, and its lowest pages
// are used first, so the part of the file that is in use stays small. When a
// hundred thousand pages have become free at once, a commit takes 0.8 ms with the
// array and 6 ms with the hash map, which picks pages at random and sorts all of
// them each time.
//
// The mapping is larger than the file will become, because a writer that has to
// enlarge it waits for every reader. See [DB.Trim] for why the mapping does not
// fill the memory.
package bolt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"activationd/internal/fault"
	"activationd/store"
)

// A DB is an open file. Its methods may be called by many goroutines at once,
// but not from inside a function given to View or Update.
type DB struct {
	path string
	bolt *bbolt.DB

	// turn has room for one value: the caller that has sent it may run a function
	// and commit. The runtime serves blocked senders in their order.
	turn    chan struct{}
	batch   *batch // guarded by turn; nil if no transaction is open
	crowded bool   // guarded by turn; the last commit was for more than one caller
	closed  bool   // guarded by turn

	closing chan struct{} // closed when Close begins
	readers sync.RWMutex  // held to read; bbolt's Close would make readers wait for each other
	failed  chan struct{}
	failure atomic.Pointer[error] // why failed is closed
	wedged  atomic.Bool           // a panic left locks of bbolt behind

	durable durable

	touches atomic.Uint32 // pages looked at, roughly; see relax
	statm   *os.File      // the memory of this process; nil if it cannot be read
	reads   atomic.Uint64 // see Reads

	committed atomic.Pointer[func(time.Duration)] // see OnCommit
}

// OnCommit has fn called after each commit with how long it took, its sync included. The next
// transaction waits for fn, so it must be quick.
func (d *DB) OnCommit(fn func(time.Duration)) { d.committed.Store(&fn) }

// Reads returns how many values transactions have read since the file was opened.
func (d *DB) Reads() uint64 { return d.reads.Load() }

// Size returns the size of the file, or 0 if it is not known.
func (d *DB) Size() int64 {
	info, err := os.Stat(d.path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// View implements [store.Store]. It does not wait for writers, but sees nothing that
// may still be lost: it waits for a sync that has begun. Pages that are freed
// while fn runs cannot be used again before it returns, so fn should be quick.
func (d *DB) View(ctx context.Context, fn func(store.Tx) error) error {
	return d.reading(ctx, func(b *bbolt.Tx) error {
		data := b.Bucket(dataBucket)
		t := &tx{d: d, b: data, number: data.Sequence()}
		defer t.end()
		return d.guard(func() error { return fn(t) })
	})
}

// reading runs fn with a transaction of bbolt's that only reads.
func (d *DB) reading(ctx context.Context, fn func(*bbolt.Tx) error) error {
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
	if err := d.waitDurable(ctx, b.ID()); err != nil {
		return err
	}
	return fn(b)
}

// A durable knows which transactions are on the disk. bbolt's readers see a transaction as
// soon as its meta page is written, but the page is synced later. A loss of power in between
// undoes the transaction after readers have acted on it, and its numbers are used again.
type durable struct {
	newest atomic.Int64 // the newest transaction that is on the disk
	mu     sync.Mutex
	more   chan struct{} // closed when newest rises; nil: nobody waits
}

// reach notes that a transaction is on the disk.
func (s *durable) reach(id int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.newest.Store(int64(id))
	if s.more != nil {
		close(s.more)
		s.more = nil
	}
}

// until returns nil if a transaction is on the disk, and otherwise a channel that is closed
// when that may have changed.
func (s *durable) until(id int) <-chan struct{} {
	if int64(id) <= s.newest.Load() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if int64(id) <= s.newest.Load() {
		return nil
	}
	if s.more == nil {
		s.more = make(chan struct{})
	}
	return s.more
}

// waitDurable waits until a transaction is on the disk.
func (d *DB) waitDurable(ctx context.Context, id int) error {
	for more := d.durable.until(id); more != nil; more = d.durable.until(id) {
		select {
		case <-more:
		case <-d.failed:
			return d.Err()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// Backup implements [store.Backend], while others continue to read and write. The
// copy is a file that [Open] and [Check] accept. Pages that are freed before the
// copy is complete are not used again meanwhile, so the file grows if w is slow.
func (d *DB) Backup(ctx context.Context, w io.Writer) error {
	return d.reading(ctx, func(b *bbolt.Tx) error {
		to := &stoppable{ctx: ctx, closing: d.closing, w: w}
		if _, err := b.WriteTo(to); err != nil {
			if to.err != nil {
				err = to.err // of which bbolt keeps only the text
			}
			return fmt.Errorf("backup of %s: %w", d.path, err)
		}
		return nil
	})
}

// stoppable ends a long copy when ctx is done or the store is closed.
type stoppable struct {
	ctx     context.Context
	closing <-chan struct{}
	w       io.Writer
	err     error // the first error of w, or why the copy was stopped
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

// Failed implements [store.Backend]. The channel is closed when the store no longer
// knows what is on the disk.
func (d *DB) Failed() <-chan struct{} { return d.failed }

// Err implements [store.Backend]. It returns nil while the store has not failed.
func (d *DB) Err() error {
	if err := d.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// Close commits what is waiting to be committed, waits for readers (a [DB.Backup]
// ends at its next write) and closes the file. Later calls fail. Close may be
// called more than once.
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
		return d.Err() // bbolt's Close would wait forever
	}
	d.readers.Lock()
	defer d.readers.Unlock()
	_ = d.statm.Close()
	if err := d.bolt.Close(); err != nil {
		return fmt.Errorf("close %s: %w", d.path, err)
	}
	return nil
}

var errClosed = fmt.Errorf("the store is closed: %w", fault.Unavailable)

// usable returns why a call cannot begin, or nil.
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

// A damage is a panic of bbolt, or a page fault in its mapping: both mean that the
// file does not hold what it should.
type damage struct{ what any }

func (d damage) Error() string { return fmt.Sprint(d.what) }

// guard runs fn and turns a panic that means a damaged file into an error. Other
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
		// A page that cannot be read from the disk causes a fault where the program
		// accesses it, which may be in the caller's function.
		if f, ok := p.(interface{ Addr() uintptr }); ok {
			err = d.fail(damage{fmt.Sprintf("a page cannot be read (address %#x)", f.Addr())})
			return
		}
		panic(p)
	}()
	return fn()
}
