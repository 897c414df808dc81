// Package direct submits the job of "atctl add", at or batch before the rest of the program is
// initialised, because a shell loop notices what that takes: a third of the processor time
// of atctl. It imports so little that it is initialised before nearly everything else: not even
// package strings, which needs the tables of package unicode.
//
// It does only what it understands wholly: the command of a job and some flags whose values are
// sent as they are, or a script for at at a time such as "now + 5 minutes", and the reply that
// the job was added. All other command lines are left alone. If the reply is another one, the
// ordinary path reads it; it sends nothing again (see [Taken]).
package direct

import (
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// An Exchange is a request that was sent, and what has arrived of its reply.
type Exchange struct {
	Conn    int // the socket
	Request []byte
	Sent    int // bytes of the request
	Reply   []byte

	Said, When string // for at: what it prints before the line of the job, and the time in that line
}

var taken = begun()

// begun does not return if the job was added.
func begun() *atomic.Pointer[Exchange] {
	var p atomic.Pointer[Exchange]
	p.Store(begin(os.Args))
	return &p
}

// Taken returns the exchange that was begun, or nil if there is none or a caller has it already.
// The caller owns it. Many goroutines may ask.
func Taken() *Exchange { return taken.Swap(nil) }

func begin(args []string) *Exchange {
	if len(args) == 0 {
		return nil
	}
	switch name := base(args[0]); {
	case name == "atctl" && len(args) > 2 && args[1] == "add":
		return add(args[2:])
	case name == "at":
		return at("", args[1:])
	case name == "batch" && len(args) == 1:
		return at("b", []string{"now"})
	}
	return nil
}

// ask sends the request and reads until the reply has an end. It reports whether both succeeded.
func (x *Exchange) ask(end string) bool {
	x.Reply = make([]byte, 0, 512)
	x.Sent, _ = syscall.Write(x.Conn, x.Request)
	if x.Sent = max(x.Sent, 0); x.Sent != len(x.Request) {
		return false
	}
	for len(x.Reply) < len(end) || string(x.Reply[len(x.Reply)-len(end):]) != end {
		n, err := Read(x.Conn, x.Reply[len(x.Reply):cap(x.Reply)])
		if n <= 0 || err != nil {
			return false
		}
		x.Reply = x.Reply[:len(x.Reply)+n]
		if len(x.Reply) == cap(x.Reply) {
			return false
		}
	}
	return true
}

func base(path string) string {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			return path[i+1:]
		}
	}
	return path
}

// umask returns the umask. It can be read only by setting it.
func umask() int {
	mask := syscall.Umask(0o077)
	syscall.Umask(mask)
	return mask
}

// connect connects to the socket of ACTIVATIOND_SOCKET, or else to the default one if root or the
// user listens there. It returns -1 if that fails: the ordinary path says why.
func connect() int {
	address, trusted := os.Getenv("ACTIVATIOND_SOCKET"), true
	if address == "" {
		address, trusted = DefaultSocket(os.Getuid(), os.Getenv("XDG_RUNTIME_DIR")), false
	}
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	if err = syscall.Connect(fd, &syscall.SockaddrUnix{Name: address}); err == nil && !trusted {
		cred, credErr := syscall.GetsockoptUcred(fd, syscall.SOL_SOCKET, syscall.SO_PEERCRED)
		trusted = credErr == nil && (cred.Uid == 0 || int(cred.Uid) == os.Getuid())
	}
	if err != nil || !trusted {
		_ = syscall.Close(fd)
		return -1
	}
	return fd
}

// SystemSocket is that of the system's daemon.
const SystemSocket = "/run/activationd/control.sock"

// OwnSocket returns the default socket of a daemon that an unprivileged user runs;
// cmd/activationd follows the same rule.
func OwnSocket(uid int, xdgRuntimeDir string) string {
	for len(xdgRuntimeDir) > 1 && xdgRuntimeDir[len(xdgRuntimeDir)-1] == '/' {
		xdgRuntimeDir = xdgRuntimeDir[:len(xdgRuntimeDir)-1]
	}
	if xdgRuntimeDir == "" || xdgRuntimeDir[0] != '/' { // a relative path is invalid
		return "/tmp/activationd-" + strconv.Itoa(uid) + "/control.sock"
	}
	return xdgRuntimeDir + "/activationd/control.sock"
}

// DefaultSocket returns the socket of the user's own daemon if it exists, and the system's
// otherwise.
func DefaultSocket(uid int, xdgRuntimeDir string) string {
	if uid == 0 {
		return SystemSocket
	}
	own := OwnSocket(uid, xdgRuntimeDir)
	// Other users can create a directory in /tmp, and would learn what the user wants to
	// run. So the socket must belong to the user.
	var st syscall.Stat_t
	if syscall.Lstat(own, &st) != nil || int(st.Uid) != uid {
		return SystemSocket
	}
	return own
}

// Read reads without telling Go's scheduler, which would wake up threads for other work although
// there is none. A read that blocks would cost a dozen context switches. At the end, it returns 0.
func Read(fd int, b []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

func terminal(fd int) bool {
	var t syscall.Termios
	_, _, errno := syscall.RawSyscall(syscall.SYS_IOCTL, uintptr(fd), syscall.TCGETS, uintptr(unsafe.Pointer(&t)))
	return errno == 0
}

// number reports whether text is a number.
func number(text string) bool {
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return false
		}
	}
	return text != ""
}
