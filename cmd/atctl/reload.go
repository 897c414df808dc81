package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/fault"
)

func newReloadCommand(a *app) *cobra.Command {
	var in control.ReloadIn
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Read the reservations again",
		Long: `Reload has the daemon read its sources again, waits until it has, and prints the
generation and what changed, then what was rejected, with file and line or row.

Its exit status is 2 when a reservation was rejected (the others are in force), 6
when a source could not be read (what is known of it stays in force), and 4 when
too much would have been removed (nothing was; --force does it all the same).`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runReload(cmd.Context(), a, in)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&in.Force, "force", false, "even if that removes most of what is live")
	f.BoolVar(&in.DryRun, "dry-run", false, "only tell what would change")
	return cmd
}

func runReload(ctx context.Context, a *app, in control.ReloadIn) (err error) {
	c, err := a.client()
	if err != nil {
		return err
	}
	r, err := c.Do(ctx, "reload", in)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	if r.Code == 200 {
		if err := a.printSummary(r.Summary); err != nil {
			return err
		}
	}
	var rejected, failed int
	for data, err := range r.Lines() {
		if err != nil {
			return err
		}
		var l control.ReloadLine
		if err := json.Unmarshal(data, &l); err != nil {
			return fmt.Errorf("the daemon's reply %.80q: %w", data, err)
		}
		switch l.What {
		case "rejected":
			rejected++
		case "failed":
			failed++
		}
		if err := a.printReloadLine(l, data); err != nil {
			return err
		}
	}
	switch err := r.Err(); {
	case err != nil:
		return err
	case failed > 0:
		return fmt.Errorf("%d source(s) could not be read: %w", failed, fault.Unavailable)
	case rejected > 0:
		return fmt.Errorf("%d reservation(s) rejected: %w", rejected, fault.Invalid)
	}
	return nil
}

// printSummary prints a summary such as "generation=4 added=0", with --json as
// an object whose "what" is "loaded".
func (a *app) printSummary(summary string) error {
	if !a.json {
		_, err := fmt.Println(summary)
		return err
	}
	object := map[string]any{"what": "loaded"}
	for _, word := range strings.Fields(summary) {
		name, value, _ := strings.Cut(word, "=")
		if n, err := strconv.ParseUint(value, 10, 64); err == nil {
			object[name] = n
		}
	}
	return json.NewEncoder(os.Stdout).Encode(object)
}

func (a *app) printReloadLine(l control.ReloadLine, data []byte) error {
	text := string(data)
	if !a.json {
		words := []string{l.What}
		for _, w := range []string{l.Source, l.ID, l.Text} {
			if w != "" {
				words = append(words, w)
			}
		}
		text = printable(strings.Join(words, " "))
	}
	_, err := fmt.Println(text)
	return err
}
