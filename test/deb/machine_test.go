// Package deb tries the Debian packages as a user meets them: on a small Debian with a
// systemd of its own, where apt and dpkg install them, upgrade them and remove them.
//
// A machine is a set of namespaces on this kernel. Its file system is a layer over a
// tree that scripts/deb-tree makes once, and its network is a loopback of its own. What
// happens in a machine ends with it.
package deb

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"activationd/test/harness"
)

// quick names the tests that `make test` has time for. `make test-deb-all` runs all.
var quick = []string{"TestInstall", "TestUpgradeUnderLoad", "TestInterruptedPackages"}

// TestMain runs few machines at once: each boots a systemd and installs packages.
func TestMain(m *testing.M) {
	if err := choose(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	dir, err := os.MkdirTemp("", "activationd-packages-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	packages = dir
	status := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(status)
}

// choose chooses the quick tests, unless all shall run, or the flag -run names some.
func choose() error {
	if err := harness.Parallel(2); err != nil {
		return err
	}
	if harness.All() || flag.Lookup("test.run").Value.String() != "" {
		return nil
	}
	return flag.Set("test.run", "^("+strings.Join(quick, "|")+")$")
}

// prepare makes a machine's file system: $1 is the tree, $2 the machine's directory, of
// which the machine sees $2/host as /run/host. The machine may not set what is the
// kernel's, such as sysctls.
const prepare = `
mkdir -p "$2/upper" "$2/scratch" "$2/root"
rm -rf "$2"/scratch/*/incompat
mount -t overlay -o "volatile,lowerdir=$1,upperdir=$2/upper,workdir=$2/scratch" overlay "$2/root"
cd "$2/root"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,ro,bind proc/sys
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mknod -m 666 dev/null c 1 3
mknod -m 666 dev/zero c 1 5
mknod -m 666 dev/full c 1 7
mknod -m 666 dev/random c 1 8
mknod -m 666 dev/urandom c 1 9
mknod -m 666 dev/tty c 5 0
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs run
mkdir run/host
mount --bind "$2/host" run/host
echo machine >etc/hostname
pivot_root . .
umount -l .
cd /
`

// A machine is a small Debian with a systemd of its own. Commands run in it as root.
type machine struct {
	*harness.Systemd // nil while it is switched off

	t    *testing.T
	tree string // below it
	dir  string // of all that it has written
}

// boot returns a machine that has just been made and is running.
func boot(t *testing.T) *machine {
	t.Helper()
	m := newMachine(t)
	m.on()
	return m
}

// newMachine returns a machine that has just been made and is switched off.
func newMachine(t *testing.T) *machine {
	t.Helper()
	base := tree(t)
	dir, err := os.MkdirTemp("", "activationd-deb-")
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, tree: base, dir: dir}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(dir+"/host", 0o755)); err != nil {
		t.Fatal(err)
	}
	return m
}

// on boots the machine, with what it wrote before.
func (m *machine) on() {
	m.t.Helper()
	log, err := os.Create(m.dir + "/boot.log")
	if err != nil {
		m.t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	m.Systemd = harness.BootSystemd(m.t, harness.Boot{
		Cgroup:  filepath.Join(harness.Cgroup(), filepath.Base(m.dir)),
		Prepare: prepare, Args: []string{m.tree, m.dir}, Shared: m.dir + "/host", Inside: "/run/host",
		OwnLoopback: true, Log: log,
	})
	running := m.Systemd
	m.t.Cleanup(func() {
		if m.t.Failed() && m.Systemd == running {
			m.report()
		}
	})
}

// off is what the power switch does: all processes are killed.
func (m *machine) off() {
	if m.Systemd != nil {
		m.End()
		m.Systemd = nil
	}
}

// report shows what a machine knows of its faults.
func (m *machine) report() {
	for _, argv := range [][]string{{"systemctl", "--failed", "--no-pager"}, {"journalctl", "--no-pager", "-n", "60"}} {
		if out, err := m.exec("", argv); err == nil {
			m.t.Logf("%s:\n%s", strings.Join(argv, " "), out.out)
		}
	}
}

// An output is what a command printed, and its exit status.
type output struct {
	out, err string
	status   int
}

// exec runs a command in the machine.
func (m *machine) exec(stdin string, argv []string) (output, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(m.t.Context()), 2*harness.Patience)
	defer cancel()
	cmd, group := m.Command(ctx, append([]string{"env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}, argv...)...)
	defer func() { _ = group.Close() }()
	var out, fault bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &fault
	cmd.WaitDelay = time.Minute // of one that left its output to others
	err := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); exited {
		err = nil
	}
	return output{out.String(), fault.String(), cmd.ProcessState.ExitCode()}, err
}

// try runs a command in the machine, which may fail.
func (m *machine) try(argv ...string) output {
	m.t.Helper()
	return m.answer("", argv...)
}

// answer runs a command in the machine that reads something, and may fail.
func (m *machine) answer(stdin string, argv ...string) output {
	m.t.Helper()
	o, err := m.exec(stdin, argv)
	if err != nil {
		m.t.Fatalf("%v: %v\n%s%s", argv, err, o.out, o.err)
	}
	return o
}

// do runs a command in the machine, which must not fail, and returns its output without
// the last line's end.
func (m *machine) do(argv ...string) string {
	m.t.Helper()
	o := m.try(argv...)
	if o.status != 0 {
		m.t.Fatalf("%v: status %d\n%s%s", argv, o.status, o.out, o.err)
	}
	return strings.TrimSuffix(o.out, "\n")
}

// sh runs a program for the shell in the machine, which must not fail.
func (m *machine) sh(program string) string {
	m.t.Helper()
	return m.do("sh", "-euc", program)
}

// as returns a command that runs another one as a user.
func as(user string, argv ...string) []string {
	return append([]string{"runuser", "-u", user, "--"}, argv...)
}

// install lets apt install package files, as a user would.
func (m *machine) install(files ...string) output {
	m.t.Helper()
	return m.apt(append([]string{"install"}, m.bring(files...)...)...)
}

// apt runs apt-get, which must not fail.
func (m *machine) apt(args ...string) output {
	m.t.Helper()
	o := m.try(append([]string{"apt-get", "-q", "-y"}, args...)...)
	if o.status != 0 {
		m.t.Fatalf("apt-get %v: status %d\n%s%s", args, o.status, o.out, o.err)
	}
	return o
}

// bring puts files into the machine and returns their paths there.
func (m *machine) bring(files ...string) []string {
	m.t.Helper()
	var inside []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			m.t.Fatal(err)
		}
		path := "/run/host/" + filepath.Base(file)
		m.write(path, string(data), 0o644)
		inside = append(inside, path)
	}
	return inside
}

// files returns the machine's file system. No link leads out of it.
func (m *machine) files() *os.Root {
	m.t.Helper()
	root, err := os.OpenRoot(filepath.Join("/proc", strconv.Itoa(m.Init), "root"))
	if err != nil {
		m.t.Fatal(err)
	}
	return root
}

// read returns the text of a file of the machine.
func (m *machine) read(path string) string {
	m.t.Helper()
	root := m.files()
	defer func() { _ = root.Close() }()
	data, err := root.ReadFile(path[1:])
	if err != nil {
		m.t.Fatal(err)
	}
	return string(data)
}

// write puts a file into the machine.
func (m *machine) write(path, text string, mode os.FileMode) {
	m.t.Helper()
	root := m.files()
	defer func() { _ = root.Close() }()
	path = path[1:]
	if err := errors.Join(root.MkdirAll(filepath.Dir(path), 0o755), root.WriteFile(path, []byte(text), mode), root.Chmod(path, mode)); err != nil {
		m.t.Fatal(err)
	}
}

// exists reports whether the machine has a file.
func (m *machine) exists(path string) bool {
	m.t.Helper()
	root := m.files()
	defer func() { _ = root.Close() }()
	_, err := root.Lstat(path[1:])
	return err == nil
}

// state returns what systemd says of a unit: active, inactive, failed and so on.
func (m *machine) state(unit string) string {
	m.t.Helper()
	return m.property(unit, "ActiveState")
}

func (m *machine) property(unit, name string) string {
	m.t.Helper()
	return m.do("systemctl", "show", "--value", "-p", name, unit)
}

// until waits until a condition holds that no event tells of.
func (m *machine) until(what string, holds func() bool) {
	m.t.Helper()
	for deadline := time.Now().Add(harness.Patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			m.t.Fatalf("it never came about: %s", what)
		}
	}
}

// tree returns the tree that machines are layers over. It is locked until the test ends.
func tree(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("boots a whole Debian")
	}
	if os.Getuid() != 0 {
		t.Skip("needs root: it boots a Debian in namespaces")
	}
	for _, program := range []string{"mmdebstrap", "unshare", "nsenter", "dpkg-deb"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed: scripts/install-deps deb installs it", program)
		}
	}
	if harness.Cgroup() == "" {
		t.Skip("there is no cgroup v2 here")
	}
	cmd := exec.CommandContext(t.Context(), "../../scripts/deb-tree")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("scripts/deb-tree: %v", err)
	}
	path := strings.TrimSpace(string(out))
	lock, err := os.Open(path + ".lock")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lock.Close() })
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	return path
}
