package activation

import (
	"fmt"
	"time"

	"activationd/supervisor/wrapper"
)

// At most maxUnprovenStarts void attempts in a row are followed by another try: the
// first one at once, the others after a pause of at least minUnprovenPause, whatever the
// settings say. One more void attempt counts as lost. Otherwise a script that removes
// the traces of its start would be started again and again.
const (
	maxUnprovenStarts = 3
	minUnprovenPause  = time.Second
)

// maxStartPause bounds the pause before another try to start a run. The first pause is a
// second; it doubles each time.
const maxStartPause = time.Minute

func startPause(n int) time.Duration {
	return Defaults{BackoffFirst: time.Second, BackoffMax: maxStartPause}.backoff(n)
}

// verdict returns the trigger that follows from the end of an attempt, and counts the
// failure.
func (t *turn) verdict(r *Record, a *Attempt) Trigger {
	if r.policy().serves {
		return t.instanceVerdict(r, a)
	}
	res, d := a.Result, t.Settings.Of(r)
	r.RetryAt, r.RetryIn = time.Time{}, 0
	switch {
	case res.Reason == wrapper.Exited && res.Exit == 0:
		if !r.policy().ends {
			r.PendingOutcome, r.PendingReason = Succeeded, "" // also when it was asked to stop: it has done its work
		}
		return OK
	case res.Reason == wrapper.NotStarted, res.Reason == wrapper.Unborn, res.Reason == wrapper.Disarmed:
		if a.First {
			r.NeedsUndo = false // as before the claim
		}
		if res.Reason == wrapper.Disarmed {
			return Void
		}
		if r.FailedStarts++; res.Reason == wrapper.NotStarted || r.FailedStarts > 1 { // after the daemon's own death the first retry has no pause
			r.retryAfter(t.Now, startPause(r.FailedStarts))
		}
		return Void
	case res.Reason == wrapper.Void && r.UnprovenStarts < maxUnprovenStarts:
		// NeedsUndo stays: that nothing shows a start does not prove that there was none.
		if r.UnprovenStarts++; r.UnprovenStarts > 1 { // the first retry is at once, later ones have a pause
			r.retryAfter(t.Now, max(minUnprovenPause, d.backoff(r.UnprovenStarts-1)))
		}
		return Void
	case a.Phase == Activate && r.Stopped && r.PendingOutcome == "" && res.Reason == wrapper.Stopped:
		return Void // it was held at the last moment, and perhaps released since: that does not count as a try
	}
	if res.Reason == wrapper.Void {
		a.Result.Reason = wrapper.Lost
		a.Result.Text += fmt.Sprintf("; the %d attempts before it did the same: does the script remove its run directory, or kill its wrapper?", maxUnprovenStarts)
		res = a.Result
	}
	r.Tries++
	r.UnprovenStarts, r.FailedStarts = 0, 0
	if a.Phase == Deactivate {
		if r.Tries > t.Settings.retries(r, Deactivate) {
			return Spent
		}
		r.retryAfter(t.Now, d.backoff(r.Tries))
		return Again
	}
	if r.PendingOutcome != "" { // it was about to end anyway
		return Spent
	}
	if t.rebooted(a) && r.policy().ends && !r.slotEnded(t.Moment) {
		r.Comeback, r.PendingOutcome = serveAgain, Lost // undo what the power loss left, and serve the slot again
		return Spent
	}
	if r.Tries > t.Settings.retries(r, Activate) || r.tooLate(t.Moment) {
		r.PendingOutcome = outcomeOf(res.Reason)
		return Spent
	}
	if r.Backoff != nil {
		d.BackoffFirst = *r.Backoff
	}
	r.retryAfter(t.Now, d.backoff(r.Tries))
	return Again
}

// retryAfter sets the time of the next try.
func (r *Record) retryAfter(now time.Time, d time.Duration) { r.RetryAt, r.RetryIn = now.Add(d), d }

// backoff is the pause after the n-th failure in a row; n begins at 1.
func (d Defaults) backoff(n int) time.Duration {
	pause := d.BackoffFirst
	for ; n > 1 && pause < d.BackoffMax; n-- {
		pause *= 2
	}
	if d.BackoffMax > 0 {
		pause = min(pause, d.BackoffMax)
	}
	return pause
}

// retries is how many further attempts a phase of r has after a failed one.
func (s *Settings) retries(r *Record, phase string) int {
	switch {
	case phase == Deactivate:
		return s.Of(r).UndoRetries
	case r.Retries != nil:
		return *r.Retries
	}
	return s.Of(r).Retries
}

// outcomeOf is the outcome of an activation whose last attempt failed with a wrapper's
// reason.
func outcomeOf(reason string) Outcome {
	switch reason {
	case wrapper.TimedOut:
		return TimedOut
	case wrapper.Lost:
		return Lost
	}
	return Failed
}
