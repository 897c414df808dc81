// Package vm tries the programs on a whole machine, which the test owns: a kernel of
// Debian's under an emulator, with nothing on it but busybox, iproute2 and our programs. There
// the clock can be set, the power can be cut, and the hierarchy of cgroups is the
// second version's alone.
//
// The emulator emulates the processor, too: nothing is asked of the machine that
// runs it. It is slow; so every wait ends with an event, and limits are there to end
// a hang.
package vm

import (
	"bufio"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"activationd/test/harness"
)

var (
	all      = flag.Bool("all", false, "do all that there is to do, and not what a test run has time for")
	seedFlag = flag.Uint64("seed", 0, "begin the random tests with this number; 0: another one each time")
)

// patience is how long the machine may take for each step before the test gives up. It
// judges no speed.
var patience = flag.Duration("patience", 10*time.Minute, "give up when the machine takes so long")

// parts is the directory where scripts/vm-parts puts the kernel and busybox.
const parts = "/var/cache/activationd-vm"

// What the machines boot, made by TestMain.
var kernel, ramdisk string

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := testMain(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func testMain(m *testing.M) (code int, err error) {
	if missing() == "" {
		dir, err := os.MkdirTemp("", "activationd-vm-")
		if err != nil {
			return 0, err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		if err := prepare(dir); err != nil {
			return 0, err
		}
	}
	return m.Run(), nil
}

// missing returns what a machine needs to boot and is not there; empty if nothing.
func missing() string {
	if testing.Short() {
		return "it takes long"
	}
	if _, err := os.Stat(filepath.Join(parts, "complete")); err != nil {
		return parts + " is not there: scripts/install-deps vm, as root, gets it"
	}
	for _, program := range []string{emulator, "mkfs.ext4", "ip", "bridge"} {
		if _, err := exec.LookPath(program); err != nil {
			return program + " is not installed"
		}
	}
	return ""
}

func needMachine(t *testing.T) {
	t.Helper()
	if why := missing(); why != "" {
		t.Skip("no whole machine: " + why)
	}
	t.Parallel()
}

// prepare builds the programs, and the disk in memory from which machines boot.
func prepare(dir string) error {
	bin := filepath.Join(dir, "bin")
	for _, args := range [][]string{
		{"build", "-o", bin + "/", "activationd/cmd/activationd", "activationd/cmd/atctl", "activationd/cmd/atctl-lab"},
		{"build", "-o", bin + "/vouch", "./testdata/vouch"},
		{"build", "-o", bin + "/firstends", "../../supervisor/testdata/firstends"},
		{"build", "-o", bin + "/guest", "../../supervisor/testdata/guest"},
		{"test", "-c", "-o", bin + "/supervisor.test", "activationd/supervisor"},
	} {
		cmd := exec.Command("go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64", "GOOS=linux")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	if err := harness.Atwrap(bin); err != nil {
		return err
	}
	kernel, ramdisk = filepath.Join(parts, "vmlinuz"), filepath.Join(dir, "initrd")
	f, err := os.Create(ramdisk)
	if err != nil {
		return err
	}
	a := newInitrd(f)
	a.copy("init", "testdata/init")
	a.copy("bin/busybox", filepath.Join(parts, "busybox"))
	a.add("etc/passwd", []byte("root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"))
	a.add("etc/group", []byte("root:x:0:\nnogroup:x:65534:\n"))
	a.copy("usr/share/zoneinfo/Europe/Prague", "/usr/share/zoneinfo/Europe/Prague")
	a.copy("lib/modules/list", filepath.Join(parts, "modules"))
	modules, err := filepath.Glob(filepath.Join(parts, "*.ko"))
	for _, module := range modules {
		a.copy("lib/modules/"+filepath.Base(module), module)
	}
	a.tree("bin", bin)
	for _, program := range []string{"ip", "bridge"} { // those of busybox, in /bin, know no VLANs
		file, err := exec.LookPath(program)
		if err != nil {
			return err
		}
		a.program("sbin/"+program, file)
	}
	return errors.Join(err, a.close(), f.Close())
}

const emulator = "qemu-system-x86_64"

// A machine is a virtual machine that has booted.
type machine struct {
	t       *testing.T
	cmd     *exec.Cmd
	console string // the file with what the kernel says
	in      io.WriteCloser
	lines   chan string // what comes on the second serial line; closed at its end
	gone    sync.Once
}

// boot starts a machine, with more arguments for the emulator, and waits until it
// accepts commands.
func boot(t *testing.T, args ...string) *machine {
	t.Helper()
	// A busy machine may run an emulator so rarely that its kernel takes the timer for
	// broken: no_timer_check.
	m := &machine{t: t, console: filepath.Join(t.TempDir(), "console"), lines: make(chan string, 64)}
	m.cmd = exec.Command(emulator, append([]string{
		"-accel", "tcg", "-m", "512", "-smp", "1", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", kernel, "-initrd", ramdisk, "-append", "console=ttyS0 quiet panic=-1 random.trust_cpu=on no_timer_check",
		"-serial", "file:" + m.console, "-serial", "stdio",
	}, args...)...)
	m.cmd.Stderr = t.Output()
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // it does not outlive a test that is killed
	in, err := m.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	m.in = in
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(m.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			m.lines <- s.Text()
		}
	}()
	t.Cleanup(m.cut)
	if _, ok := m.until("READY"); !ok {
		t.Fatalf("the machine did not come up:\n%s", m.said())
	}
	return m
}

// cut cuts the machine's power. Everything that it had not flushed to its disks is lost,
// except for what the emulator had already written.
func (m *machine) cut() {
	m.gone.Do(func() {
		_ = m.cmd.Process.Kill()
		for range m.lines { // its reader goes on until the end
		}
		_ = m.cmd.Wait()
	})
}

// off shuts the machine down, with all its disks written.
func (m *machine) off() {
	m.t.Helper()
	m.tell("sync; poweroff -f")
	if _, ok := m.until("nobody says this"); ok {
		m.t.Fatal("the machine goes on")
	}
	m.cut()
}

// until returns the lines up to one with a prefix. ok is false if the machine ends
// before that.
func (m *machine) until(mark string) (said []string, ok bool) {
	m.t.Helper()
	limit := time.NewTimer(*patience)
	defer limit.Stop()
	for {
		select {
		case line, open := <-m.lines:
			if !open {
				return said, false
			}
			line = strings.TrimSuffix(line, "\r")
			if strings.HasPrefix(line, mark) {
				return append(said, line), true
			}
			said = append(said, line)
		case <-limit.C:
			m.t.Fatalf("the machine says nothing more; it said:\n%s\n%s", strings.Join(said, "\n"), m.said())
		}
	}
}

// tell starts a shell script on the machine, and does not wait.
func (m *machine) tell(script string) {
	m.t.Helper()
	if _, err := fmt.Fprintln(m.in, base64.StdEncoding.EncodeToString([]byte(script))); err != nil {
		m.t.Fatalf("telling the machine: %v", err)
	}
}

// endMark is printed after each script.
const endMark = "=END= "

// try runs a shell script on the machine, and returns its output and its status.
func (m *machine) try(script string) (out, status string) {
	m.t.Helper()
	m.tell(script)
	said, ok := m.until(endMark)
	if !ok {
		m.t.Fatalf("the machine went down during\n%s\nit said:\n%s\n%s", script, strings.Join(said, "\n"), m.said())
	}
	last := len(said) - 1
	return strings.TrimSpace(strings.Join(said[:last], "\n")), strings.TrimPrefix(said[last], endMark)
}

// do is try for a script that must succeed.
func (m *machine) do(script string) string {
	m.t.Helper()
	out, status := m.try(script)
	if status != "0" {
		m.t.Fatalf("%s\nended with status %s:\n%s", script, status, out)
	}
	return out
}

// said returns the kernel's messages.
func (m *machine) said() string {
	data, err := os.ReadFile(m.console)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// await runs a script on the machine repeatedly until it prints what is wanted.
func (m *machine) await(script, want string) {
	m.t.Helper()
	for end := time.Now().Add(*patience); ; {
		out, _ := m.try(script)
		if out == want {
			return
		}
		if time.Now().After(end) {
			log, _ := m.try("date; cat /tmp/log")
			m.t.Fatalf("%s\nsays %q, want %q; the daemon says:\n%s", script, out, want, log)
		}
		m.do("sleep 0.2")
	}
}

// env is for all scripts that use the daemon.
const env = "export ACTIVATIOND_SOCKET=/run/a/control.sock\n"

// daemon starts the daemon with its state in a directory, and waits until it answers.
func (m *machine) daemon(state string) {
	m.t.Helper()
	m.do(env + "activationd --state-dir " + state + " --runtime-dir /run/a >>/tmp/log 2>&1 &\n" +
		"echo $! >/tmp/pid\natctl status --wait 300s >/dev/null || { tail -n 5 /tmp/log; exit 1; }")
}

// atctl runs atctl, and returns its standard output.
func (m *machine) atctl(args string) string {
	m.t.Helper()
	return m.do(env + "atctl " + args + " 2>/tmp/err || { s=$?; cat /tmp/err; exit $s; }")
}

// disk makes a disk with a file system.
func disk(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 48<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", file).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v\n%s", err, out)
	}
	return file
}

// drive returns the emulator's arguments for a disk.
func drive(file string) []string {
	return []string{"-drive", "file=" + file + ",format=raw,if=virtio,cache=writeback"}
}

// random returns random numbers, and prints their seed.
func random(t *testing.T) *rand.Rand {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("again with -args -seed=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}
