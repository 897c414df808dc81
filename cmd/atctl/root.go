package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"activationd/internal/fault"
)

const rootHelp = `Atctl controls a running activationd: it adds jobs, shows what is scheduled, what
runs and why, and steps in where an operator has to.

It talks to the daemon's Unix socket, which is the first of
  --socket PATH, $ACTIVATIOND_SOCKET,
  $XDG_RUNTIME_DIR/activationd/control.sock (without that variable
  /tmp/activationd-UID/control.sock), if you run a daemon of your own,
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
but "atctl wait" and "atctl vlan section" exit as the job did; see their help. When
several things fail, the first one counts.`

// A group is a heading of the root command's help, with its commands.
type group struct {
	title    string
	commands map[string]func(*app) *cobra.Command
}

func groups() []group {
	return []group{
		{"Jobs and reservations:", map[string]func(*app) *cobra.Command{
			"add":         newAddCommand,
			"list":        newListCommand,
			"show":        newShowCommand,
			"why":         newWhyCommand,
			"log":         newLogCommand,
			"wait":        newWaitCommand,
			"locks":       newLocksCommand,
			"edit":        newEditCommand,
			"progress":    newProgressCommand,
			"cancel":      newCancelCommand,
			"hold":        newHoldCommand,
			"release":     newReleaseCommand,
			"run":         newRunCommand,
			"retry":       newRetryCommand,
			"forgive":     newForgiveCommand,
			"every":       newEveryCommand,
			"next":        newNextCommand,
			"linkconf":    newLinkconfCommand,
			"dellinkconf": newDellinkconfCommand,
			"import-at":   newImportAtCommand,
		}},
		{"The daemon:", map[string]func(*app) *cobra.Command{
			"status": newStatusCommand,
			"events": newEventsCommand,
			"reload": newReloadCommand,
			"backup": newBackupCommand,
			"stop":   newStopCommand,
		}},
		{"The laboratory:", map[string]func(*app) *cobra.Command{
			"lab":    newLabCommand,
			"logins": newLoginsCommand,
			"vlan":   newVLANCommand,
		}},
		{"This program:", map[string]func(*app) *cobra.Command{
			"version": newVersionCommand,
		}},
	}
}

// addCommands adds the command that args begin with to root, or all if that is
// none. One start of atctl runs one command, and a shell loop starts it often,
// so the others had better not be made.
func addCommands(root *cobra.Command, a *app, args []string) {
	all := groups()
	for _, g := range all {
		if len(args) > 0 && g.commands[args[0]] != nil {
			root.AddCommand(g.commands[args[0]](a))
			return
		}
	}
	for _, g := range all {
		root.AddGroup(&cobra.Group{ID: g.title, Title: g.title})
		for _, newCommand := range g.commands {
			cmd := newCommand(a)
			cmd.GroupID = g.title
			root.AddCommand(cmd)
		}
	}
	last := all[len(all)-1].title
	root.SetHelpCommandGroupID(last)
	root.SetCompletionCommandGroupID(last)
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
	f.StringVar(&a.socket, "socket", "", "ask the daemon at the Unix socket `PATH`")
	f.StringVar(&a.connect, "connect", "", "ask the daemon at the TCP port `HOST:PORT`")
	f.BoolVar(&a.json, "json", false, "print JSON, one object a line")
	f.StringVar(&a.tokenFile, "token-file", "", "present the token that is in `FILE`")
	f.BoolVar(&a.tls, "tls", false, "speak TLS with --connect; the other --tls flags imply it")
	f.StringVar(&a.tlsCA, "tls-ca", "", "trust the authorities in `FILE`, not the system's")
	f.StringVar(&a.tlsCert, "tls-cert", "", "present the certificate in `FILE`")
	f.StringVar(&a.tlsKey, "tls-key", "", "the certificate's key is in `FILE`")

	addCommands(root, a, args)
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
	if near := slices.Sorted(slices.Values(root.SuggestionsFor(args[0]))); len(near) > 0 {
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
		case len(args) < least, least > 0 && args[0] == "": // as of "$ID" that is not set
			return usage(cmd, fmt.Sprintf("%s wants %s", cmd.Name(), what))
		case most > 0 && len(args) > most:
			return usage(cmd, fmt.Sprintf("%s wants %s, and no %q", cmd.Name(), what, args[most]))
		}
		return nil
	}
}

// none is wants for a command that takes no arguments.
func none(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage(cmd, fmt.Sprintf("%s wants no arguments, and no %q", cmd.Name(), args[0]))
	}
	return nil
}

// each does one thing with several ids. It ends at the first failure, unless
// keepGoing.
func each(ids []string, keepGoing bool, do func(id string) error) error {
	var errs []error
	for _, id := range ids {
		if err := do(id); err != nil {
			if !strings.HasPrefix(err.Error(), id+": ") { // as some of the daemon's do
				err = fmt.Errorf("%s: %w", id, err)
			}
			errs = append(errs, err)
			if !keepGoing {
				break
			}
		}
	}
	return errors.Join(errs...)
}
