package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"activationd/activation"
	"activationd/control"
	"activationd/control/line"
	"activationd/control/ops"
	"activationd/internal/fault"
	"activationd/schedule"
	"activationd/store/bolt"
	"activationd/supervisor"
	"activationd/topology"
	"activationd/vlanstore"
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

// serve is the daemon proper. It returns nil when it has drained, or was asked
// to stop by an operation; its context ends when it is to stop at once and to
// leave alone what runs.
func serve(ctx context.Context, d *daemon) error {
	db, err := bolt.Open(filepath.Join(d.Dirs.State, "state.db"))
	if err != nil {
		return err
	}
	defer func() {
		if err := db.Close(); err != nil {
			d.log.Error("closing the store", "err", err)
		}
	}()
	doors, err := openListeners(ctx, d.Config, d.Inherited, d.log)
	if err != nil {
		return err
	}
	defer closeDoors(doors)
	c, err := newCore(d, db, unixAddress(doors))
	if err != nil {
		return err
	}
	defer c.runs.Close()
	tasks := []func(context.Context) error{
		c.timer.Run,
		c.engine.Run,
		c.engine.RunLoads,
		c.watchStore,
		c.watchRequests,
		c.watchReloads,
		c.logHappenings(c.engine.Newest()),
		func(ctx context.Context) error { return d.Notify.Watchdog(ctx, c.engine.Alive) },
	}
	for _, door := range doors {
		serveDoor, err := c.door(door)
		if err != nil {
			return err
		}
		tasks = append(tasks, serveDoor)
		d.log.Info("listening", "address", door.Addr().String())
	}
	guard, why := c.runs.Guard()
	runAs := "who submits them"
	if d.surroundings.uid != 0 {
		runAs = c.users.own().Name + ", who is the only one to submit any"
	}
	d.log.Info("ready", "state", d.Dirs.State, "guard", guard, "why", why, "jobs_run_as", runAs)
	d.Notify.Ready("Ready; runs are contained by " + guard)
	c.engine.AskLoad()
	err = together(ctx, tasks...)
	d.Notify.Stopping("Stopping; what runs goes on")
	if errors.Is(err, errStopped) {
		return nil
	}
	return err
}

// A core is the engine and what it works with.
type core struct {
	*daemon
	db     *bolt.DB
	timer  *schedule.Timer
	runs   *supervisor.Supervisor
	engine *activation.Engine
	server *line.Server
	tokens line.Tokens
	roles  atomic.Uint64 // counts configurations: who may do what may be another
	socket string        // the Unix socket's path, which may be systemd's choice
	users  identities
	stop   chan bool // true: drain; capacity one

	mu     sync.Mutex // one reconfiguration at a time
	config *Config    // what is in force
}

func newCore(d *daemon, db *bolt.DB, socket string) (*core, error) {
	c := &core{daemon: d, db: db, config: d.Config, socket: socket, stop: make(chan bool, 1)}
	c.users = identities{uid: d.surroundings.uid}
	var err error
	if c.timer, err = schedule.NewTimer(); err != nil {
		return nil, err
	}
	guard := d.Config.Runs.Guard
	if guard == "auto" {
		guard = ""
	}
	c.runs, err = supervisor.New(supervisor.Config{
		Atwrap: d.Atwrap, RunsDir: d.Dirs.Runs, ConfigRoot: d.Dirs.ConfigRoot, KeptDir: d.Dirs.Kept, Guard: guard, Log: d.log,
	})
	if err != nil {
		return nil, err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, fmt.Errorf("the id of this boot: %w", err)
	}
	set, err := c.settings(d.Config)
	if err != nil {
		return nil, err
	}
	sources, err := c.sources(d.Config)
	if err != nil {
		return nil, err
	}
	c.engine = activation.New(activation.Parts{
		DB: db, Runs: c.runs, Alarm: c.timer, Boot: strings.TrimSpace(string(boot)), Nodes: topology.Devices, User: c.users.now, Trust: c.surroundings.runsTrusted, Load: loadAverage, Log: d.log,
	}, set)
	c.engine.SetSources(sources)
	rules, err := c.recurrences(d.Config)
	if err != nil {
		return nil, err
	}
	c.engine.SetRecurrences(rules)
	c.engine.BeforeLoad(c.reconfigure)
	if err := c.tokens.Load(d.Config.Tokens); err != nil {
		return nil, err
	}
	c.server = &line.Server{
		Registry: ops.Registry(ops.Daemon{
			Engine: c.engine, Identity: c.users.of, Topology: c.topology, Backup: db.Backup,
			MayAt: c.mayAt, User: userName, Stop: c.askStop, Status: c.status, Reload: c.reload, Sections: new(vlanstore.Sections),
		}),
		Log: d.log,
		Limits: line.Limits{
			Conns: d.Config.Control.Connections, Line: int(d.Config.Control.Line), Idle: d.Config.Control.Idle,
		},
		Token: func(secret string) (control.Caller, bool) {
			caller, ok := c.tokens.Caller(secret)
			return caller, ok
		},
		Roles: &c.roles,
	}
	return c, nil
}

// door returns the task that serves a listener.
func (c *core) door(l listener) (func(context.Context) error, error) {
	if l.Unix {
		return func(ctx context.Context) error {
			return c.server.Serve(ctx, l, line.UnixPeers(func(uid uint32) control.Role {
				c.mu.Lock()
				defer c.mu.Unlock()
				return c.config.Access.RoleOf(uid)
			}))
		}, nil
	}
	role, err := control.ParseRole(l.Listen.Role)
	if err != nil {
		return nil, err
	}
	peers := line.TCPPeers{Role: role, User: l.Listen.User, UID: -1, GID: -1}
	if l.Listen.User != "" {
		id, err := lookupIdentity(l.Listen.User)
		if err != nil {
			return nil, fmt.Errorf("listen %s: user: %w: %w", l.Addr(), err, fault.Invalid)
		}
		peers.UID, peers.GID = id.UID, id.GID
	}
	return func(ctx context.Context) error { return c.server.Serve(ctx, l, peers.Authenticate) }, nil
}

// watchStore ends the daemon when the store cannot be trusted any more: a
// failed fsync is never tried again.
func (c *core) watchStore(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.db.Failed():
		return fmt.Errorf("the store has failed; what runs goes on, start the daemon again when the disk is well: %w", c.db.Err())
	}
}

// watchReloads reloads when a signal asks for it. It is a task of its own
// because a load takes as long as the slowest source, and a stop does not wait.
func (c *core) watchReloads(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-c.Signals.Reload:
			// What of it went wrong in the configuration or a source, the engine logs.
			if _, err := c.reload(ctx, activation.LoadOptions{}); err != nil && ctx.Err() == nil {
				c.log.Error("reload", "err", err)
			}
		}
	}
}

// watchRequests lets signals and operations end the daemon.
func (c *core) watchRequests(ctx context.Context) error {
	drained := make(<-chan struct{}) // never closed
	drain := c.Signals.Drain
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-drain:
			drain = nil
			drained = c.engine.Drain()
			c.Notify.Status("Draining: waiting for what runs")
		case wait := <-c.stop:
			if !wait {
				c.log.Info("stopping, as a client asked; what runs goes on")
				return errStopped
			}
			c.log.Info("draining, as a client asked")
			drain = nil
			drained = c.engine.Drain()
			c.Notify.Status("Draining: waiting for what runs")
		case <-drained:
			c.log.Info("drained: nothing runs any more")
			return errStopped
		}
	}
}

func (c *core) askStop(drain bool) {
	select {
	case c.stop <- drain:
	default: // asked for already
	}
}

// reload loads everything again, and waits for it.
func (c *core) reload(ctx context.Context, o activation.LoadOptions) (activation.Report, error) {
	if !o.DryRun {
		c.Notify.Reloading()
		defer c.Notify.Ready("Ready")
	}
	return c.engine.Load(ctx, o)
}

func (c *core) status(out *control.StatusOut) {
	out.Version, out.PID = version(), os.Getpid()
	out.StateDir, out.RuntimeDir = c.Dirs.State, c.Dirs.Runtime
	out.User = c.users.own().Name
}

// reconfigure reads the configuration again and puts in force what can be. It
// runs at the beginning of each load. A configuration with faults leaves all as
// it was. What it notes is in force no sooner than the daemon is started again.
func (c *core) reconfigure(context.Context) (later []string, err error) {
	conf, notices, err := c.load(c.Dirs)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	set, err := c.settings(conf)
	if err != nil {
		return nil, err
	}
	sources, err := c.sources(conf)
	if err != nil {
		return nil, err
	}
	// The tokens' file may be another though its name is the same.
	if err := c.tokens.Load(conf.Tokens); err != nil {
		return nil, err
	}
	rules, err := c.recurrences(conf)
	if err != nil {
		return nil, err
	}
	c.engine.SetRecurrences(rules) // also if the file says the same: a user's groups may be others
	for _, key := range changedKeys(c.Config, conf) {
		if restartNeeded(key) {
			later = append(later, key+": a changed setting takes effect when the daemon is started again")
		}
	}
	changed := changedKeys(c.config, conf)
	if !reflect.DeepEqual(c.config.Lab.pools, conf.Lab.pools) { // the file's name may be the same
		changed = append(changed, "lab.inventory (pools)")
	}
	if len(changed) == 0 {
		return later, nil
	}
	for _, n := range append(notices, later...) {
		c.log.Warn(n)
	}
	if changed = slices.DeleteFunc(changed, restartNeeded); len(changed) > 0 {
		c.log.Info("settings changed", "keys", strings.Join(changed, " "))
	}
	c.level.Set(conf.Logging.Level)
	c.engine.Configure(set)
	c.engine.SetSources(sources)
	c.config = conf
	c.roles.Add(1)
	return later, nil
}

// restartNeeded reports whether a setting is only read when the daemon starts.
func restartNeeded(key string) bool {
	for _, k := range []string{"listen", "socket", "control", "runs.guard", "logging.format"} {
		if key == k || strings.HasPrefix(key, k+".") {
			return true
		}
	}
	return false
}

// topology reads a topology by its file's name, for linkconf: it must lie in the
// topology directory, or in that of a source of files.
func (c *core) topology(name string) ([]byte, error) {
	c.mu.Lock()
	dirs, user := []string{c.config.TopologyDirectory}, c.config.Reservations.User
	for _, s := range c.config.Sources {
		if s.Files != "" {
			dirs = append(dirs, sourceDir(s.Files))
		}
	}
	c.mu.Unlock()
	if !filepath.IsLocal(name) {
		return nil, fmt.Errorf("topology: %q is not the name of a file in %s: %w", name, strings.Join(dirs, " or "), fault.Invalid)
	}
	for _, dir := range dirs {
		root, err := os.OpenRoot(dir)
		if err != nil {
			continue // said below
		}
		if err := c.surroundings.trusted(filepath.Join(dir, name), user); err != nil {
			_ = root.Close()
			return nil, fmt.Errorf("topology: %w: %w", err, fault.Denied)
		}
		data, err := root.ReadFile(name)
		if err == nil {
			var filled string
			filled, err = topology.Fill(string(data), func(config string) ([]byte, error) {
				return root.ReadFile(filepath.Join(filepath.Dir(name), config))
			})
			data = []byte(filled)
		}
		_ = root.Close()
		if err == nil {
			return data, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("topology: %w: %w", err, fault.Invalid)
		}
	}
	return nil, fmt.Errorf("topology: there is no file %q in %s: %w", name, strings.Join(dirs, " or "), fault.NotFound)
}

// sourceDir is the directory of a source of files, which may be one file.
func sourceDir(path string) string {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return path
	}
	return filepath.Dir(path)
}
