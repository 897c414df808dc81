package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"activationd/internal/fault"
	"activationd/supervisor/wrapper"
)

// direct implements [Privileged] with this process's own rights.
type direct struct {
	config   Config
	null     *os.File
	cgroup   string    // parent of the runs' cgroups, once they are contained; empty: none
	sweep    sync.Once // of what earlier daemons' commands have left
	blind    bool      // a start returns no pidfd here; Contain finds out
	standIns standIns  // then
}

func newDirect(c Config) (*direct, error) {
	null, err := os.Open(os.DevNull)
	return &direct{config: c, null: null}, err
}

// wrapperEnv is the wrapper's own environment, besides its run's mark. It needs only one
// thread for Go code and no garbage collection; without them it starts faster.
var wrapperEnv = []string{"GOMAXPROCS=1", "GOGC=off"}

// Start starts a wrapper in a session of its own, with all signals blocked, so that a
// stop that comes before the wrapper is ready waits for it instead of killing it. The
// wrapper carries its run's mark, so it can be found even when its lock is gone.
func (p *direct) Start(mark string, files WrapperFiles) (c Child, err error) {
	sys := &syscall.SysProcAttr{Setsid: true}
	var s standIn
	if !p.blind {
		sys.PidFD = &c.PidFD
	} else if s, err = newStandIn(); err != nil { // it is made now: a wrapper that runs must not be without
		return c, err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, old unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old); err != nil {
		return c, err
	}
	in, log := uintptr(files.Stdin), uintptr(files.Log)
	passed := []uintptr{in, log, log, uintptr(files.Dir), uintptr(files.Lock)} // in the order in which it knows them
	for _, fd := range files.Passed {
		passed = append(passed, uintptr(fd))
	}
	c.PID, err = syscall.ForkExec(p.config.Atwrap, []string{"atwrap"}, &syscall.ProcAttr{
		Dir: "/", Env: append(slices.Clone(wrapperEnv), wrapper.MarkVar+"="+mark),
		Files: passed,
		Sys:   sys,
	})
	if e := unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil); e != nil && err == nil {
		err = e
	}
	switch {
	case !p.blind:
	case err != nil:
		s.close()
	default:
		c.PidFD, err = p.standIns.open(s, wrapper.Process{PID: c.PID})
	}
	return c, err
}

// unknownStatus is the exit status of a wrapper that a signal ended, or that was
// another daemon's child.
const unknownStatus = -1

// Reap reaps the process of a pidfd if it is our child: that one, and no other.
func (p *direct) Reap(pidfd int) (status int) {
	var info childInfo
	err := unix.Waitid(unix.P_PIDFD, pidfd, (*unix.Siginfo)(unsafe.Pointer(&info)), unix.WEXITED|unix.WNOHANG, nil)
	switch {
	case err == nil && info.Code == cldExited:
		return int(info.Status)
	case err != nil && p.blind:
		return p.standIns.status(pidfd)
	}
	return unknownStatus
}

// A childInfo is a siginfo_t as waitid(2) fills it on Linux.
type childInfo struct {
	Signo, Errno, Code int32
	_                  [unsafe.Sizeof(uintptr(0))/4 - 1]int32 // what follows is aligned as a pointer
	PID, UID           int32
	Status             int32
	_                  [128]byte
}

// cldExited is the code of a child that exited by itself.
const cldExited = 1

// Signal implements [Privileged].
func (p *direct) Signal(pidfd int, sig syscall.Signal) error {
	err := unix.PidfdSendSignal(pidfd, sig, nil, 0)
	if p.blind && (errors.Is(err, unix.EBADF) || errors.Is(err, unix.ENOSYS)) {
		return p.standIns.signal(pidfd, sig)
	}
	return err
}

// KillCgroup implements [Privileged].
func (p *direct) KillCgroup(run string) error {
	if err := checkName(run); err != nil || p.cgroup == "" {
		return err
	}
	wrapper.KillCgroup(filepath.Join(p.cgroup, run))
	return nil
}

// Missing implements [Privileged].
func (p *direct) Missing(c wrapper.Command) string { return c.Missing() }

// MakeWorkdir implements [Privileged].
func (p *direct) MakeWorkdir(id string, uid, gid int) error {
	dir, err := p.path(Workdirs, id)
	if err != nil {
		return err
	}
	err = os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	if err == nil && (uid >= 0 || gid >= 0) { // an earlier daemon may have ended in between
		err = os.Lchown(dir, uid, gid)
	}
	return err
}

// Open implements [Privileged]. A script of the daemon's own user can replace a run's
// file by anything.
func (p *direct) Open(run, name string) (*os.File, error) {
	if file, ok := strings.CutPrefix(name, wrapper.ConfigDir+"/"); ok {
		return p.openFile(run, file)
	}
	dir, err := p.path(RunDirs, run)
	if err == nil {
		err = checkName(name)
	}
	if err != nil {
		return nil, err
	}
	return openRegular(filepath.Join(dir, name))
}

// Remove implements [Privileged]. With a run's directory it removes the run's cgroup,
// which exists as long as processes live that its script was allowed to leave behind.
func (p *direct) Remove(ctx context.Context, place Place, name string) error {
	dir, err := p.path(place, name)
	if err != nil {
		return err
	}
	if place == RunDirs && p.cgroup != "" {
		_ = wrapper.RemoveEmptyCgroup(filepath.Join(p.cgroup, name)) // it is tried again when the daemon starts
	}
	err = wrapper.RemoveTree(filepath.Dir(dir), name, func() bool { return ctx.Err() != nil })
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s: a part of it is left: %w: %w", dir, context.Cause(ctx), fault.Unavailable)
	}
	return fmt.Errorf("%s: %w", dir, err)
}

// path returns the path of an entry of a place.
func (p *direct) path(place Place, name string) (string, error) {
	dir := map[Place]string{RunDirs: p.config.RunsDir, ConfigDirs: p.config.ConfigRoot, Workdirs: p.config.WorkdirsDir}[place]
	if dir == "" {
		return "", fmt.Errorf("there is no place for %s: %w", place, fault.Invalid)
	}
	return filepath.Join(dir, name), checkName(name)
}

// Close implements [Privileged].
func (p *direct) Close() {
	if p.cgroup != "" {
		p.sweepCgroups(p.cgroup)
		_ = os.Remove(p.cgroup) // is refused while there are runs; a wrapper that needs it makes it again
	}
	p.standIns.watchers.Wait()
	_ = p.null.Close()
}
