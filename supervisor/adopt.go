package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
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

// A State is what has become of a run.
type State uint8

// What has become of a run.
const (
	Running    State = iota // it goes on, and is followed from now on; its Exit will come
	Ended                   // Result says how
	Lost                    // its wrapper is gone without a word; what it left has been cleaned up
	NotStarted              // its script never ran, for a reason that Result tells
	Void                    // nothing shows that its script ran, and it never will
	Unborn                  // the same, and there never was a wrapper
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

// facts are what is known of a run: from its directory, and from its wrapper's end.
type facts struct {
	held     bool // the lock is: the wrapper lives
	result   bool // there is a whole one
	nothing  bool // the wrapper said with its exit status that the script never ran
	untold   bool // the wrapper said with its exit status that the script ran
	begun    bool // there was a wrapper
	started  bool // the script may have run
	gone     bool // the directory has not what it had when the run was started
	sameBoot bool // it was made since the machine was started
}

// decide is the whole of the decision: what has become of a run.
func decide(f facts) State {
	switch {
	case f.held:
		return Running
	case f.result:
		return Ended
	case f.nothing:
		return NotStarted
	case f.untold || f.started || f.gone || !f.sameBoot: // a note that was not fsynced may be gone with the power
		return Lost
	case f.begun:
		return Void
	default:
		return Unborn
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
		held, err := s.lockHeld(k)
		if err != nil {
			s.forget(k)
			return Found{}, fmt.Errorf("lock of run %v: %w", k, err)
		}
		if !held {
			return s.adoptEnded(k)
		}
		w, err := s.openHolder(k)
		if err == nil {
			spec, err := readSpec(s.RunDir(k))
			if err != nil { // then nothing is known of when it should end
				s.config.Log.Error("a specification cannot be read", "run", k, "err", err)
				spec = s.unread(k)
				spec.Mark = s.marks(k)[w.pid]
			}
			return Found{State: Running}, s.follow(k, w, spec)
		}
		if time.Now().After(patience) {
			s.forget(k)
			return Found{}, fmt.Errorf("the lock of run %v is held, but not by a wrapper that can be found: %w: %w", k, err, fault.Internal)
		}
	}
}

// adoptEnded says what has become of a run whose wrapper is gone. If something of
// it hangs in the kernel, it goes on.
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
	s.followers.Go(func() { s.tell(k, f, found, func() (Found, bool) { return s.concludeAtLast(k, nil, unknownStatus) }) })
	return Found{State: Running}, nil
}

// endHung looks again at processes that could not be killed. When they are gone,
// it ends and removes what else is left of the run.
func (r *remains) endHung(result *wrapper.Result) {
	result.Hung = slices.DeleteFunc(result.Hung, func(h wrapper.Hung) bool { return !h.Lives() })
	if len(result.Hung) > 0 {
		return
	}
	killed, hung, err := r.end()
	result.Leftovers += killed
	result.Hung = hung
	if err != nil {
		result.Text += "; " + err.Error()
	} else {
		result.Text += "; gone since"
	}
}

// openHolder returns the wrapper that holds a run's lock. The
// lock is looked at again when the pidfd is open: if it is still held, the
// number in it cannot have been used for another process in between.
func (s *Supervisor) openHolder(k Key) (w child, err error) {
	l, err := s.readLock(k)
	if err != nil {
		return w, err
	}
	fd, err := unix.PidfdOpen(l.PID, 0)
	if err != nil {
		return w, err
	}
	p, ok := wrapper.Stat(l.PID)
	held, err := s.lockHeld(k)
	if err == nil && !(held && ok && p.Same(l.Born)) {
		err = errors.New("the wrapper has just ended")
	}
	if err != nil {
		_ = unix.Close(fd)
		return w, err
	}
	return child{l.PID, fd}, nil
}

// conclude says what has become of a run whose wrapper is gone, and clears
// away what it left. Of one that was followed it is known by what that is found, and
// perhaps with which status its wrapper exited. An error is the want of something that
// will be there again: then it is not known yet.
func (s *Supervisor) conclude(k Key, followed *followed, status int) (Found, error) {
	dir := s.RunDir(k)
	var f facts
	result, err := readResult(dir)
	switch {
	case err == nil:
		f.result = true
		if len(result.Hung) == 0 {
			return Found{decide(f), result}, nil
		}
	case lacking(err):
		return Found{}, fmt.Errorf("result of run %v: %w", k, err)
	case !isGone(err):
		s.config.Log.Error("a result cannot be read", "run", k, "err", err)
	}
	note, err := readRunFile(dir, wrapper.StartedFile)
	if lacking(err) {
		return Found{}, fmt.Errorf("start of run %v: %w", k, err)
	}
	f.started = !isGone(err)
	spec, err := readSpec(dir)
	if lacking(err) {
		return Found{}, fmt.Errorf("specification of run %v: %w", k, err)
	}
	// The daemon writes the specification before the wrapper is there. Without
	// one, nothing was started, as far as this directory can tell.
	f.sameBoot = err != nil || spec.Boot == s.boot
	lock, unborn := s.readLock(k)
	f.begun = unborn == nil
	f.gone = err != nil && (followed != nil || f.begun)
	remains := remains{dir: dir, spec: spec, sameBoot: f.sameBoot, config: s.config}
	remains.started, _ = wrapper.ParseStarted(note) // may be empty: the wrapper was killed in between
	remains.lock = lock
	if f.result {
		if f.sameBoot {
			remains.endHung(&result)
		} else {
			result.Hung = nil // none of them outlives the machine
		}
		return Found{decide(f), result}, nil
	}
	switch status {
	case wrapper.StatusNothing:
		f.nothing = true
	case wrapper.StatusUntold:
		f.untold = true
	case unknownStatus, 0:
	default: // it could not even write its number, which it does before anything else
		f.nothing = !f.begun && !f.started && !f.gone
	}
	marks := s.marks(k)
	var killed int
	var hung []wrapper.Hung
	switch {
	case spec != nil:
		killed, hung, err = remains.clear()
	case followed != nil:
		remains.spec = followed.spec
		killed, hung, err = remains.clear()
	default:
		killed, hung, err = s.clearUnknown(k, marks)
		f.gone = f.gone || killed+len(hung) > 0 // then it had been started
	}
	if followed != nil {
		marks[followed.pid] = ""
	}
	for pid := range marks { // one of them was the wrapper, whatever its lock says
		err = errors.Join(err, s.dropConfig(pid))
	}
	st := decide(f)
	result = wrapper.Result{
		Reason: st.String(), Text: s.because(k, st, f, status), PID: remains.started.PID, WrapperPID: remains.lock.PID, Exit: -1,
		Started: remains.started.At, Ended: time.Now(), Leftovers: killed, Hung: hung,
	}
	if err != nil {
		result.Text += "; " + err.Error()
	}
	if result.Started.IsZero() && f.started {
		if info, err := os.Lstat(filepath.Join(dir, wrapper.StartedFile)); err == nil {
			result.Started = info.ModTime()
		}
	}
	return Found{st, result}, nil
}

// because says in words why a run without a result is taken for what it is.
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
		return fmt.Sprintf("its directory %s was removed or changed while it ran, so how it ended is not known; the script must leave that alone", s.RunDir(k))
	case f.untold:
		return fmt.Sprintf("its wrapper could not write down how it ended: is there room in %s, and does the script leave the run's directory there alone?", s.config.RunsDir)
	}
	return "the wrapper was killed"
}

// unread is what is known of a run whose specification cannot be read.
func (s *Supervisor) unread(k Key) *wrapper.Spec {
	return &wrapper.Spec{ID: k.ID, Phase: k.Phase, Attempt: k.N, Boot: s.boot, Cgroup: s.cgroup, ConfigRoot: s.config.ConfigRoot}
}

// clearUnknown ends what is left of a run whose directory is gone, or has no
// specification any more: its processes are found by the beginning of their mark,
// which no other run's has. It returns what [remains.clear] does.
func (s *Supervisor) clearUnknown(k Key, marks map[int]string) (killed int, hung []wrapper.Hung, err error) {
	var faults []error
	for _, mark := range slices.Compact(slices.Sorted(maps.Values(marks))) {
		spec := s.unread(k)
		spec.Mark = mark
		r := remains{dir: s.RunDir(k), spec: spec, sameBoot: true, config: s.config}
		n, h, err := r.clear()
		killed, hung = killed+n, append(hung, h...)
		faults = append(faults, err)
	}
	return killed, hung, errors.Join(faults...)
}

// dropConfig removes the configuration directory of a wrapper that is gone, if it is
// still there: there was no place to keep it.
func (s *Supervisor) dropConfig(pid int) error {
	if p, ok := wrapper.Stat(pid); ok && !p.Dead() {
		return nil // its number, and so the directory's name, is another's now, who moved it aside
	}
	return removeTree(context.Background(), s.config.ConfigRoot, strconv.Itoa(pid))
}

// marks returns the marks, by process, of a run, its wrapper among them: if it is gone,
// its number is that of the configuration directory that its script was told of.
func (s *Supervisor) marks(k Key) map[int]string {
	marks, stem := make(map[int]string), "\x00"+wrapper.MarkVar+"="+s.markStem(k)
	for _, pid := range wrapper.Processes() {
		env := wrapper.Environ(pid)
		_, rest, ok := strings.Cut(env, stem)
		if !ok {
			continue
		}
		rest, _, _ = strings.Cut(rest, "\x00")
		marks[pid] = s.markStem(k) + rest
		_, dir, _ := strings.Cut(env, "\x00"+wrapper.ConfigVar+"="+s.config.ConfigRoot+"/")
		dir, _, _ = strings.Cut(dir, "\x00")
		if n, err := strconv.Atoi(dir); err == nil {
			marks[n] = marks[pid]
		}
	}
	return marks
}

// lacking reports whether err says that the system lacks something that it may have
// again.
func lacking(err error) bool { return err != nil && kind(err) == fault.Unavailable }

// isGone reports whether err says that a file of a run's is not there, or its
// directory.
func isGone(err error) bool { return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) }

// Bounds of what is read of a run's directory.
const (
	maxRunFile = 64 << 10
	maxSpec    = 64 << 20
)

// readRunFile reads a file of a run's directory. A script of the daemon's own user
// can put anything in its place: only what is a file, of a size that it may have, is read.
func readRunFile(dir, name string) (string, error) {
	if name == wrapper.SpecFile {
		return readFile(filepath.Join(dir, name), maxSpec)
	}
	return readFile(filepath.Join(dir, name), maxRunFile)
}

func readFile(name string, limit int64) (string, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > limit {
		return "", fmt.Errorf("%s is no file of a run's: %w", f.Name(), errors.Join(err, fault.Invalid))
	}
	data, err := io.ReadAll(io.LimitReader(f, limit))
	return string(data), err
}

func readResult(dir string) (wrapper.Result, error) {
	data, err := readRunFile(dir, wrapper.ResultFile)
	if err != nil {
		return wrapper.Result{}, err
	}
	return wrapper.ParseResult(data)
}

func readSpec(dir string) (*wrapper.Spec, error) {
	data, err := readRunFile(dir, wrapper.SpecFile)
	if err != nil {
		return nil, err
	}
	return wrapper.ParseSpec(data)
}
