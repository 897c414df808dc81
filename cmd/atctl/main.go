// Atctl controls a running activationd.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"activationd/internal/fault"
)

// main leaves SIGINT and SIGPIPE to what they do by themselves: end atctl
// without a word. Nothing that it does needs to be undone, but a backup.
func main() {
	if name := personality(os.Args[0]); name != "" {
		os.Exit(runAs(name, os.Args[1:]))
	}
	err := newRootCommand(os.Args[1:]).Execute()
	if text := message(err); text != "" {
		fmt.Fprintln(os.Stderr, text)
	}
	os.Exit(status(err))
}

// A jobStatus is an exit status that is not atctl's own verdict.
type jobStatus int

func (jobStatus) Error() string { return "" }

// message is what to tell of err, each of its lines in atctl's name.
func message(err error) string {
	if err == nil || err.Error() == "" {
		return ""
	}
	lines := strings.Split(strings.TrimRight(fault.Text(err), "\n"), "\n")
	return "atctl: " + strings.Join(lines, "\natctl: ")
}

// status is the exit status for err, as listed in the root command's help.
func status(err error) int {
	if err == nil {
		return 0
	}
	if s, ok := errors.AsType[jobStatus](err); ok {
		return int(s)
	}
	switch fault.Of(err) {
	case fault.Invalid:
		return 2
	case fault.NotFound:
		return 3
	case fault.Conflict:
		return 4
	case fault.Denied:
		return 5
	case fault.Unavailable:
		return 6
	}
	return 1
}
