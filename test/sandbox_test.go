package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// startWith starts the unit in the machine, with a drop-in file if there is a text.
func (m *machine) startWith(dropIn string) {
	m.t.Helper()
	if dropIn != "" {
		m.write("units/drop-in.conf", dropIn, 0o644)
		m.do("mkdir", "-p", "/run/systemd/system/activationd.service.d")
		m.do("cp", "/run/lab/units/drop-in.conf", "/run/systemd/system/activationd.service.d")
		m.do("systemctl", "daemon-reload")
	}
	m.do("systemctl", "restart", "activationd")
}

// asUser is a command line that a user of the machine runs.
func asUser(user string, argv ...string) []string {
	if user == "root" {
		return argv
	}
	return append([]string{"setpriv", "--reuid=" + user, "--regid=" + user, "--init-groups"}, argv...)
}

// job runs a script as a job of the user, and returns how it ended.
func (m *machine) job(user, script string) output {
	m.t.Helper()
	id := m.do(asUser(user, "atctl", "add", "--dir", "/", "--", "sh", "-ec", script)...)
	o := m.try("atctl", "wait", id)
	o.out = m.do("atctl", "log", id)
	return o
}

// buildCalls puts the program that makes system calls where the machine finds it,
// also for 32-bit processors.
func (m *machine) buildCalls() {
	m.t.Helper()
	for name, arch := range map[string]string{"calls": "", "calls32": "386"} {
		cmd := exec.Command("go", "build", "-o", filepath.Join(m.dir, "bin", name), "./testdata/calls")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if arch != "" {
			cmd.Env = append(cmd.Env, "GOARCH="+arch)
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			m.t.Fatalf("%v\n%s", err, out)
		}
	}
}

// What the unit lets runs do. Each is first done outside of the unit: what this kernel or
// this machine does not have, runs cannot have either.
var allowed = []struct{ what, user, script, want string }{
	{"sudo of a user", "games", "sudo -n id -un", "root"},
	{"sudo of root", "root", "sudo -n -u games id -un", "games"},
	{"su", "root", "su -s /bin/sh games -c 'id -un'", "games"},
	{"a set-uid program", "games", "/run/setuid-id -u", "0"},
	{"to make a set-uid program", "root", "install -m 4755 /usr/bin/id /tmp/id-$$; stat -c %A /tmp/id-$$", "-rwsr-xr-x"},
	{"ping", "games", "ping -c 1 -q 127.0.0.1", "1 received"},
	{"capturing packets", "root", "calls packet", "packet ok"},
	{"a mount in a namespace of its own", "games", "unshare --user --map-root-user --mount sh -ec 'mount -t tmpfs none /mnt; findmnt -no FSTYPE /mnt'", "tmpfs"},
	{"strace", "games", "strace -e trace=execve true", `execve("/usr/bin/true"`},
	{"strace of another's process", "root", "setpriv --reuid=games sleep 0.5 & strace -p $!", "exited with 0"},
	{"gdb", "games", "gdb -batch -nx -ex 'set startup-with-shell off' -ex run -ex quit true", "exited normally"},
	{"perf", "root", "calls perf", "perf ok"},
	{"setarch", "games", "setarch i686 uname -m", "i686"},
	{"a 32-bit program", "games", "calls32 socket adjtimex", "386 adjtimex ok"},
	{"to ask for the state of the clock", "games", "calls adjtimex", "adjtimex ok"},
	{"Open vSwitch", "root", `d=$(mktemp -d); export OVS_RUNDIR=$d OVS_DBDIR=$d OVS_LOGDIR=$d
		ovsdb-tool create $d/conf.db /usr/share/openvswitch/vswitch.ovsschema
		ovsdb-server $d/conf.db --remote=punix:$d/db.sock --detach --pidfile --no-chdir
		ovs-vsctl --db=unix:$d/db.sock --no-wait init
		ovs-vswitchd unix:$d/db.sock --disable-system --detach --pidfile --no-chdir
		ovs-vsctl --db=unix:$d/db.sock add-br lab0 -- set bridge lab0 datapath_type=netdev
		ovs-vsctl --db=unix:$d/db.sock list-br; kill $(cat $d/*.pid)`, "lab0"},
}

// ofKernels names what some kernels cannot or may not do.
var ofKernels = []string{"a 32-bit program", "perf", "a mount in a namespace of its own"}

// TestSandboxLetsRunsWork does with runs of the unit what scripts of laboratories do.
func TestSandboxLetsRunsWork(t *testing.T) {
	t.Parallel()
	m := bootSystemd(t)
	needProgram(t, "setpriv")
	m.buildCalls()
	m.do("install", "-m", "4755", "/usr/bin/id", "/run/setuid-id")
	if _, err := exec.LookPath("sudo"); err == nil {
		m.do("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/etc/sudoers.d")
		m.do("sh", "-c", "echo 'games ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/games; chmod 440 /etc/sudoers.d/games")
	}
	m.configure("at: {deny: /run/lab/at.deny}\n")
	m.write("at.deny", "", 0o644)
	m.startWith("[Service]\nExecStart=\nExecStart=/run/lab/bin/activationd --config /run/lab/config.yaml\n")
	for _, tt := range allowed {
		t.Run(tt.what, func(t *testing.T) {
			if o := m.try(asUser(tt.user, "sh", "-ec", "cd /; "+tt.script)...); o.status != 0 || !strings.Contains(o.out+o.err, tt.want) {
				if slices.Contains(ofKernels, tt.what) { // no package would help
					t.Logf("this kernel does not have it: %+v", o)
					return
				}
				t.Skipf("not possible outside of the unit either: %+v", o)
			}
			if o := m.job(tt.user, tt.script); o.status != 0 || !strings.Contains(o.out, tt.want) {
				t.Errorf("%s: %+v, want status 0 and %q", tt.script, o, tt.want)
			}
		})
	}

	t.Run("others see what a run makes", func(t *testing.T) {
		if o := m.job("root", "mount -t tmpfs -o size=1m lab /media; ip netns add sandbox; ip -n sandbox link set lo up"); o.status != 0 {
			t.Fatalf("%+v", o)
		}
		if got := m.do("findmnt", "-no", "SOURCE", "/media"); got != "lab" {
			t.Errorf("what a run mounted is %q", got)
		}
		if out := m.do("ip", "netns", "exec", "sandbox", "ip", "link", "show", "up"); !strings.Contains(out, "lo:") {
			t.Errorf("the namespace that a run made has %q", out)
		}
		if o := m.job("root", "ip netns exec sandbox ping -c 1 -q 127.0.0.1"); o.status != 0 {
			t.Errorf("another run in this namespace: %+v", o)
		}
	})
	t.Run("a job that a user submits with at", func(t *testing.T) {
		b := m.beacon()
		m.do("ln", "-s", "atctl", "/run/lab/bin/at")
		m.do(asUser("games", "sh", "-c", "cd /tmp && echo 'id -un >/run/lab/shared/"+filepath.Base(b.path)+"' | at now")...)
		if got := b.next(); got != "games" {
			t.Errorf("the job was run as %q", got)
		}
	})
}

// forbidden are the system calls that no run of the unit can make.
var forbidden = []string{"clock_settime", "finit_module", "reboot", "swapon", "iopl", "realtime"}

// TestSandboxForbids makes the calls that harm the machine from a run of root, and allows
// one of them again by a drop-in file.
func TestSandboxForbids(t *testing.T) {
	t.Parallel()
	m := bootSystemd(t)
	m.buildCalls()
	m.startWith("")
	calls := "calls " + strings.Join(append(forbidden, "set_clock"), " ")
	outside, inside := m.do("sh", "-c", calls), m.job("root", calls)
	t.Logf("outside of the unit:\n%s", outside)
	if n := strings.Count(inside.out, "EPERM"); inside.status != 0 || n != len(forbidden)+1 {
		t.Errorf("in a run: %+v, want EPERM for all", inside)
	}
	if strings.Count(outside, "EPERM") == len(forbidden)+1 {
		t.Error("the calls fail without the unit, too: nothing was shown")
	}
	m.startWith("[Service]\nCapabilityBoundingSet=CAP_SYS_MODULE\nSystemCallFilter=@module\n")
	if o := m.job("root", "calls finit_module reboot"); strings.Contains(o.out, "finit_module EPERM") || !strings.Contains(o.out, "reboot EPERM") {
		t.Errorf("with a drop-in that allows kernel modules: %+v", o)
	}
}

// TestStrictDropIn runs the unit with the example of a stricter one.
func TestStrictDropIn(t *testing.T) {
	t.Parallel()
	m := bootSystemd(t)
	needProgram(t, "setpriv")
	m.buildCalls()
	m.do("install", "-m", "4755", "/usr/bin/id", "/run/setuid-id")
	text, err := os.ReadFile("../examples/systemd/activationd-strict.conf")
	if err != nil {
		t.Fatal(err)
	}
	m.startWith(string(text))
	if s := m.state(); s.Guard != "cgroup" || !s.ClockTrusted {
		t.Errorf("status is %+v, want the cgroup guard and a trusted clock", s)
	}
	for _, tt := range []struct {
		what, user, script, want string
		fails                    bool
	}{
		{"a user's job", "games", "id -un; id -gn", "games\ngames", false},
		{"a job of root", "root", "id -un", "root", false},
		{"a temporary file", "games", "f=$(mktemp); echo text >$f; cat $f", "text", false},
		{"a connection", "games", "calls socket", "socket ok", false},
		{"a higher priority", "root", "nice -n -5 nice", "-5", false},
		{"the command line of another's process", "root", "tr '\\0' ' ' </proc/1/cmdline", "systemd", false},
		{"a set-uid program", "games", "test \"$(/run/setuid-id -u)\" = 0", "", true},
		{"another user by a set-uid program", "games", "/run/setuid-id -un", "games", false},
		{"a file of the system", "root", ": >/etc/activationd-was-here", "Read-only file system", true},
		{"a mount", "root", "mount -t tmpfs none /mnt", "", true},
		{"a mount in a namespace of its own", "games", "unshare --user --map-root-user --mount sh -ec 'mount -t tmpfs none /mnt'", "", true},
		{"a network namespace", "root", "ip netns add strict", "", true},
		{"a device", "root", "test -e /dev/kmsg", "", true},
		{"packets", "root", "calls packet | grep ok", "", true},
		{"a debugger", "games", "strace true", "", true},
		{"a set-uid file", "root", "cp /usr/bin/id /tmp/id; chmod u+s /tmp/id", "", true},
		{"another personality", "games", "setarch i686 true", "", true},
	} {
		t.Run(tt.what, func(t *testing.T) {
			if o := m.job(tt.user, tt.script); (o.status != 0) != tt.fails || !strings.Contains(o.out, tt.want) {
				t.Errorf("%s: %+v, want that it fails: %v, and %q", tt.script, o, tt.fails, tt.want)
			}
		})
	}

	// What runs while the daemon is restarted goes on.
	before := m.state().PID
	job := m.do("atctl", "add", "--", "sh", "-c", "while ! [ -e /run/lab/shared/enough ]; do sleep 0.1; done; exit 5")
	m.scriptOf(job)
	m.do("systemctl", "restart", "activationd")
	if err := os.WriteFile(m.shared("enough"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if o := m.try("atctl", "wait", job); o.status != 5 || m.state().PID == before {
		t.Errorf("a job during a restart: %+v, want status 5", o)
	}
}
