package wrapper

import (
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A child is everything that the script's process needs between its birth and
// its exec, in a form that needs no allocation there.
//
// The wrapper forks by itself, and not by syscall.ForkExec, because only the
// child may have the script's limits, niceness, umask and empty signal mask:
// the wrapper's own must stay as they are.
type child struct {
	paths      []*byte // tried in turn, as execvp does
	argv, envv []*byte
	dir        *byte
	out        int      // becomes standard output and error; -1: they stay as they are
	sockets    int      // that it is given
	in, stdout int      // become standard input and output; -1: standard input stays, out becomes standard output, too
	pidVar     [32]byte // LISTEN_PID, which it fills itself
	cgroup     int      // the cgroup's open directory; -1: the wrapper's cgroup
	uid, gid   int
	groups     []uint32
	umask      int
	nice       int
	addNice    bool
	limits     []rlimit
	noNewPrivs bool
	noCaps     bool
	caps       capabilities // none
	oomScore   *byte        // the file into which 0 is written; nil: none
	report     report       // by the child: it has the parent's memory
	clone      cloneArgs
	pidfd      int32 // of the child, for the parent; -1: this system has none
	tell       int   // a pipe into which the child writes its report; 0: it has the parent's memory
}

type rlimit struct {
	resource uintptr
	val      syscall.Rlimit
}

// capabilities are the arguments of capset(2), in the version of all kernels since 2.6.26.
type capabilities struct {
	header unix.CapUserHeader
	sets   [2]unix.CapUserData
}

// A report is where the child notes which step failed, and how.
type report struct{ step, errno int32 }

// What the child does, in this order.
const (
	stepBorn = 1 + iota // it runs; this step cannot fail
	stepGroup
	stepOOM
	stepNice
	stepLimits
	stepGroups
	stepGID
	stepUID
	stepCaps
	stepPrivs
	stepDir
	stepOutput
	stepSockets
	stepExec

	// stepUnborn means that the child was killed before it ran at all.
	stepUnborn
)

var stepNames = [...]string{stepGroup: "process group", stepOOM: "oom_score_adj", stepNice: "nice", stepLimits: "limits",
	stepGroups: "groups", stepGID: "group", stepUID: "user", stepCaps: "capabilities", stepPrivs: "no-new-privs",
	stepDir: "working directory", stepOutput: "output", stepSockets: "passed sockets", stepExec: "exec"}

// cloneArgs are the arguments of clone3(2).
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

// standardPath is where commands are searched without PATH.
const standardPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// candidates returns the paths that are tried for name.
func candidates(name string, env []string) []string {
	if strings.IndexByte(name, '/') >= 0 {
		return []string{name}
	}
	path := standardPath
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			path = v
		}
	}
	var c []string
	for dir := range strings.SplitSeq(path, ":") {
		if dir == "" {
			dir = "."
		}
		c = append(c, dir+"/"+name)
	}
	return c
}

// vfork makes a system call after which the child uses the parent's stack while
// the parent sleeps. No function in Go could do that.
//
//go:noescape
func vfork(trap, a1, a2, a3 uintptr) (r1, errno uintptr)

// start makes the process. It returns when the process has executed the script or has
// failed, because the parent of a vfork sleeps until then.
func (c *child) start() (pid int, step int, err syscall.Errno) {
	c.pidfd = -1 // older kernels do not set it
	c.clone = cloneArgs{
		flags:      unix.CLONE_VFORK | unix.CLONE_VM | unix.CLONE_PIDFD,
		pidfd:      uint64(uintptr(unsafe.Pointer(&c.pidfd))),
		exitSignal: uint64(syscall.SIGCHLD),
	}
	if c.cgroup >= 0 {
		c.clone.flags |= unix.CLONE_INTO_CGROUP
		c.clone.cgroup = uint64(c.cgroup)
	}
	if pid, err = c.fork(); err == syscall.EINVAL && c.cgroup < 0 {
		pid, err = c.forkCopy()
	}
	runtime.KeepAlive(c)
	if err != 0 {
		return 0, 0, err
	}
	if c.pidfd < 0 { // the child is not reaped yet, so it is still the one with this id
		if fd, errno := rawCall(unix.SYS_PIDFD_OPEN, uintptr(pid), 0, 0); errno == 0 {
			c.pidfd = int32(fd)
		}
	}
	switch step = int(c.report.step); step {
	case 0:
		step = stepUnborn
	case stepBorn: // its exec did not return
		step = 0
	}
	return pid, step, syscall.Errno(c.report.errno)
}

// forkCopy makes the process where the kernel, or what stands for it, refuses a vfork with a pidfd: emulators of
// other machines do, and make a fork of any vfork. So the child has a copy of the memory, and reports through a pipe,
// which its exec closes.
func (c *child) forkCopy() (pid int, err syscall.Errno) {
	var p [2]int32
	if err = pipe2(&p); err != 0 {
		return 0, err
	}
	c.tell, c.clone.flags = int(p[1]), 0
	pid, err = c.fork()
	rawClose(c.tell)
	c.tell = 0
	if err == 0 {
		c.report.step = stepBorn
		report := unsafe.Slice((*byte)(unsafe.Pointer(&c.report)), unsafe.Sizeof(c.report))
		for errno := syscall.EINTR; errno == syscall.EINTR; {
			_, errno = rawRead(int(p[0]), report)
		}
	}
	rawClose(int(p[0]))
	return pid, err
}

// fork returns only in the parent. It must return at once: the child has used the stack
// below this frame, and must not touch the stack above.
//
//go:norace
//go:noinline
//go:nosplit
func (c *child) fork() (pid int, err syscall.Errno) {
	var r, errno uintptr
	if c.clone.flags&unix.CLONE_INTO_CGROUP != 0 {
		r, errno = vfork(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&c.clone)), unsafe.Sizeof(c.clone), 0)
	} else { // older kernels and filters of system calls allow this one, too
		r, errno = vfork(syscall.SYS_CLONE, uintptr(c.clone.flags|c.clone.exitSignal), 0, uintptr(unsafe.Pointer(&c.pidfd)))
	}
	if errno != 0 || r != 0 {
		return int(r), syscall.Errno(errno)
	}
	c.become()
	return 0, 0 // not reached
}

// become is what the new process does. It must not grow its stack, allocate,
// write a pointer, or return: it has the memory of a Go program, but no runtime.
//
//go:norace
//go:nosplit
func (c *child) become() {
	c.report.step = stepBorn
	step, err := c.prepare()
	if err == 0 {
		step = stepExec
		err = c.exec()
	}
	c.report.errno = int32(err)
	c.report.step = int32(step)
	if c.tell > 0 {
		syscall.RawSyscall(syscall.SYS_WRITE, uintptr(c.tell), uintptr(unsafe.Pointer(&c.report)), unsafe.Sizeof(c.report))
	}
	for {
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 126, 0, 0)
	}
}

//go:norace
//go:nosplit
func (c *child) prepare() (step int, err syscall.Errno) {
	if _, _, err = syscall.RawSyscall(syscall.SYS_SETPGID, 0, 0, 0); err != 0 {
		return stepGroup, err
	}
	if c.oomScore != nil {
		if err = c.resetOOM(); err != 0 {
			return stepOOM, err
		}
	}
	if c.addNice {
		if _, _, err = syscall.RawSyscall(syscall.SYS_SETPRIORITY, syscall.PRIO_PROCESS, 0, uintptr(c.nice)); err != 0 {
			return stepNice, err
		}
	}
	for i := 0; i < len(c.limits); i++ {
		l := &c.limits[i]
		if _, _, err = syscall.RawSyscall6(unix.SYS_PRLIMIT64, 0, l.resource, uintptr(unsafe.Pointer(&l.val)), 0, 0, 0); err != 0 {
			return stepLimits, err
		}
	}
	syscall.RawSyscall(syscall.SYS_UMASK, uintptr(c.umask), 0, 0)
	if step, err = c.user(); err != 0 {
		return step, err
	}
	if c.noNewPrivs {
		if _, _, err = syscall.RawSyscall6(syscall.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); err != 0 {
			return stepPrivs, err
		}
	}
	if _, _, err = syscall.RawSyscall(syscall.SYS_CHDIR, uintptr(unsafe.Pointer(c.dir)), 0, 0); err != 0 {
		return stepDir, err
	}
	if c.out >= 0 {
		for fd := uintptr(1); fd <= 2; fd++ {
			if _, _, err = syscall.RawSyscall(syscall.SYS_DUP3, uintptr(c.out), fd, 0); err != 0 {
				return stepOutput, err
			}
		}
	}
	if c.in >= 0 {
		if _, _, err = syscall.RawSyscall(syscall.SYS_DUP3, uintptr(c.in), 0, 0); err != 0 {
			return stepOutput, err
		}
		if _, _, err = syscall.RawSyscall(syscall.SYS_DUP3, uintptr(c.stdout), 1, 0); err != 0 {
			return stepOutput, err
		}
	}
	if c.sockets > 0 {
		c.fillPID()
		for i := uintptr(0); i < uintptr(c.sockets); i++ { // upwards: each goes where an earlier one was, or what only the wrapper needs
			if _, _, err = syscall.RawSyscall(syscall.SYS_DUP3, FirstSocket+i, firstPassed+i, 0); err != 0 {
				return stepSockets, err
			}
		}
	}
	return 0, 0
}

// firstPassed is the descriptor of the first socket for the script.
const firstPassed = 3

// addPID adds to envv the variable that the process fills itself: its own id is not known
// before.
func (c *child) addPID() {
	if c.sockets > 0 {
		copy(c.pidVar[:], listenPIDVar+"=")
		c.envv = append(c.envv, &c.pidVar[0])
	}
}

//go:norace
//go:nosplit
func (c *child) fillPID() {
	pid, _, _ := syscall.RawSyscall(syscall.SYS_GETPID, 0, 0, 0)
	end := len(listenPIDVar) + 2
	for p := pid; p >= 10; p /= 10 {
		end++
	}
	c.pidVar[end] = 0 // an earlier try may have written a longer number
	for ; pid > 0; pid /= 10 {
		end--
		c.pidVar[end] = byte('0' + pid%10)
	}
}

//go:norace
//go:nosplit
func (c *child) user() (step int, err syscall.Errno) {
	if c.uid >= 0 {
		newKeyring()
		var p uintptr
		if len(c.groups) > 0 {
			p = uintptr(unsafe.Pointer(&c.groups[0]))
		}
		if _, _, err = syscall.RawSyscall(syscall.SYS_SETGROUPS, uintptr(len(c.groups)), p, 0); err != 0 {
			return stepGroups, err
		}
	}
	if c.gid >= 0 {
		g := uintptr(c.gid)
		if _, _, err = syscall.RawSyscall(syscall.SYS_SETRESGID, g, g, g); err != 0 {
			return stepGID, err
		}
	}
	if c.uid >= 0 {
		u := uintptr(c.uid)
		if _, _, err = syscall.RawSyscall(syscall.SYS_SETRESUID, u, u, u); err != 0 {
			return stepUID, err
		}
	}
	if c.noCaps { // the ambient set goes with the others
		if _, _, err = syscall.RawSyscall(syscall.SYS_CAPSET, uintptr(unsafe.Pointer(&c.caps.header)), uintptr(unsafe.Pointer(&c.caps.sets)), 0); err != 0 {
			return stepCaps, err
		}
	}
	return 0, 0
}

// newKeyring gives this process a session keyring of its own, see keyrings(7). If all
// scripts shared the daemon's keyring, one user's script would possess the keys
// that another user's script put there. A keyring belongs to a thread, so the wrapper
// cannot join it on the script's behalf. It is joined as root, so it counts against root's
// quota. If there are no keyrings, or a filter forbids them, nothing is shared.
//
//go:norace
//go:nosplit
func newKeyring() {
	const anonymous = 0
	syscall.RawSyscall(unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, anonymous, 0)
}

// resetOOM makes this process as likely as others to be killed when memory is short. The
// wrapper keeps the daemon's score, because a vforked process has its own score.
//
//go:norace
//go:nosplit
func (c *child) resetOOM() syscall.Errno {
	fd, _, err := syscall.RawSyscall6(syscall.SYS_OPENAT, atCWD, uintptr(unsafe.Pointer(c.oomScore)), syscall.O_WRONLY|syscall.O_CLOEXEC, 0, 0, 0)
	if err != 0 {
		return err
	}
	zero := byte('0')
	_, _, err = syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(&zero)), 1)
	syscall.RawSyscall(syscall.SYS_CLOSE, fd, 0, 0)
	return err
}

// atCWD is AT_FDCWD as a system call's argument.
const atCWD = ^uintptr(0) - 99

// exec executes the first candidate that is executable. It returns only if none is.
//
//go:norace
//go:nosplit
func (c *child) exec() (err syscall.Errno) {
	// All of the wrapper's own descriptors are closed on exec, but it may have
	// inherited one that is not.
	from := firstPassed + uintptr(c.sockets)
	if c.tell > 0 { // it is needed if exec fails
		syscall.RawSyscall(unix.SYS_CLOSE_RANGE, from, uintptr(c.tell)-1, 0)
		from = uintptr(c.tell) + 1
	}
	syscall.RawSyscall(unix.SYS_CLOSE_RANGE, from, ^uintptr(0)>>32, 0)
	var dfl sigaction
	for i := 0; i < len(ignored); i++ {
		syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, ignored[i], uintptr(unsafe.Pointer(&dfl)), 0, 8, 0, 0)
	}
	for i := 0; i < len(inherited); i++ {
		syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, inherited[i], uintptr(unsafe.Pointer(&dfl)), 0, 8, 0, 0)
	}
	var empty uint64
	syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&empty)), 0, 8, 0, 0)
	denied := false
	for i := 0; i < len(c.paths); i++ {
		_, _, err = syscall.RawSyscall(syscall.SYS_EXECVE, uintptr(unsafe.Pointer(c.paths[i])),
			uintptr(unsafe.Pointer(&c.argv[0])), uintptr(unsafe.Pointer(&c.envv[0])))
		switch err {
		case syscall.EACCES:
			denied = true
		case syscall.ENOENT, syscall.ENOTDIR:
		default:
			return err
		}
	}
	if denied {
		return syscall.EACCES
	}
	return syscall.ENOENT
}
