package wrapper

import (
	"errors"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// Names in a run directory, in the order in which the files are made.
const (
	LockFile  = "lock"  // by the daemon, flocked until the wrapper has exited
	SpecFile  = "spec"  // by the daemon
	StdinFile = "stdin" // by the daemon, if the script has an input
	// TopologyFile is written by the daemon if there is a topology; the wrapper copies
	// it into the configuration directory, under the name ConfigTopology.
	TopologyFile = "topology"
	LogFile      = "log"     // by the daemon; written by the wrapper, also for messages of its own
	StartedFile  = "started" // by the wrapper: once it exists, the script may have run
	NotifyFile   = "notify"  // by the wrapper, which replaces it, if the script reports something to NOTIFY_SOCKET
	UnreadFile   = "unread"  // by the wrapper, if the script has a stream and there is output that nobody has read
	ResultFile   = "result"  // by the wrapper
	ConfigDir    = "config"  // by the wrapper: the configuration directory's last state
)

// ConfigTopology is the topology's name in the configuration directory; its path
// is the script's ACTIVATION_TOPOLOGY.
const ConfigTopology = "topology.clab.yml"

const (
	lockHead    = "activationd-lock 1"
	startedHead = "activationd-started 1"
	notifyHead  = "activationd-notify 1"
	resultHead  = "activationd-result 1"
	// hungHead begins a result that names processes that hang. A reader that does not
	// know this form treats the run as lost, and looks for leftovers.
	hungHead  = "activationd-result 2"
	resultNew = "result.new"
	notifyNew = "notify.new"
)

// A Lock is the content of the lock file. It is valid only while the lock is held.
type Lock struct {
	PID  int
	Born time.Duration // CLOCK_BOOTTIME when the wrapper wrote it: a process with this id that began later is another one
}

// Started is the content of the file of that name. The file is made before the
// script starts and filled after, so its whole content may be missing.
type Started struct {
	PID    int           // the script's
	Born   time.Duration // as in Lock, for the script
	At     time.Time
	Cgroup string // the run's own, empty if it has none
}

// put writes l into a text that has its first line.
func (l Lock) put(t *text) []byte {
	t.int("pid", int64(l.PID))
	t.int("born", int64(l.Born))
	return t.end()
}

// ParseLock reads the content of a lock file.
func ParseLock(data string) (l Lock, err error) {
	err = parseText(data, lockHead, func(f line) bool {
		switch f.key {
		case "pid":
			l.PID = f.int()
		case "born":
			l.Born = f.duration()
		default:
			return false
		}
		return true
	})
	return l, err
}

// put writes s into a text that has its first line.
func (s Started) put(t *text) []byte {
	t.int("pid", int64(s.PID))
	t.int("born", int64(s.Born))
	t.time("at", s.At)
	t.str("cgroup", s.Cgroup)
	return t.end()
}

// ParseStarted reads the content of a started file.
func ParseStarted(data string) (s Started, err error) {
	err = parseText(data, startedHead, func(f line) bool {
		switch f.key {
		case "pid":
			s.PID = f.int()
		case "born":
			s.Born = f.duration()
		case "at":
			s.At = f.time()
		case "cgroup":
			s.Cgroup = f.str()
		default:
			return false
		}
		return true
	})
	return s, err
}

func (r *Result) encode() []byte {
	head := resultHead
	if len(r.Hung) > 0 {
		head = hungHead
	}
	return r.put(newText(head, smallText))
}

// put writes r into a text that has its first line.
func (r *Result) put(t *text) []byte {
	t.str("reason", r.Reason)
	t.str("text", r.Text)
	t.int("pid", int64(r.PID))
	t.int("wrapper-pid", int64(r.WrapperPID))
	t.int("exit", int64(r.Exit))
	t.int("signal", int64(r.Signal))
	t.time("started", r.Started)
	t.time("ended", r.Ended)
	for _, h := range r.Hung {
		t.key("hung")
		t.b = strconv.AppendInt(t.b, int64(h.PID), 10)
		t.b = append(strconv.AppendInt(append(t.b, ' '), int64(h.Born), 10), '\n')
	}
	t.int("leftovers", int64(r.Leftovers))
	t.str("contained", r.Contained)
	t.int("user", int64(r.User))
	t.int("system", int64(r.System))
	t.int("maxrss", r.MaxRSS)
	return t.end()
}

// ParseResult reads the content of a result file.
func ParseResult(data string) (r Result, err error) {
	r, err = parseResult(data)
	if err == nil && r.Reason == "" {
		err = errors.New("a result without a reason")
	}
	return r, err
}

func parseResult(data string) (r Result, err error) {
	head := resultHead
	if strings.HasPrefix(data, hungHead) {
		head = hungHead
	}
	err = parseText(data, head, func(f line) bool {
		switch f.key {
		case "reason":
			r.Reason = f.str()
		case "text":
			r.Text = f.str()
		case "pid":
			r.PID = f.int()
		case "wrapper-pid":
			r.WrapperPID = f.int()
		case "exit":
			r.Exit = f.int()
		case "signal":
			r.Signal = f.int()
		case "started":
			r.Started = f.time()
		case "ended":
			r.Ended = f.time()
		case "hung":
			r.Hung = append(r.Hung, f.hung())
		case "leftovers":
			r.Leftovers = f.int()
		case "contained":
			r.Contained = f.str()
		case "user":
			r.User = f.duration()
		case "system":
			r.System = f.duration()
		case "maxrss":
			r.MaxRSS = f.int64()
		default:
			return false
		}
		return true
	})
	return r, err
}

func (l line) hung() Hung {
	pid, born, _ := strings.Cut(l.value, " ")
	p, err := strconv.Atoi(pid)
	l.fault(err)
	b, err := strconv.ParseInt(born, 10, 64)
	l.fault(err)
	return Hung{p, time.Duration(b)}
}

// readFile returns the whole of a file of the directory dir, of at most limit
// bytes.
func readFile(dir int, name string, limit int) (string, error) {
	fd, err := openat(dir, name, syscall.O_RDONLY, 0)
	if err != nil {
		return "", err
	}
	defer closeFD(fd)
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return "", err
	}
	if st.Size > int64(limit) {
		return "", syscall.EFBIG
	}
	buf := make([]byte, max(int(st.Size)+1, smallText))
	for have := 0; ; {
		n, err := read(fd, buf[have:])
		if err != nil {
			return "", err
		}
		if n == 0 {
			return unsafe.String(&buf[0], have), nil // nobody else has buf
		}
		if have += n; have > limit {
			return "", syscall.EFBIG
		}
		if have == len(buf) { // a file of /proc has no size
			larger := make([]byte, 2*len(buf))
			copy(larger, buf)
			buf = larger
		}
	}
}
