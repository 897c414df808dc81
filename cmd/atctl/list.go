package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"activationd/control"
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
		Long: `List shows jobs and reservations that are not finished, the next one first.

DUE is what each waits for, or when it began, in your own time zone. REASON says why
it is in its state; "atctl why ID" says more. Scripts had better use --json, whose
times are RFC 3339: columns may be added here.`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runList(cmd.Context(), a, opts)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&opts.all, "all", false, "finished ones too")
	f.StringSliceVar(&opts.State, "state", nil, "only those in `STATE`: scheduled, held, waiting, activating, active,\n"+
		"deactivating, stuck, finished; several with commas")
	f.StringVar(&opts.Owner, "owner", "", "only those of `OWNER`")
	f.StringVar(&opts.Kind, "kind", "", "only `job|reservation`")
	f.StringVar(&opts.Label, "label", "", "only those with the label `TEXT`")
	f.StringVar(&opts.Every, "every", "", "only those that the recurrence `NAME` made")
	f.StringArrayVar(&opts.Tag, "tag", nil, "only those with the `TAG`; of several with commas, all")
	f.IntVar(&opts.Limit, "limit", 0, "no more than `N`")
	return cmd
}

func runList(ctx context.Context, a *app, opts listOptions) error {
	if opts.all {
		opts.State = append(opts.State, "all")
	}
	if a.json {
		return a.printJSON(ctx, "list", opts.ListIn)
	}
	limit := opts.Limit
	opts.Limit = 0 // the daemon counts in the order of ids, people in that of instants
	var all []control.Activation
	err := stream(ctx, a, "list", opts.ListIn, func(act control.Activation) error {
		all = append(all, act)
		return nil
	})
	slices.SortStableFunc(all, func(a, b control.Activation) int { return a.Due.Compare(b.Due) })
	if limit > 0 && len(all) > limit {
		all = all[:limit]
	}
	now := time.Now()
	t := newTable(os.Stdout, column{"ID", 24}, column{"STATE", 0}, column{"DUE", 0}, column{"OWNER", 16},
		column{"LABEL OR COMMAND", 40}, column{"REASON", 0})
	for _, act := range all {
		what := act.Label
		if what == "" {
			what = act.Command
		}
		if err := t.row(act.ID, state(act), instant(act.Due, now), act.Owner, what, standing(act)); err != nil {
			return err
		}
	}
	return errors.Join(t.flush(), err) // what came before a failure is of use
}

// standing tells how far what runs has come, and else why it is in its state.
func standing(act control.Activation) string {
	said := progress(act.Progress)
	if said == "" || act.Reason == "" {
		return said + act.Reason
	}
	return said + "; " + act.Reason
}

// progress tells how far a script says that it has come.
func progress(p *control.Progress) string {
	switch {
	case p == nil:
		return ""
	case p.Percent == nil:
		return p.Text
	}
	return strings.TrimRight(fmt.Sprintf("%d %% %s", *p.Percent, p.Text), " ")
}

// state tells a state, and the outcome of what is finished.
func state(act control.Activation) string {
	if act.Outcome != "" {
		return act.State + " (" + act.Outcome + ")"
	}
	return act.State
}
