package supervisor

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"activationd/supervisor/wrapper"
)

// A Notice says what a run has reported to its NOTIFY_SOCKET so far.
type Notice struct {
	Key      Key
	Notified wrapper.Notified
}

// Notices yields a Notice after each change of what a run with Spec.Notify has reported, and
// one when such a run is adopted, if it has reported anything. Changes that follow quickly
// share a Notice. One may still come after the run's Exit, and what a run reported just
// before its end may not come at all: [Supervisor.Notified] says it. The channel is never
// closed.
func (s *Supervisor) Notices() <-chan Notice { return s.notices }

// Notified returns what a run has reported; ok is false if it has reported nothing, or
// its directory is gone.
func (s *Supervisor) Notified(k Key) (n wrapper.Notified, ok bool) {
	data, err := s.readRunFile(k, wrapper.NotifyFile)
	if err == nil {
		n, err = wrapper.ParseNotify(data)
	}
	if err != nil && !isGone(err) {
		s.config.Log.Error("cannot read what a run has reported", "run", k, "err", err)
	}
	return n, err == nil
}

// Begins yields the key of a run once its script has been started, if [Supervisor.AwaitStart]
// asked for that. One may still come after the run's Exit. The channel is never closed.
func (s *Supervisor) Begins() <-chan Key { return s.begins }

// AwaitStart has [Supervisor.Begins] yield the key of a run that is followed, at once if its
// script has been started. If the run ends before its script is started, nothing comes.
func (s *Supervisor) AwaitStart(k Key) error {
	s.mu.Lock()
	if f := s.runs[k]; f != nil {
		f.awaited = true
	}
	s.mu.Unlock()
	return s.watch(k, func(k Key) { s.begun(k, false) })
}

// begun yields a run if its script has been started, and somebody awaits that. Closed says
// that the wrapper has closed the file that tells so: if it is empty then, the disk is full or
// the script could not be started.
func (s *Supervisor) begun(k Key, closed bool) {
	_, _, started := s.Started(k)
	s.mu.Lock()
	f := s.runs[k]
	due := f != nil && f.awaited && (started || (closed || s.noteClosed(k, f.pid)) && hasChild(f.pid))
	if due {
		f.awaited = false
	}
	s.mu.Unlock()
	if !due {
		return
	}
	select {
	case s.begins <- k:
	case <-s.closing:
	}
}

// noteClosed reports whether a wrapper has made the file that tells of the start, and has closed it,
// perhaps before anybody watched.
func (s *Supervisor) noteClosed(k Key, pid int) bool {
	if _, err := os.Lstat(filepath.Join(s.RunDir(k), wrapper.StartedFile)); err != nil {
		return false
	}
	dir := "/proc/" + strconv.Itoa(pid) + "/fd/"
	open, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	return !slices.ContainsFunc(open, func(fd os.DirEntry) bool {
		file, err := os.Readlink(dir + fd.Name())
		return err == nil && filepath.Base(file) == wrapper.StartedFile
	})
}

// hasChild reports whether a process has a child that lives.
func hasChild(pid int) bool {
	return slices.ContainsFunc(wrapper.Processes(), func(n int) bool {
		p, ok := wrapper.Stat(n)
		return ok && p.Parent == pid && !p.Dead()
	})
}

// A watcher learns from the kernel when a file in the directory of a run was replaced, or
// closed after it was written. It does not exist before there is a run to watch. The
// Supervisor's mu guards it.
type watcher struct {
	inotify *os.File
	runs    map[int32]Key // by the number of their watches
	watches map[Key]int32
}

// watch begins to watch the directory of a run, and then has a goroutine of its own look at
// what is there already.
func (s *Supervisor) watch(k Key, look func(Key)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closing:
		return nil
	default:
	}
	if _, ok := s.runs[k]; !ok {
		return nil // it has ended already
	}
	w := &s.watcher
	if w.inotify == nil {
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
		if err != nil {
			return os.NewSyscallError("inotify_init1", err)
		}
		w.inotify, w.runs, w.watches = os.NewFile(uintptr(fd), "inotify"), map[int32]Key{}, map[Key]int32{}
		s.followers.Go(func() { s.readNotices(w.inotify) })
	}
	err := control(w.inotify, func(fd int) error {
		wd, err := unix.InotifyAddWatch(fd, s.RunDir(k), unix.IN_MOVED_TO|unix.IN_CLOSE_WRITE|unix.IN_ONLYDIR)
		if err != nil {
			return os.NewSyscallError("inotify_add_watch", err)
		}
		w.runs[int32(wd)], w.watches[k] = k, int32(wd)
		return nil
	})
	s.followers.Go(func() { look(k) })
	return err
}

// unwatchLocked ends a watch, if there is one.
func (s *Supervisor) unwatchLocked(k Key) {
	w := &s.watcher
	wd, ok := w.watches[k]
	if !ok {
		return
	}
	delete(w.watches, k)
	delete(w.runs, wd)
	_ = control(w.inotify, func(fd int) error {
		_, err := unix.InotifyRmWatch(fd, uint32(wd)) // fails if the directory is gone
		return err
	})
}

// readNotices sends a Notice for each run that has reported something, and yields those that
// have begun, until the Supervisor is closed.
func (s *Supervisor) readNotices(inotify *os.File) {
	buf := make([]byte, 4096)
	for {
		n, err := inotify.Read(buf)
		if err != nil {
			return
		}
		reported, began := s.changed(buf[:n])
		for k := range began {
			s.followers.Go(func() { s.begun(k, true) })
		}
		for k := range reported {
			s.notice(k)
		}
	}
}

// changed returns the runs of which inotify's events say that they have reported something, or
// that their wrappers have started their scripts, or could not.
func (s *Supervisor) changed(events []byte) (reported, began map[Key]bool) {
	reported, began = map[Key]bool{}, map[Key]bool{}
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(events) >= unix.SizeofInotifyEvent {
		e := (*unix.InotifyEvent)(unsafe.Pointer(&events[0]))
		end := unix.SizeofInotifyEvent + int(e.Len)
		name := strings.TrimRight(string(events[unix.SizeofInotifyEvent:end]), "\x00")
		if e.Mask&unix.IN_Q_OVERFLOW != 0 { // events were lost
			for k := range s.watcher.watches {
				reported[k], began[k] = true, true
			}
		}
		switch k, ok := s.watcher.runs[e.Wd]; {
		case ok && name == wrapper.NotifyFile:
			reported[k] = true
		case ok && name == wrapper.StartedFile:
			began[k] = true
		}
		events = events[end:]
	}
	return reported, began
}

// notice reads what a run has reported and sends it. It does one after the other, so that
// what was read first is received first.
func (s *Supervisor) notice(k Key) {
	s.noticing.Lock()
	defer s.noticing.Unlock()
	n, ok := s.Notified(k)
	if !ok {
		return
	}
	select {
	case s.notices <- Notice{Key: k, Notified: n}:
	case <-s.closing:
	}
}
