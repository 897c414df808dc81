// Command activationd-spawn starts runs as other users for a daemon that is an ordinary user. It runs as root, and
// does what its rules permit. See package spawn.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"activationd/internal/fault"
	"activationd/internal/programs"
	"activationd/supervisor/spawn"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "activationd-spawn:", fault.Text(err))
		if fault.Of(err) == fault.Invalid {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

func run() error {
	rulesFile := flag.String("rules", "/etc/activationd/spawn.yaml", "what it does, and for whom: a `file` of root's")
	socket := flag.String("socket", "", "listen at a Unix socket at this `path`; without it, systemd passes one")
	atwrap := flag.String("atwrap", "", "the wrapper's `program`; without it, the one beside this program, in ../libexec/activationd or in PATH")
	check := flag.Bool("check", false, "check the rules, and exit")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("there is no argument %q, only flags: %w", flag.Arg(0), fault.Invalid)
	}
	rules, err := spawn.ReadRules(*rulesFile)
	if err != nil || *check {
		return err
	}
	if os.Geteuid() != 0 || os.Getuid() != 0 {
		return errors.New("it must be started as root")
	}
	if *atwrap == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		if *atwrap, err = programs.Find("atwrap", self, os.Getenv("PATH")); err != nil {
			return err
		}
	}
	if *atwrap, err = filepath.Abs(*atwrap); err != nil {
		return err
	}
	listener, err := listen(*socket, rules)
	if err != nil {
		return err
	}
	unix.Umask(0o077)
	server, err := spawn.NewServer(rules, *atwrap, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		return err
	}
	return server.Serve(listener)
}

// listen returns the socket that systemd has passed, as sd_listen_fds(3) has it, or makes one.
func listen(path string, rules *spawn.Rules) (fd int, err error) {
	if path != "" {
		uid, err := rules.DaemonUID()
		if err != nil {
			return -1, err
		}
		return spawn.Listen(path, uid)
	}
	const first = 3
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) || os.Getenv("LISTEN_FDS") != "1" {
		return -1, fmt.Errorf("systemd has passed no socket: name one with --socket: %w", fault.Invalid)
	}
	kind, err := unix.GetsockoptInt(first, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_SEQPACKET {
		return -1, fmt.Errorf("the socket that systemd has passed is none of ListenSequentialPacket=: %w", errors.Join(err, fault.Invalid))
	}
	unix.CloseOnExec(first)
	return first, nil
}
