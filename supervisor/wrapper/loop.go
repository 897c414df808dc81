package wrapper

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// wait sleeps until a signal is there, output is there, or d has passed; less
// than 0 is for ever. It takes both in.
func (w *run) wait(d time.Duration) {
	fds := [2]unix.PollFd{{Fd: int32(w.signals), Events: unix.POLLIN}, {Fd: int32(w.pipe), Events: unix.POLLIN}}
	var ts *unix.Timespec
	if d >= 0 {
		t := unix.NsecToTimespec(int64(d))
		ts = &t
	}
	n, err := unix.Ppoll(fds[:], ts, nil)
	if err != nil || n == 0 {
		return
	}
	if fds[1].Revents != 0 {
		w.pump()
	}
	if fds[0].Revents != 0 {
		w.takeSignals()
	}
}

func (w *run) takeSignals() {
	var info [4]unix.SignalfdSiginfo
	b := unsafe.Slice((*byte)(unsafe.Pointer(&info)), unsafe.Sizeof(info))
	for {
		n, err := read(w.signals, b)
		if err != nil {
			return
		}
		for _, i := range info[:n/int(unsafe.Sizeof(info[0]))] {
			if syscall.Signal(i.Signo) != syscall.SIGCHLD {
				w.stopped = true
			}
		}
		if n < len(b) {
			return
		}
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

// arm holds the run back until its instant. It returns false if the script
// must not run any more.
func (w *run) arm() bool {
	at := w.spec.NotBefore
	timer := -1
	for {
		w.wait(0)
		now := time.Now()
		if w.stopped || !now.Before(at) {
			break
		}
		if timer < 0 {
			var err error
			if timer, err = unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC); err != nil {
				w.note(errnoText("timerfd", err))
				return false
			}
			defer closeFD(timer)
		}
		if !w.sleepUntil(timer, at) {
			w.note("the clock was set back")
			return false
		}
	}
	return !w.stopped
}

// sleepUntil waits for at, a signal or a change of the clock. It returns false
// if the clock was set back: then the daemon is to think again.
func (w *run) sleepUntil(timer int, at time.Time) bool {
	offset := clock(unix.CLOCK_REALTIME) - boottime()
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(at.UnixNano())}
	if unix.TimerfdSettime(timer, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &spec, nil) != nil {
		return false
	}
	fds := [2]unix.PollFd{{Fd: int32(w.signals), Events: unix.POLLIN}, {Fd: int32(timer), Events: unix.POLLIN}}
	if _, err := unix.Ppoll(fds[:], nil, nil); err != nil {
		return true
	}
	if fds[1].Revents == 0 {
		return true
	}
	var ticks [8]byte
	_, err := read(timer, ticks[:])
	const jitter = 10 * time.Millisecond // of the two readings that make an offset
	return err != syscall.ECANCELED || clock(unix.CLOCK_REALTIME)-boottime() > offset-jitter
}

// follow waits for the script's end: its own, or that which a timeout or a
// stop brings about. When it returns, what is still there may be killed.
func (w *run) follow() {
	limit := time.Duration(-1)
	if w.spec.Timeout > 0 {
		limit = monotonic() + w.spec.Timeout
	}
	asked := false // the group was asked to end
	for {
		w.reapStrays()
		if w.ended && (!asked || !w.groupLives()) {
			break
		}
		if !asked && (w.stopped || limit >= 0 && monotonic() >= limit) {
			w.result.Reason = TimedOut
			if w.stopped {
				w.result.Reason = Stopped
			}
			asked = true
			limit = monotonic() + w.spec.Grace
			_ = syscall.Kill(-w.pid, syscall.SIGTERM)
			_ = syscall.Kill(-w.pid, syscall.SIGCONT)
		}
		left := time.Duration(-1)
		if limit >= 0 {
			left = max(limit-monotonic(), 0)
		}
		if asked && left == 0 {
			return
		}
		w.wait(left)
	}
	if !asked {
		w.result.Reason = Exited
	}
}

// reapStrays reaps the children that the script lost and this process
// inherited. It stops at the script itself, whose number must not be free
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
		}
	}
}

// waitable returns a child that has ended, without reaping it; 0 if none has.
func waitable(kind, id int) int {
	var info [128]byte // siginfo_t; its fields for SIGCHLD begin at 16 on 64-bit machines
	if err := unix.Waitid(kind, id, (*unix.Siginfo)(unsafe.Pointer(&info)), unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != nil {
		return 0
	}
	return int(*(*int32)(unsafe.Pointer(&info[siginfoPID])))
}

const siginfoPID = 12 + unsafe.Sizeof(uintptr(0))/8*4

// groupLives reports whether a member of the script's group but the script
// itself is left, as far as this process has inherited it.
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
