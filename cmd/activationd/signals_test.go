package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"syscall"
	"testing"
	"time"
)

// patience ends what hangs. It is no measure of speed: the machine may be a slow one.
const patience = 10 * time.Minute

// awaited fails the test if c says nothing.
func awaited[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("%s: nothing happens", what)
		panic("unreachable")
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestSignals(t *testing.T) {
	const term, usr2 = syscall.SIGTERM, syscall.SIGUSR2
	tests := []struct {
		name        string
		drainOnStop bool
		signals     []os.Signal
		drained     bool
		stopped     bool
	}{
		{"stop", false, []os.Signal{term}, false, true},
		{"interrupt", false, []os.Signal{syscall.SIGINT}, false, true},
		{"drain", false, []os.Signal{usr2}, true, false},
		{"drain twice", false, []os.Signal{usr2, usr2}, true, false},
		{"drain, then stop", false, []os.Signal{usr2, term}, true, true},
		{"--drain", true, []os.Signal{term}, true, false},
		{"--drain, asked again", true, []os.Signal{term, term}, true, true},
		{"--drain, drained by signal first", true, []os.Signal{usr2, term}, true, true},
		{"nobody reads the log", false, []os.Signal{syscall.SIGPIPE}, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSignals(tt.drainOnStop, make(chan os.Signal, 16))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- s.run(ctx, slog.New(slog.DiscardHandler), "runs go on") }()
			for _, sig := range tt.signals {
				s.incoming <- sig
			}
			if !tt.stopped {
				// The token tells that what came before it has been acted on.
				s.incoming <- syscall.SIGHUP
				awaited(t, "reload", s.Reload)
				cancel()
			}
			err := awaited(t, "run", done)
			if stopped := errors.Is(err, errStopped); stopped != tt.stopped {
				t.Errorf("run = %v, want stopped: %v", err, tt.stopped)
			}
			if got := isClosed(s.Drain); got != tt.drained {
				t.Errorf("drain = %v, want %v", got, tt.drained)
			}
		})
	}
}

// TestReloadsMerge sends reloads that are not taken: they are one.
func TestReloadsMerge(t *testing.T) {
	s := newSignals(false, make(chan os.Signal, 16))
	done := make(chan error, 1)
	go func() { done <- s.run(t.Context(), slog.New(slog.DiscardHandler), "runs go on") }()
	for _, sig := range []os.Signal{syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGHUP, syscall.SIGTERM} {
		s.incoming <- sig
	}
	awaited(t, "stop", done)
	if n := len(s.Reload); n != 1 {
		t.Errorf("%d tokens, want 1", n)
	}
}

// TestSignalsArrive sends this process real signals.
func TestSignalsArrive(t *testing.T) {
	s := watchSignals(false)
	done := make(chan error, 1)
	go func() { done <- s.run(t.Context(), slog.New(slog.DiscardHandler), "runs go on") }()
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1} {
		if err := syscall.Kill(os.Getpid(), sig); err != nil {
			t.Fatal(err)
		}
		awaited(t, sig.String(), s.Reload)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	awaited(t, "drain", s.Drain)
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := awaited(t, "stop", done); !errors.Is(err, errStopped) {
		t.Errorf("run = %v", err)
	}
}

func TestTogether(t *testing.T) {
	first := errors.New("first")
	ended := make(chan struct{}, 1)
	err := together(t.Context(),
		func(context.Context) error { return first },
		func(ctx context.Context) error {
			<-ctx.Done()
			ended <- struct{}{}
			return errors.New("second")
		})
	if !errors.Is(err, first) {
		t.Errorf("together = %v, want the first error", err)
	}
	if len(ended) != 1 {
		t.Error("together returned before its second task")
	}
}
