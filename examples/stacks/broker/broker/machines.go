package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// machines is the manager of machines: it sees that the machine of each session is on, and
// that all others are off. A machine is an instance of the service `machine`, so the daemon
// keeps it on, and its processes outlive the manager.
//
// It compares what should be with what is, after each change in the database and from time to
// time. So nothing is lost if it was down meanwhile, or an attempt has failed.
func machines(ctx context.Context, s settings, args []string) error {
	f := flags("machines")
	every := f.Duration("every", 5*time.Second, "compare at least this often")
	_ = f.Parse(args) // it ends the process
	db, err := openDatabase(ctx, s.database)
	if err != nil {
		return err
	}
	defer db.Close()
	listener, err := pgx.Connect(ctx, s.database)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close(context.WithoutCancel(ctx)) }()
	if _, err := listener.Exec(ctx, "LISTEN session"); err != nil {
		return err
	}

	ctx, stop := context.WithCancel(ctx)
	changes, listening := make(chan struct{}, 1), make(chan error, 1)
	var listens sync.WaitGroup
	listens.Go(func() {
		for {
			if _, err := listener.WaitForNotification(ctx); err != nil {
				listening <- err
				return
			}
			select {
			case changes <- struct{}{}:
			default: // a comparison is due already
			}
		}
	})
	defer listens.Wait()
	m := manager{db: db, busy: make(map[string]bool), done: make(chan change)}
	defer m.wait()
	defer stop()
	tick := time.NewTicker(*every)
	defer tick.Stop()
	for {
		if err := m.compare(ctx); err != nil && ctx.Err() == nil {
			slog.Warn("cannot look after the machines", "err", err)
		}
		select {
		case err := <-listening:
			if ctx.Err() != nil {
				return nil // asked to stop
			}
			return fmt.Errorf("listening for changes of sessions: %w", err) // and be started again
		case c := <-m.done:
			m.ended(c)
		case <-changes:
		case <-tick.C:
			m.again()
		}
	}
}

// A manager starts and stops machines, each for itself: no machine waits for another.
type manager struct {
	db      database
	busy    map[string]bool // these are being started or stopped, or are in failed
	failed  []string        // these wait for the next tick
	running int             // how many are being started or stopped
	done    chan change
}

// A change is the end of the start or of the stop of a machine.
type change struct {
	machine string
	err     error
}

// compare begins to change all machines that are not as they should be.
func (m *manager) compare(ctx context.Context) error {
	open, err := m.db.open(ctx)
	if err != nil {
		return err
	}
	states, err := machineStates(ctx)
	if err != nil {
		return err
	}
	for _, s := range open {
		id := fmt.Sprintf("machine@%d", s.Machine)
		on := states[id] == "ready"
		delete(states, id)
		switch {
		case s.State == "left":
			m.begin(id, func() error { return m.turnOff(ctx, id, s) })
		case s.State == "waiting" || !on:
			m.begin(id, func() error { return m.turnOn(ctx, id, s) })
		}
	}
	for id, state := range states {
		if state != "down" { // nobody uses it
			m.begin(id, func() error {
				_, err := atctl(ctx, nil, "service", "stop", id)
				return err
			})
		}
	}
	return nil
}

// begin begins to change a machine, unless it is being changed already.
func (m *manager) begin(id string, work func() error) {
	if m.busy[id] {
		return
	}
	m.busy[id] = true
	m.running++
	go func() { m.done <- change{id, work()} }()
}

func (m *manager) ended(c change) {
	m.running--
	if c.err == nil {
		delete(m.busy, c.machine)
		return
	}
	slog.Warn("a machine is not as it should be", "machine", c.machine, "err", c.err)
	m.failed = append(m.failed, c.machine)
}

// again lets machines be tried again that have failed.
func (m *manager) again() {
	for _, id := range m.failed {
		delete(m.busy, id)
	}
	m.failed = nil
}

// wait waits for what has begun.
func (m *manager) wait() {
	for m.running > 0 {
		m.ended(<-m.done)
	}
}

func (m *manager) turnOn(ctx context.Context, id string, s session) error {
	if _, err := atctl(ctx, nil, "service", "start", "--wait", id); err != nil {
		return err
	}
	slog.Info("on", "machine", id, "account", s.Account)
	return m.db.move(ctx, s.ID, "active", "", "waiting")
}

func (m *manager) turnOff(ctx context.Context, id string, s session) error {
	if _, err := atctl(ctx, nil, "service", "stop", id); err != nil {
		return err
	}
	slog.Info("off", "machine", id, "account", s.Account, "reason", s.Reason)
	return m.db.move(ctx, s.ID, "over", "", "left")
}

// machineStates returns the states of all machines by their ids.
func machineStates(ctx context.Context) (map[string]string, error) {
	said, err := atctl(ctx, nil, "--json", "service", "list", "machine")
	if err != nil {
		return nil, err
	}
	states := make(map[string]string)
	for lines := json.NewDecoder(bytes.NewReader(said)); ; {
		var one struct{ ID, State string }
		err := lines.Decode(&one)
		if errors.Is(err, io.EOF) {
			return states, nil
		}
		if err != nil {
			return nil, err
		}
		states[one.ID] = one.State
	}
}
