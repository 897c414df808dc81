package supervisor_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"activationd/internal/fault"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// These tests take away from a wrapper, and from the daemon, what a start needs: room,
// descriptors, processes, memory. The limits are the system's own. None of that is the
// script's fault, and it must not use up an attempt: such a run did not start, and
// its result says why. A run has failed only if the script itself cannot be executed.

// limited is a bench whose wrappers are started through command, with the wrapper's
// program behind it.
func limited(t *testing.T, command string) *bench {
	t.Helper()
	return shimmed(t, command+" "+atwrap)
}

// shimmed is a bench whose wrapper is started by a command.
func shimmed(t *testing.T, command string) *bench {
	t.Helper()
	b := newBench(t, "")
	b.Close()
	shim := filepath.Join(t.TempDir(), "atwrap")
	// While nobody forks: a child has the file open for writing, too, until it executes its own.
	syscall.ForkLock.RLock()
	err := os.WriteFile(shim, []byte("#!/bin/sh\nexec "+command+"\n"), 0o755)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	b.config.Atwrap, b.config.Guard = shim, wrapper.GuardSubreaper
	return b
}

// eventually starts runs with ever more of something, until one runs: those before it
// must not have started, and have said why.
func eventually(t *testing.T, spec wrapper.Spec, from, to, step int, bench func(n int) *bench) {
	t.Helper()
	seen, voids := map[string]int{}, 0
	for n := from; n <= to; n += step {
		b := bench(n)
		err := b.Start(key, spec)
		if errors.Is(err, fault.Unavailable) {
			seen[err.Error()]++
			continue
		}
		if err != nil {
			t.Fatalf("with %d: %v, want unavailable", n, err)
		}
		r := b.exit()
		seen[r.Reason+": "+r.Text]++
		switch {
		case r.Reason == wrapper.NotStarted && r.Text != "" && r.PID == 0 && r.Exit == -1:
		case r.Reason == wrapper.Void && r.PID == 0 && voids < 2:
			voids++ // Go's runtime lacked a thread just when the wrapper had begun, which is rare
		case r.Reason == wrapper.Unborn && r.PID == 0: // the kernel could not load the wrapper's program
		case r.Reason == wrapper.Exited && r.Exit == 0:
			if len(seen) < 2 {
				t.Errorf("it ran the first time, with %d", n)
			}
			for s, k := range seen {
				t.Logf("%d times: %s", k, s)
			}
			return
		default:
			t.Errorf("with %d: %+v, want not started, or exited with 0\nlog: %s", n, r, b.file("log"))
		}
	}
	t.Errorf("it never ran: %v", seen)
}

// small mounts a file system that has room for little.
func small(t *testing.T, dir, options string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to mount a small file system")
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options+",mode=755"); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

func TestNoRoomForAStart(t *testing.T) {
	t.Parallel()
	t.Run("for files in the runtime directory", func(t *testing.T) {
		spec := shell(`test -s "$ACTIVATION_TOPOLOGY"`)
		spec.Topology = []byte("name: x\n")
		eventually(t, spec, 1, 8, 1, func(n int) *bench {
			b := newBench(t, "")
			small(t, b.config.ConfigRoot, fmt.Sprintf("nr_inodes=%d", n))
			return b
		})
	})
	t.Run("for a topology in the runtime directory", func(t *testing.T) {
		spec := shell(`test -s "$ACTIVATION_TOPOLOGY"`)
		spec.Topology = []byte(strings.Repeat("# long\n", 4000))
		eventually(t, spec, 4, 64, 12, func(n int) *bench {
			b := newBench(t, "")
			small(t, b.config.ConfigRoot, fmt.Sprintf("size=%dk", n))
			return b
		})
	})
	t.Run("for files in the state directory", func(t *testing.T) {
		eventually(t, shell("exit 0"), 1, 12, 1, func(n int) *bench {
			b := newBench(t, "")
			small(t, b.config.RunsDir, fmt.Sprintf("nr_inodes=%d", n))
			b.reopen() // on the new file system
			return b
		})
	})
}

// A result of which only a part could be written is written again when there is room for all of it.
func TestRoomForPartOfAResult(t *testing.T) {
	t.Parallel()
	const room = 300
	b := limited(t, fmt.Sprintf("prlimit --fsize=%d:unlimited", room))
	b.open()
	spec := shell("")
	spec.Argv = []string{"/none/" + strings.Repeat("x", room)} // for a long text
	b.start(spec)
	b.await("a part of a result", func() bool { return len(b.file("result.new")) == room })
	if err := unix.Prlimit(b.wrapperPID(), unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}, nil); err != nil {
		t.Fatal(err)
	}
	if r := b.exit(); r.Reason != wrapper.Failed || r.Exit != 127 || !strings.Contains(r.Text, "/none/x") {
		t.Errorf("%+v, want failed with 127", r)
	}
	b.nothingLeft()
}

func TestNoDescriptorsForAStart(t *testing.T) {
	t.Parallel()
	spec := shell("exit 0")
	spec.Limits = []wrapper.Limit{{Name: "nofile", Soft: 6, Hard: 6}} // no more than the wrapper's own
	t.Run("at once", func(t *testing.T) {
		eventually(t, spec, 6, 24, 1, func(n int) *bench {
			b := limited(t, fmt.Sprintf("prlimit --nofile=%d:%d", n, n))
			b.open()
			return b
		})
	})
	t.Run("armed", func(t *testing.T) { // it needs one more, to wait with
		for n := 6; n <= 20; n++ {
			b := limited(t, fmt.Sprintf("prlimit --nofile=%d:%d", n, n))
			b.open()
			spec := spec
			spec.NotBefore = time.Now().Add(100 * time.Millisecond)
			if r := b.run(spec); r.Reason != wrapper.NotStarted && r.Reason != wrapper.Exited {
				t.Errorf("with %d: %+v, want not started, or exited", n, r)
			}
		}
	})
}

func TestNoMemoryForAStart(t *testing.T) {
	t.Parallel()
	eventually(t, shell("exit 0"), 1, 4096, 200, func(n int) *bench {
		b := limited(t, fmt.Sprintf(`sh -c 'test -e /proc/self/fd/3 && exec prlimit --as=%d000000 "$0"; exec "$0"'`, n)) // not when it is tried
		b.open()
		return b
	})
}

// spareUID is nobody's.
const spareUID = 61_237

func TestNoProcessesForAStart(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root, to become another user")
	}
	t.Run("for the wrapper's threads and its script", func(t *testing.T) {
		eventually(t, shell("exit 0"), 1, 30, 1, func(n int) *bench {
			b := limited(t, fmt.Sprintf(`sh -c 'test -e /proc/self/fd/3 && exec setpriv --reuid %d --inh-caps -all,+dac_override --ambient-caps -all,+dac_override prlimit --nproc=%d "$0"; exec "$0"'`, spareUID, n))
			if err := os.Chmod(b.config.ConfigRoot, 0o777); err != nil {
				t.Fatal(err)
			}
			b.open()
			return b
		})
	})
	t.Run("for a user's script", func(t *testing.T) {
		b := newBench(t, "")
		var others []*exec.Cmd
		for range 2 {
			other := exec.Command("setpriv", "--reuid", fmt.Sprint(spareUID+1), "sleep", "600")
			if err := other.Start(); err != nil {
				t.Skip(err)
			}
			others = append(others, other)
			b.await("the other process", func() bool {
				status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", other.Process.Pid))
				return strings.Contains(string(status), fmt.Sprintf("Uid:\t%d", spareUID+1)) && strings.Contains(string(status), "Name:\tsleep")
			})
		}
		end := func() {
			for _, other := range others {
				_ = other.Process.Kill()
				_ = other.Wait()
			}
		}
		t.Cleanup(end)
		spec := shell("exit 0")
		spec.UID, spec.GID, spec.Limits = spareUID+1, spareUID+1, []wrapper.Limit{{Name: "nproc", Soft: 1, Hard: 1}}
		if r := b.run(spec); r.Reason != wrapper.NotStarted || !strings.Contains(r.Text, syscall.EAGAIN.Error()) {
			t.Errorf("%+v, want not started", r)
		}
		end()
		next := supervisor.Key{ID: key.ID, Phase: key.Phase, N: 2}
		if err := b.Start(next, spec); err != nil {
			t.Fatal(err)
		}
		if x := <-b.Exits(); x.Result.Reason != wrapper.Exited {
			t.Errorf("then: %+v, want exited", x.Result)
		}
	})
}

// TestNoDescriptorsInTheDaemon has the daemon itself run out of them while runs begin
// and end: none of its own is taken for failed or lost.
func TestNoDescriptorsInTheDaemon(t *testing.T) {
	b := newBench(t, "")
	dir := t.TempDir()
	spec := shell(`while ! test -e go; do sleep 0.01; done; exit 7`)
	spec.Dir = dir
	b.start(spec)
	b.wrapperPID()
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	none := old
	none.Cur = 3 // which leaves alone what is open
	restore := func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "set"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "set"), filepath.Join(dir, "go")); err != nil { // which needs no descriptor
		restore()
		t.Fatal(err)
	}
	err := b.Start(supervisor.Key{ID: "2", Phase: "activate", N: 1}, shell("exit 0"))
	if !errors.Is(err, fault.Unavailable) {
		t.Errorf("Start without descriptors = %v, want unavailable", err)
	}
	_, err = b.Adopt(supervisor.Key{ID: "3", Phase: "activate", N: 1})
	if !errors.Is(err, syscall.EMFILE) {
		t.Errorf("Adopt without descriptors = %v, want that error", err)
	}
	select {
	case x := <-b.Exits():
		t.Errorf("without descriptors it is known how a run ended: %+v", x)
	case <-time.After(200 * time.Millisecond): // it is tried again after a second
	}
	restore()
	if r := b.exit(); r.Reason != wrapper.Exited || r.Exit != 7 {
		t.Errorf("%+v, want exited with 7", r)
	}
}

// TestFileSystemIsGone starts runs whose program, or whose directory, lies on a file
// system that has lost its server. That is not the script's fault, and it can be executed
// again when the server is back. So the errors that are not the script's fault must not
// be a list of known ones.
func TestFileSystemIsGone(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	gone := lostDisk(t)
	inIt := shell("exit 0")
	inIt.Dir = gone
	program := shell("exit 0")
	program.Argv = []string{filepath.Join(gone, "script")}
	for i, spec := range []wrapper.Spec{inIt, program} {
		if err := b.Start(supervisor.Key{ID: key.ID, Phase: key.Phase, N: i + 1}, spec); err != nil {
			t.Fatal(err)
		}
		if r := (<-b.Exits()).Result; r.Reason != wrapper.NotStarted || !strings.Contains(r.Text, syscall.ENOTCONN.Error()) {
			t.Errorf("%+v, want not started: %v", r, syscall.ENOTCONN)
		}
	}
}

// lostDisk mounts a file system whose server is gone, and returns where.
func lostDisk(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	fuse, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err == nil {
		err = syscall.Mount("lost", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40755,user_id=0,group_id=0,allow_other", fuse.Fd()))
	}
	if err != nil {
		t.Skip("no file system can be mounted:", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err := fuse.Close(); err != nil { // its server ends
		t.Fatal(err)
	}
	return dir
}
