package activation

import (
	"fmt"
	"strings"
	"time"

	"activationd/supervisor"
	"activationd/supervisor/wrapper"
	"activationd/vlanstore"
)

// ended records how an attempt ended, and takes its record through what follows
// from that. A result that comes late, for an attempt that is not open any
// more, changes nothing.
func (t *turn) ended(x supervisor.Exit) error {
	r, err := t.get(x.Key.ID)
	if err != nil {
		t.log.Warn("the end of a run that nothing is known of", "run", x.Key, "err", err)
		return nil
	}
	old := r.clone()
	a := r.open()
	if a == nil || a.Phase != x.Key.Phase || a.N != x.Key.N {
		t.log.Warn("the end of a run that has been recorded already", "run", x.Key)
		return nil
	}
	if n, ok := t.sizes[x.Key]; ok {
		a.Bytes = n
	}
	if len(x.Result.Hung) > 0 {
		if err := t.hang(r, a, x.Result); err != nil {
			return err
		}
		return t.save(old, r)
	}
	if err := t.close(r, a, x.Result); err != nil {
		return err
	}
	if _, err := t.advance(r); err != nil {
		return err
	}
	return t.put(old, r)
}

// hang notes that an attempt has ended as far as its script goes, but that a
// process of it hangs in the kernel, whose system call may still be carried out:
// the end is not verified. The attempt stays open, and so its activation keeps
// what it has, until the process is gone or somebody forgives it; its VLANs go to
// quarantine meanwhile. It does not count as one that runs.
func (t *turn) hang(r *Record, a *Attempt, res wrapper.Result) error {
	if !a.Hangs() {
		t.uncount(a)
	}
	a.Result = res
	said := Describe(a)
	t.news = append(t.news, Happening{Time: t.now, What: "notice", ID: r.ID, State: string(r.State), Reason: said, Phase: a.Phase, N: a.N, Failed: true})
	if err := t.apply(r, Hang, said); err != nil {
		return err
	}
	_, err := vlanstore.QuarantineAll(t, r.ID, a.unverified(), t.now)
	return err
}

// unverified is why VLANs are in quarantine while an attempt hangs.
func (a *Attempt) unverified() string {
	return fmt.Sprintf("the end of %s attempt %d is not verified", a.Phase, a.N)
}

// uncount notes that an attempt does not run any more.
func (t *turn) uncount(a *Attempt) {
	t.opened--
	if a.Phase == Activate {
		t.started--
		t.free++
	}
}

// close records the end of an attempt, and what it means for its activation.
func (t *turn) close(r *Record, a *Attempt, res wrapper.Result) error {
	if !a.Hangs() {
		t.uncount(a)
	} else { // its activation has them as before, or as whoever forgives it says
		if err := vlanstore.Unquarantine(t, r.ID, a.unverified(), "leased: the end of an attempt was not verified for a while", t.now); err != nil {
			return err
		}
	}
	a.Open, a.Result = false, res
	if a.Result.Reason == wrapper.TimedOut && r.tooLate(t.moment) {
		a.Result.Text = "its deadline has come"
	}
	ev := t.verdict(r, a)
	said := Describe(a)
	t.news = append(t.news, Happening{Time: t.now, What: "attempt.ended", ID: r.ID, State: string(r.State), Reason: said,
		Phase: a.Phase, N: a.N, Failed: a.Result.Exit != 0 && a.Result.Reason != wrapper.Disarmed})
	r.Stopped = false
	if err := t.apply(r, ev, said); err != nil {
		return err
	}
	var err error
	switch {
	case r.State == Waiting && a.Result.Reason == wrapper.Disarmed && t.now.Add(t.set.ArmAhead).Before(r.activateAt()):
		// Disarmed because the clock was set back: its instant is to come again.
		err = t.apply(r, Move, "the clock was set back")
	case r.State == Active && t.rebooted: // it had come up when the machine went down
		err = t.undoAfterReboot(r)
	}
	if err != nil {
		return err
	}
	if r.State == Finished && r.AtJob != nil {
		return t.mail(r, a)
	}
	return nil
}

// An attempt that is void is followed by so many more that may be, the second of them
// and those after it with a pause of at least minVoidPause, whatever the settings say.
// Then it counts as lost: a script that removes what would tell of it is not started
// again and again.
const (
	maxVoids     = 3
	minVoidPause = time.Second
)

// maxStartPause bounds the pause before it is tried again to start what could not be
// started. It is a second at first, and doubles.
const maxStartPause = time.Minute

func startPause(n int) time.Duration {
	return Defaults{BackoffFirst: time.Second, BackoffMax: maxStartPause}.backoff(n)
}

// verdict says what the end of an attempt means for its activation, and counts it.
func (t *turn) verdict(r *Record, a *Attempt) Event {
	res, d := a.Result, t.set.Of(r)
	r.RetryAt, r.RetryIn = time.Time{}, 0
	switch {
	case res.Reason == wrapper.Exited && res.Exit == 0:
		if !r.slot() {
			r.Ending, r.Cause = Succeeded, "" // also when it was asked to stop: it did its work
		}
		return OK
	case res.Reason == wrapper.NotStarted, res.Reason == wrapper.Unborn, res.Reason == wrapper.Disarmed:
		if a.First {
			r.Dirty = false // as before the claim
		}
		if res.Reason == wrapper.Disarmed {
			return Void
		}
		if r.NoStarts++; res.Reason == wrapper.NotStarted || r.NoStarts > 1 { // of the daemon's own death nothing is to pass
			r.pause(t.now, startPause(r.NoStarts))
		}
		return Void
	case res.Reason == wrapper.Void && r.Voids < maxVoids:
		// Dirty stays: that nothing shows a start is no proof that there was none.
		if r.Voids++; r.Voids > 1 { // at once again, but not again and again
			r.pause(t.now, max(minVoidPause, d.backoff(r.Voids-1)))
		}
		return Void
	case a.Phase == Activate && r.Stopped && r.Ending == "" && res.Reason == wrapper.Stopped:
		return Void // held at the last moment, and perhaps released since: that was no try
	}
	if res.Reason == wrapper.Void {
		a.Result.Reason = wrapper.Lost
		a.Result.Text += fmt.Sprintf("; so did the %d before it: does the script remove its run's directory, or end its wrapper?", maxVoids)
		res = a.Result
	}
	r.Tries++
	r.Voids, r.NoStarts = 0, 0
	if a.Phase == Deactivate {
		if r.Tries > t.set.retries(r, Deactivate) {
			return Spent
		}
		r.pause(t.now, d.backoff(r.Tries))
		return Again
	}
	if r.Ending != "" { // it was to end anyway
		return Spent
	}
	if t.rebooted && r.slot() && !r.over(t.moment) {
		r.Renew, r.Ending = true, Lost // undo what the power loss left, and serve the slot again
		return Spent
	}
	if r.Tries > t.set.retries(r, Activate) || r.tooLate(t.moment) {
		r.Ending = outcomeOf(res.Reason)
		return Spent
	}
	if r.Backoff != nil {
		d.BackoffFirst = *r.Backoff
	}
	r.pause(t.now, d.backoff(r.Tries))
	return Again
}

// pause has the next try come so much later than now.
func (r *Record) pause(now time.Time, d time.Duration) { r.RetryAt, r.RetryIn = now.Add(d), d }

// shorten has no pause before another try be longer, from now, than it was when it
// began: that of a clock which was ahead then, and was set back, would be.
func (t *txn) shorten() error {
	var ids []string
	for k := range t.Scan(instantKey, instantKey+instant(t.now)) {
		if _, id, err := parseInstant(strings.TrimPrefix(k, instantKey)); err == nil {
			ids = append(ids, id)
		}
	}
	for _, id := range ids {
		r, err := t.get(id)
		if err != nil || r.RetryIn == 0 || r.open() != nil || r.RetryAt.Sub(t.now) <= r.RetryIn {
			continue
		}
		old := r.clone()
		r.pause(t.now, r.RetryIn)
		if err := t.save(old, r); err != nil {
			return err
		}
	}
	return nil
}

// outcomeOf is the outcome of an activation whose last attempt failed so.
func outcomeOf(reason string) Outcome {
	switch reason {
	case wrapper.TimedOut:
		return TimedOut
	case wrapper.Lost:
		return Lost
	}
	return Failed
}

// Describe says in words how an attempt ended.
func Describe(a *Attempt) string {
	res, what := a.Result, fmt.Sprintf("%s attempt %d ", a.Phase, a.N)
	switch res.Reason {
	case wrapper.Exited:
		if res.Signal != 0 {
			what += fmt.Sprintf("was ended by signal %d", res.Signal)
		} else {
			what += fmt.Sprintf("exited with status %d", res.Exit)
		}
	case wrapper.TimedOut:
		what += "ran into its timeout"
	case wrapper.Stopped:
		what += "was stopped"
	case wrapper.Lost:
		what += "was lost: its wrapper is gone"
	case wrapper.NotStarted, wrapper.Unborn:
		what += "did not start"
	case wrapper.Void:
		what += "left nothing that shows a start"
	case wrapper.Disarmed:
		what += "was disarmed before its instant"
	default:
		what += "failed"
	}
	if res.Text != "" {
		what += ": " + res.Text
	}
	if len(res.Hung) > 0 {
		what += "; this end is not verified: a process hangs in the kernel"
	}
	return what
}
