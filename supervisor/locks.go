package supervisor

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"activationd/supervisor/wrapper"
)

// locksDir is the directory in RunsDir in which each run's lock has a second name. A
// script that runs as the daemon's user can remove or rename its run's directory. The
// second name still shows whether there was a wrapper, which first of all writes its
// process id into the lock, and whether the wrapper lives.
const locksDir = ".locks"

func (s *Supervisor) lockName(k Key) string { return secondName(s.config.RunsDir, k.String()) }

func secondName(runsDir, run string) string { return filepath.Join(runsDir, locksDir, run) }

// nameLock gives the lock in the directory dir its second name. If that is impossible,
// for example because the file system has no hard links, the first name has to do.
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

// dropLock removes the second name.
func (s *Supervisor) dropLock(k Key) { _ = unix.Unlink(s.lockName(k)) } // it may have none

// lockHeld reports whether a process holds the lock of a run. If none does, none
// will again.
func lockHeld(runsDir, run string) (bool, error) {
	for _, name := range []string{secondName(runsDir, run), filepath.Join(runsDir, run, wrapper.LockFile)} {
		if held, err := fileHeld(name); held || err != nil {
			return held, err
		}
	}
	return false, nil
}

// fileHeld reports whether a process holds a lock. A file that cannot be opened is not a
// lock any more.
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
// there was no wrapper.
func (s *Supervisor) readLock(k Key) (wrapper.Lock, error) {
	if f, err := openRegular(s.lockName(k)); err == nil {
		if data, err := readAll(f, maxRunFile); err == nil {
			if l, err := wrapper.ParseLock(data); err == nil {
				return l, nil
			}
		}
	}
	data, err := s.readRunFile(k, wrapper.LockFile)
	if err != nil {
		return wrapper.Lock{}, err
	}
	return wrapper.ParseLock(data)
}
