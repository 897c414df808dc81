package ops

import (
	"context"
	"slices"

	"activationd/activation"
	"activationd/control"
)

func (d Daemon) show(ctx context.Context, c control.Caller, in control.IDIn) (control.Reply[control.Detail], error) {
	v, err := d.get(ctx, c, in.ID)
	if err = d.notAnID(ctx, "show", in.ID, err); err != nil {
		return control.Reply[control.Detail]{}, err
	}
	return control.Reply[control.Detail]{Lines: []control.Detail{d.detail(&v)}}, nil
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
	if v.Serving != nil { // it has no end
		out.Timeout, out.Backoff, out.Retries = "", v.Serving.BackoffFirst.String(), 0
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
	if v.Inputs {
		out.Stdin = stdin(&v.Order)
		out.Env, out.Masked = variables(set.Env, v.Env)
	}
	if j := v.AtJob; j != nil {
		out.Queue, out.Mail, out.MailTo = j.Queue, j.Mail, j.MailTo
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

// exit returns the exit status of an attempt, nil if there is none, and the signal that
// ended it.
func exit(a *activation.Attempt) (status *int, signal string) {
	if n, ok := a.Result.ExitStatus(); ok && (!a.Open || a.Hangs()) {
		status = &n
	}
	return status, a.Result.SignalName()
}

func attempt(a activation.Attempt) control.Attempt {
	r := a.Result
	out := control.Attempt{
		Phase: a.Phase, N: a.N, PID: r.PID, Started: r.Started, Ended: r.Ended, Reason: r.Reason, Text: r.Text,
		Contained: r.Contained, Leftovers: r.Leftovers,
		Rusage: control.Rusage{User: r.User.Seconds(), System: r.System.Seconds(), MaxRSS: r.MaxRSS},
	}
	for _, h := range r.Hung {
		out.Hung = append(out.Hung, h.PID)
	}
	out.Exit, out.Signal = exit(&a)
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
