package bolt

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"go.etcd.io/bbolt"
)

// trimAbove is how much of files' contents the process may have mapped before
// relax gives it back. A part of it is the program itself.
const trimAbove = 24 << 20

// Trim gives the memory that reading the file took back to the kernel. The
// pages stay in its cache, where they do not count as ours and from where they
// come back at a touch. The store does this by itself, while it is in use, when
// the process maps more than some 24 MiB of files; it is for those who just
// looked at much and know it.
func (d *DB) Trim() error {
	if err := d.usable(context.Background()); err != nil {
		return err
	}
	d.readers.RLock()
	defer d.readers.RUnlock()
	b, err := d.begin(false)
	if err != nil {
		return err
	}
	defer func() { _ = b.Rollback() }()
	return d.trim(b)
}

// trim unmaps pages. The transaction b keeps the mapping in its place. It is
// shared and only read, so what was there comes back unchanged: neither other
// readers nor slices that they hold notice anything but time.
func (d *DB) trim(b *bbolt.Tx) error {
	_, _, errno := syscall.Syscall(syscall.SYS_MADVISE, d.bolt.Info().Data, uintptr(b.Size()), syscall.MADV_DONTNEED)
	if errno != 0 {
		return fmt.Errorf("madvise %s: %w", d.path, errno)
	}
	return nil
}

// relax trims if there is reason to. A fault maps sixteen pages, so some
// hundred looks at a large file map many megabytes.
func (d *DB) relax(b *bbolt.Tx) {
	if b.Size() < trimAbove/2 || mapped() < trimAbove {
		return
	}
	_ = d.trim(b) // tried again soon
}

// mapped returns how much memory of this process is contents of files, in bytes.
func mapped() int {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	words := bytes.Fields(text) // size, resident, shared, ... in pages
	if len(words) < 3 {
		return 0
	}
	pages, err := strconv.Atoi(string(words[2]))
	if err != nil {
		return 0
	}
	return pages * os.Getpagesize()
}
