package supervisor_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"activationd/internal/fault"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

func (b *bench) adopt(want supervisor.State) supervisor.Found {
	b.t.Helper()
	f, err := b.Adopt(key)
	if err != nil {
		b.t.Fatal(err)
	}
	if f.State != want {
		b.t.Fatalf("Adopt = %v %+v, want %v", f.State, f.Result, want)
	}
	return f
}

// killWrapper kills the run's wrapper as the kernel would, and waits until the lock is
// free.
func (b *bench) killWrapper() {
	b.t.Helper()
	if err := syscall.Kill(b.wrapperPID(), syscall.SIGKILL); err != nil {
		b.t.Fatal(err)
	}
	b.await("the lock's release", func() bool {
		f, err := os.Open(filepath.Join(b.RunDir(key), wrapper.LockFile))
		if err != nil {
			b.t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
	})
}

const busy = `echo one >"$ACTIVATION_CONFIG_DIR/sw1"; sleep 600 & setsid sleep 600 & setsid sh -c '(sleep 600 &)' & env -i sleep 600 & sleep 0.1; echo up; `

func TestRunOutlivesTheDaemon(t *testing.T) {
	t.Parallel()
	for _, guard := range guards(t) {
		t.Run(guard, func(t *testing.T) {
			b := newBench(t, guard)
			spec := shell(`echo up; while ! test -e go; do sleep 0.01; done; exit 7`)
			spec.Dir = t.TempDir()
			b.start(spec)
			b.awaitLog("up")
			b.reopen()
			b.adopt(supervisor.Running)
			if _, err := b.Adopt(key); !errors.Is(err, fault.Conflict) {
				t.Errorf("second Adopt = %v, want conflict", err)
			}
			b.reopen() // and once more
			b.adopt(supervisor.Running)
			if err := os.WriteFile(filepath.Join(spec.Dir, "go"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if r := b.exit(); r.Exit != 7 || r.Reason != wrapper.Exited {
				t.Errorf("result = %+v, want exited with 7", r)
			}
			b.nothingLeft()
		})
	}
}

func TestAdoptedRunIsStopped(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	b.start(shell(busy + "wait"))
	b.awaitLog("up\n")
	b.reopen()
	b.adopt(supervisor.Running)
	if err := b.Stop(key); err != nil {
		t.Fatal(err)
	}
	if r := b.exit(); r.Reason != wrapper.Stopped {
		t.Errorf("result = %+v, want stopped", r)
	}
	b.nothingLeft()
}

func TestResultIsCollected(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	spec := shell(`while ! test -e go; do sleep 0.01; done; echo done; exit 9`)
	spec.Dir = t.TempDir()
	b.start(spec)
	b.Close()
	if err := os.WriteFile(filepath.Join(spec.Dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b.await("the result", func() bool { _, err := wrapper.ParseResult(b.file("result")); return err == nil })
	b.open()
	f, err := b.Adopt(key)
	if err != nil {
		t.Fatal(err)
	}
	if f.State == supervisor.Running { // between the result and the exit
		f.Result = b.exit()
	}
	if f.Result.Exit != 9 || f.Result.Reason != wrapper.Exited {
		t.Errorf("found %+v, want exited with 9", f)
	}
	b.nothingLeft()
}

// A wrapper that was killed, with and without a daemon to see it.
func TestKilledWrapper(t *testing.T) {
	t.Parallel()
	for _, guard := range guards(t) {
		for _, away := range []bool{false, true} {
			t.Run(guard+map[bool]string{true: "/no daemon", false: "/daemon"}[away], func(t *testing.T) {
				b := newBench(t, guard)
				spec := shell(busy + "yes tail | head -c 5000; echo last; exec sleep 600")
				spec.LogHead, spec.LogTail = 10, 1000
				b.start(spec)
				b.await("the tail's file", func() bool { return strings.Contains(b.file("log.4")+b.file("log.5"), "last") })
				if away {
					b.Close()
				}
				b.killWrapper()
				var r wrapper.Result
				if away {
					b.open()
					r = b.adopt(supervisor.Lost).Result
				} else {
					r = b.exit()
				}
				if r.Reason != wrapper.Lost || r.Exit != -1 || r.PID == 0 || r.Leftovers < 4 || !strings.Contains(r.Text, "killed") {
					t.Errorf("result = %+v, want lost, with at least 4 leftovers", r)
				}
				b.nothingLeft()
				if got := b.file("config/sw1"); got != "one\n" {
					t.Errorf("evidence = %q", got)
				}
				if got := b.file("log"); !strings.HasPrefix(got, "up\n") || !strings.Contains(got, "left out here]\n") || !strings.HasSuffix(got, "tail\nlast\n") {
					t.Errorf("log = %q", got)
				}
				if f := b.adopt(supervisor.Lost); f.Result.Leftovers != 0 { // asked again, after another crash
					t.Errorf("second Adopt = %+v, want no leftovers", f)
				}
			})
		}
	}
}

// A daemon that dies between any two steps of a start leaves a directory that shows that
// the run never ran.
func TestHalfAStart(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	b.adopt(supervisor.Unborn) // nothing at all
	if err := os.Mkdir(b.RunDir(key), 0o700); err != nil {
		t.Fatal(err)
	}
	b.adopt(supervisor.Unborn)
	for _, name := range []string{"lock", "spec"} {
		if err := os.WriteFile(filepath.Join(b.RunDir(key), name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if f := b.adopt(supervisor.Unborn); f.Result.Reason != wrapper.Unborn || f.Result.Exit != -1 {
			t.Errorf("found %+v", f)
		}
	}
	if err := os.WriteFile(filepath.Join(b.RunDir(key), "started"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b.adopt(supervisor.Lost)
}

// A run from an earlier boot is lost, whatever was not written. Its process ids now belong
// to other processes.
func TestOtherBoot(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	b.start(shell("echo up; sleep 600"))
	b.awaitLog("up")
	b.Close()
	old := b.wrapperPID()
	spec, err := wrapper.ParseSpec(b.file("spec"))
	if err != nil {
		t.Fatal(err)
	}
	other := key
	other.N++
	dir := b.RunDir(other)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	spec.Boot, spec.Cgroup = "another", ""
	for name, data := range map[string]string{"lock": b.file("lock"), "spec": string(spec.Encode())} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.open()
	f, err := b.Adopt(other)
	if err != nil || f.State != supervisor.Lost || f.Result.Leftovers != 0 {
		t.Errorf("Adopt = %+v, %v, want lost, with nothing killed", f, err)
	}
	if syscall.Kill(old, 0) != nil {
		t.Errorf("a process of this boot was killed for one of another")
	}
	b.adopt(supervisor.Running)
	if err := b.Stop(key); err != nil {
		t.Fatal(err)
	}
	b.exit()
}

func TestArmed(t *testing.T) {
	b := newBench(t, "")
	spec := shell("date +%s.%N")
	at := time.Now().Add(700 * time.Millisecond).Round(0)
	spec.NotBefore = at
	r := b.run(spec)
	if r.Reason != wrapper.Exited || r.Started.Before(at) {
		t.Errorf("started %v, not before %v; %+v", r.Started, at, r)
	}
	t.Logf("late by %v", r.Started.Sub(at))
	b.nothingLeft()
}

func TestDisarm(t *testing.T) {
	t.Parallel()
	for _, restart := range []bool{false, true} {
		b := newBench(t, "")
		spec := shell("echo ran")
		spec.NotBefore = time.Now().Add(time.Hour)
		b.start(spec)
		if restart {
			b.reopen()
			b.adopt(supervisor.Running)
		}
		if err := b.Stop(key); err != nil { // also at once, before the wrapper is ready
			t.Fatal(err)
		}
		if r := b.exit(); r.Reason != wrapper.Disarmed || r.PID != 0 || b.file("log") != "" {
			t.Errorf("result = %+v, want disarmed", r)
		}
		if _, err := os.Stat(filepath.Join(b.RunDir(key), "started")); err == nil {
			t.Error("a disarmed run says that it may have run")
		}
		b.nothingLeft()
	}
}

// A wrapper that is killed while it waits for its time has run nothing.
func TestKilledWhileArmed(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	spec := shell("echo ran")
	spec.NotBefore = time.Now().Add(time.Hour)
	b.start(spec)
	b.killWrapper()
	if r := b.exit(); r.Reason != wrapper.Void {
		t.Errorf("result = %+v, want void", r)
	}
	b.nothingLeft()
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root, to mount a small file system")
	}
	b := newBench(t, "")
	if err := syscall.Mount("tmpfs", b.config.RunsDir, "tmpfs", 0, "size=256k,mode=755"); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	defer func() { // a process that is just being started has all descriptors of this one
		b.await("an unmount", func() bool { return !errors.Is(syscall.Unmount(b.config.RunsDir, 0), syscall.EBUSY) })
	}()
	spec := shell(`head -c 2000000 /dev/zero | tr '\0' x; echo; echo survived >&2; exit 5`)
	spec.LogHead, spec.LogTail = 1<<20, 1<<20
	r := b.run(spec)
	if r.Reason != wrapper.Exited || r.Exit != 5 || !strings.Contains(r.Text, "no space left") {
		t.Errorf("result = %+v, want exited with 5 and a word on the lost output", r)
	}
	b.nothingLeft()
	// Now that the disk is full, a new run is refused and leaves nothing.
	other := key
	other.N++
	if err := b.Start(other, shell("true")); !errors.Is(err, fault.Unavailable) {
		t.Errorf("Start on a full disk = %v, want unavailable", err)
	}
	if _, err := os.Stat(b.RunDir(other)); err == nil {
		t.Error("a refused run's directory is there")
	}
}

// The signals of a machine that goes down don't end a wrapper before its
// script.
func TestWrapperIgnoresSignals(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	spec := shell(`echo up; while ! test -e go; do sleep 0.01; done; exit 6`)
	spec.Dir = t.TempDir()
	b.start(spec)
	b.awaitLog("up")
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1} {
		if err := syscall.Kill(b.wrapperPID(), sig); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(spec.Dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := b.exit(); r.Exit != 6 || r.Reason != wrapper.Exited {
		t.Errorf("result = %+v, want exited with 6", r)
	}
	b.nothingLeft()
}

// TestStoppedWrapper: a script gains nothing by stopping its wrapper (SIGSTOP). The
// timeout and a stop end the script all the same, even after a restart of the daemon.
func TestStoppedWrapper(t *testing.T) {
	t.Parallel()
	once := `kill -STOP $PPID; sleep 300`
	forever := `( trap '' TERM; while :; do kill -STOP $PPID 2>/dev/null; done ) & trap '' TERM; while :; do sleep 300; done`
	for _, tt := range []struct {
		name, script string
		reopen, stop bool
		reason       string
	}{
		{"timeout", once, false, false, wrapper.TimedOut},
		{"timeout, adopted", once, true, false, wrapper.TimedOut},
		{"stop", once, false, true, wrapper.Stopped},
		{"stop, adopted", once, true, true, wrapper.Stopped},
		{"again and again", forever, false, true, wrapper.Lost},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, "")
			b.Close()
			b.config.Patience = 200 * time.Millisecond
			b.open()
			spec := shell(tt.script)
			spec.Grace = 100 * time.Millisecond
			if !tt.stop { // in which the script stops its wrapper, also on a slow machine
				spec.Timeout = 10 * time.Second
			}
			b.start(spec)
			b.await("that the wrapper is stopped", func() bool {
				p, ok := wrapper.Stat(b.wrapperPID())
				return ok && p.State == 'T'
			})
			if tt.reopen {
				b.reopen()
				b.adopt(supervisor.Running)
			}
			if tt.stop {
				if err := b.Stop(key); err != nil {
					t.Fatal(err)
				}
			}
			if r := b.exit(); r.Reason != tt.reason {
				t.Errorf("%+v, want %s", r, tt.reason)
			}
			b.nothingLeft()
		})
	}
}

// Two daemons cannot use the same directory of runs.
func TestSecondDaemonIsRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	if s, err := supervisor.New(b.config); !errors.Is(err, fault.Conflict) {
		if err == nil {
			s.Close()
		}
		t.Errorf("second New = %v, want conflict", err)
	}
}

// ownChildren returns the children of this process.
func ownChildren(t *testing.T) (pids []int) {
	t.Helper()
	lists, _ := filepath.Glob("/proc/self/task/*/children") // a bad pattern is its only error
	for _, list := range lists {
		data, err := os.ReadFile(list)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // a thread may have ended
			t.Fatal(err)
		}
		for f := range strings.FieldsSeq(string(data)) {
			pid, err := strconv.Atoi(f)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// Wrappers are killed at any moment of their lives. What the daemon then reports is
// compared with a file that the script makes: a run that is reported as not started has
// not started, and a script that started leaves no processes behind.
func TestKilledAnywhere(t *testing.T) {
	seen := map[string]int{}
	for _, guard := range guards(t) {
		b := newBench(t, guard)
		dir := t.TempDir()
		for n := range 150 {
			k := supervisor.Key{ID: "k", Phase: "activate", N: n}
			ran := filepath.Join(dir, itoa(n))
			if err := b.Start(k, shell(`: >`+ran+`; setsid sleep 600 & sleep 0.005`)); err != nil {
				t.Fatal(err)
			}
			for end := time.Now().Add(time.Duration(n) * 100 * time.Microsecond); time.Now().Before(end); {
			}
			for _, pid := range ownChildren(t) {
				_ = syscall.Kill(pid, syscall.SIGKILL) // it is the wrapper
			}
			var r wrapper.Result
			select {
			case x := <-b.Exits():
				r = x.Result
			case <-time.After(hang):
				t.Fatalf("no exit of run %d", n)
			}
			seen[r.Reason]++
			_, err := os.Stat(ran)
			if (r.Reason == wrapper.NotStarted || r.Reason == wrapper.Void || r.Reason == wrapper.Unborn) && err == nil {
				t.Errorf("run %d is said not to have started, but it did: %+v", n, r)
			}
			if r.Reason == wrapper.Exited && err != nil {
				t.Errorf("run %d is said to have exited, but it did not run: %+v", n, r)
			}
		}
		for _, pid := range marked(wrapper.ConfigVar + "=" + b.config.ConfigRoot + "/") {
			t.Errorf("left: %d with %q", pid, wrapper.Environ(pid))
		}
		if left, _ := os.ReadDir(b.config.ConfigRoot); len(left) > 0 {
			t.Errorf("%d configuration directories left behind", len(left))
		}
	}
	t.Logf("%v", seen)
}
