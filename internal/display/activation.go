package display

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"activationd/control"
)

// State returns the state of act in the user's words.
func State(act *control.Activation) string {
	return cmp.Or(act.Status, control.Status(act.Kind, act.State, act.Outcome)) // an older daemon does not send it
}

// Progress returns the progress that a script has reported.
func Progress(p *control.Progress) string {
	switch {
	case p == nil:
		return ""
	case p.Percent == nil:
		return p.Text
	}
	return strings.TrimRight(fmt.Sprintf("%d %% %s", *p.Percent, p.Text), " ")
}

// Reason returns why act is in its state, and its conflicts, unless it waits for their end.
func Reason(act *control.Activation) string {
	text := act.Reason
	for _, c := range act.Conflicts {
		if strings.Contains(text, c.Text) {
			continue
		}
		if text != "" {
			text += "; "
		}
		text += "conflict: " + c.Text
	}
	return text
}

// Name returns a job's label, script or command.
func Name(act *control.Activation) string {
	name := cmp.Or(act.Label, act.Script, act.Command)
	if name == "" && act.Hidden {
		return "(hidden)"
	}
	return name
}

// NowIs says what has become of an activation: "7 is running", "8 has failed".
func NowIs(act *control.Activation) string {
	switch act.Outcome {
	case "":
		return act.ID + " is " + control.Status(act.Kind, act.State, "")
	case "succeeded", "failed":
		return act.ID + " has " + act.Outcome
	case "timed_out":
		return act.ID + " has timed out"
	}
	return act.ID + " was " + act.Outcome // cancelled, missed, lost
}

// Subject returns what needs attention.
func Subject(n *control.Attention) string {
	switch {
	case n.VLAN != 0:
		text := fmt.Sprintf("VLAN %d of %s", n.VLAN, n.Domain)
		if n.ID != "" {
			text += ", last of " + n.ID
		}
		return text
	case n.Device != "":
		return n.Device
	case n.ID != "" && n.Label != "":
		return fmt.Sprintf("%s (%s)", n.ID, n.Label)
	case n.ID != "":
		return n.ID
	}
	return n.Source
}

// AttemptName names the attempt n of a phase of id. A job and a service have one phase only.
func AttemptName(id, phase string, n int) string {
	switch {
	case phase == "serve":
		return fmt.Sprintf("run %d", n)
	case strings.Trim(id, "0123456789") == "":
		return fmt.Sprintf("attempt %d", n)
	}
	return fmt.Sprintf("%s attempt %d", phase, n)
}

// EndedBy says how an attempt ended: "exit 3", "TERM (timeout)", "lost".
func EndedBy(at *control.Attempt) string {
	how := ""
	switch {
	case at.Exit != nil:
		how = "exit " + strconv.Itoa(*at.Exit)
	case at.Signal != "":
		how = at.Signal
	}
	switch {
	case how == "":
		return at.Reason
	case at.Reason == "" || at.Reason == "exited":
		return how
	}
	return how + " (" + at.Reason + ")"
}
