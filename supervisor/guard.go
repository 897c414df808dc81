package supervisor

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"activationd/internal/fault"
	"activationd/supervisor/wrapper"
)

// chooseGuard tries the wrapper's program, in a cgroup if that can be had, and
// settles how runs are contained.
func (s *Supervisor) chooseGuard() error {
	if err := s.try(-1); err != nil {
		return fmt.Errorf("the wrapper's program %s: %w: %w", s.config.Atwrap, err, fault.Invalid)
	}
	s.guard = wrapper.GuardSubreaper
	if s.config.Guard == wrapper.GuardSubreaper {
		s.why = "the configuration says so"
		return nil
	}
	parent, err := s.makeParent()
	if err != nil {
		s.why = "no cgroup: " + err.Error()
		if s.config.Guard == wrapper.GuardCgroup {
			return fmt.Errorf("guard %s is wanted: %s: %w", s.config.Guard, s.why, fault.Unavailable)
		}
		return nil
	}
	s.guard, s.cgroup = wrapper.GuardCgroup, parent
	return nil
}

// makeParent makes the directory in which the runs' cgroups are to be made,
// and proves that a process can be born there and killed.
func (s *Supervisor) makeParent() (string, error) {
	self, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	own, err := ownCgroup(string(self), string(mounts))
	if err != nil {
		return "", err
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(s.config.RunsDir)) // two daemons, two directories of runs, two parents
	parent := filepath.Join(own, fmt.Sprintf("activationd-runs-%08x", h.Sum32()))
	if err := os.Mkdir(parent, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	s.sweepCgroups(parent)
	if err := s.probe(parent); err != nil {
		_ = os.Remove(parent) // unless runs of an earlier daemon are in it
		return "", err
	}
	return parent, nil
}

// probePrefix begins the name of a cgroup in which a daemon tries whether it can
// have cgroups.
const probePrefix = "probe-"

// sweepCgroups removes what earlier daemons left in the directory of the runs'
// cgroups: those of daemons that were killed while they probed, and those of runs
// that have ended, unless somebody lives in one. Who has the lock of RunsDir, as
// the caller does, is the only one who probes here.
func (s *Supervisor) sweepCgroups(parent string) {
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
			// The lock is looked at after the cgroup was seen: its run cannot begin
			// in between.
			if held, e := s.nameHeld(e.Name()); held || e != nil || wrapper.Populated(dir) {
				continue
			}
			err = wrapper.RemoveEmptyCgroup(dir)
		}
		if err != nil {
			s.config.Log.Warn("an earlier daemon's cgroup cannot be removed", "path", dir, "err", err)
		}
	}
}

func (s *Supervisor) probe(parent string) error {
	dir := filepath.Join(parent, fmt.Sprintf("%s%d", probePrefix, os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	defer func() { _ = wrapper.RemoveCgroup(dir) }()
	if err := unix.Access(filepath.Join(dir, "cgroup.kill"), unix.W_OK); err != nil {
		return fmt.Errorf("cgroup.kill: %w", err)
	}
	if by := frozenBy(dir); by != "" { // who is born there does not run, and we would wait for him
		s.why = "cgroup " + by + " is frozen: what is started waits until it is thawed"
		s.config.Log.Warn("runs cannot start: their cgroup is frozen; thaw it by writing 0 to its cgroup.freeze", "cgroup", by)
		return nil
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	err = s.try(fd)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = fmt.Errorf("%w; has a run made its cgroup in %s a threaded one? restart the daemon when it has ended", err, filepath.Dir(dir))
	}
	return err
}

// Frozen returns the cgroup that keeps a run's script from running because it is
// frozen; empty: none does. It answers for a run that is followed.
func (s *Supervisor) Frozen(k Key) string {
	if s.cgroup == "" || k.check() != nil {
		return ""
	}
	return frozenBy(filepath.Join(s.cgroup, k.String()))
}

// frozenBy returns the uppermost cgroup by whose freezing dir is frozen; empty:
// it is not.
func frozenBy(dir string) (by string) {
	if !wrapper.Frozen(dir) {
		return ""
	}
	by = dir
	for ; ; dir = filepath.Dir(dir) {
		switch freeze, err := os.ReadFile(filepath.Join(dir, "cgroup.freeze")); {
		case err != nil: // the root has no such file
			return by
		case strings.TrimSpace(string(freeze)) == "1":
			by = dir
		}
	}
}

// fileLimit returns the limit of open files that this process was started
// with. Go's runtime raises the soft one for itself, and lowers it again for
// the children that package syscall starts; a wrapper's script is not of these,
// and a program that uses select(2) must not get more than it was meant to.
func (s *Supervisor) fileLimit() (wrapper.Limit, error) {
	out, err := exec.Command("/bin/sh", "-c", "ulimit -Sn; ulimit -Hn").Output()
	if err != nil {
		return wrapper.Limit{}, fmt.Errorf("limit of open files: %w", err)
	}
	l := wrapper.Limit{Name: "nofile"}
	for i, f := range strings.Fields(string(out)) {
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			n = wrapper.Unlimited
		}
		*[]*uint64{&l.Soft, &l.Hard}[i%2] = n
	}
	return l, nil
}

// try runs the wrapper's program without a run directory, which it must
// refuse; in a cgroup if that is not -1.
func (s *Supervisor) try(cgroup int) error {
	null := s.null.Fd()
	attr := &syscall.SysProcAttr{Setsid: true}
	if cgroup >= 0 {
		attr.UseCgroupFD, attr.CgroupFD = true, cgroup
	}
	pid, err := syscall.ForkExec(s.config.Atwrap, []string{"atwrap"}, &syscall.ProcAttr{
		Dir: "/", Env: wrapperEnv, Files: []uintptr{null, null, null}, Sys: attr,
	})
	if err != nil {
		return err
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
