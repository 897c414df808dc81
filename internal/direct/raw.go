package direct

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Go's scheduler does not know of these system calls. Before the runtime has begun there is none; in ordinary
// code, it would wake up threads for other work although there is none. A read that blocks would
// cost a dozen context switches.

// Read reads. At the end, it returns 0.
func Read(fd int, b []byte) (int, error) {
	n, errno := read(fd, b)
	if errno != 0 {
		return 0, errno
	}
	return n, nil
}

func read(fd int, b []byte) (int, syscall.Errno) {
	for {
		n, errno := call(syscall.SYS_READ, uintptr(fd), unsafe.Pointer(unsafe.SliceData(b)), uintptr(len(b)))
		if errno != syscall.EINTR {
			return n, errno
		}
	}
}

// write reports whether it has written all of b.
func write(fd int, b []byte) bool {
	n, errno := call(syscall.SYS_WRITE, uintptr(fd), unsafe.Pointer(unsafe.SliceData(b)), uintptr(len(b)))
	return errno == 0 && n == len(b)
}

// send returns how many bytes it has sent. The ordinary path finds out why it could not send more.
func send(conn int, b []byte) int {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(conn), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), syscall.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// open opens a file for reading, without waiting. It returns -1 if that fails.
func (p *path) open(name string) (int, syscall.Errno) {
	path := p.terminated(name)
	if path == nil {
		return -1, syscall.ENAMETOOLONG
	}
	fd, _, errno := syscall.RawSyscall6(syscall.SYS_OPENAT, at, uintptr(unsafe.Pointer(path)), syscall.O_RDONLY|syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0, 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), 0
}

// stat asks for a file's status.
func (p *path) stat(name string, flags uintptr) (st syscall.Stat_t, ok bool) {
	path := p.terminated(name)
	if path == nil {
		return st, false
	}
	_, _, errno := syscall.RawSyscall6(unix.SYS_NEWFSTATAT, at, uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(&st)), flags, 0, 0)
	return st, errno == 0
}

func fstat(fd int) (st syscall.Stat_t, ok bool) {
	_, errno := call(syscall.SYS_FSTAT, uintptr(fd), unsafe.Pointer(&st), 0)
	return st, errno == 0
}

// at stands for the working directory.
const at = ^uintptr(99) // AT_FDCWD, which is -100

// terminated returns a copy of a path that ends with a zero byte, or nil if it is too long or has one.
func (p *path) terminated(name string) *byte {
	if name == "" || len(name) >= len(p.name) || contains(name, 0) {
		return nil
	}
	p.name[copy(p.name[:], name)] = 0
	return &p.name[0]
}

// mostAddress is the longest path of a socket, in bytes.
const mostAddress = len(syscall.RawSockaddrUnix{}.Path) - 1

// dial connects to a socket. It returns -1 if that fails.
func (p *path) dial(address string) int {
	var to syscall.RawSockaddrUnix
	if address == "" || address[0] == '@' || len(address) > mostAddress || contains(address, 0) {
		return -1
	}
	to.Family = syscall.AF_UNIX
	for i := range len(address) {
		to.Path[i] = int8(address[i])
	}
	conn, _, errno := syscall.RawSyscall(syscall.SYS_SOCKET, syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if errno != 0 {
		return -1
	}
	if conn <= 2 { // the shell gave less than three descriptors; this one would be taken for one of them
		shut(int(conn))
		return -1
	}
	if _, errno := call(syscall.SYS_CONNECT, conn, unsafe.Pointer(&to), uintptr(2+len(address)+1)); errno != 0 {
		shut(int(conn))
		return -1
	}
	return int(conn)
}

// peer returns the user at the other end of a socket, or -1.
func peer(conn int) int {
	var cred syscall.Ucred
	size := uint32(unsafe.Sizeof(cred))
	_, _, errno := syscall.RawSyscall6(syscall.SYS_GETSOCKOPT, uintptr(conn), syscall.SOL_SOCKET, syscall.SO_PEERCRED,
		uintptr(unsafe.Pointer(&cred)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return -1
	}
	return int(cred.Uid)
}

func terminal(fd int) bool {
	var t syscall.Termios
	_, _, errno := syscall.RawSyscall(syscall.SYS_IOCTL, uintptr(fd), syscall.TCGETS, uintptr(unsafe.Pointer(&t)))
	return errno == 0
}

// umask returns the umask. It can be read only by setting it.
func umask() int {
	mask, _, _ := syscall.RawSyscall(syscall.SYS_UMASK, 0o077, 0, 0)
	_, _, _ = syscall.RawSyscall(syscall.SYS_UMASK, mask, 0, 0)
	return int(mask)
}

func getuid() int {
	uid, _, _ := syscall.RawSyscall(syscall.SYS_GETUID, 0, 0, 0)
	return int(uid)
}

// getcwd returns the length of the working directory's path with its zero byte, or 0.
func getcwd(b []byte) int {
	n, _, errno := syscall.RawSyscall(syscall.SYS_GETCWD, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// now returns the time in seconds since 1970.
func now() int64 {
	var ts syscall.Timespec
	_, _, _ = syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, unix.CLOCK_REALTIME, uintptr(unsafe.Pointer(&ts)), 0)
	return ts.Sec
}

func shut(fd int) { _, _, _ = syscall.RawSyscall(syscall.SYS_CLOSE, uintptr(fd), 0, 0) }

//go:nosplit
func call(trap, a1 uintptr, a2 unsafe.Pointer, a3 uintptr) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(trap, a1, uintptr(a2), a3)
	return int(n), errno
}

// text returns the bytes of b, which has some, without a copy.
func text(b []byte) string { return unsafe.String(&b[0], len(b)) }
