package queue

import (
	"errors"
	"fmt"
	"time"

	"activationd/internal/fault"
	"activationd/store"
)

// DeadLetters returns the dead letters of a queue whose id is greater than after, at most that many, without
// bodies of more than body bytes.
func DeadLetters(tx store.Tx, n, after uint64, most int, body int64) (dead []*Message, err error) {
	for m, err := range Peek(tx, n, Look{Where: Dead, After: after, Most: most, Body: body}) {
		if err != nil {
			return nil, err
		}
		dead = append(dead, m)
	}
	return dead, nil
}

// RetryDead makes dead letters ready again, as if they had never been tried: those of seqs,
// or, if that is empty, all whose id is greater than after, at most that many. It returns
// them, and the id after which the next call continues; 0: there are no others.
//
// A dead letter whose key is taken now stays one. If seqs names it, the error is a
// [DuplicateError].
func RetryDead(tx store.Tx, now time.Time, n uint64, seqs []uint64, after uint64, most int) (retried []Ref, next uint64, err error) {
	q, err := ByNumber(tx, n)
	if err != nil {
		return nil, 0, err
	}
	if q.Deleting != nil {
		return nil, 0, q.isDeleting()
	}
	all := len(seqs) == 0
	err = change(tx, n, func(c *Counts) error {
		if all {
			seqs, next = deadSeqs(tx, n, after, most)
		}
		for _, seq := range seqs {
			m, err := getDead(tx, n, seq)
			if err != nil {
				return err
			}
			err = m.takeKeyAgain(tx, now)
			if all && errors.Is(err, fault.Conflict) {
				continue
			}
			if err != nil {
				return err
			}
			m.state = State{Last: m.state.Last}
			if err := m.move(tx, c, Ready); err != nil {
				return err
			}
			retried = append(retried, Ref{n, m.place().head(seq, m.Priority)})
		}
		return nil
	})
	return retried, next, err
}

// PurgeDead removes dead letters: those of seqs, or, if that is empty, all, at most that
// many. It reports whether there are others.
func PurgeDead(tx store.Tx, n uint64, seqs []uint64, most int) (purged int, more bool, err error) {
	err = change(tx, n, func(c *Counts) error {
		if len(seqs) == 0 {
			var next uint64
			seqs, next = deadSeqs(tx, n, 0, most)
			more = next != 0
		}
		for _, seq := range seqs {
			m, err := getDead(tx, n, seq)
			if err != nil {
				return err
			}
			purged++
			c.Dropped++
			if err := m.remove(tx, c); err != nil {
				return err
			}
		}
		return nil
	})
	return purged, more, err
}

// deadSeqs returns the ids of dead letters after one, and the last of them if there are more.
func deadSeqs(tx store.Tx, n, after uint64, most int) (seqs []uint64, next uint64) {
	prefix := string(ofQueue(deadKeys, n))
	for key := range tx.Scan(prefix, deadKey(n, after+1)) {
		if len(seqs) >= most {
			return seqs, max(next, 1)
		}
		next, _ = seqOf(prefix, key)
		seqs = append(seqs, next)
	}
	return seqs, 0
}

func getDead(tx store.Tx, n, seq uint64) (*message, error) {
	m, err := get(tx, n, seq)
	if err != nil {
		return nil, err
	}
	if m.where != Dead {
		return nil, fmt.Errorf("message %d is not a dead letter: %w", seq, fault.Conflict)
	}
	return m, nil
}

// takeKeyAgain gives a dead letter its key again. Its window is as long as it was.
func (m *message) takeKeyAgain(tx store.Tx, now time.Time) error {
	if m.Key == "" {
		return nil
	}
	h, err := readHolder(tx, m.n, m.Key)
	switch {
	case err != nil:
		return err
	case h == nil:
	case h.seq == m.seq: // its window is not over
		return nil
	case h.live != nil:
		return &DuplicateError{Key: m.Key, ID: h.seq}
	case h.until.After(now):
		return &DuplicateError{Key: m.Key, ID: h.seq, Until: h.until}
	default:
		if err := h.forget(tx, m.n); err != nil {
			return err
		}
	}
	again := *m
	again.Unique = 0
	return again.takeKey(tx)
}
