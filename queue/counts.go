package queue

import (
	"strconv"
	"strings"

	"activationd/store"
)

// Counts are the numbers of a queue. They are stored, and written with each transaction that
// changes them.
//
// Each message that was pushed is counted in one of Messages, Dead, Done, Cancelled, Expired
// and Dropped.
type Counts struct {
	Messages  int64 // ready, delayed or in work
	Bytes     int64 // of their bodies and headers
	Delayed   int64 // of the Messages
	Dead      int64
	DeadBytes int64

	// What there was since the queue was created.
	Pushed    uint64
	Done      uint64
	Failed    uint64 // how many times a message became a dead letter
	Cancelled uint64
	Expired   uint64
	Again     uint64 // how many attempts failed after which there was another
	Dropped   uint64 // purged, replaced, dropped for others or moved to another queue
}

// CountsOf returns the numbers of a queue; zero if it is gone.
func CountsOf(tx store.Tx, n uint64) Counts {
	c, err := readCounts(tx, n)
	if err != nil {
		return Counts{} // Verify reports it, and whatever changes the queue
	}
	return c
}

func (c *Counts) encode() []byte {
	b := make([]byte, 0, 64)
	for _, n := range c.signed() {
		b = append(strconv.AppendInt(b, *n, 10), ' ')
	}
	for _, n := range c.unsigned() {
		b = append(strconv.AppendUint(b, *n, 10), ' ')
	}
	return b[:len(b)-1]
}

func (c *Counts) signed() [5]*int64 {
	return [...]*int64{&c.Messages, &c.Bytes, &c.Delayed, &c.Dead, &c.DeadBytes}
}

func (c *Counts) unsigned() [7]*uint64 {
	return [...]*uint64{&c.Pushed, &c.Done, &c.Failed, &c.Cancelled, &c.Expired, &c.Again, &c.Dropped}
}

func decodeCounts(val []byte) (c Counts, ok bool) {
	text, more := string(val), true
	next := func() (word string) {
		word, text, more = strings.Cut(text, " ")
		return word
	}
	for _, n := range c.signed() {
		var err error
		if *n, err = strconv.ParseInt(next(), 10, 64); err != nil || *n < 0 {
			return c, false
		}
	}
	for _, n := range c.unsigned() {
		var err error
		if *n, err = strconv.ParseUint(next(), 10, 64); err != nil {
			return c, false
		}
	}
	return c, !more
}

func readCounts(tx store.Tx, n uint64) (c Counts, err error) {
	val := tx.Get(countKey(n))
	if val == nil {
		return c, nil
	}
	c, ok := decodeCounts(val)
	if !ok {
		return c, damaged(countKey(n))
	}
	return c, nil
}

func (c *Counts) write(tx store.Tx, n uint64) error { return tx.Put(countKey(n), c.encode()) }
