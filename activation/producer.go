package activation

import (
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"activationd/event"
	"activationd/internal/fault"
)

// A Producer makes activations when it is due, inside of a turn. It writes the
// activations and its own state in one transaction. So nothing is lost or made twice,
// wherever the daemon dies.
//
// It keeps its state in the store, under its own keys. In the same transaction it uses
// [Txn.Enter] for its due times, [Txn.Add] and [Txn.Cancel] for its activations,
// [Txn.Members] for those that are not finished, [Txn.Emit] and [Txn.Log]. Clients change
// a producer's state by [Engine.Update], and read it by [Engine.View].
type Producer interface {
	// Due is called when a due time has come that the producer entered under a name. It
	// must enter the next one, or the same time is due again. Changed reports whether it
	// wrote anything. An error of kind fault.NotFound means that it has no readable state
	// of that name: the name's due times are removed. Any other error is the store's.
	Due(t *Txn, name string) (changed bool, err error)
	// Woken is called in the turn that follows a Wake.
	Woken(t *Txn, why Wake) error
	// Ended is called when an activation that it made has finished, and when a finished
	// one is tried again. R is about to be saved; old is the record before.
	Ended(t *Txn, old, r *Record) error
}

// A Wake is why all producers are woken.
type Wake int

const (
	Rebooted Wake = iota // the machine was started again since the last turn
	Resumed              // the daemon was started, the clock was set or is trusted again, or [Engine.Wake] was called
)

// Register adds a producer. All its names must have the form KIND~NAME. One producer may
// have an empty kind; its names are plain. Register must be called before Run.
func (e *Engine) Register(kind string, p Producer) { e.producers[kind] = p }

// Wake makes the next turn wake all producers.
func (e *Engine) Wake() {
	e.mu.Lock()
	e.wake = true
	e.mu.Unlock()
	e.poke()
}

func (e *Engine) takeWake() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	wake := e.wake
	e.wake = false
	return wake
}

// producers are the registered producers, by kind.
type producers map[string]Producer

// of returns the producer of a name; nil if there is none.
func (ps producers) of(name string) Producer {
	kind, _, ok := strings.Cut(name, kindMark)
	if !ok {
		kind = ""
	}
	return ps[kind]
}

// kindMark is in no name that people give.
const kindMark = "~"

// wake wakes all producers.
func (t *Txn) wake(why Wake) error {
	for _, kind := range slices.Sorted(maps.Keys(t.producers)) {
		if err := t.producers[kind].Woken(t, why); err != nil {
			return err
		}
	}
	return nil
}

// due calls the producer of a name.
func (t *Txn) due(name string) (changed bool, err error) {
	p := t.producers.of(name)
	if p == nil {
		t.Log(slog.LevelError, "a due time of an unknown producer is ignored", "name", name)
		return false, t.unschedule(producerMark + name)
	}
	changed, err = p.Due(t, name)
	if errors.Is(err, fault.NotFound) {
		return false, t.unschedule(producerMark + name)
	}
	return changed, err
}

// tellProducer tells the producer of r that r has ended, or that it was started again
// after its end. Old is the record before the change.
func (t *Txn) tellProducer(old, r *Record) error {
	before := Outcome("")
	if old != nil {
		before = old.Outcome
	}
	p := t.producers.of(r.From)
	if r.From == "" || p == nil || before == r.Outcome {
		return nil
	}
	return p.Ended(t, old, r)
}

// Unfinished makes the next turn wake the producer again, for the same reason. A producer
// calls it when its work does not fit into the transaction; see [Txn.Full].
func (t *Txn) Unfinished() { t.unfinished = true }

// producerMark begins producers' names in the index of instants and wherever else an id
// of a record may stand.
const producerMark = "="

// Enter changes the time at which a producer's name is due from was to is. A zero time
// means that it is not due. Due is called earlier, by as much as attempts are armed
// ahead.
func (t *Txn) Enter(name string, was, is time.Time) error {
	t.rearm = true
	return t.reindex(instantsOf(name, was), instantsOf(name, is))
}

func instantsOf(name string, at time.Time) []entry {
	if at.IsZero() {
		return nil
	}
	return []entry{{startKey + Instant(at) + "/" + producerMark + name, []byte{}}}
}

// Add adds a job of a producer, under the name from; the engine looks at the job in this
// turn. The job must have passed [NewJob.Check]. Fill may set more of the record. The
// reason is for the event.
func (t *Txn) Add(j *NewJob, from, reason string, fill func(*Record)) (id string, err error) {
	n, err := count(t, jobNumber)
	if err != nil {
		return "", err
	}
	r := j.record(strconv.FormatUint(n, 10), t.Now, t.Settings)
	r.From = from
	fill(r)
	t.Later(r.ID)
	ev := event.Event{Reason: reason}
	if r.Occurrence.IsZero() {
		ev.Action = "every run"
	}
	t.happened(r, event.State, ev)
	return r.ID, t.Save(nil, r)
}

// Cancel cancels activations, except those that are already being stopped.
func (t *Txn) Cancel(ids []string, why string) error {
	for _, id := range ids {
		r, err := t.Record(id)
		if err != nil {
			t.Log(slog.LevelError, "a record cannot be read; it is left alone", "id", id, "err", err)
			continue
		}
		if r.PendingOutcome != "" {
			continue
		}
		old := r.clone()
		if err := t.Apply(r, Cancel, why); err != nil {
			return err
		}
		t.Later(id)
		if err := t.Save(old, r); err != nil {
			return err
		}
	}
	return nil
}

// Members lists the unfinished activations that a producer made under a name: the ids of
// the oldest, at most as many as most says.
func (t *Txn) Members(from string, most int) (ids []string) {
	prefix := memberKey + from + "/"
	for k := range t.Scan(prefix, "") {
		if len(ids) == most {
			break
		}
		ids = append(ids, strings.TrimLeft(strings.TrimPrefix(k, prefix), "0"))
	}
	return ids
}

// member is the key of an activation in the index of those that a producer made under a
// name.
func member(from, id string) string {
	return memberKey + from + "/" + strings.TrimPrefix(key(id), recordKey)
}

// OwnLock is the lock that keeps the activations of a producer's name from running at
// once.
func OwnLock(name string) string { return ownLocks + name }

// ownLocks begins the names of locks that no job can request itself.
const ownLocks = "every."
