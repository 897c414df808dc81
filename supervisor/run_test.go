package supervisor_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"activationd/internal/fault"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

func itoa(n int) string { return strconv.Itoa(n) }

// Every status that a script can end with comes back, from many runs at once.
func TestExitStatus(t *testing.T) {
	b := newBench(t, "")
	const runs = 256
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for n := worker; n < runs; n += 8 {
				k := supervisor.Key{ID: "exit", Phase: "activate", N: n}
				if err := b.Start(k, shell(fmt.Sprintf("echo %d; exit %d", n, n))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	seen := map[int]bool{}
	for range runs {
		select {
		case x := <-b.Exits():
			if x.Result.Exit != x.Key.N || x.Result.Reason != wrapper.Exited || x.Result.Signal != 0 || x.Result.Text != "" {
				t.Errorf("run %v: %+v, want exited with %d", x.Key, x.Result, x.Key.N)
			}
			if log, err := os.ReadFile(filepath.Join(b.RunDir(x.Key), "log")); err != nil || string(log) != itoa(x.Key.N)+"\n" {
				t.Errorf("log of run %v = %q (%v)", x.Key, log, err)
			}
			if seen[x.Key.N] {
				t.Errorf("two exits of run %v", x.Key)
			}
			seen[x.Key.N] = true
		case <-time.After(hang):
			t.Fatal("an exit is missing")
		}
	}
	wg.Wait()
	for n := range runs {
		k := supervisor.Key{ID: "exit", Phase: "activate", N: n}
		if err := b.Remove(t.Context(), k); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(b.RunDir(k)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("directory of run %v is there after Remove", k)
		}
	}
}

func TestExitSignal(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGSEGV, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2} {
		t.Run(sig.String(), func(t *testing.T) {
			b := newBench(t, "")
			r := b.run(shell(fmt.Sprintf("kill -%d $$; sleep 600", sig)))
			if r.Reason != wrapper.Exited || r.Exit != -1 || r.Signal != int(sig) {
				t.Errorf("result = %+v, want exited by %v", r, sig)
			}
			b.nothingLeft()
		})
	}
}

func TestCannotStart(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain := write("plain", "#!/bin/sh\n", 0o644)
	odd := write("odd", "no program\n", 0o755)
	orphan := write("orphan", "#!/no/such/interpreter\n", 0o755)
	tests := []struct {
		name string
		edit func(*wrapper.Spec)
		exit int
		text string
	}{
		{"no such file", func(s *wrapper.Spec) { s.Argv = []string{"/no/such"} }, 127, "/no/such"},
		{"not in PATH", func(s *wrapper.Spec) { s.Argv = []string{"no-such"} }, 127, "no-such"},
		{"no interpreter", func(s *wrapper.Spec) { s.Argv = []string{orphan} }, 127, "orphan"},
		{"not executable", func(s *wrapper.Spec) { s.Argv = []string{plain} }, 126, "permission"},
		{"a directory", func(s *wrapper.Spec) { s.Argv = []string{dir} }, 126, "permission"},
		{"no program", func(s *wrapper.Spec) { s.Argv = []string{odd} }, 126, "exec format"},
		{"no working directory", func(s *wrapper.Spec) { s.Dir = "/no/such" }, 126, "working directory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, "")
			spec := shell("true")
			tt.edit(&spec)
			r := b.run(spec)
			if r.Reason != wrapper.Failed || r.Exit != tt.exit || !strings.Contains(r.Text, tt.text) || r.PID != 0 {
				t.Errorf("result = %+v, want failed, %d, %q", r, tt.exit, tt.text)
			}
			b.nothingLeft()
		})
	}
}

func TestStartRefuses(t *testing.T) {
	b := newBench(t, "")
	for _, k := range []supervisor.Key{{ID: "a/b", Phase: "activate", N: 1}, {ID: "..", Phase: "x", N: 1}, {ID: strings.Repeat("x", 300), Phase: "x"}} {
		if err := b.Start(k, shell("true")); !errors.Is(err, fault.Invalid) {
			t.Errorf("Start(%v) = %v, want invalid", k, err)
		}
	}
	spec := shell("true")
	spec.Argv = nil
	if err := b.Start(key, spec); !errors.Is(err, fault.Invalid) {
		t.Errorf("Start without a command = %v, want invalid", err)
	}
	b.run(shell("true"))
	if err := b.Start(key, shell("true")); !errors.Is(err, fault.Conflict) {
		t.Errorf("Start of a run that has been = %v, want conflict", err)
	}
}

// What the script finds around it is what the specification says, and no more.
func TestSurroundings(t *testing.T) {
	b := newBench(t, "")
	t.Setenv("NOT_FOR_SCRIPTS", "1")
	spec := shell(`pwd; umask; ulimit -n; nice; cat; echo "$A$ACTIVATION_RUN$NOT_FOR_SCRIPTS"; grep -E 'SigBlk|SigIgn|NoNewPrivs' /proc/self/status
ls -l /proc/self/fd | grep -c runs; ps -o pgid= -p $$ | tr -d ' '; echo $$; cat "$ACTIVATION_TOPOLOGY"; stat -c %a "$ACTIVATION_CONFIG_DIR"; echo "$ACTIVATION_DEADLINE"; echo kept >"$ACTIVATION_CONFIG_DIR/sw1.cfg"`)
	spec.Dir, spec.Umask, spec.Nice, spec.NoNewPrivs = "/usr", 0o027, 3, true
	spec.Limits = []wrapper.Limit{{Name: "nofile", Soft: 77, Hard: 99}}
	spec.Stdin = []byte("fed\n")
	spec.Env = append(spec.Env, "A=a", "ACTIVATION_RUN=forged", "LANG=C")
	spec.Topology = []byte("name: ospf\n")
	spec.Timeout = time.Hour
	before := time.Now()
	r := b.run(spec)
	lines := strings.Split(b.file("log"), "\n")
	if len(lines) != 16 {
		t.Fatalf("result %+v, log %q", r, lines)
	}
	prio, err := syscall.Getpriority(syscall.PRIO_PROCESS, 0) // 20 less the niceness
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"/usr", "0027", "77", itoa(20 - prio + 3), "fed", "a" + b.mark(),
		"SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000", "NoNewPrivs:\t1"}
	// Whoever started this test may have had signals of his C library ignored,
	// 32 and 33, which is no affair of scripts.
	if mask, ok := strings.CutPrefix(lines[7], "SigIgn:\t"); ok {
		if n, err := strconv.ParseUint(mask, 16, 64); err == nil {
			lines[7] = fmt.Sprintf("SigIgn:\t%016x", n&^(1<<31|1<<32))
		}
	}
	for i, w := range want {
		if i < 9 && lines[i] != w {
			t.Errorf("line %d = %q, want %q", i, lines[i], w)
		}
	}
	if lines[9] != "1" { // its standard input
		t.Errorf("the script has %s descriptors in the run directory, want 1", lines[9])
	}
	if lines[10] != lines[11] || lines[10] != itoa(r.PID) {
		t.Errorf("process group %s, pid %s, result %d: want them equal", lines[10], lines[11], r.PID)
	}
	if lines[12] != "name: ospf" || lines[13] != "700" {
		t.Errorf("topology %q, configuration directory's mode %s", lines[12], lines[13])
	}
	deadline, err := time.Parse(time.RFC3339Nano, lines[14])
	if d := deadline.Sub(before); err != nil || d < time.Hour || d > time.Hour+hang {
		t.Errorf("deadline %q (%v), want an hour after %v", lines[14], err, before)
	}
	if got := b.file("config/sw1.cfg"); got != "kept\n" {
		t.Errorf("evidence = %q, want kept", got)
	}
	if r.Exit != 0 || !r.Ended.After(r.Started) || r.Started.Before(before) || r.MaxRSS == 0 {
		t.Errorf("result = %+v", r)
	}
	b.nothingLeft()
}

func TestUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to become another user")
	}
	b := newBench(t, "")
	for d := b.config.ConfigRoot; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	spec := shell(`id -u; id -g; id -G; echo x >"$ACTIVATION_CONFIG_DIR/f" && stat -c '%u %g' "$ACTIVATION_CONFIG_DIR/f"; cat "$ACTIVATION_TOPOLOGY"`)
	spec.UID, spec.GID, spec.Groups = 64123, 64124, []int{64124, 64125}
	spec.Topology = []byte("t\n")
	r := b.run(spec)
	if got, want := b.file("log"), "64123\n64124\n64124 64125\n64123 64124\nt\n"; got != want || r.Exit != 0 {
		t.Errorf("log = %q, want %q; %+v", got, want, r)
	}
	b.nothingLeft()
}

func TestStartedIsKnown(t *testing.T) {
	b := newBench(t, "")
	b.start(shell("echo up; sleep 600"))
	b.awaitLog("up")
	b.await("the note of the start", func() bool { _, _, ok := b.Started(key); return ok })
	pid, at, _ := b.Started(key)
	if err := b.Remove(t.Context(), key); !errors.Is(err, fault.Conflict) {
		t.Errorf("Remove of what runs = %v, want conflict", err)
	}
	for range 3 { // asking again changes nothing
		if err := b.Stop(key); err != nil {
			t.Fatal(err)
		}
	}
	if r := b.exit(); r.PID != pid || !r.Started.Equal(at) || r.Reason != wrapper.Stopped {
		t.Errorf("started %d at %v, result %+v", pid, at, r)
	}
	if err := b.Stop(key); err != nil {
		t.Errorf("Stop of what has ended = %v", err)
	}
	b.nothingLeft()
}

func TestOutputIsLimited(t *testing.T) {
	tests := []struct {
		name       string
		head, tail int64
		total      int
	}{
		{"all of it fits", 1000, 1000, 1500},
		{"just", 1000, 1000, 2000},
		{"one too many", 1000, 1000, 2001},
		{"many rotations", 1000, 700, 1_000_003},
		{"no end", 1000, 0, 5000},
		{"no beginning", 0, 1000, 5000},
		{"nothing", 0, 0, 5000},
		{"more than a pipe", 100_000, 100_000, 3_000_000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, "")
			spec := shell(fmt.Sprintf("yes 0123456789 | head -c %d", tt.total))
			spec.LogHead, spec.LogTail = tt.head, tt.tail
			r := b.run(spec)
			all := strings.Repeat("0123456789\n", tt.total/11+1)[:tt.total]
			want := all
			if over := tt.total - int(tt.head+tt.tail); over > 0 {
				want = all[:tt.head] + fmt.Sprintf("\n[activationd: %d bytes of output left out here]\n", over) + all[tt.total-int(tt.tail):]
			}
			if got := b.file("log"); got != want || r.Text != "" {
				t.Errorf("log of %d bytes differs from the %d wanted; %+v", len(got), len(want), r)
			}
			if rest, _ := filepath.Glob(filepath.Join(b.RunDir(key), "log.*")); len(rest) > 0 {
				t.Errorf("left: %q", rest)
			}
			b.nothingLeft()
		})
	}
}

// Go raises its own limit of open files; the script gets the one that the
// daemon was started with.
func TestFileLimitIsTheDaemons(t *testing.T) {
	out, err := exec.Command("/bin/sh", "-c", "ulimit -Hn").Output()
	if err != nil {
		t.Fatal(err)
	}
	if n, err := strconv.Atoi(strings.TrimSpace(string(out))); err == nil && n < 500 {
		t.Skipf("the hard limit of open files is %d", n)
	}
	c := exec.Command("/bin/sh", "-c", `ulimit -Sn 321; exec "$0" -test.run '^TestHelperFileLimit$' -test.v`, os.Args[0])
	c.Env = append(os.Environ(), "FILE_LIMIT_HELPER=1")
	if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "soft limit 321\n") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestHelperFileLimit(t *testing.T) {
	if os.Getenv("FILE_LIMIT_HELPER") == "" {
		return // it is run as the other process of a test
	}
	b := newBench(t, "")
	b.run(shell("ulimit -Sn"))
	t.Logf("soft limit %s", b.file("log"))
}
