package activation

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"activationd/internal/fault"
	"activationd/store"
)

// The undo plan of a reservation says what its activation has applied, so that the
// deactivation can undo it. A script may keep it in the work directory, which is on one
// host, or in the store, where every host finds it.
//
//	up/ID/FENCE/NUMBER  a part of the plan of the attempt with that fence
//	up/ID/FENCE/head    the number of parts, and their hash; it is written last
const (
	planKey      = "up/"
	planHead     = "head"
	maxPlan      = 4 << 20
	planPartSize = 256 << 10
)

// A planEnd is the last entry of an undo plan. Without it the plan is not complete.
type planEnd struct {
	Parts int    `json:"parts"`
	Hash  string `json:"sha256"`
}

// planPrefix begins the keys of an activation's plans; with a fence, those of one plan.
// Fences sort as numbers do.
func planPrefix(id string) string { return planKey + url.PathEscape(id) + "/" }

func planOf(id string, fence uint64) string { return fmt.Sprintf("%s%016x/", planPrefix(id), fence) }

// KeepPlan stores the undo plan of an activation, for the attempt with that fence. If the
// error is nil, the plan is complete and durable, and replaces those of earlier attempts.
// The error is fault.Conflict if that attempt is no longer open: then another one,
// perhaps on another host, is responsible.
func (e *Engine) KeepPlan(ctx context.Context, by Actor, id string, fence uint64, plan []byte) error {
	if len(plan) > maxPlan {
		return fmt.Errorf("the plan has %d bytes; at most %d can be kept: %w", len(plan), maxPlan, fault.Invalid)
	}
	sum := sha256.Sum256(plan)
	end := planEnd{Hash: hex.EncodeToString(sum[:])}
	update := func(fn func(*Txn) error) error {
		return e.UpdateBy(ctx, by, func(t *Txn) error {
			if err := t.mayKeepPlan(by, id, fence); err != nil {
				return err
			}
			return fn(t)
		})
	}
	for rest := plan; len(rest) > 0; end.Parts++ {
		part := rest[:min(len(rest), planPartSize)]
		rest = rest[len(part):]
		key := fmt.Sprintf("%s%04d", planOf(id, fence), end.Parts)
		if err := update(func(t *Txn) error { return t.Put(key, part) }); err != nil {
			return err
		}
	}
	head, err := json.Marshal(end)
	if err != nil {
		return err
	}
	return update(func(t *Txn) error {
		if err := t.dropPlans(id, func(key string) bool { return !strings.HasPrefix(key, planOf(id, fence)) }); err != nil {
			return err
		}
		return t.Put(planOf(id, fence)+planHead, head)
	})
}

// mayKeepPlan returns an error if an attempt may not store a plan.
func (t *Txn) mayKeepPlan(by Actor, id string, fence uint64) error {
	r, err := t.Record(id)
	if err != nil {
		return err
	}
	if err := t.checkScript(by, r); err != nil {
		return err
	}
	if a := r.openAttempt(); a == nil || a.Fence != fence {
		return fmt.Errorf("%s: the run with fence %d is not its open attempt: %w", id, fence, fault.Conflict)
	}
	if !r.policy().undoes {
		return fmt.Errorf("%s has no deactivation: %w", id, fault.Conflict)
	}
	return nil
}

// UndoPlan returns the newest complete plan of an activation that has not been undone.
// The error is fault.NotFound if there is none.
func (e *Engine) UndoPlan(ctx context.Context, by Actor, id string) (plan []byte, err error) {
	err = e.View(ctx, func(t *Txn) error {
		plan = nil
		r, err := t.Record(id)
		if err != nil {
			return err
		}
		if err := t.checkScript(by, r); err != nil {
			return err
		}
		head := ""
		for k := range t.Scan(planPrefix(id), planOf(id, r.undoneBefore())) {
			if strings.HasSuffix(k, "/"+planHead) {
				head = k
			}
		}
		if head == "" || !r.NeedsUndo {
			return fmt.Errorf("%s has no undo plan in the store: %w", id, fault.NotFound)
		}
		plan, err = readPlan(t, head)
		return err
	})
	return plan, err
}

// undoneBefore returns the fence of the newest attempt that began with nothing to undo;
// plans of earlier attempts are obsolete.
func (r *Record) undoneBefore() uint64 {
	for i := len(r.Attempts) - 1; i >= 0; i-- {
		if a := &r.Attempts[i]; a.First {
			return a.Fence
		}
	}
	return 0
}

// readPlan reads the plan that a head completes.
func readPlan(tx store.Tx, head string) ([]byte, error) {
	var end planEnd
	if err := json.Unmarshal(tx.Get(head), &end); err != nil {
		return nil, fmt.Errorf("%s: %w", head, err)
	}
	plan := []byte{}
	for i := range end.Parts {
		plan = append(plan, tx.Get(fmt.Sprintf("%s%04d", strings.TrimSuffix(head, planHead), i))...)
	}
	if sum := sha256.Sum256(plan); hex.EncodeToString(sum[:]) != end.Hash {
		return nil, fmt.Errorf("the undo plan %s is damaged: its hash differs; check the configuration of the devices: %w", head, fault.Invalid)
	}
	return bytes.Clone(plan), nil
}

// dropPlans removes the keys of an activation's plans for which drop returns true.
func (t *Txn) dropPlans(id string, drop func(key string) bool) error {
	for k := range t.Scan(planPrefix(id), "") {
		if !drop(k) {
			continue
		}
		if err := t.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// removePlan removes the plans of an activation that has nothing to undo.
func (e *Engine) removePlan(ctx context.Context, id string) error {
	return e.Update(ctx, func(t *Txn) error {
		if r, err := t.Record(id); !undone(r, err) {
			return nil // it has begun again
		}
		return t.dropPlans(id, func(string) bool { return true })
	})
}

// undone reports whether an activation has nothing to undo, given its record and the
// error of reading it.
func undone(r *Record, err error) bool {
	return errors.Is(err, fault.NotFound) || err == nil && (r.State == Finished || r.State == Scheduled && !r.NeedsUndo)
}

// plannedAndUndone lists the activations that have a plan in the store but nothing to
// undo.
func (t *Txn) plannedAndUndone() (ids []string) {
	for from := planKey; ; {
		more := false
		for k := range t.Scan(planKey, from) {
			name, _, _ := strings.Cut(strings.TrimPrefix(k, planKey), "/")
			from, more = planKey+name+"0", true // after the last key that begins with the name and a slash
			if id, err := url.PathUnescape(name); err == nil {
				if r, err := t.Record(id); undone(r, err) {
					ids = append(ids, id)
				}
			}
			break
		}
		if !more {
			return ids
		}
	}
}
