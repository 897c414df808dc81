// Package store is the contract of a transactional, ordered key space, in which
// the daemon keeps its records. Package store/bolt keeps it in a file. The store
// does not know what a key means: each package uses keys with its own prefixes.
//
// Nothing outside this contract may assume that it is alone with a store: no
// cache of records that another daemon may change, and no lock in memory that
// guards stored truth.
package store

import (
	"context"
	"fmt"
	"io"
	"iter"
	"math"
	"strconv"
	"strings"

	"activationd/internal/fault"
)

// A Store runs transactions. If fn returns an error, nothing is written and
// Update returns that error. When Update returns nil, what fn wrote is durable. A View
// sees only what is durable: what it hands on cannot be undone by a loss of power.
//
// View and Update may call fn more than once, and each call may see a newer state.
// So fn only reads and writes through its Tx and sets variables of its caller,
// which it resets when it begins. It does not log, looks at no file and no clock
// of its own, and calls no function that does: its caller reads what it needs from
// outside before the call, and acts on the result after it.
//
// Many callers of Update may share one write to the disk. Each still sees the
// writes of those before it and none of an fn that failed. A panic in fn goes to
// the caller, and nothing is written.
//
// A read that fails ends fn: Get or the loop over a Scan does not return. View or
// Update then returns the error, of kind fault.Unavailable if a later call may
// succeed, and nothing is written. Functions that fn deferred run, and have no
// effect on the store; they must not recover from a panic that is not fn's own.
//
// If ctx is done before fn has begun, fn does not run and the cause is returned. Once fn
// runs, only fn looks at ctx. View and Update must not be called from inside an fn: the
// call would wait for its own transaction.
//
// A store that cannot write (no space left) returns an error of kind
// fault.Unavailable and goes on; one that cannot know whether it wrote (a
// failed fsync) fails every call from then on.
//
// A store may limit how much one Update writes: see [Limits].
type Store interface {
	View(ctx context.Context, fn func(Tx) error) error
	Update(ctx context.Context, fn func(Tx) error) error
}

// A Tx is one consistent view of the key space. Only one goroutine may use it, and only
// until its function returns. The same holds for the slices that it returns, which must
// not be modified.
type Tx interface {
	// Get returns the value of key, or nil if there is none.
	Get(key string) []byte
	// Put sets the value of key, which must not be empty. It keeps val, which
	// must not change until Update has returned. An empty or nil val is stored
	// as empty.
	Put(key string, val []byte) error
	// Delete removes key. Deleting a key that does not exist is no error.
	Delete(key string) error
	// Scan yields, in the order of keys as bytes, the pairs whose key has the prefix and
	// is not less than from; an empty from means all of them. The loop's body may Put
	// and Delete. The loop does not yield a key that its body has deleted; whether it
	// yields a key that its body has put ahead of it is not defined.
	Scan(prefix, from string) iter.Seq2[string, []byte]

	// Append adds an entry to a log: a key that is log followed by a number, which
	// the store chooses when the transaction commits, as text of a fixed width. See
	// [EntryKey]. The transaction itself does not see the entry. Scan reads a log
	// in the order in which its entries were committed, and those of one
	// transaction in the order in which they were appended.
	//
	// An entry takes n consecutive numbers, one for each of its parts: 1 to
	// [MaxParts]. Its key has the last of them.
	//
	// Numbers rise, and may have gaps. None is used twice, not even when its entry
	// has been deleted or the store has been closed meanwhile. Once an entry is
	// visible, no entry with a smaller number becomes visible later: a reader that
	// has read up to an entry continues from the next number and misses nothing.
	Append(log string, val []byte, n int) error
	// Stamp returns a number that is greater than those of all entries and stamps whose
	// effects this transaction can see. Each call returns another number. Stamps and
	// entries take their numbers from one sequence, for which no key is written; so
	// taking one causes no conflict. Two transactions that do not see each other may get
	// the same number: where that matters, both must write a key that they have in
	// common, as the holders of a lock do. A number that was returned to a transaction
	// that did not commit may be returned again.
	//
	// In a View, Stamp returns the newest number. Entries that are appended later
	// have greater ones.
	Stamp() uint64
	// Raise makes all later numbers of entries and stamps greater than n, which is at
	// most [MaxNumber]. It is for numbers that were counted elsewhere before.
	Raise(n uint64) error
}

// A Limiter is a store that limits the number of keys that one Update writes, and
// the bytes of their keys and values. All entries that it appends to one log count
// as one key: a store may keep them in one. An Update that exceeds a limit fails
// with an error of kind fault.Invalid.
type Limiter interface {
	Limits() (ops, bytes int)
}

// NoLimit is what [Limits] returns for a store without limits.
const NoLimit = math.MaxInt

// Limits returns how much one Update of s may write. Callers that write many keys divide
// them among several transactions.
func Limits(s Store) (ops, bytes int) {
	if l, ok := s.(Limiter); ok {
		return l.Limits()
	}
	return NoLimit, NoLimit
}

// A Session is one daemon's use of a store that several daemons share. Done is closed
// when the others may assume that this daemon is gone. From then on each Update fails
// with an error of kind fault.Unavailable.
type Session interface {
	Store
	ID() string // differs from those of all other sessions, also of earlier ones
	Done() <-chan struct{}
}

// A Watcher is a store that can report changes by other daemons.
type Watcher interface {
	// Watch returns a channel that receives a value after keys with the prefix have
	// changed: one for any number of changes since the last was received. It is
	// closed when ctx is done. It does not say what changed: the receiver reads the
	// keys again.
	Watch(ctx context.Context, prefix string) <-chan struct{}
}

// A Backend is a store, with the other functions that a daemon needs of it.
type Backend interface {
	Store
	// Backup writes a copy of the store as it is now to w.
	Backup(ctx context.Context, w io.Writer) error
	// Failed returns a channel that is closed when the store can no longer be used.
	// Then the process must end, and Err returns why.
	Failed() <-chan struct{}
	Err() error
}

// MaxNumber is the greatest number of an entry or a stamp. JSON readers that only have
// floating point still read it exactly.
const MaxNumber = 1<<53 - 1

// MaxParts is how many numbers one entry may take.
const MaxParts = 1024

// entryDigits is how many decimal digits MaxNumber has.
const entryDigits = 16

// CheckParts returns an error of kind fault.Invalid unless an entry may take n numbers.
// It is for implementations of [Tx].
func CheckParts(n int) error {
	if n < 1 || n > MaxParts {
		return fmt.Errorf("store: an entry of %d parts, and 1 to %d are possible: %w", n, MaxParts, fault.Invalid)
	}
	return nil
}

// EntryKey returns the key of a log's entry. Scan from it yields that entry and
// those after it.
func EntryKey(log string, n uint64) string { return fmt.Sprintf("%s%0*d", log, entryDigits, n) }

// EntryNumber returns the number in an entry's key, and reports whether it is
// the key of an entry of the log.
func EntryNumber(log, key string) (n uint64, ok bool) {
	text, ok := strings.CutPrefix(key, log)
	if !ok || len(text) != entryDigits {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 64)
	return n, err == nil && n <= MaxNumber
}
