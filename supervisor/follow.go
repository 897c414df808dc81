package supervisor

import (
	"errors"
	"os"
	"path/filepath"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"activationd/supervisor/wrapper"
)

// A followed is a run whose wrapper's end is waited for.
type followed struct {
	pidfd *os.File // of the wrapper; nil if that was gone when the run was adopted
	hung  *os.File // pidfd of a process that could not be killed; guarded by mu
	pid   int
	spec  *wrapper.Spec // by which what is left of it is found
	due   time.Time     // when the wrapper should have ended at the latest; zero: whenever it likes; guarded by mu
	looks int           // how often it was looked at since; the follower's own, as is
	seen  int           // how often it was found stopped
}

// patience is how long a wrapper may take beyond what it was told, before it is
// looked at, and between two looks.
const patience = 5 * time.Second

// giveUp is after how many looks a wrapper is killed whatever it does: five minutes.
// It tries for one to write its result to a full disk.
const giveUp = 60

// follow has a goroutine wait for the end of the wrapper of a run.
func (s *Supervisor) follow(k Key, w child, spec *wrapper.Spec) error {
	if err := unix.SetNonblock(w.fd, true); err != nil { // else the runtime would block a thread on it
		_ = unix.Close(w.fd)
		s.forget(k)
		return err
	}
	f := &followed{pidfd: os.NewFile(uintptr(w.fd), "pidfd of "+k.String()), pid: w.pid, spec: &wrapper.Spec{
		ID: spec.ID, Phase: spec.Phase, Attempt: spec.Attempt, Boot: spec.Boot, Mark: spec.Mark, Grace: spec.Grace,
		LogTail: spec.LogTail, Cgroup: spec.Cgroup, ConfigRoot: spec.ConfigRoot,
	}}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closing:
		_ = f.pidfd.Close()
		delete(s.runs, k)
		return nil // it runs, for the next daemon to adopt
	default:
	}
	s.runs[k] = f
	if spec.Timeout > 0 {
		begins := time.Now()
		if spec.NotBefore.After(begins) {
			begins = spec.NotBefore
		}
		s.expectEndLocked(f, begins.Add(spec.Timeout+spec.Grace))
	}
	s.followers.Go(func() { s.await(k, f) })
	return nil
}

// await reports the end of a run.
func (s *Supervisor) await(k Key, f *followed) {
	defer func() { _ = f.pidfd.Close() }()
	var status int
	for {
		var err error
		if status, err = awaitExit(f.pidfd); err == nil {
			break
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return // closed: let go
		}
		s.overdue(k, f)
	}
	again := func() (Found, bool) { return s.concludeAtLast(k, f, status) }
	if found, ok := again(); ok {
		s.tell(k, f, found, again)
	}
}

// concludeAtLast is conclude, tried until it is known how the run ended. It returns
// false when the Supervisor is closed before: the next daemon asks.
func (s *Supervisor) concludeAtLast(k Key, f *followed, status int) (Found, bool) {
	for {
		found, err := s.conclude(k, f, status)
		if err == nil {
			return found, true
		}
		s.config.Log.Error("cannot find out how a run ended; trying again", "run", k, "err", err, "in", concludePause)
		select {
		case <-time.After(concludePause):
		case <-s.closing:
			return found, false
		}
	}
}

// tell reports the end of a run. If something of it hangs in the kernel, it
// reports that, and the end again when all of it is gone, as again finds it.
func (s *Supervisor) tell(k Key, f *followed, found Found, again func() (Found, bool)) {
	for {
		hung := found.Result.Hung
		if len(hung) == 0 {
			s.forget(k)
		}
		select {
		case s.exits <- Exit{Key: k, Result: found.Result}:
		case <-s.closing:
			return
		}
		if len(hung) == 0 || !s.outlast(f, hung) {
			return
		}
		next, ok := again()
		if !ok {
			return
		}
		if next.State != found.State { // what told of the end was removed meanwhile
			next.State, found.Result.Hung = found.State, next.Result.Hung
			next.Result = found.Result
		}
		found = next
	}
}

// lookAgain is how often a process that hangs is looked at beside waiting for the
// event of its end.
const lookAgain = time.Minute

// outlast waits until processes that could not be killed are gone. It returns
// false when the Supervisor is closed.
func (s *Supervisor) outlast(f *followed, hung []wrapper.Hung) bool {
	for _, h := range hung {
		for h.Lives() {
			fd, err := unix.PidfdOpen(h.PID, unix.PIDFD_NONBLOCK)
			if err != nil {
				select {
				case <-s.closing:
					return false
				case <-time.After(lookPause):
				}
				continue
			}
			file := os.NewFile(uintptr(fd), "pidfd of one who hangs")
			s.mu.Lock()
			f.hung = file
			select {
			case <-s.closing:
				_ = file.Close()
			default:
			}
			s.mu.Unlock()
			_ = file.SetReadDeadline(time.Now().Add(lookAgain)) // fails only when it is closed
			_, err = awaitExit(file)
			_ = file.Close()
			if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				return false // closed: let go
			}
		}
	}
	return true
}

// lookPause is between two looks when there is no event to wait for.
const lookPause = time.Second

// concludePause is how long it takes until it is tried again to find out how a run
// has ended, while there are no descriptors or no memory for that.
const concludePause = time.Second

// expectEnd notes when a wrapper should have ended.
func (s *Supervisor) expectEnd(f *followed, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expectEndLocked(f, at)
}

func (s *Supervisor) expectEndLocked(f *followed, at time.Time) {
	if at = at.Add(s.config.Patience); f.due.IsZero() || at.Before(f.due) {
		f.due = at
		_ = f.pidfd.SetReadDeadline(at) // fails only when it is closed
	}
}

// overdue looks after a wrapper that should have ended. A script that runs as the
// wrapper's user can stop it, and then neither a timeout nor a cancel would have
// an effect: one that is found stopped is let go on, and killed when that does not
// help. One that is not stopped is at work on a tree that does not die, or waits in
// the kernel for a file system that does not answer: in the end it is killed, too.
func (s *Supervisor) overdue(k Key, f *followed) {
	_ = f.pidfd.SetReadDeadline(time.Now().Add(s.config.Patience)) // fails only when it is closed
	if f.looks++; f.looks > giveUp {
		s.config.Log.Error("a wrapper has not ended long after it had to, and is killed; "+
			"did its script's directory or program lie on a file system that does not answer?", "run", k)
		_ = control(f.pidfd, func(fd int) error { return unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) }) // it may just have ended
		return
	}
	if cgroup := s.Frozen(k); cgroup != "" {
		if _, _, ok := s.Started(k); !ok {
			// It was frozen just when the script was to be born there: neither runs.
			s.config.Log.Warn("a run that should have ended is held by a frozen cgroup; it is killed", "run", k, "cgroup", cgroup)
			wrapper.KillCgroup(filepath.Join(s.cgroup, k.String()))
		}
	}
	l, err := s.readLock(k)
	if err != nil {
		return // it is being started
	}
	p, ok := wrapper.Stat(l.PID)
	if !ok || !p.Same(l.Born) || p.State != 'T' && p.State != 't' {
		return
	}
	sig := unix.SIGCONT
	if f.seen++; f.seen > 2 {
		sig = unix.SIGKILL
	}
	s.config.Log.Warn("a wrapper that should have ended is stopped; it is made to go on", "run", k, "pid", l.PID, "signal", unix.SignalName(sig))
	_ = control(f.pidfd, func(fd int) error { return unix.PidfdSendSignal(fd, sig, nil, 0) }) // it may just have ended
}

// unknownStatus is the exit status of a wrapper that a signal ended, or that was
// another daemon's child.
const unknownStatus = -1

// awaitExit waits until the process of a pidfd is gone, and reaps it if it is
// our child: that one, and no other. It returns its exit status.
func awaitExit(f *os.File) (status int, err error) {
	c, err := f.SyscallConn()
	if err != nil {
		return unknownStatus, err
	}
	status = unknownStatus
	err = c.Read(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(p, 0); err != nil || n == 0 {
			return false
		}
		var info childInfo
		if unix.Waitid(unix.P_PIDFD, int(fd), (*unix.Siginfo)(unsafe.Pointer(&info)), unix.WEXITED|unix.WNOHANG, nil) == nil && info.Code == cldExited {
			status = int(info.Status)
		}
		return true
	})
	return status, err
}

// A childInfo is a siginfo_t as waitid(2) fills it on Linux.
type childInfo struct {
	Signo, Errno, Code int32
	_                  [unsafe.Sizeof(uintptr(0))/4 - 1]int32 // what follows is aligned as a pointer
	PID, UID           int32
	Status             int32
	_                  [128]byte
}

// cldExited is the code of a child that exited by itself.
const cldExited = 1

// control calls fn with the descriptor of f, which stays open meanwhile.
func control(f *os.File, fn func(fd int) error) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := c.Control(func(fd uintptr) { inner = fn(int(fd)) }); err != nil {
		return err
	}
	return inner
}
