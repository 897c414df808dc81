package panel

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"activationd/control"
)

// A rowKind is what the rows of the timeline can be.
type rowKind struct {
	name, title string
	rows        func(*view, *timelineData) (*rowSet, error)
}

// rowKinds are the choices, the first one unless the address says otherwise.
var rowKinds = []rowKind{
	{"devices", "Devices", (*view).deviceRows},
	{"services", "Services", (*view).serviceRows},
	{"queues", "Queues", (*view).queueRows},
	{"vlans", "VLANs", (*view).vlanRows},
}

// A rowSet is all rows that there are.
type rowSet struct {
	what, noun string // of a row, and of its bars
	use        string // what the rows in used are
	lede       string
	names      []string
	used       map[string]bool
	paused     map[string]*control.Pause
	// slots returns the slots of rows.
	slots func(names []string) (map[string][]slot, error)
	// with returns the rows with slots that a text is about; nil: it is not known.
	with func(text string) (map[string]bool, error)
}

// add adds a row once.
func (s *rowSet) add(d *timelineData, name, group string) {
	if name != "" && d.groups[name] == "" {
		s.names, d.groups[name] = append(s.names, name), group
	}
}

// filterRows sorts the rows, and leaves those that the address asks for.
func (v *view) filterRows(d *timelineData, s *rowSet) error {
	slices.SortFunc(s.names, d.compare)
	q := v.r.URL.Query()
	if of := q["device"]; len(of) > 0 {
		s.names = filter(s.names, func(name string) bool { return slices.Contains(of, name) })
	}
	if group := q.Get("group"); group != "" {
		s.names = filter(s.names, func(name string) bool { return d.groups[name] == group })
	}
	if d.Match == "" {
		return nil
	}
	text := strings.ToLower(d.Match)
	found := filter(s.names, func(name string) bool { return strings.Contains(strings.ToLower(name), text) })
	if len(found) == 0 && s.with != nil { // it may be an owner's name, or part of a label or an id
		with, err := s.with(text)
		if err != nil {
			return err
		}
		found = filter(s.names, func(name string) bool { return with[name] })
	}
	s.names = found
	return nil
}

// serviceRows returns a row for each instance of a service, with its runs.
func (v *view) serviceRows(d *timelineData) (*rowSet, error) {
	ctx, p := v.r.Context(), v.panel
	all, err := get[control.ServiceInstance](ctx, p, v.Caller, "service list", &control.ServiceIn{})
	if err != nil {
		return nil, err
	}
	set := &rowSet{what: "Instance", noun: "run", use: "ready", used: make(map[string]bool)}
	known := make(map[string]*control.ServiceInstance)
	for i := range all {
		one := &all[i]
		known[one.ID] = one
		set.used[one.ID] = one.State == "ready"
		set.add(d, one.ID, one.Service)
	}
	set.lede = "No service is declared."
	if n := len(all); n > 0 {
		set.lede = fmt.Sprintf("%d of %s ready.", len(filter(set.names, func(name string) bool { return set.used[name] })), plural(n, "instance is", "instances are"))
	}
	set.slots = func(names []string) (map[string][]slot, error) {
		of := make(map[string][]slot)
		for _, name := range names {
			detail, err := one[control.Detail](ctx, p, v.Caller, "show", &control.IDIn{ID: name})
			if err != nil {
				return nil, err
			}
			of[name] = v.runs(d, known[name], detail.Attempts)
		}
		return of, nil
	}
	return set, nil
}

// runs returns the runs of an instance that are in the window, and what it does if it does not run.
func (v *view) runs(d *timelineData, it *control.ServiceInstance, attempts []control.Attempt) (all []slot) {
	add := func(from, to time.Time, s slot) {
		if from.IsZero() || !from.Before(d.To) || !to.After(d.From) {
			return
		}
		s.ID, s.Device, s.Address = it.ID, it.ID, v.panel.base+"/services/"+segment(it.ID)
		s.From, s.Start, s.End, s.To = from, from, to, to
		all = append(all, s)
	}
	runs := false
	for _, a := range attempts {
		s := slot{Key: "run" + strconv.Itoa(a.N), Name: "run " + strconv.Itoa(a.N)}
		to := a.Ended
		if to.IsZero() {
			runs = true
			to, s.Shown, s.State, s.Open = v.Now, it.State, "running", true
			if it.State != "ready" {
				s.For = it.Reason
			}
		} else if s.State, s.Shown = "finished", "exited"; a.Reason != "stopped" && (a.Exit == nil || *a.Exit != 0) {
			s.Shown, s.Label = "failed", ending(&a)
		}
		add(a.Started, to, s)
	}
	if !runs && it.State != "down" {
		to := v.Now
		if it.Next.After(to) {
			to = it.Next.Time
		}
		add(it.Since, to, slot{Key: "now", Name: it.ID, Shown: it.State, For: it.Reason, Open: it.State == "fatal"})
	}
	return all
}

// ending says how an attempt ended.
func ending(a *control.Attempt) string {
	switch {
	case a.Exit != nil:
		return fmt.Sprintf("exited with status %d", *a.Exit)
	case a.Signal != "":
		return "ended by the signal " + a.Signal
	}
	return a.Reason
}

// queueRows returns a row for each queue, with how long its oldest message waits.
func (v *view) queueRows(d *timelineData) (*rowSet, error) {
	all, err := get[control.Queue](v.r.Context(), v.panel, v.Caller, "queue list", &control.QueueListIn{})
	if err != nil {
		return nil, err
	}
	set := &rowSet{what: "Queue", noun: "wait", use: "in work", used: make(map[string]bool), paused: make(map[string]*control.Pause)}
	of := make(map[string][]slot)
	waiting, dead := 0, int64(0)
	for i := range all {
		q := &all[i]
		set.add(d, q.Name, cmp.Or(q.Listener, "no listener"))
		set.used[q.Name] = q.Work > 0
		dead += q.Dead
		if q.Paused != nil {
			set.paused[q.Name] = &control.Pause{Since: q.Paused.At, Until: control.Instant{Time: q.Paused.Until}, By: q.Paused.By, Reason: q.Paused.Reason}
		}
		if q.Ready == 0 || q.Oldest.IsZero() {
			continue
		}
		waiting++
		s := slot{Key: q.Name, Address: v.panel.base + "/queues/" + segment(q.Name), Shown: "waiting", Name: fmt.Sprintf("%d ready", q.Ready), For: q.Reason, Open: true}
		s.ID, s.Device, s.State = q.Name, q.Name, "waiting"
		s.From, s.Start, s.End, s.To = q.Oldest.Time, q.Oldest.Time, v.Now, v.Now
		if s.Start.Before(d.To) && s.To.After(d.From) {
			of[q.Name] = append(of[q.Name], s)
		}
	}
	set.lede = "There is no queue."
	if n := len(all); n > 0 {
		set.lede = fmt.Sprintf("Messages wait in %d of %s; there are %s.", waiting, plural(n, "queue", "queues"), plural(int(dead), "dead letter", "dead letters"))
	}
	set.slots = func([]string) (map[string][]slot, error) { return of, nil }
	return set, nil
}

// vlanRows returns a row for each VLAN id that is not free.
func (v *view) vlanRows(d *timelineData) (*rowSet, error) {
	all, err := get[control.VLANLease](v.r.Context(), v.panel, v.Caller, "vlan list", &control.VLANListIn{})
	if err != nil {
		return nil, err
	}
	set := &rowSet{what: "VLAN", noun: "lease", use: "leased", used: make(map[string]bool)}
	of := make(map[string][]slot)
	leased := 0
	for _, l := range all {
		name := l.Domain + "/" + strconv.Itoa(l.ID)
		set.add(d, name, l.Domain)
		if set.used[name] = l.State == "leased"; set.used[name] {
			leased++
		}
		s := slot{Key: name, Address: v.panel.base + "/vlans?domain=" + segment(l.Domain), Shown: l.State, Name: cmp.Or(l.Holder, l.State), For: l.Reason, Open: true}
		if l.Holder != "" {
			s.Address = v.At(l.Holder)
		}
		s.ID, s.Device, s.State, s.Label = cmp.Or(l.Holder, name), name, l.State, l.Link
		s.From, s.Start, s.End, s.To = l.Since, l.Since, v.Now, v.Now
		if s.Start.Before(d.To) && s.To.After(d.From) {
			of[name] = append(of[name], s)
		}
	}
	set.lede = "All VLANs are free."
	if len(all) > 0 {
		set.lede = fmt.Sprintf("%s leased, %d in quarantine.", plural(leased, "VLAN is", "VLANs are"), len(all)-leased)
	}
	set.slots = func([]string) (map[string][]slot, error) { return of, nil }
	return set, nil
}
