package broker

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"
	"time"

	"activationd/internal/fault"
	"activationd/queue"
	"activationd/store"
)

// A Status is a queue with what it has now.
type Status struct {
	queue.Queue
	queue.Counts
	Ready, InWork int64     // Ready is what is neither delayed nor in work
	Oldest        time.Time // when the oldest message that is ready or in work was pushed; zero: there is none
	Listener      string    // the name of the one that serves it; empty: none
	Why           string    // why none does
	Stream        bool
	Instances     int  // as configured
	Processes     int  // that run now
	Shared        bool // the processes are those of all queues of that listener
	ByHand        []Hand
	AllPaused     bool   // see [Broker.PauseAll]
	Fault         string // why processes cannot be started now, and when they are tried next; empty: they can
}

// A Hand is a listener that somebody has started.
type Hand struct {
	User   string
	PID    int
	Since  time.Time
	InWork int
}

// A Message is one of a queue, and who has it in work.
type Message struct {
	queue.Message
	InWork   bool
	Attempt  int // in work
	Since    time.Time
	Listener string
	Progress string // as its listener last reported it
}

// Queues lists queues by name; those that match one of some patterns, of path.Match, or
// all.
func (b *Broker) Queues(ctx context.Context, patterns ...string) (list []Status, err error) {
	err = b.look(ctx, func(ctx context.Context) error {
		for _, ln := range b.lines {
			if len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool {
				ok, err := path.Match(p, ln.Name)
				return err == nil && ok || p == ln.Name
			}) {
				list = append(list, b.statusOf(ln))
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b Status) int { return strings.Compare(a.Name, b.Name) })
	err = b.parts.DB.View(ctx, func(tx store.Tx) error {
		for i := range list {
			s := &list[i]
			s.Counts = queue.CountsOf(tx, s.N)
			s.Ready = max(0, s.Messages-s.Delayed-s.InWork)
			s.Oldest = time.Time{}
			for p := range queue.MaxPriority + 1 {
				if heads := queue.Heads(tx, s.N, p, 0, 1); len(heads) > 0 && (s.Oldest.IsZero() || heads[0].Pushed.Before(s.Oldest)) {
					s.Oldest = heads[0].Pushed
				}
			}
		}
		return nil
	})
	return list, err
}

// statusOf is the part of a queue's status that is in memory.
func (b *Broker) statusOf(ln *line) Status {
	s := Status{Queue: ln.Queue, InWork: int64(ln.inWork), Why: ln.why, AllPaused: b.allPaused && !ln.Builtin}
	for _, p := range ln.hands {
		h := p.hand.who
		h.InWork = 0
		for _, w := range b.work {
			if w.line == ln && w.session == p.hand.session {
				h.InWork++
			}
		}
		s.ByHand = append(s.ByHand, h)
	}
	p := ln.pool
	if p == nil {
		return s
	}
	s.Listener, s.Stream, s.Instances, s.Shared = p.l.Name, p.l.Stream, p.l.Instances, p.l.Together != Apart
	s.Processes = p.running
	if p.l.Stream {
		s.Processes = len(p.processes)
	}
	if b.tick().Before(p.notBefore) {
		s.Fault = p.fault
	}
	return s
}

// Peek lists messages of a queue.
func (b *Broker) Peek(ctx context.Context, name string, look queue.Look) (list []Message, err error) {
	err = b.parts.DB.View(ctx, func(tx store.Tx) error {
		list = nil
		q, err := queue.Get(tx, name)
		if err != nil {
			return err
		}
		for m, err := range queue.Peek(tx, q.N, look) {
			if err != nil {
				return err
			}
			list = append(list, Message{Message: *m})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return list, b.addWork(ctx, list)
}

// Message returns a message with its body. If it is over, the error is of kind
// fault.NotFound.
func (b *Broker) Message(ctx context.Context, name string, id uint64) (*Message, error) {
	list := make([]Message, 1)
	err := b.parts.DB.View(ctx, func(tx store.Tx) error {
		q, err := queue.Get(tx, name)
		if err != nil {
			return err
		}
		m, err := queue.Load(tx, q.N, id)
		if err == nil {
			list[0] = Message{Message: *m}
		}
		return err
	})
	if err == nil {
		err = b.addWork(ctx, list)
	}
	return &list[0], err
}

// Working lists the messages of a queue that are in work, without bodies of more bytes than
// body says.
func (b *Broker) Working(ctx context.Context, name string, body int64) (list []Message, err error) {
	var ids []uint64
	err = b.look(ctx, func(context.Context) error {
		for id, w := range b.work {
			if w.line.Name == name {
				ids = append(ids, id)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(ids)
	err = b.parts.DB.View(ctx, func(tx store.Tx) error {
		list = nil
		q, err := queue.Get(tx, name)
		if err != nil {
			return err
		}
		for _, id := range ids {
			m, err := queue.Load(tx, q.N, id)
			if errors.Is(err, fault.NotFound) { // it is done meanwhile
				continue
			}
			if err != nil {
				return err
			}
			if int64(m.Size) > body {
				m.Body = nil
			}
			list = append(list, Message{Message: *m})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = b.addWork(ctx, list)
	return slices.DeleteFunc(list, func(m Message) bool { return !m.InWork }), err
}

// addWork adds who has messages in work.
func (b *Broker) addWork(ctx context.Context, list []Message) error {
	return b.look(ctx, func(context.Context) error {
		for i := range list {
			m := &list[i]
			if w := b.work[m.ID]; w != nil {
				m.InWork, m.Attempt, m.Since, m.Progress = true, w.attempt, w.since, w.progress
				if w.pool != nil {
					m.Listener = w.pool.l.Name
				}
			}
		}
		return nil
	})
}
