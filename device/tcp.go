package device

import (
	"context"
	"fmt"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"activationd/internal/fault"
)

// unheard is how long what was written to a device may stay without its acknowledgement
// until the connection counts as cut.
const unheard = 10 * time.Second

// dialDevice connects to a device by TCP. Whatever ends the connection other than
// delivered, a kill of this process included, the kernel forgets what it has not
// delivered: it must not arrive when a link comes up again, in the next
// configuration.
func dialDevice(ctx context.Context, host string) (*net.TCPConn, error) {
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return onFD(raw, func(fd int) error {
			return unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: 0})
		})
	}}
	conn, err := dialer.DialContext(ctx, "tcp", host)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("%w: %w", err, fault.Unavailable)
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		_ = conn.Close()
		return nil, fmt.Errorf("%T is no connection of TCP: %w", conn, fault.Internal)
	}
	raw, err := tcp.SyscallConn()
	if err == nil {
		// Not while connecting: there the limit for the login holds.
		err = onFD(raw, func(fd int) error {
			return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unheard/time.Millisecond))
		})
	}
	if err == nil {
		err = tcp.SetKeepAlivePeriod(30 * time.Second) // some peers vanish; this is only how soon that is seen
	}
	if err != nil {
		_ = tcp.Close()
		return nil, fmt.Errorf("%w: %w", err, fault.Unavailable)
	}
	return tcp, nil
}

func onFD(raw syscall.RawConn, do func(fd int) error) error {
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = do(int(fd)) }); err != nil {
		return err
	}
	return failed
}

// A part is a connection or a serial line, which tells how much of what was written to
// it has not been delivered.
type part interface {
	SyscallConn() (syscall.RawConn, error)
}

// delivered waits, for as long as ctx lasts, until all that was written has arrived at
// the other side, and reports whether it has.
func delivered(ctx context.Context, p part) bool {
	raw, err := p.SyscallConn()
	if err != nil {
		return false
	}
	tick := time.NewTicker(time.Millisecond) // the kernel has no event for it
	defer tick.Stop()
	for {
		left := 0
		err := onFD(raw, func(fd int) (err error) {
			left, err = unix.IoctlGetInt(fd, unix.TIOCOUTQ) // of a socket: what is not acknowledged
			return err
		})
		if err != nil || left == 0 {
			return err == nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
}
