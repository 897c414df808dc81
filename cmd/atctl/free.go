package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/help"
)

func newFreeCommand(a *app) *cobra.Command {
	var in control.FreeIn
	cmd := &cobra.Command{
		Use:   "free",
		Short: "Show when devices are free",
		Long: `Free lists the next slots of length --for in which devices are free together: all devices
of --devices, and as many devices of each kind as --kind says. The inventory of the daemon's
configuration (lab.inventory) says of which kinds a device is.

UNTIL is when the first of the devices is taken again, or the end of the search. A slot is
listed only if its devices stay free longer than those of every earlier slot. If slots are
prepared before they begin (booking.lead, or without booking reservations.lead), the devices
are free for that time, too. A device that is paused or stuck is not free.`,
		Example: `  atctl free --for 2h --devices r1,r2
  atctl free --for 90m --kind frr:3 --from monday --to +5d`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case in.For == "":
				return usage(cmd, "free needs --for")
			case len(in.Devices) == 0 && len(in.Kind) == 0:
				return usage(cmd, "free needs --devices or --kind")
			}
			if err := refuseEmpty(cmd, ""); err != nil {
				return err
			}
			return runFree(cmd.Context(), a, in)
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.For, "for", "", "find slots of length `DURATION`")
	f.StringSliceVar(&in.Devices, "devices", nil, "all of the devices `NAMES`; separate several with commas")
	f.StringSliceVar(&in.Kind, "kind", nil, "N devices of the kind KIND: `KIND:N`; separate several with commas")
	f.StringVar(&in.From, "from", "", "from `WHEN` on, instead of now, as for atctl calendar")
	f.StringVar(&in.To, "to", "", "to `WHEN`, instead of four weeks later")
	f.IntVar(&in.Limit, "limit", 0, "list at most the first `N` slots; 10 without it")
	help.Section(cmd, "Which devices:", "devices", "kind")
	help.Section(cmd, "When:", "for", "from", "to", "limit")
	return cmd
}

func runFree(ctx context.Context, a *app, in control.FreeIn) error {
	if _, _, err := zonedAhead(&in.From, &in.To, time.Now()); err != nil {
		return err
	}
	if a.json {
		return a.printJSON(ctx, "free", in)
	}
	clock, err := a.clock(ctx)
	if err != nil {
		return err
	}
	t := newTable(os.Stdout, column{"FROM", 0}, column{"TO", 0}, column{"UNTIL", 0}, column{"DEVICES", 0})
	t.times = clock
	var first *control.FreeOut
	var notes []string
	err = stream(ctx, a, "free", in, func(s control.FreeOut) error {
		if s.Text != "" {
			notes = append(notes, s.Text)
			return nil
		}
		if first == nil {
			first = &s
		}
		return t.row(s.From, s.To, s.Until, strings.Join(s.Devices, ","))
	})
	if err != nil || first != nil {
		if err = t.end(err); err != nil {
			return err
		}
	} else {
		notes = append(notes, fmt.Sprintf("there is no free slot of %s; try another time with --from and --to, or other devices", in.For))
	}
	for _, text := range notes {
		warn(text)
	}
	if first != nil && isTerminal(os.Stdout) && isTerminal(os.Stderr) {
		fmt.Fprintln(os.Stderr, printable(fmt.Sprintf("book the first one: atctl book add --devices %s --from %s --for %s",
			strings.Join(first.Devices, ","), clock.In(first.From).Format(time.RFC3339), control.ShellWords([]string{in.For}))))
	}
	return nil
}
