package main

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"time"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/fault"
)

func newEditCommand(a *app) *cobra.Command {
	var in control.EditIn
	var file string
	cmd := &cobra.Command{
		Use:   "edit ID [flags] [-- COMMAND [ARG]...]",
		Short: "Change a job that has not begun",
		Long: `Edit changes a job that is scheduled, held or waiting; its id stays. The flags are
those of add. What is not given stays as it is; --lock and --tag name all that the job
shall have then, --env those variables that change. --clear takes away: lock, label,
tag, deadline, env; or has the configuration's hold again: timeout, grace, retries,
backoff.

A job whose time or locks change goes to the end of the line for its locks. A
reservation is changed where it is booked.`,
		Example: `  atctl edit 17 --at 'tomorrow 03:00'
  atctl edit 17 --priority 10 --clear lock,deadline
  atctl edit 17 -- /usr/local/bin/report --all`,
		Args:              wants(1, 0, "an ID; see atctl list"),
		ValidArgsFunction: a.completeIDs("scheduled,held,waiting"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.ID, in.Arg = args[0], args[1:]
			if at := cmd.ArgsLenAtDash(); len(in.Arg) > 0 && at != 1 {
				return fmt.Errorf("edit takes one ID; a new command comes after --: %w", fault.Invalid)
			}
			if !edits(in, file) && len(in.Arg) == 0 {
				return usage(cmd, "nothing is to be changed; say what by a flag, such as --at, or give a command after --")
			}
			return runEdit(cmd.Context(), a, in, file)
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.At, "at", "", "start then: `WHEN`")
	f.StringVar(&in.In, "in", "", "start that much later than now: `DURATION`")
	f.StringVar(&file, "file", "", "run the script in `FILE`; - is standard input")
	f.StringVar(&in.Dir, "dir", "", "start it in `DIR`")
	f.StringArrayVar(&in.Env, "env", nil, "set `NAME=VALUE`, or NAME to its current value; may be repeated")
	f.StringVar(&in.Timeout, "timeout", "", "stop it after `DURATION`")
	f.StringVar(&in.Grace, "grace", "", "between TERM and KILL, leave it `DURATION`")
	f.StringArrayVar(&in.Lock, "lock", nil, lockHelp)
	f.StringVar(&in.Retries, "retries", "", "when it fails, try it `N` times more")
	f.StringVar(&in.Backoff, "backoff", "", "pause for `DURATION` before the second try; it doubles")
	f.StringVar(&in.Label, "label", "", "`TEXT` that list shows")
	f.StringVar(&in.Missed, "missed", "", "if its time passes while the daemon is down, and a minute more: `run|skip`")
	f.StringVar(&in.Priority, "priority", "", "go before others of less `N` that wait for the same; -99 to 99")
	f.StringVar(&in.Deadline, "deadline", "", "be missed if it has not begun by then, and stop it if it runs:\n`WHEN`, or a duration after its start")
	f.StringArrayVar(&in.Tag, "tag", nil, "`TAG` that list can ask for; several with commas")
	f.StringSliceVar(&in.Clear, "clear", nil, "take away `FIELD`; several with commas")
	return cmd
}

// edits reports whether a flag asks for a change.
func edits(in control.EditIn, file string) bool {
	in.ID, in.Arg = "", nil
	return file != "" || !reflect.DeepEqual(in, control.EditIn{})
}

func runEdit(ctx context.Context, a *app, in control.EditIn, file string) error {
	if in.At != "" && in.In != "" {
		return fmt.Errorf("--at and --in exclude each other; give one: %w", fault.Invalid)
	}
	now := time.Now()
	in.At, in.Deadline = zoned(in.At, now), zoned(in.Deadline, now)
	opts := addOptions{file: file}
	if file != "" {
		if err := takeWork(&opts, in.Arg, os.Stdin); err != nil {
			return err
		}
		in.Arg, in.Script = opts.Arg, opts.Script
		if opts.Stdin != "" {
			return fmt.Errorf("%s begins with #!: give the interpreter as the command after --, or cancel the job and add it anew: %w", file, fault.Invalid)
		}
	}
	env, err := environment(in.Env, false, os.Environ())
	if err != nil {
		return err
	}
	in.Env = env
	return opts.explain(a.tell(ctx, "edit", in))
}

func newProgressCommand(a *app) *cobra.Command {
	in := control.ProgressIn{ID: os.Getenv("ACTIVATION_ID")}
	cmd := &cobra.Command{
		Use:   "progress [--percent N] [TEXT]",
		Short: "Tell how far a script has come",
		Long: `Progress is for scripts that the daemon runs: list and show tell what they said last,
until their attempt ends. In a script, ACTIVATION_ID says whose progress it is.`,
		Example: `  atctl progress --percent 40 'configuring sw2'`,
		Args:    wants(0, 1, "one TEXT; quote it"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				in.Text = args[0]
			}
			switch {
			case in.ID == "":
				return usage(cmd, "whose progress? ACTIVATION_ID is set in scripts that the daemon runs; elsewhere say --id ID")
			case in.Text == "" && in.Percent == "":
				return usage(cmd, "give --percent N, or a TEXT, or both")
			}
			return a.tell(cmd.Context(), "progress", in)
		},
	}
	cmd.Flags().StringVar(&in.ID, "id", in.ID, "of the job or reservation `ID`, not that of $ACTIVATION_ID")
	cmd.Flags().StringVar(&in.Percent, "percent", "", "`N` of 100")
	return cmd
}
