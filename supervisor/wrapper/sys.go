package wrapper

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Calls that the wrapper makes while its script may already be waiting for it
// are made raw where they cannot block, so that the Go scheduler is not told.

func openat(dir int, name string, flags int, mode uint32) (int, error) {
	for {
		fd, err := syscall.Openat(dir, name, flags|syscall.O_CLOEXEC, mode)
		if err != syscall.EINTR {
			return fd, err
		}
	}
}

func read(fd int, b []byte) (int, error) {
	for {
		n, err := syscall.Read(fd, b)
		if err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}

// writeAll writes b, and returns how much of it could be written.
func writeAll(fd int, b []byte) (int, error) {
	for done := 0; ; {
		n, err := syscall.Write(fd, b[done:])
		done += max(n, 0)
		switch {
		case err == syscall.EINTR:
		case err != nil || done == len(b):
			return done, err
		case n == 0:
			return done, syscall.ENOSPC
		}
	}
}

// closeFD closes what was only read, or was written and has been checked.
func closeFD(fd int) { _ = syscall.Close(fd) }

// boottime is the clock of /proc/<pid>/stat: it goes on in suspend and nobody
// can set it.
func boottime() time.Duration { return clock(unix.CLOCK_BOOTTIME) }

// monotonic is the clock of timeouts.
func monotonic() time.Duration { return clock(unix.CLOCK_MONOTONIC) }

func clock(id uintptr) time.Duration {
	var ts syscall.Timespec
	_, _, _ = syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, id, uintptr(unsafe.Pointer(&ts)), 0)
	return time.Duration(ts.Nano())
}

// errnoText says what went wrong with what.
func errnoText(what string, err error) string { return what + ": " + err.Error() }
