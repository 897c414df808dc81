package supervisor_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"activationd/supervisor/wrapper"
	"activationd/test/harness"
)

// emulator returns a command that executes a program for arm64.
func emulator(t *testing.T) string {
	t.Helper()
	if runtime.GOARCH == "arm64" {
		return "env" // it executes the program as it is
	}
	const qemu = "qemu-aarch64"
	if _, err := exec.LookPath(qemu); err != nil {
		t.Skipf("%v: run scripts/install-deps arm64", err)
	}
	return qemu
}

// goArm64 calls make or go, which build for arm64.
func goArm64(t *testing.T, command ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", command, err, out)
	}
}

// makeArm64 builds the wrapper for arm64 and returns its path.
func makeArm64(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	goArm64(t, "make", "-s", "-C", "..", "atwrap", "BIN="+dir, "IDLE_AFTER=0")
	return filepath.Join(dir, "atwrap")
}

// The tests of package wrapper pass on arm64.
func TestArm64Package(t *testing.T) {
	t.Parallel()
	goArm64(t, "go", "test", "-count=1", "-timeout=2h", "-exec="+emulator(t), "./wrapper")
}

// The supervisor on arm64 starts, ends and adopts runs. It is slow in an emulator.
func TestArm64Supervisor(t *testing.T) {
	t.Parallel()
	command := emulator(t)
	if !harness.All() {
		return // TestWithoutPidfds tests the same without an emulator
	}
	b := shimmed(t, command+" "+makeArm64(t))
	dir := filepath.Dir(b.config.Atwrap)
	for _, program := range []string{firstends, guest} {
		if err := os.Symlink(program, filepath.Join(dir, filepath.Base(program))); err != nil {
			t.Fatal(err)
		}
	}
	self := filepath.Join(t.TempDir(), "supervisor.test")
	goArm64(t, "go", "test", "-c", "-o", self, ".")
	passes(t, testsInEmulator, []string{refuseVar + "=new", programsVar + "=" + dir}, command, self)
}

// The wrapper for arm64 does its work, in its early stage and after it.
func TestArm64(t *testing.T) {
	t.Parallel()
	command := emulator(t)
	atwrap := makeArm64(t)
	bench := func(t *testing.T) *bench {
		b := shimmed(t, command+" "+atwrap)
		b.open()
		return b
	}

	t.Run("ends", func(t *testing.T) {
		t.Parallel()
		b := bench(t)
		spec := shell("echo up; exit 3")
		spec.NotBefore = time.Now().Add(time.Second)
		if r := b.run(spec); r.Reason != wrapper.Exited || r.Exit != 3 || r.Text != "" || r.Started.Before(spec.NotBefore) || b.file("log") != "up\n" {
			t.Errorf("%+v, log %q; want exited with 3 after %v", r, b.file("log"), spec.NotBefore)
		}
		b.nothingLeft()
	})
	t.Run("cannot start", func(t *testing.T) {
		t.Parallel()
		b := bench(t)
		spec := shell("")
		spec.Argv = []string{"/nowhere/script"}
		if r := b.run(spec); r.Reason != wrapper.Failed || r.Exit != 127 || !strings.Contains(r.Text, "/nowhere") {
			t.Errorf("%+v, want failed with 127", r)
		}
	})
	const tree = `sleep 600 & setsid sleep 600 & setsid sh -c '(sleep 600 &)'; echo up; wait`
	t.Run("timeout", func(t *testing.T) {
		t.Parallel()
		b := bench(t)
		spec := shell("trap '' TERM; " + tree)
		spec.Timeout, spec.Grace = time.Second, 200*time.Millisecond
		if r := b.run(spec); r.Reason != wrapper.TimedOut || r.Signal == 0 || r.Text != "" { // TERM may come before the trap is set
			t.Errorf("%+v, want timed out and killed", r)
		}
		b.nothingLeft()
	})
	t.Run("stop", func(t *testing.T) {
		t.Parallel()
		b := bench(t)
		b.start(shell(tree))
		b.awaitLog("up\n")
		if err := b.Stop(key); err != nil {
			t.Fatal(err)
		}
		if r := b.exit(); r.Reason != wrapper.Stopped || r.Signal != int(syscall.SIGTERM) || r.Text != "" {
			t.Errorf("%+v, want stopped", r)
		}
		b.nothingLeft()
	})
	t.Run("killed", func(t *testing.T) {
		t.Parallel()
		b := bench(t)
		b.start(shell(tree))
		b.awaitLog("up\n")
		b.killWrapper()
		if r := b.exit(); r.Reason != wrapper.Lost {
			t.Errorf("%+v, want lost", r)
		}
		b.nothingLeft()
	})
}
