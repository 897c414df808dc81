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
	if s.TermSignal != 0 { // an older wrapper does not know it
		t.int("term-signal", int64(s.TermSignal))
	}
	t.int("log-head", s.LogHead)
	t.int("log-tail", s.LogTail)
	if s.LogRotate != 0 || s.LogKeep != 0 { // an older wrapper does not know them
		t.int("log-rotate", s.LogRotate)
		t.int("log-keep", int64(s.LogKeep))
	}
	if s.LogAge != 0 { // as above
		t.int("log-age", int64(s.LogAge))
	}
	t.bool("keep", s.KeepLeftovers)
	t.bool("notify", s.Notify)
	if s.Watchdog > 0 {
		t.int("watchdog", int64(s.Watchdog))
	}
	for _, name := range s.Listen {
		t.key("listen")
		t.b = append(strconv.AppendQuote(t.b, name), '\n')
	}
	for _, a := range s.Addresses {
		t.key("address")
		t.b = append(strconv.AppendQuote(t.b, a), '\n')
	}
	t.bool("stream", s.Stream)
	t.str("cgroup", s.Cgroup)
	t.str("config-root", s.ConfigRoot)
	t.time("not-before", s.NotBefore)
	t.bool("topology", s.hasTopology || len(s.Topology) > 0)
	return t.end()
}

// ParseSpec reads what Encode wrote, and refuses keys that it does not know.
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
	case "term-signal":
		s.TermSignal = l.int()
	case "log-head":
		s.LogHead = l.int64()
	case "log-tail":
		s.LogTail = l.int64()
	case "log-rotate":
		s.LogRotate = l.int64()
	case "log-keep":
		s.LogKeep = l.int()
	case "log-age":
		s.LogAge = l.duration()
	case "keep":
		s.KeepLeftovers = l.bool()
	case "watchdog":
		s.Watchdog = l.duration()
	case "listen":
		s.Listen = append(s.Listen, l.str())
	case "address":
		s.Addresses = append(s.Addresses, l.str())
	case "notify":
		s.Notify = l.bool()
	case "stream":
		s.Stream = l.bool()
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

// Check returns an error for the first field with which no script could be started.
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
	for _, name := range s.Listen {
		if !socketName(name) {
			return errors.New("a socket's name must be 1 to 255 printable ASCII characters without a colon, is " + strconv.Quote(cut(name, 80)))
		}
	}
	if len(s.Addresses) != len(s.Listen) {
		return errors.New(strconv.Itoa(len(s.Addresses)) + " addresses with " + strconv.Itoa(len(s.Listen)) + " names of sockets")
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
	case s.Watchdog < 0 || s.Watchdog > 0 && !s.Notify:
		return errors.New("watchdog must not be less than 0, and needs notify")
	case s.Stream && len(s.Stdin) > 0:
		return errors.New("a script with a stream has no other standard input")
	case s.Stream && s.KeepLeftovers:
		return errors.New("a script with a stream cannot leave processes behind: they would keep its output open")
	case s.LogHead < 0 || s.LogTail < 0:
		return errors.New("log limits must not be less than 0")
	case s.LogAge < 0:
		return errors.New("the age of a log must not be less than 0")
	case s.LogRotate < 0 || s.LogRotate > MaxLogRotate || s.LogKeep < 0 || s.LogKeep > MaxLogKeep:
		return errors.New("a rotated log has files of at most 1 TiB, and at most 1000 old ones")
	}
	return nil
}

// socketName reports whether a socket can have that name in LISTEN_FDNAMES, which separates
// the names by colons.
func socketName(name string) bool {
	for _, c := range []byte(name) {
		if c < ' ' || c > '~' || c == ':' {
			return false
		}
	}
	return name != "" && len(name) <= 255
}

// The bounds of a rotated log. Each old file is renamed at each rotation.
const (
	MaxLogRotate = 1 << 40
	MaxLogKeep   = 1000
)

// resource returns the number of a limit, -1 if there is none of this name.
// The numbers are right for all architectures that Go runs on, except for MIPS.
func resource(name string) int {
	for i, n := range [...]string{"cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile",
		"memlock", "as", "locks", "sigpending", "msgqueue", "nice", "rtprio", "rttime"} {
		if n == name {
			return i
		}
	}
	return -1
}

// deadline returns, in the form for scripts, when a script that starts now times
// out; empty if it has no timeout.
func (s *Spec) deadline(now time.Time) string {
	if s.Timeout <= 0 {
		return ""
	}
	return now.Add(s.Timeout).UTC().Format(time.RFC3339Nano)
}
