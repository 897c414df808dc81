package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"activationd/control"
)

func newWhyCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "why ID",
		Short: "Explain why a job or reservation is in its state",
		Long: `Why tells the life of a job or reservation in order: who submitted it or which source
announced it, who changed what, when its scripts ran and how they ended. Then it says what
state it is in and why, what it waits for, and what you can do if it is stuck or held.
It also says why a reservation of a source was rejected or passed over.`,
		Args: takes(1, 1, "one ID"),
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
	clock, err := a.clock(ctx)
	if err != nil {
		return err
	}
	zone := "times are in " + clock.Zone // for the first line
	return stream(ctx, a, "why", in, func(l control.WhyLine) error {
		text := printable(l.Text)
		switch {
		case !l.Time.IsZero():
			text = clock.Time(l.Time) + "  " + text
			if zone != "" {
				text = zone + "\n" + text
			}
		case zone != "":
			text += " (" + zone + ")"
		}
		zone = ""
		_, err := fmt.Fprintln(os.Stdout, text)
		return err
	})
}
