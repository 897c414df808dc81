package main

import (
	"os"

	"github.com/spf13/cobra"

	"activationd/control"
)

func newLoginsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "logins",
		Short: "List logins that devices have refused",
		Long: `Logins lists the passwords and keys that devices have refused, by device and user, with
the activation and the message of the device. The daemon does not try such a password
or key again until the inventory has another one, or until an operator uses "atctl retry
--device DEVICE" or retries the activation. The state "trying" means that the password or
key may have been sent, and the answer of the device is unknown.`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.json {
				return a.printJSON(cmd.Context(), "login list", nil)
			}
			t := newTable(os.Stdout, column{"DEVICE", 0}, column{"USER", 24}, column{"WHAT", 0}, column{"STATE", 0},
				column{"SINCE", 0}, column{"FOR", 24}, column{"SAID", 0})
			var err error
			if t.times, err = a.clock(cmd.Context()); err != nil {
				return err
			}
			err = stream(cmd.Context(), a, "login list", nil, func(l control.Login) error {
				return t.row(l.Device, l.User, l.What, l.State, l.Since, l.For, l.Said)
			})
			return t.end(err)
		},
	}
}
