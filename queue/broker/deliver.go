package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"activationd/internal/fault"
	"activationd/internal/trace"
	"activationd/queue"
	"activationd/store"
	"activationd/supervisor"
)

// A work is a message in work: one attempt.
type work struct {
	id      uint64
	line    *line
	pool    *pool
	m       *queue.Message
	attempt int
	keep    time.Duration
	policy  queue.Policy
	since   time.Time
	by      string // what has it: "run", "daemon" or a listener

	run           supervisor.Key // of a message with a process of its own
	process       *process       // a stream listener's
	stop          context.CancelFunc
	session       string // of a listener started by hand
	recalled, why string // how and why that was asked to give it up

	timeout   time.Duration
	deadline  time.Time // of a stream listener's answer; zero: none
	progress  string
	bodyFile  string
	cancelled string // who cancelled it
	over      bool   // its outcome is pending
	ran       bool   // it counts as one of the pool's running
	released  bool   // it does not count as one of its listener's any more
	sent      bool   // the process may have it
	doubtful  bool   // a daemon has died that may have sent it, or not
	returning bool   // it is to be moved to another queue: its end does not count
}

// messagePhase is the phase of the run of a message.
const messagePhase = "message"

// messageKey names the run of an attempt.
func messageKey(n, id uint64, attempt int) supervisor.Key {
	return supervisor.Key{ID: strconv.FormatUint(n, 10) + "-" + strconv.FormatUint(id, 10), Phase: messagePhase, N: attempt}
}

// parseMessageKey reads what messageKey made.
func parseMessageKey(k supervisor.Key) (n, id uint64, ok bool) {
	queue, message, _ := strings.Cut(k.ID, "-")
	n, err1 := strconv.ParseUint(queue, 10, 64)
	id, err2 := strconv.ParseUint(message, 10, 64)
	return n, id, err1 == nil && err2 == nil && k.Phase == messagePhase
}

// free is how many messages the pool has room for.
func (p *pool) free(tick time.Time) (n int) {
	if p.hand != nil { // it may not have read yet what was taken from it again
		return min(p.l.Window-p.running, cap(p.hand.out)-len(p.hand.out))
	}
	if !p.l.Stream && tick.Before(p.notBefore) {
		return 0
	}
	if !p.l.Stream {
		return p.l.Instances - p.running
	}
	for _, s := range p.processes {
		n += max(0, s.free())
	}
	return n
}

// deliver starts and ends processes, and hands out messages, as many as there is room for.
func (b *Broker) deliver(ctx context.Context) error {
	now, tick := b.parts.Now(), b.tick()
	var dirty []*pool
	for _, p := range b.pools {
		if !p.dirty {
			continue
		}
		if p.l.Stream || len(p.processes) > 0 {
			b.manage(p)
		}
		if p.free(tick) > 0 {
			dirty = append(dirty, p)
		} else {
			p.dirty = p.hand != nil && len(p.hand.out) > 0 // it pokes when it has read
		}
		b.forget(p)
	}
	if len(dirty) == 0 {
		return nil
	}
	picks, err := b.pick(ctx, dirty, now)
	if err != nil {
		return err
	}
	if len(picks) == maxTurn {
		b.poke()
	}
	processes := make(map[*process]bool)
	var hands []*hand
	for _, g := range picks {
		w := &work{id: g.m.ID, line: g.line, pool: g.pool, m: g.m, attempt: g.m.State.Attempts + 1, since: now}
		w.adopt(g.pool.l)
		var err error
		if c := g.m.State.Cancel; c != nil { // a daemon died while it was being cancelled
			b.begin(w)
			w.cancelled = cmp.Or(c.By, somebody)
			b.settle(w, &outcome{w: w, verdict: queue.VerdictAgain})
			continue
		}
		if h := g.pool.hand; h != nil {
			b.begin(w)
			h.picked = append(h.picked, w)
			hands = append(hands, h)
			continue
		}
		if g.pool.l.Stream {
			s := g.pool.freest()
			if err = b.give(s, w); err == nil {
				processes[s] = true
			}
			b.begin(w)
		} else {
			b.begin(w)
			err = b.start(w)
		}
		if err != nil {
			b.notStarted(w, err)
		}
	}
	if err := b.journal.flush(b.journalNow); err != nil {
		for s := range processes {
			b.takeBack(s)
		}
		return fmt.Errorf("%w: %w", err, fault.Unavailable)
	}
	for s := range processes {
		b.send(s)
	}
	b.flushMarks()
	return b.handOver(ctx, hands)
}

// flushMarks writes those notes of the journal that need not be there before something else is
// done.
func (b *Broker) flushMarks() {
	if !b.ready { // the file has what is not known yet
		return
	}
	if err := b.journal.flush(b.journalNow); err != nil && b.logs.may(b.tick()) {
		b.parts.Log.Error("queues: cannot write", "err", err)
	}
}

// freest returns the process with the most room.
func (p *pool) freest() *process {
	return slices.MaxFunc(p.processes, func(a, b *process) int { return cmp.Compare(a.free(), b.free()) })
}

// journalNow notes all that a journal has to say now.
func (b *Broker) journalNow(j *journal) {
	for _, s := range b.processes {
		for _, sent := range []bool{true, false} {
			for _, w := range s.works {
				if was := w.sent && !w.doubtful; was == sent {
					j.give(given{run: s.key, queue: w.line.N, id: w.id, attempt: w.attempt})
				}
			}
			if sent {
				j.sent(s.key)
			}
		}
		if s.stopped {
			var guilty uint64
			if s.guilty != nil {
				guilty = s.guilty.id
			}
			j.stopped(s.key, guilty)
		}
	}
}

// takeBack takes back what was not sent to a process.
func (b *Broker) takeBack(s *process) {
	var left []unsent
	for _, u := range s.unsent {
		if u.w == nil {
			left = append(left, u)
			continue
		}
		if u.w.over {
			continue
		}
		b.finish(u.w)
		u.w.line.windows[u.w.m.Priority].add(headOf(u.w.m))
	}
	s.unsent = left
}

// pick chooses messages for pools that have room.
func (b *Broker) pick(ctx context.Context, pools []*pool, now time.Time) (all []pick, err error) {
	giveBack := func() {
		for _, g := range all {
			g.line.windows[g.priority].add(g.head)
		}
		all = all[:0]
	}
	err = b.parts.DB.View(ctx, func(tx store.Tx) error {
		giveBack() // if this runs again
		for _, p := range pools {
			ordered := make(map[*line]bool)
			p.dirty = true
			for n := p.free(b.tick()); n > 0 && len(all) < maxTurn; n-- {
				g, err := b.choose(tx, p, now, ordered)
				if err != nil {
					return err
				}
				if g == nil {
					p.dirty = false
					break
				}
				ordered[g.line] = g.line.Ordered
				all = append(all, *g)
			}
		}
		return nil
	})
	if err != nil {
		giveBack()
	}
	return all, err
}

// adopt sets what a message has of its listener.
func (w *work) adopt(l *Listener) {
	w.policy, w.keep, w.timeout = l.Policy, l.Keep, l.Timeout
	if w.m.Timeout > 0 {
		w.timeout = w.m.Timeout
	}
	if w.m.New.Attempts > 0 {
		w.policy.Attempts = w.m.New.Attempts
	}
	if w.m.Keep > 0 {
		w.keep = w.m.Keep
	}
}

// begin notes that a message is in work.
func (b *Broker) begin(w *work) {
	b.work[w.id] = w
	w.line.inWork++
	if w.pool != nil && w.process == nil && !w.pool.l.Stream {
		w.ran = true
		w.pool.running++
	}
}

// release makes room for the next message. What became of this one is not recorded yet: the
// listener need not wait for that.
func (w *work) release() {
	if w.released {
		return
	}
	w.released = true
	if w.process != nil {
		w.process.busy--
	} else if w.ran {
		w.pool.running--
	}
	if w.pool != nil {
		w.pool.dirty = true
	}
}

// finish notes that a message is no longer in work.
func (b *Broker) finish(w *work) {
	w.release()
	delete(b.work, w.id)
	if w.run != (supervisor.Key{}) {
		delete(b.runs, w.run)
	}
	if s := w.process; s != nil {
		delete(s.works, w.id)
		if w.bodyFile != "" {
			_ = os.Remove(w.bodyFile) // the end of the listener removes it otherwise
		}
	}
	w.line.inWork--
	w.line.touch()
	if p := w.pool; p != nil {
		p.dirty = true
		b.forget(p)
	}
}

// start gives a message to a process of its own, or has it done in this process.
func (b *Broker) start(w *work) error {
	l := w.pool.l
	if l.Do != nil {
		w.by = "daemon"
		var ctx context.Context
		ctx, w.stop = context.WithCancel(b.ctx)
		m, attempt := w.m, w.attempt
		b.helpers.Go(func() {
			result, e := l.Do(ctx, m, attempt)
			select {
			case b.ends <- &end{id: m.ID, attempt: attempt, result: result, e: e}:
			case <-b.ctx.Done():
			}
		})
		return nil
	}
	spec, err := l.Prepare()
	if err != nil {
		return err
	}
	k := messageKey(w.line.N, w.id, w.attempt)
	if err := b.remove(b.ctx, k); err != nil { // of an attempt that did not count
		return fmt.Errorf("the directory of the last attempt cannot be removed: %w: %w", err, fault.Unavailable)
	}
	spec.Stdin, spec.Timeout, spec.Grace = w.m.Body, w.timeout, l.Grace
	spec.Env = append(spec.Env[:len(spec.Env):len(spec.Env)], environment(w)...)
	if l.Fill != nil {
		if err := l.Fill(&spec, w.m); err != nil {
			return err
		}
	}
	if err := b.parts.Runs.Start(k, spec); err != nil {
		return err
	}
	w.by, w.run = "run", k
	b.runs[k] = w
	return nil
}

// environment are the variables that tell a process about its message.
func environment(w *work) []string {
	env := []string{
		"QUEUE=" + w.line.Name,
		"MESSAGE_ID=" + strconv.FormatUint(w.id, 10),
		"MESSAGE_ATTEMPT=" + strconv.Itoa(w.attempt),
		"MESSAGE_FENCE=" + strconv.FormatUint(w.id*fenceStep+uint64(w.attempt), 10),
	}
	for name, v := range w.m.Headers {
		env = append(env, headerVar(name)+"="+v)
	}
	if t := w.m.Headers[trace.Header]; trace.Valid(t) {
		env = append(env, trace.Variable+"="+t)
	}
	return env
}

// fenceStep is more than most messages have attempts, so that fences of different messages
// differ, too. Only the order of the fences of one message is promised.
const fenceStep = 1 << 10

// headerVar is the variable for a header: HEADER_CONTENT_TYPE for content-type.
func headerVar(name string) string {
	return "HEADER_" + strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, name)
}

// How long a pool waits after a process could not be started.
const (
	firstPause = time.Second
	lastPause  = time.Minute
)

// notStarted returns a message that could not be given to a listener. That costs no
// attempt. If trying again later cannot help, the queue is paused.
func (b *Broker) notStarted(w *work, err error) {
	if errors.Is(err, errTooLong) { // that is the message's fault
		b.settle(w, &outcome{w: w, verdict: queue.VerdictDead, count: true, e: queue.Ending{
			Attempt: w.attempt, Ended: b.parts.Now(), Exit: -1, How: queue.HowError,
			Reason: fmt.Sprintf("its headers do not fit into a line of %d bytes, which a stream listener is given", maxRequest),
		}})
		return
	}
	if errors.Is(err, fault.Unavailable) {
		p := w.pool
		b.backOff(p, err.Error())
		b.parts.Log.Warn("queues: cannot start a listener now; trying again", "queue", w.line.Name, "err", err, "at", p.notBefore)
		b.finish(w)
		w.line.windows[w.m.Priority].add(headOf(w.m))
		return
	}
	b.parts.Log.Error("queues: a listener cannot run", "queue", w.line.Name, "err", err)
	b.settle(w, &outcome{w: w, verdict: queue.VerdictFault, e: queue.Ending{Attempt: w.attempt, Ended: b.parts.Now(), Exit: -1, How: queue.HowFailed, Reason: fmt.Sprintf("its listener cannot run: %v", err)}})
}

func headOf(m *queue.Message) queue.Head {
	return queue.Head{Seq: m.ID, Priority: m.Priority, Pushed: m.PushedAt, Attempts: m.State.Attempts}
}
