package supervisor_test

import (
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// hang is how long a test waits for what must come. Nothing is asserted of it.
const hang = 10 * time.Minute

// Wrappers in tests become idle at once, unless the flag says otherwise.
var idleAfter = flag.String("idle-after", "0", "wrappers become idle after so many `nanoseconds` without an event")

// Programs that are built once: the real wrapper, and those of testdata.
var atwrap, firstends, deafdisk, guest string

// programsVar names a directory that has them.
const programsVar = "ACTIVATIOND_PROGRAMS"

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	if config := os.Getenv(daemonVar); config != "" {
		return daemonMain(config)
	}
	if config := os.Getenv(talkVar); config != "" {
		return talkMain(config)
	}
	if name := os.Getenv(refuseVar); name != "" && unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) == nil {
		if err := refuse(refusals[name]); err != nil {
			fmt.Println(refuseVar+":", err)
			return 1
		}
	}
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given { // most of these tests wait for processes, and need no processor meanwhile
		if err := flag.Set("test.parallel", strconv.Itoa(8*runtime.GOMAXPROCS(0))); err != nil {
			panic(err)
		}
	}
	if dir := os.Getenv(programsVar); dir != "" { // they are built, and here is no Go: see test/vm
		atwrap, firstends, guest = filepath.Join(dir, "atwrap"), filepath.Join(dir, "firstends"), filepath.Join(dir, "guest")
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "atwrap")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	atwrap = filepath.Join(dir, "atwrap")
	if out, err := exec.Command("make", "-s", "-C", "..", "atwrap", "BIN="+dir, "IDLE_AFTER="+*idleAfter).CombinedOutput(); err != nil {
		panic(string(out))
	}
	firstends, deafdisk, guest = filepath.Join(dir, "firstends"), filepath.Join(dir, "deafdisk"), filepath.Join(dir, "guest")
	if out, err := exec.Command("go", "build", "-o", dir, "./testdata/firstends", "./testdata/deafdisk", "./testdata/guest").CombinedOutput(); err != nil {
		panic(string(out))
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		panic(err)
	}
	return m.Run()
}

// A bench is a supervisor with its places.
type bench struct {
	*supervisor.Supervisor
	config supervisor.Config
	t      testing.TB
}

func newBench(t testing.TB, guard string) *bench {
	t.Helper()
	dir := t.TempDir()
	b := &bench{t: t, config: supervisor.Config{
		Atwrap: atwrap, RunsDir: filepath.Join(dir, "runs"), ConfigRoot: filepath.Join(dir, "config"), WorkdirsDir: filepath.Join(dir, "kept"), Guard: guard,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}}
	for _, d := range []string{b.config.RunsDir, b.config.ConfigRoot, b.config.WorkdirsDir} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b.open()
	t.Cleanup(func() {
		b.Close()
		if t.Failed() {
			b.killRuns()
		}
	})
	return b
}

// killRuns kills what a test that has failed has left.
func (b *bench) killRuns() {
	specs, _ := filepath.Glob(filepath.Join(b.config.RunsDir, "*", wrapper.SpecFile)) // a bad pattern is its only error
	for _, path := range specs {
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		spec, err := wrapper.ParseSpec(string(data))
		if err != nil {
			continue
		}
		for _, pid := range marked(spec.Mark) {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it is this test's
		}
	}
}

// open makes the supervisor, as a daemon's start does.
func (b *bench) open() {
	b.t.Helper()
	s, err := supervisor.New(b.config)
	if err != nil {
		b.t.Fatal(err)
	}
	if got, why := s.Guard(); b.config.Guard == wrapper.GuardCgroup && got != b.config.Guard {
		b.t.Fatalf("guard = %s (%s), want %s", got, why, b.config.Guard)
	}
	b.Supervisor = s
}

// reopen is a restart of the daemon.
func (b *bench) reopen() {
	b.t.Helper()
	b.Close()
	b.open()
}

// guards returns those that are available here, best first.
func guards(t testing.TB) []string {
	b := newBench(t, "")
	g, why := b.Guard()
	if g != wrapper.GuardCgroup {
		t.Logf("without cgroups: %s", why)
		return []string{wrapper.GuardSubreaper}
	}
	return []string{wrapper.GuardCgroup, wrapper.GuardSubreaper}
}

var key = supervisor.Key{ID: "1042@ostrava", Phase: "activate", N: 1}

// shell is a specification that runs a shell script.
func shell(script string) wrapper.Spec {
	return wrapper.Spec{
		Argv: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=" + os.Getenv("PATH"), "FIRSTENDS=" + firstends, "GUEST=" + guest},
		UID: -1, GID: -1, Umask: 0o022, Grace: 10 * time.Second, LogHead: 64 << 10, LogTail: 64 << 10,
	}
}

func (b *bench) start(spec wrapper.Spec) {
	b.t.Helper()
	if err := b.Start(key, spec); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) exit() wrapper.Result {
	b.t.Helper()
	select {
	case x := <-b.Exits():
		if x.Key != key {
			b.t.Fatalf("exit of %v, want %v", x.Key, key)
		}
		return x.Result
	case <-time.After(hang):
		b.t.Fatalf("no exit; log: %s", b.file("log"))
	}
	panic("not reached")
}

// run starts spec and returns how it ended.
func (b *bench) run(spec wrapper.Spec) wrapper.Result {
	b.t.Helper()
	b.start(spec)
	return b.exit()
}

func (b *bench) file(name string) string {
	data, err := os.ReadFile(filepath.Join(b.RunDir(key), name))
	if err != nil {
		return "(" + err.Error() + ")"
	}
	return string(data)
}

func (b *bench) mark() string {
	b.t.Helper()
	spec, err := wrapper.ParseSpec(b.file("spec"))
	if err != nil {
		b.t.Fatal(err)
	}
	return spec.Mark
}

// wrapperPID returns the number of the run's wrapper.
func (b *bench) wrapperPID() int {
	b.t.Helper()
	var l wrapper.Lock
	b.await("a lock file's content", func() bool {
		var err error
		l, err = wrapper.ParseLock(b.file("lock"))
		return err == nil
	})
	return l.PID
}

// await polls for what the system gives no event for.
func (b *bench) await(what string, ok func() bool) {
	b.t.Helper()
	for end := time.Now().Add(hang); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("waited in vain for %s; log: %s", what, b.file("log"))
		}
	}
}

// awaitLog waits until the run has said so.
func (b *bench) awaitLog(text string) {
	b.t.Helper()
	b.await("output "+text, func() bool { return strings.Contains(b.file("log"), text) })
}

// marked returns the processes that carry the run's mark.
func marked(mark string) (pids []int) {
	for _, pid := range wrapper.Processes() {
		if strings.Contains(wrapper.Environ(pid), mark) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// nothingLeft checks that no process, cgroup or directory of the run remains
// outside of its directory.
func (b *bench) nothingLeft() {
	b.t.Helper()
	if pids := marked(b.mark()); len(pids) > 0 {
		for _, pid := range pids {
			status, _ := os.ReadFile(filepath.Join("/proc", itoa(pid), "stat"))
			b.t.Errorf("left behind: %s", status)
			_ = syscall.Kill(pid, syscall.SIGKILL) // it is this test's
		}
	}
	pids, _ := os.ReadFile(filepath.Join(b.RunDir(key), "config", "pids")) // few shapes write it
	for f := range strings.FieldsSeq(string(pids)) {
		pid, err := strconv.Atoi(f)
		if err != nil {
			b.t.Fatal(err)
		}
		if p, ok := wrapper.Stat(pid); ok && !p.Dead() {
			b.t.Errorf("left behind: %+v", p)
			_ = syscall.Kill(pid, syscall.SIGKILL) // likewise
		}
	}
	if dirs, _ := filepath.Glob(filepath.Join(b.config.ConfigRoot, "*")); len(dirs) > 0 {
		b.t.Errorf("configuration directories left behind: %q", dirs)
	}
	spec, err := wrapper.ParseSpec(b.file("spec"))
	if err != nil {
		b.t.Fatal(err)
	}
	if spec.Cgroup == "" {
		return
	}
	if _, err := os.Stat(filepath.Join(spec.Cgroup, key.String())); err == nil {
		b.t.Errorf("the run's cgroup is left behind")
	}
}
