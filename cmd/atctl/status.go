package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/display"
	"activationd/internal/fault"
	"activationd/internal/terminal"
)

type statusOptions struct {
	wait  time.Duration
	check bool
}

func newStatusCommand(a *app) *cobra.Command {
	var opts statusOptions
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what needs attention, and the state of the daemon",
		Long: `Status first shows what needs attention, the most urgent first, with a command that helps:

  disk         the file system of the daemon's state is nearly full
  clock        the clock was set, and is not trusted yet
  stuck        a deactivation has failed, so devices stay locked
  fatal        an instance of a service failed too often
  unverified   a process hangs in the kernel: the end of a run is not verified
  source       a source of reservations, or the configuration, could not be read
  rejected     a reservation or a recurrence is wrong, and is not in force
  conflict     another reservation has the device, or a pool has too few VLANs
  login        a device has refused a password or a key
  quarantined  a VLAN id may still be on a switch, and is not used
  queue        a listener cannot run, or a queue has dead letters
  hook         events of a hook could not be delivered
  failed       a job or reservation failed in the last 24 hours

The state of the daemon follows. The guard says how processes of scripts are found and
killed, and the generation is the number of the newest load. For each source of
reservations, LIVE counts those that are not finished, REJECTED those that are wrong, and
OVER new ones whose slots had ended when they were read first: "atctl why ID" says more.

With --check, status shows only what needs attention. Its exit status is 0 if nothing
does, 4 if something does, and 6 if the daemon cannot be reached. So cron and monitoring
systems can use it. Users who are not operators see no jobs of others, no logins, no queues
and no hooks.`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runStatus(cmd.Context(), a, opts)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&opts.check, "check", false, "show only what needs attention; exit with 4 if something does")
	durationVar(f, &opts.wait, "wait", 0, "if no daemon answers, or the daemon has just started and has not yet read its sources, wait for that, at most `DURATION`")
	return cmd
}

// retryPause is the pause between two tries to reach a daemon that is being started.
const retryPause = 20 * time.Millisecond

func runStatus(ctx context.Context, a *app, opts statusOptions) error {
	var line json.RawMessage
	var s control.StatusOut
	for end := time.Now().Add(opts.wait); ; time.Sleep(retryPause) {
		var err error
		if line, err = call[json.RawMessage](ctx, a, "status", nil); err == nil {
			s = control.StatusOut{}
			err = json.Unmarshal(line, &s)
		}
		again := ctx.Err() == nil && time.Now().Before(end)
		switch {
		case errors.Is(err, fault.Unavailable) && again:
			a.made = nil // another user's daemon may listen by then
			continue
		case err != nil:
			return err
		case s.Loading && again:
			continue
		}
		break
	}
	switch {
	case opts.check && s.Attention == nil:
		return fmt.Errorf("the daemon, version %s, is older than this program and does not say what needs attention; restart it: %w", s.Version, fault.Unavailable)
	case opts.check:
		return a.printCheck(&s)
	case a.json:
		_, err := fmt.Println(string(line))
		return err
	}
	return printStatus(&s)
}

// printCheck prints what needs attention. The error is only an exit status.
func (a *app) printCheck(s *control.StatusOut) error {
	if len(s.Attention) == 0 {
		return nil
	}
	err := error(quietStatus(control.ExitStatus(fault.Conflict)))
	if !a.json {
		return errors.Join(printAttention(s.Attention, display.NewClock(s.Clock).Full), err)
	}
	out := json.NewEncoder(os.Stdout)
	for _, n := range s.Attention {
		err = errors.Join(out.Encode(n), err)
	}
	return err
}

// printAttention prints what needs attention, each in one line, or in several on a
// terminal that is too narrow, with its time as when formats it.
func printAttention(needs []control.Attention, when func(time.Time) string) error {
	width := terminal.Width(os.Stdout)
	for _, n := range needs {
		text := fmt.Sprintf("and %d more", n.More)
		if n.More == 0 {
			text = display.Subject(&n)
			if !n.Since.IsZero() {
				text += ", " + when(n.Since)
			}
			text = strings.TrimPrefix(text, ", ") + ": " + n.Text
		}
		if n.Try != "" {
			text += "; try: " + n.Try
		}
		const column = 13
		if _, err := fmt.Printf("%-*s%s\n", column, n.Kind, hanging(printable(strings.TrimPrefix(text, ": ")), column, width)); err != nil {
			return err
		}
	}
	return nil
}

// hanging breaks text at blanks into lines of at most a width, of which all but the first
// begin with an indent. A width of 0 means no limit.
func hanging(text string, indent, width int) string {
	if width <= indent {
		return text
	}
	var b strings.Builder
	left := width - indent
	for i, word := range strings.Split(text, " ") {
		switch n := utf8.RuneCountInString(word); {
		case i == 0:
			left -= n
		case left < 1+n:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			left = width - indent - n
		default:
			b.WriteByte(' ')
			left -= 1 + n
		}
		b.WriteString(word)
	}
	return b.String()
}

// guardText returns a guard with what it does when a script is to be gone.
func guardText(guard string) string {
	switch guard {
	case "cgroup":
		return guard + ": kills all processes of a script"
	case "subreaper":
		return guard + ": kills a script's process group, and processes that left it"
	case "group":
		return guard + ": kills a script's process group, and later the processes that have the mark of its run"
	}
	return guard
}

func printStatus(s *control.StatusOut) error {
	times := display.NewClock(s.Clock)
	switch {
	case s.Attention == nil: // an older daemon
	case len(s.Attention) == 0:
		fmt.Print("nothing needs attention\n\n")
	default:
		if err := printAttention(s.Attention, times.Both); err != nil {
			return err
		}
		fmt.Println()
	}
	next, guard, draining := "nothing is scheduled", guardText(s.Guard), ""
	if !s.Next.IsZero() {
		next = times.Both(s.Next)
	}
	if s.GuardWhy != "" {
		guard += " (" + s.GuardWhy + ")"
	}
	if s.Draining {
		draining = "yes: the daemon starts nothing new, and stops when nothing runs"
	}
	generation := fmt.Sprintf("%d, the number of the newest load", s.Generation)
	if s.Loading {
		generation += "; the first load since the start is not done yet"
	}
	logins := ""
	if s.Logins > 0 {
		logins = fmt.Sprintf("%d refused, and not tried again; see atctl logins", s.Logins)
	}
	queues := ""
	if q := s.Queues; q != nil && q.Queues > 0 {
		queues = fmt.Sprintf("%d, with %d messages ready, %d delayed, %d in work, %d dead", q.Queues, q.Ready, q.Delayed, q.Work, q.Dead)
	}
	var states []string
	for _, name := range slices.Sorted(maps.Keys(s.States)) {
		if n := s.States[name]; n > 0 {
			states = append(states, fmt.Sprintf("%d %s", n, name))
		}
	}
	var paused []string
	for i := range s.Paused {
		paused = append(paused, pausedText(&s.Paused[i], times))
	}
	sources := ""
	if len(s.Sources) == 0 {
		sources = "none"
	}
	err := fields(os.Stdout,
		[2]string{"version", s.Version},
		[2]string{"process", fmt.Sprintf("%d, as %s", s.PID, s.User)},
		[2]string{"times in", times.Zone},
		[2]string{"started", times.Both(s.Started)},
		[2]string{"draining", draining},
		[2]string{"guard", guard},
		[2]string{"state", s.StateDir},
		[2]string{"runtime", s.RuntimeDir},
		[2]string{"generation", generation},
		[2]string{"next", next},
		[2]string{"running", strconv.Itoa(s.Running)},
		[2]string{"activations", strings.Join(states, ", ")},
		[2]string{"queues", queues},
		[2]string{"logins", logins},
		[2]string{"paused", strings.Join(paused, "\n")},
		[2]string{"sources", sources},
	)
	if err != nil || len(s.Sources) == 0 {
		return err
	}
	fmt.Println()
	t := newTable(os.Stdout, column{"SOURCE", 0}, column{"LIVE", 0}, column{"REJECTED", 0}, column{"OVER", 0}, column{"READ", 0})
	t.times = times.Unnamed()
	for _, src := range s.Sources {
		live, rejected, over := strconv.Itoa(src.Live), strconv.Itoa(src.Rejected), strconv.Itoa(src.Over)
		if src.Read.IsZero() && src.Name != control.BookingSource {
			live, rejected, over = "-", "-", "-"
		}
		err = errors.Join(err, t.row(src.Name, live, rejected, over, src.Read))
	}
	return t.end(err)
}
