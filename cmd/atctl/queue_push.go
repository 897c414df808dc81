package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/fault"
	"activationd/internal/help"
	"activationd/schedule/timespec"
)

// Exit statuses of those who wait for a message, besides 0.
const (
	exitNoResult = 3  // it is over, and it is not known how
	exitNotOver  = 4  // nobody waits for it
	exitDead     = 65 // a dead letter; it is EX_DATAERR, with which a listener makes one
	exitGone     = 125
)

// endsHelp says how commands that wait for a message exit.
const endsHelp = `Its exit status is 0 if the message is done, 65 if it is a dead letter, and 125 if it was
cancelled. Other failures have the statuses that "atctl --help" lists: 3, for example, if no
result of the message is kept.`

type pushOptions struct {
	control.QueuePushIn
	body, file string
	wait       bool
}

func newQueuePushCommand(a *app) *cobra.Command {
	var opts pushOptions
	cmd := &cobra.Command{
		Use:   "push NAME",
		Short: "Push a message into a queue",
		Long: `Push adds a message to a queue, and prints the number of the message. Then the message is on
the daemon's disk. The body is what standard input has, unless --body or --file says
otherwise; it may be any bytes, and is not changed.

With --wait, push returns when the message is over, and prints its result instead of its
number. It goes on waiting if the daemon is restarted in the meantime. The result is then
kept for an hour, or as long as --keep says. --wait-for does the same for a limited time, of
an hour at most; if the message is not over then, the exit status is 4.
` + endsHelp + `

Messages with a higher --priority are handed out first, others in the order in which they
were pushed. A message with a --key is refused while another one with the same key is not
over; --on-duplicate ignore prints the number of that one, and replace removes it, unless it
is in work.`,
		Example: `  echo hello | atctl queue push mails
  atctl queue push mails --body hello --header to=ada --delay 5m
  atctl queue push mails --file letter.pdf --wait > answer`,
		Args: takes(1, 1, "one NAME; see atctl queue list"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.Name = args[0]
			if err := refuseEmpty(cmd, "body"); err != nil {
				return err
			}
			if err := opts.take(cmd, os.Stdin); err != nil {
				return err
			}
			return runQueuePush(cmd.Context(), a, opts)
		},
	}
	f := cmd.Flags()
	f.StringVar(&opts.body, "body", "", "the body is `TEXT`")
	f.StringVar(&opts.file, "file", "", "the body is what `FILE` has; - is standard input")
	f.StringArrayVar(&opts.Header, "header", nil, "add the header `NAME=VALUE`; may be repeated")
	f.IntVar(&opts.Priority, "priority", 0, "hand it out before messages with a lower `N`; 0 to 9")
	f.StringVar(&opts.Delay, "delay", "", "hand it out after `DURATION`")
	f.StringVar(&opts.At, "at", "", "hand it out at the time `WHEN`")
	f.IntVar(&opts.Attempts, "attempts", 0, "try it at most `N` times, instead of as often as the listener says")
	f.StringVar(&opts.Timeout, "timeout", "", "stop an attempt after `DURATION`")
	f.StringVar(&opts.Key, "key", "", "refuse it while another message with the same `KEY` is not over")
	f.StringVar(&opts.OnDuplicate, "on-duplicate", "", "if there is such a message: `refuse|ignore|replace`")
	f.StringVar(&opts.UniqueFor, "unique-for", "", "keep the key for `DURATION` after the push, too")
	f.StringVar(&opts.Keep, "keep", "", "keep the result for `DURATION`")
	f.BoolVar(&opts.wait, "wait", false, "wait until the message is over, and print its result")
	f.StringVar(&opts.Wait, "wait-for", "", "the same, but wait for at most `DURATION`")
	f.BoolVar(&opts.Create, "create", false, "create the queue if there is none; users may do so if queues.allow of the configuration has the name")
	help.Section(cmd, "Body:", "body", "file", "header")
	help.Section(cmd, "When:", "priority", "delay", "at")
	help.Section(cmd, "Ends and failures:", "attempts", "timeout")
	help.Section(cmd, "Duplicates:", "key", "on-duplicate", "unique-for")
	help.Section(cmd, "Result:", "keep", "wait", "wait-for")
	return cmd
}

// keptForWait is how long the result of a message is kept for the client that waits for it.
const keptForWait = "1h"

// take checks what the flags say, and reads the body.
func (opts *pushOptions) take(cmd *cobra.Command, stdin *os.File) (err error) {
	given := cmd.Flags().Changed
	switch {
	case given("body") && opts.file != "":
		return usage(cmd, "--body and --file exclude each other; use one of them")
	case opts.wait && opts.Wait != "":
		return usage(cmd, "--wait and --wait-for exclude each other; use one of them")
	case opts.Delay != "" && opts.At != "":
		return usage(cmd, "--delay and --at exclude each other; use one of them")
	case opts.Key == "" && (opts.OnDuplicate != "" || opts.UniqueFor != ""):
		return usage(cmd, "--on-duplicate and --unique-for have a meaning only with --key")
	case given("attempts") && opts.Attempts < 1:
		return usage(cmd, fmt.Sprintf("--attempts: want 1 or more, have %d", opts.Attempts))
	}
	for _, h := range opts.Header {
		if name, _, ok := strings.Cut(h, "="); !ok || name == "" {
			return usage(cmd, fmt.Sprintf("--header %q: want NAME=VALUE", h))
		}
	}
	if opts.At, err = zoned(opts.At, time.Now(), timespec.Typed); err != nil {
		return err
	}
	if opts.wait && opts.Keep == "" {
		opts.Keep = keptForWait
	}
	body := opts.body
	if !given("body") {
		if opts.file == "" && isTerminal(stdin) {
			return usage(cmd, "there is no body; add --body TEXT or --file FILE, or pipe it into atctl (--file - reads it from this terminal)")
		}
		if body, err = readInput(opts.file, stdin); err != nil {
			return err
		}
	}
	opts.Body = pieces(body)
	return nil
}

// pieceSize is how much of a body is in one line of a request, which the daemon limits to a
// mebibyte by default; quotes can make text six times as long.
const pieceSize = 128 << 10

// pieces divides a body. It does not divide a character.
func pieces(body string) (all []string) {
	for len(body) > pieceSize {
		end := pieceSize
		for !utf8.RuneStart(body[end]) && end > pieceSize-utf8.UTFMax {
			end--
		}
		all, body = append(all, body[:end]), body[end:]
	}
	return append(all, body)
}

func runQueuePush(ctx context.Context, a *app, opts pushOptions) error {
	if a.json && !opts.wait && opts.Wait == "" {
		return opts.explain(a.printJSON(ctx, "queue push", opts.QueuePushIn))
	}
	out, err := call[pushReply](ctx, a, "queue push", opts.QueuePushIn)
	if err != nil {
		return opts.explain(err)
	}
	for _, id := range out.Dropped {
		warn(fmt.Sprintf("message %d was dropped, as the queue is full", id))
	}
	if out.Result != nil {
		return a.printResult(out.Result)
	}
	if !opts.wait {
		_, err := fmt.Println(out.ID)
		return err
	}
	if !a.json && isTerminal(os.Stderr) {
		fmt.Fprintf(os.Stderr, "message %d\n", out.ID)
	}
	return awaitResult(ctx, a, control.QueueResultIn{Name: opts.Name, ID: out.ID, Wait: true})
}

// A pushReply is the reply to a push, with the result as it is sent.
type pushReply struct {
	control.QueuePushOut
	Result json.RawMessage `json:"result"`
}

// explain says how large the body is if the daemon refuses the request because of its length.
func (opts *pushOptions) explain(err error) error {
	size := len(strings.Join(opts.Body, ""))
	if err == nil || size < pieceSize || !strings.Contains(err.Error(), " of more than ") {
		return err
	}
	return fmt.Errorf("the body has %d bytes, too many to be sent to the daemon (%w); push the name of a file instead", size, err)
}

func newQueueResultCommand(a *app) *cobra.Command {
	var in control.QueueResultIn
	cmd := &cobra.Command{
		Use:   "result NAME ID",
		Short: "Print the result of a message",
		Long: `Result prints the result of a message that is done: the file "result" that its process has
written, or else the output of the process; of a stream listener, the "result" that it has
answered. Results are kept only for the time that the listener or "atctl queue push --keep"
says. With --wait, result waits until the message is over, even if the daemon is restarted
meanwhile. Without it, the exit status is 4 if the message is not over.

` + endsHelp + `

Users may see the results of the messages that they have pushed, operators all.`,
		Args: takes(2, 2, "a NAME and an ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := messageIDs(cmd, args[1:])
			if err != nil {
				return err
			}
			in.Name, in.ID = args[0], ids[0]
			return awaitResult(cmd.Context(), a, in)
		},
	}
	cmd.Flags().BoolVar(&in.Wait, "wait", false, "wait until the message is over")
	return cmd
}

// awaitResult asks for the result of a message, and prints it.
func awaitResult(ctx context.Context, a *app, in control.QueueResultIn) error {
	var data json.RawMessage
	err := outlast(a, func() (err error) {
		data, err = call[json.RawMessage](ctx, a, "queue result", in)
		return err
	})
	if err != nil {
		return err
	}
	return a.printResult(data)
}

// printResult prints the result of a message.
func (a *app) printResult(data json.RawMessage) (err error) {
	var r control.QueueResult
	if err := json.Unmarshal(data, &r); err != nil {
		return fmt.Errorf("the daemon's reply %.80q: %w: %w", data, err, fault.Internal)
	}
	if a.json {
		if _, err := fmt.Println(string(data)); err != nil {
			return err
		}
		return resultStatus(&r)
	}
	body := []byte(r.Body)
	if r.Base64 != "" {
		if body, err = base64.StdEncoding.DecodeString(r.Base64); err != nil {
			return fmt.Errorf("the daemon's reply: %w: %w", err, fault.Internal)
		}
	}
	if _, err := os.Stdout.Write(body); err != nil {
		return err
	}
	if text := resultText(&r); text != "" {
		fmt.Fprintln(os.Stderr, "atctl: "+printable(text))
	}
	if r.Last != nil && r.Outcome == "dead" {
		for line := range strings.Lines(r.Last.Output) {
			fmt.Fprintln(os.Stderr, "  "+printable(strings.ReplaceAll(strings.TrimSuffix(line, "\n"), "\t", "    ")))
		}
	}
	return resultStatus(&r)
}

// resultText says what became of a message that is not simply done.
func resultText(r *control.QueueResult) string {
	reason := ""
	if r.Last != nil && r.Last.Reason != "" {
		reason = ": " + r.Last.Reason
	}
	switch r.Outcome {
	case "done":
		if r.File != "" {
			return fmt.Sprintf("the result of message %d is in the file %s", r.ID, r.File)
		}
		return ""
	case "dead":
		return fmt.Sprintf("message %d is a dead letter%s", r.ID, reason)
	case "":
		return fmt.Sprintf("message %d is not over; \"atctl queue result %s %[1]d --wait\" waits for it", r.ID, r.Queue)
	case "unknown":
		return fmt.Sprintf("message %d is over, and no result is kept", r.ID)
	}
	return fmt.Sprintf("message %d: %s%s", r.ID, r.Outcome, reason)
}

func resultStatus(r *control.QueueResult) error {
	switch r.Outcome {
	case "done":
		return nil
	case "dead":
		return quietStatus(exitDead)
	case "":
		return quietStatus(exitNotOver)
	case "unknown":
		return quietStatus(exitNoResult)
	}
	return quietStatus(exitGone)
}
