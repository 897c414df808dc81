package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"activationd/control"
)

type eventsOptions struct {
	control.EventsIn
	count int
}

// errEnough ends a stream when enough events were printed.
var errEnough = errors.New("enough")

func newEventsCommand(a *app) *cobra.Command {
	var opts eventsOptions
	cmd := &cobra.Command{
		Use:   "events [PATTERN...]",
		Short: "Follow events",
		Long: `Events prints events as they happen, until you interrupt it. Each event has a number.
Numbers rise, even if the daemon is restarted. With --since N, the command first prints
the events after event N, and with --since 0 all stored events. So a script that remembers
the last number can continue after it. If events after N have been removed already, an
event "gap" says so. N may also be a time, such as 10:00, yesterday or 2h (two hours
ago).

Each event has a topic, which is words joined by dots: activation.7.finished. With
patterns, the command prints only events whose topic matches one of them. In a pattern, *
stands for one word and # for any number of words: 'activation.*.attempt.#'. The flags
below narrow further; an event must satisfy all of them.`,
		Example: `  atctl events 'activation.*.finished'
  atctl events --id 17 --since 0`,
		RunE: func(cmd *cobra.Command, patterns []string) error {
			if cmd.Flags().Changed("since") && opts.Since == "" {
				return usage(cmd, "--since needs a number or a time")
			}
			opts.Topic = patterns
			return runEvents(cmd.Context(), a, opts)
		},
	}
	f := cmd.Flags()
	f.StringVar(&opts.Since, "since", "", "first print the events after event `NUMBER|TIME`; 0: all stored ones")
	f.StringVar(&opts.ID, "id", "", "only events of the job or reservation `ID`")
	f.StringVar(&opts.Owner, "owner", "", "only events of the jobs, reservations and recurrences of `OWNER`")
	f.StringVar(&opts.Kind, "kind", "", "only events of `job|reservation`")
	f.StringVar(&opts.By, "by", "", "only events that `NAME`, a user, token or source, caused")
	f.StringSliceVar(&opts.Outcome, "outcome", nil, "only the ends with these `OUTCOME`s, as failed,timed_out")
	f.BoolVar(&opts.Failed, "failed", false, "only failures")
	f.IntVarP(&opts.count, "count", "n", 0, "end after `N` events")
	return cmd
}

func runEvents(ctx context.Context, a *app, opts eventsOptions) error {
	seen := 0
	var times *clock
	if !a.json {
		var err error
		if times, err = a.clock(ctx); err != nil {
			return err
		}
		if isTerminal(os.Stdout) {
			fmt.Println("times are in " + times.Zone)
		}
	}
	if opts.ID != "" {
		tellWhen(ctx, a, opts.ID)
	}
	err := stream(ctx, a, "events", opts.EventsIn, func(data json.RawMessage) error {
		text := string(data)
		if !a.json {
			var ev control.Event
			if err := json.Unmarshal(data, &ev); err != nil {
				return fmt.Errorf("the daemon's reply %.80q: %w", data, err)
			}
			text = eventText(ev, times)
		}
		if _, err := fmt.Fprintln(os.Stdout, text); err != nil {
			return err
		}
		if seen++; seen == opts.count {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

func eventText(ev control.Event, times *clock) string {
	words := []string{times.In(ev.Time).Format("2006-01-02 15:04:05.000"), fmt.Sprintf("#%d", ev.Seq)}
	if ev.What == control.EventGap {
		return printable(strings.Join(append(words, gapText(ev)), " "))
	}
	if ev.ID != "" {
		words = append(words, ev.ID)
	}
	if ev.Label != "" {
		words = append(words, strconv.Quote(ev.Label))
	}
	if ev.Owner != "" {
		words = append(words, "of "+ev.Owner)
	}
	if ev.ID != "" {
		words[len(words)-1] += ":"
	}
	what := ev.What
	if what == "state" {
		what = ev.State
	}
	words = append(words, what)
	if ev.Outcome != "" {
		words = append(words, "("+ev.Outcome+")")
	}
	text := strings.Join(words, " ")
	if ev.What == "published" {
		text = strings.Join(append(words[:len(words)-1], ev.Topic), " ")
	}
	for _, more := range []string{ev.Text, ev.Reason, control.ChangesText(ev.Changes, times.Time)} {
		if more != "" {
			text += ": " + more
		}
	}
	if ev.Actor != nil {
		text += " [" + strings.TrimSpace(ev.Action+" by "+ev.Actor.String()) + "]"
	}
	return printable(text)
}

// gapText says which events are missing.
func gapText(ev control.Event) string {
	switch {
	case ev.Reset:
		return "gap: there is no such event any more or yet; all that is kept follows"
	case ev.Reason != "":
		return "gap: " + ev.Reason
	}
	return fmt.Sprintf("gap: events from #%d to #%d have been removed", ev.From, ev.Seq)
}
