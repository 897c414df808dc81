package main

import (
	"context"
	"fmt"
	"os"
	"reflect"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/fault"
)

func newEditCommand(a *app) *cobra.Command {
	var in control.EditIn
	var file string
	var b bulk
	cmd := &cobra.Command{
		Use:   "edit {ID | FILTER...} [flags] [-- COMMAND [ARG]...]",
		Short: "Change a job that has not begun",
		Long: `Edit changes a job that is scheduled, held or waiting; its id stays the same. The flags
are those of add. Only the given fields change; --lock and --tag replace all locks and
tags of the job, --env sets single variables. --clear removes lock, label, tag, deadline
or env, and sets timeout, grace, retries or backoff to the configuration's defaults.

A job whose time or locks change goes to the end of the queue for its locks. To change a
reservation, change it in the reservation system.

With filters instead of an ID, edit changes all jobs that match. It asks first, unless --yes
is given. The filters for labels and tags are --with-label and --with-tag, because
--label and --tag are what the jobs get.`,
		Example: `  atctl edit 17 --at 'tomorrow 03:00'
  atctl edit 17 --priority 10 --clear lock,deadline
  atctl edit 17 -- /usr/local/bin/report --all
  atctl edit --with-tag nightly --priority -5`,
		Args: func(cmd *cobra.Command, args []string) error {
			if at := cmd.ArgsLenAtDash(); at >= 0 {
				args = args[:at]
			}
			return b.needs(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ids := len(args)
			if at := cmd.ArgsLenAtDash(); at >= 0 {
				ids = at
			}
			given, err := b.given(cmd, ids)
			if err != nil {
				return err
			}
			if ids > 1 {
				return fmt.Errorf("edit takes one ID; write a new command after --: %w", fault.Invalid)
			}
			in.Arg = args[ids:]
			if !edits(in, file) && len(in.Arg) == 0 {
				return usage(cmd, "nothing to change; use a flag such as --at, or write a command after --")
			}
			opts, err := settleEdit(&in, file)
			if err != nil {
				return err
			}
			if !given {
				in.ID = args[0]
				return runEdit(cmd.Context(), a, in, opts)
			}
			return opts.explain(b.run(cmd.Context(), a, func(act *control.Activation) any {
				one := in
				one.ID, one.Was = act.ID, b.was(act)
				return one
			}))
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.At, "at", "", "start at the time `WHEN`")
	f.StringVar(&in.In, "in", "", "start `DURATION` after now")
	f.StringVar(&in.Deadline, "deadline", "", deadlineHelp)
	editFlags(cmd, &in.JobEdit, &file)
	b.flags(cmd, "edit", map[string]string{"label": "with-label", "tag": "with-tag", "outcome": "", "failed": ""})
	return cmd
}

// editFlags are the flags that edit and every edit share.
func editFlags(cmd *cobra.Command, in *control.JobEdit, file *string) {
	f := cmd.Flags()
	f.StringVar(file, "file", "", fileHelp)
	f.StringVar(&in.Dir, "dir", "", "start in `DIR`")
	f.StringArrayVar(&in.Env, "env", nil, envHelp)
	f.StringVar(&in.Timeout, "timeout", "", timeoutHelp)
	f.StringVar(&in.Grace, "grace", "", graceHelp)
	f.StringArrayVar(&in.Lock, "lock", nil, lockHelp)
	f.StringVar(&in.Retries, "retries", "", retriesHelp)
	f.StringVar(&in.Backoff, "backoff", "", backoffHelp)
	f.StringVar(&in.Label, "label", "", labelHelp)
	f.StringVar(&in.Missed, "missed", "", missedHelp)
	f.StringVar(&in.Priority, "priority", "", priorityHelp)
	f.StringArrayVar(&in.Tag, "tag", nil, tagHelp)
	f.StringSliceVar(&in.Clear, "clear", nil, "remove `FIELD`; separate several fields with commas")
}

// clearable are the fields that --clear of edit or every edit takes. Each is the name of a flag.
var clearable = []string{"lock", "label", "tag", "deadline", "env", "timeout", "grace", "retries", "backoff", "tz", "jitter", "start", "end"}

// edits reports whether a flag asks for a change.
func edits(in control.EditIn, file string) bool {
	in.ID, in.Arg = "", nil
	return file != "" || !reflect.DeepEqual(in, control.EditIn{})
}

// settleEdit adds the user's zone to times, and reads the script and the variables.
func settleEdit(in *control.EditIn, file string) (addOptions, error) {
	if in.At != "" && in.In != "" {
		return addOptions{}, fmt.Errorf("--at and --in exclude each other; use one of them: %w", fault.Invalid)
	}
	if err := zoneTimes(&in.At, &in.Deadline); err != nil {
		return addOptions{}, err
	}
	return settleJob(&in.JobEdit, file)
}

// settleJob reads the script and the variables.
func settleJob(in *control.JobEdit, file string) (addOptions, error) {
	opts := addOptions{file: file}
	if file != "" {
		if err := takeWork(&opts, in.Arg, os.Stdin); err != nil {
			return opts, err
		}
		in.Arg, in.Script, in.Title = opts.Arg, opts.Script, opts.Title
		if opts.Stdin != "" {
			return opts, fmt.Errorf("%s begins with #!: write the interpreter as the command after --, or cancel the job and add it again: %w", file, fault.Invalid)
		}
	}
	env, err := environment(in.Env, false, os.Environ())
	if err != nil {
		return opts, err
	}
	in.Env = env
	return opts, nil
}

func runEdit(ctx context.Context, a *app, in control.EditIn, opts addOptions) error {
	if a.json {
		return opts.explain(a.printJSON(ctx, "edit", in))
	}
	out, err := call[control.EditOut](ctx, a, "edit", in)
	if err != nil {
		return opts.explain(err)
	}
	notice("job "+out.ID, out.Notices)
	return nil
}

func newProgressCommand(a *app) *cobra.Command {
	in := control.ProgressIn{ID: os.Getenv("ACTIVATION_ID")}
	cmd := &cobra.Command{
		Use:   "progress [--percent N] [TEXT]",
		Short: "Report the progress of a script",
		Long: `Progress reports the progress of a script that the daemon runs. List and show print the
last report until the attempt ends. The daemon sets ACTIVATION_ID for the script, so
progress knows the job or reservation.`,
		Example: `  atctl progress --percent 40 'configuring sw2'`,
		Args:    takes(0, 1, "one TEXT; quote it"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				in.Text = args[0]
			}
			switch {
			case in.ID == "":
				return usage(cmd, "ACTIVATION_ID is not set, as it is in scripts that the daemon runs; name the job or reservation with --id ID")
			case in.Text == "" && in.Percent == "":
				return usage(cmd, "progress needs --percent N, or a TEXT, or both")
			}
			return a.do(cmd.Context(), "progress", in)
		},
	}
	cmd.Flags().StringVar(&in.ID, "id", in.ID, "report for the job or reservation `ID` instead of $ACTIVATION_ID")
	cmd.Flags().StringVar(&in.Percent, "percent", "", "`N` percent are done")
	return cmd
}
