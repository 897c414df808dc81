package activation

import (
	"slices"
	"time"

	"activationd/calendar"
	"activationd/supervisor/wrapper"
)

// A Kind says what an activation is.
type Kind string

// The kinds.
const (
	Job         Kind = "job"
	Reservation Kind = "reservation"
	Service     Kind = "service" // one instance of a service
)

// The phases. A job has only the first. See also [Serve].
const (
	Activate   = "activate"
	Deactivate = "deactivate"
)

// Policies for an activation that was due while nothing could run.
const (
	MissedRun  = "run"
	MissedSkip = "skip"
)

// A Record is the stored state of one activation, except its topology, which has its own
// keys, and its output, which is in files.
type Record struct {
	V    int    `json:"v"`
	ID   string `json:"id"`
	Kind Kind   `json:"kind"`
	Life

	Start time.Time `json:"start"` // a slot's start, or when a job is due
	Slot
	Order
	From       string    `json:"recurrence,omitempty"` // the name under which a producer made it
	Occurrence time.Time `json:"occurrence,omitzero"`  // the time that it was made for; zero: none
	MailOf     string    `json:"mail_of,omitempty"`    // the run whose output this job mails
	StdinSize  int       `json:"stdin_size,omitempty"` // the size of a standard input that has its own keys; 0: it has none
	Serving    *Serving  `json:"serving,omitempty"`    // nil: it is no instance of a service
}

// A Slot is the part of a record that only a reservation has.
type Slot struct {
	End          time.Time     `json:"end,omitzero"`
	Lead         time.Duration `json:"lead,omitempty"`   // how long before Start it is activated
	Tail         time.Duration `json:"tail,omitempty"`   // how long before End it is deactivated
	Source       string        `json:"source,omitempty"` // the source that announces it; empty: none any more
	Hash         []byte        `json:"hash,omitempty"`   // the hash of the announcement
	Generation   uint64        `json:"gen,omitempty"`    // the number of the load that last changed it
	Devices      []string      `json:"devices,omitempty"`
	Linked       bool          `json:"linked,omitempty"`   // Devices are the nodes of a topology that linkconf attached
	TopologyName string        `json:"topology,omitempty"` // "inline", or the file's name
	// VLANs says how many VLANs it needs, by domain. Announced is a number that rises with
	// each announcement that wants more than the one before; 0: an earlier version took it.
	VLANs     map[string]int `json:"vlans,omitempty"`
	Announced uint64         `json:"announced,omitempty"`

	Booked *Booked `json:"booked,omitempty"` // nil: it was not booked at the daemon itself
}

// An Order is what a client requested with a job; it may change until the job begins. The
// order of a reservation is announced by its source. For nil fields the configuration's
// defaults apply.
type Order struct {
	Owner    string            `json:"owner,omitempty"`
	Label    string            `json:"label,omitempty"`
	User     *Identity         `json:"user,omitempty"` // nil: the daemon's own user
	Argv     []string          `json:"argv,omitempty"` // a job's command, or a reservation's own activate
	Undo     []string          `json:"undo,omitempty"` // a reservation's own deactivate
	Stdin    []byte            `json:"stdin,omitempty"`
	Dir      string            `json:"dir,omitempty"`
	Env      map[string]string `json:"env,omitempty"`
	Umask    *int              `json:"umask,omitempty"`
	Timeout  *time.Duration    `json:"timeout,omitempty"`
	Grace    *time.Duration    `json:"grace,omitempty"`
	Retries  *int              `json:"retries,omitempty"`
	Backoff  *time.Duration    `json:"backoff,omitempty"`  // the pause before the second attempt; it doubles
	Missed   string            `json:"missed,omitempty"`   // MissedRun, MissedSkip or empty
	Priority int               `json:"priority,omitempty"` // from -MaxPriority to MaxPriority; a higher one is ahead in queues
	Locks    []string          `json:"locks,omitempty"`    // NAME, NAME:shared or NAME=UNITS/CAPACITY
	After    []string          `json:"after,omitempty"`    // ID, ID:success, ID:failure or ID:any
	Deadline time.Time         `json:"deadline,omitzero"`  // a job that has not begun by then is missed, one that still runs is stopped; zero: none
	Tags     []string          `json:"tags,omitempty"`
	AtJob    *AtJob            `json:"at_job,omitempty"` // nil: it is no at job
	Script   string            `json:"script,omitempty"` // what lists show of a script: the name of its file, or its first line
	Raw      *rawWork          `json:"raw,omitempty"`    // only in a stored order: see rawWork
}

// A Life is the part of a record that changes while the activation lives.
type Life struct {
	State   State     `json:"state"`
	Outcome Outcome   `json:"outcome,omitempty"` // once finished
	Reason  string    `json:"reason,omitempty"`  // why it is in this state
	Created time.Time `json:"created"`
	Since   time.Time `json:"since"` // when it entered this state

	LocksHeld []string `json:"held,omitempty"`
	NeedsUndo bool     `json:"dirty,omitempty"` // an activate attempt ran, and no deactivation has been verified since
	ending
	Comeback comeback  `json:"-"`
	Urgency  Urgency   `json:"-"`
	HoldNext bool      `json:"pause,omitempty"`    // it was held while armed, and enters Held once its attempt has ended
	Stopped  bool      `json:"stopped,omitempty"`  // the open attempt was asked to stop
	Recalled string    `json:"recalled,omitempty"` // why the open attempt, which waits for its start time, is taken back; the activation is scheduled again
	Until    time.Time `json:"until,omitzero"`     // waiting: when that ends; finished: when it is removed
	retry
	queue
	// Conflicts are what it cannot have in its slot: it is marked as conflicting, since
	// ConflictSince.
	Conflicts     []calendar.Conflict `json:"conflicts,omitempty"`
	ConflictSince time.Time           `json:"conflict_since,omitzero"`
	Marks         marks               `json:"marks,omitzero"`
	Progress      *Progress           `json:"progress,omitempty"` // as the script last reported it
	LastN         [2]int              `json:"ns,omitzero"`        // numbers of the newest attempts of the phases
	Attempts      []Attempt           `json:"attempts,omitempty"`

	Acts        []Act `json:"acts,omitempty"`
	ActsDropped int   `json:"acts_dropped,omitempty"` // how many acts after the first were not kept
}

// marks counts the changes of the conflicts of a reservation.
type marks struct {
	N  int       `json:"n"`
	At time.Time `json:"t"` // when the last one was
}

// An ending is the end that an activation will have once its attempts have ended; zero:
// the one that follows from its attempts.
type ending struct {
	PendingOutcome Outcome `json:"ending,omitempty"`
	PendingReason  string  `json:"cause,omitempty"`
}

// A retry counts the failed attempts of a phase, and has the time of the next one.
type retry struct {
	Tries          int           `json:"tries,omitempty"`     // failed attempts of this phase, since the phase began
	UnprovenStarts int           `json:"voids,omitempty"`     // attempts of which nothing shows whether they ran; counted since the last that ran
	FailedStarts   int           `json:"no_starts,omitempty"` // attempts that could not be started, through no fault of the job; counted since the last that ran
	RetryAt        time.Time     `json:"retry_at,omitzero"`   // not before then
	RetryIn        time.Duration `json:"retry_in,omitempty"`  // the length of the pause that ends at RetryAt
}

// A queue is the place of a waiting activation in the queues.
type queue struct {
	Queued   uint64   `json:"line,omitempty"` // its number in the order of arrival; 0: not queued
	WaitsOn  waitKind `json:"-"`
	PausedBy string   `json:"paused_by,omitempty"` // the name in keys of the pause that it waits for
}

// A waitKind is the kind of thing that a waiting activation waits for. It is set together
// with the reason, which says the same in words.
type waitKind string

const (
	waitsOnRetry    waitKind = ""         // the next try, or the engine's next look
	waitsOnLocks    waitKind = "lock"     // or a device
	waitsOnSlot     waitKind = "slot"     // a free slot: all its locks are free
	waitsOnLoadAvg  waitKind = "load"     // a low load average: all its locks and a slot are free
	waitsOnEnd      waitKind = "job"      // the end of others: it is not queued for anything yet
	waitsOnStart    waitKind = "start"    // the next start of the daemon, which is being drained; queued as for a slot
	waitsOnClock    waitKind = "clock"    // a trusted clock; queued as for a slot
	waitsOnPause    waitKind = "pause"    // the end of a pause: it is not queued for anything
	waitsOnConflict waitKind = "conflict" // that it conflicts with nothing any more: it is not queued for anything
)

// queuedForSlot reports whether an activation that waits for k is queued for a slot.
func (k waitKind) queuedForSlot() bool {
	return k == waitsOnSlot || k == waitsOnStart || k == waitsOnClock
}

// A comeback says whether a reservation is served again after its deactivation.
type comeback int

const (
	ifAnnounced comeback = iota // if its source announces it with another slot, or again
	serveAgain                  // yes, while its slot lasts
	neverAgain                  // it was cancelled: its source cannot bring it back
)

// serveAgainIf lets a reservation be served again if wanted, unless it was cancelled.
func (l *Life) serveAgainIf(wanted bool) {
	if wanted && l.Comeback != neverAgain {
		l.Comeback = serveAgain
	}
}

// serveNoMore undoes serveAgainIf.
func (l *Life) serveNoMore() {
	if l.Comeback == serveAgain {
		l.Comeback = ifAnnounced
	}
}

// An Urgency says what an activation does not wait for.
type Urgency int

// The urgencies.
const (
	OnTime Urgency = iota
	Anyway         // it does not wait for Start, and is not missed
	AtOnce         // as Anyway, and it does not wait for a low load average either
)

// An Identity is the user as whom a run runs.
type Identity struct {
	UID    int    `json:"uid"`
	GID    int    `json:"gid"`
	Groups []int  `json:"groups,omitempty"` // supplementary
	Name   string `json:"name,omitempty"`
	Home   string `json:"home,omitempty"`
	Shell  string `json:"shell,omitempty"`
	// Limits are the limits of the process that submitted the job, where they are lower
	// than the daemon's own. The run gets no higher ones.
	Limits []wrapper.Limit `json:"limits,omitempty"`
	// NoNewPrivs is set if that process could not gain privileges by executing a program.
	// Then the run cannot either.
	NoNewPrivs bool `json:"no_new_privs,omitempty"`
	// AnyGroup is set if the administrator has chosen GID: the user need not be a member.
	AnyGroup bool `json:"any_group,omitempty"`
}

// An Attempt is one run of one phase.
type Attempt struct {
	Phase     string         `json:"phase"`
	N         int            `json:"n"`
	Claimed   time.Time      `json:"claimed"`
	NotBefore time.Time      `json:"not_before,omitzero"` // the time at which an armed attempt starts its script
	Result    wrapper.Result `json:"result,omitzero"`     // once it has ended
	Open      bool           `json:"open,omitempty"`      // its end is not known yet
	Begun     bool           `json:"begun,omitempty"`     // a service's: its process exists, or existed
	Passed    bool           `json:"passed,omitempty"`    // its check said that it is ready, before that was known
	Forgiven  string         `json:"forgiven,omitempty"`  // who forgave it although it hangs
	First     bool           `json:"first,omitempty"`     // there was nothing to undo before it
	Final     bool           `json:"final,omitempty"`     // its end finished the activation
	Past      bool           `json:"past,omitempty"`      // the activation was scheduled again after it
	Bytes     int64          `json:"bytes,omitempty"`     // size of its run directory, once it has ended
	Output    bool           `json:"output,omitempty"`    // it wrote output
	Host      string         `json:"host,omitempty"`      // where it runs; see Parts.Host
	Boot      string         `json:"boot,omitempty"`      // the boot of that host when it was claimed
	Fence     uint64         `json:"fence,omitempty"`     // the fencing number, greater than that of each earlier attempt
}

// keepAttempts bounds how many attempts a record keeps. Older ones are dropped, but not the
// one that says when the activation began.
const keepAttempts = 64

// openAttempt returns the attempt whose end is not recorded yet, or nil.
func (r *Record) openAttempt() *Attempt {
	if n := len(r.Attempts); n > 0 && r.Attempts[n-1].Open {
		return &r.Attempts[n-1]
	}
	return nil
}

// Hangs reports whether the attempt's script has ended, but not all of its processes.
// Then its end is not verified.
func (a *Attempt) Hangs() bool { return a.Open && len(a.Result.Hung) > 0 }

// hangs returns the open attempt if it hangs, or nil.
func (r *Record) hangs() *Attempt {
	if a := r.openAttempt(); a != nil && a.Hangs() {
		return a
	}
	return nil
}

// takesSlot reports whether r has an attempt that counts in Settings.MaxParallel.
func (r *Record) takesSlot() bool {
	a := r.openAttempt()
	return a != nil && a.Phase == Activate && !a.Hangs()
}

// began returns the index of the attempt with which the activation began, or -1 if it has
// not begun: the first one that started a script since the activation was last scheduled.
func (r *Record) began() int {
	first := -1
	for i, a := range slices.Backward(r.Attempts) {
		if a.Past {
			break
		}
		if a.Phase != Deactivate && !a.Result.Started.IsZero() {
			first = i
		}
		if a.First && r.policy().undoes { // earlier releases did not mark past attempts
			break
		}
	}
	return first
}

// Started is when the activation began to run, or the zero time if it has not begun since
// it was last scheduled.
func (r *Record) Started() time.Time {
	if i := r.began(); i >= 0 {
		return r.Attempts[i].Result.Started
	}
	return time.Time{}
}

// Ended is when the activation ended, or the zero time if it is not finished. It is not
// before Started, even if the clock was set back in between.
func (r *Record) Ended() time.Time {
	if r.State != Finished {
		return time.Time{}
	}
	end := r.Since
	if a := r.LastAttempt(""); a != nil && a.Final { // the daemon may have been down when it ended
		end = a.Result.Ended
	}
	if began := r.Started(); end.Before(began) {
		return began
	}
	return end
}

// LastAttempt returns the newest attempt of a phase since the activation was last
// scheduled, or nil if there is none. The empty phase means any.
func (r *Record) LastAttempt(phase string) *Attempt {
	for i := len(r.Attempts) - 1; i >= 0 && !r.Attempts[i].Past; i-- {
		if a := &r.Attempts[i]; phase == "" || phase == a.Phase {
			return a
		}
	}
	return nil
}

// Running reports whether an attempt is open: its script runs, or is about to.
func (r *Record) Running() bool { return r.openAttempt() != nil }

// activateAt is when the activate phase is due.
func (r *Record) activateAt() time.Time { return r.Start.Add(-r.Lead) }

// deactivateAt is when the deactivate phase is due: Tail before the end of the slot. For
// a job, which has none, it is the zero time.
func (r *Record) deactivateAt() time.Time {
	if !r.policy().ends {
		return time.Time{}
	}
	return r.End.Add(-r.Tail)
}

// slotEnded reports whether the slot has ended.
func (r *Record) slotEnded(m Moment) bool { return r.policy().ends && m.Come(r.deactivateAt()) }

// mayHaveRun reports whether a script of the activation ran, or may have run.
func (r *Record) mayHaveRun() bool {
	return slices.ContainsFunc(r.Attempts, func(a Attempt) bool { return !a.neverRan() })
}

// neverRan reports whether it is certain that an attempt's script did not run.
func (a *Attempt) neverRan() bool {
	switch a.Result.Reason {
	case wrapper.NotStarted, wrapper.Unborn, wrapper.Disarmed:
		return true
	}
	return false
}

// tooLate reports whether a job's deadline has passed.
func (r *Record) tooLate(m Moment) bool { return !r.Deadline.IsZero() && m.Come(r.Deadline) }

// mayBeOver reports whether the activation is over, or too late, unless the clock is
// wrong. While the clock is in doubt such an activation neither ends nor starts.
func (r *Record) mayBeOver(m Moment) bool {
	return m.PassedOver(r.Deadline) || m.PassedOver(r.deactivateAt())
}

// armed reports whether an attempt has been claimed ahead of its start.
func (r *Record) armed(now time.Time) bool {
	a := r.openAttempt()
	return a != nil && a.NotBefore.After(now)
}

// historyUntil is the time until which a finished activation is kept.
func (r *Record) historyUntil() time.Time {
	if known := r.knownUntil(); known.After(r.Until) {
		return known
	}
	return r.Until
}

// knownUntil is the time until which a finished activation must not be forgotten; zero: it may
// be at once. Until the end of the slot for which its source still announces it, the next load
// would take it for new. A booking counts for its owner's quota.
func (r *Record) knownUntil() time.Time {
	switch r.Source {
	case "":
		return time.Time{}
	case BookingSource:
		if p := r.BookedPart(); !p.To.IsZero() {
			return p.To.Add(bookingKept)
		}
		return time.Time{}
	}
	return r.deactivateAt()
}

func (r *Record) facts(m Moment) facts {
	return facts{
		serves:     r.policy().serves,
		slot:       r.policy().ends,
		needsUndo:  r.NeedsUndo,
		pendingEnd: r.PendingOutcome != "",
		serveAgain: r.Comeback == serveAgain && !r.slotEnded(m),
		armed:      r.armed(m.Now),
		pause:      r.HoldNext,
		hangs:      r.hangs() != nil,
		early:      r.recallable(m.Now),
	}
}

// clone returns a copy that later steps on r do not change.
func (r *Record) clone() *Record {
	c := *r
	c.LocksHeld = slices.Clone(r.LocksHeld)
	c.Attempts = slices.Clone(r.Attempts)
	if r.Serving != nil {
		c.Serving = new(*r.Serving)
	}
	return &c
}
