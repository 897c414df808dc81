package activation

import (
	"cmp"
	"fmt"
	"strings"
	"syscall"
	"time"

	"activationd/supervisor/wrapper"
)

// because says why a trigger that the clock causes happens to r.
func because(r *Record, on Trigger, m Moment) string {
	switch on {
	case Over:
		switch {
		case r.State == Active:
			return "the slot has ended"
		case r.State == Scheduled:
			return "its slot ended before anything could run"
		case r.State == Held && !r.NeedsUndo:
			return "its slot ended while it was held"
		case r.WaitsOn == waitsOnPause && !r.NeedsUndo:
			return "its slot ended while it waited for " + strings.TrimPrefix(r.Reason, waitsFor)
		case r.Reason != "":
			return "the slot ended before it was active: " + r.Reason
		}
		return "the slot ended before it was active"
	case Miss:
		if r.WaitsOn == waitsOnPause && !r.tooLate(m) {
			return fmt.Sprintf("due at %s, but it waited for %s", TimeText(r.activateAt()), strings.TrimPrefix(r.Reason, waitsFor))
		}
		if r.State != Scheduled || r.tooLate(m) {
			return fmt.Sprintf("its deadline passed at %s, and it had not begun: it was %s%s", TimeText(r.Deadline), r.State, reasonAfter(r.Reason))
		}
		return fmt.Sprintf("due at %s, but nothing could run until %s", TimeText(r.activateAt()), TimeText(m.Now))
	case Expire:
		if r.tooLate(m) {
			return "its deadline passed before its next attempt: " + r.Reason
		}
		return "it waited longer than allowed: " + r.Reason
	case Retry: // an instance of a service that is fatal
		return "another try, after: " + r.Reason
	case OK: // no command to deactivate with
		return cmp.Or(r.PendingReason, "there is no command to deactivate it with")
	case Due, Ready:
		return ""
	}
	return r.Reason
}

func reasonAfter(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

// TimeText formats a time for people.
func TimeText(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05 MST") }

// Name names an attempt, such as "deactivate attempt 2", in front of what it did. A job
// has one phase, and its first attempt is usually the only one: then it is empty.
func (r *Record) Name(a *Attempt) string {
	switch {
	case r.policy().serves:
		return fmt.Sprintf("run %d ", a.N)
	case r.policy().undoes:
		return fmt.Sprintf("%s attempt %d ", a.Phase, a.N)
	case a.N > 1:
		return fmt.Sprintf("attempt %d ", a.N)
	}
	return ""
}

// Describe says how an attempt of r ended.
func (r *Record) Describe(a *Attempt) string {
	res, what := a.Result, r.Name(a)
	switch res.Reason {
	case wrapper.Exited:
		if res.Signal != 0 {
			what += fmt.Sprintf("was terminated by signal %d", res.Signal)
		} else {
			what += fmt.Sprintf("exited with status %d", res.Exit)
		}
	case wrapper.TimedOut:
		what += "ran into its timeout"
	case wrapper.Stopped:
		what += "was stopped"
		if r.Serving != nil && res.Signal == int(syscall.SIGKILL) {
			what += " by KILL"
		}
	case wrapper.Lost:
		what += "was lost: its wrapper is gone"
	case wrapper.NotStarted, wrapper.Unborn:
		what += "did not start"
	case wrapper.Void:
		what += "left no trace of a start"
	case wrapper.Disarmed:
		what += "was disarmed before its start time"
	default:
		what += "could not be run"
	}
	if res.Text != "" {
		what += ": " + res.Text
	}
	if r.Serving != nil && res.Leftovers > 0 { // a program that puts itself into the background looks like that
		what += fmt.Sprintf("; processes that it left behind were killed: %d", res.Leftovers)
	}
	if len(res.Hung) > 0 {
		what += "; this end is not verified: a process hangs in the kernel"
	}
	return what
}

// is says in which state an activation is, after its id or "it".
func (r *Record) is() string {
	switch {
	case r.policy().serves:
		return "is " + r.InstanceState()
	case r.State == Finished && r.Outcome == Succeeded:
		return "has succeeded"
	case r.State == Finished && r.Outcome == Failed:
		return "has failed"
	case r.State == Finished && r.Outcome == TimedOut:
		return "has timed out"
	case r.State == Finished:
		return "was " + string(r.Outcome) // cancelled, missed, lost
	case r.State == Activating && !r.policy().ends:
		return "is running"
	}
	return "is " + string(r.State)
}

// refusal says why a verb is not valid in the state of r, and what can be done instead. It
// names only verbs that are valid: somebody who follows it must not be refused again.
func refusal(r *Record, on Trigger, m Moment) string {
	return fmt.Sprintf("cannot %s: it %s%s", on, r.is(), instead(r, on, m))
}

const onlyOver = "; only a finished or stuck one can be retried"

// instead is the part of a refusal that says what can be done.
func instead(r *Record, on Trigger, m Moment) string {
	switch r.State {
	case Scheduled:
		switch on {
		case RunNow: // needsUndo and serveAgain
			return "; it was changed after it had begun, and what it did is undone at its time, before it starts again"
		case Release:
			return ", not held"
		case Retry:
			if r.accepts(RunNow, m) {
				return onlyOver + "; run starts it now"
			}
			return onlyOver
		}
	case Held:
		switch on {
		case Hold:
			return " already; release lets it start"
		case RunNow:
			return "; it was changed after it had begun, and must be undone first: release does that"
		case Retry:
			return onlyOver + "; release lets it start"
		}
	case Waiting:
		switch on {
		case Release:
			return ", not held"
		case Retry:
			return onlyOver + "; run starts its next attempt without a pause"
		}
	case Activating, Active:
		switch on {
		case RunNow:
			return " already"
		case Hold:
			return "; only one that has not begun can be held; cancel stops it"
		case Release:
			return ", not held"
		case Retry:
			return onlyOver
		}
	case Deactivating:
		if on != Forgive {
			return "; what it did is being undone"
		}
	case Stuck:
		return "; retry tries its deactivation again, forgive ends it without"
	case Finished:
		return insteadOfEnd(r, on, m)
	}
	if on == Forgive {
		return "; only one that is stuck or hangs in the kernel can be forgiven"
	}
	return ""
}

// insteadOfEnd is instead for an activation that is over.
func insteadOfEnd(r *Record, on Trigger, m Moment) string {
	switch {
	case on != RunNow && on != Retry:
		return ""
	case r.accepts(Retry, m):
		return "; retry runs it again"
	case r.policy().ends:
		return ", and its slot is over"
	}
	return fmt.Sprintf(", and its deadline passed at %s; add it again", TimeText(r.Deadline))
}
