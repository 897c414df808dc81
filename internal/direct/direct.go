// Package direct submits the job of "atctl add", at or batch, because a shell loop notices what the
// rest of the program costs: Go's runtime and the libraries for commands and JSON take nine tenths of the page
// faults of atctl. So this path is taken before the runtime begins, as the early stage of a wrapper
// is (see supervisor/wrapper/early.go): at the program's entry, on the stack that the kernel made, with a g that
// has no m. Ordinary Go code can run there if it does not allocate, panic, wait, or make a system call that
// Go's scheduler should know of. A program that is not linked as "make atctl" does it takes the same path when its
// variables are initialised.
//
// It does only what it understands wholly: the command of a job and some flags whose values are
// sent as they are, or a script for at at a time such as "now + 5 minutes", and the reply that
// the job was added. All other command lines are left to the ordinary path, in the same process. If a request was
// sent and its reply is another one, the ordinary path reads it; it sends nothing again (see [Taken]).
package direct

import (
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// An Exchange is a request that was sent, and what has arrived of its reply.
type Exchange struct {
	Conn    int // the socket
	Request []byte
	Sent    int // bytes of the request
	Reply   []byte
	When    []byte // for at: the time in the line of the job
}

// leave is the status of a path that leaves the rest to the ordinary path.
const leave = -1

// A path is the direct path of one process.
type path struct {
	Exchange
	env   []string // NAME=VALUE
	begun int64    // for at: the time at its beginning, in seconds since 1970; otherwise 0
	input []byte   // what was read from standard input

	// The memory for all that: no path takes more.
	request [96 << 10]byte
	script  [64 << 10]byte // enough for a request when it is encoded
	zone    [16 << 10]byte
	dir     [4 << 10]byte
	name    [4 << 10]byte // of a file, for a system call
	reply   [512]byte
	text    [256]byte
	when    [32]byte
}

// process is the path of this process. It is a variable because the path has no other way to hand over what it
// leaves: nothing calls it.
var (
	process path
	claimed atomic.Bool
)

// Taken returns the exchange that was begun, or nil if there is none or a caller has it already.
// The caller owns it. Many goroutines may ask.
func Taken() *Exchange {
	if process.Request == nil || claimed.Swap(true) {
		return nil
	}
	return &process.Exchange
}

// Input returns what was read from standard input. Nothing else can read it again.
func Input() []byte { return process.input }

// Now returns the time at which at began. If the direct path has waited for standard input, that may be a while ago.
func Now() time.Time {
	if process.begun != 0 {
		return time.Unix(process.begun, 0)
	}
	return time.Now()
}

// batchTime is the time of batch.
var batchTime = [...]string{"now"}

// begin returns the exit status of the process, or leave.
func (p *path) begin(args, env []string) (status int) {
	if len(args) == 0 {
		return leave
	}
	p.env = env
	switch name := base(args[0]); {
	case name == "atctl" && len(args) > 2 && args[1] == "add":
		return p.add(args[2:])
	case name == "at":
		return p.at("", args[1:])
	case name == "batch" && len(args) == 1:
		return p.at("b", batchTime[:])
	}
	return leave
}

// ask sends the request and reads until the reply has an end. It reports whether both succeeded.
func (p *path) ask(conn int, request []byte, end string) bool {
	p.Conn, p.Request, p.Reply = conn, request, p.reply[:0]
	if p.Sent = send(conn, request); p.Sent != len(request) {
		return false
	}
	for len(p.Reply) < len(end) || string(p.Reply[len(p.Reply)-len(end):]) != end {
		n, errno := read(conn, p.Reply[len(p.Reply):cap(p.Reply)])
		if n <= 0 || errno != 0 {
			return false
		}
		if p.Reply = p.Reply[:len(p.Reply)+n]; len(p.Reply) == cap(p.Reply) {
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

func (p *path) getenv(name string) (value string, found bool) {
	for _, kv := range p.env {
		if len(kv) > len(name) && kv[len(name)] == '=' && kv[:len(name)] == name {
			return kv[len(name)+1:], true
		}
	}
	return "", false
}

// getwd returns the working directory as os.Getwd does, or "".
func (p *path) getwd() string {
	dot, ok := p.stat(".", 0)
	if !ok {
		return ""
	}
	if dir, _ := p.getenv("PWD"); dir != "" && dir[0] == '/' {
		if st, ok := p.stat(dir, 0); ok && st.Dev == dot.Dev && st.Ino == dot.Ino {
			return dir
		}
	}
	n := getcwd(p.dir[:])
	if n < 2 || p.dir[0] != '/' {
		return ""
	}
	return text(p.dir[:n-1]) // it ends with a zero byte
}

// connect connects to the socket of ACTIVATIOND_SOCKET, or else to the default one if root or the
// user listens there. It returns -1 if that fails: the ordinary path says why.
func (p *path) connect() int {
	address, _ := p.getenv("ACTIVATIOND_SOCKET")
	trusted, uid := address != "", getuid()
	if !trusted {
		xdg, _ := p.getenv("XDG_RUNTIME_DIR")
		if len(xdg) > mostAddress {
			return -1
		}
		address = text(p.appendDefaultSocket(p.text[:0], uid, xdg))
	}
	conn := p.dial(address)
	if conn < 0 {
		return -1
	}
	if peer := peer(conn); !trusted && peer != 0 && peer != uid {
		shut(conn)
		return -1
	}
	return conn
}

// SystemSocket is that of the system's daemon.
const SystemSocket = "/run/activationd/control.sock"

// OwnSocket returns the default socket of a daemon that an unprivileged user runs;
// cmd/activationd follows the same rule.
func OwnSocket(uid int, xdgRuntimeDir string) string {
	return string(appendOwnSocket(nil, uid, xdgRuntimeDir))
}

func appendOwnSocket(b []byte, uid int, xdgRuntimeDir string) []byte {
	for len(xdgRuntimeDir) > 1 && xdgRuntimeDir[len(xdgRuntimeDir)-1] == '/' {
		xdgRuntimeDir = xdgRuntimeDir[:len(xdgRuntimeDir)-1]
	}
	if xdgRuntimeDir == "" || xdgRuntimeDir[0] != '/' { // a relative path is invalid
		b = strconv.AppendInt(append(b, "/tmp/activationd-"...), int64(uid), 10)
		return append(b, "/control.sock"...)
	}
	return append(append(b, xdgRuntimeDir...), "/activationd/control.sock"...)
}

// DefaultSocket returns the socket of the user's own daemon if it exists, and the system's
// otherwise.
func DefaultSocket(uid int, xdgRuntimeDir string) string {
	return string(new(path).appendDefaultSocket(nil, uid, xdgRuntimeDir))
}

func (p *path) appendDefaultSocket(b []byte, uid int, xdgRuntimeDir string) []byte {
	// Other users can create a directory in /tmp, and would learn what the user wants to
	// run. So the socket must belong to the user.
	if own := appendOwnSocket(b, uid, xdgRuntimeDir); uid != 0 {
		if st, ok := p.stat(text(own), unix.AT_SYMLINK_NOFOLLOW); ok && int(st.Uid) == uid {
			return own
		}
	}
	return append(b, SystemSocket...)
}
