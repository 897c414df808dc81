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
	// FirstSocket is the descriptor of the first socket that the wrapper keeps for the
	// script; the others follow.
	FirstSocket
)

// Statuses with which a wrapper exits. The daemon goes by the result, and by the status
// if there is no result.
const (
	statusReported = 0 // the result is written
	// StatusUnreported means that the script ran and the result could not be written.
	StatusUnreported = 1
	// StatusNotStarted means that the script never ran and the result could not be written.
	// Go's runtime uses other statuses: it exits with 2 when it cannot get memory or a thread.
	StatusNotStarted = 3
	// StatusMisused means that the wrapper was not started by a supervisor.
	StatusMisused = 125
)

// A run is the run that this process is the wrapper of.
type run struct {
	spec   *Spec
	result Result

	stops     int    // signalfd of StopSignal and InputSignal
	script    int    // pidfd of the script
	pipe      int    // the script's output; -1 if there is none, or all of it is read
	cgroup    int    // the run's own, open; -1: none
	cgroupDir string // its path
	configDir string
	notifier  notifier
	topology  string // path of the topology; empty: there is none
	resultFD  int    // the result's file, which still has another name

	held    time.Duration // how long a frozen cgroup held back the start; its timeout includes that
	limit   time.Duration // monotonic: when the script is asked to end, or killed after that; -1: never
	quiet   quiet
	strays  int // signalfd of CHLD, while the process is idle; -1 otherwise
	timer   int // timerfd of limit, likewise
	log     *log
	pid     int  // the script's, which is its group's too
	stopped bool // StopSignal came
	ended   bool // the script has ended
	reaped  bool // the script was reaped: its process id is free
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
	w := &run{pipe: -1, cgroup: -1, script: -1, limit: -1, strays: -1, timer: -1, notifier: notifier{socket: -1}}
	if state, ok := idleState(); ok {
		if w.resume(state) != nil {
			return StatusUnreported
		}
		w.attend()
		w.cleanup()
		return w.writeResult()
	}
	w.result = Result{Exit: -1, WrapperPID: syscall.Getpid(), Contained: GuardSubreaper}
	lock := Lock{w.result.WrapperPID, boottime()}.encode()
	if n, err := syscall.Pwrite(lockFD, lock, 0); n < len(lock) || err != nil {
		return StatusNotStarted
	}
	if unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != nil {
		w.result.Contained = GuardGroup
	}
	syscall.CloseOnExec(dirFD)
	syscall.CloseOnExec(lockFD)
	if err := w.openResult(); err != nil {
		return StatusNotStarted
	}
	w.execute()
	return w.writeResult()
}

// execute carries out the run, from reading its specification to clearing away what its
// script leaves.
func (w *run) execute() {
	data, err := readFile(dirFD, SpecFile, 64<<20)
	if err == nil {
		w.spec, err = ParseSpec(data)
	}
	if err != nil {
		w.fails(NotStarted, SpecFile, err)
		return
	}
	defer w.cleanup()
	if c := w.prepare(); c != nil && w.arm() && w.thaw() && w.launch(c) {
		w.quiet = newQuiet()
		w.attend()
	}
}

// attend stays with the script until nothing is left of it.
func (w *run) attend() {
	w.follow()
	w.finish()
	if w.result.Reason == Exited && (w.result.Exit == 126 || w.result.Exit == 127) {
		if text := w.spec.Command().hint(); text != "" {
			w.note(text)
		}
	}
}

// fails notes in the result why the script cannot be started. The reason is [Failed],
// [NotStarted] or [Disarmed]. It returns false.
func (w *run) fails(reason, what string, err error) bool {
	return w.failsFor(reason, errnoText(what, err))
}

// failsFor is fails with a text for people.
func (w *run) failsFor(reason, text string) bool {
	w.result.Reason = reason
	w.note(text)
	if reason == Failed && w.result.Exit < 0 {
		w.result.Exit = 126
	}
	return false
}

// whyNot says why a step that depends on the script failed. The kernel says "no such file"
// of a script that is there, but not its interpreter.
func (w *run) whyNot(step int, errno syscall.Errno) string {
	what := stepNames[stepDir] + " " + w.spec.Dir
	if step == stepExec {
		what = w.spec.Argv[0]
	}
	if blame(errno) != Failed {
		return errnoText(what, errno)
	}
	if text := w.spec.Command().Missing(); text != "" {
		return text
	}
	switch {
	case step == stepExec && errno == syscall.ENOENT:
		return what + ": it is there, but not the program that loads it; was it built for another system?"
	case step == stepExec && errno == syscall.ENOEXEC:
		return what + " is not a program for this machine"
	}
	return errnoText(what, errno)
}

// blame returns the reason for a failed step that depends on the specification. The
// reason is Failed if something that the specification names is missing or unsuitable.
// All other errors can go away: the system may again have processes, memory, room, a file
// system that answers, a program that is not being written.
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
// unblocks SIGTERM in all of its threads from the beginning, so a
// stop that comes before the wrapper is ready would kill it. StopSignal stays
// blocked, as it was when the supervisor started the wrapper, and stays pending.
const StopSignal = syscall.SIGUSR2

// stopBlocked reports whether the process was started with StopSignal blocked.
func stopBlocked() bool {
	var old unix.Sigset_t
	return unix.PthreadSigmask(unix.SIG_BLOCK, nil, &old) == nil && old.Val[0]&stopSet().Val[0] != 0
}

func stopSet() (s unix.Sigset_t) {
	s.Val[0] = 1 << (StopSignal - 1)
	return s
}

// ignored are signals that would end the wrapper while its script lives on.
// All processes get them when a machine goes down. Whether or not the script ends, the
// wrapper has to report what became of it.
var ignored = [...]uintptr{uintptr(syscall.SIGHUP), uintptr(syscall.SIGINT), uintptr(syscall.SIGQUIT), uintptr(syscall.SIGTERM)}

// sigaction is the kernel's structure, in the longest of its forms. All zeros
// is the default action.
type sigaction struct {
	handler uintptr
	rest    [15]uintptr
}

// inherited are signals that Go's runtime leaves as it finds them. The process that
// started the daemon may have ignored them, and a script would inherit that.
var inherited = [...]uintptr{uintptr(syscall.SIGCONT), uintptr(syscall.SIGTSTP), uintptr(syscall.SIGTTIN), uintptr(syscall.SIGTTOU), 32, 33, 34}

func ignoreSignals() {
	ign := sigaction{handler: 1}
	for _, sig := range ignored {
		_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&ign)), 0, 8, 0, 0)
	}
}

// prepare prepares everything that the script needs, except for its process. It returns
// nil if that fails.
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
	set.Val[0] |= 1 << (InputSignal - 1)
	if w.stops, err = unix.Signalfd(-1, &set, unix.SFD_CLOEXEC|unix.SFD_NONBLOCK); err != nil {
		w.fails(NotStarted, "signalfd", err)
		return nil
	}
	if w.spec.Notify {
		if err := w.listen(); err != nil {
			w.fails(NotStarted, "socket for notifications", err)
			return nil
		}
	}
	w.log = newLog(w.spec)
	var p [2]int
	if err := syscall.Pipe2(p[:], syscall.O_CLOEXEC); err != nil {
		w.fails(NotStarted, "pipe", err)
		return nil
	}
	w.pipe, c.out = p[0], p[1]
	if w.spec.UID > 0 { // so that the script can open /dev/stderr
		_ = syscall.Fchown(c.out, w.spec.UID, -1)
		if w.spec.Stream {
			_ = syscall.Fchown(w.spec.scriptInput(), w.spec.UID, -1)
			_ = syscall.Fchown(w.spec.scriptOutput(), w.spec.UID, -1)
		}
	}
	return c
}

// launch records that the script may have run from now on, and starts it.
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
	c.addPID()
	pid, step, errno := c.start()
	if errno != 0 && c.cgroup >= 0 && pid == 0 {
		w.note(errnoText("cannot be started in a cgroup", errno))
		w.dropCgroup()
		c.cgroup = -1
		pid, step, errno = c.start()
	}
	if c.out >= 0 {
		closeFD(c.out)
	}
	if w.spec.Stream { // or the daemon would not see the script's end
		closeFD(w.spec.scriptInput())
		closeFD(w.spec.scriptOutput())
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
		if step != stepExec && step != stepDir {
			return w.fails(NotStarted, stepNames[step], errno)
		}
		if step == stepExec && errno == syscall.ENOENT {
			w.result.Exit = 127
		}
		return w.failsFor(blame(errno), w.whyNot(step, errno))
	}
	w.result.PID, w.result.Started = pid, now
	s := Started{PID: pid, Born: boottime(), At: now, Cgroup: w.cgroupDir}
	if _, err := writeAll(note, s.encode()); err != nil {
		w.note(errnoText(StartedFile, err)) // it exists, and the processes are found by the run's mark
	}
	if w.spec.Timeout > 0 {
		w.limit = monotonic() + w.spec.Timeout - w.held
	}
	return true
}

// unborn notes that the script's process was killed before it did anything: its cgroup
// was frozen at the moment of the fork, so the daemon killed it. It returns false.
func (w *run) unborn() bool {
	w.wait(0)
	w.result.Reason, w.result.Exit, w.result.Signal = TimedOut, -1, 0
	if w.stopped {
		w.result.Reason = Disarmed
	}
	w.note("the script never ran: its process was killed before it began")
	return false
}

// environment returns the script's environment, with the variables that only the wrapper
// knows.
func (w *run) environment(now time.Time) ([]*byte, error) {
	env := make([]string, 0, len(w.spec.Env)+9)
	for _, e := range w.spec.Env {
		switch name, _, _ := strings.Cut(e, "="); name {
		case ConfigVar, deadlineVar, topologyVar, MarkVar:
		case listenVar, listenPIDVar, listenNamesVar:
			if len(w.spec.Listen) == 0 {
				env = append(env, e)
			}
		case watchdogVar, watchdogPIDVar:
			if w.spec.Watchdog == 0 {
				env = append(env, e)
			}
		case notifyVar:
			if !w.spec.Notify {
				env = append(env, e)
			}
		default:
			env = append(env, e)
		}
	}
	if n := len(w.spec.Listen); n > 0 { // the process itself adds LISTEN_PID
		env = append(env, listenVar+"="+strconv.Itoa(n), listenNamesVar+"="+strings.Join(w.spec.Listen, ":"))
	}
	if usec := w.spec.Watchdog.Microseconds(); usec > 0 {
		env = append(env, watchdogVar+"="+strconv.FormatInt(usec, 10))
	}
	if w.spec.Notify {
		env = append(env, notifyVar+"="+w.notifier.name)
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
// configuration directory, whose name is the wrapper's process id.
const (
	MarkVar     = "ACTIVATION_RUN"
	ConfigVar   = "ACTIVATION_CONFIG_DIR"
	deadlineVar = "ACTIVATION_DEADLINE"
	topologyVar = "ACTIVATION_TOPOLOGY"
	notifyVar   = "NOTIFY_SOCKET" // as for sd_notify(3)

	watchdogVar    = "WATCHDOG_USEC" // as for sd_watchdog_enabled(3); without WATCHDOG_PID it is for each process
	watchdogPIDVar = "WATCHDOG_PID"

	listenVar      = "LISTEN_FDS" // as for sd_listen_fds(3)
	listenPIDVar   = "LISTEN_PID"
	listenNamesVar = "LISTEN_FDNAMES"
)

// note adds a sentence to the result's text.
func (w *run) note(s string) {
	if w.result.Text != "" {
		w.result.Text += "; "
	}
	for len(s) > 0 { // a file's name in s may be any bytes, and the result is text
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && n == 1 {
			w.result.Text += `\x` + strconv.FormatUint(uint64(s[0]), 16)
		} else {
			w.result.Text += s[:n]
		}
		s = s[n:]
	}
}

// cleanup moves or removes what the run has outside of its directory, and
// completes the log.
func (w *run) cleanup() {
	w.unlisten()
	if w.cgroup >= 0 && !w.keepsLeftovers() {
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
	if err := w.saveUnread(); err != nil {
		w.note(errnoText("unread output not kept", err))
	}
	if w.keepsLeftovers() && w.pipe >= 0 {
		w.leaveReader()
	} else if w.keepsLeftovers() && w.cgroup >= 0 {
		_ = RemoveEmptyCgroup(w.cgroupDir) // fails if a process is in it, as it should
	}
}

// maxLeftoverOutput is how many bytes of the output of kept leftovers go to the log.
const maxLeftoverOutput = 1 << 20

// leaveReader starts a process that empties the pipe as long as another process has its
// other end open. It runs as the script's user in the run's cgroup, and is killed with the
// rest.
func (w *run) leaveReader() {
	reader := *w.spec
	reader.Argv = []string{"/bin/sh", "-c", "exec 2>/dev/null; cat; exec cat >/dev/null"} // 2: the shell reports there how the first cat ends
	reader.Dir, reader.NoCaps, reader.Listen = "/", true, nil
	var st syscall.Stat_t
	if err := syscall.Fstat(logFD, &st); err != nil {
		st.Size = 0
	}
	most := uint64(st.Size) + maxLeftoverOutput // the first cat ends at that size
	var own syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_FSIZE, &own) == nil {
		most = min(most, own.Max) // without root's rights it cannot be more
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
		if !Frozen(w.cgroupDir) { // in a frozen one it would not begin, and this process would wait for it
			c.cgroup = w.cgroup
		}
		if _, _, errno := c.start(); errno != 0 {
			err = errno
		}
	}
	if err != nil {
		w.note(errnoText("the output of what the script left behind is not read", err))
	}
}

// keepsLeftovers reports whether the leftovers are to be left alone.
func (w *run) keepsLeftovers() bool { return w.spec.KeepLeftovers && w.result.Reason == Exited }

// openResult makes the result's file and reserves room for it, so a disk
// that is full at the run's end does not make the run a lost one.
func (w *run) openResult() (err error) {
	w.resultFD, err = openat(dirFD, resultNew, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_EXCL, 0o600)
	if err == nil {
		// Some file systems cannot reserve room: then writeResult tries again for a while.
		_ = syscall.Fallocate(w.resultFD, unix.FALLOC_FL_KEEP_SIZE, 0, 4096)
	}
	return err
}

// How often, and after which pauses, the wrapper tries again to write a result for which
// the disk has no room.
const (
	resultTries = 60
	resultPause = time.Second
)

// writeResult writes the result, and makes it durable unless a daemon is there. A daemon
// reads the result in a moment and records it in its store, which is durable, before it
// reports the end. Two fsyncs per run would treble the time that a run takes
// under load. They would help in one case only: the daemon is killed in that
// moment, and the machine loses its power within seconds. Then the run is lost.
//
// The rename goes before the fsyncs, so that one commit of the file system's journal
// serves both. Readers are not affected: they check the last line, and do not read before
// the wrapper is gone.
func (w *run) writeResult() int {
	if w.result.Ended.IsZero() {
		w.result.Ended = time.Now()
	}
	if len(w.result.Text) > 2000 { // to stay within the reserved room
		w.result.Text = w.result.Text[:2000]
	}
	data := w.result.encode()
	for try := 0; ; try++ {
		_, err := syscall.Pwrite(w.resultFD, data, 0)
		if err == nil {
			break
		}
		if try == resultTries || err != syscall.ENOSPC && err != syscall.EDQUOT && err != syscall.EINTR {
			return w.unreported()
		}
		pause(resultPause)
	}
	if unix.Renameat(dirFD, resultNew, dirFD, ResultFile) != nil {
		return w.unreported()
	}
	if daemonThere() {
		return statusReported
	}
	if syscall.Fsync(w.resultFD) != nil || syscall.Fsync(dirFD) != nil {
		return w.unreported() // it can be read, but may not outlive the machine
	}
	return statusReported
}

// unreported returns the exit status for a wrapper that cannot write the result.
func (w *run) unreported() int {
	if w.result.PID == 0 {
		return StatusNotStarted
	}
	return StatusUnreported
}

// daemonThere reports whether a supervisor holds the lock of the directory of all runs,
// as it does while it follows them.
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
