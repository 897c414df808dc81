package supervisor

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"activationd/supervisor/wrapper"
)

// standardPatience is how long after a run's time is up its wrapper may take to
// clear up and tell. It tries for a minute to write its result to a full disk.
const standardPatience = 5 * time.Minute

// limit is when a run that begins now, or at its instant, has to be over; zero:
// it has no timeout.
func (s *Supervisor) limit(spec *wrapper.Spec) time.Time {
	if spec == nil || spec.Timeout <= 0 {
		return time.Time{}
	}
	return time.Now().Add(max(0, time.Until(spec.NotBefore)) + spec.Timeout + spec.Grace + s.config.Patience)
}

// follow has a goroutine wait for the end of the wrapper that pidfd refers to. If
// it is still there at the limit, it is stuck, and is killed.
func (s *Supervisor) follow(k Key, pidfd int, limit time.Time) error {
	if err := unix.SetNonblock(pidfd, true); err != nil { // else the runtime would block a thread on it
		_ = unix.Close(pidfd)
		s.forget(k)
		return err
	}
	f := os.NewFile(uintptr(pidfd), "pidfd of "+k.String())
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closing:
		_ = f.Close()
		delete(s.runs, k)
		return nil // it runs, for the next daemon to adopt
	default:
	}
	if err := f.SetReadDeadline(limit); err != nil {
		_ = f.Close()
		delete(s.runs, k)
		return err
	}
	s.runs[k] = f
	s.followers.Go(func() { s.await(k, f) })
	return nil
}

// await reports the end of a run.
func (s *Supervisor) await(k Key, f *os.File) {
	defer func() { _ = f.Close() }()
	err := awaitExit(f)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		s.config.Log.Error("a run's wrapper has not ended long after it had to, and is killed; "+
			"did its script's directory or program lie on a file system that does not answer?", "run", k)
		err = control(f, func(fd int) error { return unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) })
		if err == nil || errors.Is(err, unix.ESRCH) {
			_ = f.SetReadDeadline(time.Time{}) // what it may say, awaitExit says too
			err = awaitExit(f)
		}
	}
	if err != nil {
		return // closed: let go
	}
	found := s.conclude(k)
	s.forget(k)
	select {
	case s.exits <- Exit{k, found.Result}:
	case <-s.closing:
	}
}

// awaitExit waits until the process of a pidfd is gone, and reaps it if it is
// our child: that one, and no other.
func awaitExit(f *os.File) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return c.Read(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(p, 0); err != nil || n == 0 {
			return false
		}
		_ = unix.Waitid(unix.P_PIDFD, int(fd), nil, unix.WEXITED|unix.WNOHANG, nil)
		return true
	})
}

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
