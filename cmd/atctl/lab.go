package main

import (
	"fmt"
	"os"
	"syscall"

	"github.com/spf13/cobra"

	"activationd/internal/fault"
)

// labName is the program that configures devices for atctl.
const labName = "atctl-lab"

func newLabCommand(*app) *cobra.Command {
	return &cobra.Command{
		Use:   "lab COMMAND",
		Short: "Configure the devices of a laboratory, and undo it",
		Long:  `Lab executes the program atctl-lab; see "atctl lab --help" for its commands.`,

		DisableFlagParsing: true, // atctl-lab parses the flags
		RunE: func(_ *cobra.Command, args []string) error {
			program, err := findHelper(labName)
			if err != nil {
				return fmt.Errorf("lab needs the program %s; install it beside atctl or in PATH: %w", labName, fault.Invalid)
			}
			// Only atctl knows the rule for the default socket.
			env := os.Environ()
			if os.Getenv("ACTIVATIOND_SOCKET") == "" {
				env = append(env, "ACTIVATIOND_SOCKET="+defaultSocket(os.Getuid(), os.Getenv("XDG_RUNTIME_DIR")))
			}
			return os.NewSyscallError("exec "+program, syscall.Exec(program, append([]string{labName}, args...), env))
		},
	}
}
