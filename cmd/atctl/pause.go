package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"activationd/control"
	"activationd/internal/display"
	"activationd/schedule/timespec"
)

func newPauseCommand(a *app) *cobra.Command {
	var in control.PauseIn
	cmd := &cobra.Command{
		Use:   "pause [daemon | {source | queue | device} NAME...]",
		Short: "Let nothing begin, for example during maintenance",
		Long: `Pause keeps jobs and reservations from beginning:

  daemon         all of them, and no messages of queues are handed out
  source NAME    the reservations of a source
  queue NAME     the messages of a queue are not handed out
  device NAME    those that have the device, and jobs with a lock of that name

What runs goes on, and reservations are deactivated at their ends. Services are not
affected. What is due in the meantime waits, with the reason, and begins when the pause
ends: at the time --until, or with "atctl resume". A reservation whose slot ends first is
missed. A job is missed if the pause keeps it for longer than jobs.missed_grace in the
configuration; if its --missed policy is skip, for longer than a minute. "atctl run" does
not start what is paused.

If you pause the same thing again, the new end and reason replace the old ones. A pause
survives a restart of the daemon. Without arguments, pause lists what is paused. To keep
single jobs or reservations from starting, use "atctl hold".`,
		Example: `  atctl pause device sw1 --until 2099-12-04T18:00 --reason 'its fan is broken'
  atctl pause daemon --until 18:00 --reason maintenance`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && in == (control.PauseIn{}) {
				return nil
			}
			return whatToPause(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := refuseEmpty(cmd, "reason"); err != nil {
				return err
			}
			if len(args) == 0 {
				return a.listPauses(cmd.Context())
			}
			var err error
			if in.Until, err = zoned(in.Until, time.Now(), timespec.TypedUntil); err != nil {
				return err
			}
			return eachName(args, func(name string) error {
				in.What, in.Name = args[0], name
				return a.tellPause(cmd.Context(), "pause", in, "paused")
			})
		},
	}
	pauseFlags(cmd.Flags(), &in.Until, &in.Reason, "show `TEXT` with what waits")
	return cmd
}

// pauseFlags declares the flags of commands that pause something.
func pauseFlags(f *pflag.FlagSet, until, reason *string, reasonHelp string) {
	f.StringVar(until, "until", "", "end the pause at the time `WHEN`, or after this duration")
	f.StringVar(reason, "reason", "", reasonHelp)
}

func newResumeCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "resume {daemon | {source | queue | device} NAME...}",
		Short: "End a pause",
		Long: `Resume ends a pause. What has waited for its end begins: the highest priority first, and
then what was due first. "atctl pause" lists what is paused.`,
		Example: `  atctl resume device sw1`,
		Args:    whatToPause,
		RunE: func(cmd *cobra.Command, args []string) error {
			return eachName(args, func(name string) error {
				return a.tellPause(cmd.Context(), "resume", control.ResumeIn{What: args[0], Name: name}, "resumed")
			})
		},
	}
}

// whatToPause checks the arguments that name what is paused.
func whatToPause(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0 || !slices.Contains(pausable, args[0]):
		have := ""
		if len(args) > 0 {
			have = fmt.Sprintf(", not %q", args[0])
		}
		return usage(cmd, cmd.Name()+" needs daemon, source NAME, queue NAME or device NAME"+have)
	case args[0] == "daemon" && len(args) > 1:
		return usage(cmd, fmt.Sprintf("%s daemon takes no name; %q is too much", cmd.Name(), args[1]))
	case args[0] != "daemon" && (len(args) == 1 || slices.Contains(args, "")):
		return usage(cmd, fmt.Sprintf("%s %s needs a NAME", cmd.Name(), args[0]))
	}
	return nil
}

// eachName calls do with each name of what args name; with an empty one for the daemon.
func eachName(args []string, do func(name string) error) error {
	names := args[1:]
	if len(names) == 0 {
		names = []string{""}
	}
	for _, name := range names {
		if err := do(name); err != nil {
			return err
		}
	}
	return nil
}

// tellPause calls an operation on a pause. On a terminal it says what that did.
func (a *app) tellPause(ctx context.Context, op string, in any, did string) error {
	if a.json {
		return a.printJSON(ctx, op, in)
	}
	return stream(ctx, a, op, in, func(p control.Pause) error {
		if p.Notice != "" {
			warn(p.Notice)
		}
		if !isTerminal(os.Stdout) {
			return nil
		}
		text := pausedName(&p) + " is " + did
		if !p.Until.IsZero() && did == "paused" {
			times, err := a.clock(ctx)
			if err != nil {
				return err
			}
			text += " until " + times.Full(p.Until.Time)
		}
		if p.Waiting > 0 {
			text += "; " + strconv.Itoa(p.Waiting) + " waited"
		}
		_, err := fmt.Println(printable(text))
		return err
	})
}

// pausedName names what is paused.
func pausedName(p *control.Pause) string { return strings.TrimSpace(p.What + " " + p.Name) }

// pausedText describes a pause.
func pausedText(p *control.Pause, times *display.Clock) string {
	text := pausedName(p)
	if !p.Until.IsZero() {
		text += " until " + times.Both(p.Until.Time)
	}
	text += ", by " + p.By + " since " + times.Both(p.Since)
	if p.Reason != "" {
		text += ": " + p.Reason
	}
	if p.Waiting > 0 {
		text += fmt.Sprintf("; waiting: %d", p.Waiting)
	}
	return text
}

// listPauses lists what is paused.
func (a *app) listPauses(ctx context.Context) error {
	if a.json {
		return a.printJSON(ctx, "pauses", nil)
	}
	t := newTable(os.Stdout, column{"WHAT", 0}, column{"NAME", 26}, column{"UNTIL", 0}, column{"SINCE", 0}, column{"BY", 16}, column{"WAITING", 0}, column{"REASON", 0})
	var err error
	if t.times, err = a.clock(ctx); err != nil {
		return err
	}
	some := false
	err = stream(ctx, a, "pauses", nil, func(p control.Pause) error {
		some = true
		return t.row(p.What, p.Name, p.Until.Time, p.Since, p.By, strconv.Itoa(p.Waiting), p.Reason)
	})
	if err == nil && !some {
		_, err = fmt.Println("nothing is paused")
		return err
	}
	return t.end(err)
}
