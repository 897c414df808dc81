package supervisor

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"activationd/internal/fault"
)

// Listeners returns the sockets that a run was given, in the order of Spec.Listen; the files
// have the names from there. The wrapper keeps them open as long as it lives, so a
// daemon that was restarted gets them back and can give them to another run, and no
// connection is refused meanwhile. The caller closes them. The error is of kind
// fault.NotFound if the run has ended or is not followed.
func (s *Supervisor) Listeners(k Key) (files []*os.File, err error) {
	s.mu.Lock()
	f := s.runs[k]
	s.mu.Unlock()
	if f == nil || f.pidfd == nil {
		return nil, fmt.Errorf("sockets of run %v: it does not run: %w", k, fault.NotFound)
	}
	var fds []int
	err = control(f.pidfd, func(fd int) error {
		fds, err = s.privileged.Sockets(fd, len(f.spec.Listen))
		return err
	})
	switch {
	case errors.Is(err, unix.ESRCH) || errors.Is(err, os.ErrClosed):
		return nil, fmt.Errorf("sockets of run %v: it has just ended: %w: %w", k, err, fault.NotFound)
	case errors.Is(err, unix.EPERM):
		return nil, fmt.Errorf("sockets of run %v: %w: %w; the daemon needs the capability CAP_SYS_PTRACE, or kernel.yama.ptrace_scope must be 0", k, err, fault.Internal)
	case err != nil:
		return nil, fmt.Errorf("sockets of run %v: %w: %w", k, err, kind(err))
	}
	for i, fd := range fds {
		files = append(files, os.NewFile(uintptr(fd), f.spec.Listen[i]))
	}
	return files, nil
}

// duplicates returns a descriptor for each file. It does not call Fd, which would take
// O_NONBLOCK from all who share the socket: one of them could then wait in an accept that
// it meant to try.
func duplicates(files []*os.File) (fds []int, err error) {
	for _, f := range files {
		err := control(f, func(fd int) error {
			dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
			if err == nil {
				fds = append(fds, dup)
			}
			return err
		})
		if err != nil {
			return fds, err
		}
	}
	return fds, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}
