// Atctl controls a running activationd.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"activationd/control"
	"activationd/internal/fault"
)

// main leaves SIGINT and SIGPIPE alone: they end atctl without a message. Nothing needs
// to be undone then, except for a backup, which handles signals itself.
func main() {
	useZone(os.Getenv("TZ"))
	if name := personality(os.Args[0]); name != "" {
		os.Exit(runAs(name, os.Args[1:]))
	}
	args := os.Args[1:]
	if len(args) > 1 && args[0] == completeTyped {
		args = typed(args[1:])
	}
	root := newRootCommand(args)
	root.SetArgs(args)
	err := root.Execute()
	if text := message(err); text != "" {
		fmt.Fprintln(os.Stderr, text)
	}
	os.Exit(status(err))
}

// A quietStatus is an exit status without a message, such as that of a job, which atctl
// passes on.
type quietStatus int

func (quietStatus) Error() string { return "" }

// message returns the text of err, each line after "atctl: ".
func message(err error) string {
	if err == nil || err.Error() == "" {
		return ""
	}
	lines := strings.Split(strings.TrimRight(fault.Text(err), "\n"), "\n")
	return "atctl: " + strings.Join(lines, "\natctl: ")
}

// status returns the exit status for err.
func status(err error) int {
	if s, ok := errors.AsType[quietStatus](err); ok {
		return int(s)
	}
	return control.ExitStatus(err)
}
