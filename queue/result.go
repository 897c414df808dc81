package queue

import (
	"bytes"
	"encoding/json"
	"errors"
	"time"

	"activationd/store"
)

// MaxResult is how many bytes of a result are stored. A larger one can be a file.
const MaxResult = 64 << 10

// A Result is what is kept of a message that is finished. Its Ending has the outcome.
type Result struct {
	ID   uint64 `json:"id"`
	By   string `json:"by,omitempty"` // who pushed the message
	UID  *int   `json:"uid,omitempty"`
	Body []byte `json:"-"`
	Ending
	Truncated bool `json:"truncated,omitempty"` // Body is only the beginning of the result

	Until time.Time `json:"until,omitzero"` // when it is removed
}

// A stored result is JSON, a line feed, and the body.
func (r *Result) encode() ([]byte, error) {
	head, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return append(append(head, '\n'), r.Body...), nil
}

func decodeResult(key string, val []byte) (*Result, error) {
	head, body, ok := bytes.Cut(val, []byte("\n"))
	if !ok {
		return nil, damaged(key)
	}
	r := new(Result)
	if err := decodeJSON(key, head, r); err != nil {
		return nil, err
	}
	r.Body = bytes.Clone(body)
	return r, nil
}

// keepResult stores a result until a time.
func keepResult(tx store.Tx, n uint64, until time.Time, r Result) error {
	r.Until = until.UTC()
	if r.Truncated = len(r.Body) > MaxResult; r.Truncated {
		r.Body = r.Body[:MaxResult]
	}
	val, err := r.encode()
	if err != nil {
		return err
	}
	return errors.Join(tx.Put(resultKey(n, r.ID), val), tx.Put(expiryKey(until, n, r.ID), nil))
}

// ResultOf returns the result of a message, if there is one yet, or still. A dead letter is a
// result, too.
func ResultOf(tx store.Tx, n, seq uint64) (r *Result, found bool) {
	key := resultKey(n, seq)
	if val := tx.Get(key); val != nil {
		r, err := decodeResult(key, val)
		return r, err == nil
	}
	m, err := find(tx, n, seq, false)
	if err != nil || m == nil || m.where != Dead {
		return nil, false
	}
	r = &Result{ID: seq, By: m.By, UID: m.UID}
	if m.state.Last != nil {
		r.Ending = *m.state.Last
	}
	return r, true
}

// ExpireResults removes the results that have been kept long enough, and the ends of the windows of keys, at
// most that many. It returns when the next is due; zero: there is no other.
func ExpireResults(tx store.Tx, now time.Time, most int) (removed int, next time.Time, err error) {
	for key, val := range tx.Scan(expiryKeys, "") {
		at, n, seq, rest, ok := parseTimed(expiryKeys, key)
		if !ok {
			return removed, next, damaged(key)
		}
		if at.After(now) || removed >= most {
			return removed, at, nil
		}
		if rest == windowSuffix {
			err = endWindow(tx, n, seq, string(val))
		} else {
			err = tx.Delete(resultKey(n, seq))
		}
		if err := errors.Join(err, tx.Delete(key)); err != nil {
			return removed, next, err
		}
		removed++
	}
	return removed, next, nil
}

// endWindow leaves a key to the message that has it if that lives, and else to nobody.
func endWindow(tx store.Tx, n, seq uint64, key string) error {
	h, err := readHolder(tx, n, key)
	if err != nil || h == nil || h.seq != seq {
		return err
	}
	if h.live == nil {
		return tx.Delete(uniqueKey(n, key))
	}
	m := *h.live
	m.Unique = 0
	return m.takeKey(tx)
}
