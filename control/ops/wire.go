package ops

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"activationd/activation"
	"activationd/control"
	"activationd/supervisor/wrapper"
)

// Exit statuses that tell of the run and not of the command, as timeout(1) and
// shells have them.
const (
	exitTimedOut = 124
	exitNotRun   = 125
	exitSignal   = 128 // plus the signal's number
)

// wire translates an activation.
func wire(v *activation.View) control.Activation {
	a := control.Activation{
		ID: v.ID, Kind: string(v.Kind), Owner: v.Owner, State: string(v.State), Outcome: string(v.Outcome),
		Due: v.NextDue(), Start: v.Start, End: control.Instant{Time: v.End}, Label: v.Label, Reason: v.Reason,
	}
	if v.Kind == activation.Job && v.State == activation.Finished {
		a.End.Time = v.Since
	}
	a.Every, a.Occurrence = v.Recurrence, v.Occurrence
	a.Priority, a.Tags, a.Hidden = v.Priority, v.Tags, v.Hidden
	if p := v.Progress; p != nil && v.Running() {
		a.Progress = &control.Progress{Text: p.Text, At: p.At}
		if p.Percent >= 0 {
			a.Progress.Percent = &p.Percent
		}
	}
	if v.Kind == activation.Job {
		a.Command = beginning(control.Text(strings.Join(v.Argv, " ")))
	}
	return a
}

// beginning is as much of a command as a list has room for, in one line.
func beginning(command string) string {
	const most = 60
	command = control.OneLine(command)
	for i := range command {
		if i > most {
			return command[:i] + "..."
		}
	}
	return command
}

func (d Daemon) detail(v *activation.View) control.Detail {
	set := d.Engine.Settings().Of(&v.Record)
	out := control.Detail{
		Activation: wire(v), Generation: v.Generation, Source: v.SourceName(), Devices: v.DevicesInForce(), Locks: v.Locks,
		WaitsFor: v.WaitsFor, Activate: v.Argv, Deactivate: v.Undo, Dir: v.Dir, Retries: set.Retries,
		Missed: v.Missed, Topology: v.Topology, Created: v.Created, Attempts: []control.Attempt{},
		Timeout: set.Timeout.String(), Grace: set.Grace.String(), Backoff: set.BackoffFirst.String(),
		After: v.Record.After, Deadline: v.Deadline,
	}
	if !slices.Equal(out.Devices, v.Devices) {
		out.Announced = v.Devices
	}
	if v.Kind == activation.Reservation && !v.Hidden {
		if out.Activate == nil {
			out.Activate = set.Activate
		}
		if out.Deactivate == nil {
			out.Deactivate = set.Deactivate
		}
	}
	out.Bytes = control.ShowBytes(&out.Activate, &out.Deactivate, &out.Dir)
	if v.Timeout != nil {
		out.Timeout = v.Record.Timeout.String()
	}
	if v.Grace != nil {
		out.Grace = v.Record.Grace.String()
	}
	if v.Backoff != nil {
		out.Backoff = v.Record.Backoff.String()
	}
	if v.Retries != nil {
		out.Retries = *v.Record.Retries
	}
	for _, a := range v.Attempts {
		out.Attempts = append(out.Attempts, attempt(a))
		out.Phase = a.Phase
		if !v.Hidden {
			out.RunDirectory = d.Engine.RunDir(v.ID, a)
		}
	}
	return out
}

func attempt(a activation.Attempt) control.Attempt {
	r := a.Result
	out := control.Attempt{
		Phase: a.Phase, N: a.N, PID: r.PID, Started: r.Started, Ended: r.Ended, Reason: r.Reason,
		Contained: r.Contained, Leftovers: r.Leftovers,
		Rusage: control.Rusage{User: r.User.Seconds(), System: r.System.Seconds(), MaxRSS: r.MaxRSS},
	}
	for _, h := range r.Hung {
		out.Hung = append(out.Hung, h.PID)
	}
	if (!a.Open || a.Hangs()) && r.Exit >= 0 && (r.Reason == wrapper.Exited || r.Reason == wrapper.TimedOut || r.Reason == wrapper.Stopped || r.Reason == wrapper.Failed) {
		out.Exit = &r.Exit
	}
	if r.Signal != 0 {
		out.Signal = strings.TrimPrefix(unix.SignalName(unix.Signal(r.Signal)), "SIG")
	}
	if a.Hangs() {
		out.Reason += ", not verified"
	} else if a.Open {
		out.Reason = "running"
		if r.PID == 0 {
			out.Reason = "starting"
		}
	}
	if r.Text != "" {
		out.Reason += ": " + control.OneLine(r.Text)
	}
	return out
}

// exitStatus is the status with which one who waited for v shall exit.
func exitStatus(v *activation.View) int {
	switch v.Outcome {
	case activation.TimedOut:
		return exitTimedOut
	case activation.Cancelled, activation.Missed, activation.Lost:
		return exitNotRun
	}
	for i := len(v.Attempts) - 1; i >= 0; i-- {
		a := v.Attempts[i]
		if a.Phase != activation.Activate {
			continue
		}
		switch {
		case a.Result.Signal != 0:
			return exitSignal + a.Result.Signal
		case a.Result.Exit >= 0:
			return a.Result.Exit
		}
		break
	}
	if v.Outcome == activation.Succeeded {
		return 0
	}
	return exitNotRun
}

// explain tells, line by line, how v came into its state.
func explain(v *activation.View) []control.WhyLine {
	what := "job " + v.ID
	if v.Kind == activation.Reservation {
		what = fmt.Sprintf("reservation %s, slot %s to %s", v.ID, rfc3339(v.Start), rfc3339(v.End))
	}
	if !v.Occurrence.IsZero() {
		what += fmt.Sprintf(", which is the occurrence of %s at %s,", v.Recurrence, rfc3339(v.Occurrence))
	}
	lines := []control.WhyLine{{Time: v.Created, Text: fmt.Sprintf("%s of %s became known, due at %s", what, owner(v), rfc3339(v.Start))}}
	for _, a := range v.Attempts {
		at := a.Result.Started
		if at.IsZero() {
			at = a.Claimed
		}
		lines = append(lines, control.WhyLine{Time: at, Text: fmt.Sprintf("%s attempt %d started", a.Phase, a.N)})
		if !a.Open || a.Hangs() {
			lines = append(lines, control.WhyLine{Time: a.Result.Ended, Text: activation.Describe(&a)})
		}
	}
	text := "it is " + string(v.State)
	if v.Outcome != "" {
		text += ", " + string(v.Outcome)
	}
	if v.Reason != "" {
		text += ": " + v.Reason
	}
	lines = append(lines, control.WhyLine{Time: v.Since, Text: text})
	for _, w := range v.WaitsFor {
		lines = append(lines, control.WhyLine{Text: "it waits for " + w})
	}
	if due := v.NextDue(); v.State != activation.Finished && due.After(time.Now()) {
		lines = append(lines, control.WhyLine{Text: "the next thing is due at " + rfc3339(due)})
	}
	return lines
}

func owner(v *activation.View) string {
	if v.Owner == "" {
		return "nobody"
	}
	return v.Owner
}
