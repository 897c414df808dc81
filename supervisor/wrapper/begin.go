package wrapper

import (
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A beginning is what a wrapper has done on the way to the start of its script.
//
// Its steps work before Go's runtime has begun, in the early stage, as long as nothing unusual happens. Then a step
// returns false and has changed nothing that it would not do again; the runtime begins, and the same step is taken
// again, with w.awake set. Only then may it allocate, and give up.
type beginning struct {
	awake       bool // the runtime is there
	next        int  // the step that is to be taken
	memory      memory
	plan        plan
	started     int           // the file of that name, open; -1: it is not made yet
	alarm       int           // timerfd of the time of the start; -1: there is none
	offset      time.Duration // what the wall clock showed more than CLOCK_BOOTTIME when the alarm was set
	setBack     bool          // the clock was set back since
	frozenSince time.Duration // monotonic: when the run's cgroup was found frozen; 0: it was not
	config      *byte         // the configuration directory's path
	cgroupPath  *byte         // the cgroup's path
	step        int           // with which the script's process failed; 0: it did not
	errno       syscall.Errno // how
	helpless    bool          // there are not enough processes, or there is not enough memory

	// What the early stage has done with the output.
	buffer       []byte
	logged, lost int64
	whyLost      syscall.Errno
}

// clear makes w a run of which nothing is done.
func (w *run) clear() {
	w.pipe, w.cgroup, w.script, w.stops, w.limit, w.strays, w.timer, w.notifier.socket = -1, -1, -1, -1, -1, -1, -1, -1
	w.started, w.alarm, w.input = -1, -1, -1
	w.memory.free = ordinary[:]
}

// steps are what is done before the script runs, in this order.
var steps = [...]func(*run) bool{
	(*run).own, (*run).readSpec, (*run).makeConfigDir, (*run).makeCgroup, (*run).openSignals, (*run).listen,
	(*run).openPipe, (*run).arm, (*run).thaw, (*run).launch,
}

// begin takes the steps that are left. It returns false if one of them cannot be taken, or if the script ended in it.
func (w *run) begin() bool {
	for ; w.next < len(steps); w.next++ {
		if !steps[w.next](w) {
			return false
		}
	}
	return true
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

// own makes the run this process's: its id stands in the lock's file, and it inherits the script's orphans. It
// makes the result's file and reserves room for it, so a disk that is full at the run's end does not make the run a
// lost one. If it fails, the script never ran, and nothing says why.
func (w *run) own() bool {
	w.result = Result{Exit: -1, WrapperPID: syscall.Getpid()}
	t := w.newText(lockHead, 0)
	if rawPwrite(lockFD, Lock{w.result.WrapperPID, boottime()}.put(&t)) != 0 {
		return false
	}
	w.adoptOrphans()
	for _, fd := range [...]uintptr{dirFD, lockFD} {
		_, _ = rawCall(syscall.SYS_FCNTL, fd, syscall.F_SETFD, syscall.FD_CLOEXEC) // fails only for a descriptor that is not open
	}
	var errno syscall.Errno
	if w.resultFD, errno = rawOpen(dirFD, pathz(resultNew+"\x00"), syscall.O_WRONLY|syscall.O_CREAT|syscall.O_EXCL, 0o600); errno != 0 {
		return false
	}
	// Some file systems cannot reserve room: then writeResult tries again for a while.
	_, _, _ = syscall.RawSyscall6(syscall.SYS_FALLOCATE, uintptr(w.resultFD), unix.FALLOC_FL_KEEP_SIZE, 0, 4096, 0, 0)
	return true
}

// adoptOrphans makes this process the one that inherits the script's orphans. Where that is not possible, the daemon
// looks for what left the script's group when the run has ended.
func (w *run) adoptOrphans() {
	w.result.Contained = GuardSubreaper
	if _, errno := rawCall(syscall.SYS_PRCTL, unix.PR_SET_CHILD_SUBREAPER, 1, 0); errno != 0 {
		w.result.Contained = GuardGroup
	}
}

// readSpec reads the specification, and makes the plan of it.
func (w *run) readSpec() bool {
	fd, errno := rawOpen(dirFD, pathz(SpecFile+"\x00"), syscall.O_RDONLY, 0)
	if errno != 0 {
		return w.awake && w.fails(NotStarted, SpecFile, errno)
	}
	var data []byte
	for size := smallText * 4; ; size *= 4 {
		if data = w.memory.take(size); data == nil {
			errno = syscall.ENOMEM
			break
		}
		var n int
		if n, errno = w.preadAll(fd, data); n < size {
			data = data[:n]
			break
		}
	}
	rawClose(fd)
	if errno != 0 {
		return w.awake && w.fails(NotStarted, SpecFile, errno)
	}
	text := unsafe.String(unsafe.SliceData(data), len(data))
	planned := w.plan.read(&w.memory, text)
	if !w.awake {
		if !planned {
			w.plan.text = "" // it is read again with the runtime
		}
		return planned
	}
	w.plan.text = text
	return w.describe() && (planned || w.fails(NotStarted, SpecFile, syscall.ENOMEM))
}

// preadAll reads a file from its beginning, as much of it as there is room for.
func (w *run) preadAll(fd int, b []byte) (have int, errno syscall.Errno) {
	for have < len(b) {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_PREAD64, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b[have:]))), uintptr(len(b)-have), uintptr(have), 0, 0)
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 || n == 0 {
			return have, errno
		}
		have += int(n)
	}
	return have, 0
}

// makeConfigDir makes the configuration directory, whose name is the wrapper's
// process id. If it is there already, it belongs to an earlier process with this id. It is
// moved aside, where the daemon finds it, and never used.
func (w *run) makeConfigDir() bool {
	if w.plan.configRoot == "" {
		return true
	}
	if w.config == nil {
		var digits [20]byte
		dir := w.memory.join(w.plan.configRoot, "/", decimal(&digits, w.result.WrapperPID))
		if dir == nil {
			return w.awake && w.fails(NotStarted, "configuration directory", syscall.ENOMEM)
		}
		errno := rawMkdir(dir, 0o700)
		if errno == syscall.EEXIST && w.awake {
			if err := w.moveAside(textz(dir)); err != nil {
				return w.fails(NotStarted, "configuration directory", err)
			}
			errno = rawMkdir(dir, 0o700)
		}
		if errno != 0 {
			return w.awake && w.fails(NotStarted, "configuration directory", errno)
		}
		w.config, w.configDir = dir, textz(dir)
	}
	errno := syscall.Errno(0)
	if w.plan.topology && w.topology == "" {
		errno = w.copyTopology()
	}
	if errno == 0 {
		errno = w.giveAway(w.config)
	}
	return errno == 0 || w.awake && w.fails(NotStarted, "configuration directory", errno)
}

// giveAway makes the script's user the owner of a file.
func (w *run) giveAway(path *byte) syscall.Errno {
	if w.plan.uid < 0 && w.plan.gid < 0 {
		return 0
	}
	return rawChown(path, w.plan.uid, w.plan.gid)
}

// copyTopology copies the topology to where the script can read it.
func (w *run) copyTopology() syscall.Errno {
	path := w.memory.join(w.configDir, "/", ConfigTopology)
	if path == nil {
		return syscall.ENOMEM
	}
	from, errno := rawOpen(dirFD, pathz(TopologyFile+"\x00"), syscall.O_RDONLY, 0)
	if errno != 0 {
		return errno
	}
	to, errno := rawOpen(unix.AT_FDCWD, path, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_TRUNC, 0o600)
	if errno == 0 {
		for n := 1; errno == 0 && n > 0; {
			var r uintptr
			r, _, errno = syscall.RawSyscall6(syscall.SYS_SENDFILE, uintptr(to), uintptr(from), 0, 1<<30, 0, 0)
			n = int(r)
		}
		rawClose(to)
	}
	rawClose(from)
	if errno == 0 {
		errno = w.giveAway(path)
	}
	if errno == 0 {
		w.topology = textz(path)
	}
	return errno
}

// makeCgroup makes the run's own cgroup, if one is wanted and cgroups are available.
func (w *run) makeCgroup() bool {
	if w.plan.cgroupRoot == "" {
		return true
	}
	path := w.memory.join(w.plan.cgroupRoot, "/", w.plan.id, ".", w.plan.phase, ".", w.plan.attempt)
	errno := syscall.ENOMEM
	if path != nil {
		errno = rawMkdir(path, 0o755)
		if errno != 0 && w.awake {
			errno = w.makeCgroupAgain(textz(path), errno)
		}
	}
	if errno == 0 {
		if w.cgroup, errno = rawOpen(unix.AT_FDCWD, path, syscall.O_RDONLY|syscall.O_DIRECTORY, 0); errno == 0 {
			w.cgroupPath, w.cgroupDir = path, textz(path)
			w.plan.cgroup = w.cgroup
			w.result.Contained = GuardCgroup
			return true
		}
		w.cgroup = -1
		_ = rawRmdir(path)
	}
	if !w.awake {
		return false
	}
	w.note(errnoText("no cgroup", errno))
	return true
}

// openSignals makes the descriptor that shows the signals. CHLD is one of them for the time before the runtime
// begins, which takes that signal itself.
func (w *run) openSignals() bool {
	const set = 1<<(StopSignal-1) | 1<<(InputSignal-1) | 1<<(syscall.SIGCHLD-1)
	mask := uint64(set)
	var errno syscall.Errno
	w.stops, errno = signalfd(&mask)
	return errno == 0 || w.awake && w.fails(NotStarted, "signalfd", errno)
}

//go:nosplit
func signalfd(mask *uint64) (int, syscall.Errno) {
	fd, _, errno := syscall.RawSyscall6(syscall.SYS_SIGNALFD4, ^uintptr(0), uintptr(unsafe.Pointer(mask)), 8, unix.SFD_CLOEXEC|unix.SFD_NONBLOCK, 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), 0
}

// openPipe makes the pipe for the script's output.
func (w *run) openPipe() bool {
	var p [2]int32
	if errno := pipe2(&p); errno != 0 {
		return w.awake && w.fails(NotStarted, "pipe", errno)
	}
	w.pipe, w.plan.out = int(p[0]), int(p[1])
	// The script can open the pipe, and read from it, too. This process must not wait then for what it saw there.
	_, _ = rawCall(syscall.SYS_FCNTL, uintptr(w.pipe), syscall.F_SETFL, syscall.O_NONBLOCK) // never fails
	if w.plan.stream {
		w.input = w.plan.in - 2
	}
	if w.plan.uid > 0 { // so that the script can open /dev/stderr
		w.giveFile(w.plan.out)
		if w.plan.stream {
			w.giveFile(w.plan.in)
			w.giveFile(w.plan.stdout)
		}
	}
	return true
}

//go:nosplit
func pipe2(p *[2]int32) syscall.Errno {
	_, _, errno := syscall.RawSyscall(syscall.SYS_PIPE2, uintptr(unsafe.Pointer(p)), syscall.O_CLOEXEC, 0)
	return errno
}

func (w *run) giveFile(fd int) {
	_, _ = rawCall(syscall.SYS_FCHOWN, uintptr(fd), uintptr(w.plan.uid), ^uintptr(0))
}

// clockJitter is the jitter of the difference of two readings of clocks.
const clockJitter = 10 * time.Millisecond

// arm holds the run back until its time. It returns false if the script
// must not run any more, or cannot be held back.
func (w *run) arm() bool {
	for {
		for !w.stopped && readable(w.stops) {
			if !w.awake {
				return false
			}
			w.takeStop()
		}
		if w.stopped {
			w.result.Reason = Disarmed
			return false
		}
		now := clock(unix.CLOCK_REALTIME)
		if int64(now) >= w.plan.notBefore {
			return true
		}
		if w.setBack { // then the daemon has to decide again
			return w.awake && w.failsFor(Disarmed, "the clock was set back")
		}
		if errno := w.setAlarm(now); errno != 0 {
			return w.awake && w.fails(NotStarted, "timerfd", errno)
		}
		w.awaitAlarm()
	}
}

// setAlarm sets the timer for the time of the start, unless it is set. A clock that is set cancels it.
func (w *run) setAlarm(now time.Duration) (errno syscall.Errno) {
	if w.alarm >= 0 {
		return 0
	}
	if w.alarm, errno = rawCall(syscall.SYS_TIMERFD_CREATE, unix.CLOCK_REALTIME, unix.TFD_CLOEXEC, 0); errno != 0 {
		w.alarm = -1
		return errno
	}
	w.offset = now - boottime()
	at := unix.ItimerSpec{Value: unix.NsecToTimespec(w.plan.notBefore)}
	if errno = setTimer(w.alarm, &at); errno != 0 {
		w.dropAlarm()
	}
	return errno
}

func (w *run) dropAlarm() {
	rawClose(w.alarm)
	w.alarm = -1
}

//go:nosplit
func setTimer(fd int, at *unix.ItimerSpec) syscall.Errno {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_TIMERFD_SETTIME, uintptr(fd), unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, uintptr(unsafe.Pointer(at)), 0, 0, 0)
	return errno
}

// awaitAlarm waits for the time of the start, a signal or a change of the clock.
func (w *run) awaitAlarm() {
	fds := [2]unix.PollFd{{Fd: int32(w.stops), Events: unix.POLLIN}, {Fd: int32(w.alarm), Events: unix.POLLIN}}
	if _, errno := rawPoll(fds[:], -1); errno != 0 || fds[1].Revents == 0 {
		return
	}
	var ticks [8]byte
	_, errno := rawRead(w.alarm, ticks[:])
	if errno == syscall.ECANCELED {
		w.setBack = clock(unix.CLOCK_REALTIME)-boottime() <= w.offset-clockJitter
	}
	w.dropAlarm()
}

// thaw holds the run back while its cgroup is frozen: a process that is made there does
// not reach its exec, and this process would sleep until it does. It returns
// false if the script must not run any more.
func (w *run) thaw() bool {
	if w.cgroup < 0 {
		return true
	}
	events, errno := rawOpen(w.cgroup, pathz("cgroup.events\x00"), syscall.O_RDONLY, 0)
	if errno != 0 {
		return w.awake && w.fails(NotStarted, "cgroup.events", errno)
	}
	if w.frozenSince == 0 && w.frozen(events) {
		w.frozenSince = monotonic()
	}
	ok := w.frozenSince == 0 || w.awake && w.awaitThaw(events)
	rawClose(events)
	return ok
}

// awaitThaw waits until the cgroup is not frozen any more.
func (w *run) awaitThaw(events int) bool {
	for w.wait(0); !w.stopped && w.frozen(events); w.wait(0) {
		left := strayPause
		if w.spec.Timeout > 0 {
			if left = min(left, w.spec.Timeout-w.held); left <= 0 {
				break
			}
		}
		fds := [2]unix.PollFd{{Fd: int32(w.stops), Events: unix.POLLIN}, {Fd: int32(events), Events: unix.POLLPRI}}
		_, _ = rawPoll(fds[:], left)
		w.held = monotonic() - w.frozenSince
	}
	w.held = monotonic() - w.frozenSince
	switch {
	case w.stopped:
		w.result.Reason = Disarmed
	case w.frozen(events):
		w.result.Reason = TimedOut
	default:
		w.note("its start was held back for " + w.held.Round(time.Millisecond).String() + ": its cgroup was frozen")
		return true
	}
	w.note("the script never ran: its cgroup is frozen")
	return false
}

// frozen is [Frozen] for the open file cgroup.events. After it, poll reports a change.
func (w *run) frozen(events int) bool {
	var buf [512]byte
	n, errno := w.preadAll(events, buf[:])
	return errno == 0 && contains(buf[:n], "frozen 1\n")
}

// contains is bytes.Contains, which the runtime has to prepare.
func contains(b []byte, s string) bool {
	for i := 0; i+len(s) <= len(b); i++ {
		if string(b[i:i+len(s)]) == s {
			return true
		}
	}
	return false
}

// launch records that the script may have run from now on, and starts it.
func (w *run) launch() bool {
	if w.started < 0 {
		fd, errno := rawOpen(dirFD, pathz(StartedFile+"\x00"), syscall.O_WRONLY|syscall.O_CREAT|syscall.O_EXCL, 0o600)
		if errno != 0 {
			return w.awake && w.fails(NotStarted, StartedFile, errno)
		}
		w.started = fd
	}
	if w.pid == 0 && !w.fork() || w.step != 0 {
		if !w.awake && w.pid == 0 && (w.errno == syscall.EAGAIN || w.errno == syscall.ENOMEM) { // then the runtime could not begin either
			_, _ = pathCall(syscall.SYS_UNLINKAT, dirFD, pathz(StartedFile+"\x00"), 0, 0, 0)
			w.helpless = true
		}
		return w.awake && w.notLaunched()
	}
	s := Started{PID: w.pid, Born: boottime(), At: w.result.Started, Cgroup: w.cgroupDir}
	if t := w.newText(startedHead, 4*len(s.Cgroup)); t.b != nil {
		// Without its content the file still says that the script may have run, and its processes are found by their mark.
		_, _ = rawWrite(w.started, s.put(&t))
	}
	rawClose(w.started)
	if w.plan.timeout > 0 {
		w.limit = monotonic() + time.Duration(w.plan.timeout) - w.held
	}
	return true
}

// newText begins a text with room for a few numbers and for so many bytes besides.
func (w *run) newText(head string, more int) text {
	b := w.memory.take(smallText + more)
	if b == nil {
		return text{}
	}
	return text{append(append(b[:0], head...), '\n')}
}

// fork makes the script's process.
func (w *run) fork() bool {
	p := &w.plan
	now := wallClock()
	if !w.environment(now) {
		w.errno = syscall.ENOMEM
		return false
	}
	pid, step, errno := p.start()
	if errno != 0 && pid == 0 && w.cgroup >= 0 && w.awake {
		w.note(errnoText("cannot be started in a cgroup", errno))
		w.dropCgroup()
		p.cgroup = -1
		pid, step, errno = p.start()
	}
	w.pid, w.step, w.errno = pid, step, errno
	if pid == 0 {
		return false
	}
	w.closeScripts()
	w.script = int(p.pidfd)
	if step == 0 {
		w.result.PID, w.result.Started = pid, now
	}
	return true
}

// closeScripts closes the descriptors that only the script needs. If it has a stream, the daemon would not see the
// script's end otherwise.
func (w *run) closeScripts() {
	rawClose(w.plan.out)
	if w.plan.stream {
		rawClose(w.plan.in)
		rawClose(w.plan.stdout)
	}
}

// notLaunched says in the result why there is no script. It returns false.
func (w *run) notLaunched() bool {
	rawClose(w.started)
	errno := w.errno
	if w.pid == 0 {
		w.closeScripts()
		return w.fails(NotStarted, "fork", errno)
	}
	w.finish()
	if w.step == stepUnborn {
		return w.unborn()
	}
	w.result.Exit = -1
	if w.step != stepExec && w.step != stepDir {
		return w.fails(NotStarted, stepNames[w.step], errno)
	}
	if w.step == stepExec && errno == syscall.ENOENT {
		w.result.Exit = 127
	}
	return w.failsFor(blame(errno), w.whyNot(w.step, errno))
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

// wrapperVars is how many variables the wrapper adds to the environment at most.
const wrapperVars = 16

// environment makes the script's environment, with the variables that only the wrapper
// knows.
func (w *run) environment(now time.Time) bool {
	p, m := &w.plan, &w.memory
	if p.envv = array[*byte](m, len(p.env)+wrapperVars); p.envv == nil {
		return false
	}
	for _, e := range p.env {
		name, _, _ := strings.Cut(textz(e), "=")
		switch name {
		case ConfigVar, deadlineVar, topologyVar, MarkVar:
			continue
		case listenVar, listenPIDVar, listenNamesVar:
			if p.sockets > 0 {
				continue
			}
		case watchdogVar, watchdogPIDVar:
			if p.watchdog > 0 {
				continue
			}
		case notifyVar:
			if p.notify {
				continue
			}
		}
		p.envv = append(p.envv, e)
	}
	var digits [20]byte
	if p.sockets > 0 { // the process itself adds LISTEN_PID
		p.add(m.join(listenVar, "=", decimal(&digits, p.sockets)))
		names := m.join(listenNamesVar, "=", textz(p.listen[0]))
		for _, name := range p.listen[1:] {
			if names != nil {
				names = m.join(textz(names), ":", textz(name))
			}
		}
		p.add(names)
	}
	if usec := p.watchdog / 1000; usec > 0 {
		p.add(m.join(watchdogVar, "=", decimal(&digits, int(usec))))
	}
	if p.notify {
		p.add(m.join(notifyVar, "=", w.notifier.name))
	}
	if w.configDir != "" {
		p.add(m.join(ConfigVar, "=", w.configDir))
	}
	if w.topology != "" {
		p.add(m.join(topologyVar, "=", w.topology))
	}
	if p.mark != "" {
		p.add(m.join(MarkVar, "=", p.mark))
	}
	if p.timeout > 0 {
		b := m.take(len(deadlineVar) + 2 + len(time.RFC3339Nano))
		if b == nil {
			return false
		}
		b = append(append(b[:0], deadlineVar...), '=')
		p.add(unsafe.SliceData(appendDeadline(b, now.Add(time.Duration(p.timeout)-w.held))))
	}
	p.addPID()
	for _, e := range p.envv {
		if e == nil { // there was no memory
			return false
		}
	}
	p.envv = append(p.envv, nil)
	return true
}

func (p *plan) add(variable *byte) { p.envv = append(p.envv, variable) }

// appendDeadline appends a time in the form for scripts, and a zero byte.
func appendDeadline(b []byte, at time.Time) []byte {
	return append(at.UTC().AppendFormat(b, time.RFC3339Nano), 0)
}
