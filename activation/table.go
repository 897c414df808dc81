package activation

import "fmt"

// A State is where an activation is in its life.
type State string

// The states. Finished is the last; a finished activation has an [Outcome].
const (
	Scheduled    State = "scheduled"    // its instant has not come
	Held         State = "held"         // an admin holds it
	Waiting      State = "waiting"      // for its locks, a free slot, or the next try
	Activating   State = "activating"   // an attempt of phase activate runs
	Active       State = "active"       // the lab is up, until its slot ends
	Deactivating State = "deactivating" // an attempt of phase deactivate runs, or is to be made
	Stuck        State = "stuck"        // deactivation failed for good: an admin is needed
	Finished     State = "finished"
)

// States lists all of them, in the order of a life.
var States = [...]State{Scheduled, Held, Waiting, Activating, Active, Deactivating, Stuck, Finished}

// An Outcome is how a finished activation ended.
type Outcome string

// The outcomes.
const (
	Succeeded Outcome = "succeeded"
	Failed    Outcome = "failed"
	TimedOut  Outcome = "timed_out"
	Cancelled Outcome = "cancelled"
	Missed    Outcome = "missed"
	Lost      Outcome = "lost"
)

// An Event is something that happens to an activation.
type Event string

// The events.
const (
	Due       Event = "due"     // its instant has come
	Miss      Event = "missed"  // its instant passed while nothing could run, and its policy says skip
	Grant     Event = "granted" // its locks and a slot are free: an attempt is claimed
	Expire    Event = "expired" // it waited longer than it may
	Unmet     Event = "unmet"   // what it was to come after did not end as it should have
	OK        Event = "ok"      // the attempt succeeded
	Again     Event = "again"   // the attempt failed, and tries are left
	Spent     Event = "spent"   // the attempt failed, and no try is left
	Void      Event = "void"    // the attempt ended before its script began, or nothing shows that it began
	Hang      Event = "hangs"   // the attempt's script has ended, and a process of it hangs in the kernel
	Over      Event = "over"    // the slot has ended
	Cancel    Event = "cancel"  // an admin or the owner cancelled it
	Remove    Event = "removed" // its source no longer announces it
	Reboot    Event = "reboot"  // the machine was started anew under a lab that was up
	Hold      Event = "hold"    // by an admin
	Release   Event = "release" // by an admin
	RunNow    Event = "run"     // by an admin
	Retry     Event = "retry"   // by an admin
	Forgive   Event = "forgive" // by an admin
	Move      Event = "moved"   // its source announces it with another slot or content
	Prune     Event = "prune"   // its history has been kept long enough
	noEvent   Event = ""        // nothing is to be done
	stopAgain Event = "stop"    // the attempt that runs is to be stopped; no change of state
	letGo     Event = "let go"  // the attempt that hangs was forgiven: it has ended; what follows is an event of its own
)

// Events lists all that the table knows.
var Events = [...]Event{Due, Miss, Grant, Expire, Unmet, OK, Again, Spent, Void, Hang, Over, Cancel, Remove, Reboot, Hold, Release, RunNow, Retry, Forgive, Move}

// facts are what a transition may depend on beside state and event.
type facts struct {
	slot  bool // it has a slot's end: a reservation
	dirty bool // an activate attempt ran, and no deactivation has been proved since
	ended bool // it is to end as soon as its attempt has: stopped, cancelled, removed
	fresh bool // its slot is to be served again, and is not over
	armed bool // its attempt waits for its instant
	pause bool // it is to be held as soon as its attempt has ended
	hangs bool // a process of its attempt hangs in the kernel
}

// next is the table of transitions: the state that follows from s by e, and
// whether e has a meaning in s at all. It reads no clock and touches nothing.
func next(s State, e Event, f facts) (State, bool) {
	switch s {
	case Scheduled:
		switch e {
		case Due:
			if f.dirty && f.fresh { // what was half done belongs to the slot as it was
				return Deactivating, true
			}
			return Waiting, true
		case RunNow:
			if !f.dirty || !f.fresh {
				return Waiting, true
			}
		case Hold:
			return Held, true
		case Cancel, Remove, Miss, Over:
			return undo(f), true
		case Move:
			return Scheduled, true
		}
	case Held:
		switch e {
		case Release:
			if f.dirty && f.fresh {
				return Deactivating, true
			}
			return Scheduled, true
		case RunNow:
			if !f.dirty || !f.fresh {
				return Waiting, true
			}
		case Cancel, Remove, Over, Miss:
			return undo(f), true
		case Move:
			return Held, true
		}
	case Waiting:
		switch e {
		case Grant:
			return Activating, true
		case Hold:
			return Held, true
		case RunNow: // do not wait for the next try's instant
			return Waiting, true
		case Cancel, Remove, Over, Expire, Miss, Unmet:
			return undo(f), true
		case Move:
			if f.dirty { // what was half done belongs to the slot as it was
				return Deactivating, true
			}
			return Scheduled, true
		}
	case Activating:
		return nextActivating(e, f)
	case Active:
		switch e {
		case Over, Cancel, Remove, Reboot:
			return Deactivating, true
		case Move:
			if f.fresh { // to a later start
				return Deactivating, true
			}
			return Active, true
		}
	case Deactivating:
		switch e {
		case Grant, Again, Void, Hang, Move:
			return Deactivating, true
		case Forgive:
			return Deactivating, f.hangs
		case Cancel, Remove: // it shall not be served again
			return Deactivating, f.fresh
		case OK:
			if f.fresh { // undone after a reboot, or moved meanwhile
				return Scheduled, true
			}
			return Finished, true
		case Spent:
			return Stuck, true
		}
	case Stuck:
		switch e {
		case Retry:
			return Deactivating, true
		case Forgive:
			if f.fresh { // moved meanwhile
				return Scheduled, true
			}
			return Finished, true
		case Cancel, Remove:
			return Stuck, f.fresh
		case Move:
			return Stuck, true
		}
	case Finished:
		switch e {
		case Retry:
			if !f.slot || f.fresh {
				return Scheduled, true
			}
		case Move:
			if f.fresh {
				return Scheduled, true
			}
			return Finished, true
		}
	}
	return s, false
}

// nextActivating is [next] for what has an attempt of phase activate. Whatever
// happens to it, the attempt is stopped first.
func nextActivating(e Event, f facts) (State, bool) {
	switch e {
	case OK:
		switch {
		case !f.slot:
			return Finished, true
		case f.ended:
			return Deactivating, true
		}
		return Active, true
	case Again, Void:
		switch {
		case f.ended:
			return stopped(f), true
		case f.pause:
			return Held, true
		}
		return Waiting, true
	case Spent:
		return stopped(f), true
	case Over, Cancel, Remove, Move, Hang:
		return Activating, true
	case Forgive:
		return Activating, f.hangs
	case Hold:
		return Activating, f.armed && !f.ended
	case Release:
		return Activating, f.pause
	}
	return Activating, false
}

// undo is where an activation goes that is over before it was active.
func undo(f facts) State {
	if f.slot && f.dirty {
		return Deactivating
	}
	return Finished
}

// stopped is where an activation goes whose last attempt has ended.
func stopped(f facts) State {
	if s := undo(f); s == Deactivating || !f.slot || !f.fresh {
		return s
	}
	return Scheduled // nothing is to be undone: its slot, as it is now, is served
}

// refusal says why e has no meaning in s, and what could be done instead. slot tells
// a reservation from a job.
func refusal(s State, e Event, slot bool) string {
	hint := ""
	switch {
	case s == Finished && !slot:
		hint = "; it is over (retry runs it again)"
	case s == Finished && e == Retry:
		hint = "; its slot is over"
	case s == Finished:
		hint = "; it is over (retry runs it again while its slot lasts)"
	case s == Stuck:
		hint = "; retry tries its deactivation again, forgive ends it"
	case s == Deactivating && e == Cancel:
		hint = "; it is being taken down already"
	case e == Retry:
		hint = "; that is for stuck ones"
	case e == Forgive:
		hint = "; that is for stuck ones, and for those of which a process hangs"
	case e == Hold && s == Held:
		hint = ""
	case e == Hold:
		hint = "; only what has not started can be held, cancel stops what runs"
	case e == Release:
		hint = "; only held ones can be released"
	case e == RunNow && (s == Scheduled || s == Held):
		hint = "; it was changed after it had been begun, which is to be undone first: release it if it is held"
	case e == RunNow:
		hint = "; it runs already"
	}
	return fmt.Sprintf("cannot %s what is %s%s", e, s, hint)
}
