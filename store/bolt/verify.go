package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// This file reads bbolt's format (its version 2) by itself, because bbolt maps a
// file without checking that its pages exist, and reading a missing page causes a
// fault that ends the process.

const (
	magic       = 0xED0CDAED
	boltVersion = 2

	branchPage   = 0x01
	leafPage     = 0x02
	freelistPage = 0x10
	bucketElem   = 0x01

	pageHeader  = 16 // id uint64, flags uint16, count uint16, overflow uint32
	branchElem  = 16 // pos, ksize uint32, child uint64
	leafElem    = 16 // flags, pos, ksize, vsize uint32
	bucketValue = 16 // root, sequence uint64; a page follows if root is 0
	noFreelist  = 1<<64 - 1
	maxDepth    = 64
)

var order = binary.NativeEndian

// A header is the newest valid one of the file's two meta pages.
type header struct {
	f        *os.File
	pageSize uint64
	root     uint64 // page of the root bucket
	freelist uint64
	end      uint64 // the first page that is not in use
	txid     uint64
}

// readHeader reads the meta pages, and checks that the file has as many pages as
// they say.
func readHeader(f *os.File) (*header, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	size := uint64(info.Size())
	if size == 0 {
		return nil, errors.New("it is empty")
	}
	h, err := readMeta(f, 0)
	if err == nil {
		if other, err := readMeta(f, int64(h.pageSize)); err == nil && other.txid > h.txid {
			h = other
		}
	} else {
		// The page size is not known, so the other one may be in many places.
		for pos := int64(1 << 10); h == nil && pos <= 1<<24; pos *= 2 {
			if other, err := readMeta(f, pos); err == nil && other.pageSize == uint64(pos) {
				h = other
			}
		}
	}
	if h == nil {
		return nil, err
	}
	// Its checksum is right, so the other one would be no better.
	if h.end > 1<<40 || h.root >= h.end {
		return nil, errors.New("its first pages contradict themselves")
	}
	if need := h.end * h.pageSize; size < need {
		return nil, fmt.Errorf("it is cut off: it has %d bytes and needs %d", size, need)
	}
	return h, nil
}

func readMeta(f *os.File, pos int64) (*header, error) {
	var b [pageHeader + 64]byte
	if _, err := f.ReadAt(b[:], pos); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("it is cut off in its first pages")
		}
		return nil, err
	}
	m := b[pageHeader:]
	if got := order.Uint32(m); got != magic {
		return nil, errors.New("its first pages are not those of a state file")
	}
	if v := order.Uint32(m[4:]); v != boltVersion {
		return nil, fmt.Errorf("its format is %d, not %d", v, boltVersion)
	}
	sum := fnv.New64a()
	_, _ = sum.Write(m[:56])
	if sum.Sum64() != order.Uint64(m[56:]) {
		return nil, errors.New("the checksums of its first pages are wrong")
	}
	h := &header{f, uint64(order.Uint32(m[8:])), order.Uint64(m[16:]), order.Uint64(m[32:]), order.Uint64(m[40:]), order.Uint64(m[48:])}
	if h.pageSize < 1<<10 || h.pageSize > 1<<24 {
		return nil, fmt.Errorf("its pages have %d bytes", h.pageSize)
	}
	return h, nil
}

// A page is a page of the file, with the pages that continue it.
type page struct {
	id          uint64
	flags       uint16
	count, span int // elements; pages
	data        []byte
}

func (h *header) read(id uint64) (page, error) {
	if id < 2 || id >= h.end {
		return page{}, fmt.Errorf("there is a reference to page %d, but there are only %d pages", id, h.end)
	}
	data := make([]byte, h.pageSize)
	if _, err := h.f.ReadAt(data, int64(id*h.pageSize)); err != nil {
		return page{}, fmt.Errorf("page %d: %w", id, err)
	}
	overflow := uint64(order.Uint32(data[12:]))
	if got := order.Uint64(data); got != id {
		return page{}, fmt.Errorf("page %d says that it is page %d", id, got)
	}
	if overflow >= h.end-id {
		return page{}, fmt.Errorf("page %d continues for %d pages, beyond the end of the file", id, overflow)
	}
	if overflow > 0 {
		data = make([]byte, (overflow+1)*h.pageSize)
		if _, err := h.f.ReadAt(data, int64(id*h.pageSize)); err != nil {
			return page{}, fmt.Errorf("page %d: %w", id, err)
		}
	}
	return page{id, order.Uint16(data[8:]), int(order.Uint16(data[10:])), int(overflow) + 1, data}, nil
}

// freePages returns the pages that the file says are free, in ascending order.
func (h *header) freePages() ([]uint64, error) {
	if h.freelist == noFreelist {
		return nil, errors.New("it has no list of free pages")
	}
	p, err := h.read(h.freelist)
	if err != nil {
		return nil, err
	}
	if p.flags != freelistPage {
		return nil, fmt.Errorf("page %d should list the free pages", p.id)
	}
	n, data := uint64(p.count), p.data[pageHeader:]
	if n == 0xFFFF {
		n, data = order.Uint64(data), data[8:]
	}
	if n > uint64(len(data)/8) {
		return nil, fmt.Errorf("page %d lists %d free pages, more than fit into it", p.id, n)
	}
	free := make([]uint64, n)
	last := uint64(1)
	for i := range free {
		id := order.Uint64(data[8*i:])
		if id <= last || id >= h.end {
			return nil, fmt.Errorf("page %d lists free pages that are not in the file, or not in order", p.id)
		}
		free[i], last = id, id
	}
	return free, nil
}

// wholeAtOnce is the size up to which a file is verified completely before it is
// used. For a larger file that would take too long: clients wait for the daemon.
const wholeAtOnce = 128 << 20

// begin verifies all pages or, in a larger file, those that are used first.
func (h *header) begin(whole uint64) error {
	if h.end <= whole/h.pageSize {
		return h.verify()
	}
	if _, err := h.freePages(); err != nil {
		return err
	}
	p, err := h.read(h.root)
	if err == nil {
		_, err = p.keys(nil, nil)
	}
	return err
}

// verify reads every page: each is in use once or free, and its keys ascend
// within those of the page above it.
func (h *header) verify() error {
	w := walk{header: h, used: make([]bool, h.end)}
	free, err := h.freePages()
	if err != nil {
		return err
	}
	list, err := h.read(h.freelist)
	if err != nil {
		return err
	}
	w.used[0], w.used[1] = true, true
	if err := w.use(list); err != nil {
		return err
	}
	for _, id := range free {
		if w.used[id] {
			return fmt.Errorf("page %d is free and in use", id)
		}
		w.used[id] = true
	}
	if err := w.tree(h.root, nil, nil, 0); err != nil {
		return err
	}
	for id, used := range w.used {
		if !used {
			return fmt.Errorf("page %d is neither free nor in use", id)
		}
	}
	return nil
}

type walk struct {
	*header
	used []bool
}

func (w *walk) use(p page) error {
	for i := range uint64(p.span) {
		if w.used[p.id+i] {
			return fmt.Errorf("page %d is used twice, or free", p.id+i)
		}
		w.used[p.id+i] = true
	}
	return nil
}

// tree walks the pages below id, whose keys are from lo and less than hi.
func (w *walk) tree(id uint64, lo, hi []byte, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("page %d is too deep", id)
	}
	p, err := w.read(id)
	if err != nil {
		return err
	}
	if err := w.use(p); err != nil {
		return err
	}
	return w.elements(p, lo, hi, depth)
}

func (w *walk) elements(p page, lo, hi []byte, depth int) error {
	keys, err := p.keys(lo, hi)
	if err != nil {
		return err
	}
	for i, key := range keys {
		_, val, _ := p.element(i) // was looked at above
		if p.flags == branchPage {
			next := hi
			if i+1 < len(keys) {
				next = keys[i+1]
			}
			if err := w.tree(order.Uint64(val), key, next, depth+1); err != nil {
				return err
			}
		} else if order.Uint32(p.data[pageHeader+i*leafElem:])&bucketElem != 0 {
			if err := w.bucket(p.id, val, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// bucket walks a bucket within another one. A small one is a page in a value.
func (w *walk) bucket(id uint64, val []byte, depth int) error {
	if len(val) < bucketValue {
		return fmt.Errorf("page %d has a bucket of %d bytes", id, len(val))
	}
	if root := order.Uint64(val); root != 0 {
		return w.tree(root, nil, nil, depth)
	}
	data := val[bucketValue:]
	if len(data) < pageHeader || order.Uint16(data[8:]) != leafPage {
		return fmt.Errorf("page %d has a bucket that is not a page", id)
	}
	return w.elements(page{id, leafPage, int(order.Uint16(data[10:])), 1, data}, nil, nil, depth)
}

// keys returns the keys of a page of a tree, which ascend from lo and are less
// than hi; nil stands for no limit.
func (p page) keys(lo, hi []byte) ([][]byte, error) {
	switch {
	case p.flags == leafPage:
	case p.flags == branchPage && p.count > 0:
	default:
		return nil, fmt.Errorf("page %d is of the wrong type (%#x, %d elements)", p.id, p.flags, p.count)
	}
	keys := make([][]byte, p.count)
	for i := range keys {
		key, _, err := p.element(i)
		if err != nil {
			return nil, err
		}
		if bytes.Compare(key, lo) < 0 || i > 0 && bytes.Equal(key, lo) || hi != nil && bytes.Compare(key, hi) >= 0 {
			return nil, fmt.Errorf("page %d has its keys in the wrong order", p.id)
		}
		keys[i], lo = key, key
	}
	return keys, nil
}

// element returns the i-th key, and its value or the number of its child.
func (p page) element(i int) (key, val []byte, err error) {
	at := uint64(pageHeader + i*leafElem) // elements of both kinds are as large
	if at+leafElem > uint64(len(p.data)) {
		return nil, nil, fmt.Errorf("page %d has more elements than fit into it", p.id)
	}
	e := p.data[at : at+leafElem]
	if p.flags == branchPage {
		pos, ksize := uint64(order.Uint32(e)), uint64(order.Uint32(e[4:]))
		if at+pos+ksize > uint64(len(p.data)) {
			return nil, nil, fmt.Errorf("page %d has a key beyond its end", p.id)
		}
		return p.data[at+pos : at+pos+ksize], e[8:], nil
	}
	pos, ksize, vsize := uint64(order.Uint32(e[4:])), uint64(order.Uint32(e[8:])), uint64(order.Uint32(e[12:]))
	if at+pos+ksize+vsize > uint64(len(p.data)) {
		return nil, nil, fmt.Errorf("page %d has a value beyond its end", p.id)
	}
	return p.data[at+pos : at+pos+ksize], p.data[at+pos+ksize : at+pos+ksize+vsize], nil
}
