package activation

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"activationd/event"
	"activationd/internal/fault"
)

// A NewJob is a request for a job.
type NewJob struct {
	Order
	At   time.Time `json:"at,omitzero"` // zero: now
	Hold bool      `json:"hold,omitempty"`
}

// Limits of a job.
const (
	maxLocks    = 256
	maxArgBytes = 120 << 10 // of one argument or variable: the kernel's limit is 128 KiB
	maxAllBytes = 1 << 20   // of all of them: what any kernel takes
	maxStdin    = 3 << 20
	maxLabel    = 256
	maxTags     = 32
)

// Check returns an error of kind fault.Invalid if the job is not valid.
func (j *NewJob) Check(now time.Time) error {
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
			return invalid("env: %s: names that begin with ACTIVATION are reserved for the daemon", k)
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
		return invalid("tag: at most %d tags are possible", maxTags)
	case !j.Deadline.IsZero() && !j.Deadline.After(now):
		return invalid("deadline: %s is in the past", TimeText(j.Deadline))
	case !j.Deadline.IsZero() && !j.Deadline.After(j.At):
		return invalid("deadline: %s is not after the job's start", TimeText(j.Deadline))
	case !j.policy().atd && !j.At.IsZero() && j.At.Before(now.Add(-MissedAfter)):
		return invalid("%s is in the past; give a future time, or none to run at once", TimeText(j.At))
	case j.At.Year() > 2200:
		return invalid("%s is too far away: want a time before 2200", TimeText(j.At))
	}
	for _, tag := range j.Tags {
		if !ValidName(tag) {
			return invalid("tag: %q: want up to 64 letters, digits and ._@:+- that begin with a letter, a digit or _", tag)
		}
	}
	if j.policy().atd {
		if err := j.AtJob.check(); err != nil {
			return err
		}
	}
	return checkLocks(j.Locks)
}

// ValidName reports whether s can name a lock or a device.
func ValidName(s string) bool {
	if s == "" || len(s) > 64 || strings.Contains("._@:+-", s[:1]) && s[0] != '_' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._@:+-") == ""
}

// An Added is the answer to one [NewJob]: its id, or the reason why it was not added.
type Added struct {
	ID  string
	Due time.Time
	Err error
}

// Add adds the valid jobs, in one transaction if the store takes it. If the error is nil,
// the jobs that have an id are durable.
func (e *Engine) Add(ctx context.Context, by Actor, jobs []NewJob) ([]Added, error) {
	none := make([]Added, len(jobs))
	if ctx.Err() != nil || len(jobs) == 0 {
		return none, context.Cause(ctx)
	}
	ids := make([]string, len(jobs)) // of jobs that have one already
	for i := range jobs {
		var err error
		if ids[i], err = e.storeStdin(ctx, &jobs[i]); err != nil {
			return none, err
		}
	}
	return e.addTogether(ctx, by, jobs, ids)
}

// addJob adds a job, or says why it is not valid. An empty id means the next number. The
// error is the store's.
func (t *Txn) addJob(j *NewJob, id string) (Added, error) {
	if err := j.Check(t.Now); err != nil {
		return Added{Err: err}, nil //nolint:nilerr // the error is the job's, and the others are added
	}
	if err := t.checkAfter(j.After); err != nil {
		return Added{Err: err}, nil //nolint:nilerr // the error is the job's, and the others are added
	}
	if id := t.imported(j); id != "" {
		return Added{ID: id, Due: j.At}, nil
	}
	n := number(t, jobNumber)
	if id == "" {
		n++
		id = strconv.FormatUint(n, 10)
	}
	r := j.record(id, t.Now, t.Settings)
	if err := t.fits(r); err != nil {
		return Added{Err: err}, nil //nolint:nilerr // the error is the job's, and the others are added
	}
	t.happened(r, event.State, event.Event{Action: "add", Reason: r.Reason})
	if err := t.Save(nil, r); err != nil {
		return Added{}, err
	}
	if err := t.noteImport(r); err != nil {
		return Added{}, err
	}
	return Added{ID: r.ID, Due: r.Start}, putNumber(t, jobNumber, n)
}

// nudge wakes Run if a record was added that is due before Run wakes by itself, or so many
// that they must be claimed earlier because of each other. Most are not.
func (e *Engine) nudge(next time.Time, n int) {
	wake := time.Unix(0, e.wakeAt.Load())
	switch {
	case next.IsZero():
	case next.Before(wake), next.Before(wake.Add(maxLead)) && time.Duration(e.entered.Add(int64(n))*e.cost.Load()) > e.Settings().ArmAhead:
		e.poke()
	}
}

// sortedSet returns the sorted elements of s, without duplicates.
func sortedSet(s []string) []string {
	s = slices.Clone(s)
	slices.Sort(s)
	return slices.Compact(s)
}

func (j *NewJob) record(id string, now time.Time, set *Settings) *Record {
	at := j.At
	if at.IsZero() || at.Before(now) && !j.policy().atd {
		at = now
	}
	r := &Record{
		ID: id, Kind: Job, Start: at, Order: j.Order,
		Life: Life{State: Scheduled, Created: now, Since: now},
	}
	r.Locks, r.Tags = sortedSet(j.Locks), sortedSet(j.Tags)
	if r.Missed == "" {
		r.Missed = set.Jobs.Missed
	}
	if j.Hold {
		r.State, r.Reason = Held, "added on hold"
	}
	return r
}

// accepts reports whether a client's verb is valid for r now.
func (r *Record) accepts(on Trigger, m Moment) bool {
	f := r.facts(m)
	if on == Retry && r.State == Finished {
		if r.tooLate(m) {
			return false
		}
		f.serveAgain = !r.slotEnded(m)
	}
	_, ok := next(r.State, on, f)
	return ok
}

// Verbs are the words that [Filter.Verb] can be: what a client can do with an activation.
func Verbs() []string {
	words := []string{edit}
	for on := range pastTense {
		words = append(words, string(on))
	}
	slices.Sort(words)
	return words
}

// can reports whether by can carry out a verb on r now. It may not know everything that the verb
// looks at: an edit, for instance, can also be refused because of what is to be changed.
func (r *Record) can(by Actor, verb string, m Moment) bool {
	switch {
	case verb == "" || by.mayDo(r, Trigger(verb)) != nil || r.Kind == Service && verb != string(Forgive):
		return false
	case verb == edit:
		return !r.policy().announced && r.editable(m)
	}
	return r.accepts(Trigger(verb), m)
}

// Do applies an operator's trigger to an activation: Cancel, Hold, Release, RunNow, Retry
// or Forgive. It returns the record as it is then; consequences, such as the end of a
// run, come later. The error is fault.NotFound if there is no such activation,
// fault.Conflict if the trigger is not valid in its state, and fault.Denied if by may not
// touch it.
func (e *Engine) Do(ctx context.Context, by Actor, id string, on Trigger, why string) (*Record, error) {
	return e.DoIf(ctx, by, id, on, why, nil)
}

// DoIf is like [Engine.Do], but does nothing if ok, which gets the record, returns an error. It
// returns that error. A client that has chosen activations from a list uses it, because they may
// have changed since. Nil means no condition.
func (e *Engine) DoIf(ctx context.Context, by Actor, id string, on Trigger, why string, ok func(*Record) error) (*Record, error) {
	var r *Record
	err := e.UpdateBy(ctx, by, func(t *Txn) (err error) {
		if r, err = t.Record(id); err != nil {
			return err
		}
		if err := by.mayDo(r, on); err != nil {
			return err
		}
		if ok != nil {
			if err := ok(r); err != nil {
				return err
			}
		}
		if r.Kind == Service && on != Forgive {
			return fmt.Errorf("cannot %s: %s is an instance of a service; use atctl service start, stop or restart: %w", on, id, fault.Conflict)
		}
		if !r.accepts(on, t.Moment) {
			return t.refuse(r, on)
		}
		if p := t.pauseOf(r); on == RunNow && p != nil {
			return fmt.Errorf("cannot run: %s is concerned by %s; it can run after %s: %w", id, p, p.WayOut(), fault.Conflict)
		}
		old := r.clone()
		if on == Retry {
			if r.State == Finished {
				if err := t.stillFree(r); err != nil {
					return err
				}
				r.Comeback = serveAgain
			}
			if err := t.openLogins(by, r); err != nil {
				return err
			}
		}
		if why == "" {
			why = fmt.Sprintf("%s by %s", pastTense[on], by.Name)
		}
		if err := t.apply(r, on, why, string(on)); err != nil {
			return err
		}
		if on == Retry && r.State == Scheduled && !r.policy().ends && r.activateAt().After(t.Now) { // it has ended before its planned time
			if err := t.Apply(r, RunNow, why); err != nil {
				return err
			}
		}
		if on == RunNow && r.State == Activating { // the next attempt does not wait for the start time
			r.Recalled = why
		}
		if a := r.hangs(); a != nil && on == Forgive {
			a.Forgiven = why
		}
		t.Later(id)
		return t.Save(old, r)
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

var pastTense = map[Trigger]string{
	Cancel: "cancelled", Hold: "held", Release: "released", RunNow: "run now", Retry: "retried", Forgive: "forgiven",
}
