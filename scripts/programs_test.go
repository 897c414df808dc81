// Package scripts tests the demo and the units whole. The lab scripts are tested in
// test/lab, on real switches.
package scripts

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"activationd/test/harness"
)

// needRoot skips a test where it cannot run.
func needRoot(t *testing.T, programs ...string) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes longer than -short allows")
	}
	if os.Getuid() != 0 {
		t.Skip("namespaces need root")
	}
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed: run scripts/install-deps test", program)
		}
	}
}

// shortDir makes a directory with a name that is short enough for sockets.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "a")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// buildPrograms returns a directory with activationd, atctl and atwrap.
func buildPrograms(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	out, err := exec.Command("go", "build", "-o", dir, "../cmd/...").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	if err := harness.Atwrap(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A demo is a running demo. Its output arrives on lines, which is closed when it ends.
type demo struct {
	cmd   *exec.Cmd
	tmp   string
	out   *os.File // what it says comes out here
	lines chan string
	said  strings.Builder
}

func startDemo(t *testing.T, bin string) *demo {
	t.Helper()
	d := &demo{cmd: exec.Command("demo/run", bin), tmp: shortDir(t), lines: make(chan string, 1000)}
	d.cmd.Env = append(os.Environ(), "TMPDIR="+d.tmp)
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // as a shell does, for Ctrl-C
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	d.cmd.Stdout, d.cmd.Stderr = w, w
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	d.out = r
	go func() {
		defer close(d.lines)
		for in := bufio.NewScanner(r); in.Scan(); {
			d.lines <- in.Text()
		}
		_ = r.Close()
	}()
	return d
}

// until reads the demo's output to the first line with text, or to its end.
func (d *demo) until(text string) bool {
	for line := range d.lines {
		d.said.WriteString(line + "\n")
		if text != "" && strings.Contains(line, text) {
			return true
		}
	}
	return false
}

// nothingLeft checks that the demo, which has ended, left no namespace, no file
// and no process.
func (d *demo) nothingLeft(t *testing.T) {
	t.Helper()
	if spaces, _ := filepath.Glob(fmt.Sprintf("/run/netns/act-demo-%d-*", d.cmd.Process.Pid)); spaces != nil {
		t.Errorf("namespaces are left: %v", spaces)
	}
	if files, _ := filepath.Glob(d.tmp + "/*"); files != nil {
		t.Errorf("files are left: %v", files)
	}
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, proc := range procs {
		args, _ := os.ReadFile(proc + "/cmdline") // gone is as good as not there
		env, _ := os.ReadFile(proc + "/environ")
		if bytes.Contains(append(args, env...), []byte(d.tmp+"/")) {
			t.Errorf("a process is left: %s %q", proc, args)
		}
	}
}

func TestDemo(t *testing.T) {
	needRoot(t, "ovs-vswitchd", "/usr/sbin/sshd", "ip", "jq", "nc", "nsenter", "ping")
	t.Parallel()
	d := startDemo(t, buildPrograms(t))
	passed := d.until("33 of 33 checks passed")
	d.until("")
	if err := d.cmd.Wait(); err != nil || !passed {
		t.Errorf("the demo ended with %v:\n%s", err, &d.said)
	}
	d.nothingLeft(t)
}

// TestDemoInterrupted presses Ctrl-C at several stages of the demo.
func TestDemoInterrupted(t *testing.T) {
	needRoot(t, "ovs-vswitchd", "/usr/sbin/sshd", "ip", "jq", "nc", "nsenter", "ping")
	t.Parallel()
	bin := buildPrograms(t)
	stages := []string{
		"two Open vSwitches", "the inventory says", "version ", "before any slot", "nc -N", "1042@demo  activating", "both slots are running",
		"the first slot is to end",
	}
	for _, when := range harness.Part(t, stages, 3) {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			d := startDemo(t, bin)
			if !d.until(when) {
				t.Errorf("the demo never said %q:\n%s", when, &d.said)
			}
			press, status := syscall.SIGINT, 130
			if signal.Ignored(syscall.SIGINT) { // and so it is in every child: we run in some shell's background
				press, status = syscall.SIGTERM, 143
			}
			if err := syscall.Kill(-d.cmd.Process.Pid, press); err != nil {
				t.Error(err)
			}
			d.until("")
			_ = d.cmd.Wait()
			if got := d.cmd.ProcessState.ExitCode(); got != status {
				t.Errorf("it ended with %d, want %d:\n%s", got, status, &d.said)
			}
			d.nothingLeft(t)
		})
	}
}

// TestDemoUnheard closes the pipe that the demo writes to, which ends the demo.
func TestDemoUnheard(t *testing.T) {
	needRoot(t, "ovs-vswitchd", "/usr/sbin/sshd", "ip", "jq", "nc", "nsenter", "ping")
	t.Parallel()
	d := startDemo(t, buildPrograms(t))
	if !d.until("two reservations are announced") {
		t.Errorf("the demo never came so far:\n%s", &d.said)
	}
	if err := d.out.Close(); err != nil {
		t.Error(err)
	}
	if err := d.cmd.Wait(); err == nil {
		t.Error("the demo ended well, and nobody heard of it")
	}
	d.until("")
	d.nothingLeft(t)
}

// bootScript starts an init in namespaces of its own. Systemd cleans /tmp at boot and
// makes state directories in /var/lib, so it gets directories of its own for these.
const bootScript = `set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir /mnt/share
mount --bind "$1" /mnt/share
for dir in /run /tmp /var/tmp /var/lib; do mount -t tmpfs tmpfs $dir; done
mkdir -p /run/share /run/systemd/system
mount --bind /mnt/share /run/share
cp /run/share/inst/lib/systemd/system/activationd.* /run/systemd/system
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
export container=test NOTIFY_SOCKET=/run/share/notify
exec /lib/systemd/systemd --system --unit=basic.target --log-target=null
`

// A machine is a systemd that runs in namespaces of its own.
type machine struct {
	t   *testing.T
	pid int // of its systemd
}

// boot starts a systemd with the installation in dir/inst.
func boot(t *testing.T, dir string) *machine {
	t.Helper()
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ready.Close() }()

	cmd := exec.Command("unshare", "--pid", "--mount", "--cgroup", "--fork", "--kill-child", "--mount-proc",
		"bash", "-c", bootScript, "boot", dir)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // the end of an init is the end of all in its namespace
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if err := ready.SetReadDeadline(time.Now().Add(10 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	for buf := make([]byte, 4096); ; {
		n, err := ready.Read(buf)
		if err != nil {
			t.Fatalf("systemd did not boot: %v\n%s", err, &said)
		}
		if bytes.Contains(buf[:n], []byte("READY=1")) {
			break
		}
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", cmd.Process.Pid, cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t}
	if _, err := fmt.Sscan(string(children), &m.pid); err != nil {
		t.Fatalf("no child of unshare: %q: %v", children, err)
	}
	return m
}

// do runs a command inside and returns what it printed.
func (m *machine) do(args ...string) string {
	m.t.Helper()
	cmd := exec.Command("nsenter", append([]string{"-t", fmt.Sprint(m.pid), "-a"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		m.t.Errorf("%v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (m *machine) atctl(args ...string) string {
	m.t.Helper()
	return m.do(append([]string{"/run/share/inst/bin/atctl", "--socket", "/run/activationd/control.sock"}, args...)...)
}

func (m *machine) show(property string) string {
	m.t.Helper()
	return m.do("systemctl", "show", "-P", property, "activationd.service")
}

// TestUnits runs the units under a real systemd: ready, reload, restart, a
// crash, a start by the socket; and a job that lives through all of it.
func TestUnits(t *testing.T) {
	needRoot(t, "unshare", "nsenter", "systemctl", "make")
	t.Parallel()
	dir := shortDir(t)
	out, err := exec.Command("make", "-C", "..", "install", "PREFIX=/run/share/inst", "DESTDIR="+dir+"/dest").CombinedOutput()
	if err != nil {
		t.Fatalf("make install: %v\n%s", err, out)
	}
	if err := os.Rename(dir+"/dest/run/share/inst", dir+"/inst"); err != nil {
		t.Fatal(err)
	}
	for _, fifo := range []string{"started", "go"} {
		if err := syscall.Mkfifo(filepath.Join(dir, fifo), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m := boot(t, dir)

	m.do("systemctl", "start", "activationd.socket", "activationd.service")
	if got := m.show("StatusText"); !strings.HasPrefix(got, "Ready") {
		t.Errorf("status = %q, want Ready", got)
	}
	job := m.atctl("add", "--", "sh", "-c", "echo up >/run/share/started; read go </run/share/go; echo survived")
	if got, err := os.ReadFile(filepath.Join(dir, "started")); err != nil || string(got) != "up\n" {
		t.Fatalf("the job said %q, %v", got, err)
	}
	first := m.show("MainPID")
	m.do("systemctl", "reload", "activationd.service")
	if got := m.show("MainPID"); got != first {
		t.Errorf("the daemon is %s after a reload, was %s", got, first)
	}
	m.do("systemctl", "restart", "activationd.service")
	second := m.show("MainPID")
	if second == first {
		t.Errorf("the daemon is still %s after a restart", second)
	}
	m.do("systemctl", "kill", "-s", "KILL", "--kill-whom=main", "activationd.service")

	// The socket is systemd's: who asks while no daemon runs waits for the next.
	if got := m.atctl("status"); !strings.Contains(got, "guard        cgroup") {
		t.Errorf("status = %s\nwant guard cgroup, in a subtree that systemd delegated", got)
	}
	if got := m.show("NRestarts"); got != "1" {
		t.Errorf("restarts = %s after one crash", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "go"), []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	m.atctl("wait", job)
	if got := m.atctl("log", job); got != "survived" {
		t.Errorf("the job's log = %q", got)
	}

	m.do("systemctl", "stop", "activationd.service")
	if got := m.atctl("show", job); !strings.Contains(got, "succeeded") {
		t.Errorf("after a stop, started by its socket, it shows\n%s", got)
	}
}
