package supervisor_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
// other, and cgroup and processes are gone. It keeps out a run that finished ten
// seconds late because it had made cgroups below its own, and one that survived
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
			spec.Keep = true
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
