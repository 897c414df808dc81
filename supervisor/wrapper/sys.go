package wrapper

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// All calls on the way from the program's entry to the script, and from the script's end to the result, are raw
// system calls: Go's scheduler may not be there yet, see early.go, and costs time where it is. They take and return
// nothing that would have to be allocated. Paths end with a zero byte.

func openat(dir int, name string, flags int, mode uint32) (int, error) {
	for {
		fd, err := syscall.Openat(dir, name, flags|syscall.O_CLOEXEC, mode)
		if err != syscall.EINTR {
			return fd, err
		}
	}
}

// pathz returns the address of a text that ends with a zero byte.
func pathz(s string) *byte { return unsafe.StringData(s) }

// pathCall is a system call whose second argument is a path.
//
//go:nosplit
func pathCall(trap uintptr, dir int, path *byte, a3, a4, a5 uintptr) (int, syscall.Errno) {
	r, _, errno := syscall.RawSyscall6(trap, uintptr(dir), uintptr(unsafe.Pointer(path)), a3, a4, a5, 0)
	return int(r), errno
}

// pointerCall is a system call whose second argument is the address of something else.
//
//go:nosplit
func pointerCall(trap, a1 uintptr, p unsafe.Pointer, a3 uintptr) (int, syscall.Errno) {
	r, _, errno := syscall.RawSyscall6(trap, a1, uintptr(p), a3, 0, 0, 0)
	return int(r), errno
}

func rawOpen(dir int, path *byte, flags int, mode uint32) (int, syscall.Errno) {
	return pathCall(syscall.SYS_OPENAT, dir, path, uintptr(flags|syscall.O_CLOEXEC), uintptr(mode), 0)
}

func rawMkdir(path *byte, mode uint32) syscall.Errno {
	_, errno := pathCall(syscall.SYS_MKDIRAT, unix.AT_FDCWD, path, uintptr(mode), 0, 0)
	return errno
}

func rawRmdir(path *byte) syscall.Errno {
	_, errno := pathCall(syscall.SYS_UNLINKAT, unix.AT_FDCWD, path, unix.AT_REMOVEDIR, 0, 0)
	return errno
}

func rawChown(path *byte, uid, gid int) syscall.Errno {
	_, errno := pathCall(syscall.SYS_FCHOWNAT, unix.AT_FDCWD, path, uintptr(uid), uintptr(gid), 0)
	return errno
}

// rawRename renames, into the run directory.
//
//go:nosplit
func rawRename(from int, old, name *byte) syscall.Errno {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RENAMEAT, uintptr(from), uintptr(unsafe.Pointer(old)), dirFD, uintptr(unsafe.Pointer(name)), 0, 0)
	return errno
}

// rawRead reads what is there; it is not interrupted, because all signals are blocked.
func rawRead(fd int, b []byte) (int, syscall.Errno) {
	return pointerCall(syscall.SYS_READ, uintptr(fd), unsafe.Pointer(unsafe.SliceData(b)), uintptr(len(b)))
}

// rawWrite writes all of b, and returns how much of it it has written.
func rawWrite(fd int, b []byte) (done int, errno syscall.Errno) {
	for done < len(b) {
		n, errno := pointerCall(syscall.SYS_WRITE, uintptr(fd), unsafe.Pointer(unsafe.SliceData(b[done:])), uintptr(len(b)-done))
		switch {
		case errno == syscall.EINTR:
		case errno != 0:
			return done, errno
		case n == 0:
			return done, syscall.ENOSPC
		default:
			done += n
		}
	}
	return done, 0
}

// rawPwrite writes b at the beginning of a file.
//
//go:nosplit
func rawPwrite(fd int, b []byte) syscall.Errno {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_PWRITE64, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0, 0, 0)
	if errno == 0 && int(n) < len(b) {
		return syscall.ENOSPC
	}
	return errno
}

// rawPoll waits for events; a limit below 0 is none.
//
//go:nosplit
func rawPoll(fds []unix.PollFd, limit time.Duration) (int, syscall.Errno) {
	ts := syscall.NsecToTimespec(int64(limit))
	p := &ts
	if limit < 0 {
		p = nil
	}
	n, _, errno := syscall.RawSyscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(unsafe.SliceData(fds))), uintptr(len(fds)), uintptr(unsafe.Pointer(p)), 0, 8, 0)
	return int(n), errno
}

// readable reports whether a descriptor can be read now.
func readable(fd int) bool {
	fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, errno := rawPoll(fds[:], 0)
	return errno == 0 && n > 0
}

func rawCall(trap, a1, a2, a3 uintptr) (int, syscall.Errno) {
	r, _, errno := syscall.RawSyscall(trap, a1, a2, a3)
	return int(r), errno
}

func rawClose(fd int) { _, _ = rawCall(syscall.SYS_CLOSE, uintptr(fd), 0, 0) }

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
	done, errno := rawWrite(fd, b)
	if errno != 0 {
		return done, errno
	}
	return done, nil
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

// wallClock is time.Now without the runtime, which has no vDSO before it has begun.
func wallClock() time.Time { return time.Unix(0, int64(clock(unix.CLOCK_REALTIME))) }

func clock(id uintptr) time.Duration {
	var ts syscall.Timespec
	_, _, _ = syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, id, uintptr(unsafe.Pointer(&ts)), 0)
	return time.Duration(ts.Nano())
}

// errnoText returns a text that says what failed, and how.
func errnoText(what string, err error) string { return what + ": " + err.Error() }
