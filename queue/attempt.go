package queue

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"activationd/internal/fault"
	"activationd/store"
)

// Promote makes delayed messages of all queues ready whose time has come, at most that many.
// It returns them, and when the next is due; zero: there is no other.
func Promote(tx store.Tx, now time.Time, most int) (ready []Ref, next time.Time, err error) {
	delayed := make(map[uint64]int64) // how many left that, by queue
	for key, val := range tx.Scan(delayedKeys, "") {
		at, n, seq, _, ok := parseTimed(delayedKeys, key)
		if !ok {
			return nil, next, damaged(key)
		}
		if at.After(now) || len(ready) >= most {
			next = at
			break
		}
		ref, p, ok := decodeDelayed(n, seq, val)
		if !ok {
			return nil, next, damaged(key)
		}
		if err := errors.Join(tx.Delete(key), tx.Put(readyKey(n, ref.Priority, seq), p.append(nil))); err != nil {
			return nil, next, err
		}
		delayed[n]++
		ready = append(ready, ref)
	}
	for n, less := range delayed {
		c, err := readCounts(tx, n)
		if err != nil {
			return nil, next, err
		}
		c.Delayed -= less
		if err := c.write(tx, n); err != nil {
			return nil, next, err
		}
	}
	return ready, next, nil
}

// current returns the message whose current attempt is the given one, or nil: then the
// attempt has ended before, or the message is gone, and news of it comes too late.
// An attempt that did not count has the same number as the next.
func current(tx store.Tx, n, seq uint64, attempt int) (*message, error) {
	m, err := find(tx, n, seq, false)
	if err != nil || m == nil || m.where != Ready || m.state.Attempts+1 != attempt {
		return nil, err
	}
	return m, nil
}

// change reads the counters of a queue, has fn change something, and writes them.
func change(tx store.Tx, n uint64, fn func(c *Counts) error) error {
	c, err := readCounts(tx, n)
	if err != nil {
		return err
	}
	was := c
	if err := fn(&c); err != nil || c == was {
		return err
	}
	return c.write(tx, n)
}

// Done removes a message for good, after its last attempt. The outcome in e says why; empty
// is [OutcomeDone]. The result, or its first [MaxResult] bytes, is kept for the time that
// keep says; 0: it is not.
//
// If the attempt is not the message's current one, or the message is gone, Done changes
// nothing, and ok is false. The same holds for the other functions that have an ok.
func Done(tx store.Tx, now time.Time, n, seq uint64, attempt int, result []byte, keep time.Duration, e Ending) (ok bool, err error) {
	m, err := current(tx, n, seq, attempt)
	if err != nil || m == nil {
		return false, err
	}
	return true, m.finish(tx, now, result, keep, e.of(attempt, OutcomeDone))
}

// finish removes a message, and keeps its result.
func (m *message) finish(tx store.Tx, now time.Time, result []byte, keep time.Duration, e Ending) error {
	return change(tx, m.n, func(c *Counts) error {
		switch e.Outcome {
		case OutcomeCancelled:
			c.Cancelled++
		case OutcomeExpired:
			c.Expired++
		default:
			c.Done++
		}
		err := m.remove(tx, c)
		if err == nil && keep > 0 {
			err = keepResult(tx, m.n, now.Add(keep), Result{ID: m.seq, By: m.By, UID: m.UID, Body: result, Ending: e})
		}
		return err
	})
}

// Return puts a message back after an attempt. If at is later than now, the message is delayed
// until then; in an ordered queue it keeps its place instead, and its Head has the time. If the
// attempt counts, the next one has another number. E says how the attempt ended; nil: nothing is
// known of that.
//
// A message that is returned at once, and whose attempt does not count, is only written if
// it was held.
func Return(tx store.Tx, now time.Time, n, seq uint64, attempt int, count bool, at time.Time, e *Ending) (ok bool, err error) {
	m, err := current(tx, n, seq, attempt)
	if err != nil || m == nil {
		return false, err
	}
	m.state.Held = nil
	if count {
		m.state.Attempts = attempt
	}
	if e != nil {
		last := e.of(attempt, OutcomeAgain)
		m.state.Last = &last
	}
	to := Ready
	m.state.NotBefore = time.Time{}
	if at.After(now) {
		m.state.NotBefore = at.UTC()
		q, err := ByNumber(tx, n)
		if err != nil {
			return false, err
		}
		if !q.Ordered {
			to = Delayed
		}
	}
	return true, change(tx, n, func(c *Counts) error {
		if count {
			c.Again++
		}
		return m.move(tx, c, to)
	})
}

// Bury makes a message a dead letter: it is kept, with how its last attempt ended, but not
// handed out any more.
func Bury(tx store.Tx, now time.Time, n, seq uint64, attempt int, e Ending) (ok bool, err error) {
	m, err := current(tx, n, seq, attempt)
	if err != nil || m == nil {
		return false, err
	}
	e.Outcome = OutcomeDead
	e = e.of(attempt, OutcomeDead)
	m.state = State{Attempts: attempt, Last: &e, DeadSince: now.UTC()}
	return true, change(tx, n, func(c *Counts) error {
		c.Failed++
		return errors.Join(m.freeKey(tx), m.move(tx, c, Dead))
	})
}

// Hold notes who has a message: a listener that was started by hand. At the time until, the listener
// loses the message, unless another Hold has prolonged that.
func Hold(tx store.Tx, n, seq uint64, attempt int, who string, until time.Time) (ok bool, err error) {
	m, err := current(tx, n, seq, attempt)
	if err != nil || m == nil || m.state.Held != nil && m.state.Held.Who != who {
		return false, err
	}
	m.state.Held = &Held{Who: who, Until: until.UTC()}
	return true, m.save(tx)
}

// ExpiredHolds returns messages whose holders have lost them, at most that many, and when the
// next is due; zero: there is no other.
func ExpiredHolds(tx store.Tx, now time.Time, most int) (refs []Ref, next time.Time) {
	for key := range tx.Scan(holdKeys, "") {
		at, n, seq, _, _ := parseTimed(holdKeys, key)
		if at.After(now) || len(refs) >= most {
			return refs, at
		}
		m, err := find(tx, n, seq, false)
		if err != nil || m == nil {
			continue // Verify reports it
		}
		refs = append(refs, Ref{n, m.place().head(seq, m.Priority)})
	}
	return refs, next
}

// Holds returns all messages that are held.
func Holds(tx store.Tx) (refs []Ref) {
	refs, _ = ExpiredHolds(tx, time.Date(lastYear+1, 1, 1, 0, 0, 0, 0, time.UTC), int(^uint(0)>>1))
	return refs
}

// Cancel cancels a message. If it is not in work, it is removed, and a result that says so is
// kept. If it is in work, Cancel only notes that it is to be cancelled: when the attempt has
// ended, the caller removes the message, with [Done] or another Cancel. A dead letter cannot
// be cancelled: the error is of kind fault.Conflict. If the message is gone, it is of kind
// fault.NotFound.
func Cancel(tx store.Tx, now time.Time, n, seq uint64, by string, inWork bool, keep time.Duration) (removed bool, err error) {
	m, err := get(tx, n, seq)
	if err != nil {
		return false, err
	}
	if m.where == Dead {
		return false, fmt.Errorf("message %d is a dead letter; purge it instead: %w", seq, fault.Conflict)
	}
	if inWork {
		if m.state.Cancel == nil {
			m.state.Cancel = &Cancelled{By: by, At: now.UTC()}
		}
		return false, m.save(tx)
	}
	if m.state.Cancel != nil {
		by = m.state.Cancel.By
	}
	e := Ending{Attempt: m.state.Attempts, Ended: now, Outcome: OutcomeCancelled}
	if by != "" {
		e.Reason = "cancelled by " + by
	}
	return true, m.finish(tx, now, nil, keep, e)
}

// Cancelling returns the messages that were in work when they were cancelled, and are not removed
// yet. It reads all entries of what is ready.
func Cancelling(tx store.Tx) (refs []Ref) {
	for key, val := range tx.Scan(readyKeys, "") {
		if !bytes.Contains(val, []byte(flagCancelled)) { // the rest of it are other letters, and numbers
			continue
		}
		number, rest, _ := strings.Cut(key[len(readyKeys):], "/")
		n, ok1 := seqOf("", number)
		rank, id, _ := strings.Cut(rest, "/")
		seq, ok2 := seqOf("", id)
		p, ok3 := decodePlace(val)
		if ok1 && ok2 && ok3 && len(rank) == 1 { // Verify reports the others
			refs = append(refs, Ref{n, p.head(seq, MaxPriority-int(rank[0]-'0'))})
		}
	}
	return refs
}
