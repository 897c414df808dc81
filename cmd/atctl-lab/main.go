// Atctl-lab does a laboratory's work: it is what "atctl lab" becomes. It is a program
// of its own because it speaks SSH, whose library would slow each start of atctl.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"activationd/internal/fault"
)

// main leaves SIGINT and SIGTERM to what they do by themselves: all that the work
// needs, when it is done again, is on the disk already.
func main() {
	err := newRootCommand().Execute()
	if err != nil && err.Error() != "" {
		lines := strings.Split(strings.TrimRight(fault.Text(err), "\n"), "\n")
		fmt.Fprintln(os.Stderr, "atctl: "+strings.Join(lines, "\natctl: "))
	}
	os.Exit(status(err))
}

// errDrift ends drift when something is not as it should be; what, was printed.
var errDrift = errors.New("")

// status is the exit status for err, as atctl's help lists it.
func status(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errDrift):
		return 4
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
