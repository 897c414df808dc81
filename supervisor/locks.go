package supervisor

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"activationd/supervisor/wrapper"
)

// locksDir is the directory, in that of the runs, in which each run's lock has a second
// name. A script that runs as the daemon's user can remove or rename its run's
// directory; by this name it is known all the same whether there was a wrapper, which
// writes its number into the lock first of all, and whether that lives.
const locksDir = ".locks"

func (s *Supervisor) lockName(k Key) string { return s.lockNamed(k.String()) }

func (s *Supervisor) lockNamed(run string) string {
	return filepath.Join(s.config.RunsDir, locksDir, run)
}

// nameLock gives the lock in the directory dir its second name. Where that cannot be, for
// want of hard links say, the first has to do.
func (s *Supervisor) nameLock(k Key, dir int) error {
	name := s.lockName(k)
	err := unix.Linkat(dir, wrapper.LockFile, unix.AT_FDCWD, name, 0)
	switch {
	case errors.Is(err, os.ErrExist): // a namesake's, from before a backup was restored
		if err = unix.Unlink(name); err == nil {
			err = unix.Linkat(dir, wrapper.LockFile, unix.AT_FDCWD, name, 0)
		}
	case errors.Is(err, os.ErrNotExist):
		if err = os.Mkdir(filepath.Dir(name), 0o700); err == nil || errors.Is(err, os.ErrExist) {
			err = unix.Linkat(dir, wrapper.LockFile, unix.AT_FDCWD, name, 0)
		}
	}
	if lacking(err) {
		return err
	}
	return nil
}

// dropLock takes away the second name.
func (s *Supervisor) dropLock(k Key) { _ = unix.Unlink(s.lockName(k)) } // it may have none

// lockHeld reports whether somebody holds the lock of a run. If nobody does, nobody
// will again.
func (s *Supervisor) lockHeld(k Key) (bool, error) { return s.nameHeld(k.String()) }

// nameHeld is lockHeld for the name of a run's directory.
func (s *Supervisor) nameHeld(run string) (bool, error) {
	for _, name := range []string{s.lockNamed(run), filepath.Join(s.config.RunsDir, run, wrapper.LockFile)} {
		if held, err := fileHeld(name); held || err != nil {
			return held, err
		}
	}
	return false, nil
}

// fileHeld reports whether somebody holds a lock. What cannot be opened as one is none
// any more.
func fileHeld(name string) (bool, error) {
	fd, err := unix.Open(name, unix.O_RDWR|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if lacking(err) {
		return false, err
	}
	if err != nil {
		return false, nil
	}
	defer func() { _ = unix.Close(fd) }()
	err = unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB)
	if err == unix.EWOULDBLOCK {
		return true, nil
	}
	return false, err
}

// readLock returns what the wrapper has written into a run's lock. It is an error if
// there was none.
func (s *Supervisor) readLock(k Key) (wrapper.Lock, error) {
	data, err := readFile(s.lockName(k), maxRunFile)
	if err == nil {
		if l, err := wrapper.ParseLock(data); err == nil {
			return l, nil
		}
	}
	if data, err = readRunFile(s.RunDir(k), wrapper.LockFile); err != nil {
		return wrapper.Lock{}, err
	}
	return wrapper.ParseLock(data)
}
