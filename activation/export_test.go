package activation

import (
	"context"
	"encoding/json"

	"activationd/event"
	"activationd/store"
)

// The parts of this package that the tests of package activation_test use. Some of those
// tests need a whole daemon with its producers.

const (
	AskKernel     = askKernel
	Patience      = patience
	RetryPause    = retryPause
	MinHistoryAge = minHistoryAge
	KeepAttempts  = keepAttempts
	KeepActs      = keepActs
	MostTags      = mostTags
	PageSize      = pageSize
	PagePast      = pagePast
	RecordVersion = recordVersion
	WaitsFor      = waitsFor
	TrustedClock  = trustedClock

	RecordKey   = recordKey
	RunKey      = runKey
	FinishedKey = finishedKey
	ActiveKey   = activeKey
	TopologyKey = topologyKey
	StartKey    = startKey
	StdinKey    = stdinKey
	InstantKey  = instantKey
	ForgetKey   = forgetKey
	MemberKey   = memberKey
	UsageKey    = usageKey

	LayoutMark     = layoutMark
	MigrateRecords = migrateRecords
	OldRunKey      = oldRunKey
	OldActiveKey   = oldActiveKey
	OldRemovalKey  = oldRemovalKey
	OldFence       = oldFence
	OldQueueNumber = oldQueueNumber
)

var (
	Key            = key
	IsJob          = isJob
	Decode         = decode
	StateIn        = stateIn
	PriorityPrefix = priorityPrefix
)

// EncodeAsBefore is how earlier releases stored a record: without a head.
func (r *Record) EncodeAsBefore() ([]byte, error) {
	r.V = recordVersion
	return json.Marshal(r)
}

// ListBy is List with at most so many keys in memory.
func (e *Engine) ListBy(ctx context.Context, f Filter, most int, fn func(View) error) error {
	return e.list(ctx, f, most, fn)
}

// Head reports whether a stored record has a head of which a list needs no more, whatever it
// chooses.
func Head(data []byte) bool {
	_, ok := readHead(data, new(Record), ^wanted(0))
	return ok
}

func (r *Record) Conflict() string            { return r.conflict() }
func (r *Record) OpenAttempt() *Attempt       { return r.openAttempt() }
func (r *Record) Hangs() bool                 { return r.hangs() != nil }
func (r *Record) SlotEnded(m Moment) bool     { return r.slotEnded(m) }
func (r *Record) TooLate(m Moment) bool       { return r.tooLate(m) }
func (r *Record) Encode() ([]byte, error)     { return r.encode(nil) }
func (r *Record) Undoes() bool                { return r.policy().undoes }
func (r *Record) Begun() bool                 { return r.State == Activating || r.Undoes() && r.NeedsUndo }
func (a *Attempt) Event(s string) event.Event { return a.ended(s) }
func (j *AtJob) Check() error                 { return j.check() }

// LocksNeeded are the locks that r needs, as it requested them.
func (r *Record) LocksNeeded() (locks []string) {
	for _, w := range r.lockRequests() {
		locks = append(locks, w.String())
	}
	return locks
}

// ComesAfter has the ids that r comes after, and how each must end: success, failure or
// any.
func (r *Record) ComesAfter() (all [][2]string) {
	for _, a := range r.after() {
		all = append(all, [2]string{a.id, a.how})
	}
	return all
}

func (e *Engine) Parts() Parts { return e.parts }
func (e *Engine) Poke()        { e.poke() }

// CancelUnseen cancels an activation as another process might: e does not notice.
func (e *Engine) CancelUnseen(ctx context.Context, id string) error {
	return e.parts.DB.Update(ctx, func(tx store.Tx) error {
		t := e.newTxn(tx, e.watch.read())
		r, err := t.Record(id)
		if err != nil {
			return err
		}
		old := r.clone()
		if err := t.Apply(r, Cancel, ""); err != nil {
			return err
		}
		if err := t.Save(old, r); err != nil {
			return err
		}
		return t.finish()
	})
}

// Index has the index entries that follow from r.
func (r *Record) Index() map[string]string {
	all := make(map[string]string)
	for _, e := range r.index() {
		all[e.key] = string(e.val)
	}
	return all
}

// PutRecord writes a record with its index entries.
func PutRecord(tx store.Tx, r *Record) error {
	data, err := r.encode(nil)
	if err != nil {
		return err
	}
	for _, e := range r.index() {
		if err := tx.Put(e.key, e.val); err != nil {
			return err
		}
	}
	return tx.Put(key(r.ID), data)
}

// GatherMost bounds how many jobs other calls may join.
const GatherMost = gatherMost

// Adding returns the number of actors who are adding jobs.
func (e *Engine) Adding() int { return len(e.gathering.lanes) }

// PauseOf returns the pause that concerns r, or nil.
func (t *Txn) PauseOf(r *Record) *Pause { return t.pauseOf(r) }
