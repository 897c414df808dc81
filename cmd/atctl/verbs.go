package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"activationd/control"
)

// Each command of this file does the same with several ids. If it succeeds, it says so on
// a terminal only.

func newCancelCommand(a *app) *cobra.Command {
	var reason string
	cmd := newVerbCommand(a, "cancel", "Cancel jobs or reservations", `Cancel stops a running script with all processes that it started, and deactivates a
reservation that was activated. A job or reservation that has not begun will not begin.`,
		func(id string) any { return control.CancelIn{ID: id, Reason: reason} })
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
	several := false
	cmd := newVerbCommand(a, "retry", "Run failed jobs or reservations again, or a stuck deactivation",
		`If a reservation is stuck because its deactivation has failed too often, retry starts the
deactivation again. If a job or reservation has finished without success, retry runs it
again. It keeps its id and may use all its attempts again. A job starts at once, even
before its planned time. A job can be retried until its deadline, a reservation until
its slot ends.

A job that has succeeded is run again if its ID is the only one. With several IDs, it is
refused.

The daemon does not try a password or key again that a device has refused, unless an
operator retries the activation that needed it, or uses retry --device DEVICE, without an
ID. "atctl logins" lists refused logins.`, func(id string) any { return control.RetryIn{ID: id, Failed: several} })
	var devices []string
	cmd.Flags().StringArrayVar(&devices, "device", nil, "try the logins again that `DEVICE` has refused; may be repeated")
	retry := cmd.RunE
	cmd.Use = "retry {ID... | --device DEVICE...}"
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(devices) > 0 && len(args) == 0 {
			return nil
		}
		return takes(1, 0, "an ID, see atctl list, or --device")(cmd, args)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		several = len(args) > 1
		for _, d := range devices {
			if err := a.do(cmd.Context(), "login retry", control.DeviceIn{Device: d}); err != nil {
				return err
			}
		}
		return retry(cmd, args)
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

func byID(id string) any { return control.IDIn{ID: id} }

// newVerbCommand returns the command for the operation verb.
func newVerbCommand(a *app, verb, short, long string, in func(id string) any) *cobra.Command {
	var keepGoing bool
	cmd := &cobra.Command{
		Use:   verb + " ID...",
		Short: short,
		Long:  long + "\n\nIt stops at the first ID that fails, unless --keep-going is given.",
		Args:  takes(1, 0, "an ID; see atctl list"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return forEachID(args, keepGoing, func(id string) error {
				if a.json || !isTerminal(os.Stdout) {
					return a.do(cmd.Context(), verb, in(id))
				}
				act, err := call[control.Activation](cmd.Context(), a, verb, in(id))
				if err != nil {
					return err
				}
				text := nowIs(&act)
				if act.Reason != "" {
					text += ": " + act.Reason
				}
				_, err = fmt.Println(printable(text))
				return err
			})
		},
	}
	cmd.Flags().BoolVarP(&keepGoing, "keep-going", "k", false, "try every ID")
	return cmd
}
