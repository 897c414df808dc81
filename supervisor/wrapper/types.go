package wrapper

import "time"

// A Spec says what to run, and within which limits. The daemon writes it into
// the run's directory; the wrapper reads it once.
type Spec struct {
	ID      string // of the activation; with Phase and Attempt it names the run
	Phase   string
	Attempt int

	Argv []string // the command; Argv[0] is searched in the PATH of Env when it has no slash
	Env  []string // the whole environment, K=V; the wrapper adds ACTIVATION_CONFIG_DIR, _DEADLINE and _RUN
	Dir  string   // working directory; empty: /
	// Stdin is what the script reads; empty: nothing. It is kept beside the
	// specification, in a file of its own.
	Stdin []byte

	// Topology, when not empty, is put into the configuration directory as
	// ConfigTopology, owned by the script's user, and the script is told its path in
	// ACTIVATION_TOPOLOGY. Like Stdin it is kept in a file of its own.
	Topology []byte

	UID, GID   int   // of the script; -1: the daemon's
	Groups     []int // supplementary; only used when UID is set
	Umask      int
	Nice       int // added to the daemon's
	Limits     []Limit
	NoNewPrivs bool
	NoCaps     bool // no capabilities, though UID is the daemon's own; another user than root has none in any case
	OOMReset   bool // the daemon is less likely to be killed for memory than others; its scripts are as others
	// AtMost lowers Limits, or the daemon's own, where they are higher. It is for
	// the supervisor: the wrapper gets what comes of it.
	AtMost []Limit

	Timeout time.Duration // from the script's start to TERM; 0: none
	Grace   time.Duration // from TERM to KILL
	LogHead int64         // bytes of output kept from its beginning
	LogTail int64         // bytes of output kept from its end, at least
	Keep    bool          // leave alone what the script leaves behind
	Cgroup  string        // directory of cgroup v2 in which the run's own is made; empty: none
	// ConfigRoot is where the configuration directory is made, named by the
	// wrapper's process id.
	ConfigRoot string
	// NotBefore holds the script back until this instant of CLOCK_REALTIME,
	// with everything ready. Zero: at once.
	NotBefore time.Time

	// Boot and Mark are set by the supervisor: the boot's id, and the value of
	// ACTIVATION_RUN by which what is left of a run can be found in /proc.
	Boot, Mark string

	hasTopology bool // there is a file of it in the run directory
}

// A Limit is a resource limit of the script, see setrlimit(2).
type Limit struct {
	Name       string // as, core, cpu, data, fsize, locks, memlock, nofile, nproc, stack, ...
	Soft, Hard uint64 // Unlimited: none
}

// Unlimited is the value of a [Limit] that does not limit.
const Unlimited = ^uint64(0)

// Reasons for which a run ends, in [Result].
const (
	Exited     = "exited"      // by itself: Exit or Signal says how
	TimedOut   = "timeout"     // it was ended at its timeout
	Stopped    = "stopped"     // it was ended because someone asked
	Disarmed   = "disarmed"    // stopped, or the clock set back, before NotBefore: the script never ran
	Failed     = "failed"      // the script cannot be started: Text says why, Exit is 126 or 127
	Lost       = "lost"        // the wrapper is gone without a word; the script may have run
	NotStarted = "not-started" // the script never ran, for a reason that is not its own: Text says which
	Void       = "void"        // the wrapper is gone; nothing shows that the script ran
	Unborn     = "unborn"      // there never was a wrapper: the daemon ended before it could start it
)

// Guards: how a run's processes are held together, best first.
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
	Exit       int // the script's status; -1 if a signal ended it, or nobody knows
	Signal     int // that ended the script; 0 if none
	Started    time.Time
	Ended      time.Time
	// Hung are processes of the run that sleep in the kernel and did not die when
	// they were killed. As long as one lives the end is not verified: the system
	// call in which it is may still be carried out.
	Hung      []Hung `json:",omitempty"`
	Leftovers int    // processes killed besides the script, after its end or at the run's
	Contained string // GuardCgroup, GuardSubreaper or GuardGroup
	User      time.Duration
	System    time.Duration
	MaxRSS    int64 // KiB, of the largest process
}

// A Hung is a process that could not be killed.
type Hung struct {
	PID  int
	Born time.Duration // as in [Process]
}

// maxHung bounds how many are named. When those are gone, others are looked for.
const maxHung = 50
