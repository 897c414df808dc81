package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"activationd/internal/fault"
)

// options are what the command line says.
type options struct {
	config, stateDir, runtimeDir, atwrap, spawn string
	listen                                      []string
	checkConfig, drain, version, help           bool

	strict bool
	sql    bool // check the reservations of databases, too
	schema string
	files  []string // to check
}

// flagSet returns the flags, which set o.
func (o *options) flagSet() *flag.FlagSet {
	fs := flag.NewFlagSet("activationd", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // help is our own, and main prints errors
	fs.StringVar(&o.config, "config", "", "")
	fs.StringVar(&o.stateDir, "state-dir", "", "")
	fs.StringVar(&o.runtimeDir, "runtime-dir", "", "")
	fs.StringVar(&o.atwrap, "atwrap", "", "")
	fs.StringVar(&o.spawn, "spawn", "", "")
	fs.Func("listen", "", func(s string) error {
		o.listen = append(o.listen, s)
		return nil
	})
	fs.BoolFunc("check-config", "", func(s string) error {
		o.checkConfig = true
		if s != "true" { // --check-config=FILE
			o.files = append(o.files, s)
		}
		return nil
	})
	fs.BoolVar(&o.strict, "strict", false, "")
	fs.BoolVar(&o.sql, "sql", false, "")
	fs.StringVar(&o.schema, "schema", "", "")
	fs.BoolVar(&o.drain, "drain", false, "")
	fs.BoolVar(&o.version, "version", false, "")
	return fs
}

// parseFlags reads the command line. It makes the paths absolute, except that
// of the configuration, because messages name that file as it was given.
func parseFlags(args []string) (*options, error) {
	var o options
	fs := o.flagSet()
	err := fs.Parse(args)
	var files []string
	for err == nil && fs.NArg() > 0 { // flags may follow them
		files = append(files, fs.Arg(0))
		err = fs.Parse(fs.Args()[1:])
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		o.help = true
		return &o, nil
	case err != nil:
		return nil, fmt.Errorf("%s (activationd --help lists all flags): %w", flagText(err), fault.Invalid)
	case o.checkConfig:
		o.files = append(o.files, files...)
	case o.strict, o.sql:
		return nil, fmt.Errorf("--strict and --sql are for --check-config: %w", fault.Invalid)
	case len(files) > 0:
		return nil, fmt.Errorf("there is no argument %q, only flags (activationd --help lists them): %w", files[0], fault.Invalid)
	}
	for _, name := range []string{"config", "state-dir", "runtime-dir", "atwrap", "spawn", "schema"} {
		if f := fs.Lookup(name); f.Value.String() == "" && isSet(fs, name) {
			return nil, fmt.Errorf("--%s: must not be empty: %w", name, fault.Invalid)
		}
	}
	for _, path := range []*string{&o.stateDir, &o.runtimeDir, &o.atwrap, &o.spawn} {
		if *path != "" {
			if *path, err = filepath.Abs(*path); err != nil {
				return nil, fmt.Errorf("the working directory: %w", err)
			}
		}
	}
	return &o, nil
}

// flagText says in our own words what package flag, whose errors are texts, has found wrong.
func flagText(err error) string {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		return "there is no flag --" + strings.TrimPrefix(name, "-")
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		return "--" + name + " needs a value"
	}
	if word, ok := strings.CutPrefix(text, "bad flag syntax: "); ok {
		return word + " is not a flag"
	}
	if rest, ok := strings.CutPrefix(text, "invalid boolean value "); ok {
		value, after, _ := strings.Cut(rest, " for -")
		name, _, _ := strings.Cut(after, ":")
		return fmt.Sprintf("--%s: %s is neither true nor false", name, value)
	}
	return text
}

func isSet(fs *flag.FlagSet, name string) (set bool) {
	fs.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}

const help = `activationd activates reservations on time, runs jobs, and leaves nothing
behind.

Usage:
  activationd [flags]
  activationd --check-config [--sql] [--strict] [FILE]...
  activationd --schema config|reservations

activationd stays in the foreground and logs to standard error. It needs neither
a configuration file nor root; without root, jobs run as you. Use atctl to talk
to it.

Flags:
  --config FILE       read the configuration from FILE, which must exist.
                      Default, if it exists: as root
                      /etc/activationd/activationd.yaml, otherwise
                      $XDG_CONFIG_HOME/activationd/activationd.yaml (without
                      that variable, ~/.config/activationd/activationd.yaml)
  --state-dir DIR     keep state and logs in DIR. Default: $STATE_DIRECTORY
                      (systemd sets it); as root /var/lib/activationd,
                      otherwise $XDG_STATE_HOME/activationd (without that
                      variable, ~/.local/state/activationd)
  --runtime-dir DIR   keep the control socket, control.sock, in DIR. Default:
                      $RUNTIME_DIRECTORY; as root /run/activationd, otherwise
                      $XDG_RUNTIME_DIR/activationd or /tmp/activationd-UID
  --listen HOST:PORT  also answer on TCP; may be given more than once. Replaces
                      listen in the configuration file. HOST must be local, such
                      as 127.0.0.1: an address that other machines can reach
                      needs TLS, which only the file can set
  --atwrap FILE       the wrapper's program. Default: atwrap beside activationd,
                      in ../libexec/activationd from there, or in PATH
  --spawn SOCKET      have scripts started by activationd-spawn, which is root's
                      and listens there: the daemon needs no rights of root
  --drain             when asked to stop, start nothing more, wait until all
                      running scripts have ended, then stop. When asked again,
                      stop at once
  --check-config      check the configuration, and the reservations of its
                      sources that are files, report all faults, and exit.
                      FILE is the configuration, or a file or a directory with
                      reservations, which is then checked in place of the
                      sources. Reservations that conflict are notices
  --sql               with --check-config: check the sources that are databases,
                      too
  --strict            with --check-config: notices are faults, too
  --schema NAME       print the JSON Schema of the configuration (config) or of
                      a file of reservations (reservations), and exit
  --version           print the version and exit
  --help              print this and exit

Signals:
  TERM, INT   stop. Running scripts go on without the daemon, and the next
              daemon takes them over; nothing is lost and nothing runs twice.
              With --drain: see above
  USR2        drain: start nothing more, wait until all running scripts have
              ended, then stop
  HUP, USR1   reload: read the configuration and the sources again

Exit status:
  0  stopped as asked, or nothing is wrong with what was checked
  1  cannot start or go on; the message says why
  2  the command line or the configuration is wrong, or the state file is
     damaged: starting again does not help until that is fixed
`
