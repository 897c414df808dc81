// Package early takes over the signals that a daemon gets while it starts: without
// a handler they end it, and nobody is told. It depends on so little that it is
// initialised before nearly all else of the program, and before main: until then,
// which is about the first two milliseconds of the process, there is only Go's
// runtime, which ends for them whatever a program wants.
package early

import (
	"os"
	"os/signal"
	"syscall"
)

// signals holds what came. It is the package's own variable, and filled by its
// initialisation, because nothing that main calls is as early.
var signals = handle()

func handle() chan os.Signal {
	c := make(chan os.Signal, 16)
	signal.Notify(c, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	return c
}

// Signals returns the channel to which HUP, USR1 and USR2 go from the beginning.
// Who receives from it may have more sent there, see [signal.Notify].
func Signals() chan os.Signal { return signals }

// Release lets those signals end the process again, as they would without this
// package. It is for a program that turns out not to be a daemon.
func Release() { signal.Stop(signals) }
