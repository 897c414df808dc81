package test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asInit makes a daemon's program process 1 of a PID namespace, as in a container. Its end is the end
// of all of them. unshare, which starts it, has its exit status.
func (d *daemon) asInit() {
	needRoot(d.t)
	needProgram(d.t, "unshare", "nsenter")
	d.Prefix = []string{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--"}
}

// childrenOf returns the children of a process, ended ones that nobody has reaped included.
func childrenOf(t *testing.T, pid int) (pids []int) {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range threads {
		data, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ESRCH) { // a thread may have ended
			t.Fatal(err)
		}
		for word := range strings.FieldsSeq(string(data)) {
			n, err := strconv.Atoi(word)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, n)
		}
	}
	return pids
}

// onlyChild waits until a process has one child and returns it.
func onlyChild(t *testing.T, pid int) int {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) { // no event reports that another process reaps
		pids := childrenOf(t, pid)
		if len(pids) == 1 {
			return pids[0]
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d has the children %v, want one", pid, pids)
		}
	}
}

// TestInit has the daemon's program be process 1, with orphans of several kinds.
func TestInit(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "jobs: {retries: 0, grace: 1s}\n")
	d.asInit()
	b := d.beacon()
	d.Start()
	process1 := onlyChild(t, d.Newest().Cmd.Process.Pid)
	child := onlyChild(t, process1)

	// What a job leaves is the wrapper's, which ends it.
	id := d.add("--", d.script("leaves", fmt.Sprintf(`setsid sh -c 'sleep 600 & setsid sleep 0 & exit 0'
echo left >%s
exit 3
`, b.path)))
	if got := b.next(); got != "left" {
		t.Fatal(got)
	}
	d.ended(id, "failed", 3)

	// A wrapper that is killed leaves it to process 1, as does a command that somebody runs in the container.
	id = d.add("--", d.script("unguarded", fmt.Sprintf("echo $PPID >%s\nsleep 600\n", b.path)))
	inside := b.next()
	enter := []string{"nsenter", "-t", strconv.Itoa(process1), "--pid", "--mount", "--wd=/", "--"}
	if o := d.run("", append(enter, "kill", "-KILL", inside)...); o.status != 0 {
		t.Fatal(o)
	}
	d.ended(id, "lost", 125)
	d.run("", append(enter, "sh", "-c", "setsid sh -c 'sleep 0 & sleep 0.01 & exit 0' & exit 0")...)
	if got := onlyChild(t, process1); got != child {
		t.Errorf("process 1 has the child %d, want the daemon, %d", got, child)
	}
	d.ended(d.add("--", "/bin/sh", "-c", "exit 7"), "failed", 7)

	// Signals reach the daemon.
	d.loaded(1) // by its start
	before := d.status().Generation
	if err := syscall.Kill(process1, syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	d.loaded(before + 1)
	running, later := d.add("--", "/bin/sleep", "600"), d.add("--at", "now + 1 day", "--", "/bin/true")
	d.InState(running, "activating")
	if err := syscall.Kill(process1, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	d.AwaitGone(d.Newest())
	if status := d.Newest().Cmd.ProcessState.ExitCode(); status != 0 {
		t.Errorf("stopped, it ended with status %d, want 0", status)
	}
	if want := "stopping; runs are killed with the container"; !strings.Contains(d.Logged(), want) {
		t.Errorf("the log does not say %q:\n%s", want, d.Logged())
	}

	// The kernel has killed what ran.
	d.Start()
	d.ended(running, "lost", 125)
	if a := d.show(later); a.State != "scheduled" {
		t.Errorf("a job of tomorrow is %s", a.State)
	}
	process1 = onlyChild(t, d.Newest().Cmd.Process.Pid)
	killPID(t, onlyChild(t, process1))
	d.AwaitGone(d.Newest())
	if status := d.Newest().Cmd.ProcessState.ExitCode(); status != 128+int(syscall.SIGKILL) {
		t.Errorf("when the daemon was killed, its init ended with status %d", status)
	}
	d.configure("nonsense: 1\n")
	d.refuses(2, "nonsense")
}

// TestInitHandsOver has process 1 hand the daemon a socket that its manager has made for it.
func TestInitHandsOver(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "listen: [{address: 'systemd:requests', role: viewer}]\n")
	d.asInit()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close() // a port that nobody else gets soon
	// It waits for a client before it becomes the daemon's program.
	d.Prefix = append(d.Prefix, "systemd-socket-activate", "--listen="+address, "--fdname=requests", "--setenv=NOTIFY_SOCKET")
	p := d.Launch()
	for first := net.Conn(nil); first == nil && !p.Exited(); time.Sleep(time.Millisecond) { // no event reports that it listens
		if first, err = net.Dial("tcp", address); err == nil {
			defer func() { _ = first.Close() }()
		}
	}
	if err := d.Ready(p); err != nil {
		t.Fatal(err)
	}
	if o := d.atctl("--connect", address, "status"); o.status != 0 {
		t.Errorf("atctl status at the socket of process 1: %+v", o)
	}
}
