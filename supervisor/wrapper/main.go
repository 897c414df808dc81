package wrapper

import (
	"errors"
	"strconv"
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
	beginning
	spec   *Spec // nil in the early stage, which has a plan only
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
	input   int           // the daemon's end of the script's standard input; -1: there is none
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

// Main is the wrapper process, from where the early stage has left it. It returns its exit status.
func Main() int {
	w := &process
	if state, ok := idleState(); ok {
		ignoreSignals()
		w.clear()
		w.awake = true
		if w.resume(state) != nil {
			return StatusUnreported
		}
		w.attend()
		w.cleanup()
		return w.writeResult()
	}
	if w.memory.free == nil { // there was no early stage
		if status := w.early(); status >= 0 {
			return status
		}
	}
	w.awake = true
	if w.next == 0 && !w.chosen() {
		if !stopBlocked() {
			_, _ = writeAll(2, []byte("atwrap: activationd starts it, with its run's directory; it cannot be used by hand\n"))
		}
		return StatusMisused
	}
	ignoreSignals()
	if w.plan.text != "" {
		w.describe()
	}
	runs := w.begin()
	if w.next == 0 {
		return StatusNotStarted
	}
	if runs {
		w.quiet = newQuiet()
		w.attend()
	}
	if w.spec != nil {
		w.cleanup()
	}
	return w.writeResult()
}

// describe reads the whole of a specification of which there is a plan, and takes over the log. It returns false if
// the specification is not one.
func (w *run) describe() bool {
	spec, err := ParseSpec(w.plan.text)
	if err != nil {
		return w.fails(NotStarted, SpecFile, err)
	}
	w.spec, w.log = spec, newLog(spec)
	w.log.head -= w.logged
	if w.lost > 0 {
		w.log.lost, w.log.why = w.lost, w.whyLost
	}
	return true
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
	var old uint64
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, 0, uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	return errno == 0 && old&(1<<(StopSignal-1)) != 0
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
	var p plan
	if err := w.startReader(&p, string(reader.Encode())); err != 0 {
		w.note(errnoText("the output of what the script left behind is not read", err))
	}
}

// startReader starts a process that reads from the pipe.
func (w *run) startReader(p *plan, spec string) (errno syscall.Errno) {
	var m memory
	if !p.read(&m, spec) {
		return syscall.ENOMEM
	}
	p.envv = append(array[*byte](&m, wrapperVars), m.join("PATH=/usr/bin:/bin"))
	if w.spec.Mark != "" {
		p.add(m.join(MarkVar, "=", w.spec.Mark))
	}
	p.envv = append(p.envv, nil)
	if _, errno := rawCall(syscall.SYS_DUP3, uintptr(w.pipe), stdinFD, 0); errno != 0 {
		return errno
	}
	_, _ = rawCall(syscall.SYS_FCNTL, stdinFD, syscall.F_SETFL, 0) // cat does not expect that it need not wait
	if !Frozen(w.cgroupDir) {                                      // in a frozen one it would not begin, and this process would wait for it
		p.cgroup = w.cgroup
	}
	_, _, errno = p.start()
	return errno
}

// keepsLeftovers reports whether the leftovers are to be left alone.
func (w *run) keepsLeftovers() bool { return w.spec.KeepLeftovers && w.result.Reason == Exited }

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
		errno := rawPwrite(w.resultFD, data)
		if errno == 0 {
			break
		}
		if try == resultTries || errno != syscall.ENOSPC && errno != syscall.EDQUOT && errno != syscall.EINTR {
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
	runs, errno := rawOpen(dirFD, pathz("..\x00"), syscall.O_RDONLY|syscall.O_DIRECTORY, 0)
	if errno != 0 {
		return false
	}
	_, errno = rawCall(syscall.SYS_FLOCK, uintptr(runs), syscall.LOCK_SH|syscall.LOCK_NB, 0)
	rawClose(runs)
	return errno == syscall.EWOULDBLOCK
}

func pause(d time.Duration) {
	ts := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&ts, nil)
}
