package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"activationd/activation"
	"activationd/activation/announce"
	"activationd/activation/booking"
	"activationd/activation/recurring"
	"activationd/activation/service"
	"activationd/activation/service/discover"
	"activationd/control"
	"activationd/control/access"
	"activationd/control/line"
	"activationd/control/ops"
	"activationd/control/panel"
	"activationd/control/web"
	"activationd/docs"
	"activationd/hook"
	"activationd/internal/fault"
	"activationd/schedule"
	"activationd/store"
	"activationd/store/bolt"
	"activationd/store/once"
	"activationd/supervisor"
	"activationd/supervisor/spawn"
	"activationd/topology"
	"activationd/vlanstore"
)

// A daemon is everything that this process consists of. start settles the first group of
// fields, and serve adds the second.
type daemon struct {
	options   *options
	host      *host
	dirs      *directories
	atwrap    string         // the wrapper's program
	started   *configuration // as it was when the daemon started
	log       *slog.Logger
	level     *slog.LevelVar // of log; a reload may set it
	notify    *notifier
	signals   *signals
	inherited []*os.File // sockets from systemd, for openListeners

	db         store.Backend
	main       *bolt.DB // the same
	gauger     *gauger
	timer      *schedule.Timer
	runs       *supervisor.Supervisor
	engine     *activation.Engine
	loader     *announce.Loader
	book       *recurring.Book
	desk       *booking.Desk
	roster     *service.Roster
	discovered *discover.Watcher
	warned     map[string]bool // the warnings about .env files that are in the log
	server     *line.Server
	web        *web.Server
	keys       *once.Keeper // of requests over HTTP
	queues     *messaging
	hooks      *hook.Feeder
	tokens     access.Tokens
	roles      atomic.Uint64 // counts configurations: each may give users other roles
	socket     string        // the Unix socket's path; systemd may have chosen it
	users      identities
	stop       chan bool // true: drain; capacity one

	mu      sync.Mutex
	current *configuration         // in force
	inForce announce.Configuration // what the engine has of it
}

// assemble makes the parts that serve runs, around the store. Socket is the control socket's path.
func (d *daemon) assemble(db *bolt.DB, socket string) (err error) {
	conf := d.started
	d.assembleMetrics()
	db.OnCommit(d.gauger.Committed)
	d.db, d.main, d.current, d.socket, d.stop = db, db, conf, socket, make(chan bool, 1)
	d.users = identities{uid: d.host.uid, switches: d.host.switches()}
	if d.timer, err = schedule.NewTimer(); err != nil {
		return err
	}
	guard := conf.Runs.Guard
	if guard == "auto" {
		guard = ""
	}
	d.runs, err = d.supervise(supervisor.Config{
		Atwrap: d.atwrap, RunsDir: d.dirs.Runs, ConfigRoot: d.dirs.ConfigRoot, WorkdirsDir: d.dirs.Workdirs, Guard: guard, Log: d.log,
	})
	if err != nil {
		return err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return fmt.Errorf("the id of this boot: %w", err)
	}
	if d.inForce, err = d.translate(conf); err != nil {
		return err
	}
	if err := d.dirs.makeDeviceLocks(d.host, scriptUsers(&d.inForce.Settings)); err != nil {
		return err
	}
	name, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("the name of this machine: %w", err)
	}
	d.engine = activation.New(activation.Parts{
		DB: db, Host: name, Runs: d.runs, Alarm: d.timer, Boot: strings.TrimSpace(string(boot)), Nodes: topology.Devices,
		User: d.users.now, Missing: d.runs.Missing, Trust: d.host.runsTrusted, LoadAverage: loadAverage, Log: d.log,
		Paused:   func(paused bool) { d.queues.PauseAll(paused) },
		Observer: d.gauger,
	}, d.inForce.Settings)
	d.book = recurring.New(d.engine)
	d.desk = booking.New(d.engine, topology.Devices)
	d.desk.Configure(bookingRules(conf))
	d.roster = service.NewRoster(d.engine)
	d.loader = announce.NewLoader(d.engine, d.inForce, topology.Devices, d.log)
	d.discovered = discover.NewWatcher(d.log, func(discover.Result) { d.loader.AskDeclared() })
	if err := d.tokens.Load(conf.Tokens); err != nil {
		return err
	}
	if err := d.assembleQueues(); err != nil {
		return err
	}
	if err := d.assembleHooks(); err != nil {
		return err
	}
	stores := []store.Store{db}
	if d.queues.own != nil {
		stores = append(stores, d.queues.own)
	}
	d.keys = once.New(time.Now, stores...)
	d.server = &line.Server{
		Registry: ops.Registry(ops.Daemon{
			BackupQueues: d.queues.backup(), QueueStore: conf.Queues.Store,
			Engine: d.engine, Recurrences: d.book, Services: d.roster, Bookings: d.desk, Queues: d.queues, Pools: d.queues.pools, Declared: d.declared, Places: d.places, Identity: d.users.of, Topology: d.topology, Backup: db.Backup,
			MayAt: d.mayAt, User: userName, UserID: userID, Stop: d.askStop, Status: d.status, Hooks: d.hookNeeds, Inventory: d.inventory, Reload: d.reload, Put: d.putSource, Content: d.sourceContent, Sources: d.loader.Sources, Unused: d.loader.Unused, Loaded: d.loader.Loaded(), Sections: new(vlanstore.Sections),
		}),
		Log: d.log,
		Limits: line.Limits{
			Conns: conf.Control.Connections, Line: int(conf.Control.Line), Idle: conf.Control.Idle,
		},
		Gate:  &access.Gate{Log: d.log, Token: d.tokens.Caller, Roles: &d.roles},
		Meter: d.gauger,
	}
	pages, err := d.panel(conf.BasePath)
	if err != nil {
		return err
	}
	d.web = &web.Server{
		Panel:    pages,
		Registry: d.server.Registry, Log: d.log, Gate: d.server.Gate, Base: conf.BasePath, Hosts: conf.HTTPHosts, Front: d.front(conf), Version: version(), Ready: d.ready,
		Keys: d.keys, Routes: d.route,
		Description: docs.OpenAPI(), Reference: docs.Reference(),
		Metrics: d.gauger.Handler(), Meter: d.gauger,
	}
	return nil
}

// supervise makes a supervisor. If there is a spawner, that does what needs root's rights.
func (d *daemon) supervise(c supervisor.Config) (*supervisor.Supervisor, error) {
	if d.host.spawn != "" {
		client, err := spawn.NewClient(d.host.spawn, c)
		if err != nil {
			return nil, err
		}
		c.Privileged = client
	}
	return supervisor.New(c)
}

// panel makes the web panel. The key of its sessions is beside the state, so that they outlive the daemon.
func (d *daemon) panel(base string) (*panel.Panel, error) {
	key, err := panel.Key(filepath.Join(d.dirs.State, "panel.key"))
	if err != nil {
		return nil, fmt.Errorf("the key of the panel's sessions: %w", err)
	}
	return panel.New(panel.Config{Registry: d.server.Registry, Log: d.log, Base: base, Key: key})
}

// ready returns why the daemon cannot do its work now. Anybody may know it, so it names no files.
func (d *daemon) ready(ctx context.Context) error {
	select {
	case <-d.loader.Loaded():
	default:
		return fmt.Errorf("the sources are being read for the first time: %w", fault.Unavailable)
	}
	unread, err := d.loader.Unread(ctx)
	if err == nil && unread {
		err = fmt.Errorf("a source of reservations was never read; atctl status says which, and why: %w", fault.Unavailable)
	}
	return err
}

func (d *daemon) status(out *control.StatusOut) {
	out.Version, out.PID = version(), os.Getpid()
	out.StateDir, out.RuntimeDir = d.dirs.State, d.dirs.Runtime
	out.User = d.users.own().Name
	out.Attention = append(out.Attention, diskNeeds(d.dirs.State)...)
}
