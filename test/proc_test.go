package test

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"activationd/supervisor/wrapper"
	"activationd/test/harness"
)

// marked returns the processes of this daemon's runs and of the checks of services.
func (d *daemon) marked() []int { return slices.Concat(d.ofRunsAndChecks()) }

// ofRunsAndChecks returns the processes whose environment says that they belong to a run, or to
// the check of a service. A zombie has no environment, and it is nobody's any more.
func (d *daemon) ofRunsAndChecks() (runs, checks []int) {
	for _, pid := range wrapper.Processes() {
		env := wrapper.Environ(pid)
		switch {
		case !strings.Contains(env, "\x00ACTIVATIOND_SOCKET="+d.socket+"\x00"):
		case strings.Contains(env, "\x00"+wrapper.MarkVar+"=command of "):
			checks = append(checks, pid)
		case strings.Contains(env, "\x00"+wrapper.MarkVar+"="):
			runs = append(runs, pid)
		}
	}
	return runs, checks
}

// A liveRun is a run whose wrapper lives.
type liveRun struct {
	name string // of its directory: id.phase.n
	pid  int    // of the wrapper
}

// liveRuns returns the runs of this daemon whose lock is held.
func (d *daemon) liveRuns() []liveRun { return liveIn(d.state + "/runs") }

// deliveries returns the runs of listeners whose lock is held.
func (d *daemon) deliveries() []liveRun { return liveIn(d.runtime + "/queues/runs") }

func liveIn(dir string) []liveRun {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var runs []liveRun
	for _, e := range entries {
		path := filepath.Join(dir, e.Name(), wrapper.LockFile)
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		l, err := wrapper.ParseLock(string(data))
		if err != nil || !locked(path) {
			continue
		}
		if p, ok := wrapper.Stat(l.PID); ok && p.Same(l.Born) {
			runs = append(runs, liveRun{e.Name(), l.PID})
		}
	}
	return runs
}

// wrappers returns the process ids of this daemon's wrappers that live.
func (d *daemon) wrappers() []int {
	var pids []int
	for _, r := range append(d.liveRuns(), d.deliveries()...) {
		pids = append(pids, r.pid)
	}
	return pids
}

func locked(path string) bool {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// wrapperOf waits for nothing: it returns the live wrapper of a run, 0 if there
// is none.
func (d *daemon) wrapperOf(run string) int {
	for _, r := range d.liveRuns() {
		if r.name == run {
			return r.pid
		}
	}
	return 0
}

// cgroup returns the directory of the cgroups of this daemon's runs, as the supervisor
// chooses it; empty if there is no cgroup v2.
func (d *daemon) cgroup() string { return cgroupOf(d.state + "/runs") }

func cgroupOf(runs string) string {
	own := harness.Cgroup()
	if own == "" {
		return ""
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(runs))
	return filepath.Join(own, fmt.Sprintf("activationd-runs-%08x", h.Sum32()))
}

// cgroups returns the cgroups of runs, and of listeners.
func (d *daemon) cgroups() (names []string) {
	for _, dir := range d.cgroupParents() {
		for _, path := range cgroupsIn(dir) {
			names = append(names, filepath.Base(path))
		}
	}
	return names
}

func (d *daemon) cgroupParents() []string {
	return []string{d.cgroup(), cgroupOf(d.runtime + "/queues/runs")}
}

func cgroupsIn(parent string) (paths []string) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if e.IsDir() {
			paths = append(paths, filepath.Join(parent, e.Name()))
		}
	}
	return paths
}

func (d *daemon) removeCgroup() {
	for _, parent := range d.cgroupParents() {
		if parent == "" {
			return
		}
		for _, path := range cgroupsIn(parent) {
			_ = wrapper.RemoveCgroup(path)
		}
		_ = os.Remove(parent)
	}
}

// nothingLeft checks that nothing is left of any run except its directory: no process,
// no wrapper, no cgroup, no configuration directory, no socket, no file that was not finished.
// The process of a check may be about to end: the daemon kills it when it hears of the end of
// the run, as a client does that waits for that end, and either may hear of it first.
func (d *daemon) nothingLeft() {
	d.t.Helper()
	runs, checks := d.ofRunsAndChecks()
	for _, pid := range runs {
		d.t.Errorf("process %d of a run is left: %s", pid, commandLine(pid))
	}
	for _, pid := range checks {
		awaitGone(d.t, pid)
	}
	for _, r := range append(d.liveRuns(), d.deliveries()...) {
		d.t.Errorf("the wrapper %d of run %s is left", r.pid, r.name)
	}
	for _, name := range d.cgroups() {
		d.t.Errorf("cgroup %s is left", name)
	}
	entries, err := os.ReadDir(d.runtime + "/config")
	if err != nil {
		d.t.Error(err)
	}
	for _, e := range entries {
		d.t.Errorf("configuration directory %s is left", e.Name())
	}
	unfinished, err := filepath.Glob(d.state + "/runs/*/*.new")
	if err != nil {
		d.t.Error(err)
	}
	for _, path := range unfinished {
		if filepath.Base(path) != wrapper.ResultFile+".new" { // the space that a killed wrapper had reserved
			d.t.Errorf("file %s is left", path)
		}
	}
}

func commandLine(pid int) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return err.Error()
	}
	return strings.ReplaceAll(strings.TrimRight(string(data), "\x00"), "\x00", " ")
}

// alive reports whether a process is there and a thread of it runs.
func alive(pid int) bool {
	p, ok := wrapper.Stat(pid)
	return ok && !p.Dead()
}

// aliveSince reports whether a process is there that was there before t. Another
// one may have got its id since: fork bombs make the ids come round again.
func aliveSince(pid int, t time.Time) bool {
	p, ok := wrapper.Stat(pid)
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) // cannot fail
	return ok && alive(pid) && p.Born < time.Duration(now.Nano())-time.Since(t)
}

// awaitGone waits until a process that need not be ours has ended.
func awaitGone(t *testing.T, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for deadline := time.Now().Add(patience); ; {
		n, err := unix.Poll(p, int(time.Until(deadline).Milliseconds()))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			t.Fatal(err)
		case n == 0:
			t.Fatalf("process %d (%s) does not end", pid, commandLine(pid))
		default:
			return
		}
	}
}

// killPID kills a process that this test's daemon has started.
func killPID(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Fatal(err)
	}
}

// residentKiB is the resident memory of a process.
func residentKiB(t *testing.T, pid int, field string) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(l, field+":"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no %s in /proc/%d/status", field, pid)
	return 0
}

// pidsIn reads process ids, one a line.
func pidsIn(t *testing.T, text string) []int {
	t.Helper()
	var pids []int
	for l := range strings.Lines(text) {
		n, err := strconv.Atoi(strings.TrimSpace(l))
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, n)
	}
	slices.Sort(pids)
	return pids
}

func readNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func ownerOf(info os.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return -1
}
