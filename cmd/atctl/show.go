package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"activationd/control"
)

func newShowCommand(a *app) *cobra.Command {
	var keepGoing bool
	cmd := &cobra.Command{
		Use:               "show ID...",
		Short:             "Show all that is known of a job or a reservation",
		Args:              wants(1, 0, "an ID; see atctl list --all"),
		ValidArgsFunction: a.completeIDs("all"),
		RunE: func(cmd *cobra.Command, args []string) error {
			first := true
			return each(args, keepGoing, func(id string) error {
				if !first && !a.json {
					fmt.Println()
				}
				first = false
				return runShow(cmd.Context(), a, id)
			})
		},
	}
	cmd.Flags().BoolVarP(&keepGoing, "keep-going", "k", false, "try every ID")
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
	now := time.Now()
	activate := "activate"
	if d.Kind == "job" {
		activate = "command"
	}
	return errors.Join(
		fields(os.Stdout,
			[2]string{"id", d.ID},
			[2]string{"kind", d.Kind},
			[2]string{"owner", d.Owner},
			[2]string{"label", d.Label},
			[2]string{"state", state(d.Activation)},
			[2]string{"phase", d.Phase},
			[2]string{"reason", d.Reason},
			[2]string{"progress", progress(d.Progress)},
			[2]string{"waits for", strings.Join(d.WaitsFor, "\n")},
			[2]string{"due", instant(d.Due, now)},
			[2]string{"start", instant(d.Start, now)},
			[2]string{"end", instant(d.End.Time, now)},
			[2]string{"created", instant(d.Created, now)},
			[2]string{"recurrence", d.Every},
			[2]string{"occurrence", instant(d.Occurrence, now)},
			[2]string{"source", d.Source},
			[2]string{"generation", nonzero(int(d.Generation))},
			[2]string{"devices", strings.Join(d.Devices, " ")},
			[2]string{"announced", strings.Join(d.Announced, " ")},
			[2]string{"locks", strings.Join(d.Locks, " ")},
			[2]string{"after", strings.Join(d.After, " ")},
			[2]string{"priority", nonzero(d.Priority)},
			[2]string{"deadline", instant(d.Deadline, now)},
			[2]string{"tags", strings.Join(d.Tags, " ")},
			[2]string{"topology", d.Topology},
			[2]string{activate, shellWords(d.Activate)},
			[2]string{"deactivate", shellWords(d.Deactivate)},
			[2]string{"directory", d.Dir},
			[2]string{"timeout", d.Timeout},
			[2]string{"grace", d.Grace},
			[2]string{"retries", nonzero(d.Retries)},
			[2]string{"backoff", d.Backoff},
			[2]string{"if missed", d.Missed},
			[2]string{"run directory", d.RunDirectory},
		),
		showAttempts(d.Attempts))
}

func showAttempts(attempts []control.Attempt) error {
	if len(attempts) == 0 {
		return nil
	}
	fmt.Println()
	t := newTable(os.Stdout, column{"PHASE", 0}, column{"N", 0}, column{"PID", 0}, column{"STARTED", 0}, column{"TOOK", 0},
		column{"ENDED BY", 0}, column{"CPU", 0}, column{"MEMORY", 0}, column{"CONTAINED", 0}, column{"LEFTOVERS", 0})
	for _, at := range attempts {
		var started, took string
		if !at.Started.IsZero() {
			started = at.Started.Local().Format(time.DateTime)
			took = "runs"
		}
		if !at.Ended.IsZero() && !at.Started.IsZero() {
			took = at.Ended.Sub(at.Started).Round(time.Millisecond).String()
		}
		cpu, memory := "", ""
		if at.Rusage != (control.Rusage{}) {
			cpu = fmt.Sprintf("%.2fs", at.Rusage.User+at.Rusage.System)
			memory = fmt.Sprintf("%.1fM", float64(at.Rusage.MaxRSS)/1024)
		}
		err := t.row(at.Phase, strconv.Itoa(at.N), nonzero(at.PID), started, took,
			endedBy(at), cpu, memory, at.Contained, nonzero(at.Leftovers))
		if err != nil {
			return err
		}
	}
	return t.flush()
}

// endedBy tells how an attempt ended: "exit 3", "TERM (timeout)", "lost".
func endedBy(at control.Attempt) string {
	how := ""
	switch {
	case at.Exit != nil:
		how = "exit " + strconv.Itoa(*at.Exit)
	case at.Signal != "":
		how = at.Signal
	}
	switch {
	case how == "":
		return at.Reason
	case at.Reason == "" || at.Reason == "exited":
		return how
	}
	return how + " (" + at.Reason + ")"
}

// nonzero is n, or nothing if it is 0.
func nonzero(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// shellWords tells a command so that a shell would read it as it is.
func shellWords(args []string) string {
	words := make([]string, len(args))
	for i, arg := range args {
		words[i] = arg
		if !utf8.ValidString(arg) {
			words[i] = quoteBytes(arg)
			continue
		}
		if arg == "" || strings.ContainsAny(arg, " \t\n'\"\\$`*?[]{}()<>|&;#~!") {
			words[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}

// quoteBytes is how bash and its like are given an argument that is no text.
func quoteBytes(arg string) string {
	var b strings.Builder
	for len(arg) > 0 {
		r, n := utf8.DecodeRuneInString(arg)
		switch {
		case r == utf8.RuneError && n == 1, !unicode.IsPrint(r):
			for _, c := range []byte(arg[:n]) {
				fmt.Fprintf(&b, `\x%02x`, c)
			}
		case r == '\'' || r == '\\':
			b.WriteString(`\` + arg[:n])
		default:
			b.WriteString(arg[:n])
		}
		arg = arg[n:]
	}
	return "$'" + b.String() + "'"
}
