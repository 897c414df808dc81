package broker

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"time"

	"activationd/internal/fault"
	"activationd/queue"
	"activationd/store"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// An end is how an attempt without a run of its own ended.
type end struct {
	id      uint64
	attempt int
	result  []byte
	e       queue.Ending
}

// An outcome is what becomes of a message after an attempt.
type outcome struct {
	w       *work
	line    *line // without a message: it is paused, or resumed; nil: nothing is recorded
	resume  bool
	paused  *queue.Queue // as it is stored then; nil: that has not changed
	verdict queue.Verdict
	count   bool          // the attempt counts
	after   time.Duration // [queue.VerdictAgain]: the pause before the next attempt
	result  []byte
	e       queue.Ending
	kept    time.Time // until when its result is kept
	late    bool      // it changed nothing
	done    []func()  // after it is recorded
}

// outputTail is how much of the output is kept of an attempt that failed, and resultHead how
// much of it is a result.
const (
	outputTail = 16 << 10
	resultHead = 64 << 10
)

// exited handles the end of a run.
func (b *Broker) exited(x supervisor.Exit) {
	if len(x.Result.Hung) > 0 { // another one follows when these processes are gone
		return
	}
	if s := b.processes[x.Key]; s != nil {
		s.result = &x.Result
		s.pool.dirty = true
		b.gone(s)
		return
	}
	w := b.runs[x.Key]
	if b.orphans[x.Key] {
		delete(b.orphans, x.Key)
		b.discard(x.Key)
		return
	}
	if w == nil {
		b.parts.Log.Error("queues: the end of an unknown run", "run", x.Key)
		return
	}
	b.runEnded(w, &x.Result)
}

// A limiter keeps a line that could be logged very often from filling the log.
type limiter struct{ next time.Time }

// may reports whether a line may be logged now: one in a minute.
func (l *limiter) may(now time.Time) bool {
	if now.Before(l.next) {
		return false
	}
	l.next = now.Add(time.Minute)
	return true
}

// runEnded decides what becomes of a message whose process has ended.
func (b *Broker) runEnded(w *work, r *wrapper.Result) {
	e := queue.Ending{Attempt: w.attempt, Started: r.Started, Ended: r.Ended, How: r.Reason, Exit: -1, Signal: r.SignalName(), Reason: r.Text}
	if status, ok := r.ExitStatus(); ok {
		e.Exit = status
	}
	o := b.judge(w, e)
	if o.verdict != queue.VerdictDone {
		o.e.Output = string(b.output(w.run, -outputTail))
	} else if w.keep > 0 {
		o.result, o.e.File = b.resultOf(w.run)
	}
	run := w.run
	o.done = append(o.done, func() {
		if o.e.File != "" && !o.late {
			b.kept[run] = o.kept
			return
		}
		b.discard(run)
	})
	b.settle(w, o)
}

// judge decides by the listener's policy.
func (b *Broker) judge(w *work, e queue.Ending) *outcome {
	d := w.policy.Decide(w.attempt, e, rand.Int64N)
	if w.returning && d.Verdict != queue.VerdictDone { // it is moved to another queue
		d = queue.Decision{Verdict: queue.VerdictAgain}
	}
	return &outcome{w: w, verdict: d.Verdict, count: d.Count, after: d.After, e: e}
}

// ended handles the end of an attempt without a run of its own. If it is not the current
// attempt, nothing changes.
func (b *Broker) ended(e *end) {
	w := b.work[e.id]
	if w == nil || w.attempt != e.attempt || w.over {
		b.ignore("message", e.id, "attempt", e.attempt)
		return
	}
	o := b.judge(w, e.e)
	o.result = e.result
	b.settle(w, o)
}

// settle has an outcome recorded in the next transaction.
func (b *Broker) settle(w *work, o *outcome) {
	w.over = true
	w.release()
	b.pending = append(b.pending, o)
	b.poke()
}

// output reads the beginning of a run's output, or its end if most is negative.
func (b *Broker) output(k supervisor.Key, most int) []byte {
	f, err := b.parts.Runs.Open(k, wrapper.LogFile)
	if err != nil {
		if !errors.Is(err, os.ErrNotExist) {
			b.parts.Log.Error("cannot read the output of a delivery", "run", k, "err", err)
		}
		return nil
	}
	defer func() { _ = f.Close() }()
	if most < 0 {
		most = -most
		if at, err := f.Seek(0, io.SeekEnd); err == nil {
			_, err = f.Seek(max(0, at-int64(most)), io.SeekStart)
			if err != nil {
				return nil
			}
		}
	}
	data, err := io.ReadAll(io.LimitReader(f, int64(most)))
	if err != nil {
		b.parts.Log.Error("cannot read the output of a delivery", "run", k, "err", err)
	}
	return data
}

// record writes the pending outcomes, as many as fit, in one transaction.
func (b *Broker) record(ctx context.Context) error {
	for len(b.pending) > 0 {
		ops, _ := store.Limits(b.parts.DB)
		part := b.pending[:min(len(b.pending), maxTurn, max(1, ops/opsOfOutcome))]
		now := b.parts.Now()
		err := b.parts.DB.Update(ctx, func(tx store.Tx) error {
			for _, o := range part {
				if err := o.write(tx, now); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		b.pending = b.pending[len(part):]
		for _, o := range part {
			b.recorded(o, now)
		}
	}
	b.pending = nil
	for _, o := range b.acknowledge {
		b.consume(o)
	}
	b.acknowledge = nil
	return nil
}

// opsOfOutcome is how many keys an outcome writes at most.
const opsOfOutcome = 24

// write records an outcome.
func (o *outcome) write(tx store.Tx, now time.Time) (err error) {
	o.paused = nil // this may run again
	w := o.w
	switch {
	case w == nil && o.line == nil:
		return nil
	case w == nil && o.resume:
		o.paused, err = resume(tx, now, o.line.Name)
		return err
	case w == nil:
		o.paused, err = pause(tx, now, o.line, 0, o.e)
		return err
	}
	n, id := w.line.N, w.id
	if w.cancelled != "" && o.verdict != queue.VerdictDone {
		_, err := queue.Cancel(tx, now, n, id, w.cancelled, false, w.keep)
		if errors.Is(err, fault.NotFound) || errors.Is(err, fault.Conflict) { // it is over
			return nil
		}
		return err
	}
	switch o.verdict {
	case queue.VerdictDone:
		ok, err := queue.Done(tx, now, n, id, w.attempt, o.result, w.keep, o.e)
		o.late, o.kept = !ok, now.Add(w.keep)
		return err
	case queue.VerdictDead:
		if ok, err := queue.Bury(tx, now, n, id, w.attempt, o.e); err != nil || !ok {
			return err
		}
		return queue.Notify(tx, queue.Notice{What: queue.NoticeDead, Queue: w.line.Name, N: n, Message: id, Time: now, Attempts: w.attempt, Reason: o.e.Text()})
	case queue.VerdictFault:
		if _, err := queue.Return(tx, now, n, id, w.attempt, false, time.Time{}, &o.e); err != nil {
			return err
		}
		o.paused, err = pause(tx, now, w.line, id, o.e)
		return err
	default:
		at := time.Time{}
		if o.after > 0 {
			at = now.Add(o.after)
		}
		e := &o.e
		if e.How == "" { // nothing has happened
			e = nil
		}
		_, err := queue.Return(tx, now, n, id, w.attempt, o.count, at, e)
		return err
	}
}

// pause pauses a queue whose listener cannot run, unless it is paused already. It returns the queue
// if it has changed.
func pause(tx store.Tx, now time.Time, ln *line, id uint64, e queue.Ending) (*queue.Queue, error) {
	q, err := queue.ByNumber(tx, ln.N)
	if errors.Is(err, fault.NotFound) || err == nil && (q.Deleting != nil || q.Paused != nil) {
		return nil, nil //nolint:nilnil // nothing has changed
	}
	p := &queue.Paused{By: "activationd", Reason: whyFaulty(e), At: now, Fault: true}
	if ln.pool != nil {
		p.Version = ln.pool.l.version()
	}
	if err == nil {
		q, err = queue.SetPaused(tx, ln.Name, p)
	}
	if err != nil {
		return nil, err
	}
	return q, queue.Notify(tx, queue.Notice{What: queue.NoticePaused, Queue: ln.Name, N: ln.N, Message: id, Time: now, Reason: whyFaulty(e)})
}

// resume ends the pause of a queue whose time has come, or whose listener could not run, and has
// changed since.
func resume(tx store.Tx, now time.Time, name string) (*queue.Queue, error) {
	q, err := queue.Get(tx, name)
	if errors.Is(err, fault.NotFound) || err == nil && (q.Paused == nil || !q.Paused.Fault && !q.Paused.Over(now)) {
		return nil, nil //nolint:nilnil // nothing has changed
	}
	why := "its listener has changed"
	if err == nil && !q.Paused.Fault {
		why = "its pause has ended"
	}
	if err == nil {
		q, err = queue.SetPaused(tx, name, nil)
	}
	if err != nil {
		return nil, err
	}
	return q, queue.Notify(tx, queue.Notice{What: queue.NoticeResumed, Queue: name, Time: now, Reason: why})
}

func whyFaulty(e queue.Ending) string {
	if e.Reason != "" {
		return e.Reason
	}
	return "its listener ended with status " + strconv.Itoa(e.Exit)
}

// recorded carries out what follows from an outcome that is in the store.
func (b *Broker) recorded(o *outcome, now time.Time) {
	w := o.w
	if o.verdict == queue.VerdictDead || o.paused != nil {
		b.tell()
	}
	if w != nil {
		b.finish(w)
	}
	for _, then := range o.done {
		then()
	}
	ln := o.line
	if w != nil {
		ln = w.line
	}
	if ln != nil && o.paused != nil {
		ln.Paused = o.paused.Paused
		ln.touch()
	}
	if w == nil {
		return
	}
	switch {
	case w.cancelled != "" || o.verdict == queue.VerdictDone || o.verdict == queue.VerdictDead:
		b.tellOver(w.id, w.cancelled != "" && o.verdict != queue.VerdictDone)
		if w.keep > 0 {
			b.dueAt(now.Add(w.keep))
		}
	case o.verdict == queue.VerdictAgain && o.after > 0 && !w.line.Ordered:
		b.dueAt(now.Add(o.after))
	default:
		if o.count {
			w.m.State.Attempts = w.attempt
		}
		h := headOf(w.m)
		if w.line.Ordered && o.after > 0 {
			h.NotBefore = now.Add(o.after)
		}
		w.line.windows[w.m.Priority].add(h)
	}
	if o.answered() && w.pool != nil {
		w.pool.failures = 0
	}
}

// answered reports whether a listener has worked on the message: so it can run. A process that
// ends without an answer may end at once each time.
func (o *outcome) answered() bool {
	switch o.e.How {
	case queue.HowExited, queue.HowTimedOut, queue.HowError:
		return true
	}
	return false
}

// dueAt notes when something in the store is due.
func (b *Broker) dueAt(at time.Time) {
	if b.nextDue.IsZero() || at.Before(b.nextDue) {
		b.nextDue = at
	}
}
