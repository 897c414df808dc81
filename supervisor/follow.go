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
	pidfd *os.File
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
	found, err := s.conclude(k, f, status)
	for err != nil {
		s.config.Log.Error("cannot find out how a run ended; trying again", "run", k, "err", err, "in", concludePause)
		select {
		case <-time.After(concludePause):
			found, err = s.conclude(k, f, status)
		case <-s.closing:
			return // the next daemon asks
		}
	}
	s.forget(k)
	select {
	case s.exits <- Exit{k, found.Result}:
	case <-s.closing:
	}
}

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
	l, err := readLock(s.RunDir(k))
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
