package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"activationd/internal/fault"
)

const rootHelp = `Atctl controls a running activationd: it adds jobs, shows what is scheduled, what
runs and why, and steps in where an operator has to.

It talks to the daemon's Unix socket, which is the first of
  --socket PATH, $ACTIVATIOND_SOCKET,
  $XDG_RUNTIME_DIR/activationd/control.sock (or /tmp/activationd-UID/... without
  that variable) if you are not root and run a daemon of your own,
  /run/activationd/control.sock;
or, with --connect HOST:PORT, to its TCP port.

Its exit status is
  0  done
  1  a fault of the daemon, or of this program
  2  the request cannot succeed as it stands
  3  it names something that is not there
  4  it is at odds with what is there now
  5  you may not do this
  6  the daemon cannot be reached, or says: try later
but "atctl wait" exits as the job did; see its help. When several things fail,
the first one counts.`

// commands are all of the commands, by name. One start of atctl runs one of
// them, and a shell loop starts it often, so only that one is made.
func commands() map[string]func(*app) *cobra.Command {
	return map[string]func(*app) *cobra.Command{
		"add":         newAddCommand,
		"list":        newListCommand,
		"show":        newShowCommand,
		"why":         newWhyCommand,
		"log":         newLogCommand,
		"wait":        newWaitCommand,
		"cancel":      newCancelCommand,
		"hold":        newHoldCommand,
		"release":     newReleaseCommand,
		"run":         newRunCommand,
		"retry":       newRetryCommand,
		"forgive":     newForgiveCommand,
		"reload":      newReloadCommand,
		"linkconf":    newLinkconfCommand,
		"dellinkconf": newDellinkconfCommand,
		"status":      newStatusCommand,
		"events":      newEventsCommand,
		"backup":      newBackupCommand,
		"stop":        newStopCommand,
		"version":     newVersionCommand,
	}
}

func newRootCommand(args []string) *cobra.Command {
	a := new(app)
	root := &cobra.Command{
		Use:           "atctl",
		Short:         "Control a running activationd",
		Long:          rootHelp,
		SilenceErrors: true, // main prints them, once
		SilenceUsage:  true,
		Args:          unknownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(cmd, err.Error())
	})
	f := root.PersistentFlags()
	f.StringVar(&a.socket, "socket", "", "daemon's Unix socket: `PATH`")
	f.StringVar(&a.connect, "connect", "", "daemon's TCP port: `HOST:PORT`")
	f.BoolVar(&a.json, "json", false, "print JSON, one object a line")
	f.StringVar(&a.tokenFile, "token-file", "", "file with the token that --connect shall present")
	f.BoolVar(&a.tls, "tls", false, "speak TLS with --connect; the other --tls flags imply it")
	f.StringVar(&a.tlsCA, "tls-ca", "", "`FILE` with the authorities to trust, instead of the system's")
	f.StringVar(&a.tlsCert, "tls-cert", "", "`FILE` with this client's certificate")
	f.StringVar(&a.tlsKey, "tls-key", "", "`FILE` with its key")

	all := commands()
	if len(args) > 0 && all[args[0]] != nil {
		root.AddCommand(all[args[0]](a))
		return root
	}
	for _, newCommand := range all {
		root.AddCommand(newCommand(a))
	}
	return root
}

// unknownCommand is what the root makes of arguments, which it has only when
// the first is no command.
func unknownCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := `see "atctl --help" for the commands`
	root.SuggestionsMinimumDistance = 2
	if near := root.SuggestionsFor(args[0]); len(near) > 0 {
		hint = fmt.Sprintf("did you mean %s?", strings.Join(near, " or "))
	}
	return fmt.Errorf("there is no command %q; %s: %w", args[0], hint, fault.Invalid)
}

// usage is a mistake in how a command was called.
func usage(cmd *cobra.Command, text string) error {
	return fmt.Errorf("%s (see %q): %w", text, cmd.CommandPath()+" --help", fault.Invalid)
}

// wants checks that a command has from least to most arguments, which what
// names; most 0 is any number.
func wants(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usage(cmd, fmt.Sprintf("%s wants %s", cmd.CommandPath(), what))
		case most > 0 && len(args) > most:
			return usage(cmd, fmt.Sprintf("%s wants %s, and no %q", cmd.CommandPath(), what, args[most]))
		}
		return nil
	}
}

// none is wants for a command that takes no arguments.
func none(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage(cmd, fmt.Sprintf("%s wants no arguments, and no %q", cmd.CommandPath(), args[0]))
	}
	return nil
}

// each does one thing with several ids. It ends at the first failure, unless
// keepGoing.
func each(ids []string, keepGoing bool, do func(id string) error) error {
	var errs []error
	for _, id := range ids {
		if err := do(id); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", id, err))
			if !keepGoing {
				break
			}
		}
	}
	return errors.Join(errs...)
}
