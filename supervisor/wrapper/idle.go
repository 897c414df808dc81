package wrapper

import (
	"errors"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A wrapper has nothing to do for most of a long run, but Go's runtime takes half a
// mebibyte all the time. So after some time without an event, the process executes its own
// program again as the idle stage, which is in idle_amd64.s and idle_arm64.s. That stage
// waits without a limit until one of its descriptors can be read, or a child has ended.
// Then it executes the program once more, and the wrapper goes on. The stage makes no decision.
//
// The process stays the same: its id, its children and what they have used, its locks and open files,
// and it stays the subreaper. All signals but KILL and STOP are blocked. StopSignal and CHLD
// stay pending, and signalfds show them. What else the wrapper has to remember is in the variable
// idleVar of its environment. /proc/self/exe is the same program even if its file was replaced
// or removed, so that variable is always read by the version that wrote it.
//
// Three things could end the process, and with it the record of its run:
//
//   - Go's runtime exits if it cannot start a thread or get memory. So a script that forks without end
//     would end other wrappers, too. Therefore the idle stage first starts as many threads as the wrapper
//     had, and maps the memory that the runtime will map. While it cannot, it tries
//     again every 100 ms. The exec frees both for the runtime, which tries for 200 ms to start
//     a thread if other processes were quicker.
//   - The runtime unblocks TERM and QUIT, and they end the process until ignoreSignals is called. Therefore the
//     program begins before the runtime, at entry, and changes the runtime's table of signals there so that
//     the runtime leaves the two blocked. If they are not blocked in Main, for example
//     because another version of the runtime has another table, the wrapper is never idle.
//   - The exec can fail. A wrapper then goes on as it is, and the idle stage tries
//     again every 100 ms.
//
// All this needs a program that is linked as "make atwrap" does it. In any other, initial is nil, and the
// wrapper is never idle.

// initial is the stack as the kernel made it: the number of arguments, pointers to them, a null
// pointer, pointers to the environment, a null pointer. It is nil unless the program
// began at entry, which sets it.
var initial unsafe.Pointer

// idleAfter is how long nothing must have happened before a wrapper becomes idle for the first
// time, in nanoseconds. Tests set it with the linker's flag -X, which knows only strings.
var idleAfter = "10000000000"

// mostPatience bounds how long nothing must have happened.
const mostPatience = 10 * time.Minute

const (
	// idleName is the argument that makes the program the idle stage. The next one has a byte
	// for each of these, to which '0' is added: the number of threads to take, the memory to
	// take in units of 4 MiB, and each descriptor to wait for.
	idleName = "idle"
	idleVar  = "ATWRAP_STATE"
	idleHead = "activationd-idle 1"
)

// A quiet is what a wrapper knows of the time without events.
type quiet struct {
	able     bool          // the program can become idle
	since    time.Duration // monotonic: the last event
	patience time.Duration // how long nothing must have happened
}

// newQuiet finds out whether this program can become idle.
func newQuiet() quiet {
	var mask unix.Sigset_t
	const kept = 1<<(syscall.SIGTERM-1) | 1<<(syscall.SIGQUIT-1)
	q := quiet{since: monotonic(), patience: time.Duration(max(atoi(idleAfter), 0))}
	q.able = initial != nil && unix.PthreadSigmask(unix.SIG_BLOCK, nil, &mask) == nil && mask.Val[0]&kept == kept
	return q
}

// due returns how long it takes until the wrapper becomes idle if nothing happens.
func (q *quiet) due() time.Duration {
	if !q.able {
		return strayPause
	}
	return max(q.since+q.patience-monotonic(), 0)
}

// grow makes the wrapper wait longer before it becomes idle the next time.
func (q *quiet) grow() { q.patience = min(2*q.patience, mostPatience) }

// idle makes the process its idle stage. If it returns, that has failed.
func (w *run) idle() {
	w.quiet.since = monotonic()
	defer w.quiet.grow() // it is tried again, later
	var strays unix.Sigset_t
	strays.Val[0] = 1 << (syscall.SIGCHLD - 1)
	var err error
	if w.strays, err = unix.Signalfd(-1, &strays, unix.SFD_NONBLOCK); err != nil {
		return
	}
	defer func() { w.strays = closed(w.strays) }()
	if w.limit >= 0 {
		if w.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK); err != nil {
			return
		}
		defer func() { w.timer = closed(w.timer) }()
		// A time of zero would disarm it.
		at := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(max(w.limit, 1)))}
		if unix.TimerfdSettime(w.timer, unix.TFD_TIMER_ABSTIME, &at, nil) != nil {
			return
		}
	}
	fds, ok := needs(w.result.WrapperPID)
	if !ok {
		return
	}
	for _, fd := range [...]int{w.stops, w.script, w.pipe, w.notifier.socket, w.strays, w.timer} {
		switch {
		case fd < 0:
		case fd > 0xff-'0':
			return // there is no byte for it
		default:
			fds = append(fds, '0'+byte(fd))
		}
	}
	argv, err := syscall.SlicePtrFromStrings([]string{"atwrap", idleName, string(fds)})
	if err != nil {
		return
	}
	data := string(w.encode())
	if new(run).decode(data) != nil { // it would be too late to find that out afterwards
		return
	}
	state, err := syscall.BytePtrFromString(idleVar + "=" + data)
	if err != nil {
		return
	}
	envp := append([]*byte{state}, environ()...)
	w.keepOpen(true)
	becomeIdle(argv, append(envp, nil))
	w.keepOpen(false)
}

// needs returns what the idle stage has to take before it ends: as many threads as
// this process has besides the first, and a little less memory than it has mapped.
func needs(pid int) (n []byte, ok bool) {
	self, ok := Stat(pid)
	if !ok {
		return nil, false
	}
	statm, err := readFile(unix.AT_FDCWD, "/proc/self/statm", smallText)
	f := strings.Fields(statm)
	if err != nil || len(f) < 6 {
		return nil, false
	}
	data := atoi(f[5]) * syscall.Getpagesize()
	const margin, unit = 1 << 20, 4 << 20
	return []byte{'0' + byte(min(max(self.Threads-1, 0), 50)), '0' + byte(min(max(data-margin, 0)/unit, 50))}, true
}

// closed closes a descriptor, and returns one that is none.
func closed(fd int) int {
	closeFD(fd)
	return -1
}

// keepOpen says whether the descriptors survive an exec.
func (w *run) keepOpen(yes bool) {
	flag := unix.FD_CLOEXEC
	if yes {
		flag = 0
	}
	fds := [...]int{dirFD, lockFD, w.resultFD, w.stops, w.script, w.pipe, w.cgroup, w.notifier.socket, w.log.segFD, w.strays, w.timer}
	for _, fd := range fds {
		if fd >= 0 {
			_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETFD, flag) // fails only for a descriptor that is not open
		}
	}
}

// environ returns the environment that the process was started with, without idleVar.
func environ() (envp []*byte) {
	argc := *(*uintptr)(initial)
	for p := unsafe.Add(initial, (argc+2)*unsafe.Sizeof(argc)); ; p = unsafe.Add(p, unsafe.Sizeof(argc)) {
		e := *(**byte)(p)
		if e == nil {
			return envp
		}
		if _, ok := strings.CutPrefix(unix.BytePtrToString(e), idleVar+"="); !ok {
			envp = append(envp, e)
		}
	}
}

// idleState returns what the idle stage was given to remember; ok is false if this
// process was not idle before.
func idleState() (state string, ok bool) {
	if initial == nil {
		return "", false
	}
	argc := *(*uintptr)(initial)
	first := *(**byte)(unsafe.Add(initial, (argc+2)*unsafe.Sizeof(argc)))
	if first == nil {
		return "", false
	}
	return strings.CutPrefix(textz(first), idleVar+"=")
}

// becomeIdle executes the program. The runtime must not move it to another thread between the
// two calls, so it has no point at which it could be interrupted.
//
//go:norace
//go:nosplit
func becomeIdle(argv, envp []*byte) {
	path := [...]byte{'/', 'p', 'r', 'o', 'c', '/', 's', 'e', 'l', 'f', '/', 'e', 'x', 'e', 0}
	all, old := ^uint64(0), uint64(0)
	syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	syscall.RawSyscall(syscall.SYS_EXECVE, uintptr(unsafe.Pointer(&path)), uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&envp[0])))
	syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&old)), 0, 8, 0, 0)
}

// resume makes w the run that encode wrote down.
func (w *run) resume(state string) error {
	now := monotonic()
	if err := w.decode(state); err != nil {
		return err
	}
	idle := now - w.quiet.since // if that was short, something happens often in this run
	fresh := newQuiet()
	w.quiet.able, w.quiet.since = fresh.able, now
	if w.spec.Stream {
		w.input = w.spec.daemonInput()
	}
	if idle < 6*w.quiet.patience {
		w.quiet.grow()
	} else {
		w.quiet.patience = fresh.patience
	}
	w.keepOpen(false)
	w.strays = closed(w.strays)
	if w.timer >= 0 {
		w.timer = closed(w.timer)
	}
	return nil
}

// encode returns what the wrapper has to know of a run that goes on, besides its files.
func (w *run) encode() []byte {
	// Of the script's command, only what a hint at its end needs.
	spec := *w.spec
	spec.Argv, spec.Env = spec.Argv[:1], nil
	for _, e := range w.spec.Env {
		if strings.HasPrefix(e, "PATH=") || strings.HasPrefix(e, "HOME=") {
			spec.Env = append(spec.Env, e)
		}
	}
	t := newText(idleHead, 4*smallText)
	t.str("spec", string(spec.Encode()))
	t.str("result", string(w.result.encode()))
	t.str("notify", string(w.notifier.state.encode()))
	if w.log.why != nil {
		t.str("why", w.log.why.Error())
	}
	for _, f := range w.remembered() {
		switch v := f.value.(type) {
		case *string:
			t.str(f.key, *v)
		case *bool:
			t.bool(f.key, *v)
		case *int:
			t.int(f.key, int64(*v))
		case *int64:
			t.int(f.key, *v)
		case *time.Duration:
			t.int(f.key, int64(*v))
		case *time.Time:
			t.time(f.key, *v)
		}
	}
	return t.end()
}

// decode reads what encode wrote.
func (w *run) decode(data string) error {
	w.log = new(log)
	values := map[string]any{}
	for _, f := range w.remembered() {
		values[f.key] = f.value
	}
	err := parseText(data, idleHead, func(l line) bool {
		switch v := values[l.key].(type) {
		case *string:
			*v = l.str()
		case *bool:
			*v = l.bool()
		case *int:
			*v = l.int()
		case *int64:
			*v = l.int64()
		case *time.Duration:
			*v = l.duration()
		case *time.Time:
			*v = l.time()
		default:
			return w.decodeText(l)
		}
		return true
	})
	if err == nil && w.spec == nil {
		err = errIncomplete
	}
	return err
}

func (w *run) decodeText(l line) bool {
	var err error
	switch l.key {
	case "spec":
		w.spec, err = ParseSpec(l.str())
	case "result":
		w.result, err = parseResult(l.str())
	case "notify":
		w.notifier.state, err = ParseNotify(l.str())
	case "why":
		w.log.why = errors.New(l.str())
	default:
		return false
	}
	l.fault(err)
	return true
}

// A remembered is a variable that encode writes down under a key: a *string, *bool, *int,
// *int64, *time.Duration or *time.Time.
type remembered struct {
	key   string
	value any
}

func (w *run) remembered() []remembered {
	n, l := &w.notifier, w.log
	return []remembered{
		{"pid", &w.pid}, {"limit", &w.limit}, {"since", &w.quiet.since}, {"patience", &w.quiet.patience},
		{"cgroup-dir", &w.cgroupDir}, {"config-dir", &w.configDir},

		{"stops-fd", &w.stops}, {"script-fd", &w.script}, {"pipe-fd", &w.pipe}, {"cgroup-fd", &w.cgroup}, {"result-fd", &w.resultFD},
		{"strays-fd", &w.strays}, {"timer-fd", &w.timer},

		{"notify-fd", &n.socket}, {"notify-name", &n.name}, {"notify-written", &n.written}, {"notify-since", &n.since},

		{"head", &l.head}, {"tail", &l.tail}, {"segment", &l.seg}, {"segment-fd", &l.segFD}, {"segment-size", &l.segSize},
		{"gap", &l.gap}, {"lost", &l.lost}, {"rotate", &l.rot.limit}, {"keep", &l.rot.keep}, {"age", &l.rot.age}, {"begun", &l.rot.begun}, {"from", &l.rot.from}, {"size", &l.rot.size},
		{"middle", &l.rot.mid}, {"unconfessed", &l.rot.lost},
	}
}
