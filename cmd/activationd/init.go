package main

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"activationd/internal/early"
)

// initPID is the process that the kernel gives the orphans of a PID namespace, as a container is
// one, and with whose end it kills the others.
const initPID = 1

// runInit is the program as process 1. It starts the daemon as another process, passes signals on
// to it, and reaps the orphans that the kernel leaves to process 1. When the daemon ends, it returns
// the daemon's exit status.
//
// The daemon does not reap orphans itself, because it has children of its own. Wait takes these one
// by one, and whoever looks for a child that nobody waits for, finds such a one first as well: it
// would take its status away from the code that waits for it.
func runInit(argv []string) (status int, err error) {
	signals, children := early.Signals(), make(chan os.Signal, 1) // one token stands for any number of children
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT)
	signal.Notify(children, syscall.SIGCHLD)
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	daemon, err := os.StartProcess(self, argv, &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		// A terminal's Ctrl-C comes to us alone, so the daemon gets it once: the second one would kill it.
		Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return 0, err
	}
	for {
		select {
		case sig := <-signals:
			_ = daemon.Signal(sig) // fails if the daemon has just ended
		case <-children:
			if status, ended := reap(daemon.Pid); ended {
				return status, nil
			}
		}
	}
}

// reap reaps all children that have ended. If the daemon is one of them, it returns the daemon's exit
// status, in the way of shells if a signal has killed it.
func reap(daemon int) (status int, ended bool) {
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil || pid == 0:
			return status, ended
		case pid == daemon && ws.Signaled():
			status, ended = 128+int(ws.Signal()), true
			fmt.Fprintln(os.Stderr, "activationd: the daemon was killed:", ws.Signal())
		case pid == daemon:
			status, ended = ws.ExitStatus(), true
		}
	}
}

// underInit reports whether process 1 is runInit of this program. With another process 1, such as systemd or
// the init that a container's manager adds, the daemon does not know what ends with it.
func underInit(self string) bool {
	if os.Getppid() != initPID {
		return false
	}
	own, err := os.Stat(self)
	if err != nil {
		return false
	}
	init, err := os.Stat("/proc/1/exe") // fails if process 1 is another user's, as systemd may be
	return err == nil && os.SameFile(own, init)
}

// takeOver makes what systemd or a container's manager has handed to process 1 the daemon's: sockets
// and the watchdog are for the process that these variables name.
func takeOver() error {
	if os.Getppid() != initPID {
		return nil
	}
	for _, name := range []string{"LISTEN_PID", "WATCHDOG_PID"} {
		if os.Getenv(name) != strconv.Itoa(initPID) {
			continue
		}
		if err := os.Setenv(name, strconv.Itoa(os.Getpid())); err != nil {
			return err
		}
	}
	return nil
}
