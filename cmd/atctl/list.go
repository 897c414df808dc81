package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/help"
	"activationd/internal/timetext"
)

type listOptions struct {
	control.ListIn
	all bool
}

func newListCommand(a *app) *cobra.Command {
	var opts listOptions
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List jobs and reservations",
		Long: `List shows jobs and reservations that are not finished, the next one first. With --all
it shows finished ones after them, the newest first.

If several options choose, a job or reservation must match all of them. --outcome, --failed,
--since and --until show finished ones without --all, and so does --state with a word for
finished ones.

START is when a job or reservation started, or is to start. END is when it ended, or, if
a reservation is not finished, the end of its slot. TOOK is the time from start to end.
EXIT is the exit status of the last attempt to run or activate it, or the signal that ended
that attempt. REASON explains the state; "atctl why ID" explains it in detail.

Times are in the zone of the daemon, which the heading names. On a narrow terminal times
are shorter, columns are left out, and the reason is below the row. States have colours,
unless NO_COLOR is set. Columns may be added, so scripts should use --json:
its rows are the same, in the same order.`,
		Example: `  atctl list --failed --since 22:00 --until 06:00
  atctl list --state finished --limit 10
  atctl list --match backup --sort took --reverse --all`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := refuseEmpty(cmd, ""); err != nil {
				return err
			}
			return runList(cmd.Context(), a, opts)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&opts.all, "all", false, "finished jobs and reservations, too")
	f.StringSliceVar(&opts.State, "state", nil, "only those in `STATE`: scheduled, held, waiting, running, activating, active, "+
		"deactivating, stuck, finished, or an outcome; rejected or over: reservations of sources that are not in force; separate several with commas")
	f.StringSliceVar(&opts.Outcome, "outcome", nil, "only those that finished with `OUTCOME`: succeeded, failed, timed_out, cancelled, "+
		"missed, lost; separate several with commas")
	f.BoolVar(&opts.Failed, "failed", false, "only those that finished without success and were not cancelled, and those that are stuck")
	f.StringVar(&opts.Since, "since", "", "only those that ended at `WHEN` or later, or have not ended; 22:00 is the last time "+
		"that it was ten o'clock, 2h is two hours ago")
	f.StringVar(&opts.Until, "until", "", "only those that began, or were to begin, at `WHEN` or earlier; 06:00 is the first six "+
		"o'clock after --since")
	f.StringVar(&opts.Owner, "owner", "", "only those of `OWNER`")
	f.StringVar(&opts.Kind, "kind", "", "only those of `KIND`: job, reservation or service (an instance); without it no services")
	f.StringVar(&opts.Label, "label", "", "only those with the label `TEXT`, in which * stands for any text and ? for any character")
	f.StringArrayVar(&opts.Tag, "tag", nil, "only jobs with the `TAG`; with commas: with all these tags")
	f.StringVar(&opts.Device, "device", "", "only reservations of the device `NAME`, and jobs that request it as a lock")
	f.StringVar(&opts.Every, "every", "", "only jobs of the recurrence `NAME`")
	f.StringVar(&opts.Match, "match", "", "only those with `TEXT` in their id, owner, label, reason, command or script, in upper or lower case")
	f.StringVar(&opts.Sort, "sort", "", "sort by `WHAT`: planned, started, ended, due, took, id, owner or state; those without it come last")
	f.BoolVar(&opts.Reverse, "reverse", false, "reverse the order")
	f.IntVar(&opts.Limit, "limit", 0, "at most `N`, the first ones")
	help.Section(cmd, "Which ones:", "all", "state", "outcome", "failed", "since", "until", "owner", "kind", "label", "tag", "device", "every", "match")
	help.Section(cmd, "In which order:", "sort", "reverse", "limit")
	return cmd
}

func runList(ctx context.Context, a *app, opts listOptions) error {
	if opts.all {
		opts.State = append(opts.State, "all")
	}
	now := time.Now()
	since := zonedPast(&opts.Since, now, time.Time{})
	zonedPast(&opts.Until, now, since)
	if a.json {
		return a.printJSON(ctx, "list", opts.ListIn)
	}
	clock, err := a.clock(ctx)
	if err != nil {
		return err
	}
	t := newTable(os.Stdout, column{"ID", 0}, column{"STATE", 0}, column{"START", 0}, column{"END", 0}, column{"TOOK", 0},
		column{"EXIT", 0}, column{"OWNER", 16}, column{"LABEL OR COMMAND", 40}, column{"REASON", 0})
	t.times, t.spare = clock, []string{"OWNER"}
	err = stream(ctx, a, "list", opts.ListIn, func(act control.Activation) error {
		start, end := times(act)
		return t.row(act.ID, state(act), start, end, took(act), exit(act), act.Owner, what(act), situation(act))
	})
	return t.end(err) // lines before a failure are useful
}

// zonedPast adds the user's zone, which is now's, to a time of the past: the daemon may have
// another zone. It returns the time. Text that it cannot read is left to the daemon. See
// [timetext.Past].
func zonedPast(text *string, now, after time.Time) time.Time {
	if *text == "" {
		return time.Time{}
	}
	t, err := timetext.Past(*text, now, after, now.Location())
	if err == nil {
		*text = t.Format(time.RFC3339Nano)
	}
	return t
}

// situation returns the progress of a running script, and why act is in its state, unless
// its exit status says it.
func situation(act control.Activation) string {
	if act.Outcome == "succeeded" && strings.HasSuffix(act.Reason, "exited with status 0") {
		return ""
	}
	p := progress(act.Progress)
	if p == "" || act.Reason == "" {
		return p + act.Reason
	}
	return p + "; " + act.Reason
}

// progress returns the progress that a script has reported.
func progress(p *control.Progress) string {
	switch {
	case p == nil:
		return ""
	case p.Percent == nil:
		return p.Text
	}
	return strings.TrimRight(fmt.Sprintf("%d %% %s", *p.Percent, p.Text), " ")
}

// state returns the state in the user's words.
func state(act control.Activation) string {
	return cmp.Or(act.Status, control.Status(act.Kind, act.State, act.Outcome)) // an older daemon does not send it
}

// times returns when act started and ended, or is to start and to end.
func times(act control.Activation) (start, end time.Time) {
	start, end = act.Started.Time, act.Ended.Time
	if act.Outcome != "" {
		return start, end
	}
	if start.IsZero() {
		start = act.Planned
	}
	return start, act.End.Time
}

// took returns how long act ran, if it is finished.
func took(act control.Activation) string {
	if act.Took == nil {
		return ""
	}
	return lasted(time.Duration(*act.Took * float64(time.Second)))
}

// exit returns the exit status, or the signal.
func exit(act control.Activation) string {
	if act.Exit != nil {
		return strconv.Itoa(*act.Exit)
	}
	return act.Signal
}

// what returns a job's label, script or command.
func what(act control.Activation) string {
	name := cmp.Or(act.Label, act.Script, act.Command)
	if name == "" && act.Hidden {
		return "(hidden)"
	}
	return name
}
