package activation

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"activationd/internal/fault"
	"activationd/supervisor/wrapper"
)

// A Kind tells an activation for a reservation from one for a job.
type Kind string

// The kinds.
const (
	Job         Kind = "job"
	Reservation Kind = "reservation"
)

// The phases. A job has only the first.
const (
	Activate   = "activate"
	Deactivate = "deactivate"
)

// Policies for an activation whose instant passed while nothing could run.
const (
	MissedRun  = "run"
	MissedSkip = "skip"
)

// recordVersion is the version of the encoding of records. A record of a newer
// one is refused: see [decode].
const recordVersion = 1

// A Record is all that is kept of one activation, but for its topology, which
// has keys of its own, and its output, which has files.
type Record struct {
	V       int       `json:"v"`
	ID      string    `json:"id"`
	Kind    Kind      `json:"kind"`
	Owner   string    `json:"owner,omitempty"`
	Label   string    `json:"label,omitempty"`
	State   State     `json:"state"`
	Outcome Outcome   `json:"outcome,omitempty"` // once finished
	Reason  string    `json:"reason,omitempty"`  // why it is in this state
	Created time.Time `json:"created"`
	Since   time.Time `json:"since"` // when it came into this state

	// What was asked for.
	Start        time.Time         `json:"start"`             // a slot's start, or when a job is due
	End          time.Time         `json:"end,omitzero"`      // a slot's end
	Lead         time.Duration     `json:"lead,omitempty"`    // activate so long before Start
	Tail         time.Duration     `json:"tail,omitempty"`    // deactivate so long before End
	Source       string            `json:"source,omitempty"`  // which announces it; none any more: empty
	Hash         []byte            `json:"hash,omitempty"`    // of what the source said
	Generation   uint64            `json:"gen,omitempty"`     // the load that changed it last
	Devices      []string          `json:"devices,omitempty"` // a reservation's
	Linked       bool              `json:"linked,omitempty"`  // Devices are those of a topology that linkconf attached
	Locks        []string          `json:"locks,omitempty"`   // a job's
	Argv         []string          `json:"argv,omitempty"`    // a job's command, or a reservation's own activate
	Undo         []string          `json:"undo,omitempty"`    // a reservation's own deactivate
	Stdin        []byte            `json:"stdin,omitempty"`
	Dir          string            `json:"dir,omitempty"`
	Env          map[string]string `json:"env,omitempty"`
	Umask        *int              `json:"umask,omitempty"`
	User         *Identity         `json:"user,omitempty"`
	Timeout      *time.Duration    `json:"timeout,omitempty"` // the rest: its own, else the configuration's
	Grace        *time.Duration    `json:"grace,omitempty"`
	Retries      *int              `json:"retries,omitempty"`
	Backoff      *time.Duration    `json:"backoff,omitempty"`
	Missed       string            `json:"missed,omitempty"`
	Priority     int               `json:"priority,omitempty"` // a job's, from -MaxPriority to MaxPriority
	After        []string          `json:"after,omitempty"`    // a job's: see parseAfter
	Deadline     time.Time         `json:"deadline,omitzero"`  // a job's: not later
	Raw          *rawWork          `json:"raw,omitempty"`      // of what is stored: see there
	Tags         []string          `json:"tags,omitempty"`
	TopologyName string            `json:"topology,omitempty"`   // "inline", or the file's name
	Recurrence   string            `json:"recurrence,omitempty"` // whose occurrence a job is
	Occurrence   time.Time         `json:"occurrence,omitzero"`  // which; none if it was run beside them
	AtJob        *AtJob            `json:"at_job,omitempty"`     // a job of at(1)'s
	MailOf       string            `json:"mail_of,omitempty"`    // it sends the output of that run

	// What has become of it.
	Held     []string      `json:"held,omitempty"`      // the locks that it holds
	Dirty    bool          `json:"dirty,omitempty"`     // an activate attempt ran, and no deactivation has been proved since
	Ending   Outcome       `json:"ending,omitempty"`    // how it shall end once its attempts have
	Cause    string        `json:"cause,omitempty"`     // why it is to end
	Renew    bool          `json:"renew,omitempty"`     // its slot is to be served again after the deactivation
	Pause    bool          `json:"pause,omitempty"`     // it was held while armed: to be held once its attempt has ended
	Quit     bool          `json:"quit,omitempty"`      // somebody cancelled it: its source cannot bring it back
	Late     bool          `json:"late,omitempty"`      // do not wait for Start, and do not ask whether it was missed
	Tries    int           `json:"tries,omitempty"`     // failed attempts of this phase, this time round
	Voids    int           `json:"voids,omitempty"`     // attempts, since the last that ran, of which nothing shows whether they ran
	NoStarts int           `json:"no_starts,omitempty"` // attempts, since the last that ran, that could not be started for no fault of theirs
	RetryAt  time.Time     `json:"retry_at,omitzero"`   // not before then
	RetryIn  time.Duration `json:"retry_in,omitempty"`  // how long before RetryAt that was said
	Until    time.Time     `json:"until,omitzero"`      // waiting: may do so until; finished: is kept until
	Line     uint64        `json:"line,omitempty"`      // its place among those who wait; 0: not in line
	ForSlot  bool          `json:"for_slot,omitempty"`  // in line for a free slot; all its locks are free
	Awaits   bool          `json:"awaits,omitempty"`    // waiting for the end of others, and in no line yet
	ForLoad  bool          `json:"for_load,omitempty"`  // in line for a low load average; all else is free
	Forced   bool          `json:"forced,omitempty"`    // somebody wants it now, whatever the load average is
	Stopped  bool          `json:"stopped,omitempty"`   // the open attempt was asked to stop
	Progress *Progress     `json:"progress,omitempty"`  // as the script told it last
	Ns       [2]int        `json:"ns,omitzero"`         // numbers of the newest attempts of the phases
	Attempts []Attempt     `json:"attempts,omitempty"`
}

// An Identity is the user as whom a run runs.
type Identity struct {
	UID    int    `json:"uid"`
	GID    int    `json:"gid"`
	Groups []int  `json:"groups,omitempty"` // supplementary
	Name   string `json:"name,omitempty"`
	Home   string `json:"home,omitempty"`
	Shell  string `json:"shell,omitempty"`

	// Limits are those of the process that submitted, where they are lower than the
	// daemon's own. What runs gets no higher ones.
	Limits []wrapper.Limit `json:"limits,omitempty"`
	// NoNewPrivs is whether that process could not gain privileges by what it executed.
	// Nor can what runs.
	NoNewPrivs bool `json:"no_new_privs,omitempty"`
}

// An Attempt is one run of one phase.
type Attempt struct {
	Phase     string         `json:"phase"`
	N         int            `json:"n"`
	Claimed   time.Time      `json:"claimed"`
	NotBefore time.Time      `json:"not_before,omitzero"` // armed: its script begins then
	Result    wrapper.Result `json:"result,omitzero"`     // once it has ended
	Open      bool           `json:"open,omitempty"`      // its end is not known yet
	Forgiven  string         `json:"forgiven,omitempty"`  // by whom, although it hangs
	First     bool           `json:"first,omitempty"`     // before it there was nothing to undo
	Bytes     int64          `json:"bytes,omitempty"`     // of its evidence, once it has ended
}

// A Progress is how far a script says that it has come.
type Progress struct {
	Percent int       `json:"percent"` // 0 to 100; -1: it does not say
	Text    string    `json:"text,omitempty"`
	At      time.Time `json:"at"`
}

// keepAttempts bounds how many attempts a record keeps; older ones are dropped.
const keepAttempts = 64

// open returns the attempt whose end is not known yet, or nil.
func (r *Record) open() *Attempt {
	if n := len(r.Attempts); n > 0 && r.Attempts[n-1].Open {
		return &r.Attempts[n-1]
	}
	return nil
}

// Hangs reports whether the attempt's script has ended, but not all of its
// processes: its end is not verified.
func (a *Attempt) Hangs() bool { return a.Open && len(a.Result.Hung) > 0 }

// hangs returns the open attempt if it hangs, or nil.
func (r *Record) hangs() *Attempt {
	if a := r.open(); a != nil && a.Hangs() {
		return a
	}
	return nil
}

// Running reports whether an attempt is open: its script runs, or is about to.
func (r *Record) Running() bool { return r.open() != nil }

// slot reports whether the activation has an end of its own: a reservation.
func (r *Record) slot() bool { return r.Kind == Reservation }

// activateAt is when the activate phase is due.
func (r *Record) activateAt() time.Time { return r.Start.Add(-r.Lead) }

// deactivateAt is when the deactivate phase is due: the end of the slot, less
// the tail. A job has none: the zero time.
func (r *Record) deactivateAt() time.Time {
	if !r.slot() {
		return time.Time{}
	}
	return r.End.Add(-r.Tail)
}

// over reports whether the slot has ended.
func (r *Record) over(m moment) bool { return r.slot() && m.come(r.deactivateAt()) }

// mayHaveRun reports whether a script of its ran, or may have.
func (r *Record) mayHaveRun() bool {
	return slices.ContainsFunc(r.Attempts, func(a Attempt) bool {
		switch a.Result.Reason {
		case wrapper.NotStarted, wrapper.Unborn, wrapper.Disarmed:
			return false
		}
		return true
	})
}

// tooLate reports whether a job's deadline has passed.
func (r *Record) tooLate(m moment) bool { return !r.Deadline.IsZero() && m.come(r.Deadline) }

// mayBeOver reports whether the activation is over, or too late, if the clock is
// right, which is in doubt: it does not end, and does not start either.
func (r *Record) mayBeOver(m moment) bool {
	return m.passedOver(r.Deadline) || m.passedOver(r.deactivateAt())
}

// armed reports whether an attempt has been claimed ahead of its instant.
func (r *Record) armed(now time.Time) bool {
	a := r.open()
	return a != nil && a.NotBefore.After(now)
}

// keptUntil is until when a finished activation is kept: as long as its source
// announces it for a slot that is not over, or it would be taken for a new one.
func (r *Record) keptUntil() time.Time {
	if end := r.deactivateAt(); r.Source != "" && end.After(r.Until) {
		return end
	}
	return r.Until
}

func (r *Record) facts(m moment) facts {
	return facts{
		slot:  r.slot(),
		dirty: r.Dirty,
		ended: r.Ending != "",
		fresh: r.Renew && !r.over(m),
		armed: r.armed(m.now),
		pause: r.Pause,
		hangs: r.hangs() != nil,
	}
}

// clone returns a copy that the steps of a turn do not change.
func (r *Record) clone() *Record {
	c := *r
	c.Held = slices.Clone(r.Held)
	c.Attempts = slices.Clone(r.Attempts)
	return &c
}

func (r *Record) encode() ([]byte, error) {
	r.V = recordVersion
	stored := *r
	stored.Raw = rawOf(r.Argv, r.Undo, r.Dir, r.Env)
	return json.Marshal(&stored)
}

// stateIn finds the state in a record without reading the rest, for a list that passes
// over a month of finished ones. No text that stands before it can look like it, as
// the quotes in a text are escaped.
func stateIn(data []byte) State {
	_, rest, _ := bytes.Cut(data, []byte(`"state":"`))
	state, _, _ := bytes.Cut(rest, []byte(`"`))
	return State(state)
}

func decode(id string, data []byte) (*Record, error) {
	if data == nil {
		return nil, fmt.Errorf("there is no activation %s: %w", id, fault.NotFound)
	}
	r := new(Record)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("record of %s: %w", id, err)
	}
	if raw := r.Raw; raw != nil {
		r.Argv, r.Undo, r.Dir, r.Env, r.Raw = raw.argv(), unraw(raw.Undo), string(raw.Dir), raw.env(), nil
	}
	if r.V > recordVersion {
		return nil, fmt.Errorf("the record of %s has version %d, this program knows %d: %w", id, r.V, recordVersion, fault.Conflict)
	}
	return r, nil
}
