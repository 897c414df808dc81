package wrapper

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// killPatience is how long to wait for processes that were killed and do not end. They
// sleep in the kernel, and only the kernel can wake them.
const killPatience = 10 * time.Second

// finish kills what is left, reaps all children, and fills the result. The group
// is killed while its leader, dead or alive, still keeps the group's id from
// being used again.
func (w *run) finish() {
	if w.keepsLeftovers() {
		w.reap(w.pid)
	} else {
		if !w.reaped {
			_ = syscall.Kill(-w.pid, syscall.SIGKILL)
		}
		w.sweep()
	}
	w.drain()
	w.lastNotices()
	w.noteStatus()
}

// noteStatus fills the result with what is known when all children are reaped.
func (w *run) noteStatus() {
	switch {
	case !w.reaped:
	case w.status.Signaled():
		w.result.Signal = int(w.status.Signal())
	default:
		w.result.Exit = w.status.ExitStatus()
	}
	if w.result.Ended.IsZero() {
		w.result.Ended = wallClock()
	}
	var ru syscall.Rusage
	const children = ^uintptr(0) // RUSAGE_CHILDREN
	if _, _, errno := syscall.RawSyscall(syscall.SYS_GETRUSAGE, children, uintptr(unsafe.Pointer(&ru)), 0); errno == 0 {
		w.result.User = time.Duration(ru.Utime.Nano())
		w.result.System = time.Duration(ru.Stime.Nano())
		w.result.MaxRSS = ru.Maxrss
	}
}

// reap reaps the child pid, or any child for -1. It reports whether it may be called
// again at once; gone is true if there is no such child.
func (w *run) reap(pid int) (ok, gone bool) {
	got, status, errno := wait4(pid)
	switch {
	case errno == syscall.EINTR:
		return true, false
	case errno != 0:
		return false, true
	case got == 0:
		return false, false
	}
	w.noteReaped(got, status)
	return true, false
}

// noteReaped notes that a child was reaped.
func (w *run) noteReaped(pid int, status syscall.WaitStatus) {
	switch {
	case pid == w.pid:
		w.reaped, w.status = true, status
		if !w.ended {
			w.ended = true
			w.result.Ended = wallClock()
		}
	case status.Signaled() && status.Signal() == syscall.SIGKILL:
		w.result.Leftovers++
	}
}

// sweep kills and reaps until there is no child left. As this process is the
// subreaper, "no child" means that no descendant is left, wherever it went.
func (w *run) sweep() {
	patience := monotonic() + killPatience
	for pass := 0; ; pass++ {
		for {
			ok, gone := w.reap(-1)
			if gone {
				return
			}
			if !ok {
				break
			}
		}
		if monotonic() > patience {
			descend(w.result.WrapperPID, func(pid, _ int) {
				if p, ok := Stat(pid); ok {
					w.result.Hung = AddHung(w.result.Hung, p)
				}
			})
			w.note("could not be killed: " + HungText(w.result.Hung))
			return
		}
		if w.cgroup >= 0 {
			KillCgroup(w.cgroupDir)
		}
		// The group's members die of the signal that the group got. Processes that
		// are still there after a moment had left the group.
		if pass >= 1 {
			killTree(w.result.WrapperPID)
		}
		w.wait(min(time.Millisecond<<min(pass, 5), 20*time.Millisecond))
	}
}

// drain reads what is left in the pipe. It does not wait for processes that keep the pipe
// open.
func (w *run) drain() {
	for n := 0; w.pipe >= 0 && n < 1<<10; n++ {
		fds := [1]unix.PollFd{{Fd: int32(w.pipe), Events: unix.POLLIN}}
		if k, err := unix.Poll(fds[:], 0); err == nil && k == 0 {
			return
		}
		w.pump()
	}
}

func writeFile(dir int, name, s string) error {
	fd, err := openat(dir, name, syscall.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer closeFD(fd)
	_, err = writeAll(fd, []byte(s))
	return err
}
