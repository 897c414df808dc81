package supervisor

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"activationd/internal/fault"
	"activationd/supervisor/wrapper"
)

// Contain implements [Privileged].
func (p *direct) Contain(guard string) (c Containment, err error) {
	if err := p.try(-1); err != nil {
		return c, fmt.Errorf("the wrapper's program %s: %w: %w", p.config.Atwrap, err, fault.Invalid)
	}
	c.Guard = wrapper.GuardSubreaper
	var is int32
	if unix.Prctl(unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&is)), 0, 0, 0) != nil { // no process can be one
		c.Guard = wrapper.GuardGroup
	}
	if guard == wrapper.GuardSubreaper {
		c.Why = "the configuration says so"
		return c, nil
	}
	parent, why, err := p.makeParent()
	if err != nil {
		c.Why = "no cgroup: " + err.Error()
		if guard == wrapper.GuardCgroup {
			return c, fmt.Errorf("the configuration asks for guard %s: %s: %w", guard, c.Why, fault.Unavailable)
		}
		return c, nil
	}
	p.cgroup = parent
	return Containment{Guard: wrapper.GuardCgroup, Why: why, Cgroup: parent}, nil
}

// makeParent makes the directory for the runs' cgroups, and checks that a process can be
// started and killed in a cgroup there. The text says why runs cannot start now, if so.
func (p *direct) makeParent() (parent, why string, err error) {
	self, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", "", err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", "", err
	}
	own, err := ownCgroup(string(self), string(mounts))
	if err != nil {
		return "", "", err
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(p.config.RunsDir)) // each daemon has a RunsDir, and so a parent, of its own
	parent = filepath.Join(own, fmt.Sprintf("activationd-runs-%08x", h.Sum32()))
	if err := os.Mkdir(parent, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return "", "", err
	}
	p.sweepCgroups(parent)
	if why, err = p.probe(parent); err != nil {
		_ = os.Remove(parent) // unless runs of an earlier daemon are in it
		return "", "", err
	}
	return parent, why, nil
}

// probePrefix begins the name of a cgroup in which a daemon tests whether it can
// use cgroups.
const probePrefix = "probe-"

// sweepCgroups removes the cgroups that earlier daemons left: those of daemons that were
// killed while they probed, and those of runs that have ended, unless a process lives in
// one. The caller has the lock of RunsDir, so no other daemon probes here.
func (p *direct) sweepCgroups(parent string) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return // it is tried again at the next start
	}
	for _, e := range entries {
		dir := filepath.Join(parent, e.Name())
		switch {
		case !e.IsDir():
			continue
		case strings.HasPrefix(e.Name(), probePrefix):
			err = wrapper.RemoveCgroup(dir)
		default:
			// The lock is tested after the cgroup was seen, so its run cannot begin
			// in between.
			if held, e := lockHeld(p.config.RunsDir, e.Name()); held || e != nil || wrapper.Populated(dir) {
				continue
			}
			err = wrapper.RemoveEmptyCgroup(dir)
		}
		if err != nil {
			p.config.Log.Warn("an earlier daemon's cgroup cannot be removed", "path", dir, "err", err)
		}
	}
}

func (p *direct) probe(parent string) (why string, err error) {
	dir := filepath.Join(parent, fmt.Sprintf("%s%d", probePrefix, os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	defer func() { _ = wrapper.RemoveCgroup(dir) }()
	if err := unix.Access(filepath.Join(dir, "cgroup.kill"), unix.W_OK); err != nil {
		return "", fmt.Errorf("cgroup.kill: %w", err)
	}
	if by := frozenBy(dir); by != "" { // a process that is started there does not run, and we would wait for it
		why = "cgroup " + by + " is frozen: runs that are started wait until it is thawed"
		p.config.Log.Warn("runs cannot start: their cgroup is frozen; thaw it by writing 0 to its cgroup.freeze", "cgroup", by)
		return why, nil
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer func() { _ = unix.Close(fd) }()
	err = p.try(fd)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = fmt.Errorf("%w; did a run make its cgroup in %s threaded? restart the daemon when that run has ended", err, filepath.Dir(dir))
	}
	return "", err
}

// try runs the wrapper's program without a run directory, which the program must
// refuse. A cgroup of -1 means that of this process. The first try also finds out whether
// a start returns a pidfd here.
func (p *direct) try(cgroup int) error {
	null := p.null.Fd()
	attr := &syscall.SysProcAttr{Setsid: true}
	if cgroup >= 0 {
		attr.UseCgroupFD, attr.CgroupFD = true, cgroup
	}
	start := func() (int, error) {
		return syscall.ForkExec(p.config.Atwrap, []string{"atwrap"}, &syscall.ProcAttr{
			Dir: "/", Env: wrapperEnv, Files: []uintptr{null, null, null}, Sys: attr,
		})
	}
	pidfd := -1
	if !p.blind {
		attr.PidFD = &pidfd
	}
	pid, err := start()
	if cgroup < 0 && (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM)) {
		attr.PidFD = nil
		pid, err = start()
	}
	if err != nil {
		return err
	}
	if p.blind = pidfd < 0; !p.blind {
		_ = unix.Close(pidfd)
	}
	var st syscall.WaitStatus
	for {
		if _, err = syscall.Wait4(pid, &st, 0, nil); !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err == nil && st.ExitStatus() != wrapper.StatusMisused {
		err = fmt.Errorf("is not the wrapper: it ended with status %d", st.ExitStatus())
	}
	return err
}

// ownCgroup returns the directory of the calling process's cgroup in the
// unified hierarchy, from the contents of /proc/self/cgroup and mountinfo.
func ownCgroup(self, mountinfo string) (string, error) {
	path, found := "", false
	for l := range strings.Lines(self) {
		if p, ok := strings.CutPrefix(strings.TrimSuffix(l, "\n"), "0::"); ok {
			path, found = p, true
		}
	}
	if !found {
		return "", errors.New("the kernel has no cgroup v2")
	}
	for l := range strings.Lines(mountinfo) {
		// 36 35 98:0 /root /mount/point rw,noatime master:1 - type source options
		head, tail, _ := strings.Cut(l, " - ")
		f := strings.Fields(head)
		if len(f) < 6 || !strings.HasPrefix(tail, "cgroup2 ") {
			continue
		}
		if rel, err := filepath.Rel(f[3], path); err == nil && !strings.HasPrefix(rel, "..") {
			return filepath.Join(unescape(f[4]), rel), nil
		}
	}
	return "", errors.New("cgroup v2 is not mounted where this process's cgroup could be seen")
}

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
