package main

import (
	"context"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/display"
	"activationd/internal/help"
	"activationd/internal/timetext"
)

type listOptions struct {
	choice
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
	opts.choice.flags(f, nil)
	f.StringVar(&opts.Sort, "sort", "", "sort by `WHAT`: planned, started, ended, due, took, id, owner or state; those without it come last")
	f.BoolVar(&opts.Reverse, "reverse", false, "reverse the order")
	f.IntVar(&opts.Limit, "limit", 0, "at most `N`, the first ones")
	help.Section(cmd, whichOnes, append([]string{"all"}, choiceFlags...)...)
	help.Section(cmd, "In which order:", "sort", "reverse", "limit")
	return cmd
}

func runList(ctx context.Context, a *app, opts listOptions) error {
	if opts.all {
		opts.State = append(opts.State, "all")
	}
	opts.settle()
	if a.json {
		return a.printJSON(ctx, "list", opts.ListIn)
	}
	t, err := newList(ctx, a, os.Stdout)
	if err != nil {
		return err
	}
	err = stream(ctx, a, "list", opts.ListIn, t.activation)
	return t.end(err) // lines before a failure are useful
}

// A listTable is the table of list.
type listTable struct{ *table }

func newList(ctx context.Context, a *app, out io.Writer) (listTable, error) {
	clock, err := a.clock(ctx)
	if err != nil {
		return listTable{}, err
	}
	t := newTable(out, column{"ID", 0}, column{"STATE", 0}, column{"START", 0}, column{"END", 0}, column{"TOOK", 0},
		column{"EXIT", 0}, column{"OWNER", 16}, column{"LABEL OR COMMAND", 40}, column{"REASON", 0})
	t.times, t.spare = clock, []string{"OWNER"}
	return listTable{t}, nil
}

// activation adds the row of act.
func (t listTable) activation(act control.Activation) error {
	start, end := times(act)
	return t.row(act.ID, display.State(&act), start, end, took(act), exit(act), act.Owner, display.Name(&act), situation(act))
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

// situation returns the progress of a running script, why act is in its state, unless its
// exit status says it, and its conflicts.
func situation(act control.Activation) string {
	act.Reason = display.Reason(&act)
	if act.Outcome == "succeeded" && strings.HasSuffix(act.Reason, "exited with status 0") {
		return ""
	}
	p := display.Progress(act.Progress)
	if p == "" || act.Reason == "" {
		return p + act.Reason
	}
	return p + "; " + act.Reason
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
	return display.Lasted(time.Duration(*act.Took * float64(time.Second)))
}

// exit returns the exit status, or the signal.
func exit(act control.Activation) string {
	if act.Exit != nil {
		return strconv.Itoa(*act.Exit)
	}
	return act.Signal
}
