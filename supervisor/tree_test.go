package supervisor_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// shapes are trees of processes, each of which is known to outlive some
// supervisor. Each prints "up" when it is complete, and would go on for ten minutes.
var shapes = []struct{ name, script string }{
	{"plain", `echo up; exec sleep 600`},
	{"two commands", `echo up; sleep 600; true`},
	{"subshell", `echo up; (sleep 600); true`},
	{"pipeline", `echo up; sleep 600 | sleep 600`},
	{"background", `sleep 600 & echo up; wait`},
	{"background and exit", `sleep 600 & echo up`},
	{"setsid", `setsid sleep 600 & sleep 0.1; echo up; wait`},
	{"setsid and exit", `d=$ACTIVATION_CONFIG_DIR; setsid sh -c 'echo up; : >"$0/up"; exec sleep 600' "$d" & while ! test -e "$d/up"; do sleep 0.01; done`},
	{"double fork", `(setsid sh -c '(sleep 600 &) ; exit' &) ; sleep 0.1; echo up; sleep 600`},
	{"daemonised", `setsid sh -c 'cd /; exec </dev/null >/dev/null 2>&1; setsid sleep 600 & exit' ; echo up; exec sleep 600`},
	{"setsid in setsid", `setsid sh -c 'sleep 600 & setsid sh -c "sleep 600 & setsid sleep 600 & wait" & wait' & sleep 0.2; echo up; wait`},
	{"TERM ignored", `trap '' TERM; echo up; while :; do sleep 600; done`},
	{"TERM ignored by all", `trap '' TERM HUP INT QUIT; sh -c 'trap "" TERM; sleep 600' & setsid sh -c 'trap "" TERM; sleep 600' & echo up; wait`},
	{"leader exits first", `d=$ACTIVATION_CONFIG_DIR; sh -c 'trap "" TERM; echo up; : >"$0/up"; sleep 600; sleep 600' "$d" & while ! test -e "$d/up"; do sleep 0.01; done; exit 0`},
	{"pipe held by a survivor", `setsid sh -c 'while :; do echo x; sleep 0.01; done' & echo up; exit 0`},
	{"stopped", `echo up; kill -STOP $$; sleep 600`},
	{"stopped elsewhere", `setsid sh -c 'kill -STOP $$' & sleep 0.1; echo up; sleep 600`},
	{"empty environment", `env -i setsid sleep 600 & env -i sleep 600 & sleep 0.1; echo up; wait`},
	{"first thread has ended", `exec "$FIRSTENDS"`},
	{"first thread has ended, below a shell", `"$FIRSTENDS"; true`},
	{"first thread has ended, in a session of its own", `setsid "$FIRSTENDS" & wait`},
	{"first thread has ended, double fork", `(setsid sh -c '("$FIRSTENDS" &) ; exit' &) ; sleep 600`},
	{"first thread has ended, without an environment", `setsid env -i PIDS="$ACTIVATION_CONFIG_DIR/pids" "$FIRSTENDS" & wait`},
	{"first thread has ended, and exit", `PIDS="$ACTIVATION_CONFIG_DIR/pids" setsid "$FIRSTENDS" & while ! [ -s "$ACTIVATION_CONFIG_DIR/pids" ]; do sleep 0.01; done`},
	{"many", `for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do setsid sh -c 'sleep 600 & sleep 600' & done; sleep 0.3; echo up; wait`},
}

func TestTrees(t *testing.T) {
	for _, guard := range guards(t) {
		for _, shape := range shapes {
			t.Run(guard+"/stop/"+shape.name, func(t *testing.T) {
				t.Parallel()
				b := newBench(t, guard)
				spec := shell(shape.script)
				spec.Grace = 300 * time.Millisecond
				b.start(spec)
				b.awaitLog("up\n")
				if err := b.Stop(key); err != nil {
					t.Fatal(err)
				}
				b.ends(guard, wrapper.Stopped, wrapper.Exited)
			})
			t.Run(guard+"/timeout/"+shape.name, func(t *testing.T) {
				t.Parallel()
				b := newBench(t, guard)
				spec := shell(shape.script)
				spec.Timeout, spec.Grace = 500*time.Millisecond, 200*time.Millisecond
				b.start(spec)
				b.ends(guard, wrapper.TimedOut, wrapper.Exited)
			})
		}
	}
}

// TestTreesOfKilledWrappers: whatever a script has made of itself, the daemon
// finds all of it when the wrapper was killed, at once or at its next start. Once a
// process whose first thread had ended was taken for dead, because it looks like a
// zombie.
func TestTreesOfKilledWrappers(t *testing.T) {
	for _, guard := range guards(t) {
		for i, shape := range shapes {
			if strings.HasSuffix(shape.script, "exit 0") {
				continue // the wrapper may have done its work before it is killed
			}
			t.Run(guard+"/"+shape.name, func(t *testing.T) {
				t.Parallel()
				b := newBench(t, guard)
				b.start(shell(shape.script + "\nsleep 600"))
				b.awaitLog("up\n")
				away := i%2 == 0 // no daemon sees it
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
				if r.Reason != wrapper.Lost || r.Text != "the wrapper was killed" {
					t.Errorf("result = %+v, want lost, and no fault", r)
				}
				b.nothingLeft()
			})
		}
	}
}

// ends checks that the run ends for one of the reasons and leaves nothing.
func (b *bench) ends(guard string, reasons ...string) wrapper.Result {
	b.t.Helper()
	if guard == wrapper.GuardSubreaper {
		guard, _ = b.Guard() // where no process can be a subreaper, it is another one
	}
	r := b.exit()
	if !strings.Contains(strings.Join(reasons, " "), r.Reason) || r.Contained != guard || r.Text != "" {
		b.t.Errorf("result = %+v, want %q in %s", r, reasons, guard)
	}
	b.nothingLeft()
	return r
}

// A fork bomb of each kind, limited only by the number of processes of a user
// of its own.
func TestForkBomb(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to limit the processes of another user")
	}
	uid := 40_000 + os.Getpid()%20_000 // that of no other test at the same time
	bombs := map[string]string{
		"one group":     `echo up; f() { f | f & }; f; sleep 600`,
		"many sessions": `echo 'setsid sh ./bomb & setsid sh ./bomb & sleep 0.01; sh ./bomb' >bomb; echo up; setsid sh ./bomb; sleep 600`,
	}
	for _, guard := range guards(t) {
		for name, script := range bombs {
			t.Run(guard+"/"+name, func(t *testing.T) {
				b := newBench(t, guard)
				spec := shell(script + " 2>/dev/null")
				spec.UID, spec.GID = uid, uid
				spec.Dir = userDir(t, spec.UID)
				spec.Limits = []wrapper.Limit{{Name: "nproc", Soft: 60, Hard: 60}}
				spec.Timeout, spec.Grace = 700*time.Millisecond, 100*time.Millisecond
				spec.LogHead, spec.LogTail = 100, 100
				for _, d := range []string{filepath.Dir(b.config.ConfigRoot), filepath.Dir(filepath.Dir(b.config.ConfigRoot))} {
					if err := os.Chmod(d, 0o755); err != nil {
						t.Fatal(err)
					}
				}
				b.start(spec)
				b.ends(guard, wrapper.TimedOut, wrapper.Exited)
				if out, err := exec.Command("ps", "-u", itoa(uid), "-o", "pid,args").Output(); err == nil && strings.Count(string(out), "\n") > 1 {
					t.Errorf("the bomb lives:\n%s", out)
				}
			})
		}
	}
}

// userDir returns a directory of a user's own.
func userDir(t *testing.T, uid int) string {
	dir, err := os.MkdirTemp("", "user")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chown(dir, uid, uid); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Processes that the script leaves are counted, but not those that ended by themselves or
// when they were asked to.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	for _, guard := range guards(t) {
		for script, want := range map[string]int{
			`true`:        0,
			`sleep 600 &`: 1,
			`sleep 600 & setsid sleep 600 & sleep 0.1`: 2,
			// As a zombie it has ended; the wrapper reaps it some time.
			`p=$ACTIVATION_CONFIG_DIR/p; (sleep 0.01 & echo $! >$p); while grep -q "^State:.[^ZX]" /proc/$(cat $p)/status; do sleep 0.01; done`: 0,
		} {
			t.Run(guard+"/"+script, func(t *testing.T) {
				b := newBench(t, guard)
				b.start(shell(script))
				if r := b.ends(guard, wrapper.Exited); r.Leftovers != want || r.Exit != 0 {
					t.Errorf("leftovers = %d, exit %d, want %d, 0", r.Leftovers, r.Exit, want)
				}
			})
		}
	}
}

// If leftovers are kept, they go on and can still write.
func TestKeep(t *testing.T) {
	t.Parallel()
	for _, guard := range guards(t) {
		t.Run(guard, func(t *testing.T) {
			b := newBench(t, guard)
			spec := shell(`setsid sh -c 'while ! test -e go; do sleep 0.01; done; echo later; while ! test -e more; do sleep 0.01; done; head -c 30000000 /dev/zero && touch more.done; exec sleep 600' & exit 4`)
			spec.KeepLeftovers, spec.Dir = true, t.TempDir()
			r := b.run(spec)
			if r.Reason != wrapper.Exited || r.Exit != 4 || r.Leftovers != 0 {
				t.Errorf("result = %+v, want exited with 4 and no leftovers", r)
			}
			if err := os.WriteFile(filepath.Join(spec.Dir, "go"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			b.awaitLog("later\n")
			later, more := len(b.file("log")), filepath.Join(spec.Dir, "more")
			if err := os.WriteFile(more, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			b.await("the end of its output", func() bool { _, err := os.Stat(more + ".done"); return err == nil })
			if n := len(b.file("log")) - later; n < 1<<20-1<<17 || n > 1<<20 {
				t.Errorf("of what it wrote later %d bytes are in the log, want a mebibyte", n)
			}
			b.await("the end of what was kept", func() bool {
				all := marked(b.mark())
				for _, pid := range all { // again, too: what is just becoming another program was not found before
					if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
						t.Error(err)
					}
				}
				return len(all) == 0
			})
			parent := b.file("spec")
			b.await("the removal of the run", func() bool { // a cgroup is busy for an instant after its last member's end
				_ = b.Remove(t.Context(), key)
				s, err := wrapper.ParseSpec(parent)
				if err != nil || s.Cgroup == "" {
					return err == nil
				}
				_, err = os.Stat(filepath.Join(s.Cgroup, key.String()))
				return err != nil
			})
		})
	}
}

// If leftovers are kept and there are none, no cgroup is left either.
func TestKeepNothing(t *testing.T) {
	t.Parallel()
	for _, guard := range guards(t) {
		t.Run(guard, func(t *testing.T) {
			b := newBench(t, guard)
			spec := shell(`echo done`)
			spec.KeepLeftovers = true
			if r := b.run(spec); r.Reason != wrapper.Exited || r.Exit != 0 || b.file("log") != "done\n" {
				t.Errorf("result = %+v, log %q", r, b.file("log"))
			}
			s, err := wrapper.ParseSpec(b.file("spec"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(filepath.Join(s.Cgroup, key.String())); s.Cgroup != "" && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the cgroup is left: %v", err)
			}
		})
	}
}

// The members of the group have their grace even if their leader has ended without waiting
// for them.
func TestGraceIsTheGroups(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	spec := shell(`sh -c 'trap "sleep 0.3; echo cleaned; exit" TERM; echo up; while :; do sleep 0.02; done' & wait`)
	spec.Grace = hang
	b.start(spec)
	b.awaitLog("up\n")
	if err := b.Stop(key); err != nil {
		t.Fatal(err)
	}
	r := b.exit()
	if got := b.file("log"); !strings.Contains(got, "cleaned\n") || r.Reason != wrapper.Stopped || r.Signal != int(syscall.SIGTERM) {
		t.Errorf("log %q, result %+v, want cleaned, stopped by TERM", got, r)
	}
	b.nothingLeft()
}
