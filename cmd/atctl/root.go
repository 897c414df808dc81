package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"activationd/internal/completion"
	"activationd/internal/fault"
	"activationd/internal/help"
)

const rootHelp = `Atctl controls a running activationd: it adds jobs, shows which jobs and reservations
are scheduled or running and why, and lets an operator intervene.

It talks to the daemon's Unix socket, which is the first of these that applies:
  --socket PATH
  $ACTIVATIOND_SOCKET
  if you are not root and run your own daemon:
    $XDG_RUNTIME_DIR/activationd/control.sock
    (without that variable: /tmp/activationd-UID/control.sock)
  /run/activationd/control.sock
With --connect HOST:PORT it talks to the daemon's TCP port instead.

Its exit status is
  0  done
  1  internal error of the daemon or of this program
  2  the request is wrong and can never succeed
  3  the request names something that does not exist
  4  the request conflicts with the current state
  5  you are not allowed to do this
  6  the daemon cannot be reached, or cannot do this now; try again later
"atctl wait" exits with the status of the job instead, and "atctl vlan section" with the
status of its command; see their help. If several things fail, the first failure decides.`

// A group is a heading of the root command's help and the commands below it.
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
			"files":       newFilesCommand,
			"wait":        newWaitCommand,
			"locks":       newLocksCommand,
			"calendar":    newCalendarCommand,
			"free":        newFreeCommand,
			"edit":        newEditCommand,
			"progress":    newProgressCommand,
			"cancel":      newCancelCommand,
			"hold":        newHoldCommand,
			"release":     newReleaseCommand,
			"run":         newRunCommand,
			"retry":       newRetryCommand,
			"forgive":     newForgiveCommand,
			"every":       newEveryCommand,
			"book":        newBookCommand,
			"next":        newNextCommand,
			"linkconf":    newLinkconfCommand,
			"dellinkconf": newDellinkconfCommand,
			"import-at":   newImportAtCommand,
			"import-cron": newImportCronCommand,
		}},
		{"Services:", map[string]func(*app) *cobra.Command{
			"service": newServiceCommand,
		}},
		{"Queues:", map[string]func(*app) *cobra.Command{
			"queue": newQueueCommand,
		}},
		{"The daemon:", map[string]func(*app) *cobra.Command{
			"status":  newStatusCommand,
			"top":     newTopCommand,
			"events":  newEventsCommand,
			"publish": newPublishCommand,
			"audit":   newAuditCommand,
			"report":  newReportCommand,
			"check":   newCheckCommand,
			"reload":  newReloadCommand,
			"source":  newSourceCommand,
			"pause":   newPauseCommand,
			"resume":  newResumeCommand,
			"backup":  newBackupCommand,
			"stop":    newStopCommand,
		}},
		{"The laboratory:", map[string]func(*app) *cobra.Command{
			"lab":    newLabCommand,
			"logins": newLoginsCommand,
			"vlan":   newVLANCommand,
		}},
		{"This program:", map[string]func(*app) *cobra.Command{
			"completion": newCompletionCommand,
			"version":    newVersionCommand,
		}},
	}
}

// addCommands adds the command that args begin with to root, or all commands if it is none
// of them. Atctl runs one command and is started often, by shell loops for instance, so it
// does not construct the others.
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
	helpCommand := help.NewCommand()
	helpCommand.GroupID = last
	root.SetHelpCommand(helpCommand)
}

func newRootCommand(args []string) *cobra.Command {
	a := new(app)
	var printsVersion bool
	root := &cobra.Command{
		Use:           "atctl COMMAND",
		Short:         "Control a running activationd",
		Long:          rootHelp,
		SilenceErrors: true, // main prints them, once
		SilenceUsage:  true,
		Args:          help.Unknown,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if printsVersion {
				return printVersion()
			}
			return cmd.Help()
		},
	}
	root.Flags().BoolVar(&printsVersion, "version", false, "print this program's version")
	root.SetFlagErrorFunc(help.WrongFlag)
	f := root.PersistentFlags()
	a.daemon.Add(f)
	f.BoolVar(&a.json, "json", false, "print JSON, one object a line")

	addCommands(root, a, args)
	help.Use(root)
	if len(args) > 0 && args[0] == "manual" {
		root.AddCommand(help.NewManualCommand())
	}
	if len(args) > 0 && args[0] == cobra.ShellCompRequestCmd {
		completion.Use(root, a.values(), a.arguments())
	}
	return root
}

// usage returns the error for a mistake in the arguments of a command.
func usage(cmd *cobra.Command, text string) error {
	return fmt.Errorf("%s (see %q): %w", text, cmd.CommandPath()+" --help", fault.Invalid)
}

// takes checks that a command has from least to most arguments; what describes them. If
// most is 0, there may be any number from least on.
func takes(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least, least > 0 && args[0] == "": // "$ID" where ID is not set, for instance
			return usage(cmd, fmt.Sprintf("%s needs %s", cmd.Name(), what))
		case most > 0 && len(args) > most:
			return usage(cmd, fmt.Sprintf("%s takes only %s; %q is too much", cmd.Name(), what, args[most]))
		}
		return nil
	}
}

// none is like takes, for a command that takes no arguments.
func none(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage(cmd, fmt.Sprintf("%s takes no arguments; %q is too much", cmd.Name(), args[0]))
	}
	return nil
}

// forEachID does the same with several ids, which the daemon's errors name. It stops at the
// first failure, unless keepGoing is set.
func forEachID(ids []string, keepGoing bool, do func(id string) error) error {
	var errs []error
	for _, id := range ids {
		if err := do(id); err != nil {
			errs = append(errs, err)
			if !keepGoing {
				break
			}
		}
	}
	return errors.Join(errs...)
}
