package device

import (
	"context"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"activationd/internal/fault"
)

// ackTimeout is how long bytes may wait for their acknowledgement. After that the connection
// counts as cut.
const ackTimeout = 10 * time.Second

// dialDevice connects to a device by TCP. However the connection ends, also by a kill of this
// process, the kernel then discards bytes that were not delivered, unless the caller waited in
// delivered. They must not arrive later, in the middle of the next configuration. What this cannot
// reach are packets that wait, for 3 s at most, until the kernel knows the hardware address of the
// next hop again.
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
		return nil, fmt.Errorf("%T is not a TCP connection: %w", conn, fault.Internal)
	}
	raw, err := tcp.SyscallConn()
	if err == nil {
		// While connecting, only the limit for the login applies.
		err = onFD(raw, func(fd int) error {
			return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(ackTimeout/time.Millisecond))
		})
	}
	if err == nil {
		err = tcp.SetKeepAlivePeriod(30 * time.Second) // this is only how soon the loss of a peer is noticed
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

// A rawConn is a connection or a serial line whose undelivered bytes can be counted.
type rawConn interface {
	SyscallConn() (syscall.RawConn, error)
}

// delivered waits until the other side has received everything that was written, or until ctx
// ends. It reports whether everything has arrived.
func delivered(ctx context.Context, p rawConn) bool {
	raw, err := p.SyscallConn()
	if err != nil {
		return false
	}
	tick := time.NewTicker(time.Millisecond) // the kernel offers no event for it
	defer tick.Stop()
	for {
		left := 0
		err := onFD(raw, func(fd int) (err error) {
			left, err = unix.IoctlGetInt(fd, unix.TIOCOUTQ) // of a socket: bytes without acknowledgement
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

func (s *Session) connect(ctx context.Context, a address) error {
	switch a.scheme {
	case "ssh":
		client, conn, err := dialSSH(ctx, a.host, s.target, s.dialog)
		if err != nil {
			return err
		}
		s.conn = conn
		if s.dialog.Shell {
			s.client = client
			return nil
		}
		stop := context.AfterFunc(ctx, func() { _ = client.Close() })
		shell, err := openShell(client, s.dialog.Terminal)
		if !stop() || err != nil {
			_ = client.Close()
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
		s.link = newLink(shell, s.tr)
	case "serial":
		f, err := openSerial(a.host, a.line)
		if err != nil {
			return err
		}
		s.conn = f
		s.link = newLink(f, s.tr)
	default:
		conn, err := dialDevice(ctx, a.host)
		if err != nil {
			return err
		}
		s.conn = conn
		wire, err := overTCP(ctx, conn, a, s.tr)
		if err != nil {
			return err
		}
		s.link = newLink(wire, s.tr)
	}
	return nil
}

// overTCP returns a connection that speaks telnet, RFC 2217 or nothing in particular, by the
// scheme of the address.
func overTCP(ctx context.Context, conn *net.TCPConn, a address, tr *Transcript) (io.ReadWriteCloser, error) {
	if a.scheme == "tcp" {
		return conn, nil
	}
	w := newTelnetWire(conn, tr)
	if a.scheme == "rfc2217" {
		if err := w.negotiate(ctx, a.line); err != nil {
			_ = w.Close()
			return nil, fmt.Errorf("the converter %w", err)
		}
	}
	return w, nil
}
