package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"activationd/internal/fault"
	"activationd/queue"
	"activationd/store"
	"activationd/supervisor"
)

// recover reads the queues, and finds out what an earlier daemon left: which messages are
// in work, and how others ended meanwhile. Nothing is handed out before.
func (b *Broker) recover(ctx context.Context) error {
	b.set = b.settings.Load()
	var queues []*queue.Queue
	err := b.parts.DB.View(ctx, func(tx store.Tx) error {
		queues = nil
		for q, err := range queue.All(tx) {
			if err != nil {
				return err
			}
			queues = append(queues, q)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, q := range queues {
		b.put(q.N, q)
	}
	b.takeHints()
	b.dueAt(b.parts.Now())
	keys, err := b.parts.Runs.List()
	if err != nil {
		return fmt.Errorf("runs of an earlier daemon: %w", err)
	}
	slices.SortFunc(keys, func(a, b supervisor.Key) int { return a.N - b.N })
	if err := b.recoverHeld(ctx); err != nil {
		return err
	}
	given, err := readJournal(b.parts.Journal)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if k.Phase == listenerPhase {
			err = b.adoptProcess(ctx, k, given)
		} else {
			err = b.adopt(ctx, k)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// adoptProcess takes a stream listener of an earlier daemon, with what it has in work.
func (b *Broker) adoptProcess(ctx context.Context, k supervisor.Key, all []given) error {
	found, err := b.parts.Runs.Adopt(k)
	if err != nil && !errors.Is(err, fault.Conflict) {
		return fmt.Errorf("a listener of an earlier daemon: %w: %w", err, fault.Unavailable)
	}
	if b.processes[k] != nil {
		return nil
	}
	s := &process{key: k, since: b.parts.Now()}
	for _, p := range b.pools {
		if p.l.Stream && strings.HasPrefix(k.ID, p.stem()) {
			s.pool = p
		}
	}
	if s.pool == nil { // nothing needs it any more; it may finish what it has
		s.pool = &pool{key: "former " + k.ID, l: &Listener{Stream: true, Grace: leastGrace}}
		b.pools[s.pool.key] = s.pool
	}
	s.pool.dirty = true
	if err := b.enlist(s); err != nil {
		return fmt.Errorf("a listener of an earlier daemon: %w", err)
	}
	for _, g := range all {
		ln := b.lines[g.queue]
		if g.run != k || ln == nil || b.work[g.id] != nil {
			continue
		}
		m, err := b.load(ctx, g.queue, g.id)
		if err != nil {
			return err
		}
		if m == nil || m.State.Attempts >= g.attempt || !m.State.DeadSince.IsZero() {
			continue
		}
		w := &work{id: g.id, line: ln, pool: s.pool, m: m, attempt: g.attempt, process: s, by: k.String(), since: b.parts.Now(), sent: true}
		w.adopt(s.pool.l)
		if w.timeout > 0 {
			w.deadline = w.since.Add(w.timeout)
		}
		if c := m.State.Cancel; c != nil {
			w.cancelled, w.deadline = c.By, b.parts.Now().Add(s.pool.l.Grace)
		}
		s.works[w.id] = w
		s.busy++
		b.begin(w)
	}
	if found.State != supervisor.Running {
		r := found.Result
		if r.Reason == "" {
			r.Reason = found.State.String()
		}
		s.result = &r
	}
	return nil
}

// load reads a message; nil: it is gone.
func (b *Broker) load(ctx context.Context, n, id uint64) (m *queue.Message, err error) {
	err = b.parts.DB.View(ctx, func(tx store.Tx) (err error) {
		m, err = queue.Load(tx, n, id)
		if errors.Is(err, fault.NotFound) {
			m, err = nil, nil
		}
		return err
	})
	return m, err
}

// adopt takes a run of an earlier daemon. If its message has gone on since, nothing of
// the run counts: its end was recorded.
func (b *Broker) adopt(ctx context.Context, k supervisor.Key) error {
	found, err := b.parts.Runs.Adopt(k)
	if err != nil && !errors.Is(err, fault.Conflict) { // a conflict: an earlier try of recover has it already
		return fmt.Errorf("a run of an earlier daemon: %w: %w", err, fault.Unavailable)
	}
	if b.runs[k] != nil {
		return nil
	}
	n, id, ok := parseMessageKey(k)
	ln := b.lines[n]
	var m *queue.Message
	if ok && ln != nil {
		if m, err = b.load(ctx, n, id); err != nil {
			return err
		}
	}
	if m == nil || m.State.Attempts >= k.N || b.work[id] != nil {
		if found.State == supervisor.Running {
			b.parts.Log.Error("queues: a run whose message is gone goes on; it is stopped", "run", k)
			return b.parts.Runs.Stop(k)
		}
		b.removals <- k
		return nil
	}
	w := &work{id: id, line: ln, m: m, attempt: k.N, run: k, by: "run", since: b.parts.Now(), pool: ln.pool}
	if ln.pool != nil {
		w.adopt(ln.pool.l)
	}
	if c := m.State.Cancel; c != nil {
		w.cancelled = c.By
	}
	b.begin(w)
	b.runs[k] = w
	if found.State != supervisor.Running {
		r := found.Result
		if r.Reason == "" {
			r.Reason = found.State.String()
		}
		if r.Ended.IsZero() {
			r.Ended = b.parts.Now()
		}
		b.runEnded(w, &r)
		return nil
	}
	if w.cancelled != "" {
		return b.parts.Runs.Stop(k)
	}
	return nil
}
