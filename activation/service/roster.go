package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"activationd/activation"
	"activationd/activation/service/probe"
	"activationd/event"
	"activationd/internal/fault"
)

// A Roster keeps the instances of all services as they are declared. It makes their records
// and changes and removes them; the engine carries out what these say. Make it with
// [NewRoster].
type Roster struct {
	engine *activation.Engine

	mu       sync.Mutex
	declared map[string]*Declaration // by key, as they were last applied
	changed  chan struct{}           // closed when declared is replaced
	probes   *probe.Keeper           // nil: nothing is checked yet
}

// NewRoster returns the roster of an engine's services. It must be called before the engine
// runs.
func NewRoster(e *activation.Engine) *Roster {
	o := &Roster{engine: e, declared: make(map[string]*Declaration), changed: make(chan struct{})}
	e.Register(activation.ServiceKind, o)
	return o
}

// Due implements [activation.Producer]. Nothing is entered, so nothing is due.
func (o *Roster) Due(*activation.Txn, string) (bool, error) { return false, fault.NotFound }

// Woken implements [activation.Producer].
func (o *Roster) Woken(*activation.Txn, activation.Wake) error { return nil }

// Ended implements [activation.Producer].
func (o *Roster) Ended(*activation.Txn, *activation.Record, *activation.Record) error { return nil }

// Declare returns the steps that apply a set of declarations, which Validate has found sound.
// Each step fits into a transaction of its own. They say in their reports what they do. The
// instances of rejected services stay as they are; a fault without a text is not reported.
func (o *Roster) Declare(ctx context.Context, declared []*Declaration, rejected []*Fault, dryRun bool) ([]func(*activation.Txn) (activation.Report, error), error) {
	all := make(map[string]*Declaration, len(declared))
	for _, d := range declared {
		all[d.Name] = d
	}
	refused := make(map[string]bool)
	for _, f := range rejected {
		refused[f.Service.Name] = true
	}
	o.mu.Lock() // so that Scale comes before or after
	defer o.mu.Unlock()
	p := new(plan)
	var existing []string
	err := o.engine.View(ctx, func(t *activation.Txn) error {
		existing = t.Instances("")
		if err := p.read(t, all); err != nil {
			return err
		}
		p.stored = make(map[string]bool)
		for _, prefix := range []string{versionsKey, rolloutKey} {
			for k := range t.Scan(prefix, "") {
				p.stored[k] = true
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	p.fit(all)
	p.ended = make(map[string]bool)
	steps := append(o.steps(p, all, refused, existing), func(t *activation.Txn) (activation.Report, error) { return p.bound(t, all), nil })
	for _, f := range rejected {
		if f.Text != "" {
			steps = append(steps, says("rejected", f.Service.Shown, f.Error()))
		}
	}
	for key := range p.stored {
		name := key[strings.IndexByte(key, '/')+1:]
		if all[name] == nil && !refused[name] {
			steps = append(steps, func(t *activation.Txn) (rep activation.Report, err error) { return rep, t.Delete(key) })
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.scales)) {
		switch {
		case p.unfit[name] != "" && all[name] != nil:
			steps = append(steps, says("notice", all[name].Shown, fmt.Sprintf("runs %d instances, as declared, not %d as scaled by %s: %s", all[name].Instances, p.scales[name].Instances, p.scales[name].By, p.unfit[name])))
		case all[name] == nil && !refused[name]:
			steps = append(steps, func(t *activation.Txn) (rep activation.Report, err error) { return rep, t.Delete(scaleKey + name) })
		}
	}
	if !dryRun {
		kept := maps.Clone(all)
		for name := range refused {
			if d := o.declared[name]; d != nil {
				kept[name] = d
			}
		}
		o.declared = kept
		close(o.changed)
		o.changed = make(chan struct{})
	}
	return steps, nil
}

// renew returns the steps that make d what the instances of its service are to have. If they
// had another declaration, and d says so, a rolling restart brings them the new one.
func (p *plan) renew(d *Declaration) (steps []func(*activation.Txn) (activation.Report, error)) {
	v, hash, old := p.versions[d.Name], d.RestartHash(), p.rollouts[d.Name]
	changed := hash != v.Target
	switch {
	case hash == v.Refused:
		return append(steps, says("notice", d.Shown, "runs with its former declaration, because somebody chose --back; atctl service restart --rolling "+d.Shown+" applies the new one"))
	case changed:
		v.change(d, !old.Unfinished() && proven(p.members[d.Name], v.Target))
	default:
		v.set(d)
	}
	if changed {
		delete(p.rollouts, d.Name)
		r := newRollout(p.members[d.Name], hash, old, func(int) bool { return false })
		if d.Rolling && len(r.Todo) > 0 {
			last := p.count(d)
			for _, m := range p.members[d.Name] {
				last = max(last, m.Serving.N)
			}
			r.addExtra(min(d.Surge, r.Left()), last)
			p.rollouts[d.Name] = r
		}
	}
	r := p.rollouts[d.Name]
	return append(steps, func(t *activation.Txn) (rep activation.Report, err error) {
		switch {
		case changed && r != nil:
			r.By, r.At = "a reload", t.Now
			r.tell(t, d.Name, "")
			err = r.save(t, d.Name)
		case changed && old != nil:
			err = t.Delete(rolloutKey + d.Name)
		}
		return rep, errors.Join(err, v.save(t, d.Name))
	})
}

// says returns a step that only adds a line to the report.
func says(what, id, text string) func(*activation.Txn) (activation.Report, error) {
	return func(*activation.Txn) (rep activation.Report, err error) {
		if what == "rejected" {
			rep.Rejected++
		}
		rep.Add(activation.ReportLine{What: what, ID: id, Source: activation.Declared, Text: text})
		return rep, nil
	}
}

// steps returns the steps that make, change and remove instances. All are the declarations to
// be applied; the instances of refused services are not touched.
func (o *Roster) steps(p *plan, all map[string]*Declaration, refused map[string]bool, existing []string) (steps []func(*activation.Txn) (activation.Report, error)) {
	for _, key := range slices.Sorted(maps.Keys(all)) {
		d := all[key]
		steps = append(steps, p.renew(d)...)
		for n := 1; n <= p.count(d); n++ {
			steps = append(steps, func(t *activation.Txn) (rep activation.Report, err error) {
				if n > p.countNow(t, d) {
					return rep, nil
				}
				return o.apply(t, p, d, n)
			})
		}
	}
	gone := slices.Clone(existing)
	slices.SortFunc(gone, compareIDs)
	for _, id := range slices.Backward(gone) { // the highest numbers first
		name, n, _ := ParseID(id)
		d := all[name]
		if r := p.rollouts[name]; refused[name] || d != nil && (n <= p.count(d) || r.Unfinished() && r.extra(n)) {
			continue
		}
		steps = append(steps, func(t *activation.Txn) (rep activation.Report, err error) {
			r, err := t.Record(id)
			if errors.Is(err, fault.NotFound) || err == nil && (r.PendingOutcome != "" || r.State == activation.Finished) || d != nil && n <= p.countNow(t, d) {
				return rep, nil
			}
			if err != nil {
				return rep, err
			}
			why := "the configuration no longer declares it"
			switch {
			case d != nil && p.scales[name] != nil && p.unfit[name] == "":
				why = fmt.Sprintf("its service is scaled to %d by %s", p.scales[name].Instances, p.scales[name].By)
			case d != nil:
				why = "its service is declared with fewer instances"
			}
			p.ended[name] = p.ended[name] || r.Running()
			rep.Count("removed", id, activation.Declared)
			return rep, t.RemoveInstance(id, why)
		})
	}
	return steps
}

// bound tells which services restart only because they are bound to one whose runs the steps end.
func (p *plan) bound(t *activation.Txn, all map[string]*Declaration) (rep activation.Report) {
	told := make(map[string]bool)
	for again := true; again; {
		again = false
		for _, name := range slices.Sorted(maps.Keys(all)) {
			d := all[name]
			to := slices.IndexFunc(d.After, func(need Dependency) bool { return p.ended[need.Name] || told[need.Name] })
			if !d.Bind || to < 0 || p.ended[name] || told[name] {
				continue
			}
			if slices.ContainsFunc(t.Instances(name), func(id string) bool {
				r, err := t.Record(id)
				return err == nil && r.Running()
			}) {
				told[name], again = true, true
				rep.Add(activation.ReportLine{What: "notice", ID: d.Shown, Source: activation.Declared, Text: "restarts, too, because it is bound to " + d.After[to].Name})
			}
		}
	}
	return rep
}

// compareIDs orders ids of instances by service and number.
func compareIDs(a, b string) int {
	s, n, _ := ParseID(a)
	u, k, _ := ParseID(b)
	if c := strings.Compare(s, u); c != 0 {
		return c
	}
	return n - k
}

// apply makes one instance as it is declared.
func (o *Roster) apply(t *activation.Txn, p *plan, d *Declaration, n int) (rep activation.Report, err error) {
	id := ID(d.Name, n)
	what, err := p.set(t, d, n, "the configuration declares it")
	if err == nil {
		if what == "changed" || what == "rolling" {
			r, err := t.Record(id)
			p.ended[d.Name] = p.ended[d.Name] || err == nil && r.Running()
		}
		if rep.Count(what, id, activation.Declared); what == "" {
			rep.Unchanged++
		}
		return rep, nil
	}
	if k := fault.Of(err); k == fault.Invalid || k == fault.Conflict {
		rep.Rejected++
		rep.Add(activation.ReportLine{What: "rejected", ID: id, Source: activation.Declared, Text: fault.Text(err)})
		return rep, nil
	}
	return rep, err
}

// Order is what the engine is to run as an instance.
func (d *Declaration) Order(n int) (activation.Order, error) {
	i, err := d.activation(n)
	return i.Order, err
}

// activation is an instance as the engine has it.
func (d *Declaration) activation(n int) (activation.Instance, error) {
	i, err := d.Instance(n)
	if err != nil {
		return activation.Instance{}, fmt.Errorf("%s: %w", i.ID, err)
	}
	grace := d.Grace
	s := activation.AsDeclared{
		Service: d.Name, N: n, Hash: []byte(d.RestartHash()),
		Restart: d.Restart, BackoffFirst: d.Backoff.First, BackoffMax: d.Backoff.Max, Stable: d.Stable,
		StartLimit: d.StartLimit.Count, LimitWindow: d.StartLimit.Window, FatalRetry: d.FatalRetry,
		Checked: d.Ready != nil, Notify: d.UsesNotify(), Watchdog: d.Watchdog(), Bind: d.Bind, Drain: d.Drain, StopSignal: int(signals[d.StopSignal]),
		Nice: d.Nice, Limits: d.Limits, LogSize: d.Log.Size, LogKeep: d.Log.Keep, LogAge: d.Log.Age, Listen: i.Listen,
	}
	for _, a := range d.After {
		s.Needs = append(s.Needs, activation.Need{Service: a.Name, Started: a.Condition == Started})
	}
	owner := "root"
	if d.User != nil {
		owner = d.User.Name
	}
	o := activation.Order{
		Owner: owner, User: d.User, Argv: i.Command, Dir: i.Dir, Env: i.Env, Umask: d.Umask, Grace: &grace, Label: d.Shown, Tags: d.Groups,
	}
	s.Live = []byte(hash([]any{o, s, d.LiveHash()}))
	return activation.Instance{Order: o, AsDeclared: s, Down: !d.Autostart}, nil
}

// A Status is what is known of an instance.
type Status struct {
	activation.View
	Declaration *Declaration // with which it runs; nil: its service is no longer declared
	Scale       *Scale       // of its service; nil: it has none
	Rollout     *Rollout     // the newest of its service; nil: it has none
}

// Select returns the instances of the services that a pattern names, or of all services
// without one, sorted by name and number. A pattern is the name of a service, with * and ? for
// any characters, or the id of an instance. If a group is given, only services in it are
// chosen. The error is of kind fault.NotFound if a pattern names nothing, or if none of them
// is in the group.
func (o *Roster) Select(ctx context.Context, by activation.Actor, patterns []string, group string) ([]Status, error) {
	o.mu.Lock()
	declared := o.declared
	o.mu.Unlock()
	var all []Status
	var known []string
	used := make(map[string]bool)
	wanted := make(map[string]bool) // those patterns that are ids, of which there may be a thousand
	var names []string
	for _, p := range patterns {
		if p = Key(p); isID(p) {
			wanted[p] = true
		} else {
			names = append(names, p)
		}
	}
	err := o.engine.View(ctx, func(t *activation.Txn) error {
		all = nil
		known = t.Instances("")
		services := make(map[string]*serviceNow)
		for _, id := range known {
			name, _, ok := ParseID(id)
			if !ok {
				continue
			}
			chosen := len(patterns) == 0 || wanted[id]
			used[id] = true
			for _, p := range names {
				if matches(p, name) {
					chosen, used[p] = true, true
				}
			}
			if !chosen {
				continue
			}
			v, err := t.InstanceView(id, by)
			if err != nil {
				return err
			}
			if group != "" && !slices.Contains(v.Tags, group) {
				continue
			}
			s := services[name]
			if s == nil {
				s = newServiceNow(t, name, declared[name])
				services[name] = s
			}
			all = append(all, Status{View: v, Declaration: s.declaration(t, v.Serving.Hash), Scale: s.scale, Rollout: s.rollout})
		}
		return nil
	})
	for _, p := range patterns {
		if err == nil && !used[Key(p)] {
			err = fmt.Errorf("there is no service %s; %s: %w", p, instead(p, known), fault.NotFound)
		}
	}
	if err == nil && group != "" && len(all) == 0 {
		err = fmt.Errorf("no service of these is in the group %s; atctl service list --json shows the groups: %w", group, fault.NotFound)
	}
	slices.SortFunc(all, func(a, b Status) int { return compareIDs(a.ID, b.ID) })
	return all, err
}

// A serviceNow is what Select knows of a service.
type serviceNow struct {
	declared *Declaration // nil: it is no longer declared
	hash     string
	scale    *Scale
	rollout  *Rollout
}

func newServiceNow(t *activation.Txn, name string, d *Declaration) *serviceNow {
	s := &serviceNow{declared: d, scale: scaleOf(t, name), rollout: rolloutOf(t, name)}
	if d != nil {
		s.hash = d.RestartHash()
	}
	return s
}

// declaration returns the declaration with which an instance runs, by its hash.
func (s *serviceNow) declaration(t *activation.Txn, hash []byte) *Declaration {
	if s.declared == nil || s.hash == string(hash) {
		return s.declared
	}
	return cmp.Or(versionsOf(t, s.declared.Name).of(string(hash)), s.declared)
}

// instead is a hint for somebody who has named no service. Known are the ids of all instances.
func instead(pattern string, known []string) string {
	name, _, _ := strings.Cut(Key(pattern), "@")
	begins := func(with string) bool {
		return slices.ContainsFunc(known, func(id string) bool { return strings.HasPrefix(id, with) })
	}
	switch {
	case name == "all":
		return "'*' means all services"
	case begins(name + "@"):
		return "atctl service list " + name + " shows the instances"
	case begins(name + "_"):
		return "'" + name + "/*' means all services of this project"
	}
	return "atctl service list shows all"
}

func isID(text string) bool { _, _, ok := ParseID(text); return ok }

func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return err == nil && ok
}

// Order sorts instances in the order in which their services start: those that others need
// come first. What they need is in their records, so it is known before the configuration is
// read.
func (o *Roster) Order(ctx context.Context, by activation.Actor, all []Status) (ranks [][]Status, err error) {
	var needs map[string]map[string]bool
	if anyNeeds(all) {
		if needs, err = o.needs(ctx, by); err != nil {
			return nil, err
		}
	}
	rank := make(map[string]int)
	var of func(name string, seen int) int
	of = func(name string, seen int) int {
		n, known := rank[name]
		if known || seen > len(needs) {
			return n
		}
		for need := range needs[name] {
			n = max(n, of(need, seen+1)+1)
		}
		rank[name] = n
		return n
	}
	for _, s := range all {
		n := of(s.Serving.Service, 0)
		for len(ranks) <= n {
			ranks = append(ranks, nil)
		}
		ranks[n] = append(ranks[n], s)
	}
	return slices.DeleteFunc(ranks, func(r []Status) bool { return len(r) == 0 }), nil
}

// needs returns, for each service, the services that its instances need.
func (o *Roster) needs(ctx context.Context, by activation.Actor) (map[string]map[string]bool, error) {
	every, err := o.Select(ctx, by, nil, "")
	needs := make(map[string]map[string]bool)
	for _, s := range every {
		name := s.Serving.Service
		if needs[name] == nil {
			needs[name] = make(map[string]bool)
		}
		for _, need := range s.Serving.Needs {
			needs[name][need.Service] = true
		}
	}
	return needs, err
}

// Down reports whether somebody wants the instance down.
func (s *Status) Down() bool { return isDown(&s.Record) }

// Uptime is how long the instance's process runs; zero: none runs.
func (s *Status) Uptime(now time.Time) time.Duration {
	if !s.Running() || s.Record.Started().IsZero() {
		return 0
	}
	return now.Sub(s.Record.Started())
}

// anyNeeds reports whether an instance needs others. If none does, their order is known without
// reading all other instances.
func anyNeeds(all []Status) bool {
	return slices.ContainsFunc(all, func(s Status) bool { return len(s.Serving.Needs) > 0 })
}

// WithNeeded returns instances together with those of the services that they need, directly
// or not.
func (o *Roster) WithNeeded(ctx context.Context, by activation.Actor, all []Status) ([]Status, error) {
	if !anyNeeds(all) {
		return all, nil
	}
	return o.with(ctx, by, all, func(a, b *Status) bool { return a.needs(b) })
}

// Dependants returns the instances that run or are to run, are not among the given ones, and
// need these, directly or not.
func (o *Roster) Dependants(ctx context.Context, by activation.Actor, all []Status) ([]Status, error) {
	more, err := o.with(ctx, by, all, func(a, b *Status) bool { return b.needs(a) })
	more = more[min(len(all), len(more)):]
	return slices.DeleteFunc(more, func(s Status) bool { return s.Down() }), err
}

// needs reports whether the instance needs another one's service.
func (s *Status) needs(other *Status) bool {
	return slices.ContainsFunc(s.Serving.Needs, func(n activation.Need) bool { return n.Service == other.Serving.Service })
}

// with returns instances, and after them those of services to which leads has a way from
// theirs.
func (o *Roster) with(ctx context.Context, by activation.Actor, all []Status, leads func(from, to *Status) bool) ([]Status, error) {
	every, err := o.Select(ctx, by, nil, "")
	if err != nil {
		return all, err
	}
	has := make(map[string]bool)
	for _, s := range all {
		has[s.ID] = true
	}
	all = slices.Clone(all)
	for i := 0; i < len(all); i++ {
		for _, s := range every {
			if !has[s.ID] && leads(&all[i], &s) {
				has[s.ID] = true
				all = append(all, s)
			}
		}
	}
	return all, nil
}

// Await returns when done says so of each of some instances, or fails. It looks at them now,
// and after each event about one of them; newest is an event from before the change that it
// waits for.
func (o *Roster) Await(ctx context.Context, newest uint64, ids []string, done func(*Status) (bool, error)) error {
	if len(ids) == 0 {
		return nil
	}
	left := make(map[string]bool)
	for _, id := range ids {
		left[id] = true
	}
	look := func(ids []string) error {
		all, err := o.Select(ctx, activation.Actor{}, ids, "")
		if err != nil && !errors.Is(err, fault.NotFound) {
			return err
		}
		for _, id := range ids {
			delete(left, id)
		}
		for i := range all {
			ok, err := done(&all[i])
			if err != nil {
				return err
			}
			if !ok {
				left[all[i].ID] = true
			}
		}
		if len(left) == 0 {
			return errAwaited
		}
		return nil
	}
	err := look(ids)
	if err == nil {
		err = o.engine.Follow(ctx, newest, func(e *event.Event) error {
			switch {
			case e.What == event.Gap:
				return look(slices.Collect(maps.Keys(left)))
			case left[e.ID]:
				return look([]string{e.ID})
			}
			return nil
		})
	}
	if errors.Is(err, errAwaited) {
		return nil
	}
	return err
}

var errAwaited = errors.New("awaited")
