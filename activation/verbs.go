package activation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"activationd/internal/fault"
)

// A NewJob is what is asked for with a job.
type NewJob struct {
	Owner   string
	User    *Identity // nil: the daemon's own
	At      time.Time // zero: now
	Argv    []string
	Stdin   []byte
	Dir     string
	Env     map[string]string
	Umask   *int
	Timeout *time.Duration
	Grace   *time.Duration
	Retries *int
	Label   string
	Missed  string // MissedRun, MissedSkip or empty
	Hold    bool

	Priority int            // from -MaxPriority to MaxPriority, before others who wait for the same
	Locks    []string       // NAME, NAME:shared or NAME=UNITS/CAPACITY
	After    []string       // ID, ID:success, ID:failure or ID:any
	Deadline time.Time      // it is missed if it has not begun by then, and stopped if it still runs; zero: none
	Backoff  *time.Duration // the pause before the second attempt; it doubles
	Tags     []string
	AtJob    *AtJob // nil: it is none of at's
}

// What a job may have at most.
const (
	maxLocks    = 256
	maxArgBytes = 120 << 10 // of one argument or variable: the kernel's limit is 128 KiB
	maxAllBytes = 1 << 20   // of all of them: what any kernel takes
	maxStdin    = 3 << 20
	maxLabel    = 256
	maxTags     = 32
)

// check returns what is wrong with the job, of kind fault.Invalid.
func (j *NewJob) check(now time.Time) error {
	invalid := func(format string, args ...any) error {
		return fmt.Errorf(format+": %w", append(args, fault.Invalid)...)
	}
	if len(j.Argv) == 0 || j.Argv[0] == "" {
		return invalid("there is no command to run")
	}
	all := len(j.Stdin)
	if all > maxStdin {
		return invalid("the standard input has %d bytes, at most %d can be kept; read a file instead", all, maxStdin)
	}
	total := 0
	for _, a := range j.Argv {
		total += len(a)
		switch {
		case strings.ContainsRune(a, 0):
			return invalid("an argument has a NUL byte")
		case len(a) > maxArgBytes:
			return invalid("an argument has %d bytes, at most %d are possible", len(a), maxArgBytes)
		}
	}
	for k, v := range j.Env {
		total += len(k) + len(v)
		switch {
		case k == "" || strings.ContainsAny(k, "=\x00\n") || strings.ContainsRune(v, 0):
			return invalid("env: %q is not a variable's name and value", k+"="+v)
		case strings.HasPrefix(k, "ACTIVATION"):
			return invalid("env: %s: names that begin with ACTIVATION are the daemon's", k)
		case len(v) > maxArgBytes:
			return invalid("env: %s has %d bytes, at most %d are possible", k, len(v), maxArgBytes)
		}
	}
	switch {
	case total > maxAllBytes:
		return invalid("arguments and environment have %d bytes, at most %d are possible", total, maxAllBytes)
	case len(j.Label) > maxLabel || strings.ContainsAny(j.Label, "\n\x00"):
		return invalid("label: want one line of at most %d bytes", maxLabel)
	case j.Dir != "" && (!strings.HasPrefix(j.Dir, "/") || strings.ContainsRune(j.Dir, 0)):
		return invalid("dir: %q is not an absolute path", j.Dir)
	case j.Missed != "" && j.Missed != MissedRun && j.Missed != MissedSkip:
		return invalid("missed: want run or skip, have %q", j.Missed)
	case j.Retries != nil && (*j.Retries < 0 || *j.Retries > 1000):
		return invalid("retries: want 0 to 1000, have %d", *j.Retries)
	case j.Timeout != nil && *j.Timeout < 0, j.Grace != nil && *j.Grace < 0, j.Backoff != nil && *j.Backoff < 0:
		return invalid("timeout, grace, backoff: want a duration that is not negative")
	case j.Priority < -MaxPriority || j.Priority > MaxPriority:
		return invalid("priority: want %d to %d, have %d", -MaxPriority, MaxPriority, j.Priority)
	case len(j.Tags) > maxTags:
		return invalid("tag: at most %d are possible", maxTags)
	case !j.Deadline.IsZero() && !j.Deadline.After(now):
		return invalid("deadline: %s is in the past", stamp(j.Deadline))
	case !j.Deadline.IsZero() && !j.Deadline.After(j.At):
		return invalid("deadline: %s is not after the job's start", stamp(j.Deadline))
	case j.AtJob == nil && !j.At.IsZero() && j.At.Before(now.Add(-missedAfter)):
		return invalid("%s is in the past; give a time to come, or none to run at once", stamp(j.At))
	case j.At.Year() > 2200:
		return invalid("%s is too far away: want a time before 2200", stamp(j.At))
	}
	for _, tag := range j.Tags {
		if !validName(tag) {
			return invalid("tag: %q: want up to 64 letters, digits and ._@:+- that begin with a letter, a digit or _", tag)
		}
	}
	if j.AtJob != nil {
		if err := j.AtJob.check(); err != nil {
			return err
		}
	}
	return checkWants(j.Locks)
}

// validName reports whether s can name a lock or a device.
func validName(s string) bool {
	if s == "" || len(s) > 64 || strings.Contains("._@:+-", s[:1]) && s[0] != '_' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._@:+-") == ""
}

// An Added is the answer to one [NewJob]: its id, or why there is none.
type Added struct {
	ID  string
	Due time.Time
	Err error
}

// Add makes jobs, as many as are sound, in one transaction. When it returns nil
// they are durable.
func (e *Engine) Add(ctx context.Context, jobs []NewJob) ([]Added, error) {
	added := make([]Added, len(jobs))
	var next time.Time // when the first of them is to be looked at
	err := e.update(ctx, func(t *txn) error {
		next = time.Time{}
		if e.Draining() {
			return fmt.Errorf("the daemon is being drained and takes no new work: %w", fault.Unavailable)
		}
		n := number(t, jobNumber)
		for i := range jobs {
			j := &jobs[i]
			if err := j.check(t.now); err != nil {
				added[i] = Added{Err: err}
				continue
			}
			if err := t.checkAfter(j.After); err != nil {
				added[i] = Added{Err: err}
				continue
			}
			if id := t.imported(j); id != "" {
				added[i] = Added{ID: id, Due: j.At}
				continue
			}
			n++
			r := j.record(strconv.FormatUint(n, 10), t.now, t.set)
			if err := t.save(nil, r); err != nil {
				return err
			}
			if err := t.noteImport(r); err != nil {
				return err
			}
			added[i] = Added{ID: r.ID, Due: r.Start}
			at, _ := r.due()
			next = earliest(next, at)
			t.news = append(t.news, Happening{Time: t.now, What: "state", ID: r.ID, State: string(r.State), Reason: r.Reason})
		}
		return putNumber(t, jobNumber, n)
	})
	if err == nil && !next.IsZero() {
		e.nudge(next)
	}
	return added, err
}

// nudge makes Run look when something was added that is due before it would
// look anyway. Most of what is added is not, and Run sleeps on.
func (e *Engine) nudge(next time.Time) {
	if next.Before(time.Unix(0, e.wakeAt.Load())) {
		e.poke()
	}
}

// sortedSet returns each of s once, in order.
func sortedSet(s []string) []string { return slices.Compact(slices.Sorted(slices.Values(s))) }

func (j *NewJob) record(id string, now time.Time, set *Settings) *Record {
	at := j.At
	if at.IsZero() || at.Before(now) && j.AtJob == nil {
		at = now
	}
	r := &Record{
		ID: id, Kind: Job, Owner: j.Owner, Label: j.Label, State: Scheduled, Created: now, Since: now,
		Start: at, Locks: sortedSet(j.Locks), Argv: j.Argv, Stdin: j.Stdin, Dir: j.Dir, Env: j.Env,
		Umask: j.Umask, User: j.User, Timeout: j.Timeout, Grace: j.Grace, Retries: j.Retries, Missed: j.Missed,
		Priority: j.Priority, After: j.After, Deadline: j.Deadline, Backoff: j.Backoff, Tags: sortedSet(j.Tags),
		AtJob: j.AtJob,
	}
	if r.Missed == "" {
		r.Missed = set.Jobs.Missed
	}
	if j.Hold {
		r.State, r.Reason = Held, "added on hold"
	}
	return r
}

// Do applies an admin's event to an activation: Cancel, Hold, Release, RunNow,
// Retry or Forgive. It is fault.NotFound when there is no such activation,
// fault.Conflict when the event has no meaning in its state, and fault.Denied
// when it is not by's to touch. It returns the record as it is then; what
// follows from it, such as the end of a run, comes later.
func (e *Engine) Do(ctx context.Context, by By, id string, ev Event, why string) (*Record, error) {
	var r *Record
	err := e.update(ctx, func(t *txn) (err error) {
		if r, err = t.get(id); err != nil {
			return err
		}
		if err := by.check(r); err != nil {
			return err
		}
		old := r.clone()
		switch ev {
		case Cancel:
			r.Quit = true
		case Retry:
			if r.State == Finished {
				if r.Outcome == Succeeded {
					return fmt.Errorf("%s: it has succeeded; only what failed can be retried: %w", id, fault.Conflict)
				}
				if r.tooLate(t.moment) {
					return fmt.Errorf("%s: its deadline passed at %s; add it anew: %w", id, stamp(r.Deadline), fault.Conflict)
				}
				r.Renew, r.Quit = true, false
			}
			if err := t.openLogins(by, r); err != nil {
				return err
			}
		}
		if why == "" {
			why = fmt.Sprintf("%s by %s", pastTense[ev], by.Name)
		}
		if err := t.apply(r, ev, why); err != nil {
			return err
		}
		if a := r.hangs(); a != nil && ev == Forgive {
			a.Forgiven = why
		}
		return t.save(old, r)
	})
	if err != nil {
		return nil, err
	}
	e.touch(id)
	return r, nil
}

var pastTense = map[Event]string{
	Cancel: "cancelled", Hold: "held", Release: "released", RunNow: "run now", Retry: "retried", Forgive: "forgiven",
}

// Link attaches a topology to a reservation, which need not be announced yet. It
// comes before the one that the source announces. An activation that has begun
// is fault.Conflict: its topology is fixed.
func (e *Engine) Link(ctx context.Context, id string, text []byte) error {
	if _, err := e.parts.Nodes(string(text)); err != nil {
		return fmt.Errorf("topology: %w", err)
	}
	return e.relink(ctx, id, func(t *txn) error { return t.Put(topologyOf(id, "link"), text) })
}

// Unlink takes away what [Engine.Link] attached. It is fault.NotFound when
// nothing is attached.
func (e *Engine) Unlink(ctx context.Context, id string) error {
	return e.relink(ctx, id, func(t *txn) error {
		if t.topology(id, "link") == nil {
			return fmt.Errorf("no topology is attached to %s: %w", id, fault.NotFound)
		}
		return t.Delete(topologyOf(id, "link"))
	})
}

func (e *Engine) relink(ctx context.Context, id string, change func(*txn) error) error {
	if isJob(id) || !validName(id) {
		return fmt.Errorf("%q is not a reservation's id: %w", id, fault.Invalid)
	}
	return e.update(ctx, func(t *txn) error {
		r, err := t.get(id)
		if err == nil && (r.Dirty || slices.Contains([]State{Activating, Active, Deactivating, Stuck}, r.State)) {
			return fmt.Errorf("%s is %s: its topology is fixed until it has been deactivated: %w", id, r.State, fault.Conflict)
		}
		if err := change(t); err != nil {
			return err
		}
		switch {
		case errors.Is(err, fault.NotFound): // not announced yet
			return nil
		case err != nil:
			return err
		}
		old := r.clone()
		e.devicesOf(t, r)
		if r.State == Waiting && !slices.Equal(old.Devices, r.Devices) { // its place in line is for others
			if err := t.apply(r, Move, "its topology was changed"); err != nil {
				return err
			}
		}
		t.later = append(t.later, id)
		return t.save(old, r)
	})
}
