package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"activationd/internal/fault"
	"activationd/queue"
	"activationd/store"
	"activationd/store/once"
	"activationd/supervisor"
)

// Create makes a queue. Its listener begins at once. If there is one already, it is
// returned.
func (b *Broker) Create(ctx context.Context, q queue.Queue, by queue.Actor) (got *queue.Queue, created bool, err error) {
	now := b.parts.Now()
	q.By = by.Name
	err = b.update(ctx, func(tx store.Tx) error {
		if got, created, err = queue.Create(tx, now, q); err != nil || !created {
			return err
		}
		if most := b.settings.Load().Created; q.For != "" && most > 0 && queue.CreatedFor(tx, q.For) > most {
			return fmt.Errorf("queue %s is not there, and %q has created %d queues by pushes already, which is the limit (queues.max_created); an operator can create this one with atctl queue create, or delete others: %w",
				q.Name, by.Name, most, fault.Conflict)
		}
		return queue.Notify(tx, queue.Notice{What: queue.NoticeCreated, Queue: got.Name, N: got.N, Actor: &by, Time: now})
	})
	if err == nil { // one that was there may be wanted by somebody now
		b.hint(hint{queue: got.N})
	}
	return got, created, err
}

// A NewMessage is a message to push, and its queue.
type NewMessage struct {
	Queue string
	queue.New
}

// Pushed says what became of a push.
type Pushed struct {
	queue.Pushed
	Err error
}

// Push adds messages to queues, in order. When it returns, they are on disk. All share a
// transaction, unless one is refused: that does not keep the others from being pushed.
func (b *Broker) Push(ctx context.Context, messages []NewMessage) []Pushed {
	pushed := make([]Pushed, len(messages))
	b.push(ctx, messages, pushed)
	return pushed
}

// push pushes messages together, or else each half of them, so that few that are refused cost
// few transactions.
func (b *Broker) push(ctx context.Context, messages []NewMessage, pushed []Pushed) {
	err := b.pushAll(ctx, messages, pushed)
	if err != nil && len(messages) > 1 && refusesOne(err) {
		half := len(messages) / 2
		b.push(ctx, messages[:half], pushed[:half])
		b.push(ctx, messages[half:], pushed[half:])
		return
	}
	for i := range pushed {
		if err != nil {
			pushed[i] = Pushed{Err: err}
		}
	}
}

// refusesOne reports whether an error is about one message, and not about all.
func refusesOne(err error) bool {
	_, full := errors.AsType[*queue.FullError](err)
	kind := fault.Of(err)
	return full || kind == fault.Invalid || kind == fault.NotFound || kind == fault.Conflict || kind == fault.Denied
}

// pushAll pushes all messages or none.
func (b *Broker) pushAll(ctx context.Context, messages []NewMessage, pushed []Pushed) error {
	now, set := b.parts.Now(), b.settings.Load()
	push := func(ctx context.Context, inWork func(uint64) bool) error {
		return once.Update(ctx, b.parts.DB, func(tx store.Tx) error {
			for from := 0; from < len(messages); {
				to := from + 1
				for to < len(messages) && messages[to].Queue == messages[from].Queue {
					to++
				}
				if err := pushSome(tx, now, set, messages[from:to], pushed[from:to], inWork); err != nil {
					return err
				}
				from = to
			}
			once.Known(ctx, fmt.Sprintf("message %d", pushed[0].ID))
			return nil
		})
	}
	var err error
	if removes(set, messages) { // Run knows what is in work, and keeps it so
		err = b.ask(ctx, func(ctx context.Context) error {
			err := push(ctx, b.inWork)
			for i := range pushed {
				if err == nil && pushed[i].Replaced != 0 {
					b.tellOver(pushed[i].Replaced, false)
				}
				for _, id := range pushed[i].Dropped {
					if err == nil {
						b.tellOver(id, false)
					}
				}
			}
			return err
		})
	} else {
		err = push(ctx, nil)
	}
	if err != nil {
		return err
	}
	hints := make([]hint, 0, len(pushed))
	for i, p := range pushed {
		m := &messages[i]
		if p.Duplicate {
			continue
		}
		hints = append(hints, hintOf(p.Pushed.Queue, p.ID, &m.New, now))
	}
	b.hint(hints...)
	return nil
}

// hintOf says that a message was pushed.
func hintOf(n, id uint64, m *queue.New, now time.Time) hint {
	h := hint{queue: n, head: queue.Head{Seq: id, Priority: m.Priority, Pushed: now}}
	if m.NotBefore.After(now) {
		h.due = m.NotBefore
	}
	if m.Unique > 0 {
		h.over = now.Add(m.Unique)
	}
	return h
}

// pushSome pushes messages into one queue.
func pushSome(tx store.Tx, now time.Time, set *Settings, messages []NewMessage, pushed []Pushed, inWork func(uint64) bool) error {
	q, err := queue.Get(tx, messages[0].Queue)
	switch {
	case err != nil:
		return err
	case q.Builtin: // what is in such a queue is trusted to come from the daemon: see Feed
		return fmt.Errorf("queue %s is the daemon's own: only the daemon pushes into it: %w", q.Name, fault.Denied)
	}
	ms := make([]queue.New, len(messages))
	for i := range messages {
		ms[i] = messages[i].New
	}
	did, err := queue.PushAll(tx, now, q.Name, set.limitsOf(q.Name), ms, inWork)
	if err != nil {
		return err
	}
	for i := range did {
		pushed[i].Pushed = did[i]
	}
	return nil
}

// limitsOf are the limits of a queue: those of its listener, also if it may not be served now.
func (s *Settings) limitsOf(name string) (limits queue.Limits) {
	for i := range s.Listeners {
		if _, ok := s.Listeners[i].serves(name); ok {
			limits = s.Listeners[i].Limits
			break
		}
	}
	limits.Body, limits.AllMessages, limits.AllBytes = s.Limits.Body, s.Limits.AllMessages, s.Limits.AllBytes
	return limits
}

// removes reports whether a push may remove other messages.
func removes(set *Settings, messages []NewMessage) bool {
	for i := range messages {
		if messages[i].OnDuplicate == queue.DuplicateReplace || set.limitsOf(messages[i].Queue).DropOldest {
			return true
		}
	}
	return false
}

// Delete begins the deletion of a queue: it takes no more messages, those in work are
// finished, or killed if d.Now is set, and then it is gone.
func (b *Broker) Delete(ctx context.Context, name string, d queue.Deleting, discard bool, by queue.Actor) error {
	now := b.parts.Now()
	d.By, d.At = by.Name, now
	return b.ask(ctx, func(ctx context.Context) error {
		var q *queue.Queue
		err := b.update(ctx, func(tx store.Tx) (err error) {
			if q, err = queue.Delete(tx, now, name, d, discard, b.inWork); err != nil {
				return err
			}
			return queue.Notify(tx, queue.Notice{What: queue.NoticeDeleted, Queue: name, N: q.N, Actor: &by, Time: now})
		})
		if err == nil {
			b.put(q.N, q)
		}
		return err
	})
}

// Cancel cancels a message. One in work is stopped; Cancel returns when its end is
// recorded, or when ctx is done. If it was done before it could be stopped, the error is of
// kind fault.Conflict.
func (b *Broker) Cancel(ctx context.Context, name string, id uint64, by queue.Actor) error {
	var end *waiter
	err := b.ask(ctx, func(ctx context.Context) error {
		now, w := b.parts.Now(), b.work[id]
		var n uint64
		var keep time.Duration
		err := b.update(ctx, func(tx store.Tx) error {
			q, err := queue.Get(tx, name)
			if err != nil {
				return err
			}
			n = q.N
			if w != nil && w.line.N != n {
				return fmt.Errorf("message %d is not in queue %s: %w", id, name, fault.NotFound)
			}
			m, err := queue.Load(tx, n, id)
			if err != nil {
				return err
			}
			keep = b.keepOf(m)
			if _, err = queue.Cancel(tx, now, n, id, by.Name, w != nil, keep); err != nil {
				return err
			}
			return queue.Notify(tx, queue.Notice{What: queue.NoticeCancelled, Queue: name, N: n, Message: id, Actor: &by, Time: now})
		})
		if err != nil {
			return err
		}
		if w == nil {
			b.tellOver(id, true)
			if keep > 0 {
				b.dueAt(now.Add(keep))
			}
			return nil
		}
		end = b.wait(n, id)
		return b.stopWork(w, by.Name)
	})
	if err != nil || end == nil {
		return err
	}
	if err := b.await(ctx, id, end); err != nil {
		return err
	}
	if !end.cancelled {
		return fmt.Errorf("message %d was finished before it could be stopped: %w", id, fault.Conflict)
	}
	return nil
}

// keepOf is how long the result of a message is kept that is not in work.
func (b *Broker) keepOf(m *queue.Message) time.Duration {
	if ln := b.lines[m.Queue]; m.Keep == 0 && ln != nil && ln.pool != nil {
		return ln.pool.l.Keep
	}
	return m.Keep
}

// somebody cancelled a message of which it is not known who did.
const somebody = "somebody"

// stopWork ends an attempt because its message was cancelled.
func (b *Broker) stopWork(w *work, by string) error {
	w.cancelled = cmp.Or(by, somebody)
	return b.endWork(w)
}

// endWork ends an attempt.
func (b *Broker) endWork(w *work) error {
	switch {
	case w.over:
	case w.run != (supervisor.Key{}):
		return b.parts.Runs.Stop(w.run)
	case w.stop != nil:
		w.stop()
	case w.session != "":
		if w.recalled != "" || b.hands[w.session] == nil { // connect or expire does the rest
			return nil
		}
		b.recall(w, queue.HowStopped, "cancelled")
	case w.process != nil && !w.sent:
		b.settle(w, &outcome{w: w, verdict: queue.VerdictAgain})
	case w.process != nil: // it may give the message up; otherwise it is replaced
		w.deadline = b.tick().Add(w.pool.l.Grace)
		w.process.unsent = append(w.process.unsent, unsent{line: encodeCancel(w.id)})
		b.send(w.process)
	}
	return nil
}

// stopAll ends everything of a queue that is in work. It is cancelled, unless the queue's
// messages are moved.
func (b *Broker) stopAll(ln *line) {
	d := ln.Deleting
	for _, w := range b.work {
		if w.line != ln || w.cancelled != "" || w.returning {
			continue
		}
		if w.returning = d.MoveTo != ""; !w.returning {
			w.cancelled = cmp.Or(d.By, somebody)
		}
		if err := b.endWork(w); err != nil {
			b.parts.Log.Error("queues: cannot stop a delivery", "queue", ln.Name, "message", w.id, "err", err)
		}
	}
}

// Await returns when a message is over: done, dead, cancelled or removed; at once if
// it is not there.
func (b *Broker) Await(ctx context.Context, name string, id uint64) error {
	var end *waiter
	err := b.look(ctx, func(ctx context.Context) error {
		var q *queue.Queue
		there := false
		err := b.parts.DB.View(ctx, func(tx store.Tx) (err error) {
			if q, err = queue.Get(tx, name); err != nil {
				return err
			}
			m, err := queue.Load(tx, q.N, id)
			there = err == nil && m.Where != queue.Dead
			if errors.Is(err, fault.NotFound) {
				err = nil
			}
			return err
		})
		if there {
			end = b.wait(q.N, id)
		}
		return err
	})
	if err != nil || end == nil {
		return err
	}
	return b.await(ctx, id, end)
}

// Gone returns when the queue with a number is gone; at once if there is none.
func (b *Broker) Gone(ctx context.Context, n uint64) error {
	over := make(chan struct{})
	err := b.look(ctx, func(context.Context) error {
		if ln := b.lines[n]; ln != nil {
			ln.goneTo = append(ln.goneTo, over)
		} else {
			close(over)
		}
		return nil
	})
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-b.over:
		return errOver
	case <-over:
		return nil
	}
}

// Result returns the result of a message. Over is false if the message is still there; if it
// is over and r is nil, no result is kept.
func (b *Broker) Result(ctx context.Context, name string, id uint64) (r *queue.Result, over bool, err error) {
	err = b.parts.DB.View(ctx, func(tx store.Tx) error {
		r, over = nil, false
		q, err := queue.Get(tx, name)
		if err != nil {
			return err
		}
		if r, over = queue.ResultOf(tx, q.N, id); over {
			return nil
		}
		if _, err = queue.Load(tx, q.N, id); errors.Is(err, fault.NotFound) {
			over, err = true, nil
		}
		return err
	})
	return r, over, err
}

// changeAtOnce is how many messages a verb changes in one transaction.
const changeAtOnce = 100

// Purge removes all messages of a queue that are not in work.
func (b *Broker) Purge(ctx context.Context, name string, by queue.Actor) (removed int, err error) {
	for more := true; more && err == nil; {
		err = b.ask(ctx, func(ctx context.Context) error {
			n, now := 0, b.parts.Now()
			var q *queue.Queue
			err := b.update(ctx, func(tx store.Tx) (err error) {
				if q, err = queue.Get(tx, name); err != nil {
					return err
				}
				if n, more, err = queue.Purge(tx, q.N, b.inWork, changeAtOnce); err != nil || more {
					return err
				}
				return queue.Notify(tx, queue.Notice{What: queue.NoticePurged, Queue: name, N: q.N, Actor: &by, Time: now})
			})
			if err == nil {
				removed += n
				b.tellWaiters(ctx, q.N)
			}
			return err
		})
	}
	return removed, err
}

// RetryDead makes dead letters of a queue ready again, all if none is named. Their attempts
// begin again at the first.
func (b *Broker) RetryDead(ctx context.Context, name string, by queue.Actor, ids ...uint64) (n int, err error) {
	after := uint64(0)
	for {
		var retried []queue.Ref
		var next uint64
		err := b.ask(ctx, func(ctx context.Context) error {
			if err := b.removeOfName(ctx, name); err != nil { // their attempts begin at 1 again, and have the same names
				return err
			}
			now := b.parts.Now()
			return b.update(ctx, func(tx store.Tx) (err error) {
				q, err := queue.Get(tx, name)
				if err != nil {
					return err
				}
				if retried, next, err = queue.RetryDead(tx, now, q.N, ids, after, changeAtOnce); err != nil || len(retried) == 0 {
					return err
				}
				return queue.Notify(tx, queue.Notice{What: queue.NoticeRetried, Queue: name, N: q.N, Actor: &by, Time: now, Reason: fmt.Sprintf("%d dead letters", len(retried))})
			})
		})
		if err != nil {
			return n, err
		}
		n += len(retried)
		for _, r := range retried {
			b.hint(hint{queue: r.Queue, head: r.Head})
		}
		if next == 0 {
			return n, nil
		}
		after = next
	}
}

// PurgeDead removes dead letters of a queue, all if none is named.
func (b *Broker) PurgeDead(ctx context.Context, name string, by queue.Actor, ids ...uint64) (n int, err error) {
	for more := true; more; {
		purged, now := 0, b.parts.Now()
		err := b.update(ctx, func(tx store.Tx) (err error) {
			q, err := queue.Get(tx, name)
			if err != nil {
				return err
			}
			if purged, more, err = queue.PurgeDead(tx, q.N, ids, changeAtOnce); err != nil || purged == 0 {
				return err
			}
			return queue.Notify(tx, queue.Notice{What: queue.NoticePurged, Queue: name, N: q.N, Actor: &by, Time: now, Reason: fmt.Sprintf("%d dead letters", purged)})
		})
		if err != nil {
			return n, err
		}
		n += purged
	}
	return n, nil
}

// Restart replaces the processes of a queue's listener, each when it has finished what it
// has in work. Messages with a process of their own need that for the next ones only.
func (b *Broker) Restart(ctx context.Context, name string, by queue.Actor) error {
	return b.ask(ctx, func(ctx context.Context) error {
		now := b.parts.Now()
		var q *queue.Queue
		err := b.update(ctx, func(tx store.Tx) (err error) {
			if q, err = queue.Get(tx, name); err != nil {
				return err
			}
			if q.Paused != nil && q.Paused.Fault {
				if q, err = queue.SetPaused(tx, name, nil); err != nil {
					return err
				}
			}
			return queue.Notify(tx, queue.Notice{What: queue.NoticeRestarted, Queue: name, N: q.N, Actor: &by, Time: now})
		})
		if err != nil {
			return err
		}
		b.put(q.N, q)
		if ln := b.lines[q.N]; ln != nil && ln.pool != nil {
			for _, s := range ln.pool.processes {
				if s.outdated == "" {
					s.outdated = "a restart was requested"
				}
			}
			ln.pool.dirty, ln.pool.notBefore = true, time.Time{}
		}
		return nil
	})
}
