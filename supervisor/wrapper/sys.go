package wrapper

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Calls during which the script may be waiting are raw system calls if they cannot block,
// to spare the work of Go's scheduler.

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

// writeAll writes b, and returns how many bytes it wrote.
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

// closeFD closes a descriptor that was only read from, or whose writes were checked.
func closeFD(fd int) { _ = syscall.Close(fd) }

// readNames returns the names in an open directory. With an error it returns those that
// it read before.
func readNames(fd int) (names []string, err error) {
	buf := make([]byte, 32<<10)
	for {
		n, err := syscall.ReadDirent(fd, buf)
		if err != nil || n <= 0 {
			return names, err
		}
		_, _, names = syscall.ParseDirent(buf[:n], -1, names)
	}
}

// boottime reads the clock of /proc/<pid>/stat, which goes on in suspend and cannot be
// set.
func boottime() time.Duration { return clock(unix.CLOCK_BOOTTIME) }

// monotonic reads the clock of timeouts.
func monotonic() time.Duration { return clock(unix.CLOCK_MONOTONIC) }

func clock(id uintptr) time.Duration {
	var ts syscall.Timespec
	_, _, _ = syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, id, uintptr(unsafe.Pointer(&ts)), 0)
	return time.Duration(ts.Nano())
}

// errnoText returns a text that says what failed, and how.
func errnoText(what string, err error) string { return what + ": " + err.Error() }
