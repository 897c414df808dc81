package wrapper

import (
	"errors"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Descriptors that the supervisor hands to a wrapper. Standard input is the
// script's, standard output and error are the run's log.
const (
	stdinFD = iota
	logFD
	_
	dirFD  // the run directory
	lockFD // its lock, taken
)

// Statuses with which a wrapper exits. The daemon goes by the result, and by these
// where there is none.
const (
	statusTold = 0 // the result is written
	// StatusUntold is that of a wrapper whose script ran, and which could not write the result.
	StatusUntold = 1
	// StatusNothing is that of a wrapper that could not write the result either, and
	// whose script never ran. It is none of those that Go's runtime has: with 2 it ends
	// when there is no memory or no thread for it.
	StatusNothing = 3
	// StatusMisused is a wrapper's answer to whoever is not a supervisor.
	StatusMisused = 125
)

// A run is the one run that the process is the wrapper of.
type run struct {
	spec   *Spec
	result Result

	stops     int    // signalfd of StopSignal
	script    int    // pidfd of the script
	pipe      int    // the script's output; -1 if it has none, or all of it is read
	cgroup    int    // the run's own; -1: none
	cgroupDir string // its path
	configDir string
	topology  string // its path; empty: there is none
	resultFD  int    // the result's file, not yet under its name

	held    time.Duration // how long the start was held back, which its timeout counts
	log     *log
	pid     int  // the script's, which is its group's too
	stopped bool // someone asked
	ended   bool // the script has
	reaped  bool // and its number is free
	status  syscall.WaitStatus
}

// Main is the wrapper process. It returns its exit status.
func Main() int {
	if !stopBlocked() {
		_, _ = writeAll(2, []byte("atwrap: activationd starts it, with its run's directory; it cannot be used by hand\n"))
		return StatusMisused
	}
	if err := syscall.Flock(lockFD, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return StatusMisused // another wrapper has this run, or there is no such descriptor
	}
	ignoreSignals()
	w := &run{pipe: -1, cgroup: -1, script: -1}
	w.result = Result{Exit: -1, WrapperPID: syscall.Getpid(), Contained: GuardSubreaper}
	lock := Lock{w.result.WrapperPID, boottime()}.encode()
	if n, err := syscall.Pwrite(lockFD, lock, 0); n < len(lock) || err != nil {
		return StatusNothing
	}
	if unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != nil {
		w.result.Contained = GuardGroup
	}
	syscall.CloseOnExec(dirFD)
	syscall.CloseOnExec(lockFD)
	if err := w.openResult(); err != nil {
		return StatusNothing
	}
	w.all()
	return w.tell()
}

// all is the run from its specification to its script's end, and what is to be
// cleared away after it.
func (w *run) all() {
	data, err := readFile(dirFD, SpecFile, 64<<20)
	if err == nil {
		w.spec, err = ParseSpec(data)
	}
	if err != nil {
		w.fails(NotStarted, SpecFile, err)
		return
	}
	defer w.clear()
	if c := w.prepare(); c != nil && w.arm() && w.thaw() && w.launch(c) {
		w.follow()
		w.finish()
	}
}

// fails says why there is no script, and for which reason of [Failed], [NotStarted]
// and [Disarmed]. It returns false.
func (w *run) fails(reason, what string, err error) bool {
	w.result.Reason = reason
	w.note(errnoText(what, err))
	if reason == Failed && w.result.Exit < 0 {
		w.result.Exit = 126
	}
	return false
}

// blame is whose fault it is that something failed which depends on what the script
// asks for: its own, if what it names is not there or not so. Everything else the
// system may have again: processes, memory, room, a file system that answers, a
// program that nobody is writing any more.
func blame(err error) (reason string) {
	for _, own := range [...]error{syscall.ENOENT, syscall.ENOTDIR, syscall.EACCES, syscall.EPERM, syscall.ELOOP, syscall.ENAMETOOLONG,
		syscall.EISDIR, syscall.ENOEXEC, syscall.ELIBBAD, syscall.E2BIG, syscall.EINVAL} {
		if errors.Is(err, own) {
			return Failed
		}
	}
	return NotStarted
}

// StopSignal asks a wrapper to stop its run. It is not SIGTERM: Go's runtime
// lets that one through to all of its threads from the beginning, so that a
// stop which comes before the wrapper is ready would kill it. This one stays
// blocked, as the supervisor blocked it before the wrapper was born, and waits.
const StopSignal = syscall.SIGUSR2

// stopBlocked reports whether the process was born with StopSignal blocked.
func stopBlocked() bool {
	var old unix.Sigset_t
	return unix.PthreadSigmask(unix.SIG_BLOCK, nil, &old) == nil && old.Val[0]&stopSet().Val[0] != 0
}

func stopSet() (s unix.Sigset_t) {
	s.Val[0] = 1 << (StopSignal - 1)
	return s
}

// ignored are signals that would end the wrapper while its script lives on.
// They come when a machine goes down, to everybody: the script ends of them, or
// does not, and the wrapper is to tell of it.
var ignored = [...]uintptr{uintptr(syscall.SIGHUP), uintptr(syscall.SIGINT), uintptr(syscall.SIGQUIT), uintptr(syscall.SIGTERM)}

// sigaction is the kernel's structure, in the longest of its forms. All zeros
// is the default action.
type sigaction struct {
	handler uintptr
	rest    [15]uintptr
}

// inherited are signals that Go's runtime leaves as it finds them. Whoever
// started the daemon may have ignored them, which a script would inherit.
var inherited = [...]uintptr{uintptr(syscall.SIGCONT), uintptr(syscall.SIGTSTP), uintptr(syscall.SIGTTIN), uintptr(syscall.SIGTTOU), 32, 33, 34}

func ignoreSignals() {
	ign := sigaction{handler: 1}
	for _, sig := range ignored {
		_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&ign)), 0, 8, 0, 0)
	}
}

// prepare makes ready everything that the script needs but its process. It returns
// nil if it could not.
func (w *run) prepare() *child {
	c, err := newChild(w.spec)
	if err != nil {
		w.fails(blame(err), "script", err)
		return nil
	}
	if err := w.makeConfigDir(); err != nil {
		w.fails(NotStarted, "configuration directory", err)
		return nil
	}
	w.makeCgroup()
	c.cgroup = w.cgroup
	set := stopSet()
	if w.stops, err = unix.Signalfd(-1, &set, unix.SFD_CLOEXEC|unix.SFD_NONBLOCK); err != nil {
		w.fails(NotStarted, "signalfd", err)
		return nil
	}
	w.log = newLog(w.spec)
	var p [2]int
	if err := syscall.Pipe2(p[:], syscall.O_CLOEXEC); err != nil {
		w.fails(NotStarted, "pipe", err)
		return nil
	}
	w.pipe, c.out = p[0], p[1]
	if w.spec.UID > 0 { // so that it can open /dev/stderr
		_ = syscall.Fchown(c.out, w.spec.UID, -1)
	}
	return c
}

// launch writes down that the script may have run from now on, and starts it.
func (w *run) launch(c *child) bool {
	note, err := openat(dirFD, StartedFile, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_EXCL, 0o600)
	if err != nil {
		return w.fails(NotStarted, StartedFile, err)
	}
	defer closeFD(note)
	now := time.Now()
	if c.envv, err = w.environment(now); err != nil {
		return w.fails(Failed, "environment", err)
	}
	pid, step, errno := c.start()
	if errno != 0 && c.cgroup >= 0 && pid == 0 {
		w.note(errnoText("cannot be born into a cgroup", errno))
		w.dropCgroup()
		c.cgroup = -1
		pid, step, errno = c.start()
	}
	if c.out >= 0 {
		closeFD(c.out)
	}
	if pid == 0 {
		return w.fails(NotStarted, "fork", errno)
	}
	w.pid, w.script = pid, int(c.pidfd)
	if step == stepUnborn {
		w.finish()
		return w.unborn()
	}
	if step != 0 {
		w.finish()
		w.result.Exit = -1
		switch {
		case step == stepExec && errno == syscall.ENOENT:
			w.result.Exit = 127
			return w.fails(Failed, w.spec.Argv[0], errno)
		case step == stepExec:
			return w.fails(blame(errno), w.spec.Argv[0], errno)
		case step == stepDir:
			return w.fails(blame(errno), stepNames[step], errno)
		}
		return w.fails(NotStarted, stepNames[step], errno)
	}
	w.result.PID, w.result.Started = pid, now
	s := Started{PID: pid, Born: boottime(), At: now, Cgroup: w.cgroupDir}
	if _, err := writeAll(note, s.encode()); err != nil {
		w.note(errnoText(StartedFile, err)) // it exists, and the run's mark finds the rest
	}
	return true
}

// unborn tells of a process that was killed before it did anything: its cgroup
// was frozen in the moment of its birth, and the daemon ended that. It returns false.
func (w *run) unborn() bool {
	w.wait(0)
	w.result.Reason, w.result.Exit, w.result.Signal = TimedOut, -1, 0
	if w.stopped {
		w.result.Reason = Disarmed
	}
	w.note("the script never ran: its process was killed when it was born")
	return false
}

// environment returns the script's, with what only the wrapper knows.
func (w *run) environment(now time.Time) ([]*byte, error) {
	env := make([]string, 0, len(w.spec.Env)+4)
	for _, e := range w.spec.Env {
		switch name, _, _ := strings.Cut(e, "="); name {
		case ConfigVar, deadlineVar, topologyVar, MarkVar:
		default:
			env = append(env, e)
		}
	}
	if w.configDir != "" {
		env = append(env, ConfigVar+"="+w.configDir)
	}
	if w.topology != "" {
		env = append(env, topologyVar+"="+w.topology)
	}
	if w.spec.Mark != "" {
		env = append(env, MarkVar+"="+w.spec.Mark)
	}
	if d := w.spec.deadline(now.Add(-w.held)); d != "" {
		env = append(env, deadlineVar+"="+d)
	}
	return syscall.SlicePtrFromStrings(env)
}

// Variables of the environment: MarkVar marks a run's processes, ConfigVar is the
// configuration directory, which has the wrapper's number for its name.
const (
	MarkVar     = "ACTIVATION_RUN"
	ConfigVar   = "ACTIVATION_CONFIG_DIR"
	deadlineVar = "ACTIVATION_DEADLINE"
	topologyVar = "ACTIVATION_TOPOLOGY"
)

// note adds a sentence to what the result says to people.
func (w *run) note(s string) {
	if w.result.Text != "" {
		w.result.Text += "; "
	}
	for len(s) > 0 { // names are bytes, and this is text
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && n == 1 {
			w.result.Text += `\x` + strconv.FormatUint(uint64(s[0]), 16)
		} else {
			w.result.Text += s[:n]
		}
		s = s[n:]
	}
}

// clear moves or removes what the run leaves outside of its directory, and
// completes the log.
func (w *run) clear() {
	if w.cgroup >= 0 && !w.keeps() {
		w.dropCgroup()
	}
	if err := SaveConfig(w.configDir, dirFD); err != nil {
		w.note(errnoText("configuration directory not kept", err))
	}
	if w.log != nil {
		if text := w.log.close(); text != "" {
			w.note(text)
		}
	}
	if w.keeps() && w.pipe >= 0 {
		w.leaveReader()
	} else if w.keeps() && w.cgroup >= 0 {
		_ = RemoveEmptyCgroup(w.cgroupDir) // unless somebody is in it still
	}
}

// laterMost is how much output is kept of what a script has left behind.
const laterMost = 1 << 20

// leaveReader leaves somebody behind who empties the pipe, as long as anybody has its
// other end: it is the script's user, in the run's cgroup, and goes with the rest.
func (w *run) leaveReader() {
	reader := *w.spec
	reader.Argv = []string{"/bin/sh", "-c", "exec 2>/dev/null; cat; exec cat >/dev/null"} // 2: the shell says how the first one ends
	reader.Dir, reader.NoCaps = "/", true
	var st syscall.Stat_t
	if err := syscall.Fstat(logFD, &st); err != nil {
		st.Size = 0
	}
	most := uint64(st.Size) + laterMost // the first cat ends at that size
	var own syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_FSIZE, &own) == nil {
		most = min(most, own.Max) // without root it cannot be more
	}
	reader.Limits = []Limit{{Name: "fsize", Soft: most, Hard: most}, {Name: "core"}}
	c, err := newChild(&reader)
	if err == nil {
		err = syscall.Dup3(w.pipe, stdinFD, 0)
	}
	if err == nil {
		env := []string{"PATH=/usr/bin:/bin"}
		if w.spec.Mark != "" {
			env = append(env, MarkVar+"="+w.spec.Mark)
		}
		c.envv, err = syscall.SlicePtrFromStrings(env)
	}
	if err == nil {
		if !Frozen(w.cgroupDir) { // there it would not begin, and this process would wait for it
			c.cgroup = w.cgroup
		}
		if _, _, errno := c.start(); errno != 0 {
			err = errno
		}
	}
	if err != nil {
		w.note(errnoText("nobody reads what the script left behind writes", err))
	}
}

// keeps reports whether what the script left behind is to be left alone.
func (w *run) keeps() bool { return w.spec.Keep && w.result.Reason == Exited }

// openResult makes the result's file and reserves its room, so that a disk
// that is full at the run's end does not make the run a lost one.
func (w *run) openResult() (err error) {
	w.resultFD, err = openat(dirFD, resultNew, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_EXCL, 0o600)
	if err == nil {
		// Some file systems have no such thing; then there is tell's patience.
		_ = syscall.Fallocate(w.resultFD, unix.FALLOC_FL_KEEP_SIZE, 0, 4096)
	}
	return err
}

// How often and how long a result that finds no room on the disk is tried.
const (
	tellTries = 60
	tellPause = time.Second
)

// tell writes the result, and makes it durable unless a daemon is there: that
// will read it in a moment and put it into its store, which is durable, before
// anybody is told. Two fsyncs per run would treble the time that a run takes
// under load, to win nothing but the case in which a daemon is killed in that
// moment and the machine loses its power within seconds; then the run is lost.
//
// The rename goes before the fsyncs, so that both find their work in one commit
// of the file system's journal. A reader does not mind: it goes by the last
// line, and does not read before the wrapper is gone.
func (w *run) tell() int {
	if w.result.Ended.IsZero() {
		w.result.Ended = time.Now()
	}
	if len(w.result.Text) > 2000 { // stay within what is reserved
		w.result.Text = w.result.Text[:2000]
	}
	data := w.result.encode()
	for try := 0; ; try++ {
		_, err := syscall.Pwrite(w.resultFD, data, 0)
		if err == nil {
			break
		}
		if try == tellTries || err != syscall.ENOSPC && err != syscall.EDQUOT && err != syscall.EINTR {
			return w.untold()
		}
		pause(tellPause)
	}
	if unix.Renameat(dirFD, resultNew, dirFD, ResultFile) != nil {
		return w.untold()
	}
	if daemonThere() {
		return statusTold
	}
	if syscall.Fsync(w.resultFD) != nil || syscall.Fsync(dirFD) != nil {
		return w.untold() // it can be read, but may not outlive the machine
	}
	return statusTold
}

// untold is the status of a wrapper that cannot write the result.
func (w *run) untold() int {
	if w.result.PID == 0 {
		return StatusNothing
	}
	return StatusUntold
}

// daemonThere reports whether a supervisor has the directory of all runs,
// which it locks as long as it follows them.
func daemonThere() bool {
	runs, err := openat(dirFD, "..", syscall.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return false
	}
	defer closeFD(runs)
	return syscall.Flock(runs, syscall.LOCK_SH|syscall.LOCK_NB) == syscall.EWOULDBLOCK
}

func pause(d time.Duration) {
	ts := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&ts, nil)
}
