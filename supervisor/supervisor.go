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

// ParseKey reads what [Key.String] wrote, and nothing else.
func ParseKey(s string) (k Key, ok bool) {
	rest, n, ok1 := cutLast(s, ".")
	id, phase, ok2 := cutLast(rest, ".")
	number, err := strconv.Atoi(n)
	k = Key{ID: id, Phase: phase, N: number}
	return k, ok1 && ok2 && err == nil && k.String() == s
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func (k Key) check() error { return checkName(k.String()) }

func checkName(name string) error {
	if name == "" || name[0] == '.' || len(name) > 200 || strings.ContainsAny(name, "/\x00\n") {
		return fmt.Errorf("%q cannot be the name of a directory: %w", name, fault.Invalid)
	}
	return nil
}

// A Config says where a Supervisor finds and keeps things.
type Config struct {
	Atwrap      string // the wrapper's program
	RunsDir     string // holds the runs' directories; it must exist
	ConfigRoot  string // holds the configuration directories of scripts; it must exist
	WorkdirsDir string // holds the activations' work directories; it must exist by the time one is made; empty: there are none
	Guard       string // wrapper.GuardSubreaper: use no cgroups; wrapper.GuardCgroup: New fails without them; empty: the best there is
	Log         *slog.Logger
	// Privileged does what needs root's rights. Nil: this process does it itself.
	Privileged Privileged
	// Patience is how long a wrapper may take to end after its timeout or a stop, and
	// its grace, before the supervisor intervenes. Zero: five seconds.
	Patience time.Duration
}

// A Supervisor is the set of the runs of a daemon. Its methods may be called
// by several goroutines.
type Supervisor struct {
	config     Config
	boot       string
	privileged Privileged
	contained  Containment
	files      wrapper.Limit // of a run that has no limit of its own
	oomReset   bool          // the daemon is spared when memory is short; its runs must not be
	null       *os.File
	dir        *os.File // RunsDir, locked
	place      string   // identifies RunsDir on this machine
	exits      chan Exit
	notices    chan Notice
	sockets    sockets
	tee        tee
	begins     chan Key
	noticing   sync.Mutex // held while a Notice is read and sent
	closing    chan struct{}
	followers  sync.WaitGroup // and the goroutines that sweep

	mu      sync.Mutex
	runs    map[Key]*followed // nil while one is being started
	streams map[Key]kept      // until their runs are removed
	watcher watcher
}

// An Exit says how a run ended.
type Exit struct {
	Key    Key
	Result wrapper.Result
}

// New finds out whether runs can be started here and how their processes can be
// contained. It starts no run. The caller closes the Supervisor. The error is of kind
// fault.Conflict if another daemon uses RunsDir, fault.Invalid if Atwrap is not the
// wrapper, and fault.Unavailable if the Guard that Config names is not possible here.
func New(c Config) (*Supervisor, error) {
	for _, dir := range []*string{&c.Atwrap, &c.RunsDir, &c.ConfigRoot, &c.WorkdirsDir} {
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
		exits: make(chan Exit), notices: make(chan Notice), begins: make(chan Key), closing: make(chan struct{}), runs: make(map[Key]*followed), streams: make(map[Key]kept),
		sockets: sockets{open: make(map[string]socket)},
	}
	if s.null, err = os.Open(os.DevNull); err != nil {
		return nil, err
	}
	if s.dir, err = lockRuns(c.RunsDir); err != nil {
		_ = s.null.Close()
		return nil, err
	}
	if s.privileged = c.Privileged; s.privileged == nil {
		s.privileged, err = newDirect(c)
	}
	if err == nil {
		s.place, err = placeOf(s.dir)
	}
	if err == nil {
		s.contained, err = s.privileged.Contain(c.Guard)
	}
	if err == nil {
		s.files, err = fileLimit()
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	if score, err := os.ReadFile("/proc/self/oom_score_adj"); err == nil {
		s.oomReset = strings.HasPrefix(string(score), "-")
	}
	s.followers.Go(s.sweepNamesakes)
	return s, nil
}

// lockRuns takes the lock of the directory of all runs. The lock shows wrappers that
// a daemon is there, and keeps a second daemon out. A wrapper that tests it holds it
// for an instant.
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
			return nil, fmt.Errorf("lock of %s: %w; does another daemon use the same directory? %w", dir, err, fault.Conflict)
		}
	}
}

// Guard returns how the processes of runs are contained, and why not in a better way.
func (s *Supervisor) Guard() (guard, why string) { return s.contained.Guard, s.contained.Why }

// Exits yields one Exit for each successful Start and each Adopt that returned
// Running. It is never closed. A run's Exit comes when its wrapper is gone and
// everything it may have left has been cleared away. An Exit whose Result names
// processes that hang is not the last: another one follows when they are gone.
func (s *Supervisor) Exits() <-chan Exit { return s.exits }

// Start makes the run's directory and starts its wrapper. It does not wait for the
// script. After an error there is neither directory nor wrapper; the error is of kind
// fault.Conflict if there is such a run already.
//
// The run gets the listening sockets at spec.Addresses. Those that are not open yet are
// opened, and stay open: see [Supervisor.CloseSockets]. If that is not possible now, the
// error is of kind fault.Conflict if another program has the address, fault.Denied or
// fault.NotFound if somebody has to do something first, and fault.Unavailable if time may help.
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
		return fmt.Errorf("run %v exists already: %w", k, fault.Conflict)
	}
	sockets, err := s.forRun(&spec)
	var stream []int
	if err == nil && spec.Stream {
		if stream, err = pipes(); err != nil {
			err = fmt.Errorf("start of run %v: %w", k, err)
		}
	}
	var w Child
	if err == nil {
		w, err = s.spawn(k, &spec, slices.Concat(sockets, stream))
	}
	closeAll(sockets)
	if spec.Stream && err == nil {
		closeAll(stream[2:])
		s.dropStream(k) // of a run of this name whose directory somebody else has removed
		// It fails if the Supervisor is being closed, see follow.
		_, _ = s.keepStream(k, s.newStream(k, stream[0], stream[1]), nil)
	} else {
		closeAll(stream)
	}
	if err != nil {
		s.forget(k)
		return err
	}
	return s.follow(k, w, &spec)
}

// fill sets the fields that only the supervisor knows.
func (s *Supervisor) fill(k Key, spec *wrapper.Spec) {
	spec.ID, spec.Phase, spec.Attempt = k.ID, k.Phase, k.N
	spec.Boot, spec.Mark = s.boot, s.mark(k)
	spec.ConfigRoot, spec.Cgroup = s.config.ConfigRoot, s.contained.Cgroup
	if !slices.ContainsFunc(spec.Limits, func(l wrapper.Limit) bool { return l.Name == s.files.Name }) {
		spec.Limits = append(slices.Clone(spec.Limits), s.files)
	}
	spec.Limits = Lower(spec.Limits, spec.AtMost)
	spec.OOMReset = s.oomReset
}

// Missing says what keeps a command from being started now; empty: nothing is known to.
func (s *Supervisor) Missing(c wrapper.Command) string { return s.privileged.Missing(c) }

// Stop asks the wrapper to end the run: TERM, the grace, KILL. It does not wait for the
// end. A run that has ended, or is not followed, is no error.
func (s *Supervisor) Stop(k Key) error {
	s.mu.Lock()
	f := s.runs[k]
	s.mu.Unlock()
	if f == nil || f.pidfd == nil {
		return nil
	}
	s.expectEnd(f, time.Now().Add(f.spec.Grace))
	err := s.signal(f, wrapper.StopSignal)
	if err == nil || errors.Is(err, unix.ESRCH) || errors.Is(err, os.ErrClosed) {
		return nil
	}
	return fmt.Errorf("stop run %v: %w", k, err)
}

// Kill ends a run at once that was asked to stop before: all its processes get KILL. With
// another guard than a cgroup, that takes the wrapper along: the run is Lost, and what it has
// left is cleared. It does not wait for the end. A run that has ended, or is not followed, is
// no error.
func (s *Supervisor) Kill(k Key) error {
	s.mu.Lock()
	f := s.runs[k]
	s.mu.Unlock()
	if f == nil || f.pidfd == nil {
		return nil
	}
	var err error
	if s.contained.Guard == wrapper.GuardCgroup {
		err = s.privileged.KillCgroup(k.String())
	} else {
		err = s.signal(f, unix.SIGKILL)
	}
	if err == nil || errors.Is(err, unix.ESRCH) || errors.Is(err, os.ErrClosed) {
		return nil
	}
	return fmt.Errorf("kill run %v: %w", k, err)
}

// Started returns the script's process id and when it was started; ok is false if the
// script has not started, or the run's directory is gone.
func (s *Supervisor) Started(k Key) (pid int, at time.Time, ok bool) {
	data, err := s.readRunFile(k, wrapper.StartedFile)
	if err != nil {
		return 0, time.Time{}, false
	}
	st, err := wrapper.ParseStarted(data)
	return st.PID, st.At, err == nil
}

// Files lists the files of the script's configuration directory: see [Privileged].
func (s *Supervisor) Files(k Key) ([]File, error) { return s.privileged.Files(k.String()) }

// Open opens a file of the run's directory for reading, or, with the name config/FILE, one of the script's configuration
// directory. The caller closes it. The error
// is os.ErrNotExist if there is no such file, and of kind fault.Invalid if it is not a
// regular file.
func (s *Supervisor) Open(k Key, name string) (*os.File, error) {
	return s.privileged.Open(k.String(), name)
}

// RunDir returns the path of the run's directory.
func (s *Supervisor) RunDir(k Key) string { return filepath.Join(s.config.RunsDir, k.String()) }

// Remove removes the directory of a run that has ended. If there is none, that is no
// error. If the run is still followed, the error is of kind fault.Conflict. If ctx is
// done first, a part is left and the error is of kind fault.Unavailable; a later call
// goes on.
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
	s.dropStream(k)
	s.dropLock(k) // first: a directory that is left is found again, a lock alone says less
	return s.privileged.Remove(ctx, RunDirs, k.String())
}

// Size returns how many bytes the directory of a run takes on disk. For a directory
// with very many files the result is too small.
func (s *Supervisor) Size(k Key) int64 { return s.privileged.Size(k.String()) }

// Close stops following all runs and stops none of them. It returns when all goroutines
// of the Supervisor have ended. The next daemon finds the Exits that nobody received.
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
			_ = f.hung.Close() // either may be nil, or closed already
		}
	}
	_ = s.watcher.inotify.Close() // likewise
	s.mu.Unlock()
	s.dropStreams()
	s.followers.Wait()
	s.letGo()
	s.privileged.Close()
	_ = s.null.Close()
	_ = s.dir.Close()
}

func (s *Supervisor) forget(k Key) {
	s.mu.Lock()
	delete(s.runs, k)
	s.unwatchLocked(k)
	s.mu.Unlock()
}
