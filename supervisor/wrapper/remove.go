package wrapper

import (
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// RemoveTree removes name, a file or a directory with all that is in it, from the
// directory dir. If it is missing, that is no error. Its owner may have left
// anything, and may still change it. So no link is followed, no mounted file system is
// entered, and neither depth nor width takes memory, stack or
// more than four descriptors. RemoveTree calls stop at each entry. When stop returns true,
// RemoveTree returns an error, and can be called again to go on.
func RemoveTree(dir, name string, stop func() bool) error {
	fd, err := openat(unix.AT_FDCWD, dir, syscall.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer closeFD(fd)
	return removeAt(fd, name, stop)
}

func removeAt(parent int, name string, stop func() bool) error {
	if err := unlink(parent, name); err != syscall.ENOTEMPTY {
		return err
	}
	top, err := openOwn(parent, name)
	if err != nil {
		return err
	}
	defer closeFD(top)
	for r := (remover{top: top, stop: stop}); ; {
		r.progress, r.err = false, nil
		r.entries(top, r.tree)
		switch err := unlink(parent, name); {
		case err == nil:
			return nil
		case r.stopped:
			return syscall.ECANCELED
		case !r.progress:
			return first(r.err, err)
		}
	}
}

// A remover empties the directory top. It moves deeper directories up into top, so the
// tree becomes ever flatter, even if another remover has to go on.
type remover struct {
	top      int
	number   int // the last name that was given to a directory in top
	stop     func() bool
	stopped  bool
	progress bool  // something was removed or moved
	err      error // the first fault
}

func first(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// unlink removes a file or an empty directory. It returns ENOTEMPTY for a directory that
// is not empty, and EBUSY for one on which something is mounted.
func unlink(dir int, name string) error {
	err := unix.Unlinkat(dir, name, 0)
	if err == nil || err == syscall.ENOENT {
		return nil
	}
	switch e := unix.Unlinkat(dir, name, unix.AT_REMOVEDIR); {
	case e == nil || e == syscall.ENOENT:
		return nil
	case e == syscall.EEXIST: // from some file systems
		return syscall.ENOTEMPTY
	case e == syscall.ENOTDIR:
		return err
	default:
		return e
	}
}

// entries calls do for each name in a directory; it may miss names that come or go
// meanwhile.
func (r *remover) entries(dir int, do func(name string)) {
	buf := make([]byte, 8<<10)
	if _, err := unix.Seek(dir, 0, 0); err != nil {
		r.err = first(r.err, err)
		return
	}
	for {
		n, err := syscall.ReadDirent(dir, buf)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			r.err = first(r.err, err)
			return
		}
		_, _, names := syscall.ParseDirent(buf[:n], -1, nil)
		for _, name := range names {
			if r.stopped = r.stopped || r.stop(); r.stopped {
				return
			}
			do(name)
		}
	}
}

// maxTodo bounds how many directories are remembered; the others are found again.
const maxTodo = 1000

// tree removes an entry of top, and the directories that were moved up meanwhile.
func (r *remover) tree(name string) {
	for todo := []string{name}; len(todo) > 0 && !r.stopped; {
		name := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		err := unlink(r.top, name)
		if err == syscall.ENOTEMPTY {
			var dir int
			if dir, err = openOwn(r.top, name); err == nil {
				r.entries(dir, func(sub string) {
					if up := r.entry(dir, sub); up != "" && len(todo) < maxTodo {
						todo = append(todo, up)
					}
				})
				closeFD(dir)
				err = unlink(r.top, name)
			}
		}
		r.did(err)
	}
}

func (r *remover) did(err error) {
	r.progress = r.progress || err == nil
	r.err = first(r.err, err)
}

// entry removes an entry of a directory in top, or moves the entry up into top and
// returns its name there.
func (r *remover) entry(dir int, name string) (up string) {
	err := unlink(dir, name)
	for err == syscall.ENOTEMPTY && !r.stopped {
		r.number++
		up = strconv.Itoa(r.number)
		err = renameOwn(dir, name, r.top, up)
		if err == syscall.EEXIST || err == syscall.ENOTDIR { // that name is taken
			err = syscall.ENOTEMPTY
		}
		r.stopped = r.stopped || r.stop()
	}
	if r.did(err); err != nil {
		return ""
	}
	return up
}

// renameOwn moves a directory. Only root can move a read-only directory, so others make it
// writable first.
func renameOwn(from int, old string, to int, name string) error {
	err := unix.Renameat(from, old, to, name)
	if err != syscall.EACCES {
		return err
	}
	fd, err := openOwn(from, old)
	if err != nil {
		return err
	}
	closeFD(fd)
	return unix.Renameat(from, old, to, name)
}

// openOwn opens a directory that is to be emptied, and makes it writable for its owner.
func openOwn(parent int, name string) (int, error) {
	const flags = syscall.O_RDONLY | syscall.O_DIRECTORY | syscall.O_NOFOLLOW
	fd, err := openat(parent, name, flags, 0)
	if err == syscall.EACCES {
		path, e := openat(parent, name, unix.O_PATH|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
		if e != nil {
			return -1, err
		}
		e = syscall.Chmod("/proc/self/fd/"+strconv.Itoa(path), 0o700)
		closeFD(path)
		if e != nil {
			return -1, err
		}
		fd, err = openat(parent, name, flags, 0)
	}
	if err == nil {
		_ = unix.Fchmod(fd, 0o700) // if that fails, the removal reports it
	}
	return fd, err
}
