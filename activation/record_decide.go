package activation

import "time"

// MissedAfter is how late a start may be and still count as on time. If it is later,
// nothing could run at that time (the daemon was down, or the clock was set), and the
// policy for missed activations decides.
const MissedAfter = time.Minute

// inputs are what decide compares a record with.
type inputs struct {
	Moment
	arm         time.Duration // how long ahead of its start an attempt may be claimed
	missedGrace time.Duration // how late a job may still run
	undo        bool          // there is a command for the deactivate phase
}

// toBeStopped reports whether the open attempt must be asked to stop.
func (r *Record) toBeStopped() bool {
	if r.Stopped || r.openAttempt() == nil {
		return false
	}
	if r.policy().serves {
		return r.leaving()
	}
	return r.State == Activating && (r.PendingOutcome != "" || r.HoldNext || r.Recalled != "")
}

// decide compares the wanted state with the actual one, and returns the trigger that is
// due now, if any. It is level-triggered: it may be called at any time, after any crash,
// and depends on nothing but its arguments. Grant means that the next attempt may start
// as soon as the locks and a slot are free.
func (r *Record) decide(l inputs) Trigger {
	if a := r.hangs(); a != nil && a.Forgiven != "" {
		return letGo
	}
	if r.policy().serves {
		return r.decideInstance(l)
	}
	if r.openAttempt() != nil {
		if r.State == Activating && r.PendingOutcome == "" && r.slotEnded(l.Moment) {
			return Over
		}
		if r.toBeStopped() {
			return stopRun
		}
		return noTrigger
	}
	switch r.State {
	case Scheduled:
		at := r.activateAt()
		late := l.Late(at)
		switch {
		case l.PassedOver(at.Add(-l.arm)): // even if the slot or the deadline seems to be over
			return noTrigger
		case r.slotEnded(l.Moment):
			return Over
		case r.tooLate(l.Moment):
			return Miss
		case !l.Come(at.Add(-l.arm)):
			return noTrigger
		case r.Urgency >= Anyway: // the policy has decided before, or somebody requested it
			return Due
		}
		if limit := r.lateLimit(l.missedGrace); limit > 0 && late > limit {
			return Miss
		}
		return Due
	case Held:
		switch {
		case r.slotEnded(l.Moment):
			return Over
		case r.tooLate(l.Moment):
			return Miss
		}
	case Waiting:
		switch {
		case r.slotEnded(l.Moment):
			return Over
		case r.tooLate(l.Moment) && !r.mayHaveRun():
			return Miss
		case r.tooLate(l.Moment):
			return Expire
		case !r.Until.IsZero() && l.Come(r.Until) && r.WaitsOn == waitsOnPause:
			return Miss
		case !r.Until.IsZero() && l.Come(r.Until):
			return Expire
		case r.WaitsOn == waitsOnRetry && !l.Come(r.RetryAt): // an earlier version kept RetryAt longer
			return noTrigger
		}
		return Grant
	case Active:
		if r.slotEnded(l.Moment) {
			return Over
		}
	case Deactivating:
		switch {
		case !l.Come(r.RetryAt):
			return noTrigger
		case !l.undo:
			return OK
		}
		return Grant
	case Finished:
		if until := r.historyUntil(); !until.IsZero() && !l.Doubt && l.Come(until) {
			return Prune
		}
	}
	return noTrigger
}

// lateLimit is how late r may begin, if nothing could run at its time; 0: at any time.
func (r *Record) lateLimit(missedGrace time.Duration) time.Duration {
	switch {
	case r.Missed == MissedSkip:
		return MissedAfter
	case r.policy().missedIfLate:
		return max(MissedAfter, missedGrace)
	}
	return 0
}

// due returns the time at which the engine must look at the record again, and whether an
// attempt may be armed for it. The zero time: only when the record is touched.
func (r *Record) due() (at time.Time, armable bool) {
	if r.policy().serves {
		return r.dueInstance(), false
	}
	end := r.deactivateAt()
	switch r.State {
	case Scheduled:
		return r.activateAt(), true
	case Held, Active:
		return earliest(end, r.Deadline), false
	case Waiting:
		at = earliest(earliest(end, r.Deadline), r.Until)
		if r.WaitsOn == waitsOnRetry {
			at = earliest(at, r.tryAt())
		}
		return at, false
	case Activating:
		if r.PendingOutcome == "" {
			return end, false
		}
	case Deactivating:
		if r.openAttempt() == nil {
			return r.tryAt(), false
		}
	case Finished:
		return r.historyUntil(), false
	}
	return time.Time{}, false
}

// atOnce is the due time of a record that must be looked at now. It has come whatever the
// clock shows, and no clock that was set has passed it over.
var atOnce = time.Unix(0, 0)

// tryAt is when r's next try is due, if r is not queued.
func (r *Record) tryAt() time.Time {
	if r.RetryAt.IsZero() {
		return atOnce
	}
	return r.RetryAt
}

// earliest returns the earlier of two times, where zero means never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
