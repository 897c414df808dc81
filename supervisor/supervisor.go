package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"activationd/internal/fault"
	"activationd/supervisor/wrapper"
)

// A Key names a run: one attempt of one phase of an activation.
type Key struct {
	ID, Phase string
	N         int
}

// String returns "<id>.<phase>.<n>", the name of the run's directory.
func (k Key) String() string { return k.ID + "." + k.Phase + "." + strconv.Itoa(k.N) }

func (k Key) check() error { return checkName(k.String()) }

func checkName(name string) error {
	if name == "" || name[0] == '.' || len(name) > 200 || strings.ContainsAny(name, "/\x00\n") {
		return fmt.Errorf("%q cannot be the name of a directory: %w", name, fault.Invalid)
	}
	return nil
}

// A Config says where a Supervisor finds and keeps things.
type Config struct {
	Atwrap     string // the wrapper's program
	RunsDir    string // the runs' directories are made in it; it must exist
	ConfigRoot string // the configuration directories are made in it; it must exist
	KeptDir    string // the activations' directories are made in it; it must exist when one is; empty: there are none
	Guard      string // wrapper.GuardSubreaper: do not use cgroups; empty: the best there is
	Log        *slog.Logger
	// Patience is how long a wrapper may take beyond its timeout, or a stop, and its
	// grace, before it is looked after. Zero: five seconds.
	Patience time.Duration
}

// A Supervisor is the set of the runs of a daemon. Its methods may be called
// by several goroutines.
type Supervisor struct {
	config     Config
	boot       string
	guard, why string
	cgroup     string        // parent of the runs' cgroups; empty: none
	files      wrapper.Limit // of a run that has no limit of its own
	oomReset   bool          // the daemon's runs shall not be spared as it is
	null       *os.File
	dir        *os.File // RunsDir, locked
	place      string   // of the runs: no other directory of this machine has it
	exits      chan Exit
	closing    chan struct{}
	followers  sync.WaitGroup // and who sweeps

	mu   sync.Mutex
	runs map[Key]*followed // nil while one is being started
}

// An Exit tells how a run ended.
type Exit struct {
	Key    Key
	Result wrapper.Result
}

// New finds out whether runs can be started here and how they can be
// contained. It starts no run. The caller closes the Supervisor.
func New(c Config) (*Supervisor, error) {
	for _, dir := range []*string{&c.Atwrap, &c.RunsDir, &c.ConfigRoot, &c.KeptDir} {
		if *dir == "" {
			continue
		}
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return nil, err
		}
		*dir = abs
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, fmt.Errorf("the boot's id: %w; is /proc mounted?", err)
	}
	if c.Patience == 0 {
		c.Patience = patience
	}
	s := &Supervisor{
		config: c, boot: strings.TrimSpace(string(boot)),
		exits: make(chan Exit), closing: make(chan struct{}), runs: make(map[Key]*followed),
	}
	if s.null, err = os.Open(os.DevNull); err != nil {
		return nil, err
	}
	if s.dir, err = lockRuns(c.RunsDir); err != nil {
		_ = s.null.Close()
		return nil, err
	}
	if s.place, err = placeOf(s.dir); err == nil {
		err = s.chooseGuard()
	}
	if err != nil {
		_ = s.null.Close()
		_ = s.dir.Close()
		return nil, err
	}
	if s.files, err = s.fileLimit(); err != nil {
		s.Close()
		return nil, err
	}
	if score, err := os.ReadFile("/proc/self/oom_score_adj"); err == nil {
		s.oomReset = strings.HasPrefix(string(score), "-")
	}
	s.followers.Go(s.sweepNamesakes)
	return s, nil
}

// lockRuns takes the lock of the directory of all runs. It tells wrappers that
// a daemon is there, and keeps a second daemon out. A wrapper that asks holds
// it for an instant.
func lockRuns(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for patience := time.Now().Add(lockPatience); ; time.Sleep(lockPause) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if err != unix.EWOULDBLOCK && err != unix.EINTR || time.Now().After(patience) {
			_ = f.Close()
			return nil, fmt.Errorf("lock of %s: %w; has another daemon the same runs? %w", dir, err, fault.Conflict)
		}
	}
}

// Guard returns how runs are contained, and why not better.
func (s *Supervisor) Guard() (guard, why string) { return s.guard, s.why }

// Exits yields one Exit for each successful Start and each Adopt that said
// Running. It is never closed. A run's Exit comes after its wrapper is gone and
// what that may have left has been cleared away. An Exit whose Result has
// processes that hang is not the last: another one follows when they are gone.
func (s *Supervisor) Exits() <-chan Exit { return s.exits }

// Start makes the run's directory and starts its wrapper. It does not wait for
// the script. After an error there is neither directory nor wrapper; the error
// is of kind Conflict if there was such a run already.
func (s *Supervisor) Start(k Key, spec wrapper.Spec) error {
	if err := k.check(); err != nil {
		return err
	}
	s.fill(k, &spec)
	if err := spec.Check(); err != nil {
		return fmt.Errorf("run %v: %w: %w", k, err, fault.Invalid)
	}
	s.mu.Lock()
	_, dup := s.runs[k]
	if !dup {
		s.runs[k] = nil
	}
	s.mu.Unlock()
	if dup {
		return fmt.Errorf("run %v is there already: %w", k, fault.Conflict)
	}
	w, err := s.spawn(k, &spec)
	if err != nil {
		s.forget(k)
		return err
	}
	return s.follow(k, w, &spec)
}

// fill sets what only the supervisor knows.
func (s *Supervisor) fill(k Key, spec *wrapper.Spec) {
	spec.ID, spec.Phase, spec.Attempt = k.ID, k.Phase, k.N
	spec.Boot, spec.Mark = s.boot, s.mark(k)
	spec.ConfigRoot, spec.Cgroup = s.config.ConfigRoot, s.cgroup
	if !slices.ContainsFunc(spec.Limits, func(l wrapper.Limit) bool { return l.Name == s.files.Name }) {
		spec.Limits = append(slices.Clone(spec.Limits), s.files)
	}
	spec.Limits = Lower(spec.Limits, spec.AtMost)
	spec.OOMReset = s.oomReset
}

// Lower returns limits with none higher than in most, which has no unlimited
// hard ones.
func Lower(limits, most []wrapper.Limit) []wrapper.Limit {
	limits = slices.Clone(limits)
	for _, m := range most {
		i := slices.IndexFunc(limits, func(l wrapper.Limit) bool { return l.Name == m.Name })
		if i < 0 {
			limits = append(limits, m)
			continue
		}
		limits[i].Soft, limits[i].Hard = min(limits[i].Soft, m.Soft, m.Hard), min(limits[i].Hard, m.Hard)
	}
	return limits
}

// Stop asks for the run's end: TERM, the grace, KILL. It does not wait for it.
// A run that has ended, or is not followed, is no error.
func (s *Supervisor) Stop(k Key) error {
	s.mu.Lock()
	f := s.runs[k]
	s.mu.Unlock()
	if f == nil || f.pidfd == nil {
		return nil
	}
	s.expectEnd(f, time.Now().Add(f.spec.Grace))
	err := control(f.pidfd, func(fd int) error { return unix.PidfdSendSignal(fd, wrapper.StopSignal, nil, 0) })
	if err == nil || errors.Is(err, unix.ESRCH) || errors.Is(err, os.ErrClosed) {
		return nil
	}
	return fmt.Errorf("stop run %v: %w", k, err)
}

// Started returns the script's process id and when it was started. It answers
// for a run whose script may have started and whose directory is there.
func (s *Supervisor) Started(k Key) (pid int, at time.Time, ok bool) {
	data, err := readRunFile(s.RunDir(k), wrapper.StartedFile)
	if err != nil {
		return 0, time.Time{}, false
	}
	st, err := wrapper.ParseStarted(data)
	return st.PID, st.At, err == nil
}

// RunDir returns the path of the run's directory.
func (s *Supervisor) RunDir(k Key) string { return filepath.Join(s.config.RunsDir, k.String()) }

// Remove removes the directory of a run that has ended. One that is not there
// is no error; one that is followed is one of kind Conflict. When ctx is done
// before it, it is one of kind Unavailable, and can go on later.
func (s *Supervisor) Remove(ctx context.Context, k Key) error {
	if err := k.check(); err != nil {
		return err
	}
	s.mu.Lock()
	_, live := s.runs[k]
	s.mu.Unlock()
	if live {
		return fmt.Errorf("run %v has not ended: %w", k, fault.Conflict)
	}
	if s.cgroup != "" { // kept as long as what a script was allowed to leave behind lives
		_ = wrapper.RemoveEmptyCgroup(filepath.Join(s.cgroup, k.String()))
	}
	if err := removeTree(ctx, s.config.RunsDir, k.String()); err != nil {
		return err
	}
	s.dropLock(k)
	return nil
}

// removeTree is [wrapper.RemoveTree], until ctx is done.
func removeTree(ctx context.Context, dir, name string) error {
	err := wrapper.RemoveTree(dir, name, func() bool { return ctx.Err() != nil })
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s: a part of it is left: %w: %w", filepath.Join(dir, name), context.Cause(ctx), fault.Unavailable)
	}
	return fmt.Errorf("%s: %w", filepath.Join(dir, name), err)
}

// Close lets go of all runs and stops none. It returns when all goroutines of
// the Supervisor have ended. Exits that were not received are there for the
// next daemon to find.
func (s *Supervisor) Close() {
	s.mu.Lock()
	select {
	case <-s.closing:
	default:
		close(s.closing)
	}
	for _, f := range s.runs {
		if f != nil {
			_ = f.pidfd.Close()
			_ = f.hung.Close() // nil, or closed already, is fine for both
		}
	}
	s.mu.Unlock()
	s.followers.Wait()
	if s.cgroup != "" {
		s.sweepCgroups(s.cgroup)
		_ = os.Remove(s.cgroup) // is refused while there are runs; a wrapper that needs it makes it again
	}
	_ = s.null.Close()
	_ = s.dir.Close()
}

func (s *Supervisor) forget(k Key) {
	s.mu.Lock()
	delete(s.runs, k)
	s.mu.Unlock()
}
