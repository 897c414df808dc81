package broker

import (
	"context"
	"fmt"
	"sync"

	"activationd/internal/fault"
	"activationd/supervisor"
)

// A waiter waits for the end of a message.
type waiter struct {
	queue     uint64
	cancelled bool          // it was cancelled, and did not end otherwise
	over      chan struct{} // closed at its end, when cancelled is set
}

// wait makes a waiter for the end of a message that is there.
func (b *Broker) wait(queue, id uint64) *waiter {
	w := &waiter{queue: queue, over: make(chan struct{})}
	b.mu.Lock()
	b.waiters[id] = append(b.waiters[id], w)
	b.mu.Unlock()
	return w
}

// await returns when the message is over, or when ctx is done. In both cases the waiter is forgotten.
func (b *Broker) await(ctx context.Context, id uint64, w *waiter) error {
	select {
	case <-w.over:
		return nil
	case <-b.over:
		return errOver
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	waiting := b.waiters[id]
	for i := range waiting {
		if waiting[i] == w {
			waiting[i] = waiting[len(waiting)-1]
			waiting = waiting[:len(waiting)-1]
			break
		}
	}
	if b.waiters[id] = waiting; len(waiting) == 0 {
		delete(b.waiters, id)
	}
	return context.Cause(ctx)
}

// tellOver tells those who wait for a message that it is over.
func (b *Broker) tellOver(id uint64, cancelled bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, w := range b.waiters[id] {
		w.cancelled = cancelled
		close(w.over)
	}
	delete(b.waiters, id)
}

// tellWaiters wakes those who wait for messages of a queue that are not there any more.
func (b *Broker) tellWaiters(ctx context.Context, n uint64) {
	b.mu.Lock()
	var ids []uint64
	for id, waiting := range b.waiters {
		if waiting[0].queue == n && !b.inWork(id) {
			ids = append(ids, id)
		}
	}
	b.mu.Unlock()
	for _, id := range ids {
		if m, err := b.load(ctx, n, id); err == nil && m == nil {
			b.tellOver(id, false)
		}
	}
}

// The leftovers are the directories of runs whose ends are recorded. A goroutine removes them.
// If a message is tried again and needs the name of one, Run removes that one first.
type leftovers struct {
	mu       sync.Mutex
	keys     map[supervisor.Key]bool
	order    []supervisor.Key // those that have not been tried
	wake     chan struct{}    // capacity one
	removing sync.Mutex       // held while one is removed
}

func (l *leftovers) has(k supervisor.Key) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.keys[k]
}

// discard has the directory of a run removed.
func (b *Broker) discard(k supervisor.Key) {
	l := &b.leftovers
	l.mu.Lock()
	if !l.keys[k] {
		l.keys[k] = true
		l.order = append(l.order, k)
	}
	l.mu.Unlock()
	token(l.wake)
}

// sweep removes the directories of runs whose ends are recorded, until ctx is done.
func (b *Broker) sweep(ctx context.Context) {
	l := &b.leftovers
	for {
		l.mu.Lock()
		var k supervisor.Key
		some := len(l.order) > 0
		if some {
			k, l.order = l.order[0], l.order[1:]
		}
		l.mu.Unlock()
		if some && ctx.Err() == nil {
			if err := b.remove(ctx, k); err != nil && ctx.Err() == nil {
				b.parts.Log.Error("cannot remove the directory of a delivery; the next start of the daemon tries again", "run", k, "err", err)
			}
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		}
	}
}

// remove removes the directory of a run, if it is among the leftovers.
func (b *Broker) remove(ctx context.Context, k supervisor.Key) error {
	l := &b.leftovers
	if !l.has(k) { // most are not
		return nil
	}
	l.removing.Lock()
	defer l.removing.Unlock()
	if !l.has(k) { // it was removed meanwhile
		return nil
	}
	if k.Phase == listenerPhase {
		if err := b.parts.Runs.RemoveWorkdir(ctx, k.ID); err != nil {
			return err
		}
	}
	if err := b.parts.Runs.Remove(ctx, k); err != nil {
		return err
	}
	l.mu.Lock()
	delete(l.keys, k)
	l.mu.Unlock()
	return nil
}

// removeOf removes the leftovers of a queue's messages.
func (b *Broker) removeOf(ctx context.Context, n uint64) error {
	l := &b.leftovers
	l.mu.Lock()
	var keys []supervisor.Key
	for k := range l.keys {
		if queue, _, ok := parseMessageKey(k); ok && queue == n {
			keys = append(keys, k)
		}
	}
	l.mu.Unlock()
	for _, k := range keys {
		if err := b.remove(ctx, k); err != nil {
			return fmt.Errorf("the directory of an earlier attempt cannot be removed: %w: %w", err, fault.Unavailable)
		}
	}
	return nil
}

// removeOfName removes the leftovers of all messages of the queue that has a name.
func (b *Broker) removeOfName(ctx context.Context, name string) error {
	for n, ln := range b.lines {
		if ln.Name == name {
			return b.removeOf(ctx, n)
		}
	}
	return nil
}
