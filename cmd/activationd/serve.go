package main

import (
	"context"
	"os"
)

// A daemon is everything that was settled before the daemon proper starts.
type daemon struct {
	*program

	Config *Config // as it was when the daemon started; see program.load
	Dirs   *directories
	Atwrap string // the wrapper's program

	Notify    *notifier
	Signals   *signals
	Inherited []*os.File // sockets from systemd, for openListeners
}

// serve is the daemon proper. It returns nil when it has drained; its context
// ends when it is to stop at once and to leave alone what runs.
func serve(ctx context.Context, d *daemon) error {
	doors, err := openListeners(ctx, d.Config, d.Inherited)
	if err != nil {
		return err
	}
	for _, l := range doors {
		d.log.Info("listening", "address", l.Addr().String())
	}
	d.Notify.Ready("")
	select {
	case <-ctx.Done():
	case <-d.Signals.Drain:
	}
	d.Notify.Stopping("")
	for _, l := range doors {
		_ = l.Close()
	}
	return nil
}
