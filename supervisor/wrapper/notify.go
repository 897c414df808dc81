package wrapper

import (
	"bytes"
	"errors"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Notified is what the processes of a run have reported by the protocol of sd_notify(3).
// It is the content of the file of that name.
type Notified struct {
	Ready     time.Time // READY=1 came; zero: not yet
	Reloading time.Time // RELOADING=1 came, and no READY=1 since
	Stopping  time.Time // STOPPING=1 came
	Status    string    // the last STATUS=: valid UTF-8 of at most 1 KiB, without control characters
	// Extended is the time until which the last EXTEND_TIMEOUT_USEC= asks to be waited for.
	Extended time.Time
	Watchdog time.Time // the last WATCHDOG=1 came, if Spec.Watchdog is set
	Trigger  time.Time // WATCHDOG=trigger came: the script asks to be treated as hanging
	// Refused is how many messages came from processes that do not belong to the run. The
	// file is not replaced for each of them.
	Refused int
	Refusal string // for people: whose message the last of them was
}

func (n *Notified) encode() []byte {
	t := newText(notifyHead, 256+2*len(n.Status))
	t.time("ready", n.Ready)
	t.time("reloading", n.Reloading)
	t.time("stopping", n.Stopping)
	t.str("status", n.Status)
	t.time("extended", n.Extended)
	t.time("watchdog", n.Watchdog)
	t.time("trigger", n.Trigger)
	if n.Refused > 0 {
		t.int("refused", int64(n.Refused))
	}
	t.str("refusal", n.Refusal)
	return t.end()
}

// ParseNotify reads the content of a notify file.
func ParseNotify(data string) (n Notified, err error) {
	err = parseText(data, notifyHead, func(f line) bool {
		switch f.key {
		case "ready":
			n.Ready = f.time()
		case "reloading":
			n.Reloading = f.time()
		case "stopping":
			n.Stopping = f.time()
		case "status":
			n.Status = f.str()
		case "extended":
			n.Extended = f.time()
		case "watchdog":
			n.Watchdog = f.time()
		case "trigger":
			n.Trigger = f.time()
		case "refused":
			n.Refused = f.int()
		case "refusal":
			n.Refusal = f.str()
		default:
			return false
		}
		return true
	})
	return n, err
}

// Bounds of what is received: a longer message is ignored, as systemd does, and a longer
// status is cut. A request for more time is cut to one day; it can be repeated.
const (
	maxMessage = 4096
	maxStatus  = 1 << 10
	maxExtend  = 24 * time.Hour
)

// MaxExtend is by how much a script that is asked to end can extend its grace, in all.
const MaxExtend = time.Hour

// take carries out one message and reports whether it changed anything. Unknown lines are
// ignored, also FDSTORE=1 and MAINPID=: a run keeps the process that it was started as.
// WATCHDOG=1 counts only if somebody waits for it, because it comes often.
func (n *Notified) take(message []byte, now time.Time, watchdog bool) (changed bool) {
	for len(message) > 0 {
		line, rest, _ := bytes.Cut(message, []byte{'\n'})
		message = rest
		key, value, _ := bytes.Cut(line, []byte{'='})
		switch string(key) {
		case "READY":
			if string(value) == "1" && n.Stopping.IsZero() && (n.Ready.IsZero() || !n.Reloading.IsZero()) {
				n.Ready, n.Reloading, changed = now, time.Time{}, true
			}
		case "RELOADING":
			if string(value) == "1" && n.Stopping.IsZero() && n.Reloading.IsZero() {
				n.Reloading, changed = now, true
			}
		case "STOPPING":
			if string(value) == "1" && n.Stopping.IsZero() {
				n.Stopping, changed = now, true
			}
		case "STATUS":
			if s := cleanStatus(value); s != n.Status {
				n.Status, changed = s, true
			}
		case "EXTEND_TIMEOUT_USEC":
			usec, err := strconv.ParseUint(string(value), 10, 64)
			if err == nil && usec > 0 {
				n.Extended, changed = now.Add(time.Duration(min(usec, uint64(maxExtend/time.Microsecond)))*time.Microsecond), true
			}
		case "WATCHDOG":
			switch {
			case string(value) == "1" && watchdog:
				n.Watchdog, changed = now, true
			case string(value) == "trigger" && n.Trigger.IsZero():
				n.Trigger, changed = now, true
			}
		}
	}
	return changed
}

// cleanStatus returns a status as a text that can be shown on a terminal.
func cleanStatus(b []byte) string {
	b = b[:min(len(b), maxStatus)]
	for n := len(b) - 1; n >= 0 && n >= len(b)-utf8.UTFMax; n-- { // do not keep a part of a character
		if utf8.RuneStart(b[n]) {
			if !utf8.FullRune(b[n:]) {
				b = b[:n]
			}
			break
		}
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		if r == utf8.RuneError {
			return '?' // it takes no more room than what it stands for
		}
		return r
	}, string(b))
}

// NotifySocket returns the path of the socket at which a wrapper receives notifications.
// It is beside the configuration directory and not in it, because a daemon that gives up
// root's rights has to reach it as another user.
func NotifySocket(configRoot string, wrapperPID int) string {
	return configRoot + "/" + strconv.Itoa(wrapperPID) + notifySuffix
}

const notifySuffix = ".notify"

// maxSocketPath is the longest name of a socket that all programs can use, in bytes.
const maxSocketPath = 107

// A notifier is the socket of a run's notifications, and what came there.
type notifier struct {
	socket int    // -1: there is none
	name   string // for NOTIFY_SOCKET
	buf    []byte // for one message, and one byte more
	state  Notified

	stale    bool          // the file does not have the state
	written  int           // how often the file was written since
	since    time.Duration // monotonic
	received int           // messages since the last collection of garbage
}

// Bounds of the work that messages cause. A file that is written wakes the daemon.
const (
	notifyBatch   = 64 // messages that are received before other events are looked at
	notifyBurst   = 10 // the file is written so often within one notifyPause
	notifyPause   = time.Second
	notifyGarbage = 256 // messages after which garbage is collected, which is off otherwise
)

// listen makes the socket, if the script is to report something. Any user may send to it; what belongs to the run is
// decided for each message.
func (w *run) listen() bool {
	if !w.plan.notify {
		return true
	}
	errno := w.bind()
	if errno != 0 && w.notifier.socket >= 0 {
		rawClose(w.notifier.socket)
		w.notifier.socket = -1
	}
	return errno == 0 || w.awake && w.fails(NotStarted, "socket for notifications", errno)
}

func (w *run) bind() (errno syscall.Errno) {
	n, p := &w.notifier, &w.plan
	if n.socket, errno = rawCall(syscall.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); errno != 0 {
		n.socket = -1
		return errno
	}
	if errno = setOption(n.socket, unix.SO_PASSCRED, 1); errno != 0 {
		return errno
	}
	var digits [20]byte
	path := w.memory.join(p.configRoot, "/", decimal(&digits, w.result.WrapperPID), notifySuffix)
	if path == nil {
		return syscall.ENOMEM
	}
	n.name = textz(path)
	var at unix.RawSockaddrUnix
	at.Family = unix.AF_UNIX
	size := int(unsafe.Offsetof(at.Path))
	if p.configRoot == "" || len(n.name) > maxSocketPath {
		// An abstract name is always short enough, but other network namespaces do not have it.
		name := w.memory.join("@", p.mark[max(0, len(p.mark)-maxSocketPath/2):])
		if name == nil {
			return syscall.ENOMEM
		}
		n.name = textz(name)
	} else {
		_, _ = pathCall(syscall.SYS_UNLINKAT, unix.AT_FDCWD, path, 0, 0, 0) // an earlier process's with this id
		size++
	}
	for i := range len(n.name) {
		at.Path[i] = int8(n.name[i])
	}
	if n.name[0] == '@' {
		at.Path[0] = 0
	}
	if _, errno = pointerCall(syscall.SYS_BIND, uintptr(n.socket), unsafe.Pointer(&at), uintptr(size+len(n.name))); errno != 0 || n.name[0] == '@' {
		return errno
	}
	_, errno = pathCall(syscall.SYS_FCHMODAT, unix.AT_FDCWD, path, 0o666, 0, 0)
	return errno
}

//go:nosplit
func setOption(socket, option int, value int32) syscall.Errno {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_SETSOCKOPT, uintptr(socket), unix.SOL_SOCKET, uintptr(option), uintptr(unsafe.Pointer(&value)), 4, 0)
	return errno
}

// unlisten removes the socket's name.
func (w *run) unlisten() {
	if n := w.notifier.name; n != "" && n[0] != '@' {
		_ = syscall.Unlink(n)
	}
}

// takeNotices receives the messages that have come, and brings the file up to date. It
// reports whether more may have come.
func (w *run) takeNotices() (more bool) {
	n := &w.notifier
	if n.buf == nil {
		n.buf = make([]byte, maxMessage+1)
	}
	for range notifyBatch {
		size, from, err := n.receive()
		if err != nil {
			more = err != syscall.EAGAIN
			break
		}
		more = true
		if n.received++; n.received >= notifyGarbage {
			n.received = 0
			runtime.GC()
		}
		switch {
		case !w.sentByRun(from):
			n.state.Refused++
			n.state.Refusal = "process " + strconv.Itoa(int(from.Pid)) + " of user " + strconv.Itoa(int(from.Uid))
			n.stale = n.stale || n.state.Refused == 1
		case size <= maxMessage:
			n.stale = n.state.take(n.buf[:size], time.Now(), w.spec.Watchdog > 0) || n.stale
		}
	}
	n.update()
	return more
}

// receive receives one message into buf. There is room for the sender's credentials only,
// so that the kernel closes descriptors that come with a message.
func (n *notifier) receive() (size int, from unix.Ucred, err error) {
	var control [unix.SizeofCmsghdr + unix.SizeofUcred]byte
	iov := unix.Iovec{Base: &n.buf[0]}
	iov.SetLen(len(n.buf))
	msg := unix.Msghdr{Iov: &iov, Control: &control[0]}
	msg.SetIovlen(1)
	msg.SetControllen(len(control))
	r, _, errno := syscall.Syscall(syscall.SYS_RECVMSG, uintptr(n.socket), uintptr(unsafe.Pointer(&msg)), unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
	if errno != 0 {
		return 0, from, errno
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	if int(msg.Controllen) >= len(control) && h.Level == unix.SOL_SOCKET && h.Type == unix.SCM_CREDENTIALS {
		from = *(*unix.Ucred)(unsafe.Pointer(&control[unix.SizeofCmsghdr]))
	}
	return int(r), from, nil
}

// sentByRun reports whether a process of the run sent a message: a descendant of this
// process, which is the subreaper of all of them, or a member of the run's cgroup.
// The sender may have ended since; a shell's command that reports and exits is reaped by
// the shell. Then only the user is known, and the script's user and root are believed:
// they could signal, change or end the run's processes as well.
func (w *run) sentByRun(from unix.Ucred) bool {
	pid := int(from.Pid)
	if pid <= 0 { // it is in another process namespace, or there were no credentials
		return false
	}
	for range 3 { // a parent may end while the parents are looked at
		p, ok := Stat(pid)
		if !ok {
			own := uint32(syscall.Geteuid())
			if w.spec.UID >= 0 {
				own = uint32(w.spec.UID)
			}
			return from.Uid == 0 || from.Uid == own
		}
		for ok && p.Parent > 0 {
			if p.Parent == w.result.WrapperPID {
				return true
			}
			p, ok = Stat(p.Parent)
		}
		if ok {
			break
		}
	}
	if w.cgroup >= 0 {
		for _, p := range CgroupMembers(w.cgroupDir) {
			if p.PID == pid {
				return true
			}
		}
	}
	return false
}

// update writes the file if it is not up to date, but not too often.
func (n *notifier) update() {
	if !n.stale {
		return
	}
	now := monotonic()
	if now-n.since >= notifyPause {
		n.since, n.written = now, 0
	}
	if n.written < notifyBurst {
		n.written++
		n.write()
	}
}

// due returns when the file has to be written; strayPause if it is up to date.
func (n *notifier) due() time.Duration {
	if !n.stale {
		return strayPause
	}
	return max(n.since+notifyPause-monotonic(), 0)
}

// write replaces the file. If that fails, for example because the disk is full, it is tried
// again later.
func (n *notifier) write() {
	fd, err := openat(dirFD, notifyNew, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_TRUNC|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0o600)
	if err == nil {
		_, err = writeAll(fd, n.state.encode())
		err = errors.Join(err, syscall.Close(fd))
	}
	if err == nil {
		err = unix.Renameat(dirFD, notifyNew, dirFD, NotifyFile)
	}
	n.stale = err != nil
}

// lastNotices receives what is left when the script has ended.
func (w *run) lastNotices() {
	n := &w.notifier
	if n.socket < 0 {
		return
	}
	for range 1 << 10 {
		if !w.takeNotices() {
			break
		}
	}
	if n.stale || n.state.Refused > 1 { // not all refusals were written
		n.write()
	}
	closeFD(n.socket)
	n.socket = -1
}
