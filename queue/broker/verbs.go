package broker

import (
	"context"
	"fmt"
	"time"

	"activationd/internal/fault"
	"activationd/queue"
	"activationd/store"
	"activationd/supervisor"
)

// Create makes a queue. Its listener begins at once. If there is one already, it is
// returned.
func (b *Broker) Create(ctx context.Context, q queue.Queue) (got *queue.Queue, created bool, err error) {
	now := b.parts.Now()
	err = b.parts.DB.Update(ctx, func(tx store.Tx) error {
		if got, created, err = queue.Create(tx, now, q); err != nil || !created {
			return err
		}
		return queue.Notify(tx, queue.Notice{What: "created", Queue: got.Name, By: q.By, Time: now})
	})
	if err == nil && created {
		b.hint(hint{queue: got.N})
	}
	return got, created, err
}

// Push adds messages to a queue. When it returns, they are on disk.
func (b *Broker) Push(ctx context.Context, name string, messages ...queue.New) (pushed []queue.Pushed, err error) {
	now := b.parts.Now()
	set := b.settings.Load()
	var limits queue.Limits
	if l, _, _ := set.listenerOf(name); l != nil {
		limits = l.Limits
	}
	limits.Body, limits.AllMessages, limits.AllBytes = set.Limits.Body, set.Limits.AllMessages, set.Limits.AllBytes
	push := func(ctx context.Context, inWork func(uint64) bool) error {
		return b.parts.DB.Update(ctx, func(tx store.Tx) error {
			pushed = pushed[:0]
			for _, m := range messages {
				p, err := queue.Push(tx, now, name, limits, m, inWork)
				if err != nil {
					return err
				}
				pushed = append(pushed, p)
			}
			return nil
		})
	}
	if removes(limits, messages) { // Run knows what is in work, and keeps it so
		err = b.ask(ctx, func(ctx context.Context) error { return push(ctx, b.inWork) })
	} else {
		err = push(ctx, nil)
	}
	if err != nil {
		return nil, err
	}
	hints := make([]hint, 0, len(pushed))
	for i, p := range pushed {
		if m := messages[i]; !p.Duplicate {
			hints = append(hints, hint{p.Queue, queue.Head{Seq: p.ID, Priority: m.Priority, Pushed: now}, m.NotBefore})
		}
	}
	b.hint(hints...)
	return pushed, nil
}

// removes reports whether a push may remove other messages.
func removes(limits queue.Limits, messages []queue.New) bool {
	if limits.DropOldest {
		return true
	}
	for _, m := range messages {
		if m.OnDuplicate == queue.DuplicateReplace {
			return true
		}
	}
	return false
}

// Delete begins the deletion of a queue: it takes no more messages, those in work are
// finished, or killed if d.Now is set, and then it is gone.
func (b *Broker) Delete(ctx context.Context, name string, d queue.Deleting, discard bool) error {
	now := b.parts.Now()
	return b.ask(ctx, func(ctx context.Context) error {
		var q *queue.Queue
		err := b.parts.DB.Update(ctx, func(tx store.Tx) (err error) {
			if q, err = queue.Delete(tx, now, name, d, discard); err != nil {
				return err
			}
			return queue.Notify(tx, queue.Notice{What: "deleted", Queue: name, By: d.By, Time: now})
		})
		if err == nil {
			b.put(q.N, q)
		}
		return err
	})
}

// Cancel cancels a message. One in work is stopped; Cancel returns when its end is
// recorded, or when ctx is done.
func (b *Broker) Cancel(ctx context.Context, name string, id uint64, by string) error {
	var over chan struct{}
	err := b.ask(ctx, func(ctx context.Context) error {
		now, w := b.parts.Now(), b.work[id]
		var keep time.Duration
		err := b.parts.DB.Update(ctx, func(tx store.Tx) error {
			q, err := queue.Get(tx, name)
			if err != nil {
				return err
			}
			if w != nil && w.line.N != q.N {
				return fmt.Errorf("message %d is not in queue %s: %w", id, name, fault.NotFound)
			}
			_, err = queue.Cancel(tx, now, q.N, id, by, w != nil, keep)
			return err
		})
		if err != nil || w == nil {
			return err
		}
		over = make(chan struct{})
		b.waiters[id] = append(b.waiters[id], over)
		return b.stopWork(w, by)
	})
	if err != nil || over == nil {
		return err
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-over:
		return nil
	}
}

// stopWork ends an attempt because its message was cancelled.
func (b *Broker) stopWork(w *work, by string) error {
	w.cancelled = by
	switch {
	case w.run != (supervisor.Key{}):
		return b.parts.Runs.Stop(w.run)
	case w.stop != nil:
		w.stop()
	case w.process != nil: // it may give the message up; otherwise it is replaced
		w.deadline = b.parts.Now().Add(w.pool.l.Grace)
		w.process.unsent = append(w.process.unsent, encodeCancel(w.id))
		b.send(w.process)
	}
	return nil
}

// stopAll ends everything of a queue that is in work.
func (b *Broker) stopAll(ln *line, by string) {
	for _, w := range b.work {
		if w.line == ln && w.cancelled == "" {
			if err := b.stopWork(w, by); err != nil {
				b.parts.Log.Error("queues: cannot stop a delivery", "queue", ln.Name, "message", w.id, "err", err)
			}
		}
	}
}

// Pause keeps a queue from being worked off; nil lets it go on.
func (b *Broker) Pause(ctx context.Context, name string, p *queue.Paused) error {
	var q *queue.Queue
	now := b.parts.Now()
	err := b.parts.DB.Update(ctx, func(tx store.Tx) (err error) {
		if q, err = queue.SetPaused(tx, name, p); err != nil {
			return err
		}
		what, by := "resumed", ""
		if p != nil {
			what, by = "paused", p.By
		}
		return queue.Notify(tx, queue.Notice{What: what, Queue: name, By: by, Time: now})
	})
	if err == nil {
		b.hint(hint{queue: q.N})
	}
	return err
}

// Await returns when a message is over: worked off, dead, cancelled or removed; at once if
// it is not there.
func (b *Broker) Await(ctx context.Context, n, id uint64) error {
	over := make(chan struct{})
	err := b.ask(ctx, func(ctx context.Context) error {
		return b.parts.DB.View(ctx, func(tx store.Tx) error {
			m, err := queue.Load(tx, n, id)
			if err != nil || m.State.DeadSince != (time.Time{}) {
				close(over)
				return nil
			}
			b.waiters[id] = append(b.waiters[id], over)
			return nil
		})
	})
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-over:
		return nil
	}
}
