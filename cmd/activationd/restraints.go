package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"activationd/internal/config"
	"activationd/internal/fault"
	"activationd/supervisor/wrapper"
)

// limitNames are the resource limits by their numbers.
var limitNames = [...]string{"cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile",
	"memlock", "as", "locks", "sigpending", "msgqueue", "nice", "rtprio", "rttime"}

// restraints are those of the process that submits a job. The job gets them too, so that it
// is no way around them.
type restraints struct {
	limits     []wrapper.Limit // where they are lower than the daemon's own
	noNewPrivs bool
}

// limits remembers the restraints of processes that submit: a busy process does so
// thousands of times in a second, over one connection. On another connection it may have
// other restraints, or be another process. The zero limits knows none.
type limits struct {
	mu    sync.Mutex
	own   *[len(limitNames)]config.Rlimit
	known map[peer]knownRestraints
}

type peer struct {
	pid  int
	conn uint64 // 0: not known, and not remembered
}

type knownRestraints struct {
	uid   int
	had   restraints
	until time.Time
}

// of returns the result of restraintsOf, or that of the last seconds for the same
// connection.
func (l *limits) of(from peer, uid int) (restraints, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k, ok := l.known[from]; ok && from.conn != 0 && k.uid == uid && time.Now().Before(k.until) {
		return k.had, nil
	}
	if l.own == nil {
		own, err := readLimits(os.Getpid())
		if err != nil {
			return restraints{}, err
		}
		l.own = &own
	}
	had, err := restraintsOf(from.pid, uid, *l.own)
	if err != nil {
		return restraints{}, err
	}
	if l.known == nil || len(l.known) > 1000 {
		l.known = make(map[peer]knownRestraints)
	}
	l.known[from] = knownRestraints{uid, had, time.Now().Add(userMemory)}
	return had, nil
}

// restraintsOf returns the restraints of a user's process; own are the daemon's limits.
// The error is fault.Denied if the user has no such process. Pid 0 is a process in a
// namespace that cannot be seen from here: nothing is known of it.
func restraintsOf(pid, uid int, own [len(limitNames)]config.Rlimit) (had restraints, err error) {
	if pid == 0 {
		return had, nil
	}
	var was wrapper.Process // without a pidfd
	fd, err := unix.PidfdOpen(pid, 0)
	there := err == nil
	if wrapper.NoPidfds(err) {
		was, there = wrapper.Stat(pid)
	}
	if !there {
		return had, gone(pid)
	}
	defer func() { _ = unix.Close(fd) }() // it may be -1
	have, err := readLimits(pid)
	if err == nil {
		had.noNewPrivs, err = noNewPrivs(pid)
	}
	if err != nil {
		return restraints{}, fmt.Errorf("%w: %w", gone(pid), err)
	}
	for n, l := range have {
		if n == unix.RLIMIT_NOFILE {
			l.Soft = l.Hard // the soft limit of atctl means nothing: programs in Go raise it
			own[n].Soft = own[n].Hard
		}
		if l.Hard < own[n].Hard || l.Soft < own[n].Soft {
			had.limits = append(had.limits, wrapper.Limit{Name: limitNames[n], Soft: min(l.Soft, own[n].Soft), Hard: min(l.Hard, own[n].Hard)})
		}
	}
	// Another process may have the number since the client connected. If it is the same
	// user's, so are the limits; and root can have any.
	if uid != 0 && !isUser(pid, uid) || !isThere(fd, was) {
		return restraints{}, gone(pid)
	}
	return had, nil
}

// isThere reports whether a process still exists, alive or not waited for yet. It needs
// no right to signal the process. A pidfd of -1 is none: then it is the process that was there.
func isThere(pidfd int, was wrapper.Process) bool {
	if pidfd < 0 {
		now, ok := wrapper.Stat(was.PID)
		return ok && now.Born == was.Born
	}
	err := unix.PidfdSendSignal(pidfd, 0, nil, 0)
	return err == nil || errors.Is(err, unix.EPERM) // which the kernel says of processes that are there
}

// noNewPrivs reports whether a process has no_new_privs set, see prctl(2): as in many
// sandboxes, programs that it executes gain nothing by their set-uid bits.
func noNewPrivs(pid int) (bool, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	return bytes.Contains(data, []byte("\nNoNewPrivs:\t1\n")), err
}

func gone(pid int) error {
	return fmt.Errorf("the client, process %d, has ended before its limits could be read for the job; "+
		"a client must wait for the reply: %w", pid, fault.Denied)
}

// readLimits returns the limits of a process, in the order of their numbers. For another
// user's process prlimit(2) needs a capability, which a confined daemon may not have;
// then the limits are read from /proc, which takes longer.
func readLimits(pid int) (ls [len(limitNames)]config.Rlimit, err error) {
	for n := range ls {
		var l unix.Rlimit
		if err := unix.Prlimit(pid, n, nil, &l); errors.Is(err, unix.EPERM) {
			return readProcLimits(pid)
		} else if err != nil {
			return ls, err
		}
		ls[n] = config.Rlimit{Soft: l.Cur, Hard: l.Max}
	}
	return ls, nil
}

// readProcLimits reads /proc/PID/limits. The file has a line for each limit, in the order
// of their numbers: the name in 26 columns, the soft limit, and the hard limit.
func readProcLimits(pid int) (ls [len(limitNames)]config.Rlimit, err error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/limits")
	if err != nil {
		return ls, err
	}
	lines := strings.Split(string(data), "\n")
	for n := range ls {
		var fields []string
		if n+1 < len(lines) && len(lines[n+1]) > 26 {
			fields = strings.Fields(lines[n+1][26:])
		}
		if len(fields) < 2 {
			return ls, fmt.Errorf("/proc/%d/limits: there is no limit %s", pid, limitNames[n])
		}
		for i, to := range []*uint64{&ls[n].Soft, &ls[n].Hard} {
			if *to, err = strconv.ParseUint(fields[i], 10, 64); fields[i] == "unlimited" {
				*to, err = config.Unlimited, nil
			}
			if err != nil {
				return ls, fmt.Errorf("/proc/%d/limits: %s: %w", pid, limitNames[n], err)
			}
		}
	}
	return ls, nil
}

// isUser reports whether a process is a user's: by its real uid, or by its effective uid,
// which is what the kernel reports for a connection.
func isUser(pid, uid int) bool {
	var st unix.Stat_t // it has the effective uid of most processes, and is faster than reading the file
	if unix.Stat("/proc/"+strconv.Itoa(pid), &st) == nil && int(st.Uid) == uid {
		return true
	}
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(data), "\nUid:\t")
	line, _, _ := strings.Cut(rest, "\n")
	ids := strings.Fields(line)
	return len(ids) == 4 && (ids[0] == strconv.Itoa(uid) || ids[1] == strconv.Itoa(uid))
}
