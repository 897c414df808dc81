package line

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/user"
	"strconv"
	"sync/atomic"
	"syscall"

	"activationd/control"
	"activationd/internal/fault"
)

// UnixPeers returns an authentication for [Server.Serve] of a Unix socket's
// peers: by their uid, as the kernel noted it when they connected.
func UnixPeers(role func(uid uint32) control.Role) func(net.Conn) (control.Caller, error) {
	var conns atomic.Uint64
	return func(conn net.Conn) (control.Caller, error) {
		c, ok := conn.(*net.UnixConn)
		if !ok {
			return control.Caller{}, fmt.Errorf("a peer at %v: has no uid: %w", conn.RemoteAddr(), fault.Denied)
		}
		cred, err := peer(c)
		if err != nil {
			return control.Caller{}, fmt.Errorf("the peer's user: %w: %w", err, fault.Denied)
		}
		caller := control.Caller{
			Role: role(cred.Uid), UID: int(cred.Uid), GID: int(cred.Gid),
			Name: "#" + strconv.Itoa(int(cred.Uid)), PID: int(cred.Pid), Conn: conns.Add(1),
			Via: fmt.Sprintf("unix pid %d", cred.Pid),
		}
		if u, err := user.LookupId(strconv.Itoa(caller.UID)); err == nil {
			caller.Name = u.Username
		}
		return caller, nil
	}
}

// peer returns who opened the other end of a Unix socket.
func peer(conn *net.UnixConn) (cred *syscall.Ucred, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cerr error
	err = raw.Control(func(fd uintptr) {
		cred, cerr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	return cred, errors.Join(err, cerr)
}

// TCPPeers says who a TCP listener's peers are as long as they show no token.
type TCPPeers struct {
	// Role is that of peers on this machine's loopback, who may be any local
	// user, and of peers with a TLS certificate that was verified. Others have
	// none: those with TLS can show a token, those without are sent away.
	Role control.Role
	// Certs, unless nil, has the roles of peers with a certificate, by its
	// common name; one that is not in it has none.
	Certs map[string]control.Role
	// User, UID and GID are whose jobs they submit: empty and -1 for nobody's.
	User     string
	UID, GID int
}

// Authenticate is for [Server.Serve]. Its error is of kind fault.Denied, or that
// of a TLS handshake.
func (p TCPPeers) Authenticate(conn net.Conn) (control.Caller, error) {
	remote, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return control.Caller{}, fmt.Errorf("a peer at %v: has no address to know him by: %w", conn.RemoteAddr(), fault.Denied)
	}
	c := control.Caller{Name: "nobody", UID: p.UID, GID: p.GID, Via: "tcp " + remote.String(), Anonymous: true}
	loopback := remote.Addr().Unmap().IsLoopback()
	if loopback {
		c.Name, c.Role = "loopback", p.Role
	}
	if secure, ok := conn.(*tls.Conn); ok {
		if err := secure.Handshake(); err != nil { // within the deadline that Serve has set
			return control.Caller{}, err
		}
		c.Via = "tls " + remote.String()
		if chains := secure.ConnectionState().VerifiedChains; len(chains) > 0 {
			name := chains[0][0].Subject.CommonName
			c.Name, c.Role, c.Anonymous = name, p.Role, false
			if p.Certs != nil {
				c.Role = p.Certs[name]
			}
			c.Via = fmt.Sprintf("tls %v certificate %q", remote, name)
		}
	} else if !loopback {
		return control.Caller{}, fmt.Errorf("from %v only TLS is accepted, with a certificate or a token: %w",
			remote.Addr().Unmap(), fault.Denied)
	}
	if p.User != "" {
		c.Name = p.User
	}
	return c, nil
}

// answerable returns the connection on which a peer can read why he was
// refused, and what he reads there; no connection if there is none.
func answerable(conn net.Conn, err error) (net.Conn, error) {
	var notTLS tls.RecordHeaderError
	if errors.As(err, &notTLS) {
		return notTLS.Conn, fmt.Errorf("this port speaks TLS; use a client that does, as atctl --tls or openssl s_client: %w", fault.Invalid)
	}
	if _, ok := conn.(*tls.Conn); ok && fault.Of(err) != fault.Denied {
		return nil, err // the handshake failed, and has told the peer
	}
	return conn, err
}
