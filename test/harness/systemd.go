package harness

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A Systemd is a systemd that runs in namespaces of its own: nothing of the machine's is
// touched.
type Systemd struct {
	Init int // its process, as it is seen out here

	t      *testing.T
	cgroup string
	gone   chan struct{}
}

// A Boot says how a Systemd starts.
type Boot struct {
	Cgroup string // the control group to be made for all its processes

	// Prepare is a program for sh, process 1 of the new namespaces. Its mounts make the
	// file system. At its end systemd is started in the root directory that it has then.
	Prepare string
	Args    []string // its $1, $2 and so on

	// Shared is a directory that Prepare makes visible as Inside.
	Shared, Inside string

	Flags       []string // of systemd
	OwnLoopback bool     // it has a network of its own
	Log         *os.File // gets what Prepare prints
}

// Cgroup returns the directory of this process's control group, empty if there is no
// hierarchy of the second version.
func Cgroup() string {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	self, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	path := "/"
	for l := range strings.Lines(string(self)) {
		if p, ok := strings.CutPrefix(strings.TrimSpace(l), "0::"); ok {
			path = p
		}
	}
	for l := range strings.Lines(string(mounts)) {
		head, tail, _ := strings.Cut(l, " - ")
		f := strings.Fields(head)
		if len(f) < 6 || !strings.HasPrefix(tail, "cgroup2 ") {
			continue
		}
		if rel, err := filepath.Rel(f[3], path); err == nil {
			return filepath.Join(f[4], rel)
		}
	}
	return ""
}

// BootSystemd starts a systemd and waits until its start is complete. It ends with the
// test, or with End. The test is skipped where none can be started.
func BootSystemd(t *testing.T, b Boot) *Systemd {
	t.Helper()
	if err := os.Mkdir(b.Cgroup, 0o755); err != nil {
		t.Skipf("no cgroup can be made: %v", err)
	}
	s := &Systemd{t: t, cgroup: b.Cgroup, gone: make(chan struct{})}
	t.Cleanup(s.End)
	group, err := os.Open(b.Cgroup)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = group.Close() }()
	started := newNotifySocket(t, filepath.Join(b.Shared, "started"))
	defer func() { started.close(); _ = os.Remove(started.path) }()

	script := "set -e\nmount --make-rprivate /\n" + b.Prepare + "\nexec /lib/systemd/systemd --system --log-target=null " + strings.Join(b.Flags, " ") + "\n"
	// A clone that makes the namespace of control groups would take the parent's group for
	// its root.
	cmd := exec.Command("unshare", append([]string{"--cgroup", "sh", "-c", script, "boot"}, b.Args...)...)
	cmd.Stdout, cmd.Stderr = b.Log, b.Log
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "container=test", "NOTIFY_SOCKET=" + b.Inside + "/started"}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL, UseCgroupFD: true, CgroupFD: int(group.Fd()),
	}
	if b.OwnLoopback {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWNET
	}
	failed := make(chan error)
	go func() {
		defer close(s.gone)
		runtime.LockOSThread() // the signal comes when the thread ends that has started it
		err := cmd.Start()
		failed <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	s.Init = cmd.Process.Pid
	for {
		select {
		case state := <-started.States:
			if strings.Contains(state, "READY=1") {
				return s
			}
		case <-s.gone:
			t.Skipf("no systemd can be booted here:\n%s", s.read(b.Log.Name()))
		case <-time.After(Patience):
			t.Fatalf("systemd does not boot:\n%s", s.read(b.Log.Name()))
		}
	}
}

// Command returns a command that runs in the machine: in its namespaces, and in its
// control group, so that it ends with the machine. The caller closes the file after the
// command's start.
func (s *Systemd) Command(ctx context.Context, argv ...string) (*exec.Cmd, *os.File) {
	s.t.Helper()
	path := filepath.Join(s.cgroup, "commands")
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		s.t.Fatal(err)
	}
	group, err := os.Open(path)
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"-t", strconv.Itoa(s.Init), "-a"}, argv...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd())}
	return cmd, group
}

// End ends everything in the machine, as a power switch does.
func (s *Systemd) End() {
	if s.cgroup == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(s.cgroup, "cgroup.kill"), []byte("1"), 0); err != nil {
		s.t.Error(err)
	}
	for deadline := time.Now().Add(Patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if strings.Contains(s.read(filepath.Join(s.cgroup, "cgroup.events")), "populated 0") {
			break
		}
	}
	if s.Init != 0 {
		<-s.gone
	}
	var dirs []string
	_ = filepath.WalkDir(s.cgroup, func(path string, e os.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	for i := len(dirs) - 1; i >= 0; i-- {
		if err := syscall.Rmdir(dirs[i]); err != nil && !errors.Is(err, syscall.ENOENT) {
			s.t.Errorf("%s: %v", dirs[i], err)
		}
	}
	s.cgroup = ""
}

func (s *Systemd) read(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		s.t.Error(err)
	}
	return string(data)
}
