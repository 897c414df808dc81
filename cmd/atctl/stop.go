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
		Long: `Stop ends the daemon. What runs goes on under its wrappers, and a daemon that is
started again finds it. With --drain, nothing new is started, and the daemon ends
when nothing runs any more.

Stop ends no job; that is "atctl cancel ID".`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(cmd, "stop ends the daemon; to end a job, say atctl cancel "+args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.tell(cmd.Context(), "stop", in)
		},
	}
	cmd.Flags().BoolVar(&in.Drain, "drain", false, "wait for what runs")
	return cmd
}
