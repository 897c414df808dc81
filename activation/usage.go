package activation

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"activationd/internal/fault"
)

// How much owners, devices and tags were used in each month is counted in two ways. An
// activation that is kept is counted from its record. When it is forgotten, what it used is
// added to sums in the transaction that removes the record, so each activation counts once
// at any moment. Sums are not written earlier, because the end of an activation would then
// cost another write.

// A Month is a month of the calendar, in the zone of the daemon.
type Month int // twelve times the year, plus the month, which begins at 0

// MonthOf returns the month of a time in the time's own zone.
func MonthOf(t time.Time) Month {
	y, m, _ := t.Date()
	return NewMonth(y, m)
}

// NewMonth returns a month of a year.
func NewMonth(year int, m time.Month) Month { return Month(12*year + int(m) - 1) }

// String returns a month as 2099-11.
func (m Month) String() string { return fmt.Sprintf("%04d-%02d", m/12, m%12+1) }

// Begins returns the first moment of a month.
func (m Month) Begins(zone *time.Location) time.Time {
	return time.Date(int(m/12), time.Month(m%12+1), 1, 0, 0, 0, 0, zone)
}

// A Usage has counts and times of activations. In JSON it is stored.
type Usage struct {
	Slots    int `json:"s,omitempty"`  // reservations, without those that are NotBegun
	Jobs     int `json:"j,omitempty"`  // likewise
	NotBegun int `json:"nb,omitempty"` // cancelled or withdrawn before they began
	Runs     int `json:"r,omitempty"`  // attempts of both phases that ran

	// By the outcome. Those that are not finished have none.
	Succeeded int `json:"ok,omitempty"`
	Failed    int `json:"f,omitempty"`
	TimedOut  int `json:"t,omitempty"`
	Missed    int `json:"m,omitempty"`
	Lost      int `json:"l,omitempty"`
	Cancelled int `json:"c,omitempty"` // after they began

	// In milliseconds. Each device of a reservation counts.
	Used   int64 `json:"u,omitempty"` // of devices, from the first attempt to the end of the deactivation
	Booked int64 `json:"b,omitempty"` // of devices, by their slots
	Ran    int64 `json:"x,omitempty"` // of jobs
}

// Failures is how many did not succeed and were not cancelled.
func (u *Usage) Failures() int { return u.Failed + u.TimedOut + u.Missed + u.Lost }

// add adds v, which is that of one device, for some devices.
func (u *Usage) add(v *Usage, devices int) {
	u.Slots += v.Slots
	u.Jobs += v.Jobs
	u.NotBegun += v.NotBegun
	u.Runs += v.Runs
	u.Succeeded += v.Succeeded
	u.Failed += v.Failed
	u.TimedOut += v.TimedOut
	u.Missed += v.Missed
	u.Lost += v.Lost
	u.Cancelled += v.Cancelled
	u.Used += v.Used * int64(devices)
	u.Booked += v.Booked * int64(devices)
	u.Ran += v.Ran
}

// A use is what reports need of an activation.
type use struct {
	kind          Kind
	outcome       Outcome   // empty: it is not finished
	start, end    time.Time // the slot; of a job, when it was due, and zero
	owner         string
	devices, tags []string
	runs          int
	times         []stretch // when it used its devices; of a job, when its attempts ran
}

func (r *Record) use(now time.Time) use {
	u := use{kind: r.Kind, outcome: r.Outcome, start: r.Start, end: r.End, owner: r.Owner, devices: r.Devices, tags: r.Tags, runs: r.runs()}
	if r.policy().ends {
		u.times = r.servedTimes(now)
	} else {
		u.times = r.runTimes(now)
	}
	return u
}

// runs is the number of attempts that ran, or may have. Of many attempts the record has only
// some.
func (r *Record) runs() (n int) {
	if len(r.Attempts) >= keepAttempts {
		return r.LastN[0] + r.LastN[1]
	}
	for i := range r.Attempts {
		if !r.Attempts[i].neverRan() {
			n++
		}
	}
	return n
}

// runTimes has the times of the attempts that ran.
func (r *Record) runTimes(now time.Time) (all []stretch) {
	for i := range r.Attempts {
		if s, ok := r.Attempts[i].stretch(now); ok {
			all = append(all, s)
		}
	}
	return all
}

// servedTimes has the times for which a reservation used its devices: more than one if it was
// served again after its deactivation.
func (r *Record) servedTimes(now time.Time) (all []stretch) {
	serving := false // the last of all goes on
	for i := range r.Attempts {
		a := &r.Attempts[i]
		s, ok := a.stretch(now)
		if i > 0 && a.Phase == Activate {
			if was := &r.Attempts[i-1]; was.Phase == Deactivate || was.Past && !a.Past {
				serving = false
			}
		}
		switch n := len(all) - 1; {
		case !ok:
		case serving:
			all[n].ended = later(all[n].ended, s.ended)
		case a.Phase == Activate:
			all, serving = append(all, s), true
		}
	}
	if n := len(all) - 1; serving && !r.Attempts[len(r.Attempts)-1].Past {
		if r.State == Finished {
			now = r.Ended()
		}
		all[n].ended = later(all[n].began, now)
	}
	return all
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// stretch returns when an attempt ran, and reports whether it did. One that runs began when
// it was claimed, or was to start: the record does not have its start yet.
func (a *Attempt) stretch(now time.Time) (s stretch, ok bool) {
	s = stretch{began: a.Result.Started, ended: a.Result.Ended}
	if a.Open && s.began.IsZero() {
		s.began = later(a.Claimed, a.NotBefore)
		if s.began.After(now) {
			return s, false
		}
	}
	if a.Open && s.ended.IsZero() {
		s.ended = now
	}
	s.ended = later(s.began, s.ended)
	return s, !s.began.IsZero()
}

// A share is the part of what an activation used that belongs to a month.
type share struct {
	Month
	Usage
}

// shares divides u among the months, and appends the shares to those of an empty buffer. What
// is counted belongs to the month in which the slot began, or the job was due; times are
// divided. Times are those of one device.
func (u *use) shares(all []share, zone *time.Location, now time.Time) []share {
	if u.outcome == "" && len(u.times) == 0 || u.kind == Service {
		return all
	}
	c := Usage{Runs: u.runs}
	notBegun := u.outcome == Cancelled && len(u.times) == 0
	switch {
	case notBegun:
		c.NotBegun = 1
	case u.kind.policy().ends:
		c.Slots = 1
	default:
		c.Jobs = 1
	}
	switch u.outcome {
	case Succeeded:
		c.Succeeded = 1
	case Failed:
		c.Failed = 1
	case TimedOut:
		c.TimedOut = 1
	case Missed:
		c.Missed = 1
	case Lost:
		c.Lost = 1
	case Cancelled:
		c.Cancelled = 1 - c.NotBegun
	}
	all = append(all, share{MonthOf(u.start.In(zone)), c})
	of := func(m Month) *Usage {
		for i := range all {
			if all[i].Month == m {
				return &all[i].Usage
			}
		}
		all = append(all, share{Month: m})
		return &all[len(all)-1].Usage
	}
	for _, s := range u.times {
		divide(s, zone, func(m Month, ms int64) {
			if u.kind.policy().ends {
				of(m).Used += ms
			} else {
				of(m).Ran += ms
			}
		})
	}
	if u.kind.policy().ends && !notBegun {
		booked := stretch{began: u.start, ended: u.end}
		if u.outcome == "" && now.Before(u.end) { // a report says what was used up to now
			booked.ended = now
		}
		divide(booked, zone, func(m Month, ms int64) { of(m).Booked += ms })
	}
	return all
}

// divide calls add with the milliseconds of a time in each month.
func divide(s stretch, zone *time.Location, add func(Month, int64)) {
	last := MonthOf(s.ended.In(zone))
	for m := MonthOf(s.began.In(zone)); m <= last && s.began.Before(s.ended); m++ {
		end := s.ended
		if m < last {
			end = (m + 1).Begins(zone)
		}
		add(m, end.Sub(s.began).Milliseconds())
		s.began = end
	}
}

// headUse is what the head of a finished record has for reports: the number of runs and, if
// they are not those of s, the times of u in nanoseconds.
func (u *use) headUse(s stretch) []int64 {
	all := []int64{int64(u.runs)}
	if s.began.IsZero() && len(u.times) == 0 || len(u.times) == 1 && u.times[0].began.Equal(s.began) && u.times[0].ended.Equal(s.ended) {
		return all
	}
	for _, t := range u.times {
		all = append(all, nanoseconds(t.began), nanoseconds(t.ended))
	}
	return all
}

// readUse is the inverse of headUse, and reports whether v is what that wrote.
func (u *use) readUse(v []byte, s stretch) (ok bool) {
	var all [3]int64 // more are rare
	ns := all[:0]
	for len(v) > 1 && (v[0] == '[' || v[0] == ',') {
		var val []byte
		val, v = cutValue(v[1:])
		n, err := strconv.ParseInt(string(val), 10, 64)
		if err != nil {
			return false
		}
		ns = append(ns, n)
	}
	if len(v) != 1 || len(ns)%2 == 0 {
		return false
	}
	u.runs = int(ns[0])
	if len(ns) == 1 && !s.began.IsZero() {
		u.times = append(u.times, s)
	}
	for i := 1; i < len(ns); i += 2 {
		u.times = append(u.times, stretch{began: fromNanoseconds(ns[i]), ended: fromNanoseconds(ns[i+1])})
	}
	return true
}

// attemptsMark is in each record that has attempts. In a text its quotes would be escaped.
const attemptsMark = `"attempts":[`

// readUse returns what a report needs of a stored record, and reports whether it counts. Its
// texts are valid as long as data is. U has a buffer for the times.
func (t *Txn) readUse(k string, data []byte, u *use) (counts bool, err error) {
	times := u.times[:0]
	*u = use{}
	state := stateIn(data)
	if state == Finished {
		var r Record
		if s, ok := readHead(data, &r, wantStart|wantSlot|wantOwner|wantTags); ok {
			*u = use{kind: r.Kind, outcome: r.Outcome, start: r.Start, end: r.End, owner: r.Owner, devices: r.Devices, tags: r.Tags, times: times}
			if u.readUse(s.use, s) || r.Kind == Service {
				return r.Kind != Service, nil
			}
		}
	} else if !bytes.Contains(data, []byte(attemptsMark)) {
		return false, nil // it has not begun
	}
	r, err := decode(k, data)
	if err != nil {
		return false, err
	}
	*u = r.use(t.Now)
	return r.Kind != Service, nil
}

// An ownerUsage is what an owner used in a month. Activations without a device or a tag are
// counted under the empty name.
type ownerUsage struct {
	All     Usage             `json:"all"`
	Devices map[string]*Usage `json:"devices,omitempty"`
	Tags    map[string]*Usage `json:"tags,omitempty"`
	size    int               // about, as it is stored
}

// mostDevices and mostTags bound how many the sums of one owner distinguish in a month. What else
// there is, they have under the name otherNames. A sum is written as a whole, and programs that
// give each job a tag of its own would make that slow.
const (
	mostDevices = 1000
	mostTags    = 200
	otherNames  = "(others)"
	namedBytes  = 120 // more than a Usage takes as it is stored, without its name
)

// add adds the usage of one device.
func (o *ownerUsage) add(u *Usage, devices, tags []string) {
	o.All.add(u, len(devices))
	o.size += o.named(&o.Devices, mostDevices, devices, u, min(1, len(devices))) + o.named(&o.Tags, mostTags, tags, u, len(devices))
}

// named adds u under each of some names, and returns by how much that may enlarge o.
func (o *ownerUsage) named(by *map[string]*Usage, most int, names []string, u *Usage, devices int) (size int) {
	if *by == nil {
		*by = make(map[string]*Usage)
	}
	eachName(names, func(name string) {
		of := (*by)[name]
		if of == nil && name != "" && len(*by) >= most {
			name = otherNames
			of = (*by)[name]
		}
		if of == nil {
			of = new(Usage)
			(*by)[strings.Clone(name)] = of
			size += len(name) + namedBytes
		}
		of.add(u, devices)
	})
	return size
}

// eachName calls fn with each of some names once; with the empty name if there are none.
func eachName(names []string, fn func(string)) {
	if len(names) == 0 {
		fn("")
	}
	for i, name := range names {
		if !slices.Contains(names[:i], name) {
			fn(name)
		}
	}
}

// A sumOf says of which owner and month a sum is.
type sumOf struct {
	month Month
	owner string
}

// usages are sums that a transaction adds to.
type usages map[sumOf]*ownerUsage

// sumUp adds what r used, which is being forgotten, to the sums of this host.
func (t *Txn) sumUp(r *Record) error {
	if r.State != Finished {
		return nil
	}
	u := r.use(t.Now)
	for _, part := range u.shares(nil, t.zone(), t.Now) {
		of := sumOf{part.Month, u.owner}
		o := t.sums[of]
		if o == nil {
			data := t.Get(t.sumKey(of))
			o = &ownerUsage{size: len(data) + namedBytes}
			if data != nil {
				if err := json.Unmarshal(data, o); err != nil {
					return fmt.Errorf("the sums of %q in %s: %w", of.owner, of.month, err)
				}
			}
			if t.sums == nil {
				t.sums = make(usages)
			}
			t.sums[of] = o
		}
		o.add(&part.Usage, u.devices, u.tags)
	}
	return nil
}

func (t *Txn) sumKey(of sumOf) string {
	return ofHost(usageKey+of.month.String()+"/", t.host) + of.owner
}

// zone is that of months.
func (t *Txn) zone() *time.Location { return cmp.Or(t.parts.Zone, time.Local) }

// putSums writes the sums that have changed, each once for all that was forgotten.
func (t *Txn) putSums() error {
	for _, of := range slices.SortedFunc(maps.Keys(t.sums), func(a, b sumOf) int {
		return cmp.Or(cmp.Compare(a.month, b.month), strings.Compare(a.owner, b.owner))
	}) {
		data, err := json.Marshal(t.sums[of])
		if err != nil {
			return err
		}
		if err := t.Put(t.sumKey(of), data); err != nil {
			return err
		}
	}
	return nil
}

// size is about how many bytes the sums take.
func (us usages) size() (n int) {
	for of, o := range us {
		n += len(of.owner) + o.size
	}
	return n
}

// What a report can be by.
const (
	ByOwner  = "owner"
	ByDevice = "device"
	ByTag    = "tag"
)

// A UsageFilter says what a report is about.
type UsageFilter struct {
	By       string // ByOwner, ByDevice or ByTag
	From, To Month
	Owner    string // only what this owner used; empty: all owners, as far as Who may see it
	Who      Actor
}

// A NamedUsage is a row of a report. The name is empty for what has no owner, device or tag.
type NamedUsage struct {
	Name string
	Usage
}

// ThisMonth returns the month that it is now, in the zone of the daemon.
func (e *Engine) ThisMonth(ctx context.Context) (m Month, err error) {
	err = e.View(ctx, func(t *Txn) error {
		m = MonthOf(t.Now.In(t.zone()))
		return nil
	})
	return m, err
}

// Usage reports what was used, sorted by name, and the total. What has two devices or tags
// counts in both rows, but once in the total. Actors who may only see what is their own get a
// report of that.
//
// It reads all records in one transaction: otherwise an activation that is forgotten meanwhile
// would be missing, or count twice.
func (e *Engine) Usage(ctx context.Context, f UsageFilter) (rows []NamedUsage, total Usage, err error) {
	if f.Owner, err = f.mayHave(); err != nil {
		return nil, Usage{}, err
	}
	var by map[string]*Usage
	row := func(name string) *Usage {
		u := by[name]
		if u == nil {
			u = new(Usage)
			by[strings.Clone(name)] = u
		}
		return u
	}
	err = e.View(ctx, func(t *Txn) error {
		by, total = make(map[string]*Usage), Usage{}
		if err := t.readSums(&f, func(owner string, o *ownerUsage) {
			total.add(&o.All, 1)
			switch f.By {
			case ByDevice:
				for name, u := range o.Devices {
					row(name).add(u, 1)
				}
			case ByTag:
				for name, u := range o.Tags {
					row(name).add(u, 1)
				}
			default:
				row(owner).add(&o.All, 1)
			}
		}); err != nil {
			return err
		}
		var u use
		var parts []share
		zone, read := t.zone(), 0
		for k, data := range t.Scan(recordKey, "") {
			if read++; read%pageSize == 0 && ctx.Err() != nil {
				return context.Cause(ctx)
			}
			counts, err := t.readUse(k, data, &u)
			if err != nil {
				t.Log(slog.LevelError, "a record cannot be read", "key", k, "err", err)
				continue
			}
			if !counts || f.Owner != "" && f.Owner != u.owner {
				continue
			}
			parts = u.shares(parts[:0], zone, t.Now)
			for i := range parts {
				part, n := &parts[i].Usage, len(u.devices)
				if m := parts[i].Month; m < f.From || m > f.To {
					continue
				}
				total.add(part, n)
				switch f.By {
				case ByDevice:
					eachName(u.devices, func(name string) { row(name).add(part, min(1, n)) })
				case ByTag:
					eachName(u.tags, func(name string) { row(name).add(part, n) })
				default:
					row(u.owner).add(part, n)
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, Usage{}, err
	}
	for _, name := range slices.Sorted(maps.Keys(by)) {
		rows = append(rows, NamedUsage{name, *by[name]})
	}
	return rows, total, nil
}

// mayHave returns the owner of whom the actor gets a report; empty: of all.
func (f *UsageFilter) mayHave() (owner string, err error) {
	switch by := f.Who; {
	case by.NoJobs && (by.OnlyOwn || f.By == ByTag):
		return "", fmt.Errorf("only its address is known of this client, so it may not see this report: use the Unix socket, or give a token: %w", fault.Denied)
	case by.OnlyOwn && f.Owner != "" && f.Owner != by.Name:
		return "", fmt.Errorf("only operators may see what others used; leave out the owner for a report about %s: %w", by.Name, fault.Denied)
	case by.OnlyOwn:
		return by.Name, nil
	}
	return f.Owner, nil
}

// readSums hands the stored sums of all hosts that a report needs to fn.
func (t *Txn) readSums(f *UsageFilter, fn func(owner string, o *ownerUsage)) error {
	for k, data := range t.Scan(usageKey, usageKey+f.From.String()) {
		of, ok := parseSumKey(k)
		if ok && of.month > f.To {
			return nil
		}
		if f.Owner != "" && f.Owner != of.owner {
			continue
		}
		o := new(ownerUsage)
		if err := json.Unmarshal(data, o); err != nil || !ok {
			t.Log(slog.LevelError, "the sums of a month cannot be read", "key", k, "err", err)
			continue
		}
		fn(of.owner, o)
	}
	return nil
}

func parseSumKey(k string) (of sumOf, ok bool) {
	month, rest, _ := strings.Cut(strings.TrimPrefix(k, usageKey), "/")
	_, owner, ok := strings.Cut(rest, "/")
	year, number, _ := strings.Cut(month, "-")
	y, errYear := strconv.Atoi(year)
	n, errMonth := strconv.Atoi(number)
	return sumOf{NewMonth(y, time.Month(n)), owner}, ok && errYear == nil && errMonth == nil
}

// pruneSums removes the sums of months that ended longer ago than Settings.UsageAge.
func (e *Engine) pruneSums(ctx context.Context) error {
	for {
		var old []string
		err := e.View(ctx, func(t *Txn) error { // usually there are none, and nothing must be written
			old = t.oldSums()
			return nil
		})
		if err != nil || len(old) == 0 {
			return err
		}
		err = e.Update(ctx, func(t *Txn) error {
			for _, k := range t.oldSums() {
				if t.Full() {
					return nil
				}
				if err := t.Delete(k); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

// oldSums lists the keys of sums that have been kept long enough, at most maxTurn.
func (t *Txn) oldSums() (keys []string) {
	if t.Doubt || t.Settings.UsageAge == 0 {
		return nil
	}
	for k := range t.Scan(usageKey, "") {
		of, ok := parseSumKey(k)
		if ok && t.Now.Sub((of.month+1).Begins(t.zone())) <= t.Settings.UsageAge || len(keys) == maxTurn {
			return keys
		}
		keys = append(keys, k)
	}
	return keys
}
