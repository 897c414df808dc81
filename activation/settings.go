package activation

import (
	"time"

	"activationd/supervisor/wrapper"
	"activationd/vlanstore"
)

// Settings are what the configuration says of activations. They may be replaced
// while the engine runs; what has been claimed keeps what it was claimed with.
type Settings struct {
	MaxParallel int           // attempts of phase activate at once; at least 1
	ArmAhead    time.Duration // claim and start the wrapper so long before a start's instant; 0: do not
	MissedGrace time.Duration // how late a job may still start
	MaxRemoval  float64       // share of what is live that a load may remove without force, 0 to 1
	Keep        time.Duration // how long what is finished is kept, with its evidence
	KeepCount   int           // how many of what is finished are kept; 0: any number
	KeepBytes   int64         // how many bytes of their evidence are kept; 0: any number

	Jobs         Defaults
	Reservations Defaults
	Sources      map[string]Defaults // by name; complete, as Reservations is

	Socket      string   // ACTIVATIOND_SOCKET
	BaseEnv     []string // PATH and the like, for every run
	LogHead     int64    // bytes
	LogTail     int64    // bytes
	Keepers     bool     // leftovers of a run that ended by itself are kept, not killed
	Nice        int
	NoNewPrivs  bool
	Limits      []wrapper.Limit
	Umask       int
	Inventory   string          // ACTIVATION_INVENTORY, unless empty
	Pools       vlanstore.Pools // of VLANs, by domain
	SwitchUsers bool            // the daemon may run as other users: it is root

	BatchLoad     float64       // batch jobs of at's wait for a load average below it
	BatchInterval time.Duration // between two looks at the load average; at least 1 s
	Sendmail      string        // mails the output of at's jobs; where it is not, nothing does
}

// Defaults are what holds where a job or a reservation says nothing itself.
type Defaults struct {
	Activate, Deactivate []string // commands, for reservations
	Timeout              time.Duration
	UndoTimeout          time.Duration // of phase deactivate
	Grace                time.Duration // between TERM and KILL
	Retries              int           // further attempts after a failed one
	UndoRetries          int           // of phase deactivate, before it is stuck
	BackoffFirst         time.Duration // doubles with every failed attempt
	BackoffMax           time.Duration
	Lead, Tail           time.Duration
	Missed               string
	WaitLimit            time.Duration // for locks and a slot; 0: none but the slot's end
	Env                  map[string]string
	User                 *Identity // nil: the daemon's own
}

// Of returns the defaults that hold for r.
func (s *Settings) Of(r *Record) Defaults {
	if !r.slot() {
		return s.Jobs
	}
	if d, ok := s.Sources[r.Source]; ok {
		return d
	}
	return s.Reservations
}

// retries is how many further attempts a phase of r has after a failed one.
func (s *Settings) retries(r *Record, phase string) int {
	switch {
	case phase == Deactivate:
		return s.Of(r).UndoRetries
	case r.Retries != nil:
		return *r.Retries
	}
	return s.Of(r).Retries
}

// backoff is the pause after the n-th failure in a row, n from 1.
func (d Defaults) backoff(n int) time.Duration {
	pause := d.BackoffFirst
	for ; n > 1 && pause < d.BackoffMax; n-- {
		pause *= 2
	}
	if d.BackoffMax > 0 {
		pause = min(pause, d.BackoffMax)
	}
	return pause
}

// undoCommand is the command of r's phase deactivate; none: nothing is to be undone.
func (s *Settings) undoCommand(r *Record) []string {
	if !r.slot() {
		return nil
	}
	if r.Undo != nil {
		return r.Undo
	}
	return s.Of(r).Deactivate
}

// look is what r is compared with at now.
func (s *Settings) look(r *Record, m moment) look {
	return look{moment: m, arm: s.ArmAhead, missedGrace: s.MissedGrace, undo: len(s.undoCommand(r)) > 0}
}
