// Atctl-lab does a laboratory's work: it is what "atctl lab" becomes. It is a program
// of its own because it speaks SSH, whose library would slow each start of atctl.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"activationd/device"
	"activationd/internal/fault"
)

// main ends what is under way when it is told to, and says of each device how far it
// was: it is what tells who comes later which one had stalled. All that the work needs,
// when it is done again, is on the disk already.
func main() {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		s, _ := (<-signals).(syscall.Signal)
		cancel(ended(s))
		<-signals // whoever says it twice means at once
		os.Exit(exitSignal + int(s))
	}()
	err := newRootCommand().ExecuteContext(ctx)
	if err != nil && err.Error() != "" {
		// Lines of configurations are in it, and with them their secrets.
		lines := strings.Split(strings.TrimRight(device.MaskSecrets(fault.Text(err)), "\n"), "\n")
		fmt.Fprintln(os.Stderr, "atctl: "+strings.Join(lines, "\natctl: "))
	}
	os.Exit(status(err))
}

// exitSignal is added to the number of the signal that ended it, as shells do.
const exitSignal = 128

// ended is why the work ends early.
type ended syscall.Signal

func (e ended) Error() string { return "it was ended by a signal: " + syscall.Signal(e).String() }

// Unwrap says that it may go better another time.
func (e ended) Unwrap() error { return fault.Unavailable }

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
	if e, ok := errors.AsType[ended](err); ok {
		return exitSignal + int(e)
	}
	if errors.Is(err, fault.Denied) { // of several devices this one needs a person
		return 5
	}
	switch fault.Of(err) {
	case fault.Invalid:
		return 2
	case fault.NotFound:
		return 3
	case fault.Conflict:
		return 4
	case fault.Unavailable:
		return 6
	}
	return 1
}
