package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"activationd/control"
	"activationd/internal/display"
	"activationd/internal/fault"
	"activationd/internal/terminal"
)

// sentences are the names of values that terminals show in lines that fit. Commands, which
// people copy, are not broken.
var sentences = []string{"reason", "last end", "rolling"}

// fields prints name and value pairs, aligned, leaving out empty values. A
// value of several lines is indented as a whole.
func fields(out io.Writer, pairs ...[2]string) error {
	widest := 0
	for _, p := range pairs {
		if p[1] != "" {
			widest = max(widest, len(p[0]))
		}
	}
	for _, p := range pairs {
		name := p[0]
		for l := range strings.Lines(p[1]) {
			text := printable(strings.TrimSuffix(l, "\n"))
			if slices.Contains(sentences, p[0]) {
				text = hanging(text, widest+2, terminal.Width(out))
			}
			if name == "state" && hasColours(out) {
				text = display.Colour(text)
			}
			line := fmt.Sprintf("%-*s  %s", widest, name, text)
			if _, err := fmt.Fprintln(out, strings.TrimRight(line, " ")); err != nil {
				return err
			}
			name = ""
		}
	}
	return nil
}

// printable makes text from others harmless for a terminal and a table.
func printable(s string) string { return display.Printable(s) }

// A clock formats times for people.
type clock = display.Clock

// clock asks the daemon for its clock, once.
func (a *app) clock(ctx context.Context) (*clock, error) {
	if a.times != nil {
		return a.times, nil
	}
	out, err := call[control.Clock](ctx, a, "clock", nil)
	if errors.Is(err, fault.Invalid) && strings.HasPrefix(err.Error(), "no command") { // an older daemon
		now := time.Now()
		out = control.Clock{Now: now, Offset: now.Format("-07:00")}
		err = a.made.Close() // such a daemon has closed the connection
	}
	if err != nil {
		return nil, err
	}
	a.times = display.NewClock(out)
	return a.times, nil
}

// isTerminal reports whether f is a terminal.
func isTerminal(f any) bool { return terminal.Width(f) > 0 }
