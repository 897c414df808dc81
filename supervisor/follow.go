package supervisor

import (
	"os"

	"golang.org/x/sys/unix"
)

// follow has a goroutine wait for the end of the wrapper that pidfd refers to.
func (s *Supervisor) follow(k Key, pidfd int) error {
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
	s.runs[k] = f
	s.followers.Go(func() { s.await(k, f) })
	return nil
}

// await reports the end of a run.
func (s *Supervisor) await(k Key, f *os.File) {
	defer func() { _ = f.Close() }()
	if awaitExit(f) != nil {
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
