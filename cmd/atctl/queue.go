package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/help"
	"activationd/schedule/timespec"
)

func newQueueCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "queue COMMAND",
		Short: "Create queues, push messages, and control their listeners",
		Long: `Queue creates and shows queues, pushes messages, and says what becomes of them. A queue keeps
messages on disk until a listener has handled them. The configuration declares listeners:
which command handles the messages of which queues; see docs/queues.md.

A message is handled at least once, and never by two listeners at the same time. It has a
number, which push prints. If its attempts are used up, it becomes a dead letter: it is kept
with its last output until somebody retries or purges it.`,
		Args: help.Unknown,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newQueueCreateCommand(a), newQueueDeleteCommand(a), newQueueListCommand(a), newQueuePushCommand(a), newQueuePeekCommand(a),
		newQueueResultCommand(a), newQueueCancelCommand(a), newQueuePurgeCommand(a), newQueueDeadCommand(a), newQueueAllowCommand(a),
		newQueueDenyCommand(a), newQueueAllowedCommand(a), newQueueListenCommand(a), newQueueRestartCommand(a), newQueuePauseCommand(a), newQueueResumeCommand(a))
	return cmd
}

func newQueueCreateCommand(a *app) *cobra.Command {
	var in control.QueueCreateIn
	cmd := &cobra.Command{
		Use:   "create NAME...",
		Short: "Create queues",
		Long: `Create creates queues. If a listener of the configuration matches the name, it serves the
queue from now on. A queue that exists already is left as it is.

A name has letters, digits and ._-, and begins with a letter, a digit or _.`,
		Args: takes(1, 0, "a NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Name = args
			return a.queueTable(cmd.Context(), "queue create", in)
		},
	}
	cmd.Flags().BoolVar(&in.Ordered, "ordered", false, "one message after the other: one that is to be tried again keeps those behind it waiting")
	return cmd
}

func newQueueDeleteCommand(a *app) *cobra.Command {
	var in control.QueueDeleteIn
	cmd := &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a queue",
		Long: `Delete deletes a queue, and returns when it is gone. From the beginning on the queue takes no
more messages. Its listeners finish the messages that they have, and end; with --now they
are stopped at once. If delete is interrupted, the daemon goes on.

If other messages or dead letters are there, delete refuses, unless --discard removes them
or --keep-messages moves them to another queue.`,
		Example: `  atctl queue delete old --keep-messages new`,
		Args:    takes(1, 1, "one NAME; see atctl queue list"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Name = args[0]
			switch {
			case in.Discard && in.Keep != "":
				return usage(cmd, "--discard and --keep-messages exclude each other; use one of them")
			case in.Keep == "" && cmd.Flags().Changed("keep-messages"):
				return usage(cmd, "--keep-messages needs the name of a queue")
			}
			return a.do(cmd.Context(), "queue delete", in)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&in.Now, "now", false, "stop the listeners in the middle of their messages")
	f.BoolVar(&in.Discard, "discard", false, "remove the messages and dead letters with the queue")
	f.StringVar(&in.Keep, "keep-messages", "", "move the messages and dead letters to the queue `QUEUE`")
	return cmd
}

func newQueueListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list [NAME...]",
		Short: "List queues, and what serves them",
		Long: `List shows all queues, or those that are named; NAME can be a pattern (in quotes). It counts
the messages of each queue:

  READY    can be handed to a listener now
  DELAYED  wait for their time, or for another attempt
  WORK     a listener has them
  DEAD     dead letters: see "atctl queue dead"

LISTENER says what serves the queue: "2/4 message" is two processes of at most four that
handle one message each, "1/1 stream" is a process that handles many, and "by hand 1" is a
listener that somebody has started. If nothing serves the queue, it says why.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.queueTable(cmd.Context(), "queue list", control.QueueListIn{Name: args})
		},
	}
}

// queueTable calls an operation that returns queues, and prints these.
func (a *app) queueTable(ctx context.Context, op string, in any) error {
	if a.json {
		return a.printJSON(ctx, op, in)
	}
	t := newTable(os.Stdout, column{"NAME", 26}, column{"READY", 0}, column{"DELAYED", 0}, column{"WORK", 0}, column{"DEAD", 0}, column{"LISTENER", 0})
	t.last = len("2/4 message")
	return t.end(stream(ctx, a, op, in, func(q control.Queue) error {
		n := func(count int64) string { return strconv.FormatInt(count, 10) }
		return t.row(q.Name, n(q.Ready), n(q.Delayed), n(q.Work), n(q.Dead), q.Status)
	}))
}

// newQueueVerb returns a command that changes what serves queues.
func newQueueVerb(a *app, verb, short, long, example string) *cobra.Command {
	var in control.QueuePauseIn
	cmd := &cobra.Command{
		Use: verb + " NAME...", Short: short, Long: long, Example: example,
		Args: takes(1, 0, "a NAME; see atctl queue list"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if verb != "pause" {
				return a.queueTable(cmd.Context(), "queue "+verb, control.QueueResumeIn{Name: args})
			}
			err := refuseEmpty(cmd, "reason")
			if err != nil {
				return err
			}
			if in.Until, err = zoned(in.Until, time.Now(), timespec.TypedUntil); err != nil {
				return err
			}
			in.Name = args
			return a.queueTable(cmd.Context(), "queue "+verb, in)
		},
	}
	if verb == "pause" {
		pauseFlags(cmd.Flags(), &in.Until, &in.Reason, "show `TEXT` in lists")
	}
	return cmd
}

func newQueueRestartCommand(a *app) *cobra.Command {
	return newQueueVerb(a, "restart", "Restart the listeners of queues, when they have finished their messages",
		`Restart replaces the processes of the listeners of queues, for example because the code that
they run has changed. Each finishes the messages that it has. A process that handles one
message only is new for each message anyway. NAME can be a pattern (in quotes).`, `  atctl queue restart 'io_*'`)
}

func newQueuePauseCommand(a *app) *cobra.Command {
	return newQueueVerb(a, "pause", "Hand out no more messages of queues",
		`Pause keeps the messages of queues from being handed out until the time --until, or until
"atctl queue resume". What is in work is finished, and messages can still be pushed. NAME
can be a pattern (in quotes).

The daemon itself pauses a queue if its listener cannot run: if its command is missing, for
example. "atctl queue list" shows why.`, `  atctl queue pause mails --reason 'the mail server is down'`)
}

func newQueueResumeCommand(a *app) *cobra.Command {
	return newQueueVerb(a, "resume", "Hand out the messages of queues again",
		`Resume hands out the messages of paused queues again. NAME can be a pattern (in quotes).`, "")
}

func newQueuePurgeCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "purge NAME",
		Short: "Remove all messages of a queue that nothing works on",
		Long: `Purge removes the ready and the delayed messages of a queue. It prints how many. What is in
work is finished, and dead letters stay: "atctl queue dead NAME purge" removes those.`,
		Args: takes(1, 1, "one NAME; see atctl queue list"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.queueCount(cmd.Context(), "queue purge", control.QueuePurgeIn{Name: args[0]})
		},
	}
}

// queueCount calls an operation that returns a number of messages, and prints it.
func (a *app) queueCount(ctx context.Context, op string, in any) error {
	if a.json {
		return a.printJSON(ctx, op, in)
	}
	out, err := call[control.QueueCount](ctx, a, op, in)
	if err != nil {
		return err
	}
	_, err = fmt.Println(out.Count)
	return err
}

func newQueueCancelCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "cancel NAME ID...",
		Short: "Cancel messages",
		Long: `Cancel removes messages from a queue. If a listener has a message, its processes are stopped
first; a listener that handles many messages is replaced. When cancel returns, nothing
works on these messages any more, and nothing will.

Users may cancel the messages that they have pushed, operators all.`,
		Args: takes(2, 0, "a NAME and an ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := messageIDs(cmd, args[1:])
			if err != nil {
				return err
			}
			for _, id := range ids {
				if err := a.do(cmd.Context(), "queue cancel", control.QueueMessageIn{Name: args[0], ID: id}); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// messageIDs reads numbers of messages.
func messageIDs(cmd *cobra.Command, texts []string) (ids []uint64, err error) {
	for _, text := range texts {
		id, err := strconv.ParseUint(text, 10, 64)
		if err != nil || id == 0 {
			return nil, usage(cmd, fmt.Sprintf("%q is not the number of a message", text))
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func newQueueAllowCommand(a *app) *cobra.Command {
	var in control.QueueAllowIn
	cmd := &cobra.Command{
		Use:   "allow NAME...",
		Short: "Have queues served",
		Long: `Allow adds queues to the file that lists the queues to be served (queues.pools in the
configuration). NAME can be a pattern (in quotes). If there is no such file, all queues are
served already; --only begins one.

Allow prints whether each queue is served now: the configuration can also forbid it.`,
		Args: takes(1, 0, "a NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Name = args
			return a.allowedTable(cmd.Context(), "queue allow", in)
		},
	}
	cmd.Flags().BoolVar(&in.Only, "only", false, "from now on serve these queues, and no others")
	return cmd
}

func newQueueDenyCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "deny NAME...",
		Short: "Have queues not served any more",
		Long: `Deny removes queues from the file that lists the queues to be served (queues.pools in the
configuration). NAME can be a pattern (in quotes). Listeners finish the messages that they
have, and end. The messages of the queues stay, and new ones can be pushed.

If there is no such file, deny makes one: "*" and "!NAME", so that all other queues are
still served.`,
		Args: takes(1, 0, "a NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.allowedTable(cmd.Context(), "queue deny", control.QueueAllowIn{Name: args})
		},
	}
}

func newQueueAllowedCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "allowed [NAME...]",
		Short: "List which queues may be served",
		Long: `Allowed says for each queue, or for each NAME, whether it may be served, and if not, why. It
also lists what the file queues.pools names and is no queue.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.allowedTable(cmd.Context(), "queue allowed", control.QueueListIn{Name: args})
		},
	}
}

// allowedTable calls an operation that says which queues may be served, and prints that.
func (a *app) allowedTable(ctx context.Context, op string, in any) error {
	if a.json {
		return a.printJSON(ctx, op, in)
	}
	t := newTable(os.Stdout, column{"NAME", 40}, column{"ALLOWED", 0}, column{"REASON", 0})
	return t.end(stream(ctx, a, op, in, func(q control.QueueAllowed) error {
		word, reason := "yes", q.Reason
		if !q.Allowed {
			word = "no"
		}
		if !q.Exists && reason == "" {
			reason = "there is no such queue yet"
		}
		return t.row(q.Name, word, reason)
	}))
}
