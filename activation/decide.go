package activation

import "time"

// missedAfter is how late a start may be and still count as on time. Beyond it
// nothing could run at the instant (the daemon was down, the clock was set) and
// the policy for missed ones decides.
const missedAfter = time.Minute

// A look is what decide compares a record with.
type look struct {
	moment
	arm         time.Duration // how long ahead of its instant an attempt may be claimed
	missedGrace time.Duration // how late a job may still run
	undo        bool          // there is a command for the deactivate phase
}

// decide compares what should be with what is, and returns the event that is
// due now, if any. It is level-triggered: it may be asked at any time, after
// any crash, and depends on nothing but its arguments. Grant means that the
// record may have its next attempt as soon as its locks and a slot are free.
func (r *Record) decide(l look) Event {
	if a := r.hangs(); a != nil && a.Forgiven != "" {
		return letGo
	}
	if r.open() != nil {
		if r.State == Activating && r.Ending == "" && r.over(l.moment) {
			return Over
		}
		if r.State == Activating && (r.Ending != "" || r.Pause) && !r.Stopped {
			return stopAgain
		}
		return noEvent
	}
	switch r.State {
	case Scheduled:
		at := r.activateAt()
		late := l.late(at)
		switch {
		case l.passedOver(at.Add(-l.arm)): // whatever has come since
			return noEvent
		case r.over(l.moment):
			return Over
		case r.tooLate(l.moment):
			return Miss
		case !l.come(at.Add(-l.arm)):
			return noEvent
		case r.Late: // the policy was asked before, or somebody wants it
			return Due
		case late > missedAfter && r.Missed == MissedSkip:
			return Miss
		case !r.slot() && r.AtJob == nil && late > max(missedAfter, l.missedGrace):
			return Miss
		}
		return Due
	case Held:
		switch {
		case r.over(l.moment):
			return Over
		case r.tooLate(l.moment):
			return Miss
		}
	case Waiting:
		switch {
		case r.over(l.moment):
			return Over
		case r.tooLate(l.moment) && !r.mayHaveRun():
			return Miss
		case r.tooLate(l.moment):
			return Expire
		case !r.Until.IsZero() && l.come(r.Until):
			return Expire
		case !l.come(r.RetryAt):
			return noEvent
		}
		return Grant
	case Active:
		if r.over(l.moment) {
			return Over
		}
	case Deactivating:
		switch {
		case !l.come(r.RetryAt):
			return noEvent
		case !l.undo:
			return OK
		}
		return Grant
	case Finished:
		if until := r.keptUntil(); !until.IsZero() && !l.doubt && l.come(until) {
			return Prune
		}
	}
	return noEvent
}

// due returns the instant at which the record is to be looked at again, and
// whether an attempt may be armed for it. The zero time: only when touched.
func (r *Record) due() (at time.Time, armable bool) {
	end := r.deactivateAt()
	switch r.State {
	case Scheduled:
		return r.activateAt(), true
	case Held, Active:
		return earliest(end, r.Deadline), false
	case Waiting:
		at = earliest(earliest(end, r.Deadline), r.Until)
		if r.Line == 0 && !r.Awaits { // not in line yet: it waits for its next try
			retry := r.RetryAt
			if retry.IsZero() {
				retry = r.Since
			}
			at = earliest(at, retry)
		}
		return at, false
	case Activating:
		if r.Ending == "" {
			return end, false
		}
	case Deactivating:
		if r.open() == nil {
			if r.RetryAt.IsZero() {
				return r.Since, false
			}
			return r.RetryAt, false
		}
	case Finished:
		return r.keptUntil(), false
	}
	return time.Time{}, false
}

// earliest returns the earlier of two instants, where zero means never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
