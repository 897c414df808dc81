package supervisor

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"activationd/internal/fault"
	"activationd/supervisor/wrapper"
)

// sockets are the listening sockets that the daemon has open for its runs, by address. Runs
// with the same address share a socket. It stays open while no run has it, until
// [Supervisor.CloseSockets] closes it.
type sockets struct {
	mu   sync.Mutex
	open map[string]socket
}

// A socket is open. The file of a Unix socket belongs to a user and a group.
type socket struct{ fd, uid, gid int }

// CheckAddress returns an error of kind fault.Invalid unless a socket can listen at an address:
// the absolute path of a Unix socket, or HOST:PORT, where the host is an IP address, localhost,
// which is 127.0.0.1, or empty, which is all addresses of IPv4 and IPv6. There are no other
// names: to look one up takes time, and it could be another address the next time.
func CheckAddress(address string) error {
	if isPath(address) {
		switch {
		case filepath.Clean(address) != address || address == "/":
			return fmt.Errorf("%q: want the path of a Unix socket without . and .., and without a / at the end: %w", address, fault.Invalid)
		case len(address) > maxSocketPath:
			return fmt.Errorf("%q: the path of a Unix socket has at most %d bytes: %w", address, maxSocketPath, fault.Invalid)
		case strings.Contains(address, "\x00"):
			return fmt.Errorf("%q has a zero byte in it: %w", address, fault.Invalid)
		}
		return nil
	}
	_, err := parseAddress(address)
	return err
}

// maxSocketPath is the longest path that a Unix socket can have on Linux.
const maxSocketPath = 107

func isPath(address string) bool { return strings.HasPrefix(address, "/") }

// parseAddress reads HOST:PORT. The address of all hosts is the zero one.
func parseAddress(address string) (to netip.AddrPort, err error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return to, fmt.Errorf("want HOST:PORT or the path of a Unix socket, have %q: %w", address, fault.Invalid)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || port[0] == '0' {
		return to, fmt.Errorf("want a port from 1 to 65535, have %q in %q: %w", port, address, fault.Invalid)
	}
	var addr netip.Addr
	switch host {
	case "":
	case "localhost":
		addr = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	default:
		if addr, err = netip.ParseAddr(host); err != nil {
			return to, fmt.Errorf("want an IP address, localhost or nothing before the port, have %q in %q: a name could be another address the next time: %w", host, address, fault.Invalid)
		}
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), nil
}

// forRun returns descriptors of the sockets that a run is given, and opens those that are not
// open. The caller closes the descriptors. If not all can be opened, none is: the daemon may lack
// descriptors, and others need them.
func (s *Supervisor) forRun(spec *wrapper.Spec) (fds []int, err error) {
	s.sockets.mu.Lock()
	defer s.sockets.mu.Unlock()
	var opened []string
	for _, address := range spec.Addresses {
		if _, open := s.sockets.open[address]; !open {
			opened = append(opened, address)
		}
		fd, err := s.openLocked(address, spec.UID, spec.GID)
		if err != nil {
			closeAll(fds)
			opened = slices.DeleteFunc(opened, func(a string) bool { _, open := s.sockets.open[a]; return !open })
			_, errClose := s.closeLocked(opened, nil, true)
			return nil, fmt.Errorf("listen: %w", errors.Join(err, errClose))
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

func (s *Supervisor) openLocked(address string, uid, gid int) (dup int, err error) {
	is, open := s.sockets.open[address]
	if replace := open && isPath(address) && (is.uid != uid || is.gid != gid); !open || replace {
		now := socket{uid: uid, gid: gid}
		if now.fd, err = s.privileged.Listen(address, uid, gid, replace); err != nil {
			return -1, err
		}
		if open {
			_ = unix.Close(is.fd)
		}
		s.sockets.open[address], is = now, now
	}
	return unix.FcntlInt(uintptr(is.fd), unix.F_DUPFD_CLOEXEC, 0)
}

// takeBack takes the sockets of a run of an earlier daemon from its wrapper, unless they are
// open already. If that is not possible, the next run of the instance opens new ones, when no
// other run has them. An error is of kind fault.Unavailable: there are no descriptors now.
func (s *Supervisor) takeBack(k Key, pidfd int, spec *wrapper.Spec) error {
	s.sockets.mu.Lock()
	defer s.sockets.mu.Unlock()
	missing := func(address string) bool { _, open := s.sockets.open[address]; return !open }
	if !slices.ContainsFunc(spec.Addresses, missing) {
		return nil
	}
	fds, err := s.privileged.Kept(pidfd, 0, len(spec.Addresses))
	switch {
	case lacking(err):
		return err
	case err != nil && !errors.Is(err, unix.ESRCH):
		s.config.Log.Error("cannot take back the sockets of a run"+hintKept(err), "run", k, "err", err)
	}
	for i, fd := range fds {
		if address := spec.Addresses[i]; missing(address) {
			s.sockets.open[address] = socket{fd, spec.UID, spec.GID}
		} else {
			_ = unix.Close(fd)
		}
	}
	return nil
}

// hintKept says what to do if what a wrapper keeps cannot be taken back.
func hintKept(err error) string {
	if errors.Is(err, unix.EPERM) {
		return ": the daemon needs the capability CAP_SYS_PTRACE, or kernel.yama.ptrace_scope must be 0"
	}
	return ""
}

// CloseSockets closes the sockets that nobody needs, and removes the files of Unix sockets. Look
// returns the addresses that are needed, and others at which sockets may have been opened, also
// by earlier daemons. Closed are those at which nobody listens any more, even if a run still has
// the socket; the error says which files are left. A Start that comes meanwhile waits; it opens
// what has just been closed.
func (s *Supervisor) CloseSockets(look func() (needed, noted []string, err error)) (closed []string, err error) {
	s.sockets.mu.Lock()
	defer s.sockets.mu.Unlock()
	needed, noted, err := look()
	if err != nil {
		return nil, err
	}
	return s.closeLocked(slices.AppendSeq(noted, maps.Keys(s.sockets.open)), needed, true)
}

// closeLocked closes the sockets at some addresses, except those that are needed. If it knows of
// all runs, nobody listens there any more, whoever has a descriptor: a process that is just
// being started has all of this one's.
func (s *Supervisor) closeLocked(addresses, needed []string, allKnown bool) (closed []string, err error) {
	for _, address := range slices.Compact(slices.Sorted(slices.Values(addresses))) {
		if slices.Contains(needed, address) {
			continue
		}
		if is, open := s.sockets.open[address]; open {
			if allKnown {
				_ = unix.Shutdown(is.fd, unix.SHUT_RDWR)
			}
			_ = unix.Close(is.fd)
			delete(s.sockets.open, address)
		}
		if isPath(address) {
			e := s.privileged.RemoveSocket(address)
			if err = errors.Join(err, e); e != nil && !errors.Is(e, fault.Denied) { // that stays so
				continue
			}
		}
		closed = append(closed, address)
	}
	return closed, err
}

// addresses are those at which runs listen.
func (s *Supervisor) addresses() (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.runs {
		if f != nil && f.spec != nil {
			all = append(all, f.spec.Addresses...)
		}
	}
	return all
}

// letGo closes all sockets at the end of the daemon. Those of runs stay open in their wrappers,
// also of runs of which this daemon has not learned yet.
func (s *Supervisor) letGo() {
	s.sockets.mu.Lock()
	defer s.sockets.mu.Unlock()
	if _, err := s.closeLocked(slices.Collect(maps.Keys(s.sockets.open)), s.addresses(), false); err != nil {
		s.config.Log.Error("cannot remove the file of a socket", "err", err)
	}
	for _, is := range s.sockets.open {
		_ = unix.Close(is.fd)
	}
	clear(s.sockets.open)
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}
