package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/journal"

	"activationd/internal/early"
	"activationd/internal/fault"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
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
	if opts.help || opts.version || opts.checkConfig {
		early.Release()
	}
	switch {
	case opts.help:
		_, err = io.WriteString(stdout, help)
		return err
	case opts.version:
		_, err = fmt.Fprintln(stdout, "activationd", version())
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	p := &program{options: opts, surroundings: &surroundings{
		uid: os.Getuid(), getenv: os.Getenv, executable: self,
	}}
	if opts.checkConfig {
		return p.check(stdout)
	}
	return p.run()
}

// A program is the command line and its surroundings.
type program struct {
	options      *options
	surroundings *surroundings
	log          *slog.Logger
	level        *slog.LevelVar // of log; a reload may set it
}

// load reads the configuration, at the start and for each reload, and puts
// into it what follows from the directories.
func (p *program) load(dirs *directories) (*Config, []string, error) {
	c, notices, err := loadConfig(p.options, p.surroundings)
	if err != nil {
		return nil, nil, err
	}
	if c.Socket.Path == "" {
		c.Socket.Path = filepath.Join(dirs.Runtime, "control.sock")
	}
	if c.TopologyDirectory == "" {
		c.TopologyDirectory = dirs.Topologies
	}
	return c, notices, nil
}

func (p *program) run() error {
	dirs, err := chooseDirs(p.options, p.surroundings)
	if err != nil {
		return err
	}
	conf, notices, err := p.load(dirs)
	if err != nil {
		return err
	}
	onJournal, journalErr := journal.StderrIsJournalStream()
	p.level = new(slog.LevelVar)
	p.level.Set(conf.Logging.Level)
	p.log = newLogger(os.Stderr, conf.Logging.Format, p.level, onJournal)
	if journalErr != nil {
		notices = append(notices, journalErr.Error())
	}
	if tz := os.Getenv("TZ"); tz != "" && time.Local.String() == "UTC" && tz != "UTC" {
		notices = append(notices, "TZ names no known zone, so local times are UTC: "+tz)
	}
	for _, n := range notices {
		p.log.Warn(n)
	}
	atwrap, err := findAtwrap(p.options.atwrap, p.surroundings)
	if err != nil {
		return err
	}
	if err := dirs.make(p.surroundings.uid); err != nil {
		return err
	}
	// What the daemon makes from here on is nobody else's business, unless it
	// says so itself.
	syscall.Umask(0o077)
	d := &daemon{
		program: p, Config: conf, Dirs: dirs, Atwrap: atwrap,
		Notify:    newNotifier(p.log, os.Getenv, os.Getpid()),
		Inherited: activation.Files(true),
		Signals:   watchSignals(p.options.drain),
	}
	// What systemd says to the daemon is not for its scripts.
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM"} {
		if err := os.Unsetenv(name); err != nil {
			return err
		}
	}
	err = together(context.Background(),
		func(ctx context.Context) error { return d.Signals.run(ctx, p.log) },
		func(ctx context.Context) error {
			err := serve(ctx, d)
			switch {
			case err == nil:
				return errStopped
			case ctx.Err() != nil && !errors.Is(err, context.Cause(ctx)):
				p.log.Error("while stopping", "err", err) // together returns the first error
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

// version is that of the build, or of the module where another build has it in.
func version() string {
	if buildVersion != "" {
		return buildVersion
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
