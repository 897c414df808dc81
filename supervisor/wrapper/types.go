package wrapper

import (
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Spec says what to run, and within which limits. The daemon writes it into
// the run's directory; the wrapper reads it once.
type Spec struct {
	ID      string // of the activation; with Phase and Attempt it names the run
	Phase   string
	Attempt int

	Argv []string // the command; Argv[0] is searched in the PATH of Env when it has no slash
	Env  []string // the whole environment, K=V; the wrapper adds ACTIVATION_CONFIG_DIR, _DEADLINE and _RUN
	Dir  string   // working directory; empty: /
	// Stdin is the script's standard input; empty: there is none. It is kept beside the
	// specification, in a file of its own.
	Stdin []byte

	// Topology, if not empty, is put into the configuration directory as
	// ConfigTopology, owned by the script's user. Its path is in the script's
	// variable ACTIVATION_TOPOLOGY. Like Stdin it is kept in a file of its own.
	Topology []byte

	UID, GID   int   // of the script; -1: the daemon's
	Groups     []int // supplementary; only used when UID is set
	Umask      int
	Nice       int // added to the daemon's
	Limits     []Limit
	NoNewPrivs bool
	NoCaps     bool // no capabilities even if the script runs as the daemon's own user; users other than root never have any
	OOMReset   bool // give the script the default oom_score_adj, because the daemon's own is lower
	// AtMost lowers Limits, or the daemon's own limits, where they are higher. Only
	// the supervisor uses it: the wrapper gets the lowered Limits.
	AtMost []Limit

	Timeout       time.Duration // from the script's start to TERM; 0: none
	Grace         time.Duration // from TERM to KILL
	TermSignal    int           // instead of TERM; 0: TERM
	LogHead       int64         // bytes of output kept from its beginning
	LogTail       int64         // bytes of output kept from its end, at least
	LogRotate     int64         // bytes of a file of the log, which is rotated then, whatever LogHead and LogTail are; 0: it is not
	LogKeep       int           // how many older files of a rotated log are kept
	LogAge        time.Duration // of a file of a rotated log; the first output after it begins the next one; 0: any
	KeepLeftovers bool          // leave alone what the script leaves behind
	// Listen are the names of the listening sockets that the script is given as descriptors 3,
	// 4 and so on, with LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES, see sd_listen_fds(3). The
	// wrapper gets them from the supervisor, and keeps them open.
	Listen []string
	// Addresses are where these sockets listen, in the same order: see [CheckAddress] of the
	// supervisor, which opens them. The wrapper does not use them.
	Addresses []string
	// Stream gives the script pipes as standard input and output, which the daemon writes and
	// reads while it runs. The wrapper keeps the daemon's ends of them open, so they
	// outlive the daemon. There is no Stdin then, the log has only the script's standard error, and
	// nothing is left behind.
	Stream bool
	// Watchdog is the longest time between two reports WATCHDOG=1, for the script's
	// WATCHDOG_USEC. The wrapper writes down when they came, and does nothing else. Zero: they
	// are not wanted.
	Watchdog time.Duration
	Notify   bool   // receive notifications at a socket, whose name is in the script's NOTIFY_SOCKET
	Cgroup   string // directory of cgroup v2 in which the run's own is made; empty: none
	// ConfigRoot is where the configuration directory is made, named by the
	// wrapper's process id.
	ConfigRoot string
	// NotBefore is the time on CLOCK_REALTIME until which the script is held back, with
	// everything prepared. Zero: it starts at once.
	NotBefore time.Time

	// Boot and Mark are set by the supervisor: the boot's id, and the value of
	// ACTIVATION_RUN by which leftovers of the run can be found in /proc.
	Boot, Mark string

	hasTopology bool // the topology's file is in the run directory
}

// A Limit is a resource limit of the script, see setrlimit(2).
type Limit struct {
	Name       string // as, core, cpu, data, fsize, locks, memlock, nofile, nproc, stack, ...
	Soft, Hard uint64 // Unlimited: none
}

// Unlimited is the value of a [Limit] for no limit.
const Unlimited = ^uint64(0)

// The values of [Result.Reason]: why a run ended.
const (
	Exited     = "exited"      // by itself: Exit or Signal says how
	TimedOut   = "timeout"     // it was ended at its timeout
	Stopped    = "stopped"     // it was ended because a stop was requested
	Disarmed   = "disarmed"    // stopped, or the clock set back, before NotBefore: the script never ran
	Failed     = "failed"      // the script cannot be started: Text says why, Exit is 126 or 127
	Lost       = "lost"        // the wrapper is gone and reported nothing; the script may have run
	NotStarted = "not-started" // the script never ran, and not through a fault of its own: Text says why
	Void       = "void"        // the wrapper is gone; nothing shows that the script ran
	Unborn     = "unborn"      // there never was a wrapper: the daemon ended before it could start it
)

// The guards: how a run's processes are contained, best first.
const (
	GuardCgroup    = "cgroup"
	GuardSubreaper = "subreaper"
	GuardGroup     = "group"
)

// A Result is how a run ended.
type Result struct {
	Reason     string
	Text       string // for people: what went wrong, empty if nothing did
	PID        int    // the script's; 0 if it never started
	WrapperPID int
	Exit       int // the script's status; -1 if a signal ended it, or it is not known
	Signal     int // the signal that ended the script; 0 if none
	Started    time.Time
	Ended      time.Time
	// Hung are processes of the run that sleep in the kernel and did not die when
	// they were killed. As long as one of them lives, the end is not verified: the system
	// call that it is in may still take effect.
	Hung      []Hung `json:",omitempty"`
	Leftovers int    // processes other than the script that were killed
	Contained string // GuardCgroup, GuardSubreaper or GuardGroup
	User      time.Duration
	System    time.Duration
	MaxRSS    int64 // KiB, of the largest process
}

// SignalName returns the name of the signal that ended the script, such as "KILL"; it
// is empty if none did.
func (r *Result) SignalName() string {
	return strings.TrimPrefix(unix.SignalName(unix.Signal(r.Signal)), "SIG")
}

// ExitStatus returns the script's exit status, and reports whether it has one.
func (r *Result) ExitStatus() (status int, ok bool) {
	switch r.Reason {
	case Exited, TimedOut, Stopped, Failed:
		return r.Exit, r.Exit >= 0
	}
	return -1, false
}

// A Hung is a process that could not be killed.
type Hung struct {
	PID  int
	Born time.Duration // as in [Process]
}

// maxHung is how many are named at most. When those are gone, others are looked for.
const maxHung = 50
