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

// sectionGrace is what a command has between TERM and KILL. The daemon, whose
// clock began earlier, lets nobody else in for as long again.
const sectionGrace = 5 * time.Second

// A sectionOptions is what the section command is told.
type sectionOptions struct {
	name       string
	wait, hold time.Duration
}

func newSectionCommand(a *app) *cobra.Command {
	var opts sectionOptions
	cmd := &cobra.Command{
		Use:   "section [--name NAME] [--wait 30s] [--hold 60s] -- COMMAND [ARG...]",
		Short: "Run a command that nobody else runs at the same time",
		Long: `Section waits until nobody else is in the section NAME, and runs COMMAND in it, on
whatever machine the others are. They come in in the order in which they asked.

The section is held by the connection to the daemon: if this program dies, COMMAND is
killed and the next one comes in. If the daemon goes away, COMMAND is ended, too: it
would be alone no more. Section exits as COMMAND did, with 128 plus the number of the
signal that ended it, or with
  124  COMMAND was ended because it took longer than --hold
  125  the section was not free within --wait, or could not be had, or was lost
  126  COMMAND could not be run
  127  COMMAND was not found
and for these says why on standard error. What is ended gets TERM, and KILL 5 seconds
later, with its process group; at a terminal, COMMAND alone.`,
		Args: func(cmd *cobra.Command, args []string) error {
			return notKnown(wants(1, 0, "a command")(cmd, args))
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return runSection(cmd.Context(), a, opts, args)
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return notKnown(usage(cmd, err.Error()))
	})
	f := cmd.Flags()
	f.SetInterspersed(false) // what follows the command is its own
	f.StringVar(&opts.name, "name", "vlan", "the section's `NAME`")
	durationVar(f, &opts.wait, "wait", 30*time.Second, "wait for it no longer than `TIME`")
	durationVar(f, &opts.hold, "hold", time.Minute, "hold it no longer than `TIME`")
	return cmd
}

func newSectionsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "sections",
		Short: "Show who is in which section, and who waits",
		Long:  `Sections shows who is in which section, and then who waits for it, in the order in which they will come in.`,
		Args:  none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.json {
				return a.printJSON(cmd.Context(), "vlan sections", nil)
			}
			t := newTable(os.Stdout, column{"SECTION", 0}, column{"STATE", 0}, column{"WHO", 0}, column{"SINCE", 0})
			now := time.Now()
			err := stream(cmd.Context(), a, "vlan sections", nil, func(v control.SectionVisit) error {
				return t.row(v.Name, v.What, v.Who, instant(v.Since, now))
			})
			return errors.Join(err, t.flush())
		},
	}
}

func runSection(ctx context.Context, a *app, opts sectionOptions, argv []string) error {
	path, err := exec.LookPath(argv[0])
	if err != nil { // before anybody has to wait for it
		return cannotRun(err)
	}
	if opts.wait < 0 || opts.hold <= 0 {
		return notKnown(fmt.Errorf("--wait and --hold want a time as 30s, which is not negative: %w", fault.Invalid))
	}
	c, err := a.client()
	if err != nil {
		return notKnown(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn := watchDial(c)
	r, err := c.Do(ctx, "vlan section", control.SectionIn{
		Name: opts.name, Wait: wireTime(opts.wait), Hold: wireTime(opts.hold + 2*sectionGrace),
	})
	if err != nil {
		return notKnown(err)
	}
	inside := make(chan struct{})
	lost := make(chan error, 1)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		lost <- watchSection(r, inside)
	}()
	defer func() { // a reply is for one goroutine at a time
		cancel()
		<-watched
		_ = r.Close()
	}()
	select {
	case err := <-lost:
		return notKnown(err)
	case <-inside:
	}
	held, err := heirloom(*conn)
	if err != nil {
		return notKnown(err)
	}
	defer held.end()
	return guarded(path, argv, opts.hold, lost, held.file)
}

// watchDial returns where the connection that c makes will be.
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

// A heldConn is a connection that the command has, too, and all that it starts. So
// when this program is killed the section is over when the last of them is gone, and
// not before: until then the daemon sees it open.
type heldConn struct {
	file *os.File
	fd   int
}

// heirloom makes a copy of a connection for the command to inherit. Of one that is no
// plain socket there is none.
func heirloom(conn net.Conn) (h heldConn, err error) {
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

// end ends the section, whoever has the connection.
func (h heldConn) end() {
	if h.file != nil {
		_ = syscall.Shutdown(h.fd, syscall.SHUT_RDWR) // the daemon may have been first
		_ = h.file.Close()
	}
}

// wireTime is a duration as the daemon reads it.
func wireTime(d time.Duration) string {
	if d < time.Second {
		d = d.Round(time.Millisecond)
	}
	return d.String()
}

// watchSection closes inside when the section was entered, and returns why it
// was not, or is no more.
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

// guarded runs a command until it ends, has been there for hold, or lost says
// that it is not alone any more.
func guarded(path string, argv []string, hold time.Duration, lost <-chan error, held *os.File) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM)
	defer signal.Stop(signals)
	cmd := &exec.Cmd{
		Path: path, Args: argv, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		// If this program is killed it must not be thought that the command is alone.
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: !isTerminal(os.Stdin)},
	}
	if held != nil {
		cmd.ExtraFiles = []*os.File{held}
	}
	runtime.LockOSThread() // the kernel looks at the thread's death, not at the process's
	if err := cmd.Start(); err != nil {
		return cannotRun(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended is in its state
		close(ended)
	}()
	send := func(s syscall.Signal) {
		pid := cmd.Process.Pid
		if cmd.SysProcAttr.Setpgid {
			pid = -pid
		}
		_ = syscall.Kill(pid, s) // that it has ended is seen elsewhere
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
					send(syscall.SIGKILL) // what is left of its group
				}
				return verdict
			}
			return statusOf(cmd.ProcessState)
		case s := <-signals:
			if s, ok := s.(syscall.Signal); ok {
				send(s)
			}
		case <-over.C:
			end(fmt.Errorf("%w%s was ended because it held the section for %v", jobStatus(exitTimeout), argv[0], hold))
		case err := <-lost:
			end(notKnown(fmt.Errorf("the section was lost, so %s was ended: %w", argv[0], err)))
		case <-kill:
			send(syscall.SIGKILL)
		}
	}
}

func cannotRun(err error) error {
	status := jobStatus(126)
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		status = 127
	}
	return fmt.Errorf("%w%w", status, err)
}

// statusOf is the exit status of a program that ends as another did.
func statusOf(p *os.ProcessState) error {
	ws, ok := p.Sys().(syscall.WaitStatus)
	switch {
	case p.Success():
		return nil
	case ok && ws.Signaled():
		return jobStatus(128 + int(ws.Signal()))
	}
	return jobStatus(p.ExitCode())
}
