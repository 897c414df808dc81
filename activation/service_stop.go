package activation

import (
	"fmt"

	"activationd/event"
	"activationd/supervisor"
)

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
