package service

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"activationd/activation"
	"activationd/event"
	"activationd/internal/fault"
)

// A Scale is a number of instances that somebody wants instead of the declared one.
type Scale struct {
	Instances int       `json:"instances"`
	By        string    `json:"by"`
	At        time.Time `json:"at"`
}

// scaleKey begins the keys of scales, by the services' keys.
const scaleKey = "sv/"

// scaleOf returns the scale of a service; nil: it has none.
func scaleOf(t *activation.Txn, name string) *Scale {
	data := t.Get(scaleKey + name)
	if data == nil {
		return nil
	}
	s := new(Scale)
	if err := json.Unmarshal(data, s); err != nil || s.Instances < 1 || s.Instances > MaxInstances {
		t.Log(slog.LevelError, "the number of instances cannot be read; the declared one is used", "service", name)
		return nil
	}
	return s
}

// count is the number of instances that a service has with a scale.
func (s *Scale) count(d *Declaration) int {
	if s == nil {
		return d.Instances
	}
	return s.Instances
}

// A plan is how many instances services have.
type plan struct {
	scales map[string]*Scale // by key, those in the store
	unfit  map[string]string // by key, why a scale is not carried out
	down   map[string]bool   // whether all instances of a service are down; it has none: missing

	members  map[string][]*activation.Record // the instances of services that are not being removed
	versions map[string]*versions
	rollouts map[string]*Rollout // the newest ones of services that have one
	stored   map[string]bool     // the keys of all versions and rollouts
	ended    map[string]bool     // services of which the steps so far end a run
}

// read reads what a plan for some services needs to know.
func (p *plan) read(t *activation.Txn, declared map[string]*Declaration) error {
	*p = plan{
		scales: make(map[string]*Scale), down: make(map[string]bool), members: make(map[string][]*activation.Record),
		versions: make(map[string]*versions), rollouts: make(map[string]*Rollout),
	}
	for k := range t.Scan(scaleKey, "") {
		name := strings.TrimPrefix(k, scaleKey)
		if s := scaleOf(t, name); s != nil {
			p.scales[name] = s
		}
	}
	for name := range declared {
		p.versions[name], p.members[name] = versionsOf(t, name), members(t, name)
		if r := rolloutOf(t, name); r != nil {
			p.rollouts[name] = r
		}
		if len(t.Instances(name)) > 0 {
			p.down[name] = !slices.ContainsFunc(p.members[name], func(r *activation.Record) bool { return !isDown(r) })
		}
	}
	return nil
}

// fit finds the scales that declarations do not allow, though they are sound.
func (p *plan) fit(declared map[string]*Declaration) {
	p.unfit = make(map[string]string)
	sound := make(map[string]bool)
	for _, f := range faultsOf(declared, nil) {
		sound[f.Error()] = true
	}
	for {
		counts := make(map[string]int)
		for name, s := range p.scales {
			if p.unfit[name] == "" {
				counts[name] = s.Instances
			}
		}
		faults := slices.DeleteFunc(faultsOf(declared, counts), func(f *Fault) bool { return sound[f.Error()] })
		if len(faults) == 0 || len(counts) == 0 {
			return
		}
		found := false
		for _, f := range faults {
			if name := f.Service.Name; counts[name] > 0 {
				p.unfit[name], found = f.Where()+": "+f.Text, true
			}
		}
		for name := range counts {
			if !found { // one of them is at the address of a service without a scale
				p.unfit[name] = faults[0].Where() + ": " + faults[0].Text
			}
		}
	}
}

// faultsOf checks declarations with other numbers of instances.
func faultsOf(declared map[string]*Declaration, counts map[string]int) []*Fault {
	var all []*Declaration
	for _, name := range slices.Sorted(maps.Keys(declared)) {
		d := *declared[name]
		d.Instances = cmp.Or(counts[name], d.Instances)
		all = append(all, &d)
	}
	_, faults := Validate(all)
	return faults
}

// count is the number of instances of a service.
func (p *plan) count(d *Declaration) int {
	if p.unfit[d.Name] != "" {
		return d.Instances
	}
	return p.scales[d.Name].count(d)
}

// countNow is count in a later transaction: somebody may have scaled the service meanwhile.
func (p *plan) countNow(t *activation.Txn, d *Declaration) int {
	now, then := scaleOf(t, d.Name), p.scales[d.Name]
	if (now == nil) == (then == nil) && now.count(d) == then.count(d) {
		return p.count(d)
	}
	return now.count(d)
}

// isDown reports whether somebody wants an instance down.
func isDown(r *activation.Record) bool { return r.State == activation.Held || r.HoldNext }

// Scale has the services that a pattern names run with so many instances, whatever number is
// declared; 0: with the declared number again. Instances whose numbers remain are left alone,
// new ones are started unless all others are down, and those with the highest numbers are
// removed. It is remembered until the configuration no longer declares the service. The error
// is of kind fault.Invalid if instances would be at one address.
func (o *Roster) Scale(ctx context.Context, by activation.Actor, pattern string, instances int) (names []string, err error) {
	if instances < 0 || instances > MaxInstances {
		return nil, fmt.Errorf("instances: want a number from 1 to %d, have %d; to have none run, stop the service: %w", MaxInstances, instances, fault.Invalid)
	}
	o.mu.Lock() // so that Declare comes before or after
	defer o.mu.Unlock()
	pattern = Key(pattern)
	for name := range o.declared {
		if matches(pattern, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if len(names) == 0 {
		if name, _, ok := ParseID(pattern); ok && o.declared[name] != nil {
			return nil, fmt.Errorf("%s is an instance; name the service %s: %w", pattern, name, fault.Invalid)
		}
		return nil, fmt.Errorf("there is no service %s; atctl service list shows all: %w", pattern, fault.NotFound)
	}
	var p plan
	err = o.engine.View(ctx, func(t *activation.Txn) error { return p.read(t, o.declared) })
	if err != nil {
		return nil, err
	}
	p.fit(o.declared)
	was := make(map[string]int)
	for _, name := range names {
		was[name] = p.count(o.declared[name])
		delete(p.scales, name)
		if instances > 0 {
			p.scales[name] = &Scale{Instances: instances, By: by.Name}
		}
	}
	p.fit(o.declared)
	for _, name := range names {
		if why := p.unfit[name]; why != "" {
			return nil, fmt.Errorf("%s: %w", why, fault.Invalid)
		}
	}
	var steps []func(*activation.Txn) error
	for _, name := range names {
		steps = append(steps, p.steps(o.declared[name], was[name], by)...)
	}
	update := func(fn func(*activation.Txn) error) error { return o.engine.UpdateBy(ctx, by, fn) }
	_, err = o.engine.Slices(len(steps), update, func(t *activation.Txn, i int) error { return steps[i](t) })
	return names, err
}

// steps returns the steps that scale a service. If the daemon dies between two of them,
// its next load does the rest.
func (p *plan) steps(d *Declaration, was int, by activation.Actor) []func(*activation.Txn) error {
	s, n := p.scales[d.Name], p.count(d)
	why := fmt.Sprintf("scaled from %d to %d by %s", was, n, by.Name)
	steps := []func(*activation.Txn) error{func(t *activation.Txn) error {
		t.Emit(event.Event{
			Topic: event.Topic("service", d.Name, "scaled"), What: "service.scaled", ID: d.Name, Action: "service scale", Reason: why,
		})
		if s == nil {
			return t.Delete(scaleKey + d.Name)
		}
		kept := *s
		kept.At = t.Now
		data, err := json.Marshal(kept)
		if err != nil {
			return err
		}
		return t.Put(scaleKey+d.Name, data)
	}}
	for i := was + 1; i <= n; i++ {
		steps = append(steps, func(t *activation.Txn) error {
			_, err := p.set(t, d, i, why)
			return err
		})
	}
	for i := was; i > n; i-- { // the highest numbers first
		steps = append(steps, func(t *activation.Txn) error {
			err := t.RemoveInstance(ID(d.Name, i), why)
			if fault.Of(err) == fault.NotFound { // it could not be made
				return nil
			}
			return err
		})
	}
	return steps
}

// target is the declaration that instances of a service are to have: the declared one, unless
// somebody took it back.
func (p *plan) target(d *Declaration) *Declaration {
	v := p.versions[d.Name]
	if former := v.of(v.Target); v.Refused == d.RestartHash() && former != nil {
		return former
	}
	return d
}

// set makes an instance as it is declared. A new one of a service that has others is down if
// these are. One that a rolling restart has not come to is left alone; what is "rolling".
func (p *plan) set(t *activation.Txn, d *Declaration, n int, why string) (what string, err error) {
	i, err := p.target(d).activation(n)
	if err != nil {
		return "", err
	}
	if p.rollouts[d.Name].Unfinished() {
		r, err := t.Record(ID(d.Name, n))
		if err == nil && r.State != activation.Finished && r.PendingOutcome == "" && !isDown(r) && !slices.Equal(r.Serving.Hash, i.Hash) {
			return "rolling", nil
		}
	}
	if down, known := p.down[d.Name]; known {
		i.Down = down
	}
	return t.SetInstance(i, why)
}
