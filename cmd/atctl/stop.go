package main

import (
	"github.com/spf13/cobra"

	"activationd/control"
)

func newStopCommand(a *app) *cobra.Command {
	var in control.StopIn
	cmd := &cobra.Command{
		Use:   "stop",
		Short: "Stop the daemon",
		Long: `Stop stops the daemon. Running jobs and reservations go on, and the next daemon takes
them over. With --drain, the daemon starts nothing new, and stops when nothing runs any
more.

Stop does not end jobs; use "atctl cancel ID" for that.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(cmd, "stop stops the daemon; to end a job, use atctl cancel "+args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.do(cmd.Context(), "stop", in)
		},
	}
	cmd.Flags().BoolVar(&in.Drain, "drain", false, "wait until nothing runs any more")
	return cmd
}
