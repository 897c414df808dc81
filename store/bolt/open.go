package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"go.etcd.io/bbolt"

	"activationd/internal/fault"
)

var (
	metaBucket = []byte("meta") // what the file is
	versionKey = []byte("version")
	dataBucket = []byte("data") // what the store keeps
)

// steps lead from one version of the file to the next: the first from version 1
// to 2, and so on.
var steps = []func(*bbolt.Tx) error{
	// Keys of version 2 name hosts, and numbers are the bucket's sequence. Package
	// activation brings its keys to that. A program that knows version 1 only must
	// not open the file.
	func(*bbolt.Tx) error { return nil },
}

const (
	// lockWait is how long Open waits for a process that is about to end, or for a
	// child that a process forked just before it was killed.
	lockWait  = 2 * time.Second
	lockPause = 10 * time.Millisecond

	// fill is how full a page is left when it is split. Most keys are inserted in
	// ascending order (ids, times). With bbolt's 50 percent, their pages would stay
	// half empty.
	fill = 0.8

	// mapping is how much address space the file is mapped into, so that it need not
	// be mapped again when it grows: 16 GiB, or 256 KiB where an address has 32 bits
	// and bbolt must enlarge the mapping step by step.
	mapping = 1 << (strconv.IntSize/2 + 2)
)

// Open opens the file at path, or creates it with mode 0600 if there is none.
// Its directory must be there. The errors are of kind
//
//   - fault.Conflict if another process uses the file, or if it was written by
//     a newer version or another program;
//   - fault.Invalid if it is damaged: Open never starts empty over such a file,
//     not even over one of no bytes;
//   - fault.Unavailable if there is no space.
//
// It finds damage only in the parts that it reads at first. [Check] reads the whole
// file.
func Open(path string) (*DB, error) { return openUpTo(path, wholeAtOnce) }

// openUpTo is [Open]. If the file has at most whole bytes, it verifies all of it
// first.
func openUpTo(path string, whole uint64) (*DB, error) {
	f, err := lock(path, os.O_RDWR, syscall.LOCK_EX)
	if errors.Is(err, fs.ErrNotExist) {
		if err := create(path); err != nil {
			return nil, err
		}
		f, err = lock(path, os.O_RDWR, syscall.LOCK_EX)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("state file %s is a link that leads to no file: bring back what it leads to, or remove it to start with an empty state: %w", path, fault.Invalid)
		}
	}
	if err != nil {
		return nil, err
	}
	h, err := readHeader(f)
	if err == nil {
		err = h.begin(whole)
	}
	if err != nil {
		err = damaged(path, err.Error())
	} else {
		var d *DB
		if d, err = open(path, f, steps); err == nil {
			return d, f.Close() // bbolt has its own descriptor
		}
	}
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN) // also if bbolt panicked and has its own descriptor open
	_ = f.Close()
	return nil, err
}

// open opens a locked file and brings it to this program's version.
func open(path string, f *os.File, steps []func(*bbolt.Tx) error) (*DB, error) {
	b, err := openBolt(path, f, false)
	if err != nil {
		return nil, err
	}
	if err := safely(path, func() error { return upgrade(path, b, steps) }); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	d := &DB{
		path:    path,
		bolt:    b,
		turn:    make(chan struct{}, 1),
		closing: make(chan struct{}),
		failed:  make(chan struct{}),
	}
	d.statm, _ = os.Open("/proc/self/statm")
	d.durable.reach(d.lastID())
	return d, nil
}

// openBolt gives f to bbolt.
func openBolt(path string, f *os.File, readOnly bool) (b *bbolt.DB, err error) {
	err = safely(path, func() (err error) {
		size := mapping
		for {
			b, err = bbolt.Open(path, 0o600, &bbolt.Options{
				OpenFile:        func(string, int, os.FileMode) (*os.File, error) { return again(f) },
				ReadOnly:        readOnly,
				Timeout:         lockWait, // it is locked already
				FreelistType:    bbolt.FreelistArrayType,
				InitialMmapSize: size,
				NoStatistics:    true,
			})
			if err == nil || size == 0 || !errors.Is(err, syscall.ENOMEM) {
				return err
			}
			size = 0 // a limit on address space; then writers sometimes wait for readers
		}
	})
	return b, err
}

// again returns another descriptor of an open file, so that f stays open if bbolt
// fails and closes the other one. Both share the lock.
func again(f *os.File) (*os.File, error) {
	fd, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		return nil, err
	}
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// lock opens a file and locks it against other processes.
func lock(path string, flag, how int) (*os.File, error) {
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return nil, fmt.Errorf("state file: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("state file %s is not a regular file: %w", path, fault.Invalid)
	}
	for wait := time.Duration(0); err == nil; wait += lockPause {
		err = syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if errors.Is(err, syscall.EWOULDBLOCK) {
			if wait < lockWait {
				time.Sleep(lockPause)
				err = nil
				continue
			}
			err = fmt.Errorf("state file %s is in use by another activationd: stop that one, or give this one a state directory of its own: %w",
				path, fault.Conflict)
		}
	}
	_ = f.Close()
	return nil, err
}

// create makes an empty store under another name and links it to path when it is
// complete, because a file whose first pages were half written would look like a
// damaged one. If another process links its file first, that file is used.
func create(path string) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".new-")
	if err != nil {
		return fmt.Errorf("new state file: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	defer func() { _ = f.Close() }()
	if err := fillNew(f); err != nil {
		if noSpace(err) {
			err = fmt.Errorf("%w: %w", err, fault.Unavailable)
		}
		return fmt.Errorf("new state file %s: %w", path, err)
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("new state file: %w", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("new state file: %w", err)
	}
	defer func() { _ = d.Close() }()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("new state file: %w", err)
	}
	return nil
}

// fillNew makes f an empty store.
func fillNew(f *os.File) error {
	b, err := openBolt(f.Name(), f, false)
	if err != nil {
		return err
	}
	err = b.Update(func(tx *bbolt.Tx) error {
		if _, err := tx.CreateBucket(dataBucket); err != nil {
			return err
		}
		meta, err := tx.CreateBucket(metaBucket)
		if err != nil {
			return err
		}
		return putVersion(meta, 1+len(steps))
	})
	return errors.Join(err, b.Close())
}

func putVersion(meta *bbolt.Bucket, v int) error {
	return meta.Put(versionKey, strconv.AppendInt(nil, int64(v), 10))
}

// upgrade brings the file to the version that comes after all steps.
func upgrade(path string, b *bbolt.DB, steps []func(*bbolt.Tx) error) error {
	newest := 1 + len(steps)
	var has int
	err := b.View(func(tx *bbolt.Tx) (err error) {
		has, err = version(path, tx, newest)
		return err
	})
	if err != nil || has == newest {
		return err
	}
	err = b.Update(func(tx *bbolt.Tx) error {
		for v := has; v < newest; v++ {
			if err := steps[v-1](tx); err != nil {
				return err
			}
		}
		return putVersion(tx.Bucket(metaBucket), newest)
	})
	if err != nil {
		return fmt.Errorf("bring state file %s from version %d to %d: %w", path, has, newest, err)
	}
	return nil
}

// version returns the version of the file, from 1 to newest.
func version(path string, tx *bbolt.Tx, newest int) (int, error) {
	meta := tx.Bucket(metaBucket)
	if meta == nil || tx.Bucket(dataBucket) == nil {
		return 0, fmt.Errorf("%s is not a state file of activationd, but another program's: move it away: %w", path, fault.Conflict)
	}
	text := bytes.Clone(meta.Get(versionKey))
	v, err := strconv.Atoi(string(text))
	if err != nil || v < 1 {
		return 0, damaged(path, fmt.Sprintf("its version is %q", text))
	}
	if v > newest {
		return 0, fmt.Errorf("state file %s has version %d, and this activationd knows versions up to %d: run the newer activationd that wrote it, or stop and put a backup of version %d in its place: %w",
			path, v, newest, newest, fault.Conflict)
	}
	return v, nil
}

// safely runs fn and turns bbolt's panics about a damaged file into errors.
func safely(path string, fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = damaged(path, fmt.Sprint(p))
		}
	}()
	return fn()
}

// damaged returns the error that says what to do.
func damaged(path, what string) error {
	return fmt.Errorf("state file %s is damaged (%s): stop activationd, move the file away, and put the newest backup (a file written by 'atctl backup') in its place; nothing was changed: %w",
		path, what, fault.Invalid)
}

// Check reads the file at path, a state file that is not in use or a backup, and
// returns nil if Open would take it and every page of it is sound. Its errors are
// those of Open. It changes nothing. A restore is: stop activationd, Check the
// backup, move the old file away, copy the backup to its place, start activationd.
func Check(path string) error {
	f, err := lock(path, os.O_RDONLY, syscall.LOCK_SH)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	h, err := readHeader(f)
	if err == nil {
		err = h.verify()
	}
	if err != nil {
		return damaged(path, err.Error())
	}
	b, err := openBolt(path, f, true)
	if err != nil {
		return err
	}
	return safely(path, func() error {
		defer func() { _ = b.Close() }()
		return b.View(func(tx *bbolt.Tx) error {
			_, err := version(path, tx, 1+len(steps))
			return err
		})
	})
}
