package activation

import (
	"net/url"
	"time"

	"activationd/supervisor/wrapper"
	"activationd/vlanstore"
)

// Settings are the configuration of activations. They may be replaced while the engine
// runs; an attempt that has been claimed keeps the settings of that time.
type Settings struct {
	MaxParallel  int           // attempts of phase activate at once; at least 1
	ArmAhead     time.Duration // how long before a start it is claimed and its wrapper started; 0: not before
	MissedGrace  time.Duration // how late a job may still start
	MaxRemoval   float64       // share of the live reservations that a load may remove without force, 0 to 1
	HistoryAge   time.Duration // how long finished activations are kept, with their run directories; at least 1 min
	HistoryCount int           // how many finished activations are kept; 0: any number
	HistoryBytes int64         // how many bytes of run directories of finished activations are kept; 0: any number
	UsageAge     time.Duration // how long the sums of what was used are kept; 0: forever, and otherwise at least HistoryAge
	EventsAge    time.Duration // how long events are kept; 0: forever
	EventsCount  int           // how many events are kept; 0: any number
	StopLimit    time.Duration // in which an instance of a service must have stopped, else it is killed; 0: there is no limit

	Jobs         Defaults
	Reservations Defaults
	Sources      map[string]Defaults // by name; complete, as Reservations is

	Socket        string   // ACTIVATIOND_SOCKET
	BaseEnv       []string // PATH and the like, for every run
	LogHead       int64    // bytes
	LogTail       int64    // bytes
	KeepLeftovers bool     // leftovers of a run that ended by itself are kept, not killed
	Nice          int
	NoNewPrivs    bool
	Limits        []wrapper.Limit
	Umask         int
	Inventory     string          // ACTIVATION_INVENTORY, unless empty
	Pools         vlanstore.Pools // of VLANs, by domain
	SwitchUsers   bool            // the daemon may run as other users: it is root

	BatchLoad     float64       // at's batch jobs wait for a load average below this
	BatchInterval time.Duration // between two looks at the load average; at least 1 s
	Sendmail      string        // the program that mails the output of at jobs; if it is missing, no mail is sent
}

// Defaults apply where a job or a reservation does not set a value itself.
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
	WaitLimit            time.Duration // how long to wait for locks and a slot; 0: no limit except the slot's end
	Env                  map[string]string
	User                 *Identity // nil: the daemon's own user
}

// Of returns the defaults that apply to r.
func (s *Settings) Of(r *Record) Defaults {
	if !r.policy().announced {
		return s.Jobs
	}
	if d, ok := s.Sources[r.Source]; ok {
		return d
	}
	return s.Reservations
}

// undoCommand is the command of r's phase deactivate; empty: nothing is undone.
func (s *Settings) undoCommand(r *Record) []string {
	if !r.policy().undoes {
		return nil
	}
	if r.Undo != nil {
		return r.Undo
	}
	return s.Of(r).Deactivate
}

// inputsOf returns the inputs with which r is compared at a moment.
func (s *Settings) inputsOf(r *Record, m Moment) inputs {
	return inputs{Moment: m, arm: s.ArmAhead, missedGrace: s.MissedGrace, undo: len(s.undoCommand(r)) > 0}
}

// SourceKey is the name of a source in records and in Settings.Sources. It has no slash,
// because that separates the parts of a key.
func SourceKey(name string) string { return url.PathEscape(name) }

// SourceName is the inverse of [SourceKey].
func SourceName(key string) string {
	if name, err := url.PathUnescape(key); err == nil {
		return name
	}
	return key
}
