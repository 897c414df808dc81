package main

import (
	"fmt"
	"os"
	"syscall"

	"github.com/spf13/cobra"

	"activationd/internal/fault"
)

// labName is the program that speaks with devices for atctl.
const labName = "atctl-lab"

func newLabCommand(*app) *cobra.Command {
	return &cobra.Command{
		Use:   "lab COMMAND",
		Short: "Configure a laboratory's devices, and undo it",
		Long:  `Lab becomes the program atctl-lab; see "atctl lab --help" for its commands.`,

		DisableFlagParsing: true, // they are the other's
		ValidArgs:          []string{"plan", "generate", "upload", "verify", "erase", "drift", "platforms"},
		RunE: func(_ *cobra.Command, args []string) error {
			program, err := findHelper(labName)
			if err != nil {
				return fmt.Errorf("lab needs the program %s; put it beside atctl or into PATH: %w", labName, fault.Invalid)
			}
			// The socket is found by one rule, which is here.
			env := os.Environ()
			if os.Getenv("ACTIVATIOND_SOCKET") == "" {
				env = append(env, "ACTIVATIOND_SOCKET="+defaultSocket(os.Getuid(), os.Getenv("XDG_RUNTIME_DIR")))
			}
			return os.NewSyscallError("exec "+program, syscall.Exec(program, append([]string{labName}, args...), env))
		},
	}
}
