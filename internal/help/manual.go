package help

import (
	"encoding/json"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A Description is what the help of a command says, for its manual page.
type Description struct {
	Path     string // with the program's name: "atctl queue push"
	Usage    string // the path and the arguments; empty if there must be a command below it
	Short    string
	Long     string
	Example  string
	Flags    []FlagDescription // without those of all commands
	Shared   []FlagDescription // those that all commands below have, too
	Commands []Description
}

// A FlagDescription is a flag with its value, as in "-n, --lines N", and what it does.
type FlagDescription struct {
	Name, Text string
}

// NewManualCommand returns the hidden command "manual", which prints the [Description] of a
// program for its manual pages, in JSON.
func NewManualCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "manual",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(Describe(cmd.Root()))
		},
	}
}

// Describe returns what the help of a command and of all commands below it says.
func Describe(cmd *cobra.Command) Description {
	d := Description{Path: cmd.CommandPath(), Short: cmd.Short, Long: cmd.Long, Example: cmd.Example}
	if d.Long == "" {
		d.Long = cmd.Short + "."
	}
	if cmd.Runnable() {
		d.Usage = cmd.UseLine()
	}
	describeFlags(&d.Flags, cmd.LocalNonPersistentFlags())
	describeFlags(&d.Shared, cmd.PersistentFlags())
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" {
			d.Commands = append(d.Commands, Describe(sub))
		}
	}
	return d
}

func describeFlags(to *[]FlagDescription, flags *pflag.FlagSet) {
	flags.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden && f.Name != "help" {
			r := row(f)
			*to = append(*to, FlagDescription{Name: strings.TrimSpace(r[0]), Text: r[1]})
		}
	})
}
