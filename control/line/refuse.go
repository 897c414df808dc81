package line

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"activationd/control"
	"activationd/internal/fault"
)

// maxRefusing is how many connections over the limit are refused with a reply at a
// time. Further ones are closed without a reply.
const maxRefusing = 16

// refuse replies with err to a client that is not served, and closes its connection.
func (l *listening) refuse(conn net.Conn, err error) {
	select {
	case l.refusing <- struct{}{}:
	default:
		_ = conn.Close()
		return
	}
	l.track(conn)
	l.all.Go(func() {
		l.dismiss(conn, err)
		l.untrack(conn)
		<-l.refusing
	})
}

// dismiss sends a last reply and closes the connection so that the client can read
// the reply. A connection that is closed while input is unread is reset, and a reset
// discards what was sent.
func (l *listening) dismiss(conn net.Conn, err error) {
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(min(l.lim.Write, 2*time.Second))); err != nil {
		return
	}
	if _, err := fmt.Fprintf(conn, "%d %s\n.\n", control.Code(err), control.OneLine(fault.Text(err))); err != nil {
		return
	}
	linger(conn, 2*time.Second)
}

// readable returns the connection on which a client whose authentication failed with
// err can read a reply, and the error to reply with. If the connection is nil, there
// is no way to reply.
func readable(conn net.Conn, err error) (net.Conn, error) {
	var notTLS tls.RecordHeaderError
	if errors.As(err, &notTLS) {
		return notTLS.Conn, fmt.Errorf("this port speaks TLS; use a client that does, as atctl --tls or openssl s_client: %w", fault.Invalid)
	}
	if _, ok := conn.(*tls.Conn); ok && fault.Of(err) != fault.Denied {
		return nil, err // the handshake failed, which the client knows from TLS
	}
	return conn, err
}

// linger ends our side of the connection, and reads what the client still sends for
// at most that long.
func linger(conn net.Conn, most time.Duration) {
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || conn.SetReadDeadline(time.Now().Add(most)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, conn, 64<<20)
}
