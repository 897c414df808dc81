package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"activationd/activation"
	"activationd/event"
	"activationd/internal/fault"
)

// rollingEvent is the kind of events about rollouts.
const rollingEvent = "service.rolling"

// tell notes an event about a rollout.
func (r *Rollout) tell(t *activation.Txn, name, action string) {
	ev := event.Event{
		Topic: event.Topic("service", name, "rolling"), What: rollingEvent, ID: name, Action: action,
		State: r.State, Failed: r.State == Stopped, Reason: r.String(),
	}
	if r.Failed != nil {
		ev.Attempt = r.Failed.Run
	}
	t.Emit(ev)
}

// A Manner is how a rolling restart is begun.
type Manner int

const (
	Begin    Manner = iota
	Continue        // one that was stopped goes on
	Back            // the instances that have been restarted get their former declaration back
)

// Roll begins rolling restarts of the services of some instances; ranks has these in the order
// of [Roster.Order]. Instances that are down are left alone. If the declaration of a service has
// changed, all others with the former one are restarted, too. Roll does not wait; see
// [Roster.Rolled]. The error is of kind fault.Conflict if there is nothing to begin.
func (o *Roster) Roll(ctx context.Context, by activation.Actor, ranks [][]Status, how Manner) (names []string, err error) {
	o.mu.Lock() // so that Declare comes before or after
	defer o.mu.Unlock()
	type one struct {
		name     string
		chosen   []int
		after    []string
		declared *Declaration
	}
	var all []*one
	var before []string // the services of the rank before
	for _, rank := range ranks {
		var now []string
		for _, s := range rank {
			name := s.Serving.Service
			if !slices.Contains(now, name) {
				now = append(now, name)
				all = append(all, &one{name: name, after: before, declared: o.declared[name]})
			}
			last := all[slices.IndexFunc(all, func(o *one) bool { return o.name == name })]
			last.chosen = append(last.chosen, s.Serving.N)
		}
		before = now
		names = append(names, now...)
	}
	update := func(fn func(*activation.Txn) error) error { return o.engine.UpdateBy(ctx, by, fn) }
	_, err = o.engine.Slices(len(all), update, func(t *activation.Txn, i int) error {
		s := all[i]
		r, err := roll(t, s.name, s.declared, s.chosen, how)
		if err != nil {
			return err
		}
		r.By, r.At, r.After = by.Name, t.Now, s.after
		r.tell(t, s.name, "service restart")
		return r.save(t, s.name)
	})
	return names, err
}

// roll returns the rollout that is to begin. D is what the configuration declares.
func roll(t *activation.Txn, name string, d *Declaration, chosen []int, how Manner) (*Rollout, error) {
	v, old := versionsOf(t, name), rolloutOf(t, name)
	if d == nil {
		return nil, fmt.Errorf("the service %s is not declared any more: %w", name, fault.Conflict)
	}
	if old != nil && old.State == Rolling && how != Back {
		return nil, fmt.Errorf("a rolling restart of %s is going on, begun by %s; atctl service status %[1]s shows how far it is: %[3]w", name, old.By, fault.Conflict)
	}
	if how == Continue {
		if old == nil || old.State != Stopped {
			return nil, fmt.Errorf("no rolling restart of %s was stopped, so there is none to continue: %w", name, fault.Conflict)
		}
		old.again(func(turn Turn) (verdict, string) {
			if r, err := t.Record(ID(name, turn.N)); err == nil && r.Ready() { // its next run, perhaps
				return ready, ""
			}
			return look(t, name, turn)
		})
		old.addExtra(min(d.Surge, old.Left()), lastInstance(t, name))
		return old, nil
	}
	target := d
	if how == Back {
		target = v.of(v.Before)
		switch {
		case target != nil:
		case v.Refused != "":
			return nil, fmt.Errorf("%s has its former declaration already, and none is known from before that: %w", name, fault.Conflict)
		default:
			return nil, fmt.Errorf("%s was restarted with the declaration that it had before, so there is none to go back to; if its program is at fault, put the former program in its place, and use --continue: %w", name, fault.Conflict)
		}
	}
	hash := target.RestartHash()
	members, changes := members(t, name), false
	for _, r := range members {
		changes = changes || string(r.Serving.Hash) != hash
	}
	switch {
	case how == Back:
		v.Target, v.Before, v.Refused = hash, "", d.RestartHash()
	case changes:
		v.change(d, !old.Unfinished() && proven(members, v.Target))
	default:
		v.change(d, false)
		v.Before = ""
	}
	r := newRollout(members, hash, old, func(n int) bool { return how == Begin && slices.Contains(chosen, n) })
	r.Back = how == Back
	if len(r.Todo) == 0 && !old.Unfinished() {
		return nil, fmt.Errorf("no instance of %s is up; atctl service start %[1]s starts it: %[2]w", name, fault.Conflict)
	}
	r.addExtra(min(target.Surge, r.Left()), lastInstance(t, name))
	for _, m := range members { // those that are down have it at once
		if isDown(m) && string(m.Serving.Hash) != hash {
			if err := setInstance(t, target, m.Serving.N, "declared"); err != nil {
				return nil, err
			}
		}
	}
	return r, v.save(t, name)
}

// members returns the records of a service's instances, except those that are being removed.
func members(t *activation.Txn, name string) (all []*activation.Record) {
	for _, id := range t.Instances(name) {
		if r, err := t.Record(id); err == nil && r.PendingOutcome == "" {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b *activation.Record) int { return a.Serving.N - b.Serving.N })
	return all
}

// proven reports whether an instance is ready with a declaration.
func proven(all []*activation.Record, hash string) bool {
	return slices.ContainsFunc(all, func(r *activation.Record) bool { return r.Ready() && string(r.Serving.Hash) == hash })
}

// lastInstance is the highest number of a service's instances.
func lastInstance(t *activation.Txn, name string) (last int) {
	for _, r := range members(t, name) {
		last = max(last, r.Serving.N)
	}
	return last
}

// newRollout is a rollout of the instances that are up, and are chosen or have a declaration
// with another hash. Those that are not ready come first, after the extra ones
// of an earlier rollout that did not end.
func newRollout(members []*activation.Record, hash string, old *Rollout, chosen func(n int) bool) *Rollout {
	r := &Rollout{State: Rolling}
	var extra, ready, others []int
	for _, m := range members {
		switch n := m.Serving.N; {
		case old.Unfinished() && old.extra(n):
			r.Extra = append(r.Extra, n)
			if string(m.Serving.Hash) != hash || !m.Ready() {
				extra = append(extra, n)
			}
		case isDown(m) || !chosen(n) && string(m.Serving.Hash) == hash:
		case m.Ready():
			ready = append(ready, n)
		default:
			others = append(others, n)
		}
	}
	r.Todo = slices.Concat(extra, others, ready)
	return r
}

// look says what became of a turn.
func look(t *activation.Txn, name string, turn Turn) (verdict, string) {
	r, err := t.Record(ID(name, turn.N))
	if err != nil {
		return gone, ""
	}
	return outcome(r, turn.Run)
}

// setInstance makes an instance as d declares it.
func setInstance(t *activation.Txn, d *Declaration, n int, why string) error {
	i, err := d.activation(n)
	if err != nil {
		return err
	}
	_, err = t.SetInstance(i, why)
	return err
}

// step takes the next step of a service's rollout. Changed reports whether there was one.
func step(t *activation.Txn, name string) (changed bool, err error) {
	r := rolloutOf(t, name)
	if r == nil || r.State != Rolling {
		return false, nil
	}
	stop := func(why string) error {
		r.State, r.Failed = Stopped, &Failure{Why: why}
		r.tell(t, name, "")
		return r.save(t, name)
	}
	for _, other := range r.After {
		switch o := rolloutOf(t, other); {
		case o == nil || o.State == Rolled:
		case o.State == Stopped:
			return true, stop("the rolling restart of " + other + ", which comes first, was stopped")
		default:
			return false, nil
		}
	}
	v := versionsOf(t, name)
	target := v.of(v.Target)
	if target == nil {
		return true, stop("its declaration cannot be read from the store; atctl service restart --rolling begins again")
	}
	before := *r
	begin := r.advance(name, func(turn Turn) (verdict, string) { return look(t, name, turn) })
	if len(begin) == 0 && r.State == Rolling && len(r.Now) == len(before.Now) {
		return false, nil
	}
	for i, n := range begin {
		run, up, err := r.restart(t, target, n)
		if k := fault.Of(err); k == fault.Invalid || k == fault.Conflict { // an extra instance's id may be that of something else
			r.Todo = slices.Concat(begin[i:], r.Todo)
			return true, stop(fault.Text(err))
		}
		if err != nil {
			return false, err
		}
		if up {
			r.Now = append(r.Now, Turn{n, run})
		}
	}
	if err := r.endExtra(t, name, scaleOf(t, name).count(target)); err != nil {
		return false, err
	}
	if r.State != Rolling {
		r.tell(t, name, "")
	}
	return true, errors.Join(r.save(t, name), v.save(t, name))
}

// restart begins the turn of an instance. Up is false if it has none: somebody stopped the
// instance, or it is gone. Run is the number of its last run.
func (r *Rollout) restart(t *activation.Txn, d *Declaration, n int) (run int, up bool, err error) {
	old, err := t.Record(ID(d.Name, n))
	known := err == nil && old.State != activation.Finished && old.PendingOutcome == ""
	switch {
	case err != nil && fault.Of(err) != fault.NotFound:
		return 0, false, err
	case err == nil:
		run = old.LastN[0]
	}
	why := "rolling restart by " + r.By
	switch {
	case !r.extra(n) && !known:
		return 0, false, nil
	case !r.extra(n) && isDown(old):
		return 0, false, setInstance(t, d, n, why)
	}
	i, err := d.activation(n)
	if err != nil {
		return 0, false, err
	}
	i.Down = false
	return run, true, t.RestartInstance(i, why)
}

// endExtra removes the extra instances if the rollout is over, or if one of them did not get
// ready. Those that the service has by now, with so many instances as it is scaled to, stay.
func (r *Rollout) endExtra(t *activation.Txn, name string, count int) error {
	if r.State == Rolling || len(r.Extra) == 0 {
		return nil
	}
	if r.State == Stopped {
		if _, n, _ := ParseID(r.Failed.ID); !r.extra(n) {
			return nil // they stand in for the one that did not get ready
		}
	}
	for _, n := range r.Extra {
		if n <= count {
			continue
		}
		if err := t.RemoveInstance(ID(name, n), "the rolling restart is over"); err != nil && fault.Of(err) != fault.NotFound {
			return err
		}
	}
	r.Now = slices.DeleteFunc(r.Now, func(turn Turn) bool { return r.extra(turn.N) })
	r.Todo = slices.DeleteFunc(r.Todo, r.extra)
	r.Done = slices.DeleteFunc(r.Done, r.extra)
	r.Extra = nil
	return nil
}

// followRollouts carries out the rollouts, until ctx is done. It looks at all that go on, and
// at each again after an event about it or about one of its instances.
func (k *keeper) followRollouts(ctx context.Context) error {
	for {
		newest, err := k.roster.engine.Newest(ctx)
		if err == nil {
			err = k.rollAll(ctx)
		}
		if err == nil {
			err = k.roster.engine.Follow(ctx, newest, func(e *event.Event) error {
				switch {
				case e.What == event.Gap, e.What == rollingEvent:
					return k.rollAll(ctx)
				case e.Kind == string(activation.Service):
					name, _, _ := ParseID(e.ID)
					return k.roll(ctx, name)
				}
				return nil
			})
		}
		if ctx.Err() != nil {
			return err
		}
		k.place.Report.Error("rolling restarts cannot go on; trying again", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// rollAll takes the steps of all rollouts that go on.
func (k *keeper) rollAll(ctx context.Context) error {
	k.rolls = make(map[string]bool)
	err := k.roster.engine.View(ctx, func(t *activation.Txn) error {
		for key := range t.Scan(rolloutKey, "") {
			name := strings.TrimPrefix(key, rolloutKey)
			if r := rolloutOf(t, name); r != nil && r.State == Rolling {
				k.rolls[name] = true
			}
		}
		return nil
	})
	for name := range k.rolls {
		err = errors.Join(err, k.roll(ctx, name))
	}
	return err
}

// roll takes the steps of a rollout that goes on.
func (k *keeper) roll(ctx context.Context, name string) error {
	for k.rolls[name] {
		changed := false
		err := k.roster.engine.Update(ctx, func(t *activation.Txn) (err error) {
			changed, err = step(t, name)
			return err
		})
		if err != nil || !changed {
			return err
		}
	}
	return nil
}

// Rolled waits until no rolling restart of some services goes on. If one was stopped, the error
// says why, and is of kind fault.Conflict; of several, it is about the first. Newest is the
// number of an event from before they began.
func (o *Roster) Rolled(ctx context.Context, newest uint64, names []string) error {
	look := func() error {
		var found error
		err := o.engine.View(ctx, func(t *activation.Txn) error {
			found = errAwaited
			for _, name := range names {
				r := rolloutOf(t, name)
				switch {
				case r == nil || r.State == Rolled:
				case r.State == Rolling:
					found = nil
					return nil
				case errors.Is(found, errAwaited):
					found = fmt.Errorf("the rolling restart of %s was %s; --continue goes on, and --back undoes a change of the declaration: %w", name, r, fault.Conflict)
				}
			}
			return nil
		})
		return errors.Join(err, found)
	}
	err := look()
	if err == nil {
		err = o.engine.Follow(ctx, newest, func(e *event.Event) error {
			if e.What != rollingEvent && e.What != event.Gap {
				return nil
			}
			return look()
		})
	}
	if errors.Is(err, errAwaited) {
		return nil
	}
	return err
}
