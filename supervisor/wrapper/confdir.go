package wrapper

import (
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// AsideInfix is in the name of a configuration directory that was moved aside.
const AsideInfix = ".old-"

// moveAside moves the configuration directory of an earlier process with this id to where the daemon finds it.
func (w *run) moveAside(dir string) error {
	aside := dir + AsideInfix + strconv.Itoa(int(boottime()))
	if err := renameMounted(unix.AT_FDCWD, dir, unix.AT_FDCWD, aside); err != nil {
		return err
	}
	w.note("the configuration directory of an earlier process with this id was moved to " + aside)
	return nil
}

// Bounds of a copy of a configuration directory to another file system, and of the number
// of entries that are removed from directories too deep to be copied.
const (
	saveBytes  = 64 << 20
	saveFiles  = 10_000
	saveDepth  = 32
	maxRemoved = 1 << 20
)

// SaveConfig moves the configuration directory at path into the run directory
// runDir, under the name ConfigDir. To another file system the directory is copied, within
// bounds. Files that exceed them are left out, and that is an error, but the configuration
// directory is removed all the same. It is also removed if the run directory is gone, or
// has something else under that name. A missing configuration directory is no error.
//
// On the same file system an empty directory is moved, too: ext4 does not reuse the
// number of a removed inode for a minute or more, and skips all
// these whenever it makes an inode. With a thousand runs that would take noticeable time.
func SaveConfig(path string, runDir int) error {
	if path == "" {
		return nil
	}
	err := renameMounted(unix.AT_FDCWD, path, runDir, ConfigDir)
	switch {
	case err == nil:
		return nil
	case err == syscall.ENOENT: // one of the two directories is gone
		return removePath(path)
	case err != syscall.EXDEV:
		return first(err, removePath(path))
	case syscall.Rmdir(path) == nil:
		return nil // it was empty, so there is nothing to keep
	}
	from, err := openat(unix.AT_FDCWD, path, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err == syscall.ENOENT {
		return nil
	}
	if err != nil {
		return err
	}
	m := mover{bytes: saveBytes, files: saveFiles}
	m.dir(from, runDir, ConfigDir, saveDepth)
	closeFD(from)
	if err := syscall.Rmdir(path); err != nil && m.err == nil {
		m.err = err
	}
	return m.err
}

// removePath removes a configuration directory that is not kept.
func removePath(path string) error {
	dir, name := ".", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		dir, name = path[:i+1], path[i+1:]
	}
	number := 0
	return RemoveTree(dir, name, func() bool {
		number++
		return number > maxRemoved
	})
}

// renameMounted renames a configuration directory, even if something is mounted
// on it. Its owner can mount something there if FUSE is available, and the directory would
// be in the way of the next one of that name. Only the daemon can change the name itself.
func renameMounted(from int, old string, to int, name string) error {
	const most = 16 // mounts, one on the other
	for range most {
		if err := unix.Renameat(from, old, to, name); err != syscall.EBUSY {
			return err
		}
		if err := unix.Unmount(old, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return err
		}
	}
	return syscall.EBUSY
}

// A mover moves a tree to another file system, and remembers the first error.
// It follows no symbolic link: any user may own the tree, and the mover may run as
// root.
type mover struct {
	bytes, files int64
	err          error
}

func (m *mover) fault(err error) bool {
	if err != nil && m.err == nil {
		m.err = err
	}
	return err != nil
}

// dir moves the entries of the directory from into a new directory in to.
func (m *mover) dir(from, to int, name string, depth int) {
	into := -1
	if m.bytes > 0 && m.files > 0 && depth > 0 && !m.fault(unix.Mkdirat(to, name, 0o700)) {
		fd, err := openat(to, name, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
		if !m.fault(err) {
			into = fd
			defer closeFD(fd)
		}
	}
	for _, name := range m.names(from) {
		m.entry(from, into, name, depth)
	}
}

// names lists a directory, and makes it writable so that its entries can be removed.
func (m *mover) names(dir int) []string {
	_ = unix.Fchmod(dir, 0o700) // it may be read-only; if not even its owner can do that, the removal reports it
	names, err := readNames(dir)
	m.fault(err)
	return names
}

// remove removes the directory name in from, however deep it is. It does not go on forever
// if a leftover process keeps making new entries.
func (m *mover) remove(from int, name string) {
	number := 0
	m.fault(removeAt(from, name, func() bool {
		number++
		return number > maxRemoved
	}))
}

func (m *mover) entry(from, into int, name string, depth int) {
	var st unix.Stat_t
	if m.fault(unix.Fstatat(from, name, &st, unix.AT_SYMLINK_NOFOLLOW)) {
		return
	}
	m.files--
	switch kind := st.Mode & unix.S_IFMT; {
	case kind == unix.S_IFDIR && depth <= 0:
		m.fault(syscall.EFBIG)
		m.remove(from, name)
		return
	case kind == unix.S_IFDIR:
		sub, err := openat(from, name, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
		if !m.fault(err) {
			m.dir(sub, into, name, depth-1)
			closeFD(sub)
		}
		m.fault(unix.Unlinkat(from, name, unix.AT_REMOVEDIR))
		return
	case into < 0 || m.files < 0 || st.Size > m.bytes:
		m.fault(syscall.EFBIG)
	case kind == unix.S_IFREG:
		m.bytes -= st.Size
		m.file(from, into, name, st.Size)
	case kind == unix.S_IFLNK:
		target := make([]byte, 4096)
		if n, err := unix.Readlinkat(from, name, target); !m.fault(err) {
			m.fault(unix.Symlinkat(string(target[:n]), into, name))
		}
	} // sockets, fifos and devices are not kept
	m.fault(unix.Unlinkat(from, name, 0))
}

func (m *mover) file(from, into int, name string, size int64) {
	in, err := openat(from, name, syscall.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if m.fault(err) {
		return
	}
	defer closeFD(in)
	out, err := openat(into, name, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_EXCL, 0o600)
	if m.fault(err) {
		return
	}
	defer closeFD(out)
	buf := make([]byte, 64<<10)
	for size > 0 {
		n, err := read(in, buf[:min(int64(len(buf)), size)])
		if m.fault(err) || n == 0 {
			return
		}
		if _, err := writeAll(out, buf[:n]); m.fault(err) {
			return
		}
		size -= int64(n)
	}
}
