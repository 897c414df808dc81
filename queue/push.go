package queue

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"activationd/internal/fault"
	"activationd/store"
)

// New is a message to push.
type New struct {
	Body        []byte
	Headers     map[string]string // at most 64 with 8 KiB in all; see CheckHeader
	Priority    int               // 0 to 9; 9 goes first
	NotBefore   time.Time         // it is delayed until then; zero: it is not
	Key         string            // at most one live message of the queue has it; see OnDuplicate
	Unique      time.Duration     // the key remains taken for that long after the push, whatever becomes of the message
	OnDuplicate string            // what to do if the key is taken; empty: DuplicateRefuse
	Attempts    int               // 0: as the listener says
	Timeout     time.Duration     // 0: as the listener says
	Keep        time.Duration     // how long the result is kept; 0: as the listener says
	By          string            // who pushed it
	UID         *int              // the user id of the one who pushed it
}

// What a push does if its key is taken.
const (
	DuplicateRefuse  = "refuse"
	DuplicateIgnore  = "ignore"  // it pushes nothing
	DuplicateReplace = "replace" // it removes the other message, unless that is in work: then it is refused
)

// Limits are what a queue, and all queues together, may hold. 0 is no limit. What is in work
// counts, too. The limits of all queues count dead letters, those of one queue don't.
type Limits struct {
	Messages, Bytes       int64
	Body                  int64 // of one message
	DropOldest            bool  // a full queue drops the oldest of its ready messages that are not in work
	AllMessages, AllBytes int64
}

// Pushed says what became of a push.
type Pushed struct {
	Queue     uint64   // the queue's number
	ID        uint64   // of the message, or of the one that has its key already
	Duplicate bool     // nothing was pushed: the key is taken
	Replaced  uint64   // the message that was removed because it had the key
	Dropped   []uint64 // the messages that were removed to make room
}

// A DuplicateError is the error of a push whose key is taken. Its kind is fault.Conflict.
type DuplicateError struct {
	Key   string
	ID    uint64    // of the message that has or had it
	Until time.Time // zero: until the message is finished
}

func (e *DuplicateError) Error() string {
	if !e.Until.IsZero() {
		return fmt.Sprintf("the key %q was used by message %d and is taken until %s: %v", e.Key, e.ID, e.Until.Format(time.DateTime), fault.Conflict)
	}
	return fmt.Sprintf("message %d has the key %q already: %v", e.ID, e.Key, fault.Conflict)
}

func (e *DuplicateError) Unwrap() error { return fault.Conflict }

// A FullError is the error of a push for which there is no room. Its kind is
// fault.Unavailable.
type FullError struct {
	Queue string // empty: all queues together
	What  string // messages or bytes
	Has   int64
	Limit int64
}

func (e *FullError) Error() string {
	whose := "the queues together have"
	if e.Queue != "" {
		whose = "queue " + e.Queue + " has"
	}
	return fmt.Sprintf("%s %d of at most %d %s: %v", whose, e.Has, e.Limit, e.What, fault.Unavailable)
}

func (e *FullError) Unwrap() error { return fault.Unavailable }

// The limits of what is said of a message.
const (
	maxHeaders     = 64
	maxHeaderBytes = 8 << 10
	maxKey         = 256
	maxBy          = 256
	maxAttempts    = 1_000_000
	maxDuration    = 10 * 366 * 24 * time.Hour
	maxDrops       = 16 // of one push
)

// Check returns an error of kind fault.Invalid for a message that cannot be pushed.
func (m *New) Check() error {
	invalid := func(format string, args ...any) error {
		return fmt.Errorf(format+": %w", append(args, fault.Invalid)...)
	}
	switch {
	case len(m.Body) > MaxBody:
		return invalid("the body has %d bytes, at most %d are possible", len(m.Body), MaxBody)
	case m.Priority < 0 || m.Priority > MaxPriority:
		return invalid("the priority is %d; want one from 0 to %d, and messages of %[2]d are handed out first", m.Priority, MaxPriority)
	case m.NotBefore.Year() > lastYear:
		return invalid("the message is delayed until the year %d, which is too late", m.NotBefore.Year())
	case len(m.Key) > maxKey || !isLine(m.Key):
		return invalid("the key must be one line of at most %d bytes", maxKey)
	case m.Unique < 0 || m.Unique > maxDuration:
		return invalid("unique-for is %v; want a duration from 0 to %v", m.Unique, maxDuration)
	case m.Key == "" && (m.Unique != 0 || m.OnDuplicate != ""):
		return invalid("there is no key, without which unique-for and on-duplicate mean nothing")
	case m.OnDuplicate != "" && m.OnDuplicate != DuplicateRefuse && m.OnDuplicate != DuplicateIgnore && m.OnDuplicate != DuplicateReplace:
		return invalid("on-duplicate is %.40q; want %s, %s or %s", m.OnDuplicate, DuplicateRefuse, DuplicateIgnore, DuplicateReplace)
	case m.Attempts < 0 || m.Attempts > maxAttempts:
		return invalid("attempts is %d; want a number from 0 to %d", m.Attempts, maxAttempts)
	case m.Timeout < 0 || m.Timeout > maxDuration:
		return invalid("the timeout is %v; want a duration from 0 to %v", m.Timeout, maxDuration)
	case m.Keep < 0 || m.Keep > maxDuration:
		return invalid("keep is %v; want a duration from 0 to %v", m.Keep, maxDuration)
	case len(m.By) > maxBy || !isLine(m.By):
		return invalid("the name of the one who pushes must be one line of at most %d bytes", maxBy)
	case len(m.Headers) > maxHeaders:
		return invalid("there are %d headers, at most %d are possible", len(m.Headers), maxHeaders)
	}
	size := 0
	for name, val := range m.Headers {
		if err := CheckHeader(name, val); err != nil {
			return err
		}
		size += len(name) + len(val)
	}
	if size > maxHeaderBytes {
		return invalid("the headers have %d bytes, at most %d are possible", size, maxHeaderBytes)
	}
	return nil
}

// CheckHeader returns an error of kind fault.Invalid unless a message may have that header: its name
// has letters, digits, - and _, and its value is one line of text.
func CheckHeader(name, val string) error {
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return fmt.Errorf("header %.80q: the name may have letters, digits, - and _: %w", name, fault.Invalid)
		}
	}
	if name == "" || len(name) > 128 {
		return fmt.Errorf("header %.80q: the name must have 1 to 128 characters: %w", name, fault.Invalid)
	}
	if !isLine(val) {
		return fmt.Errorf("header %s: the value is not a line of text: %w", name, fault.Invalid)
	}
	return nil
}

// isLine reports whether s is text without control characters.
func isLine(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f })
}

// Push adds a message to a queue. InWork reports whether a message is in work; it may be nil.
//
// The errors are of kind fault.NotFound if there is no such queue, fault.Conflict if it is
// being deleted or the key is taken (a [DuplicateError]), fault.Unavailable if it is full (a
// [FullError]) and fault.Invalid for an invalid message.
func Push(tx store.Tx, now time.Time, name string, limits Limits, m New, inWork func(seq uint64) bool) (Pushed, error) {
	all, err := PushAll(tx, now, name, limits, []New{m}, inWork)
	if err != nil {
		return Pushed{}, err
	}
	return all[0], nil
}

// PushAll is Push for several messages: all are pushed, or none.
func PushAll(tx store.Tx, now time.Time, name string, limits Limits, ms []New, inWork func(seq uint64) bool) ([]Pushed, error) {
	n, err := open(tx, name)
	if err != nil {
		return nil, err
	}
	p := pusher{tx: tx, now: now, name: name, n: n, limits: limits, inWork: inWork}
	if p.counts, err = readCounts(tx, n); err != nil {
		return nil, err
	}
	if limits.AllMessages > 0 || limits.AllBytes > 0 {
		if err := p.countOthers(); err != nil {
			return nil, err
		}
	}
	all := make([]Pushed, len(ms))
	for i := range ms {
		if all[i], err = p.push(&ms[i]); err != nil {
			if len(ms) > 1 {
				err = fmt.Errorf("message %d of %d: %w", i+1, len(ms), err)
			}
			return nil, err
		}
	}
	return all, p.counts.write(tx, n)
}

// A pusher pushes into one queue.
type pusher struct {
	tx     store.Tx
	now    time.Time
	name   string
	n      uint64 // of the queue
	limits Limits
	inWork func(uint64) bool
	counts Counts
	others struct{ messages, bytes int64 } // of all other queues
}

func (p *pusher) countOthers() error {
	for key, val := range p.tx.Scan(countKeys, "") {
		c, ok := decodeCounts(val)
		if !ok {
			return damaged(key)
		}
		p.others.messages += c.Messages + c.Dead
		p.others.bytes += c.Bytes + c.DeadBytes
	}
	p.others.messages -= p.counts.Messages + p.counts.Dead
	p.others.bytes -= p.counts.Bytes + p.counts.DeadBytes
	return nil
}

func (p *pusher) push(m *New) (did Pushed, err error) {
	if err := m.Check(); err != nil {
		return did, err
	}
	if p.limits.Body > 0 && int64(len(m.Body)) > p.limits.Body {
		return did, fmt.Errorf("the body has %d bytes, at most %d are allowed: %w", len(m.Body), p.limits.Body, fault.Invalid)
	}
	did.Queue = p.n
	if m.Key != "" {
		if did, err = p.unique(m, did); err != nil || did.Duplicate {
			return did, err
		}
	}
	size := sizeOf(*m)
	if err := p.makeRoom(&did, size); err != nil {
		return did, err
	}
	did.ID = p.tx.Stamp()
	s := stored{New: *m, pushed: p.now, inBytes: size}
	if len(m.Body) > inlineBody {
		s.parted = int64(len(m.Body))
	}
	errs := []error{p.tx.Put(bodyKey(p.n, did.ID), s.encode())}
	for i := range s.parts() {
		errs = append(errs, p.tx.Put(partKey(p.n, did.ID, i), m.Body[i*partSize:min(len(m.Body), (i+1)*partSize)]))
	}
	msg := message{stored: s, n: p.n, seq: did.ID, where: Ready}
	if m.NotBefore.After(p.now) {
		msg.where = Delayed
	}
	msg.count(&p.counts, msg.where, 1)
	p.counts.Pushed++
	errs = append(errs, msg.save(p.tx))
	if m.Key != "" {
		errs = append(errs, msg.takeKey(p.tx))
	}
	return did, errors.Join(errs...)
}

// unique decides what becomes of a push whose key may be taken.
func (p *pusher) unique(m *New, did Pushed) (Pushed, error) {
	h, err := readHolder(p.tx, p.n, m.Key)
	if err != nil || h == nil {
		return did, err
	}
	live := h.live != nil
	inWindow := h.until.After(p.now)
	switch {
	case !live && !inWindow:
		return did, h.forget(p.tx, p.n)
	case m.OnDuplicate == DuplicateIgnore:
		did.ID, did.Duplicate = h.seq, true
		return did, nil
	case !live:
		return did, &DuplicateError{Key: m.Key, ID: h.seq, Until: h.until}
	case m.OnDuplicate == DuplicateReplace && !busy(p.inWork, h.seq) && h.live.state.Held == nil && h.live.state.Cancel == nil:
		p.counts.Dropped++
		did.Replaced = h.seq
		return did, errors.Join(h.live.remove(p.tx, &p.counts), h.forget(p.tx, p.n))
	}
	return did, &DuplicateError{Key: m.Key, ID: h.seq}
}

// makeRoom returns an error if there is no room for a message, and none can be made.
func (p *pusher) makeRoom(did *Pushed, size int64) error {
	freed := int64(0)
	for {
		full := p.full(size)
		if full == nil {
			return nil
		}
		if !p.limits.DropOldest {
			return full
		}
		// A limit that was lowered is reached again in steps: a push that drops more than it
		// adds is accepted.
		if len(did.Dropped) == maxDrops && freed >= size {
			return nil
		}
		oldest, err := p.oldest()
		if err != nil {
			return err
		}
		if oldest == nil || len(did.Dropped) == maxDrops {
			return full
		}
		freed += oldest.inBytes
		did.Dropped = append(did.Dropped, oldest.seq)
		p.counts.Dropped++
		if err := oldest.remove(p.tx, &p.counts); err != nil {
			return err
		}
	}
}

// full returns the error for a message of a size, or nil if there is room for it.
func (p *pusher) full(size int64) error {
	for _, l := range [...]struct {
		queue, what      string
		has, more, limit int64
	}{
		{p.name, "messages", p.counts.Messages, 1, p.limits.Messages},
		{p.name, "bytes", p.counts.Bytes, size, p.limits.Bytes},
		{"", "messages", p.others.messages + p.counts.Messages + p.counts.Dead, 1, p.limits.AllMessages},
		{"", "bytes", p.others.bytes + p.counts.Bytes + p.counts.DeadBytes, size, p.limits.AllBytes},
	} {
		if l.limit > 0 && l.has+l.more > l.limit {
			return &FullError{Queue: l.queue, What: l.what, Has: l.has, Limit: l.limit}
		}
	}
	return nil
}

// oldest returns the oldest ready message that is not in work, or nil.
func (p *pusher) oldest() (*message, error) {
	var first uint64
	for priority := range Priorities {
		prefix := readyPrefix(p.n, priority)
		for key, val := range p.tx.Scan(prefix, "") {
			seq, _ := seqOf(prefix, key)
			if first != 0 && seq > first {
				break
			}
			at, _ := decodePlace(val)
			if !busy(p.inWork, seq) && !at.has(flagHeld) && !at.has(flagCancelled) {
				first = seq
				break
			}
		}
	}
	if first == 0 {
		return nil, nil //nolint:nilnil // there may be none
	}
	return find(p.tx, p.n, first, false)
}

// A holder is the entry of a key.
type holder struct {
	key   string
	seq   uint64
	until time.Time // the end of its window; zero: it has none
	live  *message  // nil: the message is finished or dead
}

func decodeHolder(val []byte) (seq uint64, until time.Time, ok bool) {
	text, rest, window := strings.Cut(string(val), " ")
	seq, err := strconv.ParseUint(text, 10, 64)
	if err != nil || !window {
		return seq, until, err == nil
	}
	n, err := strconv.ParseInt(rest, 10, 64)
	return seq, instant(n), err == nil && n > 0 && isInstant(n)
}

// readHolder returns who has a key, or nil.
func readHolder(tx store.Tx, n uint64, key string) (*holder, error) {
	val := tx.Get(uniqueKey(n, key))
	if val == nil {
		return nil, nil //nolint:nilnil // a key may be free
	}
	h := &holder{key: key}
	var ok bool
	if h.seq, h.until, ok = decodeHolder(val); !ok {
		return nil, damaged(uniqueKey(n, key))
	}
	m, err := find(tx, n, h.seq, false)
	if err != nil {
		return nil, err
	}
	if m != nil && m.where != Dead {
		h.live = m
	}
	return h, nil
}

// forget removes the entries of a key.
func (h *holder) forget(tx store.Tx, n uint64) error {
	err := tx.Delete(uniqueKey(n, h.key))
	if !h.until.IsZero() {
		err = errors.Join(err, tx.Delete(windowKey(h.until, n, h.seq)))
	}
	return err
}

// takeKey gives m its key. The key must be free.
func (m *message) takeKey(tx store.Tx) error {
	val := strconv.AppendUint(nil, m.seq, 10)
	if m.Unique == 0 {
		return tx.Put(uniqueKey(m.n, m.Key), val)
	}
	until := m.pushed.Add(m.Unique)
	val = strconv.AppendInt(append(val, ' '), nanos(until), 10)
	return errors.Join(tx.Put(uniqueKey(m.n, m.Key), val), tx.Put(windowKey(until, m.n, m.seq), []byte(m.Key)))
}

// freeKey ends m's hold of its key, but not its window.
func (m *message) freeKey(tx store.Tx) error {
	if m.Key == "" {
		return nil
	}
	key := uniqueKey(m.n, m.Key)
	seq, until, ok := decodeHolder(tx.Get(key))
	switch {
	case !ok:
		return damaged(key)
	case seq != m.seq || !until.IsZero():
		return nil
	}
	return tx.Delete(key)
}
