package wrapper

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Go's runtime takes half a millisecond to begin, and half a mebibyte of memory. Most runs need neither: a script
// is prepared, perhaps waits for its time, prints little, and ends. So the wrapper does all this before the runtime
// begins, in the early stage. This stage begins at the program's entry, on the stack that the kernel made, with a g
// that has no m. Ordinary Go code can run there if it does not allocate, wait for other goroutines, panic, or ask
// package time for the time. What the early stage cannot do, it leaves to the runtime. Then the runtime begins in the
// same process, and finds the run in the variable process. A program that is not linked as "make atwrap" does it has
// no early stage: it takes the same steps when the runtime has begun.

// process is the run of this process. It is a variable because the early stage has no other way to hand the run to
// the runtime.
var process run

// What the early stage returns: the exit status of the process, or, if negative, one of these.
const (
	wake        = -1 // the runtime is needed; no script runs
	wakeReserve = -2 // the runtime is needed, and must not fail: a script has started; see idle.go
)

// early takes a run as far as it goes without the runtime.
func (w *run) early() (status int) {
	w.clear()
	if !w.chosen() {
		return wake
	}
	ignoreSignals() // the runtime would unblock some that are pending
	if !w.begin() {
		switch {
		case w.helpless:
			return StatusNotStarted
		case w.pid != 0:
			return wakeReserve
		}
		return wake
	}
	if !w.doze() || !w.settle() {
		return wakeReserve
	}
	return statusReported
}

// chosen reports whether a supervisor started this process.
func (w *run) chosen() bool {
	if !stopBlocked() {
		return false
	}
	_, errno := rawCall(syscall.SYS_FLOCK, lockFD, syscall.LOCK_EX|syscall.LOCK_NB, 0)
	return errno == 0 // otherwise another wrapper has this run, or there is no such descriptor
}

// doze waits for the script's end. It returns false if something happens that needs the runtime.
func (w *run) doze() bool {
	for !w.ended {
		left := time.Duration(-1)
		if w.limit >= 0 {
			if left = w.limit - monotonic(); left <= 0 {
				return false
			}
		}
		fds := [3]unix.PollFd{
			{Fd: int32(w.pipe), Events: unix.POLLIN},
			{Fd: int32(w.stops), Events: unix.POLLIN},
			{Fd: int32(w.notifier.socket), Events: unix.POLLIN},
		}
		if _, errno := rawPoll(fds[:], left); errno != 0 || fds[2].Revents != 0 {
			return false
		}
		if fds[0].Revents != 0 && !w.keepOutput() {
			return false
		}
		if fds[1].Revents == 0 {
			continue
		}
		if w.takeStop(); w.stopped || !w.reapOrphans() {
			return false
		}
	}
	return true
}

// keepOutput moves what is in the pipe to the beginning of the log. It returns false if the output belongs elsewhere,
// or if there is no memory for it.
func (w *run) keepOutput() bool {
	p := &w.plan
	room := p.logHead - w.logged
	if p.logRotate > 0 || room <= 0 {
		return false
	}
	if w.buffer == nil {
		if w.buffer = w.memory.take(outputBuffer); w.buffer == nil {
			return false
		}
	}
	n, errno := rawRead(w.pipe, w.buffer[:min(room, outputBuffer)])
	switch {
	case errno == syscall.EAGAIN || errno == syscall.EINTR:
	case errno != 0 || n == 0:
		rawClose(w.pipe)
		w.pipe = -1
	default:
		done, errno := rawWrite(logFD, w.buffer[:n])
		w.logged += int64(n)
		if errno != 0 {
			w.lost, w.whyLost = w.lost+int64(n-done), errno
		}
	}
	return true
}

const outputBuffer = 4 << 10

// reapOrphans reaps the processes that this one inherited, and notes the script's end. The script's process id stays
// taken.
func (w *run) reapOrphans() bool {
	for !w.ended {
		switch pid := waitable(unix.P_ALL, 0); pid {
		case 0:
			return true
		case w.pid:
			w.ended = true
			w.result.Ended = wallClock()
		default:
			if _, _, errno := wait4(pid); errno != 0 {
				return false
			}
		}
	}
	return true
}

// settle completes a run whose script has ended. It returns false if the script may have left something behind, or if a
// step fails: then the rest is done with the runtime.
func (w *run) settle() bool {
	p := &w.plan
	if p.keep || p.notify || p.stream {
		return false
	}
	_, _ = rawCall(syscall.SYS_KILL, uintptr(-w.pid), uintptr(syscall.SIGKILL), 0) // as its id is still the group's
	for {
		pid, status, errno := wait4(-1)
		if errno == syscall.ECHILD {
			break
		}
		if errno != 0 || pid == 0 {
			return false
		}
		w.noteReaped(pid, status)
	}
	for w.pipe >= 0 && readable(w.pipe) {
		if !w.keepOutput() {
			return false
		}
	}
	w.noteStatus()
	if w.lost > 0 || w.result.Exit == 126 || w.result.Exit == 127 || !w.clearAway() {
		return false
	}
	w.result.Reason = Exited
	t := w.newText(resultHead, 0)
	if t.b == nil || rawPwrite(w.resultFD, w.result.put(&t)) != 0 {
		return false
	}
	return rawRename(dirFD, pathz(resultNew+"\x00"), pathz(ResultFile+"\x00")) == 0 && (daemonThere() || w.sync())
}

// clearAway removes the run's cgroup, and moves the configuration directory into the run directory, or removes an empty
// one that is on another file system. It returns false if more is needed.
func (w *run) clearAway() bool {
	if w.cgroup >= 0 {
		if rawRmdir(w.cgroupPath) != 0 {
			return false
		}
		rawClose(w.cgroup)
		w.cgroup, w.cgroupDir = -1, ""
	}
	if w.config == nil {
		return true
	}
	switch rawRename(unix.AT_FDCWD, w.config, pathz(ConfigDir+"\x00")) {
	case 0:
	case syscall.EXDEV:
		if rawRmdir(w.config) != 0 { // there is something in it
			return false
		}
	default:
		return false
	}
	w.config, w.configDir = nil, ""
	return true
}

// sync makes the result durable.
func (w *run) sync() bool {
	_, errno := rawCall(syscall.SYS_FSYNC, uintptr(w.resultFD), 0, 0)
	_, errno2 := rawCall(syscall.SYS_FSYNC, dirFD, 0, 0)
	return errno == 0 && errno2 == 0
}

// wait4 reaps a child that has ended, any for -1. It returns 0 if none has.
//
//go:nosplit
func wait4(pid int) (int, syscall.WaitStatus, syscall.Errno) {
	var status int32
	r, _, errno := syscall.RawSyscall6(syscall.SYS_WAIT4, uintptr(pid), uintptr(unsafe.Pointer(&status)), syscall.WNOHANG, 0, 0, 0)
	if errno != 0 {
		return 0, 0, errno
	}
	return int(r), syscall.WaitStatus(status), 0
}
