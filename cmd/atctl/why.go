package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"activationd/control"
)

func newWhyCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "why ID",
		Short: "Explain why a job or a reservation is in its state",
		Long: `Why explains the state that a job or a reservation is in: what it waits for, why it
ran, was skipped or was lost.`,
		Args:              wants(1, 1, "one ID"),
		ValidArgsFunction: a.completeIDs("all"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runWhy(cmd.Context(), a, args[0])
		},
	}
}

func runWhy(ctx context.Context, a *app, id string) error {
	in := control.IDIn{ID: id}
	if a.json {
		return a.printJSON(ctx, "why", in)
	}
	return stream(ctx, a, "why", in, func(l control.WhyLine) error {
		when := ""
		if !l.Time.IsZero() {
			when = l.Time.Local().Format(time.DateTime) + "  "
		}
		_, err := fmt.Fprintln(os.Stdout, when+printable(l.Text))
		return err
	})
}
