package activation

// A State is where an activation is in its life.
type State string

// The states. Finished is the last; a finished activation has an [Outcome].
const (
	Scheduled    State = "scheduled"    // its start time has not come
	Held         State = "held"         // an operator or the owner holds it
	Waiting      State = "waiting"      // for its locks, a free slot, or the next try
	Activating   State = "activating"   // an attempt of phase activate runs
	Active       State = "active"       // the lab is up, until its slot ends
	Deactivating State = "deactivating" // an attempt of phase deactivate runs, or is about to be made
	Stuck        State = "stuck"        // deactivation failed for good: an operator must act
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

// Outcomes lists all of them.
var Outcomes = [...]Outcome{Succeeded, Failed, TimedOut, Cancelled, Missed, Lost}

// A Trigger is something that happens to an activation.
type Trigger string

// The triggers.
const (
	Due       Trigger = "due"     // its start time has come
	Miss      Trigger = "missed"  // its start time passed while nothing could run, and its policy is skip
	Grant     Trigger = "granted" // its locks and a slot are free: an attempt is claimed
	Expire    Trigger = "expired" // it waited longer than it is allowed to
	Unmet     Trigger = "unmet"   // an activation that it waits for did not end as required
	OK        Trigger = "ok"      // the attempt succeeded
	Again     Trigger = "again"   // the attempt failed, and tries are left
	Spent     Trigger = "spent"   // the attempt failed, and no try is left
	Void      Trigger = "void"    // the attempt ended before its script began, or nothing shows that it began
	Hang      Trigger = "hangs"   // the attempt's script has ended, and a process of it hangs in the kernel
	Over      Trigger = "over"    // the slot has ended
	Cancel    Trigger = "cancel"  // an operator or the owner cancelled it
	Remove    Trigger = "removed" // its source no longer announces it
	Reboot    Trigger = "reboot"  // the machine was started again while the lab was up
	Hold      Trigger = "hold"    // on request
	Release   Trigger = "release" // on request
	RunNow    Trigger = "run"     // on request
	Retry     Trigger = "retry"   // on request
	Forgive   Trigger = "forgive" // on request
	Move      Trigger = "moved"   // its source announces it with another slot or content
	Prune     Trigger = "prune"   // its history has been kept long enough
	noTrigger Trigger = ""        // nothing is due
	stopRun   Trigger = "stop"    // the running attempt must be stopped; no change of state
	killRun   Trigger = "kill"    // the running instance has had its time to stop; no change of state
	drainRun  Trigger = "drain"   // the running instance takes no new work for a while before it is stopped; no change of state
	letGo     Trigger = "let go"  // the hanging attempt was forgiven, so it has ended; another trigger follows
)

// Triggers lists all triggers in the table.
var Triggers = [...]Trigger{Due, Miss, Grant, Expire, Unmet, OK, Again, Spent, Void, Hang, Over, Cancel, Remove, Reboot, Hold, Release, RunNow, Retry, Forgive, Move, Ready, Unready, Restart}

// facts are what a transition may depend on besides state and trigger.
type facts struct {
	serves     bool // it is an instance of a service
	slot       bool // it has a slot: it is a reservation
	needsUndo  bool // an activate attempt ran, and no deactivation has been verified since
	pendingEnd bool // it will end with its attempt: it was stopped, cancelled or removed
	serveAgain bool // its slot will be served again, and is not over
	armed      bool // its attempt waits for its start time
	pause      bool // it will be held once its attempt has ended
	hangs      bool // a process of its attempt hangs in the kernel
	early      bool // its attempt waits for its start time, and can be taken back
}

// next is the table of transitions. It returns the state that follows from s by the
// trigger, and whether the trigger is valid in s. It is a pure function.
func next(s State, on Trigger, f facts) (State, bool) {
	if f.serves {
		return nextInstance(s, on, f)
	}
	switch s {
	case Scheduled:
		switch on {
		case Due:
			if f.needsUndo && f.serveAgain { // the half-done work belongs to the old slot
				return Deactivating, true
			}
			return Waiting, true
		case RunNow:
			if !f.needsUndo || !f.serveAgain {
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
		switch on {
		case Release:
			if f.needsUndo && f.serveAgain {
				return Deactivating, true
			}
			return Scheduled, true
		case RunNow:
			if !f.needsUndo || !f.serveAgain {
				return Waiting, true
			}
		case Cancel, Remove, Over, Miss:
			return undo(f), true
		case Move:
			return Held, true
		}
	case Waiting:
		switch on {
		case Grant:
			return Activating, true
		case Hold:
			return Held, true
		case RunNow: // do not wait for the time of the next try
			return Waiting, true
		case Cancel, Remove, Over, Expire, Miss, Unmet:
			return undo(f), true
		case Move:
			if f.needsUndo { // the half-done work belongs to the old slot
				return Deactivating, true
			}
			return Scheduled, true
		}
	case Activating:
		return nextActivating(on, f)
	case Active:
		switch on {
		case Over, Cancel, Remove, Reboot:
			return Deactivating, true
		case Move:
			if f.serveAgain { // to a later start
				return Deactivating, true
			}
			return Active, true
		}
	case Deactivating:
		switch on {
		case Grant, Again, Void, Hang, Move:
			return Deactivating, true
		case Forgive:
			return Deactivating, f.hangs
		case Cancel, Remove: // it will not be served again
			return Deactivating, f.serveAgain
		case OK:
			if f.serveAgain { // undone after a reboot, or moved meanwhile
				return Scheduled, true
			}
			return Finished, true
		case Spent:
			return Stuck, true
		}
	case Stuck:
		switch on {
		case Retry:
			return Deactivating, true
		case Forgive:
			if f.serveAgain { // moved meanwhile
				return Scheduled, true
			}
			return Finished, true
		case Cancel, Remove:
			return Stuck, f.serveAgain
		case Move:
			return Stuck, true
		}
	case Finished:
		switch on {
		case Retry:
			if !f.slot || f.serveAgain {
				return Scheduled, true
			}
		case Move:
			if f.serveAgain {
				return Scheduled, true
			}
			return Finished, true
		}
	}
	return s, false
}

// nextActivating is [next] for an activation whose activate attempt runs. Every trigger
// but the attempt's own end stops the attempt first.
func nextActivating(on Trigger, f facts) (State, bool) {
	switch on {
	case OK:
		switch {
		case !f.slot:
			return Finished, true
		case f.pendingEnd:
			return Deactivating, true
		}
		return Active, true
	case Again, Void:
		switch {
		case f.pendingEnd:
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
		return Activating, f.armed && !f.pendingEnd
	case RunNow: // by another attempt, which does not wait
		return Activating, f.early && f.armed && !f.pendingEnd && !f.pause
	case Release:
		return Activating, f.pause
	}
	return Activating, false
}

// undo is the next state of an activation that is over before it was active.
func undo(f facts) State {
	if f.slot && f.needsUndo {
		return Deactivating
	}
	return Finished
}

// stopped is the next state of an activation whose last attempt has ended.
func stopped(f facts) State {
	if s := undo(f); s == Deactivating || !f.slot || !f.serveAgain {
		return s
	}
	return Scheduled // nothing must be undone, and its current slot is served
}
