package main

import (
	"errors"
	"os"
	"time"

	"github.com/spf13/cobra"

	"activationd/control"
)

func newLoginsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "logins",
		Short: "List what devices have refused",
		Long: `Logins lists the passwords and keys that devices have refused, by device and user, for
which activation that was and what the device said. None of them is tried again,
whoever wants to, until there is another one in the inventory, or an operator says
"atctl retry --device DEVICE" or retries the activation. One that is "trying" was given
twice, and nobody knows what the device thought of it.`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.json {
				return a.printJSON(cmd.Context(), "login list", nil)
			}
			t := newTable(os.Stdout, column{"DEVICE", 0}, column{"USER", 24}, column{"WHAT", 0}, column{"STATE", 0},
				column{"SINCE", 0}, column{"FOR", 24}, column{"SAID", 0})
			now := time.Now()
			err := stream(cmd.Context(), a, "login list", nil, func(l control.Login) error {
				return t.row(l.Device, l.User, l.What, l.State, instant(l.Since, now), l.For, l.Said)
			})
			return errors.Join(err, t.flush())
		},
	}
}
