package activation

import (
	"context"
	"slices"
	"strings"
	"time"

	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// An Observer measures attempts. Its methods are called by the goroutine of [Engine.Run], between a
// transaction and the starts that follow from it, so they must be quick.
type Observer interface {
	// Claimed is called for each attempt that is about to be started. Due is when its script should
	// start; zero: it has no time, as it is an instance of a service or undoes something.
	Claimed(key supervisor.Key, kind Kind, due time.Time)
	// Ended is called when the end of an attempt is recorded.
	Ended(End)
}

// An End is what an [Observer] learns of the end of an attempt.
type End struct {
	Key            supervisor.Key
	Kind           Kind
	Started, Ended time.Time // zero: it was not started, or the end is not known
	Outcome        string    // in a word: see [AttemptOutcomes]
	Service        string    // of which it is an instance
	Restarts       bool      // the instance is to run again
}

// AttemptOutcomes are how an attempt can end, in a word, for counts.
var AttemptOutcomes = []string{"succeeded", "failed", "timed_out", "stopped", "lost", "not_started"}

// outcomeWord returns how an attempt ended, as one of [AttemptOutcomes].
func outcomeWord(res *wrapper.Result) string {
	switch res.Reason {
	case wrapper.Exited:
		if res.Exit == 0 {
			return "succeeded"
		}
	case wrapper.TimedOut:
		return "timed_out"
	case wrapper.Stopped, wrapper.Disarmed:
		return "stopped"
	case wrapper.Lost:
		return "lost"
	case wrapper.NotStarted, wrapper.Void, wrapper.Unborn:
		return "not_started"
	}
	return "failed"
}

// observeClaim notes that an attempt is about to be started.
func (t *Txn) observeClaim(r *Record, a *Attempt) {
	if t.parts.Observer == nil {
		return
	}
	key, kind, due := supervisor.Key{ID: r.ID, Phase: a.Phase, N: a.N}, r.Kind, time.Time{}
	if a.Phase == Activate {
		due = t.shouldStart(r)
	}
	t.observed = append(t.observed, func(o Observer) { o.Claimed(key, kind, due) })
}

// shouldStart is when the next attempt of r should start: at its time, unless it had to wait for
// something else until now, or is tried again.
func (t *Txn) shouldStart(r *Record) time.Time {
	before := slices.ContainsFunc(r.Attempts, func(a Attempt) bool { return !a.Past })
	if before || r.Urgency != OnTime || r.WaitsOn != waitsOnRetry {
		return t.Now
	}
	if at := r.activateAt(); at.After(r.Created) {
		return at
	}
	return r.Created
}

// observeEnd notes the end of an attempt, when its activation is in its next state.
func (t *Txn) observeEnd(r *Record, a *Attempt) {
	if t.parts.Observer == nil {
		return
	}
	end := End{
		Key: supervisor.Key{ID: r.ID, Phase: a.Phase, N: a.N}, Kind: r.Kind,
		Started: a.Result.Started, Ended: a.Result.Ended, Outcome: outcomeWord(&a.Result),
	}
	if r.Serving != nil {
		end.Service = r.Serving.Service
		end.Restarts = r.State != Held && r.State != Finished && r.State != Stuck
	}
	t.observed = append(t.observed, func(o Observer) { o.Ended(end) })
}

// A Backlog is what waits.
type Backlog struct {
	Queued      int           // entries of queues for locks, devices and slots
	Waits       time.Duration // how long those that are first in these queues have waited at most
	Overdue     time.Duration // how late the engine is with what is due; 0: it is not
	Conflicting int           // reservations that are marked
}

// mostQueues bounds in how many queues [Engine.Backlog] looks for who has waited longest, and
// mostQueued how many entries of queues it counts.
const (
	mostQueues = 1000
	mostQueued = 100_000
)

// Backlog returns what waits. It reads few records, so it is fast however many activations there are.
func (e *Engine) Backlog(ctx context.Context) (b Backlog, err error) {
	err = e.View(ctx, func(t *Txn) error {
		b = Backlog{}
		if due := earliest(first(t, startKey), first(t, instantKey)); !due.IsZero() {
			b.Overdue = max(0, t.Late(due))
		}
		queues, last := 0, ""
		for k := range t.Scan(queueKey, "") {
			if b.Queued++; b.Queued >= mostQueued {
				break
			}
			lock, rest, _ := strings.Cut(strings.TrimPrefix(k, queueKey), "/")
			if lock == last {
				continue
			}
			last = lock
			if queues++; queues > mostQueues {
				continue
			}
			_, id, _ := strings.Cut(rest, "/")
			if r, err := t.Record(id); err == nil {
				b.Waits = max(b.Waits, t.Now.Sub(r.Since))
			}
		}
		for range t.Scan(conflictKey, "") {
			b.Conflicting++
		}
		return nil
	})
	return b, err
}
