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

	"activationd/supervisor/wrapper"
)

// remains are what a run may have left whose wrapper was killed.
type remains struct {
	dir      string
	spec     *wrapper.Spec // nil if there is none
	lock     wrapper.Lock  // empty if the wrapper did not come to write it
	started  wrapper.Started
	sameBoot bool
	config   Config
}

// clear ends and removes all of it, and returns how many processes it killed
// besides the script, and those that it could not kill.
func (r *remains) clear() (killed int, hung []wrapper.Hung, err error) {
	killed, hung, err = r.end()
	if r.spec != nil {
		err = errors.Join(err, r.saveFiles())
	}
	return killed, hung, err
}

// end is clear but for the files.
func (r *remains) end() (killed int, hung []wrapper.Hung, err error) {
	if r.spec == nil || !r.sameBoot {
		return 0, nil, nil
	}
	killed, hung = r.kill()
	if len(hung) > 0 { // they keep the cgroup
		return killed, hung, fmt.Errorf("could not be killed: %s", wrapper.HungText(hung))
	}
	if cgroup := r.cgroup(); cgroup != "" {
		if err := wrapper.RemoveCgroup(cgroup); err != nil {
			return killed, nil, fmt.Errorf("cgroup not removed: %w", err)
		}
	}
	return killed, nil, nil
}

func (r *remains) cgroup() string {
	if r.spec.Cgroup == "" {
		return ""
	}
	return filepath.Join(r.spec.Cgroup, wrapper.CgroupName(r.spec))
}

// Bounds of the hunt for what is left.
const (
	huntPatience = 10 * time.Second
	huntPause    = 10 * time.Millisecond
)

// kill kills what belongs to the run until two passes over /proc find nothing:
// what was in its cgroup, its session or its process group, carries its mark,
// or descends from such. One pass is not enough: a process that is just becoming
// another program (execve) shows no environment, and so no mark.
func (r *remains) kill() (n int, hung []wrapper.Hung) {
	killed := map[wrapper.Process]bool{}
	patience := time.Now().Add(huntPatience)
	for empty := 0; ; {
		var inside []wrapper.Process
		if c := r.cgroup(); c != "" {
			inside = wrapper.KillCgroup(c)
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
		// What is stopped cannot fork while the others are being killed.
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
			patience = patience.Add(huntPatience) // those have gone just now; who comes after them?
		}
		time.Sleep(huntPause)
	}
	n = len(killed) - len(hung)
	for p := range killed {
		if p.PID == r.started.PID {
			n--
		}
	}
	return max(n, 0), hung
}

// identity is what of a process does not change.
func identity(p wrapper.Process) wrapper.Process { return wrapper.Process{PID: p.PID, Born: p.Born} }

// signal signals p, if its number is still its own.
func signal(p wrapper.Process, sig unix.Signal) bool {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }()
	now, ok := wrapper.Stat(p.PID)
	return ok && now.Born == p.Born && unix.PidfdSendSignal(fd, sig, nil, 0) == nil
}

// find returns the living processes that belong to the run.
func (r *remains) find() []wrapper.Process {
	var all []wrapper.Process
	for _, pid := range wrapper.Processes() {
		if p, ok := wrapper.Stat(pid); ok && !p.Dead() {
			all = append(all, p)
		}
	}
	return r.mine(all, func(pid int) bool { return hasMark(pid, r.spec.Mark) })
}

// mine chooses from all processes those that belong to the run. The numbers of
// a session and of a group cannot be used again while either has a member, so
// membership proves descent, unless a process that began later has the number
// itself now: then the old session or group is gone, and this is another.
func (r *remains) mine(all []wrapper.Process, marked func(pid int) bool) []wrapper.Process {
	session, group := r.lock.PID, r.started.PID
	for _, p := range all {
		if p.PID == session && !p.Same(r.lock.Born) {
			session = 0
		}
		if p.PID == group && !p.Same(r.started.Born) {
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

func hasMark(pid int, mark string) bool {
	return mark != "" && strings.Contains(wrapper.Environ(pid), "\x00"+wrapper.MarkVar+"="+mark+"\x00")
}

// saveFiles does what the wrapper did not come to do: it completes the log and
// keeps the configuration directory as evidence.
func (r *remains) saveFiles() error {
	fd, err := unix.Open(r.dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT || err == unix.ENOTDIR {
		return nil // there is nothing to be kept, and no place for it
	}
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	var faults []error
	if log, err := unix.Openat(fd, wrapper.LogFile, unix.O_WRONLY|unix.O_APPEND|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err == nil {
		if err := wrapper.JoinLog(fd, log, r.spec.LogTail); err != nil {
			faults = append(faults, fmt.Errorf("log not completed: %w", err))
		}
		_ = unix.Close(log)
	}
	if r.lock.PID == 0 || r.spec.ConfigRoot == "" {
		return errors.Join(faults...)
	}
	if p, ok := wrapper.Stat(r.lock.PID); ok && r.sameBoot && !p.Same(r.lock.Born) {
		return errors.Join(faults...) // its number, and so the directory's name, is another wrapper's now
	}
	path := filepath.Join(r.spec.ConfigRoot, strconv.Itoa(r.lock.PID))
	if err := wrapper.SaveConfig(path, fd); err != nil {
		faults = append(faults, fmt.Errorf("configuration directory not kept: %w", err))
	}
	return errors.Join(faults...)
}

// sweepNamesakes removes the configuration directories that wrappers found
// under their own number and moved aside: what they belonged to is over. It ends
// when the Supervisor is closed; the next one goes on.
func (s *Supervisor) sweepNamesakes() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s.followers.Go(func() {
		select {
		case <-s.closing:
			cancel()
		case <-ctx.Done():
		}
	})
	old, _ := filepath.Glob(filepath.Join(s.config.ConfigRoot, "*"+wrapper.AsideInfix+"*")) // a bad pattern is its only error
	for _, dir := range old {
		if err := removeTree(ctx, s.config.ConfigRoot, filepath.Base(dir)); err != nil && ctx.Err() == nil {
			s.config.Log.Warn("a dead run's configuration directory cannot be removed", "path", dir, "err", err)
		}
	}
}
