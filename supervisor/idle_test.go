package supervisor_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"activationd/supervisor"
	"activationd/supervisor/wrapper"
	"activationd/test/harness"
)

// In all tests of this package the wrapper becomes idle at once, see idleAfter. Those here are about
// that itself.

// idle reports whether a process is a wrapper that waits without Go's runtime, which has several threads.
func idle(pid int) bool {
	p, ok := wrapper.Stat(pid)
	return ok && p.Threads == 1 && waits(pid)
}

// awaitIdle waits until the run's wrapper is idle and waits, and returns its process id.
func (b *bench) awaitIdle() (pid int) {
	b.t.Helper()
	pid = b.wrapperPID()
	b.await("an idle wrapper", func() bool { return idle(pid) })
	return pid
}

// waits reports whether a process is in ppoll(2).
func waits(pid int) bool {
	call, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", pid))
	number, _, _ := strings.Cut(string(call), " ")
	return err == nil && number == strconv.Itoa(unix.SYS_PPOLL)
}

// An idle wrapper is small, waits without a limit, so that it never wakes, and still tells
// what it is. It has one thread, and its run is what it was.
func TestIdleWrapper(t *testing.T) {
	t.Parallel()
	for _, guard := range guards(t) {
		for _, spec := range []wrapper.Spec{shell("echo up; exec sleep 600"), notifying(`"$GUEST" barrier READY=1; echo up; exec sleep 600`)} {
			b := newBench(t, guard)
			spec.Timeout = time.Hour
			b.start(spec)
			b.awaitLog("up")
			pid := b.awaitIdle()
			born, _ := wrapper.Stat(pid)
			if kib := b.privateMemory(); kib > 64 {
				t.Errorf("an idle wrapper has %d KiB of its own, want at most 64", kib)
			} else {
				t.Logf("%d KiB", kib)
			}
			if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); string(comm) != "atwrap\n" || born.Threads != 1 {
				t.Errorf("name %q (%v), %d threads; want atwrap with one", comm, err, born.Threads)
			}
			b.reopen()
			if found, err := b.Adopt(key); err != nil || found.Result.Reason != "" {
				t.Fatalf("adopted: %+v, %v", found, err)
			}
			r := b.finish()
			if r.Reason != wrapper.Stopped || r.Signal != int(syscall.SIGTERM) || r.Text != "" || r.WrapperPID != pid {
				t.Errorf("%+v, want stopped, by wrapper %d", r, pid)
			}
		}
	}
}

// The idle stage by itself: it ends when one of its descriptors can be read, or if there is a child
// that has ended already; then the program goes on as itself, and says that nobody
// may start it like that.
func TestIdleStage(t *testing.T) {
	t.Parallel()
	const become = `exec -a atwrap "$ATWRAP" idle "$1"`
	tests := []struct {
		name, script, to string
		ends             bool
	}{
		{"nothing to wait for", become, "00", false},
		{"a descriptor without input", become, "003", false},
		{"input", become, "0030", true},
		{"input, and threads and memory to take", become, "2930", true},
		{"a child that has ended", `exec "$GUEST" become "$ATWRAP" atwrap idle "$1"`, "00", true},
		{"a child that has not", "sleep 600 & " + become, "00", false},
		{"no such descriptor", become, "00y", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _, _ = r.Close(), w.Close() }()
			c := exec.Command("/bin/bash", "-c", tt.script, "bash", tt.to)
			c.Env = append(os.Environ(), "ATWRAP="+atwrap, "GUEST="+guest)
			c.ExtraFiles = []*os.File{r}
			c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			var out strings.Builder
			c.Stderr = &out
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			if !tt.ends {
				b := &bench{t: t}
				b.await("an idle stage that waits", func() bool { return idle(c.Process.Pid) })
				if err := syscall.Kill(-c.Process.Pid, syscall.SIGKILL); err != nil {
					t.Error(err)
				}
			}
			if err := c.Wait(); !tt.ends && out.Len() > 0 || tt.ends && (c.ProcessState.ExitCode() != wrapper.StatusMisused || !strings.Contains(out.String(), "by hand")) {
				t.Errorf("ended: %v, %s", err, out.String())
			}
		})
	}
}

// The clock of a timeout goes on while the wrapper is idle.
func TestIdleTimeout(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	spec := shell("exec sleep 600")
	spec.Timeout = 500 * time.Millisecond
	b.start(spec)
	r := b.exit()
	if took := r.Ended.Sub(r.Started); r.Reason != wrapper.TimedOut || r.Signal != int(syscall.SIGTERM) || took < spec.Timeout {
		t.Errorf("%+v after %v, want a timeout", r, took)
	}
	b.nothingLeft()
}

// An idle wrapper reaps a process that it inherited as soon as that ends; nothing else would
// tell it.
func TestIdleReaps(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	b.start(shell("orphan=$(sh -c 'sleep 600 >&2 & echo $!'); echo $orphan; exec sleep 601")) // the orphan's parent has ended before the line
	b.awaitLog("\n")
	orphan, err := strconv.Atoi(strings.TrimSpace(b.file("log")))
	if err != nil {
		t.Fatal(err)
	}
	pid := b.awaitIdle()
	if p, ok := wrapper.Stat(orphan); !ok || p.Parent != pid {
		t.Fatalf("%+v, want a child of the wrapper %d", p, pid)
	}
	if err := syscall.Kill(orphan, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	b.await("the end of a zombie", func() bool {
		p, ok := wrapper.Stat(orphan)
		return !ok || p.Parent != pid
	})
	b.awaitIdle()
	if r := b.finish(); r.Reason != wrapper.Stopped || r.Leftovers != 0 {
		t.Errorf("%+v, want stopped without leftovers", r)
	}
}

// The wrapper's program is replaced and removed while the wrapper is idle: it goes on as the program
// that it was.
func TestIdleProgramIsGone(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	b.Close()
	data, err := os.ReadFile(atwrap)
	if err != nil {
		t.Fatal(err)
	}
	b.config.Atwrap = filepath.Join(t.TempDir(), "atwrap")
	syscall.ForkLock.RLock() // see limited
	err = os.WriteFile(b.config.Atwrap, data, 0o755)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	b.open()
	b.start(shell("trap 'echo more' USR1; echo up; while :; do sleep 600 & wait; done"))
	b.awaitLog("up")
	b.awaitIdle()
	if err := os.Remove(b.config.Atwrap); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.config.Atwrap, []byte("another"), 0o755); err != nil {
		t.Fatal(err)
	}
	pid, _, _ := b.Started(key)
	if err := syscall.Kill(pid, syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	b.awaitLog("more")
	b.awaitIdle()
	if r := b.finish(); r.Reason != wrapper.Stopped || r.Text != "" {
		t.Errorf("%+v, want stopped", r)
	}
}

// The signals that a machine's shutdown sends do not end a wrapper, in whichever stage or
// between two of them they come.
func TestIdleSignals(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	spec := rotating("i=0; while ! [ -e enough ]; do echo $i; i=$((i+1)); sleep 0.003; done; echo $i >lines; exit 7", 1<<30, 1) // it needs the runtime for each line
	spec.Dir = t.TempDir()
	b.start(spec)
	pid := b.wrapperPID()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	b.await("a start", func() bool { _, _, ok := b.Started(key); return ok })
	sent, stages, enough := 0, map[bool]int{}, false
	for end := time.Now().Add(hang); ; sent++ {
		alive := true
		for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGQUIT, unix.SIGINT, unix.SIGHUP} {
			alive = alive && unix.PidfdSendSignal(fd, sig, nil, 0) == nil
		}
		stages[idle(pid)]++
		if !enough && min(stages[true], stages[false]) >= 100 || time.Now().After(end) {
			enough = true
			if err := os.WriteFile(filepath.Join(spec.Dir, "enough"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if p, ok := wrapper.Stat(pid); !alive || !ok || p.Dead() {
			break
		}
	}
	_ = unix.Close(fd)
	r := b.exit()
	if r.Reason != wrapper.Exited || r.Exit != 7 || r.Text != "" {
		t.Errorf("%+v, want exited with 7, after %d signals of each kind", r, sent)
	}
	lines, err := os.ReadFile(filepath.Join(spec.Dir, "lines"))
	if log := b.file("log"); err != nil || itoa(strings.Count(log, "\n"))+"\n" != string(lines) {
		t.Errorf("the log has %d lines, want %q, %v", strings.Count(log, "\n"), lines, err)
	}
	if min(stages[true], stages[false]) < 100 {
		t.Errorf("the stages (idle or not) in which the signals came: %v, want both", stages)
	}
	b.nothingLeft()
}

// Go's runtime ends a process that cannot start its threads. An idle wrapper waits until it
// can have them.
func TestIdleWithoutThreads(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root, to become another user")
	}
	const uid = spareUID + 2
	const most = 20
	b := limited(t, fmt.Sprintf(`setpriv --reuid %d --inh-caps -all,+dac_override --ambient-caps -all,+dac_override prlimit --nproc=%d`, uid, most))
	if err := os.Chmod(b.config.ConfigRoot, 0o777); err != nil {
		t.Fatal(err)
	}
	b.open()
	b.start(rotating("trap 'echo more; exit 5' USR1; sleep 600 & echo up; wait", 1<<20, 1)) // it needs the runtime for the output, and starts no process after that
	b.awaitLog("up")
	pid := b.awaitIdle()
	var others []*exec.Cmd
	end := func() {
		for _, other := range others {
			_ = other.Process.Kill()
			_ = other.Wait()
		}
		others = nil
	}
	t.Cleanup(end)
	for range most {
		other := exec.Command("sleep", "600")
		other.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid}}
		if err := other.Start(); err != nil {
			t.Fatal(err)
		}
		others = append(others, other)
	}
	script, _, _ := b.Started(key)
	if err := syscall.Kill(script, syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	b.await("a wrapper that waits for threads", func() bool {
		call, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", pid))
		return err == nil && strings.HasPrefix(string(call), strconv.Itoa(unix.SYS_NANOSLEEP)+" ")
	})
	if p, ok := wrapper.Stat(pid); b.file("log") != "up\n" || p.Threads > 1 {
		t.Errorf("log %q, %v, %+v; want an idle wrapper that has not read the output", b.file("log"), ok, p)
	}
	end()
	if r := b.exit(); r.Reason != wrapper.Exited || r.Exit != 5 || b.file("log") != "up\nmore\n" {
		t.Errorf("%+v with log %q, want exited with 5", r, b.file("log"))
	}
	b.nothingLeft()
}

// A wrapper that becomes idle between any two events leaves the same record as one that
// never does.
func TestIdleChangesNothing(t *testing.T) {
	t.Parallel()
	awake := filepath.Join(t.TempDir(), "atwrap") // linked without the entry, it never becomes idle
	if out, err := exec.Command("go", "build", "-o", awake, "activationd/cmd/atwrap").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	steps := []string{
		"echo line $((n+=1))", "printf half", "head -c 70000 /dev/zero | tr '\\0' x", "echo; echo", "sh -c 'sleep 0.01 &' | cat", "sh -c 'sleep 600 & echo orphan'",
		"sleep 0.005", "sleep 0.02", `"$GUEST" send READY=1`, `"$GUEST" send RELOADING=1`, `"$GUEST" send STATUS=$((n+=1))`, "kill -TERM $PPID", "kill -HUP $PPID",
		"kill -QUIT $PPID", "kill -CHLD $PPID", "kill -STOP $PPID; kill -CONT $PPID", "setsid sleep 600 & sleep 0.01",
	}
	ends := []string{"exit 0", "exit 3", "exit 127", "kill -KILL $$", "kill -USR2 $PPID; exec sleep 600", "trap 'echo bye; exit 4' TERM; kill -USR2 $PPID; while :; do :; done", "exec sleep 600"}
	random := harness.Random(t)
	for range harness.Size(12, 300) {
		var script []string
		for range 1 + random.IntN(12) {
			script = append(script, steps[random.IntN(len(steps))])
		}
		end := ends[random.IntN(len(ends))]
		spec := notifying("n=0\n" + strings.Join(script, "\n") + "\nsleep 0.01\n" + end)
		if end == "exec sleep 600" {
			spec.Timeout = 1500 * time.Millisecond
		}
		switch random.IntN(3) {
		case 1:
			spec.LogHead, spec.LogTail = 100, 1000
		case 2:
			spec.LogRotate, spec.LogKeep = 5000, wrapper.MaxLogKeep
		}
		restart := random.IntN(2) == 0
		t.Run("", func(t *testing.T) {
			t.Parallel()
			never, often := recordOf(t, awake, spec, false), recordOf(t, atwrap, spec, restart)
			if never != often {
				t.Errorf("a wrapper that is never idle:\n%s\none that often is:\n%s\nscript:\n%s", never, often, spec.Argv[2])
			}
		})
	}
}

// recordOf returns the record of a run under a given wrapper; the daemon is restarted
// meanwhile if that is wanted.
func recordOf(t *testing.T, program string, spec wrapper.Spec, restart bool) string {
	b := newBench(t, "")
	b.Close()
	b.config.Atwrap = program
	b.open()
	b.start(spec)
	if !restart {
		return b.record(b.exit())
	}
	b.reopen()
	found, err := b.Adopt(key)
	if err != nil {
		t.Fatal(err)
	}
	if found.State != supervisor.Running {
		return b.record(found.Result)
	}
	return b.record(b.exit())
}

// record returns what is known of a run that ended, without times and process ids.
func (b *bench) record(r wrapper.Result) string {
	b.t.Helper()
	b.nothingLeft()
	if r.Ended.Before(r.Started) || r.PID == 0 || r.WrapperPID == 0 {
		b.t.Errorf("%+v", r)
	}
	text := fmt.Sprintf("%s exit %d signal %d leftovers %d %s %q\n", r.Reason, r.Exit, r.Signal, r.Leftovers, r.Contained, r.Text)
	if n, ok := b.Notified(key); ok {
		text += fmt.Sprintf("ready %v reloading %v stopping %v status %q refused %d\n", !n.Ready.IsZero(), !n.Reloading.IsZero(), !n.Stopping.IsZero(), n.Status, n.Refused)
	}
	files, err := filepath.Glob(filepath.Join(b.RunDir(key), "*"))
	if err != nil {
		b.t.Fatal(err)
	}
	output := b.file("log")
	for n := 1; slices.Contains(files, filepath.Join(b.RunDir(key), wrapper.LogPart(n))); n++ {
		output = b.file(wrapper.LogPart(n)) + output // where a file begins depends on when the output came
	}
	for _, file := range files {
		if name := filepath.Base(file); !strings.HasPrefix(name, "log.") {
			text += name + " "
		}
	}
	return text + fmt.Sprintf("\noutput %d bytes, %x: %.300q", len(output), sha256.Sum256([]byte(output)), output)
}
