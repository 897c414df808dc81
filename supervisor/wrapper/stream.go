package wrapper

import (
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// InputSignal asks a wrapper to close its copy of the daemon's end of the script's standard
// input, if there is one. Like StopSignal, it stays pending until the wrapper is ready.
const InputSignal = syscall.SIGUSR1

// StreamFD is the first of the four descriptors that a wrapper gets if Stream is set: the daemon's
// end of standard input, the daemon's end of standard output, and then the script's two ends in the same order.
func (s *Spec) StreamFD() int { return FirstSocket + len(s.Listen) }

func (s *Spec) daemonInput() int  { return s.StreamFD() }
func (s *Spec) daemonOutput() int { return s.StreamFD() + 1 }

// endInput closes the wrapper's copy of the daemon's end of standard input if InputSignal is pending. Standard
// input of the wrapper itself, which is /dev/null, takes its place: another file must not get its number, which
// the daemon asks for. The signal is received after that, so that there is no moment at which a new daemon sees
// neither, see [InputEnding].
func (w *run) endInput() {
	var pending unix.Sigset_t
	_, _, errno := syscall.RawSyscall(syscall.SYS_RT_SIGPENDING, uintptr(unsafe.Pointer(&pending)), 8, 0)
	if w.input >= 0 && errno == 0 && pending.Val[0]&(1<<(InputSignal-1)) != 0 {
		_, _ = rawCall(syscall.SYS_DUP3, stdinFD, uintptr(w.input), 0)
	}
}

// InputEnding reports whether InputSignal was sent to a wrapper, which has not received it yet.
func InputEnding(pid int) bool {
	status, err := readFile(unix.AT_FDCWD, "/proc/"+strconv.Itoa(pid)+"/status", 4096)
	if err != nil {
		return false
	}
	_, set, _ := strings.Cut(status, "\nShdPnd:\t")
	set, _, _ = strings.Cut(set, "\n")
	pending, err := strconv.ParseUint(set, 16, 64)
	return err == nil && pending&(1<<(InputSignal-1)) != 0
}

// saveUnread copies the output that nobody has consumed to a file, and leaves it in the pipe: a
// daemon that is there reads it from the pipe.
func (w *run) saveUnread() error {
	if !w.spec.Stream {
		return nil
	}
	out := w.spec.daemonOutput()
	size, err := unix.FcntlInt(uintptr(out), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		return err
	}
	var p [2]int
	if err := syscall.Pipe2(p[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
		return err
	}
	defer closeFD(p[0])
	defer closeFD(p[1])
	if _, err := unix.FcntlInt(uintptr(p[1]), unix.F_SETPIPE_SZ, size); err != nil {
		return err
	}
	n, err := unix.Tee(out, p[1], size, unix.SPLICE_F_NONBLOCK)
	if n == 0 || err == syscall.EAGAIN {
		return nil
	}
	if err != nil {
		return err
	}
	file, err := openat(dirFD, UnreadFile, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer closeFD(file)
	buf := make([]byte, 32<<10)
	for left := int(n); left > 0; {
		n, err := read(p[0], buf)
		if err != nil {
			return err
		}
		if _, err := writeAll(file, buf[:n]); err != nil {
			return err
		}
		left -= n
	}
	return nil
}
