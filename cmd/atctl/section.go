package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"activationd/control"
	"activationd/internal/fault"
)

// sectionGrace is the time between TERM and KILL for the command. The daemon, which began
// to count earlier, lets no other command in for the same time after that.
const sectionGrace = 5 * time.Second

// A sectionOptions has the flags of the section command.
type sectionOptions struct {
	name       string
	wait, hold time.Duration
}

func newSectionCommand(a *app) *cobra.Command {
	var opts sectionOptions
	cmd := &cobra.Command{
		Use:   "section [flags] [--] COMMAND [ARG]...",
		Short: "Run a command while no other runs in the same section",
		Long: `Section waits until no other command runs in the section NAME, and then runs COMMAND in it.
The commands may run on different machines. They enter in the order of their requests.

The connection to the daemon holds the section: if this program dies, COMMAND is killed and
the next command enters. If the connection breaks, COMMAND is ended, too, because it might
no longer be alone. Section exits with the status of COMMAND, with 128 plus the number of
the signal that ended it, or with
  124  COMMAND was ended because it took longer than --hold
  125  the section was not free within --wait, could not be entered, or was lost
  126  COMMAND could not be run
  127  COMMAND was not found
In these cases it prints the reason on standard error. To end COMMAND, section sends TERM,
and KILL 5 seconds later, to its process group; at a terminal, to COMMAND alone.`,
		Args: func(cmd *cobra.Command, args []string) error {
			return noStatus(takes(1, 0, "a command")(cmd, args))
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return runSection(cmd.Context(), a, opts, args)
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return noStatus(usage(cmd, err.Error()))
	})
	f := cmd.Flags()
	f.SetInterspersed(false) // flags after the command belong to the command
	f.StringVar(&opts.name, "name", "vlan", "the `NAME` of the section")
	durationVar(f, &opts.wait, "wait", 30*time.Second, "wait for the section at most `TIME`")
	durationVar(f, &opts.hold, "hold", time.Minute, "stay in the section at most `TIME`")
	return cmd
}

func newSectionsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "sections",
		Short: "Show who is inside each section, and who waits for it",
		Long:  `Sections shows for each section who is inside, and then who waits for it, in the order in which they will enter.`,
		Args:  none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.json {
				return a.printJSON(cmd.Context(), "vlan sections", nil)
			}
			t := newTable(os.Stdout, column{"SECTION", 0}, column{"STATE", 0}, column{"WHO", 0}, column{"SINCE", 0})
			var err error
			if t.times, err = a.clock(cmd.Context()); err != nil {
				return err
			}
			err = stream(cmd.Context(), a, "vlan sections", nil, func(v control.SectionVisit) error {
				return t.row(v.Name, v.What, v.Who, v.Since)
			})
			return t.end(err)
		},
	}
}

func runSection(ctx context.Context, a *app, opts sectionOptions, argv []string) error {
	path, err := exec.LookPath(argv[0])
	if err != nil { // before others have to wait
		return cannotRun(err)
	}
	if opts.wait < 0 || opts.hold <= 0 {
		return noStatus(fmt.Errorf("--wait and --hold must be durations such as 30s, and not negative: %w", fault.Invalid))
	}
	c, err := a.client()
	if err != nil {
		return noStatus(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn := watchDial(c)
	r, err := c.Do(ctx, "vlan section", control.SectionIn{
		Name: opts.name, Wait: wireTime(opts.wait), Hold: wireTime(opts.hold + 2*sectionGrace),
	})
	if err != nil {
		return noStatus(err)
	}
	inside := make(chan struct{})
	lost := make(chan error, 1)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		lost <- watchSection(r, inside)
	}()
	defer func() { // only one goroutine may use the reply at a time
		cancel()
		<-watched
		_ = r.Close()
	}()
	select {
	case err := <-lost:
		return noStatus(err)
	case <-inside:
	}
	held, err := inheritable(*conn)
	if err != nil {
		return noStatus(err)
	}
	defer held.end()
	return guarded(path, argv, opts.hold, lost, held.file)
}

// watchDial returns a variable in which the connection of c will be.
func watchDial(c *control.Client) *net.Conn {
	conn, dial := new(net.Conn), c.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		made, err := dial(ctx, network, address)
		*conn = made
		return made, err
	}
	return conn
}

// A heldConn is a copy of the connection that the command and all its children inherit. If
// this program is killed, the daemon sees the connection open until the last of them has
// ended, and the section lasts until then.
type heldConn struct {
	file *os.File
	fd   int
}

// inheritable copies a connection for the command. If the connection is not a plain socket,
// there is no copy.
func inheritable(conn net.Conn) (h heldConn, err error) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return h, nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return h, err
	}
	var dupErr error
	err = raw.Control(func(fd uintptr) { h.fd, dupErr = syscall.Dup(int(fd)) })
	if err = errors.Join(err, dupErr); err == nil {
		syscall.CloseOnExec(h.fd)
		h.file = os.NewFile(uintptr(h.fd), "section")
	}
	return h, err
}

// end ends the section, even if other processes have the connection.
func (h heldConn) end() {
	if h.file != nil {
		_ = syscall.Shutdown(h.fd, syscall.SHUT_RDWR) // fails if the daemon has closed it already
		_ = h.file.Close()
	}
}

// wireTime returns a duration in the form that the daemon reads.
func wireTime(d time.Duration) string {
	if d < time.Second {
		d = d.Round(time.Millisecond)
	}
	return d.String()
}

// watchSection closes inside when the section was entered. It returns why the section was
// not entered, or why it has ended.
func watchSection(r *control.Response, inside chan<- struct{}) error {
	for line, err := range r.Lines() {
		if err != nil {
			return err
		}
		var l control.SectionLine
		if err := json.Unmarshal(line, &l); err != nil {
			return fmt.Errorf("the daemon's reply %.80q: %w", line, err)
		}
		if l.What == "inside" {
			close(inside)
		}
	}
	if err := r.Err(); err != nil {
		return err
	}
	return fmt.Errorf("the daemon has ended the section: %w", fault.Unavailable)
}

// guarded runs a command until it ends, until hold has passed, or until lost says that the
// section has ended.
func guarded(path string, argv []string, hold time.Duration, lost <-chan error, held *os.File) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM)
	defer signal.Stop(signals)
	cmd := &exec.Cmd{
		Path: path, Args: argv, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		// If this program is killed, the command must not run on outside the section.
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: !isTerminal(os.Stdin)},
	}
	if held != nil {
		cmd.ExtraFiles = []*os.File{held}
	}
	runtime.LockOSThread() // Pdeathsig acts when the thread ends, not the process
	if err := cmd.Start(); err != nil {
		return cannotRun(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // ProcessState has the result
		close(ended)
	}()
	send := func(s syscall.Signal) {
		pid := cmd.Process.Pid
		if cmd.SysProcAttr.Setpgid {
			pid = -pid
		}
		_ = syscall.Kill(pid, s) // fails if it has ended
	}
	over := time.NewTimer(hold)
	var kill <-chan time.Time
	var verdict error
	end := func(err error) {
		verdict, lost = err, nil
		over.Stop()
		kill = time.After(sectionGrace)
		send(syscall.SIGTERM)
	}
	for {
		select {
		case <-ended:
			if verdict != nil {
				if cmd.SysProcAttr.Setpgid {
					send(syscall.SIGKILL) // the rest of its process group
				}
				return verdict
			}
			return statusOf(cmd.ProcessState)
		case s := <-signals:
			if s, ok := s.(syscall.Signal); ok {
				send(s)
			}
		case <-over.C:
			end(fmt.Errorf("%w%s was ended because it held the section for %v", quietStatus(exitTimeout), argv[0], hold))
		case err := <-lost:
			end(noStatus(fmt.Errorf("the section was lost, so %s was ended: %w", argv[0], err)))
		case <-kill:
			send(syscall.SIGKILL)
		}
	}
}

func cannotRun(err error) error {
	status := quietStatus(126)
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		status = 127
	}
	return fmt.Errorf("%w%w", status, err)
}

// statusOf returns the exit status with which this program repeats the end of another.
func statusOf(p *os.ProcessState) error {
	ws, ok := p.Sys().(syscall.WaitStatus)
	switch {
	case p.Success():
		return nil
	case ok && ws.Signaled():
		return quietStatus(128 + int(ws.Signal()))
	}
	return quietStatus(p.ExitCode())
}
