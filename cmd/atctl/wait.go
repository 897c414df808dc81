package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/fault"
)

// Exit statuses of wait that are not the job's own; those of timeout(1).
const (
	exitTimeout = 124
	exitNotRun  = 125
)

// A daemon that was there may be away for this long, as for an upgrade.
const patience = time.Minute

func newWaitCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "wait ID",
		Short: "Wait for the end of a job, and exit as it did",
		Long: `Wait waits until a job or a reservation is finished, and exits with the job's exit
status, or 128 plus the number of the signal that ended it, or
  124  its timeout ended it
  125  it did not run (cancelled, missed, lost), or wait could not find out
  126  its command could not be run
  127  its command was not found
and for 124 and 125 says why on standard error. A daemon that is restarted meanwhile
does not matter.`,
		Args: func(cmd *cobra.Command, args []string) error {
			return notKnown(wants(1, 1, "one ID")(cmd, args))
		},
		ValidArgsFunction: a.completeIDs(""),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runWait(cmd.Context(), a, args[0])
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return notKnown(usage(cmd, err.Error()))
	})
	return cmd
}

// notKnown makes wait exit with a status that no failing job is taken for.
func notKnown(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w%w", jobStatus(exitNotRun), err)
}

func runWait(ctx context.Context, a *app, id string) error {
	data, err := ask(ctx, a, id)
	if err != nil {
		return notKnown(err)
	}
	var out control.WaitOut
	if err := json.Unmarshal(data, &out); err != nil {
		return notKnown(fmt.Errorf("the daemon's reply %.80q: %w", data, err))
	}
	switch {
	case a.json:
		if _, err := fmt.Println(string(data)); err != nil {
			return err
		}
	case out.Exit == exitTimeout || out.Exit == exitNotRun:
		text := fmt.Sprintf("atctl: %s is %s", id, state(out.Activation))
		if out.Reason != "" {
			text += ": " + out.Reason
		}
		fmt.Fprintln(os.Stderr, printable(text))
	}
	if out.Exit == 0 {
		return nil
	}
	return jobStatus(out.Exit)
}

// ask asks until it gets an answer: a daemon that was reached and then went
// away is expected back.
func ask(ctx context.Context, a *app, id string) (json.RawMessage, error) {
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	dial := c.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	reached := false
	c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		reached = reached || err == nil
		return conn, err
	}
	var lost time.Time
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		asked := time.Now()
		data, err := call[json.RawMessage](ctx, a, "wait", control.IDIn{ID: id})
		if err == nil || !reached || fault.Of(err) != fault.Unavailable {
			return data, err
		}
		switch {
		case lost.IsZero():
			fmt.Fprintf(os.Stderr, "%s; trying again for %v\n", message(err), patience)
			lost = time.Now()
		case time.Since(asked) > time.Second: // it was there meanwhile
			lost, pause = time.Now(), 50*time.Millisecond
		case time.Since(lost) > patience:
			return nil, err
		}
		time.Sleep(pause)
	}
}
