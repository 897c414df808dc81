package broker

import (
	"cmp"
	"context"
	crypto "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"activationd/internal/fault"
	"activationd/queue"
	"activationd/store"
)

// A hand is a listener that somebody has started. It is no process of the daemon, so no lock
// shows whether it lives: it lives while it is connected. When its connection ends, its
// messages return to their queues. If the daemon ends, the next daemon waits for it to connect
// again, as long as [patienceWithHands]. Its session identifies it to both daemons.
//
// The daemon cannot stop it, but asks it to give a message up that has reached its timeout or is
// cancelled, and hands the message to nobody else before it has answered. One that does not
// answer that within [patienceWithHands] loses the message and its connection.
type hand struct {
	session string
	who     Hand
	pool    *pool
	out     chan *work // has room for the window
	recall  chan *work // messages that it is to give up; has room for the window
	picked  []*work    // not handed over yet
	gone    chan struct{}
	deaf    chan struct{} // closed when it does not do as it is asked
	left    bool          // deaf is closed
}

// String says who started the listener, such as "by hand, root, pid 17".
func (h Hand) String() string {
	if h.PID == 0 {
		return "by hand, " + h.User
	}
	return fmt.Sprintf("by hand, %s, pid %d", h.User, h.PID)
}

// patienceWithHands is how long a daemon that was restarted waits until a listener that was
// started by hand connects again, and how long such a listener may take to give a message up.
const patienceWithHands = time.Minute

// A Delivery is what a listener that was started by hand is sent: first its session, then one
// message each.
type Delivery struct {
	Session string
	// Listener is the one that the configuration has for the first of the queues that has one; nil: none has.
	Listener *Listener

	Recall uint64 // the number of a message that the listener is to give up, and to answer for; 0: none

	Queue   string
	Message *queue.Message
	Attempt int
	Env     []string // variables for a process that gets the message
	Again   bool     // it had this message before it connected again
}

// Listen gives messages of queues to a listener that somebody has started: at most as many at once as
// window says. It answers by [Broker.Answer]. Listen returns nil when all its queues are gone, and an
// error when ctx is done or send fails; then the messages that it has not answered return to
// their queues, and the attempts count. A session is empty, or that of a connection that ended with the daemon.
func (b *Broker) Listen(ctx context.Context, who Hand, session string, names []string, window int, send func(Delivery) error) error {
	if len(names) == 0 || window < 1 || window > maxHandWindow {
		return fmt.Errorf("want at least one queue, and a window from 1 to %d: %w", maxHandWindow, fault.Invalid)
	}
	if len(session) > maxSession { // it is stored with each message
		return fmt.Errorf("session: want the one of a connection before, have %d characters: %w", len(session), fault.Invalid)
	}
	if session == "" {
		session = crypto.Text()
	}
	h := &hand{session: session, who: who, out: make(chan *work, window), recall: make(chan *work, window), gone: make(chan struct{}), deaf: make(chan struct{})}
	h.who.Since = b.parts.Now()
	var again []*work
	var l *Listener
	err := b.ask(ctx, func(ctx context.Context) (err error) {
		l, again, err = b.connect(ctx, h, names, window)
		return err
	})
	if err != nil {
		return err
	}
	defer func() {
		_ = b.ask(context.WithoutCancel(ctx), func(context.Context) error { // fails only if Run has ended
			b.disconnect(h)
			return nil
		})
	}()
	if err := send(Delivery{Session: session, Listener: l}); err != nil {
		return err
	}
	for _, w := range again {
		if err := send(Delivery{Queue: w.line.Name, Message: w.m, Attempt: w.attempt, Env: environment(w), Again: true}); err != nil {
			return err
		}
	}
	hand := func(w *work) error {
		if len(h.out)+1 == cap(h.out) { // there was no room
			b.poke()
		}
		return send(Delivery{Queue: w.line.Name, Message: w.m, Attempt: w.attempt, Env: environment(w)})
	}
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-b.over:
			return errOver
		case w := <-h.out:
			if err := hand(w); err != nil {
				return err
			}
		case w := <-h.recall:
			for len(h.out) > 0 { // the message goes first
				if err := hand(<-h.out); err != nil {
					return err
				}
			}
			if err := send(Delivery{Recall: w.id}); err != nil {
				return err
			}
		case <-h.deaf:
			return fmt.Errorf("a message was not given up within %v of its timeout, or of its cancellation: %w", patienceWithHands, fault.Conflict)
		case <-h.gone:
			return nil
		}
	}
}

// maxSession bounds the session that a client gives.
const maxSession = 64

// maxHandWindow bounds what a listener started by hand has at once.
const maxHandWindow = 1000

// connect enters a listener. It returns the messages that the listener had before the daemon was
// restarted.
func (b *Broker) connect(ctx context.Context, h *hand, names []string, window int) (l *Listener, again []*work, err error) {
	if other := b.hands[h.session]; other != nil {
		return nil, nil, fmt.Errorf("session %s is connected already: %w", h.session, fault.Conflict)
	}
	policy := queue.Policy{Attempts: 3, Backoff: time.Second, BackoffMax: time.Hour}
	h.pool = &pool{key: "by hand " + h.session, hand: h, dirty: true, l: &Listener{Name: "by hand", Instances: 1, Window: window, Policy: policy, Together: Strict}}
	for _, name := range names {
		var n uint64
		err := b.parts.DB.View(ctx, func(tx store.Tx) error {
			q, err := queue.Get(tx, name)
			if err == nil {
				n = q.N
			}
			return err
		})
		if err != nil {
			return nil, nil, err
		}
		ln := b.lines[n]
		switch {
		case ln == nil || ln.Deleting != nil:
			return nil, nil, fmt.Errorf("queue %s is being deleted, or is new; try again: %w", name, fault.Conflict)
		case ln.Builtin:
			return nil, nil, fmt.Errorf("queue %s is the daemon's own; nobody else may listen to it: %w", name, fault.Denied)
		}
		if l == nil && ln.pool != nil {
			l = ln.pool.l
		}
		h.pool.lines = append(h.pool.lines, ln)
	}
	for _, ln := range h.pool.lines {
		ln.hands = append(ln.hands, h.pool)
	}
	b.hands[h.session], b.pools[h.pool.key] = h, h.pool
	for _, w := range b.work {
		if w.session == h.session && !w.over {
			w.pool, w.ran, w.deadline = h.pool, true, time.Time{}
			w.adopt(b.listenerOfHand(w))
			if w.timeout > 0 {
				w.deadline = b.tick().Add(w.timeout)
			}
			if w.cancelled != "" || w.returning {
				b.recall(w, queue.HowStopped, "cancelled")
			}
			h.pool.running++
			again = append(again, w)
		}
	}
	return l, again, nil
}

// listenerOfHand returns the listener of the configuration whose rules (attempts, pauses, timeout) apply
// to a message although a listener that was started by hand has it.
func (b *Broker) listenerOfHand(w *work) *Listener {
	if w.line.pool != nil {
		return w.line.pool.l
	}
	if w.pool != nil {
		return w.pool.l
	}
	return &Listener{Policy: queue.Policy{Attempts: 3, Backoff: time.Second, BackoffMax: time.Hour}}
}

// disconnect removes a listener. What it has not answered returns to its queue.
func (b *Broker) disconnect(h *hand) {
	if b.hands[h.session] != h {
		return
	}
	delete(b.hands, h.session)
	delete(b.pools, h.pool.key)
	for _, ln := range h.pool.lines {
		ln.hands = deleteFrom(ln.hands, h.pool)
	}
	for _, w := range b.work {
		if w.session == h.session && !w.over {
			b.lost(w, queue.HowLost, "its listener, which was started by hand, has ended without an answer")
		}
	}
}

func deleteFrom[T comparable](list []T, what T) []T {
	kept := list[:0]
	for _, x := range list {
		if x != what {
			kept = append(kept, x)
		}
	}
	return kept
}

// leaveHands takes a queue that is gone from the listeners that were started by hand. One without
// queues ends.
func (b *Broker) leaveHands(ln *line) {
	for _, p := range ln.hands {
		if p.lines = deleteFrom(p.lines, ln); len(p.lines) == 0 {
			close(p.hand.gone)
		}
	}
	ln.hands = nil
}

// recall asks a listener that was started by hand to give a message up. If it has been asked
// before, or is not there, it loses the message.
func (b *Broker) recall(w *work, how, why string) {
	h := b.hands[w.session]
	if h == nil {
		b.lost(w, how, why)
		return
	}
	if w.recalled == "" {
		w.recalled, w.why, w.deadline = how, why, b.tick().Add(patienceWithHands)
		select {
		case h.recall <- w:
			return
		default: // it answers, but does not read
		}
	}
	if !h.left {
		h.left = true
		close(h.deaf)
	}
	b.lost(w, how, why)
}

// lost ends the attempt of a listener that was started by hand and has not answered.
func (b *Broker) lost(w *work, how, why string) {
	e := queue.Ending{Attempt: w.attempt, Started: w.since, Ended: b.parts.Now(), How: how, Exit: -1, Reason: why, Listener: w.by}
	b.settle(w, b.judge(w, e))
}

// handOver notes in the store who has the messages that were picked, and hands them over.
func (b *Broker) handOver(ctx context.Context, hands []*hand) error {
	if len(hands) == 0 {
		return nil
	}
	until := b.parts.Now().Add(patienceWithHands)
	err := b.parts.DB.Update(ctx, func(tx store.Tx) error {
		for _, h := range hands {
			for _, w := range h.picked {
				if _, err := queue.Hold(tx, w.line.N, w.id, w.attempt, h.session, until); err != nil {
					return err
				}
			}
		}
		return nil
	})
	for _, h := range hands {
		for _, w := range h.picked {
			if err != nil {
				b.finish(w)
				w.line.windows[w.m.Priority].add(headOf(w.m))
				continue
			}
			w.session, w.by = h.session, h.who.String()
			w.adopt(b.listenerOfHand(w))
			if w.timeout > 0 {
				w.deadline = b.tick().Add(w.timeout)
			}
			h.out <- w // there is room for the window
		}
		h.picked = nil
	}
	return err
}

// recoverHeld takes up the messages that listeners started by hand had. These listeners have some time
// to connect again.
func (b *Broker) recoverHeld(ctx context.Context) error {
	var held []*queue.Message
	err := b.parts.DB.View(ctx, func(tx store.Tx) error {
		held = nil
		for _, ref := range queue.Holds(tx) {
			m, err := queue.Load(tx, ref.Queue, ref.Seq)
			if err != nil && !errors.Is(err, fault.NotFound) {
				return err
			}
			if m != nil && m.State.Held != nil {
				held = append(held, m)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, m := range held {
		ln := b.lines[m.Queue]
		if ln == nil || b.work[m.ID] != nil {
			continue
		}
		w := &work{id: m.ID, line: ln, m: m, attempt: m.State.Attempts + 1, session: m.State.Held.Who, by: "by hand", since: b.parts.Now()}
		if c := m.State.Cancel; c != nil {
			w.cancelled = cmp.Or(c.By, somebody)
		}
		w.adopt(b.listenerOfHand(w))
		w.deadline = b.tick().Add(patienceWithHands)
		b.begin(w)
	}
	return nil
}

// A Reply is what a listener that was started by hand answers.
type Reply struct {
	queue.Ending               // how its attempt has ended
	Result       []byte        // if the message is done
	Dead         bool          // it becomes a dead letter at once
	After        time.Duration // the pause before the next attempt; 0: as the listener of the configuration says
}

// Answer takes the answer of a listener that was started by hand. Ok is false if the message is not this
// listener's any more; then nothing changes. When Answer returns, the answer is on disk.
func (b *Broker) Answer(ctx context.Context, session string, id uint64, attempt int, r Reply) (ok bool, err error) {
	done := make(chan struct{})
	err = b.ask(ctx, func(context.Context) error {
		w := b.work[id]
		if w == nil || w.session != session || w.attempt != attempt || w.over {
			return nil
		}
		ok = true
		e := r.Ending
		e.Attempt, e.Started, e.Ended, e.Listener = attempt, w.since, b.parts.Now(), w.by
		if w.recalled != "" && w.policy.Decide(attempt, e, rand.Int64N).Verdict != queue.VerdictDone {
			e.How, e.Reason, r.Dead, r.After = w.recalled, w.why, false, 0
		}
		o := b.judge(w, e)
		switch {
		case r.Dead:
			o.verdict, o.count = queue.VerdictDead, true
		case o.verdict == queue.VerdictFault: // it is this listener that cannot run, not the configured one
			o.verdict = queue.VerdictAgain
			o.after = firstPause
		case o.verdict == queue.VerdictAgain && r.After > 0:
			o.after = r.After
		}
		o.result = r.Result
		o.done = append(o.done, func() { close(done) })
		b.settle(w, o)
		return nil
	})
	if err != nil || !ok {
		return ok, err
	}
	select {
	case <-done:
		return true, nil
	case <-ctx.Done():
		return true, context.Cause(ctx)
	case <-b.over:
		return true, errOver
	}
}
