package supervisor

import (
	"encoding/binary"
	"errors"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"activationd/supervisor/wrapper"
)

// Kernels before 5.3, emulators of other machines and some sandboxes have no pidfds, or cannot return one when a
// process is started. Then the read end of a pipe stands for a wrapper's pidfd: a goroutine looks after the
// wrapper, writes its exit status into the pipe when it has ended, and closes the other end. So whoever has the
// descriptor polls it as a pidfd, and this process finds the wrapper by the pipe's inode.
//
// A signal must not reach a later process with the same id. A child of this process keeps its id until it is reaped,
// which the goroutine does with the lock held. An adopted wrapper is compared with the process that began at the
// time when the wrapper did.

// lookAfter is how often a wrapper is looked at for which there is no pidfd.
const lookAfter = 20 * time.Millisecond

// standIns are the pipes that stand for pidfds, by their inodes.
type standIns struct {
	mu       sync.Mutex
	wrappers map[uint64]wrapper.Process // that have not ended
	watchers sync.WaitGroup
}

// standIn is a pipe that may come to stand for a pidfd.
type standIn struct {
	read, write int
	inode       uint64
}

func newStandIn() (s standIn, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return s, err
	}
	var st unix.Stat_t
	err = unix.Fstat(p[0], &st)
	return standIn{p[0], p[1], st.Ino}, err
}

func (s standIn) close() { closeAll([]int{s.read, s.write}) }

// open returns a pidfd of a wrapper, or, where there are none, a descriptor that stands for it. It closes the other
// descriptors. If the wrapper is no child of this process, it is known when it was born; an error says that it is gone.
func (in *standIns) open(s standIn, is wrapper.Process) (fd int, err error) {
	if fd, err = unix.PidfdOpen(is.PID, 0); err == nil || errors.Is(err, unix.ESRCH) {
		s.close()
		return fd, err
	}
	in.mu.Lock()
	if in.wrappers == nil {
		in.wrappers = make(map[uint64]wrapper.Process)
	}
	in.wrappers[s.inode] = is
	in.mu.Unlock()
	in.watchers.Go(func() { in.watch(s, is) })
	return s.read, nil
}

// watch looks after a wrapper until it has ended, or until nobody has the pipe's read end any more.
func (in *standIns) watch(s standIn, is wrapper.Process) {
	defer func() { _ = unix.Close(s.write) }()
	for ; ; time.Sleep(lookAfter) {
		reader := []unix.PollFd{{Fd: int32(s.write)}}
		if n, err := unix.Poll(reader, 0); (err == nil && n > 0) || in.ended(s, is) {
			break
		}
	}
	in.mu.Lock()
	delete(in.wrappers, s.inode)
	in.mu.Unlock()
}

// ended reports whether a wrapper has ended. If it was a child of this process, it writes the exit status.
func (in *standIns) ended(s standIn, is wrapper.Process) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	var st syscall.WaitStatus
	switch pid, err := syscall.Wait4(is.PID, &st, syscall.WNOHANG, nil); {
	case pid == is.PID:
		delete(in.wrappers, s.inode)
		if st.Exited() {
			_, _ = unix.Write(s.write, binary.NativeEndian.AppendUint32(nil, uint32(st.ExitStatus()))) // without it, the status is not known
		}
		return true
	case errors.Is(err, syscall.ECHILD): // an earlier daemon's
		return !lives(is)
	}
	return false
}

// lives reports whether a process has not ended, and is still the one with its id.
func lives(is wrapper.Process) bool {
	now, ok := wrapper.Stat(is.PID)
	return ok && now.Born == is.Born && !now.Dead()
}

// signal signals the wrapper that a descriptor stands for.
func (in *standIns) signal(fd int, sig syscall.Signal) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	is, ok := in.wrappers[st.Ino]
	if !ok || is.Born > 0 && !lives(is) {
		return unix.ESRCH
	}
	return unix.Kill(is.PID, sig)
}

// status returns the exit status of the wrapper that a descriptor stood for.
func (in *standIns) status(fd int) int {
	var b [4]byte
	if n, err := unix.Read(fd, b[:]); err != nil || n < len(b) {
		return unknownStatus
	}
	return int(binary.NativeEndian.Uint32(b[:]))
}

// Pidfd implements [Privileged].
func (p *direct) Pidfd(pid int) (fd int, err error) {
	if !p.blind {
		return unix.PidfdOpen(pid, 0)
	}
	is, ok := wrapper.Stat(pid)
	if !ok {
		return -1, unix.ESRCH
	}
	s, err := newStandIn()
	if err != nil {
		return -1, err
	}
	return p.standIns.open(s, is)
}
