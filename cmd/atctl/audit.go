package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"activationd/control"
)

func newAuditCommand(a *app) *cobra.Command {
	var in control.AuditIn
	cmd := &cobra.Command{
		Use:   "audit [ID...]",
		Short: "List who changed what",
		Long: `Audit lists every change that somebody requested, and every reservation that a source
announced, changed or withdrew, the oldest first: when, who, what, and which job,
reservation or recurrence. A reservation of a reload that nobody requested is the change
of its source. With IDs, it lists only the changes of these.

You see the changes of your own jobs, and all changes of anything else. Operators see all.
Changes are kept for as long as finished jobs are; "atctl why ID" has those of one job or
reservation as long as that is kept itself.

A time of --since and --until is "2099-11-21 10:00", 10:00, today, yesterday, or a
duration such as 2h, which is two hours ago. Times without a zone are in the daemon's.`,
		RunE: func(cmd *cobra.Command, ids []string) error {
			in.ID = ids
			return runAudit(cmd.Context(), a, in)
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.By, "by", "", "only what `NAME`, a user, token or source, did")
	f.StringSliceVar(&in.Action, "action", nil, "only these `ACTION`s, as cancel or 'vlan free'")
	f.StringVar(&in.Since, "since", "", "only from `TIME` on")
	f.StringVar(&in.Until, "until", "", "only before `TIME`")
	f.StringVar(&in.Match, "match", "", "only with `TEXT` in the label, reason or another field")
	f.IntVarP(&in.N, "count", "n", 0, "only the newest `N`")
	return cmd
}

func runAudit(ctx context.Context, a *app, in control.AuditIn) error {
	if a.json {
		return a.printJSON(ctx, "audit", in)
	}
	clock, err := a.clock(ctx)
	if err != nil {
		return err
	}
	t := newTable(os.Stdout, column{"TIME", 0}, column{"WHO", 20}, column{"ACTION", 0}, column{"ID", 24}, column{"WHAT", 0})
	t.times = clock
	return t.end(stream(ctx, a, "audit", in, func(ev control.Event) error {
		return t.row(ev.Time, ev.Actor.String(), ev.Action, ev.ID, actText(ev, clock))
	}))
}

// actText says what an act changed: which the action and the actor do not say.
func actText(ev control.Event, clock *clock) string {
	var words []string
	say := func(s string) {
		if s != "" {
			words = append(words, s)
		}
	}
	say(ev.Label)
	if ev.Source != "" && ev.Source != ev.Actor.Name {
		say("source " + ev.Source)
	}
	if ev.Generation > 0 && ev.Source != "" {
		say(fmt.Sprintf("load %d", ev.Generation))
	}
	say(control.ChangesText(ev.Changes, clock.Time))
	reason, by := " "+ev.Reason, " by "+ev.Actor.Name
	if !strings.HasSuffix(reason, by) {
		if _, rest, ok := strings.Cut(reason, by+": "); ok {
			reason = rest
		}
		say(strings.TrimSpace(reason))
	}
	return strings.Join(words, "; ")
}
