package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"activationd/internal/early"
	"activationd/internal/fault"
)

// errStopped ends the daemon as it was asked to end. It is what requests end with
// that are under way then.
var errStopped = fmt.Errorf("the daemon ends; ask again when it is back: %w", fault.Unavailable)

// signals turns the process's signals into what they ask for.
type signals struct {
	// Reload holds a token when a reload was asked for. Its capacity is one:
	// what is asked for while a token is there is one with it.
	Reload chan struct{}
	// Drain is closed when the daemon is to start nothing more, to wait for
	// what runs, and then to end. Ending at once is a context's affair.
	Drain chan struct{}

	drainOnStop bool
	incoming    chan os.Signal
}

func newSignals(drainOnStop bool, incoming chan os.Signal) *signals {
	return &signals{
		Reload:      make(chan struct{}, 1),
		Drain:       make(chan struct{}),
		drainOnStop: drainOnStop,
		incoming:    incoming,
	}
}

// watchSignals takes all signals over from here on; run acts on them, and on those
// that came before.
func watchSignals(drainOnStop bool) *signals {
	s := newSignals(drainOnStop, early.Signals())
	// SIGPIPE is among them because a reader of standard error that goes away
	// must not take the daemon along; ignored, it would be so in scripts too.
	signal.Notify(s.incoming, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2,
		syscall.SIGPIPE)
	return s
}

// run ends with errStopped when the daemon is to stop. A signal to stop that
// comes later ends the process in the system's own way: nothing is lost by it.
func (s *signals) run(ctx context.Context, log *slog.Logger) error {
	defer signal.Stop(s.incoming)
	draining := false
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case sig := <-s.incoming:
			switch order := signalTable[sig]; {
			case order == reload:
				select {
				case s.Reload <- struct{}{}:
				default: // asked for already
				}
			case order == drain || order == stop && s.drainOnStop && !draining:
				if !draining {
					log.Info("draining: nothing more is started; TERM stops without waiting", "signal", sig.String())
					close(s.Drain)
				}
				draining = true
			case order == stop:
				log.Info("stopping; what runs goes on", "signal", sig.String())
				return errStopped
			}
		}
	}
}

type order uint8

const (
	none order = iota
	reload
	drain
	stop
)

var signalTable = map[os.Signal]order{
	syscall.SIGTERM: stop,
	syscall.SIGINT:  stop,
	syscall.SIGHUP:  reload,
	syscall.SIGUSR1: reload,
	syscall.SIGUSR2: drain,
	syscall.SIGPIPE: none,
}
