package main

import (
	"fmt"
	"os"
	"syscall"

	"github.com/spf13/cobra"

	"activationd/internal/connection"
	"activationd/internal/direct"
	"activationd/internal/fault"
)

// The programs that do what atctl would be slower for, at each start.
const (
	labName = "atctl-lab" // with SSH and templates
	topName = "atctl-top" // with a library for terminals

	daemonName = "activationd" // which checks what it would read
)

func newLabCommand(*app) *cobra.Command {
	return &cobra.Command{
		Use:   "lab COMMAND",
		Short: "Configure the devices of a laboratory, and undo it",
		Long:  `Lab executes the program atctl-lab; see "atctl lab --help" for its commands.`,

		DisableFlagParsing: true, // atctl-lab parses the flags
		RunE: func(cmd *cobra.Command, args []string) error {
			// Only atctl knows the rule for the default socket.
			env := os.Environ()
			if os.Getenv("ACTIVATIOND_SOCKET") == "" {
				env = append(env, "ACTIVATIOND_SOCKET="+direct.DefaultSocket(os.Getuid(), os.Getenv("XDG_RUNTIME_DIR")))
			}
			return become(cmd, labName, args, env)
		},
	}
}

func newTopCommand(*app) *cobra.Command {
	return &cobra.Command{
		Use:   "top [FLAG]...",
		Short: "Follow on the terminal what runs, what is next and what needs attention",
		Long: `Top shows on the whole terminal what needs attention, what runs and what is next, and
follows the daemon's events. Keys explain a job or reservation, follow its output, and
cancel, hold, release or retry it. Top executes the program atctl-top; "atctl top --help"
lists the keys.`,

		DisableFlagParsing: true, // atctl-top parses the flags
		RunE:               func(cmd *cobra.Command, args []string) error { return become(cmd, topName, args, os.Environ()) },
	}
}

// become executes the program of a command in place of atctl.
func become(cmd *cobra.Command, name string, args, env []string) error {
	program, err := connection.FindProgram(name)
	if err != nil {
		return fmt.Errorf("%s needs the program %s; install it beside atctl or in PATH: %w", cmd.Name(), name, fault.Invalid)
	}
	return os.NewSyscallError("exec "+program, syscall.Exec(program, append([]string{name}, args...), env))
}

func newCheckCommand(*app) *cobra.Command {
	var config string
	var sql, strict bool
	cmd := &cobra.Command{
		Use:   "check [FILE]...",
		Short: "Check the configuration and the reservations, before the daemon reads them",
		Long: `Check lists everything that is wrong with the configuration, the inventory and the
reservations of the sources, each with its file and line, and changes nothing. It needs no
daemon. FILE is the configuration, or a file or directory of reservations to check in place
of the sources.

If nothing is wrong, it prints how the configuration was understood, and notices about what
need not be a fault: a file that is missing, a slot that has ended, and reservations that
conflict, with both places. "atctl reload --dry-run" says what the running daemon would do.

Check executes "activationd --check-config" as you, so it sees only what you may read. Its
exit status is 0, or 2 if something is wrong.`,
		Example: `  atctl check
  atctl check --sql --strict
  atctl check reservations.yaml
  atctl check --config new.yaml reservations.d`,
		RunE: func(cmd *cobra.Command, files []string) error {
			args := []string{"--check-config"}
			if config != "" {
				args = append(args, "--config="+config)
			}
			if sql {
				args = append(args, "--sql")
			}
			if strict {
				args = append(args, "--strict")
			}
			for _, file := range files {
				args = append(args, "--check-config="+file) // FILE may begin with a hyphen
			}
			return become(cmd, daemonName, args, os.Environ())
		},
	}
	f := cmd.Flags()
	f.StringVar(&config, "config", "", "the configuration is this `FILE`; by default the one that a daemon of yours would read")
	f.BoolVar(&sql, "sql", false, "read the sources that are databases, too")
	f.BoolVar(&strict, "strict", false, "notices are faults, too")
	return cmd
}
