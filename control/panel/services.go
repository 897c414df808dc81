package panel

import (
	"fmt"
	"slices"
	"strings"

	"activationd/control"
)

// servicesData is what the list of services shows.
type servicesData struct {
	Lede     string // how many of them are in which state
	Tabs     []link
	Chips    []chip
	Match    string
	Keep     []pair
	Services []serviceRow
	All      int // instances, also those that do not match
	Next     string
	Paged    bool
}

// A serviceRow is a service with the instances of it that are shown.
type serviceRow struct {
	Name      string
	Ready     int
	Of        int
	Groups    []string
	Scaled    *control.ServiceScale
	Rollout   *control.ServiceRollout
	Instances []control.ServiceInstance
	Buttons   []*button
}

// troubled are the states of instances that somebody should look at.
var troubled = []string{"unready", "backoff", "fatal", "waiting"}

// serviceStates are the states in the order in which people want to know about them.
var serviceStates = []string{"fatal", "backoff", "unready", "waiting", "starting", "draining", "stopping", "ready", "down"}

func (p *Panel) fillServices(v *view) error {
	q := v.r.URL.Query()
	all, err := get[control.ServiceInstance](v.r.Context(), p, v.Caller, "service list", &control.ServiceIn{Group: q.Get("group")})
	if err != nil {
		return err
	}
	d := servicesData{All: len(all), Match: q.Get("match"), Paged: q.Get("after") != ""}
	d.Lede = countStates(all)
	show := q.Get("show")
	d.Tabs = v.tabs("show", []string{"after"}, pair{"All", ""}, pair{"Not ready", "troubled"})
	d.Chips = v.chips("group", "state")
	d.Keep = v.keep("match", "after")
	byName := make(map[string]*serviceRow)
	var rows []*serviceRow
	shown := 0
	for i := range all {
		one := &all[i]
		row := byName[one.Service]
		if row == nil {
			row = &serviceRow{Name: one.Service, Groups: one.Groups, Scaled: one.Scaled, Rollout: one.Rollout}
			byName[one.Service], rows = row, append(rows, row)
		}
		row.Of++
		if one.State == "ready" {
			row.Ready++
		}
		row.note(v, one)
		if show == "troubled" && !slices.Contains(troubled, one.State) || len(q["state"]) > 0 && !slices.Contains(q["state"], one.State) ||
			!contains(d.Match, one.ID, one.Service, one.Reason, one.Command) {
			continue
		}
		if d.Paged && row.Instances == nil && one.Service <= q.Get("after") {
			continue
		}
		row.Instances = append(row.Instances, *one)
	}
	for _, row := range rows {
		if len(row.Instances) == 0 {
			continue
		}
		if shown >= pageRows {
			d.Next = v.With("after", d.Services[len(d.Services)-1].Name)
			break
		}
		shown += len(row.Instances)
		d.Services = append(d.Services, *row)
	}
	v.Data = d
	return nil
}

// Alone reports whether the service is its one instance, which needs no heading.
func (row *serviceRow) Alone() bool {
	return row.Of == 1 && row.Scaled == nil && row.Rollout == nil && row.Instances[0].ID == row.Name+"@1"
}

// note gives a service the buttons that can do something about an instance.
func (row *serviceRow) note(v *view, one *control.ServiceInstance) {
	for _, op := range serviceButtons(one.State) {
		if slices.ContainsFunc(row.Buttons, func(b *button) bool { return b.Op == op }) {
			continue
		}
		if b := v.Button(op, "name", row.Name); b != nil {
			row.Buttons = append(row.Buttons, b)
		}
	}
	slices.SortFunc(row.Buttons, func(a, b *button) int { return strings.Compare(b.Op, a.Op) }) // stop, start, restart
	slices.Reverse(row.Buttons)
}

// serviceButtons are the operations that can do something about an instance in a state.
func serviceButtons(state string) []string {
	switch state {
	case "down":
		return []string{"service start"}
	case "fatal", "backoff":
		return []string{"service start", "service stop"}
	case "stopping", "draining":
		return nil
	}
	return []string{"service restart", "service stop"}
}

// countStates says how many instances are in which state: "8 instances: 2 fatal, 6 ready".
func countStates(all []control.ServiceInstance) string {
	counts := make(map[string]int)
	for i := range all {
		counts[all[i].State]++
	}
	var parts []string
	for _, state := range serviceStates {
		if n := counts[state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, word(state)))
		}
	}
	return plural(len(all), "instance", "instances") + ": " + strings.Join(parts, ", ")
}

// instanceData is what the page of an instance shows.
type instanceData struct {
	It      control.ServiceInstance
	Runs    []control.Attempt // the newest first
	Log     logView
	Buttons []*button
}

func (p *Panel) fillInstance(v *view) error {
	ctx, id := v.r.Context(), v.r.PathValue("id")
	var d instanceData
	var err error
	if d.It, err = one[control.ServiceInstance](ctx, p, v.Caller, "service list", &control.ServiceIn{Name: []string{id}}); err != nil {
		return err
	}
	it, err := one[control.Detail](ctx, p, v.Caller, "show", &control.IDIn{ID: d.It.ID})
	if err != nil {
		return err
	}
	d.Runs = it.Attempts
	slices.SortStableFunc(d.Runs, func(a, b control.Attempt) int { return b.N - a.N })
	if d.Log, err = p.logOf(v, &it); err != nil {
		return err
	}
	for _, op := range serviceButtons(d.It.State) {
		if b := v.Button(op, "name", d.It.ID); b != nil {
			d.Buttons = append(d.Buttons, b)
		}
	}
	v.Title, v.Data = d.It.ID, d
	return nil
}
