package main

import (
	"github.com/spf13/cobra"

	"activationd/control"
)

func newDellinkconfCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "dellinkconf ID",
		Short: "Detach the topology from a reservation",
		Args:  takes(1, 1, "one ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.do(cmd.Context(), "dellinkconf", control.DellinkconfIn{Delresid: args[0]})
		},
	}
}
