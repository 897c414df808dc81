package service

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"activationd/activation"
	"activationd/supervisor/wrapper"
)

// A Rollout is a rolling restart of a service. It is in the store, so it goes on whoever goes
// away: the client that requested it, or the daemon.
type Rollout struct {
	By     string    `json:"by"`
	At     time.Time `json:"at"`
	State  string    `json:"state"`            // [Rolling], [Stopped] or [Rolled]
	Back   bool      `json:"back,omitempty"`   // the instances get the declaration back that they had before
	After  []string  `json:"after,omitempty"`  // services whose rollouts come first, by key
	Todo   []int     `json:"todo,omitempty"`   // the numbers of the instances that have not been restarted yet, in their order
	Now    []Turn    `json:"now,omitempty"`    // the restarts of those that have been, and are not ready yet
	Done   []int     `json:"done,omitempty"`   // the numbers of those that were ready after that
	Extra  []int     `json:"extra,omitempty"`  // the numbers of instances that run only until the rollout is over
	Failed *Failure  `json:"failed,omitempty"` // why it is stopped
}

// A Turn is the restart of an instance in a rollout.
type Turn struct {
	N   int `json:"n"`
	Run int `json:"run"` // the number of its last run before
}

// A Failure is why a rollout was stopped.
type Failure struct {
	ID  string `json:"id,omitempty"`  // the instance that did not get ready
	Run int    `json:"run,omitempty"` // the run that failed; 0: none was started
	Why string `json:"why"`
}

// The states of a rollout.
const (
	Rolling = "rolling"
	Stopped = "stopped" // an instance did not get ready, and no further one is restarted
	Rolled  = "done"
)

// rolloutKey begins the keys of rollouts, by the services' keys.
const rolloutKey = "sr/"

// rolloutOf returns the newest rollout of a service; nil: it has none.
func rolloutOf(t *activation.Txn, name string) *Rollout {
	data := t.Get(rolloutKey + name)
	if data == nil {
		return nil
	}
	r := new(Rollout)
	if err := json.Unmarshal(data, r); err != nil {
		t.Log(slog.LevelError, "the rolling restart of a service cannot be read; it is forgotten", "service", name, "err", err)
		return nil
	}
	return r
}

func (r *Rollout) save(t *activation.Txn, name string) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return t.Put(rolloutKey+name, data)
}

// Unfinished reports whether there are instances that the rollout has not restarted yet, or
// that did not get ready.
func (r *Rollout) Unfinished() bool { return r != nil && r.State != Rolled }

// Left is the number of instances that it has not restarted.
func (r *Rollout) Left() int {
	return len(slices.DeleteFunc(slices.Clone(r.Todo), r.extra))
}

func (r *Rollout) extra(n int) bool { return slices.Contains(r.Extra, n) }

// A verdict is what became of a turn.
type verdict int

const (
	waits  verdict = iota
	ready          // the instance is ready, with another run than before
	failed         // it did not get ready
	gone           // somebody stopped it meanwhile, or it was removed
)

// advance takes the next step: it records what became of the instances whose turn it is, and
// returns the numbers of those whose turn comes now. At the first one that has failed it stops.
// The extra instances come first, and all of them must be ready before another one is
// restarted; then as many at a time as there are extra ones.
func (r *Rollout) advance(name string, look func(Turn) (verdict, string)) (begin []int) {
	var now []Turn
	for _, turn := range r.Now {
		switch v, why := look(turn); v {
		case waits:
			now = append(now, turn)
		case ready:
			r.Done = append(r.Done, turn.N)
		case failed:
			now = append(now, turn)
			if r.State == Rolling {
				r.State, r.Failed = Stopped, &Failure{ID(name, turn.N), turn.Run + 1, why}
			}
		}
	}
	r.Now = now
	if r.State != Rolling {
		return nil
	}
	first := func(n int) bool { return r.extra(n) }
	most := len(r.Extra)
	if !slices.ContainsFunc(r.Todo, r.extra) && !slices.ContainsFunc(r.Now, func(t Turn) bool { return r.extra(t.N) }) {
		first, most = func(int) bool { return true }, max(1, len(r.Extra))
	}
	for _, n := range r.Todo {
		if first(n) && len(r.Now)+len(begin) < most {
			begin = append(begin, n)
		}
	}
	r.Todo = slices.DeleteFunc(r.Todo, func(n int) bool { return slices.Contains(begin, n) })
	if len(begin)+len(r.Todo)+len(r.Now) == 0 {
		r.State = Rolled
	}
	return begin
}

// outcome says what became of an instance whose run before its restart had a number.
func outcome(r *activation.Record, run int) (verdict, string) {
	var ended *activation.Attempt // the newest run that has ended
	for i := range r.Attempts {
		if a := &r.Attempts[i]; !a.Open {
			ended = a
		}
	}
	after := ended != nil && ended.N > run
	switch s := r.Serving; {
	case r.State == activation.Finished, r.PendingOutcome != "", r.HoldNext:
		return gone, ""
	case r.State == activation.Held && after && ended.Result.Reason == wrapper.Exited:
		return failed, "it ended: " + r.Describe(ended)
	case r.State == activation.Held:
		return gone, ""
	case r.State == activation.Stuck, after && s.Failure != "":
		return failed, s.Failure
	case r.LastN[0] <= run:
		return waits, ""
	case s.Stop != nil && s.Stop.Fault:
		return failed, s.Stop.Why
	case r.Ready():
		return ready, ""
	}
	return waits, ""
}

// again puts a stopped rollout in motion: those that are not ready come first.
func (r *Rollout) again(look func(Turn) (verdict, string)) {
	var todo []int
	for _, turn := range r.Now {
		switch v, _ := look(turn); v {
		case ready:
			r.Done = append(r.Done, turn.N)
		case waits, failed:
			todo = append(todo, turn.N)
		}
	}
	r.Todo, r.Now, r.Failed, r.State = append(todo, r.Todo...), nil, nil, Rolling
}

// addExtra adds extra instances until there are so many, with numbers above last.
func (r *Rollout) addExtra(want, last int) {
	for n := last + 1; len(r.Extra) < want && n <= MaxInstances; n++ {
		if !r.extra(n) {
			r.Extra, r.Todo = append(r.Extra, n), append([]int{n}, r.Todo...)
		}
	}
}

// String says what has become of it.
func (r *Rollout) String() string {
	back := ""
	if r.Back {
		back = " to the former declaration"
	}
	switch r.State {
	case Rolling:
		return fmt.Sprintf("restarting one after the other%s: %d are ready, %d are left", back, r.done(), r.Left()+len(r.Now))
	case Stopped:
		what := r.Failed.Why
		if r.Failed.ID != "" {
			what = fmt.Sprintf("%s did not get ready: %s", r.Failed.ID, r.Failed.Why)
		}
		return fmt.Sprintf("stopped%s: %s; %d more were not restarted", back, what, r.Left())
	}
	return fmt.Sprintf("%d were restarted%s", r.done(), back)
}

func (r *Rollout) done() int {
	return len(slices.DeleteFunc(slices.Clone(r.Done), r.extra))
}
