package broker

import (
	"context"
	"time"

	"activationd/queue"
	"activationd/store"
)

// Pause keeps the messages of a queue from being handed out, until p.Until if that is not zero;
// if p is nil, they are handed out again.
func (b *Broker) Pause(ctx context.Context, name string, p *queue.Paused, by queue.Actor) error {
	var q *queue.Queue
	now := b.parts.Now()
	if p != nil {
		p = &queue.Paused{By: by.Name, Reason: p.Reason, At: now, Until: p.Until}
	}
	err := b.update(ctx, func(tx store.Tx) (err error) {
		if q, err = queue.SetPaused(tx, name, p); err != nil {
			return err
		}
		n := queue.Notice{What: queue.NoticeResumed, Queue: name, N: q.N, Actor: &by, Time: now}
		if p != nil {
			n.What, n.Reason = queue.NoticePaused, p.Reason
		}
		return queue.Notify(tx, n)
	})
	if err == nil {
		b.hint(hint{queue: q.N})
	}
	return err
}

// PauseAll keeps all messages from being handed out, except those of the daemon's own queues,
// until it is called with false. What is in work is finished.
func (b *Broker) PauseAll(paused bool) {
	b.askedToPause.Store(paused)
	b.poke()
}

// pauseAll does what PauseAll was called for.
func (b *Broker) pauseAll() {
	paused := b.askedToPause.Load()
	if paused == b.allPaused {
		return
	}
	b.allPaused = paused
	for _, p := range b.pools {
		p.dirty = true
	}
}

// open reports whether messages of a line may be handed out.
func (b *Broker) open(ln *line) bool { return ln.open() && (!b.allPaused || ln.Builtin) }

// endPauses ends the pauses whose time has come.
func (b *Broker) endPauses(now time.Time) {
	if b.pauseEnd.IsZero() || now.Before(b.pauseEnd) {
		return
	}
	b.pauseEnd = time.Time{}
	for _, ln := range b.lines {
		if ln.Paused.Over(now) {
			b.pending = append(b.pending, &outcome{line: ln, resume: true})
		} else {
			b.endsAt(ln.Paused)
		}
	}
}

// endsAt notes when a pause ends.
func (b *Broker) endsAt(p *queue.Paused) {
	if p != nil && !p.Until.IsZero() && (b.pauseEnd.IsZero() || p.Until.Before(b.pauseEnd)) {
		b.pauseEnd = p.Until
	}
}
