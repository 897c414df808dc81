package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"

	"activationd/internal/fault"
)

// options are what the command line says.
type options struct {
	config, stateDir, runtimeDir, atwrap string
	listen                               []string
	checkConfig, drain, version, help    bool
}

// flagSet returns the flags, which set o.
func (o *options) flagSet() *flag.FlagSet {
	fs := flag.NewFlagSet("activationd", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // help is our own, and main prints errors
	fs.StringVar(&o.config, "config", "", "")
	fs.StringVar(&o.stateDir, "state-dir", "", "")
	fs.StringVar(&o.runtimeDir, "runtime-dir", "", "")
	fs.StringVar(&o.atwrap, "atwrap", "", "")
	fs.Func("listen", "", func(s string) error {
		o.listen = append(o.listen, s)
		return nil
	})
	fs.BoolVar(&o.checkConfig, "check-config", false, "")
	fs.BoolVar(&o.drain, "drain", false, "")
	fs.BoolVar(&o.version, "version", false, "")
	return fs
}

// parseFlags reads the command line. Its paths come out absolute, but that of
// the configuration, which messages name as it was given.
func parseFlags(args []string) (*options, error) {
	var o options
	fs := o.flagSet()
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		o.help = true
		return &o, nil
	case err != nil:
		return nil, fmt.Errorf("%w (activationd --help lists them): %w", err, fault.Invalid)
	case fs.NArg() > 0:
		return nil, fmt.Errorf("there is no argument %q, only flags (activationd --help lists them): %w", fs.Arg(0), fault.Invalid)
	}
	for _, name := range []string{"config", "state-dir", "runtime-dir", "atwrap"} {
		if f := fs.Lookup(name); f.Value.String() == "" && isSet(fs, name) {
			return nil, fmt.Errorf("--%s: must not be empty: %w", name, fault.Invalid)
		}
	}
	for _, path := range []*string{&o.stateDir, &o.runtimeDir, &o.atwrap} {
		if *path != "" {
			if *path, err = filepath.Abs(*path); err != nil {
				return nil, fmt.Errorf("the working directory: %w", err)
			}
		}
	}
	return &o, nil
}

func isSet(fs *flag.FlagSet, name string) (set bool) {
	fs.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}

const help = `activationd activates reservations on time, runs jobs, and leaves nothing behind.

Usage:
  activationd [flags]

It stays in the foreground and logs to standard error. It needs no configuration file and
no root: then jobs run as you. Talk to it with atctl.

Flags:
  --config FILE       read FILE. Default, where it exists: /etc/activationd/activationd.yaml
                      as root, otherwise $XDG_CONFIG_HOME/activationd/activationd.yaml
                      (~/.config where that is not set)
  --state-dir DIR     keep state and logs in DIR. Default: $STATE_DIRECTORY (systemd sets it);
                      /var/lib/activationd as root, otherwise $XDG_STATE_HOME/activationd
                      (~/.local/state where that is not set)
  --runtime-dir DIR   keep the control socket, control.sock, in DIR. Default:
                      $RUNTIME_DIRECTORY; /run/activationd as root, otherwise
                      $XDG_RUNTIME_DIR/activationd or /tmp/activationd-UID
  --listen HOST:PORT  also answer on TCP; may be given more than once. Replaces listen in the
                      configuration file. HOST must be this machine's own, such as 127.0.0.1:
                      what others can reach needs TLS, which only the file can set
  --atwrap FILE       the wrapper's program. Default: atwrap beside activationd, in
                      /usr/local/libexec/activationd or /usr/lib/activationd, or in PATH
  --drain             when asked to stop, start nothing more, wait for what runs, then stop.
                      Asked again, stop at once
  --check-config      check the configuration file, say everything that is wrong, and exit
  --version           print the version and exit
  --help              print this and exit

Signals:
  TERM, INT   stop. What runs goes on without the daemon, and the next one finds it again;
              nothing is lost and nothing runs twice. With --drain: see above
  USR2        drain: start nothing more, wait for what runs, then stop
  HUP, USR1   reload: read the configuration and the sources again

Exit status:
  0  stopped as asked, or the configuration is good
  1  cannot start or go on; the message says why
  2  the command line or the configuration is wrong, or the state file is damaged: to start
     it again is of no use before that is put right
`
