package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"

	"activationd/internal/completion"
	"activationd/internal/connection"
	"activationd/internal/fault"
	"activationd/internal/help"
	"activationd/internal/terminal"
)

const rootHelp = `Top shows on the whole terminal what needs attention, what runs and what is next, and
follows the daemon's events. Times are in the zone of the daemon.

NEEDS ATTENTION is what "atctl status" shows first. Lines near the bottom of the screen say
in full what is wrong with the chosen entry, and what to try. RUNNING shows the scripts,
active reservations and instances of services, with the progress that a script reports, and
when the slot of a reservation ends. NEXT shows what begins next, and what waits or is held.

If the daemon does not answer, top says since when, and goes on when the daemon is back. If
the variable NO_COLOR is set, there are no colours.

Keys:
`

func newRootCommand() *cobra.Command {
	var daemon connection.Flags
	root := &cobra.Command{
		Use:               "top",
		Annotations:       map[string]string{cobra.CommandDisplayNameAnnotation: "atctl top"},
		Short:             "Follow on the terminal what runs, what is next and what needs attention",
		Long:              rootHelp + strings.Join(keyHelp(), "\n"),
		SilenceErrors:     true, // main prints them, once
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("top takes no arguments; %q is too much (see \"atctl top --help\"): %w", args[0], fault.Invalid)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), &daemon) },
	}
	root.SetFlagErrorFunc(help.WrongFlag)
	daemon.Add(root.Flags())
	help.Use(root)
	if len(os.Args) > 1 && os.Args[1] == "manual" {
		root.AddCommand(help.NewManualCommand())
	}
	if len(os.Args) > 1 && os.Args[1] == cobra.ShellCompRequestCmd {
		completion.Use(root, values(), nil)
	}
	return root
}

// values says how the values of flags are completed.
func values() completion.Values {
	return completion.Values{"FILE": completion.Files, "PATH": completion.Files, "HOST:PORT": completion.Nothing}
}

// run shows the screen until the user leaves it. It starts all goroutines but those of the
// library.
func run(ctx context.Context, flags *connection.Flags) error {
	client, err := flags.Client(os.Getenv)
	if err != nil {
		return err
	}
	if term := os.Getenv("TERM"); terminal.Width(os.Stdin) == 0 || terminal.Width(os.Stdout) == 0 || term == "" || term == "dumb" {
		return fmt.Errorf("top needs a terminal that can move its cursor; for a pipe or a file use atctl list or atctl status: %w", fault.Invalid)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d := newDaemon(client)
	// What is wrong with the flags or the daemon now, the user reads better without a screen.
	first, err := d.read(ctx)
	if err != nil {
		return err
	}
	// So often in a second, the library looks whether there is something to draw. With its own 60,
	// a screen on which nothing happens would need twice the time.
	program := tea.NewProgram(&screen{model: newModel(first), daemon: d}, tea.WithContext(ctx), tea.WithFPS(30))
	var wg sync.WaitGroup
	wg.Go(func() { d.follow(ctx, program.Send) })
	wg.Go(func() { d.copyLogs(ctx, program.Send) })
	_, err = program.Run()
	cancel()
	wg.Wait()
	if errors.Is(err, tea.ErrInterrupted) { // by SIGINT from elsewhere; the key only quits
		return nil
	}
	return err
}
