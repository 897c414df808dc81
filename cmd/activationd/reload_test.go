package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"activationd/activation"
	"activationd/activation/announce"
	"activationd/internal/fault"
	"activationd/reservation"
	"activationd/store/bolt"
)

// A slowSource answers when the test lets it.
type slowSource struct {
	asked, answer chan struct{}
	answered      func()
}

func (s *slowSource) Name() string { return "slow" }

func (s *slowSource) Load(ctx context.Context) (reservation.Set, error) {
	s.asked <- struct{}{}
	select {
	case <-ctx.Done():
		return reservation.Set{}, fault.Unavailable
	case <-s.answer:
		s.answered()
		return reservation.Set{Fingerprint: "1"}, nil
	}
}

func (s *slowSource) LoadIfChanged(ctx context.Context, _ string) (reservation.Set, bool, error) {
	set, err := s.Load(ctx)
	return set, false, err
}

func (s *slowSource) Watch(ctx context.Context, _ func()) error {
	<-ctx.Done()
	return nil
}

// TestReloadBySignal checks that systemd learns of a reload's end when the load
// has ended, and that a stop does not wait for a load.
func TestReloadBySignal(t *testing.T) {
	path, told := listenAsSystemd(t)
	log := slog.New(slog.DiscardHandler)
	db, err := bolt.Open(filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	d := &daemon{
		log:    log,
		notify: newNotifier(log, getenvOf(map[string]string{"NOTIFY_SOCKET": path}), 1),
		host:   &host{}, signals: newSignals(false, make(chan os.Signal, 16)),
		engine: activation.New(activation.Parts{DB: db, Log: log}, activation.Settings{}),
		stop:   make(chan bool, 1),
	}
	source := &slowSource{
		asked: make(chan struct{}, 1), answer: make(chan struct{}),
		answered: func() { d.notify.Status("the source answered") }, // in the same socket, so in order
	}
	conf := announce.Configuration{Sources: []announce.Source{{Source: source}}}
	d.loader = announce.NewLoader(d.engine, conf, nil, log)
	loads := func(ctx context.Context) error {
		return d.loader.Run(ctx, func(context.Context) (announce.Configuration, error) { return conf, nil })
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- together(ctx, loads, d.watchRequests, d.watchReloads) }()

	d.signals.Reload <- struct{}{}
	awaited(t, "load", source.asked)
	close(source.answer)
	for _, want := range []string{"RELOADING=1", "STATUS=the source answered", "READY=1"} {
		if got := told(); !strings.HasPrefix(got, want) {
			t.Errorf("told %q, want %s", got, want)
		}
	}

	source.answer = nil
	d.signals.Reload <- struct{}{}
	awaited(t, "second load", source.asked)
	d.askStop(false)
	if err := awaited(t, "stop", done); !errors.Is(err, errStopped) {
		t.Errorf("stopped during a load: %v", err)
	}
}
