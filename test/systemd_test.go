package test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"activationd/control"
	"activationd/test/harness"
)

// systemdInit prepares what a systemd of its own sees: this machine, but nothing of it is
// touched. $1 is the place, which it sees as /run/lab.
const systemdInit = `mount -t proc proc /proc
mount -t tmpfs tmpfs /mnt
mkdir /mnt/lab
mount --bind "$1" /mnt/lab
mount -t tmpfs tmpfs /run
mkdir /run/lab
mount --bind /mnt/lab /run/lab
umount /mnt/lab /mnt
for dir in /tmp /var/tmp /var/lib /var/log; do mount -t tmpfs tmpfs $dir; done
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /run/systemd/system
cp /run/lab/units/* /run/systemd/system
`

// A machine is a systemd that runs in namespaces of its own.
type machine struct {
	*daemon // its place; the daemon itself is systemd's
	systemd *harness.Systemd
}

func bootSystemd(t *testing.T) *machine {
	t.Helper()
	needRoot(t)
	needProgram(t, "unshare", "nsenter", "systemctl", "mount")
	if _, err := os.Stat("/lib/systemd/systemd"); err != nil {
		t.Skipf("systemd is not installed: %v", err)
	}
	parent := harness.Cgroup()
	if parent == "" {
		t.Skip("there is no cgroup v2 here")
	}
	d := newDaemon(t, "")
	d.prepareUnits()
	return &machine{d, harness.BootSystemd(t, harness.Boot{
		Cgroup:  filepath.Join(parent, filepath.Base(d.dir)+".systemd"),
		Prepare: systemdInit, Args: []string{d.dir}, Shared: d.dir, Inside: "/run/lab",
		Flags: []string{"--unit=basic.target"}, Log: d.Log,
	})}
}

// prepareUnits puts the programs and the real units where the machine finds them.
func (d *daemon) prepareUnits() {
	d.t.Helper()
	for _, name := range []string{"activationd", "atctl", "atwrap"} {
		data, err := os.ReadFile(filepath.Join(harness.Bin, name))
		if err != nil {
			d.t.Fatal(err)
		}
		if err := os.MkdirAll(d.dir+"/bin", 0o755); err != nil {
			d.t.Fatal(err)
		}
		if err := writeAlone(d.dir+"/bin/"+name, data, 0o755); err != nil {
			d.t.Fatal(err)
		}
	}
	for _, name := range []string{"activationd.service", "activationd.socket"} {
		data, err := os.ReadFile("../scripts/units/" + name)
		if err != nil {
			d.t.Fatal(err)
		}
		d.write("units/"+name, strings.ReplaceAll(string(data), "/usr/bin/", "/run/lab/bin/"), 0o644)
	}
}

// try runs a command in the machine.
func (m *machine) try(argv ...string) output {
	m.t.Helper()
	return m.run("", append([]string{"nsenter", "-t", strconv.Itoa(m.systemd.Init), "-a", "env", "-u", "ACTIVATIOND_SOCKET",
		"PATH=/run/lab/bin:" + os.Getenv("PATH")}, argv...)...)
}

func (m *machine) do(argv ...string) string {
	m.t.Helper()
	o := m.try(argv...)
	if o.status != 0 {
		m.t.Fatalf("%v: status %d\n%s%s\n%s", argv, o.status, o.out, o.err, m.try("systemctl", "status", "activationd").out)
	}
	return strings.TrimSuffix(o.out, "\n")
}

func (m *machine) state() control.StatusOut {
	m.t.Helper()
	return parse[control.StatusOut](m.t, m.do("atctl", "status", "--json"))
}

func (m *machine) property(name string) string {
	m.t.Helper()
	return m.do("systemctl", "show", "--value", "-p", name, "activationd")
}

// TestSystemd runs the unit under a real systemd: notification, a delegated
// cgroup, restart, reload, a crash, stop, and its socket.
func TestSystemd(t *testing.T) {
	t.Parallel()
	m := bootSystemd(t)
	b := m.beacon()
	inside := "/run/lab/shared/" + filepath.Base(b.path)
	m.do("systemctl", "start", "activationd") // returns when it has said READY=1
	if s := m.state(); s.Guard != "cgroup" || s.StateDir != "/var/lib/activationd" || s.RuntimeDir != "/run/activationd" {
		t.Errorf("status is %+v, want the cgroup guard and systemd's directories", s)
	}
	if text := m.property("StatusText"); !strings.Contains(text, "Ready") {
		t.Errorf("it tells systemd %q, want that it is ready", text)
	}
	id := m.do("atctl", "add", "--", "cat", "/proc/self/cgroup")
	m.do("atctl", "wait", id)
	if log := m.do("atctl", "log", id); !strings.Contains(log, "/activationd.service/") {
		t.Errorf("a run is in cgroup %q, want one below the unit's", log)
	}

	// A restart, a crash and a stop: the run goes on under the same wrapper.
	job := m.do("atctl", "add", "--", "sh", "-c", "echo up >"+inside+"; setsid sleep 300 & while ! [ -e /run/lab/shared/enough ]; do sleep 0.1; done; exit 5")
	b.next()
	script := m.scriptOf(job)
	for _, how := range []string{"restart", "crash", "stop"} {
		before := m.state().PID
		switch how {
		case "crash":
			m.do("kill", "-9", strconv.Itoa(before))
			m.crashed(before)
		case "stop":
			m.do("systemctl", "stop", "activationd")
			m.do("systemctl", "start", "activationd")
		default:
			m.do("systemctl", how, "activationd")
		}
		a := parse[control.Detail](t, m.do("atctl", "show", "--json", job))
		if a.State != "activating" || len(a.Attempts) != 1 || a.Attempts[0].PID != script {
			t.Errorf("after %s the job is %s with %+v, want it to go on", how, a.State, a.Attempts)
		}
		if after := m.state(); after.PID == before || after.Guard != "cgroup" {
			t.Errorf("after %s status is %+v, want another process and the same guard", how, after)
		}
	}
	if err := os.WriteFile(m.shared("enough"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if o := m.try("atctl", "wait", job); o.status != 5 {
		t.Errorf("atctl wait: %+v, want status 5", o)
	}
	if a := parse[control.Detail](t, m.do("atctl", "show", "--json", job)); a.Attempts[0].Leftovers != 1 || a.Attempts[0].Contained != "cgroup" {
		t.Errorf("its attempt is %+v, want one process that was left, found by the cgroup", a.Attempts[0])
	}

	before := m.state()
	m.do("systemctl", "reload", "activationd")
	m.do("atctl", "reload")
	if after := m.state(); after.PID != before.PID || after.Generation <= before.Generation {
		t.Errorf("after systemctl reload status is %+v, before it was %+v", after, before)
	}
	if state := m.do("systemctl", "is-active", "activationd"); state != "active" {
		t.Errorf("after a reload it is %s", state)
	}

	// A socket that is there before the daemon, and starts it.
	m.do("systemctl", "stop", "activationd")
	m.do("systemctl", "start", "activationd.socket")
	if state := m.try("systemctl", "is-active", "activationd").out; !strings.HasPrefix(state, "inactive") {
		t.Errorf("before anybody asked it is %s", state)
	}
	id = m.do("atctl", "add", "--", "sh", "-c", "exit 9")
	if o := m.try("atctl", "wait", id); o.status != 9 {
		t.Errorf("over systemd's socket, atctl wait: %+v, want status 9", o)
	}
	if state := m.do("systemctl", "is-active", "activationd"); state != "active" {
		t.Errorf("after a request it is %s", state)
	}
	// Requests that arrive during a restart wait for the new daemon. If the old one had
	// accepted a connection and not read its request, the reply asks to try again.
	served, again := 0, 0
	for range 3 {
		m.do("systemctl", "--no-block", "restart", "activationd")
		for range 5 {
			switch o := m.try("atctl", "list"); o.status {
			case 0:
				served++
			case 6:
				again++
			default:
				t.Errorf("atctl list during a restart: %+v", o)
			}
		}
	}
	t.Logf("during restarts %d requests were served and %d told to come again", served, again)
	if again > 3 {
		t.Errorf("%d of 15 requests during 3 restarts were not served", again)
	}
	if log := m.read(m.dir + "/daemon.log"); strings.Contains(log, "panic") {
		t.Error(log)
	}
}

// scriptOf returns the script's process of a job's first attempt. A script may have
// started a moment before the daemon knows its process.
func (m *machine) scriptOf(job string) int {
	m.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if pid := parse[control.Detail](m.t, m.do("atctl", "show", "--json", job)).Attempts[0].PID; pid != 0 {
			return pid
		}
	}
	m.t.Fatalf("the script of job %s does not become known", job)
	return 0
}

// crashed waits until systemd has started the daemon again after process pid of
// the machine.
func (m *machine) crashed(pid int) {
	m.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		if main := m.property("MainPID"); main != "0" && main != strconv.Itoa(pid) && m.property("ActiveState") == "active" {
			return
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("systemd does not start it again:\n%s", m.try("systemctl", "status", "activationd").out)
		}
	}
}

// TestSystemdWatchdog sends the daemon SIGSTOP, and systemd starts it again; a daemon
// that works is left alone.
func TestSystemdWatchdog(t *testing.T) {
	t.Parallel()
	m := bootSystemd(t)
	dropIn := filepath.Join(m.dir, "units", "watchdog.conf")
	if err := os.WriteFile(dropIn, []byte("[Service]\nWatchdogSec=10\nTimeoutAbortSec=500ms\nRestartSec=10ms\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	m.do("mkdir", "/run/systemd/system/activationd.service.d")
	m.do("cp", "/run/lab/units/watchdog.conf", "/run/systemd/system/activationd.service.d")
	m.do("systemctl", "daemon-reload")
	m.do("systemctl", "start", "activationd")
	before := m.state().PID
	id := m.do("atctl", "add", "--", "sleep", "12")
	m.do("atctl", "wait", id)
	if pid := m.state().PID; pid != before {
		t.Errorf("after twelve seconds of a watchdog of ten it is process %d, was %d", pid, before)
	}
	job := m.do("atctl", "add", "--", "sh", "-c", "while ! [ -e /run/lab/shared/enough ]; do sleep 0.1; done; exit 5")
	m.scriptOf(job)
	m.do("kill", "-STOP", strconv.Itoa(before))
	m.crashed(before)
	if err := os.WriteFile(m.shared("enough"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if o := m.try("atctl", "wait", job); o.status != 5 {
		t.Errorf("the job that ran meanwhile: %+v, want status 5", o)
	}
	if a := parse[control.Detail](t, m.do("atctl", "show", "--json", job)); len(a.Attempts) != 1 {
		t.Errorf("its attempts are %+v, want one", a.Attempts)
	}
}
