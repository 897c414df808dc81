package activation

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"activationd/event"
	"activationd/internal/fault"
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
func (t *Txn) enterInstance(r *Record, on Trigger) {
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

// endsBecause is why the run of an instance ends, if that is known before it has ended.
func (r *Record) endsBecause() string {
	switch s := r.Serving; {
	case s == nil:
		return ""
	case r.PendingOutcome != "":
		return r.PendingReason
	case r.HoldNext:
		return r.Reason
	case s.Stop != nil:
		return s.Stop.Why
	}
	return ""
}

// rebind replaces the runs of instances that are bound to r's service, because a run of r has
// ended. They start again when they have what they need.
func (t *turn) rebind(r *Record) error {
	for _, id := range t.dependents(ServiceFrom(r.Serving.Service)) {
		o, err := t.Record(id)
		if err != nil || o.Serving == nil || !o.Serving.Bind || o.openAttempt() == nil || o.leaving() {
			continue
		}
		old := o.clone()
		why := fmt.Sprintf("it needs %s, whose run has ended", r.ID)
		o.Serving.Stop = &ServiceStop{Why: why}
		if err := t.Apply(o, Restart, why); err != nil {
			return err
		}
		t.Later(id)
		if err := t.Save(old, o); err != nil {
			return err
		}
	}
	return nil
}

// grantInstance starts an instance's next run, or makes it wait for the services that it
// needs.
func (t *turn) grantInstance(r *Record) (claimed, changed bool, err error) {
	lacks, on := t.needs(r), waitsOnEnd
	if lacks == "" && t.draining {
		lacks, on = nextStart, waitsOnStart
	}
	if lacks == "" {
		return true, true, t.claim(r, Serve)
	}
	if r.WaitsOn == on && r.Reason == waitsFor+lacks {
		return false, false, nil
	}
	r.RetryAt, r.RetryIn = time.Time{}, 0 // its pause is over, also if the clock is set back
	t.wait(r, on, lacks)
	return false, true, nil
}

// needs names the first service that r waits for; empty: there is none.
func (t *Txn) needs(r *Record) string {
	for _, need := range r.Serving.Needs {
		met, why := false, "is not declared"
		for _, id := range t.Members(ServiceFrom(need.Service), maxInstances) {
			i, err := t.Record(id)
			switch {
			case err != nil:
				continue
			case i.State == Held:
				if !met {
					why = "is down"
				}
				continue
			}
			if met = i.Ready() || need.Started && i.hasProcess(); !met {
				why = "is " + i.InstanceState()
				break
			}
		}
		if !met {
			return fmt.Sprintf("the service %s, which %s", need.Service, why)
		}
	}
	return ""
}

// maxInstances bounds how many instances a service has.
const maxInstances = 1000

// Ready reports whether r is an instance that is ready.
func (r *Record) Ready() bool {
	return r.Serving != nil && r.State == Active && r.Serving.Unready == "" && !r.leaving()
}

// hasProcess reports whether r is an instance with a process that is not about to be ended. A
// record of an earlier version says so by its state.
func (r *Record) hasProcess() bool {
	a := r.openAttempt()
	return r.Serving != nil && a != nil && (a.Begun || r.State == Active) && !r.leaving()
}

// leaving reports whether r's run is about to be ended.
func (r *Record) leaving() bool { return r.stopsForGood() || r.Serving.Stop != nil }

// stopsForGood reports whether no other run is to follow r's.
func (r *Record) stopsForGood() bool { return r.PendingOutcome != "" || r.HoldNext }

// bounded reports whether r's run is killed at a time.
func (r *Record) bounded() bool {
	a := r.openAttempt()
	return a != nil && r.stopsForGood() && !r.Serving.StopBy.IsZero() && r.Serving.Killed != a.N
}

// overdue reports whether r's run must be killed now.
func (r *Record) overdue(m Moment) bool { return r.bounded() && m.Come(r.Serving.StopBy) }

// boundStop sets the time by which an instance must have stopped.
func (t *Txn) boundStop(r *Record) {
	if limit := t.Settings.StopLimit; limit > 0 && r.openAttempt() != nil && r.stopsForGood() && r.Serving.StopBy.IsZero() {
		r.Serving.StopBy = t.Now.Add(limit)
	}
}

// stopsLater reports whether an instance that is to be stopped has to wait: others that need its
// service are being stopped, too, and come first.
func (t *turn) stopsLater(r *Record) bool {
	if r.Serving == nil || !r.stopsForGood() || !r.Serving.DrainUntil.IsZero() { // then it has begun
		return false
	}
	for _, id := range t.dependents(ServiceFrom(r.Serving.Service)) {
		if o, err := t.Record(id); err == nil && o.Serving != nil && o.openAttempt() != nil && o.stopsForGood() {
			return true
		}
	}
	return false
}

// stopWith looks again at the instances that r needs: they may wait until it has stopped.
func (t *Txn) stopWith(r *Record) {
	for _, need := range r.Serving.Needs {
		t.Later(t.Members(ServiceFrom(need.Service), maxInstances)...)
	}
}

// kill ends a run that has had its time to stop.
func (t *turn) kill(r *Record, a *Attempt) {
	why := fmt.Sprintf("; killed, because it had not ended %v after that", t.Settings.StopLimit)
	r.Reason += why
	if r.PendingOutcome != "" {
		r.PendingReason += why
	}
	r.Stopped, r.Serving.Killed = true, a.N
	k := supervisor.Key{ID: r.ID, Phase: a.Phase, N: a.N}
	t.stops, t.kills = append(t.stops, k), append(t.kills, k)
	t.happened(r, event.State, event.Event{Reason: r.Reason, Failed: true})
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

// An Instance is what an instance's record says, as it follows from a declaration.
type Instance struct {
	Order
	AsDeclared
	Down bool // it is not started, unless it runs already
}

// SetInstance makes an instance as it is declared: it makes its record, or changes it. Its
// run is replaced if its hash has changed. What says what was done: added, changed (another run
// follows), live (the run goes on), or nothing. The reason is for the event.
func (t *Txn) SetInstance(i Instance, why string) (what string, err error) {
	id := InstanceID(i.Service, i.N)
	r, err := t.Record(id)
	switch {
	case fault.Of(err) == fault.NotFound:
		return "added", t.newInstance(id, i, why)
	case err != nil:
		return "", err
	case r.Kind != Service:
		return "", fmt.Errorf("%s is the id of a %s: rename it, or the service: %w", id, r.Kind, fault.Conflict)
	}
	old := r.clone()
	was := old.Serving
	if !slices.Equal(was.Listen, i.Listen) {
		t.sockets = true
		if r.openAttempt() != nil {
			r.Serving.Before = slices.Concat(was.Before, was.Listen)
		}
	}
	r.Order, r.Serving.AsDeclared = i.Order, i.AsDeclared
	switch {
	case r.State == Finished:
		what, r.Comeback = "added", serveAgain
		r.afresh()
		if err = t.Apply(r, Retry, why); err == nil && i.Down {
			err = t.Apply(r, Hold, why)
		}
	case r.PendingOutcome != "": // it is being removed
		what, r.ending, r.Serving.Stop, r.Serving.StopBy = "added", ending{}, &ServiceStop{Why: why}, time.Time{}
		t.stopWith(r)
		r.afresh()
	case !bytes.Equal(was.Hash, i.Hash):
		what = "changed"
		r.afresh()
		if r.openAttempt() != nil && !r.leaving() {
			r.Serving.Stop = &ServiceStop{Why: why}
		}
		if _, ok := next(r.State, Move, r.facts(t.Moment)); ok {
			err = t.Apply(r, Move, why)
		}
	case !bytes.Equal(was.Live, i.Live):
		if what = "live"; r.State == Stuck {
			r.Until = r.fatalUntil()
		}
	}
	if err != nil || what == "" {
		return "", err
	}
	t.Later(id)
	return what, t.Save(old, r)
}

func (t *Txn) newInstance(id string, i Instance, why string) error {
	r := &Record{
		ID: id, Kind: Service, Start: t.Now, From: ServiceFrom(i.Service), Order: i.Order, Serving: &Serving{AsDeclared: i.AsDeclared},
		Life: Life{State: Scheduled, Created: t.Now, Since: t.Now, Reason: why},
	}
	if i.Down {
		r.State = Held
	}
	t.happened(r, event.State, event.Event{Reason: why})
	t.Later(id)
	return t.Save(nil, r)
}

// RemoveInstance ends an instance for good.
func (t *Txn) RemoveInstance(id, why string) error {
	r, err := t.Record(id)
	if err != nil {
		return err
	}
	if r.PendingOutcome != "" || r.State == Finished {
		return nil
	}
	old := r.clone()
	if err := t.Apply(r, Remove, why); err != nil {
		return err
	}
	t.Later(id)
	return t.Save(old, r)
}

// awaitStart has the engine learn when the process of an instance's run exists. If that is not
// possible, the run counts as begun: it should not wait for that forever.
func (e *Engine) awaitStart(k supervisor.Key, w *work) {
	if k.Phase != Serve {
		return
	}
	if err := e.parts.Runs.AwaitStart(k); err != nil {
		e.parts.Log.Warn("cannot learn when the process of a run begins", "run", k, "err", err)
		w.begins = append(w.begins, k)
	}
}

// begun records that the process of an instance's run exists.
func (t *turn) begun(k supervisor.Key) error {
	r, err := t.Record(k.ID)
	if err != nil {
		t.Log(slog.LevelWarn, "the beginning of an unknown run", "run", k, "err", err)
		return nil
	}
	old := r.clone()
	a := r.openAttempt()
	if a == nil || a.Phase != k.Phase || a.N != k.N || a.Begun {
		return nil
	}
	a.Begun = true
	t.Later(t.dependents(ServiceFrom(r.Serving.Service))...)
	if _, err := t.advance(r); err != nil {
		return err
	}
	return t.put(old, r)
}

// Check tells what a check found out about an instance's run: it is ready, it is not ready,
// or it has to be replaced, which counts as a failure. What a check says of an earlier run
// changes nothing.
func (e *Engine) Check(ctx context.Context, id string, run int, on Trigger, why string) error {
	return e.Update(ctx, func(t *Txn) error {
		r, err := t.Record(id)
		if err != nil || r.Kind != Service {
			return err
		}
		a := r.openAttempt()
		if a == nil || a.N != run || r.leaving() {
			return nil
		}
		old := r.clone()
		if r.State == Activating && !a.Begun {
			if a.Passed = on == Ready; on != Restart {
				return t.Save(old, r)
			}
		}
		switch {
		case on == Unready && r.State == Active:
			r.Serving.Unready = why
			t.happened(r, "unready", event.Event{Reason: why})
		case on == Ready && r.Serving.Unready != "":
			t.happened(r, "ready", event.Event{})
		case on == Restart:
			r.Serving.Stop = &ServiceStop{Why: why, Fault: true}
		}
		if err := t.Apply(r, on, why); err != nil {
			return err
		}
		if on == Ready {
			r.Serving.Unready = ""
			t.Later(t.dependents(ServiceFrom(r.Serving.Service))...)
		}
		t.Later(id)
		return t.Save(old, r)
	})
}

// Restart replaces the runs of instances, also of those that are being stopped, or starts them,
// on behalf of an actor.
func (e *Engine) Restart(ctx context.Context, by Actor, ids ...string) ([]*Record, error) {
	return e.instanceVerb(ctx, by, ids, "restarted by "+by.Name, func(t *Txn, r *Record, why string) error {
		return t.runAgain(r, why, "service restart")
	})
}

// RestartInstance makes an instance as it is declared, as [Txn.SetInstance] does, and replaces
// its run also if nothing has changed. It is for one that is not down.
func (t *Txn) RestartInstance(i Instance, why string) error {
	if _, err := t.SetInstance(i, why); err != nil {
		return err
	}
	r, err := t.Record(InstanceID(i.Service, i.N))
	if err != nil || r.openAttempt() != nil && r.Serving.Stop != nil && !r.Serving.Stop.Fault { // it is being replaced
		return err
	}
	old := r.clone()
	if err := t.runAgain(r, why, ""); err != nil {
		return err
	}
	t.Later(r.ID)
	return t.Save(old, r)
}

// Up starts instances that are down or are being stopped, wait for their next try, or are fatal.
func (e *Engine) Up(ctx context.Context, by Actor, ids ...string) ([]*Record, error) {
	return e.instanceVerb(ctx, by, ids, "started by "+by.Name, func(t *Txn, r *Record, why string) error {
		if r.openAttempt() != nil && !r.HoldNext {
			return nil
		}
		return t.runAgain(r, why, "service start")
	})
}

// Down stops instances. They stay down until somebody starts them.
func (e *Engine) Down(ctx context.Context, by Actor, ids ...string) ([]*Record, error) {
	return e.instanceVerb(ctx, by, ids, "stopped by "+by.Name, func(t *Txn, r *Record, why string) error {
		if r.State == Held || r.HoldNext {
			return nil
		}
		r.afresh()
		return t.apply(r, Hold, why, "service stop")
	})
}

// runAgain gives an instance another run, once its open one has ended.
func (t *Txn) runAgain(r *Record, why, action string) error {
	on := RunNow
	if r.openAttempt() != nil {
		on, r.Serving.Stop = Restart, &ServiceStop{Why: why}
	}
	if r.HoldNext { // it is being stopped
		on, r.Serving.StopBy = Release, time.Time{}
		t.stopWith(r)
	}
	r.afresh()
	return t.apply(r, on, why, action)
}

// instanceVerb changes instances on behalf of an actor, and returns their records. If the store
// takes that in one transaction, an error means that none is changed.
func (e *Engine) instanceVerb(ctx context.Context, by Actor, ids []string, why string, fn func(*Txn, *Record, string) error) ([]*Record, error) {
	all := make([]*Record, len(ids))
	update := func(fn func(*Txn) error) error { return e.UpdateBy(ctx, by, fn) }
	_, err := e.Slices(len(ids), update, func(t *Txn, i int) error {
		r, err := t.Record(ids[i])
		if err != nil {
			return err
		}
		if r.Kind != Service || r.State == Finished {
			return unknown(r.ID)
		}
		if err := by.check(r); err != nil {
			return err
		}
		old := r.clone()
		if err := fn(t, r, why); err != nil {
			return err
		}
		all[i] = r
		t.Later(r.ID)
		return t.Save(old, r)
	})
	return all, err
}

// Process returns the process of an open run, and when it was started; zero: not known yet.
func (e *Engine) Process(id string, a *Attempt) (pid int, started time.Time) {
	pid, started, _ = e.parts.Runs.Started(supervisor.Key{ID: id, Phase: a.Phase, N: a.N})
	return pid, started
}

// CheckSpec returns how the command of a check of an instance runs: as the instance's user, in
// its directory and with its environment.
func (e *Engine) CheckSpec(ctx context.Context, r *Record) (spec wrapper.Spec, err error) {
	err = e.View(ctx, func(t *Txn) error {
		a := r.LastAttempt("")
		if a == nil {
			return unknown(r.ID)
		}
		spec = (&turn{Txn: t}).spec(r, a)
		return nil
	})
	if err != nil {
		return spec, err
	}
	err = e.become(&spec, e.Settings().switchTo(r))
	return spec, err
}

// Environments returns the variables with which the process of an instance was started, and
// those with which it would be started by another order. What differs from run to run is left
// out. Runs is nil if no process runs.
func (e *Engine) Environments(r *Record, o Order) (runs, then map[string]string, err error) {
	next, set := *r, e.Settings()
	next.Order = o
	then = variablesOf(environment(set, set.Of(&next), &next, Serve, 1, 0, set.userOf(&next)))
	a := r.openAttempt()
	if a == nil {
		return nil, then, nil
	}
	f, err := e.parts.Runs.Open(supervisor.Key{ID: r.ID, Phase: a.Phase, N: a.N}, wrapper.SpecFile)
	if errors.Is(err, fs.ErrNotExist) { // it is about to be started
		return nil, then, nil
	}
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, nil, err
	}
	spec, err := wrapper.ParseSpec(string(data))
	if err != nil {
		return nil, nil, err
	}
	return variablesOf(spec.Env), then, nil
}

// variablesOf returns variables by their names, except those that tell a run about itself.
func variablesOf(env []string) map[string]string {
	all := make(map[string]string, len(env))
	for _, kv := range env {
		if name, value, _ := strings.Cut(kv, "="); !strings.HasPrefix(name, "ACTIVATION") {
			all[name] = value
		}
	}
	return all
}
