package metrics

import "time"

// A Reading is what the parts of the daemon say of themselves at one moment.
type Reading struct {
	// Failed names the parts that could not be read: PartEngine and so on. Their metrics are missing.
	Failed []string

	States      map[string]int // activations by state
	Running     int            // open attempts
	Unverified  int            // attempts that have ended, as far as it is known, while a process hangs
	Conflicting int
	Queued      int // entries of queues for locks
	Waits       time.Duration
	Overdue     time.Duration
	Generation  uint64
	Events      uint64 // the number of the newest event
	Draining    bool
	InDoubt     bool // the clock is not trusted
	Logins      int  // refused

	Sources  []Source
	Pauses   map[string]int // by what is paused
	VLANs    []VLANs
	Queues   []Queue
	Hooks    []Hook
	Services []Service
	Disks    []Disk
	Stores   map[string]int64  // sizes of files
	Reads    map[string]uint64 // of values, by store
}

// A Source is a source of reservations.
type Source struct {
	Name           string
	Live, Rejected int
	Failing        bool
	Loads          map[string]uint64 // by result
	Read           time.Time         // the last success; zero: none
}

// VLANs are the ids of a pool.
type VLANs struct {
	Pool                      string
	Free, Leased, Quarantined int
}

// A Queue is a queue of messages.
type Queue struct {
	Name                       string
	Ready, Delayed, Work, Dead int64
	Bytes                      int64
	Oldest                     time.Duration // for how long the oldest message that is ready or in work has been there
	Processes                  int
	Paused, Served             bool
	Pushed                     uint64
	Deliveries                 map[string]uint64 // by result
}

// A Hook is a hook that events are delivered to.
type Hook struct {
	Name              string
	Pending, Dead     int64
	Delivered, Failed uint64
}

// A Service is a service with the states of its instances.
type Service struct {
	Name   string
	States map[string]int
}

// A Disk is the file system of one of the daemon's directories.
type Disk struct {
	Directory  string // in a word
	Free, Size uint64
	Inodes     uint64 // that are free
	AllInodes  uint64 // 0: there is no limit
}

// The parts of the daemon that a [Reading] is made of.
const (
	PartEngine   = "engine"
	PartSources  = "sources"
	PartVLANs    = "vlans"
	PartServices = "services"
	PartQueues   = "queues"
	PartDisks    = "disks"
)
