package queue

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"activationd/internal/fault"
	"activationd/store"
)

// Messages of a higher priority are handed out first. 0 is that of messages without one.
const (
	MaxPriority = 9
	Priorities  = MaxPriority + 1
)

// A body of more than inlineBody bytes is stored in parts, under keys of its own: a change
// of its neighbours does not write it again.
const (
	MaxBody    = 16 << 20
	inlineBody = 32 << 10
	partSize   = 64 << 10
)

// A Message is a message in a queue.
type Message struct {
	ID    uint64 // unique in the store
	Queue uint64 // the queue's number
	New
	Size     int // of the body, also if that was not read
	PushedAt time.Time
	Where    Where
	State
}

// Where says in which index a message is.
type Where string

// The places of a message.
const (
	Ready   Where = "ready" // or in work
	Delayed Where = "delayed"
	Dead    Where = "dead"
)

// A State is what has become of a message so far. It is zero, and not stored, for a message
// that was never tried.
type State struct {
	Attempts  int        `json:"attempts,omitempty"`  // that counted
	NotBefore time.Time  `json:"not_before,omitzero"` // it is delayed until then, after an attempt
	Cancel    *Cancelled `json:"cancel,omitempty"`    // it is to be cancelled, and was in work
	Held      *Held      `json:"held,omitempty"`      // a listener that was started by hand has it
	Last      *Ending    `json:"last,omitempty"`      // how the last attempt ended
	DeadSince time.Time  `json:"dead_since,omitzero"`
}

// Cancelled says who cancelled a message.
type Cancelled struct {
	By string    `json:"by,omitempty"`
	At time.Time `json:"at"`
}

// Held says who has a message, and until when.
type Held struct {
	Who   string    `json:"who"`
	Until time.Time `json:"until"`
}

// An Ending is how an attempt ended.
type Ending struct {
	Attempt  int       `json:"attempt,omitempty"`
	Started  time.Time `json:"started,omitzero"`
	Ended    time.Time `json:"ended,omitzero"`
	How      string    `json:"how,omitempty"` // one of the constants for [Policy.Decide]
	Exit     int       `json:"exit,omitempty"`
	Signal   string    `json:"signal,omitempty"`
	Outcome  string    `json:"outcome,omitempty"` // what became of the message: done, again, dead, cancelled or expired
	Reason   string    `json:"reason,omitempty"`
	Output   string    `json:"output,omitempty"` // at most the last MaxOutput bytes
	File     string    `json:"file,omitempty"`   // the name of the file with a result that is too large to be stored
	Listener string    `json:"listener,omitempty"`

	Pause time.Duration `json:"-"` // the least pause before another attempt
}

// Text says in words how the attempt ended.
func (e *Ending) Text() string {
	switch {
	case e.Reason != "":
		return e.Reason
	case e.Signal != "":
		return "was ended by the signal " + e.Signal
	case e.How == HowExited:
		return fmt.Sprintf("exited with status %d", e.Exit)
	case e.How == HowTimedOut:
		return "ran longer than its timeout"
	case e.How == HowLost:
		return "its wrapper was killed"
	}
	return e.Outcome
}

// The outcomes.
const (
	OutcomeDone      = "done"
	OutcomeAgain     = "again"
	OutcomeDead      = "dead"
	OutcomeCancelled = "cancelled"
	OutcomeExpired   = "expired"
)

// MaxOutput is how much is kept of what an attempt has written, and maxReason of why it ended.
const (
	MaxOutput = 16 << 10
	maxReason = 1 << 10
)

// of returns e as it is stored: it is of an attempt, and not too large.
func (e Ending) of(attempt int, outcome string) Ending {
	e.Attempt, e.Outcome = attempt, cmp.Or(e.Outcome, outcome)
	e.Output = strings.ToValidUTF8(e.Output[max(0, len(e.Output)-MaxOutput):], "\uFFFD")
	e.Reason = strings.ToValidUTF8(e.Reason[:min(len(e.Reason), maxReason)], "")
	return e
}

func (s *State) zero() bool { return *s == State{} }

// A Head is the entry of a message in the index of what is ready.
type Head struct {
	Seq       uint64
	Priority  int
	Pushed    time.Time
	Attempts  int
	Held      bool      // a listener has it that was started by hand
	Cancelled bool      // it was in work when it was cancelled, and must not be handed out again
	NotBefore time.Time // in an ordered queue: it waits until then, and all behind it wait for it
}

func (p place) head(seq uint64, priority int) Head {
	return Head{
		Seq: seq, Priority: priority, Pushed: p.pushed, Attempts: p.attempts,
		Held: p.has(flagHeld), Cancelled: p.has(flagCancelled), NotBefore: p.until,
	}
}

// A Ref is a message of a queue.
type Ref struct {
	Queue uint64
	Head
}

// Heads returns the first ready messages of a queue that have a priority and an id greater than after:
// at most that many. Those in work are among them.
func Heads(tx store.Tx, n uint64, priority int, after uint64, most int) (heads []Head) {
	prefix := readyPrefix(n, priority)
	from := ""
	if after > 0 {
		from = readyKey(n, priority, after+1)
	}
	for key, val := range tx.Scan(prefix, from) {
		if len(heads) >= most {
			break
		}
		seq, _ := seqOf(prefix, key)
		p, _ := decodePlace(val) // Load tells of damage
		heads = append(heads, p.head(seq, priority))
	}
	return heads
}

// A message is a message as the functions of this package read and change it.
type message struct {
	stored
	n, seq   uint64
	where    Where
	state    State
	wasKey   string // the index entry as it is stored
	wasVal   []byte
	wasState []byte
	wasHeld  time.Time
}

// find reads a message, or returns nil if there is none. All is for [decodeStored].
func find(tx store.Tx, n, seq uint64, all bool) (*message, error) {
	key := bodyKey(n, seq)
	data := tx.Get(key)
	if data == nil {
		return nil, nil //nolint:nilnil // a message that is gone is no error here
	}
	s, ok := decodeStored(data, all)
	if !ok {
		return nil, damaged(key)
	}
	m := &message{stored: s, n: n, seq: seq}
	m.wasKey = readyKey(n, m.Priority, seq)
	if m.wasVal = tx.Get(m.wasKey); m.wasVal != nil {
		err := m.findReady(tx)
		return m, err
	}
	if err := m.readState(tx); err != nil {
		return nil, err
	}
	if !m.state.DeadSince.IsZero() {
		m.where, m.wasKey = Dead, deadKey(n, seq)
	} else {
		m.where, m.wasKey = Delayed, m.delayedKey()
	}
	if m.wasVal = tx.Get(m.wasKey); m.wasVal == nil {
		return nil, damaged(key)
	}
	return m, nil
}

func (m *message) findReady(tx store.Tx) error {
	m.where = Ready
	p, ok := decodePlace(m.wasVal)
	if !ok {
		return damaged(m.wasKey)
	}
	if p.has(flagState) {
		if err := m.readState(tx); err != nil {
			return err
		}
	}
	m.state.NotBefore = p.until // what the State has of it may be over
	return nil
}

func (m *message) readState(tx store.Tx) error {
	key := stateKey(m.n, m.seq)
	if m.wasState = tx.Get(key); m.wasState == nil {
		return nil
	}
	if err := decodeJSON(key, m.wasState, &m.state); err != nil {
		return err
	}
	if m.state.Held != nil {
		m.wasHeld = m.state.Held.Until
	}
	return nil
}

// delayedKey is the entry of a delayed message.
func (m *message) delayedKey() string {
	at := m.state.NotBefore
	if at.IsZero() {
		at = m.NotBefore
	}
	return delayedKey(at, m.n, m.seq)
}

func (m *message) place() place {
	p := place{pushed: m.pushed, attempts: m.state.Attempts}
	if !m.state.zero() {
		p.flags = flagState
	}
	if m.state.Held != nil {
		p.flags += flagHeld
	}
	if m.state.Cancel != nil {
		p.flags += flagCancelled
	}
	if m.where == Ready {
		p.until = m.state.NotBefore
	}
	return p
}

// index returns the entry that m is to have.
func (m *message) index() (key string, val []byte) {
	switch m.where {
	case Dead:
		return deadKey(m.n, m.seq), []byte{}
	case Delayed:
		return m.delayedKey(), m.place().append([]byte{byte('0' + m.Priority), ' '})
	}
	return readyKey(m.n, m.Priority, m.seq), m.place().append(make([]byte, 0, 40))
}

// save writes what has changed in the state and the place of m.
func (m *message) save(tx store.Tx) error {
	var errs []error
	key, val := m.index()
	if m.wasKey != key && m.wasKey != "" {
		errs = append(errs, tx.Delete(m.wasKey))
	}
	if m.wasKey != key || !bytes.Equal(m.wasVal, val) {
		errs = append(errs, tx.Put(key, val))
	}
	if !m.state.zero() {
		state, err := json.Marshal(m.state)
		if err != nil {
			return err
		}
		if !bytes.Equal(state, m.wasState) {
			errs = append(errs, tx.Put(stateKey(m.n, m.seq), state))
		}
	} else if m.wasState != nil {
		errs = append(errs, tx.Delete(stateKey(m.n, m.seq)))
	}
	var until time.Time
	if m.state.Held != nil {
		until = m.state.Held.Until
	}
	if !until.Equal(m.wasHeld) {
		if !m.wasHeld.IsZero() {
			errs = append(errs, tx.Delete(holdKey(m.wasHeld, m.n, m.seq)))
		}
		if !until.IsZero() {
			errs = append(errs, tx.Put(holdKey(until, m.n, m.seq), []byte{byte('0' + m.Priority)}))
		}
	}
	return errors.Join(errs...)
}

// remove removes all entries of m, and counts it out.
func (m *message) remove(tx store.Tx, c *Counts) error {
	errs := []error{tx.Delete(bodyKey(m.n, m.seq)), tx.Delete(m.wasKey)}
	for i := range m.parts() {
		errs = append(errs, tx.Delete(partKey(m.n, m.seq, i)))
	}
	if m.wasState != nil {
		errs = append(errs, tx.Delete(stateKey(m.n, m.seq)))
	}
	if !m.wasHeld.IsZero() {
		errs = append(errs, tx.Delete(holdKey(m.wasHeld, m.n, m.seq)))
	}
	if m.where != Dead {
		errs = append(errs, m.freeKey(tx))
	}
	m.count(c, m.where, -1)
	return errors.Join(errs...)
}

// count counts m in or out of what a queue has in a place.
func (m *message) count(c *Counts, where Where, n int64) {
	if where == Dead {
		c.Dead += n
		c.DeadBytes += n * m.inBytes
		return
	}
	c.Messages += n
	c.Bytes += n * m.inBytes
	if where == Delayed {
		c.Delayed += n
	}
}

// cost is the greatest number of keys that the removal of m writes, with those of a result.
func (m *message) cost() int { return m.parts() + 8 }

// move puts m into another place, and counts it there.
func (m *message) move(tx store.Tx, c *Counts, to Where) error {
	m.count(c, m.where, -1)
	m.count(c, to, 1)
	m.where = to
	return m.save(tx)
}

// full returns the message with its body, unless that is larger than most.
func (m *message) full(tx store.Tx, most int64) (*Message, error) {
	size := int64(len(m.Body)) + m.parted
	got := &Message{ID: m.seq, Queue: m.n, New: m.New, Size: int(size), PushedAt: m.pushed, Where: m.where, State: m.state}
	switch {
	case size > most:
		got.Body = nil
	case m.parted == 0:
		got.Body = bytes.Clone(m.Body)
	default:
		got.Body = make([]byte, 0, size)
		for i := range m.parts() {
			got.Body = append(got.Body, tx.Get(partKey(m.n, m.seq, i))...)
		}
		if int64(len(got.Body)) != size {
			return nil, fmt.Errorf("the body of message %d has %d bytes instead of %d: the state is damaged; restore a backup: %w", m.seq, len(got.Body), size, fault.Internal)
		}
	}
	return got, nil
}

// get is find for a message that must be there.
func get(tx store.Tx, n, seq uint64) (*message, error) {
	m, err := find(tx, n, seq, true)
	if m == nil && err == nil {
		err = fmt.Errorf("there is no message %d: %w", seq, fault.NotFound)
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

// Load returns a message with its body. If it is gone, the error is of kind fault.NotFound.
func Load(tx store.Tx, n, seq uint64) (*Message, error) {
	m, err := get(tx, n, seq)
	if err != nil {
		return nil, err
	}
	return m.full(tx, MaxBody)
}

// decodeDelayed reads the value of a delayed message's entry.
func decodeDelayed(n, seq uint64, val []byte) (Ref, place, bool) {
	if len(val) < 2 || val[0] < '0' || val[0] > '9' || val[1] != ' ' {
		return Ref{}, place{}, false
	}
	p, ok := decodePlace(val[2:])
	return Ref{n, p.head(seq, int(val[0]-'0'))}, p, ok
}
