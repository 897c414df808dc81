package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/fault"
)

func newStatusCommand(a *app) *cobra.Command {
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how the daemon is",
		Args:  none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for end := time.Now().Add(wait); ; time.Sleep(askAgain) {
				err := runStatus(cmd.Context(), a)
				if !errors.Is(err, fault.Unavailable) || cmd.Context().Err() != nil || !time.Now().Before(end) {
					return err
				}
				a.made = nil // whose daemon is there may be another one by then
			}
		},
	}
	durationVar(cmd.Flags(), &wait, "wait", 0, "if no daemon answers yet, wait until one does, `DURATION` at most")
	return cmd
}

// askAgain is how long to wait before the next try at a daemon that is about to
// be there.
const askAgain = 20 * time.Millisecond

func runStatus(ctx context.Context, a *app) error {
	if a.json {
		return a.printJSON(ctx, "status", nil)
	}
	s, err := call[control.StatusOut](ctx, a, "status", nil)
	if err != nil {
		return err
	}
	now := time.Now()
	next, guard, draining, clock, unverified := "nothing is scheduled", s.Guard, "", "", ""
	if s.Unverified > 0 {
		unverified = fmt.Sprintf("%d, of which processes hang in the kernel", s.Unverified)
	}
	if !s.Next.IsZero() {
		next = instant(s.Next, now)
	}
	if s.GuardWhy != "" {
		guard += " (" + s.GuardWhy + ")"
	}
	if s.Draining {
		draining = "yes: nothing new is started, and it stops when nothing runs"
	}
	if s.ClockWhy != "" {
		clock = "not trusted yet: " + s.ClockWhy
	}
	logins := ""
	if s.Logins > 0 {
		logins = fmt.Sprintf("%d are refused and not tried again; see atctl logins", s.Logins)
	}
	var states []string
	for _, name := range slices.Sorted(maps.Keys(s.States)) {
		if n := s.States[name]; n > 0 {
			states = append(states, fmt.Sprintf("%d %s", n, name))
		}
	}
	err = fields(os.Stdout,
		[2]string{"version", s.Version},
		[2]string{"process", fmt.Sprintf("%d, as %s", s.PID, s.User)},
		[2]string{"started", instant(s.Started, now)},
		[2]string{"draining", draining},
		[2]string{"clock", clock},
		[2]string{"guard", guard},
		[2]string{"state", s.StateDir},
		[2]string{"runtime", s.RuntimeDir},
		[2]string{"generation", strconv.FormatUint(s.Generation, 10)},
		[2]string{"next", next},
		[2]string{"running", strconv.Itoa(s.Running)},
		[2]string{"unverified", unverified},
		[2]string{"activations", strings.Join(states, ", ")},
		[2]string{"logins", logins},
	)
	if err != nil || len(s.Sources) == 0 {
		return err
	}
	fmt.Println()
	t := newTable(os.Stdout, column{"SOURCE", 0}, column{"LIVE", 0}, column{"READ", 0}, column{"ERROR", 0})
	for _, src := range s.Sources {
		err = errors.Join(err, t.row(src.Name, strconv.Itoa(src.Live), instant(src.Read, now), src.Error))
	}
	return errors.Join(err, t.flush())
}
