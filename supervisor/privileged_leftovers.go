package supervisor

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"activationd/internal/fault"
	"activationd/supervisor/wrapper"
)

// ClearLeftovers implements [Privileged].
func (p *direct) ClearLeftovers(l Leftovers) (c Cleared, err error) {
	return p.clearLeftovers(filepath.Join(p.config.RunsDir, l.Run), l)
}

func (p *direct) clearLeftovers(dir string, l Leftovers) (c Cleared, err error) {
	if err := checkName(l.Run); err != nil {
		return c, err
	}
	if !strings.HasPrefix(l.MarkStem, l.Run+"-") {
		return c, fmt.Errorf("%q is not the beginning of the marks of run %s: %w", l.MarkStem, l.Run, fault.Invalid)
	}
	r := leftovers{Leftovers: l, dir: dir}
	if l.FilesDone {
		return r.end()
	}
	marked, wrappers := r.wrappers(p.config.ConfigRoot)
	if marked || l.Mark != "" || l.Lock.PID > 0 {
		c, err = r.end()
		err = errors.Join(err, r.saveFiles())
	}
	for _, pid := range append(wrappers, l.Also...) { // one of them was the wrapper, whatever its lock says
		if s, ok := wrapper.Stat(pid); ok && !s.Dead() {
			continue // another process has that id now; if it is a wrapper, it moved the old directory aside
		}
		err = errors.Join(err, p.Remove(context.Background(), ConfigDirs, strconv.Itoa(pid)))
		_ = unix.Unlink(wrapper.NotifySocket(p.config.ConfigRoot, pid)) // few have one
	}
	return c, err
}

// leftovers are what is left of one run.
type leftovers struct {
	Leftovers
	dir string // the run's
}

// end kills the processes and removes the cgroup.
func (r *leftovers) end() (c Cleared, err error) {
	if r.OtherBoot {
		return c, nil
	}
	c.Killed, c.Hung = r.kill()
	if len(c.Hung) > 0 { // they keep the cgroup
		return c, fmt.Errorf("could not be killed: %s", wrapper.HungText(c.Hung))
	}
	if r.Cgroup != "" {
		if err := wrapper.RemoveCgroup(r.Cgroup); err != nil {
			return c, fmt.Errorf("cgroup not removed: %w", err)
		}
	}
	return c, nil
}

// kill kills the run's processes until two passes over /proc find none: those in its
// cgroup, its session or its process group, those that carry its mark, and their
// descendants. One pass is not enough: a process that is just becoming
// another program (execve) shows no environment, and so no mark.
func (r *leftovers) kill() (n int, hung []wrapper.Hung) {
	killed := map[wrapper.Process]bool{}
	patience := time.Now().Add(killPatience)
	for empty := 0; ; {
		var inside []wrapper.Process
		if r.Cgroup != "" {
			inside = wrapper.KillCgroup(r.Cgroup)
			for _, p := range inside {
				killed[identity(p)] = true
			}
		}
		found := r.find()
		if len(found)+len(inside) > 0 {
			empty = 0
		} else if empty++; empty == 2 {
			break
		}
		// A stopped process cannot fork while the others are being killed.
		for _, sig := range []unix.Signal{unix.SIGSTOP, unix.SIGKILL} {
			for _, p := range found {
				if signal(p, sig) {
					killed[identity(p)] = true
				}
			}
		}
		if time.Now().After(patience) {
			if hung = wrapper.AddHung(wrapper.AddHung(nil, found...), inside...); len(hung) > 0 {
				break
			}
			patience = patience.Add(killPatience) // those have gone just now, but others may have come
		}
		time.Sleep(killPause)
	}
	n = len(killed) - len(hung)
	for p := range killed {
		if p.PID == r.Started.PID {
			n--
		}
	}
	return max(n, 0), hung
}

// identity returns the part of p that does not change.
func identity(p wrapper.Process) wrapper.Process { return wrapper.Process{PID: p.PID, Born: p.Born} }

// signal signals p, unless its process id is another process's now.
func signal(p wrapper.Process, sig unix.Signal) bool {
	return wrapper.Signal(p.PID, sig, func(now wrapper.Process) bool { return now.Born == p.Born })
}

// find returns the living processes that belong to the run.
func (r *leftovers) find() []wrapper.Process {
	var all []wrapper.Process
	for _, pid := range wrapper.Processes() {
		if p, ok := wrapper.Stat(pid); ok && !p.Dead() {
			all = append(all, p)
		}
	}
	return r.mine(all, r.marked)
}

// mine chooses from all processes those that belong to the run. The id of a session or
// a group is not used again while that has a member, so membership proves descent. The
// exception: if a process that began later has the id as its own process id, the old
// session or group is gone, and this is another one.
func (r *leftovers) mine(all []wrapper.Process, marked func(pid int) bool) []wrapper.Process {
	session, group := r.Lock.PID, r.Started.PID
	for _, p := range all {
		if p.PID == session && !p.Same(r.Lock.Born) {
			session = 0
		}
		if p.PID == group && !p.Same(r.Started.Born) {
			group = 0
		}
	}
	in := map[int]bool{}
	for _, p := range all {
		if session > 0 && p.Session == session || group > 0 && p.Group == group || marked(p.PID) {
			in[p.PID] = true
		}
	}
	for more := true; more; {
		more = false
		for _, p := range all {
			if !in[p.PID] && in[p.Parent] {
				in[p.PID], more = true, true
			}
		}
	}
	var mine []wrapper.Process
	for _, p := range all {
		if in[p.PID] {
			mine = append(mine, p)
		}
	}
	return mine
}

// marked reports whether a process carries the mark of the run, or one with the same
// beginning if the mark is not known.
func (r *leftovers) marked(pid int) bool {
	if r.Mark != "" {
		return strings.Contains(wrapper.Environ(pid), "\x00"+wrapper.MarkVar+"="+r.Mark+"\x00")
	}
	return strings.Contains(wrapper.Environ(pid), "\x00"+wrapper.MarkVar+"="+r.MarkStem)
}

// wrappers returns the ids that the run's wrapper may have had: those of the processes
// whose mark has the run's beginning, and those in the names of the configuration
// directories in their environments. It reports whether there is such a process.
func (r *leftovers) wrappers(configRoot string) (marked bool, pids []int) {
	stem := "\x00" + wrapper.MarkVar + "=" + r.MarkStem
	for _, pid := range wrapper.Processes() {
		env := wrapper.Environ(pid)
		if !strings.Contains(env, stem) {
			continue
		}
		marked = true
		pids = append(pids, pid)
		_, dir, _ := strings.Cut(env, "\x00"+wrapper.ConfigVar+"="+configRoot+"/")
		dir, _, _ = strings.Cut(dir, "\x00")
		if n, err := strconv.Atoi(dir); err == nil {
			pids = append(pids, n)
		}
	}
	return marked, pids
}

// saveFiles does what the wrapper could not do any more: it completes the log and
// moves the configuration directory into the run's directory.
func (r *leftovers) saveFiles() error {
	fd, err := unix.Open(r.dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT || err == unix.ENOTDIR {
		return nil // there is nothing to keep, and no place for it
	}
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	var faults []error
	if r.LogTail == 0 {
		// A rotated log is complete at any time.
	} else if log, err := unix.Openat(fd, wrapper.LogFile, unix.O_WRONLY|unix.O_APPEND|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err == nil {
		if err := wrapper.JoinLog(fd, log, r.LogTail); err != nil {
			faults = append(faults, fmt.Errorf("log not completed: %w", err))
		}
		_ = unix.Close(log)
	}
	if r.Lock.PID == 0 || r.ConfigRoot == "" {
		return errors.Join(faults...)
	}
	if p, ok := wrapper.Stat(r.Lock.PID); ok && !r.OtherBoot && !p.Same(r.Lock.Born) {
		return errors.Join(faults...) // another process has its id now, and the directory of that name may be another wrapper's
	}
	_ = unix.Unlink(wrapper.NotifySocket(r.ConfigRoot, r.Lock.PID)) // few have one
	path := filepath.Join(r.ConfigRoot, strconv.Itoa(r.Lock.PID))
	if err := wrapper.SaveConfig(path, fd); err != nil {
		faults = append(faults, fmt.Errorf("configuration directory not kept: %w", err))
	}
	return errors.Join(faults...)
}
