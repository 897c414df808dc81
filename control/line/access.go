package line

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/user"
	"strconv"
	"syscall"

	"activationd/control"
	"activationd/internal/fault"
)

// An Access says who a connection's peer is and what he may do. The zero Access
// knows only root and user 0's processes on Unix sockets; maps are by number,
// as names were resolved when the configuration was read.
type Access struct {
	Self   int                     // the daemon's own uid; it and root are admins on Unix sockets
	Users  map[int]control.Role    // of Unix peers, by uid
	Groups map[int]control.Role    // of Unix peers, by gid, all of a user's groups; the highest role counts
	Local  control.Role            // of Unix peers of whom neither map knows
	Certs  map[string]control.Role // of TLS peers, by the common name of a certificate that was verified
	// Loopback is the role of peers on this machine's loopback over plain TCP.
	// They may be any local user: a machine with users who are not trusted wants
	// less than the usual Operator here.
	Loopback control.Role
}

// DefaultAccess returns the usual access: root and self are admins, other local
// users have jobs of their own, and who comes over loopback is the reservation
// system.
func DefaultAccess(self int) Access {
	return Access{Self: self, Local: control.Submitter, Loopback: control.Operator}
}

// Authenticate is for [Server.Serve]. An error is of kind fault.Denied, or that
// of a TLS handshake. A peer who is known to be nobody yet, because he came
// over TLS without a certificate, has the role none until he gives a token.
func (a Access) Authenticate(conn net.Conn) (control.Caller, error) {
	switch c := conn.(type) {
	case *net.UnixConn:
		return a.unix(c)
	case *tls.Conn:
		return a.tls(c)
	}
	remote, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return control.Caller{}, fmt.Errorf("peer %v has no address that is known here: %w", conn.RemoteAddr(), fault.Denied)
	}
	if !remote.Addr().Unmap().IsLoopback() {
		return control.Caller{}, fmt.Errorf("from %v only TLS is accepted, with a client certificate or a token: %w",
			remote.Addr().Unmap(), fault.Denied)
	}
	return control.Caller{Role: a.Loopback, Name: "loopback", UID: -1, GID: -1, Via: "tcp " + remote.String()}, nil
}

func (a Access) unix(conn *net.UnixConn) (control.Caller, error) {
	cred, err := peer(conn)
	if err != nil {
		return control.Caller{}, fmt.Errorf("the peer's user: %w: %w", err, fault.Denied)
	}
	uid, gid := int(cred.Uid), int(cred.Gid)
	c := control.Caller{UID: uid, GID: gid, Name: "#" + strconv.Itoa(uid), Via: fmt.Sprintf("unix pid %d", cred.Pid)}
	u, err := user.LookupId(strconv.Itoa(uid))
	if err == nil {
		c.Name = u.Username
	}
	if uid == 0 || uid == a.Self {
		c.Role = control.Admin
		return c, nil
	}
	c.Role = a.Local
	byUser, named := a.Users[uid]
	if named {
		c.Role = byUser
		return c, nil // what is said of him in person counts, also if it is less
	}
	if len(a.Groups) > 0 {
		byGroup, known := a.Groups[gid]
		for _, id := range groups(u) {
			if r, ok := a.Groups[id]; ok {
				byGroup, known = max(byGroup, r), true
			}
		}
		if known {
			c.Role = byGroup
		}
	}
	return c, nil
}

// peer returns who opened the other end of a Unix socket, as the kernel noted
// it then.
func peer(conn *net.UnixConn) (*syscall.Ucred, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *syscall.Ucred
	var cerr error
	err = raw.Control(func(fd uintptr) {
		cred, cerr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	return cred, errors.Join(err, cerr)
}

// groups returns all groups of a user; none if he or they are not known.
func groups(u *user.User) []int {
	if u == nil {
		return nil
	}
	names, err := u.GroupIds()
	if err != nil {
		return nil
	}
	var ids []int
	for _, name := range names {
		if id, err := strconv.Atoi(name); err == nil {
			ids = append(ids, id)
		}
	}
	return ids
}

func (a Access) tls(conn *tls.Conn) (control.Caller, error) {
	if err := conn.Handshake(); err != nil { // within the deadline that Serve has set
		return control.Caller{}, err
	}
	c := control.Caller{Name: "nobody", UID: -1, GID: -1, Via: "tls " + conn.RemoteAddr().String()}
	if chains := conn.ConnectionState().VerifiedChains; len(chains) > 0 {
		c.Name = chains[0][0].Subject.CommonName
		c.Role = a.Certs[c.Name]
	}
	return c, nil
}

// answerable returns the connection on which a peer can read why he was
// refused, or nil if there is none.
func answerable(conn net.Conn, err error) (net.Conn, error) {
	var notTLS tls.RecordHeaderError
	if errors.As(err, &notTLS) {
		if notTLS.Conn == nil {
			return nil, nil
		}
		return notTLS.Conn, fmt.Errorf("this port speaks TLS; use a client that does, as openssl s_client: %w", fault.Invalid)
	}
	if _, ok := conn.(*tls.Conn); ok {
		return nil, nil // the handshake failed, and has told the peer
	}
	return conn, err
}

// CheckListen returns an error of kind fault.Invalid if it would be unsafe to
// listen at addr, a host and a port: all but loopback needs TLS.
func CheckListen(addr string, withTLS bool) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("listen address %q: is not HOST:PORT: %w", addr, fault.Invalid)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("listen address %q: port %q is not a number up to 65535: %w", addr, port, fault.Invalid)
	} else if n == 0 && !isLoopback(host) {
		return fmt.Errorf("listen address %q: a port that the kernel chooses is for loopback only: %w", addr, fault.Invalid)
	}
	if !withTLS && !isLoopback(host) {
		return fmt.Errorf("listen address %q: is not loopback, so anybody could give commands there; "+
			"configure TLS, or listen at 127.0.0.1:%s: %w", addr, port, fault.Invalid)
	}
	return nil
}

// isLoopback reports whether host is sure to be loopback. Of names only
// localhost is: what others mean may change.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
