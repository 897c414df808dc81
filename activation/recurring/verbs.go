package recurring

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"activationd/activation"
	"activationd/event"
	"activationd/internal/fault"
	"activationd/schedule"
)

// A View is a recurrence together with its tally, activations and skipped occurrences.
type View struct {
	Recurrence
	Tally   Tally
	Members []string // its unfinished activations, the oldest first
	Skips   []Skip   // its newest skipped occurrences, the newest last
	Inputs  bool     // the client may see the input and the variables of the job
}

// ownedBy reports whether r is by's own.
func (r *Recurrence) ownedBy(by activation.Actor) bool {
	return r.Owner == by.Name && (r.Job.User == nil || r.Job.User.UID == by.UID)
}

// check returns an error of kind fault.Denied unless by may touch r.
func (r *Recurrence) check(by activation.Actor) error {
	if (by.OnlyOwn || by.NoJobs) && !r.ownedBy(by) {
		return fmt.Errorf("the recurrence %s belongs to %s, not to %s: %w", r.Name, r.Owner, by.Name, fault.Denied)
	}
	return nil
}

// Verbs are those that [View.Can] knows.
func Verbs() []string { return []string{"hold", "release", "remove"} }

// Can reports whether by can carry out one of [Verbs] on v.
func (v *View) Can(by activation.Actor, verb string) bool {
	if v.check(by) != nil {
		return false
	}
	switch verb {
	case "hold":
		return v.HoldReason == ""
	case "release":
		return v.HoldReason != ""
	case "remove":
		return !v.Declared
	}
	return false
}

// For returns what by may see of v, as [activation.View.For] does.
func (v View) For(by activation.Actor) View {
	if v.check(by) == nil {
		if v.Inputs = by.SeesInputs(v.ownedBy(by)); !v.Inputs {
			v.Job.Stdin, v.Job.Env = nil, nil
		}
		return v
	}
	v.Job = activation.NewJob{Order: activation.Order{Owner: v.Job.Owner, Locks: v.Job.Locks, Priority: v.Job.Priority, Timeout: v.Job.Timeout, Retries: v.Job.Retries}}
	return v
}

// Add puts an owner's rule in force. If the error is nil, it is durable. The error is
// fault.Conflict if the name is taken.
func (b *Book) Add(ctx context.Context, by activation.Actor, rule Rule) (*Recurrence, error) {
	var r *Recurrence
	err := b.engine.UpdateBy(ctx, by, func(t *activation.Txn) (err error) {
		if b.engine.Draining() {
			return fmt.Errorf("the daemon is being drained and takes no new work: %w", fault.Unavailable)
		}
		if err := rule.Check(t.Now); err != nil {
			return err
		}
		if old, err := get(t, rule.Name); err == nil {
			what := "take another name"
			if old.check(by) == nil && !old.Declared {
				what += ", or change it with atctl every edit"
			}
			return fmt.Errorf("there is a recurrence %s already, of %s: %s: %w", rule.Name, old.Owner, what, fault.Conflict)
		}
		if err := namesake(t, rule); err != nil {
			return err
		}
		r, err = b.add(t, rule, false)
		return err
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// namesake returns an error if an earlier recurrence of that name belonged to another
// owner and its jobs have not ended. The new one could cancel them.
func namesake(t *activation.Txn, rule Rule) error {
	for _, id := range t.Members(rule.Name, maxMembers) {
		a, err := t.Record(id)
		if err == nil && a.Owner != rule.Job.Owner {
			return fmt.Errorf("job %s of %s's recurrence %s, which was removed, has not ended: take another name, or wait for it: %w", id, a.Owner, rule.Name, fault.Conflict)
		}
	}
	return nil
}

// add makes a recurrence of a valid rule.
func (b *Book) add(t *activation.Txn, rule Rule, declared bool) (*Recurrence, error) {
	r := &Recurrence{Rule: rule, Owner: rule.Job.Owner, Declared: declared, Created: t.Now}
	if err := b.schedule(t, r); err != nil {
		return nil, err
	}
	t.Emit(r.happened("added", "every add", r.When()))
	return r, save(t, nil, r)
}

// schedule sets the next occurrence. That is the first undecided one after now, or one
// whose time has come and that waits only for its jitter. If the rule was changed and no
// longer has the waiting one, that one is skipped.
func (b *Book) schedule(t *activation.Txn, r *Recurrence) error {
	s, err := b.times(r)
	if err != nil {
		return fmt.Errorf("%s: %w: %w", r.Name, err, fault.Invalid)
	}
	if waits := r.Next; !waits.IsZero() && !waits.After(t.Now) {
		if r.next(s, waits.Add(-1)).Equal(waits) {
			r.advance(s, waits.Add(-1), waits)
			if r.Due.Before(t.Now) { // the jitter is less now; the occurrence is not late
				r.Due = t.Now
			}
			return nil
		}
		if err := noteSkip(t, r, Skip{From: waits, To: waits, Count: 1, Reason: "the rule was changed before it was due"}); err != nil {
			return err
		}
	}
	after := t.Now
	if r.Last.After(after) {
		after = r.Last
	}
	if zone := schedule.ZoneOf(s); zone != nil && !after.Equal(r.Last) {
		after = after.In(zone) // to keep its offset
	}
	r.advance(s, after, r.next(s, after))
	return nil
}

// A Condition is met by a recurrence unless it returns an error, which refuses the change.
type Condition func(*Recurrence) error

// own returns a recurrence that by may touch, if it meets all conditions.
func own(t *activation.Txn, by activation.Actor, name string, only []Condition) (*Recurrence, error) {
	r, err := get(t, name)
	if err != nil {
		return nil, err
	}
	if err := r.check(by); err != nil {
		return nil, err
	}
	for _, met := range only {
		if err := met(r); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// change lets fn change a recurrence that by may touch and that meets all conditions.
func (b *Book) change(ctx context.Context, by activation.Actor, name string, only []Condition, fn func(*activation.Txn, *Recurrence) error) (*Recurrence, error) {
	var r *Recurrence
	err := b.engine.UpdateBy(ctx, by, func(t *activation.Txn) (err error) {
		if r, err = own(t, by, name, only); err != nil {
			return err
		}
		old := *r
		if err := fn(t, r); err != nil {
			return err
		}
		r.Changes = old.Changes + 1
		return save(t, &old, r)
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Edit changes a recurrence, and keeps its history. Change gets its rule, of which it may change
// all but the name; if it returns an error, nothing is changed. It may be called several times. The
// result is checked as in [Book.Add]. The error is fault.Conflict if the configuration declares the
// recurrence. The next occurrence changes only if the times do.
func (b *Book) Edit(ctx context.Context, by activation.Actor, name string, change func(*Rule) error, only ...Condition) (*Recurrence, error) {
	return b.change(ctx, by, name, only, func(t *activation.Txn, r *Recurrence) error {
		if r.Declared {
			return fmt.Errorf("%s is declared in the configuration: change it there and reload: %w", name, fault.Conflict)
		}
		was, rule := r.Rule, r.Rule
		if err := change(&rule); err != nil {
			return err
		}
		now := t.Now
		if rule.End.Equal(was.End) { // a recurrence that is over may be changed
			now = time.Time{}
		}
		if err := rule.Check(now); err != nil {
			return err
		}
		var err error
		if rule.Job.User, err = by.ChangeRun(name, &was.Job.Order, &rule.Job.Order); err != nil {
			return err
		}
		rule.Name, rule.Job.Owner = name, r.Owner
		changes := was.changesTo(&rule)
		if len(changes) == 0 {
			return nil
		}
		if err := b.put(t, r, rule); err != nil {
			return err
		}
		ev := r.happened("changed", "every edit", "by "+by.Name)
		if ev.Changes = changes; r.Job.User != nil {
			ev.OwnerUID = &r.Job.User.UID
		}
		t.Emit(ev)
		return nil
	})
}

// put gives r another rule. What was already due by the former one is decided first.
func (b *Book) put(t *activation.Txn, r *Recurrence, rule Rule) error {
	if err := b.settle(t, r); err != nil {
		return err
	}
	same := r.Cron == rule.Cron && r.Calendar == rule.Calendar && r.Every == rule.Every && r.Zone == rule.Zone &&
		r.Start.Equal(rule.Start) && r.End.Equal(rule.End) && r.Jitter == rule.Jitter
	r.Rule, r.Owner = rule, rule.Job.Owner
	if same {
		return nil
	}
	return b.schedule(t, r)
}

// changesTo lists the differences of two rules.
func (r *Rule) changesTo(n *Rule) (all []event.Change) {
	at := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return activation.TimeText(t)
	}
	all = activation.AddChange(all, "when", r.When(), n.When())
	if len(all) == 0 { // an interval does not say the zone, which counts for the rule that replaces it
		all = activation.AddChange(all, "tz", r.Zone, n.Zone)
	}
	all = activation.AddChange(all, "from", at(r.Start), at(n.Start))
	all = activation.AddChange(all, "until", at(r.End), at(n.End))
	all = activation.AddChange(all, "overlap", r.Overlap, n.Overlap)
	all = activation.AddChange(all, "jitter", r.Jitter.String(), n.Jitter.String())
	all = activation.AddChange(all, "catch-up", strconv.Itoa(r.CatchUp), strconv.Itoa(n.CatchUp))
	return append(all, r.Job.ChangesTo(&n.Job.Order)...)
}

// Hold stops a recurrence from making jobs. The error is fault.Conflict if it is already
// held. For this and the other verbs it is fault.NotFound if there is no recurrence of
// that name, fault.Denied if by may not touch it, and that of a condition that is not met.
func (b *Book) Hold(ctx context.Context, by activation.Actor, name string, only ...Condition) (*Recurrence, error) {
	return b.change(ctx, by, name, only, func(t *activation.Txn, r *Recurrence) error {
		if r.HoldReason != "" {
			return fmt.Errorf("%s is already held: %s: %w", name, r.HoldReason, fault.Conflict)
		}
		if err := b.settle(t, r); err != nil {
			return err
		}
		r.HoldReason, r.HeldAt = "held by "+by.Name, t.Now
		t.Emit(r.happened("held", "every hold", r.HoldReason))
		return nil
	})
}

// Release ends the hold of a recurrence. The occurrences meanwhile are skipped. The next
// one is scheduled from now, even if the clock was wrong before and was set back. The
// error is fault.Conflict if the recurrence is not held.
func (b *Book) Release(ctx context.Context, by activation.Actor, name string, only ...Condition) (*Recurrence, error) {
	return b.change(ctx, by, name, only, func(t *activation.Txn, r *Recurrence) error {
		if r.HoldReason == "" {
			return fmt.Errorf("%s is not held: %w", name, fault.Conflict)
		}
		if err := b.skipHeld(t, r); err != nil {
			return err
		}
		r.HoldReason, r.HeldAt = "", time.Time{}
		t.Emit(r.happened("released", "every release", "released by "+by.Name))
		return b.restart(t, r)
	})
}

// settle decides the occurrences that are already due, before the rule is changed.
func (b *Book) settle(t *activation.Txn, r *Recurrence) error {
	s, err := b.times(r)
	switch {
	case err == nil && r.HoldReason != "":
		return b.skipHeld(t, r)
	case err == nil:
		rezone(t, r, s)
	case r.HoldReason != "":
		return nil // perhaps it is held for that, and the new rule fixes it
	}
	if r.Due.IsZero() || r.Due.After(t.Now) {
		return nil
	}
	return b.fireOccurrences(t, r)
}

// RunOnce runs the job of a recurrence once, now, in addition to its occurrences. If an
// earlier one has not ended, the rule's overlap decides whether the job waits for it,
// replaces it, runs beside it, or is refused with fault.Conflict.
func (b *Book) RunOnce(ctx context.Context, by activation.Actor, name string) (id string, err error) {
	_, err = b.change(ctx, by, name, nil, func(t *activation.Txn, r *Recurrence) error {
		members := t.Members(name, maxMembers)
		switch {
		case len(members) >= maxMembers:
			return fmt.Errorf("%d jobs of %s have not ended: cancel some, or wait: %w", maxMembers, name, fault.Conflict)
		case r.Overlap == OverlapSkip && len(members) > 0:
			return fmt.Errorf("job %s of %s has not ended; cancel it first: %w", members[0], name, fault.Conflict)
		case r.Overlap == OverlapReplace:
			if err := t.Cancel(members, "replaced by "+by.Name); err != nil {
				return err
			}
		}
		id, err = startOccurrence(t, r, func(a *activation.Record) { a.Urgency = activation.Anyway })
		return err
	})
	return id, err
}

// Remove ends a recurrence. Its activations continue. The error is fault.Conflict if the
// configuration declares it.
func (b *Book) Remove(ctx context.Context, by activation.Actor, name string, only ...Condition) error {
	return b.engine.UpdateBy(ctx, by, func(t *activation.Txn) error {
		r, err := own(t, by, name, only)
		if err != nil {
			return err
		}
		if r.Declared {
			return fmt.Errorf("%s is declared in the configuration: remove it there and reload, or hold it: %w", name, fault.Conflict)
		}
		return remove(t, r, "removed by "+by.Name)
	})
}

func remove(t *activation.Txn, r *Recurrence, why string) error {
	if err := t.Enter(r.Name, r.entered(), time.Time{}); err != nil {
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
	t.Emit(r.happened("removed", "every remove", why))
	return nil
}

// Get returns one recurrence with its newest records of skipped occurrences, at most
// skips of them. The error is fault.NotFound when there is none of that name.
func (b *Book) Get(ctx context.Context, name string, skips int) (View, error) {
	var v View
	err := b.engine.View(ctx, func(t *activation.Txn) error {
		r, err := get(t, name)
		if err != nil {
			return err
		}
		v = view(t, r)
		for _, data := range t.Scan(skipKey+name+"/", "") {
			var s Skip
			if err := json.Unmarshal(data, &s); err != nil {
				return fmt.Errorf("the skipped occurrences of %s: %w", name, err)
			}
			if v.Skips = append(v.Skips, s); len(v.Skips) > skips {
				v.Skips = slices.Delete(v.Skips, 0, 1)
			}
		}
		return nil
	})
	return v, err
}

func view(t *activation.Txn, r *Recurrence) View {
	if s, err := r.times(r.Created); err == nil && r.HoldReason == "" && !t.Doubt { // as Run will do within a minute
		_ = r.rezone(s)
	}
	return View{Recurrence: *r, Tally: tallyOf(t, r.Name), Members: t.Members(r.Name, maxMembers)}
}

// List returns the recurrences of an owner, by name; all if owner is empty.
func (b *Book) List(ctx context.Context, owner string) ([]View, error) {
	var all []View
	err := b.engine.View(ctx, func(t *activation.Txn) error {
		all = nil
		for k, data := range t.Scan(recurrenceKey, "") {
			r, err := decode(strings.TrimPrefix(k, recurrenceKey), data)
			if err != nil { // the list goes on with the others
				t.Log(slog.LevelError, "a recurrence cannot be read", "key", k, "err", err)
				continue
			}
			if owner == "" || r.Owner == owner {
				all = append(all, view(t, r))
			}
		}
		return nil
	})
	return all, err
}

// Declare returns the steps that apply the recurrences that the configuration declares, in
// a load: one for each rule, and one for each recurrence that is no longer declared. Each
// runs in one transaction, which may run again, and returns what it has done. The error is
// the store's.
func (b *Book) Declare(ctx context.Context, rules []Rule) ([]func(*activation.Txn) (activation.Report, error), error) {
	select {
	case b.look <- struct{}{}: // an administrator who updates the time zones may reload
	default:
	}
	var steps []func(*activation.Txn) (activation.Report, error)
	declared := make(map[string]bool)
	for _, rule := range rules {
		declared[rule.Name] = true
		steps = append(steps, func(t *activation.Txn) (rep activation.Report, err error) {
			what, err := b.declareOne(t, rule)
			switch {
			case errors.Is(err, fault.Invalid), errors.Is(err, fault.Conflict):
				rep.Rejected++
				rep.Add(activation.ReportLine{What: "rejected", ID: rule.Name, Source: activation.Declared, Text: fault.Text(err)})
			case err != nil:
				return rep, err
			case what == "":
				rep.Unchanged++
			default:
				rep.Count(what, rule.Name, activation.Declared)
			}
			return rep, nil
		})
	}
	var gone []string
	err := b.engine.View(ctx, func(t *activation.Txn) error {
		gone = nil
		for k, data := range t.Scan(recurrenceKey, "") {
			r, err := decode(strings.TrimPrefix(k, recurrenceKey), data)
			if err == nil && r.Declared && !declared[r.Name] {
				gone = append(gone, r.Name)
			}
		}
		return nil
	})
	for _, name := range gone {
		steps = append(steps, func(t *activation.Txn) (rep activation.Report, err error) {
			r, err := get(t, name)
			if errors.Is(err, fault.NotFound) || err == nil && !r.Declared {
				return rep, nil
			}
			if err != nil {
				return rep, err
			}
			rep.Count("removed", name, activation.Declared)
			return rep, remove(t, r, "the configuration no longer declares it")
		})
	}
	return steps, err
}

// declareOne applies one declared recurrence. It returns how the load counts it.
func (b *Book) declareOne(t *activation.Txn, rule Rule) (what string, err error) {
	r, err := get(t, rule.Name)
	if bad := rule.Check(time.Time{}); bad != nil { // a recurrence that is over may stay in the file
		return "", fmt.Errorf("recurrence %s: %w", rule.Name, bad)
	}
	switch {
	case errors.Is(err, fault.NotFound):
		if err := namesake(t, rule); err != nil {
			return "", err
		}
		_, err := b.add(t, rule, true)
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
	if err := b.put(t, r, rule); err != nil {
		return "", err
	}
	r.Changes = old.Changes + 1
	t.Emit(r.happened("changed", "every change", r.When()))
	return "changed", save(t, &old, r)
}

// says reports whether r has the given rule. It compares the stored forms.
func (r *Recurrence) says(rule *Rule) (bool, error) {
	was, err := json.Marshal(&r.Rule)
	if err != nil {
		return false, err
	}
	is, err := json.Marshal(rule)
	return bytes.Equal(was, is), err
}
