package main

import (
	"context"
	"encoding/base64"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"activationd/control"
)

func newFilesCommand(a *app) *cobra.Command {
	var in control.FilesIn
	cmd := &cobra.Command{
		Use:   "files ID [NAME]",
		Short: "List the files of attempts, or print one",
		Long: `Files lists what the attempts of a job or reservation have in their configuration
directories ($ACTIVATION_CONFIG_DIR), or have left there: the configurations that atctl lab
has generated, and transcripts, say. With NAME it prints that file, byte for byte, of the
newest attempt that has it. NAME.diff is what is sent to the device NAME, as a difference.

As operator you can read differences and transcripts of all activations; all other files
may have secrets in them, and are for the owner of a job, and for admins.`,
		Example: `  atctl files 1042@ostrava
  atctl files 1042@ostrava r1.diff
  atctl files --attempt 2 17 result`,
		Args: takes(1, 2, "one ID, and the name of a file of it"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.ID = args[0]
			if len(args) == 2 {
				return printFile(cmd.Context(), a, control.FileIn{ID: in.ID, Name: args[1], Phase: in.Phase, Attempt: in.Attempt})
			}
			return listFiles(cmd.Context(), a, in)
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.Phase, "phase", "", "of the phase `activate|deactivate`")
	f.StringVar(&in.Attempt, "attempt", "", "of attempt `N`")
	return cmd
}

func listFiles(ctx context.Context, a *app, in control.FilesIn) error {
	if a.json {
		return a.printJSON(ctx, "files", in)
	}
	t := newTable(os.Stdout, column{"PHASE", 0}, column{"ATTEMPT", 0}, column{"SIZE", 0}, column{"CHANGED", 0}, column{"NAME", 0})
	var err error
	if t.times, err = a.clock(ctx); err != nil {
		return err
	}
	err = stream(ctx, a, "files", in, func(f control.File) error {
		return t.row(f.Phase, f.N, strconv.FormatInt(f.Size, 10), f.Time, f.Name)
	})
	return t.end(err)
}

func printFile(ctx context.Context, a *app, in control.FileIn) error {
	if a.json {
		return a.printJSON(ctx, "file", in)
	}
	return stream(ctx, a, "file", in, func(piece control.FileOut) error {
		data, err := base64.StdEncoding.DecodeString(piece.Base64)
		if err == nil {
			_, err = os.Stdout.Write(data)
		}
		return err
	})
}
