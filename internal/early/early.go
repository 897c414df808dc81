// Package early catches the signals that a daemon receives while it starts: without a
// handler they would kill it silently. The package imports so little that it is initialised
// before nearly everything else of the program, and before main. Before that, for about the
// first two milliseconds of the process, these signals kill it, and no program can prevent
// it.
package early

import (
	"os"
	"os/signal"
	"syscall"
)

// signals holds the signals that have arrived. A variable of the package is set by its
// initialisation, which is earlier than anything that main can call.
var signals = handle()

func handle() chan os.Signal {
	c := make(chan os.Signal, 16)
	signal.Notify(c, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	return c
}

// Signals returns the channel to which HUP, USR1 and USR2 go from the beginning.
// The receiver may have other signals sent there too, see [signal.Notify].
func Signals() chan os.Signal { return signals }

// Release lets those signals end the process again, as they would without this
// package. It is for a program that turns out not to be a daemon.
func Release() { signal.Stop(signals) }
