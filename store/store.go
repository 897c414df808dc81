// Package store keeps records in a transactional, ordered key space.
// Package store/bolt keeps it in a file. What a key means is its writer's
// affair: each package keeps to keys of its own prefixes.
//
// Nothing outside this contract may assume that it is alone with a store: no
// cache of records that another daemon may change, and no lock in memory that
// guards stored truth.
package store

import (
	"context"
	"iter"
)

// A Store runs transactions. Update may call fn more than once, so fn does
// nothing but read and write through its Tx and set variables of its caller.
// If fn returns an error, nothing is written and Update returns that error.
// When Update returns nil, what fn wrote is durable.
//
// Many callers of Update may share one write to the disk. Each still sees the
// writes of those before it and none of an fn that failed. A panic in fn goes to
// the caller; then nothing is written either.
//
// If ctx is done before fn began, fn does not run and the cause is returned.
// After that, ctx is for fn to look at. Neither function may be called from
// inside an fn: the call would wait for its own transaction.
//
// A store that cannot write (no space left) returns an error of kind
// fault.Unavailable and goes on; one that cannot know whether it wrote (a
// failed fsync) fails every call from then on.
type Store interface {
	View(ctx context.Context, fn func(Tx) error) error
	Update(ctx context.Context, fn func(Tx) error) error
}

// A Tx is one consistent view of the key space. It is not for use by more than
// one goroutine, nor after its function returns; neither are the slices that it
// returns, and they must not be modified.
type Tx interface {
	// Get returns the value of key, or nil if there is none.
	Get(key string) []byte
	// Put sets the value of key, which must not be empty. It keeps val, which
	// must not change until Update has returned. An empty or nil val is stored
	// as empty.
	Put(key string, val []byte) error
	// Delete removes key. A key that is not there is no error.
	Delete(key string) error
	// Scan yields, in the order of keys as bytes, the pairs whose key has the
	// prefix and is not less than from; an empty from means all of them. The
	// loop's body may Put and Delete; whether it sees keys that it put ahead of
	// itself is not defined, and a key that it deleted it does not see again.
	Scan(prefix, from string) iter.Seq2[string, []byte]
}
