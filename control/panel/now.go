package panel

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"activationd/control"
	"activationd/internal/fault"
)

// soon is how far Now looks ahead, and rows how many rows of a kind it has.
const (
	soon   = time.Hour
	rows   = 50
	begins = 15 // of what begins within the hour
)

// nowData is what Now shows.
type nowData struct {
	Status   control.StatusOut
	Needs    []need
	Count    int // of things that need attention, with those that are not shown
	Running  []control.Activation
	MoreRun  bool // more of them than are shown
	Soon     []control.Activation
	Begins   int       // how many begin within the hour, of those that were looked at
	MoreSoon bool      // more may
	Later    int       // of Begins, how many are not in Soon
	Next     time.Time // when something begins after that; zero: nothing is known
}

// A need is something that needs attention.
type need struct {
	control.Attention
	Shape, Word string
	Subject     string // "1038@ostrava", "VLAN 204 of dc1"
	Full        string // if Subject is only a short name
	Owner       string // whose devices are not free
	Address     string // of the page about it
	Buttons     []*button
}

// needWords are what people call the kinds of attention.
var needWords = map[string]string{
	control.NeedsDisk: "disk", control.NeedsClock: "clock", control.NeedsStuck: "stuck", control.NeedsStart: "fatal", control.NeedsEnd: "not ended",
	control.NeedsSource: "unreadable", control.NeedsReject: "rejected", control.NeedsClear: "conflict", control.NeedsLogin: "login refused",
	control.NeedsVLAN: "quarantined", control.NeedsQueue: "queue", control.NeedsHook: "hook", control.NeedsFailed: "failed",
}

func (p *Panel) fillNow(v *view) error {
	ctx := v.r.Context()
	var d nowData
	var err error
	if d.Status, err = one[control.StatusOut](ctx, p, v.Caller, "status", &control.Nothing{}); err != nil {
		return err
	}
	for _, a := range d.Status.Attention {
		n := v.need(a)
		if a.Kind == control.NeedsStuck && a.ID != "" {
			it, err := one[control.Detail](ctx, p, v.Caller, "show", &control.IDIn{ID: a.ID})
			switch {
			case errors.Is(err, fault.NotFound): // meanwhile
			case err != nil:
				return err
			default:
				n.Owner = it.Owner
			}
		}
		d.Needs = append(d.Needs, n)
		d.Count += max(1, a.More)
	}
	v.Needs = d.Count
	running := &control.ListIn{State: []string{"activating", "active", "running", "deactivating"}, Sort: "started", Reverse: true, Limit: rows + 1}
	if d.Running, d.MoreRun, err = v.some(running); err != nil {
		return err
	}
	slices.SortStableFunc(d.Running, func(a, b control.Activation) int { return runRank(&a) - runRank(&b) })
	if err := v.coming(&d); err != nil {
		return err
	}
	v.Title = "Now"
	v.Data = d
	return nil
}

// some returns one activation less than the limit of a list, and reports whether there are more.
func (v *view) some(in *control.ListIn) (all []control.Activation, more bool, err error) {
	all, err = get[control.Activation](v.r.Context(), v.panel, v.Caller, "list", in)
	if more = len(all) == in.Limit; more {
		all = all[:in.Limit-1]
	}
	return all, more, err
}

// coming finds what begins soon. These orders are those of indexes: nothing else is read.
func (v *view) coming(d *nowData) (err error) {
	scheduled, more, err := v.some(&control.ListIn{State: []string{"scheduled"}, Sort: "due", Limit: rows + 1})
	if err != nil {
		return err
	}
	waiting, moreWait, err := v.some(&control.ListIn{State: []string{"waiting", "held"}, Sort: "id", Limit: rows + 1})
	if err != nil {
		return err
	}
	at := func(a *control.Activation) time.Time { return cmp.Or(a.Start.Time, a.Planned) }
	all := slices.Concat(waiting, scheduled)
	slices.SortStableFunc(all, func(a, b control.Activation) int { return at(&a).Compare(at(&b)) })
	for _, a := range all {
		at := at(&a)
		if a.State == "held" && !at.After(v.Now) {
			continue // it begins when somebody releases it
		}
		if at.After(v.Now.Add(soon)) {
			if d.Next.IsZero() || at.Before(d.Next) {
				d.Next = at
			}
			continue
		}
		d.Soon = append(d.Soon, a)
	}
	d.MoreSoon = moreWait || more && d.Next.IsZero()
	d.Begins = len(d.Soon)
	late := func(a *control.Activation) int { // jobs that only wait for others to end come after what is to come
		if a.Kind == "job" && !a.Planned.After(v.Now) {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(d.Soon, func(a, b control.Activation) int { return late(&a) - late(&b) })
	d.Soon = d.Soon[:min(d.Begins, begins)]
	d.Later = d.Begins - len(d.Soon)
	return nil
}

// runRank puts what is on its way first, then what is up, then jobs.
func runRank(a *control.Activation) int {
	switch {
	case a.Kind == "job":
		return 2
	case a.State == "active":
		return 1
	}
	return 0
}

// need says what needs attention in words, and what helps.
func (v *view) need(a control.Attention) need {
	n := need{Attention: a, Shape: shape(a.Kind), Word: needWords[a.Kind], Subject: cmp.Or(a.ID, base(a.Source), a.Device)}
	if n.Subject != cmp.Or(a.ID, a.Source, a.Device) {
		n.Full = a.Source
	}
	at := func(path string) string { return v.panel.base + path }
	add := func(b *button) {
		if b != nil {
			n.Buttons = append(n.Buttons, b)
		}
	}
	switch a.Kind {
	case control.NeedsStuck, control.NeedsEnd:
		if a.ID != "" {
			n.Address = at("/activations/" + segment(a.ID))
			if a.Kind == control.NeedsStuck {
				add(v.Button("retry", "id", a.ID))
			}
			add(v.Button("forgive", "id", a.ID))
		} else {
			n.Address = at("/activations?kind=reservation&state=stuck")
		}
	case control.NeedsStart:
		n.Address = at("/services")
		if service, _, ok := strings.Cut(a.ID, "@"); ok {
			add(v.Button("service start", "name", service))
		}
	case control.NeedsClear:
		n.Address = at("/activations?kind=reservation&state=conflicting")
		if a.ID != "" {
			n.Address = at("/activations/" + segment(a.ID))
		}
	case control.NeedsReject:
		n.Address = at("/activations?kind=reservation&state=rejected")
		if a.ID != "" {
			n.Address = at("/activations/" + segment(a.ID))
		}
		add(v.Button("reload"))
	case control.NeedsSource:
		add(v.Button("reload"))
	case control.NeedsLogin:
		if a.ID != "" {
			n.Address = at("/activations/" + segment(a.ID))
		}
	case control.NeedsVLAN:
		n.Address = at("/vlans?state=quarantined")
		if a.VLAN > 0 {
			n.Subject = "VLAN " + strconv.Itoa(a.VLAN) + " of " + a.Domain
			add(v.Button("vlan free", "domain", a.Domain, "id", strconv.Itoa(a.VLAN)))
		}
	case control.NeedsQueue, control.NeedsHook:
		n.Address = at("/queues")
	case control.NeedsFailed:
		n.Address = at("/activations?failed=yes&since=24h")
		if a.ID != "" {
			n.Address = at("/activations/" + segment(a.ID))
			add(v.Button("retry", "id", a.ID))
		}
	}
	return n
}
