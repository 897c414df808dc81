package activation

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"activationd/internal/fault"
	"activationd/schedule"
)

// What becomes of an occurrence while one before it has not ended.
const (
	OverlapSkip     = "skip"     // it is left out
	OverlapQueue    = "queue"    // it waits for the one before
	OverlapParallel = "parallel" // it runs beside it
	OverlapReplace  = "replace"  // the one before is cancelled
)

// A Rule says what recurs and when. Of Cron, Calendar and Every one is set.
type Rule struct {
	Name     string        `json:"name"`
	Cron     string        `json:"cron,omitempty"`
	Calendar string        `json:"calendar,omitempty"`
	Every    time.Duration `json:"every,omitempty"`
	Zone     string        `json:"zone,omitempty"`     // of Cron and Calendar; empty: the daemon's
	Overlap  string        `json:"overlap"`            // empty in a request: skip
	Jitter   time.Duration `json:"jitter,omitempty"`   // each occurrence is late by less than this, and always by the same
	CatchUp  int           `json:"catch_up,omitempty"` // so many of the newest that were missed run late; at most MaxCatchUp
	Start    time.Time     `json:"start,omitzero"`     // none occurs before
	End      time.Time     `json:"end,omitzero"`       // none occurs then, or later
	Job      NewJob        `json:"job"`                // what runs; its At, After, Deadline and Hold are not used
}

// MaxCatchUp is how many missed occurrences a rule may have run late.
const MaxCatchUp = 1000

// Other bounds of a rule.
const (
	maxJitter = 7 * 24 * time.Hour
	// maxMembers is how many activations of one recurrence may be unfinished.
	maxMembers = 1000
	// maxExpression is of bytes. It is parsed and written again with each occurrence.
	maxExpression = 4096
)

// Check settles what the rule leaves open, and returns what is wrong with it,
// of kind fault.Invalid.
func (r *Rule) Check(now time.Time) error {
	invalid := func(format string, args ...any) error {
		return fmt.Errorf(format+": %w", append(args, fault.Invalid)...)
	}
	if r.Overlap == "" {
		r.Overlap = OverlapSkip
	}
	switch {
	case !validName(r.Name):
		return invalid("name: %q is not a name: want up to 64 letters, digits and ._@:+- that begin with a letter, a digit or _", r.Name)
	case r.Overlap != OverlapSkip && r.Overlap != OverlapQueue && r.Overlap != OverlapParallel && r.Overlap != OverlapReplace:
		return invalid("overlap: want skip, queue, parallel or replace, have %q", r.Overlap)
	case r.Jitter < 0 || r.Jitter > maxJitter:
		return invalid("jitter: want a duration of at most 7 days, have %v", r.Jitter)
	case r.CatchUp < 0 || r.CatchUp > MaxCatchUp:
		return invalid("catch-up: want none, last, or all up to %d, have %d", MaxCatchUp, r.CatchUp)
	case !r.End.IsZero() && (!r.End.After(r.Start) || !r.End.After(now)):
		return invalid("end: %s is past, or not after the start", stamp(r.End))
	case !r.Job.At.IsZero() || r.Job.Hold || len(r.Job.After) > 0 || !r.Job.Deadline.IsZero():
		return invalid("a time, a deadline, other jobs to come after and a hold are for one job, not for what recurs")
	}
	if _, err := r.times(now); err != nil {
		return invalid("%w", err)
	}
	return r.Job.check(now)
}

// times returns when the rule has something occur, but for its start and end.
// An Every has its anchor at its start, or else where the caller says.
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

// When tells the rule's times in words, as they were given.
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

// A Coming is an occurrence, and when it is due: later than it by the jitter.
type Coming struct{ Occurrence, Due time.Time }

// Coming returns the first occurrences after an instant, at most n, of a rule
// that is sound. An interval without a start counts from the anchor.
func (r *Rule) Coming(after, anchor time.Time, n int) ([]Coming, error) {
	s, err := r.times(anchor)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, fault.Invalid)
	}
	var all []Coming
	for at := r.next(s, after); !at.IsZero() && len(all) < n; at = r.next(s, at) {
		all = append(all, Coming{at, r.due(s, at)})
	}
	return all, nil
}

// next returns the first occurrence after an instant, or the zero time.
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

// resume is next after what was done, perhaps by other rules of the zone.
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

// due returns when an occurrence is due: by its name and instant always the
// same, and never so late that the one after it comes first.
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

// A Recurrence is a rule that is in force, and how far it has come.
type Recurrence struct {
	V int `json:"v"`
	Rule
	Owner    string    `json:"owner"`
	Declared bool      `json:"declared,omitempty"` // in the configuration
	Created  time.Time `json:"created"`
	Held     string    `json:"held,omitempty"` // why nothing of it occurs; empty: it does
	HeldAt   time.Time `json:"held_at,omitzero"`
	Next     time.Time `json:"next,omitzero"` // the first occurrence that nothing has become of yet
	Due      time.Time `json:"due,omitzero"`  // when that is due
	Last     time.Time `json:"last,omitzero"` // the newest that something has become of
	// Done is up to when something has become of all local times of the rule, by the
	// offset that it has itself: the rules of the zone may be others since. See rezone.
	Done time.Time `json:"done,omitzero"`

	// Passed and PassedTo are set while the clock is in doubt that passed over
	// occurrences: it is not decided what becomes of those from the one on that are
	// due before the other. Next is after them.
	Passed   time.Time `json:"passed,omitzero"`
	PassedTo time.Time `json:"passed_to,omitzero"`
	// Come is how far it had come when it was reckoned anew because the clock was
	// set back: it goes on from there if the clock comes there, too.
	Come time.Time `json:"come,omitzero"`
}

// A Tally is what has become of a recurrence's occurrences.
type Tally struct {
	Begun    uint64             `json:"begun"`   // became activations
	Skipped  uint64             `json:"skipped"` // became nothing; at least so many if More
	More     bool               `json:"more,omitempty"`
	Outcomes map[Outcome]uint64 `json:"outcomes,omitempty"` // of those that have finished

	// The newest that became an activation, and the newest that finished.
	LastID      string    `json:"last,omitempty"`
	EndedID     string    `json:"ended,omitempty"`
	LastOutcome Outcome   `json:"last_outcome,omitempty"`
	LastEnd     time.Time `json:"last_end,omitzero"`

	// The records of what was skipped.
	Spans int       `json:"spans,omitempty"` // how many there are
	Span  time.Time `json:"span,omitzero"`   // the newest one's beginning, while it may be continued
}

// A Skip is the record of occurrences of which nothing became, one after the
// other and for one reason: all from From to To.
type Skip struct {
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	Count  uint64    `json:"count"`
	More   bool      `json:"more,omitempty"` // they were too many to be counted
	Reason string    `json:"reason"`
}

// maxSpans is how many records of skipped occurrences are kept of a recurrence.
const maxSpans = 10_000

// Keys, in the manner of keys.go:
//
//	e/NAME           the recurrence
//	y/NAME           its tally
//	m/NAME/ID        its activations that are not finished
//	k/NAME/INSTANT   what was skipped, by the first occurrence
//
// In the index of instants it has the id =NAME.
const (
	recurrenceKey  = "e/"
	tallyKey       = "y/"
	memberKey      = "m/"
	skipKey        = "k/"
	recurrenceMark = "="
)

// recurrenceLock is held by what runs of a recurrence whose activations do not
// run side by side.
func recurrenceLock(name string) string { return recurrenceLocks + name }

// recurrenceLocks begins the names of locks that nobody else can ask for.
const recurrenceLocks = "every."

func (r *Recurrence) index() []entry {
	if r.Held != "" || r.Due.IsZero() {
		return nil
	}
	return []entry{{startKey + instant(r.Due) + "/" + recurrenceMark + r.Name, []byte{}}}
}

func decodeRecurrence(name string, data []byte) (*Recurrence, error) {
	if data == nil {
		return nil, fmt.Errorf("there is no recurrence %s: %w", name, fault.NotFound)
	}
	r := new(Recurrence)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("recurrence %s: %w", name, err)
	}
	if r.V > recordVersion {
		return nil, fmt.Errorf("the recurrence %s has version %d, this program knows %d: %w", name, r.V, recordVersion, fault.Conflict)
	}
	return r, nil
}

func (t *txn) recurrence(name string) (*Recurrence, error) {
	return decodeRecurrence(name, t.Get(recurrenceKey+name))
}

// saveRecurrence writes r and its index entries; old is nil if it is new.
func (t *txn) saveRecurrence(old, r *Recurrence) error {
	r.V = recordVersion
	if err := t.putJSON(recurrenceKey+r.Name, r); err != nil {
		return err
	}
	var was []entry
	if old != nil {
		was = old.index()
	}
	return t.reindex(was, r.index())
}

func (t *txn) putJSON(key string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return t.Put(key, data)
}

// tallyOf reads a recurrence's tally. One that cannot be read begins anew.
func (t *txn) tallyOf(name string) Tally {
	y := Tally{}
	if data := t.Get(tallyKey + name); data != nil {
		if err := json.Unmarshal(data, &y); err != nil {
			t.log.Error("the tally of a recurrence cannot be read", "name", name, "err", err)
		}
	}
	if y.Outcomes == nil {
		y.Outcomes = make(map[Outcome]uint64)
	}
	return y
}

// tallyEnd counts the end of a recurrence's activation, which r is now and old
// was before, and the end's undoing when it is tried again.
func (t *txn) tallyEnd(old, r *Record) error {
	before, after := Outcome(""), r.Outcome
	if old != nil {
		before = old.Outcome
	}
	if before == after || t.Get(recurrenceKey+r.Recurrence) == nil {
		return nil
	}
	y := t.tallyOf(r.Recurrence)
	if before != "" && y.Outcomes[before] > 0 {
		y.Outcomes[before]--
	}
	if after != "" {
		y.Outcomes[after]++
		y.EndedID, y.LastOutcome, y.LastEnd = r.ID, after, t.now
	}
	return t.putJSON(tallyKey+r.Recurrence, y)
}

// members lists the ids of a recurrence's activations that are not finished,
// the oldest first, and no more than maxMembers.
func (t *txn) members(name string) (ids []string) {
	prefix := memberKey + name + "/"
	for k := range t.Scan(prefix, "") {
		ids = append(ids, strings.TrimLeft(strings.TrimPrefix(k, prefix), "0"))
		if len(ids) == maxMembers {
			break
		}
	}
	return ids
}

// member is the key of an activation among its recurrence's.
func member(name, id string) string {
	return memberKey + name + "/" + strings.TrimPrefix(key(id), recordKey)
}
