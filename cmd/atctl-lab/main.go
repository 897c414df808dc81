// Atctl-lab works with the devices of a laboratory: "atctl lab" executes it. It is a
// program of its own because the SSH library would slow down each start of atctl.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"activationd/control"
	"activationd/device"
	"activationd/internal/fault"
)

// main ends the work when a signal asks for it, and reports how far it got on each
// device, so that an operator sees later which device had stalled. Everything that is
// needed to do the work again is on the disk already.
func main() {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		s, _ := (<-signals).(syscall.Signal)
		cancel(ended(s))
		<-signals // a second signal: at once
		os.Exit(exitSignal + int(s))
	}()
	err := newRootCommand().ExecuteContext(ctx)
	if err != nil && err.Error() != "" {
		// The text contains lines of configurations, and with them secrets.
		lines := strings.Split(strings.TrimRight(device.MaskSecrets(fault.Text(err)), "\n"), "\n")
		fmt.Fprintln(os.Stderr, "atctl: "+strings.Join(lines, "\natctl: "))
	}
	os.Exit(status(err))
}

// exitSignal is added to the number of the signal that ended the program, as shells do.
const exitSignal = 128

// An ended error says that a signal ended the work early.
type ended syscall.Signal

func (e ended) Error() string { return "a signal ended the work: " + syscall.Signal(e).String() }

// Unwrap says that the work may succeed another time.
func (e ended) Unwrap() error { return fault.Unavailable }

// errDrift ends drift when something differs from its expected state; the differences
// have been printed.
var errDrift = errors.New("")

// status returns the exit status for err.
func status(err error) int {
	if errors.Is(err, errDrift) {
		return 4
	}
	if e, ok := errors.AsType[ended](err); ok {
		return exitSignal + int(e)
	}
	if errors.Is(err, fault.Denied) { // among the errors of several devices, this kind needs a person
		err = fault.Denied
	}
	return control.ExitStatus(err)
}
