package supervisor

import (
	"context"
	"os"
	"syscall"
	"time"

	"activationd/supervisor/wrapper"
)

// Privileged is everything for which a supervisor needs more rights than an ordinary user
// has: it starts processes as other users, signals and kills them, and reads,
// measures and removes their files. The rest of the package does all this through
// Privileged. So a small process of root's can do it for a daemon that runs as an ordinary
// user. Unless Config has another implementation, this process does it itself.
//
// The methods take names, numbers, text and descriptors, and nothing that refers to the
// caller's memory. A run is named by the name of its directory. When ctx is done, the
// caller has given up. The caller acts on the [syscall.Errno] and the fault.Kind in an
// error; the text is for people. Several goroutines may call the methods.
type Privileged interface {
	// Contain tries the wrapper's program, finds out how runs can be contained, and
	// removes what earlier daemons left in the directory of the runs' cgroups. It is
	// called once, and before the others. An empty guard means the best there is.
	Contain(guard string) (Containment, error)
	// Start starts the wrapper of a run. The descriptors stay the caller's. The mark
	// is the value of wrapper.MarkVar in the wrapper's environment.
	Start(mark string, files WrapperFiles) (Child, error)
	// Pidfd returns a pidfd of a wrapper that an earlier process started. The caller closes it.
	Pidfd(pid int) (fd int, err error)
	// Reap returns the exit status of a wrapper that has ended. It returns -1 if a signal
	// ended the wrapper, or an earlier process started it.
	Reap(pidfd int) (status int)
	// Kept returns duplicates of n descriptors that a wrapper keeps for its run, after the first
	// skip ones: the run's sockets, and the daemon's two ends of its stream. The caller closes them.
	Kept(pidfd, skip, n int) ([]int, error)
	// Listen returns a new socket that listens at an address, see [CheckAddress]. The caller
	// closes it. The file of a Unix socket belongs to a user and a group, who can connect; -1
	// are the daemon's own. It takes the place of one at which nobody listens any more, or,
	// if replace is set, of any other socket there.
	Listen(address string, uid, gid int, replace bool) (fd int, err error)
	// RemoveSocket removes the file of a Unix socket if nobody listens there any more.
	RemoveSocket(path string) error
	// Signal signals a wrapper.
	Signal(pidfd int, sig syscall.Signal) error
	// KillCgroup kills everything in a run's cgroup.
	KillCgroup(run string) error
	// ClearLeftovers kills the processes that a run has left when its wrapper is gone. It
	// removes the run's cgroup, completes its log and moves its configuration directory
	// into the run's directory. If it fails, it still returns what it has done.
	ClearLeftovers(Leftovers) (Cleared, error)
	// Missing is [wrapper.Command.Missing]: it looks with the rights of the command's user.
	Missing(wrapper.Command) string
	// Command runs a command as the specification says, and kills it when ctx is done: see
	// [Supervisor.Command].
	Command(ctx context.Context, spec *wrapper.Spec) error
	// MakeWorkdir makes the work directory of an activation, if it is not there yet,
	// and gives it to a user; -1 is the daemon's own.
	MakeWorkdir(id string, uid, gid int) error
	// Open opens a file of a run's directory for reading, or, with the name config/FILE, one of its configuration
	// directory, also in directories there. It must be a regular file.
	Open(run, name string) (*os.File, error)
	// Files lists the files of a run's configuration directory that Open would open, sorted by name: 1000 at
	// most. If there is no such directory, the error is fs.ErrNotExist.
	Files(run string) ([]File, error)
	// Size returns how many bytes a run's directory takes on disk. For a directory with
	// very many files the result is too small.
	Size(run string) int64
	// Remove removes an entry of a place, with all that is in it. If there is none, that
	// is no error. If ctx is done first, a part is left, the error is of kind
	// fault.Unavailable, and a later call goes on.
	Remove(ctx context.Context, place Place, name string) error
	// Close removes the empty cgroups of runs, and ends no run. It is the last call.
	Close()
}

// A Containment is how runs are contained.
type Containment struct {
	Guard  string // wrapper.GuardCgroup, wrapper.GuardSubreaper or wrapper.GuardGroup
	Why    string // why the guard is not better, or why runs cannot start now; empty: all is well
	Cgroup string // the directory of the runs' cgroups; empty: there is none
}

// WrapperFiles are the descriptors that a wrapper gets.
type WrapperFiles struct {
	Stdin int // the script's
	Log   int // standard output and error
	Dir   int // the run's directory
	Lock  int // its lock, taken
	// Passed are the run's sockets, as many as Spec.Listen names, and then, with Spec.Stream, the
	// four ends of its pipes, see [wrapper.Spec.StreamFD].
	Passed []int
}

// A Child is a wrapper that runs.
type Child struct {
	PID   int
	PidFD int // the caller closes it; a descriptor stands for it where the system has none, which can be polled like it
}

// A Place is a directory whose entries belong to runs or activations.
type Place string

// The places.
const (
	RunDirs    Place = "runs"
	ConfigDirs Place = "config"
	Workdirs   Place = "kept"
)

// Leftovers are the properties by which the leftovers of a run are found. A zero value
// means that something is not known.
type Leftovers struct {
	Run        string
	Mark       string          // of its processes
	MarkStem   string          // the beginning of Mark, always known
	Lock       wrapper.Lock    // of its wrapper
	Started    wrapper.Started // of its script
	Cgroup     string          // the run's own; empty: it has none
	ConfigRoot string          // where its configuration directory is
	LogTail    int64           // as in its specification; 0: the end of its output is not in files of its own, as when its log is rotated
	OtherBoot  bool            // the machine has been started since: none of its processes is left
	FilesDone  bool            // its wrapper saw to its files: only processes and the cgroup are left
	Also       []int           // ids of processes that may have been its wrapper, and so have left a configuration directory
}

// Cleared is what ClearLeftovers has done.
type Cleared struct {
	Killed int            // processes, besides the script
	Hung   []wrapper.Hung // those that could not be killed
}

// How long ClearLeftovers goes on killing, and the pause between two passes.
const (
	killPatience = 10 * time.Second
	killPause    = 10 * time.Millisecond
)
