package access

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/user"
	"strconv"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"activationd/control"
	"activationd/internal/fault"
)

// An Authenticator returns who opened a connection, as far as the connection
// itself shows it. Its error is of kind fault.Denied, or that of a TLS handshake.
type Authenticator func(net.Conn) (control.Caller, error)

// UnixPeers returns an authenticator for the peers of a Unix socket. It knows a peer
// by its uid and its groups, which the kernel recorded when the peer connected. The
// first of the groups is that of the process, others may follow in any order.
func UnixPeers(role func(uid uint32, groups []uint32) control.Role) Authenticator {
	var conns atomic.Uint64
	return func(conn net.Conn) (control.Caller, error) {
		c, ok := conn.(*net.UnixConn)
		if !ok {
			return control.Caller{}, fmt.Errorf("the peer at %v has no uid: %w", conn.RemoteAddr(), fault.Denied)
		}
		cred, err := credentials(c)
		if err != nil {
			return control.Caller{}, fmt.Errorf("the peer's user: %w: %w", err, fault.Denied)
		}
		groups, err := peerGroups(c)
		if err != nil {
			return control.Caller{}, fmt.Errorf("the peer's groups: %w: %w", err, fault.Denied)
		}
		caller := control.Caller{
			Kind: control.ByUID, Role: role(cred.Uid, append([]uint32{cred.Gid}, groups...)), UID: int(cred.Uid), GID: int(cred.Gid),
			Name: "#" + strconv.Itoa(int(cred.Uid)), PID: int(cred.Pid), Conn: conns.Add(1),
			Via: fmt.Sprintf("unix pid %d", cred.Pid),
		}
		if u, err := user.LookupId(strconv.Itoa(caller.UID)); err == nil {
			caller.Name = u.Username
		}
		return caller, nil
	}
}

// credentials returns the process and the user that opened the other end of a Unix socket.
func credentials(conn *net.UnixConn) (cred *syscall.Ucred, err error) {
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

// peerGroups returns the supplementary groups of the process that opened the other end
// of a Unix socket, as they were then.
func peerGroups(conn *net.UnixConn) (groups []uint32, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var errno syscall.Errno
	err = raw.Control(func(fd uintptr) {
		groups = make([]uint32, 32)
		for {
			size := uint32(4 * len(groups))
			_, _, errno = syscall.Syscall6(syscall.SYS_GETSOCKOPT, fd, syscall.SOL_SOCKET, unix.SO_PEERGROUPS,
				uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
			known := len(groups)
			groups = groups[:0]
			if errno == syscall.ERANGE && int(size/4) > known {
				groups = make([]uint32, size/4) // the kernel says how many there are
				continue
			}
			if errno == 0 {
				groups = groups[:size/4]
			}
			return
		}
	})
	if err == nil && errno != 0 {
		err = os.NewSyscallError("getsockopt SO_PEERGROUPS", errno)
	}
	return groups, err
}

// TCPPeers knows the peers of a TCP listener, as long as they show no token.
type TCPPeers struct {
	// Role is the role of peers on this machine's loopback interface, who may be any
	// local user, and of peers with a verified TLS certificate. Other peers have no
	// role: over TLS they can show a token, without TLS they are refused.
	Role control.Role
	// Certs maps the common name of a certificate to its role. If Certs is not nil, a
	// peer whose certificate it lacks has no role.
	Certs map[string]control.Role
	// User, UID and GID are those of the user as whom the jobs of these peers run:
	// empty and -1 for no user.
	User     string
	UID, GID int
}

// Authenticate is an [Authenticator].
func (p TCPPeers) Authenticate(conn net.Conn) (control.Caller, error) {
	remote, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return control.Caller{}, fmt.Errorf("the peer at %v has no IP address: %w", conn.RemoteAddr(), fault.Denied)
	}
	c := control.Caller{Kind: control.ByAddress, Name: "nobody", UID: p.UID, GID: p.GID, Via: "tcp " + remote.String()}
	loopback := remote.Addr().Unmap().IsLoopback()
	if loopback {
		c.Name, c.Role = "loopback", p.Role
	}
	if secure, ok := conn.(*tls.Conn); ok {
		if err := secure.Handshake(); err != nil { // the caller has set the connection's deadline
			return control.Caller{}, err
		}
		c.Via = "tls " + remote.String()
		if chains := secure.ConnectionState().VerifiedChains; len(chains) > 0 {
			name := chains[0][0].Subject.CommonName
			c.Kind, c.Name, c.Role = control.ByCertificate, name, p.Role
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
