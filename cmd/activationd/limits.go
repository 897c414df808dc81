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

	"activationd/internal/fault"
	"activationd/supervisor/wrapper"
)

// limitNames are the resource limits by their numbers.
var limitNames = [...]string{"cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile",
	"memlock", "as", "locks", "sigpending", "msgqueue", "nice", "rtprio", "rttime"}

// restraints are what a job must not be the way around for who submits it: what his
// process is under.
type restraints struct {
	limits     []wrapper.Limit // where they are lower than the daemon's own
	noNewPrivs bool
}

// limits remembers the restraints of processes that submit: a busy one does so
// thousands of times in a second, over one connection. Over another one it may be under
// others, or another process. The zero limits knows none.
type limits struct {
	mu    sync.Mutex
	own   *[len(limitNames)]Rlimit
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

// of is restraintsOf, or what that returned within the last seconds for the same
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

// restraintsOf returns those of a user's process; own are the daemon's limits. It is
// fault.Denied when there is no such process of his. Pid 0 is one in a place
// that cannot be seen from here, of which nothing is known.
func restraintsOf(pid, uid int, own [len(limitNames)]Rlimit) (had restraints, err error) {
	if pid == 0 {
		return had, nil
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return had, gone(pid)
	}
	defer func() { _ = unix.Close(fd) }()
	his, err := readLimits(pid)
	if err == nil {
		had.noNewPrivs, err = noNewPrivs(pid)
	}
	if err != nil {
		return restraints{}, fmt.Errorf("%w: %w", gone(pid), err)
	}
	for n, l := range his {
		if n == unix.RLIMIT_NOFILE {
			l.Soft = l.Hard // what atctl has says nothing: Go's programs raise it
			own[n].Soft = own[n].Hard
		}
		if l.Hard < own[n].Hard || l.Soft < own[n].Soft {
			had.limits = append(had.limits, wrapper.Limit{Name: limitNames[n], Soft: min(l.Soft, own[n].Soft), Hard: min(l.Hard, own[n].Hard)})
		}
	}
	// The number may have become another's after he connected. If that is his too,
	// the limits are; and root can give himself any.
	if uid != 0 && !isUser(pid, uid) || unix.PidfdSendSignal(fd, 0, nil, 0) != nil {
		return restraints{}, gone(pid)
	}
	return had, nil
}

// noNewPrivs reports whether a process is under that, see prctl(2): what it executes gains
// nothing by set-uid bits, as in many a sandbox.
func noNewPrivs(pid int) (bool, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	return bytes.Contains(data, []byte("\nNoNewPrivs:\t1\n")), err
}

func gone(pid int) error {
	return fmt.Errorf("the process %d that connected has gone, and with it the limits that the job would get; "+
		"it has to wait for the reply: %w", pid, fault.Denied)
}

// readLimits returns the limits of a process, in their numbers' order. Of other
// users' prlimit(2) tells with a capability only, which a daemon that was put
// under restraint may not have; then they stand in /proc, which takes longer.
func readLimits(pid int) (ls [len(limitNames)]Rlimit, err error) {
	for n := range ls {
		var l unix.Rlimit
		if err := unix.Prlimit(pid, n, nil, &l); errors.Is(err, unix.EPERM) {
			return readProcLimits(pid)
		} else if err != nil {
			return ls, err
		}
		ls[n] = Rlimit{Soft: l.Cur, Hard: l.Max}
	}
	return ls, nil
}

// readProcLimits reads /proc/PID/limits, where a line for each limit, in their
// numbers' order, begins with a name of 26 columns; the soft and the hard limit
// follow.
func readProcLimits(pid int) (ls [len(limitNames)]Rlimit, err error) {
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
				*to, err = Unlimited, nil
			}
			if err != nil {
				return ls, fmt.Errorf("/proc/%d/limits: %s: %w", pid, limitNames[n], err)
			}
		}
	}
	return ls, nil
}

// isUser reports whether a process is a user's: by its real uid, or its effective
// one, which the kernel has told of who connected.
func isUser(pid, uid int) bool {
	var st unix.Stat_t // the effective one, of most processes; it is quicker told than the rest
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
