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

// trimAbove is how many bytes of mapped files the process may have in memory before relax
// releases them. A part of that is the program itself.
const trimAbove = 24 << 20

// Trim releases the memory that was used to read the file. The pages stay in the kernel's
// cache, where they do not count as memory of this process, and are mapped again when
// they are accessed. The store does this by itself, while it is in use, when the process
// has more than about 24 MiB of mapped files in memory. Call Trim after reading a large
// part of the store.
func (d *DB) Trim() error { return d.reading(context.Background(), d.trim) }

// trim unmaps pages. The transaction b keeps the mapping at its address. The mapping
// is shared and only read, so the same contents are mapped again: for other readers
// and the slices that they hold, nothing changes.
func (d *DB) trim(b *bbolt.Tx) error {
	_, _, errno := syscall.Syscall(syscall.SYS_MADVISE, d.bolt.Info().Data, uintptr(b.Size()), syscall.MADV_DONTNEED)
	if errno != 0 {
		return fmt.Errorf("madvise %s: %w", d.path, errno)
	}
	return nil
}

// relax trims if the process has too much mapped. A fault maps sixteen pages, so a
// hundred reads in a large file map many megabytes.
func (d *DB) relax(b *bbolt.Tx) {
	if b.Size() < trimAbove/2 || d.mapped() < trimAbove {
		return
	}
	_ = d.trim(b) // the next call is soon
}

// mapped returns how much memory of this process is mapped files, in bytes, or 0 if it is not known.
func (d *DB) mapped() int {
	var text [128]byte
	n, _ := d.statm.ReadAt(text[:], 0)
	words := bytes.Fields(text[:n]) // size, resident, shared, ... in pages
	if len(words) < 3 {
		return 0
	}
	pages, err := strconv.Atoi(string(words[2]))
	if err != nil {
		return 0
	}
	return pages * os.Getpagesize()
}
