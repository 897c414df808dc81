package main

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"strings"

	"activationd/activation"
	"activationd/activation/announce"
	"activationd/internal/config"
)

// watchReloads reloads when a signal asks for it. It is a task of its own
// because a load takes as long as the slowest source, and a stop does not wait.
func (d *daemon) watchReloads(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-d.signals.Reload:
			// The loader logs the faults of the configuration and of sources.
			if _, err := d.reload(ctx, announce.LoadOptions{}); err != nil && ctx.Err() == nil {
				d.log.Error("reload", "err", err)
			}
		}
	}
}

// reload loads everything again, and waits for it. A dry run reads the configuration, too, but
// puts nothing in force.
func (d *daemon) reload(ctx context.Context, o announce.LoadOptions) (activation.Report, error) {
	if o.DryRun {
		r, err := d.readAgain()
		if err != nil {
			r.Configuration = d.configured()
			r.Notices = nil // of the load that put it in force
		}
		return d.loader.Try(ctx, r.Configuration, err, o)
	}
	d.notify.Reloading()
	defer d.notify.Ready("Ready")
	return d.loader.Load(ctx, o)
}

func (d *daemon) configured() announce.Configuration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.inForce
}

// A rereading is the configuration as it was read again.
type rereading struct {
	announce.Configuration
	conf    *configuration
	changed []string // the keys whose values differ from those in force
	notices []string // about the machine
}

// readAgain reads and checks the configuration again. It changes nothing.
func (d *daemon) readAgain() (r rereading, err error) {
	if r.conf, r.notices, err = loadConfig(d.options, d.host, d.dirs); err != nil {
		return r, err
	}
	if r.Configuration, err = d.translate(r.conf); err != nil {
		return r, err
	}
	for _, key := range config.ChangedKeys(d.started.Config, r.conf.Config) {
		if restartNeeded(key) {
			r.Notices = append(r.Notices, key+": a changed setting takes effect when the daemon is started again")
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	r.changed = config.ChangedKeys(d.current.Config, r.conf.Config)
	if !reflect.DeepEqual(d.current.pools, r.conf.pools) { // the file's name may be the same
		r.changed = append(r.changed, "lab.inventory (pools)")
	}
	if !slices.Equal(d.current.bookable, r.conf.bookable) && !slices.Contains(r.changed, "booking") {
		r.changed = append(r.changed, "lab.inventory (devices)")
	}
	if !slices.Contains(r.changed, "access") && !(maps.Equal(d.current.roles, r.conf.roles) && maps.Equal(d.current.groups, r.conf.groups)) {
		r.changed = append(r.changed, "access (the numbers of users and groups)")
	}
	if len(r.changed) == 0 { // the same sources go on being watched; the groups of a rule's user may have changed
		r.Settings, r.Sources = d.inForce.Settings, d.inForce.Sources
	}
	return r, nil
}

// reconfigure is called at the beginning of each load. It reads and checks the
// configuration again, and returns it for the engine, which puts it in force. If the
// configuration has a fault, all stays as it was. The settings that the engine does not
// know (the log's level, the tokens, and the roles of users) reconfigure puts in force
// itself. Its notices are the settings that need a restart.
func (d *daemon) reconfigure(ctx context.Context) (announce.Configuration, error) {
	r, err := d.readAgain()
	if err != nil {
		return announce.Configuration{}, err
	}
	if err := d.dirs.makeDeviceLocks(d.host, scriptUsers(&r.Settings)); err != nil {
		return announce.Configuration{}, err
	}
	// The tokens' file may have changed though its name has not.
	if err := d.tokens.Load(r.conf.Tokens); err != nil {
		return announce.Configuration{}, err
	}
	d.readPools(r.conf)
	if len(r.changed) == 0 {
		return r.Configuration, nil
	}
	newest, err := d.engine.Newest(ctx)
	if err != nil {
		return announce.Configuration{}, err
	}
	for _, n := range append(r.notices, r.Notices...) {
		d.log.Warn(n)
	}
	if changed := slices.DeleteFunc(r.changed, restartNeeded); len(changed) > 0 {
		d.log.Info("settings changed", "keys", strings.Join(changed, " "))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.level.Set(r.conf.Logging.Level)
	d.current, d.inForce = r.conf, r.Configuration
	d.queues.Configure(d.listeners(r.conf, &r.Settings))
	d.hooks.Configure(hooksOf(r.conf), newest)
	d.desk.Configure(bookingRules(r.conf))
	d.roles.Add(1)
	return r.Configuration, nil
}

// restartNeeded reports whether a setting is only read when the daemon starts.
func restartNeeded(key string) bool {
	for _, k := range []string{"listen", "listen_http", "base_path", "http_hosts", "front", "socket", "control", "runs.guard", "logging.format", "queues.store"} {
		if key == k || strings.HasPrefix(key, k+".") {
			return true
		}
	}
	return false
}
