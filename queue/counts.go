package queue

import (
	"strconv"

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

// fields are the numbers in the order in which they are stored.
func (c *Counts) fields() [12]uint64 {
	return [...]uint64{
		uint64(c.Messages), uint64(c.Bytes), uint64(c.Delayed), uint64(c.Dead), uint64(c.DeadBytes),
		c.Pushed, c.Done, c.Failed, c.Cancelled, c.Expired, c.Again, c.Dropped,
	}
}

func (c *Counts) encode() []byte {
	b := make([]byte, 0, 64)
	for _, n := range c.fields() {
		b = append(strconv.AppendUint(b, n, 10), ' ')
	}
	return b[:len(b)-1]
}

// decodeCounts reads stored numbers. Each transaction of a queue does.
func decodeCounts(val []byte) (c Counts, ok bool) {
	var f [12]uint64
	field, digits := 0, 0
	for _, char := range val {
		switch {
		case '0' <= char && char <= '9' && digits < 18:
			f[field] = f[field]*10 + uint64(char-'0')
			digits++
		case char == ' ' && digits > 0 && field < len(f)-1:
			field, digits = field+1, 0
		default:
			return c, false
		}
	}
	c = Counts{
		int64(f[0]), int64(f[1]), int64(f[2]), int64(f[3]), int64(f[4]), //nolint:gosec // they have at most 18 digits
		f[5], f[6], f[7], f[8], f[9], f[10], f[11],
	}
	return c, field == len(f)-1 && digits > 0
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
