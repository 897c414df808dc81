package broker

import (
	"context"
	"errors"
	"time"

	"activationd/internal/fault"
	"activationd/queue"
	"activationd/store"
)

// follow takes what others have committed.
func (b *Broker) follow(ctx context.Context) error {
	hints := b.takeHints()
	changed := make(map[uint64]bool)
	for _, h := range hints {
		ln := b.lines[h.queue]
		if !h.over.IsZero() {
			b.dueAt(h.over)
		}
		switch {
		case ln == nil || h.head == (queue.Head{}):
			changed[h.queue] = true
		case !h.due.IsZero():
			b.dueAt(h.due)
		default:
			b.arrived(ln, h.head)
		}
	}
	if len(changed) == 0 {
		return nil
	}
	read := make(map[uint64]*queue.Queue)
	err := b.parts.DB.View(ctx, func(tx store.Tx) error {
		clear(read)
		for n := range changed {
			q, err := queue.ByNumber(tx, n)
			if err != nil && !errors.Is(err, fault.NotFound) {
				return err
			}
			read[n] = q
		}
		return nil
	})
	if err != nil {
		b.mu.Lock() // the next turn takes them again
		b.hints = append(hints, b.hints...)
		b.mu.Unlock()
		return err
	}
	for n, q := range read {
		b.put(n, q)
	}
	return nil
}

// arrived notes that a message is ready.
func (b *Broker) arrived(ln *line, h queue.Head) {
	if b.inWork(h.Seq) {
		return
	}
	ln.windows[h.Priority].add(h)
	ln.touch()
}

// put takes a queue as it is in the store now; nil: it is gone.
func (b *Broker) put(n uint64, q *queue.Queue) {
	ln := b.lines[n]
	if q != nil {
		b.endsAt(q.Paused)
	}
	switch {
	case q == nil && ln != nil:
		b.leave(ln)
		b.leaveHands(ln)
		b.dropResults(time.Time{}, n)
		delete(b.lines, n)
		for _, c := range ln.goneTo {
			close(c)
		}
	case q != nil && ln == nil:
		ln = &line{Queue: *q}
		ln.reset()
		b.lines[n] = ln
		b.enter(ln)
	case q != nil:
		if ln.Queue = *q; b.set == nil {
			return
		}
		ln.touch()
		if d := ln.Deleting; d != nil && d.Now {
			b.stopAll(ln)
		}
	}
}

// promoteMost is how many delayed messages become ready in one transaction.
const promoteMost = 256

// promote makes what is due ready, and removes what has expired.
func (b *Broker) promote(ctx context.Context) error {
	for {
		now := b.parts.Now()
		if b.nextDue.IsZero() || now.Before(b.nextDue) {
			return nil
		}
		var ready []queue.Ref
		var next time.Time
		err := b.parts.DB.Update(ctx, func(tx store.Tx) error {
			ready, next = nil, time.Time{}
			var err error
			if ready, next, err = queue.Promote(tx, now, promoteMost); err != nil {
				return err
			}
			_, expire, err := queue.ExpireResults(tx, now, promoteMost)
			if next.IsZero() || !expire.IsZero() && expire.Before(next) {
				next = expire
			}
			return err
		})
		if err != nil {
			return err
		}
		b.nextDue = next
		b.dropResults(now, 0)
		for _, r := range ready {
			if ln := b.lines[r.Queue]; ln != nil {
				b.arrived(ln, r.Head)
			}
		}
	}
}

// clearMost is how many messages of a deleted queue are removed in one transaction.
const clearMost = 100

// clear goes on with deletions. It removes one part of each queue in a turn, so others are
// not kept waiting.
func (b *Broker) clear(ctx context.Context) error {
	now := b.parts.Now()
	for n, ln := range b.lines {
		own := ln.pool != nil && ln.pool.l.Together == Apart && len(ln.pool.processes) > 0
		if ln.Deleting == nil || own && ln.inWork == 0 { // no process outlives its queue
			continue
		}
		gone, less := false, false
		err := b.parts.DB.Update(ctx, func(tx store.Tx) (err error) {
			before := queue.CountsOf(tx, n)
			gone, err = queue.Clear(tx, now, n, b.inWork, clearMost)
			less = queue.CountsOf(tx, n) != before
			return err
		})
		if err != nil {
			return err
		}
		b.tellWaiters(ctx, n)
		switch {
		case gone:
			b.put(n, nil)
		case less || ln.inWork == 0: // otherwise the last end is the next occasion
			b.poke()
		}
		if to := ln.Deleting.MoveTo; to != "" {
			for _, other := range b.lines {
				if other.Name == to {
					other.reset()
					other.touch()
				}
			}
		}
	}
	return nil
}

// alarm is when the next turn is due. Both times are those of the beginning of this one: what
// became due since was not seen by all of it.
func (b *Broker) alarm(now, tick time.Time) (at time.Time) {
	at = b.nextDue
	earliest := func(t time.Time) {
		if t.After(now) && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	within := func(t time.Time) { // of b.tick, in which setting the clock changes nothing
		if !t.IsZero() {
			earliest(now.Add(t.Sub(tick)))
		}
	}
	earliest(b.pauseEnd)
	within(b.adoptAt)
	for _, w := range b.work {
		within(w.deadline)
	}
	for _, p := range b.pools {
		within(p.notBefore)
		for _, s := range p.processes {
			within(s.endBy)
			if age := p.l.Replace.Age; age > 0 {
				within(s.since.Add(age))
			}
		}
		for _, ln := range p.lines {
			for i := range ln.windows {
				if heads := ln.windows[i].heads; ln.Ordered && len(heads) > 0 {
					earliest(heads[0].NotBefore)
				}
			}
		}
	}
	return at
}
