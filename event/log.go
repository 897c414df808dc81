package event

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/maphash"
	"iter"
	"sort"
	"sync"
	"time"

	"activationd/store"
)

// The keys of this package.
const (
	logKey    = "v/"       // + NUMBER: the events
	prunedKey = "v-pruned" // the number of the newest event that was pruned
)

// entryEvents bounds how many events one entry has.
const entryEvents = 256

// Limits of the page that a reader has in memory.
const (
	pageEvents = 256
	pageBytes  = 256 << 10 // their stored size
)

// A Log is the events of a store. Make it with [New]. Its methods may be called by many
// goroutines at once.
type Log struct {
	db store.Store

	mu    sync.Mutex
	more  chan struct{} // closed when there are more events
	grown int           // how many were appended since the last Prune
	limit int           // how many appended events fill prune; 0: none do
	prune chan struct{} // capacity one: Prune should be called

	tip   sync.Mutex // held to read events that no reader has read yet
	tail  tail
	fresh fresh

	crowding sync.Mutex
	crowds   map[string]*crowd // by the key of their wish
}

// New returns the log of a store.
func New(db store.Store) *Log {
	return &Log{db: db, more: make(chan struct{}), prune: make(chan struct{}, 1)}
}

// Written is what [Append] wrote: entries, each with its events.
type Written []block

type block struct {
	data   []byte
	events []*Event
}

// Append adds events to the log in the transaction that makes them true. Their Seq stays
// zero. After the commit the caller must hand what Append returned to [Log.Committed], and
// not use the events any more.
func Append(tx store.Tx, events ...*Event) (w Written, err error) {
	for len(events) > 0 {
		n := 1
		for n < len(events) && n < entryEvents && events[n].joins(events[0]) {
			n++
		}
		data, err := encode(events[:n])
		if err != nil {
			return nil, err
		}
		if err := tx.Append(logKey, data, n); err != nil {
			return nil, err
		}
		w, events = append(w, block{data, events[:n]}), events[n:]
	}
	return w, nil
}

// Committed wakes the followers after a transaction that appended events was committed.
func (l *Log) Committed(w Written) {
	if len(w) == 0 {
		return
	}
	l.fresh.add(w)
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.more)
	l.more = make(chan struct{})
	for _, b := range w {
		l.grown += len(b.events)
	}
	if l.limit > 0 && l.grown >= l.limit {
		select {
		case l.prune <- struct{}{}:
		default: // a token is there already
		}
	}
}

// wake returns a channel that is closed when there are more events.
func (l *Log) wake() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.more
}

// Newest returns a number to follow from: no event so far has a greater one, and all
// later ones have.
func (l *Log) Newest(ctx context.Context) (n uint64, err error) {
	err = l.db.View(ctx, func(tx store.Tx) error {
		n = tx.Stamp()
		return nil
	})
	return n, err
}

// Read returns the next events with numbers after the given one, in order, as many as fit
// into a page. It returns none if there are none yet. The first may be a [Gap]. Other
// readers may get the same events, so they must not be changed.
func (l *Log) Read(ctx context.Context, after uint64) ([]*Event, error) {
	page, _, _, err := l.read(ctx, after)
	return page, err
}

// read is [Log.Read]. If all is true, the log had no further events when it was read, and later
// ones have numbers after tip.
func (l *Log) read(ctx context.Context, after uint64) (page []*Event, tip uint64, all bool, err error) {
	page, atTip := l.tail.read(after)
	if page != nil {
		return page, 0, false, nil
	}
	if atTip { // many readers wait for the same events: one reads for all
		l.tip.Lock()
		defer l.tip.Unlock()
		if page, _ := l.tail.read(after); page != nil {
			return page, 0, false, nil
		}
	}
	var from uint64
	err = l.db.View(ctx, func(tx store.Tx) error {
		page, from, all = l.readPage(tx, after)
		tip = tx.Stamp()
		return nil
	})
	if err != nil || len(page) == 0 {
		return nil, tip, all, err
	}
	for _, e := range page {
		if e.What == Gap {
			e.Time = time.Now()
		}
	}
	l.tail.add(from, page)
	return page, tip, all, nil
}

// readPage reads a page of the events after a number. The page has all events after the
// number from, up to its last one. If all is true, there are no later ones.
func (l *Log) readPage(tx store.Tx, after uint64) (page []*Event, from uint64, all bool) {
	from = after
	pruned := prunedUpTo(tx)
	if reset := after > tx.Stamp(); reset || after < pruned {
		page, from = append(page, &Event{Seq: pruned, Topic: Gap, What: Gap, From: after + 1, Reset: reset}), pruned
		if reset {
			page[0].From = 0
		}
	}
	size, last := 0, from
	for _, en := range entries(tx, from+1) {
		events, err := l.decode(en, last)
		if err != nil { // readers get the events after it, and learn of these
			events = []*Event{{Seq: en.n, Topic: Gap, What: Gap, From: last + 1, Reason: err.Error()}}
		}
		page, last = append(page, events...), en.n
		if size += len(en.data); len(page) >= pageEvents || size >= pageBytes {
			return page, from, false
		}
	}
	return page, from, true
}

// decode returns an entry's events with numbers after the given one.
func (l *Log) decode(en entry, after uint64) ([]*Event, error) {
	if events := l.fresh.take(en.data); len(events) > 0 {
		for i, e := range events {
			e.arrive(en.n - uint64(len(events)-1-i))
		}
		from := sort.Search(len(events), func(i int) bool { return events[i].Seq > after })
		return events[from:], nil
	}
	return en.decode(after)
}

// entries yields the log's entries from a number on, with their keys.
func entries(tx store.Tx, from uint64) iter.Seq2[string, entry] {
	return func(yield func(string, entry) bool) {
		for k, v := range tx.Scan(logKey, store.EntryKey(logKey, from)) {
			if n, ok := store.EntryNumber(logKey, k); ok && !yield(k, entry{n, v}) {
				return
			}
		}
	}
}

func prunedUpTo(tx store.Tx) uint64 {
	if b := tx.Get(prunedKey); len(b) == 8 {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// Follow hands each event after a number to fn, in order, until ctx is done or fn fails.
// If some of them were pruned before they could be read, fn gets a [Gap] instead of them.
// Events must not be changed.
func (l *Log) Follow(ctx context.Context, after uint64, fn func(*Event) error) error {
	return l.FollowSlowly(ctx, after, 0, fn)
}

// FollowSlowly is as [Log.Follow], but lets events gather for a while before it reads them,
// so that a follower that is in no hurry costs the writers little.
func (l *Log) FollowSlowly(ctx context.Context, after uint64, gather time.Duration, fn func(*Event) error) error {
	return l.FollowPages(ctx, after, gather, func(page []*Event) error {
		for _, e := range page {
			if err := fn(e); err != nil {
				return err
			}
		}
		return nil
	})
}

// FollowPages is as [Log.FollowSlowly], but hands as many events to fn at once as there are,
// at least one and at most a page, for a follower that writes something about them.
func (l *Log) FollowPages(ctx context.Context, after uint64, gather time.Duration, fn func([]*Event) error) error {
	for {
		more := l.wake() // before reading, so that no event in between is missed
		page, _, all, err := l.read(ctx, after)
		if err != nil {
			return err
		}
		if n := len(page); n > 0 {
			if err := fn(page); err != nil {
				return err
			}
			after = page[n-1].Seq
		}
		if !all {
			continue
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-more:
		}
		if gather == 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(gather):
		}
	}
}

// tailEvents is how many of the newest events are kept in memory: more than are written in
// a tenth of a second.
const tailEvents = 2048

// A tail has the newest events that were read, so that many followers decode each of them
// once. An event never changes, so the copies stay right.
type tail struct {
	mu     sync.Mutex
	pruned uint64 // events up to this number are not kept any more
	after  uint64 // events has all events of the log after this number, up to its own last one
	events []*Event
}

// read returns a page of the events after a number, if the tail has them. AtTip reports
// whether that is the tail's last event: no reader has read later ones yet.
func (t *tail) read(after uint64) (page []*Event, atTip bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case after == t.end():
		return nil, true
	case after < t.after || after > t.end():
		return nil, false
	}
	i := sort.Search(len(t.events), func(i int) bool { return t.events[i].Seq > after })
	return append([]*Event(nil), t.events[i:min(len(t.events), i+pageEvents)]...), false
}

func (t *tail) end() uint64 {
	if n := len(t.events); n > 0 {
		return t.events[n-1].Seq
	}
	return t.after
}

// add adds a page, which has all events of the log after a number up to its own last one.
func (t *tail) add(after uint64, page []*Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if page[0].What == Gap && page[0].Seq <= after { // it stands for events before the number
		page = page[1:]
	}
	if after > t.end() || len(t.events) == 0 {
		t.after, t.events = after, nil
	}
	for _, e := range page {
		if e.Seq > t.end() {
			t.events = append(t.events, e)
		}
	}
	t.drop(len(t.events) - tailEvents)
	t.dropPruned() // a page may have been read before they were pruned
}

// forget drops the events up to a number, which were pruned: readers must learn of the gap.
func (t *tail) forget(pruned uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pruned = max(t.pruned, pruned)
	t.dropPruned()
}

func (t *tail) dropPruned() {
	t.drop(sort.Search(len(t.events), func(i int) bool { return t.events[i].Seq > t.pruned }))
}

func (t *tail) drop(n int) {
	if n > 0 {
		t.after = t.events[n-1].Seq
		t.events = append([]*Event(nil), t.events[n:]...)
	}
}

// fresh has the newest events that this process wrote, by their encoding, until they are
// read: decoding an event costs several times what encoding it does. It may lack any of
// them, because the store has them all.
type fresh struct {
	mu     sync.Mutex
	seed   maphash.Seed
	blocks map[uint64]block // by the hash of their encoding
	events int
}

func (f *fresh) add(w Written) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range w {
		if bytes.Contains(b.data, []byte(`\ufffd`)) { // JSON does not keep invalid UTF-8
			continue
		}
		if f.blocks == nil || f.events+len(b.events) > tailEvents {
			f.seed, f.blocks, f.events = maphash.MakeSeed(), make(map[uint64]block), 0
		}
		f.blocks[maphash.Bytes(f.seed, b.data)] = b
		f.events += len(b.events)
	}
}

func (f *fresh) take(data []byte) []*Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.blocks == nil {
		return nil
	}
	k := maphash.Bytes(f.seed, data)
	b, ok := f.blocks[k]
	if !ok || !bytes.Equal(b.data, data) {
		return nil
	}
	delete(f.blocks, k)
	f.events -= len(b.events)
	return b.events
}
