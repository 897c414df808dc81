package supervisor

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"activationd/internal/fault"
	"activationd/supervisor/wrapper"
)

// A File is a file of the configuration directory of a run.
type File struct {
	Name string // from that directory on, with slashes: platforms/frr.yaml
	Size int64
	Time time.Time // of its last change
}

// Bounds of what Files looks at: a script may have left a tree of any size.
const (
	listedFiles = 1000
	seenEntries = 10_000
	listedDepth = 4
)

// Files implements [Privileged].
func (p *direct) Files(run string) ([]File, error) {
	fd, err := p.openConfig(run)
	if err != nil {
		return nil, err
	}
	return listFiles(fd), nil
}

// listFiles lists the files in a directory, and closes it.
func listFiles(fd int) []File {
	l := lister{left: seenEntries}
	l.dir(fd, "", listedDepth)
	slices.SortFunc(l.files, func(a, b File) int { return cmp.Compare(a.Name, b.Name) })
	return l.files
}

// openConfig opens the configuration directory of a run: the one that is kept, or while the run lasts the
// one that its script has. Nothing but the daemon and the wrapper can replace it.
func (p *direct) openConfig(run string) (fd int, err error) {
	dir, err := p.path(RunDirs, run)
	if err != nil {
		return -1, err
	}
	fd, err = openDir(unix.AT_FDCWD, filepath.Join(dir, wrapper.ConfigDir))
	if !errors.Is(err, fs.ErrNotExist) {
		return fd, err
	}
	f, err := openRegular(filepath.Join(dir, wrapper.LockFile))
	if err != nil {
		return -1, err
	}
	text, err := readAll(f, maxSpec)
	if err != nil {
		return -1, err
	}
	lock, err := wrapper.ParseLock(text)
	if err != nil {
		return -1, err
	}
	if fd, err = openDir(unix.AT_FDCWD, filepath.Join(p.config.ConfigRoot, strconv.Itoa(lock.PID))); err != nil {
		return -1, err
	}
	if held, err := lockHeld(p.config.RunsDir, run); !held || err != nil { // the process id may be another run's by now
		_ = unix.Close(fd)
		return -1, errors.Join(err, fs.ErrNotExist)
	}
	return fd, nil
}

// openDir opens a directory in another one, and follows no link.
func openDir(in int, name string) (fd int, err error) {
	fd, err = unix.Openat(in, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return fd, nil
}

// openFile opens a file of a run's configuration directory. No link is followed, so it is in there. It is refused
// if it has another name, too, which could be anywhere.
func (p *direct) openFile(run, name string) (*os.File, error) {
	parts := strings.Split(name, "/")
	for _, part := range parts {
		if err := checkName(part); err != nil {
			return nil, err
		}
	}
	in, err := p.openConfig(run)
	if err != nil {
		return nil, err
	}
	for _, part := range parts[:len(parts)-1] {
		sub, err := openDir(in, part)
		_ = unix.Close(in)
		if err != nil {
			return nil, err
		}
		in = sub
	}
	defer func() { _ = unix.Close(in) }()
	// A file that is none, such as a pipe, may wait for another process, or do something.
	fd, err := unix.Openat(in, parts[len(parts)-1], unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) {
		return nil, fmt.Errorf("%s is not a regular file: %w", name, fault.Invalid)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || !plainFile(&st) {
		_ = f.Close()
		return nil, fmt.Errorf("%s is not a regular file with one name: %w", name, errors.Join(err, fault.Invalid))
	}
	return f, nil
}

// plainFile reports whether a file is regular and has one name.
func plainFile(st *unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFREG && st.Nlink == 1 }

// A lister lists the files in a tree that openFile would open.
type lister struct {
	files []File
	left  int // how many entries it may still look at
}

// dir lists a directory, and closes it.
func (l *lister) dir(fd int, path string, depth int) {
	f := os.NewFile(uintptr(fd), path)
	defer func() { _ = f.Close() }()
	var subs []string
	for {
		names, err := f.Readdirnames(256)
		for _, name := range names {
			var st unix.Stat_t
			if l.left--; l.left < 0 || len(l.files) >= listedFiles {
				return
			}
			if checkName(name) != nil || unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
				continue
			}
			switch {
			case plainFile(&st):
				l.files = append(l.files, File{Name: path + name, Size: st.Size, Time: time.Unix(st.Mtim.Unix())})
			case st.Mode&unix.S_IFMT == unix.S_IFDIR:
				subs = append(subs, name)
			}
		}
		if err != nil { // also at its end
			break
		}
	}
	for _, name := range subs {
		if sub, err := openDir(fd, name); err == nil && depth > 1 {
			l.dir(sub, path+name+"/", depth-1)
		} else if err == nil {
			_ = unix.Close(sub)
		}
	}
}
