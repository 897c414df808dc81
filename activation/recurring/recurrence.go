package recurring

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"activationd/activation"
	"activationd/event"
	"activationd/internal/fault"
	"activationd/schedule"
)

// What happens to an occurrence while an earlier one has not ended.
const (
	OverlapSkip     = "skip"     // it is skipped
	OverlapQueue    = "queue"    // it waits for the earlier one
	OverlapParallel = "parallel" // both run at once
	OverlapReplace  = "replace"  // the earlier one is cancelled
)

// A Rule says what runs again and again, and when. Exactly one of Cron, Calendar and
// Every is set.
type Rule struct {
	Name     string            `json:"name"`
	Cron     string            `json:"cron,omitempty"`
	Calendar string            `json:"calendar,omitempty"`
	Every    time.Duration     `json:"every,omitempty"`
	Zone     string            `json:"zone,omitempty"`     // the time zone of Cron and Calendar; empty: the daemon's
	Overlap  string            `json:"overlap"`            // empty in a request: skip
	Jitter   time.Duration     `json:"jitter,omitempty"`   // bounds the delay of each occurrence, which is the same each time it is computed
	CatchUp  int               `json:"catch_up,omitempty"` // how many of the newest missed occurrences run late; 0 to MaxCatchUp
	Start    time.Time         `json:"start,omitzero"`     // there are no occurrences before; zero: no limit
	End      time.Time         `json:"end,omitzero"`       // there are no occurrences then or later; zero: no limit
	Job      activation.NewJob `json:"job"`                // what runs; its At, After, Deadline and Hold are not used
}

// MaxCatchUp bounds the number of missed occurrences that a rule lets run late.
const MaxCatchUp = 1000

// Other bounds of a rule.
const (
	maxJitter = 7 * 24 * time.Hour
	// maxMembers bounds the unfinished activations of one recurrence.
	maxMembers = 1000
	// maxExpression bounds an expression, in bytes. It is parsed and stored at each
	// occurrence.
	maxExpression = 4096
)

// Check fills in defaults, and returns an error of kind fault.Invalid, with all that is wrong,
// if the rule is not valid.
func (r *Rule) Check(now time.Time) error {
	if r.Overlap == "" {
		r.Overlap = OverlapSkip
	}
	var errs []error
	need := func(sound bool, format string, args ...any) {
		if !sound {
			errs = append(errs, fmt.Errorf(format+": %w", append(args, fault.Invalid)...))
		}
	}
	need(activation.ValidName(r.Name), "name: %q is not a name: want up to 64 letters, digits and ._@:+- that begin with a letter, a digit or _", r.Name)
	need(slices.Contains([]string{OverlapSkip, OverlapQueue, OverlapParallel, OverlapReplace}, r.Overlap),
		"overlap: want skip, queue, parallel or replace, have %q", r.Overlap)
	need(r.Jitter >= 0 && r.Jitter <= maxJitter, "jitter: want a duration of at most 7 days, have %v", r.Jitter)
	need(r.CatchUp >= 0 && r.CatchUp <= MaxCatchUp, "catch-up: want none, last, or all up to %d, have %d", MaxCatchUp, r.CatchUp)
	need(r.End.IsZero() || r.End.After(r.Start) && r.End.After(now), "end: %s is past, or not after the start", activation.TimeText(r.End))
	need(r.Job.At.IsZero() && !r.Job.Hold && len(r.Job.After) == 0 && r.Job.Deadline.IsZero(),
		"a time, a deadline, other jobs to come after and a hold are for single jobs, not for recurrences")
	_, err := r.times(now)
	need(err == nil, "%w", err)
	return errors.Join(append(errs, r.Job.Check(now))...)
}

// times returns the times of the rule, without its start and end. An Every counts from
// its start, or else from the anchor.
func (r *Rule) times(anchor time.Time) (schedule.Recurrence, error) {
	n := 0
	for _, given := range []bool{r.Cron != "", r.Calendar != "", r.Every != 0} {
		if given {
			n++
		}
	}
	if n != 1 {
		return nil, fmt.Errorf("when: want one of cron, calendar and every")
	}
	if n = len(r.Cron) + len(r.Calendar); n > maxExpression {
		return nil, fmt.Errorf("when: want an expression of at most %d bytes, have %d", maxExpression, n)
	}
	loc, err := schedule.LoadZone(r.Zone)
	if err != nil {
		return nil, fmt.Errorf("time zone: %w", err)
	}
	switch {
	case r.Cron != "":
		s, err := schedule.ParseCron(r.Cron, loc)
		if err != nil {
			return nil, fmt.Errorf("cron: %w", err)
		}
		return s, nil
	case r.Calendar != "":
		s, err := schedule.ParseCalendar(r.Calendar, loc)
		if err != nil {
			return nil, fmt.Errorf("calendar: %w", err)
		}
		return s, nil
	case r.Every < time.Second:
		return nil, fmt.Errorf("every: want a second or more, have %v", r.Every)
	case !r.Start.IsZero():
		anchor = r.Start
	}
	return schedule.Every{Anchor: anchor, Interval: r.Every}, nil
}

// When describes the times of the rule, as they were given.
func (r *Rule) When() string {
	zone := ""
	if r.Zone != "" {
		zone = " (" + r.Zone + ")"
	}
	switch {
	case r.Cron != "":
		return "cron " + r.Cron + zone
	case r.Calendar != "":
		return "calendar " + r.Calendar + zone
	}
	return "every " + r.Every.String()
}

// An Upcoming is a future occurrence. It is due later than its time by the jitter.
type Upcoming struct{ Occurrence, Due time.Time }

// Upcoming returns the first occurrences after a time, at most n, of a valid rule. An
// Every without a start counts from the anchor.
func (r *Rule) Upcoming(after, anchor time.Time, n int) ([]Upcoming, error) {
	s, err := r.times(anchor)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, fault.Invalid)
	}
	var all []Upcoming
	for at := r.next(s, after); !at.IsZero() && len(all) < n; at = r.next(s, at) {
		all = append(all, Upcoming{at, r.due(s, at)})
	}
	return all, nil
}

// next returns the first occurrence after a time, or the zero time.
func (r *Rule) next(s schedule.Recurrence, after time.Time) time.Time {
	if !r.Start.IsZero() && after.Before(r.Start) {
		after = r.Start.Add(-1)
	}
	at := s.Next(after)
	if !r.End.IsZero() && !at.Before(r.End) {
		return time.Time{}
	}
	return at
}

// resume returns the first occurrence after the newest decided local time. That time may
// have been computed by earlier rules of the zone.
func (r *Rule) resume(s schedule.Recurrence, done time.Time) time.Time {
	if !r.Start.IsZero() && done.Before(r.Start) {
		return r.next(s, done)
	}
	at := schedule.Resume(s, done)
	if !r.End.IsZero() && !at.Before(r.End) {
		return time.Time{}
	}
	return at
}

// due returns when an occurrence is due. The jitter depends on the name and the time
// only, and never moves an occurrence behind the next one.
func (r *Rule) due(s schedule.Recurrence, at time.Time) time.Time {
	most := r.Jitter
	if most <= 0 || at.IsZero() {
		return at
	}
	if next := s.Next(at); !next.IsZero() {
		most = min(most, next.Sub(at))
	}
	sum := sha256.Sum256([]byte(r.Name + "\n" + at.UTC().Format(time.RFC3339Nano)))
	return at.Add(time.Duration(binary.BigEndian.Uint64(sum[:8]) % uint64(most)))
}

// A Recurrence is a rule in force, and how far it has come.
type Recurrence struct {
	V int `json:"v"`
	Rule
	Owner      string    `json:"owner"`
	Declared   bool      `json:"declared,omitempty"` // it is declared in the configuration
	Created    time.Time `json:"created"`
	Changes    uint64    `json:"changes,omitempty"` // how often a client or the configuration has changed it
	HoldReason string    `json:"held,omitempty"`    // why it is held; empty: it is not
	HeldAt     time.Time `json:"held_at,omitzero"`
	Next       time.Time `json:"next,omitzero"` // the first occurrence that is not decided yet
	Due        time.Time `json:"due,omitzero"`  // when Next is due
	Last       time.Time `json:"last,omitzero"` // the newest occurrence that is decided
	// All local times of the rule up to Done are decided. Done keeps its UTC offset,
	// because the zone's rules may have changed since. See rezone.
	Done time.Time `json:"done,omitzero"`
	// Boot is the boot of the host for which it last occurred at the machine's start.
	Boot string `json:"boot,omitempty"`

	// Passed and PassedTo are set while a clock in doubt has passed over occurrences.
	// Those from Passed on that are due before PassedTo are not decided. Next is after
	// them.
	Passed   time.Time `json:"passed,omitzero"`
	PassedTo time.Time `json:"passed_to,omitzero"`
	// Come is how far it had come when it was scheduled again because the clock was set
	// back. It continues from there if the clock gets there again.
	Come time.Time `json:"come,omitzero"`
}

// A Tally counts a recurrence's occurrences.
type Tally struct {
	Begun    uint64                        `json:"begun"`   // the number that became activations
	Skipped  uint64                        `json:"skipped"` // the number that was skipped; a lower bound if More
	More     bool                          `json:"more,omitempty"`
	Outcomes map[activation.Outcome]uint64 `json:"outcomes,omitempty"` // the number of finished activations, by outcome

	// The newest occurrence that became an activation, and the newest activation that
	// finished.
	LastID      string             `json:"last,omitempty"`
	EndedID     string             `json:"ended,omitempty"`
	LastOutcome activation.Outcome `json:"last_outcome,omitempty"`
	LastEnd     time.Time          `json:"last_end,omitzero"`

	// The records of skipped occurrences.
	Spans int       `json:"spans,omitempty"` // how many there are
	Span  time.Time `json:"span,omitzero"`   // the beginning of the newest one, while it may still grow
}

// A Skip is the record of successive occurrences, from From to To, that were skipped for
// one reason.
type Skip struct {
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	Count  uint64    `json:"count"`
	More   bool      `json:"more,omitempty"` // Count is a lower bound
	Reason string    `json:"reason"`
}

// maxSpans bounds the records of skipped occurrences of a recurrence.
const maxSpans = 10_000

// Keys:
//
//	e/NAME           the recurrence
//	y/NAME           its tally
//	k/NAME/INSTANT   a Skip, by its first occurrence
//
// In the index of instants it has the id =NAME.
const (
	recurrenceKey = "e/"
	tallyKey      = "y/"
	skipKey       = "k/"
)

// version is the version of stored recurrences. Later programs may write greater ones.
const version = 1

// entered is the time at which r is in the index of instants; zero: it is not.
func (r *Recurrence) entered() time.Time {
	if r.HoldReason != "" {
		return time.Time{}
	}
	return r.Due
}

// Version returns a text that changes with each change by a client or the configuration, and is never
// the same again. Occurrences do not change it.
func (r *Recurrence) Version() (string, error) {
	data, err := json.Marshal(&Recurrence{
		Rule: r.Rule, Owner: r.Owner, Declared: r.Declared, Created: r.Created, Changes: r.Changes, HoldReason: r.HoldReason, HeldAt: r.HeldAt,
	})
	if err != nil {
		return "", fmt.Errorf("recurrence %s: %w", r.Name, err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8]), nil
}

func decode(name string, data []byte) (*Recurrence, error) {
	if data == nil {
		return nil, fmt.Errorf("there is no recurrence %s: %w", name, fault.NotFound)
	}
	r := new(Recurrence)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("recurrence %s: %w", name, err)
	}
	if r.V > version {
		return nil, fmt.Errorf("the recurrence %s has version %d, this program knows %d: %w", name, r.V, version, fault.Conflict)
	}
	return r, nil
}

func get(t *activation.Txn, name string) (*Recurrence, error) {
	return decode(name, t.Get(recurrenceKey+name))
}

// save writes r and its index entries; old is nil if it is new.
func save(t *activation.Txn, old, r *Recurrence) error {
	r.V = version
	if err := putJSON(t, recurrenceKey+r.Name, r); err != nil {
		return err
	}
	var was time.Time
	if old != nil {
		was = old.entered()
	}
	return t.Enter(r.Name, was, r.entered())
}

func putJSON(t *activation.Txn, key string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return t.Put(key, data)
}

// tallyOf reads a recurrence's tally. If it cannot be read, the counts begin at zero
// again.
func tallyOf(t *activation.Txn, name string) Tally {
	y := Tally{}
	if data := t.Get(tallyKey + name); data != nil {
		if err := json.Unmarshal(data, &y); err != nil {
			t.Log(slog.LevelError, "the tally of a recurrence cannot be read", "name", name, "err", err)
		}
	}
	if y.Outcomes == nil {
		y.Outcomes = make(map[activation.Outcome]uint64)
	}
	return y
}

// tallyEnd counts the end of a recurrence's activation, or undoes that when the
// activation is tried again. R is its record now, old its record before.
func tallyEnd(t *activation.Txn, old, r *activation.Record) error {
	before, after := activation.Outcome(""), r.Outcome
	if old != nil {
		before = old.Outcome
	}
	if t.Get(recurrenceKey+r.From) == nil {
		return nil
	}
	y := tallyOf(t, r.From)
	if before != "" && y.Outcomes[before] > 0 {
		y.Outcomes[before]--
	}
	if after != "" {
		y.Outcomes[after]++
		y.EndedID, y.LastOutcome, y.LastEnd = r.ID, after, t.Now
	}
	return putJSON(t, tallyKey+r.From, y)
}

// happened makes an event about r: added, changed, held, released, skipped or removed.
// An empty action means that nobody requested it.
func (r *Recurrence) happened(what, action, reason string) event.Event {
	return event.Event{
		Topic: event.Topic("recurrence", r.Name, what), What: "recurrence." + what, ID: r.Name, Owner: r.Owner,
		Action: action, Reason: reason,
	}
}
