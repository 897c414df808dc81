package broker

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"activationd/internal/fault"
	"activationd/queue"
	"activationd/store"
)

// A pool is the processes of a listener that serve the same queues. It has nothing to do with
// package queue/pools.
type pool struct {
	key   string
	l     *Listener
	lines []*line // in the order of the listener's patterns, then by name
	// running are the messages that have a process each.
	running   int
	processes []*process // of a stream listener
	hand      *hand      // it was started by hand; nil: it was not
	// No process is started before notBefore: the last ones could not be.
	notBefore time.Time
	failures  int
	fault     string // why not
	dirty     bool   // a message may be handed out
}

// poolKey names the pool of a queue.
func poolKey(l *Listener, name string) string {
	if l.Together != Apart {
		return l.Name
	}
	return l.Name + " " + name
}

// enter puts a line into the pool that serves it, or into none.
func (b *Broker) enter(ln *line) {
	l, _, why := b.set.listenerOf(ln.Name)
	b.leave(ln)
	ln.why = why
	if l == nil {
		return
	}
	key := poolKey(l, ln.Name)
	p := b.pools[key]
	if p == nil {
		p = &pool{key: key}
		b.pools[key] = p
	}
	p.l, ln.pool, ln.credit = l, p, 0
	order := func(a, b *line) int {
		pa, _ := l.serves(a.Name)
		pb, _ := l.serves(b.Name)
		return cmp.Or(cmp.Compare(pa, pb), cmp.Compare(a.Name, b.Name))
	}
	i, _ := slices.BinarySearchFunc(p.lines, ln, order)
	p.lines = slices.Insert(p.lines, i, ln)
	p.dirty = true
	if q := ln.Paused; q != nil && q.Fault && q.Version != "" && q.Version != l.version() {
		b.pending = append(b.pending, &outcome{line: ln, resume: true})
		p.notBefore, p.failures = time.Time{}, 0
	}
}

// leave takes a line out of its pool. A pool without lines and processes is forgotten.
func (b *Broker) leave(ln *line) {
	p := ln.pool
	if p == nil {
		return
	}
	p.lines = slices.DeleteFunc(p.lines, func(other *line) bool { return other == ln })
	ln.pool, p.dirty = nil, true
	b.forget(p)
}

func (b *Broker) forget(p *pool) {
	if b.pools[p.key] == p && p.hand == nil && len(p.lines) == 0 && p.running == 0 && len(p.processes) == 0 {
		delete(b.pools, p.key)
	}
}

// reconfigure assigns all queues to the listeners that the settings have now.
func (b *Broker) reconfigure() {
	for _, ln := range b.lines {
		b.enter(ln)
	}
}

// A pick is a message that is about to be handed out.
type pick struct {
	pool     *pool
	line     *line
	priority int
	head     queue.Head
	m        *queue.Message
}

// choose takes the next message of the pool; nil: there is none. It leaves out some queues.
func (b *Broker) choose(tx store.Tx, p *pool, now time.Time, without map[*line]bool) (*pick, error) {
	for {
		ln, priority, others := b.turnOf(tx, p, now, without)
		if ln == nil {
			return nil, nil
		}
		w := &ln.windows[priority]
		head := w.heads[0]
		m, err := queue.Load(tx, ln.N, head.Seq)
		if errors.Is(err, fault.NotFound) || err == nil && m.Where != queue.Ready { // cancelled meanwhile, or handed out and finished
			w.heads = w.heads[1:]
			continue
		}
		if err != nil {
			return nil, err
		}
		w.heads = w.heads[1:] // only when nothing can fail any more
		weigh(p.l, ln, others)
		return &pick{p, ln, priority, head, m}, nil
	}
}

// turnOf returns the queue from which the next message is taken, and its priority; nil: no
// queue has one. With weights, it also returns all queues that have one.
func (b *Broker) turnOf(tx store.Tx, p *pool, now time.Time, without map[*line]bool) (best *line, priority int, having []*line) {
	for _, ln := range p.lines {
		if without[ln] || !b.open(ln) {
			continue
		}
		for i := range ln.windows {
			ln.windows[i].fill(tx, ln.N, i, b.inWork)
		}
		pr, ok := ln.next(now, p.l.MaxWait)
		if !ok {
			ln.credit = 0 // a queue without messages saves no turns
			continue
		}
		if p.l.Together != Weighted {
			return ln, pr, nil
		}
		having = append(having, ln)
		if best == nil || ln.credit+p.l.weight(ln.Name) > best.credit+p.l.weight(best.Name) {
			best, priority = ln, pr
		}
	}
	return best, priority, having
}

// weigh notes that a message of a line was taken. So that each line gets its share, every line
// that has a message is credited with its weight, and the line that was taken pays the sum of
// these weights.
func weigh(l *Listener, taken *line, having []*line) {
	total := 0
	for _, ln := range having {
		w := l.weight(ln.Name)
		ln.credit += w
		total += w
	}
	taken.credit -= total
}

func (b *Broker) inWork(id uint64) bool { return b.work[id] != nil }
