package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"activationd/activation"
	"activationd/control"
	"activationd/control/access"
	"activationd/internal/fault"
	"activationd/store/bolt"
)

// serve runs the daemon. It returns nil after draining, or when an operation has asked it to
// stop. When ctx is done it stops at once and leaves the runs alone: they go on, unless a
// container ends with the daemon.
func (d *daemon) serve(ctx context.Context) error {
	db, err := bolt.Open(filepath.Join(d.dirs.State, "state.db"))
	if err != nil {
		return err
	}
	defer func() {
		if err := db.Close(); err != nil {
			d.log.Error("closing the store", "err", err)
		}
	}()
	listeners, err := openListeners(ctx, d.started.Config, d.inherited, d.log)
	if err != nil {
		return err
	}
	defer closeListeners(listeners)
	if err := d.assemble(db, unixAddress(listeners)); err != nil {
		return err
	}
	defer d.runs.Close()
	defer func() {
		if err := d.queues.close(); err != nil {
			d.log.Error("closing the store of queues", "err", err)
		}
	}()
	newest, err := d.engine.Newest(ctx)
	if err != nil {
		return err
	}
	tasks := []func(context.Context) error{
		d.timer.Run,
		d.engine.Run,
		func(ctx context.Context) error { return d.loader.Run(ctx, d.reconfigure) },
		d.book.Run,
		d.discovered.Run,
		func(ctx context.Context) error { return d.roster.Run(ctx, d.checkPlace()) },
		d.queues.timer.Run,
		d.queues.Run,
		d.tellEvents,
		d.hooks.Run,
		d.queues.pools.Run,
		d.watchPools,
		d.watchStore,
		d.forgetKeys,
		d.watchRequests,
		d.watchReloads,
		d.logEvents(newest),
		func(ctx context.Context) error { return d.notify.Watchdog(ctx, d.engine.Alive) },
	}
	for _, l := range listeners {
		answer, err := d.answering(l)
		if err != nil {
			return err
		}
		tasks = append(tasks, answer)
		d.log.Info("listening", "address", l.Addr().String())
	}
	guard, why := d.runs.Guard()
	runAs := "their submitter"
	if !d.host.switches() {
		runAs = d.users.own().Name + ", the only user who may submit any"
	}
	d.log.Info("ready", "state", d.dirs.State, "guard", guard, "why", why, "jobs_run_as", runAs)
	d.notify.Ready("Ready; runs are contained by " + guard)
	d.loader.Ask()
	err = together(ctx, tasks...)
	d.notify.Stopping("Stopping; " + d.host.fate())
	if errors.Is(err, errStopped) {
		return nil
	}
	return err
}

// answering returns the task that serves the clients of a listener.
func (d *daemon) answering(l listener) (func(context.Context) error, error) {
	serve := d.server.Serve
	if l.HTTP {
		serve = d.web.Serve
	}
	if l.Unix {
		return func(ctx context.Context) error {
			return serve(ctx, l, access.UnixPeers(func(uid uint32, groups []uint32) control.Role {
				d.mu.Lock()
				defer d.mu.Unlock()
				return d.current.roleOf(uid, groups)
			}))
		}, nil
	}
	role, err := control.ParseRole(l.Listen.Role)
	if err != nil {
		return nil, err
	}
	peers := access.TCPPeers{Role: role, User: l.Listen.User, UID: -1, GID: -1}
	if l.Listen.User != "" {
		id, err := lookupIdentity(l.Listen.User)
		if err != nil {
			return nil, fmt.Errorf("listen %s: user: %w: %w", l.Addr(), err, fault.Invalid)
		}
		peers.UID, peers.GID = id.UID, id.GID
	}
	return func(ctx context.Context) error { return serve(ctx, l, peers.Authenticate) }, nil
}

// keysAge is how long the keys of requests are kept at least.
const keysAge = 24 * time.Hour

// forgetKeys removes the keys of requests that have been kept long enough.
func (d *daemon) forgetKeys(ctx context.Context) error {
	for {
		var now activation.Moment
		err := d.engine.View(ctx, func(t *activation.Txn) error {
			now = t.Moment
			return nil
		})
		if err == nil && !now.Doubt { // a clock that is ahead would remove all of them
			err = d.keys.Prune(ctx, now.Now.Add(-keysAge))
		}
		if err != nil && ctx.Err() == nil {
			d.log.Error("cannot remove old keys of requests; trying again later", "err", err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Hour):
		}
	}
}

// watchStore ends the daemon when one of its stores has failed: a failed fsync is never tried
// again.
func (d *daemon) watchStore(ctx context.Context) error {
	err := d.db.Err
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-d.db.Failed():
	case <-d.queues.db.Failed():
		err = d.queues.db.Err
	}
	return fmt.Errorf("the store has failed; %s; start the daemon again when the disk is repaired: %w", d.host.fate(), err())
}
