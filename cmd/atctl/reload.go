package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/display"
	"activationd/internal/fault"
	"activationd/internal/terminal"
)

func newReloadCommand(a *app) *cobra.Command {
	var in control.ReloadIn
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Read the configuration and the reservations again",
		Long: `Reload has the daemon read its configuration and all sources of reservations again, and
waits until this is done. It prints the new generation (the number of this load), the
number of changes, and each rejected reservation, with file and line or row. "over" is the
number of new reservations that were passed over because their slots had ended already;
each of these is named, too. At most 1000 reservations of a source are named.
"conflicting" is the number of reservations that cannot have what they want in their
slots; each of them is named, whichever load has found that, but at most 100.

It also prints a line for each instance of a service that it adds, removes, restarts
(changed), or changes while it runs (live). With --dry-run, the daemon reads everything,
too, and prints what would change.

Its exit status is 2 if a reservation or a service was rejected (the others are in
force), 6 if a source could not be read now (a database does not answer), and 4 if a
source or the configuration has to be corrected, or if the reload would have removed too
many reservations of a source (with --force, they are removed). Nothing of that source
was changed.`,
		Example: `  atctl reload --dry-run
  atctl reload`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runLoad(cmd.Context(), a, "reload", in, loadOutput{})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&in.Force, "force", false, "apply the reload even if it removes more reservations than max_removal allows")
	f.BoolVar(&in.DryRun, "dry-run", false, "only print what would change")
	return cmd
}

// A loadOutput says what is printed of a load.
type loadOutput struct {
	chosen func(control.ReloadLine) bool // of the lines, only these, and no summary; nil: all
	own    string                        // the source that it is about; empty: all
}

// runLoad calls an operation that loads reservations, and prints its report.
func runLoad(ctx context.Context, a *app, op string, in any, o loadOutput) (err error) {
	chosen := o.chosen
	c, err := a.client()
	if err != nil {
		return err
	}
	stop := terminal.NewLine(os.Stderr).Elapsed("waiting until the reservations are loaded")
	r, err := c.Do(ctx, op, in)
	stop()
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	if r.Code == 200 && chosen == nil {
		if err := a.printSummary(r.Summary); err != nil {
			return err
		}
	}
	rejected, failed, refused := counts(r.Summary)["rejected"], 0, false
	if chosen != nil {
		rejected = 0
	}
	for data, err := range r.Lines() {
		if err != nil {
			return err
		}
		var l control.ReloadLine
		if err := json.Unmarshal(data, &l); err != nil {
			return fmt.Errorf("the daemon's reply %.80q: %w", data, err)
		}
		switch {
		case l.What == "failed" && o.own != "" && l.Source == o.own:
			refused = true
		case l.What == "failed":
			failed++
		case chosen != nil && !chosen(l):
			continue
		case chosen != nil && l.What == "rejected":
			rejected++
		}
		if err := a.printReloadLine(l, data); err != nil {
			return err
		}
	}
	switch err := r.Err(); {
	case err != nil:
		return err
	case refused:
		return fmt.Errorf("without --force, this would be refused: %w", fault.Conflict)
	case failed > 0:
		return fmt.Errorf("%s could not be read: %w", counted(failed, "source"), fault.Unavailable)
	case rejected > 0:
		return fmt.Errorf("%d rejected: %w", rejected, fault.Invalid)
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
	for name, n := range counts(summary) {
		object[name] = n
	}
	return json.NewEncoder(os.Stdout).Encode(object)
}

// counts returns the numbers of a summary such as "generation=4 added=0".
func counts(summary string) map[string]uint64 {
	all := make(map[string]uint64)
	for _, word := range strings.Fields(summary) {
		name, value, _ := strings.Cut(word, "=")
		if n, err := strconv.ParseUint(value, 10, 64); err == nil {
			all[name] = n
		}
	}
	return all
}

func (a *app) printReloadLine(l control.ReloadLine, data []byte) error {
	text := string(data)
	if !a.json {
		words := []string{l.What}
		if l.What == "conflict" && l.ID != "" { // it is no fault of one source
			l.Source, l.ID = "", l.ID+":"
		}
		if strings.HasPrefix(l.Text, l.Source) || strings.HasPrefix(l.Text, filepath.Base(l.Source)+":") { // it names the file
			l.Source = ""
		}
		for _, w := range []string{l.Source, l.ID, l.Text} {
			if w != "" {
				words = append(words, w)
			}
		}
		var lines []string
		for line := range strings.SplitSeq(strings.Join(words, " "), "\n") {
			line = printable(line)
			if width := terminal.Width(os.Stdout); width > 0 {
				lines = append(lines, display.Wrap(line, width-len("    "))...)
			} else {
				lines = append(lines, line)
			}
		}
		text = strings.Join(lines, "\n    ")
	}
	_, err := fmt.Println(text)
	return err
}

// counted returns "1 source" or "2 sources".
func counted(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
