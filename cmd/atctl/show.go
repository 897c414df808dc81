package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/display"
)

func newShowCommand(a *app) *cobra.Command {
	var keepGoing bool
	var work workOptions
	cmd := &cobra.Command{
		Use:   "show ID...",
		Short: "Show all details of a job or reservation",
		Long: `Show prints all details of a job or reservation. Its owner and admins also see the
beginning of its script, the size of its input, and the variables that the
configuration and the job set. Values are replaced by *** where the name of a variable
looks like that of a secret (such as *PASSWORD*, *SECRET*, *TOKEN*, *KEY*). With
--script or --input, show prints the whole script or input instead, and nothing else.`,
		Args: takes(1, 0, "an ID; see atctl list --all"),
		RunE: func(cmd *cobra.Command, args []string) error {
			first := true
			return forEachID(args, keepGoing, func(id string) error {
				if work.exact() {
					return work.print(cmd.Context(), a, control.InputIn{ID: id})
				}
				if !first && !a.json {
					fmt.Println()
				}
				first = false
				return runShow(cmd.Context(), a, id)
			})
		},
	}
	cmd.Flags().BoolVarP(&keepGoing, "keep-going", "k", false, "try every ID")
	work.flags(cmd)
	return cmd
}

func runShow(ctx context.Context, a *app, id string) error {
	in := control.IDIn{ID: id}
	if a.json {
		return a.printJSON(ctx, "show", in)
	}
	d, err := call[control.Detail](ctx, a, "show", in)
	if err != nil {
		return err
	}
	d.Activate, d.Deactivate, d.Dir = d.Bytes.Restore(d.Activate, d.Deactivate, d.Dir)
	clock, err := a.clock(ctx)
	if err != nil {
		return err
	}
	activate, planned, slotEnds := "activate", "slot begins", d.End.Time
	switch d.Kind {
	case "job":
		activate, planned, slotEnds = "command", "planned", time.Time{}
	case "service":
		activate, d.Planned, slotEnds = "command", time.Time{}, time.Time{}
	}
	return errors.Join(
		fields(os.Stdout, append([][2]string{
			{"id", d.ID},
			{"kind", d.Kind},
			{"owner", d.Owner},
			{"label", d.Label},
			{"state", display.State(&d.Activation)},
			{"phase", d.Phase},
			{"reason", d.Reason},
			{"conflicts", conflictTexts(d.Conflicts)},
			{"progress", display.Progress(d.Progress)},
			{"waits for", strings.Join(d.WaitsFor, "\n")},
			{"times in", clock.Zone},
			{"due", clock.Both(d.Due.Time)},
			{planned, clock.Both(d.Planned)},
			{"slot ends", clock.Both(slotEnds)},
			{"started", clock.Both(d.Started.Time)},
			{"ended", clock.Both(d.Ended.Time)},
			{"took", took(d.Activation)},
			{"exit", exit(d.Activation)},
			{"created", clock.Both(d.Created)},
			{"recurrence", d.Every},
			{"occurrence", clock.Both(d.Occurrence)},
			{"source", d.Source},
			{"generation", nonzero(int(d.Generation))},
			{"devices", strings.Join(d.Devices, " ")},
			{"announced", strings.Join(d.Announced, " ")},
			{"locks", strings.Join(d.Locks, " ")},
			{"after", strings.Join(d.After, " ")},
			{"priority", nonzero(d.Priority)},
			{"deadline", clock.Both(d.Deadline)},
			{"tags", strings.Join(d.Tags, " ")},
			{"topology", d.Topology},
			{activate, control.ShellWords(d.Activate)},
			{"deactivate", control.ShellWords(d.Deactivate)},
			{"directory", d.Dir},
			{"timeout", limit(d.Timeout)},
			{"grace", d.Grace},
			{"retries", nonzero(d.Retries)},
			{"backoff", d.Backoff},
			{"if missed", d.Missed},
			{"queue", d.Queue},
			{"mail", mailText(&d)},
			{"run directory", d.RunDirectory},
		}, workFields(d.Stdin, d.Env, "atctl show "+d.ID)...)...),
		showAttempts(d.Attempts, clock))
}

// conflictTexts has a line for each conflict.
func conflictTexts(conflicts []control.ConflictLine) string {
	var lines []string
	for _, c := range conflicts {
		lines = append(lines, c.Text)
	}
	return strings.Join(lines, "\n")
}

func showAttempts(attempts []control.Attempt, clock *clock) error {
	if len(attempts) == 0 {
		return nil
	}
	fmt.Println()
	t := newTable(os.Stdout, column{"PHASE", 0}, column{"N", 0}, column{"STARTED", 0}, column{"TOOK", 0}, column{"CPU", 0},
		column{"MEMORY", 0}, column{"PID", 0}, column{"CONTAINED", 0}, column{"LEFTOVERS", 0}, column{"ENDED BY", 0})
	t.times, t.spare = clock.Unnamed(), []string{"PID", "CONTAINED"}
	for _, at := range attempts {
		took := ""
		switch {
		case at.Started.IsZero():
		case at.Ended.IsZero():
			took = "runs"
		default:
			took = display.Lasted(at.Ended.Sub(at.Started))
		}
		cpu, memory := "", ""
		if at.Rusage != (control.Rusage{}) {
			cpu = fmt.Sprintf("%.2fs", at.Rusage.User+at.Rusage.System)
			memory = fmt.Sprintf("%.1fM", float64(at.Rusage.MaxRSS)/1024)
		}
		err := t.row(at.Phase, strconv.Itoa(at.N), at.Started, took, cpu, memory, nonzero(at.PID),
			at.Contained, nonzero(at.Leftovers), display.EndedBy(&at))
		if err != nil {
			return err
		}
	}
	return t.flush()
}

// nonzero returns n as text, or nothing if it is 0.
func nonzero(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}
