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
	for ctx.Err() == nil {
		if err := compare(ctx, db); err != nil && ctx.Err() == nil {
			slog.Warn("not all machines are as they should be", "err", err)
		}
		wait, done := context.WithTimeout(ctx, *every)
		_, err := listener.WaitForNotification(wait)
		expired := wait.Err() != nil
		done()
		if err != nil && !expired {
			return fmt.Errorf("listening for changes of sessions: %w", err) // and be started again
		}
	}
	return nil
}

// compare starts and stops what differs, all at the same time: no machine waits for another.
func compare(ctx context.Context, db database) error {
	open, err := db.open(ctx)
	if err != nil {
		return err
	}
	on, err := machineStates(ctx)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	failed := make(chan error, len(open)+len(on))
	for _, s := range open {
		id := fmt.Sprintf("machine@%d", s.Machine)
		state := on[id]
		delete(on, id)
		wg.Go(func() { failed <- serve(ctx, db, s, id, state) })
	}
	for id, state := range on {
		if state != "down" {
			wg.Go(func() { // nobody uses it
				_, err := atctl(ctx, nil, "service", "stop", id)
				failed <- err
			})
		}
	}
	wg.Wait()
	close(failed)
	for e := range failed {
		err = errors.Join(err, e)
	}
	return err
}

// serve brings one machine into the state that its session wants.
func serve(ctx context.Context, db database, s session, id, state string) error {
	if s.State == "left" {
		if _, err := atctl(ctx, nil, "service", "stop", id); err != nil {
			return err
		}
		slog.Info("off", "machine", id, "account", s.Account, "reason", s.Reason)
		return db.move(ctx, s.ID, "over", "", "left")
	}
	if state != "ready" {
		if _, err := atctl(ctx, nil, "service", "start", "--wait", id); err != nil {
			return err
		}
		slog.Info("on", "machine", id, "account", s.Account)
	}
	if s.State == "active" {
		return nil
	}
	return db.move(ctx, s.ID, "active", "", "waiting")
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
