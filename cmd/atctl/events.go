package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"activationd/control"
)

type eventsOptions struct {
	control.EventsIn
	count int
}

// errEnough ends a stream of which enough was seen.
var errEnough = errors.New("enough")

func newEventsCommand(a *app) *cobra.Command {
	var opts eventsOptions
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Follow what happens",
		Long: `Events prints what happens as it happens, until you interrupt it. Each event has a
number, which rises; --since N begins with the first one after N that is still kept,
so that a script that remembers the last number misses nothing.`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("since") {
				opts.Since = max(1, opts.Since) // 0 is what the daemon reads as: from now on
			}
			return runEvents(cmd.Context(), a, opts)
		},
	}
	f := cmd.Flags()
	f.Uint64Var(&opts.Since, "since", 0, "begin with what came after the event `NUMBER`")
	f.StringVar(&opts.ID, "id", "", "only what concerns `ID`")
	f.IntVarP(&opts.count, "count", "n", 0, "end after `N` events")
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	_ = cmd.RegisterFlagCompletionFunc("id", a.completeIDs("all")) // the flag is there
	return cmd
}

func runEvents(ctx context.Context, a *app, opts eventsOptions) error {
	seen := 0
	err := stream(ctx, a, "events", opts.EventsIn, func(data json.RawMessage) error {
		text := string(data)
		if !a.json {
			var ev control.Event
			if err := json.Unmarshal(data, &ev); err != nil {
				return fmt.Errorf("the daemon's reply %.80q: %w", data, err)
			}
			text = eventText(ev)
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

func eventText(ev control.Event) string {
	words := []string{ev.Time.Local().Format("2006-01-02 15:04:05.000"), fmt.Sprintf("#%d", ev.Seq)}
	for _, w := range []string{ev.ID, ev.What, ev.State} {
		if w != "" {
			words = append(words, w)
		}
	}
	text := strings.Join(words, " ")
	if ev.Reason != "" {
		text += ": " + ev.Reason
	}
	return printable(text)
}
