package main

import (
	"log/slog"
	"maps"
	"time"

	"activationd/control"
	"activationd/vlanstore"
)

// A Config is the daemon's settings: what stands in the configuration file,
// and the defaults for the rest. Its values have been checked by [ParseConfig];
// paths are absolute once [loadConfig] has seen them. A duration of 0 means
// "none" wherever a key says so.
//
// Fields are read in this order, whatever their order in the file: sources
// start from what reservations says.
type Config struct {
	File string `yaml:"-"` // the file that was read; empty if there is none

	Listen            []Listen     `yaml:"listen"`
	Socket            Socket       `yaml:"socket"`
	Access            Access       `yaml:"access"`
	Tokens            string       `yaml:"tokens,path"` // a file; empty: none
	Control           Control      `yaml:"control"`
	Reservations      Reservations `yaml:"reservations"`
	Sources           []Source     `yaml:"sources"`
	MaxRemoval        Share        `yaml:"max_removal"` // a load that removes more of the live ones needs force
	TopologyDirectory string       `yaml:"topology_directory,path"`
	Lab               Lab          `yaml:"lab"`
	Jobs              Jobs         `yaml:"jobs"`
	Recurrences       []Recurrence `yaml:"recurrences"`
	At                At           `yaml:"at"`
	Runs              Runs         `yaml:"runs"`
	History           History      `yaml:"history"`
	Logging           Logging      `yaml:"logging"`

	where places // where each value stood, for faults that only a look at the machine finds
}

// A Listen is a TCP address on which the control server answers.
type Listen struct {
	Address string `yaml:"address"` // host:port, or systemd:NAME, a socket that systemd hands over under that name
	Role    string `yaml:"role"`    // of a peer that shows no token: none, viewer, submitter, operator, admin
	User    string `yaml:"user"`    // whose jobs they are that come in here; empty: jobs are refused
	TLS     *TLS   `yaml:"tls"`     // nil: plain
}

// A TLS says how a listener proves who it is, and whom it trusts.
type TLS struct {
	Certificate string `yaml:"certificate,path"`
	Key         string `yaml:"key,path"`
	ClientCA    string `yaml:"client_ca,path"` // not empty: a client must show a certificate of this authority
}

// A Socket is the Unix socket of the control server.
type Socket struct {
	Path string `yaml:"path,path"` // empty: control.sock in the runtime directory
	Mode Mode   `yaml:"mode"`      // 0: 0666 as root (roles go by uid), 0600 otherwise
}

// Access says who may do what over the Unix socket. Root and the daemon's own
// user are admins whatever it says.
type Access struct {
	Admins    []string `yaml:"admins"` // user names or numbers
	Operators []string `yaml:"operators"`
	Viewers   []string `yaml:"viewers"`
	Others    string   `yaml:"others"` // submitter, viewer, none; empty: submitter as root, none otherwise

	roles map[uint32]control.Role // made of the above by loadConfig
}

// Control bounds what a client of the control server can use up.
type Control struct {
	Connections int           `yaml:"connections"`
	Line        Size          `yaml:"line"`
	Idle        time.Duration `yaml:"idle"`
}

// A Source is where reservations come from: Files or SQL, never both.
type Source struct {
	Files string `yaml:"files,path"` // a file or a directory
	SQL   *SQL   `yaml:"sql"`

	// Reservations has what is to be assumed for this source's reservations:
	// the configuration's own, with what the source says itself laid over it.
	Reservations Reservations `yaml:",inline"`
}

// A SQL is a database that is asked for reservations.
type SQL struct {
	Name     string `yaml:"name"` // in messages; empty: made from driver, host and database
	Driver   string `yaml:"driver"`
	DSN      string `yaml:"dsn"`
	DSNFile  string `yaml:"dsn_file,path"` // a file whose content is the DSN
	Query    string `yaml:"query"`         // empty: the one for Virtlab's tables
	TimeZone string `yaml:"time_zone"`     // of times that come without one; empty: the daemon's
}

// A Lab is a laboratory whose devices the scripts configure.
type Lab struct {
	Inventory string `yaml:"inventory,path"` // a file; empty: none

	pools vlanstore.Pools // of the inventory, as loadConfig has read it
}

// Reservations has what a reservation does not say itself.
type Reservations struct {
	Activate          []string          `yaml:"activate,command"`
	Deactivate        []string          `yaml:"deactivate,command"`
	Timeout           time.Duration     `yaml:"timeout"`
	DeactivateTimeout time.Duration     `yaml:"deactivate_timeout"`
	Grace             time.Duration     `yaml:"grace"`
	Retries           int               `yaml:"retries"`
	DeactivateRetries int               `yaml:"deactivate_retries"`
	Backoff           Backoff           `yaml:"backoff"`
	Lead              time.Duration     `yaml:"lead"`
	Tail              time.Duration     `yaml:"tail"`
	Missed            string            `yaml:"missed"`     // run, skip
	WaitLimit         time.Duration     `yaml:"wait_limit"` // 0: until the slot's end
	User              string            `yaml:"user"`       // empty: the daemon's own
	Environment       map[string]string `yaml:"environment"`
}

// clone returns a copy that shares nothing that a decoder writes into.
func (r Reservations) clone() Reservations {
	r.Environment = maps.Clone(r.Environment)
	return r
}

// A Backoff is the pause before another attempt: First, doubled each time up
// to Max.
type Backoff struct {
	First time.Duration `yaml:"first"`
	Max   time.Duration `yaml:"max"`
}

// Jobs has what a job's submitter does not say himself.
type Jobs struct {
	Timeout     time.Duration     `yaml:"timeout"` // 0: none
	Grace       time.Duration     `yaml:"grace"`
	Retries     int               `yaml:"retries"`
	Backoff     Backoff           `yaml:"backoff"`
	Missed      string            `yaml:"missed"`       // run, skip
	MissedGrace time.Duration     `yaml:"missed_grace"` // how late run still means run
	WaitLimit   time.Duration     `yaml:"wait_limit"`   // 0: none
	Environment map[string]string `yaml:"environment"`
}

// Runs says how every attempt is run, a reservation's or a job's.
type Runs struct {
	MaxParallel     int               `yaml:"max_parallel"`
	ArmAhead        time.Duration     `yaml:"arm_ahead"` // 0: start the wrapper at the instant itself
	Guard           string            `yaml:"guard"`     // auto, cgroup, subreaper, group
	Leftovers       string            `yaml:"leftovers"` // kill, keep
	Umask           Mode              `yaml:"umask"`
	Nice            int               `yaml:"nice"`
	NoNewPrivileges bool              `yaml:"no_new_privileges"`
	Output          Output            `yaml:"output"`
	Limits          map[string]Rlimit `yaml:"limits"` // by the names of setrlimit(2), in lower case, without RLIMIT_
}

// An Output bounds an attempt's log: its first bytes and its last ones are
// kept.
type Output struct {
	Head Size `yaml:"head"`
	Tail Size `yaml:"tail"`
}

// A History says how long, and how much of, what is over is remembered.
type History struct {
	Keep  time.Duration `yaml:"keep"`
	Count int           `yaml:"count"` // 0: any number
	Size  Size          `yaml:"size"`  // 0: any
}

// Logging says what the daemon tells of itself on standard error.
type Logging struct {
	Level  slog.Level `yaml:"level"`
	Format string     `yaml:"format"` // auto, text, json
}

// defaultConfig is what holds where no file says otherwise.
func defaultConfig() *Config {
	backoff := Backoff{First: 5 * time.Second, Max: 5 * time.Minute}
	return &Config{
		Control: Control{Connections: 1024, Line: 1 << 20, Idle: time.Minute},
		Reservations: Reservations{
			Activate:          []string{"/usr/share/activationd/scripts/activate"},
			Deactivate:        []string{"/usr/share/activationd/scripts/deactivate"},
			Timeout:           10 * time.Minute,
			DeactivateTimeout: 10 * time.Minute,
			Grace:             10 * time.Second,
			Retries:           2,
			DeactivateRetries: 5,
			Backoff:           backoff,
			Missed:            "run",
			Environment:       map[string]string{},
		},
		MaxRemoval: 0.5,
		Jobs: Jobs{
			Timeout:     24 * time.Hour,
			Grace:       10 * time.Second,
			Backoff:     backoff,
			Missed:      "run",
			MissedGrace: 24 * time.Hour,
			Environment: map[string]string{},
		},
		At: At{
			Allow: "/etc/at.allow", Deny: "/etc/at.deny", Sendmail: "/usr/sbin/sendmail",
			Load: 1.5, Interval: time.Minute,
		},
		Runs: Runs{
			MaxParallel: 64,
			ArmAhead:    50 * time.Millisecond,
			Guard:       "auto",
			Leftovers:   "kill",
			Umask:       0o022,
			Output:      Output{Head: 1 << 20, Tail: 1 << 20},
			Limits:      map[string]Rlimit{},
		},
		History: History{Keep: 30 * 24 * time.Hour},
		Logging: Logging{Level: slog.LevelInfo, Format: "auto"},
	}
}
