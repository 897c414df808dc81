package main

import (
	"github.com/spf13/cobra"

	"activationd/control"
)

// The commands of this file each ask one thing for several ids, and print
// nothing when all is well.

func newCancelCommand(a *app) *cobra.Command {
	var reason string
	cmd := newVerbCommand(a, "cancel", "Cancel jobs or reservations", `Cancel ends what runs, with everything that it started, and undoes what was
activated. What has not begun will not begin.`, "",
		func(id string) any { return control.CancelIn{ID: id, Reason: reason} })
	cmd.Flags().StringVar(&reason, "reason", "", "`TEXT` to keep with it")
	return cmd
}

func newHoldCommand(a *app) *cobra.Command {
	return newVerbCommand(a, "hold", "Keep scheduled ones from starting",
		`Hold keeps a job or a reservation that is scheduled from starting until it is
released. Reloading does not change that.`, "scheduled", byID)
}

func newReleaseCommand(a *app) *cobra.Command {
	return newVerbCommand(a, "release", "Let held ones start again",
		`Release undoes hold. What was due meanwhile follows its policy for missed ones.`, "held", byID)
}

func newRunCommand(a *app) *cobra.Command {
	return newVerbCommand(a, "run", "Start scheduled ones now",
		`Run starts a job or a reservation now, before its time. It still waits for its locks, and
for those that it is to come after.`, "scheduled,held", byID)
}

func newRetryCommand(a *app) *cobra.Command {
	cmd := newVerbCommand(a, "retry", "Run again what has failed, or the deactivation of stuck ones",
		`Retry tries the deactivation again of a reservation that is stuck because its attempts
were used up. What is finished and did not succeed is run again, under its id and with
all the attempts that it had: a job unless its deadline has passed, a reservation
while its slot lasts.

A password or key that a device has refused is not tried again. When an operator says
retry of an activation that wanted it, it is; so it is with --device, whoever wanted it,
and then no ID is needed. "atctl logins" lists them.`, "stuck", byID)
	var devices []string
	cmd.Flags().StringArrayVar(&devices, "device", nil, "have what `DEVICE` has refused tried again; may be repeated")
	retry := cmd.RunE
	cmd.Use = "retry {ID... | --device DEVICE...}"
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(devices) > 0 && len(args) == 0 {
			return nil
		}
		return wants(1, 0, "an ID, see atctl list, or --device")(cmd, args)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		for _, d := range devices {
			if err := a.tell(cmd.Context(), "login retry", control.DeviceIn{Device: d}); err != nil {
				return err
			}
		}
		return retry(cmd, args)
	}
	return cmd
}

func newForgiveCommand(a *app) *cobra.Command {
	return newVerbCommand(a, "forgive", "Take what is stuck, or hangs, for ended",
		`Forgive takes a stuck job or reservation for finished, though its deactivation was
not proved: you have cleaned up yourself, or take the blame. It is recorded.

An attempt that has ended but for a process which hangs in the kernel, so that
nobody can say what it may still do, is taken for ended: the process can do no harm
any more.`, "stuck,activating,deactivating", byID)
}

func byID(id string) any { return control.IDIn{ID: id} }

// newVerbCommand makes the command for the operation verb. Its ids are
// completed from those in one of states, or all that are not finished.
func newVerbCommand(a *app, verb, short, long, states string, in func(id string) any) *cobra.Command {
	var keepGoing bool
	cmd := &cobra.Command{
		Use:               verb + " ID...",
		Short:             short,
		Long:              long + "\n\nIt stops at the first ID that fails, unless --keep-going is given.",
		Args:              wants(1, 0, "an ID; see atctl list"),
		ValidArgsFunction: a.completeIDs(states),
		RunE: func(cmd *cobra.Command, args []string) error {
			return each(args, keepGoing, func(id string) error {
				return a.tell(cmd.Context(), verb, in(id))
			})
		},
	}
	cmd.Flags().BoolVarP(&keepGoing, "keep-going", "k", false, "try every ID")
	return cmd
}
