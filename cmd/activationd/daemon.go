package main

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"activationd/activation"
	"activationd/activation/announce"
	"activationd/activation/recurring"
	"activationd/activation/service"
	"activationd/activation/service/discover"
	"activationd/control"
	"activationd/control/access"
	"activationd/control/line"
	"activationd/control/ops"
	"activationd/hook"
	"activationd/schedule"
	"activationd/store"
	"activationd/supervisor"
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
	timer      *schedule.Timer
	runs       *supervisor.Supervisor
	engine     *activation.Engine
	loader     *announce.Loader
	book       *recurring.Book
	roster     *service.Roster
	discovered *discover.Watcher
	warned     map[string]bool // the warnings about .env files that are in the log
	server     *line.Server
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
func (d *daemon) assemble(db store.Backend, socket string) (err error) {
	conf := d.started
	d.db, d.current, d.socket, d.stop = db, conf, socket, make(chan bool, 1)
	d.users = identities{uid: d.host.uid}
	if d.timer, err = schedule.NewTimer(); err != nil {
		return err
	}
	guard := conf.Runs.Guard
	if guard == "auto" {
		guard = ""
	}
	d.runs, err = supervisor.New(supervisor.Config{
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
	if err := d.dirs.makeDeviceLocks(scriptUsers(&d.inForce.Settings)); err != nil {
		return err
	}
	name, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("the name of this machine: %w", err)
	}
	d.engine = activation.New(activation.Parts{
		DB: db, Host: name, Runs: d.runs, Alarm: d.timer, Boot: strings.TrimSpace(string(boot)), Nodes: topology.Devices,
		User: d.users.now, Missing: d.runs.Missing, Trust: d.host.runsTrusted, LoadAverage: loadAverage, Log: d.log,
	}, d.inForce.Settings)
	d.book = recurring.New(d.engine)
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
	d.server = &line.Server{
		Registry: ops.Registry(ops.Daemon{
			BackupQueues: d.queues.backup(), QueueStore: conf.Queues.Store,
			Engine: d.engine, Recurrences: d.book, Services: d.roster, Queues: d.queues, Pools: d.queues.pools, Declared: d.declared, Places: d.places, Identity: d.users.of, Topology: d.topology, Backup: db.Backup,
			MayAt: d.mayAt, User: userName, Stop: d.askStop, Status: d.status, Hooks: d.hookNeeds, Reload: d.reload, Sources: d.loader.Sources, Unused: d.loader.Unused, Loaded: d.loader.Loaded(), Sections: new(vlanstore.Sections),
		}),
		Log: d.log,
		Limits: line.Limits{
			Conns: conf.Control.Connections, Line: int(conf.Control.Line), Idle: conf.Control.Idle,
		},
		Gate: &access.Gate{Log: d.log, Token: d.tokens.Caller, Roles: &d.roles},
	}
	return nil
}

func (d *daemon) status(out *control.StatusOut) {
	out.Version, out.PID = version(), os.Getpid()
	out.StateDir, out.RuntimeDir = d.dirs.State, d.dirs.Runtime
	out.User = d.users.own().Name
	out.Attention = append(out.Attention, diskNeeds(d.dirs.State)...)
}
