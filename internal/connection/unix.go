package connection

import (
	"context"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"activationd/internal/fault"
)

// A fileConn is a stream socket that uses blocking system calls. One connection does not
// need Go's poller, and starting the poller takes time that a shell loop notices.
type fileConn struct {
	*os.File
	fd int
}

func newFileConn(fd int) *fileConn { return &fileConn{os.NewFile(uintptr(fd), "connection"), fd} }

// dialUnix connects to the Unix socket at address.
func dialUnix(ctx context.Context, _, address string) (net.Conn, error) {
	fd, err := OpenUnix(ctx, address)
	if err != nil {
		return nil, err
	}
	return newFileConn(fd), nil
}

// OpenUnix connects to the Unix socket at address, until the deadline of ctx: while a process
// that listens accepts nothing, connecting may take forever. The caller closes the descriptor.
func OpenUnix(ctx context.Context, address string) (int, error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if deadline, ok := ctx.Deadline(); ok {
		tv := syscall.NsecToTimeval(max(time.Until(deadline), time.Microsecond).Nanoseconds()) // 0: no limit
		if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_SNDTIMEO, &tv); err != nil {
			_ = syscall.Close(fd)
			return -1, os.NewSyscallError("setsockopt", err)
		}
	}
	for {
		err = syscall.Connect(fd, &syscall.SockaddrUnix{Name: address})
		if err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		_ = syscall.Close(fd)
		return -1, os.NewSyscallError("connect", err)
	}
	return fd, nil
}

// dialTrusted is dialUnix for a default socket, which the user has not named. The process
// that listens there learns what the user wants to run, so it must belong to root or to the
// user; other users may be able to create files in that directory.
func dialTrusted(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := dialUnix(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c, ok := conn.(*fileConn)
	if !ok {
		return conn, nil
	}
	cred, err := syscall.GetsockoptUcred(c.fd, syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	if err == nil && cred.Uid != 0 && int(cred.Uid) != os.Getuid() {
		err = fmt.Errorf("user %d, who is neither root nor you, listens on %s; name the socket with --socket if you trust that user: %w",
			cred.Uid, address, fault.Denied)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

func (c *fileConn) LocalAddr() net.Addr  { return nil }
func (c *fileConn) RemoteAddr() net.Addr { return nil }

// SetDeadline ends all blocked calls for good if t is in the past. The client sets no other
// deadline.
func (c *fileConn) SetDeadline(t time.Time) error {
	if t.IsZero() || t.After(time.Now()) {
		return os.ErrNoDeadline
	}
	return os.NewSyscallError("shutdown", syscall.Shutdown(c.fd, syscall.SHUT_RDWR))
}
