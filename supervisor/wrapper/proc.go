package wrapper

import (
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Process is what /proc/<pid>/stat says of a process.
type Process struct {
	PID, Parent, Group, Session int
	State                       byte          // of its first thread
	Threads                     int           // number of threads that have not ended, plus the first one
	Born                        time.Duration // CLOCK_BOOTTIME, in steps of 10 ms
}

const tick = 10 * time.Millisecond // USER_HZ is 100 on every architecture that Go supports

// Same reports whether p may be the process that had this process id at the time born of
// CLOCK_BOOTTIME: whether p had begun by then.
func (p Process) Same(born time.Duration) bool { return p.Born <= born }

// Dead reports whether no thread of the process runs any more. A process whose first
// thread has ended looks like a zombie while its other threads go on.
func (p Process) Dead() bool {
	return p.State == 'X' || p.State == 'Z' && p.Threads <= 1
}

// Lives reports whether the process is still alive.
func (h Hung) Lives() bool {
	p, ok := Stat(h.PID)
	return ok && p.Born == h.Born && !p.Dead()
}

// AddHung adds the living processes of ps to hung, unless they are in it already.
func AddHung(hung []Hung, ps ...Process) []Hung {
	for _, p := range ps {
		h := Hung{p.PID, p.Born}
		known := false
		for _, other := range hung {
			known = known || other == h
		}
		if !known && len(hung) < maxHung && h.Lives() {
			hung = append(hung, h)
		}
	}
	return hung
}

// HungText lists the process ids, for people.
func HungText(hung []Hung) string {
	var pids []string
	for _, h := range hung {
		pids = append(pids, strconv.Itoa(h.PID))
	}
	return strings.Join(pids, " ")
}

// Stat returns what is known of a process; ok is false if there is no such process.
func Stat(pid int) (p Process, ok bool) {
	data, err := readFile(unix.AT_FDCWD, "/proc/"+strconv.Itoa(pid)+"/stat", 8192)
	if err != nil {
		return p, false
	}
	return parseStat(data)
}

func parseStat(data string) (p Process, ok bool) {
	open, shut := strings.IndexByte(data, '('), strings.LastIndexByte(data, ')')
	if open < 0 || shut < open {
		return p, false
	}
	f := strings.Fields(data[shut+1:])
	if len(f) < 20 {
		return p, false
	}
	var errs [6]error
	var born int64
	p.State = f[0][0]
	p.PID, errs[0] = strconv.Atoi(strings.TrimSpace(data[:open]))
	p.Parent, errs[1] = strconv.Atoi(f[1])
	p.Group, errs[2] = strconv.Atoi(f[2])
	p.Session, errs[3] = strconv.Atoi(f[3])
	born, errs[4] = strconv.ParseInt(f[19], 10, 64)
	p.Threads, errs[5] = strconv.Atoi(f[17])
	p.Born = time.Duration(born) * tick
	return p, errs == [6]error{}
}

// children returns the children of all threads of a process.
func children(pid int) (pids []int) {
	dir := "/proc/" + strconv.Itoa(pid) + "/task"
	missing := true
	for _, tid := range numbers(dir) {
		list, err := readFile(unix.AT_FDCWD, dir+"/"+strconv.Itoa(tid)+"/children", 64<<20)
		if err != nil {
			continue // the thread is gone, or the kernel has no such lists
		}
		missing = false
		for _, f := range strings.Fields(list) {
			if n, err := strconv.Atoi(f); err == nil {
				pids = append(pids, n)
			}
		}
	}
	if missing {
		for _, n := range numbers("/proc") {
			if p, ok := Stat(n); ok && p.Parent == pid {
				pids = append(pids, n)
			}
		}
	}
	return pids
}

// Environ returns the environment that a process was started with, each
// variable between two zero bytes. If the first thread has ended, the environment is
// read from another thread.
func Environ(pid int) string {
	dir := "/proc/" + strconv.Itoa(pid)
	env, err := readFile(unix.AT_FDCWD, dir+"/environ", 64<<20)
	if err == nil && env != "" {
		return "\x00" + env + "\x00"
	}
	for _, tid := range numbers(dir + "/task") {
		env, err := readFile(unix.AT_FDCWD, dir+"/task/"+strconv.Itoa(tid)+"/environ", 64<<20)
		if err == nil && env != "" {
			return "\x00" + env + "\x00"
		}
	}
	return ""
}

// numbers returns the entries of a directory that are numbers.
func numbers(dir string) (ns []int) {
	fd, err := openat(unix.AT_FDCWD, dir, syscall.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil
	}
	defer closeFD(fd)
	names, _ := readNames(fd) // after an error, those that were read have to do
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil {
			ns = append(ns, n)
		}
	}
	return ns
}

// Processes returns the ids of all processes.
func Processes() []int { return numbers("/proc") }

// killTree kills all descendants of root, which is the calling process. Some may
// fork faster than they can be killed, so all are stopped first. A stopped process neither
// forks nor reaps, so when a pass finds no new process, the list is complete and stays
// correct.
func killTree(root int) {
	stopped := map[int]bool{}
	for pass := 0; pass < 100; pass++ {
		fresh := 0
		descend(root, func(pid, parent int) {
			if !stopped[pid] {
				stopped[pid] = true
				fresh++
				signalChild(pid, parent, root, syscall.SIGSTOP)
			}
		})
		if fresh == 0 {
			break
		}
	}
	descend(root, func(pid, parent int) { signalChild(pid, parent, root, syscall.SIGKILL) })
}

// descend calls f for each descendant of pid, parents first.
func descend(pid int, f func(pid, parent int)) {
	for _, c := range children(pid) {
		f(c, pid)
		descend(c, f)
	}
}

// signalChild signals pid if it is still a child of parent. The children of root, which
// is the calling process, keep their ids until root reaps them.
func signalChild(pid, parent, root int, sig syscall.Signal) {
	if parent == root {
		_ = syscall.Kill(pid, sig)
		return
	}
	_ = Signal(pid, sig, func(p Process) bool { return p.Parent == parent })
}

// Signal signals a process if it is the one that is meant, and reports whether it did. With a pidfd it cannot be
// another process that gets the signal. Where there are no pidfds, it could be one only if the process ended after it
// was looked at and its id was given away at once, and ids are given in turn.
func Signal(pid int, sig syscall.Signal, meant func(Process) bool) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err == nil {
		defer closeFD(fd)
	} else if !NoPidfds(err) {
		return false
	}
	switch p, ok := Stat(pid); {
	case !ok || !meant(p):
		return false
	case err != nil:
		return syscall.Kill(pid, sig) == nil
	}
	return unix.PidfdSendSignal(fd, sig, nil, 0) == nil
}

// NoPidfds reports whether an error of pidfd_open(2) means that there are no pidfds here: the kernel is older than 5.3,
// or a filter of system calls forbids them.
func NoPidfds(err error) bool { return err == unix.ENOSYS || err == unix.EPERM }
