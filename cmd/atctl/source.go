package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/display"
	"activationd/internal/fault"
	"activationd/internal/help"
)

func newSourceCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "source COMMAND",
		Short: "Announce the reservations of a source that has no file",
		Long: `Source announces the reservations of a source that the configuration declares with "http",
and shows what was announced there last. Reservation systems do the same over HTTP
(docs/http.md). "atctl status" lists all sources.`,
		Args: help.Unknown,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSourcePutCommand(a), newSourceShowCommand(a))
	return cmd
}

func newSourcePutCommand(a *app) *cobra.Command {
	var in control.SourcePutIn
	cmd := &cobra.Command{
		Use:   "put NAME [FILE]",
		Short: "Announce all reservations of a source",
		Long: `Put announces the reservations in FILE, or on standard input if FILE is - or missing. They
replace all that were announced for this source before. FILE has {"reservations": [...]},
as a file of reservations in JSON (docs/reservations.md), or only the list.

It prints what "atctl reload" prints, and its exit status means the same: 2 if a
reservation was rejected (the others are in force), and 4 if too many reservations would
have been removed. Then nothing was changed; with --force, they are removed. With
--dry-run, it only prints what would change; if it would be refused, a line "failed" says
why, and the status is 4.`,
		Example: `  atctl source put portal reservations.json --dry-run
  export-reservations | atctl source put portal`,
		Args: takes(1, 2, "a NAME and a FILE"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			in.Name = args[0]
			file := "-"
			if len(args) > 1 {
				file = args[1]
			} else if isTerminal(os.Stdin) {
				return usage(cmd, "there are no reservations; add a FILE, or pipe them into atctl (- reads them from this terminal)")
			}
			text, err := readInput(file, os.Stdin)
			if err != nil {
				return err
			}
			if in.Reservations, err = reservationsIn(text); err != nil {
				return err
			}
			return runLoad(cmd.Context(), a, "source put", in, loadOutput{own: in.Name})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&in.Force, "force", false, "put them even if that removes more reservations than max_removal allows")
	f.BoolVar(&in.DryRun, "dry-run", false, "only print what would change")
	return cmd
}

// reservationsIn returns the list of reservations that a text has, on one line.
func reservationsIn(text string) (string, error) {
	list := json.RawMessage(text)
	if data := bytes.TrimSpace([]byte(text)); bytes.HasPrefix(data, []byte("{")) {
		var file struct {
			Reservations json.RawMessage `json:"reservations"`
		}
		d := json.NewDecoder(bytes.NewReader(data))
		d.DisallowUnknownFields()
		if err := d.Decode(&file); err != nil {
			return "", notReservations(text, err)
		}
		if d.More() {
			return "", fmt.Errorf("something follows the object with the reservations: %w", fault.Invalid)
		}
		list = file.Reservations
	}
	var all []json.RawMessage
	if err := json.Unmarshal(list, &all); err != nil {
		return "", notReservations(text, err)
	}
	if all == nil {
		return "", notReservations(text, errors.New("there is no list"))
	}
	var line bytes.Buffer
	err := json.Compact(&line, list)
	return line.String(), err
}

func notReservations(text string, err error) error {
	return fmt.Errorf(`%s: want {"reservations": [...]} in JSON, or a list alone (%w): %w`, display.Shorten(text, 40), err, fault.Invalid)
}

func newSourceShowCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "show NAME",
		Short: "Print what was put into a source last",
		Long: `Show prints the reservations that were put into a source last, in the form in which they
can be put again.`,
		Example: `  atctl source show portal >reservations.json`,
		Args:    takes(1, 1, "one NAME; see atctl status"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := control.SourceNameIn{Name: args[0]}
			if a.json {
				return a.printJSON(cmd.Context(), "source show", in)
			}
			data, err := call[json.RawMessage](cmd.Context(), a, "source show", in)
			if err != nil {
				return err
			}
			var out bytes.Buffer
			if err := json.Indent(&out, data, "", "  "); err != nil {
				return fmt.Errorf("the daemon's reply: %w: %w", err, fault.Internal)
			}
			out.WriteByte('\n')
			_, err = out.WriteTo(os.Stdout)
			return err
		},
	}
}
