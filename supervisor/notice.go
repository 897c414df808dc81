package supervisor

import (
	"os"
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

// A watcher learns from the kernel when a file in the directory of a run was replaced. It
// does not exist before there is a run to watch. The Supervisor's mu guards it.
type watcher struct {
	inotify *os.File
	runs    map[int32]Key // by the number of their watches
	watches map[Key]int32
}

// watch begins to watch the directory of a run. If the run is adopted, it has reported
// something already, perhaps.
func (s *Supervisor) watch(k Key, adopted bool) error {
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
		wd, err := unix.InotifyAddWatch(fd, s.RunDir(k), unix.IN_MOVED_TO|unix.IN_ONLYDIR)
		if err != nil {
			return os.NewSyscallError("inotify_add_watch", err)
		}
		w.runs[int32(wd)], w.watches[k] = k, int32(wd)
		return nil
	})
	if adopted {
		s.followers.Go(func() { s.notice(k) })
	}
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

// readNotices sends a Notice for each run whose file was replaced, until the Supervisor is
// closed.
func (s *Supervisor) readNotices(inotify *os.File) {
	buf := make([]byte, 4096)
	for {
		n, err := inotify.Read(buf)
		if err != nil {
			return
		}
		for k := range s.changed(buf[:n]) {
			s.notice(k)
		}
	}
}

// changed returns the runs that inotify's events speak of.
func (s *Supervisor) changed(events []byte) map[Key]bool {
	changed := map[Key]bool{}
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(events) >= unix.SizeofInotifyEvent {
		e := (*unix.InotifyEvent)(unsafe.Pointer(&events[0]))
		end := unix.SizeofInotifyEvent + int(e.Len)
		name := strings.TrimRight(string(events[unix.SizeofInotifyEvent:end]), "\x00")
		if e.Mask&unix.IN_Q_OVERFLOW != 0 { // events were lost
			for k := range s.watcher.watches {
				changed[k] = true
			}
		} else if k, ok := s.watcher.runs[e.Wd]; ok && name == wrapper.NotifyFile {
			changed[k] = true
		}
		events = events[end:]
	}
	return changed
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
