package service

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"activationd/activation"
	"activationd/activation/service/probe"
	"activationd/supervisor/wrapper"
)

// A Declaration says what a service is. [New] has the defaults.
type Declaration struct {
	Name  string `json:"name"`            // the key: shop_web
	Shown string `json:"shown,omitempty"` // as it was declared, if that differs: shop/web

	Command   []string             `json:"command"`
	Instances int                  `json:"instances"`
	User      *activation.Identity `json:"user,omitempty"`     // with the service's group; nil: the daemon's own user
	Dir       string               `json:"dir,omitempty"`      // empty: the user's home
	Env       map[string]string    `json:"env,omitempty"`      // these win over FileEnv
	EnvFile   string               `json:"env_file,omitempty"` // where FileEnv was read
	FileEnv   map[string]string    `json:"file_env,omitempty"` // as it stood in EnvFile; it is no template
	Umask     *int                 `json:"umask,omitempty"`    // nil, here and for the next two: as for all runs
	Nice      *int                 `json:"nice,omitempty"`
	Limits    []wrapper.Limit      `json:"limits,omitempty"` // sorted by name

	Ready        *Check        `json:"ready,omitempty"` // nil: an instance is ready as soon as it runs
	Alive        *Check        `json:"alive,omitempty"` // nil: an instance is alive while it runs
	ReadyTimeout time.Duration `json:"ready_timeout"`   // from its start until it is ready

	After []Dependency `json:"after,omitempty"`
	Bind  bool         `json:"bind,omitempty"` // it restarts with what it depends on

	Restart    string        `json:"restart"` // [Always], [OnFailure] or [Never]
	Backoff    Backoff       `json:"backoff"`
	Stable     time.Duration `json:"stable"` // an instance that ran for so long starts at Backoff.First again
	StartLimit StartLimit    `json:"start_limit"`
	FatalRetry time.Duration `json:"fatal_retry"` // the pause between starts beyond the limit; 0: there are none

	Rolling bool `json:"rolling,omitempty"` // a change of the declaration restarts one instance after the other
	Surge   int  `json:"surge,omitempty"`   // so many extra instances run during a rolling restart

	Drain      time.Duration `json:"drain,omitempty"` // the pause before StopSignal
	StopSignal string        `json:"stop_signal"`     // TERM, INT, ...: see [Signals]
	Grace      time.Duration `json:"grace"`           // from StopSignal to KILL

	Groups    []string `json:"groups,omitempty"`
	Autostart bool     `json:"autostart"`
	Listen    []string `json:"listen,omitempty"` // HOST:PORT, or the path of a Unix socket
	Log       Log      `json:"log"`

	// Positions says where the keys stand that were given; Positions[""] is where the service
	// itself was declared.
	Positions map[string]Position `json:"-"`
}

// A Position is a line of a file.
type Position struct {
	File string
	Line int
}

func (p Position) String() string { return p.File + ":" + strconv.Itoa(p.Line) }

// A Backoff is the pause before another start: First, doubled each time up to Max.
type Backoff struct {
	First time.Duration `json:"first"`
	Max   time.Duration `json:"max"`
}

// A StartLimit is how often an instance can be started within Window. Beyond it the service
// has failed for good. A count of 0 is no limit.
type StartLimit struct {
	Count  int           `json:"count"`
	Window time.Duration `json:"window"`
}

// A Log bounds an instance's log: a file is rotated at Size, or when it has more output after
// Age. Keep is the number of rotated files that are kept.
type Log struct {
	Size int64         `json:"size"` // bytes
	Keep int           `json:"keep"`
	Age  time.Duration `json:"age,omitempty"` // 0: any
}

// The values of Declaration.Restart: after which exits an instance is started again.
const (
	Always    = "always"
	OnFailure = "on-failure"
	Never     = "no"
)

// A Check finds out whether an instance is ready, or alive.
type Check = probe.Check

// A Dependency is what a service waits for before it starts.
type Dependency struct {
	Name      string `json:"name"` // the other service's key
	Condition string `json:"condition"`
}

// The conditions of a [Dependency]: all instances of the other service are ready, or all have
// been started.
const (
	Ready   = "ready"
	Started = "started"
)

func (d Dependency) String() string {
	if d.Condition == Ready {
		return d.Name
	}
	return d.Name + ":" + d.Condition
}

// ParseDependency reads NAME or NAME:CONDITION; without a condition the other service must be
// ready.
func ParseDependency(text string) (Dependency, error) {
	name, condition, given := strings.Cut(text, ":")
	if !given {
		condition = Ready
	}
	if condition != Ready && condition != Started {
		return Dependency{}, fmt.Errorf("%q: want NAME, NAME:%s or NAME:%s", text, Ready, Started)
	}
	if err := CheckName(name); err != nil {
		return Dependency{}, err
	}
	return Dependency{Key(name), condition}, nil
}

// Signals are the signals that can ask a service to stop.
var Signals = []string{"TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "WINCH"}

var signals = map[string]syscall.Signal{
	"INT": syscall.SIGINT, "QUIT": syscall.SIGQUIT, "HUP": syscall.SIGHUP, "USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2,
	"WINCH": syscall.SIGWINCH, // TERM is the wrapper's default
}

// New returns a declaration that has the defaults, and the name that a file gives the service.
func New(shown string) *Declaration {
	return &Declaration{
		Name: Key(shown), Shown: shown, Instances: 1,
		ReadyTimeout: 30 * time.Second,
		Restart:      Always,
		Backoff:      Backoff{time.Second, 30 * time.Second},
		Stable:       time.Minute,
		StartLimit:   StartLimit{10, 10 * time.Minute},
		FatalRetry:   10 * time.Minute,
		StopSignal:   "TERM",
		Grace:        10 * time.Second,
		Autostart:    true,
		Log:          Log{Size: 10 << 20, Keep: 5},
	}
}

// Key returns a service's key, which is its name with an underscore instead of a slash.
func Key(name string) string { return strings.ReplaceAll(name, "/", "_") }

// MaxInstances is the largest number of instances of a service.
const MaxInstances = 1000

// MaxName is the largest number of letters of a service's name: with an instance's number it
// must be the id of an activation.
const MaxName = 56

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// CheckName returns what is wrong with the name of a service or of a group of services.
func CheckName(name string) error {
	if name == "" || len(name) > MaxName {
		return fmt.Errorf("%.80q: a name has 1 to %d characters", name, MaxName)
	}
	parts := strings.Split(name, "/")
	wrong := len(parts) > 2 || strings.Trim(name, "0123456789") == ""
	for _, p := range parts {
		wrong = wrong || p == "" || strings.Contains("_-.", p[:1]) || strings.Contains(p, "..") || strings.Trim(p, letters+"0123456789_-.") != ""
	}
	if wrong {
		return fmt.Errorf("%.80q: a name has letters, digits and ._-, begins with a letter or a digit, has a letter in it, no .., and at most one /, as in project/service", name)
	}
	return nil
}

// Needs reports whether the service waits for the one of that name.
func (d *Declaration) Needs(name string) bool {
	return slices.ContainsFunc(d.After, func(need Dependency) bool { return need.Name == Key(name) })
}

// UsesNotify reports whether instances need a socket for sd_notify(3).
func (d *Declaration) UsesNotify() bool {
	return d.Ready != nil && d.Ready.Kind == probe.Notify || d.Watchdog() > 0
}

// Watchdog is the time within which an instance must report that it is alive; 0: it need not.
func (d *Declaration) Watchdog() time.Duration {
	if d.Alive == nil || d.Alive.Kind != probe.Notify {
		return 0
	}
	return d.Alive.Timeout
}

// String says in a line what is declared.
func (d *Declaration) String() string {
	text := d.Shown + ": " + strings.Join(d.Command, " ")
	if d.Instances != 1 {
		text += fmt.Sprintf(", %d instances", d.Instances)
	}
	for i, need := range d.After {
		text += []string{", after ", " "}[min(i, 1)] + need.String()
	}
	return text
}
