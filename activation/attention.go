package activation

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
)

// FailedFor is how long a failure is among the activations that need attention.
const FailedFor = 24 * time.Hour

// An Attention has the activations that need a person: those that are stuck, instances of
// services that are fatal, those with an attempt whose end is not verified, those that are
// marked as conflicting, and those that failed in the last [FailedFor].
type Attention struct{ Stuck, Fatal, Hanging, Conflicting, Failed Sample }

// A Sample has some of several activations, and the number of all.
type Sample struct {
	Views []View // of failures, the newest, newest first
	All   int
}

// Attention returns the activations that need a person, with at most a number of examples
// of each kind. Jobs that the actor may not see are left out. It is fast however many
// activations are finished.
func (e *Engine) Attention(ctx context.Context, by Actor, most int) (a Attention, err error) {
	stuck := false
	err = e.View(ctx, func(t *Txn) error {
		stuck = t.stateCounts()[Stuck] > 0
		a = Attention{Hanging: t.hanging(by, most), Conflicting: t.conflicting(by, most), Failed: t.failures(by, most)}
		return nil
	})
	if err != nil || !stuck { // the list need not be searched
		return a, err
	}
	list := func(k Kind, s *Sample) error {
		return e.List(ctx, Filter{In: [][]Condition{{{State: Stuck, Kind: k}}}, Kind: k, By: by}, func(v View) error {
			s.add(v, most)
			return nil
		})
	}
	return a, errors.Join(list(Reservation, &a.Stuck), list(Service, &a.Fatal))
}

func (s *Sample) add(v View, most int) {
	if s.All++; len(s.Views) < most {
		s.Views = append(s.Views, v)
	}
}

// mayKnow reports whether r concerns a: only owners and operators care about a job.
func (a Actor) mayKnow(r *Record) bool { return !r.policy().private || a.check(r) == nil }

// failed reports whether r is finished, did not succeed, and was not cancelled.
func (r *Record) failed() bool {
	return r.State == Finished && r.Outcome != Succeeded && r.Outcome != Cancelled
}

// hanging returns the activations with an attempt whose end is not verified.
func (t *Txn) hanging(by Actor, most int) (s Sample) {
	for k, mark := range t.Scan(runKey, "") {
		_, id, _ := strings.Cut(strings.TrimPrefix(k, runKey), "/")
		if string(mark) != hangsMark {
			continue
		}
		if r, err := t.Record(id); err == nil && by.mayKnow(r) {
			s.add(t.view(r).For(by), most)
		}
	}
	return s
}

// failures returns the failures of the last [FailedFor]. The index of failures has them alone, so
// few records are read.
func (t *Txn) failures(by Actor, most int) (s Sample) {
	since := t.Now.Add(-FailedFor)
	var newest []string // ids, the newest last
	for k := range t.Scan(failedKey, failedKey+Instant(since)) {
		_, id, err := parseInstant(strings.TrimPrefix(k, failedKey))
		if err != nil {
			continue
		}
		if isJob(id) && (by.OnlyOwn || by.NoJobs) {
			if r, err := t.Record(id); err != nil || !by.mayKnow(r) {
				continue
			}
		}
		s.All++
		newest = append(newest, id)
		newest = newest[max(0, len(newest)-most):]
	}
	for _, id := range slices.Backward(newest) {
		if r, err := t.Record(id); err == nil {
			s.Views = append(s.Views, t.view(r).For(by))
		}
	}
	return s
}
