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

// An end is how an attempt ended that had no run of its own.
type end struct {
	id      uint64
	attempt int
	result  []byte
	e       queue.Ending
}

// An outcome is what becomes of a message after an attempt.
type outcome struct {
	w       *work
	line    *line // without a message: it is paused; nil: nothing is recorded
	verdict queue.Verdict
	count   bool          // the attempt counts
	after   time.Duration // [queue.VerdictAgain]: the pause before the next attempt
	result  []byte
	e       queue.Ending
	done    []func() // after it is recorded
}

// outputTail is how much of the output is kept of an attempt that failed, and resultHead how
// much of it is a result.
const (
	outputTail = 16 << 10
	resultHead = 64 << 10
)

// exited takes the end of a run.
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
	if w == nil {
		b.parts.Log.Error("queues: the end of an unknown run", "run", x.Key)
		return
	}
	b.runEnded(w, &x.Result)
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
		o.result = b.output(w.run, resultHead)
	}
	run := w.run
	o.done = append(o.done, func() {
		if !o.count && o.verdict != queue.VerdictDone { // the next attempt has the same name
			if err := b.parts.Runs.Remove(context.Background(), run); err != nil {
				b.parts.Log.Error("cannot remove the directory of a delivery", "run", run, "err", err)
			}
			return
		}
		select {
		case b.removals <- run:
		default: // very many wait: the next start finds it
		}
	})
	b.settle(w, o)
}

// judge decides by the listener's policy.
func (b *Broker) judge(w *work, e queue.Ending) *outcome {
	d := w.policy.Decide(w.attempt, e, rand.Int64N)
	return &outcome{w: w, verdict: d.Verdict, count: d.Count, after: d.After, e: e}
}

// ended takes the end of an attempt that had no run of its own. If it is not the current
// one, nothing changes.
func (b *Broker) ended(e *end) {
	w := b.work[e.id]
	if w == nil || w.attempt != e.attempt || w.over {
		b.parts.Log.Warn("queues: a late answer is ignored", "message", e.id, "attempt", e.attempt)
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
	for _, c := range b.acknowledge {
		close(c)
	}
	b.acknowledge = nil
	return nil
}

// opsOfOutcome is how many keys an outcome writes at most.
const opsOfOutcome = 24

// write records an outcome.
func (o *outcome) write(tx store.Tx, now time.Time) error {
	w := o.w
	if w == nil && o.line == nil {
		return nil
	}
	if w == nil {
		return pause(tx, now, o.line.Name, 0, o.e)
	}
	n, id := w.line.N, w.id
	if w.cancelled != "" && o.verdict != queue.VerdictDone {
		_, err := queue.Cancel(tx, now, n, id, w.cancelled, false, w.keep)
		return err
	}
	switch o.verdict {
	case queue.VerdictDone:
		_, err := queue.Done(tx, now, n, id, w.attempt, o.result, w.keep, o.e)
		return err
	case queue.VerdictDead:
		if _, err := queue.Bury(tx, now, n, id, w.attempt, o.e); err != nil {
			return err
		}
		return queue.Notify(tx, queue.Notice{What: "dead", Queue: w.line.Name, Message: id, Time: now, Reason: o.e.Reason})
	case queue.VerdictFault:
		if _, err := queue.Return(tx, now, n, id, w.attempt, false, time.Time{}, &o.e); err != nil {
			return err
		}
		return pause(tx, now, w.line.Name, id, o.e)
	default:
		at := time.Time{}
		if o.after > 0 {
			at = now.Add(o.after)
		}
		_, err := queue.Return(tx, now, n, id, w.attempt, o.count, at, &o.e)
		return err
	}
}

// pause pauses a queue whose listener cannot run.
func pause(tx store.Tx, now time.Time, name string, id uint64, e queue.Ending) error {
	if _, err := queue.SetPaused(tx, name, &queue.Paused{By: "activationd", Reason: whyFaulty(e), At: now, Fault: true}); err != nil {
		if errors.Is(err, fault.NotFound) || errors.Is(err, fault.Conflict) { // it has been deleted meanwhile
			return nil
		}
		return err
	}
	return queue.Notify(tx, queue.Notice{What: "paused", Queue: name, Message: id, Time: now, Reason: whyFaulty(e)})
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
	if o.verdict == queue.VerdictDead || o.verdict == queue.VerdictFault {
		b.tell()
	}
	if w != nil {
		b.finish(w)
	}
	for _, then := range o.done {
		then()
	}
	if w == nil && o.line == nil {
		return
	}
	if w == nil {
		o.line.Paused = &queue.Paused{By: "activationd", Reason: whyFaulty(o.e), At: now, Fault: true}
		o.line.touch()
		return
	}
	switch {
	case w.cancelled != "" || o.verdict == queue.VerdictDone || o.verdict == queue.VerdictDead:
		for _, c := range b.waiters[w.id] {
			close(c)
		}
		delete(b.waiters, w.id)
	case o.verdict == queue.VerdictAgain && o.after > 0 && !w.line.Ordered:
		b.dueAt(now.Add(o.after))
	default:
		if o.verdict == queue.VerdictFault {
			w.line.Paused = &queue.Paused{By: "activationd", Reason: whyFaulty(o.e), At: now, Fault: true}
		}
		if o.count {
			w.m.State.Attempts = w.attempt
		}
		h := headOf(w.m)
		if w.line.Ordered && o.after > 0 {
			h.NotBefore = now.Add(o.after)
		}
		w.line.windows[w.m.Priority].add(h)
	}
	if w.pool != nil && o.e.How != queue.HowNotStarted {
		w.pool.failures = 0
	}
}

// dueAt notes when something in the store is due.
func (b *Broker) dueAt(at time.Time) {
	if b.nextDue.IsZero() || at.Before(b.nextDue) {
		b.nextDue = at
	}
}
