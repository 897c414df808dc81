package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

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
		return fmt.Errorf("runs of an earlier daemon: %w: %w", err, fault.Unavailable)
	}
	slices.SortFunc(keys, func(a, b supervisor.Key) int { return a.N - b.N })
	if err := b.recoverHeld(ctx); err != nil {
		return err
	}
	noted, err := readJournal(b.parts.Journal)
	if err != nil {
		return err
	}
	if noted.invalid > 0 {
		b.parts.Log.Error("queues: the journal of deliveries has invalid lines, which are ignored; this is harmless after a crash of the machine", "file", b.parts.Journal, "lines", noted.invalid)
	}
	for _, k := range keys {
		if b.adopted[k] { // by an earlier try
			continue
		}
		_, _, ofMessage := parseMessageKey(k)
		switch {
		case ofMessage:
			err = b.adopt(ctx, k)
		case k.Phase == listenerPhase:
			err = b.adoptProcess(ctx, k, &noted)
		default:
			b.parts.Log.Error("queues: a run directory is not that of a delivery or a listener; it is left alone", "run", k)
		}
		if err != nil {
			return err
		}
		b.adopted[k] = true
	}
	b.adopted = nil
	for _, ln := range b.lines {
		if d := ln.Deleting; d != nil && d.Now {
			b.stopAll(ln)
		}
	}
	return b.cancelRest(ctx)
}

// cancelRest finishes cancels that an earlier daemon began, for messages that are not in work any
// more.
func (b *Broker) cancelRest(ctx context.Context) error {
	var rest []queue.Ref
	err := b.parts.DB.View(ctx, func(tx store.Tx) error {
		rest = queue.Cancelling(tx)
		return nil
	})
	if err != nil {
		return err
	}
	for _, r := range rest {
		ln := b.lines[r.Queue]
		if ln == nil || b.inWork(r.Seq) {
			continue
		}
		m, err := b.load(ctx, r.Queue, r.Seq)
		if err != nil {
			return err
		}
		if m == nil || m.State.Cancel == nil {
			continue
		}
		w := &work{id: r.Seq, line: ln, m: m, attempt: m.State.Attempts + 1, since: b.parts.Now(), cancelled: cmp.Or(m.State.Cancel.By, somebody)}
		w.adopt(ln.listener())
		b.begin(w)
		b.settle(w, &outcome{w: w, verdict: queue.VerdictAgain})
	}
	return nil
}

// listener returns the listener of a line; if none serves it, one without any settings.
func (l *line) listener() *Listener {
	if l.pool != nil {
		return l.pool.l
	}
	return new(Listener)
}

// adoptProcess takes over a process of a stream listener from an earlier daemon, with the messages that
// it has in work.
func (b *Broker) adoptProcess(ctx context.Context, k supervisor.Key, noted *noted) error {
	s := &process{key: k, since: b.tick(), uid: -1, gid: -1}
	if i := strings.LastIndexByte(k.ID, '-'); i >= 0 { // the clock may have been set back
		number, _ := strconv.ParseInt(k.ID[i+1:], 36, 64)
		b.lastStart = max(b.lastStart, number)
	}
	for _, p := range b.pools {
		if p.l.Stream && strings.HasPrefix(k.ID, p.stem()) {
			s.pool = p
		}
	}
	if s.pool == nil { // no listener needs it any more; it may finish its messages
		s.pool = &pool{key: "former " + k.ID, l: &Listener{Stream: true, Grace: leastGrace}}
	}
	var works []*work
	for _, g := range noted.given {
		ln := b.lines[g.queue]
		if g.run != k || ln == nil || b.work[g.id] != nil {
			continue
		}
		m, err := b.load(ctx, g.queue, g.id)
		if err != nil {
			return err
		}
		if m != nil && m.State.Attempts >= g.attempt && !g.read { // it may be taken for one about the next attempt
			s.retire("a daemon ended before it removed its answer")
		}
		if m == nil || m.Where != queue.Ready || m.State.Attempts >= g.attempt {
			continue
		}
		w := &work{id: g.id, line: ln, pool: s.pool, m: m, attempt: g.attempt, process: s, by: k.String(), since: b.parts.Now(), sent: true, doubtful: !g.sent}
		w.adopt(s.pool.l)
		if ln.pool != nil {
			w.adopt(ln.pool.l)
		}
		if w.timeout > 0 {
			w.deadline = b.tick().Add(w.timeout)
		}
		if c := m.State.Cancel; c != nil {
			w.cancelled, w.deadline = cmp.Or(c.By, somebody), b.tick().Add(s.pool.l.Grace)
		}
		works = append(works, w)
	}
	b.pools[s.pool.key] = s.pool
	s.pool.dirty = true
	b.enlist(s)
	id, stopped := noted.stopped[k]
	s.stopped = stopped
	for _, w := range works {
		s.works[w.id] = w
		s.busy++
		b.begin(w)
		if w.doubtful {
			s.retire("a daemon ended while it gave it a message")
		}
		if stopped && w.id == id {
			s.guilty = w
		}
	}
	b.find(k)
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

// adopt takes over the run of a message from an earlier daemon. If the message has had a newer
// attempt since, the end of this run was recorded already, and is ignored.
func (b *Broker) adopt(ctx context.Context, k supervisor.Key) error {
	n, id, _ := parseMessageKey(k)
	if ln := b.lines[n]; ln != nil {
		m, err := b.load(ctx, n, id)
		if err != nil {
			return err
		}
		if m == nil {
			var until time.Time
			err := b.parts.DB.View(ctx, func(tx store.Tx) error {
				until = b.keptUntil(tx, k)
				return nil
			})
			if err != nil {
				return err
			}
			if !until.IsZero() { // it has ended, and its directory is what remains of it
				b.kept[k] = until
				return nil
			}
		}
		if m != nil && m.Where == queue.Ready && m.State.Attempts < k.N && b.work[id] == nil {
			w := &work{id: id, line: ln, m: m, attempt: k.N, run: k, by: "run", since: b.parts.Now(), pool: ln.pool}
			w.adopt(ln.listener())
			if c := m.State.Cancel; c != nil {
				w.cancelled = cmp.Or(c.By, somebody)
			}
			b.begin(w)
			b.runs[k] = w
		}
	}
	b.find(k)
	return nil
}

// find finds out what has become of a run of an earlier daemon. If that is not possible now, its
// messages stay in work, and it is tried again.
func (b *Broker) find(k supervisor.Key) {
	found, err := b.parts.Runs.Adopt(k)
	if err != nil && !errors.Is(err, fault.Conflict) { // a conflict: it is followed already
		if !b.unadopted[k] {
			b.parts.Log.Error("queues: cannot find out what has become of a run of an earlier daemon; trying again", "run", k, "err", err)
		}
		b.unadopted[k] = true
		b.adoptAt = b.tick().Add(retryPause)
		if s := b.processes[k]; s != nil {
			s.outdated = "nothing can be found out about it"
		}
		return
	}
	delete(b.unadopted, k)
	running := found.State == supervisor.Running
	r := found.Result
	r.Reason = cmp.Or(r.Reason, found.State.String())
	if r.Ended.IsZero() {
		r.Ended = b.parts.Now()
	}
	w, s := b.runs[k], b.processes[k]
	switch {
	case s != nil:
		if !running {
			s.result = &r
		}
		b.attach(s)
		if running && s.stopped && !s.killed {
			b.stopProcess(s)
		}
		b.gone(s)
	case w != nil && !running:
		b.runEnded(w, &r)
	case w != nil && w.cancelled != "":
		b.endAdopted(k)
	case w != nil:
	case running:
		b.parts.Log.Error("queues: a run is stopped because its message is gone", "run", k)
		b.orphans[k] = true
		b.endAdopted(k)
	default:
		b.discard(k)
	}
}

func (b *Broker) endAdopted(k supervisor.Key) {
	if err := b.parts.Runs.Stop(k); err != nil {
		b.parts.Log.Error("queues: cannot stop a run", "run", k, "err", err)
	}
}

// adoptAgain tries again to find out about runs of an earlier daemon.
func (b *Broker) adoptAgain() error {
	if len(b.unadopted) == 0 || b.tick().Before(b.adoptAt) {
		return nil
	}
	b.adoptAt = time.Time{}
	for _, k := range slices.Collect(maps.Keys(b.unadopted)) {
		b.find(k)
	}
	return nil
}
