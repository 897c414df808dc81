package activation

import (
	"cmp"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"activationd/supervisor"
	"activationd/supervisor/wrapper"
	"activationd/vlanstore"
)

// ended records how an attempt ended, and applies what follows to its record. A late
// result, for an attempt that is no longer open, changes nothing.
func (t *turn) ended(x supervisor.Exit) error {
	r, err := t.Record(x.Key.ID)
	if err != nil {
		t.Log(slog.LevelWarn, "the end of an unknown run", "run", x.Key, "err", err)
		return nil
	}
	old := r.clone()
	a := r.openAttempt()
	if a == nil || a.Phase != x.Key.Phase || a.N != x.Key.N {
		t.Log(slog.LevelWarn, "the end of a run whose end is recorded already", "run", x.Key)
		return nil
	}
	if left, ok := t.left[x.Key]; ok {
		a.Bytes, a.Output = left.bytes, left.output
	}
	if len(x.Result.Hung) > 0 {
		if err := t.hang(r, a, x.Result); err != nil {
			return err
		}
		return t.Save(old, r)
	}
	if err := t.close(r, a, x.Result); err != nil {
		return err
	}
	if _, err := t.advance(r); err != nil {
		return err
	}
	return t.put(old, r)
}

// hang records that an attempt's script has ended, but that one of its processes hangs in
// the kernel. Its system call may still be carried out, so the end is not verified. The
// attempt stays open, and its activation keeps its locks, until the process is gone or
// the attempt is forgiven. Meanwhile its VLANs are in quarantine, and it does not take a
// slot.
func (t *turn) hang(r *Record, a *Attempt, res wrapper.Result) error {
	if !a.Hangs() {
		t.give(a)
	}
	a.Result = res
	said := r.Describe(a)
	ev := a.ended(said)
	ev.Failed = true
	t.happened(r, "notice", ev)
	if err := t.Apply(r, Hang, said); err != nil {
		return err
	}
	ls, err := vlanstore.QuarantineAll(t, r.ID, a.unverified(), t.Now)
	t.vlansHappened("quarantined", "", ls...)
	return err
}

// unverified is why VLANs are in quarantine while an attempt hangs.
func (a *Attempt) unverified() string {
	return fmt.Sprintf("the end of %s attempt %d is not verified", a.Phase, a.N)
}

// close records the end of an attempt and applies what follows to its activation.
func (t *turn) close(r *Record, a *Attempt, res wrapper.Result) error {
	hung := a.Hangs()
	if !hung {
		t.give(a)
	} else { // the VLANs are leased again as before
		if err := vlanstore.Unquarantine(t, r.ID, a.unverified(), "leased: the end of an attempt was not verified for a while", t.Now); err != nil {
			return err
		}
	}
	a.Open, a.Result = false, res
	if a.Result.Reason == wrapper.TimedOut && r.tooLate(t.Moment) {
		a.Result.Text = "its deadline has come"
	}
	because := r.endsBecause()
	recalled, back := r.Recalled, r.Recalled
	if r.Stopped { // it was held, and perhaps released since
		back = cmp.Or(back, r.Reason)
	}
	r.Recalled = ""
	switch a.Result.Reason {
	case wrapper.Stopped:
		a.Result.Text = cmp.Or(a.Result.Text, because)
	case wrapper.Disarmed:
		a.Result.Text = cmp.Or(a.Result.Text, recalled)
	}
	on := t.verdict(r, a)
	said := r.Describe(a)
	t.happened(r, "attempt.ended", a.ended(said))
	r.Stopped = false
	if err := t.Apply(r, on, cmp.Or(because, said)); err != nil {
		return err
	}
	if r.policy().serves {
		if err := t.rebind(r); err != nil {
			return err
		}
		if r.State == Held || r.State == Finished {
			t.stopWith(r)
		}
	}
	t.observeEnd(r, a)
	a.Final = r.State == Finished && !hung && !res.Ended.IsZero()
	var err error
	switch {
	case r.State == Waiting && (a.Result.Reason == wrapper.Disarmed || recalled != "") && r.Urgency == OnTime && t.Now.Add(t.Settings.ArmAhead).Before(r.activateAt()):
		// It was taken back, or disarmed because the clock was set back: its start time will come.
		err = t.Apply(r, Move, cmp.Or(back, a.Result.Text, said))
	case r.State == Active && t.rebooted(a): // the lab was up when the machine went down
		err = t.undoAfterReboot(r)
	}
	if err != nil {
		return err
	}
	if r.State == Finished && r.policy().atd {
		return t.mail(r, a)
	}
	return nil
}

// shorten limits each pause to its original length, counted from now. If the clock was ahead
// when the pause began and was then set back, the pause would be longer.
func (t *Txn) shorten() error {
	var ids []string
	for k := range t.Scan(instantKey, instantKey+Instant(t.Now)) {
		if _, id, err := parseInstant(strings.TrimPrefix(k, instantKey)); err == nil {
			ids = append(ids, id)
		}
	}
	for _, id := range ids {
		if t.Full() {
			t.unfinished = true
			return nil
		}
		r, err := t.Record(id)
		if err != nil {
			continue
		}
		old := r.clone()
		until, length := r.pause()
		changed := cut(until, t.Now, length)
		if r.Serving != nil && t.Settings.StopLimit > 0 {
			changed = cut(&r.Serving.StopBy, t.Now, t.Settings.StopLimit) || changed
		}
		if !changed {
			continue
		}
		if err := t.Save(old, r); err != nil {
			return err
		}
	}
	return nil
}

// cut has a time be at most so long after now, and reports whether that changes it. It may be
// nil.
func cut(until *time.Time, now time.Time, length time.Duration) bool {
	if until == nil || until.Sub(now) <= length {
		return false
	}
	*until = now.Add(length)
	return true
}

// pause is the end of the pause that r makes, and how long that is at most; nil: it makes none.
func (r *Record) pause() (until *time.Time, length time.Duration) {
	switch {
	case r.openAttempt() == nil && r.RetryIn > 0:
		return &r.RetryAt, r.RetryIn
	case r.policy().serves && r.State == Stuck && !r.Until.IsZero():
		return &r.Until, r.Serving.FatalRetry
	case r.policy().serves && r.openAttempt() != nil:
		return &r.Serving.DrainUntil, r.Serving.Drain
	}
	return nil, 0
}
