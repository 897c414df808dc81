package activation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"activationd/internal/fault"
	"activationd/schedule"
	"activationd/store"
)

// A RecurrenceView is a recurrence with what has become of its occurrences.
type RecurrenceView struct {
	Recurrence
	Tally   Tally
	Members []string // its activations that are not finished, the oldest first
	Skips   []Skip   // what was skipped, the newest last, as many as were asked for
}

// checkRecurrence is of kind fault.Denied if r is not by's to touch.
func (b By) checkRecurrence(r *Recurrence) error {
	own := r.Owner == b.Name && (r.Job.User == nil || r.Job.User.UID == b.UID)
	if (b.OnlyOwn || b.NoJobs) && !own {
		return fmt.Errorf("the recurrence %s belongs to %s, not to %s: %w", r.Name, r.Owner, b.Name, fault.Denied)
	}
	return nil
}

// For returns of v what by may see of it, as [View.For] does.
func (v RecurrenceView) For(by By) RecurrenceView {
	if by.checkRecurrence(&v.Recurrence) == nil {
		return v
	}
	v.Job = NewJob{Owner: v.Job.Owner, Locks: v.Job.Locks, Priority: v.Job.Priority, Timeout: v.Job.Timeout, Retries: v.Job.Retries}
	return v
}

// AddRecurrence puts a rule of an owner's in force. When it returns nil that is
// durable. A name that is taken is fault.Conflict.
func (e *Engine) AddRecurrence(ctx context.Context, rule Rule) (*Recurrence, error) {
	var r *Recurrence
	err := e.update(ctx, func(t *txn) (err error) {
		if e.Draining() {
			return fmt.Errorf("the daemon is being drained and takes no new work: %w", fault.Unavailable)
		}
		if err := rule.Check(t.now); err != nil {
			return err
		}
		if old, err := t.recurrence(rule.Name); err == nil {
			return fmt.Errorf("there is a recurrence %s already, of %s: take another name, or remove it first: %w", rule.Name, old.Owner, fault.Conflict)
		}
		if err := t.namesake(rule); err != nil {
			return err
		}
		r, err = t.addRecurrence(rule, false)
		return err
	})
	if err != nil {
		return nil, err
	}
	e.poke()
	return r, nil
}

// namesake is an error if somebody else had a recurrence of that name whose jobs have
// not ended: they are no business of the new one's, which may replace its own.
func (t *txn) namesake(rule Rule) error {
	for _, id := range t.members(rule.Name) {
		a, err := t.get(id)
		if err == nil && a.Owner != rule.Job.Owner {
			return fmt.Errorf("job %s of %s's recurrence %s, which was removed, has not ended: take another name, or wait for it: %w", id, a.Owner, rule.Name, fault.Conflict)
		}
	}
	return nil
}

// addRecurrence makes a recurrence of a rule that is sound.
func (t *txn) addRecurrence(rule Rule, declared bool) (*Recurrence, error) {
	r := &Recurrence{Rule: rule, Owner: rule.Job.Owner, Declared: declared, Created: t.now}
	if err := t.reckon(r); err != nil {
		return nil, err
	}
	t.news = append(t.news, Happening{Time: t.now, What: "recurrence.added", ID: r.Name, Reason: r.When()})
	return r, t.saveRecurrence(nil, r)
}

// reckon sets the next occurrence: the first after now that nothing has become of,
// or one that has come and waits for its jitter to be over. If the rule, which may
// be another now, does not have that any more, it is skipped.
func (t *txn) reckon(r *Recurrence) error {
	s, err := t.times(r)
	if err != nil {
		return fmt.Errorf("%s: %w: %w", r.Name, err, fault.Invalid)
	}
	if waits := r.Next; !waits.IsZero() && !waits.After(t.now) {
		if r.next(s, waits.Add(-1)).Equal(waits) {
			r.advance(s, waits.Add(-1), waits)
			if r.Due.Before(t.now) { // with less jitter; it is not late
				r.Due = t.now
			}
			return nil
		}
		if err := t.skip(r, Skip{From: waits, To: waits, Count: 1, Reason: "the rule was changed before it was due"}); err != nil {
			return err
		}
	}
	after := t.now
	if r.Last.After(after) {
		after = r.Last
	}
	if zone := schedule.ZoneOf(s); zone != nil && !after.Equal(r.Last) {
		after = after.In(zone) // that its offset is known later
	}
	r.advance(s, after, r.next(s, after))
	return nil
}

// changeRecurrence has fn change a recurrence that is by's.
func (e *Engine) changeRecurrence(ctx context.Context, by By, name string, fn func(*txn, *Recurrence) error) (*Recurrence, error) {
	var r *Recurrence
	err := e.update(ctx, func(t *txn) (err error) {
		if r, err = t.recurrence(name); err != nil {
			return err
		}
		if err := by.checkRecurrence(r); err != nil {
			return err
		}
		old := *r
		if err := fn(t, r); err != nil {
			return err
		}
		return t.saveRecurrence(&old, r)
	})
	if err != nil {
		return nil, err
	}
	e.poke()
	return r, nil
}

// HoldRecurrence keeps a recurrence from occurring.
func (e *Engine) HoldRecurrence(ctx context.Context, by By, name string) (*Recurrence, error) {
	return e.changeRecurrence(ctx, by, name, func(t *txn, r *Recurrence) error {
		if r.Held != "" {
			return fmt.Errorf("%s is held already: %s: %w", name, r.Held, fault.Conflict)
		}
		if err := t.settleRecurrence(r); err != nil {
			return err
		}
		r.Held, r.HeldAt = "held by "+by.Name, t.now
		t.news = append(t.news, Happening{Time: t.now, What: "recurrence.held", ID: name, Reason: r.Held})
		return nil
	})
}

// ReleaseRecurrence lets a recurrence that was held occur again. What would have
// occurred meanwhile is skipped. The next occurrence is reckoned from now, also
// if the clock had been wrong and was set back.
func (e *Engine) ReleaseRecurrence(ctx context.Context, by By, name string) (*Recurrence, error) {
	return e.changeRecurrence(ctx, by, name, func(t *txn, r *Recurrence) error {
		if r.Held == "" {
			return fmt.Errorf("%s is not held: %w", name, fault.Conflict)
		}
		if err := t.skipHeld(r); err != nil {
			return err
		}
		r.Held, r.HeldAt = "", time.Time{}
		t.news = append(t.news, Happening{Time: t.now, What: "recurrence.released", ID: name, Reason: "released by " + by.Name})
		return t.beginAnew(r)
	})
}

// settleRecurrence makes of what is due already what is to become of it, before
// the rule is changed.
func (t *txn) settleRecurrence(r *Recurrence) error {
	s, err := t.times(r)
	switch {
	case err == nil && r.Held != "":
		return t.skipHeld(r)
	case err == nil:
		t.rezone(r, s)
	case r.Held != "":
		return nil // that is why it is held, perhaps, and the new rule mends it
	}
	if r.Due.IsZero() || r.Due.After(t.now) {
		return nil
	}
	return t.occurrences(r)
}

// RunRecurrence runs what recurs once, now, beside its occurrences. If it does
// not run side by side, what runs of it makes that fault.Conflict, or has it
// wait, or is replaced, as the rule says.
func (e *Engine) RunRecurrence(ctx context.Context, by By, name string) (id string, err error) {
	_, err = e.changeRecurrence(ctx, by, name, func(t *txn, r *Recurrence) error {
		members := t.members(name)
		switch {
		case len(members) >= maxMembers:
			return fmt.Errorf("%d of %s have not ended: %w", maxMembers, name, fault.Conflict)
		case r.Overlap == OverlapSkip && len(members) > 0:
			return fmt.Errorf("%s of %s has not ended; cancel it first: %w", members[0], name, fault.Conflict)
		case r.Overlap == OverlapReplace:
			if err := t.replace(members, "replaced by "+by.Name); err != nil {
				return err
			}
		}
		id, err = t.begin(r, func(a *Record) { a.Late = true })
		return err
	})
	if err == nil {
		e.touch(id)
	}
	return id, err
}

// RemoveRecurrence ends a recurrence. What has become an activation goes on.
func (e *Engine) RemoveRecurrence(ctx context.Context, by By, name string) error {
	err := e.update(ctx, func(t *txn) error {
		r, err := t.recurrence(name)
		if err != nil {
			return err
		}
		if err := by.checkRecurrence(r); err != nil {
			return err
		}
		if r.Declared {
			return fmt.Errorf("%s is declared in the configuration: remove it there and reload, or hold it: %w", name, fault.Conflict)
		}
		return t.removeRecurrence(r, "removed by "+by.Name)
	})
	if err == nil {
		e.poke()
	}
	return err
}

func (t *txn) removeRecurrence(r *Recurrence, why string) error {
	if err := t.reindex(r.index(), nil); err != nil {
		return err
	}
	prefix := skipKey + r.Name + "/"
	for k := range t.Scan(prefix, "") {
		if err := t.Delete(k); err != nil {
			return err
		}
	}
	for _, k := range []string{tallyKey + r.Name, recurrenceKey + r.Name} {
		if err := t.Delete(k); err != nil {
			return err
		}
	}
	t.news = append(t.news, Happening{Time: t.now, What: "recurrence.removed", ID: r.Name, Reason: why})
	return nil
}

// Recurrence returns one recurrence with the newest records of what was skipped,
// at most so many. It is fault.NotFound when there is none.
func (e *Engine) Recurrence(ctx context.Context, name string, skips int) (RecurrenceView, error) {
	var v RecurrenceView
	err := e.parts.DB.View(ctx, func(tx store.Tx) error {
		t := e.begin(tx)
		r, err := t.recurrence(name)
		if err != nil {
			return err
		}
		v = t.viewRecurrence(r)
		for _, data := range tx.Scan(skipKey+name+"/", "") {
			var s Skip
			if err := json.Unmarshal(data, &s); err != nil {
				return fmt.Errorf("what was skipped of %s: %w", name, err)
			}
			if v.Skips = append(v.Skips, s); len(v.Skips) > skips {
				v.Skips = slices.Delete(v.Skips, 0, 1)
			}
		}
		return nil
	})
	return v, err
}

func (t *txn) viewRecurrence(r *Recurrence) RecurrenceView {
	if s, err := r.times(r.Created); err == nil && r.Held == "" && !t.doubt { // as Run will have it in a minute
		_ = r.rezone(s)
	}
	return RecurrenceView{Recurrence: *r, Tally: t.tallyOf(r.Name), Members: t.members(r.Name)}
}

// Recurrences returns all recurrences, by name; an owner's, or all if that is empty.
func (e *Engine) Recurrences(ctx context.Context, owner string) ([]RecurrenceView, error) {
	var all []RecurrenceView
	err := e.parts.DB.View(ctx, func(tx store.Tx) error {
		all = nil
		t := e.begin(tx)
		for k, data := range tx.Scan(recurrenceKey, "") {
			r, err := decodeRecurrence(strings.TrimPrefix(k, recurrenceKey), data)
			if err != nil { // the others are there to be seen
				e.parts.Log.Error("a recurrence cannot be read", "key", k, "err", err)
				continue
			}
			if owner == "" || r.Owner == owner {
				all = append(all, t.viewRecurrence(r))
			}
		}
		return nil
	})
	return all, err
}

// SetRecurrences says which recurrences the configuration declares, from the
// next load on.
func (e *Engine) SetRecurrences(rules []Rule) {
	e.loader.mu.Lock()
	defer e.loader.mu.Unlock()
	e.loader.rules, e.loader.ruled = rules, true
}

// configuration is the source, in reports, of what is declared there.
const configuration = "configuration"

// declare makes so what the configuration declares. Its error is of the store.
func (e *Engine) declare(t *txn) (rep Report, err error) {
	e.loader.mu.Lock()
	rules, ruled := e.loader.rules, e.loader.ruled
	e.loader.mu.Unlock()
	if !ruled {
		return rep, nil
	}
	declared := make(map[string]bool)
	for _, rule := range rules {
		declared[rule.Name] = true
		what, err := t.declareOne(rule)
		switch {
		case errors.Is(err, fault.Invalid), errors.Is(err, fault.Conflict):
			rep.Rejected++
			rep.add(ReportLine{"rejected", rule.Name, configuration, fault.Text(err)})
		case err != nil:
			return rep, err
		case what == "":
			rep.Unchanged++
		default:
			rep.count(what, rule.Name, configuration)
		}
	}
	var gone []*Recurrence
	for k, data := range t.Scan(recurrenceKey, "") {
		r, err := decodeRecurrence(strings.TrimPrefix(k, recurrenceKey), data)
		if err == nil && r.Declared && !declared[r.Name] {
			gone = append(gone, r)
		}
	}
	for _, r := range gone {
		if err := t.removeRecurrence(r, "the configuration declares it no more"); err != nil {
			return rep, err
		}
		rep.count("removed", r.Name, configuration)
	}
	return rep, nil
}

// declareOne makes so what the configuration says of one recurrence. It returns
// how that counts.
func (t *txn) declareOne(rule Rule) (what string, err error) {
	r, err := t.recurrence(rule.Name)
	if bad := rule.Check(time.Time{}); bad != nil { // one that is over may stay in the file
		return "", fmt.Errorf("recurrence %s: %w", rule.Name, bad)
	}
	switch {
	case errors.Is(err, fault.NotFound):
		if err := t.namesake(rule); err != nil {
			return "", err
		}
		_, err := t.addRecurrence(rule, true)
		return "added", err
	case err != nil:
		return "", err
	case !r.Declared:
		return "", fmt.Errorf("the name is taken by a recurrence that %s added: remove that one, or take another name: %w", r.Owner, fault.Conflict)
	}
	same, err := r.says(&rule)
	if err != nil || same {
		return "", err
	}
	old := *r
	if err := t.settleRecurrence(r); err != nil {
		return "", err
	}
	times := r.Cron != rule.Cron || r.Calendar != rule.Calendar || r.Every != rule.Every || r.Zone != rule.Zone ||
		!r.Start.Equal(rule.Start) || !r.End.Equal(rule.End) || r.Jitter != rule.Jitter
	r.Rule, r.Owner = rule, rule.Job.Owner
	if times {
		if err := t.reckon(r); err != nil {
			return "", err
		}
	}
	t.news = append(t.news, Happening{Time: t.now, What: "recurrence.changed", ID: r.Name, Reason: r.When()})
	return "changed", t.saveRecurrence(&old, r)
}

// says reports whether r's rule is the one given, as they are kept.
func (r *Recurrence) says(rule *Rule) (bool, error) {
	was, err := json.Marshal(&r.Rule)
	if err != nil {
		return false, err
	}
	is, err := json.Marshal(rule)
	return bytes.Equal(was, is), err
}
