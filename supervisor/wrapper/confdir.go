package wrapper

import (
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// AsideInfix is in the name of a configuration directory that was moved aside.
const AsideInfix = ".old-"

// makeConfigDir makes the configuration directory named by the wrapper's
// process id. One that is there already is a dead namesake's: it is moved
// aside, for the daemon to find, and never used.
func (w *run) makeConfigDir() error {
	root := w.spec.ConfigRoot
	if root == "" {
		return nil
	}
	dir := root + "/" + strconv.Itoa(w.result.WrapperPID)
	err := syscall.Mkdir(dir, 0o700)
	if err == syscall.EEXIST {
		aside := dir + AsideInfix + strconv.Itoa(int(boottime()))
		if err := renameMounted(unix.AT_FDCWD, dir, unix.AT_FDCWD, aside); err != nil {
			return err
		}
		w.note("a dead namesake's configuration directory was moved to " + aside)
		err = syscall.Mkdir(dir, 0o700)
	}
	if err != nil {
		return err
	}
	w.configDir = dir
	if err := w.copyTopology(); err != nil {
		return err
	}
	return w.own(dir)
}

// own gives a file to the script's user.
func (w *run) own(path string) error {
	if w.spec.UID < 0 && w.spec.GID < 0 {
		return nil
	}
	return syscall.Chown(path, w.spec.UID, w.spec.GID)
}

// maxTopology bounds what is read as one.
const maxTopology = 16 << 20

// copyTopology puts the topology, if there is one, where the script can read it.
func (w *run) copyTopology() error {
	if !w.spec.hasTopology {
		return nil
	}
	data, err := readFile(dirFD, TopologyFile, maxTopology)
	if err != nil {
		return err
	}
	path := w.configDir + "/" + ConfigTopology
	fd, err := syscall.Open(path, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_EXCL|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer closeFD(fd)
	if _, err := writeAll(fd, []byte(data)); err != nil {
		return err
	}
	w.topology = path
	return w.own(path)
}

// Bounds of a copy of a configuration directory to another file system, and of
// how much is removed of what was too deep for one.
const (
	saveBytes  = 64 << 20
	saveFiles  = 10_000
	saveDepth  = 32
	maxRemoved = 1 << 20
)

// SaveConfig moves the configuration directory at path into the run directory
// runDir, under the name ConfigDir. To another file system it is copied, within
// bounds; what exceeds them is left out, which is an error, but the directory
// is removed all the same. So it is when the run directory is not there any more, or
// has something else under that name. One that is not there is no error.
//
// On the same file system also an empty one is moved: ext4 does not use the
// number of a removed inode for a minute or more, and searches on past all of
// these whenever it makes one, which a thousand runs would feel.
func SaveConfig(path string, runDir int) error {
	if path == "" {
		return nil
	}
	err := renameMounted(unix.AT_FDCWD, path, runDir, ConfigDir)
	switch {
	case err == nil:
		return nil
	case err == syscall.ENOENT: // the one directory, or the other
		return removePath(path)
	case err != syscall.EXDEV:
		return first(err, removePath(path))
	case syscall.Rmdir(path) == nil:
		return nil // it was empty, which is no evidence
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

// removePath removes a configuration directory that nobody keeps.
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

// renameMounted renames a configuration directory, also if something is mounted
// on it: its owner may do that where FUSE is to be had, and it would be in the way
// of who gets its name next. The name itself only the daemon can change.
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

// A mover moves a tree to another file system, and remembers its first fault.
// It follows no symbolic link: the tree's owner may be anybody, and it may be
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

// dir moves what is in the directory from into a new directory of to.
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

// names lists a directory, and sees to it that what is in it can be removed.
func (m *mover) names(dir int) (names []string) {
	_ = unix.Fchmod(dir, 0o700) // it may be read-only; if not even its owner can do that, the removal tells
	buf := make([]byte, 8<<10)
	for {
		n, err := syscall.ReadDirent(dir, buf)
		if m.fault(err) || n <= 0 {
			return names
		}
		_, _, names = syscall.ParseDirent(buf[:n], -1, names)
	}
}

// remove removes the directory name of from, however deep it is. A process that was
// left alive and makes ever more of it does not hold that up for ever.
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
	} // sockets, fifos and devices are no evidence
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
