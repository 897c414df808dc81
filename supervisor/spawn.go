package supervisor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"activationd/internal/fault"
	"activationd/supervisor/wrapper"
)

// mark returns a value of ACTIVATION_RUN that no other run has or ever had.
func (s *Supervisor) mark(k Key) string { return s.markStem(k) + rand.Text()[:16] }

// markStem returns what the marks of a run begin with. Another daemon's run of the same
// name has another stem.
func (s *Supervisor) markStem(k Key) string { return k.String() + "-" + s.place + "-" }

// placeOf returns a text that identifies a directory on this machine.
func placeOf(dir *os.File) (string, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return "", err
	}
	return placeText(&st), nil
}

func placeText(st *unix.Stat_t) string {
	return strconv.FormatUint(st.Dev, 36) + "." + strconv.FormatUint(st.Ino, 36)
}

// spawn makes the run's directory and starts its wrapper.
func (s *Supervisor) spawn(k Key, spec *wrapper.Spec, passed []int) (w Child, err error) {
	dir := s.RunDir(k)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return w, fmt.Errorf("directory of run %v: %w: %w", k, err, kind(err))
	}
	d, err := openRunDir(dir, spec, s.null)
	if err == nil {
		err = s.nameLock(k, d.fd)
	}
	if err == nil && spec.Notify {
		err = s.watch(k, s.notice)
	}
	if err == nil {
		files := d.files()
		files.Passed = passed
		w, err = s.privileged.Start(spec.Mark, files)
	}
	d.close()
	if err != nil {
		s.dropLock(k)
		if rest := s.privileged.Remove(context.Background(), RunDirs, k.String()); rest != nil {
			s.config.Log.Error("cannot remove the directory of a run that did not start", "run", k, "err", rest)
		}
		return w, fmt.Errorf("start of run %v: %w: %w", k, err, kind(err))
	}
	return w, nil
}

// kind classifies an error of the operating system: whether trying again may help.
func kind(err error) fault.Kind {
	for _, e := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE, syscall.EAGAIN, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return fault.Unavailable
		}
	}
	if errors.Is(err, os.ErrExist) {
		return fault.Conflict
	}
	return fault.Internal
}

// A runDir is a run's directory, with the descriptors that its wrapper is given.
type runDir struct {
	fd, lock, log, stdin int // stdin: -1 if it is null
	null                 int
}

// openRunDir fills the new directory at path. It takes the lock before it writes
// anything else.
func openRunDir(path string, spec *wrapper.Spec, null *os.File) (d *runDir, err error) {
	d = &runDir{-1, -1, -1, -1, int(null.Fd())}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if d.fd, err = unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return d, err
	}
	const create = unix.O_CREAT | unix.O_EXCL | unix.O_CLOEXEC
	if d.lock, err = unix.Openat(d.fd, wrapper.LockFile, unix.O_RDWR|create, 0o600); err != nil {
		return d, err
	}
	if err = unix.Flock(d.lock, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return d, err
	}
	if err = writeNew(d.fd, wrapper.SpecFile, spec.Encode()); err != nil {
		return d, err
	}
	if d.log, err = unix.Openat(d.fd, wrapper.LogFile, unix.O_WRONLY|unix.O_APPEND|create, 0o600); err != nil {
		return d, err
	}
	if len(spec.Topology) > 0 {
		if err = writeNew(d.fd, wrapper.TopologyFile, spec.Topology); err != nil {
			return d, err
		}
	}
	if len(spec.Stdin) > 0 {
		if err = writeNew(d.fd, wrapper.StdinFile, spec.Stdin); err == nil {
			d.stdin, err = unix.Openat(d.fd, wrapper.StdinFile, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
	}
	return d, err
}

func (d *runDir) files() WrapperFiles {
	in := d.stdin
	if in < 0 {
		in = d.null
	}
	return WrapperFiles{Stdin: in, Log: d.log, Dir: d.fd, Lock: d.lock}
}

// close closes the daemon's descriptors. Those of the wrapper keep the lock held.
func (d *runDir) close() {
	for _, fd := range []int{d.fd, d.lock, d.log, d.stdin} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// writeNew writes a new file. It needs no fsync: the store has what the run is to do,
// and after a loss of power nothing runs.
func writeNew(dir int, name string, data []byte) error {
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	for len(data) > 0 {
		n, err := unix.Write(fd, data)
		if err != nil && err != unix.EINTR {
			_ = unix.Close(fd)
			return err
		}
		data = data[max(n, 0):]
	}
	return unix.Close(fd)
}
