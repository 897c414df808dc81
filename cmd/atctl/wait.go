package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/display"
	"activationd/internal/fault"
	"activationd/internal/help"
)

// Exit statuses of wait that need an explanation. They are those of timeout(1).
const (
	exitTimeout  = 124
	exitNotRun   = 125
	exitNoExec   = 126
	exitNotFound = 127
)

// patience is how long a daemon that has answered before may be away, for an upgrade for
// instance.
const patience = time.Minute

func newWaitCommand(a *app) *cobra.Command {
	var which choice
	cmd := &cobra.Command{
		Use:   "wait {ID... | FILTER...}",
		Short: "Wait for jobs, and exit with their status",
		Long: `Wait waits until a job or reservation is finished, and exits with the job's exit status,
or 128 plus the number of the signal that ended it, or
  124  its timeout ended it
  125  it did not run (cancelled, missed, lost), or wait cannot know the status
  126  its command could not be run
  127  its command was not found
For these it prints the reason on standard error. It goes on waiting if the daemon is
restarted in the meantime.

With several IDs, or filters, it waits until all are finished: all that the filters choose
when it begins. The first of them that did not succeed decides the exit status.`,
		Example: `  atctl wait $(atctl add -- ./report)
  atctl wait --tag nightly`,
		Args: func(cmd *cobra.Command, args []string) error {
			given, err := chooses(cmd, choiceFlags, len(args))
			if err == nil && !given {
				err = takes(1, 0, "an ID, or a filter such as --tag")(cmd, args)
			}
			return noStatus(err)
		},
		RunE: func(cmd *cobra.Command, ids []string) error {
			if len(ids) == 0 {
				which.settle()
				err := stream(cmd.Context(), a, "list", which.ListIn, func(act control.Activation) error {
					ids = append(ids, act.ID)
					return nil
				})
				if err != nil {
					return noStatus(err)
				}
			}
			return waitForAll(cmd.Context(), a, ids)
		},
	}
	which.flags(cmd.Flags(), nil)
	help.Section(cmd, whichOnes, choiceFlags...)
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return noStatus(help.WrongFlag(cmd, err))
	})
	return cmd
}

// waitForAll waits for activations, one after the other, and returns what the first of those
// that did not succeed decides.
func waitForAll(ctx context.Context, a *app, ids []string) error {
	if len(ids) == 1 {
		return runWait(ctx, a, ids[0])
	}
	var first error
	for _, id := range ids {
		err := runWait(ctx, a, id)
		if text := message(err); text != "" { // the others may take long
			fmt.Fprintln(os.Stderr, text)
		}
		if err != nil && first == nil {
			first = quietStatus(status(err))
		}
	}
	return first
}

// noStatus returns an error with the exit status for "the status of the job is unknown",
// which differs from the statuses of most failing jobs.
func noStatus(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w%w", quietStatus(exitNotRun), err)
}

// tellWhen tells a person at a terminal what an activation that is not finished waits for.
func tellWhen(ctx context.Context, a *app, id string) {
	if a.json || !isTerminal(os.Stderr) {
		return
	}
	d, err := call[control.Detail](ctx, a, "show", control.IDIn{ID: id})
	if err != nil || d.State == "finished" { // the request that follows reports an error
		return
	}
	text := display.NowIs(&d.Activation)
	switch {
	case d.State == "scheduled":
		text = id + " is due " + display.Relative(time.Until(d.Planned))
	case d.Reason != "":
		text += ": " + d.Reason
	}
	fmt.Fprintln(os.Stderr, printable(text))
}

func runWait(ctx context.Context, a *app, id string) error {
	tellWhen(ctx, a, id)
	data, err := ask(ctx, a, id)
	if err != nil {
		return noStatus(err)
	}
	var out control.WaitOut
	if err := json.Unmarshal(data, &out); err != nil {
		return noStatus(fmt.Errorf("the daemon's reply %.80q: %w", data, err))
	}
	switch {
	case a.json:
		if _, err := fmt.Println(string(data)); err != nil {
			return err
		}
	case out.Exit >= exitTimeout && out.Exit <= exitNotFound:
		text := "atctl: " + display.NowIs(&out.Activation)
		if reason, ok := strings.CutPrefix(out.Reason, out.Outcome+" "); ok { // cancelled by ada
			text += " " + reason
		} else if out.Reason != "" {
			text += ": " + out.Reason
		}
		if out.Exit >= exitNoExec && !out.Started.IsZero() { // by its own decision
			text += "; its output may say more: atctl log " + id
		}
		fmt.Fprintln(os.Stderr, printable(text))
	}
	if out.Exit == 0 {
		return nil
	}
	return quietStatus(out.Exit)
}

// ask waits for a job.
func ask(ctx context.Context, a *app, id string) (data json.RawMessage, err error) {
	err = outlast(a, func() error {
		data, err = call[json.RawMessage](ctx, a, "wait", control.IDIn{ID: id})
		return err
	})
	return data, err
}

// outlast repeats a request until it is answered: if the daemon was reached once, it is
// expected to come back.
func outlast(a *app, request func() error) error {
	var lost time.Time
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		asked := time.Now()
		err := request()
		if err == nil || !a.reached.Load() || fault.Of(err) != fault.Unavailable {
			return err
		}
		switch {
		case lost.IsZero():
			fmt.Fprintf(os.Stderr, "%s; trying again for %v\n", message(err), patience)
			lost = time.Now()
		case time.Since(asked) > time.Second: // the daemon was back in the meantime
			lost, pause = time.Now(), 50*time.Millisecond
		case time.Since(lost) > patience:
			return err
		}
		time.Sleep(pause)
	}
}
