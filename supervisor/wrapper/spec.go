package wrapper

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

const specHead = "activationd-spec 1"

// Encode returns the specification as the wrapper reads it. Stdin and
// Topology are not in it; they have files of their own.
func (s *Spec) Encode() []byte {
	size := 512
	for _, e := range s.Env {
		size += len(e) + 16
	}
	t := newText(specHead, size)
	t.str("id", s.ID)
	t.str("phase", s.Phase)
	t.int("attempt", int64(s.Attempt))
	t.str("boot", s.Boot)
	t.str("mark", s.Mark)
	for _, a := range s.Argv {
		t.key("arg")
		t.b = append(strconv.AppendQuote(t.b, a), '\n')
	}
	for _, e := range s.Env { // also an empty one, which str would leave out
		t.key("env")
		t.b = append(strconv.AppendQuote(t.b, e), '\n')
	}
	t.str("dir", s.Dir)
	t.int("uid", int64(s.UID))
	t.int("gid", int64(s.GID))
	for _, g := range s.Groups {
		t.int("group", int64(g))
	}
	t.int("umask", int64(s.Umask))
	t.int("nice", int64(s.Nice))
	for _, l := range s.Limits {
		t.key("limit")
		t.b = append(t.b, l.Name...)
		t.b = strconv.AppendUint(append(t.b, ' '), l.Soft, 10)
		t.b = append(strconv.AppendUint(append(t.b, ' '), l.Hard, 10), '\n')
	}
	t.bool("no-new-privs", s.NoNewPrivs)
	t.bool("no-caps", s.NoCaps)
	t.bool("oom-reset", s.OOMReset)
	t.int("timeout", int64(s.Timeout))
	t.int("grace", int64(s.Grace))
	t.int("log-head", s.LogHead)
	t.int("log-tail", s.LogTail)
	t.bool("keep", s.Keep)
	t.str("cgroup", s.Cgroup)
	t.str("config-root", s.ConfigRoot)
	t.time("not-before", s.NotBefore)
	t.bool("topology", s.hasTopology || len(s.Topology) > 0)
	return t.end()
}

// ParseSpec reads what Encode wrote, and refuses what it does not know.
func ParseSpec(data string) (*Spec, error) {
	s := &Spec{UID: -1, GID: -1}
	if err := parseText(data, specHead, s.set); err != nil {
		return nil, errors.New("specification: " + err.Error())
	}
	if err := s.Check(); err != nil {
		return nil, errors.New("specification: " + err.Error())
	}
	return s, nil
}

func (s *Spec) set(l line) bool {
	switch l.key {
	case "id":
		s.ID = l.str()
	case "phase":
		s.Phase = l.str()
	case "attempt":
		s.Attempt = l.int()
	case "boot":
		s.Boot = l.str()
	case "mark":
		s.Mark = l.str()
	case "arg":
		s.Argv = append(s.Argv, l.str())
	case "env":
		s.Env = append(s.Env, l.str())
	case "dir":
		s.Dir = l.str()
	case "uid":
		s.UID = l.int()
	case "gid":
		s.GID = l.int()
	case "group":
		s.Groups = append(s.Groups, l.int())
	case "umask":
		s.Umask = l.int()
	case "nice":
		s.Nice = l.int()
	case "limit":
		s.Limits = append(s.Limits, l.limit())
	case "no-new-privs":
		s.NoNewPrivs = l.bool()
	case "no-caps":
		s.NoCaps = l.bool()
	case "oom-reset":
		s.OOMReset = l.bool()
	case "timeout":
		s.Timeout = l.duration()
	case "grace":
		s.Grace = l.duration()
	case "log-head":
		s.LogHead = l.int64()
	case "log-tail":
		s.LogTail = l.int64()
	case "keep":
		s.Keep = l.bool()
	case "cgroup":
		s.Cgroup = l.str()
	case "config-root":
		s.ConfigRoot = l.str()
	case "not-before":
		s.NotBefore = l.time()
	case "topology":
		s.hasTopology = l.bool()
	default:
		return false
	}
	return true
}

func (l line) limit() Limit {
	w := strings.Split(l.value, " ")
	if len(w) != 3 {
		l.fault(strconv.ErrSyntax)
		return Limit{}
	}
	soft, err := strconv.ParseUint(w[1], 10, 64)
	l.fault(err)
	hard, err := strconv.ParseUint(w[2], 10, 64)
	l.fault(err)
	return Limit{w[0], soft, hard}
}

// Check reports the first thing in s with which no script could be started.
func (s *Spec) Check() error {
	if len(s.Argv) == 0 || s.Argv[0] == "" {
		return errors.New("no command")
	}
	for _, list := range [][]string{s.Argv, s.Env, {s.Dir, s.Cgroup, s.ConfigRoot, s.Mark}} {
		for _, v := range list {
			if strings.IndexByte(v, 0) >= 0 {
				return errors.New("a zero byte in " + strconv.Quote(cut(v, 80)))
			}
		}
	}
	for _, l := range s.Limits {
		if resource(l.Name) < 0 {
			return errors.New("unknown limit " + strconv.Quote(cut(l.Name, 80)))
		}
		if l.Soft > l.Hard {
			return errors.New("limit " + l.Name + ": soft is more than hard")
		}
	}
	switch {
	case s.UID < -1 || s.GID < -1:
		return errors.New("uid and gid must be -1 or more")
	case s.Umask < 0 || s.Umask > 0o777:
		return errors.New("umask must be 0 to 0777")
	case s.Timeout < 0 || s.Grace < 0:
		return errors.New("timeout and grace must not be less than 0")
	case s.LogHead < 0 || s.LogTail < 0:
		return errors.New("log limits must not be less than 0")
	}
	return nil
}

// resource returns the number of a limit, -1 if there is none of this name.
// The numbers are those of all architectures that Go runs on but MIPS.
func resource(name string) int {
	for i, n := range [...]string{"cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile",
		"memlock", "as", "locks", "sigpending", "msgqueue", "nice", "rtprio", "rttime"} {
		if n == name {
			return i
		}
	}
	return -1
}

// deadline returns the instant at which a script that starts at now is timed
// out, as scripts read it; empty if it has no limit.
func (s *Spec) deadline(now time.Time) string {
	if s.Timeout <= 0 {
		return ""
	}
	return now.Add(s.Timeout).UTC().Format(time.RFC3339Nano)
}
