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

// errStopped ends the daemon when it has been asked to stop. Requests that are under way
// then end with it.
var errStopped = fmt.Errorf("the daemon is shutting down; try again when it is back: %w", fault.Unavailable)

// signals turns the process's signals into requests.
type signals struct {
	// Reload holds a token when a reload was asked for. Its capacity is one: further
	// requests share the token.
	Reload chan struct{}
	// Drain is closed when the daemon is to start nothing more, to wait for runs to end,
	// and then to stop. To stop at once, run ends with errStopped.
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

// watchSignals takes over all signals; run acts on them, and on those that have arrived
// before.
func watchSignals(drainOnStop bool) *signals {
	s := newSignals(drainOnStop, early.Signals())
	// SIGPIPE is caught because the daemon must not end when the reader of its standard
	// error ends. It is not ignored, because scripts would inherit that.
	signal.Notify(s.incoming, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2,
		syscall.SIGPIPE)
	return s
}

// run ends with errStopped when the daemon is to stop. A later signal to stop kills the
// process; nothing is lost by that. The log says what becomes of the runs then, their fate.
func (s *signals) run(ctx context.Context, log *slog.Logger, fate string) error {
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
					log.Info("draining: nothing more is started; SIGTERM stops without waiting", "signal", sig.String())
					close(s.Drain)
				}
				draining = true
			case order == stop:
				log.Info("stopping; "+fate, "signal", sig.String())
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
