package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"activationd/control"
)

// Patience is how long anything that is waited for may take before a test gives up.
// It ends tests that hang and judges no speed: the machine may be slow.
const Patience = 10 * time.Minute

// A Daemon is activationd in a directory, where it is started and killed. It reads
// config.yaml there.
type Daemon struct {
	T      *testing.T
	Dir    string
	Bin    string   // where the programs are
	Prefix []string // a command that gets the daemon's as its arguments, such as setpriv
	Args   []string // more flags
	Notify *NotifySocket
	Log    *os.File

	control.Client // of the socket

	mu     sync.Mutex
	newest *Process
}

// A Process is one start of the daemon.
type Process struct {
	Cmd  *exec.Cmd
	Gone chan struct{} // closed when it has exited
	Err  error         // how; set before Gone is closed
}

// Exited reports whether the process has exited.
func (p *Process) Exited() bool {
	select {
	case <-p.Gone:
		return true
	default:
		return false
	}
}

// NewDaemon returns a daemon that has not been started. The caller ends it.
func NewDaemon(t *testing.T, dir, bin string) *Daemon {
	t.Helper()
	d := &Daemon{T: t, Dir: dir, Bin: bin}
	d.Address = dir + "/run/control.sock"
	var err error
	if d.Log, err = os.OpenFile(dir+"/daemon.log", os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600); err != nil {
		t.Fatal(err)
	}
	d.Notify = newNotifySocket(t, dir+"/notify")
	return d
}

// Launch starts the daemon and does not wait until it is ready.
func (d *Daemon) Launch() *Process {
	d.T.Helper()
	p, err := d.TryLaunch()
	if err != nil {
		d.T.Fatal(err)
	}
	return p
}

// TryLaunch is Launch for goroutines that may not end the test.
func (d *Daemon) TryLaunch() (*Process, error) {
	args := slices.Concat(d.Prefix, []string{
		d.Bin + "/activationd", "--config", d.Dir + "/config.yaml", "--state-dir", d.Dir + "/state", "--runtime-dir", d.Dir + "/run",
	}, d.Args)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Stderr = d.Dir, d.Log
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+d.Notify.path, "GORACE=halt_on_error=1")
	d.Notify.drain()
	_ = d.Close() // connections to an earlier daemon
	p := &Process{Cmd: cmd, Gone: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.Err = cmd.Wait()
		close(p.Gone)
	}()
	d.mu.Lock()
	d.newest = p
	d.mu.Unlock()
	return p, nil
}

// Newest returns the newest start of the daemon, nil if there was none.
func (d *Daemon) Newest() *Process {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.newest
}

// Start starts the daemon and waits until it is ready.
func (d *Daemon) Start() *Process {
	d.T.Helper()
	p := d.Launch()
	if err := d.Ready(p); err != nil {
		d.T.Fatal(err)
	}
	return p
}

// Ready waits until a daemon reports that it is ready.
func (d *Daemon) Ready(p *Process) error {
	hang := time.NewTimer(Patience)
	defer hang.Stop()
	for {
		select {
		case s := <-d.Notify.States:
			if strings.Contains(s, "READY=1") {
				return nil
			}
		case <-p.Gone:
			return fmt.Errorf("the daemon ended before it was ready: %v", p.Err)
		case <-hang.C:
			return errors.New("the daemon does not become ready")
		}
	}
}

// AwaitGone waits for the end of a start of the daemon.
func (d *Daemon) AwaitGone(p *Process) {
	d.T.Helper()
	select {
	case <-p.Gone:
	case <-time.After(Patience):
		d.T.Fatalf("the daemon (pid %d) does not end", p.Cmd.Process.Pid)
	}
}

// Kill kills the daemon with SIGKILL and waits until it is gone.
func (d *Daemon) Kill() {
	d.T.Helper()
	p := d.Newest()
	_ = p.Cmd.Process.Kill() // it may have ended
	d.AwaitGone(p)
}

// Logged returns the log.
func (d *Daemon) Logged() string {
	d.T.Helper()
	text, err := os.ReadFile(d.Log.Name())
	if err != nil {
		d.T.Error(err)
	}
	return string(text)
}

// End kills the daemon and closes its log. If the daemon crashed, the test fails; the
// end of the log of a test that failed is shown.
func (d *Daemon) End() {
	if d.Newest() != nil {
		d.Kill()
	}
	text := d.Logged()
	if d.T.Failed() {
		d.T.Logf("the daemon's log ends with:\n%s", Tail(text, 60))
	}
	if strings.Contains(text, "DATA RACE") || strings.Contains(text, "panic:") || strings.Contains(text, "goroutine 1 [") {
		d.T.Errorf("the daemon crashed:\n%s", Tail(text, 100))
	}
	_ = d.Log.Close()
	_ = d.Close()
}

// Tail returns the last lines of a text.
func Tail(text string, lines int) string {
	all := strings.SplitAfter(text, "\n")
	return strings.Join(all[max(0, len(all)-lines):], "")
}

// AllEvents asks for all events that are kept, and then for those that come.
const AllEvents = "0"

// Until follows an activation's events until its details are as wanted. It outlives
// restarts of the daemon.
func (d *Daemon) Until(id, what string, ok func(control.Detail) bool) control.Detail {
	d.T.Helper()
	ctx, cancel := context.WithTimeout(d.T.Context(), Patience)
	defer cancel()
	found := errors.New("found")
	var last control.Detail
	look := func(e control.Event) error {
		if e.ID != id {
			return nil
		}
		_, lines, err := control.Call[control.Detail](ctx, &d.Client, "show", control.IDIn{ID: id})
		if err != nil {
			return err
		}
		if last = lines[0]; ok(last) {
			return found
		}
		return nil
	}
	err := look(control.Event{ID: id})
	if _, isReply := errors.AsType[*control.ReplyError](err); err == nil || isReply { // a reservation may not be known yet
		err = control.Stream(ctx, &d.Client, "events", control.EventsIn{Since: AllEvents}, look)
	}
	if !errors.Is(err, found) {
		d.T.Fatalf("waiting for %s to be %s: %v; it is %s %s (%s)\n%+v", id, what, err, last.State, last.Outcome, last.Reason, last.Attempts)
	}
	return last
}

// InState waits until an activation is in one of some states.
func (d *Daemon) InState(id string, states ...string) control.Detail {
	d.T.Helper()
	return d.Until(id, strings.Join(states, " or "), func(a control.Detail) bool { return slices.Contains(states, a.State) })
}
