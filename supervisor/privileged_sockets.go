package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"activationd/internal/fault"
	"activationd/internal/trust"
	"activationd/supervisor/wrapper"
)

// Kept implements [Privileged].
func (p *direct) Kept(pidfd, skip, n int) (fds []int, err error) {
	for i := range n {
		fd, err := unix.PidfdGetfd(pidfd, wrapper.FirstSocket+skip+i, 0)
		if err != nil {
			closeAll(fds)
			return nil, os.NewSyscallError("pidfd_getfd", err)
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

// Listen implements [Privileged]. The socket blocks, as sd_listen_fds(3) has it, and is
// a plain one of TCP: package net would make one of Multipath TCP that does not block.
func (p *direct) Listen(address string, uid, gid int, replace bool) (fd int, err error) {
	if err := CheckAddress(address); err != nil {
		return -1, err
	}
	var family int
	var to unix.Sockaddr
	if isPath(address) {
		family, to = unix.AF_UNIX, &unix.SockaddrUnix{Name: address}
		if err := freePath(address, uid, gid, replace); err != nil {
			return -1, err
		}
	} else if family, to, err = sockaddr(address); err != nil {
		return -1, err
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EAFNOSUPPORT) && family == unix.AF_INET6 {
		if a, _ := parseAddress(address); !a.Addr().IsValid() { // all addresses, on a machine without IPv6
			family, to = unix.AF_INET, &unix.SockaddrInet4{Port: int(a.Port())}
			fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		}
	}
	if err != nil {
		return -1, fmt.Errorf("%s: %w: %w", address, os.NewSyscallError("socket", err), kind(err))
	}
	switch family {
	case unix.AF_UNIX:
		err = asOwner(address, uid, gid, func() error { return unix.Bind(fd, to) })
	case unix.AF_INET6:
		only := 1
		if a, _ := parseAddress(address); a.Addr().IsUnspecified() || !a.Addr().IsValid() {
			only = 0
		}
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only)
		fallthrough
	default:
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		}
		if err == nil {
			err = unix.Bind(fd, to)
		}
	}
	if err == nil {
		err = unix.Listen(fd, backlog)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, whyNot(address, err)
	}
	return fd, nil
}

// backlog is how many connections can wait, if net.core.somaxconn does not allow fewer.
const backlog = 1 << 15

// sockaddr returns where a socket of TCP is bound.
func sockaddr(address string) (family int, to unix.Sockaddr, err error) {
	a, err := parseAddress(address)
	if err != nil {
		return 0, nil, err
	}
	if a.Addr().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}, nil
	}
	six := &unix.SockaddrInet6{Port: int(a.Port())}
	if a.Addr().IsValid() {
		six.Addr = a.Addr().As16()
	}
	if zone := a.Addr().Zone(); zone != "" {
		i, err := net.InterfaceByName(zone)
		if err != nil {
			return 0, nil, fmt.Errorf("%s: there is no network interface %s (yet): %w: %w", address, zone, err, fault.Unavailable)
		}
		six.ZoneId = uint32(i.Index)
	}
	return unix.AF_INET6, six, nil
}

// whyNot says why nobody can listen at an address, and what to do.
func whyNot(address string, err error) error {
	_, port, _ := net.SplitHostPort(address)
	dir := filepath.Dir(address)
	k, hint := kind(err), ""
	switch {
	case errors.Is(err, unix.EADDRINUSE) && !isPath(address):
		k, hint = fault.Conflict, "; `ss -ltnp sport = :"+port+"` shows which program listens there: stop it, or change listen"
	case errors.Is(err, unix.EADDRINUSE):
		k, hint = fault.Conflict, "; another program makes files there: stop it, or change listen"
	case errors.Is(err, unix.EADDRNOTAVAIL):
		k, hint = fault.Unavailable, "; this machine does not have that address: wait for it, or change listen"
	case errors.Is(err, unix.EACCES) && !isPath(address):
		k, hint = fault.Denied, "; a daemon that is not root needs the capability CAP_NET_BIND_SERVICE for this port"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		k, hint = fault.Denied, "; the file is made with the rights of the service's user, unless only root can change the directory: give "+dir+" to one of them"
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		k, hint = fault.NotFound, "; make the directory "+dir+" first"
	}
	return fmt.Errorf("%s: %w%s: %w", address, err, hint, k)
}

// freePath makes sure that a Unix socket can be made at a path: it removes one at which nobody
// listens any more, or, to replace it, at which we listen, and no other file.
func freePath(path string, uid, gid int, replace bool) error {
	state, err := lookAt(path)
	switch {
	case err != nil:
		return err
	case state == otherFile:
		return fmt.Errorf("%s is there and is not a Unix socket: move it away, or change listen: %w", path, fault.Conflict)
	case state == used && !replace:
		return fmt.Errorf("%s: another program listens there; `ss -lxp src %s` shows which one: stop it, or change listen: %w", path, path, fault.Conflict)
	case state == absent:
		return nil
	}
	return unlink(path, uid, gid)
}

// RemoveSocket implements [Privileged].
func (p *direct) RemoveSocket(path string) error {
	state, err := lookAt(path)
	if err != nil || state != unused {
		return err
	}
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return whyNot(path, err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: its owner is not known: %w", path, fault.Internal)
	}
	if err := trust.Check(filepath.Dir(path)); err != nil && st.Uid == 0 { // it could be any socket of root's
		return fmt.Errorf("%s: remove it yourself: %w: %w", path, err, fault.Denied)
	}
	return unlink(path, int(st.Uid), int(st.Gid))
}

func unlink(path string, uid, gid int) error {
	err := asOwner(path, uid, gid, func() error { return os.Remove(path) })
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the file of a Unix socket at which nobody listens any more: %w", whyNot(path, err))
	}
	return nil
}

// What can be at the path of a Unix socket.
type pathState uint8

const (
	absent    pathState = iota
	unused              // a socket at which nobody listens
	used                // a socket at which somebody listens
	otherFile           // no socket
)

// lookAt finds out what is at a path. It connects to a socket, and does not wait.
func lookAt(path string) (pathState, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return absent, nil
	case err != nil:
		return absent, whyNot(path, err)
	case info.Mode().Type() != fs.ModeSocket:
		return otherFile, nil
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return used, fmt.Errorf("%s: %w: %w", path, os.NewSyscallError("socket", err), kind(err))
	}
	defer func() { _ = unix.Close(fd) }()
	switch err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); {
	case errors.Is(err, unix.ECONNREFUSED):
		return unused, nil
	case errors.Is(err, unix.ENOENT):
		return absent, nil
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return used, fmt.Errorf("%s: the daemon may not look whether a program listens there: %w: %w", path, err, fault.Denied)
	}
	return used, nil // it accepts, its backlog is full, or it is a socket of another kind
}

// socketMask makes files of Unix sockets that their user and group can connect to.
const socketMask = 0o117

// asOwner calls fn, which makes or removes the file of a Unix socket, so that a user could not
// misuse the daemon's rights by links on the way to it: fn may do what that user may. If only
// root can change that way, it may do what root may, so a socket can be in /run. A file that fn
// makes belongs to the user and the group from its first moment on: if its owner were changed
// afterwards, somebody could put another file there first. -1 is the daemon's own user.
func asOwner(path string, uid, gid int, fn func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // it is not unlocked: the thread, which is changed, ends with the goroutine
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_FS); err != nil { // the umask is this thread's then
				return err
			}
			unix.Umask(socketMask)
			if os.Geteuid() == 0 && uid >= 0 {
				trusted := trust.Check(filepath.Dir(path)) == nil
				if err := becomeOnDisk(uid, gid, trusted); err != nil {
					return err
				}
			}
			return fn()
		}()
	}()
	return <-done
}

// becomeOnDisk makes this thread the user and the group for whom files are made. Everywhere
// says whether it can still make them in directories where that user cannot.
func becomeOnDisk(uid, gid int, everywhere bool) error {
	if err := unix.Setfsgid(gid); err != nil {
		return err
	}
	if err := unix.Setfsuid(uid); err != nil { // takes the rights of root over files
		return err
	}
	if !everywhere {
		return nil
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&head, &caps[0]); err != nil {
		return err
	}
	caps[0].Effective |= caps[0].Permitted & (1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FOWNER)
	return unix.Capset(&head, &caps[0])
}
