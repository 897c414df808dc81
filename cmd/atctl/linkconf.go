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
	"activationd/internal/fault"
)

func newLinkconfCommand(a *app) *cobra.Command {
	var byName bool
	cmd := &cobra.Command{
		Use:   "linkconf ID TOPOLOGY",
		Short: "Attach a topology to a reservation",
		Long: `Linkconf attaches a topology to a reservation, before or after a source announces it.

TOPOLOGY is a file with JSON, whose content is sent, - for standard input, or JSON
itself. What is not the name of a file here, or comes with --name, is the name of a
file on the daemon's side, beside the reservations.`,
		Args:              wants(2, 2, "an ID and a topology"),
		ValidArgsFunction: a.completeIDs(""),
		RunE: func(cmd *cobra.Command, args []string) error {
			topology := args[1]
			if !byName {
				var err error
				if topology, err = topologyText(topology); err != nil {
					return err
				}
			}
			return a.tell(cmd.Context(), "linkconf", control.LinkconfIn{Resid: args[0], Topology: topology})
		},
	}
	cmd.Flags().BoolVar(&byName, "name", false, "TOPOLOGY is a name on the daemon's side")
	return cmd
}

// topologyText is what to send for a topology: JSON in one line, or a name.
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
		return "", fmt.Errorf("%s is not JSON (%w); put a file in another format beside the reservations, "+
			"and give its name with --name: %w", cut(arg, 40), err, fault.Invalid)
	}
	return line.String(), nil
}
