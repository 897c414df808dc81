package test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"activationd/control"
	"activationd/supervisor/wrapper"
	"activationd/test/harness"
)

// shapes are trees of processes that often outlive the program that started them. Each
// sleeper writes its process id to $PIDS. The line READY means that all of them are
// there.
var shapes = []struct {
	name, script string
	stays        bool // does not end by itself
}{
	{"plain", `sleeper`, true},
	{"list", `sleeper; true`, true},
	{"subshell", `(sleeper); true`, true},
	{"pipeline", `sleeper | sleeper | cat`, true},
	{"background", `sleeper & ready`, false},
	{"background, waited for", `sleeper & ready; wait`, true},
	{"own session", `setsid "$0" sleep & ready`, false},
	{"own session, waited for", `setsid -w "$0" sleep`, true},
	{"double fork", `( ( sleeper & ready ) & wait )`, false},
	{"session within a session", `setsid sh -c 'setsid "$0" sleep & setsid "$0" sleep & wait' "$0" & ready 2`, false},
	{"without an environment", `env -i PIDS="$PIDS" READY="$READY" setsid "$0" sleep & ready`, false},
	{"ignores TERM", `trap '' TERM; sleeper & ready; while :; do sleep 1; done`, true},
	{"ignores TERM, in own session", `setsid sh -c 'trap "" TERM; "$0" sleep' "$0" & ready; wait`, true},
	{"stops itself", `sleeper & ready; kill -STOP $$`, true},
	{"stopped child", `sleeper & ready; kill -STOP $!; wait`, true},
	{"stopped in own session", `setsid sh -c '"$0" sleep & while ! [ -s "$PIDS" ]; do :; done; kill -STOP $! $$' "$0" & ready; wait`, true},
	{"survivor holds the output", `setsid "$0" sleep 2>&1 & ready; echo done`, false},
	{"starts another when asked to end", `trap 'setsid "$0" sleep & exit 0' TERM; sleeper & ready; wait`, true},
	{"first thread has ended", `exec "$FIRSTENDS"`, true},
	{"first thread has ended, in own session", `setsid "$FIRSTENDS" & ready; wait`, true},
	{"first thread has ended, nobody waits", `setsid "$FIRSTENDS" & ready`, false},
	{"first thread has ended, without an environment", `env -i PIDS="$PIDS" setsid "$FIRSTENDS" & ready`, false},
	{"many", `for i in 1 2 3 4 5 6 7 8 9 10; do setsid "$0" sleep & done; ready 10`, false},
	// It forks as fast as it can, some hundred times; whoever is killed has
	// started another before.
	{"forks as fast as it can", `bomb() { [ $1 -lt 400 ] && ( bomb $(($1 + 1)) & ); exec sleep 300; }; sleeper & ready; bomb 1`, true},
}

const shapeHead = `
sleeper() { sh -c 'echo $$ >>"$PIDS"; exec sleep 300'; }
ready() { while [ "$(wc -l <"$PIDS" 2>/dev/null || echo 0)" -lt "${1:-1}" ]; do sleep 0.01; done; }
[ "$1" = sleep ] && { echo $$ >>"$PIDS"; exec sleep 300; }
`

// buildHelper builds a program for what a shell cannot do.
func buildHelper(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if out, err := exec.Command("go", "build", "-o", path, "../supervisor/testdata/"+name).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// TestNothingIsLeftBehind ends each shape in each way, contained by each guard.
func TestNothingIsLeftBehind(t *testing.T) {
	t.Parallel()
	needProgram(t, "setsid")
	firstends := buildHelper(t, "firstends")
	for _, guard := range []string{"auto", "subreaper"} {
		t.Run(guard, func(t *testing.T) {
			t.Parallel()
			d := newDaemon(t, "runs: {guard: "+guard+"}\n")
			d.Start()
			t.Logf("runs are contained by %s", d.status().Guard)
			type one struct{ name, id, pids, outcome string }
			var all []one
			for i, s := range shapes {
				path := d.script(fmt.Sprintf("shape-%d", i), shapeHead+s.script+"\n")
				for _, end := range []string{"itself", "timeout", "cancel"} {
					pids := fmt.Sprintf("%s.%d.%s", d.shared("pids"), i, end)
					args := []string{"--env", "PIDS=" + pids, "--env", "FIRSTENDS=" + firstends, "--grace", "200ms", "--timeout", patience.String(), "--", path}
					outcome := map[string]string{"itself": "succeeded", "timeout": "timed_out", "cancel": "cancelled"}[end]
					switch {
					case end == "itself" == s.stays:
						continue
					case end == "timeout":
						args[7] = "500ms"
					case end == "itself" && strings.Contains(s.script, "kill -STOP"):
						outcome = "failed"
					}
					id := d.add(args...)
					all = append(all, one{s.name + ", ended by " + end, id, pids, outcome})
					if end != "cancel" {
						continue
					}
					for deadline := time.Now().Add(patience); d.read(pids) == ""; time.Sleep(time.Millisecond) {
						if time.Now().After(deadline) {
							t.Fatalf("%s does not start", s.name)
						}
					}
					d.must("cancel", id)
				}
			}
			for _, o := range all {
				_, a := d.wait(o.id)
				if a.Outcome != o.outcome {
					t.Errorf("%s: is %s (%s), want %s; %+v", o.name, a.Outcome, a.Reason, o.outcome, a.Attempts)
				}
				text := d.read(o.pids)
				if text == "" && !strings.Contains(o.name, "timeout") { // it may not have come so far
					t.Errorf("%s: no process was started", o.name)
				}
				if len(a.Attempts) != 1 {
					t.Fatalf("%s: attempts %+v, want one", o.name, a.Attempts)
				}
				for _, pid := range pidsIn(t, text) {
					if aliveSince(pid, a.Attempts[0].Ended) {
						t.Errorf("%s: process %d lives on after the end", o.name, pid)
					}
				}
				if c := a.Attempts[0].Contained; c != d.status().Guard {
					t.Errorf("%s: contained by %q, want %q", o.name, c, d.status().Guard)
				}
			}
			d.nothingLeft()
		})
	}
}

// TestLimitOfProcesses runs an endless fork bomb, which only its limit stops.
func TestLimitOfProcesses(t *testing.T) {
	t.Parallel()
	needRoot(t) // root itself is not bound by it
	needProgram(t, "setpriv")
	const games = 5 // uid of user games, whom nothing else here runs as
	d := newDaemon(t, "runs: {limits: {nproc: 40}}\n")
	d.Start()
	// One is out of the group before the bomb takes every place that there is.
	script := d.script("bomb", `bomb() { sleep 300 & bomb & bomb & bomb & wait; }
out=$ACTIVATION_CONFIG_DIR/out
mkfifo "$out"
setsid sh -c 'echo out >"$0"; exec sleep 300' "$out" &
read -r _ <"$out"
bomb &
exec sleep 300
`)
	o := d.run("", "setpriv", fmt.Sprintf("--reuid=%d", games), "--clear-groups", d.Bin+"/atctl", "add", "--grace", "200ms", "--dir", "/", "--", script)
	if o.status != 0 {
		t.Fatalf("atctl add: %+v", o)
	}
	id := strings.TrimSpace(o.out)
	d.await("the bomb says that it cannot fork any more", func() bool { return strings.Contains(d.atctl("log", id).out, "fork") })
	d.must("cancel", id)
	if a := d.ended(id, "cancelled", 125); a.Attempts[0].Leftovers == 0 {
		t.Errorf("nothing was left to be killed: %+v", a.Attempts[0])
	}
	d.nothingLeft()
}

// TestOutputWithoutEnd checks that the log of endless output is bounded, and has its
// beginning and its end.
func TestOutputWithoutEnd(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "runs: {output: {head: 64KiB, tail: 64KiB}}\n")
	d.Start()
	id := d.add("--timeout", "2s", "--grace", patience.String(), "--", "sh", "-c", `echo begin; i=0; trap 'echo the end; exit 0' TERM; while :; do i=$((i+1)); echo "line $i of very many"; done`)
	d.ended(id, "timed_out", 124)
	text := d.must("log", id)
	if len(text) > 140<<10 {
		t.Errorf("the log has %d bytes, want at most about 128 KiB", len(text))
	}
	if !strings.HasPrefix(text, "begin\nline 1 of very many\n") || !strings.HasSuffix(text, "the end") {
		t.Errorf("the log begins %.60q and ends %q, want both ends of the output", text, harness.Tail(text, 3))
	}
	if info, err := os.Stat(d.state + "/runs/" + id + ".activate.1/log"); err != nil || info.Size() > 140<<10 {
		t.Errorf("on the disk the log has %v, %v", info, err)
	}
	// Floods that nobody stops: the daemon is not in their way.
	id = d.add("--timeout", "1s", "--", "sh", "-c", "exec cat /dev/zero")
	d.ended(id, "timed_out", 124)
	d.nothingLeft()
}

// TestSlotEndsWhileActivating checks that an activation is stopped and undone at the
// slot's end, however long it would still take.
func TestSlotEndsWhileActivating(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, `
sources: [{files: DIR/res.yaml}]
reservations: {activate: [DIR/activate], deactivate: [DIR/deactivate], grace: 200ms}
`)
	b := d.beacon()
	d.script("activate", "echo up >"+b.path+"\ntrap '' TERM\nsetsid sleep 300 &\nwhile :; do sleep 0.1; done\n")
	d.script("deactivate", "echo down >"+b.path+"\n")
	d.Start()
	slot := resv{id: "1@x", start: time.Now(), end: time.Now().Add(time.Hour), devices: "r1"}
	d.announce(slot)
	if got := b.next(); got != "up" {
		t.Fatalf("first was %q, want up", got)
	}
	slot.end = time.Now().Add(500 * time.Millisecond)
	d.announce(slot)
	if got := b.next(); got != "down" {
		t.Fatalf("then was %q, want down", got)
	}
	_, a := d.wait("1@x")
	last := a.Attempts[len(a.Attempts)-1]
	if a.Attempts[0].Reason != "stopped" || a.Attempts[0].Ended.Before(slot.end) || last.Phase != "deactivate" || last.Started.Before(a.Attempts[0].Ended) {
		t.Errorf("attempts %+v, want activate stopped after %v, and then deactivate", a.Attempts, slot.end)
	}
	d.nothingLeft()
}

// TestWrapperIsStopped sends SIGSTOP to a wrapper and not to its script. Meanwhile the
// end of the script is not known, and nothing wrong is reported; once the wrapper goes
// on, the result is right.
func TestWrapperIsStopped(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, "")
	b := d.beacon()
	d.Start()
	_, gate := d.gate(b)
	id := d.add("--", "sh", "-c", "echo $$ >"+b.path+"; read -r _ <"+gate+"; exit 7")
	script, err := strconv.Atoi(b.next())
	if err != nil {
		t.Fatal(err)
	}
	pid := d.wrapperOf(id + ".activate.1")
	if pid == 0 {
		t.Fatal("the run has no wrapper")
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	d.await("that it is stopped", func() bool { p, ok := wrapper.Stat(pid); return ok && p.State == 'T' })
	d.open(gate, "on")
	awaitGone(t, script)
	d.Kill()
	d.Start()
	if a := d.show(id); a.State != "activating" {
		t.Errorf("with its wrapper stopped it is %s, want activating", a.State)
	}
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	d.ended(id, "failed", 7)
	d.nothingLeft()
}

// TestFrozenCgroup freezes the cgroup of all runs, also while the daemon is killed.
// Jobs that are due then wait and report why, can be cancelled, time out, and run after
// the thaw.
func TestFrozenCgroup(t *testing.T) {
	t.Parallel()
	needRoot(t)
	d := newDaemon(t, "")
	d.Start()
	if d.status().Guard != wrapper.GuardCgroup {
		t.Skip("needs cgroup v2")
	}
	freeze := func(to string) {
		t.Helper()
		if err := os.WriteFile(d.cgroup()+"/cgroup.freeze", []byte(to), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	freeze("1")
	thawed := d.add("--", "sh", "-c", "echo ran")
	cancelled := d.add("--", "sh", "-c", "echo ran")
	d.ended(d.add("--timeout", "300ms", "--", "sh", "-c", "echo ran"), "timed_out", 124)
	if text := d.must("why", thawed); !strings.Contains(text, "it waits for the thaw of cgroup "+d.cgroup()+", which is frozen") {
		t.Errorf("why says %q", text)
	}
	d.Kill()
	d.Start()
	if s := d.status(); s.Guard != wrapper.GuardCgroup || !strings.Contains(s.GuardWhy, "is frozen") {
		t.Errorf("status says %q, %q", s.Guard, s.GuardWhy)
	}
	d.must("cancel", cancelled)
	d.ended(cancelled, "cancelled", 125)
	freeze("0")
	d.ended(thawed, "succeeded", 0)
	if text := d.must("log", thawed); text != "ran" {
		t.Errorf("the log says %q", text)
	}
	d.nothingLeft()
}

// TestHung has runs with a process that hangs in the kernel, because its file system
// does not answer, so that not even SIGKILL ends it. The ends of these runs are not
// verified: they keep their locks, also over a kill of the daemon, until the process is
// gone or an operator forgives them.
func TestHung(t *testing.T) {
	t.Parallel()
	needRoot(t)
	deaf := t.TempDir()
	disk := exec.Command(buildHelper(t, "deafdisk"), deaf)
	in, err := disk.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := disk.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := disk.Start(); err != nil {
		t.Fatal(err)
	}
	requests := bufio.NewReader(out)
	if line, _ := requests.ReadString('\n'); line != "up\n" {
		_ = disk.Wait()
		t.Skip("a file system in user space cannot be mounted")
	}
	wake := sync.OnceFunc(func() { // who waits for it wakes then
		_ = in.Close()
		_, _ = io.Copy(io.Discard, requests)
		if err := disk.Wait(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(wake)

	d := newDaemon(t, "")
	d.Start()
	var ids, next []string
	for _, lock := range []string{"sw1", "sw2"} {
		ids = append(ids, d.add("--lock", lock, "--timeout", "500ms", "--grace", "100ms", "--", "cat", deaf+"/"+lock))
		next = append(next, d.add("--lock", lock, "--", "true"))
	}
	check := func(i int) {
		t.Helper()
		a := d.Until(ids[i], "hung", func(a control.Detail) bool { return len(a.Attempts) == 1 && len(a.Attempts[0].Hung) == 1 })
		if at := a.Attempts[0]; a.State != "activating" || at.Hung[0] != at.PID || !strings.HasPrefix(at.Reason, "timeout, not verified") || !alive(at.PID) {
			t.Errorf("it is %s, its attempt %+v", a.State, at)
		}
		if a := d.show(next[i]); a.State != "waiting" {
			t.Errorf("the next for its lock is %s", a.State)
		}
		if text := d.must("why", ids[i]); !strings.Contains(text, fmt.Sprintf("it waits for the end of process %d, which hangs in the kernel", a.Attempts[0].PID)) {
			t.Errorf("why says %q", text)
		}
	}
	check(0)
	check(1)
	if s := d.status(); s.Unverified != 2 {
		t.Errorf("status says that %d are unverified, want 2", s.Unverified)
	}
	d.Kill()
	d.Start()
	check(0)
	check(1)
	d.must("forgive", ids[0])
	d.ended(ids[0], "timed_out", 124)
	d.ended(next[0], "succeeded", 0)
	check(1)
	wake()
	d.ended(ids[1], "timed_out", 124)
	d.ended(next[1], "succeeded", 0)
	d.await("the end of all", func() bool { return len(d.marked()) == 0 && len(d.cgroups()) == 0 })
	d.nothingLeft()
}

// A resv is a reservation for a file.
type resv struct {
	id         string
	start, end time.Time
	devices    string
	more       string // further keys
}

// announce makes res.yaml of these reservations, and loads it.
func (d *daemon) announce(rs ...resv) string {
	d.t.Helper()
	d.write("res.yaml", yaml(rs...), 0o644)
	return d.must("reload")
}

func yaml(rs ...resv) string {
	text := "reservations:\n"
	for _, r := range rs {
		text += fmt.Sprintf("- id: %s\n  start: %s\n  end: %s\n", r.id, r.start.Format(time.RFC3339Nano), r.end.Format(time.RFC3339Nano))
		if r.devices != "" {
			text += "  devices: [" + r.devices + "]\n"
		}
		text += r.more
	}
	if len(rs) == 0 {
		text = "reservations: []\n"
	}
	return text
}
