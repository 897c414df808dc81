package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/display"
)

// Each command of this file does the same with several ids, or with all that filters choose. If it succeeds, it says so on
// a terminal only.

func newCancelCommand(a *app) *cobra.Command {
	var reason string
	cmd := newVerbCommand(a, "cancel", "Cancel jobs or reservations", `Cancel stops a running script with all processes that it started, and deactivates a
reservation that was activated. A job or reservation that has not begun will not begin.`,
		func(id string, was []string) any { return control.CancelIn{ID: id, Reason: reason, Was: was} })
	cmd.Flags().StringVar(&reason, "reason", "", "record `TEXT` as the reason")
	return cmd
}

func newHoldCommand(a *app) *cobra.Command {
	return newVerbCommand(a, "hold", "Keep scheduled jobs or reservations from starting",
		`Hold keeps a scheduled job or reservation from starting until it is released, even if the
configuration is reloaded.`, byID)
}

func newReleaseCommand(a *app) *cobra.Command {
	return newVerbCommand(a, "release", "Let held jobs or reservations start again",
		`Release undoes hold. If a job or reservation was due in the meantime, its --missed policy
decides what happens.`, byID)
}

func newRunCommand(a *app) *cobra.Command {
	return newVerbCommand(a, "run", "Start scheduled jobs or reservations now",
		`Run starts a job or reservation now, before its time. It still waits for its locks, and
for the jobs of --after.`, byID)
}

func newRetryCommand(a *app) *cobra.Command {
	cmd, b := newBulkCommand("retry", "Run failed jobs or reservations again, or a stuck deactivation",
		`If a reservation is stuck because its deactivation has failed too often, retry starts the
deactivation again. If a job or reservation has finished without success, retry runs it
again. It keeps its id and may use all its attempts again. A job starts at once, even
before its planned time. A job can be retried until its deadline, a reservation until
its slot ends.

A job that has succeeded is run again if its ID is the only one, or with --outcome
succeeded or --all. With several IDs, it is refused. Filters without --state, --outcome
and --all choose only what --failed chooses.

The daemon does not try a password or key again that a device has refused, unless an
operator retries the activation that needed it, or uses retry --device DEVICE, without an
ID or another filter. "atctl logins" lists refused logins.`, map[string]string{"device": ""})
	var devices []string
	cmd.Flags().StringSliceVar(&devices, "device", nil, "try the logins again that `DEVICE` has refused; separate several with commas; with another filter: only reservations of one of these devices")
	cmd.Use = "retry {ID... | FILTER... | --device DEVICE...}"
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(devices) > 0 && len(args) == 0 {
			return nil
		}
		return b.needs(cmd, args)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		given, err := b.given(cmd, len(args))
		switch {
		case err != nil:
			return err
		case given:
			b.Device = devices
			return b.run(cmd.Context(), a, func(act *control.Activation) any { return control.RetryIn{ID: act.ID, Was: b.was(act)} })
		}
		if len(devices) > 0 {
			return forEachID(devices, b.keepGoing, func(device string) error {
				return a.do(cmd.Context(), "login retry", control.DeviceIn{Device: device})
			})
		}
		return b.eachID(cmd.Context(), a, args, func(id string) any { return control.RetryIn{ID: id, Failed: len(args) > 1} })
	}
	return cmd
}

func newForgiveCommand(a *app) *cobra.Command {
	return newVerbCommand(a, "forgive", "Mark stuck or hanging jobs or reservations as ended",
		`Forgive marks a stuck job or reservation as finished although its deactivation was never
verified. Use it after cleaning up by hand; the log records who did.

If an attempt has ended, but one of its processes hangs in the kernel, forgive marks the
attempt as ended. Use it when that process can do no more harm.`, byID)
}

func byID(id string, was []string) any { return control.VerbIn{ID: id, Was: was} }

// newVerbCommand returns the command for the operation verb.
func newVerbCommand(a *app, verb, short, long string, in func(id string, was []string) any) *cobra.Command {
	cmd, b := newBulkCommand(verb, short, long, nil)
	cmd.Args = b.needs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		given, err := b.given(cmd, len(args))
		switch {
		case err != nil:
			return err
		case given:
			return b.run(cmd.Context(), a, func(act *control.Activation) any { return in(act.ID, b.was(act)) })
		}
		return b.eachID(cmd.Context(), a, args, func(id string) any { return in(id, nil) })
	}
	return cmd
}

// newBulkCommand returns the command for a verb that takes IDs or filters, without what it
// does.
func newBulkCommand(verb, short, long string, named map[string]string) (*cobra.Command, *bulk) {
	b := new(bulk)
	cmd := &cobra.Command{
		Use:   verb + " {ID... | FILTER...}",
		Short: short,
		Long: long + `

It stops at the first ID that fails, unless --keep-going is given. With filters instead of
IDs, it finds all that match and for which the command is possible, says how many there
are, and asks before it tries all of them. Without a terminal, it cannot ask and needs
--yes.`,
	}
	b.flags(cmd, verb, named)
	cmd.Flags().BoolVarP(&b.keepGoing, "keep-going", "k", false, "try every ID")
	return cmd, b
}

// eachID carries out the verb on ids.
func (b *bulk) eachID(ctx context.Context, a *app, ids []string, in func(id string) any) error {
	return forEachID(ids, b.keepGoing, func(id string) error {
		if a.json || !isTerminal(os.Stdout) {
			return a.do(ctx, b.verb, in(id))
		}
		act, err := call[control.Activation](ctx, a, b.verb, in(id))
		if err != nil {
			return err
		}
		text := display.NowIs(&act)
		if act.Reason != "" {
			text += ": " + act.Reason
		}
		_, err = fmt.Println(printable(text))
		return err
	})
}
