package queue

import (
	"errors"
	"fmt"
	"time"

	"activationd/internal/fault"
	"activationd/store"
)

// movedBytes is how many bytes of bodies one call of Clear moves, unless the first is larger.
const movedBytes = 256 << 10

// A counting transaction counts what is written.
type counting struct {
	store.Tx
	ops, bytes int
}

// Put implements [store.Tx].
func (c *counting) Put(key string, val []byte) error {
	c.ops++
	c.bytes += len(val)
	return c.Tx.Put(key, val)
}

// Delete implements [store.Tx].
func (c *counting) Delete(key string) error {
	c.ops++
	return c.Tx.Delete(key)
}

// room reports whether as many writes remain of most. The first piece of work always has room.
func (c *counting) room(cost, most int) bool { return c.ops == 0 || c.ops+cost <= most }

// Clear does a part of the deletion of queue n that [Delete] began: it removes its messages, dead letters
// and results, or moves messages and dead letters to the queue that gets them, but leaves
// alone messages in work. When none is left, it removes the queue. One call writes about as
// many keys as most says. Gone reports whether the queue is gone: until then the caller calls
// Clear again, when something that was in work has ended or if Clear has written something.
//
// A message that is moved keeps its id, its attempts and its place among the others by the
// order of pushes. It loses its key if another message of its new queue has that. Limits do
// not hold for it.
func Clear(tx store.Tx, now time.Time, n uint64, inWork func(seq uint64) bool, most int) (gone bool, err error) {
	q, err := ByNumber(tx, n)
	if errors.Is(err, fault.NotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if q.Deleting == nil {
		return false, fmt.Errorf("queue %s is not being deleted: %w", q.Name, fault.Conflict)
	}
	var to *Queue
	if q.Deleting.MoveTo != "" {
		if to, err = Get(tx, q.Deleting.MoveTo); err != nil {
			return false, err
		}
	}
	c := &clearing{counting: counting{Tx: tx}, now: now, q: q, to: to, most: most}
	if c.counts, err = readCounts(tx, n); err != nil {
		return false, err
	}
	if to != nil {
		if c.toCounts, err = readCounts(tx, to.N); err != nil {
			return false, err
		}
	}
	return c.run(inWork)
}

type clearing struct {
	counting
	now      time.Time
	q, to    *Queue
	counts   Counts
	toCounts Counts
	most     int
	moved    int64 // bytes
}

func (c *clearing) run(inWork func(uint64) bool) (gone bool, err error) {
	left, err := c.messages(inWork)
	if err != nil {
		return false, err
	}
	if !left {
		for _, rest := range [...]func() (left bool, err error){c.results, c.keys} {
			if left, err = rest(); left || err != nil {
				break
			}
		}
	}
	if err != nil {
		return false, err
	}
	if !left && c.room(3, c.most) {
		n := c.q.N
		return true, errors.Join(c.Delete(queueKeys+c.q.Name), c.Delete(numberKey(n)), c.Delete(countKey(n)), c.putTarget())
	}
	if c.ops == 0 {
		return false, nil
	}
	return false, errors.Join(c.counts.write(c.Tx, c.q.N), c.putTarget())
}

func (c *clearing) putTarget() error {
	if c.to == nil || c.moved == 0 {
		return nil
	}
	return c.toCounts.write(c.Tx, c.to.N)
}

// messages removes or moves messages. It reports whether some are left.
func (c *clearing) messages(inWork func(uint64) bool) (left bool, err error) {
	prefix := string(ofQueue(bodyKeys, c.q.N))
	for key := range c.Scan(prefix, "") {
		seq, ok := seqOf(prefix, key)
		if !ok {
			continue // a part of a body
		}
		if busy(inWork, seq) {
			left = true
			continue
		}
		m, err := find(c.Tx, c.q.N, seq, c.to != nil)
		if err != nil || m == nil {
			return true, err
		}
		cost, size := m.cost(), int64(0)
		if c.to != nil {
			cost, size = 2*cost, m.inBytes
		}
		if !c.room(cost, c.most) || c.moved > 0 && c.moved+size > movedBytes {
			return true, nil
		}
		if c.to != nil {
			if err := c.move(m); err != nil {
				return true, err
			}
		}
		c.counts.Dropped++
		if err := m.remove(c, &c.counts); err != nil {
			return true, err
		}
	}
	return left, nil
}

// move copies m into the other queue.
func (c *clearing) move(m *message) error {
	c.moved += max(m.inBytes, 1)
	n := message{stored: m.stored, n: c.to.N, seq: m.seq, where: m.where, state: m.state}
	n.state.Held, n.state.Cancel = nil, nil
	n.Unique = 0 // the window was one of the old queue
	if c.Get(bodyKey(n.n, n.seq)) != nil {
		n.seq = c.Stamp() // in a store that several daemons share, ids may meet here
	}
	if n.where == Ready && !n.state.NotBefore.IsZero() && !c.to.Ordered {
		n.where = Delayed
	}
	if n.Key != "" && n.where != Dead {
		h, err := readHolder(c.Tx, n.n, n.Key)
		switch {
		case err != nil:
			return err
		case h == nil:
		case h.live == nil && !h.until.After(c.now):
			if err := h.forget(c, n.n); err != nil {
				return err
			}
			h = nil
		}
		if h != nil {
			n.Key = ""
		} else if err := n.takeKey(c); err != nil {
			return err
		}
	}
	errs := []error{c.Put(bodyKey(n.n, n.seq), n.encode())}
	for i := range m.parts() {
		errs = append(errs, c.Put(partKey(n.n, n.seq, i), c.Get(partKey(m.n, m.seq, i))))
	}
	n.count(&c.toCounts, n.where, 1)
	c.toCounts.Pushed++
	return errors.Join(append(errs, n.save(c))...)
}

// results removes the results that are kept. It reports whether some are left.
func (c *clearing) results() (left bool, err error) {
	prefix := string(ofQueue(resultKeys, c.q.N))
	for key, val := range c.Scan(prefix, "") {
		if !c.room(2, c.most) {
			return true, nil
		}
		r, err := decodeResult(key, val)
		if err != nil {
			return true, err
		}
		if err := errors.Join(c.Delete(key), c.Delete(expiryKey(r.Until, c.q.N, r.ID))); err != nil {
			return true, err
		}
	}
	return false, nil
}

// keys removes the keys whose windows are not over. It reports whether some are left.
func (c *clearing) keys() (left bool, err error) {
	prefix := uniquePrefix(c.q.N)
	for key, val := range c.Scan(prefix, "") {
		if !c.room(2, c.most) {
			return true, nil
		}
		seq, until, ok := decodeHolder(val)
		if !ok {
			return true, damaged(key)
		}
		h := holder{key: key[len(prefix):], seq: seq, until: until}
		if err := h.forget(c, c.q.N); err != nil {
			return true, err
		}
	}
	return false, nil
}

// Purge removes ready and delayed messages that are not in work, at most that many. It reports whether there
// may be others.
func Purge(tx store.Tx, n uint64, inWork func(seq uint64) bool, most int) (removed int, more bool, err error) {
	err = change(tx, n, func(c *Counts) error {
		prefixes := make([]string, 0, Priorities+1)
		for p := range Priorities {
			prefixes = append(prefixes, readyPrefix(n, p))
		}
		if c.Delayed > 0 {
			prefixes = append(prefixes, string(ofQueue(bodyKeys, n)))
		}
		for _, prefix := range prefixes {
			for key := range tx.Scan(prefix, "") {
				seq, ok := seqOf(prefix, key)
				if !ok || busy(inWork, seq) {
					continue
				}
				m, err := find(tx, n, seq, false)
				if err != nil {
					return err
				}
				if m == nil || m.where == Dead || m.state.Held != nil || m.state.Cancel != nil {
					continue
				}
				if removed >= most {
					more = true
					return nil
				}
				removed++
				c.Dropped++
				if err := m.remove(tx, c); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return removed, more, err
}
