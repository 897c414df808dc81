package spawn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"activationd/internal/fault"
	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// spawnedFile is in a run's directory, which is root's: the process id and the birth of its wrapper. A spawner that
// is killed just when it has started a wrapper does not write it.
const spawnedFile = "spawned"

// maxSpec is the largest specification, in bytes.
const maxSpec = 16 << 20

// openIn opens what is in a directory, and follows no link on the way.
func openIn(dir int, name string, flags uint64) (fd int, err error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV}
	for range 8 { // EAGAIN: something was renamed on the way
		if fd, err = unix.Openat2(dir, name, &how); err != unix.EAGAIN && err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return fd, nil
}

// openRegular opens a regular file with one name, or, as the lock of a run, with two.
func openRegular(dir int, name string, flags uint64, names int) (fd int, st unix.Stat_t, err error) {
	fd, err = openIn(dir, name, flags|unix.O_NONBLOCK|unix.O_NOCTTY)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.EISDIR) {
		return -1, st, fmt.Errorf("%s is not a regular file: %w", name, fault.Invalid)
	}
	if err != nil {
		return -1, st, err
	}
	if err = unix.Fstat(fd, &st); err == nil && (st.Mode&unix.S_IFMT != unix.S_IFREG || int(st.Nlink) > names) {
		err = fmt.Errorf("%s is not a regular file with one name: %w", name, fault.Invalid)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, st, err
	}
	return fd, st, nil
}

// readSpec reads a specification, and does not close its file.
func readSpec(fd int) (string, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > maxSpec { // anything else may block
		return "", fmt.Errorf("it is no specification: %w", fault.Invalid)
	}
	var text []byte
	for buf := make([]byte, 32<<10); len(text) <= maxSpec; {
		n, err := unix.Pread(fd, buf, int64(len(text)))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return "", err
		}
		if n == 0 {
			return string(text), nil
		}
		text = append(text, buf[:n]...)
	}
	return "", fmt.Errorf("the specification is too large: %w", fault.Invalid)
}

// readOwn reads a file of root's in a run's directory.
func readOwn(dir int, name string) (string, error) {
	fd, st, err := openRegular(dir, name, unix.O_RDONLY, 1)
	if err != nil {
		return "", err
	}
	defer func() { _ = unix.Close(fd) }()
	if st.Uid != 0 {
		return "", fmt.Errorf("%s is not root's: %w", name, fault.Denied)
	}
	return readSpec(fd)
}

// runsDir opens a directory of runs, which must be the daemon's.
func (s *Server) runsDir(runs string) (fd int, err error) {
	how := unix.OpenHow{Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
	if fd, err = unix.Openat2(unix.AT_FDCWD, runs, &how); err != nil {
		return -1, &os.PathError{Op: "open", Path: runs, Err: err}
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && int(st.Uid) != s.daemon.uid {
		err = fmt.Errorf("%s is not the daemon's: %w", runs, fault.Denied)
	}
	var fs unix.Statfs_t
	if err == nil {
		// The daemon could make one, which answers what it likes about owners and contents.
		if err = unix.Fstatfs(fd, &fs); err == nil && fs.Type == unix.FUSE_SUPER_MAGIC {
			err = fmt.Errorf("%s is on a file system of a user's process: %w", runs, fault.Denied)
		}
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// openRun opens the directory of a run, which may still be the daemon's.
func (s *Server) openRun(p *place, run string) (dir int, st unix.Stat_t, err error) {
	if err := supervisor.CheckName(run); err != nil {
		return -1, st, err
	}
	runs, err := s.runsDir(p.runs)
	if err != nil {
		return -1, st, err
	}
	defer func() { _ = unix.Close(runs) }()
	if dir, err = openIn(runs, run, unix.O_RDONLY|unix.O_DIRECTORY); err != nil {
		return -1, st, err
	}
	if err = unix.Fstat(dir, &st); err != nil {
		_ = unix.Close(dir)
		return -1, st, err
	}
	return dir, st, nil
}

// run opens the directory of a run that a spawner started, and reads its specification. Only a spawner makes such a
// directory: it is root's, and what is in it names the run.
func (s *Server) run(p *place, run string) (dir int, spec *wrapper.Spec, err error) {
	dir, st, err := s.openRun(p, run)
	if err != nil {
		return -1, nil, err
	}
	var text string
	if st.Uid != 0 {
		err = &os.PathError{Op: "open", Path: run, Err: unix.ENOENT} // the spawner started no such run
	}
	if err == nil {
		text, err = readOwn(dir, wrapper.SpecFile)
	}
	if err == nil {
		spec, err = wrapper.ParseSpec(text)
	}
	if err == nil && ((supervisor.Key{ID: spec.ID, Phase: spec.Phase, N: spec.Attempt}).String() != run || !strings.HasPrefix(spec.Mark, run+p.stem)) {
		err = fmt.Errorf("the directory %s is that of another run: %w", run, fault.Denied)
	}
	if err != nil {
		_ = unix.Close(dir)
		return -1, nil, err
	}
	return dir, spec, nil
}

// start answers [supervisor.Privileged.Start]. With the call come the lock, and what is passed.
func (c *call) start(p *place, run string) error {
	if len(c.fds) < 1 {
		return errGarbled
	}
	s := c.s
	dir, st, err := s.openRun(p, run)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(dir) }()
	if int(st.Uid) != s.daemon.uid {
		return fmt.Errorf("the directory of run %s is not a new one of the daemon's: %w", run, fault.Conflict)
	}
	// From here on nobody but root changes what is in the directory; the daemon may list it.
	if err := errors.Join(unix.Fchown(dir, 0, s.daemon.gid), unix.Fchmod(dir, 0o750)); err != nil {
		return err
	}
	files, spec, err := s.takeOver(p, dir, run, c.fds)
	defer files.close()
	if err != nil {
		return err
	}
	w, err := p.direct.Start(spec.Mark, supervisor.WrapperFiles{Stdin: files.stdin, Log: files.log, Dir: dir, Lock: c.fds[0], Passed: c.fds[1:]})
	if err != nil {
		return err
	}
	s.adopt(p, run, w)
	born := time.Duration(0)
	if is, ok := wrapper.Stat(w.PID); ok {
		born = is.Born
	}
	if err := writeOwn(dir, spawnedFile, fmt.Appendf(nil, "%d %d\n", w.PID, born)); err != nil {
		s.log.Error("a wrapper cannot be noted", "run", run, "err", err) // it is found by its mark
	}
	c.value.int(int64(w.PID))
	c.out = []int{w.PidFD}
	return nil
}

// runFiles are what a wrapper gets.
type runFiles struct{ stdin, log int }

func (f *runFiles) close() {
	for _, fd := range []int{f.stdin, f.log} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// takeOver checks what is in a directory of a run that has just become root's, and puts the specification there as it
// was checked.
func (s *Server) takeOver(p *place, dir int, run string, fds []int) (f *runFiles, spec *wrapper.Spec, err error) {
	f = &runFiles{-1, -1}
	names, err := entries(dir)
	if err != nil {
		return f, nil, err
	}
	for _, name := range names {
		if !slices.Contains([]string{wrapper.LockFile, wrapper.SpecFile, wrapper.StdinFile, wrapper.TopologyFile, wrapper.LogFile}, name) {
			return f, nil, fmt.Errorf("the directory of run %s has a file %q: %w", run, name, fault.Denied)
		}
		most, flags := 1, uint64(unix.O_RDONLY)
		if name == wrapper.LockFile {
			most = 2
		}
		if name == wrapper.LogFile {
			flags = unix.O_WRONLY | unix.O_APPEND
		}
		fd, st, err := openRegular(dir, name, flags, most)
		if err == nil && int(st.Uid) != s.daemon.uid {
			err = fmt.Errorf("%s is not the daemon's: %w", name, fault.Denied)
		}
		if err != nil {
			if fd >= 0 {
				_ = unix.Close(fd)
			}
			return f, nil, err
		}
		switch name {
		case wrapper.StdinFile:
			f.stdin = fd
			continue
		case wrapper.LogFile:
			f.log = fd
			continue
		case wrapper.LockFile:
			var given unix.Stat_t
			if err = unix.Fstat(fds[0], &given); err == nil && (given.Dev != st.Dev || given.Ino != st.Ino) {
				err = fmt.Errorf("the lock of run %s is another file: %w", run, fault.Denied)
			}
		case wrapper.SpecFile:
			var text string
			if text, err = readSpec(fd); err == nil {
				if spec, err = wrapper.ParseSpec(text); err != nil {
					err = fmt.Errorf("%w: %w", err, fault.Invalid)
				}
			}
		}
		_ = unix.Close(fd)
		if err != nil {
			return f, nil, err
		}
	}
	if spec == nil || f.log < 0 || !slices.Contains(names, wrapper.LockFile) {
		return f, nil, fmt.Errorf("the directory of run %s lacks its lock, specification or log: %w", run, fault.Invalid)
	}
	if err := s.check(p, run, spec); err != nil {
		return f, nil, err
	}
	if err := checkPassed(spec, fds[1:]); err != nil {
		return f, nil, err
	}
	if f.stdin < 0 {
		if f.stdin, err = unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return f, nil, err
		}
	} else if err := unix.SetNonblock(f.stdin, false); err != nil {
		return f, nil, err
	}
	if err := unix.SetNonblock(f.log, false); err != nil {
		return f, nil, err
	}
	return f, spec, writeOwn(dir, wrapper.SpecFile, spec.Encode())
}

// checkPassed checks the sockets and the ends of pipes that a wrapper is to keep.
func checkPassed(spec *wrapper.Spec, fds []int) error {
	want := len(spec.Listen)
	if spec.Stream {
		want += 4
	}
	if len(fds) != want {
		return fmt.Errorf("%d descriptors for a run that has %d: %w", len(fds), want, fault.Invalid)
	}
	for i, fd := range fds {
		kind := uint32(unix.S_IFSOCK)
		if i >= len(spec.Listen) {
			kind = unix.S_IFIFO
		}
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != kind {
			return fmt.Errorf("descriptor %d is not what the specification says: %w", i, errors.Join(err, fault.Denied))
		}
	}
	return nil
}

// entries lists a directory, of which it expects few.
func entries(dir int) (names []string, err error) {
	fd, err := openIn(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "run")
	defer func() { _ = f.Close() }()
	names, err = f.Readdirnames(16)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return names, err
}

// writeOwn writes a file of root's, in place of one of that name.
func writeOwn(dir int, name string, data []byte) error {
	part := name + ".own"
	fd, err := unix.Openat(dir, part, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), name)
	_, err = f.Write(data)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return unix.Renameat(dir, part, dir, name)
}

// adopt waits for the end of a wrapper. It reaps it when nobody else has: the daemon may be gone.
func (s *Server) adopt(p *place, run string, w supervisor.Child) {
	ch := &child{place: p.runs, run: run, reaped: make(chan struct{})}
	s.mu.Lock()
	s.children[w.PID] = ch
	s.mu.Unlock()
	fd, err := unix.FcntlInt(uintptr(w.PidFD), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		s.log.Error("a wrapper is not waited for", "run", run, "err", err)
		return
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	go func() {
		defer func() { _ = f.Close() }()
		c, err := f.SyscallConn()
		if err != nil {
			return
		}
		_ = c.Read(func(fd uintptr) bool {
			poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, err := unix.Poll(poll, 0)
			return err == nil && n > 0
		})
		select {
		case <-ch.reaped:
			return
		case <-time.After(keepStatus):
		}
		_ = c.Control(func(fd uintptr) { s.reap(p, int(fd)) })
	}()
}

// keepStatus is how long the daemon has for asking how a wrapper ended.
const keepStatus = 30 * time.Second

// reap answers [supervisor.Privileged.Reap].
func (s *Server) reap(p *place, pidfd int) (status int) {
	pid, err := pidOf(pidfd)
	if err != nil {
		return -1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ch := s.children[pid]
	poll := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	if n, err := unix.Poll(poll, 0); ch == nil || ch.place != p.runs || err != nil || n == 0 {
		return -1
	}
	status = p.direct.Reap(pidfd)
	delete(s.children, pid)
	close(ch.reaped)
	return status
}

// pidOf returns the process of a pidfd.
func pidOf(pidfd int) (pid int, err error) {
	data, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(pidfd))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(line, "Pid:"); ok {
			pid, err = strconv.Atoi(strings.TrimSpace(v))
			if err == nil && pid <= 0 {
				err = unix.ESRCH
			}
			return pid, err
		}
	}
	return 0, fmt.Errorf("the descriptor is no pidfd: %w", fault.Invalid)
}

// wrapperOf returns the run of whose wrapper this is a pidfd. Any other process is refused.
func (s *Server) wrapperOf(p *place, pidfd int) (pid int, spec *wrapper.Spec, err error) {
	if pid, err = pidOf(pidfd); err != nil {
		return 0, nil, err
	}
	env := wrapper.Environ(pid)
	_, mark, _ := strings.Cut(env, "\x00"+wrapper.MarkVar+"=")
	mark, _, ok := strings.Cut(mark, "\x00")
	i := strings.LastIndex(mark, p.stem)
	refused := fmt.Errorf("process %d is no wrapper of the spawner's: %w", pid, fault.Denied)
	if !ok || i < 0 {
		if is, there := wrapper.Stat(pid); !there || is.Dead() {
			return 0, nil, unix.ESRCH
		}
		return 0, nil, refused
	}
	dir, spec, err := s.run(p, mark[:i])
	if err != nil {
		return 0, nil, errors.Join(refused, err)
	}
	defer func() { _ = unix.Close(dir) }()
	if spec.Mark != mark || !s.is(dir, pid) {
		return 0, nil, refused
	}
	return pid, spec, nil
}

// is reports whether a process with a run's mark is its wrapper, and not one of its script.
func (s *Server) is(dir, pid int) bool {
	is, ok := wrapper.Stat(pid)
	if !ok {
		return false
	}
	if was, ok := spawned(dir); ok {
		return was.PID == pid && was.Born == is.Born
	}
	own, err := os.Stat(s.atwrap) // the spawner that started it was killed in that moment
	if err != nil {
		return false
	}
	exe, err := os.Stat("/proc/" + strconv.Itoa(pid) + "/exe")
	return err == nil && os.SameFile(own, exe) && is.Session == pid
}

// spawned returns the process that was noted as a run's wrapper.
func spawned(dir int) (l wrapper.Lock, ok bool) {
	text, err := readOwn(dir, spawnedFile)
	if err != nil {
		return l, false
	}
	pid, born, _ := strings.Cut(strings.TrimSuffix(text, "\n"), " ")
	n, err := strconv.Atoi(pid)
	b, err2 := strconv.ParseInt(born, 10, 64)
	return wrapper.Lock{PID: n, Born: time.Duration(b)}, err == nil && err2 == nil && n > 0
}

// signal answers [supervisor.Privileged.Signal].
func (c *call) signal(p *place, sig syscall.Signal) error {
	if !slices.Contains([]syscall.Signal{wrapper.StopSignal, wrapper.InputSignal, unix.SIGCONT, unix.SIGKILL}, sig) {
		return fmt.Errorf("a wrapper gets no signal %d: %w", sig, fault.Invalid)
	}
	if _, _, err := c.s.wrapperOf(p, c.fds[0]); err != nil {
		return err
	}
	return p.direct.Signal(c.fds[0], sig)
}

// kept answers [supervisor.Privileged.Kept].
func (c *call) kept(p *place, skip, n int) (err error) {
	_, spec, err := c.s.wrapperOf(p, c.fds[0])
	if err != nil {
		return err
	}
	most := len(spec.Listen)
	if spec.Stream {
		most += 2
	}
	if skip < 0 || n < 0 || n > maxFDs || skip+n > most {
		return fmt.Errorf("the run has %d descriptors: %w", most, fault.Invalid)
	}
	c.out, err = p.direct.Kept(c.fds[0], skip, n)
	return err
}

// What find answers.
const (
	untouched = iota // the directory is still the daemon's, and no wrapper was started
	never            // no wrapper began, and none will
	began            // there is one, or there was
)

// find says what has become of a start whose answer nobody got, because a spawner was killed. A wrapper first of all
// makes the file of its result, and ends if it is there. So it is certain that none begins once find has made it.
func (c *call) find(p *place, run string) error {
	dir, st, err := c.s.openRun(p, run)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(dir) }()
	if int(st.Uid) == c.s.daemon.uid {
		c.value.int(untouched)
		return nil
	}
	if st.Uid != 0 {
		return fmt.Errorf("the directory of run %s is another user's: %w", run, fault.Denied)
	}
	const name = wrapper.ResultFile + ".new"
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err == nil {
		_ = unix.Close(fd)
		if err := unix.Faccessat(dir, wrapper.ResultFile, unix.F_OK, 0); err == nil { // it has begun, and ended
			c.value.int(began)
			return unix.Unlinkat(dir, name, 0)
		}
		c.value.int(never)
		return nil
	}
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	c.value.int(began)
	return nil
}

// clear answers [supervisor.Privileged.ClearLeftovers]. What the leftovers are found by is read from the run's directory.
func (c *call) clear(p *place, run string, filesDone bool, also []int) error {
	s := c.s
	if err := supervisor.CheckName(run); err != nil {
		return err
	}
	l := supervisor.Leftovers{Run: run, MarkStem: run + p.stem, ConfigRoot: s.rules.Config, FilesDone: filesDone}
	for _, pid := range also {
		if pid > 0 {
			l.Also = append(l.Also, pid)
		}
	}
	path := ""
	dir, spec, err := s.run(p, run)
	switch {
	case err == nil:
		defer func() { _ = unix.Close(dir) }()
		path = "/proc/self/fd/" + strconv.Itoa(dir) + "/." // what the descriptor is of, whatever its name is now
		l.Mark, l.OtherBoot = spec.Mark, spec.Boot != s.boot
		if spec.LogRotate == 0 {
			l.LogTail = spec.LogTail
		}
		if spec.Cgroup != "" && spec.Cgroup == p.cgroup {
			l.Cgroup = filepath.Join(spec.Cgroup, run)
		}
		if l.Lock, _ = spawned(dir); l.Lock.PID == 0 {
			if pid := claimed(dir); pid > 0 { // the file is the daemon's: it names a directory at most
				l.Also = append(l.Also, pid)
			}
		}
		if text, err := readOwn(dir, wrapper.StartedFile); err == nil {
			l.Started, _ = wrapper.ParseStarted(text) // may be empty: the wrapper was killed in between
		}
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	done, err := p.direct.ClearLeftoversIn(path, l)
	c.value.int(int64(done.Killed))
	c.value.int(int64(len(done.Hung)))
	for _, h := range done.Hung {
		c.value.int(int64(h.PID))
		c.value.int(int64(h.Born))
	}
	return err
}

// claimed is the process id in the lock of a run.
func claimed(dir int) int {
	fd, _, err := openRegular(dir, wrapper.LockFile, unix.O_RDONLY, 2)
	if err != nil {
		return 0
	}
	defer func() { _ = unix.Close(fd) }()
	text, err := readSpec(fd)
	if err != nil {
		return 0
	}
	l, err := wrapper.ParseLock(text)
	if err != nil {
		return 0
	}
	return l.PID
}

// config opens the configuration directory of a run: the one that is kept, or while it runs, that of its script.
func (s *Server) config(dir int) (fd int, err error) {
	fd, err = openIn(dir, wrapper.ConfigDir, unix.O_RDONLY|unix.O_DIRECTORY)
	if !errors.Is(err, os.ErrNotExist) {
		return fd, err
	}
	was, ok := spawned(dir)
	is, there := wrapper.Stat(was.PID)
	if !ok || !there || is.Born != was.Born {
		return -1, err
	}
	root, err := unix.Open(s.rules.Config, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer func() { _ = unix.Close(root) }()
	return openIn(root, strconv.Itoa(was.PID), unix.O_RDONLY|unix.O_DIRECTORY)
}

// open answers [supervisor.Privileged.Open].
func (s *Server) open(p *place, run, name string) (fd int, err error) {
	in, inConfig := strings.CutPrefix(name, wrapper.ConfigDir+"/")
	for part := range strings.SplitSeq(in, "/") {
		if err := supervisor.CheckName(part); err != nil {
			return -1, err
		}
	}
	if !inConfig && strings.Contains(name, "/") {
		return -1, fmt.Errorf("%q: want a name in the run's directory: %w", name, fault.Invalid)
	}
	dir, _, err := s.run(p, run)
	if err != nil {
		return -1, err
	}
	defer func() { _ = unix.Close(dir) }()
	names := 2 // of a lock
	if inConfig {
		config, err := s.config(dir)
		if err != nil {
			return -1, err
		}
		defer func() { _ = unix.Close(config) }()
		dir, name, names = config, in, 1
	}
	fd, _, err = openRegular(dir, name, unix.O_RDONLY, names)
	if err == nil {
		err = unix.SetNonblock(fd, false)
	}
	return fd, err
}

// list answers [supervisor.Privileged.Files].
func (c *call) list(p *place, run string) error {
	dir, _, err := c.s.run(p, run)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(dir) }()
	config, err := c.s.config(dir)
	if err != nil {
		return err
	}
	files := supervisor.FilesAt(config)
	var w writer
	n := 0
	for _, f := range files {
		w.str(f.Name)
		w.int(f.Size)
		w.int(f.Time.UnixNano())
		if len(w.b) > maxMessage-1024 { // a message has no room for more
			break
		}
		n++
		c.value.b = append(c.value.b[:0], w.b...)
	}
	c.value.b = append((&writer{}).number(n), c.value.b...)
	return nil
}

func (w *writer) number(n int) []byte {
	w.int(int64(n))
	return w.b
}

// remove answers [supervisor.Privileged.Remove]. Configuration and work directories are where only root changes
// names. A directory of runs is the daemon's, so it is reached by a descriptor.
func (s *Server) remove(ctx context.Context, p *place, in supervisor.Place, name string) error {
	switch in {
	case supervisor.ConfigDirs:
		return p.direct.Remove(ctx, in, name)
	case supervisor.Workdirs:
		if p.kept == "" {
			return fmt.Errorf("the spawner's rules name no such place for work directories: %w", fault.Denied)
		}
		return p.direct.Remove(ctx, in, name)
	case supervisor.RunDirs:
	default:
		return fmt.Errorf("there is no place %q: %w", in, fault.Invalid)
	}
	dir, st, err := s.openRun(p, name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_ = unix.Close(dir)
	if st.Uid != 0 {
		return fmt.Errorf("the directory %s is not a run's that the spawner has started: %w", name, fault.Denied)
	}
	if p.cgroup != "" {
		_ = wrapper.RemoveEmptyCgroup(filepath.Join(p.cgroup, name)) // it is tried again when the daemon starts
	}
	runs, err := s.runsDir(p.runs)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(runs) }()
	err = wrapper.RemoveTree("/proc/self/fd/"+strconv.Itoa(runs), name, func() bool { return ctx.Err() != nil })
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%s: a part of it is left: %w: %w", name, context.Cause(ctx), fault.Unavailable)
	}
	return err
}
