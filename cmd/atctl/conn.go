package main

import (
	"context"
	"net"
	"os"
	"syscall"
	"time"
)

// A fileConn is a stream socket that is read and written by system calls that
// block. One connection needs no poller, and starting Go's takes time that a
// shell loop notices.
type fileConn struct {
	*os.File
	fd int
}

func newFileConn(fd int) *fileConn { return &fileConn{os.NewFile(uintptr(fd), "connection"), fd} }

// dialUnix connects to the Unix socket at address.
func dialUnix(_ context.Context, _, address string) (net.Conn, error) {
	fd, err := dialFD(address)
	if err != nil {
		return nil, err
	}
	return newFileConn(fd), nil
}

func dialFD(address string) (int, error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
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

func (c *fileConn) LocalAddr() net.Addr  { return nil }
func (c *fileConn) RemoteAddr() net.Addr { return nil }

// SetDeadline ends what blocks, for good, if t is past; the client sets no other.
func (c *fileConn) SetDeadline(t time.Time) error {
	if t.IsZero() || t.After(time.Now()) {
		return os.ErrNoDeadline
	}
	return os.NewSyscallError("shutdown", syscall.Shutdown(c.fd, syscall.SHUT_RDWR))
}
