package line

import (
	"bytes"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A timedWriter gives each write a deadline of its own.
type timedWriter struct {
	conn net.Conn
	max  time.Duration
	rest []byte // the part of the last write that the client did not take in time
}

func (w *timedWriter) Write(p []byte) (int, error) {
	if err := w.conn.SetWriteDeadline(time.Now().Add(w.max)); err != nil {
		return 0, err
	}
	n, err := w.conn.Write(p)
	if err != nil {
		w.rest = bytes.Clone(p[n:])
	}
	return n, err
}

// lastWords sends text to a client that has read nothing for too long. The kernel's
// buffer for unread data is full, so lastWords makes it larger: the client finds the
// text if it reads on. It does not wait for the client.
func (w *timedWriter) lastWords(text []byte) {
	c, ok := w.conn.(syscall.Conn)
	if !ok {
		return // within TLS nothing can follow a record that was cut short
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	text = append(w.rest, text...)
	_ = raw.Control(func(fd uintptr) { makeRoom(int(fd), len(text)) })
	if w.conn.SetWriteDeadline(time.Now().Add(lastPatience)) == nil {
		_, _ = w.conn.Write(text)
	}
}

// lastPatience is how long lastWords tries.
const lastPatience = 100 * time.Millisecond

// keepRoom has a TCP connection accept less from us than the kernel could buffer, so
// that makeRoom has something to add. Other connections have no such setting.
func keepRoom(conn net.Conn) {
	const unsent = 128 << 10
	c, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	if raw, err := c.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsent)
		})
	}
}

// makeRoom has the kernel buffer n more bytes for a client that does not read, if it
// is allowed to.
func makeRoom(fd, n int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, 0) // removes the limit of keepRoom
	size, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil {
		return
	}
	// The kernel doubles the value. Without root's rights it sets at most
	// net.core.wmem_max, which may be less than a TCP connection has by itself.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, size+n) != nil && size <= usualRoom {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, size+n)
	}
}

// usualRoom is net.core.wmem_max on most machines.
const usualRoom = 212_992
