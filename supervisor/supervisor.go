// Package supervisor starts runs, each under a wrapper process of its own,
// follows them, stops them, and finds them again after a restart of the daemon.
package supervisor

import (
	"errors"
	"log/slog"
	"path/filepath"
	"strconv"
	"time"

	"activationd/supervisor/wrapper"
)

// A Key names a run: one attempt of one phase of an activation.
type Key struct {
	ID, Phase string
	N         int
}

// String returns "<id>.<phase>.<n>", the name of the run's directory.
func (k Key) String() string { return k.ID + "." + k.Phase + "." + strconv.Itoa(k.N) }

// A Config says where a Supervisor finds and keeps things.
type Config struct {
	Atwrap     string // the wrapper's program
	RunsDir    string // the runs' directories are made in it; it must exist
	ConfigRoot string // the configuration directories are made in it; it must exist
	Guard      string // wrapper.GuardSubreaper: do not use cgroups; empty: the best there is
	Log        *slog.Logger
}

// A Supervisor is the set of the runs of a daemon.
type Supervisor struct {
	config     Config
	exits      chan Exit
	guard, why string
}

// An Exit tells how a run ended.
type Exit struct {
	Key    Key
	Result wrapper.Result
}

// A State is what Adopt found.
type State uint8

// What has become of a run.
const (
	Running    State = iota // it is followed from now on; its Exit will come
	Ended                   // Result says how
	Lost                    // its wrapper is gone without a word; what it left has been cleaned up
	NotStarted              // its script never ran and never will
)

// Found is what Adopt found: Result belongs to Ended, Lost and NotStarted.
type Found struct {
	State  State
	Result wrapper.Result
}

var errNotYet = errors.New("not yet")

// New finds out how runs can be contained here. It starts no run.
func New(c Config) (*Supervisor, error) {
	return &Supervisor{config: c, exits: make(chan Exit)}, nil
}

// Guard returns how runs are contained, and why not better.
func (s *Supervisor) Guard() (guard, why string) { return s.guard, s.why }

// Start makes the run's directory and starts its wrapper. It does not wait for
// the script.
func (s *Supervisor) Start(k Key, spec wrapper.Spec) error { return errNotYet }

// Adopt finds out what has become of a run of an earlier daemon.
func (s *Supervisor) Adopt(k Key) (Found, error) { return Found{}, errNotYet }

// Stop asks for the run's end: TERM, grace, KILL. It does not wait for it.
func (s *Supervisor) Stop(k Key) error { return errNotYet }

// Exits yields one Exit for each successful Start and each Adopt that said Running.
func (s *Supervisor) Exits() <-chan Exit { return s.exits }

// Started returns the script's process id and when it started.
func (s *Supervisor) Started(k Key) (pid int, at time.Time, ok bool) { return 0, time.Time{}, false }

// RunDir returns the path of the run's directory.
func (s *Supervisor) RunDir(k Key) string { return filepath.Join(s.config.RunsDir, k.String()) }

// Remove removes the run's directory.
func (s *Supervisor) Remove(k Key) error { return errNotYet }

// Close lets go of all runs and stops none.
func (s *Supervisor) Close() {}
