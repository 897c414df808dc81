package config

import (
	"cmp"
	"log/slog"
	"maps"
	"time"
)

// A Config has the daemon's settings: those that the configuration file has, and the
// defaults for the rest. [Parse] has checked its values; its paths are as they stand in the
// file until [Config.ResolvePaths]. A duration of 0 means "none" wherever a key says so.
//
// Fields are read in this order, whatever their order in the file: sources
// start from what reservations says.
//
// The tag words lists the values that a text can have, the tag range gives the least and the
// greatest value of a number, and required marks a key that its mapping must have.
type Config struct {
	File string `yaml:"-"` // the file that was read; empty if there is none

	Listen            []Listen     `yaml:"listen"`
	ListenHTTP        []Listen     `yaml:"listen_http"`
	HTTPHosts         []string     `yaml:"http_hosts"` // names by which plain TCP addresses of HTTP may be asked for
	Front             Front        `yaml:"front"`
	BasePath          string       `yaml:"base_path"` // what precedes the paths of HTTP: /lab; empty: nothing
	Socket            Socket       `yaml:"socket"`
	Access            Access       `yaml:"access"`
	Tokens            string       `yaml:"tokens,path"` // a file; empty: none
	Control           Control      `yaml:"control"`
	Reservations      Reservations `yaml:"reservations"`
	Sources           []Source     `yaml:"sources"`
	Booking           *Booking     `yaml:"booking"`     // nil: devices cannot be booked at the daemon itself
	MaxRemoval        Share        `yaml:"max_removal"` // a load that removes more of the live ones needs force
	TopologyDirectory string       `yaml:"topology_directory,path"`
	Lab               Lab          `yaml:"lab"`
	Jobs              Jobs         `yaml:"jobs"`
	Recurrences       []Recurrence `yaml:"recurrences"`

	Services map[string]*Service `yaml:"services"` // by name
	Discover []Discover          `yaml:"discover"`

	StopLimit time.Duration `yaml:"stop_limit"` // in which services must have stopped

	Queues    Queues     `yaml:"queues"`
	Listeners []Listener `yaml:"listeners"` // of queues

	Hooks []Hook `yaml:"hooks"`

	At      At      `yaml:"at"`
	Runs    Runs    `yaml:"runs"`
	History History `yaml:"history"`
	Events  Events  `yaml:"events"`
	Logging Logging `yaml:"logging"`

	// Notices has what is accepted today and will not be forever, such as a key's former name.
	Notices []string `yaml:"-"`

	where places // where each value stood in the file
}

// A Listen is an address at which the daemon answers: over the line protocol or over HTTP.
type Listen struct {
	Address string `yaml:"address"`                                           // host:port, or systemd:NAME, a socket that systemd hands over under that name
	Role    string `yaml:"role" words:"none viewer submitter operator admin"` // of a client without a token
	User    string `yaml:"user"`                                              // the owner of jobs that are submitted here; empty: jobs are refused
	TLS     *TLS   `yaml:"tls"`                                               // nil: plain
}

// A TLS has the certificate of a listener and, if clients must have certificates, their authority.
type TLS struct {
	Certificate string `yaml:"certificate,path"`
	Key         string `yaml:"key,path"`
	ClientCA    string `yaml:"client_ca,path"` // not empty: a client must show a certificate of this authority
}

// A Front is a front server of HTTP that identifies users.
type Front struct {
	Users  []string `yaml:"users"`                                         // as whom it runs: names or numbers; it comes over a Unix socket
	Header string   `yaml:"header"`                                        // that names the user
	Others string   `yaml:"others" words:"none viewer submitter operator"` // the role of users whom this machine does not know
}

// A Socket is the Unix socket of the control server.
type Socket struct {
	Path string `yaml:"path,path"` // empty: control.sock in the runtime directory
	Mode Mode   `yaml:"mode"`      // 0: 0666 as root (roles go by uid), 0600 otherwise
}

// Access has the roles of users on the Unix socket. Root and the daemon's own user are
// always admins. The members of a group are given by %NAME, as in sudoers(5).
type Access struct {
	Admins    []string `yaml:"admins"` // names or numbers of users, and of groups after a %
	Operators []string `yaml:"operators"`
	Viewers   []string `yaml:"viewers"`
	Others    string   `yaml:"others" words:"submitter viewer none"` // empty: submitter as root, none otherwise
}

// Control bounds the resources that clients of the control server can use.
type Control struct {
	Connections int           `yaml:"connections" range:"1 100000"`
	Line        Size          `yaml:"line"`
	Idle        time.Duration `yaml:"idle"`
}

// A Source is where reservations come from: Files, SQL or HTTP, never two of them.
type Source struct {
	Files string `yaml:"files,path"` // a file or a directory
	SQL   *SQL   `yaml:"sql"`
	HTTP  string `yaml:"http"` // the name of a source whose content clients put into it

	// Priority decides between its reservations and those of other sources that want the
	// same device at the same time.
	Priority int `yaml:"priority" range:"-99 99"`

	// Reservations has the defaults for this source's reservations: the configuration's,
	// with the source's own laid over them.
	Reservations Reservations `yaml:",inline"`
}

// A SQL is a database that is asked for reservations.
type SQL struct {
	Name     string `yaml:"name"` // in messages; empty: made from driver, host and database
	Driver   string `yaml:"driver" words:"postgres mysql" required:"yes"`
	DSN      string `yaml:"dsn"`
	DSNFile  string `yaml:"dsn_file,path"` // a file whose content is the DSN
	Query    string `yaml:"query"`         // empty: the one for Virtlab's tables
	TimeZone string `yaml:"time_zone"`     // of times that come without one; empty: the daemon's
}

// A Booking says who may book devices at the daemon itself, which ones, and how much.
type Booking struct {
	Role      string            `yaml:"role" words:"submitter operator"`     // the least one that may book for itself
	Topology  string            `yaml:"topology" words:"submitter operator"` // the least one that may book with a topology
	Devices   []string          `yaml:"devices"`                             // names, or patterns as of [path.Match]; none: the devices of the inventory
	Variables []string          `yaml:"variables"`                           // that a booking may set for its scripts
	Max       time.Duration     `yaml:"max"`                                 // of one slot; 0: any
	Quota     Quota             `yaml:"quota"`                               // of each owner
	Owners    map[string]*Quota `yaml:"owners"`                              // by name: what differs from Quota

	// Reservations has the defaults for bookings, as those of a source.
	Reservations Reservations `yaml:",inline"`
}

// A Quota bounds what one owner can book. 0 is no bound; nil is that of the quota of all
// owners, which has none by default.
type Quota struct {
	HoursPerWeek *time.Duration `yaml:"hours_per_week"`
	Devices      *int           `yaml:"devices" range:"0 1024"`    // at once
	DaysAhead    *int           `yaml:"days_ahead" range:"0 3660"` // from now to the start of a slot
}

// Under returns q with what q leaves open taken from the quota of all owners.
func (q Quota) Under(all Quota) Quota {
	q.HoursPerWeek = cmp.Or(q.HoursPerWeek, all.HoursPerWeek)
	q.Devices = cmp.Or(q.Devices, all.Devices)
	q.DaysAhead = cmp.Or(q.DaysAhead, all.DaysAhead)
	return q
}

// A Lab is a laboratory whose devices the scripts configure.
type Lab struct {
	Inventory string `yaml:"inventory,path"` // a file; empty: none
}

// Reservations has the defaults for reservations.
type Reservations struct {
	Activate          []string          `yaml:"activate,command"`
	Deactivate        []string          `yaml:"deactivate,command"`
	Timeout           time.Duration     `yaml:"timeout"`
	DeactivateTimeout time.Duration     `yaml:"deactivate_timeout"`
	Grace             time.Duration     `yaml:"grace"`
	Retries           int               `yaml:"retries" range:"0 1000"`
	DeactivateRetries int               `yaml:"deactivate_retries" range:"0 1000"`
	Backoff           Backoff           `yaml:"backoff"`
	Lead              time.Duration     `yaml:"lead"`
	Tail              time.Duration     `yaml:"tail"`
	Missed            string            `yaml:"missed" words:"run skip"`
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

// Jobs has the defaults for jobs.
type Jobs struct {
	Timeout     time.Duration     `yaml:"timeout"` // 0: none
	Grace       time.Duration     `yaml:"grace"`
	Retries     int               `yaml:"retries" range:"0 1000"`
	Backoff     Backoff           `yaml:"backoff"`
	Missed      string            `yaml:"missed" words:"run skip"`
	MissedGrace time.Duration     `yaml:"missed_grace"` // how late a job may still run if missed is run
	WaitLimit   time.Duration     `yaml:"wait_limit"`   // 0: none
	Environment map[string]string `yaml:"environment"`
}

// A Recurrence is a rule that makes jobs. It has one of Cron, Calendar and Every, and one
// of Command and Script. Its times and its zone are text here: what they mean depends on
// the machine's time zones.
type Recurrence struct {
	Name        string            `yaml:"name"`
	Cron        string            `yaml:"cron"`
	Calendar    string            `yaml:"calendar"`
	Every       string            `yaml:"every"`
	TimeZone    string            `yaml:"time_zone"` // empty: the daemon's
	Overlap     string            `yaml:"overlap" words:"skip queue parallel replace"`
	Jitter      string            `yaml:"jitter"`
	CatchUp     string            `yaml:"catch_up"` // none, last, all, a number
	Start       string            `yaml:"start"`
	End         string            `yaml:"end"`
	Command     []string          `yaml:"command,command"`
	Script      string            `yaml:"script"`
	User        string            `yaml:"user"` // empty: the daemon's own
	Directory   string            `yaml:"directory,path"`
	Environment map[string]string `yaml:"environment"`
	Umask       *Mode             `yaml:"umask"`   // nil, here and below: the default of jobs
	Timeout     *time.Duration    `yaml:"timeout"` // 0: none
	Grace       *time.Duration    `yaml:"grace"`
	Retries     *int              `yaml:"retries" range:"0 1000"`
	Backoff     *time.Duration    `yaml:"backoff"`
	Priority    int               `yaml:"priority" range:"-99 99"`
	Tags        []string          `yaml:"tags"`
	Locks       []string          `yaml:"locks"`
	Label       string            `yaml:"label"`
	Missed      string            `yaml:"missed" words:"run skip"`
}

// A Service is a declaration of processes that always run. What is nil, empty or 0 has the
// default of services; the texts are templates.
type Service struct {
	Command   []string `yaml:"command,command"`
	Instances *int     `yaml:"instances" range:"1 1000"`
	User      string   `yaml:"user"`  // empty: the daemon's own
	Group     string   `yaml:"group"` // empty: the user's
	Directory string   `yaml:"directory,path"`
	EnvFile   string   `yaml:"env_file,path"`

	ServiceRules `yaml:",inline"`
}

// ServiceRules are what can be said of one service, or of all services that an entry of
// discover finds.
type ServiceRules struct {
	Environment  map[string]string `yaml:"environment"`
	Umask        *Mode             `yaml:"umask"`
	Nice         *int              `yaml:"nice" range:"-20 19"`
	Limits       map[string]Rlimit `yaml:"limits"` // as of [Runs]
	Listen       []string          `yaml:"listen"`
	Ready        *Check            `yaml:"ready"`
	Alive        *Check            `yaml:"alive"`
	ReadyTimeout *time.Duration    `yaml:"ready_timeout"`
	After        []string          `yaml:"after"` // NAME or NAME:CONDITION
	Bind         bool              `yaml:"bind"`
	Restart      string            `yaml:"restart" words:"always on-failure no"`
	Backoff      Backoff           `yaml:"backoff"`
	Stable       *time.Duration    `yaml:"stable"`
	StartLimit   StartLimit        `yaml:"start_limit"`
	FatalRetry   *time.Duration    `yaml:"fatal_retry"` // 0: none
	Rolling      bool              `yaml:"rolling"`
	Surge        int               `yaml:"surge" range:"0 1000"`
	Drain        *time.Duration    `yaml:"drain"`
	StopSignal   string            `yaml:"stop_signal" words:"TERM INT QUIT HUP USR1 USR2 WINCH"`
	Grace        *time.Duration    `yaml:"grace"`
	Groups       []string          `yaml:"groups"` // of services
	Autostart    *bool             `yaml:"autostart"`
	Log          ServiceLog        `yaml:"log"`
}

// A Check finds out whether an instance is ready, or alive. It has one of Notify, TCP, HTTP,
// Exec, Log and Delay.
type Check struct {
	Notify    bool          `yaml:"notify"`
	TCP       string        `yaml:"tcp"`
	HTTP      string        `yaml:"http"`
	Host      string        `yaml:"host"`      // of HTTP
	Unix      string        `yaml:"unix,path"` // of HTTP
	Exec      []string      `yaml:"exec,command"`
	Log       string        `yaml:"log"`
	Delay     time.Duration `yaml:"delay"`
	Interval  time.Duration `yaml:"interval"`
	Timeout   time.Duration `yaml:"timeout"`
	Failures  int           `yaml:"failures" range:"1 1000"`
	Successes int           `yaml:"successes" range:"1 1000"`
}

// A StartLimit is how often an instance can be started within Window.
type StartLimit struct {
	Count  *int           `yaml:"count" range:"0 1000"` // 0: any number
	Window *time.Duration `yaml:"window"`
}

// A ServiceLog bounds an instance's log.
type ServiceLog struct {
	Size *Size          `yaml:"size"`                // at which a file is rotated
	Keep *int           `yaml:"keep" range:"0 1000"` // rotated files
	Age  *time.Duration `yaml:"age"`                 // at which a file is rotated, too; 0: none
}

// A Discover is where .env files are looked for that declare services.
type Discover struct {
	Env  string `yaml:"env,path"` // a pattern of paths, as of [path/filepath.Match]
	User string `yaml:"user"`     // of the services whose file belongs to root

	ServiceRules `yaml:",inline"` // of all services that are found there
}

// At is what at(1) and atd have as options and files.
type At struct {
	Allow       string        `yaml:"allow,path"`              // the users who may use at; if the file does not exist, Deny
	Deny        string        `yaml:"deny,path"`               // the users who may not; if that does not exist either, only root may
	LoadAverage LoadAverage   `yaml:"load_average" was:"load"` // batch jobs wait until it is lower than this
	Interval    time.Duration `yaml:"interval"`                // between two looks at the load average
	Sendmail    string        `yaml:"sendmail,path"`
}

// Runs says how every attempt is run, a reservation's or a job's.
type Runs struct {
	MaxParallel     int               `yaml:"max_parallel" range:"1 100000"`
	ArmAhead        time.Duration     `yaml:"arm_ahead"` // 0: start the wrapper at the instant itself
	Guard           string            `yaml:"guard" words:"auto cgroup subreaper group"`
	Leftovers       string            `yaml:"leftovers" words:"kill keep"`
	Umask           Mode              `yaml:"umask"`
	Nice            int               `yaml:"nice" range:"-20 19"`
	NoNewPrivileges bool              `yaml:"no_new_privileges"`
	Output          Output            `yaml:"output"`
	Limits          map[string]Rlimit `yaml:"limits"` // by the names of setrlimit(2), in lower case, without RLIMIT_
}

// An Output bounds an attempt's log: its first and its last bytes are kept.
type Output struct {
	Head Size `yaml:"head"`
	Tail Size `yaml:"tail"`
}

// A History bounds how long, and how many of, finished activations are kept.
type History struct {
	Keep  time.Duration `yaml:"keep"`
	Count int           `yaml:"count" range:"0 1000000000"` // 0: any number
	Size  Size          `yaml:"size"`                       // 0: any
	// Reports is how long the sums for reports are kept; 0: forever.
	Reports time.Duration `yaml:"reports"`
}

// An Events says how long, and how many, events are kept.
type Events struct {
	Keep  time.Duration `yaml:"keep"`
	Count int           `yaml:"count" range:"0 1000000000"` // 0: any number
}

// Logging is how the daemon logs on standard error.
type Logging struct {
	Level  slog.Level `yaml:"level"`
	Format string     `yaml:"format" words:"auto text json"`
}
