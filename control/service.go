package control

import "time"

// ServiceIn chooses services.
type ServiceIn struct {
	Name  []string `arg:"name"`  // the name of a service, with * and ? for any characters, or the id of an instance; none: all
	Group string   `arg:"group"` // only services of this group
}

// ServiceStartIn chooses services to be started.
type ServiceStartIn struct {
	ServiceIn
	Wait bool `arg:"wait-ready"` // the reply comes when all are ready, or at the first one whose run has failed
}

// ServiceStopIn chooses services to be stopped.
type ServiceStopIn struct {
	ServiceIn
	Dependants bool `arg:"dependants"` // those that need them, too
}

// ServiceRestartIn chooses services to be restarted.
type ServiceRestartIn struct {
	ServiceIn
	Rolling  bool `arg:"rolling"`  // one instance after the other: each must be ready before the next one is stopped
	Continue bool `arg:"continue"` // go on with a rolling restart that was stopped
	Back     bool `arg:"back"`     // one instance after the other gets the declaration back that it had before
}

// ServiceScaleIn chooses how many instances services have.
type ServiceScaleIn struct {
	Name      string `arg:"name,required"`    // the name of a service, with * and ? for any characters
	Instances int    `arg:"instances,either"` // how many instances, instead of the declared number
	Declared  bool   `arg:"declared,either"`  // the declared number of instances again
}

// A ServiceScale is a number of instances that somebody wants instead of the declared one.
type ServiceScale struct {
	Instances int       `json:"instances"`
	Declared  int       `json:"declared"`
	By        string    `json:"by"`
	At        time.Time `json:"at"`
}

// A ServiceInstance is an instance of a service.
type ServiceInstance struct {
	ID       string    `json:"id"`      // web@2
	Service  string    `json:"service"` // shop/web
	Instance int       `json:"instance"`
	State    string    `json:"state"`            // down | waiting | starting | ready | unready | draining | stopping | backoff | fatal
	Reason   string    `json:"reason,omitempty"` // why it is in this state
	Since    time.Time `json:"since"`            // when it entered the engine's state: see show
	Run      int       `json:"run"`              // the number of its newest run; 0: there was none
	PID      int       `json:"pid,omitempty"`    // of its process, while it runs
	Started  Instant   `json:"started"`          // when that was started
	Next     Instant   `json:"next"`             // when it is tried again
	Failures int       `json:"failures"`         // runs in a row that failed
	User     string    `json:"user,omitempty"`
	Groups   []string  `json:"groups,omitempty"`
	Command  string    `json:"command,omitempty"`
	Listen   []string  `json:"listen,omitempty"`    // the addresses of the sockets that it is given
	LastExit *LastExit `json:"last_exit,omitempty"` // how its last run ended; none has: missing

	Scaled  *ServiceScale   `json:"scaled,omitempty"`  // its service has not the declared number of instances
	Rollout *ServiceRollout `json:"rollout,omitempty"` // the rolling restart of its service, if that is not over, or took a declaration back
	Extra   bool            `json:"extra,omitempty"`   // it runs only until that is over
	Killed  bool            `json:"killed,omitempty"`  // its last run had not ended stop_limit after it was to stop
	Output  []string        `json:"output,omitempty"`  // the last lines of the run that failed; in replies to service restart only
}

// A ServiceRollout is a rolling restart of a service.
type ServiceRollout struct {
	State     string    `json:"state"` // rolling | stopped | done
	By        string    `json:"by"`
	At        time.Time `json:"at"`
	Back      bool      `json:"back,omitempty"`       // the instances get the declaration back that they had before
	Done      []int     `json:"done"`                 // the numbers of the instances that were ready after their restart
	Now       []int     `json:"now,omitempty"`        // of those that were restarted and are not ready yet
	Left      []int     `json:"left"`                 // of those that have not been restarted
	Failed    string    `json:"failed,omitempty"`     // the instance that did not get ready
	FailedRun int       `json:"failed_run,omitempty"` // its run that failed
	Reason    string    `json:"reason,omitempty"`     // why it was stopped
	Text      string    `json:"text"`                 // all this in words
}

// A LastExit is how a run ended.
type LastExit struct {
	Run    int       `json:"run"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason"` // in words
	Exit   *int      `json:"exit"`   // null: a signal ended it, or it is not known
	Signal string    `json:"signal,omitempty"`
}

// A ServicePlace is where .env files declare services.
type ServicePlace struct {
	Env  string `json:"env"`            // a pattern of paths
	User string `json:"user,omitempty"` // who runs services whose file belongs to root
}

// A ServiceVariable is a variable of an instance's environment.
type ServiceVariable struct {
	ID       string  `json:"id"` // of the instance
	Service  string  `json:"service"`
	Instance int     `json:"instance"`
	Name     string  `json:"name"`
	Runs     *string `json:"runs"`             // its value in the process that runs; null: none runs, or it has no such variable
	Declared *string `json:"declared"`         // its value in what is declared now; null: it is not declared
	Differs  bool    `json:"differs"`          // a process runs, and has another value, or only one of both has it
	Masked   bool    `json:"masked,omitempty"` // the values look like secrets, and are not sent
}
