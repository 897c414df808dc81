package supervisor

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"activationd/supervisor/wrapper"
)

// A followed is a run whose wrapper's end a goroutine waits for.
type followed struct {
	pidfd *os.File // of the wrapper; nil if the wrapper was gone when the run was adopted
	hung  *os.File // pidfd of a process that could not be killed; guarded by mu
	pid   int
	spec  *wrapper.Spec // by which the run's leftovers are found
	due   time.Time     // by when the wrapper should have ended; zero: there is no limit; guarded by mu
	// awaited is whether somebody waits for the start of the script; guarded by mu.
	awaited bool

	// The goroutine's own.
	looks int // how often it has looked after the wrapper since
	seen  int // how often it found the wrapper stopped
}

// patience is how long a wrapper may be overdue before the supervisor looks after it,
// and the time between two looks.
const patience = 5 * time.Second

// giveUp is the number of looks after which a wrapper is killed, whatever it does: five
// minutes. A wrapper tries for one minute to write its result to a full disk.
const giveUp = 60

// follow starts a goroutine that waits for the end of a run's wrapper.
func (s *Supervisor) follow(k Key, w Child, spec *wrapper.Spec) error {
	if err := unix.SetNonblock(w.PidFD, true); err != nil { // otherwise the runtime would block a thread on it
		_ = unix.Close(w.PidFD)
		s.forget(k)
		return err
	}
	f := &followed{pidfd: os.NewFile(uintptr(w.PidFD), "pidfd of "+k.String()), pid: w.PID, spec: &wrapper.Spec{
		ID: spec.ID, Phase: spec.Phase, Attempt: spec.Attempt, Boot: spec.Boot, Mark: spec.Mark, Grace: spec.Grace, Addresses: spec.Addresses,
		Notify: spec.Notify, LogTail: spec.LogTail, LogRotate: spec.LogRotate, Cgroup: spec.Cgroup, ConfigRoot: spec.ConfigRoot,
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
		if status, err = s.awaitExit(f.pidfd); err == nil {
			break
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return // the Supervisor was closed
		}
		s.overdue(k, f)
	}
	again := func() (Found, bool) { return s.concludeAtLast(k, f, status) }
	if found, ok := again(); ok {
		s.report(k, f, found, again)
	}
}

// concludeAtLast tries conclude until it is known how the run ended. It returns false if
// the Supervisor is closed first; then the next daemon finds out.
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

// report reports the end of a run. If processes of it hang in the kernel, it reports
// that, waits until they are gone, calls again to find out how the run ended, and reports
// the end once more.
func (s *Supervisor) report(k Key, f *followed, found Found, again func() (Found, bool)) {
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
		if next.State != found.State { // the files that showed the end were removed meanwhile
			next.State, found.Result.Hung = found.State, next.Result.Hung
			next.Result = found.Result
		}
		found = next
	}
}

// lookAgain is how often a process that hangs is looked at, besides waiting for the
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
			file := os.NewFile(uintptr(fd), "pidfd of a process that hangs")
			s.mu.Lock()
			f.hung = file
			select {
			case <-s.closing:
				_ = file.Close()
			default:
			}
			s.mu.Unlock()
			_ = file.SetReadDeadline(time.Now().Add(lookAgain)) // fails only when it is closed
			err = awaitEnd(file)
			_ = file.Close()
			if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				return false // the Supervisor was closed
			}
		}
	}
	return true
}

// lookPause is the pause between two looks when there is no event to wait for.
const lookPause = time.Second

// concludePause is the time between two tries to find out how a run has ended, while
// there are no descriptors or no memory for that.
const concludePause = time.Second

// expectEnd notes by when a wrapper should have ended.
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
// wrapper's user can stop the wrapper, and then neither a timeout nor a cancel would have
// an effect. A stopped wrapper gets a CONT, and is killed if that does not help. A wrapper
// that is not stopped is busy with processes that do not die, or waits in the kernel for
// a file system that does not answer. It, too, is killed in the end.
func (s *Supervisor) overdue(k Key, f *followed) {
	_ = f.pidfd.SetReadDeadline(time.Now().Add(s.config.Patience)) // fails only when it is closed
	if !s.extended(k, f) {
		f.looks++
	}
	if f.looks > giveUp {
		s.config.Log.Error("a wrapper is long overdue and is killed; "+
			"is its script's directory or program on a file system that does not answer?", "run", k)
		_ = s.signal(f, unix.SIGKILL) // it may just have ended
		return
	}
	if cgroup := s.Frozen(k); cgroup != "" {
		if _, _, ok := s.Started(k); !ok {
			// The cgroup was frozen just when the script's process was made in it, so
			// neither that process nor the wrapper runs.
			s.config.Log.Warn("a run that should have ended is held by a frozen cgroup; it is killed", "run", k, "cgroup", cgroup)
			if err := s.privileged.KillCgroup(k.String()); err != nil {
				s.config.Log.Error("cannot kill what is in a frozen cgroup", "run", k, "err", err)
			}
		}
	}
	l, err := s.readLock(k)
	if err != nil {
		return // the wrapper is being started
	}
	p, ok := wrapper.Stat(l.PID)
	if !ok || !p.Same(l.Born) || p.State != 'T' && p.State != 't' {
		return
	}
	sig := unix.SIGCONT
	if f.seen++; f.seen > 2 {
		sig = unix.SIGKILL
	}
	s.config.Log.Warn("a wrapper that should have ended is stopped; it gets a signal to go on", "run", k, "pid", l.PID, "signal", unix.SignalName(sig))
	_ = s.signal(f, sig) // it may just have ended
}

// extended reports whether a run that should have ended has asked for more time, as it may:
// see [wrapper.MaxExtend].
func (s *Supervisor) extended(k Key, f *followed) bool {
	if !f.spec.Notify {
		return false
	}
	s.mu.Lock()
	latest := f.due.Add(wrapper.MaxExtend)
	s.mu.Unlock()
	n, _ := s.Notified(k)
	return time.Now().Before(n.Extended) && time.Now().Before(latest)
}

// awaitExit waits until a wrapper is gone, and returns its exit status.
func (s *Supervisor) awaitExit(f *os.File) (status int, err error) {
	if err := awaitEnd(f); err != nil {
		return unknownStatus, err
	}
	err = control(f, func(fd int) error {
		status = s.privileged.Reap(fd)
		return nil
	})
	return status, err
}

// awaitEnd waits until the process of a pidfd is gone.
func awaitEnd(f *os.File) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return c.Read(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(p, 0)
		return err == nil && n > 0
	})
}

// signal signals the wrapper of a run.
func (s *Supervisor) signal(f *followed, sig syscall.Signal) error {
	return control(f.pidfd, func(fd int) error { return s.privileged.Signal(fd, sig) })
}

// control calls fn with the descriptor of f, which stays open meanwhile.
func control(f *os.File, fn func(fd int) error) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := c.Control(func(fd uintptr) { inner = fn(int(fd)) }); err != nil {
		return fmt.Errorf("%w: %w", os.ErrClosed, err) // package os does not say so
	}
	return inner
}
