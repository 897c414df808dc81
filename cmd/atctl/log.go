package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"activationd/control"
)

func newLogCommand(a *app) *cobra.Command {
	var in control.LogIn
	cmd := &cobra.Command{
		Use:   "log ID",
		Short: "Print what an attempt wrote",
		Long: `Log prints the output of an attempt, byte for byte: standard output and standard
error in the order in which they were written. Without --phase and --attempt it is
that of the newest attempt. "atctl show ID" lists the attempts.`,
		Args:              wants(1, 1, "one ID"),
		ValidArgsFunction: a.completeIDs("all"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.ID = args[0]
			return runLog(cmd.Context(), a, in)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&in.Follow, "follow", "f", false, "go on until it is finished")
	f.StringVar(&in.Phase, "phase", "", "that of `activate|deactivate`")
	f.IntVar(&in.Attempt, "attempt", 0, "that of the phase's attempt `N`")
	return cmd
}

func runLog(ctx context.Context, a *app, in control.LogIn) error {
	if a.json {
		return a.printJSON(ctx, "log", in)
	}
	return stream(ctx, a, "log", in, func(piece control.LogOut) error {
		data := []byte(piece.Text)
		if piece.Base64 != "" {
			var err error
			if data, err = base64.StdEncoding.DecodeString(piece.Base64); err != nil {
				return fmt.Errorf("the daemon's reply: %w", err)
			}
		}
		_, err := os.Stdout.Write(data)
		return err
	})
}
