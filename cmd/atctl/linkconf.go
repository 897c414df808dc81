package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/display"
	"activationd/internal/fault"
)

func newLinkconfCommand(a *app) *cobra.Command {
	var byName bool
	cmd := &cobra.Command{
		Use:   "linkconf ID TOPOLOGY",
		Short: "Attach a topology to a reservation",
		Long: `Linkconf attaches a topology to a reservation, before or after a source announces the
reservation.

TOPOLOGY is the name of a file with JSON, whose content is sent; or - for standard input;
or JSON itself. With --name, or if there is no such file here, the daemon reads the file of
this name on its own machine, from its topology_directory or from a directory of
reservations.`,
		Args: takes(2, 2, "an ID and a topology"),
		RunE: func(cmd *cobra.Command, args []string) error {
			topology := args[1]
			if !byName {
				var err error
				if topology, err = topologyText(topology); err != nil {
					return err
				}
			}
			return a.do(cmd.Context(), "linkconf", control.LinkconfIn{Resid: args[0], Topology: topology})
		},
	}
	cmd.Flags().BoolVar(&byName, "name", false, "TOPOLOGY is the name of a file on the daemon's machine")
	return cmd
}

// topologyText returns what is sent for a topology: JSON in one line, or a name.
func topologyText(arg string) (string, error) {
	text := arg
	if !strings.HasPrefix(strings.TrimSpace(arg), "{") {
		var err error
		text, err = readInput(arg, os.Stdin)
		if errors.Is(err, fs.ErrNotExist) {
			return arg, nil
		}
		if err != nil {
			return "", err
		}
	}
	var line bytes.Buffer
	if err := json.Compact(&line, []byte(text)); err != nil {
		return "", fmt.Errorf("%s is not JSON (%w); put a file in another format into the daemon's "+
			"topology_directory, and use its name with --name: %w", display.Shorten(arg, 40), err, fault.Invalid)
	}
	return line.String(), nil
}
