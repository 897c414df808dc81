package spawn

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"activationd/internal/fault"
	"activationd/internal/trust"
)

// Listen makes a spawner's socket, to which only one user can connect. It replaces one that is there.
func Listen(path string, uid int) (fd int, err error) {
	if err := trust.Check(filepath.Dir(path)); err != nil {
		return -1, fmt.Errorf("the spawner's socket: %w: %w", err, fault.Invalid)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == os.ModeSocket {
		if err := os.Remove(path); err != nil {
			return -1, err
		}
	}
	fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	old := unix.Umask(0o177)
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	unix.Umask(old)
	if err == nil {
		err = errors.Join(os.Lchown(path, uid, -1), unix.Listen(fd, 16))
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("%s: %w", path, err)
	}
	return fd, nil
}
