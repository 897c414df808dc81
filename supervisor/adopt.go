package supervisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
	Lost                    // its wrapper is gone without a word; what it left has been cleaned up
	NotStarted              // its script never ran and never will
)

// String returns the state as a word.
func (s State) String() string {
	return [...]string{"running", "ended", wrapper.Lost, wrapper.NotStarted}[s]
}

// Found is what Adopt found. Result is set unless State is Running.
type Found struct {
	State  State
	Result wrapper.Result
}

// facts are what a run directory shows.
type facts struct {
	held     bool // the lock is: the wrapper lives
	result   bool // there is a whole one
	started  bool // the script may have run
	sameBoot bool // it was made since the machine was started
}

// decide is the whole of the decision: what has become of a run.
func decide(f facts) State {
	switch {
	case f.held:
		return Running
	case f.result:
		return Ended
	case f.started || !f.sameBoot: // a note that was not fsynced may be gone with the power
		return Lost
	default:
		return NotStarted
	}
}

// How long a lock may be held before it shows by whom: a wrapper writes it
// first of all.
const (
	lockPatience = 5 * time.Second
	lockPause    = time.Millisecond
)

// Adopt finds out what has become of a run of an earlier daemon. If it goes
// on, it is followed as if this Supervisor had started it. If it is lost, what
// is left of its processes is killed first, which can take some seconds.
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
		held, err := lockHeld(s.RunDir(k))
		if err != nil {
			s.forget(k)
			return Found{}, fmt.Errorf("lock of run %v: %w", k, err)
		}
		if !held {
			defer s.forget(k)
			return s.conclude(k), nil
		}
		pidfd, err := s.openHolder(k)
		if err == nil {
			spec, err := readSpec(s.RunDir(k))
			if err != nil { // then nothing is known of when it should end
				s.config.Log.Error("a specification cannot be read", "run", k, "err", err)
				spec = new(wrapper.Spec)
			}
			return Found{State: Running}, s.follow(k, pidfd, spec)
		}
		if time.Now().After(patience) {
			s.forget(k)
			return Found{}, fmt.Errorf("the lock of run %v is held, but not by a wrapper that can be found: %w: %w", k, err, fault.Internal)
		}
	}
}

// lockHeld reports whether somebody holds the lock of a run directory. If
// nobody does, nobody will again.
func lockHeld(dir string) (bool, error) {
	fd, err := unix.Open(filepath.Join(dir, wrapper.LockFile), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = unix.Close(fd) }()
	err = unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB)
	if err == unix.EWOULDBLOCK {
		return true, nil
	}
	return false, err
}

// openHolder returns the pidfd of the wrapper that holds a run's lock. The
// lock is looked at again when the pidfd is open: if it is still held, the
// number in it cannot have been used for another process in between.
func (s *Supervisor) openHolder(k Key) (int, error) {
	l, err := readLock(s.RunDir(k))
	if err != nil {
		return -1, err
	}
	fd, err := unix.PidfdOpen(l.PID, 0)
	if err != nil {
		return -1, err
	}
	p, ok := wrapper.Stat(l.PID)
	held, err := lockHeld(s.RunDir(k))
	if err == nil && !(held && ok && p.Same(l.Born)) {
		err = errors.New("the wrapper has just ended")
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func readLock(dir string) (wrapper.Lock, error) {
	data, err := os.ReadFile(filepath.Join(dir, wrapper.LockFile))
	if err != nil {
		return wrapper.Lock{}, err
	}
	return wrapper.ParseLock(string(data))
}

// conclude says what has become of a run whose wrapper is gone, and clears
// away what it left.
func (s *Supervisor) conclude(k Key) Found {
	dir := s.RunDir(k)
	var f facts
	result, err := readResult(dir)
	f.result = err == nil
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.config.Log.Error("a result cannot be read", "run", k, "err", err)
	}
	started, err := os.ReadFile(filepath.Join(dir, wrapper.StartedFile))
	f.started = !errors.Is(err, os.ErrNotExist)
	spec, err := readSpec(dir)
	// The daemon writes the specification before the wrapper is there. Without
	// one, nothing was started, as far as this directory can tell.
	f.sameBoot = err != nil || spec.Boot == s.boot

	st := decide(f)
	if st == Ended {
		return Found{st, result}
	}
	remains := remains{dir: dir, spec: spec, sameBoot: f.sameBoot, config: s.config}
	remains.started, _ = wrapper.ParseStarted(string(started)) // may be empty: the wrapper was killed in between
	remains.lock, _ = readLock(dir)
	result = wrapper.Result{
		Reason: st.String(), PID: remains.started.PID, WrapperPID: remains.lock.PID, Exit: -1,
		Started: remains.started.At, Ended: time.Now(),
	}
	switch {
	case !f.sameBoot:
		result.Text = "the machine went down meanwhile"
	case st == Lost:
		result.Text = "the wrapper was killed"
	default:
		result.Text = "the wrapper ended before the script was started"
	}
	killed, err := remains.clear()
	result.Leftovers = killed
	if err != nil {
		result.Text += "; " + err.Error()
	}
	if result.Started.IsZero() && f.started {
		if info, err := os.Stat(filepath.Join(dir, wrapper.StartedFile)); err == nil {
			result.Started = info.ModTime()
		}
	}
	return Found{st, result}
}

func readResult(dir string) (wrapper.Result, error) {
	data, err := os.ReadFile(filepath.Join(dir, wrapper.ResultFile))
	if err != nil {
		return wrapper.Result{}, err
	}
	return wrapper.ParseResult(string(data))
}

func readSpec(dir string) (*wrapper.Spec, error) {
	data, err := os.ReadFile(filepath.Join(dir, wrapper.SpecFile))
	if err != nil {
		return nil, err
	}
	return wrapper.ParseSpec(string(data))
}
