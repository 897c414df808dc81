package wrapper

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// strayPause is how often a wrapper that is not idle reaps the processes whose parents in
// the script have ended. There is no event for that: Go's runtime takes SIGCHLD.
const strayPause = 30 * time.Second

// wait sleeps until there is a stop, output, a notification, or the script's end, or until
// d has passed. It handles all but the end, and reports whether there was anything.
func (w *run) wait(d time.Duration) (some bool) {
	defer w.notifier.update() // also if nothing comes
	d = min(d, w.notifier.due())
	fds := [4]unix.PollFd{
		{Fd: int32(w.stops), Events: unix.POLLIN},
		{Fd: int32(w.pipe), Events: unix.POLLIN},
		{Fd: int32(w.script), Events: unix.POLLIN},
		{Fd: int32(w.notifier.socket), Events: unix.POLLIN},
	}
	switch {
	case w.ended:
		fds[2].Fd = -1 // its end is known
	case w.script < 0: // there is no event for it
		d = min(d, groupPause)
	}
	ts := unix.NsecToTimespec(int64(d))
	if n, err := unix.Ppoll(fds[:], &ts, nil); err != nil || n == 0 {
		return false
	}
	w.quiet.since = monotonic()
	if fds[3].Revents != 0 {
		w.takeNotices()
	}
	if fds[1].Revents != 0 {
		w.pump()
	}
	if fds[0].Revents != 0 {
		w.takeStop()
	}
	return true
}

// takeStop receives a signal: a stop, the end of the script's input, or the end of a child, which is seen elsewhere.
func (w *run) takeStop() {
	w.endInput()
	var info unix.SignalfdSiginfo
	n, errno := rawRead(w.stops, unsafe.Slice((*byte)(unsafe.Pointer(&info)), unsafe.Sizeof(info)))
	if errno == 0 && n > 0 && info.Signo == uint32(StopSignal) {
		w.stopped = true
	}
}

// pump moves one buffer of output to the log.
func (w *run) pump() {
	n, err := read(w.pipe, w.log.buffer())
	if n > 0 {
		w.log.write(n)
	} else if err != syscall.EAGAIN {
		closeFD(w.pipe)
		w.pipe = -1
	}
}

// follow waits until the script ends, by itself or because of a timeout or a stop. When
// it returns, processes that are still there may be killed.
func (w *run) follow() {
	asked := false // the group was asked to end
	latest := w.limit
	var before time.Time // what the script had asked for by then does not count
	for quiet := false; ; {
		w.reapStrays()
		if w.ended && (!asked || !w.groupLives()) {
			break
		}
		if !asked && (w.stopped || w.limit >= 0 && monotonic() >= w.limit) {
			w.result.Reason = TimedOut
			if w.stopped {
				w.result.Reason = Stopped
			}
			asked = true
			w.limit = monotonic() + w.spec.Grace
			latest = w.limit + MaxExtend
			before = w.notifier.state.Extended
			signal := syscall.SIGTERM
			if w.spec.TermSignal != 0 {
				signal = syscall.Signal(w.spec.TermSignal)
			}
			_ = syscall.Kill(-w.pid, signal)
			_ = syscall.Kill(-w.pid, syscall.SIGCONT)
		}
		if until := w.notifier.state.Extended; asked && !until.Equal(before) {
			w.limit = extend(w.limit, latest, monotonic()+time.Until(until))
		}
		if quiet && !asked && !w.notifier.stale && w.quiet.due() == 0 {
			w.idle()
		}
		left := strayPause
		if !asked && !w.notifier.stale {
			left = min(left, w.quiet.due())
		}
		if w.limit >= 0 {
			left = min(left, max(w.limit-monotonic(), 0))
		}
		if asked && left == 0 {
			return
		}
		if w.ended { // there is no event for the end of the group's other members
			left = min(left, groupPause)
		}
		quiet = !w.wait(left)
	}
	if !asked {
		w.result.Reason = Exited
	}
}

// extend is the limit of a script that was asked to end and then asked for time until some
// moment. It is never shortened.
func extend(limit, latest, until time.Duration) time.Duration { return max(limit, min(until, latest)) }

// groupPause is how often the rest of a group that has outlived its leader is looked at
// during the grace.
const groupPause = 10 * time.Millisecond

// reapStrays reaps the processes that this process inherited when their parents in the
// script ended. It stops at the script itself, whose process id must not become free
// before its group is dealt with.
func (w *run) reapStrays() {
	for !w.ended {
		pid := waitable(unix.P_ALL, 0)
		switch pid {
		case 0:
			return
		case w.pid:
			w.ended = true
			w.result.Ended = time.Now()
		default:
			_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
			w.quiet.since = monotonic()
		}
	}
}

// waitable returns a child that has ended, without reaping it; 0 if there is none.
func waitable(kind, id int) int {
	var info [128]byte // siginfo_t; its fields for SIGCHLD begin at 16 on 64-bit machines
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_WAITID, uintptr(kind), uintptr(id), uintptr(unsafe.Pointer(&info)), unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, 0, 0); errno != 0 {
		return 0
	}
	return int(*(*int32)(unsafe.Pointer(&info[siginfoPID])))
}

const siginfoPID = 12 + unsafe.Sizeof(uintptr(0))/8*4

// groupLives reports whether this process has inherited a living member of the script's
// group, other than the script itself.
func (w *run) groupLives() bool {
	lives := false
	for _, pid := range children(w.result.WrapperPID) {
		if pid == w.pid {
			continue
		}
		if waitable(unix.P_PID, pid) == pid {
			_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
			continue
		}
		if g, err := syscall.Getpgid(pid); err == nil && g == w.pid {
			lives = true
		}
	}
	return lives
}
