package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync/atomic"

	"activationd/control"
	"activationd/internal/connection"
	"activationd/internal/direct"
	"activationd/internal/fault"
)

// An app is what the commands share: the flags that all of them take, and the client
// that results from these.
type app struct {
	daemon connection.Flags
	json   bool

	made    *control.Client // nil: not yet
	reached atomic.Bool     // the daemon was connected to
	times   *clock          // the daemon's; nil: not yet known
}

// client returns the client that the flags describe.
func (a *app) client() (*control.Client, error) {
	if a.made != nil {
		return a.made, nil
	}
	c, err := a.daemon.Client(os.Getenv)
	if err != nil {
		return nil, err
	}
	dial := c.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if x := direct.Taken(); x != nil {
			a.reached.Store(true)
			return connection.Resume(x), nil
		}
		conn, err := dial(ctx, network, address)
		if err == nil {
			a.reached.Store(true)
		}
		return conn, err
	}
	c.Notice = warn
	a.made = c
	return c, nil
}

// again returns a copy of a with a client of its own, for requests at the same time.
func (a *app) again() *app {
	return &app{daemon: a.daemon, json: a.json}
}

// call calls an operation whose reply has one line.
func call[Out any](ctx context.Context, a *app, name string, in any) (out Out, err error) {
	c, err := a.client()
	if err != nil {
		return out, err
	}
	_, lines, err := control.Call[Out](ctx, c, name, in)
	switch {
	case err != nil:
		return out, err
	case len(lines) != 1:
		return out, fmt.Errorf("the daemon's reply to %s has %d lines instead of 1: %w", name, len(lines), fault.Internal)
	}
	return lines[0], nil
}

// stream calls an operation and calls fn with each line as it arrives.
func stream[Out any](ctx context.Context, a *app, name string, in any, fn func(Out) error) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	return control.Stream(ctx, c, name, in, fn)
}

// do calls an operation whose lines are printed only with --json.
func (a *app) do(ctx context.Context, name string, in any) error {
	if a.json {
		return a.printJSON(ctx, name, in)
	}
	return stream(ctx, a, name, in, func(struct{}) error { return nil })
}

// printJSON calls an operation and prints its lines unchanged, so that fields that a newer
// daemon adds are printed, too.
func (a *app) printJSON(ctx context.Context, name string, in any) (err error) {
	c, err := a.client()
	if err != nil {
		return err
	}
	r, err := c.Do(ctx, name, in)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // after a failure the connection is not needed any more
	for line, err := range r.Lines() {
		if err != nil {
			return err
		}
		if _, err := os.Stdout.Write(append(line, '\n')); err != nil {
			return err
		}
	}
	return r.Err()
}
