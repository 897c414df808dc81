package activation

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"time"

	"activationd/supervisor"
	"activationd/supervisor/wrapper"
)

// Serve is the only phase of a service's instance.
const Serve = "serve"

// Triggers of a service's instance.
const (
	Ready   Trigger = "ready"   // the instance is ready; if the service has no rule for that, when its process exists
	Unready Trigger = "unready" // a check of readiness failed
	Restart Trigger = "restart" // the run is to be replaced: on request, or because it failed a check
)

// When an instance whose process has ended is started again.
const (
	RestartAlways    = "always"
	RestartOnFailure = "on-failure" // unless it exits with status 0
	RestartNever     = "no"
)

// A Serving is the part of a record that only an instance of a service has.
type Serving struct {
	AsDeclared

	Before     []string     `json:"before,omitempty"`     // addresses that Listen no longer has, and the open run may have
	DrainUntil time.Time    `json:"drain_until,omitzero"` // when the signal comes that stops it; zero: it is not draining
	Stop       *ServiceStop `json:"stop,omitempty"`       // why its run is being replaced; nil: it is not
	StopBy     time.Time    `json:"stop_by,omitzero"`     // when its run is killed, if it is to be stopped for good; zero: not known yet
	Killed     int          `json:"killed,omitempty"`     // its last run that was killed then
	Unready    string       `json:"unready,omitempty"`    // why it is not ready any more, while it is active
	Failure    string       `json:"failure,omitempty"`    // how its last run ended, if that counts as a failure
	Failed     []time.Time  `json:"failed,omitempty"`     // when its runs failed within LimitWindow
	Fatal      bool         `json:"fatal,omitempty"`      // it reached the limit: the next failure makes it stuck again
}

// AsDeclared is what a declaration says of an instance, apart from its [Order].
type AsDeclared struct {
	Service string `json:"service"` // the declaration's name
	N       int    `json:"n"`       // the instance's number, from 1
	Hash    []byte `json:"hash"`    // of what cannot be changed without another run
	Live    []byte `json:"live"`    // of all that can, also if it is not in the record

	Restart      string          `json:"restart"`
	BackoffFirst time.Duration   `json:"backoff_first"`
	BackoffMax   time.Duration   `json:"backoff_max"`
	Stable       time.Duration   `json:"stable"`                // a run of that length makes the pauses begin at BackoffFirst again
	StartLimit   int             `json:"start_limit,omitempty"` // that many failures within LimitWindow make it stuck; 0: no limit
	LimitWindow  time.Duration   `json:"limit_window,omitempty"`
	FatalRetry   time.Duration   `json:"fatal_retry,omitempty"` // then it is tried again so often; 0: only on request
	Nice         *int            `json:"nice,omitempty"`        // nil: as all runs
	Limits       []wrapper.Limit `json:"limits,omitempty"`      // those that differ from the limits of all runs
	StopSignal   int             `json:"stop_signal,omitempty"` // that asks it to stop; 0: TERM. From the next run on
	Checked      bool            `json:"checked,omitempty"`     // it is ready when its check says so, not when its process exists
	Notify       bool            `json:"notify,omitempty"`      // it may report by sd_notify(3)
	Watchdog     time.Duration   `json:"watchdog,omitempty"`    // within which it must report that it is alive; 0: it need not
	Needs        []Need          `json:"needs,omitempty"`       // services for which it waits before it starts
	LogSize      int64           `json:"log_size,omitempty"`    // of a file of its log, in bytes; from the next run on
	LogKeep      int             `json:"log_keep,omitempty"`    // how many older files are kept
	LogAge       time.Duration   `json:"log_age,omitempty"`     // of a file; 0: any
	Listen       []string        `json:"listen,omitempty"`      // where the sockets listen that it is given: see [supervisor.CheckAddress]
	Bind         bool            `json:"bind,omitempty"`        // its run is replaced when one of a service that it needs ends
	Drain        time.Duration   `json:"drain,omitempty"`       // between its end as a ready instance and the signal that stops it
}

// A Need is another service for which an instance waits: all instances of it that are not
// down must be ready, or have a process.
type Need struct {
	Service string `json:"service"`
	Started bool   `json:"started,omitempty"` // started is enough
}

// A ServiceStop is why a run is ended, to be followed by another one.
type ServiceStop struct {
	Why   string `json:"why"`
	Fault bool   `json:"fault,omitempty"` // it counts as a failure of the run
}

// ServiceFrom is the name under which a service's instances are made.
func ServiceFrom(service string) string { return ServiceKind + kindMark + service }

// InstanceID is the id of an instance's record.
func InstanceID(service string, n int) string { return service + "@" + strconv.Itoa(n) }

// ServiceKind is the kind of producer of services.
const ServiceKind = "service"

// Instances lists the ids of a service's instances that are not removed, or those of all
// services if the name is empty.
func (t *Txn) Instances(service string) (ids []string) {
	prefix := memberKey + ServiceFrom(service)
	if service != "" {
		prefix += "/"
	}
	for k := range t.Scan(prefix, "") {
		ids = append(ids, k[strings.LastIndex(k, "/")+1:])
	}
	return ids
}

// InstanceView returns an instance with what by may see of it.
func (t *Txn) InstanceView(id string, by Actor) (View, error) {
	r, err := t.Record(id)
	if err != nil {
		return View{}, err
	}
	return t.view(r).For(by), nil
}

// nextInstance is the table of transitions of a service's instance. Its states have these
// names for people: held is down, activating is starting, active is ready, stuck is fatal.
// A run is open in the states Activating and Active, and there only.
func nextInstance(s State, on Trigger, f facts) (State, bool) {
	switch s {
	case Scheduled:
		switch on {
		case Due, RunNow:
			return Waiting, true
		case Hold:
			return Held, true
		case Remove:
			return Finished, true
		case Move:
			return Scheduled, true
		}
	case Held:
		switch on {
		case Release, RunNow:
			return Waiting, true
		case Remove:
			return Finished, true
		}
	case Waiting:
		switch on {
		case Grant:
			return Activating, true
		case RunNow, Move:
			return Waiting, true
		case Hold:
			return Held, true
		case Remove:
			return Finished, true
		}
	case Activating, Active:
		return nextServing(s, on, f)
	case Stuck:
		switch on {
		case Retry, Release, RunNow, Move:
			return Waiting, true
		case Hold:
			return Held, true
		case Remove:
			return Finished, true
		}
	case Finished:
		if on == Retry {
			return Scheduled, f.serveAgain
		}
	}
	return s, false
}

// nextServing is [nextInstance] for an instance with an open run.
func nextServing(s State, on Trigger, f facts) (State, bool) {
	leaving := f.pendingEnd || f.pause
	switch on {
	case Ready:
		return Active, !leaving
	case Unready:
		return s, s == Active && !leaving
	case Again, Void, OK, Spent:
		switch {
		case f.pendingEnd:
			return Finished, true
		case f.pause, on == OK:
			return Held, true
		case on == Spent:
			return Stuck, true
		}
		return Waiting, true
	case Hold:
		return s, !f.pendingEnd
	case Release, RunNow:
		return s, f.pause
	case Restart, Move:
		return s, !leaving
	case Remove, Hang:
		return s, true
	case Forgive:
		return s, f.hangs
	}
	return s, false
}

// decideInstance is [Record.decide] for a service's instance without a hanging run.
func (r *Record) decideInstance(l inputs) Trigger {
	if a := r.openAttempt(); a != nil {
		switch until := r.Serving.DrainUntil; {
		case r.overdue(l.Moment):
			return killRun
		case r.State == Activating && r.hasProcess() && (a.Passed || !r.Serving.Checked):
			return Ready
		case !r.toBeStopped():
			return noTrigger
		case until.IsZero() && r.Serving.Drain > 0 && r.State == Active:
			return drainRun
		case !l.Come(until):
			return noTrigger
		}
		return stopRun
	}
	switch r.State {
	case Scheduled:
		return Due
	case Waiting:
		if l.Come(r.RetryAt) {
			return Grant
		}
	case Stuck:
		if !r.Until.IsZero() && l.Come(r.Until) {
			return Retry
		}
	case Finished:
		if until := r.historyUntil(); !until.IsZero() && !l.Doubt && l.Come(until) {
			return Prune
		}
	}
	return noTrigger
}

// dueInstance is [Record.due] for a service's instance.
func (r *Record) dueInstance() time.Time {
	switch r.State {
	case Activating, Active:
		var at time.Time
		if !r.Stopped {
			at = r.Serving.DrainUntil
		}
		if r.bounded() {
			at = earliest(at, r.Serving.StopBy)
		}
		return at
	case Scheduled:
		return atOnce
	case Waiting:
		if r.WaitsOn == waitsOnRetry {
			return r.tryAt()
		}
	case Stuck:
		return r.Until
	case Finished:
		return r.historyUntil()
	}
	return time.Time{}
}

// enterInstance sets the fields that depend on the new state.
func (t *Txn) enterInstance(r *Record) {
	r.queue, r.Until, r.HoldNext, r.Outcome = queue{}, time.Time{}, false, ""
	t.sockets = t.sockets || r.State != Active
	switch r.State {
	case Scheduled: // declared again; that it comes back is true now
		r.serveNoMore()
	case Activating:
		r.RetryAt, r.RetryIn = time.Time{}, 0
		t.Later(t.dependents(ServiceFrom(r.Serving.Service))...)
	case Active:
		r.Reason, r.Serving.Unready = "", ""
		t.Later(t.dependents(ServiceFrom(r.Serving.Service))...)
	case Stuck:
		r.Until = r.fatalUntil()
	case Finished:
		r.Outcome = cmp.Or(r.PendingOutcome, Cancelled)
		r.ending, r.Comeback = ending{}, ifAnnounced
		r.Until = t.Now.Add(t.Settings.HistoryAge)
	}
}

// instanceVerdict returns the trigger that follows from the end of an instance's run.
func (t *turn) instanceVerdict(r *Record, a *Attempt) Trigger {
	s, res := r.Serving, a.Result
	stop := cmp.Or(s.Stop, &ServiceStop{})
	replaced := s.Stop != nil && !s.Stop.Fault
	s.Stop, s.Unready, s.Failure, s.DrainUntil, s.StopBy, s.Before = nil, "", "", time.Time{}, time.Time{}, nil
	r.RetryAt, r.RetryIn = time.Time{}, 0
	switch {
	case r.PendingOutcome != "" || r.HoldNext:
		return Again
	case replaced:
		r.retry = retry{}
		return Void
	case res.Reason == wrapper.NotStarted, res.Reason == wrapper.Unborn, res.Reason == wrapper.Void:
		if r.FailedStarts++; res.Reason == wrapper.NotStarted || r.FailedStarts > 1 {
			r.retryAfter(t.Now, r.spread(startPause(r.FailedStarts)))
		}
		return Void
	case t.rebooted(a): // that is no fault of the service
		return Void
	}
	r.FailedStarts = 0
	fine := res.Reason == wrapper.Exited && res.Exit == 0
	if s.Restart == RestartNever || s.Restart == RestartOnFailure && fine {
		return OK
	}
	if !res.Started.IsZero() && res.Ended.Sub(res.Started) >= s.Stable {
		r.Tries, s.Fatal = 0, false
	}
	s.Failure = cmp.Or(stop.Why, r.Describe(a))
	r.Tries++
	s.Failed = slices.DeleteFunc(append(slices.Clone(s.Failed), t.Now), func(at time.Time) bool {
		return t.Now.Sub(at) > s.LimitWindow || at.After(t.Now) // the clock was set back since, so nobody knows how long ago it was
	})
	if s.Fatal || s.StartLimit > 0 && len(s.Failed) >= s.StartLimit {
		s.Fatal, s.Failed = true, nil
		return Spent
	}
	r.retryAfter(t.Now, r.spread(Defaults{BackoffFirst: s.BackoffFirst, BackoffMax: s.BackoffMax}.backoff(r.Tries)))
	return Again
}

// spread shortens a pause by up to a quarter, so that instances whose runs ended at one instant
// do not start again at one instant. By how much follows from the instance and its newest run.
func (r *Record) spread(pause time.Duration) time.Duration {
	sum := sha256.Sum256([]byte(supervisor.Key{ID: r.ID, Phase: Serve, N: r.LastN[0]}.String()))
	share := float64(binary.BigEndian.Uint32(sum[:])) / (1 << 32)
	return pause - time.Duration(share*float64(pause/4))
}

// fatalUntil is when an instance that is stuck is tried again; zero: only on request.
func (r *Record) fatalUntil() time.Time {
	if d := r.Serving.FatalRetry; d > 0 {
		return r.Since.Add(r.spread(d))
	}
	return time.Time{}
}

// afresh has an instance begin again, because somebody has asked for that or has declared it in
// another way: its failures are forgotten, and it does not pause.
func (r *Record) afresh() {
	r.retry, r.Serving.Failed, r.Serving.Fatal = retry{}, nil, false
	r.WaitsOn = waitsOnRetry // the engine looks at it, also if this daemon dies before
}

// Ready reports whether r is an instance that is ready.
func (r *Record) Ready() bool {
	return r.Serving != nil && r.State == Active && r.Serving.Unready == "" && !r.leaving()
}

// InstanceState is the state of an instance, for people.
func (r *Record) InstanceState() string {
	open := r.openAttempt() != nil
	switch {
	case open && r.leaving() && !r.Stopped && !r.Serving.DrainUntil.IsZero():
		return "draining"
	case open && r.leaving():
		return "stopping"
	case r.State == Active && r.Serving.Unready != "":
		return "unready"
	case r.State == Waiting && r.WaitsOn == waitsOnRetry && r.Serving.Failure != "":
		return "backoff"
	}
	return map[State]string{
		Scheduled: "waiting", Held: "down", Waiting: "waiting", Activating: "starting", Active: "ready", Stuck: "fatal", Finished: "removed",
	}[r.State]
}
