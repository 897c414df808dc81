// Embed is a program that contains the engine, a schedule and a supervisor. It runs
// two jobs a second apart, waits for them and prints how they ended, without a daemon
// and without a socket.
//
//	go build -o bin/ ./cmd/atwrap && go run ./examples/embed bin/atwrap
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"activationd/activation"
	"activationd/schedule"
	"activationd/store/bolt"
	"activationd/supervisor"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: embed PATH-OF-ATWRAP")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "embed:", err)
		os.Exit(1)
	}
}

func run(atwrap string) (err error) {
	dir, err := os.MkdirTemp("", "embed")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	runs, config := filepath.Join(dir, "runs"), filepath.Join(dir, "config")
	if err := errors.Join(os.Mkdir(runs, 0o700), os.Mkdir(config, 0o755)); err != nil {
		return err
	}
	atwrap, err = filepath.Abs(atwrap)
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)

	// What the engine works with: where records are kept, how processes are run,
	// what wakes it.
	db, err := bolt.Open(filepath.Join(dir, "state.db"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	super, err := supervisor.New(supervisor.Config{Atwrap: atwrap, RunsDir: runs, ConfigRoot: config, Log: log})
	if err != nil {
		return err
	}
	defer super.Close()
	timer, err := schedule.NewTimer()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, timer.Close()) }()
	engine := activation.New(
		activation.Parts{DB: db, Runs: super, Alarm: timer, Boot: "this one", Log: log},
		activation.Settings{MaxParallel: 4, HistoryAge: time.Hour, MissedGrace: time.Minute, LogHead: 1 << 16, LogTail: 1 << 16})

	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- timer.Run(ctx) }()
	go func() { ended <- engine.Run(ctx) }()
	defer func() {
		stop()
		for range 2 {
			if e := <-ended; !errors.Is(e, context.Canceled) {
				err = errors.Join(err, e)
			}
		}
	}()

	now := time.Now()
	added, err := engine.Add(ctx, activation.Actor{}, []activation.NewJob{
		{Order: activation.Order{Owner: "embed", Argv: []string{"echo", "now"}}, At: now},
		{Order: activation.Order{Owner: "embed", Argv: []string{"sh", "-c", "exit 3"}}, At: now.Add(time.Second)},
	})
	if err != nil {
		return err
	}
	for _, a := range added {
		v, err := engine.Wait(ctx, a.ID)
		if err != nil {
			return err
		}
		last := v.Attempts[len(v.Attempts)-1].Result
		fmt.Printf("job %s: %s, status %d, %v after it was due\n", v.ID, v.Outcome, last.Exit, last.Started.Sub(v.Start).Round(time.Millisecond))
	}
	return nil
}
