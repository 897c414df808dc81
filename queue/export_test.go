package queue

import "activationd/store"

// IsReady reports whether a message is ready or in work.
func IsReady(tx store.Tx, n, seq uint64) bool {
	m, err := find(tx, n, seq, false)
	return err == nil && m != nil && m.where == Ready
}

// KeyHolder returns the live message that has a key, if there is one.
func KeyHolder(tx store.Tx, n uint64, key string) (seq uint64, ok bool) {
	h, err := readHolder(tx, n, key)
	if err != nil || h == nil || h.live == nil {
		return 0, false
	}
	return h.seq, true
}

// LargestBody returns the size of the largest body that can be pushed into a queue of db.
func LargestBody(db store.Store) int64 {
	_, most := store.Limits(db)
	return int64(min(MaxBody, most-most/4)) // the rest is for keys, headers and counters
}
