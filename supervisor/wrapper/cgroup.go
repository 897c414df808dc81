package wrapper

import (
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// CgroupName returns the name of a run's cgroup in Spec.Cgroup.
func CgroupName(s *Spec) string { return s.ID + "." + s.Phase + "." + strconv.Itoa(s.Attempt) }

// makeCgroupAgain makes the cgroup when that has failed.
func (w *run) makeCgroupAgain(dir string, errno syscall.Errno) syscall.Errno {
	if errno == syscall.ENOENT { // a daemon without runs removed the parent
		_ = syscall.Mkdir(w.plan.cgroupRoot, 0o755)
	}
	if errno == syscall.EEXIST { // it is a lost run's
		if err := RemoveEmptyCgroup(dir); err != nil {
			return errno
		}
	}
	return rawMkdir(pathz(dir+"\x00"), 0o755)
}

// dropCgroup removes the run's cgroup. This process has no descendant left, so any
// process in the cgroup came from elsewhere; it is killed, too.
func (w *run) dropCgroup() {
	if w.result.Reason == "" { // the script could not be started in it
		w.adoptOrphans()
	}
	if len(w.result.Hung) > 0 { // the daemon removes it when they are gone
	} else if err := RemoveCgroup(w.cgroupDir); err != nil {
		w.note(errnoText("cgroup not removed", err))
		w.result.Hung = AddHung(nil, CgroupMembers(w.cgroupDir)...)
	}
	closeFD(w.cgroup)
	w.cgroup, w.cgroupDir = -1, ""
}

// RemoveCgroup kills the processes in a cgroup and in those below it, and removes
// all these cgroups. It waits for a bounded time, and only while there is a process
// inside. A missing cgroup is no error.
func RemoveCgroup(dir string) error {
	patience := monotonic() + killPatience
	for d := 100 * time.Microsecond; ; d = min(2*d, 20*time.Millisecond) {
		err := syscall.Rmdir(dir)
		if err == nil || err == syscall.ENOENT {
			return nil
		}
		switch {
		case err != syscall.EBUSY || monotonic() > patience:
			return err
		case Populated(dir):
			KillCgroup(dir)
			pause(d)
		case !removeCgroups(dir, patience):
			return err
		}
	}
}

// RemoveEmptyCgroup removes a cgroup and those below it unless there is a
// process in one of them, which is EBUSY. A missing cgroup is no error.
func RemoveEmptyCgroup(dir string) error {
	if Populated(dir) {
		return syscall.EBUSY
	}
	removeCgroups(dir, monotonic()+killPatience)
	if err := syscall.Rmdir(dir); err != syscall.ENOENT {
		return err
	}
	return nil
}

// removeCgroups removes a cgroup and those below it, deepest first, as far as
// possible until a given time, and reports whether it removed any.
func removeCgroups(dir string, until time.Duration) (progress bool) {
	walkCgroups(dir, func(parent int, name string) bool {
		progress = unix.Unlinkat(parent, name, unix.AT_REMOVEDIR) == nil || progress
		return monotonic() < until
	})
	return progress
}

// Populated reports whether there is a process in a cgroup or below it.
func Populated(dir string) bool { return cgroupEvent(dir, "populated") }

// Frozen reports whether processes that are in a cgroup, or are started there, do not
// run until the cgroup or one above it is thawed.
func Frozen(dir string) bool { return cgroupEvent(dir, "frozen") }

func cgroupEvent(dir, name string) bool {
	events, err := readFile(unix.AT_FDCWD, dir+"/cgroup.events", 4096)
	return err == nil && strings.Contains("\n"+events, "\n"+name+" 1\n")
}

// KillCgroup kills the processes that are in a cgroup and in those below it, and
// returns them. It does not wait for their end.
//
// cgroup.kill is not enough. A threaded cgroup refuses it, and Linux 6.18 sends
// the signal to the first thread of each process only, which does not end the
// others if the first has already ended. So each process gets a signal of its own.
func KillCgroup(dir string) []Process {
	found := cgroupMembers(dir, nil)
	if fd, err := openat(unix.AT_FDCWD, dir, syscall.O_RDONLY|syscall.O_DIRECTORY, 0); err == nil {
		_ = writeFile(fd, "cgroup.kill", "1")
		closeFD(fd)
	}
	cgroupMembers(dir, func(pidfd int) { _ = unix.PidfdSendSignal(pidfd, syscall.SIGKILL, nil, 0) })
	return found
}

// CgroupMembers returns the processes that are in a cgroup and in those below it.
func CgroupMembers(dir string) []Process { return cgroupMembers(dir, nil) }

// cgroupMembers returns the processes of which a thread is in a cgroup or in
// one below it, and calls each, if there is one, with their pidfds.
func cgroupMembers(dir string, each func(pidfd int)) (found []Process) {
	base := dir[strings.LastIndexByte(dir, '/')+1:]
	seen := map[int]bool{}
	walkCgroups(dir, func(parent int, name string) bool {
		// A threaded cgroup has no list of processes, but one of threads.
		for _, list := range [...]string{"/cgroup.procs", "/cgroup.threads"} {
			text, err := readFile(parent, name+list, 64<<20)
			if err != nil {
				continue
			}
			for f := range strings.FieldsSeq(text) {
				tid, err := strconv.Atoi(f)
				if err != nil || tid == 0 || seen[tid] { // 0: this namespace does not see it
					continue
				}
				seen[tid] = true
				pid := threadGroup(tid)
				if pid != tid && seen[pid] {
					continue
				}
				seen[pid] = true
				if p, ok := cgroupMember(pid, tid, base, each); ok {
					found = append(found, p)
				}
			}
		}
		return true
	})
	return found
}

// cgroupMember reports whether a thread of process pid is in the cgroup of that
// name. It opens the process's pidfd first, so that it cannot mistake a later process with
// the same id for it.
func cgroupMember(pid, tid int, base string, each func(pidfd int)) (p Process, ok bool) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return p, false
	}
	defer closeFD(fd)
	text, err := readFile(unix.AT_FDCWD, "/proc/"+strconv.Itoa(pid)+"/task/"+strconv.Itoa(tid)+"/cgroup", 64<<10)
	if err != nil {
		return p, false
	}
	_, path, _ := strings.Cut("\n"+text, "\n0::")
	path, _, _ = strings.Cut(path, "\n")
	if !strings.Contains(path+"/", "/"+base+"/") {
		return p, false
	}
	if p, ok = Stat(pid); ok && each != nil {
		each(fd)
	}
	return p, ok
}

// threadGroup returns the id of the process that a thread belongs to; 0 if the thread is
// gone.
func threadGroup(tid int) int {
	status, err := readFile(unix.AT_FDCWD, "/proc/"+strconv.Itoa(tid)+"/status", 64<<10)
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(status, "\nTgid:")
	line, _, _ := strings.Cut(rest, "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return 0
	}
	return pid
}

// walkCgroups calls visit for a cgroup and each one below it, those below first,
// until visit returns false. The cgroup is the entry name of the open directory parent.
// However deep the tree is, at most two descriptors are open.
func walkCgroups(dir string, visit func(parent int, name string) bool) {
	at, err := openat(unix.AT_FDCWD, dir, syscall.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return
	}
	defer func() { closeFD(at) }()
	type level struct {
		name string
		todo []string // entries of its directory
	}
	open := func(name string, fd int) level {
		todo, _ := readNames(fd) // it was removed just now
		return level{name, todo}
	}
	levels := []level{open(dir[strings.LastIndexByte(dir, '/')+1:], at)}
	for len(levels) > 0 {
		l := &levels[len(levels)-1]
		step := ".."
		if n := len(l.todo); n > 0 {
			step, l.todo = l.todo[n-1], l.todo[:n-1]
		}
		next, err := openat(at, step, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
		switch {
		case err == nil && step != "..":
			levels = append(levels, open(step, next))
		case err == nil:
			if !visit(next, l.name) {
				closeFD(next)
				return
			}
			levels = levels[:len(levels)-1]
		case step == "..":
			return // the tree was removed meanwhile
		default:
			continue // a file
		}
		closeFD(at)
		at = next
	}
}
