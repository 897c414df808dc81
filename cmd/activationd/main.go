package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/journal"

	"activationd/docs"
	"activationd/internal/early"
	"activationd/internal/fault"
)

func main() {
	var err error
	if os.Getpid() == initPID {
		var status int
		if status, err = runInit(os.Args); err == nil {
			os.Exit(status)
		}
	} else {
		err = run(os.Args[1:], os.Stdout)
	}
	if err != nil {
		kind := fault.Of(err)
		for line := range strings.SplitSeq(fault.Text(err), "\n") { // a configuration's faults, one each
			fmt.Fprintln(os.Stderr, "activationd:", line)
		}
		if kind == fault.Invalid || kind == fault.NotFound {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

// run is the program. Everything that runs in it is started here or in serve,
// by name, and has ended when it returns.
func run(args []string, stdout io.Writer) error {
	if os.Getuid() != os.Geteuid() || os.Getgid() != os.Getegid() {
		return errors.New("must not be set-uid or set-gid: it runs what its callers tell it to")
	}
	opts, err := parseFlags(args)
	if err != nil {
		return err
	}
	if opts.help || opts.version || opts.checkConfig || opts.schema != "" {
		early.Release()
	}
	switch {
	case opts.help:
		_, err = io.WriteString(stdout, help)
		return err
	case opts.version:
		_, err = fmt.Fprintln(stdout, "activationd", version())
		return err
	case opts.schema != "":
		schema := docs.Schema(opts.schema)
		if schema == nil {
			return fmt.Errorf("--schema: want config or reservations, have %q: %w", opts.schema, fault.Invalid)
		}
		_, err = stdout.Write(schema)
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	h := &host{uid: os.Getuid(), getenv: os.Getenv, executable: self, spawn: opts.spawn, contained: underInit(self)}
	if opts.checkConfig {
		return checkConfig(stdout, opts, h)
	}
	return start(opts, h)
}

// heapFloor is how much may be allocated, in bytes, before garbage is collected, however small the heap is.
// Go's own least value is 4 MiB, which 500 submissions allocate.
const heapFloor = 8 << 20

// start gets everything ready, and serves until the daemon is asked to stop.
func start(opts *options, h *host) error {
	// Garbage is collected when the heap has doubled. This counts as a part of it, but takes no memory, because
	// nothing touches it.
	floor := make([]byte, heapFloor)
	defer runtime.KeepAlive(floor)
	dirs, err := chooseDirs(opts, h)
	if err != nil {
		return err
	}
	conf, notices, err := loadConfig(opts, h, dirs)
	if err != nil {
		return err
	}
	onJournal, journalErr := journal.StderrIsJournalStream()
	level := new(slog.LevelVar)
	level.Set(conf.Logging.Level)
	log := newLogger(os.Stderr, conf.Logging.Format, level, onJournal)
	if journalErr != nil {
		notices = append(notices, journalErr.Error())
	}
	if tz := os.Getenv("TZ"); tz != "" && time.Local.String() == "UTC" && tz != "UTC" {
		notices = append(notices, "TZ names no known zone, so local times are UTC: "+tz)
	}
	for _, n := range notices {
		log.Warn(n)
	}
	atwrap, err := findAtwrap(opts.atwrap, h)
	if err != nil {
		return err
	}
	if h.spawn != "" {
		if err := dirs.ofSpawner(h.spawn); err != nil {
			return err
		}
	}
	if err := dirs.make(h); err != nil {
		return err
	}
	// Files that the daemon makes from here on are closed to other users,
	// unless it sets another mode.
	syscall.Umask(0o077)
	if err := takeOver(); err != nil {
		return err
	}
	d := &daemon{
		options: opts, host: h, dirs: dirs, atwrap: atwrap, started: conf, log: log, level: level,
		notify:    newNotifier(log, os.Getenv, os.Getpid()),
		signals:   watchSignals(opts.drain),
		inherited: activation.Files(true),
	}
	// What systemd says to the daemon is not for its scripts.
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM"} {
		if err := os.Unsetenv(name); err != nil {
			return err
		}
	}
	err = together(context.Background(),
		func(ctx context.Context) error { return d.signals.run(ctx, log, h.fate()) },
		func(ctx context.Context) error {
			err := d.serve(ctx)
			switch {
			case err == nil:
				return errStopped
			case ctx.Err() != nil && !errors.Is(err, context.Cause(ctx)):
				log.Error("while stopping", "err", err) // together returns the first error
			}
			return err
		},
	)
	if errors.Is(err, errStopped) {
		return nil
	}
	return err
}

// together runs tasks until the first returns, cancels the others, waits for
// them all, and returns the first one's error.
func together(ctx context.Context, tasks ...func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, task := range tasks {
		wg.Go(func() { cancel(task(ctx)) })
	}
	wg.Wait()
	return context.Cause(ctx)
}

// buildVersion is set by the linker (make build): the build knows the version
// control's state, the program does not.
var buildVersion string

// revision returns the commit that the program was built from, or "unknown".
func revision() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return "unknown"
}

// version returns the version that the build has set, or else that of the
// module, if the compiler recorded it.
func version() string {
	if buildVersion != "" {
		return buildVersion
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
