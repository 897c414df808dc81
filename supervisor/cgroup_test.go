package supervisor_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// ownCgroup is the beginning of a script: M is where cgroup v2 is mounted, and C
// the script's own cgroup there.
const ownCgroup = `M=$(sed -n 's,^[^ ]* [^ ]* [^ ]* / \([^ ]*\) .* - cgroup2 .*,\1,p' /proc/self/mountinfo | head -n 1)
C=$M$(sed -n 's/^0:://p' /proc/self/cgroup); [ -f "$C/cgroup.procs" ] || exit 9
`

// threaded makes the script's own cgroup a threaded one, which only one that is
// empty can become.
const threaded = `echo $$ >"$M/cgroup.procs"; echo threaded >"$C/cgroup.type"; echo $$ >"$C/cgroup.procs"
[ "$(cat "$C/cgroup.type")" = threaded ] && ! cat "$C/cgroup.procs" 2>/dev/null || exit 9
`

// cgroupShapes are what a script of root can make of its cgroup. Each says "up"
// when it stands, and would go on for ten minutes.
var cgroupShapes = []struct{ name, script string }{
	{"below it", `mkdir -p "$C/a/b/c" "$C/a.b/c"; echo up; exec sleep 600`},
	{"inside of one below", `mkdir -p "$C/a/b"; setsid sleep 600 & echo $! >"$C/a/b/cgroup.procs"; echo up; wait`},
	{"itself inside of one below", `mkdir -p "$C/a/b"; echo $$ >"$C/a/b/cgroup.procs"; setsid sleep 600 & echo up; wait`},
	{"many", `for i in 1 2 3 4 5 6 7 8 9; do mkdir -p $C/$i/1 $C/$i/2/3; setsid sleep 600 & echo $! >$C/$i/2/3/cgroup.procs; done; echo up; wait`},
	{"deep", `d=$C; n=0; while [ $n -lt 300 ]; do d=$d/d; n=$((n+1)); done; mkdir -p $d; setsid sleep 600 & echo $! >$d/cgroup.procs; echo up; wait`},
	{"frozen below", `mkdir "$C/a"; setsid sleep 600 & echo $! >"$C/a/cgroup.procs"; echo 1 >"$C/a/cgroup.freeze"; echo up; wait`},
	{"frozen", `setsid sleep 600 & echo up; echo 1 >"$C/cgroup.freeze"; wait`},
	{"threaded below", `mkdir "$C/a"; echo threaded >"$C/a/cgroup.type"; setsid sleep 600 & echo $! >"$C/a/cgroup.procs"; echo up; wait`},
	{"threaded", threaded + `setsid sleep 600 & echo up; wait`},
	{"first thread has ended, below", `mkdir "$C/a"; sh -c 'echo $$ >"$0/a/cgroup.procs"; exec setsid "$FIRSTENDS"' "$C"; true`},
	{"first thread has ended, threaded", threaded + `env -i setsid "$FIRSTENDS" & wait`},
	{"has left it", `mkdir "$C/a"; echo $$ >"$M/cgroup.procs"; setsid sleep 600 & echo up; wait`},
	{"full of those who make more", `echo up; while :; do mkdir -p "$C/a/b/c"; rmdir "$C/a/b/c" "$C/a/b" "$C/a"; done 2>/dev/null`},
}

// needCgroups skips a test where scripts cannot have cgroups of their own.
func needCgroups(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 || !slices.Contains(guards(t), wrapper.GuardCgroup) {
		t.Skip("needs root and cgroup v2")
	}
}

// cgroup returns the path of the run's cgroup.
func (b *bench) cgroup() string {
	b.t.Helper()
	spec, err := wrapper.ParseSpec(b.file("spec"))
	if err != nil || spec.Cgroup == "" {
		b.t.Fatalf("the run has no cgroup: %v", err)
	}
	return filepath.Join(spec.Cgroup, key.String())
}

// TestCgroupShapes: whatever a script makes of its cgroup, the run ends as any
// other, and cgroup and processes are gone. Once a run finished ten
// seconds late because it had made cgroups below its own, and another one survived
// in a threaded cgroup, which refuses cgroup.kill.
func TestCgroupShapes(t *testing.T) {
	needCgroups(t)
	for i, shape := range cgroupShapes {
		t.Run("stop/"+shape.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, wrapper.GuardCgroup)
			spec := shell(ownCgroup + shape.script)
			spec.Grace = 300 * time.Millisecond
			b.start(spec)
			b.awaitLog("up\n")
			if err := b.Stop(key); err != nil {
				t.Fatal(err)
			}
			b.ends(wrapper.GuardCgroup, wrapper.Stopped)
			b.noCgroups()
		})
		t.Run("killed wrapper/"+shape.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, wrapper.GuardCgroup)
			b.start(shell(ownCgroup + shape.script))
			b.awaitLog("up\n")
			away := i%2 == 0
			if away {
				b.Close()
			}
			b.killWrapper()
			var r wrapper.Result
			if away {
				b.config.Guard = "" // beside a threaded cgroup there can be no other new one
				b.open()
				r = b.adopt(supervisor.Lost).Result
			} else {
				r = b.exit()
			}
			if r.Reason != wrapper.Lost || r.Text != "the wrapper was killed" {
				t.Errorf("result = %+v, want lost, and no fault", r)
			}
			b.nothingLeft()
			b.config.Guard = wrapper.GuardCgroup
			b.reopen()
			b.noCgroups()
		})
	}
}

// noCgroups closes the supervisor and checks that it leaves no cgroup.
func (b *bench) noCgroups() {
	b.t.Helper()
	parent := filepath.Dir(b.cgroup())
	b.Close()
	if _, err := os.Stat(parent); !errors.Is(err, fs.ErrNotExist) {
		left, _ := filepath.Glob(parent + "/*/")
		b.t.Errorf("cgroups are left: %q", left)
	}
}

// TestKeptCgroups: what a script may leave behind keeps its cgroups as long as it
// lives; then the run's removal removes them all.
func TestKeptCgroups(t *testing.T) {
	t.Parallel()
	needCgroups(t)
	for _, tt := range []struct {
		name, script string
		lives        bool
	}{
		{"nobody is left", `mkdir -p "$C/a/b" "$C/c"`, false},
		{"somebody is below", `mkdir -p "$C/a/b" "$C/c"; setsid sleep 600 & echo $! >"$C/a/b/cgroup.procs"`, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, wrapper.GuardCgroup)
			spec := shell(ownCgroup + tt.script)
			spec.KeepLeftovers = true
			if r := b.run(spec); r.Reason != wrapper.Exited || r.Exit != 0 {
				t.Fatalf("result = %+v", r)
			}
			cgroup := b.cgroup()
			if _, err := os.Stat(cgroup + "/a/b"); (err == nil) != tt.lives {
				t.Errorf("after the run: %v", err)
			}
			b.reopen()
			if err := b.Remove(t.Context(), key); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(cgroup + "/a/b"); (err == nil) != tt.lives {
				t.Errorf("after its removal: %v", err)
			}
			wrapper.KillCgroup(cgroup)
			b.await("the end of what was kept", func() bool { return !wrapper.Populated(cgroup) })
			if err := b.Remove(t.Context(), key); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(cgroup); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("after the end of what was kept, its removal leaves: %v", err)
			}
			b.reopen()
			b.Close()
			if _, err := os.Stat(filepath.Dir(cgroup)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the daemon's cgroup is left: %v", err)
			}
		})
	}
}

// TestCgroupOfANamesake: a run whose cgroup is there already, with others in it,
// of a run of the same name before a backup was restored, has its own cgroup all
// the same.
func TestCgroupOfANamesake(t *testing.T) {
	t.Parallel()
	needCgroups(t)
	b := newBench(t, wrapper.GuardCgroup)
	b.run(shell("true"))
	cgroup := b.cgroup()
	if err := errors.Join(os.MkdirAll(cgroup+"/a/b", 0o755), b.Remove(t.Context(), key), os.MkdirAll(cgroup+"/a/b", 0o755)); err != nil {
		t.Fatal(err)
	}
	if r := b.run(shell("true")); r.Contained != wrapper.GuardCgroup || r.Text != "" {
		t.Errorf("result = %+v, want one in a cgroup", r)
	}
	b.nothingLeft()
}

// TestProbesAreSwept: the cgroup of a daemon that was killed while it tried
// whether it can have cgroups is gone after the next one's start, and so is one
// of a run that is over; that of a run that goes on is not.
func TestProbesAreSwept(t *testing.T) {
	t.Parallel()
	needCgroups(t)
	b := newBench(t, wrapper.GuardCgroup)
	b.start(shell("echo up; sleep 600"))
	b.awaitLog("up")
	cgroup := b.cgroup()
	parent := filepath.Dir(cgroup)
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	probe := filepath.Join(parent, fmt.Sprintf("probe-%d", dead.Process.Pid))
	over := filepath.Join(parent, "7.activate.1")
	for _, dir := range []string{probe + "/a", over + "/a"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b.reopen()
	for _, dir := range []string{probe, over} {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", dir, err)
		}
	}
	if _, err := os.Stat(cgroup); err != nil {
		t.Errorf("the cgroup of what runs: %v", err)
	}
	b.adopt(supervisor.Running)
	if err := b.Stop(key); err != nil {
		t.Fatal(err)
	}
	b.exit()
	b.noCgroups()
}

// freeze freezes or thaws a cgroup.
func freeze(t *testing.T, dir, to string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "cgroup.freeze"), []byte(to), 0o600); err != nil {
		t.Fatal(err)
	}
}

// newFrozen makes a bench the cgroup of whose runs is frozen.
func newFrozen(t *testing.T) (b *bench, parent string) {
	t.Helper()
	b = newBench(t, wrapper.GuardCgroup)
	b.start(shell("true"))
	b.exit()
	parent = filepath.Dir(b.cgroup())
	if err := b.Remove(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	freeze(t, parent, "1")
	b.await("that the cgroup is frozen", func() bool { return wrapper.Frozen(parent) })
	return b, parent
}

// TestFrozenParent: a run that is to start while the cgroup of all runs is frozen
// waits until it is thawed, and can be stopped and times out meanwhile. Without that, the
// wrapper would sleep in its fork until the child, which is made frozen, runs.
func TestFrozenParent(t *testing.T) {
	t.Parallel()
	needCgroups(t)
	t.Run("timeout", func(t *testing.T) {
		t.Parallel()
		b, _ := newFrozen(t)
		spec := shell("echo ran")
		spec.Timeout = 300 * time.Millisecond
		r := b.run(spec)
		if r.Reason != wrapper.TimedOut || r.PID != 0 || !strings.Contains(r.Text, "frozen") || b.file("log") != "" {
			t.Errorf("result = %+v, log %q", r, b.file("log"))
		}
		b.nothingLeft()
	})
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("stop, restart %v", restart), func(t *testing.T) {
			t.Parallel()
			b, parent := newFrozen(t)
			b.start(shell("echo ran"))
			b.await("that it is known why it does not start", func() bool { return b.Frozen(key) == parent })
			if restart {
				b.reopen()
				b.adopt(supervisor.Running)
				if _, why := b.Guard(); !strings.Contains(why, parent+" is frozen") {
					t.Errorf("why = %q, want that %s is frozen", why, parent)
				}
			}
			if err := b.Stop(key); err != nil {
				t.Fatal(err)
			}
			r := b.exit() // of a wrapper that had not come as far as the cgroup it says nothing of it
			if r.Reason != wrapper.Disarmed || r.PID != 0 || r.Text != "" && !strings.Contains(r.Text, "frozen") || b.file("log") != "" {
				t.Errorf("result = %+v, log %q", r, b.file("log"))
			}
			b.nothingLeft()
			b.noCgroups()
		})
	}
	t.Run("thaw", func(t *testing.T) {
		t.Parallel()
		b, parent := newFrozen(t)
		spec := shell("echo ran; exec sleep 600")
		spec.Timeout = 10 * time.Second // in which it is seen to run, also on a slow machine
		b.start(spec)
		b.await("that it is known why it does not start", func() bool { return b.Frozen(key) == parent })
		freeze(t, parent, "0")
		b.awaitLog("ran\n")
		if by := b.Frozen(key); by != "" {
			t.Errorf("frozen by %s after the thaw", by)
		}
		r := b.exit()
		if r.Reason != wrapper.TimedOut || r.PID == 0 || !strings.Contains(r.Text, "frozen") {
			t.Errorf("result = %+v", r)
		}
		b.nothingLeft()
	})
}

// TestFrozenMeanwhile freezes the cgroup of all runs at any instant of a start: a
// stop ends it all the same. In between is the instant at which the wrapper forks,
// and then only the daemon can end it.
func TestFrozenMeanwhile(t *testing.T) {
	needCgroups(t)
	b, parent := newFrozen(t)
	b.Close()
	b.config.Patience = 50 * time.Millisecond
	b.open()
	seen := map[string]int{}
	for n := range 100 {
		freeze(t, parent, "0")
		b.await("the thaw", func() bool { return !wrapper.Frozen(parent) })
		spec := shell("echo ran; exec sleep 600")
		spec.Grace = 0
		b.start(spec)
		for end := time.Now().Add(time.Duration(n) * 100 * time.Microsecond); time.Now().Before(end); {
		}
		freeze(t, parent, "1")
		if err := b.Stop(key); err != nil {
			t.Fatal(err)
		}
		r := b.exit()
		if r.Reason == wrapper.Disarmed && b.file("log") != "" {
			t.Errorf("log %q of a run that never ran: %+v", b.file("log"), r)
		}
		b.nothingLeft()
		if err := b.Remove(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		seen[r.Reason+" "+r.Text]++
	}
	t.Logf("%v", seen)
}
