package supervisor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"activationd/internal/fault"
	"activationd/supervisor/wrapper"
)

// A State is what has become of a run.
type State uint8

// What has become of a run.
const (
	Running    State = iota // it goes on, and is followed from now on; its Exit will come
	Ended                   // Result says how
	Lost                    // its wrapper is gone and reported nothing; its leftovers have been cleared away
	NotStarted              // its script never ran; Result gives the reason
	Void                    // nothing shows that its script ran, and it never will
	Unborn                  // the same; there never was a wrapper
)

// String returns the state as a word.
func (s State) String() string {
	return [...]string{"running", "ended", wrapper.Lost, wrapper.NotStarted, wrapper.Void, wrapper.Unborn}[s]
}

// Found is what Adopt found. Result is set unless State is Running.
type Found struct {
	State  State
	Result wrapper.Result
}

// facts are what is known of a run from its directory and from its wrapper's exit status.
type facts struct {
	held       bool // a process holds the lock: the wrapper lives
	result     bool // there is a complete result
	notStarted bool // the wrapper's exit status says that the script never ran
	unreported bool // the wrapper's exit status says that the script ran
	begun      bool // there was a wrapper
	started    bool // the script may have run
	gone       bool // the directory lacks what was in it when the run was started
	sameBoot   bool // the directory was made since the machine was started
}

// decide is the whole decision about what has become of a run.
func decide(f facts) State {
	switch {
	case f.held:
		return Running
	case f.result:
		return Ended
	case f.notStarted:
		return NotStarted
	case f.unreported || f.started || f.gone || !f.sameBoot: // after a loss of power, a note that was not fsynced may be gone
		return Lost
	case f.begun:
		return Void
	default:
		return Unborn
	}
}

// How long a lock may be held before the wrapper's process id must be in it: a wrapper
// writes that first of all.
const (
	lockPatience = 5 * time.Second
	lockPause    = time.Millisecond
)

// Adopt finds out what has become of a run of an earlier daemon. If it goes on, it is
// followed as if this Supervisor had started it. If it is lost, its remaining processes
// are killed first, which can take some seconds. The error is of kind fault.Conflict if
// the run is followed already. After any other error the state of the run is unknown, and
// Adopt can be called again.
func (s *Supervisor) Adopt(k Key) (Found, error) {
	if err := k.check(); err != nil {
		return Found{}, err
	}
	s.mu.Lock()
	_, dup := s.runs[k]
	if !dup {
		s.runs[k] = nil
	}
	s.mu.Unlock()
	if dup {
		return Found{}, fmt.Errorf("run %v is followed already: %w", k, fault.Conflict)
	}
	for patience := time.Now().Add(lockPatience); ; time.Sleep(lockPause) {
		held, err := lockHeld(s.config.RunsDir, k.String())
		if err != nil {
			s.forget(k)
			return Found{}, fmt.Errorf("lock of run %v: %w", k, err)
		}
		if !held {
			return s.adoptEnded(k)
		}
		w, err := s.openHolder(k)
		if err == nil {
			spec, err := s.readSpec(k)
			if err != nil { // then it is not known when the run should end
				s.config.Log.Error("cannot read the specification of a run", "run", k, "err", err)
				spec = s.unread(k)
			}
			if err := s.takeBack(k, w.PidFD, spec); err != nil {
				_ = unix.Close(w.PidFD)
				s.forget(k)
				return Found{}, fmt.Errorf("sockets of run %v: %w", k, err)
			}
			if err := s.takeStream(k, w, spec); err != nil {
				_ = unix.Close(w.PidFD)
				s.forget(k)
				return Found{}, fmt.Errorf("stream of run %v: %w", k, err)
			}
			if err := s.follow(k, w, spec); err != nil {
				return Found{State: Running}, err
			}
			if spec.Notify {
				if err := s.watch(k, s.notice); err != nil {
					s.config.Log.Error("cannot learn what a run reports from now on", "run", k, "err", err)
				}
			}
			return Found{State: Running}, nil
		}
		if time.Now().After(patience) {
			s.forget(k)
			return Found{}, fmt.Errorf("the lock of run %v is held, but its wrapper cannot be found: %w: %w", k, err, fault.Internal)
		}
	}
}

// adoptEnded returns what has become of a run whose wrapper is gone. While a process of it
// hangs in the kernel, the run goes on.
func (s *Supervisor) adoptEnded(k Key) (Found, error) {
	found, err := s.conclude(k, nil, unknownStatus)
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closing:
		delete(s.runs, k)
		return found, err
	default:
	}
	if err != nil || len(found.Result.Hung) == 0 {
		delete(s.runs, k)
		return found, err
	}
	f := new(followed)
	s.runs[k] = f
	s.followers.Go(func() { s.report(k, f, found, func() (Found, bool) { return s.concludeAtLast(k, nil, unknownStatus) }) })
	return Found{State: Running}, nil
}

// endHung looks again at processes that could not be killed. When they are gone,
// it kills and removes what else is left of the run.
func (s *Supervisor) endHung(l Leftovers, result *wrapper.Result) {
	result.Hung = slices.DeleteFunc(result.Hung, func(h wrapper.Hung) bool { return !h.Lives() })
	if len(result.Hung) > 0 {
		return
	}
	if s.endRest(l, result) {
		result.Text += "; gone since"
	}
}

// endRest kills and removes what is left of a run whose wrapper has written the result. It reports whether it could.
func (s *Supervisor) endRest(l Leftovers, result *wrapper.Result) bool {
	l.FilesDone = true
	cleared, err := s.privileged.ClearLeftovers(l)
	result.Leftovers += cleared.Killed
	result.Hung = cleared.Hung
	if err != nil {
		result.Text += "; " + err.Error()
	}
	return err == nil
}

// openHolder returns the wrapper that holds a run's lock. It tests the lock again once
// the pidfd is open: if the lock is still held, the process id in it cannot have been
// given to another process in between.
func (s *Supervisor) openHolder(k Key) (w Child, err error) {
	l, err := s.readLock(k)
	if err != nil {
		return w, err
	}
	fd, err := s.privileged.Pidfd(l.PID)
	if err != nil {
		return w, err
	}
	p, ok := wrapper.Stat(l.PID)
	held, err := lockHeld(s.config.RunsDir, k.String())
	if err == nil && !(held && ok && p.Same(l.Born)) {
		err = errors.New("the wrapper has just ended")
	}
	if err != nil {
		_ = unix.Close(fd)
		return w, err
	}
	return Child{l.PID, fd}, nil
}

// conclude clears away the leftovers of a run whose wrapper is gone, and returns what has
// become of the run. Followed is nil if the run was not followed. Status is the wrapper's
// exit status; it is unknownStatus if it is not known. An error means that the daemon
// lacks something now, such as descriptors, and has to try again.
func (s *Supervisor) conclude(k Key, followed *followed, status int) (Found, error) {
	var f facts
	result, err := s.readResult(k)
	switch {
	case err == nil:
		f.result = true
		if len(result.Hung) == 0 && result.Contained != wrapper.GuardGroup {
			return Found{decide(f), result}, nil
		}
	case lacking(err):
		return Found{}, fmt.Errorf("result of run %v: %w", k, err)
	case !isGone(err):
		s.config.Log.Error("cannot read the result of a run", "run", k, "err", err)
	}
	note, err := s.readRunFile(k, wrapper.StartedFile)
	if lacking(err) {
		return Found{}, fmt.Errorf("start of run %v: %w", k, err)
	}
	f.started = !isGone(err)
	spec, err := s.readSpec(k)
	if lacking(err) {
		return Found{}, fmt.Errorf("specification of run %v: %w", k, err)
	}
	// The daemon writes the specification before it starts the wrapper. Without a
	// specification the directory does not show that anything was started.
	f.sameBoot = err != nil || spec.Boot == s.boot
	lock, unborn := s.readLock(k)
	f.begun = unborn == nil
	f.gone = err != nil && (followed != nil || f.begun)
	started, _ := wrapper.ParseStarted(note) // may be empty: the wrapper was killed in between
	known := spec != nil
	if followed != nil && !known {
		spec, known = followed.spec, true
	}
	l := s.leftovers(k, spec)
	if known { // else the machine may have been started since
		l.Lock, l.Started, l.OtherBoot = lock, started, !f.sameBoot
	}
	if f.result {
		switch {
		case !f.sameBoot:
			result.Hung = nil // none of them outlives a boot
		case len(result.Hung) > 0:
			s.endHung(l, &result)
		case result.Reason != wrapper.Exited || spec == nil || !spec.KeepLeftovers:
			s.endRest(l, &result) // the wrapper did not see what left the group
		}
		return Found{decide(f), result}, nil
	}
	switch status {
	case wrapper.StatusNotStarted:
		f.notStarted = true
	case wrapper.StatusUnreported:
		f.unreported = true
	case unknownStatus, 0:
	default: // it could not even write its process id, which it does first of all
		f.notStarted = !f.begun && !f.started && !f.gone
	}
	if followed != nil {
		l.Also = []int{followed.pid}
	}
	cleared, err := s.privileged.ClearLeftovers(l)
	f.gone = f.gone || !known && cleared.Killed+len(cleared.Hung) > 0 // then it had been started
	st := decide(f)
	result = wrapper.Result{
		Reason: st.String(), Text: s.because(k, st, f, status), PID: started.PID, WrapperPID: lock.PID, Exit: -1,
		Started: started.At, Ended: time.Now(), Leftovers: cleared.Killed, Hung: cleared.Hung,
	}
	if err != nil {
		result.Text += "; " + err.Error()
	}
	if result.Started.IsZero() && f.started {
		if info, err := os.Lstat(filepath.Join(s.RunDir(k), wrapper.StartedFile)); err == nil {
			result.Started = info.ModTime()
		}
	}
	return Found{st, result}, nil
}

// because returns the reason, for people, for the state of a run without a result.
func (s *Supervisor) because(k Key, st State, f facts, status int) string {
	switch {
	case st == NotStarted:
		return fmt.Sprintf("its wrapper could not begin, and ended with status %d: is there room in %s, and are there enough processes and memory?", status, s.config.RunsDir)
	case st == Void:
		return "the wrapper ended before the script was started"
	case st == Unborn:
		return "the daemon ended before it could start it"
	case !f.sameBoot:
		return "the machine went down meanwhile"
	case f.gone:
		return fmt.Sprintf("its directory %s was removed or changed while it ran, so it is not known how it ended; scripts must not change that directory", s.RunDir(k))
	case f.unreported:
		return fmt.Sprintf("its wrapper could not write down how it ended: is there room in %s, and did the script change the run's directory there?", s.config.RunsDir)
	}
	return "the wrapper was killed"
}

// unread returns what is known of a run whose specification cannot be read.
func (s *Supervisor) unread(k Key) *wrapper.Spec {
	return &wrapper.Spec{ID: k.ID, Phase: k.Phase, Attempt: k.N, Boot: s.boot, Cgroup: s.contained.Cgroup, ConfigRoot: s.config.ConfigRoot}
}

// leftovers returns the properties by which the leftovers of a run are found. Without a
// specification they are found by the beginning of their mark, which no other run's mark
// has.
func (s *Supervisor) leftovers(k Key, spec *wrapper.Spec) Leftovers {
	if spec == nil {
		spec = s.unread(k)
	}
	l := Leftovers{Run: k.String(), Mark: spec.Mark, MarkStem: s.markStem(k), ConfigRoot: spec.ConfigRoot}
	if spec.LogRotate == 0 {
		l.LogTail = spec.LogTail
	}
	if spec.Cgroup != "" {
		l.Cgroup = filepath.Join(spec.Cgroup, l.Run)
	}
	return l
}

// lacking reports whether err means that the system lacks something for the moment.
func lacking(err error) bool { return err != nil && kind(err) == fault.Unavailable }

// isGone reports whether err means that a run's file, or its directory, is not there.
func isGone(err error) bool { return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) }

// The largest files that are read from a run's directory, in bytes.
const (
	maxRunFile = 64 << 10
	maxSpec    = 64 << 20
	maxUnread  = 64 << 20 // a script can enlarge its pipe, root's without bounds
)

// readRunFile reads a file of a run's directory, unless it is too large.
func (s *Supervisor) readRunFile(k Key, name string) (string, error) {
	f, err := s.privileged.Open(k.String(), name)
	if err != nil {
		return "", err
	}
	limit := int64(maxRunFile)
	switch name {
	case wrapper.SpecFile:
		limit = maxSpec
	case wrapper.UnreadFile:
		limit = maxUnread
	}
	return readAll(f, limit)
}

// openRegular opens a regular file for reading, and no link.
func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		_ = f.Close()
		return nil, fmt.Errorf("%s is not a regular file: %w", path, errors.Join(err, fault.Invalid))
	}
	return f, nil
}

// readAll reads a file of at most limit bytes, and closes it.
func readAll(f *os.File, limit int64) (string, error) {
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if int64(len(data)) > limit {
		return "", fmt.Errorf("%s is too large: %w", f.Name(), fault.Invalid)
	}
	return string(data), err
}

func (s *Supervisor) readResult(k Key) (wrapper.Result, error) {
	data, err := s.readRunFile(k, wrapper.ResultFile)
	if err != nil {
		return wrapper.Result{}, err
	}
	return wrapper.ParseResult(data)
}

func (s *Supervisor) readSpec(k Key) (*wrapper.Spec, error) {
	data, err := s.readRunFile(k, wrapper.SpecFile)
	if err != nil {
		return nil, err
	}
	return wrapper.ParseSpec(data)
}
