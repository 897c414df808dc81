package main

import (
	"github.com/spf13/cobra"

	"activationd/control"
)

func newDellinkconfCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "dellinkconf ID",
		Short:             "Take a reservation's topology away again",
		Args:              wants(1, 1, "one ID"),
		ValidArgsFunction: a.completeIDs(""),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.tell(cmd.Context(), "dellinkconf", control.DellinkconfIn{Delresid: args[0]})
		},
	}
}
