package supervisor_test

import (
	"errors"
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

	"activationd/internal/fault"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

func itoa(n int) string { return strconv.Itoa(n) }

// Every exit status that a script can have is reported, for many runs at once.
func TestExitStatus(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
	orphan := write("orphan", "#!/no/such/interpreter -x\n", 0o755)
	data := write("data", "#!"+plain+"\n", 0o755)
	windows := write("windows", "#!/bin/sh\r\nexit 0\r\n", 0o755)
	hollow := write("hollow", "", 0o755)
	nameless := write("nameless", "#! \n", 0o755)
	binary := write("binary", "\x7fELF\x00\x01\x02", 0o755)
	sed := "; remove it with: sed -i 's/\\r$//' "
	tests := []struct {
		name string
		edit func(*wrapper.Spec)
		exit int
		text string
	}{
		{"no such file", func(s *wrapper.Spec) { s.Argv = []string{"/no/such"} }, 127, "there is no file /no/such"},
		{"not in PATH", func(s *wrapper.Spec) { s.Argv, s.Env = []string{"no-such"}, []string{"PATH=/bin:/x"} }, 127,
			"there is no command no-such in PATH, which is /bin:/x"},
		{"no PATH", func(s *wrapper.Spec) { s.Argv, s.Env = []string{"no-such"}, nil }, 127,
			"there is no command no-such in PATH, which is /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		{"relative to the directory", func(s *wrapper.Spec) { s.Argv, s.Dir = []string{"./no-such"}, dir }, 127, "there is no file " + dir + "/no-such"},
		{"another user's home", func(s *wrapper.Spec) { s.Argv = []string{"~ada/x"} }, 127,
			"there is no file /~ada/x; ~ is the home directory only in a shell"},
		{"the home directory", func(s *wrapper.Spec) { s.Argv, s.Env = []string{"~/x"}, []string{"HOME=/home/ada"} }, 127,
			"there is no file /~/x; ~ is the home directory only in a shell: write /home/ada/x"},
		{"no interpreter", func(s *wrapper.Spec) { s.Argv = []string{orphan} }, 127,
			"there is no /no/such/interpreter, the interpreter that the #! line of " + orphan + " names"},
		{"CR LF", func(s *wrapper.Spec) { s.Argv = []string{windows} }, 127, "the #! line of " + windows +
			" ends with CR LF, as Windows writes it, and the CR is taken for a part of the name" + sed + windows},
		{"an interpreter that is no program", func(s *wrapper.Spec) { s.Argv = []string{data} }, 126,
			"its user may not execute " + plain + ", the interpreter that the #! line of " + data + " names"},
		{"not executable", func(s *wrapper.Spec) { s.Argv = []string{plain} }, 126, plain + " is not executable; make it so with: chmod +x " + plain},
		{"not executable, in PATH", func(s *wrapper.Spec) { s.Argv, s.Env = []string{"plain"}, []string{"PATH=/x:" + dir} }, 126,
			plain + " is not executable; make it so with: chmod +x " + plain},
		{"a directory", func(s *wrapper.Spec) { s.Argv = []string{dir} }, 126, dir + " is a directory"},
		{"no #! line", func(s *wrapper.Spec) { s.Argv = []string{odd} }, 126, odd + " has no #! line; begin it with #!/bin/sh, for instance"},
		{"an empty file", func(s *wrapper.Spec) { s.Argv = []string{hollow} }, 126, hollow + " is empty"},
		{"an empty #! line", func(s *wrapper.Spec) { s.Argv = []string{nameless} }, 126, "the #! line of " + nameless + " names no interpreter"},
		{"another machine's program", func(s *wrapper.Spec) { s.Argv = []string{binary} }, 126, binary + " is not a program for this machine"},
		{"no working directory", func(s *wrapper.Spec) { s.Dir = "/no/such" }, 126, "there is no working directory /no/such"},
		{"the home's working directory", func(s *wrapper.Spec) { s.Dir, s.Env = "/srv/~/lab", []string{"HOME=/home/ada"} }, 126,
			"there is no working directory /srv/~/lab; ~ is the home directory only in a shell: write /home/ada/lab"},
		{"a file as working directory", func(s *wrapper.Spec) { s.Dir = plain }, 126, "the working directory " + plain + " is not a directory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, "")
			spec := shell("true")
			tt.edit(&spec)
			r := b.run(spec)
			if r.Reason != wrapper.Failed || r.Exit != tt.exit || r.Text != tt.text || r.PID != 0 {
				t.Errorf("result = %+v, text\n%s\nwant failed, %d, text\n%s", r, r.Text, tt.exit, tt.text)
			}
			b.nothingLeft()
		})
	}
}

// A script that is started and ends with "not found" is explained, too, if its #! line is
// the cause.
func TestHint(t *testing.T) {
	t.Parallel()
	script := filepath.Join(t.TempDir(), "windows")
	if err := os.WriteFile(script, []byte("#!/usr/bin/env sh\r\nexit 0\r\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		argv []string
		text string
	}{
		{[]string{script}, "the #! line of " + script + " ends with CR LF"},
		{[]string{"sh", "-c", "exit 127"}, ""},
	} {
		b := newBench(t, "")
		spec := shell("true")
		spec.Argv = tt.argv
		if r := b.run(spec); r.Reason != wrapper.Exited || r.Exit != 127 || !strings.HasPrefix(r.Text, tt.text) || (tt.text == "") != (r.Text == "") {
			t.Errorf("%q: result %+v, want exited, 127, %q", tt.argv, r, tt.text)
		}
	}
}

func TestStartRefuses(t *testing.T) {
	t.Parallel()
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

// The script's surroundings are those of the specification, and nothing else is inherited.
func TestSurroundings(t *testing.T) {
	b := newBench(t, "")
	t.Setenv("NOT_FOR_SCRIPTS", "1")
	spec := shell(`pwd; umask; ulimit -n; nice; cat; echo "$A$ACTIVATION_RUN$NOT_FOR_SCRIPTS"; grep -E 'SigBlk|SigIgn|NoNewPrivs' /proc/self/status
ls -l /proc/self/fd | grep -c runs; ps -o pgid= -p $$ | tr -d ' '; echo $$; cat "$ACTIVATION_TOPOLOGY"; stat -c %a "$ACTIVATION_CONFIG_DIR"; echo "$ACTIVATION_DEADLINE"; tr '\0' '\n' </proc/$$/environ | grep -c ^ACTIVATION_RUN=; echo kept >"$ACTIVATION_CONFIG_DIR/sw1.cfg"`)
	spec.Dir, spec.Umask, spec.Nice, spec.NoNewPrivs = "/usr", 0o027, 3, true
	spec.Limits = []wrapper.Limit{{Name: "nofile", Soft: 77, Hard: 99}}
	spec.Stdin = []byte("fed\n")
	spec.Env = append(spec.Env, "A=a", "ACTIVATION_RUN=forged", "LANG=C")
	spec.Topology = []byte("name: ospf\n")
	spec.Timeout = time.Hour
	before := time.Now()
	r := b.run(spec)
	lines := strings.Split(b.file("log"), "\n")
	if len(lines) != 17 {
		t.Fatalf("result %+v, log %q", r, lines)
	}
	prio, err := syscall.Getpriority(syscall.PRIO_PROCESS, 0) // 20 less the niceness
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"/usr", "0027", "77", itoa(20 - prio + 3), "fed", "a" + b.mark(),
		"SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000", "NoNewPrivs:\t1"}
	// The process that started this test may have ignored signals of its C library,
	// 32 and 33. Scripts may inherit that.
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
	if lines[15] != "1" {
		t.Errorf("ACTIVATION_RUN is there %s times", lines[15])
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
	t.Parallel()
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

// A user's script has no capabilities, even if the daemon has inheritable ones, which stay
// when a process becomes another user.
func TestUserHasNoCapabilities(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to become another user")
	}
	t.Parallel()
	b := limited(t, "setpriv --inh-caps +chown")
	b.open()
	spec := shell("grep -E 'Cap(Inh|Prm|Eff|Amb)' /proc/self/status")
	spec.UID, spec.GID = 64123, 64123
	r := b.run(spec)
	const none = "\t0000000000000000\n"
	if got, want := b.file("log"), "CapInh:"+none+"CapPrm:"+none+"CapEff:"+none+"CapAmb:"+none; got != want {
		t.Errorf("log = %q, want %q; %+v", got, want, r)
	}
}

// A file in a run's directory is opened only if it is a regular one.
func TestOpen(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	b.run(shell("echo out"))
	dir := b.RunDir(key)
	if err := errors.Join(os.Symlink("/proc/version", dir+"/link"), syscall.Mkfifo(dir+"/pipe", 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"link", "pipe", "config", "../" + key.String() + "/log", ""} {
		if f, err := b.Open(key, name); err == nil {
			t.Errorf("Open opens %q", name)
			_ = f.Close()
		}
	}
	f, err := b.Open(key, wrapper.LogFile)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if data, err := io.ReadAll(f); string(data) != "out\n" || err != nil {
		t.Errorf("log = %q, %v", data, err)
	}
}

func TestStartedIsKnown(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
