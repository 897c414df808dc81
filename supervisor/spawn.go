package supervisor

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"activationd/internal/fault"
	"activationd/supervisor/wrapper"
)

// wrapperEnv is the wrapper's own environment, but for its run's mark. One thread for
// Go code is all that it needs, and the first of the things that make its start cheap.
var wrapperEnv = []string{"GOMAXPROCS=1", "GOGC=off"}

// mark returns a value of ACTIVATION_RUN that no other run has or had.
func (s *Supervisor) mark(k Key) string { return s.markStem(k) + rand.Text()[:16] }

// markStem is how the marks of a run begin, and of no other daemon's run of that name.
func (s *Supervisor) markStem(k Key) string { return k.String() + "-" + s.place + "-" }

// placeOf tells a directory from all others of this machine.
func placeOf(dir *os.File) (string, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return "", err
	}
	return strconv.FormatUint(st.Dev, 36) + "." + strconv.FormatUint(st.Ino, 36), nil
}

// A child is a wrapper that runs.
type child struct{ pid, fd int } // fd is its pidfd

// spawn makes the run's directory and starts its wrapper.
func (s *Supervisor) spawn(k Key, spec *wrapper.Spec) (w child, err error) {
	dir := s.RunDir(k)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return w, fmt.Errorf("directory of run %v: %w: %w", k, err, kind(err))
	}
	d, err := openRunDir(dir, spec, s.null)
	if err == nil {
		err = s.nameLock(k, d.fd)
	}
	if err == nil {
		w, err = forkWrapper(s.config.Atwrap, spec.Mark, d.files())
	}
	d.close()
	if err != nil {
		s.dropLock(k)
		if rest := os.RemoveAll(dir); rest != nil {
			s.config.Log.Error("cannot remove the directory of a run that did not start", "run", k, "err", rest)
		}
		return w, fmt.Errorf("start of run %v: %w: %w", k, err, kind(err))
	}
	return w, nil
}

// kind says what can be done about an error of the operating system's.
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

// A runDir is a run's directory, with what its wrapper is given open.
type runDir struct {
	fd, lock, log, stdin int // stdin: -1 if it is null
	null                 int
}

// openRunDir fills the new directory at path. Its lock is taken before
// anything else is in it.
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

// files are the wrapper's descriptors, in the order that it knows them by.
func (d *runDir) files() []uintptr {
	in := d.stdin
	if in < 0 {
		in = d.null
	}
	return []uintptr{uintptr(in), uintptr(d.log), uintptr(d.log), uintptr(d.fd), uintptr(d.lock)}
}

// close closes the daemon's copies. The wrapper's keep the lock.
func (d *runDir) close() {
	for _, fd := range []int{d.fd, d.lock, d.log, d.stdin} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// writeNew writes a new file. It needs no fsync: what a run is to do is in the
// store, and after a loss of power nothing runs.
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

// forkWrapper starts a wrapper in a session of its own, with all signals
// blocked, so that a stop which comes before it is ready waits for it instead
// of killing it. It carries its run's mark, too: with that it can be found also when
// its lock is gone.
func forkWrapper(program, mark string, files []uintptr) (w child, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, old unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old); err != nil {
		return w, err
	}
	w.pid, err = syscall.ForkExec(program, []string{"atwrap"}, &syscall.ProcAttr{
		Dir: "/", Env: append(slices.Clone(wrapperEnv), wrapper.MarkVar+"="+mark), Files: files,
		Sys: &syscall.SysProcAttr{Setsid: true, PidFD: &w.fd},
	})
	if e := unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil); e != nil && err == nil {
		err = e
	}
	if err == nil && w.fd < 0 { // a kernel that clones without
		w.fd, err = unix.PidfdOpen(w.pid, 0)
	}
	return w, err
}
