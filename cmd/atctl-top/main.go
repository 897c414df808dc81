// Atctl-top shows on the whole terminal what runs, what is next and what needs attention:
// "atctl top" executes it. It is a program of its own because the library for terminals
// would slow down each start of atctl.
package main

import (
	"fmt"
	"os"
	"strings"

	"activationd/control"
	"activationd/internal/fault"
)

func main() {
	if err := newRootCommand().Execute(); err != nil {
		lines := strings.Split(strings.TrimRight(fault.Text(err), "\n"), "\n")
		fmt.Fprintln(os.Stderr, "atctl: "+strings.Join(lines, "\natctl: "))
		os.Exit(control.ExitStatus(err))
	}
}
