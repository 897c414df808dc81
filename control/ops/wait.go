package ops

import (
	"context"

	"activationd/activation"
	"activationd/control"
)

// Exit statuses that do not come from the command. They are those of timeout(1) and of
// shells.
const (
	exitTimedOut = 124
	exitNotRun   = 125
	exitSignal   = 128 // plus the signal's number
)

func (d Daemon) wait(ctx context.Context, c control.Caller, in control.IDIn, send func(control.WaitOut) error) error {
	v, err := d.Engine.Wait(ctx, in.ID)
	if err != nil {
		return d.notAnID(ctx, "wait", in.ID, err)
	}
	v = v.For(actor(c))
	return send(control.WaitOut{Activation: wire(&v), Exit: exitStatus(&v)})
}

// exitStatus returns the exit status for a program that waited for v.
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
