package queue

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"activationd/internal/document"
	"activationd/internal/fault"
	"activationd/store"
)

// A Queue is a queue as it is stored. N is its number: a queue that is created again under the
// same name has another number.
type Queue struct {
	Name     string    `json:"name"`
	N        uint64    `json:"n"`
	Created  time.Time `json:"created"`
	By       string    `json:"by,omitempty"`       // who created it
	For      string    `json:"for,omitempty"`      // the client that wanted to push into it, and so created it; empty: somebody created it on purpose
	Builtin  bool      `json:"builtin,omitempty"`  // the daemon's own: clients neither push into it nor delete it
	Ordered  bool      `json:"ordered,omitempty"`  // one message after the other; one that is to be tried again later blocks those behind it
	Paused   *Paused   `json:"paused,omitempty"`   // its messages are not handed out
	Deleting *Deleting `json:"deleting,omitempty"` // it takes no messages any more, and will be gone
}

// Paused says why a queue is paused.
type Paused struct {
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
	Until  time.Time `json:"until,omitzero"`  // when it ends; zero: when somebody ends it
	Fault  bool      `json:"fault,omitempty"` // its listener cannot run
	// Version is that of the listener that cannot run: another one ends the pause.
	Version string `json:"version,omitempty"`
}

// Over reports whether a pause has ended by its time. A nil Paused is none.
func (p *Paused) Over(now time.Time) bool {
	return p != nil && !p.Until.IsZero() && !now.Before(p.Until)
}

// Deleting says how a queue is being deleted.
type Deleting struct {
	By     string    `json:"by,omitempty"`
	At     time.Time `json:"at"`
	Now    bool      `json:"now,omitempty"`     // what is in work is ended
	MoveTo string    `json:"move_to,omitempty"` // the queue that gets the messages; empty: they are dropped
}

// Create creates a queue with q's name, creator and kind. If there is one of that name, Create
// returns it, and created is false; if q is For nobody, that one is not either any more. The errors are of kind fault.Invalid for an invalid name
// and fault.Conflict while a queue of that name is being deleted, or if it is of another kind.
func Create(tx store.Tx, now time.Time, q Queue) (got *Queue, created bool, err error) {
	check := CheckName
	if q.Builtin {
		check = checkBuiltin
	}
	if err := check(q.Name); err != nil {
		return nil, false, err
	}
	switch got, err = lookUp(tx, q.Name); {
	case err != nil:
		return nil, false, err
	case got == nil:
	case got.Deleting != nil:
		return nil, false, got.isDeleting()
	case got.Builtin != q.Builtin || got.Ordered != q.Ordered:
		return nil, false, fmt.Errorf("there is a queue %s of another kind: %s: %w", q.Name, got.kind(), fault.Conflict)
	case got.For != "" && q.For == "":
		got.For = ""
		if err := got.write(tx); err != nil {
			return nil, false, err
		}
		return got, false, nil
	default:
		return got, false, nil
	}
	got = &Queue{Name: q.Name, N: tx.Stamp(), Created: now, By: q.By, For: q.For, Builtin: q.Builtin, Ordered: q.Ordered}
	for tx.Get(numberKey(got.N)) != nil { // daemons that share a store may create two at the same moment
		got.N = tx.Stamp()
	}
	if err := errors.Join(got.write(tx), tx.Put(numberKey(got.N), []byte(got.Name))); err != nil {
		return nil, false, err
	}
	return got, true, nil
}

func (q *Queue) kind() string {
	words := "not ordered"
	if q.Ordered {
		words = "ordered"
	}
	if q.Builtin {
		words += ", the daemon's own"
	}
	return words
}

// isDeleting is the error for a change of a queue that is being deleted.
func (q *Queue) isDeleting() error {
	if q.Deleting == nil {
		return damaged(queueKeys + q.Name)
	}
	return fmt.Errorf("queue %s is being deleted since %s: %w", q.Name, q.Deleting.At.Format(time.DateTime), fault.Conflict)
}

// A stored queue has a head of a fixed length and then JSON. The head is what a push must
// know, which so does not decode the JSON each time: the queue's number, and a letter.
const (
	headLength = numberWidth + 1
	letterOpen = 'o' // it takes messages
	letterGone = 'd' // it is being deleted
)

func (q *Queue) write(tx store.Tx) error {
	text, err := json.Marshal(q)
	if err != nil {
		return err
	}
	return tx.Put(queueKeys+q.Name, append(q.head(), text...))
}

func (q *Queue) head() []byte {
	letter := byte(letterOpen)
	if q.Deleting != nil {
		letter = letterGone
	}
	return append(newKey("").number(q.N), letter)
}

func decodeQueue(key string, val []byte) (*Queue, error) {
	if len(val) < headLength {
		return nil, damaged(key)
	}
	q := new(Queue)
	if err := decodeJSON(key, val[headLength:], q); err != nil {
		return nil, err
	}
	if !bytes.Equal(q.head(), val[:headLength]) || queueKeys+q.Name != key {
		return nil, damaged(key)
	}
	return q, nil
}

// lookUp returns the queue of a name, or nil.
func lookUp(tx store.Tx, name string) (*Queue, error) {
	val := tx.Get(queueKeys + name)
	if val == nil {
		return nil, nil //nolint:nilnil // no queue is no error here
	}
	return decodeQueue(queueKeys+name, val)
}

// open returns the number of a queue that takes messages, or the error for one that does not.
func open(tx store.Tx, name string) (n uint64, err error) {
	if val := tx.Get(queueKeys + name); len(val) >= headLength && val[headLength-1] == letterOpen {
		if n, ok := seqOf("", string(val[:numberWidth])); ok {
			return n, nil
		}
	}
	q, err := Get(tx, name)
	if err == nil {
		err = q.isDeleting()
	}
	return 0, err
}

// Get returns a queue. If there is none of that name, the error is of kind fault.NotFound and
// names one that may have been meant.
func Get(tx store.Tx, name string) (*Queue, error) {
	q, err := lookUp(tx, name)
	if q != nil || err != nil {
		return q, err
	}
	var names []string
	for key := range tx.Scan(queueKeys, "") {
		names = append(names, strings.TrimPrefix(key, queueKeys))
	}
	if near := document.Nearest(name, names); near != "" {
		return nil, fmt.Errorf("there is no queue %.80q; the most similar name is %s: %w", name, near, fault.NotFound)
	}
	return nil, fmt.Errorf("there is no queue %.80q: %w", name, fault.NotFound)
}

// ByNumber returns the queue that has a number. If it is gone, the error is of kind
// fault.NotFound.
func ByNumber(tx store.Tx, n uint64) (*Queue, error) {
	name := tx.Get(numberKey(n))
	if name == nil {
		return nil, fmt.Errorf("there is no queue of number %d any more: %w", n, fault.NotFound)
	}
	q, err := lookUp(tx, string(name))
	if err == nil && (q == nil || q.N != n) {
		err = damaged(numberKey(n))
	}
	if err != nil {
		return nil, err
	}
	return q, nil
}

// All yields all queues by name. For one that cannot be read, it yields an error, and a queue
// that has its name only.
func All(tx store.Tx) iter.Seq2[*Queue, error] {
	return func(yield func(*Queue, error) bool) {
		for key, val := range tx.Scan(queueKeys, "") {
			q, err := decodeQueue(key, val)
			if err != nil {
				q = &Queue{Name: strings.TrimPrefix(key, queueKeys)}
			}
			if !yield(q, err) {
				return
			}
		}
	}
}

// CreatedFor counts the queues that a client has created because it wanted to push into them.
func CreatedFor(tx store.Tx, client string) (n int) {
	for q, err := range All(tx) {
		if err == nil && q.For == client {
			n++
		}
	}
	return n
}

// SetPaused pauses a queue, or ends its pause if p is nil.
func SetPaused(tx store.Tx, name string, p *Paused) (*Queue, error) {
	q, err := Get(tx, name)
	if err != nil {
		return nil, err
	}
	if p == nil && q.Paused == nil {
		return q, nil
	}
	q.Paused = p
	err = q.write(tx)
	return q, err
}

// Delete begins the deletion of a queue: from then on it takes no messages. [Clear] does the
// rest. Unless the messages are moved to another queue, or discard is true, there must be none
// but those in work: otherwise the error is of kind fault.Conflict and says how many there are.
//
// If the queue is being deleted already, Delete only sets d.Now, if that is true.
func Delete(tx store.Tx, now time.Time, name string, d Deleting, discard bool, inWork func(seq uint64) bool) (*Queue, error) {
	q, err := Get(tx, name)
	if err != nil {
		return nil, err
	}
	if q.Deleting != nil {
		if !d.Now || q.Deleting.Now {
			return q, nil
		}
		q.Deleting.Now = true
		err = q.write(tx)
		return q, err
	}
	for other, err := range All(tx) {
		if err != nil {
			return nil, err
		}
		if other.Deleting != nil && other.Deleting.MoveTo == name {
			return nil, fmt.Errorf("queue %s still gets the messages of queue %s, which is being deleted: %w", name, other.Name, fault.Conflict)
		}
	}
	if d.MoveTo != "" {
		to, err := Get(tx, d.MoveTo)
		switch {
		case err != nil:
			return nil, err
		case to.N == q.N:
			return nil, fmt.Errorf("the messages of queue %s cannot be moved to itself: %w", name, fault.Invalid)
		case to.Deleting != nil:
			return nil, to.isDeleting()
		case to.Builtin:
			return nil, fmt.Errorf("queue %s is the daemon's own and takes no other messages: %w", to.Name, fault.Conflict)
		}
	} else if !discard {
		if err := q.mustBeEmpty(tx, inWork); err != nil {
			return nil, err
		}
	}
	d.At = now
	q.Deleting = &d
	err = q.write(tx)
	return q, err
}

// mustBeEmpty returns an error of kind fault.Conflict if q has messages that nobody works on.
func (q *Queue) mustBeEmpty(tx store.Tx, inWork func(uint64) bool) error {
	c, err := readCounts(tx, q.N)
	if err != nil {
		return err
	}
	waits := c.Delayed > 0
	if !waits && c.Messages > 0 {
		for p := range Priorities {
			prefix := readyPrefix(q.N, p)
			for key := range tx.Scan(prefix, "") {
				if seq, _ := seqOf(prefix, key); !busy(inWork, seq) {
					waits = true
					break
				}
			}
		}
	}
	if !waits && c.Dead == 0 {
		return nil
	}
	return fmt.Errorf("queue %s is not empty (messages: %d, dead letters: %d); discard them, or move them to another queue: %w", q.Name, c.Messages, c.Dead, fault.Conflict)
}

// busy reports whether a message is in work, by a function that may be nil.
func busy(inWork func(uint64) bool, seq uint64) bool { return inWork != nil && inWork(seq) }
