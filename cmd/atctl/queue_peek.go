package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"activationd/control"
)

func newQueuePeekCommand(a *app) *cobra.Command {
	var in control.QueuePeekIn
	var after uint64
	cmd := &cobra.Command{
		Use:   "peek NAME [ID]",
		Short: "Show messages of a queue, without handing them out",
		Long: `Peek lists messages of a queue: the ready ones, in the order in which they are handed out,
or those of --state. With an ID it prints all of that message. It changes nothing.

Bodies are cut, unless --body says otherwise. Users see the bodies and headers of messages
that they have pushed, operators all.`,
		Example: `  atctl queue peek mails
  atctl queue peek mails --state all --json --body all
  atctl queue peek mails 1047`,
		Args: takes(1, 2, "a NAME, and perhaps the ID of a message"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Name = args[0]
			if after > 0 {
				in.After = strconv.FormatUint(after, 10)
			}
			if len(args) == 1 {
				return a.messageTable(cmd.Context(), "queue peek", in)
			}
			ids, err := messageIDs(cmd, args[1:])
			if err != nil {
				return err
			}
			in.ID = ids[0]
			if !cmd.Flags().Changed("body") {
				in.Body = "all"
			}
			if a.json {
				return a.printJSON(cmd.Context(), "queue peek", in)
			}
			return a.showMessage(cmd.Context(), in)
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.State, "state", "", "only messages that are `ready|delayed|work|dead|all`")
	f.IntVarP(&in.Limit, "limit", "n", 0, "at most `N` messages; 20 if not given")
	f.Uint64Var(&after, "after", 0, "only messages after `MESSAGE` in the list")
	f.StringVar(&in.Body, "body", "", "`N|all` bytes of each body")
	return cmd
}

// messageTable calls an operation that returns messages, and prints these.
func (a *app) messageTable(ctx context.Context, op string, in any) error {
	if a.json {
		return a.printJSON(ctx, op, in)
	}
	clock, err := a.clock(ctx)
	if err != nil {
		return err
	}
	t := newTable(os.Stdout, column{"ID", 0}, column{"STATE", 0}, column{"PRIORITY", 0}, column{"TRIES", 0}, column{"PUSHED", 0}, column{"NEXT", 0},
		column{"BY", 16}, column{"BODY OR REASON", 0})
	t.spare, t.times = []string{"PRIORITY", "BY", "NEXT"}, clock
	return t.end(stream(ctx, a, op, in, func(m control.QueueMessage) error {
		text := bodyText(&m)
		if m.Last != nil && m.Last.Reason != "" {
			text = m.Last.Reason
		}
		if m.Work != nil {
			text = workText(m.Work)
		}
		return t.row(fmt.Sprint(m.ID), m.State, nonzero(m.Priority), nonzero(m.Attempts), m.Pushed, m.NotBefore.Time, m.By, text)
	}))
}

// workText says who works on a message, and how far that is.
func workText(w *control.QueueWork) string {
	text := fmt.Sprintf("attempt %d, %s", w.Attempt, w.Listener)
	if w.Progress != "" {
		text += ": " + w.Progress
	}
	return text
}

// bodyText returns a body for a line of a table.
func bodyText(m *control.QueueMessage) string {
	switch {
	case m.Hidden:
		return fmt.Sprintf("(%d bytes of another user)", m.Size)
	case m.Base64 != "":
		return fmt.Sprintf("(%d bytes that are no text)", m.Size)
	}
	text := strings.TrimRight(m.Body, "\r\n")
	if m.Cut {
		text += fmt.Sprintf("… (%d bytes)", m.Size)
	}
	return text
}

// showMessage prints all of a message.
func (a *app) showMessage(ctx context.Context, in control.QueuePeekIn) error {
	clock, err := a.clock(ctx)
	if err != nil {
		return err
	}
	m, err := call[control.QueueMessage](ctx, a, "queue peek", in)
	if err != nil {
		return err
	}
	var headers []string
	for _, name := range slices.Sorted(maps.Keys(m.Headers)) {
		headers = append(headers, name+"="+m.Headers[name])
	}
	work, last, output := "", "", ""
	if m.Work != nil {
		work = fmt.Sprintf("since %s: %s", clock.Both(m.Work.Since), workText(m.Work))
	}
	if e := m.Last; e != nil {
		last = fmt.Sprintf("attempt %d at %s: %s", e.Attempt, clock.Both(e.Ended), cmp.Or(e.Reason, e.Outcome))
		output = e.Output
	}
	dead := ""
	if !m.DeadSince.IsZero() {
		dead = clock.Both(m.DeadSince.Time)
	}
	err = fields(os.Stdout, [][2]string{
		{"message", fmt.Sprint(m.ID)},
		{"queue", m.Queue},
		{"times in", clock.Zone},
		{"state", m.State},
		{"dead since", dead},
		{"in work", work},
		{"next try", clock.Both(m.NotBefore.Time)},
		{"pushed", clock.Both(m.Pushed)},
		{"by", m.By},
		{"priority", nonzero(m.Priority)},
		{"key", m.Key},
		{"headers", strings.Join(headers, "\n")},
		{"tries", nonzero(m.Attempts)},
		{"last end", last},
		{"output", output},
		{"size", fmt.Sprint(m.Size)},
	}...)
	if err != nil || m.Size == 0 {
		return err
	}
	text := bodyText(&m)
	if !m.Hidden && m.Base64 == "" {
		text = m.Body
	}
	fmt.Println()
	for line := range strings.Lines(text) {
		if _, err := fmt.Println("  " + printable(strings.ReplaceAll(strings.TrimRight(line, "\r\n"), "\t", "    "))); err != nil {
			return err
		}
	}
	return nil
}

func newQueueDeadCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "dead NAME [list|retry|purge|export] [ID...]",
		Short: "List, retry, remove and export dead letters",
		Long: `Dead is about the messages of a queue whose attempts are used up, or that a listener has
given up (exit status 65). Without IDs it means all of them.

  list    shows them, and why the last attempt failed; this is the default
  retry   makes them ready again, with all their attempts
  purge   removes them for good
  export  prints them as JSON, one object a line, with bodies and last outputs

Retry and purge print how many there were.`,
		Example: `  atctl queue dead mails
  atctl queue dead mails retry 1047
  atctl queue dead mails export > dead.jsonl && atctl queue dead mails purge`,
		Args: takes(1, 0, "a NAME; see atctl queue list"),
		RunE: func(cmd *cobra.Command, args []string) error {
			what := "list"
			if len(args) > 1 {
				what = args[1]
			}
			if !slices.Contains(deadVerbs, what) {
				return usage(cmd, fmt.Sprintf("want %s before the numbers, have %q", strings.Join(deadVerbs, ", "), what))
			}
			in := control.QueueDeadIn{Name: args[0]}
			if len(args) > 2 {
				in.ID = args[2:]
			}
			if _, err := messageIDs(cmd, in.ID); err != nil {
				return err
			}
			ctx := cmd.Context()
			switch what {
			case "retry":
				return a.queueCount(ctx, "queue retry", in)
			case "purge":
				return a.queueCount(ctx, "queue purge", control.QueuePurgeIn{Name: in.Name, ID: in.ID, Dead: true})
			case "export":
				return a.printJSON(ctx, "queue dead", in)
			}
			return a.deadTable(ctx, in)
		},
	}
}

// deadVerbs are what can be done with dead letters.
var deadVerbs = []string{"list", "retry", "purge", "export"}

func (a *app) deadTable(ctx context.Context, in control.QueueDeadIn) error {
	if a.json {
		return a.printJSON(ctx, "queue dead", in)
	}
	clock, err := a.clock(ctx)
	if err != nil {
		return err
	}
	t := newTable(os.Stdout, column{"ID", 0}, column{"SINCE", 0}, column{"TRIES", 0}, column{"EXIT", 0}, column{"BY", 16}, column{"REASON", 0})
	t.spare, t.times = []string{"BY"}, clock
	return t.end(stream(ctx, a, "queue dead", in, func(m control.QueueMessage) error {
		exit, reason := "", ""
		if e := m.Last; e != nil {
			reason = cmp.Or(e.Reason, e.Outcome)
			if exit = e.Signal; e.Exit != nil {
				exit = fmt.Sprint(*e.Exit)
			}
		}
		return t.row(fmt.Sprint(m.ID), m.DeadSince.Time, nonzero(m.Attempts), exit, m.By, reason)
	}))
}
