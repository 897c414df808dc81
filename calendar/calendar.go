// Package calendar decides who has which device when, and who cannot have it.
//
// Its input are uses: what each reservation occupies, from when its activation begins
// until its slot ends. [Judge] finds the conflicts. It is pure: it reads no store and no
// clock, so that a load, a booking and the check of files decide in the same way.
//
// # The rule
//
// Uses are judged in the order of their rank: first those that hold their devices
// already; then, unless somebody has held or paused them, by priority, and in the order
// in which they were announced; then those that somebody has held or paused, also by a pause of
// a device that lasts as long as they do. A use gets
// what it wants unless one of a higher rank that gets what it wants has it. So a use that
// loses keeps nothing from others.
package calendar

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// A Use is what one reservation occupies, in the half-open span from From to To.
type Use struct {
	ID        string
	From, To  time.Time
	Devices   []string
	VLANs     map[string]int // how many ids it needs, by the domain of the pool
	Priority  int            // a higher one ranks first
	Announced uint64         // a number that rises with each announcement
	Holds     bool           // it holds its devices already
	Idle      bool           // somebody keeps it from beginning: it keeps nothing from others
	Leaves    bool           // it is being ended: it is not judged, and keeps nothing from others
}

// Limits are what all uses share, besides devices.
type Limits struct {
	Now    time.Time        // uses that are over by then are not judged
	Runs   int              // how many activations may run at once; 0: any number
	VLANs  map[string]int   // the sizes of the pools, by domain; a domain that is not here has no pool
	Paused map[string]Pause // by device
}

// A Pause keeps a device out of use.
type Pause struct {
	Until  time.Time // zero: until somebody resumes it
	Reason string
}

// A Kind says what a use cannot have.
type Kind string

// The kinds of conflicts. A reservation waits only because of the first: a pause keeps it from
// starting without any mark.
const (
	Device Kind = "device" // another use has the device
	VLANs  Kind = "vlans"  // the pool does not have as many ids
	Runs   Kind = "runs"   // too many activations begin at that time: it begins later
	Paused Kind = "paused" // the device is paused
)

// A Conflict says what a use cannot have, and why.
type Conflict struct {
	Kind   Kind      `json:"kind"`
	Name   string    `json:"name,omitempty"` // the device, or the pool's domain
	With   []string  `json:"with,omitempty"` // who has it: of a device one id, otherwise at most [MaxWith], the earliest first
	More   int       `json:"more,omitempty"` // how many more have it
	From   time.Time `json:"from,omitzero"`  // from when they have it; for a pause zero
	To     time.Time `json:"to,omitzero"`    // its end; zero: not known
	Want   int       `json:"want,omitempty"` // of VLANs and Runs: how many are wanted in all
	Have   int       `json:"have,omitempty"` // of VLANs and Runs: how many there are
	Reason string    `json:"reason,omitempty"`
}

// MaxWith bounds the ids in a conflict.
const MaxWith = 5

// String says what the conflict is, in the zone of its times.
func (c Conflict) String() string {
	switch c.Kind {
	case Device:
		s := fmt.Sprintf("%s has %s from %s to %s", strings.Join(c.With, ", "), c.Name, text(c.From), text(c.To))
		if c.More > 0 {
			s += fmt.Sprintf(", and %d more have it later", c.More)
		}
		return s
	case VLANs:
		if c.Have == 0 {
			return fmt.Sprintf("it needs %d VLANs of %s, which has none", c.Want, c.Name)
		}
		return fmt.Sprintf("%d VLANs of %s are needed at %s, and it has %d", c.Want, c.Name, text(c.From), c.Have)
	case Runs:
		return fmt.Sprintf("%d activations begin at %s, and only %d may run at once", c.Want, text(c.From), c.Have)
	case Paused:
		s := c.Name + " is paused"
		if !c.To.IsZero() {
			s += " until " + text(c.To)
		}
		if c.Reason != "" {
			s += ": " + c.Reason
		}
		return s
	}
	return string(c.Kind)
}

func text(t time.Time) string { return t.Local().Format(time.DateTime) }

// Judge returns the conflicts of each use that has any, by id. All ids must differ.
func Judge(uses []Use, l Limits) map[string][]Conflict {
	j := judge{limits: l, found: make(map[string][]Conflict), devices: make(map[string][]*Use)}
	for i := range uses {
		u := &uses[i]
		if !u.To.After(l.Now) || u.Leaves {
			continue
		}
		if !u.Idle && l.Shut(u) {
			idle := *u
			idle.Idle = true
			u = &idle
		}
		j.uses = append(j.uses, u)
	}
	slices.SortFunc(j.uses, rank)
	for _, u := range j.uses {
		j.device(u)
	}
	j.runs()
	j.vlans()
	if len(l.Paused) > 0 {
		j.paused()
	}
	return j.found
}

// Shut reports whether one of the devices of u is paused for as long as u lasts.
func (l *Limits) Shut(u *Use) bool {
	return len(l.Paused) > 0 && slices.ContainsFunc(u.Devices, func(d string) bool {
		p, paused := l.Paused[d]
		return paused && (p.Until.IsZero() || !u.To.After(p.Until))
	})
}

// rank orders uses: who comes first gets what both want.
func rank(a, b *Use) int {
	switch { // not cmp.Or, which would compare everything of a hundred thousand uses
	case a.Holds != b.Holds:
		return first(a.Holds)
	case a.Idle != b.Idle:
		return first(b.Idle)
	case a.Priority != b.Priority:
		return cmp.Compare(b.Priority, a.Priority)
	case a.Announced != b.Announced:
		return cmp.Compare(a.Announced, b.Announced)
	}
	return strings.Compare(a.ID, b.ID)
}

// Why says why u ranks before o.
func (u *Use) Why(o *Use) string {
	switch {
	case u.Holds:
		return u.ID + " has it already"
	case o.Idle && !u.Idle:
		return "somebody has held or paused " + o.ID
	case u.Priority > o.Priority:
		return fmt.Sprintf("the priority of %s is higher (%d, not %d)", u.ID, u.Priority, o.Priority)
	}
	return u.ID + " was announced first"
}

// first says in which order two uses come: whether the first of them comes first.
func first(a bool) int {
	if a {
		return -1
	}
	return 1
}

// A judge has what has been decided so far.
type judge struct {
	limits  Limits
	uses    []*Use                // by rank
	devices map[string][]*Use     // by device, those that have it, by time: no two of them overlap
	found   map[string][]Conflict // by id
}

func (j *judge) add(u *Use, c Conflict) { j.found[u.ID] = append(j.found[u.ID], c) }

// device gives u its devices, or finds who has them.
func (j *judge) device(u *Use) {
	free := true
	for _, d := range u.Devices {
		others := overlapping(j.devices[d], u)
		for i, o := range others[:min(len(others), MaxWith)] {
			free = false
			c := Conflict{Kind: Device, Name: d, With: []string{o.ID}, From: o.From, To: o.To}
			if i == MaxWith-1 {
				c.More = len(others) - MaxWith
			}
			j.add(u, c)
		}
	}
	if !free {
		return
	}
	for _, d := range u.Devices {
		i, _ := slices.BinarySearchFunc(j.devices[d], u, byFrom)
		j.devices[d] = slices.Insert(j.devices[d], i, u)
	}
}

func byFrom(a, b *Use) int { return a.From.Compare(b.From) }

// overlapping returns those of some uses that overlap with u. No two of the uses overlap,
// and they are sorted by time.
func overlapping(uses []*Use, u *Use) []*Use {
	first, _ := slices.BinarySearchFunc(uses, u.From, func(o *Use, from time.Time) int {
		if o.To.After(from) {
			return 1
		}
		return -1
	})
	last := first
	for last < len(uses) && uses[last].From.Before(u.To) {
		last++
	}
	return uses[first:last]
}

// with notes who has what is wanted.
func (c *Conflict) with(others []*Use) {
	for _, o := range others[:min(len(others), MaxWith)] {
		c.With = append(c.With, o.ID)
	}
	c.More = max(0, len(others)-MaxWith)
}

// lost reports whether u cannot have one of its devices, so that it needs nothing else.
func (j *judge) lost(u *Use) bool {
	return slices.ContainsFunc(j.found[u.ID], func(c Conflict) bool { return c.Kind == Device })
}

// runs finds the uses that begin at the same time as too many others. Those that hold
// their devices have begun.
func (j *judge) runs() {
	if j.limits.Runs <= 0 {
		return
	}
	begin := make(map[int64][]*Use)
	for _, u := range j.uses {
		if !u.Holds && !j.lost(u) && !u.From.Before(j.limits.Now) {
			begin[u.From.UnixNano()] = append(begin[u.From.UnixNano()], u)
		}
	}
	for _, us := range begin {
		if len(us) <= j.limits.Runs {
			continue
		}
		for _, u := range us[j.limits.Runs:] {
			c := Conflict{Kind: Runs, From: u.From, To: u.To, Want: len(us), Have: j.limits.Runs}
			c.with(us[:j.limits.Runs])
			j.add(u, c)
		}
	}
}

// vlans finds the uses for which a pool has not enough ids.
func (j *judge) vlans() {
	domains := make(map[string][]*Use)
	for _, u := range j.uses {
		for d, n := range u.VLANs {
			if n > 0 && !j.lost(u) {
				domains[d] = append(domains[d], u)
			}
		}
	}
	for _, d := range slices.Sorted(maps.Keys(domains)) {
		size := j.limits.VLANs[d]
		if peak, _, _ := peakOf(domains[d], d, nil); peak <= size {
			continue // nearly always: there are enough for all
		}
		var have []*Use
		for _, u := range domains[d] {
			peak, at, others := peakOf(have, d, u)
			if peak += u.VLANs[d]; peak <= size {
				have = append(have, u)
				continue
			}
			slices.SortFunc(others, byFrom)
			c := Conflict{Kind: VLANs, Name: d, From: at, To: u.To, Want: peak, Have: size}
			c.with(others)
			j.add(u, c)
		}
	}
}

// peakOf returns how many ids of a domain uses need at most at the same time, the first
// time at which they do, and the uses that need ids then. Only the span of within counts,
// unless it is nil.
func peakOf(uses []*Use, domain string, within *Use) (peak int, at time.Time, who []*Use) {
	if within != nil {
		at = within.From
	}
	type step struct {
		at time.Time
		n  int
		u  *Use
	}
	var steps []step
	for _, u := range uses {
		from := u.From
		if within != nil {
			if !u.From.Before(within.To) || !u.To.After(within.From) {
				continue
			}
			if from.Before(within.From) {
				from = within.From
			}
		}
		steps = append(steps, step{from, u.VLANs[domain], u}, step{u.To, -u.VLANs[domain], u})
	}
	slices.SortFunc(steps, func(a, b step) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.n, b.n)) })
	now := 0
	for _, s := range steps {
		if now += s.n; now > peak {
			peak, at = now, s.at
		}
	}
	for _, s := range steps {
		if s.n > 0 && !s.at.After(at) && s.u.To.After(at) {
			who = append(who, s.u)
		}
	}
	return peak, at, who
}

// paused finds the uses whose devices are paused.
func (j *judge) paused() {
	for _, u := range j.uses {
		for _, d := range u.Devices {
			if p, ok := j.limits.Paused[d]; ok && !u.Holds && (p.Until.IsZero() || u.From.Before(p.Until)) {
				j.add(u, Conflict{Kind: Paused, Name: d, To: p.Until, Reason: p.Reason})
			}
		}
	}
}
